//! `posthaste key`: who is let in over TCP.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{
    client::{self, Client, Query},
    error::CliError,
    list::List,
    screen::Screen,
    table::Column,
    text,
};
use crate::{
    api::view::{KeyView, MadeKey, RevokedKey},
    model::{account::AccountName, id::KeyId, role::Role},
};

/// `posthaste key`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the keys, newest first
    List(ListArgs),
    /// Show one key
    Show(ShowArgs),
    /// Make a key for the API over TCP, and print it: it is never shown again
    Add(AddArgs),
    /// Revoke a key, at once and for good
    Revoke(RevokeArgs),
}

/// `posthaste key list`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste key list --account acme")]
pub struct ListArgs {
    /// Only this account's
    #[arg(long)]
    account: Option<AccountName>,
}

/// `posthaste key show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste key show key_01hqr2p1qq8k3v7r5m6n0x9y2z")]
pub struct ShowArgs {
    /// The key's id, as `posthaste key list` shows it
    #[arg(value_name = "ID")]
    id: KeyId,
}

/// `posthaste key add`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste key add --role subscriber --account acme --expires 90d --name 'Acme portal'\n\n\
                  Prints the key, which goes into `Authorization: Bearer KEY`. The store keeps a hash of it alone."
)]
pub struct AddArgs {
    /// What its holder may do
    #[arg(long, value_parser = Role::WORDS)]
    role: String,
    /// The only account that its holder may touch; a subscriber has one always
    #[arg(long, required_if_eq("role", "subscriber"))]
    account: Option<AccountName>,
    /// How long it is good for, or until when: 90d, 2027-01-01T00:00:00Z [else until it is revoked]
    #[arg(long, value_name = "DURATION|TIME")]
    expires: Option<String>,
    /// A note for people: who has it, and what for
    #[arg(long, value_name = "NOTE")]
    name: Option<String>,
}

/// `posthaste key revoke`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste key revoke key_01hqr2p1qq8k3v7r5m6n0x9y2z")]
pub struct RevokeArgs {
    /// The key's id, as `posthaste key list` shows it
    #[arg(value_name = "ID")]
    id: KeyId,
}

const COLUMNS: &[Column] = &[
    Column::whole("ID"),
    Column::whole("ROLE"),
    Column::text("ACCOUNT"),
    Column::text("NAME").spare(0),
    Column::whole("MADE").spare(1),
    Column::whole("EXPIRES").spare(3),
    Column::whole("LAST USED").spare(2),
];

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let client = Client::connect(sockets)?;
    match command {
        Command::List(args) => list(args, &client, screen),
        Command::Show(args) => show(args, &client, screen),
        Command::Add(args) => add(args, &client, screen),
        Command::Revoke(args) => revoke(args, &client, screen),
    }
}

fn list(args: &ListArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let query = Query::default().with("account", args.account.as_ref());
    let list = List { path: "/v1/keys", query, extent: None, empty: "no keys" };
    list.show(client, screen, COLUMNS, row)
}

fn show(args: &ShowArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = client.get(&format!("/v1/keys/{}", args.id), &Query::default())?;
    if screen.json {
        return screen.json(&answer);
    }
    let key: KeyView = client::parse(&answer)?;
    let words = ["", "role", "account", "name", "made", "expires", "last used"];
    let mut values = words.into_iter().zip(row(&key));
    let (_, id) = values.next().expect("the first is the id");
    screen.line(&screen.bold(&id))?;
    values.try_for_each(|(word, value)| screen.line(&format!("  {word:10} {value}")))
}

fn expires(key: &KeyView) -> String {
    match key.expires_at {
        Some(_) if key.expired => "expired".to_owned(),
        Some(at) => text::time(at),
        None => "never".to_owned(),
    }
}

fn row(key: &KeyView) -> Vec<String> {
    vec![
        key.id.to_string(),
        text::plain(&key.role).into_owned(),
        key.account.as_ref().map_or_else(|| "any".to_owned(), ToString::to_string),
        key.name.as_deref().map_or_else(|| "-".to_owned(), |name| text::plain(name).into_owned()),
        text::time(key.created_at),
        expires(key),
        key.last_used_at.map_or_else(|| "never".to_owned(), text::time),
    ]
}

