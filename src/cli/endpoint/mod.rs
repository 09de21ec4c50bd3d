//! `posthaste endpoint`: who gets what, and whether they do.

mod change;
mod find;
mod recover;
mod secret;
mod settings;
mod show;
mod test;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    client::{Client, Query},
    error::CliError,
    list::List,
    screen::Screen,
    table::{Column, LAST},
    text,
};
use crate::{
    api::view::{EndpointView, HealthView},
    model::{account::AccountName, time::Timestamp},
};

/// `posthaste endpoint`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the endpoints
    List(ListArgs),
    /// Make an endpoint
    Add(settings::AddArgs),
    /// Show one endpoint
    Show(show::ShowArgs),
    /// Change an endpoint that was made with `add`
    Update(settings::UpdateArgs),
    /// Delete an endpoint that was made with `add`, and cancel what is pending for it
    Remove(change::RemoveArgs),
    /// Let deliveries to an endpoint go on
    Enable(change::EnableArgs),
    /// Hold the deliveries to an endpoint
    Disable(change::DisableArgs),
    /// Send one request to an endpoint, and show what comes back
    Test(test::TestArgs),
    /// Have all delivered again that an endpoint has failed
    Recover(recover::RecoverArgs),
    /// Make another secret for an endpoint; the one before signs on for a while
    RotateSecret(secret::RotateArgs),
    /// Print an endpoint's secret
    Secret(secret::SecretArgs),
}

/// `posthaste endpoint list`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste endpoint list --account default")]
pub struct ListArgs {
    /// Only this account's
    #[arg(long)]
    account: Option<AccountName>,
}

const COLUMNS: &[Column] = &[
    Column::whole("NAME"),
    Column::status("STATE"),
    Column::whole("SINCE").spare(2),
    Column::text("ACCOUNT").spare(0),
    Column::text("URL").spare(LAST),
    Column::text("TYPES").spare(4),
    Column::text("PROFILE").spare(1),
    Column::number("PENDING"),
    Column::number("FAILURES").spare(4),
    Column::number("24H").spare(1),
    Column::whole("ID").spare(3),
];

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let client = Client::connect(sockets)?;
    match command {
        Command::List(args) => list(args, &client, screen),
        Command::Add(args) => settings::add(args, &client, screen),
        Command::Show(args) => show::run(args, &client, screen),
        Command::Update(args) => settings::update(args, &client, screen),
        Command::Remove(args) => change::remove(args, &client, screen),
        Command::Enable(args) => change::enable(args, &client, screen),
        Command::Disable(args) => change::disable(args, &client, screen),
        Command::Test(args) => test::run(args, &client, screen),
        Command::Recover(args) => recover::run(args, &client, screen),
        Command::RotateSecret(args) => secret::rotate(args, &client, screen),
        Command::Secret(args) => secret::show(args, &client, screen),
    }
}

fn list(args: &ListArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let query = Query::default().with("account", args.account.as_ref());
    let list = List { path: "/v1/endpoints", query, extent: None, empty: "no endpoints" };
    list.show(client, screen, COLUMNS, row)
}

fn row(endpoint: &EndpointView) -> Vec<String> {
    let or_none = |text: &Option<String>| {
        text.as_deref().map_or_else(|| "-".to_owned(), |text| text::plain(text).into_owned())
    };
    vec![
        title(endpoint),
        short_state(endpoint),
        since(endpoint).map_or_else(|| "-".to_owned(), text::time),
        endpoint.account.to_string(),
        or_none(&endpoint.url),
        text::plain(&endpoint.event_types.join(" ")).into_owned(),
        or_none(&endpoint.profile),
        endpoint.pending.to_string(),
        endpoint.consecutive_failures.to_string(),
        rate(&endpoint.health),
        endpoint.id.to_string(),
    ]
}

/// How many of the last attempts were successes, in percent, rounded down: 100 is all.
fn rate(health: &HealthView) -> String {
    let (attempts, successes) = (u64::from(health.attempts), u64::from(health.successes));
    match (successes * 1_000).checked_div(attempts) {
        None => "-".to_owned(),
        Some(1_000..) => "100%".to_owned(),
        Some(of_thousand) => format!("{}.{}%", of_thousand / 10, of_thousand % 10),
    }
}

/// Its name; one made over the API has none, and is known by its id.
fn title(endpoint: &EndpointView) -> String {
    let id = || endpoint.id.to_string();
    endpoint.name.as_deref().map_or_else(id, |name| text::plain(name).into_owned())
}

/// Since when its state is no good one.
fn since(endpoint: &EndpointView) -> Option<Timestamp> {
    let circuit = endpoint.circuit.map(|circuit| circuit.open_since);
    if endpoint.enabled { circuit } else { endpoint.disabled_since }
}

/// `enabled`, `enabled, circuit open` or `disabled: no_credential`.
fn short_state(endpoint: &EndpointView) -> String {
    match (endpoint.enabled, endpoint.disabled_reason) {
        (true, _) if endpoint.circuit.is_some() => "enabled, circuit open".to_owned(),
        (true, _) => "enabled".to_owned(),
        (false, Some(reason)) => format!("disabled: {}", reason.as_str()),
        (false, None) => "disabled".to_owned(),
    }
}

/// `enabled`, `enabled, circuit open: next probe 2026-11-22 02:57:00` or `disabled: no_credential since 2026-11-22 02:57:00`.
fn state(endpoint: &EndpointView) -> String {
    if endpoint.enabled {
        let circuit = endpoint
            .circuit
            .map(|circuit| format!(", circuit open: next probe {}", text::time(circuit.next_probe_at)));
        return format!("enabled{}", circuit.unwrap_or_default());
    }
    let reason = endpoint.disabled_reason.map(|reason| format!(": {}", reason.as_str())).unwrap_or_default();
    let since = endpoint.disabled_since.map(|at| format!(" since {}", text::time(at))).unwrap_or_default();
    format!("disabled{reason}{since}")
}
