//! The API over TCP: TLS, what is spoken there, who may ask under which name, and what those cannot do who mean no good.
//! And the ids of requests, through whichever door they come.

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
};

use serde_json::json;
use support::{
    api::Api,
    authority::Authority,
    eventually,
    world::{World, stderr, stdout},
};

const PLAIN: &str = "listen.http = \"127.0.0.1:0\"\n";
const TLS: &str =
    "listen.http = \"127.0.0.1:0\"\nlisten.tls_certificate = \"cert.pem\"\nlisten.tls_key = \"key.pem\"\n";

fn operator(world: &World) -> String {
    let made = world.request(
        "POST",
        "/v1/keys",
        &[("content-type", "application/json")],
        json!({"role": "operator"}).to_string().as_bytes(),
    );
    made.expect(201)["key"].as_str().expect("a key").to_owned()
}

/// Certificate and key for `localhost`, of a mode.
fn certify(world: &World, authority: &Authority, mode: u32) {
    let (certificate, key) = authority.certify("localhost", 2099);
    fs::write(world.path("cert.pem"), certificate.pem()).expect("written");
    fs::write(world.path("key.pem"), key.serialize_pem()).expect("written");
    fs::set_permissions(world.path("key.pem"), fs::Permissions::from_mode(mode)).expect("ours");
}

#[test]
fn https_with_a_key() {
    let (mut world, authority) = (World::new(TLS), Authority::new("box"));
    certify(&world, &authority, 0o604);
    world.start();
    let plain = Api::of(&world);
    let api = plain.clone().over_tls(&authority).with_key(&operator(&world));
    let event = api.post("/v1/events", r#"{"type":"a.b","data":{"n":1}}"#).expect(202);
    let id = event["id"].as_str().expect("an id");
    assert_eq!(world.event(id)["uid"], json!(null), "nobody of this machine");
    let mut open = api.connect().expect("a connection");
    for _ in 0..3 {
        api.send(&mut open, "GET", &format!("/v1/events/{id}"), &[], b"").expect("an answer").expect(200);
    }
    // Whoever speaks no TLS there, or another protocol over it, is not served.
    let mut stream = plain.connect().expect("it listens");
    assert!(plain.send(&mut stream, "GET", "/healthz", &[], b"").is_err());
    world.logs(1, "everybody on this machine may read the key");
    world.stop();
    certify(&world, &authority, 0o600);
    fs::write(world.path("daemon.log"), "").expect("emptied");
    world.start();
    assert!(!world.log().contains("everybody on this machine"), "{}", world.log());
}

#[test]
fn http_alone_is_spoken() {
    let world = World::running(PLAIN);
    let api = Api::of(&world).with_key(&operator(&world));
    for first in [
        &b"{\"type\":\"a.b\"}\n"[..],
        b"\x81\xa4type\xa3a.b",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ] {
        let mut stream = api.connect().expect("it listens");
        stream.write_all(first).expect("it is taken");
        let mut answer = Vec::new();
        // It may be reset: what was sent is not read to its end.
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("\"id\"") && !text.contains(" 200 "), "{text}");
    }
    assert!(world.list("/v1/events").is_empty(), "nothing was taken");
}

