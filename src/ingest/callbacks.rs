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
            let key = match (&account.secret, &account.missing_credential) {
                _ if !account.form.needs_secret() => Key::There,
                (Some(_), _) => Key::There,
                (None, Some(_)) => Key::Missing,
                (None, None) => Key::None,
            };
            let rule = Rule {
                form: Arc::clone(&account.form),
                max_origins: account.max_origins,
                https_only: account.https_only,
                scope: rules.scope(Stance::Outside, name),
                key,
            };
            (name.clone(), rule)
        };
        Self(Arc::new(accounts.map(rule).collect()))
    }

    /// Judges the URL of a callback of this account's.
    ///
    /// # Errors
    /// It may not go there, or could not be signed.
    pub(super) fn judge(&self, account: &AccountName, text: &str) -> Result<(Url, &Rule), Refusal> {
        // Whoever asks has looked for the account already.
        let rule = self.0.get(account).ok_or_else(|| no_secret(account, None))?;
        let url = destination::admit(text, rule.https_only, &rule.scope)
            .map_err(|error| Refusal::new(Code::UrlRefused, error.to_string()))?;
        match rule.key {
            Key::There | Key::Missing => Ok((url, rule)),
            Key::None => Err(no_secret(account, Some(&rule.form))),
        }
    }
}

impl Rule {
    /// Why no attempt can be made now, if so.
    pub(super) fn unavailable(&self) -> Option<DisableReason> {
        (self.key == Key::Missing).then_some(DisableReason::NoCredential)
    }
}

fn no_secret(account: &AccountName, form: Option<&Form>) -> Refusal {
    let why = form.map_or_else(String::new, |form| {
        let does = if form.signs() { "signs" } else { "sends a secret" };
        format!(", and its profile `{}` {does}", form.profile().name)
    });
    let message = format!(
        "the account `{account}` has no secret for callbacks{why}: write `secret = \"@credential:NAME\"` under [accounts.{account}], or leave `url` out"
    );
    Refusal::new(Code::SecretMissing, message)
}
