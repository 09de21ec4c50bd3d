//! From an event handed in to its delivery and history, through the built binary, as a user sees it.

mod support;

use std::time::Duration;

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::{Value, json};
use support::{
    config::{self, KEY, ODD, endpoint, endpoint_with_secret, profile},
    receiver::{Hook, Receiver, Reply},
    sign::{check_standard, check_transcodely},
    world::{World, json_of, stderr, stdin_of, stdout},
};

/// The event's `id` of an `emit` that succeeded.
fn emitted(world: &World, args: &[&str]) -> String {
    let output = world.cli(args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let id = stdout(&output).trim_end().to_owned();
    assert!(id.starts_with("evt_"), "{id}");
    id
}

fn attempts(delivery: &Value) -> &Vec<Value> {
    delivery["attempts"].as_array().expect("a list")
}

#[test]
fn an_event_from_the_command_line_reaches_a_transcodely_receiver_signed() {
    let receiver = Receiver::start();
    let secret = "whsec_your_signing_secret";
    let url = receiver.url("/webhooks/transcodely");
    let world = World::running(&endpoint_with_secret("shop", &url, &["job.*"], "transcodely", secret));
    let data = r#"{"id": "job_a1b2c3d4e5f6", "status": "completed", "total_actual_cost": 0.1180}"#;
    let event = emitted(&world, &["emit", "job.completed", data, "--time", "2026-02-28T10:35:42Z"]);

    let hooks = receiver.wait(1);
    let hook = &hooks[0];
    check_transcodely(hook, secret);
    assert_eq!((hook.method.as_str(), hook.path.as_str()), ("POST", "/webhooks/transcodely"));
    assert_eq!(hook.header("content-type"), "application/json");
    assert_eq!(hook.header("host"), receiver.address().to_string());
    assert!(hook.text().contains(data), "the job's bytes are as they were: {}", hook.text());
    let body = hook.json();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(3), "{body}");
    assert_eq!(body["event"], "job.completed");
    assert_eq!(body["job"], serde_json::from_str::<Value>(data).expect("JSON"));
    assert!(body["timestamp"].as_str().is_some_and(|at| at.starts_with("2026-02-28T10:35:42")), "{body}");

    let delivery = world.ended(&event);
    assert_eq!((&delivery["status"], &delivery["attempt"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(hook.header("x-transcodely-delivery-id"), delivery["id"].as_str().expect("an id"));
    assert_eq!(receiver.hooks().len(), 1);
}

#[test]
fn an_event_reaches_a_standard_webhooks_receiver_enveloped_and_signed() {
    let receiver = Receiver::start();
    let world = World::running(&endpoint("erp", &receiver.url("/hooks?a=b%20c"), &["*"], "posthaste"));
    let event = emitted(&world, &["emit", "scan.finished", r#"{"pages": 3.0}"#]);
    let hooks = receiver.wait(1);
    let hook = &hooks[0];
    check_standard(hook, KEY);
    assert_eq!(hook.path, "/hooks?a=b%20c");
    assert!(hook.text().contains(r#"{"pages": 3.0}"#), "{}", hook.text());
    let body = hook.json();
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["data", "id", "timestamp", "type"]);
    assert_eq!((&body["id"], &body["type"]), (&json!(event), &json!("scan.finished")));
    let delivery = world.ended(&event);
    assert_eq!(hook.header("webhook-id"), delivery["id"].as_str().expect("an id"));
    assert_eq!(body["timestamp"], world.event(&event)["time"]);
}

#[test]
fn an_event_reaches_a_raw_receiver_as_it_came_and_signed() {
    let receiver = Receiver::start();
    let secret = config::secret();
    let header = "headers = { Authorization = \"Bearer hunter2\", X-Extra = \"1\" }\n";
    let world = World::running(&(endpoint("erp", &receiver.url("/"), &["*"], "raw") + header));
    let event = emitted(&world, &["emit", "scan.finished", "[1, 2,  3]"]);
    let hooks = receiver.wait(1);
    check_standard(&hooks[0], KEY);
    assert_eq!(hooks[0].text(), "[1, 2,  3]");
    assert_eq!(hooks[0].header("authorization"), "Bearer hunter2");
    assert_eq!(hooks[0].header("x-extra"), "1");

    let delivery = world.ended(&event);
    let request = &attempts(&delivery)[0]["request"];
    assert_eq!(request["url"], receiver.url("/"));
    assert_eq!(request["headers"]["webhook-signature"], hooks[0].header("webhook-signature"));
    assert_eq!(request["headers"]["webhook-timestamp"], hooks[0].header("webhook-timestamp"));
    let shown = delivery.to_string() + &world.log() + &world.get("/v1/endpoints").to_string();
    assert!(!shown.contains("hunter2"), "a header's secret is shown: {shown}");
    assert!(!shown.contains(&secret[6..]), "the signing secret is shown: {shown}");
}

#[test]
fn subscriptions_choose_who_gets_what() {
    let receiver = Receiver::start();
    let text: String = [
        ("all", "*"),
        ("beneath", "video.media.*"),
        ("middle", "video.*.ready"),
        ("exact", "video.media.ready"),
    ]
    .iter()
    .map(|(name, pattern)| endpoint(name, &receiver.url(&format!("/{name}")), &[pattern], "raw"))
    .chain([endpoint("both", &receiver.url("/both"), &["a.b", "a.*"], "raw")])
    .collect();
    let world = World::running(&text);
    for (event_type, wanted) in [
        ("video.media.ready", vec!["all", "beneath", "exact", "middle"]),
        ("video.media.track.ready", vec!["all", "beneath"]),
        ("video.media", vec!["all"]),
        ("video.live.ready", vec!["all", "middle"]),
        ("video.ready", vec!["all"]),
        ("video.media.ready.late", vec!["all", "beneath"]),
        ("videos.media.ready", vec!["all"]),
        ("a.b", vec!["all", "both"]),
        ("a", vec!["all"]),
    ] {
        let id = world.emit(event_type, &json!(event_type));
        let event = world.event(&id);
        let deliveries = event["deliveries"].as_array().expect("a list").iter();
        let mut names: Vec<_> = deliveries.map(|one| one["endpoint"].as_str().expect("a name")).collect();
        names.sort_unstable();
        assert_eq!(names, wanted, "{event_type}");
        for name in wanted {
            let path = format!("/{name}");
            let came = |hooks: &[std::sync::Arc<Hook>]| {
                hooks.iter().any(|hook| hook.path == path && hook.json() == event_type)
            };
            receiver.wait_for(&format!("{event_type} at {name}"), came);
        }
    }
    world.settled();
    assert_eq!(receiver.hooks().len(), 9 + 3 + 2 + 1 + 1, "nobody got more");
}

#[test]
fn an_account_s_events_go_to_its_own_endpoints() {
    let receiver = Receiver::start();
    let mine = endpoint("erp", &receiver.url("/default"), &["*"], "raw");
    let theirs = endpoint("erp", &receiver.url("/acme"), &["*"], "raw") + "account = \"acme\"\n";
    let world = World::running(&format!("{mine}{theirs}[accounts.acme]\n"));
    let first = emitted(&world, &["emit", "a.b", "1"]);
    let second = emitted(&world, &["emit", "a.b", "2", "--account", "acme"]);
    world.settled();
    let came: Vec<_> = ["/default", "/acme"].map(|path| receiver.hooks_at(path)).to_vec();
    assert_eq!((came[0].len(), came[0][0].text()), (1, "1"));
    assert_eq!((came[1].len(), came[1][0].text()), (1, "2"));
    for (account, event) in [("default", &first), ("acme", &second)] {
        let listed = world.list(&format!("/v1/events?account={account}"));
        assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!(event)));
        let listed = world.list(&format!("/v1/deliveries?account={account}&endpoint=erp"));
        assert_eq!((listed.len(), &listed[0]["event_id"]), (1, &json!(event)));
    }
}

#[test]
fn an_event_that_nobody_wants_is_kept_and_listed() {
    let receiver = Receiver::start();
    let world = World::running(&endpoint("erp", &receiver.url("/"), &["video.*"], "raw"));
    let id = world.emit("audio.ready", &json!({"n": 1}));
    let event = world.event(&id);
    assert_eq!((&event["data"], &event["deliveries"]), (&json!({"n": 1}), &json!([])));
    let listed = json_of(&world.cli(&["event", "list", "--type", "audio.*", "--json"]));
    assert_eq!(listed["items"][0]["id"], json!(id));
    assert_eq!(listed["items"][0]["deliveries"]["pending"], 0);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(json_of(&world.cli(&["event", "list", "--type", "video.*", "--json"]))["items"], json!([]));
    assert!(stdout(&world.cli(&["event", "show", &id])).contains("No deliveries"));
    assert!(receiver.hooks().is_empty());
}

#[test]
fn the_raw_body_is_byte_for_byte_what_was_handed_in_through_every_door() {
    let receiver = Receiver::start();
    let world = World::running(&endpoint("erp", &receiver.url("/"), &["*"], "raw"));
    let event = |data: &str| format!("{{ \"data\":{data}, \"type\" : \"a.b\"}}");
    let mut ids = Vec::new();
    for data in ODD {
        let answer = world.post(&event(data)).expect(202);
        ids.push((answer["id"].as_str().expect("an id").to_owned(), data));
    }
    let body: String = ODD.iter().map(|data| event(data) + "\n").collect();
    let batch =
        world.request("POST", "/v1/events", &[("content-type", "application/x-ndjson")], body.as_bytes());
    let batch = batch.expect(202);
    let mut stream = world.stream();
    stream.send(&body);
    let answers = [batch["items"].as_array().expect("a list").clone(), stream.answers(ODD.len())];
    for answers in answers {
        assert_eq!(answers.len(), ODD.len());
        for (answer, data) in answers.iter().zip(ODD) {
            ids.push((answer["id"].as_str().unwrap_or_else(|| panic!("{data}: {answer}")).to_owned(), data));
        }
    }
    for data in ODD {
        let file = world.path("data.json");
        std::fs::write(&file, data).expect("a file");
        ids.push((emitted(&world, &["emit", "a.b", data]), data));
        let argument = format!("@{}", file.display());
        ids.push((emitted(&world, &["emit", "a.b", &argument]), data));
        let piped = world.cli_with(&["emit", "a.b", "-"], stdin_of(&file));
        ids.push((stdout(&piped).trim_end().to_owned(), data));
    }
    for (id, data) in &ids {
        let delivery = world.ended(id);
        assert_eq!(delivery["status"], "succeeded", "{data}");
        let hooks = receiver.hooks();
        let hook = hooks.iter().find(|hook| hook.header("webhook-id") == delivery["id"]).expect("it came");
        assert_eq!(hook.text(), *data, "{id}");
        check_standard(hook, KEY);
        let shown = world.request("GET", &format!("/v1/events/{id}"), &[], b"");
        assert!(shown.text().contains(&format!("\"data\":{data}")), "{}", shown.text());
        let shown = world.cli(&["event", "show", id, "--json"]);
        assert!(stdout(&shown).contains(&format!("\"data\":{data}")), "{}", stderr(&shown));
    }
    assert_eq!(receiver.hooks().len(), ids.len());
}

#[test]
fn a_failed_attempt_is_made_again_on_schedule() {
    let receiver = Receiver::answering(|hook| match hook.earlier {
        0 => Reply::Full(500, ("x-why", "tired"), "come back later".to_owned()),
        1 => Reply::After(Duration::from_millis(50), 503),
        _ => Reply::Full(202, ("x-why", "rested"), "y".repeat(5_000)),
    });
    let text = endpoint("erp", &receiver.url("/"), &["*"], "quick")
        + &profile("quick", &["0s", "200ms", "400ms", "1h"], "");
    let world = World::running(&text);
    let event = world.emit("a.b", &json!({"n": 1}));
    let hooks = receiver.wait(3);
    let delivery = world.ended(&event);

    // From the end of an attempt to the next: the receiver answers after it has the request, so its own times are
    // a bound from below; the first answer is sent at once, the second after 50 ms. Due times are kept in whole
    // milliseconds.
    for (index, least) in [(1, 199), (2, 449)] {
        let waited = hooks[index].at - hooks[index - 1].at;
        let least = Duration::from_millis(least);
        assert!(waited >= least, "attempt {} after {waited:?}, due after {least:?}", index + 1);
        assert!(waited < least + Duration::from_secs(3), "attempt {} only after {waited:?}", index + 1);
    }
    for hook in &hooks {
        check_standard(hook, KEY);
        assert_eq!(hook.header("webhook-id"), delivery["id"].as_str().expect("an id"));
        assert_eq!(hook.text(), r#"{"n":1}"#);
    }
    assert_eq!((&delivery["status"], &delivery["attempt"]), (&json!("succeeded"), &json!(3)));
    assert_eq!((&delivery["step"], &delivery["last_status_code"]), (&json!(2), &json!(202)));
    assert_eq!((&delivery["due_at"], &delivery["reason"]), (&Value::Null, &Value::Null));
    assert!(delivery["ended_at"].is_string());
    let attempts = attempts(&delivery);
    assert_eq!(attempts.len(), 3);
    for (index, (attempt, hook)) in attempts.iter().zip(&hooks).enumerate() {
        assert_eq!((&attempt["number"], &attempt["why"]), (&json!(index + 1), &json!("schedule")));
        assert_eq!(attempt["address"], receiver.address().to_string());
        let phases = &attempt["phases"];
        assert!(phases["headers"].is_f64() && phases["total"].is_f64(), "{phases}");
        let headers = &attempt["request"]["headers"];
        assert_eq!(headers["webhook-timestamp"], hook.header("webhook-timestamp"));
        assert_eq!(headers["webhook-signature"], hook.header("webhook-signature"));
    }
    assert!(attempts[0]["phases"]["connect"].is_f64(), "the first has to connect");
    let response = |index: usize| &attempts[index]["response"];
    assert_eq!(response(0)["status_code"], 500);
    assert_eq!(response(0)["body"], "come back later");
    assert!(response(0)["headers"].as_array().expect("a list").contains(&json!(["x-why", "tired"])));
    assert_eq!(response(1)["status_code"], 503);
    assert_eq!((&response(2)["body_truncated"], &response(2)["failure"]), (&json!(true), &Value::Null));
    assert_eq!(response(2)["body"].as_str().map(str::len), Some(1024), "of a success 1 KiB is kept");
    assert_eq!(receiver.hooks().len(), 3);
    assert_eq!(world.endpoint("erp")["consecutive_failures"], 0);
}

#[test]
fn timestamp_and_signature_are_made_anew_for_each_attempt() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 500 } else { 200 }));
    let text =
        endpoint("erp", &receiver.url("/"), &["*"], "quick") + &profile("quick", &["0s", "1100ms"], "");
    let world = World::running(&text);
    world.emit("a.b", &json!(1));
    let hooks = receiver.wait(2);
    for hook in &hooks {
        check_standard(hook, KEY);
    }
    assert_eq!(hooks[0].header("webhook-id"), hooks[1].header("webhook-id"));
    assert_eq!(hooks[0].body, hooks[1].body);
    for header in ["webhook-timestamp", "webhook-signature"] {
        assert_ne!(hooks[0].header(header), hooks[1].header(header), "more than a second lies between them");
    }
}

#[test]
fn an_exhausted_schedule_ends_the_delivery_as_failed() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let text =
        endpoint("erp", &receiver.url("/"), &["*"], "quick") + &profile("quick", &["0s", "50ms", "50ms"], "");
    let world = World::running(&text);
    let event = world.emit("a.b", &json!(1));
    let delivery = world.ended(&event);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("exhausted")));
    assert_eq!((&delivery["attempt"], &delivery["step"]), (&json!(3), &json!(3)));
    assert_eq!(attempts(&delivery).len(), 3);
    assert_eq!(receiver.hooks().len(), 3);
    assert_eq!(world.endpoint("erp")["consecutive_failures"], 3);
    let status = world.get("/v1/status");
    assert_eq!(status["since_start"]["failed"], 1, "{status}");
    let listed = world.get("/v1/deliveries?status=failed&endpoint=erp");
    assert_eq!(listed["items"][0]["id"], delivery["id"], "{listed}");
    assert_eq!(world.get("/v1/deliveries?status=succeeded")["items"], json!([]));
}

