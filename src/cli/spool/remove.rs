//! `posthaste spool remove`.

use std::path::PathBuf;

use clap::Args;

use super::{
    super::{error::CliError, screen::Screen},
    which::Which,
};

/// `posthaste spool remove`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste spool remove scan-17.json\n  posthaste spool remove --all\n\n\
                  What is removed is gone: its events were never taken.")]
pub struct RemoveArgs {
    #[command(flatten)]
    pub(super) which: Which,
}

/// Removes them.
pub(super) fn run(args: &RemoveArgs, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    args.which.each(sockets, screen, |rejects, name| rejects.remove(name).map(|()| None))
}
