//! A backup: the rows of a store that runs, in a file of their own.
//!
//! A read transaction shows the store as of one commit, and while it lives no page that it can see is used again: the store's
//! file grows with each commit. So nearly all is copied without one. Rows of `events` and `attempts` are never changed: they
//! are copied first, some at a time, each time as the store is then, at the pace that the asker sets: those that are there when
//! it begins, and then once more those that came meanwhile. It runs after no more than these, or it would never end where more
//! comes than it copies. What is the state of one moment is copied last, in one read transaction: the events and attempts that
//! have come since, and all other tables. That moment is the backup's. Then what retention took away before it is taken from
//! the copy.
//!
//! The copy is a store as one that was not closed: attempts that were being made have no outcome in it, so the daemon that
//! starts with it marks them `after_crash`.
//!
//! It is given up where the disk of the copy has no room, where it would take what the store needs on the same disk, and
//! where the store grows too much during the last part.

use std::{
    fmt, fs,
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, TableDefinition, TableHandle as _, Value, backends::FileBackend,
};

use super::{
    tables,
    target::{PARTIAL, Target},
};
use crate::model::{event::Seq, job::Work};
use crate::outbox::{
    database::Shared,
    error::{OpenError, StoreError, contain},
    guarded::is_full,
    held::row_bytes,
    jobs,
    open::{open_error, parent},
    record::decode_attempt,
    room::Room,
    schema::{
        ACCOUNTS, ATTEMPTS, ENDPOINTS, EVENTS, FIFO, FILES, HEALTH, HISTORY, IDS, JOBS, KEYS, META, PARKED,
        PENDING, create, first_row, meta,
    },
};

/// Bytes that are read at once, or one row.
const PIECE: usize = 1 << 20;
/// Rows that are read at once.
const PIECE_ROWS: usize = 4_096;
/// Pieces of one transaction of the copy.
const PIECES: usize = 16;
/// Bytes of redb's page cache for the copy.
const CACHE: usize = 16 << 20;
/// A store with few rows takes so many bytes.
const LEAST: u64 = 2 << 20;
/// How often what has come since is copied before the moment.
const ROUNDS: usize = 2;
/// What the store may grow by during the last part, where what is free cannot be told.
const GROWTH: u64 = 1 << 30;
/// Of the free space beyond what the store needs, the part that it may grow by during the last part.
const PART: u64 = 4;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Rows that never change are copied: there is time.
    Rows,
    /// The state of one moment is copied, and the store grows meanwhile.
    Moment,
    /// What retention took away is taken from the copy.
    Finish,
    /// The copy is whole and synced, and gets its name if it is to go on.
    Name,
}

/// How far a backup has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes of rows that were copied.
    pub done: u64,
    /// Bytes of rows that are to be copied, as it seems now.
    pub all: u64,
}

/// Why a backup is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The daemon stops.
    Stopped,
    /// Somebody has cancelled it.
    Cancelled,
}

/// Is asked after each piece whether to go on, and may wait before it answers.
pub trait Pace: FnMut(Progress) -> ControlFlow<Halt> {}

impl<F: FnMut(Progress) -> ControlFlow<Halt>> Pace for F {}

/// A backup that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The length of its file.
    pub size: u64,
    /// The bytes of its rows.
    pub bytes: u64,
    /// What the store's file took up more on its disk when it was made than before.
    pub growth: u64,
}

