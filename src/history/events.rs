//! Events, newest first.

use super::{CHUNK, Filter, SCAN};
use crate::{
    model::{delivery::Delivery, delivery::DeliveryKey, event::Seq},
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

/// At most `limit` events that `filter` takes, from the one before `before` on.
///
/// # Errors
/// The store cannot be read.
pub fn page(reader: &Reader, filter: &Filter, before: Option<Seq>, limit: usize) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let mut before = before.map(|seq| DeliveryKey { seq, slot: 0 });
    let mut scanned = 0;
    loop {
        let rows = reader.rows_before(before, CHUNK)?;
        let Some(oldest) = rows.last() else { return Ok(Page { next: None, ..page }) };
        before = Some(oldest.first);
        for placed in rows {
            let (seq, head) = (placed.first.seq, placed.row.head);
            let same = page.next == Some(seq);
            // Several rows of one event stand together: a page ends between events, never within one.
            if !same && (page.items.len() == limit || scanned >= SCAN) {
                return Ok(page);
            }
            scanned += 1;
            page.next = Some(seq);
            if !filter.takes(&head) {
                continue;
            }
            match page.items.last_mut() {
                Some(item) if same => item.deliveries.extend(placed.row.deliveries),
                _ => page.items.push(Listed { seq, head, deliveries: placed.row.deliveries }),
            }
        }
    }
}
