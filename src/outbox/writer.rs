//! Group commit: the one thread that writes.
//!
//! Work queues up under a mutex while the last commit runs; the thread takes what is there, up to
//! [`GROUP_EVENTS`] events or [`GROUP_BYTES`] of payload (a file's batch counts as one and is never split), writes
//! outcomes first, then what joins its order, then events, commits, answers, then tells the engine. So groups form by
//! themselves, and nobody waits for company but outcomes, which may wait `settle_delay` when nothing else is to be
//! written; those of deliveries that keep an order do not, for others wait for them.
//!
//! After an error the thread says so to the engine, closes the store and ends; what is in the queue then, and what is
//! added later, is answered with [`StoreError::Stopped`].

use std::{
    collections::VecDeque,
    io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Tuning,
    accept::{Batch, BatchAnswer, FileIdentity, Routed},
    endpoints::{Change, Changed, Configured, Judged},
    error::{StoreError, contain},
    forget::{Due, Forgotten},
    jobs::{JobChange, JobChanged},
    keys::{KeyChange, KeyChanged},
    order::GroupOf,
    origins::OriginNews,
    parked::Loaded,
    recover::Step,
    replay::{Replay, Replayed},
    settle::{NotSettled, Settle},
    store::{Again, Group, Store},
    tenants::{TenantChange, TenantChanged},
};
use crate::model::{
    account::AccountName,
    bearer::KeyNumber,
    delivery::{DeliveryKey, Load, Order, Scheduled},
    endpoint::{Endpoint, EndpointNumber},
    event::Seq,
    time::{Mark, Minute, Timestamp},
};

pub(super) const GROUP_EVENTS: usize = 512;
pub(super) const GROUP_BYTES: usize = 1 << 20;
pub(super) const GROUP_SETTLES: usize = 512;
pub(super) const GROUP_PARKED: usize = 4096;
pub(super) const GROUP_LOADED: usize = 4096;

/// What the writer tells the engine, after the commit that made it so.
#[derive(Debug)]
pub enum Notice {
    /// Origins of callbacks were made, or forgotten; before anything is scheduled for them.
    Origins(OriginNews),
    /// Deliveries were accepted.
    Scheduled(Vec<Scheduled>),
    /// The outcomes of these deliveries are durable.
    Settled(Vec<DeliveryKey>),
    /// Nothing was written of the outcomes of these deliveries.
    NotSettled(Vec<(DeliveryKey, NotSettled)>),
    /// This many deliveries have joined their order, or ended before.
    Joined(usize),
    /// This many keys have been parked, of these lanes; with each the first minute of its keys.
    Parked(usize, Vec<(EndpointNumber, Minute)>),
    /// Keys have been taken from the disk.
    Loaded(Loaded),
    /// Nothing more will be written.
    Failed(StoreError),
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

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

#[derive(Debug)]
struct Configure {
    wanted: Vec<Configured>,
    judged: Vec<Judged>,
    at: Timestamp,
    answer: Answer<Vec<(EndpointNumber, Endpoint)>>,
}

#[derive(Debug)]
pub(super) struct ChangeTenant {
    pub(super) change: (AccountName, TenantChange),
    pub(super) judged: Vec<Judged>,
    pub(super) at: Timestamp,
    pub(super) answer: Answer<TenantChanged>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stop {
    #[default]
    Run,
    /// Write what is queued, then close.
    Close(End),
    /// The thread has ended.
    Ended,
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

    fn close(&self, end: End) {
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

/// What the thread takes from the queue at once.
struct Round {
    group: Group,
    answers: Vec<Answer<BatchAnswer>>,
    configure: Vec<Configure>,
    changes: Vec<(Change, Answer<Changed>)>,
    jobs: Vec<(JobChange, Answer<JobChanged>)>,
    replays: Vec<(Replay, Answer<Replayed>)>,
    called_off: Vec<(DeliveryKey, Answer<bool>)>,
    forget: Option<Answer<Forgotten>>,
    tenants: Vec<ChangeTenant>,
    tuning: Option<Tuning>,
    key_changes: Vec<(KeyChange, Answer<KeyChanged>)>,
    steps: Vec<(Step, Answer<JobChanged>)>,
    probes: Vec<oneshot::Sender<()>>,
    ids: Vec<(u64, Seq)>,
    mark: Option<Mark>,
    mark_now: bool,
    failed: Option<StoreError>,
    stop: Stop,
}

/// How a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every attempt that was begun has been settled.
    Clean,
    /// Attempts were cut off: the next start must know, as after a crash, that they may be made twice.
    CutOff,
}

/// The writer's thread. Joined by [`Writer::close`].
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    thread: thread::JoinHandle<Result<(), StoreError>>,
}

impl Writer {
    pub(super) fn start(
        store: Store,
        queue: Arc<Queue>,
        settle_delay: Duration,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> io::Result<Self> {
        let own = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("outbox".to_owned())
            .spawn(move || run(store, &own, settle_delay, &notices))?;
        Ok(Self { queue, thread })
    }

    /// Has the clocks' mark written as the store is closed cleanly, or with a commit before that.
    pub fn mark(&self, mark: Mark) {
        self.queue.mark(mark, false);
    }

    /// Writes what is queued, marks the store as closed cleanly if that is how it ends, and closes it for everybody:
    /// reads fail from then on.
    /// Events that still wait for the map of ids are not written; their askers are told so, as are those who come later.
    ///
    /// # Errors
    /// What is queued could not be written, or the store not closed; or it had failed before.
    pub fn close(self, end: End) -> Result<(), StoreError> {
        self.queue.close(end);
        self.thread.join().unwrap_or(Err(StoreError::Stopped))
    }
}

/// Marks the queue as ended, however the thread ends.
struct Ended<'a>(&'a Queue);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut work = self.0.lock();
        *work = Work { stop: Stop::Ended, ..Work::default() };
    }
}

