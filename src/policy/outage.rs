//! The brake on what attempts at many endpoints share: the box itself, and its proxy. When that fails, no endpoint is
//! in the wrong, and no schedule spends a step; so this alone keeps a backlog from failing by the thousand in a second, each
//! with its row in the store.
//!
//! After the first failure nothing that shares it starts but one *probe* at growing intervals. A probe that comes through
//! lets the others go with a slow start: so many at once as have come through since, and twice as many with each second. If it
//! fails again before `ENOUGH` have come through, the intervals go on where they were.
//!
//! A state machine as a value; who keeps it says what happened. What began before the state was as it is says nothing:
//! hundreds may be open when the proxy falls, and fail one by one. Nothing here fails.

use std::time::Duration;

use super::circuit::Open;
use crate::model::{
    attempt::{FailureKind, Outcome},
    time::Timestamp,
};

/// How long before each probe; the last holds for all that follow.
const PROBE: [u64; 7] = [1, 2, 4, 8, 15, 30, 60];
/// How many may be open at first, when it comes back.
const FIRST: usize = 2;
/// With so many that came through it counts as well.
const ENOUGH: u32 = 32;
/// How often the slow start widens by itself: endpoints that are slow must not make it slower.
const WIDENS: Duration = Duration::from_secs(1);

/// What attempts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shared {
    /// The box: all attempts.
    Machine,
    /// The proxy: those that go through it.
    Proxy,
}

impl Shared {
    /// All there is.
    pub const ALL: [Self; 2] = [Self::Machine, Self::Proxy];

    /// As it is written: as the failures that it leads to are.
    pub const fn as_str(self) -> &'static str {
        self.failure().as_str()
    }

    const fn failure(self) -> FailureKind {
        match self {
            Self::Machine => FailureKind::Local,
            Self::Proxy => FailureKind::Proxy,
        }
    }

    /// What an attempt that shared it says of it by its outcome.
    pub fn sign(self, outcome: &Outcome) -> Sign {
        match outcome {
            Outcome::Failure(failure) if failure.kind == self.failure() => Sign::Fails,
            // It did not come that far.
            Outcome::Failure(failure)
                if matches!(failure.kind, FailureKind::Local | FailureKind::Refused) =>
            {
                Sign::Nothing
            }
            _ => Sign::Works,
        }
    }
}

/// What an attempt says of what it shares with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sign {
    /// It is in trouble.
    Fails,
    /// Nothing.
    #[default]
    Nothing,
    /// It does its work.
    Works,
}

/// How something shared is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outage {
    state: State,
    /// Which state this is, of all that there were.
    turn: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Well,
    Down {
        open: Open,
        probing: bool,
    },
    Easing {
        /// What it was, while it has yet to prove itself.
        open: Option<Open>,
        room: usize,
        widens: Timestamp,
        through: u32,
    },
}

/// In which state an attempt began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u32);

impl Outage {
    /// Whether an attempt may start that shares it, where `open` do already.
    pub fn lets_start(&self, open: usize, now: Timestamp) -> bool {
        match self.state {
            State::Well => true,
            State::Down { open, probing } => !probing && open.next <= now,
            State::Easing { room, .. } => open < room,
        }
    }

    /// Takes note that one starts.
    pub const fn start(&mut self) -> Stamp {
        if let State::Down { probing, .. } = &mut self.state {
            *probing = true;
        }
        Stamp(self.turn)
    }

    /// Takes note of what one said that ended `at` this time.
    pub fn finish(&mut self, begun: Stamp, sign: Sign, at: Timestamp) {
        if begun.0 != self.turn {
            return;
        }
        match (&mut self.state, sign) {
            (State::Well | State::Easing { open: None, .. }, Sign::Fails) => {
                self.falls(at, 0, at);
            }
            (State::Down { open, .. } | State::Easing { open: Some(open), .. }, Sign::Fails) => {
                let (since, probes) = (open.since, open.probes.saturating_add(1));
                self.falls(since, probes, at);
            }
            (State::Down { open, .. }, Sign::Works) => {
                let open = Some(*open);
                self.turn = self.turn.wrapping_add(1);
                self.state = State::Easing { open, room: FIRST, widens: at.plus(WIDENS), through: 0 };
            }
            (State::Easing { open, room, through, .. }, Sign::Works) => {
                (*room, *through) = (room.saturating_add(1), through.saturating_add(1));
                *open = open.filter(|_| *through < ENOUGH);
            }
            (State::Down { probing, .. }, Sign::Nothing) => *probing = false,
            (State::Well | State::Easing { .. }, _) => {}
        }
    }

    fn falls(&mut self, since: Timestamp, probes: u32, at: Timestamp) {
        let place = usize::try_from(probes).map_or(PROBE.len(), |probes| probes.min(PROBE.len() - 1));
        let next = at.plus(Duration::from_secs(PROBE[place]));
        self.turn = self.turn.wrapping_add(1);
        self.state = State::Down { open: Open { since, probes, next }, probing: false };
    }

    /// Takes note of the time; where `most` may be open at all, a slow start that lets so many is over.
    pub fn advance(&mut self, most: usize, now: Timestamp) {
        while let State::Easing { room, widens, .. } = &mut self.state {
            if *room >= most {
                self.state = State::Well;
            } else if *widens <= now {
                (*room, *widens) = (room.saturating_mul(2), widens.plus(WIDENS));
            } else {
                return;
            }
        }
    }

