//! The endpoints as deliveries see them: what the store keeps, joined with what it takes to reach them.
//!
//! The directory changes while the daemon runs; a [`Target`] does not. A change puts another in its place, so an attempt
//! that is being made keeps the URL, the keys and the profile that it began with, and the next has the others.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use super::settings::{Active, Settings, Workshop};
use crate::{
    ingest::intake::{Route, Routes},
    model::{
        account::AccountName,
        endpoint::{Disabled, Endpoint, EndpointNumber},
        event::Seq,
        id::{EndpointId, IdKey},
        numbers::BuildNumberHasher,
        profile::{Lasting, Profile},
    },
};

/// All endpoints that the store knows, those that have been deleted among them, and the origins of callbacks. Its lock is
/// held for a look or a change of one entry, never over a wait.
pub struct Directory {
    entries: RwLock<Entries>,
    id_key: IdKey,
}

struct Entries {
    targets: Targets,
    /// What they were made with, and those are that come up.
    workshop: Arc<Workshop>,
}

/// Others in the place of what was made with another workshop.
pub(super) struct Swap {
    /// What they were made with, as all are from now on.
    pub(super) workshop: Arc<Workshop>,
    /// The one account that it is about; `None`: all.
    pub(super) of: Option<AccountName>,
    /// All of that account, or of all, as a commit left them.
    pub(super) targets: Vec<Target>,
}

type Targets = HashMap<EndpointNumber, Arc<Target>, BuildNumberHasher>;

/// One endpoint.
pub struct Target {
    /// Its number in the store.
    pub number: EndpointNumber,
    /// Its public id.
    pub id: EndpointId,
    /// The same, as it is written.
    pub written_id: String,
    /// What the store keeps of it, as of its last change; the engine knows its failures better.
    pub stored: Endpoint,
    /// What it is to be; `None`: it is no longer configured, or has been deleted.
    pub settings: Option<Arc<Settings>>,
    /// How to reach it, paused or not; `None` when its settings are not there, or do not suffice.
    pub active: Option<Active>,
}

impl Directory {
    /// What the store knows, joined with the configuration.
    pub fn new(stored: Vec<(EndpointNumber, Endpoint)>, workshop: Arc<Workshop>, id_key: &IdKey) -> Self {
        let target = |(number, stored)| (number, Arc::new(workshop.target(number, stored, id_key, None)));
        let targets = stored.into_iter().map(target).collect();
        Self { entries: RwLock::new(Entries { targets, workshop }), id_key: id_key.clone() }
    }

    /// What its targets were made with: the accounts and profiles as they are now.
    pub fn workshop(&self) -> Arc<Workshop> {
        Arc::clone(&self.read().workshop)
    }

    /// Puts all of these in the place of what was there, in one step; says which they are. To be called when every origin has
    /// been taken in that the commit knew of: one that is not there any more has been forgotten since, and one that they do
    /// not have was made since.
    pub(super) fn swap(&self, swap: Swap) -> Vec<EndpointNumber> {
        let Swap { workshop, of, targets } = swap;
        let mut entries = self.write();
        let known: HashSet<_> = targets.iter().map(|target| target.number).collect();
        let is_new = |target: &&Arc<Target>| {
            target.stored.origin().is_some()
                && !known.contains(&target.number)
                && of.as_ref().is_none_or(|of| *of == target.stored.account)
        };
        let since = entries.targets.values().filter(is_new);
        let made =
            |old: &Arc<Target>| workshop.origin(old.number, old.stored.clone(), &self.id_key, Some(old));
        let since: Vec<_> = since.map(made).collect();
        entries.workshop = workshop;
        let mut changed = Vec::with_capacity(targets.len() + since.len());
        for target in targets.into_iter().chain(since) {
            if target.stored.origin().is_none() || entries.targets.contains_key(&target.number) {
                changed.push(target.number);
                entries.targets.insert(target.number, Arc::new(target));
            }
        }
        changed
    }

    /// The endpoint with this number, as it is now.
    pub fn target(&self, number: EndpointNumber) -> Option<Arc<Target>> {
        self.read().targets.get(&number).cloned()
    }

