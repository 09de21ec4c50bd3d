//! Elai: three types; a short delivery id, a timestamp in milliseconds and a hex signature; 2xx within 10 s.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};

use crate::{
    example::{Example, attempted, call, catalog, judges, make, path, refuses, sorted, waits},
    support::{
        eventually,
        receiver::{Receiver, Reply},
        sign::{check_elai, hmac_sha256},
    },
};

const ELAI: Example = Example("elai");

#[test]
fn there_are_three_events() {
    let types = ["video_ready", "video_error", "video_moderation"];
    assert_eq!(ELAI.types(), types);
    let receiver = Receiver::start();
    let world = ELAI.running(&receiver, "");
    assert_eq!(catalog(&world, "live"), sorted(types));
    let events = ELAI.emit_all(&world);
    let hooks = receiver.wait(3);
    for (event, name) in events {
        assert_eq!(world.ended(&event)["status"], "succeeded");
        assert!(hooks.iter().any(|hook| hook.json() == name), "{name}");
    }
    refuses(&world, "video_redy", "video_ready");
}

#[test]
fn three_headers_are_sent() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 500 } else { 200 }));
    let world = ELAI.running(&receiver, &ELAI.hurried(&["0s", "1100ms"]));
    world.emit("video_ready", &json!({"n": 1}));
    world.emit("video_error", &json!({"n": 2}));
    let hooks = receiver.wait(4);
    let mut ids = HashSet::new();
    for hook in &hooks {
        check_elai(hook, &ELAI.value("secret"));
        let signature = hook.header("elai-signature");
        assert!(signature.len() == 64 && signature.bytes().all(|b| b"0123456789abcdef".contains(&b)));
        let id = hook.header("delivery-id");
        assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        ids.insert(id.to_owned());
    }
    assert_eq!(ids.len(), 2, "two deliveries of two attempts each");
    for id in ids {
        let both: Vec<_> = hooks.iter().filter(|hook| hook.header("delivery-id") == id).collect();
        assert_ne!(both[0].header("elai-timestamp"), both[1].header("elai-timestamp"));
        assert_ne!(both[0].header("elai-signature"), both[1].header("elai-signature"));
    }
}

#[test]
fn a_payload_that_has_keys_twice_arrives_as_it_is() {
    let receiver = Receiver::start();
    let world = ELAI.running(&receiver, "");
    let sample = ELAI.sample();
    assert_eq!(sample.matches("\"status\"").count(), 2, "as in the document");
    assert_eq!(sample.matches("\"public\"").count(), 2);
    world.post(&format!(r#"{{"type":"video_ready","data":{sample}}}"#)).expect(202);
    let hook = receiver.wait(1).remove(0);
    assert_eq!(hook.text(), sample);
    check_elai(&hook, &ELAI.value("secret"));
    ELAI.verifies(&world, &hook, &ELAI.value("secret"));
    assert_eq!((hook.method.as_str(), hook.header("content-type")), ("POST", "application/json"));
}

#[test]
fn the_fields_are_the_producer_s_and_nothing_is_added() {
    let receiver = Receiver::start();
    let world = ELAI.running(&receiver, "");
    let payloads = [
        json!({"event": "video_error", "error": "no voice", "video": {"_id": "a"}}),
        json!({"event": "video_error", "error": null, "requestId": "r-1", "batchRowId": "7", "video": {}}),
    ];
    for (number, payload) in payloads.iter().enumerate() {
        world.emit("video_error", payload);
        let hooks = receiver.wait(number + 1);
        assert_eq!(&hooks[number].json(), payload);
        let known = [
            "accept",
            "content-length",
            "content-type",
            "delivery-id",
            "elai-signature",
            "elai-timestamp",
            "host",
            "user-agent",
        ];
        for (name, _) in &hooks[number].headers {
            assert!(known.contains(&name.as_str()), "an unexpected header: {name}");
        }
    }
}

#[test]
fn a_2xx_in_time_is_a_success_and_all_else_an_error() {
    let receiver = Receiver::answering(|hook| match hook.json().as_u64() {
        Some(0) => Reply::Never,
        Some(status) => Reply::Status(u16::try_from(status).expect("a status")),
        None => Reply::Close,
    });
    let more = ELAI.hurried(&["0s"]) + "timeout = \"1s\"\n";
    let world = ELAI.running(&receiver, &more);
    for (data, outcome) in [
        (json!(200), "succeeded"),
        (json!(202), "succeeded"),
        (json!(204), "succeeded"),
        (json!(299), "succeeded"),
        (json!(302), "failed"),
        (json!(404), "failed"),
        (json!(500), "failed"),
        (json!(0), "failed"),
        (json!("closed"), "failed"),
    ] {
        let event = world.emit("video_ready", &data);
        let delivery = world.ended(&event);
        assert_eq!(delivery["status"], outcome, "{data}");
        if data == 0 {
            let response = &delivery["attempts"][0]["response"];
            assert_eq!((&response["failure"], &response["status_code"]), (&json!("timeout"), &Value::Null));
        }
    }
}

#[test]
fn ten_seconds_are_waited() {
    let receiver = Receiver::answering(|_| Reply::Never);
    let world = ELAI.running(&receiver, "");
    let event = world.emit("video_ready", &json!({}));
    let delivery = attempted(&world, &event, 1);
    let total = delivery["attempts"][0]["phases"]["total"].as_f64().expect("a time");
    assert!((9_900.0..20_000.0).contains(&total), "{total} ms");
    assert_eq!(delivery["attempts"][0]["response"]["failure"], "timeout");
    let least = Duration::from_secs(15).as_millis();
    let waits = u128::try_from(waits(&delivery)).expect("not before");
    assert!((least - 100..least + 10_000).contains(&waits), "5 s after these 10: {waits} ms");
}

#[test]
fn failures_in_a_row_are_counted_and_a_success_begins_anew() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.json() == 1 { 500 } else { 200 }));
    let world = ELAI.running(&receiver, "");
    for _ in 0..3 {
        let event = world.emit("video_ready", &json!(1));
        attempted(&world, &event, 1);
    }
    assert_eq!(world.endpoint("shop")["consecutive_failures"], 3, "whatever their delivery");
    let event = world.emit("video_ready", &json!(2));
    world.ended(&event);
    assert_eq!(world.endpoint("shop")["consecutive_failures"], 0);
}

