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

/// Why a request is not shown.
const CHANGED: &str = "the endpoint's settings, its profile, or posthaste's version have changed since";

/// An endpoint of the configuration whose first attempt fails, with these parts.
#[derive(Clone, Copy)]
struct Configured<'a> {
    url: &'a str,
    secret: &'a str,
    /// The endpoint's own.
    headers: &'a str,
    /// Further keys of the profile, its headers, its body.
    profile: [&'a str; 3],
}

impl Configured<'_> {
    fn text(&self) -> String {
        let Self { url, secret, headers, profile: [keys, profile_headers, body] } = self;
        format!(
            "[profiles.own]\nretry = [\"0s\", \"1h\"]\n{keys}\n[profiles.own.headers]\n{profile_headers}\n\
             [profiles.own.body]\n{body}\n[[endpoint]]\nname = \"erp\"\nurl = \"{url}\"\nevent_types = [\"*\"]\n\
             profile = \"own\"\nsecret = \"{secret}\"\nheaders = {{ {headers} }}\n"
        )
    }
}

#[test]
fn what_another_configuration_sent_is_not_guessed_at() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let (url, elsewhere) = (receiver.url("/hooks"), receiver.url("/elsewhere"));
    let (secret, signed) = (support::config::secret(), "webhook-signature = \"{signatures}\"");
    let with_key = format!("{signed}\nX-Key = \"{{secret}}\"\nX-Token = \"hushhush\"");
    let first = Configured {
        url: &url,
        secret: &secret,
        headers: "X-A = \"1\"",
        profile: ["", &with_key, "format = \"raw\""],
    };
    let mut world = World::running(&first.text());
    let event = world.emit("a.b", &json!({"n": 1}));
    let before = eventually_attempted(&world, &event)["attempts"][0].clone();
    let hook = receiver.wait_at("/hooks", 1).remove(0);
    assert_eq!((&before["request"]["url"], &before["request"]["body"]), (&json!(url), &json!("{\"n\":1}")));
    assert_eq!(before["request"]["headers"]["webhook-signature"], hook.header("webhook-signature"));
    for name in ["x-a", "x-key", "x-token"] {
        assert_eq!(before["request"]["headers"][name], "••••••");
    }
    assert_eq!((hook.header("x-key"), hook.header("x-token")), (&*secret, "hushhush"));
    let id = world.delivery(&event)["id"].as_str().expect("an id").to_owned();
    assert!(!stdout(&world.cli(&["delivery", "show", &id])).contains("hushhush"));
    let path = format!("/v1/endpoints/{}/test", world.endpoint("erp")["id"].as_str().expect("an id"));
    let json = [("content-type", "application/json")];
    let tested = world.request("POST", &path, &json, b"{}").expect(200);
    assert_eq!(tested["request"]["headers"]["x-token"], "••••••", "{tested}");
    let other_secret = "whsec_b3RoZXIgYnl0ZXMgdGhhbiBiZWZvcmUsIGFzIG1hbnk=";
    let template = "format = \"template\"\ntemplate = '{{ data_json }}'";
    let [keys, headers, body] = first.profile;
    let literal = format!("{with_key}\nX-B = \"b\"");
    for (shown, then) in [
        (false, Configured { url: &elsewhere, ..first }),
        (false, Configured { headers: "X-A = \"1\", X-C = \"2\"", ..first }),
        (false, Configured { headers: "", ..first }),
        (false, Configured { profile: [keys, &literal, body], ..first }),
        (false, Configured { profile: [keys, signed, body], ..first }),
        (false, Configured { profile: [keys, headers, "format = \"envelope\""], ..first }),
        // It would be the same bytes; nobody compares them.
        (false, Configured { profile: [keys, headers, template], ..first }),
        // What was signed is recorded, and what is masked is not told.
        (true, Configured { secret: other_secret, ..first }),
        (true, Configured { headers: "X-A = \"2\"", ..first }),
        (true, Configured { profile: [keys, &with_key.replace("hushhush", "hush"), body], ..first }),
        (true, Configured { profile: ["timeout = \"7s\"\nsuccess = [200]", headers, body], ..first }),
        (true, first),
    ] {
        world.stop();
        world.configure(&then.text());
        world.start();
        let after = eventually_attempted(&world, &event)["attempts"][0].clone();
        if shown {
            assert_eq!(after, before, "{}", then.text());
        } else {
            assert_eq!(
                (&after["request"], &after["request_note"]),
                (&Value::Null, &json!(CHANGED)),
                "{after}"
            );
        }
    }
    world.stop();
    world.configure("");
    world.start();
    let after = eventually_attempted(&world, &event)["attempts"][0].clone();
    let note = "the endpoint has no settings any more, or they lack something";
    assert_eq!((&after["request"], &after["request_note"]), (&Value::Null, &json!(note)));
}

#[test]
fn an_answer_is_judged_by_the_profile_of_then() {
    let receiver = Receiver::answering(|_| Reply::Status(204));
    let (url, secret) = (receiver.url("/"), support::config::secret());
    let under = |success: &str| {
        let profile = [&format!("success = {success}")[..], "X-A = \"a\"", "format = \"raw\""];
        Configured { url: &url, secret: &secret, headers: "", profile }.text()
    };
    let mut world = World::running(&under("[200]"));
    let event = world.emit("a.b", &json!({}));
    let (strict, failed) = (&eventually_attempted(&world, &event)["attempts"][0], "not a success under");
    let message = |attempt: &Value| attempt["response"]["message"].as_str().expect("a message").to_owned();
    assert!(message(strict).starts_with(failed), "{strict}");
    let restart = |world: &mut World, text: &str| {
        world.stop();
        world.configure(text);
        world.start();
    };
    restart(&mut world, &under("\"2xx\""));
    let later = world.emit("a.b", &json!({}));
    let (easy, took) = (&world.ended(&later)["attempts"][0], "the endpoint took it: 204");
    assert!(message(easy).starts_with(took), "{easy}");
    for text in [&under("\"2xx\"")[..], &under("[200]"), ""] {
        restart(&mut world, text);
        for (event, part) in [(&event, failed), (&later, took)] {
            let delivery = world.delivery(event);
            assert!(message(&delivery["attempts"][0]).starts_with(part), "{text}: {delivery}");
        }
    }
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

    // What has no part in a request changes nothing of what was sent; signatures are recorded.
    call(&world, "PATCH", &path, &json!({"description": "d", "event_types": ["a.*"]}));
    assert_eq!(request(&world).0, first);
    let headers = [("content-type", "application/json")];
    world.request("POST", &format!("{path}/rotate-secret"), &headers, b"{\"overlap\":\"0s\"}").expect(200);
    assert_eq!(request(&world), (first, Value::Null, delivery.clone()));

    call(&world, "PATCH", &path, &json!({"url": receiver.url("/good")}));
    let changed = (Value::Null, json!(CHANGED), delivery.clone());
    assert_eq!(request(&world), changed);
    assert!(show(&world).contains(&format!("  request   not shown: {CHANGED}\n")));
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
