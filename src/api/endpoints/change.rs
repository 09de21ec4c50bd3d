//! `PATCH` and `DELETE /v1/endpoints/{id}`, `POST …/enable` and `…/disable`.

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, Response, StatusCode},
};

use super::{asked, make::headers_of, take, view_of};
use crate::{
    api::{
        App,
        access::Asker,
        document::{Document, Field},
        id::Id,
        json,
        problem::Problem,
        view::{DeletedEndpoint, EnabledEndpoint},
    },
    engine::endpoints::{Patch, Pending},
};

const FIELDS: [&str; 6] = ["url", "event_types", "description", "profile", "headers", "enabled"];

/// Changes an endpoint: what is not named stays as it is, `null` is what it would be had it never been said.
pub(super) async fn change(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
    let taken = take(&app, &open, &headers, body).await?;
    open.endpoints.change(target.number, patch(&taken.bytes)?).await?;
    Ok(json(StatusCode::OK, &view_of(&open, &asker, target.number).await?))
}

fn patch(body: &Bytes) -> Result<Patch, Problem> {
    let document = Document::read(body, &FIELDS, help)?;
    let text = |name: &str| document.get(name).map(|field| field.or_null(Field::text)).transpose();
    Ok(Patch {
        url: document.get("url").map(Field::text).transpose()?,
        description: text("description")?,
        event_types: document.get("event_types").map(Field::texts).transpose()?,
        profile: text("profile")?,
        headers: document.get("headers").map(headers_of).transpose()?,
        enabled: document.get("enabled").map(Field::flag).transpose()?,
    })
}

/// What there is to say about fields that cannot be changed like this.
fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        "active" => "write `enabled`",
        "secret" => "POST to …/rotate-secret",
        "account" | "id" | "name" | "created_at" | "updated_at" | "owner" => "it cannot be changed",
        _ => return None,
    })
}

/// Deletes an endpoint.
pub(super) async fn delete(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
    let cancelled = open.endpoints.delete(target.number).await?;
    Ok(json(StatusCode::OK, &DeletedEndpoint { id: target.id, cancelled }))
}

/// Lets deliveries go on.
pub(super) async fn enable(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
    let taken = take(&app, &open, &headers, body).await?;
    let pending = pending(&taken.bytes)?;
    let count = open.endpoints.enable(target.number, pending).await?;
    let (resumed, discarded) = match pending {
        Pending::Deliver => (count, 0),
        Pending::Discard => (0, count),
    };
    let endpoint = view_of(&open, &asker, target.number).await?;
    Ok(json(StatusCode::OK, &EnabledEndpoint { endpoint, resumed, discarded }))
}

/// What has waited is delivered where nobody says otherwise: nothing is dropped unasked.
fn pending(body: &Bytes) -> Result<Pending, Problem> {
    let document = Document::read(body, &["pending"], |_| None)?;
    let Some(field) = document.get("pending") else { return Ok(Pending::Deliver) };
    match field.clone().text()?.as_str() {
        "deliver" => Ok(Pending::Deliver),
        "discard" => Ok(Pending::Discard),
        _ => Err(field.problem("must be \"deliver\" or \"discard\"")),
    }
}

/// Holds deliveries.
pub(super) async fn disable(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
    let taken = take(&app, &open, &headers, body).await?;
    Document::read(&taken.bytes, &[], |_| None)?;
    open.endpoints.disable(target.number).await?;
    Ok(json(StatusCode::OK, &view_of(&open, &asker, target.number).await?))
}
