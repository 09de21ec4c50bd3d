//! Stage 2: the durable outbox, one redb file. The only module that names redb.
//!
//! It promises that what was answered is on disk: an accepted event with all its deliveries, an outcome with what
//! follows from it, each in one transaction, fsynced. Keys are sequence numbers given by the one writer; public ids
//! are a keyed permutation of them ([`crate::model::id`]), so that no second index is needed.
//!
//! ```text
//! accept ─▶ queue ─▶ writer: one thread, one commit for all that has queued ─▶ answers, and notices to the engine
//! settle ─▶   │
//! read ─────────────▶ short read transactions, beside the writer
//! ```
//!
//! What is in which table, and the form of the rows, stands in `schema` and `record`. After an error of a commit
//! nothing more is written or answered with success; the daemon ends and is started anew.

mod accept;
mod append;
mod clock;
mod cursor;
mod database;
mod dedup;
mod depths;
mod endpoints;
mod error;
pub mod file;
mod forget;
mod ground;
mod guarded;
mod health;
mod held;
mod jobs;
mod keys;
mod migrate;
mod motion;
mod open;
mod order;
mod origins;
mod parked;
mod pen;
mod queue;
mod read;
mod record;
mod recover;
mod replay;
mod reserve;
mod room;
mod round;
mod schema;
mod settle;
mod store;
mod tenants;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

pub use self::{
    accept::{Acceptance, Addressed, Batch, BatchAnswer, Entry, FileIdentity, Routed},
    clock::Clocks,
    dedup::{Remembered, Window},
    depths::Depths,
    endpoints::{Change, Changed, Configured, Judged},
    error::{OpenError, StoreError},
    forget::{Due, Forgotten},
    health::{Counted, Health, Healths},
    jobs::{JobChange, JobChanged},
    keys::{KeyChange, KeyChanged},
    motion::Motion,
    origins::{Callback, OriginNews},
    parked::Loaded,
    pen::Notice,
    queue::Rest,
    read::{Backlog, Dated, Ended, EndedPage, Heads, Placed, Reader},
    record::{Brief, Head, Row},
    recover::{DELETED, Failures, Step},
    replay::{Replay, Replayed},
    room::{Door, Full, Room},
    round::End,
    settle::{Count, NotSettled, Settle},
    tenants::{MAX_ACCOUNTS, TenantChange, TenantChanged},
    writer::Writer,
};
use self::{
    database::Shared,
    error::contain,
    queue::{Queue, Turn},
    round::ChangeTenant,
    store::Store,
};
use crate::model::{
    account::AccountName,
    attempt::AttemptRow,
    bearer::KeyNumber,
    delivery::{Delivery, DeliveryKey, Group, Load, Order, Scheduled},
    endpoint::{Endpoint, EndpointNumber},
    event::Seq,
    id::IdKey,
    time::{Mark, Timestamp},
};

/// At most so many deliveries of one event.
pub const MAX_DELIVERIES: usize = 1 << 16;

/// How the store is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of redb's page cache.
    pub cache: usize,
    /// Commit in a way that makes opening after a crash instant, at the price of a second fsync.
    pub quick_repair: bool,
    /// How long an outcome may wait for company.
    pub settle_delay: Duration,
    /// How long producers' ids are remembered.
    pub dedup_window: Duration,
    /// How many producers' ids are remembered.
    pub dedup_entries: usize,
    /// More pending deliveries than these fail at once as `endpoint_full`.
    pub pending_per_endpoint: u64,
    /// With so many bytes of rows no more events are taken.
    pub max_size: u64,
    /// Bytes of the file that is given up when the disk is full.
    pub reserve: u64,
    /// Room is kept for the outcomes of so many attempts.
    pub in_flight: usize,
}

/// What of [`Options`] may change while the store is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How long an outcome may wait for company.
    pub settle_delay: Duration,
    /// How long and how many producers' ids are remembered.
    pub dedup: Window,
    /// More pending deliveries than these fail at once as `endpoint_full`.
    pub pending_per_endpoint: u64,
    /// With so many bytes of rows no more events are taken.
    pub max_size: u64,
}

