//! Who may do what on the socket, and how much: `[[access]]`, the groups that the system's database has, quotas. These
//! tests need root, to be somebody else.

mod support;

#[path = "access/accounts.rs"]
mod accounts;
#[path = "access/groups.rs"]
mod groups;
#[path = "access/quotas.rs"]
mod quotas;
#[path = "access/rules.rs"]
mod rules;

use serde_json::Value;
use support::{
    http::{self, Answer},
    people::Somebody,
    stream::Stream,
    world::World,
};

/// Makes a request as somebody.
fn request(who: Somebody, world: &World, method: &str, path: &str, body: &str) -> Answer {
    let socket = world.socket();
    who.does(|| {
        http::request(&socket, method, path, &[("content-type", "application/json")], body.as_bytes())
    })
    .expect("the daemon answers")
}

/// Gets a document as somebody.
fn get(who: Somebody, world: &World, path: &str) -> Answer {
    request(who, world, "GET", path, "")
}

/// Hands an event in as somebody.
fn post(who: Somebody, world: &World, event: &str) -> Answer {
    request(who, world, "POST", "/v1/events", event)
}

/// Hands in many as somebody, in one request.
fn post_many(who: Somebody, world: &World, lines: &str) -> Answer {
    let (socket, headers) = (world.socket(), [("content-type", "application/x-ndjson")]);
    who.does(|| http::request(&socket, "POST", "/v1/events", &headers, lines.as_bytes()))
        .expect("the daemon answers")
}

/// A stream of somebody's.
fn stream(who: Somebody, world: &World) -> Stream {
    let socket = world.socket();
    who.does(|| Stream::connect(&socket))
}

/// The id in an answer.
fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}"))
}

/// The code of an error line, and its message.
fn error(answer: &Value) -> (&str, &str) {
    let text = |name| answer["error"][name].as_str().unwrap_or_else(|| panic!("no error: {answer}"));
    (text("code"), text("message"))
}
