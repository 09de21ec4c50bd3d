//! A backup becomes the store.
//!
//! It is copied beside the store, as `STORE.restoring`, and takes its place when it is whole and synced: at every moment
//! there is the old store under its name, or the new one. The old one is kept under another name first; so the disk has both,
//! and needs as much room as the backup's file takes up, until the old one is removed. Without it they are there together until
//! the new one has its place, which takes the same room once.
//!
//! Events that were accepted after the backup had numbers, which the restored store would give again. A number and the
//! time make an id, so another event has the same id only where the clock says the same millisecond again; but a box's clock
//! may, and receivers know deliveries by their ids. So the restored store goes on with numbers [`JUMP`] further than the
//! greatest that is known of either. It counts as not closed, so what was being attempted at the moment of the backup is
//! marked when it is attempted again.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use redb::{Builder, ReadableDatabase as _, backends::FileBackend};

use super::{CACHE, Report, Stopped, check::next_numbers, target::Target};
use crate::model::event::Seq;
use crate::outbox::{
    error::{OpenError, StoreError, contain},
    open::{in_use, io_error, open_error, parent, store_error, sync_directory},
    schema::{META, encode_passed, meta, passed, seq_from},
};

/// How many numbers are passed over: more events than are accepted between a backup and its restore. There is room for 256
/// restores and a trillion events.
const JUMP: u64 = 1 << 36;
/// What is all zeros for so many bytes is not written.
const HOLE: usize = 64 << 10;

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// What the check of the backup has found.
    pub report: Report,
    /// Where the old store is kept, if there was one and it is.
    pub kept: Option<PathBuf>,
    /// Whether the old store's numbers could be read.
    pub old_numbers: bool,
    /// The number of the next event.
    pub next: u64,
}

/// Nothing was restored: the store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be opened.
    #[error("the backup cannot be used")]
    Backup(#[source] OpenError),
    /// The check of the backup has found something.
    #[error("the backup is not whole")]
    NotWhole(Box<Report>),
    /// The store cannot be put in place.
    #[error(transparent)]
    Store(OpenError),
    /// The backup cannot be read, or its copy not be written.
    #[error(transparent)]
    Failed(#[from] StoreError),
    /// They are the same file.
    #[error("{} is the store itself", .0.display())]
    Same(PathBuf),
    /// There is no number left.
    #[error("no numbers are left for the ids of more events")]
    NoNumbers,
}

/// Puts `backup` in the place of the store at `store`, which no daemon has, and keeps the old one as `aside`. With `anyway`
/// a backup is taken in which the check finds rows that are not as they should be, if redb finds it whole. `progress` is
/// told how far the check of the backup has come, from 0 to 1.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    backup: &Path,
    store: &Path,
    (aside, anyway): (Option<&Path>, bool),
    progress: impl Fn(f64) + Clone + 'static,
) -> Result<Restored, RestoreError> {
    let old = Old::lock(store)?;
    if old.is(backup) {
        return Err(RestoreError::Same(backup.to_owned()));
    }
    let mut opened = Stopped::read(backup, progress.clone()).map_err(RestoreError::Backup)?;
    let report = opened.check(progress)?;
    if report.found > 0 && !(anyway && report.is_readable()) {
        return Err(RestoreError::NotWhole(Box::new(report)));
    }
    let next = opened.next_seq()?;
    let mut passed = opened.passed()?;
    let old_next = old.next_seq(store);
    let from = next.max(old_next.unwrap_or(0)).checked_add(JUMP).filter(|from| *from < Seq::MAX.get());
    let from = from.ok_or(RestoreError::NoNumbers)?;
    let (target, mut file) = Target::begin(store, ".restoring").map_err(RestoreError::Store)?;
    let temporary = target.temporary().to_owned();
    let failed =
        |what| move |source| RestoreError::Store(OpenError::Io { what, path: temporary.clone(), source });
    let (mine, owner) = (file.metadata().map_err(failed.clone()("read"))?, old.owner(store)?);
    if (mine.uid(), mine.gid()) != owner {
        fchown(&file, Some(owner.0), Some(owner.1)).map_err(failed.clone()("give the store's owner"))?;
    }
    // Read while it is locked, so that no daemon changes it meanwhile.
    copy_sparse(backup, &mut file).map_err(failed("copy the backup to"))?;
    opened.close()?;
    passed.push(next..from);
    renumber(file, target.temporary(), &passed)?;
    let kept = match (aside, old.file.is_some()) {
        (Some(aside), true) => {
            keep(store, aside)?;
            Some(aside.to_owned())
        }
        _ => None,
    };
    if old.file.is_some() { target.replace() } else { target.finish() }.map_err(RestoreError::Store)?;
    Ok(Restored { report, kept, old_numbers: old_next.is_some() || old.file.is_none(), next: from })
}

