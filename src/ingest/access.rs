//! Who is let in at the socket, as what, and for how much.
//!
//! Everybody is judged once, when they have connected and before anything of theirs is read: by the rules of
//! [`access`](crate::policy::access), and, where those need them, by the groups that the system's database has.
//! The [`Verdict`] goes with the connection through every door. Who is let in gets a [`Place`]. There are
//! [`PLACES`] for all, of which each user has a part, and `KEPT` besides that only operators get, so that
//! they find one whatever producers do. Who is not let in, or finds no place, is told why and holds none.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    answer::{Code, Refusal},
    groups::Groups,
    quota::{Connected, Purse, Quotas},
};
use crate::{
    clock::Clock,
    model::{
        account::AccountName, cloud::CloudAttributes, event::NewEvent, id::KeyId, quota::Quota,
        time::Timestamp,
    },
    policy::{
        access::{Judged, Peer, Role, Rule, judge},
        rights::Thing,
    },
};

/// Connections at once.
pub const PLACES: usize = 1024;
/// Connections besides, for operators.
const KEPT: usize = 64;
/// Connections at once that are told why they are refused; more are closed without a word.
const REFUSALS: usize = 64;

/// What somebody who is let in may do; cheap to clone.
#[derive(Clone, Debug)]
pub struct Verdict {
    uid: Option<u32>,
    role: Role,
    by: By,
    purse: Option<Arc<Purse>>,
    alone: bool,
}

/// What a verdict rests on.
#[derive(Clone, Debug)]
enum By {
    /// Root, or the daemon's own user.
    Itself,
    /// A key that was shown.
    Key(KeyId),
    /// A rule, with its number.
    Rule(usize, Arc<Listed>),
    /// There are no rules.
    Unruled,
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
    _connected: Option<Connected>,
}

/// Lets people in; clones share the places.
#[derive(Clone)]
pub struct Entrance {
    /// Replaced as a whole.
    rules: Arc<RwLock<Rules>>,
    own: u32,
    groups: Groups,
    quotas: Quotas,
    places: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    clock: Clock,
}

/// A rule and how messages name it.
#[derive(Debug)]
struct Listed {
    rule: Rule,
    name: Arc<str>,
}

type Rules = Arc<[Arc<Listed>]>;

impl Verdict {
    /// Root's, or the daemon's own user's.
    pub const fn operator(uid: u32) -> Self {
        Self { uid: Some(uid), role: Role::Operator(None), by: By::Itself, purse: None, alone: false }
    }

    /// That of whoever shows a key.
    pub const fn of_key(key: KeyId, role: Role) -> Self {
        Self { uid: None, role, by: By::Key(key), purse: None, alone: false }
    }

    /// The same of a connection that has a thread to itself.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Whether the connection has a thread to itself, which may stand still: nobody else waits for it.
    pub const fn is_alone(&self) -> bool {
        self.alone
    }

    /// Which user it is, if it is one of this machine.
    pub const fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// The key that was shown, if one was.
    pub const fn key(&self) -> Option<KeyId> {
        match self.by {
            By::Key(key) => Some(key),
            By::Itself | By::Rule(..) | By::Unruled => None,
        }
    }

    /// What they may do.
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// The number of the rule that says so, from 1, if one does.
    pub const fn rule(&self) -> Option<usize> {
        match self.by {
            By::Rule(number, _) => Some(number),
            By::Itself | By::Key(_) | By::Unruled => None,
        }
    }

    /// Whether they may do everything.
    pub const fn is_operator(&self) -> bool {
        matches!(self.role, Role::Operator(None))
    }

    /// Whether they may do this with what is theirs to touch.
    pub const fn may(&self, thing: Thing) -> bool {
        thing.is_for(&self.role)
    }

    /// Passes on that they may do this.
    ///
    /// # Errors
    /// They may not.
    pub fn check(&self, thing: Thing) -> Result<(), Refusal> {
        if self.may(thing) {
            return Ok(());
        }
        let message = format!("this is for {} alone: {self}", thing.is_meant_for(&self.role));
        Err(Refusal::new(Code::NotAllowed, message))
    }

    /// The only account that they may touch, if they may touch but one.
    pub const fn account(&self) -> Option<&AccountName> {
        self.role.account()
    }

