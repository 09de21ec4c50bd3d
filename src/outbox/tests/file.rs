//! The store's file without its daemon: what a check finds, what a restore goes on with, what a backup has.

use std::{
    fs, io,
    ops::{Bound, ControlFlow},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use redb::{
    BackendError, Database, ReadableTable as _, StorageBackend, WriteTransaction, backends::FileBackend,
};
use tempfile::TempDir;

use super::{at, batch, chain, open, options, success, tenants::tenant, wait};
use crate::{
    model::{
        account::AccountName,
        bearer::{KeyHash, KeyNumber, StoredKey},
        delivery::{DeliveryKey, Scheduled},
        endpoint::EndpointNumber,
        event::Seq,
        id::EventId,
        job::{Recover, Work},
        role::Role,
        time::Timestamp,
    },
    outbox::{
        Acceptance, Batch, BatchAnswer, Configured, End, Entry, FileIdentity, JobChange, JobChanged,
        KeyChange, KeyChanged, OpenError, Opened, Outbox, Replay, Replayed, Room, TenantChange,
        TenantChanged,
        file::{BackupError, Finding, Halt, Progress, RestoreError, Stage, Stopped, copy, restore},
        ground::Ground,
        schema::{
            ACCOUNTS, ATTEMPTS, ENDPOINTS, EVENTS, FIFO, FILES, HEALTH, HISTORY, IDS, JOBS, KEYS, META,
            PARKED, PENDING, meta,
        },
    },
};

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn accept(outbox: &Outbox, batch: Batch) -> Vec<EventId> {
    let BatchAnswer::Events(answers) = wait(outbox.accept(batch).answer()).expect("the store takes it")
    else {
        panic!("it is a file's")
    };
    let id = |answer: &Acceptance| match answer {
        Acceptance::Accepted(id) => *id,
        other => panic!("it is not taken: {other:?}"),
    };
    answers.iter().map(id).collect()
}

/// Events with ids, in an order and not; of a file; delivered and pending, and pending again; keys, an account and a job.
fn fill(outbox: &Outbox) {
    let name = Configured {
        account: AccountName::default(),
        name: "erp".to_owned(),
        url: "https://a.example/".to_owned(),
        unavailable: None,
        lasting: None,
    };
    wait(outbox.configure(vec![name], Vec::new(), at(1))).expect("it is written");
    for number in 0..8 {
        let mut one = batch(None, "{\"n\":1}");
        let routed = &mut one.events[0];
        routed.event.producer_id = (number % 2 == 0).then(|| format!("p-{number}"));
        routed.event.key = Some("k".to_owned());
        routed.deliveries[0].entry = if number < 4 { Entry::AtOnce } else { Entry::Never };
        if number == 5 {
            let directory = "/spool".to_owned();
            one.file = Some(FileIdentity { directory, device: 1, inode: 2, mtime: 3, size: 4 });
        }
        accept(outbox, one);
    }
    // The fifth and the sixth: nothing keeps them in an order.
    outbox.settle(&mut vec![success(5)]);
    outbox.settle(&mut vec![success(6)]);
    accept(outbox, batch(None, "{}"));
    let parked = Scheduled {
        key: DeliveryKey { seq: Seq::new(7), slot: 0 },
        endpoint: EndpointNumber::new(1),
        due: at(5),
    };
    outbox.park(vec![parked]);
    outbox.settle(&mut vec![success(9)]);
    // The second goes with a commit behind that of the outcome.
    for number in [1, 2] {
        let key = StoredKey {
            role: Role::Operator(None),
            hash: KeyHash([number; 32]),
            name: None,
            created_at: at(1),
            expires_at: None,
            last_used_at: None,
        };
        let made = wait(outbox.change_key(KeyChange::Make { key: Box::new(key), of_tenant: false, most: 9 }));
        assert_eq!(made.expect("it is written"), KeyChanged::Done(KeyNumber::new(u32::from(number))));
    }
    let revoked = wait(outbox.change_key(KeyChange::Revoke { number: KeyNumber::new(2) }));
    assert!(matches!(revoked.expect("it is written"), KeyChanged::Done(_)));
    outbox.backlog_is_counted();
    let key = DeliveryKey { seq: Seq::new(9), slot: 0 };
    let replayed = wait(outbox.replay(Replay { key, at: at(9), wall: at(9), callback: None }));
    assert!(matches!(replayed.expect("it is written"), Replayed::Done(_)));
    let change = TenantChange::Put(Box::new(tenant(3)));
    let made = wait(outbox.change_account("shop".parse().expect("a name"), change, Vec::new(), at(9)));
    assert!(matches!(made.expect("it is written"), TenantChanged::Done(_)));
    let work = Recover {
        endpoint: EndpointNumber::new(1),
        since: at(1),
        until: at(9),
        below: Seq::MAX,
        next: key,
        replayed: 0,
    };
    let job = JobChange::Make { account: None, work: Work::Recover(work), total: None, at: at(9) };
    assert!(matches!(wait(outbox.change_job(job)).expect("it is written"), JobChanged::Done(..)));
}

/// A closed store.
fn make(path: &Path) {
    let Opened { outbox, writer, .. } = open(path, &options()).expect("a new store opens");
    fill(&outbox);
    writer.close(End::Clean).expect("it closes");
}

fn change(path: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::open(path).expect("it opens");
    let txn = database.begin_write().expect("a transaction");
    change(&txn);
    txn.commit().expect("a commit");
}

fn found(path: &Path) -> Vec<Finding> {
    let mut opened = Stopped::read(path, |_| {}).expect("it opens");
    let report = opened.check(|_| {}).expect("it is read");
    assert_eq!(report.found, u64::try_from(report.findings.len()).expect("a few"));
    report.findings
}

#[test]
fn nothing_is_wrong_with_a_store_and_nothing_of_it_is_changed() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    make(&path);
    let before = fs::read(&path).expect("a file");
    let mut opened = Stopped::read(&path, |_| {}).expect("it opens");
    let report = opened.check(|_| {}).expect("it is read");
    assert_eq!(report.findings, []);
    assert!(report.closed && !report.put_in_order && report.size > report.free);
    let rows = |name: &str| report.tables.iter().find(|one| one.name == name).map_or(0, |one| one.rows);
    let all = [
        ("events", 9),
        ("pending", 7),
        ("history", 2),
        ("attempts", 3),
        ("ids", 4),
        ("files", 1),
        ("parked", 1),
        ("fifo", 4),
        ("endpoints", 1),
        ("jobs", 1),
        // One of them is revoked.
        ("keys", 2),
        ("accounts", 1),
        ("health", 1),
    ];
    for (name, expected) in all {
        assert_eq!(rows(name), expected, "each table has something to look at: {name}");
    }
    let known: Vec<_> = all.iter().map(|(name, _)| *name).chain(["meta"]).collect();
    assert!(report.tables.iter().all(|one| known.contains(&&*one.name)), "and there is no other");
    opened.close().expect("it closes");
    assert!(fs::read(&path).expect("a file") == before, "no byte is another");
}

