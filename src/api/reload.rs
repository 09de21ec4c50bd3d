//! `POST /v1/reload`: for operators, on the Unix socket alone.

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};

use super::{
    App,
    gate::Local,
    json,
    problem::Problem,
    query::Query,
    view::{ReloadErrorView, ReloadedView},
};
use crate::engine::reload::{ReloadError, Reloaded, errors, said};

/// Has the configuration read again, and says what is different.
pub(super) async fn reload(
    _: Local,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    match open.reloader.reload().await {
        Ok(Reloaded { changed, needs_restart }) => {
            Ok(json(StatusCode::OK, &ReloadedView { changed, needs_restart }))
        }
        Err(ReloadError::Store(error)) => Err(error.into()),
        Err(error) => Err(refused(&error)),
    }
}

fn refused(error: &ReloadError) -> Problem {
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_configuration", said(error));
    Problem { errors: errors(error).map(error_view).collect(), ..problem }
}

fn error_view(error: crate::engine::reload::Wrong<'_>) -> ReloadErrorView {
    ReloadErrorView {
        message: error.message.to_owned(),
        help: error.help.to_owned(),
        file: error.file.display().to_string(),
        line: error.at.map(|(line, _)| line),
        column: error.at.map(|(_, column)| column),
        notes: error.notes.to_vec(),
    }
}
