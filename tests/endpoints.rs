//! Endpoints over the API and the command line: how they are made and changed, who may, what is refused, and what follows
//! for deliveries.

mod support;

#[path = "endpoints/changing.rs"]
mod changing;
#[path = "endpoints/commands.rs"]
mod commands;
#[path = "endpoints/flow.rs"]
mod flow;
#[path = "endpoints/making.rs"]
mod making;
#[path = "endpoints/restart.rs"]
mod restart;
#[path = "endpoints/rights.rs"]
mod rights;
#[path = "endpoints/secrets.rs"]
mod secrets;
#[path = "endpoints/testing.rs"]
mod testing;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use support::{
    config::profile,
    http::Answer,
    receiver::{Hook, Receiver},
    sign::hmac_sha256,
    world::World,
};

/// Receivers of the tests are on this machine and speak plain HTTP. `quick` tries again and again, `unsigned` needs no
/// secret.
fn configuration() -> String {
    let steps: Vec<&str> = std::iter::once("0s").chain(std::iter::repeat_n("200ms", 200)).collect();
    format!(
        "[network]\nallow = [\"127.0.0.0/8\"]\n\
         [accounts.default]\nprofile = \"raw\"\nhttps_only = false\n\
         [accounts.acme]\nprofile = \"raw\"\nhttps_only = false\n\
         {}\n[profiles.unsigned]\n[profiles.unsigned.signature]\nalgorithm = \"none\"\n",
        profile("quick", &steps, "")
    )
}

fn running() -> World {
    World::running(&configuration())
}

/// Makes a request with a document.
fn call(world: &World, method: &str, path: &str, document: &Value) -> Answer {
    world.request(method, path, &[("content-type", "application/json")], document.to_string().as_bytes())
}

/// Makes an endpoint of the account `default` that wants everything, with `further` fields.
fn make(world: &World, url: &str, further: &Value) -> Value {
    let mut document = json!({"url": url, "event_types": ["*"]});
    let fields = document.as_object_mut().expect("an object");
    fields.extend(further.as_object().expect("an object").clone());
    call(world, "POST", "/v1/endpoints", &document).expect(201)
}

/// Every route beneath `/v1/endpoints/{id}`.
const ROUTES: [(&str, &str); 9] = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/enable"),
    ("POST", "/disable"),
    ("POST", "/test"),
    ("POST", "/rotate-secret"),
    ("GET", "/secret"),
    ("GET", "/deliveries"),
];

/// The path of an endpoint.
fn path(endpoint: &Value) -> String {
    format!("/v1/endpoints/{}", id(endpoint))
}

fn id(endpoint: &Value) -> &str {
    endpoint["id"].as_str().unwrap_or_else(|| panic!("no id: {endpoint}"))
}

/// The endpoint as the API shows it now.
fn shown(world: &World, endpoint: &Value) -> Value {
    world.get(&path(endpoint))
}

/// How many of the signatures of a request a receiver with this secret accepts.
fn accepted(hook: &Hook, secret: &str) -> usize {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("its form")).expect("base64");
    let (id, timestamp) = (hook.header("webhook-id"), hook.header("webhook-timestamp"));
    let mac = hmac_sha256(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", &hook.body]);
    let expected = format!("v1,{}", STANDARD.encode(mac));
    hook.header("webhook-signature").split(' ').filter(|signature| *signature == expected).count()
}

/// What the requests on one path brought, in the order in which they came.
fn numbers(receiver: &Receiver, path: &str) -> Vec<u64> {
    receiver.hooks_at(path).iter().map(|hook| hook.json()["n"].as_u64().expect("n")).collect()
}
