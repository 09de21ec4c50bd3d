//! What follows from an attempt's answer: when the next is made, and what becomes of the endpoint.

mod support;

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually,
    http::Answer,
    receiver::{Receiver, Reply},
    sign::unix_seconds,
    world::{World, stderr},
};

/// A schedule that tries at once, again and again.
const SOON: [&str; 40] = ["0s"; 40];

/// The daemon with the endpoint `shop`, whose profile tries at once, again and again, and has these `keys`.
fn running(receiver: &Receiver, keys: &str) -> World {
    World::running(&configuration(receiver, keys))
}

fn configuration(receiver: &Receiver, keys: &str) -> String {
    endpoint("shop", &receiver.url("/"), &["*"], "p") + &profile("p", &SOON, keys)
}

fn call(world: &World, method: &str, path: &str, document: &Value) -> Answer {
    world.request(method, path, &[("content-type", "application/json")], document.to_string().as_bytes())
}

/// The endpoint `shop`, once it is disabled; nothing is sent any more.
fn disabled(world: &World) -> Value {
    eventually("it is disabled", || {
        let shop = world.endpoint("shop");
        (shop["enabled"] == false).then_some(shop)
    })
}

fn whys(delivery: &Value) -> Vec<&str> {
    let attempts = delivery["attempts"].as_array().expect("a list");
    attempts.iter().map(|attempt| attempt["why"].as_str().expect("a word")).collect()
}

fn refusing(status: u16, header: (&'static str, &'static str)) -> Receiver {
    Receiver::answering(move |hook| match hook.earlier {
        0 => Reply::Full(status, header, String::new()),
        _ => Reply::Status(204),
    })
}

#[test]
fn the_next_attempt_waits_as_long_as_the_endpoint_asks_for() {
    let receiver = refusing(503, ("Retry-After", "2"));
    let world = running(&receiver, "retry_after = true\n");
    let event = world.emit("a.b", &json!({}));
    let hooks = receiver.wait(2);
    let between = hooks[1].at.duration_since(hooks[0].at);
    assert!(between >= Duration::from_millis(1_950), "{between:?}");
    let delivery = world.ended(&event);
    assert_eq!(
        (&delivery["status"], whys(&delivery)),
        (&json!("succeeded"), vec!["schedule", "retry_after"])
    );
    let shown = world.cli(&["delivery", "show", delivery["id"].as_str().expect("an id")]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("why       retry_after: "), "{shown:?}");
}

#[test]
fn a_date_is_held_against_the_boxs_clock_and_survives_a_kill() {
    let until = unix_seconds() + 4;
    let time = UNIX_EPOCH + Duration::from_secs(until.unsigned_abs());
    let date: &'static str = httpdate::fmt_http_date(time).leak();
    let receiver = refusing(429, ("Retry-After", date));
    let mut world = running(&receiver, "retry_after = true\n");
    let event = world.emit("a.b", &json!({}));
    receiver.wait(1);
    eventually("the answer is on disk", || (world.delivery(&event)["attempt"] == 1).then_some(()));
    world.kill();
    world.start();
    receiver.wait(2);
    assert!(unix_seconds() >= until, "not before it was asked for");
    let delivery = world.ended(&event);
    // Where the kill's restart came late, it was due before.
    assert!(matches!(whys(&delivery)[1], "retry_after" | "after_crash"), "{delivery}");
}

#[test]
fn a_profile_need_not_listen() {
    let receiver = refusing(503, ("Retry-After", "3600"));
    let world = running(&receiver, "");
    let event = world.emit("a.b", &json!({}));
    let delivery = world.ended(&event);
    assert_eq!(whys(&delivery), ["schedule", "schedule"]);
}

#[test]
fn a_410_ends_its_delivery_and_disables_the_endpoint() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.json() == 1 { 410 } else { 204 }));
    let mut world = running(&receiver, "gone_disables = true\n");
    let gone = world.emit("a.b", &json!(1));
    let delivery = world.ended(&gone);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("gone")));
    let shop = disabled(&world);
    assert_eq!(shop["disabled_reason"], "gone");
    let held = world.emit("a.b", &json!(2));
    assert_eq!(world.delivery(&held)["waiting"], "disabled");
    world.kill();
    world.start();
    assert_eq!(world.endpoint("shop")["disabled_since"], shop["disabled_since"]);
    assert_eq!(world.delivery(&held)["waiting"], "disabled");
    let output = world.cli(&["endpoint", "enable", "shop"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(world.ended(&held)["status"], "succeeded");
    assert_eq!(world.delivery(&gone)["reason"], "gone", "what had ended stays so");
    assert_eq!(receiver.hooks().len(), 2);
}

#[test]
fn a_410_is_a_failure_like_any_other_where_the_profile_says_so() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier < 3 { 410 } else { 204 }));
    let world = running(&receiver, "");
    let event = world.emit("a.b", &json!({}));
    assert_eq!((&world.ended(&event)["status"], receiver.hooks().len()), (&json!("succeeded"), 4));
}

