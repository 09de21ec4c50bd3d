//! Recovering: an endpoint's failures are replayed, step after step.
//!
//! A step is read beside the writer ([`failures`]) and then written ([`step`]): the deliveries that it replays, and how far the
//! job has come with them, in one commit. So a crash between two steps repeats none, and a job goes on where it was. What was
//! read is held against the rows again as it is written; whoever is no failure any more is passed over.
//!
//! A failure may have been accepted long before it failed, or was replayed: so all that is kept is looked through, in the
//! order of acceptance, up to what was accepted when the job was made.

use std::ops::Range;

use redb::ReadTransaction;

use super::{
    error::StoreError,
    jobs::JobChanged,
    read::Placed,
    record::decode_row,
    replay::{Replay, Replayed, find, replay},
    schema::{HISTORY, PENDING, Tables, first_row, row_key, row_seq, row_slot},
    store::State as StoreState,
};
use crate::model::{
    delivery::{Delivery, DeliveryKey, Scheduled, State},
    event::Seq,
    job::{Job, JobNumber, JobState, Recover, Work},
    time::Timestamp,
};

/// Why a recover is called off whose endpoint is there no more.
pub const DELETED: &str = "the endpoint was deleted";

/// A page of failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// They, in the order of acceptance.
    pub found: Vec<DeliveryKey>,
    /// The delivery to go on at; `None`: there are no more.
    pub next: Option<DeliveryKey>,
}

/// What a recover does at once.
#[derive(Clone, Debug)]
pub struct Step {
    /// Of which job.
    pub number: JobNumber,
    /// Where it was when this was read.
    pub from: DeliveryKey,
    /// What was read from there on.
    pub failures: Failures,
    /// The schedule's time.
    pub at: Timestamp,
    /// The wall clock's.
    pub wall: Timestamp,
}

/// Whether a delivery is one that is to be replayed.
fn is_meant(delivery: &Delivery, recover: &Recover) -> bool {
    delivery.endpoint == recover.endpoint
        && matches!(delivery.state, State::Failed(_))
        && (recover.since..recover.until).contains(&delivery.due)
}

/// What a recover has next: at most `most` failures, for which `rows` rows are looked at. Rows that cannot be read are passed
/// over.
pub(super) fn failures(
    txn: &ReadTransaction,
    recover: &Recover,
    rows: usize,
    most: usize,
) -> Result<Failures, StoreError> {
    let mut page = Failures::default();
    let range = row_key(recover.next)..first_row(recover.below).max(row_key(recover.next));
    let (pending, history) = (txn.open_table(PENDING)?, txn.open_table(HISTORY)?);
    let (mut pending, mut history) = (pending.range(range.clone())?, history.range(range)?);
    let (mut first, mut second) = (pending.next().transpose()?, history.next().transpose()?);
    for looked in 0.. {
        let is_first = match (&first, &second) {
            (None, None) => return Ok(page),
            (Some((one, _)), Some((other, _))) => one.value() < other.value(),
            (one, _) => one.is_some(),
        };
        let entry = if is_first { first.take() } else { second.take() };
        let (key, row) = entry.expect("looked at just above");
        let placed = DeliveryKey { seq: row_seq(key.value()), slot: row_slot(key.value()) };
        if looked == rows {
            page.next = Some(placed.max(recover.next));
            return Ok(page);
        }
        if let Some(row) = decode_row(row.value()) {
            let meant = meant(&Placed { first: placed, row }, recover);
            for key in meant.into_iter().filter(|key| *key >= recover.next) {
                if page.found.len() == most {
                    page.next = Some(key);
                    return Ok(page);
                }
                page.found.push(key);
            }
        }
        if is_first {
            first = pending.next().transpose()?;
        } else {
            second = history.next().transpose()?;
        }
    }
    Ok(page)
}

