//! How endpoints have done lately: attempts and successes by the hour, and when the last of each was.
//!
//! Counted is every attempt that says something of its endpoint: not one that could not be made because of the box or its
//! proxy. Where callbacks go is not counted, and nothing of an endpoint that has been deleted.
//!
//! The counts are kept in memory, some 240 bytes for each endpoint, and in rows of `health` beside a row of `meta`: the number
//! of the next attempt as it was then. A start counts the attempts from there on, so the counts are exact after a crash as
//! well. The rows go with the row [`held`](super::held) at its mark and the close, those alone whose counts have changed; and
//! with a commit that forgets an attempt which they do not count yet.
//!
//! ```text
//!  1  version (1)                        each of 24 hours, by its number modulo 24:
//!  8  the newest hour, since the epoch    4  attempts
//!  6  last success, ms; 0: none           4  of them successes
//!  6  last failure, ms; 0: none
//! ```

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redb::{ReadTransaction, ReadableTable as _, TableError, WriteTransaction};

use super::{
    endpoints::Endpoints,
    error::StoreError,
    record::{decode_tallied, read_six, six},
    schema::{ATTEMPTS, HEALTH, META, meta},
};
use crate::model::{
    attempt::{AttemptRow, FailureKind, Outcome, Report},
    endpoint::EndpointNumber,
    numbers::BuildNumberHasher,
    time::Timestamp,
};

/// So many hours are counted, the one that has begun among them.
const HOURS: u64 = 24;
const HOUR: Duration = Duration::from_secs(3600);
const VERSION: u8 = 1;
const HEAD: usize = 21;
const ROW: usize = HEAD + 24 * 8;

/// How an endpoint has done lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The newest hour that anything is counted of, since the epoch.
    hour: u64,
    hours: [Counted; 24],
    /// When the last attempt began that was a success.
    pub last_success: Option<Timestamp>,
    /// When the last attempt began that was none.
    pub last_failure: Option<Timestamp>,
}

/// What was counted in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Attempts.
    pub attempts: u32,
    /// Of these, successes.
    pub successes: u32,
}

/// An attempt, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tallied {
    pub(super) endpoint: EndpointNumber,
    pub(super) at: Timestamp,
    pub(super) success: bool,
}

impl Tallied {
    /// An attempt to this endpoint, if it is counted.
    pub(super) fn of(endpoint: EndpointNumber, report: &Report) -> Option<Self> {
        let kind = match &report.outcome {
            Outcome::Failure(failure) => Some(failure.kind),
            Outcome::Response(_) => None,
        };
        let Report { started_at: at, success, .. } = *report;
        says_something(kind).then_some(Self { endpoint, at, success })
    }
}

/// Whether an attempt that failed so, or was answered, says something of its endpoint.
pub(super) const fn says_something(failure: Option<FailureKind>) -> bool {
    !matches!(failure, Some(FailureKind::Local | FailureKind::Proxy))
}

impl Health {
    pub(super) fn count(&mut self, at: Timestamp, success: bool) {
        let hour = hour_of(at);
        if hour >= self.hour + HOURS || hour + HOURS <= self.hour {
            // Nothing of these hours is recent any more; or the clock has been set back by so much.
            self.hours = Default::default();
        } else if hour > self.hour {
            for passed in self.hour + 1..=hour {
                self.hours[slot(passed)] = Counted::default();
            }
        }
        let is_window = hour > self.hour || hour + HOURS <= self.hour;
        self.hour = if is_window { hour } else { self.hour };
        let counted = &mut self.hours[slot(hour)];
        counted.attempts = counted.attempts.saturating_add(1);
        counted.successes = counted.successes.saturating_add(u32::from(success));
        *if success { &mut self.last_success } else { &mut self.last_failure } = Some(at);
    }

    /// What was counted in the hour of `now` and the 23 before it.
    pub fn recent(&self, now: Timestamp) -> Counted {
        let now = hour_of(now);
        let mut sum = Counted::default();
        for hour in (now + 1).saturating_sub(HOURS)..=now {
            if hour <= self.hour && self.hour < hour + HOURS {
                let Counted { attempts, successes } = self.hours[slot(hour)];
                sum.attempts = sum.attempts.saturating_add(attempts);
                sum.successes = sum.successes.saturating_add(successes);
            }
        }
        sum
    }

