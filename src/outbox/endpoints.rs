//! The stored side of endpoints: numbers that stay, whatever becomes of the configuration, and what was made over the
//! API.
//!
//! All rows are in the writer's memory besides ([`Endpoints`]), so that a count is written and a delivery called off
//! without reading one. A change is one commit between those of events and outcomes.

use std::collections::{BTreeMap, HashMap, HashSet};

use redb::{ReadTransaction, ReadableTable};

use super::{
    error::StoreError,
    origins::Origins,
    record::{decode_endpoint, encode_endpoint},
    schema::{ENDPOINTS, Tables},
    settle::Count,
    store::State,
};
use crate::model::{
    account::AccountName,
    delivery::CancelReason,
    endpoint::{DisableReason, Disabled, Discard, Endpoint, EndpointNumber, Own, Source},
    event::Seq,
    numbers::BuildNumberHasher,
    profile::Lasting,
    time::Timestamp,
};

/// An endpoint as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// Whose it is.
    pub account: AccountName,
    /// With the account, its identity.
    pub name: String,
    /// Where it is: at another place its failures are counted from 0.
    pub url: String,
    /// Why it cannot be used now, if so.
    pub unavailable: Option<DisableReason>,
    /// What of its profile holds on when the endpoint has disappeared.
    pub lasting: Option<Lasting>,
}

/// What the configuration says of an endpoint that was made over the API, or of the origin of callbacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Which.
    pub number: EndpointNumber,
    /// Why it cannot be used now, if so.
    pub unavailable: Option<DisableReason>,
    /// What of its profile holds on; `None`: what it said when it was last known.
    pub lasting: Option<Lasting>,
}

/// What is to become of an endpoint.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is made.
    Make {
        /// Whose it is.
        account: AccountName,
        /// Its settings.
        own: Box<Own>,
        /// What of its profile holds on.
        lasting: Lasting,
        /// Why it is paused from the start, if it is.
        disabled: Option<DisableReason>,
        /// So many of its account's endpoints can have been made over the API, with this one.
        most: u64,
        /// When.
        at: Timestamp,
    },
    /// It gets other settings; with another URL, its failures are counted from 0.
    Replace {
        /// Which.
        number: EndpointNumber,
        /// The revision that the settings were made from.
        revision: u32,
        /// Its settings.
        own: Box<Own>,
        /// Whether it goes on, as with `Enable`, or is paused by its operator; `None`: as it is. One that goes on stays as it
        /// is with `true`.
        enabled: Option<bool>,
        /// What of its profile holds on.
        lasting: Lasting,
        /// When.
        at: Timestamp,
    },
    /// It goes on, its failures counted from 0.
    Enable {
        /// Which.
        number: EndpointNumber,
        /// Whether what is pending is called off.
        discard: bool,
        /// When.
        at: Timestamp,
    },
    /// It is paused.
    Disable {
        /// Which.
        number: EndpointNumber,
        /// Why.
        reason: DisableReason,
        /// When.
        at: Timestamp,
    },
    /// It is deleted, if it was made over the API, and what is pending called off. Its number stays.
    Delete {
        /// Which.
        number: EndpointNumber,
        /// When.
        at: Timestamp,
    },
    /// Each delivery that was called off says so itself.
    Discarded {
        /// Which.
        number: EndpointNumber,
        /// The mark's event: another mark stays.
        below: Seq,
    },
}

/// What came of a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is on disk.
    Done {
        /// Which.
        number: EndpointNumber,
        /// The endpoint from now on.
        endpoint: Box<Endpoint>,
        /// How many deliveries were pending for it.
        pending: u64,
    },
    /// The account has as many as it may have: nothing was written.
    Full,
    /// There is none that this could be done to: nothing was written.
    Missing,
    /// Its settings have been changed since: nothing was written.
    Stale,
}

/// All rows of the table, as they are.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    pub(super) all: BTreeMap<EndpointNumber, Endpoint>,
    /// Those among them that callbacks go to.
    pub(super) origins: Origins,
    /// Those that call deliveries off; few, so that all others are found out of this at no cost.
    calling_off: HashSet<EndpointNumber, BuildNumberHasher>,
}

impl Endpoints {
    /// Reads all of them.
    pub(super) fn read(txn: &ReadTransaction) -> Result<Self, StoreError> {
        let mut endpoints = Self::default();
        for (number, endpoint) in read_all(txn)? {
            endpoints.keep(number, endpoint);
        }
        Ok(endpoints)
    }

