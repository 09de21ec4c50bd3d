//! `posthaste endpoint enable`, `disable` and `remove`.

use clap::Args;
use serde_json::json;

use super::{
    super::{
        client::{self, Client},
        error::CliError,
        screen::Screen,
    },
    find::Which,
};
use crate::api::view::{DeletedEndpoint, EnabledEndpoint, EndpointView};

/// `posthaste endpoint enable`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste endpoint enable erp --pending discard")]
pub struct EnableArgs {
    #[command(flatten)]
    which: Which,
    /// What becomes of the deliveries that have waited: they are made, or cancelled
    #[arg(long, default_value = DELIVER, value_parser = [DELIVER, DISCARD])]
    pending: String,
}

/// What has waited is delivered.
const DELIVER: &str = "deliver";
/// What has waited is cancelled.
const DISCARD: &str = "discard";

/// `posthaste endpoint disable`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste endpoint disable erp\n\n\
                  Deliveries go on being made for it, and are held until it is enabled again.")]
pub struct DisableArgs {
    #[command(flatten)]
    which: Which,
}

/// `posthaste endpoint remove`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste endpoint remove ep_01hqr2p1qq8k3v7r5m6n0x9y2z\n\n\
                  What is pending for it is cancelled; what was delivered to it stays in the lists. Its secret is gone.")]
pub struct RemoveArgs {
    #[command(flatten)]
    which: Which,
}

/// Enables one.
pub(super) fn enable(args: &EnableArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let found = args.which.find(client)?;
    let body = json!({"pending": args.pending}).to_string();
    let answer = client.post_with(&found.verb("enable"), &found.query, body.as_bytes())?;
    if screen.json {
        return screen.json(&answer);
    }
    let EnabledEndpoint { endpoint, resumed, discarded } = client::parse(&answer)?;
    let what = match resumed {
        _ if args.pending == DISCARD => format!("{} cancelled", deliveries_are(discarded)),
        1 => "1 delivery goes on".to_owned(),
        _ => format!("{resumed} deliveries go on"),
    };
    let but = match endpoint.disabled_reason {
        Some(reason) => format!("; but it stays disabled: {}", reason.as_str()),
        None => String::new(),
    };
    let word = screen.paint("enabled");
    screen.line(&format!("{}: {word}, {what}{but}", found.title))
}

/// Disables one.
pub(super) fn disable(args: &DisableArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let found = args.which.find(client)?;
    let answer = client.post_with(&found.verb("disable"), &found.query, b"{}")?;
    if screen.json {
        return screen.json(&answer);
    }
    let endpoint: EndpointView = client::parse(&answer)?;
    let word = screen.paint("disabled");
    let held = match endpoint.pending {
        0 => "; its deliveries are held until it is enabled".to_owned(),
        pending => format!(", {} held until it is enabled", deliveries_are(pending)),
    };
    screen.line(&format!("{}: {word}{held}", found.title))
}

/// Deletes one.
pub(super) fn remove(args: &RemoveArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let found = args.which.find(client)?;
    let answer = client.delete(&found.path, &found.query)?;
    if screen.json {
        return screen.json(&answer);
    }
    let deleted: DeletedEndpoint = client::parse(&answer)?;
    screen.line(&format!("{}: removed, {} cancelled", found.title, deliveries_are(deleted.cancelled)))
}

fn deliveries_are(count: u64) -> String {
    if count == 1 { "1 delivery is".to_owned() } else { format!("{count} deliveries are") }
}
