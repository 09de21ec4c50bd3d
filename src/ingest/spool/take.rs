//! From a file to its events.
//!
//! A file is read whole, and only if it is the same before and after; then all of it is events, or one payload, or it is bad.

use std::{ffi::OsStr, fs::File, io, io::Read};

use bytes::{Bytes, BytesMut};

use super::{directory::Stamp, extension::content_type, scan::Kind};
use crate::{
    ingest::{
        answer::{Code, Refusal},
        dialect::{Dialect, Frames, Place},
        event::{json, too_large},
    },
    model::{
        account::AccountName,
        event::{EventType, NewEvent},
        time::format_size,
    },
};

/// What a directory's files are held against.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whose the events are.
    pub account: AccountName,
    /// The type of files that are payloads, if such are taken.
    pub event_type: Option<EventType>,
    /// The greatest event, in bytes.
    pub event_size: usize,
    /// The greatest file, in bytes.
    pub file_size: u64,
    /// The most events of a file.
    pub file_events: usize,
}

/// What an event costs in memory besides its bytes, roughly.
const EVENT_COST: u64 = 256;
/// `{"type":"a"}` and its line end: no event is shorter.
const SHORTEST_LINE: u64 = 13;
/// The same as MessagePack.
const SHORTEST_ITEM: u64 = 8;

impl Rules {
    /// How many bytes of memory a file of `size` bytes and its events take at most, roughly.
    pub(super) fn cost(&self, name: &OsStr, size: u64) -> u64 {
        // A larger one is refused unread.
        if size > self.file_size {
            return 0;
        }
        let most =
            |shortest: u64| (size / shortest + 1).min(u64::try_from(self.file_events).unwrap_or(u64::MAX));
        let (events, bytes) = match Kind::of(name) {
            Kind::Ndjson => (most(SHORTEST_LINE), size),
            Kind::MessagePack => (most(SHORTEST_ITEM), self.cost_of_items(size)),
            _ => (1, size),
        };
        bytes.saturating_add(events.saturating_mul(EVENT_COST))
    }

    /// Beside the file, what its payloads are as JSON.
    fn cost_of_items(&self, size: u64) -> u64 {
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        u64::try_from(Dialect::MessagePack.cost(length, self.most_made())).unwrap_or(u64::MAX)
    }

    /// So many bytes the payloads of a file's items may have as JSON.
    fn most_made(&self) -> usize {
        usize::try_from(self.file_size).unwrap_or(usize::MAX)
    }
}

/// Why a file is not taken, ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What is wrong.
    pub refusal: Refusal,
    /// In which line, or as which item; `None` for the file as a whole.
    pub place: Option<Place>,
}

/// What reading a file came to.
#[derive(Debug)]
pub(super) enum Content {
    /// It is no file of events.
    Bad(Bad),
    /// Somebody writes to it: how it is now.
    Changed(Stamp),
    /// Its events, and where they stand.
    Events(Vec<NewEvent>, Places),
}

/// In which lines, or as which items, a file's events stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// What the numbers are of; `None`: the file is one event.
    dialect: Option<Dialect>,
    /// Where the numbers do not go on by one: an event's place among the events, and its number.
    jumps: Vec<(usize, u64)>,
}

impl Places {
    /// Where the event `index` stands; `None` when it is the whole file.
    pub fn place(&self, index: usize) -> Option<Place> {
        Some(self.dialect?.place(self.number(index)?))
    }

    fn number(&self, index: usize) -> Option<u64> {
        let after = self.jumps.partition_point(|(first, _)| *first <= index);
        let (first, number) = self.jumps.get(after.checked_sub(1)?)?;
        Some(number + u64::try_from(index - first).unwrap_or(0))
    }

    fn add(&mut self, index: usize, number: u64) {
        let next = index.checked_sub(1).and_then(|before| self.number(before)).map(|before| before + 1);
        if next != Some(number) {
            self.jumps.push((index, number));
        }
    }
}

