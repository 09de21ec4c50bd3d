//! OmegaStream: an envelope of its own, shown in history with the endpoint's response; types that are live, partly
//! live or without effect.

use std::fs;

use serde_json::{Value, json};

use crate::{
    example::{Example, attempted, call, catalog, make, millis, path, refuses, send, sorted, waits},
    support::{
        config::ODD,
        eventually,
        receiver::{Receiver, Reply},
        world::{World, run_in, stderr, stdout},
    },
};

const OMEGASTREAM: Example = Example("omegastream");

const LIVE: [&str; 5] = [
    "video.process_succeeded",
    "video.process_failed",
    "video.deleted",
    "video.failed_to_delete",
    "video.deletion_reverted",
];
const WITHOUT_EFFECT: [&str; 4] =
    ["video.ready_for_processing", "video.in_progress", "video.completed_processing", "video.ready_to_watch"];

fn endpoint(name: &str, url: &str, keys: &str) -> String {
    format!("\n[[endpoint]]\nname = \"{name}\"\nurl = \"{url}\"\n{keys}\n")
}

#[test]
fn an_endpoint_has_a_url_that_is_posted_to_and_events() {
    let receiver = Receiver::start();
    for (url, keys, said) in [
        ("not a url", "event_types = [\"*\"]", "`endpoint.url`"),
        ("ftp://127.0.0.1/webhook", "event_types = [\"*\"]", "`endpoint.url`"),
        ("http://me:secret@127.0.0.1/webhook", "event_types = [\"*\"]", "`endpoint.url`"),
        ("http://127.0.0.1:1/webhook", "", "`endpoint.event_types`"),
        ("http://127.0.0.1:1/webhook", "event_types = []", "`endpoint.event_types`"),
    ] {
        let world = OMEGASTREAM.world(&receiver.url("/"), &endpoint("more", url, keys));
        let output = run_in(&world.path(""), &["check", "--config", "posthaste.toml"]);
        assert_eq!(output.status.code(), Some(78), "{url} {keys}");
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        assert!(!stderr(&output).contains("me:secret"), "{}", stderr(&output));
    }
    let world = OMEGASTREAM.running(&receiver, "");
    world.emit("video.process_failed", &json!({}));
    assert_eq!(receiver.wait(1)[0].method, "POST");
    let shown = world.endpoint("portal");
    assert_eq!((&shown["enabled"], &shown["account"]), (&json!(true), &json!("default")));
    assert_eq!(shown["url"], receiver.url("/hooks"));
    assert_eq!(shown["event_types"].as_array().map(Vec::len), Some(7), "as the document's example has them");
    assert!(millis(&shown["created_at"]) > 0);
}