#[test]
fn a_store_that_was_not_closed_is_looked_at_and_left_as_it_is() {
    let directory = directory();
    let (path, copy) = (directory.path().join("store.redb"), directory.path().join("copy.redb"));
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fill(&outbox);
    fs::copy(&path, &copy).expect("a copy");
    writer.close(End::Clean).expect("it closes");
    let before = fs::read(&copy).expect("a file");
    let mut opened = Stopped::read(&copy, |_| {}).expect("it opens");
    let report = opened.check(|_| {}).expect("it is read");
    assert_eq!((report.findings, report.closed, report.put_in_order), (Vec::new(), false, true));
    opened.close().expect("it closes");
    assert!(fs::read(&copy).expect("a file") == before, "no byte is another");
    let mut opened = Stopped::write(&copy, |_| {}).expect("it opens");
    assert_eq!(opened.check(|_| {}).expect("it is read").findings, []);
    opened.close().expect("it closes");
    let mut opened = Stopped::read(&copy, |_| {}).expect("it opens");
    let report = opened.check(|_| {}).expect("it is read");
    assert_eq!(
        (report.closed, report.put_in_order),
        (false, false),
        "repaired it is, and no daemon closed it"
    );
}

#[test]
fn a_store_has_one_user() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    let opened = open(&path, &options()).expect("a new store");
    for result in [Stopped::read(&path, |_| {}), Stopped::write(&path, |_| {})] {
        assert!(matches!(result, Err(OpenError::InUse { .. })), "while a daemon has it");
    }
    opened.writer.close(End::Clean).expect("it closes");
    let (one, other) = (Stopped::read(&path, |_| {}), Stopped::read(&path, |_| {}));
    let (one, other) = (one.expect("it is free"), other.expect("two can read"));
    assert!(matches!(Stopped::write(&path, |_| {}), Err(OpenError::InUse { .. })));
    let error = open(&path, &options()).expect_err("while somebody reads it");
    assert!(matches!(error, OpenError::InUse { .. }), "{}", chain(&error));
    drop(other);
    one.close().expect("it closes");
    let writing = Stopped::write(&path, |_| {}).expect("it is free");
    assert!(matches!(Stopped::read(&path, |_| {}), Err(OpenError::InUse { .. })));
    writing.close().expect("it closes");
}

