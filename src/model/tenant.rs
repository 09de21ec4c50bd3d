//! Accounts that were made over the API: their settings as the store keeps them.

use std::{net::IpAddr, time::Duration};

use super::{
    event::{Effect, EventType},
    secret::Secret,
    time::Timestamp,
};

/// An account that was made over the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// What somebody has written down about it.
    pub description: Option<String>,
    /// The profile of its endpoints that name none.
    pub profile: String,
    /// How many endpoints the API may make.
    pub max_endpoints: u64,
    /// Whether its endpoints, and its callbacks, must be https.
    pub https_only: bool,
    /// How many origins its callbacks may have.
    pub max_origins: u64,
    /// How long its events are kept whose deliveries all succeeded; `None`: as the store's.
    pub retention: Option<Duration>,
    /// The same, of other events.
    pub retention_failed: Option<Duration>,
    /// What signs its callbacks.
    pub secret: Option<Secret>,
    /// What of the networks that are open is open to it; `None`: all.
    pub allow: Option<Vec<Network>>,
    /// Networks that are closed to it besides.
    pub deny: Vec<Network>,
    /// Its catalog, in the order of the names; `None`: every type is taken.
    pub event_types: Option<Vec<KnownType>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A network: an address, and how many of its bits count.
pub type Network = (IpAddr, u8);

/// A type of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownType {
    /// The type.
    pub name: EventType,
    /// What it belongs to, for people.
    pub groups: Vec<String>,
    /// What it says, for people; may be empty.
    pub description: String,
    /// Whether its events are delivered.
    pub effect: Effect,
}