/// A delivery that has one attempt, by a profile with these further keys, to this URL.
fn single_attempt(url: &str, keys: &str) -> (World, Value) {
    let text = endpoint("erp", url, &["*"], "quick") + &profile("quick", &["0s"], keys);
    let world = World::running(&text);
    let event = world.emit("a.b", &json!(1));
    let delivery = world.ended(&event);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("exhausted")));
    assert_eq!(attempts(&delivery).len(), 1);
    (world, delivery)
}

fn assert_failure(delivery: &Value, kind: &str, part: &str) {
    let response = &attempts(delivery)[0]["response"];
    assert_eq!((&response["status_code"], &response["status"]), (&Value::Null, &json!(kind)), "{response}");
    assert_eq!(response["failure"], kind);
    let message = response["message"].as_str().expect("a message");
    assert!(message.contains(part), "{message}");
}

#[test]
fn a_list_of_codes_makes_every_other_status_a_failure() {
    let receiver = Receiver::answering(|_| Reply::Status(201));
    let (_, delivery) = single_attempt(&receiver.url("/"), "success = [200]");
    assert_eq!(delivery["last_status_code"], 201);
    let message = &attempts(&delivery)[0]["response"]["message"];
    assert!(message.as_str().expect("a message").contains("not a success"), "{message}");
}

