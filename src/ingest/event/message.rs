//! An event as MessagePack: a map with the keys that it has as JSON, and `content_type`.
//!
//! `data` is any value that JSON has, and becomes JSON; or it is a `bin`, and then the very bytes of the payload, which
//! `content_type` says what they are.

use std::{fmt::Display, str::FromStr};

use bytes::Bytes;

use super::{
    InvalidEvent, KEYS, MAX_DEPTH, Payload, WANTED_AT, WANTED_DELAY, WANTED_KEY, WANTED_URL, Written,
    no_payload, once, payload, read, read_delay, unknown,
};
use crate::{
    ingest::msgpack::{
        Head,
        json::{Misfit, transcode},
        reader::{Reader, Unreadable},
    },
    model::{account::AccountName, content::ContentType, event::NewEvent},
};

const CONTENT_TYPE: &str = "content_type";
const WANTED_TYPE: &str = "a text such as \"a.b\"";
const WANTED_ACCOUNT: &str = "a text such as \"acme\"";
const WANTED_CONTENT_TYPE: &str = "a content type such as \"image/png\"";

/// By how much a value may grow as it becomes JSON: `false`, which is a byte of MessagePack, takes six with its comma, and so
/// does a control character in a text.
const GROWTH: usize = 6;

/// How many bytes the payload of an item of `length` bytes takes at most, besides the item, where an event has at most `limit`.
pub const fn cost(length: usize, limit: usize) -> usize {
    let grown = length.saturating_mul(GROWTH);
    if grown < limit { grown } else { limit }
}

/// Reads one event, which must be all of `source`. One that names no account belongs to `account`; its payload as JSON has
/// at most `limit` bytes.
///
/// # Errors
/// It is no map of the form above, or one of its values is none that its key takes.
pub fn parse(source: &Bytes, account: &AccountName, limit: usize) -> Result<NewEvent, InvalidEvent> {
    let mut reader = Reader::new(source);
    let Head::Map(pairs) = reader.head()? else { return Err(no_map(source)) };
    let mut fields = Fields::default();
    for _ in 0..pairs {
        match reader.head()? {
            Head::Text(length) => {
                let key = reader.text(length)?;
                fields.read(key, &mut reader, source, limit)?;
            }
            other => {
                let message = format!("an event's keys are texts, and this is {}", other.noun());
                return Err(InvalidEvent::Form(message));
            }
        }
    }
    if reader.left() > 0 {
        return Err(InvalidEvent::new("there is more after the event; one map is one event"));
    }
    fields.written.into_event(account, make_payload(fields.data, fields.content_type)?)
}

/// What was read.
#[derive(Default)]
struct Fields {
    written: Written,
    data: Option<Data>,
    content_type: Option<ContentType>,
}

impl Fields {
    /// Reads what stands under `key`.
    fn read(
        &mut self,
        key: &str,
        reader: &mut Reader<'_>,
        source: &Bytes,
        limit: usize,
    ) -> Result<(), InvalidEvent> {
        let written = &mut self.written;
        match key {
            "type" => once(key, &mut written.event_type, named(text(reader, key, WANTED_TYPE)?)?),
            "data" => once(key, &mut self.data, Data::read(reader, source, limit)?),
            CONTENT_TYPE => {
                once(key, &mut self.content_type, read(key, text(reader, key, WANTED_CONTENT_TYPE)?)?)
            }
            "id" => once(key, &mut written.id, text(reader, key, WANTED_KEY)?.to_owned()),
            "key" => once(key, &mut written.key, text(reader, key, WANTED_KEY)?.to_owned()),
            "account" => once(key, &mut written.account, named(text(reader, key, WANTED_ACCOUNT)?)?),
            "url" => once(key, &mut written.url, text(reader, key, WANTED_URL)?.to_owned()),
            "time" => once(key, &mut written.time, read(key, text(reader, key, WANTED_AT)?)?),
            "at" => once(key, &mut written.at, read(key, text(reader, key, WANTED_AT)?)?),
            "delay" => once(key, &mut written.delay, read_delay(text(reader, key, WANTED_DELAY)?)?),
            _ => Err(unknown(key, &known())),
        }
    }
}

