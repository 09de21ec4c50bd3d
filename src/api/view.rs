//! The API's wire types: what goes over the socket as JSON, for the daemon that writes it and the CLI that reads it.
//!
//! Never the store's rows: those may change without a word, these are the contract.

mod account;
mod endpoint;
mod job;
mod key;
mod reload;

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{
    account::AccountName,
    attempt::{FailureKind, Why},
    cloud::CloudValue,
    content::ContentType,
    delivery::Status,
    endpoint::DisableReason,
    event::{Effect, EventType},
    id::{DeliveryId, EndpointId, EventId, KeyId},
    time::Timestamp,
};

pub use self::account::{
    AccountDetailsView, AccountSecretView, AccountView, DeletedAccount, KnownTypeView, MadeAccount,
};
pub use self::endpoint::{
    DeletedEndpoint, EnabledEndpoint, MadeEndpoint, SecretView, SecretsView, ShownSecret, TestView,
};
pub use self::job::{JobView, ProgressView};
pub use self::key::{KeyView, MadeKey, RevokedKey};
pub use crate::ingest::answer::{Accepted, Answer, ErrorView, Refused};

/// The answer to a batch: one [`Answer`] for each event, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerList {
    /// The answers.
    pub items: Vec<Answer>,
}

/// An RFC 9457 problem document (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:posthaste:problem:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status's name.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do.
    pub detail: String,
    /// The stable word at the end of `type`.
    pub code: String,
    /// The request's id, as the answer's `X-Request-Id` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Of `invalid_configuration`: each thing that is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ReloadErrorView>,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The page's items; may be fewer than asked for, or none, and still not the end.
    pub items: Vec<T>,
    /// Give this as `cursor` to go on; `null` at the end.
    pub next_cursor: Option<String>,
}

/// An event in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventItem {
    /// The event.
    pub id: EventId,
    /// Whose it is.
    pub account: AccountName,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Bytes of its payload.
    pub size: u64,
    /// How many of its deliveries are in which status.
    pub deliveries: StatusCounts,
}

/// How many deliveries are in which status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCounts {
    /// An attempt is to come.
    pub pending: u64,
    /// An attempt succeeded.
    pub succeeded: u64,
    /// No attempt will come.
    pub failed: u64,
    /// Called off.
    pub cancelled: u64,
}

impl StatusCounts {
    /// Counts one more.
    pub const fn add(&mut self, status: Status) {
        match status {
            Status::Cancelled => self.cancelled += 1,
            Status::Failed => self.failed += 1,
            Status::Pending => self.pending += 1,
            Status::Succeeded => self.succeeded += 1,
        }
    }
}

/// One event, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventDetail {
    /// The event.
    pub id: EventId,
    /// Whose it is.
    pub account: AccountName,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When it happened, as the producer says; else when it was accepted.
    pub time: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Before when nothing of it is sent, if its producer said so.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// The clock was not set then.
    #[serde(default)]
    pub clock_unset: bool,
    /// The user who handed it in, for operators: who connected, or whose the file was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The producer's own id.
    pub producer_id: Option<String>,
    /// Where it goes besides the endpoints that match, if its producer said so.
    #[serde(default)]
    pub url: Option<String>,
    /// Among which of an endpoint's deliveries those of it keep the order, where they keep one.
    #[serde(default)]
    pub key: Option<String>,
    /// What its account's catalog said of its type.
    #[serde(default)]
    pub effect: Effect,
    /// What its payload is.
    #[serde(default = "json_type")]
    pub content_type: String,
    /// Of a CloudEvent `source`, `id` and whatever else it said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloudevent: Option<BTreeMap<String, CloudValue>>,
    /// Its payload, as it was handed in, if it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// Its payload in base64, if it is no JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryItem>,
}

/// What a daemon that says nothing of content types has taken.
fn json_type() -> String {
    ContentType::JSON.to_owned()
}

