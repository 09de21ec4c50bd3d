//! An event as JSON: refused with a few words, or taken, and then the same event when it is written anew from what was
//! understood, with the very bytes of its data.

use bytes::Bytes;
use posthaste::{
    ingest::event,
    model::{
        account::AccountName,
        event::{NewEvent, NotBefore},
        time::format_duration,
    },
};
use serde_json::{json, value::RawValue};

/// No refusal is longer: what is refused is not to be repeated.
const WORDS: usize = 1_000;

pub(crate) fn check(input: &[u8]) {
    let account = AccountName::default();
    match event::parse(&Bytes::copy_from_slice(input), &account) {
        Ok(read) => {
            let data: &RawValue = serde_json::from_slice(&read.data).expect("the data is JSON");
            assert!(data.get().as_bytes() == read.data, "nothing stands around it");
            let again = event::parse(&written(&read), &account);
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
    add("type", Some(json!(event.event_type)));
    add("account", Some(json!(event.account)));
    add("id", event.producer_id.as_ref().map(|id| json!(id)));
    add("url", event.url.as_ref().map(|url| json!(url)));
    add("key", event.key.as_ref().map(|key| json!(key)));
    add("time", event.time.map(|time| json!(time)));
    match event.not_before {
        Some(NotBefore::At(at)) => add("at", Some(json!(at))),
        Some(NotBefore::After(delay)) => add("delay", Some(json!(format_duration(delay)))),
        None => {}
    }
    (text + "}").into()
}
