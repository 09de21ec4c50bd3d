//! Over a restart, clean or not, everything is as it was.

use serde_json::{Value, json};

use super::{accepted, call, configuration, make, path, running, shown};
use crate::support::{eventually, proxy::Proxy, receiver::Receiver, world::World};

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
    // What is pending is counted when all of it has been read.
    eventually("the backlog is read", || (world.get("/v1/status")["state"] == "running").then_some(()));
    let mut after = everything(&world, &[&made, &paused]);
    for one in before.iter_mut().chain(&mut after) {
        // What is in flight, or was when the daemon was killed, counts differently for a moment.
        one["in_flight"] = Value::Null;
        if one["id"] == made["id"] {
            (one["pending"], one["health"]) = (Value::Null, Value::Null);
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

/// Makes an endpoint, has it found unfit under `after`, and sees that nothing but another URL lets it go on.
fn unfit_until_it_has_another_url(
    receiver: &Receiver,
    (before, after): (&str, &str),
    (url, other): (&str, &str),
    said: &str,
) {
    let mut world = World::running(before);
    let made = make(&world, url, &json!({}));
    world.ended(&world.emit("a.b", &json!({"n": 1})));
    let count = receiver.hooks().len();
    world.stop();
    world.configure(after);
    world.start();
    let held = world.emit("a.b", &json!({"n": 2}));
    for (method, name, document) in [
        ("PATCH", "", json!({"description": "x"})),
        ("PATCH", "", json!({"headers": {"X-A": "b"}})),
        ("PATCH", "", json!({"url": url})),
        ("POST", "/rotate-secret", json!({})),
        ("POST", "/test", json!({})),
    ] {
        let answer = call(&world, method, &format!("{}{name}", path(&made)), &document);
        let detail = answer.problem(422, "url_refused");
        assert!(detail.contains(said), "{method} {name}: {detail}");
        let now = shown(&world, &made);
        assert_eq!(
            (&now["enabled"], &now["disabled_reason"]),
            (&json!(false), &json!("unfit")),
            "{method} {name}"
        );
    }
    // What enabling cannot give it.
    call(&world, "POST", &format!("{}/enable", path(&made)), &json!({})).expect(200);
    assert_eq!(shown(&world, &made)["disabled_reason"], "unfit");
    assert_eq!(world.get("/v1/status")["disabled_endpoints"][0]["reason"], "unfit");
    assert_eq!((world.delivery(&held)["attempt"].clone(), receiver.hooks().len()), (json!(0), count));
    call(&world, "PATCH", &path(&made), &json!({"url": other})).expect(200);
    assert_eq!(shown(&world, &made)["disabled_reason"], Value::Null);
    assert_ne!(world.delivery(&held)["waiting"], "disabled");
}

#[test]
fn https_only_holds_on_for_what_was_made_before_it() {
    let receiver = Receiver::start();
    let after = configuration().replace("https_only = false", "https_only = true");
    let other = receiver.url("/").replace("http:", "https:");
    unfit_until_it_has_another_url(
        &receiver,
        (&configuration(), &after),
        (&receiver.url("/"), &other),
        "write https",
    );
}

#[test]
fn a_narrower_allow_holds_for_what_was_made_before_it() {
    let receiver = Receiver::start();
    let other = format!("http://erp.invalid:{}/", receiver.address().port());
    let named = receiver.url("/").replace("127.0.0.1", "localhost");
    let after = configuration().replace("allow = [\"127.0.0.0/8\"]", "");
    let urls = (receiver.url("/"), "add `allow = [\"127.0.0.1/32\"]` under [network]");
    unfit_until_it_has_another_url(&receiver, (&configuration(), &after), (&urls.0, &other), urls.1);
    // A proxy would look the name up for itself.
    let proxy = Proxy::to(receiver.address());
    let network = format!("[network]\nproxy = \"{}\"\n", proxy.url());
    let before = configuration().replace(
        "[network]\nallow = [\"127.0.0.0/8\"]\n",
        &format!("{network}allow = [\"127.0.0.0/8\", \"::1\"]\n"),
    );
    let after = configuration().replace("[network]\nallow = [\"127.0.0.0/8\"]\n", &network);
    unfit_until_it_has_another_url(&receiver, (&before, &after), (&named, &other), "under [network]");
}
