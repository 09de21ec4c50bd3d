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
//! A lane may have a brake: a *circuit*, which leaves an endpoint that fails again and again in peace but for one probe
//! at growing intervals ([`crate::policy::circuit`]), and a *rate* ([`crate::policy::rate`]). What waits
//! for these waits in its lane: one pause for the lane wakes it. A circuit that closes leaves a window of two, which
//! grows as any other: so what has gathered is not let loose at once, and no more is what is overdue at a start.
//!
//! What all lanes share, the box, and what those share that go through it, the proxy, has a brake of its own
//! ([`crate::policy::outage`]): while either is down, one attempt of those that need it is made now and then, by the lane whose
//! turn it is, and the lanes' queues are not looked at.
//!
//! Of deliveries that keep an order the first of each group alone is scheduled, and the next when the store says that it
//! has ended. One that is to join its order when it is due waits in the wheel, or on disk, as any other, in a lane that no
//! endpoint has and nothing holds: what is due in it is no attempt to start and needs no place ([`Scheduler::poll_join`]).
//!
//! Sans-io: no clock, no I/O, no luck; the time is an argument, and the same calls give the same starts. What the store
//! says holds, and after a crash all of this is filled from it. Keys are held, never payloads: 16 bytes in a wheel, 8 in
//! a lane. Nothing here fails.

mod brake;
mod key;
mod lane;
mod pauses;
mod pieces;
mod room;
mod turns;
pub mod wheel;

use std::{collections::HashMap, mem};

use crate::{
    model::{
        delivery::{DeliveryKey, Load, Scheduled},
        endpoint::EndpointNumber,
        numbers::BuildNumberHasher,
        profile::{Profile, Rate},
        time::{Minute, Timestamp},
    },
    policy::{
        circuit,
        outage::{Outage, Shared, Sign, Stamp},
    },
};

pub use crate::policy::{circuit::Open, verdict::Verdict};
use key::PackedKey;
use lane::{Lane, Standing};
use pauses::Pauses;
use room::{Place, Room};
use turns::{Turns, Way};
use wheel::{Timer, Wheel};

/// The concurrency of a lane that [`Scheduler::set_lane`] has not named.
const UNKNOWN_CONCURRENCY: u16 = 1;

const MADE: &str = "a lane stays as long as it has a key";

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
/// 5. Take the keys of [`poll_join`](Self::poll_join), and have them join their order.
/// 6. Ask [`poll_timeout`](Self::poll_timeout) when to come again if nothing happens before.
#[derive(Debug)]
pub struct Scheduler {
    /// The latest time that [`Self::handle_timeout`] was told.
    now: Timestamp,
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
    pauses: Pauses,
    in_flight: HashMap<PackedKey, Flight, BuildNumberHasher>,
    /// What attempts share, in the order of [`Shared::ALL`].
    outages: [Outage; Shared::ALL.len()],
    /// How many in flight share each.
    sharing: [usize; Shared::ALL.len()],
    /// How many may be in flight.
    limit: usize,
    /// How many of them lanes in doubt may start.
    doubtful_limit: usize,
    /// How many of them lanes in doubt have: the sum of [`Lane::doubtful_places`].
    doubtful_places: usize,
}

/// An attempt that is under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    lane: EndpointNumber,
    /// How each thing was when it began that it shares with others.
    begun: [Option<Stamp>; Shared::ALL.len()],
    /// What it says of each.
    signs: [Sign; Shared::ALL.len()],
}

/// An attempt to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// Of which delivery.
    pub key: DeliveryKey,
    /// In which lane.
    pub lane: EndpointNumber,
    /// It is the probe of an open circuit, or of something shared that is down.
    pub probe: bool,
}

/// What holds for a lane.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneRules {
    /// How many requests it may have open at once; 0 counts as 1.
    pub concurrency: u16,
    /// Its circuit; `None`: it never opens.
    pub circuit: Option<circuit::Rules>,
    /// How many attempts may start; `None`: any number.
    pub rate: Option<Rate>,
    /// Its requests go through the proxy.
    pub proxied: bool,
}

impl LaneRules {
    /// Those of a profile, for requests that go to the endpoint itself.
    pub fn of(profile: &Profile) -> Self {
        let (concurrency, rate) = (profile.concurrency, profile.rate);
        Self { concurrency, circuit: circuit::Rules::of(profile), rate, proxied: false }
    }

    /// A concurrency alone.
    pub const fn plain(concurrency: u16) -> Self {
        Self { concurrency, circuit: None, rate: None, proxied: false }
    }
}

/// Why a lane is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Its endpoint is disabled, or cannot be reached by configuration.
    Disabled,
    /// The clock is not set, and what it sends says the time.
    Clock,
}

impl Hold {
    /// All reasons, the one that is to be named first at the beginning.
    const ALL: [Self; 2] = [Self::Disabled, Self::Clock];

