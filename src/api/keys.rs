//! `/v1/keys`: what lets somebody in over TCP.
//!
//! An operator who is bound to an account sees and makes that account's keys alone.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    routing::on,
};

use super::{
    App, Open,
    access::Asker,
    document::{Document, Field},
    endpoints::{secretly, take},
    events::{shown, wrong_cursor},
    id::Id,
    json,
    problem::Problem,
    query::Query,
    routes::Route,
    view::{KeyView, MadeKey, Page, RevokedKey, ShownSecret},
};
use crate::{
    ingest::keyring::{Held, KeyError, NewKey},
    logging::Kind,
    model::{
        account::AccountName,
        id::KeyId,
        role::Role,
        time::{Timestamp, parse_duration},
    },
    policy::rights::Thing,
};

/// The longest note, in characters.
const NAME: usize = 128;
const FIELDS: [&str; 3] = ["role", "name", "expires"];
const EXAMPLE: &str = "{\"role\":\"subscriber\",\"name\":\"portal\",\"expires\":\"90d\"}";

/// The routes.
pub(super) const ROUTES: [Route; 4] = [
    Route::get("/v1/keys", Thing::Keys, |method| on(method, list)),
    Route::post("/v1/keys", Thing::Keys, |method| on(method, make)),
    Route::get("/v1/keys/{id}", Thing::Keys, |method| on(method, show)),
    Route::delete("/v1/keys/{id}", Thing::Keys, |method| on(method, revoke)),
];

/// The keys, newest first.
async fn list(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account", "limit", "cursor"])?;
    let account = asker.account(&query)?;
    let limit = query.limit()?;
    let open = app.open().await?;
    let before = match query.value::<KeyId>("cursor")? {
        Some(id) => Some(open.outbox.id_key().open_key(id).ok_or_else(wrong_cursor)?.1),
        None => None,
    };
    let mut wanted = open.keys.all().into_iter().filter(|held| {
        let is_theirs = account.as_ref().is_none_or(|account| held.stored().role.account() == Some(account));
        is_theirs && before.is_none_or(|before| held.number < before)
    });
    let page: Vec<_> = wanted.by_ref().take(limit).collect();
    let next_cursor = wanted.next().and_then(|_| Some(page.last()?.id.to_string()));
    let items: Vec<_> = page.iter().map(|held| view(held, &app)).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

/// One key.
async fn show(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let (_, held) = asked(&app, &asker, &id, query.as_deref()).await?;
    Ok(json(StatusCode::OK, &view(&held, &app)))
}

/// Makes a key.
async fn make(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account"])?;
    let account = asker.account(&query)?;
    let open = app.open().await?;
    if let Some(account) = account.as_ref().filter(|account| !open.intake.has_account(account)) {
        return Err(KeyError::NoAccount(account.clone()).into());
    }
    let taken = take(&app, &open, &headers, body).await?;
    let of_tenant = account.as_ref().is_some_and(|account| !open.directory.workshop().is_configured(account));
    let new = NewKey { of_tenant, ..read(&taken.bytes, account, &app)? };
    let (held, text) = open.keys.make(new).await?;
    let (role, account) = (held.stored().role.word(), held.stored().role.account().map(AccountName::as_str));
    tracing::info!(kind = Kind::KeyMade.word(), key = %held.id, role, account, "a key for the API is made");
    let location = HeaderValue::try_from(format!("/v1/keys/{}", held.id));
    let made = MadeKey { view: view(&held, &app), key: ShownSecret(text) };
    let mut answer = json(StatusCode::CREATED, &made);
    answer.headers_mut().insert(header::LOCATION, location.expect("an id is ASCII"));
    Ok(secretly(answer))
}

fn read(body: &Bytes, account: Option<AccountName>, app: &App) -> Result<NewKey, Problem> {
    let document = Document::read(body, &FIELDS, help)?;
    let word = document.require("role", EXAMPLE)?;
    let text = word.clone().text()?;
    if !Role::WORDS.contains(&text.as_str()) {
        return Err(word.problem(&format!("is one of {}", Role::WORDS.join(", "))));
    }
    let role = Role::new(&text, account).ok_or_else(|| {
        let detail = "a subscriber's key is for one account: name it in the address, as ?account=NAME";
        invalid(detail.to_owned())
    })?;
    let name = document.get("name").map(|field| field.or_null(|field| note(&field))).transpose()?.flatten();
    let expiry = |field| expiry(&field, app);
    let expires_at = document.get("expires").map(|field| field.or_null(expiry)).transpose()?.flatten();
    Ok(NewKey { role, name, expires_at, of_tenant: false })
}

fn note(field: &Field<'_>) -> Result<String, Problem> {
    let text = field.clone().text()?;
    let count = text.chars().count();
    if text.trim().is_empty() || count > NAME || text.chars().any(char::is_control) {
        return Err(field.problem(&format!("has 1 to {NAME} characters, none of them a control character")));
    }
    Ok(text)
}

/// A time, or how long from now on.
fn expiry(field: &Field<'_>, app: &App) -> Result<Timestamp, Problem> {
    let text = field.clone().text()?;
    // The time that expiry is held against: a clock that was set back makes no key live longer.
    let now = app.clock.age();
    let at = match parse_duration(&text) {
        Ok(duration) => now.plus(duration),
        Err(_) => text.parse().map_err(|_| {
            field.problem("is neither a duration, such as \"90d\", nor an RFC 3339 time, such as \"2027-01-01T00:00:00Z\"")
        })?,
    };
    if at <= now {
        return Err(invalid(
            "the key would have expired before it is made: `expires` is to be in the future".to_owned(),
        ));
    }
    Ok(at)
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_key", detail)
}

/// What there is to say about fields that somebody may look for here.
fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        "account" => "the account is named in the address, as ?account=NAME",
        "expires_at" | "expires_in" | "ttl" => "write `expires`",
        "description" | "note" => "write `name`",
        "id" | "key" | "created_at" | "last_used_at" => "the daemon sets it",
        _ => return None,
    })
}

