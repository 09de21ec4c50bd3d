//! Where the spool directories are.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;

use super::super::{
    client::{self, Client, Query},
    error::CliError,
    exit::Exit,
    screen::Screen,
    socket, text,
};
use crate::{
    api::view::StatusView,
    config::{DEFAULT_FILE, Origin},
    ingest::spool::{FAILED, Rejects},
};

/// Which directories are meant.
#[derive(Args, Debug, Default)]
pub(super) struct Place {
    /// Only this spool directory
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub(super) directory: Option<PathBuf>,
    /// The spool directories of this configuration [default: those of the daemon that runs, else of the configuration that `serve` would take]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// A spool directory with a `failed/`.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its path.
    pub(super) path: PathBuf,
    /// What lies there.
    pub(super) rejects: Rejects,
}

impl Opened {
    /// `failed/` cannot be read.
    pub(super) fn unreadable(&self, error: &io::Error) -> CliError {
        let path = self.path.join(FAILED).display().to_string();
        CliError::Spool {
            exit: exit_of(error),
            message: format!("{}: {}", text::plain(&path), describe(error)),
        }
    }
}

impl Place {
    pub(super) const fn is_named(&self) -> bool {
        self.directory.is_some() || self.config.is_some()
    }

    /// Opens the `failed/` of each directory that has one, as far as that is possible; and why it is not.
    pub(super) fn open(
        &self,
        sockets: &[PathBuf],
        screen: &mut Screen<'_>,
    ) -> Result<(Vec<Opened>, Vec<CliError>), CliError> {
        let (mut opened, mut errors) = (Vec::new(), Vec::new());
        for path in self.directories(sockets, screen)? {
            match Rejects::open(&path) {
                Ok(Some(rejects)) => opened.push(Opened { path, rejects }),
                Ok(None) => {}
                // The daemon makes it, and has not been there.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.directory.is_none() => {}
                Err(error) => errors.push(not_opened(&path, &error)),
            }
        }
        Ok((opened, errors))
    }

    fn directories(&self, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<Vec<PathBuf>, CliError> {
        if let Some(directory) = &self.directory {
            return Ok(vec![directory.clone()]);
        }
        if self.config.is_none() {
            match Client::connect(sockets) {
                Ok(client) => return of_daemon(&client),
                // A daemon that was named and cannot be reached is no reason to turn to another one's directories.
                Err(error) if error.exit() == Exit::Unavailable && socket::are_defaults(sockets) => {}
                Err(error) => return Err(error),
            }
        }
        let origin = Origin::find(self.config.clone());
        let config = origin.load().map_err(|errors| CliError::Config(errors.to_string()))?;
        if self.config.is_none() {
            let source = match &origin {
                Origin::File(file) => file.display().to_string(),
                Origin::Defaults(directory) => {
                    format!("the defaults, in {}, as there is no {DEFAULT_FILE}", directory.display())
                }
            };
            screen.note(&format!(
                "no daemon runs; the spool directories are those of {}",
                text::plain(&source)
            ));
        }
        Ok(config.spools.into_iter().map(|spool| spool.path).collect())
    }
}

fn of_daemon(client: &Client) -> Result<Vec<PathBuf>, CliError> {
    let status: StatusView = client::parse(&client.get("/v1/status", &Query::default())?)?;
    let inside = status.inside.ok_or_else(|| CliError::Spool {
        exit: Exit::Permission,
        message:
            "the daemon tells operators alone where its spool directories are; name one with --directory"
                .to_owned(),
    })?;
    Ok(inside.spools.into_iter().map(|spool| spool.path.into()).collect())
}

fn not_opened(path: &Path, error: &io::Error) -> CliError {
    let path = path.display().to_string();
    let path = text::plain(&path);
    let (exit, message) = match error.kind() {
        io::ErrorKind::NotFound => (Exit::Data, format!("{path}: there is no such directory")),
        io::ErrorKind::NotADirectory => {
            (Exit::Data, format!("{path}: it, or `failed` in it, is no directory; links are not followed"))
        }
        _ => (exit_of(error), format!("{path}: {}", describe(error))),
    };
    CliError::Spool { exit, message }
}

/// What the system's refusal means to a script.
pub(super) fn exit_of(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::PermissionDenied { Exit::Permission } else { Exit::Io }
}

/// What the system's refusal means to people.
pub(super) fn describe(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "permission denied: run this as root, or as the daemon's user".to_owned()
    } else {
        error.to_string()
    }
}
