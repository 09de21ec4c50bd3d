//! Jobs: what takes longer than a request, and can be looked at and cancelled while it is under way.
//!
//! A *recover* replays an endpoint's failures; all of it happens in the store's own commits, so it goes on after a crash
//! from the commit before. A *backup* is made outside them: where the daemon ends in its midst, it has failed.

use super::{
    account::AccountName, delivery::DeliveryKey, endpoint::EndpointNumber, event::Seq, time::Timestamp,
};

/// A job's number in the store, from 1, ascending, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobNumber(u64);

impl JobNumber {
    /// A job's number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What is kept of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whose it is; `None`: the box's.
    pub account: Option<AccountName>,
    /// What it does.
    pub work: Work,
    /// Whether it is at it, or how it ended.
    pub state: JobState,
    /// How much of it is done: of a recover events looked through, of a backup bytes written.
    pub done: u64,
    /// How much there is to do in all, where that is known.
    pub total: Option<u64>,
    /// When it was made.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed, or was cancelled unasked.
    pub error: Option<String>,
    /// Of a backup that was made.
    pub made: Option<Made>,
}

/// What came of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The length of its file.
    pub size: u64,
    /// What the store's file took up more on its disk when it was made than before.
    pub growth: u64,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Replays an endpoint's failures.
    Recover(Recover),
    /// Writes a copy of the store.
    Backup {
        /// Where to.
        file: String,
    },
}

/// Which failures are replayed, and how far that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recover {
    /// Whose.
    pub endpoint: EndpointNumber,
    /// Those that failed then or later.
    pub since: Timestamp,
    /// Those that failed before then.
    pub until: Timestamp,
    /// Those of events before this one: what was accepted when the job was made.
    pub below: Seq,
    /// The first delivery that it has not looked at yet.
    pub next: DeliveryKey,
    /// How many deliveries it has replayed.
    pub replayed: u64,
}

/// Which kind of job it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A [`Work::Backup`].
    Backup,
    /// A [`Work::Recover`].
    Recover,
}

/// A job is at it, or has ended in one of three ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It is at it, or waits.
    Running,
    /// It came to its end.
    Done,
    /// It cannot.
    Failed,
    /// It was called off. What it had done stays.
    Cancelled,
}

impl Job {
    /// A job that begins.
    pub const fn new(account: Option<AccountName>, work: Work, total: Option<u64>, at: Timestamp) -> Self {
        let (state, ended_at, error) = (JobState::Running, None, None);
        Self { account, work, state, done: 0, total, started_at: at, ended_at, error, made: None }
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.state == JobState::Running
    }
}

impl Work {
    /// Its kind.
    pub const fn kind(&self) -> JobKind {
        match self {
            Self::Backup { .. } => JobKind::Backup,
            Self::Recover(_) => JobKind::Recover,
        }
    }

    /// Whether both cannot be done at once: two recovers of one endpoint, and two backups.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Recover(one), Self::Recover(other)) => one.endpoint == other.endpoint,
            (Self::Backup { .. }, Self::Backup { .. }) => true,
            (Self::Recover(_), Self::Backup { .. }) | (Self::Backup { .. }, Self::Recover(_)) => false,
        }
    }

    /// Whether it goes on after the daemon has ended in its midst.
    pub const fn survives(&self) -> bool {
        matches!(self, Self::Recover(_))
    }
}

impl JobKind {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Recover => "recover",
        }
    }
}

impl JobState {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
