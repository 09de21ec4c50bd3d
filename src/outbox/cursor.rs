//! Rows of a table that are asked for one after another, as attempts ask for those of a backlog: one that follows on the
//! row before is the next of a range, and costs no way through the tree from its root.
//!
//! It is a matter of cost alone: what is returned is what [`ReadOnlyTable::get`] would return. Of the rows that were
//! read last a few are kept, since several attempts are made at once, in any order, and several deliveries share a row.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{AccessGuard, Range, ReadOnlyTable};

use super::error::StoreError;

/// So many rows ahead of the last one are still in order, and so many are kept.
const REACH: u8 = 32;
/// Rows of more bytes are not kept: the pages of all would be held.
const LARGE: usize = 4 << 10;

/// A row; clones are the same bytes. None outlives the reader that it is from.
pub(super) type Bytes = Arc<AccessGuard<'static, &'static [u8]>>;

/// A table that is read in the order of its keys, as a rule.
pub(super) struct Cursor {
    /// Dropped before the table, which keeps the view alive: rows do not, and redb may give their pages to others when
    /// it is gone.
    place: Mutex<Place>,
    table: ReadOnlyTable<u64, &'static [u8]>,
    /// As a rule the key of the row after `n` is `n + stride`.
    stride: u64,
}

#[derive(Default)]
struct Place {
    /// The key asked for last, of those that were not kept.
    last: u64,
    /// The rows from there on, once two were asked for in order.
    rest: Option<Range<'static, u64, &'static [u8]>>,
    /// The first of them, where it has been read already.
    next: Option<(u64, Bytes)>,
    /// Rows before, in the order of their keys.
    kept: VecDeque<(u64, Bytes)>,
}

impl Cursor {
    pub(super) fn new(table: ReadOnlyTable<u64, &'static [u8]>, stride: u64) -> Self {
        Self { place: Mutex::default(), table, stride }
    }

    /// The row of `key`.
    pub(super) fn get(&self, key: u64) -> Result<Option<Bytes>, StoreError> {
        let mut place = self.lock();
        if let Some(row) = place.kept(key) {
            return Ok(Some(row));
        }
        // That of the last key itself is behind it already.
        let in_order = (1..=self.stride * u64::from(REACH)).contains(&key.saturating_sub(place.last));
        place.last = key;
        if in_order {
            return place.seek(key, &self.table);
        }
        place.leave();
        drop(place);
        Ok(self.table.get(key)?.map(Arc::new))
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        // A panic of redb in the middle of a range leaves one that goes on, or says that it failed.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn kept(&self, key: u64) -> Option<Bytes> {
        let index = self.kept.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(Arc::clone(&self.kept[index].1))
    }

    /// Goes on to `key`, which is ahead.
    fn seek(
        &mut self,
        key: u64,
        table: &ReadOnlyTable<u64, &'static [u8]>,
    ) -> Result<Option<Bytes>, StoreError> {
        if self.rest.is_none() {
            self.rest = Some(table.range(key..)?);
        }
        loop {
            match self.next()? {
                Some((found, row)) if found <= key => {
                    self.keep(found, &row);
                    if found == key {
                        return Ok(Some(row));
                    }
                }
                next => {
                    self.next = next;
                    return Ok(None);
                }
            }
        }
    }

    fn next(&mut self) -> Result<Option<(u64, Bytes)>, StoreError> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        let Some((key, row)) = self.rest.as_mut().and_then(Iterator::next).transpose()? else {
            return Ok(None);
        };
        Ok(Some((key.value(), Arc::new(row))))
    }

    fn keep(&mut self, key: u64, row: &Bytes) {
        if row.value().len() > LARGE {
            return;
        }
        if self.kept.len() == usize::from(REACH) {
            self.kept.pop_front();
        }
        self.kept.push_back((key, Arc::clone(row)));
    }

    /// Elsewhere nothing of this is of use.
    fn leave(&mut self) {
        (self.rest, self.next) = (None, None);
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use redb::{Database, ReadableDatabase, TableDefinition, backends::InMemoryBackend};

    use super::*;

    const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

    /// A store with these rows.
    fn store(rows: &BTreeMap<u64, Vec<u8>>) -> Database {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).expect("a store");
        let txn = database.begin_write().expect("a transaction");
        let mut table = txn.open_table(TABLE).expect("a table");
        for (key, row) in rows {
            table.insert(key, row.as_slice()).expect("room");
        }
        drop(table);
        txn.commit().expect("committed");
        database
    }

    fn cursor(database: &Database, stride: u64) -> Cursor {
        let view = database.begin_read().expect("a view");
        Cursor::new(view.open_table(TABLE).expect("a table"), stride)
    }

    /// Rows as outboxes have them: most in a row of keys, some missing, a few large.
    fn random_rows(random: &mut fastrand::Rng, stride: u64) -> BTreeMap<u64, Vec<u8>> {
        let missing = random.f64() / 2.0;
        let all = (1..random.u64(2..400)).filter(|_| random.f64() >= missing);
        let keys: Vec<_> = all.collect();
        let row = |key| (key * stride, vec![b'x'; if random.u8(..8) == 0 { LARGE + 1 } else { 50 }]);
        keys.into_iter().map(row).map(|(key, row)| (key, [&key.to_be_bytes()[..], &row].concat())).collect()
    }

    #[test]
    fn whatever_is_asked_for_is_found_as_by_a_search() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let stride = if random.bool() { 1 } else { 1 << 16 };
            let rows = random_rows(&mut random, stride);
            let database = store(&rows);
            let cursor = cursor(&database, stride);
            let mut at = 0_u64;
            for _ in 0..600 {
                at = match random.u8(..20) {
                    0 => random.u64(..420),
                    1..4 => at.saturating_sub(random.u64(..40)),
                    4..6 => at,
                    6..9 => at + random.u64(..40),
                    _ => at + 1,
                };
                let found = cursor.get(at * stride).expect("it is read");
                let found = found.as_ref().map(|row| row.value());
                let right = found == rows.get(&(at * stride)).map(Vec::as_slice);
                assert!(right, "seed {seed}, row {at}");
                let place = cursor.lock();
                assert!(place.kept.len() <= usize::from(REACH), "seed {seed}");
                assert!(place.kept.iter().all(|(_, row)| row.value().len() <= LARGE), "seed {seed}");
            }
        }
    }

    #[test]
    fn what_follows_is_not_searched_for() {
        let database = store(&(1..100).map(|key| (key, vec![0; 9])).collect());
        let cursor = cursor(&database, 1);
        let mut ranges = 0;
        for key in [1, 2, 3, 5, 4, 6, 7, 90, 91, 92] {
            let before = cursor.lock().rest.is_some();
            assert!(cursor.get(key).expect("it is read").is_some(), "{key}");
            ranges += usize::from(!before && cursor.lock().rest.is_some());
        }
        assert_eq!(ranges, 2, "one from 1 on, one from 91 on");
    }
}
