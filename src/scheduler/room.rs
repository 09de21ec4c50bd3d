//! How many keys memory holds, and which of the others come back next.
//!
//! The room for keys is bounded by `keys_in_memory`. A key for which there is none is *parked*: written to disk under
//! its lane and the minute in which it is due. When that minute comes, and its lane has room, it is *loaded*: taken
//! from the disk into memory again. A key is in one place at a time: in memory, on disk, or on its way.
//!
//! There are two pools, each of half the room: for what is *near*, due or just loaded, and for what is *far*, timers.
//! So what will be due never keeps out what is. In each pool a lane may hold one more key only while more room is free
//! than it holds keys, as with open requests; a lane that holds none may always hold one. So a lane with a million keys
//! leaves as much room to the others as it takes, forty of them a forty-first part, and no lane is ever without one of
//! its keys: the bound is `keys_in_memory` and two keys for each lane.
//!
//! Once near keys of a lane had to go to the disk, those that come new go there as well, behind them, until a load has
//! brought the last whose minute has come; stragglers that were on their way then do not begin this anew. What is
//! loaded goes by minutes, within a minute by the events' order: where there is more than memory has room for, a key may
//! come up to a minute after its time.

use std::{collections::BTreeSet, time::Duration};

use crate::model::{
    delivery::Load,
    endpoint::EndpointNumber,
    time::{Minute, Timestamp},
};

/// How long before their minute parked keys may be loaded, so that those due at its beginning are not late.
const LEAD: Duration = Duration::from_secs(5);
/// At most so many keys are loaded at once: some milliseconds of reading.
const LOAD: usize = 4096;

/// Where a key that comes in goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Near,
    Far,
    Disk,
}

/// What one lane has, in memory and on disk.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Due ones, loaded ones, and room kept for a load.
    near: usize,
    /// Far timers.
    far: usize,
    /// No key of it on disk is due before this minute; `None`: there is none on disk.
    parked: Option<Minute>,
    /// Near keys went to the disk for want of room, and those before them are not all back: new ones go there as well.
    behind: bool,
    /// Room kept for the load under way; 0 when there is none.
    loading: usize,
    stand: Stand,
}

/// Where a lane with keys on disk stands in [`Room`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stand {
    /// Nowhere: it has none, a load is under way, or it is held.
    #[default]
    None,
    /// Among those that want room; they stand by how many near keys they hold.
    Ready(usize),
    /// Among those whose minute has not come.
    Waiting(Minute),
}

/// The room for keys.
#[derive(Debug)]
pub(super) struct Room {
    near: Pool,
    far: Pool,
    /// What is parked for a minute up to this one may be loaded.
    open: Minute,
    ready: BTreeSet<(usize, EndpointNumber)>,
    waiting: BTreeSet<(Minute, EndpointNumber)>,
}

#[derive(Debug)]
struct Pool {
    limit: usize,
    held: usize,
}

impl Pool {
    const fn free(&self) -> usize {
        self.limit.saturating_sub(self.held)
    }

    /// Whether a lane that holds `keys` may hold one more.
    const fn fits(&self, keys: usize) -> bool {
        keys == 0 || keys < self.free()
    }
}

impl Keys {
    /// Whether near keys of it are on disk: what comes new goes there as well, or stands before them.
    pub(super) fn are_behind(&self, room: &Room) -> bool {
        self.behind || self.loading > 0 || self.parked.is_some_and(|minute| minute <= room.open)
    }

    /// Whether there are none, in memory or known to be on disk.
    pub(super) const fn is_empty(&self) -> bool {
        self.near == 0 && self.far == 0 && self.loading == 0 && self.parked.is_none()
    }
}

