//! Events in MessagePack and as CloudEvents, through every door that takes them.

mod support;

use std::{fs, io::Write as _, net::Shutdown, thread};

use serde::Serialize;
use serde_bytes::Bytes;
use serde_json::{Value, json};
use support::{
    config::endpoint,
    eventually,
    receiver::{Hook, Receiver},
    world::World,
};

const MESSAGE: (&str, &str) = ("content-type", "application/msgpack");
const CLOUD: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

fn world_with(receiver: &Receiver, keys: &str) -> World {
    World::running(&format!("{keys}\n{}", endpoint("erp", &receiver.url("/"), &["*"], "raw")))
}

fn pack(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("it is MessagePack")
}

fn numbered(n: u64) -> Vec<u8> {
    pack(&json!({"type": "a.b", "data": {"n": n}}))
}

/// An event whose payload is bytes.
fn with_bytes(event_type: &str, content_type: &str, data: &[u8]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Event<'a> {
        r#type: &'a str,
        content_type: &'a str,
        data: &'a Bytes,
    }
    pack(&Event { r#type: event_type, content_type, data: Bytes::new(data) })
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}"))
}

/// The code of a refusal, whose message has `part`.
fn assert_refused(answer: &Value, code: &str, part: &str) {
    assert_eq!(answer["error"]["code"], code, "{answer}");
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.contains(part), "{message}");
}

fn numbers(hooks: &[std::sync::Arc<Hook>]) -> Vec<u64> {
    let mut numbers: Vec<_> = hooks.iter().map(|hook| hook.json()["n"].as_u64().expect("n")).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn thousands_of_events_on_a_stream_are_answered_in_order_and_delivered_once() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let mut stream = world.stream();
    let mut writer = stream.writer().try_clone().expect("a second handle");
    let sending = thread::spawn(move || {
        let events: Vec<u8> = (0..3_000).flat_map(numbered).collect();
        writer.write_all(&events).expect("the daemon reads");
        writer.shutdown(Shutdown::Write).expect("the connection is open");
    });
    let answers = stream.messages(3_000);
    sending.join().expect("all was sent");
    stream.assert_ended();
    for n in [0, 1, 639, 640, 641, 1_500, 2_999] {
        let event = world.event(id(&answers[n]));
        assert_eq!((&event["data"], &event["content_type"]), (&json!({"n": n}), &json!("application/json")));
    }
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), (0..3_000).collect::<Vec<_>>());
}

#[test]
fn a_bad_item_is_answered_with_an_error_and_the_rest_is_taken() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "limits.event_size = \"4KiB\"\n");
    let deep = [&b"\x82\xa4type\xa1a\xa4data"[..], &[0x91; 129], &[0xc0]].concat();
    let deepest = [&b"\x82\xa4type\xa3a.b\xa4data\x81\xa1n"[..], &[0x91; 127], &[0xc0]].concat();
    let large = pack(&json!({"type": "a.b", "data": "x".repeat(5_000)}));
    let very_large = pack(&json!({"type": "a.b", "data": "x".repeat(3 << 20)}));
    // 2,000 bytes, and 12,000 as JSON.
    let growing = pack(&json!({"type": "a.b", "data": "\0".repeat(2_000)}));
    let items: [(&[u8], &str, &str); 17] = [
        (&numbered(1), "", ""),
        (&deep, "invalid_event", "item 2: `data` nests deeper than 128"),
        (
            b"\x82\xa4type\xa1a\xa4data\xd6\xff\x00\x00\x00\x00",
            "invalid_event",
            "item 3: `data`: an extension",
        ),
        (b"\x81\xa4type\xc7\x03\x05xyz", "invalid_event", "`type` is an extension (ext); write a text"),
        (&large, "event_too_large", "item 5: an event has at most 4KiB"),
        (&very_large, "event_too_large", "item 6:"),
        (&growing, "event_too_large", "item 7: `data` as JSON has more than 4KiB"),
        (&numbered(2), "", ""),
        (&pack(&json!({"typ": "a.b"})), "invalid_event", "did you mean `type`?"),
        (
            &pack(&json!([1, {"a": [2]}])),
            "invalid_event",
            "this is an array; several events are written one after the other",
        ),
        (b"\n", "invalid_event", "this is an integer"),
        (&pack(&json!({"type": "a.b", "account": "nobody"})), "unknown_account", "no account `nobody`"),
        (b"\x82\xa4type\xa1a\xa4data\xa1\xff", "invalid_event", "not valid UTF-8"),
        (b"\x82\xa4type\xa1a\xa4data\xca\x7f\xc0\x00\x00", "invalid_event", "NaN and infinity"),
        (
            b"\x82\xa4type\xa1a\xa4data\x81\x01\x02",
            "invalid_event",
            "a key of a map must be a text, and is an integer",
        ),
        (&deepest, "", ""),
        (&numbered(3), "", ""),
    ];
    let mut stream = world.stream();
    for (item, _, _) in items {
        stream.send(item);
    }
    for (_, code, part) in items {
        let answer = stream.message();
        if code.is_empty() {
            id(&answer);
        } else {
            assert_refused(&answer, code, part);
            assert!(!answer.to_string().contains("xxxx"), "{answer}");
        }
    }
    stream.finish();
    stream.assert_ended();
    world.settled();
    assert_eq!(receiver.hooks().len(), 4);
}

