//! How an endpoint is left in peace, and how fast it is sent to, as a user sees it.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually,
    receiver::{Receiver, Reply},
    world::{World, stdout},
};

/// What the CLI says.
fn said(world: &World, args: &[&str]) -> String {
    stdout(&world.cli(args))
}

#[test]
fn an_endpoint_that_is_down_opens_its_circuit_and_a_probe_closes_it() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let receiver =
        Receiver::answering(move |_| Reply::Status(if is_up.load(Ordering::SeqCst) { 204 } else { 503 }));
    // The third failure is the last that the schedule brings before the circuit is open.
    let retry = [&["0s"; 3][..], &["1s"; 40]].concat();
    let keys = "circuit = 3\nprobe = [\"2s\"]\n";
    let text = profile("weary", &retry, keys) + &endpoint("e", &receiver.url("/"), &["*"], "weary");
    let world = World::running(&text);
    assert_eq!(world.endpoint("e")["circuit"], Value::Null);
    let mut events = vec![world.emit("a.b", &json!(0))];
    let circuit = eventually("the circuit is open", || {
        Some(world.endpoint("e")["circuit"].clone()).filter(Value::is_object)
    });
    assert!(circuit["open_since"].as_str() < circuit["next_probe_at"].as_str(), "{circuit}");
    events.extend((1..30).map(|n| world.emit("a.b", &json!(n))));

    // Before its turn as a probe there would be a minute of others.
    let last = eventually("the last one waits for the circuit", || {
        let last = world.delivery(events.last().expect("thirty"));
        (last["waiting"] == "circuit").then_some(last)
    });
    assert_eq!((&last["attempt"], &last["status"]), (&json!(0), &json!("pending")));
    let shown = said(&world, &["delivery", "show", last["id"].as_str().expect("an id")]);
    assert!(shown.contains("waits for its endpoint's circuit"), "{shown}");
    let listed = said(&world, &["endpoint", "list"]);
    assert!(listed.contains("enabled, circuit open"), "{listed}");
    let shown = said(&world, &["endpoint", "show", "e"]);
    assert!(shown.contains("next probe 2"), "{shown}");
    let status = said(&world, &["status"]);
    assert!(
        status.contains("circuit      e (ep_") && status.contains("the next probe may begin"),
        "{status}"
    );
    assert_eq!(world.get("/v1/status")["open_circuits"][0]["name"], "e");

    up.store(true, Ordering::SeqCst);
    world.settled();
    let mut attempts = BTreeMap::new();
    for event in &events {
        let delivery = world.ended(event);
        assert_eq!(delivery["status"], "succeeded", "{delivery}");
        for attempt in delivery["attempts"].as_array().expect("a list") {
            let (why, status) = (&attempt["why"], &attempt["response"]["status_code"]);
            let what = (why.as_str().expect("a word").to_owned(), status.as_u64().expect("a status"));
            *attempts.entry(what).or_insert(0) += 1;
        }
    }
    let of = |why: &str, status: u64| attempts.get(&(why.to_owned(), status)).copied().unwrap_or(0);
    assert_eq!(of("schedule", 503), 3, "nothing but probes is spent while it is open: {attempts:?}");
    assert_eq!(of("probe", 204), 1, "one closes it: {attempts:?}");
    assert_eq!(of("schedule", 204), events.len() - 1, "the others follow: {attempts:?}");
    assert_eq!(receiver.hooks().len(), attempts.values().sum::<usize>());
    assert_eq!(world.endpoint("e")["circuit"], Value::Null);
    assert_eq!(world.get("/v1/status")["open_circuits"], json!([]));
}

#[test]
fn a_rate_holds_back_what_it_does_not_allow() {
    let receiver = Receiver::start();
    let text =
        profile("slow", &["0s"], "rate = \"10/h\"\n") + &endpoint("e", &receiver.url("/"), &["*"], "slow");
    let world = World::running(&text);
    let events = [1, 2].map(|n| world.emit("a.b", &json!(n)));
    assert_eq!(world.ended(&events[0])["status"], "succeeded");
    let second = eventually("the second waits for the rate", || {
        Some(world.delivery(&events[1])).filter(|delivery| delivery["waiting"] == "rate")
    });
    let shown = said(&world, &["delivery", "show", second["id"].as_str().expect("an id")]);
    assert!(shown.contains("waits for its endpoint's rate, due"), "{shown}");
    assert_eq!((receiver.hooks().len(), &second["attempt"]), (1, &json!(0)));
}
