//! Takes a name away from a file before anything is done with the file, so that it is done with no other.
//!
//! Between a look at a name and what is then done under it a producer may rename a new file there. So the name is
//! first changed to a private one, `.posthaste-taken-NUMBER-NAME`, which nobody writes to and no scan takes; what
//! lies there is looked at again, and given back if it is not the file that was meant. Nothing is ever replaced.
//!
//! A crash leaves files under private names. They are given back by the next scan and are then what they were: a
//! file that was accepted is known to the store, and is removed; every other is taken.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use rustix::{fs::RenameFlags, io::Errno};

use super::directory::{Directory, Stamp};

const PREFIX: &str = ".posthaste-taken-";
/// Names longer than this are cut, so that prefix and numbers fit (255 bytes is a name's limit).
const LONGEST_NAME: usize = 224;
/// How many names are tried before a try is given up.
const TRIES: u32 = 1 << 10;

/// What became of taking a file's name away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aside {
    /// The file lies under this private name.
    Taken(OsString),
    /// Nothing has the name any more.
    Gone,
    /// What has the name now is another file, or was written to.
    Changed,
    /// It was another file: it is back, under this name.
    GivenBack(OsString),
}

/// Takes the name `name` away from the file that was as `stamp` says. Is not durable by itself.
///
/// # Errors
/// The name cannot be taken away, and the file has it still; or another file was met, and cannot be given back: the
/// next scan tries to.
pub(super) fn take(directory: &Directory, name: &OsStr, stamp: Stamp) -> io::Result<Aside> {
    // What was only written to keeps its name: whoever writes to it may be watching.
    match directory.stamp(name) {
        Ok(now) if now == stamp => take_as_it_is(directory, name, stamp),
        Ok(_) => Ok(Aside::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Aside::Gone),
        Err(error) => Err(error),
    }
}

/// The second half of [`take`], when the name was looked at.
pub(super) fn take_as_it_is(directory: &Directory, name: &OsStr, stamp: Stamp) -> io::Result<Aside> {
    let short = shortened(name, LONGEST_NAME);
    let private = |number: u32| {
        let mut private = OsString::from(format!("{PREFIX}{number}-"));
        private.push(&short);
        private
    };
    let private = match rename_to_free(directory, name, directory, private) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Aside::Gone),
        renamed => renamed?,
    };
    if directory.stamp(&private).is_ok_and(|now| now == stamp) {
        return Ok(Aside::Taken(private));
    }
    give_back(directory, &private).map(|name| name.map_or(Aside::Gone, Aside::GivenBack))
}