impl Room {
    /// Room for `keys`.
    pub(super) fn new(keys: usize, now: Timestamp) -> Self {
        let far = keys / 2;
        Self {
            near: Pool { limit: keys - far, held: 0 },
            far: Pool { limit: far, held: 0 },
            open: open_at(now),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Finds a place for a key of a lane, and counts it there.
    pub(super) fn admit(&mut self, keys: &mut Keys, due: Timestamp, now: Timestamp) -> Place {
        if due > now {
            if !self.far.fits(keys.far) {
                return Place::Disk;
            }
            self.far.held += 1;
            keys.far += 1;
            return Place::Far;
        }
        keys.behind |= !self.near.fits(keys.near);
        if keys.behind {
            return Place::Disk;
        }
        self.take(keys, 1);
        Place::Near
    }

    /// Counts that a far key has left the far pool.
    pub(super) fn leave_far(&mut self, keys: &mut Keys) {
        self.far.held -= 1;
        keys.far -= 1;
    }

    /// Counts that near keys have left memory.
    pub(super) fn leave(&mut self, keys: &mut Keys, count: usize) {
        self.near.held -= count;
        keys.near -= count;
    }

    /// Takes note that keys of a lane are on disk, of which the first is due in `minute`.
    pub(super) fn parked(keys: &mut Keys, minute: Minute) {
        keys.parked = Some(keys.parked.map_or(minute, |first| first.min(minute)));
    }

    /// Takes note of the end of a load: gives its room to the `count` keys that came; of those still on disk the
    /// first is due in `next`.
    pub(super) fn loaded(&mut self, keys: &mut Keys, count: usize, next: Option<Minute>) {
        let kept = std::mem::take(&mut keys.loading);
        debug_assert!(count <= kept, "no more are loaded than were asked for");
        self.leave(keys, kept);
        self.take(keys, count);
        keys.parked = next;
        keys.behind &= next.is_some_and(|next| next <= self.open);
    }

    /// The next lane to load keys for, with how many; `None`: no lane has both a key whose minute has come and room.
    /// It is to be followed by [`Self::begin_load`].
    pub(super) fn next_load(&self) -> Option<Load> {
        let (near, lane) = *self.ready.first()?;
        let free = self.near.free();
        // Half of what it may hold: loads come seldom, and then for many.
        if near > 0 && near >= free / 2 {
            return None;
        }
        // A third of what would fit: the room that it keeps must not keep out what comes meanwhile.
        let limit = (free.saturating_sub(near) / 3).clamp(1, LOAD);
        Some(Load { lane, until: self.open, limit })
    }

    /// Keeps room for a load.
    pub(super) fn begin_load(&mut self, keys: &mut Keys, load: Load) {
        keys.loading = load.limit;
        self.take(keys, load.limit);
    }

    /// Opens the minutes up to `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.open = self.open.max(open_at(now));
    }

    /// A lane that waits for a minute that has come; it stands among the waiting until it is noted.
    pub(super) fn opened(&self) -> Option<EndpointNumber> {
        let first = self.waiting.first().filter(|(minute, _)| *minute <= self.open);
        first.map(|(_, lane)| *lane)
    }

    /// When a lane that waits has its minute.
    pub(super) fn next_open(&self) -> Option<Timestamp> {
        let (minute, _) = self.waiting.first()?;
        let start = minute.start().as_millis();
        Some(Timestamp::from_millis(start.saturating_sub(millis(LEAD))))
    }

    /// Takes note that a lane's keys have changed, or whether it is held: it stands where it belongs.
    pub(super) fn note(&mut self, lane: EndpointNumber, keys: &mut Keys, held: bool) {
        let stand = match keys.parked {
            // What is held starts nothing: more of it would only take room.
            Some(_) if held || keys.loading > 0 => Stand::None,
            Some(minute) if minute <= self.open => Stand::Ready(keys.near),
            Some(minute) => Stand::Waiting(minute),
            None => Stand::None,
        };
        if stand == keys.stand {
            return;
        }
        match keys.stand {
            Stand::None => true,
            Stand::Ready(near) => self.ready.remove(&(near, lane)),
            Stand::Waiting(minute) => self.waiting.remove(&(minute, lane)),
        };
        match stand {
            Stand::None => true,
            Stand::Ready(near) => self.ready.insert((near, lane)),
            Stand::Waiting(minute) => self.waiting.insert((minute, lane)),
        };
        keys.stand = stand;
    }

    fn take(&mut self, keys: &mut Keys, count: usize) {
        self.near.held += count;
        keys.near += count;
    }
}

/// The last minute whose parked keys may be loaded at `now`.
fn open_at(now: Timestamp) -> Minute {
    now.plus(LEAD).minute()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("a constant of seconds")
}
