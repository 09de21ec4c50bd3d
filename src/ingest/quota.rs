//! How much each user of the socket has open, and hands in.
//!
//! Connections are counted by user, whatever rule let each in. What is handed in is counted by user and rule, in a
//! [`Purse`] that all connections share; it is forgotten when none of them is open and its buckets are full.
//!
//! Memory: an entry for each user with an open connection, and at most [`PURSES`] purses that nobody holds.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::answer::{Code, Refusal};
use crate::{
    model::{
        quota::Quota,
        time::{Timestamp, format_duration},
    },
    policy::bucket::Bucket,
};

/// Purses past which those that nobody holds are forgotten, owing or not.
const PURSES: usize = 16_384;
/// Purses below which nobody looks for some to forget.
const FEW: usize = 64;

/// What is counted; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Quotas {
    counted: Arc<Mutex<Counted>>,
    connections: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Counted {
    connections: HashMap<u32, usize>,
    purses: HashMap<(u32, Arc<str>), Arc<Purse>>,
    /// At how many purses it is time to look for some to forget.
    sweep: usize,
}

/// A connection that counts as one of its user's; dropped, it does no longer.
#[derive(Debug)]
pub(super) struct Connected {
    uid: u32,
    counted: Arc<Mutex<Counted>>,
}

/// What one user may hand in, by one rule.
#[derive(Debug)]
pub(super) struct Purse {
    uid: u32,
    /// The rule, as messages name it.
    rule: Arc<str>,
    quota: Quota,
    buckets: Mutex<Buckets>,
}

#[derive(Clone, Copy, Debug)]
struct Buckets {
    events: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Quotas {
    /// Nothing is open, and nobody has handed anything in. A user may have so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self { counted: Arc::default(), connections: Arc::new(AtomicUsize::new(connections)) }
    }

    /// A user may have so many from now on; those that are open stay.
    pub(super) fn set_connections(&self, connections: usize) {
        self.connections.store(connections, Ordering::Relaxed);
    }

    /// Counts a connection of a user, who may have the rule's number of them.
    ///
    /// # Errors
    /// As many are open already.
    pub(super) fn connect(&self, uid: u32, rule: Option<(&str, &Quota)>) -> Result<Connected, Refusal> {
        let own = rule.and_then(|(name, quota)| Some((name, quota.connections?)));
        let most =
            own.map_or_else(|| self.connections.load(Ordering::Relaxed), |(_, connections)| connections);
        let mut counted = lock(&self.counted);
        let open = counted.connections.entry(uid).or_default();
        if *open >= most {
            let limit = match own {
                Some((rule, _)) => format!("`connections` of the {rule}"),
                None => "[limits] connections_per_uid".to_owned(),
            };
            let message = format!(
                "uid {uid} has {open} connections open, and may have {most} ({limit}): close one, or hand in many events over one"
            );
            return Err(exceeded(message, Duration::from_secs(1)));
        }
        *open += 1;
        Ok(Connected { uid, counted: Arc::clone(&self.counted) })
    }

    /// The purse of a user by the rule of this name; `None` where nothing is to be counted. Where the rule has another quota than
    /// it had, it is another purse.
    pub(super) fn purse(
        &self,
        uid: u32,
        rule: &Arc<str>,
        quota: &Quota,
        now: Timestamp,
    ) -> Option<Arc<Purse>> {
        if quota.rate.is_none() && quota.bytes.is_none() {
            return None;
        }
        let mut counted = lock(&self.counted);
        let key = (uid, Arc::clone(rule));
        if let Some(purse) = counted.purses.get(&key).filter(|purse| purse.quota == *quota) {
            return Some(Arc::clone(purse));
        }
        counted.forget(now);
        let purse = Arc::new(Purse::new(uid, Arc::clone(rule), *quota));
        counted.purses.insert(key, Arc::clone(&purse));
        Some(purse)
    }
}