/// Gives the file `private` a name under which it is looked at: the one it had, or where that is another's by now,
/// one with a number before its extension. Durable. `None` when there is no such file.
///
/// # Errors
/// It cannot be renamed; it is where it was.
pub(super) fn give_back(directory: &Directory, private: &OsStr) -> io::Result<Option<OsString>> {
    let name = OsString::from_vec(visible(private));
    match rename_to_free(directory, private, directory, numbered(&name)) {
        Ok(name) => directory.sync().map(|()| Some(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `name` is a private name.
pub(super) fn is_private(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX.as_bytes())
}

/// Which name the file `private` had.
fn visible(private: &OsStr) -> Vec<u8> {
    let rest = private.as_bytes();
    let rest = rest.strip_prefix(PREFIX.as_bytes()).unwrap_or(rest);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let name = rest[digits..].strip_prefix(b"-").unwrap_or(&rest[digits..]);
    // Only a stranger's file: whatever it is, it is looked at and found good or bad.
    if name.is_empty() || name.starts_with(b".") { [b"file", name].concat() } else { name.to_owned() }
}

/// A name that is not `taken`: `base`, or it with a number behind it; found without trying all numbers.
///
/// # Errors
/// Those of `taken`; or there are too many.
pub(super) fn free_name(base: &OsStr, taken: impl Fn(&OsStr) -> io::Result<bool>) -> io::Result<OsString> {
    let numbered = |number: u32| with_end(base, &format!(".{number}"));
    if !taken(base)? {
        return Ok(base.to_owned());
    }
    let (mut used, mut free) = (0, 1);
    while taken(&numbered(free))? {
        used = free;
        free = free.checked_mul(2).ok_or(io::ErrorKind::AlreadyExists)?;
    }
    while free - used > 1 {
        let middle = used + (free - used) / 2;
        if taken(&numbered(middle))? { used = middle } else { free = middle }
    }
    Ok(numbered(free))
}

/// `name` with `end` behind it.
pub(super) fn with_end(name: &OsStr, end: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(end);
    name
}

/// `name`, and for a number above 0 `name` with it before the extension: what a file is named like that must stay what it is.
pub(super) fn numbered(name: &OsStr) -> impl Fn(u32) -> OsString {
    move |number| {
        if number == 0 {
            return name.to_owned();
        }
        let name = shortened(name, LONGEST_NAME);
        let (stem, extension) = name.as_bytes().split_at(extension_at(name.as_bytes()));
        OsString::from_vec([stem, format!(".{number}").as_bytes(), extension].concat())
    }
}

/// Renames the file `name` to the first of `targets` that nothing has in `to`, and says which; `targets` counts from 0.
pub(super) fn rename_to_free(
    from: &Directory,
    name: &OsStr,
    to: &Directory,
    targets: impl Fn(u32) -> OsString,
) -> io::Result<OsString> {
    for target in (0..TRIES).map(targets) {
        match rename(from, name, to, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            renamed => return renamed.map(|()| target),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Renames without replacing anything.
///
/// # Errors
/// `AlreadyExists`: something has the name `target`. All else that renaming comes to.
pub(super) fn rename(from: &Directory, name: &OsStr, to: &Directory, target: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, target, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => rename_in_steps(from, name, to, target),
        result => Ok(result?),
    }
}

/// On a file system that only knows how to replace.
fn rename_in_steps(from: &Directory, name: &OsStr, to: &Directory, target: &OsStr) -> io::Result<()> {
    match to.stamp(target) {
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Only where the target could be a producer's too: private names, `failed/` and `done/` are the daemon's own.
    if !is_private(target) && !to.is_own() {
        // A second name never replaces, and nobody puts another file under the first one meanwhile: it is private, or in `failed/`.
        rustix::fs::linkat(from, name, to, target, rustix::fs::AtFlags::empty())?;
        return from.unlink(name);
    }
    Ok(rustix::fs::renameat(from, name, to, target)?)
}

/// The name in at most `longest` bytes, cut before its extension; not within a character.
pub(super) fn shortened(name: &OsStr, longest: usize) -> OsString {
    let bytes = name.as_bytes();
    if bytes.len() <= longest {
        return name.to_owned();
    }
    let (_, extension) = bytes.split_at(extension_at(bytes));
    let mut end = longest.saturating_sub(extension.len());
    while end > 0 && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    OsString::from_vec([&bytes[..end], extension].concat())
}

/// Where the extension begins, with its dot.
fn extension_at(name: &[u8]) -> usize {
    name.iter().rposition(|byte| *byte == b'.').unwrap_or(name.len())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).expect("the directory");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// A directory with the file `name`, as it is, and then with another in its place.
    fn replaced(name: &str) -> (tempfile::TempDir, Directory, Stamp) {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("the directory");
        fs::write(place.path().join(name), "old").expect("a file");
        let stamp = directory.stamp(OsStr::new(name)).expect("its stamp");
        fs::write(place.path().join("new.tmp"), "new").expect("another file");
        fs::rename(place.path().join("new.tmp"), place.path().join(name)).expect("renamed");
        (place, directory, stamp)
    }

    #[test]
    fn a_file_that_is_as_it_was() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("the directory");
        let name = OsStr::new("a.json");
        // What a crash left.
        fs::write(place.path().join(".posthaste-taken-0-a.json"), "left").expect("a file");
        fs::write(place.path().join(name), "x").expect("a file");
        let stamp = directory.stamp(name).expect("its stamp");
        let taken = take(&directory, name, stamp).expect("it can be taken");
        assert_eq!(taken, Aside::Taken(".posthaste-taken-1-a.json".into()));
        assert_eq!(names(place.path()), [".posthaste-taken-0-a.json", ".posthaste-taken-1-a.json"]);
        assert_eq!(take(&directory, name, stamp).expect("it can be tried"), Aside::Gone);
    }

    #[test]
    fn another_file_in_its_place() {
        let (place, directory, stamp) = replaced("a.json");
        let name = OsStr::new("a.json");
        assert_eq!(take(&directory, name, stamp).expect("it can be tried"), Aside::Changed);
        // As if it had come after the look.
        let taken = take_as_it_is(&directory, name, stamp).expect("it can be tried");
        assert_eq!(taken, Aside::GivenBack("a.json".into()));
        assert_eq!(names(place.path()), ["a.json"]);
        assert_eq!(fs::read(place.path().join("a.json")).expect("the file"), b"new");
    }

    #[test]
    fn given_back_beside_what_came_meanwhile() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("the directory");
        for (private, visible) in [
            (".posthaste-taken-0-a.json", "a.json"),
            (".posthaste-taken-17-a.json", "a.1.json"),
            (".posthaste-taken-3-a.json", "a.2.json"),
            (".posthaste-taken-0-b.c.ndjson", "b.c.ndjson"),
            (".posthaste-taken-0-7-8", "7-8"),
            (".posthaste-taken-0-.json", "file.json"),
            (".posthaste-taken-", "file"),
        ] {
            fs::write(place.path().join(private), private).expect("a file");
            let given = give_back(&directory, OsStr::new(private)).expect("it can be given back");
            assert_eq!(given.as_deref(), Some(OsStr::new(visible)), "{private}");
            assert_eq!(fs::read(place.path().join(visible)).expect("the file"), private.as_bytes());
            assert_eq!(give_back(&directory, OsStr::new(private)).expect("it can be tried"), None);
        }
    }

    #[test]
    fn without_the_flag() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("the directory");
        let rename = |from: &str, to: &str| {
            fs::write(place.path().join(from), from).expect("a file");
            rename_in_steps(&directory, OsStr::new(from), &directory, OsStr::new(to)).map_err(|e| e.kind())
        };
        assert_eq!(rename("a.json", ".posthaste-taken-0-a.json"), Ok(()));
        assert_eq!(rename("a.json", ".posthaste-taken-0-a.json"), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(rename(".posthaste-taken-0-b.json", "a.json"), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(rename(".posthaste-taken-0-b.json", "b.json"), Ok(()));
        assert_eq!(names(place.path()), [".posthaste-taken-0-a.json", "a.json", "b.json"]);
        assert_eq!(fs::read(place.path().join("a.json")).expect("the file"), b"a.json");
    }

    #[test]
    fn the_longest_names_come_back_whole_or_cut() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(place.path()).expect("the directory");
        for name in ["x".repeat(219) + ".json", "x".repeat(248) + ".ndjson", "é".repeat(125) + ".json"] {
            for _ in 0..3 {
                let path = place.path().join(&name);
                fs::write(&path, "x").expect("a file");
                let stamp = directory.stamp(OsStr::new(&name)).expect("its stamp");
                let taken = take(&directory, OsStr::new(&name), stamp).expect("it can be taken");
                let Aside::Taken(private) = taken else { panic!("nobody has changed it") };
                let given = give_back(&directory, &private).expect("it can be given back").expect("a name");
                let given = given.to_str().expect("whole characters");
                assert!(given.rsplit('.').next() == name.rsplit('.').next() && given.len() < 240, "{given}");
            }
        }
    }
}
