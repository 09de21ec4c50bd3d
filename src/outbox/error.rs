//! What can go wrong with the store.

use std::{
    any::Any,
    io,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
};

/// The store could not be read or written.
///
/// After a failed commit nothing more can be written until the store is opened again; the daemon ends then, and
/// its supervisor starts it anew.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// redb says so.
    #[error("the store failed")]
    Redb(#[source] Box<redb::Error>),
    /// A row is not of the form that this version writes.
    #[error("the store's table `{table}` has a row that cannot be read (key {key})")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: u64,
    },
    /// The store is closed, or its writer has stopped because of an earlier error.
    #[error("the store is closed, or failed earlier")]
    Stopped,
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

/// Runs `work` on a file that may be damaged: redb panics on some of what it does not expect there. Such a panic is an
/// error like others.
pub(super) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, redb::Error> {
    let panicked = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        redb::Error::Corrupted(text.unwrap_or_else(|| "a panic without words".to_owned()))
    };
    // What `work` had in its hands is dropped by the unwinding: nobody sees it half changed.
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(panicked)
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by another posthaste daemon{holder}; one store has one daemon")]
    InUse {
        /// The file.
        path: PathBuf,
        /// ` (process 123)`, where it can be told.
        holder: String,
    },
    /// A file could not be made, opened, renamed or synced.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The file is no redb file, or a damaged one.
    #[error(
        "{path} is no posthaste store, or is damaged; restore a backup, or move it away and start afresh"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// redb's word.
        #[source]
        source: Box<redb::Error>,
    },
    /// Another version wrote it.
    #[error(
        "{path} has format {found}, this version of posthaste reads format {known}; \
         use the posthaste that wrote it, or move the file away and start afresh"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It opened, and then failed.
    #[error("cannot use {path}")]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
}
