//! The directory's files that the store knew at the start: accepted, and perhaps not removed before the daemon ended.
//!
//! Two things are done with them that are done with no other. They are handed in also while the store has no room, for it
//! only says that it knows them. And when the whole directory was seen without one of them, it is forgotten.

use std::collections::HashMap;

use crate::outbox::FileIdentity;

/// The files, and whether each was seen since.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<FileIdentity, bool>);

impl Known {
    pub(super) fn new(files: Vec<FileIdentity>) -> Self {
        Self(files.into_iter().map(|file| (file, false)).collect())
    }

    /// Nothing has to be compared with them: all of them are dealt with.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, file: &FileIdentity) -> bool {
        self.0.contains_key(file)
    }

    /// The file is there.
    pub(super) fn see(&mut self, file: &FileIdentity) {
        if let Some(seen) = self.0.get_mut(file) {
            *seen = true;
        }
    }

    /// A file could not be looked at, and may be any of them.
    pub(super) fn see_all(&mut self) {
        self.0.values_mut().for_each(|seen| *seen = true);
    }

    /// The file is no more.
    pub(super) fn remove(&mut self, file: &FileIdentity) {
        self.0.remove(file);
    }

    /// The whole directory, on this device, was seen: those of it that were not are no more, and of those on another
    /// device nothing can be said.
    pub(super) fn end_pass(&mut self, device: Option<u64>) -> Vec<FileIdentity> {
        let unseen = self.0.extract_if(|_, seen| !*seen);
        unseen.map(|(file, _)| file).filter(|file| Some(file.device) == device).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_gone() {
        let file = |device, inode| FileIdentity { directory: "in".into(), device, inode, mtime: 0, size: 0 };
        let mut known = Known::new(vec![file(1, 1), file(1, 2), file(2, 3)]);
        known.see(&file(1, 1));
        known.see(&file(1, 9));
        assert_eq!(known.end_pass(Some(1)), [file(1, 2)]);
        assert!(known.has(&file(1, 1)) && !known.has(&file(1, 9)) && !known.has(&file(2, 3)));
        assert_eq!(known.end_pass(Some(1)), []);
        known.remove(&file(1, 1));
        assert!(known.is_empty());
        let mut known = Known::new(vec![file(1, 1)]);
        known.see_all();
        assert_eq!(known.end_pass(Some(1)), []);
    }
}