/// A handle of the open store; clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    database: Shared,
    queue: Arc<Queue>,
    depths: Depths,
    healths: Healths,
    room: Room,
    id_key: IdKey,
    dedup: Arc<RwLock<Window>>,
}

/// A batch on its way to the disk.
#[derive(Debug)]
pub struct Accepting(oneshot::Receiver<Result<BatchAnswer, StoreError>>);

impl Accepting {
    /// Waits until the batch is durable.
    ///
    /// # Errors
    /// The store failed or is closed: nothing is known to be durable.
    pub async fn answer(self) -> Result<BatchAnswer, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Stopped))
    }
}

/// What opening the store found and made.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub outbox: Outbox,
    /// The writer's thread.
    pub writer: Writer,
    /// What the writer tells the engine.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    /// The daemon that had the store before did not close it.
    pub unclean: bool,
    /// The backlog: events up to this one were accepted before.
    pub last_seq: Seq,
    /// Attempts from this row on belong to this run.
    pub first_attempt: AttemptRow,
    /// What is known of the clocks of those who had it before.
    pub clocks: Clocks,
}

impl Outbox {
    /// Opens the store at `path`, or makes it there, and starts its writer. `id_key` (random bytes) is used for a new
    /// store only; `progress` is told how far a repair after a crash has come, from 0 to 1, and `motion` counts what is done with
    /// the file for as long as it is open. Blocks: seconds for each gigabyte after an unclean end, unless `quick_repair` was on.
    ///
    /// # Errors
    /// The file is in use, cannot be opened or made, is damaged, or of another format.
    pub fn open(
        path: &Path,
        options: &Options,
        id_key: [u8; 16],
        motion: &Motion,
        progress: impl Fn(f64) + 'static,
    ) -> Result<Opened, OpenError> {
        let room = Room::beside(path, options);
        let open::Opened { database, unclean } =
            open::open(path, options, id_key, (&room, motion), progress)?;
        room.look();
        let failed = |source| OpenError::Store { path: path.to_owned(), source };
        Self::start(Shared::new(database), options, room, unclean).map_err(failed)
    }

    fn start(database: Shared, options: &Options, room: Room, unclean: bool) -> Result<Opened, StoreError> {
        let depths = Depths::default();
        let store = contain(|| Store::new(database.clone(), options, depths.clone(), room.clone()))??;
        let clocks = contain(|| clock::read(&database.begin_read()?))??;
        let state = store.state();
        let last_seq = Seq::new(state.next_seq.get() - 1);
        let left = state.jobs.left_files();
        let (first_attempt, id_key) = (state.next_attempt, state.id_key.clone());
        let healths = state.tally.shared();
        let queue = Arc::new(Queue::default());
        let (sender, notices) = mpsc::unbounded_channel();
        let window = Window { time: options.dedup_window, entries: options.dedup_entries };
        let dedup = Arc::new(RwLock::new(window));
        let outbox = Self { database, queue: Arc::clone(&queue), depths, healths, room, id_key, dedup };
        let writer = Writer::start(store, queue, options.settle_delay, sender).map_err(thread_error)?;
        outbox.start_reading_ids().map_err(thread_error)?;
        remove_left(left).map_err(thread_error)?;
        Ok(Opened { outbox, writer, notices, unclean, last_seq, first_attempt, clocks })
    }

    /// Queues a batch for the next commit, at once; the answer comes when it is durable.
    pub fn accept(&self, batch: Batch) -> Accepting {
        let (sender, receiver) = oneshot::channel();
        self.queue.accept(batch, sender);
        Accepting(receiver)
    }

    /// The same; but if the writer rests, it is written here and now, which blocks until it is durable. For one who would do
    /// nothing but wait, who drops what is left then as soon as the answer has gone out.
    pub fn accept_here(&self, batch: Batch) -> (Accepting, Option<Rest>) {
        let (sender, receiver) = oneshot::channel();
        let rest = self.queue.accept_here(batch, sender).map(Turn::write);
        (Accepting(receiver), rest)
    }

