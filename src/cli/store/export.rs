//! `posthaste store export`.
//!
//! A line of JSON for each event, delivery and attempt, in the words of the API; or, with `--format events`, each event as
//! `posthaste emit --lines` takes it. Of endpoints there is no more than their ids and names: no secret is exported. What
//! events and answers hold is: the output is for those who may read the store.

use std::{
    collections::{BTreeMap, HashMap},
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    super::{error::CliError, exit::Exit, screen::Screen, when::When},
    bar::Bar,
    place::{Place, failed, shown, unusable},
};
use crate::{
    api::{self, view::ResponseView},
    model::{
        account::AccountName,
        attempt::{Attempt, Why},
        cloud::{CloudAttributes, CloudValue},
        content::ContentType,
        delivery::{Delivery, DeliveryKey, State},
        endpoint::{Endpoint, EndpointNumber},
        event::{Effect, Event},
        id::IdKey,
        time::Timestamp,
    },
    outbox::{
        Clocks, Head, StoreError,
        file::{Exported, Exporting, Stopped},
    },
    policy::decide,
};

/// `posthaste store export`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  posthaste store export --since 7d --attempts attempts.ndjson\n  posthaste store export --store outbox.backup --format events | posthaste emit --lines"
)]
pub struct Args {
    /// Where to; a file is made and none replaced [default: standard output]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Events, with their payloads [default: events, deliveries and attempts]
    #[arg(long)]
    events: bool,
    /// Deliveries
    #[arg(long)]
    deliveries: bool,
    /// Attempts, with what came back
    #[arg(long)]
    attempts: bool,
    /// Of events accepted at this time or later, and attempts made then: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only this account's
    #[arg(long)]
    account: Option<AccountName>,
    /// The form of the lines
    #[arg(long, value_enum, default_value_t = Format::Records)]
    format: Format,
}

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As the API shows them, each with its `kind`
    Records,
    /// Events as `emit --lines` takes them: they can be handed in again
    Events,
}

/// Exports what is wanted.
pub(super) fn run(args: &Args, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let all = !(args.events || args.deliveries || args.attempts);
    let only_events = args.format == Format::Events;
    if only_events && (args.deliveries || args.attempts) {
        return Err(CliError::Usage(
            "--format events has events alone: leave --deliveries and --attempts out".to_owned(),
        ));
    }
    let wanted = Exporting {
        events: all || args.events || only_events,
        deliveries: (all || args.deliveries) && !only_events,
        attempts: (all || args.attempts) && !only_events,
        since: args.since.map_or(Timestamp::EPOCH, |since| since.resolve(screen.now)),
    };
    let path = args.place.path(screen)?;
    let bar = Bar::new(screen);
    let opened = Stopped::read(&path, bar.percent("putting in order what was not closed"));
    let opened = opened.map_err(|error| unusable(&path, &error))?;
    let failed = |error: StoreError| failed(&path, &error);
    let names = Names::read(&opened).map_err(failed)?;
    let lines = Lines { names, account: args.account.clone(), format: args.format, now: screen.now };
    let counts = match args.file.as_deref().filter(|file| *file != Path::new("-")) {
        None => {
            let counts = lines.write(&opened, wanted, screen.out, &bar);
            counts.map_err(|error| error.explain(&path, None))?
        }
        Some(file) => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
            let made = made.map_err(|error| not_made(file, error))?;
            let mut out = BufWriter::new(made);
            let counts = lines.write(&opened, wanted, &mut out, &bar);
            let counts = counts.map_err(|error| error.explain(&path, Some(file)))?;
            let synced =
                out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
            synced.map_err(|error| CliError::File { path: file.to_owned(), error })?;
            counts
        }
    };
    drop(bar);
    tell(counts, args, screen);
    Ok(())
}

fn not_made(file: &Path, error: io::Error) -> CliError {
    if error.kind() == io::ErrorKind::AlreadyExists {
        let message = format!("{} is there already: no file is replaced; name another", shown(file));
        return CliError::Store { exit: Exit::Data, message };
    }
    CliError::File { path: file.to_owned(), error }
}

fn tell(counts: Counts, args: &Args, screen: &mut Screen<'_>) {
    let Counts { lines, unreadable, left_out } = counts;
    if args.file.is_some() || screen.live {
        screen.note(&format!("{lines} lines"));
    }
    if unreadable > 0 {
        screen.note(&format!(
            "{unreadable} rows cannot be read and are not among them: see `posthaste store check`"
        ));
    }
    if left_out > 0 {
        screen.note(&format!(
            "{left_out} events are not among them: their payload is no JSON and they have a URL, a time before which they \
             are not sent, or another account than `default`, which no line can say together"
        ));
    }
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    lines: u64,
    unreadable: u64,
    left_out: u64,
}

