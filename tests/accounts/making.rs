//! What an account can be told, and what not.

use std::fs;

use serde_json::{Value, json};

use super::{NETWORK, account, call, make};
use crate::support::{
    people::{NOBODY, is_root, open_world},
    world::{World, stderr, stdout},
};

#[test]
fn one_is_made_shown_changed_and_deleted() {
    let world = World::running(NETWORK);
    let answer = call(
        &world,
        "POST",
        "/v1/accounts",
        &json!({
            "name": "media", "description": "films", "profile": "raw", "max_endpoints": 3, "https_only": false,
            "max_origins": 5, "retention": "36h", "allow": ["127.0.0.1"], "deny": ["10.0.0.0/8"],
            "event_types": [{"name": "b.c", "groups": ["g"], "description": "d", "effect": "partial"}, {"name": "a"}],
        }),
    );
    assert_eq!(
        (answer.header("location"), answer.header("cache-control")),
        ("/v1/accounts/media", "no-store")
    );
    let made = answer.expect(201);
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{made}");
    let shown = account(&world, "media");
    for (field, value) in [
        ("name", json!("media")),
        ("owner", json!("api")),
        ("shadowed", json!(false)),
        ("description", json!("films")),
        ("profile", json!("raw")),
        ("max_endpoints", json!(3)),
        ("https_only", json!(false)),
        ("max_origins", json!(5)),
        ("retention", json!("1d12h")),
        ("retention_failed", Value::Null),
        ("allow", json!(["127.0.0.1/32"])),
        ("deny", json!(["10.0.0.0/8"])),
        ("has_secret", json!(true)),
        ("known_types", json!(2)),
        ("endpoints", json!(0)),
        ("problem", Value::Null),
        (
            "event_types",
            json!([
                {"name": "a", "groups": [], "description": "", "effect": "live"},
                {"name": "b.c", "groups": ["g"], "description": "d", "effect": "partial"},
            ]),
        ),
    ] {
        assert_eq!((&shown[field], &made[field]), (&value, &value), "{field}");
    }
    assert_eq!(shown.get("secret"), None, "it is shown where it is asked for alone");
    assert_eq!(world.get("/v1/accounts/media/secret")["secret"], made["secret"]);
    // What is not named stays; null is as by default.
    let changed = call(
        &world,
        "PATCH",
        "/v1/accounts/media",
        &json!({"max_endpoints": 4, "allow": null, "event_types": null, "description": null, "secret": null}),
    )
    .expect(200);
    assert_eq!((&changed["max_endpoints"], &changed["max_origins"]), (&json!(4), &json!(5)));
    assert_eq!(
        (&changed["allow"], &changed["event_types"], &changed["description"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_ne!(changed["updated_at"], changed["created_at"]);
    world.request("GET", "/v1/accounts/media/secret", &[], b"").problem(404, "no_secret");
    assert_eq!(
        call(&world, "DELETE", "/v1/accounts/media", &json!({})).expect(200),
        json!({"name": "media"})
    );
    world.request("GET", "/v1/accounts/media", &[], b"").problem(404, "not_found");
}

/// The rules are those of the configuration, and the words, too.
#[test]
fn what_cannot_be_is_refused_and_said() {
    let world = World::running(NETWORK);
    make(&world, "media", &json!({}));
    for (document, status, code, said) in [
        (json!({}), 400, "bad_request", "`name` is missing"),
        (json!({"name": "a b"}), 400, "bad_request", "1 to 64 characters"),
        (json!({"name": "media"}), 409, "account_exists", "posthaste account update media"),
        (json!({"name": "default"}), 409, "owned_by_configuration", "posthaste reload"),
        (json!({"name": "x", "max_endpoint": 1}), 400, "bad_request", "did you mean `max_endpoints`?"),
        (
            json!({"name": "x", "max_endpoints": -1}),
            422,
            "invalid_account",
            "`max_endpoints` is out of bounds: write a whole number from 0 to 65536",
        ),
        (
            json!({"name": "x", "max_endpoints": "1"}),
            422,
            "invalid_account",
            "`max_endpoints` cannot be a string",
        ),
        (json!({"name": "x", "profile": "rav"}), 422, "invalid_account", "did you mean `raw`"),
        (json!({"name": "x", "secret": "hushhush"}), 422, "invalid_account", "`secret` "),
        (json!({"name": "x", "secret": "@credential:c"}), 422, "invalid_account", "give the secret itself"),
        (json!({"name": "x", "allow": ["10.0.0.0/8"]}), 422, "invalid_account", "`network.allow`"),
        (json!({"name": "x", "deny": ["10.0.0.1/8"]}), 422, "invalid_account", "write \"10.0.0.0/8\""),
        (json!({"name": "x", "event_types": "a"}), 422, "invalid_account", "`event_types`"),
        (
            json!({"name": "x", "event_types": [{"name": "a b"}]}),
            422,
            "invalid_account",
            "`event_types.name` is no event type",
        ),
        (
            json!({"name": "x", "event_types": [{"name": "a", "efect": "live"}]}),
            422,
            "invalid_account",
            "effect",
        ),
        (
            json!({"name": "x", "event_types": [{"name": "a"}, {"name": "a"}]}),
            422,
            "invalid_account",
            "has the event type `a` twice",
        ),
        (json!({"name": "x", "event_types": [{"name": null}]}), 400, "bad_request", "without null"),
        (json!({"name": "x", "description": "\u{1b}[1m"}), 422, "invalid_account", "control character"),
    ] {
        let detail = call(&world, "POST", "/v1/accounts", &document).problem(status, code);
        assert!(detail.contains(said), "{document}: {detail}");
        assert!(!detail.contains("hushhush") && !detail.contains("accounts.x"), "{detail}");
    }
    // All that is wrong at once, and nothing has been made.
    let wrong = json!({"name": "x", "max_endpoints": -1, "max_origins": 0});
    let detail = call(&world, "POST", "/v1/accounts", &wrong).problem(422, "invalid_account");
    assert!(detail.contains("`max_endpoints`") && detail.contains("`max_origins`"), "{detail}");
    assert_eq!(world.list("/v1/accounts").len(), 2);
    for (document, status, code, said) in [
        (json!({"name": "y"}), 400, "bad_request", "make another account"),
        (json!({"profile": "transcodely"}), 422, "", ""),
        (json!({"max_origins": 0}), 422, "invalid_account", "`max_origins`"),
        (json!({"retention": "366d"}), 422, "invalid_account", "`retention` is out of bounds"),
        (json!({"retention_failed": 7}), 422, "invalid_account", "from 1s to 365d"),
    ] {
        let answer = call(&world, "PATCH", "/v1/accounts/media", &document);
        if code.is_empty() {
            // Its secret is a key for this profile, too.
            answer.expect(200);
        } else {
            assert!(answer.problem(status, code).contains(said), "{document}");
        }
    }
    call(&world, "PATCH", "/v1/accounts/nobody", &json!({"max_origins": 1})).problem(404, "not_found");
    call(&world, "DELETE", "/v1/accounts/nobody", &json!({})).problem(404, "not_found");
    let twice = world.request(
        "POST",
        "/v1/accounts",
        &[],
        b"{\"name\":\"x\",\"event_types\":[{\"name\":\"a\",\"name\":\"b\"}]}",
    );
    twice.problem(400, "bad_request");
}

#[test]
fn they_are_listed_by_name_page_after_page() {
    let world = World::running(NETWORK);
    for name in ["b", "a", "Z", "c"] {
        make(&world, name, &json!({}));
    }
    let mut names = Vec::new();
    let mut path = "/v1/accounts?limit=2".to_owned();
    loop {
        let page = world.get(&path);
        names.extend(page["items"].as_array().expect("a list").iter().map(|one| one["name"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => path = format!("/v1/accounts?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["Z", "a", "b", "c", "default"]);
}

#[test]
fn commands_do_all_of_it() {
    let world = World::running(NETWORK);
    fs::write(world.path("types.toml"), "[[event_type]]\nname = \"a.b\"\ngroups = [\"g\"]\n")
        .expect("a file");
    fs::write(world.path("types.json"), r#"[{"name":"a.c","effect":"none"}]"#).expect("a file");
    let output = world.cli(&["account", "add", "media", "--max-endpoints", "7", "--catalog", "types.toml"]);
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("media\n", Some(0)), "{output:?}");
    assert!(stderr(&output).contains("posthaste account secret media"), "{output:?}");
    assert!(stdout(&world.cli(&["account", "secret", "media"])).starts_with("whsec_"));
    let shown = stdout(&world.cli(&["account", "show", "media"]));
    assert!(shown.contains("a.b  g") && shown.contains("0, of 7"), "{shown}");
    let output = world.cli(&["account", "update", "media", "--catalog", "types.json", "--no-secret"]);
    assert!(stdout(&output).contains("a.c  (not delivered)"), "{output:?}");
    let list = stdout(&world.cli(&["account", "list"]));
    assert!(list.contains("media") && list.contains("default"), "{list}");
    let json: Value =
        serde_json::from_str(&stdout(&world.cli(&["--json", "account", "show", "media"]))).expect("JSON");
    assert_eq!(json["has_secret"], false);
    for (args, code, said) in [
        (&["account", "update", "media"][..], 64, "name what is to be another"),
        (&["account", "add", "x", "--catalog", "posthaste.toml"], 65, "no part of a catalog"),
        (&["account", "add", "x", "--catalog", "p.sock"], 74, "p.sock"),
        (&["account", "add", "x", "--profile", "rav"], 65, "did you mean `raw`"),
        (&["account", "remove", "default"], 65, "stands in the configuration"),
    ] {
        let output = world.cli(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(stderr(&output).contains(said), "{args:?}: {output:?}");
    }
    assert_eq!(stdout(&world.cli(&["account", "remove", "media"])), "media is deleted\n");
}

#[test]
fn nobody_else_may() {
    if !is_root() {
        return;
    }
    let world = open_world("");
    for (method, path) in [
        ("GET", ""),
        ("POST", ""),
        ("GET", "/default"),
        ("PATCH", "/default"),
        ("DELETE", "/default"),
        ("GET", "/default/secret"),
    ] {
        let path = format!("/v1/accounts{path}");
        NOBODY.does(|| world.request(method, &path, &[], b"{}")).problem(403, "not_allowed");
    }
}
