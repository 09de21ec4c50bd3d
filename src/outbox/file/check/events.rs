//! Events, deliveries and attempts: each event has its rows, each row its event, and each delivery its attempts.

use std::{collections::BTreeMap, iter::Peekable};

use redb::{AccessGuard, Range, ReadOnlyTable, ReadTransaction};

use super::{
    Report, Rows, next_numbers,
    others::HeldRow,
    tables::{self, Deliveries},
};
use crate::{
    model::{
        attempt::AttemptRow,
        delivery::{Delivery, DeliveryKey, Order, State},
        endpoint::{Endpoint, EndpointNumber},
        event::{Event, Seq},
    },
    outbox::{
        error::StoreError,
        held::row_bytes,
        record::{Row, any_pending, decode_attempt, decode_event},
        schema::{ATTEMPTS, EVENTS, FIFO, FifoKey, ROW_DELIVERIES, pack, row_seq, row_slot},
    },
};

type Bytes = ReadOnlyTable<u64, &'static [u8]>;
type Entries<'a> = Peekable<Range<'a, u64, &'static [u8]>>;

/// Goes through the three of them; returns how many bytes there are of the rows that `held` has counted.
pub(super) fn check(
    txn: &ReadTransaction,
    endpoints: &BTreeMap<EndpointNumber, Endpoint>,
    held: Option<HeldRow>,
    report: &mut Report,
    rows: &mut Rows<'_>,
) -> Result<u64, StoreError> {
    let (next_seq, next_attempt) = next_numbers(txn)?;
    let (below_seq, below_attempt) = held.map_or((next_seq, next_attempt), |held| (held.seq, held.attempt));
    let deliveries = Deliveries::open(txn)?;
    let mut walk = Walk {
        attempts: txn.open_table(ATTEMPTS)?,
        fifo: tables::open(txn, FIFO)?,
        endpoints,
        report,
        rows,
        below_seq,
        counted: 0,
    };
    walk.events(&txn.open_table(EVENTS)?, &deliveries)?;
    walk.attempts(&deliveries, below_attempt)?;
    Ok(walk.counted)
}

struct Walk<'a, 'b> {
    attempts: Bytes,
    fifo: Option<ReadOnlyTable<FifoKey, u64>>,
    endpoints: &'a BTreeMap<EndpointNumber, Endpoint>,
    report: &'a mut Report,
    rows: &'a mut Rows<'b>,
    /// Rows of events below this one were counted.
    below_seq: u64,
    counted: u64,
}

/// A row of `events`.
enum Own {
    Missing,
    Unreadable,
    Read(Box<Event>),
}

/// A row of `pending` or `history`.
struct Found {
    table: &'static str,
    key: u64,
    row: Option<Row>,
    any_pending: bool,
}

impl Walk<'_, '_> {
    fn events(&mut self, events: &Bytes, deliveries: &Deliveries) -> Result<(), StoreError> {
        let mut events = events.range(0..)?.peekable();
        let mut pending = deliveries.pending.range(0..)?.peekable();
        let mut history = deliveries.history.range(0..)?.peekable();
        loop {
            let next = [
                peek(&mut events)?,
                peek(&mut pending)?.map(|key| row_seq(key).get()),
                peek(&mut history)?.map(|key| row_seq(key).get()),
            ];
            let Some(seq) = next.into_iter().flatten().min() else { return Ok(()) };
            let event = self.event(seq, &mut events)?;
            let mut rows = Vec::new();
            self.rows_of(seq, "pending", &mut pending, &mut rows)?;
            self.rows_of(seq, "history", &mut history, &mut rows)?;
            rows.sort_by_key(|found| found.key);
            self.judge(seq, &event, &rows)?;
        }
    }

    fn count(&mut self, seq: u64, value: &[u8]) {
        self.rows.add();
        if seq < self.below_seq {
            self.counted += row_bytes(value);
        }
    }

    /// The event's own row.
    fn event(&mut self, seq: u64, events: &mut Entries<'_>) -> Result<Own, StoreError> {
        if peek(events)? != Some(seq) {
            return Ok(Own::Missing);
        }
        let (_, row) = take(events)?;
        self.count(seq, row.value());
        let event = decode_event(Seq::new(seq), row.value());
        if event.is_none() || seq == 0 || seq > Seq::MAX.get() {
            self.report.find("events", seq, "the row cannot be read");
        }
        Ok(event.map_or(Own::Unreadable, |event| Own::Read(Box::new(event))))
    }

    fn rows_of(
        &mut self,
        seq: u64,
        table: &'static str,
        entries: &mut Entries<'_>,
        found: &mut Vec<Found>,
    ) -> Result<(), StoreError> {
        while peek(entries)?.is_some_and(|key| row_seq(key).get() == seq) {
            let (key, value) = take(entries)?;
            let (key, value) = (key.value(), value.value());
            self.count(seq, value);
            let row = tables::decode(value);
            if row.is_none() {
                self.report.find(table, key, "the row cannot be read");
            }
            found.push(Found { table, key, row, any_pending: any_pending(value) });
        }
        Ok(())
    }