    /// From when on [`recent`](Self::recent) counts.
    pub fn since(now: Timestamp) -> Timestamp {
        let first = (hour_of(now) + 1).saturating_sub(HOURS);
        Timestamp::EPOCH.plus(HOUR * u32::try_from(first).unwrap_or(u32::MAX))
    }

    fn encode(&self) -> [u8; ROW] {
        let mut row = [0; ROW];
        row[0] = VERSION;
        row[1..9].copy_from_slice(&self.hour.to_be_bytes());
        for (place, time) in [(9, self.last_success), (15, self.last_failure)] {
            row[place..place + 6].copy_from_slice(&six(time.map_or(0, Timestamp::as_millis)));
        }
        for (place, one) in row[HEAD..].as_chunks_mut::<8>().0.iter_mut().zip(self.hours) {
            place[..4].copy_from_slice(&one.attempts.to_be_bytes());
            place[4..].copy_from_slice(&one.successes.to_be_bytes());
        }
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let row: &[u8; ROW] = row.try_into().ok()?;
        let time = |place: usize| {
            let millis = read_six(row[place..place + 6].try_into().expect("six bytes"));
            (millis != 0).then(|| Timestamp::from_millis(millis))
        };
        let mut hours = [Counted::default(); 24];
        for (hour, place) in hours.iter_mut().zip(row[HEAD..].as_chunks::<8>().0) {
            let number =
                |from: usize| u32::from_be_bytes(place[from..from + 4].try_into().expect("four bytes"));
            (hour.attempts, hour.successes) = (number(0), number(4));
        }
        let hour = u64::from_be_bytes(row[1..9].try_into().expect("eight bytes"));
        // No clock says more.
        let is_hour = row[0] == VERSION && hour <= hour_of(Timestamp::MAX);
        is_hour.then_some(Self { hour, hours, last_success: time(9), last_failure: time(15) })
    }
}

fn hour_of(at: Timestamp) -> u64 {
    at.as_secs() / HOUR.as_secs()
}

fn slot(hour: u64) -> usize {
    usize::try_from(hour % HOURS).expect("less than 24")
}

type All = HashMap<EndpointNumber, Health, BuildNumberHasher>;

/// The counts, as others see them; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Healths(Arc<Mutex<All>>);

impl Healths {
    /// How this endpoint has done.
    pub fn of(&self, endpoint: EndpointNumber) -> Health {
        self.lock().get(&endpoint).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // A count is of no use that is half done, and none is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts, as the writer has them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    shared: Healths,
    /// Those whose row is not as they are.
    changed: HashSet<EndpointNumber, BuildNumberHasher>,
    /// The rows count the attempts before this one.
    mark: u64,
    /// One has gone that they do not.
    lost: bool,
}

impl Tally {
    /// What is counted of these endpoints in the store whose next attempt is `next`.
    pub(super) fn read(
        txn: &ReadTransaction,
        endpoints: &Endpoints,
        next: AttemptRow,
    ) -> Result<Self, StoreError> {
        let mark = txn.open_table(META)?.get(meta::HEALTH)?;
        let mark = mark.and_then(|row| row.value().try_into().ok()).map(u64::from_be_bytes);
        // A number that nobody was given yet is a damaged file's.
        let mark = mark.filter(|mark| *mark <= next.get());
        let mut tally = Self { mark: mark.unwrap_or(1), ..Self::default() };
        if mark.is_some() {
            tally.read_rows(txn, endpoints)?;
        }
        for row in txn.open_table(ATTEMPTS)?.range(tally.mark..)? {
            if let Some(one) = decode_tallied(row?.1.value()) {
                tally.count(one, endpoints);
            }
        }
        Ok(tally)
    }

    fn read_rows(&mut self, txn: &ReadTransaction, endpoints: &Endpoints) -> Result<(), StoreError> {
        let table = match txn.open_table(HEALTH) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in table.iter()? {
            let (number, row) = entry?;
            let number = EndpointNumber::new(number.value());
            match Health::decode(row.value()).filter(|_| endpoints.is_counted(number)) {
                Some(health) => drop(self.shared.lock().insert(number, health)),
                None => drop(self.changed.insert(number)),
            }
        }
        Ok(())
    }

