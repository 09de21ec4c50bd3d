//! What is installed beside the binary: units, users, directories, the configuration, and the scripts that lay it all out.
//!
//! Each says names and paths that the others, the code and its documents say, too; here they are held against each
//! other. What only a running systemd can tell is not told here.

#![allow(
    unreachable_pub,
    reason = "a test program has no outside; `pub` says what its modules offer each other"
)]

mod support;

#[path = "package/configuration.rs"]
mod configuration;
#[path = "package/install.rs"]
mod install;
#[path = "package/lintian.rs"]
mod lintian;
#[path = "package/lists.rs"]
mod lists;
#[path = "package/purge.rs"]
mod purge;
#[path = "package/scripts.rs"]
mod scripts;
#[path = "package/unit.rs"]
mod unit;
#[path = "package/units.rs"]
mod units;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of the project.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What is in it.
fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
