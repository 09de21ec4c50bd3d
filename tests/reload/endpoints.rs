//! Endpoints of the configuration, their credentials, profiles and catalogs.

use std::fs;

use serde_json::{Value, json};

use super::{at, emit, hang_up, names, numbers, reload};
use crate::support::{
    config::{profile, secret},
    eventually,
    receiver::{Receiver, Reply},
    world::World,
};

#[test]
fn endpoints_come_change_go_and_come_back() {
    let receiver = Receiver::start();
    let world = World::running(&at(&receiver, "one", "/one"));
    let first = world.endpoint("one");
    emit(&world, 1);
    receiver.wait_at("/one", 1);
    // One elsewhere, and another.
    let both = format!("{}{}", at(&receiver, "one", "/elsewhere"), at(&receiver, "two", "/two"));
    let answer = reload(&world, &both);
    assert_eq!(answer, json!({"changed": ["endpoint.one", "endpoint.two"], "needs_restart": []}));
    emit(&world, 2);
    receiver.wait_at("/elsewhere", 1);
    receiver.wait_at("/two", 1);
    assert_eq!(world.endpoint("one")["id"], first["id"]);
    // It goes, its deliveries are held, and it comes back with them.
    reload(&world, &at(&receiver, "two", "/two"));
    let gone = world.endpoint("one");
    assert_eq!((&gone["enabled"], &gone["disabled_reason"]), (&json!(false), &json!("not_configured")));
    let held = emit(&world, 3);
    receiver.wait_at("/two", 2);
    assert_eq!(world.event(&held)["deliveries"].as_array().map(Vec::len), Some(1), "it is routed to no more");
    reload(&world, &both);
    emit(&world, 4);
    receiver.wait_at("/elsewhere", 2);
    world.settled();
    assert_eq!(numbers(&receiver, "/one"), [1]);
    assert_eq!(numbers(&receiver, "/elsewhere"), [2, 4]);
    assert_eq!(numbers(&receiver, "/two"), [2, 3, 4]);
    assert_eq!(reload(&world, &both), json!({"changed": [], "needs_restart": []}));
}

/// What is pending for one that disappears waits, and goes when it is back; a circuit that is open stays so.
#[test]
fn what_is_pending_waits_and_goes_on() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let slow = profile("slow", &["0s", "1h"], "");
    let one = at(&receiver, "one", "/one").replace("\"raw\"", "\"slow\"");
    let world = World::running(&format!("{slow}{one}"));
    let event = emit(&world, 1);
    eventually("the first attempt has failed", || (world.delivery(&event)["attempt"] == 1).then_some(()));
    reload(&world, &slow);
    assert_eq!(world.delivery(&event)["status"], "pending");
    // Back with a schedule that is over: the next attempt has the new profile, when it is due.
    reload(&world, &format!("{slow}{one}"));
    assert_eq!(
        (&world.delivery(&event)["status"], &world.delivery(&event)["attempt"]),
        (&json!("pending"), &json!(1))
    );
    assert_eq!(world.endpoint("one")["enabled"], true);
}

#[test]
fn credentials_are_read_again() {
    let receiver = Receiver::start();
    let credentials = tempfile::tempdir().expect("a directory");
    let text = at(&receiver, "one", "/one").replace(&secret(), "@credential:one");
    let mut world = World::new(&text);
    world.set_env("CREDENTIALS_DIRECTORY", credentials.path());
    world.start();
    let held = emit(&world, 1);
    assert_eq!(world.endpoint("one")["disabled_reason"], "no_credential");
    fs::write(credentials.path().join("one"), secret()).expect("a credential");
    hang_up(&world);
    eventually("it goes on", || (world.delivery(&held)["status"] == "succeeded").then_some(()));
    assert_eq!(world.endpoint("one")["enabled"], true);
    // Another secret under the same name is a change.
    let other = secret().replace("whsec_d", "whsec_e");
    fs::write(credentials.path().join("one"), &other).expect("a credential");
    assert_eq!(names(&reload(&world, &text)["changed"]), ["endpoint.one"]);
    fs::remove_file(credentials.path().join("one")).expect("it is there");
    reload(&world, &text);
    assert_eq!(world.endpoint("one")["disabled_reason"], "no_credential");
}

/// A profile is that of all that use it, also of endpoints that were made over the API, and of those that it leaves.
#[test]
fn profiles_hold_for_all_endpoints() {
    let receiver = Receiver::start();
    let account =
        "[network]\nallow = [\"127.0.0.0/8\"]\n[accounts.default]\nprofile = \"mine\"\nhttps_only = false\n";
    let header = |value: &str| {
        format!("{}[profiles.mine.headers]\nX-Mine = \"{value}\"\n", profile("mine", &["0s"], ""))
    };
    let world = World::running(&format!("{account}{}", header("a")));
    let document = json!({"url": receiver.url("/api"), "event_types": ["*"]}).to_string();
    let made = world.request("POST", "/v1/endpoints", &[], document.as_bytes()).expect(201);
    emit(&world, 1);
    let answer = reload(&world, &format!("{account}{}", header("b")));
    assert_eq!(names(&answer["changed"]), ["profiles.mine"]);
    emit(&world, 2);
    let hooks = receiver.wait_at("/api", 2);
    let sent: Vec<_> = hooks.iter().map(|hook| hook.header("x-mine").to_owned()).collect();
    assert_eq!(sent, ["a", "b"]);
    // Without its account's profile it cannot be reached, and waits.
    reload(&world, &account.replace("mine", "transcodely"));
    let id = made["id"].as_str().expect("an id");
    let now = world.get(&format!("/v1/endpoints/{id}"));
    assert_eq!((&now["profile"], &now["disabled_reason"]), (&json!("transcodely"), &Value::Null));
    let own = format!("{account}{}", header("b"));
    reload(&world, &own);
    let path = format!("/v1/endpoints/{id}");
    world.request("PATCH", &path, &[], br#"{"profile":"mine"}"#).expect(200);
    reload(&world, &account.replace("mine", "raw"));
    assert_eq!(world.get(&path)["disabled_reason"], "no_profile");
    let held = emit(&world, 3);
    reload(&world, &own);
    assert_eq!(world.ended(&held)["status"], "succeeded");
}

#[test]
fn accounts_and_catalogs_come_and_go() {
    let world = World::running("");
    let shop = "[accounts.shop]\n[[accounts.shop.event_type]]\nname = \"a.b\"\n";
    let post = |event_type: &str| world.post(&json!({"type": event_type, "account": "shop"}).to_string());
    assert!(post("a.b").problem(422, "unknown_account").contains("`shop`"));
    assert_eq!(names(&reload(&world, shop)["changed"]), ["accounts.shop"]);
    post("a.b").expect(202);
    post("a.c").problem(422, "unknown_event_type");
    let more = format!("{shop}[[accounts.shop.event_type]]\nname = \"a.c\"\n");
    reload(&world, &more);
    post("a.c").expect(202);
    let types = world.get("/v1/event-types?account=shop");
    assert_eq!((&types["items"][0]["accepted"], &types["items"][1]["accepted"]), (&json!(1), &json!(1)));
    reload(&world, "");
    post("a.b").problem(422, "unknown_account");
}
