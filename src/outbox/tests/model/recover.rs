//! What the store promises of recovers.

use super::Model;
use crate::{
    model::{
        delivery::{Delivery, DeliveryKey, Scheduled, State},
        endpoint::EndpointNumber,
        event::Seq,
        job::{Job, JobNumber, JobState, Recover, Work},
        time::Timestamp,
    },
    outbox::{DELETED, Failures, JobChange, JobChanged, Replay, Replayed, Step},
};

impl Model {
    /// A recover of one of the endpoints, that of some time.
    pub(in super::super) fn random_recover(&self, random: &mut fastrand::Rng, now: Timestamp) -> JobChange {
        let since = if random.bool() { 0 } else { random.u64(..now.as_millis()) };
        let recover = Recover {
            endpoint: random.choice(self.endpoints.keys().copied()).unwrap_or(EndpointNumber::new(1)),
            since: Timestamp::from_millis(since),
            until: if random.bool() { Timestamp::MAX } else { now },
            below: Seq::MAX,
            next: DeliveryKey { seq: Seq::new(random.u64(..3)), slot: 0 },
            replayed: 0,
        };
        JobChange::Make { account: None, work: Work::Recover(recover), total: None, at: now }
    }

    pub(in super::super) fn make_job(&mut self, make: &JobChange) -> JobChanged {
        let JobChange::Make { account, work: Work::Recover(recover), at, .. } = make.clone() else {
            panic!("a recover is made: {make:?}")
        };
        let below = self.last_seq().next();
        let total = Some(below.get().saturating_sub(recover.next.seq.get()));
        let number = JobNumber::new(self.jobs.keys().last().map_or(1, |last| last.get() + 1));
        let job = Job::new(account, Work::Recover(Recover { below, ..recover }), total, at);
        self.jobs.insert(number, job.clone());
        JobChanged::Done(number, Box::new(job))
    }

    pub(in super::super) fn running_recover(&self) -> Option<(JobNumber, Recover)> {
        let (number, job) = self.jobs.iter().find(|(_, job)| job.is_running())?;
        match job.work {
            Work::Recover(recover) => Some((*number, recover)),
            Work::Backup { .. } => None,
        }
    }

    /// What a recover has next, `most` at most.
    pub(in super::super) fn failures(&self, recover: &Recover, most: usize) -> Failures {
        let below = DeliveryKey { seq: recover.below, slot: 0 };
        let all = self.deliveries.range(recover.next..).filter(|(key, _)| **key < below);
        let mut keys = all.filter(|(_, one)| is_meant(one, recover)).map(|(key, _)| *key);
        let found = keys.by_ref().take(most).collect();
        Failures { found, next: keys.next() }
    }

    /// What was read for it is replayed as far as there is room.
    pub(in super::super) fn step(&mut self, step: &Step, scheduled: &mut Vec<Scheduled>) -> JobChanged {
        let mut job = self.jobs[&step.number].clone();
        let Work::Recover(mut recover) = job.work else { panic!("it is a recover: {job:?}") };
        let (mut next, mut deleted) = (step.failures.next, false);
        for key in &step.failures.found {
            let one = Replay { key: *key, at: step.at, wall: step.wall, callback: None };
            match self.replay(&one, scheduled) {
                Replayed::Done(_) => {
                    recover.replayed += 1;
                    continue;
                }
                Replayed::Deleted => deleted = true,
                _ => {}
            }
            next = Some(*key);
            break;
        }
        recover.next = next.unwrap_or(recover.next);
        let total = job.total.expect("it is known");
        job.done = match next {
            Some(next) => total.saturating_sub(recover.below.get().saturating_sub(next.seq.get())),
            None => total,
        };
        job.work = Work::Recover(recover);
        if deleted || next.is_none() {
            job.state = if deleted { JobState::Cancelled } else { JobState::Done };
            job.error = deleted.then(|| DELETED.to_owned());
            job.ended_at = Some(step.wall);
        }
        self.jobs.insert(step.number, job.clone());
        JobChanged::Done(step.number, Box::new(job))
    }
}

fn is_meant(delivery: &Delivery, recover: &Recover) -> bool {
    let failed = matches!(delivery.state, State::Failed(_));
    failed
        && delivery.endpoint == recover.endpoint
        && delivery.due >= recover.since
        && delivery.due < recover.until
}
