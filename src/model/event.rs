//! Events: what producers hand in. Immutable once accepted.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    account::AccountName, cloud::CloudAttributes, content::ContentType, id::NUMBER_BITS, time::Timestamp,
};

/// An event's sequence number, given by the writer in the order of acceptance; from 1, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);
    /// No event has a greater one.
    pub const MAX: Self = Self((1 << NUMBER_BITS) - 1);

    /// A sequence number; greater ones than [`Seq::MAX`] become it.
    pub const fn new(number: u64) -> Self {
        if number > Self::MAX.0 { Self::MAX } else { Self(number) }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.0 + 1)
    }
}

/// An event's type: dotted name of 1 to 128 characters of `A-Z a-z 0-9 . _ -`, no empty segment. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EventType {
    type Err = ParseTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() {
            Err(ParseTypeError::Empty)
        } else if text.len() > 128 {
            Err(ParseTypeError::TooLong)
        } else if !text.bytes().all(allowed) {
            Err(ParseTypeError::Character)
        } else if text.starts_with('.')
            || text.ends_with('.')
            || text.as_bytes().windows(2).any(|two| two == b"..")
        {
            Err(ParseTypeError::EmptySegment)
        } else {
            Ok(Self(Arc::from(text)))
        }
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is no [`EventType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTypeError {
    /// A character outside `A-Z a-z 0-9 . _ -`.
    #[error("an event type has only the characters A-Z a-z 0-9 . _ -")]
    Character,
    /// Nothing.
    #[error("an event type is not empty")]
    Empty,
    /// Two dots in a row, or one at an end.
    #[error("an event type has no empty segment: no dot at either end, no two dots in a row")]
    EmptySegment,
    /// More than 128 characters.
    #[error("an event type has at most 128 characters")]
    TooLong,
}

/// What becomes of a type's events, as an account's catalog has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// They are delivered.
    #[default]
    Live,
    /// They are delivered; what they tell is not whole, as the catalog's description may explain.
    Partial,
    /// They are accepted and kept, and not delivered.
    None,
}

impl Effect {
    /// Its word, as a catalog has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }

    /// Whether it is [`Effect::Live`], which needs no mention.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's `skip_serializing_if` passes a reference")]
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }
}

/// Before when nothing of an event is sent, as its producer says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotBefore {
    /// So long after it is accepted.
    After(Duration),
    /// This time.
    At(Timestamp),
}

impl NotBefore {
    /// The time that it says for an event that is accepted at `accepted_at`.
    pub fn time(self, accepted_at: Timestamp) -> Timestamp {
        match self {
            Self::After(delay) => accepted_at.plus(delay),
            Self::At(at) => at,
        }
    }
}

/// An event as a producer handed it in, checked, not yet accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Whose it is.
    pub account: AccountName,
    /// What happened.
    pub event_type: EventType,
    /// The payload: the very bytes of `data`.
    pub data: Bytes,
    /// What the payload is; `None`: JSON. Where it says JSON of some kind, the payload is JSON.
    pub content_type: Option<ContentType>,
    /// The producer's own id, at most 256 characters.
    pub producer_id: Option<String>,
    /// When it happened, as the producer says.
    pub time: Option<Timestamp>,
    /// Before when nothing of it is sent; `None`: it goes at once. What is read from the store says the time.
    pub not_before: Option<NotBefore>,
    /// A URL that it goes to besides the endpoints that match: as its producer wrote it, and once it is routed as it was
    /// judged.
    pub url: Option<Box<str>>,
    /// Among which of an endpoint's deliveries those of it keep the order, where they keep one: its producer's word, 1
    /// to 256 characters.
    pub key: Option<String>,
    /// What its account's catalog says of its type as it comes in.
    pub effect: Effect,
    /// What else it says of itself, if it came as a CloudEvent.
    pub cloud: Option<CloudAttributes>,
    /// The user who handed it in, by the kernel's word: who connected, or whose the file was.
    pub uid: Option<u32>,
}

impl NewEvent {
    /// One of which no more is said: JSON that goes at once.
    pub const fn new(account: AccountName, event_type: EventType, data: Bytes) -> Self {
        Self {
            account,
            event_type,
            data,
            content_type: None,
            producer_id: None,
            time: None,
            not_before: None,
            url: None,
            key: None,
            effect: Effect::Live,
            cloud: None,
            uid: None,
        }
    }
}

/// An accepted event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order of acceptance.
    pub seq: Seq,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The clock was not set then, so that it says little.
    pub clock_unset: bool,
    /// As it was handed in.
    pub new: NewEvent,
}

impl Event {
    /// When it happened: what the producer said, else when it was accepted.
    pub fn time(&self) -> Timestamp {
        self.new.time.unwrap_or(self.accepted_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let long = "a".repeat(128);
        for good in ["a", "video.media.ready", "a-b_c.D9", &long] {
            assert_eq!(good.parse::<EventType>().map(|t| t.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(129);
        for (bad, why) in [
            ("", ParseTypeError::Empty),
            ("a..b", ParseTypeError::EmptySegment),
            (".", ParseTypeError::EmptySegment),
            (".a", ParseTypeError::EmptySegment),
            ("a.", ParseTypeError::EmptySegment),
            ("a b", ParseTypeError::Character),
            ("a.*", ParseTypeError::Character),
            ("ä", ParseTypeError::Character),
            (&too_long, ParseTypeError::TooLong),
        ] {
            assert_eq!(bad.parse::<EventType>(), Err(why), "{bad}");
        }
    }
}
