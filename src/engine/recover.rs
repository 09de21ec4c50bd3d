//! Replaying what endpoints have failed, job by job, beside the engine.
//!
//! A recover gives an endpoint no more than its lane has little of: while [`WINDOW`] of its deliveries are due, nothing is
//! added, so what is recovered is neither held in memory by the million nor let loose at once, and what is accepted meanwhile
//! waits behind a few hundred at most. All other lanes have their turns as ever. While its circuit is open it gets what that is
//! probed with, one after the other; while it is disabled, or the store has no room, or due deliveries of it are on disk alone
//! for want of memory, the job waits. What is on disk says how far each has come: a start goes on from there.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, task, time::sleep};

use super::{
    Handle,
    directory::{Directory, Target},
};
use crate::{
    clock::Clock,
    logging::Kind,
    model::job::{Job, JobNumber, JobState, Recover, Work},
    outbox::{DELETED, JobChange, JobChanged, Outbox, Step, StoreError},
    scheduler::LaneStatus,
};

/// With so many of an endpoint's deliveries due, or of one that keeps an order pending, no more are replayed.
const WINDOW: usize = 512;
/// So many are replayed in one commit.
const STEP: usize = 256;
/// Rows that are looked at for a step: some 10 ms of reading.
const ROWS: usize = 5_000;
/// How soon a job that could not go on is looked at again; each time twice as long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The longest that gets.
const LOOK_SELDOM: Duration = Duration::from_secs(1);

/// Goes on with all recovers that there are, until there are none, whenever it is `told` to.
pub(super) async fn recover(
    outbox: Outbox,
    directory: Arc<Directory>,
    clock: Clock,
    engine: Handle,
    told: Arc<Notify>,
) {
    let driver = Driver { outbox, directory, clock, engine };
    let mut pause = LOOK_AGAIN;
    loop {
        let jobs = driver.running().await.unwrap_or_else(|error| {
            tracing::warn!(kind = Kind::PassFailed.word(), %error, "cannot look for recovers");
            Vec::new()
        });
        if jobs.is_empty() {
            told.notified().await;
            continue;
        }
        let mut moved = false;
        for (number, recover) in jobs {
            match driver.go_on(number, &recover).await {
                Ok(one) => moved |= one,
                Err(error) => {
                    tracing::warn!(kind = Kind::PassFailed.word(), %error, "a recover cannot go on");
                }
            }
        }
        if moved {
            pause = LOOK_AGAIN;
        } else {
            tokio::select! {
                () = sleep(pause) => pause = LOOK_SELDOM.min(pause * 2),
                () = told.notified() => pause = LOOK_AGAIN,
            }
        }
    }
}

struct Driver {
    outbox: Outbox,
    directory: Arc<Directory>,
    clock: Clock,
    engine: Handle,
}

impl Driver {
    async fn running(&self) -> Result<Vec<(JobNumber, Recover)>, StoreError> {
        let outbox = self.outbox.clone();
        let jobs = task::spawn_blocking(move || outbox.read()?.jobs()).await;
        let jobs = jobs.unwrap_or(Err(StoreError::Stopped))?;
        let recover = |(number, job): (JobNumber, Job)| match job.work {
            Work::Recover(recover) if job.is_running() => Some((number, recover)),
            _ => None,
        };
        Ok(jobs.into_iter().filter_map(recover).collect())
    }

    /// One step of a job; whether it came further.
    async fn go_on(&self, number: JobNumber, recover: &Recover) -> Result<bool, StoreError> {
        let target = self.directory.target(recover.endpoint).filter(|target| !target.stored.is_deleted());
        let Some(target) = target else {
            let (state, error, at) = (JobState::Cancelled, Some(DELETED.to_owned()), self.clock.wall());
            self.outbox.change_job(JobChange::End { number, state, error, at }).await?;
            return Ok(true);
        };
        let room = self.room(&target).await;
        if room == 0 {
            return Ok(false);
        }
        let (outbox, asked) = (self.outbox.clone(), *recover);
        let read = move || outbox.read()?.failures(&asked, ROWS, room.min(STEP));
        let failures = task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Stopped))?;
        let (at, wall) = (self.clock.now(), self.clock.wall());
        let step = Step { number, from: recover.next, failures, at, wall };
        Ok(match self.outbox.step(step).await? {
            JobChanged::Done(_, job) => match job.work {
                Work::Recover(now) => {
                    if !job.is_running() {
                        say_done(&target, now.replayed);
                    }
                    now.next != recover.next || !job.is_running()
                }
                Work::Backup { .. } => false,
            },
            JobChanged::Ended(..) | JobChanged::Excluded(..) | JobChanged::Missing => true,
        })
    }

    /// How many more may be due for an endpoint.
    async fn room(&self, target: &Target) -> usize {
        let shut = self.outbox.room().door().borrow().closed().is_some();
        // What is called off by the event's number would have replays called off, too.
        let waits = shut || target.is_held() || target.stored.discard.is_some();
        if waits || !self.engine.overview().await.running {
            return 0;
        }
        let status = self.engine.lane(target.number).await.map(|lane| lane.status);
        let fifo = target.lasting().is_some_and(|lasting| lasting.fifo);
        let pending = usize::try_from(self.outbox.depths().of(target.number)).unwrap_or(usize::MAX);
        room(status, fifo.then_some(pending))
    }
}

fn say_done(target: &Target, replayed: u64) {
    let name = target.label();
    tracing::info!(
        kind = Kind::RecoverDone.word(),
        endpoint = %target.id,
        account = %target.stored.account,
        replayed,
        "what endpoint `{name}` had failed is pending again"
    );
}

/// How many more may be due for an endpoint whose lane is so; of one that keeps an order, how many are `pending` counts.
fn room(lane: Option<LaneStatus>, pending: Option<usize>) -> usize {
    let Some(lane) = lane else { return WINDOW.saturating_sub(pending.unwrap_or(0)) };
    if lane.behind {
        // More of it than memory has room for is due already.
        return 0;
    }
    let due = pending.unwrap_or(lane.queued + lane.in_flight);
    // An open circuit needs a delivery to be probed with, and no more.
    let window = if lane.circuit.is_some() { 1 } else { WINDOW };
    window.saturating_sub(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_let_loose_than_little() {
        const LANE: LaneStatus =
            LaneStatus { queued: 0, in_flight: 0, window: 2, pause: None, circuit: None, behind: false };
        for (lane, pending, expected) in [
            (None, None, WINDOW),
            (None, Some(12), WINDOW - 12),
            (Some(LANE), None, WINDOW),
            (Some(LaneStatus { queued: 500, in_flight: 10, ..LANE }), None, 2),
            (Some(LaneStatus { queued: 500, in_flight: 16, ..LANE }), None, 0),
            (Some(LaneStatus { queued: 500, ..LANE }), Some(7), WINDOW - 7),
            (Some(LaneStatus { behind: true, ..LANE }), None, 0),
            (Some(LaneStatus { behind: true, ..LANE }), Some(7), 0),
        ] {
            assert_eq!(room(lane, pending), expected, "{lane:?} {pending:?}");
        }
    }
}
