//! What history tells of requests: their bodies, what cannot be told any more, and why a template failed.

mod support;

use serde_json::{Value, json};
use support::{
    config::{ODD, endpoint, profile},
    receiver::{Receiver, Reply},
    world::{World, stdout},
};

fn call(world: &World, method: &str, path: &str, document: &Value) -> Value {
    let headers = [("content-type", "application/json")];
    let answer = world.request(method, path, &headers, document.to_string().as_bytes());
    let status = if method == "POST" { 201 } else { 200 };
    answer.expect(status)
}

#[test]
fn the_body_that_was_sent_is_shown() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 500 } else { 204 }));
    let text = profile("twice", &["0s", "0s"], "")
        + "[profiles.own]\n[profiles.own.signature]\nalgorithm = \"none\"\n[profiles.own.headers]\nwebhook-id = \"{delivery_id}\"\n\
           [profiles.own.body]\nformat = \"template\"\ntemplate = '{\"it\": {{ type | tojson }}, \"is\": {{ data_json }}}'\n"
        + &endpoint("raw", &receiver.url("/raw"), &["raw"], "twice")
        + &format!(
            "[[endpoint]]\nname = \"own\"\nurl = \"{}\"\nevent_types = [\"own\"]\nprofile = \"own\"\n",
            receiver.url("/own")
        );
    let world = World::running(&text);
    let long = format!("\"{}\"", "é".repeat(20_000));
    for (index, data) in ODD.into_iter().chain([&*long]).enumerate() {
        let event = world.post(&format!("{{\"type\":\"raw\",\"data\":{data}}}")).expect(202);
        let delivery = world.ended(event["id"].as_str().expect("an id"));
        let attempts = delivery["attempts"].as_array().expect("a list");
        assert_eq!(attempts.len(), 2, "{delivery}");
        let hooks = receiver.wait_at("/raw", 2 * index + 2);
        for attempt in attempts {
            let request = &attempt["request"];
            let body = request["body"].as_str().unwrap_or_else(|| panic!("no body: {attempt}"));
            let truncated = data.len() > 16 << 10;
            assert_eq!(request.get("body_encoding"), None);
            assert_eq!(request["body_truncated"] == true, truncated, "{index}");
            let sent = hooks[2 * index].text();
            assert!(sent.starts_with(body) && (truncated || sent == body), "{index}: {body}");
            assert!(!truncated || (16 << 10) - body.len() < 2, "{}", body.len());
        }
    }
    let event = world.emit("own", &json!({"n": 1}));
    let delivery = eventually_attempted(&world, &event);
    let body = receiver.wait_at("/own", 1)[0].text().to_owned();
    assert_eq!(body, r#"{"it": "own", "is": {"n":1}}"#);
    assert_eq!(delivery["attempts"][0]["request"]["body"], body.as_str());
    let shown = stdout(&world.cli(&["delivery", "show", delivery["id"].as_str().expect("an id")]));
    assert!(shown.contains(&format!("  sent      {body}\n")), "{shown}");
}

/// The only delivery of an event, once an attempt of it is recorded.
fn eventually_attempted(world: &World, event: &str) -> Value {
    support::eventually("an attempt was made", || {
        let delivery = world.delivery(event);
        (delivery["attempts"][0].is_object()).then_some(delivery)
    })
}

#[test]
fn what_other_settings_sent_is_not_guessed_at() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.path == "/good" { 204 } else { 500 }));
    let text =
        "[network]\nallow = [\"127.0.0.0/8\"]\n[accounts.default]\nhttps_only = false\nprofile = \"again\"\n"
            .to_owned()
            + &profile("again", &["0s", "1h", "1h"], "");
    let mut world = World::running(&text);
    let made = json!({"url": receiver.url("/bad"), "event_types": ["*"]});
    let made = call(&world, "POST", "/v1/endpoints", &made);
    let path = format!("/v1/endpoints/{}", made["id"].as_str().expect("an id"));
    let event = world.emit("a.b", &json!({"n": 1}));
    let request = |world: &World| {
        let delivery = eventually_attempted(world, &event);
        let attempt = &delivery["attempts"][0];
        (attempt["request"].clone(), attempt["request_note"].clone(), delivery["id"].clone())
    };
    let (first, note, delivery) = request(&world);
    assert_eq!((&first["url"], &first["body"]), (&json!(receiver.url("/bad")), &json!("{\"n\":1}")));
    assert_eq!(note, Value::Null);
    let show = |world: &World| stdout(&world.cli(&["delivery", "show", delivery.as_str().expect("an id")]));
    assert!(show(&world).contains("  sent      {\"n\":1}\n"), "{}", show(&world));

    call(&world, "PATCH", &path, &json!({"url": receiver.url("/good")}));
    let changed = (Value::Null, json!("the endpoint's settings have changed since"), delivery.clone());
    assert_eq!(request(&world), changed);
    assert!(show(&world).contains("not known any more: the endpoint's settings have changed since\n"));
    world.stop();
    world.start();
    assert_eq!(request(&world), changed);
    let later = world.emit("a.b", &json!({"n": 2}));
    let later = world.ended(&later);
    let shown = &later["attempts"][0]["request"];
    assert_eq!((&shown["url"], &shown["body"]), (&json!(receiver.url("/good")), &json!("{\"n\":2}")));
}

#[test]
fn why_a_template_failed_is_told() {
    let receiver = Receiver::start();
    let text = "[profiles.own]\n[profiles.own.signature]\nalgorithm = \"none\"\n[profiles.own.body]\nformat = \"template\"\n\
                template = '''{\"a\": 1,\n \"n\": {{ data.n.m }}}'''\n"
        .to_owned()
        + &format!(
            "[[endpoint]]\nname = \"own\"\nurl = \"{}\"\nevent_types = [\"*\"]\nprofile = \"own\"\n",
            receiver.url("/")
        );
    let world = World::running(&text);
    let event = world.emit("a.b", &json!({"secretive": 1}));
    let delivery = world.ended(&event);
    assert_eq!(
        (&delivery["status"], &delivery["reason"]),
        (&json!("failed"), &json!("template")),
        "{delivery}"
    );
    let message = delivery["message"].as_str().unwrap_or_else(|| panic!("no message: {delivery}"));
    assert!(message.contains("line 2") && !message.contains("secretive"), "{message}");
    let shown = stdout(&world.cli(&["delivery", "show", delivery["id"].as_str().expect("an id")]));
    assert!(shown.contains(message), "{shown}");
    assert_eq!(receiver.hooks().len(), 0);
}