    /// The counts for others to see.
    pub(super) fn shared(&self) -> Healths {
        self.shared.clone()
    }

    pub(super) fn count(&mut self, one: Tallied, endpoints: &Endpoints) {
        if endpoints.is_counted(one.endpoint) {
            self.shared.lock().entry(one.endpoint).or_default().count(one.at, one.success);
            self.changed.insert(one.endpoint);
        }
    }

    /// An endpoint has been deleted.
    pub(super) fn delete(&mut self, endpoint: EndpointNumber) {
        self.shared.lock().remove(&endpoint);
        self.changed.insert(endpoint);
    }

    /// This attempt is forgotten.
    pub(super) const fn forgot(&mut self, attempt: u64) {
        self.lost |= attempt >= self.mark;
    }

    /// Whether the rows must go with this commit.
    pub(super) const fn is_due(&self) -> bool {
        self.lost
    }

    /// Puts the rows that have changed into the transaction after which `next` is the next attempt.
    pub(super) fn write(&mut self, next: AttemptRow, txn: &WriteTransaction) -> Result<(), StoreError> {
        (self.mark, self.lost) = (next.get(), false);
        txn.open_table(META)?.insert(meta::HEALTH, next.get().to_be_bytes().as_slice())?;
        if self.changed.is_empty() {
            return Ok(());
        }
        let (mut table, all) = (txn.open_table(HEALTH)?, self.shared.lock());
        for number in self.changed.drain() {
            match all.get(&number) {
                Some(health) => table.insert(number.get(), health.encode().as_slice())?,
                None => table.remove(number.get())?,
            };
        }
        Ok(())
    }

    /// All that is counted.
    #[cfg(test)]
    pub(super) fn all(&self) -> std::collections::BTreeMap<EndpointNumber, Health> {
        self.shared.lock().iter().map(|(number, health)| (*number, *health)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64, minute: u64) -> Timestamp {
        Timestamp::from_millis((hour * 60 + minute) * 60_000)
    }

    fn counted(attempts: u32, successes: u32) -> Counted {
        Counted { attempts, successes }
    }

    #[test]
    fn an_hour_goes_as_another_begins() {
        const START: u64 = 500_000;
        let mut health = Health::default();
        for hour in 0..30 {
            health.count(at(START + hour, 0), hour % 2 == 0);
            health.count(at(START + hour, 59), true);
        }
        for (now, expected) in [
            (29, counted(48, 36)),
            (30, counted(46, 34)),
            (52, counted(2, 1)),
            (53, counted(0, 0)),
            // As a clock says that was set back a little.
            (28, counted(46, 35)),
            (0, counted(0, 0)),
        ] {
            assert_eq!(health.recent(at(START + now, 7)), expected, "{now}");
        }
        assert_eq!(Health::since(at(START + 29, 7)), at(START + 6, 0));
        assert_eq!(
            (health.last_success, health.last_failure),
            (Some(at(START + 29, 59)), Some(at(START + 29, 0)))
        );
        assert_eq!(Health::decode(&health.encode()), Some(health));
        assert_eq!(Health::decode(&health.encode()[1..]), None);
        // Late ones are of their hour; of none, if that is past.
        health.count(at(START + 20, 0), false);
        assert_eq!(health.recent(at(START + 29, 7)), counted(49, 36));
        // A day without any.
        health.count(at(START + 60, 0), true);
        assert_eq!(health.recent(at(START + 60, 7)), counted(1, 1));
        // A clock that was far ahead is set right.
        health.count(at(START - 900, 0), false);
        assert_eq!(health.recent(at(START - 900, 7)), counted(1, 0));
        assert_eq!(health.recent(at(START + 60, 7)), counted(0, 0));
    }

    #[test]
    fn not_every_failure_is_the_endpoints() {
        let kinds = [FailureKind::Connect, FailureKind::Refused, FailureKind::Timeout, FailureKind::Tls];
        assert!(kinds.into_iter().all(|kind| says_something(Some(kind))) && says_something(None));
        assert!(!says_something(Some(FailureKind::Local)) && !says_something(Some(FailureKind::Proxy)));
    }
}
