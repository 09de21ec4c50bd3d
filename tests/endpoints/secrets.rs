//! Secrets: made, shown where they are asked for, rotated with an overlap, and nowhere else.

use serde_json::{Value, json};

use super::{accepted, call, make, path, running};
use crate::support::{receiver::Receiver, world::World};

/// Rotates, and gives back the answer.
fn rotate(world: &World, endpoint: &Value, document: &Value) -> Value {
    let answer = call(world, "POST", &format!("{}/rotate-secret", path(endpoint)), document);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.expect(200)
}

/// Waits for one request more, and gives it back.
fn next_hook(world: &World, receiver: &Receiver) -> std::sync::Arc<crate::support::receiver::Hook> {
    let before = receiver.hooks().len();
    world.emit("a.b", &json!({"n": before}));
    receiver.wait(before + 1).pop().expect("it came")
}

#[test]
fn both_secrets_sign_while_they_overlap() {
    let receiver = Receiver::start();
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({}));
    let first = made["secret"].as_str().expect("a secret").to_owned();
    let hook = next_hook(&world, &receiver);
    assert_eq!(accepted(&hook, &first), 1);
    let rotated = rotate(&world, &made, &json!({"overlap": "1h"}));
    let second = rotated["secret"].as_str().expect("a secret").to_owned();
    assert_ne!(first, second);
    let all = rotated["secrets"].as_array().expect("a list");
    assert_eq!((&all[0]["secret"], &all[0]["until"]), (&json!(second), &Value::Null));
    assert_eq!(all[1]["secret"], first);
    assert!(all[1]["until"].as_str() > all[0]["created_at"].as_str(), "{rotated}");
    assert_eq!(world.get(&format!("{}/secret", path(&made))), rotated);
    let hook = next_hook(&world, &receiver);
    assert_eq!(
        (accepted(&hook, &first), accepted(&hook, &second)),
        (1, 1),
        "{}",
        hook.header("webhook-signature")
    );
    // Without an overlap the ones before are worth nothing at once.
    let rotated = rotate(&world, &made, &json!({"overlap": "0s"}));
    let third = rotated["secret"].as_str().expect("a secret");
    assert_eq!(rotated["secrets"].as_array().map(Vec::len), Some(1), "{rotated}");
    let hook = next_hook(&world, &receiver);
    assert_eq!([&*first, &*second, third].map(|secret| accepted(&hook, secret)), [0, 0, 1]);
}

#[test]
fn the_overlap_is_a_day_where_nobody_says() {
    let world = running();
    let made = make(&world, "https://a.example/", &json!({}));
    let rotated = rotate(&world, &made, &json!({}));
    let day = |field: &Value| field.as_str().expect("a time")[..10].to_owned();
    let all = &rotated["secrets"];
    assert_ne!(day(&all[1]["until"]), day(&all[0]["created_at"]), "{rotated}");
    for (document, status, code, part) in [
        (json!({"overlap": "8d"}), 422, "invalid_endpoint", "7 days"),
        (json!({"overlap": "soon"}), 400, "bad_request", "`overlap`"),
        (json!({"overlap": 5}), 400, "bad_request", "`overlap` must be a text"),
        (json!({"overlaps": "5m"}), 400, "bad_request", "did you mean `overlap`?"),
    ] {
        let answer = call(&world, "POST", &format!("{}/rotate-secret", path(&made)), &document);
        let detail = answer.problem(status, code);
        assert!(detail.contains(part), "{detail}");
    }
}

#[test]
fn an_endpoint_whose_profile_needs_none_has_none() {
    let world = running();
    let made = make(&world, "https://a.example/", &json!({"profile": "unsigned"}));
    call(&world, "GET", &format!("{}/secret", path(&made)), &json!({})).problem(404, "no_secret");
    call(&world, "POST", &format!("{}/rotate-secret", path(&made)), &json!({})).problem(404, "no_secret");
    let document = json!({"url": "https://a.example/", "event_types": ["*"], "profile": "unsigned", "secret": "hushhush"});
    let detail = call(&world, "POST", "/v1/endpoints", &document).problem(422, "secret_unfit");
    assert!(!detail.contains("hushhush"), "{detail}");
}

#[test]
fn with_ed25519_the_receiver_has_the_public_key() {
    let receiver = Receiver::start();
    let profile = "[profiles.edwards]\n[profiles.edwards.signature]\nalgorithm = \"ed25519\"\n";
    let world = World::running(&format!("{}{profile}", super::configuration()));
    let made = make(&world, &receiver.url("/"), &json!({"profile": "edwards"}));
    let public = |document: &Value| document["public_key"].as_str().expect("a key").to_owned();
    let first = public(&made);
    assert!(first.starts_with("whpk_"), "{made}");
    let rotated = rotate(&world, &made, &json!({"overlap": "1h"}));
    assert_eq!(public(&rotated["secrets"][1]), first);
    let hook = next_hook(&world, &receiver);
    std::fs::write(world.path("body"), &hook.body).expect("a file");
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: Vec<_> = headers.iter().map(|name| format!("{name}: {}", hook.header(name))).collect();
    for key in [first, public(&rotated)] {
        let mut args =
            vec!["verify", "--profile", "edwards", "--config", "posthaste.toml", "--secret", &key, "body"];
        args.extend(headers.iter().flat_map(|header| ["--header", header.as_str()]));
        let output = world.cli(&args);
        assert_eq!(output.status.code(), Some(0), "{}", crate::support::world::stderr(&output));
    }
}

#[test]
fn secrets_are_in_no_list_no_history_and_no_log() {
    let receiver = Receiver::start();
    let mut world = World::new(&super::configuration());
    world.set_env("POSTHASTE_LOG", std::path::Path::new("trace"));
    world.start();
    let further = json!({"headers": {"X-Token": "hush-hush-token"}});
    let made = make(&world, &receiver.url("/"), &further);
    let second = rotate(&world, &made, &json!({"overlap": "1h"}))["secret"].clone();
    let event = world.emit("a.b", &json!({"n": 1}));
    world.ended(&event);
    assert_eq!(receiver.hooks()[0].header("x-token"), "hush-hush-token");
    let tested = call(&world, "POST", &format!("{}/test", path(&made)), &json!({})).expect(200);
    let patched = call(&world, "PATCH", &path(&made), &json!({"description": "d"})).expect(200);
    let seen = [
        world.get("/v1/endpoints"),
        world.get(&path(&made)),
        world.get("/v1/status"),
        world.delivery(&event),
        tested,
        patched,
    ];
    world.stop();
    let log = world.log();
    for secret in [made["secret"].as_str(), second.as_str(), Some("hush-hush-token")] {
        let secret = secret.expect("a secret").trim_start_matches("whsec_");
        assert!(seen.iter().all(|document| !document.to_string().contains(secret)), "{seen:?}");
        assert!(!log.contains(secret), "the log has a secret");
    }
}
