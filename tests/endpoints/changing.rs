//! `PATCH`, `DELETE`, `POST …/enable` and `…/disable`: what they answer and refuse.

use serde_json::{Value, json};

use super::{ROUTES, call, configuration, make, path, running, shown};
use crate::support::{config::endpoint, world::World};

#[test]
fn what_is_named_is_changed_and_the_rest_stays() {
    let world = running();
    let further = json!({"description": "d", "profile": "quick", "headers": {"X-A": "hushhush"}});
    let made = make(&world, "https://a.example/", &further);
    let changed = call(&world, "PATCH", &path(&made), &json!({"url": "https://b.example/"})).expect(200);
    assert_eq!(changed["url"], "https://b.example/");
    for field in ["description", "profile", "headers", "event_types", "created_at", "enabled"] {
        assert_eq!(changed[field], made[field], "{field}");
    }
    assert_ne!(changed["updated_at"], made["updated_at"]);
    assert_eq!(shown(&world, &made), changed);
    let all = json!({
        "event_types": ["a.*"], "description": "e", "profile": "posthaste", "headers": {"X-B": "1", "X-C": "2"}
    });
    let changed = call(&world, "PATCH", &path(&made), &all).expect(200);
    assert_eq!(changed["headers"], json!({"x-b": "••••••", "x-c": "••••••"}), "all of them are others");
    assert_eq!((&changed["event_types"], &changed["description"]), (&json!(["a.*"]), &json!("e")));
    assert_eq!(changed["profile"], "posthaste");
    let none = json!({"description": null, "profile": null, "headers": null});
    let changed = call(&world, "PATCH", &path(&made), &none).expect(200);
    assert_eq!((&changed["description"], &changed["headers"]), (&Value::Null, &json!({})));
    assert_eq!((&changed["profile"], &changed["own_profile"]), (&json!("raw"), &json!(false)));
}

#[test]
fn changes_that_cannot_be_are_refused_and_change_nothing() {
    let world = running();
    let made = make(&world, "https://a.example/", &json!({}));
    let before = shown(&world, &made);
    for (document, status, code, part) in [
        (json!({"enabled": null}), 400, "bad_request", "`enabled` must be true or false, and is null"),
        (json!({"active": false}), 400, "bad_request", "write `enabled`"),
        (json!({"enabled": false, "url": "nothing"}), 422, "url_refused", ""),
        (json!({"secret": "hushhush"}), 400, "bad_request", "/rotate-secret"),
        (json!({"account": "acme"}), 400, "bad_request", "cannot be changed"),
        (json!({"event_type": ["*"]}), 400, "bad_request", "did you mean `event_types`?"),
        (json!({"url": null}), 400, "bad_request", "`url` must be a text, and is null"),
        (json!({"event_types": []}), 422, "invalid_endpoint", "`event_types` is empty"),
        (json!({"profile": "rw"}), 422, "unknown_profile", "did you mean `raw`?"),
        (json!({"url": "mailto:a@b.example"}), 422, "url_refused", "http"),
        // What is good in it is not done, either.
        (json!({"description": "x", "url": "nothing"}), 422, "url_refused", ""),
    ] {
        let detail = call(&world, "PATCH", &path(&made), &document).problem(status, code);
        assert!(detail.contains(part) && !detail.contains("hushhush"), "{document}: {detail}");
    }
    let enable = format!("{}/enable", path(&made));
    let detail = call(&world, "POST", &enable, &json!({"pending": "drop"})).problem(400, "bad_request");
    assert!(detail.contains("\"deliver\" or \"discard\""), "{detail}");
    let disable = format!("{}/disable", path(&made));
    call(&world, "POST", &disable, &json!({"why": "x"})).problem(400, "bad_request");
    assert_eq!(shown(&world, &made), before);
}