    const fn bit(self) -> u8 {
        match self {
            Self::Disabled => 1,
            Self::Clock => 2,
        }
    }
}

/// What a lane waits for, whatever is due in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pause {
    /// The end of a hold.
    Held(Hold),
    /// Its circuit, or that of what it shares with others: the next probe, or its success.
    Circuit,
    /// Its rate's next turn.
    Rate,
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
    /// What it waits for besides a free place.
    pub pause: Option<Pause>,
    /// What there is to know of its circuit while that is open, held or not.
    pub circuit: Option<Open>,
    /// Whether due keys of it are on disk, for want of room in memory: they are not among those `queued`.
    pub behind: bool,
}

impl Scheduler {
    /// An empty scheduler: at most `in_flight` attempts (0 counts as 1) at once, of which lanes in doubt may hold
    /// half, but always one; at most `keys` keys in memory, and two more for each lane.
    pub fn new(in_flight: usize, keys: usize, now: Timestamp) -> Self {
        let limit = in_flight.max(1);
        Self {
            now,
            near: Wheel::new(now),
            far: Wheel::new(now),
            room: Room::new(keys, now),
            to_park: Vec::new(),
            lanes: [(EndpointNumber::JOINING, Lane::joining())].into_iter().collect(),
            turns: Turns::default(),
            pauses: Pauses::default(),
            in_flight: HashMap::default(),
            outages: Default::default(),
            sharing: Default::default(),
            limit,
            doubtful_limit: (limit / 2).max(1),
            doubtful_places: 0,
        }
    }

    /// Makes a lane, or changes its rules. A lane's window starts at 2 and is widened by successes alone; until its
    /// first failure a lane counts as fine, and its circuit as closed. A circuit that is open stays so under other rules,
    /// with the probe that it waits for, unless these have none.
    pub fn set_lane(&mut self, lane: EndpointNumber, rules: &LaneRules) {
        let known = self.lanes.entry(lane).or_insert_with(|| Lane::new(rules.concurrency));
        let way = if rules.proxied { Way::Proxy } else { Way::Direct };
        if known.way != way {
            self.turns.leave(lane, known);
            known.way = way;
        }
        let now = self.now;
        self.change(lane, |lane| lane.set(rules, now));
    }

    /// Forgets what attempts have said of a lane's endpoint: its circuit is closed, its window as at first, and it is not
    /// in doubt. What is in flight will still say something.
    pub fn forget(&mut self, lane: EndpointNumber) {
        if self.lanes.contains_key(&lane) {
            self.change(lane, Lane::forget);
        }
    }

    /// Lets a lane go, at once or with the last of its keys: those that still come up have ended, and nothing new comes for
    /// it. It is not held, or they would not come up.
    pub fn retire(&mut self, lane: EndpointNumber) {
        if self.lanes.contains_key(&lane) {
            self.change(lane, |lane| {
                lane.retired = true;
                for reason in Hold::ALL {
                    lane.hold(reason, false);
                }
            });
        }
    }