#[test]
fn a_receiver_that_does_not_answer_in_time_is_a_failed_attempt() {
    let receiver = Receiver::answering(|_| Reply::Never);
    let (_, delivery) = single_attempt(&receiver.url("/"), "timeout = \"200ms\"");
    assert_failure(&delivery, "timeout", "no complete headers within 200ms");
    let total = attempts(&delivery)[0]["phases"]["total"].as_f64().expect("a number");
    assert!((200.0..3_200.0).contains(&total), "{total} ms");
}

#[test]
fn a_port_that_nobody_listens_on_is_a_failed_attempt() {
    // Bound and never accepting would be a time-out; a port just given back refuses.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let (_, delivery) = single_attempt(&format!("http://{address}/"), "");
    assert_failure(&delivery, "connect", "ECONNREFUSED");
    assert_eq!(attempts(&delivery)[0]["address"], address.to_string());
}

#[test]
fn a_receiver_that_hangs_up_is_a_failed_attempt() {
    let receiver = Receiver::answering(|_| Reply::Close);
    let (_, delivery) = single_attempt(&receiver.url("/"), "");
    assert_failure(&delivery, "protocol", "closed before the answer's headers");
    assert_eq!(receiver.hooks().len(), 1, "a request that was sent is not sent again within the attempt");
}

