//! The keys of the API: who shows one is let in as what the key is for.
//!
//! A key is looked for by the id in its text, and what is known of its secret is compared in constant time, also where
//! there is no such key. A request is judged when it begins, so a key that is revoked lets nobody in from the answer to
//! its revocation on, whatever connection the next request comes over. A change that has begun comes to its end also when
//! nobody waits for it any more: what is on disk is in memory.
//!
//! Whoever fails too often is told to wait. That is no protection against guessing, which 256 random bits need none
//! of: it is to keep the noise of somebody's mistake, or malice, out of the log and away from the box. So a key that is
//! right lets its holder in all the same, whatever others at the same address (a proxy, a NAT) do.
//!
//! Memory: all keys, some 300 bytes each, [`MOST`] of them; 4,096 addresses that have failed lately.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use zeroize::Zeroizing;

use super::access::Verdict;
use crate::{
    clock::{Chance, Clock},
    logging::Kind,
    model::{
        account::AccountName,
        bearer::{KeyHash, KeyNumber, StoredKey},
        id::KeyId,
        role::Role,
        secret::Secret,
        time::Timestamp,
    },
    outbox::{KeyChange, KeyChanged, Outbox, StoreError},
    policy::{
        token::{self, Token, TokenError},
        tries::{Pace, Tries, network},
    },
};

/// Keys at most.
pub const MOST: usize = 10_000;
/// Addresses of which it is known that they have failed lately.
const ADDRESSES: usize = 4_096;
/// How often one address may fail.
const OF_ONE: Pace = Pace { burst: 20, each: Duration::from_secs(3) };
/// How often all may together.
const OF_ALL: Pace = Pace { burst: 1_000, each: Duration::from_millis(50) };
/// When a key was last used is written once in so long.
const NOTED: Duration = Duration::from_secs(60);
/// How long the log is spared of those who fail, once it has named one.
const QUIET: Duration = Duration::from_secs(60);

/// The keys; clones share them.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    outbox: Outbox,
    clock: Clock,
    chance: Chance,
    keys: RwLock<BTreeMap<KeyNumber, Arc<Held>>>,
    failures: Mutex<Failures>,
}

/// A key.
#[derive(Debug)]
pub struct Held {
    /// Its number.
    pub number: KeyNumber,
    /// Its id.
    pub id: KeyId,
    stored: StoredKey,
    /// When it was last used, in milliseconds; 0: never.
    used: AtomicU64,
    /// What was last handed to the store of that.
    noted: AtomicU64,
}

/// What a key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What its holder may do.
    pub role: Role,
    /// A note for people.
    pub name: Option<String>,
    /// From when on it lets nobody in.
    pub expires_at: Option<Timestamp>,
    /// Whether its account is none of the configuration's, but was made over the API.
    pub of_tenant: bool,
}

/// Why somebody is not let in by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unadmitted {
    /// They show none.
    #[error(
        "a key is required here: send it as `Authorization: Bearer phk_…`; `posthaste key add` makes one"
    )]
    NoKey,
    /// What they show is no key.
    #[error("{0}")]
    Malformed(#[from] TokenError),
    /// There is no such key, or no longer.
    #[error("this key is not known, or has been revoked; `posthaste key add` makes another")]
    Unknown,
    /// Its time is over.
    #[error("this key has expired; `posthaste key add` makes another")]
    Expired,
    /// They have failed too often.
    #[error(
        "too many requests with keys that are none have come from this address, or from all together: {because}"
    )]
    TooMany {
        /// When to try again.
        after: Duration,
        /// What is wrong with this one.
        because: &'static str,
    },
}

