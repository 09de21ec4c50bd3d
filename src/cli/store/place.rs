//! Which file is meant, and what is said of one that cannot be used.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{error::CliError, exit::Exit, screen::Screen, text};
use crate::{
    config::{DEFAULT_FILE, Origin},
    logging,
    outbox::{OpenError, StoreError},
};

/// The store that is meant.
#[derive(Args, Debug, Default)]
pub(super) struct Place {
    /// The store's file, or a backup's
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(super) store: Option<PathBuf>,
    /// The store of this configuration [default: that of the configuration that `serve` would take]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl Place {
    /// Its path.
    pub(super) fn path(&self, screen: &mut Screen<'_>) -> Result<PathBuf, CliError> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let origin = Origin::find(self.config.clone());
        let config = origin.load().map_err(|errors| CliError::Config(errors.to_string()))?;
        if let Origin::Defaults(directory) = &origin {
            screen.note(&format!(
                "the store is that of the defaults, in {}, as there is no {DEFAULT_FILE}",
                text::plain(&directory.display().to_string())
            ));
        }
        Ok(config.store.path)
    }
}

/// A file that cannot be used, and what to do.
pub(super) fn unusable(path: &Path, error: &OpenError) -> CliError {
    let name = shown(path);
    let (exit, message) = match error {
        OpenError::InUse { holder, .. } => (
            Exit::TryAgain,
            format!(
                "{name} is in use{holder}: stop its daemon first; or let it make a backup (`posthaste store backup \
                 FILE`), and use that with --store FILE"
            ),
        ),
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => (
            Exit::Data,
            format!("{name}: there is no such file; say with --store or --config where the store is"),
        ),
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => (
            Exit::Permission,
            format!("{}; run this as root, or as the daemon's user", logging::chain(error)),
        ),
        OpenError::Io { .. } | OpenError::Store { .. } => (Exit::Io, logging::chain(error)),
        OpenError::Damaged { .. } => (Exit::Data, logging::chain(error)),
        OpenError::Format { .. } => (Exit::Data, error.to_string()),
    };
    CliError::Store { exit, message: text::plain(&message).into_owned() }
}

/// A file that failed while it was worked on.
pub(super) fn failed(path: &Path, error: &StoreError) -> CliError {
    let exit = match error {
        StoreError::Row { .. } => Exit::Data,
        StoreError::Redb(_) | StoreError::Stopped => Exit::Io,
    };
    let message = format!("{}: {}", shown(path), logging::chain(error));
    CliError::Store { exit, message: text::plain(&message).into_owned() }
}

/// A path that cannot steer a terminal.
pub(super) fn shown(path: &Path) -> String {
    text::plain(&path.display().to_string()).into_owned()
}