#[test]
fn a_body_says_what_it_is() {
    let world = World::running(PLAIN);
    let api = Api::of(&world).with_key(&operator(&world));
    let event = br#"{"type":"a.b"}"#;
    let post = |path: &str, content_type: &str, body: &[u8]| {
        api.request("POST", path, &[("content-type", content_type)], body)
    };
    for content_type in
        ["", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"]
    {
        for path in ["/v1/events", "/v1/keys", "/v1/endpoints"] {
            let detail = post(path, content_type, event).problem(415, "unsupported_media_type");
            assert!(detail.contains("application/json"), "{detail}");
        }
    }
    let cloud = [("content-type", ""), ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/a")];
    api.request("POST", "/v1/events", &[&cloud[..], &[("ce-type", "a.b")]].concat(), b"{}")
        .problem(415, "unsupported_media_type");
    assert!(world.list("/v1/events").is_empty());
    post("/v1/events", "application/json; charset=utf-8", event).expect(202);
    post("/v1/events", "application/x-ndjson", event).expect(202);
    // On the socket it is JSON as ever, and nothing is nothing.
    world.request("POST", "/v1/events", &[], event).expect(202);
    post("/v1/endpoints", "", b"").problem(400, "bad_request");
}

#[test]
fn no_page_in_a_browser_gets_there_under_a_name_of_its_own() {
    let world = World::running("listen.http = \"127.0.0.1:0\"\nlisten.http_names = [\"Box.example\"]\n");
    let api = Api::of(&world).with_key(&operator(&world));
    let ask = |host: &str, path: &str| api.request("GET", path, &[("host", host)], b"");
    for host in ["evil.example", "evil.example:8470", "localhost.evil.example", "127.0.0.1.evil.example"] {
        for path in ["/healthz", "/v1/status"] {
            let detail = ask(host, path).problem(403, "host_not_allowed");
            assert!(detail.contains("http_names"), "{detail}");
        }
    }
    ask("127.0.0.1", "http://evil.example/v1/status").problem(403, "host_not_allowed");
    ask("", "/v1/status").problem(403, "host_not_allowed");
    api.request("GET", "/v1/status", &[("host", "localhost"), ("host", "evil.example")], b"")
        .problem(403, "host_not_allowed");
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:8470", "box.example", "BOX.example:443"] {
        ask(host, "/v1/status").expect(200);
    }
    // What looks after a proxy's servers may speak HTTP/1.0 and name none.
    let mut stream = api.connect().expect("it listens");
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Nor does anything there invite it.
    let asked = [("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    let answer = api.request("OPTIONS", "/v1/events", &asked, b"");
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST, GET");
    assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control")), "{answer:?}");
}

#[test]
fn what_is_wrong_in_the_configuration_is_said() {
    let (world, authority) = (World::new(""), Authority::new("box"));
    certify(&world, &authority, 0o600);
    let (_, other) = authority.certify("localhost", 2099);
    fs::write(world.path("other.pem"), other.serialize_pem()).expect("written");
    let files = "listen.tls_certificate = \"cert.pem\"\nlisten.tls_key = \"key.pem\"\n";
    let said = |text: &str, parts: &[&str]| {
        world.configure(text);
        let output = world.cli(&["check", "--config", "posthaste.toml"]);
        let text = format!("{}{}", stdout(&output), stderr(&output));
        for part in parts {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        output.status.code()
    };
    for address in ["0.0.0.0:8470", "[::]:8470", "192.0.2.7:8470"] {
        let text = format!("listen.http = \"{address}\"\n");
        let parts = ["`listen.http` is beyond this machine", "tls_certificate", "posthaste.toml:"];
        assert_ne!(said(&text, &parts), Some(0), "{address}");
        assert_eq!(said(&format!("{text}{files}"), &["https"]), Some(0), "{address}");
    }
    for (text, parts) in [
        ("listen.http = \"localhost:8470\"\n", &["`listen.http` is no address with a port"][..]),
        ("listen.http = \"8470\"\n", &["127.0.0.1:8470"]),
        ("listen.tls_key = \"key.pem\"\n", &["`listen.tls_key` is there, and `listen.http` is not"]),
        (
            "listen.http = \"127.0.0.1:0\"\nlisten.tls_key = \"key.pem\"\n",
            &["`listen.tls_key` is there without `listen.tls_certificate`"],
        ),
        (
            "listen.http = \"127.0.0.1:0\"\nlisten.tls_certificate = \"cert.pem\"\nlisten.tls_key = \"other.pem\"\n",
            &[
                "`listen.tls_key` names a file that cannot be used",
                "does not belong to the first certificate",
            ],
        ),
        (
            "listen.http = \"127.0.0.1:0\"\nlisten.tls_certificate = \"none.pem\"\nlisten.tls_key = \"key.pem\"\n",
            &["`listen.tls_certificate` names a file that cannot be read: No such file"],
        ),
        ("listen.http = \"127.0.0.1:0\"\nlisten.http_names = [\"a:1\"]\n", &["no host's name"]),
    ] {
        assert_ne!(said(text, parts), Some(0), "{text}");
    }
    assert!(!fs::read_to_string(world.path("key.pem")).expect("a key").is_empty());
}

#[test]
fn an_address_that_cannot_be_had_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    for (address, code, part) in [
        (address.to_string(), 75, format!("{address} is in use")),
        ("192.0.2.7:8470".to_owned(), 75, "192.0.2.7:8470 is no address of this machine".to_owned()),
    ] {
        let (mut world, authority) = (World::new(""), Authority::new("box"));
        certify(&world, &authority, 0o600);
        world.configure(&format!(
            "listen.http = \"{address}\"\nlisten.tls_certificate = \"cert.pem\"\nlisten.tls_key = \"key.pem\"\n"
        ));
        world.spawn();
        assert_eq!(world.wait().code(), Some(code), "{}", world.log());
        assert!(world.log().contains(&part), "{}", world.log());
        assert!(!world.socket().exists(), "it leaves no socket behind");
    }
}

/// So many connections that say nothing, of each of these addresses.
fn idle(api: &Api, addresses: std::ops::Range<u8>, each: usize) -> Vec<std::net::TcpStream> {
    let connect = |last| {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        (0..each).filter_map(move |_| api.connect_from(from).ok())
    };
    addresses.flat_map(connect).collect()
}

#[test]
fn a_thousand_that_say_nothing_keep_nobody_from_the_socket() {
    let (mut world, authority) =
        (World::new(&format!("{TLS}limits.connections_per_address = 30\n")), Authority::new("box"));
    certify(&world, &authority, 0o600);
    world.start();
    let key = operator(&world);
    let api = Api::of(&world).over_tls(&authority).with_key(&key);
    let before = world.peak_memory();
    // One address has its part, and no more of it: others get in.
    let one = idle(&api, 9..10, 600);
    assert_eq!(one.len(), 600, "more than there are places");
    api.get("/v1/status").expect(200);
    // All places are taken: the socket has its own.
    let all = idle(&api, 10..42, 32);
    assert!(all.len() > 1_000);
    for number in 0..50 {
        world.emit("a.b", &json!({"n": number}));
    }
    world.get("/v1/status");
    let grown = world.peak_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes for connections that say nothing");
    drop((one, all));
    eventually("their places are free again", || {
        let mut stream = api.connect().ok()?;
        let answer = api.send(&mut stream, "GET", "/v1/status", &[], b"").ok()?;
        (answer.status == 200).then_some(())
    });
}

#[test]
fn a_handshake_that_trickles_in_is_ended() {
    let (mut world, authority) = (World::new(TLS), Authority::new("box"));
    certify(&world, &authority, 0o600);
    world.start();
    let api = Api::of(&world);
    // The beginning of a ClientHello of 512 bytes, and then nothing.
    let mut slow = api.connect_from(IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("it listens");
    slow.write_all(b"\x16\x03\x01\x02\x00\x01").expect("it is taken");
    let begun = support::now();
    let mut rest = Vec::new();
    let ended = slow.read_to_end(&mut rest);
    assert!(ended.is_ok() || begun.elapsed() < support::DEADLINE, "{ended:?}");
    assert!(rest.is_empty() && begun.elapsed().as_secs() >= 5, "{rest:?} after {:?}", begun.elapsed());
}

#[test]
fn memory_does_not_grow_with_requests() {
    let world = World::running(&format!("{PLAIN}limits.connections_per_address = 400\n"));
    let api = Api::of(&world).with_key(&operator(&world));
    let ask = |count: usize| {
        let mut open = api.connect().expect("it listens");
        for number in 0..count {
            let wrong = [("authorization", "Bearer phk_none"), ("x-request-id", &*format!("r{number}"))];
            let answer = api.send(&mut open, "GET", "/v1/events", &wrong, b"").expect("an answer");
            assert!([401, 429].contains(&answer.status), "{}", answer.text());
            // Whoever shows too many is hung up on.
            if answer.headers.iter().any(|(name, value)| name == "connection" && value == "close") {
                open = api.connect().expect("it listens");
            }
            api.send(&mut open, "GET", "/v1/status", &[], b"").expect("an answer").expect(200);
        }
    };
    ask(100);
    let before = world.peak_memory();
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| ask(250)))));
    let grown = world.peak_memory() - before;
    assert!(grown < 16 << 20, "{grown} bytes for a thousand requests");
}

