//! Delivering again: replayed, as a user sees it.

mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile, secret},
    eventually,
    http::{self, Answer},
    people,
    receiver::{Receiver, Reply},
    world::{World, json_of, stderr, stdout},
};

/// An endpoint that gets everything, with one attempt and further `keys` of its profile.
fn config(receiver: &Receiver, retry: &[&str], keys: &str) -> String {
    profile("p", retry, keys) + &endpoint("shop", &receiver.url("/"), &["*"], "p")
}

fn post(world: &World, path: &str, document: &Value) -> Answer {
    world.request("POST", path, &[("content-type", "application/json")], document.to_string().as_bytes())
}

fn id(document: &Value) -> String {
    document["id"].as_str().unwrap_or_else(|| panic!("no id: {document}")).to_owned()
}

fn replay(world: &World, delivery: &Value) -> Answer {
    post(world, &format!("/v1/deliveries/{}/replay", id(delivery)), &json!({}))
}

/// Why each attempt was made, and its number.
fn whys(delivery: &Value) -> Vec<(u64, &str)> {
    let attempts = delivery["attempts"].as_array().expect("a list");
    let why = |one: &'_ Value| one["number"].as_u64().expect("a number");
    attempts.iter().map(|one| (why(one), one["why"].as_str().expect("a word"))).collect()
}

/// Refuses the first request of each delivery, takes those that follow.
fn refusing_first() -> Receiver {
    Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 503 } else { 204 }))
}

#[test]
fn what_failed_or_succeeded_goes_again_with_its_history() {
    let receiver = refusing_first();
    let mut world = World::running(&config(&receiver, &["0s"], ""));
    let event = world.emit("a.b", &json!(1));
    let failed = world.ended(&event);
    assert_eq!((&failed["status"], &failed["reason"]), (&json!("failed"), &json!("exhausted")));
    let shown = replay(&world, &failed).expect(200);
    assert_eq!((&shown["id"], &shown["step"]), (&failed["id"], &json!(0)));
    let succeeded = world.ended(&event);
    assert_eq!(succeeded["status"], "succeeded");
    assert_eq!(whys(&succeeded), [(1, "schedule"), (2, "replay")]);
    assert_eq!(receiver.hooks().len(), 2);
    // Again, over a start: it is on disk when it is answered.
    let output = world.cli(&["delivery", "replay", &id(&failed)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with(&format!("{}: ", id(&failed))), "{}", stdout(&output));
    world.kill();
    world.start();
    world.settled();
    let again = world.delivery(&event);
    assert_eq!((&again["status"], &again["id"]), (&json!("succeeded"), &failed["id"]));
    assert!(again["attempt"].as_u64() >= Some(3) && receiver.hooks().len() >= 3, "{again}");
}

#[test]
fn what_is_pending_or_not_there_is_refused() {
    let receiver = Receiver::answering(|_| Reply::Status(503));
    let world = World::running(&config(&receiver, &["0s", "1h"], ""));
    let event = world.emit("a.b", &json!(1));
    receiver.wait(1);
    let pending = world.delivery(&event);
    let detail = replay(&world, &pending).problem(409, "delivery_pending");
    assert!(detail.contains("what has ended can be replayed"), "{detail}");
    let output = world.cli(&["delivery", "replay", &id(&pending)]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(65), ""), "{}", stderr(&output));
    let other = id(&pending).replace("dlv_0", "dlv_1");
    replay(&world, &json!({"id": other})).problem(404, "not_found");
    post(&world, &format!("/v1/deliveries/{}/replay", id(&pending)), &json!({"force": true}))
        .problem(400, "bad_request");
}

