//! Endpoints that keep the order, as a user sees them.

mod support;

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually, now,
    receiver::{Hook, Receiver, Reply},
    world::{World, json_of, stderr, stdout},
};

/// How long a receiver takes to answer, where it is to be seen whether somebody waits for that.
const WORK: Duration = Duration::from_millis(15);

/// An endpoint that keeps the order, and gets everything.
fn config(receiver: &Receiver, retry: &[&str], keys: &str) -> String {
    profile("strict", retry, &format!("order = \"fifo\"\n{keys}"))
        + &endpoint("e", &receiver.url("/"), &["*"], "strict")
}

/// An event of which the payload says what it is.
fn event(key: Option<&str>, n: usize) -> Value {
    let mut event = json!({"type": "a.b", "data": {"key": key, "n": n}});
    if let Some(key) = key {
        event["key"] = json!(key);
    }
    event
}

fn hand_in(world: &World, key: Option<&str>, n: usize) -> String {
    id(&world.post(&event(key, n).to_string()).expect(202))
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("it is not taken: {answer}")).to_owned()
}

fn number(hook: &Hook) -> usize {
    usize::try_from(hook.json()["n"].as_u64().expect("a number")).expect("fits")
}

fn numbers(hooks: &[Arc<Hook>]) -> Vec<usize> {
    hooks.iter().map(|hook| number(hook)).collect()
}

/// What has come, by key.
fn by_key(hooks: &[Arc<Hook>]) -> BTreeMap<String, Vec<Arc<Hook>>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for hook in hooks {
        by_key.entry(hook.json()["key"].to_string()).or_default().push(Arc::clone(hook));
    }
    by_key
}

fn said(world: &World, args: &[&str]) -> String {
    let output = world.cli(args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn keys_go_on_beside_each_other_and_each_in_its_order_over_failures() {
    // Of each key the second fails twice, the fourth until its schedule ends.
    let receiver = Receiver::answering(|hook| match (number(hook), hook.earlier) {
        (1, 0 | 1) | (3, _) => Reply::After(WORK, 503),
        _ => Reply::After(WORK, 200),
    });
    let text = config(&receiver, &["0s", "20ms", "20ms"], "concurrency = 8\n");
    let world = World::running(&text);
    let keys = [None, Some("a"), Some("b"), Some("c"), Some("\u{e9}\"7")];
    let mut stream = world.stream();
    let events: Vec<_> = (0..6).flat_map(|n| keys.map(|key| event(key, n).to_string() + "\n")).collect();
    stream.send(events.concat());
    let events: Vec<_> = events.iter().map(|_| id(&stream.answer().expect("an answer"))).collect();
    world.settled();

    for (index, event) in events.iter().enumerate() {
        let delivery = world.delivery(event);
        let ended = if index / keys.len() == 3 { "failed" } else { "succeeded" };
        assert_eq!(delivery["status"], ended, "{delivery}");
    }
    let hooks = receiver.hooks();
    let all = by_key(&hooks);
    assert_eq!(all.len(), keys.len());
    for (key, hooks) in &all {
        assert_eq!(numbers(hooks), [0, 1, 1, 1, 2, 3, 3, 3, 4, 5], "{key}");
        // The one after comes when the one before was answered.
        let gaps = hooks.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at));
        assert!(gaps.min() >= Some(WORK), "{key} has two requests open at once");
    }
    let beside = hooks.windows(2).any(|pair| pair[1].at.duration_since(pair[0].at) < WORK);
    assert!(beside, "requests of different keys are open at once");
    assert_eq!(world.get("/v1/status")["pending"]["order"], 0);
}

