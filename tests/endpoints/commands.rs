//! `posthaste endpoint`, against a daemon.

use serde_json::{Value, json};

use super::{accepted, configuration};
use crate::support::{
    config::endpoint,
    receiver::{Receiver, Reply},
    world::{World, json_of, stderr, stdout},
};

/// A daemon with an endpoint `erp` in its configuration.
fn world(erp: &str) -> World {
    World::running(&format!("{}{}", configuration(), endpoint("erp", erp, &["x.y"], "raw")))
}

/// What a command that succeeds prints.
fn done(world: &World, args: &[&str]) -> String {
    let output = world.cli(&[&["endpoint"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

/// What a command that fails with this code says.
fn failed(world: &World, args: &[&str], code: i32) -> String {
    let output = world.cli(&[&["endpoint"], args].concat());
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", stdout(&output), stderr(&output));
    stderr(&output)
}

#[test]
fn the_life_of_an_endpoint() {
    let receiver = Receiver::start();
    let world = world("http://127.0.0.1:1/");
    let url = receiver.url("/hooks");
    let made = done(&world, &["add", &url, "--type", "a.*", "--description", "ERP", "--header", "X-A: b"]);
    let id = made.trim_end();
    assert!(id.starts_with("ep_") && made.lines().count() == 1, "{made}");
    let secret = done(&world, &["secret", id]);
    let first = world.emit("a.b", &json!({"n": 1}));
    world.ended(&first);
    let hook = receiver.hooks().remove(0);
    assert_eq!((hook.header("x-a"), accepted(&hook, secret.trim_end())), ("b", 1));
    let shown = done(&world, &["show", id]);
    for part in ["state        enabled", "ERP", &url, "a.*", "raw (its account's)", "x-a: ••••••", "update"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(done(&world, &["list"]).contains(id));
    assert!(done(&world, &["disable", id]).contains("disabled"));
    let held = world.emit("a.b", &json!({"n": 2}));
    assert_eq!(world.delivery(&held)["waiting"], "disabled");
    assert!(done(&world, &["show", id]).contains("disabled: operator since"));
    assert_eq!(
        done(&world, &["enable", id, "--pending", "discard"]),
        format!("{id}: enabled, 1 delivery is cancelled\n")
    );
    let changed = done(&world, &["update", id, "--type", "c.d", "--no-headers", "--no-description"]);
    assert!(changed.contains("c.d") && !changed.contains("x-a") && !changed.contains("ERP"), "{changed}");
    let rotated = done(&world, &["rotate-secret", id, "--overlap", "1h"]);
    assert_ne!(rotated, secret);
    let all = done(&world, &["secret", id, "--all"]);
    assert!(all.contains(rotated.trim_end()) && all.contains(secret.trim_end()), "{all}");
    assert_eq!(done(&world, &["remove", id]), format!("{id}: removed, 0 deliveries are cancelled\n"));
    assert!(failed(&world, &["show", id], 65).contains("has been deleted"));
}

#[test]
fn names_and_refusals() {
    let world = world("http://127.0.0.1:1/");
    assert!(done(&world, &["show", "erp"]).contains("configuration: it is changed there"));
    assert!(done(&world, &["disable", "erp"]).starts_with("erp: disabled"));
    assert!(done(&world, &["enable", "erp"]).starts_with("erp: enabled"));
    assert!(failed(&world, &["show", "epr"], 65).contains("did you mean `erp`?"));
    assert!(failed(&world, &["remove", "erp"], 65).contains("stands in the configuration"));
    assert!(failed(&world, &["update", "erp", "--url", "https://a.example/"], 65).contains("configuration"));
    assert!(failed(&world, &["add", "ftp://a.example/", "--type", "*"], 65).contains("http"));
    let unknown = failed(&world, &["add", "https://a.example/", "--type", "*", "--profile", "quik"], 65);
    assert!(unknown.contains("did you mean `quick`?"), "{unknown}");
    failed(&world, &["add", "https://a.example/"], 64);
    failed(&world, &["update", "erp"], 64);
    let output = world.cli(&["--socket", "/nowhere/p.sock", "endpoint", "show", "erp"]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
}

#[test]
fn a_test_says_by_its_code_whether_it_was_taken() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.json()["n"] == 1 { 204 } else { 500 }));
    let world = world(&receiver.url("/"));
    let told = done(&world, &["test", "erp", "--data", "{\"n\":1}"]);
    for part in ["Test of erp", "204 No Content", "x.y", "request   POST http://127", "sent      {\"n\":1}"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let said = failed(&world, &["test", "erp", "--type", "a.b"], 75);
    assert!(said.contains("the test did not succeed: not a success"), "{said}");
}

#[test]
fn json_is_what_the_daemon_said() {
    let world = world("http://127.0.0.1:1/");
    let json = |args: &[&str]| -> Value { json_of(&world.cli(&[&["endpoint", "--json"], args].concat())) };
    let made = json(&["add", "https://a.example/", "--type", "*", "--account", "acme"]);
    let id = made["id"].as_str().expect("an id");
    assert_eq!((&made["account"], made["secret"].is_string()), (&json!("acme"), true));
    assert_eq!(json(&["show", id]), world.get(&format!("/v1/endpoints/{id}")));
    assert_eq!(json(&["secret", id])["secret"], made["secret"]);
    assert_eq!(json(&["disable", id])["enabled"], false);
    assert_eq!(json(&["enable", id])["resumed"], 0);
    assert_eq!(json(&["update", id, "--description", "d"])["description"], "d");
    assert_ne!(json(&["rotate-secret", id])["secret"], made["secret"]);
    assert_eq!(json(&["remove", id]), json!({"id": id, "cancelled": 0}));
}
