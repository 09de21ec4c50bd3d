//! Transcodely: the whole job in the body, HMAC-SHA256 over timestamp and body, six attempts, a delivery id that stays.

use std::{collections::HashSet, fs, process::Command, time::Duration};

use rustls::ALL_VERSIONS;
use serde_json::json;

use crate::{
    example::{Example, attempted, call, catalog, judges, refuses, sorted, waits},
    support::{
        authority::Authority,
        config::ODD,
        eventually,
        program::{Program, is_there},
        receiver::{Receiver, Reply},
        sign::{check_transcodely, hmac_sha256},
        skip,
        world::{World, stderr, stdout},
    },
};

const TRANSCODELY: Example = Example("transcodely");

#[test]
fn there_are_five_events() {
    let types = ["job.completed", "job.failed", "job.canceled", "job.partial", "job.awaiting_confirmation"];
    assert_eq!(TRANSCODELY.types(), types);
    let receiver = Receiver::start();
    let world = TRANSCODELY.running(&receiver, "");
    assert_eq!(catalog(&world, "live"), sorted(types));
    TRANSCODELY.emit_all(&world);
    let hooks = receiver.wait(5);
    let came = hooks.iter().map(|hook| hook.json()["event"].as_str().expect("a type").to_owned());
    assert_eq!(sorted(came), sorted(types));
    refuses(&world, "job.cancelled", "job.canceled");
}

#[test]
fn the_body_has_event_job_and_timestamp_and_nothing_else() {
    let receiver = Receiver::start();
    let world = TRANSCODELY.running(&receiver, "");
    let sample = TRANSCODELY.sample();
    for (number, job) in ODD.iter().copied().chain([sample.as_str()]).enumerate() {
        let event = format!(r#"{{"type":"job.completed","time":"2026-02-28T10:35:42Z","data":{job}}}"#);
        world.post(&event).expect(202);
        let hook = receiver.wait(number + 1)[number].clone();
        let text =
            format!(r#"{{"event": "job.completed", "job": {job}, "timestamp": "2026-02-28T10:35:42.000Z"}}"#);
        assert_eq!(hook.text(), text, "the job as it was handed in, byte for byte");
        assert_eq!((hook.method.as_str(), hook.path.as_str()), ("POST", "/webhooks/transcodely"));
        assert_eq!(hook.header("content-type"), "application/json");
    }
}

#[test]
fn every_request_is_signed_and_names_its_delivery() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 500 } else { 200 }));
    let mut world = TRANSCODELY.running(&receiver, &TRANSCODELY.hurried(&["0s", "1100ms"]));
    let events: Vec<_> = (0..3).map(|n| world.emit("job.failed", &json!({"n": n}))).collect();
    receiver.wait(3);
    for event in &events {
        attempted(&world, event, 1);
    }
    // The id outlives the daemon that gave it.
    world.stop();
    world.start();
    let hooks = receiver.wait(6);
    world.settled();
    let mut ids = HashSet::new();
    for hook in &hooks {
        check_transcodely(hook, &TRANSCODELY.value("secret"));
        ids.insert(hook.header("x-transcodely-delivery-id").to_owned());
    }
    TRANSCODELY.verifies(&world, &hooks[0], &TRANSCODELY.value("secret"));
    assert_eq!(ids.len(), 3);
    for event in &events {
        let delivery = world.delivery(event);
        let id = delivery["id"].as_str().expect("an id");
        assert!(id.starts_with("dlv_") && ids.contains(id), "{id}");
        let both: Vec<_> =
            hooks.iter().filter(|hook| hook.header("x-transcodely-delivery-id") == id).collect();
        assert_eq!(both.len(), 2);
        assert_eq!(both[0].body, both[1].body);
        let times = both.iter().map(|hook| hook.header("x-transcodely-timestamp")).collect::<HashSet<_>>();
        assert_eq!(times.len(), 2, "each says when it was sent itself");
    }
}

#[test]
fn a_2xx_is_a_success_and_all_else_and_silence_are_tried_again() {
    let receiver = Receiver::answering(|hook| match hook.json()["job"].as_u64() {
        _ if hook.earlier > 0 => Reply::Status(200),
        Some(0) => Reply::Never,
        Some(status) => Reply::Status(u16::try_from(status).expect("a status")),
        None => Reply::Status(400),
    });
    let more = TRANSCODELY.hurried(&["0s", "50ms"]) + "timeout = \"1s\"\n";
    let world = TRANSCODELY.running(&receiver, &more);
    for (job, attempts) in [
        (json!(200), 1),
        (json!(201), 1),
        (json!(204), 1),
        (json!(299), 1),
        (json!(301), 2),
        (json!(400), 2),
        (json!(410), 2),
        (json!(429), 2),
        (json!(503), 2),
        (json!(0), 2),
    ] {
        let event = world.emit("job.completed", &job);
        let delivery = world.ended(&event);
        assert_eq!(
            (&delivery["status"], &delivery["attempt"]),
            (&json!("succeeded"), &json!(attempts)),
            "{job}"
        );
    }
}