#[test]
fn the_order_outlives_restarts_and_kills() {
    let receiver = Receiver::answering(|hook| match (number(hook) % 5, hook.earlier, &*hook.path) {
        (2, 0, "/") => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let text = config(&receiver, &["0s", "50ms", "50ms", "50ms"], "")
        + &profile("plain", &["0s"], "")
        + &endpoint("other", &receiver.url("/other"), &["*"], "plain");
    let mut world = World::running(&text);
    let keys = [None, Some("a"), Some("b")];
    let mut events = Vec::new();
    for round in 0..4 {
        let so_far = receiver.hooks_at("/").len();
        for n in round * 20..(round + 1) * 20 {
            events.extend(keys.map(|key| hand_in(&world, key, n)));
        }
        receiver.wait_at("/", so_far + 4);
        if round % 2 == 0 {
            world.kill();
        } else {
            world.stop();
        }
        world.start();
    }
    world.settled();
    for (key, hooks) in by_key(&receiver.hooks_at("/")) {
        let numbers = numbers(&hooks);
        assert!(numbers.is_sorted(), "{key} keeps its order, though some came again: {numbers:?}");
        let mut once = numbers.clone();
        once.dedup();
        assert!(once.into_iter().eq(0..80), "{key} comes whole: {numbers:?}");
    }
    for event in &events {
        let deliveries = world.deliveries(event);
        assert!(deliveries.iter().all(|one| one["status"] == "succeeded"), "{deliveries:?}");
    }
}

#[test]
fn what_is_behind_another_waits_for_the_order() {
    let receiver = Receiver::answering(|hook| match number(hook) {
        0 => Reply::Held(200),
        _ => Reply::Status(200),
    });
    let world = World::running(&config(&receiver, &["0s"], ""));
    let head = hand_in(&world, Some("a"), 0);
    let behind = [1, 2].map(|n| hand_in(&world, Some("a"), n));
    let beside = hand_in(&world, Some("b"), 1);
    assert_eq!(world.ended(&beside)["status"], "succeeded", "another key goes on");
    eventually("the head is being attempted", || {
        (world.delivery(&head)["waiting"] == "in_flight").then_some(())
    });
    for event in &behind {
        let delivery = world.delivery(event);
        assert_eq!((&delivery["status"], &delivery["waiting"]), (&json!("pending"), &json!("order")));
        assert_eq!(world.event(event)["deliveries"][0]["waiting"], "order");
        let shown = said(&world, &["delivery", "show", delivery["id"].as_str().expect("an id")]);
        assert!(shown.contains("waits until those before it have ended"), "{shown}");
    }
    let waiting = world.list("/v1/deliveries?status=pending");
    let waiting: Vec<_> = waiting.iter().map(|one| one["waiting"].as_str().expect("a word")).collect();
    assert_eq!(waiting, ["order", "order", "in_flight"]);
    let pending = world.get("/v1/status")["pending"].clone();
    assert_eq!((&pending["total"], &pending["order"]), (&json!(3), &json!(2)), "{pending}");
    assert!(said(&world, &["status"]).contains(", 2 behind others, "));
    let listed = said(&world, &["delivery", "list"]);
    assert_eq!(listed.matches("in its order").count(), 2, "{listed}");

    receiver.release();
    world.settled();
    assert_eq!(numbers(&by_key(&receiver.hooks())["\"a\""]), [0, 1, 2]);
    assert_eq!(world.get("/v1/status")["pending"]["order"], 0);
}

/// Hands in one that is due in three seconds, others before it is and after it has joined them; says which.
fn hand_in_around_a_delayed_one(world: &World) -> Vec<usize> {
    let mut delayed = event(Some("a"), 100);
    delayed["delay"] = json!("3s");
    world.post(&delayed.to_string()).expect(202);
    hand_in(world, Some("a"), 0);
    hand_in(world, Some("a"), 1);
    let behind = |count: u64| {
        let pending = world.get("/v1/status")["pending"].clone();
        (pending["order"] == count).then_some(())
    };
    eventually("only one is behind another", || behind(1));
    eventually("the delayed one has joined", || behind(2));
    hand_in(world, Some("a"), 2);
    vec![0, 1, 100, 2]
}

#[test]
fn a_delayed_event_joins_at_the_end_when_it_is_due() {
    let receiver = Receiver::answering(|hook| match number(hook) {
        0 => Reply::Held(200),
        _ => Reply::Status(200),
    });
    let world = World::running(&config(&receiver, &["0s"], ""));
    let order = hand_in_around_a_delayed_one(&world);
    receiver.release();
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), order);
}

