//! The protocol of a service manager, with a manager of the test's own: what it is told, what it passes, and its watchdog.

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{
    config::{endpoint, endpoint_with_secret},
    eventually, http, now,
    stand::Stand,
    world::World,
};

/// What a manager was told, and when.
type Heard = Vec<(Instant, String)>;

/// Whoever listens where `NOTIFY_SOCKET` says.
struct Manager {
    heard: Arc<Mutex<Heard>>,
}

impl Manager {
    /// One that the world's daemons tell from their next start on.
    fn of(world: &mut World) -> Self {
        let path = world.path("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        world.set_env("NOTIFY_SOCKET", &path);
        let heard = Arc::<Mutex<Heard>>::default();
        let own = Arc::clone(&heard);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8(buffer[..length].to_vec()).expect("UTF-8");
                own.lock().unwrap_or_else(PoisonError::into_inner).push((now(), text));
            }
        });
        Self { heard }
    }

    fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it was told from the message of this number on, without pings and pleas for time.
    fn told(&self, from: usize) -> Vec<String> {
        let told = self.heard().into_iter().skip(from).map(|(_, text)| text);
        told.filter(|text| !text.starts_with("EXTEND_TIMEOUT") && text != "WATCHDOG=1").collect()
    }

    /// Waits for a message, from that of this number on.
    fn hears(&self, from: usize, what: &str, is: impl Fn(&str) -> bool) {
        eventually(what, || self.told(from).iter().any(|text| is(text)).then_some(()));
    }

    fn count(&self) -> usize {
        self.heard().len()
    }

    fn pings(&self) -> Vec<Instant> {
        self.heard().into_iter().filter(|(_, text)| text == "WATCHDOG=1").map(|(at, _)| at).collect()
    }
}

fn is_ready(text: &str) -> bool {
    text.starts_with("READY=1")
}

fn signal(world: &World, signal: Signal) {
    let pid = Pid::from_raw(world.pid().try_into().expect("a process id")).expect("not 0");
    kill_process(pid, signal).expect("it runs");
}

/// Checks what is said of a reload, and gives back the last of it.
fn assert_reload(told: &[String]) -> String {
    let [begun, ended, ..] = told else { panic!("{told:?}") };
    let micros = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{told:?}"));
    let micros: i128 = micros.parse().expect("a number");
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let age = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000 - micros;
    assert!((0..120_000_000).contains(&age), "{age}");
    ended.clone()
}

#[test]
fn the_manager_hears_of_the_start_of_reloads_and_of_the_stop() {
    let spools: Vec<_> = (0..20).map(|n| format!("{{ path = \"spool/{n}\" }}")).collect();
    let text = format!("spool = [{}]\n", spools.join(", "));
    let mut world = World::new(&text);
    let manager = Manager::of(&mut world);
    world.spawn();
    manager.hears(0, "the start's end", is_ready);
    for n in 0..20 {
        assert!(world.path("spool").join(n.to_string()).is_dir(), "it is made before");
    }
    manager.hears(0, "how it stands", |text| text == "STATUS=accepting events; nothing pending");
    assert_eq!(
        manager.told(0),
        [
            "STATUS=opening the store",
            "READY=1\nSTATUS=accepting events",
            "STATUS=accepting events; nothing pending"
        ]
    );
    assert_eq!(world.get("/readyz"), json!({"status": "ready"}));

    let from = manager.count();
    assert_eq!(world.cli(&["reload"]).status.code(), Some(0));
    manager.hears(from, "the reload's end", is_ready);
    assert_eq!(assert_reload(&manager.told(from)), "READY=1");

    world.configure("nonsense = 1\n");
    let from = manager.count();
    assert_ne!(world.cli(&["reload"]).status.code(), Some(0));
    manager.hears(from, "the reload's end", is_ready);
    let ended = assert_reload(&manager.told(from));
    assert!(ended.starts_with("READY=1\nSTATUS=the configuration was refused"), "{ended}");
    manager.hears(from, "how it stands", |text| {
        text.starts_with(
            "STATUS=accepting events; nothing pending; the configuration as it is written was refused",
        )
    });

    world.configure(&text);
    let from = manager.count();
    signal(&world, Signal::HUP);
    manager.hears(from, "the reload's end", is_ready);
    assert_eq!(assert_reload(&manager.told(from)), "READY=1");
    manager.hears(from, "how it stands", |text| text == "STATUS=accepting events; nothing pending");

    let from = manager.count();
    world.stop();
    manager.hears(from, "the stop", |text| text.starts_with("STOPPING=1"));
    let heard = manager.heard();
    let first = &heard[from].1;
    assert!(first.starts_with("STOPPING=1\nSTATUS=stopping: "), "{first}");
    let time = first.split("\nEXTEND_TIMEOUT_USEC=").nth(1).and_then(|time| time.parse::<u64>().ok());
    assert!(time.is_some_and(|time| time > 30_000_000), "longer than attempts may take: {first}");
    assert_eq!(manager.told(from).len(), 1, "{:?}", manager.told(from));
}

