//! `posthaste endpoint secret` and `rotate-secret`.

use std::{borrow::Cow, time::Duration};

use clap::Args;
use serde_json::json;

use super::{
    super::{
        client::{self, Client},
        error::CliError,
        screen::Screen,
        table::{Column, Table},
        text,
    },
    find::Which,
};
use crate::{
    api::view::{SecretsView, ShownSecret},
    model::time::{format_duration, parse_duration},
};

/// `posthaste endpoint secret`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste endpoint secret ep_01hqr2p1qq8k3v7r5m6n0x9y2z\n\n\
                  Prints what the receiver verifies with: the newest secret, or the public key where its profile\n\
                  signs with ed25519. While a rotation overlaps, those before sign too. --json has all there is.")]
pub struct SecretArgs {
    #[command(flatten)]
    which: Which,
    /// Show all that sign, with their times
    #[arg(long)]
    all: bool,
}

/// `posthaste endpoint rotate-secret`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste endpoint rotate-secret ep_01hqr2p1qq8k3v7r5m6n0x9y2z --overlap 1h\n\n\
                  Prints what the receiver verifies with: the secret that was made, or its public key."
)]
pub struct RotateArgs {
    #[command(flatten)]
    which: Which,
    /// How long the secrets before sign as well: 0s to 7d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    overlap: Duration,
}

const COLUMNS: &[Column] =
    &[Column::whole("SECRET OR PUBLIC KEY"), Column::whole("MADE").spare(0), Column::whole("SIGNS UNTIL")];

/// Shows the secret.
pub(super) fn show(args: &SecretArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let found = args.which.find(client)?;
    let answer = client.get(&found.verb("secret"), &found.query)?;
    if screen.json {
        return screen.json(&answer);
    }
    let view: SecretsView = client::parse(&answer)?;
    if args.all {
        return table(&view, screen);
    }
    screen.line(&shared(&view.secret, view.public_key.as_deref()))?;
    if view.secrets.len() > 1 {
        screen.flush()?;
        screen.note(&format!("{} before it {} too: --all shows them", view.secrets.len() - 1, signs(&view)));
    }
    Ok(())
}

/// What the receiver has of it: the secret, but of a private key the public one.
fn shared<'a>(secret: &'a ShownSecret, public_key: Option<&'a str>) -> Cow<'a, str> {
    text::plain(public_key.unwrap_or_else(|| secret.0.expose()))
}

fn signs(view: &SecretsView) -> &'static str {
    if view.secrets.len() == 2 { "signs" } else { "sign" }
}

fn table(view: &SecretsView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let mut table = Table::new(COLUMNS);
    for one in &view.secrets {
        let made = one.created_at.map_or_else(|| "-".to_owned(), text::time);
        let until = one.until.map_or_else(|| "-".to_owned(), text::time);
        let shared = shared(&one.secret, one.public_key.as_deref()).into_owned();
        table.push(vec![shared, made, until], screen)?;
    }
    table.finish(screen).map(drop)
}

/// Makes a secret in the place of the present one.
pub(super) fn rotate(args: &RotateArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let found = args.which.find(client)?;
    let body = json!({"overlap": format_duration(args.overlap)}).to_string();
    let answer = client.post_with(&found.verb("rotate-secret"), &found.query, body.as_bytes())?;
    if screen.json {
        return screen.json(&answer);
    }
    let view: SecretsView = client::parse(&answer)?;
    screen.line(&shared(&view.secret, view.public_key.as_deref()))?;
    screen.flush()?;
    let until = view.secrets.get(1).and_then(|before| before.until);
    screen.note(&match until {
        Some(until) => {
            format!("the secret before signs too until {}", text::time_and_relative(until, screen.now))
        }
        None => "the secret before does not sign any more".to_owned(),
    });
    Ok(())
}