/// A backup that was not made. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is such a file.
    #[error("{} is there already: a backup takes nothing's place; name another file", .0.display())]
    Exists(PathBuf),
    /// It has no name, or would be in no directory.
    #[error("{}: {what}", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The file cannot be made.
    #[error("{}", chain(.0))]
    Target(OpenError),
    /// There is no room for it.
    #[error(
        "the disk of {} has no room for a backup: about {needed} bytes are needed{}, {free} are free; \
         make room, or name a file on another disk",
        path.display(), .keep.map_or_else(String::new, |keep| format!(" beside the {keep} that the store keeps free for itself"))
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that the store keeps for itself, where it is on the same disk.
        keep: Option<u64>,
        /// Bytes that are free.
        free: u64,
    },
    /// The disk filled up meanwhile.
    #[error(
        "the disk of {} has become full: the backup was given up, and nothing of it is left; make room, or name a \
         file on another disk", .0.display()
    )]
    Full(PathBuf),
    /// The store has grown too much.
    #[error(
        "the store grew by {grown} bytes while the backup read its state, and {allowed} were allowed, a quarter of what is \
         free: make the backup when less is handed in, or make room on the store's disk"
    )]
    Grown {
        /// Bytes that it grew by.
        grown: u64,
        /// Bytes that were allowed.
        allowed: u64,
    },
    /// The daemon stops.
    #[error("the daemon was stopped before the backup was whole")]
    Stopped,
    /// Somebody has cancelled it.
    #[error("the backup was cancelled, and nothing of it is left")]
    Cancelled,
    /// The store has a table that is not known here.
    #[error("the store has a table `{0}` that this version does not know; use the posthaste that made it")]
    Unknown(String),
    /// The store, or the copy, failed.
    #[error("{}", chain(.0))]
    Store(#[from] StoreError),
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// Makes a backup of the store at `store`, which `database` is, as `path`.
pub(in crate::outbox) fn copy(
    database: &Shared,
    (store, room): (&Path, &Room),
    path: &Path,
    pace: &mut dyn Pace,
) -> Result<Copied, BackupError> {
    let ground = looked_at(store, room, path)?;
    let before = ground.taken();
    let (target, file) = Target::begin(path, PARTIAL).map_err(BackupError::Target)?;
    let made = contain(|| {
        let backend =
            FileBackend::new(file).map_err(open_error(target.temporary())).map_err(BackupError::Target)?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE);
        let own = builder.create_with_backend(backend).map_err(StoreError::from)?;
        let mut work = Copying { database, own: &own, ground: &ground, pace: &mut *pace, done: 0 };
        let bytes = work.all()?;
        own.close().map_err(StoreError::from)?;
        Ok(bytes)
    });
    let bytes = made.map_err(StoreError::from).map_err(BackupError::from).flatten();
    let bytes = bytes.map_err(|error| ground.explain(error))?;
    asked(pace, Progress { stage: Stage::Name, done: bytes, all: bytes })?;
    target.finish().map_err(|error| match error {
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            BackupError::Exists(path.to_owned())
        }
        error => BackupError::Target(error),
    })?;
    let size = fs::metadata(path).map_or(0, |found| found.len());
    Ok(Copied { size, bytes, growth: ground.taken().saturating_sub(before) })
}

/// Whether a backup can be made there, as far as that can be told before.
pub(in crate::outbox) fn may_copy((store, room): (&Path, &Room), path: &Path) -> Result<(), BackupError> {
    looked_at(store, room, path).map(drop)
}

fn looked_at<'a>(store: &'a Path, room: &'a Room, path: &'a Path) -> Result<Ground<'a>, BackupError> {
    check_place(path)?;
    let ground = Ground::of(store, room, path)?;
    // Pages of rows that were put in one after the other are nearly full.
    let needed = room.held() + room.held() / 4 + LEAST;
    ground.check(needed)?;
    Ok(ground)
}

fn check_place(path: &Path) -> Result<(), BackupError> {
    let place = |what| Err(BackupError::Place { path: path.to_owned(), what });
    if !path.is_absolute() {
        return place("the file is not named from the root on: write a path that begins with /");
    }
    if path.file_name().is_none() || path.as_os_str().to_string_lossy().ends_with('/') {
        return place("this names a directory: write the name of the file that is to be made in it");
    }
    // A link that leads nowhere is there as well.
    if fs::symlink_metadata(path).is_ok() {
        return Err(BackupError::Exists(path.to_owned()));
    }
    Ok(())
}

/// The disks that a backup is made from and on.
struct Ground<'a> {
    store: &'a Path,
    room: &'a Room,
    path: &'a Path,
    same: bool,
}

impl<'a> Ground<'a> {
    fn of(store: &'a Path, room: &'a Room, path: &'a Path) -> Result<Self, BackupError> {
        let directory = parent(path);
        let source =
            |source| OpenError::Io { what: "find the directory", path: directory.to_owned(), source };
        let found = fs::metadata(directory).map_err(source).map_err(BackupError::Target)?;
        if !found.is_dir() {
            return Err(BackupError::Target(source(std::io::ErrorKind::NotADirectory.into())));
        }
        let same = fs::metadata(store).is_ok_and(|store| store.dev() == found.dev());
        Ok(Self { store, room, path, same })
    }

