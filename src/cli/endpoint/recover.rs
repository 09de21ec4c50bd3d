//! `posthaste endpoint recover`: what an endpoint has failed is delivered again.

use clap::Args;
use serde_json::json;

use super::{
    super::{
        client::{self, Client},
        error::CliError,
        job,
        screen::Screen,
        when::When,
    },
    find::Which,
};
use crate::api::view::JobView;

/// `posthaste endpoint recover`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste endpoint recover erp --since 2h --wait\n\n\
                  It is a job, which goes on without this command, and over a restart: `posthaste job show` tells how far it is.")]
pub struct RecoverArgs {
    #[command(flatten)]
    which: Which,
    /// What failed since then: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: When,
    /// Only what failed before then: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Wait until all is on its way; on a terminal show how far it is
    #[arg(long)]
    wait: bool,
}

/// Begins it.
pub(super) fn run(args: &RecoverArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let found = args.which.find(client)?;
    let mut body = json!({"since": args.since.resolve(screen.now)});
    if let Some(until) = args.until {
        body["until"] = json!(until.resolve(screen.now));
    }
    let answer = client.post_with(&found.verb("recover"), &found.query, body.to_string().as_bytes())?;
    let begun: JobView = client::parse(&answer)?;
    if args.wait {
        return job::watch(begun.id, client, screen);
    }
    if screen.json {
        return screen.json(&answer);
    }
    screen.line(&format!("{}: its failures are being replayed by {}", found.title, begun.id))?;
    screen.note(&format!("`posthaste job show {} --watch` tells how far it is", begun.id));
    Ok(())
}
