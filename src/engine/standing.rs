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
        let reason = decision.disable.filter(|_| self.disabled.is_none());
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

    /// Takes in that its endpoint has been changed, to this; says whether outcomes have disabled it that the change did not
    /// know of.
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