/// An event type of an account's catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTypeView {
    /// The type.
    pub name: EventType,
    /// What it belongs to.
    pub groups: Vec<String>,
    /// What it says; may be empty.
    pub description: String,
    /// Whether its events are delivered.
    pub effect: Effect,
    /// How many of its events were accepted since the daemon's start.
    pub accepted: u64,
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryItem {
    /// The delivery; the receiver's key for deduplication.
    pub id: DeliveryId,
    /// Its event.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// Whose it is.
    pub account: AccountName,
    /// To whom; `null` for a callback.
    pub endpoint_id: Option<EndpointId>,
    /// The endpoint's name in the configuration; `null` for one made over the API, and for a callback.
    pub endpoint: Option<String>,
    /// The URL of a callback; `null` for what goes to an endpoint.
    #[serde(default)]
    pub callback: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// Why it ended, when it did not succeed.
    pub reason: Option<String>,
    /// What a pending delivery waits for: `due`, `turn`, `order`, `rate`, `circuit`, `clock`, `in_flight`
    /// or `disabled`.
    pub waiting: Option<Waiting>,
    /// How many requests were made.
    pub attempt: u32,
    /// How many attempts of its schedule have failed.
    pub step: u8,
    /// When the next attempt is due, while pending.
    pub due_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The HTTP status of the last attempt.
    pub last_status_code: Option<u16>,
    /// When its event was accepted.
    pub accepted_at: Timestamp,
}

/// What a pending delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A success of its endpoint, whose circuit is open; one at a time is tried.
    Circuit,
    /// The clock, which is not set.
    Clock,
    /// Its endpoint is disabled.
    Disabled,
    /// Its due time.
    Due,
    /// The end of an attempt that is being made.
    InFlight,
    /// The end of another that comes before it.
    Order,
    /// Its turn by its endpoint's rate.
    Rate,
    /// A free place at its endpoint.
    Turn,
}

impl Waiting {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Circuit => "circuit",
            Self::Clock => "clock",
            Self::Disabled => "disabled",
            Self::Due => "due",
            Self::InFlight => "in_flight",
            Self::Order => "order",
            Self::Rate => "rate",
            Self::Turn => "turn",
        }
    }
}

/// One delivery, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryDetail {
    /// What lists show.
    #[serde(flatten)]
    pub item: DeliveryItem,
    /// What its template fails with, of one that failed as `template`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Every attempt, oldest first; of many, the newest.
    pub attempts: Vec<AttemptView>,
    /// There were attempts before the first of these.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attempts_truncated: bool,
}

