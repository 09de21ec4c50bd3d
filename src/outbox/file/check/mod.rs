//! Whether a store is what it should be: redb's structure, each row's form, and what the rows say of each other.
//!
//! First redb goes through all pages with their checksums and makes the map of used pages anew. A file that it finds damaged
//! is looked at no further. Then every row is read once, those of events, deliveries and attempts side by side in the order of
//! their numbers, so that memory does not grow with the store; what leads to another row is followed.
//!
//! A parked key whose delivery has ended is none that is wrong (`parked`): such are counted, and no finding.

mod events;
mod others;

use std::{collections::BTreeMap, fmt::Display, fs};

use redb::{ReadTransaction, ReadableDatabase as _, ReadableTableMetadata as _, TableHandle as _};

use super::{Stopped, tables};
use crate::outbox::{
    error::{StoreError, contain},
    file::check::others::Others,
    schema::{ATTEMPTS, EVENTS},
};

/// At most so many findings are kept; all are counted.
const KEPT: usize = 1_000;
/// Progress is told once for so many rows.
const STRIDE: u64 = 1_000;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table; `redb` where it is the file's structure.
    pub table: &'static str,
    /// The row's key; empty where it is no row.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

/// A table and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// The bytes of its rows, keys and values.
    pub bytes: u64,
    /// The bytes of its pages.
    pub pages: u64,
}

/// What a check has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its daemon has closed it.
    pub closed: bool,
    /// redb had to put it in order: it was not closed.
    pub put_in_order: bool,
    /// The file's length.
    pub size: u64,
    /// The bytes of pages that hold nothing.
    pub free: u64,
    /// The tables.
    pub tables: Vec<TableSize>,
    /// What is wrong: the first `KEPT` of it.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub found: u64,
    /// Parked keys of deliveries that have ended: they come to nothing when their turn comes.
    pub stale: u64,
}

impl Report {
    /// redb finds the file whole.
    pub fn is_readable(&self) -> bool {
        self.findings.iter().all(|finding| finding.table != "redb")
    }

    fn find(&mut self, table: &'static str, key: impl Display, what: impl Into<String>) {
        self.found += 1;
        if self.findings.len() < KEPT {
            self.findings.push(Finding { table, key: key.to_string(), what: what.into() });
        }
    }
}

/// Tells how far a check has come.
struct Rows<'a> {
    done: u64,
    all: u64,
    progress: &'a dyn Fn(f64),
}

impl Rows<'_> {
    fn add(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(STRIDE) {
            #[allow(clippy::cast_precision_loss, reason = "for people")]
            (self.progress)(self.done as f64 / self.all.max(1) as f64);
        }
    }
}

impl Stopped {
    /// Checks it. `progress` is told how far the reading of the rows has come, from 0 to 1.
    ///
    /// # Errors
    /// The file cannot be read. What is wrong in it is in the report.
    pub fn check(&mut self, progress: impl Fn(f64)) -> Result<Report, StoreError> {
        let mut report = Report { closed: self.closed, put_in_order: self.put_in_order, ..Report::default() };
        report.size =
            fs::metadata(&self.path).map_err(|error| StoreError::from(redb::Error::Io(error)))?.len();
        match contain(|| self.database.check_integrity()).map_err(StoreError::from) {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => report.find("redb", "", "its structure is not consistent; it can be repaired"),
            Ok(Err(error)) => match redb::Error::from(error) {
                error @ redb::Error::Corrupted(_) => return Ok(damaged(report, &error)),
                error => return Err(error.into()),
            },
            Err(error) => return Ok(damaged(report, &error)),
        }
        let walked = contain(|| {
            let txn = self.database.begin_read()?;
            walk(&txn, &progress, &mut report)
        });
        match walked.map_err(StoreError::from).flatten() {
            Ok(()) => {}
            Err(error @ StoreError::Row { table, key }) => report.find(table, key, error.to_string()),
            Err(StoreError::Redb(error)) if matches!(*error, redb::Error::Corrupted(_)) => {
                return Ok(damaged(report, &error));
            }
            Err(error) => return Err(error),
        }
        Ok(report)
    }
}

fn walk(txn: &ReadTransaction, progress: &dyn Fn(f64), report: &mut Report) -> Result<(), StoreError> {
    report.tables = sizes(txn)?;
    let used: u64 = report.tables.iter().map(|table| table.pages).sum();
    report.free = report.size.saturating_sub(used);
    let mut rows = Rows { done: 0, all: report.tables.iter().map(|table| table.rows).sum(), progress };
    let others = Others::open(txn)?;
    let endpoints = others.endpoints(report, &mut rows)?;
    let held = others.meta(report)?;
    let counted = events::check(txn, &endpoints, held, report, &mut rows)?;
    if let Some(held) = held {
        held.judge(counted, report);
    }
    others.orders(report, &mut rows)?;
    others.parked(report, &mut rows)?;
    others.ids(report, &mut rows)?;
    others.jobs(report, &mut rows)?;
    others.keys(report, &mut rows)?;
    others.accounts(report, &mut rows)?;
    others.healths(&endpoints, report, &mut rows)?;
    others.files(report, &mut rows)
}

fn damaged(mut report: Report, error: &dyn Display) -> Report {
    report.find("redb", "", format!("the file is damaged: {error}; restore a backup"));
    report
}

/// The numbers that the next event and the next attempt get, by what is there.
pub(super) fn next_numbers(txn: &ReadTransaction) -> Result<(u64, u64), StoreError> {
    let next = |table: redb::TableDefinition<u64, &'static [u8]>, name| -> Result<u64, StoreError> {
        use redb::ReadableTable as _;
        let last = txn.open_table(table)?.last()?.map_or(0, |(key, _)| key.value());
        last.checked_add(1).ok_or(StoreError::Row { table: name, key: last })
    };
    Ok((next(EVENTS, "events")?, next(ATTEMPTS, "attempts")?))
}

fn sizes(txn: &ReadTransaction) -> Result<Vec<TableSize>, StoreError> {
    let mut sizes = BTreeMap::new();
    for handle in txn.list_tables()? {
        let name = handle.name().to_owned();
        let table = txn.open_untyped_table(handle)?;
        let stats = table.stats()?;
        let pages = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        let size = TableSize { name: name.clone(), rows: table.len()?, bytes: stats.stored_bytes(), pages };
        sizes.insert(name, size);
    }
    Ok(sizes.into_values().collect())
}