#[test]
fn ten_failures_in_a_row_disable_it_until_it_is_enabled_again() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.json() == 1 { 302 } else { 204 }));
    let mut world = ELAI.running(&receiver, &ELAI.hurried(&["0s", "1h"]));
    let nine: Vec<_> = (0..9)
        .map(|_| {
            let event = world.emit("video_error", &json!(1));
            attempted(&world, &event, 1);
            event
        })
        .collect();
    let shop = world.endpoint("shop");
    assert_eq!((&shop["enabled"], &shop["consecutive_failures"]), (&json!(true), &json!(9)));
    let tenth = world.emit("video_moderation", &json!(1));
    let shop = eventually("it is disabled", || {
        let shop = world.endpoint("shop");
        (shop["enabled"] == false).then_some(shop)
    });
    assert_eq!((&shop["disabled_reason"], &shop["consecutive_failures"]), (&json!("failures"), &json!(10)));
    let held = world.emit("video_ready", &json!(2));
    world.kill();
    world.start();
    assert_eq!(world.endpoint("shop")["disabled_since"], shop["disabled_since"], "over a kill, too");
    for event in nine.iter().chain([&tenth, &held]) {
        assert_eq!(world.delivery(event)["status"], "pending", "what is pending is kept");
    }
    assert_eq!(receiver.hooks().len(), 10, "no eleventh request");
    let answer = call(&world, "POST", &format!("{}/enable", path(&shop)), &json!({})).expect(200);
    assert_eq!((&answer["enabled"], &answer["consecutive_failures"]), (&json!(true), &json!(0)));
    assert_eq!(world.ended(&held)["status"], "succeeded");
}

#[test]
fn a_disabled_endpoint_keeps_what_is_pending_until_it_is_enabled_again() {
    for (pending, status, reason) in
        [("deliver", "succeeded", Value::Null), ("discard", "cancelled", json!("discarded"))]
    {
        let receiver = Receiver::answering(|hook| Reply::Status(if hook.json() == 1 { 500 } else { 200 }));
        let mut world = ELAI.running(&receiver, "");
        let shop = world.endpoint("shop");
        let failing = world.emit("video_error", &json!(1));
        attempted(&world, &failing, 1);
        call(&world, "POST", &format!("{}/disable", path(&shop)), &json!({})).expect(200);
        let event = world.emit("video_ready", &json!(2));
        world.kill();
        world.start();
        assert_eq!(world.endpoint("shop")["enabled"], false, "over a kill, too");
        assert_eq!(world.delivery(&event)["waiting"], "disabled");
        assert_eq!(receiver.hooks().len(), 1, "nothing more was sent");
        let answer = call(&world, "POST", &format!("{}/enable", path(&shop)), &json!({"pending": pending}))
            .expect(200);
        assert_eq!((&answer["enabled"], &answer["consecutive_failures"]), (&json!(true), &json!(0)));
        let delivery = world.ended(&event);
        assert_eq!((&delivery["status"], &delivery["reason"]), (&json!(status), &reason), "{pending}");
        let last = world.emit("video_ready", &json!(3));
        assert_eq!(world.ended(&last)["status"], "succeeded");
    }
}

#[test]
fn an_endpoint_can_be_made_over_the_api() {
    let receiver = Receiver::answering(|_| Reply::Status(200));
    let world = ELAI.running(&receiver, "");
    let made = make(&world, &receiver.url("/made"), &["video_moderation"]);
    world.emit("video_moderation", &json!({}));
    let hook = receiver.wait_at("/made", 1).remove(0);
    check_elai(&hook, made["secret"].as_str().expect("a secret"));
}

#[test]
fn the_example_runs_as_it_stands() {
    let Some((program, _world, _)) = ELAI.as_it_stands(&ELAI.commands()[0]) else { return };
    let handled = program.line("handled ");
    assert!(
        handled.ends_with(" video_ready 5f0c9a3be1d24b7a90c4e812 https://media.example/greeting.mp4"),
        "{handled}"
    );
    let secret = ELAI.value("secret");
    judges(&program, ELAI.sample().as_bytes(), |at, delivery, body| {
        let at = (at * 1_000).to_string();
        let mac = hmac_sha256(secret.as_bytes(), &[at.as_bytes(), b".", body]);
        vec![
            ("Delivery-ID", delivery.to_owned()),
            ("Elai-Timestamp", at),
            ("Elai-Signature", hex::encode(mac)),
        ]
    });
}

#[test]
fn listen_verifies_it() {
    ELAI.listens(Some(&ELAI.value("secret")));
}
