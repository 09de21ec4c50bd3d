//! `posthaste event`: what was handed in, and where it went.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::{
    client::{self, Client, Query},
    delivery,
    error::CliError,
    list::{Extent, List},
    screen::Screen,
    table::{Column, LAST, Table},
    text,
    when::When,
};
use crate::{
    api::view::{EventDetail, EventItem, EventTypeView, StatusCounts},
    model::{account::AccountName, delivery::Status, event::Effect, id::EventId},
};

/// `posthaste event`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List events, newest first
    List(ListArgs),
    /// Show one event: its payload and its deliveries
    Show(ShowArgs),
    /// List the types of an account's catalog, and how many events of each were accepted
    Types(TypesArgs),
}

/// `posthaste event list`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste event list --type 'video.*' --since 2h\n  posthaste event list --status failed --until 2d"
)]
pub struct ListArgs {
    /// Only of types that match: video.media.ready, or video.* for all beneath
    #[arg(long = "type", value_name = "PATTERN")]
    pattern: Option<String>,
    /// Only this account's
    #[arg(long)]
    account: Option<AccountName>,
    /// Only those with a delivery in this status
    #[arg(long, value_parser = PossibleValuesParser::new(Status::ALL.map(Status::as_str)))]
    status: Option<String>,
    /// Only those accepted since then: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only those accepted before then: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    #[command(flatten)]
    extent: Extent,
}

/// `posthaste event show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste event show evt_01hqr2p1qq8k3v7r5m6n0x9y2z")]
pub struct ShowArgs {
    /// The event's id
    #[arg(value_name = "ID")]
    id: EventId,
}

/// `posthaste event types`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste event types --account media")]
pub struct TypesArgs {
    /// Whose catalog [else that of `default`]
    #[arg(long)]
    account: Option<AccountName>,
}

const COLUMNS: &[Column] = &[
    Column::whole("ID"),
    Column::text("TYPE"),
    Column::text("ACCOUNT").spare(0),
    Column::whole("ACCEPTED").spare(LAST),
    Column::number("SIZE").spare(1),
    Column::text("DELIVERIES"),
];

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let client = Client::connect(sockets)?;
    match command {
        Command::List(args) => list(args, &client, screen),
        Command::Show(args) => show(args, &client, screen),
        Command::Types(args) => types(args, &client, screen),
    }
}

fn list(args: &ListArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let now = screen.now;
    let query = Query::default()
        .with("type", args.pattern.as_ref())
        .with("account", args.account.as_ref())
        .with("status", args.status.as_ref())
        .with("since", args.since.map(|when| when.resolve(now)))
        .with("until", args.until.map(|when| when.resolve(now)));
    let list = List { path: "/v1/events", query, extent: Some(args.extent), empty: "no events" };
    list.show(client, screen, COLUMNS, |event: &EventItem| {
        vec![
            event.id.to_string(),
            event.event_type.to_string(),
            event.account.to_string(),
            text::time(event.accepted_at),
            text::size(event.size),
            counts(event.deliveries),
        ]
    })
}

const TYPE_COLUMNS: &[Column] = &[
    Column::whole("TYPE"),
    Column::text("EFFECT"),
    Column::number("ACCEPTED"),
    Column::text("GROUPS").spare(1),
    Column::text("DESCRIPTION").spare(0),
];

fn types(args: &TypesArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let query = Query::default().with("account", args.account.as_ref());
    let empty = "the account has no catalog: every type is taken";
    let list = List { path: "/v1/event-types", query, extent: None, empty };
    list.show(client, screen, TYPE_COLUMNS, |known: &EventTypeView| {
        vec![
            known.name.to_string(),
            known.effect.as_str().to_owned(),
            known.accepted.to_string(),
            text::plain(&known.groups.join(", ")).into_owned(),
            text::plain(&known.description).into_owned(),
        ]
    })
}

/// `2 succeeded, 1 failed`: those that there are.
fn counts(counts: StatusCounts) -> String {
    let parts = Status::ALL.map(|status| {
        let count = match status {
            Status::Cancelled => counts.cancelled,
            Status::Failed => counts.failed,
            Status::Pending => counts.pending,
            Status::Succeeded => counts.succeeded,
        };
        (count > 0).then(|| format!("{count} {}", status.as_str()))
    });
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}

fn show(args: &ShowArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = client.get(&format!("/v1/events/{}", args.id), &Query::default())?;
    if screen.json {
        return screen.json(&answer);
    }
    print(&client::parse(&answer)?, screen)
}

