//! The store's file on a disk that may be full: where there is no space, the reserve is given up and the work done again.
//!
//! A write and a change of length can be done again: they are at fixed places. A sync cannot: of pages that were lost in it
//! the next one says nothing. Then the reserve is given up for the start that follows, and the commit fails.

use std::{io, ops::Bound};

use redb::{BackendError, StorageBackend};

use super::room::Room;

/// A file whose writer is told of a full disk only when nothing is left to give up.
#[derive(Debug)]
pub(super) struct Guarded<B> {
    file: B,
    room: Room,
}

type Locked<T> = Result<T, BackendError>;

impl<B: StorageBackend> Guarded<B> {
    /// `file`, on the disk of `room`.
    pub(super) const fn new(file: B, room: Room) -> Self {
        Self { file, room }
    }

    fn again_with_the_reserve(&self, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match work() {
                Err(error) if is_full(&error) && self.room.run_out() => {}
                done => return done,
            }
        }
    }
}

/// Whether an error says that there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl<B: StorageBackend> StorageBackend for Guarded<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.again_with_the_reserve(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.file.sync_data();
        if synced.as_ref().is_err_and(is_full) {
            self.room.run_out();
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.again_with_the_reserve(|| self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.query_lock_range(start, end)
    }
}
