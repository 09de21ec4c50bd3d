//! Whether there is room for more events, in the store and on its disk.
//!
//! Events are refused while the store holds `max_size` bytes of rows, and while its disk is full; what was accepted is
//! delivered meanwhile. So that a door does not open and shut with every row, it opens again with a margin:
//!
//! | | refused from | taken again |
//! | --- | --- | --- |
//! | the store is full | `max_size` bytes of rows | below 95 % of it |
//! | the disk is full | less than the margin is free, or an event takes so much that it would be; or a write finds no space and the reserve is given up | the reserve is whole and twice the margin is free besides |
//! | no attempt is begun | there is no reserve, or it is given up, and less than the margin is free | twice that is free, or the disk is full no more |
//!
//! The margin is a quarter of the reserve, and [`LEAST`] at least. The last row keeps that much for the outcomes of what is
//! in flight: an attempt whose outcome cannot be written would be made again after each restart.
//!
//! The writer looks at the free space before each commit with events, which takes a microsecond; while the disk is full
//! somebody has to [`look`](Room::look) now and then.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{accept::Batch, guarded::is_full, reserve::Reserve};

/// With less free than this no disk takes events.
const LEAST: u64 = 1 << 20;
/// Of an event on disk besides its payload and its deliveries, about.
const EVENT_BYTES: usize = 512;
/// Of a delivery on disk, about.
const DELIVERY_BYTES: usize = 48;

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Full {
    /// The disk.
    Disk,
    /// The store: it holds `max_size` bytes of rows.
    Store,
}

/// How the door is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// The store holds its most.
    pub store_full: bool,
    /// The disk is full.
    pub disk_full: bool,
    /// So full that no attempt is begun.
    pub exhausted: bool,
}

impl Door {
    /// Why no event is taken, if none is.
    pub const fn closed(self) -> Option<Full> {
        match self {
            Self { disk_full: true, .. } => Some(Full::Disk),
            Self { store_full: true, .. } => Some(Full::Store),
            Self { .. } => None,
        }
    }
}

/// The room there is; clones share it.
#[derive(Clone, Debug)]
pub struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_size: u64,
    held: AtomicU64,
    door: watch::Sender<Door>,
    disk: Disk,
}

#[derive(Debug)]
struct Disk {
    /// Anything on it.
    path: PathBuf,
    margin: u64,
    /// With its lock `disk_full` and `exhausted` are set.
    reserve: Mutex<Reserve>,
}

/// About how many bytes of rows a batch becomes.
fn weight(batch: &Batch) -> u64 {
    let of_one = |routed: &super::Routed| {
        let deliveries = routed.deliveries.len() + usize::from(routed.callback.is_some());
        EVENT_BYTES + routed.event.data.len() + DELIVERY_BYTES * deliveries
    };
    u64::try_from(batch.events.iter().map(of_one).sum::<usize>()).unwrap_or(u64::MAX)
}

