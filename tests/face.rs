//! The face of the command line: the page of `status` again and again and as a check, completions in real shells, colours on a
//! terminal alone, help with examples.

mod support;

#[path = "face/terminal.rs"]
mod terminal;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{
    config::{endpoint, profile},
    eventually,
    help::{help, leaves},
    receiver::{Receiver, Reply},
    skip,
    world::{World, json_of, posthaste, run_in, stderr, stdout, wait_for_end},
};
use terminal::Terminal;

fn check(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let output = world.cli(&[&["status", "--check"], args].concat());
    assert_eq!(stderr(&output), "");
    (output.status.code(), stdout(&output))
}

#[test]
fn a_check_says_who_is_needed() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let text = endpoint("erp", &receiver.url("/erp"), &["*"], "frail")
        + &profile("frail", &["0s", "1h"], "disable_after = 1")
        + "[[spool]]\npath = \"in\"\n";
    let mut world = World::new(&text);
    std::fs::create_dir(world.path("in")).expect("a directory");
    let (code, line) = check(&world, &[]);
    assert_eq!(code, Some(2), "nobody answers: {line}");
    assert!(
        line.starts_with("posthaste CRITICAL: the daemon cannot be reached; ") && line.lines().count() == 1,
        "{line}"
    );
    world.start();
    let well = eventually("it is at work", || Some(check(&world, &[])).filter(|(code, _)| *code == Some(0)));
    assert!(
        well.1.starts_with("posthaste OK: running, 0 pending | pending=0 in_flight=0 disabled=0 "),
        "{}",
        well.1
    );

    world.emit("a.b", &json!({}));
    let warned = eventually("the endpoint is disabled", || {
        Some(check(&world, &[])).filter(|(code, _)| *code == Some(1))
    });
    assert!(
        warned.1.starts_with("posthaste WARNING: 1 endpoint is disabled (erp: failures) | pending=1 "),
        "{}",
        warned.1
    );
    let (code, line) = check(&world, &["--max-age", "0s"]);
    assert_eq!((code, line.contains("the oldest pending event was accepted ")), (Some(1), true), "{line}");
    // What an operator holds is nothing to see to, until it has waited for too long.
    world.cli(&["endpoint", "disable", "erp"]);
    assert_eq!(check(&world, &[]).0, Some(0));
    assert_eq!(check(&world, &["--max-age", "1d"]).0, Some(0));
    assert_eq!(check(&world, &["--max-age", "0s"]).0, Some(1));

    std::fs::write(world.path("in/.bad"), "{}").expect("a file");
    std::fs::rename(world.path("in/.bad"), world.path("in/bad.json")).expect("a file");
    let warned =
        eventually("the file is put away", || Some(check(&world, &[])).filter(|(code, _)| *code == Some(1)));
    assert!(warned.1.contains("1 spool file is in failed/"), "{}", warned.1);
    let output = world.cli(&["status", "--check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("what the daemon says");
    assert_eq!(document["spools"][0]["in_failed"], 1);
}

#[test]
fn a_check_of_a_full_store_is_critical() {
    let world = World::running("store.max_size = \"1MiB\"\n");
    let event = json!({"type": "a.b", "data": "x".repeat(200_000)}).to_string();
    eventually("the store is full", || (world.post(&event).status == 507).then_some(()));
    let (code, line) = check(&world, &[]);
    assert_eq!(code, Some(2), "{line}");
    assert!(line.starts_with("posthaste CRITICAL: events are refused: store_full | pending=0 "), "{line}");
}

#[test]
fn in_a_pipe_pages_follow_one_another() {
    let world = World::running("");
    for (args, blank) in [(&["status", "--watch"][..], true), (&["status", "--watch", "--json"], false)] {
        let mut command = posthaste();
        command.args(args).env("POSTHASTE_SOCKET", world.socket()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut pages = 0;
        for line in lines.map_while(Result::ok) {
            assert!(!line.contains('\u{1b}'), "{line:?}");
            if blank && line.starts_with("posthaste ") {
                pages += 1;
            } else if !blank {
                serde_json::from_str::<serde_json::Value>(&line).expect("a document a line");
                pages += 1;
            }
            if pages == 2 {
                interrupt(child.id());
                pages += 1;
            }
        }
        let status = wait_for_end(&mut child).expect("it ends");
        assert_eq!((status.code(), pages), (Some(0), 3), "{args:?}");
    }
    let nobody = run_in(Path::new("/"), &["status", "--watch", "--socket", "/nobody.sock"]);
    assert_eq!(nobody.status.code(), Some(69), "{}", stderr(&nobody));
}

fn interrupt(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().expect("a process id")).expect("not 0");
    kill_process(pid, Signal::INT).expect("it runs");
}

#[test]
fn on_a_terminal_the_page_is_drawn_in_place() {
    let mut world = World::running("");
    let mut terminal = Terminal::running(&world, &["status", "--watch"], 60, 12);
    let first = terminal.until("Ctrl-C ends it\u{1b}[K\u{1b}[J");
    assert!(
        first.starts_with("\u{1b}[?1049h\u{1b}[?25l\u{1b}[H\u{1b}[1mposthaste 0.1.0\u{1b}[0m"),
        "{first:?}"
    );
    assert!(first.contains("\u{1b}[32mrunning\u{1b}[0m"), "{first:?}");
    for line in first.split("\r\n") {
        let visible = line.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "").replace("\u{1b}[K", "");
        assert!(visible.len() < 100 && first.matches("\r\n").count() < 12, "{line:?}");
    }
    let second = terminal.until("Ctrl-C ends it\u{1b}[K\u{1b}[J");
    assert!(
        second.starts_with("\u{1b}[H") && !second.contains("\u{1b}[2J"),
        "it is drawn over, not wiped: {second:?}"
    );
    // A daemon that goes away is waited for.
    world.stop();
    terminal.until("the daemon cannot be reached");
    world.start();
    terminal.until("running");
    interrupt(terminal.pid());
    let last = terminal.until("\u{1b}[?25h\u{1b}[?1049l");
    assert!(last.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{last:?}");
    assert!(terminal.until("pending ").contains("posthaste 0.1.0"), "the last page stays");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let receiver = Receiver::start();
    let text = endpoint("erp", &receiver.url("/erp"), &["*"], "quick") + &profile("quick", &["0s"], "");
    let world = World::running(&text);
    world.emit("a.b", &json!({}));
    world.settled();
    let coloured = Terminal::running(&world, &["delivery", "list"], 100, 24).all();
    assert!(coloured.contains("\u{1b}[32msucceeded\u{1b}[0m"), "{coloured:?}");
    let plain = Terminal::with(&world, &["delivery", "list"], 100, 24, &[("NO_COLOR", "1")]).all();
    assert!(plain.contains("succeeded") && !plain.contains('\u{1b}'), "{plain:?}");
    let piped = stdout(&world.cli(&["delivery", "list"]));
    assert!(piped.contains("succeeded") && !piped.contains('\u{1b}'), "{piped:?}");
    // Every line fits, whatever the width.
    for width in [60, 80, 140] {
        for args in [&["event", "list"][..], &["delivery", "list"], &["endpoint", "list"], &["status"]] {
            let shown = Terminal::with(&world, args, width, 24, &[("NO_COLOR", "1")]).all();
            let longest = shown.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width.into()), "{args:?} in {width}: {longest:?}\n{shown}");
        }
    }
}

