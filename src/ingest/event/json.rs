//! An event as JSON: `{"type": "a.b", "data": {…}, "id": …, "account": …, "url": …, "time": …, "at": … or "delay": …, "key": …}`.
//!
//! The bytes of `data` are taken as they stand (numbers, duplicate keys, white space and escapes included); nothing
//! in them is parsed beyond what it takes to find their end. An object with `specversion` is a CloudEvent, and read as one.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use memchr::memchr2_iter;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    InvalidEvent, KEYS, MAX_DEPTH, WANTED_AT, WANTED_DELAY, WANTED_KEY, WANTED_URL, Written, cloud,
    no_payload, once, read, read_delay, unknown,
};
use crate::model::{account::AccountName, event::NewEvent};

/// Reads one event. `source` must be the whole of it; white space around it is allowed. One that names no account
/// belongs to `account`.
///
/// # Errors
/// It is no JSON object of one of the two forms, or one of its values is none that this key takes.
pub fn parse(source: &Bytes, account: &AccountName) -> Result<NewEvent, InvalidEvent> {
    refuse_text(source)?;
    let (written, data) = match serde_json::from_slice::<Fields<'_>>(source) {
        Ok(Fields(written, data)) => (written, data),
        // Only what is no event of ours is looked at again.
        Err(_) if cloud::is_one(source) => return cloud::parse(source, account),
        Err(error) => return Err(describe(&error)),
    };
    let payload = match data {
        Some(data) => {
            check_depth(data.get().as_bytes())?;
            (source.slice_ref(data.get().as_bytes()), None)
        }
        None => no_payload(),
    };
    written.into_event(account, payload)
}

/// Refuses a text where an object or an array should be: serde_json's own word would repeat it.
///
/// # Errors
/// `source` is a text.
pub fn refuse_text(source: &[u8]) -> Result<(), InvalidEvent> {
    if source.trim_ascii_start().starts_with(b"\"") {
        let message = "a text holds no event: write an object such as {\"type\":\"a.b\",\"data\":{}}";
        return Err(InvalidEvent::new(message));
    }
    Ok(())
}

/// What is written, and the payload as it stands.
struct Fields<'a>(Written, Option<&'a RawValue>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: an object such as {\"type\":\"a.b\",\"data\":{}}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut written, mut data) = (Written::default(), None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let added = match &*key {
                "type" => once(&key, &mut written.event_type, map.next_value()?),
                "data" => once(&key, &mut data, map.next_value::<&RawValue>()?),
                "id" => once(&key, &mut written.id, map.next_value::<String>()?),
                "key" => once(&key, &mut written.key, map.next_value_seed(KEY)?),
                "account" => once(&key, &mut written.account, map.next_value()?),
                "url" => once(&key, &mut written.url, map.next_value_seed(URL)?),
                "time" => once(&key, &mut written.time, map.next_value()?),
                "at" => read("at", &map.next_value_seed(AT)?).and_then(|at| once(&key, &mut written.at, at)),
                "delay" => read_delay(&map.next_value_seed(DELAY)?)
                    .and_then(|delay| once(&key, &mut written.delay, delay)),
                _ => Err(unknown(&key, &KEYS)),
            };
            added.map_err(A::Error::custom)?;
        }
        Ok(Fields(written, data))
    }
}

/// The text of a key; what is something else is told what is wanted.
struct Text(&'static str, &'static str);

const AT: Text = Text("at", WANTED_AT);
const URL: Text = Text("url", WANTED_URL);
const KEY: Text = Text("key", WANTED_KEY);
const DELAY: Text = Text("delay", WANTED_DELAY);

