//! Stage 5: what was, and what is: lists of events and deliveries, newest first, page by page.
//!
//! Everything here works on one [`Reader`], a short read transaction: a page looks at no more
//! than [`SCAN`] rows, and ends early, with a place to go on from, where filters leave little of them. Pages stay
//! right while rows are added and forgotten, because a place is an event or a delivery, not a count. What is outside the time that
//! is asked for is not gone over (`times`).

pub mod deliveries;
pub mod events;
#[cfg(test)]
mod tests;
mod times;

use crate::{
    model::{account::AccountName, delivery::DeliveryKey, event::Seq, time::Timestamp},
    outbox::{Head, Reader, StoreError},
    policy::route::TypePattern,
};

/// Rows that one page looks at, at most.
pub const SCAN: usize = 20_000;
/// Rows that are read at once.
const CHUNK: usize = 500;

/// Which events a list is about.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Of this type; `None`: of any.
    pub event_type: Option<TypePattern>,
    /// Of this account; `None`: of any.
    pub account: Option<AccountName>,
    /// Accepted at this time or later.
    pub since: Timestamp,
    /// Accepted before this time.
    pub until: Timestamp,
}

impl Filter {
    /// Whether the list is about this event.
    pub fn takes(&self, head: &Head) -> bool {
        self.event_type.as_ref().is_none_or(|pattern| pattern.matches(&head.event_type))
            && self.account.as_ref().is_none_or(|account| *account == head.account)
            && self.since <= head.accepted_at
            && head.accepted_at < self.until
    }

    /// The place before which the list begins that is asked for from the one before `before` on.
    fn begin(&self, reader: &Reader, before: Option<DeliveryKey>) -> Result<Option<DeliveryKey>, StoreError> {
        let too_new = times::too_new(reader, self.until)?.map(|seq| DeliveryKey { seq, slot: 0 });
        Ok(before.into_iter().chain(too_new).min())
    }

    /// Whether the list is at its end before the event `seq`.
    fn ends(&self, reader: &Reader, seq: Seq, head: &Head) -> Result<bool, StoreError> {
        times::too_old(reader, seq, head.accepted_at, self.since)
    }
}
