//! What is sent, by the built binary: CloudEvents as their specification's HTTP binding has them.

mod support;

use serde_json::{Value, json};
use support::{config::endpoint, receiver::Receiver, world::World};

/// A payload that a parser would change.
const ODD: &str = r#"{"n":1.50,"a":1,"a":2, "u":"\u00e9"}"#;

fn cloudevents(keys: &str) -> String {
    format!(
        "[profiles.ce]\nretry = [\"0s\"]\n[profiles.ce.headers]\n[profiles.ce.body]\nformat = \"cloudevents\"\n{keys}\n"
    )
}

#[test]
fn structured_cloudevents() {
    let receiver = Receiver::start();
    let world = World::running(&(cloudevents("") + &endpoint("erp", &receiver.url("/"), &["*"], "ce")));
    let event = format!(r#"{{"type":"job.done","time":"2026-11-22T02:57:00Z","data":{ODD}}}"#);
    let id = world.post(&event).expect(202)["id"].clone();
    let hook = receiver.wait(1).remove(0);
    assert_eq!(hook.header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert!(hook.text().contains(ODD), "the payload's very bytes: {}", hook.text());
    let data: Value = serde_json::from_str(ODD).expect("JSON");
    let expected = json!({"specversion": "1.0", "id": id, "source": "/posthaste/default", "type": "job.done",
        "time": "2026-11-22T02:57:00.000Z", "datacontenttype": "application/json", "data": data});
    assert_eq!(hook.json(), expected);
}

#[test]
fn binary_cloudevents() {
    let receiver = Receiver::start();
    let keys = "mode = \"binary\"\nsource = \"//box-7.example/{account}\"";
    let world = World::running(&(cloudevents(keys) + &endpoint("erp", &receiver.url("/"), &["*"], "ce")));
    let event = format!(r#"{{"type":"job.done","time":"2026-11-22T02:57:00Z","data":{ODD}}}"#);
    let answer = world.post(&event).expect(202);
    let hook = receiver.wait(1).remove(0);
    assert_eq!(hook.text(), ODD, "the body is the payload");
    let id = answer["id"].as_str().expect("an id");
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-source", "//box-7.example/default"),
        ("ce-type", "job.done"),
        ("ce-time", "2026-11-22T02:57:00.000Z"),
    ] {
        assert_eq!(hook.header(name), value, "{name}");
    }
    // History makes them again.
    let delivery = world.ended(id);
    let delivery = world.get(&format!("/v1/deliveries/{}", delivery["id"].as_str().expect("an id")));
    let headers = &delivery["attempts"][0]["request"]["headers"];
    assert_eq!((&headers["ce-id"], &headers["ce-source"]), (&json!(id), &json!("//box-7.example/default")));
}

#[test]
fn bodies_that_take_their_time_hold_up_nobody() {
    let receiver = Receiver::start();
    // Each step goes over much: it fails in the end, after what the budget allows.
    let slow = "[profiles.slow]\nretry = [\"0s\"]\n[profiles.slow.body]\nformat = \"template\"\n\
                template = '{% for a in data.l %}{{ data.l | tojson | length }}{% endfor %}'\n";
    let quick = support::config::profile("quick", &["0s"], "");
    let text = endpoint("slow", &receiver.url("/slow"), &["slow.*"], "slow")
        + &endpoint("quick", &receiver.url("/quick"), &["quick.*"], "quick");
    let world = World::running(&(text + slow + &quick));
    let list: Vec<u32> = (0..20_000).collect();
    let slow: Vec<_> = (0..6).map(|_| world.emit("slow.one", &json!({"l": list}))).collect();
    support::eventually("two are being made", || {
        (world.get("/v1/status")["pending"]["in_flight"] == 2).then_some(())
    });
    for n in 0..20 {
        world.emit("quick.one", &json!(n));
    }
    receiver.wait_at("/quick", 20);
    let status = world.get("/v1/status");
    assert_eq!(status["since_start"]["failed"], 0, "they are still being made: {status}");
    for event in &slow {
        let delivery = world.ended(event);
        assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("template")));
    }
    let message = world.delivery(&slow[0])["message"].clone();
    assert!(message.as_str().is_some_and(|said| said.contains("goes over too much of it")), "{message}");
    assert!(receiver.hooks_at("/slow").is_empty());
}
