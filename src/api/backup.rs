//! `POST /v1/store/backup`: for operators of all accounts, and over the Unix socket alone, as it writes a file on this machine.
//!
//! What can be said against the file is said at once; the copying is a job. It goes on a thread of its own, which rests as
//! long as it works, so that the other half of the disk is everybody else's; only the last part, in which the store grows,
//! goes without a rest. The job's progress is written once a second. When the job is cancelled, or the daemon stops, the
//! backup is given up with the next piece, and before it gets its name the store is asked once more. Whether it is cancelled
//! is decided in [`making`], which has one at a time.

mod making;

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use tokio::{runtime::Handle, time::sleep};

pub use self::making::Backups;
pub(super) use self::making::Cancelled;
use self::making::{Making, Turn};

use super::{
    App, Open, access::Asker, document::Document, endpoints::take, finish, gate::Local, jobs, json,
    problem::Problem, query::Query,
};
use crate::{
    clock::Clock,
    logging::{self, Kind},
    model::job::{Job, JobNumber, JobState, Made, Work},
    outbox::{
        JobChange, JobChanged, OpenError, Reader, StoreError,
        file::{BackupError, Copied, Halt, Progress, Stage},
    },
    sandbox,
};

/// How often a job's progress is written.
const TELL: Duration = Duration::from_secs(1);
/// The longest rest after a piece.
const REST: Duration = Duration::from_millis(250);
/// So long a backup waits for what is left of one that was cancelled.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// Begins a backup.
pub(super) async fn make(
    _: Local,
    asker: Asker,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    Query::read(query.as_deref(), &[])?;
    let open = app.open().await?;
    let taken = take(&app, &open, &headers, body).await?;
    let document = Document::read(&taken.bytes, &["file"], |_| None)?;
    let file = document.require("file", "\"file\":\"/var/backups/outbox.redb\"")?.text()?;
    let path = PathBuf::from(&file);
    may_be_made(&open, &path).await?;
    let turn = turn(&asker, &app, &open).await?;
    let work = Work::Backup { file };
    let change =
        JobChange::Make { account: None, work, total: Some(open.outbox.room().held()), at: app.clock.wall() };
    let beside = open.clone();
    let made = async move {
        let made = beside.outbox.change_job(change).await?;
        if let JobChanged::Done(number, _) = &made {
            begin(app, beside, (*number, turn), path);
        }
        Ok(made)
    };
    match finish(made).await? {
        JobChanged::Done(number, job) => {
            let view = jobs::view(number, &job, &open);
            let place = format!("/v1/jobs/{}", view.id);
            let mut answer = json(StatusCode::ACCEPTED, &view);
            let place = HeaderValue::from_str(&place).expect("an id is ASCII");
            answer.headers_mut().insert(header::LOCATION, place);
            Ok(answer)
        }
        JobChanged::Excluded(number, job) | JobChanged::Ended(number, job) => {
            Err(excluded(number, &job, &open))
        }
        JobChanged::Missing => unreachable!("a job that is made is not missing"),
    }
}

/// The turn of a backup, if none is being made; for what is left of one that was cancelled it waits.
async fn turn(asker: &Asker, app: &App, open: &Open) -> Result<Turn, Problem> {
    let until = app.clock.instant() + PATIENCE;
    loop {
        if let Some(turn) = app.backups.turn() {
            return Ok(turn);
        }
        let running =
            |(_, job): &(JobNumber, Job)| job.is_running() && matches!(job.work, Work::Backup { .. });
        if let Some((number, job)) = open.read(&asker.0, Reader::jobs).await?.into_iter().find(running) {
            return Err(excluded(number, &job, open));
        }
        if app.clock.instant() >= until {
            let detail =
                "what a backup had written that was cancelled is still being taken away: ask again later";
            return Err(Problem::new(StatusCode::CONFLICT, "backup_running", detail));
        }
        sleep(LOOK).await;
    }
}

fn excluded(number: JobNumber, job: &Job, open: &Open) -> Problem {
    let view = jobs::view(number, job, open);
    let detail = format!(
        "a backup is being made already, by the job {}: wait for it (`posthaste job show {} --watch`), or cancel it",
        view.id, view.id
    );
    Problem::new(StatusCode::CONFLICT, "backup_running", detail)
}

async fn may_be_made(open: &Open, path: &Path) -> Result<(), Problem> {
    let (outbox, store, path) = (open.outbox.clone(), open.store_path.clone(), path.to_owned());
    // The file may be on a disk that answers slowly.
    let looked = tokio::task::spawn_blocking(move || outbox.may_back_up(&store, &path)).await;
    looked.unwrap_or(Err(BackupError::Stopped)).map_err(|error| problem(&error))
}

