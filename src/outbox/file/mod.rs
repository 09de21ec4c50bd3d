//! The store's file without its daemon: checked, compacted, exported, put back. And its copy, while the daemon runs.
//!
//! ```text
//! read   a stopped store, or a backup: nothing of the file is changed        check, export, the check of what is restored
//! write  a stopped store, locked as by a daemon                              check --repair, compact
//! copy   the rows of a store that runs, into a file of their own             backup
//! ```
//!
//! Whoever reads holds the file's lock shared, whoever writes holds it alone: a daemon that is started meanwhile says that the
//! store is in use, and so do these where a daemon has it. What redb would put in order in a file that was not closed is
//! done in memory for those who only read (`overlay`).

mod check;
mod compact;
mod copy;
mod export;
mod overlay;
mod restore;
mod tables;
mod target;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use redb::{Builder, Database, ReadableDatabase as _};

#[cfg(test)]
pub(super) use self::copy::COPIED;
pub(super) use self::copy::{copy, may_copy};
use self::overlay::Overlay;
pub use self::{
    check::{Finding, Report, TableSize},
    compact::Compacted,
    copy::{BackupError, Copied, Halt, Pace, Progress, Stage},
    export::{Exported, Exporting},
    restore::{RestoreError, Restored, restore},
    target::remove_leftover,
};
use super::{
    error::{OpenError, StoreError, contain},
    migrate::{self, read_format},
    open::{file as writable, in_use, io_error, open_error, store_error},
    schema::{META, meta},
};

/// Bytes of redb's page cache.
const CACHE: usize = 64 << 20;

/// A stopped store, or a backup, open to be looked at or worked on.
pub struct Stopped {
    database: Database,
    path: PathBuf,
    closed: bool,
    put_in_order: bool,
}

impl Stopped {
    /// Opens the store at `path` to be read, which changes nothing of it. `progress` is told how far redb has come with
    /// one that was not closed, from 0 to 1.
    ///
    /// # Errors
    /// There is none, it is in use, cannot be read, is damaged, or of a format that this version does not read.
    pub fn read(path: &Path, progress: impl Fn(f64) + 'static) -> Result<Self, OpenError> {
        let file = File::open(path).map_err(io_error("open", path))?;
        let overlay = match Overlay::lock(file) {
            Ok(Some(overlay)) => overlay,
            Ok(None) => return Err(in_use(path)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(open_error(path)(error));
            }
            Err(error) => return Err(io_error("lock", path)(error)),
        };
        Self::open(path, overlay, progress)
    }

    /// Opens the store at `path` to be changed.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write(path: &Path, progress: impl Fn(f64) + 'static) -> Result<Self, OpenError> {
        Self::open(path, writable(path)?, progress)
    }

    fn open(
        path: &Path,
        backend: impl redb::StorageBackend,
        progress: impl Fn(f64) + 'static,
    ) -> Result<Self, OpenError> {
        let put_in_order = std::rc::Rc::new(std::cell::Cell::new(false));
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE);
        let needed = std::rc::Rc::clone(&put_in_order);
        builder.set_repair_callback(move |session| {
            needed.set(true);
            progress(session.progress());
        });
        let opened = contain(|| {
            let database = builder.create_with_backend(backend).map_err(open_error(path))?;
            migrate::check(path, read_format(&database).map_err(open_error(path))?)?;
            let closed = is_closed(&database).map_err(store_error(path))?;
            Ok(Self { database, path: path.to_owned(), closed, put_in_order: put_in_order.get() })
        });
        opened.map_err(open_error(path)).flatten()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its daemon has closed it, and every attempt that was begun has its outcome in it.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Closes it.
    ///
    /// # Errors
    /// What redb still had to write could not be written.
    pub fn close(self) -> Result<(), StoreError> {
        Ok(contain(|| self.database.close())??)
    }
}

fn is_closed(database: &Database) -> Result<bool, StoreError> {
    Ok(database.begin_read()?.open_table(META)?.get(meta::CLEAN)?.is_some())
}
