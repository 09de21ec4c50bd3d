//! Counters since the daemon's start: plain atomics, passed as a handle.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `by` more.
    pub fn add(&self, by: usize) {
        // Relaxed: nothing is ordered by a count.
        self.0.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many it has counted.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counters>);

/// All counters.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events accepted.
    pub accepted: Counter,
    /// Events that were known already.
    pub duplicates: Counter,
    /// Events refused.
    pub refused: Counter,
    /// Requests made.
    pub attempts: Counter,
    /// Deliveries that succeeded.
    pub succeeded: Counter,
    /// Deliveries that failed.
    pub failed: Counter,
}

impl std::ops::Deref for Metrics {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}