impl Bad {
    fn whole(code: Code, message: impl Into<String>) -> Self {
        Self { refusal: Refusal::new(code, message), place: None }
    }
}

/// Reads the open file `name`, which was as `stamp` says when it was opened.
///
/// # Errors
/// The system cannot read it.
pub(super) fn read(file: &mut File, name: &OsStr, stamp: Stamp, rules: &Rules) -> io::Result<Content> {
    if stamp.size > rules.file_size {
        return Ok(Content::Bad(file_too_large(stamp.size, rules.file_size)));
    }
    let kind = Kind::of(name);
    if kind == Kind::Other && stamp.size > u64::try_from(rules.event_size).unwrap_or(u64::MAX) {
        return Ok(Content::Bad(Bad { refusal: too_large(rules.event_size), place: None }));
    }
    let uid = rustix::fs::fstat(&*file)?.st_uid;
    // One more than it has, so that its end is seen, and a file that grows without end is not followed.
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0).saturating_add(1));
    file.take(stamp.size + 1).read_to_end(&mut bytes)?;
    let now = Stamp::of_file(file)?;
    if now != stamp || u64::try_from(bytes.len()).ok() != Some(stamp.size) {
        return Ok(Content::Changed(now));
    }
    Ok(match events_of(name, Bytes::from(bytes), rules) {
        Ok((mut events, places)) => {
            for event in &mut events {
                event.uid = Some(uid);
            }
            Content::Events(events, places)
        }
        Err(bad) => Content::Bad(bad),
    })
}

/// The events of the file `name`, which is complete and has these bytes, and where they stand.
///
/// # Errors
/// It is no file of events.
pub fn events_of(name: &OsStr, bytes: Bytes, rules: &Rules) -> Result<(Vec<NewEvent>, Places), Bad> {
    match (Kind::of(name), &rules.event_type) {
        (Kind::Other, Some(event_type)) => {
            Ok((vec![payload(bytes, name, event_type, rules)], Places::default()))
        }
        (kind, _) => parse(kind, bytes, rules),
    }
}

/// The event that a file is whose bytes are its payload, whatever they are, also none.
fn payload(data: Bytes, name: &OsStr, event_type: &EventType, rules: &Rules) -> NewEvent {
    NewEvent {
        content_type: Some(content_type(name)),
        ..NewEvent::new(rules.account.clone(), event_type.clone(), data)
    }
}

fn parse(kind: Kind, bytes: Bytes, rules: &Rules) -> Result<(Vec<NewEvent>, Places), Bad> {
    if kind == Kind::MessagePack {
        return parse_many(Dialect::MessagePack, bytes, rules);
    }
    refuse_marks(&bytes)?;
    if kind == Kind::Ndjson {
        return parse_many(Dialect::Json, bytes, rules);
    }
    if bytes.trim_ascii().is_empty() {
        let message =
            "the file is empty; a .json file holds one event, such as {\"type\":\"a.b\",\"data\":{}}";
        return Err(Bad::whole(Code::InvalidEvent, message));
    }
    let event = parse_one(&bytes, rules).map_err(|refusal| Bad { refusal, place: None })?;
    Ok((vec![event], Places::default()))
}

