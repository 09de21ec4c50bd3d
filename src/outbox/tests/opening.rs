//! The store's file: made, opened, refused.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::{at, batch, chain, open, options, wait};
use crate::outbox::End;
use crate::outbox::{
    Batch, OpenError, Opened, Options, open as opening,
    schema::{META, meta},
};

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A closed store with some events.
fn make(path: &Path, options: &Options) {
    let Opened { outbox, writer, .. } = open(path, options).expect("a new store opens");
    for number in 0..20 {
        let mut batch = batch(None, "{}");
        batch.events[0].event.producer_id = Some(format!("p-{number}"));
        wait(outbox.accept(batch).answer()).expect("the store takes it");
    }
    writer.close(End::Clean).expect("it closes");
}

fn refusal(path: &Path) -> OpenError {
    open(path, &options()).expect_err("it is refused")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file is there").permissions().mode() & 0o7777
}

#[test]
fn a_store_is_made_whole() {
    let directory = directory();
    let path = directory.path().join("missing/too/store.redb");
    make(&path, &options());
    assert_eq!(mode(&path), 0o600);
    let names: Vec<_> = fs::read_dir(path.parent().expect("a parent")).expect("a list").collect();
    assert_eq!(names.len(), 1, "nothing is left of the making: {names:?}");
    let opened = open(&path, &options()).expect("it opens again");
    assert!(!opened.unclean);
    assert_eq!((opened.last_seq.get(), opened.first_attempt.get()), (20, 1));
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_name_alone_is_in_the_working_directory() {
    assert_eq!(opening::parent(Path::new("store.redb")), Path::new("."));
    assert_eq!(opening::parent(Path::new("a/store.redb")), Path::new("a"));
    assert_eq!(opening::parent(Path::new("/store.redb")), Path::new("/"));
}

#[test]
fn what_a_crash_left_of_the_making_is_replaced() {
    let directory = directory();
    let whole = directory.path().join("whole.redb");
    make(&whole, &options());
    let whole = fs::read(whole).expect("a file");
    let zeros = vec![0; 70_000];
    let contents: [&[u8]; 5] = [b"", b"x", &zeros, &whole, &whole[..5_000]];
    for (number, content) in contents.into_iter().enumerate() {
        let path = directory.path().join(format!("{number}.redb"));
        let leftover = directory.path().join(format!("{number}.redb.new"));
        fs::write(&leftover, content).expect("a file");
        fs::set_permissions(&leftover, PermissionsExt::from_mode(0o666)).expect("a mode");
        let opened = open(&path, &options()).expect("a new store");
        assert_eq!(opened.last_seq.get(), 0, "nothing is taken over");
        assert_eq!(mode(&path), 0o600);
        assert!(!leftover.exists());
        opened.writer.close(End::Clean).expect("it closes");
    }
}

#[test]
fn a_store_that_another_daemon_is_making_is_left_alone() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    let leftover = directory.path().join("store.redb.new");
    fs::write(&leftover, "x").expect("a file");
    let other = File::open(&leftover).expect("the file");
    other.lock().expect("a lock");
    let error = refusal(&path);
    let own = std::process::id();
    let text = format!(
        "{} is in use by another posthaste daemon (process {own}); one store has one daemon",
        leftover.display()
    );
    assert_eq!(chain(&error), text);
    assert_eq!(fs::read_to_string(&leftover).expect("the file"), "x");

    // Not yet anything in it, but redb's lock.
    fs::write(&leftover, "").expect("a file");
    drop(other);
    let other = Database::create(&leftover).expect("a database");
    fs::OpenOptions::new().write(true).open(&leftover).expect("the file").set_len(0).expect("it is emptied");
    assert_eq!(chain(&refusal(&path)), text);
    drop(other);
}

#[test]
fn one_store_has_one_daemon() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    let opened = open(&path, &options()).expect("a new store");
    let error = refusal(&path);
    assert!(matches!(error, OpenError::InUse { .. }));
    let holder = format!("in use by another posthaste daemon (process {})", std::process::id());
    assert!(chain(&error).contains(&holder), "{}", chain(&error));
    opened.writer.close(End::Clean).expect("it closes");
    // A handle that somebody still has keeps nobody out.
    let again = open(&path, &options()).expect("it opens again");
    assert!(opened.outbox.read().is_err());
    again.writer.close(End::Clean).expect("it closes");
}

#[test]
fn locks_are_read_from_the_kernels_list() {
    for (line, expected) in [
        ("1: FLOCK  ADVISORY  WRITE 12261 fe:00:5529859 0 EOF", Some(12261)),
        ("1: POSIX  ADVISORY  WRITE 7 fe:00:5529859 1073741824 1073742335", Some(7)),
        ("1: OFDLCK ADVISORY  WRITE -1 fe:00:5529859 0 EOF", None),
        ("1: FLOCK  ADVISORY  WRITE 0 fe:00:5529859 0 EOF", None),
        ("1: -> FLOCK  ADVISORY  WRITE 12261 fe:00:5529859 0 EOF", None),
        ("1: FLOCK  ADVISORY  WRITE 12261 fe:01:5529859 0 EOF", None),
        ("1: FLOCK  ADVISORY  WRITE 12261 fe:00:552985 0 EOF", None),
        ("", None),
    ] {
        assert_eq!(opening::lock_holder(line, "fe:00:5529859"), expected, "{line}");
    }
}