    /// Has outcomes written, and leaves none; for each [`Notice::Settled`] says when it is durable, [`Notice::NotSettled`]
    /// that it was not written.
    pub fn settle(&self, settles: &mut Vec<Settle>) {
        self.queue.settle(settles);
    }

    /// Waits until the writer has come round once more, with what had queued before; false: it has ended.
    pub async fn probe(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.queue.probe(answer);
        answered.await.is_ok()
    }

    /// Has the clocks' mark written with the next commit, or `now` with one of its own.
    pub fn mark(&self, mark: Mark, now: bool) {
        self.queue.mark(mark, now);
    }

    /// Forgets an accepted file that has been unlinked.
    pub fn unlinked(&self, file: FileIdentity) {
        self.queue.unlinked(file);
    }

    /// Has deliveries join their order, which are due; [`Notice::Joined`] says that they have, and
    /// [`Notice::Scheduled`] which of them are first in it.
    pub fn join(&self, keys: Vec<DeliveryKey>) {
        self.queue.join(keys);
    }

    /// Has groups advance whose first delivery cannot be read: the next that can is scheduled.
    pub fn pass_over(&self, stuck: Vec<(EndpointNumber, Group)>) {
        self.queue.pass_over(stuck);
    }

    /// Writes keys to the disk for which memory has no room; [`Notice::Parked`] says that they are there.
    pub fn park(&self, keys: Vec<Scheduled>) {
        self.queue.park(keys);
    }

    /// Takes keys of a lane from the disk; [`Notice::Loaded`] brings them. One load at a time for each lane.
    pub fn load(&self, load: Load) {
        self.queue.load(load);
    }

