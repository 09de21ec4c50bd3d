//! Whether there is room for more events, in the store and on its disk.
//!
//! Events are refused while the store holds `max_size` bytes of rows, and while its disk is full; what was accepted is
//! delivered meanwhile. So that a door does not open and shut with every row, it opens again with a margin:
//!
//! | | refused from | taken again |
//! | --- | --- | --- |
//! | the store is full | `max_size` bytes of rows | below 95 % of it |
//! | the disk is full | less than the margin is free, or an event takes so much that it would be; or a write finds no space and the reserve is given up | the reserve is whole and twice the margin is free besides; where a start finds it whole, the margin |
//! | no attempt is begun | what is free and what the reserve holds are less than the margin together | twice that, or the disk is full no more |
//!
//! The margin is a quarter of the reserve, [`OUTCOME_BYTES`] for each attempt that may be in flight, and [`LEAST`] at
//! least. The last row keeps that much for their outcomes: an attempt whose outcome cannot be written would be made
//! again after each restart. While the disk is full no more outcomes than these are on their way ([`Room::may_begin`]).
//!
//! What is free is looked at before each commit with events and after each round of the writer's that has committed anything; while the disk is full somebody has to
//! [`look`](Room::look) now and then. A quota is not in what is free. Where a write or the reserve finds no space though
//! there seems to be some, nothing is believed to be free until the reserve is made; and as making it takes for a moment
//! what there is, that is tried at fewer and fewer looks.
//!
//! A write that fails while the reserve is being made, and is given up for want of space, has failed because of that as
//! well: so give-ups are counted, and it is done again if there was one since it began ([`Room::run_out`]).

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    Options,
    accept::Batch,
    ground::{Ground, Local},
    guarded::is_full,
    open::with_suffix,
    reserve::Reserve,
};
use crate::logging::Kind;

/// With less free than this no disk takes events.
const LEAST: u64 = 1 << 20;
/// Of an outcome on disk at most, about: what its receiver said, and the pages that change with it.
const OUTCOME_BYTES: u64 = 32 << 10;
/// At most so many looks are let pass in which the reserve is not tried.
const MAX_PAUSE: u32 = 63;
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
    max_size: AtomicU64,
    in_flight: usize,
    held: AtomicU64,
    door: watch::Sender<Door>,
    disk: Disk,
}

#[derive(Debug)]
struct Disk {
    ground: Box<dyn Ground>,
    margin: u64,
    /// How many times space was taken from the disk and given back.
    given_up: AtomicU64,
    /// With its lock `disk_full` and `exhausted` are set.
    kept: Mutex<Kept>,
}

/// The reserve, and what was learnt of the disk in making it.
#[derive(Debug)]
struct Kept {
    reserve: Reserve,
    /// Why it cannot be made, if that is not for space.
    problem: Option<String>,
    /// No space was found though there seems to be some.
    refused: bool,
    pause: Pause,
}

/// Looks that are let pass: more with each time that space was refused.
#[derive(Debug, Default)]
struct Pause {
    last: u32,
    left: u32,
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
    /// The room of the store at `path`, with a reserve beside it. Nothing is made yet.
    pub(super) fn beside(path: &Path, options: &Options) -> Self {
        Self::on(Box::new(Local(path.to_owned())), path, options)
    }

    /// The same, on a file system.
    pub(super) fn on(ground: Box<dyn Ground>, path: &Path, options: &Options) -> Self {
        let in_flight = u64::try_from(options.in_flight).unwrap_or(u64::MAX);
        let disk = Disk {
            ground,
            margin: (options.reserve / 4).max(in_flight.saturating_mul(OUTCOME_BYTES)).max(LEAST),
            given_up: AtomicU64::new(0),
            kept: Mutex::new(Kept {
                reserve: Reserve::new(with_suffix(path, ".reserve"), options.reserve),
                problem: None,
                refused: false,
                pause: Pause::default(),
            }),
        };
        let (max_size, in_flight) = (AtomicU64::new(options.max_size), options.in_flight);
        let (held, door) = (AtomicU64::new(0), watch::Sender::default());
        Self(Arc::new(Inner { max_size, in_flight, held, door, disk }))
    }

