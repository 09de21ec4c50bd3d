//! The socket's doors: many events at once, ids seen before, and what the daemon says to bad input and bad manners.

mod support;

use std::{fs, io::Write as _, os::unix::net::UnixStream};

use serde_json::{Value, json};
use support::{
    config::endpoint,
    eventually, http,
    receiver::{Hook, Receiver},
    world::{World, stderr},
};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const JSON: (&str, &str) = ("content-type", "application/json");

fn world_with(receiver: &Receiver, keys: &str) -> World {
    World::running(&format!("{keys}\n{}", endpoint("erp", &receiver.url("/"), &["*"], "raw")))
}

fn lines(numbers: std::ops::Range<u64>) -> String {
    let line = |n| format!("{{\"type\":\"a.b\",\"data\":{{\"n\":{n}}}}}\n");
    numbers.map(line).collect()
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}"))
}

/// The numbers that came, in order of size; a number that came twice is there twice.
fn numbers(hooks: &[std::sync::Arc<Hook>]) -> Vec<u64> {
    let mut numbers: Vec<_> = hooks.iter().map(|hook| hook.json()["n"].as_u64().expect("n")).collect();
    numbers.sort_unstable();
    numbers
}

/// Checks that the answers are in the order of the events, whose numbers begin at `first`.
fn assert_in_order(world: &World, answers: &[Value], first: u64) {
    for (n, answer) in (first..).zip(answers) {
        assert_eq!(world.event(id(answer))["data"]["n"], n);
    }
}

#[test]
fn a_thousand_events_in_one_body_are_answered_in_order_and_delivered_once() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let answer = world.request("POST", "/v1/events", &[NDJSON], lines(0..1_000).as_bytes()).expect(202);
    let answers = answer["items"].as_array().expect("a list");
    assert_eq!(answers.len(), 1_000);
    assert_in_order(&world, answers, 0);
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), (0..1_000).collect::<Vec<_>>());
    assert_eq!(world.get("/v1/status")["since_start"]["accepted"], 1_000);
}

#[test]
fn a_thousand_events_on_a_stream_are_answered_in_order_and_delivered_once() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let mut stream = world.stream();
    stream.send(lines(0..1_000));
    let answers = stream.answers(1_000);
    assert_in_order(&world, &answers, 0);
    stream.finish();
    assert_eq!(stream.answer(), None, "the stream ends when the producer does");
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_bad_line_is_answered_with_an_error_and_the_rest_is_taken() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "limits.event_size = \"4KiB\"\n");
    let long = format!("{{\"type\":\"a.b\",\"data\":\"{}\"}}\n", "x".repeat(5_000));
    let very_long = format!("{{\"type\":\"a.b\",\"data\":\"{}\"}}\n", "x".repeat(3 << 20));
    let deep = format!("{{\"type\":\"a.b\",\"data\":{}{}}}\n", "[".repeat(1_500), "]".repeat(1_500));
    let body = lines(0..2)
        + &long
        + "\n  \r\n"
        + &lines(2..3)
        + "{\"type\":\"a b\"}\nnonsense\n"
        + &very_long
        + &deep
        + "{\"typ\":\"a.b\"}\n{\"type\":\"a.b\",\"account\":\"nobody\"}\n"
        + &lines(3..4);
    let expected = [
        ("", ""),
        ("", ""),
        ("event_too_large", "line 3:"),
        ("", ""),
        ("invalid_event", "line 7:"),
        ("invalid_event", "line 8: not valid JSON"),
        ("event_too_large", "line 9:"),
        ("invalid_event", "deeper than 128"),
        ("invalid_event", "did you mean `type`?"),
        ("unknown_account", "no account `nobody`"),
        ("", ""),
    ];
    let check = |answers: &[Value]| {
        assert_eq!(answers.len(), expected.len(), "{answers:?}");
        for (answer, (code, part)) in answers.iter().zip(expected) {
            if code.is_empty() {
                id(answer);
                continue;
            }
            assert_eq!(answer["error"]["code"], code, "{answer}");
            let message = answer["error"]["message"].as_str().expect("a message");
            assert!(message.contains(part) && !message.contains("xxxx"), "{message}");
        }
    };
    let answer = world.request("POST", "/v1/events", &[NDJSON], body.as_bytes()).expect(202);
    check(answer["items"].as_array().expect("a list"));
    let mut stream = world.stream();
    stream.send(&body);
    check(&stream.answers(expected.len()));
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [0, 0, 1, 1, 2, 2, 3, 3]);
}

