//! Who may look at endpoints and change them, and see where deliveries go: operators. These tests need
//! root, to be somebody else.

use std::{net::TcpListener, os::unix::process::CommandExt as _};

use serde_json::{Value, json};

use super::{ROUTES, call, configuration, make, path};
use crate::support::{
    http::Answer,
    people::{self, NOBODY, is_root},
    receiver::{Receiver, Reply},
    world::{World, json_of, posthaste, stderr, stdout},
};

/// A daemon whose socket everybody may use.
fn open_world() -> World {
    people::open_world(&configuration())
}

/// Makes a request as somebody else.
fn as_nobody(world: &World, method: &str, path: &str, document: &Value) -> Answer {
    NOBODY.does(|| call(world, method, path, document))
}

#[test]
fn nobody_else_may_do_anything_with_endpoints() {
    if !is_root() {
        return;
    }
    let (world, receiver) = (open_world(), Receiver::start());
    let made =
        make(&world, &receiver.url("/hooks"), &json!({"profile": "quick", "headers": {"X-A": "hushhush"}}));
    let secret = world.get(&format!("{}/secret", path(&made)));
    let beneath = ROUTES.map(|(method, verb)| (method, format!("{}{verb}", path(&made))));
    let all = beneath.into_iter().chain(["GET", "POST"].map(|method| (method, "/v1/endpoints".to_owned())));
    for (method, path) in all {
        for document in [json!({}), json!({"url": receiver.url("/other"), "event_types": ["*"]})] {
            let answer = as_nobody(&world, method, &path, &document);
            let detail = answer.problem(403, "not_allowed");
            assert!(
                detail.starts_with(
                    "this is for subscribers and operators alone: you are uid 65534, a producer of `default`"
                ),
                "{method} {path}: {detail}"
            );
        }
        // Nor is it told what is there.
        let other = path.replace("ep_", "xx_");
        as_nobody(&world, method, &other, &json!({})).problem(403, "not_allowed");
    }
    assert_eq!(super::shown(&world, &made), made_without_secret(&made), "nothing has changed");
    assert_eq!(world.get(&format!("{}/secret", path(&made))), secret);
    assert_eq!((world.list("/v1/endpoints").len(), receiver.hooks().len()), (1, 0));
}

fn made_without_secret(made: &Value) -> Value {
    let mut endpoint = made.clone();
    let fields = endpoint.as_object_mut().expect("an object");
    fields.remove("secret");
    fields.remove("public_key");
    endpoint
}

#[test]
fn somebody_else_sees_what_becomes_of_events_and_not_where_they_go() {
    if !is_root() {
        return;
    }
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 500 } else { 204 }));
    let world = open_world();
    let made = make(&world, &receiver.url("/hushhush"), &json!({"profile": "quick"}));
    // Nobody listens there any more.
    let closed =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    let unreachable = make(&world, &format!("http://{closed}/hushhush"), &json!({"profile": "quick"}));
    let event =
        as_nobody(&world, "POST", "/v1/events", &json!({"type": "a.b", "data": {"n": 1}})).expect(202);
    let event = event["id"].as_str().expect("an id");
    receiver.wait_at("/hushhush", 2);
    let nobody = |path: &str| as_nobody(&world, "GET", path, &json!({})).expect(200);
    assert_eq!(nobody(&format!("/v1/events/{event}"))["data"], json!({"n": 1}));
    for (endpoint, failure) in [(&made, Value::Null), (&unreachable, json!("connect"))] {
        let list = format!("/v1/deliveries?event={event}&endpoint={}", super::id(endpoint));
        let delivery = nobody(&list)["items"][0]["id"].as_str().expect("it is listed").to_owned();
        let path = format!("/v1/deliveries/{delivery}");
        let (whole, seen) = crate::support::eventually("an attempt is recorded", || {
            // What happens between the two is no matter: the first attempt stays as it is.
            let (seen, whole) = (nobody(&path), world.get(&path));
            seen["attempts"][0].is_object().then_some((whole, seen))
        });
        let (whole, first) = (&whole["attempts"][0], &seen["attempts"][0]);
        for same in ["number", "why", "started_at", "phases"] {
            assert_eq!(first[same], whole[same], "{same}");
        }
        for same in ["status_code", "status", "failure"] {
            assert_eq!(first["response"][same], whole["response"][same], "{same}");
        }
        assert_eq!(first["response"]["failure"], failure, "{first}");
        assert!(whole["request"]["url"].as_str().is_some_and(|url| url.ends_with("/hushhush")), "{whole}");
        assert!(whole["address"].is_string() && whole["response"]["message"] != "", "{whole}");
        assert_eq!((&first["request"], &first["address"]), (&Value::Null, &Value::Null), "{first}");
        assert_eq!((&first["response"]["headers"], &first["response"]["body"]), (&json!([]), &json!("")));
        let text = seen.to_string();
        assert!(!text.contains("hushhush") && !text.contains("127.0.0.1"), "{text}");
    }
}

#[test]
fn somebody_else_is_refused_by_the_command_line_and_may_still_hand_in_events() {
    if !is_root() {
        return;
    }
    let world = open_world();
    let socket = world.socket();
    let nobody = |args: &[&str]| {
        let mut command = posthaste();
        command.arg("--socket").arg(&socket).args(args).current_dir("/").uid(NOBODY.uid).gid(NOBODY.gid);
        command.output().expect("it runs")
    };
    for args in [&["endpoint", "list"][..], &["endpoint", "add", "https://a.example/", "--type", "*"]] {
        let refused = nobody(args);
        assert_eq!(refused.status.code(), Some(77), "{}", stderr(&refused));
        assert!(
            stderr(&refused).contains("for subscribers and operators alone: you are uid 65534,"),
            "{}",
            stderr(&refused)
        );
        assert!(refused.stdout.is_empty(), "{}", stdout(&refused));
    }
    assert_eq!(world.list("/v1/endpoints").len(), 0, "nothing was made");
    let taken = nobody(&["emit", "a.b", "--json"]);
    assert!(json_of(&taken)["id"].is_string());
}
