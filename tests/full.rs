//! No room: a store that holds its most, a disk that is full, and endpoints that are, by the built binary.
//!
//! What is refused is refused with the right words; what was acknowledged is delivered, with its outcome; and when there is
//! room again, all goes on by itself.

mod support;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually,
    receiver::{Hook, Receiver, Reply},
    world::{World, stdout},
};

/// A payload of 100,000 characters that says which it is.
fn large(n: usize) -> Value {
    json!({"n": n, "pad": "x".repeat(100_000)})
}

fn event(n: usize) -> String {
    json!({"type": "a.b", "id": format!("p{n}"), "data": large(n)}).to_string()
}

fn numbers(hooks: &[Arc<Hook>]) -> BTreeSet<usize> {
    let number =
        |hook: &Arc<Hook>| usize::try_from(hook.json()["n"].as_u64().expect("a number")).expect("fits");
    hooks.iter().map(number).collect()
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_else(|| panic!("it is refused: {answer}"))
}

/// Hands events in until one is refused with this code; how many were taken.
fn fill(world: &World, from: usize, refused: &str) -> usize {
    for n in from.. {
        let answer = world.post(&event(n));
        if answer.status == 202 {
            continue;
        }
        answer.problem(507, refused);
        assert_eq!(answer.header("retry-after"), "10");
        return n;
    }
    unreachable!("a disk has an end")
}

/// Takes up so many bytes of the store's disk, or all there are.
fn ballast(world: &World, name: &str, bytes: usize) -> PathBuf {
    let path = world.on_its_disk(name);
    let mut file = File::create(&path).expect("a file");
    for _ in 0..bytes.div_ceil(4096) {
        match file.write_all(&[7; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => panic!("{error}"),
        }
    }
    path
}

fn door(world: &World) -> Value {
    world.get("/v1/status")["door"].clone()
}

fn reserve(world: &World) -> Value {
    world.get("/v1/status")["store"]["reserve"]["present"].clone()
}

fn opens(world: &World) {
    eventually("the door opens by itself", || (door(world)["open"] == true).then_some(()));
}

/// Events are refused at every door with this code, and known ones are known; number 0 was taken before.
fn is_shut(world: &World, why: &str) {
    let door = door(world);
    assert_eq!((&door["open"], &door["reason"]), (&json!(false), &json!(why)), "{door}");
    assert!(door["since"].is_string() && door["help"].is_string(), "{door}");
    let again = world.post(&event(0)).expect(202);
    assert_eq!(again["duplicate"], true, "who asks again for what was taken hears that it was: {again}");
    let mut stream = world.stream();
    stream.send(event(900_000) + "\n" + &event(0) + "\n");
    let answers = stream.answers(2);
    assert_eq!((code(&answers[0]), &answers[0]["error"]["retry_after"]), (why, &json!(10)));
    assert_eq!(answers[1]["duplicate"], true);
    let ready = world.get("/readyz");
    assert_eq!(ready, json!({"status": "ready", "refusing": why}), "it delivers: a restart would not help");
    let shown = stdout(&world.cli(&["status"]));
    assert!(shown.contains("refusing") && shown.contains(why), "{shown}");
}

#[test]
fn a_disk_that_fills_up_takes_no_more_until_there_is_room() {
    let receiver = Receiver::start();
    let text = "store.reserve = \"4MiB\"\nlimits.in_flight = 16\n[[spool]]\npath = \"spool\"\n".to_owned()
        + &endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let Some(mut world) = World::on_disk(24, &text) else { return };
    fs::create_dir(world.path("spool")).expect("a directory");
    let ballast = ballast(&world, "ballast", 10 << 20);
    world.start();
    let metadata = fs::metadata(world.on_its_disk("outbox.redb.reserve")).expect("it is there");
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (4 << 20, 0o600));
    assert!(metadata.blocks() * 512 >= 4 << 20, "it is allocated");

    let taken = fill(&world, 0, "disk_full");
    assert!(taken > 10, "{taken}");
    is_shut(&world, "disk_full");
    assert_eq!(reserve(&world), true, "the door shuts before the reserve is needed");
    let file = world.path("spool").join("a.json");
    fs::write(world.path("spool/.a"), event(taken))
        .and_then(|()| fs::rename(world.path("spool/.a"), &file))
        .expect("a file");
    let problem = eventually("the file is left", || {
        let status = world.get("/v1/status");
        status["spools"][0]["problem"].as_str().map(str::to_owned)
    });
    assert!(problem.contains("disk") && file.exists(), "{problem}");

    // All of it is delivered, and known after a crash.
    receiver.wait_for("all that was taken", |hooks| numbers(hooks) == (0..taken).collect());
    world.settled();
    world.kill();
    world.start();
    // A start opens it with the margin alone: perhaps this is the event that shuts it.
    world.post(&event(taken + 1)).problem(507, "disk_full");
    is_shut(&world, "disk_full");
    assert!(file.exists());
    assert_eq!(world.list("/v1/events").len(), taken);

    fs::remove_file(ballast).expect("room is made");
    opens(&world);
    eventually("the file is taken", || (!file.exists()).then_some(()));
    assert_eq!(world.get("/readyz"), json!({"status": "ready"}));
    world.post(&event(taken + 1)).expect(202);
    receiver.wait_for("what came later", |hooks| numbers(hooks) == (0..taken + 2).collect());
    eventually("the problem is over", || {
        world.get("/v1/status")["spools"][0]["problem"].is_null().then_some(())
    });
    // Once in each life.
    world.logs(2, "no events are taken");
    world.logs(1, "there is room again");
    world.stop();
    assert_eq!(
        fs::read_dir(world.path("spool/failed")).expect("it is made").count(),
        0,
        "no file was put away"
    );
}

