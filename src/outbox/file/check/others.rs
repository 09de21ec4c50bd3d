//! The other tables: what they lead to is there.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable as _};

use super::{
    Report, Rows, next_numbers,
    tables::{self, Deliveries},
};
use crate::{
    model::{
        account::AccountName,
        delivery::{Order, State},
        endpoint::{Endpoint, EndpointNumber},
        event::Seq,
        id::IdKey,
    },
    outbox::{
        clock,
        dedup::{Dedup, Window},
        error::StoreError,
        health::Health,
        held, jobs,
        record::{IdRow, decode_endpoint, decode_event, decode_key, decode_tenant},
        schema::{
            ACCOUNTS, ENDPOINTS, EVENTS, FIFO, FILES, HEALTH, IDS, JOBS, KEYS, META, PARKED, meta, unpack,
        },
    },
};

/// The row `held` of `meta`.
#[derive(Clone, Copy)]
pub(super) struct HeldRow {
    bytes: u64,
    /// Events below this one are in it.
    pub(super) seq: u64,
    /// Attempts below this one are in it.
    pub(super) attempt: u64,
}

impl HeldRow {
    /// Holds what was counted against it.
    pub(super) fn judge(self, counted: u64, report: &mut Report) {
        if self.bytes != counted {
            let what = format!("it says {} bytes of rows, and there are {counted}", self.bytes);
            report.find("meta", meta::HELD, what);
        }
    }
}

/// What is looked at besides events, deliveries and attempts.
pub(super) struct Others<'a> {
    txn: &'a ReadTransaction,
    deliveries: Deliveries,
    next_seq: u64,
    next_attempt: u64,
}

impl<'a> Others<'a> {
    pub(super) fn open(txn: &'a ReadTransaction) -> Result<Self, StoreError> {
        let (next_seq, next_attempt) = next_numbers(txn)?;
        Ok(Self { txn, deliveries: Deliveries::open(txn)?, next_seq, next_attempt })
    }

    pub(super) fn endpoints(
        &self,
        report: &mut Report,
        rows: &mut Rows<'_>,
    ) -> Result<BTreeMap<EndpointNumber, Endpoint>, StoreError> {
        let mut endpoints = BTreeMap::new();
        for entry in self.txn.open_table(ENDPOINTS)?.iter()? {
            let (key, row) = entry?;
            rows.add();
            match decode_endpoint(row.value()) {
                Some(endpoint) => drop(endpoints.insert(EndpointNumber::new(key.value()), endpoint)),
                None => report.find("endpoints", key.value(), "the row cannot be read"),
            }
        }
        Ok(endpoints)
    }

    /// Looks at the rows of `meta`; returns the one that counts.
    pub(super) fn meta(&self, report: &mut Report) -> Result<Option<HeldRow>, StoreError> {
        let table = self.txn.open_table(META)?;
        if table.get(meta::ID_KEY)?.is_none_or(|row| row.value().len() != 16) {
            report.find("meta", meta::ID_KEY, "the key of the ids is missing, or is none");
        }
        if table.get(meta::CLOCK)?.is_some_and(|row| clock::decode(row.value()).is_none()) {
            report.find("meta", meta::CLOCK, "the row cannot be read");
        }
        let row = table.get(meta::HELD)?;
        let held = row.as_ref().and_then(|row| held::decode(row.value()));
        let held = held.map(|(bytes, seq, attempt)| HeldRow { bytes, seq, attempt });
        if row.is_some() && held.is_none() {
            report.find("meta", meta::HELD, "the row cannot be read");
        }
        // The newest attempts may be forgotten.
        let next_attempt = held.map_or(0, |held| held.attempt).max(self.next_attempt);
        if let Some(row) = table.get(meta::HEALTH)? {
            match row.value().try_into().map(u64::from_be_bytes) {
                Ok(mark) if mark <= next_attempt => {}
                Ok(_) => report.find("meta", meta::HEALTH, "it counts attempts that were never made"),
                Err(_) => report.find("meta", meta::HEALTH, "the row cannot be read"),
            }
        }
        Ok(held)
    }

    /// Each row is the place of a delivery that is pending.
    pub(super) fn orders(&self, report: &mut Report, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        let Some(table) = tables::open(self.txn, FIFO)? else { return Ok(()) };
        for entry in table.iter()? {
            let (at, key) = entry?;
            let ((endpoint, group, place), key) = (at.value(), unpack(key.value()));
            rows.add();
            let found = self.deliveries.get(key)?.filter(|(_, delivery)| delivery.state == State::Pending);
            let same = found.is_some_and(|(head, delivery)| {
                delivery.endpoint.get() == endpoint
                    && head.group.get() == group
                    && delivery.order == Order::Place(place)
            });
            if !same {
                let at = format!("{endpoint}/{group}/{place}");
                report.find("fifo", at, "it is not the place of a pending delivery");
            }
        }
        Ok(())
    }

