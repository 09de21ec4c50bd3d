//! All that is in a store, and whether it is what must be there.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable, TableError};

use super::{
    super::model::{Model, is_pending},
    parked::Parked,
};
use crate::{
    model::{
        attempt::{Attempt, AttemptRow},
        delivery::{Delivery, DeliveryKey, Group, Order, Scheduled},
        endpoint::{Endpoint, EndpointNumber},
        event::{Event, Seq},
        job::{Job, JobNumber},
    },
    outbox::{
        Clocks, FileIdentity, Reader, Row, clock,
        database::Shared,
        record::{IdRow, decode_attempt, decode_endpoint, decode_event, decode_row},
        schema::{
            ATTEMPTS, ENDPOINTS, EVENTS, FIFO, FILES, HISTORY, IDS, PENDING, row_seq, row_slot, unpack,
        },
    },
};

/// The content of every table.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) events: BTreeMap<Seq, Event>,
    pub(super) pending: BTreeMap<DeliveryKey, Row>,
    pub(super) history: BTreeMap<DeliveryKey, Row>,
    pub(super) attempts: BTreeMap<AttemptRow, Attempt>,
    pub(super) endpoints: BTreeMap<EndpointNumber, Endpoint>,
    pub(super) ids: BTreeSet<Seq>,
    pub(super) files: BTreeSet<(String, u64, u64, i64, u64)>,
    /// What the scan of the backlog tells, page by page.
    pub(super) backlog: Vec<(DeliveryKey, Delivery)>,
    pub(super) parked: Parked,
    /// By endpoint, group and place.
    pub(super) fifo: BTreeMap<(EndpointNumber, Group, u64), DeliveryKey>,
    pub(super) clocks: Clocks,
    pub(super) jobs: Vec<(JobNumber, Job)>,
}

impl Found {
    /// What the model says is there.
    pub(super) fn expected(model: &Model) -> Self {
        let rows = model.rows().into_iter().map(|placed| (placed.first, placed.row));
        let (pending, history) = rows.partition(|(_, row)| row.deliveries.iter().any(is_pending));
        let backlog = model.deliveries.iter().filter(|(_, delivery)| is_pending(delivery));
        Self {
            events: model.events.clone(),
            pending,
            history,
            attempts: model.attempts.clone(),
            endpoints: model.endpoints.clone(),
            ids: model.remembered().collect(),
            files: model.files.iter().map(file).collect(),
            backlog: backlog.map(|(key, delivery)| (*key, *delivery)).collect(),
            parked: Parked::expected(model),
            fifo: queues(model),
            clocks: model.clocks(),
            jobs: model.jobs.clone().into_iter().collect(),
        }
    }

    /// Reads all of it; every row must be readable.
    pub(super) fn read(database: &Shared) -> Self {
        let txn = database.begin_read().expect("a reader");
        let events = rows(&txn.open_table(EVENTS).expect("a table"), |seq, row| {
            (Seq::new(seq), decode_event(Seq::new(seq), row).expect("an event"))
        });
        let attempts = rows(&txn.open_table(ATTEMPTS).expect("a table"), |row, attempt| {
            (AttemptRow::new(row), decode_attempt(attempt).expect("an attempt"))
        });
        let ids: BTreeMap<Seq, IdRow> = rows(&txn.open_table(IDS).expect("a table"), |seq, row| {
            (Seq::new(seq), IdRow::decode(row).expect("an id's row"))
        });
        let of_its_event =
            |(seq, row): (&Seq, &IdRow)| events.get(seq).is_none_or(|event| event.accepted_at == row.at);
        assert!(ids.iter().all(of_its_event), "ids are of their events");
        let endpoints = txn.open_table(ENDPOINTS).expect("a table");
        let endpoints = endpoints.iter().expect("it is read").map(|entry| {
            let (number, row) = entry.expect("a row");
            (EndpointNumber::new(number.value()), decode_endpoint(row.value()).expect("an endpoint"))
        });
        let files = txn.open_table(FILES).expect("a table");
        let files = files.iter().expect("it is read").map(|entry| {
            let (directory, device, inode, mtime, size) = entry.as_ref().expect("a row").0.value();
            (directory.to_owned(), device, inode, mtime, size)
        });
        let backlog = backlog(database);
        Self {
            events,
            pending: rows(&txn.open_table(PENDING).expect("a table"), placed),
            history: rows(&txn.open_table(HISTORY).expect("a table"), placed),
            attempts,
            endpoints: endpoints.collect(),
            ids: ids.into_keys().collect(),
            files: files.collect(),
            parked: Parked::read(database, &backlog),
            fifo: fifo(database),
            clocks: clock::read(&txn).expect("it is read"),
            jobs: Reader::new(database).and_then(|reader| reader.jobs()).expect("they are read"),
            backlog,
        }
    }