    /// What the copy's disk has free, where it says so.
    fn free(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(parent(self.path)).ok().filter(|found| found.f_blocks > 0)?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn check(&self, needed: u64) -> Result<(), BackupError> {
        let keep = self.same.then(|| self.room.wanted());
        match self.free() {
            Some(free) if free < needed.saturating_add(keep.unwrap_or(0)) => {
                Err(BackupError::NoRoom { path: self.path.to_owned(), needed, keep, free })
            }
            _ => Ok(()),
        }
    }

    /// While it is made: what the store keeps free for itself on the same disk stays free.
    fn still_fits(&self) -> Result<(), BackupError> {
        let keep = if self.same { self.room.wanted() } else { 0 };
        match self.free() {
            Some(free) if free < keep => Err(BackupError::Full(self.path.to_owned())),
            _ => Ok(()),
        }
    }

    /// The bytes that the store takes up.
    fn taken(&self) -> u64 {
        fs::metadata(self.store).map_or(0, |found| found.blocks() * 512)
    }

    /// An error for want of space is one of the copy's disk: the store's own writer has not failed.
    fn explain(&self, error: BackupError) -> BackupError {
        let full = match &error {
            BackupError::Store(error) => error.is_no_space(),
            BackupError::Target(OpenError::Io { source, .. }) => is_full(source),
            _ => false,
        };
        if full { BackupError::Full(self.path.to_owned()) } else { error }
    }
}

impl fmt::Debug for Ground<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").finish_non_exhaustive()
    }
}

struct Copying<'a> {
    database: &'a Shared,
    own: &'a Database,
    ground: &'a Ground<'a>,
    pace: &'a mut dyn Pace,
    done: u64,
}

/// Rows of one read; with the key of the last, if there may be more behind them.
type Piece = (Vec<(u64, Vec<u8>)>, Option<u64>);
/// Keys of rows to be removed, of those that were looked at at once; with the key to go on at, if there may be more.
type Gone = (Vec<u64>, Option<u64>);

/// Where rows that never change are copied from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// The store, each piece as it is then, up to this row.
    Store {
        /// The last.
        to: u64,
    },
    /// A view of it, all of it.
    View(&'a ReadTransaction, &'a Watch<'a>),
}

impl Copying<'_> {
    /// Copies all; returns how many bytes of rows there are.
    fn all(&mut self) -> Result<u64, BackupError> {
        let txn = self.own.begin_write().map_err(StoreError::from)?;
        create(&txn).map_err(StoreError::from)?;
        txn.commit().map_err(StoreError::from)?;
        let (mut events, mut attempts) = (0, 0);
        for _ in 0..ROUNDS {
            let (to_event, to_attempt) = last_of_both(&self.database.begin_read()?)?;
            events = self.numbered(EVENTS, Source::Store { to: to_event }, events)?;
            attempts = self.numbered(ATTEMPTS, Source::Store { to: to_attempt }, attempts)?;
        }
        let txn = self.database.begin_read()?;
        let watch = Watch::begin(self.ground);
        known(&txn)?;
        self.numbered(EVENTS, Source::View(&txn, &watch), events)?;
        self.numbered(ATTEMPTS, Source::View(&txn, &watch), attempts)?;
        self.table(PENDING, &txn, &watch, |_, _| true)?;
        self.table(HISTORY, &txn, &watch, |_, _| true)?;
        self.table(IDS, &txn, &watch, |_, _| true)?;
        self.table(FILES, &txn, &watch, |_, _| true)?;
        self.table(PARKED, &txn, &watch, |_, _| true)?;
        self.table(FIFO, &txn, &watch, |_, _| true)?;
        self.table(ENDPOINTS, &txn, &watch, |_, _| true)?;
        // The backup's own job is not one that has failed.
        self.table(JOBS, &txn, &watch, |_, row| !is_backup_that_runs(row))?;
        self.table(KEYS, &txn, &watch, |_, _| true)?;
        self.table(ACCOUNTS, &txn, &watch, |_, _| true)?;
        self.table(HEALTH, &txn, &watch, |_, _| true)?;
        // It was not closed: attempts are being made.
        self.table(META, &txn, &watch, |key, _| *key != meta::CLEAN)?;
        let whole = (length(&txn, EVENTS)?, length(&txn, ATTEMPTS)?);
        drop(txn);
        self.go_on(Stage::Finish)?;
        self.prune(whole)?;
        Ok(self.done)
    }
}

