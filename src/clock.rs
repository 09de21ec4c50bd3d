//! The only place that reads a clock or draws a random number.
//!
//! Everything else takes the time and its luck as arguments, or asks the handles here, which the daemon makes
//! once and passes on; so the rules, the wheel and the scheduler run in tests in simulated time.
//!
//! There are three times. The *wall clock* is what people and receivers read; it may be wrong, and be set. The
//! *schedule's time* goes on as the monotonic clock does, and over restarts where it left off ([`Clock::resume`]): due
//! times and expiry are on it, so a step of the wall clock moves none of them nearer or farther. *Ages* run on the wall
//! clock, but never back. While the wall clock is before the release's date, or behind what it has said before, it is
//! *unset*.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the place that the ban on clocks and chance points to"
)]

mod steps;
#[cfg(test)]
mod tests;

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

pub use self::steps::Steps;
use crate::model::time::{Mark, TICK_MILLIS, Timestamp};

/// The daemon's clocks: copies are the same one, made once for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(&'static Inner);

#[derive(Debug)]
struct Inner {
    started: Instant,
    /// The schedule's time at `started`, in milliseconds.
    base: AtomicU64,
    /// The most that the wall clock ever said, in milliseconds.
    greatest: AtomicU64,
    /// How far the wall clock is ahead of the schedule's time, in milliseconds, as it was last shown.
    ahead: AtomicI64,
    /// A wall clock that tests set: so far ahead of the system's, in milliseconds.
    #[cfg(test)]
    hand: AtomicI64,
    #[cfg(test)]
    stepped: tokio::sync::Notify,
}

impl Clock {
    /// Starts the schedule's time at what the wall clock says now.
    pub fn start() -> Self {
        let (started, wall) = (Instant::now(), system());
        // Never given back: a daemon has one, and whoever holds a copy need not count.
        Self(Box::leak(Box::new(Inner {
            started,
            base: AtomicU64::new(wall.as_millis()),
            greatest: AtomicU64::new(wall.as_millis()),
            ahead: AtomicI64::new(0),
            #[cfg(test)]
            hand: AtomicI64::new(0),
            #[cfg(test)]
            stepped: tokio::sync::Notify::new(),
        })))
    }

    /// Goes on where the daemon before left off, by what the store has of it: its last `mark`, and the latest time that
    /// was `seen` since. To be called before anything is scheduled.
    pub fn resume(self, mark: Option<Mark>, seen: Timestamp) {
        let wall = self.read();
        let Mark { schedule, greatest, .. } = resumed(mark, seen, wall);
        let elapsed = i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.0.base.store(schedule.moved(-elapsed).as_millis(), Relaxed);
        self.0.greatest.store(greatest.max(wall).as_millis(), Relaxed);
        self.0.ahead.store(Mark { schedule, wall, greatest }.ahead(), Relaxed);
    }

    /// What the wall clock says: for signatures, ids and what people read.
    pub fn wall(self) -> Timestamp {
        self.wall_and_age().0
    }

    /// The time that ages run on: the wall clock, or the most that it ever said.
    pub fn age(self) -> Timestamp {
        self.wall_and_age().1
    }

    /// Both, by one look at the clock.
    pub fn wall_and_age(self) -> (Timestamp, Timestamp) {
        let wall = self.read();
        let before = self.0.greatest.fetch_max(wall.as_millis(), Relaxed);
        (wall, wall.max(Timestamp::from_millis(before)))
    }

    /// Whether the wall clock is not set.
    pub fn is_unset(self) -> bool {
        self.wall_and_unset().1
    }

    /// What the wall clock says, and whether it is not set, by one look at it.
    pub fn wall_and_unset(self) -> (Timestamp, bool) {
        let (wall, greatest) = self.wall_and_age();
        (wall, Mark { schedule: wall, wall, greatest }.is_unset())
    }

    /// All of them at this moment.
    pub fn mark(self) -> Mark {
        let (wall, greatest) = self.wall_and_age();
        Mark { schedule: wall.moved(-self.ahead_at(wall)), wall, greatest }
    }

    /// The schedule's time. Due times are compared with this.
    pub fn now(self) -> Timestamp {
        self.started_at().plus(self.0.started.elapsed())
    }

    /// The schedule's time when this clock was started.
    pub fn started_at(self) -> Timestamp {
        Timestamp::from_millis(self.0.base.load(Relaxed))
    }

