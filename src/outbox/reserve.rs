//! The reserve: a file beside the store that only takes up room, and is given up when the disk is full.
//!
//! It is `FILE.reserve`, mode 0600, and held open: to give it up takes no descriptor, no inode and no room in the directory.
//! Given up it is empty. It is allocated, not sparse; where the file system cannot allocate, or says afterwards that the file
//! has less than it was to have, it is written. What was written to its end is whole, whatever the file system says then of
//! its blocks: one that compresses or shares them, or does not count them, would have it written again for ever.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use rustix::fs::OFlags;

use super::ground::Ground;

/// `st_blocks` counts these.
const BLOCK: u64 = 512;
/// A reserve is written in pieces of so many bytes.
const PIECE: u64 = 64 << 10;

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
        let size = self.size;
        let file = self.open()?;
        let metadata = file.metadata()?;
        let missing = size.saturating_sub((metadata.blocks() * BLOCK).min(metadata.len()));
        Ok(if missing > 0 && metadata.len() == size && is_written(file, size)? { 0 } else { missing })
    }

    /// Makes it, or as much of it as is missing; after an error it is given up.
    pub(super) fn make(&mut self, ground: &dyn Ground) -> io::Result<()> {
        let made = self.try_make(ground);
        if made.is_err() {
            self.give_up();
        }
        made
    }

    fn try_make(&mut self, ground: &dyn Ground) -> io::Result<()> {
        let (missing, size) = (self.missing()?, self.size);
        let Some(file) = &self.file else { return Ok(()) };
        if missing > 0 {
            ground.allocate(file, size)?;
        }
        // What a greater one had more; and where nothing was allocated, the holes that are filled next.
        file.set_len(size)?;
        file.sync_all()?;
        if self.missing()? == 0 {
            return Ok(());
        }
        let file = self.open()?;
        fill(file, size)?;
        file.sync_all()
    }

    /// Empties it; says whether there was anything in it. What cannot be emptied is of no use.
    pub(super) fn give_up(&mut self) -> bool {
        if self.is_none() {
            return false;
        }
        let mut empty = || {
            let file = self.open()?;
            // Not the blocks, which some file systems do not count.
            let len = file.metadata()?.len();
            file.set_len(0)?;
            // Journals give blocks out again only when it is in them that they are free.
            file.sync_all()?;
            Ok::<_, io::Error>(len > 0)
        };
        empty().unwrap_or(false)
    }

    /// Whether there is none, nor is to be.
    fn is_none(&self) -> bool {
        self.size == 0 && !self.path.exists()
    }

    fn open(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
            self.file = Some(options.open(&self.path)?);
        }
        Ok(self.file.as_ref().expect("opened just above"))
    }
}

fn fill(file: &File, size: u64) -> io::Result<()> {
    (0..size.div_ceil(PIECE)).try_for_each(|number| file.write_all_at(&piece(number, size), number * PIECE))
}

/// Whether the last piece is there: it is written when all others are.
fn is_written(file: &File, size: u64) -> io::Result<bool> {
    let Some(last) = size.div_ceil(PIECE).checked_sub(1) else { return Ok(true) };
    let piece = piece(last, size);
    let mut found = vec![0; piece.len()];
    file.read_exact_at(&mut found, last * PIECE)?;
    Ok(found == piece)
}

/// A piece of a reserve that is written. No two blocks are alike, and none can be made smaller: there are file systems
/// that would not store such.
fn piece(number: u64, size: u64) -> Vec<u8> {
    let from = number * PIECE;
    let len = usize::try_from((size - from).min(PIECE)).expect("of a small piece");
    let mut bytes: Vec<u8> =
        (from / 8..(from + PIECE) / 8).flat_map(|place| mixed(place).to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// A number in which no pattern is left (splitmix64).
const fn mixed(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt as _};

    use rustix::fs::{FallocateFlags, fallocate};

    use super::{super::ground::Local, *};

    fn local() -> Local {
        Local(PathBuf::from("/"))
    }

    /// A file system that cannot allocate.
    #[derive(Debug)]
    struct Plain;

    impl Ground for Plain {
        fn free(&self) -> Option<u64> {
            None
        }

        fn allocate(&self, _: &File, _: u64) -> io::Result<bool> {
            Ok(false)
        }
    }

    #[test]
    fn it_is_made_given_up_and_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.reserve");
        let mut reserve = Reserve::new(path.clone(), 100_000);
        assert_eq!(reserve.missing().expect("it can be told"), 100_000);
        assert!(!reserve.give_up(), "there is nothing");
        for _ in 0..2 {
            reserve.make(&local()).expect("there is room");
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
            Reserve::new(path.clone(), size).make(&local()).expect("there is room");
            assert_eq!(fs::metadata(&path).expect("it is there").len(), size);
        }
        // One that takes no room is none, however long.
        fs::File::create(&path).and_then(|file| file.set_len(50_000)).expect("a sparse file");
        let mut reserve = Reserve::new(path.clone(), 50_000);
        assert_eq!(reserve.missing().expect("it can be told"), 50_000);
        reserve.make(&local()).expect("there is room");
        assert!(fs::metadata(&path).expect("it is there").blocks() * BLOCK >= 50_000);
        let none = directory.path().join("none.reserve");
        Reserve::new(none.clone(), 0).make(&local()).expect("nothing is to do");
        assert!(!none.exists());
    }

    #[test]
    fn it_is_written_where_it_cannot_be_allocated() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.reserve");
        let mut reserve = Reserve::new(path.clone(), 200_001);
        reserve.make(&Plain).expect("there is room");
        let bytes = fs::read(&path).expect("it is there");
        assert_eq!(bytes.len(), 200_001);
        assert!(fs::metadata(&path).expect("it is there").blocks() * BLOCK >= 200_001);
        let blocks: HashSet<_> = bytes.chunks(4096).collect();
        assert_eq!(blocks.len(), 200_001_usize.div_ceil(4096), "no two of them can be one");
        let mut counts = [0_usize; 256];
        for byte in bytes {
            counts[usize::from(byte)] += 1;
        }
        assert!(
            counts.iter().all(|count| (600..1000).contains(count)),
            "nothing to make it smaller by: {counts:?}"
        );
    }

    #[test]
    fn one_that_was_written_is_whole_however_few_blocks_it_has() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.reserve");
        Reserve::new(path.clone(), 200_001).make(&Plain).expect("there is room");
        // As if the file system had found a way to keep it in less.
        let punch = |offset, len| {
            let file = OpenOptions::new().write(true).open(&path).expect("it is there");
            fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)
                .expect("a hole");
        };
        punch(0, 128 << 10);
        assert!(fs::metadata(&path).expect("it is there").blocks() * BLOCK < 100_000);
        let mut reserve = Reserve::new(path.clone(), 200_001);
        assert_eq!(reserve.missing().expect("it can be told"), 0);
        assert!(reserve.give_up());
        assert_eq!(reserve.missing().expect("it can be told"), 200_001);
        // One whose end is not there was never whole.
        reserve.make(&Plain).expect("there is room");
        punch(192 << 10, 64 << 10);
        assert!(reserve.missing().expect("it can be told") > 0);
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let other = directory.path().join("other");
        fs::write(&other, "mine").expect("a file");
        let path = directory.path().join("store.reserve");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        let mut reserve = Reserve::new(path, 4_096);
        assert!(reserve.make(&local()).is_err() && !reserve.give_up());
        assert_eq!(fs::read_to_string(&other).expect("it is there"), "mine");
    }
}
