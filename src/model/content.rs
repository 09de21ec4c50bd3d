//! Content types: what a payload is that is not simply JSON.

use std::{fmt, str::FromStr, sync::Arc};

/// A media type such as `application/pdf` or `text/plain; charset=utf-8`, as a header carries it: visible ASCII and spaces,
/// at most [`ContentType::LONGEST`] bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentType(Arc<str>);

impl ContentType {
    /// What a payload is of which nobody says anything else.
    pub const JSON: &'static str = "application/json";
    /// Bytes at most.
    pub const LONGEST: usize = 255;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it says JSON: `application/json`, or what ends in `+json`.
    pub fn is_json(&self) -> bool {
        let (essence, _) = self.0.split_once(';').unwrap_or((&self.0, ""));
        let essence = essence.trim_end();
        let suffix = essence.len().checked_sub(5).and_then(|at| essence.get(at..));
        essence.eq_ignore_ascii_case(Self::JSON)
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContentType {
    type Err = ParseContentTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let (kind, subtype) = essence.trim_end_matches(' ').split_once('/').ok_or(ParseContentTypeError)?;
        let good = is_token(kind)
            && is_token(subtype)
            && parameters.bytes().all(visible)
            && !text.ends_with(' ')
            && text.len() <= Self::LONGEST;
        if good { Ok(Self(Arc::from(text))) } else { Err(ParseContentTypeError) }
    }
}

/// What RFC 9110 calls a token.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// A text is no [`ContentType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a content type such as application/pdf, of at most {} bytes", ContentType::LONGEST)]
pub struct ParseContentTypeError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one_and_which_say_json() {
        for (text, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json ;charset=utf-8", true),
            ("application/geo+json", true),
            ("application/problem+JSON;a=\"b c\"", true),
            ("application/pdf", false),
            ("text/plain; charset=\"utf-8\"", false),
            ("application/jsonl", false),
            ("application/x-ndjson", false),
            ("text/plain; a=b/c+json", false),
            ("a/b", false),
        ] {
            let parsed: ContentType = text.parse().expect(text);
            assert_eq!((parsed.as_str(), parsed.is_json()), (text, json), "{text}");
        }
        let long = format!("a/{}", "b".repeat(ContentType::LONGEST - 1));
        for text in [
            "",
            "pdf",
            "/",
            "a/",
            "/b",
            "a b/c",
            "a/b c",
            "a/b\r\nx: y",
            "ä/b",
            "a/b; ä",
            "a/b;x\n",
            "a/b ",
            &long,
        ] {
            assert_eq!(text.parse::<ContentType>(), Err(ParseContentTypeError), "{text:?}");
        }
        assert!(long[..ContentType::LONGEST].parse::<ContentType>().is_ok());
    }
}
