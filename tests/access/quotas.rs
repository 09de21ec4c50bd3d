//! How much one user may have open and hand in, and that it keeps nobody else out.
//!
//! Rates are of an hour: what flows in while a test runs is nothing.

use std::{io::Write as _, os::unix::process::CommandExt as _};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use super::{error, get, id, post, post_many, stream};
use crate::support::{
    eventually,
    http::{self, connect},
    people::{NOBODY, Somebody, is_root, open_world},
    stream::Stream,
    world::{World, posthaste, stderr},
};

const EVENT: &str = "{\"type\":\"a.b\"}";

/// Users 2001 to 2009 are producers.
fn producers(quota: &str) -> String {
    let rules: Vec<_> = (2_001..2_010)
        .map(|uid| format!("[[access]]\nuid = {uid}\nrole = \"producer\"\n{quota}\n"))
        .collect();
    rules.concat()
}

/// A stream that has been let in, and goes on.
fn open(who: Somebody, world: &World) -> Stream {
    let mut lines = stream(who, world);
    lines.send(format!("{EVENT}\n"));
    let answer = lines.answer().expect("an answer");
    assert!(answer["id"].is_string(), "{who:?}: {answer}");
    lines
}

#[test]
fn one_user_has_so_many_connections_and_another_has_its_own() {
    if !is_root() {
        return;
    }
    let world = open_world(&format!(
        "limits.connections_per_uid = 3\n{}[[access]]\ngid = 3001\nrole = \"producer\"\nconnections = 1\n",
        producers("")
    ));
    let one = Somebody::new(2_001);
    // One of them says nothing, one is in the middle of a line, one goes on.
    let silent = one.does(|| connect(&world.socket())).expect("it listens");
    let mut slow = open(one, &world);
    slow.send("{\"type\":");
    let mut busy = open(one, &world);
    let expected = "uid 2001 has 3 connections open, and may have 3 ([limits] connections_per_uid)";
    let refused = post(one, &world, EVENT);
    assert!(refused.problem(429, "quota_exceeded").starts_with(expected));
    assert_eq!(refused.header("retry-after"), "1");
    let answer = stream(one, &world).answer().expect("a line");
    let (code, message) = error(&answer);
    assert!(code == "quota_exceeded" && message.starts_with(expected), "{answer}");
    assert_eq!(answer["error"]["retry_after"], 1);
    post(Somebody::new(2_002), &world, EVENT).expect(202);
    // By a rule that has a number of its own.
    let member = Somebody { uid: 2_050, gid: 3_001 };
    let held = open(member, &world);
    let detail = post(member, &world, EVENT).problem(429, "quota_exceeded");
    assert!(detail.contains("may have 1 (`connections` of the [[access]] rule 10 (gid = 3001))"), "{detail}");
    // What is open goes on, and what is closed counts no more.
    busy.send(format!("{EVENT}\n"));
    assert!(busy.answer().expect("an answer")["id"].is_string());
    drop((silent, held));
    for who in [one, member] {
        eventually("a place is free again", || (post(who, &world, EVENT).status == 202).then_some(()));
    }
    slow.send("\"a.b\"}\n");
    assert!(slow.answer().expect("an answer")["id"].is_string());
    // Root has as many as it likes.
    let _many: Vec<_> = (0..20).map(|_| open(Somebody::new(0), &world)).collect();
}

/// Lets this process open as many files as it may.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("its own limit");
}

#[test]
fn producers_who_have_all_the_places_keep_no_operator_out() {
    if !is_root() {
        return;
    }
    raise_open_files();
    let world = open_world(&format!("{}[[access]]\nuid = 2020\nrole = \"operator\"\n", producers("")));
    let silent = |uid: u32, count: usize| -> Vec<_> {
        let socket = world.socket();
        Somebody::new(uid).does(|| (0..count).map(|_| connect(&socket).expect("it listens")).collect())
    };
    // By default one user has a quarter of them; what it asks for beyond that is refused.
    let first = silent(2_001, 256);
    post(Somebody::new(2_001), &world, EVENT).problem(429, "quota_exceeded");
    post(Somebody::new(2_002), &world, EVENT).expect(202);
    let others: Vec<_> = (2_002..2_005).map(|uid| silent(uid, 256)).collect();
    // The last of them may not have been seen to yet.
    let refused = eventually("they have all the places", || {
        let answer = post(Somebody::new(2_005), &world, EVENT);
        (answer.status != 202).then_some(answer)
    });
    let detail = refused.problem(503, "busy");
    assert!(detail.starts_with("1024 connections are open"), "{detail}");
    assert_eq!(refused.header("retry-after"), "1");
    let answer = stream(Somebody::new(2_005), &world).answer().expect("a line");
    assert_eq!(error(&answer).0, "busy");
    // However many are turned away meanwhile, silent ones among them.
    let turned_away = silent(2_006, 300);
    for who in [Somebody::new(0), Somebody::new(2_020)] {
        get(who, &world, "/v1/status").expect(200);
        let mut lines = open(who, &world);
        lines.send(format!("{EVENT}\n"));
        assert!(lines.answer().expect("an answer")["id"].is_string());
    }
    drop((first, turned_away));
    let socket = world.socket();
    eventually("a place is free again", || {
        // So many are being turned away that this may get no word at first.
        let answer =
            Somebody::new(2_005).does(|| http::request(&socket, "POST", "/v1/events", &[], EVENT.as_bytes()));
        answer.is_ok_and(|answer| answer.status == 202).then_some(())
    });
    drop(others);
}

