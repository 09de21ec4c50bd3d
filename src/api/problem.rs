//! Refusals over HTTP: RFC 9457 problem documents.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};

use super::view::{self, ReloadErrorView};
use crate::{
    ingest::answer::Refusal,
    logging::{self, Kind},
    outbox::StoreError,
};

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
    /// Of a configuration: each thing that is wrong with it.
    pub(super) errors: Vec<ReloadErrorView>,
}

impl Problem {
    /// A problem with its words.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { status, code, detail: detail.into(), retry_after, errors: Vec::new() }
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
        tracing::error!(
            kind = Kind::StoreUnreadable.word(),
            error = logging::chain(&error),
            "the store cannot be read"
        );
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_failed",
            "the store cannot be read; see posthaste's log",
        )
    }
}

impl Problem {
    fn document(self) -> view::Problem {
        view::Problem {
            kind: format!("urn:posthaste:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            request_id: None,
            errors: self.errors,
        }
    }
}

/// An answer whose document is still to be told the request's id, and to be written then: see
/// [`RequestId`](super::request_id::RequestId), which every answer comes by.
impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.extensions_mut().insert(self.document());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"posthaste\""));
        }
        response
    }
}

/// The document as it is sent.
pub(super) fn render(document: &view::Problem) -> Body {
    Body::from(super::to_json(document))
}
