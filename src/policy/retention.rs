//! How long events are kept once they have ended, and when that is counted from.
//!
//! An age runs from acceptance, by the wall clock that never goes back. A box without a battery for its clock accepts events in
//! 1970; to forget them as soon as its clock is set would be to forget what nobody has seen yet. So an event whose time
//! cannot be right, as it is before posthaste's release or behind that of an older event, is as old as the next
//! whose time can be, which was accepted later ([`Dating`]).

use std::{collections::HashMap, time::Duration};

use crate::model::{account::AccountName, time::Timestamp};

/// The clock may be steered back by so much without being unset.
const STEERED: Duration = Duration::from_secs(1);

/// How long an account's events are kept, from acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Those whose deliveries have all succeeded, or that had none.
    pub succeeded: Duration,
    /// Others that have ended.
    pub failed: Duration,
}

/// How long events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of accounts that say nothing else.
    pub ages: Ages,
    /// Of those that do.
    pub accounts: HashMap<AccountName, Ages>,
}

impl Retention {
    /// How long events of this account are kept.
    pub fn of(&self, account: &AccountName) -> Ages {
        self.accounts.get(account).copied().unwrap_or(self.ages)
    }

    /// The shortest of all ages: nothing younger is to go.
    pub fn shortest(&self) -> Duration {
        let all = self.accounts.values().chain([&self.ages]);
        all.map(|ages| ages.succeeded.min(ages.failed)).min().expect("there is one at least")
    }
}

/// From when on an event is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dated {
    /// From then.
    At(Timestamp),
    /// That is to be seen: its own time cannot be right.
    Later,
    /// From then; and now it is known of those before it, from this place on: they are to be gone over again.
    Back(u64),
}

/// Finds from when on events are old that are gone over in the order of acceptance, each with its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dating {
    /// The greatest time that was right.
    greatest: Timestamp,
    /// Where those begin of which it is to be seen.
    run: Option<u64>,
    /// Those before this place are old from then on, where their own time is not right.
    lent: Option<(u64, Timestamp)>,
}

impl Dating {
    /// From when on the event at `place` is old, which was accepted at this time, as the wall clock said.
    pub fn date(&mut self, place: u64, accepted_at: Timestamp) -> Dated {
        if let Some((until, at)) = self.lent
            && place < until
        {
            return Dated::At(at);
        }
        if accepted_at < Timestamp::RELEASED || accepted_at.plus(STEERED) < self.greatest {
            self.run.get_or_insert(place);
            return Dated::Later;
        }
        self.greatest = self.greatest.max(accepted_at);
        match self.run.take() {
            Some(first) => {
                self.lent = Some((place, accepted_at));
                Dated::Back(first)
            }
            None => Dated::At(accepted_at),
        }
    }

    /// The first place of which it is still to be seen.
    pub const fn open(&self) -> Option<u64> {
        self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::RELEASED.plus(Duration::from_secs(seconds))
    }

    /// What is said of events accepted at these times, at the places 1, 2 and so on.
    fn dated(times: &[Timestamp]) -> Vec<Option<Timestamp>> {
        let mut dating = Dating::default();
        let mut found = vec![None; times.len()];
        let mut place = 1;
        while let Some(accepted_at) = times.get(place - 1) {
            match dating.date(u64::try_from(place).expect("fits"), *accepted_at) {
                Dated::At(at) => found[place - 1] = Some(at),
                Dated::Later => {}
                Dated::Back(first) => {
                    place = usize::try_from(first).expect("fits");
                    continue;
                }
            }
            place += 1;
        }
        found
    }

    #[test]
    fn an_event_without_a_time_is_as_old_as_the_next_that_has_one() {
        let unset = Timestamp::from_millis(7_000);
        for (times, expected) in [
            (vec![at(1), at(2)], vec![Some(at(1)), Some(at(2))]),
            (vec![unset, unset, at(5), at(6)], vec![Some(at(5)), Some(at(5)), Some(at(5)), Some(at(6))]),
            (vec![at(9), unset, at(20)], vec![Some(at(9)), Some(at(20)), Some(at(20))]),
            // Nobody knows when these were accepted.
            (vec![at(9), unset, unset], vec![Some(at(9)), None, None]),
            // Steered back is not set back.
            (vec![at(9), at(8), at(9)], vec![Some(at(9)), Some(at(8)), Some(at(9))]),
            (vec![at(9), at(7), at(9)], vec![Some(at(9)), Some(at(9)), Some(at(9))]),
            (vec![unset, at(5), unset, at(8)], vec![Some(at(5)), Some(at(5)), Some(at(8)), Some(at(8))]),
        ] {
            assert_eq!(dated(&times), expected, "{times:?}");
        }
    }

    #[test]
    fn the_shortest_age_is_that_of_any_account() {
        let ages = |succeeded, failed| Ages {
            succeeded: Duration::from_secs(succeeded),
            failed: Duration::from_secs(failed),
        };
        let account: AccountName = "acme".parse().expect("a name");
        let mut retention = Retention { ages: ages(7, 30), accounts: HashMap::new() };
        assert_eq!((retention.shortest().as_secs(), retention.of(&account)), (7, ages(7, 30)));
        retention.accounts.insert(account.clone(), ages(9, 3));
        assert_eq!((retention.shortest().as_secs(), retention.of(&account)), (3, ages(9, 3)));
        assert_eq!(retention.of(&AccountName::default()), ages(7, 30));
    }
}
