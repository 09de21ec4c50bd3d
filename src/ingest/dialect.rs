//! What a producer writes its events in, one after the other: lines of JSON, or items of MessagePack. All that a door must
//! know of the difference is here.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{
    answer::{Answer, Code, Refusal},
    event::{InvalidEvent, json, message, too_large},
    items::{Item, Items},
    lines::{Line, Lines},
    msgpack::Reserved,
};
use crate::model::{account::AccountName, event::NewEvent};

/// A way to write events one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A line each.
    Json,
    /// A map each.
    MessagePack,
}

/// Where an event stands among others, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this line.
    Line(u64),
    /// As this item.
    Item(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Item(number) => write!(f, "item {number}"),
        }
    }
}

impl Dialect {
    /// The dialect of a connection that begins with this byte.
    pub const fn of(first: u8) -> Option<Self> {
        match first {
            b'{' | b' ' | b'\t' | b'\r' | b'\n' => Some(Self::Json),
            0x80..=0x8f | 0xde | 0xdf => Some(Self::MessagePack),
            _ => None,
        }
    }

    /// What one event stands in, with its article.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Json => "a line",
            Self::MessagePack => "an item",
        }
    }

    /// The place with this number.
    pub const fn place(self, number: u64) -> Place {
        match self {
            Self::Json => Place::Line(number),
            Self::MessagePack => Place::Item(number),
        }
    }

    /// How many bytes of memory an event of `length` bytes takes at most while it is read, where it may have `limit`.
    pub const fn cost(self, length: usize, limit: usize) -> usize {
        match self {
            Self::Json => length,
            Self::MessagePack => length.saturating_add(message::cost(length, limit)),
        }
    }

    /// Reads one event of at most `limit` bytes.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(
        self,
        source: &Bytes,
        account: &AccountName,
        limit: usize,
    ) -> Result<NewEvent, InvalidEvent> {
        match self {
            Self::Json => json::parse(source, account),
            Self::MessagePack => message::parse(source, account, limit),
        }
    }

    /// Writes an answer.
    pub fn push_answer(self, out: &mut Vec<u8>, answer: &Answer) {
        match self {
            Self::Json => {
                serde_json::to_writer(&mut *out, answer).expect("an answer is JSON, and a Vec takes it");
                out.push(b'\n');
            }
            Self::MessagePack => {
                rmp_serde::encode::write_named(out, answer).expect("an answer is a map, and a Vec takes it");
            }
        }
    }

    /// The refusal of what ends before its event does.
    pub fn unterminated(self, number: u64) -> Refusal {
        let place = self.place(number);
        match self {
            Self::Json => {
                let message = format!("{place} has no line end, so it may be cut short; it was not taken");
                Refusal::new(Code::UnterminatedLine, message)
            }
            Self::MessagePack => {
                Refusal::new(Code::UnterminatedItem, format!("{place} is cut short; it was not taken"))
            }
        }
    }
}

/// Finds where each event ends.
#[derive(Debug)]
pub struct Frames {
    framer: Framer,
    limit: usize,
}

#[derive(Debug)]
enum Framer {
    Lines(Lines),
    Items(Items),
}

/// What one event stands in, or why there is none to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it stands.
    pub place: Place,
    /// All of it.
    pub source: Result<Bytes, Refusal>,
}

impl Frames {
    /// Events of at most `limit` bytes.
    pub fn new(dialect: Dialect, limit: usize) -> Self {
        let framer = match dialect {
            Dialect::Json => Framer::Lines(Lines::new(limit)),
            Dialect::MessagePack => Framer::Items(Items::new(limit)),
        };
        Self { framer, limit }
    }

    /// What they are written in.
    pub const fn dialect(&self) -> Dialect {
        match self.framer {
            Framer::Lines(_) => Dialect::Json,
            Framer::Items(_) => Dialect::MessagePack,
        }
    }

    /// The buffer to read into; at most the limit and what one read adds.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        match &mut self.framer {
            Framer::Lines(lines) => lines.buffer(),
            Framer::Items(items) => items.buffer(),
        }
    }

    /// How many have ended.
    pub const fn number(&self) -> u64 {
        match &self.framer {
            Framer::Lines(lines) => lines.number(),
            Framer::Items(items) => items.number(),
        }
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        match &self.framer {
            Framer::Lines(lines) => lines.held(),
            Framer::Items(items) => items.held(),
        }
    }

    /// Whether nothing more comes, as it is not known where the next one begins.
    pub const fn is_lost(&self) -> bool {
        match &self.framer {
            Framer::Lines(_) => false,
            Framer::Items(items) => items.is_lost(),
        }
    }

    /// The next one; `None` when more bytes are needed, or none comes any more.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let (number, source) = match &mut self.framer {
            Framer::Lines(lines) => match lines.next_line()? {
                Line::Whole(number, line) => (number, Ok(line)),
                Line::TooLong(number) => (number, Err(too_large(self.limit))),
            },
            Framer::Items(items) => match items.next_item()? {
                Item::Whole(number, item) => (number, Ok(item)),
                Item::TooLong(number) => (number, Err(too_large(self.limit))),
                Item::Lost(number) => (number, Err(lost())),
            },
        };
        Some(Frame { place: self.dialect().place(number), source })
    }

    /// At the end of the input: the number of what has begun and not ended, and the bytes of a last line.
    pub fn rest(self) -> Option<(u64, Option<Bytes>)> {
        match self.framer {
            Framer::Lines(lines) => lines.rest().map(|(number, line)| (number, Some(line))),
            Framer::Items(items) => items.rest().map(|number| (number, None)),
        }
    }

    /// Reads the event that a frame is; a refusal says where.
    pub fn event(&self, frame: Frame, account: &AccountName) -> Result<NewEvent, Refusal> {
        let parse = |source| Ok(self.dialect().parse(&source, account, self.limit)?);
        frame.source.and_then(parse).map_err(|refusal: Refusal| refusal.at(frame.place))
    }
}

fn lost() -> Refusal {
    let message = format!("{Reserved}, so it cannot be known where this one ends; nothing after it is read");
    Refusal::new(Code::InvalidEvent, message)
}
