//! Opening the store's file, and making it.
//!
//! A store is made under the name `FILE.new`, complete and synced, and then renamed: a crash leaves either no store
//! or a whole one, never the half-made file that redb would refuse. The file's mode is 0600 from the beginning.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    rc::Rc,
};

use redb::{Builder, Database, ReadableDatabase, StorageBackend, backends::FileBackend};
use rustix::io::Errno;

use super::{
    Options,
    error::{OpenError, StoreError, contain},
    guarded::Guarded,
    migrate,
    motion::Motion,
    room::Room,
    schema::{self, META, meta},
};

/// The opened file.
pub(super) struct Opened {
    pub(super) database: Database,
    /// The daemon that had it before did not close it.
    pub(super) unclean: bool,
}

/// Opens the store at `path`, or makes it there. `id_key` is used for a new one only; `progress` is told how far a
/// repair after a crash has come, from 0 to 1, and `motion` counts what is done with the file from now on.
pub(super) fn open(
    path: &Path,
    options: &Options,
    id_key: [u8; 16],
    (room, motion): (&Room, &Motion),
    progress: impl Fn(f64) + 'static,
) -> Result<Opened, OpenError> {
    if !fs::exists(path).map_err(io_error("look for", path))? {
        create(path, options, id_key)?;
    }
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache);
    let progress = Rc::new(progress);
    let repairing = Rc::clone(&progress);
    builder.set_repair_callback(move |session| repairing(session.progress()));
    let opened = contain(|| {
        let file = Guarded::new(file(path)?, room.clone(), motion.clone());
        let database = builder.create_with_backend(file).map_err(open_error(path))?;
        migrate::bring_up(&database, path, &*progress)?;
        let unclean = take_clean_mark(&database, options.quick_repair).map_err(store_error(path))?;
        Ok(Opened { database, unclean })
    });
    opened.map_err(open_error(path)).flatten()
}

/// The store's file, which must have something in it: redb would make a store of an empty one.
pub(super) fn file(path: &Path) -> Result<FileBackend, OpenError> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error("open", path))?;
    if file.metadata().map_err(io_error("read", path))?.len() == 0 {
        return Err(open_error(path)(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty")));
    }
    FileBackend::new(file).map_err(open_error(path))
}

fn create(path: &Path, options: &Options, id_key: [u8; 16]) -> Result<(), OpenError> {
    let directory = parent(path);
    make_directory(directory)?;
    let temporary = with_suffix(path, ".new");
    // Not truncated here: should another daemon be making it at this moment, redb's lock says so first.
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&temporary);
    let file = file.map_err(io_error("make", &temporary))?;
    let leftover = file.metadata().map_err(io_error("read", &temporary))?.len() > 0;
    if leftover {
        discard(&temporary, file)?;
        return create(path, options, id_key);
    }
    // An empty file that was there already may have any mode.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(io_error("set the mode of", &temporary))?;
    let backend = FileBackend::new(file).map_err(open_error(&temporary))?;
    make(backend, &temporary, options, id_key)?;
    rename(&temporary, path)?;
    sync_directory(directory)
}

/// Makes a new store: it is whole and synced when this returns, and may be renamed then.
pub(super) fn make(
    backend: impl StorageBackend,
    path: &Path,
    options: &Options,
    id_key: [u8; 16],
) -> Result<(), OpenError> {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache);
    let database = builder.create_with_backend(backend).map_err(open_error(path))?;
    fill(&database, id_key, options.quick_repair).map_err(store_error(path))?;
    database.close().map_err(store_error(path))
}

/// Removes what a crash left of a store that was being made.
fn discard(temporary: &Path, file: File) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(temporary)),
        Err(TryLockError::Error(error)) => return Err(io_error("lock", temporary)(error)),
    }
    drop(file);
    fs::remove_file(temporary).map_err(io_error("remove", temporary))
}