    /// Follows how the door is.
    pub fn door(&self) -> watch::Receiver<Door> {
        self.0.door.subscribe()
    }

    /// Whether an attempt may begin while so many outcomes are still to come, or on their way to the disk.
    pub fn may_begin(&self, outcomes: usize) -> bool {
        let door = *self.0.door.borrow();
        !door.exhausted && (!door.disk_full || outcomes < self.0.in_flight)
    }

    /// Whether events may be forgotten. Where no attempt is begun any more, what is free is for the outcomes under way: also
    /// to remove a row takes pages.
    pub fn may_forget(&self) -> bool {
        !self.0.door.borrow().exhausted
    }

    /// Whether pages are scarce: no commit is to change more of them than it must.
    pub(super) fn is_scarce(&self) -> bool {
        self.0.door.borrow().disk_full
    }

    /// How many bytes of rows the store holds.
    pub fn held(&self) -> u64 {
        // Relaxed, here and below: nothing is ordered by this count.
        self.0.held.load(Ordering::Relaxed)
    }

    /// How many it may hold.
    pub fn max_size(&self) -> u64 {
        self.0.max_size.load(Ordering::Relaxed)
    }

    /// It may hold so many from now on.
    pub(super) fn set_max_size(&self, bytes: u64) {
        self.0.max_size.store(bytes, Ordering::Relaxed);
    }

    /// The size of the reserve, and whether it is there. Not for the asynchronous: it may wait until it is made.
    pub fn reserve(&self) -> (u64, bool) {
        let mut kept = self.0.disk.lock();
        let whole = kept.reserve.missing().is_ok_and(|missing| missing == 0);
        (kept.reserve.size(), kept.reserve.size() > 0 && whole)
    }

    /// How many bytes are free on the disk, where that can be told.
    pub fn free(&self) -> Option<u64> {
        self.0.disk.ground.free()
    }

    /// How many have to be free for the door to open.
    pub fn wanted(&self) -> u64 {
        let disk = &self.0.disk;
        let kept = &mut *disk.lock();
        let missing = kept.reserve.missing().unwrap_or_else(|_| kept.reserve.size());
        missing.saturating_add(2 * disk.margin)
    }

    /// Whether space is refused though there seems to be some. Not for the asynchronous either.
    pub fn is_refused(&self) -> bool {
        self.0.disk.lock().refused
    }

    /// Makes the reserve if the disk has room for it; blocks. The door opens if so, and is shut if not.
    pub fn look(&self) {
        let kept = &mut *self.0.disk.lock();
        let was_shut = self.0.door.borrow().disk_full;
        if self.0.disk.make(kept, was_shut) {
            self.set_disk(false, false);
        } else {
            self.shut(kept);
        }
    }

