//! One attempt, as a task: read the row, make the request, say what came of it. What follows is the engine's.

use std::{panic::resume_unwind, pin::pin, sync::Arc};

use bytes::Bytes;
use http::Uri;
use tokio::{
    sync::{Semaphore, watch},
    task,
};
use url::Url;

use super::{
    Stop,
    directory::Target,
    memory::{Memory, Taken},
    settings::Active,
    step_back,
};
use crate::{
    clock::Clock,
    delivery::{
        client::path_and_query,
        exchange::{Exchange, Request},
        request::{PrepareError, Prepared, headers_again, prepare},
        sign::Signatures,
    },
    model::{
        attempt::{Attempt, AttemptRow, Failure, FailureKind, Outcome, Phases, Report, Why},
        delivery::{CancelReason, Delivery, DeliveryKey, State},
        event::{Event, Seq},
        id::IdKey,
        time::Timestamp,
    },
    outbox::{Outbox, Reader, StoreError},
    policy::{facts::Facts, form::Form, placeholder::Placeholder, template::RenderError},
    scheduler::Start,
};

/// Payloads up to so many bytes are read where the attempt runs: some ten microseconds. Larger ones would keep others
/// from running.
const INLINE: u32 = 64 << 10;
/// So many bodies are made at once of those that take their time.
const COOKS: usize = 2;
/// A body may be so much longer than its payload without further room: an envelope is.
const SLACK: usize = 4 << 10;

/// What every attempt needs to know; they share it.
pub(super) struct Surroundings {
    pub(super) outbox: Outbox,
    pub(super) clock: Clock,
    pub(super) crash: Crash,
    /// The room for payloads.
    pub(super) memory: Memory,
    /// Where bodies are made that take their time.
    pub(super) kitchen: Kitchen,
}

/// Where bodies are made that take their time: on threads of their own, few at once. Clones share them.
#[derive(Clone)]
pub struct Kitchen(Arc<Semaphore>);

impl Default for Kitchen {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(COOKS)))
    }
}

impl Kitchen {
    /// Does something that takes its time, when it is its turn.
    pub async fn make<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = Arc::clone(&self.0).acquire_owned().await.expect("the semaphore is never closed");
        // The turn is over when the work is, also where nobody waits for it any more.
        let made = task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        match made.await {
            Ok(made) => made,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is going away, and what waits for this with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// What the start knows of the end before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    /// The daemon before did not close the store.
    pub(super) unclean: bool,
    /// The schedule's time when this one started.
    pub(super) started_at: Timestamp,
    /// Events up to this one were accepted before.
    pub(super) last_seq: Seq,
    /// Attempts before this row were made before.
    pub(super) first_attempt: AttemptRow,
}

impl Crash {
    /// Why an attempt of `delivery` is made. One that this run has not tried, and that was due before an unclean start,
    /// may have been made already, its outcome lost: to know that matters more than that it is a probe, and so does that
    /// somebody wanted it.
    fn why(&self, key: DeliveryKey, delivery: &Delivery, probe: bool) -> Why {
        let ours = delivery.last_attempt.is_some_and(|row| row >= self.first_attempt);
        let before = key.seq <= self.last_seq && delivery.due <= self.started_at;
        match () {
            () if self.unclean && before && !ours => Why::AfterCrash,
            () if delivery.replayed => Why::Replay,
            () if probe => Why::Probe,
            () if delivery.asked => Why::RetryAfter,
            () => Why::Schedule,
        }
    }
}

/// What came of a start.
#[derive(Debug)]
pub(super) enum Ended {
    /// A request was made, or could not be; under which profile.
    Attempted { before: Delivery, why: Why, report: Box<Report>, form: Arc<Form> },
    /// Its endpoint has called it off, at this time.
    CalledOff { before: Delivery, reason: CancelReason, at: Timestamp },
    /// Its time is up: no request was made.
    Expired { before: Delivery },
    /// It has ended already; or it was replayed since this start was scheduled, and keeps an order in which it is not first.
    NotPending,
    /// Its row says a later time, or no attempt begins any more.
    NotDue { due: Timestamp },
    /// Its endpoint is paused, or lacks something.
    NoTarget { due: Timestamp },
    /// The body's template failed.
    Template { before: Delivery, accepted_at: Timestamp, error: RenderError },
    /// It could not be read; when its event was accepted, where that could.
    Store { accepted_at: Option<Timestamp>, error: StoreError },
}

/// How an attempt is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Its endpoint's last attempt failed.
    pub(super) doubtful: bool,
    /// Others begin with it, as far as can be told.
    pub(super) crowded: bool,
}

