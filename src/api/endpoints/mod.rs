//! `/v1/endpoints` and what is beneath it: for subscribers, of their account, and operators.
//!
//! What is asked is read strictly and handed to [`Endpoints`](crate::engine::endpoints::Endpoints), which judges and commits
//! it; the answer is the endpoint as the directory has it then.

mod change;
mod make;
mod read;
mod recover;
mod secret;
mod test;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    routing::on,
};

use super::{
    App, Open,
    access::Asker,
    body::{self, Limit},
    deliveries,
    events::shown,
    problem::Problem,
    query::Query,
    routes::Route,
    view::{CircuitView, EndpointView, HealthView},
};
use crate::{
    clock::Clock,
    engine::{LaneView, directory::Target, endpoints::EndpointError, settings::Owner},
    ingest::intake::Permit,
    model::{endpoint::EndpointNumber, id::EndpointId, time::Timestamp},
    outbox::{Counted, Health},
    policy::rights::Thing,
};

/// How large a request's document may be.
const DOCUMENT: Limit = Limit { bytes: 256 << 10, code: "body_too_large", setting: "" };
/// What is shown in a header's place.
const MASK: &str = "••••••";

/// The routes.
pub(super) const ROUTES: [Route; 12] = [
    Route::get("/v1/endpoints", Thing::Endpoints, |method| on(method, read::list)),
    Route::post("/v1/endpoints", Thing::Endpoints, |method| on(method, make::make)),
    Route::get("/v1/endpoints/{id}", Thing::Endpoints, |method| on(method, read::show)),
    Route::patch("/v1/endpoints/{id}", Thing::Endpoints, |method| on(method, change::change)),
    Route::delete("/v1/endpoints/{id}", Thing::Endpoints, |method| on(method, change::delete)),
    Route::post("/v1/endpoints/{id}/enable", Thing::Endpoints, |method| on(method, change::enable)),
    Route::post("/v1/endpoints/{id}/disable", Thing::Endpoints, |method| on(method, change::disable)),
    Route::post("/v1/endpoints/{id}/recover", Thing::Endpoints, |method| on(method, recover::recover)),
    Route::post("/v1/endpoints/{id}/test", Thing::Endpoints, |method| on(method, test::test)),
    Route::post("/v1/endpoints/{id}/rotate-secret", Thing::Endpoints, |method| on(method, secret::rotate)),
    Route::get("/v1/endpoints/{id}/secret", Thing::Endpoints, |method| on(method, secret::show)),
    Route::get("/v1/endpoints/{id}/deliveries", Thing::Endpoints, |method| {
        on(method, deliveries::list_of_endpoint)
    }),
];

/// The endpoint with this id, also one that has been deleted; where callbacks go is none. It is the
/// account's that `query` names, or that the asker is bound to: of another there is none.
///
/// # Errors
/// There is none, or the account is not the asker's to touch.
pub(super) fn find(open: &Open, asker: &Asker, id: &str, query: &Query) -> Result<Arc<Target>, Problem> {
    let missing = || Problem::not_found(format!("there is no endpoint {}", shown(id)));
    let account = asker.account(query)?;
    let id: EndpointId = id.parse().map_err(|error| Problem::not_found(format!("{}: {error}", shown(id))))?;
    let (_, number) = open.outbox.id_key().open_endpoint(id).ok_or_else(missing)?;
    let is_it = |target: &Arc<Target>| target.id == id && target.stored.origin().is_none();
    let target = open.directory.target(number).filter(is_it);
    let target = target.filter(|target| account.is_none_or(|account| account == target.stored.account));
    target.ok_or_else(missing)
}

/// The endpoint that is asked for; those that have been deleted are not found.
async fn asked(
    app: &App,
    asker: &Asker,
    id: &str,
    query: Option<&str>,
) -> Result<(Open, Arc<Target>), Problem> {
    let query = Query::read(query, &["account"])?;
    let open = app.open().await?;
    let target = find(&open, asker, id, &query)?;
    if target.stored.is_deleted() {
        return Err(Problem::not_found(format!("the endpoint {} has been deleted", target.id)));
    }
    Ok((open, target))
}

/// A request's document, with the room that it takes.
pub(super) struct Taken {
    pub(super) bytes: Bytes,
    _room: Permit,
}

/// Reads a request's document.
pub(super) async fn take(app: &App, open: &Open, headers: &HeaderMap, body: Body) -> Result<Taken, Problem> {
    if *app.stopping.borrow() {
        let detail = "posthaste is stopping; ask again in a moment";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail));
    }
    let essence = body::essence(headers);
    if !body::is_json(essence) {
        let detail = format!("the content type `{}` is not taken; send application/json", shown(essence));
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    let mut room = Permit::default();
    let bytes = body::read(body, headers, &DOCUMENT, &open.intake, &mut room).await?;
    Ok(Taken { bytes, _room: room })
}

