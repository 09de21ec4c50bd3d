//! Who may do what, how much, and where deliveries may go.

use serde_json::json;

use super::{at, emit, names, reload};
use crate::support::{
    config::{endpoint, profile},
    eventually,
    people::{NOBODY, is_root, open_world},
    receiver::Receiver,
    stream::Stream,
    world::World,
};

#[test]
fn rules_hold_for_whoever_connects_and_open_connections_keep_theirs() {
    if !is_root() {
        return;
    }
    let open = "listen.socket_mode = \"0666\"\n";
    let world = open_world("");
    let event = "{\"type\":\"a.b\"}\n";
    let mut stream = NOBODY.does(|| Stream::connect(&world.socket()));
    stream.send(event);
    assert!(stream.answer().expect("an answer")["id"].is_string());
    let rule = |rate: &str| format!("{open}[[access]]\nuid = 65534\nrole = \"producer\"\n{rate}");
    // For others alone.
    assert_eq!(names(&reload(&world, &rule("").replace("65534", "1"))["changed"]), ["access"]);
    let refused = NOBODY.does(|| world.post("{\"type\":\"a.b\"}")).problem(403, "not_allowed");
    assert!(refused.contains("posthaste reload"), "{refused}");
    stream.send(event);
    assert!(stream.answer().expect("an answer")["id"].is_string(), "it keeps its verdict");
    // Within a quota, which another one does not remember.
    for count in [1, 2] {
        reload(&world, &rule(&format!("rate = \"{count}/h\"\n")));
        NOBODY.does(|| world.post("{\"type\":\"a.b\"}")).expect(202);
        NOBODY.does(|| world.post("{\"type\":\"a.b\"}")).problem(429, "quota_exceeded");
    }
    // The same one does.
    reload(&world, &rule("rate = \"2/h\"\n"));
    NOBODY.does(|| world.post("{\"type\":\"a.b\"}")).problem(429, "quota_exceeded");
    // Connections that are open count.
    reload(&world, &format!("{open}limits.connections_per_uid = 1\n"));
    NOBODY.does(|| world.post("{\"type\":\"a.b\"}")).problem(429, "quota_exceeded");
    drop(stream);
    eventually("the connection is given back", || {
        (NOBODY.does(|| world.post("{\"type\":\"a.b\"}")).status == 202).then_some(())
    });
}

/// The next attempt goes by the rules of then, over connections that were made under them.
#[test]
fn where_deliveries_may_go_is_asked_anew() {
    let receiver = Receiver::start();
    let profile = profile("quick", &["0s"], "");
    let one = endpoint("one", &receiver.url("/one"), &["*"], "quick");
    let text = format!("{profile}{one}");
    let world = World::running(&text);
    world.ended(&emit(&world, 1));
    let answer = reload(&world, &format!("network.deny = [\"127.0.0.0/8\"]\n{text}"));
    assert_eq!(names(&answer["changed"]), ["network.deny"]);
    let refused = world.ended(&emit(&world, 2));
    assert_eq!(refused["attempts"][0]["response"]["failure"], "refused", "{refused}");
    reload(&world, &text);
    assert_eq!(world.ended(&emit(&world, 3))["status"], "succeeded");
    assert_eq!(receiver.hooks_at("/one").len(), 2);
}

/// Where nothing is different on the way, connections stay.
#[test]
fn connections_stay_where_the_way_is_the_same() {
    let receiver = Receiver::start();
    let text = at(&receiver, "one", "/one");
    let world = World::running(&text);
    world.ended(&emit(&world, 1));
    let two = at(&receiver, "two", "/two");
    reload(&world, &format!("{text}{two}"));
    emit(&world, 2);
    world.settled();
    emit(&world, 3);
    world.settled();
    let connected = |name: &str| {
        let id = world.endpoint(name)["id"].as_str().expect("an id").to_owned();
        let list = world.list(&format!("/v1/endpoints/{id}/deliveries"));
        let attempts = list.iter().map(|one| {
            let whole = world.get(&format!("/v1/deliveries/{}", one["id"].as_str().expect("an id")));
            !whole["attempts"][0]["phases"]["connect"].is_null()
        });
        attempts.filter(|connected| *connected).count()
    };
    assert_eq!(connected("one"), 1, "its one connection has stayed");
    reload(&world, &format!("network.tls_min = \"1.3\"\n{text}{two}"));
    emit(&world, 4);
    world.settled();
    assert_eq!(connected("one"), 2, "another way is another connection");
}

#[test]
fn limits_of_the_store_hold_at_once() {
    let world = World::running("store.max_size = \"1MiB\"\n");
    let large = json!({"type": "a.b", "data": "x".repeat(600 << 10)}).to_string();
    world.post(&large).expect(202);
    eventually("the store is full", || (world.post(&large).status == 507).then_some(()));
    assert!(world.get("/v1/status")["door"]["help"].as_str().expect("help").contains("posthaste reload"));
    assert_eq!(names(&reload(&world, "store.max_size = \"1GiB\"\n")["changed"]), ["store.max_size"]);
    world.post(&large).expect(202);
    assert_eq!(world.get("/v1/status")["store"]["max_size"], 1 << 30);
    // And so does the window of ids.
    reload(&world, "store.max_size = \"1GiB\"\nstore.dedup_window = \"5m\"\n");
    assert_eq!(world.get("/v1/status")["ids"]["window"], "5m");
}
