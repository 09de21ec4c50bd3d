//! What lies in `failed/`, for those who look after it: they see it, give it back to be tried again, or remove it.
//!
//! The daemon may be at work in the directory meanwhile, and so may others: nothing is replaced, no link is followed, and
//! what is not there any more is no surprise. A file's reason is taken away before the file itself, for its name may be used
//! again at once; a crash in between leaves a file without a reason, and the reason under a private name, which the daemon
//! removes.
//!
//! People put files here by hand, too: a file without a reason is one like any other. A reason without a file is shown, and can
//! be removed. Names that begin with `.` are nobody's business.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
    process,
};

use super::{
    aside::{self, with_end},
    directory::Directory,
    failed::{self, REASON_END, Reason, WITHDRAWN},
    scan::Kind,
};

/// The `failed/` of a spool directory.
#[derive(Debug)]
pub struct Rejects {
    spool: Directory,
    failed: Directory,
}

/// Something that lies there.
#[derive(Debug)]
pub struct Reject {
    /// Its name there.
    pub name: OsString,
    /// What it is.
    pub lies: Lies,
    /// Why; `None` where nothing lies beside it that says so.
    pub reason: Option<Reason>,
}

/// What lies in `failed/` under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    /// A file of so many bytes.
    File(u64),
    /// Nothing but a reason.
    Nothing,
    /// A link, a directory or the like.
    Special,
}

/// A reason that was taken away from beside its file.
#[derive(Debug)]
struct Withdrawn {
    private: OsString,
    /// As long as it is held the daemon leaves the reason alone.
    _lock: Option<File>,
}

/// Why something stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum RejectError {
    /// Under its name it would not be looked at.
    #[error("the daemon does not look at files of such names; rename it, then try again")]
    Ignored,
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is nothing but a reason.
    #[error("only its reason is left, the file itself is gone; `posthaste spool remove` removes the reason")]
    NoFile,
    /// It is what its name says.
    #[error("that is the reason of a file: name the file")]
    IsReason,
    /// A link, a directory or the like.
    #[error("it is no file, but a link, a directory or the like: see to it by hand")]
    Special,
    /// There is nothing of this name.
    #[error("there is nothing of this name")]
    Unknown,
}

