//! How an endpoint stands, as far as the engine has heard: what attempts are decided by.
//!
//! It is ahead of the disk by the outcomes on their way there, and behind it by the changes that the engine is still to be
//! told of. What was counted before a change that sets the count to 0 is told apart by `resets`: the store does not take
//! it, and nor does the directory.

use crate::{
    model::{
        endpoint::{Disabled, Endpoint},
        time::Timestamp,
    },
    outbox::Count,
    policy::decide::Decision,
};

/// How an endpoint stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Attempts without success in a row.
    pub(super) consecutive_failures: u32,
    resets: u32,
    /// Nothing disables where callbacks go.
    is_origin: bool,
    /// It is disabled, or will be when an outcome is durable.
    disabled: Option<Disabled>,
    /// What outcomes have made of it is on disk.
    durable: bool,
}

impl Standing {
    /// As the store has it.
    pub(super) fn of(stored: &Endpoint) -> Self {
        Self {
            consecutive_failures: stored.consecutive_failures,
            resets: stored.resets,
            is_origin: stored.origin().is_some(),
            disabled: stored.disabled,
            durable: true,
        }
    }

    /// Whether what is due waits.
    pub(super) const fn is_disabled(&self) -> bool {
        self.disabled.is_some()
    }

    /// Takes in what was decided at this time; says what is to be written of it, if anything is.
    pub(super) fn decided(&mut self, decision: &Decision, at: Timestamp) -> Option<Count> {
        // What is disabled stays so for its first reason.
        let reason = decision.disable.filter(|_| self.disabled.is_none() && !self.is_origin);
        let disable = reason.map(|reason| Disabled { reason, since: at });
        let changed = decision.consecutive_failures != self.consecutive_failures;
        self.consecutive_failures = decision.consecutive_failures;
        if disable.is_some() {
            (self.disabled, self.durable) = (disable, false);
        }
        let consecutive_failures = self.consecutive_failures;
        let count = Count { consecutive_failures, disable, resets: self.resets };
        (changed || disable.is_some()).then_some(count)
    }

    /// Takes in that this count is on disk, or cannot be written; says whether it has disabled the endpoint, which no
    /// change has enabled since.
    pub(super) fn settled(&mut self, count: &Count, written: bool) -> bool {
        if count.disable.is_none() || count.resets != self.resets {
            return false;
        }
        self.durable = true;
        if !written {
            self.disabled = None;
        }
        written
    }

    /// Whether its endpoint has been enabled, or has a new URL, since it was looked at last.
    pub(super) const fn is_reset(&self, stored: &Endpoint) -> bool {
        stored.resets != self.resets
    }

    /// Takes in that its endpoint has been changed, to this; says what has been made of it by outcomes that are on disk,
    /// and that the change did not know of.
    pub(super) fn changed(&mut self, stored: &Endpoint) -> Option<Disabled> {
        if self.is_reset(stored) {
            // What the store has counted since, it has counted from what is known here.
            *self = Self { consecutive_failures: 0, ..Self::of(stored) };
            return None;
        }
        if stored.disabled.is_some() {
            (self.disabled, self.durable) = (stored.disabled, true);
            return None;
        }
        self.disabled.filter(|_| self.durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            account::AccountName,
            delivery::Delivery,
            endpoint::{DisableReason, EndpointNumber, Source},
        },
        policy::verdict::Verdict,
    };

    const AT: Timestamp = Timestamp::from_millis(5);
    const FAILURES: Disabled = Disabled { reason: DisableReason::Failures, since: AT };
    const OPERATOR: Disabled = Disabled { reason: DisableReason::Operator, since: Timestamp::EPOCH };

    fn stored(resets: u32, disabled: Option<Disabled>) -> Endpoint {
        Endpoint {
            account: AccountName::default(),
            source: Source::Configuration { name: "e".to_owned(), url: None },
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            revision: 0,
            disabled,
            unavailable: None,
            consecutive_failures: 4,
            resets,
            lasting: None,
            discard: None,
        }
    }

    fn decision(consecutive_failures: u32, disable: Option<DisableReason>) -> Decision {
        let delivery = Delivery::pending(EndpointNumber::new(1), AT);
        Decision { delivery, consecutive_failures, disable, verdict: Verdict::Failure }
    }

    /// An endpoint whose fifth failure has just disabled it, which is not on disk yet.
    fn disabled() -> (Standing, Count) {
        let mut standing = Standing::of(&stored(7, None));
        let count = standing.decided(&decision(5, Some(DisableReason::Failures)), AT).expect("a count");
        assert_eq!(count, Count { consecutive_failures: 5, disable: Some(FAILURES), resets: 7 });
        assert!(standing.is_disabled(), "at once");
        (standing, count)
    }

    #[test]
    fn what_has_not_changed_is_not_written() {
        let mut standing = Standing::of(&stored(7, None));
        assert_eq!(standing.decided(&decision(4, None), AT), None);
        let count = standing.decided(&decision(0, None), AT);
        assert_eq!(count, Some(Count { consecutive_failures: 0, disable: None, resets: 7 }));
        assert!(!standing.is_disabled());
    }

    #[test]
    fn nothing_disables_where_callbacks_go() {
        let origin = Source::Callback { origin: "https://a.example".into() };
        let mut standing = Standing::of(&Endpoint { source: origin, ..stored(7, None) });
        for (failures, reason) in [(5, DisableReason::Failures), (6, DisableReason::Gone)] {
            let count = standing.decided(&decision(failures, Some(reason)), AT);
            assert_eq!(count, Some(Count { consecutive_failures: failures, disable: None, resets: 7 }));
            assert!(!standing.is_disabled());
        }
    }

    #[test]
    fn the_first_reason_stands() {
        let (mut standing, first) = disabled();
        let count = standing.decided(&decision(6, Some(DisableReason::Gone)), AT).expect("a count");
        assert_eq!((count.consecutive_failures, count.disable), (6, None));
        assert!(!standing.settled(&count, true), "it has disabled nothing");
        assert!(standing.settled(&first, true));
        let count = standing.decided(&decision(0, None), AT).expect("a count");
        assert_eq!((count.consecutive_failures, count.disable), (0, None));
        assert!(standing.is_disabled(), "a late success does not enable it");
    }

    #[test]
    fn what_cannot_be_written_disables_nothing() {
        let (mut standing, count) = disabled();
        assert!(!standing.settled(&count, false));
        assert!(!standing.is_disabled());
    }

    #[test]
    fn an_enabling_outdates_what_was_counted_before() {
        let (mut standing, count) = disabled();
        assert_eq!(standing.changed(&stored(8, None)), None);
        assert_eq!((standing.is_disabled(), standing.consecutive_failures), (false, 0));
        assert!(!standing.settled(&count, true), "whether it came to the disk before or not");
        assert!(!standing.is_disabled());
        let next = standing.decided(&decision(1, None), AT).expect("a count");
        assert_eq!((next.consecutive_failures, next.resets), (1, 8));
    }

    #[test]
    fn a_change_that_does_not_enable_leaves_it_disabled() {
        let (mut standing, count) = disabled();
        assert_eq!(standing.changed(&stored(7, None)), None, "the directory hears of it when it is durable");
        assert!(standing.is_disabled());
        assert!(standing.settled(&count, true));
        assert_eq!(standing.changed(&stored(7, None)), Some(FAILURES), "the change was made without it");
        assert_eq!(standing.changed(&stored(7, Some(FAILURES))), None);
        assert_eq!(standing.changed(&stored(7, Some(OPERATOR))), None);
        assert_eq!((standing.is_disabled(), standing.consecutive_failures), (true, 5));
    }
}
