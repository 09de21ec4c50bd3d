//! The id of a request: in every answer as `X-Request-Id`, in problem documents, and in the log where something failed.
//!
//! Whoever sends one of their own finds it there again, so that they can follow a request through their own parts and ours;
//! else one is made.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header},
};

use super::{problem::render, view};
use crate::{
    clock::{Chance, Clock},
    logging::Kind,
    model::id::base32,
};

const NAME: HeaderName = HeaderName::from_static("x-request-id");
/// The longest that is taken over.
const LONGEST: usize = 128;

/// A request's id.
#[derive(Clone, Debug)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The one that the headers bring, if it is one, else another.
    pub(super) fn of(headers: &HeaderMap, clock: Clock) -> Self {
        let mut values = headers.get_all(NAME).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if is_sane(value.as_bytes()) => Self(value.clone()),
            _ => Self::made(clock),
        }
    }

    /// `req_` and a UUIDv7, as ids are written here.
    fn made(clock: Clock) -> Self {
        let chance = u128::from(Chance.word()) << 64 | u128::from(Chance.word());
        let uuid = u128::from(clock.wall().as_millis()) << 80
            | 7 << 76
            | (chance >> 52 & 0xfff) << 64
            | 0b10 << 62
            | chance >> 66;
        let text = [b"req_".as_slice(), &base32(uuid)].concat();
        Self(HeaderValue::from_bytes(&text).expect("base32 is ASCII"))
    }

    fn as_str(&self) -> &str {
        self.0.to_str().expect("it is ASCII")
    }

    /// Puts it into the answer, and says so in the log where that is a failure.
    pub(super) fn mark(self, mut answer: Response<Body>, (method, uri): (&Method, &Uri)) -> Response<Body> {
        if let Some(document) = answer.extensions_mut().remove::<view::Problem>() {
            self.log(&document, (method, uri));
            // The router has measured the answer before its document was in it.
            answer.headers_mut().remove(header::CONTENT_LENGTH);
            *answer.body_mut() =
                render(&view::Problem { request_id: Some(self.as_str().to_owned()), ..document });
        }
        answer.headers_mut().insert(NAME, self.0);
        answer
    }

    /// What is wrong with a request is its sender's to know; what is wrong with the daemon, also those who run it.
    fn log(&self, problem: &view::Problem, (method, uri): (&Method, &Uri)) {
        let (request_id, path, status) = (self.as_str(), uri.path(), problem.status);
        let path: String = path.chars().take(200).collect();
        let code = &problem.code;
        if status == StatusCode::INTERNAL_SERVER_ERROR || code == "store_failed" {
            tracing::error!(kind = Kind::RequestFailed.word(), request_id, %method, path, status, code, "a request failed");
        } else {
            tracing::debug!(request_id, %method, path, status, code, "a request was refused");
        }
    }
}

/// Whether it may stand in headers, documents and the log as it is.
fn is_sane(text: &[u8]) -> bool {
    let may = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:+/=@".contains(byte);
    (1..=LONGEST).contains(&text.len()) && text.iter().all(may)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_over() {
        let long = "x".repeat(128);
        let longer = "x".repeat(129);
        for (sent, taken) in [
            (&["abc-7.8_9"][..], true),
            (&["0af7651916cd43dd:b7ad/6b=@+~"], true),
            (&[long.as_str()], true),
            (&[longer.as_str()], false),
            (&[""], false),
            (&["a b"], false),
            (&["a\"b"], false),
            (&["a", "a"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(NAME, value.parse().expect("a header's value"));
            }
            let id = RequestId::of(&headers, Clock::start());
            assert_eq!(sent.first() == Some(&id.as_str()), taken, "{sent:?}");
            assert!(taken || (id.as_str().starts_with("req_") && id.as_str().len() == 30), "{id:?}");
        }
    }

    #[test]
    fn made_ones_differ() {
        let clock = Clock::start();
        let ids: std::collections::HashSet<_> =
            (0..1_000).map(|_| RequestId::made(clock).as_str().to_owned()).collect();
        assert_eq!(ids.len(), 1_000);
    }
}
