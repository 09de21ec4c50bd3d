//! Deliveries, newest first.

use std::collections::HashMap;

use super::{CHUNK, Filter, SCAN};
use crate::{
    model::{
        delivery::{Delivery, DeliveryKey, State, Status},
        endpoint::EndpointNumber,
        event::Seq,
    },
    outbox::{Head, Placed, Reader, StoreError},
};

/// A delivery with what its row says of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub key: DeliveryKey,
    /// Its event.
    pub head: Head,
    /// Where it stands.
    pub delivery: Delivery,
}

/// What a list is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of which events.
    pub filter: Filter,
    /// With this status; `None`: with any.
    pub status: Option<Status>,
    /// What is pending for these endpoints of events before these is called off, though not every record says so yet.
    pub called_off: HashMap<EndpointNumber, Seq>,
    /// To one of these endpoints; `None`: to any.
    pub endpoints: Option<Vec<EndpointNumber>>,
    /// Of this event; `None`: of any.
    pub event: Option<Seq>,
    /// From the one before this on.
    pub before: Option<DeliveryKey>,
    /// At most so many.
    pub limit: usize,
}

/// A page of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The deliveries, newest first.
    pub items: Vec<Found>,
    /// The last delivery that was looked at, whether it is of the list or not: go on before it. `None`: there are no more.
    pub next: Option<DeliveryKey>,
}

/// The deliveries of a row, in the order of their slots.
pub fn unfold(placed: Placed) -> impl DoubleEndedIterator<Item = Found> {
    let (first, head) = (placed.first, placed.row.head);
    placed.row.deliveries.into_iter().enumerate().map(move |(index, delivery)| {
        let slot = first.slot + u16::try_from(index).expect("a row has at most 128 deliveries");
        Found { key: DeliveryKey { seq: first.seq, slot }, head: head.clone(), delivery }
    })
}

/// The page that is asked for.
///
/// # Errors
/// The store cannot be read.
pub fn page(reader: &Reader, ask: &Ask) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let mut scanned = 0;
    let mut before = ask.filter.begin(reader, ask.before.map(Reader::row_after))?;
    loop {
        let rows = match ask.event {
            Some(seq) => reader.rows_of(seq)?.into_iter().rev().collect(),
            None => reader.rows_before(before, CHUNK)?,
        };
        let Some(oldest) = rows.last() else { return Ok(Page { next: None, ..page }) };
        before = Some(oldest.first);
        let ends = ask.filter.ends(reader, oldest.first.seq, &oldest.row.head)?;
        for placed in rows {
            if placed.row.deliveries.is_empty() && scanned < SCAN {
                // Of an event without any. It is looked at as well.
                scanned += 1;
                page.next = Some(placed.first);
            }
            let all = unfold(placed).rev();
            for found in all.filter(|found| ask.before.is_none_or(|before| found.key < before)) {
                if page.items.len() == ask.limit || scanned >= SCAN {
                    return Ok(page);
                }
                scanned += 1;
                page.next = Some(found.key);
                if ask.takes(&found) {
                    page.items.push(found);
                }
            }
        }
        if scanned >= SCAN && !ends {
            return Ok(page);
        }
        if ends || ask.event.is_some() {
            return Ok(Page { next: None, ..page });
        }
    }
}

impl Ask {
    fn takes(&self, found: &Found) -> bool {
        self.status.is_none_or(|status| self.status_of(found) == status)
            && self.endpoints.as_ref().is_none_or(|endpoints| endpoints.contains(&found.delivery.endpoint))
            && self.filter.takes(&found.head)
    }

    /// What people are shown as its status.
    fn status_of(&self, found: &Found) -> Status {
        let Found { key, delivery, .. } = found;
        let is_called_off = || self.called_off.get(&delivery.endpoint).is_some_and(|below| key.seq < *below);
        match delivery.state {
            State::Pending if is_called_off() => Status::Cancelled,
            state => state.status(),
        }
    }
}
