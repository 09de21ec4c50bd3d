//! Reloads beside everything else: deliveries, changes over the API, signals.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use serde_json::json;

use super::{at, hang_up, numbers, reload};
use crate::support::{eventually, receiver::Receiver, world::World};

const ACCOUNT: &str =
    "[network]\nallow = [\"127.0.0.0/8\"]\n[accounts.default]\nhttps_only = false\nprofile = ";

/// Reloads and changes of endpoints go on at the same time, while events come: each change holds that was answered, no event
/// is lost, and none goes to where it was not routed.
#[test]
fn reloads_and_changes_do_not_lose_each_other() {
    let receiver = Receiver::start();
    let texts = ["raw", "posthaste"]
        .map(|profile| format!("{ACCOUNT}\"{profile}\"\n{}", at(&receiver, "one", "/one")));
    let world = World::running(&texts[0]);
    let document = json!({"url": receiver.url("/api"), "event_types": ["a.b"], "profile": "raw"}).to_string();
    let made = world.request("POST", "/v1/endpoints", &[], document.as_bytes()).expect(201);
    let path = format!("/v1/endpoints/{}", made["id"].as_str().expect("an id"));
    let (stop, handed_in) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let n = handed_in.fetch_add(1, Ordering::Relaxed);
                world.emit("a.b", &json!({"n": n}));
            }
        });
        scope.spawn(|| {
            for text in texts.iter().cycle().take(30) {
                reload(&world, text);
            }
            stop.store(true, Ordering::Relaxed);
        });
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            round += 1;
            let change = json!({"description": format!("round {round}")}).to_string();
            let answer = world.request("PATCH", &path, &[], change.as_bytes()).expect(200);
            assert_eq!(answer["description"], format!("round {round}"));
            assert_eq!(world.get(&path)["description"], format!("round {round}"), "it stays");
            // One that is made now gets the next event, and one that is deleted none.
            let url = receiver.url(&format!("/made/{round}"));
            let document = json!({"url": url, "event_types": ["only.this"]}).to_string();
            let other = world.request("POST", "/v1/endpoints", &[], document.as_bytes()).expect(201);
            world.emit("only.this", &json!({"n": 1}));
            receiver.wait_at(&format!("/made/{round}"), 1);
            let other = format!("/v1/endpoints/{}", other["id"].as_str().expect("an id"));
            world.request("DELETE", &other, &[], b"").expect(200);
            let event = world.emit("only.this", &json!({"n": 2}));
            assert!(
                world.deliveries(&event).iter().all(|one| one["endpoint_id"] != other[14..]),
                "it is deleted"
            );
        }
    });
    world.settled();
    let all: Vec<u64> = (0..handed_in.load(Ordering::Relaxed)).collect();
    assert_eq!(
        numbers(&receiver, "/api").into_iter().collect::<std::collections::BTreeSet<_>>(),
        all.iter().copied().collect()
    );
}

/// Signals that come during a reload make one more after it: what was written last holds in the end.
#[test]
fn what_was_written_last_holds_in_the_end() {
    let receiver = Receiver::start();
    let world = World::running("");
    for n in 0..20 {
        world.configure(&at(&receiver, "one", &format!("/{n}")));
        hang_up(&world);
    }
    let url = receiver.url("/19");
    eventually("the last one holds", || {
        let list = world.list("/v1/endpoints");
        list.first().is_some_and(|one| one["url"] == url).then_some(())
    });
    assert_eq!(world.list("/v1/endpoints").len(), 1);
}

/// A daemon that is told to stop in the middle of it ends as always, and one that is killed starts with what is written.
#[test]
fn a_reload_and_an_end() {
    let receiver = Receiver::start();
    let many: String = (0..300).map(|n| at(&receiver, &format!("e{n}"), "/all")).collect();
    let mut world = World::running("");
    world.configure(&many);
    hang_up(&world);
    world.stop();
    world.configure("");
    world.start();
    world.configure(&many);
    hang_up(&world);
    world.kill();
    world.start();
    assert_eq!(world.list("/v1/endpoints").len(), 300);
    assert!(world.list("/v1/endpoints").iter().all(|one| one["enabled"] == true));
    world.emit("a.b", &json!({"n": 1}));
    receiver.wait_at("/all", 300);
}
