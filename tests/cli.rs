//! The command line: exit codes, what is said when something is wrong, output for programs, lists.

mod support;

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    receiver::{Receiver, Reply},
    world::{World, json_of, posthaste, run_in, stderr, stdout},
};

#[test]
fn without_a_daemon_every_command_says_where_it_looked() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("nobody.sock").display().to_string();
    for args in [
        &["emit", "a.b"][..],
        &["event", "list"],
        &["event", "show", "evt_01hqr2p1qq8k3v7r5m6n0x9y2z"],
        &["delivery", "list", "--json"],
        &["endpoint", "list"],
        &["status"],
    ] {
        let args = [args, &["--socket", &socket]].concat();
        let output = run_in(directory.path(), &args);
        assert_eq!(output.status.code(), Some(69), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(&socket), "{}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
}

#[test]
fn bad_input_is_told_from_wrong_usage() {
    let world = World::running("");
    for (args, code, part) in [
        (&["emit", "a.b", "{pages:3}"][..], 65, "not JSON"),
        (&["emit", "a.b", "{} {}"], 65, "not JSON"),
        (&["emit", "a.b", "@missing.json"], 74, "missing.json"),
        (&["emit", "a..b"], 64, "a..b"),
        (&["emit"], 64, "TYPE"),
        (&["emit", "a.b", "--account", "nobody"], 65, "no account `nobody`"),
        (&["event", "show", "evt_01hqr2p1qq8k3v7r5m6n0x9y2z"], 65, "no event"),
        (&["event", "show", "dlv_01hqr2p1qq8k3v7r5m6n0x9y2z"], 64, "evt_"),
        (&["delivery", "show", "dlv_01hqr2p1qq8k3v7r5m6n0x9y2z"], 65, "no delivery"),
        (&["delivery", "list", "--endpoint", "erp"], 65, "erp"),
        (&["delivery", "list", "--status", "lost"], 64, "pending"),
        (&["fly"], 64, "fly"),
    ] {
        let output = world.cli(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
    assert_eq!(world.list("/v1/events"), [Value::Null; 0]);
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [&["--help"][..], &["--version"], &["emit", "--help"], &["serve", "--help"]] {
        let output = posthaste().args(args).output().expect("the binary was built");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(stdout(&output).contains("posthaste"), "{args:?}: {}", stdout(&output));
    }
}

#[test]
fn every_command_has_output_for_programs() {
    let receiver = Receiver::answering(|hook| {
        if hook.path == "/bad" {
            Reply::Full(500, ("x-why", "tired"), "not today".to_owned())
        } else {
            Reply::Status(200)
        }
    });
    let text = endpoint("good", &receiver.url("/good"), &["*"], "quick")
        + &endpoint("bad", &receiver.url("/bad"), &["*"], "quick")
        + &profile("quick", &["0s"], "");
    let world = World::running(&text);
    let emitted = json_of(&world.cli(&["emit", "a.b", "{\"n\": 1}", "--id", "mine", "--json"]));
    let event = emitted["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        json_of(&world.cli(&["emit", "a.b", "{\"n\": 1}", "--id", "mine", "--json"]))["duplicate"],
        true
    );
    world.settled();

    let shown = json_of(&world.cli(&["event", "show", &event, "--json"]));
    assert_eq!((&shown["producer_id"], &shown["data"]), (&json!("mine"), &json!({"n": 1})));
    let events = json_of(&world.cli(&["event", "list", "--json"]));
    assert_eq!(events["items"][0]["deliveries"], json!({"pending":0,"succeeded":1,"failed":1,"cancelled":0}));
    let failed = json_of(&world.cli(&["delivery", "list", "--status", "failed", "--json"]));
    let failed = failed["items"].as_array().expect("a list").clone();
    assert_eq!((failed.len(), &failed[0]["endpoint"]), (1, &json!("bad")));
    let of_event = json_of(&world.cli(&["delivery", "list", "--event", &event, "--json"]));
    assert_eq!(of_event["items"].as_array().map(Vec::len), Some(2), "{of_event}");
    let delivery = failed[0]["id"].as_str().expect("an id");
    let shown = json_of(&world.cli(&["delivery", "show", delivery, "--json"]));
    assert_eq!(shown["attempts"][0]["response"]["body"], "not today");
    let endpoints = json_of(&world.cli(&["endpoint", "list", "--json"]));
    assert_eq!(endpoints["items"].as_array().map(Vec::len), Some(2));
    let status = json_of(&world.cli(&["status", "--json"]));
    assert_eq!((&status["state"], &status["since_start"]["accepted"]), (&json!("running"), &json!(1)));
    let config = world.config().display().to_string();
    let check = json_of(&world.cli(&["check", "--config", &config, "--json"]));
    assert_eq!((&check["ok"], &check["errors"]), (&json!(true), &json!([])));

    // And for people.
    let shown = stdout(&world.cli(&["delivery", "show", delivery]));
    for part in [delivery, "500", "not today", "exhausted", "x-why"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    let listed = stdout(&world.cli(&["endpoint", "list"]));
    assert!(listed.contains("good") && listed.contains(&receiver.url("/bad")), "{listed}");
    let status = stdout(&world.cli(&["status"]));
    assert!(status.contains("1 succeeded, 1 failed, in 2 attempts"), "{status}");
}

#[test]
fn lists_are_whole_over_many_pages() {
    let world = World::running("");
    let line = |n| format!("{{\"type\":\"t.n{}\",\"data\":{n}}}\n", n % 2);
    let body: String = (0..1_120).map(line).collect();
    let headers = [("content-type", "application/x-ndjson")];
    let answer = world.request("POST", "/v1/events", &headers, body.as_bytes()).expect(202);
    let mut ids: Vec<_> =
        answer["items"].as_array().expect("a list").iter().map(|answer| answer["id"].clone()).collect();
    ids.reverse();
    let of = |args: &[&str]| {
        let listed = json_of(&world.cli(&[&["event", "list", "--json"], args].concat()));
        let items = listed["items"].as_array().expect("a list");
        (items.iter().map(|item| item["id"].clone()).collect::<Vec<_>>(), listed["next_cursor"].clone())
    };
    assert_eq!(of(&["--all"]), (ids.clone(), Value::Null), "newest first, each once");
    let (some, cursor) = of(&["--limit", "620"]);
    assert_eq!(some, ids[..620]);
    assert!(cursor.is_string(), "there are more");
    assert_eq!(of(&[]).0, ids[..50]);
    let halves: Vec<_> = ids.iter().step_by(2).cloned().collect();
    assert_eq!(of(&["--all", "--type", "t.n1"]).0, halves);
    let table = world.cli(&["event", "list", "--limit", "120"]);
    assert_eq!(stdout(&table).lines().count(), 121, "a head and the rows");
    assert!(stderr(&table).contains("there are more"), "{}", stderr(&table));
    // Page by page, with a length that does not divide the whole.
    let (mut walked, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("/v1/events?limit=33{cursor}"));
        walked.extend(page["items"].as_array().expect("a list").iter().map(|item| item["id"].clone()));
        match page["next_cursor"].as_str() {
            // A place, and no event's id: it says no time.
            Some(next) if next.starts_with("evt_000000000") => cursor = format!("&cursor={next}"),
            Some(other) => panic!("it tells of an event: {other}"),
            None => break,
        }
    }
    assert_eq!(walked, ids);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let world = World::running("");
    let line = "{\"type\":\"a.b\",\"data\":{}}\n";
    let headers = [("content-type", "application/x-ndjson")];
    world.request("POST", "/v1/events", &headers, line.repeat(2_000).as_bytes()).expect(202);
    let mut command = posthaste();
    command.args(["event", "list", "--all", "--socket"]).arg(world.socket());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("the binary was built");
    drop(child.stdout.take());
    let status = support::world::wait_for_end(&mut child).expect("it ends");
    assert_eq!(status.code(), Some(0));
}