/// Makes the attempt `start`, of a delivery whose state is in `view`, to `target`. One that has not begun to send when `stop`
/// says so does not begin.
pub(super) async fn attempt(
    start: Start,
    view: Arc<Reader>,
    target: Arc<Target>,
    How { doubtful, crowded }: How,
    around: Arc<Surroundings>,
    stop: Arc<watch::Receiver<Stop>>,
) -> Ended {
    let (key, now) = (start.key, around.clock.now());
    let (brief, before) = match view.delivery(key) {
        Ok(Some(found)) => found,
        Ok(None) => return Ended::NotPending,
        Err(error) => return Ended::Store { accepted_at: None, error },
    };
    if before.state != State::Pending {
        return Ended::NotPending;
    }
    match view.is_first(key, &before) {
        Ok(true) => {}
        Ok(false) => return Ended::NotPending,
        Err(error) => return Ended::Store { accepted_at: Some(brief.accepted_at), error },
    }
    if before.called_off {
        // The attempt during which that was said was cut off.
        return Ended::CalledOff { before, reason: CancelReason::Operator, at: around.clock.wall() };
    }
    if let Some((reason, at)) = target.stored.calls_off(key.seq) {
        return Ended::CalledOff { before, reason, at };
    }
    if target.expire().is_some_and(|expire| before.expires(expire) <= now) {
        return Ended::Expired { before };
    }
    let Some((active, _)) = target.ready() else {
        return Ended::NoTarget { due: before.due };
    };
    if before.due > now {
        return Ended::NotDue { due: before.due };
    }
    if *stop.borrow() != Stop::Run {
        return Ended::NotDue { due: before.due };
    }
    // Room first, then the payload; as a rule both are there at once.
    let mut at_once = around.memory.try_take(brief.size, doubtful);
    let mut read = at_once.as_ref().filter(|_| brief.size <= INLINE).map(|_| read_event(key.seq, &view));
    drop(view);
    let why = around.crash.why(key, &before, start.probe);
    let identity = Identity { key, accepted_at: brief.accepted_at, number: before.attempt.saturating_add(1) };
    let id_key = around.outbox.id_key();
    let mut size = brief.size;
    loop {
        // What is rare and takes much room while it waits is in a box: or every attempt would carry room for it.
        let room = match at_once.take() {
            Some(room) => Some(room),
            None => Box::pin(unless_stopped(&stop, around.memory.take(size, doubtful))).await,
        };
        let Some(_room) = room else { return Ended::NotDue { due: before.due } };
        let event = match read.take() {
            Some(event) => event,
            None => Box::pin(load_event(key.seq, brief.size, &around.outbox)).await,
        };
        let event = match event {
            Ok(event) => event,
            Err(error) => return Ended::Store { accepted_at: Some(brief.accepted_at), error },
        };
        let made = if takes_its_time(&event, &target) {
            let made = cook(&identity, &event, &target, (around.clock, id_key), &around.kitchen);
            // It may wait for its turn for long.
            Box::pin(unless_stopped(&stop, made)).await
        } else {
            Some(make(&identity, &event, &target, around.clock, id_key))
        };
        let ready = match made {
            Some(Ok(ready)) => ready,
            Some(Err(error)) => return Ended::Template { before, accepted_at: brief.accepted_at, error },
            None => return Ended::NotDue { due: before.due },
        };
        drop(event);
        // Who waited for more and held this could wait for others that do the same: it begins anew, with room for all.
        let Ok(_more) = more_room(&ready, &mut size, doubtful, &around.memory) else { continue };
        if crowded {
            // The others make their requests first: then all are sent, without what makes them in between, which would
            // push the system's way of sending out of the processor's caches.
            step_back().await;
        }
        // The body may have taken its time.
        if *stop.borrow() != Stop::Run {
            return Ended::NotDue { due: before.due };
        }
        let sent = pin!(ready.send(active)).await;
        let report = Box::new(ready.report(active, sent));
        return Ended::Attempted { before, why, report, form: Arc::clone(&active.form) };
    }
}