#[test]
fn six_attempts_are_made_at_growing_distances_and_then_it_has_failed() {
    // A ten thousandth of 1 m, 5 m, 30 m, 2 h and 12 h.
    let delays = [6, 30, 180, 720, 4_320];
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let written = delays.map(|millis| format!("{millis}ms"));
    let retry: Vec<_> = ["0s"].into_iter().chain(written.iter().map(String::as_str)).collect();
    let world = TRANSCODELY.running(&receiver, &TRANSCODELY.hurried(&retry));
    let event = world.emit("job.completed", &json!({}));
    let delivery = world.ended(&event);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("exhausted")));
    assert_eq!((&delivery["attempt"], &delivery["step"]), (&json!(6), &json!(6)));
    let hooks = receiver.hooks();
    assert_eq!(hooks.len(), 6);
    for (pair, delay) in hooks.windows(2).zip(delays) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_millis(delay - 1), "{waited:?}, due after {delay} ms");
        assert!(waited < Duration::from_millis(delay) + Duration::from_secs(3), "{waited:?}, {delay} ms");
    }
    let attempts = delivery["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 6, "each is in the history");
    for attempt in attempts {
        assert_eq!(attempt["response"]["status_code"], 500);
        assert!(attempt["request"]["headers"]["x-transcodely-signature"].is_string());
    }
}

#[test]
fn the_first_retry_comes_after_a_minute() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let world = TRANSCODELY.running(&receiver, "");
    let event = world.emit("job.completed", &json!({}));
    let delivery = attempted(&world, &event, 1);
    assert_eq!((&delivery["status"], &delivery["waiting"]), (&json!("pending"), &json!("due")));
    let waits = waits(&delivery);
    assert!((60_000..75_000).contains(&waits), "{waits} ms");
}

#[test]
fn endpoints_from_outside_are_public_and_https() {
    let receiver = Receiver::start();
    let world = TRANSCODELY.running(&receiver, "");
    let make = |url: &str| {
        let answer = call(&world, "POST", "/v1/endpoints", &json!({"url": url, "event_types": ["job.*"]}));
        (answer.status, answer.json()["detail"].as_str().unwrap_or_default().to_owned())
    };
    let (status, detail) = make("http://yourapp.example/webhooks/transcodely");
    assert!(status == 422 && detail.contains("https_only"), "{detail}");
    for address in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "[::1]", "[fd00::1]"] {
        let (status, detail) = make(&format!("https://{address}/webhooks/transcodely"));
        assert!(status == 422 && detail.contains("allow = ["), "{address}: {detail}");
    }
    assert_eq!(make("https://yourapp.example/webhooks/transcodely").0, 201);
}

/// A job's `webhook_url`: over TLS to an address that is opened, signed with the account's secret.
#[test]
fn a_job_has_a_url_of_its_own() {
    let authority = Authority::new("authority");
    let tls = || authority.receiver(("127.0.0.1", 2999), None, ALL_VERSIONS);
    let (endpoint, job) = (Receiver::start(), tls());
    let more = "\n[network]\nallow = [\"127.0.0.1/32\"]\nca_bundle = \"ca.pem\"\n".to_owned()
        + &TRANSCODELY.hurried(&["0s", "1100ms"]);
    let mut world = TRANSCODELY.world(&endpoint.url("/"), &more);
    fs::write(world.path("ca.pem"), authority.root.pem()).expect("a file");
    world.start();
    let url = job.url("/webhooks/transcodely?job=7");
    let output = world.cli(&["emit", "job.completed", "@sample.json", "--url", &url]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let event = stdout(&output).trim().to_owned();
    let (at_job, at_endpoint) = (job.wait(1)[0].clone(), endpoint.wait(1)[0].clone());
    world.settled();
    assert_eq!(at_job.path, "/webhooks/transcodely?job=7");
    assert_eq!(at_job.body, at_endpoint.body, "the same job");
    check_transcodely(&at_job, &TRANSCODELY.value("secret"));
    TRANSCODELY.verifies(&world, &at_job, &TRANSCODELY.value("secret"));
    let deliveries = world.deliveries(&event);
    let callback = deliveries.iter().find(|one| one["callback"] == json!(url)).expect("a callback");
    assert_eq!(callback["id"], at_job.header("x-transcodely-delivery-id"));
    assert_ne!(at_job.header("x-transcodely-delivery-id"), at_endpoint.header("x-transcodely-delivery-id"));

    // Tried again under the same id, and only by https.
    let ill = authority.receiver(("another.example", 2999), None, ALL_VERSIONS);
    let event = json!({"type": "job.failed", "data": {}, "url": ill.url("/x")});
    let event = world.post(&event.to_string()).expect(202)["id"].as_str().expect("an id").to_owned();
    let whole = eventually("both have failed", || {
        let deliveries = world.deliveries(&event);
        let callback = deliveries.into_iter().find(|one| one["callback"] == json!(ill.url("/x")))?;
        (callback["status"] == "failed").then_some(callback)
    });
    assert_eq!((&whole["reason"], &whole["attempt"]), (&json!("exhausted"), &json!(2)));
    assert_eq!(whole["attempts"][1]["response"]["failure"], "tls", "{whole}");
    for (url, part) in [
        ("http://yourapp.example/webhooks/transcodely", "https_only = false"),
        ("https://10.1.2.3/webhooks/transcodely", "allow = [\"10.1.2.3/32\"]"),
    ] {
        let event = json!({"type": "job.completed", "data": {}, "url": url});
        let problem = world.post(&event.to_string()).expect(422);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(part)), "{problem}");
    }
}

