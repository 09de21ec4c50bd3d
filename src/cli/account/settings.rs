//! `posthaste account add` and `update`: what an account is told.

use std::{fs, path::PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    super::{
        client::{self, Client, Query},
        error::CliError,
        screen::Screen,
        secret,
    },
    path, print,
};
use crate::{
    api::view::{AccountDetailsView, MadeAccount},
    model::{account::AccountName, secret::Secret},
};

/// `posthaste account add`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste account add media --profile fastpix --max-endpoints 50 --catalog types.toml\n\n\
                  A catalog is TOML, its types each under [[event_type]] with name, groups, description and effect, or JSON:\n\
                  a list of objects with these. A secret is made where its profile signs: `posthaste account secret NAME`\n\
                  shows it. Others on this machine can see what stands on a command line: better write --secret @FILE."
)]
pub struct AddArgs {
    /// Its name
    name: AccountName,
    #[command(flatten)]
    settings: Settings,
}

/// `posthaste account update`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste account update media --max-endpoints 100\n\n\
                  What is not named stays as it is. A catalog that is named takes the place of the whole one, for events from then on.")]
pub struct UpdateArgs {
    /// Which
    name: AccountName,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    none: None,
}

/// What there is to say of an account.
#[derive(Args, Debug)]
struct Settings {
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The profile of its endpoints that name none
    #[arg(long)]
    profile: Option<String>,
    /// How many endpoints the API may make
    #[arg(long, value_name = "N")]
    max_endpoints: Option<u64>,
    /// Whether its endpoints and callbacks must be https
    #[arg(long, value_name = "BOOL")]
    https_only: Option<bool>,
    /// How many origins its callbacks may have
    #[arg(long, value_name = "N")]
    max_origins: Option<u64>,
    /// How long its events are kept whose deliveries all succeeded, if not as long as the store's
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
    /// How long its other events are kept, if not as long as the store's
    #[arg(long, value_name = "DURATION")]
    retention_failed: Option<String>,
    /// A network of `allow` in `[network]` that is open to it, and no other; may be given several times
    #[arg(long = "allow", value_name = "NETWORK")]
    allow: Vec<String>,
    /// A network that is closed to it; may be given several times
    #[arg(long = "deny", value_name = "NETWORK")]
    deny: Vec<String>,
    /// What signs its callbacks, or @FILE to read it from a file
    #[arg(long, value_name = "S", value_parser = secret::parse)]
    secret: Option<Secret>,
    /// Its event types, in a file that ends in .toml or .json
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
}

/// What it is to have no more.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct None {
    /// No note
    #[arg(long, conflicts_with = "description")]
    no_description: bool,
    /// What succeeded is kept as long as the store's
    #[arg(long, conflicts_with = "retention")]
    no_retention: bool,
    /// What did not is kept as long as the store's
    #[arg(long, conflicts_with = "retention_failed")]
    no_retention_failed: bool,
    /// All of `allow` in `[network]` is open to it
    #[arg(long, conflicts_with = "allow")]
    no_allow: bool,
    /// Nothing is closed to it besides
    #[arg(long, conflicts_with = "deny")]
    no_deny: bool,
    /// Nothing signs its callbacks
    #[arg(long, conflicts_with = "secret")]
    no_secret: bool,
    /// It takes every type
    #[arg(long, conflicts_with = "catalog")]
    no_catalog: bool,
}

/// Makes an account.
pub(super) fn add(args: &AddArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let mut document = document(&args.settings)?;
    document.insert("name".to_owned(), json!(args.name));
    let answer = client.post_with("/v1/accounts", &Query::default(), &bytes(&document))?;
    if screen.json {
        return screen.json(&answer);
    }
    let MadeAccount { account, secret } = client::parse(&answer)?;
    let name = account.account.name;
    screen.line(name.as_str())?;
    screen.flush()?;
    if secret.is_some() {
        screen.note(&format!("its callbacks' secret: `posthaste account secret {name}`"));
    }
    Ok(())
}

/// Changes an account.
pub(super) fn update(args: &UpdateArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let mut document = document(&args.settings)?;
    let none = [
        ("description", args.none.no_description),
        ("retention", args.none.no_retention),
        ("retention_failed", args.none.no_retention_failed),
        ("allow", args.none.no_allow),
        ("deny", args.none.no_deny),
        ("secret", args.none.no_secret),
        ("event_types", args.none.no_catalog),
    ];
    document.extend(none.into_iter().filter(|(_, none)| *none).map(|(key, _)| (key.to_owned(), Value::Null)));
    if document.is_empty() {
        let help = "name what is to be another: --profile, --max-endpoints, --catalog, … (`posthaste account update --help`)";
        return Err(CliError::Usage(help.to_owned()));
    }
    let answer = client.patch(&path(&args.name), &Query::default(), &bytes(&document))?;
    if screen.json {
        return screen.json(&answer);
    }
    let account: AccountDetailsView = client::parse(&answer)?;
    print(&account, screen)
}

fn document(args: &Settings) -> Result<Map<String, Value>, CliError> {
    let secret = secret::find(args.secret.as_ref(), Option::None)?;
    let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    let catalog = args.catalog.as_ref().map(catalog).transpose()?;
    let fields = [
        ("description", args.description.as_ref().map(|text| json!(text))),
        ("profile", args.profile.as_ref().map(|name| json!(name))),
        ("max_endpoints", args.max_endpoints.map(|count| json!(count))),
        ("https_only", args.https_only.map(Value::Bool)),
        ("max_origins", args.max_origins.map(|count| json!(count))),
        ("retention", args.retention.as_ref().map(|age| json!(age))),
        ("retention_failed", args.retention_failed.as_ref().map(|age| json!(age))),
        ("allow", list(&args.allow)),
        ("deny", list(&args.deny)),
        ("secret", secret.map(|secret| json!(secret.expose()))),
        ("event_types", catalog),
    ];
    Ok(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

/// The catalog of a file: what of it is no list of types, the daemon says.
fn catalog(path: &PathBuf) -> Result<Value, CliError> {
    let text = fs::read_to_string(path).map_err(|error| CliError::File { path: path.clone(), error })?;
    let wrong = |what: String| CliError::Data(format!("{}: {what}", path.display()));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => serde_json::from_str(&text).map_err(|error| wrong(format!("not JSON: {error}"))),
        Some("toml") => {
            let mut document: Map<String, Value> =
                toml::from_str(&text).map_err(|error| wrong(format!("not TOML: {}", error.message())))?;
            let types = document.remove("event_type");
            if let Some(other) = document.keys().next() {
                return Err(wrong(format!(
                    "`{other}` is no part of a catalog: write each type under [[event_type]]"
                )));
            }
            types.ok_or_else(|| wrong("it has no type: write each under [[event_type]]".to_owned()))
        }
        _ => Err(wrong("a catalog's file ends in .toml or .json".to_owned())),
    }
}

fn bytes(document: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(document).expect("texts are JSON")
}