impl Room {
    /// The room of the store at `path`, with a reserve of so many bytes beside it. Nothing is made yet.
    pub(super) fn beside(path: &Path, max_size: u64, reserve: u64) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".reserve");
        let disk = Disk {
            path: path.to_owned(),
            margin: (reserve / 4).max(LEAST),
            reserve: Mutex::new(Reserve::new(name.into(), reserve)),
        };
        let door = watch::Sender::default();
        Self(Arc::new(Inner { max_size, held: AtomicU64::new(0), door, disk }))
    }

    /// Follows how the door is.
    pub fn door(&self) -> watch::Receiver<Door> {
        self.0.door.subscribe()
    }

    /// Whether so little room is left that no attempt may begin.
    pub fn is_exhausted(&self) -> bool {
        self.0.door.borrow().exhausted
    }

    /// How many bytes of rows the store holds.
    pub fn held(&self) -> u64 {
        // Relaxed, here and below: nothing is ordered by this count.
        self.0.held.load(Ordering::Relaxed)
    }

    /// How many it may hold.
    pub fn max_size(&self) -> u64 {
        self.0.max_size
    }

    /// The size of the reserve, and whether it is there. Not for the asynchronous: it may wait until it is made.
    pub fn reserve(&self) -> (u64, bool) {
        let mut reserve = self.0.disk.lock();
        let whole = reserve.missing().is_ok_and(|missing| missing == 0);
        (reserve.size(), reserve.size() > 0 && whole)
    }

    /// How many bytes are free on the disk, where that can be told.
    pub fn free(&self) -> Option<u64> {
        self.0.disk.free()
    }

    /// How many have to be free for the door to open.
    pub fn wanted(&self) -> u64 {
        let disk = &self.0.disk;
        let mut reserve = disk.lock();
        let missing = reserve.missing().unwrap_or_else(|_| reserve.size());
        missing.saturating_add(2 * disk.margin)
    }

    /// Makes the reserve if the disk has room for it; blocks. The door opens if so, and is shut if not.
    pub fn look(&self) {
        let disk = &self.0.disk;
        let mut reserve = disk.lock();
        if disk.make(&mut reserve, 2 * disk.margin) {
            self.set_disk(false, false);
        } else {
            self.set_disk(true, self.is_out(&mut reserve));
        }
    }

    /// For each batch of the writer's next commit, what is full, if there is no room for it.
    pub(super) fn judge(&self, batches: &[Batch]) -> Vec<Option<Full>> {
        if batches.is_empty() {
            return Vec::new();
        }
        let disk = &self.0.disk;
        let mut left = disk.free().map_or(u64::MAX, |free| free.saturating_sub(disk.margin));
        batches.iter().map(|batch| self.judge_one(batch, &mut left).err()).collect()
    }

    /// Takes from what is `left` what a batch needs.
    fn judge_one(&self, batch: &Batch, left: &mut u64) -> Result<(), Full> {
        if let Some(full) = self.0.door.borrow().closed() {
            return Err(full);
        }
        // Twice: pages are half empty, and those of the commit before are not free yet.
        if let Some(rest) = left.checked_sub(weight(batch).saturating_mul(2)) {
            *left = rest;
            return Ok(());
        }
        // One that is larger than what a disk with room has is refused by itself.
        if *left < self.0.disk.margin {
            self.shut_for_disk();
        }
        Err(Full::Disk)
    }

    fn shut_for_disk(&self) {
        let mut reserve = self.0.disk.lock();
        self.set_disk(true, self.is_out(&mut reserve));
    }

    /// The store holds so many bytes of rows now.
    pub(super) fn holds(&self, bytes: u64) {
        self.0.held.store(bytes, Ordering::Relaxed);
        let max = self.0.max_size;
        self.set(|door| {
            let from = if door.store_full { max / 100 * 95 } else { max };
            door.store_full = bytes >= from;
        });
        if self.0.door.borrow().disk_full {
            let mut reserve = self.0.disk.lock();
            // Opened meanwhile, perhaps.
            if self.0.door.borrow().disk_full {
                self.set_disk(true, self.is_out(&mut reserve));
            }
        }
    }

    /// There is no space to write: says whether some has just been made by giving the reserve up.
    pub(super) fn run_out(&self) -> bool {
        let mut reserve = self.0.disk.lock();
        let given_up = reserve.give_up();
        self.set_disk(true, self.is_out(&mut reserve));
        given_up
    }

    /// Whether no attempt may begin any more.
    fn is_out(&self, reserve: &mut Reserve) -> bool {
        let disk = &self.0.disk;
        let least = if self.is_exhausted() { 2 * disk.margin } else { disk.margin };
        let given_up = reserve.size() == 0 || reserve.missing().map_or(true, |missing| missing > 0);
        given_up && disk.free().is_some_and(|free| free < least)
    }

    fn set_disk(&self, full: bool, exhausted: bool) {
        self.set(|door| (door.disk_full, door.exhausted) = (full, exhausted));
    }

    fn set(&self, change: impl FnOnce(&mut Door)) {
        self.0.door.send_if_modified(|door| {
            let before = *door;
            change(door);
            *door != before
        });
    }
}

impl Disk {
    /// The free bytes, where the file system says so: some say nothing of blocks at all.
    fn free(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.path).ok().filter(|found| found.f_blocks > 0)?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Makes the reserve, if `least` is free besides; false if there is no room. Where it cannot be made for another
    /// reason, all goes on without.
    fn make(&self, reserve: &mut Reserve, least: u64) -> bool {
        let has = |bytes: u64| self.free().is_none_or(|free| free >= bytes);
        let made = match reserve.missing() {
            Ok(missing) if !has(least.saturating_add(missing)) => return false,
            Ok(_) => reserve.make(),
            Err(error) => Err(error),
        };
        match made {
            Ok(()) => true,
            Err(error) if is_full(&error) => false,
            Err(error) => {
                tracing::warn!(%error, "the reserve beside the store cannot be made; it goes on without");
                has(least)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reserve> {
        // What is kept in memory of the reserve is a file that is open or not: a panic cannot leave it half changed.
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_that_shut_opens_with_a_margin() {
        let room = Room::beside(Path::new("/nowhere/store"), 10_000, 0);
        let closed = |bytes| {
            room.holds(bytes);
            room.door().borrow().closed()
        };
        for (bytes, full) in [
            (9_999, None),
            (10_000, Some(Full::Store)),
            (9_999, Some(Full::Store)),
            (9_500, Some(Full::Store)),
            (9_499, None),
            (9_999, None),
            (u64::MAX, Some(Full::Store)),
        ] {
            assert_eq!(closed(bytes), full, "{bytes}");
        }
        assert!(!room.run_out(), "there is nothing to give up");
        assert_eq!(closed(0), Some(Full::Disk), "the disk is what is told of first");
    }

    #[test]
    fn the_reserve_is_given_up_once_and_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let room = Room::beside(&directory.path().join("store"), 1, 8_192);
        room.look();
        assert_eq!(room.reserve(), (8_192, true));
        assert!(room.run_out());
        assert_eq!((room.reserve(), room.door().borrow().closed()), ((8_192, false), Some(Full::Disk)));
        assert!(!room.run_out(), "it was given up");
        room.look();
        assert_eq!((room.reserve(), room.door().borrow().closed()), ((8_192, true), None));
        assert!(room.run_out(), "and so again");
    }
}
