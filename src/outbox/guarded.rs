//! The store's file on a disk that may be full: where there is no space, the reserve is given up and the work done again.
//!
//! So it is done again if space was given up while it failed, by whoever looks whether the reserve can be made.
//! A write and a change of length can be done again: they are at fixed places. A sync cannot: of pages that were lost in it
//! the next one says nothing. Then the reserve is given up for the start that follows, and the commit fails.

use std::{io, ops::Bound};

use redb::{BackendError, StorageBackend};

use super::{motion::Motion, room::Room};

/// A file whose writer is told of a full disk only when nothing is left to give up.
#[derive(Debug)]
pub(super) struct Guarded<B> {
    file: B,
    room: Room,
    motion: Motion,
}

type Locked<T> = Result<T, BackendError>;

impl<B: StorageBackend> Guarded<B> {
    /// `file`, on the disk of `room`; what is done with it is counted in `motion`.
    pub(super) const fn new(file: B, room: Room, motion: Motion) -> Self {
        Self { file, room, motion }
    }

    fn again_with_the_reserve(&self, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            let given_up = self.room.given_up();
            match work() {
                Err(error) if is_full(&error) && self.room.run_out(given_up) => {}
                done => {
                    self.motion.goes_on();
                    return done;
                }
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
        let read = self.file.read(offset, out);
        self.motion.goes_on();
        read
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.again_with_the_reserve(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let given_up = self.room.given_up();
        let synced = self.file.sync_data();
        if synced.as_ref().is_err_and(is_full) {
            self.room.run_out(given_up);
        }
        self.motion.goes_on();
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

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        fs::File,
        path::PathBuf,
        sync::{Arc, Barrier},
        thread,
    };

    use redb::backends::InMemoryBackend;
    use rustix::io::Errno;

    use super::{
        super::{
            Options,
            ground::{Ground, Local},
            tests::options,
        },
        *,
    };

    /// Under a quota that has no room for the reserve: while somebody tries to make it, there is none for others.
    #[derive(Clone, Debug)]
    struct Quota {
        eaten: Arc<Barrier>,
        others_failed: Arc<Barrier>,
    }

    impl Ground for Quota {
        fn free(&self) -> Option<u64> {
            Some(1 << 40)
        }

        fn allocate(&self, file: &File, size: u64) -> io::Result<bool> {
            Local(PathBuf::new()).allocate(file, size / 2)?;
            self.eaten.wait();
            self.others_failed.wait();
            Err(Errno::DQUOT.into())
        }
    }

    type Work = fn(&Guarded<InMemoryBackend>) -> io::Result<()>;

    #[test]
    fn whatever_is_done_with_the_file_counts_as_motion() {
        let directory = tempfile::tempdir().expect("a directory");
        let room = Room::beside(&directory.path().join("store"), &options());
        let motion = Motion::default();
        let file = Guarded::new(InMemoryBackend::new(), room, motion.clone());
        let works: [Work; 4] = [
            |file| file.set_len(8),
            |file| file.write(0, b"12345678"),
            |file| file.read(0, &mut [0; 8]),
            StorageBackend::sync_data,
        ];
        for (work, count) in works.into_iter().zip(1..) {
            work(&file).expect("it works");
            assert_eq!(motion.count(), count);
        }
    }

    #[test]
    fn a_write_that_fails_while_the_reserve_is_tried_is_done_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let quota = Quota { eaten: Arc::new(Barrier::new(2)), others_failed: Arc::new(Barrier::new(2)) };
        let options = Options { reserve: 1 << 20, ..options() };
        let room = Room::on(Box::new(quota.clone()), &directory.path().join("store"), &options);
        let file = Guarded::new(InMemoryBackend::new(), room.clone(), Motion::default());
        let times = Cell::new(0);
        let write = || {
            times.set(times.get() + 1);
            if times.get() > 1 {
                return Ok(());
            }
            quota.eaten.wait();
            quota.others_failed.wait();
            Err(Errno::DQUOT.into())
        };
        let looking = {
            let room = room.clone();
            thread::spawn(move || room.look())
        };
        let written = file.again_with_the_reserve(write);
        looking.join().expect("it has looked");
        written.expect("there is room when nobody tries");
        assert_eq!(times.get(), 2);
        assert!(room.door().borrow().disk_full);
        let refused: io::Result<()> = file.again_with_the_reserve(|| Err(Errno::DQUOT.into()));
        assert!(refused.is_err(), "there is an end to it");
    }
}
