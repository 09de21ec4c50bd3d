//! Endpoints made and changed while the daemon runs.
//!
//! Every change goes the same way, one at a time: it is judged, committed, put into the directory, the routes are set, the
//! engine is told, and then whoever asked has the answer. So after the making of an endpoint the next event is routed to it,
//! and after its deletion none is. A change that has begun comes to its end also when nobody waits for it any more: what
//! is on disk is in the directory.

pub mod adopt;
mod tell;
pub mod tenants;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    runtime,
    sync::{Mutex, Semaphore},
};
use url::Url;
use zeroize::Zeroizing;

pub use self::adopt::AdoptError;
use super::{
    Handle,
    attempt::{Kitchen, try_once},
    directory::{Directory, Target},
    given::{self, field},
    retention::Forgetter,
    settings::{Unusable, Workshop},
};
use crate::{
    clock::{Chance, Clock},
    ingest::intake::Intake,
    model::{
        account::AccountName,
        attempt::Attempt,
        endpoint::{DisableReason, EndpointNumber, Own},
        event::{Event, EventType, NewEvent, Seq},
        secret::{DatedSecret, Secret},
    },
    outbox::{Change, Changed, MAX_DELIVERIES, Outbox, StoreError},
    policy::{catalog::Catalog, form::Form, key, nearest, rotation},
};

/// The longest that a secret may go on signing beside the one that follows it.
pub const LONGEST_OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);
/// So many endpoints are tested at once.
const TESTS: usize = 8;
/// The type of a test's event where the endpoint wants no type by its name.
const TEST_TYPE: &str = "posthaste.test";

/// Makes and changes endpoints; clones do the same.
#[derive(Clone)]
pub struct Endpoints(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// One change at a time.
    change: Mutex<()>,
    tests: Semaphore,
    /// Where their bodies are made.
    kitchen: Kitchen,
}

/// What it takes to change endpoints.
pub struct Parts {
    /// Where they are kept.
    pub outbox: Outbox,
    /// Where deliveries find them.
    pub directory: Arc<Directory>,
    /// Where events are routed to them.
    pub intake: Intake,
    /// Whoever attempts.
    pub engine: Handle,
    /// Whoever forgets.
    pub forgetter: Forgetter,
    /// The time of a change.
    pub clock: Clock,
    /// What secrets are made of.
    pub chance: Chance,
    /// Where changes come to their end, and tests are made.
    pub runtime: runtime::Handle,
}

/// An endpoint that is to be made, as somebody gives it.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Whose it is to be.
    pub account: AccountName,
    /// Where it is.
    pub url: String,
    /// What there is to say about it.
    pub description: Option<String>,
    /// Patterns of what it subscribes to.
    pub event_types: Vec<String>,
    /// Its profile; `None`: its account's.
    pub profile: Option<String>,
    /// Headers besides the profile's, by name.
    pub headers: Vec<(String, Secret)>,
    /// Whether deliveries are made at once; else it is paused.
    pub enabled: bool,
    /// What signs its deliveries; `None`: one is made where its profile needs one.
    pub secret: Option<Secret>,
}

/// What is to be another with an endpoint; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// Where it is.
    pub url: Option<String>,
    /// What there is to say about it.
    pub description: Option<Option<String>>,
    /// Patterns of what it subscribes to.
    pub event_types: Option<Vec<String>>,
    /// Its profile; `Some(None)`: its account's.
    pub profile: Option<Option<String>>,
    /// Headers besides the profile's, by name: all of them.
    pub headers: Option<Vec<(String, Secret)>>,
    /// Whether it is to go on, what is pending with it, or to be paused.
    pub enabled: Option<bool>,
}

/// What becomes of what is pending when an endpoint is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// It is delivered.
    Deliver,
    /// It is cancelled.
    Discard,
}

/// A test: one attempt, of an event that is nowhere else.
pub struct Tested {
    /// The endpoint as it was tested.
    pub target: Arc<Target>,
    /// The event.
    pub event: Event,
    /// What came of it; its ids lead to nothing.
    pub attempt: Attempt,
    /// The body that was sent.
    pub body: Bytes,
}