impl Copying<'_> {
    /// Copies the rows of a table whose rows are never changed, from the one after `last` on. Returns the last that was
    /// copied.
    fn numbered(
        &mut self,
        table: TableDefinition<u64, &'static [u8]>,
        from: Source<'_>,
        mut last: u64,
    ) -> Result<u64, BackupError> {
        loop {
            let txn = self.own.begin_write().map_err(StoreError::from)?;
            let mut pieces = 0;
            let mut whole = false;
            while !whole && pieces < PIECES {
                let (rows, end) = match from {
                    Source::View(view, _) => piece(view, table, (last, u64::MAX))?,
                    Source::Store { to } => piece(&self.database.begin_read()?, table, (last, to))?,
                };
                whole = end.is_none();
                {
                    let mut own = txn.open_table(table).map_err(StoreError::from)?;
                    for (key, row) in &rows {
                        own.insert(key, row.as_slice()).map_err(StoreError::from)?;
                        last = *key;
                    }
                }
                self.done += rows.iter().map(|(_, row)| row_bytes(row)).sum::<u64>();
                pieces += 1;
                match from {
                    Source::View(_, watch) => self.watched(watch)?,
                    Source::Store { .. } => self.go_on(Stage::Rows)?,
                }
            }
            txn.commit().map_err(StoreError::from)?;
            if whole {
                return Ok(last);
            }
        }
    }

    /// Copies a table as a view has it.
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<K, V>,
        view: &ReadTransaction,
        watch: &Watch<'_>,
        takes: impl Fn(&K::SelfType<'_>, &V::SelfType<'_>) -> bool,
    ) -> Result<(), BackupError> {
        let Some(rows) = tables::open(view, table)? else { return Ok(()) };
        let mut rows = rows.iter().map_err(StoreError::from)?;
        let mut whole = false;
        while !whole {
            let txn = self.own.begin_write().map_err(StoreError::from)?;
            {
                let mut own = txn.open_table(table).map_err(StoreError::from)?;
                let mut count = 0;
                while count < PIECES * PIECE_ROWS {
                    let Some(row) = rows.next() else {
                        whole = true;
                        break;
                    };
                    let (key, value) = row.map_err(StoreError::from)?;
                    if takes(&key.value(), &value.value()) {
                        own.insert(key.value(), value.value()).map_err(StoreError::from)?;
                    }
                    self.done += length_of::<K>(&key.value()) + length_of::<V>(&value.value());
                    count += 1;
                    if count.is_multiple_of(PIECE_ROWS) {
                        self.watched(watch)?;
                    }
                }
            }
            txn.commit().map_err(StoreError::from)?;
        }
        Ok(())
    }

    /// Takes from the copy what retention took away before its moment: events without rows, and attempts without an event.
    fn prune(&mut self, (events, attempts): (u64, u64)) -> Result<(), BackupError> {
        if length(&self.own.begin_read().map_err(StoreError::from)?, EVENTS)? > events {
            self.prune_table(EVENTS, gone_events)?;
        }
        if length(&self.own.begin_read().map_err(StoreError::from)?, ATTEMPTS)? > attempts {
            self.prune_table(ATTEMPTS, gone_attempts)?;
        }
        Ok(())
    }

    fn prune_table(
        &mut self,
        table: TableDefinition<u64, &'static [u8]>,
        gone: fn(&ReadTransaction, u64) -> Result<Gone, StoreError>,
    ) -> Result<(), BackupError> {
        let mut next = Some(0);
        while let Some(from) = next {
            let (rows, end) = gone(&self.own.begin_read().map_err(StoreError::from)?, from)?;
            if !rows.is_empty() {
                remove(self.own, table, &rows)?;
            }
            next = end;
            self.go_on(Stage::Finish)?;
        }
        Ok(())
    }

    fn watched(&mut self, watch: &Watch<'_>) -> Result<(), BackupError> {
        watch.check()?;
        self.go_on(Stage::Moment)
    }

    fn go_on(&mut self, stage: Stage) -> Result<(), BackupError> {
        self.ground.still_fits()?;
        let all = self.ground.room.held().max(self.done);
        asked(self.pace, Progress { stage, done: self.done, all })
    }
}

fn asked(pace: &mut dyn Pace, progress: Progress) -> Result<(), BackupError> {
    match pace(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(Halt::Stopped) => Err(BackupError::Stopped),
        ControlFlow::Break(Halt::Cancelled) => Err(BackupError::Cancelled),
    }
}

/// The tables that are copied.
pub(in crate::outbox) const COPIED: [&str; 14] = [
    "events",
    "pending",
    "history",
    "attempts",
    "ids",
    "files",
    "parked",
    "fifo",
    "endpoints",
    "jobs",
    "keys",
    "accounts",
    "health",
    "meta",
];

/// Every table is one that is copied.
fn known(view: &ReadTransaction) -> Result<(), BackupError> {
    let tables = view.list_tables().map_err(StoreError::from)?;
    match tables.map(|table| table.name().to_owned()).find(|name| !COPIED.contains(&name.as_str())) {
        Some(unknown) => Err(BackupError::Unknown(unknown)),
        None => Ok(()),
    }
}

