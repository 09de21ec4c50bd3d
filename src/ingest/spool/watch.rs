//! Hints that something lies in the directory; a scan is the truth.
//!
//! The kernel's notifications are collected here, on the watcher's thread, which never waits: names of files that were
//! renamed in or closed by their writer, names of files that are being written, names that are new, and the wish for a
//! scan where notifications were lost. What is collected is bounded; what does not fit becomes a scan.
//!
//! A name that is new says little: somebody may have made the file to write to it, or given a name to one that is written
//! already (a hard link, `linkat` after `O_TMPFILE`). Nobody will say that the second is complete, so it is to be
//! looked at; as long as it is empty and was not closed it is taken for the first.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    mem,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::sync::Notify;

use super::{directory::Inode, scan::Kind};

/// Names that are collected at most.
const NAMES: usize = 1 << 14;
/// Files that are remembered at most as begun.
const BEGUN: usize = 1 << 10;

/// What was heard and not yet acted upon.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Files of any kind are taken.
    any: bool,
    heard: Mutex<Heard>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Heard {
    news: News,
    /// Files that were made, or to which somebody writes, and whether the second: their notification is still to come.
    begun: HashMap<OsString, bool>,
}

/// What is to be looked at.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Files that are complete.
    pub(super) names: BTreeSet<OsString>,
    /// Files that are new, complete or not.
    pub(super) new: BTreeSet<OsString>,
    /// Notifications were lost.
    pub(super) scan: bool,
    /// The directory is no longer where it was.
    pub(super) lost: bool,
}

impl Hints {
    /// Nothing heard yet; `any`: files of any kind are taken.
    pub(super) fn new(any: bool) -> Self {
        Self { any, ..Self::default() }
    }

    /// What was heard since the last time.
    pub(super) fn take(&self) -> News {
        mem::take(&mut self.heard().news)
    }

    /// Waits until there is something to take.
    pub(super) async fn heard_something(&self) {
        self.wake.notified().await;
    }

    /// Whether somebody is known to write to the file of `size` bytes, or to be about to.
    pub(super) fn is_written(&self, name: &OsStr, size: u64) -> bool {
        self.heard().begun.get(name).is_some_and(|written| *written || size == 0)
    }

    /// Takes in what the watcher of `directory` says.
    fn hear(&self, event: notify::Result<Event>, directory: &Path) {
        let Ok(event) = event else { return self.add(Heard::lose) };
        if event.need_rescan() {
            tracing::debug!(spool = %directory.display(), "notifications were lost; the directory is scanned");
            return self.add(Heard::lose);
        }
        let Some(path) = event.paths.first() else { return };
        if path == directory {
            if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
                self.add(|heard| heard.news.lost = true);
            }
            return;
        }
        let Some(name) = path.file_name().filter(|name| Kind::of(name).is_taken(self.any)) else { return };
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => self.add(|heard| heard.complete(name)),
            EventKind::Create(CreateKind::File) => self.add(|heard| heard.create(name)),
            EventKind::Modify(ModifyKind::Data(_)) => self.heard().begin(name, true),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
                self.heard().begun.remove(name);
            }
            _ => {}
        }
    }

    fn add(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard());
        self.wake.notify_one();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        // Every change is one insertion or assignment: a panic cannot leave it half changed.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn complete(&mut self, name: &OsStr) {
        self.begun.remove(name);
        self.news.new.remove(name);
        self.news.scan |= !insert_bounded(&mut self.news.names, name);
    }

    fn create(&mut self, name: &OsStr) {
        self.begin(name, false);
        self.news.scan |= !insert_bounded(&mut self.news.new, name);
    }

    fn begin(&mut self, name: &OsStr, written: bool) {
        if let Some(known) = self.begun.get_mut(name) {
            *known |= written;
        } else if self.begun.len() < BEGUN {
            self.begun.insert(name.to_owned(), written);
        }
    }

    fn lose(&mut self) {
        // Whose end was not heard must not be waited for.
        self.begun.clear();
        self.news.scan = true;
    }
}

/// False when there is no room for it.
fn insert_bounded(names: &mut BTreeSet<OsString>, name: &OsStr) -> bool {
    if names.contains(name) {
        return true;
    }
    names.len() < NAMES && names.insert(name.to_owned())
}

/// The watcher of a directory, if there is one.
#[derive(Debug, Default)]
pub(super) struct Watch(Option<(RecommendedWatcher, Inode)>);

