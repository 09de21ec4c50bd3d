//! What follows of an account for events, endpoints and callbacks.

use std::thread;

use serde_json::json;

use super::{NETWORK, account, call, count, endpoint, make, post};
use crate::support::{
    eventually,
    receiver::{Receiver, Reply},
    world::World,
};

#[test]
fn events_are_taken_from_the_answer_on_and_to_the_deletion() {
    let receiver = Receiver::start();
    let world = World::running(NETWORK);
    for round in 0..10 {
        post(&world, "media", "a.b").problem(422, "unknown_account");
        make(&world, "media", &json!({}));
        post(&world, "media", "a.b").expect(202);
        let path = endpoint(&world, "media", &receiver.url(&format!("/{round}")));
        post(&world, "media", "a.b").expect(202);
        receiver.wait_at(&format!("/{round}"), 1);
        let detail = call(&world, "DELETE", "/v1/accounts/media", &json!({})).problem(409, "account_in_use");
        assert!(detail.contains("1 endpoints") && detail.contains("posthaste endpoint remove"), "{detail}");
        post(&world, "media", "a.b").expect(202);
        world.settled();
        world.request("DELETE", &path, &[], b"").expect(200);
        world.settled();
        call(&world, "DELETE", "/v1/accounts/media", &json!({})).expect(200);
    }
    post(&world, "media", "a.b").problem(422, "unknown_account");
    assert_eq!(world.list("/v1/events?account=media").len(), 30, "history stays");
}

/// Whoever makes an account anew knows of no key that was made before.
#[test]
fn an_account_goes_after_its_keys() {
    let world = World::running(NETWORK);
    make(&world, "media", &json!({}));
    let key = |account: &str| {
        call(&world, "POST", &format!("/v1/keys?account={account}"), &json!({"role": "subscriber"}))
    };
    key("beta").problem(422, "unknown_account");
    let made = key("media").expect(201);
    let detail = call(&world, "DELETE", "/v1/accounts/media", &json!({})).problem(409, "account_in_use");
    assert!(detail.contains("1 keys") && detail.contains("posthaste key revoke"), "{detail}");
    let id = made["id"].as_str().expect("an id");
    world.request("DELETE", &format!("/v1/keys/{id}"), &[], b"").expect(200);
    call(&world, "DELETE", "/v1/accounts/media", &json!({})).expect(200);
    key("media").problem(422, "unknown_account");
    make(&world, "media", &json!({}));
    assert!(world.list("/v1/keys?account=media").is_empty());
}

/// What is pending for a callback keeps its account, too.
#[test]
fn callbacks_are_signed_with_its_secret_and_keep_it() {
    let receiver =
        Receiver::answering(|hook| if hook.path == "/held" { Reply::Held(204) } else { Reply::Status(204) });
    let world = World::running(NETWORK);
    let made = make(&world, "media", &json!({}));
    assert!(made["secret"].is_string());
    let hand_in = |path: &str| {
        let event = json!({"type": "a.b", "account": "media", "url": receiver.url(path)}).to_string();
        world.post(&event)
    };
    hand_in("/one").expect(202);
    let hook = receiver.wait_at("/one", 1).remove(0);
    assert!(hook.header("webhook-signature").starts_with("v1,"), "{hook:?}");
    call(&world, "PATCH", "/v1/accounts/media", &json!({"secret": null})).expect(200);
    let detail = hand_in("/one").problem(422, "secret_missing");
    assert!(detail.contains("posthaste account update media --secret"), "{detail}");
    call(&world, "PATCH", "/v1/accounts/media", &json!({"secret": made["secret"], "https_only": true}))
        .expect(200);
    hand_in("/one").problem(422, "url_refused");
    call(&world, "PATCH", "/v1/accounts/media", &json!({"https_only": false})).expect(200);
    hand_in("/held").expect(202);
    receiver.wait_at("/held", 1);
    let detail = call(&world, "DELETE", "/v1/accounts/media", &json!({})).problem(409, "account_in_use");
    assert!(detail.contains("0 endpoints, 1 pending"), "{detail}");
    receiver.release();
    world.settled();
    call(&world, "DELETE", "/v1/accounts/media", &json!({})).expect(200);
}

