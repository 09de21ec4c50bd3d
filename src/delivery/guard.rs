//! The guard: asked of the very address that is about to be dialled, each time, and of nothing that was looked up before.
//!
//! The rules are [`policy::address`](crate::policy::address)'s; a lane's guard knows whose endpoint it is.

use std::net::SocketAddr;

use super::failure;
use crate::{
    model::attempt::{Failure, FailureKind},
    policy::address::{Refusal, Refusals, Scope},
};

/// A lane's guard.
pub(super) struct Guard(Scope);

impl Guard {
    pub(super) const fn new(scope: Scope) -> Self {
        Self(scope)
    }

    /// Whether it keeps to these rules.
    pub(super) fn is_of(&self, scope: &Scope) -> bool {
        self.0 == *scope
    }

    /// Whether `address` may be dialled.
    pub(super) fn check(&self, address: SocketAddr) -> Result<(), Refusal> {
        self.0.check(address.ip())
    }
}

/// The failure of an attempt that had these addresses, which may not be dialled, and no other.
pub(super) fn refused(refusals: Vec<Refusal>) -> Failure {
    let message = Refusals::new(refusals).map(|refusals| refusals.to_string());
    failure::new(FailureKind::Refused, message.unwrap_or_default())
}

/// The failure of an attempt at a URL whose own address is one of these.
pub(super) fn closed(refusals: &Refusals) -> Failure {
    failure::new(FailureKind::Refused, refusals.to_string())
}
