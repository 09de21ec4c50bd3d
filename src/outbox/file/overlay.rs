//! A file that can be read, under a layer in memory that takes what is written.
//!
//! redb opens a file for writing alone where it has to put it in order first, and its check of a file may end with a commit.
//! Here both happen without a byte of the file being changed. What redb writes then are roots and the map of used pages:
//! some MiB for a store of many GiB. More than [`MOST`] is refused, as if the disk were full.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io,
    ops::Bound,
    os::unix::fs::FileExt as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend};

/// Bytes of a piece of the layer.
const PIECE: usize = 4096;
/// At most so many bytes of pieces.
const MOST: usize = 256 << 20;

/// The file and what lies over it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    layer: Mutex<Layer>,
}

#[derive(Debug)]
struct Layer {
    len: u64,
    /// Up to here the file's bytes are those that count, where no piece is.
    file_len: u64,
    pieces: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    /// `file`, locked so that no daemon has it; `None`: one has it.
    pub(super) fn lock(file: File) -> io::Result<Option<Self>> {
        // redb's writers hold this lock alone.
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let len = file.metadata()?.len();
        if len == 0 {
            // redb would make a store of it.
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"));
        }
        let layer = Layer { len, file_len: len, pieces: BTreeMap::new() };
        Ok(Some(Self { file, layer: Mutex::new(layer) }))
    }

    fn layer(&self) -> MutexGuard<'_, Layer> {
        // Pieces are put in whole, and lengths are numbers.
        self.layer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's own bytes at `offset`, and zeros behind its end.
    fn read_file(&self, file_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = file_len.saturating_sub(offset);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
        let (own, behind) = out.split_at_mut(there);
        self.file.read_exact_at(own, offset)?;
        behind.fill(0);
        Ok(())
    }
}

/// The pieces that a range of bytes touches: the number of each, where it begins in the range, and where the range begins in it.
fn touched(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let piece = u64::try_from(PIECE).expect("a small number");
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= len {
            return None;
        }
        let place = offset + u64::try_from(at).expect("within a slice");
        let within = usize::try_from(place % piece).expect("less than a piece");
        let end = len.min(at + PIECE - within);
        let found = (place / piece, at..end, within);
        at = end;
        Some(found)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.layer().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let layer = self.layer();
        let end = offset.checked_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        if end.is_none_or(|end| end > layer.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(layer.file_len, offset, out)?;
        for (number, range, within) in touched(offset, out.len()) {
            if let Some(piece) = layer.pieces.get(&number) {
                let length = range.len();
                out[range].copy_from_slice(&piece[within..within + length]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut layer = self.layer();
        if len < layer.len {
            let piece = u64::try_from(PIECE).expect("a small number");
            layer.pieces.split_off(&len.div_ceil(piece));
            if let Some(cut) = layer.pieces.get_mut(&(len / piece)) {
                cut[usize::try_from(len % piece).expect("less than a piece")..].fill(0);
            }
            layer.file_len = layer.file_len.min(len);
        }
        layer.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut layer = self.layer();
        for (number, range, within) in touched(offset, data.len()) {
            let bytes = &data[range];
            if !layer.pieces.contains_key(&number) {
                if layer.pieces.len() * PIECE >= MOST {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let mut piece = vec![0; PIECE].into_boxed_slice();
                self.read_file(layer.file_len, number * u64::try_from(PIECE).expect("small"), &mut piece)?;
                layer.pieces.insert(number, piece);
            }
            let piece = layer.pieces.get_mut(&number).expect("put in just above");
            piece[within..within + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    // The lock that counts is held by the file from the beginning, until it is closed.

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Against a plain vector, by random reads, writes and changes of length.
    #[test]
    fn it_is_as_a_file_that_is_written() {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut model: Vec<u8> = (0..random.usize(1..30_000)).map(|_| random.u8(..)).collect();
            let original = model.clone();
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(&model).expect("it is written");
            let overlay = Overlay::lock(file.reopen().expect("it is there")).expect("a lock").expect("free");
            for _ in 0..200 {
                let at = random.usize(..=model.len());
                let length = random.usize(..=(model.len() - at).min(9_000));
                match random.u8(..8) {
                    0 => {
                        let len = random.usize(..40_000);
                        model.resize(len, 0);
                        overlay.set_len(u64::try_from(len).expect("small")).expect("it is set");
                    }
                    1..4 => {
                        let data: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
                        model[at..at + length].copy_from_slice(&data);
                        overlay.write(u64::try_from(at).expect("small"), &data).expect("it is written");
                    }
                    _ => {
                        let mut out = vec![7; length];
                        overlay.read(u64::try_from(at).expect("small"), &mut out).expect("it is there");
                        assert!(out == model[at..at + length], "seed {seed}, {length} bytes at {at}");
                    }
                }
            }
            assert!(overlay.read(u64::try_from(model.len()).expect("small"), &mut [0]).is_err());
            assert_eq!(
                std::fs::read(file.path()).expect("it is there"),
                original,
                "nothing was written to it"
            );
        }
    }
}
