//! `posthaste store`: the daemon's file as a whole.
//!
//! All but `backup` work on the file themselves, and on one that no daemon has: a stopped store, or a backup. `backup` asks the
//! daemon for a copy while it runs. `restore` alone puts a file in the place of the store.

mod backup;
mod bar;
mod check;
mod compact;
mod export;
mod place;
mod restore;

use std::path::PathBuf;

use clap::Subcommand;

use super::{error::CliError, screen::Screen};

/// `posthaste store`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look whether a store, or a backup, is whole: the file's structure, every row, and what they say of each other
    Check(check::Args),
    /// Make a stopped store's file as short as it can be
    Compact(compact::Args),
    /// Have the daemon write a copy of its store to a file, while it runs
    Backup(backup::Args),
    /// Put a backup in the place of a stopped store
    Restore(restore::Args),
    /// Print what a stopped store, or a backup, holds: a line of JSON for each event, delivery and attempt
    Export(export::Args),
}

impl Command {
    /// Whether it asks the daemon.
    pub(super) const fn connects(&self) -> bool {
        matches!(self, Self::Backup(_))
    }
}

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    match command {
        Command::Check(args) => check::run(args, screen),
        Command::Compact(args) => compact::run(args, screen),
        Command::Backup(args) => backup::run(args, sockets, screen),
        Command::Restore(args) => restore::run(args, screen),
        Command::Export(args) => export::run(args, screen),
    }
}