/// The store that is replaced, locked: no daemon opens it until it has another name.
struct Old {
    file: Option<File>,
}

impl Old {
    fn lock(store: &Path) -> Result<Self, RestoreError> {
        let file = match File::open(store) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self { file: None }),
            Err(error) => return Err(RestoreError::Store(io_error("open", store)(error))),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { file: Some(file) }),
            Err(fs::TryLockError::WouldBlock) => Err(RestoreError::Store(in_use(store))),
            Err(fs::TryLockError::Error(error)) => Err(RestoreError::Store(io_error("lock", store)(error))),
        }
    }

    fn is(&self, backup: &Path) -> bool {
        let of = |found: fs::Metadata| (found.dev(), found.ino());
        let own = self.file.as_ref().and_then(|file| file.metadata().ok()).map(of);
        own.is_some() && own == fs::metadata(backup).ok().map(of)
    }

    /// The number of its next event, if it can be read.
    fn next_seq(&self, store: &Path) -> Option<u64> {
        self.file.as_ref()?;
        let old = Stopped::read(store, |_| {}).ok()?;
        contain(|| old.next_seq()).ok()?.ok()
    }

    /// Whose the new store is to be: the old one's, or its directory's.
    fn owner(&self, store: &Path) -> Result<(u32, u32), RestoreError> {
        let found = match &self.file {
            Some(file) => file.metadata(),
            None => fs::metadata(parent(store)),
        };
        let found = found.map_err(io_error("read", store)).map_err(RestoreError::Store)?;
        Ok((found.uid(), found.gid()))
    }
}

impl Stopped {
    /// The number of the next event, as the store stands.
    fn next_seq(&self) -> Result<u64, StoreError> {
        let (next, _) = next_numbers(&self.database.begin_read()?)?;
        Ok(next.max(seq_from(&self.passed()?)))
    }

    fn passed(&self) -> Result<Vec<Range<u64>>, StoreError> {
        Ok(passed(&self.database.begin_read()?.open_table(META)?)?)
    }
}

/// Copies a file without what is all zeros in it.
fn copy_sparse(from: &Path, to: &mut File) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut piece = vec![0; HOLE];
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match from.read(&mut piece[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        let bytes = &piece[..filled];
        if bytes.iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Current(i64::try_from(filled).expect("a small number")))?;
        } else {
            to.write_all(bytes)?;
        }
        if filled < HOLE {
            break;
        }
    }
    let len = to.stream_position()?;
    to.set_len(len)?;
    to.sync_all()
}

/// Has the store go on with other numbers, and count as one that was not closed.
fn renumber(file: File, path: &Path, passed: &[Range<u64>]) -> Result<(), RestoreError> {
    let renumbered = contain(|| {
        let backend = FileBackend::new(file).map_err(open_error(path))?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE);
        let database = builder.create_with_backend(backend).map_err(open_error(path))?;
        let write = || {
            let txn = database.begin_write()?;
            {
                let mut table = txn.open_table(META)?;
                table.remove(meta::CLEAN)?;
                table.insert(meta::PASSED, encode_passed(passed).as_slice())?;
            }
            txn.commit()?;
            Ok::<_, StoreError>(())
        };
        write().map_err(store_error(path))?;
        database.close().map_err(store_error(path))
    });
    renumbered.map_err(open_error(path)).flatten().map_err(RestoreError::Store)
}

/// Gives the old store a second name, which is never another file's.
fn keep(store: &Path, aside: &Path) -> Result<(), RestoreError> {
    match fs::hard_link(store, aside) {
        Ok(()) => {}
        // A file system without second names: there is none under the first for a moment then.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            if fs::symlink_metadata(aside).is_ok() {
                return Err(RestoreError::Store(io_error("keep the old store as", aside)(
                    ErrorKind::AlreadyExists.into(),
                )));
            }
            fs::rename(store, aside).map_err(io_error("rename", store)).map_err(RestoreError::Store)?;
        }
        Err(error) => return Err(RestoreError::Store(io_error("keep the old store as", aside)(error))),
    }
    sync_directory(parent(aside)).map_err(RestoreError::Store)
}
