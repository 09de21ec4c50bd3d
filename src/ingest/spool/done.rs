//! `done/`: where files go whose events are accepted, in a directory that keeps them.
//!
//! A file comes here when its events are durable, by a name that is free: one that is there already gets `.1`, `.2`, …
//! behind it. Nothing here is looked at again, and nothing is ever removed. When the move is durable the outbox forgets the
//! file; a crash before that leaves it where it was, known, and the next start moves it.

use std::{ffi::OsStr, io};

use super::{
    aside::{self, shortened},
    directory::Directory,
    own,
};

/// The directory's name, in the spool directory.
const NAME: &str = "done";

/// Names longer than this are cut, so that a number fits behind them (255 bytes is a name's limit).
const LONGEST_NAME: usize = 244;
/// How often a name may be snatched away before the try is given up.
const TRIES: usize = 8;

/// Opens the `done/` of `directory`, which is made if it is not there.
///
/// # Errors
/// Those of [`own::open`].
pub(super) fn open(directory: &Directory) -> io::Result<Directory> {
    own::open(directory, NAME)
}

/// Moves the file `private` of `directory`, which was `name` there, to `done`. Is not durable by itself.
///
/// # Errors
/// It cannot be moved, and is where it was.
pub(super) fn keep(directory: &Directory, private: &OsStr, done: &Directory, name: &OsStr) -> io::Result<()> {
    let base = shortened(name, LONGEST_NAME);
    for _ in 0..TRIES {
        let target = aside::free_name(&base, |name| done.has(name))?;
        match aside::rename(directory, private, done, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            renamed => return renamed,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_gets_a_name() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("the directory");
        let long = "é".repeat(125) + ".json";
        for (name, kept) in [
            ("a.json", "a.json"),
            ("a.json", "a.json.1"),
            ("a.json.1", "a.json.1.1"),
            ("a.json", "a.json.2"),
            (&long, &("é".repeat(119) + ".json")),
            (&long, &("é".repeat(119) + ".json.1")),
        ] {
            fs::write(place.path().join(".private"), name).expect("a file");
            let done = open(&directory).expect("done/");
            keep(&directory, OsStr::new(".private"), &done, OsStr::new(name)).expect("it can be moved");
            assert_eq!(fs::read_to_string(place.path().join("done").join(kept)).expect("the file"), name);
        }
        assert!(!place.path().join(".private").exists());
    }

    #[test]
    fn a_link_is_no_done() {
        let (place, other) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        std::os::unix::fs::symlink(other.path(), place.path().join("done")).expect("a link");
        let directory = Directory::open(place.path()).expect("the directory");
        assert!(open(&directory).is_err());
    }
}
