//! Groups that a process is in besides its own, by the system's database: the daemon runs in a mount namespace with one
//! of its own.

use std::{fs, ops::Range, process::Command};

use serde_json::Value;

use super::{error, get, stream};
use crate::support::{
    now,
    people::{NOBODY, Somebody, is_root, open_to_all},
    skip,
    world::{World, stderr, stdout},
};

const PASSWD: &str = "root:x:0:0::/:/bin/sh\ncam5:x:2005:2005::/:/bin/sh\ncam6:x:2006:2006::/:/bin/sh\nguest:x:2007:2007::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\ncam5:x:2005:\ncam6:x:2006:\nadmins:x:3001:cam6\ncameras:x:3002:cam5,cam6\n";

/// Users in no group.
const SOME: Range<u32> = 2_100..2_120;

const CAM5: Somebody = Somebody::new(2_005);
const CAM6: Somebody = Somebody::new(2_006);
const GUEST: Somebody = Somebody::new(2_007);

/// Whether there can be a namespace.
fn is_possible() -> bool {
    if !is_root() {
        return false;
    }
    let made = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !made {
        skip("unshare -m does not work here", true);
    }
    made
}

/// A world whose daemon finds this database.
fn world(rules: &str) -> World {
    let mut world = World::new("");
    open_to_all(&mut world, rules);
    let some = SOME.map(|uid| format!("some{uid}:x:{uid}:{uid}::/:/bin/sh\n"));
    let passwd = some.fold(PASSWD.to_owned(), |text, line| text + &line);
    for (name, text, over) in [("passwd", &*passwd, "/etc/passwd"), ("group", GROUP, "/etc/group")] {
        fs::write(world.path(name), text).expect("written");
        let file = world.path(name);
        world.mount(&file, over);
    }
    world
}

const RULES: &str = "[[access]]\ngroup = \"admins\"\nrole = \"operator\"\n\
    [[access]]\ngroup = \"cameras\"\nrole = \"producer\"\n\
    [[access]]\nuser = \"guest\"\nrole = \"producer\"\naccount = \"default\"\n";

#[test]
fn members_are_those_whom_the_database_has_in_a_group_and_those_whose_own_it_is() {
    if !is_possible() {
        return;
    }
    let mut world = world(RULES);
    let described =
        world.program().args(["check", "--config"]).arg(world.config()).output().expect("it runs");
    for line in [
        "1. group = \"admins\" (gid 3001) is an operator",
        "2. group = \"cameras\" (gid 3002) is a producer of any account",
        "3. user = \"guest\" (uid 2007) is a producer of `default`",
    ] {
        assert!(stdout(&described).contains(line), "{}{}", stdout(&described), stderr(&described));
    }
    world.start();
    for (who, rule) in [
        (CAM5, 2),
        (CAM6, 1),
        // Its own group at this moment, whatever the database has.
        (Somebody { gid: 3_001, ..CAM5 }, 1),
        (Somebody { gid: 3_002, ..NOBODY }, 2),
        (GUEST, 3),
    ] {
        let status = get(who, &world, "/v1/status").expect(200);
        assert_eq!(status["you"]["rule"], rule, "{who:?}: {status}");
        let mut lines = stream(who, &world);
        lines.send("{\"type\":\"a.b\"}\n");
        assert!(lines.answer().expect("an answer")["id"].is_string());
    }
    get(NOBODY, &world, "/v1/status").problem(403, "not_allowed");
    // A name that is not there is an error, with its place.
    world.stop();
    open_to_all(&mut world, &RULES.replace("cameras", "camreas"));
    let wrong = world.program().args(["check", "--config"]).arg(world.config()).output().expect("it runs");
    assert_eq!(wrong.status.code(), Some(78));
    for part in ["`access.group` names a group that does not exist here", "posthaste.toml:9:9", "\"camreas\""]
    {
        assert!(stderr(&wrong).contains(part), "{part}: {}", stderr(&wrong));
    }
    world.spawn();
    assert_eq!(world.wait().code(), Some(78));
    assert!(world.log().contains("names a group that does not exist here"), "{}", world.log());
}

#[test]
fn a_database_that_hangs_lets_nobody_in_and_keeps_nobody_else_out() {
    if !is_possible() {
        return;
    }
    let mut world = world(
        "[[access]]\nuid = 2007\nrole = \"producer\"\n[[access]]\ngid = 3001\nrole = \"operator\"\n\
         [[access]]\ngid = 3002\nrole = \"producer\"\n",
    );
    // Whoever opens it waits until somebody writes to it, which nobody does.
    fs::remove_file(world.path("group")).expect("it is there");
    let made = Command::new("mkfifo").arg(world.path("group")).status().expect("it runs");
    assert!(made.success());
    world.start();
    // For each of these somebody waits 2 s.
    let mut waiting: Vec<_> = SOME.map(|uid| (uid, stream(Somebody::new(uid), &world))).collect();
    let begun = now();
    for who in [GUEST, Somebody::new(0), Somebody { gid: 3_001, ..CAM5 }] {
        get(who, &world, "/v1/status").expect(200);
    }
    assert!(begun.elapsed().as_secs() < 20, "nobody else has waited for them: {:?}", begun.elapsed());
    let expected = |uid| {
        format!(
            "the groups of uid {uid} cannot be told, and an [[access]] rule asks for them: the system's database did not answer within 2 s"
        )
    };
    for (uid, lines) in &mut waiting {
        let answer: Value = lines.answer().expect("a line");
        let (code, message) = error(&answer);
        assert!(code == "groups_unknown" && message.starts_with(&expected(*uid)), "{answer}");
        assert_eq!(answer["error"]["retry_after"], 1);
    }
    let refused = get(CAM6, &world, "/healthz");
    assert!(refused.problem(503, "groups_unknown").starts_with(&expected(CAM6.uid)));
    assert_eq!(refused.header("retry-after"), "1");
    // What hangs does not hold up the end.
    world.stop();
}
