//! The only place that reads a clock or draws a random number.
//!
//! Everything else takes the time and its luck as arguments, or asks the handles here, which the daemon makes
//! once and passes on; so the rules, the wheel and the scheduler run in tests in simulated time.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the place that the ban on clocks and chance points to"
)]

use std::time::{Duration, Instant, SystemTime};

use crate::model::time::Timestamp;

/// The daemon's clocks: the wall clock, and a schedule clock that no step of the wall clock moves.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Clock {
    /// Starts the schedule clock at what the wall clock says now.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_at: wall() }
    }

    /// What the wall clock says: for signatures, ids and what people read.
    #[allow(clippy::unused_self, reason = "a handle, so that who may ask is seen in the signatures")]
    pub fn wall(self) -> Timestamp {
        wall()
    }

    /// The schedule's time: the wall clock at the start plus the time elapsed since. Due times are compared with this.
    pub fn now(self) -> Timestamp {
        self.started_at.plus(self.started.elapsed())
    }

    /// When this clock was started.
    pub const fn started_at(self) -> Timestamp {
        self.started_at
    }

    /// The monotonic clock: for deadlines and for measuring.
    #[allow(clippy::unused_self, reason = "a handle, so that who may ask is seen in the signatures")]
    pub fn instant(self) -> Instant {
        Instant::now()
    }

    /// The monotonic instant at which [`Clock::now`] says `at`; for what is before the start, the start.
    pub fn instant_of(self, at: Timestamp) -> Instant {
        self.started + at.since(self.started_at)
    }
}

/// The daemon's luck.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chance;

impl Chance {
    /// A number in [0, 1), for jitter; not for secrets.
    pub fn fraction(self) -> f64 {
        fastrand::f64()
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

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::EPOCH.plus(since)
}