#[test]
fn an_answer_that_is_no_http_is_a_failed_attempt() {
    let receiver = Receiver::answering(|_| Reply::Stall(b"SSH-2.0-OpenSSH_9.2\r\n"));
    let (_, delivery) = single_attempt(&receiver.url("/"), "timeout = \"5s\"");
    assert_failure(&delivery, "protocol", "no HTTP/1.1");
}

#[test]
fn a_body_that_does_not_end_does_not_undo_a_success() {
    let receiver =
        Receiver::answering(|_| Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf"));
    let text = endpoint("erp", &receiver.url("/"), &["*"], "quick")
        + &profile("quick", &["0s", "0s"], "timeout = \"300ms\"");
    let world = World::running(&text);
    let event = world.emit("a.b", &json!(1));
    let delivery = world.ended(&event);
    assert_eq!((&delivery["status"], &delivery["attempt"]), (&json!("succeeded"), &json!(1)));
    let response = &attempts(&delivery)[0]["response"];
    assert_eq!((&response["status_code"], &response["body"]), (&json!(200), &json!("half")), "{response}");
    assert!(response["message"].as_str().expect("a message").contains("300ms"), "{response}");
}

#[test]
fn a_receiver_that_closes_after_each_answer_gets_each_once() {
    let receiver = Receiver::answering(|_| Reply::Last(200));
    let world = World::running(&endpoint("erp", &receiver.url("/"), &["*"], "raw"));
    for n in 0..30 {
        let event = world.emit("a.b", &json!(n));
        let delivery = world.ended(&event);
        assert_eq!((&delivery["status"], &delivery["attempt"]), (&json!("succeeded"), &json!(1)));
    }
    let numbers: Vec<_> = receiver.hooks().iter().map(|hook| hook.json()).collect();
    assert_eq!(numbers, (0..30).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn a_redirect_is_not_followed_and_is_a_failure() {
    let receiver = Receiver::answering(|hook| match hook.path.as_str() {
        "/old" => Reply::Full(302, ("location", "/new"), String::new()),
        _ => Reply::Status(200),
    });
    let (_, delivery) = single_attempt(&receiver.url("/old"), "");
    assert_eq!(delivery["last_status_code"], 302);
    let message = &attempts(&delivery)[0]["response"]["message"];
    assert!(message.as_str().expect("a message").contains("redirects are not followed"), "{message}");
    assert!(receiver.hooks_at("/new").is_empty());
}

#[test]
fn a_name_that_does_not_resolve_is_a_failed_attempt() {
    let (_, delivery) = single_attempt("http://nobody.invalid/hooks", "");
    assert_failure(&delivery, "resolve", "nobody.invalid");
    assert_eq!(attempts(&delivery)[0]["address"], Value::Null);
}

#[test]
fn an_address_that_the_configuration_denies_is_not_dialled() {
    let receiver = Receiver::start();
    let text = endpoint("erp", &receiver.url("/"), &["*"], "quick") + &profile("quick", &["0s"], "");
    let world = World::running(&format!("network.deny = [\"127.0.0.0/8\"]\n{text}"));
    let event = world.emit("a.b", &json!(1));
    assert_failure(&world.ended(&event), "refused", "127.0.0.0/8");
    assert!(receiver.hooks().is_empty());
}

#[test]
fn a_delivery_that_outlives_its_expiry_ends_as_expired() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let text = endpoint("erp", &receiver.url("/"), &["*"], "quick")
        + &profile("quick", &["0s", "1h"], "expire = \"300ms\"");
    let world = World::running(&text);
    let event = world.emit("a.b", &json!(1));
    let delivery = world.ended(&event);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("expired")));
    assert_eq!((&delivery["attempt"], attempts(&delivery).len()), (&json!(1), 1));
    assert_eq!(receiver.hooks().len(), 1);
}

