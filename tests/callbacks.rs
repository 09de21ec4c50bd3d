//! Callbacks, through the built binary: an event's own URL, from every door to the receiver and into history.

mod support;

use std::{
    fs,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use support::{
    config::{KEY, endpoint, profile, secret},
    eventually,
    receiver::{Receiver, Reply},
    sign::check_standard,
    world::{World, json_of, stderr, stdout},
};

/// Callbacks may go to this machine, over http, signed; their profile has this schedule and further `keys`.
fn config(retry: &[&str], keys: &str) -> String {
    let secret = secret();
    let account = format!("profile = \"p\"\nhttps_only = false\nsecret = \"{secret}\"\n");
    format!("network.allow = [\"127.0.0.0/8\"]\n[accounts.default]\n{account}{}", profile("p", retry, keys))
}

/// Hands in an event with this URL, which must be taken; gives back its id.
fn call(world: &World, url: &str) -> String {
    let answer = world.post(&json!({"type": "a.b", "data": {"n": 1}, "url": url}).to_string()).expect(202);
    answer["id"].as_str().expect("an id").to_owned()
}

/// Why an event is not taken: code and message.
fn refused(world: &World, event: &Value) -> (String, String) {
    let answer = world.post(&event.to_string()).expect(422);
    let text = |key: &str| answer[key].as_str().expect("a text").to_owned();
    (text("code"), text("detail"))
}

/// A URL where nobody listens.
fn dead() -> String {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    format!("http://{}/dead", port.expect("a port"))
}

/// Waits until an event's only delivery waits for this.
fn waits(world: &World, event: &str, waiting: &str) -> Value {
    eventually(&format!("it waits for {waiting}"), || {
        let delivery = world.delivery(event);
        (delivery["waiting"] == waiting).then_some(delivery)
    })
}

#[test]
fn callbacks_to_one_origin_keep_the_order_where_their_profile_says_so() {
    let freed = Arc::new(AtomicBool::new(false));
    let is_free = Arc::clone(&freed);
    let receiver = Receiver::answering(move |hook| {
        let held = hook.path == "/a0" && !is_free.load(Ordering::SeqCst);
        Reply::Status(if held { 503 } else { 200 })
    });
    let other = Receiver::start();
    let world = World::running(&config(&["20ms"; 250], "order = \"fifo\"\n"));
    for (to, path, key) in
        [(&receiver, "/a0", "a"), (&receiver, "/a1", "a"), (&other, "/a2", "a"), (&receiver, "/b0", "b")]
    {
        let event = json!({"type": "a.b", "data": {"n": 1}, "url": to.url(path), "key": key});
        world.post(&event.to_string()).expect(202);
    }
    // Neither another key nor another origin waits for the first.
    receiver.wait_at("/b0", 1);
    other.wait_at("/a2", 1);
    assert!(receiver.hooks_at("/a1").is_empty());
    freed.store(true, Ordering::SeqCst);
    world.settled();
    let last = receiver.hooks().pop().expect("some came");
    assert_eq!((last.path.as_str(), receiver.hooks_at("/a1").len()), ("/a1", 1));
}

#[test]
fn an_event_goes_to_its_url_besides_the_endpoints_that_match() {
    let receiver = Receiver::start();
    let text = config(&["0s"], "") + &endpoint("erp", &receiver.url("/erp"), &["a.*"], "p");
    let world = World::running(&text);
    let url = receiver.url("/jobs/7?token=x%20y");
    let output = world.cli(&["emit", "a.b", "{\"n\":1}", "--url", &url]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let event = stdout(&output).trim().to_owned();
    receiver.wait(2);
    world.settled();
    for path in ["/erp", "/jobs/7?token=x%20y"] {
        let hook = &receiver.wait_at(path, 1)[0];
        assert_eq!((hook.method.as_str(), hook.text()), ("POST", "{\"n\":1}"));
        check_standard(hook, KEY);
    }
    let shown = world.event(&event);
    assert_eq!(shown["url"], json!(url));
    let deliveries = shown["deliveries"].as_array().expect("a list");
    assert_eq!(deliveries.len(), 2);
    let callback = deliveries.iter().find(|one| one["callback"] == json!(url)).expect("a callback");
    assert_eq!((&callback["endpoint_id"], &callback["endpoint"]), (&Value::Null, &Value::Null));
    let other = deliveries.iter().find(|one| one["endpoint"] == "erp").expect("a delivery");
    assert!(other["callback"].is_null() && other["endpoint_id"].is_string(), "{other}");
    let id = callback["id"].as_str().expect("an id");
    let whole = world.get(&format!("/v1/deliveries/{id}"));
    assert_eq!((&whole["status"], &whole["callback"]), (&json!("succeeded"), &json!(url)));
    let request = &whole["attempts"][0]["request"];
    assert_eq!((&request["url"], &request["body"]), (&json!(url), &json!("{\"n\":1}")));
    // It is nobody's endpoint.
    assert_eq!(world.get("/v1/endpoints")["items"].as_array().map(Vec::len), Some(1));
    let status = world.get("/v1/status");
    assert_eq!(status["callbacks"], json!({"origins": 1, "open_circuits": 0, "pending": 0, "held": []}));
    // What people see.
    let shown = stdout(&world.cli(&["delivery", "show", id]));
    assert!(shown.contains(&format!("\n  callback  {url}\n")), "{shown}");
    assert!(stdout(&world.cli(&["event", "show", &event])).contains(&format!("\n  url          {url}\n")));
    assert!(stdout(&world.cli(&["delivery", "list"])).contains(&url));
    assert!(stdout(&world.cli(&["status"])).contains("\ncallbacks    0 pending; 1 origin\n"));
    // The filter by endpoint is as it was.
    let listed = json_of(&world.cli(&["delivery", "list", "--endpoint", "erp", "--json"]));
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_may_not_be_called_is_refused_before_it_is_taken() {
    let secret = secret();
    let world =
        World::new(&format!("[[spool]]\npath = \"spool\"\n[accounts.default]\nsecret = \"{secret}\"\n"));
    fs::create_dir(world.path("spool")).expect("a directory");
    let mut world = world;
    world.start();
    let long = format!("https://a.example/{}", "x".repeat(2_048));
    let cases = [
        ("http://a.example/hook", "`https_only = false` under its [accounts.NAME]"),
        ("https://127.0.0.1/hook", "add `allow = [\"127.0.0.1/32\"]` under [network]"),
        ("https://localhost/hook", "allow = ["),
        ("https://192.168.7.1/hook", "add `allow = [\"192.168.7.1/32\"]` under [network]"),
        ("https://[fd00::1]/hook", "allow = ["),
        ("https://169.254.169.254/latest/meta-data", "allow = ["),
        ("https://me:hunter2@a.example/", "has a user or password in it"),
        ("https://a.example:22/", "has the port 22"),
        ("ftp://a.example/", "neither http nor https"),
        ("https://a.example/#x", "has a fragment"),
        ("a.example/hook", "is not a URL"),
        (long.as_str(), "make it 2048 bytes at most"),
    ];
    let mut stream = world.stream();
    for (number, (url, part)) in cases.into_iter().enumerate() {
        let event = json!({"type": "a.b", "data": {}, "url": url});
        let (code, message) = refused(&world, &event);
        assert_eq!(code, "url_refused", "{url}: {message}");
        assert!(message.contains(part) && !message.contains("hunter2"), "{url}: {message}");
        stream.send(format!("{event}\n"));
        let answer = stream.answer().expect("an answer");
        assert_eq!(answer["error"], json!({"code": code, "message": message}));
        // A file is taken whole or not at all.
        let name = format!("{number}.ndjson");
        let content = format!("{{\"type\":\"a.b\"}}\n{event}\n");
        fs::write(world.path("spool/x.tmp"), &content).expect("a file");
        fs::rename(world.path("spool/x.tmp"), world.path("spool").join(&name)).expect("it is renamed");
        let reason = eventually("it is refused", || {
            fs::read_to_string(world.path(&format!("spool/failed/{name}.reason"))).ok()
        });
        let reason: Value = serde_json::from_str(&reason).expect("JSON");
        assert!(reason.to_string().contains("url_refused"), "{reason}");
        eventually("it is put aside", || {
            let kept = fs::read_to_string(world.path(&format!("spool/failed/{name}"))).ok()?;
            (kept == content).then_some(())
        });
    }
    // The stream goes on.
    stream.send("{\"type\":\"a.b\"}\n");
    assert!(stream.answer().expect("an answer")["id"].is_string());
    assert_eq!(world.list("/v1/events").len(), 1, "nothing else was taken");
    assert_eq!(world.get("/v1/status")["callbacks"]["origins"], 0);
}

#[test]
fn a_signing_profile_needs_the_accounts_secret() {
    let receiver = Receiver::start();
    let text = "network.allow = [\"127.0.0.0/8\"]\n[accounts.default]\nhttps_only = false\n\
                [accounts.plain]\nhttps_only = false\nprofile = \"u\"\n";
    let world = World::running(&(text.to_owned() + &profile("u", &["0s"], "signature.algorithm = \"none\"")));
    let url = receiver.url("/x");
    let (code, message) = refused(&world, &json!({"type": "a.b", "url": url}));
    assert_eq!(code, "secret_missing");
    assert!(message.contains("`posthaste` signs") && message.contains("[accounts.default]"), "{message}");
    let mut stream = world.stream();
    stream.send(json!({"type": "a.b", "url": url}).to_string() + "\n");
    assert_eq!(stream.answer().expect("an answer")["error"]["code"], "secret_missing");
    // Without a callback it is taken, and so is one that nothing signs.
    world.emit("a.b", &json!({}));
    world.post(&json!({"type": "a.b", "url": url, "account": "plain"}).to_string()).expect(202);
    assert!(receiver.wait(1)[0].headers.iter().all(|(name, _)| name != "webhook-signature"));
}

#[test]
fn a_credential_that_is_missing_holds_them() {
    let receiver = Receiver::start();
    let text = config(&["0s"], "").replace(&secret(), "@credential:callbacks");
    let mut world = World::new(&text);
    let credentials = world.path("credentials");
    fs::create_dir(&credentials).expect("a directory");
    world.set_env("CREDENTIALS_DIRECTORY", &credentials);
    world.start();
    world.logs(1, "the credential `callbacks` of the account `default`");
    let event = call(&world, &receiver.url("/x"));
    waits(&world, &event, "disabled");
    let held = world.get("/v1/status")["callbacks"]["held"].clone();
    assert_eq!((&held[0]["reason"], &held[0]["pending"]), (&json!("no_credential"), &json!(1)));
    assert!(held[0]["help"].as_str().is_some_and(|help| help.contains("`callbacks`")), "{held}");
    assert!(receiver.hooks().is_empty());
    world.stop();
    world.start();
    waits(&world, &event, "disabled");
    world.kill();
    fs::write(credentials.join("callbacks"), secret()).expect("a file");
    world.start();
    assert_eq!(world.ended(&event)["status"], "succeeded");
    check_standard(&receiver.wait(1)[0], KEY);
    assert_eq!(world.get("/v1/status")["callbacks"]["held"], json!([]));
}

#[test]
fn restarts_keep_them() {
    let well = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&well);
    let receiver =
        Receiver::answering(move |_| Reply::Status(if says.load(Ordering::SeqCst) { 200 } else { 500 }));
    let mut delays = vec!["0s"];
    delays.extend(["200ms"; 100]);
    let mut world = World::running(&config(
        &delays,
        "headers = { X-Origin = \"{endpoint_id}\", Webhook-Id = \"{delivery_id}\" }",
    ));
    let events: Vec<_> = (0..3).map(|n| call(&world, &receiver.url(&format!("/jobs/{n}?n={n}")))).collect();
    receiver.wait(3);
    world.stop();
    let came = receiver.hooks().len();
    world.start();
    receiver.wait(came + 3);
    world.kill();
    let came = receiver.hooks().len();
    world.start();
    receiver.wait(came + 3);
    let new = call(&world, &receiver.url("/new"));
    well.store(true, Ordering::SeqCst);
    for (n, event) in events.iter().enumerate() {
        let delivery = world.ended(event);
        assert_eq!(delivery["status"], "succeeded");
        let hooks = receiver.hooks_at(&format!("/jobs/{n}?n={n}"));
        assert!(hooks.iter().all(|hook| hook.header("webhook-id") == delivery["id"]), "{delivery}");
    }
    world.ended(&new);
    let hooks = receiver.hooks();
    assert!(hooks.iter().all(|hook| hook.header("x-origin") == hooks[0].header("x-origin")), "one origin");
    assert_eq!(world.get("/v1/status")["callbacks"]["origins"], 1);
}

#[test]
fn an_origin_has_one_lane_and_one_pool() {
    let receiver = Receiver::answering(|hook| match hook.path.as_str() {
        "/a" => Reply::Held(204),
        _ => Reply::Status(204),
    });
    let world = World::running(&config(&["0s"], "concurrency = 1"));
    let first = call(&world, &receiver.url("/a"));
    receiver.wait_at("/a", 1);
    let second = call(&world, &receiver.url("/b"));
    waits(&world, &second, "turn");
    receiver.release();
    world.ended(&first);
    world.ended(&second);
    let hooks = receiver.wait(2);
    assert_eq!(hooks[0].from, hooks[1].from, "over the same connection");
    assert_eq!(world.get("/v1/status")["callbacks"]["origins"], 1);
}

#[test]
fn a_dead_origin_holds_nobody_up() {
    let silent = Receiver::answering(|_| Reply::Never);
    let others: Vec<_> = (0..10).map(|_| Receiver::start()).collect();
    let world = World::running(&config(&["0s", "1h"], "timeout = \"30s\""));
    let stuck: Vec<_> = (0..40).map(|_| call(&world, &silent.url("/x"))).collect();
    let dead = dead();
    let failed: Vec<_> = (0..40).map(|_| call(&world, &dead)).collect();
    for round in 1..=3 {
        for other in &others {
            call(&world, &other.url("/x"));
        }
        for other in &others {
            other.wait(round);
        }
    }
    assert_eq!(world.get("/v1/status")["callbacks"]["origins"], 12);
    for event in [&stuck[0], &failed[0]] {
        assert_eq!(world.delivery(event)["status"], "pending");
    }
}

#[test]
fn a_circuit_is_its_origins() {
    let ill = Receiver::answering(|_| Reply::Status(500));
    let well = Receiver::start();
    let world = World::running(&config(&["0s", "0s", "0s", "0s"], "circuit = 2\nprobe = [\"1h\"]"));
    let event = call(&world, &ill.url("/a"));
    waits(&world, &event, "circuit");
    waits(&world, &call(&world, &ill.url("/b")), "circuit");
    assert_eq!(world.ended(&call(&world, &well.url("/a")))["status"], "succeeded");
    assert_eq!(ill.hooks().len(), 2);
    let status = world.get("/v1/status");
    assert_eq!(status["callbacks"]["open_circuits"], 1);
    assert_eq!(status["open_circuits"], json!([]), "it is no endpoint's");
}

#[test]
fn nothing_disables_where_callbacks_go() {
    let receiver = Receiver::answering(|hook| {
        Reply::Status(match hook.path.as_str() {
            "/gone" => 410,
            "/ill" => 500,
            _ => 200,
        })
    });
    let mut world = World::running(&config(&["0s"], "gone_disables = true\ndisable_after = 1"));
    for (path, reason) in [("/gone", json!("gone")), ("/ill", json!("exhausted")), ("/well", Value::Null)] {
        assert_eq!(world.ended(&call(&world, &receiver.url(path)))["reason"], reason, "{path}");
    }
    world.ended(&call(&world, &receiver.url("/gone")));
    world.stop();
    world.start();
    assert_eq!(world.ended(&call(&world, &receiver.url("/well")))["status"], "succeeded");
    assert_eq!(world.get("/v1/status")["disabled_endpoints"], json!([]));
}

#[test]
fn a_type_without_effect_is_kept_and_called_nowhere() {
    let receiver = Receiver::start();
    let catalog = "[[accounts.default.event_type]]\nname = \"a.b\"\neffect = \"none\"\n\
                   [[accounts.default.event_type]]\nname = \"a.c\"\n";
    let world = World::running(&(config(&["0s"], "") + catalog));
    let event = call(&world, &receiver.url("/x"));
    let shown = world.event(&event);
    assert_eq!((&shown["effect"], &shown["deliveries"]), (&json!("none"), &json!([])));
    assert_eq!(shown["url"], json!(receiver.url("/x")));
    let live = world.post(&json!({"type": "a.c", "url": receiver.url("/y")}).to_string()).expect(202);
    world.ended(live["id"].as_str().expect("an id"));
    assert_eq!(receiver.hooks().len(), 1);
    assert_eq!(refused(&world, &json!({"type": "a.b", "url": "nowhere"})).0, "url_refused", "all the same");
}

#[test]
fn streams_batches_and_files_have_them_too() {
    let receiver = Receiver::start();
    let text = config(&["0s"], "") + "[[spool]]\npath = \"spool\"\n";
    let world = World::new(&text);
    fs::create_dir(world.path("spool")).expect("a directory");
    let mut world = world;
    world.start();
    let line = |path: &str| json!({"type": "a.b", "url": receiver.url(path)}).to_string() + "\n";
    let mut stream = world.stream();
    stream.send(line("/s1") + "{\"type\":\"a.b\",\"url\":\"no\"}\n" + &line("/s2"));
    let answers = stream.answers(3);
    assert!(answers[0]["id"].is_string() && answers[2]["id"].is_string(), "{answers:?}");
    assert_eq!(answers[1]["error"]["code"], "url_refused");
    let body = line("/b1") + "{\"type\":\"a.b\",\"url\":\"no\"}\n" + &line("/b2");
    let headers = [("content-type", "application/x-ndjson")];
    let items = world.request("POST", "/v1/events", &headers, body.as_bytes()).expect(202);
    assert_eq!(items["items"][1]["error"]["code"], "url_refused");
    for (name, content) in [("one.json", line("/f1")), ("many.ndjson", line("/f2") + &line("/f3"))] {
        fs::write(world.path("spool/.x"), content).expect("a file");
        fs::rename(world.path("spool/.x"), world.path("spool").join(name)).expect("it is renamed");
    }
    for path in ["/s1", "/s2", "/b1", "/b2", "/f1", "/f2", "/f3"] {
        receiver.wait_at(path, 1);
    }
    world.settled();
    assert_eq!(receiver.hooks().len(), 7);
}

#[test]
fn the_url_is_part_of_what_an_event_says() {
    let receiver = Receiver::start();
    let world = World::running(&config(&["0s"], ""));
    let event = |url: Option<&str>| {
        let mut event = json!({"type": "a.b", "data": 1, "id": "p-1"});
        if let Some(url) = url {
            event["url"] = json!(url);
        }
        world.post(&event.to_string())
    };
    let url = receiver.url("/x");
    let first = event(Some(&url)).expect(202);
    let again = event(Some(&url.replace("http:", "HTTP:"))).expect(202);
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)), "the same URL");
    assert_eq!(event(Some(&receiver.url("/y"))).expect(409)["code"], "id_conflict");
    assert_eq!(event(None).expect(409)["code"], "id_conflict");
    world.settled();
    assert_eq!(receiver.hooks().len(), 1);
}

