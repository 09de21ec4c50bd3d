//! The spools' directories, of which no two may be the same.
//!
//! They are compared by what their paths lead to, as far as that is there. That is looked up aside, for [`PATIENCE`] at most: on
//! a network file system whose server is gone whoever looks waits for ever, and neither a start nor a reload may. Of a path
//! that does not answer the text is compared; what it turns out to lead to is seen by the spools themselves.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::source::Place;

/// How long a path may take to say where it leads.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long another may, once one has not: mostly they are on the same file system. A thread waits on for each that has not, at
/// each start and reload.
const LITTLE_PATIENCE: Duration = Duration::from_millis(100);

/// Where a spool's files go that are bad, and those that are kept.
const OWN_DIRECTORIES: [&str; 2] = ["failed", "done"];

/// The spools' directories by what their paths lead to.
pub(super) struct Directories {
    known: BTreeMap<PathBuf, Place>,
    patience: Duration,
}

impl Directories {
    pub(super) fn new() -> Self {
        Self { known: BTreeMap::new(), patience: PATIENCE }
    }

    /// Adds the directory `path`, which is named at `place`.
    ///
    /// # Errors
    /// It is another spool's, or lies in another's as a directory of the daemon's own: what is wrong, and where that one is.
    pub(super) fn add(&mut self, path: &Path, place: Place) -> Result<(), (String, Place)> {
        let path = plain(path);
        let real = self.real(&path);
        if let Some(first) = self.known.insert(real.clone(), place) {
            let by = if path == real { String::new() } else { format!(": {}", real.display()) };
            return Err((format!("two spools have the same directory{by}"), first));
        }
        let is_own = OWN_DIRECTORIES.iter().any(|own| real.ends_with(own));
        let outer = real.parent().filter(|_| is_own).and_then(|outer| self.known.get(outer));
        let inner = OWN_DIRECTORIES.iter().find_map(|own| self.known.get(&real.join(own)));
        match outer.or(inner) {
            Some(first) => Err(("a spool is in another's `failed/` or `done/`".to_owned(), *first)),
            None => Ok(()),
        }
    }

    /// What `path` leads to; itself if that cannot be told in time.
    fn real(&mut self, path: &Path) -> PathBuf {
        let (sender, answer) = mpsc::channel();
        let asked = path.to_owned();
        // Nobody may wait for it any more.
        let look = move || drop(sender.send(followed(asked)));
        let Ok(_thread) = thread::Builder::new().name("real path".to_owned()).spawn(look) else {
            return path.to_owned();
        };
        answer.recv_timeout(self.patience).unwrap_or_else(|_| {
            self.patience = LITTLE_PATIENCE;
            path.to_owned()
        })
    }
}

/// What `path` leads to when the links in what is there of it are followed.
fn followed(path: PathBuf) -> PathBuf {
    let there = path.ancestors().find_map(|ancestor| {
        let rest = path.strip_prefix(ancestor).ok()?;
        ancestor.canonicalize().ok().map(|real| plain(&real.join(rest)))
    });
    there.unwrap_or(path)
}

/// A path without `.` and doubled slashes, to compare it.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}