/// A name whose error says itself what it is of.
fn named<T: FromStr<Err: Display>>(text: &str) -> Result<T, InvalidEvent> {
    text.parse().map_err(|error: T::Err| InvalidEvent::Form(error.to_string()))
}

fn known() -> Vec<&'static str> {
    KEYS.into_iter().chain([CONTENT_TYPE]).collect()
}

/// What stands under `data`.
enum Data {
    Json(Vec<u8>),
    Bytes(Bytes),
}

impl Data {
    fn read(reader: &mut Reader<'_>, source: &Bytes, limit: usize) -> Result<Self, InvalidEvent> {
        match reader.head()? {
            Head::Binary(length) => Ok(Self::Bytes(source.slice_ref(reader.bytes(length)?))),
            head => match transcode(head, reader, MAX_DEPTH, limit) {
                Ok(json) => Ok(Self::Json(json)),
                Err(Misfit::Long(limit)) => Err(InvalidEvent::TooLarge(limit)),
                Err(Misfit::Deep(levels)) => {
                    Err(InvalidEvent::Form(format!("`data` nests deeper than {levels} levels")))
                }
                Err(Misfit::Unreadable(error)) => Err(error.into()),
                Err(error) => Err(InvalidEvent::Form(format!("`data`: {error}"))),
            },
        }
    }
}

fn make_payload(data: Option<Data>, content_type: Option<ContentType>) -> Result<Payload, InvalidEvent> {
    match (data, content_type) {
        (Some(Data::Bytes(bytes)), content_type) => payload(bytes, content_type),
        (_, Some(_)) => Err(InvalidEvent::new(
            "`content_type` says what a `data` of bytes (bin) is, and this `data` is none; leave it out, or write `data` as bin",
        )),
        (Some(Data::Json(json)), None) => Ok((json.into(), None)),
        (None, None) => Ok(no_payload()),
    }
}

/// The text under `key`; what is something else is told what is wanted.
fn text<'a>(reader: &mut Reader<'a>, key: &str, wanted: &str) -> Result<&'a str, InvalidEvent> {
    match reader.head()? {
        Head::Text(length) => Ok(reader.text(length)?),
        other => Err(InvalidEvent::Form(format!("`{key}` is {}; write {wanted}", other.noun()))),
    }
}

fn no_map(source: &[u8]) -> InvalidEvent {
    let found = Reader::new(source).head().map_or("none", Head::noun);
    InvalidEvent::Form(format!(
        "an event is a map, such as {{\"type\":\"a.b\",\"data\":{{}}}} as MessagePack, and this is {found}; \
         several events are written one after the other"
    ))
}

