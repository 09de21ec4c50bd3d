//! What the store promises of deliveries that keep an order: queues.

use std::collections::{BTreeMap, BTreeSet};

use super::{Model, is_pending};
use crate::{
    model::{
        delivery::{DeliveryKey, Group, Order, Scheduled},
        endpoint::EndpointNumber,
        event::{NewEvent, Seq},
    },
    outbox::dedup::{Dedup, Window},
};

/// Whose queue.
type Whose = (EndpointNumber, Group);

/// The queues, each with the places of those in it; none is empty.
#[derive(Clone, Debug, Default)]
pub(in crate::outbox::tests) struct Queues {
    pub(in crate::outbox::tests) all: BTreeMap<Whose, Vec<(u64, DeliveryKey)>>,
    /// Those whose first has ended since the last commit.
    advancing: BTreeSet<Whose>,
}

impl Queues {
    /// How many are not the first.
    pub(in crate::outbox::tests) fn behind(&self) -> usize {
        self.all.values().map(|queue| queue.len() - 1).sum()
    }

    /// Puts one at the end; returns its place, and whether it is alone.
    fn enter(&mut self, whose: Whose, key: DeliveryKey) -> (u64, bool) {
        let queue = self.all.entry(whose).or_default();
        let packed = key.seq.get() * 65_536 + u64::from(key.slot);
        let place = queue.last().map_or(packed, |(last, _)| packed.max(last + 1));
        queue.push((place, key));
        (place, queue.len() == 1)
    }

    fn leave(&mut self, whose: Whose, key: DeliveryKey) {
        let queue = self.all.get_mut(&whose).expect("it is in one");
        let at = queue.iter().position(|(_, one)| *one == key).expect("it is in it");
        queue.remove(at);
        if queue.is_empty() {
            self.all.remove(&whose);
            self.advancing.remove(&whose);
        } else if at == 0 {
            self.advancing.insert(whose);
        }
    }
}

impl Model {
    /// The group of an event's deliveries that keep an order.
    pub(in crate::outbox::tests) fn group_of(&self, event: &NewEvent) -> Group {
        let window = Window { time: self.options.dedup_window, entries: 0 };
        Dedup::new(self.id_key.clone(), window).group(event)
    }

    /// Gives a pending delivery its place at the end; it is scheduled if it is alone.
    pub(super) fn enter(&mut self, key: DeliveryKey, scheduled: &mut Vec<Scheduled>) {
        let group = self.group_of(&self.events[&key.seq].new);
        let delivery = self.deliveries.get_mut(&key).expect("it is there");
        let (place, alone) = self.queues.enter((delivery.endpoint, group), key);
        delivery.order = Order::Place(place);
        if alone {
            scheduled.push(Scheduled::of(key, delivery));
        }
    }

    /// Takes one that has ended out of its queue.
    pub(super) fn leave(&mut self, key: DeliveryKey) {
        let group = self.group_of(&self.events[&key.seq].new);
        let delivery = self.deliveries.get_mut(&key).expect("it is there");
        if let Order::Place(_) = delivery.order {
            delivery.order = Order::Unjoined;
            self.queues.leave((delivery.endpoint, group), key);
        }
    }

    /// Schedules the first of each queue whose first has ended.
    pub(in crate::outbox::tests) fn advance(&mut self, scheduled: &mut Vec<Scheduled>) {
        for whose in std::mem::take(&mut self.queues.advancing) {
            scheduled.push(self.scheduled(self.queues.all[&whose][0].1));
        }
    }

    /// Has some join, those that have been due longest first.
    pub(in crate::outbox::tests) fn join(&mut self, keys: &[DeliveryKey], scheduled: &mut Vec<Scheduled>) {
        let joins = |key: &&DeliveryKey| {
            self.deliveries.get(key).is_some_and(|one| is_pending(one) && one.order == Order::Unjoined)
        };
        let mut keys: Vec<_> = keys.iter().filter(joins).copied().collect();
        keys.sort_by_key(|key| (self.deliveries[key].due, *key));
        keys.dedup();
        for key in keys {
            self.enter(key, scheduled);
        }
    }

    /// Some that could join, and some that could not.
    pub(in crate::outbox::tests) fn random_joins(&self, random: &mut fastrand::Rng) -> Vec<DeliveryKey> {
        let all = self.deliveries.iter();
        let some = all.filter(|(_, one)| {
            let joins = is_pending(one) && one.order == Order::Unjoined;
            random.u8(..100) < if joins { 40 } else { 2 }
        });
        let mut keys: Vec<_> = some.map(|(key, _)| *key).collect();
        keys.extend(random.choice(keys.clone()));
        random.shuffle(&mut keys);
        keys
    }

    /// The first of each queue, of events up to `until`.
    pub(in crate::outbox::tests) fn heads(&self, until: Seq) -> Vec<Scheduled> {
        let heads = self.queues.all.values().map(|queue| queue[0].1);
        heads.filter(|key| key.seq <= until).map(|key| self.scheduled(key)).collect()
    }

    /// What a start schedules: what is pending and keeps no order, or has no place yet; and the first of each queue.
    pub(in crate::outbox::tests) fn starts(&self) -> Vec<Scheduled> {
        let pending = self.deliveries.iter().filter(|(_, one)| is_pending(one));
        let alone = pending.filter(|(_, one)| !matches!(one.order, Order::Place(_)));
        alone.map(|(key, _)| self.scheduled(*key)).chain(self.heads(Seq::MAX)).collect()
    }

    fn scheduled(&self, key: DeliveryKey) -> Scheduled {
        Scheduled::of(key, &self.deliveries[&key])
    }
}
