//! `posthaste spool`: what lies in `failed/` is seen, tried again and removed, beside the daemon that runs.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
};

use serde_json::{Value, json};

use super::{drop_in, event, gone, numbers, running, spool};
use crate::support::{
    eventually,
    receiver::Receiver,
    skip,
    world::{World, json_of, posthaste, run_in, stderr, stdout},
};

const NOBODY: u32 = 65_534;

fn lies_in_failed(world: &World, name: impl AsRef<OsStr>) {
    let path = spool(world, "failed").join(name.as_ref());
    eventually("it lies in failed/", || path.exists().then_some(()));
}

fn items(world: &World, args: &[&str]) -> Vec<Value> {
    let document = json_of(&world.cli(&[&["spool"], args, &["--json"]].concat()));
    document["items"].as_array().expect("a list").clone()
}

#[test]
fn what_was_wrong_is_put_right_and_tried_again() {
    let receiver = Receiver::start();
    let small = "limits.event_size = \"4KiB\"\n";
    let mut world = running(&receiver, small);
    assert_eq!(stderr(&world.cli(&["spool", "list"])), "nothing lies in failed/\n");
    let large = format!("{{\"type\":\"a.b\",\"data\":{{\"n\":1,\"text\":\"{}\"}}}}\n", "x".repeat(5_000));
    drop_in(&world, "large.ndjson", event(0) + &large);
    drop_in(&world, "garbage.json", "hunter2");
    for name in ["large.ndjson.reason", "garbage.json.reason"] {
        lies_in_failed(&world, name);
    }
    eventually("they are counted", || (world.get("/v1/status")["spools"][0]["in_failed"] == 2).then_some(()));
    let listed = stdout(&world.cli(&["spool", "list"]));
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("NAME "), "{listed}");
    assert!(lines[1].starts_with("garbage.json  invalid_event    -           7 B  20"), "{listed}");
    assert!(lines[2].starts_with("large.ndjson  event_too_large  line 2  4.9 KiB  20"), "{listed}");
    assert!(lines[2].ends_with("an event has at most 4KiB ([limits] event_size)"), "{listed}");
    assert!(!listed.contains("hunter2"), "nothing of the payload");
    let all = items(&world, &["list"]);
    assert_eq!((all.len(), &all[1]["line"], &all[1]["file"]), (2, &json!(2), &json!("large.ndjson")));
    assert_eq!(all[1]["directory"], spool(&world, "").display().to_string().trim_end_matches('/'));
    let status = stdout(&world.cli(&["status"]));
    assert!(status.contains("2 moved to failed/, where 2 lie (see `posthaste spool list`)"), "{status}");

    // Still wrong: it comes back, with its reason.
    let output = world.cli(&["spool", "retry", "garbage.json"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert!(stdout(&output).starts_with("garbage.json: moved back to /"), "{}", stdout(&output));
    eventually("it failed again", || (world.get("/v1/status")["spools"][0]["failed"] == 3).then_some(()));
    let all = items(&world, &["list"]);
    assert_eq!((all.len(), &all[0]["code"]), (2, &json!("invalid_event")), "with its new reason");

    world.stop();
    let endpoint = fs::read_to_string(world.config()).expect("the configuration");
    fs::write(world.config(), endpoint.replace("4KiB", "64KiB")).expect("a configuration");
    world.start();
    assert_eq!(items(&world, &["retry", "large.ndjson"])[0]["file"], "large.ndjson");
    gone(&spool(&world, "large.ndjson"));
    assert_eq!(numbers(&receiver.wait(2)), [0, 1]);
    assert_eq!(items(&world, &["remove", "--all"])[0]["name"], "garbage.json");
    assert_eq!(fs::read_dir(spool(&world, "failed")).expect("failed/").count(), 0);
    world.settled();
    assert_eq!(receiver.hooks().len(), 2);
    assert_eq!(world.get("/v1/status")["spools"][0]["failed"], 0, "since the start");
}

#[test]
fn names_that_mean_no_good() {
    let receiver = Receiver::start();
    let world = running(&receiver, "");
    let odd =
        [&b"a\x1b]0;owned\x07\n.json"[..], b"\xff\xfe.json", b"-rf.json", "\u{202e}nosj.json".as_bytes()];
    for name in odd {
        let name = OsStr::from_bytes(name);
        let temporary = spool(&world, ".x.tmp");
        fs::write(&temporary, "bad").expect("it can be written");
        fs::rename(temporary, world.path("spool").join(name)).expect("it can be renamed");
        lies_in_failed(&world, name);
    }
    // Put there by somebody, and of no kind that the daemon puts there.
    fs::create_dir(spool(&world, "failed/directory")).expect("a directory");
    symlink("/etc/hostname", spool(&world, "failed/link.json")).expect("a link");
    fs::write(
        spool(&world, "failed/evil.json.reason"),
        "{\"file\":\"../../evil\",\"code\":\"\\u001b[2J\",\"message\":\"a\\nb\",\"line\":null,\"at\":\"2026-11-22T02:57:00Z\"}",
    )
    .expect("a reason");
    fs::write(spool(&world, "failed/evil.json"), event(1)).expect("a file");
    let output = world.cli(&["spool", "list"]);
    let text = stdout(&output);
    assert!(output.status.success() && text.lines().count() == 8, "{text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
    assert!(text.contains("a\\u{1b}]0;owned\\u{7}\\n.json") && text.contains("\\u{1b}[2J"), "{text}");
    let run = |args: &[&OsStr]| {
        let mut command = posthaste();
        command.env("POSTHASTE_SOCKET", world.socket()).args(["spool", "retry"]).args(args);
        command.output().expect("it runs")
    };
    let output = run(&[OsStr::new("evil.json")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    receiver.wait(1);
    for (name, part) in
        [("link.json", "it is no file"), ("directory", "it is no file"), ("evil", "there is no evil in")]
    {
        let output = run(&[OsStr::new(name)]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(65), ""));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    // By its very bytes.
    let output = run(&[OsStr::from_bytes(odd[1])]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(&[OsStr::new("--"), OsStr::new("-rf.json")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    eventually("they failed again", || (world.get("/v1/status")["spools"][0]["failed"] == 6).then_some(()));
    // The link goes, not what it leads to; the directory is left, and that is told.
    let output = world.cli(&["spool", "remove", "--all"]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stderr(&output).contains("/failed/directory: it is no file"), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 5, "{}", stdout(&output));
    let left: Vec<_> = fs::read_dir(spool(&world, "failed")).expect("failed/").collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn without_a_daemon_and_without_permission() {
    let receiver = Receiver::start();
    let mut world = running(&receiver, "");
    drop_in(&world, "bad.json", "bad");
    lies_in_failed(&world, "bad.json");
    world.stop();
    let (config, directory) = (world.config().display().to_string(), spool(&world, "").display().to_string());
    for args in [["--config", &config], ["--directory", &directory]] {
        let output = run_in(&world.path(""), &[&["spool", "list"], &args[..]].concat());
        assert!(stdout(&output).contains("bad.json"), "{}{}", stdout(&output), stderr(&output));
    }
    // A daemon that was named is not replaced by another's configuration.
    let output = world.cli(&["spool", "list"]);
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    if !rustix::process::geteuid().is_root() {
        return skip("it takes root to be somebody else", true);
    }
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::set_permissions(spool(&world, ""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let nobody = |args: &[&str]| {
        let mut command = posthaste();
        command.args(["spool"]).args(args).args(["--directory", &directory]).current_dir("/");
        command.uid(NOBODY).gid(NOBODY).output().expect("it runs")
    };
    for args in [&["list"][..], &["retry", "bad.json"], &["remove", "--all"]] {
        let output = nobody(args);
        assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("permission denied: run this as root, or as the daemon's user"),
            "{}",
            stderr(&output)
        );
    }
    // It may be looked at, but not changed.
    fs::set_permissions(spool(&world, "failed"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::set_permissions(spool(&world, "failed/bad.json.reason"), fs::Permissions::from_mode(0o644))
        .expect("it is ours");
    assert!(stdout(&nobody(&["list"])).contains("invalid_event"));
    for args in [&["retry", "bad.json"][..], &["remove", "bad.json"], &["remove", "--all"]] {
        let output = nobody(args);
        assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    }
    assert!(spool(&world, "failed/bad.json").exists() && spool(&world, "failed/bad.json.reason").exists());
}