#[test]
fn where_the_next_item_begins_is_not_guessed() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let mut stream = world.stream();
    stream.send([numbered(1), b"\x82\xa4type\xc1".to_vec(), numbered(2)].concat());
    id(&stream.message());
    assert_refused(&stream.message(), "invalid_event", "item 2: the byte 0xc1");
    stream.assert_ended();

    // It ends within an item, wherever that is.
    let item = numbered(3);
    for length in [1, 3, item.len() - 1] {
        let mut stream = world.stream();
        stream.send(numbered(1));
        stream.send(&item[..length]);
        stream.finish();
        id(&stream.message());
        assert_refused(&stream.message(), "unterminated_item", "item 2 is cut short");
        stream.assert_ended();
    }
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [1, 1, 1, 1]);
}

#[test]
fn bytes_are_delivered_byte_for_byte_with_their_content_type() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let mut stream = world.stream();
    // Each byte for itself: the daemon may see them in any pieces.
    for byte in with_bytes("a.b", "image/png; q=1", &all[..300]) {
        stream.send([byte]);
    }
    stream.send(with_bytes("a.b", "image/png", &all));
    stream.send(with_bytes("a.b", "application/json", b" {\"n\": 1.0} "));
    stream.send(with_bytes("a.b", "application/geo+json", b"[1]"));
    stream.send(with_bytes("a.b", "application/json", b"{\"n\": }"));
    stream.send(b"\x82\xa4type\xa3a.b\xa4data\xc4\x02\xc1\x00");
    stream.send(pack(&json!({"type": "a.b", "data": "text", "content_type": "text/plain"})));
    stream.send(with_bytes("a.b", "png", b""));
    let answers = stream.messages(8);
    assert_refused(&answers[4], "invalid_event", "item 5: the payload is not valid JSON");
    assert_refused(&answers[6], "invalid_event", "item 7: `content_type` says what a `data` of bytes");
    assert_refused(&answers[7], "invalid_event", "item 8: `content_type`: not a content type such as");
    let expected: [(usize, &str, &[u8]); 5] = [
        (0, "image/png; q=1", &all[..300]),
        (1, "image/png", &all),
        (2, "application/json", b" {\"n\": 1.0} "),
        (3, "application/geo+json", b"[1]"),
        (5, "application/octet-stream", &[0xc1, 0]),
    ];
    world.settled();
    for (index, content_type, data) in expected {
        let event = world.event(id(&answers[index]));
        assert_eq!(event["content_type"], content_type);
        let hooks = receiver.hooks();
        let hook = hooks.iter().find(|hook| hook.body == data).expect("its very bytes");
        assert_eq!(hook.header("content-type"), content_type);
    }
    assert_eq!(receiver.hooks().len(), expected.len());
}

