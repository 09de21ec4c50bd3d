//! How many attempts may start in a time: the generic cell rate algorithm, one number for each lane.
//!
//! What is promised is strict: in no second (minute, hour) of the rate do more start than it says, wherever that second
//! begins. For that the pace is slower by `LEEWAY` in each: this much a start may be early, so that a timer's
//! lateness and more than one start in a millisecond do not lower the rate any further. What has started has had its
//! turn, whatever comes of it.

use std::time::Duration;

use crate::model::{profile::Rate, time::Timestamp};

/// How much earlier than its turn an attempt may start: a tick of the timer wheel.
const LEEWAY: Duration = Duration::from_millis(10);

/// Holds starts to a rate. Times are microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one start to the next.
    interval: u64,
    /// The turn of the next start if all went evenly.
    turn: u64,
}

impl Pace {
    /// A pace that has not begun.
    pub fn new(rate: Rate) -> Self {
        let whole = u64::try_from((rate.per + LEEWAY).as_micros()).unwrap_or(u64::MAX);
        Self { interval: whole.div_ceil(u64::from(rate.count.get())), turn: 0 }
    }

    /// Goes on at `now` with another rate: of what the former has started it owes one interval at most.
    #[must_use]
    pub fn changed(self, rate: Rate, now: Timestamp) -> Self {
        let new = Self::new(rate);
        Self { turn: self.turn.min(micros(now).saturating_add(new.interval)), ..new }
    }

    /// From when on the next may start.
    pub fn next(&self) -> Timestamp {
        let leeway = u64::try_from(LEEWAY.as_micros()).expect("a few milliseconds");
        Timestamp::from_millis(self.turn.saturating_sub(leeway).div_ceil(1_000))
    }

    /// Takes note that one starts at `now`.
    pub fn start(&mut self, now: Timestamp) {
        self.turn = self.turn.max(micros(now)).saturating_add(self.interval);
    }
}

const fn micros(time: Timestamp) -> u64 {
    time.as_millis().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(count: u32, per: Duration) -> Rate {
        Rate { count: NonZeroU32::new(count).expect("not 0"), per }
    }

    /// When each of `count` starts is if all begin as soon as they may, at whole milliseconds from `now` on.
    fn starts(pace: &mut Pace, mut now: u64, count: usize) -> Vec<u64> {
        let one = |_| {
            now = now.max(pace.next().as_millis());
            pace.start(Timestamp::from_millis(now));
            now
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn no_time_has_more_starts_than_the_rate_says_and_few_have_less() {
        for (count, per) in [(1, 1), (3, 1), (100, 1), (5_000, 1), (7, 60), (90_000, 60), (2, 3_600)] {
            let per = Duration::from_secs(per);
            let case = format!("{count} in {per:?}");
            let mut pace = Pace::new(rate(count, per));
            let count = usize::try_from(count).expect("small");
            let starts = starts(&mut pace, 1_000_000_000, 3 * count + 50);
            let span = u64::try_from(per.as_millis()).expect("small");
            for (first, last) in starts.iter().zip(&starts[count..]) {
                assert!(last - first >= span, "{case}: one more from {first} to {last}");
                let slow = span + span / 50 + 20;
                assert!(last - first <= slow, "{case}: too few from {first} to {last}");
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut pace = Pace::new(rate(100, Duration::from_secs(1)));
        starts(&mut pace, 1_000_000, 200);
        let later = starts(&mut pace, 2_000_000, 101);
        assert!(later[100] - later[0] >= 1_000, "{later:?}");
    }

    #[test]
    fn a_change_owes_one_interval() {
        let now = Timestamp::from_millis(1_000_000);
        let mut pace = Pace::new(rate(1, Duration::from_secs(3_600)));
        pace.start(now);
        let changed = pace.changed(rate(10, Duration::from_secs(1)), now);
        assert_eq!(changed.next(), now.plus(Duration::from_millis(91)));
        assert_eq!(Pace::new(rate(10, Duration::from_secs(1))).next(), Timestamp::EPOCH);
    }
}
