//! How many deliveries are pending for each endpoint.
//!
//! Counted by accept and settle, and by the scan at start; until that is done a count is too low by what the scan
//! has not reached. Shared with the status pages.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::model::{endpoint::EndpointNumber, numbers::BuildNumberHasher};

/// The counts; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Depths(Arc<Shared>);

type Counts = HashMap<EndpointNumber, u64, BuildNumberHasher>;

#[derive(Debug, Default)]
struct Shared {
    counts: Mutex<Counts>,
    full: AtomicU64,
    whole: AtomicBool,
    behind: AtomicU64,
    more: Notify,
}

impl Depths {
    /// How many deliveries are pending for `endpoint`.
    pub fn of(&self, endpoint: EndpointNumber) -> u64 {
        self.with(|counts| counts.get(&endpoint).copied().unwrap_or(0))
    }

    /// How many deliveries are pending.
    pub fn total(&self) -> u64 {
        self.with(|counts| counts.values().sum())
    }

    /// Waits until more are pending than before. For one who waits.
    pub async fn more(&self) {
        self.0.more.notified().await;
    }

    /// How many deliveries have failed as `endpoint_full` since the store was opened.
    pub fn full(&self) -> u64 {
        // Relaxed, here and below: nothing is ordered by this count.
        self.0.full.load(Ordering::Relaxed)
    }

    /// Says that the scan at start is at its end: from now on no count is too low.
    pub(super) fn set_whole(&self) {
        self.0.whole.store(true, Ordering::Release);
    }

    /// Whether the scan at start is at its end.
    pub fn are_whole(&self) -> bool {
        self.0.whole.load(Ordering::Acquire)
    }

    /// How many deliveries keep an order and are not the first in it. Too high while the scan at start goes on.
    pub fn behind(&self) -> u64 {
        self.0.behind.load(Ordering::Relaxed)
    }

    /// Counts more of these.
    pub(super) fn went_behind(&self, count: usize) {
        self.0.behind.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts fewer of these.
    pub(super) fn came_forward(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let less = |behind: u64| Some(behind.saturating_sub(count));
        // `less` always gives one.
        let _ = self.0.behind.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Counts what the scan at start has found.
    pub(super) fn found(&self, endpoints: impl Iterator<Item = EndpointNumber>) {
        self.with(|counts| endpoints.for_each(|endpoint| *counts.entry(endpoint).or_default() += 1));
        self.0.more.notify_one();
    }

    /// Counts one more, unless there are `limit` already.
    pub(super) fn take_place(&self, endpoint: EndpointNumber, limit: u64) -> bool {
        let taken = self.with(|counts| {
            let count = counts.entry(endpoint).or_default();
            let free = *count < limit;
            *count += u64::from(free);
            self.0.full.fetch_add(u64::from(!free), Ordering::Relaxed);
            free
        });
        if taken {
            self.0.more.notify_one();
        }
        taken
    }

    /// Counts one less; says how many are left.
    pub(super) fn give_back(&self, endpoint: EndpointNumber) -> u64 {
        self.with(|counts| {
            let count = counts.entry(endpoint).or_default();
            *count = count.saturating_sub(1);
            *count
        })
    }

    /// Counts one that found no place anywhere.
    pub(super) fn find_no_place(&self) {
        self.0.full.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts no more for an endpoint that is there no more.
    pub(super) fn forget(&self, endpoint: EndpointNumber) {
        self.with(|counts| counts.remove(&endpoint));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        // Counts have no state between two steps that a panic could have cut short.
        work(&mut self.0.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
