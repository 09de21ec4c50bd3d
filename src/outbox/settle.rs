//! Settling: what one commit writes when an attempt has ended, or a delivery ends without one.

use redb::ReadableTable;

use super::{
    append::Added,
    error::StoreError,
    health::Tallied,
    held::row_bytes,
    order::{Advancing, leave},
    record::{AttemptHead, any_pending, decode_delivery, decode_head, delivery_bytes, encode_attempt, patch},
    schema::{Tables, row_key, row_slot},
    store::State as StoreState,
};
use crate::model::{
    attempt::{AttemptRow, Report, Why},
    delivery::{CancelReason, Delivery, DeliveryKey, Order, State},
    endpoint::Disabled,
};

/// What became of a delivery: its attempt, its new state, the endpoint's count, and that it is disabled
/// go into one transaction.
///
/// A delivery that has ended stays as it ended: of a settle that comes after its end nothing is written. Nor is of one
/// without an attempt that was decided on an older state of the delivery: an attempt has come in between. One that would
/// be pending although its endpoint has called it off ends as cancelled, and so does one that somebody has called off himself, if
/// it has not succeeded. One that ends leaves its [`Order`], and lets the
/// next go.
#[derive(Debug)]
pub struct Settle {
    /// Which delivery.
    pub key: DeliveryKey,
    /// What it is from now on; `last_attempt` and its place in the order are filled in here.
    pub delivery: Delivery,
    /// The attempt that ended, if one was made; in a box, for settles are moved about by the hundred.
    pub attempt: Option<(Why, Box<Report>)>,
    /// What its endpoint has from now on, if that has changed.
    pub count: Option<Count>,
}

/// What attempts make of their endpoint. It was counted from a state of the endpoint: where a change has set the count to
/// 0 since ([`resets`](crate::model::endpoint::Endpoint::resets)), nothing of it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Attempts without success in a row.
    pub consecutive_failures: u32,
    /// Why it is disabled by them, if it is, and since when; one that is disabled already stays as it is.
    pub disable: Option<Disabled>,
    /// How often the count had been set to 0 by a change.
    pub resets: u32,
}

/// Why of a settle nothing was written.
#[derive(Debug)]
pub enum NotSettled {
    /// The delivery has been attempted, or begun anew, since its end was decided without an attempt.
    Stale,
    /// Its row is not there, or cannot be read.
    Unreadable(StoreError),
}

/// Writes one settle into the transaction, the rows that it adds into `added`, or says why not. A row that is not as it should be concerns its deliveries
/// alone; an error is the whole store's.
pub(super) fn settle(
    settle: &Settle,
    state: &mut StoreState,
    tables: &mut Tables<'_>,
    added: &mut Added<'_>,
    advancing: &mut Advancing,
) -> Result<Option<NotSettled>, StoreError> {
    let key = row_key(settle.key);
    let missing = NotSettled::Unreadable(StoreError::Row { table: "pending", key });
    let index = usize::from(settle.key.slot - row_slot(key));
    let row = tables.pending()?.get(key)?.map(|row| row.value().to_vec());
    let Some(mut row) = row else {
        let ended = added.has_history(key) || tables.history()?.get(key)?.is_some();
        // What has ended may be forgotten since a pass looked, with its event. What is attempted is pending, and kept.
        let gone = settle.attempt.is_none() && tables.events()?.get(settle.key.seq.get())?.is_none();
        return Ok((!ended && !gone).then_some(missing));
    };
    let Some(before) = delivery_bytes(&row, index).and_then(decode_delivery) else {
        return Ok(Some(missing));
    };
    if before.state != State::Pending {
        return Ok(None);
    }
    let as_decided = (before.attempt, before.start) == (settle.delivery.attempt, settle.delivery.start);
    if settle.attempt.is_none() && !as_decided {
        return Ok(Some(NotSettled::Stale));
    }
    let mut delivery = settle.delivery;
    if delivery.state == State::Pending
        && let Some((reason, at)) = state.endpoints.calls_off(delivery.endpoint, settle.key.seq)
    {
        // Called off while the attempt was being made: a success it would have stayed.
        (delivery.state, delivery.due) = (State::Cancelled(reason), at);
    }
    if before.called_off && matches!(delivery.state, State::Pending | State::Failed(_)) {
        if let (State::Pending, Some((_, report))) = (delivery.state, &settle.attempt) {
            delivery.due = report.started_at.plus(report.phases.total);
        }
        delivery.state = State::Cancelled(CancelReason::Operator);
    }
    // It may have joined since this was decided.
    delivery.order = before.order;
    if let Order::Place(place) = before.order
        && delivery.state != State::Pending
    {
        let Some(head) = decode_head(&row) else { return Ok(Some(missing)) };
        leave((before.endpoint, head.group), place, state, tables, advancing)?;
        delivery.order = Order::Unjoined;
    }
    delivery.last_attempt = match &settle.attempt {
        Some((why, report)) => Some(append_attempt(settle, *why, report, before.last_attempt, state, added)),
        None => before.last_attempt,
    };
    patch(&mut row, index, &delivery).expect("its place was read just above");
    if any_pending(&row) {
        tables.pending()?.insert(key, row.as_slice())?;
    } else {
        tables.pending()?.remove(key)?;
        state.held.remove(row_bytes(&row));
        added.history(key, row);
    }
    if delivery.state != State::Pending && state.depths.give_back(delivery.endpoint) == 0 {
        state.endpoints.rests(delivery.endpoint);
    }
    if let Some(count) = &settle.count {
        state.endpoints.count(delivery.endpoint, count, tables)?;
    }
    Ok(None)
}

fn append_attempt(
    settle: &Settle,
    why: Why,
    report: &Report,
    previous: Option<AttemptRow>,
    state: &mut StoreState,
    added: &mut Added<'_>,
) -> AttemptRow {
    if let Some(one) = Tallied::of(settle.delivery.endpoint, report) {
        state.tally.count(one, &state.endpoints);
    }
    let row = state.next_attempt;
    state.next_attempt = AttemptRow::new(row.get() + 1);
    let attempt = AttemptHead {
        delivery: settle.key,
        endpoint: settle.delivery.endpoint,
        number: settle.delivery.attempt,
        previous,
        why,
    };
    added.attempt(row, encode_attempt(&attempt, report));
    row
}