/// An endpoint is not made or changed as somebody wants it.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A field of it cannot be as it is given.
    #[error("`{field}` {message}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// There is no profile of this name.
    #[error("there is no profile {name:?}{} leave it out for the account's", or_rather(near.as_deref()))]
    UnknownProfile {
        /// The name.
        name: String,
        /// The one that is most like it.
        near: Option<String>,
    },
    /// Nothing is delivered to this URL.
    #[error("{message}")]
    UrlRefused {
        /// Why, and what to do.
        message: String,
    },
    /// The secret is none for the endpoint's profile.
    #[error("{message}")]
    SecretUnfit {
        /// Why, and what to do.
        message: String,
    },
    /// The account has as many endpoints as it may have.
    #[error(
        "the account has as many endpoints made over the API as it may have, {most}: delete one, or raise its `max_endpoints` (under its [accounts.NAME], or `posthaste account update NAME --max-endpoints N`)"
    )]
    TooMany {
        /// How many.
        most: u64,
    },
    /// It stands in the configuration, and is changed there.
    #[error(
        "the endpoint `{name}` stands in the configuration: change it there, and have that read (`posthaste reload`)"
    )]
    OwnedByConfiguration {
        /// Its name.
        name: String,
    },
    /// There is none.
    #[error("there is no such endpoint; it may have been deleted")]
    NotFound,
    /// Its profile needs no secret.
    #[error("the endpoint's profile neither signs nor shows a secret, so it has none")]
    NoSecret,
    /// As many endpoints are being tested as may be at once.
    #[error("{TESTS} endpoints are being tested at this moment; try again when one has answered")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What leads over to another way out.
fn or_rather(near: Option<&str>) -> String {
    near.map_or_else(|| ":".to_owned(), |near| format!(": did you mean `{near}`? Or"))
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default()
}

impl Endpoints {
    /// With these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            change: Mutex::new(()),
            tests: Semaphore::new(TESTS),
            kitchen: Kitchen::default(),
        }))
    }

    /// Makes an endpoint.
    ///
    /// # Errors
    /// Something about it is not as it can be, its account has enough, or the store failed.
    pub async fn make(&self, new: NewEndpoint) -> Result<EndpointNumber, EndpointError> {
        self.finish(async move |inner| inner.make(new).await).await
    }

    /// Changes an endpoint that was made over the API.
    ///
    /// # Errors
    /// There is none, it stands in the configuration, something is not as it can be, or the store failed.
    pub async fn change(&self, number: EndpointNumber, patch: Patch) -> Result<(), EndpointError> {
        self.finish(async move |inner| inner.change(number, patch).await).await
    }

    /// Lets an endpoint go on, its failures counted from 0; says how many deliveries were pending for it.
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub async fn enable(&self, number: EndpointNumber, pending: Pending) -> Result<u64, EndpointError> {
        let discard = pending == Pending::Discard;
        self.finish(async move |inner| {
            let change = Change::Enable { number, discard, at: inner.parts.clock.wall() };
            inner.commit(change).await.map(|(_, pending)| pending)
        })
        .await
    }

    /// Pauses an endpoint for its operator: deliveries are made and wait.
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub async fn disable(&self, number: EndpointNumber) -> Result<(), EndpointError> {
        self.finish(async move |inner| {
            let (reason, at) = (DisableReason::Operator, inner.parts.clock.wall());
            inner.commit(Change::Disable { number, reason, at }).await.map(drop)
        })
        .await
    }

    /// Deletes an endpoint that was made over the API; says how many deliveries are cancelled.
    ///
    /// # Errors
    /// There is none, it stands in the configuration, or the store failed.
    pub async fn delete(&self, number: EndpointNumber) -> Result<u64, EndpointError> {
        self.finish(async move |inner| {
            inner.own(number)?;
            let change = Change::Delete { number, at: inner.parts.clock.wall() };
            inner.commit(change).await.map(|(_, pending)| pending)
        })
        .await
    }

    /// Makes another secret for an endpoint that was made over the API; the earlier ones sign beside it for `overlap`,
    /// [`LONGEST_OVERLAP`] at most.
    ///
    /// # Errors
    /// There is no such endpoint, it stands in the configuration, it needs no secret, or the store failed.
    pub async fn rotate(&self, number: EndpointNumber, overlap: Duration) -> Result<(), EndpointError> {
        if overlap > LONGEST_OVERLAP {
            return Err(field("overlap", "is more than 7 days: give one from 0s to 7d".to_owned()));
        }
        self.finish(async move |inner| inner.rotate(number, overlap).await).await
    }

    /// The secrets of an endpoint that was made over the API, newest first.
    ///
    /// # Errors
    /// There is no such endpoint, it stands in the configuration, or it needs no secret.
    pub fn secrets(&self, number: EndpointNumber) -> Result<Vec<DatedSecret>, EndpointError> {
        let (target, mut own) = self.0.own(number)?;
        let form = self.0.workshop().form(&target.stored.account, own.profile.as_deref());
        if form.is_some_and(|form| !form.needs_secret()) {
            return Err(EndpointError::NoSecret);
        }
        let now = self.0.parts.clock.age();
        own.secrets.retain(|one| !one.is_over(now));
        Ok(own.secrets)
    }

    /// Makes one attempt at an endpoint, paused or not, of an event that is nowhere else: nothing is kept of it, and
    /// nothing counted. What is not given is chosen: a type that the endpoint wants, `{}` as data.
    ///
    /// # Errors
    /// There is no such endpoint, what it takes to reach it is missing, its template cannot take the data, or too many are
    /// being tested.
    pub async fn test(
        &self,
        number: EndpointNumber,
        event_type: Option<EventType>,
        data: Option<Bytes>,
    ) -> Result<Tested, EndpointError> {
        self.finish(async move |inner| {
            let _turn = inner.tests.try_acquire().map_err(|_| EndpointError::Busy)?;
            inner.test(number, event_type, data).await
        })
        .await
    }

    /// Does something to its end, also when whoever asked has gone.
    async fn finish<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T, EndpointError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EndpointError>> + Send + 'static,
    {
        let task = self.0.parts.runtime.spawn(work(Arc::clone(&self.0)));
        task.await.unwrap_or(Err(EndpointError::Store(StoreError::Stopped)))
    }
}

