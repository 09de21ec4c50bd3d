//! Reading what is pending from the store, in pages, beside the engine: at the start all of it, later what has
//! expired while something held it, and what its endpoint has called off.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    task,
};

use super::{Handle, directory::Directory};
use crate::{
    clock::Clock,
    logging::Kind,
    model::{
        delivery::{Delivery, DeliveryKey, FailReason, Group, Order, Scheduled},
        endpoint::EndpointNumber,
        event::Seq,
        time::Minute,
    },
    outbox::{Backlog, Change, Heads, Outbox, Reader, StoreError},
    policy::decide,
};

/// Deliveries of a page: some 10 ms of reading.
const PAGE: usize = 5_000;
/// Deliveries that a sweep has ended at once.
const STEP: usize = 256;
/// How often what is pending is looked through for what has expired. A delivery whose turn comes is looked at then
/// anyway; this is for those that are held.
const SWEEP: Duration = Duration::from_secs(300);
/// How soon what is called off is looked through again, because an attempt had one of it; each time twice as long.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The longest that gets.
const LOOK_SELDOM: Duration = Duration::from_secs(60);

/// A page of the backlog.
#[derive(Debug)]
pub(super) struct Page {
    /// What is pending.
    pub(super) found: Vec<(DeliveryKey, Delivery)>,
    /// Groups whose first delivery cannot be read.
    pub(super) stuck: Vec<(EndpointNumber, Group)>,
    /// How many of what was found before are the first in their order.
    pub(super) heads: usize,
    /// What can be scheduled: no other comes before it, and it is not on disk already for want of room.
    pub(super) unparked: Vec<Scheduled>,
    /// With the last page: whose keys are on disk, from which minute on.
    pub(super) parked: Vec<(EndpointNumber, Minute)>,
    /// There are no more: without this word the backlog has not been read to its end.
    pub(super) last: bool,
}

/// How far the backlog is read.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The row of deliveries to go on at.
    Row(u64),
    /// All is found; the group to go on at, of those that keep an order. Nothing of such a group is scheduled before: its
    /// head is the one that it had at the start, unless all of it is newer than that.
    Group(EndpointNumber, Group),
}

