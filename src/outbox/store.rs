//! The store under its writer: a group of work becomes one commit.
//!
//! Synchronous, one thread at a time; [`super::pen`] has it, tests drive it as it is.

use std::{mem, ops::Range};

use redb::ReadableTable;

use super::{
    Options, Tuning,
    accept::{Batch, BatchAnswer, FileIdentity, accept},
    append::Added,
    clock,
    database::Shared,
    dedup::{Dedup, Window, short},
    depths::Depths,
    endpoints::{Change, Changed, Configured, Endpoints, Judged, change, reconcile},
    error::StoreError,
    forget::{Due, Forgotten, forget, most},
    health::Tally,
    held::Held,
    jobs::{JobChange, JobChanged, Jobs},
    keys::{KeyChange, KeyChanged, Keys},
    order::{Advancing, GroupOf, advance, join},
    origins::OriginNews,
    parked::{Loaded, load, park},
    record::IdRow,
    recover::{Step, between, step},
    replay::{Replay, Replayed, call_off, replay},
    room::Room,
    schema::{self, ATTEMPTS, EVENTS, IDS, META, Tables, meta},
    settle::{NotSettled, Settle, settle},
    tenants::{self, TenantChange, TenantChanged, Tenants},
};
use crate::model::{
    account::AccountName,
    attempt::AttemptRow,
    bearer::KeyNumber,
    delivery::{DeliveryKey, Load, Scheduled},
    endpoint::{Endpoint, EndpointNumber},
    event::Seq,
    id::IdKey,
    job::{Recover, Work},
    time::{Mark, Minute, Timestamp},
};

/// What the writer knows besides the file.
#[derive(Debug)]
pub(super) struct State {
    pub(super) id_key: IdKey,
    pub(super) next_seq: Seq,
    pub(super) next_attempt: AttemptRow,
    pub(super) dedup: Dedup,
    pub(super) endpoints: Endpoints,
    pub(super) jobs: Jobs,
    pub(super) keys: Keys,
    pub(super) tenants: Tenants,
    pub(super) depths: Depths,
    pub(super) pending_per_endpoint: u64,
    pub(super) held: Held,
    pub(super) tally: Tally,
    pub(super) room: Room,
    /// Numbers that no event has: restores have passed over them.
    pub(super) passed: Vec<Range<u64>>,
}

/// The work of one commit.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) settles: Vec<Settle>,
    /// Groups whose first delivery cannot be read.
    pub(super) stuck: Vec<GroupOf>,
    /// Deliveries that are due and join their order.
    pub(super) joins: Vec<DeliveryKey>,
    pub(super) batches: Vec<Batch>,
    pub(super) unlinked: Vec<FileIdentity>,
    pub(super) park: Vec<Scheduled>,
    pub(super) loads: Vec<Load>,
    /// Events that are to be forgotten.
    pub(super) forget: Vec<Due>,
    /// When keys were last used.
    pub(super) used: Vec<(KeyNumber, Timestamp)>,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.has_only_batches()
    }

    fn has_only_batches(&self) -> bool {
        let Self { settles, stuck, joins, batches: _, unlinked, park, loads, forget, used } = self;
        let nothing_ended = settles.is_empty() && stuck.is_empty() && joins.is_empty();
        let nothing_kept = unlinked.is_empty() && park.is_empty() && used.is_empty();
        nothing_ended && nothing_kept && loads.is_empty() && forget.is_empty()
    }

    /// Whether somebody waits for its commit besides who wants events forgotten.
    pub(super) fn is_waited_for(&self) -> bool {
        !(self.settles.is_empty() && self.batches.is_empty() && self.loads.is_empty())
    }
}

/// What a commit brought about.
#[derive(Debug, Default)]
pub(super) struct Committed {
    /// An answer for each batch of the group.
    pub(super) answers: Vec<BatchAnswer>,
    pub(super) scheduled: Vec<Scheduled>,
    /// The group's outcomes that were not written.
    pub(super) not_settled: Vec<(DeliveryKey, NotSettled)>,
    /// The lanes of the keys that were parked, each with the first minute of them.
    pub(super) parked: Vec<(EndpointNumber, Minute)>,
    pub(super) loaded: Vec<Loaded>,
    pub(super) origins: OriginNews,
    pub(super) forgotten: Forgotten,
}