/// Watches by how much the store grows while one view of it lives.
struct Watch<'a> {
    ground: &'a Ground<'a>,
    from: u64,
    allowed: u64,
}

impl<'a> Watch<'a> {
    fn begin(ground: &'a Ground<'a>) -> Self {
        let free = ground.room.free().map(|free| free.saturating_sub(ground.room.wanted()) / PART);
        Self { ground, from: ground.taken(), allowed: free.unwrap_or(GROWTH) }
    }

    fn check(&self) -> Result<(), BackupError> {
        let grown = self.ground.taken().saturating_sub(self.from);
        if grown > self.allowed { Err(BackupError::Grown { grown, allowed: self.allowed }) } else { Ok(()) }
    }
}

fn length(view: &ReadTransaction, table: TableDefinition<u64, &'static [u8]>) -> Result<u64, StoreError> {
    Ok(view.open_table(table)?.len()?)
}

fn is_backup_that_runs(row: &[u8]) -> bool {
    jobs::decode(row).is_some_and(|job| job.is_running() && matches!(job.work, Work::Backup { .. }))
}

fn length_of<T: Value>(value: &T::SelfType<'_>) -> u64 {
    u64::try_from(T::as_bytes(value).as_ref().len()).unwrap_or(u64::MAX)
}

/// The last event and the last attempt that are there.
fn last_of_both(view: &ReadTransaction) -> Result<(u64, u64), StoreError> {
    let last = |table: TableDefinition<u64, &'static [u8]>| -> Result<u64, StoreError> {
        Ok(view.open_table(table)?.last()?.map_or(0, |(key, _)| key.value()))
    };
    Ok((last(EVENTS)?, last(ATTEMPTS)?))
}

/// The rows after `last`, up to `to`.
fn piece(
    view: &ReadTransaction,
    table: TableDefinition<u64, &'static [u8]>,
    (last, to): (u64, u64),
) -> Result<Piece, StoreError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let Some(from) = last.checked_add(1).filter(|from| *from <= to) else { return Ok((rows, None)) };
    for entry in view.open_table(table)?.range(from..=to)? {
        let (key, row) = entry?;
        let (key, row) = (key.value(), row.value().to_vec());
        // Out of order in a damaged file: to follow them might never end.
        if key < from || rows.last().is_some_and(|(before, _)| *before >= key) {
            return Err(StoreError::Row { table: "events or attempts", key });
        }
        bytes += row.len();
        rows.push((key, row));
        if bytes >= PIECE || rows.len() >= PIECE_ROWS {
            return Ok((rows, Some(key)));
        }
    }
    Ok((rows, None))
}

fn gone_events(view: &ReadTransaction, from: u64) -> Result<Gone, StoreError> {
    let (pending, history) = (view.open_table(PENDING)?, view.open_table(HISTORY)?);
    gone(&view.open_table(EVENTS)?, from, |seq, _| {
        let seq = Seq::new(seq);
        let rows = first_row(seq)..first_row(seq.next());
        Ok(pending.range(rows.clone())?.next().is_none() && history.range(rows)?.next().is_none())
    })
}

/// One that cannot be read stays: nobody knows whose it is.
fn gone_attempts(view: &ReadTransaction, from: u64) -> Result<Gone, StoreError> {
    let events = view.open_table(EVENTS)?;
    gone(&view.open_table(ATTEMPTS)?, from, |_, row| {
        let of = decode_attempt(row).map(|attempt| attempt.delivery.seq);
        of.map_or(Ok(false), |seq| Ok(events.get(seq.get())?.is_none()))
    })
}

/// Looks through some rows from `from` on.
fn gone(
    rows: &ReadOnlyTable<u64, &'static [u8]>,
    from: u64,
    is_gone: impl Fn(u64, &[u8]) -> Result<bool, StoreError>,
) -> Result<Gone, StoreError> {
    let (mut gone, mut bytes) = (Vec::new(), 0);
    for (looked, entry) in rows.range(from..)?.enumerate() {
        let (key, row) = entry?;
        if bytes >= PIECE || looked == PIECE_ROWS {
            return Ok((gone, Some(key.value())));
        }
        bytes += row.value().len();
        if is_gone(key.value(), row.value())? {
            gone.push(key.value());
        }
    }
    Ok((gone, None))
}

fn remove(
    own: &Database,
    table: TableDefinition<u64, &'static [u8]>,
    rows: &[u64],
) -> Result<(), StoreError> {
    let txn = own.begin_write()?;
    {
        let mut table = txn.open_table(table)?;
        for row in rows {
            table.remove(row)?;
        }
    }
    txn.commit()?;
    Ok(())
}
