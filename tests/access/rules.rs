//! Which rule is for whom, and what somebody is told whom none is for.

use std::{
    io::{Read as _, Write as _},
    os::unix::{fs::chown, process::CommandExt as _},
};

use serde_json::json;

use super::{error, get, id, post, request, stream};
use crate::support::{
    eventually,
    http::{connect, read_answer},
    people::{NOBODY, Somebody, is_root, open_world},
    world::{posthaste, stderr},
};

const CAMERA: Somebody = Somebody::new(2_001);
const ADMIN: Somebody = Somebody { uid: 2_002, gid: 3_001 };
const ANYBODY: Somebody = Somebody::new(2_003);

const RULES: &str = "[accounts.acme]\n\
    [[access]]\nuid = 2001\nrole = \"producer\"\naccount = \"acme\"\n\
    [[access]]\ngid = 3001\nrole = \"operator\"\n\
    [[access]]\nuid = 2002\nrole = \"producer\"\n\
    [[access]]\nuid = 2003\nrole = \"producer\"\n";

#[test]
fn the_first_rule_that_matches_decides() {
    if !is_root() {
        return;
    }
    let world = open_world(RULES);
    for (who, you) in [
        (CAMERA, json!({"uid": 2_001, "role": "producer", "key": null, "account": "acme", "rule": 1})),
        // Also a rule by number is not for root.
        (
            Somebody { uid: 0, gid: 3_001 },
            json!({"uid": 0, "role": "operator", "key": null, "account": null, "rule": null}),
        ),
        (ADMIN, json!({"uid": 2_002, "role": "operator", "key": null, "account": null, "rule": 2})),
        (
            Somebody::new(ADMIN.uid),
            json!({"uid": 2_002, "role": "producer", "key": null, "account": null, "rule": 3}),
        ),
        (ANYBODY, json!({"uid": 2_003, "role": "producer", "key": null, "account": null, "rule": 4})),
    ] {
        let status = get(who, &world, "/v1/status").expect(200);
        assert_eq!(status["you"], you, "{who:?}");
        assert_eq!(status["store"].is_object(), you["role"] == "operator", "{status}");
        for path in ["/healthz", "/readyz"] {
            get(who, &world, path).expect(200);
        }
        let endpoints = get(who, &world, "/v1/endpoints");
        if you["role"] == "operator" {
            endpoints.expect(200);
        } else {
            let detail = endpoints.problem(403, "not_allowed");
            let rule = format!("by the [[access]] rule {} (uid = {})", you["rule"], who.uid);
            assert!(
                detail.starts_with("this is for subscribers and operators alone") && detail.ends_with(&rule),
                "{detail}"
            );
        }
    }
}

#[test]
fn whom_no_rule_matches_is_told_what_to_write() {
    if !is_root() {
        return;
    }
    let world = open_world(RULES);
    let expected = "no [[access]] rule matches uid 65534 (gid 65534): add [[access]] with `uid = 65534`";
    for (method, path) in
        [("GET", "/healthz"), ("GET", "/v1/status"), ("POST", "/v1/events"), ("GET", "/nowhere")]
    {
        let answer = request(NOBODY, &world, method, path, "{\"type\":\"a.b\"}");
        let detail = answer.problem(403, "not_allowed");
        assert!(detail.starts_with(expected), "{detail}");
        assert_eq!(answer.header("connection"), "close");
    }
    // The connection has come to its end by that, however it was meant.
    let mut kept = NOBODY.does(|| connect(&world.socket())).expect("it listens");
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it reads");
    let answer = read_answer(&mut kept).expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (403, "close"));
    assert!(matches!(kept.read(&mut [0; 1]), Ok(0) | Err(_)));
    // On a stream; and if it says nothing at all.
    for said in ["{\"type\":\"a.b\"}\n", ""] {
        let mut stream = stream(NOBODY, &world);
        let _ = stream.try_send(said);
        let answer = stream.answer().expect("a line");
        let (code, message) = error(&answer);
        assert!(code == "not_allowed" && message.starts_with(expected), "{answer}");
        assert!(matches!(stream.try_answer(), Ok(None) | Err(_)), "and that is all");
    }
    let mut command = posthaste();
    command.arg("--socket").arg(world.socket()).args(["emit", "a.b"]).current_dir("/");
    let refused = command.uid(NOBODY.uid).gid(NOBODY.gid).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(77), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    assert_eq!(world.list("/v1/events").len(), 0, "nothing was taken");
}

#[test]
fn without_rules_everybody_is_a_producer_of_default() {
    if !is_root() {
        return;
    }
    let world = open_world("[accounts.acme]\n");
    let you = &get(NOBODY, &world, "/v1/status").expect(200)["you"];
    assert_eq!(
        *you,
        json!({"uid": 65_534, "role": "producer", "key": null, "account": "default", "rule": null})
    );
    post(NOBODY, &world, "{\"type\":\"a.b\"}").expect(202);
    let refused = post(NOBODY, &world, "{\"type\":\"a.b\",\"account\":\"acme\"}");
    let detail = refused.problem(403, "account_not_allowed");
    assert!(detail.contains("since there are no [[access]] rules"), "{detail}");
    assert_eq!(world.list("/v1/events").len(), 1);
}

#[test]
fn the_user_who_handed_an_event_in_is_kept_and_shown_to_operators() {
    if !is_root() {
        return;
    }
    let mut world = open_world(&format!("{RULES}[[spool]]\npath = \"spool\"\n"));
    let over_http = id(&post(ANYBODY, &world, "{\"type\":\"a.b\"}").expect(202)).to_owned();
    let mut lines = stream(ADMIN, &world);
    lines.send("{\"type\":\"a.b\"}\n");
    let over_stream = id(&lines.answer().expect("an answer")).to_owned();
    // Of a file it is whose file it is.
    let (file, there) = (world.path("file"), world.path("spool/one.json"));
    std::fs::write(&file, "{\"type\":\"from.file\"}").expect("written");
    chown(&file, Some(2_077), None).expect("root may");
    std::fs::rename(file, there).expect("renamed");
    let from_file = eventually("the file is taken", || {
        let list = world.list("/v1/events?type=from.file");
        Some(id(list.first()?).to_owned())
    });
    for again in [false, true] {
        if again {
            world.stop();
            world.start();
        }
        for (event, uid) in [(&over_http, ANYBODY.uid), (&over_stream, ADMIN.uid), (&from_file, 2_077)] {
            assert_eq!(world.event(event)["uid"], uid);
            let path = format!("/v1/events/{event}");
            assert_eq!(get(ADMIN, &world, &path).expect(200)["uid"], uid);
            let seen = get(ANYBODY, &world, &path).expect(200);
            assert!(seen.get("uid").is_none(), "{seen}");
        }
    }
    let shown = world.cli(&["event", "show", &over_http]);
    let shown = crate::support::world::stdout(&shown);
    assert!(shown.contains("from         uid 2003\n"), "{shown}");
}

#[test]
fn whoever_hands_it_in_again_it_is_the_same_event() {
    if !is_root() {
        return;
    }
    let world = open_world(RULES);
    let event = "{\"type\":\"a.b\",\"id\":\"o-7\",\"data\":1}";
    let first = post(ANYBODY, &world, event).expect(202);
    let second = post(ADMIN, &world, event).expect(202);
    assert_eq!((id(&second), &second["duplicate"]), (id(&first), &json!(true)));
    assert_eq!(world.event(id(&first))["uid"], ANYBODY.uid);
}
