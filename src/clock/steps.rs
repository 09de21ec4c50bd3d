//! Waiting for the wall clock to be set, without looking at it again and again.
//!
//! The kernel tells it: a timer that a step of the clock cancels. Where it gives none (a sandbox), a look a minute does.

use std::{
    io::ErrorKind,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tokio::{net::unix::pipe::Receiver, time::sleep};

use super::Clock;
use crate::model::time::{Mark, Timestamp};

/// How often the clock is looked at where the kernel does not tell.
const LOOK: Duration = Duration::from_secs(60);
/// No sleep is longer: tokio's 1.53 line has a timer bug with sleeps of years.
const LONGEST: Duration = Duration::from_secs(3600);
/// The timer is not there to go off: it is set so many seconds ahead.
const AHEAD: u64 = 1 << 28;

/// What may change how the wall clock stands: that somebody sets it, or, while it is unset, that it catches up.
#[derive(Debug)]
pub struct Steps {
    clock: Clock,
    timer: Option<Receiver>,
}

impl Steps {
    pub(super) fn new(clock: Clock) -> Self {
        let timer = timer(clock.wall()).ok();
        // No pipe, but read like one; and of all that tokio waits for this is what takes any descriptor.
        let timer = timer.and_then(|timer| Receiver::from_owned_fd_unchecked(timer).ok());
        Self { clock, timer }
    }

    /// Waits for the next. There may be one too many.
    pub async fn next(&mut self) {
        let mark = self.clock.mark();
        let set = mark.is_unset().then(|| caught_up(&mark).min(LONGEST));
        tokio::select! {
            () = self.stepped() => {}
            () = sleep(set.unwrap_or_default()), if set.is_some() => {}
        }
    }

    #[cfg(not(test))]
    async fn stepped(&self) {
        self.told().await;
    }

    #[cfg(test)]
    async fn stepped(&self) {
        tokio::select! {
            () = self.told() => {}
            () = self.clock.0.stepped.notified() => {}
        }
    }

    async fn told(&self) {
        let Some(timer) = &self.timer else { return sleep(LOOK).await };
        if timer.readable().await.is_err() {
            return sleep(LOOK).await;
        }
        // What it says does not matter: that it was cancelled, or went off. It is read until it has nothing to say.
        while !matches!(timer.try_read(&mut [0; 8]), Err(error) if error.kind() == ErrorKind::WouldBlock) {}
        // Before the clock is looked at, so that no step falls in between.
        if arm(timer, self.clock.wall()).is_err() {
            sleep(LOOK).await;
        }
    }
}

/// How long a clock that nobody sets is unset still.
fn caught_up(mark: &Mark) -> Duration {
    let set = mark.greatest.since(Timestamp::EPOCH).saturating_sub(Mark::TOLERANCE);
    let set = Timestamp::EPOCH.plus(set).max(Timestamp::RELEASED);
    set.since(mark.wall) + Duration::from_millis(1)
}

fn timer(wall: Timestamp) -> Result<OwnedFd, Errno> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
    arm(&timer, wall)?;
    Ok(timer)
}

fn arm(timer: impl AsFd, wall: Timestamp) -> Result<(), Errno> {
    let seconds = i64::try_from(wall.as_secs() + AHEAD).unwrap_or(i64::MAX);
    let time = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: seconds, tv_nsec: 0 },
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &time).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_it_has_caught_up() {
        let at = |seconds: u64| Timestamp::RELEASED.plus(Duration::from_secs(seconds));
        for (wall, greatest, seconds) in [(at(0), at(100), 99), (at(99), at(100), 0)] {
            let mark = Mark { schedule: wall, wall, greatest };
            assert_eq!(caught_up(&mark), Duration::from_millis(seconds * 1000 + 1));
        }
        let mark = Mark { schedule: at(0), wall: Timestamp::EPOCH, greatest: Timestamp::EPOCH };
        assert_eq!(caught_up(&mark), Timestamp::RELEASED.since(Timestamp::EPOCH) + Duration::from_millis(1));
    }

    #[tokio::test]
    async fn a_timer_is_to_be_had() {
        assert!(Clock::start().steps().timer.is_some(), "the kernel tells of steps");
    }
}
