//! A lane: what is due for one endpoint, and how many requests may be open to it.
//!
//! Due keys wait in the order in which they became due, eight bytes each; room that a burst needed is given back
//! as the burst drains. The *window* is how many requests may be open at once. It starts at
//! [`FIRST_WINDOW`], a success adds one up to the profile's concurrency, and a failure makes it one: a lane whose
//! last attempt failed is *in doubt* and holds one request until an attempt succeeds. (Requests opened before the
//! failure are not recalled; they count as the lane's all the same.) So while its circuit is open, which only a failure
//! opens and any success closes, its window is one: a probe is alone.

use std::collections::VecDeque;

use super::{
    Hold, LaneRules, LaneStatus, Pause, Verdict, brake::Brake, key::PackedKey, room::Keys, turns::Way,
};
use crate::model::time::Timestamp;

/// How many requests a lane that was never tried may open, if its concurrency allows as many.
pub(super) const FIRST_WINDOW: u16 = 2;
/// Below this many places a queue's memory is not worth giving back.
const KEPT_ROOM: usize = 64;

/// One endpoint's due keys and window.
#[derive(Debug)]
pub(super) struct Lane {
    due: VecDeque<PackedKey>,
    in_flight: usize,
    /// Never 0, never above `concurrency`, and 1 while in doubt.
    window: u16,
    concurrency: u16,
    /// The last success or failure; `None`: it was never tried.
    last: Option<Verdict>,
    /// Why it is held, a bit for each reason.
    holds: u8,
    /// Nothing of it starts: its keys are taken out otherwise.
    joining: bool,
    brake: Option<Brake>,
    /// How its requests go; who changes this takes it out of [`super::turns::Turns`] before.
    pub(super) way: Way,
    /// Nothing new comes for it: it goes with its last key.
    pub(super) retired: bool,
    /// Until when its brake keeps it from starting; [`super::pauses::Pauses`] alone sets this.
    pub(super) paused: Option<Timestamp>,
    /// Its keys in memory and on disk, as [`super::room::Room`] counts them.
    pub(super) keys: Keys,
    /// Where it stands in [`super::turns::Turns`], which alone sets this: so it stands there at most once.
    pub(super) standing: Standing,
}

/// Where a lane stands in the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In none of its queues.
    Nowhere,
    /// In one of the queues.
    Queued,
    /// Set aside until there are more free places.
    Aside {
        /// How many requests it has open.
        open: usize,
        /// Its ticket from the queue.
        ticket: u64,
    },
}

impl Lane {
    /// An empty lane that was never tried and has no brake; a concurrency of 0 counts as 1.
    pub(super) fn new(concurrency: u16) -> Self {
        let concurrency = concurrency.max(1);
        Self {
            due: VecDeque::new(),
            in_flight: 0,
            window: FIRST_WINDOW.min(concurrency),
            concurrency,
            last: None,
            holds: 0,
            joining: false,
            brake: None,
            way: Way::Direct,
            retired: false,
            paused: None,
            keys: Keys::default(),
            standing: Standing::Nowhere,
        }
    }

    /// The lane of those that join their order.
    pub(super) fn joining() -> Self {
        Self { joining: true, ..Self::new(1) }
    }

    /// Changes its rules. The window shrinks to the concurrency at once, and grows to it by successes; a lane never
    /// tried is as if made with it. A circuit stays as it is if there still is one.
    pub(super) fn set(&mut self, rules: &LaneRules, now: Timestamp) {
        self.concurrency = rules.concurrency.max(1);
        let window = if self.last.is_none() { FIRST_WINDOW } else { self.window };
        self.window = window.min(self.concurrency);
        self.brake = Brake::new(rules, self.brake.take(), now);
    }

    /// Holds the lane for a reason (nothing starts, keys stay), or takes this reason back.
    pub(super) fn hold(&mut self, reason: Hold, held: bool) {
        if held {
            self.holds |= reason.bit();
        } else {
            self.holds &= !reason.bit();
        }
    }