    /// What there is to know of it while only probes are made.
    pub const fn down(&self) -> Option<Open> {
        match self.state {
            State::Down { open, .. } => Some(open),
            State::Well | State::Easing { .. } => None,
        }
    }

    /// When time alone will let something start that it keeps at `now`.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let next = match self.state {
            State::Down { open, probing: false } => open.next,
            State::Easing { widens, .. } => widens,
            State::Well | State::Down { probing: true, .. } => return None,
        };
        Some(next).filter(|next| *next > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attempt::{Failure, Response};

    const AT: Timestamp = Timestamp::RELEASED;

    fn after(seconds: u64) -> Timestamp {
        AT.plus(Duration::from_secs(seconds))
    }

    /// Lets one start and say this.
    fn tell(outage: &mut Outage, sign: Sign, at: Timestamp) {
        assert!(outage.lets_start(0, at), "{outage:?} at {at}");
        let stamp = outage.start();
        outage.finish(stamp, sign, at);
    }

    fn down(seconds: u64, probes: u32, next: u64) -> Open {
        Open { since: after(seconds), probes, next: after(next) }
    }

    #[test]
    fn signs() {
        use Sign::{Fails, Nothing, Works};
        let (headers, body) = (Vec::new(), Vec::new());
        let answer = Outcome::Response(Response {
            status: 500,
            headers,
            body,
            body_truncated: false,
            body_error: None,
        });
        assert_eq!(Shared::ALL.map(|shared| shared.sign(&answer)), [Works, Works]);
        for (kind, signs) in [
            (FailureKind::Connect, [Works, Works]),
            (FailureKind::Local, [Fails, Nothing]),
            (FailureKind::Protocol, [Works, Works]),
            (FailureKind::Proxy, [Works, Fails]),
            (FailureKind::Refused, [Nothing, Nothing]),
            (FailureKind::Resolve, [Works, Works]),
            (FailureKind::Timeout, [Works, Works]),
            (FailureKind::Tls, [Works, Works]),
        ] {
            let failure = Outcome::Failure(Failure { kind, message: String::new() });
            assert_eq!(Shared::ALL.map(|shared| shared.sign(&failure)), signs, "{kind:?}");
        }
    }

    #[test]
    fn one_probe_at_growing_intervals() {
        let mut outage = Outage::default();
        // Many are open when it falls.
        let open: Vec<_> = (0..100).map(|_| outage.start()).collect();
        for stamp in open {
            outage.finish(stamp, Sign::Fails, AT);
        }
        assert_eq!(outage.down(), Some(down(0, 0, 1)), "the first alone counts");
        let mut at = 0;
        for (probes, interval) in [1, 2, 4, 8, 15, 30, 60, 60, 60].into_iter().enumerate() {
            at += interval;
            assert!(!outage.lets_start(0, Timestamp::from_millis(after(at).as_millis() - 1)));
            assert_eq!(outage.next(AT), Some(after(at)));
            assert!(outage.lets_start(0, after(at)));
            let probe = outage.start();
            assert!(!outage.lets_start(1, after(at)) && outage.next(AT).is_none(), "it is alone");
            outage.finish(probe, Sign::Nothing, after(at));
            assert!(outage.lets_start(0, after(at)), "nothing came of it: at once again");
            tell(&mut outage, Sign::Fails, after(at));
            assert_eq!(outage.down().map(|open| open.probes), u32::try_from(probes + 1).ok());
        }
    }

    #[test]
    fn it_lets_go_slowly() {
        let mut outage = Outage::default();
        let before = outage.start();
        tell(&mut outage, Sign::Fails, AT);
        outage.finish(before, Sign::Works, AT);
        assert_eq!(outage.down(), Some(down(0, 0, 1)), "of before it fell");
        tell(&mut outage, Sign::Works, after(1));
        let room = |outage: &Outage| (0..1_000).find(|open| !outage.lets_start(*open, after(1)));
        assert_eq!((outage.down(), room(&outage)), (None, Some(2)));
        tell(&mut outage, Sign::Works, after(1));
        tell(&mut outage, Sign::Nothing, after(1));
        assert_eq!((room(&outage), outage.next(after(1))), (Some(3), Some(after(2))));
        outage.advance(512, after(2));
        outage.advance(512, after(2));
        assert_eq!((room(&outage), outage.next(after(2))), (Some(6), Some(after(3))));
        outage.advance(512, after(8));
        assert_eq!(room(&outage), Some(384));
        outage.advance(512, after(9));
        assert!(outage.lets_start(100_000, after(9)) && outage.next(after(9)).is_none());
        tell(&mut outage, Sign::Fails, after(20));
        assert_eq!(outage.down(), Some(down(20, 0, 21)), "as if for the first time");
    }

    #[test]
    fn what_falls_again_before_it_has_proved_itself_goes_on_where_it_was() {
        for (through, expected) in [(0, down(0, 2, 7)), (ENOUGH - 1, down(0, 2, 7)), (ENOUGH, down(3, 0, 4))]
        {
            let mut outage = Outage::default();
            tell(&mut outage, Sign::Fails, AT);
            tell(&mut outage, Sign::Fails, after(1));
            tell(&mut outage, Sign::Works, after(3));
            let begun = outage.start();
            for _ in 0..through {
                tell(&mut outage, Sign::Works, after(3));
            }
            tell(&mut outage, Sign::Fails, after(3));
            outage.finish(begun, Sign::Fails, after(3));
            assert_eq!(outage.down(), Some(expected), "{through}");
        }
    }
}
