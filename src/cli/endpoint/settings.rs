//! `posthaste endpoint add` and `update`: what an endpoint is told.

use std::str::FromStr;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    super::{
        client::{self, Client, Query},
        error::CliError,
        screen::Screen,
        secret,
    },
    find::Which,
    show,
};
use crate::{
    api::view::{EndpointView, MadeEndpoint},
    model::{account::AccountName, secret::Secret},
};

/// `posthaste endpoint add`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste endpoint add https://erp.example/hooks --type 'video.*' --description ERP\n\n\
                  Prints the endpoint's id. Its secret is made by the daemon: `posthaste endpoint secret ID` shows it.\n\
                  Others on this machine can see what stands on a command line: better write --secret @FILE."
)]
pub struct AddArgs {
    /// Where deliveries go
    #[arg(value_name = "URL")]
    url: String,
    /// What it gets: video.media.ready, video.* for all beneath, or *; may be given several times
    #[arg(long = "type", value_name = "PATTERN", required = true)]
    types: Vec<String>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How its webhooks look and behave [default: its account's]
    #[arg(long)]
    profile: Option<String>,
    /// A header to send besides the profile's; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Header>,
    /// A secret that the receiver has already, or @FILE to read it from a file [default: one is made]
    #[arg(long, value_name = "S", value_parser = secret::parse)]
    secret: Option<Secret>,
    /// Hold its deliveries until it is enabled
    #[arg(long)]
    disabled: bool,
    /// Whose it is [default: default]
    #[arg(long)]
    account: Option<AccountName>,
}

/// `posthaste endpoint update`.
#[derive(Args, Debug)]
#[command(
    override_usage = "posthaste endpoint update [OPTIONS] <ID|NAME>",
    after_help = "Example:\n  posthaste endpoint update ep_01hqr2p1qq8k3v7r5m6n0x9y2z --url https://erp.example/new\n\n\
                  What is not named stays as it is. Types and headers that are named take the place of all there were."
)]
pub struct UpdateArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    changes: Changes,
}

/// What is to change.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Where deliveries go, from the next attempt on
    #[arg(long)]
    url: Option<String>,
    /// What it gets, of events from now on; may be given several times
    #[arg(long = "type", value_name = "PATTERN")]
    types: Vec<String>,
    /// A note for people
    #[arg(long, value_name = "TEXT", conflicts_with = "no_description")]
    description: Option<String>,
    /// No note
    #[arg(long)]
    no_description: bool,
    /// How its webhooks look and behave
    #[arg(long, conflicts_with = "no_profile")]
    profile: Option<String>,
    /// The profile of its account
    #[arg(long)]
    no_profile: bool,
    /// A header to send besides the profile's; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", conflicts_with = "no_headers")]
    headers: Vec<Header>,
    /// No headers besides the profile's
    #[arg(long)]
    no_headers: bool,
}

/// `NAME: VALUE`. `Debug` does not show the value: it may be a token.
#[derive(Clone, PartialEq, Eq)]
struct Header {
    name: String,
    value: String,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for Header {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once(':').ok_or("write it as 'NAME: VALUE'")?;
        Ok(Self { name: name.trim().to_owned(), value: value.trim().to_owned() })
    }
}

/// Makes an endpoint.
pub(super) fn add(args: &AddArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let query = Query::default().with("account", args.account.as_ref());
    let answer = client.post_with("/v1/endpoints", &query, &bytes(&document(args)?))?;
    if screen.json {
        return screen.json(&answer);
    }
    let made: MadeEndpoint = client::parse(&answer)?;
    let id = made.endpoint.id;
    screen.line(&id.to_string())?;
    screen.flush()?;
    if made.secret.is_some() {
        screen.note(&format!("its secret: `posthaste endpoint secret {id}`"));
    }
    if !made.endpoint.enabled {
        screen.note(&format!("disabled until `posthaste endpoint enable {id}`"));
    }
    Ok(())
}

fn document(args: &AddArgs) -> Result<Map<String, Value>, CliError> {
    let mut document = Map::new();
    document.insert("url".to_owned(), json!(args.url));
    document.insert("event_types".to_owned(), json!(args.types));
    // Not that of the environment: it may be there for other commands, and an endpoint would have it unasked.
    let secret = secret::find(args.secret.as_ref(), None)?;
    let optional = [
        ("description", args.description.as_ref().map(|text| json!(text))),
        ("profile", args.profile.as_ref().map(|name| json!(name))),
        ("headers", headers(&args.headers)?),
        ("enabled", args.disabled.then_some(Value::Bool(false))),
        ("secret", secret.map(|secret| json!(secret.expose()))),
    ];
    document.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Ok(document)
}

/// The headers as an object, where there are any.
fn headers(headers: &[Header]) -> Result<Option<Value>, CliError> {
    let mut object = Map::new();
    for header in headers {
        if object.insert(header.name.clone(), json!(header.value)).is_some() {
            return Err(CliError::Usage(format!("the header `{}` is there twice", header.name)));
        }
    }
    Ok((!object.is_empty()).then_some(Value::Object(object)))
}

/// Changes an endpoint.
pub(super) fn update(args: &UpdateArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let changes = changes(&args.changes)?;
    let found = args.which.find(client)?;
    let answer = client.patch(&found.path, &found.query, &bytes(&changes))?;
    if screen.json {
        return screen.json(&answer);
    }
    let endpoint: EndpointView = client::parse(&answer)?;
    show::print(&endpoint, screen)
}

fn changes(args: &Changes) -> Result<Map<String, Value>, CliError> {
    let text = |text: &Option<String>, none: bool| match text {
        Some(text) => Some(json!(text)),
        None => none.then_some(Value::Null),
    };
    let changes = [
        ("url", text(&args.url, false)),
        ("event_types", (!args.types.is_empty()).then(|| json!(args.types))),
        ("description", text(&args.description, args.no_description)),
        ("profile", text(&args.profile, args.no_profile)),
        ("headers", headers(&args.headers)?.or(args.no_headers.then_some(Value::Null))),
    ];
    Ok(changes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

fn bytes(document: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(document).expect("texts are JSON")
}
