//! Reading: short read transactions, never held over a network write or an await.

use std::{
    collections::{BTreeMap, HashMap},
    sync::OnceLock,
};

use redb::{
    AccessGuard, ReadTransaction, ReadableTable, ReadableTableMetadata, StorageError, TableDefinition,
};

use super::{
    accept::FileIdentity,
    cursor::Cursor,
    database::Shared,
    dedup::Remembered,
    endpoints,
    error::StoreError,
    jobs,
    keys::Keys,
    order, parked,
    record::{
        Brief, Head, IdRow, Row, all_succeeded, decode_attempt, decode_brief, decode_delivery, decode_event,
        decode_head, decode_row, decode_times, decode_url, delivery_bytes,
    },
    recover::{Failures, failures},
    schema::{
        ATTEMPTS, EVENTS, FILES, HISTORY, IDS, PENDING, ROW_DELIVERIES, first_row, pack, row_key, row_seq,
        row_slot,
    },
    tenants,
};
use crate::model::{
    account::AccountName,
    attempt::{Attempt, AttemptRow},
    bearer::{KeyNumber, StoredKey},
    delivery::{Delivery, DeliveryKey, Group, Order, Scheduled, State},
    endpoint::{Endpoint, EndpointNumber},
    event::{Event, Seq},
    job::{Job, JobNumber, Recover},
    tenant::Tenant,
    time::{Minute, Timestamp},
};

/// Rows that are looked at, from each end, for the oldest pending delivery of an endpoint.
const OLDEST: usize = 4_000;

/// A view of the store as of one commit. Keep it for milliseconds, or until the next commit: while it lives, no page
/// that it can see is given back, and the file grows.
pub struct Reader {
    /// The tables that every attempt reads, opened once.
    events: OnceLock<Cursor>,
    pending: OnceLock<Cursor>,
    txn: ReadTransaction,
}

/// A row of deliveries, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The row's first delivery (or its event, when it has none).
    pub first: DeliveryKey,
    /// The row.
    pub row: Row,
}

impl Reader {
    /// A key in the row after the one that holds `key`, so that the rows before it begin with that one.
    pub fn row_after(key: DeliveryKey) -> DeliveryKey {
        let row = u16::try_from(ROW_DELIVERIES).expect("128");
        match key.slot.checked_add(row) {
            Some(slot) => DeliveryKey { seq: key.seq, slot },
            None => DeliveryKey { seq: key.seq.next(), slot: 0 },
        }
    }

    pub(super) fn new(database: &Shared) -> Result<Self, StoreError> {
        Ok(Self { events: OnceLock::new(), pending: OnceLock::new(), txn: database.begin_read()? })
    }

    /// The event `seq` with its payload.
    pub fn event(&self, seq: Seq) -> Result<Option<Event>, StoreError> {
        let events = self.open(&self.events, EVENTS, 1)?;
        let Some(row) = events.get(seq.get())? else { return Ok(None) };
        let missing = StoreError::Row { table: "events", key: seq.get() };
        decode_event(seq, row.value()).ok_or(missing).map(Some)
    }

    /// The URL of an event's callback, if it has one; nothing is kept of its payload.
    pub fn callback(&self, seq: Seq) -> Result<Option<String>, StoreError> {
        let events = self.open(&self.events, EVENTS, 1)?;
        let Some(row) = events.get(seq.get())? else { return Ok(None) };
        let missing = StoreError::Row { table: "events", key: seq.get() };
        Ok(decode_url(row.value()).map_err(|()| missing)?.map(str::to_owned))
    }

    /// The keys of the API, by number.
    pub fn keys(&self) -> Result<BTreeMap<KeyNumber, StoredKey>, StoreError> {
        Keys::read(&self.txn).map(Keys::into_all)
    }