#[test]
fn a_last_line_that_does_not_end_is_refused_on_a_stream_and_taken_in_a_body() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let text = lines(1..3);
    let cut = text.trim_end();
    let mut stream = world.stream();
    stream.send(cut);
    stream.finish();
    id(&stream.answer().expect("the first line"));
    let answer = stream.answer().expect("the last line");
    assert_eq!(answer["error"]["code"], "unterminated_line", "{answer}");
    assert_eq!(answer["error"]["retry_after"], 1, "whoever sent it has it whole: {answer}");
    assert_eq!(stream.answer(), None);
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [1]);
    // A body's end is known by its length.
    let answer = world.request("POST", "/v1/events", &[NDJSON], cut.as_bytes()).expect(202);
    for answer in answer["items"].as_array().expect("a list") {
        id(answer);
    }
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [1, 1, 2]);
}

#[test]
fn an_id_that_was_seen_is_not_taken_again_also_after_restarts() {
    let receiver = Receiver::start();
    let mut world = world_with(&receiver, "");
    let event = |n: u64| format!("{{\"type\":\"a.b\",\"id\":\"order-7\",\"data\":{{\"n\":{n}}}}}\n");
    let first = world.post(&event(1)).expect(202);
    assert_eq!(first.get("duplicate"), None, "{first}");
    let first = id(&first).to_owned();
    let check = |world: &World| {
        let again = world.post(&event(1)).expect(202);
        assert_eq!((&again["id"], &again["duplicate"]), (&json!(first), &json!(true)));
        let detail = world.post(&event(2)).problem(409, "id_conflict");
        assert!(detail.contains(&first), "{detail}");
        let mut stream = world.stream();
        stream.send(event(1) + &event(2) + &event(1));
        let answers = stream.answers(3);
        assert_eq!(answers[0], json!({"id": first, "duplicate": true}));
        assert_eq!(answers[1]["error"]["code"], "id_conflict");
        assert!(answers[1]["error"]["message"].as_str().expect("text").contains(&first));
        assert_eq!(answers[2], answers[0]);
        let output = world.cli(&["emit", "a.b", "{\"n\":1}", "--id", "order-7"]);
        assert_eq!(support::world::stdout(&output).trim_end(), first);
        assert!(stderr(&output).contains("known already"), "{}", stderr(&output));
        let output = world.cli(&["emit", "a.b", "{\"n\":2}", "--id", "order-7"]);
        assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    };
    check(&world);
    world.stop();
    world.start();
    check(&world);
    world.kill();
    world.start();
    check(&world);
    // The same id is another one in another type's content, and the producer sees its id again.
    assert_eq!(world.event(&first)["producer_id"], "order-7");
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [1], "one delivery in all");
    assert_eq!(world.list("/v1/events").len(), 1);
}

#[test]
fn two_events_with_one_id_in_the_same_batch_are_one() {
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    let line = "{\"type\":\"a.b\",\"id\":\"x\",\"data\":{\"n\":1}}\n";
    let mut stream = world.stream();
    stream.send(line.repeat(3));
    let answers = stream.answers(3);
    assert_eq!(answers[0].get("duplicate"), None);
    assert_eq!((id(&answers[1]), &answers[2]), (id(&answers[0]), &answers[1]));
    assert_eq!(answers[1]["duplicate"], true);
    world.settled();
    assert_eq!(receiver.hooks().len(), 1);
}

