//! `GET /v1/endpoints/{id}/secret`, `POST …/rotate-secret`: the only answers, with that to the making of an endpoint, in
//! which a secret is.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, Response, StatusCode},
};

use super::{asked, secretly, take};
use crate::{
    api::{
        App, Open,
        access::Asker,
        document::Document,
        id::Id,
        json,
        problem::Problem,
        view::{SecretView, SecretsView, ShownSecret},
    },
    engine::endpoints::EndpointError,
    model::{
        endpoint::EndpointNumber,
        profile::{Algorithm, SignatureRule},
        secret::DatedSecret,
        time::{Timestamp, parse_duration},
    },
    policy::key::public_key,
};

/// How long the secrets before sign as well, where nobody says how long.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// Shows the secrets.
pub(super) async fn show(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
    answer(&open, target.number)
}

/// Makes another secret.
pub(super) async fn rotate(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
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
    let all = secrets(open, number)?;
    let newest = all.first().cloned().ok_or(EndpointError::NoSecret)?;
    let view = SecretsView { secret: newest.secret, public_key: newest.public_key, secrets: all };
    Ok(secretly(json(StatusCode::OK, &view)))
}

/// An endpoint's secrets, newest first.
pub(super) fn secrets(open: &Open, number: EndpointNumber) -> Result<Vec<SecretView>, EndpointError> {
    let secrets = open.endpoints.secrets(number)?;
    let target = open.directory.target(number);
    let rule = target.as_ref().and_then(|target| target.profile()).map(|profile| &profile.signature);
    Ok(secrets.into_iter().map(|dated| view(dated, rule)).collect())
}

fn view(dated: DatedSecret, rule: Option<&SignatureRule>) -> SecretView {
    let created_at = Some(dated.made_at).filter(|at| *at != Timestamp::EPOCH);
    // One that is none for the profile has no public key: the endpoint is `unfit`, and says so.
    let private = rule.filter(|rule| rule.algorithm == Algorithm::Ed25519);
    let public_key = private.and_then(|rule| public_key(rule.key, &dated.secret).ok());
    SecretView { secret: ShownSecret(dated.secret), public_key, created_at, until: dated.until }
}
