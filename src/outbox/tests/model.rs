//! What the store promises, said with maps.

pub(super) mod again;
pub(super) mod endpoints;
pub(super) mod forgetting;
mod order;
pub(super) mod origins;
pub(super) mod parked;
mod recover;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use self::{order::Queues, origins::Origins, parked::Parked};
use crate::{
    model::{
        attempt::{Attempt, AttemptRow},
        content::ContentType,
        delivery::{CancelReason, Delivery, DeliveryKey, FailReason, Group, Order, Scheduled, State},
        endpoint::{Endpoint, EndpointNumber},
        event::{Event, EventType, NewEvent, NotBefore, Seq},
        id::{EventId, IdKey},
        job::{Job, JobNumber},
        time::{Mark, Timestamp},
    },
    outbox::{
        Acceptance, Addressed, Batch, BatchAnswer, Clocks, Entry, FileIdentity, Head, Health, Options,
        Placed, Row, Settle,
    },
};

/// What two events with the same id are compared by.
type Content = (
    EventType,
    Option<Timestamp>,
    Option<NotBefore>,
    Option<Box<str>>,
    Option<String>,
    Option<ContentType>,
    Bytes,
);

#[derive(Clone, Debug)]
struct Id {
    of: (String, String),
    content: Content,
    at: Timestamp,
    age: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) options: Options,
    pub(super) events: BTreeMap<Seq, Event>,
    pub(super) deliveries: BTreeMap<DeliveryKey, Delivery>,
    pub(super) attempts: BTreeMap<AttemptRow, Attempt>,
    pub(super) endpoints: BTreeMap<EndpointNumber, Endpoint>,
    pub(super) files: HashSet<FileIdentity>,
    pub(super) parked: Parked,
    pub(super) origins: Origins,
    /// Of deliveries that keep an order.
    pub(super) queues: Queues,
    pub(super) jobs: BTreeMap<JobNumber, Job>,
    /// How the clocks stood, as it was last said.
    pub(super) mark: Option<Mark>,
    /// Attempts are numbered from here on, whatever has been forgotten.
    least_attempt: AttemptRow,
    /// How endpoints have done lately.
    pub(super) healths: BTreeMap<EndpointNumber, Health>,
    /// How many events have been forgotten.
    pub(super) gone: u64,
    ids: BTreeMap<Seq, Id>,
    depths: HashMap<EndpointNumber, u64>,
    id_key: IdKey,
}

