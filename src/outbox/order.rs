//! The order of deliveries that go one after the other.
//!
//! A row of `fifo` for each pending delivery that has a place: by endpoint, group and place, its key. The first of a
//! group is its *head*; the scheduler knows of no other, so nothing else of the group is attempted. A delivery gets its
//! place, behind the last of its group, as it is accepted, or when it joins, and leaves the group in the commit in which
//! it ends; where it was the head, the next one is scheduled by that commit.
//!
//! A place is the delivery's packed key, or more where one with a greater key stands before it: so those that are
//! accepted need nothing but the last row, and nothing is ever moved.
//!
//! The table is not there until the first delivery gets a place. In a damaged file a head may have ended, or its record
//! be lost: a group that advances passes over it, and the start has those advance whose head is such a one. Where the
//! event's own row is lost and the delivery's is not, the group waits until that delivery expires.

use std::collections::BTreeSet;

use redb::{ReadTransaction, ReadableTable, TableError};

use super::{
    error::StoreError,
    record::{Head, any_pending, decode_delivery, decode_head, delivery_bytes, patch},
    schema::{FIFO, FifoKey, Tables, pack, row_key, row_slot, unpack},
    store::State as StoreState,
};
use crate::model::{
    delivery::{Delivery, DeliveryKey, Group, Order, Scheduled, State},
    endpoint::EndpointNumber,
    event::Seq,
};

/// A group of an endpoint.
pub(super) type GroupOf = (EndpointNumber, Group);

/// The groups whose next delivery is to be scheduled by a commit.
#[derive(Debug, Default)]
pub(super) struct Advancing(BTreeSet<GroupOf>);

impl Advancing {
    /// Those whose head cannot be read, to begin with.
    pub(super) fn of(stuck: &[GroupOf]) -> Self {
        Self(stuck.iter().copied().collect())
    }
}

/// Gives a delivery the place behind the last of its group; returns it, and whether it is the first as well.
pub(super) fn enter(
    (endpoint, group): GroupOf,
    key: DeliveryKey,
    state: &StoreState,
    tables: &mut Tables<'_>,
) -> Result<(u64, bool), StoreError> {
    let fifo = tables.fifo()?;
    let last = fifo.range(all_of((endpoint, group)))?.next_back().transpose()?;
    let last = last.map(|(row, _)| row.value().2);
    let place = last.map_or(pack(key), |last| pack(key).max(last.saturating_add(1)));
    fifo.insert((endpoint.get(), group.get(), place), pack(key))?;
    if last.is_some() {
        state.depths.went_behind(1);
    }
    Ok((place, last.is_none()))
}

/// Takes a delivery that ends out of its group.
pub(super) fn leave(
    (endpoint, group): GroupOf,
    place: u64,
    state: &StoreState,
    tables: &mut Tables<'_>,
    advancing: &mut Advancing,
) -> Result<(), StoreError> {
    let fifo = tables.fifo()?;
    fifo.remove((endpoint.get(), group.get(), place))?;
    let first = fifo.range(all_of((endpoint, group)))?.next().transpose()?;
    let Some(first) = first.map(|(row, _)| row.value().2) else { return Ok(()) };
    // One has gone, or one that was behind it is the head.
    state.depths.came_forward(1);
    if place < first {
        advancing.0.insert((endpoint, group));
    }
    Ok(())
}

/// Schedules the heads of the groups that advance. All that end in this commit have left.
pub(super) fn advance(
    advancing: Advancing,
    state: &StoreState,
    tables: &mut Tables<'_>,
    scheduled: &mut Vec<Scheduled>,
) -> Result<(), StoreError> {
    for group in advancing.0 {
        if let Some(head) = next_head(group, state, tables)? {
            scheduled.push(head);
        }
    }
    Ok(())
}

fn next_head(
    group: GroupOf,
    state: &StoreState,
    tables: &mut Tables<'_>,
) -> Result<Option<Scheduled>, StoreError> {
    let mut passed_over = false;
    loop {
        let first = tables.fifo()?.range(all_of(group))?.next().transpose()?;
        let Some((row, key)) = first.map(|(row, key)| (row.value(), unpack(key.value()))) else {
            return Ok(None);
        };
        if passed_over {
            state.depths.came_forward(1);
        }
        let place = row_key(key);
        let pending = tables.pending()?.get(place)?;
        let delivery = pending.as_ref().and_then(|row| delivery_of(row.value(), key));
        match delivery.filter(|delivery| delivery.state == State::Pending) {
            Some(delivery) => return Ok(Some(Scheduled::of(key, &delivery))),
            None => drop(pending),
        }
        tables.fifo()?.remove(row)?;
        passed_over = true;
    }
}

