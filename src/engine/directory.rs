//! The endpoints as deliveries see them: the stored number and state joined with the configuration.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    config,
    delivery::{
        client::{Client, Lane, TargetError},
        sign::Signer,
    },
    ingest::intake::{Route, Routes},
    model::{
        account::AccountName,
        endpoint::{DisableReason, Disabled, Endpoint, EndpointNumber},
        id::{EndpointId, IdKey},
        numbers::BuildNumberHasher,
        profile::Profile,
        secret::DatedSecret,
    },
    outbox::Configured,
    policy::{address::Stance, key::KeyError},
};

/// All endpoints that the store knows. Immutable; shared.
pub struct Directory(HashMap<EndpointNumber, Arc<Target>, BuildNumberHasher>);

/// One endpoint.
pub struct Target {
    /// Its number in the store.
    pub number: EndpointNumber,
    /// Its public id.
    pub id: EndpointId,
    /// The same, as it is written.
    pub written_id: String,
    /// What the store keeps of it, as of the start.
    pub stored: Endpoint,
    /// How to reach it; `None` when it is no longer configured, or lacks a credential.
    pub active: Option<Active>,
    /// As it is configured, if it is.
    pub configured: Option<config::Endpoint>,
}

/// What it takes to make an attempt.
pub struct Active {
    /// The connections.
    pub lane: Lane,
    /// The keys.
    pub signer: Signer,
}

/// An endpoint of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Its URL is none that can be dialled.
    #[error("the URL of endpoint `{name}` cannot be used")]
    Target {
        /// The endpoint's name.
        name: String,
        /// Why.
        #[source]
        source: TargetError,
    },
    /// Its secret is no key.
    #[error("the secret of endpoint `{name}` cannot be used")]
    Key {
        /// The endpoint's name.
        name: String,
        /// Why.
        #[source]
        source: KeyError,
    },
}

/// The configuration's endpoints, as the store wants to know them.
pub fn configured(endpoints: &[config::Endpoint]) -> Vec<Configured> {
    let one = |endpoint: &config::Endpoint| Configured {
        account: endpoint.account.clone(),
        name: endpoint.name.clone(),
        disabled: disable_reason(endpoint),
        expire: endpoint.form.profile().expire,
    };
    endpoints.iter().map(one).collect()
}

/// What it takes to reach each endpoint of the configuration, in its order; `None` for one that lacks a credential.
///
/// # Errors
/// An endpoint's URL or secret cannot be used.
pub fn activate(
    endpoints: &[config::Endpoint],
    client: &Client,
) -> Result<Vec<Option<Active>>, DirectoryError> {
    let one = |endpoint: &config::Endpoint| match disable_reason(endpoint) {
        None => activate_one(endpoint, client).map(Some),
        Some(_) => Ok(None),
    };
    endpoints.iter().map(one).collect()
}

impl Directory {
    /// Joins what the store knows with the configuration; `active` is what [`activate`] made of `endpoints`.
    pub fn new(
        stored: Vec<(EndpointNumber, Endpoint)>,
        endpoints: &[config::Endpoint],
        active: Vec<Option<Active>>,
        id_key: &IdKey,
    ) -> Self {
        let mut configured: HashMap<_, _> = endpoints
            .iter()
            .zip(active)
            .map(|(endpoint, active)| ((endpoint.account.clone(), endpoint.name.clone()), (endpoint, active)))
            .collect();
        let mut targets = HashMap::default();
        for (number, stored) in stored {
            let found = configured.remove(&(stored.account.clone(), stored.name.clone()));
            let (configured, active) = found.map_or((None, None), |(found, active)| (Some(found), active));
            let active = active.filter(|_| stored.disabled.is_none());
            let id = id_key.endpoint_id(stored.created_at, number);
            let target = Target {
                number,
                id,
                written_id: id.to_string(),
                stored,
                active,
                configured: configured.cloned(),
            };
            targets.insert(number, Arc::new(target));
        }
        Self(targets)
    }

    /// The endpoint with this number.
    pub fn target(&self, number: EndpointNumber) -> Option<&Arc<Target>> {
        self.0.get(&number)
    }

    /// All endpoints, newest first.
    pub fn targets(&self) -> Vec<&Arc<Target>> {
        let mut targets: Vec<_> = self.0.values().collect();
        targets.sort_by_key(|target| std::cmp::Reverse(target.number));
        targets
    }

    /// Who wants what, for the intake; `accounts` are all that there are.
    pub fn routes<'a>(&self, accounts: impl Iterator<Item = &'a AccountName>) -> Routes {
        let mut routes = Routes(accounts.map(|account| (account.clone(), Vec::new())).collect());
        for target in self.targets().into_iter().rev() {
            let Some(configured) = &target.configured else { continue };
            routes.0.entry(configured.account.clone()).or_default().push(Route {
                endpoint: target.number,
                event_types: configured.event_types.clone(),
                form: Arc::clone(&configured.form),
            });
        }
        routes
    }
}

impl Target {
    /// How its webhooks behave, if it is configured.
    pub fn profile(&self) -> Option<&Profile> {
        self.configured.as_ref().map(|configured| configured.form.profile())
    }

    /// How long after its first due time a delivery to it fails: as its profile says, or said when it was last
    /// configured. `None`: it was last configured by a version that did not keep this.
    pub fn expire(&self) -> Option<Duration> {
        self.profile().map_or_else(|| self.stored.last_expire(), |profile| Some(profile.expire))
    }

    /// Why it is paused, and since when.
    pub const fn disabled(&self) -> Option<Disabled> {
        self.stored.disabled
    }
}

fn disable_reason(endpoint: &config::Endpoint) -> Option<DisableReason> {
    (!endpoint.missing_credentials.is_empty()).then_some(DisableReason::NoCredential)
}

fn activate_one(endpoint: &config::Endpoint, client: &Client) -> Result<Active, DirectoryError> {
    let name = || endpoint.name.clone();
    let lane = client.lane(&endpoint.url, Stance::Configuration, &endpoint.account);
    let lane = lane.map_err(|source| DirectoryError::Target { name: name(), source })?;
    let secrets: Vec<_> = endpoint.secret.iter().cloned().map(DatedSecret::lasting).collect();
    let signer = Signer::new(&endpoint.form, &secrets);
    let signer = signer.map_err(|source| DirectoryError::Key { name: name(), source })?;
    Ok(Active { lane, signer })
}
