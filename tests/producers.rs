//! `examples/producers`: programs of other languages hand events in, to a daemon that runs, that refuses, that is killed
//! and started again, and that says to come back later.
//!
//! A language that is not here is skipped, and the test says so.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    thread,
};

use serde_json::{Value, json};
use support::{
    config::{ODD, endpoint},
    eventually, now,
    people::{NOBODY, is_root},
    program::is_there,
    receiver::Receiver,
    scripted::{Scripted, TAKEN, not_now},
    skip,
    world::{World, stderr, stdout},
};

/// Programs that hand in events line by line, with what runs them and what needs to be there.
const STREAMS: [(&str, &[&str], &[&str]); 3] = [
    ("emit.py", &["lines"], &["python3"]),
    ("emit.mjs", &[], &["node"]),
    ("emit.sh", &["lines"], &["sh", "socat"]),
];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/producers").join(name)
}

/// Whether all of these are here; says so if not. What `.ci/run` needs must be there where it runs.
fn are_there(needed: &[&str], what: &str) -> bool {
    let missing = needed.iter().find(|command| !is_there(command));
    if let Some(missing) = missing {
        skip(&format!("there is no {missing} here for {what}"), !["socat", "nc", "curl"].contains(missing));
    }
    missing.is_none()
}

/// A program with its arguments, to be run against a socket.
fn program(socket: &Path, name: &str, args: &[&str]) -> Command {
    let path = example(name);
    let mut command = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("py") => Command::new("python3"),
        Some("mjs") => Command::new("node"),
        Some("sh") => Command::new("sh"),
        _ => Command::new(compiled()),
    };
    if name != "emit.c" {
        command.arg(path);
    }
    command.args(args).env("POSTHASTE_SOCKET", socket).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The C program, compiled as its head says.
fn compiled() -> &'static Path {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("producer-in-c");
        let mut command = Command::new("cc");
        command.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-o"]);
        let output = command.arg(&path).arg(example("emit.c")).output().expect("a C compiler");
        assert!(output.status.success(), "{}", stderr(&output));
        path
    })
}

/// Starts it; a thread feeds its standard input.
fn start(mut command: Command, input: impl Into<Vec<u8>>) -> Child {
    let mut child = command.spawn().expect("it is there");
    let (mut stdin, input) = (child.stdin.take().expect("it is piped"), input.into());
    // One that has seen enough does not read the rest.
    thread::spawn(move || stdin.write_all(&input));
    child
}

fn run(command: Command, input: impl Into<Vec<u8>>) -> Output {
    start(command, input).wait_with_output().expect("it ends")
}

/// As the program wants it: a file, named by the last argument.
fn run_lines(world: &World, (name, args, _): (&str, &[&str], &[&str]), text: impl AsRef<[u8]>) -> Output {
    let file = world.path("events.ndjson");
    fs::write(&file, text).expect("a file");
    let args = [args, &[file.to_str().expect("UTF-8")]].concat();
    run(program(&world.socket(), name, &args), "")
}

fn world(receiver: &Receiver) -> World {
    let text = endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let mut world = World::new("");
    fs::create_dir(world.path("spool")).expect("a directory");
    world.configure(&format!("limits.event_size = \"2MiB\"\n{text}[[spool]]\npath = \"spool\"\n"));
    world.start();
    world
}

#[track_caller]
fn assert_code(output: &Output, code: i32, what: &str) {
    assert_eq!(output.status.code(), Some(code), "{what}: {}", stderr(output));
}

/// Payloads that a careless program would spoil.
fn payloads() -> Vec<String> {
    let large = format!("\"{}é\"", "x".repeat(1 << 20));
    ODD.into_iter()
        .map(str::to_owned)
        .chain([large, "\"a\u{2028}b\u{2029}\u{85}\u{7f}\"".to_owned()])
        .collect()
}

/// Waits until so many have come, and holds their bodies against the payloads, in whatever order.
#[track_caller]
fn assert_received(receiver: &Receiver, world: &World, mut expected: Vec<String>, what: &str) {
    receiver.wait(expected.len());
    world.settled();
    let mut bodies: Vec<_> = receiver.hooks().iter().map(|hook| hook.text().to_owned()).collect();
    bodies.sort_unstable();
    expected.sort_unstable();
    let short =
        |texts: &[String]| texts.iter().map(|text| text.chars().take(60).collect()).collect::<Vec<String>>();
    assert!(bodies == expected, "{what}: {:?}\n{:?}", short(&bodies), short(&expected));
}