impl Inner {
    /// What endpoints are made with. It changes in the turn of a change.
    fn workshop(&self) -> Arc<Workshop> {
        self.parts.directory.workshop()
    }

    async fn make(&self, new: NewEndpoint) -> Result<EndpointNumber, EndpointError> {
        let _change = self.change.lock().await;
        let workshop = self.workshop();
        let account = workshop.account(&new.account).ok_or_else(|| self.no_account(&new.account))?;
        let form = self.form(&new.account, new.profile.as_deref())?;
        let own = Own {
            url: self.url(&new.account, &new.url)?,
            description: given::description(new.description)?,
            event_types: given::event_types(&new.event_types, account.catalog.as_deref())?,
            headers: given::headers(new.headers)?,
            secrets: self.first_secrets(new.secret, &form)?,
            profile: new.profile,
        };
        self.check(&new.account, &own, &form)?;
        // An event can have so many deliveries, one of them a callback's.
        let others = workshop.configured_of(&new.account) + 1;
        let room = u64::try_from(MAX_DELIVERIES.saturating_sub(others)).unwrap_or(u64::MAX);
        let most = account.max_endpoints.min(room);
        let change = Change::Make {
            account: new.account,
            own: Box::new(own),
            lasting: form.profile().lasting(),
            disabled: (!new.enabled).then_some(DisableReason::Operator),
            most,
            at: self.parts.clock.wall(),
        };
        match self.write(change).await {
            Ok((number, _)) => Ok(number),
            Err(EndpointError::TooMany { .. }) => Err(EndpointError::TooMany { most }),
            Err(error) => Err(error),
        }
    }

    async fn change(&self, number: EndpointNumber, patch: Patch) -> Result<(), EndpointError> {
        let _change = self.change.lock().await;
        let (target, mut own) = self.own(number)?;
        let account = &target.stored.account;
        if let Some(url) = patch.url {
            own.url = self.url(account, &url)?;
        }
        if let Some(description) = patch.description {
            own.description = given::description(description)?;
        }
        if let Some(event_types) = patch.event_types {
            own.event_types = given::event_types(&event_types, self.catalog(account).as_deref())?;
        }
        if let Some(headers) = patch.headers {
            own.headers = given::headers(headers)?;
        }
        if let Some(profile) = patch.profile {
            own.profile = profile;
        }
        let form = self.form(account, own.profile.as_deref())?;
        if own.secrets.is_empty() {
            own.secrets = self.first_secrets(None, &form)?;
        }
        self.check(account, &own, &form)?;
        self.replace(&target, own, &form, patch.enabled).await
    }

    async fn rotate(&self, number: EndpointNumber, overlap: Duration) -> Result<(), EndpointError> {
        let _change = self.change.lock().await;
        let (target, mut own) = self.own(number)?;
        let form = self.form(&target.stored.account, own.profile.as_deref())?;
        if !form.needs_secret() {
            return Err(EndpointError::NoSecret);
        }
        // Under a profile that has changed an earlier secret may be no key any more: it could not sign beside the new one.
        own.secrets.retain(|one| given::secret(&one.secret, &form).is_ok() && is_key(&one.secret, &form));
        own.secrets =
            rotation::rotate(&own.secrets, self.make_secret(&form)?, self.parts.clock.age(), overlap);
        self.check(&target.stored.account, &own, &form)?;
        self.replace(&target, own, &form, None).await
    }

