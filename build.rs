//! Has the program's relocations packed, where it will run on a C library that can read them.
//!
//! There are 20,000, of 24 bytes each, which a start reads one by one: half a MiB of the file, and of the memory that counts as
//! an idle daemon's, which are 10 KiB when packed. glibc reads them from 2.36 on, and an older one refuses a program that has them. So
//! this is done where the program is made on such a system, for its own kind: what is made there does not start on an older one, for
//! which there is the static build. Linkers that cannot pack ignore the word.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let set = |name: &str| env::var(name).unwrap_or_default();
    let is_native = set("HOST") == set("TARGET") && set("CARGO_CFG_TARGET_ENV") == "gnu";
    let is_static = set("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    if is_native && !is_static && glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc, as `getconf` has it: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
