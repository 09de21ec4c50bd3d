//! `posthaste job`: what takes longer than a request, and how far it has come.

use std::{path::PathBuf, thread, time::Duration};

use clap::{Args, Subcommand};

use super::{
    client::{self, Client, Query},
    error::CliError,
    exit::Exit,
    list::{Extent, List},
    screen::Screen,
    table::Column,
    text,
};
use crate::{
    api::view::JobView,
    model::{
        account::AccountName,
        id::JobId,
        job::{JobKind, JobState},
        time::Timestamp,
    },
};

/// How often a job that is watched is asked for.
const PAUSE: Duration = Duration::from_millis(250);
/// So many times in a row the daemon may be away meanwhile: a minute, in which it starts again.
const PATIENCE: u32 = 240;

/// `posthaste job`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List jobs, newest first
    List(ListArgs),
    /// Show one job, and how far it has come
    Show(ShowArgs),
    /// Call a job off; what it has done stays
    Cancel(CancelArgs),
}

/// `posthaste job list`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste job list --limit 5")]
pub struct ListArgs {
    /// Only this account's
    #[arg(long)]
    account: Option<AccountName>,
    #[command(flatten)]
    extent: Extent,
}

/// `posthaste job show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste job show job_01hqr2p1qq8k3v7r5m6n0x9y2z --watch\n\n\
                  With --watch it returns when the job has ended, and fails if the job did not come to its end.")]
pub struct ShowArgs {
    /// The job's id
    #[arg(value_name = "ID")]
    id: JobId,
    /// Wait until it ends; on a terminal show how far it has come
    #[arg(long)]
    watch: bool,
}

/// `posthaste job cancel`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  posthaste job cancel job_01hqr2p1qq8k3v7r5m6n0x9y2z")]
pub struct CancelArgs {
    /// The job's id
    #[arg(value_name = "ID")]
    id: JobId,
}

const COLUMNS: &[Column] = &[
    Column::whole("ID"),
    Column::status("STATE"),
    Column::text("KIND"),
    Column::text("ACCOUNT").spare(0),
    Column::text("OF").spare(2),
    Column::text("PROGRESS").spare(3),
    Column::whole("STARTED").spare(1),
];

/// Does what is asked.
pub fn run(command: &Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let client = Client::connect(sockets)?;
    match command {
        Command::List(args) => {
            let query = Query::default().with("account", args.account.as_ref());
            let list = List { path: "/v1/jobs", query, extent: Some(args.extent), empty: "no jobs" };
            list.show(&client, screen, COLUMNS, row)
        }
        Command::Show(args) if args.watch => watch(args.id, &client, screen),
        Command::Show(args) => print(&client.get(&path(args.id), &Query::default())?, screen),
        Command::Cancel(args) => {
            let answer = client.post(&format!("{}/cancel", path(args.id)), b"")?;
            print(&answer, screen)
        }
    }
}

fn path(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}

/// Shows how far a job has come until it ends, then the job. It goes on over a restart of the daemon, and so does this.
///
/// # Errors
/// It did not come to its end.
pub(super) fn watch(id: JobId, client: &Client, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let mut missed = 0;
    loop {
        let answer = match client.get(&path(id), &Query::default()) {
            Err(error) if error.is_away() && missed < PATIENCE => {
                missed += 1;
                screen.passing(&format!("{error}; it is waited for"));
                pause();
                continue;
            }
            answer => answer?,
        };
        missed = 0;
        let job: JobView = client::parse(&answer)?;
        if job.state == JobState::Running {
            screen.passing(&format!("{}: {}{}", job.kind.as_str(), progress(&job), waits(&job)));
            pause();
            continue;
        }
        screen.passing("");
        print(&answer, screen)?;
        return match job.state {
            JobState::Running | JobState::Done => Ok(()),
            JobState::Failed | JobState::Cancelled => {
                let why = job.error.as_deref().map(|error| format!(": {}", text::plain(error)));
                let message = format!("the job is {}{}", job.state.as_str(), why.unwrap_or_default());
                Err(CliError::Unfinished { exit: Exit::TryAgain, message })
            }
        };
    }
}

#[expect(clippy::disallowed_methods, reason = "the daemon tells nobody how far a job has come: it is asked")]
fn pause() {
    thread::sleep(PAUSE);
}

fn print(answer: &[u8], screen: &mut Screen<'_>) -> Result<(), CliError> {
    if screen.json {
        return screen.json(answer);
    }
    let job: JobView = client::parse(answer)?;
    let now = screen.now;
    screen.line(&screen.bold(&job.id.to_string()))?;
    screen.line(&format!("  state     {}{}", screen.paint(job.state.as_str()), ended(&job, now)))?;
    if let Some(error) = &job.error {
        screen.line(&format!("            {}", text::plain(error)))?;
    }
    screen.line(&format!("  kind      {}", job.kind.as_str()))?;
    if let Some(account) = &job.account {
        screen.line(&format!("  account   {account}"))?;
    }
    if let Some(id) = job.endpoint_id {
        screen.line(&format!("  endpoint  {id}"))?;
    }
    if let Some(since) = job.since {
        let until = job.until.map_or_else(String::new, |until| format!(", before {}", text::time(until)));
        screen.line(&format!("  failed    since {}{until}", text::time(since)))?;
    }
    if let Some(file) = &job.file {
        screen.line(&format!("  file      {}", text::plain(file)))?;
    }
    if let (Some(size), Some(growth)) = (job.size, job.store_growth) {
        let (size, growth) = (text::size(size), text::size(growth));
        screen.line(&format!("  size      {size}; the store grew by {growth} meanwhile"))?;
    }
    screen.line(&format!("  progress  {}{}", progress(&job), waits(&job)))?;
    screen.line(&format!("  started   {}", text::time_and_relative(job.started_at, now)))
}

