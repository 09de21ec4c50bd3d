//! Ends and starts: `kill -9` in the middle of everything, SIGTERM, restarts, two daemons.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::unix::fs::FileTypeExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually, http, now,
    receiver::{Hook, Receiver, Reply},
    stream::Stream,
    world::{World, run_in, stderr},
};

/// Requests open at once in the crash test.
const IN_FLIGHT: usize = 8;
/// How long an outcome may wait for company in the crash test.
const SETTLE_DELAY: Duration = Duration::from_millis(20);
/// What a commit, and a busy machine, may add to it.
const SLACK: Duration = Duration::from_secs(2);
/// How often the daemon is killed.
const ROUNDS: usize = 6;
/// How far the producers may be ahead of the receiver.
const AHEAD: u64 = 150;

/// What the producers know.
#[derive(Default)]
struct Producers {
    next: AtomicU64,
    /// The numbers that were acknowledged, with the events' ids.
    acknowledged: Mutex<BTreeMap<u64, String>>,
    stop: AtomicBool,
}

impl Producers {
    fn line(&self) -> (u64, String) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        (n, format!("{{\"type\":\"a.b\",\"data\":{{\"n\":{n}}}}}\n"))
    }

    fn acknowledge(&self, n: u64, answer: &Value) {
        let id = answer["id"].as_str().unwrap_or_else(|| panic!("{n} was refused: {answer}")).to_owned();
        assert!(self.lock().insert(n, id).is_none(), "{n} was handed in once");
    }

    fn count(&self) -> u64 {
        u64::try_from(self.lock().len()).expect("few")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, String>> {
        self.acknowledged.lock().expect("no producer panicked")
    }

    /// Waits until the receiver is not too far behind; says whether to go on.
    fn go_on(&self, receiver: &Receiver) -> bool {
        let count = self.count();
        let near = move |hooks: &[Arc<Hook>]| u64::try_from(hooks.len()).expect("few") + AHEAD > count;
        while !self.stop.load(Ordering::Relaxed) {
            if receiver.wait_at_most(Duration::from_millis(20), near) {
                return true;
            }
        }
        false
    }

    /// Hands in over streams, some lines at a time, until it is over; a broken connection is made anew.
    fn over_streams(&self, socket: &Path, receiver: &Receiver, mut random: fastrand::Rng) {
        while self.go_on(receiver) {
            let Ok(mut stream) = Stream::try_connect(socket) else { continue };
            while self.go_on(receiver) {
                let lines: Vec<_> = (0..random.usize(1..20)).map(|_| self.line()).collect();
                let text: String = lines.iter().map(|(_, line)| line.as_str()).collect();
                if stream.try_send(text).is_err() {
                    break;
                }
                let mut answers = lines.iter().map(|(n, _)| (*n, stream.try_answer()));
                let broken = answers.any(|(n, answer)| match answer {
                    Ok(Some(answer)) => {
                        self.acknowledge(n, &answer);
                        false
                    }
                    Ok(None) | Err(_) => true,
                });
                if broken {
                    break;
                }
            }
        }
    }

    /// Hands in one by one over HTTP until it is over.
    fn over_http(&self, socket: &Path, receiver: &Receiver) {
        while self.go_on(receiver) {
            let (n, line) = self.line();
            if let Ok(answer) = http::request(socket, "POST", "/v1/events", &[], line.as_bytes()) {
                self.acknowledge(n, &answer.expect(202));
            }
        }
    }
}

/// One `kill -9`.
struct Kill {
    at: Instant,
    /// The deliveries whose success was recorded by then.
    recorded: BTreeSet<String>,
}

/// Ends the producers when it is dropped, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn number(hook: &Hook) -> u64 {
    hook.json()["n"].as_u64().expect("a number")
}