#[test]
fn where_the_configuration_lets_nothing_go_any_more_they_are_held() {
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 500 } else { 200 }));
    let text = config(&["0s", "300ms"], "");
    let mut world = World::running(&text);
    let event = call(&world, &receiver.url("/x"));
    receiver.wait(1);
    world.kill();
    for (allowed, closed) in [
        ("network.allow = [\"127.0.0.0/8\"]", "network.allow = []"),
        ("https_only = false", "https_only = true"),
    ] {
        world.configure(&text.replace(allowed, closed));
        world.start();
        waits(&world, &event, "disabled");
        let one = world.get("/v1/status")["callbacks"]["held"][0].clone();
        assert_eq!((&one["reason"], &one["pending"]), (&json!("unfit"), &json!(1)), "{closed}");
        let help = one["help"].as_str().expect("a text");
        assert!(help.contains("`allow`") && help.contains("`https_only`"), "{help}");
        world.stop();
    }
    assert_eq!(receiver.hooks().len(), 1);
    world.configure(&text);
    world.start();
    assert_eq!(world.ended(&event)["status"], "succeeded");
}

#[test]
fn without_their_account_they_are_held() {
    let well = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&well);
    let receiver =
        Receiver::answering(move |_| Reply::Status(if says.load(Ordering::SeqCst) { 200 } else { 500 }));
    let text = config(&["0s", "100ms", "100ms", "100ms", "100ms", "100ms", "1h"], "");
    let shop = text.replace("[accounts.default]", "[accounts.shop]");
    let mut world = World::running(&shop);
    let event = json!({"type": "a.b", "account": "shop", "url": receiver.url("/x")});
    let event = world.post(&event.to_string()).expect(202)["id"].as_str().expect("an id").to_owned();
    receiver.wait(1);
    world.stop();
    world.configure(&text);
    world.start();
    waits(&world, &event, "disabled");
    let held = world.get("/v1/status")["callbacks"]["held"].clone();
    assert_eq!((&held[0]["account"], &held[0]["reason"]), (&json!("shop"), &json!("not_configured")));
    world.kill();
    well.store(true, Ordering::SeqCst);
    // Its secret is gone: it signs, and has none.
    world.configure(&shop.replace("secret = ", "# "));
    world.start();
    waits(&world, &event, "disabled");
    assert_eq!(world.get("/v1/status")["callbacks"]["held"][0]["reason"], "unfit");
    world.stop();
    world.configure(&shop);
    world.start();
    assert_eq!(world.ended(&event)["status"], "succeeded");
}

