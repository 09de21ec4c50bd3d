//! `docs/operations.md`: the configuration that it prints runs, and its shell blocks are run, one after the other, as an
//! operator would type them.

mod support;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use support::{
    api::Api,
    program::{is_there, write},
    receiver::{Receiver, Reply},
    skip,
    world::{World, stderr, stdout},
};

/// The blocks of the page in this language, in their order.
fn printed(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(path).expect("docs/operations.md");
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().expect("its end").to_owned()).collect()
}

/// The page's paths, in this directory.
fn placed(world: &World, text: &str) -> String {
    let path = |name: &str| world.path(name).display().to_string();
    text.replace("/etc/posthaste/posthaste.toml", &path("posthaste.toml"))
        .replace("/run/posthaste/posthaste.sock", &path("p.sock"))
        .replace("/var/lib/posthaste", world.path("").display().to_string().trim_end_matches('/'))
        .replace("/var/spool/posthaste", &path("spool"))
        .replace("$(date +%F)", "2026-11-22")
}

/// The page's configuration in a directory of its own, with its endpoint at the receiver, and `systemctl` as a command that
/// does nothing: the daemon is started and stopped by the test.
fn world(receiver: &Receiver) -> World {
    let world = World::new("");
    for name in ["spool", "bin"] {
        fs::create_dir(world.path(name)).expect("a directory");
    }
    write(&world.path("bin/systemctl"), "#!/bin/sh\n");
    let [text]: [String; 1] = printed("toml").try_into().expect("one configuration");
    let text = placed(&world, &text)
        .replace("127.0.0.1:8470", "127.0.0.1:0")
        .replace("https://erp.example/hooks", &receiver.url("/hooks"))
        .replace("[store]\n", "[store]\nreserve = \"1MiB\"\n");
    // What fails has failed at once.
    fs::write(world.config(), text + "[profiles.posthaste]\nretry = [\"0s\"]\n").expect("a configuration");
    world
}

/// Runs a block as it stands, each line of which must succeed; what it printed.
fn run(world: &World, block: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_posthaste")).parent().expect("a directory");
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{}:{path}", world.path("bin").display(), binary.display());
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", block]).current_dir(world.path("")).env("PATH", path);
    command.env("POSTHASTE_SOCKET", world.socket());
    let output = command.output().expect("a shell");
    assert_eq!(output.status.code(), Some(0), "{block}\n{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[test]
fn the_commands_of_the_page_do_what_they_say() {
    for command in ["sh", "curl"] {
        if !is_there(command) {
            return skip(&format!("there is no {command} here for docs/operations.md"), command == "sh");
        }
    }
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let receiver =
        Receiver::answering(move |_| Reply::Status(if is_up.load(Ordering::SeqCst) { 204 } else { 503 }));
    let mut world = world(&receiver);
    world.start();
    let blocks = printed("sh");
    assert_eq!(blocks.len(), 11);
    let mut failed: Option<Value> = None;
    for block in &blocks {
        let mut text = placed(&world, block).replace("127.0.0.1:8470", &Api::of(&world).address.to_string());
        if block.contains("dlv_…") {
            let failed = failed.get_or_insert_with(|| {
                up.store(false, Ordering::SeqCst);
                let both = [1, 2].map(|n| world.ended(&world.emit("order.paid", &json!({"n": n}))));
                up.store(true, Ordering::SeqCst);
                both[0].clone()
            });
            text = text.replace("dlv_…", failed["id"].as_str().expect("an id"));
        }
        let stopped = block.contains("systemctl stop");
        if stopped {
            world.settled();
            world.stop();
        }
        let said = run(&world, &text);
        if stopped {
            assert!(said.contains("nothing is wrong"), "{said}");
            world.start();
        }
    }
    world.settled();
    let failed = failed.expect("the page shows a delivery");
    let replayed = world.get(&format!("/v1/deliveries/{}", failed["id"].as_str().expect("an id")));
    assert_eq!((&replayed["status"], &replayed["attempt"]), (&json!("succeeded"), &json!(2)));
    assert!(world.list("/v1/deliveries?status=failed").is_empty(), "all was recovered");
    assert_eq!(world.list("/v1/events").len(), 3, "the box, and two orders: restored as they were");
    let read = |name: &str| fs::read_to_string(world.path(name)).expect("it was written");
    assert!(read("acme.key").starts_with("phk_") && read("acme.endpoint").starts_with("ep_"));
    let status: Value = serde_json::from_str(&read("status.json")).expect("JSON");
    assert_eq!((&status["door"]["open"], &status["state"]), (&json!(true), &json!("running")));
    assert_eq!(world.list("/v1/accounts").len(), 2);
}
