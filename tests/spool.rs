//! The spool directory, by the built binary: what is renamed in, written in place, bad, or there at a crash.

mod support;

#[path = "spool/failed.rs"]
mod failed;
#[path = "spool/notices.rs"]
mod notices;
#[path = "spool/room.rs"]
mod room;
#[path = "spool/several.rs"]
mod several;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use support::{
    config::{ODD, endpoint},
    eventually,
    receiver::{Hook, Receiver},
    world::{World, stdout},
};

/// A daemon with a spool directory and an endpoint that wants everything.
fn world_with(receiver: &Receiver, keys: &str) -> World {
    world_of(&format!(
        "{keys}\n[[spool]]\npath = \"spool\"\n{}",
        endpoint("erp", &receiver.url("/"), &["*"], "raw")
    ))
}

fn world_of(text: &str) -> World {
    let world = World::new(text);
    fs::create_dir(world.path("spool")).expect("a directory");
    world
}

fn running(receiver: &Receiver, keys: &str) -> World {
    let mut world = world_with(receiver, keys);
    world.start();
    world
}

fn spool(world: &World, name: &str) -> PathBuf {
    world.path("spool").join(name)
}

/// Hands in a file as programs should: under a name that is not looked at, then renamed.
fn drop_in(world: &World, name: &str, content: impl AsRef<[u8]>) {
    let temporary = spool(world, &format!(".{name}.tmp"));
    fs::write(&temporary, content).expect("it can be written");
    fs::rename(temporary, spool(world, name)).expect("it can be renamed");
}

fn event(n: u64) -> String {
    format!("{{\"type\":\"a.b\",\"data\":{{\"n\":{n}}}}}\n")
}

fn numbers(hooks: &[Arc<Hook>]) -> Vec<u64> {
    let mut numbers: Vec<_> = hooks.iter().map(|hook| hook.json()["n"].as_u64().expect("n")).collect();
    numbers.sort_unstable();
    numbers
}

fn gone(path: &Path) {
    eventually(&format!("{} is taken", path.display()), || (!path.exists()).then_some(()));
}

/// The reason beside a file in `failed/`, when both are there.
fn reason(world: &World, name: &str) -> Value {
    let failed = spool(world, "failed");
    eventually(&format!("{name} lies in failed/"), || failed.join(name).exists().then_some(()));
    let text = fs::read(failed.join(format!("{name}.reason"))).expect("it lies beside it");
    let reason: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(reason["file"], name);
    assert!(reason["at"].is_string(), "{reason}");
    reason
}

#[test]
fn a_file_that_is_renamed_in_is_taken_delivered_and_removed() {
    let receiver = Receiver::start();
    let world = running(&receiver, "");
    for (index, data) in ODD.iter().enumerate() {
        let name = format!("odd-{index}.json");
        drop_in(&world, &name, format!("{{\"type\":\"a.b\", \"data\":{data}}}"));
    }
    let line = |data: &&str| format!("{{\"type\":\"a.b\",\"data\":{data} }}\n");
    let lines: String = ODD.iter().map(line).collect();
    drop_in(&world, "many.ndjson", lines);
    let hooks = receiver.wait(2 * ODD.len());
    for data in ODD {
        assert_eq!(hooks.iter().filter(|hook| hook.text() == data).count(), 2, "{data}");
    }
    gone(&spool(&world, "many.ndjson"));
    (0..ODD.len()).for_each(|index| gone(&spool(&world, &format!("odd-{index}.json"))));
    world.settled();
    assert_eq!(receiver.hooks().len(), 2 * ODD.len());
    let status = eventually("the files are counted", || {
        let status = world.get("/v1/status")["spools"][0].clone();
        (status["taken"] == ODD.len() + 1).then_some(status)
    });
    assert_eq!((&status["failed"], &status["problem"]), (&json!(0), &Value::Null), "{status}");
    assert!(status["path"].as_str().expect("a path").ends_with("/spool"), "{status}");
}

#[test]
fn a_file_that_is_written_in_place_is_taken_when_its_writer_is_done() {
    let receiver = Receiver::start();
    let world = running(&receiver, "");
    // The daemon is ready before it watches the directory; once it has taken a file, it watches.
    drop_in(&world, "first.json", event(0));
    gone(&spool(&world, "first.json"));
    let path = spool(&world, "slow.ndjson");
    let mut slow = File::create(&path).expect("it can be made");
    for n in 1..4 {
        slow.write_all(event(n).as_bytes()).expect("it can be written");
        slow.flush().expect("it can be written");
        // What comes and goes meanwhile shows that the directory was looked at.
        let other = format!("other-{n}.json");
        drop_in(&world, &other, event(100 + n));
        gone(&spool(&world, &other));
        assert!(path.exists(), "taken before its writer was done");
    }
    drop(slow);
    gone(&path);
    assert_eq!(numbers(&receiver.wait(7)), [0, 1, 2, 3, 101, 102, 103]);
    world.settled();
    assert_eq!(receiver.hooks().len(), 7);
}