pub(super) fn fill(database: &Database, id_key: [u8; 16], quick_repair: bool) -> Result<(), StoreError> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(quick_repair);
    schema::create(&txn)?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(meta::FORMAT, schema::FORMAT.to_be_bytes().as_slice())?;
        meta.insert(meta::ID_KEY, id_key.as_slice())?;
        meta.insert(meta::CLEAN, [].as_slice())?;
    }
    txn.commit()?;
    Ok(())
}

/// Renames without replacing: of two daemons that make the store at once, one must lose.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    let (cwd, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::NOREPLACE);
    match rustix::fs::renameat_with(cwd, from, cwd, to, flags) {
        Ok(()) => Ok(()),
        // A file system, kernel or sandbox without that flag.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to).map_err(io_error("rename", from)),
        Err(error) => Err(io_error("rename", from)(error.into())),
    }
}

/// Makes the directory with those above it that are missing, durably: else a power cut could take it with the store.
fn make_directory(directory: &Path) -> Result<(), OpenError> {
    let is_missing = |one: &&Path| !one.as_os_str().is_empty() && !one.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(directory).map_err(io_error("make", directory))?;
    missing.into_iter().try_for_each(|made| sync_directory(parent(made)))
}

pub(super) fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    let opened = File::open(directory).map_err(io_error("open", directory))?;
    opened.sync_all().map_err(io_error("sync", directory))
}

/// Takes the mark of a clean close away; returns whether it was missing.
pub(super) fn take_clean_mark(database: &Database, quick_repair: bool) -> Result<bool, StoreError> {
    if database.begin_read()?.open_table(META)?.get(meta::CLEAN)?.is_none() {
        return Ok(true);
    }
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(quick_repair);
    txn.open_table(META)?.remove(meta::CLEAN)?;
    txn.commit()?;
    Ok(false)
}

/// What redb's word at opening means for people.
pub(super) fn open_error<E: Into<redb::Error>>(path: &Path) -> impl FnOnce(E) -> OpenError + '_ {
    |error| match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => in_use(path),
        redb::Error::Io(source) if !is_damage(source.kind()) => io_error("open", path)(source),
        error => OpenError::Damaged { path: path.to_owned(), source: Box::new(error) },
    }
}

/// Whether an I/O error is about what is in the file (no redb file, or one that ends too early), not about the disk.
const fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

pub(super) fn in_use(path: &Path) -> OpenError {
    OpenError::InUse { path: path.to_owned(), holder: holder(path) }
}

/// ` (process 123)`: who holds a lock on the file, or else has it open, as far as the kernel tells.
fn holder(path: &Path) -> String {
    let find = || {
        let file = fs::metadata(path).ok()?;
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
        let locks = fs::read_to_string("/proc/locks").ok()?;
        locks.lines().find_map(|line| lock_holder(line, &place))
    };
    find().or_else(|| opener(path)).map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// Which other process has the file open, as far as the kernel lets us look: redb's locks are those of open files,
/// about which `/proc/locks` names nobody.
fn opener(path: &Path) -> Option<u32> {
    let (path, own) = (fs::canonicalize(path).ok()?, std::process::id());
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut open = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let found = pid != own && open.any(|fd| fs::read_link(fd.path()).is_ok_and(|file| file == path));
        found.then_some(pid)
    })
}

/// Whose lock a line of `/proc/locks` is about, if it is one on the file at `place` (device and inode):
///
/// ```text
/// 1: FLOCK  ADVISORY  WRITE 12261 fe:00:5529859 0 EOF
/// ```
///
/// Locks of open files (`OFDLCK`) have the process -1, and those of another container 0.
pub(super) fn lock_holder(line: &str, place: &str) -> Option<u32> {
    let mut fields = line.split_whitespace().skip(4);
    let pid = fields.next()?.parse().ok().filter(|pid| *pid > 0)?;
    (fields.next()? == place).then_some(pid)
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A path with something put behind it.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { what, path: path.to_owned(), source }
}

pub(super) fn store_error<E: Into<StoreError>>(path: &Path) -> impl FnOnce(E) -> OpenError + '_ {
    move |error| OpenError::Store { path: path.to_owned(), source: error.into() }
}
