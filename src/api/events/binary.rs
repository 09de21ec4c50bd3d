//! CloudEvents in binary mode (HTTP protocol binding 1.0.2, section 3.1): attributes in `ce-…` headers, the body is the payload
//! and the content type says what it is.
//!
//! A header's value is unquoted where it is quoted, and percent-decoded once.

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};

use crate::{
    api::body,
    ingest::event::{
        InvalidEvent,
        cloud::{Attributes, Data},
    },
    model::{account::AccountName, cloud::CloudValue, content::ContentType, event::NewEvent},
};

/// One of these makes a request one in binary mode; what is missing then is an error.
const REQUIRED: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// What the headers say of the event.
pub(super) struct Binary(Attributes);

/// The attributes in `headers`; `None`: it is no event in binary mode.
///
/// # Errors
/// A value is not as it must be.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Binary>, InvalidEvent> {
    if !REQUIRED.iter().any(|name| headers.contains_key(*name)) {
        return Ok(None);
    }
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        if name == "ce-datacontenttype" {
            let message =
                "the header `ce-datacontenttype` is none in binary mode: write Content-Type instead";
            return Err(InvalidEvent::Form(message.to_owned()));
        }
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            let wrong = |what| InvalidEvent::Form(format!("the header `{name}` {what}"));
            attributes.set(attribute, CloudValue::Text(decode(value.as_bytes()).map_err(wrong)?))?;
        }
    }
    // As with every other body: what nobody names, and what curl calls a form, is JSON.
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json =
        body::is_json(body::essence(headers)) && !text.to_ascii_lowercase().starts_with(ContentType::JSON);
    let content_type = if json { ContentType::JSON } else { text.trim() };
    attributes.set("datacontenttype", CloudValue::Text(content_type.to_owned()))?;
    Ok(Some(Binary(attributes)))
}

impl Binary {
    /// The event with this payload.
    pub(super) fn with(self, body: Bytes, account: &AccountName) -> Result<NewEvent, InvalidEvent> {
        let data = if body.is_empty() { Data::Missing } else { Data::Bytes(body) };
        self.0.into_event(data, account)
    }
}

/// A header's value as the attribute that it carries.
fn decode(value: &[u8]) -> Result<String, &'static str> {
    let value = value.trim_ascii();
    let value = match value.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted).ok_or("has a quoted text that does not end where the value does")?,
        None => value.to_vec(),
    };
    let decoded =
        percent_decode(&value).ok_or("has a percent sign without two hexadecimal digits; write it as %25")?;
    String::from_utf8(decoded).map_err(|_| "is not UTF-8, percent-encoded")
}

/// What stands in quotes, of which the first was read; `None` if they do not close at the end.
fn unquote(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(quoted.len());
    let mut rest = quoted.iter();
    loop {
        match rest.next()? {
            b'"' => return rest.as_slice().is_empty().then_some(text),
            b'\\' => text.push(*rest.next()?),
            byte => text.push(*byte),
        }
    }
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (digits, after) = after.split_first_chunk::<2>()?;
        let digit =
            |at: usize| char::from(digits[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        decoded.push(digit(0)? << 4 | digit(1)?);
        rest = after;
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_and_decoded_once() {
        for (value, expected) in [
            ("plain", Ok("plain")),
            ("Euro%20%E2%82%AC%20%f0%9f%98%80", Ok("Euro € 😀")),
            ("%2525", Ok("%25")),
            (" a ", Ok("a")),
            (r#""a b""#, Ok("a b")),
            (r#""a \"b\" \\ %20c""#, Ok(r#"a "b" \  c"#)),
            (r#"a"b"#, Ok(r#"a"b"#)),
            ("", Ok("")),
            (r#""""#, Ok("")),
            (r#""a"#, Err("quoted")),
            (r#""a"b"#, Err("quoted")),
            (r#""a\"#, Err("quoted")),
            ("100%", Err("%25")),
            ("%2", Err("%25")),
            ("%+1", Err("%25")),
            ("%zz", Err("%25")),
            ("%C0%A0", Err("UTF-8")),
        ] {
            match (decode(value.as_bytes()), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{value}"),
                (Err(found), Err(part)) => assert!(found.contains(part), "{value}: {found}"),
                (found, expected) => panic!("{value}: {found:?}, and not {expected:?}"),
            }
        }
    }
}
