//! For how long a run goes on trying, and when it connects again; sans-io.
//!
//! It counts from the last line that was settled. The first connection that is lost since then is made again at once:
//! the daemon was restarted, or had waited long enough for a line. After more of them the pauses grow, so that a daemon
//! that hangs up on everybody is not kept busy with it.

use std::time::{Duration, Instant};

/// From one try to connect again to the next.
pub const RECONNECT: Duration = Duration::from_millis(200);
/// The pauses grow up to this.
const LONGEST: Duration = Duration::from_secs(5);

/// How long is too long.
#[derive(Debug)]
pub struct Patience {
    wait: Duration,
    since: Instant,
    lost: u32,
}

impl Patience {
    /// From now on it waits for so long.
    pub const fn new(wait: Duration, now: Instant) -> Self {
        Self { wait, since: now, lost: 0 }
    }

    /// A line was settled, or the first has come after there was none.
    pub const fn restart(&mut self, now: Instant) {
        self.since = now;
        self.lost = 0;
    }

    /// Whether something may be waited for until then.
    pub fn reaches(&self, until: Instant) -> bool {
        until <= self.since + self.wait
    }

    /// A connection is lost. For how long none is made; `None`: that is for longer than it waits.
    pub fn lost(&mut self, now: Instant) -> Option<Duration> {
        self.lost = self.lost.saturating_add(1);
        let Some(doublings) = self.lost.checked_sub(2) else { return Some(Duration::ZERO) };
        let pause = RECONNECT.saturating_mul(1 << doublings.min(16)).min(LONGEST);
        self.reaches(now + pause).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn pauses_grow_and_end_with_the_patience() {
        let start = Clock::start().instant();
        for (wait, expected) in [
            (0, &[0][..]),
            (199, &[0]),
            (200, &[0, 200]),
            (999, &[0, 200, 400]),
            (20_000, &[0, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]),
        ] {
            let mut patience = Patience::new(Duration::from_millis(wait), start);
            for _ in 0..2 {
                let mut now = start;
                let mut pauses = Vec::new();
                while let Some(pause) = patience.lost(now) {
                    pauses.push(pause.as_millis());
                    now += pause;
                }
                assert_eq!(pauses, expected, "{wait} ms");
                patience.restart(start);
            }
        }
    }
}
