//! `POST /v1/endpoints/{id}/recover`: all that an endpoint has failed since a time is delivered again.

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};

use super::{asked, take};
use crate::{
    api::{App, access::Asker, document::Document, finish, id::Id, jobs, json, problem::Problem},
    model::{
        event::Seq,
        job::{Recover, Work},
        time::Timestamp,
    },
    outbox::{JobChange, JobChanged, Reader},
};

/// Begins a job.
pub(super) async fn recover(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let (open, target) = asked(&app, &asker, &id, query.as_deref()).await?;
    let taken = take(&app, &open, &headers, body).await?;
    let at = app.clock.wall();
    let (since, until) = window(&Document::read(&taken.bytes, &["since", "until"], |_| None)?)?;
    let next = open.read(&asker.0, Reader::first).await?;
    // The store says up to which event.
    let below = Seq::MAX;
    let work = Recover { endpoint: target.number, since, until, below, next, replayed: 0 };
    let account = Some(target.stored.account.clone());
    let change = JobChange::Make { account, work: Work::Recover(work), total: None, at };
    let beside = open.clone();
    let made = async move {
        let made = beside.outbox.change_job(change).await?;
        beside.engine.recover();
        Ok(made)
    };
    match finish(made).await? {
        JobChanged::Done(number, job) => {
            let view = jobs::view(number, &job, &open);
            let mut answer = json(StatusCode::ACCEPTED, &view);
            let location = HeaderValue::try_from(format!("/v1/jobs/{}", view.id));
            answer.headers_mut().insert(header::LOCATION, location.expect("an id is ASCII"));
            Ok(answer)
        }
        JobChanged::Excluded(number, job) | JobChanged::Ended(number, job) => {
            let running = jobs::view(number, &job, &open).id;
            let detail =
                format!("{running} is recovering this endpoint already: wait for its end, or cancel it");
            Err(Problem::new(StatusCode::CONFLICT, "recover_running", detail))
        }
        JobChanged::Missing => Err(Problem::not_found("there is no such endpoint")),
    }
}

/// From when, and until when. Without an end there is none: what failed while the clock was ahead is dated after now.
fn window(document: &Document) -> Result<(Timestamp, Timestamp), Problem> {
    let since: Timestamp = document.require("since", "{\"since\":\"2026-11-22T02:57:00Z\"}")?.parsed()?;
    let Some(field) = document.get("until") else { return Ok((since, Timestamp::MAX)) };
    let until: Timestamp = field.clone().parsed()?;
    if until <= since {
        return Err(field.problem("must be later than `since`"));
    }
    Ok((since, until))
}
