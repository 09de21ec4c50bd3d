//! `GET /v1/deliveries`, `GET /v1/deliveries/{id}`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};

use super::{
    App, Open,
    access::Asker,
    events::{filter, shown, status, wrong_cursor},
    id::Id,
    json,
    problem::Problem,
    query::Query,
    sent::SentBody,
    view::{
        AttemptView, DeliveryDetail, DeliveryItem, NOT_ALLOWED, Page, RequestView, ResponseView, Waiting,
    },
};
use crate::{
    clock::Clock,
    engine::{
        Waits,
        attempt::{body_again, request_headers},
        directory::Target,
    },
    history::deliveries::{Ask, Found, page},
    ingest::access::Verdict,
    model::{
        attempt::{Attempt, Outcome, Phases, Report, Response as Answer},
        delivery::{DeliveryKey, FailReason, Order, State as DeliveryState},
        endpoint::EndpointNumber,
        event::{Event, Seq},
        id::{DeliveryId, EndpointId, EventId},
        time::Timestamp,
    },
    outbox::{Reader, StoreError},
    policy::{decide, nearest, rights::Thing, template::RenderError},
};

/// Attempts that are shown of a delivery, the newest.
const ATTEMPTS: usize = 1_000;

/// Why a request is not shown: what made it is not known any more.
const CHANGED: &str = "the endpoint's settings, its profile, or posthaste's version have changed since";
const GONE: &str = "the endpoint has no settings any more, or they lack something";
const UNSENT: &str = "none could be made";

/// The same, where nothing was pending for a callback's origin any more, and others were to be remembered.
const FORGOTTEN: &str = "nothing is remembered of the origin that the callback went to";

/// The parameters of lists of deliveries, besides which endpoint.
const FILTERS: [&str; 8] = ["status", "event", "type", "account", "since", "until", "limit", "cursor"];

/// Deliveries, newest first.
pub(super) async fn list(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let mut known = FILTERS.to_vec();
    known.push("endpoint");
    let query = Query::read(query.as_deref(), &known)?;
    let open = app.open().await?;
    let endpoints = query.text("endpoint").map(|text| endpoints(text, &open, &asker)).transpose()?;
    listed(&app, &open, &query, endpoints, &asker).await
}

/// Those to one endpoint, which may have been deleted.
pub(super) async fn list_of_endpoint(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &FILTERS)?;
    let open = app.open().await?;
    let target = super::endpoints::find(&open, &asker, &id, &query)?;
    listed(&app, &open, &query, Some(vec![target.number]), &asker).await
}

