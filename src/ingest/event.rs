//! An event as JSON: `{"type": "a.b", "data": {…}, "id": …, "account": …, "url": …, "time": …, "at": … or "delay": …, "key": …}`.
//!
//! The bytes of `data` are taken as they stand (numbers, duplicate keys, white space and escapes included); nothing
//! in them is parsed beyond what it takes to find their end. Every other key is known or an error: a misspelt
//! `type` must not become an event without one.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use memchr::memchr2_iter;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    model::{
        account::AccountName,
        event::{Effect, EventType, NewEvent, NotBefore},
        time::{Timestamp, parse_duration},
    },
    policy::{later, nearest},
};

/// Levels of arrays and objects that `data` may nest.
pub const MAX_DEPTH: usize = 128;
/// Characters that a producer's id may have.
pub const MAX_PRODUCER_ID: usize = 256;
/// Characters that a key may have.
pub const MAX_KEY: usize = 256;

const KEYS: [&str; 9] = ["type", "data", "id", "account", "url", "time", "at", "delay", "key"];

/// Why bytes are no event. `Display` is for the producer; it carries nothing of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidEvent(pub String);

/// Reads one event. `source` must be the whole of it; white space around it is allowed. One that names no account
/// belongs to `account`.
///
/// # Errors
/// It is no JSON object of the form above, or one of its values is none that this key takes.
pub fn parse(source: &Bytes, account: &AccountName) -> Result<NewEvent, InvalidEvent> {
    if source.trim_ascii_start().starts_with(b"\"") {
        // serde_json's own word would repeat the text.
        let message = "a text is no event: write an object such as {\"type\":\"a.b\",\"data\":{}}";
        return Err(InvalidEvent(message.to_owned()));
    }
    let written: Written<'_> = serde_json::from_slice(source).map_err(|error| describe(&error))?;
    let data = match written.data {
        Some(data) => {
            check_depth(data.get().as_bytes())?;
            source.slice_ref(data.get().as_bytes())
        }
        None => Bytes::from_static(b"{}"),
    };
    Ok(NewEvent {
        account: written.account.unwrap_or_else(|| account.clone()),
        event_type: written.event_type,
        data,
        producer_id: written.id,
        time: written.time,
        not_before: written.not_before,
        content_type: None,
        url: written.url.map(String::into_boxed_str),
        key: written.key,
        effect: Effect::Live,
    })
}

struct Written<'a> {
    event_type: EventType,
    data: Option<&'a RawValue>,
    id: Option<String>,
    account: Option<AccountName>,
    time: Option<Timestamp>,
    not_before: Option<NotBefore>,
    url: Option<String>,
    key: Option<String>,
}

impl<'de> Deserialize<'de> for Written<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WrittenVisitor)
    }
}

struct WrittenVisitor;

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = Written<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: an object such as {\"type\":\"a.b\",\"data\":{}}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut event_type, mut data, mut id, mut account, mut time) = (None, None, None, None, None);
        let (mut at, mut delay, mut url, mut group) = (None, None, None, None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "type" => once(&key, &mut event_type, map.next_value()?)?,
                "data" => once(&key, &mut data, map.next_value::<&RawValue>()?)?,
                "id" => once(&key, &mut id, map.next_value::<String>()?)?,
                "key" => once(&key, &mut group, map.next_value_seed(KEY)?)?,
                "account" => once(&key, &mut account, map.next_value()?)?,
                "url" => once(&key, &mut url, map.next_value_seed(URL)?)?,
                "time" => once(&key, &mut time, map.next_value()?)?,
                "at" => once(&key, &mut at, read_at(&map.next_value_seed(AT)?)?)?,
                "delay" => once(&key, &mut delay, read_delay(&map.next_value_seed(DELAY)?)?)?,
                _ => return Err(A::Error::custom(unknown(&key))),
            }
        }
        bounded("id", id.as_deref(), MAX_PRODUCER_ID)?;
        bounded("key", group.as_deref(), MAX_KEY)?;
        let missing = || A::Error::custom("`type` is missing; write {\"type\":\"a.b\",\"data\":{…}}");
        let event_type = event_type.ok_or_else(missing)?;
        let not_before = not_before(at, delay)?;
        Ok(Written { event_type, data, id, account, time, not_before, url, key: group })
    }
}

fn once<T, E: serde::de::Error>(key: &str, place: &mut Option<T>, value: T) -> Result<(), E> {
    if place.replace(value).is_some() { Err(E::custom(format!("`{key}` is there twice"))) } else { Ok(()) }
}

fn bounded<E: serde::de::Error>(name: &str, text: Option<&str>, most: usize) -> Result<(), E> {
    match text {
        Some(text) if text.is_empty() || text.chars().count() > most => {
            Err(E::custom(format!("`{name}` has 1 to {most} characters")))
        }
        _ => Ok(()),
    }
}

/// A text; what is something else is told what is wanted.
struct Text(&'static str);

const AT: Text = Text("`at` as an RFC 3339 time such as \"2026-11-22T02:57:00Z\"");
const URL: Text = Text("`url` as a URL such as \"https://erp.example/hooks\"");
const KEY: Text = Text("`key` as a text such as \"order-7\"");
const DELAY: Text = Text("`delay` as a duration such as \"30s\", \"5m\", \"2h\" or \"7d\"");

impl<'de> DeserializeSeed<'de> for Text {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

fn read_at<E: serde::de::Error>(text: &str) -> Result<Timestamp, E> {
    text.parse().map_err(|error| E::custom(format!("`at`: {error}")))
}

fn read_delay<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    let delay = parse_duration(text).map_err(|error| E::custom(format!("`delay`: {error}")))?;
    later::check_delay(delay).map_err(|error| E::custom(format!("`delay`: {error}")))?;
    Ok(delay)
}

fn not_before<E: serde::de::Error>(
    at: Option<Timestamp>,
    delay: Option<Duration>,
) -> Result<Option<NotBefore>, E> {
    match (at, delay) {
        (Some(_), Some(_)) => Err(E::custom("`at` and `delay` say the same thing; write one of them")),
        (at, delay) => Ok(at.map(NotBefore::At).or(delay.map(NotBefore::After))),
    }
}

fn unknown(key: &str) -> String {
    let shown: String = key.chars().take(64).collect();
    let known = KEYS.join(", ");
    match nearest(key, KEYS) {
        Some(near) => format!("unknown key `{shown}`: did you mean `{near}`? An event has the keys {known}"),
        None => format!("unknown key `{shown}`: an event has the keys {known}; what is yours goes into data"),
    }
}

/// serde_json's word, which has the place at its end; its categories become ours.
fn describe(error: &serde_json::Error) -> InvalidEvent {
    InvalidEvent(match error.classify() {
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
            return Err(InvalidEvent(format!("`data` nests deeper than {MAX_DEPTH} levels")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