fn parse_many(dialect: Dialect, bytes: Bytes, rules: &Rules) -> Result<(Vec<NewEvent>, Places), Bad> {
    let mut frames = Frames::new(dialect, rules.event_size);
    *frames.buffer() = BytesMut::from(bytes);
    let (mut events, mut places) = (Vec::new(), Places { dialect: Some(dialect), ..Places::default() });
    // What JSON was made of items, in bytes.
    let mut made = 0;
    let mut take = |number, source: Result<Bytes, Refusal>| {
        // Before the event is made: what a file can cost is bounded by this.
        if events.len() >= rules.file_events {
            return Err(too_many_events(rules));
        }
        let event = dialect.parse(&source?, &rules.account, rules.event_size)?;
        if dialect == Dialect::MessagePack {
            made += event.data.len();
            if made > rules.most_made() {
                return Err(too_much_json(rules));
            }
        }
        places.add(events.len(), number);
        events.push(check_account(event, rules)?);
        Ok(())
    };
    while let Some(frame) = frames.next_frame() {
        let (Place::Line(number) | Place::Item(number)) = frame.place;
        let bad = |refusal| Bad { refusal, place: Some(frame.place) };
        take(number, frame.source).map_err(bad)?;
    }
    let bad = |refusal, number| Bad { refusal, place: Some(dialect.place(number)) };
    match frames.rest() {
        // The file is complete, so its last line is too, whether it has an end or not.
        Some((number, Some(line))) => take(number, Ok(line)).map_err(|refusal| bad(refusal, number))?,
        Some((number, None)) => return Err(bad(dialect.unterminated(number), number)),
        None => {}
    }
    Ok((events, places))
}

fn parse_one(bytes: &Bytes, rules: &Rules) -> Result<NewEvent, Refusal> {
    if bytes.trim_ascii().len() > rules.event_size {
        return Err(too_large(rules.event_size));
    }
    check_account(json::parse(bytes, &rules.account)?, rules)
}

fn check_account(event: NewEvent, rules: &Rules) -> Result<NewEvent, Refusal> {
    if event.account != rules.account {
        let message = format!(
            "the event is of the account `{}`, but what lies in this directory is of `{}`; leave `account` out, \
             or use a [[spool]] of that account",
            event.account, rules.account
        );
        return Err(Refusal::new(Code::AccountNotAllowed, message));
    }
    Ok(event)
}

/// Byte order marks: serde would only say that it expected a value.
fn refuse_marks(bytes: &[u8]) -> Result<(), Bad> {
    let message = if bytes.starts_with(b"\xef\xbb\xbf") {
        "the file begins with a byte order mark; write UTF-8 without one"
    } else if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        "the file is UTF-16; write UTF-8 without a byte order mark"
    } else {
        return Ok(());
    };
    Err(Bad::whole(Code::InvalidEvent, message))
}

fn too_many_events(rules: &Rules) -> Refusal {
    let limit = rules.file_events;
    let message = format!(
        "the file has more events than are taken at once; split it into files of at most {limit} events \
         ([limits] file_events)"
    );
    Refusal::new(Code::FileTooLarge, message)
}

fn too_much_json(rules: &Rules) -> Refusal {
    let message = format!(
        "the file's payloads are more than {} as JSON ([limits] file_size); split it",
        format_size(rules.file_size)
    );
    Refusal::new(Code::FileTooLarge, message)
}