#[test]
fn an_endpoint_is_made_over_the_api() {
    let receiver = Receiver::answering(|_| Reply::Status(200));
    let world = OMEGASTREAM.running(&receiver, "");
    let types = json!(["video.completed_processing", "video.process_failed", "video.uploaded"]);
    for (document, status, code) in [
        (json!({"event_types": types}), 400, "bad_request"),
        (json!({"url": "https://app.example/"}), 400, "bad_request"),
        (json!({"url": "webhook", "event_types": types}), 422, "url_refused"),
        (json!({"url": "ftp://app.example/", "event_types": types}), 422, "url_refused"),
        (json!({"url": "http://me:secret@127.0.0.1/", "event_types": types}), 422, "url_refused"),
    ] {
        let detail = call(&world, "POST", "/v1/endpoints", &document).problem(status, code);
        assert!(!detail.contains("me:secret"), "{detail}");
    }
    let document = json!({"url": receiver.url("/webhook"), "event_types": types});
    let made = call(&world, "POST", "/v1/endpoints", &document).expect(201);
    assert!(made["id"].as_str().is_some_and(|id| id.starts_with("ep_")), "{made}");
    assert_eq!(made["created_at"], made["updated_at"]);
    assert!(millis(&made["created_at"]) > 0);
    for (field, value) in [
        ("account", json!("default")),
        ("url", json!(receiver.url("/webhook"))),
        ("description", Value::Null),
        ("event_types", types.clone()),
        ("enabled", json!(true)),
        ("profile", json!("omegastream")),
        ("secret", Value::Null),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let changed = call(&world, "PATCH", &path(&made), &json!({"description": "for people"})).expect(200);
    assert_eq!(changed["description"], "for people");
    assert_eq!(changed["created_at"], made["created_at"]);
    assert!(millis(&changed["updated_at"]) >= millis(&made["updated_at"]));
    for field in ["url", "event_types", "enabled", "headers", "profile"] {
        assert_eq!(changed[field], made[field], "a description is for viewing alone: {field}");
    }
    world.emit("video.process_failed", &json!({}));
    let hook = receiver.wait_at("/webhook", 1).remove(0);
    assert_eq!(hook.json()["endpoint_id"], made["id"]);
}

#[test]
fn plain_http_to_this_machine_has_to_be_allowed() {
    let receiver = Receiver::start();
    let world = OMEGASTREAM.world(&receiver.url("/"), "");
    let text = fs::read_to_string(world.config()).expect("a file");
    let (closed, plain) = ("allow = [\"127.0.0.0/8\"]\n", "https_only = false\n");
    assert!(text.contains(closed) && text.contains(plain));
    for (text, line) in
        [(text.replace(plain, ""), "https_only"), (text.replace(closed, ""), "allow = [\"127.0.0.1/32\"]")]
    {
        let mut world = World::new("");
        fs::write(world.config(), text).expect("a configuration");
        world.start();
        let document = json!({"url": "http://127.0.0.1:6060/webhook", "event_types": ["*"]});
        let answer = call(&world, "POST", "/v1/endpoints", &document);
        assert_eq!(answer.status, 422, "{}", answer.text());
        let detail = answer.json()["detail"].as_str().expect("a text").to_owned();
        assert!(detail.contains(line), "it says what would allow it: {detail}");
    }
}

#[test]
fn an_endpoint_that_is_not_active_gets_nothing_until_it_is() {
    let receiver = Receiver::answering(|_| Reply::Status(200));
    let world = OMEGASTREAM.running(&receiver, "");
    let made = make(&world, &receiver.url("/webhook"), &["video.process_failed"]);
    let disabled = call(&world, "POST", &format!("{}/disable", path(&made)), &json!({})).expect(200);
    assert_eq!((&disabled["enabled"], &disabled["disabled_reason"]), (&json!(false), &json!("operator")));
    let event = world.emit("video.process_failed", &json!({}));
    receiver.wait_at("/hooks", 1);
    let held = |world: &World| {
        let list = world.deliveries(&event);
        let found = list.iter().find(|one| one["endpoint_id"] == made["id"]);
        found.expect("it was made all the same").clone()
    };
    assert_eq!((&held(&world)["status"], &held(&world)["waiting"]), (&json!("pending"), &json!("disabled")));
    assert!(receiver.hooks_at("/webhook").is_empty());
    let enabled = call(&world, "POST", &format!("{}/enable", path(&made)), &json!({})).expect(200);
    assert_eq!((&enabled["enabled"], &enabled["resumed"]), (&json!(true), &json!(1)));
    receiver.wait_at("/webhook", 1);
    world.settled();
    assert_eq!(held(&world)["status"], "succeeded");
}

#[test]
fn an_event_comes_in_the_envelope() {
    let receiver = Receiver::answering(|_| Reply::Status(200));
    let world = OMEGASTREAM.running(&receiver, "");
    let endpoint = world.endpoint("portal")["id"].clone();
    for (number, data) in ODD.iter().chain(&["{}"]).enumerate() {
        let event =
            format!(r#"{{"type":"video.process_failed","time":"2022-08-31T18:46:32Z","data":{data}}}"#);
        let id = world.post(&event).expect(202)["id"].clone();
        let hook = receiver.wait(number + 1)[number].clone();
        assert_eq!(hook.header("content-type"), "application/json");
        assert!(hook.text().contains(&format!(r#""data": {data}, "#)), "byte for byte: {}", hook.text());
        let data: Value = serde_json::from_str(data).unwrap_or(Value::Null);
        let body = serde_json::from_slice::<Value>(&hook.body);
        // A number beyond all that serde_json keeps is sent all the same.
        let Ok(body) = body else { continue };
        let expected = json!({"id": id, "coid": "default", "api_version": "v1", "created": 1_661_971_592,
            "type": "video.process_failed", "data": data, "endpoint_id": endpoint});
        assert_eq!(body, expected);
    }
}

#[test]
fn history_shows_the_response_that_came() {
    let receiver = Receiver::answering(|_| {
        Reply::Full(200, ("content-type", "text/plain"), "webhook received\n".to_owned())
    });
    let world = OMEGASTREAM.running(&receiver, "");
    let event = world.emit("video.process_failed", &json!({"video_id": "v-1"}));
    let delivery = world.ended(&event);
    let attempt = &delivery["attempts"][0];
    let body = attempt["request"]["body"].as_str().expect("what was sent");
    assert_eq!(body, receiver.hooks()[0].text(), "the envelope as it was sent stands beside the response");
    let envelope: Value = serde_json::from_str(body).expect("JSON");
    let created = envelope["created"].clone();
    assert!(created.is_u64(), "{envelope}");
    assert_eq!(
        envelope,
        json!({"id": event, "coid": "default", "api_version": "v1", "created": created,
            "type": "video.process_failed", "data": {"video_id": "v-1"}, "endpoint_id": delivery["endpoint_id"]})
    );
    let response = &attempt["response"];
    assert_eq!((&response["status_code"], &response["status"]), (&json!(200), &json!("200 OK")));
    assert_eq!(response["body"], "webhook received\n");
    assert!(response["message"].as_str().is_some_and(|message| message.contains("took it")), "{response}");
    let output = world.cli(&["delivery", "show", delivery["id"].as_str().expect("an id")]);
    assert!(stdout(&output).contains("webhook received"), "{}", stdout(&output));
}

#[test]
fn types_are_live_partly_live_or_without_effect() {
    let receiver = Receiver::answering(|_| Reply::Status(200));
    let all = endpoint("all", &receiver.url("/all"), "event_types = [\"*\"]");
    let mut world = OMEGASTREAM.running(&receiver, &all);
    assert_eq!(catalog(&world, "live"), sorted(LIVE));
    assert_eq!(catalog(&world, "partial"), ["video.uploaded"]);
    assert_eq!(catalog(&world, "none"), sorted(WITHOUT_EFFECT));

    let mut kept = Vec::new();
    for name in OMEGASTREAM.types() {
        let answer = world.post(&json!({"type": name, "data": {"of": name}}).to_string()).expect(202);
        let effect = match name.as_str() {
            "video.uploaded" => json!("partial"),
            name if WITHOUT_EFFECT.contains(&name) => json!("none"),
            _ => Value::Null,
        };
        assert_eq!(answer["effect"], effect, "{name}");
        if effect == "none" {
            kept.push((answer["id"].as_str().expect("an id").to_owned(), name));
        }
    }
    world.settled();
    let hooks = receiver.hooks_at("/all");
    let came = hooks.iter().map(|hook| hook.json()["type"].as_str().expect("a type").to_owned());
    assert_eq!(sorted(came), sorted(LIVE.into_iter().chain(["video.uploaded"])));
    assert_eq!(receiver.hooks_at("/hooks").len(), 3, "of its seven types four have no effect");

    world.stop();
    world.start();
    for (id, name) in kept {
        let event = world.event(&id);
        assert_eq!((&event["data"], &event["effect"]), (&json!({"of": name}), &json!("none")));
        assert_eq!(event["deliveries"], json!([]));
    }
    refuses(&world, "video.procces_succeeded", "video.process_succeeded");
}

#[test]
fn an_endpoint_s_events_and_the_details_of_each_can_be_viewed() {
    let receiver = Receiver::answering(|_| Reply::Status(200));
    let world = OMEGASTREAM.running(&receiver, "");
    let event = world.emit("video.uploaded", &json!({"n": 1}));
    world.ended(&event);
    let list = world.list(&format!("{}/deliveries", path(&world.endpoint("portal"))));
    assert_eq!((list.len(), &list[0]["event_id"]), (1, &json!(event)));
    let shown = world.event(&event);
    assert_eq!((&shown["type"], &shown["data"]), (&json!("video.uploaded"), &json!({"n": 1})));
    assert_eq!(shown["deliveries"][0]["status"], "succeeded");
}

#[test]
fn a_failed_delivery_is_tried_again_after_some_seconds_first() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let world = OMEGASTREAM.running(&receiver, "");
    let event = world.emit("video.process_failed", &json!({}));
    let waits = waits(&attempted(&world, &event, 1));
    assert!((5_000..15_000).contains(&waits), "{waits} ms");
}

#[test]
fn the_example_runs_as_it_stands() {
    let Some((program, world, delivery)) = OMEGASTREAM.as_it_stands(&OMEGASTREAM.commands()[0]) else {
        return;
    };
    let (event, endpoint) = (&delivery["event_id"], &delivery["endpoint_id"]);
    let named = format!("{}/{}", event.as_str().expect("an id"), endpoint.as_str().expect("an id"));
    assert_eq!(program.line("handled "), format!("{named} video.process_succeeded v-204"));
    assert_eq!(delivery["attempts"][0]["response"]["body"], "webhook received\n");
    let token = "hV5nXc2mQs8tWk4rYb7j";
    assert!(!world.delivery(event.as_str().expect("an id")).to_string().contains(token));

    // As its README makes another endpoint, though at another port.
    let readme = OMEGASTREAM.file("README.md");
    let line = readme.lines().find_map(|line| line.trim().strip_prefix("posthaste endpoint add "));
    let (_, header) = line.expect("it says how").split_once("--header '").expect("with the header");
    let header = header.trim_end_matches('\'');
    let added = world.cli(&["endpoint", "add", &program.url(), "--type", "video.*", "--header", header]);
    assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
    let event = world.emit("video.failed_to_delete", &json!({"video_id": "v-1"}));
    let delivery = world.ended(&event);
    assert_eq!(
        (&delivery["status"], &delivery["endpoint_id"]),
        (&json!("succeeded"), &json!(stdout(&added).trim()))
    );
    eventually("it is handled", || (program.count("handled ") == 2).then_some(()));

    let body = br#"{"id":"evt_1","endpoint_id":"ep_1","type":"video.deleted","data":{}}"#;
    for wrong in ["", "Bearer", "Bearer wrong", token] {
        assert_eq!(send(&program, &[("Authorization", wrong.to_owned())], body).0, 401, "{wrong}");
    }
    let right = [("Authorization", format!("Bearer {token}"))];
    assert_eq!(send(&program, &[], body).0, 401);
    assert_eq!(send(&program, &right, b"{}").0, 400);
    assert_eq!(send(&program, &right, body), (200, "webhook received\n".to_owned()));
    assert_eq!(send(&program, &right, body), (200, "Already processed\n".to_owned()));
    eventually("it is handled once", || (program.count("handled ") == 3).then_some(()));
}

#[test]
fn listen_takes_it_as_there_is_nothing_to_verify() {
    OMEGASTREAM.listens(None);
}
