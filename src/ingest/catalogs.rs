//! The accounts' catalogs at the door, with a count of each type's events.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use super::answer::{Code, Refusal};
use crate::{
    metrics::Counter,
    model::{
        account::AccountName,
        event::{Effect, EventType, NewEvent},
        time::Timestamp,
    },
    policy::catalog::{Catalog, Entry},
};

/// How many searches for what may have been meant are made in a second. One takes up to some milliseconds of the doors' only
/// thread, and a batch may have ten thousand refusals; whoever reads the first few knows.
const SEARCHES: u32 = 16;

/// How many have been made in this second.
#[derive(Debug, Default)]
struct Suggestions(Mutex<(u64, u32)>);

impl Suggestions {
    fn may_search(&self, now: Timestamp) -> bool {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != now.as_secs() {
            *made = (now.as_secs(), 0);
        }
        made.1 += u32::from(made.1 <= SEARCHES);
        made.1 <= SEARCHES
    }
}

/// Those of all accounts that have one; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Catalogs(Arc<HashMap<AccountName, Arc<Counted>>>, Arc<Suggestions>);

/// One account's.
#[derive(Debug)]
pub struct Counted {
    catalog: Arc<Catalog>,
    accepted: BTreeMap<EventType, Arc<Counter>>,
}

/// What a catalog has to say of an event at the door.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) effect: Effect,
    /// Counts it when it is accepted; an account without a catalog counts no types.
    pub(super) accepted: Option<Arc<Counter>>,
}

impl Found {
    /// Its event was accepted.
    pub(super) fn count(&self) {
        if let Some(counter) = &self.accepted {
            counter.add(1);
        }
    }
}

impl Catalogs {
    /// These, with every count at 0.
    pub fn new(catalogs: impl IntoIterator<Item = (AccountName, Arc<Catalog>)>) -> Self {
        Self::default().renewed(catalogs)
    }

    /// These in their place, of which each type that was there is counted on.
    #[must_use]
    pub fn renewed(&self, catalogs: impl IntoIterator<Item = (AccountName, Arc<Catalog>)>) -> Self {
        let counted = |(account, catalog): (AccountName, Arc<Catalog>)| {
            (account.clone(), self.counted(&account, catalog))
        };
        Self(Arc::new(catalogs.into_iter().map(counted).collect()), Arc::clone(&self.1))
    }

    /// These with another of one account in its place, or none, counted on likewise; nothing is done with the others.
    #[must_use]
    pub fn with(&self, account: &AccountName, catalog: Option<Arc<Catalog>>) -> Self {
        let mut all = HashMap::clone(&self.0);
        match catalog {
            Some(catalog) => all.insert(account.clone(), self.counted(account, catalog)),
            None => all.remove(account),
        };
        Self(Arc::new(all), Arc::clone(&self.1))
    }

    fn counted(&self, account: &AccountName, catalog: Arc<Catalog>) -> Arc<Counted> {
        let before = self.of(account);
        let count = |name| before.and_then(|before| before.accepted.get(name).map(Arc::clone));
        let accepted = catalog.iter().map(|(name, _)| (name.clone(), count(name).unwrap_or_default()));
        Arc::new(Counted { accepted: accepted.collect(), catalog })
    }

    /// An account's, if it has one.
    pub fn of(&self, account: &AccountName) -> Option<&Counted> {
        self.0.get(account).map(Arc::as_ref)
    }

    /// Whether what may have been meant by an unknown name is searched for, at this time of the schedule.
    pub(super) fn may_search(&self, now: Timestamp) -> bool {
        self.1.may_search(now)
    }

    /// Looks an event's type up, at this time of the schedule.
    ///
    /// # Errors
    /// Its account's catalog does not know it.
    pub(super) fn find(&self, event: &NewEvent, now: Timestamp) -> Result<Found, Refusal> {
        let Some(Counted { catalog, accepted }) = self.of(&event.account) else {
            return Ok(Found::default());
        };
        let (event_type, account) = (&event.event_type, &event.account);
        let entry = catalog.get(event_type).ok_or_else(|| {
            let unknown = if self.may_search(now) {
                format!("{} ", catalog.unknown(event_type))
            } else {
                String::new()
            };
            let message = format!(
                "the account `{account}` has no event type `{event_type}`: {unknown}Its catalog is in the configuration, [[accounts.{account}.event_type]], or shown by `posthaste account show {account}`"
            );
            Refusal::new(Code::UnknownEventType, message)
        })?;
        Ok(Found { effect: entry.effect, accepted: accepted.get(event_type).map(Arc::clone) })
    }
}

impl Counted {
    /// The types with what the catalog says of them, and how many events were accepted since the daemon's start.
    pub fn types(&self) -> impl Iterator<Item = (&EventType, &Entry, u64)> {
        let count = |name| self.accepted.get(name).map_or(0, |counter| counter.get());
        self.catalog.iter().map(move |(name, entry)| (name, entry, count(name)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_account_s_is_replaced_and_counted_on() {
        let catalog = |types: &[&str]| {
            let types = types.iter().map(|name| (name.parse().expect("a type"), Entry::default()));
            Arc::new(Catalog::new(types.collect()))
        };
        let (one, other): (AccountName, AccountName) =
            ("one".parse().expect("a name"), "other".parse().expect("a name"));
        let count = |catalogs: &Catalogs, account: &AccountName| {
            let event = NewEvent::new(account.clone(), "a.b".parse().expect("a type"), bytes::Bytes::new());
            catalogs.find(&event, Timestamp::RELEASED).expect("it is known").count();
            catalogs.of(account).map(|counted| counted.types().map(|(_, _, count)| count).collect::<Vec<_>>())
        };
        let before = Catalogs::new([(one.clone(), catalog(&["a.b"])), (other.clone(), catalog(&["a.b"]))]);
        assert_eq!((count(&before, &one), count(&before, &other)), (Some(vec![1]), Some(vec![1])));
        let after = before.with(&one, Some(catalog(&["a.b", "c.d"])));
        assert_eq!((count(&after, &one), count(&after, &other)), (Some(vec![2, 0]), Some(vec![2])));
        assert!(Arc::ptr_eq(&before.0[&other], &after.0[&other]), "nothing is done with the others");
        assert!(after.with(&one, None).of(&one).is_none());
    }

    #[test]
    fn of_thousands_that_are_refused_the_first_few_say_what_may_have_been_meant() {
        let types = [("video.media.ready".parse().expect("a type"), Entry::default())];
        let catalog = Arc::new(Catalog::new(types.into_iter().collect()));
        let catalogs = Catalogs::new([(AccountName::default(), catalog)]);
        let event = NewEvent::new(
            AccountName::default(),
            "video.media.redy".parse().expect("a type"),
            bytes::Bytes::new(),
        );
        let now = Timestamp::RELEASED;
        let refused = |at| catalogs.find(&event, at).expect_err("it is unknown").message;
        for (at, most) in
            [(now, 16), (now.plus(Duration::from_millis(999)), 0), (now.plus(Duration::from_secs(1)), 16)]
        {
            let said: Vec<String> = (0..10_000).map(|_| refused(at)).collect();
            let suggesting =
                said.iter().filter(|said| said.contains("did you mean `video.media.ready`?")).count();
            assert_eq!(suggesting, most);
            assert!(said.iter().all(|said| said.contains("no event type `video.media.redy`: ")
                && said.contains("Its catalog is in")));
        }
    }
}
