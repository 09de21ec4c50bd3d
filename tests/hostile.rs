//! Receivers that are slow, broken or malicious, by the built binary: each costs no more than its deadline, its bounded
//! bytes, and its own lane; and history says what it did.

mod support;

use std::{fs, time::Duration};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually,
    hostile::{Connection, Hostile},
    receiver::Receiver,
    world::World,
};

/// The time limit of those that never come to an answer's end of headers. That they take it all is their outcome, however
/// busy the machine is.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The time limit of one that answers at once and then never ends: a busy machine has to get its headers within that.
const LONGER: Duration = Duration::from_secs(3);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(10);
/// The time limit of the others. It is none of their outcomes, however busy the machine is.
const AMPLE: Duration = Duration::from_secs(30);
/// Events that go to all.
const EVENTS: usize = 40;
/// Attempts at each hostile one that are waited for, and looked at.
const LOOKED_AT: usize = 3;
const GIGABYTE: usize = 1 << 30;

/// What history has to say of an attempt.
#[derive(Clone, Default)]
struct Expected {
    status: Option<u16>,
    failure: Option<&'static str>,
    message: String,
    /// It takes all the time it has, and that is so much.
    takes: Option<Duration>,
    /// The length of the body that is kept, where it had more.
    truncated_to: Option<usize>,
    /// Every attempt but the first finds its connection closed.
    reconnected: bool,
}

/// A hostile receiver, and what is expected of attempts at it.
struct Case {
    name: &'static str,
    hostile: Hostile,
    expected: Expected,
}

impl Case {
    fn new(
        name: &'static str,
        manner: impl Fn(&mut Connection) + Send + Sync + 'static,
        expected: Expected,
    ) -> Self {
        Self { name, hostile: Hostile::start(manner), expected }
    }

    fn endpoint(&self) -> String {
        // The one that never reads is sent what no socket's buffer holds.
        let types = if self.name == "deaf" { "large.x" } else { "all.x" };
        let profile = match &self.expected {
            Expected { takes: Some(TIMEOUT), .. } => "endless",
            Expected { takes: Some(_), .. } => "unfinished",
            Expected { reconnected: true, .. } => "one",
            _ => "hostile",
        };
        endpoint(self.name, &self.hostile.url(), &[types], profile)
    }
}

impl Case {
    /// Holds the first attempts to what is expected, and the connections to their bytes.
    fn check(&self, world: &World) {
        let attempts = attempts(world, self.name, LOOKED_AT);
        for attempt in &attempts {
            self.expected.check(self.name, attempt);
        }
        if self.expected.reconnected {
            let reconnected = attempts.iter().filter(|attempt| attempt["reconnected"] == true).count();
            assert_eq!(reconnected, attempts.len() - 1, "{}", self.name);
        }
        let seen = self.hostile.seen();
        eprintln!("{:<14} {:>3} attempts, {seen:?}", self.name, attempts.len());
        assert!(seen.most_taken < (512 << 10) + socket_buffers(), "{}: {seen:?}", self.name);
        // What comes bit by bit does not pile up in buffers.
        assert!(self.name != "piecemeal" || seen.most_taken < 1 << 20, "16 KiB are read: {seen:?}");
    }
}

fn fails(failure: &'static str, message: &str) -> Expected {
    Expected { failure: Some(failure), message: message.to_owned(), ..Expected::default() }
}

fn times_out() -> Expected {
    Expected { takes: Some(TIMEOUT), ..fails("timeout", "no complete headers within 500ms") }
}

fn answers(status: u16, message: &str) -> Expected {
    Expected { status: Some(status), message: message.to_owned(), ..Expected::default() }
}

/// Answers every request on the connection so, and holds what is left.
fn answering(answer: String) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    move |connection| {
        while connection.request() {
            connection.say(&answer);
        }
    }
}

/// Reads a request, answers with the beginning of an answer, and goes on so.
fn begin(
    answer: &'static str,
    then: impl Fn(&mut Connection) + Send + Sync + 'static,
) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    move |connection| {
        if connection.request() {
            connection.say(answer);
            then(connection);
        }
    }
}

const HALF_HEAD: &str = "HTTP/1.1 200 OK\r\nx-half: ";
const HALF_BODY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart";
const ENDLESS: &str = "HTTP/1.1 200 OK\r\n\r\nbegin";

