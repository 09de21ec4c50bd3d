//! `install.sh` of the tarball, into a root of its own: an installation, an upgrade, and what is left after it is removed.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::{file, support::program::write, text};

/// In the binary's place: all that laying out asks of it is that it prints.
const PROGRAM: &str = "#!/bin/sh\necho \"what is printed for $*\"\n";

/// An archive as it is unpacked, and a root to install to.
struct Unpacked {
    directory: TempDir,
}

impl Unpacked {
    fn new() -> Self {
        let unpacked = Self { directory: tempfile::tempdir().expect("a directory") };
        let program = unpacked.path("program");
        write(&program, PROGRAM);
        let mut tree = Command::new(file("packaging/tree"));
        let output = tree.arg(&program).arg(unpacked.path("tree")).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        write(&unpacked.path("install.sh"), &text("packaging/install.sh"));
        unpacked
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path("install.sh"));
        command.args(arguments).arg("--destdir").arg(self.path("root")).output().expect("a shell")
    }

    fn run(&self, arguments: &[&str]) {
        let output = self.output(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs it, and it refuses; with which code, and what it says.
    fn refused(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{arguments:?} is not refused");
        (output.status.code(), String::from_utf8(output.stderr).expect("a text"))
    }

    /// The files in the root.
    fn installed(&self) -> BTreeSet<String> {
        fn walk(directory: &Path, root: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(&path, root, found);
                } else {
                    let name = path.strip_prefix(root).expect("it is below");
                    found.insert(name.display().to_string());
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(&self.path("root"), &self.path("root"), &mut found);
        found
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("root").join(name)).expect("it is installed")
    }
}

const CONFIGURATION: &str = "etc/posthaste/posthaste.toml";

#[test]
fn all_is_where_systemd_and_people_look_for_it() {
    let unpacked = Unpacked::new();
    unpacked.run(&[]);
    let installed = unpacked.installed();
    for name in [
        "bin/posthaste",
        "lib/systemd/system/posthaste.service",
        "lib/systemd/system/posthaste.socket",
        "lib/sysusers.d/posthaste.conf",
        "lib/tmpfiles.d/posthaste.conf",
        "share/bash-completion/completions/posthaste",
        "share/zsh/site-functions/_posthaste",
        "share/fish/vendor_completions.d/posthaste.fish",
        "share/man/man1/posthaste.1.gz",
        "share/man/man5/posthaste.toml.5.gz",
        "share/man/man8/posthaste.8.gz",
        "share/doc/posthaste/docs/operations.md",
        "share/doc/posthaste/examples/producers/emit.py",
    ] {
        assert!(installed.contains(&format!("usr/local/{name}")), "{name}: {installed:?}");
    }
    let mode = |name: &str| {
        let there = fs::metadata(unpacked.path("root").join(name)).expect("it is there");
        there.permissions().mode() & 0o777
    };
    assert_eq!(
        (mode(CONFIGURATION), mode("etc/posthaste"), mode("usr/local/bin/posthaste")),
        (0o640, 0o750, 0o755)
    );
    let unit = unpacked.read("usr/local/lib/systemd/system/posthaste.service");
    assert!(unit.contains("\nExecStart=/usr/local/bin/posthaste serve\n"), "{unit}");
    assert!(!unit.contains("/usr/bin/posthaste"), "{unit}");
}

#[test]
fn units_are_never_where_systemd_does_not_look() {
    let unpacked = Unpacked::new();
    unpacked.run(&["--prefix", "/opt/posthaste"]);
    let unit = unpacked.read("usr/local/lib/systemd/system/posthaste.service");
    assert!(unit.contains("\nExecReload=/opt/posthaste/bin/posthaste reload\n"), "{unit}");
    assert!(unpacked.path("root/opt/posthaste/bin/posthaste").exists());
}

#[test]
fn an_upgrade_keeps_the_configuration_and_so_does_removal() {
    let unpacked = Unpacked::new();
    unpacked.run(&["--prefix", "/usr"]);
    let once = unpacked.installed();
    fs::write(unpacked.path("root").join(CONFIGURATION), "# mine\n").expect("written");
    fs::write(unpacked.path("root/usr/bin/posthaste"), "an older one").expect("written");
    unpacked.run(&["--prefix", "/usr"]);
    assert_eq!(unpacked.installed(), once);
    assert_eq!(unpacked.read(CONFIGURATION), "# mine\n");
    assert_eq!(unpacked.read("usr/bin/posthaste"), PROGRAM);

    unpacked.run(&["--prefix", "/usr", "--uninstall"]);
    let left: Vec<_> = unpacked.installed().into_iter().collect();
    assert_eq!(left, ["etc/posthaste/conf.d/README", CONFIGURATION]);
    assert!(!unpacked.path("root/usr/share/doc/posthaste").exists());
    assert_eq!(unpacked.read(CONFIGURATION), "# mine\n");
}

#[test]
fn a_prefix_that_the_unit_could_not_use_is_refused() {
    let unpacked = Unpacked::new();
    for prefix in [
        "opt",
        "/",
        "/opt/a b",
        "/opt/a#b",
        "/opt/a&b",
        "/opt/50%",
        "/opt/$HOME",
        "/opt/../home/me",
        "/opt//a",
        "/home/me",
        "/root",
        "/tmp/a",
    ] {
        let (code, said) = unpacked.refused(&["--prefix", prefix]);
        assert!(code == Some(64) && said.contains("prefix"), "{prefix}: {code:?} {said}");
    }
    assert!(!unpacked.path("root").exists());
    unpacked.run(&["--prefix", "/opt/post-haste_1.0+a"]);
}

#[test]
fn there_is_one_prefix_at_a_time() {
    let unpacked = Unpacked::new();
    unpacked.run(&[]);
    let once = unpacked.installed();
    for arguments in [&["--prefix", "/opt/posthaste"][..], &["--prefix", "/usr", "--uninstall"]] {
        let (code, said) = unpacked.refused(arguments);
        assert!(code == Some(73) && said.contains("--prefix /usr/local"), "{code:?} {said}");
        assert_eq!(unpacked.installed(), once, "{arguments:?}");
    }
    unpacked.run(&["--uninstall"]);
    unpacked.run(&["--prefix", "/usr"]);
    let (code, said) = unpacked.refused(&["--uninstall"]);
    assert!(code == Some(73) && said.contains("--prefix /usr:"), "{code:?} {said}");
}
