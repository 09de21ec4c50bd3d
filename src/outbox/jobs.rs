//! The stored side of jobs: a row for each, in a table that is made with the first.
//!
//! ```text
//! made ─▶ running ─▶ done, failed or cancelled, for good
//! ```
//!
//! Every change is a commit of its own; the progress of a recover goes with the deliveries that it replays. All rows are in the
//! writer's memory besides. Of those that have ended the last [`KEPT`] are kept; how many can run at once is bounded by
//! what excludes what ([`Work::excludes`]). What was running when the daemon ended goes on where its work is the store's own; else the
//! next start says that it has failed. A row that cannot be read is passed over, and its number not given again.

use std::{collections::BTreeMap, mem, path::PathBuf};

use redb::{ReadTransaction, ReadableTable, TableError};
use serde::{Deserialize, Serialize};

use super::{
    error::StoreError,
    record::{decode_map, encode_map},
    schema::{JOBS, Tables, pack, unpack},
};
use crate::{
    logging::Kind,
    model::{
        account::AccountName,
        endpoint::EndpointNumber,
        event::Seq,
        job::{Job, JobNumber, JobState, Made, Recover, Work},
        time::Timestamp,
    },
};

/// So many jobs are kept that have ended.
pub(super) const KEPT: usize = 100;
/// Why a job failed that does not go on after the end of the daemon.
const STOPPED: &str = "the daemon was stopped";

/// What is to become of a job.
#[derive(Clone, Debug)]
pub enum JobChange {
    /// It begins, unless one is running that excludes it.
    Make {
        /// Whose it is; `None`: the box's.
        account: Option<AccountName>,
        /// What it does.
        work: Work,
        /// How much there is to do, where that is known.
        total: Option<u64>,
        /// When.
        at: Timestamp,
    },
    /// It has come so far.
    Progress {
        /// Which.
        number: JobNumber,
        /// How much of it is done.
        done: u64,
        /// How much there is to do in all, where that is known.
        total: Option<u64>,
    },
    /// The backup that it is has been made.
    Made {
        /// Which.
        number: JobNumber,
        /// What came of it.
        made: Made,
    },
    /// It ends.
    End {
        /// Which.
        number: JobNumber,
        /// How; not [`JobState::Running`].
        state: JobState,
        /// Why, where nobody asked for it.
        error: Option<String>,
        /// When.
        at: Timestamp,
    },
}

/// What came of a [`JobChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobChanged {
    /// It is on disk: the job from now on.
    Done(JobNumber, Box<Job>),
    /// This one is running, and excludes it: nothing was written.
    Excluded(JobNumber, Box<Job>),
    /// It had ended already, as this says: nothing was written. Whoever does its work is to leave off.
    Ended(JobNumber, Box<Job>),
    /// There is none of this number, or none any more: nothing was written.
    Missing,
}

/// All rows of the table, as they are.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    all: BTreeMap<JobNumber, Job>,
    /// The greatest number that was given, and is not forgotten.
    last: u64,
    /// Those that were running when the store was opened, and do not go on.
    stopped: Vec<JobNumber>,
}

impl Jobs {
    /// Reads all of them.
    pub(super) fn read(txn: &ReadTransaction) -> Result<Self, StoreError> {
        let mut last = 0;
        let mut all = BTreeMap::new();
        for (number, job) in rows(txn)? {
            last = last.max(number.get());
            if let Some(job) = job {
                all.insert(number, job);
            } else {
                let error = StoreError::Row { table: "jobs", key: number.get() };
                tracing::error!(kind = Kind::RowUnreadable.word(), %error, "a job cannot be read: it is left alone");
            }
        }
        let stopped =
            |(number, job): (&JobNumber, &Job)| (job.is_running() && !job.work.survives()).then_some(*number);
        Ok(Self { stopped: all.iter().filter_map(stopped).collect(), all, last })
    }

    /// Makes or changes one; whether anything was written is whether it is [`JobChanged::Done`].
    pub(super) fn change(
        &mut self,
        change: JobChange,
        tables: &mut Tables<'_>,
    ) -> Result<JobChanged, StoreError> {
        match change {
            JobChange::Make { account, work, total, at } => {
                let excluding = |job: &Job| job.is_running() && job.work.excludes(&work);
                if let Some((number, job)) = self.all.iter().find(|(_, job)| excluding(job)) {
                    return Ok(JobChanged::Excluded(*number, Box::new(job.clone())));
                }
                let spent = StoreError::Row { table: "jobs", key: self.last };
                let number = JobNumber::new(self.last.checked_add(1).ok_or(spent)?);
                self.write(number, Job::new(account, work, total, at), tables)?;
                Ok(self.done(number))
            }
            JobChange::Progress { number, done, total } => {
                self.change_running(number, tables, |job| Job { done, total, ..job })
            }
            JobChange::Made { number, made } => {
                self.change_running(number, tables, |job| Job { made: Some(made), ..job })
            }
            JobChange::End { number, state, error, at } => {
                debug_assert!(state != JobState::Running, "a job that ends is not running");
                let end = |job| Job { state, error, ended_at: Some(at), ..job };
                let changed = self.change_running(number, tables, end)?;
                if matches!(changed, JobChanged::Done(..)) {
                    self.prune(tables)?;
                }
                Ok(changed)
            }
        }
    }