#[test]
fn the_line_says_what_is_pending_disabled_and_missing() {
    // No line for each event: they would be as many as the events.
    const PAUSE: Duration = Duration::from_secs(1);
    let secret = "[[endpoint]]\nname = \"shop\"\nurl = \"http://127.0.0.1:9/\"\nevent_types = [\"a.b\"]\nsecret = \"@credential:shop-secret\"\n";
    let mut world = World::new(secret);
    let manager = Manager::of(&mut world);
    world.spawn();
    manager.hears(0, "the start's end", is_ready);
    manager.hears(0, "what is amiss", |text| {
        text == "STATUS=accepting events; nothing pending; 1 endpoint disabled; 1 credential missing"
    });
    world.emit("a.b", &json!({}));
    // Nothing but time makes one follow the other.
    eventually("what is pending, and that it grows older", || {
        let ages = manager.told(0).into_iter().filter(|text| {
            let rest = text.strip_prefix("STATUS=accepting events; 1 pending, the oldest ");
            rest.is_some_and(|rest| rest.ends_with(" s; 1 endpoint disabled; 1 credential missing"))
        });
        (ages.count() >= 2).then_some(())
    });
    for _ in 0..5 {
        world.emit("a.b", &json!({}));
    }
    manager.hears(0, "that more is pending", |text| text.starts_with("STATUS=accepting events; 6 pending"));
    let lines = manager.heard().into_iter().filter(|(_, text)| text.starts_with("STATUS=accepting"));
    let times: Vec<_> = lines.map(|(at, _)| at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > PAUSE), "{:?}", manager.heard());

    let from = manager.count();
    for delivery in world.list("/v1/deliveries?status=pending") {
        let id = delivery["id"].as_str().expect("an id");
        world.request("POST", &format!("/v1/deliveries/{id}/cancel"), &[], b"").expect(200);
    }
    manager.hears(from, "that nothing is pending any more", |text| {
        text == "STATUS=accepting events; nothing pending; 1 endpoint disabled; 1 credential missing"
    });
    world.stop();
}

#[test]
fn how_a_missing_credential_is_provided_is_said_as_its_unit_has_it() {
    let mut world =
        World::new(&endpoint_with_secret("e", "http://127.0.0.1:9/", &["*"], "raw", "@credential:e"));
    let help = |world: &World| {
        let status = world.get("/v1/status");
        status["disabled_endpoints"][0]["help"].as_str().unwrap_or_else(|| panic!("{status}")).to_owned()
    };
    world.start();
    assert!(help(&world).contains("provide it, and `posthaste reload`"), "{}", help(&world));
    world.stop();
    // The one by which the shipped unit is known.
    fs::create_dir(world.path("credentials")).expect("a directory");
    fs::write(world.path("credentials/posthaste"), "").expect("a file");
    world.set_env("CREDENTIALS_DIRECTORY", &world.path("credentials"));
    world.start();
    assert!(
        help(&world).contains("in /etc/posthaste/credentials, and `systemctl restart"),
        "{}",
        help(&world)
    );
    world.stop();
}

#[test]
fn the_line_says_why_no_events_are_taken() {
    let mut world = World::new("store.max_size = \"1MiB\"\n");
    let manager = Manager::of(&mut world);
    world.spawn();
    manager.hears(0, "the start's end", is_ready);
    let event = json!({"type": "a.b", "data": "x".repeat(100_000)}).to_string();
    while world.post(&event).status == 202 {}
    manager.hears(0, "that it is full", |text| {
        text == "STATUS=no events are taken, as the store holds what `max_size` allows; nothing pending"
    });
    world.stop();
}

