//! What the writer does at once: one turn of the group commit.

use tokio::sync::oneshot;

use super::{
    Tuning,
    accept::BatchAnswer,
    endpoints::{Change, Changed, Configured, Judged},
    error::StoreError,
    forget::Forgotten,
    jobs::{JobChange, JobChanged},
    keys::{KeyChange, KeyChanged},
    recover::Step,
    replay::{Replay, Replayed},
    store::Group,
    tenants::{TenantChange, TenantChanged},
};
use crate::model::{
    account::AccountName,
    delivery::DeliveryKey,
    endpoint::{Endpoint, EndpointNumber},
    event::Seq,
    time::{Mark, Timestamp},
};

pub(super) const GROUP_EVENTS: usize = 512;
pub(super) const GROUP_BYTES: usize = 1 << 20;
pub(super) const GROUP_SETTLES: usize = 512;
pub(super) const GROUP_PARKED: usize = 4096;
pub(super) const GROUP_LOADED: usize = 4096;

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is taken from the queue at once.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) group: Group,
    pub(super) answers: Vec<Answer<BatchAnswer>>,
    pub(super) configure: Vec<Configure>,
    pub(super) changes: Vec<(Change, Answer<Changed>)>,
    pub(super) jobs: Vec<(JobChange, Answer<JobChanged>)>,
    pub(super) replays: Vec<(Replay, Answer<Replayed>)>,
    pub(super) called_off: Vec<(DeliveryKey, Answer<bool>)>,
    pub(super) forget: Option<Answer<Forgotten>>,
    pub(super) tenants: Vec<ChangeTenant>,
    pub(super) tuning: Option<Tuning>,
    pub(super) key_changes: Vec<(KeyChange, Answer<KeyChanged>)>,
    pub(super) steps: Vec<(Step, Answer<JobChanged>)>,
    pub(super) probes: Vec<oneshot::Sender<()>>,
    pub(super) ids: Vec<(u64, Seq)>,
    pub(super) mark: Option<Mark>,
    pub(super) mark_now: bool,
    pub(super) failed: Option<StoreError>,
    pub(super) stop: Stop,
}

#[derive(Debug)]
pub(super) struct Configure {
    pub(super) wanted: Vec<Configured>,
    pub(super) judged: Vec<Judged>,
    pub(super) at: Timestamp,
    pub(super) answer: Answer<Vec<(EndpointNumber, Endpoint)>>,
}

#[derive(Debug)]
pub(super) struct ChangeTenant {
    pub(super) change: (AccountName, TenantChange),
    pub(super) judged: Vec<Judged>,
    pub(super) at: Timestamp,
    pub(super) answer: Answer<TenantChanged>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    #[default]
    Run,
    /// Write what is queued, then close.
    Close(End),
    /// The thread has ended.
    Ended,
}

/// How a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every attempt that was begun has been settled.
    Clean,
    /// Attempts were cut off: the next start must know, as after a crash, that they may be made twice.
    CutOff,
}

impl Round {
    /// Whether the store is to be closed and nothing is left to write.
    pub(super) fn is_last(&self) -> bool {
        let unchanged = self.configure.is_empty() && self.changes.is_empty() && self.tenants.is_empty();
        let nothing_again = self.replays.is_empty() && self.called_off.is_empty() && self.steps.is_empty();
        let nothing_else = self.key_changes.is_empty() && self.jobs.is_empty();
        let nothing = self.group.is_empty() && unchanged && nothing_again && nothing_else;
        matches!(self.stop, Stop::Close(_)) && nothing && !self.mark_now
    }
}
