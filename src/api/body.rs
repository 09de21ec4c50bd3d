//! Requests' bodies: their content type, and their bytes within a limit of size and time.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::problem::Problem;
use crate::{
    ingest::{
        answer::{Code, Refusal},
        intake::{Intake, Permit},
    },
    model::time::format_size,
};

/// A request's body must have come within this, however it trickles in.
const TIME: Duration = Duration::from_secs(60);

/// How large a body may be, and what is said of one that is larger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Bytes at most.
    pub(super) bytes: usize,
    /// The problem's code.
    pub(super) code: &'static str,
    /// Which setting says so, in brackets after a blank; empty where none does.
    pub(super) setting: &'static str,
}

impl Limit {
    fn exceeded(&self) -> Problem {
        let bytes = format_size(u64::try_from(self.bytes).unwrap_or(u64::MAX));
        let detail = format!("the body has more than {bytes}{}", self.setting);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, self.code, detail)
    }
}

/// The content type without its parameters; empty where none is given.
pub(super) fn essence(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Whether a body of this content type is read as JSON: it says so, or says nothing, or says what `curl -d` does when
/// nobody tells it otherwise.
pub(super) fn is_json(essence: &str) -> bool {
    let known = ["", "application/json", "application/x-www-form-urlencoded"];
    known.iter().any(|known| essence.eq_ignore_ascii_case(known))
}

/// Reads a body within `limit`; what is held is covered by the intake's budget for as long as `permit` is.
///
/// # Errors
/// It is larger, or does not come to its end in time, or there is no room for it.
pub(super) async fn read(
    body: Body,
    headers: &HeaderMap,
    limit: &Limit,
    intake: &Intake,
    permit: &mut Permit,
) -> Result<Bytes, Problem> {
    let read = collect(body, headers, limit, intake, permit);
    timeout(TIME, read).await.unwrap_or_else(|_| Err(too_slow()))
}

async fn collect(
    mut body: Body,
    headers: &HeaderMap,
    limit: &Limit,
    intake: &Intake,
    permit: &mut Permit,
) -> Result<Bytes, Problem> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit.bytes) {
        return Err(limit.exceeded());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let cut = |_| Problem::bad_request("the body ended early; nothing was taken");
        let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
        if whole.len() + data.remaining() > limit.bytes {
            return Err(limit.exceeded());
        }
        intake.budget().cover(permit, whole.len() + data.remaining()).await?;
        if whole.is_empty() && length == Some(data.len()) {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn too_slow() -> Problem {
    let detail = format!("the body had not come within {} s; nothing was taken", TIME.as_secs());
    Refusal::new(Code::TooSlow, detail).into()
}