/// Reads the backlog up to `until`.
pub(super) fn read(outbox: Outbox, until: Seq) -> mpsc::Receiver<Result<Page, StoreError>> {
    let (sender, receiver) = mpsc::channel(2);
    task::spawn_blocking(move || {
        let mut from = Some(Place::Row(0));
        while let Some(place) = from {
            let page = outbox.read().and_then(|reader| match place {
                Place::Row(row) => read_page(&reader, row, until),
                Place::Group(endpoint, group) => read_heads(&reader, (endpoint, group), until),
            });
            let failed = page.is_err();
            let page = page.map(|(page, next)| {
                from = next;
                page
            });
            // An engine that has gone needs no more.
            if sender.blocking_send(page).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Reads a page of all that is pending, and where the next one begins.
fn read_page(reader: &Reader, from: u64, until: Seq) -> Result<(Page, Option<Place>), StoreError> {
    let Backlog { found, unreadable, next } = reader.backlog(from, until, PAGE)?;
    for error in unreadable {
        tracing::error!(kind = Kind::RowUnreadable.word(), %error, "the deliveries of an event cannot be read: they are left alone");
    }
    let alone = found.iter().filter(|(_, delivery)| !matches!(delivery.order, Order::Place(_)));
    let mut unparked = alone.map(|(key, delivery)| Scheduled::of(*key, delivery)).collect();
    reader.retain_unparked(&mut unparked)?;
    let next = next.map_or(Place::Group(EndpointNumber::new(0), Group::KEYLESS), Place::Row);
    Ok((Page { found, stuck: Vec::new(), heads: 0, unparked, parked: Vec::new(), last: false }, Some(next)))
}

/// Reads a page of what is first in its order, and where the next one begins.
fn read_heads(
    reader: &Reader,
    from: (EndpointNumber, Group),
    until: Seq,
) -> Result<(Page, Option<Place>), StoreError> {
    let Heads { found, unreadable, next } = reader.heads(from, until, PAGE)?;
    let pass_over = |(group, error): (_, StoreError)| {
        tracing::error!(kind = Kind::RowUnreadable.word(), %error, "a delivery that others wait for cannot be read: it is left alone, and the next goes");
        group
    };
    let stuck = unreadable.into_iter().map(pass_over).collect();
    let heads = found.len();
    let mut unparked = found;
    reader.retain_unparked(&mut unparked)?;
    let parked = if next.is_none() { reader.parked_lanes()? } else { Vec::new() };
    let next = next.map(|(endpoint, group)| Place::Group(endpoint, group));
    Ok((Page { found: Vec::new(), stuck, heads, unparked, parked, last: next.is_none() }, next))
}

/// Looks through what is pending every [`SWEEP`], and has the engine end what has expired.
pub(super) async fn sweep(outbox: Outbox, directory: Arc<Directory>, clock: Clock, engine: Handle) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if outbox.depths().total() == 0 {
            continue;
        }
        if let Err(error) = sweep_once(&outbox, &directory, clock, &engine).await {
            tracing::warn!(kind = Kind::PassFailed.word(), %error, "cannot look for expired deliveries");
        }
    }
}

/// Goes through all that is pending once, and has the engine end what has expired.
pub(super) async fn sweep_once(
    outbox: &Outbox,
    directory: &Arc<Directory>,
    clock: Clock,
    engine: &Handle,
) -> Result<(), StoreError> {
    let directory = Arc::clone(directory);
    let expired = move |_: DeliveryKey, delivery: &Delivery| {
        let (now, expire) = (clock.now(), directory.target(delivery.endpoint)?.expire()?);
        (delivery.expires(expire) <= now).then(|| decide::fail(delivery, FailReason::Expired, now))
    };
    end_each(outbox, engine, expired).await.map(drop)
}

/// Whenever it is `told` to, has the engine end what endpoints have called off, until all of it has ended. What is on
/// disk says which endpoints these are: a start goes on where the last one was cut off.
pub(super) async fn discard(outbox: Outbox, directory: Arc<Directory>, engine: Handle, told: Arc<Notify>) {
    let mut pause = LOOK_AGAIN;
    // Nothing can be ended before the backlog is read; its end tells as well.
    told.notified().await;
    loop {
        if directory.discarding().is_empty() {
            told.notified().await;
            pause = LOOK_AGAIN;
            continue;
        }
        if let Err(error) = discard_once(&outbox, &directory, &engine).await {
            tracing::warn!(kind = Kind::PassFailed.word(), %error, "cannot cancel what was called off");
        }
        if !directory.discarding().is_empty() {
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = LOOK_SELDOM.min(pause * 2),
                () = told.notified() => pause = LOOK_AGAIN,
            }
        }
    }
}

/// Goes through all that is pending once, and has the engine end what is called off. An endpoint of which nothing was
/// left needs its mark no more.
pub(super) async fn discard_once(
    outbox: &Outbox,
    directory: &Arc<Directory>,
    engine: &Handle,
) -> Result<(), StoreError> {
    let marks = directory.discarding();
    let all = Arc::clone(directory);
    let called_off = move |key: DeliveryKey, delivery: &Delivery| {
        let (reason, at) = all.target(delivery.endpoint)?.stored.calls_off(key.seq)?;
        Some(decide::call_off(delivery, reason, at))
    };
    let found = end_each(outbox, engine, called_off).await?;
    for (number, below) in marks.into_iter().filter(|(number, _)| !found.contains(number)) {
        outbox.change(Change::Discarded { number, below }).await?;
        directory.discarded(number, below);
    }
    Ok(())
}

/// Goes through all that is pending once, a page and a [`STEP`] at a time, and has the engine end what `ended` gives the
/// end of; each step waits until the one before is on disk, so that neither the engine nor the writer has more than one
/// of it before them. Says of which endpoints that was.
async fn end_each(
    outbox: &Outbox,
    engine: &Handle,
    ended: impl Fn(DeliveryKey, &Delivery) -> Option<Delivery> + Send + Sync + 'static,
) -> Result<HashSet<EndpointNumber>, StoreError> {
    let ended = Arc::new(ended);
    let mut endpoints = HashSet::new();
    let mut from = Some(0);
    while let Some(place) = from {
        let (outbox, ended) = (outbox.clone(), Arc::clone(&ended));
        let page = task::spawn_blocking(move || {
            let Backlog { found, next, .. } = outbox.read()?.backlog(place, Seq::MAX, PAGE)?;
            let ended = |(key, delivery)| Some((key, ended(key, &delivery)?));
            Ok((found.into_iter().filter_map(ended).collect::<Vec<_>>(), next))
        });
        let (found, next) = page.await.unwrap_or(Err(StoreError::Stopped))?;
        from = next;
        for step in found.chunks(STEP) {
            endpoints.extend(step.iter().map(|(_, delivery)| delivery.endpoint));
            engine.end(step.to_vec()).await;
        }
    }
    Ok(endpoints)
}