impl From<Unreadable> for InvalidEvent {
    fn from(error: Unreadable) -> Self {
        Self::Form(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::{
            event::{OCTETS, json},
            items::{Item, Items},
        },
        model::event::NotBefore,
    };

    const LIMIT: usize = 4_096;

    fn parsed(bytes: &[u8]) -> Result<NewEvent, InvalidEvent> {
        parse(&Bytes::copy_from_slice(bytes), &AccountName::default(), LIMIT)
    }

    /// `{"type": "a", …}` with further pairs, of which there are `pairs`.
    fn with(pairs: u8, bytes: &[u8]) -> Vec<u8> {
        [&[0x81 + pairs][..], b"\xa4type\xa1a", bytes].concat()
    }

    #[test]
    fn what_a_message_says() {
        let event = parsed(&with(0, b"")).expect("an event");
        assert_eq!((event.event_type.as_str(), &event.data[..], event.content_type), ("a", &b"{}"[..], None));
        let event = parsed(&with(2, b"\xa5delay\xa2 5\xa3key\xa1k"));
        assert!(event.is_err_and(|error| error.to_string().contains("`delay`: not a duration")));
        let event = parsed(&with(3, b"\xa5delay\xa25s\xa3key\xa1k\xa3url\xa1u")).expect("an event");
        assert_eq!(event.not_before, Some(NotBefore::After(std::time::Duration::from_secs(5))));
        assert_eq!((event.key.as_deref(), event.url.as_deref()), (Some("k"), Some("u")));
        let source = Bytes::from(with(1, b"\xa4data\xc4\x02\xc1\x00"));
        let event = parse(&source, &AccountName::default(), LIMIT).expect("an event");
        assert_eq!(event.data.as_ptr(), source[source.len() - 2..].as_ptr(), "bytes are not copied");
        assert_eq!(event.content_type.as_ref().map(ContentType::as_str), Some(OCTETS));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let long = [&b"\xa2id\xda\x01\x01"[..], &[b'x'; 257]].concat();
        let deep =
            [&b"\xa4data\xc4\x82"[..], &[b'['; 129], b"]", b"\xaccontent_type\xb0application/json"].concat();
        for (bytes, part) in [
            (b"".to_vec(), "ends too early"),
            (b"\x93\x01\x02\x03".to_vec(), "this is an array"),
            (b"\xc1".to_vec(), "0xc1"),
            (b"\x80".to_vec(), "`type` is missing"),
            (b"\x81\x01\x02".to_vec(), "keys are texts, and this is an integer"),
            (b"\x81\xa3typ\xa1a".to_vec(), "did you mean `type`?"),
            (b"\x81\xaccontenttype_\x01".to_vec(), "did you mean `content_type`?"),
            (b"\x81\xa7payload\x01".to_vec(), "what is yours goes into data"),
            (b"\x81\xa4type\xa3a b".to_vec(), "only the characters"),
            (with(0, b"\x80"), "more after the event"),
            (with(1, b"\xa4type\xa1b"), "`type` is there twice"),
            (with(1, b"\xa2id\xc0"), "`id` is nil; write a text"),
            (with(1, b"\xa2id\xa0"), "`id` has 1 to 256 characters"),
            (with(1, &long), "`id` has 1 to 256 characters"),
            (with(1, b"\xa3key\x07"), "`key` is an integer; write a text such as \"order-7\""),
            (with(1, b"\xa3url\x07"), "`url` is an integer; write a URL"),
            (with(1, b"\xa4time\xce\x00\x00\x00\x00"), "`time` is an integer; write an RFC 3339 time"),
            (with(1, b"\xa2at\xa4noon"), "`at`: not an RFC 3339 time"),
            (with(1, b"\xa5delay\x1e"), "`delay` is an integer; write a duration such as \"30s\""),
            (with(1, b"\xa7account\xa3a b"), "1 to 64 characters"),
            (with(1, b"\xa4data\x91\xc4\x00"), "`data`: bytes (bin) stand within it"),
            (with(1, b"\xa4data\xd6\xff\x00\x00\x00\x00"), "write a time as an RFC 3339 text"),
            (with(1, b"\xaccontent_type\xa3a/b"), "leave it out, or write `data` as bin"),
            (with(2, &deep), "not valid JSON"),
        ] {
            let error = parsed(&bytes).expect_err("it is none").to_string();
            assert!(error.contains(part), "{bytes:x?}: {error}");
        }
        let deep = [
            &b"\xa4data\xc5\x01\x02"[..],
            &[b'['; 129],
            &[b']'; 129],
            b"\xaccontent_type\xb0application/json",
        ]
        .concat();
        let error = parsed(&with(2, &deep)).expect_err("it is too deep").to_string();
        assert!(error.contains("nests deeper than 128"), "{error}");
        let growing = [&b"\xa4data\xda\x04\x00"[..], &[0; 1_024]].concat();
        assert_eq!(parsed(&with(1, &growing)), Err(InvalidEvent::TooLarge(LIMIT)));
    }

    /// A value of whatever JSON has, twice: as MessagePack in some of the forms that it can take, and as JSON.
    fn value(random: &mut fastrand::Rng, depth: usize, bytes: &mut Vec<u8>, text: &mut String) {
        let kinds = if depth == 0 { 6 } else { 8 };
        match random.u8(..kinds) {
            0 => {
                bytes.push(0xc0);
                text.push_str("null");
            }
            1 => {
                let flag = random.bool();
                bytes.push(0xc2 + u8::from(flag));
                text.push_str(&flag.to_string());
            }
            2 => {
                let number = random.u64(..) >> random.u8(..64);
                match u8::try_from(number) {
                    Ok(small) if small < 128 && random.bool() => bytes.push(small),
                    _ => bytes.extend([&[0xcf][..], &number.to_be_bytes()].concat()),
                }
                text.push_str(&number.to_string());
            }
            3 => {
                let number = random.i64(..) >> random.u8(..64);
                match i16::try_from(number) {
                    Ok(small) if random.bool() => bytes.extend([&[0xd1][..], &small.to_be_bytes()].concat()),
                    _ => bytes.extend([&[0xd3][..], &number.to_be_bytes()].concat()),
                }
                text.push_str(&number.to_string());
            }
            4 => {
                let number = f64::from_bits(random.u64(..));
                let number = if number.is_finite() { number } else { 0.5 };
                bytes.extend([&[0xcb][..], &number.to_be_bytes()].concat());
                text.push_str(&serde_json::to_string(&number).expect("JSON"));
            }
            5 => word(random, bytes, text),
            kind => {
                let count = random.u8(..4);
                let (map, begin, end) = if kind == 6 { (false, '[', ']') } else { (true, '{', '}') };
                if random.bool() {
                    bytes.push(if map { 0x80 } else { 0x90 } + count);
                } else {
                    bytes.extend([if map { 0xdf } else { 0xdd }, 0, 0, 0, count]);
                }
                text.push(begin);
                for index in 0..count {
                    text.push_str(if index > 0 { "," } else { "" });
                    if map {
                        word(random, bytes, text);
                        text.push(':');
                    }
                    value(random, depth - 1, bytes, text);
                }
                text.push(end);
            }
        }
    }

    fn word(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, text: &mut String) {
        let word: String = (0..random.usize(..6)).map(|_| random.char(..)).collect();
        bytes.extend([0xd9, u8::try_from(word.len()).expect("it is short")]);
        bytes.extend(word.as_bytes());
        text.push_str(&serde_json::to_string(&word).expect("JSON"));
    }

    fn items(chunks: &[&[u8]]) -> Vec<Result<NewEvent, String>> {
        let mut items = Items::new(LIMIT);
        let mut found = Vec::new();
        for chunk in chunks {
            items.buffer().extend_from_slice(chunk);
            while let Some(item) = items.next_item() {
                found.push(match item {
                    Item::Whole(_, item) => {
                        parse(&item, &AccountName::default(), LIMIT).map_err(|error| error.to_string())
                    }
                    other => Err(format!("{other:?}")),
                });
            }
        }
        found.extend(items.rest().map(|number| Err(format!("cut short: {number}"))));
        found
    }

    #[test]
    fn random_events_in_any_pieces_and_damaged_in_any_way() {
        let seed = 41;
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..3_000 {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..random.usize(1..4) {
                let mut text = String::new();
                bytes.extend(with(1, b"\xa4data"));
                value(&mut random, 4, &mut bytes, &mut text);
                let written = Bytes::from(format!("{{\"type\":\"a\",\"data\":{text}}}"));
                let event = json::parse(&written, &AccountName::default()).map_err(|error| error.to_string());
                expected.push(event);
            }
            assert_eq!(items(&[&bytes]), expected, "seed {seed}, round {round}: {bytes:x?}");
            for _ in 0..random.usize(..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.u8(..)),
                }
            }
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(random.usize(1..=rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            assert_eq!(items(&chunks), items(&[&bytes]), "seed {seed}, round {round}: {chunks:x?}");
        }
    }
}