    async fn replace(
        &self,
        target: &Target,
        own: Own,
        form: &Form,
        enabled: Option<bool>,
    ) -> Result<(), EndpointError> {
        let change = Change::Replace {
            number: target.number,
            revision: target.stored.revision,
            own: Box::new(own),
            enabled,
            lasting: form.profile().lasting(),
            at: self.parts.clock.wall(),
        };
        self.write(change).await.map(drop)
    }

    /// Commits a change when it is its turn.
    async fn commit(&self, change: Change) -> Result<(EndpointNumber, u64), EndpointError> {
        let _change = self.change.lock().await;
        self.write(change).await
    }

    /// Commits a change, whose turn it is, and takes it in; says which endpoint that is, and how many deliveries were
    /// pending.
    async fn write(&self, change: Change) -> Result<(EndpointNumber, u64), EndpointError> {
        let Parts { outbox, directory, .. } = &self.parts;
        let (number, stored, pending) = match outbox.change(change).await? {
            Changed::Done { number, endpoint, pending } => (number, *endpoint, pending),
            Changed::Full => return Err(EndpointError::TooMany { most: 0 }),
            // Settings change here alone, one after the other.
            Changed::Missing | Changed::Stale => return Err(EndpointError::NotFound),
        };
        let before = directory.target(number);
        let after = self.workshop().target(number, stored, outbox.id_key(), before.as_deref());
        tell::of_change(before.as_deref(), &after);
        directory.put(after);
        self.parts.intake.set_routes(directory.routes());
        self.parts.engine.changed(number).await;
        Ok((number, pending))
    }

    async fn test(
        &self,
        number: EndpointNumber,
        event_type: Option<EventType>,
        data: Option<Bytes>,
    ) -> Result<Tested, EndpointError> {
        let target = self.living(number)?;
        self.check_again(&target)?;
        let at = self.parts.clock.wall();
        let event = Event {
            // No event has this number.
            seq: Seq::ZERO,
            accepted_at: at,
            clock_unset: self.parts.clock.is_unset(),
            new: NewEvent::new(
                target.stored.account.clone(),
                event_type
                    .unwrap_or_else(|| wanted_type(&target, self.catalog(&target.stored.account).as_deref())),
                data.unwrap_or_else(|| Bytes::from_static(b"{}")),
            ),
        };
        let id_key = self.parts.outbox.id_key();
        let Some(tried) = try_once(&event, &target, self.parts.clock, id_key, &self.kitchen).await else {
            let why = target.disabled().map_or("its settings", |disabled| disabled.reason.as_str());
            let message = format!("cannot be reached ({why}): see to that first");
            return Err(field("endpoint", message));
        };
        let (attempt, body) = tried.map_err(|error| {
            field("data", format!("does not fit the template of the endpoint's profile: {error}"))
        })?;
        Ok(Tested { target, event, attempt, body })
    }

    /// One that has not been deleted; where callbacks go is nobody's to change.
    fn living(&self, number: EndpointNumber) -> Result<Arc<Target>, EndpointError> {
        let target = self.parts.directory.target(number);
        let is_there = |target: &Arc<Target>| !target.stored.is_deleted() && target.stored.origin().is_none();
        target.filter(is_there).ok_or(EndpointError::NotFound)
    }

    /// One that was made over the API, with its settings.
    fn own(&self, number: EndpointNumber) -> Result<(Arc<Target>, Own), EndpointError> {
        let target = self.living(number)?;
        match target.stored.own().cloned() {
            Some(own) => Ok((target, own)),
            None => Err(EndpointError::OwnedByConfiguration { name: target.label().to_owned() }),
        }
    }

    fn form(&self, account: &AccountName, profile: Option<&str>) -> Result<Arc<Form>, EndpointError> {
        let workshop = self.workshop();
        match (workshop.form(account, profile), profile) {
            (Some(form), _) => Ok(form),
            (None, Some(name)) if workshop.account(account).is_some() => {
                let near = nearest(name, workshop.forms().keys().map(String::as_str)).map(str::to_owned);
                Err(EndpointError::UnknownProfile { name: name.chars().take(64).collect(), near })
            }
            (None, _) => Err(self.no_account(account)),
        }
    }