/// Why those who are no operators see neither the request nor the address of an attempt.
pub const NOT_ALLOWED: &str = "it is for operators alone";

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Its number among the delivery's attempts, from 1.
    pub number: u32,
    /// Why it was made when it was made.
    pub why: Why,
    /// When it began.
    pub started_at: Timestamp,
    /// The address dialled.
    pub address: Option<SocketAddr>,
    /// A pooled connection had gone stale and was replaced.
    pub reconnected: bool,
    /// Milliseconds by phase: `resolve`, `connect`, `tls`, `headers`, `body`, `total`, those that happened.
    pub phases: BTreeMap<String, f64>,
    /// What was sent, secrets masked; `null` where the endpoint would not make the same request today.
    pub request: Option<RequestView>,
    /// Why `request` is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_note: Option<String>,
    /// What came back.
    pub response: ResponseView,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// The URL.
    pub url: String,
    /// The headers, secrets masked.
    pub headers: BTreeMap<String, String>,
    /// The beginning of the body, at most 16 KiB of it, as `body_encoding` says; `null` where it cannot be made again.
    #[serde(default)]
    pub body: Option<String>,
    /// `base64`, of a body that is no UTF-8; else it is as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_encoding: Option<String>,
    /// The body went on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub body_truncated: bool,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseView {
    /// The HTTP status; `null` without an answer.
    pub status_code: Option<u16>,
    /// `200 OK`; without an answer the kind of failure: `timeout`, `connect`, `local`, `proxy`, `tls`, `resolve`,
    /// `refused`, `protocol`.
    pub status: String,
    /// The answer's headers.
    pub headers: Vec<(String, String)>,
    /// The beginning of the answer's body, bytes that are no UTF-8 replaced.
    pub body: String,
    /// The body went on.
    pub body_truncated: bool,
    /// In a sentence.
    pub message: String,
    /// The kind of failure, where no answer came.
    pub failure: Option<FailureKind>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Its id: the same for as long as it is there; of a configured one, as long as account and name are.
    pub id: EndpointId,
    /// Whose it is.
    pub account: AccountName,
    /// Its name in the configuration; `null` for one made over the API.
    pub name: Option<String>,
    /// What somebody has written down about it.
    pub description: Option<String>,
    /// Where deliveries go; `null` when it is no longer configured.
    pub url: Option<String>,
    /// What it subscribes to.
    pub event_types: Vec<String>,
    /// How its webhooks look and behave.
    pub profile: Option<String>,
    /// It names its profile itself; else it has its account's.
    pub own_profile: bool,
    /// Headers that are sent besides the profile's, values masked.
    pub headers: BTreeMap<String, String>,
    /// It is not disabled.
    pub enabled: bool,
    /// Why it is disabled.
    pub disabled_reason: Option<DisableReason>,
    /// Since when it is disabled.
    pub disabled_since: Option<Timestamp>,
    /// When it was made, or first configured.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Attempts without success in a row.
    pub consecutive_failures: u32,
    /// How it has done lately.
    #[serde(default)]
    pub health: HealthView,
    /// Its circuit, while that is open; `null`: it is closed.
    pub circuit: Option<CircuitView>,
    /// Deliveries that are pending.
    pub pending: u64,
    /// Of these, being attempted.
    pub in_flight: u64,
    /// Where it comes from: `configuration`, or `api` where it can be changed and deleted.
    pub owner: String,
}

/// How an endpoint has done lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthView {
    /// From when on is counted: the beginning of an hour, 23 to 24 hours ago.
    pub since: Timestamp,
    /// Attempts since then.
    pub attempts: u32,
    /// Of these, successes.
    pub successes: u32,
    /// The part of them, from 0 to 1; `null`: none was made.
    pub success_rate: Option<f64>,
    /// When the last attempt began that was a success.
    pub last_success_at: Option<Timestamp>,
    /// When the last attempt began that was none.
    pub last_failure_at: Option<Timestamp>,
    /// When the event of the oldest pending delivery was accepted; `null`: nothing is pending, or it is not known, as too much of
    /// others is before it and too much behind it.
    pub oldest_pending_at: Option<Timestamp>,
}

/// An endpoint's circuit that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitView {
    /// Since when.
    pub open_since: Timestamp,
    /// How many probes have failed since.
    pub failed_probes: u32,
    /// When the next probe may begin; in the past while it is being made, or nothing is due that it could be made with.
    pub next_probe_at: Timestamp,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The daemon's version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// `starting` (the backlog is being read), `running` or `stopping`.
    pub state: DaemonState,
    /// Who asks.
    #[serde(default)]
    pub you: Option<YouView>,
    /// How the clock stands, while it is not set.
    #[serde(default)]
    pub clock_unset: Option<ClockView>,
    /// Why no event is taken, if none is.
    #[serde(default)]
    pub door: DoorView,
    /// What only operators are shown.
    #[serde(flatten)]
    pub inside: Option<InsideView>,
}

/// Who asks, as the socket has judged them, or their key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct YouView {
    /// The user; `null`: somebody with a key.
    pub uid: Option<u32>,
    /// The key; `null`: somebody at the socket.
    #[serde(default)]
    pub key: Option<KeyId>,
    /// `operator`, `producer` or `subscriber`.
    pub role: String,
    /// The only account that they may touch; `null`: any.
    pub account: Option<AccountName>,
    /// The number of the `[[access]]` rule that says so, from 1; `null`: none does.
    pub rule: Option<usize>,
}