/// Why a key is not made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There are as many as there may be.
    #[error(
        "there are {MOST} keys, and no more are made: revoke some that have expired or are not used any more"
    )]
    TooMany,
    /// There is no such key.
    #[error("there is no such key")]
    NotFound,
    /// There is no account that it could be for.
    #[error("there is no account `{0}` that the key could be for")]
    NoAccount(AccountName),
    /// The kernel gives no random numbers.
    #[error("the system gives no random numbers for a key ({0}): try again")]
    Chance(getrandom::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Keyring {
    /// The keys that the store has.
    pub fn new(outbox: Outbox, keys: BTreeMap<KeyNumber, StoredKey>, clock: Clock, chance: Chance) -> Self {
        let held = |(number, stored): (KeyNumber, StoredKey)| (number, held(number, stored, &outbox));
        let keys = RwLock::new(keys.into_iter().map(held).collect());
        Self(Arc::new(Inner { outbox, clock, chance, keys, failures: Mutex::default() }))
    }

    /// Judges whoever shows this text from this address.
    ///
    /// # Errors
    /// They are not let in.
    pub fn judge(&self, text: Option<&str>, from: IpAddr) -> Result<Verdict, Unadmitted> {
        let Some(text) = text else { return Err(Unadmitted::NoKey) };
        let found = Token::read(text).map_err(Unadmitted::from).and_then(|token| self.find(&token));
        match found {
            Ok(held) => {
                self.note(&held);
                Ok(Verdict::of_key(held.id, held.stored.role.clone()))
            }
            Err(why) => Err(self.failed(why, from)),
        }
    }

    fn find(&self, token: &Token) -> Result<Arc<Held>, Unadmitted> {
        let held = self.get(token.id);
        // Whether there is such a key is not to be seen by how long this takes.
        let known = held.as_ref().map_or(KeyHash([0; 32]), |held| held.stored.hash);
        let fits = token.is_of(&known);
        match held.filter(|_| fits) {
            None => Err(Unadmitted::Unknown),
            // A clock that is set back brings no key back.
            Some(held) if held.stored.is_over(self.0.clock.age()) => Err(Unadmitted::Expired),
            Some(held) => Ok(held),
        }
    }

    fn failed(&self, why: Unadmitted, from: IpAddr) -> Unadmitted {
        let because = match why {
            Unadmitted::Malformed(_) => "this is none",
            Unadmitted::Expired => "this one has expired",
            _ => "this one is not known",
        };
        let mut failures = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.fail(from, self.0.clock.now()) {
            None => why,
            Some(after) => Unadmitted::TooMany { after, because },
        }
    }

    /// Notes that a key was used.
    fn note(&self, held: &Held) {
        let now = self.0.clock.wall().as_millis();
        held.used.fetch_max(now, Relaxed);
        let noted = held.noted.load(Relaxed);
        let due = u128::from(now.saturating_sub(noted)) >= NOTED.as_millis();
        // While the disk is full its last room is for outcomes. Of several at once only one has it written.
        let due = due && self.0.outbox.room().door().borrow().closed().is_none();
        if due && held.noted.compare_exchange(noted, now, Relaxed, Relaxed).is_ok() {
            self.0.outbox.key_used(held.number, Timestamp::from_millis(now));
        }
    }

    /// The key with this id.
    pub fn get(&self, id: KeyId) -> Option<Arc<Held>> {
        let (_, number) = self.0.outbox.id_key().open_key(id)?;
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&number).filter(|held| held.id == id).cloned()
    }

    /// All keys, newest first.
    pub fn all(&self) -> Vec<Arc<Held>> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.values().rev().cloned().collect()
    }

    /// Makes a key; its text is shown this once. Within a runtime.
    ///
    /// # Errors
    /// There are too many, there is no account that it could be for, or it cannot be made.
    pub async fn make(&self, new: NewKey) -> Result<(Arc<Held>, Secret), KeyError> {
        self.finish(async move |keyring| keyring.make_whole(new).await).await
    }

    /// Revokes a key: it lets nobody in any more. Within a runtime.
    ///
    /// # Errors
    /// There is none such, or the store failed.
    pub async fn revoke(&self, number: KeyNumber) -> Result<(), KeyError> {
        self.finish(async move |keyring| keyring.revoke_whole(number).await).await
    }

    /// Does something to its end, also when whoever asked has gone.
    async fn finish<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T, KeyError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, KeyError>> + Send + 'static,
    {
        let task = tokio::spawn(work(self.clone()));
        task.await.unwrap_or(Err(KeyError::Store(StoreError::Stopped)))
    }

    async fn make_whole(self, new: NewKey) -> Result<(Arc<Held>, Secret), KeyError> {
        let Inner { outbox, clock, chance, keys, .. } = &*self.0;
        let secret = Zeroizing::new(chance.bytes::<32>().map_err(KeyError::Chance)?);
        let stored = StoredKey {
            role: new.role,
            hash: token::hash(&secret),
            name: new.name,
            created_at: clock.wall(),
            expires_at: new.expires_at,
            last_used_at: None,
        };
        let of_tenant = new.of_tenant;
        let change = KeyChange::Make { key: Box::new(stored.clone()), most: MOST, of_tenant };
        match outbox.change_key(change).await? {
            KeyChanged::Done(number) => {
                let held = held(number, stored, outbox);
                let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
                keys.insert(number, Arc::clone(&held));
                let text = token::text(held.id, &secret);
                Ok((held, text))
            }
            KeyChanged::Full => Err(KeyError::TooMany),
            KeyChanged::NoAccount => {
                Err(KeyError::NoAccount(stored.role.account().cloned().unwrap_or_default()))
            }
            KeyChanged::Missing => Err(KeyError::NotFound),
        }
    }

    async fn revoke_whole(self, number: KeyNumber) -> Result<(), KeyError> {
        let changed = self.0.outbox.change_key(KeyChange::Revoke { number }).await?;
        // One that the store does not have is to let nobody in either.
        self.0.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        match changed {
            KeyChanged::Done(_) => Ok(()),
            KeyChanged::Full | KeyChanged::Missing | KeyChanged::NoAccount => Err(KeyError::NotFound),
        }
    }
}