#[test]
fn a_disabled_endpoint_takes_replays_and_a_full_or_deleted_one_does_not() {
    let receiver = refusing_first();
    let text = config(&receiver, &["0s"], "")
        + "[limits]\npending_per_endpoint = 1\n[network]\nallow = [\"127.0.0.0/8\"]\n[accounts.default]\nhttps_only = false\n";
    let world = World::running(&text);
    let failed = [1, 2].map(|n| world.ended(&world.emit("a.b", &json!(n))));
    world.cli(&["endpoint", "disable", "shop"]);
    let held = replay(&world, &failed[0]).expect(200);
    assert_eq!((&held["status"], &held["waiting"]), (&json!("pending"), &json!("disabled")));
    let detail = replay(&world, &failed[1]).problem(409, "endpoint_full");
    assert!(detail.contains("pending_per_endpoint"), "{detail}");
    assert_eq!(world.get("/v1/status")["pending"]["total"], 1);
    world.cli(&["endpoint", "enable", "shop"]);
    world.settled();
    replay(&world, &failed[1]).expect(200);
    world.settled();
    assert_eq!(receiver.hooks().len(), 4);
    // Another, made over the API.
    let made = post(
        &world,
        "/v1/endpoints",
        &json!({"url": receiver.url("/made"), "event_types": ["c"], "profile": "p"}),
    );
    let made = id(&made.expect(201));
    let event = world.emit("c", &json!(3));
    world.settled();
    let of_made = world.list(&format!("/v1/deliveries?event={event}&endpoint={made}")).remove(0);
    world.request("DELETE", &format!("/v1/endpoints/{made}"), &[], b"").expect(200);
    let detail = replay(&world, &of_made).problem(409, "endpoint_deleted");
    assert!(detail.contains("can go nowhere"), "{detail}");
}

#[test]
fn in_an_order_a_replay_joins_at_the_end() {
    // 1 and 2 fail at once; 3 holds the order until it is released.
    let receiver = Receiver::answering(|hook| match hook.json().as_u64() {
        Some(1 | 2) if hook.earlier == 0 => Reply::Status(503),
        Some(3) => Reply::Held(204),
        _ => Reply::Status(204),
    });
    let world = World::running(&config(&receiver, &["0s"], "order = \"fifo\"\n"));
    let events: Vec<_> = (1..=2).map(|n| world.emit("a.b", &json!(n))).collect();
    let failed: Vec<_> = events.iter().map(|event| world.ended(event)).collect();
    for n in 3..=4 {
        world.emit("a.b", &json!(n));
    }
    receiver.wait(3);
    // Not in the order of acceptance: in that in which they are replayed.
    for delivery in [&failed[1], &failed[0]] {
        replay(&world, delivery).expect(200);
        eventually("it has joined", || {
            (world.delivery(delivery["event_id"].as_str()?)["waiting"] == "order").then_some(())
        });
    }
    receiver.release();
    let order: Vec<_> = receiver.wait(6).iter().map(|hook| hook.json().as_u64()).collect();
    assert_eq!(order, [1, 2, 3, 4, 2, 1].map(Some));
    world.settled();
}

#[test]
fn a_callback_goes_again_when_its_origin_has_been_forgotten() {
    let [first, other] = [refusing_first(), Receiver::start()];
    let account = "network.allow = [\"127.0.0.0/8\"]\n[accounts.default]\nprofile = \"p\"\nhttps_only = false\nmax_origins = 1\n";
    let secret = secret();
    let world = World::running(&format!("{account}secret = \"{secret}\"\n{}", profile("p", &["0s"], "")));
    let call =
        |url: String| id(&world.post(&json!({"type": "a.b", "data": 1, "url": url}).to_string()).expect(202));
    let event = call(first.url("/x?a=1"));
    let failed = world.ended(&event);
    world.ended(&call(other.url("/")));
    replay(&world, &failed).expect(200);
    let again = world.ended(&event);
    assert_eq!((&again["status"], &again["callback"]), (&json!("succeeded"), &json!(first.url("/x?a=1"))));
    assert_eq!(whys(&again), [(1, "schedule"), (2, "replay")]);
    assert_eq!(first.hooks_at("/x?a=1").len(), 2);
    assert_eq!(world.get("/v1/status")["callbacks"]["origins"], 1, "the other has given its place");
}

