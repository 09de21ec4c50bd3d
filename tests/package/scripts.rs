//! The scripts: each says what it is for, and a shell can read it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    file,
    support::{
        program::{is_there, write},
        skip,
    },
    text,
};

/// All files below `packaging/` that begin with `#!`, with the interpreter's name.
fn scripts() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if let Some(first) = fs::read_to_string(&path).expect("a text").lines().next()
                && let Some(interpreter) = first.strip_prefix("#!")
            {
                let name = interpreter.rsplit(['/', ' ']).next().expect("a name").to_owned();
                found.push((path, name));
            }
        }
    }
    let mut found = Vec::new();
    walk(&file("packaging"), &mut found);
    found
}

#[test]
fn each_can_be_read_and_says_what_it_does() {
    let scripts = scripts();
    assert!(scripts.len() >= 8, "{scripts:?}");
    for (script, interpreter) in scripts {
        let text = fs::read_to_string(&script).expect("a text");
        let second = text.lines().nth(1).expect("a second line");
        assert!(second.starts_with("# ") || second.starts_with("\"\"\""), "{}: {second}", script.display());
        if interpreter.ends_with("sh") {
            let output = Command::new(&interpreter).arg("-n").arg(&script).output().expect("a shell");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    if !is_there("shellcheck") {
        skip("there is no shellcheck to judge the scripts", true);
        return;
    }
    let shells = scripts().into_iter().filter(|(_, interpreter)| interpreter.ends_with("sh"));
    let output =
        Command::new("shellcheck").args(shells.map(|(script, _)| script)).output().expect("it is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn nothing_of_the_environment_gets_into_what_is_built() {
    let mut build = Command::new(file("packaging/build"));
    build.arg("--environment").envs([
        ("RUSTFLAGS", "-Copt-level=0"),
        ("CFLAGS_x86_64_unknown_linux_gnu", "-O0"),
        ("TARGET_CFLAGS", "-O0"),
        ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ("RUSTC_WRAPPER", "/bin/false"),
    ]);
    let output = build.output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("a text");
    let unset = printed.lines().next().and_then(|line| line.strip_prefix("unset ")).expect("the first line");
    let unset: Vec<_> = unset.split(' ').collect();
    for name in [
        "RUSTFLAGS",
        "CFLAGS_x86_64_unknown_linux_gnu",
        "TARGET_CFLAGS",
        "CARGO_PROFILE_RELEASE_LTO",
        "RUSTC_WRAPPER",
    ] {
        assert!(unset.contains(&name), "{name}: {unset:?}");
    }
}

#[test]
fn without_a_commit_the_time_has_to_be_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("packaging/epoch");
    fs::create_dir(directory.path().join("packaging")).expect("a directory");
    write(&script, &text("packaging/epoch"));
    let epoch = |time: Option<&str>| {
        let mut command = Command::new(&script);
        command.env_remove("SOURCE_DATE_EPOCH").env("GIT_CEILING_DIRECTORIES", directory.path());
        command.envs(time.map(|time| ("SOURCE_DATE_EPOCH", time))).output().expect("a shell")
    };
    let refused = epoch(None);
    assert_eq!(refused.status.code(), Some(65));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("set SOURCE_DATE_EPOCH"), "{said}");
    assert_eq!(epoch(Some("1700000000")).stdout, b"1700000000\n");
}
