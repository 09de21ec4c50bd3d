//! What the engine does when the wall clock is set: due times need nothing, for they are on the schedule's time.
//!
//! While the clock is unset, attempts wait that sign their time: no receiver would believe them. How the clocks stand is
//! written to the store at a step, and with what is written anyway once a minute, so that the next start goes on there.

use std::time::Duration;

use super::{Command, Engine, Handle, Target};
use crate::{
    clock::Clock,
    logging::Kind,
    model::time::{Mark, Timestamp},
    scheduler::Hold,
};

/// How old the mark in the store may grow while commits happen.
const MARK_AGE: Duration = Duration::from_secs(60);
/// Less is no step, but the clock being steered: milliseconds.
const STEP: u64 = 100;
/// A step of so much is worth a line: milliseconds.
const TELL: u64 = 1000;

/// How the wall clock stands, as far as the engine has taken it in.
pub(super) struct Timeline {
    /// Attempts that sign their time wait while it is unset.
    require: bool,
    unset: bool,
    /// What the store has, or gets with the next commit.
    marked: Mark,
}

impl Timeline {
    pub(super) fn new(clock: Clock, require: bool) -> Self {
        let marked = clock.mark();
        Self { require, unset: marked.is_unset(), marked }
    }

    /// Has attempts that sign their time wait while it is unset, or not; lanes are to be looked at after it.
    pub(super) const fn set_require(&mut self, require: bool) {
        self.require = require;
    }

    /// Whether attempts to `target` wait for the clock.
    pub(super) fn holds(&self, target: &Target) -> bool {
        self.require && self.unset && target.signs_time()
    }
}

/// Has the engine look at the clock whenever that may stand otherwise, and once at first.
pub(super) async fn watch(clock: Clock, engine: Handle) {
    let mut steps = clock.steps();
    while engine.0.send(Command::Clock).is_ok() {
        steps.next().await;
    }
}

impl Engine {
    /// Looks at the wall clock.
    pub(super) fn mind_clock(&mut self) {
        let mark = self.around.clock.mark();
        let step = mark.ahead().saturating_sub(self.timeline.marked.ahead());
        if step.unsigned_abs() >= STEP {
            if step.unsigned_abs() >= TELL {
                let (clock, seconds) = (mark.wall, step / 1000);
                tracing::info!(kind = Kind::ClockStepped.word(), %clock, seconds, "the clock was set; due times have moved along");
            }
            self.timeline.marked = mark;
            self.around.outbox.mark(mark, true);
        }
        if mark.is_unset() != self.timeline.unset {
            self.timeline.unset = mark.is_unset();
            self.say_clock(&mark);
            for target in self.directory.all() {
                self.hold_for_clock(&target);
            }
        }
    }

    /// Holds the lane of `target`, or lets it go, as the clock stands.
    pub(super) fn hold_for_clock(&mut self, target: &Target) {
        self.scheduler.hold(target.number, Hold::Clock, self.timeline.holds(target));
    }

    /// Says how the clock stands where that is worth a line.
    pub(super) fn say_clock(&self, mark: &Mark) {
        let held =
            if self.timeline.require { "attempts that sign their time wait" } else { "attempts go on" };
        if mark.is_unset() {
            let (clock, known) = (mark.wall, mark.greatest.max(Timestamp::RELEASED));
            tracing::warn!(kind = Kind::ClockUnset.word(), %clock, %known, "the clock is not set: it is before a time that was known already; {held}");
        } else {
            tracing::info!(kind = Kind::ClockSet.word(), clock = %mark.wall, "the clock is set");
        }
    }

    /// Has the mark go with the next commit when it is old; `now` is the schedule's time.
    pub(super) fn keep_mark(&mut self, now: Timestamp) {
        if now.since(self.timeline.marked.schedule) >= MARK_AGE {
            self.timeline.marked = self.around.clock.mark();
            self.around.outbox.mark(self.timeline.marked, false);
        }
    }

    /// Says at the start if the clock is not set.
    pub(super) fn begin_clock(&self) {
        if self.timeline.unset {
            self.say_clock(&self.timeline.marked);
        }
    }
}
