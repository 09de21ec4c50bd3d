//! The rows that a commit adds: they go in at its end, table by table, each table's in one run.
//!
//! Numbers ascend, so nearly every row that is added comes behind all that are there. redb builds the pages of such a
//! run at once, for less than half of what as many single inserts cost. Until then the rows are here and not in the
//! tables; where they are large, they go in before there are many.

use std::{collections::BTreeMap, mem, ops::Bound};

use redb::{ReadableTable, Table};

use super::{
    error::StoreError,
    held::{Held, row_bytes},
    record::encode_event,
    schema::Tables,
};
use crate::model::{attempt::AttemptRow, event::NewEvent, event::Seq, time::Timestamp};

/// With so many bytes, the rows wait for no others.
const RUN_BYTES: usize = 1 << 20;

/// Fewer rows go in one by one: a run begins with a copy of the table's last page.
const RUN_ROWS: usize = 8;

/// The rows that are to be added.
#[derive(Debug, Default)]
pub(super) struct Added<'a> {
    /// Not encoded yet: the payloads are not to be in memory twice.
    events: Vec<(Seq, &'a NewEvent, Timestamp, bool)>,
    attempts: Vec<(u64, Vec<u8>)>,
    pending: Vec<(u64, Vec<u8>)>,
    /// In the order of their keys: deliveries end in another order.
    history: BTreeMap<u64, Vec<u8>>,
    /// Of the rows that are encoded.
    bytes: usize,
}

impl<'a> Added<'a> {
    /// Adds the event `seq`, accepted `at`, perhaps by a clock that was not set; each with a greater number than the one
    /// before.
    pub(super) fn event(&mut self, seq: Seq, event: &'a NewEvent, at: Timestamp, clock_unset: bool) {
        self.events.push((seq, event, at, clock_unset));
    }

    /// Adds a row of `attempts`; each with a greater number than the one before.
    pub(super) fn attempt(&mut self, key: AttemptRow, row: Vec<u8>) {
        self.bytes += row.len();
        self.attempts.push((key.get(), row));
    }

    /// Adds a row of `pending`; each with a greater key than the one before.
    pub(super) fn pending(&mut self, key: u64, row: Vec<u8>) {
        self.bytes += row.len();
        self.pending.push((key, row));
    }

    /// Adds a row of `history`.
    pub(super) fn history(&mut self, key: u64, row: Vec<u8>) {
        self.bytes += row.len();
        self.history.insert(key, row);
    }

    /// Whether a row of `history` is among them.
    pub(super) fn has_history(&self, key: u64) -> bool {
        self.history.contains_key(&key)
    }

    /// Puts them into the tables, and counts them, if they are many bytes.
    pub(super) fn write_if_large(
        &mut self,
        tables: &mut Tables<'_>,
        held: &mut Held,
    ) -> Result<(), StoreError> {
        if self.bytes < RUN_BYTES { Ok(()) } else { mem::take(self).write(tables, held) }
    }

    /// Puts them into the tables, and counts them.
    pub(super) fn write(self, tables: &mut Tables<'_>, held: &mut Held) -> Result<(), StoreError> {
        let Self { events, attempts, pending, history, bytes: _ } = self;
        let mut count = |row: &(u64, Vec<u8>)| held.add(row_bytes(&row.1));
        if !attempts.is_empty() {
            add(tables.attempts()?, attempts.into_iter().inspect(&mut count))?;
        }
        if !history.is_empty() {
            add(tables.history()?, history.into_iter().inspect(&mut count))?;
        }
        if !events.is_empty() {
            let row = |(seq, event, at, unset): (Seq, _, _, _)| (seq.get(), encode_event(event, at, unset));
            let rows = events.into_iter().map(row).inspect(&mut count);
            add(tables.events()?, rows)?;
        }
        if !pending.is_empty() {
            add(tables.pending()?, pending.into_iter().inspect(&mut count))?;
        }
        Ok(())
    }
}

/// Adds rows in the order of their keys: those behind the table's last in one run, others one by one.
fn add(
    table: &mut Table<'_, u64, &'static [u8]>,
    rows: impl ExactSizeIterator<Item = (u64, Vec<u8>)>,
) -> Result<(), StoreError> {
    let few = rows.len() < RUN_ROWS;
    let last = if few { Some(u64::MAX) } else { table.last()?.map(|(key, _)| key.value()) };
    let mut rows = rows.peekable();
    while let Some((key, row)) = rows.next_if(|(key, _)| last.is_some_and(|last| *key <= last)) {
        table.insert(key, row.as_slice())?;
    }
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut end = table.upper_bound_mut(Bound::<u64>::Unbounded)?;
    for (key, row) in rows {
        end.insert_before(key, row.as_slice())?;
    }
    Ok(end.close()?)
}

#[cfg(test)]
mod tests {
    use redb::{Builder, backends::InMemoryBackend};

    use super::*;
    use crate::outbox::schema::HISTORY;

    #[test]
    fn rows_come_before_among_and_behind_those_that_are_there() {
        let database = Builder::new().create_with_backend(InMemoryBackend::new()).expect("a database");
        let txn = database.begin_write().expect("a transaction");
        let mut table = txn.open_table(HISTORY).expect("a table");
        // More than one page, and more than the megabyte that redb holds of a run; then rows that are few.
        let keys = [
            vec![20, 30, 40, 50, 60, 70, 80, 90],
            vec![10, 25, 40, 100, 110, 120, 130, 140, 150, 160],
            vec![5, 45, 170],
        ];
        for (keys, value) in keys.iter().zip(1..) {
            add(&mut table, keys.iter().map(|key| (*key, vec![value; 200_000]))).expect("they go in");
        }
        let expected: BTreeMap<_, _> = keys
            .iter()
            .zip(1..)
            .flat_map(|(keys, value)| keys.iter().map(move |key| (*key, value)))
            .collect();
        let found = table.iter().expect("rows").map(|row| row.expect("a row"));
        let found: Vec<_> = found.map(|(key, row)| (key.value(), row.value()[199_999])).collect();
        assert_eq!(found, Vec::from_iter(expected));
    }
}
