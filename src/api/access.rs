//! Who asks, and what only some may ask.
//!
//! The socket has judged whose connection it is, or the [gate](super::gate) whose key; a request brings the [`Verdict`] with
//! it. Whether somebody may reach a handler at all has been settled before it, and the body of a request is not even
//! read then. What names an account, or is of one, is held against the verdict by the handler.

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{problem::Problem, query::Query};
use crate::{ingest::access::Verdict, model::account::AccountName};

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Asker(pub(super) Verdict);

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let verdict = parts.extensions.get::<Verdict>().cloned();
        Ok(Self(verdict.expect("every request is served with its connection's verdict")))
    }
}

impl Asker {
    /// Whose it is that `query` is about: whom it names, else the only one that the asker may touch, else nobody's in
    /// particular.
    ///
    /// # Errors
    /// It names one that is not the asker's to touch.
    pub(super) fn account(&self, query: &Query) -> Result<Option<AccountName>, Problem> {
        let named: Option<AccountName> = query.value("account")?;
        if let Some(named) = &named {
            self.0.check_account(named)?;
        }
        Ok(named.or_else(|| self.0.account().cloned()))
    }
}
