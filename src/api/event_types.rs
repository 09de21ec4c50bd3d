//! `GET /v1/event-types`.

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};

use super::{
    App,
    access::Asker,
    json,
    problem::Problem,
    query::Query,
    view::{EventTypeView, Page},
};
use crate::{ingest::catalogs::Counted, model::account::AccountName};

/// An account's catalog, in the order of the names; an account without one, for which every type is known, has none to show.
pub(super) async fn list(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account"])?;
    let account: AccountName = asker.account(&query)?.unwrap_or_default();
    let catalogs = app.open().await?.intake.catalogs();
    let types = catalogs.of(&account).into_iter().flat_map(Counted::types);
    let items = types.map(|(name, entry, accepted)| EventTypeView {
        name: name.clone(),
        groups: entry.groups.clone(),
        description: entry.description.clone(),
        effect: entry.effect,
        accepted,
    });
    Ok(json(StatusCode::OK, &Page { items: items.collect::<Vec<_>>(), next_cursor: None }))
}
