//! `failed/`: where files go that cannot be taken, each with its reason beside it.
//!
//! `NAME.reason` is a [`Reason`] as JSON. It is durable before the file is moved, so that no file lies there without
//! one; a crash in between leaves a reason without a file, which the next try finds and keeps. The file's name is taken away
//! first (see [`aside`]), so that no other file is moved in its place. A name that is there already gets `.1`, `.2`, … behind it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{
    aside::{self, Aside, shortened, with_end},
    directory::{Directory, Stamp},
    own,
    take::Bad,
};
use crate::{ingest::dialect::Place, model::time::Timestamp};

/// The directory's name, in the spool directory.
pub const NAME: &str = "failed";

/// How the name of a reason begins while its file is moved or removed by a command, which holds a lock on it.
pub(super) const WITHDRAWN: &str = ".withdrawn-";

/// How the name of a reason ends.
pub(super) const REASON_END: &str = ".reason";

const REASON_MODE: u32 = 0o640;
/// No reason is longer.
const LONGEST_REASON: u64 = 1 << 16;
/// Changes that are further apart than this have different times, in nanoseconds.
const SETTLED: i64 = 1_000_000_000;
const TEMPORARY: &str = ".reason.tmp";
/// Names longer than this are cut, so that a number and `.reason` fit behind them (255 bytes is a name's limit).
const LONGEST_NAME: usize = 224;
/// How often a name may be snatched away before the try is given up.
const TRIES: usize = 8;

/// Why a file was not taken: what `NAME.reason` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The name under which the file lay in the spool directory.
    pub file: String,
    /// A stable word, such as `invalid_event`.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// In which line, from 1; `null` when it is the file as a whole, or has no lines.
    pub line: Option<u64>,
    /// As which item of a file of MessagePack, from 1; `null` otherwise.
    pub item: Option<u64>,
    /// When it was moved here.
    pub at: Timestamp,
}

/// How `failed/` was when its files were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// When it was last changed.
    changed: i64,
    /// So long before the count that no change since can have the same time.
    settled: bool,
}

/// What became of the try.
#[derive(Debug)]
pub(super) enum PutAway {
    /// The file is not as it was, or gone: it was left where it is, or given back under this name.
    Changed {
        /// Its name, if it was renamed.
        given_back: Option<OsString>,
    },
    /// It cannot be moved, and was given back.
    Stuck {
        /// Its name; `None` when it is gone.
        given_back: Option<OsString>,
        /// Why.
        error: io::Error,
    },
    /// It lies in `failed/`.
    Moved {
        /// Its name there.
        target: OsString,
        /// Whether it does so after a power cut, too; if not, it is tried again then.
        synced: io::Result<()>,
    },
}

/// Opens the `failed/` of `directory`, which is made if it is not there.
///
/// # Errors
/// Those of [`own::open`].
pub(super) fn open(directory: &Directory) -> io::Result<Directory> {
    own::open(directory, NAME)
}

/// How much lies in `failed` that is shown: files without their reasons, and reasons without a file. What a command has left
/// that was killed is removed on the way. `None` if it is as it was `before`.
///
/// # Errors
/// It cannot be read.
pub(super) fn count(
    failed: &Directory,
    before: Option<Seen>,
    now: Timestamp,
) -> io::Result<(Seen, Option<u64>)> {
    let changed = failed.changed()?;
    let wall = i64::try_from(now.as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let seen = Seen { changed, settled: wall.saturating_sub(changed) > SETTLED };
    if before.is_some_and(|before| before.settled && before.changed == seen.changed) {
        return Ok((seen, None));
    }
    let mut count = 0;
    for entry in failed.entries()? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name.as_bytes().starts_with(WITHDRAWN.as_bytes()) {
            sweep(failed, name);
        }
        // A reason is counted by its file, if that is there.
        let by_another = match reason_of(name, |name| failed.has(name))? {
            Some(of) => failed.has(&of)?,
            None => false,
        };
        count += u64::from(is_shown(name) && !by_another);
    }
    Ok((seen, Some(count)))
}

/// Takes the lock on a reason that is to be withdrawn, or that was; `None` when another has it, or there are none here.
pub(super) fn lock(failed: &Directory, name: &OsStr) -> Option<File> {
    let (file, _) = failed.open_file(name).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

/// Removes a withdrawn reason whose command ended before its time.
fn sweep(failed: &Directory, name: &OsStr) {
    let removed = lock(failed, name).map(|_locked| failed.unlink(name));
    if let Some(Err(error)) = removed {
        tracing::debug!(file = %name.display(), "cannot be removed from failed/: {error}");
    }
}

/// Whether people are shown what has this name.
pub(super) fn is_shown(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b".")
}

/// The name of the file whose reason this is, by its name; `None` where it is no reason, but a file that is named like one
/// and has a reason itself.
pub(super) fn reason_of<E>(
    name: &OsStr,
    has: impl Fn(&OsStr) -> Result<bool, E>,
) -> Result<Option<OsString>, E> {
    let of = name.as_bytes().strip_suffix(REASON_END.as_bytes()).filter(|of| !of.is_empty());
    match of {
        Some(of) if !has(&with_end(name, REASON_END))? => Ok(Some(OsStr::from_bytes(of).to_owned())),
        _ => Ok(None),
    }
}

