//! What a store holds, one after another, oldest first: in whatever length, a row is in memory at a time.

use redb::{ReadableDatabase as _, ReadableTable as _};

use super::{Stopped, tables::Deliveries};
use crate::model::{
    account::AccountName,
    attempt::Attempt,
    delivery::{Delivery, DeliveryKey},
    endpoint::{Endpoint, EndpointNumber},
    event::{Event, Seq},
    id::IdKey,
    time::Timestamp,
};
use crate::outbox::{
    clock::{self, Clocks},
    endpoints::read_all,
    error::StoreError,
    record::{Head, decode_attempt, decode_event, decode_head, decode_row, decode_url},
    schema::{ATTEMPTS, EVENTS, META, first_row, row_seq, row_slot},
    store::read_id_key,
};

/// Which of a store's rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exporting {
    /// Events.
    pub events: bool,
    /// Deliveries.
    pub deliveries: bool,
    /// Attempts.
    pub attempts: bool,
    /// Of events that were accepted at this time or later; attempts that were made then.
    pub since: Timestamp,
}

/// One of them.
#[derive(Debug)]
pub enum Exported<'a> {
    /// An event.
    Event(&'a Event),
    /// A delivery.
    Delivery {
        /// Which.
        key: DeliveryKey,
        /// What its row says of its event.
        head: &'a Head,
        /// As it is.
        delivery: &'a Delivery,
        /// The URL of its event's callback, if that has one.
        callback: Option<&'a str>,
    },
    /// An attempt.
    Attempt {
        /// It.
        attempt: &'a Attempt,
        /// When its event was accepted, if the event is there.
        accepted_at: Option<Timestamp>,
        /// Whose that is.
        account: Option<&'a AccountName>,
    },
}

impl Stopped {
    /// The key of its ids.
    ///
    /// # Errors
    /// It has none that can be read.
    pub fn id_key(&self) -> Result<IdKey, StoreError> {
        read_id_key(&self.database.begin_read()?.open_table(META)?)
    }

    /// Its endpoints, by number.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn endpoints(&self) -> Result<Vec<(EndpointNumber, Endpoint)>, StoreError> {
        read_all(&self.database.begin_read()?)
    }

    /// How its clocks stood last.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn clocks(&self) -> Result<Clocks, StoreError> {
        clock::read(&self.database.begin_read()?)
    }

    /// Gives what is wanted to `each`: events, then deliveries, then attempts. Returns how many rows cannot be read; those
    /// are passed over.
    ///
    /// # Errors
    /// The file cannot be read; or what `each` says.
    pub fn export<E: From<StoreError>>(
        &self,
        wanted: Exporting,
        mut each: impl FnMut(Exported<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut unreadable = 0;
        if wanted.events {
            unreadable += self.export_events(wanted.since, &mut each)?;
        }
        if wanted.deliveries {
            unreadable += self.export_deliveries(wanted.since, &mut each)?;
        }
        if wanted.attempts {
            unreadable += self.export_attempts(wanted.since, &mut each)?;
        }
        Ok(unreadable)
    }

    fn export_events<E: From<StoreError>>(
        &self,
        since: Timestamp,
        each: &mut impl FnMut(Exported<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut unreadable = 0;
        let table = self.database.begin_read().map_err(StoreError::from)?;
        let table = table.open_table(EVENTS).map_err(StoreError::from)?;
        for entry in table.iter().map_err(StoreError::from)? {
            let (seq, row) = entry.map_err(StoreError::from)?;
            match decode_event(Seq::new(seq.value()), row.value()) {
                Some(event) if event.accepted_at >= since => each(Exported::Event(&event))?,
                Some(_) => {}
                None => unreadable += 1,
            }
        }
        Ok(unreadable)
    }

    /// In the order of their events: `pending` and `history` side by side.
    fn export_deliveries<E: From<StoreError>>(
        &self,
        since: Timestamp,
        each: &mut impl FnMut(Exported<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut unreadable = 0;
        let txn = self.database.begin_read().map_err(StoreError::from)?;
        let deliveries = Deliveries::open(&txn)?;
        let events = txn.open_table(EVENTS).map_err(StoreError::from)?;
        let mut pending = deliveries.pending.iter().map_err(StoreError::from)?.peekable();
        let mut history = deliveries.history.iter().map_err(StoreError::from)?.peekable();
        loop {
            // An error is taken and returned.
            let key = |entry: Option<&Result<(redb::AccessGuard<'_, u64>, _), redb::StorageError>>| {
                entry.map(|entry| entry.as_ref().map_or(0, |(key, _)| key.value()))
            };
            let next = match (key(pending.peek()), key(history.peek())) {
                (None, None) => return Ok(unreadable),
                (Some(pending_key), history_key) if history_key.is_none_or(|one| pending_key <= one) => {
                    pending.next()
                }
                _ => history.next(),
            };
            let Some(entry) = next else { return Ok(unreadable) };
            let (key, row) = entry.map_err(StoreError::from)?;
            let (key, Some(row)) = (key.value(), decode_row(row.value())) else {
                unreadable += 1;
                continue;
            };
            if row.head.accepted_at < since || row.deliveries.is_empty() {
                continue;
            }
            let event = events.get(row_seq(key).get()).map_err(StoreError::from)?;
            let callback = event.as_ref().and_then(|event| decode_url(event.value()).ok().flatten());
            for (slot, delivery) in (row_slot(key)..).zip(&row.deliveries) {
                let key = DeliveryKey { seq: row_seq(key), slot };
                each(Exported::Delivery { key, head: &row.head, delivery, callback })?;
            }
        }
    }

    fn export_attempts<E: From<StoreError>>(
        &self,
        since: Timestamp,
        each: &mut impl FnMut(Exported<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut unreadable = 0;
        let txn = self.database.begin_read().map_err(StoreError::from)?;
        let deliveries = Deliveries::open(&txn)?;
        for entry in txn.open_table(ATTEMPTS).map_err(StoreError::from)?.iter().map_err(StoreError::from)? {
            let (_, row) = entry.map_err(StoreError::from)?;
            let Some(attempt) = decode_attempt(row.value()) else {
                unreadable += 1;
                continue;
            };
            if attempt.report.started_at < since {
                continue;
            }
            let head = head_of(&deliveries, attempt.delivery.seq)?;
            let accepted_at = head.as_ref().map(|head| head.accepted_at);
            let account = head.as_ref().map(|head| &head.account);
            each(Exported::Attempt { attempt: &attempt, accepted_at, account })?;
        }
        Ok(unreadable)
    }
}

fn head_of(deliveries: &Deliveries, seq: Seq) -> Result<Option<Head>, StoreError> {
    for table in [&deliveries.pending, &deliveries.history] {
        if let Some(entry) = table.range(first_row(seq)..first_row(seq.next()))?.next() {
            return Ok(decode_head(entry?.1.value()));
        }
    }
    Ok(None)
}
