//! Accounts made and changed over the API, in the turn of a change of endpoints, and on the way of a reload: what it makes of the
//! account's endpoints is judged, all of it is committed at once, and then it holds.

use std::sync::Arc;

use tokio::task;

use super::{Inner, Parts, adopt, given, tell};
use crate::{
    config::{self, Given},
    engine::{directory::Swap, endpoints::Endpoints, settings::Workshop},
    ingest::intake::Course,
    logging::Kind,
    model::{account::AccountName, secret::Secret, tenant::Tenant},
    outbox::{MAX_ACCOUNTS, StoreError, TenantChange, TenantChanged},
    policy::form::Form,
};

/// What somebody gives of an account; what is not there stays as it is, or is as by default.
#[derive(Clone, Debug, Default)]
pub struct AccountPatch {
    /// What there is to say about it.
    pub description: Option<Option<String>>,
    /// Its settings by their key in the configuration; `None`: as by default.
    pub settings: Vec<(&'static str, Option<Given>)>,
}

/// An account is not made or changed as somebody wants it.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Something of it is not as it can be.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// There is one of this name.
    #[error(
        "there is an account `{0}` already: change it (`posthaste account update {0}`), or choose another name"
    )]
    Exists(AccountName),
    /// It stands in the configuration.
    #[error(
        "the account `{0}` stands in the configuration, [accounts.{0}]: change it there, and have that read (`posthaste reload`)"
    )]
    OwnedByConfiguration(AccountName),
    /// There is none.
    #[error("there is no account `{0}` that was made over the API; `posthaste account list` shows all")]
    NotFound(AccountName),
    /// There are enough.
    #[error(
        "there are {MAX_ACCOUNTS} accounts made over the API, or their catalogs are too large together: delete some, or shorten catalogs"
    )]
    TooMany,
    /// Something is left of it.
    #[error(
        "the account `{name}` has {endpoints} endpoints, {pending} pending deliveries and {keys} keys: delete the endpoints (`posthaste endpoint remove`), which cancels what is pending for them, and revoke the keys (`posthaste key revoke`); callbacks end by themselves"
    )]
    InUse {
        /// Which.
        name: AccountName,
        /// Endpoints that were made over the API.
        endpoints: u64,
        /// Pending deliveries.
        pending: u64,
        /// Keys that are for it alone.
        keys: u64,
    },
    /// What is left of it is not known yet.
    #[error("the backlog is still being read, so it is not known what is pending: try again in a moment")]
    Counting,
    /// It has no secret.
    #[error("the account `{0}` has no secret")]
    NoSecret(AccountName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Endpoints {
    /// Makes an account. Where nothing is said of a secret, and its profile needs one, one is made.
    ///
    /// # Errors
    /// There is one of this name, something of it is not as it can be, there are enough, or the store failed.
    pub async fn make_account(&self, name: AccountName, patch: AccountPatch) -> Result<(), AccountError> {
        self.finish_account(async move |inner| inner.make_account(&name, patch).await).await
    }

    /// Changes an account that was made over the API.
    ///
    /// # Errors
    /// There is none, something is not as it can be, or the store failed.
    pub async fn change_account(&self, name: AccountName, patch: AccountPatch) -> Result<(), AccountError> {
        self.finish_account(async move |inner| inner.change_account(&name, patch).await).await
    }

    /// Deletes an account that was made over the API, and of which nothing is left but history.
    ///
    /// # Errors
    /// There is none, something is left of it, or the store failed.
    pub async fn delete_account(&self, name: AccountName) -> Result<(), AccountError> {
        self.finish_account(async move |inner| {
            let _change = inner.change.lock().await;
            inner.tenant(&name)?;
            inner.install(&name, None).await?;
            say_account(&name, "deleted");
            Ok(())
        })
        .await
    }

    /// What signs the callbacks of an account that was made over the API.
    ///
    /// # Errors
    /// There is no such account, or it has no secret.
    pub fn account_secret(&self, name: &AccountName) -> Result<(Secret, Option<Arc<Form>>), AccountError> {
        let tenant = self.0.tenant(name)?;
        let secret = tenant.secret.clone().ok_or_else(|| AccountError::NoSecret(name.clone()))?;
        Ok((secret, self.0.workshop().forms().get(&tenant.profile).cloned()))
    }

    async fn finish_account<F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Result<(), AccountError>
    where
        F: Future<Output = Result<(), AccountError>> + Send + 'static,
    {
        let task = self.0.parts.runtime.spawn(work(Arc::clone(&self.0)));
        task.await.unwrap_or(Err(AccountError::Store(StoreError::Stopped)))
    }
}

impl Inner {
    async fn make_account(&self, name: &AccountName, patch: AccountPatch) -> Result<(), AccountError> {
        let _change = self.change.lock().await;
        let workshop = self.workshop();
        if workshop.is_configured(name) {
            return Err(AccountError::OwnedByConfiguration(name.clone()));
        }
        if workshop.tenants().contains_key(name) {
            return Err(AccountError::Exists(name.clone()));
        }
        let says_secret = patch.settings.iter().any(|(key, _)| *key == "secret");
        let mut tenant = read(&workshop, name, None, patch)?;
        let at = self.parts.clock.wall();
        (tenant.created_at, tenant.updated_at) = (at, at);
        let form = workshop.forms().get(&tenant.profile).filter(|form| form.needs_secret());
        if let (false, Some(form)) = (says_secret, form) {
            let made = self.strong_secret(form).map_err(|message| AccountError::Invalid(vec![message]));
            tenant.secret = Some(made?);
        }
        self.install(name, Some(tenant)).await?;
        say_account(name, "made");
        Ok(())
    }

    async fn change_account(&self, name: &AccountName, patch: AccountPatch) -> Result<(), AccountError> {
        let _change = self.change.lock().await;
        let before = self.tenant(name)?;
        let mut tenant = read(&self.workshop(), name, Some(&before), patch)?;
        (tenant.created_at, tenant.updated_at) = (before.created_at, self.parts.clock.wall());
        self.install(name, Some(tenant)).await?;
        say_account(name, "changed");
        Ok(())
    }

    /// One that was made over the API, and holds.
    fn tenant(&self, name: &AccountName) -> Result<Arc<Tenant>, AccountError> {
        let workshop = self.workshop();
        if workshop.is_configured(name) {
            return Err(AccountError::OwnedByConfiguration(name.clone()));
        }
        workshop.tenants().get(name).cloned().ok_or_else(|| AccountError::NotFound(name.clone()))
    }

    /// Commits what an account is from now on, whose turn it is, and has it hold.
    async fn install(&self, name: &AccountName, tenant: Option<Tenant>) -> Result<(), AccountError> {
        let Parts { outbox, clock, intake, directory, engine, forgetter, .. } = &self.parts;
        let change = match &tenant {
            Some(tenant) => TenantChange::Put(Box::new(tenant.clone())),
            None => TenantChange::Delete,
        };
        let (before, of, reading) = (self.workshop(), name.clone(), outbox.clone());
        let made = task::spawn_blocking(move || {
            let workshop = before.with_tenant(&of, tenant.map(Arc::new));
            let mut stored = reading.read()?.endpoints()?;
            stored.retain(|(_, endpoint)| endpoint.account == of);
            let judged = workshop.judge(&stored);
            Ok::<_, StoreError>((Arc::new(workshop), judged))
        });
        let (workshop, judged) = made.await.map_err(|_| StoreError::Stopped)??;
        let stored = match outbox.change_account(name.clone(), change, judged, clock.wall()).await? {
            TenantChanged::Done(stored) => stored,
            TenantChanged::Full => return Err(AccountError::TooMany),
            TenantChanged::Counting => return Err(AccountError::Counting),
            TenantChanged::InUse { endpoints, pending, keys } => {
                return Err(AccountError::InUse { name: name.clone(), endpoints, pending, keys });
            }
        };
        let targets = self.targets(Arc::clone(&workshop), stored).await?;
        for target in &targets {
            tell::of_state(directory.target(target.number).as_deref(), target);
        }
        let swap = Swap { workshop: Arc::clone(&workshop), of: Some(name.clone()), targets };
        engine.swap(swap, None).await;
        let routes = Arc::new(directory.routes());
        forgetter.set_rules(workshop.retention());
        let catalog = workshop.account(name).and_then(|account| account.catalog.clone());
        intake.steer(|course| Course {
            routes,
            catalogs: course.catalogs.with(name, catalog),
            callbacks: adopt::callbacks(&workshop),
            limits: course.limits,
        });
        Ok(())
    }
}

fn say_account(name: &AccountName, what: &str) {
    tracing::info!(kind = Kind::AccountChanged.word(), account = %name, "the account `{name}` is {what}");
}

fn read(
    workshop: &Workshop,
    name: &AccountName,
    before: Option<&Tenant>,
    patch: AccountPatch,
) -> Result<Tenant, AccountError> {
    let AccountPatch { description, settings } = patch;
    let tenant = config::tenant(name, before, settings, (workshop.forms(), workshop.network()));
    let tenant =
        tenant.map_err(|wrong| AccountError::Invalid(wrong.into_iter().map(|one| one.message).collect()))?;
    let description = match description {
        Some(description) => {
            given::description(description).map_err(|error| AccountError::Invalid(vec![error.to_string()]))?
        }
        None => before.and_then(|before| before.description.clone()),
    };
    Ok(Tenant { description, ..tenant })
}
