//! The configuration read again while the daemon runs: what holds then, what waits for a start, and that nothing changes where
//! anything is wrong with it.

mod support;

#[path = "reload/endpoints.rs"]
mod endpoints;
#[path = "reload/rules.rs"]
mod rules;
#[path = "reload/together.rs"]
mod together;
#[path = "reload/wrong.rs"]
mod wrong;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{config::endpoint, receiver::Receiver, world::World};

/// Has the configuration be `text`, and read; it must be taken. What is different then.
fn reload(world: &World, text: &str) -> Value {
    world.configure(text);
    world.request("POST", "/v1/reload", &[], b"").expect(200)
}

/// Sends SIGHUP.
fn hang_up(world: &World) {
    let pid = Pid::from_raw(world.pid().try_into().expect("a process id")).expect("not 0");
    kill_process(pid, Signal::HUP).expect("it runs");
}

/// An endpoint that wants everything at `path` of the receiver, with the profile `raw`.
fn at(receiver: &Receiver, name: &str, path: &str) -> String {
    endpoint(name, &receiver.url(path), &["*"], "raw")
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name")).collect()
}

/// The numbers of the events that came to a path, ascending.
fn numbers(receiver: &Receiver, path: &str) -> Vec<u64> {
    let mut numbers: Vec<_> =
        receiver.hooks_at(path).iter().map(|hook| hook.json()["n"].as_u64().expect("n")).collect();
    numbers.sort_unstable();
    numbers
}

fn emit(world: &World, n: u64) -> String {
    world.emit("a.b", &json!({"n": n}))
}