/// Receivers that never come to an end.
fn endless() -> Vec<Case> {
    let unfinished = "the endpoint took it: 200 OK; its body: the body was not complete within 3s";
    vec![
        Case::new("silent", begin("", Connection::hold), times_out()),
        Case::new("slow_head", begin(HALF_HEAD, |connection| connection.drip(b"x")), times_out()),
        // One after the other, each whole.
        Case::new(
            "header_lines",
            begin("HTTP/1.1 200 OK\r\n", |connection| connection.drip(b"x-more: and more\r\n")),
            times_out(),
        ),
        Case::new("deaf", Connection::ignore, times_out()),
        Case::new(
            "slow_body",
            begin(ENDLESS, |connection| connection.drip(b"x")),
            Expected { takes: Some(LONGER), ..answers(200, unfinished) },
        ),
    ]
}

/// Receivers that send too much.
fn greedy() -> Vec<Case> {
    let kept = |expected, length| Expected { truncated_to: Some(length), ..expected };
    let took = answers(200, "the endpoint took it: 200 OK");
    let refused = answers(500, "not a success under the endpoint's profile: 500 Internal Server Error");
    let flood = |connection: &mut Connection| connection.flood(&[b'x'; 1 << 14], GIGABYTE);
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
    vec![
        Case::new("gigabyte", begin(head, flood), kept(took.clone(), 1 << 10)),
        Case::new(
            "bad_gigabyte",
            begin("HTTP/1.1 500 No\r\ncontent-length: 1073741824\r\n\r\n", flood),
            kept(refused, 16 << 10),
        ),
        Case::new(
            "piecemeal",
            begin(head, |connection| connection.drip(&[b'x'; 1 << 10])),
            kept(took, 1 << 10),
        ),
        Case::new(
            "huge_head",
            begin("HTTP/1.1 200 OK\r\n", |connection| {
                connection.flood(&b"x-more: and more of it\r\n".repeat(500), GIGABYTE);
            }),
            fails("protocol", "the answer's headers are too many or too large"),
        ),
        Case::new(
            "interim",
            begin("", |connection| {
                connection.flood(&b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(300), GIGABYTE);
            }),
            fails("protocol", "the exchange failed: too much came before the answer's headers were complete"),
        ),
    ]
}

/// Receivers that break off, or speak something else.
fn broken() -> Vec<Case> {
    let body =
        |what| answers(200, &format!("the endpoint took it: 200 OK; its body: the connection was {what}"));
    vec![
        Case::new(
            "reset_in_head",
            begin(HALF_HEAD, Connection::reset),
            fails(
                "protocol",
                "the connection was reset before the answer's headers were complete (ECONNRESET)",
            ),
        ),
        Case::new(
            "reset_in_body",
            begin(HALF_BODY, Connection::reset),
            body("reset before the body was complete (ECONNRESET)"),
        ),
        Case::new(
            "cut_in_head",
            begin(HALF_HEAD, |_| ()),
            fails("protocol", "the connection was closed before the answer's headers were complete"),
        ),
        Case::new("cut_in_body", begin(HALF_BODY, |_| ()), body("closed before the body was complete")),
        Case::new(
            "half_closed",
            begin("", Connection::half_close),
            fails("protocol", "the connection was closed before the answer's headers were complete"),
        ),
        Case::new(
            "half_closed_in_body",
            begin(HALF_BODY, Connection::half_close),
            body("closed before the body was complete"),
        ),
        Case::new(
            "switching",
            begin("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", Connection::hold),
            answers(101, "not a success under the endpoint's profile: 101 Switching Protocols"),
        ),
        // Whatever comes before it, the answer counts.
        Case::new(
            "interims",
            answering(
                [
                    "100 Continue",
                    "102 Processing",
                    "103 Early Hints\r\nlink: </a>",
                    "200 OK\r\ncontent-length: 0",
                ]
                .map(|head| format!("HTTP/1.1 {head}\r\n\r\n"))
                .concat(),
            ),
            answers(200, "the endpoint took it: 200 OK"),
        ),
        Case::new(
            "no_http",
            begin("220 mail.example ESMTP\r\n", Connection::hold),
            fails("protocol", "the answer is no HTTP/1.1"),
        ),
        Case::new(
            "stale",
            |connection| {
                if connection.request() {
                    connection.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                    connection.request();
                }
            },
            Expected { reconnected: true, ..answers(200, "the endpoint took it: 200 OK") },
        ),
        Case::new(
            "closing",
            begin("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", |_| ()),
            answers(200, "the endpoint took it: 200 OK"),
        ),
    ]
}

