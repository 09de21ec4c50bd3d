//! `posthaste account`: the tenants, and what holds for each.

mod settings;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    client::{self, Client, Query},
    error::CliError,
    list::List,
    screen::Screen,
    table::Column,
    text,
};
use crate::{
    api::view::{AccountDetailsView, AccountSecretView, AccountView, DeletedAccount, KnownTypeView},
    model::{account::AccountName, event::Effect},
};

/// `posthaste account`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the accounts
    List(ListArgs),
    /// Make an account
    Add(settings::AddArgs),
    /// Show one account with its catalog
    Show(ShowArgs),
    /// Change an account that was made with `add`
    Update(settings::UpdateArgs),
    /// Delete an account that was made with `add`, and has no endpoints and nothing pending any more
    Remove(RemoveArgs),
    /// Print what signs an account's callbacks
    Secret(SecretArgs),
}

/// `posthaste account list`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste account list")]
pub struct ListArgs {}

/// `posthaste account show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste account show media")]
pub struct ShowArgs {
    /// Which
    name: AccountName,
}

/// `posthaste account remove`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste account remove media\n\n\
                  Its events and deliveries stay in the lists. From then on no event is taken for it.")]
pub struct RemoveArgs {
    /// Which
    name: AccountName,
}

/// `posthaste account secret`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste account secret media\n\nOf a private key that is the public one, `whpk_…`, as receivers have it."
)]
pub struct SecretArgs {
    /// Which
    name: AccountName,
}

const COLUMNS: &[Column] = &[
    Column::whole("NAME"),
    Column::text("PROFILE").spare(4),
    Column::number("ENDPOINTS"),
    Column::number("MOST").spare(2),
    Column::text("TYPES").spare(1),
    Column::text("OWNER").spare(3),
    Column::text("DESCRIPTION").spare(0),
];

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let client = Client::connect(sockets)?;
    match command {
        Command::List(ListArgs {}) => list(&client, screen),
        Command::Add(args) => settings::add(args, &client, screen),
        Command::Show(args) => show(&args.name, &client, screen),
        Command::Update(args) => settings::update(args, &client, screen),
        Command::Remove(args) => remove(&args.name, &client, screen),
        Command::Secret(args) => secret(&args.name, &client, screen),
    }
}

fn path(name: &AccountName) -> String {
    format!("/v1/accounts/{name}")
}

fn list(client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let list = List { path: "/v1/accounts", query: Query::default(), extent: None, empty: "no accounts" };
    list.show(client, screen, COLUMNS, row)
}

fn row(account: &AccountView) -> Vec<String> {
    vec![
        account.name.to_string(),
        text::plain(&account.profile).into_owned(),
        account.endpoints.to_string(),
        account.max_endpoints.to_string(),
        account.known_types.map_or_else(|| "all".to_owned(), |count| count.to_string()),
        text::plain(&account.owner).into_owned(),
        text::plain(account.description.as_deref().unwrap_or("-")).into_owned(),
    ]
}

fn show(name: &AccountName, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = client.get(&path(name), &Query::default())?;
    if screen.json {
        return screen.json(&answer);
    }
    print(&client::parse(&answer)?, screen)
}

fn print(
    AccountDetailsView { account, event_types }: &AccountDetailsView,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    screen.line(&screen.bold(account.name.as_str()))?;
    let shadows = if account.shadowed { "; one that was made with `add` waits behind it" } else { "" };
    screen.line(&format!("  owner        {}{shadows}", text::plain(&account.owner)))?;
    if let Some(description) = &account.description {
        screen.line(&format!("  description  {}", text::plain(description)))?;
    }
    if let Some(problem) = &account.problem {
        screen.line(&format!("  problem      {}", text::plain(problem)))?;
    }
    screen.line(&format!("  profile      {}", text::plain(&account.profile)))?;
    screen.line(&format!(
        "  endpoints    {}, of {} that the API may make",
        account.endpoints, account.max_endpoints
    ))?;
    let urls = if account.https_only { "https alone" } else { "http and https" };
    screen.line(&format!("  urls         {urls}"))?;
    if let Some(allow) = &account.allow {
        screen.line(&format!("  allow        {}", text::plain(&allow.join(" "))))?;
    }
    if !account.deny.is_empty() {
        screen.line(&format!("  deny         {}", text::plain(&account.deny.join(" "))))?;
    }
    let secret = if account.has_secret { "signed with its secret" } else { "no secret" };
    screen.line(&format!("  callbacks    {secret}, to {} origins at most", account.max_origins))?;
    let ages = [&account.retention, &account.retention_failed];
    if ages.iter().any(|age| age.is_some()) {
        let [kept, failed] = ages.map(|age| text::plain(age.as_deref().unwrap_or("as by [store]")));
        screen.line(&format!("  kept         {kept}, failed {failed}"))?;
    }
    match event_types {
        None => screen.line("  types        all"),
        Some(types) => types.iter().enumerate().try_for_each(|(index, one)| {
            let title = if index == 0 { "types" } else { "" };
            screen.line(&format!("  {title:<11}  {}", known_type(one)))
        }),
    }
}

/// `video.ready  media, playback: it can be played (partial)`.
fn known_type(known: &KnownTypeView) -> String {
    let effect = match known.effect {
        Effect::Live => "",
        Effect::Partial => "(partial)",
        Effect::None => "(not delivered)",
    };
    let colon = if known.groups.is_empty() || known.description.is_empty() { "" } else { ": " };
    let about = format!("{}{colon}{}", known.groups.join(", "), known.description);
    let words = [known.name.as_str(), &text::plain(&about), effect];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("  ")
}

fn remove(name: &AccountName, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = client.delete(&path(name), &Query::default())?;
    if screen.json {
        return screen.json(&answer);
    }
    let DeletedAccount { name } = client::parse(&answer)?;
    screen.line(&format!("{name} is deleted"))
}

fn secret(name: &AccountName, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = client.get(&format!("{}/secret", path(name)), &Query::default())?;
    if screen.json {
        return screen.json(&answer);
    }
    let AccountSecretView { secret, public_key } = client::parse(&answer)?;
    screen.line(&text::plain(public_key.as_deref().unwrap_or_else(|| secret.0.expose())))
}