    fn catalog(&self, account: &AccountName) -> Option<Arc<Catalog>> {
        self.workshop().account(account)?.catalog.clone()
    }

    fn no_account(&self, account: &AccountName) -> EndpointError {
        let workshop = self.workshop();
        let known = workshop.accounts().map(AccountName::as_str);
        let near = suggestion(nearest(account.as_str(), known));
        let message = format!(
            "names the account `{account}`, which there is not{near}; add it as [accounts.{account}] to the configuration, or with `posthaste account add {account}`"
        );
        field("account", message)
    }

    /// The secrets of an endpoint that has had none: the one that was given, or one that is made.
    fn first_secrets(&self, given: Option<Secret>, form: &Form) -> Result<Vec<DatedSecret>, EndpointError> {
        let secret = match given {
            Some(_) if !form.needs_secret() => {
                let profile = &form.profile().name;
                let message =
                    format!("the profile `{profile}` neither signs nor shows a secret: leave it out");
                return Err(EndpointError::SecretUnfit { message });
            }
            Some(secret) => {
                given::secret(&secret, form)?;
                secret
            }
            None if form.needs_secret() => self.make_secret(form)?,
            None => return Ok(Vec::new()),
        };
        Ok(vec![DatedSecret { secret, made_at: self.parts.clock.wall(), until: None }])
    }

    fn make_secret(&self, form: &Form) -> Result<Secret, EndpointError> {
        self.strong_secret(form).map_err(|message| EndpointError::SecretUnfit { message })
    }

    /// A secret that nobody has, in the form that `form` wants; or why there is none.
    fn strong_secret(&self, form: &Form) -> Result<Secret, String> {
        let strong = self.parts.chance.bytes().map(Zeroizing::new).map_err(|error| {
            format!("the system gives no random numbers for a secret ({error}): try again")
        })?;
        let rule = &form.profile().signature;
        Ok(key::make(rule.key, rule.algorithm, &strong))
    }

    /// Where it is to be.
    fn url(&self, account: &AccountName, text: &str) -> Result<Url, EndpointError> {
        let workshop = self.workshop();
        let https_only = workshop.account(account).is_none_or(|account| account.https_only);
        given::url(text, https_only, &workshop.scope(account))
    }

    /// Whether an endpoint that was made over the API may still be sent to: the configuration may have changed since.
    fn check_again(&self, target: &Target) -> Result<(), EndpointError> {
        let account = &target.stored.account;
        let workshop = self.workshop();
        let form = |own: &Own| workshop.form(account, own.profile.as_deref());
        let own = target.stored.own().and_then(|own| Some((own, form(own)?)));
        own.map_or(Ok(()), |(own, form)| self.check(account, own, &form))
    }

    /// Whether deliveries could be made with these settings.
    fn check(&self, account: &AccountName, own: &Own, form: &Arc<Form>) -> Result<(), EndpointError> {
        for one in &own.secrets {
            given::secret(&one.secret, form)?;
        }
        match self.workshop().check(account, own, form) {
            Ok(()) => Ok(()),
            Err(error @ Unusable::Header) => Err(field("headers", error.to_string())),
            Err(error @ (Unusable::Closed(_) | Unusable::Refused(_) | Unusable::Url(_))) => {
                Err(EndpointError::UrlRefused { message: error.to_string() })
            }
            Err(Unusable::Key(error)) => {
                let profile = &form.profile().name;
                let message = format!(
                    "{error} (profile `{profile}`); for an endpoint with another form of secret, make another endpoint"
                );
                Err(EndpointError::SecretUnfit { message })
            }
        }
    }
}

/// A type that the endpoint wants: the first that it names, else the first of the catalog that its patterns mean.
fn wanted_type(target: &Target, catalog: Option<&Catalog>) -> EventType {
    let patterns = target.settings.as_ref().map(|settings| &*settings.event_types).unwrap_or_default();
    let named = patterns.iter().find_map(|pattern| pattern.as_str().parse().ok());
    let is_meant = |name: &&EventType| patterns.iter().any(|pattern| pattern.matches(name));
    let known = || catalog?.iter().map(|(name, _)| name).find(is_meant).cloned();
    named.or_else(known).unwrap_or_else(|| TEST_TYPE.parse().expect("a type"))
}

/// Whether a secret could sign under `form`; where nothing is signed any could.
fn is_key(secret: &Secret, form: &Form) -> bool {
    let rule = &form.profile().signature;
    !form.signs() || key::key(rule.key, rule.algorithm, secret).is_ok()
}