fn print(event: &EventDetail, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let now = screen.now;
    screen.line(&screen.bold(&event.id.to_string()))?;
    screen.line(&format!("  type         {}", event.event_type))?;
    if event.effect == Effect::Partial {
        screen.line("  effect       partial")?;
    }
    screen.line(&format!("  account      {}", event.account))?;
    if let Some(id) = &event.producer_id {
        screen.line(&format!("  producer id  {}", text::plain(id)))?;
    }
    if let Some(uid) = event.uid {
        screen.line(&format!("  from         uid {uid}"))?;
    }
    if let Some(url) = &event.url {
        screen.line(&format!("  url          {}", text::plain(url)))?;
    }
    if let Some(key) = &event.key {
        screen.line(&format!("  key          {}", text::plain(key)))?;
    }
    screen.line(&format!("  accepted     {}", text::time_and_relative(event.accepted_at, now)))?;
    if event.clock_unset {
        screen.line("               while the clock was not set")?;
    }
    if event.time != event.accepted_at {
        screen.line(&format!("  happened     {}", text::time_and_relative(event.time, now)))?;
    }
    if let Some(not_before) = event.not_before {
        screen.line(&format!("  not before   {}", text::time_and_relative(not_before, now)))?;
    }
    print_payload(event, screen)?;
    screen.line("")?;
    let mut table = Table::new(delivery::COLUMNS);
    for item in &event.deliveries {
        table.push(delivery::row(item, now), screen)?;
    }
    if !table.finish(screen)? {
        screen.line(match event.effect {
            Effect::None => "No deliveries: the account's catalog gave this type no effect.",
            Effect::Live | Effect::Partial => {
                "No deliveries: no endpoint was subscribed to this type when the event was accepted."
            }
        })?;
    }
    Ok(())
}

/// Its beginning line says how large it is, and what, if it is not JSON; of bytes that are no text nothing more is shown.
fn print_payload(event: &EventDetail, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let title = screen.bold("Payload");
    let size = |bytes: &[u8]| text::size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    let Some(base64) = &event.data_base64 else {
        // A payload `null` reads as none.
        let data = event.data.as_ref().map_or("null", |data| data.get());
        screen.line(&format!("\n{title} {}", size(data.as_bytes())))?;
        return print_lines(data, screen);
    };
    let bytes = STANDARD.decode(base64).map_err(|error| CliError::Answer(error.to_string()))?;
    screen.line(&format!("\n{title} {}, {}", size(&bytes), text::plain(&event.content_type)))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => print_lines(text, screen),
        Err(_) => screen.line("It is no text; --json prints it in base64."),
    }
}