#[test]
fn every_answer_has_the_id_of_its_request() {
    let world = World::running(PLAIN);
    let api = Api::of(&world).with_key(&operator(&world));
    let long = "x".repeat(128);
    for sent in ["abc-7", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &long] {
        for (path, status) in
            [("/v1/status", 200), ("/v1/nothing", 404), ("/healthz", 200), ("/v1/events?x=1", 400)]
        {
            let headers = [("x-request-id", sent)];
            let answers =
                [api.request("GET", path, &headers, b""), world.request("GET", path, &headers, b"")];
            for answer in answers {
                assert_eq!((answer.status, answer.header("x-request-id")), (status, sent), "{path}");
                assert!(status < 400 || answer.json()["request_id"] == sent, "{}", answer.text());
            }
        }
    }
    let longer = "x".repeat(129);
    let mut made = Vec::new();
    for sent in ["a b", "a\"b", &longer] {
        let headers = [("x-request-id", sent)];
        let answers = [
            api.request("GET", "/v1/nothing", &headers, b""),
            world.request("GET", "/v1/nothing", &headers, b""),
            api.request("GET", "/v1/status", &[], b""),
            api.request("GET", "/v1/events", &[("authorization", "")], b""),
            api.request("GET", "/healthz", &[("host", "evil.example")], b""),
        ];
        made.extend(answers.map(|answer| answer.header("x-request-id").to_owned()));
    }
    assert!(made.iter().all(|id| id.starts_with("req_") && id.len() == 30), "{made:?}");
    let count = made.len();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), count, "no two are the same");
}

