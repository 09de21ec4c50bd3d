//! `posthaste delivery`: where an operator learns what became of a webhook, and why.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::{
    again,
    client::{self, Client, Query},
    error::CliError,
    list::{Extent, List},
    screen::Screen,
    table::{Column, LAST},
    text,
    when::When,
};
use crate::{
    api::view::{AttemptView, DeliveryDetail, DeliveryItem, NOT_ALLOWED, RequestView, ResponseView, Waiting},
    model::{
        account::AccountName,
        attempt::Why,
        delivery::Status,
        id::{DeliveryId, EventId},
        time::Timestamp,
    },
};

/// Lines of an answer's body that are shown.
const BODY_LINES: usize = 12;
/// Characters of each of them.
const BODY_WIDTH: usize = 240;

/// `posthaste delivery`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List deliveries, newest first
    List(ListArgs),
    /// Show one delivery with all its attempts: when, why, to which address, what came back
    Show(ShowArgs),
    /// Have deliveries that have ended delivered again
    Replay(again::ReplayArgs),
    /// Call pending deliveries off
    Cancel(again::CancelArgs),
}

/// `posthaste delivery list`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste delivery list --status failed --endpoint erp --since 7d")]
pub struct ListArgs {
    /// Only those in this status
    #[arg(long, value_parser = PossibleValuesParser::new(Status::ALL.map(Status::as_str)))]
    status: Option<String>,
    /// Only to this endpoint
    #[arg(long, value_name = "ID|NAME")]
    endpoint: Option<String>,
    /// Only of this event
    #[arg(long, value_name = "ID")]
    event: Option<EventId>,
    /// Only of types that match: video.media.ready, or video.* for all beneath
    #[arg(long = "type", value_name = "PATTERN")]
    pattern: Option<String>,
    /// Only this account's
    #[arg(long)]
    account: Option<AccountName>,
    /// Only of events accepted since then: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only of events accepted before then: RFC 3339, or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    #[command(flatten)]
    extent: Extent,
}

/// `posthaste delivery show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste delivery show dlv_01hqr2p1qq8k3v7r5m6n0x9y2z")]
pub struct ShowArgs {
    /// The delivery's id
    #[arg(value_name = "ID")]
    id: DeliveryId,
}

/// The columns of a list of deliveries.
pub const COLUMNS: &[Column] = &[
    Column::whole("ID"),
    Column::status("STATUS"),
    Column::text("TYPE").spare(LAST),
    Column::text("ENDPOINT"),
    Column::number("ATTEMPTS").spare(1),
    Column::text("LAST").spare(2),
    Column::whole("ACCEPTED").spare(0),
    Column::whole("NEXT").spare(LAST),
];

/// A delivery as a row of [`COLUMNS`].
pub fn row(item: &DeliveryItem, now: Timestamp) -> Vec<String> {
    let last = match item.last_status_code {
        Some(status) => status.to_string(),
        None if item.attempt > 0 => "no answer".to_owned(),
        None => "-".to_owned(),
    };
    let next = match (item.waiting, item.due_at) {
        (Some(Waiting::Disabled), _) => "held".to_owned(),
        (Some(Waiting::InFlight), _) => "being made".to_owned(),
        (Some(Waiting::Order), _) => "in its order".to_owned(),
        (_, Some(due)) => text::relative(due, now),
        (_, None) => "-".to_owned(),
    };
    vec![
        item.id.to_string(),
        status(item),
        item.event_type.to_string(),
        endpoint(item),
        item.attempt.to_string(),
        last,
        text::time(item.accepted_at),
        next,
    ]
}

/// The endpoint's name, else its id; a callback's URL.
fn endpoint(item: &DeliveryItem) -> String {
    let id = || item.endpoint_id.map(|id| id.to_string()).unwrap_or_default();
    let named = item.callback.as_deref().or(item.endpoint.as_deref());
    named.map_or_else(id, |name| text::plain(name).into_owned())
}

