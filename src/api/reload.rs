//! `POST /v1/reload`: for operators, on the Unix socket alone.

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse as _,
};

use super::{
    App,
    access::Operator,
    json,
    problem::Problem,
    query::Query,
    view::{self, ReloadErrorView, ReloadFailed, ReloadedView},
};
use crate::engine::reload::{ReloadError, Reloaded, errors, said};

/// Has the configuration read again, and says what is different.
pub(super) async fn reload(
    _: Operator,
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
        Err(error) => Ok(refused(&error)),
    }
}

fn refused(error: &ReloadError) -> Response<Body> {
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_configuration", said(error));
    let document = ReloadFailed {
        problem: view::Problem::from(&problem),
        errors: errors(error).map(error_view).collect(),
    };
    let mut answer = json(problem.status, &document).into_response();
    let kind = HeaderValue::from_static("application/problem+json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
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