/// What is done to a store, and what a check says: the table, and a part of its words.
type Damage = (&'static str, fn(&WriteTransaction), &'static [(&'static str, &'static str)]);

const DAMAGES: &[Damage] = &[
    (
        "an event's row is gone",
        |txn| remove(txn, 7),
        &[("pending", "its event 7 is not"), ("meta", "bytes of rows")],
    ),
    (
        "an event cannot be read",
        |txn| drop(txn.open_table(EVENTS).expect("a table").insert(7, b"\xffx".as_slice())),
        &[("events", "cannot be read"), ("meta", "bytes of rows")],
    ),
    (
        "an event without deliveries",
        |txn| drop(txn.open_table(PENDING).expect("a table").remove(7 << 16)),
        &[("events", "no row in `pending`"), ("meta", "bytes of rows")],
    ),
    (
        "a row in the wrong table",
        |txn| {
            let mut history = txn.open_table(HISTORY).expect("a table");
            let row = history.remove(5 << 16).expect("it reads").expect("a row").value().to_vec();
            txn.open_table(PENDING).expect("a table").insert(5 << 16, row.as_slice()).expect("a row");
        },
        &[("pending", "no delivery of it is pending")],
    ),
    (
        "a row that says something else",
        |txn| {
            let mut pending = txn.open_table(PENDING).expect("a table");
            let mut row = pending.get(8 << 16).expect("it reads").expect("a row").value().to_vec();
            row[6] ^= 1;
            pending.insert(8 << 16, row.as_slice()).expect("a row");
        },
        &[("pending", "something else of its event")],
    ),
    (
        "an endpoint is gone",
        |txn| drop(txn.open_table(ENDPOINTS).expect("a table").remove(1)),
        &[("pending", "its endpoint 1 is not in `endpoints`"), ("health", "1, which is no endpoint")],
    ),
    (
        "an attempt is gone",
        |txn| drop(txn.open_table(ATTEMPTS).expect("a table").remove(1)),
        &[("history", "its newest attempt 1 is not in `attempts`"), ("meta", "bytes of rows")],
    ),
    (
        "two attempts are exchanged",
        |txn| {
            let mut table = txn.open_table(ATTEMPTS).expect("a table");
            let [one, other] =
                [1, 2].map(|row| table.get(row).expect("it reads").expect("a row").value().to_vec());
            table.insert(1, other.as_slice()).expect("a row");
            table.insert(2, one.as_slice()).expect("a row");
        },
        &[("history", "its newest attempt 1 is another's"), ("history", "its newest attempt 2 is another's")],
    ),
    (
        "a place is gone",
        |txn| {
            let mut table = txn.open_table(FIFO).expect("a table");
            let key = table.iter().expect("it reads").next().expect("a row").expect("a row").0.value();
            table.remove(key).expect("it is there");
        },
        &[("pending", "its place in its order is not in `fifo`")],
    ),
    (
        "a place too many",
        |txn| drop(txn.open_table(FIFO).expect("a table").insert((1, 0, 7 << 16), 7 << 16)),
        &[("fifo", "not the place of a pending delivery")],
    ),
    (
        "a parked key of another endpoint",
        |txn| drop(txn.open_table(PARKED).expect("a table").insert((2, 0, 7 << 16), 5)),
        &[("parked", "another endpoint's")],
    ),
    (
        "a parked key of no delivery",
        |txn| drop(txn.open_table(PARKED).expect("a table").insert((1, 0, 99 << 16), 5)),
        &[("parked", "never made")],
    ),
    (
        "an id of another event",
        |txn| {
            let mut table = txn.open_table(IDS).expect("a table");
            let row = table.get(1).expect("it reads").expect("a row").value().to_vec();
            table.insert(3, row.as_slice()).expect("a row");
        },
        &[("ids", "not the id of its event")],
    ),
    (
        "an id of no event",
        |txn| {
            let mut table = txn.open_table(IDS).expect("a table");
            let row = table.get(1).expect("it reads").expect("a row").value().to_vec();
            table.insert(10, row.as_slice()).expect("a row");
        },
        &[("ids", "never accepted")],
    ),
    (
        "a file of no event",
        |txn| drop(txn.open_table(FILES).expect("a table").insert(("/spool", 9, 9, 9, 9), 11)),
        &[("files", "never accepted")],
    ),
    (
        "another count",
        |txn| {
            let held = [0, 0, 0, 0, 0, 0, 0, 9].repeat(3);
            txn.open_table(META).expect("a table").insert(meta::HELD, held.as_slice()).expect("a row");
        },
        &[("meta", "it says 9 bytes of rows")],
    ),
    (
        "a job that cannot be read",
        |txn| drop(txn.open_table(JOBS).expect("a table").insert(1, b"\xffx".as_slice())),
        &[("jobs", "cannot be read")],
    ),
    (
        "a key that cannot be read",
        |txn| drop(txn.open_table(KEYS).expect("a table").insert(1, b"\xffx".as_slice())),
        &[("keys", "cannot be read")],
    ),
    (
        "a key that is revoked and does not go",
        |txn| {
            let mut table = txn.open_table(KEYS).expect("a table");
            let row = table.get(2).expect("it reads").expect("a row").value().to_vec();
            table.insert(1, row.as_slice()).expect("a row");
        },
        &[("keys", "was revoked")],
    ),
    (
        "an account that cannot be read",
        |txn| drop(txn.open_table(ACCOUNTS).expect("a table").insert("shop", b"\xffx".as_slice())),
        &[("accounts", "cannot be read")],
    ),
    (
        "an account of no name",
        |txn| {
            let mut table = txn.open_table(ACCOUNTS).expect("a table");
            let row = table.remove("shop").expect("it reads").expect("a row").value().to_vec();
            table.insert("a b", row.as_slice()).expect("a row");
        },
        &[("accounts", "no name of an account")],
    ),
    (
        "how an endpoint does cannot be read",
        |txn| drop(txn.open_table(HEALTH).expect("a table").insert(1, b"\xffx".as_slice())),
        &[("health", "cannot be read")],
    ),
    (
        "how no endpoint does",
        |txn| {
            let mut table = txn.open_table(HEALTH).expect("a table");
            let row = table.get(1).expect("it reads").expect("a row").value().to_vec();
            table.insert(7, row.as_slice()).expect("a row");
        },
        &[("health", "7, which is no endpoint")],
    ),
    (
        "a count of attempts that are not made yet",
        |txn| {
            let mark = 5_u64.to_be_bytes();
            txn.open_table(META).expect("a table").insert(meta::HEALTH, mark.as_slice()).expect("a row");
        },
        &[("meta", "never made")],
    ),
    (
        "no key of the ids",
        |txn| drop(txn.open_table(META).expect("a table").remove(meta::ID_KEY)),
        &[("meta", "the key of the ids")],
    ),
];

