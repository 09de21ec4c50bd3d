//! A clock that is not set, as a user sees it.
//!
//! The machine's clock cannot be set here: a store is made whose daemon saw a time an hour from now.

mod support;

use std::time::Duration;

use posthaste::{
    clock::Clock,
    model::time::Mark,
    outbox::{End, Motion, Options, Outbox},
};
use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually,
    receiver::{Receiver, Reply},
    world::{World, stdout},
};

const AHEAD: Duration = Duration::from_secs(3600);

/// Makes the world's store, with a mark of one who saw the clock an hour ahead.
fn make_store(world: &World) {
    let options = Options {
        cache: 4 << 20,
        quick_repair: false,
        settle_delay: Duration::ZERO,
        dedup_window: Duration::from_secs(60),
        dedup_entries: 1_000,
        pending_per_endpoint: 1_000,
        max_size: 1 << 40,
        reserve: 0,
        in_flight: 1,
    };
    let path = world.path("outbox.redb");
    let opened =
        Outbox::open(&path, &options, *b"sixteen bytes ok", &Motion::default(), |_| {}).expect("a store");
    let now = Clock::start().mark();
    let later = now.wall.plus(AHEAD);
    opened.outbox.mark(Mark { schedule: now.schedule, wall: later, greatest: later }, true);
    drop(opened.outbox);
    opened.writer.close(End::Clean).expect("it closes");
}

fn config(signing: &Receiver, plain: &Receiver) -> String {
    profile("untimed", &["0s"], "signature.signed = \"{body}\"")
        + &endpoint("signing", &signing.url("/"), &["*"], "posthaste")
        + &endpoint("plain", &plain.url("/"), &["*"], "untimed")
}

#[test]
fn what_signs_its_time_waits_for_a_clock_that_is_set() {
    let (signing, plain) =
        (Receiver::answering(|_| Reply::Status(204)), Receiver::answering(|_| Reply::Status(204)));
    let text = config(&signing, &plain);
    let mut world = World::new(&text);
    make_store(&world);
    world.start();
    let event = world.emit("a.b", &json!({"n": 1}));
    let of = |world: &World, name: &str| {
        world.deliveries(&event).into_iter().find(|one| one["endpoint"] == name).expect("two deliveries")
    };
    eventually("the one that signs no time is delivered", || {
        (of(&world, "plain")["status"] == "succeeded").then_some(())
    });
    let held = eventually("the other waits for the clock", || {
        Some(of(&world, "signing")).filter(|one| one["waiting"] == "clock")
    });
    assert_eq!((&held["attempt"], &held["status"]), (&json!(0), &json!("pending")));
    assert_eq!(world.event(&event)["clock_unset"], true);
    let shown = stdout(&world.cli(&["event", "show", &event]));
    assert!(shown.contains("while the clock was not set"), "{shown}");
    let shown = stdout(&world.cli(&["delivery", "show", held["id"].as_str().expect("an id")]));
    assert!(shown.contains("held: the clock is not set"), "{shown}");
    let status = world.get("/v1/status")["clock_unset"].clone();
    assert!(status["time"].as_str() < status["known"].as_str(), "{status}");
    let shown = stdout(&world.cli(&["status"]));
    assert!(shown.contains("clock        unset") && shown.contains("require_clock = false"), "{shown}");
    world.logs(1, "the clock is not set");

    world.stop();
    world.configure(&format!("network.require_clock = false\n{text}"));
    world.start();
    eventually("it is delivered all the same", || {
        (of(&world, "signing")["status"] == "succeeded").then_some(())
    });
    assert_eq!(world.get("/v1/status")["clock_unset"]["known"], status["known"], "it is still known");
}

#[test]
fn a_clock_that_is_set_is_nobodys_concern() {
    let receiver = Receiver::answering(|_| Reply::Status(204));
    let mut world = World::new(&config(&receiver, &receiver));
    world.start();
    let event = world.emit("a.b", &json!({"n": 1}));
    world.settled();
    assert_eq!(world.event(&event)["clock_unset"], false);
    assert_eq!(world.get("/v1/status")["clock_unset"], Value::Null);
    assert!(!world.log().contains("clock"), "{}", world.log());
}