/// What came of what is to be delivered again.
#[derive(Debug, Default)]
pub(super) struct Again<T> {
    /// An answer for each.
    pub(super) answers: T,
    pub(super) origins: OriginNews,
    pub(super) scheduled: Vec<Scheduled>,
}

/// The open store.
#[derive(Debug)]
pub(super) struct Store {
    database: Shared,
    state: State,
    quick_repair: bool,
    /// Goes with the next commit.
    mark: Option<Mark>,
    /// Since the last look at the disk.
    committed: bool,
}

impl Store {
    /// Takes an open database over, whose tables and `meta` rows are there.
    pub(super) fn new(
        database: Shared,
        options: &Options,
        depths: Depths,
        room: Room,
    ) -> Result<Self, StoreError> {
        let txn = database.begin_read()?;
        let id_key = read_id_key(&txn.open_table(META)?)?;
        let last_seq = txn.open_table(EVENTS)?.last()?.map_or(0, |(seq, _)| seq.value());
        let last_attempt = txn.open_table(ATTEMPTS)?.last()?.map_or(0, |(row, _)| row.value());
        let endpoints = Endpoints::read(&txn)?;
        let jobs = Jobs::read(&txn)?;
        let keys = Keys::read(&txn)?;
        let tenants = Tenants::read(&txn)?;
        let passed = schema::passed(&txn.open_table(META)?)?;
        let restored = schema::seq_from(&passed);
        let next_seq = Seq::new(after("events", last_seq, Seq::MAX.get())?.max(restored));
        let next_attempt = AttemptRow::new(after("attempts", last_attempt, AttemptRow::MAX.get())?);
        let (held, next_attempt) = Held::read(&txn, next_seq, next_attempt)?;
        let tally = Tally::read(&txn, &endpoints, next_attempt)?;
        drop(txn);
        room.holds(held.bytes());
        let window = Window { time: options.dedup_window, entries: options.dedup_entries };
        let state = State {
            dedup: Dedup::new(id_key.clone(), window),
            id_key,
            next_seq,
            next_attempt,
            endpoints,
            jobs,
            keys,
            tenants,
            depths,
            pending_per_endpoint: options.pending_per_endpoint,
            held,
            tally,
            room,
            passed,
        };
        Ok(Self { database, state, quick_repair: options.quick_repair, mark: None, committed: false })
    }

    /// Has the clocks' mark written with the next commit.
    pub(super) const fn set_mark(&mut self, mark: Mark) {
        self.mark = Some(mark);
    }

