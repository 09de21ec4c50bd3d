//! An event as JSON: refused with a few words, or taken, and then the same event when it is written anew from what was
//! understood, with the very bytes of its data. So with what is read as a CloudEvent, whose payload fits its content type.

use std::fmt::Write as _;

use bytes::Bytes;
use posthaste::{
    ingest::event::{InvalidEvent, json},
    model::{
        account::AccountName,
        content::ContentType,
        event::{NewEvent, NotBefore},
        time::format_duration,
    },
};
use serde_json::{json as object, value::RawValue};

/// No refusal is longer: what is refused is not to be repeated.
const WORDS: usize = 1_000;

pub(crate) fn check(input: &[u8]) {
    match json::parse(&Bytes::copy_from_slice(input), &AccountName::default()) {
        Ok(event) if event.cloud.is_some() => check_payload(&event),
        Ok(event) => {
            check_payload(&event);
            check_written_anew(&event);
        }
        Err(error) => check_words(&error),
    }
}

pub(crate) fn check_words(error: &InvalidEvent) {
    let length = error.to_string().len();
    assert!((1..=WORDS).contains(&length), "{length} bytes are said");
}

/// What says that it is JSON, or says nothing, is JSON.
pub(crate) fn check_payload(event: &NewEvent) {
    if event.content_type.as_ref().is_none_or(ContentType::is_json) {
        let data: &RawValue = serde_json::from_slice(&event.data).expect("the data is JSON");
        assert!(
            event.content_type.is_some() || data.get().as_bytes() == event.data,
            "nothing stands around it"
        );
    }
}

/// An event whose payload is simply JSON, written as JSON and read again.
pub(crate) fn check_written_anew(event: &NewEvent) {
    let again = json::parse(&written(event), &AccountName::default());
    assert_eq!(again.as_ref(), Ok(event), "the same, written anew");
}

fn written(event: &NewEvent) -> Bytes {
    let mut text = format!("{{\"data\":{}", String::from_utf8_lossy(&event.data));
    let mut add = |key: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            write!(text, ",\"{key}\":{value}").expect("a String takes all");
        }
    };
    add("type", Some(object!(event.event_type)));
    add("account", Some(object!(event.account)));
    add("id", event.producer_id.as_ref().map(|id| object!(id)));
    add("url", event.url.as_ref().map(|url| object!(url)));
    add("key", event.key.as_ref().map(|key| object!(key)));
    add("time", event.time.map(|time| object!(time)));
    match event.not_before {
        Some(NotBefore::At(at)) => add("at", Some(object!(at))),
        Some(NotBefore::After(delay)) => add("delay", Some(object!(format_duration(delay)))),
        None => {}
    }
    (text + "}").into()
}