    /// Whether it is counted how it does: it is an endpoint, and has not been deleted.
    pub(super) fn is_counted(&self, number: EndpointNumber) -> bool {
        self.all.get(&number).is_some_and(|one| one.origin().is_none() && !one.is_deleted())
    }

    /// Whether a pending delivery of the event `seq` to `endpoint` is called off: why, and since when.
    pub(super) fn calls_off(&self, endpoint: EndpointNumber, seq: Seq) -> Option<(CancelReason, Timestamp)> {
        if self.calling_off.is_empty() || !self.calling_off.contains(&endpoint) {
            return None;
        }
        self.all.get(&endpoint).and_then(|endpoint| endpoint.calls_off(seq))
    }

    /// Writes an endpoint's count of failures, and that it is disabled by them, unless a change has set the count to 0
    /// since. Deliveries are made for known endpoints alone: that one is unknown is an error of the store.
    pub(super) fn count(
        &mut self,
        number: EndpointNumber,
        count: &Count,
        tables: &mut Tables<'_>,
    ) -> Result<(), StoreError> {
        let missing = StoreError::Row { table: "endpoints", key: u64::from(number.get()) };
        let endpoint = self.all.get_mut(&number).ok_or(missing)?;
        if endpoint.is_deleted() || endpoint.resets != count.resets {
            return Ok(());
        }
        endpoint.consecutive_failures = count.consecutive_failures;
        if let (None, Some(disabled)) = (endpoint.disabled, count.disable) {
            endpoint.disabled = Some(disabled);
            endpoint.updated_at = disabled.since;
        }
        tables.endpoints()?.insert(number.get(), encode_endpoint(endpoint).as_slice())?;
        Ok(())
    }

    /// One that has not been deleted. Nobody changes the origins of callbacks.
    fn living(&self, number: EndpointNumber) -> Result<Endpoint, Changed> {
        let endpoint = self.all.get(&number);
        let endpoint = endpoint.filter(|endpoint| !endpoint.is_deleted() && endpoint.origin().is_none());
        endpoint.cloned().ok_or(Changed::Missing)
    }

    /// How many of an account's were made over the API, without those that have been deleted.
    fn made(&self, account: &AccountName) -> u64 {
        let own = |endpoint: &&Endpoint| endpoint.own().is_some() && endpoint.account == *account;
        u64::try_from(self.all.values().filter(own).count()).unwrap_or(u64::MAX)
    }

    /// The number after the last that was given.
    pub(super) fn next(&self) -> Result<EndpointNumber, StoreError> {
        let last = self.all.last_key_value().map_or(0, |(number, _)| number.get());
        let spent = StoreError::Row { table: "endpoints", key: u64::from(last) };
        let next = last.checked_add(1).map(EndpointNumber::new);
        next.filter(|next| *next < EndpointNumber::JOINING).ok_or(spent)
    }

    pub(super) fn write(
        &mut self,
        number: EndpointNumber,
        endpoint: Endpoint,
        tables: &mut Tables<'_>,
    ) -> Result<(), StoreError> {
        tables.endpoints()?.insert(number.get(), encode_endpoint(&endpoint).as_slice())?;
        self.keep(number, endpoint);
        Ok(())
    }

    fn keep(&mut self, number: EndpointNumber, endpoint: Endpoint) {
        if endpoint.is_deleted() || endpoint.discard.is_some() {
            self.calling_off.insert(number);
        } else {
            self.calling_off.remove(&number);
        }
        if let Some(origin) = endpoint.origin() {
            self.origins.keep(&endpoint.account, origin, number);
        }
        self.all.insert(number, endpoint);
    }
}

/// All rows, by number.
pub(super) fn read_all(txn: &ReadTransaction) -> Result<Vec<(EndpointNumber, Endpoint)>, StoreError> {
    let mut all = Vec::new();
    for entry in txn.open_table(ENDPOINTS)?.iter()? {
        let (number, row) = entry?;
        let missing = StoreError::Row { table: "endpoints", key: u64::from(number.value()) };
        all.push((EndpointNumber::new(number.value()), decode_endpoint(row.value()).ok_or(missing)?));
    }
    Ok(all)
}