    fn judge(&mut self, seq: u64, event: &Own, rows: &[Found]) -> Result<(), StoreError> {
        match (event, rows) {
            (Own::Missing, [first, ..]) => {
                self.report.find(first.table, first.key, format!("its event {seq} is not in `events`"));
            }
            (Own::Read(_) | Own::Unreadable, []) => {
                self.report.find("events", seq, "it has no row in `pending` or `history`");
            }
            _ => {}
        }
        let mut slot = 0;
        for (index, found) in rows.iter().enumerate() {
            let Some(row) = &found.row else { continue };
            if usize::from(row_slot(found.key)) != slot {
                self.report.find(found.table, found.key, "rows of its event are missing, or there twice");
            }
            let count = row.deliveries.len();
            let last = index + 1 == rows.len();
            if count > ROW_DELIVERIES || (count == 0 && rows.len() > 1) || (!last && count != ROW_DELIVERIES)
            {
                self.report.find(found.table, found.key, format!("it has {count} deliveries"));
            }
            slot = usize::from(row_slot(found.key)) + ROW_DELIVERIES;
            if found.any_pending != (found.table == "pending") {
                let what = if found.any_pending { "a delivery" } else { "no delivery" };
                self.report.find(found.table, found.key, format!("{what} of it is pending"));
            }
            if let Own::Read(event) = event {
                self.judge_head(event, found, row);
            }
            let keys = (row_slot(found.key)..).map(|slot| DeliveryKey { seq: Seq::new(seq), slot });
            for (key, delivery) in keys.zip(&row.deliveries) {
                self.delivery(key, delivery, (found, row))?;
            }
        }
        Ok(())
    }

    fn judge_head(&mut self, event: &Event, found: &Found, row: &Row) {
        let (head, new) = (&row.head, &event.new);
        let same = head.accepted_at == event.accepted_at
            && head.account == new.account
            && head.event_type == new.event_type
            && usize::try_from(head.size).is_ok_and(|size| size == new.data.len());
        if !same {
            self.report.find(
                found.table,
                found.key,
                "it says something else of its event than `events` does",
            );
        }
    }

    fn delivery(
        &mut self,
        key: DeliveryKey,
        delivery: &Delivery,
        (found, row): (&Found, &Row),
    ) -> Result<(), StoreError> {
        let named = |what: String| format!("delivery {}: {what}", key.slot);
        let pending = delivery.state == State::Pending;
        if pending && !self.endpoints.contains_key(&delivery.endpoint) {
            let what = named(format!("its endpoint {} is not in `endpoints`", delivery.endpoint.get()));
            self.report.find(found.table, found.key, what);
        }
        if let Some(newest) = delivery.last_attempt
            && let Some(what) = self.newest(newest, key, delivery)?
        {
            self.report.find(found.table, found.key, named(what));
        }
        if let (true, Order::Place(place)) = (pending, delivery.order) {
            let at = (delivery.endpoint.get(), row.head.group.get(), place);
            let there = match &self.fifo {
                Some(fifo) => fifo.get(at)?.map(|key| key.value()),
                None => None,
            };
            if there != Some(pack(key)) {
                let what = named("its place in its order is not in `fifo`, or is another's".to_owned());
                self.report.find(found.table, found.key, what);
            }
        }
        Ok(())
    }

    /// What is wrong with the newest attempt of a delivery.
    fn newest(
        &self,
        newest: AttemptRow,
        key: DeliveryKey,
        delivery: &Delivery,
    ) -> Result<Option<String>, StoreError> {
        let Some(row) = self.attempts.get(newest.get())? else {
            return Ok(Some(format!("its newest attempt {} is not in `attempts`", newest.get())));
        };
        // One that cannot be read is found where the attempts are gone through.
        let attempt = decode_attempt(row.value());
        let wrong = attempt.filter(|one| (one.delivery, one.number) != (key, delivery.attempt));
        Ok(wrong.map(|_| format!("its newest attempt {} is another's, or another", newest.get())))
    }

    fn attempts(&mut self, deliveries: &Deliveries, below: u64) -> Result<(), StoreError> {
        let mut entries = self.attempts.range(0..)?.peekable();
        while peek(&mut entries)?.is_some() {
            let (key, value) = take(&mut entries)?;
            let key = key.value();
            self.rows.add();
            if key < below {
                self.counted += row_bytes(value.value());
            }
            let Some(attempt) = decode_attempt(value.value()) else {
                self.report.find("attempts", key, "the row cannot be read");
                continue;
            };
            let of = attempt.delivery;
            match deliveries.get(of)? {
                None => self.report.find(
                    "attempts",
                    key,
                    format!("its delivery {} of event {} is not there", of.slot, of.seq.get()),
                ),
                Some((_, delivery)) if attempt.number > delivery.attempt => {
                    self.report.find("attempts", key, "its number is greater than its delivery's last");
                }
                Some(_) => {}
            }
            let Some(previous) = attempt.previous else { continue };
            if previous.get() >= key {
                self.report.find(
                    "attempts",
                    key,
                    format!("the one before it, {}, is not older", previous.get()),
                );
                continue;
            }
            // Retention may have taken an older one away.
            let Some(before) = self.attempts.get(previous.get())? else { continue };
            let before = decode_attempt(before.value());
            if before.is_some_and(|before| (before.delivery, before.number + 1) != (of, attempt.number)) {
                self.report.find(
                    "attempts",
                    key,
                    format!("the one before it, {}, is another delivery's", previous.get()),
                );
            }
        }
        Ok(())
    }
}

fn peek(entries: &mut Entries<'_>) -> Result<Option<u64>, StoreError> {
    match entries.peek() {
        None => Ok(None),
        Some(Ok((key, _))) => Ok(Some(key.value())),
        Some(Err(_)) => Err(entries.next().expect("peeked at").err().expect("an error").into()),
    }
}

type Entry<'a> = (AccessGuard<'a, u64>, AccessGuard<'a, &'static [u8]>);

/// What was peeked at.
fn take<'a>(entries: &mut Entries<'a>) -> Result<Entry<'a>, StoreError> {
    Ok(entries.next().expect("peeked at")?)
}
