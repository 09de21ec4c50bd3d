//! The circuit of an endpoint: after so many of its own failures in a row it is *open*, and nothing is attempted but
//! one *probe* at growing intervals, until an attempt succeeds.
//!
//! A small state machine as a value; who keeps it says what happened. Nothing here fails.

use std::{num::NonZeroU32, time::Duration};

use super::{retry::lengthen, verdict::Verdict};
use crate::model::{profile::Profile, time::Timestamp};

/// When a circuit opens and when its probes are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// So many failures in a row open it.
    pub failures: NonZeroU32,
    /// How long before each probe; the last holds for all that follow. Empty counts as no pause.
    pub probe: Box<[Duration]>,
    /// Each interval is lengthened by up to this fraction of itself; 0 to 1.
    pub jitter: f64,
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Attempts are made as they come.
    Closed {
        /// The endpoint's own failures in a row.
        failures: u32,
    },
    /// Only probes are made.
    Open(Open),
}

/// What there is to know of an open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Since when.
    pub since: Timestamp,
    /// How many probes have failed.
    pub probes: u32,
    /// When the next probe may begin.
    pub next: Timestamp,
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What it says of its endpoint.
    pub verdict: Verdict,
    /// It began as a probe.
    pub probe: bool,
    /// When it ended.
    pub at: Timestamp,
    /// In [0, 1), draws the jitter of the next interval.
    pub chance: f64,
}

impl Rules {
    /// Those of a profile; `None`: its circuits never open.
    pub fn of(profile: &Profile) -> Option<Self> {
        let failures = NonZeroU32::new(profile.circuit)?;
        Some(Self { failures, probe: profile.probe.as_slice().into(), jitter: profile.jitter })
    }

    /// When the probe after `probes` failed ones may begin, counted from the end `at` of the attempt before it.
    fn next(&self, probes: u32, at: Timestamp, chance: f64) -> Timestamp {
        let place = usize::try_from(probes).unwrap_or(usize::MAX);
        let interval = self.probe.get(place).or(self.probe.last()).copied().unwrap_or_default();
        at.plus(lengthen(interval, self.jitter * chance))
    }
}

impl Circuit {
    /// Nothing is known yet.
    pub const NEW: Self = Self::Closed { failures: 0 };

    /// The state after an attempt.
    ///
    /// Any success closes it. While it is open only a probe moves the interval: attempts that were under way when it
    /// opened say nothing. A probe of which no request came is made up for at once, one that the box itself could not
    /// make after the same interval again.
    #[must_use]
    pub fn after(self, ended: Ended, rules: &Rules) -> Self {
        let Ended { verdict, at, chance, .. } = ended;
        match self {
            _ if verdict == Verdict::Success => Self::NEW,
            Self::Closed { failures } => match verdict {
                Verdict::Failure if failures.saturating_add(1) >= rules.failures.get() => {
                    Self::Open(Open { since: at, probes: 0, next: rules.next(0, at, chance) })
                }
                Verdict::Failure => Self::Closed { failures: failures + 1 },
                Verdict::Rejected => Self::NEW,
                _ => self,
            },
            Self::Open(open) if ended.probe => {
                let failed = matches!(verdict, Verdict::Failure | Verdict::Rejected);
                let probes = open.probes.saturating_add(u32::from(failed));
                match verdict {
                    Verdict::Nothing => self,
                    _ => Self::Open(Open { probes, next: rules.next(probes, at, chance), ..open }),
                }
            }
            Self::Open(_) => self,
        }
    }

    /// What there is to know of it while it is open.
    pub const fn open(self) -> Option<Open> {
        match self {
            Self::Closed { .. } => None,
            Self::Open(open) => Some(open),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::RELEASED;

    fn rules() -> Rules {
        let probe = [10, 30, 60].map(Duration::from_secs);
        Rules { failures: NonZeroU32::new(3).expect("not 0"), probe: probe.into(), jitter: 0.5 }
    }

    fn closed(failures: u32) -> Circuit {
        Circuit::Closed { failures }
    }

    fn open(probes: u32, next: u64) -> Circuit {
        let next = AT.plus(Duration::from_secs(next));
        Circuit::Open(Open { since: Timestamp::EPOCH, probes, next })
    }

    #[test]
    fn what_follows_from_an_attempt() {
        use Verdict::{Failure, Neutral, Nothing, Rejected, Success};
        let opened = Circuit::Open(Open { since: AT, probes: 0, next: AT.plus(Duration::from_secs(10)) });
        for (before, verdict, probe, chance, after) in [
            (closed(0), Failure, false, 0.0, closed(1)),
            (closed(1), Failure, false, 0.0, closed(2)),
            (closed(2), Failure, false, 0.0, opened),
            // A limit that was lowered meanwhile.
            (closed(7), Failure, false, 0.0, opened),
            (closed(u32::MAX), Failure, false, 0.0, opened),
            (closed(2), Success, false, 0.0, closed(0)),
            (closed(2), Rejected, false, 0.0, closed(0)),
            (closed(2), Neutral, false, 0.0, closed(2)),
            (closed(2), Nothing, false, 0.0, closed(2)),
            // Of before it opened.
            (open(1, 5), Failure, false, 0.0, open(1, 5)),
            (open(1, 5), Rejected, false, 0.0, open(1, 5)),
            (open(1, 5), Neutral, false, 0.0, open(1, 5)),
            (open(1, 5), Success, false, 0.0, closed(0)),
            // Probes.
            (open(0, 0), Failure, true, 0.0, open(1, 30)),
            (open(0, 0), Rejected, true, 0.0, open(1, 30)),
            (open(1, 0), Failure, true, 0.0, open(2, 60)),
            (open(1, 0), Failure, true, 0.5, open(2, 75)),
            (open(2, 0), Failure, true, 0.0, open(3, 60)),
            (open(u32::MAX, 0), Failure, true, 0.0, open(u32::MAX, 60)),
            (open(1, 0), Neutral, true, 0.0, open(1, 30)),
            (open(1, 0), Nothing, true, 0.0, open(1, 0)),
            (open(9, 0), Success, true, 0.0, closed(0)),
        ] {
            let ended = Ended { verdict, probe, at: AT, chance };
            assert_eq!(before.after(ended, &rules()), after, "{before:?}, {ended:?}");
        }
    }

    #[test]
    fn without_intervals_a_probe_follows_at_once() {
        let rules = Rules { probe: Box::default(), ..rules() };
        let ended = Ended { verdict: Verdict::Failure, probe: false, at: AT, chance: 0.9 };
        let after = closed(2).after(ended, &rules);
        assert_eq!(after.open().map(|open| open.next), Some(AT));
    }
}
