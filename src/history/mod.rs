//! Stage 5: what was, and what is: lists of events and deliveries, newest first, page by page.
//!
//! Everything here works on one [`Reader`](crate::outbox::Reader), a short read transaction: a page looks at no more
//! than [`SCAN`] rows, and ends early, with a place to go on from, where filters leave little of them. Pages stay
//! right while rows are added, because a place is an event or a delivery, not a count.

pub mod deliveries;
pub mod events;

use crate::{
    model::{account::AccountName, time::Timestamp},
    outbox::Head,
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
}