    /// For each batch of the writer's next commit, what is full, if there is no room for it.
    pub(super) fn judge(&self, batches: &[Batch]) -> Vec<Option<Full>> {
        if batches.is_empty() {
            return Vec::new();
        }
        let disk = &self.0.disk;
        let mut left = disk.ground.free().map_or(u64::MAX, |free| free.saturating_sub(disk.margin));
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
            self.shut(&mut self.0.disk.lock());
        }
        Err(Full::Disk)
    }

    /// The store holds so many bytes of rows now.
    pub(super) fn holds(&self, bytes: u64) {
        self.0.held.store(bytes, Ordering::Relaxed);
        let max = self.max_size();
        self.set(|door| {
            let from = if door.store_full { max / 100 * 95 } else { max };
            door.store_full = bytes >= from;
        });
    }

    /// After a commit.
    pub(super) fn shut_if_full(&self) {
        let disk = &self.0.disk;
        let fills_up = disk.ground.free().is_some_and(|free| free < disk.margin);
        if fills_up || self.0.door.borrow().disk_full {
            let mut kept = disk.lock();
            // Opened meanwhile, perhaps.
            if fills_up || self.0.door.borrow().disk_full {
                self.shut(&mut kept);
            }
        }
    }

    /// How many times space has been given up. Whoever writes asks before, for [`Self::run_out`].
    pub(super) fn given_up(&self) -> u64 {
        // Relaxed: from whoever counts, the one who cares has had the lock.
        self.0.disk.given_up.load(Ordering::Relaxed)
    }

    /// There is no space for a write that began when space had been given up so many times: says whether some has been
    /// made since, by giving the reserve up now or otherwise.
    pub(super) fn run_out(&self, given_up: u64) -> bool {
        let disk = &self.0.disk;
        let kept = &mut *disk.lock();
        let again = if self.given_up() != given_up {
            true
        } else if kept.reserve.give_up() {
            disk.count_given_up();
            tracing::warn!(
                kind = Kind::ReserveGivenUp.word(),
                "the disk is full: the reserve beside the store is given up, so that outcomes can be recorded"
            );
            true
        } else {
            kept.refused |= disk.has(disk.margin);
            false
        };
        self.shut(kept);
        again
    }

    fn shut(&self, kept: &mut Kept) {
        self.set_disk(true, self.is_out(kept));
    }

    /// Whether no attempt may begin any more.
    fn is_out(&self, kept: &mut Kept) -> bool {
        let disk = &self.0.disk;
        let least = if self.0.door.borrow().exhausted { 2 * disk.margin } else { disk.margin };
        let held = kept.reserve.missing().map_or(0, |missing| kept.reserve.size() - missing);
        let free = if kept.refused { Some(0) } else { disk.ground.free() };
        free.is_some_and(|free| free.saturating_add(held) < least)
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
    /// Whether so many bytes are free, as far as can be told.
    fn has(&self, bytes: u64) -> bool {
        self.ground.free().is_none_or(|free| free >= bytes)
    }

    /// Makes the reserve, if there is room besides; false if there is not. Where it cannot be made for another reason, all
    /// goes on without.
    fn make(&self, kept: &mut Kept, was_shut: bool) -> bool {
        let missing = kept.reserve.missing();
        // A start goes on with what the daemon before would have gone on with.
        let opens = was_shut || matches!(missing, Ok(1..));
        let least = if opens { 2 * self.margin } else { self.margin };
        let wanted = least.saturating_add(*missing.as_ref().unwrap_or(&0));
        if missing.is_ok() && !self.has(wanted) {
            // It is seen when there is room.
            kept.pause = Pause::default();
            return false;
        }
        if kept.pause.goes_on() {
            return false;
        }
        let made = missing.and_then(|_| {
            let made = kept.reserve.make(&*self.ground);
            // What it had taken until then is free again.
            made.inspect_err(|_| self.count_given_up())
        });
        match made {
            Ok(()) => {
                (kept.problem, kept.refused, kept.pause) = (None, false, Pause::default());
                true
            }
            Err(error) if is_full(&error) => {
                // If there is still room, it is not that others have taken it meanwhile.
                kept.refused |= self.has(wanted);
                kept.pause.grow();
                false
            }
            Err(error) => {
                if kept.is_news(&error) {
                    tracing::warn!(kind = Kind::ReserveMissing.word(), %error, "the reserve beside the store cannot be made; it goes on without");
                }
                self.has(least)
            }
        }
    }

    fn count_given_up(&self) {
        // With the lock of what is kept.
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Of the reserve a file is kept that is open or not, and the rest is set in single steps.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether the reserve could be made, or failed for another reason, when this was asked last.
    fn is_news(&mut self, error: &io::Error) -> bool {
        let problem = Some(error.to_string());
        let news = self.problem != problem;
        self.problem = problem;
        news
    }
}

impl Pause {
    /// Lets a look pass, if it is to.
    const fn goes_on(&mut self) -> bool {
        let goes_on = self.left > 0;
        self.left = self.left.saturating_sub(1);
        goes_on
    }

    fn grow(&mut self) {
        self.last = (2 * self.last + 1).min(MAX_PAUSE);
        self.left = self.last;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, path::PathBuf, sync::atomic::AtomicUsize};

    use rustix::io::Errno;
    use tempfile::TempDir;

    use super::{super::tests::options, *};

    const MIB: u64 = 1 << 20;
    const PLENTY: u64 = 1 << 40;

    /// A disk on which so much is free as is said, and a quota that is not in that.
    #[derive(Clone, Debug)]
    struct Fake(Arc<Numbers>);

    #[derive(Debug)]
    struct Numbers {
        free: AtomicU64,
        quota: AtomicU64,
        /// What is free when somebody has tried to take more than the quota.
        free_then: AtomicU64,
        tries: AtomicUsize,
    }

    impl Ground for Fake {
        fn free(&self) -> Option<u64> {
            Some(self.0.free.load(Ordering::SeqCst))
        }

        fn allocate(&self, file: &File, size: u64) -> io::Result<bool> {
            self.0.tries.fetch_add(1, Ordering::SeqCst);
            let quota = self.0.quota.load(Ordering::SeqCst);
            Local(PathBuf::new()).allocate(file, size.min(quota).max(1))?;
            if size <= quota {
                return Ok(true);
            }
            self.set_free(self.0.free_then.load(Ordering::SeqCst));
            Err(Errno::DQUOT.into())
        }
    }

    impl Fake {
        fn new() -> Self {
            Self(Arc::new(Numbers {
                free: AtomicU64::new(PLENTY),
                quota: AtomicU64::new(PLENTY),
                free_then: AtomicU64::new(PLENTY),
                tries: AtomicUsize::new(0),
            }))
        }

        fn set_free(&self, bytes: u64) {
            self.0.free.store(bytes, Ordering::SeqCst);
        }

        fn set_quota(&self, bytes: u64) {
            self.0.quota.store(bytes, Ordering::SeqCst);
        }

        /// A daemon's room on it.
        fn room(&self, directory: &TempDir, reserve: u64, in_flight: usize) -> Room {
            let options = Options { reserve, in_flight, ..options() };
            Room::on(Box::new(self.clone()), &directory.path().join("store"), &options)
        }
    }

    fn directory() -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    /// Whether the disk is full, and whether attempts are held.
    fn state(room: &Room) -> (bool, bool) {
        let door = *room.door().borrow();
        assert_eq!(door.exhausted, !room.may_begin(0));
        (door.disk_full, door.exhausted)
    }

    const OPEN: (bool, bool) = (false, false);
    const SHUT: (bool, bool) = (true, false);
    const HELD: (bool, bool) = (true, true);

    #[test]
    fn a_door_that_shut_opens_with_a_margin() {
        let room = Room::beside(Path::new("/nowhere/store"), &Options { max_size: 10_000, ..options() });
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
        assert!(!room.run_out(room.given_up()), "there is nothing to give up");
        assert_eq!(closed(0), Some(Full::Disk), "the disk is what is told of first");
    }

    #[test]
    fn the_reserve_is_given_up_once_and_made_again() {
        let directory = directory();
        let options = Options { reserve: 8_192, ..options() };
        let room = Room::beside(&directory.path().join("store"), &options);
        room.look();
        assert_eq!(room.reserve(), (8_192, true));
        let before = room.given_up();
        assert!(room.run_out(before));
        assert_eq!((room.reserve(), room.door().borrow().closed()), ((8_192, false), Some(Full::Disk)));
        assert!(room.run_out(before), "it was given up since that write began");
        assert!(!room.run_out(room.given_up()), "there is nothing more");
        room.look();
        assert_eq!((room.reserve(), room.door().borrow().closed()), ((8_192, true), None));
        assert!(room.run_out(room.given_up()), "and so again");
    }

    #[test]
    fn under_a_quota_no_attempt_begins_until_the_reserve_is_made() {
        let (directory, fake) = (directory(), Fake::new());
        let room = fake.room(&directory, MIB, 1);
        room.look();
        assert_eq!((state(&room), room.reserve()), (OPEN, (MIB, true)));
        assert!(room.run_out(room.given_up()));
        assert_eq!((state(&room), room.is_refused()), (SHUT, false), "outcomes have what was in the reserve");
        fake.set_quota(MIB / 2);
        room.look();
        assert_eq!((state(&room), room.is_refused()), (HELD, true));
        room.holds(1);
        assert_eq!(state(&room), HELD, "plenty seems to be free");
        // A start finds the same, and begins none either.
        let room = fake.room(&directory, MIB, 1);
        room.look();
        assert_eq!((state(&room), room.is_refused(), room.reserve()), (HELD, true, (MIB, false)));
        fake.set_quota(MIB);
        let looks = (1..).take_while(|_| {
            room.look();
            state(&room) == HELD
        });
        assert_eq!(looks.count(), 1, "it opens by itself");
        assert_eq!((state(&room), room.is_refused(), room.reserve()), (OPEN, false, (MIB, true)));
    }

    #[test]
    fn a_write_that_finds_no_space_where_there_seems_to_be_some_holds_attempts() {
        let (directory, fake) = (directory(), Fake::new());
        let room = fake.room(&directory, MIB, 1);
        room.look();
        for (more, state_then) in [(true, SHUT), (false, HELD)] {
            assert_eq!(room.run_out(room.given_up()), more);
            assert_eq!(state(&room), state_then);
        }
        room.look();
        assert_eq!(state(&room), OPEN);
    }

    #[test]
    fn a_reserve_that_is_refused_is_tried_less_and_less() {
        let (directory, fake) = (directory(), Fake::new());
        let room = fake.room(&directory, MIB, 1);
        fake.set_quota(0);
        let tried = |looks: std::ops::RangeInclusive<usize>| -> Vec<usize> {
            let tries = || fake.0.tries.load(Ordering::SeqCst);
            looks
                .filter(|_| {
                    let before = tries();
                    room.look();
                    tries() > before
                })
                .collect()
        };
        assert_eq!(tried(1..=260), [1, 3, 7, 15, 31, 63, 127, 191, 255]);
        // Where it is seen that there is no room, it is seen when there is.
        fake.set_free(0);
        assert_eq!(tried(261..=262), [0; 0]);
        fake.set_free(PLENTY);
        assert_eq!(tried(263..=266), [263, 265]);
    }

    #[test]
    fn others_who_take_what_was_free_are_no_quota() {
        let (directory, fake) = (directory(), Fake::new());
        fake.set_quota(0);
        fake.0.free_then.store(2 * MIB, Ordering::SeqCst);
        let room = fake.room(&directory, MIB, 1);
        room.look();
        assert_eq!(
            (state(&room), room.is_refused()),
            (SHUT, false),
            "there is room for outcomes, and it is seen"
        );
        fake.set_free(MIB - 1);
        room.look();
        assert_eq!(state(&room), HELD);
    }

    #[test]
    fn a_start_opens_the_door_where_the_daemon_before_had_it_open() {
        // With a margin of 2 MiB; the second look is that of a daemon whose door is shut.
        for (reserve, free, first, next) in [
            (8 * MIB, 2 * MIB, OPEN, SHUT),
            (8 * MIB, 2 * MIB - 1, SHUT, SHUT),
            (8 * MIB, 4 * MIB, OPEN, OPEN),
            (0, 2 * MIB, OPEN, SHUT),
            (0, 2 * MIB - 1, HELD, HELD),
        ] {
            let (directory, fake) = (directory(), Fake::new());
            fake.room(&directory, reserve, 64).look();
            fake.set_free(free);
            let room = fake.room(&directory, reserve, 64);
            room.look();
            assert_eq!(state(&room), first, "{reserve}, {free}");
            room.set_disk(true, false);
            room.look();
            assert_eq!(state(&room), next, "{reserve}, {free}");
        }
        // Without its reserve it wants room for that, and twice the margin.
        for (free, then) in [(12 * MIB - 1, SHUT), (12 * MIB, OPEN)] {
            let (directory, fake) = (directory(), Fake::new());
            fake.set_free(free);
            let room = fake.room(&directory, 8 * MIB, 64);
            assert_eq!(room.wanted(), 12 * MIB);
            room.look();
            assert_eq!(state(&room), then, "{free}");
        }
    }

    #[test]
    fn a_disk_that_fills_up_is_seen_after_a_commit() {
        // With a margin of 2 MiB.
        for (reserve, free, then) in [
            (0, 2 * MIB, OPEN),
            (0, 2 * MIB - 1, HELD),
            (MIB, 2 * MIB - 1, SHUT),
            (MIB, MIB, SHUT),
            (MIB, MIB - 1, HELD),
            (8 * MIB, 0, SHUT),
        ] {
            let (directory, fake) = (directory(), Fake::new());
            let room = fake.room(&directory, reserve, 64);
            room.look();
            fake.set_free(free);
            room.shut_if_full();
            assert_eq!(state(&room), then, "{reserve}, {free}");
        }
    }

    #[test]
    fn the_margin_has_room_for_all_outcomes() {
        for (reserve, in_flight, margin) in [
            (0, 1, MIB),
            (64 * MIB, 1, 16 * MIB),
            (64 * MIB, 512, 16 * MIB),
            (MIB, 512, 16 * MIB),
            (0, 65_536, 2048 * MIB),
        ] {
            let room = Fake::new().room(&directory(), reserve, in_flight);
            assert_eq!(room.wanted() - reserve, 2 * margin, "{reserve}, {in_flight}");
        }
    }

    #[test]
    fn on_a_full_disk_no_more_outcomes_are_on_their_way_than_there_is_room_for() {
        let room = Fake::new().room(&directory(), 0, 3);
        assert!(room.may_begin(1_000), "there is room");
        room.set_disk(true, false);
        assert_eq!([0, 2, 3].map(|outcomes| room.may_begin(outcomes)), [true, true, false]);
        room.set_disk(true, true);
        assert!(!room.may_begin(0));
    }

    #[test]
    fn a_problem_is_told_of_when_it_changes() {
        let directory = directory();
        let room = Fake::new().room(&directory, MIB, 1);
        let kept = &mut *room.0.disk.lock();
        let told = [Errno::ACCESS, Errno::ACCESS, Errno::ROFS, Errno::ROFS, Errno::ACCESS]
            .map(|error| kept.is_news(&error.into()));
        assert_eq!(told, [true, false, true, false, true]);
        assert!(room.0.disk.make(kept, false));
        assert!(kept.is_news(&Errno::ACCESS.into()), "it could be made meanwhile");
    }

    #[test]
    fn a_reserve_that_cannot_be_made_is_done_without() {
        let (directory, fake) = (directory(), Fake::new());
        std::fs::create_dir(directory.path().join("store.reserve")).expect("what is no file");
        let room = fake.room(&directory, MIB, 1);
        for (free, then) in [(MIB, OPEN), (MIB - 1, HELD), (2 * MIB - 1, HELD), (2 * MIB, OPEN)] {
            fake.set_free(free);
            room.look();
            assert_eq!(state(&room), then, "{free}");
        }
        assert_eq!(room.reserve(), (MIB, false));
    }
}
