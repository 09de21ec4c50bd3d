//! What Debian's own judge of packages says of those that `tests/systemd/prepare` has made.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{program::is_there, skip};

/// Somebody who is not root, as whom it wants to be run.
const NOBODY: u32 = 65534;

/// The packages that are there.
fn packages() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let debs = tests.parent().expect("it is in the target directory").join("systemd/debs");
    let within = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
    let all = within(&debs).flat_map(|each| within(&each.path()));
    all.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "deb")).collect()
}

#[test]
fn lintian_has_nothing_to_say() {
    if !is_there("lintian") {
        skip("there is no lintian to judge the packages", true);
        return;
    }
    let packages = packages();
    if packages.is_empty() {
        skip("there are no packages (tests/systemd/prepare makes them)", false);
        return;
    }
    // Where everybody can read them, and where it can put what it unpacks.
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).expect("ours");
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--tag-display-limit", "0"]);
    lintian.current_dir("/").env("TMPDIR", directory.path()).env("HOME", directory.path());
    for package in packages {
        let copy = directory.path().join(package.file_name().expect("a file"));
        fs::copy(package, &copy).expect("copied");
        lintian.arg(copy);
    }
    if rustix::process::geteuid().is_root() {
        lintian.uid(NOBODY).gid(NOBODY);
    }
    let output = lintian.output().expect("it is there");
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{printed}");
}