#[test]
fn every_key_of_an_event_is_taken() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let event = json!({
        "type": "a.b", "id": "order-7", "account": "default", "time": "2024-02-28T17:15:42+01:00", "delay": "1h", "key": "k",
        "data": {"u": u64::MAX, "i": i64::MIN, "f": 0.1, "s": "é\"\\\n\u{1}", "n": null, "b": [true, false], "e": {}},
    });
    let mut stream = world.stream();
    stream.send(pack(&event));
    let shown = world.event(id(&stream.message()));
    assert_eq!(shown["data"], event["data"]);
    for (key, value) in [
        ("producer_id", json!("order-7")),
        ("key", json!("k")),
        ("time", json!("2024-02-28T16:15:42.000Z")),
        ("type", json!("a.b")),
    ] {
        assert_eq!(shown[key], value);
    }
    assert!(shown["not_before"].is_string(), "{shown}");
}

#[test]
fn one_id_is_one_event_through_every_door() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let event = json!({"type": "a.b", "id": "order-7", "data": {"n": 7}});
    let first = id(&world.post(&event.to_string()).expect(202)).to_owned();
    let known = json!({"id": first, "duplicate": true});
    let mut stream = world.stream();
    stream.send(pack(&event));
    assert_eq!(stream.message(), known);
    let mut as_bytes = with_bytes("a.b", "application/json", b"{\"n\":7}");
    as_bytes[0] += 1;
    as_bytes.extend(b"\xa2id\xa7order-7");
    stream.send(as_bytes);
    assert_eq!(stream.message(), known);
    assert_eq!(world.request("POST", "/v1/events", &[MESSAGE], &pack(&event)).expect(202), known);
    stream.send(pack(&json!({"type": "a.b", "id": "order-7", "data": {"n": 8}})));
    assert_refused(&stream.message(), "id_conflict", "other content");

    // The header is an id like any other.
    let anonymous = pack(&json!({"type": "a.b", "data": {"n": 7}}));
    let post = |headers: &[(&str, &str)], body: &[u8]| world.request("POST", "/v1/events", headers, body);
    let key = ("Idempotency-Key", "\"order-7\"");
    assert_eq!(post(&[MESSAGE, key], &anonymous).expect(202), known);
    assert_eq!(post(&[key], b"{\"type\":\"a.b\",\"data\":{\"n\":7}}").expect(202), known);
    assert_eq!(post(&[key], event.to_string().as_bytes()).expect(202), known);
    let other = ("idempotency-key", "order-8");
    let detail = post(&[other], event.to_string().as_bytes()).problem(400, "bad_request");
    assert!(detail.contains("an id of its own"), "{detail}");
    for many in [("content-type", "application/x-ndjson"), BATCH] {
        let detail = post(&[many, key], b"[]").problem(400, "bad_request");
        assert!(detail.contains("of many each has its own `id`"), "{detail}");
    }
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [7]);
}

#[test]
fn one_event_of_messagepack_over_http() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "limits.event_size = \"4KiB\"\n");
    let post = |content_type: &str, body: &[u8]| {
        world.request("POST", "/v1/events", &[("content-type", content_type)], body)
    };
    for (n, content_type) in
        (0..).zip(["application/msgpack", "application/x-msgpack", "Application/Vnd.MsgPack"])
    {
        id(&post(content_type, &numbered(n)).expect(202));
    }
    let growing = pack(&json!({"type": "a.b", "data": "\0".repeat(2_000)}));
    let two = [numbered(1), numbered(2)].concat();
    let cases: [(&[u8], u16, &str, &str); 6] = [
        (b"", 400, "invalid_event", "ends too early"),
        (&numbered(1)[..5], 400, "invalid_event", "ends too early"),
        (&two, 400, "invalid_event", "more after the event"),
        (b"{\"type\":\"a.b\"}", 400, "invalid_event", "this is an integer"),
        (&growing, 413, "event_too_large", "as JSON"),
        (&[0x80; 5_000], 413, "event_too_large", "4KiB"),
    ];
    for (body, status, code, part) in cases {
        let detail = post("application/msgpack", body).problem(status, code);
        assert!(detail.contains(part), "{detail}");
    }
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [0, 1, 2]);
}

