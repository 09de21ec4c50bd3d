//! What `apt purge` leaves, by the script that dpkg runs, in a root of its own with a database of packages.

use std::{fs, path::Path, process::Command};

use crate::{
    file,
    support::{program::is_there, skip},
};

/// Of another package, with a name that dpkg would take for a pattern.
const OF_ANOTHER: &str = "etc/posthaste/conf.d/50-[archive].toml";

/// Writes files below the root.
fn write(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a directory");
        fs::write(path, "").expect("written");
    }
}

/// Purges in a root where the other package has this file.
fn purge(root: &Path, of_another: Option<&str>) {
    let database = root.join("var/lib/dpkg");
    fs::create_dir_all(database.join("info")).expect("a directory");
    let status = "Package: another\nStatus: install ok installed\nMaintainer: somebody\nArchitecture: all\nVersion: 1\nDescription: another\n";
    fs::write(database.join("status"), status).expect("written");
    let files = of_another.map_or_else(String::new, |name| format!("/{name}\n"));
    fs::write(database.join("info/another.list"), files).expect("written");
    let mut script = Command::new(file("packaging/debian/postrm"));
    script.arg("purge").env("DPKG_ROOT", root).env("DPKG_ADMINDIR", &database);
    let output = script.output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_takes_what_is_no_other_packages() {
    if !is_there("dpkg-query") {
        skip("there is no dpkg to purge with", false);
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let drop_in = "etc/systemd/system/posthaste.service.d/override.conf";
    let dropped = "var/spool/posthaste/1.json";
    write(
        root,
        &[
            "etc/posthaste/conf.d/60-own.toml",
            "etc/posthaste/conf.d/50-a.toml",
            "etc/posthaste/credentials/erp-secret",
            OF_ANOTHER,
            drop_in,
            "var/lib/posthaste/outbox.redb",
            "var/spool/posthaste/failed/2.json",
            dropped,
        ],
    );
    purge(root, Some(OF_ANOTHER));
    for gone in [
        "etc/posthaste/conf.d/60-own.toml",
        "etc/posthaste/conf.d/50-a.toml",
        "etc/posthaste/credentials",
        "var/lib/posthaste",
        "var/spool/posthaste/failed",
    ] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
    for left in [OF_ANOTHER, drop_in, dropped] {
        assert!(root.join(left).exists(), "{left}");
    }

    fs::remove_file(root.join(dropped)).expect("it is there");
    purge(root, None);
    for gone in ["etc/posthaste", "var/spool/posthaste"] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
}