fn remove(txn: &WriteTransaction, seq: u64) {
    txn.open_table(EVENTS).expect("a table").remove(seq).expect("it reads");
}

#[test]
fn whatever_is_wrong_is_found() {
    let directory = directory();
    let whole = directory.path().join("store.redb");
    make(&whole);
    for (what, damage, expected) in DAMAGES {
        let path = directory.path().join("damaged.redb");
        fs::copy(&whole, &path).expect("a copy");
        change(&path, damage);
        let found = found(&path);
        let fits = |(table, words): &(&str, &str)| {
            found.iter().any(|one| one.table == *table && one.what.contains(words))
        };
        assert!(expected.iter().all(fits), "{what}: {found:?}");
        let expected = |one: &Finding| {
            expected.iter().any(|(table, words)| one.table == *table && one.what.contains(words))
        };
        assert!(found.iter().all(expected), "{what}, and nothing else: {found:?}");
    }
}

#[test]
fn a_damaged_file_is_an_error_or_a_finding() {
    let directory = directory();
    let path = directory.path().join("store.redb");
    make(&path);
    let whole = fs::read(&path).expect("a file");
    // Behind the header, where something is.
    let places: Vec<_> = (4_096..whole.len()).filter(|place| whole[*place] != 0).collect();
    let (mut refused, mut seen) = (0, 0);
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut damaged = whole.clone();
        for _ in 0..random.usize(1..20) {
            damaged[places[random.usize(..places.len())]] ^= random.u8(1..);
        }
        fs::write(&path, &damaged).expect("a file");
        match Stopped::read(&path, |_| {}) {
            Ok(mut opened) => seen += usize::from(opened.check(|_| {}).expect("it is read").found > 0),
            Err(error) => {
                assert!(
                    matches!(error, OpenError::Damaged { .. } | OpenError::Store { .. }),
                    "seed {seed}: {}",
                    chain(&error)
                );
                refused += 1;
            }
        }
        assert!(fs::read(&path).expect("a file") == damaged, "seed {seed}: it is left as it was");
    }
    // Some bytes are of pages that hold nothing.
    assert!(refused > 0 && refused + seen > 20, "{refused} refused, {seen} found");
}

