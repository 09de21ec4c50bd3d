//! What is remembered of a directory's files from look to look, bounded.

use std::{collections::BTreeMap, ffi::OsStr, ffi::OsString};

use super::directory::Stamp;

/// Values by the names of files, each with how the file was; at most [`Memory::BOUND`].
#[derive(Debug)]
pub(super) struct Memory<T> {
    names: BTreeMap<OsString, Remembered<T>>,
    /// The number of the pass that is going on, or was the last.
    pass: u64,
}

/// What is remembered of a file.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    /// How it was.
    pub(super) stamp: Stamp,
    /// What is remembered.
    pub(super) value: T,
    /// The last pass that saw it.
    pass: u64,
}

impl<T> Memory<T> {
    /// So many files at most.
    pub(super) const BOUND: usize = 1 << 14;

    pub(super) const fn new() -> Self {
        Self { names: BTreeMap::new(), pass: 0 }
    }

    /// Remembers `value` of the file, in place of what was; false when there is no room.
    #[must_use]
    pub(super) fn insert(&mut self, name: OsString, stamp: Stamp, value: T) -> bool {
        if self.names.len() >= Self::BOUND && !self.names.contains_key(&name) {
            return false;
        }
        self.names.insert(name, Remembered { stamp, value, pass: self.pass });
        true
    }

    /// What is remembered of the file, if it is still as it was; if not, that is forgotten. Counts as seen.
    pub(super) fn see(&mut self, name: &OsStr, stamp: Stamp) -> Option<&mut T> {
        if self.names.get(name).is_some_and(|remembered| remembered.stamp != stamp) {
            self.names.remove(name);
        }
        let remembered = self.names.get_mut(name)?;
        remembered.pass = self.pass;
        Some(&mut remembered.value)
    }

    pub(super) fn remove(&mut self, name: &OsStr) -> Option<T> {
        self.names.remove(name).map(|remembered| remembered.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsString, &Remembered<T>)> {
        self.names.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// A pass over the whole directory begins.
    pub(super) const fn begin_pass(&mut self) {
        self.pass += 1;
    }

    /// The pass has seen the whole directory: what it has not seen is gone.
    pub(super) fn end_pass(&mut self) {
        let pass = self.pass;
        self.names.retain(|_, remembered| remembered.pass == pass);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::spool::directory::Directory;

    #[test]
    fn what_is_remembered() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("the directory");
        let stamp = |text: &str| {
            std::fs::write(place.path().join("a"), text).expect("a file");
            directory.stamp(OsStr::new("a")).expect("its stamp")
        };
        let (one, other) = (stamp("x"), stamp("xy"));
        let mut memory = Memory::new();
        for number in 0..Memory::<usize>::BOUND {
            assert!(memory.insert(number.to_string().into(), one, number));
        }
        assert!(!memory.insert("more".into(), one, 0));
        assert!(memory.insert("7".into(), one, 8));
        assert_eq!(memory.see(OsStr::new("7"), one), Some(&mut 8));
        // Another file, or written to: what was remembered is of no use.
        assert_eq!(memory.see(OsStr::new("7"), other), None);
        assert_eq!(memory.see(OsStr::new("7"), one), None);
        memory.begin_pass();
        assert!(memory.see(OsStr::new("9"), one).is_some() && memory.insert("new".into(), one, 1));
        memory.end_pass();
        let left: Vec<_> = memory.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!((left, memory.len()), (vec!["9", "new"], 2));
    }
}