    /// Whose that is which names no account.
    pub fn own_account(&self) -> AccountName {
        self.account().cloned().unwrap_or_default()
    }

    /// Whether what is of `account` is theirs to see.
    pub fn sees(&self, account: &AccountName) -> bool {
        self.account().is_none_or(|own| own == account)
    }

    /// Passes on an account that they have named.
    ///
    /// # Errors
    /// It is not theirs to touch.
    pub fn check_account(&self, account: &AccountName) -> Result<(), Refusal> {
        if self.sees(account) {
            return Ok(());
        }
        let message = format!("the account `{account}` is not yours to touch: {self}; leave `account` out");
        Err(Refusal::new(Code::AccountNotAllowed, message))
    }

    /// Notes who hands an event in, and that it counts as one.
    ///
    /// # Errors
    /// It is of an account that is not theirs to touch, or too much at this moment.
    pub(super) fn take_one(&self, event: NewEvent, now: Timestamp) -> Result<NewEvent, Refusal> {
        self.pay(1, weight(&event), now)?;
        self.take_unpaid(event)
    }

    /// Notes who hands these events in, and that all of them together are handed in at once. Those of accounts that are not
    /// theirs to touch are refused, each for itself.
    ///
    /// # Errors
    /// All of them together are too much at this moment.
    pub(super) fn take_all(
        &self,
        items: Vec<Result<NewEvent, Refusal>>,
        now: Timestamp,
    ) -> Result<Vec<Result<NewEvent, Refusal>>, Refusal> {
        let (events, bytes) = items
            .iter()
            .flatten()
            .fold((0, 0_u64), |(events, bytes), event| (events + 1, bytes.saturating_add(weight(event))));
        if events > 0 {
            self.pay(events, bytes, now)?;
        }
        Ok(items.into_iter().map(|item| item.and_then(|event| self.take_unpaid(event))).collect())
    }

    /// Whether anything that they hand in could be taken, before it is read.
    ///
    /// # Errors
    /// The least event would be too much at this moment.
    pub fn check_open(&self, now: Timestamp) -> Result<(), Refusal> {
        self.purse.as_ref().map_or(Ok(()), |purse| purse.check_open(now))
    }

    fn take_unpaid(&self, event: NewEvent) -> Result<NewEvent, Refusal> {
        self.check_account(&event.account)?;
        Ok(NewEvent { uid: self.uid, ..event })
    }

    fn pay(&self, events: u64, bytes: u64, now: Timestamp) -> Result<(), Refusal> {
        self.purse.as_ref().map_or(Ok(()), |purse| purse.pay(events, bytes, now))
    }
}

/// What an event counts in bytes: all of it that can be long, and its type, so that none counts nothing.
fn weight(event: &NewEvent) -> u64 {
    let text = |text: Option<&str>| text.map_or(0, str::len);
    let texts = [event.producer_id.as_deref(), event.key.as_deref(), event.url.as_deref()].map(text);
    let cloud = text(event.cloud.as_ref().map(CloudAttributes::as_str));
    let bytes = event.data.len() + event.event_type.as_str().len() + texts.iter().sum::<usize>() + cloud;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// `you are uid 1000, a producer of `default` by the [[access]] rule 2 (user = "camera")`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, role, by, .. } = self;
        match uid {
            Some(uid) => write!(f, "you are uid {uid}, {role}")?,
            None => write!(f, "you are {role}")?,
        }
        match by {
            By::Key(key) => write!(f, " by the key {key}"),
            By::Itself => f.write_str(" before any rule"),
            By::Rule(_, listed) => write!(f, " by the {}", listed.name),
            By::Unruled => f.write_str(" since there are no [[access]] rules"),
        }
    }
}