impl Rejects {
    /// Opens the `failed/` of the spool directory `path`; `None` when there is none.
    ///
    /// # Errors
    /// The spool directory is not there or may not be opened; or `failed` is something else, such as a link.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let spool = Directory::open(path)?;
        match spool.own(failed::NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            failed => Ok(Some(Self { spool, failed: failed? })),
        }
    }

    /// The names of all that lies there, in order.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self) -> io::Result<BTreeSet<OsString>> {
        let mut all = BTreeSet::new();
        for entry in self.failed.entries()? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if failed::is_shown(&name) {
                all.insert(name);
            }
        }
        let file = |name: &OsString| {
            let of = failed::reason_of(name, |name| Ok::<_, io::Error>(all.contains(name)))?;
            Ok(of.unwrap_or_else(|| name.clone()))
        };
        all.iter().map(file).collect()
    }

    /// What lies there under this name.
    ///
    /// # Errors
    /// There is nothing, or it cannot be looked at.
    pub fn look(&self, name: &OsStr) -> Result<Reject, RejectError> {
        check(name)?;
        let reason = || self.reason(name);
        let lies = match self.failed.stamp(name) {
            Ok(_) if self.is_reason(name)? => return Err(RejectError::IsReason),
            Ok(stamp) if stamp.regular => Lies::File(stamp.size),
            Ok(_) => Lies::Special,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Err(_) if self.has_reason(name) => Lies::Nothing,
            Err(_) => return Err(RejectError::Unknown),
        };
        Ok(Reject { name: name.to_owned(), lies, reason: reason() })
    }

    /// Moves the file back to where it came from, and says under which name it is there: its own, or where something has
    /// that by now one with a number. Its reason goes away. Durable.
    ///
    /// # Errors
    /// It is no file, or cannot be moved; it lies where it was.
    pub fn retry(&self, name: &OsStr) -> Result<OsString, RejectError> {
        let reject = self.look(name)?;
        match reject.lies {
            Lies::File(_) => {}
            Lies::Nothing => return Err(RejectError::NoFile),
            Lies::Special => return Err(RejectError::Special),
        }
        let target = original(name, reject.reason.as_ref()).ok_or(RejectError::Ignored)?;
        let withdrawn = self.withdraw(name)?;
        let moved = aside::rename_to_free(&self.failed, name, &self.spool, aside::numbered(&target));
        if moved.is_ok() {
            self.spool.sync()?;
        }
        self.end(name, withdrawn, moved)
    }

    /// Whether a file of this name is only taken where the directory has a `type`.
    pub fn needs_type(name: &OsStr) -> bool {
        Kind::of(name) == Kind::Other
    }

    /// Removes it for good, with its reason. Durable.
    ///
    /// # Errors
    /// It is a directory, or cannot be removed; it lies where it was.
    pub fn remove(&self, name: &OsStr) -> Result<(), RejectError> {
        let reject = self.look(name)?;
        let withdrawn = self.withdraw(name)?;
        let removed = match reject.lies {
            Lies::Nothing => Ok(()),
            Lies::File(_) | Lies::Special => self.failed.unlink(name),
        };
        match self.end(name, withdrawn, removed) {
            Err(RejectError::Io(error)) if error.kind() == io::ErrorKind::IsADirectory => {
                Err(RejectError::Special)
            }
            ended => ended,
        }
    }

    /// Takes the reason's name away, so that it is not mistaken for that of the next file of this name.
    fn withdraw(&self, name: &OsStr) -> io::Result<Option<Withdrawn>> {
        if !self.has_reason(name) {
            return Ok(None);
        }
        let private = OsString::from(format!("{WITHDRAWN}{}", process::id()));
        // One is left only where this process was, and ended before its time.
        match self.failed.unlink(&private) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let beside = with_end(name, REASON_END);
        // Before it has the name by which the daemon finds what nobody holds.
        let lock = failed::lock(&self.failed, &beside);
        aside::rename(&self.failed, &beside, &self.failed, &private)?;
        Ok(Some(Withdrawn { private, _lock: lock }))
    }

    /// Removes the reason that was withdrawn; or gives its name back, when what was to be done could not be.
    fn end<T>(
        &self,
        name: &OsStr,
        withdrawn: Option<Withdrawn>,
        result: io::Result<T>,
    ) -> Result<T, RejectError> {
        if let Some(Withdrawn { private, _lock }) = withdrawn {
            match &result {
                Ok(_) => self.failed.unlink(&private)?,
                // What cannot be given back either is no news: the first error is told.
                Err(_) => {
                    let _ = aside::rename(&self.failed, &private, &self.failed, &with_end(name, REASON_END));
                }
            }
        }
        self.failed.sync()?;
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(RejectError::Unknown),
            result => Ok(result?),
        }
    }

    fn reason(&self, name: &OsStr) -> Option<Reason> {
        if !self.has_reason(name) {
            return None;
        }
        failed::read_reason(&self.failed, &with_end(name, REASON_END))
    }

    /// Whether a reason lies beside where the file lies or lay.
    fn has_reason(&self, name: &OsStr) -> bool {
        let beside = with_end(name, REASON_END);
        let has = |name: &OsStr| self.failed.has(name).unwrap_or(false);
        has(&beside) && !has(&with_end(&beside, REASON_END))
    }

    /// Whether what lies under this name is a reason, and no file that is named like one.
    fn is_reason(&self, name: &OsStr) -> io::Result<bool> {
        Ok(failed::reason_of(name, |name| self.failed.has(name))?.is_some())
    }
}

/// A name, not a path, and one that is shown.
fn check(name: &OsStr) -> Result<(), RejectError> {
    let bytes = name.as_bytes();
    let plain = !bytes.is_empty() && failed::is_shown(name) && !bytes.contains(&b'/');
    if plain { Ok(()) } else { Err(RejectError::Unknown) }
}

/// Under which name the file `name` is looked at again: the one it had, as far as it can be told. What the reason says may have
/// been written by anybody.
fn original(name: &OsStr, reason: Option<&Reason>) -> Option<OsString> {
    let is_good =
        |name: &OsString| check(name).is_ok() && name.len() < 256 && Kind::of(name) != Kind::Ignored;
    let said = reason.and_then(|reason| {
        // Its bytes may be no text, and the reason cannot say these: they are in the name.
        let is_said = |name: &OsString| name.to_string_lossy() == reason.file;
        let whole = Some(name.to_owned()).filter(is_said);
        whole.or_else(|| without_number(name).filter(is_said)).or_else(|| Some(reason.file.clone().into()))
    });
    said.filter(is_good).or_else(|| Some(name.to_owned()).filter(is_good))
}

