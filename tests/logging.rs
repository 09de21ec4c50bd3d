//! The log as those who run the daemon have it: text, JSON, with priorities; what it says of deliveries that fail; and that
//! nobody waits for it.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::{fs::MetadataExt as _, net::UnixDatagram},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    DEADLINE,
    api::Api,
    config::{KEY, endpoint, profile, secret},
    eventually, now,
    people::is_root,
    receiver::{Receiver, Reply},
    world::World,
};

/// How long the daemon's end waits for the log.
const PATIENCE: Duration = Duration::from_secs(2);

/// Nobody knows them but producer and receiver.
const PAYLOAD: &str = "hush-hush-payload";

/// An endpoint `erp` at the receiver, whose deliveries have one attempt.
fn configuration(receiver: &Receiver) -> String {
    let keys = "circuit = 3\nprobe = [\"1ms\"]\nconcurrency = 1";
    endpoint("erp", &receiver.url("/"), &["*"], "once") + &profile("once", &["0s"], keys)
}

/// A world whose log is JSON.
fn in_json(text: &str, level: &str) -> World {
    let mut world = World::new(text);
    world.set_env("POSTHASTE_LOG_FORMAT", Path::new("json"));
    world.set_env("POSTHASTE_LOG", Path::new(level));
    world
}

/// All lines of the log, each of which must be an object.
fn lines(world: &World) -> Vec<Value> {
    let log = world.log();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Those of a kind.
fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

#[test]
fn lines_of_json_have_what_programs_need() {
    let receiver = Receiver::start();
    let mut world = in_json(&configuration(&receiver), "info");
    world.start();
    let erp = world.endpoint("erp");
    let id = erp["id"].as_str().expect("an id");
    for action in ["disable", "enable"] {
        world.request("POST", &format!("/v1/endpoints/{id}/{action}"), &[], b"").expect(200);
    }
    world.stop();
    let all = lines(&world);
    for line in &all {
        let keys: Vec<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        let with_kind = ["fields", "kind", "level", "message", "message_id", "target", "time"];
        assert!(keys == with_kind || !keys.contains(&"kind"), "{line}");
        assert_eq!(
            line["level"],
            if line["kind"] == "endpoint_disabled" { "warn" } else { "info" },
            "{line}"
        );
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24), "{line}");
        assert!(line["target"].as_str().is_some_and(|target| target.starts_with("posthaste::")), "{line}");
        assert!(line["message_id"].as_str().is_some_and(|id| id.len() == 32), "{line}");
    }
    let kinds: Vec<_> = all.iter().map(|line| line["kind"].as_str().expect("a kind")).collect();
    let expected = ["listening", "accepting", "endpoint_disabled", "endpoint_enabled", "stopping", "stopped"];
    assert_eq!(kinds, expected);
    let disabled = &all[2]["fields"];
    assert_eq!(disabled, &json!({"endpoint": id, "account": "default", "reason": "operator"}));
    assert_eq!(all[0]["fields"]["socket"], world.socket().display().to_string());
}

#[test]
fn text_is_for_people_and_has_priorities_for_the_journal() {
    let receiver = Receiver::start();
    let mut world = World::new(&configuration(&receiver));
    world.start();
    world.stop();
    let log = world.log();
    let [listening, accepting, stopping, stopped] = log.lines().collect::<Vec<_>>().try_into().expect("four");
    assert!(listening.contains("Z  INFO listening socket=") && listening.starts_with("20"), "{log}");
    for (line, end) in [
        (accepting, "Z  INFO accepting events"),
        (stopping, "Z  INFO stopping: attempts in flight have 30 s to end"),
        (stopped, "Z  INFO stopped; the store is closed"),
    ] {
        assert!(line.ends_with(end), "{line}");
    }
    // What a process inherits whose standard error leads elsewhere.
    world.set_env("JOURNAL_STREAM", Path::new("1:1"));
    world.start();
    world.stop();
    let log = world.log();
    assert_eq!(log.lines().filter(|line| line.starts_with("20")).count(), 8, "{log}");
    let file = fs::metadata(world.path("daemon.log")).expect("it was written");
    world.set_env("JOURNAL_STREAM", Path::new(&format!("{}:{}", file.dev(), file.ino())));
    world.set_env("POSTHASTE_LOG_FORMAT", Path::new("text"));
    world.start();
    world.stop();
    let added = world.log()[log.len()..].to_owned();
    assert_eq!(added.lines().count(), 4, "{added}");
    assert!(added.lines().all(|line| line.starts_with("<6>20")), "{added}");
}