#[test]
fn names_of_unfinished_files_are_not_looked_at() {
    let receiver = Receiver::start();
    let world = running(&receiver, "");
    let names = [
        ".a.json",
        "b.json.tmp",
        "c.json.part",
        "d.json.partial",
        "e.json.filepart",
        "f.json.swp",
        "g.json~",
    ];
    for name in names {
        fs::write(spool(&world, name), event(0)).expect("it can be written");
    }
    drop_in(&world, "z.json", event(1));
    gone(&spool(&world, "z.json"));
    for name in names {
        assert!(spool(&world, name).exists(), "{name}");
    }
    fs::rename(spool(&world, "b.json.tmp"), spool(&world, "b.json")).expect("it can be renamed");
    gone(&spool(&world, "b.json"));
    assert_eq!(numbers(&receiver.wait(2)), [0, 1]);
}

#[test]
fn a_bad_file_goes_whole_to_failed_with_its_reason() {
    let receiver = Receiver::start();
    let world = running(&receiver, "limits.event_size = \"4KiB\"\nlimits.file_size = \"16KiB\"\n");
    let known = |n: u64| format!("{{\"type\":\"a.b\",\"id\":\"known\",\"data\":{{\"n\":{n}}}}}\n");
    world.post(&known(1)).expect(202);
    let long = format!("{{\"type\":\"a.b\",\"data\":\"{}\"}}\n", "x".repeat(5_000));
    for (name, content, code, line) in [
        ("garbage.json", "hunter2 is no JSON".to_owned(), "invalid_event", Value::Null),
        ("third.ndjson", event(7) + &event(8) + "{\"typ\":\"a.b\"}\n" + &event(9), "invalid_event", json!(3)),
        ("conflict.ndjson", event(7) + &known(2), "id_conflict", json!(2)),
        (
            "nobody.json",
            "{\"type\":\"a.b\",\"account\":\"nobody\"}".to_owned(),
            "account_not_allowed",
            Value::Null,
        ),
        ("long.ndjson", event(7) + &long, "event_too_large", json!(2)),
    ] {
        drop_in(&world, name, &content);
        let reason = reason(&world, name);
        assert_eq!(reason["code"], code, "{reason}");
        if line != Value::Null {
            assert_eq!(reason["line"], line, "{reason}");
        }
        assert!(!reason.to_string().contains("hunter2"), "nothing of the payload: {reason}");
        assert_eq!(fs::read_to_string(spool(&world, "failed").join(name)).expect("it is there"), content);
        assert!(!spool(&world, name).exists());
    }
    drop_in(&world, "huge.ndjson", event(7).repeat(1_000));
    assert!(reason(&world, "huge.ndjson")["message"].as_str().expect("text").contains("file_size"));
    // A second file of the same name does not overwrite the first.
    drop_in(&world, "garbage.json", "other");
    eventually("it lies beside the first", || spool(&world, "failed/garbage.json.1").exists().then_some(()));
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [1], "nothing of a bad file is taken");
    assert_eq!(world.list("/v1/events").len(), 1);
    eventually("they are counted", || (world.get("/v1/status")["spools"][0]["failed"] == 7).then_some(()));
    // An event that is known already is no reason to refuse a file.
    drop_in(&world, "again.ndjson", known(1) + &event(2));
    gone(&spool(&world, "again.ndjson"));
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [1, 2]);
}

#[test]
fn what_lies_there_at_the_start_is_taken_in_the_order_of_names() {
    let receiver = Receiver::start();
    let mut world = world_with(&receiver, "");
    for n in (0..300).rev() {
        drop_in(&world, &format!("{n:03}.json"), event(n));
    }
    world.start();
    (0..300).for_each(|n| gone(&spool(&world, &format!("{n:03}.json"))));
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), (0..300).collect::<Vec<_>>());
    let mut order: Vec<_> = world
        .list("/v1/events")
        .iter()
        .map(|listed| world.event(listed["id"].as_str().expect("an id"))["data"]["n"].as_u64())
        .collect();
    order.reverse();
    assert_eq!(order, (0..300).map(Some).collect::<Vec<_>>());
}