/// `a.json` of `a.json.17`.
fn without_number(name: &OsStr) -> Option<OsString> {
    let bytes = name.as_bytes();
    let dot = bytes.iter().rposition(|byte| *byte == b'.')?;
    let (stem, number) = (&bytes[..dot], &bytes[dot + 1..]);
    let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    is_number.then(|| OsString::from_vec(stem.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::model::time::Timestamp;

    struct Place {
        directory: TempDir,
        rejects: Rejects,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            fs::create_dir(directory.path().join("failed")).expect("failed/");
            let rejects = Rejects::open(directory.path()).expect("it can be opened").expect("it is there");
            Self { directory, rejects }
        }

        fn put(&self, name: &OsStr, file: Option<&str>) {
            let failed = self.directory.path().join("failed");
            fs::write(failed.join(name), name.as_bytes()).expect("a file");
            if let Some(file) = file {
                let reason = Reason {
                    file: file.to_owned(),
                    code: "invalid_event".to_owned(),
                    message: "no".to_owned(),
                    line: None,
                    item: None,
                    at: Timestamp::EPOCH,
                };
                let text = serde_json::to_vec(&reason).expect("JSON");
                fs::write(failed.join(with_end(name, ".reason")), text).expect("a reason");
            }
        }

        fn left(&self) -> Vec<OsString> {
            names(&self.directory.path().join("failed"))
        }

        fn spool(&self) -> Vec<OsString> {
            names(self.directory.path())
        }
    }

    fn names(path: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(path).expect("a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    }

    fn os(name: &str) -> &OsStr {
        OsStr::new(name)
    }

    #[test]
    fn files_go_back_under_their_own_names() {
        let odd = OsStr::from_bytes(b"a\xff.json");
        let odd_numbered = OsStr::from_bytes(b"b\xff.json.3");
        for (name, reason, back) in [
            (os("a.json"), Some("a.json"), os("a.json")),
            (os("a.json.1"), Some("a.json"), os("a.json")),
            (os("a.json"), None, os("a.json")),
            (os("a.1"), Some("a.1"), os("a.1")),
            (os("cut.json"), Some("cut and longer.json"), os("cut and longer.json")),
            (odd, Some("a\u{fffd}.json"), odd),
            (odd_numbered, Some("b\u{fffd}.json"), OsStr::from_bytes(b"b\xff.json")),
            // What somebody has written there.
            (os("a.json"), Some("../../etc/passwd"), os("a.json")),
            (os("a.json"), Some(".."), os("a.json")),
            (os("a.json"), Some(""), os("a.json")),
            (os("a.json"), Some(".bashrc"), os("a.json")),
            (os("a.json"), Some("a.tmp"), os("a.json")),
            (os("a.reason"), Some("a.reason"), os("a.reason")),
        ] {
            let place = Place::new();
            place.put(name, reason);
            let expected = if reason.is_none() { 1 } else { 2 };
            assert_eq!(place.left().len(), expected);
            assert_eq!(place.rejects.names().expect("they can be read"), BTreeSet::from([name.to_owned()]));
            assert_eq!(place.rejects.retry(name).expect("it goes back"), back, "{reason:?}");
            assert_eq!(
                (place.left().len(), place.spool()),
                (0, {
                    let mut all = vec![back.to_owned(), "failed".into()];
                    all.sort();
                    all
                })
            );
            assert_eq!(fs::read(place.directory.path().join(back)).expect("the file"), name.as_bytes());
        }
    }

    #[test]
    fn nothing_is_replaced() {
        let place = Place::new();
        fs::write(place.directory.path().join("a.json"), "another").expect("a file");
        for (name, back) in [("a.json", "a.1.json"), ("a.json.1", "a.2.json")] {
            place.put(os(name), Some("a.json"));
            assert_eq!(place.rejects.retry(os(name)).expect("it goes back"), back);
        }
        assert_eq!(fs::read(place.directory.path().join("a.json")).expect("the file"), b"another");
        let long = "x".repeat(250) + ".json";
        fs::write(place.directory.path().join(&long), "another").expect("a file");
        place.put(os("x.json"), Some(&long));
        let back = place.rejects.retry(os("x.json")).expect("it goes back");
        assert!(back.len() < 240 && back.to_string_lossy().ends_with("x.1.json"), "{back:?}");
    }

    #[test]
    fn what_is_no_file() {
        let place = Place::new();
        let failed = place.directory.path().join("failed");
        place.put(os("gone"), Some("gone"));
        fs::remove_file(failed.join("gone")).expect("removed");
        symlink("/etc/passwd", failed.join("link")).expect("a link");
        fs::create_dir(failed.join("directory")).expect("a directory");
        place.put(os("half.tmp"), None);
        fs::write(failed.join("b.reason"), "no JSON").expect("a reason");
        fs::write(failed.join("b"), "b").expect("a file");
        symlink("/etc/passwd", failed.join("c.reason")).expect("a link");
        fs::write(failed.join("c"), "c").expect("a file");
        fs::write(failed.join(".reason.tmp"), "half").expect("half a reason");
        let all = ["b", "c", "directory", "gone", "half.tmp", "link"].map(OsString::from);
        assert_eq!(place.rejects.names().expect("they can be read"), BTreeSet::from(all));
        let (_, counted) =
            failed::count(&place.rejects.failed, None, Timestamp::EPOCH).expect("it can be read");
        assert_eq!(counted, Some(6), "the daemon counts what is listed");
        let lies =
            |name: &str| place.rejects.look(os(name)).map(|reject| (reject.lies, reject.reason.is_some()));
        assert_eq!(lies("gone").expect("it is there"), (Lies::Nothing, true));
        assert_eq!(lies("link").expect("it is there"), (Lies::Special, false));
        assert_eq!(lies("b").expect("it is there"), (Lies::File(1), false));
        assert_eq!(lies("c").expect("it is there"), (Lies::File(1), false));
        for (name, retry, remove) in [
            ("nothing", "nothing of this name", Some("nothing of this name")),
            ("b.reason", "name the file", Some("name the file")),
            ("../failed/b", "nothing of this name", Some("nothing of this name")),
            (".reason.tmp", "nothing of this name", Some("nothing of this name")),
            ("", "nothing of this name", Some("nothing of this name")),
            ("half.tmp", "does not look at", None),
            ("directory", "no file", Some("no file")),
            ("link", "no file", None),
            ("gone", "only its reason", None),
            ("c", "", None),
        ] {
            let name = os(name);
            let retried = place.rejects.retry(name).map(drop);
            let is = |result: &Result<(), RejectError>, expected: Option<&str>| match (result, expected) {
                (Ok(()), None) => true,
                (Err(error), Some(part)) => error.to_string().contains(part),
                _ => false,
            };
            assert!(is(&retried, Some(retry).filter(|part| !part.is_empty())), "{name:?}: {retried:?}");
            if retried.is_ok() {
                continue;
            }
            let removed = place.rejects.remove(name);
            assert!(is(&removed, remove), "{name:?}: {removed:?}");
        }
        assert_eq!(place.left(), [".reason.tmp", "b", "b.reason", "directory"]);
        assert!(Path::new("/etc/passwd").exists());
        place.rejects.remove(os("b")).expect("it goes");
        assert_eq!(place.left(), [".reason.tmp", "directory"]);
    }

    #[test]
    fn what_cannot_be_moved_keeps_its_reason() {
        let place = Place::new();
        place.put(os("a.json"), Some("a.json"));
        let withdrawn = place.rejects.withdraw(os("a.json")).expect("it can be");
        assert_eq!(place.left().len(), 2);
        let count =
            || failed::count(&place.rejects.failed, None, Timestamp::EPOCH).expect("it can be read").1;
        assert_eq!((count(), place.left().len()), (Some(1), 2), "the daemon leaves it alone");
        let failed: io::Result<()> = Err(io::ErrorKind::PermissionDenied.into());
        assert!(place.rejects.end(os("a.json"), withdrawn, failed).is_err());
        assert_eq!(place.left(), ["a.json", "a.json.reason"]);
        // As of a command that was killed.
        drop(place.rejects.withdraw(os("a.json")).expect("it can be"));
        assert_eq!((place.left().len(), count(), place.left().len()), (2, Some(1), 1));
    }

    #[test]
    fn a_link_is_no_failed() {
        let (place, other) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        assert!(Rejects::open(place.path()).expect("it can be opened").is_none());
        symlink(other.path(), place.path().join("failed")).expect("a link");
        assert!(Rejects::open(place.path()).is_err());
    }
}
