//! `posthaste endpoint`: who gets what, and whether they do.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    client::{Client, Query},
    error::CliError,
    list::List,
    screen::Screen,
    table::Column,
    text,
};
use crate::{api::view::EndpointView, model::account::AccountName};

/// `posthaste endpoint`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the endpoints
    List(ListArgs),
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
    Column::text("ACCOUNT").spare(0),
    Column::text("URL"),
    Column::text("TYPES"),
    Column::text("PROFILE").spare(1),
    Column::number("PENDING"),
    Column::number("FAILURES").spare(3),
    Column::whole("ID").spare(2),
];

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let Command::List(args) = command;
    let client = Client::connect(sockets)?;
    let query = Query::default().with("account", args.account.as_ref());
    let list = List { path: "/v1/endpoints", query, extent: None, empty: "no endpoints" };
    list.show(&client, screen, COLUMNS, row)
}

fn row(endpoint: &EndpointView) -> Vec<String> {
    let or_none = |text: &Option<String>| {
        text.as_deref().map_or_else(|| "-".to_owned(), |text| text::plain(text).into_owned())
    };
    vec![
        title(endpoint),
        state(endpoint),
        endpoint.account.to_string(),
        or_none(&endpoint.url),
        text::plain(&endpoint.event_types.join(" ")).into_owned(),
        or_none(&endpoint.profile),
        endpoint.pending.to_string(),
        endpoint.consecutive_failures.to_string(),
        endpoint.id.to_string(),
    ]
}

/// Its name; one made over the API has none, and is known by its id.
fn title(endpoint: &EndpointView) -> String {
    let id = || endpoint.id.to_string();
    endpoint.name.as_deref().map_or_else(id, |name| text::plain(name).into_owned())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{fake::Daemon, testing::Output};

    #[test]
    fn a_list() {
        let page = r#"{"items":[
            {"id":"ep_01hqr2p1qq8k3v7r5m6n0x9y2z","account":"default","name":"erp","description":null,"url":"https://erp.example/hooks","event_types":["video.*","a.b"],"profile":"posthaste","own_profile":false,"headers":{},"enabled":true,"disabled_reason":null,"disabled_since":null,"created_at":"2026-11-22T02:57:00.000Z","updated_at":"2026-11-22T02:57:00.000Z","consecutive_failures":3,"pending":12,"in_flight":1,"owner":"configuration"},
            {"id":"ep_01hqr2p1qq8k3v7r5m6n0x9y2z","account":"default","name":"old","description":null,"url":null,"event_types":[],"profile":null,"own_profile":false,"headers":{},"enabled":false,"disabled_reason":"not_configured","disabled_since":"2026-11-22T02:57:00.000Z","created_at":"2026-11-22T02:57:00.000Z","updated_at":"2026-11-22T02:57:00.000Z","consecutive_failures":0,"pending":0,"in_flight":0,"owner":"configuration"}
            ],"next_cursor":null}"#;
        let daemon = Daemon::start(vec![(200, page.to_owned())]);
        let mut output = Output::new();
        let args = ListArgs { account: Some("default".parse().expect("a name")) };
        run(&Command::List(args), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(daemon.lines(), ["GET /v1/endpoints?account=default HTTP/1.1"]);
        assert_eq!(
            output.text(),
            "NAME  STATE                                               ACCOUNT  URL                        TYPES        PROFILE    PENDING  FAILURES  ID\n\
             erp   enabled                                             default  https://erp.example/hooks  video.* a.b  posthaste       12         3  ep_01hqr2p1qq8k3v7r5m6n0x9y2z\n\
             old   disabled: not_configured since 2026-11-22 02:57:00  default  -                                       -                0         0  ep_01hqr2p1qq8k3v7r5m6n0x9y2z\n"
        );
    }

    #[test]
    fn an_open_circuit_says_when_the_next_probe_is() {
        let page = r#"{"items":[
            {"id":"ep_01hqr2p1qq8k3v7r5m6n0x9y2z","account":"default","name":"erp","url":"https://erp.example/hooks","event_types":["*"],"profile":"posthaste","enabled":true,"disabled_reason":null,"disabled_since":null,"created_at":"2026-11-22T02:57:00.000Z","consecutive_failures":13,"circuit":{"open_since":"2026-11-22T02:57:00.000Z","failed_probes":3,"next_probe_at":"2026-11-22T03:02:00.000Z"},"pending":12,"in_flight":0,"owner":"configuration"}
            ],"next_cursor":null}"#;
        let daemon = Daemon::start(vec![(200, page.to_owned())]);
        let mut output = Output::new();
        let list = Command::List(ListArgs { account: None });
        run(&list, &daemon.paths(), &mut output.screen()).expect("it prints");
        let line = output.text().lines().nth(1).expect("a row").to_owned();
        assert!(line.contains("  enabled, circuit open: next probe 2026-11-22 03:02:00  "), "{line}");
    }
}