fn add(args: &AddArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let mut body = Map::from_iter([("role".to_owned(), Value::from(args.role.as_str()))]);
    let given = [("name", &args.name), ("expires", &args.expires)];
    body.extend(
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?.into()))),
    );
    let query = Query::default().with("account", args.account.as_ref());
    let answer = client.post_with("/v1/keys", &query, Value::from(body).to_string().as_bytes())?;
    if screen.json {
        return screen.json(&answer);
    }
    let made: MadeKey = client::parse(&answer)?;
    screen.line(&text::plain(made.key.0.expose()))?;
    screen.flush()?;
    let until = made.view.expires_at.map(|at| format!(", good until {}", text::time(at))).unwrap_or_default();
    screen.note(&format!(
        "this is {}{until}; keep it, it is not shown again. `posthaste key revoke {}` ends it",
        made.view.id, made.view.id
    ));
    Ok(())
}

fn revoke(args: &RevokeArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = client.delete(&format!("/v1/keys/{}", args.id), &Query::default())?;
    if screen.json {
        return screen.json(&answer);
    }
    let revoked: RevokedKey = client::parse(&answer)?;
    screen.line(&format!("{} is revoked: it lets nobody in any more", revoked.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{fake::Daemon, testing::Output};

    const KEY: &str = "key_01hqr2p1qq8k3v7r5m6n0x9y2z";

    fn view(rest: &str) -> String {
        format!(
            r#"{{"id":"{KEY}","role":"subscriber","account":"acme","name":"po\u001brtal","created_at":"2026-11-22T02:57:00.000Z",{rest}"last_used_at":null}}"#
        )
    }

    #[test]
    fn a_list() {
        let keys = [
            view(r#""expires_at":null,"expired":false,"#),
            view(r#""expires_at":"2026-11-22T03:57:00.000Z","expired":true,"#),
        ];
        let daemon =
            Daemon::start(vec![(200, format!(r#"{{"items":[{}],"next_cursor":null}}"#, keys.join(",")))]);
        let mut output = Output::new();
        let args = ListArgs { account: Some("acme".parse().expect("a name")) };
        run(&Command::List(args), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(daemon.lines(), ["GET /v1/keys?account=acme HTTP/1.1"]);
        let text = output.text();
        assert!(text.contains("subscriber  acme"), "{text}");
        assert!(text.contains("po\\u{1b}rtal"), "{text}");
        assert!(text.contains("never") && text.contains("expired"), "{text}");
    }

    #[test]
    fn one_is_shown() {
        let answer = view(r#""expires_at":null,"expired":false,"#);
        let daemon = Daemon::start(vec![(200, answer)]);
        let mut output = Output::new();
        let args = ShowArgs { id: KEY.parse().expect("an id") };
        run(&Command::Show(args), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(daemon.lines(), [format!("GET /v1/keys/{KEY} HTTP/1.1")]);
        assert_eq!(
            output.text(),
            format!(
                "{KEY}\n  role       subscriber\n  account    acme\n  name       po\\u{{1b}}rtal\n  \
                 made       2026-11-22 02:57:00\n  expires    never\n  last used  never\n"
            )
        );
    }

    #[test]
    fn a_key_is_printed_alone() {
        let answer = view(r#""key":"phk_secret","expires_at":"2026-11-23T02:57:00.000Z","expired":false,"#);
        let daemon = Daemon::start(vec![(201, answer.clone()), (201, answer.clone())]);
        let args = || {
            Command::Add(AddArgs {
                role: "subscriber".to_owned(),
                account: Some("acme".parse().expect("a name")),
                expires: Some("24h".to_owned()),
                name: None,
            })
        };
        let mut output = Output::new();
        run(&args(), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(output.text(), "phk_secret\n");
        assert!(output.notes().contains("not shown again"), "{}", output.notes());
        let mut output = Output::json();
        run(&args(), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(output.text(), format!("{answer}\n"));
        let seen = daemon.requests();
        assert_eq!(seen[0].line, "POST /v1/keys?account=acme HTTP/1.1");
        assert_eq!(seen[0].body, br#"{"expires":"24h","role":"subscriber"}"#);
    }
}