/// What the receiver answers to the first arrival of a number: mostly yes, sometimes no.
fn takes(n: u64) -> bool {
    !n.is_multiple_of(23)
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_and_only_what_was_open_is_repeated() {
    let seed = 20_261_122;
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let receiver = Receiver::answering(|hook| {
        let n = number(hook);
        let status = if hook.earlier == 0 && !takes(n) { 503 } else { 200 };
        Reply::After(Duration::from_millis(1 + n * 7 % 12), status)
    });
    let text = endpoint("erp", &receiver.url("/"), &["*"], "quick")
        + &profile("quick", &["0s", "50ms", "100ms", "1s", "1s", "1s", "1s"], "");
    let settle = SETTLE_DELAY.as_millis();
    let mut world = World::running(&format!(
        "store.settle_delay = \"{settle}ms\"\nlimits.in_flight = {IN_FLIGHT}\n{text}"
    ));
    let producers = Producers::default();
    let mut kills = Vec::new();
    let socket = world.socket();
    thread::scope(|scope| {
        let (producers, receiver, socket) = (&producers, &receiver, &socket);
        let over = Over(&producers.stop);
        let stream_random = random.fork();
        let producing = [
            scope.spawn(move || producers.over_streams(socket, receiver, stream_random)),
            scope.spawn(move || producers.over_http(socket, receiver)),
        ];
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                let enough = receiver.hooks().len() + random.usize(30..200);
                receiver.wait_for("deliveries between two kills", |hooks| hooks.len() >= enough);
            } else {
                let enough = producers.count() + random.u64(30..200);
                eventually("events between two kills", || (producers.count() >= enough).then_some(()));
            }
            let recorded = world.list("/v1/deliveries?status=succeeded");
            let recorded = recorded.iter().map(|one| one["id"].as_str().expect("an id").to_owned());
            let recorded = recorded.collect();
            world.kill();
            kills.push(Kill { at: now(), recorded });
            world.start();
            assert_eq!(world.get("/v1/status")["store"]["unclean_start"], true);
        }
        drop(over);
        for thread in producing {
            thread.join().expect("no producer panicked");
        }
    });
    world.settled();

    let acknowledged = producers.lock().clone();
    let hooks = receiver.hooks();
    eprintln!("{} acknowledged, {} requests", acknowledged.len(), hooks.len());
    assert!(acknowledged.len() > 100, "the test has something to say");
    assert_all_kept(&world, &acknowledged);
    let arrived: BTreeSet<u64> = hooks.iter().map(|hook| number(hook)).collect();
    let lost: Vec<_> = acknowledged.keys().filter(|n| !arrived.contains(n)).collect();
    assert_eq!(lost, [&0; 0], "acknowledged and never delivered");
    assert_repeats(&world, &hooks, &kills);
}

/// Everything acknowledged is in the store, and its deliveries have succeeded.
fn assert_all_kept(world: &World, acknowledged: &BTreeMap<u64, String>) {
    let events = world.list("/v1/events");
    let events: HashMap<&str, &Value> =
        events.iter().map(|event| (event["id"].as_str().expect("an id"), event)).collect();
    for (n, id) in acknowledged {
        let event = events.get(id.as_str()).unwrap_or_else(|| panic!("{n}, acknowledged as {id}, is gone"));
        assert_eq!(event["deliveries"]["succeeded"], 1, "{n}: {event}");
    }
}