/// Those of a row that are to be replayed.
fn meant(placed: &Placed, recover: &Recover) -> Vec<DeliveryKey> {
    let keys = (placed.first.slot..).map(|slot| DeliveryKey { seq: placed.first.seq, slot });
    let all = keys.zip(&placed.row.deliveries);
    all.filter(|(_, delivery)| is_meant(delivery, recover)).map(|(key, _)| key).collect()
}

/// Writes a step; whether anything was written comes with the answer. Where the endpoint has no room, or must not be sent to
/// yet, the job stays at the delivery that could not be replayed; where it has been deleted, the job is called off.
pub(super) fn step(
    step: &Step,
    state: &mut StoreState,
    tables: &mut Tables<'_>,
    scheduled: &mut Vec<Scheduled>,
) -> Result<(JobChanged, bool), StoreError> {
    let (mut job, mut recover) = match recover_of(step.number, state) {
        Ok(found) => found,
        Err(not) => return Ok((not, false)),
    };
    if recover.next != step.from {
        // What was read is of an earlier step.
        return Ok((JobChanged::Done(step.number, Box::new(job)), false));
    }
    let mut next = step.failures.next;
    for key in &step.failures.found {
        let meant = find(*key, tables)?.is_some_and(|(_, _, delivery)| is_meant(&delivery, &recover));
        if !meant {
            continue;
        }
        let one = Replay { key: *key, at: step.at, wall: step.wall, callback: None };
        match replay(&one, state, tables, scheduled)? {
            Replayed::Done(_) => recover.replayed += 1,
            Replayed::Missing | Replayed::Pending => {}
            Replayed::Deleted => {
                job = Job { state: JobState::Cancelled, error: Some(DELETED.to_owned()), ..job };
                next = Some(*key);
                break;
            }
            Replayed::Discarding | Replayed::Full | Replayed::TooEarly => {
                next = Some(*key);
                break;
            }
        }
    }
    match next {
        Some(next) => recover.next = next,
        None => job.state = JobState::Done,
    }
    if job.is_running() && recover.next == step.from {
        // It waits: that costs no commit.
        return Ok((JobChanged::Done(step.number, Box::new(job)), false));
    }
    let left = between(recover.next.seq, recover.below, &state.passed);
    let done = job.total.unwrap_or_default().saturating_sub(if next.is_some() { left } else { 0 });
    let ended_at = (!job.is_running()).then_some(step.wall);
    let job = Job { work: Work::Recover(recover), done, ended_at, ..job };
    Ok((state.jobs.put(step.number, job, tables)?, true))
}

/// How many numbers of events there are from one up to another, without those that restores have `passed` over.
pub(super) fn between(from: Seq, to: Seq, passed: &[Range<u64>]) -> u64 {
    let (from, to) = (from.get(), to.get());
    let none = |range: &Range<u64>| range.end.min(to).saturating_sub(range.start.max(from));
    to.saturating_sub(from).saturating_sub(passed.iter().map(none).sum())
}

/// The recover of this number, if it runs.
fn recover_of(number: JobNumber, state: &StoreState) -> Result<(Job, Recover), JobChanged> {
    let job = state.jobs.get(number).cloned().ok_or(JobChanged::Missing)?;
    match job.work {
        Work::Recover(recover) if job.is_running() => Ok((job, recover)),
        _ => Err(JobChanged::Ended(number, Box::new(job))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_were_passed_over_are_not_counted() {
        let passed = [10..100, 150..1_000];
        for (from, to, count) in [
            (1, 10, 9),
            (1, 100, 9),
            (1, 101, 10),
            (5, 1_001, 5 + 50 + 1),
            (100, 150, 50),
            (100, 200, 50),
            (20, 90, 0),
            (160, 1_010, 10),
            (9, 3, 0_u64),
        ] {
            assert_eq!(between(Seq::new(from), Seq::new(to), &passed), count, "{from}..{to}");
            assert_eq!(between(Seq::new(from), Seq::new(to), &[]), u64::saturating_sub(to, from));
        }
    }
}
