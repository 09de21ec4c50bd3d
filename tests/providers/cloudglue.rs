//! Cloudglue: the endpoint's secret itself in a header; 200 alone is a success; three retries.

use serde_json::{Value, json};

use crate::{
    example::{Example, attempted, call, catalog, make, path, refuses, send, sorted, waits},
    support::{
        config::ODD,
        eventually,
        program::Program,
        receiver::{Receiver, Reply},
        world::{run_in, stderr, stdout},
    },
};

const CLOUDGLUE: Example = Example("cloudglue");

/// The document's list, in its order.
const TYPES: [&str; 14] = [
    "transcribe.job.processing",
    "transcribe.job.completed",
    "transcribe.job.failed",
    "extract.job.processing",
    "extract.job.completed",
    "extract.job.failed",
    "file.job.processing",
    "file.job.completed",
    "file.job.failed",
    "file.job.deleted",
    "collection.file.job.processing",
    "collection.file.job.completed",
    "collection.file.job.failed",
    "collection.file.job.deleted",
];

/// A receiver that confirms as the document wants it.
fn taking() -> Receiver {
    Receiver::answering(|_| Reply::Status(200))
}

/// A further endpoint, with a secret of its own.
fn endpoint(receiver: &Receiver, name: &str, types: &[&str], secret: &str) -> String {
    format!(
        "\n[[endpoint]]\nname = \"{name}\"\nurl = \"{}\"\nevent_types = {types:?}\nsecret = \"{secret}\"\n",
        receiver.url(&format!("/{name}"))
    )
}

#[test]
fn an_endpoint_is_made_by_a_person() {
    let receiver = taking();
    let world = CLOUDGLUE.running(&receiver, "");
    let url = receiver.url("/made");
    let added = world.cli(&["endpoint", "add", &url, "--type", "extract.job.failed", "--type", "file.job.*"]);
    assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
    let id = stdout(&added).trim().to_owned();
    let secret = stdout(&world.cli(&["endpoint", "secret", &id])).trim().to_owned();
    assert!(secret.len() >= 32, "it can be found, and cannot be guessed: {secret}");
    assert_eq!(world.get(&format!("/v1/endpoints/{id}/secret"))["secret"], secret);
    world.emit("extract.job.completed", &json!({"n": 1}));
    let event = world.emit("extract.job.failed", &json!({"n": 2}));
    let hook = receiver.wait_at("/made", 1).remove(0);
    assert_eq!(hook.json(), json!({"n": 2}));
    assert_eq!(hook.header("x-webhook-secret"), secret);
    assert_ne!(secret, CLOUDGLUE.value("secret"), "each endpoint has its own");
    let shown = world.ended(&event).to_string() + &world.get("/v1/endpoints").to_string() + &world.log();
    assert!(!shown.contains(&secret), "{shown}");
}

#[test]
fn an_account_has_at_most_ten_endpoints() {
    let receiver = taking();
    let world = CLOUDGLUE.running(&receiver, "\n[accounts.acme]\nhttps_only = false\n");
    let document = json!({"url": receiver.url("/made"), "event_types": ["*"]});
    let ask = |account: &str| call(&world, "POST", &format!("/v1/endpoints?account={account}"), &document);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(|| ask("default").status)).collect();
        asking.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let made = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!(made, 10, "those who ask at once share the ten: {statuses:?}");
    let detail = ask("default").problem(409, "too_many_endpoints");
    assert!(detail.contains("10"), "{detail}");
    ask("acme").expect(201);
    let list = world.list("/v1/endpoints?account=default");
    let one = list.iter().find(|one| one["owner"] == "api").expect("they are there");
    call(&world, "DELETE", &path(one), &json!({})).expect(200);
    ask("default").expect(201);
    ask("default").problem(409, "too_many_endpoints");
}