    /// Keeps itself so from now on.
    pub(super) fn tune(&mut self, tuning: Tuning) {
        let Tuning { settle_delay: _, dedup, pending_per_endpoint, max_size } = tuning;
        self.state.dedup.set_window(dedup);
        self.state.pending_per_endpoint = pending_per_endpoint;
        self.state.room.set_max_size(max_size);
        self.state.room.holds(self.state.held.bytes());
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn fill_dedup(&mut self, rows: &[(u64, Seq)]) {
        self.state.dedup.fill(rows);
    }

    /// Makes the group durable, outcomes first. After an error nothing more must be written.
    pub(super) fn commit(&mut self, group: &Group) -> Result<Committed, StoreError> {
        let mut done = Committed::default();
        // Settled as the commit begins: what it meets in writing is for the next.
        let full = self.state.room.judge(&group.batches);
        self.write_if(|state, tables| {
            let (mut added, mut advancing) = (Added::default(), Advancing::of(&group.stuck));
            for one in &group.settles {
                if let Some(why) = settle(one, state, tables, &mut added, &mut advancing)? {
                    done.not_settled.push((one.key, why));
                }
                added.write_if_large(tables, &mut state.held)?;
            }
            // Before anything is accepted: the rows of all these are in their table, and what joins was due before.
            advance(advancing, state, tables, &mut done.scheduled)?;
            join(&group.joins, state, tables, &mut done.scheduled)?;
            for file in &group.unlinked {
                tables.files()?.remove(file.key())?;
            }
            for (batch, full) in group.batches.iter().zip(full) {
                done.answers.push(accept(batch, full, state, tables, &mut added, &mut done.scheduled)?);
            }
            done.parked = park(&group.park, tables)?;
            state.keys.used(&group.used, tables)?;
            for one in &group.loads {
                done.loaded.push(load(*one, tables)?);
            }
            done.origins = state.endpoints.origins.take_news();
            added.write(tables, &mut state.held)?;
            // Behind all else: what has become pending again by this commit stays.
            let rows = most(&state.room, group.is_waited_for());
            done.forgotten = forget(&group.forget, rows, state, tables)?;
            // Producers whose events find no room come again and again: that is not to cost a commit each time.
            let mut answered = group.batches.iter().zip(&done.answers);
            let in_vain =
                group.has_only_batches() && answered.all(|(batch, answer)| answer.wrote_nothing(batch));
            Ok(((), !in_vain))
        })?;
        Ok(done)
    }

    /// Makes the stored endpoints agree with the configuration.
    pub(super) fn configure(
        &mut self,
        wanted: &[Configured],
        judged: &[Judged],
        at: Timestamp,
    ) -> Result<Vec<(EndpointNumber, Endpoint)>, StoreError> {
        self.write(|state, tables| {
            // With a start's first commit, before anybody can ask.
            state.jobs.fail_stopped(at, tables)?;
            reconcile(wanted, judged, at, &mut state.endpoints, tables)
        })
    }

    /// Makes or changes a job.
    pub(super) fn change_job(&mut self, change: JobChange) -> Result<JobChanged, StoreError> {
        self.write_if(|state, tables| {
            let changed = state.jobs.change(bounded(change, state), tables)?;
            let wrote = matches!(changed, JobChanged::Done(..));
            Ok((changed, wrote))
        })
    }

    /// Changes an endpoint.
    pub(super) fn change(&mut self, one: Change) -> Result<Changed, StoreError> {
        self.write(|state, tables| {
            let deleted = if let Change::Delete { number, .. } = &one { Some(*number) } else { None };
            let changed = change(one, state, tables)?;
            if let Some(number) = deleted.filter(|number| !state.endpoints.is_counted(*number)) {
                state.tally.delete(number);
            }
            Ok(changed)
        })
    }

    /// Takes in that deliveries are called off during their attempts; of each whether it is pending.
    pub(super) fn call_off(&mut self, keys: &[DeliveryKey]) -> Result<Vec<bool>, StoreError> {
        self.write_if(|_, tables| {
            let marked = keys.iter().map(|key| call_off(*key, tables)).collect::<Result<Vec<_>, _>>()?;
            let wrote = marked.contains(&true);
            Ok((marked, wrote))
        })
    }

    /// Has deliveries delivered again.
    pub(super) fn replay(&mut self, replays: &[Replay]) -> Result<Again<Vec<Replayed>>, StoreError> {
        self.write_if(|state, tables| {
            let mut again: Again<Vec<Replayed>> = Again::default();
            for one in replays {
                again.answers.push(replay(one, state, tables, &mut again.scheduled)?);
            }
            again.origins = state.endpoints.origins.take_news();
            let wrote = !again.scheduled.is_empty() || !again.origins.is_empty();
            Ok((again, wrote))
        })
    }

    /// Makes or revokes a key.
    pub(super) fn change_key(&mut self, one: KeyChange) -> Result<KeyChanged, StoreError> {
        self.write(|state, tables| state.keys.change(one, &state.tenants, tables))
    }

    /// Has a recover do what was read for it.
    pub(super) fn step(&mut self, one: &Step) -> Result<Again<JobChanged>, StoreError> {
        self.write_if(|state, tables| {
            let mut scheduled = Vec::new();
            let (answers, wrote) = step(one, state, tables, &mut scheduled)?;
            Ok((Again { answers, origins: OriginNews::default(), scheduled }, wrote))
        })
    }

    /// Changes an account that was, or is to be, made over the API.
    pub(super) fn change_tenant(
        &mut self,
        one: (AccountName, TenantChange),
        judged: &[Judged],
        at: Timestamp,
    ) -> Result<TenantChanged, StoreError> {
        self.write(|state, tables| tenants::change(one, judged, at, state, tables))
    }

    /// Shuts the door if what was committed has filled the disk.
    pub(super) fn look_at_disk(&mut self) {
        if mem::take(&mut self.committed) {
            self.state.room.shut_if_full();
        }
    }

    /// Says in the store that it is closed cleanly, and closes it.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let txn = self.begin()?;
        txn.open_table(META)?.insert(meta::CLEAN, [].as_slice())?;
        if let Some(mark) = &self.mark {
            clock::write(mark, &txn)?;
        }
        let State { mut held, mut tally, next_seq, next_attempt, .. } = self.state;
        held.write(next_seq, next_attempt, &txn)?;
        tally.write(next_attempt, &txn)?;
        txn.commit()?;
        self.database.close()
    }