    /// All endpoints, newest first; not where callbacks go.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.sorted(|target| target.stored.origin().is_none())
    }

    /// The origins of callbacks, newest first.
    pub fn origins(&self) -> Vec<Arc<Target>> {
        self.sorted(|target| target.stored.origin().is_some())
    }

    /// All of both.
    pub(super) fn all(&self) -> Vec<Arc<Target>> {
        self.sorted(|_| true)
    }

    fn sorted(&self, takes: impl Fn(&Target) -> bool) -> Vec<Arc<Target>> {
        let mut targets: Vec<_> =
            self.read().targets.values().filter(|target| takes(target)).cloned().collect();
        targets.sort_by_key(|target| std::cmp::Reverse(target.number));
        targets
    }

    /// Takes in that callbacks go to another origin.
    pub(super) fn make(&self, number: EndpointNumber, stored: Endpoint) -> Arc<Target> {
        let mut entries = self.write();
        let target = Arc::new(entries.workshop.origin(number, stored, &self.id_key, None));
        entries.targets.insert(number, Arc::clone(&target));
        target
    }

    /// Takes in that nothing goes to an origin any more.
    pub(super) fn forget(&self, number: EndpointNumber) {
        self.write().targets.remove(&number);
    }

    /// Puts an endpoint in the place of what was there under its number.
    pub fn put(&self, target: Target) {
        self.write().targets.insert(target.number, Arc::new(target));
    }

    /// The endpoints that call deliveries off which do not all say so themselves yet, each with the event before which.
    pub fn discarding(&self) -> Vec<(EndpointNumber, Seq)> {
        let mark = |target: &Arc<Target>| Some((target.number, target.stored.discard?.below));
        self.read().targets.values().filter_map(mark).collect()
    }

    /// Takes in that each of these deliveries says so itself. Another mark stays.
    pub fn discarded(&self, number: EndpointNumber, below: Seq) {
        if let Some(target) = self.write().targets.get_mut(&number)
            && target.stored.discard.is_some_and(|discard| discard.below == below)
        {
            let stored = Endpoint { discard: None, ..target.stored.clone() };
            *target = Arc::new(target.with(stored));
        }
    }

    /// Takes in that outcomes have disabled an endpoint, counted from these `resets`. One that has been enabled, disabled or
    /// deleted since stays as it is.
    pub(super) fn disable(&self, number: EndpointNumber, resets: u32, disabled: Disabled) {
        let mut entries = self.write();
        let Some(target) = entries.targets.get_mut(&number) else { return };
        let stored = &target.stored;
        if stored.is_deleted() || stored.resets != resets || stored.disabled.is_some() {
            return;
        }
        let stored = Endpoint { disabled: Some(disabled), updated_at: disabled.since, ..stored.clone() };
        *target = Arc::new(target.with(stored));
    }

    /// Who wants what, for the intake.
    pub fn routes(&self) -> Routes {
        let workshop = self.workshop();
        let mut routes = Routes(workshop.accounts().map(|account| (account.clone(), Vec::new())).collect());
        for target in self.targets().into_iter().rev() {
            // An account that is not there any more takes no events.
            let routes = routes.0.get_mut(&target.stored.account);
            let Some((routes, settings)) = routes.zip(target.settings.as_ref()) else { continue };
            routes.push(Route {
                endpoint: target.number,
                event_types: settings.event_types.clone(),
                form: settings.form.clone(),
                fifo: target.lasting().is_some_and(|lasting| lasting.fifo),
            });
        }
        routes
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        // Entries are replaced whole: a panic leaves no half of one.
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    pub(super) fn new(
        number: EndpointNumber,
        stored: Endpoint,
        id_key: &IdKey,
        settings: Option<Arc<Settings>>,
        active: Option<Active>,
    ) -> Self {
        let id = id_key.endpoint_id(stored.created_at, number);
        Self { number, id, written_id: id.to_string(), stored, settings, active }
    }

    /// The same endpoint, of which the store keeps something else.
    fn with(&self, stored: Endpoint) -> Self {
        let (settings, active) = (self.settings.clone(), self.active.clone());
        Self { stored, settings, active, written_id: self.written_id.clone(), ..*self }
    }

    /// What people call it: its name in the configuration, its origin, else its id.
    pub fn label(&self) -> &str {
        self.stored.name().or(self.stored.origin()).unwrap_or(&self.written_id)
    }

    /// The credentials that are not there, as the end of a line of the log; empty where none is missing.
    pub fn lacking(&self) -> String {
        let missing = self.settings.as_ref().map_or(&[][..], |settings| &settings.missing_credentials);
        match missing {
            [] => String::new(),
            [name] => format!("; the credential `{name}` is not there"),
            names => format!("; the credentials `{}` are not there", names.join("`, `")),
        }
    }

    /// How its webhooks behave, if its profile is there.
    pub fn profile(&self) -> Option<&Profile> {
        let form = self.settings.as_ref().and_then(|settings| settings.form.as_ref());
        form.map(|form| form.profile())
    }

    /// How long after its first due time a delivery to it fails: as its profile says, or said when that was last
    /// known. `None`: that was told to a version that did not keep it.
    pub fn expire(&self) -> Option<Duration> {
        self.lasting().map(|lasting| lasting.expire)
    }

    /// What its profile says that holds on, or said when that was last known.
    pub fn lasting(&self) -> Option<Lasting> {
        self.profile().map(Profile::lasting).or(self.stored.lasting)
    }

    /// Why it is paused, and since when.
    pub const fn disabled(&self) -> Option<Disabled> {
        self.stored.paused()
    }

    /// What it takes to make an attempt, if any may be made.
    pub fn ready(&self) -> Option<(&Active, &Settings)> {
        let both = self.active.as_ref().zip(self.settings.as_deref());
        both.filter(|_| self.disabled().is_none())
    }

    /// Whether its attempts sign their own time.
    pub fn signs_time(&self) -> bool {
        self.settings
            .as_ref()
            .and_then(|settings| settings.form.as_ref())
            .is_some_and(|form| form.signs_time())
    }

    /// Whether it is reached through the proxy.
    pub fn is_proxied(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.lane.is_proxied())
    }

    /// Whether what is due for it waits. One that has been deleted holds nothing: what comes up is called off.
    pub fn is_held(&self) -> bool {
        !self.stored.is_deleted() && self.ready().is_none()
    }
}
