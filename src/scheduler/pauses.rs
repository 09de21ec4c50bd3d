//! The lanes that could start something but for the time: until their circuit's next probe, or their rate's next turn.
//!
//! A lane stands here at most once, and only while nothing but the time keeps it: so its end is worth a wake-up, and
//! an open circuit costs one timer, not one for each delivery that waits.

use std::collections::BTreeSet;

use super::lane::Lane;
use crate::model::{endpoint::EndpointNumber, time::Timestamp};

/// The pauses, by their end.
#[derive(Debug, Default)]
pub(super) struct Pauses(BTreeSet<(Timestamp, EndpointNumber)>);

impl Pauses {
    /// Takes note that the lane has changed, or the time.
    pub(super) fn note(&mut self, number: EndpointNumber, lane: &mut Lane, now: Timestamp) {
        let until = lane.brake_until(now);
        if until == lane.paused {
            return;
        }
        if let Some(old) = std::mem::replace(&mut lane.paused, until) {
            self.0.remove(&(old, number));
        }
        if let Some(until) = until {
            self.0.insert((until, number));
        }
    }

    /// A lane whose pause is over by `now`; it stands here until it is noted.
    pub(super) fn over(&self, now: Timestamp) -> Option<EndpointNumber> {
        self.0.first().filter(|(until, _)| *until <= now).map(|(_, lane)| *lane)
    }

    /// When the first pause ends.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(until, _)| *until)
    }
}