impl Held {
    /// What the store keeps of it; but for when it was last used.
    pub const fn stored(&self) -> &StoredKey {
        &self.stored
    }

    /// When it was last used, if it ever was.
    pub fn last_used_at(&self) -> Option<Timestamp> {
        let used = self.used.load(Relaxed);
        (used > 0).then(|| Timestamp::from_millis(used))
    }
}

fn held(number: KeyNumber, stored: StoredKey, outbox: &Outbox) -> Arc<Held> {
    let id = outbox.id_key().key_id(stored.created_at, number);
    let used = stored.last_used_at.map_or(0, Timestamp::as_millis);
    Arc::new(Held { number, id, stored, used: AtomicU64::new(used), noted: AtomicU64::new(used) })
}

/// Who has failed lately.
#[derive(Debug, Default)]
struct Failures {
    all: Tries,
    by_address: HashMap<IpAddr, Tries>,
    /// Nothing is said of it in the log before then.
    quiet: Timestamp,
}

impl Failures {
    /// Counts a failure; how long to wait, if there have been too many.
    fn fail(&mut self, from: IpAddr, now: Timestamp) -> Option<Duration> {
        let from = network(from);
        if self.by_address.len() >= ADDRESSES && !self.by_address.contains_key(&from) {
            self.by_address.retain(|_, tries| !tries.is_forgotten(now));
        }
        // Where too many are remembered, what all do together bounds the others.
        let is_known = self.by_address.contains_key(&from);
        if is_known || self.by_address.len() < ADDRESSES {
            let tries = self.by_address.entry(from).or_default();
            if let Some(wait) = tries.fail(OF_ONE, now) {
                self.tell(from, now);
                return Some(wait);
            }
        }
        let wait = self.all.fail(OF_ALL, now)?;
        self.tell(from, now);
        Some(wait)
    }