/// What a program that hands in one event is run with, and with what of the payload; its event's id is `id`.
fn one(world: &World, name: &str, id: &str, payload: &str) -> Output {
    let socket = world.socket();
    match name {
        "emit.c" => run(program(&socket, name, &["odd.one", id]), payload),
        _ => run(program(&socket, name, &["post", "odd.one", id]), payload),
    }
}

#[test]
fn one_event_after_the_other_is_taken_once_with_every_payload() {
    for (name, needed) in [("emit.py", &["python3"][..]), ("emit.sh", &["sh", "curl"]), ("emit.c", &["cc"])] {
        if !are_there(needed, name) {
            continue;
        }
        let receiver = Receiver::start();
        let world = world(&receiver);
        // The C program makes a text of what it is given, so for it anything is a payload.
        let payloads = match name {
            "emit.c" => {
                payloads().into_iter().chain(["\"\\\u{1}\n\r\t\0".to_owned(), String::new()]).collect()
            }
            _ => payloads(),
        };
        for (index, payload) in payloads.iter().enumerate() {
            let id = format!("id-{index}");
            let output = one(&world, name, &id, payload);
            assert_code(&output, 0, name);
            if index > 1 {
                continue;
            }
            let first: Value = serde_json::from_slice(&output.stdout).expect("the answer");
            let again: Value =
                serde_json::from_slice(&one(&world, name, &id, payload).stdout).expect("the answer");
            assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)), "{name}");
        }
        let text = |payload: &String| json!({ "text": payload }).to_string().replace('\u{7f}', "\\u007f");
        let expected = if name == "emit.c" { payloads.iter().map(text).collect() } else { payloads };
        if name == "emit.c" {
            receiver.wait(expected.len());
            world.settled();
            let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON").to_string();
            let bodies: BTreeSet<_> = receiver.hooks().iter().map(|hook| read(hook.text())).collect();
            assert_eq!(bodies, expected.iter().map(|text: &String| read(text)).collect());
        } else {
            assert_received(&receiver, &world, expected, name);
        }
        // What is refused for good: an id that is another event's, a type that is none.
        let output = one(&world, name, "id-0", "\"other\"");
        assert_code(&output, 65, name);
        assert!(stderr(&output).contains("id_conflict"), "{}", stderr(&output));
    }
}

#[test]
fn lines_are_taken_with_every_payload_and_bad_ones_are_named() {
    for stream in STREAMS {
        let (name, _, needed) = stream;
        if !are_there(needed, name) {
            continue;
        }
        let receiver = Receiver::start();
        let world = world(&receiver);
        let line = |(index, payload): (usize, &String)| {
            format!("{{\"type\":\"odd.one\",\"id\":\"id-{index}\",\"data\":{payload}}}\n")
        };
        let text: String = payloads().iter().enumerate().map(line).collect();
        let output = run_lines(&world, stream, text.trim_end());
        assert_code(&output, 0, name);
        assert_eq!(stderr(&output), "", "{name}");
        // The first line chooses no other dialect, and the others are taken.
        let bad = format!("POST it\n{text}{{\"type\":\"a.b\",\"account\":\"nobody\"}}\n");
        let output = run_lines(&world, stream, &bad);
        assert_code(&output, 65, name);
        let said = stderr(&output);
        assert!(said.contains("invalid_event") && said.contains("unknown_account"), "{name}: {said}");
        assert_eq!(said.lines().count(), 2, "{name}: {said}");
        // Bytes that are no text, and a byte order mark, are not made good for the daemon.
        for bad in [&b"{\"type\":\"a.b\",\"data\":\"\xff\"}\n"[..], b"\xef\xbb\xbf{\"type\":\"a.b\"}\n"] {
            let output = run_lines(&world, stream, bad);
            assert_code(&output, 65, name);
            assert!(stderr(&output).contains("invalid_event"), "{name}: {}", stderr(&output));
        }
        assert_received(&receiver, &world, payloads(), name);
    }
}