fn go_on(_: Progress) -> ControlFlow<Halt> {
    ControlFlow::Continue(())
}

/// The events that a store holds, by number.
fn events(path: &Path) -> Vec<u64> {
    let database = Database::open(path).expect("it opens");
    let txn = database.begin_write().expect("a transaction");
    let table = txn.open_table(EVENTS).expect("a table");
    table.iter().expect("it reads").map(|row| row.expect("a row").0.value()).collect()
}

#[test]
fn a_backup_is_the_store_of_one_moment() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fill(&outbox);
    // Something comes while rows are copied, and while the moment is.
    let (mut stages, mut came) = (Vec::new(), 0);
    let mut pace = |progress: Progress| {
        if stages.last() != Some(&progress.stage) {
            stages.push(progress.stage);
            accept(&outbox, batch(None, "{}"));
            if progress.stage == Stage::Rows {
                outbox.settle(&mut vec![success(8)]);
            }
            came += 1;
        }
        ControlFlow::Continue(())
    };
    outbox.backup(&path, &backup, &mut pace).expect("it is made");
    assert_eq!(stages, [Stage::Rows, Stage::Moment, Stage::Finish, Stage::Name]);
    assert_eq!(came, 4);
    writer.close(End::Clean).expect("it closes");
    assert_eq!(events(&path), (1..=13).collect::<Vec<_>>());
    assert_eq!(found(&backup), []);
    assert_eq!(events(&backup), (1..=10).collect::<Vec<_>>(), "what came before the moment, and no more");
    let opened = Stopped::read(&backup, |_| {}).expect("it opens");
    assert!(!opened.is_closed(), "attempts may be in flight in it");
    let names: Vec<_> = fs::read_dir(directory.path()).expect("a list").collect();
    assert_eq!(names.len(), 2, "nothing is left of the making: {names:?}");
}

/// What the store takes up more by so many commits while a backup copies rows, and while one view of it lives.
#[test]
fn the_store_grows_little_while_rows_are_copied() {
    const COMMITS: usize = 3;
    let taken = |path: &Path| fs::metadata(path).expect("a file").blocks() * 512;
    let large = || {
        let mut one = batch(None, "{}");
        one.events[0].event.data = format!("\"{}\"", "x".repeat(500_000)).into();
        one
    };
    let grown = |held: bool| {
        let directory = directory();
        let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
        let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
        fill(&outbox);
        (0..24).for_each(|_| drop(accept(&outbox, large())));
        let before = taken(&path);
        let mut commits = 0;
        let mut load = || {
            (0..COMMITS).for_each(|_| drop(accept(&outbox, batch(None, "{}"))));
            commits += COMMITS;
        };
        if held {
            let view = outbox.read().expect("a reader");
            (0..9).for_each(|_| load());
            drop(view);
        } else {
            let mut pace = |progress: Progress| {
                if progress.stage == Stage::Rows {
                    load();
                }
                ControlFlow::Continue(())
            };
            outbox.backup(&path, &backup, &mut pace).expect("it is made");
            assert!(found(&backup).is_empty());
        }
        let grown = taken(&path) - before;
        writer.close(End::Clean).expect("it closes");
        (grown, commits)
    };
    let ((little, some), (much, as_many)) = (grown(false), grown(true));
    assert!(some >= as_many / 2 && little * 4 < much, "{little} by {some} commits, {much} by {as_many}");
}

#[test]
fn a_backup_ends_however_much_is_handed_in() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fill(&outbox);
    let take = || {
        // More than is copied at once.
        for _ in 0..3 {
            let mut one = batch(None, "{}");
            one.events[0].event.data = format!("\"{}\"", "x".repeat(500_000)).into();
            accept(&outbox, one);
        }
    };
    take();
    let mut pieces = 0;
    let mut pace = |progress: Progress| {
        pieces += 1;
        assert!(pieces < 50, "it runs after what comes for ever");
        if progress.stage == Stage::Rows {
            take();
        }
        ControlFlow::Continue(())
    };
    outbox.backup(&path, &backup, &mut pace).expect("it is made");
    writer.close(End::Clean).expect("it closes");
    assert!(found(&backup).is_empty());
}

