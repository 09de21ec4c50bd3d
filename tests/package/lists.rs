//! What `sysusers.d` and `tmpfiles.d` are told, and what they make of it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;

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
        mode: words[2].trim_start_matches([':', '0']).to_owned(),
        user: words[3].trim_start_matches(':').to_owned(),
    };
    lines(FILES, "d").into_iter().map(made).map(with_four_digits).collect()
}

fn with_four_digits(directory: Directory) -> Directory {
    Directory { mode: format!("{:0>4}", directory.mode), ..directory }
}

/// A system's root, with the configuration as `packaging/tree` lays it out.
struct Root(TempDir);

impl Root {
    /// Where it can be made: it takes root, and systemd's programs.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("it takes root to give files to others", true);
            return None;
        }
        if !(is_there("systemd-sysusers") && is_there("systemd-tmpfiles")) {
            skip("there are no systemd-sysusers and systemd-tmpfiles", true);
            return None;
        }
        let root = Self(tempfile::tempdir().expect("a directory"));
        for name in ["usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "var/lib", "var/spool"] {
            fs::create_dir_all(root.place(name)).expect("a directory");
        }
        for name in ["etc/posthaste", "etc/posthaste/conf.d"] {
            fs::create_dir_all(root.place(name)).expect("a directory");
            root.give(name, None, 0o750);
        }
        for name in ["etc/posthaste/posthaste.toml", "etc/posthaste/conf.d/own.toml"] {
            fs::write(root.place(name), "").expect("written");
            root.give(name, None, 0o640);
        }
        Some(root)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Gives a file another mode, and another group.
    fn give(&self, name: &str, group: Option<u32>, mode: u32) {
        chown(self.place(name), None, group).expect("root may");
        fs::set_permissions(self.place(name), fs::Permissions::from_mode(mode)).expect("root may");
    }

    /// What happens when the package is configured, and at each boot.
    fn boot(&self) {
        for (program, list, name, more) in [
            ("systemd-sysusers", USERS, "usr/lib/sysusers.d/posthaste.conf", None),
            ("systemd-tmpfiles", FILES, "usr/lib/tmpfiles.d/posthaste.conf", Some("--create")),
        ] {
            fs::copy(file(list), self.place(name)).expect("copied");
            let mut command = Command::new(program);
            command.arg(format!("--root={}", self.0.path().display())).args(more).arg(self.place(name));
            let output = command.output().expect("it is there");
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// The number of a user or group.
    fn number(&self, database: &str, name: &str) -> u32 {
        let text = fs::read_to_string(self.place(database)).expect("it was made");
        let of_name =
            |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok();
        text.lines().find_map(of_name).unwrap_or_else(|| panic!("{database} has {name}"))
    }

    fn assert_is(&self, name: &str, owner: (u32, u32), mode: u32) {
        let there = fs::metadata(self.place(name)).expect("it is there");
        let is = ((there.uid(), there.gid()), there.permissions().mode() & 0o7777);
        assert_eq!(is, (owner, mode), "{name}: {is:?}");
    }
}

#[test]
fn systemd_makes_them_as_the_daemon_wants_them() {
    let Some(root) = Root::new() else { return };
    root.boot();
    let user = root.number("etc/passwd", "posthaste");
    let (own, producers) =
        (root.number("etc/group", "posthaste"), root.number("etc/group", "posthaste-producers"));
    for (name, owner, mode) in [
        ("var/lib/posthaste", (user, own), 0o750),
        ("var/spool/posthaste", (user, producers), 0o2770),
        ("var/spool/posthaste/failed", (user, producers), 0o2750),
        ("etc/posthaste", (0, own), 0o750),
        ("etc/posthaste/posthaste.toml", (0, own), 0o640),
        ("etc/posthaste/conf.d", (0, own), 0o750),
        ("etc/posthaste/credentials", (0, 0), 0o700),
        ("etc/posthaste/conf.d/own.toml", (0, 0), 0o640),
    ] {
        root.assert_is(name, owner, mode);
    }
}

#[test]
fn what_the_administrator_has_made_of_them_stays() {
    const ADMINS: u32 = 4017;
    let Some(root) = Root::new() else { return };
    root.boot();
    let user = root.number("etc/passwd", "posthaste");
    let (own, producers) =
        (root.number("etc/group", "posthaste"), root.number("etc/group", "posthaste-producers"));
    root.give("var/spool/posthaste", None, 0o3770);
    root.give("var/spool/posthaste/failed", Some(ADMINS), 0o2770);
    root.give("etc/posthaste", None, 0o755);
    root.give("etc/posthaste/posthaste.toml", None, 0o660);
    root.give("etc/posthaste/conf.d/own.toml", Some(ADMINS), 0o664);
    root.boot();
    for (name, owner, mode) in [
        ("var/spool/posthaste", (user, producers), 0o3770),
        ("var/spool/posthaste/failed", (user, ADMINS), 0o2770),
        ("etc/posthaste", (0, own), 0o755),
        ("etc/posthaste/posthaste.toml", (0, own), 0o660),
        ("etc/posthaste/conf.d/own.toml", (0, ADMINS), 0o664),
    ] {
        root.assert_is(name, owner, mode);
    }
}