/// Sixteen producers hand in the same hundred ids at once, through every door, each with one of two contents.
#[test]
fn of_equal_ids_that_come_at_once_one_event_is_made() {
    const IDS: usize = 100;
    let receiver = Receiver::start();
    let world = world_with(&receiver, "spool = [{ path = \"spool\" }]\n");
    let event = |n: usize, content: usize| {
        format!("{{\"type\":\"a.b\",\"id\":\"order-{n}\",\"data\":{{\"n\":{n},\"c\":{content}}}}}\n")
    };
    let answers: Vec<Vec<Value>> = std::thread::scope(|scope| {
        let producer = |producer: usize| {
            let (world, events) = (&world, (0..IDS).map(move |n| event(n, producer / 8)));
            scope.spawn(move || match producer % 3 {
                0 => {
                    let mut stream = world.stream();
                    stream.send(events.collect::<String>());
                    stream.answers(IDS)
                }
                1 => {
                    let body: String = events.collect();
                    let answer = world.request("POST", "/v1/events", &[NDJSON], body.as_bytes()).expect(202);
                    answer["items"].as_array().expect("a list").clone()
                }
                _ => events.map(|event| world.post(&event).json()).collect(),
            })
        };
        let producers: Vec<_> = (0..16).map(producer).collect();
        // A file is taken whole or not at all: its events are those of one content, one after the other.
        for n in 0..IDS {
            let hidden = world.path("spool").join(format!(".{n}.json"));
            std::fs::write(&hidden, event(n, 0)).expect("the daemon has made the directory");
            std::fs::rename(hidden, world.path("spool").join(format!("{n}.json"))).expect("a place for it");
        }
        producers.into_iter().map(|producer| producer.join().expect("a producer")).collect()
    });
    let spool = || world.get("/v1/status")["spools"][0].clone();
    eventually("all files are taken, or put away", || {
        let count = |key: &str| spool()[key].as_u64().expect("a count");
        (count("taken") + count("failed") == IDS as u64).then_some(())
    });
    let events = world.list("/v1/events");
    assert_eq!(events.len(), IDS);
    let ids: std::collections::HashMap<String, String> = events
        .iter()
        .map(|event| world.event(id(event)))
        .map(|event| (event["producer_id"].as_str().expect("its id").to_owned(), id(&event).to_owned()))
        .collect();
    for (n, answer) in answers.iter().flat_map(|answers| answers.iter().enumerate()) {
        let first = &ids[&format!("order-{n}")];
        match answer.get("id") {
            Some(id) => assert_eq!(id, first, "{answer}"),
            // Over HTTP it is a problem, elsewhere an error line.
            None => assert!(answer.to_string().contains("id_conflict") && answer.to_string().contains(first)),
        }
    }
    let new = answers.iter().flatten().filter(|a| a.get("id").is_some() && a.get("duplicate").is_none());
    let status = world.get("/v1/status");
    assert!(new.count() <= IDS && status["since_start"]["accepted"] == IDS, "{status}");
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), (0..IDS as u64).collect::<Vec<_>>(), "each went out once");
}

#[test]
fn a_window_that_is_cut_short_is_shown() {
    let mut world = World::running("store.dedup_window = \"1h\"\nstore.dedup_entries = 10\n");
    let event = |n: u64| format!("{{\"type\":\"a.b\",\"id\":\"order-{n}\",\"data\":{n}}}");
    let ids = |world: &World| world.get("/v1/status")["ids"].clone();
    for n in 0..9 {
        world.post(&event(n)).expect(202);
    }
    let whole = json!({"remembered": 9, "window": "1h", "window_held": "1h", "cut_short": false});
    assert_eq!(ids(&world), whole);
    assert!(!support::world::stdout(&world.cli(&["status"])).contains("dedup_entries"));
    for n in 9..15 {
        world.post(&event(n)).expect(202);
    }
    for _ in 0..2 {
        let now = ids(&world);
        assert_eq!((&now["remembered"], &now["cut_short"]), (&json!(10), &json!(true)), "{now}");
        let output = world.cli(&["status"]);
        let shown = support::world::stdout(&output);
        assert!(shown.contains("and not for 1h") && shown.contains("dedup_entries"), "{shown}");
        world.stop();
        world.start();
    }
    // Those that are remembered are known, the others are new again: nothing is refused for it.
    assert_eq!(world.post(&event(14)).expect(202)["duplicate"], true);
    assert_eq!(world.post(&event(0)).expect(202).get("duplicate"), None);
}

