//! The configuration read again while the daemon runs: all of it or nothing.
//!
//! One after the other: who asks while one runs, gets another after it. What is wrong with it, whatever it is, is found before
//! anything changes. What has to wait for a start stays as it was, and is named until the daemon is started or the
//! configuration says again what it said.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex as Lock, PoisonError},
};

use tokio::{
    runtime,
    sync::{Mutex, Notify, watch},
    task,
};

use super::endpoints::{AdoptError, Endpoints};
use crate::{
    clock::Clock,
    config::{Config, ConfigError, ConfigErrors, Difference, Origin, Spool},
    ingest::access::Entrance,
    logging::Kind,
    model::time::Timestamp,
    outbox::StoreError,
    systemd::Notifier,
};

/// Reads the configuration again; clones do the same.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// What the daemon runs with; one reload at a time.
    running: Mutex<Arc<Config>>,
    last: Lock<Last>,
}

/// What it takes to read the configuration again.
pub struct Parts {
    /// Where it is.
    pub origin: Origin,
    /// Who lives by it.
    pub endpoints: Endpoints,
    /// Who lets people in by it.
    pub entrance: Entrance,
    /// The time of a reload.
    pub clock: Clock,
    /// Where a reload comes to its end.
    pub runtime: runtime::Handle,
    /// Tells the service manager that one goes on.
    pub notifier: Notifier,
}

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What is different from now on.
    pub changed: Vec<String>,
    /// What is different from the next start on.
    pub needs_restart: Vec<String>,
}

/// The configuration that the daemon runs with, and whether it is the one that is written.
#[derive(Clone, Debug)]
pub struct Last {
    /// Since when it holds.
    pub since: Timestamp,
    /// What of it waits for a start.
    pub needs_restart: Vec<String>,
    /// When one could not be taken after it, and why.
    pub failed: Option<(Timestamp, String)>,
    /// Attempts that sign their time wait while the clock is unset.
    pub require_clock: bool,
}

/// The configuration cannot be taken: everything is as it was.
pub type ReloadError = AdoptError;

impl Reloader {
    /// For a daemon that runs with this configuration.
    pub fn new(running: Config, parts: Parts) -> Self {
        let require_clock = running.network.require_clock;
        let last = Last { since: parts.clock.wall(), needs_restart: Vec::new(), failed: None, require_clock };
        Self(Arc::new(Inner { parts, running: Mutex::new(Arc::new(running)), last: Lock::new(last) }))
    }

    /// Reads the configuration, and has it hold. It comes to its end also when nobody waits for it any more.
    ///
    /// # Errors
    /// It is wrong: all that is wrong with it. Or the store failed, and the daemon ends.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let inner = Arc::clone(&self.0);
        let task = self.0.parts.runtime.spawn(async move { inner.reload().await });
        task.await.unwrap_or(Err(AdoptError::Store(StoreError::Stopped)))
    }

    /// Reads it whenever it is `told` to, until `stopping` says so.
    pub async fn follow(self, told: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = told.notified() => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            // It has said in the log what came of it.
            let _ = self.reload().await;
        }
    }

    /// Whether attempts that sign their time wait while the clock is unset.
    pub fn requires_clock(&self) -> bool {
        self.0.last().require_clock
    }

    /// What came of the last one.
    pub fn last(&self) -> Last {
        self.0.last().clone()
    }
}

impl Inner {
    async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut running = self.running.lock().await;
        let mut told = self.parts.notifier.reloading(self.parts.clock.monotonic_micros());
        let result = self.take(&mut running).await;
        let now = self.parts.clock.wall();
        match &result {
            Ok(Reloaded { changed, needs_restart }) => {
                let (changed, waiting) = (changed.join(", "), needs_restart.join(", "));
                tracing::info!(kind = Kind::Reloaded.word(), changed, "the configuration is read again");
                if !waiting.is_empty() {
                    tracing::warn!(
                        kind = Kind::RestartNeeded.word(),
                        "these keys hold from the next start on: {waiting}"
                    );
                }
                let (needs_restart, require_clock) = (needs_restart.clone(), running.network.require_clock);
                *self.last() = Last { since: now, needs_restart, failed: None, require_clock };
            }
            Err(error) => {
                let why = said(error);
                tracing::error!(
                    kind = Kind::ReloadRefused.word(),
                    "the configuration is not taken, and everything stays as it was:\n{why}"
                );
                self.last().failed = Some((now, why));
                told.refused(
                    "the configuration was refused: everything stays as it was, and the log says why",
                );
            }
        }
        result
    }

    async fn take(&self, running: &mut Arc<Config>) -> Result<Reloaded, ReloadError> {
        let origin = self.parts.origin.clone();
        let read = task::spawn_blocking(move || origin.load()).await;
        let written = read.map_err(|_| StoreError::Stopped)??;
        let Difference { live, at_start } = running.difference(&written);
        let next = Arc::new(written.retaining(running));
        if let Some(errors) = ConfigErrors::of(self.stranded(running, &next)) {
            return Err(errors.into());
        }
        self.parts.endpoints.adopt(Arc::clone(running), Arc::clone(&next)).await?;
        self.parts.entrance.change(&next.access, next.limits.connections_per_uid);
        *running = next;
        Ok(Reloaded { changed: live, needs_restart: at_start })
    }

    /// The spool directories that stay until a start, and whose files would all be refused until then.
    fn stranded(&self, running: &Config, next: &Config) -> Vec<ConfigError> {
        let file = match &self.parts.origin {
            Origin::File(file) | Origin::Defaults(file) => file.clone(),
        };
        running.spools.iter().filter_map(|spool| stranded(spool, next, &file)).collect()
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        // It is set in whole pieces.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stranded(spool: &Spool, next: &Config, file: &Path) -> Option<ConfigError> {
    let (path, account) = (spool.path.display(), &spool.account);
    let help =
        "directories of [[spool]] change with a start alone: leave this until then, or start posthaste anew";
    let message = match (next.accounts.get(account), &spool.event_type) {
        (None, _) => {
            format!("the files of the spool directory {path} are of the account `{account}`, which is gone")
        }
        (Some(of), Some(name)) if of.catalog.as_ref().is_some_and(|catalog| catalog.get(name).is_none()) => {
            format!(
                "the files of the spool directory {path} are of the type `{name}`, which the account's catalog does not have any more"
            )
        }
        (Some(_), _) => return None,
    };
    Some(ConfigError::of_file(PathBuf::from(file), message, help))
}

/// One thing that is wrong with a configuration, and where.
#[derive(Clone, Copy, Debug)]
pub struct Wrong<'a> {
    /// What.
    pub message: &'a str,
    /// What to do.
    pub help: &'a str,
    /// In which file.
    pub file: &'a Path,
    /// Line and column.
    pub at: Option<(usize, usize)>,
    /// Other places that have to do with it.
    pub notes: &'a [String],
}

/// Each thing that is wrong with the configuration itself.
pub fn errors(error: &ReloadError) -> impl Iterator<Item = Wrong<'_>> {
    let errors = if let AdoptError::Config(errors) = error { errors.errors() } else { &[] };
    errors.iter().map(|error| Wrong {
        message: &error.message,
        help: &error.help,
        file: &error.file,
        at: error.position.as_ref().map(|at| (at.line, at.column)),
        notes: &error.notes,
    })
}

/// What is wrong, for people: of a configuration, each error with its place.
pub fn said(error: &ReloadError) -> String {
    match error {
        AdoptError::Config(errors) => errors.to_string(),
        other => std::iter::successors(Some(other as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": "),
    }
}
