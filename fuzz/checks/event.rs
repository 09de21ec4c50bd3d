//! An event as JSON: refused with a few words, or taken, and then the same event when it is written anew from what was
//! understood, with the very bytes of its data.

use bytes::Bytes;
use posthaste::{
    ingest::event::json,
    model::{
        account::AccountName,
        event::{NewEvent, NotBefore},
        time::format_duration,
    },
};
use serde_json::{json as object, value::RawValue};

/// No refusal is longer: what is refused is not to be repeated.
const WORDS: usize = 1_000;

pub(crate) fn check(input: &[u8]) {
    let account = AccountName::default();
    match json::parse(&Bytes::copy_from_slice(input), &account) {
        Ok(read) => {
            let data: &RawValue = serde_json::from_slice(&read.data).expect("the data is JSON");
            assert!(data.get().as_bytes() == read.data, "nothing stands around it");
            let again = json::parse(&written(&read), &account);
            assert_eq!(again.as_ref(), Ok(&read), "the same, written anew");
        }
        Err(error) => {
            let length = error.to_string().len();
            assert!((1..=WORDS).contains(&length), "{length} bytes are said");
        }
    }
}

fn written(event: &NewEvent) -> Bytes {
    let mut text = format!("{{\"data\":{}", String::from_utf8_lossy(&event.data));
    let mut add = |key: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            text += &format!(",\"{key}\":{value}");
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
