//! Accepting events: what one commit writes for each.

use std::borrow::Cow;

use redb::ReadableTable;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    MAX_DELIVERIES,
    append::Added,
    dedup::Known,
    error::StoreError,
    order::enter,
    origins::Callback,
    record::{any_pending, encode_row},
    room::Full,
    schema::{ROW_DELIVERIES, Tables, row_key},
    store::State as StoreState,
};
use crate::model::{
    delivery::{Delivery, DeliveryKey, FailReason, Group, Order, Scheduled, State},
    endpoint::EndpointNumber,
    event::{NewEvent, Seq},
    id::EventId,
    time::Timestamp,
};

/// Events that are accepted together: a producer's batch, or a file.
#[derive(Debug)]
pub struct Batch {
    /// When they are accepted, by the wall clock.
    pub at: Timestamp,
    /// The same on the time that ages run on, which never goes back.
    pub age: Timestamp,
    /// The wall clock is not set.
    pub clock_unset: bool,
    /// The events, each with its deliveries.
    pub events: Vec<Routed>,
    /// The file that they come from. Then all of them are accepted or none, and a file that is known is not taken again.
    pub file: Option<FileIdentity>,
    /// The room in memory that it takes; given back when it is durable.
    pub room: Option<OwnedSemaphorePermit>,
}

/// An event and to whom it goes.
#[derive(Debug)]
pub struct Routed {
    /// The event.
    pub event: NewEvent,
    /// To whom; at most [`MAX_DELIVERIES`], no delivery is made for more.
    pub deliveries: Vec<Addressed>,
    /// Where else it goes, if its producer said so: the last of its deliveries.
    pub callback: Option<Callback>,
}

impl Routed {
    /// Whether one of its deliveries keeps the order.
    pub(super) fn keeps_order(&self) -> bool {
        let callback = self.callback.iter().map(|callback| callback.entry);
        self.deliveries
            .iter()
            .map(|addressed| addressed.entry)
            .chain(callback)
            .any(|entry| entry != Entry::Never)
    }
}

/// A delivery that is to be made of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed {
    /// To whom.
    pub endpoint: EndpointNumber,
    /// When its first attempt is due.
    pub due: Timestamp,
    /// Whether it keeps an order, and from when.
    pub entry: Entry,
}

/// How a delivery comes into an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// Not at all.
    #[default]
    Never,
    /// With its acceptance.
    AtOnce,
    /// When it is due.
    WhenDue,
}

/// What tells a spool file from every other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The spool directory.
    pub directory: String,
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// `st_mtim` in nanoseconds since the epoch.
    pub mtime: i64,
    /// `st_size`.
    pub size: u64,
}

impl FileIdentity {
    pub(super) fn key(&self) -> (&str, u64, u64, i64, u64) {
        (&self.directory, self.device, self.inode, self.mtime, self.size)
    }
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is on disk with all its deliveries.
    Accepted(EventId),
    /// The account's window holds an event with this id and the same content: that one's id.
    Duplicate(EventId),
    /// The account's window holds an event with this id and other content: that one's id. Nothing was taken.
    Conflict(EventId),
    /// It is new, and there is no room for it. Nothing was taken.
    NoRoom(Full),
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchAnswer {
    /// One answer for each event.
    Events(Vec<Acceptance>),
    /// The file was taken already, by a commit whose unlink did not happen.
    FileKnown,
    /// There is no room for the file. Nothing of it was taken.
    NoRoom(Full),
    /// Nothing of the file was taken, because of one of its events.
    FileRefused {
        /// Which of the events, from 0: its id is known with other content.
        index: usize,
        /// The event that has the id; `None`: another event of the same file.
        first: Option<EventId>,
    },
}

impl BatchAnswer {
    /// Whether this answer to `batch` means that it has changed nothing in the store.
    pub(super) fn wrote_nothing(&self, batch: &Batch) -> bool {
        match self {
            // The file itself, at least.
            Self::Events(_) if batch.file.is_some() => false,
            Self::Events(answers) => !answers.iter().any(|answer| matches!(answer, Acceptance::Accepted(_))),
            Self::FileKnown | Self::NoRoom(_) | Self::FileRefused { .. } => true,
        }
    }
}

/// Writes a batch into the transaction, its rows into `added`; what it schedules is added to `scheduled`. Where something is
/// `full`, what is known is answered as ever, and the rest is not taken.
pub(super) fn accept<'a>(
    batch: &'a Batch,
    full: Option<Full>,
    state: &mut StoreState,
    tables: &mut Tables<'_>,
    added: &mut Added<'a>,
    scheduled: &mut Vec<Scheduled>,
) -> Result<BatchAnswer, StoreError> {
    if let Some(file) = &batch.file {
        if tables.files()?.get(file.key())?.is_some() {
            return Ok(BatchAnswer::FileKnown);
        }
        if let Some(full) = full {
            return Ok(BatchAnswer::NoRoom(full));
        }
        if let Some(refused) = conflict(batch, state, tables)? {
            return Ok(refused);
        }
        tables.files()?.insert(file.key(), state.next_seq.get())?;
    }
    let mut answers = Vec::with_capacity(batch.events.len());
    for routed in &batch.events {
        answers.push(accept_one(routed, (batch, full), state, tables, (added, scheduled))?);
    }
    Ok(BatchAnswer::Events(answers))
}

