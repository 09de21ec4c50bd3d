//! The memory that payloads in open requests may take, `in_flight_bytes`.
//!
//! Half of it is for endpoints whose last attempt succeeded: dead ones that sit on large payloads until their
//! deadline cannot take it all, as they cannot take all of `in_flight`.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// The room; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Room>);

#[derive(Debug)]
struct Room {
    /// Kibibytes.
    all: Semaphore,
    all_size: u32,
    doubtful: Semaphore,
    doubtful_size: u32,
}

/// Part of the room, given back when dropped.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    _all: SemaphorePermit<'a>,
    _doubtful: Option<SemaphorePermit<'a>>,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let all_size = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).clamp(1, most);
        let doubtful_size = (all_size / 2).max(1);
        let semaphore = |size| Semaphore::new(usize::try_from(size).expect("no more than its maximum"));
        Self(Arc::new(Room {
            all: semaphore(all_size),
            all_size,
            doubtful: semaphore(doubtful_size),
            doubtful_size,
        }))
    }

    /// Room for `bytes` of payload, if there is some at once.
    pub(super) fn try_take(&self, bytes: u32, doubtful: bool) -> Option<Taken<'_>> {
        let Room { all, all_size, doubtful: half, doubtful_size } = &*self.0;
        let wanted = bytes / 1024 + 1;
        let half =
            if doubtful { Some(half.try_acquire_many(wanted.min(*doubtful_size)).ok()?) } else { None };
        let all = all.try_acquire_many(wanted.min(*all_size)).ok()?;
        Some(Taken { _all: all, _doubtful: half })
    }

    /// Waits for room for `bytes` of payload; one that is larger than all there is waits for all of it. `doubtful`:
    /// the endpoint's last attempt failed.
    pub(super) async fn take(&self, bytes: u32, doubtful: bool) -> Taken<'_> {
        let Room { all, all_size, doubtful: half, doubtful_size } = &*self.0;
        let wanted = bytes / 1024 + 1;
        // The half first: who waits for that holds nothing of what the others need.
        let half = if doubtful { Some(half.acquire_many(wanted.min(*doubtful_size)).await) } else { None };
        let all = all.acquire_many(wanted.min(*all_size)).await;
        let never_closed = "the semaphores are never closed";
        Taken { _all: all.expect(never_closed), _doubtful: half.map(|half| half.expect(never_closed)) }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use super::*;

    /// Whether there is room at once.
    async fn fits(memory: &Memory, bytes: u32, doubtful: bool) -> bool {
        let taken = pin!(memory.take(bytes, doubtful));
        let mut taken = Some(taken);
        std::future::poll_fn(|context| {
            Poll::Ready(taken.take().expect("polled once").poll(context).is_ready())
        })
        .await
    }

    #[tokio::test]
    async fn the_doubtful_leave_half_to_the_others() {
        let memory = Memory::new(64 << 10);
        let dead = memory.take(20 << 10, true).await;
        assert!(!fits(&memory, 20 << 10, true).await, "more than half");
        assert!(fits(&memory, 10 << 10, true).await);
        assert!(fits(&memory, 40 << 10, false).await, "the other half is free, and what is left of this one");
        drop(dead);
        assert!(fits(&memory, 20 << 10, true).await, "it comes back");
        assert!(
            fits(&memory, u32::MAX, true).await && fits(&memory, u32::MAX, false).await,
            "alone, anything fits"
        );
        let _live = memory.take(u32::MAX, false).await;
        assert!(!fits(&memory, 1, false).await && !fits(&memory, 1, true).await);
    }
}
