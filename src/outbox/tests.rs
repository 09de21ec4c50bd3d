//! The store against a simple model, its thread under faults, and its file in every condition.

mod backend;
mod crash;
mod file;
mod forgetting;
mod jobs;
mod keys;
mod model;
mod opening;
mod order;
mod origins;
mod parked;
mod random;
mod recover;
mod tables;
mod tenants;
mod turns;
mod writing;

use std::{error::Error, fmt::Write as _, future::Future, path::Path, time::Duration};

use bytes::Bytes;

use redb::ReadableTableMetadata as _;

use super::{
    Addressed, Batch, Entry, Motion, OpenError, Opened, Options, Outbox, Room, Routed, Settle,
    database::Shared,
    schema::{ATTEMPTS, EVENTS, HISTORY, PENDING},
};
use crate::model::{
    account::AccountName,
    attempt::{Failure, FailureKind, Fingerprint, Outcome, Phases, Report, Response, Why},
    delivery::{Delivery, DeliveryKey, State},
    endpoint::EndpointNumber,
    event::{NewEvent, Seq},
    time::{Mark, Timestamp},
};

const ID_KEY: [u8; 16] = *b"sixteen bytes ok";

pub(super) fn options() -> Options {
    Options {
        cache: 4 << 20,
        quick_repair: false,
        settle_delay: Duration::ZERO,
        dedup_window: Duration::from_secs(60),
        dedup_entries: 1_000,
        pending_per_endpoint: 1_000,
        max_size: 1 << 40,
        reserve: 0,
        in_flight: 1,
    }
}

fn open(path: &Path, options: &Options) -> Result<Opened, OpenError> {
    Outbox::open(path, options, ID_KEY, &Motion::default(), |_| {})
}

/// Room without end, on no disk.
fn room() -> Room {
    Room::beside(Path::new("/nowhere/store.redb"), &Options { max_size: u64::MAX, ..options() })
}

/// How many bytes of rows there are, as redb says that has gone through all of them.
fn stored_bytes(database: &Shared) -> u64 {
    let txn = database.begin_read().expect("a reader");
    let of_one = |table| txn.open_table(table).and_then(|table| Ok(table.stats()?.stored_bytes()));
    [EVENTS, PENDING, HISTORY, ATTEMPTS].map(|table| of_one(table).expect("it is gone through")).iter().sum()
}

/// Waits for a future; the store's futures need no runtime's drivers.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// An error with what is behind it, as people see it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        write!(text, ": {error}").expect("a String takes all");
        next = error.source();
    }
    text
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// What a wall clock says at `now`, and whether it is unset: always the same then.
fn wall(now: Timestamp) -> (Timestamp, bool) {
    let mut random = fastrand::Rng::with_seed(now.as_millis());
    let unset = random.u8(..8) == 0;
    (if unset { at(random.u64(..500)) } else { now }, unset)
}

/// How the clocks stand at `now`, where that is to be written.
fn mark(now: Timestamp) -> Option<Mark> {
    let mark = Mark { schedule: at(now.as_millis() / 2), wall: wall(now).0, greatest: now };
    now.as_millis().is_multiple_of(3).then_some(mark)
}

fn event(producer_id: Option<&str>, data: &'static str) -> NewEvent {
    NewEvent {
        producer_id: producer_id.map(str::to_owned),
        ..NewEvent::new(
            AccountName::default(),
            "a.b".parse().expect("a type"),
            Bytes::from_static(data.as_bytes()),
        )
    }
}

/// A batch of one event with one delivery, to endpoint 1.
fn batch(producer_id: Option<&str>, data: &'static str) -> Batch {
    let deliveries = vec![Addressed { endpoint: EndpointNumber::new(1), due: at(5), entry: Entry::Never }];
    Batch {
        at: at(1),
        age: at(1),
        clock_unset: false,
        events: vec![Routed { event: event(producer_id, data), deliveries, callback: None }],
        file: None,
        room: None,
    }
}

fn report(started_at: Timestamp) -> Report {
    Report {
        started_at,
        fingerprint: None,
        signature: String::new(),
        signatures: String::new(),
        address: None,
        reconnected: false,
        phases: Phases::default(),
        success: false,
        outcome: Outcome::Failure(Failure { kind: FailureKind::Connect, message: "refused".to_owned() }),
    }
}

/// A failed attempt, or an answer whose body has fewer than `most` bytes.
fn random_report(random: &mut fastrand::Rng, started_at: Timestamp, most: usize) -> Report {
    let mut report = report(started_at);
    // One draw for both: the seeds of the crash tests are chosen for what comes of them.
    report.success = random.bool();
    report.fingerprint = report.success.then(|| Fingerprint::new(u64::MAX / 3));
    if random.bool() {
        report.outcome = Outcome::Response(Response {
            status: 500,
            headers: vec![("server".to_owned(), "x".to_owned())],
            body: vec![0; random.usize(..most)],
            body_truncated: random.bool(),
            body_error: None,
        });
    }
    report
}

/// The success of the first delivery of event `seq`.
fn success(seq: u64) -> Settle {
    let mut delivery = Delivery::pending(EndpointNumber::new(1), at(5));
    delivery.state = State::Succeeded;
    delivery.attempt = 1;
    Settle {
        key: DeliveryKey { seq: Seq::new(seq), slot: 0 },
        delivery,
        attempt: Some((Why::Schedule, Box::new(report(at(6))))),
        count: None,
    }
}