#[test]
fn ten_failures_in_a_row_disable_and_nine_do_not() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier < 9 { 500 } else { 204 }));
    let mut world = running(&receiver, "concurrency = 1\ndisable_after = 10\n");
    for _ in 0..2 {
        let event = world.emit("a.b", &json!({}));
        assert_eq!(world.ended(&event)["status"], "succeeded", "a success begins anew");
    }
    drop(receiver);
    let receiver = Receiver::answering(|_| Reply::After(Duration::from_millis(50), 500));
    world.stop();
    world.configure(&configuration(&receiver, "concurrency = 1\ndisable_after = 10\n"));
    world.start();
    // Others wait for their turn when the tenth attempt fails.
    let mut events: Vec<_> = (0..4).map(|n| world.emit("a.b", &json!({"n": n}))).collect();
    let shop = disabled(&world);
    assert_eq!((&shop["disabled_reason"], &shop["consecutive_failures"]), (&json!("failures"), &json!(10)));
    assert!(shop["disabled_since"].is_string(), "{shop}");
    events.push(world.emit("a.b", &json!({"n": 9})));
    for event in &events {
        eventually("it is held", || (world.delivery(event)["waiting"] == "disabled").then_some(()));
    }
    let status = world.get("/v1/status");
    let listed = &status["disabled_endpoints"][0];
    assert_eq!((&listed["name"], &listed["reason"]), (&json!("shop"), &json!("failures")));
    let command = format!("posthaste endpoint enable {}", shop["id"].as_str().expect("an id"));
    assert!(listed["help"].as_str().is_some_and(|help| help.contains(&command)), "{listed}");
    world.logs(1, &command);
    world.logs(1, "10 attempts in a row without success");
    assert_eq!(receiver.hooks().len(), 10, "no eleventh request");
}

/// It stays disabled however the daemon ends, and enabling delivers or calls off what has waited.
#[test]
fn it_stays_disabled_until_somebody_enables_it() {
    for (pending, status, reason) in
        [("deliver", "succeeded", Value::Null), ("discard", "cancelled", json!("discarded"))]
    {
        let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier < 3 { 500 } else { 204 }));
        let mut world = running(&receiver, "concurrency = 1\ndisable_after = 3\n");
        let event = world.emit("a.b", &json!({}));
        let before = disabled(&world);
        for kill in [true, false] {
            if kill {
                world.kill();
            } else {
                world.stop();
            }
            world.start();
            let shop = world.endpoint("shop");
            for field in ["enabled", "disabled_reason", "disabled_since", "consecutive_failures"] {
                assert_eq!(shop[field], before[field], "{field} after {kill}");
            }
            eventually("it is held", || (world.delivery(&event)["waiting"] == "disabled").then_some(()));
        }
        assert_eq!(receiver.hooks().len(), 3);
        let path = format!("/v1/endpoints/{}/enable", before["id"].as_str().expect("an id"));
        let shop = call(&world, "POST", &path, &json!({"pending": pending})).expect(200);
        assert_eq!((&shop["enabled"], &shop["consecutive_failures"]), (&json!(true), &json!(0)));
        let delivery = world.ended(&event);
        assert_eq!((&delivery["status"], &delivery["reason"]), (&json!(status), &reason), "{pending}");
        let next = world.emit("a.b", &json!({}));
        assert_eq!(disabled(&world)["consecutive_failures"], 3, "it counts from 0 again");
        assert_eq!(world.delivery(&next)["status"], "pending");
    }
}

#[test]
fn a_late_success_sets_the_count_to_0_and_enables_nothing() {
    let receiver =
        Receiver::answering(|hook| if hook.json() == 1 { Reply::Held(204) } else { Reply::Status(500) });
    let world = running(&receiver, "disable_after = 1\n");
    let slow = world.emit("a.b", &json!(1));
    receiver.wait(1);
    let failing = world.emit("a.b", &json!(2));
    assert_eq!(disabled(&world)["consecutive_failures"], 1);
    receiver.release();
    assert_eq!(world.ended(&slow)["status"], "succeeded");
    let shop = world.endpoint("shop");
    assert_eq!(
        (&shop["enabled"], &shop["disabled_reason"], &shop["consecutive_failures"]),
        (&json!(false), &json!("failures"), &json!(0))
    );
    assert_eq!(world.delivery(&failing)["waiting"], "disabled");
    assert_eq!(receiver.hooks().len(), 2);
}

#[test]
fn another_url_counts_from_0() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier < 2 { 500 } else { 204 }));
    let world = World::running(&format!(
        "[network]\nallow = [\"127.0.0.0/8\"]\n[accounts.default]\nprofile = \"p\"\nhttps_only = false\n{}",
        profile("p", &["0s", "0s", "1h"], "disable_after = 3\n")
    ));
    let new = json!({"url": receiver.url("/old"), "event_types": ["*"]});
    let made = call(&world, "POST", "/v1/endpoints", &new).expect(201);
    let path = format!("/v1/endpoints/{}", made["id"].as_str().expect("an id"));
    world.emit("a.b", &json!({}));
    let counted = |count: u64| {
        let is = || (world.get(&path)["consecutive_failures"] == count).then_some(());
        eventually("failures are counted", is);
    };
    counted(2);
    call(&world, "PATCH", &path, &json!({"url": receiver.url("/new")})).expect(200);
    counted(0);
    world.emit("a.b", &json!({}));
    counted(2);
    assert_eq!(world.get(&path)["enabled"], true);
}