#[test]
fn cloud_events_come_structured_batched_and_in_binary_mode() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let post = |headers: &[(&str, &str)], body: &[u8]| world.request("POST", "/v1/events", headers, body);
    let structured = br#"{"specversion":"1.0","id":"A-1","source":"/sensors/7","type":"com.example.a",
        "time":"2024-02-28T17:15:42+01:00","subject":"s","myext":7,"partitionkey":"p","data":{"n" : 1.0}}"#;
    let first = id(&post(&[CLOUD], structured).expect(202)).to_owned();
    let event = world.event(&first);
    assert_eq!(event["producer_id"], "/sensors/7 A-1");
    assert_eq!((&event["type"], &event["key"]), (&json!("com.example.a"), &json!("p")));
    assert_eq!(event["time"], "2024-02-28T16:15:42.000Z");
    // The same one again, on a stream of JSON and in a body that says JSON.
    let known = json!({"id": first, "duplicate": true});
    let line = String::from_utf8_lossy(structured).replace('\n', " ") + "\n";
    let mut stream = world.stream();
    stream.send(&line);
    assert_eq!(stream.answer(), Some(known.clone()));
    assert_eq!(world.post(&line).expect(202), known);

    let batch = json!([
        {"specversion": "1.0", "id": "2", "source": "/s", "type": "a", "datacontenttype": "text/xml", "data": "<a b=\"c\"/>"},
        {"specversion": "1.0", "id": "3", "source": "/s", "type": "a", "datacontenttype": "image/png", "data_base64": "wQA="},
        {"specversion": "1.0", "id": "4", "source": "/s"},
        {"specversion": "1.0", "id": "5", "source": "/s", "type": "a", "data_base64": "wQE="},
        7,
    ]);
    let answers = post(&[BATCH], batch.to_string().as_bytes()).expect(202)["items"].clone();
    assert_eq!(answers.as_array().map(Vec::len), Some(5), "{answers}");
    (0..2).chain([3]).for_each(|index| assert!(answers[index]["id"].is_string()));
    assert_refused(&answers[2], "invalid_event", "item 3: `type` is missing");
    assert_refused(&answers[4], "invalid_event", "item 5: invalid type");
    assert_eq!(post(&[BATCH], b" [ ] ").expect(202), json!({"items": []}));
    let detail = post(&[BATCH], b"{}").problem(400, "invalid_event");
    assert!(detail.contains("array"), "{detail}");

    let binary = [
        ("ce-specversion", "1.0"),
        ("CE-Type", "a.b"),
        ("ce-source", "/caf%C3%A9"),
        ("ce-id", "\"a \\\"b\\\"\""),
        ("ce-time", "2024-02-28T16:15:42Z"),
        ("ce-whatever", "x"),
    ];
    let with = |content_type: &'static str| [&binary[..], &[("content-type", content_type)]].concat();
    let answer = post(&with("text/plain; charset=utf-8"), b"\x00text\xff").expect(202);
    let event = world.event(id(&answer));
    assert_eq!(event["producer_id"], "/café a \"b\"");
    assert_eq!(event["content_type"], "text/plain; charset=utf-8");
    // As curl sends it.
    let json =
        [&binary[..3], &[("ce-id", "9"), ("content-type", "application/x-www-form-urlencoded")]].concat();
    let answer = post(&json, b"{\"n\": 9}").expect(202);
    assert_eq!(world.event(id(&answer))["content_type"], "application/json");

    world.settled();
    let mut came: Vec<_> = receiver
        .hooks()
        .iter()
        .map(|hook| (hook.header("content-type").to_owned(), hook.body.clone()))
        .collect();
    came.sort();
    let expected: [(&str, &[u8]); 6] = [
        ("application/json", b"{\"n\" : 1.0}"),
        ("application/json", b"{\"n\": 9}"),
        ("application/octet-stream", &[0xc1, 1]),
        ("image/png", &[0xc1, 0]),
        ("text/plain; charset=utf-8", b"\x00text\xff"),
        ("text/xml", b"<a b=\"c\"/>"),
    ];
    let expected: Vec<_> = expected.map(|(kind, body)| (kind.to_owned(), body.to_vec())).to_vec();
    assert_eq!(came, expected);
}