    /// Holds a lane for a reason, or takes this reason back; it goes on when there is none. What is held stays and
    /// gathers; what is in flight goes on. A lane not known is made, so that one can be held before its first key.
    pub fn hold(&mut self, lane: EndpointNumber, reason: Hold, held: bool) {
        self.change(lane, |lane| lane.hold(reason, held));
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

    /// Moves what is due by `now` into its lanes, and ends their pauses. Times before that of an earlier call change
    /// nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        // Tick by tick, so that near and far timers come into their lanes in the order of their times.
        while let Some(at) = self.next_timer().filter(|at| *at < now) {
            self.fire(at);
        }
        self.fire(now);
        self.room.advance(now);
        self.outages.iter_mut().for_each(|outage| outage.advance(self.limit, self.now));
        while let Some(number) = self.room.opened().or_else(|| self.pauses.over(self.now)) {
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

    /// At most `most` deliveries that are due and are to join their order, those that have been due longest; they are the
    /// caller's from now on.
    pub fn poll_join(&mut self, most: usize) -> Vec<DeliveryKey> {
        let lane = self.lanes.get_mut(&EndpointNumber::JOINING).expect(MADE);
        let keys: Vec<_> = std::iter::from_fn(|| lane.pop()).take(most).map(DeliveryKey::from).collect();
        if !keys.is_empty() {
            self.room.leave(&mut lane.keys, keys.len());
            self.change(EndpointNumber::JOINING, |_| ());
        }
        keys
    }

    /// The next attempt to begin; it is in flight from now on. `None`: nothing is due that has a place. The cost
    /// does not depend on how many keys or lanes wait.
    pub fn poll_start(&mut self) -> Option<Start> {
        let free = self.limit - self.in_flight.len();
        if free == 0 {
            return None;
        }
        let open = Way::ALL.map(|way| self.is_open(way));
        let doubtful_too = self.doubtful_places < self.doubtful_limit;
        while let Some(turn) = self.turns.next(free, doubtful_too, |way| open[way as usize]) {
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
                return Some(self.start(key, turn.lane));
            }
            self.change(turn.lane, |_| ());
        }
        None
    }

    /// Takes in what an attempt that is about to finish says of what it shares with others; without it that is nothing.
    pub fn handle_sign(&mut self, key: DeliveryKey, sign: impl Fn(Shared) -> Sign) {
        if let Some(flight) = self.in_flight.get_mut(&key.into()) {
            flight.signs = Shared::ALL.map(sign);
        }
    }

    /// Takes in that an attempt ended at `now`: its place is free, its lane and its circuit learn from the verdict.
    /// `chance` in [0, 1) draws the jitter of a probe's interval.
    pub fn handle_finished(&mut self, key: DeliveryKey, verdict: Verdict, chance: f64, now: Timestamp) {
        let Some(Flight { lane, begun, signs }) = self.in_flight.remove(&key.into()) else {
            debug_assert!(false, "{key:?} is not in flight: only what poll_start gave can finish");
            return;
        };
        for (place, begun) in begun.into_iter().enumerate() {
            let Some(begun) = begun else { continue };
            self.sharing[place] -= 1;
            self.outages[place].finish(begun, signs[place], now);
        }
        self.change(lane, |lane| lane.finish(verdict, chance, now));
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next: exactly when the next timer fires, keys on disk
    /// may be loaded, a lane's pause ends, or what is shared may be tried again. `None`: there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let shared = self.outages.iter().filter_map(|outage| outage.next(self.now));
        let timers = self.next_timer().into_iter().chain(self.room.next_open());
        timers.chain(self.pauses.next()).chain(shared).min()
    }

    /// What there is to know of what attempts share while it is down.
    pub const fn down(&self, shared: Shared) -> Option<Open> {
        self.outages[shared as usize].down()
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
        let lane = self.lanes.get(&lane)?;
        let mut status = LaneStatus { behind: lane.keys.are_behind(&self.room), ..lane.status() };
        if status.pause.is_none() && shared(lane.way).any(|shared| self.down(shared).is_some()) {
            status.pause = Some(Pause::Circuit);
        }
        Some(status)
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
        let told = self.now;
        let Self { near, far, lanes, turns, pauses, room, to_park, .. } = self;
        let mut come_in = |timer: Timer, lane: &mut Lane| {
            lane.push(timer.key.into());
            pauses.note(timer.lane, lane, told);
            turns.join(timer.lane, lane);
        };
        near.advance(now, &mut |_, timer| come_in(timer, lanes.get_mut(&timer.lane).expect(MADE)));
        far.advance(now, &mut |due, timer| {
            let lane = lanes.get_mut(&timer.lane).expect(MADE);
            room.leave_far(&mut lane.keys);
            if room.admit(&mut lane.keys, due, now) == Place::Near {
                come_in(timer, lane);
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

    /// Changes a lane, making it if need be; keeps the sum of doubtful places, the pauses, the rotation and the
    /// room true to it.
    fn change(&mut self, number: EndpointNumber, change: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(number).or_insert_with(|| Lane::new(UNKNOWN_CONCURRENCY));
        let before = lane.doubtful_places();
        change(lane);
        self.doubtful_places = self.doubtful_places - before + lane.doubtful_places();
        self.pauses.note(number, lane, self.now);
        self.turns.note(number, lane);
        let held = lane.held();
        self.room.note(number, &mut lane.keys, held);
        if lane.is_over() {
            self.lanes.remove(&number);
        }
    }

    /// Starts the lane's key.
    fn start(&mut self, key: PackedKey, number: EndpointNumber) -> Start {
        let (now, mut probe, mut way) = (self.now, false, Way::Direct);
        self.change(number, |lane| {
            (probe, way) = (lane.is_open(), lane.way);
            lane.start(now);
        });
        let mut begun = [None; Shared::ALL.len()];
        for shared in shared(way) {
            let place = shared as usize;
            probe |= self.down(shared).is_some();
            begun[place] = Some(self.outages[place].start());
            self.sharing[place] += 1;
        }
        self.in_flight.insert(key, Flight { lane: number, begun, signs: Default::default() });
        Start { key: key.into(), lane: number, probe }
    }

    /// Whether something that goes this way may start.
    fn is_open(&self, way: Way) -> bool {
        shared(way).map(|shared| shared as usize).all(|place| {
            let (outage, sharing) = (self.outages[place], self.sharing[place]);
            outage.lets_start(sharing, self.now)
        })
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

/// What attempts share that go this way.
fn shared(way: Way) -> impl Iterator<Item = Shared> {
    Shared::ALL.into_iter().filter(move |shared| *shared == Shared::Machine || way == Way::Proxy)
}

#[cfg(test)]
mod tests;
