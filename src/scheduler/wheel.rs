//! The timer wheel: which keys become due, and when the next one does.
//!
//! Promises: a timer never fires before its due time, and fires at the first [`Wheel::advance`] at or past its due
//! time rounded up to a tick of 10 ms; what is due in the past fires at the next advance. Timers fire in the order
//! of their ticks. [`Wheel::next_due`] is exact. There is no cancel: the owner of a key looks at its row when the
//! key fires. Nothing here fails.
//!
//! ```text
//! level  a slot is    the level spans
//!     0  10 ms        2.56 s
//!     1  2.56 s       10.9 min
//!     2  10.9 min     46.6 h
//!     3  46.6 h       497 days
//!   far  one unordered list, for what is due later still
//! ```
//!
//! A timer lies in the lowest level in which its slot is less than a full turn (256 slots) ahead of the present
//! one. Two blocks of time that share a slot are a full turn apart, so no slot ever holds timers of both, and one
//! a full turn away cannot hide a nearer one; what is a full turn ahead even on the top level lies in the far list,
//! which is looked at when the top level has turned so much that the first of it fits. When time reaches a slot
//! above level 0, the slot is taken whole and its timers are placed anew, each then in a lower level.
//!
//! Cost: placing and firing, a few words each. Advancing costs by occupied slots passed, not by ticks: a suspend of
//! a week is one jump. A timer is placed at most once a level; the far list is gone through once in 46.6 hours at
//! most. Finding the next slot is a search in a bitmap of four words a level.
//!
//! Memory: 16 bytes a timer (24 in the far list), and at most an eighth more for growth; nothing is copied to grow (slots
//! are `Pieces`). A slot's memory is given back while it is placed anew or fires, except for rooms of up to 16 timers,
//! which it keeps for its next turn: 256 KiB if all slots keep one.

use std::mem;

use super::{key::PackedKey, pieces::Pieces};
use crate::model::{
    delivery::DeliveryKey,
    endpoint::EndpointNumber,
    time::{TICK_MILLIS, Timestamp},
};

/// The last tick that a [`Timestamp`] can reach: what is due after it (in the year 10889) counts as due at it.
const LAST_TICK: u64 = Timestamp::MAX.as_millis() / TICK_MILLIS;
const LEVELS: usize = 4;
const SLOTS: u64 = 256;
const TOP: usize = LEVELS - 1;

/// What lies in the wheel, and comes back when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer {
    /// Which delivery is due.
    pub key: DeliveryKey,
    /// In which lane.
    pub lane: EndpointNumber,
}

/// A hierarchical timer wheel; see the module's head.
#[derive(Debug)]
pub struct Wheel {
    levels: [Level; LEVELS],
    far: Far,
    /// The present tick (since 1970, not cut to 32 bits): every slot up to it was taken. Timers inserted since then
    /// whose tick is not after it lie in its own slot of level 0, which the next advance takes first.
    elapsed: u64,
    len: usize,
}

