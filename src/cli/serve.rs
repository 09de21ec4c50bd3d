//! `posthaste serve`: the daemon.

use std::{error::Error as _, path::PathBuf};

use clap::Args as ClapArgs;

use super::{error::CliError, exit::Exit};
use crate::{
    api::tcp,
    config::Origin,
    ingest::socket::BindError,
    logging,
    outbox::OpenError,
    sandbox,
    serve::{self, ServeError},
};

/// `posthaste serve`.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Example:\n  posthaste serve --config posthaste.toml")]
pub struct Args {
    /// The configuration [default: /etc/posthaste/posthaste.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the daemon until it is told to stop.
pub fn run(args: Args) -> Result<(), CliError> {
    serve::run(&Origin::find(args.config))
        .map_err(|error| CliError::Serve { exit: exit(&error), message: message(&error) })
}

/// What the end of the daemon means to its supervisor: 78 is not cured by a restart, the others may be.
fn exit(error: &ServeError) -> Exit {
    match error {
        ServeError::Config(_)
        | ServeError::Passed(_)
        | ServeError::Open(OpenError::Format { .. })
        | ServeError::Bind(BindError::NoSocket(_)) => Exit::Config,
        // An interface may come up yet.
        ServeError::Open(OpenError::InUse { .. })
        | ServeError::Bind(BindError::InUse(_))
        | ServeError::Listen(tcp::BindError::InUse(_) | tcp::BindError::NotOurs(_)) => Exit::TryAgain,
        ServeError::Listen(tcp::BindError::NotAllowed(_)) => Exit::Permission,
        ServeError::Bind(_)
        | ServeError::Listen(_)
        | ServeError::Open(_)
        | ServeError::Roots(_)
        | ServeError::Store(_) => Exit::Io,
        ServeError::Part(_) | ServeError::System { .. } => Exit::Software,
    }
}

/// The errors of a configuration have lines of their own; all others fit on one.
fn message(error: &ServeError) -> String {
    match (error, error.source()) {
        (ServeError::Open(OpenError::Io { path, source, .. }), _) => {
            logging::chain(error) + &sandbox::advice_for_file(path, source)
        }
        (_, None) => error.to_string(),
        (_, Some(_)) => logging::chain(error),
    }
}
