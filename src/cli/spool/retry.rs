//! `posthaste spool retry`.

use std::path::PathBuf;

use clap::Args;

use super::{
    super::{error::CliError, screen::Screen},
    which::Which,
};

/// `posthaste spool retry`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste spool retry scan-17.json\n  posthaste spool retry --all --directory /var/spool/posthaste\n\n\
                  A file goes back under the name that it had, or with a number where that is taken by now.\n\
                  It is tried as a new one is: at once, or by the next look where the daemon is not told of files,\n\
                  and while the store is full not before there is room. Its reason goes away;\n\
                  what is still wrong with it comes back to failed/ with a new one."
)]
pub struct RetryArgs {
    #[command(flatten)]
    pub(super) which: Which,
}

/// Moves them back.
pub(super) fn run(args: &RetryArgs, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    args.which.each(sockets, screen, |rejects, name| rejects.retry(name).map(Some))
}
