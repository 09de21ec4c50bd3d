//! `/v1/accounts` and what is beneath it: for operators of all accounts.
//!
//! What is asked is read for what it is, and handed on as it was given: the rules for an account's settings are those of the
//! configuration, and stand there.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    routing::on,
};

use super::{
    App, Open,
    document::{Document, Field},
    endpoints::{secretly, take},
    events::shown,
    id::Id,
    json,
    problem::Problem,
    query::Query,
    routes::Route,
    view::{
        AccountDetailsView, AccountSecretView, AccountView, DeletedAccount, KnownTypeView, MadeAccount, Page,
        ShownSecret,
    },
};
use crate::{
    engine::{
        endpoints::tenants::{AccountError, AccountPatch},
        settings::{Owner, Workshop},
    },
    model::{
        account::AccountName,
        profile::{Algorithm, Profile},
        time::format_duration,
    },
    policy::{form::Form, key::public_key, rights::Thing},
};

/// The fields that are settings, with their keys in the configuration.
const SETTINGS: [(&str, &str); 10] = [
    ("profile", "profile"),
    ("max_endpoints", "max_endpoints"),
    ("https_only", "https_only"),
    ("max_origins", "max_origins"),
    ("retention", "retention"),
    ("retention_failed", "retention_failed"),
    ("allow", "allow"),
    ("deny", "deny"),
    ("secret", "secret"),
    ("event_types", "event_type"),
];

/// The routes.
pub(super) const ROUTES: [Route; 6] = [
    Route::get("/v1/accounts", Thing::Accounts, |method| on(method, list)),
    Route::post("/v1/accounts", Thing::Accounts, |method| on(method, make)),
    Route::get("/v1/accounts/{name}", Thing::Accounts, |method| on(method, show)),
    Route::patch("/v1/accounts/{name}", Thing::Accounts, |method| on(method, change)),
    Route::delete("/v1/accounts/{name}", Thing::Accounts, |method| on(method, delete)),
    Route::get("/v1/accounts/{name}/secret", Thing::Accounts, |method| on(method, secret)),
];

/// All accounts, in the order of their names.
async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["limit", "cursor"])?;
    let (limit, after) = (query.limit()?, query.value::<AccountName>("cursor")?);
    let open = app.open().await?;
    let workshop = open.directory.workshop();
    let mut names = workshop.accounts().filter(|name| after.as_ref().is_none_or(|after| *name > after));
    let page: Vec<_> = names.by_ref().take(limit).collect();
    let next_cursor = names.next().and_then(|_| page.last()).map(ToString::to_string);
    let counts = Counts::of(&open);
    let items: Vec<_> = page.into_iter().filter_map(|name| view(&workshop, &counts, name)).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

/// Makes an account.
async fn make(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    let taken = take(&app, &open, &headers, body).await?;
    let (name, patch) = {
        let known: Vec<_> =
            ["name", "description"].into_iter().chain(SETTINGS.map(|(field, _)| field)).collect();
        let document = Document::read(&taken.bytes, &known, |_| None)?;
        let name: AccountName = document.require("name", "\"media\"")?.parsed()?;
        (name, patch(&document)?)
    };
    open.endpoints.make_account(name.clone(), patch).await?;
    let account = details(&open, &name)?;
    let secret = match open.endpoints.account_secret(&name) {
        Ok((secret, _)) => Some(ShownSecret(secret)),
        Err(_) => None,
    };
    let mut answer = json(StatusCode::CREATED, &MadeAccount { account, secret });
    let location = HeaderValue::try_from(format!("/v1/accounts/{name}")).expect("a name is ASCII");
    answer.headers_mut().insert(header::LOCATION, location);
    Ok(secretly(answer))
}

/// One account.
async fn show(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let (open, name) = asked(&app, &id, query.as_deref()).await?;
    Ok(json(StatusCode::OK, &details(&open, &name)?))
}

/// Changes an account.
async fn change(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, name) = asked(&app, &id, query.as_deref()).await?;
    let taken = take(&app, &open, &headers, body).await?;
    let patch = change_of(&taken.bytes)?;
    open.endpoints.change_account(name.clone(), patch).await?;
    Ok(json(StatusCode::OK, &details(&open, &name)?))
}

fn change_of(bytes: &Bytes) -> Result<AccountPatch, Problem> {
    let known: Vec<_> = std::iter::once("description").chain(SETTINGS.map(|(field, _)| field)).collect();
    let help = |name: &str| (name == "name").then_some("the name of an account stays: make another account");
    patch(&Document::read(bytes, &known, help)?)
}

/// Deletes an account.
async fn delete(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let (open, name) = asked(&app, &id, query.as_deref()).await?;
    open.endpoints.delete_account(name.clone()).await?;
    Ok(json(StatusCode::OK, &DeletedAccount { name }))
}

/// What signs its callbacks.
async fn secret(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let (open, name) = asked(&app, &id, query.as_deref()).await?;
    let (secret, form) = open.endpoints.account_secret(&name)?;
    let rule = form.as_ref().map(|form| &form.profile().signature);
    let private = rule.filter(|rule| rule.algorithm == Algorithm::Ed25519);
    let public_key = private.and_then(|rule| public_key(rule.key, &secret).ok());
    Ok(secretly(json(StatusCode::OK, &AccountSecretView { secret: ShownSecret(secret), public_key })))
}

