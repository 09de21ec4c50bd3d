//! Stage 3: when and in which order. Which attempt starts next is decided here and nowhere else.
//!
//! A pending delivery's key is in one of three places: in the [`wheel`] until it is due, then in the lane of its
//! endpoint, then in flight. Lanes take turns, each within a window of open requests that grows with success and
//! falls to one with a failure, all within `in_flight` requests together, of which lanes in doubt (whose last
//! attempt failed) may hold half. So one endpoint with a million due keys costs the others nothing, and forty dead
//! ones leave half of the pool to the living.
//!
//! Endpoints that answer well but slowly could still fill the rest with their windows. So a lane opens another
//! request only while more places are free than it has requests open; one with nothing open may have any free
//! place. Nothing of this is tuned: a greedy lane alone takes half of the pool at most, forty of them in a pool of
//! 512 settle at 12 or 13 each, and the last dozen places stay free for lanes that have none.
//!
//! Sans-io: no clock, no I/O, no luck; the time is an argument, and the same calls give the same starts. Memory
//! only: what the store says holds, and after a crash all of this is filled from it. Keys are held, never payloads:
//! 16 bytes in the wheel, 8 in a lane. Nothing here fails; how many keys there may be is the caller's to bound.

mod key;
mod lane;
mod turns;
pub mod wheel;

use std::collections::HashMap;

use crate::model::{delivery::DeliveryKey, endpoint::EndpointNumber, time::Timestamp};

pub use crate::policy::decide::Verdict;
use key::PackedKey;
use lane::{Lane, Standing};
use turns::Turns;
use wheel::{Timer, Wheel};

/// The concurrency of a lane that [`Scheduler::set_lane`] has not named.
const UNKNOWN_CONCURRENCY: u16 = 1;

/// When and in which order attempts start.
///
/// The order of calls, after any change of the outside world:
///
/// 1. Say what happened: [`handle_scheduled`](Self::handle_scheduled) for keys that are to be attempted,
///    [`handle_finished`](Self::handle_finished) for attempts that ended (and then `handle_scheduled` for their
///    next), [`set_lane`](Self::set_lane) and [`hold`](Self::hold) for what became of endpoints,
///    [`handle_timeout`](Self::handle_timeout) when the time of `poll_timeout` has come. A call of `handle_timeout`
///    too many does no harm.
/// 2. Call [`poll_start`](Self::poll_start) until it gives `None`, and begin each attempt that it gives. Each must
///    come back by `handle_finished`, also when it turns out that there is nothing to attempt: look at the
///    delivery's row first, for the scheduler knows of no cancelling.
/// 3. Ask [`poll_timeout`](Self::poll_timeout) when to come again if nothing happens before.
#[derive(Debug)]
pub struct Scheduler {
    wheel: Wheel,
    /// Never iterated for a decision: the order of a hash map is no one's.
    lanes: HashMap<EndpointNumber, Lane>,
    turns: Turns,
    in_flight: HashMap<PackedKey, EndpointNumber>,
    /// How many may be in flight.
    limit: usize,
    /// How many of them lanes in doubt may start.
    doubtful_limit: usize,
    /// How many of them lanes in doubt have: the sum of [`Lane::doubtful_places`].
    doubtful_places: usize,
}

/// An attempt to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// Of which delivery.
    pub key: DeliveryKey,
    /// In which lane.
    pub lane: EndpointNumber,
}

/// What there is to say of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// How many due keys wait in it.
    pub queued: usize,
    /// How many requests it has open.
    pub in_flight: usize,
    /// How many it may have open; less than it has after a failure.
    pub window: u16,
    /// Whether it is held: nothing starts.
    pub held: bool,
}

impl Scheduler {
    /// An empty scheduler: at most `in_flight` attempts (0 counts as 1) at once, of which lanes in doubt may hold
    /// half, but always one.
    pub fn new(in_flight: usize, now: Timestamp) -> Self {
        let limit = in_flight.max(1);
        Self {
            wheel: Wheel::new(now),
            lanes: HashMap::new(),
            turns: Turns::default(),
            in_flight: HashMap::new(),
            limit,
            doubtful_limit: (limit / 2).max(1),
            doubtful_places: 0,
        }
    }

    /// Makes a lane, or changes how many requests it may have open at once (0 counts as 1). A lane's window starts
    /// at 2 and is widened by successes alone; until its first failure a lane counts as fine.
    pub fn set_lane(&mut self, lane: EndpointNumber, concurrency: u16) {
        self.lanes.entry(lane).or_insert_with(|| Lane::new(concurrency));
        self.change(lane, |lane| lane.set_concurrency(concurrency));
    }