#[test]
fn what_is_too_large_is_refused_and_nothing_of_it_is_taken() {
    let receiver = Receiver::start();
    let keys = "limits.event_size = \"4KiB\"\nlimits.batch_size = \"8KiB\"\nlimits.batch_events = 10\n";
    let world = world_with(&receiver, keys);
    let event = |size: usize| format!("{{\"type\":\"a.b\",\"data\":\"{}\"}}", "x".repeat(size));
    for size in [4_090, 100_000, 3 << 20] {
        let detail = world.post(&event(size)).problem(413, "event_too_large");
        assert!(detail.contains("4KiB") && detail.contains("event_size"), "{detail}");
    }
    for body in [format!("{}\n", event(3_000)).repeat(3), "\n".repeat(3 << 20)] {
        let answer = world.request("POST", "/v1/events", &[NDJSON], body.as_bytes());
        let detail = answer.problem(413, "batch_too_large");
        assert!(detail.contains("8KiB") && detail.contains("batch_size"), "{detail}");
    }
    let answer = world.request("POST", "/v1/events", &[NDJSON], lines(0..11).as_bytes());
    let detail = answer.problem(413, "batch_too_large");
    assert!(detail.contains("10 events"), "{detail}");
    // A length that lies is not waited for, and one that is not said is counted.
    let mut stream = http::connect(&world.socket()).expect("the daemon listens");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    // The daemon may hang up before all of it is sent.
    let _ = stream.write_all((head.to_owned() + &chunk.repeat(3)).as_bytes());
    http::read_answer(&mut stream).expect("an answer").problem(413, "event_too_large");
    let file = world.path("large.json");
    std::fs::write(&file, format!("\"{}\"", "x".repeat(3 << 20))).expect("a file");
    let output = world.cli(&["emit", "a.b", "@large.json"]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stderr(&output).contains("event_size"), "{}", stderr(&output));
    assert_eq!(world.list("/v1/events"), [Value::Null; 0]);
    id(&world.post(&event(4_000)).expect(202));
}

