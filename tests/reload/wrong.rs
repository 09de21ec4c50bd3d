//! A configuration with anything wrong in it changes nothing.

use serde_json::json;

use super::{at, emit, hang_up, names, reload};
use crate::support::{
    eventually,
    people::{NOBODY, is_root, open_world},
    receiver::Receiver,
    world::World,
};

#[test]
fn with_any_error_nothing_changes() {
    let receiver = Receiver::start();
    let good = at(&receiver, "one", "/one");
    let world = World::running(&good);
    let elsewhere = at(&receiver, "one", "/elsewhere");
    // Two errors, in their lines.
    world.configure(&format!("store.cach = \"1MiB\"\n{elsewhere}[accounts.x]\nmax_endpoints = -1\n"));
    let answer = world.request("POST", "/v1/reload", &[], b"");
    let document = answer.json();
    assert_eq!(answer.status, 422, "{document}");
    assert_eq!(document["code"], "invalid_configuration");
    let errors = document["errors"].as_array().expect("a list");
    let line = |text: &str| errors.iter().find(|one| one["message"].as_str().expect("a text").contains(text));
    assert!(line("cach").is_some_and(|one| one["line"] == 4), "{document}");
    assert!(line("max_endpoints").is_some_and(|one| one["line"] == 12), "{document}");
    // The command says it as `check` does.
    let (output, check) = (world.cli(&["reload"]), world.cli(&["check", "--config", "posthaste.toml"]));
    assert_eq!((output.status.code(), check.status.code()), (Some(78), Some(78)));
    let said = |output: &std::process::Output| String::from_utf8(output.stderr.clone()).expect("text");
    let first = said(&check).lines().next().expect("a line").to_owned();
    assert!(
        said(&output).starts_with(&first) && said(&output).contains("posthaste.toml:4:"),
        "{}",
        said(&output)
    );
    // It goes on, and says that it could not.
    let why = world.get("/v1/status")["configuration"]["failed"]["why"].to_string();
    assert!(why.contains("cach"), "{why}");
    let status = String::from_utf8(world.cli(&["status"]).stdout).expect("text");
    assert!(status.contains("not reloaded") && status.contains("cach"), "{status}");
    emit(&world, 1);
    receiver.wait_at("/one", 1);
    assert!(receiver.hooks_at("/elsewhere").is_empty());
    // The same by signal, into the log.
    let logged = || world.log().matches("is not taken").count();
    let before = logged();
    hang_up(&world);
    eventually("the log says so", || (logged() > before).then_some(()));
    reload(&world, &good);
    assert_eq!(world.get("/v1/status")["configuration"]["failed"], json!(null));
}

/// What only the parts can tell: an endpoint whose address its account closes.
#[test]
fn an_endpoint_that_cannot_be_used_is_an_error_with_its_place() {
    let receiver = Receiver::start();
    let good = at(&receiver, "one", "/one");
    let world = World::running(&good);
    world.configure(&format!("{good}[[endpoint]]\nname = \"two\"\nurl = \"https://x:1/\"\nevent_types = [\"*\"]\nsecret = \"whsec_!\"\n"));
    let document = world.request("POST", "/v1/reload", &[], b"").json();
    assert_eq!(document["code"], "invalid_configuration", "{document}");
    assert!(document["errors"][0]["line"].is_u64(), "{document}");
    assert_eq!(world.list("/v1/endpoints").len(), 1);
}

#[test]
fn what_needs_a_start_is_named_and_the_rest_is_taken() {
    let receiver = Receiver::start();
    let mut world = World::running("");
    let text = format!(
        "store.cache = \"8MiB\"\nstore.settle_delay = \"1ms\"\nlisten.socket_mode = \"0600\"\n{}[limits]\nin_flight = 7\n",
        at(&receiver, "one", "/one")
    );
    let answer = reload(&world, &text);
    assert_eq!(names(&answer["changed"]), ["store.settle_delay", "endpoint.one"]);
    let waiting = ["listen.socket_mode", "store.cache", "limits.in_flight"];
    assert_eq!(names(&answer["needs_restart"]), waiting);
    emit(&world, 1);
    receiver.wait_at("/one", 1);
    // It is shown until it holds, also by the next.
    assert_eq!(names(&world.get("/v1/status")["configuration"]["needs_restart"]), waiting);
    assert_eq!(names(&reload(&world, &text)["needs_restart"]), waiting);
    let output = String::from_utf8(world.cli(&["reload"]).stdout).expect("text");
    assert!(output.contains("needs restart  store.cache"), "{output}");
    world.stop();
    world.start();
    assert_eq!(names(&world.get("/v1/status")["configuration"]["needs_restart"]), [""; 0]);
    // What was taken back waits for nothing.
    reload(&world, "");
    assert_eq!(names(&reload(&world, &text)["needs_restart"]), [""; 0]);
}

#[test]
fn only_operators_may() {
    if !is_root() {
        return;
    }
    let world = open_world("");
    NOBODY.does(|| world.request("POST", "/v1/reload", &[], b"")).problem(403, "not_allowed");
}

/// The files of a spool directory, which stays until a start, would all be refused.
#[test]
fn a_spool_directory_keeps_its_account() {
    let shop = "[accounts.shop]\n";
    let world = World::running(&format!("[[spool]]\npath = \"in\"\naccount = \"shop\"\n{shop}"));
    world.configure("");
    let detail = world.request("POST", "/v1/reload", &[], b"").problem(422, "invalid_configuration");
    assert!(detail.contains("`shop`, which is gone"), "{detail}");
    assert_eq!(names(&reload(&world, shop)["needs_restart"]), ["spool"]);
}