#[test]
fn an_endpoint_subscribes_to_at_least_one_event() {
    let receiver = taking();
    let world = CLOUDGLUE.world(&receiver.url("/"), &endpoint(&receiver, "none", &[], "s3cr3t-of-the-other"));
    let output = run_in(&world.path(""), &["check", "--config", "posthaste.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("`endpoint.event_types`"), "{}", stderr(&output));

    let world = CLOUDGLUE.running(&receiver, "");
    for (document, status, code) in [
        (json!({"url": "https://app.example/"}), 400, "bad_request"),
        (json!({"url": "https://app.example/", "event_types": []}), 422, "invalid_endpoint"),
        (json!({"url": "https://app.example/", "event_types": ["file.jobs.*"]}), 422, "invalid_endpoint"),
    ] {
        let detail = call(&world, "POST", "/v1/endpoints", &document).problem(status, code);
        assert!(detail.contains("`event_types"), "{detail}");
    }
}

#[test]
fn there_are_fourteen_events() {
    assert_eq!(CLOUDGLUE.types(), TYPES);
    let receiver = taking();
    let world = CLOUDGLUE.running(&receiver, &endpoint(&receiver, "all", &["*"], "s3cr3t-of-the-other"));
    assert_eq!(catalog(&world, "live"), sorted(TYPES));
    CLOUDGLUE.emit_all(&world);
    let hooks = receiver.wait_at("/all", TYPES.len());
    assert_eq!(sorted(hooks.iter().map(|hook| hook.header("x-webhook-event"))), sorted(TYPES));
    refuses(&world, "file.job.procesing", "file.job.processing");
}

#[test]
fn an_endpoint_may_subscribe_to_several() {
    let receiver = taking();
    let types = ["extract.job.failed", "collection.file.job.deleted"];
    let world = CLOUDGLUE.running(&receiver, &endpoint(&receiver, "two", &types, "s3cr3t-of-the-other"));
    CLOUDGLUE.emit_all(&world);
    world.settled();
    let came = |path: &str| sorted(receiver.hooks_at(path).iter().map(|hook| hook.header("x-webhook-event")));
    assert_eq!(came("/two"), ["collection.file.job.deleted", "extract.job.failed"]);
    let own = [
        "file.job.completed",
        "file.job.deleted",
        "file.job.failed",
        "file.job.processing",
        "transcribe.job.completed",
        "transcribe.job.failed",
    ];
    assert_eq!(came("/hooks"), own);
}

#[test]
fn each_request_carries_its_endpoint_s_secret() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 500 } else { 200 }));
    let other = "s3cr3t-of-the-other";
    let more =
        endpoint(&receiver, "other", &["*"], other) + &CLOUDGLUE.hurried(&["0s", "50ms", "50ms", "50ms"]);
    let world = CLOUDGLUE.running(&receiver, &more);
    let event = world.emit("transcribe.job.completed", &json!({"n": 1}));
    for (path, secret) in [("/hooks", CLOUDGLUE.value("secret")), ("/other", other.to_owned())] {
        let hooks = receiver.wait_at(path, 2);
        for hook in &hooks {
            assert_eq!(hook.header("x-webhook-secret"), secret, "at {path}, at each attempt");
        }
        assert_eq!(hooks[0].header("x-webhook-delivery-id"), hooks[1].header("x-webhook-delivery-id"));
    }
    CLOUDGLUE.verifies(&world, &receiver.hooks_at("/other")[0], other);
    world.settled();
    let shown = world.deliveries(&event).iter().map(Value::to_string).collect::<String>() + &world.log();
    assert!(!shown.contains(other) && !shown.contains(&CLOUDGLUE.value("secret")), "{shown}");
    assert!(shown.contains("x-webhook-secret"), "that it was sent is shown: {shown}");
}