    /// Closes the store after an error, without that mark.
    pub(super) fn abandon(self) -> Result<(), StoreError> {
        self.database.close()
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut State, &mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_if(|state, tables| Ok((work(state, tables)?, true)))
    }

    /// Writes what `work` does, unless it says that it did nothing and nothing else is to be written.
    fn write_if<T>(
        &mut self,
        work: impl FnOnce(&mut State, &mut Tables<'_>) -> Result<(T, bool), StoreError>,
    ) -> Result<T, StoreError> {
        let txn = self.begin()?;
        let mut tables = Tables::new(&txn);
        let (result, wrote) = work(&mut self.state, &mut tables)?;
        drop(tables);
        if !wrote && self.mark.is_none() {
            txn.abort()?;
            return Ok(result);
        }
        let mark = self.mark.take();
        if let Some(mark) = &mark {
            clock::write(mark, &txn)?;
        }
        let State { held, tally, next_seq, next_attempt, room, .. } = &mut self.state;
        if mark.is_some() || held.is_long() || tally.is_due() {
            tally.write(*next_attempt, &txn)?;
        }
        if mark.is_some() || held.is_due() {
            held.write(*next_seq, *next_attempt, &txn)?;
        }
        txn.commit()?;
        self.committed = true;
        room.holds(held.bytes());
        Ok(result)
    }

    fn begin(&self) -> Result<redb::WriteTransaction, StoreError> {
        let mut txn = self.database.begin_write()?;
        txn.set_quick_repair(self.quick_repair);
        Ok(txn)
    }
}

/// The number after the `last` of a table; a number that was never given is a damaged file's.
const fn after(table: &'static str, last: u64, greatest: u64) -> Result<u64, StoreError> {
    if last < greatest { Ok(last + 1) } else { Err(StoreError::Row { table, key: last }) }
}

/// Reads the map of ids in pages, each in a short read transaction, and gives each page to `found`.
pub(super) fn scan_ids(
    database: &Shared,
    page: usize,
    mut found: impl FnMut(Vec<(u64, Seq)>),
) -> Result<(), StoreError> {
    let mut last = 0;
    loop {
        let txn = database.begin_read()?;
        let ids = txn.open_table(IDS)?;
        let (mut count, mut rows) = (0, Vec::with_capacity(page));
        for entry in ids.range(last + 1..)?.take(page) {
            let (seq, row) = entry?;
            let seq = seq.value();
            // Out of order in a damaged file: to follow them might never end.
            if seq <= last || seq > Seq::MAX.get() {
                return Err(StoreError::Row { table: "ids", key: seq });
            }
            (last, count) = (seq, count + 1);
            if let Some(row) = IdRow::decode(row.value()) {
                rows.push((short(&row), Seq::new(seq)));
            }
        }
        found(rows);
        if count < page {
            return Ok(());
        }
    }
}

pub(super) fn read_id_key(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<IdKey, StoreError> {
    let row = meta.get(meta::ID_KEY)?;
    let key = row.and_then(|row| row.value().try_into().ok());
    key.map(IdKey::new).ok_or(StoreError::Row { table: "meta", key: 0 })
}

/// A recover looks at what was accepted before it was made: at what comes before `next`.
fn bounded(change: JobChange, state: &State) -> JobChange {
    let next = state.next_seq;
    match change {
        JobChange::Make { account, work: Work::Recover(recover), total: _, at } => {
            let total = Some(between(recover.next.seq, next, &state.passed));
            JobChange::Make { account, work: Work::Recover(Recover { below: next, ..recover }), total, at }
        }
        change => change,
    }
}