fn print_lines(text: &str, screen: &mut Screen<'_>) -> Result<(), CliError> {
    text.lines().try_for_each(|line| screen.line(&text::plain(line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{fake::Daemon, testing::Output};

    const EVENT: &str = "evt_01hqr2p1qq8k3v7r5m6n0x9y2z";

    #[test]
    fn the_types_of_a_catalog() {
        let page = r#"{"items":[{"name":"video.ready","groups":["media","all"],"description":"it plays","effect":"live","accepted":12},
            {"name":"video.seen","groups":[],"description":"","effect":"none","accepted":0}],"next_cursor":null}"#;
        let empty = r#"{"items":[],"next_cursor":null}"#;
        let daemon = Daemon::start(vec![(200, page.to_owned()), (200, empty.to_owned())]);
        let types = |account: Option<&str>| {
            let account = account.map(|name| name.parse().expect("a name"));
            let mut output = Output::new();
            run(&Command::Types(TypesArgs { account }), &daemon.paths(), &mut output.screen())
                .expect("it prints");
            (output.text(), output.notes())
        };
        let (text, _) = types(Some("media"));
        assert_eq!(
            text,
            "TYPE         EFFECT  ACCEPTED  GROUPS      DESCRIPTION\n\
             video.ready  live          12  media, all  it plays\n\
             video.seen   none           0\n"
        );
        let (text, notes) = types(None);
        assert!(text.is_empty() && notes.contains("every type is taken"), "{text}{notes}");
        assert_eq!(
            daemon.lines(),
            ["GET /v1/event-types?account=media HTTP/1.1", "GET /v1/event-types HTTP/1.1"]
        );
    }

    #[test]
    fn a_list() {
        let page = format!(
            r#"{{"items":[{{"id":"{EVENT}","account":"default","type":"video.media.ready","accepted_at":"2026-11-22T02:57:00.000Z","size":1536,"deliveries":{{"pending":1,"succeeded":2,"failed":0,"cancelled":0}}}},
            {{"id":"{EVENT}","account":"acme","type":"a.b","accepted_at":"2026-11-21T02:57:00.000Z","size":2,"deliveries":{{"pending":0,"succeeded":0,"failed":0,"cancelled":0}}}}],"next_cursor":null}}"#
        );
        let daemon = Daemon::start(vec![(200, page)]);
        let mut output = Output::new();
        let args = ListArgs {
            pattern: Some("video.*".to_owned()),
            account: Some("acme".parse().expect("a name")),
            status: Some("failed".to_owned()),
            since: Some("2h".parse().expect("a time")),
            until: Some("2026-11-22T02:59:00+00:00".parse().expect("a time")),
            extent: extent(),
        };
        run(&Command::List(args), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(
            daemon.lines(),
            [
                "GET /v1/events?type=video.*&account=acme&status=failed&since=2026-11-22T01%3A00%3A00.000Z&until=2026-11-22T02%3A59%3A00.000Z&limit=50 HTTP/1.1"
            ]
        );
        assert_eq!(
            output.text(),
            "ID                              TYPE               ACCOUNT  ACCEPTED                SIZE  DELIVERIES\n\
             evt_01hqr2p1qq8k3v7r5m6n0x9y2z  video.media.ready  default  2026-11-22 02:57:00  1.5 KiB  1 pending, 2 succeeded\n\
             evt_01hqr2p1qq8k3v7r5m6n0x9y2z  a.b                acme     2026-11-21 02:57:00      2 B  none\n"
        );
    }

    fn extent() -> Extent {
        use clap::{Command, FromArgMatches as _};
        let matches = Extent::augment_args(Command::new("x")).get_matches_from(["x"]);
        Extent::from_arg_matches(&matches).expect("its defaults")
    }

    #[test]
    fn one_event() {
        let answer = format!(
            r#"{{"id":"{EVENT}","account":"default","type":"a.b","time":"2026-11-22T02:57:00.000Z","accepted_at":"2026-11-22T02:57:00.000Z","not_before":"2026-11-22T03:57:00.000Z","uid":1000,"producer_id":"m\u001b17","key":"k\u001b7","data":{{"n": 1.0}},"deliveries":[]}}"#
        );
        let daemon = Daemon::start(vec![(200, answer.clone()), (200, answer.clone())]);
        let id: EventId = EVENT.parse().expect("an id");
        let mut output = Output::new();
        run(&Command::Show(ShowArgs { id }), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(daemon.lines(), [format!("GET /v1/events/{EVENT} HTTP/1.1")]);
        assert_eq!(
            output.text(),
            "evt_01hqr2p1qq8k3v7r5m6n0x9y2z\n  type         a.b\n  account      default\n  producer id  m\\u{1b}17\n  from         uid 1000\n  key          k\\u{1b}7\n  \
             accepted     2026-11-22 02:57:00 (3m ago)\n  not before   2026-11-22 03:57:00 (in 57m)\n\nPayload 10 B\n{\"n\": 1.0}\n\n\
             No deliveries: no endpoint was subscribed to this type when the event was accepted.\n"
        );
        let mut output = Output::json();
        run(&Command::Show(ShowArgs { id }), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(output.text(), format!("{answer}\n"));
    }

    #[test]
    fn payloads() {
        let payload = |fields: &str| {
            let answer = format!(
                r#"{{"id":"{EVENT}","account":"default","type":"a.b","time":"2026-11-22T02:57:00.000Z","accepted_at":"2026-11-22T02:57:00.000Z","producer_id":null,{fields},"deliveries":[]}}"#
            );
            let daemon = Daemon::start(vec![(200, answer)]);
            let mut output = Output::new();
            let id: EventId = EVENT.parse().expect("an id");
            run(&Command::Show(ShowArgs { id }), &daemon.paths(), &mut output.screen()).expect("it prints");
            let text = output.text().clone();
            let (_, payload) = text.split_once("Payload ").expect("it is shown");
            payload.split_once("\n\n").expect("deliveries come after it").0.to_owned()
        };
        for (fields, shown) in [
            (r#""data":null"#, "4 B\nnull"),
            (r#""content_type":"application/json","data":[ ]"#, "3 B\n[ ]"),
            (r#""content_type":"text/csv","data_base64":"YSxiCjEsGzI=""#, "8 B, text/csv\na,b\n1,\\u{1b}2"),
            (
                r#""content_type":"application/pdf","data_base64":"/wA=""#,
                "2 B, application/pdf\nIt is no text; --json prints it in base64.",
            ),
        ] {
            assert_eq!(payload(fields), shown, "{fields}");
        }
    }
}
