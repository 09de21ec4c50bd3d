//! Stores that earlier versions have written, as bytes, which later ones open: one for each format. `format-1` was written by
//! the first version that has it, and is not written again when the code changes.
//!
//! `POSTHASTE_GOLDEN=1 cargo test --test store -- --ignored golden` writes that of a new format, once.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use super::{
    check, config, export, fill,
    packed::{pack, unpack},
    receiver, stopped,
    support::{
        eventually,
        receiver::Receiver,
        world::{World, json_of},
    },
    world,
};

/// The format that this version writes.
const FORMAT: u32 = 1;

fn fixture(format: u32, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/store/format-{format}")).join(name)
}

#[test]
#[ignore = "it writes a fixture"]
fn golden_is_written() {
    assert!(std::env::var_os("POSTHASTE_GOLDEN").is_some(), "say that it is to be written");
    let store = fixture(FORMAT, "store.packed");
    assert!(!store.exists(), "it is there, and is never written again");
    let receiver = receiver();
    let mut world = world(&receiver);
    world.start();
    fill(&world, &receiver);
    world.stop();
    json_of(&stopped(&world, "compact", &["--json"]));
    let bytes = fs::read(world.path("outbox.redb")).expect("a file");
    assert!(unpack(&pack(&bytes)) == bytes);
    let lines: Vec<_> =
        export(&world, &world.path("outbox.redb"), &[]).iter().map(|line| format!("{line}\n")).collect();
    fs::create_dir_all(store.parent().expect("a parent")).expect("a directory");
    fs::write(store, pack(&bytes)).expect("a file");
    fs::write(fixture(FORMAT, "export.ndjson"), lines.concat()).expect("a file");
}

/// Everything that an earlier version would have said of its store is said; more may be.
fn says(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.iter().all(|(name, value)| says(value, found.get(name).unwrap_or(&Value::Null)))
        }
        (expected, found) => expected == found,
    }
}

fn opens(format: u32) {
    let receiver = Receiver::start();
    let mut world = World::new(&config(&receiver.url("/ok"), &receiver.url("/fail")));
    fs::create_dir(world.path("spool")).expect("a directory");
    let path = world.path("outbox.redb");
    let bytes = unpack(&fs::read(fixture(format, "store.packed")).expect("the fixture"));
    fs::write(&path, &bytes).expect("a file");
    let expected = fs::read_to_string(fixture(format, "export.ndjson")).expect("the fixture");
    let expected: Vec<Value> =
        expected.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    if format == FORMAT {
        assert_eq!(check(&world, &path)["ok"], true);
        let found = export(&world, &path, &[]);
        assert_eq!(found.len(), expected.len());
        for (expected, found) in expected.iter().zip(&found) {
            assert!(says(expected, found), "{found}\n{expected}");
        }
    }
    world.start();
    let of_kind = |kind: &str| expected.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let events = of_kind("event");
    assert_eq!(world.list("/v1/events").len(), events.len());
    for expected in events {
        let found = world.event(expected["id"].as_str().expect("an id"));
        for name in ["type", "data", "data_base64", "producer_id", "key", "url", "time", "accepted_at"] {
            assert_eq!(found[name], expected[name], "{name} of {expected}");
        }
    }
    // What was pending is delivered, in its order, under the ids that it had.
    let pending: BTreeSet<_> = of_kind("delivery")
        .iter()
        .filter(|line| line["status"] == "pending" && line["endpoint"] == "fail")
        .map(|line| line["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(pending.len(), 20);
    // A delivery expires within a year.
    let started_at = world.get("/v1/status")["started_at"].as_str().expect("a time").to_owned();
    let expired = started_at.as_str() >= "2027-11-01";
    let status = if expired { "failed" } else { "succeeded" };
    eventually("all that was pending is delivered", || {
        let found = world.list(&format!("/v1/deliveries?endpoint=fail&status={status}"));
        (found.len() == pending.len()).then(|| {
            assert!(
                found.iter().all(|one| pending.contains(one["id"].as_str().expect("an id"))),
                "{found:?}"
            );
        })
    });
    for key in 0..3 {
        let numbers: Vec<_> = receiver
            .hooks_at("/fail")
            .iter()
            .filter_map(|hook| hook.json()["n"].as_u64())
            .filter(|n| n % 3 == key)
            .collect();
        assert!(expired || numbers.is_sorted() && numbers.len() >= 6, "{numbers:?}");
    }
    world.stop();
    assert_eq!(check(&world, &path)["ok"], true);
}

#[test]
fn every_format_that_was_ever_written_is_opened() {
    (1..=FORMAT).for_each(opens);
}
