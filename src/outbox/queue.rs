//! What waits for the writer, and what of it makes the next round.
//!
//! Work queues up under a mutex while the last commit runs. A round is what is there, up to
//! [`GROUP_EVENTS`] events or [`GROUP_BYTES`] of payload (a file's batch counts as one and is never split). So groups form by
//! themselves, and nobody waits for company but outcomes, which may wait `settle_delay` when nothing else is to be
//! written; those of deliveries that keep an order do not, for others wait for them.

use std::{
    collections::VecDeque,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Tuning,
    accept::{Batch, BatchAnswer, FileIdentity, Routed},
    endpoints::{Change, Changed, Configured, Judged},
    error::StoreError,
    forget::{Due, Forgotten},
    jobs::{JobChange, JobChanged},
    keys::{KeyChange, KeyChanged},
    order::GroupOf,
    recover::Step,
    replay::{Replay, Replayed},
    round::{
        Answer, ChangeTenant, Configure, End, GROUP_BYTES, GROUP_EVENTS, GROUP_LOADED, GROUP_PARKED,
        GROUP_SETTLES, Round, Stop,
    },
    settle::Settle,
    store::Group,
};
use crate::model::{
    bearer::KeyNumber,
    delivery::{DeliveryKey, Load, Order, Scheduled},
    endpoint::{Endpoint, EndpointNumber},
    event::Seq,
    time::{Mark, Timestamp},
};

/// The queue before the thread; shared with every handle.
#[derive(Debug, Default)]
pub(super) struct Queue {
    work: Mutex<Work>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    settles: Vec<Settle>,
    /// One of them keeps an order: what comes next waits for it.
    ordered: bool,
    stuck: Vec<GroupOf>,
    joins: Vec<DeliveryKey>,
    batches: VecDeque<(Batch, Answer<BatchAnswer>)>,
    /// Batches with an event that carries an id, and behind them those that keep an order, until the map of ids is whole.
    unresolved: VecDeque<(Batch, Answer<BatchAnswer>)>,
    unlinked: Vec<FileIdentity>,
    park: VecDeque<Scheduled>,
    loads: VecDeque<Load>,
    configure: Vec<Configure>,
    changes: Vec<(Change, Answer<Changed>)>,
    jobs: Vec<(JobChange, Answer<JobChanged>)>,
    replays: Vec<(Replay, Answer<Replayed>)>,
    called_off: Vec<(DeliveryKey, Answer<bool>)>,
    /// One at a time goes with a commit, and none of them hurries.
    forgets: VecDeque<(Vec<Due>, Answer<Forgotten>)>,
    tenants: Vec<ChangeTenant>,
    tuning: Option<Tuning>,
    key_changes: Vec<(KeyChange, Answer<KeyChanged>)>,
    used: Vec<(KeyNumber, Timestamp)>,
    steps: Vec<(Step, Answer<JobChanged>)>,
    /// Who wants to know that the thread goes on; it is no reason for a commit.
    probes: Vec<oneshot::Sender<()>>,
    ids: Vec<(u64, Seq)>,
    ids_whole: bool,
    /// Of the clocks; goes with the next commit.
    mark: Option<Mark>,
    /// It is reason enough for a commit.
    mark_now: bool,
    /// The map of ids cannot be had.
    failed: Option<StoreError>,
    stop: Stop,
    asleep: Asleep,
}

/// What the thread waits for, so that it is woken by nothing else: outcomes that wait for company are thousands a
/// second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asleep {
    /// Nothing: it is at work.
    #[default]
    No,
    /// Anything.
    Idle,
    /// Something urgent.
    Unurgent,
}

impl Queue {
    pub(super) fn accept(&self, batch: Batch, answer: Answer<BatchAnswer>) {
        self.add(|work| {
            let carries_id = || batch.events.iter().any(|routed| routed.event.producer_id.is_some());
            // What keeps an order does not overtake what waits: the order is that in which it came in.
            let is_behind = || !work.unresolved.is_empty() && batch.events.iter().any(Routed::keeps_order);
            let waits = !work.ids_whole && (carries_id() || is_behind());
            let queue = if waits { &mut work.unresolved } else { &mut work.batches };
            queue.push_back((batch, answer));
        });
    }

    pub(super) fn settle(&self, settles: &mut Vec<Settle>) {
        let ordered = settles.iter().any(|settle| settle.delivery.order != Order::Free);
        self.add(|work| {
            work.ordered |= ordered;
            work.settles.append(settles);
        });
        // The writer may have ended.
        settles.clear();
    }

