//! What a file held when it was read.
//!
//! Programs that copy a file change its times when they have closed it, and may be late: then it is another file by its
//! stamp, and the same by what it holds, which was taken already.

use std::{
    fs::File,
    hash::Hasher,
    io::{self, Read as _, Seek as _},
};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// A digest of a file's bytes. Whoever could make two files with the same one would only lose his own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u128);

impl Digest {
    /// That of all that the file holds.
    pub(super) fn of(file: &mut File) -> io::Result<Self> {
        file.rewind()?;
        let (mut hasher, mut buffer) = (SipHasher13::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Self(hasher.finish128().as_u128())),
                Ok(length) => hasher.write(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