#[test]
fn a_cloud_event_is_sent_on_as_it_came() {
    let receiver = Receiver::start();
    let profile = |name: &str, mode: &str| {
        format!("[profiles.{name}.body]\nformat = \"cloudevents\"\nmode = \"{mode}\"\n")
    };
    let to = |name: &str| endpoint(name, &receiver.url(&format!("/{name}")), &["*"], name);
    let mut world = World::running(
        &[profile("structured", "structured"), profile("binary", "binary"), to("structured"), to("binary")]
            .concat(),
    );
    let event = json!({"specversion": "1.0", "id": "A 1", "source": "/s", "type": "a.b", "time": "2024-02-28T16:15:42.000Z",
        "subject": "Zoë", "dataschema": "https://a.example/s", "myext": 7, "on": true, "data": {"n": 1}});
    let answer = world.request("POST", "/v1/events", &[CLOUD], event.to_string().as_bytes()).expect(202);
    let attributes = json!({"source": "/s", "id": "A 1", "subject": "Zoë", "dataschema": "https://a.example/s", "myext": 7, "on": true});
    assert_eq!(world.event(id(&answer))["cloudevent"], attributes);
    world.settled();
    let mut expected = event;
    expected["datacontenttype"] = json!("application/json");
    assert_eq!(receiver.wait_at("/structured", 1)[0].json(), expected);
    let binary = &receiver.wait_at("/binary", 1)[0];
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "A%201"),
        ("ce-source", "/s"),
        ("ce-subject", "Zo%C3%AB"),
        ("ce-dataschema", "https://a.example/s"),
        ("ce-myext", "7"),
        ("ce-on", "true"),
        ("ce-time", "2024-02-28T16:15:42.000Z"),
    ] {
        assert_eq!(binary.header(name), value);
    }
    // It is handed in as it came out, by another program after a restart: the same event.
    world.stop();
    world.start();
    let headers = binary.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<_> =
        headers.filter(|(name, _)| name.starts_with("ce-") || *name == "content-type").collect();
    let again = world.request("POST", "/v1/events", &headers, &binary.body).expect(202);
    assert_eq!(again, json!({"id": id(&answer), "duplicate": true}));
    // One that came otherwise is the box's own.
    let other = world.emit("a.b", &json!(2));
    assert_eq!(world.event(&other)["cloudevent"], Value::Null);
    let hooks = receiver.wait_at("/structured", 2);
    assert_eq!(
        (&hooks[1].json()["id"], &hooks[1].json()["source"]),
        (&json!(other), &json!("/posthaste/default"))
    );
}