impl Wheel {
    /// An empty wheel that has advanced to `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            levels: std::array::from_fn(|_| Level::new()),
            far: Far::default(),
            elapsed: tick_before(now),
            len: 0,
        }
    }

    /// Puts a timer in. The same one may be put in more than once; it fires as often.
    pub fn insert(&mut self, due: Timestamp, timer: Timer) {
        let due = tick_after(due).max(self.elapsed);
        self.len += 1;
        self.place(due, Entry { due: low_half(due), lane: timer.lane, key: timer.key.into() });
    }

    /// Moves on to `now` and hands every timer due by then to `fire`, in the order of their ticks, with its tick. A
    /// `now` before that of an earlier call counts as that one.
    pub fn advance(&mut self, now: Timestamp, fire: &mut impl FnMut(Timestamp, Timer)) {
        let now = tick_before(now).max(self.elapsed);
        while let Some(at) = self.next_turn().filter(|at| *at <= now) {
            self.turn(at, fire);
        }
        self.elapsed = now;
    }

    /// When the next timer fires: the earliest time at which [`Wheel::advance`] has something to fire. `None` when
    /// the wheel is empty. Exact, so that a wheel with one timer a year away wakes its owner once.
    pub fn next_due(&self) -> Option<Timestamp> {
        // As it is for as long as nothing has to be tried again: then there are no levels to look through.
        if self.is_empty() {
            return None;
        }
        // Blocks of one level are in order, so the level's first timer is in its first occupied slot.
        let first = |level: usize| {
            let levels = &self.levels[level];
            let distance = levels.occupied.distance_from(slot_of(level, self.elapsed))?;
            let tick = ((self.elapsed >> shift(level)) + distance) << shift(level);
            Some(levels.slots[usize::from(slot_of(level, tick))].first)
        };
        let far = self.far.first().into_iter();
        let tick = (0..LEVELS).filter_map(first).chain(far).min()?;
        Some(Timestamp::from_millis(tick * TICK_MILLIS))
    }

    /// How many timers are in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is in it.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tick at which the next slot is to be taken or the far list to be looked at.
    fn next_turn(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let slots = (0..LEVELS).filter_map(|level| {
            let distance = self.levels[level].occupied.distance_from(slot_of(level, self.elapsed))?;
            debug_assert!(level == 0 || distance > 0, "the present slot of level {level} was taken");
            Some(((self.elapsed >> shift(level)) + distance) << shift(level))
        });
        slots.chain(self.far.fits_from()).min()
    }

    /// Moves on to `at`, before which there is nothing to do, and takes the slots that begin there. Level 0 comes
    /// last, since what lay higher may be due at once; the others in any order, since from the start of a block its
    /// timers are placed lower and never into a present slot but level 0's.
    fn turn(&mut self, at: u64, fire: &mut impl FnMut(Timestamp, Timer)) {
        self.elapsed = at;
        if self.far.fits_from().is_some_and(|from| from <= at) {
            mem::take(&mut self.far).entries.empty(|(due, entry)| self.place(due, entry));
        }
        for level in 1..LEVELS {
            let slot = slot_of(level, at);
            let mut taken = self.levels[level].take(slot);
            taken.empty(|entry| self.place(self.due_of(entry), entry));
            self.levels[level].keep_room(slot, taken);
        }
        let slot = slot_of(0, at);
        let mut taken = self.levels[0].take(slot);
        self.len -= taken.len();
        taken.empty(|entry| {
            let timer = Timer { key: entry.key.into(), lane: entry.lane };
            fire(Timestamp::from_millis(at * TICK_MILLIS), timer);
        });
        self.levels[0].keep_room(slot, taken);
    }

    fn place(&mut self, due: u64, entry: Entry) {
        match level_of(self.elapsed, due) {
            Some(level) => self.levels[level].put(slot_of(level, due), due, entry),
            None => self.far.put(due, entry),
        }
    }

    /// The whole tick of an entry in a slot: the only one less than 2^32 ticks ahead with these lower 32 bits.
    fn due_of(&self, entry: Entry) -> u64 {
        self.elapsed + u64::from(entry.due.wrapping_sub(low_half(self.elapsed)))
    }
}

/// A timer in a slot.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The lower half of the tick.
    due: u32,
    lane: EndpointNumber,
    key: PackedKey,
}

const _: () = assert!(size_of::<Entry>() == 16, "there are millions of them");

/// The timers of one block of time.
#[derive(Debug, Default)]
struct Slot {
    entries: Pieces<Entry>,
    /// The tick of the earliest; means nothing while there is none.
    first: u64,
}

#[derive(Debug)]
struct Level {
    slots: Box<[Slot]>,
    occupied: Bitmap,
}