#[test]
fn it_is_a_post_with_the_event_s_own_json() {
    let receiver = taking();
    let world = CLOUDGLUE.running(&receiver, "");
    for (number, data) in ODD.iter().enumerate() {
        world.post(&format!(r#"{{"type":"file.job.completed","data":{data}}}"#)).expect(202);
        receiver.wait(number + 1);
    }
    for (hook, data) in receiver.hooks().iter().zip(ODD) {
        assert_eq!((hook.method.as_str(), hook.header("content-type")), ("POST", "application/json"));
        assert_eq!(hook.text(), data, "whatever its shape, byte for byte");
    }
}

#[test]
fn a_200_confirms_receipt_and_nothing_else_does() {
    let statuses = [200, 201, 202, 204, 302, 400, 404, 410, 500, 503];
    let receiver = Receiver::answering(|hook| {
        let data = hook.json();
        let status = data.as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status");
        Reply::Status(status)
    });
    let more = CLOUDGLUE.hurried(&["0s", "40ms", "40ms", "40ms"]);
    let world = CLOUDGLUE.running(&receiver, &more);
    let events = statuses.map(|status| (status, world.emit("file.job.failed", &json!(status))));
    for (status, event) in events {
        let delivery = world.ended(&event);
        let expected = if status == 200 { ("succeeded", 1) } else { ("failed", 4) };
        let (outcome, attempts) = expected;
        assert_eq!(
            (&delivery["status"], &delivery["attempt"]),
            (&json!(outcome), &json!(attempts)),
            "{status}"
        );
        if status != 200 {
            assert_eq!(delivery["reason"], "exhausted", "{status}");
        }
    }
    assert_eq!(receiver.hooks().len(), 1 + (statuses.len() - 1) * 4, "one attempt and three retries each");
}

#[test]
fn retries_come_after_a_minute_first() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let world = CLOUDGLUE.running(&receiver, "");
    let event = world.emit("file.job.failed", &json!({}));
    let delivery = attempted(&world, &event, 1);
    assert_eq!((&delivery["status"], &delivery["waiting"]), (&json!("pending"), &json!("due")));
    let waits = waits(&delivery);
    assert!((60_000..75_000).contains(&waits), "{waits} ms");
}

#[test]
fn past_events_of_an_endpoint_can_be_viewed() {
    let receiver = taking();
    let world =
        CLOUDGLUE.running(&receiver, &endpoint(&receiver, "other", &["extract.job.*"], "s3cr3t-of-other"));
    let mut own: Vec<_> = (0..5).map(|n| world.emit("file.job.completed", &json!(n))).collect();
    let other = world.emit("extract.job.completed", &json!({}));
    world.settled();
    let listed = |name: &str| -> Vec<String> {
        let list = world.list(&format!("{}/deliveries", path(&world.endpoint(name))));
        list.iter().map(|one| one["event_id"].as_str().expect("an id").to_owned()).collect()
    };
    own.reverse();
    assert_eq!(listed("studio"), own, "its own, newest first");
    assert_eq!(listed("other"), [other]);

    // Of one that is gone as well.
    let made = make(&world, &receiver.url("/made"), &["extract.job.failed"]);
    let event = world.emit("extract.job.failed", &json!({}));
    world.settled();
    call(&world, "DELETE", &path(&made), &json!({})).expect(200);
    let list = world.list(&format!("{}/deliveries", path(&made)));
    assert_eq!(
        (list.len(), &list[0]["event_id"], &list[0]["status"]),
        (1, &json!(event), &json!("succeeded"))
    );
}

#[test]
fn the_example_runs_as_it_stands() {
    let Some((program, _world, delivery)) = CLOUDGLUE.as_it_stands(&CLOUDGLUE.commands()[0]) else { return };
    let id = delivery["id"].as_str().expect("an id");
    assert_eq!(program.line("handled "), format!("{id} transcribe.job.completed j-81"));

    let body = br#"{"job_id":"j-1"}"#;
    let headers = |secret: &str| {
        vec![
            ("X-Webhook-Secret", secret.to_owned()),
            ("X-Webhook-Event", "file.job.deleted".to_owned()),
            ("X-Webhook-Delivery-ID", "one".to_owned()),
        ]
    };
    let secret = CLOUDGLUE.value("secret");
    for wrong in ["", "wrong", &secret[1..], &format!("{secret}x")] {
        assert_eq!(send(&program, &headers(wrong), body).0, 401, "{wrong}");
    }
    assert_eq!(send(&program, &headers(&secret)[1..], body).0, 401, "without any");
    assert_eq!(send(&program, &headers(&secret)[..2], body).0, 400, "without a delivery");
    assert_eq!(send(&program, &headers(&secret), body), (200, "OK\n".to_owned()));
    assert_eq!(send(&program, &headers(&secret), body), (200, "Already processed\n".to_owned()));
    eventually("it is handled once", || (program.count("handled ") == 2).then_some(()));
}

#[test]
fn an_endpoint_made_while_it_runs_has_a_receiver_with_a_secret_of_its_own() {
    let Some((first, world, _)) = CLOUDGLUE.as_it_stands(&CLOUDGLUE.commands()[0]) else { return };
    let made = make(&world, "http://127.0.0.1:8591/hooks", &["extract.job.*"]);
    let secret = made["secret"].as_str().expect("a secret");
    let runner = format!("env WEBHOOK_SECRET={secret} {}", CLOUDGLUE.commands()[0]);
    let second = Program::start(&world.path(""), &runner, &["0"]);
    call(&world, "PATCH", &path(&made), &json!({"url": second.url()})).expect(200);
    let tested = call(&world, "POST", &format!("{}/test", path(&made)), &json!({"data": {"job_id": "t"}}));
    let tested = tested.expect(200);
    assert_eq!((&tested["success"], &tested["response"]["status_code"]), (&json!(true), &json!(200)));
    let event = world.emit("extract.job.completed", &json!({"job_id": "j-9"}));
    let delivery = world.ended(&event);
    assert_eq!(delivery["status"], "succeeded");
    let id = delivery["id"].as_str().expect("an id");
    second.line(&format!("handled {id} extract.job.completed j-9"));
    assert_eq!(first.count("handled "), 1, "the other has nothing of it");
    // With the secret of somebody else a receiver takes nothing.
    call(&world, "PATCH", &path(&made), &json!({"url": first.url()})).expect(200);
    let tested = call(&world, "POST", &format!("{}/test", path(&made)), &json!({})).expect(200);
    assert_eq!(tested["response"]["status_code"], 401);
}

#[test]
fn listen_verifies_it() {
    CLOUDGLUE.listens(Some(&CLOUDGLUE.value("secret")));
}
