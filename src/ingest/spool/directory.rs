//! The directory as it is opened for one look, and what tells its files apart.
//!
//! Files are named relative to the opened directory, so that one look is at one directory whatever is renamed
//! meanwhile. Nothing is opened in a way that could wait: no link is followed, no FIFO and no device is waited for.
//! The handle is not kept between looks: as long as it is open the kernel does not say that the directory was removed.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::own::Access;
use crate::outbox::FileIdentity;

/// Whoever is in the directory's group may drop files.
const MODE: u32 = 0o770;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    inode: Inode,
    /// `failed/` or `done/`: no producer has files there.
    own: bool,
}

/// What tells one directory from another that has the same path later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) device: u64,
    inode: u64,
}

/// A file as it was at one moment: another file under the same name, and the same file written to, differ from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    /// In nanoseconds since the epoch.
    mtime: i64,
    /// In bytes.
    pub(super) size: u64,
    /// It is a regular file.
    pub(super) regular: bool,
}

impl Directory {
    /// Opens `path`, which may be a link to a directory.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::new(rustix::fs::open(path, FLAGS | OFlags::DIRECTORY, Mode::empty())?, false)
    }

    /// Opens the daemon's own directory `name` in this one, whoever made it. A link is not followed.
    pub(super) fn own(&self, name: &str) -> io::Result<Self> {
        let flags = FLAGS | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        Self::new(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?, true)
    }

    fn new(fd: OwnedFd, own: bool) -> io::Result<Self> {
        let stamp = Stamp::of(&rustix::fs::fstat(&fd)?);
        Ok(Self { fd, inode: Inode { device: stamp.device, inode: stamp.inode }, own })
    }

    /// Whether no producer has files here.
    pub(super) const fn is_own(&self) -> bool {
        self.own
    }

    /// Whether the system tells of all that happens here: on a file system of other machines or programs it does not.
    pub(super) fn is_told(&self) -> bool {
        // Of what cannot say what it is the least is assumed.
        rustix::fs::fstatfs(&self.fd).is_ok_and(|system| !is_distant(system.f_type))
    }

    /// Whose it is, and who may write to it.
    pub(super) fn access(&self) -> io::Result<Access> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok(Access { owner: stat.st_uid, group: stat.st_gid, mode: stat.st_mode })
    }

    /// Which directory it is.
    pub(super) const fn inode(&self) -> Inode {
        self.inode
    }

    /// How the file `name` is; a link is not followed.
    pub(super) fn stamp(&self, name: &OsStr) -> io::Result<Stamp> {
        Ok(Stamp::of(&rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Whether anything has this name.
    pub(super) fn has(&self, name: &OsStr) -> io::Result<bool> {
        match self.stamp(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// When something in it was last added, renamed or removed.
    pub(super) fn changed(&self) -> io::Result<i64> {
        Ok(Stamp::of(&rustix::fs::fstat(&self.fd)?).mtime)
    }

    /// Opens the file `name` for reading, and how it is.
    pub(super) fn open_file(&self, name: &OsStr) -> io::Result<(File, Stamp)> {
        let flags = FLAGS | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?);
        let stamp = Stamp::of_file(&file)?;
        Ok((file, stamp))
    }

    /// Makes the file `name` anew, whatever was there.
    pub(super) fn create_file(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        match self.unlink(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))?))
    }

    /// Removes the file `name`.
    pub(super) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Makes what was removed and renamed durable, as far as the file system can.
    pub(super) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.fd) {
            // A file system that does not know how to: there is nothing more to be had.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What is in it, from the beginning.
    pub(super) fn entries(&self) -> io::Result<Dir> {
        Ok(Dir::read_from(&self.fd)?)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Stamp {
    /// Whether this is the file that `other` was, and as large.
    pub(super) fn is_file_of(self, other: Self) -> bool {
        self == Self { mtime: self.mtime, ..other }
    }

    /// How the open file is now.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }

    /// The name under which the outbox knows the file of `directory`.
    pub(super) fn identity(self, directory: &str) -> FileIdentity {
        FileIdentity {
            directory: directory.to_owned(),
            device: self.device,
            inode: self.inode,
            mtime: self.mtime,
            size: self.size,
        }
    }

    fn of(stat: &Stat) -> Self {
        let nanoseconds = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
        Self {
            device: unsigned(stat.st_dev),
            inode: unsigned(stat.st_ino),
            mtime: i64::try_from(nanoseconds).unwrap_or(0),
            size: unsigned(stat.st_size),
            regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        }
    }
}

/// Makes the directory `path`, and those that it is in, unless it is there.
pub(super) fn make(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(MODE).create(path) {
        // The umask took away what the group needs.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// File systems that others than this kernel write to, by their `f_type` (see statfs(2) and linux/magic.h).
const DISTANT: [u32; 12] = [
    0x0000_517b, // SMB
    0x0000_6969, // NFS
    0x00c3_6400, // Ceph
    0x0102_1997, // 9P
    0x0116_1970, // GFS2
    0x0bd0_0bd0, // Lustre
    0x5346_414f, // AFS
    0x6573_5546, // FUSE
    0x7461_636f, // OCFS2
    0x786f_4256, // VirtualBox
    0xfe53_4d42, // SMB2
    0xff53_4d42, // CIFS
];

/// Whether the file system of this type is one of [`DISTANT`]; the number has another type, and sign, on other machines.
fn is_distant(system: impl Into<i128>) -> bool {
    let bits = u32::try_from(system.into() & i128::from(u32::MAX)).unwrap_or(0);
    DISTANT.contains(&bits)
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// The fields of `stat` have other types on other machines.
fn unsigned(number: impl Into<i128>) -> u64 {
    u64::try_from(number.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn what_has_a_file_s_name_by_now_is_not_waited_for() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("the directory");
        let fifo = (FileType::Fifo, Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(&directory, "fifo", fifo.0, fifo.1, 0).expect("a FIFO");
        // Nobody writes to it: to open it in another way would take for ever.
        let (_, stamp) = directory.open_file(OsStr::new("fifo")).expect("it opens");
        assert!(!stamp.regular);
        symlink("fifo", place.path().join("link")).expect("a link");
        let _listener = UnixListener::bind(place.path().join("socket")).expect("a socket");
        for name in ["link", "socket"] {
            assert!(directory.open_file(OsStr::new(name)).is_err(), "{name}");
            assert!(!directory.stamp(OsStr::new(name)).expect("it is there").regular, "{name}");
        }
    }

    #[test]
    fn whose_files_others_write() {
        // ext4, tmpfs, btrfs, overlayfs, XFS.
        for near in [0xef53_i64, 0x0102_1994, 0x9123_683e, 0x794c_7630, 0x5846_5342] {
            assert!(!is_distant(near), "{near:x}");
        }
        for distant in [0x6969_i64, 0xff53_4d42, 0x6573_5546] {
            assert!(is_distant(distant), "{distant:x}");
        }
        assert!(is_distant(-11_317_950_i32), "CIFS where the number has a sign");
        let place = tempfile::tempdir().expect("a directory");
        assert!(Directory::open(place.path()).expect("the directory").is_told());
    }
}