/// Of one more event over HTTP, that it is too much, and in how many seconds it is not.
fn refused_for(who: Somebody, world: &World) -> (String, u64) {
    let answer = post(who, world, EVENT);
    let detail = answer.problem(429, "quota_exceeded");
    (detail, answer.header("retry-after").parse().expect("seconds"))
}

#[test]
fn events_over_the_rate_are_refused_and_said_when_they_are_not() {
    if !is_root() {
        return;
    }
    let world = open_world(&producers("rate = \"2/h\""));
    let one = Somebody::new(2_001);
    post(one, &world, EVENT).expect(202);
    let expected =
        "uid 2001 hands in more than 2/h (`rate` of the [[access]] rule 1 (uid = 2001)); it was not taken";
    let (detail, seconds) = refused_for(one, &world);
    assert!(detail.starts_with(expected), "{detail}");
    assert!((1_700..=1_800).contains(&seconds), "{seconds}");
    // It counts for all of its connections; on a stream the bad line is told apart, and the stream goes on.
    let mut lines = stream(one, &world);
    lines.send(format!("{EVENT}\nx\n{EVENT}\n"));
    let answers = lines.answers(3);
    for answer in [&answers[0], &answers[2]] {
        let (code, message) = error(answer);
        assert!(code == "quota_exceeded" && message.starts_with(expected), "{answer}");
        let seconds = answer["error"]["retry_after"].as_u64().expect("seconds");
        assert!((1_700..=1_800).contains(&seconds), "{answer}");
    }
    assert_eq!(error(&answers[1]).0, "invalid_event");
    post_many(one, &world, &format!("{EVENT}\n{EVENT}")).problem(429, "quota_exceeded");
    // A body is not even waited for.
    let mut without = one.does(|| connect(&world.socket())).expect("it listens");
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n";
    without.write_all(head.as_bytes()).expect("it reads");
    http::read_answer(&mut without).expect("an answer").problem(429, "quota_exceeded");
    // What is refused costs nothing.
    let (_, later) = refused_for(one, &world);
    assert!(later <= seconds, "{later}");
    // Another user by another rule, another by the same: each has its own.
    post(Somebody::new(2_002), &world, EVENT).expect(202);
    assert_eq!(world.list("/v1/events").len(), 2);
    assert!(world.get("/v1/status")["since_start"]["refused"].as_u64().expect("a number") >= 7);
    let mut command = posthaste();
    command.arg("--socket").arg(world.socket()).args(["emit", "a.b"]).current_dir("/");
    let refused = command.uid(one.uid).gid(one.gid).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(75), "it may be tried again: {}", stderr(&refused));
}

#[test]
fn members_of_a_group_have_each_their_own_rate() {
    if !is_root() {
        return;
    }
    let world = open_world("[[access]]\ngid = 3001\nrole = \"producer\"\nrate = \"1/h\"\n");
    for uid in [2_001, 2_002] {
        let who = Somebody { uid, gid: 3_001 };
        post(who, &world, EVENT).expect(202);
        let (detail, _) = refused_for(who, &world);
        assert!(detail.starts_with(&format!("uid {uid} hands in more than 1/h")), "{detail}");
    }
    get(NOBODY, &world, "/v1/status").problem(403, "not_allowed");
}

#[test]
fn a_batch_of_more_than_a_second_s_worth_is_taken_once_and_owed() {
    if !is_root() {
        return;
    }
    let world = open_world(&producers("rate = \"3600/h\""));
    let one = Somebody::new(2_001);
    let batch = format!("{EVENT}\n").repeat(50);
    let taken = post_many(one, &world, &batch).expect(202);
    let ids: Vec<_> = taken["items"].as_array().expect("a list").iter().map(|one: &Value| id(one)).collect();
    assert_eq!(ids.len(), 50);
    let (_, seconds) = refused_for(one, &world);
    assert!((30..=50).contains(&seconds), "50 events are 50 s: {seconds}");
    let detail = post_many(one, &world, &batch).problem(429, "quota_exceeded");
    assert!(detail.contains("3600/h"), "{detail}");
    assert_eq!(world.list("/v1/events").len(), 50, "all or none");
}

#[test]
fn bytes_are_counted_too() {
    if !is_root() {
        return;
    }
    let world = open_world(&producers("rate = \"1000/s\"\nbytes = \"1KiB/h\""));
    let one = Somebody::new(2_001);
    let large = format!("{{\"type\":\"a.b\",\"data\":\"{}\"}}", "x".repeat(507));
    post(one, &world, &large).expect(202);
    let (detail, seconds) = refused_for(one, &world);
    assert!(detail.starts_with("uid 2001 hands in more than 1KiB/h (`bytes` of the"), "{detail}");
    assert!((1_700..=1_810).contains(&seconds), "512 bytes are half an hour: {seconds}");
    post(Somebody::new(2_002), &world, &large).expect(202);
}