    /// Says in the log whom is told to wait, once in a minute.
    fn tell(&mut self, from: IpAddr, now: Timestamp) {
        if self.quiet <= now {
            self.quiet = now.plus(QUIET);
            tracing::warn!(kind = Kind::WrongKeys.word(), address = %from, "many requests with keys that are none: they are told to wait");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{End, Motion, Options};

    /// Lets something begin, and gives it up.
    fn begin(work: impl Future) {
        let mut work = std::pin::pin!(work);
        let begun = work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(begun.is_pending(), "the store takes its time");
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{what}"));
    }

    #[tokio::test]
    async fn what_has_begun_comes_to_its_end_though_nobody_waits_for_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            cache: 4 << 20,
            quick_repair: false,
            settle_delay: Duration::ZERO,
            dedup_window: Duration::from_secs(60),
            dedup_entries: 1_000,
            pending_per_endpoint: 1_000,
            max_size: 1 << 40,
            reserve: 0,
            in_flight: 1,
        };
        let path = directory.path().join("store");
        let opened =
            Outbox::open(&path, &options, *b"sixteen bytes ok", &Motion::default(), |_| {}).expect("a store");
        let outbox = opened.outbox;
        let keyring = Keyring::new(outbox.clone(), BTreeMap::new(), Clock::start(), Chance);
        let new = NewKey { role: Role::Operator(None), name: None, expires_at: None, of_tenant: false };
        begin(keyring.make(new));
        until("what is on disk is known", || keyring.all().len() == 1).await;
        let number = keyring.all()[0].number;
        assert!(outbox.read().and_then(|reader| reader.keys()).expect("keys").contains_key(&number));
        begin(keyring.revoke(number));
        until("what is not on disk is not known", || keyring.all().is_empty()).await;
        assert!(outbox.read().and_then(|reader| reader.keys()).expect("keys").is_empty());
        // Of one that has gone from the store alone nothing is left either.
        let stored = StoredKey {
            role: Role::Operator(None),
            hash: KeyHash([0; 32]),
            name: None,
            created_at: at(0),
            expires_at: None,
            last_used_at: None,
        };
        let keyring = Keyring::new(outbox.clone(), [(number, stored)].into(), Clock::start(), Chance);
        assert!(matches!(keyring.revoke(number).await, Err(KeyError::NotFound)));
        assert!(keyring.all().is_empty());
        drop((keyring, outbox));
        opened.writer.close(End::Clean).expect("it closes");
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::RELEASED.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn each_address_fails_for_itself() {
        let mut failures = Failures::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for _ in 0..OF_ONE.burst {
            assert_eq!(failures.fail(address("2001:db8::1"), at(0)), None);
        }
        // The same network, and the same machine by another form of its address.
        assert_eq!(failures.fail(address("2001:db8::2"), at(0)), Some(OF_ONE.each));
        assert_eq!(failures.fail(address("2001:db8:0:1::1"), at(0)), None);
        for _ in 0..OF_ONE.burst {
            assert_eq!(failures.fail(address("192.0.2.1"), at(0)), None);
        }
        assert_eq!(failures.fail(address("::ffff:192.0.2.1"), at(0)), Some(OF_ONE.each));
        assert_eq!(failures.fail(address("192.0.2.1"), at(3)), None);
    }

    #[test]
    fn many_addresses_are_bounded_together_and_in_memory() {
        let mut failures = Failures::default();
        let address = |number: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(number));
        let free = (0..100_000).filter(|number| failures.fail(address(*number), at(0)).is_none()).count();
        assert_eq!(free, usize::try_from(OF_ALL.burst).expect("a thousand"));
        assert_eq!(failures.by_address.len(), ADDRESSES);
        // What is forgotten makes room for others.
        assert_eq!(failures.fail(address(200_000), at(3_600)), None);
        assert_eq!(failures.by_address.len(), 1);
    }
}