#[test]
fn what_was_replayed_expires_by_its_replay() {
    let receiver = Receiver::answering(|_| Reply::Status(503));
    let world = World::running(&config(&receiver, &["0s", "2s"], "expire = \"1s\"\n"));
    let event = world.emit("a.b", &json!(1));
    let failed = world.ended(&event);
    assert_eq!(failed["reason"], "expired");
    replay(&world, &failed).expect(200);
    receiver.wait(2);
    let again = world.ended(&event);
    assert_eq!((&again["reason"], whys(&again)), (&json!("expired"), vec![(1, "schedule"), (2, "replay")]));
    let between = Duration::from_millis(900);
    let hooks = receiver.hooks();
    assert!(hooks[1].at.duration_since(hooks[0].at) >= between, "it had its time once more");
    let output = json_of(&world.cli(&["delivery", "show", &id(&failed), "--json"]));
    assert_eq!(output["id"], failed["id"]);
}

fn cancel(world: &World, delivery: &Value) -> Answer {
    post(world, &format!("/v1/deliveries/{}/cancel", id(delivery)), &json!({}))
}

#[test]
fn what_waits_is_cancelled_and_can_be_replayed() {
    let receiver = refusing_first();
    let mut world = World::running(&config(&receiver, &["0s", "1h"], ""));
    let event = world.emit("a.b", &json!(1));
    receiver.wait(1);
    eventually("its outcome is on disk", || (world.delivery(&event)["attempt"] == 1).then_some(()));
    let pending = world.delivery(&event);
    let cancelled = cancel(&world, &pending).expect(200);
    assert_eq!((&cancelled["status"], &cancelled["reason"]), (&json!("cancelled"), &json!("operator")));
    assert_eq!(world.get("/v1/status")["pending"]["total"], 0);
    cancel(&world, &pending).problem(409, "delivery_ended");
    world.kill();
    world.start();
    assert_eq!(world.delivery(&event)["reason"], "operator");
    world.settled();
    let output = world.cli(&["delivery", "replay", &id(&pending)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let succeeded = world.ended(&event);
    assert_eq!(
        (&succeeded["status"], whys(&succeeded)),
        (&json!("succeeded"), vec![(1, "schedule"), (2, "replay")])
    );
}

#[test]
fn what_is_attempted_is_cancelled_with_its_attempt_unless_that_succeeds() {
    let receiver = Receiver::answering(|hook| match hook.json().as_u64() {
        Some(1) => Reply::Held(503),
        Some(2) => Reply::Held(204),
        _ => Reply::Never,
    });
    let mut world = World::running(&config(&receiver, &["0s", "1h"], ""));
    let cancelled = |world: &World, event: &str| {
        let output = world.cli(&["delivery", "cancel", &id(&world.delivery(event))]);
        let said = stdout(&output);
        assert!(said.contains("an attempt is being made now"), "{said}{}", stderr(&output));
    };
    let mut events: Vec<_> = (1..=2).map(|n| world.emit("a.b", &json!(n))).collect();
    receiver.wait(2);
    for event in &events {
        cancelled(&world, event);
    }
    receiver.release();
    let ended: Vec<_> = events.iter().map(|event| world.ended(event)).collect();
    let states: Vec<_> = ended.iter().map(|one| (one["status"].as_str(), one["reason"].as_str())).collect();
    assert_eq!(states, [(Some("cancelled"), Some("operator")), (Some("succeeded"), None)]);
    assert_eq!(ended[0]["attempt"], 1, "the attempt is in its history");
    // What was said of one that is still being attempted holds over a crash.
    events.push(world.emit("a.b", &json!(3)));
    receiver.wait(3);
    cancelled(&world, &events[2]);
    world.kill();
    world.start();
    let third = world.ended(&events[2]);
    assert_eq!((&third["reason"], &third["attempt"]), (&json!("operator"), &json!(0)));
    assert_eq!(receiver.hooks().len(), 3, "it is not attempted again");
}

#[test]
fn a_head_that_is_cancelled_lets_the_next_go() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.json() == 1 { 503 } else { 204 }));
    let world = World::running(&config(&receiver, &["0s", "1h"], "order = \"fifo\"\n"));
    let events: Vec<_> = (1..=3).map(|n| world.emit("a.b", &json!(n))).collect();
    eventually("the head waits for its retry", || (world.delivery(&events[0])["attempt"] == 1).then_some(()));
    // One behind it leaves the order, too.
    cancel(&world, &world.delivery(&events[1])).expect(200);
    cancel(&world, &world.delivery(&events[0])).expect(200);
    world.settled();
    let order: Vec<_> = receiver.hooks().iter().map(|hook| hook.json().as_u64()).collect();
    assert_eq!(order, [Some(1), Some(3)]);
    assert_eq!(world.get("/v1/status")["pending"]["order"], 0);
}

