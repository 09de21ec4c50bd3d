//! Events, newest first.

use super::{CHUNK, Filter, SCAN};
use crate::{
    model::{
        delivery::{Delivery, DeliveryKey, Status},
        event::Seq,
    },
    outbox::{Head, Reader, StoreError},
};

/// An event as lists know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub seq: Seq,
    /// What its rows say of it.
    pub head: Head,
    /// Its deliveries, in no order.
    pub deliveries: Vec<Delivery>,
}

/// A page of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The events, newest first.
    pub items: Vec<Listed>,
    /// The last event that was looked at, whether it is of the list or not: go on before it. `None`: there are no more.
    pub next: Option<Seq>,
}

/// At most `limit` events that `filter` takes, with a delivery in this `status` if one is asked for, from the one before
/// `before` on.
///
/// # Errors
/// The store cannot be read.
pub fn page(
    reader: &Reader,
    filter: &Filter,
    status: Option<Status>,
    before: Option<Seq>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    // What is known of the event that is looked at: its rows stand together.
    let mut listed: Option<Listed> = None;
    let mut before = filter.begin(reader, before.map(|seq| DeliveryKey { seq, slot: 0 }))?;
    let mut scanned = 0;
    loop {
        let rows = reader.rows_before(before, CHUNK)?;
        let Some(oldest) = rows.last() else { return Ok(Page { next: None, ..page.with(listed, status) }) };
        before = Some(oldest.first);
        for placed in rows {
            let (seq, head) = (placed.first.seq, placed.row.head);
            scanned += 1;
            if page.next == Some(seq) {
                if let Some(listed) = &mut listed {
                    listed.deliveries.extend_from_slice(&placed.row.deliveries);
                }
                continue;
            }
            // A page ends between events, never within one.
            page = page.with(listed.take(), status);
            if filter.ends(reader, seq, &head)? {
                return Ok(Page { next: None, ..page });
            }
            if page.items.len() == limit || scanned > SCAN {
                return Ok(page);
            }
            page.next = Some(seq);
            if filter.takes(&head) {
                listed = Some(Listed { seq, head, deliveries: placed.row.deliveries });
            }
        }
    }
}

impl Page {
    /// Takes an event in, if there is one and it has a delivery in this `status`.
    fn with(mut self, listed: Option<Listed>, status: Option<Status>) -> Self {
        let fits = |listed: &Listed| {
            let mut all = listed.deliveries.iter();
            status.is_none_or(|status| all.any(|delivery| delivery.state.status() == status))
        };
        self.items.extend(listed.filter(fits));
        self
    }
}
