//! `posthaste spool`: what lies in the `failed/` of spool directories.
//!
//! These commands work on the directories themselves: whoever may rename files there may use them, whether the daemon runs
//! or not. Names that others chose are printed so that they cannot steer a terminal.

mod list;
mod place;
mod remove;
mod retry;
#[cfg(test)]
mod tests;
mod which;

use std::path::PathBuf;

use clap::Subcommand;

use super::{error::CliError, screen::Screen};

/// `posthaste spool`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the files that were not taken, and why
    List(list::ListArgs),
    /// Move files back to where they came from, so that they are tried again
    Retry(retry::RetryArgs),
    /// Remove files for good, with their reasons
    Remove(remove::RemoveArgs),
}

impl Command {
    /// Whether the command line says where the directories are, so that nobody is asked.
    pub(super) const fn names_directories(&self) -> bool {
        match self {
            Self::List(args) => args.place.is_named(),
            Self::Retry(args) => args.which.place.is_named(),
            Self::Remove(args) => args.which.place.is_named(),
        }
    }
}

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    match command {
        Command::List(args) => list::run(args, sockets, screen),
        Command::Retry(args) => retry::run(args, sockets, screen),
        Command::Remove(args) => remove::run(args, sockets, screen),
    }
}
