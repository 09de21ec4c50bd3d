//! Accounts over the API and the command line: how they are made and changed, what is refused, and what follows for events,
//! endpoints and callbacks.

mod support;

#[path = "accounts/flow.rs"]
mod flow;
#[path = "accounts/making.rs"]
mod making;
#[path = "accounts/many.rs"]
mod many;
#[path = "accounts/owned.rs"]
mod owned;

use serde_json::{Value, json};
use support::{http::Answer, receiver::Receiver, world::World};

/// Receivers of the tests are on this machine.
const NETWORK: &str = "[network]\nallow = [\"127.0.0.0/8\"]\n";

/// Makes a request with a document.
fn call(world: &World, method: &str, path: &str, document: &Value) -> Answer {
    world.request(method, path, &[("content-type", "application/json")], document.to_string().as_bytes())
}

/// Makes an account whose endpoints may be on this machine, with `further` fields.
fn make(world: &World, name: &str, further: &Value) -> Value {
    let mut document = json!({"name": name, "https_only": false, "profile": "raw"});
    let fields = document.as_object_mut().expect("an object");
    fields.extend(further.as_object().expect("an object").clone());
    call(world, "POST", "/v1/accounts", &document).expect(201)
}

/// Makes an endpoint of an account that wants everything, and gives back its path.
fn endpoint(world: &World, account: &str, url: &str) -> String {
    let document = json!({"url": url, "event_types": ["*"]});
    let made = call(world, "POST", &format!("/v1/endpoints?account={account}"), &document).expect(201);
    format!("/v1/endpoints/{}", made["id"].as_str().expect("an id"))
}

/// Hands an event of an account in.
fn post(world: &World, account: &str, event_type: &str) -> Answer {
    world.post(&json!({"type": event_type, "account": account, "data": {"n": 1}}).to_string())
}

fn account(world: &World, name: &str) -> Value {
    world.get(&format!("/v1/accounts/{name}"))
}

/// A receiver, and how many came to a path.
fn count(receiver: &Receiver, path: &str) -> usize {
    receiver.hooks_at(path).len()
}
