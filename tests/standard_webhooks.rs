//! What is sent, judged by others: the libraries of Standard Webhooks for Python and JavaScript.
//!
//! `.ci/run` fetches them to `standard-webhooks` in the target directory. Nothing is fetched here: where one is missing, its
//! part of a test says so and is skipped.

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use posthaste::{
    cli::profile,
    clock::Clock,
    delivery::{request::prepare, sign::Signer},
    model::{
        secret::{DatedSecret, Secret},
        time::Timestamp,
    },
    policy::facts::Facts,
};
use support::{
    config::{self, ODD, endpoint_with_secret},
    skip,
    world::World,
};

/// What the receivers know: two secrets that follow one another, and one of somebody else.
const NEWEST: &str = "whsec_bmV3ZXN0IHNlY3JldCB0aGF0IG5vYm9keSBoYXM=";
const OLD: &str = "whsec_dGhlIG9uZSBiZWZvcmUsIHN0aWxsIGluIHVzZS4=";
const OTHER: &str = "whsec_c29tZWJvZHkgZWxzZSdzLCB1bmhlYXJkIG9mIGk=";

/// A language with a library.
#[derive(Clone, Copy, Debug)]
enum Language {
    JavaScript,
    Python,
}

/// A receiver that runs; it ends when it is dropped.
struct Judge {
    process: Child,
    port: u16,
}

impl Judge {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// What it answers, and its reason if it refuses.
    fn answer(&self, headers: &[(String, String)], body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(support::DEADLINE)).expect("a time");
        let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{}content-length: {}\r\n\r\n",
            lines.concat(),
            body.len()
        );
        stream.write_all(&[request.as_bytes(), body].concat()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, text) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, text.to_owned())
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where `.ci/run` puts the libraries.
fn libraries() -> PathBuf {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tests.parent().expect("it is in the target directory").join("standard-webhooks")
}

/// The languages whose library is there.
fn languages() -> Vec<Language> {
    let there = |(language, file): (Language, &str)| {
        let path = libraries().join(file);
        if path.exists() {
            return Some(language);
        }
        // A registry may be out of reach.
        skip(&format!("{} is not there for {language:?} (.ci/run fetches it)", path.display()), false);
        None
    };
    let all = [
        (Language::Python, "venv/bin/python"),
        (Language::JavaScript, "node_modules/standardwebhooks/package.json"),
    ];
    all.into_iter().filter_map(there).collect()
}

fn judge(language: Language, secret: &str) -> Judge {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standard_webhooks");
    let mut command = match language {
        Language::JavaScript => {
            let mut command = Command::new("node");
            command.env("NODE_PATH", libraries().join("node_modules")).arg(scripts.join("receiver.cjs"));
            command
        }
        Language::Python => {
            let mut command = Command::new(libraries().join("venv/bin/python"));
            command.arg(scripts.join("receiver.py"));
            command
        }
    };
    let mut process = command.env("SECRET", secret).stdout(Stdio::piped()).spawn().expect("it is there");
    let mut port = String::new();
    let stdout = process.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut port).expect("it runs");
    Judge { process, port: port.trim().parse().expect("a port") }
}

#[test]
fn the_daemon_s_deliveries() {
    for language in languages() {
        let (good, other) = (judge(language, NEWEST), judge(language, OTHER));
        let mut text = config::profile("quick", &["0s"], "");
        for (name, profile) in [("enveloped", "posthaste"), ("as-it-came", "raw")] {
            text += &endpoint_with_secret(name, &good.url(), &["*"], profile, NEWEST);
        }
        text += &endpoint_with_secret("refuses", &other.url(), &["*"], "quick", NEWEST);
        let world = World::running(&text);
        for data in ODD {
            world.post(&format!("{{\"type\":\"scan.finished\",\"data\":{data}}}")).expect(202);
        }
        world.settled();
        let deliveries = world.list("/v1/deliveries");
        assert_eq!(deliveries.len(), 3 * ODD.len());
        for delivery in deliveries {
            let refuses = delivery["endpoint"] == "refuses";
            assert_eq!(delivery["status"], if refuses { "failed" } else { "succeeded" }, "{delivery}");
            if refuses {
                let whole = world.get(&format!("/v1/deliveries/{}", delivery["id"].as_str().expect("an id")));
                let response = &whole["attempts"][0]["response"];
                assert_eq!(response["body"], "No matching signature found", "{language:?}: {whole}");
            }
        }
    }
}

