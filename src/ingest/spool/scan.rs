//! Which files of the directory are looked at, and which of these are ready to be taken.
//!
//! | name | |
//! | --- | --- |
//! | begins with `.`; ends in `.tmp`, `.part`, `.partial`, `.filepart`, `.swp`, `~` | not looked at |
//! | ends in `.json` | one event |
//! | ends in `.ndjson` | an event a line |
//! | ends in `.msgpack` | events as MessagePack, one after the other |
//! | anything else | one event with the file as its payload, where the directory has a type for such; else left alone |
//!
//! A directory is read in pages of names in order, so that the memory is bounded whatever it holds.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
};

use rustix::fs::FileType;

use super::{aside, directory::Directory};

/// Names of one page at most.
pub(super) const PAGE: usize = 1 << 14;

const IGNORED_ENDS: [&[u8]; 6] = [b".tmp", b".part", b".partial", b".filepart", b".swp", b"~"];

/// What a file's name says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not to be looked at: somebody is at work on it.
    Ignored,
    /// One event.
    Json,
    /// An event a line.
    Ndjson,
    /// Events as MessagePack.
    MessagePack,
    /// A payload, where such are taken.
    Other,
}

impl Kind {
    pub(super) fn of(name: &OsStr) -> Self {
        let name = name.as_bytes();
        if name.starts_with(b".") || IGNORED_ENDS.iter().any(|end| name.ends_with(end)) {
            Self::Ignored
        } else if name.ends_with(b".json") {
            Self::Json
        } else if name.ends_with(b".ndjson") {
            Self::Ndjson
        } else if name.ends_with(b".msgpack") {
            Self::MessagePack
        } else {
            Self::Other
        }
    }

    /// Whether files of that kind are taken; `any`: by a directory that takes files of any kind.
    pub(super) const fn is_taken(self, any: bool) -> bool {
        matches!(self, Self::Json | Self::Ndjson | Self::MessagePack) || matches!(self, Self::Other) && any
    }
}

/// A part of what is in the directory.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Names of files to take, in order.
    pub(super) names: BTreeSet<OsString>,
    /// There are more after these.
    pub(super) more: bool,
    /// A regular file that is left alone because of its name.
    pub(super) unknown: Option<OsString>,
    /// On the first page: private names that a crash may have left, not all if they are many.
    pub(super) aside: Vec<OsString>,
}

/// Reads the page of the first [`PAGE`] names after `after`.
/// `any`: files of any kind are taken.
pub(super) fn page(directory: &Directory, after: Option<&OsStr>, any: bool) -> io::Result<Page> {
    page_of(directory, after, any, PAGE)
}

fn page_of(directory: &Directory, after: Option<&OsStr>, any: bool, limit: usize) -> io::Result<Page> {
    let mut page = Page::default();
    for entry in directory.entries()? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        match Kind::of(name) {
            kind if kind.is_taken(any) && after.is_some_and(|after| name <= after) => {}
            kind if kind.is_taken(any) => {
                // Of directories, `failed/` among them, nothing is to be remembered.
                if kind == Kind::Other && entry.file_type() == FileType::Directory {
                    continue;
                }
                page.names.insert(name.to_owned());
                if page.names.len() > limit {
                    page.names.pop_last();
                    page.more = true;
                }
            }
            Kind::Other if entry.file_type() == FileType::RegularFile => {
                page.unknown.get_or_insert_with(|| name.to_owned());
            }
            Kind::Ignored if after.is_none() && page.aside.len() < limit && aside::is_private(name) => {
                page.aside.push(name.to_owned());
            }
            _ => {}
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, kind) in [
            ("a.json", Kind::Json),
            ("a.b c.ndjson", Kind::Ndjson),
            (".a.json", Kind::Ignored),
            (".json", Kind::Ignored),
            ("a.json.tmp", Kind::Ignored),
            ("a.json.part", Kind::Ignored),
            ("a.json.partial", Kind::Ignored),
            ("a.json.filepart", Kind::Ignored),
            ("a.json.swp", Kind::Ignored),
            ("a.json~", Kind::Ignored),
            ("a.msgpack", Kind::MessagePack),
            ("a.JSON", Kind::Other),
            ("json", Kind::Other),
            ("scan.pdf", Kind::Other),
            ("scan.pdf.part", Kind::Ignored),
        ] {
            assert_eq!(Kind::of(OsStr::new(name)), kind, "{name}");
            let events = matches!(kind, Kind::Json | Kind::Ndjson | Kind::MessagePack);
            assert_eq!(kind.is_taken(false), events, "{name}");
            assert_eq!(kind.is_taken(true), events || kind == Kind::Other, "{name}");
        }
    }

    #[test]
    fn pages_in_order() {
        let place = tempfile::tempdir().expect("a directory");
        for number in 0..25 {
            std::fs::write(place.path().join(format!("{:02}.json", number * 7 % 25)), "").expect("a file");
        }
        std::fs::write(place.path().join("readme.txt"), "").expect("a file");
        let directory = Directory::open(place.path()).expect("the directory");
        let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = page_of(&directory, after.as_deref(), false, 10).expect("a page");
            assert_eq!(page.unknown.as_deref(), Some(OsStr::new("readme.txt")));
            after = page.names.last().cloned();
            all.extend(page.names);
            pages += 1;
            if !page.more {
                break;
            }
        }
        let expected: Vec<OsString> = (0..25).map(|number| format!("{number:02}.json").into()).collect();
        assert_eq!((all, pages), (expected, 3));
        std::fs::create_dir(place.path().join("failed")).expect("a directory");
        std::fs::write(place.path().join("z.msgpack"), "").expect("a file");
        let page = page_of(&directory, Some(OsStr::new("23.json")), true, 10).expect("a page");
        assert_eq!(page.names, ["24.json".into(), "readme.txt".into(), "z.msgpack".into()].into());
        assert_eq!(page.unknown, None);
    }
}
