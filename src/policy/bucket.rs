//! How much may be handed in in a time: a token bucket, one number.
//!
//! It holds what flows in during a second, or one token if that is more; so a pause is made up for by a second's worth at
//! once. What is more than it ever holds is let through while it is full, and the bucket owes the rest: everything comes
//! through at some time, and over a longer time never more than the rate says.

use std::time::Duration;

use crate::model::time::Timestamp;

/// What a bucket holds, in the time that it takes to flow in.
const BURST: u64 = 1_000_000_000;

/// Tokens that flow in evenly. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    count: u64,
    per: u64,
    /// From when on it is full, if nothing is taken until then.
    full: u64,
}

impl Bucket {
    /// A full bucket that `count` tokens flow into in each `per`; of none, one.
    pub fn new(count: u64, per: Duration) -> Self {
        Self { count: count.max(1), per: nanos(per.as_nanos()), full: 0 }
    }

    /// How long it is until `tokens` may be taken.
    pub fn wait(&self, tokens: u64, now: Timestamp) -> Duration {
        let holds = BURST.max(self.cost(1));
        let owed = self.full.saturating_sub(at(now));
        Duration::from_nanos(owed.saturating_add(self.cost(tokens).min(holds)).saturating_sub(holds))
    }

    /// Takes `tokens`, whether they are there or not.
    pub fn take(&mut self, tokens: u64, now: Timestamp) {
        self.full = self.full.max(at(now)).saturating_add(self.cost(tokens));
    }

    /// From when on there is nothing to remember of it.
    pub const fn is_full(&self, now: Timestamp) -> bool {
        self.full <= at(now)
    }

    /// The time in which so many flow in.
    fn cost(&self, tokens: u64) -> u64 {
        nanos((u128::from(tokens) * u128::from(self.per)).div_ceil(u128::from(self.count)))
    }
}

fn nanos(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

const fn at(time: Timestamp) -> u64 {
    time.as_millis().saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;

    /// Takes as often as it may for so long, a millisecond at a time, and gives back how many times that was.
    fn takes(bucket: &mut Bucket, tokens: u64, millis: std::ops::Range<u64>) -> u64 {
        let mut taken = 0;
        for now in millis.map(|millis| Timestamp::from_millis(START + millis)) {
            while bucket.wait(tokens, now).is_zero() {
                bucket.take(tokens, now);
                taken += 1;
            }
        }
        taken
    }

    #[test]
    fn a_second_at_once_and_then_the_rate() {
        for (count, per, at_once, in_a_minute) in [
            (100, 1, 100, 6_000),
            (1, 1, 1, 60),
            (5_000, 1, 5_000, 300_000),
            (600, 60, 10, 600),
            (6, 60, 1, 6),
        ] {
            let mut bucket = Bucket::new(count, Duration::from_secs(per));
            let case = format!("{count} in {per} s");
            assert_eq!(takes(&mut bucket, 1, 0..1), at_once, "{case}");
            let more = takes(&mut bucket, 1, 1..60_001);
            assert!((in_a_minute - 1..=in_a_minute).contains(&more), "{case}: {more}");
            // A pause is made up for by a second's worth and no more.
            assert_eq!(takes(&mut bucket, 1, 600_000..600_001), at_once, "{case}");
        }
    }

    #[test]
    fn what_is_more_than_it_holds_is_taken_from_a_full_one_and_owed() {
        let at = |millis| Timestamp::from_millis(START + millis);
        let mut bucket = Bucket::new(100, Duration::from_secs(1));
        assert!(bucket.wait(1_000, at(0)).is_zero());
        bucket.take(1_000, at(0));
        // Ten seconds' worth: nine are owed before the first of the next flows in.
        assert_eq!(bucket.wait(1, at(0)), Duration::from_millis(9_010));
        assert_eq!(bucket.wait(1, at(9_009)), Duration::from_millis(1));
        assert!(bucket.wait(1, at(9_010)).is_zero());
        assert_eq!(bucket.wait(1_000, at(9_010)), Duration::from_millis(990), "only from a full one");
        assert_eq!((bucket.is_full(at(9_999)), bucket.is_full(at(10_000))), (false, true));
        // Nothing that can be asked for overflows.
        bucket.take(u64::MAX, at(10_000));
        assert!(bucket.wait(u64::MAX, at(20_000)) > Duration::from_secs(3_600));
    }

    #[test]
    fn no_time_has_more_than_the_rate_and_a_second() {
        let mut bucket = Bucket::new(10 << 20, Duration::from_secs(1));
        let taken = takes(&mut bucket, 64 << 10, 0..10_000) * (64 << 10);
        assert!((100 << 20..=110 << 20).contains(&taken), "{taken}");
    }
}