/// Makes the stored endpoints agree with the configuration (each name once): new ones get a number, those that
/// disappeared are unavailable (`not_configured`) and keep what their profiles said, those that came back go on, with
/// a count of failures of 0, in which nothing counts that was attempted before. Of all others `judged` says whether they can be used. Returns all, by number.
pub(super) fn reconcile(
    wanted: &[Configured],
    judged: &[Judged],
    at: Timestamp,
    endpoints: &mut Endpoints,
    tables: &mut Tables<'_>,
) -> Result<Vec<(EndpointNumber, Endpoint)>, StoreError> {
    let judged: HashMap<_, _> = judged.iter().map(|one| (one.number, one)).collect();
    let stored = endpoints.all.clone();
    let mut unmet: BTreeMap<_, _> =
        wanted.iter().map(|one| ((one.account.as_str(), one.name.as_str()), one)).collect();
    for (number, before) in &stored {
        let mut endpoint = before.clone();
        match &before.source {
            Source::Configuration { name, .. } => {
                meet(&mut endpoint, unmet.remove(&(before.account.as_str(), name.as_str())), at);
            }
            Source::Api(_) | Source::Callback { .. } => {
                if let Some(judged) = judged.get(number) {
                    take_judged(&mut endpoint, judged, at);
                }
            }
            Source::Deleted { .. } => {}
        }
        if endpoint != *before {
            endpoints.write(*number, endpoint, tables)?;
        }
    }
    // In the order of the configuration.
    for new in wanted.iter().filter(|one| unmet.contains_key(&(one.account.as_str(), one.name.as_str()))) {
        let source = Source::Configuration { name: new.name.clone(), url: Some(new.url.clone()) };
        let mut endpoint = made(new.account.clone(), source, new.lasting, at);
        set_unavailable(&mut endpoint, new.unavailable, at);
        endpoints.write(endpoints.next()?, endpoint, tables)?;
    }
    Ok(endpoints.all.iter().map(|(number, endpoint)| (*number, endpoint.clone())).collect())
}

/// Writes of each of these how it is judged.
pub(super) fn judge(
    judged: &[Judged],
    at: Timestamp,
    endpoints: &mut Endpoints,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    for one in judged {
        let Some(before) = endpoints.all.get(&one.number).filter(|endpoint| !endpoint.is_deleted()) else {
            continue;
        };
        let mut endpoint = before.clone();
        take_judged(&mut endpoint, one, at);
        if endpoint != *before {
            endpoints.write(one.number, endpoint, tables)?;
        }
    }
    Ok(())
}

fn take_judged(endpoint: &mut Endpoint, judged: &Judged, at: Timestamp) {
    endpoint.lasting = judged.lasting.or(endpoint.lasting);
    set_unavailable(endpoint, judged.unavailable, at);
}

/// Takes into `endpoint` what the configuration has for it, if it has it.
fn meet(endpoint: &mut Endpoint, wanted: Option<&Configured>, at: Timestamp) {
    let Some(wanted) = wanted else {
        set_unavailable(endpoint, Some(DisableReason::NotConfigured), at);
        return;
    };
    endpoint.lasting = wanted.lasting.or(endpoint.lasting);
    if let Source::Configuration { url, .. } = &mut endpoint.source
        && let Some(before) = url.replace(wanted.url.clone())
        && before != wanted.url
    {
        *endpoint = reset(endpoint.clone());
        endpoint.updated_at = at;
    }
    set_unavailable(endpoint, wanted.unavailable, at);
}

fn set_unavailable(endpoint: &mut Endpoint, reason: Option<DisableReason>, at: Timestamp) {
    if endpoint.unavailable.map(|unavailable| unavailable.reason) == reason {
        return;
    }
    endpoint.unavailable = reason.map(|reason| Disabled { reason, since: at });
    if reason.is_none() {
        *endpoint = reset(endpoint.clone());
    }
}

impl Change {
    /// The endpoint that it is about; `None` for one that is still to be made.
    const fn number(&self) -> Option<EndpointNumber> {
        match self {
            Self::Make { .. } => None,
            Self::Replace { number, .. }
            | Self::Enable { number, .. }
            | Self::Disable { number, .. }
            | Self::Delete { number, .. }
            | Self::Discarded { number, .. } => Some(*number),
        }
    }
}