    /// One of them.
    pub(super) fn get(&self, number: JobNumber) -> Option<&Job> {
        self.all.get(&number)
    }

    /// Puts a job in the place of what was there of it.
    pub(super) fn put(
        &mut self,
        number: JobNumber,
        job: Job,
        tables: &mut Tables<'_>,
    ) -> Result<JobChanged, StoreError> {
        self.write(number, job, tables)?;
        let changed = self.done(number);
        self.prune(tables)?;
        Ok(changed)
    }

    /// The files of the backups among those that were running when the store was opened.
    pub(super) fn left_files(&self) -> Vec<PathBuf> {
        let file = |number: &JobNumber| match &self.all.get(number)?.work {
            Work::Backup { file } => Some(PathBuf::from(file)),
            Work::Recover(_) => None,
        };
        self.stopped.iter().filter_map(file).collect()
    }

    /// Says of those that were running when the store was opened, and do not go on, that they have failed.
    pub(super) fn fail_stopped(&mut self, at: Timestamp, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        for number in mem::take(&mut self.stopped) {
            let error = Some(STOPPED.to_owned());
            self.change(JobChange::End { number, state: JobState::Failed, error, at }, tables)?;
        }
        Ok(())
    }

    fn change_running(
        &mut self,
        number: JobNumber,
        tables: &mut Tables<'_>,
        change: impl FnOnce(Job) -> Job,
    ) -> Result<JobChanged, StoreError> {
        let Some(job) = self.all.get(&number) else { return Ok(JobChanged::Missing) };
        if !job.is_running() {
            return Ok(JobChanged::Ended(number, Box::new(job.clone())));
        }
        let job = change(job.clone());
        self.write(number, job, tables)?;
        Ok(self.done(number))
    }

    fn done(&self, number: JobNumber) -> JobChanged {
        JobChanged::Done(number, Box::new(self.all[&number].clone()))
    }

    fn write(&mut self, number: JobNumber, job: Job, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        tables.jobs()?.insert(number.get(), encode(&job).as_slice())?;
        self.last = self.last.max(number.get());
        self.all.insert(number, job);
        Ok(())
    }

    /// Forgets the oldest of those that have ended, where they are too many. The newest of all is never among them, so no
    /// number is given twice.
    fn prune(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        let ended = |(number, job): (&JobNumber, &Job)| (!job.is_running()).then_some(*number);
        let ended: Vec<_> = self.all.iter().filter_map(ended).collect();
        let surplus = ended.len().saturating_sub(KEPT);
        for number in ended.into_iter().take(surplus) {
            tables.jobs()?.remove(number.get())?;
            self.all.remove(&number);
        }
        Ok(())
    }
}

/// All that can be read, by number.
pub(super) fn read_all(txn: &ReadTransaction) -> Result<Vec<(JobNumber, Job)>, StoreError> {
    Ok(rows(txn)?.into_iter().filter_map(|(number, job)| Some((number, job?))).collect())
}

/// All rows, by number; without a job those that cannot be read.
fn rows(txn: &ReadTransaction) -> Result<Vec<(JobNumber, Option<Job>)>, StoreError> {
    let Some(table) = open(txn)? else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for entry in table.iter()? {
        let (number, row) = entry?;
        all.push((JobNumber::new(number.value()), decode(row.value())));
    }
    Ok(all)
}

/// One of them; one whose row cannot be read is none.
pub(super) fn read_one(txn: &ReadTransaction, number: JobNumber) -> Result<Option<Job>, StoreError> {
    let Some(table) = open(txn)? else { return Ok(None) };
    Ok(table.get(number.get())?.and_then(|row| decode(row.value())))
}

/// The table, if there was ever a job.
fn open(txn: &ReadTransaction) -> Result<Option<impl ReadableTable<u64, &'static [u8]> + use<>>, StoreError> {
    match txn.open_table(JOBS) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[derive(Serialize, Deserialize)]
