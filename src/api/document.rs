//! Requests' documents: JSON objects of which every field is known, is there once, and is what it should be.
//!
//! serde's own messages are not used below the syntax: they repeat what they find, which may be a secret. What is said here
//! names the place and the kind of what was found, never the value.

use std::{borrow::Cow, fmt};

use axum::body::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::problem::Problem;
use crate::policy::nearest;

/// A document's fields, or an object's within it, in the order in which they stand.
#[derive(Debug)]
pub(super) struct Document<'a>(Vec<(String, &'a RawValue)>);

/// A value with the place where it stands.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    place: String,
    value: &'a RawValue,
}

impl<'a> Document<'a> {
    /// Reads `body`, of which nothing is one without fields. A field must be one of `known`; of others `help` may have
    /// more to say than which known one is the nearest.
    ///
    /// # Errors
    /// It is no JSON object, or has a field that is not known, or one twice.
    pub(super) fn read(
        body: &'a Bytes,
        known: &[&str],
        help: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Self, Problem> {
        if body.trim_ascii().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let value: &RawValue = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("the body is not valid JSON: {error}")))?;
        let document = Self::object(value, "the body")?;
        for (name, _) in &document.0 {
            if !known.contains(&name.as_str()) {
                return Err(Problem::bad_request(unknown(name, known, help(name))));
            }
        }
        Ok(document)
    }

    fn object(value: &'a RawValue, place: &str) -> Result<Self, Problem> {
        if !value.get().starts_with('{') {
            return Err(mismatch(place, "an object", value));
        }
        serde_json::from_str(value.get()).map_err(|error| {
            // What can still be wrong of an object that has been read once is a field that is there twice.
            let text = error.to_string();
            let text = text.rsplit_once(" at line").map_or(text.as_str(), |(text, _)| text);
            Problem::bad_request(format!("{place}: {text}"))
        })
    }

    /// The field `name`, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        let (name, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(Field { place: format!("`{name}`"), value })
    }

    /// The field `name`, which must be there.
    ///
    /// # Errors
    /// It is not; `example` says how it is written.
    pub(super) fn require(&self, name: &str, example: &str) -> Result<Field<'a>, Problem> {
        let missing = || Problem::bad_request(format!("`{name}` is missing; write for example {example}"));
        self.get(name).ok_or_else(missing)
    }
}

impl<'a> Field<'a> {
    /// Reads the value with `read`, but for `null`, which is nothing.
    ///
    /// # Errors
    /// What `read` says.
    pub(super) fn or_null<T>(
        self,
        read: impl FnOnce(Self) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        if self.value.get() == "null" { Ok(None) } else { read(self).map(Some) }
    }

    /// A text.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn text(self) -> Result<String, Problem> {
        serde_json::from_str(self.value.get()).map_err(|_| self.mismatch("a text"))
    }

    /// A value of any kind.
    ///
    /// # Errors
    /// It is none such as `expected` says.
    pub(super) fn value<T: serde::de::DeserializeOwned>(self, expected: &str) -> Result<T, Problem> {
        serde_json::from_str(self.value.get())
            .map_err(|_| Problem::bad_request(format!("{} must be {expected}", self.place)))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn flag(self) -> Result<bool, Problem> {
        serde_json::from_str(self.value.get()).map_err(|_| self.mismatch("true or false"))
    }

    /// A list of texts.
    ///
    /// # Errors
    /// It is something else, or an item is.
    pub(super) fn texts(self) -> Result<Vec<String>, Problem> {
        let items: Vec<&RawValue> =
            serde_json::from_str(self.value.get()).map_err(|_| self.mismatch("a list of texts"))?;
        let place = self.place.trim_end_matches('`');
        let item = |(index, value)| Field { place: format!("{place}[{index}]`"), value }.text();
        items.into_iter().enumerate().map(item).collect()
    }

    /// An object of texts, in its order.
    ///
    /// # Errors
    /// It is something else, or a value is, or a name is there twice.
    pub(super) fn named_texts(self) -> Result<Vec<(String, String)>, Problem> {
        let object = Document::object(self.value, &self.place)?;
        let place = self.place.trim_end_matches('`');
        let entry = |(name, value): (String, &'a RawValue)| {
            let text = Field { place: format!("{place}.{}`", shown(&name)), value }.text()?;
            Ok((name, text))
        };
        object.0.into_iter().map(entry).collect()
    }

    /// What the text stands for.
    ///
    /// # Errors
    /// It is no text, or none such.
    pub(super) fn parsed<T>(self) -> Result<T, Problem>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        let place = self.place.clone();
        self.text()?.parse().map_err(|error| Problem::bad_request(format!("{place}: {error}")))
    }

    /// The very bytes of the value, which are part of `body`.
    pub(super) fn bytes(&self, body: &Bytes) -> Bytes {
        body.slice_ref(self.value.get().as_bytes())
    }

    /// A problem with this value.
    pub(super) fn problem(&self, what: &str) -> Problem {
        Problem::bad_request(format!("{} {what}", self.place))
    }

    fn mismatch(&self, expected: &str) -> Problem {
        mismatch(&self.place, expected, self.value)
    }
}

