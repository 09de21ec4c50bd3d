//! Reading what is pending from the store, in pages, beside the engine: at the start all of it, later what has
//! expired while something held it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task};

use super::{Handle, directory::Directory};
use crate::{
    clock::Clock,
    model::{
        delivery::Scheduled,
        endpoint::EndpointNumber,
        event::Seq,
        time::{Minute, Timestamp},
    },
    outbox::{Backlog, Outbox, Reader, StoreError},
};

/// Deliveries of a page: some 10 ms of reading.
const PAGE: usize = 5_000;
/// Deliveries that a sweep has ended at once.
const STEP: usize = 256;
/// How often what is pending is looked through for what has expired. A delivery whose turn comes is looked at then
/// anyway; this is for those that are held.
const SWEEP: Duration = Duration::from_secs(300);

/// A page of the backlog.
#[derive(Debug)]
pub(super) struct Page {
    /// What is pending.
    pub(super) found: Vec<Scheduled>,
    /// Those among it that are not on disk already for want of room.
    pub(super) unparked: Vec<Scheduled>,
    /// With the last page: whose keys are on disk, from which minute on.
    pub(super) parked: Vec<(EndpointNumber, Minute)>,
    /// There are no more: without this word the backlog has not been read to its end.
    pub(super) last: bool,
}

/// Reads the backlog up to `until`.
pub(super) fn read(outbox: Outbox, until: Seq) -> mpsc::Receiver<Result<Page, StoreError>> {
    let (sender, receiver) = mpsc::channel(2);
    task::spawn_blocking(move || {
        let mut from = Some(0);
        while let Some(place) = from {
            let page = outbox.read().and_then(|reader| read_page(&reader, place, until));
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

/// Reads a page, and where the next one begins.
fn read_page(reader: &Reader, from: u64, until: Seq) -> Result<(Page, Option<u64>), StoreError> {
    let Backlog { found, unreadable, next } = reader.backlog(from, until, PAGE)?;
    for error in unreadable {
        tracing::error!(%error, "the deliveries of an event cannot be read: they are left alone");
    }
    let found: Vec<_> = found.iter().map(|(key, delivery)| Scheduled::of(*key, delivery)).collect();
    let mut unparked = found.clone();
    reader.retain_unparked(&mut unparked)?;
    let parked = if next.is_none() { reader.parked_lanes()? } else { Vec::new() };
    Ok((Page { found, unparked, parked, last: next.is_none() }, next))
}

/// Looks through what is pending every [`SWEEP`], and has the engine end what has expired.
pub(super) async fn sweep(outbox: Outbox, directory: Arc<Directory>, clock: Clock, engine: Handle) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if outbox.depths().total() == 0 {
            continue;
        }
        if let Err(error) = sweep_once(&outbox, &directory, clock, &engine).await {
            tracing::warn!(%error, "cannot look for expired deliveries");
        }
    }
}

/// Goes through all that is pending once, a page and a [`STEP`] at a time; each step waits until the one before is on
/// disk, so that neither the engine nor the writer has more than one of it before them.
pub(super) async fn sweep_once(
    outbox: &Outbox,
    directory: &Arc<Directory>,
    clock: Clock,
    engine: &Handle,
) -> Result<(), StoreError> {
    let mut from = Some(0);
    while let Some(place) = from {
        let (outbox, directory) = (outbox.clone(), Arc::clone(directory));
        let page = task::spawn_blocking(move || read_expired(&outbox, &directory, place, clock.now()));
        let page = page.await.unwrap_or(Err(StoreError::Stopped))?;
        from = page.next;
        for step in page.found.chunks(STEP) {
            engine.expire(step.to_vec()).await;
        }
    }
    Ok(())
}

/// A page of what is pending, without what has not expired at `now`.
fn read_expired(
    outbox: &Outbox,
    directory: &Directory,
    from: u64,
    now: Timestamp,
) -> Result<Backlog, StoreError> {
    let mut page = outbox.read()?.backlog(from, Seq::MAX, PAGE)?;
    page.found.retain(|(_, delivery)| {
        let expire = directory.target(delivery.endpoint).and_then(|target| target.expire());
        expire.is_some_and(|expire| delivery.expires(expire) <= now)
    });
    Ok(page)
}
