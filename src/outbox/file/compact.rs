//! Compaction: pages are moved to the front of the file, and the file is cut where nothing follows.
//!
//! redb moves a part of the pages in each of several transactions, with two syncs each, until no more can be moved. Where one
//! of them fails, for want of space or because the power does, the file is as after the last that did not: whole, with
//! nothing lost, and shorter than at the beginning or not. A page is written to its new place before its old one is given
//! up; as the file may have holes at its front, that can take space that the disk counts as free.

use std::{fs, os::unix::fs::MetadataExt as _};

use super::Stopped;
use crate::outbox::{
    error::{StoreError, contain},
    guarded::is_full,
};

/// What a compaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The file's length before.
    pub before: u64,
    /// And after.
    pub after: u64,
    /// The bytes that it took up on the disk before.
    pub taken_before: u64,
    /// And after.
    pub taken_after: u64,
}

impl Stopped {
    /// Makes the file as short as it can be, and closes it.
    ///
    /// # Errors
    /// It could not be read or written; nothing is lost then.
    pub fn compact(mut self) -> Result<Compacted, StoreError> {
        let path = self.path.clone();
        let size = || {
            let found = fs::metadata(&path).map_err(|error| StoreError::from(redb::Error::Io(error)))?;
            Ok::<_, StoreError>((found.len(), found.blocks() * 512))
        };
        let (before, taken_before) = size()?;
        let compacted = contain(|| self.database.compact()).map_err(StoreError::from);
        compacted.and_then(|done| Ok(done.map_err(redb::Error::from)?))?;
        self.close()?;
        let (after, taken_after) = size()?;
        Ok(Compacted { before, after, taken_before, taken_after })
    }
}

impl StoreError {
    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Redb(error) => matches!(&**error, redb::Error::Io(error) if is_full(error)),
            Self::Row { .. } | Self::Stopped => false,
        }
    }
}