#[test]
fn kill_9_between_commit_and_removal_repeats_nothing_and_loses_nothing() {
    killed_again_and_again(4_127, "");
}

#[test]
fn kill_9_between_commit_and_move_repeats_nothing_and_loses_nothing() {
    let (world, files) = killed_again_and_again(8_128, "after = \"keep\"\n");
    let done = fs::read_dir(spool(&world, "done")).expect("it is there");
    let mut done: Vec<_> = done.map(|entry| entry.expect("an entry").file_name().into_string()).collect();
    done.sort();
    let expected: Vec<_> = (0..files).map(|n| Ok(format!("{n:05}.ndjson"))).collect();
    assert_eq!(done, expected, "each is there once, whole and under its own name");
    let content = |n: u64| fs::read_to_string(spool(&world, &format!("done/{n:05}.ndjson"))).expect("a file");
    (0..files).for_each(|n| assert_eq!(content(n), event(2 * n) + &event(2 * n + 1)));
}

fn killed_again_and_again(seed: u64, keys: &str) -> (World, u64) {
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let receiver = Receiver::start();
    let endpoint = endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let mut world = world_of(&format!("[[spool]]\npath = \"spool\"\n{keys}{endpoint}"));
    world.start();
    let mut next = 0;
    for round in 0..5 {
        for _ in 0..random.u64(30..60) {
            drop_in(&world, &format!("{next:05}.ndjson"), event(2 * next) + &event(2 * next + 1));
            next += 1;
        }
        let enough = receiver.hooks().len() + random.usize(0..20);
        // What is counted ends somewhere within the files' taking; if all is taken already, the kill comes late.
        receiver.wait_at_most(Duration::from_secs(2), |hooks| hooks.len() > enough);
        eprintln!("round {round}: {next} files, {} requests", receiver.hooks().len());
        world.kill();
        world.start();
    }
    (0..next).for_each(|n| gone(&spool(&world, &format!("{n:05}.ndjson"))));
    world.settled();
    let wanted: BTreeSet<_> = (0..2 * next).collect();
    let arrived: BTreeSet<_> = numbers(&receiver.hooks()).into_iter().collect();
    assert_eq!(arrived, wanted, "lost");
    let events = world.list("/v1/events");
    assert_eq!(events.len(), wanted.len(), "taken twice, or not at all");
    assert_eq!(fs::read_dir(spool(&world, "failed")).expect("it is there").count(), 0);
    (world, next)
}

/// A directory with a `type`, and an endpoint of each form of body.
fn any_files(receiver: &Receiver) -> World {
    let mut text = "[limits]\nevent_size = \"64KiB\"\n[[spool]]\npath = \"spool\"\ntype = \"scan.finished\"\n\
                    [profiles.events]\n[profiles.events.body]\nformat = \"cloudevents\"\n\
                    [profiles.text]\n[profiles.text.body]\nformat = \"template\"\ntemplate = \"{{ data_text }}\"\n"
        .to_owned();
    for (name, profile) in [("raw", "raw"), ("envelope", "posthaste"), ("events", "events"), ("text", "text")]
    {
        text += &endpoint(name, &receiver.url(&format!("/{name}")), &["scan.finished"], profile);
    }
    world_of(&text)
}