/// Has deliveries that are due join their groups, the one that has been due longest first. One that has ended, or has a
/// place already, is left as it is.
pub(super) fn join(
    keys: &[DeliveryKey],
    state: &StoreState,
    tables: &mut Tables<'_>,
    scheduled: &mut Vec<Scheduled>,
) -> Result<(), StoreError> {
    let mut joining = Vec::with_capacity(keys.len());
    for key in keys {
        let row = tables.pending()?.get(row_key(*key))?;
        let delivery = row.and_then(|row| delivery_of(row.value(), *key));
        joining.extend(delivery.filter(joins).map(|delivery| (delivery.due, *key)));
    }
    joining.sort_unstable();
    joining.dedup();
    for (_, key) in joining {
        let place = row_key(key);
        let row = tables.pending()?.get(place)?.map(|row| row.value().to_vec());
        let mut row = row.expect("read just above, and nothing is taken away since");
        // A head that cannot be read: its deliveries are left alone, as those of any such row.
        let (Some(mut delivery), Some(head)) = (delivery_of(&row, key), decode_head(&row)) else { continue };
        let (at, is_head) = enter((delivery.endpoint, head.group), key, state, tables)?;
        delivery.order = Order::Place(at);
        patch(&mut row, index(key), &delivery).expect("its place was read just above");
        debug_assert!(any_pending(&row), "what joins is pending");
        tables.pending()?.insert(place, row.as_slice())?;
        if is_head {
            scheduled.push(Scheduled::of(key, &delivery));
        }
    }
    Ok(())
}

fn joins(delivery: &Delivery) -> bool {
    (delivery.state, delivery.order) == (State::Pending, Order::Unjoined)
}

fn delivery_of(row: &[u8], key: DeliveryKey) -> Option<Delivery> {
    delivery_bytes(row, index(key)).and_then(decode_delivery)
}

fn index(key: DeliveryKey) -> usize {
    usize::from(key.slot - row_slot(row_key(key)))
}

fn all_of((endpoint, group): GroupOf) -> std::ops::RangeInclusive<FifoKey> {
    (endpoint.get(), group.get(), 0)..=(endpoint.get(), group.get(), u64::MAX)
}

/// A page of groups' heads.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Their keys, in the order of their groups.
    pub(super) found: Vec<(GroupOf, DeliveryKey)>,
    /// The group to go on at; `None`: there are no more.
    pub(super) next: Option<GroupOf>,
}

/// The heads of `limit` groups, from the group `from` on, of events up to `until`.
pub(super) fn heads(
    txn: &ReadTransaction,
    from: GroupOf,
    until: Seq,
    limit: usize,
) -> Result<Heads, StoreError> {
    let mut page = Heads::default();
    let Some(table) = open(txn)? else { return Ok(page) };
    let mut from = Some(from);
    for _ in 0..limit {
        let Some((endpoint, group)) = from else { return Ok(page) };
        let Some(row) = table.range((endpoint.get(), group.get(), 0)..)?.next() else { return Ok(page) };
        let (row, key) = row?;
        let ((endpoint, group, _), key) = (row.value(), unpack(key.value()));
        if key.seq <= until {
            page.found.push(((EndpointNumber::new(endpoint), Group::new(group)), key));
        }
        from = match (group.checked_add(1), endpoint.checked_add(1)) {
            (Some(group), _) => Some((EndpointNumber::new(endpoint), Group::new(group))),
            (None, Some(endpoint)) => Some((EndpointNumber::new(endpoint), Group::KEYLESS)),
            (None, None) => None,
        };
    }
    page.next = from;
    Ok(page)
}

/// Whether another of its group comes before this delivery.
pub(super) fn is_behind(txn: &ReadTransaction, head: &Head, delivery: &Delivery) -> Result<bool, StoreError> {
    let Order::Place(place) = delivery.order else { return Ok(false) };
    let Some(table) = open(txn)? else { return Ok(false) };
    let (endpoint, group) = (delivery.endpoint.get(), head.group.get());
    Ok(table.range((endpoint, group, 0)..(endpoint, group, place))?.next().transpose()?.is_some())
}

/// The table, if any delivery ever had a place.
fn open(txn: &ReadTransaction) -> Result<Option<impl ReadableTable<FifoKey, u64> + use<>>, StoreError> {
    match txn.open_table(FIFO) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