async fn listed(
    app: &App,
    open: &Open,
    query: &Query,
    endpoints: Option<Vec<EndpointNumber>>,
    asker: &Asker,
) -> Result<Response<Body>, Problem> {
    let ask = ask(query, open, endpoints, asker)?;
    let event = event(query, open)?;
    let who = asker.0.clone();
    let read = open.read(&asker.0, move |reader| match event {
        Some((accepted_at, seq)) if !is_event(reader, accepted_at, seq, &who)? => Ok(None),
        _ => page(reader, &ask).map(Some),
    });
    let page = read.await?.ok_or_else(|| no_event(query.text("event").unwrap_or_default()))?;
    // It may be the place of another account's: so it is nobody's id, and says no time.
    let cursor = |key| open.outbox.id_key().delivery_id(Timestamp::EPOCH, key).to_string();
    let next_cursor = page.next.map(cursor);
    let items = items((app, &asker.0), open, page.items.into_iter()).await?;
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

fn ask(
    query: &Query,
    open: &Open,
    endpoints: Option<Vec<EndpointNumber>>,
    asker: &Asker,
) -> Result<Ask, Problem> {
    let id_key = open.outbox.id_key();
    let before = match query.value::<DeliveryId>("cursor")? {
        Some(id) => Some(id_key.open_delivery(id).ok_or_else(wrong_cursor)?.1),
        None => None,
    };
    Ok(Ask {
        filter: filter(query, asker)?,
        status: query.text("status").map(status).transpose()?,
        called_off: open.directory.discarding().into_iter().collect(),
        endpoints,
        event: event(query, open)?.map(|(_, seq)| seq),
        before,
        limit: query.limit()?,
    })
}

/// The event that is asked for, as its id has it.
fn event(query: &Query, open: &Open) -> Result<Option<(Timestamp, Seq)>, Problem> {
    let Some(id) = query.value::<EventId>("event")? else { return Ok(None) };
    let found = open.outbox.id_key().open_event(id);
    found.ok_or_else(|| no_event(&id.to_string())).map(Some)
}

/// Whether the event `seq` is there, was accepted at this time, and is `who`'s to see.
fn is_event(reader: &Reader, accepted_at: Timestamp, seq: Seq, who: &Verdict) -> Result<bool, StoreError> {
    let head = reader.head(seq)?;
    Ok(head.is_some_and(|head| head.accepted_at == accepted_at && who.sees(&head.account)))
}

fn no_event(id: &str) -> Problem {
    Problem::not_found(format!("there is no event {}", shown(id)))
}

/// The endpoint with this id, or those with this name (one for each account that has one); of an account that is not the
/// asker's to see there is none.
fn endpoints(text: &str, open: &Open, asker: &Asker) -> Result<Vec<EndpointNumber>, Problem> {
    let id: Option<EndpointId> = text.parse().ok();
    let targets = open.directory.targets();
    let fits = |target: &Target| {
        let named = Some(target.id) == id || target.stored.name() == Some(text);
        named && asker.0.sees(&target.stored.account)
    };
    let found: Vec<_> = targets.iter().filter(|target| fits(target)).map(|target| target.number).collect();
    if found.is_empty() {
        let seen = targets.iter().filter(|target| asker.0.sees(&target.stored.account));
        let near = nearest(text, seen.filter_map(|target| target.stored.name()));
        let near = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
        return Err(Problem::not_found(format!("there is no endpoint {}{near}", shown(text))));
    }
    Ok(found)
}

/// One delivery, with all its attempts.
pub(super) async fn show(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    Ok(json(StatusCode::OK, &detail(&app, &open, &id, &asker.0).await?))
}

async fn detail(app: &App, open: &Open, id: &str, who: &Verdict) -> Result<DeliveryDetail, Problem> {
    let missing = || Problem::not_found(format!("there is no delivery {}", shown(id)));
    let id: DeliveryId = id.parse().map_err(|error| Problem::not_found(format!("{}: {error}", shown(id))))?;
    let (accepted_at, key) = open.outbox.id_key().open_delivery(id).ok_or_else(missing)?;
    // Before anything is read: who waits for a body to be made holds nothing else.
    let _room = open.readers.details.take(who).await;
    let (directory, asking) = (Arc::clone(&open.directory), who.clone());
    let read = open.read(who, move |reader| {
        let Some((_, delivery)) = reader.delivery(key)? else { return Ok(None) };
        let Some(head) = reader.head(key.seq)? else { return Ok(None) };
        if head.accepted_at != accepted_at || !asking.sees(&head.account) {
            return Ok(None);
        }
        let attempts = reader.attempts(delivery.last_attempt, ATTEMPTS)?;
        let event = reader.event(key.seq)?;
        let target = directory.target(delivery.endpoint);
        Ok(Some((Found { key, head, delivery }, attempts, event, target)))
    });
    let Some((found, attempts, event, target)) = read.await? else { return Err(missing()) };
    let attempts_truncated = begins_late(&attempts);
    let failed_as_template = found.delivery.state == DeliveryState::Failed(FailReason::Template);
    let body = match (&target, &event) {
        // Of what was sent a producer is shown nothing.
        (Some(target), Some(event)) if who.may(Thing::Exchanges) || failed_as_template => {
            body(key, event, target, open).await
        }
        _ => None,
    };
    let message = failed_as_template.then(|| template_message(body.as_ref()));
    let body = body.and_then(Result::ok);
    let shown = attempts.iter().map(|attempt| {
        if !who.may(Thing::Exchanges) {
            return redacted(attempt);
        }
        let same = sent_alike(attempt, target.as_deref());
        let request = same.map(|target| request(attempt, event.as_ref()?, target, body.as_ref(), open));
        attempt_view(attempt, request)
    });
    let attempts = shown.collect();
    let item = items((app, who), open, std::iter::once(found)).await?.pop().ok_or_else(missing)?;
    Ok(DeliveryDetail { item, message, attempts, attempts_truncated })
}

/// Whether a delivery had attempts before the first of these.
fn begins_late(attempts: &[Attempt]) -> bool {
    attempts.first().is_some_and(|first| first.number > 1)
}

/// The body of a delivery. It is made when the store has been read: a template may take its time, and others wait for their
/// turn to read.
async fn body(
    key: DeliveryKey,
    event: &Event,
    target: &Arc<Target>,
    open: &Open,
) -> Option<Result<SentBody, RenderError>> {
    let (event, target, outbox) = (event.clone(), Arc::clone(target), open.outbox.clone());
    let work = move || body_again(key, &event, &target, outbox.id_key());
    let body = open.readers.kitchen.make(work).await?;
    Some(body.map(|body| SentBody::new(&body)))
}

/// Why a template failed, as it does when it is tried again.
fn template_message(body: Option<&Result<SentBody, RenderError>>) -> String {
    match body {
        Some(Err(error)) => error.to_string(),
        Some(Ok(_)) => {
            "it fails no longer: the endpoint's settings or its profile have changed since".to_owned()
        }
        None => "it cannot be told any more: the endpoint's settings or its profile are gone".to_owned(),
    }
}

/// Whether an attempt's request is what `target` would make of it today, or why that cannot be said.
fn sent_alike<'a>(attempt: &Attempt, target: Option<&'a Target>) -> Result<&'a Target, &'static str> {
    let target = target.ok_or(FORGOTTEN)?;
    let sent = attempt.report.fingerprint.ok_or(UNSENT)?;
    let today = target.active.as_ref().ok_or(GONE)?.fingerprint;
    if sent == today { Ok(target) } else { Err(CHANGED) }
}

