//! Jobs, as they are shown.

use serde::{Deserialize, Serialize};

use crate::model::{
    account::AccountName,
    id::{EndpointId, JobId},
    job::{JobKind, JobState},
    time::Timestamp,
};

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Whether it is at it, or how it ended.
    pub state: JobState,
    /// Whose it is; `null`: the box's.
    pub account: Option<AccountName>,
    /// Of a recover: the endpoint's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<EndpointId>,
    /// Of a recover: what failed then or later is replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Of a recover: what failed before then is; without it all that has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Of a backup: where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it waits for, if so: `disabled`, that its endpoint is enabled.
    #[serde(default)]
    pub waiting: Option<String>,
    /// Of a backup that was made: the length of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a backup that was made: what the store's file took up more on its disk then than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_growth: Option<u64>,
    /// How far it has come.
    pub progress: ProgressView,
    /// When it was made.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed, or was cancelled unasked.
    pub error: Option<String>,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressView {
    /// Of a recover: events looked through; of a backup: bytes written.
    pub done: u64,
    /// How many there are in all; `null`: that is not known.
    pub total: Option<u64>,
    /// Of a recover: how many deliveries it has replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<u64>,
}
