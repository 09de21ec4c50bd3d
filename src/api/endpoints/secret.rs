//! `GET /v1/endpoints/{id}/secret`, `POST …/rotate-secret`: the only answers, with that to the making of an endpoint, in
//! which a secret is.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, Response, StatusCode},
};

use super::{asked, secretly, take};
use crate::{
    api::{
        App, Open,
        document::Document,
        json,
        operator::Operator,
        problem::Problem,
        view::{SecretView, SecretsView, ShownSecret},
    },
    engine::endpoints::EndpointError,
    model::{
        endpoint::EndpointNumber,
        secret::DatedSecret,
        time::{Timestamp, parse_duration},
    },
};

/// How long the secrets before sign as well, where nobody says how long.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// Shows the secrets.
pub(super) async fn show(
    _: Operator,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Path(id): Path<String>,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &id, query.as_deref()).await?;
    answer(&open, target.number)
}

/// Makes another secret.
pub(super) async fn rotate(
    _: Operator,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &id, query.as_deref()).await?;
    let taken = take(&app, &open, &headers, body).await?;
    open.endpoints.rotate(target.number, overlap(&taken.bytes)?).await?;
    answer(&open, target.number)
}

fn overlap(body: &Bytes) -> Result<Duration, Problem> {
    let document = Document::read(body, &["overlap"], |_| None)?;
    let Some(field) = document.get("overlap") else { return Ok(OVERLAP) };
    parse_duration(&field.clone().text()?).map_err(|error| field.problem(&format!("is wrong: {error}")))
}

fn answer(open: &Open, number: EndpointNumber) -> Result<Response<Body>, Problem> {
    let secrets = open.endpoints.secrets(number)?;
    let newest = secrets.first().ok_or(EndpointError::NoSecret)?;
    let secret = ShownSecret(newest.secret.clone());
    let secrets = secrets.iter().map(view).collect();
    Ok(secretly(json(StatusCode::OK, &SecretsView { secret, secrets })))
}

fn view(dated: &DatedSecret) -> SecretView {
    let made_at = Some(dated.made_at).filter(|at| *at != Timestamp::EPOCH);
    SecretView { secret: ShownSecret(dated.secret.clone()), created_at: made_at, until: dated.until }
}
