//! The API, judged by schemathesis: it makes requests of the OpenAPI document, good ones and bad ones, and holds every answer
//! against it.
//!
//! `.ci/run` fetches it to `schemathesis` in the target directory. Nothing is fetched here: where it is missing, the test says
//! so and is skipped. It comes over TCP, with a key of an operator of all accounts; so of what is done on the machine itself it sees
//! the refusal, and no file is written, nothing read again at its word.

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    api::Api,
    config::{endpoint, profile, secret},
    eventually,
    receiver::Receiver,
    skip,
    world::{World, wait_for_end},
};

/// Requests that are made at random of each operation, good and bad; those that are made by rule come on top. All of it takes
/// half a minute.
const EXAMPLES: &str = "8";
const SEED: &str = "20261122";

/// Where `.ci/run` puts it.
fn program() -> PathBuf {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tests.parent().expect("it is in the target directory").join("schemathesis/venv/bin/st")
}

/// Values of the document's formats that only this store has.
fn known(world: &World, receiver: &Receiver, own: &Value) -> Value {
    let ids = |list: &str| -> Vec<Value> { world.list(list).iter().map(|item| item["id"].clone()).collect() };
    let cursor = |list: &str| [world.get(&format!("{list}?limit=1"))["next_cursor"].clone()];
    json!({
        "event-id": ids("/v1/events"),
        "event-cursor": cursor("/v1/events"),
        "delivery-id": ids("/v1/deliveries"),
        "delivery-cursor": cursor("/v1/deliveries"),
        "endpoint-id": ids("/v1/endpoints"),
        "endpoint-cursor": cursor("/v1/endpoints"),
        "job-id": ids("/v1/jobs"),
        "job-cursor": cursor("/v1/jobs"),
        // Not its own, which it would revoke.
        "key-id": ids("/v1/keys").into_iter().filter(|id| id != own).collect::<Vec<_>>(),
        "key-cursor": cursor("/v1/keys"),
        "own-key": own,
        "account": ["default", "acme", "media"],
        "account-cursor": ["acme", "media"],
        // Nothing leaves this machine: these are the only URLs that requests have.
        "uri": [receiver.url("/hooks"), receiver.url("/hooks?a=b")],
        "profile": ["quick", "unsigned"],
        "secret": [secret()],
    })
}

#[test]
fn schemathesis_finds_nothing() {
    let program = program();
    if !program.exists() {
        skip(&format!("{} is not there (.ci/run fetches it)", program.display()), true);
        return;
    }
    let receiver = Receiver::start();
    let text = format!(
        "listen.http = \"127.0.0.1:0\"\n[network]\nallow = [\"127.0.0.0/8\"]\n\
         [accounts.default]\nprofile = \"quick\"\nhttps_only = false\nmax_endpoints = 60000\nsecret = \"{}\"\n\
         {}{}[profiles.unsigned]\n[profiles.unsigned.signature]\nalgorithm = \"none\"\n",
        secret(),
        endpoint("erp", &receiver.url("/erp"), &["*"], "quick"),
        profile("quick", &["0s"], ""),
    );
    let world = World::running(&text);
    for number in 0..3 {
        world.emit("a.b", &json!({"n": number}));
    }
    for path in ["/x", "/y"] {
        let document = json!({"url": receiver.url(path), "event_types": ["a.*"]});
        world.request("POST", "/v1/endpoints", &[], document.to_string().as_bytes()).expect(201);
    }
    let make = |path: &str, document: Value, status: u16| {
        world.request("POST", path, &[], document.to_string().as_bytes()).expect(status)
    };
    for name in ["acme", "media"] {
        make("/v1/accounts", json!({"name": name}), 201);
    }
    for role in ["producer", "operator"] {
        make("/v1/keys", json!({"role": role}), 201);
    }
    let erp = world.endpoint("erp")["id"].as_str().expect("an id").to_owned();
    for _ in 0..2 {
        let job =
            make(&format!("/v1/endpoints/{erp}/recover"), json!({"since": "2026-01-01T00:00:00Z"}), 202);
        eventually("it has ended", || {
            let job = world.get(&format!("/v1/jobs/{}", job["id"].as_str().expect("an id")));
            (job["state"] == "done").then_some(())
        });
    }
    let own = make("/v1/keys", json!({"role": "operator"}), 201);
    world.settled();
    let address = Api::of(&world).address;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    let report = world.path("schemathesis.log");
    let log = std::fs::File::create(&report).expect("a file");
    let mut command = Command::new(program);
    command.current_dir(report.parent().expect("a directory"));
    command.arg("--config-file").arg(here.join("schemathesis.toml"));
    command.arg("run").arg(format!("http://{address}/openapi.json"));
    command.arg("--header").arg(format!("Authorization: Bearer {}", own["key"].as_str().expect("a key")));
    command.args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", EXAMPLES]);
    command.args(["--seed", SEED, "--no-shrink", "--continue-on-failure"]);
    command.env("SCHEMATHESIS_HOOKS", here.join("hooks.py"));
    command.env("POSTHASTE_KNOWN", known(&world, &receiver, &own["id"]).to_string());
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a file")).stderr(log);
    let mut child = command.spawn().expect("it is there");
    let ended = wait_for_end(&mut child);
    let said = std::fs::read_to_string(&report).expect("it says something");
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{said}");
    // All but the document's own, which it leaves out.
    let paths = world.get("/openapi.json")["paths"].as_object().expect("paths").clone();
    let items = paths.iter().filter(|(path, _)| *path != "/openapi.json");
    let operations = items.flat_map(|(_, item)| item.as_object().expect("operations").keys());
    let count = operations.filter(|name| *name != "parameters").count().to_string();
    let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: "));
    assert_eq!(tested, Some(count.as_str()), "every operation:\n{said}");
    assert!(!world.log().contains("panicked"), "the daemon is as it was");
    world.get("/readyz");
    world.get(&format!("/v1/keys/{}", own["id"].as_str().expect("an id")));
}