/// What `work` comes to, or nothing once no attempt is to begin any more, also when nobody is left to say so.
async fn unless_stopped<T>(stop: &watch::Receiver<Stop>, work: impl Future<Output = T>) -> Option<T> {
    let mut stop = stop.clone();
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = stop.wait_for(|stop| *stop != Stop::Run) => None,
    }
}

/// Room for a body that is longer than the `size` for which there is room already. If there is none at once, `size` is
/// what it takes.
fn more_room<'a>(
    ready: &Ready,
    size: &mut u32,
    doubtful: bool,
    memory: &'a Memory,
) -> Result<Option<Taken<'a>>, ()> {
    let more = ready.body_length().saturating_sub(usize::try_from(*size).unwrap_or(usize::MAX));
    if more <= SLACK {
        return Ok(None);
    }
    let more = u32::try_from(more).unwrap_or(u32::MAX);
    memory.try_take(more, doubtful).map(Some).ok_or_else(|| *size = size.saturating_add(more))
}

/// Reads an event; a large one where it may take its time.
async fn load_event(seq: Seq, size: u32, outbox: &Outbox) -> Result<Event, StoreError> {
    let read = move |outbox: &Outbox| read_event(seq, &outbox.read()?);
    if size <= INLINE {
        return read(outbox);
    }
    let outbox = outbox.clone();
    match task::spawn_blocking(move || read(&outbox)).await {
        Ok(event) => event,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(StoreError::Stopped),
        },
    }
}

fn read_event(seq: Seq, reader: &Reader) -> Result<Event, StoreError> {
    let missing = StoreError::Row { table: "events", key: seq.get() };
    reader.event(seq)?.ok_or(missing)
}

/// Which attempt of which delivery.
#[derive(Clone, Copy)]
struct Identity {
    key: DeliveryKey,
    accepted_at: Timestamp,
    number: u32,
}

/// A request that can be sent, or an attempt that has failed for want of one.
struct Ready {
    started_at: Timestamp,
    /// The request, or why it cannot be made.
    made: Result<Made, String>,
}

/// A request and what of it is recorded.
struct Made {
    request: Request,
    signatures: Signatures,
}

impl Ready {
    fn body(&self) -> Bytes {
        self.made.as_ref().map(|made| made.request.body.clone()).unwrap_or_default()
    }

    fn body_length(&self) -> usize {
        self.made.as_ref().map_or(0, |made| made.request.body.len())
    }

    /// Sends the request, and says what came of it; or why there is none.
    async fn send(&self, active: &Active) -> Result<Exchange, String> {
        let request = &self.made.as_ref().map_err(Clone::clone)?.request;
        let profile = active.form.profile();
        let attempt = pin!(active.lane.attempt(request, |status| profile.is_success(status)));
        Ok(attempt.await)
    }

    /// What is recorded when it has been `sent`.
    fn report(self, active: &Active, sent: Result<Exchange, String>) -> Report {
        let exchange = match sent {
            Ok(exchange) => exchange,
            Err(message) => return unsent(self.started_at, message),
        };
        let signatures = self.made.map(|made| made.signatures).unwrap_or_default();
        Report {
            started_at: self.started_at,
            fingerprint: Some(active.fingerprint),
            signature: signatures.newest,
            signatures: signatures.all,
            address: exchange.address,
            reconnected: exchange.reconnected,
            phases: exchange.phases,
            success: exchange.outcome.status().is_some_and(|status| active.form.profile().is_success(status)),
            outcome: exchange.outcome,
        }
    }
}

/// Whether to make the body would hold up others.
fn takes_its_time(event: &Event, target: &Target) -> bool {
    target.active.as_ref().is_some_and(|active| active.form.takes_its_time(event.new.data.len()))
}

/// Makes the request of a body that takes its time, when it is its turn. `target` has what it takes.
async fn cook(
    identity: &Identity,
    event: &Event,
    target: &Arc<Target>,
    (clock, id_key): (Clock, &IdKey),
    kitchen: &Kitchen,
) -> Result<Ready, RenderError> {
    let (identity, event, target, id_key) = (*identity, event.clone(), Arc::clone(target), id_key.clone());
    kitchen.make(move || make(&identity, &event, &target, clock, &id_key)).await
}