#[test]
fn it_joins_while_its_endpoint_is_disabled_as_well() {
    let receiver = Receiver::start();
    let mut world = World::running(&config(&receiver, &["0s"], ""));
    let endpoint = world.endpoint("e")["id"].as_str().expect("an id").to_owned();
    said(&world, &["endpoint", "disable", &endpoint]);
    let order = hand_in_around_a_delayed_one(&world);
    // One that falls due while nobody runs joins at the start, or soon after.
    let mut delayed = event(Some("a"), 200);
    delayed["delay"] = json!("1ms");
    world.post(&delayed.to_string()).expect(202);
    world.kill();
    world.start();
    eventually("it has joined", || (world.get("/v1/status")["pending"]["order"] == 4).then_some(()));
    hand_in(&world, Some("a"), 3);
    let waiting = world.list("/v1/deliveries?status=pending");
    assert!(waiting.iter().all(|one| one["waiting"] == "disabled"), "{waiting:?}");
    assert_eq!(receiver.hooks().len(), 0);
    said(&world, &["endpoint", "enable", &endpoint]);
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [order, vec![200, 3]].concat());
}

#[test]
fn a_head_that_expires_lets_the_next_go() {
    let receiver = Receiver::answering(|hook| match number(hook) {
        0 => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let world = World::running(&config(&receiver, &["0s", "1h"], "expire = \"5s\"\n"));
    let first = hand_in(&world, None, 0);
    // The others are to have some of their time left when the first has none.
    let handed_in = now();
    eventually("some of its time has gone by", || (handed_in.elapsed().as_secs() >= 2).then_some(()));
    let others = [1, 2].map(|n| hand_in(&world, None, n));
    assert_eq!(world.delivery(&others[0])["waiting"], "order");
    let delivery = world.ended(&first);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("expired")));
    for event in &others {
        assert_eq!(world.ended(event)["status"], "succeeded");
    }
    assert_eq!(numbers(&receiver.hooks()), [0, 1, 2]);
}

#[test]
fn what_is_discarded_leaves_the_order() {
    let receiver = Receiver::answering(|hook| Reply::Status(if number(hook) < 10 { 503 } else { 200 }));
    let world = World::running(&config(&receiver, &["0s", "1h"], ""));
    let endpoint = world.endpoint("e")["id"].as_str().expect("an id").to_owned();
    let keys = [None, Some("a")];
    let events: Vec<_> = (0..10).flat_map(|n| keys.map(|key| hand_in(&world, key, n))).collect();
    receiver.wait(2);
    said(&world, &["endpoint", "disable", &endpoint]);
    said(&world, &["endpoint", "enable", &endpoint, "--pending", "discard"]);
    let after: Vec<_> = keys.iter().map(|key| hand_in(&world, *key, 10)).collect();
    for event in &after {
        assert_eq!(world.ended(event)["status"], "succeeded", "the way is free");
    }
    world.settled();
    for event in &events {
        let delivery = world.delivery(event);
        assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("cancelled"), &json!("discarded")));
    }
    assert_eq!(receiver.hooks().len(), 4, "one attempt of each head, and what came later");
    assert_eq!(world.get("/v1/status")["pending"]["order"], 0);
}

