//! What is asked of the file system that the store is on: how much is free, and room for the reserve.

use std::{fmt, fs::File, io, path::PathBuf};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

/// A file system. Tests have one that gives and refuses as they say.
pub(super) trait Ground: fmt::Debug + Send + Sync {
    /// The free bytes, where it says so: some say nothing of blocks at all. A quota is not in it.
    fn free(&self) -> Option<u64>;

    /// Gives room for so many bytes to the file, from its beginning; false where it cannot do that. After an error it may
    /// have given a part of it.
    fn allocate(&self, file: &File, size: u64) -> io::Result<bool>;
}

/// The one that this path is on.
#[derive(Debug)]
pub(super) struct Local(pub(super) PathBuf);

impl Ground for Local {
    fn free(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.0).ok().filter(|found| found.f_blocks > 0)?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn allocate(&self, file: &File, size: u64) -> io::Result<bool> {
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