/// What of [`StatusView`] is for operators alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InsideView {
    /// Events and deliveries since the start, by what became of them.
    pub since_start: Counters,
    /// Pending deliveries by what they wait for.
    pub pending: PendingView,
    /// When the oldest event with a pending delivery was accepted.
    pub oldest_pending: Option<Timestamp>,
    /// The endpoints that are disabled.
    pub disabled_endpoints: Vec<DisabledView>,
    /// The endpoints whose circuit is open.
    #[serde(default)]
    pub open_circuits: Vec<OpenCircuitView>,
    /// What all attempts share, or all that go through the proxy, and is down.
    #[serde(default)]
    pub outages: Vec<OutageView>,
    /// The callbacks.
    #[serde(default)]
    pub callbacks: CallbacksView,
    /// The store.
    pub store: StoreView,
    /// The producers' ids that are remembered.
    #[serde(default)]
    pub ids: IdsView,
    /// The spool directories.
    pub spools: Vec<SpoolView>,
    /// The configuration that the daemon runs with.
    #[serde(default)]
    pub configuration: ConfigurationView,
}

pub use self::reload::{ConfigurationView, ReloadErrorView, ReloadFailedView, ReloadedView};

/// The producers' ids that are remembered: an event whose id is among them is not taken again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdsView {
    /// How many.
    pub remembered: u64,
    /// For how long they are to be, `[store] dedup_window`.
    pub window: String,
    /// For how long they are: less than the window where `[store] dedup_entries` cuts it short.
    pub window_held: String,
    /// It does.
    pub cut_short: bool,
}

/// What the daemon is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaemonState {
    /// All is read, all is accepted.
    Running,
    /// Events are accepted, the backlog is still being read.
    Starting,
    /// No event is accepted, attempts in flight come to their end.
    Stopping,
}

/// Counters since the daemon's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Events accepted.
    pub accepted: u64,
    /// Events that were known already.
    pub duplicates: u64,
    /// Events refused.
    pub refused: u64,
    /// Requests made.
    pub attempts: u64,
    /// Deliveries that succeeded.
    pub succeeded: u64,
    /// Deliveries that failed.
    pub failed: u64,
}

/// Pending deliveries. The parts count what the engine has in memory at this moment: what has just been accepted, or is
/// on its way to the disk with its outcome, is in the total alone; what has expired while it was held may still be in a
/// part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingView {
    /// All of them.
    pub total: u64,
    /// Due at a later time.
    pub due: u64,
    /// Due, waiting for a free place or an endpoint that is disabled.
    pub turn: u64,
    /// Behind another that comes before them in their order.
    #[serde(default)]
    pub order: u64,
    /// Due at a later time or waiting, and on disk alone because `[limits] keys_in_memory` is used up. Counts rows: those
    /// of deliveries that have ended meanwhile are among them until their turn comes.
    pub parked: u64,
    /// Being attempted; never more than `[limits] in_flight`.
    pub in_flight: u64,
}

/// A disabled endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisabledView {
    /// Which.
    pub id: EndpointId,
    /// Its name in the configuration; `null` for one made over the API.
    pub name: Option<String>,
    /// Why.
    pub reason: DisableReason,
    /// Since when.
    pub since: Timestamp,
    /// What to do about it.
    pub help: String,
}

/// Callbacks, all of them together: where they go is the producers' choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbacksView {
    /// The origins (scheme, host and port) that are remembered.
    pub origins: u64,
    /// Of these, those whose circuit is open.
    pub open_circuits: u64,
    /// Their deliveries that are pending.
    pub pending: u64,
    /// The accounts whose callbacks are held.
    pub held: Vec<HeldCallbacksView>,
}

