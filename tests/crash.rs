//! Ends and starts: SIGKILL, SIGTERM, restarts, two daemons. SIGKILL at random moments is in `kill.rs`.

mod support;

use std::{
    collections::BTreeSet,
    os::unix::fs::FileTypeExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually, now,
    receiver::{Receiver, Reply},
    world::{World, run_in, stderr},
};

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
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
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