impl Counted {
    /// Forgets purses that say nothing, when there are twice as many as the last time that this was done.
    fn forget(&mut self, now: Timestamp) {
        if self.purses.len() < self.sweep.max(FEW) {
            return;
        }
        let held = |purse: &Arc<Purse>| Arc::strong_count(purse) > 1;
        self.purses.retain(|_, purse| held(purse) || !purse.is_full(now));
        if self.purses.len() >= PURSES {
            self.purses.retain(|_, purse| held(purse));
        }
        self.sweep = self.purses.len() * 2;
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut counted = lock(&self.counted);
        if let Some(open) = counted.connections.get_mut(&self.uid) {
            *open -= 1;
            if *open == 0 {
                counted.connections.remove(&self.uid);
            }
        }
    }
}

impl Purse {
    fn new(uid: u32, rule: Arc<str>, quota: Quota) -> Self {
        let events = quota.rate.map(|rate| Bucket::new(rate.count.get().into(), rate.per));
        let bytes = quota.bytes.map(|rate| Bucket::new(rate.bytes.get(), rate.per));
        Self { uid, rule, quota, buckets: Mutex::new(Buckets { events, bytes }) }
    }

    /// Takes so many events of so many bytes together, or none of it. More than a second's worth is taken from full
    /// buckets, and owed.
    ///
    /// # Errors
    /// It is too much at this moment.
    pub(super) fn pay(&self, events: u64, bytes: u64, now: Timestamp) -> Result<(), Refusal> {
        let mut buckets = lock(&self.buckets);
        self.check(*buckets, (events, bytes), now)?;
        if let Some(bucket) = &mut buckets.events {
            bucket.take(events, now);
        }
        if let Some(bucket) = &mut buckets.bytes {
            bucket.take(bytes, now);
        }
        Ok(())
    }

    /// Whether anything could be taken at all.
    ///
    /// # Errors
    /// The least event would be too much at this moment.
    pub(super) fn check_open(&self, now: Timestamp) -> Result<(), Refusal> {
        self.check(*lock(&self.buckets), (1, 1), now)
    }

    fn check(&self, buckets: Buckets, (events, bytes): (u64, u64), now: Timestamp) -> Result<(), Refusal> {
        let wait =
            |bucket: Option<Bucket>, tokens| bucket.map_or(Duration::ZERO, |bucket| bucket.wait(tokens, now));
        let (of_events, of_bytes) = (wait(buckets.events, events), wait(buckets.bytes, bytes));
        let longer = of_events.max(of_bytes);
        if longer.is_zero() {
            return Ok(());
        }
        let Self { uid, rule, quota, .. } = self;
        let limit = match (quota.rate, quota.bytes) {
            (Some(rate), _) if of_events == longer => format!("{rate} (`rate` of the {rule})"),
            (_, Some(bytes)) => format!("{bytes} (`bytes` of the {rule})"),
            (_, None) => unreachable!("what has no bucket makes nobody wait"),
        };
        let mut refusal = exceeded(String::new(), longer);
        let again = format_duration(Duration::from_secs(refusal.retry_after_secs().unwrap_or(0)));
        refusal.message =
            format!("uid {uid} hands in more than {limit}; it was not taken, hand it in again in {again}");
        Err(refusal)
    }

    fn is_full(&self, now: Timestamp) -> bool {
        let Buckets { events, bytes } = *lock(&self.buckets);
        [events, bytes].iter().flatten().all(|bucket| bucket.is_full(now))
    }
}

fn exceeded(message: String, retry_after: Duration) -> Refusal {
    Refusal { retry_after: Some(retry_after), ..Refusal::new(Code::QuotaExceeded, message) }
}