#[test]
fn an_endpoint_that_is_full_fails_new_deliveries_and_takes_the_event() {
    let receiver = Receiver::answering(|_| Reply::Held(200));
    let text = endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let world = World::running(&format!("limits.pending_per_endpoint = 2\n{text}"));
    let first = [world.emit("a.b", &json!(1)), world.emit("a.b", &json!(2))];
    let third = world.delivery(&world.emit("a.b", &json!(3)));
    assert_eq!((&third["status"], &third["reason"]), (&json!("failed"), &json!("endpoint_full")));
    receiver.release();
    for event in &first {
        assert_eq!(world.ended(event)["status"], "succeeded");
    }
    world.settled();
    let fourth = world.emit("a.b", &json!(4));
    assert_eq!(world.ended(&fourth)["status"], "succeeded", "there is room again");
    assert_eq!(receiver.hooks().len(), 3);
}

#[test]
fn an_endpoint_that_is_dead_does_not_delay_the_others() {
    let silent = Receiver::answering(|_| Reply::Never);
    let receiver = Receiver::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let refused = listener.local_addr().expect("it is bound");
    drop(listener);
    let text = endpoint("silent", &silent.url("/"), &["*"], "raw")
        + &endpoint("refused", &format!("http://{refused}/"), &["*"], "raw")
        + &endpoint("good", &receiver.url("/"), &["*"], "raw");
    let world = World::running(&text);
    let mut stream = world.stream();
    let line = |n| format!("{{\"type\":\"a.b\",\"data\":{n}}}\n");
    let lines: String = (0..200).map(line).collect();
    stream.send(lines);
    stream.answers(200);
    let hooks = receiver.wait(200);
    let mut numbers: Vec<u64> = hooks.iter().map(|hook| hook.json().as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    support::eventually("the good one's deliveries are recorded", || {
        (world.list("/v1/deliveries?endpoint=good&status=succeeded").len() == 200).then_some(())
    });
    assert_eq!(world.endpoint("good")["pending"], 0);
    for name in ["silent", "refused"] {
        assert_eq!(world.endpoint(name)["pending"], 200, "{name} holds its own");
    }
    assert!(silent.hooks().len() <= 2, "an endpoint never tried gets no herd");
    assert_eq!(world.list("/v1/deliveries?endpoint=silent&status=pending").len(), 200);
}

#[test]
fn an_endpoint_without_its_credential_holds_its_deliveries_until_a_start_finds_it() {
    let receiver = Receiver::start();
    let text = endpoint_with_secret("erp", &receiver.url("/erp"), &["*"], "raw", "@credential:erp-secret")
        + &endpoint("other", &receiver.url("/other"), &["*"], "raw");
    let mut world = World::running(&text);
    let event = world.emit("a.b", &json!(7));
    receiver.wait_at("/other", 1);
    let endpoint = world.endpoint("erp");
    assert_eq!(
        (&endpoint["enabled"], &endpoint["disabled_reason"]),
        (&json!(false), &json!("no_credential"))
    );
    let status = world.get("/v1/status");
    let disabled = &status["disabled_endpoints"];
    assert_eq!((&disabled[0]["name"], &disabled[0]["reason"]), (&json!("erp"), &json!("no_credential")));
    assert!(disabled[0]["help"].as_str().expect("help").contains("`erp-secret`"), "{status}");
    assert!(stdout(&world.cli(&["status"])).contains("erp-secret"));
    world.logs(1, "no_credential");
    let held = |world: &World| {
        let deliveries = world.deliveries(&event);
        deliveries.into_iter().find(|one| one["endpoint"] == "erp").expect("it was made")
    };
    let delivery = held(&world);
    assert_eq!((&delivery["status"], &delivery["waiting"]), (&json!("pending"), &json!("disabled")));

    world.stop();
    let credentials = world.path("credentials");
    std::fs::create_dir(&credentials).expect("a directory");
    std::fs::write(credentials.join("erp-secret"), config::secret() + "\n").expect("a credential");
    world.set_env("CREDENTIALS_DIRECTORY", &credentials);
    world.start();
    let hooks = receiver.wait_at("/erp", 1);
    check_standard(&hooks[0], KEY);
    assert_eq!(hooks[0].header("webhook-id"), delivery["id"].as_str().expect("an id"));
    world.settled();
    assert_eq!(held(&world)["status"], "succeeded");
    assert_eq!(world.endpoint("erp")["id"], endpoint["id"]);
    assert_eq!(world.endpoint("erp")["enabled"], true);
    assert_eq!(world.get("/v1/status")["disabled_endpoints"], json!([]));
}

/// A certificate for 127.0.0.1, and the PEM of the authority that gave it.
fn certificate() -> (ServerConfig, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::from_params(&authority, &authority_key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    (config, root.pem())
}

#[test]
fn a_certificate_of_a_trusted_authority_is_delivered_to_and_others_are_not() {
    let (config, root) = certificate();
    let receiver = Receiver::with_tls(config);
    let text = endpoint("erp", &receiver.url("/"), &["*"], "quick") + &profile("quick", &["0s"], "");
    let mut world = World::running(&text);
    let event = world.emit("a.b", &json!(1));
    assert_failure(&world.ended(&event), "tls", "certificate not trusted");
    assert!(receiver.hooks().is_empty(), "nothing was sent to it");
    world.stop();

    let file = world.path("ca.pem");
    std::fs::write(&file, root).expect("a file");
    world.set_env("SSL_CERT_FILE", &file);
    world.start();
    let event = world.emit("a.b", &json!(2));
    let delivery = world.ended(&event);
    assert_eq!(delivery["status"], "succeeded", "{delivery}");
    assert!(attempts(&delivery)[0]["phases"]["tls"].is_f64());
    let hooks = receiver.wait(1);
    check_standard(&hooks[0], KEY);
    assert_eq!(hooks[0].text(), "2");
}
