//! The wire types of accounts.

use serde::{Deserialize, Serialize};

use super::ShownSecret;
use crate::model::{
    account::AccountName,
    event::{Effect, EventType},
    time::Timestamp,
};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// Its name.
    pub name: AccountName,
    /// `configuration` or `api`.
    pub owner: String,
    /// One of this name was made over the API as well; its settings are kept, and hold when the configuration has none.
    #[serde(default)]
    pub shadowed: bool,
    /// A note for people.
    pub description: Option<String>,
    /// The profile of its endpoints that name none.
    pub profile: String,
    /// How many endpoints the API may make.
    pub max_endpoints: u64,
    /// Whether its endpoints made over the API, and its callbacks, must be https.
    pub https_only: bool,
    /// How many origins its callbacks may have.
    pub max_origins: u64,
    /// How long its events are kept whose deliveries all succeeded; `null`: as long as the store's.
    #[serde(default)]
    pub retention: Option<String>,
    /// The same, of other events.
    #[serde(default)]
    pub retention_failed: Option<String>,
    /// What of `[network] allow` is open to it; `null`: all of it.
    pub allow: Option<Vec<String>>,
    /// Networks that are closed to it besides.
    pub deny: Vec<String>,
    /// Something signs its callbacks.
    pub has_secret: bool,
    /// How many types its catalog has; `null`: it has none, and takes every type.
    pub known_types: Option<u64>,
    /// How many endpoints it has.
    pub endpoints: u64,
    /// What it lacks, if it lacks something.
    pub problem: Option<String>,
    /// When it was made over the API.
    pub created_at: Option<Timestamp>,
    /// When it was changed over the API.
    pub updated_at: Option<Timestamp>,
}

/// `GET /v1/accounts/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountDetailsView {
    /// The account.
    #[serde(flatten)]
    pub account: AccountView,
    /// Its catalog, in the order of the names; `null`: every type is taken.
    pub event_types: Option<Vec<KnownTypeView>>,
}

/// A type of a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTypeView {
    /// The type.
    pub name: EventType,
    /// What it belongs to.
    pub groups: Vec<String>,
    /// What it says.
    pub description: String,
    /// Whether its events are delivered.
    pub effect: Effect,
}

/// `POST /v1/accounts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeAccount {
    /// The account.
    #[serde(flatten)]
    pub account: AccountDetailsView,
    /// What signs its callbacks; `null` where there is nothing.
    pub secret: Option<ShownSecret>,
}

/// `GET /v1/accounts/{name}/secret`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSecretView {
    /// What signs its callbacks.
    pub secret: ShownSecret,
    /// The key for receivers, where the profile signs with a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// `DELETE /v1/accounts/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedAccount {
    /// Its name.
    pub name: AccountName,
}