#[test]
fn an_origin_is_no_endpoint_of_the_api() {
    let receiver = Receiver::start();
    let keys = "headers = { X-Origin = \"{endpoint_id}\" }";
    let text = config(&["0s"], keys).replace("profile = \"p\"", "profile = \"p\"\nmax_endpoints = 1");
    let world = World::running(&text);
    world.ended(&call(&world, &receiver.url("/x")));
    let id = receiver.wait(1)[0].header("x-origin").to_owned();
    assert!(id.starts_with("ep_"), "{id}");
    let path = format!("/v1/endpoints/{id}");
    let json = [("content-type", "application/json")];
    for (method, path, body) in [
        ("GET", path.clone(), ""),
        ("PATCH", path.clone(), "{}"),
        ("DELETE", path.clone(), ""),
        ("POST", format!("{path}/enable"), "{}"),
        ("POST", format!("{path}/disable"), ""),
        ("POST", format!("{path}/test"), "{}"),
        ("POST", format!("{path}/rotate-secret"), "{}"),
        ("GET", format!("{path}/secret"), ""),
        ("GET", format!("{path}/deliveries"), ""),
        ("GET", format!("/v1/deliveries?endpoint={id}"), ""),
    ] {
        let answer = world.request(method, &path, &json, body.as_bytes());
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
    }
    assert_eq!(world.list("/v1/endpoints").len(), 0);
    let new = json!({"url": receiver.url("/e"), "event_types": ["*"]}).to_string();
    world.request("POST", "/v1/endpoints", &json, new.as_bytes()).expect(201);
}