#[test]
fn what_was_taken_away_is_looked_for_in_pieces() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fill(&outbox);
    for _ in 0..8 {
        let mut one = batch(None, "{}");
        one.events[0].event.data = format!("\"{}\"", "x".repeat(600_000)).into();
        accept(&outbox, one);
    }
    // An event that has been copied is taken away, and the backup called off at one of its last pieces.
    let make = |event: u64, stop: usize| {
        let (mut finishing, mut gone) = (0, false);
        let mut pace = |progress: Progress| {
            if progress.stage == Stage::Rows && !std::mem::replace(&mut gone, true) {
                let txn = outbox.database.begin_write().expect("a transaction");
                for (table, row) in [(EVENTS, event), (HISTORY, event << 16), (ATTEMPTS, event - 4)] {
                    txn.open_table(table).expect("a table").remove(row).expect("it reads").expect("a row");
                }
                txn.commit().expect("a commit");
            }
            finishing += usize::from(progress.stage == Stage::Finish);
            if finishing == stop { ControlFlow::Break(Halt::Cancelled) } else { ControlFlow::Continue(()) }
        };
        (outbox.backup(&path, &backup, &mut pace), finishing)
    };
    let (result, _) = make(5, 3);
    assert!(matches!(result, Err(BackupError::Cancelled)), "in the midst of it");
    let (result, pieces) = make(6, usize::MAX);
    result.expect("it is made");
    assert!(pieces > 4, "{pieces}");
    assert_eq!(events(&backup), (1..=17).filter(|seq| !(5..7).contains(seq)).collect::<Vec<_>>());
    writer.close(End::Clean).expect("it closes");
}

/// A disk with so little free that a store may not grow by more than a few pages.
#[derive(Debug)]
struct Narrow;

impl Ground for Narrow {
    fn free(&self) -> Option<u64> {
        // The margin twice, and four times what is allowed.
        Some((2 << 20) + 4 * (256 << 10))
    }

    fn allocate(&self, _: &fs::File, _: u64) -> io::Result<bool> {
        Ok(false)
    }
}

#[test]
fn a_backup_is_given_up_when_the_store_grows_too_much() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fill(&outbox);
    let room = Room::on(Box::new(Narrow), &path, &options());
    let load = |stage: Stage, commits: usize| {
        let mut pace = |progress: Progress| {
            if progress.stage == stage {
                (0..commits).for_each(|_| drop(accept(&outbox, batch(None, "{}"))));
            }
            ControlFlow::Continue(())
        };
        copy(&outbox.database, (&path, &room), &backup, &mut pace)
    };
    let error = load(Stage::Moment, 60).expect_err("the view makes it grow");
    assert!(
        matches!(error, BackupError::Grown { grown, allowed } if grown > allowed && allowed == 256 << 10),
        "{error}"
    );
    assert_eq!(fs::read_dir(directory.path()).expect("a list").count(), 1, "nothing is left of it");
    load(Stage::Rows, 60).expect("without a view it does not grow");
    writer.close(End::Clean).expect("it closes");
}

/// A file on a disk that has room for so many more writes.
#[derive(Debug)]
struct Filling {
    file: FileBackend,
    left: AtomicUsize,
}