    pub(super) fn pass_over(&self, stuck: Vec<GroupOf>) {
        self.add(|work| work.stuck.extend(stuck));
    }

    pub(super) fn join(&self, keys: Vec<DeliveryKey>) {
        self.add(|work| work.joins.extend(keys));
    }

    pub(super) fn unlinked(&self, file: FileIdentity) {
        self.add(|work| work.unlinked.push(file));
    }

    pub(super) fn park(&self, keys: Vec<Scheduled>) {
        self.add(|work| work.park.extend(keys));
    }

    pub(super) fn load(&self, load: Load) {
        self.add(|work| work.loads.push_back(load));
    }

    pub(super) fn configure(
        &self,
        wanted: Vec<Configured>,
        judged: Vec<Judged>,
        at: Timestamp,
        answer: Answer<Vec<(EndpointNumber, Endpoint)>>,
    ) {
        self.add(|work| work.configure.push(Configure { wanted, judged, at, answer }));
    }

    pub(super) fn change(&self, change: Change, answer: Answer<Changed>) {
        self.add(|work| work.changes.push((change, answer)));
    }

    pub(super) fn change_job(&self, change: JobChange, answer: Answer<JobChanged>) {
        self.add(|work| work.jobs.push((change, answer)));
    }

    pub(super) fn replay(&self, replay: Replay, answer: Answer<Replayed>) {
        self.add(|work| work.replays.push((replay, answer)));
    }

    pub(super) fn call_off(&self, key: DeliveryKey, answer: Answer<bool>) {
        self.add(|work| work.called_off.push((key, answer)));
    }

    pub(super) fn forget(&self, due: Vec<Due>, answer: Answer<Forgotten>) {
        self.add(|work| work.forgets.push_back((due, answer)));
    }

    pub(super) fn change_tenant(&self, change: ChangeTenant) {
        self.add(|work| work.tenants.push(change));
    }

    /// For the next round; it is no reason for one.
    pub(super) fn tune(&self, tuning: Tuning) {
        self.add(|work| work.tuning = Some(tuning));
    }

    pub(super) fn change_key(&self, change: KeyChange, answer: Answer<KeyChanged>) {
        self.add(|work| work.key_changes.push((change, answer)));
    }

    pub(super) fn key_used(&self, number: KeyNumber, at: Timestamp) {
        self.add(|work| work.used.push((number, at)));
    }

    pub(super) fn step(&self, step: Step, answer: Answer<JobChanged>) {
        self.add(|work| work.steps.push((step, answer)));
    }

    pub(super) fn probe(&self, answer: oneshot::Sender<()>) {
        self.add(|work| work.probes.push(answer));
    }

    pub(super) fn mark(&self, mark: Mark, now: bool) {
        self.add(|work| {
            work.mark = Some(mark);
            work.mark_now |= now;
        });
    }

    pub(super) fn found_ids(&self, page: Vec<(u64, Seq)>) {
        self.add(|work| work.ids.extend(page));
    }

    pub(super) fn ids_are_whole(&self) {
        self.add(|work| {
            work.ids_whole = true;
            let unresolved = mem::take(&mut work.unresolved);
            work.batches.extend(unresolved);
        });
    }

    /// The map of ids cannot be had: the thread ends as after a failed commit.
    pub(super) fn fail(&self, error: StoreError) {
        self.add(|work| work.failed = Some(error));
    }

    pub(super) fn close(&self, end: End) {
        self.add(|work| {
            work.stop = Stop::Close(end);
            // Nobody is left to start what they would bring.
            work.loads.clear();
            // Who asked for these sees that there is an end.
            work.forgets.clear();
        });
    }

