//! A spool file: it is bad, at the place where it is, or it is events, as many as may be and of the directory's account;
//! what is one after the other comes to the same as on a stream.
//!
//! The first byte of an input says what kind of file the rest is.

use std::ffi::OsStr;

use bytes::Bytes;
use posthaste::{
    ingest::{
        answer::Code,
        dialect::{Dialect, Frames, Place},
        spool::{Bad, Rules, events_of},
    },
    model::event::NewEvent,
};

use super::event::check_payload;

/// Events that a file may have.
const EVENTS: usize = 8;
const NAMES: [&str; 5] = ["a.json", "a.ndjson", "a.msgpack", "a.pdf", "a"];

pub(crate) fn check(input: &[u8]) {
    let Some((&kind, input)) = input.split_first() else { return };
    let name = NAMES[usize::from(kind) % NAMES.len()];
    let rules = Rules {
        account: "house".parse().expect("a name"),
        event_type: Some("scan.finished".parse().expect("a type")),
        event_size: 256,
        file_size: 4_096,
        file_events: EVENTS,
    };
    let bytes = Bytes::copy_from_slice(input);
    let read = events_of(OsStr::new(name), bytes.clone(), &rules);
    match &read {
        Ok((events, places)) => {
            assert!(events.len() <= EVENTS && events.iter().all(|event| event.account == rules.account));
            events.iter().for_each(check_payload);
            let in_order =
                (1..events.len()).all(|index| number(places.place(index - 1)) < number(places.place(index)));
            assert!(in_order || places.place(0).is_none(), "they stand one behind the other");
        }
        Err(bad) => assert!(!bad.refusal.message.is_empty() && bad.refusal.message.len() < 1_000),
    }
    let dialect = match name {
        "a.ndjson" => Dialect::Json,
        "a.msgpack" => Dialect::MessagePack,
        _ => return,
    };
    check_as_on_a_stream(dialect, &bytes, &rules, read.map(|(events, _)| events));
}

fn number(place: Option<Place>) -> Option<u64> {
    place.map(|(Place::Line(number) | Place::Item(number))| number)
}

/// As far as a file goes, its events are those of the stream, and it is bad where the stream has a refusal first.
fn check_as_on_a_stream(dialect: Dialect, bytes: &Bytes, rules: &Rules, read: Result<Vec<NewEvent>, Bad>) {
    let mut frames = Frames::new(dialect, rules.event_size);
    frames.buffer().extend_from_slice(bytes);
    if dialect == Dialect::Json {
        // A file's last line needs no end.
        frames.buffer().extend_from_slice(b"\n");
    }
    let mut events = Vec::new();
    let mut refused = None;
    while let Some(frame) = frames.next_frame() {
        let place = frame.place;
        match frames.event(frame, &rules.account) {
            Ok(event) if refused.is_none() => events.push(event),
            Ok(_) => {}
            Err(_) => refused = refused.or(Some(place)),
        }
    }
    match read {
        Ok(read) => assert!(refused.is_none() && read == events, "the same events"),
        // Marks, too many, of another account, cut short: what a stream sees otherwise.
        Err(bad) if bad.refusal.code != Code::InvalidEvent || bad.place.is_none() => {}
        Err(bad) => assert_eq!(bad.place, refused, "bad at the same place"),
    }
}
