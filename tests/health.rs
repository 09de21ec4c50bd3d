//! How endpoints have done lately, by the built binary: counted, and exact over a crash.

mod support;

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually,
    receiver::{Receiver, Reply},
    world::{World, stdout},
};

fn health(world: &World, name: &str) -> Value {
    world.endpoint(name)["health"].clone()
}

/// Each endpoint's attempts and successes, as the attempts of all deliveries have them.
fn counted(world: &World, name: &str) -> (Value, Value) {
    let deliveries = world.list(&format!("/v1/deliveries?endpoint={name}"));
    let whole = deliveries
        .iter()
        .map(|one| world.get(&format!("/v1/deliveries/{}", one["id"].as_str().expect("an id"))));
    let (mut attempts, mut successes) = (0, 0);
    for delivery in whole {
        for attempt in delivery["attempts"].as_array().expect("a list") {
            attempts += 1;
            let status = attempt["response"]["status_code"].as_u64();
            successes += u64::from(status.is_some_and(|status| status < 300));
        }
    }
    (json!(attempts), json!(successes))
}

fn agrees(world: &World, name: &str) {
    let found = health(world, name);
    let (attempts, successes) = counted(world, name);
    assert_eq!((&found["attempts"], &found["successes"]), (&attempts, &successes), "{name}: {found}");
}

#[test]
fn attempts_and_successes_are_counted_over_crashes() {
    let receiver = Receiver::answering(|hook| match hook.path.as_str() {
        "/never" => Reply::Status(503),
        _ if hook.text().contains("bad") && hook.earlier == 0 => Reply::Status(500),
        _ => Reply::Status(204),
    });
    let text = profile("twice", &["0s", "0s"], "")
        + &profile("later", &["0s", "1h"], "")
        + &endpoint("erp", &receiver.url("/erp"), &["a.*"], "twice")
        + &endpoint("never", &receiver.url("/never"), &["b"], "later")
        + &endpoint("idle", &receiver.url("/idle"), &["idle"], "twice");
    let mut world = World::running(&text);
    for n in 0..20 {
        world.emit("a.b", &json!(["good", "bad"][n % 2]));
    }
    let oldest = world.emit("b", &json!({}));
    world.emit("b", &json!({}));
    eventually("all is attempted", || {
        let attempted = health(&world, "never")["attempts"] == 2;
        (world.list("/v1/deliveries?status=succeeded").len() == 20 && attempted).then_some(())
    });
    let before = health(&world, "erp");
    assert_eq!((&before["attempts"], &before["successes"]), (&json!(30), &json!(20)), "{before}");
    assert!(before["success_rate"].as_f64().is_some_and(|rate| (rate - 2.0 / 3.0).abs() < 1e-9), "{before}");
    assert_eq!(before["oldest_pending_at"], Value::Null, "{before}");
    let never = health(&world, "never");
    assert_eq!((&never["success_rate"], &never["last_success_at"]), (&json!(0.0), &Value::Null), "{never}");
    assert_eq!(never["oldest_pending_at"], world.event(&oldest)["accepted_at"], "{never}");
    let idle = health(&world, "idle");
    assert_eq!((&idle["success_rate"], &idle["last_failure_at"]), (&Value::Null, &Value::Null), "{idle}");
    // Nothing was marked since the start: the attempts say it.
    world.kill();
    world.start();
    for name in ["erp", "never", "idle"] {
        agrees(&world, name);
    }
    let after = health(&world, "erp");
    for key in ["last_success_at", "last_failure_at", "attempts"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    // A close marks; what comes after it is counted on.
    world.stop();
    world.start();
    agrees(&world, "erp");
    world.emit("a.b", &json!("bad"));
    world.settled_to(2);
    agrees(&world, "erp");
    world.kill();
    world.start();
    agrees(&world, "erp");
    assert_eq!(health(&world, "erp")["attempts"], 32);

    let list = stdout(&world.cli(&["endpoint", "list"]));
    let line =
        |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{list}"));
    assert!(
        list.contains("24H") && line("erp").contains("65.6%") && line("never").contains("0.0%"),
        "{list}"
    );
    let shown = stdout(&world.cli(&["endpoint", "show", "erp"]));
    assert!(
        shown.contains("success      65.6%: 21 of 32 attempts since 20") && shown.contains("last failure 20"),
        "{shown}"
    );
    world.stop();
}

#[test]
fn what_is_forgotten_has_been_counted() {
    let receiver = Receiver::start();
    let text = "store.retention = \"1s\"\n".to_owned()
        + &profile("once", &["0s"], "")
        + &endpoint("erp", &receiver.url("/"), &["*"], "once");
    let mut world = World::running(&text);
    for _ in 0..9 {
        world.emit("a.b", &json!({}));
    }
    world.settled();
    eventually("they are forgotten", || (world.list("/v1/events").len() == 1).then_some(()));
    assert_eq!(health(&world, "erp")["attempts"], 9);
    world.kill();
    world.start();
    let found = health(&world, "erp");
    assert_eq!((&found["attempts"], &found["successes"]), (&json!(9), &json!(9)), "{found}");
    world.stop();
}