#[test]
fn files_appear_in_the_spool_directory_whole() {
    for (name, needed) in [("emit.sh", &["sh"][..]), ("emit.c", &["cc"])] {
        if !are_there(needed, name) {
            continue;
        }
        let receiver = Receiver::start();
        let world = world(&receiver);
        let spool = world.path("spool");
        let directory = spool.to_str().expect("UTF-8");
        let payloads: Vec<_> = payloads().into_iter().filter(|payload| !payload.contains("E+400")).collect();
        let text = |payload: &String| json!({ "text": payload }).to_string();
        for (index, payload) in payloads.iter().enumerate() {
            let file = format!("event-{index}");
            let output = if name == "emit.c" {
                run(
                    program(Path::new("/no/socket"), name, &["-d", directory, &file, "odd.one", &file]),
                    payload.clone(),
                )
            } else {
                let event = format!("{{\"type\":\"odd.one\",\"id\":\"{file}\",\"data\":{payload}}}");
                run(program(Path::new("/no/socket"), name, &["spool", directory, &file]), event)
            };
            assert_code(&output, 0, name);
        }
        if name == "emit.c" {
            receiver.wait(payloads.len());
            let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON").to_string();
            let bodies: BTreeSet<_> = receiver.hooks().iter().map(|hook| read(hook.text())).collect();
            assert_eq!(bodies, payloads.iter().map(|payload| read(&text(payload))).collect());
        } else {
            assert_received(&receiver, &world, payloads, name);
        }
        eventually("all files are gone", || {
            let left = fs::read_dir(&spool).expect("a directory").flatten();
            (left.filter(|entry| entry.path().is_file()).count() == 0).then_some(())
        });
        let missing = world.path("missing");
        let args = match name {
            "emit.c" => vec!["-d", missing.to_str().expect("UTF-8"), "f", "a.b", "f"],
            _ => vec!["spool", missing.to_str().expect("UTF-8"), "f"],
        };
        let output = run(program(Path::new("/no/socket"), name, &args), "{}");
        assert_code(&output, if name == "emit.c" { 74 } else { 64 }, name);
    }
}

#[test]
fn a_pipe_is_handed_in_while_it_is_open() {
    for (name, args, needed) in [("emit.py", &["lines"][..], &["python3"][..]), ("emit.mjs", &[], &["node"])]
    {
        if !are_there(needed, name) {
            continue;
        }
        let receiver = Receiver::start();
        let world = world(&receiver);
        let mut child = program(&world.socket(), name, args).spawn().expect("it is there");
        let mut input = child.stdin.take().expect("it is piped");
        let line = |n| format!("{{\"type\":\"a.b\",\"data\":{n}}}\n");
        input.write_all((1..4).map(line).collect::<String>().as_bytes()).expect("it reads");
        receiver.wait(3);
        // Of a line that has begun nothing goes out.
        let (begun, rest) = (line(4), line(5));
        input.write_all(&begun.as_bytes()[..9]).expect("it reads");
        input.write_all(&begun.as_bytes()[9..]).expect("it reads");
        receiver.wait(4);
        input.write_all(rest.trim_end().as_bytes()).expect("it reads");
        drop(input);
        assert_code(&child.wait_with_output().expect("it ends"), 0, name);
        receiver.wait(5);
    }
}

#[test]
fn time_without_input_is_no_time_without_success() {
    for (name, args, needed, patience, short) in [
        ("emit.py", &["lines"][..], &["python3"][..], "PATIENCE = 60 ", "PATIENCE = 2 "),
        ("emit.mjs", &[], &["node"], "PATIENCE = 60_000;", "PATIENCE = 2_000;"),
    ] {
        if !are_there(needed, name) {
            continue;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let text = fs::read_to_string(example(name)).expect("the example");
        assert!(text.contains(patience), "{name}");
        let hasty = directory.path().join(name);
        fs::write(&hasty, text.replace(patience, short)).expect("a file");
        let socket = directory.path().join("p.sock");
        // The daemon is started anew, and busy at first.
        let script = [TAKEN.to_owned(), not_now("busy", 0), TAKEN.to_owned()];
        let daemon = Scripted::start(&socket, script.map(|answer| vec![(1, answer)]).to_vec());
        let mut command = Command::new(needed[0]);
        command.arg(hasty).args(args).env("POSTHASTE_SOCKET", &socket);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is there");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(b"{\"type\":\"a.b\",\"id\":\"1\"}\n").expect("it reads");
        let began = now();
        eventually("it has had no patience for so long", || {
            (began.elapsed().as_millis() > 3_500).then_some(())
        });
        input.write_all(b"{\"type\":\"a.b\",\"id\":\"2\"}\n").expect("it reads");
        drop(input);
        assert_code(&child.wait_with_output().expect("it ends"), 0, name);
        assert_eq!(daemon.read(), [1, 1, 1], "{name}");
    }
}

#[test]
fn input_that_cannot_be_read_is_told() {
    for (name, args, needed) in STREAMS {
        if !are_there(needed, name) {
            continue;
        }
        for file in ["/no/file", "/"] {
            let output = run(program(Path::new("/no/socket"), name, &[args, &[file]].concat()), "");
            assert_code(&output, 74, name);
            let said = stderr(&output);
            assert!(said.contains("read") && said.lines().count() == 1, "{name}: {said}");
        }
    }
}

#[test]
fn whoever_may_not_use_the_socket_is_told_so() {
    if !is_root() || !are_there(&["sh", "curl"], "emit.sh") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("p.sock");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    // Where somebody else can read it.
    let script = fs::read(example("emit.sh")).expect("the example");
    let path = directory.path().join("emit.sh");
    fs::write(&path, script).expect("a file");
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    mode(&path, 0o644);
    let somebody = |socket: &Path, args: &[&str]| {
        let mut command = Command::new("sh");
        command.arg(&path).args(args).env("POSTHASTE_SOCKET", socket).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        NOBODY.does(|| command.output().expect("a shell"))
    };
    mode(directory.path(), 0o755);
    mode(&socket, 0o660);
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).expect("a directory");
    mode(&closed, 0o750);
    for socket in [&socket, &closed.join("p.sock")] {
        for args in [&["post", "a.b", "1"][..], &["lines", path.to_str().expect("UTF-8")]] {
            let output = somebody(socket, args);
            assert_code(&output, 77, "emit.sh");
            assert!(stderr(&output).starts_with("you may not "), "{}", stderr(&output));
        }
    }
}

