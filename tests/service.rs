//! The protocol of a service manager, with a manager of the test's own: what it is told, what it passes, and its watchdog.

mod support;

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    process::{Pid, Signal, kill_process},
};
use serde_json::json;
use support::{
    config::endpoint,
    eventually, http, now,
    receiver::{Receiver, Reply},
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

fn hang_up(world: &World) {
    let pid = Pid::from_raw(world.pid().try_into().expect("a process id")).expect("not 0");
    kill_process(pid, Signal::HUP).expect("it runs");
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
    assert_eq!(
        manager.told(0),
        ["STATUS=opening the store", "READY=1\nSTATUS=accepting events; nothing pending"]
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
    hang_up(&world);
    manager.hears(from, "the reload's end", is_ready);
    assert_eq!(assert_reload(&manager.told(from)), "READY=1");
    manager.hears(from, "how it stands", |text| text == "STATUS=accepting events; nothing pending");

    let from = manager.count();
    world.stop();
    let heard = manager.heard();
    let first = &heard[from].1;
    assert!(first.starts_with("STOPPING=1\nSTATUS=stopping: "), "{first}");
    let time = first.split("\nEXTEND_TIMEOUT_USEC=").nth(1).and_then(|time| time.parse::<u64>().ok());
    assert!(time.is_some_and(|time| time > 30_000_000), "longer than attempts may take: {first}");
    assert_eq!(manager.told(from).len(), 1, "{:?}", manager.told(from));
}

#[test]
fn the_line_says_what_is_pending_disabled_and_missing() {
    let secret = "[[endpoint]]\nname = \"shop\"\nurl = \"http://127.0.0.1:9/\"\nevent_types = [\"a.b\"]\nsecret = \"@credential:shop-secret\"\n";
    let mut world = World::new(secret);
    let manager = Manager::of(&mut world);
    world.spawn();
    manager.hears(0, "the start's end", is_ready);
    let ready =
        "READY=1\nSTATUS=accepting events; nothing pending; 1 endpoint disabled; 1 credential missing";
    assert!(manager.told(0).iter().any(|text| text == ready), "{:?}", manager.told(0));
    world.emit("a.b", &json!({}));
    manager.hears(0, "what is pending", |text| {
        let rest = text.strip_prefix("STATUS=accepting events; 1 pending, the oldest ");
        rest.is_some_and(|rest| rest.ends_with(" s; 1 endpoint disabled; 1 credential missing"))
    });
    world.stop();
}

/// The daemon's standard error as a pipe that nobody reads for a while.
struct Pipe(File, std::path::PathBuf);

impl Pipe {
    fn of(world: &World) -> Self {
        let path = world.path("daemon.log");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
        let nonblocking = OFlags::NONBLOCK.bits().try_into().expect("a flag");
        let pipe = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(&path);
        Self(pipe.expect("a pipe"), path)
    }

    /// Whoever writes to it waits from now on.
    fn fill(&mut self) {
        // Whole pages first, then what is left: a line finds no room then.
        for size in [4096, 1] {
            while self.0.write(&vec![b'.'; size]).is_ok() {}
        }
    }

    /// What was written to it.
    fn read(&mut self) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.0.read(&mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Else whoever looks for the log would wait for a writer.
        let _ = fs::remove_file(&self.1);
    }
}

#[test]
fn the_watchdog_hears_nothing_while_a_part_is_stuck() {
    const PERIOD: Duration = Duration::from_secs(3);
    // This disables the endpoint.
    let receiver = Receiver::answering(|_| Reply::Status(410));
    let mut world = World::new(&endpoint("erp", &receiver.url("/"), &["*"], "posthaste"));
    let manager = Manager::of(&mut world);
    world.set_env("WATCHDOG_USEC", Path::new(&PERIOD.as_micros().to_string()));
    let mut pipe = Pipe::of(&world);
    world.spawn();
    eventually("pings", || (manager.pings().len() >= 4).then_some(()));
    let pings = manager.pings();
    let gaps = pings.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.min().expect("some") > PERIOD / 6, "about three in a period: {pings:?}");

    // The engine says in the log that the endpoint is disabled, and comes no further with that.
    pipe.read();
    pipe.fill();
    world.emit("a.b", &json!({}));
    receiver.wait(1);
    eventually("no ping for longer than the manager waits", || {
        let last = *manager.pings().last().expect("some");
        (now() - last > PERIOD + PERIOD / 2).then_some(())
    });

    let (before, mut log) = (manager.pings().len(), String::new());
    eventually("pings again, and a word in the log", || {
        log += &pipe.read();
        let line = log.lines().find(|line| line.contains("watchdog is about to strike"))?;
        assert!(line.contains("ERROR") && line.ends_with("the engine of the deliveries"), "{line}");
        (manager.pings().len() > before).then_some(())
    });
    world.stop();
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
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
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
