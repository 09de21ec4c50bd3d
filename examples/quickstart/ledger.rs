//! The ledger: what posthaste acknowledged, against what it has in its outbox, against what was received.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use posthaste::{
    api::view::{DeliveryDetail, DeliveryItem, EventItem, Page},
    cli::client::{self, Query},
    model::{attempt::Why, delivery::Status},
};

use crate::{Result, producer, receivers::Arrival};

/// The sums.
pub(crate) struct Ledger {
    pub(crate) accepted: usize,
    pub(crate) delivered: usize,
    pub(crate) lost: usize,
    pub(crate) failed_attempts: usize,
    /// Deliveries that a receiver took more than once.
    pub(crate) repeated: usize,
    /// Deliveries whose history says that they may be repeats.
    pub(crate) after_crash: usize,
    /// Repeats whose history does not say so.
    unmarked: usize,
    /// Events in the outbox that are not the acknowledged ones, each once.
    surplus: usize,
}

/// Compares the ids that were acknowledged with the daemon's own lists and with what was received.
pub(crate) fn draw_up(socket: &Path, accepted: &[String], received: &[Arrival]) -> Result<Ledger> {
    let daemon = producer::connect(socket)?;
    let whole = || Query::default().with("limit", Some(500));
    let events: Page<EventItem> = client::parse(&daemon.get("/v1/events", &whole())?)?;
    let deliveries: Page<DeliveryItem> = client::parse(&daemon.get("/v1/deliveries", &whole())?)?;

    let mut marked = HashSet::new();
    for delivery in &deliveries.items {
        let path = format!("/v1/deliveries/{}", delivery.id);
        let detail: DeliveryDetail = client::parse(&daemon.get(&path, &Query::default())?)?;
        if detail.attempts.iter().any(|attempt| attempt.why == Why::AfterCrash) {
            marked.insert(delivery.id.to_string());
        }
    }

    let arrived = delivered(received, |_| true);
    let kept: HashSet<_> = events.items.iter().map(|event| event.id.to_string()).collect();
    let done = deliveries.items.iter().filter(|delivery| {
        delivery.status == Status::Succeeded && arrived.contains(delivery.id.to_string().as_str())
    });
    let done: HashSet<_> = done.map(|delivery| delivery.event_id.to_string()).collect();
    let repeated: HashSet<_> = repeats(received).into_iter().map(|arrival| arrival.delivery_id).collect();
    Ok(Ledger {
        accepted: accepted.iter().filter(|id| kept.contains(*id)).count(),
        delivered: done.len(),
        lost: accepted.iter().filter(|id| !kept.contains(*id) || !done.contains(*id)).count(),
        failed_attempts: received.iter().filter(|arrival| arrival.answer != 200).count(),
        repeated: repeated.len(),
        after_crash: marked.len(),
        unmarked: repeated.difference(&marked).count(),
        surplus: kept.len().abs_diff(accepted.len()),
    })
}

impl Ledger {
    /// Whether posthaste kept its promises.
    pub(crate) fn check(&self) -> Result<()> {
        if self.lost > 0 || self.delivered != self.accepted {
            return Err("the ledger does not balance: an acknowledged event was not delivered".into());
        }
        if self.surplus > 0 {
            return Err("the outbox does not hold each acknowledged event once, and nothing else".into());
        }
        if self.unmarked > 0 {
            return Err("a delivery came twice, and its history does not say that it may have".into());
        }
        Ok(())
    }
}

/// The ids of the deliveries that a receiver took, among the requests that are `wanted`.
pub(crate) fn delivered(received: &[Arrival], wanted: impl Fn(&Arrival) -> bool) -> HashSet<&str> {
    let taken = received.iter().filter(|arrival| arrival.answer == 200 && wanted(arrival));
    taken.map(|arrival| arrival.delivery_id.as_str()).collect()
}

/// The requests of deliveries that had been taken already.
pub(crate) fn repeats(received: &[Arrival]) -> Vec<Arrival> {
    let mut taken: HashMap<&str, usize> = HashMap::new();
    let mut repeats = Vec::new();
    for arrival in received.iter().filter(|arrival| arrival.answer == 200) {
        let count = taken.entry(&arrival.delivery_id).or_default();
        *count += 1;
        if *count > 1 {
            repeats.push(arrival.clone());
        }
    }
    repeats
}