/// What was taken by the receiver and came again was open or unsettled at a kill, is not too much, and is marked.
fn assert_repeats(world: &World, hooks: &[Arc<Hook>], kills: &[Kill]) {
    let mut arrivals: BTreeMap<&str, Vec<&Hook>> = BTreeMap::new();
    for hook in hooks {
        arrivals.entry(hook.header("webhook-id")).or_default().push(hook);
    }
    let mut repeated = vec![0; kills.len()];
    for (delivery, arrivals) in &arrivals {
        for pair in arrivals.windows(2) {
            let taken = pair[0].earlier > 0 || takes(number(pair[0]));
            if !taken {
                continue;
            }
            // The receiver may have seen the request only after the kill.
            let between = |kill: &Kill| pair[0].at <= kill.at + SLACK && kill.at <= pair[1].at;
            let index =
                kills.iter().rposition(between).unwrap_or_else(|| panic!("{delivery} without a kill"));
            let age = kills[index].at.saturating_duration_since(pair[0].at);
            assert!(age < SETTLE_DELAY + SLACK, "{delivery} was taken {age:?} before the kill");
            assert!(!kills[index].recorded.contains(*delivery), "{delivery} was recorded, and came again");
            repeated[index] += 1;
            let shown = world.get(&format!("/v1/deliveries/{delivery}"));
            let marked =
                shown["attempts"].as_array().expect("a list").iter().any(|a| a["why"] == "after_crash");
            assert!(marked, "a repeat that is not marked: {shown}");
        }
    }
    eprintln!("repeats by kill: {repeated:?}");
    for (kill, repeats) in kills.iter().zip(repeated) {
        let unsettled = hooks.iter().filter(|hook| {
            let age = kill.at.saturating_duration_since(hook.at);
            hook.at <= kill.at && age <= SETTLE_DELAY + SLACK
        });
        let bound = IN_FLIGHT + unsettled.count();
        assert!(repeats <= bound, "{repeats} repeats, of which {bound} may be");
    }
}

#[test]
fn a_retry_that_waits_survives_a_restart_and_comes_when_it_is_due() {
    for kill in [false, true] {
        let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 500 } else { 200 }));
        let text = endpoint("soon", &receiver.url("/soon"), &["*"], "soon")
            + &endpoint("late", &receiver.url("/late"), &["*"], "late")
            + &profile("soon", &["0s", "1500ms"], "")
            + &profile("late", &["0s", "1h"], "");
        let mut world = World::running(&text);
        let event = world.emit("a.b", &json!(1));
        let named = |world: &World, name: &str| {
            let deliveries = world.deliveries(&event);
            deliveries.into_iter().find(|one| one["endpoint"] == name).expect("it was made")
        };
        eventually("both attempts are recorded", || {
            let recorded = |name| named(&world, name)["attempt"] == 1;
            (recorded("soon") && recorded("late")).then_some(())
        });
        let before = named(&world, "late");
        assert_eq!((&before["status"], &before["waiting"]), (&json!("pending"), &json!("due")));
        if kill {
            world.kill();
        } else {
            world.stop();
        }
        world.start();
        let hooks = receiver.wait_at("/soon", 2);
        let waited = hooks[1].at - hooks[0].at;
        assert!(waited >= Duration::from_millis(1_499), "only {waited:?} after the first");
        assert!(waited < Duration::from_secs(15), "{waited:?} after the first");
        assert_eq!(hooks[0].header("webhook-id"), hooks[1].header("webhook-id"));
        let soon = eventually("it is recorded", || {
            let soon = named(&world, "soon");
            (soon["status"] == "succeeded").then_some(soon)
        });
        assert_eq!((&soon["attempt"], &soon["attempts"][1]["number"]), (&json!(2), &json!(2)));
        let late = named(&world, "late");
        assert_eq!(late["due_at"], before["due_at"], "what is due in an hour is due then");
        assert_eq!((&late["status"], receiver.hooks_at("/late").len()), (&json!("pending"), 1));
    }
}

#[test]
fn endpoints_keep_their_ids_over_restarts() {
    let receiver = Receiver::start();
    let both = |first: &str, second: &str| {
        endpoint(first, &receiver.url("/"), &["*"], "raw")
            + &endpoint(second, &receiver.url("/"), &["*"], "raw")
    };
    let mut world = World::running(&both("erp", "shop"));
    let ids = |world: &World| ["erp", "shop"].map(|name| world.endpoint(name)["id"].clone());
    let before = ids(&world);
    assert_ne!(before[0], before[1]);
    world.stop();
    world.configure(&both("shop", "erp"));
    world.start();
    assert_eq!(ids(&world), before, "whatever their order");
    world.kill();
    world.start();
    assert_eq!(ids(&world), before);
}

