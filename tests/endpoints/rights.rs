//! Who may look at endpoints and change them: root and the daemon's own user. These tests need root, to be somebody else.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use crate::support::{
    config::endpoint,
    skip,
    world::{World, stderr, stdout},
};

/// A user who is neither root nor the daemon's own.
const NOBODY: &str = "65534";

/// A daemon whose socket everybody may use.
fn open_world() -> World {
    let world = World::running(&format!(
        "listen.socket_mode = \"0666\"\n{}",
        endpoint("erp", "http://127.0.0.1:9/", &["*"], "raw")
    ));
    let directory = world.socket().parent().expect("a directory").to_owned();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
    world
}

/// The command line as somebody else; `None` where that cannot be tried.
fn as_nobody(args: &[&str]) -> Option<Command> {
    let program = env!("CARGO_BIN_EXE_posthaste");
    let command = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--clear-groups", program]).args(args).current_dir("/");
        command
    };
    let able = rustix::process::geteuid().is_root()
        && command(&["--version"]).output().is_ok_and(|output| output.status.success());
    if !able {
        skip("it takes root and setpriv to be somebody else", true);
    }
    able.then(|| command(args))
}

#[test]
fn somebody_else_is_refused_and_may_still_hand_in_events() {
    let world = open_world();
    let socket = world.socket().display().to_string();
    let Some(mut list) = as_nobody(&["--socket", &socket, "endpoint", "list"]) else { return };
    let refused = list.output().expect("it runs");
    assert_eq!(refused.status.code(), Some(77), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("for root alone; you are uid 65534"), "{}", stderr(&refused));
    assert!(refused.stdout.is_empty(), "{}", stdout(&refused));
    let add = ["--socket", &socket, "endpoint", "add", "https://a.example/", "--type", "*"];
    let refused = as_nobody(&add).expect("as before").output().expect("it runs");
    assert_eq!(refused.status.code(), Some(77), "{}", stderr(&refused));
    assert_eq!(world.list("/v1/endpoints").len(), 1, "nothing was made");
    let mut emit = as_nobody(&["--socket", &socket, "emit", "a.b"]).expect("as before");
    let taken = emit.output().expect("it runs");
    assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
}
