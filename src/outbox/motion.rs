//! Whether the store's file is being worked on: a start or a stop that takes long is told by it from one that hangs.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A count of what has been done with the file; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Motion(Arc<AtomicU64>);

impl Motion {
    /// How many reads and writes have come to their end.
    pub fn count(&self) -> u64 {
        // Relaxed, here and below: nothing is ordered by it.
        self.0.load(Ordering::Relaxed)
    }

    /// Counts another.
    pub(super) fn goes_on(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
