//! Catalogs, by the built binary: what an account's catalog does not know is refused at every door with the nearest type
//! that it knows; a type without effect is kept and not delivered, and says so.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{
    config::endpoint,
    eventually,
    receiver::Receiver,
    world::{World, run_in, stderr, stdout},
};

const CATALOG: &str = r#"
[[accounts.default.event_type]]
name = "video.media.ready"
groups = ["media", "video"]
description = "A video can be watched"
[[accounts.default.event_type]]
name = "video.media.uploaded"
effect = "partial"
[[accounts.default.event_type]]
name = "video.mediaAI.summary.ready"
effect = "none"
[accounts.free]
"#;

fn world(receiver: &Receiver) -> World {
    let mut world = World::new(&format!(
        "[[spool]]\npath = \"spool\"\n{CATALOG}{}",
        endpoint("erp", &receiver.url("/"), &["*"], "raw")
    ));
    fs::create_dir(world.path("spool")).expect("a directory");
    world.start();
    world
}

const MISSPELT: &str = r#"{"type":"video.media.redy","data":{}}"#;

fn assert_refused(message: &str) {
    assert!(
        message.contains("no event type `video.media.redy`: did you mean `video.media.ready`?"),
        "{message}"
    );
}

#[test]
fn every_door_refuses_what_the_catalog_does_not_know() {
    let receiver = Receiver::start();
    let world = world(&receiver);
    let problem = world.post(MISSPELT).expect(422);
    assert_eq!(problem["code"], "unknown_event_type");
    assert_refused(problem["detail"].as_str().expect("a text"));

    let lines = format!("{MISSPELT}\n{{\"type\":\"video.media.ready\",\"data\":1}}\n");
    let headers = [("content-type", "application/x-ndjson")];
    let answer = world.request("POST", "/v1/events", &headers, lines.as_bytes()).expect(202);
    assert_refused(answer["items"][0]["error"]["message"].as_str().expect("a text"));
    assert!(answer["items"][1]["id"].is_string(), "the others are taken: {answer}");

    let mut stream = world.stream();
    stream.send(format!("{MISSPELT}\n"));
    let answer = stream.answer().expect("an answer");
    assert_eq!(answer["error"]["code"], "unknown_event_type");

    let output = world.cli(&["emit", "video.media.redy"]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert_refused(&stderr(&output));

    let good = r#"{"type":"video.media.ready","data":2}"#;
    fs::write(world.path("spool/.x.tmp"), format!("{good}\n{MISSPELT}\n")).expect("a file");
    fs::rename(world.path("spool/.x.tmp"), world.path("spool/x.ndjson")).expect("in place");
    let reason = eventually("the file is put aside", || {
        fs::read_dir(world.path("spool/failed")).ok()?.flatten().find_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            text.contains("no event type").then_some(text)
        })
    });
    assert_refused(&reason);

    world.request("POST", "/v1/events?account=free", &[], MISSPELT.as_bytes()).expect(202);
    let hooks = receiver.wait_at("/", 1);
    assert_eq!(hooks.len(), 1, "of a refused file nothing is taken, and nothing of another account");
}

