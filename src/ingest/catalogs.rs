//! The accounts' catalogs at the door, with a count of each type's events.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::answer::{Code, Refusal};
use crate::{
    metrics::Counter,
    model::{
        account::AccountName,
        event::{Effect, EventType, NewEvent},
    },
    policy::catalog::{Catalog, Entry},
};

/// Those of all accounts that have one; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Catalogs(Arc<HashMap<AccountName, Counted>>);

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
        let counted = |(account, catalog): (AccountName, Arc<Catalog>)| {
            let accepted = catalog.iter().map(|(name, _)| (name.clone(), Arc::default())).collect();
            (account, Counted { catalog, accepted })
        };
        Self(Arc::new(catalogs.into_iter().map(counted).collect()))
    }

    /// An account's, if it has one.
    pub fn of(&self, account: &AccountName) -> Option<&Counted> {
        self.0.get(account)
    }

    /// Looks an event's type up.
    ///
    /// # Errors
    /// Its account's catalog does not know it.
    pub(super) fn find(&self, event: &NewEvent) -> Result<Found, Refusal> {
        let Some(Counted { catalog, accepted }) = self.0.get(&event.account) else {
            return Ok(Found::default());
        };
        let (event_type, account) = (&event.event_type, &event.account);
        let entry = catalog.find(event_type).map_err(|unknown| {
            let message = format!(
                "the account `{account}` has no event type `{event_type}`: {unknown} Its catalog is in the configuration, [[accounts.{account}.event_type]]"
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
