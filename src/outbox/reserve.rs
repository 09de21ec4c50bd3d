//! The reserve: a file beside the store that only takes up room, and is given up when the disk is full.
//!
//! It is `FILE.reserve`, mode 0600, and held open: to give it up takes no descriptor, no inode and no room in the directory.
//! Given up it is empty. It is allocated, not sparse; where the file system cannot allocate, it is written.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use rustix::{
    fs::{FallocateFlags, OFlags, fallocate},
    io::Errno,
};

/// `st_blocks` counts these.
const BLOCK: u64 = 512;
/// Of this a file is made that is written: not of zeros, which some file systems do not store.
static FILLER: [u8; 64 << 10] = [0xa5; 64 << 10];

/// The file, there or given up.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    size: u64,
    file: Option<File>,
}

impl Reserve {
    /// The reserve at `path`, as whoever had it before has left it. With the size 0 there is none.
    pub(super) const fn new(path: PathBuf, size: u64) -> Self {
        Self { path, size, file: None }
    }

    /// How many bytes it is to have.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes it lacks.
    pub(super) fn missing(&mut self) -> io::Result<u64> {
        if self.is_none() {
            return Ok(0);
        }
        let metadata = self.open()?.metadata()?;
        Ok(self.size.saturating_sub((metadata.blocks() * BLOCK).min(metadata.len())))
    }

    /// Makes it, or as much of it as is missing; after an error it is given up.
    pub(super) fn make(&mut self) -> io::Result<()> {
        let missing = self.missing()?;
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        let made = if missing > 0 { allocate(file, self.size) } else { Ok(()) };
        // What a greater one had more.
        let made = made.and_then(|()| file.set_len(self.size)).and_then(|()| file.sync_all());
        if made.is_err() {
            self.give_up();
        }
        made
    }

    /// Empties it; says whether there was anything in it. What cannot be emptied is of no use.
    pub(super) fn give_up(&mut self) -> bool {
        if self.is_none() {
            return false;
        }
        let mut empty = || {
            let file = self.open()?;
            let blocks = file.metadata()?.blocks();
            file.set_len(0)?;
            // Journals give blocks out again only when it is in them that they are free.
            file.sync_all()?;
            Ok::<_, io::Error>(blocks > 0)
        };
        empty().unwrap_or(false)
    }

    /// Whether there is none, nor is to be.
    fn is_none(&self) -> bool {
        self.size == 0 && !self.path.exists()
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
            self.file = Some(options.open(&self.path)?);
        }
        Ok(self.file.as_mut().expect("opened just above"))
    }
}

fn allocate(file: &mut File, size: u64) -> io::Result<()> {
    match fallocate(&*file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => fill(file, size),
        Err(error) => Err(error.into()),
    }
}

fn fill(file: &mut File, size: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut left = size;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(FILLER.len());
        file.write_all(&FILLER[..piece])?;
        left -= u64::try_from(piece).expect("of a small piece");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn it_is_made_given_up_and_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.reserve");
        let mut reserve = Reserve::new(path.clone(), 100_000);
        assert_eq!(reserve.missing().expect("it can be told"), 100_000);
        assert!(!reserve.give_up(), "there is nothing");
        for _ in 0..2 {
            reserve.make().expect("there is room");
            let metadata = fs::metadata(&path).expect("it is there");
            assert_eq!(metadata.len(), 100_000);
            assert!(metadata.blocks() * BLOCK >= 100_000, "it is allocated: {} blocks", metadata.blocks());
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
            assert_eq!(reserve.missing().expect("it can be told"), 0);
            assert!(reserve.give_up(), "there is something");
            assert_eq!(fs::metadata(&path).expect("it is there").blocks(), 0);
            assert!(!reserve.give_up(), "there is nothing left");
        }
    }

    #[test]
    fn one_of_another_size_is_made_to_fit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.reserve");
        for size in [50_000, 200_000, 4_096, 0] {
            Reserve::new(path.clone(), size).make().expect("there is room");
            assert_eq!(fs::metadata(&path).expect("it is there").len(), size);
        }
        // One that takes no room is none, however long.
        fs::File::create(&path).and_then(|file| file.set_len(50_000)).expect("a sparse file");
        let mut reserve = Reserve::new(path.clone(), 50_000);
        assert_eq!(reserve.missing().expect("it can be told"), 50_000);
        reserve.make().expect("there is room");
        assert!(fs::metadata(&path).expect("it is there").blocks() * BLOCK >= 50_000);
        let none = directory.path().join("none.reserve");
        Reserve::new(none.clone(), 0).make().expect("nothing is to do");
        assert!(!none.exists());
    }

    #[test]
    fn it_is_written_where_it_cannot_be_allocated() {
        let mut file = tempfile::tempfile().expect("a file");
        fill(&mut file, 200_001).expect("there is room");
        let metadata = file.metadata().expect("it is there");
        assert_eq!(metadata.len(), 200_001);
        assert!(metadata.blocks() * BLOCK >= 200_001);
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let other = directory.path().join("other");
        fs::write(&other, "mine").expect("a file");
        let path = directory.path().join("store.reserve");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        let mut reserve = Reserve::new(path, 4_096);
        assert!(reserve.make().is_err() && !reserve.give_up());
        assert_eq!(fs::read_to_string(&other).expect("it is there"), "mine");
    }
}