/// `failed: exhausted`.
fn status(item: &DeliveryItem) -> String {
    let status = item.status.as_str();
    item.reason
        .as_ref()
        .map_or_else(|| status.to_owned(), |reason| format!("{status}: {}", text::plain(reason)))
}

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let client = Client::connect(sockets)?;
    match command {
        Command::List(args) => list(args, &client, screen),
        Command::Show(args) => show(args, &client, screen),
        Command::Replay(args) => again::replay(args, &client, screen),
        Command::Cancel(args) => again::cancel(args, &client, screen),
    }
}

fn list(args: &ListArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let now = screen.now;
    let query = Query::default()
        .with("status", args.status.as_ref())
        .with("endpoint", args.endpoint.as_ref())
        .with("event", args.event)
        .with("type", args.pattern.as_ref())
        .with("account", args.account.as_ref())
        .with("since", args.since.map(|when| when.resolve(now)))
        .with("until", args.until.map(|when| when.resolve(now)));
    let list = List { path: "/v1/deliveries", query, extent: Some(args.extent), empty: "no deliveries" };
    list.show(client, screen, COLUMNS, |item: &DeliveryItem| row(item, now))
}

fn show(args: &ShowArgs, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = client.get(&format!("/v1/deliveries/{}", args.id), &Query::default())?;
    if screen.json {
        return screen.json(&answer);
    }
    let delivery: DeliveryDetail = client::parse(&answer)?;
    print_summary(&delivery, screen)?;
    if delivery.attempts.is_empty() {
        return screen.line("\nNo attempt was made yet.");
    }
    if delivery.attempts_truncated {
        screen
            .line("\nThe first attempts are not shown: there are too many, or they are not kept any more.")?;
    }
    let mut earlier_body = None;
    for (index, attempt) in delivery.attempts.iter().enumerate() {
        let newest = index + 1 == delivery.attempts.len();
        print_attempt(attempt, newest, earlier_body, screen)?;
        earlier_body = Some(attempt.response.body.as_str());
    }
    Ok(())
}

fn print_summary(delivery: &DeliveryDetail, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let (item, now) = (&delivery.item, screen.now);
    screen.line(&screen.bold(&item.id.to_string()))?;
    let ended = item.ended_at.map(|at| format!(", {}", text::time_and_relative(at, now))).unwrap_or_default();
    screen.line(&format!("  status    {}{ended}", screen.paint(&status(item))))?;
    if let Some(meaning) =
        item.reason.as_deref().and_then(|reason| meaning_of(reason, item.callback.is_some()))
    {
        screen.line(&format!("            {meaning}"))?;
    }
    if let Some(message) = &delivery.message {
        screen.line(&format!("            {}", text::plain(message)))?;
    }
    if item.status == Status::Pending {
        screen.line(&format!("  next      {}", next(item, now)))?;
    }
    match (&item.callback, item.endpoint_id) {
        (Some(url), _) => screen.line(&format!("  callback  {}", text::plain(url)))?,
        (None, Some(id)) => {
            let name = item.endpoint.as_deref().map(|name| format!("{}  ", text::plain(name)));
            screen.line(&format!("  endpoint  {}{id}", name.unwrap_or_default()))?;
        }
        (None, None) => {}
    }
    screen.line(&format!("  event     {}  {}", item.event_type, item.event_id))?;
    screen.line(&format!("  account   {}", item.account))?;
    screen.line(&format!("  accepted  {}", text::time_and_relative(item.accepted_at, now)))?;
    screen.line(&format!("  attempts  {}, of which {} failed by the schedule", item.attempt, item.step))
}

/// How a delivery stands, in a line.
pub(super) fn outcome(item: &DeliveryItem, now: Timestamp) -> String {
    match item.status {
        Status::Pending => format!("pending, {}", next(item, now)),
        _ => status(item),
    }
}

/// What a reason means, in a sentence; a `callback` goes to an origin, and to no endpoint.
fn meaning_of(reason: &str, callback: bool) -> Option<&'static str> {
    Some(match reason {
        "endpoint_full" if callback => {
            "its origin had as many pending deliveries as it may have, or its account as many origins"
        }
        "gone" if callback => "it was answered with 410: it is not wanted any more",
        "discarded" => "the endpoint was enabled again without what had waited",
        "endpoint_deleted" => "the endpoint was deleted",
        "endpoint_full" => "the endpoint already had as many pending deliveries as it may have",
        "exhausted" => "the schedule has no further attempt",
        "expired" => "it was still pending when its time was over",
        "gone" => "the endpoint answered 410: it does not want any more",
        "operator" => "an operator called it off",
        "template" => "the profile's template could not make a body of this event",
        _ => return None,
    })
}

