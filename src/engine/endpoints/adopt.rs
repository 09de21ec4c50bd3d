//! Another configuration under the endpoints that there are: in the turn of a change, so that none is judged by what holds no
//! more.
//!
//! What can be wrong is found first. Then the store is made to agree with it, in one commit, as at a start; then all endpoints
//! are others in one step, and events are routed to them.

use std::sync::Arc;

use tokio::task;

use super::{Endpoints, Inner, Parts, tell};
use crate::{
    config::{Config, ConfigErrors, Limits},
    delivery::{
        client::{Client, Options},
        tls::RootsError,
    },
    engine::{
        directory::{Swap, Target},
        settings::Workshop,
    },
    ingest::{callbacks::Callbacks, catalogs::Catalogs, intake::Course},
    model::endpoint::{Endpoint, EndpointNumber},
    outbox::{StoreError, Tuning, Window},
};

/// A configuration cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Something of it cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The trusted certificates cannot be read.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The store failed; the daemon ends.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Endpoints {
    /// Has all endpoints be, from now on, as `next` says, in the place of `running`.
    ///
    /// # Errors
    /// An endpoint cannot be used: nothing has changed. Or the store failed.
    pub(in crate::engine) async fn adopt(
        &self,
        running: Arc<Config>,
        next: Arc<Config>,
    ) -> Result<(), AdoptError> {
        let inner = Arc::clone(&self.0);
        let task = self.0.parts.runtime.spawn(async move { inner.adopt(&running, next).await });
        task.await.unwrap_or(Err(AdoptError::Store(StoreError::Stopped)))
    }
}

impl Inner {
    async fn adopt(&self, running: &Config, next: Arc<Config>) -> Result<(), AdoptError> {
        let _change = self.change.lock().await;
        let before = self.workshop();
        let same_network = client_options(running) == client_options(&next);
        let config = Arc::clone(&next);
        let made = task::spawn_blocking(move || {
            let client = if same_network {
                before.client().clone()
            } else {
                before.client().renewed(config.network_rules(), client_options(&config))?
            };
            let tenants = before.tenants().clone();
            Ok::<_, AdoptError>(Workshop::new(&config, &client, tenants, Some(&before))?)
        });
        let workshop = Arc::new(made.await.map_err(|_| StoreError::Stopped)??);
        let outbox = self.parts.outbox.clone();
        outbox.tune(tuning(&next));
        let judging = Arc::clone(&workshop);
        let judged = task::spawn_blocking(move || Ok(judging.judge(&outbox.read()?.endpoints()?)));
        let judged = judged.await.unwrap_or(Err(StoreError::Stopped))?;
        let Parts { outbox, clock, intake, directory, engine, forgetter, .. } = &self.parts;
        let stored = outbox.configure(workshop.wanted(), judged, clock.wall()).await?;
        let targets = self.targets(Arc::clone(&workshop), stored).await?;
        for target in &targets {
            tell::of_state(directory.target(target.number).as_deref(), target);
        }
        let swap = Swap { workshop: Arc::clone(&workshop), of: None, targets };
        engine.swap(swap, Some(next.network.require_clock)).await;
        let routes = Arc::new(directory.routes());
        forgetter.set_rules(workshop.retention());
        let intake = intake.clone();
        let steered = task::spawn_blocking(move || {
            intake
                .steer(|course| Course { routes, ..self::course(&workshop, next.limits, &course.catalogs) });
        });
        Ok(steered.await.map_err(|_| StoreError::Stopped)?)
    }

    /// What is made of what the store keeps, aside from everything else. Of what was deleted nothing is.
    pub(super) async fn targets(
        &self,
        workshop: Arc<Workshop>,
        stored: Vec<(EndpointNumber, Endpoint)>,
    ) -> Result<Vec<Target>, StoreError> {
        let (directory, outbox) = (Arc::clone(&self.parts.directory), self.parts.outbox.clone());
        let made = task::spawn_blocking(move || {
            let living = stored.into_iter().filter(|(_, stored)| !stored.is_deleted());
            let target = |(number, stored)| {
                let before = directory.target(number);
                workshop.target(number, stored, outbox.id_key(), before.as_deref())
            };
            living.map(target).collect()
        });
        made.await.map_err(|_| StoreError::Stopped)
    }
}

/// By what endpoints are reached.
pub fn client_options(config: &Config) -> Options {
    let network = &config.network;
    Options { bundle: network.ca_bundle.clone(), tls_min: network.tls_min, proxy: network.proxy.clone() }
}

/// What of the configuration the store keeps to.
fn tuning(config: &Config) -> Tuning {
    let store = &config.store;
    Tuning {
        settle_delay: store.settle_delay,
        dedup: Window { time: store.dedup_window, entries: store.dedup_entries },
        pending_per_endpoint: config.limits.pending_per_endpoint,
        max_size: store.max_size,
    }
}

/// By what events are taken, but for who wants them; the types of `before` are counted on.
pub fn course(workshop: &Workshop, limits: Limits, before: &Catalogs) -> Course {
    let catalogs =
        workshop.all_accounts().filter_map(|(name, account)| Some((name.clone(), account.catalog.clone()?)));
    Course {
        routes: Arc::default(),
        catalogs: before.renewed(catalogs),
        callbacks: callbacks(workshop),
        limits,
    }
}

/// What may be called back.
pub(super) fn callbacks(workshop: &Workshop) -> Callbacks {
    Callbacks::new(workshop.all_accounts(), workshop.client().rules())
}

/// A client for what a configuration says; it reads the machine's roots, which blocks.
///
/// # Errors
/// They cannot be read.
pub fn client(config: &Config, clock: crate::clock::Clock) -> Result<Client, RootsError> {
    Client::new(config.network_rules(), clock, client_options(config))
}
