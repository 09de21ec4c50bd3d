//! The origins of callbacks: scheme, host and port of the URLs that come with events, each an endpoint of its account's
//! with a number of its own, made in the commit that accepts the first event for it.
//!
//! Producers may name ever new hosts, so an account has no more than its `max_origins`, or as many more as have come while
//! a start was still counting what is pending. A new one takes the place of the one that has had nothing pending for the
//! longest, which is forgotten: nothing acknowledged leads to it any more, and its number is never given again, because
//! the row of a later one is always there. Where each of them has something pending, there is no place: the callback's
//! delivery fails at once as `endpoint_full`, and all else of its event is delivered. So what it costs to remember
//! origins is bounded, nothing acknowledged is lost, and no dead receiver keeps an event from being taken.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use super::{
    accept::Entry,
    depths::Depths,
    endpoints::{Endpoints, made},
    error::StoreError,
    schema::Tables,
};
use crate::model::{
    account::AccountName,
    endpoint::{DisableReason, Disabled, Endpoint, EndpointNumber, Source},
    numbers::BuildNumberHasher,
    profile::Lasting,
    time::Timestamp,
};

/// No origin has a greater number: those are left to endpoints, so that none who names new hosts can use up all.
const LAST: u32 = u32::MAX - (1 << 20);
/// So many are forgotten for one that is made, where there are too many.
const FORGOTTEN_AT_ONCE: usize = 2;

/// Where an event's callback goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Scheme, host and port, as `https://a.example:8443`.
    pub origin: Box<str>,
    /// The time of its first attempt.
    pub due: Timestamp,
    /// Whether it keeps the order among its origin's.
    pub entry: Entry,
    /// What of its account's profile holds on.
    pub lasting: Lasting,
    /// Why no attempt can be made now, if so.
    pub unavailable: Option<DisableReason>,
    /// So many origins its account may have.
    pub most: u64,
}

/// What has become of origins in a commit.
#[derive(Debug, Default)]
pub struct OriginNews {
    /// New ones.
    pub made: Vec<(EndpointNumber, Endpoint)>,
    /// Those that are there no more.
    pub forgotten: Vec<EndpointNumber>,
}

impl OriginNews {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.made.is_empty() && self.forgotten.is_empty()
    }
}

/// Leads to the origins, and knows which of them nothing is pending for.
#[derive(Debug, Default)]
pub(super) struct Origins {
    accounts: HashMap<AccountName, Account>,
    /// Those among which one may be forgotten: since which turn.
    idle: HashMap<EndpointNumber, u64, BuildNumberHasher>,
    turn: u64,
    /// All that was pending at the start is counted, and who has nothing pending is among the idle.
    counted: bool,
    news: OriginNews,
}

#[derive(Debug, Default)]
struct Account {
    numbers: HashMap<Box<str>, EndpointNumber>,
    /// By their turn: the first has been idle for the longest.
    idle: BTreeMap<u64, EndpointNumber>,
}

impl Origins {
    /// Takes in that an endpoint is an origin.
    pub(super) fn keep(&mut self, account: &AccountName, origin: &str, number: EndpointNumber) {
        let account = self.accounts.entry(account.clone()).or_default();
        account.numbers.insert(origin.into(), number);
    }

    /// What has become of origins since this was asked last.
    pub(super) fn take_news(&mut self) -> OriginNews {
        mem::take(&mut self.news)
    }

    fn find(&self, account: &AccountName, origin: &str) -> Option<EndpointNumber> {
        self.accounts.get(account)?.numbers.get(origin).copied()
    }