impl Entrance {
    /// Lets people in by these rules; each user has so many connections where no rule says otherwise.
    pub fn new(rules: &[Rule], connections: usize, clock: Clock) -> Self {
        Self {
            rules: Arc::new(RwLock::new(listed(rules))),
            own: rustix::process::geteuid().as_raw(),
            groups: Groups::new(),
            quotas: Quotas::new(connections),
            places: Arc::new(Semaphore::new(PLACES)),
            kept: Arc::new(Semaphore::new(KEPT)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            clock,
        }
    }

    /// Lets people in by these from now on. Whoever is in keeps their verdict.
    pub fn change(&self, rules: &[Rule], connections: usize) {
        // What is replaced is one pointer: a panic leaves the old one or the new one.
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = listed(rules);
        self.quotas.set_connections(connections);
    }

    fn rules(&self) -> Rules {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until somebody may come in of whom nothing is known yet. Only operators keep what this gives, so only they can
    /// make it wait.
    pub(super) async fn door(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.kept).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Judges who has connected; `None`: it takes asking for their groups.
    pub(super) fn judge(&self, peer: Peer) -> Option<Result<Verdict, Refusal>> {
        self.judged(peer, None)
    }

    /// Judges who has connected by their groups, and waits until these are known.
    ///
    /// # Errors
    /// They are not let in.
    pub(super) async fn judge_by_groups(&self, peer: Peer) -> Result<Verdict, Refusal> {
        let groups = self.groups.of(peer, self.clock.instant()).await.map_err(|unknown| {
            let Peer { uid, .. } = peer;
            let message = format!(
                "the groups of uid {uid} cannot be told, and an [[access]] rule asks for them: {unknown}; try again, or write a rule with `uid = {uid}` before it"
            );
            Refusal::new(Code::GroupsUnknown, message)
        })?;
        self.judged(peer, Some(&groups)).expect("they are known")
    }

    fn judged(&self, peer: Peer, groups: Option<&[u32]>) -> Option<Result<Verdict, Refusal>> {
        let uid = peer.uid;
        let verdict = |role: Role, by| Verdict { uid: Some(uid), role, by, purse: None, alone: false };
        let rules = self.rules();
        Some(Ok(match judge(rules.iter().map(|listed| &listed.rule), self.own, peer, groups) {
            Judged::Groups => return None,
            Judged::Nobody => return Some(Err(nobody(peer))),
            Judged::Operator => Verdict::operator(uid),
            Judged::Rule(number, rule) => {
                let listed = &rules[number - 1];
                let purse = self.quotas.purse(uid, &listed.name, &rule.quota, self.clock.now());
                Verdict { purse, ..verdict(rule.role.clone(), By::Rule(number, Arc::clone(listed))) }
            }
            Judged::Unruled => verdict(Role::Producer(Some(AccountName::default())), By::Unruled),
        }))
    }

    /// A place for somebody who is let in. `door` is what they came in by, if nothing had to be asked.
    ///
    /// # Errors
    /// They have as many as they may have, or there is none.
    pub(super) fn place(
        &self,
        verdict: &Verdict,
        door: Option<OwnedSemaphorePermit>,
    ) -> Result<Place, Refusal> {
        let connected = match (&verdict.by, verdict.uid) {
            (By::Rule(_, listed), Some(uid)) => {
                let quota: &Quota = &listed.rule.quota;
                Some(self.quotas.connect(uid, Some((&listed.name, quota)))?)
            }
            (By::Unruled, Some(uid)) => Some(self.quotas.connect(uid, None)?),
            _ => None,
        };
        let free = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let kept = || verdict.is_operator().then(|| door.or_else(|| free(&self.kept))).flatten();
        let place = free(&self.places).or_else(kept);
        let full = || {
            let message =
                format!("{PLACES} connections are open, and no more are taken; try again in a moment");
            Refusal::new(Code::Busy, message)
        };
        Ok(Place { _place: place.ok_or_else(full)?, _connected: connected })
    }

    /// A turn to tell somebody why they are refused, if there is one.
    pub(super) fn refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusals).try_acquire_owned().ok()
    }
}

fn listed(rules: &[Rule]) -> Rules {
    let listed = |(index, rule): (usize, &Rule)| {
        let name = format!("[[access]] rule {} ({})", index + 1, rule.who).into();
        Arc::new(Listed { rule: rule.clone(), name })
    };
    rules.iter().enumerate().map(listed).collect()
}

fn nobody(Peer { uid, gid }: Peer) -> Refusal {
    let message = format!(
        "no [[access]] rule matches uid {uid} (gid {gid}): add [[access]] with `uid = {uid}` and `role = \"producer\"` to the configuration, and have it read (`posthaste reload`)"
    );
    Refusal::new(Code::NotAllowed, message)
}
