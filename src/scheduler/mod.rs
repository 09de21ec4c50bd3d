//! Stage 3: when and in which order. Which attempt starts next is decided here and nowhere else.
//!
//! A pending delivery's key is in one of four places: in a [`wheel`] until it is due, then in the lane of its endpoint,
//! then in flight; or on disk, while there is no room for it in memory (`room`). Lanes take turns, each within a window
//! of open requests that grows with success and falls to one with a failure, all within `in_flight` requests together,
//! of which lanes in doubt (whose last attempt failed) may hold half. So one endpoint with a million due keys costs the
//! others nothing, and forty dead ones leave half of the pool to the living.
//!
//! Endpoints that answer well but slowly could still fill the rest with their windows. So a lane opens another
//! request only while more places are free than it has requests open; one with nothing open may have any free
//! place. Nothing of this is tuned: a greedy lane alone takes half of the pool at most, forty of them in a pool of
//! 512 settle at 12 or 13 each, and the last dozen places stay free for lanes that have none.
//!
//! Sans-io: no clock, no I/O, no luck; the time is an argument, and the same calls give the same starts. What the store
//! says holds, and after a crash all of this is filled from it. Keys are held, never payloads: 16 bytes in a wheel, 8 in
//! a lane. Nothing here fails.

mod key;
mod lane;
mod pieces;
mod room;
mod turns;
pub mod wheel;

use std::{collections::HashMap, mem};

use crate::model::{
    delivery::{DeliveryKey, Load, Scheduled},
    endpoint::EndpointNumber,
    numbers::BuildNumberHasher,
    time::{Minute, Timestamp},
};

pub use crate::policy::decide::Verdict;
use key::PackedKey;
use lane::{Lane, Standing};
use room::{Place, Room};
use turns::Turns;
use wheel::{Timer, Wheel};

/// The concurrency of a lane that [`Scheduler::set_lane`] has not named.
const UNKNOWN_CONCURRENCY: u16 = 1;

const MADE: &str = "a lane stays once it is made";

/// When and in which order attempts start.
///
/// The order of calls, after any change of the outside world:
///
/// 1. Say what time it is: [`handle_timeout`](Self::handle_timeout). A call too many does no harm.
/// 2. Say what happened: [`handle_scheduled`](Self::handle_scheduled) for keys that are to be attempted,
///    [`handle_finished`](Self::handle_finished) for attempts that ended (and then `handle_scheduled` for their
///    next), [`set_lane`](Self::set_lane) and [`hold`](Self::hold) for what became of endpoints,
///    [`handle_parked`](Self::handle_parked) and [`handle_loaded`](Self::handle_loaded) for what became of keys on
///    disk.
/// 3. Call [`poll_start`](Self::poll_start) until it gives `None`, and begin each attempt that it gives. Each must
///    come back by `handle_finished`, also when it turns out that there is nothing to attempt: look at the
///    delivery's row first, for the scheduler knows of no cancelling.
/// 4. Take the keys of [`poll_park`](Self::poll_park) and write them to disk, and begin the loads of
///    [`poll_load`](Self::poll_load), each until they give `None`.
/// 5. Ask [`poll_timeout`](Self::poll_timeout) when to come again if nothing happens before.
#[derive(Debug)]
pub struct Scheduler {
    /// What was loaded before its time.
    near: Wheel,
    /// All other timers.
    far: Wheel,
    room: Room,
    /// Keys to be written to disk.
    to_park: Vec<Scheduled>,
    /// Never iterated for a decision: the order of a hash map is no one's.
    lanes: HashMap<EndpointNumber, Lane, BuildNumberHasher>,
    turns: Turns,
    in_flight: HashMap<PackedKey, EndpointNumber, BuildNumberHasher>,
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
    /// half, but always one; at most `keys` keys in memory, and two more for each lane.
    pub fn new(in_flight: usize, keys: usize, now: Timestamp) -> Self {
        let limit = in_flight.max(1);
        Self {
            near: Wheel::new(now),
            far: Wheel::new(now),
            room: Room::new(keys, now),
            to_park: Vec::new(),
            lanes: HashMap::default(),
            turns: Turns::default(),
            in_flight: HashMap::default(),
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
        let Self { lanes, room, .. } = self;
        let keys = &mut lanes.entry(lane).or_insert_with(|| Lane::new(UNKNOWN_CONCURRENCY)).keys;
        match room.admit(keys, due, now) {
            Place::Near => self.put_near(Scheduled { key, endpoint: lane, due }, now),
            Place::Far => self.far.insert(due, Timer { key, lane }),
            Place::Disk => self.to_park.push(Scheduled { key, endpoint: lane, due }),
        }
    }

    /// Moves what is due by `now` into its lanes. Times before that of an earlier call change nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        // Tick by tick, so that near and far timers come into their lanes in the order of their times.
        while let Some(at) = self.next_timer().filter(|at| *at < now) {
            self.fire(at);
        }
        self.fire(now);
        self.room.advance(now);
        while let Some(number) = self.room.opened() {
            self.change(number, |_| ());
        }
    }