#[test]
fn nothing_is_written_through_a_link_in_the_spool_directory() {
    for (name, needed, command) in [
        ("emit.c", &["cc", "sh"][..], r#"exec "$0" -d "$2" f a.b f"#),
        ("emit.sh", &["sh"], r#"exec sh "$0" spool "$2" f"#),
    ] {
        if !are_there(needed, name) {
            continue;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let (spool, victim) = (directory.path().join("spool"), directory.path().join("victim"));
        fs::create_dir(&spool).expect("a directory");
        fs::write(&victim, "mine").expect("a file");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!(r#"ln -s "$1" "$2/.f.$$.part"; {command}"#)]);
        let program = if name == "emit.c" { compiled().to_owned() } else { example(name) };
        shell.arg(program).arg(&victim).arg(&spool);
        let output = shell.stdin(Stdio::null()).output().expect("a shell");
        assert!(!output.status.success(), "{name}");
        assert_eq!(fs::read_to_string(&victim).expect("a file"), "mine", "{name}");
        assert!(!spool.join("f.json").exists(), "{name}");
    }
}

#[test]
fn a_daemon_that_is_killed_loses_nothing_and_nothing_is_made_twice() {
    const EVENTS: usize = 2_000;
    let line = |n| format!("{{\"type\":\"a.b\",\"id\":\"n-{n}\",\"data\":{n}}}\n");
    let text: String = (0..EVENTS).map(line).collect();
    for (name, args, needed) in STREAMS {
        if !are_there(needed, name) {
            continue;
        }
        let receiver = Receiver::start();
        let mut world = world(&receiver);
        let file = world.path("events.ndjson");
        fs::write(&file, &text).expect("a file");
        let args = [args, &[file.to_str().expect("UTF-8")]].concat();
        let running = start(program(&world.socket(), name, &args), "");
        receiver.wait(1);
        world.kill();
        world.start();
        let output = running.wait_with_output().expect("it ends");
        if name == "emit.sh" && output.status.code() == Some(75) {
            // It leaves it to whoever has started it to start it again.
            assert_code(&run(program(&world.socket(), name, &args), ""), 0, name);
        } else {
            assert_code(&output, 0, name);
        }
        world.settled();
        let hooks = receiver.hooks();
        let numbers: BTreeSet<usize> = hooks.iter().map(|hook| hook.text().parse().expect("n")).collect();
        assert!(numbers.iter().copied().eq(0..EVENTS), "{name}: {} of them", numbers.len());
        let deliveries: BTreeSet<_> = hooks.iter().map(|hook| hook.header("webhook-id")).collect();
        assert_eq!(deliveries.len(), EVENTS, "{name}");
    }
}

#[test]
fn a_daemon_that_is_not_there_is_waited_for() {
    for (name, args, needed) in [
        ("emit.py", &["post", "a.b", "1"][..], &["python3"][..]),
        ("emit.sh", &["post", "a.b", "1"], &["sh", "curl"]),
        ("emit.c", &["a.b", "1"], &["cc"]),
        ("emit.mjs", &[], &["node"]),
    ] {
        if !are_there(needed, name) {
            continue;
        }
        let receiver = Receiver::start();
        let mut world = world(&receiver);
        world.kill();
        let input = if name == "emit.mjs" { "{\"type\":\"a.b\"}\n" } else { "1" };
        let running = start(program(&world.socket(), name, args), input);
        world.start();
        assert_code(&running.wait_with_output().expect("it ends"), 0, name);
        receiver.wait(1);
        assert_eq!(world.list("/v1/events").len(), 1, "{name}");
    }
}

#[test]
fn what_is_refused_for_now_is_handed_in_again_when_it_was_said() {
    for (name, args, needed) in [
        ("emit.py", &["lines"][..], &["python3"][..]),
        ("emit.mjs", &[], &["node"]),
        ("emit.c", &["a.b", "1"], &["cc"]),
    ] {
        if !are_there(needed, name) {
            continue;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("p.sock");
        let script = [not_now("busy", 1), TAKEN.to_owned()].map(|answer| vec![(1, answer)]).to_vec();
        let daemon = Scripted::start(&socket, script);
        let began = now();
        let output = run(program(&socket, name, args), "{\"type\":\"a.b\",\"id\":\"1\"}\n");
        assert_code(&output, 0, name);
        assert!(began.elapsed().as_millis() >= 1_000, "{name} did not wait");
        assert_eq!(daemon.read(), [1, 1], "{name}");
        // Who may do nothing is told so once.
        let socket = directory.path().join("r.sock");
        let denied = json!({"error": {"code": "not_allowed", "message": "no"}}).to_string() + "\n";
        let daemon = Scripted::start(&socket, vec![vec![(1, denied)]]);
        let two = "{\"type\":\"a.b\",\"id\":\"1\"}\n".repeat(2);
        assert_code(&run(program(&socket, name, args), two), 77, name);
        daemon.read();
        // An hour is more than it waits.
        let socket = directory.path().join("q.sock");
        let daemon = Scripted::start(&socket, vec![vec![(1, not_now("store_full", 3_600))]]);
        let output = run(program(&socket, name, args), "{\"type\":\"a.b\",\"id\":\"1\"}\n");
        assert_code(&output, 75, name);
        assert!(stderr(&output).contains("not now"), "{}", stderr(&output));
        daemon.read();
    }
}

/// The shell commands that the page prints, block by block.
fn printed() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/producers.md");
    let page = fs::read_to_string(path).expect("docs/producers.md");
    let blocks = page.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("its end").to_owned()).collect()
}

#[test]
fn the_commands_of_the_page_do_what_they_say() {
    if !are_there(&["sh", "curl", "socat", "python3", "node", "cc"], "docs/producers.md") {
        return;
    }
    let receiver = Receiver::start();
    let world = world(&receiver);
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"), world.path("examples")).expect("a link");
    let binary = Path::new(env!("CARGO_BIN_EXE_posthaste")).parent().expect("a directory");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").expect("a path"));
    let blocks = printed();
    assert_eq!(blocks.len(), 3);
    for block in &blocks {
        let text = block
            .replace("/run/posthaste/posthaste.sock", world.socket().to_str().expect("UTF-8"))
            .replace("/var/spool/scans", world.path("spool").to_str().expect("UTF-8"));
        let mut command = Command::new("sh");
        command.args(["-eu", "-c", &text]).current_dir(world.path("")).env("PATH", &path);
        command.env("POSTHASTE_SOCKET", world.socket()).env("PYTHONDONTWRITEBYTECODE", "1");
        let output = command.output().expect("a shell");
        assert_code(&output, 0, &text);
        if text.contains("--resume") {
            assert!(stdout(&output).ends_with("1000\n"), "{}", stdout(&output));
        }
    }
    // Nine scans of four doors and five programs, two lines of a pipe, and a thousand readings, each once.
    receiver.wait(9 + 2 + 1_000);
    world.settled();
    assert_eq!(world.list("/v1/events").len(), 9 + 2 + 1_000);
}

#[test]
fn wrong_usage_is_told() {
    for (name, args, needed) in [
        ("emit.py", &["post"][..], &["python3"][..]),
        ("emit.sh", &["fly"], &["sh"]),
        ("emit.sh", &["post", "a.b", "x\"y"], &["sh"]),
        ("emit.sh", &["spool", ".", "../x"], &["sh"]),
        ("emit.c", &["a.b"], &["cc"]),
        ("emit.mjs", &["a", "b"], &["node"]),
    ] {
        if are_there(needed, name) {
            let output = run(program(Path::new("/no/socket"), name, args), "");
            assert_code(&output, 64, name);
            assert_ne!(stderr(&output), "", "{name}");
        }
    }
}