#[test]
fn a_directory_with_a_type_takes_files_of_any_kind() {
    let receiver = Receiver::start();
    let mut world = any_files(&receiver);
    world.start();
    let pdf = b"%PDF-1.7\n\xff\xfe\0\r\n".to_vec();
    drop_in(&world, "scan 17.PDF", &pdf);
    gone(&spool(&world, "scan 17.PDF"));
    let hook = receiver.wait_at("/raw", 1).remove(0);
    assert_eq!((hook.header("content-type"), &hook.body[..]), ("application/pdf", &pdf[..]));
    let base64 = STANDARD.encode(&pdf);
    let envelope = receiver.wait_at("/envelope", 1).remove(0);
    assert_eq!(envelope.header("content-type"), "application/json");
    let (body, id) = (envelope.json(), world.list("/v1/events")[0]["id"].as_str().expect("an id").to_owned());
    assert_eq!((&body["content_type"], &body["data_base64"]), (&json!("application/pdf"), &json!(base64)));
    assert_eq!((&body["type"], body.get("data")), (&json!("scan.finished"), None));
    let event = receiver.wait_at("/events", 1).remove(0).json();
    assert_eq!(
        (&event["datacontenttype"], &event["data_base64"]),
        (&json!("application/pdf"), &json!(base64))
    );
    world.settled();
    assert!(receiver.hooks_at("/text").is_empty(), "it is no text");
    for delivery in world.deliveries(&id) {
        let reason = if delivery["endpoint"] == "text" { json!("template") } else { Value::Null };
        assert_eq!(delivery["reason"], reason, "{delivery}");
        if delivery["endpoint"] == "raw" {
            let request = &delivery["attempts"][0]["request"];
            assert_eq!(request["headers"]["content-type"], "application/pdf", "{request}");
            assert_eq!((&request["body"], &request["body_encoding"]), (&json!(base64), &json!("base64")));
        }
    }
    let event = world.event(&id);
    assert_eq!((&event["content_type"], &event["data_base64"]), (&json!("application/pdf"), &json!(base64)));
    assert_eq!(event.get("data"), None, "{event}");
    let shown = stdout(&world.cli(&["event", "show", &id]));
    assert!(shown.contains("Payload 14 B, application/pdf\nIt is no text"), "{shown}");

    // Text of another kind, and the same file twice: its bytes are no identity.
    for name in ["a.csv", "b.csv"] {
        drop_in(&world, name, "a,\"b\"\n");
        gone(&spool(&world, name));
    }
    let texts = receiver.wait_at("/text", 2);
    assert!(texts.iter().all(|hook| hook.text() == "a,\"b\"\n"));
    assert_eq!(receiver.wait_at("/raw", 3)[2].header("content-type"), "text/csv");
    // Written in place, of no known kind, and empty.
    fs::write(spool(&world, "flag"), "").expect("it can be written");
    gone(&spool(&world, "flag"));
    let hook = receiver.wait_at("/raw", 4).remove(3);
    assert_eq!((hook.header("content-type"), hook.body.len()), ("application/octet-stream", 0));
    assert_eq!(world.get("/v1/status")["spools"][0]["problem"], Value::Null);
}

#[test]
fn a_directory_with_a_type_still_takes_events_and_leaves_names_alone() {
    let receiver = Receiver::start();
    let mut world = any_files(&receiver);
    // There at the start: found by the scan.
    fs::write(spool(&world, "there.txt"), "there").expect("it can be written");
    for name in ["a.pdf.part", ".b.pdf", "c.pdf~"] {
        fs::write(spool(&world, name), "x").expect("it can be written");
    }
    world.start();
    let told = |data: &str| format!("{{\"type\":\"scan.finished\",\"data\":{data}}}\n");
    drop_in(&world, "one.json", told("{\"n\": 1}"));
    drop_in(&world, "two.ndjson", told("2") + &told("3"));
    drop_in(&world, "bad.json", "%PDF");
    drop_in(&world, "large.bin", vec![b'x'; (64 << 10) + 1]);
    assert_eq!(reason(&world, "bad.json")["code"], "invalid_event");
    let reason = reason(&world, "large.bin");
    assert_eq!(reason["code"], "event_too_large", "{reason}");
    assert!(reason["message"].as_str().is_some_and(|message| message.contains("64KiB")), "{reason}");
    let mut bodies: Vec<_> = receiver.wait_at("/raw", 4).iter().map(|hook| hook.text().to_owned()).collect();
    bodies.sort();
    assert_eq!(bodies, ["2", "3", "there", "{\"n\": 1}"]);
    let json = receiver.hooks_at("/raw").into_iter().find(|hook| hook.text() == "2").expect("it came");
    assert_eq!(json.header("content-type"), "application/json");
    for name in ["a.pdf.part", ".b.pdf", "c.pdf~"] {
        assert!(spool(&world, name).exists(), "{name}");
    }
    fs::rename(spool(&world, "a.pdf.part"), spool(&world, "a.pdf")).expect("it can be renamed");
    gone(&spool(&world, "a.pdf"));
    // Known to the store when the daemon is killed: whichever of commit, removal or neither it was, each is there once.
    for n in 0..20 {
        drop_in(&world, &format!("{n:02}.txt"), format!("file {n}"));
    }
    receiver.wait_for("some of them", |hooks| hooks.iter().any(|hook| hook.text().starts_with("file")));
    world.kill();
    world.start();
    (0..20).for_each(|n| gone(&spool(&world, &format!("{n:02}.txt"))));
    world.settled();
    assert_eq!(world.list("/v1/events").len(), 4 + 1 + 20);
}
