//! What the store promises of deliveries that are replayed.

use super::{Model, is_pending, origins::MOST};
use crate::{
    model::{
        delivery::{Delivery, DeliveryKey, Order, Scheduled},
        endpoint::{Endpoint, EndpointNumber},
        event::Seq,
        time::Timestamp,
    },
    outbox::{Callback, Entry, Replay, Replayed},
};

impl Model {
    pub(in super::super) fn replay(&mut self, one: &Replay, scheduled: &mut Vec<Scheduled>) -> Replayed {
        if !self.origins.whole {
            return Replayed::TooEarly;
        }
        let Some(before) = self.deliveries.get(&one.key).copied() else { return Replayed::Missing };
        if is_pending(&before) {
            return Replayed::Pending;
        }
        let mut endpoint = before.endpoint;
        if let Some(callback) = &one.callback {
            let account = self.events[&one.key.seq].new.account.clone();
            endpoint = self.origin(&account, callback, one.wall);
        }
        if endpoint == EndpointNumber::NONE {
            return Replayed::Full;
        }
        if self.endpoints.get(&endpoint).is_none_or(Endpoint::is_deleted) {
            return Replayed::Deleted;
        }
        let after = Delivery {
            attempt: before.attempt,
            last_status: before.last_status,
            last_attempt: before.last_attempt,
            order: if before.order == Order::Free { Order::Free } else { Order::Unjoined },
            replayed: true,
            ..Delivery::pending(endpoint, one.at)
        };
        let mut judged = after;
        self.call_off(one.key, &mut judged);
        if !is_pending(&judged) {
            return Replayed::Discarding;
        }
        let depth = self.depths.entry(endpoint).or_default();
        if *depth >= self.options.pending_per_endpoint {
            return Replayed::Full;
        }
        *depth += 1;
        self.deliveries.insert(one.key, after);
        scheduled.push(Scheduled::of(one.key, &after));
        Replayed::Done(after)
    }

    /// A delivery is called off during an attempt; whether it is pending.
    pub(in super::super) fn mark_off(&mut self, key: DeliveryKey) -> bool {
        let delivery = self.deliveries.get_mut(&key).filter(|one| is_pending(one));
        delivery.map(|one| one.called_off = true).is_some()
    }

    /// Some deliveries, pending and not.
    pub(in super::super) fn random_keys(&self, random: &mut fastrand::Rng) -> Vec<DeliveryKey> {
        let count = random.usize(..9);
        random.choose_multiple(self.deliveries.keys().copied(), count)
    }

    /// Of one of the deliveries, mostly of one that has ended.
    pub(in super::super) fn random_replay(&self, random: &mut fastrand::Rng, at: Timestamp) -> Replay {
        let any = random.u8(..8) == 0;
        let some = self.deliveries.iter().filter(|(_, one)| any || !is_pending(one)).map(|(key, _)| *key);
        let some: Vec<_> = some.collect();
        // They are few among all.
        let callbacks: Vec<_> =
            some.iter().copied().filter(|key| self.callback_of(*key, at).is_some()).collect();
        let unknown = DeliveryKey { seq: Seq::MAX, slot: 7 };
        let from = if random.u8(..4) == 0 { callbacks } else { some };
        let key = random.choice(from).unwrap_or(unknown);
        let wall = Timestamp::from_millis(at.as_millis() + 5);
        Replay { key, at, wall, callback: self.callback_of(key, at) }
    }

    /// Where a delivery goes, if it is a callback's.
    fn callback_of(&self, key: DeliveryKey, at: Timestamp) -> Option<Callback> {
        let endpoint = self.endpoints.get(&self.deliveries.get(&key)?.endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.origin().is_none()) {
            return None;
        }
        let url = self.events[&key.seq].new.url.clone()?;
        Some(Callback {
            origin: url.rsplit_once('/').expect("a path").0.into(),
            due: at,
            entry: Entry::Never,
            lasting: super::endpoints::lasting(at.as_millis() % 3),
            unavailable: None,
            most: MOST,
        })
    }
}

/// What came of it, for those who count.
pub(in super::super) const fn kind(replayed: &Replayed, replay: &Replay) -> &'static str {
    match replayed {
        Replayed::Done(_) if replay.callback.is_some() => "called again",
        Replayed::Done(delivery) if matches!(delivery.order, Order::Unjoined) => "replayed in order",
        Replayed::Done(_) => "replayed",
        Replayed::Missing => "replay: missing",
        Replayed::Pending => "replay: pending",
        Replayed::Deleted => "replay: deleted",
        Replayed::Discarding => "replay: discarding",
        Replayed::Full => "replay: full",
        Replayed::TooEarly => "replay: too early",
    }
}