async fn asked(app: &App, name: &str, query: Option<&str>) -> Result<(Open, AccountName), Problem> {
    Query::read(query, &[])?;
    let open = app.open().await?;
    let named: Option<AccountName> = name.parse().ok();
    let known = named.filter(|name| open.directory.workshop().account(name).is_some());
    let missing = || Problem::not_found(format!("there is no account {}", shown(name)));
    Ok((open.clone(), known.ok_or_else(missing)?))
}

fn patch(document: &Document<'_>) -> Result<AccountPatch, Problem> {
    let description = document.get("description").map(|field| field.or_null(Field::text)).transpose()?;
    let given = |(field, key): (&str, &'static str)| {
        let field = document.get(field)?;
        Some(
            field
                .or_null(|field| field.value("a value without null, or a name twice, in it"))
                .map(|given| (key, given)),
        )
    };
    let settings = SETTINGS.into_iter().filter_map(given).collect::<Result<_, Problem>>()?;
    Ok(AccountPatch { description, settings })
}

/// How many endpoints each account has.
struct Counts(std::collections::BTreeMap<AccountName, u64>);

impl Counts {
    fn of(open: &Open) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        for target in open.directory.targets().iter().filter(|target| !target.stored.is_deleted()) {
            *counts.entry(target.stored.account.clone()).or_default() += 1;
        }
        Self(counts)
    }
}

fn view(workshop: &Workshop, counts: &Counts, name: &AccountName) -> Option<AccountView> {
    let account = workshop.account(name)?;
    let configured = workshop.is_configured(name);
    let tenant = workshop.tenants().get(name);
    let own = tenant.filter(|_| !configured);
    let owner = if configured { Owner::Configuration } else { Owner::Api };
    let form = account.form.as_ref();
    let profile = form.map(|form: &Arc<Form>| form.profile()).map(|profile: &Profile| profile.name.clone());
    let networks = |all: &[_]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let help = "its profile is not in the configuration: add it there, or give the account another";
    Some(AccountView {
        name: name.clone(),
        owner: owner.as_str().to_owned(),
        shadowed: configured && tenant.is_some(),
        description: own.and_then(|own| own.description.clone()),
        profile: profile.or_else(|| own.map(|own| own.profile.clone())).unwrap_or_default(),
        max_endpoints: account.max_endpoints,
        https_only: account.https_only,
        max_origins: account.max_origins,
        retention: account.retention.map(format_duration),
        retention_failed: account.retention_failed.map(format_duration),
        allow: account.narrowing.allow().map(networks),
        deny: networks(account.narrowing.deny()),
        has_secret: account.secret.is_some(),
        known_types: account
            .catalog
            .as_ref()
            .map(|catalog| u64::try_from(catalog.iter().count()).unwrap_or(u64::MAX)),
        endpoints: counts.0.get(name).copied().unwrap_or(0),
        problem: problem(
            form.is_none(),
            own.is_some_and(|own| own.secret.is_some()) && account.secret.is_none(),
            help,
        ),
        created_at: own.map(|own| own.created_at),
        updated_at: own.map(|own| own.updated_at),
    })
}

fn problem(no_profile: bool, no_key: bool, help: &str) -> Option<String> {
    match (no_profile, no_key) {
        (true, _) => Some(help.to_owned()),
        (false, true) => Some("its secret is no key for its profile any more: give it another".to_owned()),
        (false, false) => None,
    }
}

fn details(open: &Open, name: &AccountName) -> Result<AccountDetailsView, Problem> {
    let workshop = open.directory.workshop();
    // Somebody else may have deleted it meanwhile.
    let account =
        view(&workshop, &Counts::of(open), name).ok_or_else(|| AccountError::NotFound(name.clone()))?;
    let catalog = workshop.account(name).and_then(|account| account.catalog.as_ref());
    let known = |(name, entry): (&_, &crate::policy::catalog::Entry)| KnownTypeView {
        name: Clone::clone(name),
        groups: entry.groups.clone(),
        description: entry.description.clone(),
        effect: entry.effect,
    };
    let event_types = catalog.map(|catalog| catalog.iter().map(known).collect());
    Ok(AccountDetailsView { account, event_types })
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let (status, code) = match error {
            AccountError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_account"),
            AccountError::Exists(_) => (StatusCode::CONFLICT, "account_exists"),
            AccountError::OwnedByConfiguration(_) => (StatusCode::CONFLICT, "owned_by_configuration"),
            AccountError::TooMany => (StatusCode::CONFLICT, "too_many_accounts"),
            AccountError::InUse { .. } => (StatusCode::CONFLICT, "account_in_use"),
            AccountError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            AccountError::NoSecret(_) => (StatusCode::NOT_FOUND, "no_secret"),
            AccountError::Counting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            AccountError::Store(error) => return error.into(),
        };
        Self::new(status, code, error.to_string())
    }
}