fn file_too_large(size: u64, limit: u64) -> Bad {
    let message = format!(
        "the file has {size} bytes, and at most {} are taken ([limits] file_size); split it",
        format_size(limit)
    );
    Bad::whole(Code::FileTooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let account = "house".parse().expect("a name");
        Rules { account, event_type: None, event_size: 64, file_size: 1 << 20, file_events: 4 }
    }

    fn parsed(kind: Kind, text: &str) -> Result<(Vec<NewEvent>, Places), Bad> {
        parse(kind, Bytes::copy_from_slice(text.as_bytes()), &rules())
    }

    #[test]
    fn good_files() {
        for (kind, text, types, lines) in [
            (Kind::Json, "{\"type\":\"a\"}", "a", vec![None]),
            (Kind::Json, " {\n\"type\":\"a\"\n}\n\n", "a", vec![None]),
            (Kind::Json, "{\"type\":\"a\",\"account\":\"house\"}\n", "a", vec![None]),
            (Kind::Ndjson, "", "", vec![]),
            (Kind::Ndjson, "\n \n", "", vec![]),
            (Kind::Ndjson, "{\"type\":\"a\"}\r\n{\"type\":\"b\"}", "a b", vec![Some(1), Some(2)]),
            (
                Kind::Ndjson,
                "\n{\"type\":\"a\"}\n{\"type\":\"b\"}\n\n\n{\"type\":\"c\"}\n",
                "a b c",
                vec![Some(2), Some(3), Some(6)],
            ),
            (
                Kind::Ndjson,
                &format!("{}\n", "{\"type\":\"a\"}\n".repeat(4)),
                "a a a a",
                vec![Some(1), Some(2), Some(3), Some(4)],
            ),
        ] {
            let (events, places) = parsed(kind, text).expect(text);
            let found: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
            assert_eq!(found.join(" "), types, "{text}");
            assert!(events.iter().all(|event| event.account.as_str() == "house"));
            let found: Vec<_> = (0..events.len()).map(|index| places.place(index)).collect();
            let lines: Vec<_> = lines.into_iter().map(|line: Option<u64>| line.map(Place::Line)).collect();
            assert_eq!(found, lines, "{text}");
        }
    }

    #[test]
    fn bad_files() {
        let long = format!("{{\"type\":\"a\"}}\n{{\"type\":\"a\",\"data\":\"{}\"}}", "x".repeat(64));
        for (kind, text, code, line, part) in [
            (Kind::Json, "", Code::InvalidEvent, None, "empty"),
            (Kind::Json, " \n", Code::InvalidEvent, None, "empty"),
            (Kind::Json, "{\"type\":\"a\"}\n{\"type\":\"b\"}", Code::InvalidEvent, None, "trailing"),
            (Kind::Json, "\u{feff}{\"type\":\"a\"}", Code::InvalidEvent, None, "byte order mark"),
            (Kind::Json, &long[13..], Code::EventTooLarge, None, "64B"),
            (Kind::Ndjson, "\u{feff}", Code::InvalidEvent, None, "byte order mark"),
            (Kind::Ndjson, "\n{\"type\":\"a\"}\nno\n", Code::InvalidEvent, Some(3), "not valid JSON"),
            (Kind::Ndjson, &long, Code::EventTooLarge, Some(2), "64B"),
            // What comes after the last event that is taken is not even looked at.
            (
                Kind::Ndjson,
                &format!("{}no", "{\"type\":\"a\"}\n\n".repeat(4)),
                Code::FileTooLarge,
                Some(9),
                "at most 4 events ([limits] file_events)",
            ),
            (Kind::Ndjson, "{\"type\":\"a\"}\n{\"type\":", Code::InvalidEvent, Some(2), "too early"),
            (
                Kind::Ndjson,
                "{\"type\":\"a\",\"account\":\"shop\"}",
                Code::AccountNotAllowed,
                Some(1),
                "`shop`",
            ),
        ] {
            let bad = parsed(kind, text).expect_err(text);
            assert_eq!((bad.refusal.code, bad.place), (code, line.map(Place::Line)), "{text}");
            assert!(bad.refusal.message.contains(part), "{text}: {}", bad.refusal.message);
        }
    }

    #[test]
    fn what_a_file_costs() {
        for (name, size, cost) in [
            ("a.json", 1_000, 1_256),
            ("a.ndjson", 0, 256),
            ("a.ndjson", 26, 26 + 3 * 256),
            ("a.ndjson", 1 << 20, (1 << 20) + 4 * 256),
            ("a.ndjson", (1 << 20) + 1, 0),
        ] {
            assert_eq!(rules().cost(OsStr::new(name), size), cost, "{name} {size}");
        }
    }

    #[test]
    fn a_file_that_is_written_to_is_left() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("a.json");
        std::fs::write(&path, "{\"type\":\"a\"}").expect("a file");
        let mut file = File::open(&path).expect("the file");
        let stamp = Stamp::of_file(&file).expect("its stamp");
        std::fs::write(&path, "{\"type\":\"a\",\"data\":1}").expect("a longer file");
        let content = read(&mut file, OsStr::new("a.json"), stamp, &rules()).expect("it can be read");
        assert!(matches!(content, Content::Changed(now) if now != stamp), "{content:?}");
    }
}
