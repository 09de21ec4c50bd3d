//! What `sysusers.d` and `tmpfiles.d` are told, and what they make of it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
};

use crate::{
    file,
    support::{program::is_there, skip},
    text,
};

const USERS: &str = "packaging/posthaste.sysusers";
const FILES: &str = "packaging/posthaste.tmpfiles";

/// A directory that is made.
pub struct Directory {
    pub path: String,
    pub mode: String,
    pub user: String,
}

/// The words of the lines of a kind.
fn lines(name: &str, kind: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    text(name).lines().map(words).filter(|words| words.first().is_some_and(|word| word == kind)).collect()
}

/// The users, each of whom has a group of the same name.
pub fn users() -> Vec<String> {
    lines(USERS, "u").into_iter().map(|words| words[1].clone()).collect()
}

/// The other groups.
pub fn groups() -> Vec<String> {
    lines(USERS, "g").into_iter().map(|words| words[1].clone()).collect()
}

pub fn directories() -> Vec<Directory> {
    let made = |words: Vec<String>| Directory {
        path: words[1].clone(),
        mode: words[2].trim_start_matches('0').to_owned(),
        user: words[3].clone(),
    };
    lines(FILES, "d").into_iter().map(made).map(with_four_digits).collect()
}

fn with_four_digits(directory: Directory) -> Directory {
    Directory { mode: format!("{:0>4}", directory.mode), ..directory }
}

/// In a root of its own, which takes root: users, directories and the configuration's rights are as the daemon wants them.
#[test]
fn systemd_makes_them_so() {
    if !rustix::process::geteuid().is_root() {
        skip("it takes root to give files to others", true);
        return;
    }
    if !(is_there("systemd-sysusers") && is_there("systemd-tmpfiles")) {
        skip("there are no systemd-sysusers and systemd-tmpfiles", false);
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let place = |name: &str| root.join(name);
    for name in ["etc/posthaste/conf.d", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "var/lib", "var/spool"] {
        fs::create_dir_all(place(name)).expect("a directory");
    }
    for name in
        ["etc/posthaste/posthaste.toml", "etc/posthaste/conf.d/own.toml", "etc/posthaste/conf.d/README"]
    {
        fs::write(place(name), "").expect("written");
    }
    for (program, list, name, more) in [
        ("systemd-sysusers", USERS, "usr/lib/sysusers.d/posthaste.conf", None),
        ("systemd-tmpfiles", FILES, "usr/lib/tmpfiles.d/posthaste.conf", Some("--create")),
    ] {
        fs::copy(file(list), place(name)).expect("copied");
        let mut command = Command::new(program);
        command.arg(format!("--root={}", root.display())).args(more).arg(place(name));
        let output = command.output().expect("it is there");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let number = |database: &str, name: &str| -> u32 {
        let text = fs::read_to_string(place(database)).expect("it was made");
        let of_name =
            |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok();
        text.lines().find_map(of_name).unwrap_or_else(|| panic!("{database} has {name}"))
    };
    let user = number("etc/passwd", "posthaste");
    let (own, producers) = (number("etc/group", "posthaste"), number("etc/group", "posthaste-producers"));
    for (name, owner, mode) in [
        ("var/lib/posthaste", (user, own), 0o750),
        ("var/spool/posthaste", (user, producers), 0o2770),
        ("var/spool/posthaste/failed", (user, producers), 0o2750),
        ("etc/posthaste", (0, own), 0o750),
        ("etc/posthaste/posthaste.toml", (0, own), 0o640),
        ("etc/posthaste/conf.d", (0, own), 0o750),
        ("etc/posthaste/credentials", (0, 0), 0o700),
        ("etc/posthaste/conf.d/own.toml", (0, own), 0o640),
        ("etc/posthaste/conf.d/README", (0, own), 0o640),
    ] {
        let there = fs::metadata(place(name)).expect("it is there");
        let is = ((there.uid(), there.gid()), there.permissions().mode() & 0o7777);
        assert_eq!(is, (owner, mode), "{name}: {is:?}");
    }
}