/// What a pending delivery waits for.
fn next(item: &DeliveryItem, now: Timestamp) -> String {
    let due = item.due_at.map(|at| text::time_and_relative(at, now));
    match item.waiting {
        Some(Waiting::Disabled) if item.callback.is_some() => {
            "held: its account's callbacks cannot be made (`posthaste status` tells why)".to_owned()
        }
        Some(Waiting::Circuit) if item.callback.is_some() => {
            "waits for the circuit of its origin: one at a time is tried until one succeeds".to_owned()
        }
        Some(Waiting::Disabled) => {
            "held: its endpoint is disabled (`posthaste endpoint list` tells why)".to_owned()
        }
        Some(Waiting::Circuit) => {
            "waits for its endpoint's circuit: one at a time is tried until one succeeds (`posthaste status` tells when)"
                .to_owned()
        }
        Some(Waiting::Clock) => "held: the clock is not set".to_owned(),
        Some(Waiting::InFlight) => "an attempt is being made now".to_owned(),
        Some(Waiting::Order) => "waits until those before it have ended: its endpoint keeps the order".to_owned(),
        Some(waiting @ (Waiting::Rate | Waiting::Turn)) => {
            let since = due.map(|due| format!(", due {due}")).unwrap_or_default();
            let what = if waiting == Waiting::Rate { "its endpoint's rate" } else { "a free place at its endpoint" };
            format!("waits for {what}{since}")
        }
        Some(Waiting::Due) | None => due.map_or_else(|| "-".to_owned(), |due| format!("due {due}")),
    }
}

fn print_attempt(
    attempt: &AttemptView,
    newest: bool,
    earlier_body: Option<&str>,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let response = &attempt.response;
    let began = text::time_and_relative(attempt.started_at, screen.now);
    screen.line("")?;
    screen.line(&format!(
        "{}  {began}  {}",
        screen.bold(&format!("Attempt {}", attempt.number)),
        text::plain(&response.status)
    ))?;
    let message = text::plain(&response.message);
    if !message.is_empty() {
        screen.line(&format!("  message   {message}"))?;
    }
    screen.line(&format!("  why       {}", why(attempt.why)))?;
    // Without one nothing is known of it, where it is not shown.
    if attempt.request_note.as_deref() != Some(NOT_ALLOWED) {
        screen.line(&format!("  address   {}", address(attempt.address, attempt.reconnected)))?;
    }
    screen.line(&format!("  phases    {}", phases(&attempt.phases)))?;
    if newest {
        print_request(attempt, screen)?;
        print_headers("answer", response.headers.iter().map(|(name, value)| (name, value)), screen)?;
    }
    print_body(response, earlier_body, screen)
}

const fn why(why: Why) -> &'static str {
    match why {
        Why::AfterCrash => "after_crash: due before the daemon was ended hard; it may repeat an earlier one",
        Why::Probe => "probe: its endpoint's circuit was open",
        Why::Replay => "replay: somebody had it delivered again",
        Why::RetryAfter => "retry_after: the answer before asked for this time",
        Why::Schedule => "schedule",
    }
}

/// The address dialled, as an attempt tells of it.
pub(super) fn address(address: Option<SocketAddr>, reconnected: bool) -> String {
    let address = address.map_or_else(|| "none was dialled".to_owned(), |address| address.to_string());
    if reconnected {
        format!("{address} (the kept connection was closed, a new one was made)")
    } else {
        address
    }
}

/// `total 132 ms: resolve 1.20 ms, connect 3.00 ms`.
pub(super) fn phases(millis_of: &BTreeMap<String, f64>) -> String {
    const ORDER: [&str; 5] = ["resolve", "connect", "tls", "headers", "body"];
    let phases = ORDER
        .into_iter()
        .filter_map(|name| millis_of.get(name).map(|millis| format!("{name} {}", text::millis(*millis))));
    let phases = phases.collect::<Vec<_>>().join(", ");
    match millis_of.get("total") {
        Some(total) if phases.is_empty() => format!("total {}", text::millis(*total)),
        Some(total) => format!("total {}: {phases}", text::millis(*total)),
        None if phases.is_empty() => "-".to_owned(),
        None => phases,
    }
}