/// What a receiver says that fails at length: more than the file has free pages for, of so many attempts.
const FAILED: usize = 12 << 10;
const IN_FLIGHT: usize = 200;

/// A daemon on a small disk, with a margin of 12.5 MiB, and [`IN_FLIGHT`] events in flight, whose receiver answers with long failures when it is
/// released. From the next attempts on it answers as `later` says.
fn in_flight(reserve: &str, later: Arc<AtomicU16>) -> Option<(World, Receiver)> {
    let receiver = Receiver::answering(move |hook| match hook.earlier {
        _ if hook.text().contains("warm") => Reply::Status(204),
        0 => Reply::HeldFull(500, "x".repeat(FAILED)),
        _ => Reply::Status(later.load(Relaxed)),
    });
    let text = format!("store.reserve = \"{reserve}\"\nlimits.in_flight = {}\n", 2 * IN_FLIGHT)
        + &profile(
            "slow",
            &["0s"].into_iter().chain(["1s"; 60]).collect::<Vec<_>>(),
            "concurrency = 1000\ncircuit = 100000\ndisable_after = 0",
        )
        + &endpoint("erp", &receiver.url("/"), &["*"], "slow");
    let mut world = World::on_disk(80, &text)?;
    world.start();
    // After a start a lane begins slowly: each success lets one more go at once.
    let mut stream = world.stream();
    for n in 0..IN_FLIGHT {
        stream.send(json!({"type": "warm.up", "data": {"warm": n}}).to_string() + "\n");
    }
    assert!(stream.answers(IN_FLIGHT).iter().all(|answer| answer["id"].is_string()));
    world.settled();
    for n in 0..IN_FLIGHT {
        world.post(&json!({"type": "a.b", "id": format!("p{n}"), "data": {"n": n}}).to_string()).expect(202);
    }
    receiver.wait(2 * IN_FLIGHT);
    Some((world, receiver))
}

#[test]
fn outcomes_are_recorded_on_a_disk_that_others_fill() {
    let Some((mut world, receiver)) = in_flight("32MiB", Arc::new(AtomicU16::new(204))) else { return };
    let ballast = ballast(&world, "ballast", 128 << 20);
    receiver.release();
    world.settled();
    assert_eq!(receiver.hooks().len(), 3 * IN_FLIGHT, "each was attempted twice");
    assert_eq!(reserve(&world), false, "it is given up");
    eventually("the door is shut", || (door(&world)["open"] == false).then_some(()));
    assert_eq!(world.list("/v1/deliveries?status=succeeded").len(), 2 * IN_FLIGHT);
    world.kill();
    world.start();
    assert_eq!(door(&world)["reason"], "disk_full");
    world.settled();
    assert_eq!(
        world.list("/v1/deliveries?status=succeeded").len(),
        2 * IN_FLIGHT,
        "their outcomes were recorded"
    );
    assert_eq!(receiver.hooks().len(), 3 * IN_FLIGHT, "and none is attempted again");
    fs::remove_file(ballast).expect("room is made");
    opens(&world);
    assert_eq!(reserve(&world), true, "it is made again");
    world.stop();
}

/// What is free on the store's disk.
fn free(world: &World) -> u64 {
    let found = rustix::fs::statvfs(world.on_its_disk(".")).expect("a file system");
    found.f_bavail * found.f_frsize
}

/// As [`ballast`], and so much is left.
fn ballast_but(world: &World, name: &str, left: u64) -> PathBuf {
    ballast(world, name, usize::try_from(free(world).saturating_sub(left)).expect("fits"))
}

