//! Accounts of the configuration beside those of the API.

use serde_json::{Value, json};

use super::{NETWORK, account, call, endpoint, make, post};
use crate::support::{receiver::Receiver, world::World};

fn reload(world: &World, text: &str) {
    world.configure(text);
    world.request("POST", "/v1/reload", &[], b"").expect(200);
}

#[test]
fn those_of_the_configuration_are_read_only() {
    let world = World::running("[accounts.shop]\nmax_endpoints = 3\nallow = []\n");
    for name in ["shop", "default"] {
        let shown = account(&world, name);
        assert_eq!((&shown["owner"], &shown["created_at"]), (&json!("configuration"), &Value::Null));
        for method in ["PATCH", "DELETE"] {
            let path = format!("/v1/accounts/{name}");
            call(&world, method, &path, &json!({})).problem(409, "owned_by_configuration");
        }
        let path = format!("/v1/accounts/{name}/secret");
        world.request("GET", &path, &[], b"").problem(409, "owned_by_configuration");
    }
    assert_eq!(
        (&account(&world, "shop")["max_endpoints"], &account(&world, "shop")["allow"]),
        (&json!(3), &json!([]))
    );
}

/// One of the same name in the configuration wins while it is there; the API's settings are kept, and shown as shadowed.
#[test]
fn the_configuration_wins_and_gives_back() {
    let receiver = Receiver::start();
    let mut world = World::running(NETWORK);
    make(&world, "shop", &json!({"max_endpoints": 7, "event_types": [{"name": "a.b"}]}));
    let path = endpoint(&world, "shop", &receiver.url("/s"));
    let both =
        format!("{NETWORK}[accounts.shop]\nmax_endpoints = 3\nhttps_only = false\nprofile = \"raw\"\n");
    reload(&world, &both);
    for _ in 0..2 {
        let shown = account(&world, "shop");
        assert_eq!(
            (&shown["owner"], &shown["shadowed"], &shown["max_endpoints"]),
            (&json!("configuration"), &json!(true), &json!(3))
        );
        assert_eq!(world.get(&path)["enabled"], true);
        post(&world, "shop", "x.y").expect(202);
        call(&world, "POST", "/v1/accounts", &json!({"name": "shop"})).problem(409, "owned_by_configuration");
        // So it is after a start.
        world.stop();
        world.start();
    }
    reload(&world, NETWORK);
    let shown = account(&world, "shop");
    assert_eq!(
        (&shown["owner"], &shown["shadowed"], &shown["max_endpoints"]),
        (&json!("api"), &json!(false), &json!(7))
    );
    post(&world, "shop", "x.y").problem(422, "unknown_event_type");
    post(&world, "shop", "a.b").expect(202);
    receiver.wait_at("/s", 3);
}

/// A profile that is not there any more closes no door: what comes waits until it is back, or the account has another.
#[test]
fn without_its_profile_it_waits() {
    let receiver = Receiver::start();
    let with = format!("{NETWORK}[profiles.mine]\n");
    let world = World::running(&with);
    make(&world, "shop", &json!({"profile": "mine"}));
    let path = endpoint(&world, "shop", &receiver.url("/s"));
    for back in [true, false] {
        reload(&world, NETWORK);
        let shown = account(&world, "shop");
        assert_eq!(shown["profile"], "mine");
        assert!(shown["problem"].as_str().is_some_and(|problem| problem.contains("profile")), "{shown}");
        assert_eq!(world.get(&path)["disabled_reason"], "no_profile");
        let count = receiver.hooks_at("/s").len();
        post(&world, "shop", "a.b").expect(202);
        let event = json!({"type": "a.b", "account": "shop", "url": receiver.url("/c")}).to_string();
        let detail = world.post(&event).problem(422, "secret_missing");
        assert!(detail.contains("profile"), "{detail}");
        if back {
            reload(&world, &with);
        } else {
            call(&world, "PATCH", "/v1/accounts/shop", &json!({"profile": "raw"})).expect(200);
        }
        assert_eq!(world.get(&path)["enabled"], true);
        receiver.wait_at("/s", count + 1);
    }
}