/// A catalog and a profile hold for what comes from then on, and endpoints that do not fit any more are held.
#[test]
fn a_change_holds_from_then_on() {
    let receiver = Receiver::start();
    let world = World::running(NETWORK);
    make(&world, "media", &json!({"event_types": [{"name": "a.b"}]}));
    let path = endpoint(&world, "media", &receiver.url("/m"));
    post(&world, "media", "a.c").problem(422, "unknown_event_type");
    let types = json!([{"name": "a.b", "effect": "none"}, {"name": "a.c"}]);
    call(&world, "PATCH", "/v1/accounts/media", &json!({"event_types": types})).expect(200);
    assert_eq!(post(&world, "media", "a.b").expect(202)["effect"], "none");
    post(&world, "media", "a.c").expect(202);
    receiver.wait_at("/m", 1);
    assert_eq!(world.get("/v1/event-types?account=media")["items"][1]["accepted"], 1);
    // The account's profile is that of its endpoint.
    call(&world, "PATCH", "/v1/accounts/media", &json!({"profile": "posthaste"})).expect(200);
    post(&world, "media", "a.c").expect(202);
    let hook = receiver.wait_at("/m", 2).remove(1);
    assert_eq!(hook.json()["type"], "a.c", "it is enveloped");
    // The network closes, and opens again.
    call(&world, "PATCH", "/v1/accounts/media", &json!({"deny": ["127.0.0.0/8"]})).expect(200);
    assert_eq!(world.get(&path)["disabled_reason"], "unfit");
    post(&world, "media", "a.c").expect(202);
    call(&world, "PATCH", "/v1/accounts/media", &json!({"deny": []})).expect(200);
    assert_eq!(world.get(&path)["enabled"], true);
    receiver.wait_at("/m", 3);
}

#[test]
fn the_last_place_for_an_endpoint_is_given_once() {
    let world = World::running(NETWORK);
    make(&world, "media", &json!({"max_endpoints": 10}));
    let document = json!({"url": "https://erp.example/", "event_types": ["*"]});
    let made = thread::scope(|scope| {
        let ask = || call(&world, "POST", "/v1/endpoints?account=media", &document).status;
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().expect("an answer")).filter(|status| *status == 201).count()
    });
    assert_eq!((made, &account(&world, "media")["endpoints"]), (10, &json!(10)));
    call(&world, "PATCH", "/v1/accounts/media", &json!({"max_endpoints": 11})).expect(200);
    call(&world, "POST", "/v1/endpoints?account=media", &document).expect(201);
    let detail =
        call(&world, "POST", "/v1/endpoints?account=media", &document).problem(409, "too_many_endpoints");
    assert!(detail.contains("posthaste account update"), "{detail}");
}

/// All of it is there after a stop, and after a kill.
#[test]
fn what_was_answered_is_on_disk() {
    let receiver = Receiver::start();
    let mut world = World::running(NETWORK);
    let made = make(
        &world,
        "media",
        &json!({"event_types": [{"name": "a.b", "groups": ["g"]}], "description": "d"}),
    );
    make(&world, "gone", &json!({}));
    endpoint(&world, "media", &receiver.url("/m"));
    call(&world, "PATCH", "/v1/accounts/media", &json!({"max_endpoints": 77})).expect(200);
    call(&world, "DELETE", "/v1/accounts/gone", &json!({})).expect(200);
    let before = account(&world, "media");
    world.kill();
    world.start();
    assert_eq!(account(&world, "media"), before);
    world.stop();
    world.start();
    assert_eq!(account(&world, "media"), before);
    assert_eq!(world.get("/v1/accounts/media/secret")["secret"], made["secret"]);
    post(&world, "gone", "a.b").problem(422, "unknown_account");
    post(&world, "media", "x").problem(422, "unknown_event_type");
    post(&world, "media", "a.b").expect(202);
    eventually("it goes to its endpoint", || (count(&receiver, "/m") == 1).then_some(()));
}