#[test]
fn only_so_many_origins_are_remembered() {
    let receivers: Vec<_> = (0..6).map(|_| Receiver::start()).collect();
    let keys = "headers = { X-Origin = \"{endpoint_id}\" }";
    let text = config(&["0s", "1h"], keys).replace("profile = \"p\"", "profile = \"p\"\nmax_origins = 2");
    let mut world = World::running(&text);
    let mut events = Vec::new();
    let go_round = |world: &World, events: &mut Vec<String>| {
        for receiver in &receivers {
            let event = call(world, &receiver.url("/x"));
            world.ended(&event);
            events.push(event);
        }
        let origins = world.get("/v1/status")["callbacks"]["origins"].as_u64().expect("a number");
        assert!(origins <= 2, "{origins}");
    };
    go_round(&world, &mut events);
    world.kill();
    world.start();
    world.settled();
    go_round(&world, &mut events);
    // Each has another number, which none had before.
    let all = receivers.iter().flat_map(Receiver::hooks);
    let mut numbers: Vec<_> = all.map(|hook| hook.header("x-origin").to_owned()).collect();
    assert_eq!(numbers.len(), 12);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 12, "{numbers:?}");
    // Their history stays.
    for (number, event) in events.iter().enumerate() {
        let delivery = world.delivery(event);
        assert_eq!(delivery["callback"], json!(receivers[number % 6].url("/x")));
        assert_eq!(delivery["attempts"][0]["response"]["status_code"], 204);
    }
    // Where something is pending for all of them, there is no place; nothing else waits for that.
    let (a, b) = (dead(), dead());
    for url in [&a, &b] {
        let event = call(&world, url);
        eventually("it is tried", || (world.delivery(&event)["attempt"] == 1).then_some(()));
    }
    let event = call(&world, &receivers[0].url("/full"));
    let delivery = world.delivery(&event);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("endpoint_full")));
    assert_eq!(delivery["callback"], json!(receivers[0].url("/full")));
    assert!(receivers[0].hooks_at("/full").is_empty());
    world.stop();
    world.start();
    world.settled_to(2);
    assert_eq!(world.delivery(&event)["reason"], "endpoint_full");
    // To those that are known they go.
    assert_eq!(world.delivery(&call(&world, &a))["status"], "pending");
}