/// Revokes a key.
async fn revoke(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let (open, held) = asked(&app, &asker, &id, query.as_deref()).await?;
    open.keys.revoke(held.number).await?;
    tracing::info!(kind = Kind::KeyRevoked.word(), key = %held.id, "a key for the API is revoked");
    Ok(json(StatusCode::OK, &RevokedKey { id: held.id }))
}

async fn asked(
    app: &App,
    asker: &Asker,
    id: &str,
    query: Option<&str>,
) -> Result<(Open, Arc<Held>), Problem> {
    let query = Query::read(query, &["account"])?;
    let account = asker.account(&query)?;
    let open = app.open().await?;
    let missing = || Problem::not_found(format!("there is no key {}", shown(id)));
    let key: KeyId = id.parse().map_err(|error| Problem::not_found(format!("{}: {error}", shown(id))))?;
    let is_theirs = |held: &Arc<Held>| {
        account.as_ref().is_none_or(|account| held.stored().role.account() == Some(account))
    };
    let held = open.keys.get(key).filter(is_theirs).ok_or_else(missing)?;
    Ok((open, held))
}

fn view(held: &Held, app: &App) -> KeyView {
    let stored = held.stored();
    KeyView {
        id: held.id,
        role: stored.role.word().to_owned(),
        account: stored.role.account().cloned(),
        name: stored.name.clone(),
        created_at: stored.created_at,
        expires_at: stored.expires_at,
        expired: stored.is_over(app.clock.age()),
        last_used_at: held.last_used_at(),
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let (status, code) = match error {
            KeyError::TooMany => (StatusCode::CONFLICT, "too_many_keys"),
            KeyError::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            KeyError::NoAccount(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_account"),
            KeyError::Chance(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_random_numbers"),
            KeyError::Store(error) => return Self::from(error),
        };
        Self::new(status, code, error.to_string())
    }
}
