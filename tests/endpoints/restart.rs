//! Over a restart, clean or not, everything is as it was.

use serde_json::{Value, json};

use super::{accepted, call, make, path, running};
use crate::support::{receiver::Receiver, world::World};

/// Everything that the API shows of endpoints.
fn everything(world: &World, living: &[&Value]) -> Vec<Value> {
    let mut all = world.list("/v1/endpoints");
    all.extend(living.iter().map(|one| world.get(&format!("{}/secret", path(one)))));
    all
}

fn over_a_restart(restart: impl Fn(&mut World)) {
    let receiver = Receiver::start();
    let mut world = running();
    let further = json!({"description": "d", "profile": "quick", "headers": {"X-A": "b"}});
    let made = make(&world, &receiver.url("/old"), &further);
    call(&world, "PATCH", &path(&made), &json!({"url": receiver.url("/"), "event_types": ["a.*"]}))
        .expect(200);
    call(&world, "POST", &format!("{}/rotate-secret", path(&made)), &json!({"overlap": "1h"})).expect(200);
    let paused = make(&world, &receiver.url("/paused"), &json!({}));
    call(&world, "POST", &format!("{}/disable", path(&paused)), &json!({})).expect(200);
    let gone = make(&world, &receiver.url("/gone"), &json!({}));
    call(&world, "POST", &format!("{}/disable", path(&gone)), &json!({})).expect(200);
    let held = world.emit("a.b", &json!({"n": 1}));
    receiver.wait_at("/", 1);
    assert_eq!(call(&world, "DELETE", &path(&gone), &json!({})).expect(200)["cancelled"], 1);
    let mut before = everything(&world, &[&made, &paused]);
    restart(&mut world);
    let mut after = everything(&world, &[&made, &paused]);
    for one in before.iter_mut().chain(&mut after) {
        // What is in flight, or was when the daemon was killed, counts differently for a moment.
        one["in_flight"] = Value::Null;
        if one["id"] == made["id"] {
            one["pending"] = Value::Null;
        }
    }
    assert_eq!(before, after);
    call(&world, "GET", &path(&gone), &json!({})).problem(404, "not_found");
    let statuses = |world: &World| {
        let deliveries = world.deliveries(&held);
        let of = |endpoint: &Value| {
            let one = deliveries.iter().find(|one| one["endpoint_id"] == endpoint["id"]);
            one.map(|one| one["status"].as_str().expect("a status").to_owned()).expect("a delivery")
        };
        (of(&paused), of(&gone))
    };
    assert_eq!(statuses(&world), ("pending".to_owned(), "cancelled".to_owned()));
    // Both secrets sign, and the subscription is the later one.
    let count = receiver.hooks_at("/").len();
    world.emit("c.d", &json!({"n": 2}));
    world.emit("a.c", &json!({"n": 3}));
    let hooks = receiver.wait_for("the third event", |hooks| hooks.iter().any(|hook| hook.json()["n"] == 3));
    let hook = hooks.iter().find(|hook| hook.json()["n"] == 3).expect("it came");
    for secret in world.get(&format!("{}/secret", path(&made)))["secrets"].as_array().expect("a list") {
        assert_eq!(accepted(hook, secret["secret"].as_str().expect("a secret")), 1);
    }
    assert!(receiver.hooks_at("/").len() > count && receiver.hooks_at("/paused").is_empty());
    let enabled = call(&world, "POST", &format!("{}/enable", path(&paused)), &json!({})).expect(200);
    assert_eq!(enabled["resumed"], 3);
    receiver.wait_at("/paused", 3);
    assert!(receiver.hooks_at("/gone").is_empty(), "it was paused, then deleted");
}

#[test]
fn stopped_and_started() {
    over_a_restart(|world| {
        world.stop();
        world.start();
    });
}

#[test]
fn killed_and_started() {
    over_a_restart(|world| {
        world.kill();
        world.start();
    });
}

#[test]
fn what_was_discarded_stays_so_over_a_kill() {
    let receiver = Receiver::start();
    let mut world = running();
    let made = make(&world, &receiver.url("/"), &json!({"enabled": false}));
    let events: Vec<_> = (0..50).map(|n| world.emit("a.b", &json!({"n": n}))).collect();
    let enable = format!("{}/enable", path(&made));
    call(&world, "POST", &enable, &json!({"pending": "discard"})).expect(200);
    world.kill();
    world.start();
    for event in &events {
        let delivery = world.delivery(event);
        assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("cancelled"), &json!("discarded")));
    }
    let next = world.emit("a.b", &json!({"n": 77}));
    world.ended(&next);
    assert_eq!(super::numbers(&receiver, "/"), [77]);
}
