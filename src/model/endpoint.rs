//! Endpoints: subscribers' URLs. What the configuration says of one is in `config`; here is what the store keeps: of one
//! that was made over the API, all of it.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    account::AccountName,
    delivery::CancelReason,
    event::Seq,
    pattern::TypePattern,
    profile::Lasting,
    secret::{DatedSecret, Secret},
    time::Timestamp,
};

/// An endpoint's number in the store, from 1, never given twice. The origins of callbacks have numbers of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointNumber(u32);

impl EndpointNumber {
    /// Of a callback that found no place at an origin: no endpoint has it.
    pub const NONE: Self = Self(0);

    /// No endpoint's: under it stand the deliveries that join an order when they are due
    /// ([`Order::Unjoined`](super::delivery::Order)), whatever holds their endpoints.
    pub const JOINING: Self = Self(u32::MAX);

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose it is.
    pub account: AccountName,
    /// Where its settings come from.
    pub source: Source,
    /// When it was made, or first configured.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// How often its settings have been changed.
    pub revision: u32,
    /// Why it is paused until somebody enables it, and since when.
    pub disabled: Option<Disabled>,
    /// What it lacks, as the last start found, and since when.
    pub unavailable: Option<Disabled>,
    /// Attempts without success in a row, whatever their delivery.
    pub consecutive_failures: u32,
    /// How often these have been set to 0 by a change: what was counted before one counts no more.
    pub resets: u32,
    /// What its profile said when that was last known; rows of earlier versions lack it.
    pub lasting: Option<Lasting>,
    /// Which of its deliveries are called off, until each of them says so itself.
    pub discard: Option<Discard>,
}

impl Endpoint {
    /// Its name in the configuration; `None` for one made over the API.
    pub fn name(&self) -> Option<&str> {
        match &self.source {
            Source::Configuration { name, .. } => Some(name),
            Source::Api(_) | Source::Callback { .. } | Source::Deleted { .. } => None,
        }
    }

    /// The origin that it is, if callbacks go there and nothing else.
    pub fn origin(&self) -> Option<&str> {
        match &self.source {
            Source::Callback { origin } => Some(origin),
            Source::Api(_) | Source::Configuration { .. } | Source::Deleted { .. } => None,
        }
    }

    /// Its settings, where they are the store's.
    pub fn own(&self) -> Option<&Own> {
        match &self.source {
            Source::Api(own) => Some(own),
            Source::Callback { .. } | Source::Configuration { .. } | Source::Deleted { .. } => None,
        }
    }

    /// Whether it has been deleted: its number and what was delivered to it stay.
    pub const fn is_deleted(&self) -> bool {
        matches!(self.source, Source::Deleted { .. })
    }

    /// Why it is paused, and since when. What it lacks comes first: enabling it would not help.
    pub const fn paused(&self) -> Option<Disabled> {
        match self.unavailable {
            Some(unavailable) => Some(unavailable),
            None => self.disabled,
        }
    }

    /// Whether a delivery of the event `seq` that is pending by its own record is called off: why, and since when.
    pub fn calls_off(&self, seq: Seq) -> Option<(CancelReason, Timestamp)> {
        match (&self.source, self.discard) {
            (Source::Deleted { at }, _) => Some((CancelReason::EndpointDeleted, *at)),
            (_, Some(discard)) if seq < discard.below => Some((CancelReason::Discarded, discard.at)),
            _ => None,
        }
    }
}

/// Where an endpoint's settings come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was made over the API: they are here.
    Api(Box<Own>),
    /// There are none: it is where callbacks of its account go, which use the account's.
    Callback {
        /// Scheme, host and port, as `https://a.example:8443`.
        origin: Box<str>,
    },
    /// The configuration has them.
    Configuration {
        /// With the account, its identity there.
        name: String,
        /// Its URL when it was last configured; rows of earlier versions lack it.
        url: Option<String>,
    },
    /// It was made over the API and has been deleted: there are none any more.
    Deleted {
        /// When.
        at: Timestamp,
    },
}

/// The settings of an endpoint made over the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Where it is.
    pub url: Url,
    /// What somebody has written down about it.
    pub description: Option<String>,
    /// What it subscribes to; never empty.
    pub event_types: Vec<TypePattern>,
    /// Its profile's name; `None`: its account's.
    pub profile: Option<String>,
    /// Headers besides the profile's, by name.
    pub headers: Vec<(String, Secret)>,
    /// What signs its deliveries, newest first; none where its profile needs none.
    pub secrets: Vec<DatedSecret>,
}

/// Pending deliveries of an endpoint that are called off together: writing each of them would take too long for one
/// commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Those of events before this one.
    pub below: Seq,
    /// Since when.
    pub at: Timestamp,
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
    /// Too many attempts without success in a row.
    Failures,
    /// It answered 410.
    Gone,
    /// Its secret's credential is not there.
    NoCredential,
    /// Its profile is not in the configuration.
    NoProfile,
    /// It has disappeared from the configuration, or its account has.
    NotConfigured,
    /// An operator said so.
    Operator,
    /// Its settings do not fit its profile as that is configured.
    Unfit,
}

impl DisableReason {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Gone => "gone",
            Self::NoCredential => "no_credential",
            Self::NoProfile => "no_profile",
            Self::NotConfigured => "not_configured",
            Self::Operator => "operator",
            Self::Unfit => "unfit",
        }
    }

    /// Whether it holds until somebody enables the endpoint; the others are found anew at each start.
    pub const fn is_durable(self) -> bool {
        match self {
            Self::Failures | Self::Gone | Self::Operator => true,
            Self::NoCredential | Self::NoProfile | Self::NotConfigured | Self::Unfit => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_off() {
        let (at, later) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        let mut endpoint = Endpoint {
            account: AccountName::default(),
            source: Source::Configuration { name: "e".to_owned(), url: None },
            created_at: at,
            updated_at: at,
            revision: 0,
            disabled: None,
            unavailable: None,
            consecutive_failures: 0,
            resets: 0,
            lasting: None,
            discard: None,
        };
        assert_eq!(endpoint.calls_off(Seq::ZERO), None);
        endpoint.discard = Some(Discard { below: Seq::new(7), at });
        assert_eq!(endpoint.calls_off(Seq::new(6)), Some((CancelReason::Discarded, at)));
        assert_eq!(endpoint.calls_off(Seq::new(7)), None);
        endpoint.source = Source::Deleted { at: later };
        for seq in [6, 7] {
            assert_eq!(endpoint.calls_off(Seq::new(seq)), Some((CancelReason::EndpointDeleted, later)));
        }
    }
}