#[test]
fn an_endpoint_that_leaves_the_configuration_holds_its_deliveries_until_it_is_back() {
    let well = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::answering({
        let well = Arc::clone(&well);
        move |_| Reply::Status(if well.load(Ordering::Relaxed) { 200 } else { 500 })
    });
    let schedule = profile("quick", &["0s", "300ms", "300ms", "300ms", "1s", "1s", "1s", "1h"], "");
    let text = endpoint("erp", &receiver.url("/"), &["*"], "quick") + &schedule;
    let mut world = World::running(&text);
    let event = world.emit("a.b", &json!(1));
    eventually("an attempt has failed", || (world.delivery(&event)["attempt"] != 0).then_some(()));
    let id = world.endpoint("erp")["id"].clone();
    world.stop();
    let attempts = receiver.hooks().len();
    well.store(true, Ordering::Relaxed);

    world.configure("");
    world.start();
    let endpoint = eventually("what is pending has been read", || {
        let endpoint = world.endpoint("erp");
        (endpoint["pending"] == 1).then_some(endpoint)
    });
    assert_eq!((&endpoint["id"], &endpoint["url"]), (&id, &Value::Null));
    let (enabled, reason) = (&endpoint["enabled"], &endpoint["disabled_reason"]);
    assert_eq!((enabled, reason), (&json!(false), &json!("not_configured")));
    let status = world.get("/v1/status");
    assert_eq!(status["disabled_endpoints"][0]["reason"], "not_configured", "{status}");
    let delivery = world.delivery(&event);
    assert_eq!((&delivery["status"], &delivery["waiting"]), (&json!("pending"), &json!("disabled")));
    let other = world.emit("a.b", &json!(2));
    assert_eq!(world.event(&other)["deliveries"], json!([]), "it subscribes to nothing any more");
    world.stop();
    assert_eq!(receiver.hooks().len(), attempts, "nothing was sent meanwhile");

    world.configure(&text);
    world.start();
    assert_eq!(world.ended(&event)["status"], "succeeded");
    assert_eq!(world.endpoint("erp")["id"], id);
    assert_eq!(world.endpoint("erp")["enabled"], true);
}

#[test]
fn sigterm_lets_what_is_in_flight_end_and_starts_nothing_more() {
    let receiver = Receiver::answering(|_| Reply::Held(200));
    let mut world = World::running(&endpoint("erp", &receiver.url("/"), &["*"], "raw"));
    let events: Vec<_> = (0..5).map(|n| world.emit("a.b", &json!(n))).collect();
    let open = receiver.wait(2).len();
    world.terminate();
    eventually("the door is closed", || (!world.socket().exists()).then_some(()));
    receiver.release();
    let status = world.wait();
    assert_eq!(status.code(), Some(0), "{status}\n{}", world.log());
    assert_eq!(receiver.hooks().len(), open, "nothing was started while it stopped");
    world.start();
    assert_eq!(world.get("/v1/status")["store"]["unclean_start"], false);
    for event in &events {
        let delivery = world.ended(event);
        assert_eq!((&delivery["status"], &delivery["attempt"]), (&json!("succeeded"), &json!(1)));
        assert_eq!(delivery["attempts"][0]["why"], "schedule");
    }
    assert_eq!(receiver.hooks().len(), events.len(), "each came once");
}

