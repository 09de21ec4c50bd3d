//! Replaying: a delivery that has ended is pending again, from the first step on, due at once.
//!
//! It keeps its id, its attempts and their count. Its row moves back from `history` to `pending`, whole, if nothing else of it
//! is pending. One that keeps an order joins it at the end. One that went to an origin of callbacks that is known no more goes
//! to one that is made anew in the same commit.
//!
//! Nothing is replayed before the scan at a start has counted the backlog: it would find it again.

use redb::ReadableTable;

use super::{
    error::StoreError,
    origins::Callback,
    record::{Head, any_pending, decode_delivery, decode_head, delivery_bytes, patch},
    schema::{Tables, row_key, row_slot},
    store::State as StoreState,
};
use crate::model::{
    delivery::{Delivery, DeliveryKey, Order, Scheduled, State},
    endpoint::EndpointNumber,
    time::Timestamp,
};

/// What is to be replayed.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Which delivery.
    pub key: DeliveryKey,
    /// When it is due, on the schedule's time: now.
    pub at: Timestamp,
    /// The same by the wall clock.
    pub wall: Timestamp,
    /// Where it goes, if it is a callback's; its due time and its entry say nothing.
    pub callback: Option<Callback>,
}

/// What came of a [`Replay`]. Nothing was written of any but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is on disk: the delivery from now on.
    Done(Delivery),
    /// There is no such delivery, or its row cannot be read.
    Missing,
    /// It is pending.
    Pending,
    /// Where it goes has been deleted.
    Deleted,
    /// Its endpoint is being enabled without what had waited, and this is not over.
    Discarding,
    /// As many deliveries are pending for its endpoint as may be; or its account has no room for one more origin.
    Full,
    /// The backlog is not counted yet.
    TooEarly,
}

/// Replays one.
pub(super) fn replay(
    one: &Replay,
    state: &mut StoreState,
    tables: &mut Tables<'_>,
    scheduled: &mut Vec<Scheduled>,
) -> Result<Replayed, StoreError> {
    if !state.depths.are_whole() {
        return Ok(Replayed::TooEarly);
    }
    let Some((mut row, head, before)) = find(one.key, tables)? else { return Ok(Replayed::Missing) };
    if before.state == State::Pending {
        return Ok(Replayed::Pending);
    }
    let endpoint = match &one.callback {
        Some(callback) => state.endpoints.origin(&head.account, callback, one.wall, &state.depths, tables)?,
        None => before.endpoint,
    };
    if let Some(not) = refusal(endpoint, one.key, state) {
        return Ok(not);
    }
    // It was looked at just above.
    state.depths.take_place(endpoint, state.pending_per_endpoint);
    let order = if before.order == Order::Free { Order::Free } else { Order::Unjoined };
    let again = Delivery { attempt: before.attempt, order, ..Delivery::pending(endpoint, one.at) };
    let Delivery { last_status, last_attempt, .. } = before;
    let delivery = Delivery { last_status, last_attempt, replayed: true, ..again };
    let key = row_key(one.key);
    if !any_pending(&row) {
        tables.history()?.remove(key)?;
    }
    patch(&mut row, index(one.key), &delivery).expect("its place was read just above");
    tables.pending()?.insert(key, row.as_slice())?;
    scheduled.push(Scheduled::of(one.key, &delivery));
    Ok(Replayed::Done(delivery))
}

/// Takes in that a delivery is called off during an attempt, which says what becomes of it; whether it is pending.
pub(super) fn call_off(key: DeliveryKey, tables: &mut Tables<'_>) -> Result<bool, StoreError> {
    let Some((mut row, _, before)) = find(key, tables)? else { return Ok(false) };
    if before.state != State::Pending {
        return Ok(false);
    }
    patch(&mut row, index(key), &Delivery { called_off: true, ..before })
        .expect("its place was read just above");
    tables.pending()?.insert(row_key(key), row.as_slice())?;
    Ok(true)
}

/// The row of a delivery, with what it says.
pub(super) fn find(
    key: DeliveryKey,
    tables: &mut Tables<'_>,
) -> Result<Option<(Vec<u8>, Head, Delivery)>, StoreError> {
    let place = row_key(key);
    let mut row = tables.pending()?.get(place)?.map(|row| row.value().to_vec());
    if row.is_none() {
        row = tables.history()?.get(place)?.map(|row| row.value().to_vec());
    }
    let Some(row) = row else { return Ok(None) };
    let delivery = delivery_bytes(&row, index(key)).and_then(decode_delivery);
    Ok(delivery.zip(decode_head(&row)).map(|(delivery, head)| (row, head, delivery)))
}

/// Why nothing more goes there now, if so.
fn refusal(number: EndpointNumber, key: DeliveryKey, state: &StoreState) -> Option<Replayed> {
    if number == EndpointNumber::NONE {
        return Some(Replayed::Full);
    }
    let endpoint = state.endpoints.all.get(&number).filter(|endpoint| !endpoint.is_deleted());
    let Some(endpoint) = endpoint else { return Some(Replayed::Deleted) };
    if endpoint.calls_off(key.seq).is_some() {
        return Some(Replayed::Discarding);
    }
    (state.depths.of(number) >= state.pending_per_endpoint).then_some(Replayed::Full)
}

fn index(key: DeliveryKey) -> usize {
    usize::from(key.slot - row_slot(row_key(key)))
}
