//! Callbacks at the door: whether the URL that comes with an event may be one, and what holds for it.

use std::{collections::HashMap, sync::Arc};

use url::Url;

use super::answer::{Code, Refusal};
use crate::{
    config::Account,
    model::{account::AccountName, endpoint::DisableReason},
    policy::{
        address::{Rules, Scope, Stance},
        destination,
        form::Form,
    },
};

/// Those of all accounts; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Callbacks(Arc<HashMap<AccountName, Rule>>);

/// What holds for an account's.
#[derive(Debug)]
pub(super) struct Rule {
    /// How they look and behave.
    pub(super) form: Arc<Form>,
    /// So many origins they may have.
    pub(super) max_origins: u64,
    https_only: bool,
    scope: Scope,
    key: Key,
}

/// What signs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// It is there, or not needed.
    There,
    /// Its credential is not there at this start.
    Missing,
    /// The configuration has none.
    None,
}

impl Callbacks {
    /// Those of these accounts, which may go where `rules` say.
    pub fn new<'a>(accounts: impl Iterator<Item = (&'a AccountName, &'a Account)>, rules: &Rules) -> Self {
        let rule = |(name, account): (&AccountName, &Account)| {
            let form = account.form.as_ref()?;
            let key = match (&account.secret, &account.missing_credential) {
                _ if !form.needs_secret() => Key::There,
                (Some(_), _) => Key::There,
                (None, Some(_)) => Key::Missing,
                (None, None) => Key::None,
            };
            let rule = Rule {
                form: Arc::clone(form),
                max_origins: account.max_origins,
                https_only: account.https_only,
                scope: rules.scope(Stance::Outside, name),
                key,
            };
            Some((name.clone(), rule))
        };
        Self(Arc::new(accounts.filter_map(rule).collect()))
    }

    /// Judges the URL of a callback of this account's.
    ///
    /// # Errors
    /// It may not go there, or could not be signed.
    pub(super) fn judge(&self, account: &AccountName, text: &str) -> Result<(Url, &Rule), Refusal> {
        // Whoever asks has looked for the account already.
        let rule = self.0.get(account).ok_or_else(|| no_profile(account))?;
        let url = destination::admit(text, rule.https_only, &rule.scope)
            .map_err(|error| Refusal::new(Code::UrlRefused, error.to_string()))?;
        match rule.key {
            Key::There | Key::Missing => Ok((url, rule)),
            Key::None => Err(no_secret(account, &rule.form)),
        }
    }
}

impl Rule {
    /// Why no attempt can be made now, if so.
    pub(super) fn unavailable(&self) -> Option<DisableReason> {
        (self.key == Key::Missing).then_some(DisableReason::NoCredential)
    }
}

fn no_profile(account: &AccountName) -> Refusal {
    let message = format!(
        "the account `{account}` has a profile that is not in the configuration: give it another (`posthaste account update {account} --profile NAME`), or leave `url` out"
    );
    Refusal::new(Code::SecretMissing, message)
}

fn no_secret(account: &AccountName, form: &Form) -> Refusal {
    let does = if form.signs() { "signs" } else { "sends a secret" };
    let profile = &form.profile().name;
    let message = format!(
        "the account `{account}` has no secret for callbacks, and its profile `{profile}` {does}: write `secret = \"@credential:NAME\"` under [accounts.{account}], or give it one where it was made over the API (`posthaste account update {account} --secret @FILE`); or leave `url` out"
    );
    Refusal::new(Code::SecretMissing, message)
}