#[test]
fn a_second_sigterm_cuts_off_what_is_in_flight_and_it_is_attempted_again() {
    let receiver =
        Receiver::answering(|hook| if hook.earlier == 0 { Reply::Never } else { Reply::Status(200) });
    let mut world = World::running(&endpoint("erp", &receiver.url("/"), &["*"], "raw"));
    let event = world.emit("a.b", &json!(1));
    receiver.wait(1);
    world.terminate();
    eventually("the door is closed", || (!world.socket().exists()).then_some(()));
    let asked = now();
    world.terminate();
    let status = world.wait();
    assert_eq!(status.code(), Some(0), "{status}\n{}", world.log());
    let time = asked.elapsed();
    assert!(time < Duration::from_secs(15), "it took {time:?}, and would have waited 30 s");
    world.start();
    let delivery = world.ended(&event);
    assert_eq!(delivery["status"], "succeeded");
    assert_eq!(delivery["attempts"][0]["why"], "after_crash", "it may be a repeat, and here it is one");
    let hooks = receiver.wait(2);
    assert_eq!(hooks[0].header("webhook-id"), hooks[1].header("webhook-id"));
}

#[test]
fn a_producer_is_answered_for_all_that_was_taken_before_the_end() {
    let mut world = World::running("");
    let mut stream = world.stream();
    stream.send("{\"type\":\"a.b\"}\n".repeat(300));
    let first = stream.answer().expect("an answer");
    world.terminate();
    let mut answers = vec![first];
    while let Ok(Some(answer)) = stream.try_answer() {
        answers.push(answer);
    }
    assert_eq!(world.wait().code(), Some(0), "{}", world.log());
    world.start();
    let kept: BTreeSet<_> = world.list("/v1/events").iter().map(|event| event["id"].to_string()).collect();
    let taken: BTreeSet<_> =
        answers.iter().filter(|answer| answer.get("error").is_none()).map(|a| a["id"].to_string()).collect();
    assert_eq!(kept, taken, "what was not answered was not taken either");
}

#[test]
fn a_second_daemon_is_refused_the_store_and_the_socket() {
    let mut world = World::running("");
    let id = world.emit("a.b", &json!(1));
    let other = "listen.socket = \"other.sock\"\nstore.path = \"outbox.redb\"\n";
    std::fs::write(world.path("other.toml"), other).expect("a file");
    let directory = world.path("");
    let output = run_in(&directory, &["serve", "--config", "other.toml"]);
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    let message = stderr(&output);
    assert!(message.contains("outbox.redb is in use"), "{message}");
    assert!(message.contains(&format!("(process {})", world.pid())), "{message}");
    assert!(!world.path("other.sock").exists(), "it leaves nothing behind");

    let other = "listen.socket = \"p.sock\"\nstore.path = \"other.redb\"\n";
    std::fs::write(world.path("other.toml"), other).expect("a file");
    let output = run_in(&directory, &["serve", "--config", "other.toml"]);
    assert_ne!(output.status.code(), Some(0));
    let message = stderr(&output);
    assert!(message.contains("p.sock") && message.contains("in use"), "{message}");
    assert!(!world.path("other.redb").exists(), "it leaves nothing behind");

    assert_eq!(world.event(&id)["data"], 1, "the first goes on");
    world.stop();
}

#[test]
fn a_stale_socket_is_replaced_and_anything_else_in_its_place_is_not() {
    let mut world = World::running("");
    let id = world.emit("a.b", &json!(1));
    world.kill();
    let left = std::fs::symlink_metadata(world.socket()).expect("a killed daemon leaves it");
    assert!(left.file_type().is_socket());
    world.start();
    assert_eq!(world.event(&id)["data"], 1);
    world.stop();
    std::fs::write(world.socket(), "mine").expect("a file");
    let output = run_in(&world.path(""), &["serve", "--config", "posthaste.toml"]);
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert!(stderr(&output).contains("is no socket"), "{}", stderr(&output));
    assert_eq!(std::fs::read(world.socket()).expect("it is there"), b"mine");
}

#[test]
fn the_socket_has_its_mode_and_the_store_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::running("listen.socket_mode = \"0620\"\n");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&world.socket()), 0o620);
    assert_eq!(mode(&world.path("outbox.redb")), 0o600);
}