    /// Dropping what is given after the end makes its asker see that the writer has stopped.
    fn add(&self, change: impl FnOnce(&mut Work)) {
        let mut work = self.lock();
        if work.stop == Stop::Ended {
            return;
        }
        change(&mut work);
        let wake = match work.asleep {
            Asleep::No => false,
            Asleep::Idle => true,
            Asleep::Unurgent => work.is_urgent(),
        };
        if wake {
            work.asleep = Asleep::No;
            drop(work);
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        // Every change is of one field, or of more by what cannot panic: a panic cannot leave the queue half changed.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn is_empty(&self) -> bool {
        let nothing = self.settles.is_empty() && self.unlinked.is_empty() && self.park.is_empty();
        nothing && self.forgets.is_empty() && self.used.is_empty() && !self.is_urgent()
    }

    /// Whether there is something to do that must not wait for company.
    fn is_urgent(&self) -> bool {
        !self.batches.is_empty()
            || self.ordered
            || !self.stuck.is_empty()
            || !self.joins.is_empty()
            || !self.configure.is_empty()
            || !self.changes.is_empty()
            || !self.jobs.is_empty()
            || !self.replays.is_empty()
            || !self.called_off.is_empty()
            || !self.key_changes.is_empty()
            || !self.steps.is_empty()
            || !self.probes.is_empty()
            || !self.tenants.is_empty()
            || !self.ids.is_empty()
            || self.mark_now
            || !self.loads.is_empty()
            || self.park.len() >= GROUP_PARKED
            || self.settles.len() >= GROUP_SETTLES
            || self.failed.is_some()
            || self.stop != Stop::Run
    }

    fn take_park(&mut self) -> Vec<Scheduled> {
        let count = self.park.len().min(GROUP_PARKED);
        self.park.drain(..count).collect()
    }

    /// Loads for [`GROUP_LOADED`] keys together, but always one.
    fn take_loads(&mut self) -> Vec<Load> {
        let (mut loads, mut keys) = (Vec::new(), 0);
        while let Some(load) =
            self.loads.front().filter(|load| keys == 0 || keys + load.limit <= GROUP_LOADED)
        {
            keys += load.limit;
            loads.push(*load);
            self.loads.pop_front();
        }
        loads
    }

    fn take_batches(&mut self) -> (Vec<Batch>, Vec<Answer<BatchAnswer>>) {
        let (mut events, mut bytes) = (0, 0);
        let (mut batches, mut answers) = (Vec::new(), Vec::new());
        while let Some((batch, _)) = self.batches.front() {
            let batch_bytes: usize = batch.events.iter().map(|routed| routed.event.data.len()).sum();
            let fits = events + batch.events.len() <= GROUP_EVENTS && bytes + batch_bytes <= GROUP_BYTES;
            if !fits && !batches.is_empty() {
                break;
            }
            events += batch.events.len();
            bytes += batch_bytes;
            let (batch, answer) = self.batches.pop_front().expect("looked at just above");
            batches.push(batch);
            answers.push(answer);
        }
        (batches, answers)
    }
}

/// Waits for something to do. `spare` is a vector whose room the queue goes on with, so that it does not grow it anew with
/// every commit.
pub(super) fn next_round(queue: &Queue, settle_delay: Duration, spare: Vec<Settle>) -> Round {
    let mut work = queue.lock();
    while work.is_empty() {
        work.asleep = Asleep::Idle;
        work = queue.wake.wait(work).unwrap_or_else(PoisonError::into_inner);
    }
    if !work.is_urgent() {
        work.asleep = Asleep::Unurgent;
        let waited = queue.wake.wait_timeout_while(work, settle_delay, |work| !work.is_urgent());
        work = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    work.asleep = Asleep::No;
    work.ordered = false;
    let (batches, answers) = work.take_batches();
    let (due, forget) = work.forgets.pop_front().unzip();
    let group = Group {
        settles: mem::replace(&mut work.settles, spare),
        stuck: mem::take(&mut work.stuck),
        joins: mem::take(&mut work.joins),
        batches,
        unlinked: mem::take(&mut work.unlinked),
        park: work.take_park(),
        loads: work.take_loads(),
        forget: due.unwrap_or_default(),
        used: mem::take(&mut work.used),
    };
    Round {
        group,
        answers,
        configure: mem::take(&mut work.configure),
        changes: mem::take(&mut work.changes),
        jobs: mem::take(&mut work.jobs),
        replays: mem::take(&mut work.replays),
        called_off: mem::take(&mut work.called_off),
        forget,
        tenants: mem::take(&mut work.tenants),
        tuning: work.tuning.take(),
        key_changes: mem::take(&mut work.key_changes),
        steps: mem::take(&mut work.steps),
        probes: mem::take(&mut work.probes),
        ids: mem::take(&mut work.ids),
        mark: work.mark.take(),
        mark_now: mem::take(&mut work.mark_now),
        failed: work.failed.take(),
        stop: work.stop,
    }
}

/// Marks the queue as ended, however the thread ends.
pub(super) struct Ended<'a>(pub(super) &'a Queue);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut work = self.0.lock();
        *work = Work { stop: Stop::Ended, ..Work::default() };
    }
}
