//! The fuzz targets' checks, without a fuzzer: the corpus, and thousands of mutations of it.
//!
//! What cargo-fuzz finds goes into `fuzz/corpus`, and is replayed here from then on.

#[path = "../fuzz/checks/mod.rs"]
mod checks;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Inputs made of a corpus.
const MUTATIONS: u64 = 20_000;
/// Bytes that parsers look at.
const PIECES: [&[u8]; 16] = [
    b"\n",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"=",
    b"\0",
    b"\xff",
    b"\xc1",
    b"\xdf\xff",
    b"null",
    b"-1e9",
];

/// Runs a check over a corpus and its mutations; a failure says which input it was.
fn run(target: &str, check: fn(&[u8]), mutations: u64) {
    let corpus = corpus(target);
    for (name, input) in &corpus {
        attempt(check, input, name);
    }
    for seed in 0..mutations {
        let mut random = fastrand::Rng::with_seed(seed);
        attempt(check, &mutated(&corpus, &mut random), &format!("seed {seed}"));
    }
}

fn attempt(check: fn(&[u8]), input: &[u8], name: &str) {
    if catch_unwind(AssertUnwindSafe(|| check(input))).is_err() {
        let mut shown = String::new();
        for byte in input {
            write!(shown, "{}", byte.escape_ascii()).expect("a String takes all");
        }
        panic!("{name}: b\"{shown}\"");
    }
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).expect("a corpus").map(|entry| entry.expect("an entry").path());
    let read = |path: std::path::PathBuf| (path.display().to_string(), fs::read(&path).expect("a file"));
    let mut all: Vec<_> = entries.map(read).collect();
    all.sort();
    assert!(!all.is_empty(), "{} has no inputs", directory.display());
    all
}

/// One of the corpus with some pieces taken out, doubled, exchanged with another's, or put in.
fn mutated(corpus: &[(String, Vec<u8>)], random: &mut fastrand::Rng) -> Vec<u8> {
    let pick = |random: &mut fastrand::Rng| corpus[random.usize(..corpus.len())].1.clone();
    let mut input = pick(random);
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=input.len());
        let to = (at + random.usize(..24)).min(input.len());
        let piece = match random.u8(..6) {
            0 => Vec::new(),
            1 => input[at..to].repeat(random.usize(1..4)),
            2 => {
                let other = pick(random);
                let from = random.usize(..=other.len());
                other[from..(from + random.usize(..40)).min(other.len())].to_vec()
            }
            3 => vec![random.u8(..); random.usize(1..4)],
            _ => PIECES[random.usize(..PIECES.len())].to_vec(),
        };
        input.splice(at..if random.bool() { at } else { to }, piece);
    }
    input
}

/// What is fuzzed is what is built: the fuzz crate's lock names the same versions.
#[test]
fn the_locks_agree() {
    let packages = |name: &str| -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let lock = fs::read_to_string(path).expect("a lock");
        let packages = lock.split("[[package]]\n").skip(1);
        packages.map(|package| package.lines().take(2).collect::<Vec<_>>().join(", ")).collect()
    };
    let (own, ours) = (packages("fuzz/Cargo.lock"), packages("Cargo.lock"));
    let other: Vec<_> = own.difference(&ours).map(String::as_str).collect();
    assert!(
        other.len() == 3
            && ["arbitrary", "libfuzzer-sys", "posthaste-fuzz"]
                .iter()
                .zip(&other)
                .all(|(name, package)| package.contains(&format!("\"{name}\""))),
        "copy Cargo.lock to fuzz/Cargo.lock, and `cargo update --workspace --manifest-path fuzz/Cargo.toml`: {other:?}"
    );
}

#[test]
fn lines() {
    run("lines", checks::lines::check, MUTATIONS);
}

#[test]
fn event() {
    run("event", checks::event::check, MUTATIONS);
}

#[test]
fn items() {
    run("items", checks::items::check, MUTATIONS);
}

#[test]
fn message() {
    run("message", checks::message::check, MUTATIONS);
}

#[test]
fn stream() {
    run("stream", checks::stream::check, MUTATIONS);
}

#[test]
fn spool() {
    run("spool", checks::spool::check, MUTATIONS);
}

/// Each writes its files.
#[test]
fn config() {
    run("config", checks::config::check, MUTATIONS / 20);
}