impl StorageBackend for Filling {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let less = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => self.file.write(offset, data),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

#[test]
fn a_compaction_that_finds_no_room_loses_nothing() {
    let directory = directory();
    let whole = directory.path().join("store.redb");
    let Opened { outbox, writer, .. } = open(&whole, &options()).expect("a new store opens");
    fill(&outbox);
    for seq in 10..90 {
        let mut one = batch(None, "{}");
        one.events[0].event.data = format!("\"{}\"", "x".repeat(20_000)).into();
        accept(&outbox, one);
        outbox.settle(&mut vec![success(seq)]);
    }
    let backup = directory.path().join("backup.redb");
    outbox.backup(&whole, &backup, &mut go_on).expect("it is made");
    writer.close(End::Clean).expect("it closes");
    // With holes at its front.
    change(&whole, |txn| (10..70).for_each(|seq| remove(txn, seq)));
    change(&whole, |txn| {
        for seq in 10..70 {
            for table in [PENDING, HISTORY] {
                txn.open_table(table).expect("a table").remove(seq << 16).expect("it reads");
            }
            txn.open_table(ATTEMPTS).expect("a table").remove(seq - 6).expect("it reads");
        }
        txn.open_table(META).expect("a table").remove(meta::HELD).expect("it reads");
    });
    assert_eq!(found(&whole), []);
    let (kept, length) = (events(&whole), fs::metadata(&whole).expect("a file").len());
    let (mut failed, mut left) = (0, 1);
    loop {
        let path = directory.path().join("full.redb");
        fs::copy(&whole, &path).expect("a copy");
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).expect("the file");
        let file = FileBackend::new(file).expect("a file");
        let backend = Filling { file, left: AtomicUsize::new(left) };
        let opened = redb::Builder::new().create_with_backend(backend);
        let done = opened.is_ok_and(|mut database| database.compact().is_ok() && database.close().is_ok());
        assert_eq!(found(&path), [], "with room for {left} writes");
        assert_eq!(events(&path), kept, "with room for {left} writes");
        if done {
            assert!(fs::metadata(&path).expect("a file").len() < length);
            break;
        }
        failed += 1;
        left += 1 + left / 3;
    }
    assert!(failed > 5, "{failed}");
    let compacted = Stopped::write(&whole, |_| {}).expect("it opens").compact().expect("there is room");
    assert!(compacted.after < length && compacted.before == length, "{compacted:?}");
    assert_eq!((found(&whole), events(&whole)), (Vec::new(), kept));
}

#[test]
fn what_was_taken_away_meanwhile_is_not_in_it() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fill(&outbox);
    let mut gone = false;
    let mut pace = |progress: Progress| {
        if progress.stage == Stage::Rows && !std::mem::replace(&mut gone, true) {
            let txn = outbox.database.begin_write().expect("a transaction");
            for (table, row) in [(EVENTS, 5), (HISTORY, 5 << 16), (ATTEMPTS, 1), (IDS, 5)] {
                txn.open_table(table).expect("a table").remove(row).expect("it reads");
            }
            txn.open_table(META).expect("a table").remove(meta::HELD).expect("it reads");
            txn.commit().expect("a commit");
        }
        ControlFlow::Continue(())
    };
    outbox.backup(&path, &backup, &mut pace).expect("it is made");
    writer.close(End::Clean).expect("it closes");
    assert_eq!(events(&backup), [1, 2, 3, 4, 6, 7, 8, 9]);
    assert_eq!(found(&backup), []);
}

#[test]
fn a_backup_that_is_not_made_leaves_nothing() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fill(&outbox);
    for (stage, halt) in [
        (Stage::Rows, Halt::Stopped),
        (Stage::Moment, Halt::Cancelled),
        (Stage::Finish, Halt::Stopped),
        (Stage::Name, Halt::Cancelled),
    ] {
        let mut pace = |progress: Progress| {
            assert!(directory.path().join("backup.redb.partial").exists() && !backup.exists());
            if progress.stage == stage { ControlFlow::Break(halt) } else { ControlFlow::Continue(()) }
        };
        let result = outbox.backup(&path, &backup, &mut pace);
        match halt {
            Halt::Stopped => assert!(matches!(result, Err(BackupError::Stopped)), "{stage:?}"),
            Halt::Cancelled => assert!(matches!(result, Err(BackupError::Cancelled)), "{stage:?}"),
        }
        assert_eq!(fs::read_dir(directory.path()).expect("a list").count(), 1, "{stage:?}");
    }
    fs::write(&backup, "mine").expect("a file");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/nowhere/at/all", &link).expect("a link");
    for (place, words) in [
        (backup.clone(), "is there already"),
        (link, "is there already"),
        (path.clone(), "is there already"),
        (PathBuf::from("backup.redb"), "not named from the root on"),
        (directory.path().join("x/"), "names a directory"),
        (directory.path().join("x/y"), "No such file"),
        (backup.join("y"), "not a directory"),
    ] {
        for result in [outbox.may_back_up(&path, &place), outbox.backup(&path, &place, &mut go_on).map(drop)]
        {
            let text = result.expect_err("it is refused").to_string();
            assert!(text.contains(words), "{}: {text}", place.display());
        }
    }
    assert_eq!(fs::read_to_string(&backup).expect("a file"), "mine");
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn what_a_crash_left_of_a_backup_is_removed_unless_somebody_makes_it() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    let partial = directory.path().join("backup.redb.partial");
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fs::write(&partial, "half").expect("a file");
    let other = fs::File::open(&partial).expect("the file");
    other.lock().expect("a lock");
    let error = outbox.backup(&path, &backup, &mut go_on).expect_err("somebody is making it");
    assert!(error.to_string().contains("somebody is making it"), "{error}");
    assert!(partial.exists());
    drop(other);
    outbox.backup(&path, &backup, &mut go_on).expect("it is made");
    assert!(!partial.exists());
    // What is no file is nobody's leftover, and a pipe holds nobody up.
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let pipe = directory.path().join("other.redb.partial");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    let other = directory.path().join("other.redb");
    let error = outbox.backup(&path, &other, &mut go_on).expect_err("there is a pipe in its way");
    assert!(error.to_string().contains("is no file"), "{error}");
    assert!(pipe.exists() && !other.exists());
    writer.close(End::Clean).expect("it closes");
}