    /// Each row leads to a pending delivery of its endpoint, or to one that has ended.
    pub(super) fn parked(&self, report: &mut Report, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        let Some(table) = tables::open(self.txn, PARKED)? else { return Ok(()) };
        for entry in table.iter()? {
            let (endpoint, minute, key) = entry?.0.value();
            rows.add();
            let of = unpack(key);
            match self.deliveries.get(of)? {
                Some((_, delivery)) if delivery.state != State::Pending => report.stale += 1,
                Some((_, delivery)) => {
                    // One that is to join its order waits in a lane of its own.
                    let joins =
                        delivery.order == Order::Unjoined && endpoint == EndpointNumber::JOINING.get();
                    if delivery.endpoint.get() != endpoint && !joins {
                        report.find(
                            "parked",
                            format!("{endpoint}/{minute}/{key}"),
                            "its delivery is another endpoint's",
                        );
                    }
                }
                // Retention may have taken it away since.
                None if of.seq.get() < self.next_seq => report.stale += 1,
                None => {
                    report.find(
                        "parked",
                        format!("{endpoint}/{minute}/{key}"),
                        "its delivery was never made",
                    );
                }
            }
        }
        Ok(())
    }

    /// Each row is the id of its event, or of one that retention has taken away.
    pub(super) fn ids(&self, report: &mut Report, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        let key = self.txn.open_table(META)?.get(meta::ID_KEY)?.and_then(|row| row.value().try_into().ok());
        let dedup = key
            .map(|key| Dedup::new(IdKey::new(key), Window { time: std::time::Duration::ZERO, entries: 0 }));
        let events = self.txn.open_table(EVENTS)?;
        for entry in self.txn.open_table(IDS)?.iter()? {
            let (seq, row) = entry?;
            let seq = seq.value();
            rows.add();
            let Some(row) = IdRow::decode(row.value()) else {
                report.find("ids", seq, "the row cannot be read");
                continue;
            };
            if seq == 0 || seq >= self.next_seq {
                report.find("ids", seq, "its event was never accepted");
                continue;
            }
            let event = events.get(seq)?.and_then(|event| decode_event(Seq::new(seq), event.value()));
            let (Some(event), Some(dedup)) = (event, &dedup) else { continue };
            let own = dedup.row(&event.new, (event.accepted_at, row.age));
            if own.is_none_or(|own| (own.id, own.at) != (row.id, row.at)) {
                report.find("ids", seq, "it is not the id of its event");
            }
        }
        Ok(())
    }

    pub(super) fn jobs(&self, report: &mut Report, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        let Some(table) = tables::open(self.txn, JOBS)? else { return Ok(()) };
        for entry in table.iter()? {
            let (number, row) = entry?;
            rows.add();
            if jobs::decode(row.value()).is_none() {
                report.find("jobs", number.value(), "the row cannot be read");
            }
        }
        Ok(())
    }

    /// Of one that was revoked nothing is left, but for the greatest number.
    pub(super) fn keys(&self, report: &mut Report, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        let Some(table) = tables::open(self.txn, KEYS)? else { return Ok(()) };
        let last = table.last()?.map(|(number, _)| number.value());
        for entry in table.iter()? {
            let (number, row) = entry?;
            let number = number.value();
            rows.add();
            match decode_key(row.value()) {
                Some(Some(_)) => {}
                Some(None) if Some(number) == last => {}
                Some(None) => report.find("keys", number, "it was revoked, and is not the last one"),
                None => report.find("keys", number, "the row cannot be read"),
            }
        }
        Ok(())
    }

    pub(super) fn accounts(&self, report: &mut Report, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        let Some(table) = tables::open(self.txn, ACCOUNTS)? else { return Ok(()) };
        for entry in table.iter()? {
            let (name, row) = entry?;
            rows.add();
            if name.value().parse::<AccountName>().is_err() {
                report.find("accounts", format!("{:?}", name.value()), "it is no name of an account");
            } else if decode_tenant(row.value()).is_none() {
                report.find("accounts", name.value(), "the row cannot be read");
            }
        }
        Ok(())
    }

    /// Each row is of one of the `endpoints`, and of none that is an origin: those are not counted.
    pub(super) fn healths(
        &self,
        endpoints: &BTreeMap<EndpointNumber, Endpoint>,
        report: &mut Report,
        rows: &mut Rows<'_>,
    ) -> Result<(), StoreError> {
        let Some(table) = tables::open(self.txn, HEALTH)? else { return Ok(()) };
        for entry in table.iter()? {
            let (number, row) = entry?;
            let number = number.value();
            rows.add();
            let endpoint = endpoints.get(&EndpointNumber::new(number));
            if endpoint.is_none_or(|endpoint| endpoint.origin().is_some()) {
                report.find("health", number, format!("it is of {number}, which is no endpoint"));
            } else if Health::decode(row.value()).is_none() {
                report.find("health", number, "the row cannot be read");
            }
        }
        Ok(())
    }

    /// Each row is of a file whose first event was accepted, or would be the next one.
    pub(super) fn files(&self, report: &mut Report, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        for entry in self.txn.open_table(FILES)?.iter()? {
            let (file, seq) = entry?;
            let (_, device, inode, ..) = file.value();
            rows.add();
            if seq.value() == 0 || seq.value() > self.next_seq {
                report.find("files", format!("{device}:{inode}"), "its events were never accepted");
            }
        }
        Ok(())
    }
}