impl Watch {
    /// Watches the directory `path`, which is `inode`, unless it is watched already; `lost` says that it cannot be.
    ///
    /// # Errors
    /// The system has no watch to give.
    pub(super) fn arm(
        &mut self,
        path: &Path,
        inode: Inode,
        lost: bool,
        hints: &Arc<Hints>,
    ) -> notify::Result<()> {
        if !lost && self.0.as_ref().is_some_and(|(_, watched)| *watched == inode) {
            return Ok(());
        }
        // A new watcher, not a new watch: the old one may still watch the directory under another name.
        self.disarm();
        let (own, hints) = (path.to_owned(), Arc::clone(hints));
        let mut watcher = notify::recommended_watcher(move |event| hints.hear(event, &own))?;
        watcher.watch(path, RecursiveMode::NonRecursive)?;
        self.0 = Some((watcher, inode));
        Ok(())
    }

    /// Watches nothing any more.
    pub(super) fn disarm(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind};

    use super::*;

    const TO: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    fn hear(hints: &Hints, kind: EventKind, path: &str) {
        hints.hear(Ok(Event::new(kind).add_path(path.into())), Path::new("/spool"));
    }

    fn names(news: &News) -> Vec<&str> {
        news.names.iter().filter_map(|name| name.to_str()).collect()
    }

    #[test]
    fn what_completes_a_file() {
        let hints = Hints::default();
        let is_written = |size| hints.is_written(OsStr::new("a.json"), size);
        hear(&hints, EventKind::Create(CreateKind::File), "/spool/a.json");
        // With something in it it may have been written before it got its name.
        assert_eq!((is_written(0), is_written(7)), (true, false));
        hear(&hints, WRITE, "/spool/a.json");
        hear(&hints, EventKind::Create(CreateKind::File), "/spool/linked.json");
        hear(&hints, EventKind::Create(CreateKind::File), "/spool/.hidden.json");
        hear(&hints, EventKind::Create(CreateKind::Folder), "/spool/folder.json");
        hear(&hints, EventKind::Access(AccessKind::Open(AccessMode::Any)), "/spool/a.json");
        assert_eq!((is_written(0), is_written(7)), (true, true));
        let news = hints.take();
        let new: Vec<_> = news.new.iter().filter_map(|name| name.to_str()).collect();
        assert_eq!((new, news.names.len()), (vec!["a.json", "linked.json"], 0));
        hear(&hints, EventKind::Create(CreateKind::File), "/spool/e.json");
        hear(&hints, CLOSE, "/spool/e.json");
        assert!(hints.take().new.is_empty(), "it is complete");
        hear(&hints, CLOSE, "/spool/a.json");
        hear(&hints, TO, "/spool/b.ndjson");
        hear(&hints, TO, "/spool/c.json.tmp");
        hear(&hints, TO, "/spool/.d.json");
        let news = hints.take();
        assert_eq!((names(&news), news.scan, news.lost), (vec!["a.json", "b.ndjson"], false, false));
        assert_eq!((is_written(0), is_written(7)), (false, false));
        let any = Hints::new(true);
        for hints in [&hints, &any] {
            for name in ["a.json", "b.pdf", "c.pdf.part", "d.msgpack"] {
                hear(hints, TO, &format!("/spool/{name}"));
            }
        }
        let (events, all) = (vec!["a.json", "d.msgpack"], vec!["a.json", "b.pdf", "d.msgpack"]);
        assert_eq!((names(&hints.take()), names(&any.take())), (events, all));
    }

    #[test]
    fn what_is_lost_becomes_a_scan() {
        let hints = Hints::default();
        hear(&hints, WRITE, "/spool/a.json");
        hints.hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), Path::new("/spool"));
        assert!(hints.take().scan && !hints.is_written(OsStr::new("a.json"), 7));
        hints.hear(Err(notify::Error::generic("broken")), Path::new("/spool"));
        assert!(hints.take().scan);
        hear(&hints, EventKind::Remove(RemoveKind::Folder), "/spool/sub");
        assert!(!hints.take().lost);
        hear(&hints, EventKind::Remove(RemoveKind::Folder), "/spool");
        assert!(hints.take().lost);
    }

    #[test]
    fn what_is_collected_is_bounded() {
        let hints = Hints::default();
        for number in 0..NAMES + 5 {
            hear(&hints, WRITE, &format!("/spool/{number}.json"));
        }
        assert_eq!(hints.heard().begun.len(), BEGUN);
        for number in 0..NAMES {
            hear(&hints, TO, &format!("/spool/{number}.json"));
        }
        assert!(!hints.heard().news.scan);
        hear(&hints, TO, "/spool/more.json");
        let news = hints.take();
        assert_eq!((news.names.len(), news.scan), (NAMES, true));
        for number in 0..=NAMES {
            assert!(!hints.heard().news.scan);
            hear(&hints, EventKind::Create(CreateKind::File), &format!("/spool/{number}.json"));
        }
        let news = hints.take();
        assert_eq!((news.new.len(), news.scan), (NAMES, true));
    }
}
