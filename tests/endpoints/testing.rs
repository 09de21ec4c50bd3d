//! `POST /v1/endpoints/{id}/test`: one request, told in full, that counts for nothing.

use serde_json::{Value, json};

use super::{accepted, call, configuration, make, path, running, shown};
use crate::support::{
    receiver::{Receiver, Reply},
    world::World,
};

fn test(world: &World, endpoint: &Value, document: &Value) -> Value {
    call(world, "POST", &format!("{}/test", path(endpoint)), document).expect(200)
}

#[test]
fn a_test_is_told_in_full_and_counts_for_nothing() {
    let receiver = Receiver::answering(|_| Reply::Full(503, ("x-why", "tired"), "not today".to_owned()));
    let world = running();
    let further = json!({"event_types": ["video.*", "a.b"], "headers": {"X-Token": "hushhush"}});
    let made = make(&world, &receiver.url("/hooks"), &further);
    let told = test(&world, &made, &json!({}));
    let hook = receiver.wait(1).remove(0);
    assert_eq!(told["success"], false);
    assert_eq!(told["event_type"], "a.b", "the first that it names");
    assert_eq!(hook.header("webhook-id"), told["delivery_id"].as_str().expect("an id"));
    assert_eq!(told["address"], receiver.address().to_string());
    assert!(told["phases"]["total"].as_f64() > Some(0.0), "{told}");
    let request = &told["request"];
    assert_eq!((&request["url"], &request["body"]), (&json!(receiver.url("/hooks")), &json!("{}")));
    assert_eq!(request["headers"]["x-token"], "••••••");
    assert_eq!(request["headers"]["webhook-signature"], hook.header("webhook-signature"));
    let response = &told["response"];
    assert_eq!(
        (&response["status_code"], &response["status"]),
        (&json!(503), &json!("503 Service Unavailable"))
    );
    assert_eq!(response["body"], "not today");
    assert!(response["headers"].to_string().contains("tired"), "{response}");
    assert!(!told.to_string().contains("hushhush"));
    assert_eq!(accepted(&hook, made["secret"].as_str().expect("a secret")), 1);
    let after = shown(&world, &made);
    assert_eq!((&after["consecutive_failures"], &after["pending"]), (&json!(0), &json!(0)));
    assert_eq!(world.list("/v1/events"), [] as [Value; 0]);
    assert_eq!(world.list(&format!("{}/deliveries", path(&made))), [] as [Value; 0]);
    assert_eq!(world.get("/v1/status")["since_start"]["attempts"], 0);
    let id = told["delivery_id"].as_str().expect("an id");
    world.request("GET", &format!("/v1/deliveries/{id}"), &[], b"").problem(404, "not_found");
    let id = told["event_id"].as_str().expect("an id");
    world.request("GET", &format!("/v1/events/{id}"), &[], b"").problem(404, "not_found");
}

#[test]
fn the_event_can_be_given() {
    let receiver = Receiver::start();
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({}));
    let document = "{\"type\":\"c.d\",\"data\": {\"n\": 1.0,\"n\":2 } }";
    let answer = world.request("POST", &format!("{}/test", path(&made)), &[], document.as_bytes());
    let told = answer.expect(200);
    let hook = receiver.wait(1).remove(0);
    assert_eq!(hook.text(), "{\"n\": 1.0,\"n\":2 }", "byte for byte");
    assert_eq!((&told["success"], &told["event_type"]), (&json!(true), &json!("c.d")));
    assert_eq!(told["request"]["body"], hook.text());
    for (document, part) in [
        (json!({"type": "a..b"}), "`type`"),
        (json!({"event_type": "a.b"}), "there are type, data"),
        (json!({"type": 5}), "`type` must be a text"),
    ] {
        let answer = call(&world, "POST", &format!("{}/test", path(&made)), &document);
        let detail = answer.problem(400, "bad_request");
        assert!(detail.contains(part), "{detail}");
    }
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let answer = world.request("POST", &format!("{}/test", path(&made)), &[], deep.as_bytes());
    answer.problem(400, "bad_request");
}

#[test]
fn disabled_and_dead_endpoints_can_be_tested() {
    let receiver = Receiver::start();
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({"enabled": false}));
    assert_eq!(test(&world, &made, &json!({}))["success"], true);
    assert_eq!(shown(&world, &made)["enabled"], false);
    let dead = make(&world, "http://127.0.0.1:2/", &json!({}));
    let told = test(&world, &dead, &json!({}));
    assert_eq!((&told["success"], &told["response"]["status"]), (&json!(false), &json!("connect")));
    assert_eq!(told["response"]["status_code"], Value::Null);
}

#[test]
fn data_that_the_template_cannot_take_is_told() {
    let profile = "[profiles.picky]\n[profiles.picky.body]\nformat = \"template\"\n\
                   template = '{\"n\":{{ (100 // (data.n | default(1))) | tojson }}}'\n";
    let world = World::running(&format!("{}{profile}", configuration()));
    let made = make(&world, "http://127.0.0.1:2/", &json!({"profile": "picky"}));
    let answer = call(&world, "POST", &format!("{}/test", path(&made)), &json!({"data": {"n": 0}}));
    let detail = answer.problem(422, "invalid_endpoint");
    assert!(detail.contains("`data`"), "{detail}");
}

#[test]
fn eight_are_tested_at_once_and_no_more() {
    let receiver = Receiver::answering(|_| Reply::Held(204));
    let world = running();
    let made = make(&world, &receiver.url("/"), &json!({}));
    let target = format!("{}/test", path(&made));
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..8).map(|_| scope.spawn(|| world.request("POST", &target, &[], b"{}").expect(200))).collect();
        receiver.wait(8);
        let refused = world.request("POST", &target, &[], b"{}").problem(503, "busy");
        assert!(refused.contains("try again"), "{refused}");
        receiver.release();
        for one in asking {
            assert_eq!(one.join().expect("it is answered")["success"], true);
        }
    });
    test(&world, &made, &json!({}));
}