/// Counts are whole at any time: a panic elsewhere leaves them right.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use super::*;
    use crate::model::{profile::Rate, quota::Throughput};

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::RELEASED.plus(Duration::from_millis(millis))
    }

    fn quota(rate: u32, bytes: u64) -> Quota {
        let rate = NonZeroU32::new(rate).map(|count| Rate { count, per: SECOND });
        let bytes = NonZeroU64::new(bytes).map(|bytes| Throughput { bytes, per: SECOND });
        Quota { connections: None, rate, bytes }
    }

    fn rule() -> Arc<str> {
        "[[access]] rule 2 (uid = 7)".into()
    }

    #[test]
    fn connections_are_counted_by_user_and_given_back() {
        let quotas = Quotas::new(2);
        let two = [quotas.connect(7, None).expect("the first"), quotas.connect(7, None).expect("the second")];
        let refusal = quotas.connect(7, None).expect_err("the third");
        assert_eq!((refusal.code, refusal.retry_after), (Code::QuotaExceeded, Some(SECOND)));
        assert_eq!(
            refusal.message,
            "uid 7 has 2 connections open, and may have 2 ([limits] connections_per_uid): close one, or hand in many events over one"
        );
        quotas.connect(8, None).expect("another user");
        // A rule's own number holds for all of a user's connections, whatever let them in.
        let rule = |connections| Quota { connections: Some(connections), ..Quota::default() };
        let refusal = quotas.connect(7, Some(("[[access]] rule 1 (gid = 9)", &rule(1)))).expect_err("more");
        assert!(
            refusal.message.contains("may have 1 (`connections` of the [[access]] rule 1 (gid = 9))"),
            "{refusal}"
        );
        drop(quotas.connect(7, Some(("r", &rule(3)))).expect("the third of three"));
        drop(two);
        assert!(lock(&quotas.counted).connections.is_empty(), "nothing is remembered of nobody");
        quotas.connect(7, None).expect("the first");
    }

    #[test]
    fn both_are_taken_or_neither() {
        let purse = Purse::new(7, rule(), quota(10, 1_000));
        purse.pay(1, 900, at(0)).expect("there is room");
        let refusal = purse.pay(1, 200, at(0)).expect_err("too many bytes");
        assert_eq!((refusal.code, refusal.retry_after), (Code::QuotaExceeded, Some(SECOND / 10)));
        assert_eq!(
            refusal.message,
            "uid 7 hands in more than 1000B/s (`bytes` of the [[access]] rule 2 (uid = 7)); it was not taken, hand it in again in 1s"
        );
        // It has cost no event either.
        purse.pay(9, 100, at(0)).expect("nine are left");
        let refusal = purse.pay(1, 0, at(0)).expect_err("none is left");
        assert!(refusal.message.contains("more than 10/s (`rate` of the"), "{refusal}");
        assert_eq!(refusal.retry_after, Some(SECOND / 10));
        purse.pay(1, 100, at(100)).expect("one has flowed in");
    }

    #[test]
    fn a_great_batch_comes_through_when_the_buckets_are_full() {
        let purse = Purse::new(7, rule(), quota(10, 1_000));
        purse.pay(50, 3_000, at(0)).expect("they are full");
        let refusal = purse.pay(1, 1, at(0)).expect_err("they owe");
        assert_eq!(refusal.retry_after_secs(), Some(5), "{refusal}");
        assert!(purse.pay(1, 1, at(4_000)).is_err());
        purse.pay(1, 1, at(4_100)).expect("the first of the next");
    }

    #[test]
    fn a_purse_is_one_for_all_connections_and_forgotten_when_it_says_nothing() {
        let quotas = Quotas::new(1);
        let purse = |uid, now| quotas.purse(uid, &rule(), &quota(10, 0), now);
        assert!(quotas.purse(7, &rule(), &Quota::default(), at(0)).is_none(), "nothing is to be counted");
        let first = purse(7, at(0)).expect("a purse");
        first.pay(10, 0, at(0)).expect("it is full");
        drop(first);
        assert!(purse(7, at(0)).expect("a purse").pay(1, 0, at(0)).is_err(), "it owes, so it is remembered");
        assert!(
            quotas
                .purse(7, &"another rule".into(), &quota(10, 0), at(0))
                .expect("a purse")
                .pay(1, 0, at(0))
                .is_ok()
        );
        let held = purse(8, at(0)).expect("a purse");
        for uid in 0..100_000 {
            purse(uid, at(2_000)).expect("a purse");
            assert!(lock(&quotas.counted).purses.len() <= 2 * FEW);
        }
        assert!(Arc::ptr_eq(&held, &purse(8, at(9_000)).expect("a purse")), "somebody holds it");
        // Those that owe are forgotten only when there are too many.
        for uid in 0..100_000 {
            purse(uid, at(10_000)).expect("a purse").pay(1_000, 0, at(10_000)).expect("it is full");
            assert!(lock(&quotas.counted).purses.len() <= 2 * PURSES);
        }
    }
}
