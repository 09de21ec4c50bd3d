//! What waits for the writer, and what of it makes the next round.
//!
//! Work queues up under a mutex while the last commit runs. A round is what is there, up to
//! [`GROUP_EVENTS`] events or [`GROUP_BYTES`] of payload (a file's batch counts as one and is never split). So groups form by
//! themselves, and nobody waits for company but outcomes, which may wait `settle_delay` when nothing else is to be
//! written; those of deliveries that keep an order do not, for others wait for them.
//!
//! The [`Pen`] lies here while nobody writes. The writer's thread takes it with each round. While that thread waits, one who hands in
//! events and would only wait for their commit may take it with the round that they make ([`Turn`]): to wake another thread for
//! it, and to be woken by that, takes longer than all that is done for one event but its commit. Whoever adds something meanwhile
//! wakes nobody; the thread is woken when the pen comes back, if there is something to do.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
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
    pen::Pen,
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
    /// While nobody writes.
    pen: Option<Box<Pen>>,
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
    /// Who wants to know that writing goes on; it is no reason for a commit.
    probes: Vec<oneshot::Sender<()>>,
    ids: Vec<(u64, Seq)>,
    ids_whole: bool,
    /// Of the clocks; goes with the next commit.
    mark: Option<Mark>,
    /// It is reason enough for a commit.
    mark_now: bool,
    /// Why nothing more can be written: the map of ids cannot be had, or a turn has failed.
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
        self.add(|work| work.accept(batch, answer));
    }

    /// The same; if nobody is writing or about to, the one who asks is to write it.
    pub(super) fn accept_here(self: &Arc<Self>, batch: Batch, answer: Answer<BatchAnswer>) -> Option<Turn> {
        let mut work = self.lock();
        if work.stop == Stop::Ended {
            return None;
        }
        work.accept(batch, answer);
        let rests = work.asleep != Asleep::No && !work.batches.is_empty();
        let Some((pen, round)) = rests.then(|| work.take_round()).flatten() else {
            self.wake(work);
            return None;
        };
        let rest = Rest { queue: Arc::clone(self), pen: Some(pen), outcome: Err(StoreError::Stopped) };
        Some(Turn { round, rest })
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
        self.wake(work);
    }

    /// Wakes the thread if there is what it waits for. Without the pen it could do nothing: who has it looks again.
    fn wake(&self, mut work: MutexGuard<'_, Work>) {
        let wake = match work.asleep {
            Asleep::No => false,
            Asleep::Idle => !work.is_empty(),
            Asleep::Unurgent => work.is_urgent(),
        };
        if wake && work.pen.is_some() {
            work.asleep = Asleep::No;
            drop(work);
            self.wake.notify_one();
        }
    }

    /// Waits for something to do, and for the pen to do it with.
    pub(super) fn next_round(&self) -> (Box<Pen>, Round) {
        let mut work = self.lock();
        loop {
            while work.is_empty() || work.pen.is_none() {
                work.asleep = Asleep::Idle;
                work = self.wake.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(patience) = work.patience() {
                work.asleep = Asleep::Unurgent;
                let waited = self.wake.wait_timeout_while(work, patience, |work| !work.is_urgent());
                work = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            work.asleep = Asleep::No;
            // Another may have written it meanwhile, or be writing.
            if !work.is_empty()
                && let Some(taken) = work.take_round()
            {
                return taken;
            }
        }
    }

    /// Whoever has written lays the pen down; after an error the thread does what is left to do.
    pub(super) fn put_back(&self, pen: Box<Pen>, failed: Option<StoreError>) {
        let mut work = self.lock();
        // The thread has ended, which it does with the pen in its hand alone.
        if work.stop == Stop::Ended {
            return;
        }
        work.pen = Some(pen);
        if failed.is_some() {
            work.failed = failed;
        }
        self.wake(work);
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        // Every change is of one field, or of more by what cannot panic: a panic cannot leave the queue half changed.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn accept(&mut self, batch: Batch, answer: Answer<BatchAnswer>) {
        let carries_id = || batch.events.iter().any(|routed| routed.event.producer_id.is_some());
        // What keeps an order does not overtake what waits: the order is that in which it came in.
        let is_behind = || !self.unresolved.is_empty() && batch.events.iter().any(Routed::keeps_order);
        let waits = !self.ids_whole && (carries_id() || is_behind());
        let queue = if waits { &mut self.unresolved } else { &mut self.batches };
        queue.push_back((batch, answer));
    }

    /// How long what is there may wait for company; `None`: not at all.
    fn patience(&self) -> Option<Duration> {
        self.pen.as_ref().filter(|_| !self.is_urgent()).map(|pen| pen.settle_delay())
    }

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

    /// The pen, if it is there, and what it is to write.
    fn take_round(&mut self) -> Option<(Box<Pen>, Round)> {
        let spare = mem::take(&mut self.pen.as_mut()?.spare);
        self.ordered = false;
        let (batches, answers) = self.take_batches();
        let (due, forget) = self.forgets.pop_front().unzip();
        let group = Group {
            settles: mem::replace(&mut self.settles, spare),
            stuck: mem::take(&mut self.stuck),
            joins: mem::take(&mut self.joins),
            batches,
            unlinked: mem::take(&mut self.unlinked),
            park: self.take_park(),
            loads: self.take_loads(),
            forget: due.unwrap_or_default(),
            used: mem::take(&mut self.used),
        };
        let round = Round {
            group,
            answers,
            configure: mem::take(&mut self.configure),
            changes: mem::take(&mut self.changes),
            jobs: mem::take(&mut self.jobs),
            replays: mem::take(&mut self.replays),
            called_off: mem::take(&mut self.called_off),
            forget,
            tenants: mem::take(&mut self.tenants),
            tuning: self.tuning.take(),
            key_changes: mem::take(&mut self.key_changes),
            steps: mem::take(&mut self.steps),
            probes: mem::take(&mut self.probes),
            ids: mem::take(&mut self.ids),
            mark: self.mark.take(),
            mark_now: mem::take(&mut self.mark_now),
            failed: self.failed.take(),
            stop: self.stop,
        };
        self.pen.take().map(|pen| (pen, round))
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

/// Marks the queue as ended, however the thread ends.
pub(super) struct Ended<'a>(pub(super) &'a Queue);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut work = self.0.lock();
        *work = Work { stop: Stop::Ended, ..Work::default() };
    }
}

/// A round in the hands of the one whose events made it, with the pen to write it.
#[derive(Debug)]
#[must_use = "nobody else writes it; dropped, it counts as an error of the store"]
pub(super) struct Turn {
    round: Round,
    rest: Rest,
}

/// What is left of a turn when its events are durable and answered: the engine is to be told, and the pen laid down, which is done
/// when this is dropped. Until then nothing else is written.
#[derive(Debug)]
#[must_use = "it is for when the answer has gone out"]
pub struct Rest {
    queue: Arc<Queue>,
    /// Until it is dropped.
    pen: Option<Box<Pen>>,
    outcome: Result<(), StoreError>,
}

impl Turn {
    /// Commits the round and answers whom it is for. Blocks for as long as the disk takes.
    pub(super) fn write(self) -> Rest {
        let Self { round, mut rest } = self;
        if let Some(pen) = &mut rest.pen {
            rest.outcome = pen.write(round);
        }
        rest
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let Some(mut pen) = self.pen.take() else { return };
        let outcome = mem::replace(&mut self.outcome, Ok(()));
        let outcome = outcome.and_then(|()| pen.finish());
        self.queue.put_back(pen, outcome.err());
    }
}
