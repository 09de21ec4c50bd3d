//! Forgetting: events leave the store, each with everything of it in one commit.
//!
//! Whoever asks has looked at the store a while ago. So the writer looks again at each event in the transaction that
//! removes it: one with a pending delivery stays, whether it was pending then or is again, and so does one that is only
//! old enough for another end than it has. The newest event stays always: the numbers of events
//! go on behind it. Those of attempts go on behind the row [`held`](super::held) of `meta`, which the same commit writes.
//!
//! The attempts are found by their chains, from each delivery's last one back. They have no index by event, and a pass
//! over all attempts instead would neither end with the commit that removes the event nor spare the pages of others:
//! the attempts of events that are forgotten together stand together, a leaf or two away from one another.
//!
//! One commit removes [`ROWS`] rows or [`BYTES`] and no more events then; where others wait for the same commit, or the disk
//! is full and pages are scarce, fewer. An event is never split, however many deliveries it has.

use redb::{ReadableTable as _, Table};

use super::{
    error::StoreError,
    held::row_bytes,
    record::{all_succeeded, attempt_before, delivery_bytes, last_attempt},
    room::Room,
    schema::{Tables, first_row},
    store::State,
};
use crate::model::event::Seq;

/// Rows that a commit removes, about, which does nothing else.
const ROWS: u64 = 4096;
/// The same, where others wait for it.
const ROWS_AMONG: u64 = 1024;
/// The same, while the disk is full: the pages that change with them are copied before those that were there are free.
const ROWS_SCARCE: u64 = 64;
/// Bytes of rows that a commit removes, about.
const BYTES: u64 = 4 << 20;

/// An event that is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub seq: Seq,
    /// Whether it is old enough if all of its deliveries have succeeded.
    pub if_succeeded: bool,
    /// Whether it is if they have not.
    pub if_failed: bool,
}

/// What became of events that were to be forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// So many of them have been looked at, the first ones; the others are to be asked for again.
    pub looked_at: usize,
    /// So many of these have gone.
    pub events: u64,
    /// With so many rows, their deliveries' and attempts' among them,
    pub rows: u64,
    /// of so many bytes.
    pub bytes: u64,
}

impl Forgotten {
    /// Adds what became of others.
    pub fn add(&mut self, other: &Self) {
        self.looked_at += other.looked_at;
        self.events += other.events;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// How many rows a commit may remove: one that others wait for, if it is among them.
pub(super) fn most(room: &Room, among_others: bool) -> u64 {
    match (room.is_scarce(), among_others) {
        (true, _) => ROWS_SCARCE,
        (false, true) => ROWS_AMONG,
        (false, false) => ROWS,
    }
}

/// Removes some of these events, the first ones; the rows of the commit so far are in their tables.
pub(super) fn forget(
    due: &[Due],
    most: u64,
    state: &mut State,
    tables: &mut Tables<'_>,
) -> Result<Forgotten, StoreError> {
    let mut done = Forgotten::default();
    for one in due {
        if done.rows >= most || done.bytes >= BYTES {
            break;
        }
        done.looked_at += 1;
        let is_newest = one.seq.next() >= state.next_seq;
        if !is_newest && goes(*one, tables)? {
            if let Some(attempt) = forget_one(one.seq, tables, &mut done)? {
                state.tally.forgot(attempt);
            }
            done.events += 1;
        }
    }
    if done.rows > 0 {
        state.held.forget(done.bytes);
    }
    Ok(done)
}

/// Whether an event is there, has nothing pending, and is old enough for how it has ended.
fn goes(due: Due, tables: &mut Tables<'_>) -> Result<bool, StoreError> {
    let rows = || first_row(due.seq)..first_row(due.seq.next());
    if tables.pending()?.range(rows())?.next().is_some() || tables.events()?.get(due.seq.get())?.is_none() {
        return Ok(false);
    }
    if due.if_succeeded && due.if_failed {
        return Ok(true);
    }
    for row in tables.history()?.range(rows())? {
        if !all_succeeded(row?.1.value()) {
            return Ok(due.if_failed);
        }
    }
    Ok(due.if_succeeded)
}

/// Removes all of an event; returns the newest of its attempts.
fn forget_one(seq: Seq, tables: &mut Tables<'_>, done: &mut Forgotten) -> Result<Option<u64>, StoreError> {
    let mut removed = |value: &[u8]| {
        done.rows += 1;
        done.bytes += row_bytes(value);
    };
    let (mut keys, mut chains) = (Vec::new(), Vec::new());
    for row in tables.history()?.range(first_row(seq)..first_row(seq.next()))? {
        let (key, row) = row?;
        keys.push(key.value());
        chains.extend((0..).map_while(|index| delivery_bytes(row.value(), index)).filter_map(last_attempt));
    }
    // Those of several deliveries were made in turn: in their order each page is come to once.
    chains.sort_unstable();
    let newest = chains.last().copied();
    for newest in chains {
        remove_chain(newest, tables.attempts()?, &mut removed)?;
    }
    for key in keys {
        remove(key, tables.history()?, |row| removed(row))?;
    }
    remove(seq.get(), tables.events()?, |row| removed(row))?;
    Ok(newest)
}

/// Removes an attempt and those before it of its delivery. A chain that does not go back is a damaged file's.
fn remove_chain(
    newest: u64,
    attempts: &mut Table<'_, u64, &'static [u8]>,
    mut removed: impl FnMut(&[u8]),
) -> Result<(), StoreError> {
    let mut next = Some(newest);
    while let Some(key) = next {
        let mut before = None;
        remove(key, attempts, |row| {
            removed(row);
            before = attempt_before(row).filter(|before| *before < key);
        })?;
        next = before;
    }
    Ok(())
}

fn remove(
    key: u64,
    table: &mut Table<'_, u64, &'static [u8]>,
    removed: impl FnOnce(&[u8]),
) -> Result<(), StoreError> {
    if let Some(row) = table.remove(key)? {
        removed(row.value());
    }
    Ok(())
}
