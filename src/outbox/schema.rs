//! The outbox's tables and keys.
//!
//! | table | key | value | written by |
//! | --- | --- | --- | --- |
//! | `events` | seq | version byte, MessagePack map | accept; immutable; removed by forget |
//! | `pending` | row key | head, then 40 bytes a delivery | accept, settle |
//! | `history` | row key | the same row, moved whole when its last delivery has ended | settle; accept when nothing is pending; removed by forget |
//! | `attempts` | row, ascending | version byte, MessagePack map | settle: appends; removed by forget |
//! | `ids` | seq | keyed hash of (account, producer's id), of the content, time | accept; pruned from the front |
//! | `files` | directory, device, inode, mtime, size | seq of the file's first event | accept of a file; removed after its unlink |
//! | `parked` | endpoint, due minute, seq, slot | due, ms | park; removed by load. Not there until something is parked |
//! | `fifo` | endpoint, group, place | seq and slot of the delivery, packed | accept, join; removed by settle. Not there until a delivery keeps an order |
//! | `endpoints` | number | version byte, MessagePack map; secrets among it | configuration, changes; settle when a count changes; accept of the first callback to an origin, which may remove another |
//! | `jobs` | number | version byte, MessagePack map | changes of jobs; the oldest that have ended are removed. Not there until there is one |
//! | `keys` | number | version byte, MessagePack map; empty of one that was revoked | changes; when one was last used with any commit. Not there until a key is made |
//! | `accounts` | name | version byte, MessagePack map; a secret among it | changes of accounts over the API. Not there until one is made |
//! | `health` | endpoint | counts by the hour | the clocks' mark and the close, those that have changed. Not there until an endpoint has been attempted |
//! | `meta` | name | bytes | creation, open, close; the clocks' mark and the count of bytes with any commit; the restore of a backup |
//!
//! Packed, a delivery's key is `seq << 16 | slot`. A *row key* is `seq << 16 | slot` of the row's first delivery; a row holds at most [`ROW_DELIVERIES`] of them.

use std::ops::Range;

use redb::{Table, TableDefinition, TableError, WriteTransaction};

use crate::model::{delivery::DeliveryKey, event::Seq};

/// The format that this code reads and writes.
pub(super) const FORMAT: u32 = 1;
/// At most so many deliveries in one row of `pending` or `history`.
pub(super) const ROW_DELIVERIES: usize = 128;

/// `directory, device, inode, mtime in nanoseconds, size`.
pub(super) type FileKey = (&'static str, u64, u64, i64, u64);
/// `endpoint, minute, seq << 16 | slot`.
pub(super) type ParkedKey = (u32, u32, u64);
/// `endpoint, group, place`.
pub(super) type FifoKey = (u32, u64, u64);

pub(super) const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
pub(super) const PENDING: TableDefinition<u64, &[u8]> = TableDefinition::new("pending");
pub(super) const HISTORY: TableDefinition<u64, &[u8]> = TableDefinition::new("history");
pub(super) const ATTEMPTS: TableDefinition<u64, &[u8]> = TableDefinition::new("attempts");
pub(super) const IDS: TableDefinition<u64, &[u8]> = TableDefinition::new("ids");
pub(super) const FILES: TableDefinition<FileKey, u64> = TableDefinition::new("files");
pub(super) const PARKED: TableDefinition<ParkedKey, u64> = TableDefinition::new("parked");
pub(super) const FIFO: TableDefinition<FifoKey, u64> = TableDefinition::new("fifo");
pub(super) const ENDPOINTS: TableDefinition<u32, &[u8]> = TableDefinition::new("endpoints");
pub(super) const JOBS: TableDefinition<u64, &[u8]> = TableDefinition::new("jobs");
pub(super) const KEYS: TableDefinition<u32, &[u8]> = TableDefinition::new("keys");
pub(super) const ACCOUNTS: TableDefinition<&str, &[u8]> = TableDefinition::new("accounts");
pub(super) const HEALTH: TableDefinition<u32, &[u8]> = TableDefinition::new("health");
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Rows of `meta`.
pub(super) mod meta {
    /// Four bytes, big-endian: the format version.
    pub(in crate::outbox) const FORMAT: &str = "format";
    /// Sixteen bytes: the key of ids and of deduplication.
    pub(in crate::outbox) const ID_KEY: &str = "id_key";
    /// Eighteen bytes, big-endian: the schedule's time, the wall clock beside it, the most that it ever said. Not there
    /// until a daemon that keeps it has run.
    pub(in crate::outbox) const CLOCK: &str = "clock";
    /// Twenty-four bytes, big-endian: how many bytes of rows there were, and the numbers of the next event and the next
    /// attempt then. Not there until a daemon that counts has run.
    pub(in crate::outbox) const HELD: &str = "held";
    /// Eight bytes, big-endian: the number of the next attempt when the rows of `health` were written last.
    pub(in crate::outbox) const HEALTH: &str = "health";
    /// Sixteen bytes for each restore of a backup, ascending: two numbers, big-endian, of events; from the one up to the other
    /// no event has one. Only where a backup was restored.
    pub(in crate::outbox) const PASSED: &str = "passed";
    /// There when the store was closed by its daemon; gone while one has it open.
    pub(in crate::outbox) const CLEAN: &str = "clean";
}

/// The numbers that restores have passed over, as a store has them.
pub(super) fn passed(
    table: &impl redb::ReadableTable<&'static str, &'static [u8]>,
) -> Result<Vec<Range<u64>>, redb::StorageError> {
    let Some(row) = table.get(meta::PASSED)? else { return Ok(Vec::new()) };
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let ranges = row.value().chunks_exact(16).map(|pair| number(&pair[..8])..number(&pair[8..]));
    Ok(ranges.collect())
}

/// What [`passed`] reads.
pub(super) fn encode_passed(passed: &[Range<u64>]) -> Vec<u8> {
    passed.iter().flat_map(|range| [range.start, range.end]).flat_map(u64::to_be_bytes).collect()
}

/// The number below which no event gets one.
pub(super) fn seq_from(passed: &[Range<u64>]) -> u64 {
    passed.last().map_or(0, |range| range.end)
}

/// A delivery's key in one word.
pub(super) fn pack(key: DeliveryKey) -> u64 {
    key.seq.get() << 16 | u64::from(key.slot)
}

/// The key that was packed.
pub(super) fn unpack(packed: u64) -> DeliveryKey {
    DeliveryKey { seq: row_seq(packed), slot: row_slot(packed) }
}

/// The key of the row that holds a delivery.
pub(super) fn row_key(key: DeliveryKey) -> u64 {
    let first = usize::from(key.slot) / ROW_DELIVERIES * ROW_DELIVERIES;
    key.seq.get() << 16 | u64::try_from(first).expect("a slot fits")
}

/// The event of a row.
pub(super) const fn row_seq(row: u64) -> Seq {
    Seq::new(row >> 16)
}

/// The slot of a row's first delivery.
pub(super) fn row_slot(row: u64) -> u16 {
    u16::try_from(row & 0xffff).expect("masked to 16 bits")
}

/// The first row key of an event; its rows are `first_row(seq)..first_row(seq.next())`.
pub(super) const fn first_row(seq: Seq) -> u64 {
    seq.get() << 16
}

/// Makes every table, so that readers find them.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), TableError> {
    txn.open_table(EVENTS)?;
    txn.open_table(PENDING)?;
    txn.open_table(HISTORY)?;
    txn.open_table(ATTEMPTS)?;
    txn.open_table(IDS)?;
    txn.open_table(FILES)?;
    txn.open_table(ENDPOINTS)?;
    txn.open_table(META)?;
    Ok(())
}