    /// Whether all is there that `before` has, which was acknowledged. The commit that was under way, and led to `after`, may
    /// have gone further: it may have ended what was pending, replayed what had ended, have added, and have forgotten events
    /// with all that is of them.
    pub(super) fn keeps(&self, before: &Self, after: Option<&Self>) -> Result<(), String> {
        let gone: BTreeSet<Seq> =
            before.events.keys().copied().filter(|seq| self.lacks(*seq, after)).collect();
        if self.rows().any(|(key, _)| gone.contains(&key.seq)) {
            return Err("of an event that is forgotten deliveries are left".to_owned());
        }
        if self.attempts.values().any(|attempt| gone.contains(&attempt.delivery.seq)) {
            return Err("of an event that is forgotten attempts are left".to_owned());
        }
        for (seq, event) in before.events.iter().filter(|(seq, _)| !gone.contains(seq)) {
            if self.events.get(seq) != Some(event) {
                return Err(format!("the acknowledged event {seq:?} is lost"));
            }
        }
        for (key, (_, row)) in before.rows().filter(|(key, _)| !gone.contains(&key.seq)) {
            self.keeps_row(key, row)?;
        }
        for (row, attempt) in &before.attempts {
            if self.attempts.get(row) != Some(attempt) && !gone.contains(&attempt.delivery.seq) {
                return Err(format!("the committed attempt {row:?} is lost"));
            }
        }
        for (number, endpoint) in &before.endpoints {
            match self.endpoints.get(number) {
                Some(found) if endpoint.is_deleted() && !found.is_deleted() => {
                    return Err(format!("the deletion of the endpoint {number:?} is not in force"));
                }
                Some(_) => {}
                // The origin of callbacks, with nothing pending; its number is not given again.
                None if endpoint.origin().is_some() && self.has_later(*number) => {}
                None => return Err(format!("the endpoint {number:?} is forgotten")),
            }
        }
        Ok(())
    }

    /// Whether an event has gone as it was to go.
    fn lacks(&self, seq: Seq, after: Option<&Self>) -> bool {
        !self.events.contains_key(&seq) && after.is_some_and(|after| !after.events.contains_key(&seq))
    }

    fn has_later(&self, number: EndpointNumber) -> bool {
        self.endpoints.last_key_value().is_some_and(|(last, _)| *last > number)
    }

    fn keeps_row(&self, key: DeliveryKey, row: &Row) -> Result<(), String> {
        let found = self.pending.get(&key).or_else(|| self.history.get(&key));
        let Some(found) = found.filter(|found| found.deliveries.len() == row.deliveries.len()) else {
            return Err(format!("deliveries of the acknowledged event {:?} are lost", key.seq));
        };
        for (was, is) in row.deliveries.iter().zip(&found.deliveries) {
            let is_replayed = is_pending(is) && is.replayed;
            if !is_pending(was) && is != was && !is_replayed {
                return Err(format!("the end of a delivery in the row {key:?} is not in force"));
            }
            if is.attempt < was.attempt || is.last_attempt < was.last_attempt {
                return Err(format!("the outcome of an attempt in the row {key:?} is not in force"));
            }
        }
        Ok(())
    }

    /// Whether each delivery has its one record, in the one table where it belongs, and each unfinished one its one
    /// place in the backlog and its one way into the scheduler.
    pub(super) fn is_in_order(&self) -> Result<(), String> {
        if let Some(key) = self.pending.keys().find(|key| self.history.contains_key(key)) {
            return Err(format!("the row {key:?} is in `pending` and in `history`"));
        }
        if let Some((key, _)) =
            self.rows().find(|(_, (in_pending, row))| row.deliveries.iter().any(is_pending) != *in_pending)
        {
            return Err(format!("the row {key:?} is in the wrong table"));
        }
        let have_rows: BTreeSet<Seq> = self.rows().map(|(key, _)| key.seq).collect();
        if !have_rows.iter().eq(self.events.keys()) {
            return Err("not each event has rows, or not each row an event".to_owned());
        }
        let unfinished = self.pending.iter().flat_map(|(first, row)| {
            let keys = (first.slot..).map(|slot| DeliveryKey { seq: first.seq, slot });
            keys.zip(row.deliveries.iter().copied()).filter(|(_, delivery)| is_pending(delivery))
        });
        if !unfinished.clone().eq(self.backlog.iter().copied()) {
            return Err("the backlog is not each unfinished delivery once".to_owned());
        }
        let lost = unfinished.clone().find(|(_, delivery)| !self.endpoints.contains_key(&delivery.endpoint));
        if let Some((key, delivery)) = lost {
            return Err(format!("{key:?} is pending for {:?}, which is not there", delivery.endpoint));
        }
        let alone = unfinished.filter(|(_, delivery)| !matches!(delivery.order, Order::Place(_)));
        let alone: Vec<_> = alone.map(|(key, delivery)| Scheduled::of(key, &delivery)).collect();
        self.parked.reaches(alone.into_iter().chain(self.heads()?))
    }

