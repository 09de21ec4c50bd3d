//! A file that is made under another name, `FILE.partial`, and gets its own when it is whole.
//!
//! Its mode is 0600 from the beginning, it takes nobody's place, and links are not followed. One that is not finished is
//! removed; what a crash leaves of it is removed by the next that makes the same file, or by the start after it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::outbox::{
    error::OpenError,
    open::{io_error, parent, rename, sync_directory, with_suffix},
};

/// The file in the making. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    temporary: PathBuf,
    finished: bool,
}

impl Target {
    /// Begins to make `path` under its name with `suffix`.
    ///
    /// # Errors
    /// The file cannot be made, or somebody is making it.
    pub(super) fn begin(path: &Path, suffix: &str) -> Result<(Self, File), OpenError> {
        let temporary = with_suffix(path, suffix);
        remove_unlocked(&temporary).map_err(io_error("remove", &temporary))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&temporary).map_err(io_error("make", &temporary))?;
        Ok((Self { path: path.to_owned(), temporary, finished: false }, file))
    }

    /// Under which name it is made.
    pub(super) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file, which is whole and synced, its name.
    ///
    /// # Errors
    /// There is such a file by now, or it cannot be renamed.
    pub(super) fn finish(mut self) -> Result<(), OpenError> {
        rename(&self.temporary, &self.path)?;
        self.finished = true;
        sync_directory(parent(&self.path))
    }

    /// The same, in the place of a file that is there.
    pub(super) fn replace(mut self) -> Result<(), OpenError> {
        fs::rename(&self.temporary, &self.path).map_err(io_error("rename", &self.temporary))?;
        self.finished = true;
        sync_directory(parent(&self.path))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            // Should that fail, the next that makes the file does it.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Removes what a crash has left of a backup that was being made as `path`.
pub fn remove_leftover(path: &Path) -> io::Result<()> {
    remove_unlocked(&with_suffix(path, PARTIAL))
}

/// Behind the name of a backup that is being made.
pub(super) const PARTIAL: &str = ".partial";

fn remove_unlocked(path: &Path) -> io::Result<()> {
    // Something else of that name, a pipe say, must not hold anybody up.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there, and is no file"));
    }
    match file.try_lock() {
        Ok(()) => fs::remove_file(path),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "somebody is making it"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
