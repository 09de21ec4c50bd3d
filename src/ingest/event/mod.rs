//! An event as a producer writes it: as [`json`], in a [`message`] of MessagePack, or as a [`cloud`] event.
//!
//! All forms have the same keys, limits and words; what they share is here. Every key is known or an error: a misspelt
//! `type` must not become an event without one.

pub mod cloud;
pub mod json;
pub mod message;

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::answer::{Code, Refusal};
use crate::{
    model::{
        account::AccountName,
        cloud::CloudAttributes,
        content::ContentType,
        event::{Effect, EventType, NewEvent, NotBefore},
        time::{Timestamp, format_size, parse_duration},
    },
    policy::{later, nearest},
};

/// Levels of arrays and objects that `data` may nest.
pub const MAX_DEPTH: usize = 128;
/// Characters that a producer's id may have.
pub const MAX_PRODUCER_ID: usize = 256;
/// Characters that a key may have.
pub const MAX_KEY: usize = 256;

/// The keys of an event in every form.
const KEYS: [&str; 9] = ["type", "data", "id", "account", "url", "time", "at", "delay", "key"];

const WANTED_AT: &str = "an RFC 3339 time such as \"2026-11-22T02:57:00Z\"";
const WANTED_URL: &str = "a URL such as \"https://erp.example/hooks\"";
const WANTED_KEY: &str = "a text such as \"order-7\"";
const WANTED_DELAY: &str = "a duration such as \"30s\", \"5m\", \"2h\" or \"7d\"";

/// What a payload is of which nobody says it, where it is bytes.
const OCTETS: &str = "application/octet-stream";

/// Why bytes are no event. `Display` is for the producer; it carries nothing of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// It is not of the form that an event has.
    #[error("{0}")]
    Form(String),
    /// Its payload, as JSON, is longer than this: an event has no more.
    #[error("`data` as JSON has more than {} ([limits] event_size)", size(*.0))]
    TooLarge(usize),
}

impl InvalidEvent {
    fn new(message: impl Into<String>) -> Self {
        Self::Form(message.into())
    }
}

impl From<InvalidEvent> for Refusal {
    fn from(error: InvalidEvent) -> Self {
        let code = match error {
            InvalidEvent::Form(_) => Code::InvalidEvent,
            InvalidEvent::TooLarge(_) => Code::EventTooLarge,
        };
        Self::new(code, error.to_string())
    }
}

/// The refusal of an event that is longer than `limit`.
pub fn too_large(limit: usize) -> Refusal {
    Refusal::new(Code::EventTooLarge, format!("an event has at most {} ([limits] event_size)", size(limit)))
}

fn size(bytes: usize) -> String {
    format_size(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// What stands under the keys of an event, but for its payload.
#[derive(Debug, Default)]
struct Written {
    event_type: Option<EventType>,
    id: Option<String>,
    account: Option<AccountName>,
    url: Option<String>,
    time: Option<Timestamp>,
    at: Option<Timestamp>,
    delay: Option<Duration>,
    key: Option<String>,
    cloud: Option<CloudAttributes>,
}

/// A payload, and what it is; `None`: JSON.
type Payload = (Bytes, Option<ContentType>);

impl Written {
    /// The event with this payload; `account` is whose it is if it names none.
    fn into_event(self, account: &AccountName, payload: Payload) -> Result<NewEvent, InvalidEvent> {
        bounded("id", self.id.as_deref(), MAX_PRODUCER_ID)?;
        bounded("key", self.key.as_deref(), MAX_KEY)?;
        let missing = || InvalidEvent::new("`type` is missing; write {\"type\":\"a.b\",\"data\":{…}}");
        let (data, content_type) = payload;
        Ok(NewEvent {
            account: self.account.unwrap_or_else(|| account.clone()),
            event_type: self.event_type.ok_or_else(missing)?,
            data,
            content_type,
            producer_id: self.id,
            time: self.time,
            not_before: not_before(self.at, self.delay)?,
            url: self.url.map(String::into_boxed_str),
            key: self.key,
            effect: Effect::Live,
            cloud: self.cloud,
            uid: None,
        })
    }
}

/// The payload of an event that has none.
fn no_payload() -> Payload {
    (Bytes::from_static(b"{}"), None)
}

/// Bytes as a payload: what says JSON must be JSON, and of what nobody says anything nothing is promised.
fn payload(data: Bytes, content_type: Option<ContentType>) -> Result<Payload, InvalidEvent> {
    let content_type = content_type.unwrap_or_else(|| OCTETS.parse().expect("it is a content type"));
    if !content_type.is_json() {
        return Ok((data, Some(content_type)));
    }
    let read: Result<&RawValue, _> = serde_json::from_slice(&data);
    if let Err(error) = read {
        let message = format!(
            "the payload is not valid JSON, which its content type `{content_type}` says: {error}; say what it is, \
             {OCTETS} for instance"
        );
        return Err(InvalidEvent::Form(message));
    }
    json::check_depth(&data)?;
    Ok((data, kind_of_json(content_type)))
}

/// What a payload of JSON is called: nothing where it is simply JSON, so that it is the same through every door.
fn kind_of_json(content_type: ContentType) -> Option<ContentType> {
    (!content_type.as_str().eq_ignore_ascii_case(ContentType::JSON)).then_some(content_type)
}

fn once<T>(key: &str, place: &mut Option<T>, value: T) -> Result<(), InvalidEvent> {
    if place.replace(value).is_some() {
        return Err(InvalidEvent::Form(format!("`{}` is there twice", shown(key))));
    }
    Ok(())
}

fn bounded(name: &str, text: Option<&str>, most: usize) -> Result<(), InvalidEvent> {
    match text {
        Some(text) if text.is_empty() || text.chars().count() > most => {
            Err(InvalidEvent::Form(format!("`{name}` has 1 to {most} characters")))
        }
        _ => Ok(()),
    }
}

/// What `key` has as its text; the error names the key.
fn read<T: std::str::FromStr<Err: std::fmt::Display>>(key: &str, text: &str) -> Result<T, InvalidEvent> {
    text.parse().map_err(|error| InvalidEvent::Form(format!("`{key}`: {error}")))
}

fn read_delay(text: &str) -> Result<Duration, InvalidEvent> {
    let wrong = |error: &dyn std::fmt::Display| InvalidEvent::Form(format!("`delay`: {error}"));
    let delay = parse_duration(text).map_err(|error| wrong(&error))?;
    later::check_delay(delay).map_err(|error| wrong(&error))?;
    Ok(delay)
}

fn not_before(at: Option<Timestamp>, delay: Option<Duration>) -> Result<Option<NotBefore>, InvalidEvent> {
    match (at, delay) {
        (Some(_), Some(_)) => {
            Err(InvalidEvent::new("`at` and `delay` say the same thing; write one of them"))
        }
        (at, delay) => Ok(at.map(NotBefore::At).or(delay.map(NotBefore::After))),
    }
}

/// A key as a message repeats it.
fn shown(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// What is said of a key that no event of this form has; `known` are those that it has.
fn unknown(key: &str, known: &[&str]) -> InvalidEvent {
    let shown = shown(key);
    let all = known.join(", ");
    InvalidEvent::Form(match nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key `{shown}`: did you mean `{near}`? An event has the keys {all}"),
        None => format!("unknown key `{shown}`: an event has the keys {all}; what is yours goes into data"),
    })
}