    /// Makes the stored endpoints agree with the configuration's: a new one gets a number, one that disappeared is
    /// unavailable, one that came back goes on; of those made over the API, `judged` says whether they can be used.
    /// Returns all, by number.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub async fn configure(
        &self,
        wanted: Vec<Configured>,
        judged: Vec<Judged>,
        at: Timestamp,
    ) -> Result<Vec<(EndpointNumber, Endpoint)>, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.configure(wanted, judged, at, sender);
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Changes an endpoint, in a commit of its own; the answer comes when it is durable. What it says holds for every
    /// outcome and every event that is written later.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub async fn change(&self, change: Change) -> Result<Changed, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.change(change, sender);
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Has a delivery that has ended delivered again, in a commit of its own; the answer comes when it is durable.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub async fn replay(&self, replay: Replay) -> Result<Replayed, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.replay(replay, sender);
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Says that a delivery is called off during the attempt whose outcome is given later: then it is cancelled, unless that
    /// is a success. The answer comes when it is durable.
    pub fn call_off(&self, key: DeliveryKey) -> oneshot::Receiver<Result<bool, StoreError>> {
        let (sender, receiver) = oneshot::channel();
        self.queue.call_off(key, sender);
        receiver
    }

    /// Has a recover do what was read for it, in a commit of its own; the answer comes when it is durable. A job that has come
    /// further since stays as it is.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub async fn step(&self, step: Step) -> Result<JobChanged, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.step(step, sender);
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Makes or changes a job, in a commit of its own; the answer comes when it is durable.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub async fn change_job(&self, change: JobChange) -> Result<JobChanged, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.change_job(change, sender);
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Forgets some of these events, the first ones, with all that is of them; the answer comes when that is durable.
    /// Those with a pending delivery stay, as does the newest event.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub async fn forget(&self, due: Vec<Due>) -> Result<Forgotten, StoreError> {
        if due.is_empty() {
            return Ok(Forgotten::default());
        }
        let (sender, receiver) = oneshot::channel();
        self.queue.forget(due, sender);
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Makes or revokes a key, in a commit of its own; the answer comes when it is durable.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub async fn change_key(&self, change: KeyChange) -> Result<KeyChanged, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.queue.change_key(change, sender);
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Has it written when a key was last used, with a commit that others share.
    pub fn key_used(&self, number: KeyNumber, at: Timestamp) {
        self.queue.key_used(number, at);
    }

    /// Changes an account that was, or is to be, made over the API, in a commit of its own, together with how its endpoints and
    /// origins are judged under it; the answer comes when it is durable.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub async fn change_account(
        &self,
        name: AccountName,
        change: TenantChange,
        judged: Vec<Judged>,
        at: Timestamp,
    ) -> Result<TenantChanged, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.queue.change_tenant(ChangeTenant { change: (name, change), judged, at, answer });
        receiver.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Whether a backup can be made of the store, whose file is `store`, as `path`, as far as that can be told before.
    ///
    /// # Errors
    /// It cannot.
    pub fn may_back_up(&self, store: &Path, path: &Path) -> Result<(), file::BackupError> {
        file::may_copy((store, &self.room), path)
    }

    /// Makes a backup of the store, whose file is `store`, as `path`; blocks for as long as it takes. `pace` is asked
    /// after each piece whether to go on, and may wait.
    ///
    /// # Errors
    /// There is no backup; nothing of it is left, and the store is as it was.
    pub fn backup(
        &self,
        store: &Path,
        path: &Path,
        pace: &mut dyn file::Pace,
    ) -> Result<file::Copied, file::BackupError> {
        file::copy(&self.database, (store, &self.room), path, pace)
    }

    /// A view of the store as it is now.
    ///
    /// # Errors
    /// The store failed or is closed.
    pub fn read(&self) -> Result<Reader, StoreError> {
        Reader::new(&self.database)
    }

    /// The key of the store's ids.
    pub const fn id_key(&self) -> &IdKey {
        &self.id_key
    }

    /// How long and how many producers' ids are to be remembered.
    pub fn dedup(&self) -> Window {
        // It is set in one step.
        *self.dedup.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the store so from the next commit on.
    pub fn tune(&self, tuning: Tuning) {
        *self.dedup.write().unwrap_or_else(PoisonError::into_inner) = tuning.dedup;
        self.queue.tune(tuning);
    }

    /// How many deliveries are pending for each endpoint.
    pub const fn depths(&self) -> &Depths {
        &self.depths
    }

    /// How endpoints have done lately.
    pub const fn healths(&self) -> &Healths {
        &self.healths
    }

    /// The room for more events.
    pub const fn room(&self) -> &Room {
        &self.room
    }

    /// Counts what a scan of the backlog has found.
    pub fn count_backlog(&self, found: &[(DeliveryKey, Delivery)]) {
        self.depths.found(found.iter().map(|(_, delivery)| delivery.endpoint));
        self.depths.went_behind(found.iter().filter(|(_, one)| matches!(one.order, Order::Place(_))).count());
    }

    /// Counts what it has found as first in their order, all of which were counted before.
    pub fn count_heads(&self, count: usize) {
        self.depths.came_forward(count);
    }

    /// Says that the scan of the backlog has counted all of it.
    pub fn backlog_is_counted(&self) {
        self.depths.set_whole();
    }

    /// Fills the map of ids beside the writer, so that events without an id need not wait for it.
    fn start_reading_ids(&self) -> std::io::Result<()> {
        const PAGE: usize = 10_000;
        let (database, queue) = (self.database.clone(), Arc::clone(&self.queue));
        let read = move || {
            let scan = || store::scan_ids(&database, PAGE, |page| queue.found_ids(page));
            match contain(scan).map_err(StoreError::from).flatten() {
                Ok(()) => queue.ids_are_whole(),
                // The writer cannot tell duplicates any more: it ends, as after any error of the store.
                Err(error) => queue.fail(error),
            }
        };
        thread::Builder::new().name("ids".to_owned()).spawn(read).map(drop)
    }
}

/// Removes what is left of backups that were being made when the daemon before ended, on a thread of its own: they may be
/// on a disk that does not answer.
fn remove_left(backups: Vec<PathBuf>) -> std::io::Result<()> {
    if backups.is_empty() {
        return Ok(());
    }
    let remove = move || {
        for backup in backups {
            // What cannot be removed now is when the same backup is made again.
            let _ = file::remove_leftover(&backup);
        }
    };
    thread::Builder::new().name("leftovers".to_owned()).spawn(remove).map(drop)
}

fn thread_error(error: std::io::Error) -> StoreError {
    StoreError::from(redb::Error::Io(error))
}