    /// What the wall clock says, as it is set at this moment, when the schedule's time is `at`.
    pub fn wall_of(self, at: Timestamp) -> Timestamp {
        at.moved(self.mark().ahead())
    }

    /// How far the wall clock, which says `wall`, is ahead of the schedule's time, in milliseconds. Both are read in whole
    /// milliseconds, one after the other: what is shown and kept need not tremble for that.
    fn ahead_at(self, wall: Timestamp) -> i64 {
        let ahead = Mark { schedule: self.now(), wall, greatest: wall }.ahead();
        let shown = self.0.ahead.load(Relaxed);
        if ahead.abs_diff(shown) <= TICK_MILLIS {
            return shown;
        }
        self.0.ahead.store(ahead, Relaxed);
        ahead
    }

    /// Waits for what may change how the wall clock stands. On a runtime with I/O and timers.
    pub fn steps(self) -> Steps {
        Steps::new(self)
    }

    /// The monotonic clock: for deadlines and for measuring.
    #[allow(clippy::unused_self, reason = "a handle, so that who may ask is seen in the signatures")]
    pub fn instant(self) -> Instant {
        Instant::now()
    }

    /// The monotonic clock in microseconds, as other processes on this machine read it.
    #[allow(clippy::unused_self, reason = "a handle, so that who may ask is seen in the signatures")]
    pub fn monotonic_micros(self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let (seconds, micros) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec / 1_000));
        seconds.unwrap_or(0) * 1_000_000 + micros.unwrap_or(0)
    }

    /// The monotonic instant at which [`Clock::now`] says `at`; for what is before the start, the start.
    pub fn instant_of(self, at: Timestamp) -> Instant {
        self.0.started + at.since(self.started_at())
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "tests set each clock by itself")]
    fn read(self) -> Timestamp {
        system()
    }

    #[cfg(test)]
    fn read(self) -> Timestamp {
        system().moved(self.0.hand.load(Relaxed))
    }
}

/// A wall clock that is set by hand.
#[cfg(test)]
impl Clock {
    /// One whose wall clock is `millis` ahead of the system's from the start.
    pub(crate) fn ahead(millis: i64) -> Self {
        let clock = Self::start();
        clock.0.hand.store(millis, Relaxed);
        let wall = clock.read();
        clock.0.base.store(wall.as_millis(), Relaxed);
        clock.0.greatest.store(wall.as_millis(), Relaxed);
        clock
    }

    /// Sets the wall clock forward, or back.
    pub(crate) fn step(self, millis: i64) {
        self.0.hand.fetch_add(millis, Relaxed);
        self.0.stepped.notify_one();
    }
}

/// Where the clocks stand as a daemon starts at `wall`, after one that left `mark`; the newest rows are of `seen`.
///
/// While nothing ran the schedule's time went on as the wall clock did, if both ends of that are to be believed; else
/// it stood still: what was due in five minutes is due in five minutes. Where nobody has left a mark, due times were
/// wall times.
fn resumed(mark: Option<Mark>, seen: Timestamp, wall: Timestamp) -> Mark {
    let Some(mark) = mark else {
        let schedule = wall.max(seen).max(Timestamp::RELEASED);
        return Mark { schedule, wall, greatest: seen };
    };
    let now = Mark { schedule: mark.schedule, wall, greatest: mark.greatest.max(seen) };
    if mark.is_unset() || now.is_unset() {
        return now;
    }
    // Not after the mark: it adds nothing.
    Mark { schedule: mark.schedule.plus(wall.since(mark.wall)), ..now }
}

/// The daemon's luck.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chance;

impl Chance {
    /// A number in [0, 1), for jitter; not for secrets.
    pub fn fraction(self) -> f64 {
        fastrand::f64()
    }

    /// Any word of 64 bits, to tell things apart by; not for secrets.
    pub fn word(self) -> u64 {
        fastrand::u64(..)
    }

    /// Strong random bytes, from the kernel.
    ///
    /// # Errors
    /// The kernel has none to give (before its pool is seeded, or a sandbox forbids the call).
    pub fn bytes<const N: usize>(self) -> Result<[u8; N], getrandom::Error> {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes)?;
        Ok(bytes)
    }
}

fn system() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::EPOCH.plus(since)
}
