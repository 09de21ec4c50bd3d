//! How many bytes of rows the store holds.
//!
//! Counted are the keys and values of `events`, `pending`, `history` and `attempts`: what grows with every event and every
//! attempt. The other tables are bounded by limits of their own, or by what is pending. It is not the file's length, of
//! which a part is free pages.
//!
//! The count is kept in memory, where it costs nothing, and in a row of `meta`: the bytes, and the numbers of the next event
//! and the next attempt as they were then. Numbers only ascend, and of an older event nothing but the place of its
//! deliveries changes, not their size; so a start counts what has come since on from there, and has the exact count again
//! after a crash. The row goes with the clocks' mark, with the close, and with a commit by which [`UNWRITTEN`] bytes have
//! come: a start has no more than that to read. Without the row, all is read. A commit that [forgets](Held::forget) rows of
//! older events has the row with it; then the number of the next attempt is known from here, for the newest attempt may
//! have gone with its event.

use redb::{ReadTransaction, TableDefinition, WriteTransaction};

use super::{
    error::StoreError,
    schema::{ATTEMPTS, EVENTS, HISTORY, META, PENDING, first_row, meta},
};
use crate::model::{attempt::AttemptRow, event::Seq};

/// With so many bytes more the row is written again.
const UNWRITTEN: u64 = 16 << 20;
/// Of a key in these tables.
const KEY_BYTES: u64 = 8;

/// The count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    bytes: u64,
    /// What came since the row was written.
    unwritten: u64,
    /// Rows have gone that are in the count of that row.
    shrunk: bool,
}

/// What a row holds.
pub(super) fn row_bytes(value: &[u8]) -> u64 {
    KEY_BYTES + u64::try_from(value.len()).unwrap_or(u64::MAX)
}

impl Held {
    /// What the store holds whose next event is `seq`, with the number of its next attempt: behind the last that is there it
    /// is `attempt`.
    pub(super) fn read(
        txn: &ReadTransaction,
        seq: Seq,
        attempt: AttemptRow,
    ) -> Result<(Self, AttemptRow), StoreError> {
        let row = txn.open_table(META)?.get(meta::HELD)?.and_then(|row| decode(row.value()));
        // Numbers that nobody was given yet are a damaged file's.
        let row = row.filter(|(_, before, first)| *before <= seq.get() && *first <= AttemptRow::MAX.get());
        let (bytes, seq, first) = row.unwrap_or((0, 1, 1));
        let rows = first_row(Seq::new(seq));
        let since = count(txn, EVENTS, seq)?
            + count(txn, PENDING, rows)?
            + count(txn, HISTORY, rows)?
            + count(txn, ATTEMPTS, first)?;
        let held = Self { bytes: bytes + since, unwritten: since, shrunk: false };
        Ok((held, attempt.max(AttemptRow::new(first))))
    }

    /// How many there are.
    pub(super) const fn bytes(self) -> u64 {
        self.bytes
    }

    /// A row was added, or many.
    pub(super) const fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.unwritten += bytes;
    }

    /// A row was taken away.
    pub(super) const fn remove(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.unwritten = self.unwritten.saturating_sub(bytes);
    }

    /// Rows of older events were taken away.
    pub(super) const fn forget(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.shrunk = true;
    }

    /// Whether the row is to be written: so many have come, or some have gone that it counts.
    pub(super) const fn is_due(self) -> bool {
        self.is_long() || self.shrunk
    }

    /// Whether so many have come that a start would read for long what the row does not count.
    pub(super) const fn is_long(self) -> bool {
        self.unwritten >= UNWRITTEN
    }

    /// Puts the row into the transaction after which these are the next numbers.
    pub(super) fn write(
        &mut self,
        seq: Seq,
        attempt: AttemptRow,
        txn: &WriteTransaction,
    ) -> Result<(), StoreError> {
        txn.open_table(META)?.insert(meta::HELD, encode(self.bytes, seq, attempt).as_slice())?;
        (self.unwritten, self.shrunk) = (0, false);
        Ok(())
    }
}

/// The bytes of a table's rows from one on.
fn count(
    txn: &ReadTransaction,
    table: TableDefinition<u64, &'static [u8]>,
    from: u64,
) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for row in txn.open_table(table)?.range(from..)? {
        bytes += row_bytes(row?.1.value());
    }
    Ok(bytes)
}

fn encode(bytes: u64, seq: Seq, attempt: AttemptRow) -> [u8; 24] {
    let mut row = [0; 24];
    let numbers = [bytes, seq.get(), attempt.get()];
    for (place, number) in row.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *place = number.to_be_bytes();
    }
    row
}

pub(super) fn decode(row: &[u8]) -> Option<(u64, u64, u64)> {
    let row: &[u8; 24] = row.try_into().ok()?;
    let [bytes, seq, attempt] =
        [0, 8, 16].map(|from| u64::from_be_bytes(row[from..from + 8].try_into().expect("eight bytes")));
    Some((bytes, seq, attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_goes_there_and_back() {
        let row = encode(1 << 40, Seq::new(7), AttemptRow::new(9));
        assert_eq!(decode(&row), Some((1 << 40, 7, 9)));
        assert_eq!(decode(&row[1..]), None);
    }

    #[test]
    fn the_row_is_due_when_much_has_come() {
        let mut held = Held::default();
        held.add(UNWRITTEN - 1);
        assert!(!held.is_due());
        held.remove(1);
        held.add(2);
        assert!(held.is_due());
        assert_eq!(held.bytes(), UNWRITTEN);
    }

    #[test]
    fn the_row_is_due_when_older_rows_have_gone() {
        let mut held = Held { bytes: 10, ..Held::default() };
        assert!(!held.is_due());
        held.forget(3);
        assert!(held.is_due());
        assert_eq!(held.bytes(), 7);
    }
}
