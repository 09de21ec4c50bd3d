//! The configuration through the binary: what is wrong with it, and going without one.

mod support;

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command},
};

use serde_json::json;
use support::{
    eventually, http,
    world::{json_of, posthaste, run_in, stderr, stdout},
};

/// Four mistakes, on lines 2, 5, 6 and 9.
const WRONG: &str = r#"[store]
cach = "64MiB"
[[endpoint]]
name = "erp"
url = "ftp://erp.example/hooks"
event_types = ["video.*x"]
secret = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIy"
[limits]
in_flight = "many"
"#;

#[test]
fn all_errors_are_printed_at_once_with_their_places() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("posthaste.toml");
    fs::write(&file, WRONG).expect("a file");
    let name = file.display().to_string();
    for command in ["serve", "check"] {
        let output = run_in(directory.path(), &[command, "--config", &name]);
        assert_eq!(output.status.code(), Some(78), "{command}: {}", stderr(&output));
        let text = stderr(&output);
        for (line, part) in [(2, "cach"), (5, "ftp://erp.example/hooks"), (6, "video.*x"), (9, "in_flight")] {
            let place = format!("--> {name}:{line}:");
            let at = text.find(&place).unwrap_or_else(|| panic!("no {place} in {text}"));
            let shown: Vec<_> = text[at..].lines().take(4).collect();
            assert!(shown[2].contains(part), "{text}");
            assert!(shown[3].contains('^'), "{text}");
        }
        assert!(text.contains("did you mean `cache`?"), "the nearest key is named: {text}");
        assert!(text.trim_end().ends_with("4 errors in the configuration"), "{text}");
        assert!(!text.contains("aHVudGVy"), "a secret is shown: {text}");
    }
    let output = run_in(directory.path(), &["check", "--config", &name, "--json"]);
    assert_eq!(output.status.code(), Some(78));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let lines: Vec<_> =
        document["errors"].as_array().expect("a list").iter().map(|error| error["line"].clone()).collect();
    assert_eq!((&document["ok"], lines), (&json!(false), vec![json!(2), json!(5), json!(6), json!(9)]));
    assert!(!directory.path().join("outbox.redb").exists(), "nothing was begun");
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let directory = tempfile::tempdir().expect("a directory");
    for command in ["serve", "check"] {
        let output = run_in(directory.path(), &[command, "--config", "missing.toml"]);
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains("missing.toml"), "{}", stderr(&output));
    }
}

#[test]
fn files_beside_it_are_read_too() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("conf.d")).expect("a directory");
    let main = "listen.socket = \"a.sock\"\nstore.path = \"a.redb\"\n";
    fs::write(directory.path().join("posthaste.toml"), main).expect("a file");
    fs::write(directory.path().join("conf.d/50-erp.toml"), "[[endpoint]]\nname = \"erp\"\n").expect("a file");
    let output = run_in(directory.path(), &["check", "--config", "posthaste.toml"]);
    assert_eq!(output.status.code(), Some(78), "{}", stdout(&output));
    assert!(stderr(&output).contains("50-erp.toml:"), "{}", stderr(&output));
    fs::remove_file(directory.path().join("conf.d/50-erp.toml")).expect("it was there");
    json_of(&run_in(directory.path(), &["check", "--config", "posthaste.toml", "--json"]));
}

/// A daemon that was started by hand; killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(mut command: Command, directory: &Path, socket: &Path) -> Self {
        let output = File::create(directory.join("output")).expect("a file");
        command.current_dir(directory).arg("serve").stdout(output);
        command.stderr(File::create(directory.join("log")).expect("a file"));
        let mut daemon = Self(command.spawn().expect("the binary was built"));
        eventually("the daemon is ready", || {
            let ended = daemon.0.try_wait().expect("it is our child");
            assert!(ended.is_none(), "{}", fs::read_to_string(directory.join("log")).unwrap_or_default());
            let answer = http::request(socket, "GET", "/readyz", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// On a machine with a posthaste of its own, going without a configuration is not to be had.
fn machine_has_its_own() -> bool {
    ["/etc/posthaste/posthaste.toml", "/run/posthaste/posthaste.sock"]
        .iter()
        .any(|path| Path::new(path).exists())
}

#[test]
fn without_a_file_it_runs_in_the_working_directory_and_says_where() {
    if machine_has_its_own() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("posthaste-data/posthaste.sock");
    let _daemon = Daemon::start(posthaste(), directory.path(), &socket);
    let said = fs::read_to_string(directory.path().join("output")).expect("it was written");
    for part in ["posthaste-data/posthaste.sock", "posthaste-data/outbox.redb", "posthaste emit"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    // Whoever follows its advice from the same directory finds it without being told where.
    let id = stdout(&run_in(directory.path(), &["emit", "hello.world", "{\"n\":1}"]));
    let listed = json_of(&run_in(directory.path(), &["event", "list", "--json"]));
    assert_eq!(listed["items"][0]["id"], id.trim_end());
    let names: Vec<_> = fs::read_dir(directory.path().join("posthaste-data")).expect("it is there").collect();
    assert!(names.len() >= 2, "{names:?}");
}

#[test]
fn without_a_file_it_runs_in_the_state_directory_of_its_service() {
    if machine_has_its_own() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let mut command = posthaste();
    command.env("STATE_DIRECTORY", &state);
    let _daemon = Daemon::start(command, directory.path(), &state.join("posthaste.sock"));
    let said = fs::read_to_string(directory.path().join("output")).expect("it was written");
    assert!(said.contains(&state.join("outbox.redb").display().to_string()), "{said}");
    assert!(state.join("outbox.redb").exists());
    assert!(!directory.path().join("posthaste-data").exists());
}