fn run(
    mut store: Store,
    queue: &Queue,
    mut settle_delay: Duration,
    notices: &mpsc::UnboundedSender<Notice>,
) -> Result<(), StoreError> {
    let _ended = Ended(queue);
    let mut spare = Vec::new();
    loop {
        let mut round = next_round(queue, settle_delay, spare);
        if let Some(mark) = round.mark {
            store.set_mark(mark);
        }
        if let Some(tuning) = round.tuning {
            settle_delay = tuning.settle_delay;
            store.tune(tuning);
        }
        let probes = mem::take(&mut round.probes);
        let written = match round.failed.take() {
            Some(error) => Err(error),
            None if round.is_last() => return end(store, round.stop),
            None => contain(|| write(&mut store, round, notices)).map_err(StoreError::from).flatten(),
        };
        match written {
            Ok(emptied) => {
                spare = emptied;
                // With the round behind it the thread has shown that it goes on. Who asked may have gone.
                for asked in probes {
                    let _ = asked.send(());
                }
            }
            Err(error) => {
                // The engine may have gone before us; then nobody needs to be told.
                let _ = notices.send(Notice::Failed(error));
                // Closed all the same: of what redb can still put in order, nothing is left to the next start. That
                // this may fail as well says nothing new.
                let _ = store.abandon();
                return Err(StoreError::Stopped);
            }
        }
    }
}

fn end(store: Store, stop: Stop) -> Result<(), StoreError> {
    if stop == Stop::Close(End::Clean) { store.close() } else { store.abandon() }
}

impl Round {
    /// Whether the store is to be closed and nothing is left to write.
    fn is_last(&self) -> bool {
        let unchanged = self.configure.is_empty() && self.changes.is_empty() && self.tenants.is_empty();
        let nothing_again = self.replays.is_empty() && self.called_off.is_empty() && self.steps.is_empty();
        let nothing_else = self.key_changes.is_empty() && self.jobs.is_empty();
        let nothing = self.group.is_empty() && unchanged && nothing_again && nothing_else;
        matches!(self.stop, Stop::Close(_)) && nothing && !self.mark_now
    }
}