#[test]
fn an_end_without_closing_is_seen() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    for quick_repair in [false, true] {
        let options = Options { quick_repair, ..options() };
        make(&path, &options);
        let opened = open(&path, &options).expect("it opens");
        // Killed before anything was written, and after.
        let early = directory.path().join("early.redb");
        let late = directory.path().join("late.redb");
        fs::copy(&path, &early).expect("a copy");
        wait(opened.outbox.accept(batch(None, "{}")).answer()).expect("the store takes it");
        fs::copy(&path, &late).expect("a copy");
        for (copy, last_seq) in [(early, 20), (late, 21)] {
            let opened = open(&copy, &options).expect("it opens");
            assert!(opened.unclean);
            assert_eq!(opened.last_seq.get(), last_seq);
            opened.writer.close(End::Clean).expect("it closes");
            let opened = open(&copy, &options).expect("it opens");
            assert!(!opened.unclean, "closed properly since");
            opened.writer.close(End::Clean).expect("it closes");
        }
        opened.writer.close(End::Clean).expect("it closes");
        fs::remove_file(&path).expect("the file");
    }
}

#[test]
fn opening_and_closing_does_not_make_the_file_grow() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    make(&path, &options());
    let size = |path: &Path| fs::metadata(path).expect("the file is there").len();
    let before = size(&path);
    for _ in 0..30 {
        open(&path, &options()).expect("it opens").writer.close(End::Clean).expect("it closes");
    }
    assert!(size(&path) <= before, "{} after {before}", size(&path));
}

#[test]
fn other_formats_are_refused() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    make(&path, &options());
    let database = Database::open(&path).expect("it opens");
    let txn = database.begin_write().expect("a transaction");
    txn.open_table(META).expect("a table").insert(meta::FORMAT, [0, 0, 0, 9].as_slice()).expect("a row");
    txn.commit().expect("a commit");
    drop(database);
    for _ in 0..2 {
        let text = format!(
            "{} has format 9, this version of posthaste reads format 1; \
             use the posthaste that wrote it, or move the file away and start afresh",
            path.display()
        );
        assert_eq!(chain(&refusal(&path)), text, "and it is left as it was");
    }
}

#[test]
fn somebody_elses_database_is_refused() {
    const OTHER: TableDefinition<u64, u64> = TableDefinition::new("meta");
    const SAME: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
    let directory = directory();
    let path = directory.path().join("store.redb");
    for number in 0..3 {
        let database = Database::create(&path).expect("a database");
        let txn = database.begin_write().expect("a transaction");
        match number {
            0 => {}
            1 => drop(txn.open_table(OTHER).expect("a table")),
            _ => drop(txn.open_table(SAME).expect("a table")),
        }
        txn.commit().expect("a commit");
        drop(database);
        let error = refusal(&path);
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        let text = format!(
            "{} is no posthaste store, or is damaged; restore a backup, or move it away and start afresh: ",
            path.display()
        );
        assert!(chain(&error).starts_with(&text), "{}", chain(&error));
        fs::remove_file(&path).expect("the file");
    }
}

#[test]
fn garbage_is_refused() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    make(&path, &options());
    let whole = fs::read(&path).expect("a file");
    let mut random = fastrand::Rng::with_seed(5);
    let mut contents: Vec<Vec<u8>> = [0, 1, 8, 9, 63, 64, 319, 320, 511, 512, 4095, 4096, 100_000, 1 << 20]
        .map(|length| whole[..length.min(whole.len() - 1)].to_vec())
        .into();
    contents.push(b"a text\n".repeat(1_000));
    contents.push((0..100_000).map(|_| random.u8(..)).collect());
    contents.push(vec![0; 1 << 20]);
    contents.push([&whole[..320], &vec![0; 100_000]].concat());
    contents.push([&whole[..4096], &vec![0xff; whole.len() - 4096][..]].concat());
    for (number, content) in contents.into_iter().enumerate() {
        fs::write(&path, content).expect("a file");
        let error = refusal(&path);
        assert!(matches!(error, OpenError::Damaged { .. }), "{number}: {}", chain(&error));
    }
}

#[test]
fn damage_never_panics() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    make(&path, &options());
    let whole = fs::read(&path).expect("a file");
    let used = whole.iter().rposition(|byte| *byte != 0).expect("something is in it") + 1;
    let mut refused = 0;
    for seed in 0..150 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut damaged = whole.clone();
        let end = if random.bool() { 320 } else { used };
        for _ in 0..random.usize(1..20) {
            damaged[random.usize(..end)] = random.u8(..);
        }
        fs::write(&path, &damaged).expect("a file");
        match open(&path, &options()) {
            Ok(Opened { outbox, writer, mut notices, .. }) => {
                // What is damaged further down ends the writer, and everybody is told.
                let mut with_id = batch(Some("p-7"), "{}");
                with_id.at = at(2);
                for batch in [with_id, batch(None, "{}")] {
                    let _: Result<_, _> = wait(outbox.accept(Batch { at: at(2), ..batch }).answer());
                }
                let _: Result<_, _> = writer.close(End::Clean);
                while notices.blocking_recv().is_some() {}
            }
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(
                        error,
                        OpenError::Damaged { .. } | OpenError::Format { .. } | OpenError::Store { .. }
                    ),
                    "{}",
                    chain(&error)
                );
            }
        }
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn what_the_system_says_is_passed_on() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "x").expect("a file");
    let below = file.join("below/store.redb");
    let error = refusal(&below);
    let text = format!("cannot look for {}: Not a directory (os error 20)", below.display());
    assert_eq!(chain(&error), text);
    let error = refusal(directory.path());
    let text = format!("cannot open {}: Is a directory (os error 21)", directory.path().display());
    assert_eq!(chain(&error), text);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/nowhere/at/all", &link).expect("a link");
    let text = format!("cannot make {}: File exists (os error 17)", link.display());
    assert_eq!(chain(&refusal(&link.join("store.redb"))), text);
}