fn ended(job: &JobView, now: Timestamp) -> String {
    let took = |at: Timestamp| text::millis(at.since(job.started_at).as_secs_f64() * 1e3);
    let ended = |at| format!(", {}, after {}", text::time_and_relative(at, now), took(at));
    job.ended_at.map(ended).unwrap_or_default()
}

/// What it waits for.
fn waits(job: &JobView) -> &'static str {
    if job.waiting.is_some() { "; it waits until its endpoint is enabled" } else { "" }
}

/// `120 of 2000 events looked through, 40 deliveries replayed` or `3.0 MiB of 12.0 MiB written`.
fn progress(job: &JobView) -> String {
    let progress = &job.progress;
    let number = |number: u64| match job.kind {
        JobKind::Backup => text::size(number),
        JobKind::Recover => number.to_string(),
    };
    let of = progress.total.map(|total| format!(" of {}", number(total))).unwrap_or_default();
    let done = number(progress.done);
    match job.kind {
        JobKind::Backup => format!("{done}{of} written"),
        JobKind::Recover => {
            let replayed = progress.replayed.unwrap_or_default();
            format!("{done}{of} events looked through, {replayed} deliveries replayed")
        }
    }
}

fn row(job: &JobView) -> Vec<String> {
    let of = job.endpoint_id.map(|id| id.to_string()).or_else(|| job.file.clone());
    vec![
        job.id.to_string(),
        job.state.as_str().to_owned(),
        job.kind.as_str().to_owned(),
        job.account.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        of.map_or_else(|| "-".to_owned(), |of| text::plain(&of).into_owned()),
        progress(job),
        text::time(job.started_at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        fake::{Daemon, HANG_UP},
        testing::Output,
    };

    const ID: &str = "job_01hqr2p1qq8k3v7r5m6n0x9y2z";

    fn job(state: &str, done: u64, error: &str) -> String {
        format!(
            r#"{{"id":"{ID}","kind":"recover","state":"{state}","account":"default","endpoint_id":"ep_01hqr2p1qq8k3v7r5m6n0x9y2z","since":"2026-11-22T02:00:00.000Z","until":"2026-11-22T02:57:00.000Z","progress":{{"done":{done},"total":9,"replayed":2}},"started_at":"2026-11-22T02:57:00.000Z","ended_at":null,"error":{error}}}"#
        )
    }

    fn id() -> JobId {
        ID.parse().expect("an id")
    }

    #[test]
    fn a_job_is_watched_until_it_ends() {
        for (state, error, end) in [
            ("done", "null", Ok(())),
            ("cancelled", "null", Err("the job is cancelled")),
            (
                "failed",
                "\"the daemon was\\u001bstopped\"",
                Err("the job is failed: the daemon was\\u{1b}stopped"),
            ),
        ] {
            let answers = [job("running", 3, "null"), job(state, 9, error)];
            let daemon = Daemon::start(answers.map(|answer| (200, answer)).to_vec());
            let mut output = Output::new();
            let command = Command::Show(ShowArgs { id: id(), watch: true });
            let result = run(&command, &daemon.paths(), &mut output.screen());
            assert_eq!(
                daemon.lines(),
                [format!("GET /v1/jobs/{ID} HTTP/1.1"), format!("GET /v1/jobs/{ID} HTTP/1.1")]
            );
            assert_eq!(result.map_err(|error| error.to_string()), end.map_err(str::to_owned));
            let text = output.text();
            assert!(
                text.contains("  progress  9 of 9 events looked through, 2 deliveries replayed\n"),
                "{text}"
            );
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn a_daemon_that_starts_again_is_waited_for() {
        let away = r#"{"type":"urn:posthaste:problem:stopping","title":"Service Unavailable","status":503,"detail":"posthaste is stopping","code":"stopping"}"#;
        let answers = [
            (200, job("running", 3, "null")),
            (503, away.to_owned()),
            (HANG_UP, String::new()),
            (200, job("done", 9, "null")),
        ];
        let daemon = Daemon::start(answers.to_vec());
        let mut output = Output::new();
        let command = Command::Show(ShowArgs { id: id(), watch: true });
        run(&command, &daemon.paths(), &mut output.screen()).expect("the job ends");
        assert_eq!(daemon.lines().len(), 4);
        assert!(output.text().contains("done"), "{}", output.text());
    }

    #[test]
    fn what_is_going_on_is_shown_to_somebody_alone() {
        let mut output = Output::new();
        let mut screen = output.screen();
        screen.passing("nobody reads it");
        screen.live = true;
        screen.passing("half");
        screen.passing("");
        assert_eq!(output.notes(), "\r\u{1b}[Khalf\r\u{1b}[K");
    }

    #[test]
    fn one_is_cancelled() {
        let daemon = Daemon::start(vec![(200, job("cancelled", 3, "null"))]);
        let mut output = Output::new();
        run(&Command::Cancel(CancelArgs { id: id() }), &daemon.paths(), &mut output.screen())
            .expect("it prints");
        assert_eq!(daemon.lines(), [format!("POST /v1/jobs/{ID}/cancel HTTP/1.1")]);
        assert!(output.text().contains("  state     cancelled\n"), "{}", output.text());
    }
}