/// An account whose callbacks are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldCallbacksView {
    /// Which.
    pub account: AccountName,
    /// Why.
    pub reason: DisableReason,
    /// Deliveries that wait for this.
    pub pending: u64,
    /// What to do about it.
    pub help: String,
}

/// A clock that is not set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockView {
    /// What it says.
    pub time: Timestamp,
    /// It was later than this already.
    pub known: Timestamp,
    /// What to do about it.
    pub help: String,
}

/// An endpoint whose circuit is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCircuitView {
    /// Which.
    pub id: EndpointId,
    /// Its name in the configuration.
    pub name: String,
    /// Its circuit.
    #[serde(flatten)]
    pub circuit: CircuitView,
}

/// What attempts share, and is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageView {
    /// `local`, the box itself, or `proxy`: as the `failure` of the attempts that it fails.
    pub what: String,
    /// Its probes: what it shares with a circuit.
    #[serde(flatten)]
    pub circuit: CircuitView,
    /// What to do about it.
    pub help: String,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreView {
    /// Where it is.
    pub path: String,
    /// The file's length in bytes.
    pub size: u64,
    /// Bytes of rows in it: events, their deliveries and their attempts.
    #[serde(default)]
    pub rows: u64,
    /// With so many of them no event is taken.
    #[serde(default)]
    pub max_size: u64,
    /// The file that is given up when the disk is full.
    #[serde(default)]
    pub reserve: ReserveView,
    /// The daemon that had it before did not close it.
    pub unclean_start: bool,
    /// What goes when.
    #[serde(default)]
    pub retention: Option<RetentionView>,
}

/// How long events are kept, and what was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionView {
    /// How long those are kept whose deliveries all succeeded, `[store] retention`.
    pub retention: String,
    /// How long others are, `[store] retention_failed`.
    pub retention_failed: String,
    /// The accounts that have others.
    pub accounts: Vec<AccountRetentionView>,
    /// When the oldest event was accepted that is kept.
    pub oldest_event: Option<Timestamp>,
    /// When the next goes, as far as that is known: one that is pending goes after it has ended.
    pub next_at: Option<Timestamp>,
    /// When it was last looked for what is old.
    pub last_run_at: Option<Timestamp>,
    /// What has gone since the start.
    pub forgotten: ForgottenView,
    /// There is more to forget than has been come by.
    pub behind: bool,
    /// Why nothing is forgotten at the moment: `clock_unset` or `disk_full`.
    pub held: Option<String>,
}

/// How long an account's events are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRetentionView {
    /// The account.
    pub account: AccountName,
    /// As in [`RetentionView`].
    pub retention: String,
    /// As there.
    pub retention_failed: String,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenView {
    /// Events.
    pub events: u64,
    /// Their rows, and those of their deliveries and attempts.
    pub rows: u64,
    /// Of so many bytes.
    pub bytes: u64,
}

/// The file beside the store that is given up when the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveView {
    /// How large it is to be; 0: there is none.
    pub size: u64,
    /// It is there, as large as it is to be.
    pub present: bool,
}

/// Whether events are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorView {
    /// They are.
    pub open: bool,
    /// Why they are not: the code of the refusals, `disk_full` or `store_full`.
    pub reason: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// No attempt is begun either: there is no room for its outcome.
    #[serde(default)]
    pub attempts_held: bool,
    /// What to do about it.
    pub help: Option<String>,
}

impl Default for DoorView {
    fn default() -> Self {
        Self { open: true, reason: None, since: None, attempts_held: false, help: None }
    }
}

/// A spool directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolView {
    /// Where it is.
    pub path: String,
    /// Files taken since the start.
    pub taken: u64,
    /// Files moved to `failed/` since the start.
    pub failed: u64,
    /// Files in `failed/` now, give or take what happened there in the last half minute.
    pub in_failed: u64,
    /// The system tells of new files; if not, they are found by looking at the whole directory from time to time.
    pub watching: bool,
    /// Why nothing can be taken at the moment, if so.
    pub problem: Option<String>,
}
