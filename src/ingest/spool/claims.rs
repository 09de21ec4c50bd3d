//! Whose a directory is: two spools may come to the same one by different names, now or when a link or a mount changes.
//!
//! A spool claims the directory that its path leads to before it looks at it. The first one has it until its path leads
//! elsewhere; to another it is said whose it is, for what both took would be there twice.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::directory::Inode;

/// The directories that are somebody's, by the paths of their spools; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Mutex<BTreeMap<PathBuf, Inode>>>);

impl Claims {
    /// Claims the directory to which `path` leads now, in place of what it led to.
    ///
    /// # Errors
    /// It is the spool's at this other path.
    pub(super) fn claim(&self, path: &Path, inode: Inode) -> Result<(), PathBuf> {
        let mut claimed = self.claimed();
        claimed.remove(path);
        if let Some((other, _)) = claimed.iter().find(|(_, of)| **of == inode) {
            return Err(other.clone());
        }
        claimed.insert(path.to_owned(), inode);
        Ok(())
    }

    /// `path` leads nowhere.
    pub(super) fn release(&self, path: &Path) {
        self.claimed().remove(path);
    }

    fn claimed(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Inode>> {
        // Every change is one insertion or removal: a panic cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::spool::directory::Directory;

    #[test]
    fn the_first_has_it_until_it_goes() {
        let place = tempfile::tempdir().expect("a directory");
        let inode = |name: &str| {
            std::fs::create_dir_all(place.path().join(name)).expect("a directory");
            Directory::open(&place.path().join(name)).expect("the directory").inode()
        };
        let (one, two) = (inode("one"), inode("two"));
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        let claims = Claims::default();
        assert_eq!(claims.claim(a, one), Ok(()));
        assert_eq!(claims.claim(a, one), Ok(()), "its own");
        assert_eq!(claims.claim(b, one), Err(a.to_owned()));
        assert_eq!(claims.claim(b, two), Ok(()));
        // Its path leads elsewhere by now; and what it cannot have is no reason to keep what it had.
        assert_eq!(claims.claim(a, two), Err(b.to_owned()));
        assert_eq!(claims.claim(b, one), Ok(()));
        claims.release(b);
        assert_eq!(claims.claim(a, one), Ok(()));
    }
}