/// Makes the request. `target` has what it takes.
fn make(
    identity: &Identity,
    event: &Event,
    target: &Target,
    clock: Clock,
    id_key: &IdKey,
) -> Result<Ready, RenderError> {
    let (active, settings) =
        target.active.as_ref().zip(target.settings.as_deref()).expect("it was looked for");
    let (started_at, age) = clock.wall_and_age();
    let names = Names::new(identity, &active.form, id_key);
    let facts = names.facts(identity, target, event, (started_at, age));
    match prepare(&active.form, &active.signer, &settings.headers, &facts) {
        Err(PrepareError::Body(error)) => Err(error),
        made => {
            let made = made.map_err(|error| error.to_string()).and_then(|prepared| {
                let Prepared { headers, body, signatures } = prepared;
                let (path, timeout) = (callback_path(event, target)?, active.form.profile().timeout);
                Ok(Made { request: Request { path, headers, body, timeout }, signatures })
            });
            Ok(Ready { started_at, made })
        }
    }
}

/// Makes one attempt of `event` at `target`, paused or not, and says what was sent as its body; nothing is kept of it.
/// `None`: the target lacks something.
pub(super) async fn try_once(
    event: &Event,
    target: &Arc<Target>,
    clock: Clock,
    id_key: &IdKey,
    kitchen: &Kitchen,
) -> Option<Result<(Attempt, Bytes), RenderError>> {
    let (active, _) = target.active.as_ref().zip(target.settings.as_ref())?;
    let key = DeliveryKey { seq: event.seq, slot: 0 };
    let identity = Identity { key, accepted_at: event.accepted_at, number: 1 };
    let made = if takes_its_time(event, target) {
        cook(&identity, event, target, (clock, id_key), kitchen).await
    } else {
        make(&identity, event, target, clock, id_key)
    };
    let ready = match made {
        Ok(ready) => ready,
        Err(error) => return Some(Err(error)),
    };
    let (body, sent) = (ready.body(), ready.send(active).await);
    let report = ready.report(active, sent);
    let (delivery, endpoint) = (key, target.number);
    Some(Ok((Attempt { delivery, endpoint, number: 1, previous: None, why: Why::Schedule, report }, body)))
}

/// Path and query of a callback, which are its event's; all callbacks to an origin share its connections. `None` for what
/// goes to an endpoint.
fn callback_path(event: &Event, target: &Target) -> Result<Option<Uri>, String> {
    if target.stored.origin().is_none() {
        return Ok(None);
    }
    let url = event.new.url.as_deref().and_then(|url| Url::parse(url).ok());
    // Judged as it came in: the row is damaged.
    let url = url.ok_or("the event has no URL that can be called any more")?;
    path_and_query(&url).map(Some).map_err(|error| error.to_string())
}

/// A request that could not be made for what a secret has in it: a failed attempt, so that history shows it.
fn unsent(started_at: Timestamp, message: String) -> Report {
    Report {
        started_at,
        fingerprint: None,
        signature: String::new(),
        signatures: String::new(),
        address: None,
        reconnected: false,
        phases: Phases::default(),
        success: false,
        outcome: Outcome::Failure(Failure { kind: FailureKind::Protocol, message }),
    }
}

/// The ids of an attempt as texts.
struct Names {
    event_id: String,
    delivery_id: String,
    /// Empty where the profile does not show it.
    delivery_short: String,
}

impl Names {
    fn new(identity: &Identity, form: &Form, id_key: &IdKey) -> Self {
        let delivery_id = id_key.delivery_id(identity.accepted_at, identity.key);
        Self {
            event_id: id_key.event_id(identity.accepted_at, identity.key.seq).to_string(),
            delivery_short: if form.shows(Placeholder::DeliveryShort) {
                id_key.delivery_short(delivery_id)
            } else {
                String::new()
            },
            delivery_id: delivery_id.to_string(),
        }
    }

    fn facts<'a>(
        &'a self,
        identity: &Identity,
        target: &'a Target,
        event: &'a Event,
        (timestamp, age): (Timestamp, Timestamp),
    ) -> Facts<'a> {
        Facts {
            event_id: &self.event_id,
            delivery_id: &self.delivery_id,
            delivery_short: &self.delivery_short,
            endpoint_id: &target.written_id,
            event_type: event.new.event_type.as_str(),
            account: event.new.account.as_str(),
            cloud: event.new.cloud.as_ref(),
            producer_id: event.new.producer_id.as_deref(),
            event_time: event.time(),
            data: &event.new.data,
            content_type: event.new.content_type.as_ref(),
            attempt: identity.number,
            timestamp,
            age,
        }
    }
}