/// The first of a file's events that is refused for good, if there is one.
fn conflict(
    batch: &Batch,
    state: &StoreState,
    tables: &mut Tables<'_>,
) -> Result<Option<BatchAnswer>, StoreError> {
    let mut seen = std::collections::HashMap::new();
    for (index, routed) in batch.events.iter().enumerate() {
        let Some(row) = state.dedup.row(&routed.event, (batch.at, batch.age)) else { continue };
        match state.dedup.look_up(&row, tables)? {
            Known::Conflict(seq, at) => {
                let first = Some(state.id_key.event_id(at, seq));
                return Ok(Some(BatchAnswer::FileRefused { index, first }));
            }
            Known::Duplicate(..) => {}
            // Nothing of the file is in the store yet: two of its own events may contradict each other.
            Known::New => {
                if *seen.entry(row.id).or_insert(row.content) != row.content {
                    return Ok(Some(BatchAnswer::FileRefused { index, first: None }));
                }
            }
        }
    }
    Ok(None)
}

fn accept_one<'a>(
    routed: &'a Routed,
    (batch, full): (&Batch, Option<Full>),
    state: &mut StoreState,
    tables: &mut Tables<'_>,
    (added, scheduled): (&mut Added<'a>, &mut Vec<Scheduled>),
) -> Result<Acceptance, StoreError> {
    let at = batch.at;
    let id_row = state.dedup.row(&routed.event, (at, batch.age));
    if let Some(row) = &id_row {
        match state.dedup.look_up(row, tables)? {
            Known::Duplicate(seq, at) => return Ok(Acceptance::Duplicate(state.id_key.event_id(at, seq))),
            Known::Conflict(seq, at) => return Ok(Acceptance::Conflict(state.id_key.event_id(at, seq))),
            Known::New => {}
        }
    }
    if let Some(full) = full {
        return Ok(Acceptance::NoRoom(full));
    }
    let seq = state.next_seq;
    state.next_seq = seq.next();
    added.event(seq, &routed.event, at, batch.clock_unset);
    if let Some(row) = &id_row {
        state.dedup.insert(seq, row, tables)?;
    }
    let callback = match &routed.callback {
        Some(callback) => {
            let account = &routed.event.account;
            let number = state.endpoints.origin(account, callback, at, &state.depths, tables)?;
            Some(Addressed { endpoint: number, due: callback.due, entry: callback.entry })
        }
        None => None,
    };
    write_deliveries((routed, callback), seq, at, state, tables, (added, scheduled))?;
    added.write_if_large(tables, &mut state.held)?;
    Ok(Acceptance::Accepted(state.id_key.event_id(at, seq)))
}

fn write_deliveries(
    (routed, callback): (&Routed, Option<Addressed>),
    seq: Seq,
    at: Timestamp,
    state: &mut StoreState,
    tables: &mut Tables<'_>,
    (added, scheduled): (&mut Added<'_>, &mut Vec<Scheduled>),
) -> Result<(), StoreError> {
    let mut deliveries = Cow::Borrowed(routed.deliveries.as_slice());
    if let Some(callback) = callback {
        deliveries.to_mut().push(callback);
    }
    debug_assert!(deliveries.len() <= MAX_DELIVERIES, "the slots of an event are counted in 16 bits");
    let deliveries = &deliveries[..deliveries.len().min(MAX_DELIVERIES)];
    let ordered = deliveries.iter().any(|addressed| addressed.entry != Entry::Never);
    let group = if ordered { state.dedup.group(&routed.event) } else { Group::KEYLESS };
    let mut slot: u16 = 0;
    // An event that nobody subscribed to has one row without deliveries, so that lists show it.
    let empty: &[Addressed] = &[];
    let none = deliveries.is_empty().then_some(empty);
    for chunk in deliveries.chunks(ROW_DELIVERIES).chain(none) {
        let key = row_key(DeliveryKey { seq, slot });
        let mut deliveries = Vec::with_capacity(chunk.len());
        for addressed in chunk {
            let key = DeliveryKey { seq, slot };
            let mut delivery = first_state(*addressed, seq, at, state);
            let mut is_next = delivery.state == State::Pending;
            if is_next && addressed.entry == Entry::AtOnce {
                let (place, is_head) = enter((addressed.endpoint, group), key, state, tables)?;
                (delivery.order, is_next) = (Order::Place(place), is_head);
            }
            if is_next {
                scheduled.push(Scheduled::of(key, &delivery));
            }
            deliveries.push(delivery);
            // Wraps behind the last of `MAX_DELIVERIES` only.
            slot = slot.wrapping_add(1);
        }
        let row = encode_row(&routed.event, at, group, &deliveries);
        if any_pending(&row) {
            added.pending(key, row);
        } else {
            added.history(key, row);
        }
    }
    Ok(())
}

/// Pending; or cancelled, where the endpoint has been deleted since the event was routed; or failed at once where the
/// endpoint is full: no endpoint can close the door.
fn first_state(addressed: Addressed, seq: Seq, at: Timestamp, state: &mut StoreState) -> Delivery {
    let Addressed { endpoint, due, entry } = addressed;
    let mut delivery = Delivery::pending(endpoint, due);
    if entry != Entry::Never {
        delivery.order = Order::Unjoined;
    }
    if let Some((reason, _)) = state.endpoints.calls_off(endpoint, seq) {
        (delivery.state, delivery.due) = (State::Cancelled(reason), at);
    } else if endpoint == EndpointNumber::NONE {
        state.depths.find_no_place();
        (delivery.state, delivery.due) = (State::Failed(FailReason::EndpointFull), at);
    } else if !state.depths.take_place(endpoint, state.pending_per_endpoint) {
        (delivery.state, delivery.due) = (State::Failed(FailReason::EndpointFull), at);
    }
    delivery
}