/// Writes a change into the transaction.
pub(super) fn change(
    change: Change,
    state: &mut State,
    tables: &mut Tables<'_>,
) -> Result<Changed, StoreError> {
    let number = match change.number() {
        Some(number) => number,
        None => state.endpoints.next()?,
    };
    let endpoint = match changed(change, state) {
        Ok(endpoint) => endpoint,
        Err(not) => return Ok(not),
    };
    state.endpoints.write(number, endpoint.clone(), tables)?;
    Ok(Changed::Done { number, endpoint: Box::new(endpoint), pending: state.depths.of(number) })
}

/// The endpoint after a change, or why there is none.
fn changed(change: Change, state: &State) -> Result<Endpoint, Changed> {
    let endpoints = &state.endpoints;
    let mark = |at| Some(Discard { below: state.next_seq, at });
    match change {
        Change::Make { account, most, .. } if endpoints.made(&account) >= most => Err(Changed::Full),
        Change::Make { account, own, lasting, disabled, most: _, at } => {
            let disabled = disabled.map(|reason| Disabled { reason, since: at });
            Ok(Endpoint { disabled, ..made(account, Source::Api(own), Some(lasting), at) })
        }
        Change::Replace { number, revision, own, enabled, lasting, at } => {
            let endpoint = endpoints.living(number)?;
            let resumes = enabled == Some(true) && endpoint.disabled.is_some();
            let endpoint = replace(endpoint, revision, own, lasting, at, resumes)?;
            Ok(match enabled {
                Some(false) => disable(endpoint, DisableReason::Operator, at),
                Some(true) => Endpoint { disabled: None, ..endpoint },
                None => endpoint,
            })
        }
        Change::Enable { number, discard, at } => {
            let endpoint = endpoints.living(number)?;
            let discard = if discard { mark(at) } else { endpoint.discard };
            let endpoint = reset(endpoint);
            Ok(Endpoint { disabled: None, discard, updated_at: at, ..endpoint })
        }
        Change::Disable { number, reason, at } => Ok(disable(endpoints.living(number)?, reason, at)),
        Change::Delete { number, at } => {
            let endpoint = endpoints.living(number)?;
            // What the configuration has, it would make again.
            endpoint.own().ok_or(Changed::Missing)?;
            let Endpoint { account, created_at, revision, resets, lasting, .. } = endpoint;
            let gone = made(account, Source::Deleted { at }, lasting, created_at);
            Ok(Endpoint { updated_at: at, revision, resets, discard: mark(at), ..gone })
        }
        Change::Discarded { number, below } => {
            let endpoint = endpoints.all.get(&number).cloned().ok_or(Changed::Missing)?;
            let discard = endpoint.discard.filter(|discard| discard.below != below);
            Ok(Endpoint { discard, ..endpoint })
        }
    }
}

fn replace(
    mut endpoint: Endpoint,
    revision: u32,
    own: Box<Own>,
    lasting: Lasting,
    at: Timestamp,
    resumes: bool,
) -> Result<Endpoint, Changed> {
    let elsewhere = endpoint.own().ok_or(Changed::Missing)?.url != own.url;
    if endpoint.revision != revision {
        return Err(Changed::Stale);
    }
    if elsewhere || resumes {
        endpoint = reset(endpoint);
    }
    endpoint.source = Source::Api(own);
    endpoint.lasting = Some(lasting);
    // Its new settings were made for the configuration as it is.
    endpoint.unavailable = None;
    endpoint.revision = endpoint.revision.wrapping_add(1);
    endpoint.updated_at = at;
    Ok(endpoint)
}

/// Has its failures counted from 0.
fn reset(endpoint: Endpoint) -> Endpoint {
    Endpoint { consecutive_failures: 0, resets: endpoint.resets.wrapping_add(1), ..endpoint }
}

/// Pauses an endpoint; one that is paused for the same reason stays so since it was.
fn disable(mut endpoint: Endpoint, reason: DisableReason, at: Timestamp) -> Endpoint {
    if endpoint.disabled.is_none_or(|disabled| disabled.reason != reason) {
        endpoint.disabled = Some(Disabled { reason, since: at });
        endpoint.updated_at = at;
    }
    endpoint
}

pub(super) fn made(
    account: AccountName,
    source: Source,
    lasting: Option<Lasting>,
    at: Timestamp,
) -> Endpoint {
    Endpoint {
        account,
        source,
        created_at: at,
        updated_at: at,
        revision: 0,
        disabled: None,
        unavailable: None,
        consecutive_failures: 0,
        resets: 0,
        lasting,
        discard: None,
    }
}
