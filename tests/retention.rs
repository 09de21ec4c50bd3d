//! Forgetting, by the built binary: what is old goes, with all that is of it, and nothing else does.

mod support;

use std::{fs::File, io::Write as _};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually,
    receiver::{Receiver, Reply},
    world::{World, stdout},
};

/// A receiver whose `/bad` fails and whose `/ok` takes everything, and endpoints for types under `ok` and `bad`; what is
/// of `late.x` stays pending for an hour.
fn receiver() -> (Receiver, String) {
    let receiver =
        Receiver::answering(|hook| Reply::Status(if hook.path.starts_with("/ok") { 204 } else { 500 }));
    let text = profile("once", &["0s"], "")
        + &profile("late", &["1h"], "")
        + &endpoint("ok", &receiver.url("/ok"), &["ok.*"], "once")
        + &endpoint("bad", &receiver.url("/bad"), &["bad.*"], "once")
        + &endpoint("late", &receiver.url("/ok"), &["late.*"], "late");
    (receiver, text)
}

fn status_of(world: &World, path: &str) -> u16 {
    world.request("GET", path, &[], b"").status
}

fn retention(world: &World) -> Value {
    world.get("/v1/status")["store"]["retention"].clone()
}

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

/// Waits until these events and none else are there, newest first.
fn left(world: &World, expected: &[&String]) {
    eventually("all others are forgotten", || {
        let left = ids(&world.list("/v1/events"));
        assert!(expected.iter().all(|id| left.contains(id)), "{expected:?} stay: {left:?}");
        (left.len() == expected.len()).then_some(())
    });
}

#[test]
fn what_succeeded_goes_and_the_rest_stays() {
    let (_receiver, text) = receiver();
    let mut world = World::running(&("store.retention = \"1s\"\n".to_owned() + &text));
    let gone: Vec<_> = (0..20).map(|n| world.emit(["ok.a", "nobody"][n % 2], &json!({"n": n}))).collect();
    let failed = world.emit("bad.a", &json!({}));
    let pending = world.emit("late.a", &json!({}));
    let many = json!({"type": "ok.a", "data": {}, "id": "mine"}).to_string();
    let known = world.post(&many).expect(202)["id"].as_str().expect("an id").to_owned();
    let newest = world.emit("ok.newest", &json!({}));
    let delivery = world.ended(&failed);
    left(&world, &[&newest, &pending, &failed]);
    for id in gone.iter().chain([&known]) {
        world.request("GET", &format!("/v1/events/{id}"), &[], b"").problem(404, "not_found");
        world.request("GET", &format!("/v1/deliveries?event={id}"), &[], b"").problem(404, "not_found");
    }
    assert_eq!(world.list("/v1/deliveries").len(), 3, "their deliveries have gone, too");
    assert_eq!(world.delivery(&failed)["attempts"], delivery["attempts"]);
    let again = world.post(&many).expect(202);
    assert_eq!((&again["duplicate"], &again["id"]), (&json!(true), &json!(known)), "its id is still known");

    // The failed one goes next, a month after it came; a pass says so at its end.
    let kept = eventually("the last pass is at its end", || {
        let kept = retention(&world);
        (kept["next_at"].as_str() > Some("2026-12-20")).then_some(kept)
    });
    let oldest = world.event(&failed)["accepted_at"].clone();
    assert_eq!((&kept["retention"], &kept["retention_failed"]), (&json!("1s"), &json!("30d")), "{kept}");
    assert_eq!((&kept["oldest_event"], &kept["accounts"]), (&oldest, &json!([])), "{kept}");
    // Ten with a delivery and an attempt, ten without, and the one with an id.
    let expected = json!({"events": 21, "rows": 53, "bytes": kept["forgotten"]["bytes"]});
    assert_eq!(
        (&kept["forgotten"], &kept["behind"], &kept["held"]),
        (&expected, &json!(false), &Value::Null)
    );
    assert!(kept["last_run_at"].is_string() && kept["forgotten"]["bytes"].as_u64() > Some(3_000), "{kept}");
    let page = stdout(&world.cli(&["status"]));
    assert!(page.contains("kept         1s, failed 30d; oldest of 20"), "{page}");
    assert!(page.contains("forgotten    21 events, ") && page.contains("the next goes in 29d"), "{page}");

    world.kill();
    world.start();
    assert_eq!(ids(&world.list("/v1/events")), [&*newest, &*pending, &*failed], "and so after a crash");
    // The next takes the newest one's place, and no number is given twice.
    let next = world.emit("ok.a", &json!({}));
    left(&world, &[&next, &pending, &failed]);
    world.stop();
}