#[test]
fn a_name_that_is_nearly_right_is_recognised() {
    let text =
        endpoint("warehouse", "http://127.0.0.1:8080/", &["*"], "quick") + &profile("quick", &["0s"], "");
    let world = World::running(&text);
    for (args, near) in [
        (&["delivery", "list", "--endpoint", "warehose"][..], "`warehouse`"),
        (&["endpoint", "show", "warehose"], "`warehouse`"),
        (&["emit", "a.b", "--account", "defualt"], "`default`"),
        (
            &["endpoint", "add", "https://a.example/", "--type", "*", "--profile", "quik"],
            "did you mean `quick`? Or leave it out",
        ),
        (&["status", "--chekc"], "--check"),
        (&["compeltions", "bash"], "completions"),
    ] {
        let output = world.cli(args);
        assert!(matches!(output.status.code(), Some(64 | 65)), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(near), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn every_command_s_help_has_an_example_of_it() {
    let leaves = leaves();
    assert!(leaves.len() > 20, "{leaves:?}");
    for words in leaves {
        let help = help(&words);
        let examples = help.split_once("\nExample:\n").map(|(_, examples)| examples.to_owned());
        let example = format!("posthaste {}", words.join(" "));
        let there = examples.is_some_and(|examples| examples.contains(&example));
        assert!(there, "no example with `{example}`:\n{help}");
    }
}

/// Runs a script in a shell that has the program, without anybody's settings.
fn shell(name: &str, args: &[&str], script: &str) -> Option<Output> {
    let program = Path::new(env!("CARGO_BIN_EXE_posthaste"));
    let directory = program.parent().expect("a directory").display();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap_or_default());
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(name);
    command.args(args).arg("-c").arg(script).env("PATH", path).env("HOME", home.path());
    match command.stdin(Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&format!("no {name}: {error}"), name == "bash");
            None
        }
    }
}

#[test]
fn shells_complete_the_command_line() {
    let ask = |line: &str| {
        let last = line.split(' ').count() - 1;
        format!(
            "source <(posthaste completions bash); COMP_WORDS=({line}); COMP_CWORD={last}; \
             _posthaste posthaste \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
    };
    for (line, expected) in [
        ("posthaste endp", "endpoint"),
        ("posthaste endpoint rot", "rotate-secret"),
        ("posthaste status --ch", "--check"),
        ("posthaste delivery list --status su", "succeeded"),
        ("posthaste completions f", "fish"),
    ] {
        if let Some(output) = shell("bash", &["--norc", "--noprofile"], &ask(line)) {
            assert!(stdout(&output).lines().any(|word| word == expected), "{line}: {output:?}");
        }
    }
    let fish = "posthaste completions fish | source; complete -C 'posthaste endpoint rot'";
    if let Some(output) = shell("fish", &["--no-config"], fish) {
        assert!(stdout(&output).starts_with("rotate-secret\t"), "{output:?}");
    }
    let zsh = "autoload -Uz compinit && compinit -u -D && source <(posthaste completions zsh) && \
               [[ -n $functions[_posthaste__subcmd__endpoint_commands]$functions[_posthaste__endpoint_commands] ]] && print $_comps[posthaste]";
    if let Some(output) = shell("zsh", &["-f"], zsh) {
        assert_eq!(stdout(&output), "_posthaste\n", "{output:?}");
    }
    let json = posthaste().args(["completions", "bash", "--json"]).output().expect("the binary was built");
    assert_eq!(json.status.code(), Some(64), "{}", stderr(&json));
    assert!(
        json_of(&posthaste().args(["openapi", "--json"]).output().expect("it runs"))["paths"].is_object()
    );
}