/// The headers of an attempt that was made: today's settings with the time and the signatures that were recorded.
/// Secrets are masked. `None` where they cannot be had: the endpoint has not the settings that it had, or nothing was sent.
pub fn request_headers(
    attempt: &Attempt,
    event: &Event,
    target: &Target,
    id_key: &IdKey,
) -> Option<Vec<(String, String)>> {
    let (active, settings) = target.active.as_ref().zip(target.settings.as_ref())?;
    let (key, accepted_at) = (attempt.delivery, event.accepted_at);
    let identity = Identity { key, accepted_at, number: attempt.number };
    let names = Names::new(&identity, &active.form, id_key);
    let report = &attempt.report;
    let facts = names.facts(&identity, target, event, (report.started_at, report.started_at));
    let recorded = Signatures { newest: report.signature.clone(), all: report.signatures.clone() };
    let headers = headers_again(&active.form, &active.signer, &settings.headers, &facts, &recorded)?;
    let shown = headers.iter().map(|(name, value)| {
        let value = if value.is_sensitive() {
            "••••••".into()
        } else {
            String::from_utf8_lossy(value.as_bytes())
        };
        (name.as_str().to_owned(), value.into_owned())
    });
    Some(shown.collect())
}

/// The body of a delivery, made again by today's settings; it is the same for all its attempts. A template takes its time:
/// not for a thread that others wait for. `None`: the endpoint has no settings any more.
///
/// # Errors
/// The profile's template can make none of this event.
pub fn body_again(
    key: DeliveryKey,
    event: &Event,
    target: &Target,
    id_key: &IdKey,
) -> Option<Result<Bytes, RenderError>> {
    let form = target.settings.as_ref()?.form.as_ref()?;
    let accepted_at = event.accepted_at;
    let identity = Identity { key, accepted_at, number: 1 };
    let names = Names::new(&identity, form, id_key);
    Some(form.body(&names.facts(&identity, target, event, (accepted_at, accepted_at))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ready(length: usize) -> Ready {
        let signatures = Signatures { newest: String::new(), all: String::new() };
        let (body, timeout) = (Bytes::from(vec![0; length]), Duration::ZERO);
        let request = Request { path: None, headers: Vec::new(), body, timeout };
        let made = Ok(Made { request, signatures });
        Ready { started_at: Timestamp::EPOCH, made }
    }

    #[tokio::test]
    async fn a_body_that_is_longer_than_its_payload_takes_room() {
        let memory = Memory::new(64 << 10);
        let mut size = 10 << 10;
        let payload = memory.take(size, false).await;
        let short = more_room(&ready((10 << 10) + SLACK), &mut size, false, &memory);
        assert!(matches!(short, Ok(None)), "an envelope's");
        let taken = more_room(&ready(40 << 10), &mut size, false, &memory).expect("there is room");
        assert!(taken.is_some() && memory.try_take(30 << 10, false).is_none(), "it is taken");
        assert_eq!(size, 10 << 10);
        drop(taken);
        // While others have it, nothing is waited for with the payload's room in hand.
        let others = memory.take(40 << 10, false).await;
        assert!(more_room(&ready(40 << 10), &mut size, false, &memory).is_err());
        assert_eq!(size, 40 << 10, "room for all of it");
        drop((payload, others));
        let _whole = memory.try_take(size, false).expect("it is free");
        assert!(matches!(more_room(&ready(40 << 10), &mut size, false, &memory), Ok(None)));
    }

    #[tokio::test]
    async fn who_does_not_wait_any_more_lets_nobody_begin_before_the_end() {
        let kitchen = Kitchen::default();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let receiver = Arc::new(std::sync::Mutex::new(receiver));
        let (began, mut beginnings) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..COOKS {
            let (kitchen, receiver, began) = (kitchen.clone(), Arc::clone(&receiver), began.clone());
            let work = move || {
                began.send(()).expect("it is heard");
                receiver.lock().expect("nobody panics").recv().expect("it is told");
            };
            let waiting = tokio::spawn(async move { kitchen.make(work).await });
            beginnings.recv().await.expect("it began");
            waiting.abort();
            assert!(waiting.await.expect_err("it waits no more").is_cancelled());
        }
        assert_eq!(kitchen.0.available_permits(), 0, "all of them are still at it");
        for _ in 0..COOKS {
            sender.send(()).expect("somebody waits");
        }
        kitchen.make(|| ()).await;
    }
}