/// An event that is accepted at this time.
fn event_at(time: Timestamp) -> Batch {
    Batch { at: time, age: time, ..batch(None, "{}") }
}

#[test]
fn no_id_is_given_again_after_a_restore() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    let Opened { outbox, writer, .. } = open(&path, &options()).expect("a new store opens");
    fill(&outbox);
    outbox.backup(&path, &backup, &mut go_on).expect("it is made");
    let mut given = accept(&outbox, event_at(at(77)));
    writer.close(End::Clean).expect("it closes");
    let mut next = 0;
    for round in 0..3 {
        let aside = directory.path().join(format!("before-{round}"));
        if round == 0 {
            // Nobody knows how far it was.
            fs::write(&path, b"a text\n".repeat(1_000)).expect("a file");
        }
        let restored = restore(&backup, &path, (Some(&aside), false), |_| {}).expect("it is restored");
        assert!(restored.next > next, "each time further on: {restored:?}");
        assert_eq!(restored.old_numbers, round > 0);
        assert_eq!(restored.kept.as_deref(), Some(&*aside));
        next = restored.next;
        let Opened { outbox, writer, unclean, last_seq, .. } = open(&path, &options()).expect("it opens");
        assert!(unclean, "what was being attempted is marked");
        assert_eq!(last_seq.get() + 1, next);
        // The clock says the very same.
        given.extend(accept(&outbox, event_at(at(77))));
        writer.close(End::Clean).expect("it closes");
        assert_eq!(found(&path), []);
        assert_eq!(events(&path).len(), 10);
    }
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 4, "four events have four ids: {given:?}");
}

#[test]
fn a_restore_takes_no_chances() {
    let directory = directory();
    let (path, backup) = (directory.path().join("store.redb"), directory.path().join("backup.redb"));
    make(&path);
    make(&backup);
    let restore = |from: &Path, anyway| restore(from, &path, (None, anyway), |_| {});

    let daemon = open(&path, &options()).expect("it opens");
    assert!(matches!(restore(&backup, false), Err(RestoreError::Store(OpenError::InUse { .. }))));
    daemon.writer.close(End::Clean).expect("it closes");
    let before = fs::read(&path).expect("a file");
    let daemon = open(&backup, &options()).expect("it opens");
    assert!(matches!(restore(&backup, false), Err(RestoreError::Backup(OpenError::InUse { .. }))));
    daemon.writer.close(End::Clean).expect("it closes");
    assert!(matches!(restore(&path, false), Err(RestoreError::Same(_))));
    let garbage = directory.path().join("garbage");
    fs::write(&garbage, b"a text\n".repeat(1_000)).expect("a file");
    assert!(matches!(restore(&garbage, true), Err(RestoreError::Backup(OpenError::Damaged { .. }))));
    change(&backup, |txn| remove(txn, 7));
    assert!(matches!(restore(&backup, false), Err(RestoreError::NotWhole(report)) if report.found == 2));
    assert!(fs::read(&path).expect("a file") == before, "the store is as it was");
    restore(&backup, true).expect("with findings, as it was asked for");
    assert_eq!(events(&path).len(), 8);
    assert!(!directory.path().join("store.redb.restoring").exists());

    // A store that nobody can read does not keep a backup out; nor does none.
    let intact = directory.path().join("intact.redb");
    make(&intact);
    fs::write(&path, b"a text\n".repeat(1_000)).expect("a file");
    assert!(!restore(&intact, false).expect("it is restored").old_numbers);
    fs::remove_file(&path).expect("the file");
    assert!(restore(&intact, false).expect("it is restored").old_numbers, "there are none");
    assert_eq!(found(&path), []);
}