fn recover(world: &World, endpoint: &str, document: &Value) -> Answer {
    post(world, &format!("/v1/endpoints/{endpoint}/recover"), document)
}

/// Hands in so many events, each with its number.
fn hand_in(world: &World, event_type: &str, count: usize) {
    let lines: Vec<_> = (0..count).map(|n| json!({"type": event_type, "data": n}).to_string()).collect();
    let headers = [("content-type", "application/x-ndjson")];
    world.request("POST", "/v1/events", &headers, lines.join("\n").as_bytes()).expect(202);
}

fn job(world: &World, id: &str) -> Value {
    world.get(&format!("/v1/jobs/{id}"))
}

fn has_ended(world: &World, id: &str) -> Value {
    eventually("the job has ended", || {
        let job = job(world, id);
        (job["state"] != "running").then_some(job)
    })
}

/// How often each event came that was taken, at an endpoint that refuses until it is told to take.
struct Opening {
    receiver: Receiver,
    open: Arc<AtomicBool>,
}

impl Opening {
    fn closed() -> Self {
        let open = Arc::new(AtomicBool::new(false));
        let is_open = Arc::clone(&open);
        let status = move || if is_open.load(Ordering::SeqCst) { 204 } else { 503 };
        Self { receiver: Receiver::answering(move |_| Reply::Status(status())), open }
    }

    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

#[test]
fn two_thousand_failures_are_recovered_over_a_kill() {
    const COUNT: usize = 2_000;
    let (shop, other) = (Opening::closed(), Receiver::start());
    let text = config(&shop.receiver, &["0s"], "concurrency = 64\n")
        + &endpoint("other", &other.url("/"), &["healthy"], "p");
    let text = text.replace("event_types = [\"*\"]", "event_types = [\"a.b\"]");
    let mut world = World::running(&text);
    hand_in(&world, "a.b", COUNT);
    world.settled();
    shop.receiver.wait(COUNT);
    shop.open();
    let endpoint = id(&world.endpoint("shop"));
    let answer = recover(&world, &endpoint, &json!({"since": "2026-01-01T00:00:00Z"}));
    let begun = answer.expect(202);
    let begun_id = id(&begun);
    assert_eq!(answer.header("location"), format!("/v1/jobs/{begun_id}"));
    assert_eq!((&begun["kind"], &begun["progress"]["total"]), (&json!("recover"), &json!(COUNT)));
    let taken = |count| shop.receiver.wait_for("so many were taken", |hooks| hooks.len() >= COUNT + count);
    taken(300);
    let most = world.get("/v1/status")["pending"]["total"].as_u64().expect("a number");
    assert!(most <= 512 + 256, "{most} are pending at once");
    world.kill();
    world.start();
    // Another endpoint's go on beside it.
    let event = world.emit("healthy", &json!(1));
    other.wait(1);
    assert_eq!(world.ended(&event)["status"], "succeeded");
    let ended = has_ended(&world, &begun_id);
    let progress = &ended["progress"];
    assert_eq!(
        (&ended["state"], &progress["replayed"], &progress["done"], &ended["error"]),
        (&json!("done"), &json!(COUNT), &json!(COUNT), &Value::Null)
    );
    world.settled();
    assert!(world.list("/v1/deliveries?status=failed").is_empty(), "all were taken");
    let mut times: HashMap<u64, usize> = HashMap::new();
    for hook in shop.receiver.hooks().iter().skip(COUNT) {
        *times.entry(hook.json().as_u64().expect("a number")).or_default() += 1;
    }
    assert_eq!(times.len(), COUNT, "each has come");
    // What was being attempted at the kill may come twice; nothing was replayed twice.
    let repeats: usize = times.values().map(|times| times - 1).sum();
    assert!(repeats <= 64 + 512 && times.values().all(|times| *times <= 2), "{repeats}");
    let attempts = world.list("/v1/deliveries?type=a.b").into_iter().map(|one| one["attempt"].as_u64());
    let counted: Vec<_> = attempts.map(|attempt| attempt.expect("a number")).collect();
    assert!(counted.len() == COUNT && counted.iter().all(|attempt| *attempt == 2), "one attempt more, each");
}

#[test]
fn a_recover_waits_for_a_disabled_endpoint_and_can_be_called_off() {
    let shop = Opening::closed();
    let world = World::running(&config(&shop.receiver, &["0s"], ""));
    hand_in(&world, "a.b", 5);
    world.settled();
    let cancelled = world.emit("a.b", &json!(7));
    world.settled();
    world.cli(&["endpoint", "disable", "shop"]);
    let output = json_of(&world.cli(&["endpoint", "recover", "shop", "--since", "1h", "--json"]));
    let first = id(&output);
    assert_eq!((&output["state"], &output["waiting"]), (&json!("running"), &json!("disabled")));
    let endpoint = id(&world.endpoint("shop"));
    let detail =
        recover(&world, &endpoint, &json!({"since": "2026-01-01T00:00:00Z"})).problem(409, "recover_running");
    assert!(detail.contains(&first), "{detail}");
    let output = world.cli(&["job", "cancel", &first]);
    assert!(stdout(&output).contains("  state     cancelled"), "{}{}", stdout(&output), stderr(&output));
    post(&world, &format!("/v1/jobs/{first}/cancel"), &json!({})).problem(409, "job_ended");
    assert_eq!(world.delivery(&cancelled)["status"], "failed");
    shop.open();
    world.cli(&["endpoint", "enable", "shop"]);
    // Nothing failed in that time.
    let output = json_of(&world.cli(&["endpoint", "recover", "shop", "--since", "0s", "--wait", "--json"]));
    assert_eq!((&output["state"], &output["progress"]["replayed"]), (&json!("done"), &json!(0)));
    let output = world.cli(&["endpoint", "recover", "shop", "--since", "1h", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("6 of 6 events looked through, 6 deliveries replayed"), "{said}");
    world.settled();
    assert_eq!(shop.receiver.hooks().len(), 12);
    let jobs = world.list("/v1/jobs");
    let states: Vec<_> = jobs.iter().map(|job| job["state"].as_str().expect("a word")).collect();
    assert_eq!(states, ["done", "done", "cancelled"]);
    for (document, part) in [
        (json!({}), "since"),
        (json!({"since": "yesterday"}), "since"),
        (json!({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}), "later than"),
    ] {
        let detail = recover(&world, &endpoint, &document).json()["detail"].to_string();
        assert!(detail.contains(part), "{detail}");
    }
}

#[test]
fn a_recover_goes_on_without_whoever_asked_for_it() {
    let shop = Opening::closed();
    let world = World::running(&config(&shop.receiver, &["0s"], ""));
    let path = format!("/v1/endpoints/{}/recover", id(&world.endpoint("shop")));
    eventually("five have come to their end", || {
        world.hang_up("POST", &path, r#"{"since":"2026-01-01T00:00:00Z"}"#);
        let jobs = world.list("/v1/jobs");
        (jobs.iter().filter(|job| job["state"] == "done").count() >= 5).then_some(())
    });
}

#[test]
fn a_full_endpoint_is_recovered_as_it_drains_and_a_deleted_one_not() {
    let shop = Opening::closed();
    let text = "[limits]\npending_per_endpoint = 3\n[network]\nallow = [\"127.0.0.0/8\"]\n[accounts.default]\nhttps_only = false\n";
    let world = World::running(&(config(&shop.receiver, &["0s"], "") + text));
    let made =
        json!({"url": shop.receiver.url("/made"), "event_types": ["c"], "profile": "p", "enabled": false});
    let made = id(&post(&world, "/v1/endpoints", &made).expect(201));
    // Of ten, seven find no room at once.
    world.cli(&["endpoint", "disable", "shop"]);
    hand_in(&world, "a.b", 10);
    assert_eq!(world.list("/v1/deliveries?status=failed").len(), 7);
    shop.open();
    world.cli(&["endpoint", "enable", "shop"]);
    let output = world.cli(&["endpoint", "recover", "shop", "--since", "1h", "--wait"]);
    assert!(stdout(&output).contains(" 7 deliveries replayed"), "{}{}", stdout(&output), stderr(&output));
    world.settled();
    assert_eq!(shop.receiver.hooks().len(), 10);
    let waiting = id(&recover(&world, &made, &json!({"since": "2026-01-01T00:00:00Z"})).expect(202));
    world.request("DELETE", &format!("/v1/endpoints/{made}"), &[], b"").expect(200);
    let ended = has_ended(&world, &waiting);
    assert_eq!((&ended["state"], &ended["error"]), (&json!("cancelled"), &json!("the endpoint was deleted")));
}

#[test]
fn only_operators_may() {
    if !people::is_root() {
        return;
    }
    let receiver = Receiver::answering(|_| Reply::Status(503));
    let world = people::open_world(&config(&receiver, &["0s"], ""));
    let failed = world.ended(&world.emit("a.b", &json!(1)));
    let endpoint = id(&world.endpoint("shop"));
    let (delivery, socket) = (id(&failed), world.socket());
    for (method, path) in [
        ("POST", format!("/v1/deliveries/{delivery}/replay")),
        ("POST", format!("/v1/deliveries/{delivery}/cancel")),
        ("POST", format!("/v1/endpoints/{endpoint}/recover")),
        ("GET", "/v1/jobs".to_owned()),
        ("GET", "/v1/jobs/job_01hqr2p1qq8k3v7r5m6n0x9y2z".to_owned()),
        ("POST", "/v1/jobs/job_01hqr2p1qq8k3v7r5m6n0x9y2z/cancel".to_owned()),
    ] {
        let headers = [("content-type", "application/json")];
        let answer = people::NOBODY.does(|| http::request(&socket, method, &path, &headers, b"{}"));
        answer.expect("the daemon answers").problem(403, "not_allowed");
    }
}

#[test]
fn an_open_circuit_is_probed_with_what_is_recovered() {
    let shop = Opening::closed();
    let world = World::running(&config(&shop.receiver, &["0s"], "circuit = 2\nprobe = [\"100ms\"]\n"));
    hand_in(&world, "a.b", 4);
    world.settled();
    assert!(world.endpoint("shop")["circuit"].is_object(), "nothing is left to probe it with");
    shop.open();
    let output = world.cli(&["endpoint", "recover", "shop", "--since", "1h", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    world.settled();
    assert!(
        world.list("/v1/deliveries?status=failed").is_empty() && world.endpoint("shop")["circuit"].is_null()
    );
}