#[test]
fn what_cannot_be_used_is_said_and_the_usual_holds() {
    let mut world = World::new("");
    world.set_env("POSTHASTE_LOG", Path::new("verbose"));
    world.set_env("POSTHASTE_LOG_FORMAT", Path::new("xml"));
    world.start();
    world.stop();
    let log = world.log();
    assert!(
        log.contains(" WARN POSTHASTE_LOG cannot be used (\"verbose\" is no level), so `info` holds"),
        "{log}"
    );
    assert!(
        log.contains(" WARN POSTHASTE_LOG_FORMAT is `xml`, which there is not: give `text` or `json`"),
        "{log}"
    );
    assert!(log.contains(" INFO accepting events"), "{log}");
}

/// Behind the lines before it, and in their form.
#[test]
fn an_error_that_ends_the_daemon_is_the_last_line() {
    for format in ["text", "json"] {
        let mut world = World::new("");
        fs::write(world.path("outbox.redb"), "no store").expect("a file");
        world.set_env("POSTHASTE_LOG_FORMAT", Path::new(format));
        world.spawn();
        let code = world.wait().code();
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        let log = world.log();
        let lines: Vec<_> = log.lines().collect();
        assert!(lines[0].contains("listening"), "{log}");
        let last = lines.last().expect("a line");
        if format == "json" {
            let last: Value = serde_json::from_str(last).expect("JSON");
            assert_eq!((&last["kind"], &last["level"]), (&json!("failed"), &json!("error")));
            assert!(last["message"].as_str().is_some_and(|text| text.contains("outbox.redb")), "{last}");
        } else {
            assert!(last.starts_with("posthaste: ") && last.contains("outbox.redb"), "{last}");
        }
    }
}

#[test]
fn what_fails_again_and_again_is_said_once_and_counted() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let receiver =
        Receiver::answering(move |_| Reply::Status(if is_up.load(Ordering::SeqCst) { 204 } else { 503 }));
    let mut world = in_json(&configuration(&receiver), "info,posthaste=debug");
    world.start();
    let events: Vec<_> = (0..12).map(|n| world.emit("a.b", &json!({"n": n, "text": PAYLOAD}))).collect();
    world.settled();
    up.store(true, Ordering::SeqCst);
    world.ended(&world.emit("a.b", &json!({})));
    let delivered = world.delivery(&events[0])["id"].clone();
    let endpoint = world.endpoint("erp")["id"].clone();
    world.stop();
    let all = lines(&world);
    assert_eq!(of_kind(&all, "circuit_opened").len(), 1);
    assert_eq!(of_kind(&all, "circuit_closed").len(), 1);
    let failed = of_kind(&all, "delivery_failed");
    let [first, rest] = failed.as_slice() else { panic!("{failed:?}") };
    assert_eq!(first["fields"]["delivery"], delivered);
    assert_eq!(first["fields"]["event"], events[0]);
    assert_eq!(first["fields"]["reason"], "exhausted");
    assert_eq!(rest["fields"]["count"], 11);
    assert!([first, rest].iter().all(|line| line["fields"]["endpoint"] == endpoint), "{failed:?}");
    let attempts = of_kind(&all, "attempt_failed");
    assert_eq!(attempts.len(), 12);
    assert!(attempts.iter().all(|line| line["message"].as_str().is_some_and(|text| text.contains("503"))));
    assert!(!world.log().contains(PAYLOAD));
}

