//! The attempts that are being made, each a task of its own.
//!
//! Of each that begins it is heard once how it ended, in the order in which they end; also of one that panicked, and of
//! one that was cut off. Dropped, it cuts off all of them.

use std::collections::HashMap;

use tokio::{sync::mpsc, task::AbortHandle};

use super::attempt::Ended;
use crate::{
    model::{delivery::DeliveryKey, numbers::BuildNumberHasher},
    scheduler::Start,
};

/// An attempt that is over: which, and what came of it. `None`: it panicked, or was cut off.
pub(super) type Landed = (Start, Option<Ended>);

/// The attempts.
pub(super) struct Flights {
    under_way: HashMap<DeliveryKey, AbortHandle, BuildNumberHasher>,
    sender: mpsc::UnboundedSender<Landed>,
    landed: mpsc::UnboundedReceiver<Landed>,
}

/// Held by an attempt: says that it is over, however it ends.
struct Landing {
    start: Start,
    ended: Option<Ended>,
    sender: mpsc::UnboundedSender<Landed>,
}

impl Landing {
    fn say(mut self, ended: Ended) {
        self.ended = Some(ended);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        // With the engine gone nobody needs to know.
        let _ = self.sender.send((self.start, self.ended.take()));
    }
}

impl Flights {
    pub(super) fn new() -> Self {
        let (sender, landed) = mpsc::unbounded_channel();
        Self { under_way: HashMap::default(), sender, landed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Begins `attempt`, of a delivery of which no other is under way.
    pub(super) fn begin(&mut self, start: Start, attempt: impl Future<Output = Ended> + Send + 'static) {
        let landing = Landing { start, ended: None, sender: self.sender.clone() };
        // In a box: tasks are moved about as they begin and end.
        let attempt = Box::pin(attempt);
        let task = tokio::spawn(async move { landing.say(attempt.await) });
        self.under_way.insert(start.key, task.abort_handle());
    }

    /// Waits until one is over, at least, and adds those that are to `all`. Dropped before its end it has taken none.
    pub(super) async fn wait(&mut self, all: &mut Vec<Landed>) {
        // Few at once: others are added in a moment.
        self.landed.recv_many(all, 16).await;
    }

    /// Adds to `all` what is over besides, and counts them out.
    pub(super) fn take(&mut self, all: &mut Vec<Landed>) {
        all.extend(std::iter::from_fn(|| self.landed.try_recv().ok()));
        for (start, _) in &*all {
            self.under_way.remove(&start.key);
        }
    }

    /// Cuts off all of them, and waits until they are over.
    pub(super) async fn cut_off(mut self) {
        self.abort();
        while !self.is_empty() {
            // There always is a sender: our own.
            let Some((start, _)) = self.landed.recv().await else { return };
            self.under_way.remove(&start.key);
        }
    }

    fn abort(&self) {
        self.under_way.values().for_each(AbortHandle::abort);
    }
}

impl Drop for Flights {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, panic, sync::Arc};

    use super::*;
    use crate::model::{endpoint::EndpointNumber, event::Seq};

    fn start(seq: u64) -> Start {
        let key = DeliveryKey { seq: Seq::new(seq), slot: 0 };
        Start { key, lane: EndpointNumber::new(1), probe: false }
    }

    async fn heard(flights: &mut Flights) -> Vec<(u64, bool)> {
        let mut all = Vec::new();
        flights.wait(&mut all).await;
        flights.take(&mut all);
        all.into_iter().map(|(start, ended)| (start.key.seq.get(), ended.is_some())).collect()
    }

    #[tokio::test]
    async fn of_each_it_is_heard_once_also_of_one_that_panics() {
        let mut flights = Flights::new();
        assert!(flights.is_empty());
        flights.begin(start(1), async { Ended::NotPending });
        flights.begin(start(2), async { panic::resume_unwind(Box::new("a bug")) });
        flights.begin(start(3), pending());
        let mut all = heard(&mut flights).await;
        while all.len() < 2 {
            all.extend(heard(&mut flights).await);
        }
        all.sort_unstable();
        assert_eq!(all, [(1, true), (2, false)]);
        assert!(!flights.is_empty());
        flights.begin(start(1), async { Ended::NotPending });
        assert_eq!(heard(&mut flights).await, [(1, true)], "again");
        flights.cut_off().await;
    }

    #[tokio::test]
    async fn what_is_cut_off_is_over_afterwards() {
        for dropped in [false, true] {
            let mut flights = Flights::new();
            let held = Arc::new(());
            for seq in 1..=40 {
                let held = Arc::clone(&held);
                flights.begin(start(seq), async move {
                    let _held = held;
                    pending().await
                });
            }
            if dropped {
                drop(flights);
                while Arc::strong_count(&held) > 1 {
                    tokio::task::yield_now().await;
                }
            } else {
                flights.cut_off().await;
                assert_eq!(Arc::strong_count(&held), 1);
            }
        }
    }
}