#[test]
fn nothing_can_be_done_with_what_is_not_there() {
    let world = running();
    let made = make(&world, "https://a.example/", &json!({}));
    assert_eq!(
        call(&world, "DELETE", &path(&made), &json!({})).expect(200),
        json!({"id": made["id"], "cancelled": 0})
    );
    assert_eq!(world.list("/v1/endpoints"), [] as [Value; 0]);
    // What was delivered to it can still be seen.
    for (method, verb) in ROUTES.into_iter().filter(|(_, verb)| *verb != "/deliveries") {
        let detail =
            call(&world, method, &format!("{}{verb}", path(&made)), &json!({})).problem(404, "not_found");
        assert!(detail.contains("has been deleted"), "{method} {verb}: {detail}");
        call(&world, method, &format!("/v1/endpoints/ep_01hqr2p1qq8k3v7r5m6n0x9y2z{verb}"), &json!({}))
            .problem(404, "not_found");
    }
    call(&world, "POST", &format!("{}/recover", path(&made)), &json!({})).problem(404, "not_found");
    call(&world, "POST", &format!("{}/secret", path(&made)), &json!({})).problem(405, "method_not_allowed");
}

#[test]
fn the_configurations_endpoints_are_changed_there_alone() {
    let world = World::running(&format!(
        "{}{}",
        configuration(),
        endpoint("erp", "https://erp.example/", &["*"], "raw")
    ));
    let erp = world.endpoint("erp");
    for (method, verb) in [("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret")] {
        let answer = call(&world, method, &format!("{}{verb}", path(&erp)), &json!({}));
        let detail = answer.problem(409, "owned_by_configuration");
        assert!(detail.contains("`erp`"), "{detail}");
    }
    let disabled = call(&world, "POST", &format!("{}/disable", path(&erp)), &json!({})).expect(200);
    assert_eq!((&disabled["enabled"], &disabled["disabled_reason"]), (&json!(false), &json!("operator")));
    let status = world.get("/v1/status");
    let listed = &status["disabled_endpoints"][0];
    assert_eq!((&listed["name"], &listed["reason"]), (&json!("erp"), &json!("operator")));
    assert!(listed["help"].as_str().is_some_and(|help| help.contains("endpoint enable")), "{listed}");
    let enabled = call(&world, "POST", &format!("{}/enable", path(&erp)), &json!({})).expect(200);
    assert_eq!(
        (&enabled["enabled"], &enabled["resumed"], &enabled["discarded"]),
        (&json!(true), &json!(0), &json!(0))
    );
}

#[test]
fn whatever_is_no_success_is_a_problem_document() {
    let world = running();
    let made = make(&world, "https://a.example/", &json!({}));
    let of_endpoints = ROUTES.map(|(method, verb)| (method, format!("/v1/endpoints/%ff{verb}")));
    let others = ["/v1/events/%ff", "/v1/deliveries/%ff"].map(|path| ("GET", path.to_owned()));
    for (method, path) in of_endpoints.into_iter().chain(others) {
        let detail = call(&world, method, &path, &json!({})).problem(400, "bad_request");
        assert!(detail.contains("no UTF-8"), "{method} {path}: {detail}");
        // What is UTF-8 and no id is not there.
        call(&world, method, &path.replace("%ff", "%c3%a9"), &json!({})).problem(404, "not_found");
    }
    for path in ["/v1", "/v1/endpoints/", "/v1/endpoints/%ff/nothing", "/%ff", "/v1/nothing?%ff"] {
        call(&world, "GET", path, &json!({})).problem(404, "not_found");
    }
    for (method, path) in
        [("PUT", "/v1/events"), ("DELETE", "/v1/events/%ff"), ("POST", "/healthz"), ("PUT", "/v1/endpoints")]
    {
        call(&world, method, path, &json!({})).problem(405, "method_not_allowed");
    }
    for path in [
        "/v1/events",
        "/v1/deliveries",
        "/v1/endpoints",
        "/v1/event-types",
        "/v1/events/%ff",
        "/v1/deliveries/x",
    ] {
        let answer = call(&world, "GET", &format!("{path}?%ff=%ff"), &json!({}));
        answer.problem(400, "bad_request");
    }
    let large = json!({"description": "x".repeat(300 << 10)});
    call(&world, "PATCH", &super::path(&made), &large).problem(413, "body_too_large");
    call(&world, "POST", "/v1/endpoints", &large).problem(413, "body_too_large");
    let other = [("content-type", "text/plain")];
    world.request("PATCH", &super::path(&made), &other, b"{}").problem(415, "unsupported_media_type");
}
