//! What the store promises of forgetting.

use super::{Model, is_pending};
use crate::{
    model::{
        delivery::{DeliveryKey, State},
        event::Seq,
        time::Timestamp,
    },
    outbox::Due,
};

/// What came of it: how many events were looked at, how many of these have gone, and with how many rows.
pub(in crate::outbox::tests) type Gone = (usize, u64, u64);

impl Model {
    pub(in crate::outbox::tests) fn forget(&mut self, due: &[Due], most: u64) -> Gone {
        let (mut looked_at, mut events, mut rows) = (0, 0, 0);
        self.least_attempt = self.next_attempt();
        for one in due {
            if rows >= most {
                break;
            }
            looked_at += 1;
            if one.seq < self.last_seq() && self.goes(*one) {
                events += 1;
                rows += self.remove(one.seq);
            }
        }
        self.gone += events;
        (looked_at, events, rows)
    }

    fn goes(&self, due: Due) -> bool {
        let deliveries = self.deliveries_of(due.seq);
        let succeeded = deliveries.iter().all(|delivery| delivery.state == State::Succeeded);
        self.events.contains_key(&due.seq)
            && !deliveries.iter().any(is_pending)
            && if succeeded { due.if_succeeded } else { due.if_failed }
    }

    /// Removes an event, and says how many rows that were.
    fn remove(&mut self, seq: Seq) -> u64 {
        let deliveries = self.deliveries_of(seq).len();
        let attempts = self.attempts.len();
        self.events.remove(&seq);
        self.deliveries.retain(|key, _| key.seq != seq);
        self.attempts.retain(|_, attempt| attempt.delivery.seq != seq);
        let rows = deliveries.div_ceil(128).max(1) + 1 + attempts - self.attempts.len();
        u64::try_from(rows).expect("fits")
    }

    /// Some events, most of which have ended, and one that was never there; always the same at `now`.
    pub(in crate::outbox::tests) fn random_due(&self, now: Timestamp) -> Vec<Due> {
        let mut random = fastrand::Rng::with_seed(now.as_millis() + 1);
        if random.u8(..3) > 0 {
            return Vec::new();
        }
        let mut all: Vec<Seq> = self.events.keys().copied().collect();
        all.retain(|seq| self.has_ended(*seq) || random.u8(..8) == 0);
        // The newest now and then, and what has gone already.
        let last = random.u64(..self.last_seq().get() + 2);
        all.push(Seq::new(last));
        random.shuffle(&mut all);
        all.truncate(random.usize(1..8));
        let due = |seq| Due { seq, if_succeeded: random.u8(..4) > 0, if_failed: random.bool() };
        all.into_iter().map(due).collect()
    }

    fn has_ended(&self, seq: Seq) -> bool {
        let (first, last) = (DeliveryKey { seq, slot: 0 }, DeliveryKey { seq, slot: u16::MAX });
        !self.deliveries.range(first..=last).any(|(_, delivery)| is_pending(delivery))
    }
}
