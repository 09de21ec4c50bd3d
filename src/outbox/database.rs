//! The open database, shared by the writer, the readers and the scan of ids.
//!
//! Closing takes it away from all of them, so that the file is closed and unlocked then, whoever still has a handle;
//! what is read afterwards fails with [`StoreError::Stopped`], or with redb's word for it in the middle of a read.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::error::{StoreError, contain};

/// The database until it is closed; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Handle>);

#[derive(Debug)]
struct Handle(RwLock<Option<Database>>);

impl Shared {
    pub(super) fn new(database: Database) -> Self {
        Self(Arc::new(Handle(RwLock::new(Some(database)))))
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.lock().as_ref().ok_or(StoreError::Stopped)?.begin_read()?)
    }

    /// For the one writer: a second write transaction would wait for the first, and a close for both.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        Ok(self.lock().as_ref().ok_or(StoreError::Stopped)?.begin_write()?)
    }

    /// Closes the database; later calls do nothing.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.0.close()
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<Database>> {
        // The only change is one `take`: a panic cannot leave it half done.
        self.0.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn close(&self) -> Result<(), StoreError> {
        let database = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        database.map_or(Ok(()), |database| Ok(contain(|| database.close())??))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to be told. Not left to redb: after a panic of its own it panics here as well, in whichever
        // thread has the last handle.
        let _ = self.close();
    }
}
