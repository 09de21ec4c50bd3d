//! The parked keys in a store, and what a start makes of them: what it schedules, and what it comes by in loading.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable, TableError};

use super::super::model::{
    Model,
    parked::{Place, place, scheduled},
};
use crate::{
    model::{
        delivery::{Delivery, DeliveryKey, Group, Load, Order, Scheduled},
        endpoint::EndpointNumber,
        event::Seq,
        time::{Minute, Timestamp},
    },
    outbox::{
        Reader,
        database::Shared,
        parked::load,
        schema::{PARKED, Tables, row_seq, row_slot},
    },
};

/// As many keys at most are loaded at once.
const LIMIT: usize = 50;

/// The rows, and both ways to a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parked {
    pub(super) rows: BTreeMap<Place, Timestamp>,
    /// What of the backlog a start schedules.
    pub(super) scheduled: Vec<Scheduled>,
    /// What comes in loading lane after lane, until nothing is left.
    pub(super) loaded: Vec<Scheduled>,
}

impl Parked {
    /// What the model says is there.
    pub(super) fn expected(model: &Model) -> Self {
        let rows = model.parked.rows.clone();
        let mut unparked = model.starts();
        unparked.retain(|one| !model.parked.has(one));
        let loaded = rows.iter().map(|(place, due)| scheduled(*place, *due)).collect();
        Self { rows, scheduled: unparked, loaded }
    }

    /// Reads the table, and finds the keys as a start does; nothing is written by that.
    pub(super) fn read(database: &Shared, backlog: &[(DeliveryKey, Delivery)]) -> Self {
        let reader = Reader::new(database).expect("a reader");
        let alone = backlog.iter().filter(|(_, one)| !matches!(one.order, Order::Place(_)));
        let mut unparked: Vec<_> = alone.map(|(key, one)| Scheduled::of(*key, one)).collect();
        let mut from = Some((EndpointNumber::new(0), Group::KEYLESS));
        while let Some(group) = from {
            let page = reader.heads(group, Seq::MAX, 3).expect("they are read");
            assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
            unparked.extend(page.found);
            from = page.next;
        }
        reader.retain_unparked(&mut unparked).expect("they are read");
        let lanes = reader.parked_lanes().expect("they are read");
        Self { rows: rows(database), scheduled: unparked, loaded: load_all(database, lanes) }
    }

    /// Whether a start comes by each of the `unfinished` deliveries that wait for no other: by scheduling it or by loading it, according to
    /// whether it is parked.
    pub(super) fn reaches(&self, unfinished: impl Iterator<Item = Scheduled>) -> Result<(), String> {
        let keys = |all: &[Scheduled]| all.iter().map(|one| one.key).collect::<BTreeSet<_>>();
        let (scheduled, loaded) = (keys(&self.scheduled), keys(&self.loaded));
        let mut unparked = Vec::new();
        for one in unfinished {
            let (is_scheduled, is_loaded) = (scheduled.contains(&one.key), loaded.contains(&one.key));
            let is_parked = self.is_parked(&one);
            if !is_scheduled && !is_loaded {
                return Err(format!("the start neither schedules nor loads the pending {one:?}"));
            }
            if is_parked && !is_loaded {
                return Err(format!("the parked {one:?} is not reached through its lane"));
            }
            if is_parked == is_scheduled {
                return Err(format!("scheduled {is_scheduled}, parked {is_parked}: {one:?}"));
            }
            unparked.extend((!is_parked).then_some(one));
        }
        if unparked != self.scheduled {
            return Err("the start does not schedule each unparked pending delivery once".to_owned());
        }
        Ok(())
    }

    /// Whether the table has followed what was committed by `before`: what was parked is there, and what was loaded is
    /// not, but for what the commit under way may have done.
    pub(super) fn follows(&self, before: &Model, after: Option<&Model>) -> Result<(), String> {
        let next = after.unwrap_or(before);
        let risen = before
            .parked
            .taken
            .iter()
            .find(|place| self.rows.contains_key(place) && !next.parked.rows.contains_key(place));
        if let Some(place) = risen {
            return Err(format!("the parked {place:?} has outlived its load"));
        }
        let lost = before
            .parked
            .rows
            .keys()
            .find(|place| !self.rows.contains_key(place) && next.parked.rows.contains_key(place));
        lost.map_or(Ok(()), |place| Err(format!("what was parked as {place:?} is lost")))
    }

    fn is_parked(&self, one: &Scheduled) -> bool {
        self.rows.contains_key(&place(one))
    }
}

fn rows(database: &Shared) -> BTreeMap<Place, Timestamp> {
    let table = match database.begin_read().expect("a reader").open_table(PARKED) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return BTreeMap::new(),
        Err(error) => panic!("the table is there or not: {error}"),
    };
    let entries = table.iter().expect("it is read").map(|entry| {
        let (key, due) = entry.expect("a row");
        let (lane, minute, row) = key.value();
        let key = DeliveryKey { seq: row_seq(row), slot: row_slot(row) };
        ((EndpointNumber::new(lane), Minute::new(minute), key), Timestamp::from_millis(due.value()))
    });
    entries.collect()
}

/// Loads all of the lanes, each from minute to minute as the scheduler does, in a transaction that is not committed.
fn load_all(database: &Shared, lanes: Vec<(EndpointNumber, Minute)>) -> Vec<Scheduled> {
    let mut all = Vec::new();
    if lanes.is_empty() {
        return all;
    }
    let txn = database.begin_write().expect("nobody else writes");
    let mut tables = Tables::new(&txn);
    for (lane, first) in lanes {
        let mut minute = Some(first);
        while let Some(until) = minute {
            let loaded = load(Load { lane, until, limit: LIMIT }, &mut tables).expect("they are loaded");
            assert!(!loaded.found.is_empty(), "lane {lane:?} has keys of minute {until:?}");
            all.extend(loaded.found);
            minute = loaded.next;
        }
    }
    drop(tables);
    txn.abort().expect("it is taken back");
    all
}