/// Moves the file `name` into `failed/`, if it is still as `stamp` says.
///
/// # Errors
/// `failed/` cannot be made or written, or the name cannot be taken away: the file is where it was.
pub(super) fn put_away(
    directory: &Directory,
    name: &OsStr,
    stamp: Stamp,
    bad: &Bad,
    at: Timestamp,
) -> io::Result<PutAway> {
    let failed = open(directory)?;
    let (line, item) = match bad.place {
        Some(Place::Line(number)) => (Some(number), None),
        Some(Place::Item(number)) => (None, Some(number)),
        None => (None, None),
    };
    let reason = Reason {
        file: name.to_string_lossy().into_owned(),
        code: bad.refusal.code.as_str().to_owned(),
        message: bad.refusal.message.clone(),
        line,
        item,
        at,
    };
    let base = shortened(name, LONGEST_NAME);
    let (mut target, mut beside) = announce(&failed, &base, &reason)?;
    let private = match aside::take(directory, name, stamp) {
        Ok(Aside::Taken(private)) => private,
        other => {
            // A reason that stays is that of the next try.
            let _ = failed.unlink(&beside);
            return other.map(|other| match other {
                Aside::GivenBack(name) => PutAway::Changed { given_back: Some(name) },
                _ => PutAway::Changed { given_back: None },
            });
        }
    };
    for _ in 0..TRIES {
        match aside::rename(directory, &private, &failed, &target) {
            Ok(()) => {
                let synced = failed.sync().and_then(|()| directory.sync());
                return Ok(PutAway::Moved { target, synced });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (target, beside) = announce(&failed, &base, &reason)?;
            }
            Err(error) => {
                let _ = failed.unlink(&beside);
                return Ok(PutAway::Stuck { given_back: aside::give_back(directory, &private)?, error });
            }
        }
    }
    let error = io::ErrorKind::AlreadyExists.into();
    Ok(PutAway::Stuck { given_back: aside::give_back(directory, &private)?, error })
}

