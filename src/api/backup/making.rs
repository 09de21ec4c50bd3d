//! The backup that is being made: one at a time, and how it is called off.
//!
//! ```text
//! making ─▶ named: nobody calls it off any more
//!    └────▶ cancelled: with the next piece it is given up
//! ```
//!
//! A job that was cancelled has ended in the store at once, and its thread with the next piece: so what keeps out a second
//! backup is held by the thread, until nothing is left of what it had written. And whether it is cancelled or gets its name is
//! decided here, in one step: of a job that was cancelled there is no file, and one with a file is not cancelled.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::job::JobNumber;

const MAKING: u8 = 0;
const NAMED: u8 = 1;
const CANCELLED: u8 = 2;

/// The job of a backup, and how it stands.
type Job = (JobNumber, Arc<AtomicU8>);

/// Which backup is being made; clones share it.
#[derive(Clone)]
pub struct Backups {
    one: Arc<Semaphore>,
    now: Arc<Mutex<Option<Job>>>,
}

/// What came of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Cancelled {
    /// It will be given up.
    Yes,
    /// It is whole, and has its name or is about to get it.
    TooLate,
    /// It is not being made.
    Unknown,
}

/// The turn of one backup. Dropped, it is another's.
pub(super) struct Turn {
    backups: Backups,
    _permit: OwnedSemaphorePermit,
}

/// A backup that is being made, in its turn.
pub(super) struct Making {
    turn: Turn,
    state: Arc<AtomicU8>,
}

impl Default for Backups {
    fn default() -> Self {
        Self { one: Arc::new(Semaphore::new(1)), now: Arc::default() }
    }
}

impl Backups {
    /// The turn, if nobody has it.
    pub(super) fn turn(&self) -> Option<Turn> {
        let permit = Arc::clone(&self.one).try_acquire_owned().ok()?;
        Some(Turn { backups: self.clone(), _permit: permit })
    }

    /// Calls a backup off, if it can be.
    pub(in crate::api) fn cancel(&self, number: JobNumber) -> Cancelled {
        let now = self.now();
        let Some((_, state)) = now.as_ref().filter(|(one, _)| *one == number) else {
            return Cancelled::Unknown;
        };
        match state.compare_exchange(MAKING, CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(CANCELLED) => Cancelled::Yes,
            Err(_) => Cancelled::TooLate,
        }
    }

    fn now(&self) -> MutexGuard<'_, Option<Job>> {
        // It is set in one step.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Says which job has it.
    pub(super) fn of(self, number: JobNumber) -> Making {
        let state = Arc::new(AtomicU8::new(MAKING));
        *self.backups.now() = Some((number, Arc::clone(&state)));
        Making { turn: self, state }
    }
}

impl Making {
    /// Whether it was cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// Has it get its name, if it was not cancelled: from now on it cannot be.
    pub(super) fn name(&self) -> bool {
        let named = self.state.compare_exchange(MAKING, NAMED, Ordering::AcqRel, Ordering::Acquire);
        named.is_ok()
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        *self.turn.backups.now() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobNumber = JobNumber::new(7);

    #[test]
    fn one_is_made_at_a_time_and_to_its_end() {
        let backups = Backups::default();
        let turn = backups.turn().expect("nobody has it");
        assert!(backups.turn().is_none(), "before its job is made");
        let making = turn.of(JOB);
        assert_eq!(backups.cancel(JobNumber::new(8)), Cancelled::Unknown);
        assert_eq!(backups.cancel(JOB), Cancelled::Yes);
        assert!(making.is_cancelled() && backups.turn().is_none(), "it is still being taken away");
        assert_eq!(backups.cancel(JOB), Cancelled::Yes, "once more");
        assert!(!making.name(), "one that was cancelled gets no name");
        drop(making);
        assert_eq!(backups.cancel(JOB), Cancelled::Unknown);
        assert!(backups.turn().is_some());
    }

    #[test]
    fn one_that_gets_its_name_is_not_cancelled() {
        let backups = Backups::default();
        let making = backups.turn().expect("nobody has it").of(JOB);
        assert!(making.name());
        assert_eq!(backups.cancel(JOB), Cancelled::TooLate);
        assert!(!making.is_cancelled());
    }
}