fn print_request(attempt: &AttemptView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let Some(request) = &attempt.request else {
        let note = attempt.request_note.as_deref().unwrap_or("the endpoint is no longer configured");
        return screen.line(&format!("  request   not shown: {}", text::plain(note)));
    };
    screen.line(&format!("  request   POST {}", text::plain(&request.url)))?;
    print_headers("", request.headers.iter(), screen)?;
    print_sent(request, screen)
}

/// The beginning of the body that was sent.
fn print_sent(request: &RequestView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let Some(body) = request.body.as_deref().filter(|body| !body.is_empty()) else { return Ok(()) };
    if request.body_encoding.is_some() {
        return screen.line("  sent      bytes that are no text; --json shows them in base64");
    }
    let whole = print_beginning("sent", body, screen)?;
    match (whole, request.body_truncated) {
        (true, false) => Ok(()),
        (true, true) => screen.line("            … it went on; no more of it is shown"),
        (false, _) => screen.line("            … --json shows more of it"),
    }
}

/// Headers one below the other, the first beside `title`.
pub(super) fn print_headers<'a>(
    title: &str,
    headers: impl Iterator<Item = (&'a String, &'a String)>,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let mut title = title;
    for (name, value) in headers {
        screen.line(&format!("  {title:<8}  {}: {}", text::plain(name), text::plain(value)))?;
        title = "";
    }
    Ok(())
}

/// The beginning of an answer's body, unless it is the `earlier` one.
pub(super) fn print_body(
    response: &ResponseView,
    earlier: Option<&str>,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let body = &response.body;
    if body.is_empty() {
        return Ok(());
    }
    if earlier == Some(body.as_str()) {
        return screen.line("  body      the same as of the attempt before");
    }
    let whole = print_beginning("body", body, screen)?;
    match (whole, response.body_truncated) {
        (true, false) => Ok(()),
        (true, true) => screen.line("            … it went on; no more of it is kept"),
        (false, _) => screen.line("            … --json shows all that is kept of it"),
    }
}