/// The endpoint as it is after a change.
async fn view_of(open: &Open, asker: &Asker, number: EndpointNumber) -> Result<EndpointView, Problem> {
    let lane = open.engine.lane(number).await;
    // Somebody else may have deleted it meanwhile.
    let target = open.directory.target(number).filter(|target| !target.stored.is_deleted());
    let target = target.ok_or_else(|| Problem::from(EndpointError::NotFound))?;
    // What was changed is changed, also where the store cannot be read any more.
    let oldest = oldest_of(open, asker, [number]).await.unwrap_or_default();
    Ok(view(&target, open, lane.as_ref(), oldest.get(&number).copied()))
}

/// When the events of the oldest pending deliveries of these endpoints were accepted, as far as it is known.
async fn oldest_of(
    open: &Open,
    asker: &Asker,
    endpoints: impl IntoIterator<Item = EndpointNumber>,
) -> Result<HashMap<EndpointNumber, Timestamp>, Problem> {
    let depths = open.outbox.depths();
    let pending: Vec<_> = endpoints.into_iter().map(|number| (number, depths.of(number))).collect();
    if pending.iter().all(|(_, count)| *count == 0) {
        return Ok(HashMap::new());
    }
    open.read(&asker.0, move |reader| reader.oldest_of(&pending)).await
}

fn health(target: &Target, open: &Open, oldest_pending_at: Option<Timestamp>) -> HealthView {
    let (health, now) = (open.outbox.healths().of(target.number), open.intake.clock().wall());
    let Counted { attempts, successes } = health.recent(now);
    HealthView {
        since: Health::since(now),
        attempts,
        successes,
        success_rate: (attempts > 0).then(|| f64::from(successes) / f64::from(attempts)),
        last_success_at: health.last_success,
        last_failure_at: health.last_failure,
        oldest_pending_at,
    }
}

fn view(
    target: &Target,
    open: &Open,
    lane: Option<&LaneView>,
    oldest_pending_at: Option<Timestamp>,
) -> EndpointView {
    let (stored, settings) = (&target.stored, target.settings.as_deref());
    let disabled = target.disabled();
    let headers = settings.map(|settings| {
        let names = settings.headers.iter().map(|(name, _)| name.as_str().to_owned());
        names.map(|name| (name, MASK.to_owned())).collect::<BTreeMap<_, _>>()
    });
    let patterns = settings.map(|settings| settings.event_types.iter().map(ToString::to_string).collect());
    // Of a profile that is not there, the name is what an operator needs.
    let given = settings.and_then(|settings| settings.profile.clone());
    let owner = if stored.own().is_some() { Owner::Api } else { Owner::Configuration };
    let effective = target.profile().map(|profile| profile.name.clone());
    EndpointView {
        id: target.id,
        account: stored.account.clone(),
        name: stored.name().map(str::to_owned),
        description: settings.and_then(|settings| settings.description.clone()),
        url: settings.map(|settings| settings.url.to_string()),
        event_types: patterns.unwrap_or_default(),
        own_profile: given.is_some(),
        profile: effective.or(given),
        headers: headers.unwrap_or_default(),
        enabled: disabled.is_none(),
        disabled_reason: disabled.map(|disabled| disabled.reason),
        disabled_since: disabled.map(|disabled| disabled.since),
        created_at: stored.created_at,
        updated_at: stored.updated_at,
        consecutive_failures: lane.map_or(stored.consecutive_failures, |lane| lane.consecutive_failures),
        health: health(target, open, oldest_pending_at),
        circuit: lane.and_then(|lane| circuit(lane, open.intake.clock())),
        pending: open.outbox.depths().of(target.number),
        in_flight: lane.map_or(0, |lane| u64::try_from(lane.status.in_flight).unwrap_or(u64::MAX)),
        owner: owner.as_str().to_owned(),
    }
}

/// An answer with a secret in it: nobody on the way keeps it.
pub(super) fn secretly(mut answer: Response<Body>) -> Response<Body> {
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        let (status, code) = match error {
            EndpointError::Field { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_endpoint"),
            EndpointError::UnknownProfile { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_profile"),
            EndpointError::UrlRefused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "url_refused"),
            EndpointError::SecretUnfit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "secret_unfit"),
            EndpointError::TooMany { .. } => (StatusCode::CONFLICT, "too_many_endpoints"),
            EndpointError::OwnedByConfiguration { .. } => (StatusCode::CONFLICT, "owned_by_configuration"),
            EndpointError::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            EndpointError::NoSecret => (StatusCode::NOT_FOUND, "no_secret"),
            EndpointError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            EndpointError::Store(error) => return Self::from(error),
        };
        Self::new(status, code, error.to_string())
    }
}

/// The circuit of a lane, if it is open.
pub(super) fn circuit(lane: &LaneView, clock: Clock) -> Option<CircuitView> {
    lane.status.circuit.map(|open| open_view(open, clock))
}

/// What is shown of something that only probes are made of.
pub(super) fn open_view(open: crate::policy::circuit::Open, clock: Clock) -> CircuitView {
    let (open_since, next_probe_at) = (clock.wall_of(open.since), clock.wall_of(open.next));
    CircuitView { open_since, failed_probes: open.probes, next_probe_at }
}