#[test]
fn what_is_wrong_with_a_cloud_event_is_said() {
    let world = World::running("");
    let post = |headers: &[(&str, &str)], body: &[u8]| world.request("POST", "/v1/events", headers, body);
    let long = "x".repeat(253);
    let event = |change: &[(&str, Value)]| {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "a"});
        for (name, value) in change {
            event[*name] = value.clone();
        }
        event.to_string()
    };
    for (body, part) in [
        (event(&[("specversion", json!("0.3"))]), "`specversion` must be \"1.0\""),
        (event(&[("specversion", Value::Null)]), "`specversion` is missing"),
        (event(&[("id", Value::Null)]), "`id` is missing"),
        (event(&[("id", json!(7))]), "`id` must be a text"),
        (event(&[("source", json!(""))]), "`source` is missing"),
        (event(&[("source", json!("a b"))]), "URI reference"),
        (event(&[("source", json!(long)), ("id", json!("123"))]), "at most 255 characters together"),
        (event(&[("myExt", json!("x"))]), "only a-z and 0-9"),
        (event(&[("ext", json!({}))]), "`ext` must be a text, a boolean or an integer"),
        (event(&[("ext", json!("x".repeat(4 << 10)))]), "at most 4096 bytes together"),
        (event(&[("type", json!("a b"))]), "`type`: an event type has only"),
        (event(&[("time", json!("noon"))]), "`time`: not an RFC 3339"),
        (event(&[("data", json!(1)), ("data_base64", json!(""))]), "write one of them"),
        (event(&[("data_base64", json!("%"))]), "not base64"),
        (event(&[("datacontenttype", json!("png"))]), "`datacontenttype`: not a content type"),
        (event(&[("datacontenttype", json!("a/b")), ("data", json!({}))]), "write bytes as `data_base64`"),
        (
            event(&[("datacontenttype", json!("a/json+json")), ("data_base64", json!("ew=="))]),
            "not valid JSON",
        ),
        ("{\"specversion\":\"1.0\",\"id\":\"1\",\"id\":\"1\"}".to_owned(), "`id` is there twice"),
        ("[]".to_owned(), "a CloudEvent: an object"),
    ] {
        let detail = post(&[CLOUD], body.as_bytes()).problem(400, "invalid_event");
        assert!(detail.contains(part), "{body}: {detail}");
    }
    for (headers, part) in [
        (&[("ce-id", "1")][..], "`specversion` is missing"),
        (&[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s")], "`type` is missing"),
        (&[("ce-id", "%C0%A0")], "the header `ce-id` is not UTF-8"),
        (&[("ce-id", "1"), ("ce-id", "2")], "`id` is there twice"),
        (&[("ce-id", "1"), ("ce-datacontenttype", "a/b")], "write Content-Type instead"),
    ] {
        let detail = post(headers, b"{}").problem(400, "invalid_event");
        assert!(detail.contains(part), "{headers:?}: {detail}");
    }
    let detail =
        post(&[("content-type", "application/cloudevents+xml")], b"").problem(415, "unsupported_media_type");
    assert!(detail.contains("application/cloudevents-batch+json"), "{detail}");
}

#[test]
fn a_batch_of_cloud_events_has_the_limits_of_every_batch() {
    let world = World::running(
        "limits.event_size = \"1KiB\"\nlimits.batch_events = 3\nlimits.batch_size = \"8KiB\"\n",
    );
    let post = |batch: &Value| world.request("POST", "/v1/events", &[BATCH], batch.to_string().as_bytes());
    let event = |id: u64, data: &str| json!({"specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "a", "data": data});
    let long = "x".repeat(2_000);
    let answers = post(&json!([event(1, ""), event(2, &long), event(3, "")])).expect(202)["items"].clone();
    assert_refused(&answers[1], "event_too_large", "item 2: an event has at most 1KiB");
    assert!(answers[0]["id"].is_string() && answers[2]["id"].is_string(), "{answers}");
    let four: Vec<_> = (4..8).map(|id| event(id, "")).collect();
    let detail = post(&json!(four)).problem(413, "batch_too_large");
    assert!(detail.contains("more than 3 events"), "{detail}");
    // What is no array is not repeated.
    let detail = post(&json!("hunter2 ".repeat(500))).problem(400, "invalid_event");
    assert!(detail.len() < 200 && !detail.contains("hunter2"), "{detail}");
    let detail = post(&json!(["x".repeat(9_000)])).problem(413, "batch_too_large");
    assert!(detail.contains("8KiB"), "{detail}");
    assert_eq!(world.list("/v1/events").len(), 2);
}

#[test]
fn a_producer_that_takes_no_answers_waits_at_its_own_socket() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let mut stream = world.stream();
    stream.send(numbered(0));
    stream.writer().set_nonblocking(true).expect("a socket");
    // Answers are longer than these items, so they are what fills the socket's buffers first.
    let items = [0; 4_096];
    let mut sent = 0;
    let mut full = 0;
    while full < 50 {
        match stream.writer().write(&items) {
            Ok(count) => (sent, full) = (sent + count, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                full += 1;
                // Nothing is waited for but that the daemon had its turn.
                world.get("/v1/status");
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "nobody holds it back");
    }
    // Nobody else is held up by it.
    id(&world.post("{\"type\":\"a.b\",\"data\":{\"n\":1}}").expect(202));
    stream.writer().set_nonblocking(false).expect("a socket");
    id(&stream.message());
    for number in 2..sent + 2 {
        assert_refused(&stream.message(), "invalid_event", &format!("item {number}:"));
    }
    stream.send(numbered(2));
    id(&stream.message());
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [0, 1, 2]);
}

#[test]
fn what_an_item_says_of_itself_costs_no_memory() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    id(&world.post("{\"type\":\"a.b\",\"data\":{\"n\":1}}").expect(202));
    let before = world.peak_memory();
    let long: [&[u8]; 5] = [
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xdb\xff\xff\xff\xff",
        b"\x81\xa4data\xdd\xff\xff\xff\xff",
        b"\x81\xa4data\xc6\xff\xff\xff\xff",
        b"\x81\xa4data\xc9\xff\xff\xff\xff\x05",
    ];
    for begin in long {
        let mut stream = world.stream();
        stream.send(begin);
        // It is known at once: nothing need come.
        assert_refused(&stream.message(), "event_too_large", "item 1:");
        for _ in 0..24 {
            stream.send(vec![0x90; 1 << 20]);
        }
        stream.finish();
        stream.assert_ended();
    }
    // As deep as it can be.
    let mut stream = world.stream();
    stream.send([&[0x81, 0xa1, b'a'][..], &vec![0x91; (1 << 20) - 4], &[0xc0]].concat());
    assert_refused(&stream.message(), "invalid_event", "unknown key `a`");
    // A payload that grows sixfold as JSON is cut off at the limit, also of many at once.
    let growing = pack(&json!({"type": "a.b", "data": "\0".repeat(1_000_000)}));
    let mut streams: Vec<_> = (0..8).map(|_| world.stream()).collect();
    for stream in &mut streams {
        stream.send(&growing);
    }
    for stream in &mut streams {
        assert_refused(&stream.message(), "event_too_large", "as JSON");
    }
    let grown = world.peak_memory() - before;
    assert!(grown < 48 << 20, "{} MiB more", grown >> 20);
}

#[test]
fn a_spool_file_of_messagepack_is_taken_whole_or_not_at_all() {
    let receiver = Receiver::start();
    let mut world = World::new(&format!(
        "[[spool]]\npath = \"spool\"\n{}",
        endpoint("erp", &receiver.url("/"), &["*"], "raw")
    ));
    fs::create_dir(world.path("spool")).expect("a directory");
    world.start();
    let drop_in = |name: &str, content: &[u8]| {
        let temporary = world.path("spool").join(format!(".{name}.tmp"));
        fs::write(&temporary, content).expect("it can be written");
        fs::rename(temporary, world.path("spool").join(name)).expect("it can be renamed");
    };
    let many: Vec<u8> = (0..500).flat_map(numbered).collect();
    let bad = |last: &[u8]| [&numbered(1_000)[..], &numbered(1_001), last].concat();
    drop_in("many.msgpack", &many);
    drop_in("empty.msgpack", b"");
    let cases: [(&str, Vec<u8>, &str, u64, &str); 5] = [
        ("key.msgpack", bad(&pack(&json!({"typ": "a"}))), "invalid_event", 3, "did you mean `type`?"),
        ("cut.msgpack", bad(&numbered(1)[..4]), "unterminated_item", 3, "item 3 is cut short"),
        ("lost.msgpack", bad(b"\xc1"), "invalid_event", 3, "0xc1"),
        ("json.msgpack", b"{\"type\":\"a.b\"}".to_vec(), "invalid_event", 1, "this is an integer"),
        (
            "account.msgpack",
            bad(&pack(&json!({"type": "a", "account": "other"}))),
            "account_not_allowed",
            3,
            "leave `account` out",
        ),
    ];
    for (name, content, code, item, part) in cases {
        drop_in(name, &content);
        let failed = world.path("spool").join("failed");
        eventually(&format!("{name} lies in failed/"), || failed.join(name).exists().then_some(()));
        let reason = fs::read(failed.join(format!("{name}.reason"))).expect("it lies beside it");
        let reason: Value = serde_json::from_slice(&reason).expect("JSON");
        assert_eq!(
            (&reason["code"], &reason["item"], &reason["line"]),
            (&json!(code), &json!(item), &Value::Null)
        );
        assert!(reason["message"].as_str().is_some_and(|message| message.contains(part)), "{reason}");
        assert_eq!(fs::read(failed.join(name)).expect("the file"), content);
    }
    for name in ["many.msgpack", "empty.msgpack"] {
        let path = world.path("spool").join(name);
        eventually(&format!("{name} is taken"), || (!path.exists()).then_some(()));
    }
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), (0..500).collect::<Vec<_>>());
}