/// The tables of one write transaction, each opened when first needed: a commit costs 12 KB for every table it touches.
pub(super) struct Tables<'txn> {
    txn: &'txn WriteTransaction,
    events: Option<Table<'txn, u64, &'static [u8]>>,
    pending: Option<Table<'txn, u64, &'static [u8]>>,
    history: Option<Table<'txn, u64, &'static [u8]>>,
    attempts: Option<Table<'txn, u64, &'static [u8]>>,
    ids: Option<Table<'txn, u64, &'static [u8]>>,
    files: Option<Table<'txn, FileKey, u64>>,
    parked: Option<Table<'txn, ParkedKey, u64>>,
    fifo: Option<Table<'txn, FifoKey, u64>>,
    endpoints: Option<Table<'txn, u32, &'static [u8]>>,
    jobs: Option<Table<'txn, u64, &'static [u8]>>,
    keys: Option<Table<'txn, u32, &'static [u8]>>,
    accounts: Option<Table<'txn, &'static str, &'static [u8]>>,
}

macro_rules! table {
    ($name:ident, $definition:ident, $key:ty, $value:ty) => {
        pub(super) fn $name(&mut self) -> Result<&mut Table<'txn, $key, $value>, TableError> {
            if self.$name.is_none() {
                self.$name = Some(self.txn.open_table($definition)?);
            }
            Ok(self.$name.as_mut().expect("set just above"))
        }
    };
}

impl<'txn> Tables<'txn> {
    pub(super) const fn new(txn: &'txn WriteTransaction) -> Self {
        Self {
            txn,
            events: None,
            pending: None,
            history: None,
            attempts: None,
            ids: None,
            files: None,
            parked: None,
            fifo: None,
            endpoints: None,
            jobs: None,
            keys: None,
            accounts: None,
        }
    }

    table!(events, EVENTS, u64, &'static [u8]);
    table!(pending, PENDING, u64, &'static [u8]);
    table!(history, HISTORY, u64, &'static [u8]);
    table!(attempts, ATTEMPTS, u64, &'static [u8]);
    table!(ids, IDS, u64, &'static [u8]);
    table!(files, FILES, FileKey, u64);
    table!(parked, PARKED, ParkedKey, u64);
    table!(fifo, FIFO, FifoKey, u64);
    table!(endpoints, ENDPOINTS, u32, &'static [u8]);
    table!(jobs, JOBS, u64, &'static [u8]);
    table!(keys, KEYS, u32, &'static [u8]);
    table!(accounts, ACCOUNTS, &'static str, &'static [u8]);
}