/// A pipe for standard error that is full, and that nobody reads until it is asked for.
#[test]
fn nobody_waits_for_whoever_does_not_read_the_log() {
    // At `trace` each failed attempt is a line, and more than are kept.
    const EVENTS: usize = 3000;
    let receiver = Receiver::answering(|hook| Reply::Status(if hook.earlier == 0 { 503 } else { 204 }));
    let twice = profile("twice", &["0s", "0s"], "");
    let mut world = World::new(&(endpoint("erp", &receiver.url("/"), &["*"], "twice") + &twice));
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let full = vec![b'x'; 60 << 10];
    writer.write_all(&full).expect("it has 64 KiB");
    world.set_stderr(writer.try_clone().expect("a descriptor").into());
    world.set_env("POSTHASTE_LOG", Path::new("trace"));
    world.start();
    let hand_in = |world: &World| {
        let mut stream = world.stream();
        for n in 0..EVENTS {
            stream.send(format!("{{\"type\":\"a.b\",\"data\":{{\"n\":{n},\"text\":\"{PAYLOAD}\"}}}}\n"));
        }
        stream.finish();
        assert!(stream.answers(EVENTS).iter().all(|answer| answer["id"].is_string()), "each is acknowledged");
        world.settled();
    };
    hand_in(&world);
    assert_eq!(receiver.hooks().len(), 2 * EVENTS, "each is delivered");
    let begun = now();
    world.stop();
    let took = now() - begun;
    assert!(
        (PATIENCE..10 * PATIENCE).contains(&took),
        "its end waits for the log, and not for ever: {took:?}"
    );

    world.start();
    hand_in(&world);
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        reader.read_exact(&mut vec![0; 60 << 10]).expect("what was there first");
        for line in BufReader::new(reader).lines() {
            said.send(line.expect("UTF-8")).expect("the test waits for it");
        }
    });
    let next = || heard.recv_timeout(DEADLINE).expect("the daemon goes on");
    let mut lines = vec![next()];
    while !lines.last().is_some_and(|line| line.contains("lines of the log are lost here")) {
        lines.push(next());
    }
    world.stop();
    drop((world, writer));
    lines.extend(heard);
    assert!(
        lines.last().is_some_and(|line| line.ends_with("stopped; the store is closed")),
        "{:?}",
        lines.last()
    );
    assert!(!lines.iter().any(|line| line.contains(PAYLOAD)));
}