/// What an attempt sent, made again of today's settings.
pub(super) fn request(
    attempt: &Attempt,
    event: &Event,
    target: &Target,
    body: Option<&SentBody>,
    open: &Open,
) -> Option<RequestView> {
    let headers = request_headers(attempt, event, target, open.outbox.id_key())?;
    Some(RequestView {
        url: match target.stored.origin() {
            Some(_) => event.new.url.clone()?.into(),
            None => target.settings.as_ref()?.url.to_string(),
        },
        headers: headers.into_iter().collect(),
        body: body.map(|body| body.text.clone()),
        body_encoding: body.and_then(|body| body.encoding).map(str::to_owned),
        body_truncated: body.is_some_and(|body| body.truncated),
    })
}

fn attempt_view(attempt: &Attempt, request: Result<Option<RequestView>, &str>) -> AttemptView {
    let report = &attempt.report;
    let (request, note) = request.map_or_else(|note| (None, Some(note)), |request| (request, None));
    AttemptView {
        number: attempt.number,
        why: attempt.why,
        started_at: report.started_at,
        address: report.address,
        reconnected: report.reconnected,
        phases: phases(&report.phases),
        request,
        request_note: note.map(str::to_owned),
        response: response(report),
    }
}

/// What those see of an attempt who may not see its exchange: when it was made and what came of it. Neither where it went, as the
/// URL's path may be a secret, nor what the receiver says.
fn redacted(attempt: &Attempt) -> AttemptView {
    let mut view = attempt_view(attempt, Err(NOT_ALLOWED));
    view.address = None;
    let response = &mut view.response;
    (response.headers, response.body, response.body_truncated) = (Vec::new(), String::new(), false);
    response.message = match &attempt.report.outcome {
        Outcome::Response(answer) => judged(answer.status, attempt.report.success),
        Outcome::Failure(failure) => format!("no answer came: {}", failure.kind.as_str()),
    };
    view
}

