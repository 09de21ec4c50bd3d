//! `POST /v1/events`: one event, or many with an answer each; a batch is not atomic.

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, Response, StatusCode},
};

use super::{
    form::{Form, Many, One},
    key,
};
use crate::{
    api::{App, access::Asker, body, json, problem::Problem, query::Query, view::AnswerList},
    ingest::{
        access::Verdict,
        answer::Refusal,
        intake::{Intake, Meanwhile, Permit, wire},
    },
    model::account::AccountName,
};

/// A body larger than this is read into events beside the threads that serve the sockets.
const LARGE: usize = 64 << 10;

/// Takes one event, or many.
pub(in crate::api) async fn hand_in(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account"])?;
    let account = asker.account(&query)?.unwrap_or_default();
    let form = Form::of(&headers)?;
    let id = key::of(&headers)?;
    let intake = app.open().await?.intake;
    if *app.stopping.borrow() {
        return Err(Refusal::stopping().into());
    }
    asker.0.check_open(app.clock.now()).inspect_err(|_| app.metrics.refused.add(1))?;
    let mut permit = Permit::default();
    let limit = form.limit(&intake);
    match form {
        Form::One(form) => {
            let body = body::read(body, &headers, &limit, &intake, &mut permit).await?;
            one((&intake, &asker.0), form, body, id, account, permit).await
        }
        Form::Many(_) if id.is_some() => Err(key::of_many()),
        Form::Many(form) => {
            let body = body::read(body, &headers, &limit, &intake, &mut permit).await?;
            many((&intake, &asker.0), form, body, account, permit).await
        }
    }
}

async fn one(
    (intake, who): (&Intake, &Verdict),
    form: One,
    body: Bytes,
    id: Option<String>,
    account: AccountName,
    mut permit: Permit,
) -> Result<Response<Body>, Problem> {
    let (length, event_size) = (body.len(), intake.limits().event_size);
    intake.budget().cover(&mut permit, length + form.cost(length, event_size)).await?;
    let work = move || form.parse(&body, &account, event_size).map_err(Refusal::from);
    let event = read(length, work).await?;
    let event = match (event, id) {
        (Ok(event), Some(id)) => Ok(key::give(event, id)?),
        (event, _) => event,
    };
    let mut answers = intake.submit(vec![event], permit, who, Meanwhile::Waits).answers().await;
    let answer = answers.pop().unwrap_or_else(|| Err(Refusal::store_failed()));
    Ok(json(StatusCode::ACCEPTED, &answer?))
}

async fn many(
    (intake, who): (&Intake, &Verdict),
    form: Many,
    body: Bytes,
    account: AccountName,
    mut permit: Permit,
) -> Result<Response<Body>, Problem> {
    let (most, event_size) = (intake.limits().batch_events, intake.limits().event_size);
    let length = body.len();
    intake.budget().cover(&mut permit, length + form.cost(length)).await?;
    let items = read(length, move || form.split(body, event_size, &account, most)).await??;
    let answers = intake.submit_together(items, permit, who)?.answers().await;
    Ok(json(StatusCode::ACCEPTED, &AnswerList { items: answers.into_iter().map(wire).collect() }))
}

/// Reads a body of so many bytes, so that it does not hold up the threads that serve the sockets.
async fn read<T: Send + 'static>(
    length: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if length <= LARGE {
        return Ok(work());
    }
    let failed =
        |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an error in posthaste; see its log");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}
