//! Where deliveries may go, through the built binary: what is refused, what history says of it, and that the line it prints
//! opens the way.

mod support;

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    receiver::Receiver,
    world::{World, posthaste, stderr, stdout},
};

/// A profile with one attempt, which does not wait long for an address where nobody is.
fn quick() -> String {
    profile("quick", &["0s"], "timeout = \"300ms\"")
}

/// What history says of the only attempt of an event's only delivery, which has failed.
fn failure(world: &World) -> Value {
    let delivery = world.ended(&world.emit("a.b", &json!(1)));
    assert_eq!((&delivery["status"], &delivery["attempt"]), (&json!("failed"), &json!(1)), "{delivery}");
    delivery["attempts"][0].clone()
}

#[test]
fn the_line_that_a_refusal_prints_opens_the_way() {
    for url in ["http://169.254.10.7:9/", "http://0xa9fe0a07:9/", "http://[::ffff:169.254.10.7]:9/"] {
        let text = endpoint("erp", url, &["*"], "quick") + &quick();
        let mut world = World::running(&text);
        let refused = failure(&world);
        assert_eq!(refused["response"]["failure"], "refused", "{url}: {refused}");
        assert_eq!(refused["address"], Value::Null, "nothing was dialled");
        let message = refused["response"]["message"].as_str().expect("a message");
        assert!(message.contains(" is link-local (169.254.0.0/16), closed to every endpoint: "), "{message}");
        assert!(message.ends_with(" under [network]"), "{message}");
        let line = message.split('`').nth(1).expect("a line between backquotes");
        assert_eq!(line, "allow = [\"169.254.10.7/32\"]");

        world.stop();
        world.configure(&format!("[network]\n{line}\n{text}"));
        world.start();
        let dialled = failure(&world);
        assert_ne!(dialled["response"]["failure"], "refused", "{url}: {dialled}");
    }
}

#[test]
fn a_name_is_refused_by_the_addresses_that_it_leads_to() {
    let receiver = Receiver::start();
    let url = format!("http://localhost:{}/", receiver.address().port());
    let text = endpoint("erp", &url, &["*"], "quick") + &quick();
    let mut world = World::running(&format!("network.deny = [\"127.0.0.0/8\", \"::1\"]\n{text}"));
    let refused = failure(&world);
    assert_eq!(refused["response"]["failure"], "refused", "{refused}");
    let message = refused["response"]["message"].as_str().expect("a message");
    assert!(message.contains(" is denied by the entry \""), "{message}");
    assert!(message.contains("\" of `deny` under [network]"), "{message}");
    assert!(receiver.hooks().is_empty());

    world.stop();
    world.configure(&text);
    world.start();
    let delivery = world.ended(&world.emit("a.b", &json!(2)));
    assert_eq!(delivery["status"], "succeeded", "{delivery}");
}

#[test]
fn an_account_s_deny_binds_its_endpoints_of_the_configuration_alone() {
    let receiver = Receiver::start();
    let mine = endpoint("erp", &receiver.url("/mine"), &["*"], "quick") + "account = \"acme\"\n";
    let theirs = endpoint("erp", &receiver.url("/theirs"), &["*"], "quick");
    let deny = "[accounts.acme]\ndeny = [\"127.0.0.1\"]\n";
    let world = World::running(&format!("{mine}{theirs}{deny}{}", quick()));
    let event = world.cli(&["emit", "a.b", "1", "--account", "acme"]);
    assert_eq!(event.status.code(), Some(0), "{}", stderr(&event));
    let delivery = world.ended(stdout(&event).trim_end());
    let response = &delivery["attempts"][0]["response"];
    assert_eq!(response["failure"], "refused", "{delivery}");
    let message = "127.0.0.1 is denied by the entry \"127.0.0.1/32\" of `deny` under [accounts.acme]";
    assert_eq!(response["message"], message);
    let delivery = world.ended(&world.emit("a.b", &json!(1)));
    assert_eq!(delivery["status"], "succeeded", "{delivery}");
    assert!(receiver.hooks_at("/mine").is_empty());
}

#[test]
fn check_says_of_an_address_in_a_url_that_it_is_closed() {
    let text = endpoint("metadata", "http://169.254.169.254/latest", &["*"], "raw")
        + &endpoint("here", "http://localhost:9/", &["*"], "raw");
    let world = World::new(&text);
    let check = || {
        let output = posthaste().args(["check", "--config"]).arg(world.config()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let said = check();
    let closed: Vec<_> = said.lines().filter(|line| line.trim_start().starts_with("closed: ")).collect();
    assert_eq!(closed.len(), 1, "{said}");
    assert!(closed[0].ends_with("add `allow = [\"169.254.169.254/32\"]` under [network]"), "{said}");
    world.configure(&format!("[network]\nallow = [\"169.254.169.254\"]\n{text}"));
    assert!(!check().contains("closed: "));
}