#[test]
fn a_type_without_effect_is_kept_and_says_so() {
    let receiver = Receiver::start();
    let mut world = world(&receiver);
    let summary = json!({"type": "video.mediaAI.summary.ready", "id": "one", "data": {"n": 1}}).to_string();
    let answer = world.post(&summary).expect(202);
    assert_eq!(answer["effect"], "none");
    let again = world.post(&summary).expect(202);
    assert_eq!((&again["duplicate"], &again["effect"]), (&json!(true), &json!("none")));
    let partial = world.post(r#"{"type":"video.media.uploaded","data":2}"#).expect(202);
    assert_eq!(partial["effect"], "partial");
    let live = world.post(r#"{"type":"video.media.ready","data":3}"#).expect(202);
    assert_eq!(live.get("effect"), None, "what is as usual needs no word");

    let hooks = receiver.wait_at("/", 2);
    let bodies: Vec<Value> = hooks.iter().map(|hook| hook.json()).collect();
    assert!(bodies.contains(&json!(2)) && bodies.contains(&json!(3)), "{bodies:?}");
    world.settled();

    let types = world.get("/v1/event-types")["items"].clone();
    let counts: Vec<_> =
        types.as_array().expect("a list").iter().map(|one| one["accepted"].clone()).collect();
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(
        types[0],
        json!({"name": "video.media.ready", "groups": ["media", "video"], "description": "A video can be watched",
            "effect": "live", "accepted": 1})
    );
    assert_eq!(world.get("/v1/event-types?account=free")["items"], json!([]));

    let id = answer["id"].as_str().expect("an id");
    world.kill();
    world.start();
    let kept = world.event(id);
    assert_eq!(
        (&kept["effect"], &kept["data"], &kept["deliveries"]),
        (&json!("none"), &json!({"n": 1}), &json!([]))
    );
    assert_eq!(world.event(partial["id"].as_str().expect("an id"))["effect"], "partial");
    let shown = world.cli(&["event", "show", id]);
    assert!(stdout(&shown).contains("gave this type no effect"), "{}", stdout(&shown));
    let emitted = world.cli(&["emit", "video.mediaAI.summary.ready"]);
    assert_eq!(emitted.status.code(), Some(0));
    assert!(stderr(&emitted).contains("goes to nobody"), "{}", stderr(&emitted));
    world.settled();
    assert_eq!(receiver.hooks().len(), 2, "nothing else was sent");
}

#[test]
fn subscriptions_must_mean_something_in_the_catalog() {
    let place = tempfile::tempdir().expect("a directory");
    let check = |patterns: &[&str]| {
        let text = CATALOG.to_owned() + &endpoint("erp", "http://127.0.0.1:9/", patterns, "raw");
        fs::write(place.path().join("posthaste.toml"), text).expect("a file");
        run_in(place.path(), &["check", "--config", "posthaste.toml"])
    };
    assert_eq!(
        check(&["*", "video.media.*", "video.*.ready", "video.mediaAI.summary.ready"]).status.code(),
        Some(0)
    );
    let output = check(&["video.media.*", "video.medai.*"]);
    assert_eq!(output.status.code(), Some(78));
    let text = stderr(&output) + &stdout(&output);
    assert!(text.contains("means no type of the account's catalog"), "{text}");
    assert!(text.contains("did you mean `video.media.*`?"), "{text}");

    let twice = CATALOG.to_owned() + "[[accounts.default.event_type]]\nname = \"video.media.ready\"\n";
    fs::write(place.path().join("posthaste.toml"), twice).expect("a file");
    let output = run_in(place.path(), &["check", "--config", "posthaste.toml"]);
    let text = stderr(&output) + &stdout(&output);
    assert!(text.contains("the catalog has the event type `video.media.ready` twice"), "{text}");
    assert!(text.contains("the first is at posthaste.toml:3:8"), "{text}");
}

#[test]
fn a_batch_of_thousands_that_are_misspelt_is_answered_soon() {
    let receiver = Receiver::start();
    let name = |n: usize| format!("{}.{n:04}", "segment.".repeat(14) + "ready");
    let types: Vec<_> =
        (0..300).map(|n| format!("[[accounts.default.event_type]]\nname = \"{}\"\n", name(n))).collect();
    let world = World::running(&(types.concat() + &endpoint("erp", &receiver.url("/"), &["*"], "raw")));
    let lines: Vec<_> =
        (0..10_000).map(|n| format!("{{\"type\":\"x{}\",\"data\":{n}}}\n", name(n))).collect();
    let headers = [("content-type", "application/x-ndjson")];
    let answer = world.request("POST", "/v1/events", &headers, lines.concat().as_bytes()).expect(202);
    let items = answer["items"].as_array().expect("a list");
    let said = |item: &Value| item["error"]["message"].as_str().expect("a text").to_owned();
    assert!(items.len() == 10_000 && items.iter().all(|item| item["error"]["code"] == "unknown_event_type"));
    assert!(said(&items[0]).contains("did you mean `segment."), "{}", said(&items[0]));
    let suggesting = items.iter().filter(|item| said(item).contains("did you mean")).count();
    assert!(suggesting < 1_000, "{suggesting} searches");
    assert!(said(&items[9_999]).ends_with("posthaste account show default`"), "{}", said(&items[9_999]));
}
