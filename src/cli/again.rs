//! `posthaste delivery replay` and `cancel`: what has ended is delivered again, what is pending called off.

use clap::Args;

use super::{
    client::{self, Client},
    delivery::outcome,
    error::CliError,
    screen::Screen,
};
use crate::{api::view::DeliveryItem, model::id::DeliveryId};

/// `posthaste delivery replay`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste delivery replay dlv_01hqr2p1qq8k3v7r5m6n0x9y2z\n\n\
                  Its schedule begins anew, its attempts are numbered on. For all that an endpoint has failed, see\n\
                  `posthaste endpoint recover`.")]
pub struct ReplayArgs {
    /// The deliveries' ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<DeliveryId>,
}

/// `posthaste delivery cancel`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste delivery cancel dlv_01hqr2p1qq8k3v7r5m6n0x9y2z\n\n\
                  One that is being attempted at this moment is cancelled with the end of that, unless it succeeds.")]
pub struct CancelArgs {
    /// The deliveries' ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<DeliveryId>,
}

/// Calls each off.
pub(super) fn cancel(args: &CancelArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    each(&args.ids, "cancel", client, screen)
}

/// Has each delivered again.
pub(super) fn replay(args: &ReplayArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    each(&args.ids, "replay", client, screen)
}

/// Does something with each; the first that is refused ends it, when those before are told of.
fn each(ids: &[DeliveryId], verb: &str, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    for id in ids {
        let answer = client.post(&format!("/v1/deliveries/{id}/{verb}"), b"")?;
        if screen.json {
            screen.json(&answer)?;
            continue;
        }
        let item: DeliveryItem = client::parse(&answer)?;
        let outcome = screen.paint(&outcome(&item, screen.now));
        screen.line(&format!("{}: {outcome}", item.id))?;
    }
    Ok(())
}