/// Receivers that send elsewhere.
fn redirecting(trap: &Receiver) -> Vec<Case> {
    [
        ("moved", 301, "301 Moved Permanently"),
        ("found", 302, "302 Found"),
        ("temporary", 307, "307 Temporary Redirect"),
        ("permanent", 308, "308 Permanent Redirect"),
    ]
    .map(|(name, status, words)| {
        let location = trap.url("/trap");
        let answer = format!("HTTP/1.1 {words}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let message =
            format!("not a success under the endpoint's profile: {words} (redirects are not followed)");
        Case::new(name, answering(answer), answers(status, &message))
    })
    .into()
}

/// The profiles of the hostile ones: one attempt, and the next in an hour.
fn profiles() -> String {
    let profile = |name, timeout: Duration, more| {
        profile(name, &["0s", "1h"], &format!("timeout = \"{}ms\"{more}", timeout.as_millis()))
    };
    profile("endless", TIMEOUT, "")
        + &profile("unfinished", LONGER, "")
        + &profile("hostile", AMPLE, "")
        + &profile("one", AMPLE, "\nconcurrency = 1")
}

/// Hands in events of one type, many at once.
fn hand_in(world: &World, event_type: &str, count: usize, data: &str) {
    let lines = format!("{{\"type\":\"{event_type}\",\"data\":{data}}}\n").repeat(count);
    let headers = [("content-type", "application/x-ndjson")];
    let answer = world.request("POST", "/v1/events", &headers, lines.as_bytes()).expect(202);
    let items = answer["items"].as_array().expect("a list");
    assert!(items.len() == count && items.iter().all(|item| item["id"].is_string()), "{answer}");
}

/// The first attempts at this endpoint, of at least so many deliveries, oldest first.
fn attempts(world: &World, endpoint: &str, least: usize) -> Vec<Value> {
    let list = format!("/v1/deliveries?endpoint={endpoint}");
    let attempted = eventually(&format!("{least} attempts at {endpoint} are recorded"), || {
        let mut all = world.list(&list);
        all.retain(|delivery| delivery["attempt"] != 0);
        (all.len() >= least).then_some(all)
    });
    let whole = |delivery: &Value| {
        let delivery = world.get(&format!("/v1/deliveries/{}", delivery["id"].as_str().expect("an id")));
        assert_eq!(delivery["attempt"], 1, "the next is an hour away: {delivery}");
        delivery["attempts"][0].clone()
    };
    let mut attempts: Vec<_> = attempted.iter().map(whole).collect();
    attempts.sort_by_key(|attempt| attempt["started_at"].as_str().expect("a time").to_owned());
    attempts
}

/// What the sockets' buffers may take at most, on both sides.
fn socket_buffers() -> usize {
    ["tcp_wmem", "tcp_rmem"]
        .map(|name| {
            let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("Linux says so");
            let most = text.split_whitespace().last().expect("three numbers");
            most.parse::<usize>().expect("a number")
        })
        .iter()
        .sum()
}

impl Expected {
    fn check(&self, name: &str, attempt: &Value) {
        let response = &attempt["response"];
        assert_eq!(response["status_code"], json!(self.status), "{name}: {attempt}");
        assert_eq!(response["failure"], json!(self.failure), "{name}: {attempt}");
        let message = response["message"].as_str().expect("a message");
        assert!(message.starts_with(&self.message), "{name}: {attempt}");
        if self.failure.is_none() {
            assert_eq!(message, self.message, "{name}: {attempt}");
        }
        assert_eq!(response["body_truncated"], self.truncated_to.is_some(), "{name}: {attempt}");
        if let Some(length) = self.truncated_to {
            assert_eq!(response["body"].as_str().map(str::len), Some(length), "{name}");
        }
        let total = attempt["phases"]["total"].as_f64().expect("every attempt has a time");
        let total = Duration::from_secs_f64(total / 1e3);
        let limits = self.takes.map_or(Duration::ZERO..=AMPLE, |time| time..=time + SLACK);
        assert!(limits.contains(&total), "{name} cost {total:?}: {attempt}");
    }
}

#[test]
fn a_hostile_receiver_costs_its_deadline_and_bounded_bytes_and_history_says_how() {
    let (good, trap) = (Receiver::start(), Receiver::start());
    let cases: Vec<_> = [endless(), greedy(), broken(), redirecting(&trap)].into_iter().flatten().collect();
    let mut text = String::from("limits.event_size = \"16MiB\"\n");
    text.extend(cases.iter().map(Case::endpoint));
    for name in ["first", "second"] {
        text += &endpoint(name, &good.url(&format!("/{name}")), &["*"], "raw");
    }
    let world = World::running(&(text + &profiles()));
    let large = format!("\"{}\"", "x".repeat(8 << 20));
    for _ in 0..LOOKED_AT {
        hand_in(&world, "large.x", 1, &large);
    }
    hand_in(&world, "all.x", EVENTS, "{}");
    for path in ["/first", "/second"] {
        let hooks = good.wait_at(path, EVENTS + LOOKED_AT);
        let whole = hooks.iter().filter(|hook| hook.body.len() == large.len()).count();
        assert_eq!(whole, LOOKED_AT, "large payloads go on");
    }
    for case in &cases {
        case.check(&world);
    }
    assert_eq!(trap.hooks().len(), 0, "no redirect is followed");
}

#[test]
fn gigabytes_that_are_offered_cost_no_memory() {
    const RECEIVERS: [&str; 4] = ["a", "b", "c", "d"];
    let cases = greedy();
    let mut text = profiles();
    for name in RECEIVERS {
        for case in &cases {
            text += &endpoint(&format!("{name}-{}", case.name), &case.hostile.url(), &["all.x"], "hostile");
        }
    }
    let world = World::running(&text);
    let before = world.peak_memory();
    hand_in(&world, "all.x", EVENTS, "{}");
    for case in &cases {
        for name in RECEIVERS {
            attempts(&world, &format!("{name}-{}", case.name), EVENTS);
        }
    }
    let after = world.peak_memory();
    eprintln!("{} MiB before, {} MiB after", before >> 20, after >> 20);
    assert!(after - before < 48 << 20, "{before} bytes before, {after} bytes after");
}

/// With a deadline of ten minutes nothing here can wait for it.
#[test]
fn good_endpoints_go_on_while_forty_others_are_stuck() {
    const STUCK: usize = 40;
    let good = Receiver::start();
    let cases = endless();
    let mut text = String::from("limits.in_flight = 64\n") + &profile("stuck", &["0s"], "timeout = \"10m\"");
    for number in 0..STUCK {
        let hostile = &cases[number % cases.len()].hostile;
        text += &endpoint(&format!("stuck-{number}"), &hostile.url(), &["*"], "stuck");
    }
    for name in ["first", "second"] {
        text += &endpoint(name, &good.url(&format!("/{name}")), &["*"], "raw");
    }
    let world = World::running(&text);
    hand_in(&world, "all.x", EVENTS, "{}");
    eventually("each of the others has a request open", || {
        let endpoints = world.list("/v1/endpoints");
        let stuck = |one: &&Value| one["name"].as_str().is_some_and(|name| name.starts_with("stuck"));
        let open = endpoints.iter().filter(stuck).filter(|one| one["in_flight"] != 0).count();
        (open == STUCK).then_some(())
    });
    hand_in(&world, "all.x", EVENTS, "{}");
    for path in ["/first", "/second"] {
        good.wait_at(path, 2 * EVENTS);
    }
    eventually("the good ones' outcomes are recorded", || {
        let pending = |name| world.endpoint(name)["pending"] != 0;
        (!pending("first") && !pending("second")).then_some(())
    });
    for case in &cases {
        let seen = case.hostile.seen();
        assert_eq!(seen.ended, 0, "{} is as it was: {seen:?}", case.name);
    }
    let endpoints = world.list("/v1/endpoints");
    let attempted = endpoints.iter().filter(|one| one["consecutive_failures"] != 0).count();
    assert_eq!(attempted, 0, "no attempt at the others has ended: {endpoints:?}");
}