/// What of the log must not be there, by what it is.
type Hidden = Vec<(&'static str, String)>;

/// Has a daemon at work with a secret of each kind, and with payloads that come by each way, some to be delivered and some
/// that are wrong.
fn keep_secrets(world: &World, api: &Api, receiver: &Receiver) -> Hidden {
    let made = world.request("POST", "/v1/keys", &[JSON], br#"{"role":"operator"}"#).expect(201);
    let key = made["key"].as_str().expect("a key").to_owned();
    let api = api.with_key(&key);
    let wrong = format!("{}{}", &key[..30], "0".repeat(58));
    assert_eq!(api.with_key(&wrong).get("/v1/status").status, 401);
    let added = json!({
        "url": receiver.url("/added"),
        "event_types": ["*"],
        "secret": "whsec_aHVzaC1odXNoLXNlY3JldC1vZi10aGUtYXBp",
        "headers": {"X-Extra": "hush-hush-added"},
    });
    api.post("/v1/endpoints", &added.to_string()).expect(201);
    let event = json!({"type": "a.b", "data": {"text": PAYLOAD}}).to_string();
    api.post("/v1/events", &event).expect(202);
    assert_eq!(api.post("/v1/events", &format!("{event}{PAYLOAD}")).status, 400);
    let mut stream = world.stream();
    stream.send(format!("{event}\n{{\"type\":\"a.b\",\"data\":{PAYLOAD}}}\n"));
    stream.finish();
    stream.answers(2);
    for (name, content) in [("good.json", event.as_str()), ("bad.json", PAYLOAD)] {
        fs::write(world.path("spool").join(name), content).expect("a file");
    }
    eventually("the bad file is rejected", || world.path("spool/failed/bad.json").exists().then_some(()));
    eventually("the good file is taken", || (!world.path("spool/good.json").exists()).then_some(()));
    world.settled();
    assert!(receiver.hooks().iter().all(|hook| hook.text().contains(PAYLOAD)));
    assert_eq!(receiver.hooks_at("/added").len(), 3);
    vec![
        ("a payload", PAYLOAD.to_owned()),
        ("a key", key[30..].to_owned()),
        ("a key that is none", wrong[30..].to_owned()),
        ("a secret as it is written", secret()["whsec_".len()..].to_owned()),
        ("a secret", String::from_utf8(KEY.to_vec()).expect("UTF-8")),
        ("a secret that came over the API", "aHVzaC1odXNoLXNlY3JldC1vZi10aGUtYXBp".to_owned()),
        ("a header's value", "hush-hush-header".to_owned()),
        ("a header's value that came over the API", "hush-hush-added".to_owned()),
        ("the proxy's password", "hush-hush-proxy".to_owned()),
    ]
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// What a daemon that [keeps secrets](keep_secrets) says at `trace`, its world made ready by `form`, must not have them.
fn assert_kept(form: impl FnOnce(&mut World) -> Box<dyn Fn(&World) -> String>) {
    // What it answers is shown; a payload that comes back is still one.
    let receiver = Receiver::answering(|hook| {
        Reply::Full(if hook.path == "/" { 503 } else { 200 }, ("x-echo", "1"), hook.text().to_owned())
    });
    let template = "[profiles.template]\nretry = [\"0s\"]\n[profiles.template.body]\nformat = \"template\"\n\
                    template = '{{ data.text | int }}'\n";
    // Whoever has the port here lets nobody else have it there.
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port();
    let text = [
        &format!("listen.http = \"127.0.0.2:{port}\"\nspool = [{{ path = \"spool\" }}]\n"),
        &endpoint("template", &receiver.url("/template"), &["*"], "template"),
        &endpoint("erp", &receiver.url("/"), &["*"], "once"),
        "headers = { Authorization = \"Bearer hush-hush-header\" }\n",
        "[accounts.default]\nhttps_only = false\n",
        &profile("once", &["0s"], ""),
        template,
        "[network]\nproxy = \"http://127.0.0.1:9\"\nallow = [\"127.0.0.0/8\"]\nproxy_authorization = \"us:hush-hush-proxy\"\nno_proxy = [\"127.0.0.1\"]\n",
    ];
    let mut world = World::new(&text.concat());
    world.set_env("POSTHASTE_LOG", Path::new("trace"));
    let log = form(&mut world);
    world.start();
    let hidden = keep_secrets(&world, &Api::at(([127, 0, 0, 2], port).into()), &receiver);
    world.stop();
    let log = log(&world);
    for said in
        ["attempt_failed", "template_failed", "spool_rejected", "endpoint_changed", "key_made", "stopped"]
    {
        assert!(log.contains(said), "{said}: {log}");
    }
    for (what, text) in hidden {
        let line = log.lines().find(|line| line.contains(&text));
        assert_eq!(line, None, "it has {what}");
    }
}

#[test]
fn no_line_of_json_has_a_secret_a_key_or_a_payload() {
    assert_kept(|world| {
        world.set_env("POSTHASTE_LOG_FORMAT", Path::new("json"));
        Box::new(World::log)
    });
}

#[test]
fn nothing_in_the_journal_has_a_secret_a_key_or_a_payload() {
    if !is_root() {
        return;
    }
    assert_kept(|world| {
        let directory = world.path("run/systemd/journal");
        fs::create_dir_all(&directory).expect("a directory");
        let journald = UnixDatagram::bind(directory.join("socket")).expect("a socket");
        world.mount(&world.path("run"), "/run");
        fs::write(world.path("daemon.log"), "").expect("a file");
        let file = fs::metadata(world.path("daemon.log")).expect("it was written");
        world.set_env("JOURNAL_STREAM", Path::new(&format!("{}:{}", file.dev(), file.ino())));
        let heard = Arc::<Mutex<String>>::default();
        let own = Arc::clone(&heard);
        thread::spawn(move || {
            let mut datagram = vec![0; 1 << 20];
            while let Ok(length) = journald.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                own.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Box::new(move |world| {
            eventually("the last word", || {
                let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.contains("POSTHASTE_KIND=stopped\n").then(|| heard.clone() + &world.log())
            })
        })
    });
}
