//! How often somebody may fail: so many times at once, and then once in a while.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::model::time::Timestamp;

/// How many failures are nothing to speak of, and how soon one is forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// So many at once.
    pub burst: u32,
    /// After so long another one.
    pub each: Duration,
}

/// The failures of somebody: one time, as of a bucket that drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// When all of them are forgotten.
    until: Timestamp,
}

impl Tries {
    /// Counts a failure. Where there have been too many, it is not counted, and this says how long it is until another is
    /// nothing to speak of.
    pub fn fail(&mut self, pace: Pace, now: Timestamp) -> Option<Duration> {
        let full = pace.each * pace.burst;
        let after = self.until.max(now).plus(pace.each);
        let over = after.since(now.plus(full));
        if over.is_zero() {
            self.until = after;
            return None;
        }
        Some(over)
    }

    /// Whether there is nothing to remember.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.until <= now
    }
}

/// What counts as one address: of IPv6 a network of 64 bits, which one machine may have to itself.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        other @ IpAddr::V4(_) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_in_a_while() {
        let pace = Pace { burst: 3, each: Duration::from_secs(5) };
        let at = |seconds| Timestamp::RELEASED.plus(Duration::from_secs(seconds));
        let mut tries = Tries::default();
        for _ in 0..3 {
            assert_eq!(tries.fail(pace, at(0)), None);
        }
        assert_eq!(tries.fail(pace, at(0)), Some(Duration::from_secs(5)));
        assert_eq!(tries.fail(pace, at(4)), Some(Duration::from_secs(1)), "what is too much is not counted");
        assert_eq!(tries.fail(pace, at(5)), None);
        assert_eq!(tries.fail(pace, at(5)), Some(Duration::from_secs(5)));
        assert!(!tries.is_forgotten(at(19)));
        assert!(tries.is_forgotten(at(20)));
        for _ in 0..3 {
            assert_eq!(tries.fail(pace, at(100)), None);
        }
        assert!(tries.fail(pace, at(100)).is_some());
    }
}