    /// Whether it may go: nothing new comes for it, and nothing of the scheduler's leads to it.
    pub(super) fn is_over(&self) -> bool {
        self.retired && self.in_flight == 0 && self.keys.is_empty() && self.standing == Standing::Nowhere
    }

    /// Whether it is held.
    pub(super) const fn held(&self) -> bool {
        self.holds != 0
    }

    /// Takes a due key in, last.
    pub(super) fn push(&mut self, key: PackedKey) {
        self.due.push_back(key);
    }

    /// Takes the key out that has been due longest.
    pub(super) fn pop(&mut self) -> Option<PackedKey> {
        let key = self.due.pop_front();
        let room = self.due.capacity();
        // Halved at a quarter full: each key that is moved was paid for by one that left.
        if room > KEPT_ROOM && self.due.len() < room / 4 {
            self.due.shrink_to(room / 2);
        }
        key
    }

    /// Opens a request.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.in_flight += 1;
        if let Some(brake) = &mut self.brake {
            brake.start(now);
        }
    }

    /// Closes a request, and learns from what came of it; `chance` draws the jitter of a probe's interval.
    pub(super) fn finish(&mut self, verdict: Verdict, chance: f64, now: Timestamp) {
        self.in_flight = self.in_flight.checked_sub(1).expect("only what was started finishes");
        if let Some(brake) = &mut self.brake {
            brake.finish(verdict, chance, now);
        }
        match verdict {
            Verdict::Failure | Verdict::Rejected => self.window = 1,
            Verdict::Neutral | Verdict::Nothing => return,
            Verdict::Success => self.window = self.window.saturating_add(1).min(self.concurrency),
        }
        self.last = Some(verdict);
    }

    /// Forgets what attempts have said of its endpoint, which has become another or is well again.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.window = FIRST_WINDOW.min(self.concurrency);
        if let Some(brake) = &mut self.brake {
            brake.forget();
        }
    }

    /// Whether it has a due key and a free place, is not held, and its brake lets go.
    pub(super) fn may_start(&self) -> bool {
        self.paused.is_none() && self.has_place()
    }

    /// The same, its brake aside.
    fn has_place(&self) -> bool {
        !self.joining && !self.held() && !self.due.is_empty() && self.in_flight < usize::from(self.window)
    }

    /// Until when its brake alone keeps it from starting; `None`: not at all.
    pub(super) fn brake_until(&self, now: Timestamp) -> Option<Timestamp> {
        let brake = self.brake.as_ref()?;
        Some(brake.next()).filter(|next| *next > now && self.has_place())
    }

    /// Whether its circuit is open: what starts is a probe.
    pub(super) fn is_open(&self) -> bool {
        self.brake.as_ref().is_some_and(|brake| brake.open().is_some())
    }

    /// Whether `free` places of the pool are enough for one more request of it: more than it has open already. So
    /// a lane leaves free at least as many places as it holds, and one with nothing open may have the last.
    pub(super) const fn fits(&self, free: usize) -> bool {
        fits(self.in_flight, free)
    }

    /// Whether its last attempt failed; a lane never tried is not in doubt.
    pub(super) const fn in_doubt(&self) -> bool {
        matches!(self.last, Some(Verdict::Failure | Verdict::Rejected))
    }

    /// How many requests it has open.
    pub(super) const fn open(&self) -> usize {
        self.in_flight
    }

    /// How many requests it has open while in doubt; 0 when it is not.
    pub(super) const fn doubtful_places(&self) -> usize {
        if self.in_doubt() { self.in_flight } else { 0 }
    }

    /// What status pages say of it, but for what is on disk.
    pub(super) fn status(&self) -> LaneStatus {
        let circuit = self.brake.as_ref().and_then(Brake::open);
        let pause = match Hold::ALL.into_iter().find(|reason| self.holds & reason.bit() != 0) {
            Some(reason) => Some(Pause::Held(reason)),
            None if circuit.is_some() => Some(Pause::Circuit),
            None => self.paused.map(|_| Pause::Rate),
        };
        let (queued, in_flight, window) = (self.due.len(), self.in_flight, self.window);
        LaneStatus { queued, in_flight, window, pause, circuit, behind: false }
    }
}

