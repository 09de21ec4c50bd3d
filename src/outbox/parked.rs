//! Parked keys: pending deliveries for which memory has no room, by lane and by the minute in which they are due.
//!
//! A row says nothing that the delivery's own row does not say: it is there so that the scheduler finds again, in the
//! order of their minutes, what it has let go of. A crash between a commit here and what it follows from costs
//! nothing: at the start every pending delivery without a row here is scheduled, and a row whose delivery has ended
//! meanwhile comes to nothing when its turn comes.
//!
//! The minute is that of the due time rounded up to 10 ms: the scheduler's timers know due times no better, and a key
//! must have one place whoever names it.

use std::{collections::BTreeMap, time::Duration};

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableError};

use super::{
    error::StoreError,
    schema::{PARKED, ParkedKey, Tables, row_seq, row_slot},
};
use crate::model::{
    delivery::{DeliveryKey, Load, Scheduled},
    endpoint::EndpointNumber,
    time::{Minute, TICK_MILLIS, Timestamp},
};

/// What was taken from the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Whose.
    pub lane: EndpointNumber,
    /// The keys.
    pub found: Vec<Scheduled>,
    /// The minute of the lane's first key that is on disk still.
    pub next: Option<Minute>,
}

/// Writes the keys; returns their lanes, each with the first minute of its keys.
pub(super) fn park(
    keys: &[Scheduled],
    tables: &mut Tables<'_>,
) -> Result<Vec<(EndpointNumber, Minute)>, StoreError> {
    let mut first = BTreeMap::new();
    let mut rows: Vec<_> = keys.iter().map(|one| (parked_key(one), one.due.as_millis())).collect();
    // In the table's order, which costs the fewest pages.
    rows.sort_unstable();
    for (key, due) in rows {
        tables.parked()?.insert(key, due)?;
        // The first row of a lane is that of its first minute.
        first.entry(EndpointNumber::new(key.0)).or_insert(Minute::new(key.1));
    }
    Ok(first.into_iter().collect())
}

/// Takes keys of a lane out.
pub(super) fn load(load: Load, tables: &mut Tables<'_>) -> Result<Loaded, StoreError> {
    let Load { lane, until, limit } = load;
    let table = tables.parked()?;
    let mut loaded = Loaded { lane, found: Vec::new(), next: None };
    let mut rows = Vec::new();
    for row in table.range((lane.get(), 0, 0)..=(lane.get(), u32::MAX, u64::MAX))? {
        let (key, due) = row?;
        let (key, due) = (key.value(), due.value());
        let (_, minute, _) = key;
        if minute > until.get() || loaded.found.len() == limit {
            loaded.next = Some(Minute::new(minute));
            break;
        }
        loaded.found.push(scheduled(key, due));
        rows.push(key);
    }
    for key in rows {
        table.remove(key)?;
    }
    Ok(loaded)
}

/// How many keys are parked.
pub(super) fn count(txn: &ReadTransaction) -> Result<u64, StoreError> {
    Ok(open(txn)?.map_or(Ok(0), |table| table.len())?)
}

/// The lanes that have parked keys, each with the first minute of them.
pub(super) fn lanes(txn: &ReadTransaction) -> Result<Vec<(EndpointNumber, Minute)>, StoreError> {
    let mut lanes = Vec::new();
    let Some(table) = open(txn)? else { return Ok(lanes) };
    let mut from = Some(0);
    while let Some(lane) = from {
        let Some(row) = table.range((lane, 0, 0)..)?.next() else { break };
        let (lane, minute, _) = row?.0.value();
        lanes.push((EndpointNumber::new(lane), Minute::new(minute)));
        from = lane.checked_add(1);
    }
    Ok(lanes)
}

/// Leaves those among `keys` that are not parked.
pub(super) fn retain_unparked(txn: &ReadTransaction, keys: &mut Vec<Scheduled>) -> Result<(), StoreError> {
    let Some(table) = open(txn)? else { return Ok(()) };
    let mut unparked = Vec::with_capacity(keys.len());
    for one in keys.drain(..) {
        if table.get(parked_key(&one))?.is_none() {
            unparked.push(one);
        }
    }
    *keys = unparked;
    Ok(())
}

/// The table, if anything was ever parked.
fn open(txn: &ReadTransaction) -> Result<Option<impl ReadableTable<ParkedKey, u64> + use<>>, StoreError> {
    match txn.open_table(PARKED) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parked_key(one: &Scheduled) -> ParkedKey {
    let minute = one.due.plus(Duration::from_millis(TICK_MILLIS - 1)).minute();
    let Scheduled { key, endpoint, .. } = one;
    (endpoint.get(), minute.get(), key.seq.get() << 16 | u64::from(key.slot))
}

fn scheduled((lane, _, key): ParkedKey, due: u64) -> Scheduled {
    Scheduled {
        key: DeliveryKey { seq: row_seq(key), slot: row_slot(key) },
        endpoint: EndpointNumber::new(lane),
        due: Timestamp::from_millis(due),
    }
}