impl Level {
    fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Slot::default()).collect(), occupied: Bitmap::default() }
    }

    fn put(&mut self, slot: u8, due: u64, entry: Entry) {
        self.occupied.set(slot);
        let slot = &mut self.slots[usize::from(slot)];
        slot.first = if slot.entries.is_empty() { due } else { slot.first.min(due) };
        slot.entries.push(entry);
    }

    fn take(&mut self, slot: u8) -> Pieces<Entry> {
        self.occupied.clear(slot);
        mem::take(&mut self.slots[usize::from(slot)].entries)
    }

    /// Leaves the room of an emptied list to the slot that it came from.
    fn keep_room(&mut self, slot: u8, emptied: Pieces<Entry>) {
        let entries = &mut self.slots[usize::from(slot)].entries;
        if entries.has_no_room() {
            *entries = emptied;
        }
    }
}

/// Timers that are a full turn of the top level away, with their whole ticks.
#[derive(Debug, Default)]
struct Far {
    entries: Pieces<(u64, Entry)>,
    /// The earliest tick; means nothing while there is none.
    first: u64,
}

impl Far {
    fn put(&mut self, due: u64, entry: Entry) {
        self.first = if self.entries.is_empty() { due } else { self.first.min(due) };
        self.entries.push((due, entry));
    }

    fn first(&self) -> Option<u64> {
        (!self.entries.is_empty()).then_some(self.first)
    }

    /// From which tick on the first of them fits into the top level: the start of one of that level's slots.
    fn fits_from(&self) -> Option<u64> {
        self.first().map(|first| ((first >> shift(TOP)) - (SLOTS - 1)) << shift(TOP))
    }
}

/// Which slots of a level hold something.
#[derive(Debug, Default)]
struct Bitmap([u64; 4]);

impl Bitmap {
    fn set(&mut self, slot: u8) {
        self.0[usize::from(slot / 64)] |= 1 << (slot % 64);
    }

    fn clear(&mut self, slot: u8) {
        self.0[usize::from(slot / 64)] &= !(1 << (slot % 64));
    }

    /// How many slots after `slot` the first occupied one is, going round; 0 if it is `slot` itself.
    fn distance_from(&self, slot: u8) -> Option<u64> {
        let (word, bit) = (usize::from(slot / 64), slot % 64);
        let from_slot_on = self.0[word] >> bit;
        if from_slot_on != 0 {
            return Some(u64::from(from_slot_on.trailing_zeros()));
        }
        // The fourth step is the same word again: its bits from `slot` on are known to be clear.
        (1..=4).find_map(|step| {
            let bits = self.0[(word + step) % 4];
            let words = u64::try_from(step).expect("at most 4");
            (bits != 0).then(|| words * 64 - u64::from(bit) + u64::from(bits.trailing_zeros()))
        })
    }
}

/// The lowest level in which `due` is less than a full turn ahead of `elapsed`; `None`: it is too far even for the
/// top. `due` is not before `elapsed`.
fn level_of(elapsed: u64, due: u64) -> Option<usize> {
    (0..LEVELS).find(|level| (due >> shift(*level)) - (elapsed >> shift(*level)) < SLOTS)
}

/// Which slot of a level the tick belongs to: its byte of the tick.
fn slot_of(level: usize, tick: u64) -> u8 {
    tick.to_le_bytes()[level]
}

/// By how many bits a tick is shifted to give its block on a level.
const fn shift(level: usize) -> usize {
    8 * level
}

/// The last tick that has begun at `time`.
const fn tick_before(time: Timestamp) -> u64 {
    time.as_millis() / TICK_MILLIS
}

/// The first tick that begins at or after `time`.
fn tick_after(time: Timestamp) -> u64 {
    time.as_millis().div_ceil(TICK_MILLIS).min(LAST_TICK)
}

fn low_half(tick: u64) -> u32 {
    u32::try_from(tick & u64::from(u32::MAX)).expect("masked to 32 bits")
}

#[cfg(test)]
mod tests;