#[test]
fn no_attempt_begins_whose_outcome_could_not_be_recorded() {
    let later = Arc::new(AtomicU16::new(500));
    let Some((mut world, receiver)) = in_flight("32MiB", Arc::clone(&later)) else { return };
    let first = ballast(&world, "ballast", 128 << 20);
    receiver.release();
    receiver.wait(3 * IN_FLIGHT);
    assert_eq!(reserve(&world), false, "it was given up for the outcomes of the first attempts");
    // Of the reserve others leave less than what is kept for what is in flight.
    let second = ballast_but(&world, "more", 1 << 20);
    eventually("all are due, and none begins", || {
        let status = world.get("/v1/status");
        let waits = status["pending"]["in_flight"] == 0 && status["pending"]["turn"] == IN_FLIGHT;
        (waits && status["door"]["attempts_held"] == true).then_some(())
    });
    later.store(204, Relaxed);
    fs::remove_file(second).expect("a little room is made");
    world.settled();
    assert_eq!(world.list("/v1/deliveries?status=succeeded").len(), 2 * IN_FLIGHT);
    let status = door(&world);
    assert_eq!((&status["open"], &status["attempts_held"]), (&json!(false), &json!(false)), "{status}");
    fs::remove_file(first).expect("room is made");
    opens(&world);
    world.stop();
}

#[test]
fn a_store_that_cannot_be_written_ends_the_daemon_and_loses_nothing() {
    let Some((mut world, receiver)) = in_flight("0B", Arc::new(AtomicU16::new(204))) else { return };
    let ballast = ballast(&world, "ballast", 128 << 20);
    receiver.release();
    let status = world.wait();
    assert_eq!(status.code(), Some(74), "as an error of the disk: {}", world.log());
    let last = world.log().lines().last().unwrap_or_default().to_owned();
    assert!(last.contains("the store failed") && last.contains("No space left on device"), "{last}");
    fs::remove_file(ballast).expect("room is made");
    world.start();
    world.settled();
    assert_eq!(world.list("/v1/deliveries?status=succeeded").len(), 2 * IN_FLIGHT);
    assert!(receiver.hooks().len() >= 3 * IN_FLIGHT);
    assert!(!world.on_its_disk("outbox.redb.reserve").exists(), "there is none");
    world.stop();
}

#[test]
fn a_disk_that_retries_fill_up_is_seen_without_a_reserve() {
    let later = Arc::new(AtomicU16::new(500));
    let Some((mut world, receiver)) = in_flight("0B", Arc::clone(&later)) else { return };
    // A little less than the margin, and no producer whose events would have it looked at.
    let ballast = ballast_but(&world, "ballast", 12 << 20);
    receiver.release();
    eventually("all are due, and none begins", || {
        let status = world.get("/v1/status");
        let waits = status["pending"]["in_flight"] == 0 && status["pending"]["turn"] == IN_FLIGHT;
        (waits && status["door"]["attempts_held"] == true).then_some(())
    });
    let waiting = world.list("/v1/deliveries?status=pending");
    assert_eq!(waiting.len(), IN_FLIGHT);
    assert!(waiting.iter().all(|one| one["attempt"] != 0), "the outcomes are recorded: {}", waiting[0]);
    later.store(204, Relaxed);
    fs::remove_file(ballast).expect("room is made");
    world.settled();
    opens(&world);
    assert_eq!(world.list("/v1/deliveries?status=succeeded").len(), 2 * IN_FLIGHT);
    world.stop();
}

#[test]
fn a_start_does_not_shut_an_open_door() {
    let receiver = Receiver::start();
    let text = "store.reserve = \"4MiB\"\nlimits.in_flight = 64\n".to_owned()
        + &endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let Some(mut world) = World::on_disk(24, &text) else { return };
    world.start();
    world.post(&event(0)).expect(202);
    receiver.wait(1);
    world.settled();
    // Between the margin, of 2 MiB, and twice that.
    ballast_but(&world, "ballast", 7 << 19);
    world.post(&event(1)).expect(202);
    receiver.wait(2);
    world.settled();
    for clean in [true, false] {
        if clean {
            world.stop();
        } else {
            world.kill();
        }
        world.start();
        assert_eq!(door(&world)["open"], true, "{}", world.log());
        world.post(&json!({"type": "a.b", "data": {"n": 2}}).to_string()).expect(202);
        receiver.wait(if clean { 3 } else { 4 });
        world.settled();
    }
    assert!(!world.log().contains("no events are taken"), "{}", world.log());
    world.stop();
}