#[test]
fn what_failed_goes_later_and_each_account_has_its_own_ages() {
    let (_receiver, text) = receiver();
    let text = "store.retention = \"365d\"\nstore.retention_failed = \"1s\"\n".to_owned()
        + "[accounts.short]\nretention = \"1s\"\nretention_failed = \"365d\"\n"
        + &text;
    let world = World::running(&text);
    let own = world.post(r#"{"type":"a.b","account":"short"}"#).expect(202)["id"].as_str().map(str::to_owned);
    let ok = world.emit("ok.a", &json!({}));
    let bad = world.emit("bad.a", &json!({}));
    let newest = world.emit("nobody", &json!({}));
    left(&world, &[&newest, &ok]);
    assert_eq!(status_of(&world, &format!("/v1/events/{bad}")), 404);
    assert_eq!(status_of(&world, &format!("/v1/events/{}", own.expect("an id"))), 404);
    let own = json!([{"account": "short", "retention": "1s", "retention_failed": "365d"}]);
    assert_eq!(retention(&world)["accounts"], own);
    let page = stdout(&world.cli(&["status"]));
    assert!(page.contains("kept         365d, failed 1s; 1 account has its own; oldest of 20"), "{page}");
}

/// An account's ages are those that hold: of one that was made over the API from its making on, as the configuration that is
/// read again wants it, and from a start on.
#[test]
fn accounts_made_over_the_api_have_their_own_ages() {
    let json = [("content-type", "application/json")];
    let call = |world: &World, method: &str, path: &str, document: &Value| {
        world.request(method, path, &json, document.to_string().as_bytes())
    };
    let own = |account: &str, (retention, failed): (&str, &str)| json!([{"account": account, "retention": retention, "retention_failed": failed}]);
    let mut world = World::running("");
    let hand_in = |world: &World, account: &str| {
        let event = json!({"type": "a.b", "account": account}).to_string();
        world.post(&event).expect(202)["id"].as_str().expect("an id").to_owned()
    };
    let made =
        call(&world, "POST", "/v1/accounts", &json!({"name": "made", "retention": "365d"})).expect(201);
    assert_eq!((&made["retention"], &made["retention_failed"]), (&json!("365d"), &Value::Null));
    assert_eq!(retention(&world)["accounts"], own("made", ("365d", "30d")));
    let (gone, newest) = (hand_in(&world, "made"), hand_in(&world, "default"));
    // From a start on.
    world.kill();
    world.start();
    assert_eq!(retention(&world)["accounts"], own("made", ("365d", "30d")));
    // A reload takes nothing of it away; what the store's are is another.
    world.configure("store.retention_failed = \"40d\"\n");
    call(&world, "POST", "/v1/reload", &Value::Null).expect(200);
    assert_eq!(retention(&world)["accounts"], own("made", ("365d", "40d")));
    // What the configuration says of one of its name wins, as long as it stands there.
    world.configure("[accounts.made]\nretention = \"20d\"\n");
    call(&world, "POST", "/v1/reload", &Value::Null).expect(200);
    assert_eq!(retention(&world)["accounts"], own("made", ("20d", "30d")));
    world.configure("");
    call(&world, "POST", "/v1/reload", &Value::Null).expect(200);
    assert_eq!(ids(&world.list("/v1/events")), [&*newest, &*gone]);
    // With a change it holds at once for what is there.
    let change = |document: &Value| call(&world, "PATCH", "/v1/accounts/made", document).expect(200);
    assert_eq!(change(&json!({"retention": "1s"}))["retention"], "1s");
    left(&world, &[&newest]);
    let page =
        stdout(&world.cli(&["account", "update", "made", "--no-retention", "--retention-failed", "2h"]));
    assert!(page.contains("kept         as by [store], failed 2h"), "{page}");
    assert_eq!(retention(&world)["accounts"], own("made", ("7d", "2h")));
    change(&json!({"retention_failed": null}));
    assert_eq!(retention(&world)["accounts"], json!([]));
    change(&json!({"retention": "2s"}));
    call(&world, "DELETE", "/v1/accounts/made", &json!({})).expect(200);
    assert_eq!(retention(&world)["accounts"], json!([]), "what it had is kept as the store's");
    world.stop();
}

#[test]
fn a_list_goes_on_over_what_has_gone() {
    let (_receiver, text) = receiver();
    let world = World::running(&("store.retention = \"1s\"\n".to_owned() + &text));
    let old: Vec<_> = (0..4).map(|_| world.emit("bad.a", &json!({}))).collect();
    let gone: Vec<_> = (0..4).map(|_| world.emit("ok.a", &json!({}))).collect();
    let new = world.emit("bad.a", &json!({}));
    world.settled();
    // Perhaps a part has gone by now; a page that ends between them goes on behind what is there then.
    for path in ["/v1/events?limit=2", "/v1/deliveries?limit=2"] {
        let first = world.get(path);
        let cursor = first["next_cursor"].as_str().expect("there are more").to_owned();
        left(&world, &[&new, &old[0], &old[1], &old[2], &old[3]]);
        let rest = world.list(&format!("{}?cursor={cursor}", path.split_once('?').expect("a query").0));
        let key = if path.starts_with("/v1/events") { "id" } else { "event_id" };
        let rest: Vec<_> = rest.iter().map(|one| one[key].as_str().expect("an id").to_owned()).collect();
        assert!(rest.ends_with(&[old[2].clone(), old[1].clone(), old[0].clone()]), "{rest:?}");
        assert!(rest.iter().all(|id| !gone.contains(id)), "{rest:?}");
    }
}

#[test]
fn a_store_that_is_full_opens_when_rows_have_gone() {
    let (_receiver, text) = receiver();
    let text = "store.retention = \"2s\"\nstore.max_size = \"1MiB\"\n".to_owned() + &text;
    let world = World::running(&text);
    let large = json!({"type": "ok.a", "data": "x".repeat(100_000)}).to_string();
    let refused = eventually("it is full", || {
        let answer = world.post(&large);
        (answer.status != 202).then_some(answer)
    });
    refused.problem(507, "store_full");
    assert_eq!(retention(&world)["forgotten"]["events"], 0, "nothing goes early");
    eventually("the door opens by itself", || (world.post(&large).status == 202).then_some(()));
    assert!(retention(&world)["forgotten"]["events"].as_u64() > Some(0));
}

#[test]
fn a_disk_that_is_full_forgets_all_the_same() {
    let (_receiver, text) = receiver();
    let text =
        "store.retention = \"3s\"\nstore.reserve = \"4MiB\"\nlimits.in_flight = 16\n".to_owned() + &text;
    let Some(mut world) = World::on_disk(24, &text) else { return };
    world.start();
    let event = |n: usize| json!({"type": "ok.a", "id": format!("p{n}"), "data": n}).to_string();
    let mut stream = world.stream();
    for n in 0..400 {
        stream.send(event(n) + "\n");
    }
    assert!(stream.answers(400).iter().all(|answer| answer["id"].is_string()));
    world.settled();
    // Others take all there is, so that the reserve is given up.
    let mut ballast = File::create(world.on_its_disk("ballast")).expect("a file");
    while ballast.write_all(&[7; 4096]).is_ok() {}
    let rows = world.get("/v1/status")["store"]["rows"].as_u64();
    eventually("all but the newest is forgotten", || {
        let status = world.get("/v1/status");
        let gone = status["store"]["retention"]["forgotten"]["events"] == 399;
        (gone && status["door"]["reason"] == "disk_full").then_some(())
    });
    let status = world.get("/v1/status");
    assert!(status["store"]["rows"].as_u64() < rows, "{status}");
    assert_eq!(status["store"]["retention"]["held"], Value::Null, "{status}");
    assert_eq!(world.list("/v1/events").len(), 1);
    world.kill();
    world.start();
    assert_eq!(world.list("/v1/events").len(), 1, "and so after a crash");
    world.stop();
}

#[test]
fn what_ages_there_may_be() {
    let world = World::new("store.retention = \"0s\"\n");
    let output = world.cli(&["check", "--config", world.config().to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(78));
    let said = support::world::stderr(&output);
    assert!(
        said.contains("`store.retention` is out of bounds") && said.contains("from 1s to 365d"),
        "{said}"
    );
}
