//! Refusals over HTTP: RFC 9457 problem documents.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};

use super::view;
use crate::{ingest::answer::Refusal, outbox::StoreError};

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The status.
    pub(super) status: StatusCode,
    /// A stable word.
    pub(super) code: &'static str,
    /// What is wrong and what to do.
    pub(super) detail: String,
    /// Seconds until it may be another answer.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    /// A problem with its words.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { status, code, detail: detail.into(), retry_after }
    }

    /// Something in the request cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let retry_after = refusal.retry_after_secs();
        Self { retry_after, ..Self::new(status, refusal.code.as_str(), refusal.message) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = crate::logging::chain(&error), "the store cannot be read");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_failed",
            "the store cannot be read; see posthaste's log",
        )
    }
}

impl From<&Problem> for view::Problem {
    fn from(problem: &Problem) -> Self {
        Self {
            kind: format!("urn:posthaste:problem:{}", problem.code),
            title: problem.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: problem.status.as_u16(),
            detail: problem.detail.clone(),
            code: problem.code.to_owned(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = super::json(self.status, &view::Problem::from(&self));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