/// A request as it is sent under the profile `raw`, its headers as texts.
fn request(secrets: &[DatedSecret], timestamp: Timestamp, body: &[u8]) -> Vec<(String, String)> {
    let form = profile::named("raw", None).expect("it is built in");
    let signer = Signer::new(&form, secrets).expect("keys");
    let data = Bytes::copy_from_slice(body);
    let facts = Facts {
        event_id: "evt_01hqr2p1qq8k3v7r5m6n0x9y2z",
        delivery_id: "dlv_01hqr2p1qq8k3v7r5m6n0x9y2z",
        delivery_short: "",
        endpoint_id: "ep_01hqr2p1qq8k3v7r5m6n0x9y2z",
        event_type: "scan.finished",
        account: "default",
        producer_id: None,
        event_time: timestamp,
        data: &data,
        content_type: None,
        cloud: None,
        attempt: 1,
        timestamp,
        age: timestamp,
    };
    let prepared = prepare(&form, &signer, &[], &facts).expect("a request");
    assert_eq!(prepared.body, data);
    let text = |value: &http::HeaderValue| value.to_str().expect("ASCII").to_owned();
    prepared.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn dated(text: &str, until: Option<Timestamp>) -> DatedSecret {
    DatedSecret { until, ..DatedSecret::lasting(Secret::new(text.to_owned())) }
}

const BODY: &[u8] = r#"{"pages": 3.0, "name": "日本語"}"#.as_bytes();
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn two_secrets_while_a_rotation_overlaps() {
    for language in languages() {
        let now = Clock::start().wall();
        for (until, accepted) in
            [(Some(now.plus(MINUTE)), [true, true, false]), (Some(now), [true, false, false])]
        {
            let headers = request(&[dated(NEWEST, None), dated(OLD, until)], now, BODY);
            for (secret, accepted) in [NEWEST, OLD, OTHER].into_iter().zip(accepted) {
                let (status, reason) = judge(language, secret).answer(&headers, BODY);
                assert_eq!(status == 204, accepted, "{language:?} {until:?} {secret}: {status} {reason}");
            }
        }
    }
}

#[test]
fn what_was_changed_is_refused() {
    for language in languages() {
        let judge = judge(language, NEWEST);
        let now = Clock::start().wall();
        let before = |by: Duration| {
            let by = u64::try_from(by.as_millis()).expect("minutes");
            Timestamp::from_millis(now.as_millis() - by)
        };
        let secrets = [dated(NEWEST, None)];
        let changed = |name: &str, value: &str| {
            let mut headers = request(&secrets, now, BODY);
            let header = headers.iter_mut().find(|(header, _)| header == name).expect("it is sent");
            value.clone_into(&mut header.1);
            headers
        };
        let earlier = (now.as_secs() - 1).to_string();
        let without: Vec<_> =
            request(&secrets, now, BODY).into_iter().filter(|(name, _)| name != "webhook-id").collect();
        for (what, headers, body, status) in [
            ("nothing", request(&secrets, now, BODY), BODY, 204),
            ("four minutes ago", request(&secrets, before(4 * MINUTE), BODY), BODY, 204),
            ("seven minutes ago", request(&secrets, before(7 * MINUTE), BODY), BODY, 400),
            ("a space more", request(&secrets, now, BODY), &[BODY, b" "].concat(), 400),
            ("another body", request(&secrets, now, BODY), b"{}", 400),
            ("another id", changed("webhook-id", "dlv_2"), BODY, 400),
            ("another time", changed("webhook-timestamp", &earlier), BODY, 400),
            ("another signature", changed("webhook-signature", "v1,AAAA"), BODY, 400),
            ("no id", without, BODY, 400),
        ] {
            let (got, reason) = judge.answer(&headers, body);
            assert_eq!(got, status, "{language:?}, {what}: {reason}");
        }
    }
}
