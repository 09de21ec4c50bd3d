//! Endpoints: subscribers' URLs. What configuration says of one is in `config`; here is what the store keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{account::AccountName, time::Timestamp};

/// An endpoint's number in the store, from 1, never given twice; 0 stands for a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointNumber(u32);

impl EndpointNumber {
    /// An endpoint's number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What the store keeps of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Whose it is.
    pub account: AccountName,
    /// With the account, its identity in the configuration.
    pub name: String,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// Why it is disabled and since when; `None`: it is enabled.
    pub disabled: Option<Disabled>,
    /// Attempts without success in a row, whatever their delivery.
    pub consecutive_failures: u32,
    /// Milliseconds that its profile had for `expire` when it was last configured; rows of earlier versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_ms: Option<u64>,
}

impl Endpoint {
    /// The `expire` of its profile when it was last configured, where that is known.
    pub fn last_expire(&self) -> Option<Duration> {
        self.expire_ms.map(Duration::from_millis)
    }
}

/// Why an endpoint is paused, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// Why.
    pub reason: DisableReason,
    /// Since when.
    pub since: Timestamp,
}

/// Why an endpoint is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisableReason {
    /// Its secret's credential is not there.
    NoCredential,
    /// It has disappeared from the configuration.
    NotConfigured,
}

impl DisableReason {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::NotConfigured => "not_configured",
        }
    }
}