#[test]
fn what_is_wrong_with_a_request_is_said_in_a_problem_document() {
    let world = World::running("[accounts.acme]\n");
    let post = |headers: &[(&str, &str)], path: &str, body: &str| {
        world.request("POST", path, headers, body.as_bytes())
    };
    let good = "{\"type\":\"a.b\"}";
    for (answer, status, code, part) in [
        (
            post(&[("content-type", "text/plain")], "/v1/events", good),
            415,
            "unsupported_media_type",
            "application/x-ndjson",
        ),
        (post(&[JSON], "/v1/events", "{\"typ\":\"a.b\"}"), 400, "invalid_event", "did you mean `type`?"),
        (post(&[JSON], "/v1/events", "{\"type\":\"a.b\""), 400, "invalid_event", "ends too early"),
        (post(&[JSON], "/v1/events", ""), 400, "invalid_event", "ends too early"),
        (post(&[JSON], "/v1/events", "\u{feff}{}"), 400, "invalid_event", "not valid JSON"),
        (post(&[JSON], "/v1/events", "{\"type\":\"a..b\"}"), 400, "invalid_event", "segment"),
        (
            post(&[JSON], "/v1/events", "{\"type\":\"a.b\",\"url\":\"http://x/\"}"),
            422,
            "url_refused",
            "only https is taken",
        ),
        (
            post(&[JSON], "/v1/events", "{\"type\":\"a.b\",\"account\":\"acm\"}"),
            422,
            "unknown_account",
            "did you mean `acme`?",
        ),
        (post(&[JSON], "/v1/events?typ=a", good), 400, "bad_request", "`typ`"),
        (world.request("GET", "/v1/events?tpye=a", &[], b""), 400, "bad_request", "did you mean `type`?"),
        (world.request("GET", "/v1/events?limit=0", &[], b""), 400, "bad_request", "1 to 500"),
        (world.request("GET", "/v1/events?cursor=evt_nonsense", &[], b""), 400, "bad_request", "`cursor`"),
        (world.request("GET", "/v1/deliveries?status=lost", &[], b""), 400, "bad_request", "pending"),
        (world.request("GET", "/v1/deliveries?endpoint=erp", &[], b""), 404, "not_found", "erp"),
        (world.request("GET", "/v1/evnts", &[], b""), 404, "not_found", "/v1/events"),
        (world.request("GET", "/", &[], b""), 404, "not_found", "/v1/events"),
        (world.request("DELETE", "/v1/events", &[], b""), 405, "method_not_allowed", "DELETE"),
        (
            world.request("GET", "/v1/events/evt_01hqr2p1qq8k3v7r5m6n0x9y2z", &[], b""),
            404,
            "not_found",
            "evt_",
        ),
        (world.request("GET", "/v1/events/x", &[], b""), 404, "not_found", "x"),
        (
            world.request("GET", "/v1/deliveries/dlv_01hqr2p1qq8k3v7r5m6n0x9y2z", &[], b""),
            404,
            "not_found",
            "dlv_",
        ),
    ] {
        let detail = answer.problem(status, code);
        assert!(detail.contains(part), "{status} {code}: {detail}");
    }
    assert_eq!(world.list("/v1/events"), [Value::Null; 0], "nothing was taken");
    // What `curl -d` sends when nobody tells it the content type is JSON here.
    for headers in [&[][..], &[("content-type", "application/x-www-form-urlencoded")]] {
        id(&post(headers, "/v1/events", good).expect(202));
    }
    id(&post(&[("content-type", "Application/JSON; charset=utf-8")], "/v1/events", good).expect(202));
}

#[test]
fn no_nesting_overturns_the_daemon() {
    let world = World::running("");
    let deep =
        |levels: usize| format!("{{\"type\":\"a.b\",\"data\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    id(&world.post(&deep(128)).expect(202));
    for levels in [129, 10_000, 500_000] {
        let detail = world.post(&deep(levels)).problem(400, "invalid_event");
        assert!(detail.contains("deeper than 128"), "{detail}");
    }
    let objects = format!("{{\"type\":\"a.b\",\"data\":{}", "{\"a\":".repeat(150_000));
    world.post(&objects).problem(400, "invalid_event");
    for key in ["id", "type", "account", "time", "other"] {
        let body = format!("{{\"{key}\":{}", "[".repeat(500_000));
        world.post(&body).problem(400, "invalid_event");
    }
    world.post(&"[".repeat(500_000)).problem(400, "invalid_event");
    let mut stream = world.stream();
    stream.send(deep(500_000) + "\n" + &deep(1) + "\n");
    assert_eq!(stream.answer().expect("an answer")["error"]["code"], "invalid_event");
    id(&stream.answer().expect("an answer"));
}

#[test]
fn what_is_neither_http_nor_json_gets_an_error_line() {
    let world = World::running("");
    for garbage in [&b"\x16\x03\x01\x02\x00\x01"[..], b"get / http/1.1\r\n\r\n", b"\xff\xfe", b"[1]\n", b"\0"]
    {
        let mut stream = world.stream();
        stream.send(garbage);
        let answer = stream.answer().expect("a line");
        assert_eq!(answer["error"]["code"], "unknown_dialect", "{answer}");
        assert!(answer["error"]["message"].as_str().expect("text").contains("JSON lines"), "{answer}");
        assert!(matches!(stream.try_answer(), Ok(None) | Err(_)), "and that is the end");
    }
    // White space before the first event is none of garbage.
    let mut stream = world.stream();
    stream.send(" \r\n\n{\"type\":\"a.b\"}\n");
    id(&stream.answer().expect("an answer"));
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let world = World::running("");
    let mut stream = http::connect(&world.socket()).expect("the daemon listens");
    for n in 0..3 {
        let body = format!("{{\"type\":\"a.b\",\"data\":{n}}}");
        let head = format!("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).expect("the daemon reads");
        id(&http::read_answer(&mut stream).expect("an answer").expect(202));
    }
    assert_eq!(world.list("/v1/events").len(), 3);
}

/// The daemon's threads of this name, each with how often it has waited.
fn threads(world: &World, name: &str) -> Vec<u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", world.pid())).expect("its threads");
    let status = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let of_name = status.filter(|status| status.lines().next() == Some(&format!("Name:\t{name}")));
    let waits = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).expect("a count")
    };
    of_name.map(waits).collect()
}