/// Why not all could be written.
enum Failed {
    Store(StoreError),
    Output(io::Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failed {
    fn explain(self, store: &Path, file: Option<&Path>) -> CliError {
        match (self, file) {
            (Self::Store(error), _) => failed(store, &error),
            (Self::Output(error), Some(file)) => CliError::File { path: file.to_owned(), error },
            (Self::Output(error), None) => CliError::Output(error),
        }
    }
}

/// What ids and endpoints are called.
struct Names {
    id_key: IdKey,
    endpoints: HashMap<EndpointNumber, Endpoint>,
    clocks: Clocks,
}

impl Names {
    fn read(opened: &Stopped) -> Result<Self, StoreError> {
        let endpoints = opened.endpoints()?.into_iter().collect();
        Ok(Self { id_key: opened.id_key()?, endpoints, clocks: opened.clocks()? })
    }

    /// The endpoint's id and name; none of a callback.
    fn endpoint(&self, number: EndpointNumber) -> (Option<String>, Option<&str>) {
        let endpoint = self.endpoints.get(&number).filter(|endpoint| endpoint.origin().is_none());
        let id = endpoint.map(|endpoint| self.id_key.endpoint_id(endpoint.created_at, number).to_string());
        (id, endpoint.and_then(Endpoint::name))
    }
}

/// Makes the lines.
struct Lines {
    names: Names,
    account: Option<AccountName>,
    format: Format,
    now: Timestamp,
}

impl Lines {
    fn write(
        &self,
        opened: &Stopped,
        wanted: Exporting,
        out: &mut dyn Write,
        bar: &Bar,
    ) -> Result<Counts, Failed> {
        let mut counts = Counts::default();
        let unreadable = opened.export(wanted, |one| {
            if !self.is_of_account(&one) {
                return Ok(());
            }
            let line = match (self.format, one) {
                (Format::Events, Exported::Event(event)) => self.handed_in(event),
                (_, Exported::Event(event)) => Some(self.event(event)),
                (_, Exported::Delivery { key, head, delivery, callback }) => {
                    Some(to_line(&self.delivery(key, head, delivery, callback)))
                }
                (_, Exported::Attempt { attempt, accepted_at, .. }) => {
                    Some(self.attempt(attempt, accepted_at))
                }
            };
            match line {
                Some(line) => {
                    counts.lines += 1;
                    out.write_all(&line).map_err(Failed::Output)?;
                    bar.draw(|| format!("{} lines", counts.lines));
                }
                None => counts.left_out += 1,
            }
            Ok::<_, Failed>(())
        })?;
        out.flush().map_err(Failed::Output)?;
        Ok(Counts { unreadable, ..counts })
    }

    fn is_of_account(&self, one: &Exported<'_>) -> bool {
        let Some(wanted) = &self.account else { return true };
        match one {
            Exported::Event(event) => event.new.account == *wanted,
            Exported::Delivery { head, .. } => head.account == *wanted,
            Exported::Attempt { account, .. } => *account == Some(wanted),
        }
    }

    fn event(&self, event: &Event) -> Vec<u8> {
        let new = &event.new;
        let (data, data_base64) = payload(event);
        to_line(&EventLine {
            kind: "event",
            id: self.names.id_key.event_id(event.accepted_at, event.seq).to_string(),
            account: new.account.as_str(),
            event_type: new.event_type.as_str(),
            time: event.time(),
            accepted_at: event.accepted_at,
            not_before: new.not_before.map(|not_before| not_before.time(event.accepted_at)),
            clock_unset: event.clock_unset,
            uid: new.uid,
            producer_id: new.producer_id.as_deref(),
            url: new.url.as_deref(),
            key: new.key.as_deref(),
            effect: new.effect,
            content_type: new.content_type.as_ref().map_or(ContentType::JSON, ContentType::as_str),
            cloudevent: new.cloud.as_ref().map(CloudAttributes::values),
            data,
            data_base64,
        })
    }

    /// The event as it can be handed in again; `None`: there is no form that has all of it.
    fn handed_in(&self, event: &Event) -> Option<Vec<u8>> {
        let new = &event.new;
        let (data, data_base64) = payload(event);
        let at = new.not_before.map(|not_before| not_before.time(event.accepted_at));
        let at = at.filter(|at| *at > self.now);
        let id = self.names.id_key.event_id(event.accepted_at, event.seq).to_string();
        if data_base64.is_none() && new.cloud.is_none() {
            return Some(to_line(&HandedIn {
                event_type: new.event_type.as_str(),
                id: new.producer_id.as_deref().unwrap_or(&id),
                account: new.account.as_str(),
                time: event.time(),
                at,
                url: new.url.as_deref(),
                key: new.key.as_deref(),
                data,
            }));
        }
        // A CloudEvent says neither of these.
        if new.url.is_some()
            || at.is_some()
            || (new.account != AccountName::default() && self.account.is_none())
        {
            return None;
        }
        let mut attributes = new.cloud.as_ref().map(CloudAttributes::values).unwrap_or_default();
        let text = |text: &str| CloudValue::Text(text.to_owned());
        attributes.entry("source".to_owned()).or_insert_with(|| text("/posthaste/export"));
        attributes.entry("id".to_owned()).or_insert_with(|| text(new.producer_id.as_deref().unwrap_or(&id)));
        attributes.insert("specversion".to_owned(), text("1.0"));
        attributes.insert("type".to_owned(), text(new.event_type.as_str()));
        attributes.insert("time".to_owned(), text(&event.time().to_string()));
        if let Some(content_type) = &new.content_type {
            attributes.insert("datacontenttype".to_owned(), text(content_type.as_str()));
        }
        if let Some(key) = &new.key {
            attributes.insert("partitionkey".to_owned(), text(key));
        }
        Some(to_line(&CloudLine { attributes, data, data_base64 }))
    }

    fn delivery(&self, key: DeliveryKey, head: &Head, delivery: &Delivery, callback: Option<&str>) -> Value {
        let stored = self.names.endpoints.get(&delivery.endpoint);
        let mut delivery = *delivery;
        if delivery.state == State::Pending
            && let Some((reason, at)) = stored.and_then(|endpoint| endpoint.calls_off(key.seq))
        {
            // Its record is still to say so.
            delivery = decide::call_off(&delivery, reason, at);
        }
        let pending = delivery.state == State::Pending;
        let (endpoint_id, endpoint) = self.names.endpoint(delivery.endpoint);
        let id_key = &self.names.id_key;
        json!({
            "kind": "delivery",
            "id": id_key.delivery_id(head.accepted_at, key).to_string(),
            "event_id": id_key.event_id(head.accepted_at, key.seq).to_string(),
            "event_type": head.event_type,
            "account": head.account,
            "callback": callback.filter(|_| endpoint_id.is_none()),
            "endpoint_id": endpoint_id,
            "endpoint": endpoint,
            "status": delivery.state.status(),
            "reason": delivery.state.reason(),
            "attempt": delivery.attempt,
            "step": delivery.step,
            "due_at": pending.then(|| self.names.clocks.wall_of(delivery.due)),
            "ended_at": (!pending).then_some(delivery.due),
            "last_status_code": delivery.last_status,
            "accepted_at": head.accepted_at,
        })
    }

    fn attempt(&self, attempt: &Attempt, accepted_at: Option<Timestamp>) -> Vec<u8> {
        let (endpoint_id, endpoint) = self.names.endpoint(attempt.endpoint);
        let id_key = &self.names.id_key;
        let report = &attempt.report;
        to_line(&AttemptLine {
            kind: "attempt",
            delivery_id: accepted_at.map(|at| id_key.delivery_id(at, attempt.delivery).to_string()),
            event_id: accepted_at.map(|at| id_key.event_id(at, attempt.delivery.seq).to_string()),
            endpoint_id,
            endpoint,
            number: attempt.number,
            why: attempt.why,
            started_at: report.started_at,
            address: report.address.map(|address| address.to_string()),
            reconnected: report.reconnected,
            phases: api::phases(&report.phases),
            success: report.success,
            response: api::response(report),
        })
    }
}

#[derive(Serialize)]
struct EventLine<'a> {
    kind: &'static str,
    id: String,
    account: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    time: Timestamp,
    accepted_at: Timestamp,
    not_before: Option<Timestamp>,
    clock_unset: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    producer_id: Option<&'a str>,
    url: Option<&'a str>,
    key: Option<&'a str>,
    effect: Effect,
    content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloudevent: Option<BTreeMap<String, CloudValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

#[derive(Serialize)]
struct AttemptLine<'a> {
    kind: &'static str,
    delivery_id: Option<String>,
    event_id: Option<String>,
    endpoint_id: Option<String>,
    endpoint: Option<&'a str>,
    number: u32,
    why: Why,
    started_at: Timestamp,
    address: Option<String>,
    reconnected: bool,
    phases: BTreeMap<String, f64>,
    success: bool,
    response: ResponseView,
}

/// An event as `emit --lines` takes it.
#[derive(Serialize)]
struct HandedIn<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    id: &'a str,
    account: &'a str,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    data: Option<Box<RawValue>>,
}

/// The same, as a CloudEvent.
#[derive(Serialize)]
struct CloudLine {
    #[serde(flatten)]
    attributes: BTreeMap<String, CloudValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// The payload as JSON, if it is JSON, or in base64. Between its values a line's end is written as a blank: it would be
/// the end of the line.
fn payload(event: &Event) -> (Option<Box<RawValue>>, Option<String>) {
    let new = &event.new;
    let json = new.content_type.as_ref().is_none_or(ContentType::is_json);
    let text = json.then(|| String::from_utf8(new.data.to_vec()).ok()).flatten();
    let text =
        text.map(|text| if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text });
    match text.and_then(|text| RawValue::from_string(text).ok()) {
        Some(data) => (Some(data), None),
        None => (None, Some(STANDARD.encode(&new.data))),
    }
}

fn to_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("texts and numbers are JSON");
    line.push(b'\n');
    line
}
