//! `GET /v1/endpoints`, `GET /v1/endpoints/{id}`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};

use super::{asked, oldest_of, view, view_of};
use crate::{
    api::{
        App, access::Asker, events::wrong_cursor, id::Id, json, problem::Problem, query::Query, view::Page,
    },
    engine::directory::Target,
    model::id::EndpointId,
};

/// The endpoints, newest first.
pub(super) async fn list(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account", "limit", "cursor"])?;
    let account = asker.account(&query)?;
    let limit = query.limit()?;
    let open = app.open().await?;
    let before = match query.value::<EndpointId>("cursor")? {
        Some(id) => Some(open.outbox.id_key().open_endpoint(id).ok_or_else(wrong_cursor)?.1),
        None => None,
    };
    let lanes = open.engine.lanes().await;
    let wanted = open.directory.targets().into_iter().filter(|target| {
        !target.stored.is_deleted()
            && account.as_ref().is_none_or(|account| *account == target.stored.account)
            && before.is_none_or(|before| target.number < before)
    });
    let mut wanted = wanted;
    let page: Vec<_> = wanted.by_ref().take(limit).collect();
    let next_cursor = wanted.next().and_then(|_| Some(page.last()?.id.to_string()));
    let oldest = oldest_of(&open, &asker, page.iter().map(|target| target.number)).await?;
    let item = |target: &Arc<Target>| {
        let number = target.number;
        view(target, &open, lanes.get(&number), oldest.get(&number).copied())
    };
    let items = page.iter().map(item).collect();
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

/// One endpoint.
pub(super) async fn show(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
    Ok(json(StatusCode::OK, &view_of(&open, &asker, target.number).await?))
}
