//! The API, judged by schemathesis: it makes requests of the OpenAPI document, good ones and bad ones, and holds every answer
//! against it.
//!
//! `.ci/run` fetches it to `schemathesis` in the target directory. Nothing is fetched here: where it is missing, the test says
//! so and is skipped. It speaks HTTP over TCP alone, so its connections are handed on to the socket.

mod support;

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile, secret},
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

/// Hands connections on to the daemon's socket, for as long as this process lives.
fn bridge(socket: PathBuf) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(daemon) = UnixStream::connect(&socket) else { continue };
            let (Ok(from), Ok(to)) = (client.try_clone(), daemon.try_clone()) else { continue };
            thread::spawn(move || hand_on(from, to));
            thread::spawn(move || hand_back(daemon, client));
        }
    });
    Ok(address)
}

fn hand_on(mut from: TcpStream, mut to: UnixStream) {
    // Either may hang up at any time; the other is told.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn hand_back(mut from: UnixStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// Values of the document's formats that only this store has.
fn known(world: &World, receiver: &Receiver) -> Value {
    let ids = |list: &str| -> Vec<Value> { world.list(list).iter().map(|item| item["id"].clone()).collect() };
    let cursor = |list: &str| [world.get(&format!("{list}?limit=1"))["next_cursor"].clone()];
    json!({
        "event-id": ids("/v1/events"),
        "event-cursor": cursor("/v1/events"),
        "delivery-id": ids("/v1/deliveries"),
        "delivery-cursor": cursor("/v1/deliveries"),
        "endpoint-id": ids("/v1/endpoints"),
        "endpoint-cursor": cursor("/v1/endpoints"),
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
        "[network]\nallow = [\"127.0.0.0/8\"]\n\
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
    world.settled();
    let address = bridge(world.socket()).expect("a port");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    let report = world.path("schemathesis.log");
    let log = std::fs::File::create(&report).expect("a file");
    let mut command = Command::new(program);
    command.current_dir(report.parent().expect("a directory"));
    command.arg("--config-file").arg(own.join("schemathesis.toml"));
    command.arg("run").arg(format!("http://{address}/openapi.json"));
    command.args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", EXAMPLES]);
    command.args(["--seed", SEED, "--no-shrink", "--continue-on-failure"]);
    command.env("SCHEMATHESIS_HOOKS", own.join("hooks.py"));
    command.env("POSTHASTE_KNOWN", known(&world, &receiver).to_string());
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
}