#[test]
fn producers_have_threads_of_their_own_until_there_are_enough() {
    const PRODUCERS: u64 = 7;
    const EACH: u64 = 20;
    let receiver = Receiver::start();
    let world = world_with(&receiver, "");
    assert_eq!(threads(&world, "booth").len(), 0, "nobody has handed in anything yet");
    let mut producers: Vec<_> = (0..PRODUCERS).map(|_| world.stream()).collect();
    for round in 0..EACH {
        for (producer, n) in producers.iter_mut().zip(round * PRODUCERS..) {
            producer.send(lines(n..n + 1));
            let answer = producer.answer().expect("it is taken");
            assert_eq!(world.event(id(&answer))["data"]["n"], n, "it can be seen as soon as it is answered");
        }
    }
    assert_eq!(threads(&world, "booth").len(), 4);
    producers.truncate(1);
    let mut others: Vec<_> = (0..2).map(|_| world.stream()).collect();
    for (producer, n) in producers.iter_mut().chain(&mut others).zip(EACH * PRODUCERS..) {
        producer.send(lines(n..n + 1));
        assert!(producer.answer().is_some());
    }
    assert_eq!(threads(&world, "booth").len(), 4, "those that were there serve others");
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), (0..EACH * PRODUCERS + 3).collect::<Vec<_>>());
}

#[test]
fn the_event_of_one_who_waits_is_written_without_waking_the_writer() {
    const EVENTS: u64 = 100;
    let world = World::running("");
    let mut stream = world.stream();
    let mut hand_in = |n| {
        stream.send(lines(n..n + 1));
        stream.answer().expect("it is taken")
    };
    hand_in(0);
    let before = threads(&world, "outbox");
    let answers: Vec<_> = (1..=EVENTS).map(&mut hand_in).collect();
    let waits = threads(&world, "outbox")[0] - before[0];
    assert!(waits < EVENTS / 4, "the writer's thread was woken {waits} times");
    assert_in_order(&world, &answers, 1);

    // One who does not wait has many written at once.
    stream.send(lines(0..1_000));
    assert_eq!(stream.answers(1_000).len(), 1_000);
}

#[test]
fn a_body_that_is_cut_off_is_not_taken() {
    let world = World::running("");
    let mut stream = http::connect(&world.socket()).expect("the daemon listens");
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"type\":\"a.b\"}";
    stream.write_all(head.as_bytes()).expect("the daemon reads");
    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    match http::read_answer(&mut stream) {
        Ok(answer) => drop(answer.problem(400, "bad_request")),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}"),
    }
    assert_eq!(world.list("/v1/events"), [Value::Null; 0]);
}

