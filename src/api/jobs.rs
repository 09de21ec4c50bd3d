//! `/v1/jobs` and what is beneath it. A job of an account is seen by whoever sees the account, one of the box by those who see all.

use std::cmp::Reverse;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};

use super::{
    App, Open,
    access::Asker,
    backup::Cancelled,
    events::{shown, wrong_cursor},
    id::Id,
    json,
    problem::Problem,
    query::Query,
    view::{JobView, Page, ProgressView},
};
use crate::{
    model::{
        account::AccountName,
        id::JobId,
        job::{Job, JobNumber, JobState, Work},
        time::Timestamp,
    },
    outbox::{JobChange, JobChanged},
};

/// The jobs, newest first.
pub(super) async fn list(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let query = Query::read(query.as_deref(), &["account", "limit", "cursor"])?;
    let account = asker.account(&query)?;
    let limit = query.limit()?;
    let open = app.open().await?;
    let before = match query.value::<JobId>("cursor")? {
        Some(id) => Some(open.outbox.id_key().open_job(id).ok_or_else(wrong_cursor)?.1),
        None => None,
    };
    let mut jobs = open.read(&asker.0, crate::outbox::Reader::jobs).await?;
    jobs.sort_by_key(|(number, _)| Reverse(*number));
    let mut wanted = jobs.iter().filter(|(number, job)| {
        account.as_ref().is_none_or(|account| job.account.as_ref() == Some(account))
            && before.is_none_or(|before| *number < before)
    });
    let page: Vec<_> = wanted.by_ref().take(limit).collect();
    let items: Vec<_> = page.iter().map(|(number, job)| view(*number, job, &open)).collect();
    let next_cursor = wanted.next().and_then(|_| Some(items.last()?.id.to_string()));
    Ok(json(StatusCode::OK, &Page { items, next_cursor }))
}

/// One job.
pub(super) async fn show(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    let (number, job) = find(&open, &id, &asker).await?;
    Ok(json(StatusCode::OK, &view(number, &job, &open)))
}

/// Calls a job off.
pub(super) async fn cancel(
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    Id(id): Id,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    let (number, _) = find(&open, &id, &asker).await?;
    let cancelled = app.backups.cancel(number);
    if cancelled == Cancelled::TooLate {
        let detail = "the backup is whole, and has its name or is about to get it: there is nothing to cancel any more";
        return Err(Problem::new(StatusCode::CONFLICT, "job_ended", detail));
    }
    let (state, at) = (JobState::Cancelled, app.clock.wall());
    let change = JobChange::End { number, state, error: None, at };
    match open.outbox.change_job(change).await? {
        JobChanged::Done(number, job) => Ok(json(StatusCode::OK, &view(number, &job, &open))),
        // It was given up, and said so, before this could.
        JobChanged::Ended(number, job) if cancelled == Cancelled::Yes && job.state == state => {
            Ok(json(StatusCode::OK, &view(number, &job, &open)))
        }
        JobChanged::Ended(_, job) | JobChanged::Excluded(_, job) => {
            let detail = format!("the job has ended already: it is {}", job.state.as_str());
            Err(Problem::new(StatusCode::CONFLICT, "job_ended", detail))
        }
        JobChanged::Missing => Err(missing(&id)),
    }
}

async fn find(open: &Open, id: &str, asker: &Asker) -> Result<(JobNumber, Job), Problem> {
    let parsed: JobId = id.parse().map_err(|error| Problem::not_found(format!("{}: {error}", shown(id))))?;
    let (started_at, number) = open.outbox.id_key().open_job(parsed).ok_or_else(|| missing(id))?;
    let job = open.read(&asker.0, move |reader| reader.job(number)).await?;
    let job = job.filter(|job| job.started_at == started_at && sees(asker, job.account.as_ref()));
    job.map(|job| (number, job)).ok_or_else(|| missing(id))
}

/// Whether a job of `account` is the asker's to see; without one it is the box's.
fn sees(asker: &Asker, account: Option<&AccountName>) -> bool {
    account.map_or_else(|| asker.0.account().is_none(), |account| asker.0.sees(account))
}

fn missing(id: &str) -> Problem {
    let detail = format!("there is no job {}; of those that have ended the last hundred are kept", shown(id));
    Problem::not_found(detail)
}

/// A job as it is shown.
pub(super) fn view(number: JobNumber, job: &Job, open: &Open) -> JobView {
    let (recover, file) = match &job.work {
        Work::Recover(recover) => (Some(recover), None),
        Work::Backup { file } => (None, Some(file.clone())),
    };
    let target = recover.and_then(|recover| open.directory.target(recover.endpoint));
    let held = job.is_running() && target.as_ref().is_some_and(|target| target.is_held());
    JobView {
        waiting: held.then(|| "disabled".to_owned()),
        id: open.outbox.id_key().job_id(job.started_at, number),
        kind: job.work.kind(),
        state: job.state,
        account: job.account.clone(),
        endpoint_id: target.map(|target| target.id),
        since: recover.map(|recover| recover.since),
        until: recover.map(|recover| recover.until).filter(|until| *until != Timestamp::MAX),
        file,
        size: job.made.map(|made| made.size),
        store_growth: job.made.map(|made| made.growth),
        progress: ProgressView {
            done: job.done,
            total: job.total,
            replayed: recover.map(|recover| recover.replayed),
        },
        started_at: job.started_at,
        ended_at: job.ended_at,
        error: job.error.clone(),
    }
}