    /// One delivery, with what an attempt needs to know of its event before it reads that.
    pub fn delivery(&self, key: DeliveryKey) -> Result<Option<(Brief, Delivery)>, StoreError> {
        let place = row_key(key);
        let index = usize::from(key.slot - row_slot(place));
        let found = |name, row: &[u8]| {
            let Some(bytes) = delivery_bytes(row, index) else { return Ok(None) };
            let both = decode_brief(row).zip(decode_delivery(bytes));
            both.ok_or(StoreError::Row { table: name, key: place }).map(Some)
        };
        if let Some(row) = self.open(&self.pending, PENDING, 1 << 16)?.get(place)? {
            return found("pending", row.value());
        }
        self.txn.open_table(HISTORY)?.get(place)?.map_or(Ok(None), |row| found("history", row.value()))
    }

    /// The table, opened if this is the first to ask for it; `stride` is the distance of its keys, as a rule.
    fn open<'a>(
        &self,
        opened: &'a OnceLock<Cursor>,
        table: TableDefinition<u64, &'static [u8]>,
        stride: u64,
    ) -> Result<&'a Cursor, StoreError> {
        if let Some(opened) = opened.get() {
            return Ok(opened);
        }
        let cursor = Cursor::new(self.txn.open_table(table)?, stride);
        // Another may have been quicker: then it is the same table.
        Ok(opened.get_or_init(|| cursor))
    }

    /// What the rows of an event say of it.
    pub fn head(&self, seq: Seq) -> Result<Option<Head>, StoreError> {
        for (name, table) in [("pending", PENDING), ("history", HISTORY)] {
            let table = self.txn.open_table(table)?;
            let Some(entry) = table.range(first_row(seq)..first_row(seq.next()))?.next() else { continue };
            let (key, row) = entry?;
            let unreadable = StoreError::Row { table: name, key: key.value() };
            return decode_head(row.value()).ok_or(unreadable).map(Some);
        }
        Ok(None)
    }

    /// All rows of an event, in the order of their slots.
    pub fn rows_of(&self, seq: Seq) -> Result<Vec<Placed>, StoreError> {
        let mut rows = Vec::new();
        for (name, table) in [("pending", PENDING), ("history", HISTORY)] {
            for entry in self.txn.open_table(table)?.range(first_row(seq)..first_row(seq.next()))? {
                let (key, row) = entry?;
                rows.push(placed(name, key.value(), row.value())?);
            }
        }
        rows.sort_by_key(|placed| placed.first);
        Ok(rows)
    }

    /// The last attempts of a delivery, oldest first, at most `limit`, from the row of the newest back.
    pub fn attempts(&self, newest: Option<AttemptRow>, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        let table = self.txn.open_table(ATTEMPTS)?;
        let mut attempts = Vec::new();
        let mut next = newest;
        while let Some(row) = next
            && attempts.len() < limit
        {
            // An older attempt may have been removed by retention: the list begins after it.
            let Some(bytes) = table.get(row.get())? else { break };
            let missing = StoreError::Row { table: "attempts", key: row.get() };
            let attempt = decode_attempt(bytes.value()).ok_or(missing)?;
            next = attempt.previous;
            attempts.push(attempt);
        }
        attempts.reverse();
        Ok(attempts)
    }

    /// All endpoints that the store knows, by number.
    pub fn endpoints(&self) -> Result<Vec<(EndpointNumber, Endpoint)>, StoreError> {
        endpoints::read_all(&self.txn)
    }

    /// All jobs that are kept, by number.
    pub fn jobs(&self) -> Result<Vec<(JobNumber, Job)>, StoreError> {
        jobs::read_all(&self.txn)
    }

    /// One of them.
    pub fn job(&self, number: JobNumber) -> Result<Option<Job>, StoreError> {
        jobs::read_one(&self.txn, number)
    }

    /// What a recover has next: at most `most` failures, for which `rows` rows are looked at.
    pub fn failures(&self, recover: &Recover, rows: usize, most: usize) -> Result<Failures, StoreError> {
        failures(&self.txn, recover, rows, most)
    }

    /// The first delivery of the oldest event that is kept.
    pub fn first(&self) -> Result<DeliveryKey, StoreError> {
        let first = self.txn.open_table(EVENTS)?.first()?.map_or(0, |(seq, _)| seq.value());
        Ok(DeliveryKey { seq: Seq::new(first), slot: 0 })
    }

    /// All accounts that were made over the API, in the order of their names.
    pub fn accounts(&self) -> Result<Vec<(AccountName, Tenant)>, StoreError> {
        tenants::read_all(&self.txn)
    }

    /// Rows newest first, at most `limit`, from the one before `before` on; of pending and ended deliveries alike.
    pub fn rows_before(&self, before: Option<DeliveryKey>, limit: usize) -> Result<Vec<Placed>, StoreError> {
        let end = before.map_or(u64::MAX, row_key);
        let (pending, history) = (self.txn.open_table(PENDING)?, self.txn.open_table(HISTORY)?);
        let mut tables = [
            ("pending", pending.range(..end)?.rev().peekable()),
            ("history", history.range(..end)?.rev().peekable()),
        ];
        let mut rows = Vec::with_capacity(limit.min(1024));
        while rows.len() < limit {
            let mut newest: Option<(usize, u64)> = None;
            for (index, (_, entries)) in tables.iter_mut().enumerate() {
                // An error counts as the newest of all, so that it is taken and returned.
                let key = entries.peek().map(|entry| entry.as_ref().map_or(u64::MAX, |(key, _)| key.value()));
                if let Some(key) = key
                    && newest.is_none_or(|(_, newest)| key > newest)
                {
                    newest = Some((index, key));
                }
            }
            let Some((index, _)) = newest else { break };
            let (name, entries) = &mut tables[index];
            let (key, row) = entries.next().expect("peeked at just above")?;
            rows.push(placed(name, key.value(), row.value())?);
        }
        Ok(rows)
    }

    /// A page of the rows whose deliveries have all ended, oldest first, from the row `from` on; `limit` are looked at, and
    /// those that cannot be read passed over.
    pub fn ended(&self, from: u64, limit: usize) -> Result<EndedPage, StoreError> {
        let table = self.txn.open_table(HISTORY)?;
        let mut page = EndedPage::default();
        let (mut looked_at, mut last) = (0, None);
        for entry in table.range(from..)?.take(limit) {
            let (key, row) = entry?;
            let (key, row) = (key.value(), row.value());
            // Out of order in a damaged file: to follow them might never end.
            if last.is_some_and(|last| key <= last) {
                return Err(StoreError::Row { table: "history", key });
            }
            (last, looked_at) = (Some(key), looked_at + 1);
            if let Some(Head { accepted_at, account, .. }) = decode_head(row) {
                let succeeded = all_succeeded(row);
                page.rows.push(Ended { row: key, seq: row_seq(key), accepted_at, account, succeeded });
            }
        }
        page.next = last.filter(|_| looked_at == limit).map(|last| last + 1);
        Ok(page)
    }

    /// The newest event.
    pub fn newest(&self) -> Result<Option<Seq>, StoreError> {
        Ok(self.txn.open_table(EVENTS)?.last()?.map(|(seq, _)| Seq::new(seq.value())))
    }

    /// The number of the oldest event.
    pub fn oldest_number(&self) -> Result<Option<Seq>, StoreError> {
        Ok(self.txn.open_table(EVENTS)?.first()?.map(|(seq, _)| Seq::new(seq.value())))
    }

    /// What the rows of the oldest event say of it.
    pub fn oldest(&self) -> Result<Option<Head>, StoreError> {
        self.oldest_number()?.map_or(Ok(None), |oldest| self.head(oldest))
    }

    /// When events were accepted, in their order, from `from` on, `limit` at most; one that cannot be read is taken for one
    /// whose clock was unset.
    pub fn dated(&self, from: Seq, limit: usize) -> Result<Vec<Dated>, StoreError> {
        let events = self.txn.open_table(EVENTS)?;
        let dated = |entry: Result<(AccessGuard<'_, u64>, AccessGuard<'_, &[u8]>), StorageError>| {
            let (seq, row) = entry?;
            let (accepted_at, clock_unset) = decode_times(row.value()).unwrap_or((Timestamp::EPOCH, true));
            Ok(Dated { seq: Seq::new(seq.value()), accepted_at, clock_unset })
        };
        events.range(from.get()..)?.take(limit).map(dated).collect()
    }

    /// Accepted files of `directory` that are not known to be unlinked, at most `limit`.
    pub fn files(&self, directory: &str, limit: usize) -> Result<Vec<FileIdentity>, StoreError> {
        let table = self.txn.open_table(FILES)?;
        let all = (directory, 0, 0, i64::MIN, 0)..=(directory, u64::MAX, u64::MAX, i64::MAX, u64::MAX);
        let file = |(directory, device, inode, mtime, size): (&str, u64, u64, i64, u64)| FileIdentity {
            directory: directory.to_owned(),
            device,
            inode,
            mtime,
            size,
        };
        table.range(all)?.take(limit).map(|entry| Ok(file(entry?.0.value()))).collect()
    }

    /// The producers' ids that are remembered.
    pub fn remembered(&self) -> Result<Remembered, StoreError> {
        let ids = self.txn.open_table(IDS)?;
        let oldest = ids.first()?.and_then(|(_, row)| IdRow::decode(row.value()));
        Ok(Remembered { ids: ids.len()?, oldest: oldest.map(|row| row.age) })
    }

    /// The oldest event with a pending delivery; rows that cannot be read are passed over, a hundred at most.
    pub fn oldest_pending(&self) -> Result<Option<Head>, StoreError> {
        for entry in self.txn.open_table(PENDING)?.iter()?.take(100) {
            if let Some(head) = decode_head(entry?.1.value()) {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// When the events of the oldest pending deliveries of these endpoints were accepted, each of which has so many pending.
    /// Looked at are 4,000 rows from the oldest on, and as many from the newest back: of what lies between, behind the
    /// backlog of others, nothing is known.
    pub fn oldest_of(
        &self,
        pending: &[(EndpointNumber, u64)],
    ) -> Result<HashMap<EndpointNumber, Timestamp>, StoreError> {
        let table = self.txn.open_table(PENDING)?;
        let mut found = HashMap::new();
        let mut left: HashMap<_, _> = pending.iter().copied().filter(|(_, count)| *count > 0).collect();
        for entry in table.iter()?.take(OLDEST) {
            if left.is_empty() {
                return Ok(found);
            }
            let Some(row) = decode_row(entry?.1.value()) else { continue };
            for one in row.deliveries.iter().filter(|one| one.state == State::Pending) {
                if left.remove(&one.endpoint).is_some() {
                    found.insert(one.endpoint, row.head.accepted_at);
                }
            }
        }
        // Of these the oldest is the last that is met, when all have been.
        for entry in table.iter()?.rev().take(OLDEST) {
            if left.is_empty() {
                break;
            }
            let Some(row) = decode_row(entry?.1.value()) else { continue };
            for one in row.deliveries.iter().filter(|one| one.state == State::Pending) {
                let Some(count) = left.get_mut(&one.endpoint) else { continue };
                *count -= 1;
                if *count == 0 {
                    left.remove(&one.endpoint);
                    found.insert(one.endpoint, row.head.accepted_at);
                }
            }
        }
        Ok(found)
    }

    /// Whether another must end before this pending delivery is attempted; `head` is that of its row.
    pub fn is_behind(&self, head: &Head, delivery: &Delivery) -> Result<bool, StoreError> {
        order::is_behind(&self.txn, head, delivery)
    }

    /// Whether this pending delivery keeps no order, or is the first in it.
    pub fn is_first(&self, key: DeliveryKey, delivery: &Delivery) -> Result<bool, StoreError> {
        match delivery.order {
            Order::Free => Ok(true),
            Order::Unjoined => Ok(false),
            Order::Place(_) => {
                let head = self.head(key.seq)?;
                head.map_or(Ok(true), |head| Ok(!self.is_behind(&head, delivery)?))
            }
        }
    }

    /// A page of the deliveries that are first in their order, of events up to `until`, from the group `from` on; `limit`
    /// groups are looked at.
    pub fn heads(
        &self,
        from: (EndpointNumber, Group),
        until: Seq,
        limit: usize,
    ) -> Result<Heads, StoreError> {
        let order::Heads { found, next } = order::heads(&self.txn, from, until, limit)?;
        let mut page = Heads { found: Vec::with_capacity(found.len()), unreadable: Vec::new(), next };
        for (group, key) in found {
            match self.delivery(key) {
                Ok(Some((_, delivery))) if delivery.state == State::Pending => {
                    page.found.push(Scheduled::of(key, &delivery));
                }
                Ok(_) => page.unreadable.push((group, StoreError::Row { table: "fifo", key: pack(key) })),
                Err(error @ StoreError::Row { .. }) => page.unreadable.push((group, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    /// Leaves those among `keys` that are not parked.
    pub fn retain_unparked(&self, keys: &mut Vec<Scheduled>) -> Result<(), StoreError> {
        parked::retain_unparked(&self.txn, keys)
    }

    /// How many keys are parked.
    pub fn parked(&self) -> Result<u64, StoreError> {
        parked::count(&self.txn)
    }

    /// The lanes that have parked keys, each with the first minute of them.
    pub fn parked_lanes(&self) -> Result<Vec<(EndpointNumber, Minute)>, StoreError> {
        parked::lanes(&self.txn)
    }

    /// A page of the backlog: pending deliveries in the order of acceptance, of events up to `until`, from the row
    /// `from` on; of whole rows, until there are `limit` of them.
    pub fn backlog(&self, from: u64, until: Seq, limit: usize) -> Result<Backlog, StoreError> {
        let table = self.txn.open_table(PENDING)?;
        let mut page = Backlog::default();
        let until = first_row(until.next());
        for entry in table.range(from.min(until)..until)? {
            if page.found.len() + page.unreadable.len() >= limit {
                return Ok(page);
            }
            let (key, row) = entry?;
            let key = key.value();
            // Out of order in a damaged file: to follow them might never end.
            if key < page.next.unwrap_or(from) || key >= until {
                return Err(StoreError::Row { table: "pending", key });
            }
            page.next = Some(key + 1);
            match placed("pending", key, row.value()) {
                Ok(placed) => page.add(&placed),
                Err(error) => page.unreadable.push(error),
            }
        }
        page.next = None;
        Ok(page)
    }
}

/// When an event was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dated {
    /// Which.
    pub seq: Seq,
    /// As the wall clock said then.
    pub accepted_at: Timestamp,
    /// It was not set.
    pub clock_unset: bool,
}

/// A row whose deliveries have all ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its place.
    pub row: u64,
    /// Of which event it is, or it has others that are not among these.
    pub seq: Seq,
    /// When that was accepted.
    pub accepted_at: Timestamp,
    /// Whose it is.
    pub account: AccountName,
    /// All of the row's deliveries have succeeded.
    pub succeeded: bool,
}

/// A page of them.
#[derive(Debug, Default)]
pub struct EndedPage {
    /// They.
    pub rows: Vec<Ended>,
    /// The row to go on at; `None`: there are no more.
    pub next: Option<u64>,
}

/// A page of the deliveries that are first in their order.
#[derive(Debug)]
pub struct Heads {
    /// They.
    pub found: Vec<Scheduled>,
    /// The groups between them whose first cannot be read, or has ended: they are to be had to advance.
    pub unreadable: Vec<((EndpointNumber, Group), StoreError)>,
    /// The group to go on at; `None`: there are no more.
    pub next: Option<(EndpointNumber, Group)>,
}

/// A page of the backlog.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Pending deliveries, as they were when the page was read.
    pub found: Vec<(DeliveryKey, Delivery)>,
    /// The rows between them that cannot be read.
    pub unreadable: Vec<StoreError>,
    /// The row to go on at; `None`: there are no more.
    pub next: Option<u64>,
}

impl Backlog {
    fn add(&mut self, placed: &Placed) {
        let keys = (placed.first.slot..).map(|slot| DeliveryKey { seq: placed.first.seq, slot });
        let all = keys.zip(placed.row.deliveries.iter().copied());
        self.found.extend(all.filter(|(_, delivery)| delivery.state == State::Pending));
    }
}

fn placed(table: &'static str, key: u64, row: &[u8]) -> Result<Placed, StoreError> {
    let row = decode_row(row).ok_or(StoreError::Row { table, key })?;
    Ok(Placed { first: DeliveryKey { seq: row_seq(key), slot: row_slot(key) }, row })
}
