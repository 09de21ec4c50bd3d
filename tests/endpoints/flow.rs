//! What becomes of deliveries when endpoints are made, changed, disabled, enabled and deleted.

use serde_json::{Value, json};

use super::{call, id, make, numbers, path, running, shown};
use crate::support::{
    eventually,
    receiver::{Receiver, Reply},
    world::World,
};

#[test]
fn an_event_is_routed_from_the_201_on_and_not_after_the_deletion() {
    let receiver = Receiver::start();
    let world = running();
    world.emit("a.b", &json!({"n": 0}));
    let made = make(&world, &receiver.url("/"), &json!({}));
    let event = world.emit("a.b", &json!({"n": 1}));
    assert_eq!(world.ended(&event)["status"], "succeeded");
    let delivery = world.delivery(&event);
    assert_eq!((&delivery["endpoint_id"], &delivery["endpoint"]), (&made["id"], &json!(null)));
    call(&world, "DELETE", &path(&made), &json!({})).expect(200);
    let after = world.emit("a.b", &json!({"n": 2}));
    assert_eq!(world.event(&after)["deliveries"], json!([]));
    world.settled();
    assert_eq!(numbers(&receiver, "/"), [1]);
    // What was delivered to it can still be seen.
    for list in [format!("{}/deliveries", path(&made)), format!("/v1/deliveries?endpoint={}", id(&made))] {
        let found = world.list(&list);
        assert_eq!(found.len(), 1, "{list}");
        assert_eq!((&found[0]["id"], &found[0]["status"]), (&delivery["id"], &json!("succeeded")));
    }
    let shown = world.get(&format!("/v1/deliveries/{}", delivery["id"].as_str().expect("an id")));
    assert_eq!(shown["attempts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_disabled_endpoint_holds_and_an_enabled_one_delivers() {
    let receiver = Receiver::start();
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({"enabled": false}));
    let events: Vec<_> = (0..3).map(|n| world.emit("a.b", &json!({"n": n}))).collect();
    for event in &events {
        assert_eq!(world.delivery(event)["waiting"], "disabled");
    }
    assert_eq!(shown(&world, &made)["pending"], 3);
    assert_eq!(receiver.hooks().len(), 0);
    let enabled = call(&world, "POST", &format!("{}/enable", path(&made)), &json!({"pending": "deliver"}));
    let enabled = enabled.expect(200);
    assert_eq!((&enabled["enabled"], &enabled["disabled_reason"]), (&json!(true), &json!(null)));
    assert_eq!((&enabled["resumed"], &enabled["discarded"]), (&json!(3), &json!(0)));
    for event in &events {
        assert_eq!(world.ended(event)["status"], "succeeded");
    }
}

#[test]
fn what_has_waited_can_be_discarded() {
    let receiver = Receiver::start();
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({}));
    let disabled = call(&world, "POST", &format!("{}/disable", path(&made)), &json!({})).expect(200);
    assert_eq!((&disabled["enabled"], &disabled["disabled_reason"]), (&json!(false), &json!("operator")));
    let events: Vec<_> = (0..3).map(|n| world.emit("a.b", &json!({"n": n}))).collect();
    let enabled = call(&world, "POST", &format!("{}/enable", path(&made)), &json!({"pending": "discard"}));
    let enabled = enabled.expect(200);
    assert_eq!((&enabled["resumed"], &enabled["discarded"]), (&json!(0), &json!(3)));
    for event in &events {
        let delivery = world.delivery(event);
        assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("cancelled"), &json!("discarded")));
        assert_eq!(delivery["attempts"], json!([]));
    }
    let next = world.emit("a.b", &json!({"n": 7}));
    assert_eq!(world.ended(&next)["status"], "succeeded");
    world.settled();
    assert_eq!(numbers(&receiver, "/"), [7]);
}

#[test]
fn enabled_is_changed_together_with_all_else() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.path == "/bad" { 500 } else { 204 }));
    let mut world = running();
    let made = make(&world, &receiver.url("/bad"), &json!({"profile": "quick"}));
    let first = world.emit("a.b", &json!({"n": 1}));
    receiver.wait_at("/bad", 2);
    let change = |world: &World, document: Value| call(world, "PATCH", &path(&made), &document).expect(200);
    let paused = change(&world, json!({"enabled": false, "description": "paused"}));
    assert_eq!((&paused["enabled"], &paused["disabled_reason"]), (&json!(false), &json!("operator")));
    assert_eq!(paused["description"], "paused");
    let second = world.emit("a.b", &json!({"n": 2}));
    assert_eq!(world.delivery(&second)["waiting"], "disabled");
    // It holds over a restart, and over a change that does not name it; said again it is what it was.
    world.stop();
    world.start();
    let described = change(&world, json!({"description": null}));
    for field in ["enabled", "disabled_reason", "disabled_since"] {
        assert_eq!(described[field], paused[field], "{field}");
    }
    assert_eq!(change(&world, json!({"enabled": false}))["disabled_since"], paused["disabled_since"]);
    let resumed = change(&world, json!({"enabled": true, "url": receiver.url("/good")}));
    assert_eq!((&resumed["enabled"], &resumed["disabled_reason"]), (&json!(true), &Value::Null));
    assert_eq!(resumed["consecutive_failures"], 0);
    for event in [&first, &second] {
        assert_eq!(world.ended(event)["status"], "succeeded", "what waited is delivered");
    }
    assert_eq!(numbers(&receiver, "/good").len(), 2);
}