/// Milliseconds by phase.
pub(crate) fn phases(phases: &Phases) -> BTreeMap<String, f64> {
    let Phases { resolve, connect, tls, headers, body, total } = *phases;
    let named = [
        ("resolve", resolve),
        ("connect", connect),
        ("tls", tls),
        ("headers", headers),
        ("body", body),
        ("total", Some(total)),
    ];
    // A division of whole microseconds is written with three digits at most; seconds times a thousand are not.
    #[allow(clippy::cast_precision_loss, reason = "a phase has fewer microseconds than an f64 has integers")]
    let millis = |(name, phase): (&str, Option<std::time::Duration>)| {
        Some((name.to_owned(), phase?.as_micros() as f64 / 1e3))
    };
    named.into_iter().filter_map(millis).collect()
}

/// What came back.
pub(crate) fn response(report: &Report) -> ResponseView {
    match &report.outcome {
        Outcome::Response(answer) => answered(answer, report.success),
        Outcome::Failure(failure) => ResponseView {
            status_code: None,
            status: failure.kind.as_str().to_owned(),
            headers: Vec::new(),
            body: String::new(),
            body_truncated: false,
            message: failure.message.clone(),
            failure: Some(failure.kind),
        },
    }
}

/// `200 OK`.
fn status_line(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("{status} {}", reason.unwrap_or_default()).trim_end().to_owned()
}

/// What a status was to the profile of then.
fn judged(status: u16, success: bool) -> String {
    let line = status_line(status);
    match success {
        true => format!("the endpoint took it: {line}"),
        false if (300..400).contains(&status) => {
            format!("not a success under the endpoint's profile: {line} (redirects are not followed)")
        }
        false => format!("not a success under the endpoint's profile: {line}"),
    }
}

fn answered(answer: &Answer, success: bool) -> ResponseView {
    let mut message = judged(answer.status, success);
    if let Some(error) = &answer.body_error {
        write!(message, "; its body: {error}").expect("a String takes all");
    }
    ResponseView {
        status_code: Some(answer.status),
        status: status_line(answer.status),
        headers: answer.headers.clone(),
        body: String::from_utf8_lossy(&answer.body).into_owned(),
        body_truncated: answer.body_truncated,
        message,
        failure: None,
    }
}

/// Deliveries as lists show them.
pub(super) async fn items(
    (app, who): (&App, &Verdict),
    open: &Open,
    found: impl Iterator<Item = Found>,
) -> Result<Vec<DeliveryItem>, Problem> {
    let (found, behind) = find_behind(open, who, found.collect()).await?;
    let callbacks = callbacks(open, who, &found).await?;
    let pending = |one: &&Found| one.delivery.state == DeliveryState::Pending;
    let keys: Vec<_> = found.iter().filter(pending).map(|one| (one.key, one.delivery.endpoint)).collect();
    let mut waits = if keys.is_empty() { Vec::new() } else { open.engine.waiting(keys).await }.into_iter();
    let view = |one: Found| {
        let pending = one.delivery.state == DeliveryState::Pending;
        let waits = pending.then(|| waits.next().unwrap_or_default());
        let callback = callbacks.get(&one.key.seq);
        item(&one, waits.map(|waits| (waits, behind.contains(&one.key))), callback, app.clock, open)
    };
    Ok(found.into_iter().map(view).collect())
}

/// The URLs of the callbacks among these deliveries, by their events; what cannot be read is empty.
async fn callbacks(open: &Open, who: &Verdict, found: &[Found]) -> Result<HashMap<Seq, String>, Problem> {
    let is_callback = |one: &&Found| endpoint_of(open, one.delivery.endpoint).is_none();
    let events: Vec<_> = found.iter().filter(is_callback).map(|one| one.key.seq).collect();
    if events.is_empty() {
        return Ok(HashMap::new());
    }
    let url = |reader: &Reader, seq| match reader.callback(seq) {
        Ok(url) => Ok((seq, url.unwrap_or_default())),
        Err(StoreError::Row { .. }) => Ok((seq, String::new())),
        Err(error) => Err(error),
    };
    open.read(who, move |reader| events.into_iter().map(|seq| url(reader, seq)).collect()).await
}

/// The endpoint with this number. What goes to none is a callback, also where its origin is not known any more, or not
/// yet.
fn endpoint_of(open: &Open, number: EndpointNumber) -> Option<Arc<Target>> {
    open.directory.target(number).filter(|target| target.stored.origin().is_none())
}