#[test]
fn the_line_is_made_anew_with_the_watchdog() {
    let text = "[accounts.default]\nsecret = \"@credential:callbacks\"\n";
    let mut world = World::new(&(endpoint("erp", "http://127.0.0.1:9/", &["*"], "posthaste") + text));
    let manager = Manager::of(&mut world);
    world.set_env("WATCHDOG_USEC", Path::new("1000000"));
    world.spawn();
    manager.hears(0, "what is amiss", |text| {
        text == "STATUS=accepting events; nothing pending; 1 credential missing"
    });
    // The look that the start has left due is over: nothing else has it look again.
    eventually("pings", || (manager.pings().len() > 12).then_some(()));
    let id = world.endpoint("erp")["id"].clone();
    let path = format!("/v1/endpoints/{}/disable", id.as_str().expect("an id"));
    world.request("POST", &path, &[], b"").expect(200);
    manager.hears(0, "what is disabled", |text| {
        text == "STATUS=accepting events; nothing pending; 1 endpoint disabled; 1 credential missing"
    });
    world.stop();
}

/// What gives a part something to do.
type Work<'a> = &'a dyn Fn();

#[test]
fn the_watchdog_hears_nothing_while_a_part_is_stuck() {
    const PERIOD: Duration = Duration::from_secs(3);
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = address.expect("a port");
    let mut world = World::new(&format!("listen.http = \"{address}\"\n"));
    let Some(stand) = Stand::of(&mut world) else { return };
    let manager = Manager::of(&mut world);
    world.set_env("POSTHASTE_LOG_FORMAT", Path::new("json"));
    world.set_env("WATCHDOG_USEC", Path::new(&PERIOD.as_micros().to_string()));
    world.spawn();
    let pings = eventually("pings", || Some(manager.pings()).filter(|pings| pings.len() >= 10));
    assert!(pings[9] - pings[0] > PERIOD * 3 / 2, "about three in a period: {pings:?}");

    let (unix, event) = (world.socket(), json!({"type": "a.b", "data": {}}).to_string());
    let parts: [(&str, Option<&str>, Work<'_>); 4] = [
        ("store", Some("the writer of the store"), &|| world.hang_up("POST", "/v1/events", &event)),
        ("unix", Some("the thread of the socket"), &|| {
            drop(UnixStream::connect(&unix).expect("it listens"));
        }),
        // A thread of the shared runtime, which may have held its timers: what would say that it stands may stand with it.
        ("tcp", None, &|| {
            drop(TcpStream::connect(address).expect("it listens"));
        }),
        ("runtime", None, &|| {}),
    ];
    for (word, name, has_work) in parts {
        let (said, from) = (world.log().matches("part_silent").count(), manager.pings().len());
        stand.still(word);
        has_work();
        eventually("no ping for longer than the manager waits", || {
            let last = *manager.pings().last().expect("some");
            (now() - last > PERIOD + PERIOD / 2).then_some(())
        });
        assert!(manager.pings().len() <= from + 2, "{word}: none but what was on its way");
        if let Some(name) = name {
            let log = world.log();
            let line = log.lines().filter(|line| line.contains("part_silent")).nth(said);
            let line = line.unwrap_or_else(|| panic!("nothing of {name}:\n{log}"));
            let line: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["level"], "error");
            let message = line["message"].as_str().expect("a text");
            assert!(message.ends_with(&format!(": for 1.5s there was no answer from {name}")), "{message}");
        }
        let before = manager.pings().len();
        stand.go_on();
        eventually("pings again", || (manager.pings().len() > before + 1).then_some(()));
    }
    world.stop();
}

#[test]
fn more_time_is_asked_for_while_the_store_is_worked_on_and_only_then() {
    let mut world = World::new("");
    let Some(stand) = Stand::of(&mut world) else { return };
    let manager = Manager::of(&mut world);
    let pleas = |from: usize| {
        manager.heard().into_iter().skip(from).filter(|(_, text)| text.starts_with("EXTEND")).count()
    };
    let is_left_alone = |from: usize| {
        // From look to look there are 2 s; what moved just before may be in the first.
        let (begun, before) = (now(), pleas(from));
        eventually("some looks", || (now() - begun > Duration::from_secs(7)).then_some(()));
        assert!(pleas(from) <= before + 1, "{:?}", manager.heard());
    };
    stand.still("pace");
    world.spawn();
    eventually("it asks, and again", || (pleas(0) >= 2).then_some(()));
    stand.still("store");
    is_left_alone(0);
    assert!(!manager.told(0).iter().any(|text| is_ready(text)), "the start goes on: {:?}", manager.heard());
    stand.go_on();
    manager.hears(0, "the start's end", is_ready);
    manager.hears(0, "how it stands", |text| text == "STATUS=accepting events; nothing pending");

    let from = manager.count();
    stand.still("pace");
    world.terminate();
    eventually("it asks", || (pleas(from) >= 1).then_some(()));
    let first = &manager.heard()[from].1;
    assert!(first.starts_with("STOPPING=1\n"), "first of all: {first}");
    stand.still("store");
    is_left_alone(from);
    stand.go_on();
    assert_eq!(world.wait().code(), Some(0), "{}", world.log());
}

