//! `POST /v1/endpoints`.

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};

use super::{secret::secrets, secretly, take, view_of};
use crate::{
    api::{
        App, Open,
        access::Asker,
        document::{Document, Field},
        json,
        problem::Problem,
        query::Query,
        view::MadeEndpoint,
    },
    engine::endpoints::{EndpointError, NewEndpoint},
    model::{account::AccountName, endpoint::EndpointNumber, secret::Secret},
};

const FIELDS: [&str; 7] = ["url", "event_types", "description", "profile", "headers", "enabled", "secret"];

/// Makes an endpoint.
pub(super) async fn make(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account"])?;
    let account = asker.account(&query)?.unwrap_or_default();
    let open = app.open().await?;
    let taken = take(&app, &open, &headers, body).await?;
    let new = read(&taken.bytes, account)?;
    let number = open.endpoints.make(new).await?;
    answer(&open, &asker, number).await
}

async fn answer(open: &Open, asker: &Asker, number: EndpointNumber) -> Result<Response<Body>, Problem> {
    let endpoint = view_of(open, asker, number).await?;
    let location = HeaderValue::try_from(format!("/v1/endpoints/{}", endpoint.id));
    let newest = match secrets(open, number) {
        Ok(secrets) => secrets.into_iter().next(),
        Err(EndpointError::NoSecret) => None,
        Err(error) => return Err(error.into()),
    };
    let (secret, public_key) = newest.map(|one| (one.secret, one.public_key)).unzip();
    let made = MadeEndpoint { endpoint, secret, public_key: public_key.flatten() };
    let mut answer = json(StatusCode::CREATED, &made);
    answer.headers_mut().insert(header::LOCATION, location.expect("an id is ASCII"));
    Ok(secretly(answer))
}

fn read(body: &Bytes, account: AccountName) -> Result<NewEndpoint, Problem> {
    let document = Document::read(body, &FIELDS, help)?;
    let text = |name: &str| document.get(name).map(|field| field.or_null(Field::text)).transpose();
    let example = "{\"url\":\"https://erp.example/hooks\",\"event_types\":[\"*\"]}";
    let enabled = document.get("enabled").map(Field::flag).transpose()?;
    Ok(NewEndpoint {
        account,
        url: document.require("url", example)?.text()?,
        event_types: document.require("event_types", example)?.texts()?,
        description: text("description")?.flatten(),
        profile: text("profile")?.flatten(),
        headers: document.get("headers").map(headers_of).transpose()?.unwrap_or_default(),
        enabled: enabled.unwrap_or(true),
        secret: text("secret")?.flatten().map(Secret::new),
    })
}

/// Headers with their values; `null` stands for none.
pub(super) fn headers_of(field: Field<'_>) -> Result<Vec<(String, Secret)>, Problem> {
    let texts = field.or_null(Field::named_texts)?.unwrap_or_default();
    Ok(texts.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

/// What there is to say about fields that somebody may look for here.
fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        "account" => "the account is named in the address, as ?account=NAME",
        "active" => "write `enabled`",
        "id" | "created_at" | "updated_at" | "owner" => "the daemon sets it",
        "name" => "only endpoints of the configuration have a name; write a `description`",
        _ => return None,
    })
}