fn mismatch(place: &str, expected: &str, found: &RawValue) -> Problem {
    let found = match found.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    };
    Problem::bad_request(format!("{place} must be {expected}, and is {found}"))
}

fn unknown(name: &str, known: &[&str], help: Option<&str>) -> String {
    let name = shown(name);
    if let Some(help) = help {
        return format!("`{name}` is no field here: {help}");
    }
    if known.is_empty() {
        return format!("unknown field `{name}`: there are none here");
    }
    let near = nearest(&name, known.iter().copied()).map(|near| format!("did you mean `{near}`? "));
    format!("unknown field `{name}`: {}there are {}", near.unwrap_or_default(), known.join(", "))
}

/// A name that a client wrote, as far as a message should repeat it.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

impl<'de: 'a, 'a> Deserialize<'de> for Document<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DocumentVisitor).map(Self)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Vec<(String, &'de RawValue)> = Vec::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            // A document has a few fields; thousands would be compared with each other for a second.
            if fields.len() == MAX_FIELDS {
                return Err(A::Error::custom(format!("more than {MAX_FIELDS} fields")));
            }
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format!("`{}` is there twice", shown(&name))));
            }
            fields.push((name.into_owned(), map.next_value()?));
        }
        Ok(fields)
    }
}

/// Fields of an object at most.
const MAX_FIELDS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["url", "event_types", "headers", "enabled"];

    fn read(text: &str) -> Result<(), String> {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let help = |name: &str| (name == "account").then_some("write ?account=NAME");
        let all = || {
            let document = Document::read(&body, &KNOWN, help)?;
            document.require("url", "\"url\":\"https://a.example/\"")?.text()?;
            document.get("event_types").map(Field::texts).transpose()?;
            document.get("headers").map(|field| field.or_null(Field::named_texts)).transpose()?;
            document.get("enabled").map(Field::flag).transpose()
        };
        all().map(|_| ()).map_err(|problem: Problem| problem.detail)
    }

    #[test]
    fn good_documents() {
        for text in [
            r#"{"url":"a"}"#,
            r#" {"url":"a\u0062","event_types":["a","b"],"headers":{"A":"b"},"enabled":false} "#,
            r#"{"url":"a","headers":null,"event_types":[]}"#,
        ] {
            assert_eq!(read(text), Ok(()), "{text}");
        }
        let body = Bytes::from_static(b"{\"url\": {\"n\": 1.0} }");
        let document = Document::read(&body, &["url"], |_| None).expect("an object");
        let field = document.get("url").expect("it is there");
        assert_eq!(&field.bytes(&body)[..], b"{\"n\": 1.0}");
    }

    #[test]
    fn bad_documents_say_where_and_never_what() {
        for (text, message) in [
            ("", "`url` is missing; write for example \"url\":\"https://a.example/\""),
            ("[]", "the body must be an object, and is a list"),
            ("\"hush\"", "the body must be an object, and is a text"),
            (r#"{"url":5}"#, "`url` must be a text, and is a number"),
            (r#"{"url":null}"#, "`url` must be a text, and is null"),
            (r#"{"url":"a","url":"hush"}"#, "the body: `url` is there twice"),
            (
                r#"{"URL":"hush"}"#,
                "unknown field `URL`: did you mean `url`? there are url, event_types, headers, enabled",
            ),
            (
                r#"{"zzzzzzzzzzz":"hush"}"#,
                "unknown field `zzzzzzzzzzz`: there are url, event_types, headers, enabled",
            ),
            (r#"{"account":"hush"}"#, "`account` is no field here: write ?account=NAME"),
            (r#"{"url":"a","event_types":"hush"}"#, "`event_types` must be a list of texts, and is a text"),
            (r#"{"url":"a","event_types":["a",7]}"#, "`event_types[1]` must be a text, and is a number"),
            (r#"{"url":"a","headers":["hush"]}"#, "`headers` must be an object, and is a list"),
            (r#"{"url":"a","headers":{"X-A":{"hush":1}}}"#, "`headers.X-A` must be a text, and is an object"),
            (r#"{"url":"a","headers":{"X-A":"1","X-A":"hush"}}"#, "`headers`: `X-A` is there twice"),
            (r#"{"url":"a","enabled":"hush"}"#, "`enabled` must be true or false, and is a text"),
        ] {
            assert_eq!(read(text), Err(message.to_owned()), "{text}");
        }
        for text in ["{\"url\":\"hush", "{\"url\":hush}", "{} hush", "{\"url\":\"hush\u{1}\"}"] {
            let message = read(text).expect_err(text);
            assert!(
                message.starts_with("the body is not valid JSON: ") && !message.contains("hush"),
                "{message}"
            );
        }
        let many: Vec<_> = (0..300).map(|n| format!("\"{n}\":1")).collect();
        assert_eq!(
            read(&format!("{{{}}}", many.join(","))),
            Err("the body: more than 256 fields".to_owned())
        );
    }
}