impl<'de> DeserializeSeed<'de> for Text {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` as {}", self.0, self.1)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// serde_json's word, which has the place at its end; its categories become ours.
pub(super) fn describe(error: &serde_json::Error) -> InvalidEvent {
    InvalidEvent::Form(match error.classify() {
        serde_json::error::Category::Eof => format!("the JSON ends too early ({error})"),
        serde_json::error::Category::Syntax => format!("not valid JSON: {error}"),
        serde_json::error::Category::Data | serde_json::error::Category::Io => error.to_string(),
    })
}

/// Refuses what would overturn a receiver's parser. The nesting of `json`, which is valid JSON, is counted without
/// recursion.
///
/// # Errors
/// It nests deeper than [`MAX_DEPTH`].
pub fn check_depth(json: &[u8]) -> Result<(), InvalidEvent> {
    // So few cannot nest deeper, wherever they stand; most payloads end here.
    if memchr2_iter(b'{', b'[', json).take(MAX_DEPTH + 1).count() <= MAX_DEPTH {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(InvalidEvent::Form(format!("`data` nests deeper than {MAX_DEPTH} levels")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        ingest::event::MAX_KEY,
        model::{event::NotBefore, time::Timestamp},
        policy::later,
    };

    fn read(text: &str) -> Result<NewEvent, String> {
        parse(&Bytes::copy_from_slice(text.as_bytes()), &AccountName::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn data_is_taken_byte_for_byte() {
        for data in [
            "{}",
            "null",
            "\"\"",
            "1e400",
            "123456789012345678901234567890.10",
            "{\"a\":1,\"a\":2}",
            "[ 1 ,\t2 ]",
            r#""\u00e9\/\ud83d\ude00 é""#,
            "{ \"b\" : [ ] }",
        ] {
            let event = read(&format!(" {{\"data\": {data} , \"type\":\"a.b\"}} ")).expect("an event");
            assert_eq!(event.data, data.as_bytes(), "{data}");
        }
        assert_eq!(read("{\"type\":\"a\"}").expect("an event").data, "{}");
    }

    #[test]
    fn all_keys() {
        let text = r#"{"type":"a.b","data":1,"id":"o-\u0037","account":"acme","time":"2024-02-28T17:15:42+01:00","key":"k\"7 ä"}"#;
        let event = read(text).expect("an event");
        assert_eq!((event.producer_id.as_deref(), event.account.as_str()), (Some("o-7"), "acme"));
        assert_eq!(event.key.as_deref(), Some("k\"7 ä"));
        assert_eq!(event.time.map(|time| time.to_string()).as_deref(), Some("2024-02-28T16:15:42.000Z"));
        assert_eq!(event.url, None);
        let event = read("{\"type\":\"a\",\"url\":\"not \\u0061 URL\"}").expect("an event");
        assert_eq!(
            event.url.as_deref(),
            Some("not a URL"),
            "its account is not known yet: it is judged when it is routed"
        );
        let house: AccountName = "house".parse().expect("a name");
        let event = parse(&Bytes::from_static(b"{\"type\":\"a\"}"), &house).expect("an event");
        assert_eq!((event.account, event.key), (house, None));
        let longest = "ä".repeat(MAX_KEY);
        let event = read(&format!("{{\"type\":\"a\",\"key\":\"{longest}\"}}")).expect("an event");
        assert_eq!(event.key, Some(longest));
    }

    #[test]
    fn not_before_is_a_time_or_a_delay() {
        let at = Timestamp::from_millis(1_709_136_942_000);
        for (keys, expected) in [
            ("", None),
            (",\"at\":\"2024-02-28T17:15:42+01:00\"", Some(NotBefore::At(at))),
            (",\"at\":\"1970-01-01T00:00:00Z\"", Some(NotBefore::At(Timestamp::EPOCH))),
            (",\"delay\":\"0s\"", Some(NotBefore::After(Duration::ZERO))),
            (",\"delay\":\"1h\\u0033\\u0030m\"", Some(NotBefore::After(Duration::from_secs(5_400)))),
            (",\"delay\":\"365d\"", Some(NotBefore::After(later::FARTHEST))),
        ] {
            let event = read(&format!("{{\"type\":\"a\"{keys}}}")).expect(keys);
            assert_eq!(event.not_before, expected, "{keys}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let deep = format!("{{\"type\":\"a\",\"data\":{}{}}}", "[".repeat(129), "]".repeat(129));
        let long = format!("{{\"type\":\"a\",\"id\":\"{}\"}}", "x".repeat(257));
        let long_key = long.replace("id", "key");
        for (text, part) in [
            ("", "ends too early"),
            ("{\"type\":\"a\"", "ends too early"),
            ("{\"type\":\"a\"} x", "trailing characters"),
            ("[]", "an object such as"),
            ("{}", "`type` is missing"),
            ("{\"typ\":\"a\"}", "did you mean `type`?"),
            ("{\"payload\":1}", "what is yours goes into data"),
            ("{\"type\":\"a\",\"url\":7}", "`7`, expected `url` as a URL such as"),
            ("{\"type\":\"a\",\"url\":null}", "expected `url` as a URL such as"),
            ("{\"type\":\"a\",\"url\":\"a\",\"url\":\"a\"}", "`url` is there twice"),
            ("{\"type\":\"a\",\"type\":\"b\"}", "`type` is there twice"),
            ("{\"type\":\"a\",\"dealy\":\"1s\"}", "did you mean `delay`?"),
            ("{\"type\":\"a\",\"delay\":\"1s\",\"delay\":\"1s\"}", "`delay` is there twice"),
            ("{\"type\":\"a\",\"delay\":\"1s\",\"at\":\"2026-11-22T02:57:00Z\"}", "write one of them"),
            ("{\"type\":\"a\",\"delay\":30}", "`30`, expected `delay` as a duration such as \"30s\""),
            ("{\"type\":\"a\",\"delay\":null}", "expected `delay` as a duration"),
            ("{\"type\":\"a\",\"delay\":\"-5s\"}", "`delay`: not a duration such as"),
            ("{\"type\":\"a\",\"delay\":\"\"}", "`delay`: not a duration such as"),
            ("{\"type\":\"a\",\"delay\":\"366d\"}", "`delay`: at most 365d ahead"),
            ("{\"type\":\"a\",\"delay\":\"365d1ms\"}", "`delay`: at most 365d ahead"),
            ("{\"type\":\"a\",\"delay\":\"999999999999999999999d\"}", "`delay`: the number is too large"),
            ("{\"type\":\"a\",\"at\":1764000000}", "expected `at` as an RFC 3339 time"),
            ("{\"type\":\"a\",\"at\":\"tomorrow\"}", "`at`: not an RFC 3339 time"),
            ("{\"type\":\"a\",\"at\":\"1969-12-31T23:59:59Z\"}", "`at`: the time is before 1970"),
            ("{\"type\":\"a b\"}", "only the characters"),
            ("{\"type\":7}", "invalid type: integer `7`"),
            ("{\"type\":\"a\",\"id\":\"\"}", "`id` has 1 to 256 characters"),
            ("{\"type\":\"a\",\"key\":\"\"}", "`key` has 1 to 256 characters"),
            ("{\"type\":\"a\",\"key\":7}", "`7`, expected `key` as a text"),
            ("{\"type\":\"a\",\"key\":null}", "expected `key` as a text"),
            ("{\"type\":\"a\",\"key\":\"b\",\"key\":\"b\"}", "`key` is there twice"),
            ("{\"type\":\"a\",\"account\":\"a b\"}", "1 to 64 characters"),
            ("{\"type\":\"a\",\"time\":\"noon\"}", "RFC 3339"),
            ("{\"type\":\"a\",\"data\":{\"x\":}}", "not valid JSON"),
            (&deep, "deeper than 128"),
            (&long, "1 to 256 characters"),
            (&long_key, "`key` has 1 to 256 characters"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = fastrand::Rng::with_seed(5);
        let account = AccountName::default();
        let seeds: [&[u8]; 3] =
            [br#"{"type":"a.b","data":{"x":[1,"\"{"]},"id":"1"}"#, b"{\"type\":\"a\"}", &[0xff; 9]];
        for _ in 0..20_000 {
            let mut bytes = seeds[random.usize(..seeds.len())].to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            let _ = parse(&Bytes::from(bytes), &account);
        }
    }
}
