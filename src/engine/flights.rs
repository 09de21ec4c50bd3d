//! The attempts that are being made, each a task of its own.
//!
//! Of each that begins it is heard once how it ended, in the order in which they end; also of one that panicked, and of
//! one that was cut off. Dropped, it cuts off all of them.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll, ready},
};

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

/// A task: an attempt, and what says that it is over, however it ends. In this order they are dropped, so that of what an
/// attempt holds nothing is left when it is heard of.
struct Flight<F> {
    attempt: Pin<Box<F>>,
    landing: Landing,
}

impl<F: Future<Output = Ended>> Future for Flight<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ended = ready!(self.attempt.as_mut().poll(context));
        self.landing.ended = Some(ended);
        Poll::Ready(())
    }
}

struct Landing {
    start: Start,
    ended: Option<Ended>,
    sender: mpsc::UnboundedSender<Landed>,
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

    /// Begins `attempt`, of a delivery of which no other is under way; in a box, for tasks are moved about as they begin.
    pub(super) fn begin<F>(&mut self, start: Start, attempt: Pin<Box<F>>)
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let landing = Landing { start, ended: None, sender: self.sender.clone() };
        let task = tokio::spawn(Flight { attempt, landing });
        self.under_way.insert(start.key, task.abort_handle());
    }

    /// Waits until one is over, at least, and adds some of those that are to `all`. Dropped before its end it has taken none.
    pub(super) async fn wait(&mut self, all: &mut Vec<Landed>) {
        // The others are taken in a moment.
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
        flights.begin(start(1), Box::pin(async { Ended::NotPending }));
        flights.begin(start(2), Box::pin(async { panic::resume_unwind(Box::new("a bug")) }));
        flights.begin(start(3), Box::pin(pending()));
        let mut all = heard(&mut flights).await;
        while all.len() < 2 {
            all.extend(heard(&mut flights).await);
        }
        all.sort_unstable();
        assert_eq!(all, [(1, true), (2, false)]);
        assert!(!flights.is_empty());
        flights.begin(start(1), Box::pin(async { Ended::NotPending }));
        assert_eq!(heard(&mut flights).await, [(1, true)], "again");
        flights.cut_off().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_is_cut_off_is_over_afterwards() {
        for dropped in [[false, true]; 100].into_iter().flatten() {
            let mut flights = Flights::new();
            let held = Arc::new(());
            for seq in 1..=40 {
                let held = Arc::clone(&held);
                let attempt = async move {
                    let ended = pending().await;
                    drop(held);
                    ended
                };
                flights.begin(start(seq), Box::pin(attempt));
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