fn ask(stream: &mut UnixStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_passed_socket_is_served_over_restarts_and_nobody_is_refused() {
    let mut world = World::new("");
    let listener = UnixListener::bind(world.socket()).expect("a socket");
    fs::set_permissions(world.socket(), fs::Permissions::from_mode(0o600)).expect("a mode");
    let file = |world: &World| {
        let metadata = fs::metadata(world.socket()).expect("its file is there");
        (metadata.ino(), metadata.mode())
    };
    let before = file(&world);
    world.pass("socket", listener);
    for _ in 0..3 {
        // They wait for a daemon that does not run yet.
        let mut waiting: Vec<_> =
            (0..50).map(|_| UnixStream::connect(world.socket()).expect("nobody is refused")).collect();
        world.start();
        for stream in &mut waiting {
            let answer = ask(stream);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert_eq!(file(&world), before, "neither made anew nor changed");
        world.emit("a.b", &json!({}));
        world.stop();
        assert_eq!(file(&world), before);
    }
    assert!(!world.log().contains("look in vain"), "{}", world.log());
}

#[test]
fn a_passed_socket_elsewhere_is_warned_of_and_served() {
    let mut world = World::new("");
    let elsewhere = world.path("elsewhere.sock");
    world.pass("socket", UnixListener::bind(&elsewhere).expect("a socket"));
    world.spawn();
    eventually("it answers", || {
        let answer = http::request(&elsewhere, "GET", "/readyz", &[], b"").ok()?;
        (answer.status == 200).then_some(())
    });
    assert!(!world.socket().exists(), "it is used in place of another");
    assert!(world.log().contains("or producers will look in vain"), "{}", world.log());
    world.terminate();
    assert_eq!(world.wait().code(), Some(0));
}

#[test]
fn the_api_is_served_on_a_passed_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut world = World::new(&format!("listen.http = \"{address}\"\n"));
    let socket = UnixListener::bind(world.socket()).expect("a socket");
    world.pass("socket", socket);
    world.pass("http", listener);
    world.start();
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    world.stop();
}

#[test]
fn what_nobody_would_serve_ends_the_start() {
    let tcp = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let unix = |world: &World, name: &str| UnixListener::bind(world.path(name)).expect("a socket");
    let refused = |world: &mut World, said: &str| {
        world.spawn();
        assert_eq!(world.wait().code(), Some(78), "{}", world.log());
        assert!(world.log().contains(said), "{said}: {}", world.log());
    };
    let mut world = World::new("");
    world.pass("posthaste.socket", unix(&world, "p.sock"));
    refused(
        &mut world,
        "named `posthaste.socket`, which nobody here would serve: write `FileDescriptorName=socket`",
    );
    let mut world = World::new("");
    world.pass("socket", tcp());
    refused(&mut world, "passes as `socket` what is not a Unix stream socket that listens");
    let mut world = World::new("");
    world.pass("socket", UnixDatagram::bind(world.path("d.sock")).expect("a socket"));
    refused(&mut world, "passes as `socket` what is not");
    let mut world = World::new("");
    let (connected, _other) = UnixStream::pair().expect("a pair");
    world.pass("socket", connected);
    refused(&mut world, "`Accept=no`");
    let mut world = World::new("listen.http = \"127.0.0.1:0\"\n");
    world.pass("http", unix(&world, "h.sock"));
    refused(&mut world, "passes as `http` what is not a TCP socket that listens");
    let mut world = World::new("");
    world.pass("http", tcp());
    refused(&mut world, "the configuration has no API over TCP: write `http = \"127.0.0.1:");
    let mut world = World::new("listen.http = \"127.0.0.1:0\"\n");
    world.pass("http", TcpListener::bind("0.0.0.0:0").expect("a port"));
    refused(&mut world, "keys may not go over it in the clear");
    let mut world = World::new("");
    world.pass("socket", unix(&world, "a.sock"));
    world.pass("socket", unix(&world, "b.sock"));
    refused(&mut world, "two sockets named `socket`");
}