    fn count(&self, account: &AccountName) -> u64 {
        let count = self.accounts.get(account).map_or(0, |account| account.numbers.len());
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    fn set_idle(&mut self, account: &AccountName, number: EndpointNumber) {
        self.set_busy(account, number);
        self.turn += 1;
        self.idle.insert(number, self.turn);
        self.accounts.entry(account.clone()).or_default().idle.insert(self.turn, number);
    }

    fn set_busy(&mut self, account: &AccountName, number: EndpointNumber) {
        if let Some(turn) = self.idle.remove(&number)
            && let Some(account) = self.accounts.get_mut(account)
        {
            account.idle.remove(&turn);
        }
    }

    fn longest_idle(&self, account: &AccountName) -> Option<EndpointNumber> {
        self.accounts.get(account)?.idle.first_key_value().map(|(_, number)| *number)
    }

    fn forget(&mut self, account: &AccountName, origin: &str, number: EndpointNumber) {
        self.set_busy(account, number);
        if let Some(account) = self.accounts.get_mut(account) {
            account.numbers.remove(origin);
        }
        self.news.forgotten.push(number);
    }
}

impl Endpoints {
    /// The number of a callback's origin, which is made if it is new; [`EndpointNumber::NONE`]: there is no place for it.
    pub(super) fn origin(
        &mut self,
        account: &AccountName,
        callback: &Callback,
        at: Timestamp,
        depths: &Depths,
        tables: &mut Tables<'_>,
    ) -> Result<EndpointNumber, StoreError> {
        if let Some(number) = self.origins.find(account, &callback.origin) {
            self.origins.set_busy(account, number);
            return Ok(number);
        }
        self.count_origins(depths);
        let Some(number) = self.next().ok().filter(|number| number.get() <= LAST) else {
            return Ok(EndpointNumber::NONE);
        };
        // While a start counts what is pending, nobody can tell who has nothing: then there may be more for a while.
        let full = self.origins.counted && self.origins.count(account) >= callback.most;
        if full && self.origins.longest_idle(account).is_none() {
            return Ok(EndpointNumber::NONE);
        }
        let unavailable = callback.unavailable.map(|reason| Disabled { reason, since: at });
        let source = Source::Callback { origin: callback.origin.clone() };
        let endpoint = Endpoint { unavailable, ..made(account.clone(), source, Some(callback.lasting), at) };
        self.write(number, endpoint.clone(), tables)?;
        self.origins.news.made.push((number, endpoint));
        // Behind the one that was made: the greatest number that was ever given stays in the table.
        for _ in 0..FORGOTTEN_AT_ONCE {
            if self.origins.count(account) > callback.most
                && let Some(idle) = self.origins.longest_idle(account)
            {
                self.forget_origin(idle, depths, tables)?;
            }
        }
        Ok(number)
    }

    /// Takes in that nothing is pending for an endpoint any more.
    pub(super) fn rests(&mut self, number: EndpointNumber) {
        // Before all is counted, more may still be found that is pending.
        if !self.origins.counted {
            return;
        }
        if let Some(endpoint) = self.all.get(&number)
            && endpoint.origin().is_some()
        {
            self.origins.set_idle(&endpoint.account, number);
        }
    }

    /// Once all that was pending at the start is counted, whoever has nothing pending is idle.
    fn count_origins(&mut self, depths: &Depths) {
        if self.origins.counted || !depths.are_whole() {
            return;
        }
        self.origins.counted = true;
        for (number, endpoint) in &self.all {
            if endpoint.origin().is_some() && depths.of(*number) == 0 {
                self.origins.set_idle(&endpoint.account, *number);
            }
        }
    }

    fn forget_origin(
        &mut self,
        number: EndpointNumber,
        depths: &Depths,
        tables: &mut Tables<'_>,
    ) -> Result<(), StoreError> {
        debug_assert_eq!(depths.of(number), 0, "nothing pending leads to {number:?}");
        let Some(endpoint) = self.all.remove(&number) else { return Ok(()) };
        self.origins.forget(&endpoint.account, endpoint.origin().unwrap_or_default(), number);
        depths.forget(number);
        tables.endpoints()?.remove(number.get())?;
        Ok(())
    }
}