/// Which of these wait for another to end. The store is asked only where one of them keeps an order.
async fn find_behind(
    open: &Open,
    who: &Verdict,
    found: Vec<Found>,
) -> Result<(Vec<Found>, HashSet<DeliveryKey>), Problem> {
    let ordered = |one: &Found| matches!(one.delivery.order, Order::Place(_));
    if !found.iter().any(ordered) {
        return Ok((found, HashSet::new()));
    }
    open.read(who, move |reader| {
        let mut behind = HashSet::new();
        for one in &found {
            if reader.is_behind(&one.head, &one.delivery)? {
                behind.insert(one.key);
            }
        }
        Ok((found, behind))
    })
    .await
}

/// `waits`: what it waits for, if it is pending, and whether another comes before it. `callback`: the URL of its event's, if
/// that is what it is.
fn item(
    found: &Found,
    waits: Option<(Waits, bool)>,
    callback: Option<&String>,
    clock: Clock,
    open: &Open,
) -> DeliveryItem {
    let Found { key, head, delivery } = found;
    let target = open.directory.target(delivery.endpoint);
    let endpoint = target.as_ref().filter(|target| target.stored.origin().is_none());
    let mut delivery = *delivery;
    if delivery.state == DeliveryState::Pending
        && let Some((reason, at)) = target.as_ref().and_then(|target| target.stored.calls_off(key.seq))
    {
        // Its record is still to say so.
        delivery = decide::call_off(&delivery, reason, at);
    }
    let id_key = open.outbox.id_key();
    let pending = delivery.state == DeliveryState::Pending;
    let waiting = waits.map(|(waits, behind)| match waits {
        Waits::InFlight => Waiting::InFlight,
        Waits::Disabled => Waiting::Disabled,
        _ if target.as_ref().is_some_and(|target| target.disabled().is_some()) => Waiting::Disabled,
        _ if behind => Waiting::Order,
        _ if delivery.due > clock.now() => Waiting::Due,
        Waits::Clock => Waiting::Clock,
        Waits::Circuit => Waiting::Circuit,
        Waits::Rate => Waiting::Rate,
        Waits::Turn => Waiting::Turn,
    });
    DeliveryItem {
        id: id_key.delivery_id(head.accepted_at, *key),
        event_id: id_key.event_id(head.accepted_at, key.seq),
        event_type: head.event_type.clone(),
        account: head.account.clone(),
        endpoint_id: endpoint.map(|target| target.id),
        endpoint: endpoint.and_then(|target| target.stored.name()).map(str::to_owned),
        callback: endpoint.is_none().then(|| callback.cloned().unwrap_or_default()),
        status: delivery.state.status(),
        reason: delivery.state.reason().map(str::to_owned),
        waiting,
        attempt: delivery.attempt,
        step: delivery.step,
        due_at: pending.then(|| clock.wall_of(delivery.due)),
        ended_at: (!pending).then_some(delivery.due),
        last_status_code: delivery.last_status,
        accepted_at: head.accepted_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        attempt::{AttemptRow, Failure, FailureKind, Why},
        delivery::DeliveryKey,
    };

    #[test]
    fn a_list_that_is_cut_off_says_so() {
        let attempt = |number| Attempt {
            delivery: DeliveryKey { seq: Seq::new(1), slot: 0 },
            endpoint: EndpointNumber::new(1),
            number,
            previous: number.checked_sub(2).map(|before| AttemptRow::new(u64::from(before) + 1)),
            why: Why::Schedule,
            report: Report {
                started_at: Timestamp::EPOCH,
                fingerprint: None,
                signature: String::new(),
                signatures: String::new(),
                address: None,
                reconnected: false,
                phases: Phases::default(),
                success: false,
                outcome: Outcome::Failure(Failure { kind: FailureKind::Connect, message: String::new() }),
            },
        };
        for (numbers, truncated) in [(1..1, false), (1..4, false), (2..4, true), (1_001..2_001, true)] {
            let attempts: Vec<_> = numbers.clone().map(attempt).collect();
            assert_eq!(begins_late(&attempts), truncated, "{numbers:?}");
        }
    }
}
