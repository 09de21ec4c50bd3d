//! `GET /v1/endpoints`.

use std::collections::HashMap;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};

use super::{
    App, Open,
    events::wrong_cursor,
    json,
    operator::Operator,
    problem::Problem,
    query::Query,
    view::{CircuitView, EndpointView, Page},
};
use crate::{
    engine::{LaneView, directory::Target, settings::Owner},
    model::{account::AccountName, endpoint::EndpointNumber, id::EndpointId},
};

/// The endpoints, newest first.
pub(super) async fn list(
    _: Operator,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account", "limit", "cursor"])?;
    let account: Option<AccountName> = query.value("account")?;
    let limit = query.limit()?;
    let open = app.open().await?;
    let before = match query.value::<EndpointId>("cursor")? {
        Some(id) => Some(open.outbox.id_key().open_endpoint(id).ok_or_else(wrong_cursor)?.1),
        None => None,
    };
    let lanes = open.engine.lanes().await;
    let targets = open.directory.targets().into_iter();
    let targets = targets.filter(|target| !target.stored.is_deleted());
    let wanted =
        targets.filter(|target| account.as_ref().is_none_or(|account| *account == target.stored.account));
    let mut wanted = wanted.filter(|target| before.is_none_or(|before| target.number < before));
    let page: Vec<_> = wanted.by_ref().take(limit).collect();
    let next_cursor = wanted.next().and_then(|_| Some(page.last()?.id.to_string()));
    let items = page.iter().map(|target| view(target, &open, &lanes)).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

fn view(target: &Target, open: &Open, lanes: &HashMap<EndpointNumber, LaneView>) -> EndpointView {
    let lane = lanes.get(&target.number);
    let settings = target.settings.as_ref();
    let disabled = target.disabled();
    let patterns = settings.map(|settings| settings.event_types.iter().map(ToString::to_string).collect());
    EndpointView {
        id: target.id,
        account: target.stored.account.clone(),
        name: target.label().to_owned(),
        url: settings.map(|settings| settings.url.to_string()),
        event_types: patterns.unwrap_or_default(),
        profile: profile(target),
        enabled: disabled.is_none(),
        disabled_reason: disabled.map(|disabled| disabled.reason),
        disabled_since: disabled.map(|disabled| disabled.since),
        created_at: target.stored.created_at,
        consecutive_failures: lane
            .map_or(target.stored.consecutive_failures, |lane| lane.consecutive_failures),
        circuit: lane.and_then(circuit),
        pending: open.outbox.depths().of(target.number),
        in_flight: lane.map_or(0, |lane| u64::try_from(lane.status.in_flight).unwrap_or(u64::MAX)),
        owner: if target.stored.own().is_some() { Owner::Api } else { Owner::Configuration }
            .as_str()
            .to_owned(),
    }
}

/// The circuit of a lane, if it is open.
pub(super) fn circuit(lane: &LaneView) -> Option<CircuitView> {
    let open = lane.status.circuit?;
    Some(CircuitView { open_since: open.since, failed_probes: open.probes, next_probe_at: open.next })
}

/// The profile's name: of the one that holds, else as it was given.
fn profile(target: &Target) -> Option<String> {
    let given = target.settings.as_ref().and_then(|settings| settings.profile.clone());
    target.profile().map(|profile| profile.name.clone()).or(given)
}
