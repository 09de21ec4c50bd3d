//! Floor (b): the daemon's rows in redb, in groups: each commit settles one group and accepts the next.

use std::{
    io::{self, BufRead as _},
    path::Path,
};

use redb::{Builder, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};

use super::{Floor, measure};
use crate::{Result, clock, helper::Helper};

/// The helper's role.
pub(crate) const ROLE: &str = "storing";
/// The daemon's default.
const CACHE: usize = 64 << 20;

type Rows = TableDefinition<'static, u64, &'static [u8]>;
const EVENTS: Rows = TableDefinition::new("events");
const PENDING: Rows = TableDefinition::new("pending");
const HISTORY: Rows = TableDefinition::new("history");
const ATTEMPTS: Rows = TableDefinition::new("attempts");

/// How long the rows of an event are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSizes {
    pub(crate) event: usize,
    /// In `pending` and in `history`.
    pub(crate) deliveries: usize,
    /// 0: events go to nobody, straight to `history`.
    pub(crate) attempt: usize,
}

impl RowSizes {
    /// Those of the last event in a daemon's store that has been closed.
    pub(crate) fn of(store: &Path) -> Result<Self> {
        let database = Database::open(store)?;
        let txn = database.begin_read()?;
        let last = |table: Rows| -> Result<usize> {
            Ok(txn.open_table(table)?.last()?.map_or(0, |(_, row)| row.value().len()))
        };
        Ok(Self { event: last(EVENTS)?, deliveries: last(HISTORY)?, attempt: last(ATTEMPTS)? })
    }

    /// All bytes of an event's rows.
    pub(crate) const fn total(self) -> usize {
        self.event + 2 * self.deliveries + self.attempt
    }
}

/// A store with the daemon's tables and nothing around it.
pub(crate) struct Bare {
    database: Database,
    rows: [Vec<u8>; 3],
    next: u64,
    settled: u64,
}

impl Bare {
    /// Makes one at `file`.
    pub(crate) fn create(file: &Path, sizes: RowSizes) -> Result<Self> {
        let database = Builder::new().set_cache_size(CACHE).create(file)?;
        let txn = database.begin_write()?;
        for table in [EVENTS, PENDING, HISTORY, ATTEMPTS] {
            txn.open_table(table)?;
        }
        txn.commit()?;
        let rows = [sizes.event, sizes.deliveries, sizes.attempt].map(|length| vec![0x55; length]);
        Ok(Self { database, rows, next: 1, settled: 1 })
    }

    /// One commit: settles what the last one accepted, and accepts `count` events.
    pub(crate) fn commit(&mut self, count: u64) -> Result<()> {
        let txn = self.database.begin_write()?;
        if self.rows[2].is_empty() {
            self.accept(&txn, HISTORY, count)?;
        } else {
            self.settle(&txn)?;
            self.accept(&txn, PENDING, count)?;
        }
        txn.commit()?;
        self.settled = self.next;
        self.next += count;
        Ok(())
    }

    fn settle(&self, txn: &WriteTransaction) -> Result<()> {
        if self.settled == self.next {
            return Ok(());
        }
        let (mut pending, mut history) = (txn.open_table(PENDING)?, txn.open_table(HISTORY)?);
        let mut attempts = txn.open_table(ATTEMPTS)?;
        for seq in self.settled..self.next {
            let row = pending.get(seq << 16)?.map(|row| row.value().to_vec()).ok_or("a row is missing")?;
            pending.remove(seq << 16)?;
            history.insert(seq << 16, row.as_slice())?;
            attempts.insert(seq, self.rows[2].as_slice())?;
        }
        Ok(())
    }

    fn accept(&self, txn: &WriteTransaction, deliveries: Rows, count: u64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let (mut events, mut deliveries) = (txn.open_table(EVENTS)?, txn.open_table(deliveries)?);
        for seq in self.next..self.next + count {
            events.insert(seq, self.rows[0].as_slice())?;
            deliveries.insert(seq << 16, self.rows[1].as_slice())?;
        }
        Ok(())
    }
}

/// Has a helper put `events` in a new store at `file`, in `commits` groups.
pub(crate) fn store(file: &Path, sizes: RowSizes, events: u64, commits: u64) -> Result<Floor> {
    let RowSizes { event, deliveries, attempt } = sizes;
    let role = [ROLE.to_owned(), file.display().to_string()].into_iter();
    let sizes = [event, deliveries, attempt].map(|size| size.to_string());
    let mut helper = Helper::start(&role.chain(sizes).collect::<Vec<_>>())?;
    helper.hear("ready")?;
    measure(&mut helper, &format!("{events} {commits}"))
}

/// The helper's life.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [file, event, deliveries, attempt] = arguments else { return Err("a file and three sizes".into()) };
    let sizes =
        RowSizes { event: event.parse()?, deliveries: deliveries.parse()?, attempt: attempt.parse()? };
    let mut bare = Bare::create(Path::new(file), sizes)?;
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (events, commits) = line.split_once(' ').ok_or("two numbers")?;
        let started = clock::now();
        in_groups(&mut bare, events.parse()?, commits.parse()?)?;
        println!("done {}", (clock::now() - started).as_micros());
    }
    Ok(())
}

fn in_groups(bare: &mut Bare, events: u64, commits: u64) -> Result<()> {
    // The last commit settles the last group, and accepts nothing.
    let groups = commits.saturating_sub(1).clamp(1, events);
    for group in 0..groups {
        bare.commit(events * (group + 1) / groups - events * group / groups)?;
    }
    bare.commit(0)
}
