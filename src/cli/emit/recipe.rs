//! How a line becomes an event on the stream.
//!
//! The bytes of an event, and of its data, go on as they stand. Whether what becomes of a line may be handed in again
//! without harm is said with it: it may if the event carries an id, and if the line is no event at all.

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    ingest::answer::{Code, Refusal},
    model::{account::AccountName, event::EventType, time::Timestamp},
};

/// Lines have ids of at most this many characters before the number; the daemon takes 256 in all.
pub const MAX_RESUME: usize = 200;

/// What an event is besides its data: what all events of a run share, and the id of one.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    /// What happened.
    #[serde(rename = "type")]
    pub name: EventType,
    /// The producer's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
    /// Where it goes besides the endpoints that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Before when nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// For how long nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// Among which events the order is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(flatten)]
    head: &'a Head,
    data: &'a RawValue,
}

/// The event's JSON, with `data` in it byte for byte.
///
/// # Errors
/// `data` is not JSON.
pub fn encode(head: &Head, data: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let data: &RawValue = serde_json::from_slice(data)?;
    Ok(serde_json::to_vec(&Event { head, data }).expect("names, times and JSON are JSON"))
}

/// What is made of every line of a run.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Each line is the data of such an event; `None`: each is a whole event.
    pub head: Option<Head>,
    /// Lines without an id of their own have this and their number for one.
    pub resume: Option<String>,
}

/// A line as it goes to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The event and the line's end.
    pub bytes: Vec<u8>,
    /// To hand it in again does no harm.
    pub repeatable: bool,
}

/// As much of an event as it takes to know whether it carries an id.
#[derive(Deserialize)]
struct Carries {
    #[serde(default, deserialize_with = "is_there")]
    id: bool,
}

/// Whatever it is: a second `id` beside `null` would help nobody.
fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl Recipe {
    /// What the line with this number becomes.
    ///
    /// # Errors
    /// It is to be the data of an event, and is no JSON.
    pub fn make(&self, number: u64, line: &[u8]) -> Result<Made, Refusal> {
        let id = self.resume.as_ref().map(|name| format!("{name}:{number}"));
        match &self.head {
            None => Ok(whole(line, id)),
            Some(head) => {
                let repeatable = id.is_some();
                let mut bytes =
                    encode(&Head { id, ..head.clone() }, line).map_err(|error| not_json(&error))?;
                bytes.push(b'\n');
                Ok(Made { bytes, repeatable })
            }
        }
    }
}

/// A line that is an event already, with this id if it carries none.
fn whole(line: &[u8], id: Option<String>) -> Made {
    let mut bytes = Vec::with_capacity(line.len() + 1);
    let line = line.trim_ascii_start();
    // What cannot be read so is no event to the daemon either: it is refused, however often it is handed in.
    let mut repeatable = serde_json::from_slice(line).map_or(true, |carries: Carries| carries.id);
    match (id, line.strip_prefix(b"{")) {
        // An object without a key is no event, and stays as it is.
        (Some(id), Some(rest)) if !repeatable && !rest.trim_ascii_start().starts_with(b"}") => {
            bytes.extend_from_slice(b"{\"id\":");
            serde_json::to_writer(&mut bytes, &id).expect("a text is JSON, and a Vec takes it");
            bytes.push(b',');
            bytes.extend_from_slice(rest);
            repeatable = true;
        }
        _ => bytes.extend_from_slice(line),
    }
    bytes.push(b'\n');
    Made { bytes, repeatable }
}

/// Says what is wrong with a payload without showing it.
fn not_json(error: &serde_json::Error) -> Refusal {
    Refusal::new(Code::InvalidEvent, format!("the payload is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            name: "a.b".parse().expect("a type"),
            id: None,
            account: None,
            url: None,
            time: None,
            at: None,
            delay: None,
            key: Some("k".to_owned()),
        }
    }

    fn make(head: Option<Head>, resume: Option<&str>, line: &str) -> (String, bool) {
        let recipe = Recipe { head, resume: resume.map(str::to_owned) };
        let made = recipe.make(7, line.as_bytes()).expect("it can be made");
        (String::from_utf8(made.bytes).expect("text"), made.repeatable)
    }

    #[test]
    fn whole_events_go_on_as_they_are() {
        for (line, resume, expected, repeatable) in [
            (r#"{"type":"a", "data":{"id":1}}"#, None, r#"{"type":"a", "data":{"id":1}}"#, false),
            (r#"{"type":"a","id":"x"}"#, None, r#"{"type":"a","id":"x"}"#, true),
            (r#"{"type":"a","id":"x"}"#, Some("n"), r#"{"type":"a","id":"x"}"#, true),
            (r#"{"type":"a","\u0069d":"x"}"#, Some("n"), r#"{"type":"a","\u0069d":"x"}"#, true),
            (" {\"type\":\"a\"}\r", Some("n"), "{\"id\":\"n:7\",\"type\":\"a\"}\r", true),
            (r#"{ "type":"a"}"#, Some("n\"ü"), r#"{"id":"n\"ü:7", "type":"a"}"#, true),
            // None of these is an event: they are refused as often as they come.
            (r#"{"type":"a","id":null}"#, Some("n"), r#"{"type":"a","id":null}"#, true),
            ("nonsense", Some("n"), "nonsense", true),
            ("[1]", None, "[1]", true),
            ("{ }", Some("n"), "{ }", false),
            (r#"{"type":"a""#, Some("n"), r#"{"type":"a""#, true),
            (r#"{"type":"a","id":"x","id":"y"}"#, None, r#"{"type":"a","id":"x","id":"y"}"#, true),
        ] {
            assert_eq!(make(None, resume, line), (format!("{expected}\n"), repeatable), "{line}");
        }
    }

    #[test]
    fn a_line_may_be_the_data_of_an_event() {
        let data = "{ \"b\": 1.0, \"a\":\"\\u00e9\" }";
        let expected = format!("{{\"type\":\"a.b\",\"key\":\"k\",\"data\":{data}}}\n");
        assert_eq!(make(Some(head()), None, data), (expected, false));
        let expected = "{\"type\":\"a.b\",\"id\":\"n:7\",\"key\":\"k\",\"data\":3}\n".to_owned();
        assert_eq!(make(Some(head()), Some("n"), "3\r"), (expected, true));
        let recipe = Recipe { head: Some(head()), resume: None };
        for line in ["hunter2", "1,\"id\":\"x\"", "{} {}", ""] {
            let refusal = recipe.make(7, line.as_bytes()).expect_err("no JSON");
            assert_eq!(refusal.code, Code::InvalidEvent);
            assert!(
                refusal.message.contains("not JSON") && !refusal.message.contains("hunter2"),
                "{refusal}"
            );
        }
    }
}