fn problem(error: &BackupError) -> Problem {
    let (status, code) = match error {
        BackupError::Exists(_) => (StatusCode::CONFLICT, "file_exists"),
        BackupError::Place { .. } | BackupError::Target(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "file_unusable")
        }
        BackupError::NoRoom { .. } | BackupError::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "no_room"),
        BackupError::Grown { .. }
        | BackupError::Stopped
        | BackupError::Cancelled
        | BackupError::Unknown(_)
        | BackupError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_failed"),
    };
    Problem::new(status, code, words(error))
}

/// What is said of an error, and what to do where the daemon may not write.
fn words(error: &BackupError) -> String {
    match error {
        BackupError::Target(OpenError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            format!("{error}; the directory must be one that the daemon's user may write in")
        }
        BackupError::Target(OpenError::Io { source, path, .. }) => {
            format!("{error}{}", sandbox::advice_for_file(path, source))
        }
        error => error.to_string(),
    }
}

fn begin(app: App, open: Open, (number, turn): (JobNumber, Turn), path: PathBuf) {
    let runtime = Handle::current();
    // From now on it can be cancelled.
    let making = turn.of(number);
    tokio::task::spawn_blocking(move || {
        let Open { outbox, store_path, .. } = open;
        tracing::info!(kind = Kind::BackupBegun.word(), "a backup is being made as {}", path.display());
        let now = app.clock.instant();
        let mut rounds = Rounds { app: &app, making: &making, begun: now, told: now };
        let mut pace = |progress: Progress| {
            let tell = |progress: Progress| {
                let (done, total) = (progress.done, Some(progress.all));
                runtime.block_on(outbox.change_job(JobChange::Progress { number, done, total }))
            };
            rounds.after(progress, tell)
        };
        let made = outbox.backup(&store_path, &path, &mut pace);
        let changes = end(number, made, &path, app.clock);
        for change in changes {
            // The store has failed or is closed: the next start says of the job that it has failed.
            if runtime.block_on(outbox.change_job(change)).is_err() {
                break;
            }
        }
    });
}

/// What is written of a backup that has ended.
fn end(number: JobNumber, made: Result<Copied, BackupError>, path: &Path, clock: Clock) -> Vec<JobChange> {
    let at = clock.wall();
    match made {
        Ok(Copied { size, bytes, growth, .. }) => {
            tracing::info!(kind = Kind::BackupDone.word(), "the backup {} is made", path.display());
            vec![
                JobChange::Progress { number, done: bytes, total: Some(bytes) },
                JobChange::Made { number, made: Made { size, growth } },
                JobChange::End { number, state: JobState::Done, error: None, at },
            ]
        }
        Err(BackupError::Cancelled) => {
            tracing::info!(
                kind = Kind::BackupCancelled.word(),
                "the backup {} was cancelled: nothing of it is left",
                path.display()
            );
            // Whoever cancelled it may have gone before he wrote so.
            vec![JobChange::End { number, state: JobState::Cancelled, error: None, at }]
        }
        Err(error) => {
            let error = match &error {
                BackupError::Store(source) => logging::chain(source),
                error => words(error),
            };
            tracing::warn!(
                kind = Kind::BackupFailed.word(),
                "the backup {} is not made: {error}",
                path.display()
            );
            vec![JobChange::End { number, state: JobState::Failed, error: Some(error), at }]
        }
    }
}

/// Work and rest.
struct Rounds<'a> {
    app: &'a App,
    making: &'a Making,
    begun: std::time::Instant,
    told: std::time::Instant,
}

impl Rounds<'_> {
    fn after(
        &mut self,
        progress: Progress,
        tell: impl FnOnce(Progress) -> Result<JobChanged, StoreError>,
    ) -> ControlFlow<Halt> {
        let clock = self.app.clock;
        if self.making.is_cancelled() {
            return ControlFlow::Break(Halt::Cancelled);
        }
        if *self.app.stopping.borrow() {
            return ControlFlow::Break(Halt::Stopped);
        }
        let now = clock.instant();
        if progress.stage == Stage::Name || now.saturating_duration_since(self.told) >= TELL {
            self.told = now;
            match tell(progress) {
                Ok(JobChanged::Done(..)) => {}
                Ok(JobChanged::Ended(..) | JobChanged::Excluded(..) | JobChanged::Missing) => {
                    return ControlFlow::Break(Halt::Cancelled);
                }
                Err(_) => return ControlFlow::Break(Halt::Stopped),
            }
        }
        match progress.stage {
            Stage::Name if !self.making.name() => return ControlFlow::Break(Halt::Cancelled),
            Stage::Moment | Stage::Name => {}
            Stage::Rows | Stage::Finish => rest(now.saturating_duration_since(self.begun).min(REST), clock),
        }
        self.begun = clock.instant();
        ControlFlow::Continue(())
    }
}

/// Waits so long; nobody wakes it before.
fn rest(time: Duration, clock: Clock) {
    let until = clock.instant() + time;
    loop {
        let left = until.saturating_duration_since(clock.instant());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}
