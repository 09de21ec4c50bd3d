//! `posthaste emit --lines`: many events from files and pipes, what is said of bad ones, and runs that break off.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    thread,
};

use serde_json::{Value, json};
use support::{
    config::{ODD, endpoint},
    eventually, now,
    receiver::Receiver,
    scripted::{Scripted, Steps, TAKEN, not_now},
    world::{World, posthaste, stderr, stdin_of, stdout},
};

fn world(receiver: &Receiver, keys: &str) -> World {
    World::running(&format!("{keys}\n{}", endpoint("erp", &receiver.url("/"), &["*"], "raw")))
}

/// Lines with a number each, which is their id as well where `ids` says so.
fn lines(numbers: std::ops::Range<u64>, ids: bool) -> String {
    let line = |n| {
        let id = if ids { format!(",\"id\":\"n-{n}\"") } else { String::new() };
        format!("{{\"type\":\"a.b\",\"data\":{{\"n\":{n}}}{id}}}\n")
    };
    numbers.map(line).collect()
}

fn answers(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The numbers that the receiver has got, in order of size; one that came twice is there twice.
fn numbers(receiver: &Receiver) -> Vec<u64> {
    let mut numbers: Vec<_> =
        receiver.hooks().iter().map(|hook| hook.json()["n"].as_u64().expect("n")).collect();
    numbers.sort_unstable();
    numbers
}

/// A run that goes on while the test does something.
struct Run {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Run {
    fn start(directory: &Path, socket: &Path, args: &[&str]) -> Self {
        let mut command: Command = posthaste();
        command.current_dir(directory).env("POSTHASTE_SOCKET", socket).args(["emit", "--json", "--lines"]);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { input: child.stdin.take(), output, child }
    }

    fn send(&mut self, text: &str) {
        let input = self.input.as_mut().expect("it is open");
        input.write_all(text.as_bytes()).expect("it reads");
    }

    fn answers(&mut self, count: usize) -> Vec<Value> {
        let mut line = || {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("it prints");
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        (0..count).map(|_| line()).collect()
    }

    /// Nothing more comes: the rest of the answers, the exit code and what it said.
    fn finish(self) -> (Vec<Value>, i32, String) {
        drop(self.input);
        let json = |line: std::io::Result<String>| serde_json::from_str(&line.expect("UTF-8")).expect("JSON");
        let rest = self.output.lines().map(json).collect();
        let output = self.child.wait_with_output().expect("it ends");
        (rest, output.status.code().expect("it was not killed"), stderr(&output))
    }
}

/// Three lines, handed in to daemons that do as they are told.
struct Three {
    directory: tempfile::TempDir,
    runs: usize,
}

impl Three {
    fn new(ids: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("three"), lines(0..3, ids)).expect("a file");
        Self { directory, runs: 0 }
    }

    /// What came of it, and how many lines came on each connection.
    #[track_caller]
    fn emit(&mut self, args: &[&str], script: Vec<Steps>) -> (Output, Vec<usize>) {
        self.runs += 1;
        let socket = self.directory.path().join(format!("{}.sock", self.runs));
        let daemon = Scripted::start(&socket, script);
        let mut command = posthaste();
        command.env("POSTHASTE_SOCKET", &socket).current_dir(self.directory.path());
        command.args(["emit", "--json", "--lines", "three"]).args(args);
        let output = output(command);
        (output, daemon.read())
    }
}

/// What came of a command that might not end.
#[track_caller]
fn output(mut command: Command) -> Output {
    struct Ended(Child);
    impl Drop for Ended {
        fn drop(&mut self) {
            // It has ended, unless the test has failed.
            let _ = self.0.kill().and_then(|()| self.0.wait());
        }
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Ended(child.expect("the binary was built"));
    let status = eventually("it ends", || child.0.try_wait().expect("it is a child"));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.0.stdout.take().expect("it is piped").read_to_end(&mut stdout).expect("it is read");
    child.0.stderr.take().expect("it is piped").read_to_end(&mut stderr).expect("it is read");
    Output { status, stdout, stderr }
}

/// The first line goes alone: nobody knows yet whether the connection is of use.
fn steps(first: &str, others: &str) -> Steps {
    vec![(1, first.to_owned()), (2, others.to_owned())]
}

/// A connection that stays open until the other side ends it.
fn open(steps: Steps) -> Steps {
    steps.into_iter().chain([(usize::MAX, String::new())]).collect()
}

fn order(output: &Output) -> Vec<Option<u64>> {
    answers(output).iter().map(|one| one["line"].as_u64()).collect()
}

#[test]
fn files_and_pipes_are_handed_in_and_answered_in_order() {
    let receiver = Receiver::start();
    let world = world(&receiver, "");
    fs::write(world.path("a.ndjson"), lines(0..3_000, false)).expect("a file");
    fs::write(world.path("b.ndjson"), lines(3_000..3_100, false).trim_end()).expect("a file");
    let output = world.cli(&["emit", "--lines", "a.ndjson", "b.ndjson"]);
    assert_eq!(
        (output.status.code(), stdout(&output), stderr(&output)),
        (Some(0), String::new(), String::new())
    );
    fs::write(world.path("c.ndjson"), lines(3_100..5_000, false)).expect("a file");
    let output = world.cli_with(&["emit", "--lines", "--json"], stdin_of(&world.path("c.ndjson")));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let answers = answers(&output);
    assert_eq!(answers.len(), 1_900);
    for (index, answer) in (0..).zip(&answers).step_by(100) {
        assert_eq!(answer["line"], index + 1);
        assert_eq!(world.event(answer["id"].as_str().expect("an id"))["data"]["n"], index + 3_100);
    }
    world.settled();
    assert_eq!(numbers(&receiver), (0..5_000).collect::<Vec<_>>());
}

#[test]
fn payloads_of_a_type_arrive_byte_for_byte() {
    let receiver = Receiver::start();
    let world = world(&receiver, "limits.event_size = \"4MiB\"");
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    let payloads: Vec<&str> = ODD.into_iter().chain([large.as_str()]).collect();
    fs::write(world.path("data"), payloads.join("\n")).expect("a file");
    let output = world.cli(&["emit", "odd.one", "--lines", "data", "--key", "k", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(answers(&output).len(), payloads.len());
    // The others have numbers that serde_json does not take.
    let last = world.event(answers(&output)[payloads.len() - 1]["id"].as_str().expect("an id"));
    assert_eq!((&last["type"], &last["key"]), (&json!("odd.one"), &json!("k")));
    world.settled();
    let mut bodies: Vec<_> = receiver.hooks().iter().map(|hook| hook.text().to_owned()).collect();
    let mut payloads: Vec<_> = payloads.into_iter().map(str::to_owned).collect();
    bodies.sort_unstable();
    payloads.sort_unstable();
    assert!(bodies == payloads, "{} of {}", bodies.len(), payloads.len());
}

#[test]
fn refused_lines_are_named_and_the_others_are_taken() {
    let receiver = Receiver::start();
    let world = world(&receiver, "limits.event_size = \"4KiB\"");
    let text = format!(
        "Nonsense that begins as HTTP does\n\n{}[1]\n{{\"type\":\"a.b\",\"data\":\"{}\"}}\n{{\"type\":\"a.b\",\"account\":\"nobody\"}}\n{}",
        lines(1..2, false),
        "hunter2".repeat(1_000),
        lines(2..3, false)
    );
    let expected = [
        (1, "invalid_event", "not valid JSON"),
        (3, "", ""),
        (4, "invalid_event", "an object such as"),
        (5, "event_too_large", "at most 4KiB"),
        (6, "unknown_account", "no account `nobody`"),
        (7, "", ""),
    ];
    fs::write(world.path("mixed"), text).expect("a file");
    let output = world.cli(&["emit", "--lines", "mixed", "--json"]);
    assert_eq!(output.status.code(), Some(65));
    let (said, answers) = (stderr(&output), answers(&output));
    assert_eq!(answers.len(), expected.len(), "{answers:?}");
    for ((line, code, part), answer) in expected.into_iter().zip(answers) {
        assert_eq!((&answer["line"], &answer["file"]), (&json!(line), &json!("mixed")), "{answer}");
        let report = format!("mixed:{line}: ");
        assert_eq!(said.contains(&report), !code.is_empty(), "{said}");
        if code.is_empty() {
            assert!(answer["id"].is_string(), "{answer}");
            continue;
        }
        assert_eq!(answer["error"]["code"], code, "{answer}");
        let named = said.lines().find(|said| said.starts_with(&report)).expect("it is named");
        assert!(!named[report.len()..].starts_with("line "), "the number is the file's: {named}");
        assert!(named.contains(part) && named.ends_with(&format!("[{code}]")), "{named}");
    }
    assert!(said.ends_with("posthaste: 2 taken, 4 refused\n") && !said.contains("hunter2"), "{said}");
    fs::write(world.path("words"), "one two\n").expect("a file");
    let output = world.cli_with(&["emit", "a.b", "--lines"], stdin_of(&world.path("words")));
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).starts_with("line 1: the payload is not JSON"), "{}", stderr(&output));
    for (args, code, part) in [
        (&["emit", "--lines", "mixed", "gone"][..], 74, "gone: "),
        (&["emit", "--lines", "."], 74, ".: "),
        (&["emit", "a.b", "{}", "--lines", "mixed"], 64, "--lines"),
        (&["emit", "--lines", "mixed", "--account", "x"], 64, "without TYPE"),
    ] {
        let output = world.cli(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
    }
    world.settled();
    assert_eq!(numbers(&receiver), [1, 2], "what could not begin has handed in nothing");
}

#[test]
fn a_run_that_is_repeated_hands_in_nothing_twice() {
    let receiver = Receiver::start();
    let world = world(&receiver, "");
    fs::write(world.path("n"), lines(0..50, false)).expect("a file");
    let emit = |args: &[&str]| world.cli(&[&["emit", "--lines", "n", "--json"], args].concat());
    let first = emit(&["--resume", "night-1"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    // More has come at its end.
    fs::write(world.path("n"), lines(0..60, false)).expect("a file");
    let second = emit(&["--resume", "night-1"]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    let known = answers(&second).iter().filter(|answer| answer["duplicate"] == true).count();
    assert_eq!((known, answers(&second).len()), (50, 60));
    for (first, second) in answers(&first).iter().zip(answers(&second)) {
        assert_eq!(first["id"], second["id"]);
    }
    // Another content under the same name is told, and not taken for the same.
    fs::write(world.path("n"), lines(100..101, false) + &lines(1..3, false)).expect("a file");
    let third = emit(&["--resume", "night-1"]);
    assert_eq!(third.status.code(), Some(65));
    assert!(
        stderr(&third).starts_with("n:1: ") && stderr(&third).contains("[id_conflict]"),
        "{}",
        stderr(&third)
    );
    let from = emit(&["--from", "3"]);
    assert_eq!((answers(&from).len(), &answers(&from)[0]["line"]), (1, &json!(3)));
    world.settled();
    let mut expected: Vec<_> = (0..60).chain([2]).collect();
    expected.sort_unstable();
    assert_eq!(numbers(&receiver), expected);
}

#[test]
fn a_pipe_is_answered_while_it_is_open_and_outlives_a_daemon_that_is_killed() {
    let receiver = Receiver::start();
    let mut world = world(&receiver, "");
    let mut run = Run::start(&world.path(""), &world.socket(), &[]);
    run.send(&lines(0..100, true));
    assert_eq!(run.answers(100)[99]["line"], 100);
    // More than may be on their way at once: some are when the daemon is killed.
    let mut input = run.input.take().expect("it is open");
    let writer = thread::spawn(move || input.write_all(lines(100..3_000, true).as_bytes()).map(|()| input));
    let mut answered = run.answers(200);
    world.kill();
    world.start();
    run.input = Some(writer.join().expect("it ends").expect("all is read"));
    run.send(&lines(3_000..3_100, true));
    let (rest, code, said) = run.finish();
    answered.extend(rest);
    assert_eq!((code, answered.len(), said.as_str()), (0, 3_000, ""));
    for (line, answer) in (101..).zip(&answered) {
        assert_eq!(answer["line"], line, "{answer}");
        assert!(answer["id"].is_string(), "{answer}");
    }
    world.settled();
    let mut once: Vec<_> = receiver.hooks().iter().map(|hook| hook.header("webhook-id").to_owned()).collect();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), 3_100, "an event has one delivery, whatever happened");
    let mut seen = numbers(&receiver);
    seen.dedup();
    assert_eq!(seen, (0..3_100).collect::<Vec<_>>());
}

#[test]
fn what_is_refused_for_now_is_tried_again_for_a_while() {
    let mut three = Three::new(false);
    let mut emit = |args: &[&str], script| three.emit(args, script);
    let all = [Some(1), Some(2), Some(3)];
    // A connection that is refused as a whole has taken nothing, so lines without ids go out on the next one.
    let starting = vec![vec![(1, not_now("starting", 0))], steps(TAKEN, &TAKEN.repeat(2))];
    let (output, read) = emit(&[], starting);
    assert_eq!((output.status.code(), read), (Some(0), vec![1, 3]), "{}", stderr(&output));
    assert_eq!(order(&output), all);
    // One that was refused goes out again when the others have their answers.
    let mut busy = steps(TAKEN, &format!("{}{TAKEN}", not_now("busy", 0)));
    busy.push((1, TAKEN.to_owned()));
    let (output, read) = emit(&[], vec![busy]);
    assert_eq!((output.status.code(), read), (Some(0), vec![4]), "{}", stderr(&output));
    assert_eq!(order(&output), all);
    // Longer than the run may wait: it does not begin to.
    let (output, _) = emit(&["--wait", "99s"], vec![vec![(1, not_now("store_full", 100))]]);
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stderr(&output).contains("not now; try again in 1m40s"), "{}", stderr(&output));
    assert!(stderr(&output).contains("three:1 was not taken"), "{}", stderr(&output));
    assert_eq!(order(&output), []);
    // The store says itself that it does not know: without ids nobody does.
    let failed = || steps(TAKEN, &not_now("store_failed", 1));
    let (output, _) = emit(&[], vec![failed()]);
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    let again = vec![(1, TAKEN.to_owned()), (1, TAKEN.to_owned())];
    let (output, read) = emit(&["--resume", "n"], vec![failed(), again]);
    assert_eq!((output.status.code(), read), (Some(0), vec![3, 2]), "{}", stderr(&output));
    assert_eq!(order(&output), all);
    // Where ids are missing a lost connection ends the run, which says where.
    let (output, _) = emit(&[], vec![steps(TAKEN, "")]);
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("it is not known whether") && said.contains("three:2 to "), "{said}");
    assert!(said.contains("three:3 were taken") && said.contains("1 taken so far"), "{said}");
    assert!(said.contains("--resume"), "{said}");
    // Whoever may not hand in is told so by the exit code.
    let refused = |code: &str| json!({"error": {"code": code, "message": "no"}}).to_string() + "\n";
    let denied = refused("account_not_allowed");
    let (output, _) = emit(&[], vec![steps(&denied, &denied.repeat(2))]);
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    let (output, _) = emit(&[], vec![steps(TAKEN, &format!("{denied}{}", refused("invalid_event")))]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    let (output, read) = emit(&[], vec![vec![(1, refused("not_allowed"))]]);
    assert_eq!((output.status.code(), read), (Some(77), vec![1]), "{}", stderr(&output));
    // An answer that makes no sense, and one that is cut short.
    let (output, _) = emit(&[], vec![vec![(1, "what?\n".to_owned())]]);
    assert_eq!(output.status.code(), Some(70), "{}", stderr(&output));
    let (output, _) = emit(&[], vec![steps(TAKEN, TAKEN.trim_end())]);
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    assert_eq!(order(&output), [Some(1)], "what has no end is no answer");
}

#[test]
fn connections_that_are_closed_without_a_word_are_made_again_with_pauses_and_not_for_ever() {
    let read_and_closed = |count: usize| vec![vec![(1, String::new())]; count];
    let mut three = Three::new(true);
    // Once it is made again at once; after that it is a matter of patience, and there is none.
    let (output, read) = three.emit(&["--wait", "0s"], read_and_closed(9));
    assert_eq!(
        (output.status.code(), read),
        (Some(75), vec![1, 1, 0, 0, 0, 0, 0, 0, 0]),
        "{}",
        stderr(&output)
    );
    let said = stderr(&output);
    assert!(said.contains("whether three:1 was taken; three:2 was not taken, nor what else"), "{said}");
    let (output, read) = three.emit(&["--wait", "500ms"], read_and_closed(9));
    let connections: usize = read.iter().sum();
    assert!(
        output.status.code() == Some(75) && (2..=3).contains(&connections),
        "{read:?}: {}",
        stderr(&output)
    );
    // None, and pauses of 200, 400 and 800 milliseconds, and then it takes what comes.
    let began = now();
    let script = read_and_closed(4).into_iter().chain([steps(TAKEN, &TAKEN.repeat(2))]).collect();
    let (output, read) = three.emit(&[], script);
    assert_eq!((output.status.code(), read), (Some(0), vec![1, 1, 1, 1, 3]), "{}", stderr(&output));
    assert_eq!(order(&output), [Some(1), Some(2), Some(3)]);
    assert!(began.elapsed().as_millis() >= 1_400, "{:?}", began.elapsed());
}

#[test]
fn a_daemon_whose_store_failed_is_left_even_if_it_does_not_hang_up() {
    let failed = |count| not_now("store_failed", 1).repeat(count);
    let again = || vec![(1, TAKEN.to_owned()), (1, TAKEN.to_owned())];
    let mut with_ids = Three::new(true);
    let mut without = Three::new(false);
    // All have an answer; one has none; and one has another.
    for (last, resent) in [(failed(2), 2), (failed(1), 2), (failed(1) + TAKEN, 1)] {
        let script = || vec![open(steps(TAKEN, &last)), again()];
        let (output, read) = with_ids.emit(&[], script());
        assert_eq!((output.status.code(), read), (Some(0), vec![3, resent]), "{}", stderr(&output));
        assert_eq!(order(&output), [Some(1), Some(2), Some(3)], "{last}");
        let (output, read) = without.emit(&[], script());
        assert_eq!((output.status.code(), read), (Some(74), vec![3, 0]), "{}", stderr(&output));
        let doubt =
            if resent == 2 { "whether three:2 to three:3 were taken" } else { "whether three:2 was taken" };
        assert!(
            stderr(&output)
                .contains(&format!("not now\n{} taken so far; it is not known {doubt}", 3 - resent)),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_run_that_stops_hears_first_what_became_of_its_lines() {
    let mut three = Three::new(false);
    let full = not_now("store_full", 100);
    let mut script = open(steps(TAKEN, &full));
    script.insert(2, (0, TAKEN.to_owned()));
    let (output, read) = three.emit(&[], vec![script]);
    assert_eq!((output.status.code(), read), (Some(75), vec![3]), "{}", stderr(&output));
    assert_eq!(order(&output), [Some(1), Some(3)]);
    let said = stderr(&output);
    assert!(said.contains("try again in 1m40s\n2 taken so far; three:2 was not taken"), "{said}");
    assert!(!said.contains("not known"), "{said}");
    // It is sent nothing new meanwhile, and what has no answer when it hangs up has none.
    let (output, read) = three.emit(&[], vec![steps(TAKEN, &full)]);
    assert_eq!((output.status.code(), read), (Some(75), vec![3]), "{}", stderr(&output));
    let said = stderr(&output);
    let expected =
        "1 taken so far; it is not known whether three:3 was taken; three:2 was not taken, nor what else";
    assert!(said.contains(expected) && said.contains("try again in 1m40s"), "{said}");
}

#[test]
fn a_daemon_that_does_not_come_back_is_given_up() {
    let receiver = Receiver::start();
    let mut world = world(&receiver, "");
    let mut run = Run::start(&world.path(""), &world.socket(), &["--wait", "0s"]);
    run.send(&lines(0..10, true));
    assert_eq!(run.answers(10).len(), 10);
    world.kill();
    run.send(&lines(10..12, true));
    let (rest, code, said) = run.finish();
    assert_eq!((rest, code), (Vec::new(), 69), "{said}");
    // Whether both, one or none went out before the end was heard is a matter of luck.
    let doubt = ["line 11 to line 12 were", "line 11 was"]
        .iter()
        .any(|lines| said.contains(&format!("whether {lines} taken")));
    assert!(said.contains("nobody listens") && (doubt || said.contains("line 11 was not taken")), "{said}");
}

#[test]
fn memory_does_not_grow_with_the_input() {
    // Lines that the daemon passes over: what counts here is how many of them are in memory.
    let world = World::running("limits.event_size = \"1KiB\"");
    let line = format!("{{\"type\":\"a.b\",\"data\":\"{}\"}}\n", "x".repeat(16 << 10));
    let count = (128 << 20) / line.len();
    let mut command = posthaste();
    command.env("POSTHASTE_SOCKET", world.socket()).args(["emit", "--lines", "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary was built");
    let mut input = child.stdin.take().expect("it is piped");
    let writer =
        thread::spawn(move || (0..count).try_for_each(|_| input.write_all(line.as_bytes())).map(|()| input));
    let mut answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    assert_eq!(answers.by_ref().take(count).count(), count);
    // Its input is still open, so it still runs.
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    drop(writer.join().expect("it ends").expect("all is read"));
    assert_eq!(answers.count(), 0);
    assert_eq!(child.wait().expect("it ends").code(), Some(65));
    assert!(kibibytes < 64 << 10, "{kibibytes} KiB");
}