struct JobRecord<'a> {
    #[serde(rename = "ac", default, borrow, skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(rename = "st")]
    state: u8,
    #[serde(rename = "do")]
    done: u64,
    #[serde(rename = "to", default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(rename = "sa")]
    started_at: u64,
    #[serde(rename = "en", default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<u64>,
    #[serde(rename = "er", default, borrow, skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// Of a recover.
    #[serde(rename = "re", default, skip_serializing_if = "Option::is_none")]
    recover: Option<RecoverRecord>,
    /// Of a backup: where to.
    #[serde(rename = "fi", default, borrow, skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    /// Of a backup that was made: its size, and how much the store grew.
    #[serde(rename = "ma", default, skip_serializing_if = "Option::is_none")]
    made: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct RecoverRecord {
    #[serde(rename = "ep")]
    endpoint: u32,
    #[serde(rename = "si")]
    since: u64,
    #[serde(rename = "un")]
    until: u64,
    #[serde(rename = "be")]
    below: u64,
    #[serde(rename = "ne")]
    next: u64,
    #[serde(rename = "rp")]
    replayed: u64,
}

fn encode(job: &Job) -> Vec<u8> {
    let (recover, file) = match &job.work {
        Work::Recover(recover) => (Some(recover_record(recover)), None),
        Work::Backup { file } => (None, Some(file.as_str())),
    };
    let record = JobRecord {
        account: job.account.as_ref().map(AccountName::as_str),
        state: state_code(job.state),
        done: job.done,
        total: job.total,
        started_at: job.started_at.as_millis(),
        ended_at: job.ended_at.map(Timestamp::as_millis),
        error: job.error.as_deref(),
        recover,
        file,
        made: job.made.map(|made| (made.size, made.growth)),
    };
    encode_map(&record, 256)
}

pub(super) fn decode(row: &[u8]) -> Option<Job> {
    let record: JobRecord<'_> = decode_map(row)?;
    let work = match (record.recover, record.file) {
        (Some(recover), None) => Work::Recover(recover.into()),
        (None, Some(file)) => Work::Backup { file: file.to_owned() },
        _ => return None,
    };
    Some(Job {
        account: record.account.map(str::parse).transpose().ok()?,
        work,
        state: state(record.state)?,
        done: record.done,
        total: record.total,
        started_at: Timestamp::from_millis(record.started_at),
        ended_at: record.ended_at.map(Timestamp::from_millis),
        error: record.error.map(str::to_owned),
        made: record.made.map(|(size, growth)| Made { size, growth }),
    })
}

fn recover_record(recover: &Recover) -> RecoverRecord {
    RecoverRecord {
        endpoint: recover.endpoint.get(),
        since: recover.since.as_millis(),
        until: recover.until.as_millis(),
        below: recover.below.get(),
        next: pack(recover.next),
        replayed: recover.replayed,
    }
}

impl From<RecoverRecord> for Recover {
    fn from(record: RecoverRecord) -> Self {
        Self {
            endpoint: EndpointNumber::new(record.endpoint),
            since: Timestamp::from_millis(record.since),
            until: Timestamp::from_millis(record.until),
            below: Seq::new(record.below),
            next: unpack(record.next),
            replayed: record.replayed,
        }
    }
}

const fn state_code(state: JobState) -> u8 {
    match state {
        JobState::Running => 0,
        JobState::Done => 1,
        JobState::Failed => 2,
        JobState::Cancelled => 3,
    }
}

const fn state(code: u8) -> Option<JobState> {
    Some(match code {
        0 => JobState::Running,
        1 => JobState::Done,
        2 => JobState::Failed,
        3 => JobState::Cancelled,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::delivery::DeliveryKey;

    #[test]
    fn jobs_read_back() {
        let recover = Recover {
            endpoint: EndpointNumber::new(u32::MAX),
            since: Timestamp::EPOCH,
            until: Timestamp::MAX,
            below: Seq::MAX,
            next: DeliveryKey { seq: Seq::MAX, slot: u16::MAX },
            replayed: u64::MAX,
        };
        let backup = Work::Backup { file: "/b/ä.redb".to_owned() };
        for work in [Work::Recover(recover), backup] {
            for state in [JobState::Running, JobState::Done, JobState::Failed, JobState::Cancelled] {
                let (account, at) = ("a".repeat(64).parse().expect("an account"), Timestamp::from_millis(7));
                let begun = Job::new(Some(account), work.clone(), Some(u64::MAX), at);
                let ended = Job {
                    account: None,
                    state,
                    done: 9,
                    total: None,
                    ended_at: Some(Timestamp::MAX),
                    error: Some("x".repeat(500)),
                    ..begun.clone()
                };
                for job in [begun, ended] {
                    assert_eq!(decode(&encode(&job)), Some(job));
                }
            }
        }
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[2, 0x80]), None, "another version's row is not guessed at");
    }
}