/// [`Lane::fits`] of a lane with `open` requests.
pub(super) const fn fits(open: usize, free: usize) -> bool {
    open < free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{delivery::DeliveryKey, event::Seq};

    const NOW: Timestamp = Timestamp::RELEASED;

    fn key(seq: u64) -> PackedKey {
        DeliveryKey { seq: Seq::new(seq), slot: 0 }.into()
    }

    #[test]
    fn the_window_follows_the_verdicts() {
        use Verdict::{Failure, Neutral, Nothing, Rejected, Success};
        let cases: [(u16, &[Verdict], u16, bool); 11] = [
            (0, &[], 1, false),
            (1, &[], 1, false),
            (1, &[Success, Success], 1, false),
            (16, &[], 2, false),
            (16, &[Neutral, Nothing], 2, false),
            (16, &[Success, Rejected, Nothing], 1, true),
            (16, &[Success, Success, Success], 5, false),
            (4, &[Success; 9], 4, false),
            (16, &[Success, Failure], 1, true),
            (16, &[Failure, Neutral], 1, true),
            (16, &[Success, Failure, Failure, Success], 2, false),
        ];
        for (concurrency, verdicts, window, in_doubt) in cases {
            let mut lane = Lane::new(concurrency);
            for verdict in verdicts {
                lane.start(NOW);
                lane.finish(*verdict, 0.0, NOW);
            }
            let state = (lane.status().window, lane.in_doubt(), lane.status().in_flight);
            assert_eq!(state, (window, in_doubt, 0), "{concurrency} {verdicts:?}");
        }
    }

    #[test]
    fn a_change_of_concurrency_cuts_the_window_and_does_not_widen_it() {
        let mut lane = Lane::new(1);
        lane.set(&LaneRules::plain(16), NOW);
        assert_eq!(lane.status().window, FIRST_WINDOW, "never tried, it is as if new");
        for _ in 0..9 {
            lane.start(NOW);
            lane.finish(Verdict::Success, 0.0, NOW);
        }
        for (concurrency, window) in [(16, 11), (4, 4), (16, 4), (0, 1)] {
            lane.set(&LaneRules::plain(concurrency), NOW);
            assert_eq!(lane.status().window, window, "at {concurrency}");
        }
    }

    #[test]
    fn it_may_start_with_a_key_and_a_place_and_unheld() {
        let mut lane = Lane::new(1);
        assert!(!lane.may_start(), "nothing is due");
        lane.push(key(1));
        assert!(lane.may_start());
        lane.hold(Hold::Disabled, true);
        lane.hold(Hold::Clock, true);
        lane.hold(Hold::Disabled, false);
        assert!(!lane.may_start(), "held for the other reason");
        lane.hold(Hold::Clock, false);
        lane.start(NOW);
        assert!(!lane.may_start(), "no place");
        lane.finish(Verdict::Neutral, 0.0, NOW);
        assert!(lane.may_start());
    }

    #[test]
    fn keys_leave_in_their_order_and_their_room_goes_back() {
        let mut lane = Lane::new(1);
        (0..100_000).for_each(|seq| lane.push(key(seq)));
        for seq in 0..100_000 {
            assert_eq!(lane.pop(), Some(key(seq)));
            let (room, left) = (lane.due.capacity(), lane.due.len());
            assert!(room <= KEPT_ROOM.max(4 * (left + 1)), "{room} places for {left} keys");
        }
        assert_eq!(lane.pop(), None);
    }
}