    /// The first of each group, where each unfinished delivery that has a place has its one row, and there are no others.
    fn heads(&self) -> Result<Vec<Scheduled>, String> {
        let mut rows = BTreeMap::new();
        for (first, row) in &self.pending {
            let keys = (first.slot..).map(|slot| DeliveryKey { seq: first.seq, slot });
            for (key, delivery) in keys.zip(&row.deliveries) {
                match delivery.order {
                    Order::Place(place) if is_pending(delivery) => {
                        rows.insert((delivery.endpoint, row.head.group, place), (key, *delivery));
                    }
                    Order::Place(_) => return Err(format!("{key:?} has ended and keeps its place")),
                    Order::Free | Order::Unjoined => {}
                }
            }
        }
        let ended = self.history.values().flat_map(|row| &row.deliveries);
        if ended.into_iter().any(|delivery| matches!(delivery.order, Order::Place(_))) {
            return Err("a delivery of the history keeps its place".to_owned());
        }
        if !rows.iter().map(|(place, (key, _))| (place, key)).eq(&self.fifo) {
            return Err("the order is not that of the unfinished deliveries with a place".to_owned());
        }
        let mut groups = BTreeSet::new();
        let heads = rows.into_iter().filter(|((endpoint, group, _), _)| groups.insert((*endpoint, *group)));
        Ok(heads.map(|(_, (key, delivery))| Scheduled::of(key, &delivery)).collect())
    }

    /// How many unfinished deliveries wait for another.
    pub(super) fn behind(&self) -> usize {
        let groups: BTreeSet<_> = self.fifo.keys().map(|(endpoint, group, _)| (endpoint, group)).collect();
        self.fifo.len() - groups.len()
    }

    /// The parts in which it is not as expected.
    pub(super) fn differences(&self, expected: &Self) -> Vec<&'static str> {
        let parts = [
            ("events", self.events == expected.events),
            ("pending", self.pending == expected.pending),
            ("history", self.history == expected.history),
            ("attempts", self.attempts == expected.attempts),
            ("endpoints", self.endpoints == expected.endpoints),
            ("ids", self.ids == expected.ids),
            ("files", self.files == expected.files),
            ("the backlog", self.backlog == expected.backlog),
            ("the clocks", self.clocks == expected.clocks),
            ("jobs", self.jobs == expected.jobs),
            ("the order", self.fifo == expected.fifo),
            ("parked", self.parked.rows == expected.parked.rows),
            ("what a start schedules", self.parked.scheduled == expected.parked.scheduled),
            ("what is loaded", self.parked.loaded == expected.parked.loaded),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    /// All rows of deliveries, and whether they are in `pending`.
    fn rows(&self) -> impl Iterator<Item = (DeliveryKey, (bool, &Row))> {
        let pending = self.pending.iter().map(|(key, row)| (*key, (true, row)));
        pending.chain(self.history.iter().map(|(key, row)| (*key, (false, row))))
    }
}

fn queues(model: &Model) -> BTreeMap<(EndpointNumber, Group, u64), DeliveryKey> {
    let all = model.queues.all.iter();
    let row = |((endpoint, group), queue): (&(EndpointNumber, Group), &Vec<(u64, DeliveryKey)>)| {
        let whose = (*endpoint, *group);
        queue.clone().into_iter().map(move |(place, key)| ((whose.0, whose.1, place), key))
    };
    all.flat_map(row).collect()
}

fn fifo(database: &Shared) -> BTreeMap<(EndpointNumber, Group, u64), DeliveryKey> {
    let table = match database.begin_read().expect("a reader").open_table(FIFO) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return BTreeMap::new(),
        Err(error) => panic!("the table is there or not: {error}"),
    };
    let entries = table.iter().expect("it is read").map(|entry| {
        let (row, key) = entry.expect("a row");
        let (endpoint, group, place) = row.value();
        ((EndpointNumber::new(endpoint), Group::new(group), place), unpack(key.value()))
    });
    entries.collect()
}

fn file(file: &FileIdentity) -> (String, u64, u64, i64, u64) {
    (file.directory.clone(), file.device, file.inode, file.mtime, file.size)
}

fn placed(key: u64, row: &[u8]) -> (DeliveryKey, Row) {
    let key = DeliveryKey { seq: row_seq(key), slot: row_slot(key) };
    (key, decode_row(row).expect("a row of deliveries"))
}

fn rows<K: Ord, V>(
    table: &impl ReadableTable<u64, &'static [u8]>,
    read: impl Fn(u64, &[u8]) -> (K, V),
) -> BTreeMap<K, V> {
    let entries = table.iter().expect("it is read").map(|entry| entry.expect("a row"));
    entries.map(|(key, row)| read(key.value(), row.value())).collect()
}

fn backlog(database: &Shared) -> Vec<(DeliveryKey, Delivery)> {
    let reader = Reader::new(database).expect("a reader");
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let page = reader.backlog(place, Seq::MAX, 7).expect("the backlog is read");
        assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
        all.extend(page.found);
        from = page.next;
    }
    all
}