impl Model {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            events: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            attempts: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            files: HashSet::new(),
            parked: Parked::default(),
            origins: Origins::default(),
            queues: Queues::default(),
            jobs: BTreeMap::new(),
            mark: None,
            least_attempt: AttemptRow::new(1),
            healths: BTreeMap::new(),
            gone: 0,
            ids: BTreeMap::new(),
            depths: HashMap::new(),
            id_key: IdKey::new(super::ID_KEY),
        }
    }

    pub(super) fn last_seq(&self) -> Seq {
        self.events.keys().last().copied().unwrap_or(Seq::ZERO)
    }

    pub(super) fn next_attempt(&self) -> AttemptRow {
        let last = self.attempts.keys().last().map_or(0, |row| row.get());
        self.least_attempt.max(AttemptRow::new(last + 1))
    }

    pub(super) fn accept(&mut self, batch: &Batch, scheduled: &mut Vec<Scheduled>) -> BatchAnswer {
        if let Some(file) = &batch.file {
            if self.files.contains(file) {
                return BatchAnswer::FileKnown;
            }
            if let Some((index, first)) = self.refusal(batch) {
                return BatchAnswer::FileRefused { index, first };
            }
            self.files.insert(file.clone());
        }
        let mut answers = Vec::new();
        for routed in &batch.events {
            if let Some(known) = self.known(&routed.event, batch.age) {
                answers.push(known);
                continue;
            }
            let seq = self.last_seq().next();
            let Batch { at, clock_unset, .. } = *batch;
            let mut new = routed.event.clone();
            // The time is what is kept of a delay.
            new.not_before = new.not_before.map(|not_before| NotBefore::At(not_before.time(at)));
            self.events.insert(seq, Event { seq, accepted_at: at, clock_unset, new });
            self.remember(seq, &routed.event, batch);
            let mut deliveries = routed.deliveries.clone();
            if let Some(callback) = &routed.callback {
                let endpoint = self.origin(&routed.event.account, callback, at);
                deliveries.push(Addressed { endpoint, due: callback.due, entry: callback.entry });
            }
            for (slot, addressed) in (0..).zip(&deliveries) {
                let key = DeliveryKey { seq, slot };
                let delivery = self.first(key, *addressed, batch.at);
                self.deliveries.insert(key, delivery);
                match (delivery.state, addressed.entry) {
                    (State::Pending, Entry::AtOnce) => self.enter(key, scheduled),
                    (State::Pending, _) => scheduled.push(Scheduled::of(key, &delivery)),
                    _ => {}
                }
            }
            answers.push(Acceptance::Accepted(self.id_key.event_id(batch.at, seq)));
        }
        BatchAnswer::Events(answers)
    }

    /// The first event of a file whose id is known with other content.
    fn refusal(&self, batch: &Batch) -> Option<(usize, Option<EventId>)> {
        let mut news: BTreeMap<(String, String), Content> = BTreeMap::new();
        for (index, routed) in batch.events.iter().enumerate() {
            let Some(of) = id_of(&routed.event) else { continue };
            match self.known(&routed.event, batch.age) {
                Some(Acceptance::Conflict(first)) => return Some((index, Some(first))),
                Some(_) => {}
                None => {
                    let content = content(&routed.event);
                    if *news.entry(of).or_insert_with(|| content.clone()) != content {
                        return Some((index, None));
                    }
                }
            }
        }
        None
    }

    fn known(&self, event: &NewEvent, age: Timestamp) -> Option<Acceptance> {
        let of = id_of(event)?;
        let (seq, first) = self.ids.iter().rfind(|(_, id)| id.of == of)?;
        if age.since(first.age) > self.options.dedup_window {
            return None;
        }
        let id = self.id_key.event_id(first.at, *seq);
        let same = first.content == content(event);
        Some(if same { Acceptance::Duplicate(id) } else { Acceptance::Conflict(id) })
    }

    fn remember(&mut self, seq: Seq, event: &NewEvent, batch: &Batch) {
        let Some(of) = id_of(event) else { return };
        self.ids.insert(seq, Id { of, content: content(event), at: batch.at, age: batch.age });
        for _ in 0..2 {
            let Some((oldest, id)) = self.ids.first_key_value() else { return };
            let late = batch.age.since(id.age) > self.options.dedup_window;
            if late || self.ids.len() > self.options.dedup_entries {
                let oldest = *oldest;
                self.ids.remove(&oldest);
            }
        }
    }

    /// The clocks as a start finds them.
    pub(super) fn clocks(&self) -> Clocks {
        let event = self.events.values().last().map(|event| event.accepted_at);
        let attempt = self.attempts.values().last().map(|attempt| attempt.report.started_at);
        Clocks { mark: self.mark, seen: event.max(attempt).unwrap_or_default() }
    }

    /// The events whose ids are in the window's table.
    pub(super) fn remembered(&self) -> impl Iterator<Item = Seq> {
        self.ids.keys().copied()
    }

    fn first(&mut self, key: DeliveryKey, addressed: Addressed, at: Timestamp) -> Delivery {
        let Addressed { endpoint, due, entry } = addressed;
        let mut delivery = Delivery::pending(endpoint, due);
        delivery.order = if entry == Entry::Never { Order::Free } else { Order::Unjoined };
        if endpoint == EndpointNumber::NONE {
            (delivery.state, delivery.due) = (State::Failed(FailReason::EndpointFull), at);
            return delivery;
        }
        self.call_off(key, &mut delivery);
        if !is_pending(&delivery) {
            delivery.due = at;
            return delivery;
        }
        let depth = self.depths.entry(endpoint).or_default();
        if *depth < self.options.pending_per_endpoint {
            *depth += 1;
        } else {
            delivery.state = State::Failed(FailReason::EndpointFull);
            delivery.due = at;
        }
        delivery
    }

    pub(super) fn settle(&mut self, settle: &Settle) {
        let row = self.next_attempt();
        let mut after = settle.delivery;
        if is_pending(&after) {
            self.call_off(settle.key, &mut after);
        }
        let delivery = self.deliveries.get_mut(&settle.key).expect("tests settle what is there");
        if !is_pending(delivery) {
            return;
        }
        if delivery.called_off && matches!(after.state, State::Pending | State::Failed(_)) {
            if let (true, Some((_, report))) = (is_pending(&after), &settle.attempt) {
                after.due = report.started_at.plus(report.phases.total);
            }
            after.state = State::Cancelled(CancelReason::Operator);
        }
        let (previous, order) = (delivery.last_attempt, delivery.order);
        *delivery = after;
        delivery.order = order;
        let endpoint = delivery.endpoint;
        let mut rests = false;
        if !is_pending(delivery) {
            let depth = self.depths.get_mut(&endpoint).expect("it was counted");
            *depth -= 1;
            rests = *depth == 0;
        }
        delivery.last_attempt = previous;
        if let Some((why, report)) = &settle.attempt {
            delivery.last_attempt = Some(row);
            let attempt = Attempt {
                delivery: settle.key,
                endpoint: settle.delivery.endpoint,
                number: settle.delivery.attempt,
                previous,
                why: *why,
                report: (**report).clone(),
            };
            self.attempts.insert(row, attempt);
            let to = settle.delivery.endpoint;
            let is_counted = |one: &Endpoint| one.origin().is_none() && !one.is_deleted();
            if self.endpoints.get(&to).is_some_and(is_counted) {
                self.healths.entry(to).or_default().count(report.started_at, report.success);
            }
        }
        if !is_pending(&self.deliveries[&settle.key]) {
            self.leave(settle.key);
        }
        if let Some(count) = &settle.count {
            self.count(settle.delivery.endpoint, count);
        }
        if rests {
            self.rests(endpoint);
        }
    }

    pub(super) fn head(&self, seq: Seq) -> Head {
        let event = &self.events[&seq];
        let ordered = self.deliveries_of(seq).iter().any(|delivery| delivery.order != Order::Free);
        Head {
            group: if ordered { self.group_of(&event.new) } else { Group::KEYLESS },
            accepted_at: event.accepted_at,
            size: u32::try_from(event.new.data.len()).expect("fits"),
            account: event.new.account.clone(),
            event_type: event.new.event_type.clone(),
        }
    }

    /// All rows, oldest first: 128 deliveries each, and one for an event without any.
    pub(super) fn rows(&self) -> Vec<Placed> {
        let mut rows = Vec::new();
        for seq in self.events.keys() {
            let all = self.deliveries_of(*seq);
            let mut slot = 0;
            for chunk in all.chunks(128).chain(all.is_empty().then_some(&[][..])) {
                let row = Row { head: self.head(*seq), deliveries: chunk.to_vec() };
                rows.push(Placed { first: DeliveryKey { seq: *seq, slot }, row });
                slot += 128;
            }
        }
        rows
    }

    fn deliveries_of(&self, seq: Seq) -> Vec<Delivery> {
        let (first, last) = (DeliveryKey { seq, slot: 0 }, DeliveryKey { seq, slot: u16::MAX });
        self.deliveries.range(first..=last).map(|(_, delivery)| *delivery).collect()
    }

    /// The pending deliveries of events up to `until`, in the order of acceptance.
    pub(super) fn backlog(&self, until: Seq) -> Vec<Scheduled> {
        let pending = self.deliveries.iter().filter(|(key, d)| key.seq <= until && is_pending(d));
        pending.map(|(key, delivery)| Scheduled::of(*key, delivery)).collect()
    }
}

pub(super) fn is_pending(delivery: &Delivery) -> bool {
    delivery.state == State::Pending
}

fn id_of(event: &NewEvent) -> Option<(String, String)> {
    Some((event.account.to_string(), event.producer_id.clone()?))
}

fn content(event: &NewEvent) -> Content {
    let NewEvent { event_type, time, not_before, url, key, content_type, data, .. } = event.clone();
    (event_type, time, not_before, url, key, content_type, data)
}