/// Writes the reason beside a name that is free; both names.
fn announce(failed: &Directory, base: &OsStr, reason: &Reason) -> io::Result<(OsString, OsString)> {
    for _ in 0..TRIES {
        let target = aside::free_name(base, |name| is_taken(failed, name, reason))?;
        let beside = with_end(&target, REASON_END);
        match write_reason(failed, &beside, reason) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            written => return written.map(|()| (target, beside)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn write_reason(failed: &Directory, name: &OsStr, reason: &Reason) -> io::Result<()> {
    if says_the_same(failed, name, reason) {
        return failed.sync();
    }
    let mut text = serde_json::to_vec(reason).expect("a reason is JSON, and a Vec takes it");
    text.push(b'\n');
    let mut file = failed.create_file(OsStr::new(TEMPORARY), REASON_MODE)?;
    file.write_all(&text)?;
    file.sync_all()?;
    aside::rename(failed, OsStr::new(TEMPORARY), failed, name)?;
    failed.sync()
}

/// Whether a file under this name would replace something, or its reason would: also a file that is named `….reason`, and whose
/// own reason has just been taken away.
fn is_taken(failed: &Directory, name: &OsStr, reason: &Reason) -> io::Result<bool> {
    let beside = with_end(name, REASON_END);
    Ok(failed.has(name)? || failed.has(&beside)? && !says_the_same(failed, &beside, reason))
}

/// Whether this is what an earlier try of the same file has left.
fn says_the_same(failed: &Directory, name: &OsStr, reason: &Reason) -> bool {
    read_reason(failed, name).is_some_and(|left| Reason { at: reason.at, ..left } == *reason)
}

/// The reason in the file `name`, if it is one.
pub(super) fn read_reason(failed: &Directory, name: &OsStr) -> Option<Reason> {
    let (file, stamp) = failed.open_file(name).ok()?;
    let mut text = Vec::new();
    if stamp.regular {
        file.take(LONGEST_REASON).read_to_end(&mut text).ok()?;
    }
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::ingest::answer::{Code, Refusal};

    fn bad() -> Bad {
        Bad { refusal: Refusal::new(Code::InvalidEvent, "no event"), place: Some(Place::Line(3)) }
    }

    fn put(place: &Path, name: &str) -> PutAway {
        fs::write(place.join(name), "x").expect("a file");
        let directory = Directory::open(place).expect("the directory");
        let stamp = directory.stamp(OsStr::new(name)).expect("its stamp");
        let at = Timestamp::from_millis(1_709_136_942_007);
        put_away(&directory, OsStr::new(name), stamp, &bad(), at).expect("it can be moved")
    }

    #[test]
    fn each_gets_a_name_and_a_reason() {
        let place = tempfile::tempdir().expect("a directory");
        fs::create_dir(place.path().join("failed")).expect("failed/");
        // What a crash left, and what is none.
        let left = r#"{"file":"a.json","code":"invalid_event","message":"no event","line":3,"item":null,"at":"2024-02-28T16:15:42.007Z"}"#;
        fs::write(place.path().join("failed/a.json.1.reason"), left).expect("a reason");
        fs::write(place.path().join("failed/.reason.tmp"), "old").expect("half a reason");
        for number in 0..20 {
            let name = if number == 0 { "a.json".to_owned() } else { format!("a.json.{number}") };
            let put = put(place.path(), "a.json");
            assert!(matches!(&put, PutAway::Moved { target, synced: Ok(()) } if *target == *name), "{put:?}");
            let text = fs::read(place.path().join(format!("failed/{name}.reason"))).expect("the reason");
            let reason: Reason = serde_json::from_slice(&text).expect("JSON");
            assert_eq!((reason.file.as_str(), reason.code.as_str()), ("a.json", "invalid_event"));
            assert_eq!(
                (reason.line, reason.at.to_string()),
                (Some(3), "2024-02-28T16:15:42.007Z".to_owned())
            );
        }
        assert_eq!(fs::read_dir(place.path().join("failed")).expect("failed/").count(), 40);
        assert!(!place.path().join("a.json").exists());
    }

    #[test]
    fn a_file_named_as_a_reason_is_not_overwritten() {
        let place = tempfile::tempdir().expect("a directory");
        for (name, expected) in
            [("a.reason", "a.reason"), ("a", "a.1"), ("a", "a.2"), ("a.reason", "a.reason.1")]
        {
            let put = put(place.path(), name);
            assert!(
                matches!(&put, PutAway::Moved { target, synced: Ok(()) } if *target == *expected),
                "{put:?}"
            );
        }
        for name in ["a.reason", "a.1", "a.2", "a.reason.1"] {
            let failed = place.path().join("failed");
            assert_eq!(fs::read(failed.join(name)).expect("the file"), b"x", "{name}");
            assert!(failed.join(format!("{name}.reason")).exists(), "{name}");
        }
        let directory = Directory::open(place.path()).and_then(|spool| open(&spool)).expect("failed/");
        let (seen, counted) = count(&directory, None, Timestamp::EPOCH).expect("it can be read");
        assert_eq!((counted, seen.settled), (Some(4), false));
        let later = Timestamp::from_millis(u64::MAX);
        let (seen, counted) = count(&directory, Some(seen), later).expect("it can be read");
        assert_eq!((counted, seen.settled), (Some(4), true));
        assert_eq!(count(&directory, Some(seen), later).expect("it can be read"), (seen, None));
    }

    #[test]
    fn a_file_whose_reason_is_withdrawn_is_not_replaced() {
        let place = tempfile::tempdir().expect("a directory");
        put(place.path(), "a.reason");
        let failed = place.path().join("failed");
        // As long as it is being moved back.
        fs::rename(failed.join("a.reason.reason"), failed.join(".withdrawn-1")).expect("it is there");
        let put = put(place.path(), "a");
        assert!(matches!(&put, PutAway::Moved { target, .. } if target == "a.1"), "{put:?}");
        assert_eq!(fs::read(failed.join("a.reason")).expect("the file"), b"x");
    }

    #[test]
    fn the_longest_names_fit() {
        let place = tempfile::tempdir().expect("a directory");
        for name in [format!("{}.ndjson", "x".repeat(248)), format!("{}.json", "é".repeat(125))] {
            for _ in 0..3 {
                let PutAway::Moved { target, .. } = put(place.path(), &name) else {
                    panic!("it did not change")
                };
                assert!(target.len() < 240 && target.to_str().is_some(), "{target:?}");
            }
        }
    }

    #[test]
    fn what_changed_stays() {
        let place = tempfile::tempdir().expect("a directory");
        fs::write(place.path().join("a.json"), "x").expect("a file");
        let directory = Directory::open(place.path()).expect("the directory");
        let name = OsStr::new("a.json");
        let stamp = directory.stamp(name).expect("its stamp");
        fs::write(place.path().join("a.json"), "xy").expect("another file");
        let result = put_away(&directory, name, stamp, &bad(), Timestamp::EPOCH).expect("it can be tried");
        assert!(matches!(result, PutAway::Changed { given_back: None }), "{result:?}");
        assert!(place.path().join("a.json").exists());
        assert_eq!(fs::read_dir(place.path().join("failed")).expect("failed/").count(), 0);
    }

    #[test]
    fn a_link_is_no_failed() {
        let (place, other) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        std::os::unix::fs::symlink(other.path(), place.path().join("failed")).expect("a link");
        fs::write(place.path().join("a.json"), "x").expect("a file");
        let directory = Directory::open(place.path()).expect("the directory");
        let name = OsStr::new("a.json");
        let stamp = directory.stamp(name).expect("its stamp");
        assert!(put_away(&directory, name, stamp, &bad(), Timestamp::EPOCH).is_err());
        assert_eq!(fs::read_dir(other.path()).expect("the other").count(), 0);
    }
}