    /// Takes in that keys of a lane are on disk, of which the first is due in `minute`.
    pub fn handle_parked(&mut self, lane: EndpointNumber, minute: Minute) {
        self.change(lane, |lane| Room::parked(&mut lane.keys, minute));
    }

    /// Takes in the end of a load: the keys that have been taken from the disk, and in which minute the first of those
    /// is due that are there still.
    pub fn handle_loaded(
        &mut self,
        lane: EndpointNumber,
        found: &[Scheduled],
        next: Option<Minute>,
        now: Timestamp,
    ) {
        let keys = &mut self.lanes.get_mut(&lane).expect(MADE).keys;
        self.room.loaded(keys, found.len(), next);
        for one in found {
            self.put_near(*one, now);
        }
        self.change(lane, |_| ());
    }

    /// Keys to write to disk, for which there is no room in memory; `None`: there are none. They are the caller's until
    /// [`handle_parked`](Self::handle_parked) says that they are there.
    pub fn poll_park(&mut self) -> Option<Vec<Scheduled>> {
        (!self.to_park.is_empty()).then(|| mem::take(&mut self.to_park))
    }

    /// A load to begin; it must come back by [`handle_loaded`](Self::handle_loaded). `None`: nothing on disk has both
    /// its minute and room.
    pub fn poll_load(&mut self) -> Option<Load> {
        let load = self.room.next_load()?;
        let lane = self.lanes.get_mut(&load.lane).expect(MADE);
        self.room.begin_load(&mut lane.keys, load);
        self.change(load.lane, |_| ());
        Some(load)
    }

    /// The next attempt to begin; it is in flight from now on. `None`: nothing is due that has a place. The cost
    /// does not depend on how many keys or lanes wait.
    pub fn poll_start(&mut self) -> Option<Start> {
        let free = self.limit - self.in_flight.len();
        if free == 0 {
            return None;
        }
        while let Some(turn) = self.turns.next(free, self.doubtful_places < self.doubtful_limit) {
            let lane = self.lanes.get_mut(&turn.lane).expect(MADE);
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

    /// When to call [`handle_timeout`](Self::handle_timeout) next: exactly when the next timer fires, or keys on disk
    /// may be loaded. `None`: there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.next_timer().into_iter().chain(self.room.next_open()).min()
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

    /// How many keys in memory are not due yet.
    pub const fn scheduled(&self) -> usize {
        self.near.len() + self.far.len()
    }

    /// How many keys are due and wait, in all lanes; counted over the lanes, so for status pages only.
    pub fn queued(&self) -> usize {
        self.lanes.values().map(|lane| lane.status().queued).sum()
    }

    fn next_timer(&self) -> Option<Timestamp> {
        self.near.next_due().into_iter().chain(self.far.next_due()).min()
    }

    /// Moves what is due by `now` from the wheels into its lanes; of far keys those for which there is room.
    fn fire(&mut self, now: Timestamp) {
        let Self { near, far, lanes, turns, room, to_park, .. } = self;
        near.advance(now, &mut |_, timer| {
            let lane = lanes.get_mut(&timer.lane).expect(MADE);
            lane.push(timer.key.into());
            turns.join(timer.lane, lane);
        });
        far.advance(now, &mut |due, timer| {
            let lane = lanes.get_mut(&timer.lane).expect(MADE);
            room.leave_far(&mut lane.keys);
            if room.admit(&mut lane.keys, due, now) == Place::Near {
                lane.push(timer.key.into());
                turns.join(timer.lane, lane);
                let held = lane.held();
                room.note(timer.lane, &mut lane.keys, held);
            } else {
                to_park.push(Scheduled { key: timer.key, endpoint: timer.lane, due });
            }
        });
    }

    /// Puts a near key, which is counted, where it belongs.
    fn put_near(&mut self, one: Scheduled, now: Timestamp) {
        if one.due <= now {
            self.change(one.endpoint, |lane| lane.push(one.key.into()));
        } else {
            self.near.insert(one.due, Timer { key: one.key, lane: one.endpoint });
            self.change(one.endpoint, |_| ());
        }
    }

    /// Changes a lane, making it if need be; keeps the sum of doubtful places, the rotation and the room true to it.
    fn change(&mut self, number: EndpointNumber, change: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(number).or_insert_with(|| Lane::new(UNKNOWN_CONCURRENCY));
        let before = lane.doubtful_places();
        change(lane);
        self.doubtful_places = self.doubtful_places - before + lane.doubtful_places();
        self.turns.note(number, lane);
        let held = lane.held();
        self.room.note(number, &mut lane.keys, held);
    }

    /// The lane's next key, if it may start one. A key that is in flight was scheduled twice; its attempt says what
    /// follows, so it is dropped.
    fn take_key(&mut self, number: EndpointNumber) -> Option<PackedKey> {
        let lane = self.lanes.get_mut(&number).filter(|lane| lane.may_start())?;
        while let Some(key) = lane.pop() {
            self.room.leave(&mut lane.keys, 1);
            if !self.in_flight.contains_key(&key) {
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