/// The beginning of a text of several lines, the first beside `title`; whether that was all of it.
pub(super) fn print_beginning(title: &str, text: &str, screen: &mut Screen<'_>) -> Result<bool, CliError> {
    let (lines, whole) = text::beginning(text, BODY_LINES, BODY_WIDTH);
    let mut title = title;
    for line in lines {
        screen.line(&format!("  {title:<8}  {line}"))?;
        title = "";
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{fake::Daemon, testing::Output};

    const DELIVERY: &str = "dlv_01hqr2p1qq8k3v7r5m6n0x9y2z";

    fn item(status: &str) -> String {
        format!(
            r#""id":"{DELIVERY}","event_id":"evt_01hqr2p1qq8k3v7r5m6n0x9y2z","event_type":"video.media.ready","account":"default","endpoint_id":"ep_01hqr2p1qq8k3v7r5m6n0x9y2z","endpoint":"erp",{status},"accepted_at":"2026-11-22T02:50:00.000Z""#
        )
    }

    fn failed() -> String {
        item(
            r#""status":"failed","reason":"exhausted","waiting":null,"attempt":2,"step":2,"due_at":null,"ended_at":"2026-11-22T02:57:00.000Z","last_status_code":500"#,
        )
    }

    fn pending(waiting: &str) -> String {
        item(&format!(
            r#""status":"pending","reason":null,"waiting":"{waiting}","attempt":1,"step":1,"due_at":"2026-11-22T03:04:00.000Z","ended_at":null,"last_status_code":null"#
        ))
    }

    fn show(answer: String) -> String {
        let daemon = Daemon::start(vec![(200, answer)]);
        let mut output = Output::new();
        let args = ShowArgs { id: DELIVERY.parse().expect("an id") };
        run(&Command::Show(args), &daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(daemon.lines(), [format!("GET /v1/deliveries/{DELIVERY} HTTP/1.1")]);
        output.text()
    }

    #[test]
    fn a_list() {
        let page = format!(
            r#"{{"items":[{{{}}},{{{}}},{{{}}}],"next_cursor":null}}"#,
            failed(),
            pending("due"),
            pending("disabled")
        );
        let daemon = Daemon::start(vec![(200, page)]);
        let client = Client::connect(&daemon.paths()).expect("it listens");
        let mut output = Output::new();
        let list =
            List { path: "/v1/deliveries", query: Query::default(), extent: None, empty: "no deliveries" };
        list.show(&client, &mut output.screen(), COLUMNS, |item: &DeliveryItem| row(item, Output::now()))
            .expect("it prints");
        assert_eq!(
            output.text(),
            "ID                              STATUS             TYPE               ENDPOINT  ATTEMPTS  LAST       ACCEPTED             NEXT\n\
             dlv_01hqr2p1qq8k3v7r5m6n0x9y2z  failed: exhausted  video.media.ready  erp              2  500        2026-11-22 02:50:00  -\n\
             dlv_01hqr2p1qq8k3v7r5m6n0x9y2z  pending            video.media.ready  erp              1  no answer  2026-11-22 02:50:00  in 4m\n\
             dlv_01hqr2p1qq8k3v7r5m6n0x9y2z  pending            video.media.ready  erp              1  no answer  2026-11-22 02:50:00  held\n"
        );
    }

    #[test]
    fn a_failed_delivery_tells_why() {
        let answer = format!(
            r#"{{{},"attempts":[
            {{"number":1,"why":"schedule","started_at":"2026-11-22T02:50:00.000Z","address":null,"reconnected":false,"phases":{{"resolve":5.5,"total":5.5}},
              "request":null,"response":{{"status_code":null,"status":"resolve","headers":[],"body":"","body_truncated":false,"message":"the name erp.example did not resolve","failure":"resolve"}}}},
            {{"number":2,"why":"after_crash","started_at":"2026-11-22T02:57:00.000Z","address":"10.0.0.7:443","reconnected":true,"phases":{{"total":132.0,"headers":120.4,"connect":3.0,"body":1.25}},
              "request":{{"url":"https://erp.example/hooks","headers":{{"webhook-id":"x","authorization":"***"}},"body":"{{\"n\":\u001b 1}}"}},
              "response":{{"status_code":500,"status":"500 Internal Server Error","headers":[["server","nginx"],["x-id","7"]],"body":"<html>\n\u001b[31moops</html>","body_truncated":true,"message":"the endpoint answered 500","failure":null}}}}]}}"#,
            failed()
        );
        assert_eq!(
            show(answer),
            "dlv_01hqr2p1qq8k3v7r5m6n0x9y2z\n  \
               status    failed: exhausted, 2026-11-22 02:57:00 (3m ago)\n            the schedule has no further attempt\n  \
               endpoint  erp  ep_01hqr2p1qq8k3v7r5m6n0x9y2z\n  \
               event     video.media.ready  evt_01hqr2p1qq8k3v7r5m6n0x9y2z\n  \
               account   default\n  \
               accepted  2026-11-22 02:50:00 (10m ago)\n  \
               attempts  2, of which 2 failed by the schedule\n\
             \n\
             Attempt 1  2026-11-22 02:50:00 (10m ago)  resolve\n  \
               message   the name erp.example did not resolve\n  \
               why       schedule\n  \
               address   none was dialled\n  \
               phases    total 5.50 ms: resolve 5.50 ms\n\
             \n\
             Attempt 2  2026-11-22 02:57:00 (3m ago)  500 Internal Server Error\n  \
               message   the endpoint answered 500\n  \
               why       after_crash: due before the daemon was ended hard; it may repeat an earlier one\n  \
               address   10.0.0.7:443 (the kept connection was closed, a new one was made)\n  \
               phases    total 132 ms: connect 3.00 ms, headers 120 ms, body 1.25 ms\n  \
               request   POST https://erp.example/hooks\n            authorization: ***\n            webhook-id: x\n  \
               sent      {\"n\":\\u{1b} 1}\n  \
               answer    server: nginx\n            x-id: 7\n  \
               body      <html>\n            \\u{1b}[31moops</html>\n            … it went on; no more of it is kept\n"
        );
    }

    /// What is shown of a delivery with one attempt, whose request is so.
    fn sent(request: &str) -> String {
        show(format!(
            r#"{{{},"attempts":[{{"number":1,"why":"schedule","started_at":"2026-11-22T02:50:00.000Z","address":null,"reconnected":false,"phases":{{}},{request},
              "response":{{"status_code":500,"status":"500","headers":[],"body":"","body_truncated":false,"message":"","failure":null}}}}]}}"#,
            failed()
        ))
    }

    #[test]
    fn what_was_sent() {
        let body = |keys: &str| sent(&format!(r#""request":{{"url":"http://x/","headers":{{}},{keys}}}"#));
        for (shown, end) in [
            (body(r#""body":"abc""#), "  request   POST http://x/\n  sent      abc\n"),
            (
                body(r#""body":"abc","body_truncated":true"#),
                "  sent      abc\n            … it went on; no more of it is shown\n",
            ),
            (
                body(r#""body":"/wA=","body_encoding":"base64""#),
                "  sent      bytes that are no text; --json shows them in base64\n",
            ),
            (body(r#""body":"""#), "  request   POST http://x/\n"),
            (body(r#""body":null"#), "  request   POST http://x/\n"),
            (
                sent(r#""request":null,"request_note":"the endpoint's settings have changed since""#),
                "  request   not shown: the endpoint's settings have changed since\n",
            ),
            (sent(r#""request":null"#), "  request   not shown: the endpoint is no longer configured\n"),
        ] {
            assert!(shown.ends_with(end), "{shown}");
        }
    }

    #[test]
    fn what_is_for_operators_is_not_guessed_at() {
        let shown = sent(&format!(r#""request":null,"request_note":"{NOT_ALLOWED}""#));
        assert!(shown.ends_with(&format!("  request   not shown: {NOT_ALLOWED}\n")), "{shown}");
        assert!(!shown.contains("  address "), "{shown}");
        assert!(sent(r#""request":null"#).contains("  address   none was dialled\n"));
    }

    #[test]
    fn attempts_that_are_not_shown_are_not_passed_over() {
        let note = "The first attempts are not shown";
        let attempt = r#"{"number":9,"why":"schedule","started_at":"2026-11-22T02:50:00.000Z","address":null,"reconnected":false,"phases":{},"request":null,
              "response":{"status_code":500,"status":"500","headers":[],"body":"","body_truncated":false,"message":"","failure":null}}"#;
        for (truncated, told) in [(",\"attempts_truncated\":true", true), ("", false)] {
            let shown = show(format!("{{{},\"attempts\":[{attempt}]{truncated}}}", failed()));
            assert_eq!(shown.contains(note), told, "{shown}");
        }
    }

    #[test]
    fn a_template_that_failed_tells_why() {
        let failed = failed().replace("exhausted", "template");
        let shown = show(format!(r#"{{{failed},"message":"line 2: no such\u001b field","attempts":[]}}"#));
        let wanted = "            the profile's template could not make a body of this event\n            \
                      line 2: no such\\u{1b} field\n";
        assert!(shown.contains(wanted), "{shown}");
    }

    #[test]
    fn a_pending_delivery_tells_what_it_waits_for() {
        for (waiting, text) in [
            ("due", "  next      due 2026-11-22 03:04:00 (in 4m)\n"),
            ("turn", "  next      waits for a free place at its endpoint, due 2026-11-22 03:04:00 (in 4m)\n"),
            ("in_flight", "  next      an attempt is being made now\n"),
            ("order", "  next      waits until those before it have ended: its endpoint keeps the order\n"),
            (
                "disabled",
                "  next      held: its endpoint is disabled (`posthaste endpoint list` tells why)\n",
            ),
        ] {
            let shown = show(format!("{{{},\"attempts\":[]}}", pending(waiting)));
            assert!(shown.contains(text), "{waiting}: {shown}");
            assert!(shown.ends_with("\nNo attempt was made yet.\n"), "{shown}");
        }
    }
}
