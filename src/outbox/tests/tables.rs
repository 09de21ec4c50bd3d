//! No table is forgotten: each that the schema has is made, copied by a backup and gone through by a check.

use std::{collections::BTreeSet, path::Path};

use redb::{Database, Key, TableDefinition, Value, WriteTransaction};

use super::{at, chain, open, options};
use crate::outbox::{
    End,
    file::{COPIED, Stopped},
    schema::{
        ACCOUNTS, ATTEMPTS, ENDPOINTS, EVENTS, FIFO, FILES, HEALTH, HISTORY, IDS, JOBS, KEYS, META, PARKED,
        PENDING, meta,
    },
};

/// What no row of these is.
const GARBAGE: &[u8] = b"\xffx";

/// The names of all tables, as the schema's own text has them.
fn all() -> BTreeSet<&'static str> {
    let text = include_str!("../schema.rs");
    let names = text.split("TableDefinition::new(\"").skip(1);
    names.map(|rest| rest.split('"').next().expect("it ends")).collect()
}

fn put<K: Key + 'static, V: Value + 'static>(
    txn: &WriteTransaction,
    table: TableDefinition<K, V>,
    key: K::SelfType<'_>,
    value: V::SelfType<'_>,
) {
    drop(txn.open_table(table).expect("a table").insert(key, value).expect("a row"));
}

/// A row in each table that is none: it cannot be read, or leads to nothing.
fn garbage(txn: &WriteTransaction, table: &str) {
    match table {
        "events" => put(txn, EVENTS, 1, GARBAGE),
        "pending" => put(txn, PENDING, 1 << 16, GARBAGE),
        "history" => put(txn, HISTORY, 1 << 16, GARBAGE),
        "attempts" => put(txn, ATTEMPTS, 1, GARBAGE),
        "ids" => put(txn, IDS, 1, GARBAGE),
        "files" => put(txn, FILES, ("/spool", 1, 1, 1, 1), 99),
        "parked" => put(txn, PARKED, (1, 1, 99 << 16), at(1).as_millis()),
        "fifo" => put(txn, FIFO, (1, 1, 1), 99 << 16),
        "endpoints" => put(txn, ENDPOINTS, 1, GARBAGE),
        "jobs" => put(txn, JOBS, 1, GARBAGE),
        "keys" => put(txn, KEYS, 1, GARBAGE),
        "accounts" => put(txn, ACCOUNTS, "a", GARBAGE),
        "health" => put(txn, HEALTH, 1, GARBAGE),
        "meta" => put(txn, META, meta::CLOCK, GARBAGE),
        other => panic!("the schema has a table `{other}`: say here what no row of it is"),
    }
}

/// A new store with a row in this table that is none.
fn damaged(path: &Path, table: &str) {
    open(path, &options()).expect("a new store opens").writer.close(End::Clean).expect("it closes");
    let database = Database::open(path).expect("it opens");
    let txn = database.begin_write().expect("a transaction");
    garbage(&txn, table);
    txn.commit().expect("a commit");
}

#[test]
fn a_backup_copies_every_table() {
    assert_eq!(all(), COPIED.into_iter().collect());
}

#[test]
fn a_check_goes_through_every_table() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut missing = BTreeSet::new();
    for table in all() {
        let path = directory.path().join(table);
        damaged(&path, table);
        let mut opened = Stopped::read(&path, |_| {}).expect("it opens");
        let report = opened.check(|_| {}).expect("it is read");
        if !report.findings.iter().any(|finding| finding.table == table) {
            missing.insert(table);
        }
    }
    assert_eq!(missing, BTreeSet::new(), "`store check` passes over these");
}

/// What the daemon cannot do without keeps it from starting; all else it leaves alone.
#[test]
fn a_row_that_cannot_be_read_stops_the_daemon_where_it_says_who_may_do_what() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut stopping = BTreeSet::new();
    for table in all() {
        let path = directory.path().join(table);
        damaged(&path, table);
        match open(&path, &options()) {
            Ok(opened) => drop(opened.writer.close(End::Clean)),
            Err(error) => {
                let text = chain(&error);
                assert!(text.contains(&format!("`{table}`")), "{table}: {text}");
                stopping.insert(table);
            }
        }
    }
    assert_eq!(stopping, BTreeSet::from(["endpoints", "keys"]));
}