#[test]
fn a_reserve_that_cannot_be_made_is_said_once_and_done_without() {
    let receiver = Receiver::start();
    let mut world = World::new(&endpoint("erp", &receiver.url("/"), &["*"], "raw"));
    fs::create_dir(world.path("outbox.redb.reserve")).expect("a directory in its place");
    world.start();
    world.post(&event(0)).expect(202);
    receiver.wait(1);
    assert_eq!((&door(&world)["open"], reserve(&world)), (&json!(true), json!(false)));
    let shown = stdout(&world.cli(&["status"]));
    assert!(shown.contains("the reserve of 1.0 MiB could not be made, the log says why"), "{shown}");
    world.logs(1, "the reserve beside the store cannot be made");
    world.stop();
}

#[test]
fn a_daemon_starts_on_a_full_disk_and_delivers() {
    let receiver = Receiver::start();
    let text = "store.reserve = \"8MiB\"\nlimits.in_flight = 64\n".to_owned()
        + &endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let nowhere = text.replace("http://", "http://127.0.0.1:1/?");
    let Some(mut world) = World::on_disk(32, &nowhere) else { return };
    world.start();
    let taken = 5;
    for n in 0..taken {
        world.post(&event(n)).expect(202);
    }
    world.stop();
    fs::remove_file(world.on_its_disk("outbox.redb.reserve")).expect("it was there");
    let ballast = ballast(&world, "ballast", 128 << 20);
    // A little is left, as a disk has it of which somebody looks after the worst.
    fs::write(
        &ballast,
        vec![
            7;
            usize::try_from(fs::metadata(&ballast).expect("it is there").len()).expect("fits") - (4 << 20)
        ],
    )
    .expect("it shrinks");
    world.configure(&text);
    world.start();
    assert_eq!(door(&world)["reason"], "disk_full");
    assert_eq!(reserve(&world), false, "it cannot be made");
    receiver.wait(taken);
    world.settled();
    fs::remove_file(ballast).expect("room is made");
    opens(&world);
    assert_eq!(reserve(&world), true);
    world.stop();
}

#[test]
fn a_store_that_holds_its_most_takes_no_more_until_it_may() {
    let receiver = Receiver::start();
    let endpoint =
        "[[spool]]\npath = \"spool\"\n".to_owned() + &endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let mut world = World::new(&format!("store.max_size = \"1MiB\"\n{endpoint}"));
    fs::create_dir(world.path("spool")).expect("a directory");
    world.start();
    let taken = fill(&world, 0, "store_full");
    assert!((10..=12).contains(&taken), "bytes of rows count, not the file's: {taken}");
    is_shut(&world, "store_full");
    let file = world.path("spool").join("a.json");
    fs::write(&file, event(taken)).expect("a file");
    receiver.wait_for("all that was taken", |hooks| numbers(hooks) == (0..taken).collect());
    world.settled();
    let status = world.get("/v1/status");
    assert_eq!(status["store"]["max_size"], 1 << 20);
    assert!(status["store"]["rows"].as_u64().expect("a number") >= 1 << 20, "{status}");
    eventually("the file is left", || {
        world.get("/v1/status")["spools"][0]["problem"].as_str().map(str::to_owned)
    });
    // What is held is known after a crash.
    world.kill();
    world.start();
    is_shut(&world, "store_full");
    assert!(file.exists());
    world.stop();
    world.configure(&format!("store.max_size = \"2MiB\"\n{endpoint}"));
    world.start();
    assert_eq!(door(&world)["open"], true);
    receiver.wait_for("the file, too", |hooks| numbers(hooks) == (0..=taken).collect());
    world.stop();
}

#[test]
fn no_endpoint_shuts_the_door() {
    let dead = |name: &str| endpoint(name, "http://127.0.0.1:1/", &["*"], "posthaste");
    let text = format!("[limits]\npending_per_endpoint = 2\n{}{}", dead("one"), dead("two"));
    let mut world = World::running(&text);
    let events: Vec<_> = (0..20).map(|n| world.emit("a.b", &json!({"n": n}))).collect();
    let mut stream = world.stream();
    stream.send("{\"type\":\"a.b\"}\n");
    assert!(stream.answers(1)[0]["id"].is_string(), "it is taken");
    for (index, id) in events.iter().enumerate() {
        for delivery in world.deliveries(id) {
            let (status, reason) = (&delivery["status"], &delivery["reason"]);
            let expected = if index < 2 {
                (json!("pending"), Value::Null)
            } else {
                (json!("failed"), json!("endpoint_full"))
            };
            assert_eq!((status, reason), (&expected.0, &expected.1), "{index}: {delivery}");
        }
    }
    assert_eq!(door(&world)["open"], true);
    world.stop();
}