#[test]
fn six_hundred_idle_and_dripping_connections_do_not_close_the_door() {
    let receiver = Receiver::start();
    let mut world = world_with(&receiver, "");
    let beginnings: [&[u8]; 6] = [
        b"",
        b"POST /v1/ev",
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"type\"",
        b"{\"type\":\"a.b\",",
        b"GET /v1/status HTTP/1.1\r\nx-a: ",
        b"\n",
    ];
    let idle: Vec<UnixStream> = (0..600)
        .map(|n| {
            let mut stream = http::connect(&world.socket()).expect("there is room");
            stream.write_all(beginnings[n % beginnings.len()]).expect("the daemon reads");
            stream
        })
        .collect();
    world.emit("a.b", &json!({"n": 1}));
    let mut stream = world.stream();
    stream.send(lines(2..3));
    id(&stream.answer().expect("an answer"));
    assert_eq!(numbers(&receiver.wait(2)), [1, 2]);
    assert_eq!(world.get("/v1/status")["state"], "running");
    // Nor do they hold up its end: attempts have 30 s, who has begun to say something has less.
    let asked = support::now();
    world.stop();
    assert!(asked.elapsed() < std::time::Duration::from_secs(20), "{:?}", asked.elapsed());
    drop(idle);
    world.start();
    eventually("it is there again", || (world.list("/v1/events").len() == 2).then_some(()));
}

/// Many lines that have come in part hold all the room there is, and each needs more: were they to wait for each
/// other, nothing would ever be taken again.
#[test]
fn producers_that_fill_the_room_together_do_not_shut_the_door() {
    const LINE: usize = 8 << 20;
    let world = World::running("[limits]\nevent_size = \"8MiB\"");
    let mut producers: Vec<_> = (0..9).map(|_| world.stream()).collect();
    let beginning = format!("{{\"type\":\"a.b\",\"data\":\"{}", "x".repeat(LINE - 64));
    for producer in &mut producers {
        // One for which there is no room is told so and hung up on.
        let _ = producer.try_send(&beginning);
    }
    for producer in &mut producers {
        let _ = producer.try_send(format!("\"}}\n{}", lines(0..100)));
        producer.try_finish();
    }
    let answered = producers.iter_mut().filter_map(|producer| producer.try_answer().ok().flatten()).count();
    assert!(answered > 0, "somebody is answered");
    eventually("an event is taken again", || (world.post(r#"{"type":"c.d"}"#).status == 202).then_some(()));
}

#[test]
fn a_body_of_many_bad_lines_is_refused_before_it_is_read_to_its_end() {
    let world = World::running("");
    let answer = world.request("POST", "/v1/events", &[NDJSON], "x\n".repeat(1 << 20).as_bytes());
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("batch_too_large")));
    assert!(world.peak_memory() < 200 << 20, "{} bytes", world.peak_memory());
}

#[test]
fn a_request_can_name_the_account_of_its_events() {
    let world = World::running("[accounts.acme]\nprofile = \"raw\"");
    let answer = world.request("POST", "/v1/events?account=acme", &[JSON], br#"{"type":"a.b"}"#).expect(202);
    assert_eq!(world.event(id(&answer))["account"], "acme");
    let refused = world.request("POST", "/v1/events?account=nobody", &[JSON], br#"{"type":"a.b"}"#);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (422, Some("unknown_account")));
}

#[test]
fn endpoints_are_listed_page_by_page_newest_first() {
    let all = ["a", "b", "c"].map(|name| endpoint(name, "http://127.0.0.1:9/", &["*"], "raw")).join("\n");
    let world = World::running(&all);
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a list");
        items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    let first = world.get("/v1/endpoints?limit=2");
    assert_eq!(names(&first), ["c", "b"]);
    let cursor = first["next_cursor"].as_str().expect("there are more");
    let second = world.get(&format!("/v1/endpoints?limit=2&cursor={cursor}"));
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["a".to_owned()], &Value::Null));
    world
        .request("GET", "/v1/endpoints?cursor=ep_00000000000000000000000000", &[], b"")
        .problem(400, "bad_request");
}