#[test]
fn what_was_accepted_keeps_what_held_then() {
    let receiver = Receiver::answering(|hook| match (number(hook), hook.earlier) {
        (0 | 10, 0) => Reply::Status(503),
        _ => Reply::Status(200),
    });
    let text = config(&receiver, &["0s", "300ms"], "");
    let mut world = World::running(&text);
    let endpoint = world.endpoint("e")["id"].as_str().expect("an id").to_owned();
    said(&world, &["endpoint", "disable", &endpoint]);
    (0..4).for_each(|n| drop(hand_in(&world, None, n)));
    world.stop();
    world.configure(&text.replace("\"fifo\"", "\"none\""));
    world.start();
    (10..14).for_each(|n| drop(hand_in(&world, None, n)));
    said(&world, &["endpoint", "enable", &endpoint]);
    world.settled();
    let (old, new): (Vec<_>, Vec<_>) = numbers(&receiver.hooks()).into_iter().partition(|n| *n < 10);
    assert_eq!(old, [0, 0, 1, 2, 3], "they keep their order");
    assert_eq!(new.last(), Some(&10), "those that came later wait for nobody: {new:?}");
}

#[test]
fn it_keeps_the_order_while_its_profile_is_missing() {
    let receiver = Receiver::answering(|hook| match (number(hook), hook.earlier) {
        (0, 0 | 1) => Reply::Status(503),
        _ => Reply::Status(200),
    });
    let open = "[network]\nallow = [\"127.0.0.0/8\"]\n[accounts.default]\nhttps_only = false\n";
    let text = profile("strict", &["0s", "50ms", "50ms"], "order = \"fifo\"\n") + open;
    let mut world = World::running(&text);
    let made = json!({"url": receiver.url("/"), "event_types": ["*"], "profile": "strict"});
    let made = world.request("POST", "/v1/endpoints", &[], made.to_string().as_bytes()).expect(201);
    let endpoint = format!("/v1/endpoints/{}", made["id"].as_str().expect("an id"));
    world.stop();
    world.configure(open);
    world.start();
    assert_eq!(world.get(&endpoint)["disabled_reason"], "no_profile");
    (0..8).for_each(|n| drop(hand_in(&world, Some("a"), n)));
    world.stop();
    world.configure(&text);
    world.start();
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_key_comes_through_every_door() {
    let receiver = Receiver::answering(|hook| match number(hook) {
        0 => Reply::Held(200),
        _ => Reply::Status(200),
    });
    let text = config(&receiver, &["0s"], "") + "[[spool]]\npath = \"spool\"\n";
    let mut world = World::new(&text);
    fs::create_dir(world.path("spool")).expect("a directory");
    world.start();
    let drop_in = |name: &str, content: &str| {
        fs::write(world.path("spooled"), content).expect("it can be written");
        fs::rename(world.path("spooled"), world.path("spool").join(name)).expect("it can be renamed");
    };
    let waiting = |count: usize| {
        eventually("they are taken", || {
            (world.list("/v1/deliveries?status=pending").len() == count).then_some(())
        });
    };
    let key = "k\u{e4}\"1";
    let first = hand_in(&world, Some(key), 0);
    let mut stream = world.stream();
    stream.send(event(Some(key), 1).to_string() + "\n");
    id(&stream.answer().expect("an answer"));
    let data = json!({"key": key, "n": 2}).to_string();
    let emitted = id(&json_of(&world.cli(&["emit", "a.b", &data, "--key", key, "--id", "x", "--json"])));
    drop_in("one.json", &event(Some(key), 3).to_string());
    waiting(4);
    let lines: Vec<_> = (4..7).map(|n| event(Some(key), n).to_string()).collect();
    drop_in("many.ndjson", &lines.join("\n"));
    waiting(7);
    let ndjson = [("content-type", "application/x-ndjson")];
    let lines: Vec<_> = (7..9).map(|n| event(Some(key), n).to_string()).collect();
    world.request("POST", "/v1/events", &ndjson, lines.join("\n").as_bytes()).expect(202);
    let orders = world.list("/v1/deliveries?status=pending");
    assert_eq!(orders.iter().filter(|one| one["waiting"] == "order").count(), 8, "{orders:?}");

    assert_eq!(world.event(&emitted)["key"], key);
    assert!(said(&world, &["event", "show", &emitted]).contains("  key          k\u{e4}\"1\n"));
    let none = hand_in(&world, None, 20);
    assert_eq!(world.event(&none)["key"], Value::Null);
    let again = json_of(&world.cli(&["emit", "a.b", &data, "--key", key, "--id", "x", "--json"]));
    assert_eq!((id(&again), &again["duplicate"]), (emitted, &json!(true)));
    let other = world.cli(&["emit", "a.b", &data, "--key", "other", "--id", "x"]);
    assert!(stderr(&other).contains("other content"), "{}", stderr(&other));
    for (wrong, part) in [(json!(""), "`key` has 1 to 256"), (json!("x".repeat(257)), "`key` has 1 to 256")] {
        let mut event = event(None, 0);
        event["key"] = wrong;
        let detail = world.post(&event.to_string()).problem(400, "invalid_event");
        assert!(detail.contains(part), "{detail}");
    }

    receiver.release();
    world.settled();
    assert_eq!(numbers(&by_key(&receiver.hooks())[&json!(key).to_string()]), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(world.ended(&first)["status"], "succeeded");
}

#[test]
fn a_first_delay_of_the_schedule_keeps_the_order_as_well() {
    let receiver = Receiver::start();
    let world = World::running(&config(&receiver, &["400ms"], "jitter = 1.0\n"));
    let events: Vec<_> = (0..6).map(|n| hand_in(&world, None, n)).collect();
    let waiting: Vec<_> = events.iter().map(|event| world.delivery(event)["waiting"].clone()).collect();
    assert!(waiting[1..].iter().all(|one| one == "order"), "they stand in order at once: {waiting:?}");
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [0, 1, 2, 3, 4, 5]);
}

/// More keys than memory has room for, and more delayed events, over a restart.
#[test]
fn the_order_is_kept_of_what_lies_on_the_disk_as_well() {
    const KEYS: usize = 1_500;
    let receiver = Receiver::start();
    let text = "limits.keys_in_memory = 1000\n".to_owned() + &config(&receiver, &["0s"], "");
    let mut world = World::running(&text);
    let endpoint = world.endpoint("e")["id"].as_str().expect("an id").to_owned();
    said(&world, &["endpoint", "disable", &endpoint]);
    let mut stream = world.stream();
    for n in 0..3 {
        let line = |key: usize| {
            let mut event = event(Some(&format!("k{key}")), n);
            // The first of each is delayed, and joins before one of the others or behind them.
            if n == 0 {
                event["delay"] = json!("2s");
            }
            event.to_string() + "\n"
        };
        stream.send((0..KEYS).map(line).collect::<String>());
        (0..KEYS).for_each(|_| drop(id(&stream.answer().expect("an answer"))));
        if n == 1 {
            let pending = || world.get("/v1/status")["pending"].clone();
            eventually("some lie on the disk", || (pending()["parked"].as_u64() > Some(500)).then_some(()));
        }
    }
    world.kill();
    world.start();
    eventually("all have joined", || (world.get("/v1/status")["pending"]["order"] == 2 * KEYS).then_some(()));
    said(&world, &["endpoint", "enable", &endpoint]);
    world.settled();
    let all = by_key(&receiver.hooks());
    assert_eq!(all.len(), KEYS);
    for (key, hooks) in all {
        let numbers = numbers(&hooks);
        let at_once: Vec<_> = numbers.iter().copied().filter(|n| *n > 0).collect();
        assert_eq!((&at_once[..], numbers.len()), (&[1, 2][..], 3), "{key}: {numbers:?}");
    }
    let pending = world.get("/v1/status")["pending"].clone();
    assert_eq!((&pending["order"], &pending["due"], &pending["turn"]), (&json!(0), &json!(0), &json!(0)));
}