#[test]
fn the_log_tells_requests_apart_and_no_secret() {
    let mut world = World::new(PLAIN);
    world.set_env("POSTHASTE_LOG", Path::new("trace"));
    world.start();
    let key = operator(&world);
    let api = Api::of(&world);
    let secret = json!({"url": "https://a.example/", "event_types": ["*"]}).to_string();
    let made = api.with_key(&key).post("/v1/endpoints", &secret).expect(201);
    let endpoint = made["id"].as_str().expect("an id");
    api.with_key(&key).get(&format!("/v1/endpoints/{endpoint}/secret")).expect(200);
    let wrong = "phk_01m8q7vp28ffcakrqjsf6cwjvhnotthesecret";
    for value in [format!("Bearer {wrong}"), format!("Basic {key}")] {
        let headers = [("authorization", value.as_str()), ("x-request-id", "wrong-7")];
        assert_eq!(api.request("GET", "/v1/events?secret=query", &headers, b"").status, 401);
    }
    let line = "a request was refused request_id=\"wrong-7\" method=GET path=\"/v1/events\" status=401";
    eventually("it is in the log", || world.log().contains(line).then_some(()));
    world.stop();
    let log = world.log();
    let secret = made["secret"].as_str().expect("a secret");
    for part in [&key[4..], &key[30..82], wrong, &wrong[30..], secret, "secret=query"] {
        assert!(!log.contains(part), "{part} is in the log: {log}");
    }
}