/// As the example's README says how to try it: the same receiver is the endpoint and the callback's.
#[test]
fn the_readmes_callback_can_be_tried_on_loopback() {
    let receiver = Receiver::start();
    let mut world = TRANSCODELY.world(&receiver.url("/"), "");
    let readme = TRANSCODELY.file("README.md");
    let text = fs::read_to_string(world.config()).expect("a configuration");
    for line in ["network.allow = [\"127.0.0.1/32\"]", "https_only = false"] {
        assert!(readme.contains(&format!("`{line}`")), "{line}");
    }
    let text = text.replace("[accounts.default]\n", "[accounts.default]\nhttps_only = false\n");
    fs::write(world.config(), format!("network.allow = [\"127.0.0.1/32\"]\n{text}")).expect("a file");
    world.start();
    let command = readme.lines().find(|line| line.contains("--url http:")).expect("a command").trim();
    let written = TRANSCODELY.value("url");
    assert!(command.ends_with(&written), "{command}");
    let command = command.replace(&written, &receiver.url("/webhooks/transcodely"));
    let words: Vec<_> = command.split(' ').skip(1).collect();
    let output = world.cli(&words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let hooks = receiver.wait_at("/webhooks/transcodely", 2);
    let ids: HashSet<_> = hooks.iter().map(|hook| hook.header("x-transcodely-delivery-id")).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn raw_payloads_are_kept() {
    let receiver = Receiver::start();
    let world = TRANSCODELY.running(&receiver, "");
    let sample = TRANSCODELY.sample();
    let answer = world.post(&format!(r#"{{"type":"job.partial","data":{sample}}}"#)).expect(202);
    let id = answer["id"].as_str().expect("an id");
    world.ended(id);
    let shown = world.request("GET", &format!("/v1/events/{id}"), &[], b"");
    assert!(shown.text().contains(&format!("\"data\":{sample}")), "{}", shown.text());
}

/// What all receivers of the example do, in whatever language.
fn as_documented(runner: &str) -> Option<(Program, World)> {
    let (program, world, delivery) = TRANSCODELY.as_it_stands(runner)?;
    let id = delivery["id"].as_str().expect("an id");
    assert_eq!(program.line("handled "), format!("{id} job.completed job_7k2m9x4q"));
    eventually("it shows the output", || {
        (program.lines().last()? == "  out_1 completed gs://media-example/talk/1080p.mp4").then_some(())
    });
    let secret = TRANSCODELY.value("secret");
    let body = format!(r#"{{"event":"job.failed","job":{},"timestamp":"x"}}"#, TRANSCODELY.sample());
    judges(&program, body.as_bytes(), |at, delivery, body| {
        let at = at.to_string();
        let mac = hmac_sha256(secret.as_bytes(), &[at.as_bytes(), b".", body]);
        vec![
            ("X-Transcodely-Delivery-ID", delivery.to_owned()),
            ("X-Transcodely-Timestamp", at),
            ("X-Transcodely-Signature", format!("sha256={}", hex::encode(mac))),
        ]
    });
    Some((program, world))
}

#[test]
fn the_python_receiver_runs_as_it_stands() {
    as_documented(&TRANSCODELY.commands()[0]);
}

#[test]
fn the_node_receiver_runs_as_it_stands() {
    as_documented("node receiver.mjs");
}

#[test]
fn the_go_receiver_runs_as_it_stands() {
    if !is_there("go") {
        return skip("there is no go here for the receiver of transcodely", false);
    }
    // `go run` would be killed without what it runs.
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("receiver").display().to_string();
    let mut build = Command::new("go");
    build.args(["build", "-o", &program, "receiver.go"]).current_dir(TRANSCODELY.directory());
    assert!(build.status().expect("it is there").success());
    as_documented(&program);
}

#[test]
fn listen_verifies_it() {
    TRANSCODELY.listens(Some(&TRANSCODELY.value("secret")));
}