#[test]
fn enabling_counts_from_0_what_was_disabled_alone() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({"profile": "quick"}));
    world.emit("a.b", &json!({"n": 1}));
    let failures = || shown(&world, &made)["consecutive_failures"].as_u64().expect("a number");
    eventually("failures are counted", || (failures() > 1).then_some(()));
    let change = |document: Value| call(&world, "PATCH", &path(&made), &document).expect(200);
    let same = change(json!({"enabled": true}));
    assert!(same["consecutive_failures"].as_u64() > Some(1), "it was enabled: {same}");
    let paused = change(json!({"enabled": false}));
    assert!(paused["consecutive_failures"].as_u64() > Some(1), "{paused}");
    eventually("nothing is in flight", || (shown(&world, &made)["in_flight"] == 0).then_some(()));
    let before = receiver.hooks().len();
    let resumed = change(json!({"enabled": true}));
    assert!(resumed["consecutive_failures"].as_u64() < Some(2), "{resumed}");
    receiver.wait(before + 1);
}

#[test]
fn deleting_cancels_what_is_pending() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({"profile": "quick"}));
    let event = world.emit("a.b", &json!({"n": 1}));
    receiver.wait(2);
    let deleted = call(&world, "DELETE", &path(&made), &json!({})).expect(200);
    assert_eq!(deleted, json!({"id": made["id"], "cancelled": 1}));
    let delivery = world.delivery(&event);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("cancelled"), &json!("endpoint_deleted")));
    world.settled();
    // An attempt that had begun may come to its end; nothing begins any more.
    let count = receiver.hooks().len();
    let another = Receiver::start();
    make(&world, &another.url("/"), &json!({"profile": "quick"}));
    world.emit("a.b", &json!({"n": 2}));
    another.wait(1);
    assert!(receiver.hooks().len() <= count + 1, "{count}");
}

#[test]
fn the_next_attempt_goes_to_the_url_of_then_and_counts_from_0() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.path == "/new" { 204 } else { 500 }));
    let world = running();
    let made = make(&world, &receiver.url("/old"), &json!({"profile": "quick"}));
    let event = world.emit("a.b", &json!({"n": 1}));
    receiver.wait_at("/old", 2);
    eventually("failures are counted", || {
        (shown(&world, &made)["consecutive_failures"].as_u64() > Some(1)).then_some(())
    });
    let changed = call(&world, "PATCH", &path(&made), &json!({"url": receiver.url("/new")})).expect(200);
    assert!(changed["updated_at"].as_str() > made["updated_at"].as_str(), "{changed}");
    let hook = receiver.wait_at("/new", 1).remove(0);
    let delivery = world.ended(&event);
    assert_eq!(delivery["status"], "succeeded");
    assert_eq!(hook.header("webhook-id"), delivery["id"].as_str().expect("an id"));
    assert_eq!(shown(&world, &made)["consecutive_failures"], 0);
}

#[test]
fn another_subscription_touches_later_events_alone() {
    let receiver = Receiver::start();
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({"enabled": false}));
    let before = world.emit("a.b", &json!({"n": 1}));
    call(&world, "PATCH", &path(&made), &json!({"event_types": ["c.*"]})).expect(200);
    let not_wanted = world.emit("a.b", &json!({"n": 2}));
    let wanted = world.emit("c.d", &json!({"n": 3}));
    assert_eq!(world.event(&not_wanted)["deliveries"], json!([]));
    call(&world, "POST", &format!("{}/enable", path(&made)), &json!({})).expect(200);
    for event in [before, wanted] {
        assert_eq!(world.ended(&event)["status"], "succeeded");
    }
    let mut came = numbers(&receiver, "/");
    came.sort_unstable();
    assert_eq!(came, [1, 3]);
}

#[test]
fn the_deliveries_of_one_endpoint_are_filtered_and_paged() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.path == "/bad" { 500 } else { 204 }));
    let world = running();
    let good = make(&world, &receiver.url("/good"), &json!({}));
    let bad = make(&world, &receiver.url("/bad"), &json!({}));
    let events: Vec<_> =
        (0..3).map(|n| world.emit(if n == 1 { "c.d" } else { "a.b" }, &json!({"n": n}))).collect();
    receiver.wait_at("/bad", 3);
    receiver.wait_at("/good", 3);
    let list = |endpoint: &serde_json::Value, filter: &str| {
        world.list(&format!("{}/deliveries?{filter}", path(endpoint)))
    };
    let ended = || (list(&good, "status=succeeded").len() == 3).then_some(());
    eventually("the good ones have succeeded", ended);
    let all = list(&good, "account=default");
    let newest_first: Vec<_> = all.iter().map(|one| one["event_id"].as_str().expect("an id")).collect();
    assert_eq!(newest_first, events.iter().rev().map(String::as_str).collect::<Vec<_>>());
    assert!(all.iter().all(|one| one["endpoint_id"] == good["id"]), "{all:?}");
    assert_eq!(list(&bad, "status=pending").len(), 3);
    assert_eq!(list(&bad, "type=c.*").len(), 1);
    assert_eq!(list(&bad, &format!("event={}", events[0])).len(), 1);
    let first = world.get(&format!("{}/deliveries?limit=2", path(&good)));
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let rest = world.get(&format!("{}/deliveries?limit=2&cursor={cursor}", path(&good)));
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1));
    let wrong = format!("{}/deliveries?endpoint=x", path(&good));
    world.request("GET", &wrong, &[], b"").problem(400, "bad_request");
}