/// Waits for something to do. `spare` is a vector whose room the queue goes on with, so that it does not grow it anew with
/// every commit.
fn next_round(queue: &Queue, settle_delay: Duration, spare: Vec<Settle>) -> Round {
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

/// Writes it, and returns the room that its settles took.
fn write(
    store: &mut Store,
    mut round: Round,
    notices: &mpsc::UnboundedSender<Notice>,
) -> Result<Vec<Settle>, StoreError> {
    store.fill_dedup(&round.ids);
    for Configure { wanted, judged, at, answer } in round.configure {
        // An asker that has gone needs no answer, here and below.
        let _ = answer.send(Ok(store.configure(&wanted, &judged, at)?));
    }
    for (change, answer) in round.changes {
        let _ = answer.send(Ok(store.change(change)?));
    }
    for (change, answer) in round.key_changes {
        let _ = answer.send(Ok(store.change_key(change)?));
    }
    for (change, answer) in round.jobs {
        let _ = answer.send(Ok(store.change_job(change)?));
    }
    if !round.called_off.is_empty() {
        let (keys, askers): (Vec<_>, Vec<_>) = mem::take(&mut round.called_off).into_iter().unzip();
        for (asker, answer) in askers.into_iter().zip(store.call_off(&keys)?) {
            let _ = asker.send(Ok(answer));
        }
    }
    if !round.replays.is_empty() {
        let (replays, askers): (Vec<_>, Vec<_>) = mem::take(&mut round.replays).into_iter().unzip();
        let Again { answers, origins, scheduled } = store.replay(&replays)?;
        tell(origins, scheduled, notices);
        for (asker, answer) in askers.into_iter().zip(answers) {
            let _ = asker.send(Ok(answer));
        }
    }
    for (step, asker) in mem::take(&mut round.steps) {
        let Again { answers, origins, scheduled } = store.step(&step)?;
        tell(origins, scheduled, notices);
        let _ = asker.send(Ok(answers));
    }
    for ChangeTenant { change, judged, at, answer } in round.tenants {
        let _ = answer.send(Ok(store.change_tenant(change, &judged, at)?));
    }
    if round.group.is_empty() && !round.mark_now {
        return Ok(round.group.settles);
    }
    let committed = store.commit(&round.group)?;
    if !committed.origins.is_empty() {
        // Whoever has his answer may ask for his delivery at once.
        let _ = notices.send(Notice::Origins(committed.origins));
    }
    // First of all: a producer that waits should not wait for what its event sets going.
    for (answer, result) in round.answers.into_iter().zip(committed.answers) {
        let _ = answer.send(Ok(result));
    }
    // Few if any, and in the order of the settles.
    let mut not = committed.not_settled.iter().map(|(key, _)| *key).peekable();
    let written = round.group.settles.iter().map(|settle| settle.key);
    let written: Vec<_> = written.filter(|key| not.next_if_eq(key).is_none()).collect();
    if !written.is_empty() {
        let _ = notices.send(Notice::Settled(written));
    }
    if !committed.not_settled.is_empty() {
        let _ = notices.send(Notice::NotSettled(committed.not_settled));
    }
    if !round.group.joins.is_empty() {
        let _ = notices.send(Notice::Joined(round.group.joins.len()));
    }
    if !committed.parked.is_empty() {
        let _ = notices.send(Notice::Parked(round.group.park.len(), committed.parked));
    }
    if let Some(answer) = round.forget {
        let _ = answer.send(Ok(committed.forgotten));
    }
    for loaded in committed.loaded {
        let _ = notices.send(Notice::Loaded(loaded));
    }
    // After what became of the disk: a lane whose last keys have just been loaded takes new ones in memory again.
    if !committed.scheduled.is_empty() {
        let _ = notices.send(Notice::Scheduled(committed.scheduled));
    }
    let mut emptied = mem::take(&mut round.group.settles);
    emptied.clear();
    emptied.shrink_to(2 * GROUP_SETTLES);
    Ok(emptied)
}

/// Tells the engine of what is pending again: before who asked is, who may ask for it then.
fn tell(origins: OriginNews, scheduled: Vec<Scheduled>, notices: &mpsc::UnboundedSender<Notice>) {
    if !origins.is_empty() {
        let _ = notices.send(Notice::Origins(origins));
    }
    if !scheduled.is_empty() {
        let _ = notices.send(Notice::Scheduled(scheduled));
    }
}