    /// Holds a lane, or lets it go on. What is held stays and gathers; what is in flight goes on. A lane not known
    /// is made, so that one can be held before its first key.
    pub fn hold(&mut self, lane: EndpointNumber, held: bool) {
        self.change(lane, |lane| lane.hold(held));
    }

    /// Takes in a key that is to be attempted at `due`, or at once when that is not after `now`.
    ///
    /// A lane not known is made, for one request at a time and not held: no key is lost, and none waits for a word
    /// that nobody will say; who begins the attempt looks at the endpoint anyway.
    /// A key in flight is its attempt's until `handle_finished`: to schedule it before is the caller's mistake. A
    /// key scheduled twice starts twice, one after the other, or once, if its second turn comes during its first
    /// attempt.
    pub fn handle_scheduled(
        &mut self,
        key: DeliveryKey,
        lane: EndpointNumber,
        due: Timestamp,
        now: Timestamp,
    ) {
        debug_assert!(!self.is_in_flight(key), "{key:?} is in flight: its attempt says what follows");
        if due <= now {
            self.change(lane, |lane| lane.push(key.into()));
        } else {
            self.wheel.insert(due, Timer { key, lane });
        }
    }

    /// Moves what is due by `now` into its lanes. Times before that of an earlier call change nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let Self { wheel, lanes, turns, .. } = self;
        wheel.advance(now, &mut |timer: Timer| {
            let lane = lanes.entry(timer.lane).or_insert_with(|| Lane::new(UNKNOWN_CONCURRENCY));
            lane.push(timer.key.into());
            turns.join(timer.lane, lane);
        });
    }

    /// The next attempt to begin; it is in flight from now on. `None`: nothing is due that has a place. The cost
    /// does not depend on how many keys or lanes wait.
    pub fn poll_start(&mut self) -> Option<Start> {
        let free = self.limit - self.in_flight.len();
        if free == 0 {
            return None;
        }
        while let Some(turn) = self.turns.next(free, self.doubtful_places < self.doubtful_limit) {
            let lane = self.lanes.get_mut(&turn.lane).expect("a lane stays once it is made");
            lane.standing = Standing::Nowhere;
            let as_it_stood = lane.in_doubt() == turn.doubtful;
            if as_it_stood && lane.may_start() && !lane.fits(free) {
                self.turns.set_aside(turn, lane);
                continue;
            }
            // A lane that failed since it joined stands in the wrong queue: it goes to the other, last.
            let key = if as_it_stood { self.take_key(turn.lane) } else { None };
            if let Some(key) = key {
                self.in_flight.insert(key, turn.lane);
                self.change(turn.lane, Lane::start);
                return Some(Start { key: key.into(), lane: turn.lane });
            }
            self.change(turn.lane, |_| ());
        }
        None
    }

    /// Takes in that an attempt ended: its place is free, its lane learns from the verdict.
    pub fn handle_finished(&mut self, key: DeliveryKey, verdict: Verdict) {
        let Some(lane) = self.in_flight.remove(&key.into()) else {
            debug_assert!(false, "{key:?} is not in flight: only what poll_start gave can finish");
            return;
        };
        self.change(lane, |lane| lane.finish(verdict));
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next: exactly when the next timer fires. `None`: there
    /// is no timer.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.wheel.next_due()
    }

    /// Whether an attempt of this delivery is under way.
    pub fn is_in_flight(&self, key: DeliveryKey) -> bool {
        self.in_flight.contains_key(&key.into())
    }

    /// How many attempts are under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What there is to say of a lane; `None` if there is none of that number.
    pub fn lane(&self, lane: EndpointNumber) -> Option<LaneStatus> {
        self.lanes.get(&lane).map(Lane::status)
    }

    /// How many keys are not due yet.
    pub const fn scheduled(&self) -> usize {
        self.wheel.len()
    }

    /// How many keys are due and wait, in all lanes; counted over the lanes, so for status pages only.
    pub fn queued(&self) -> usize {
        self.lanes.values().map(|lane| lane.status().queued).sum()
    }

    /// Changes a lane, making it if need be; keeps the sum of doubtful places and the rotation true to it.
    fn change(&mut self, number: EndpointNumber, change: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(number).or_insert_with(|| Lane::new(UNKNOWN_CONCURRENCY));
        let before = lane.doubtful_places();
        change(lane);
        self.doubtful_places = self.doubtful_places - before + lane.doubtful_places();
        self.turns.note(number, lane);
    }

    /// The lane's next key, if it may start one. A key that is in flight was scheduled twice; its attempt says what
    /// follows, so it is dropped.
    fn take_key(&mut self, number: EndpointNumber) -> Option<PackedKey> {
        let lane = self.lanes.get_mut(&number).filter(|lane| lane.may_start())?;
        while let Some(key) = lane.pop() {
            if !self.in_flight.contains_key(&key) {
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
