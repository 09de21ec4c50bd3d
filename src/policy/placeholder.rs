//! Patterns: text with placeholders, as `signed`, `each` and header values are written.
//!
//! `{name}` is a placeholder, `{{` and `}}` are braces, all else stands for itself. A pattern is taken apart
//! once; [`Pattern::parts`] gives the pieces in order, so that a signature is computed over them one by one
//! without ever putting them (and the body) together.

use std::fmt;

/// What a `{name}` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// `{account}`: the event's account.
    Account,
    /// `{attempt}`: the attempt's number, from 1.
    Attempt,
    /// `{body}`: the body's very bytes.
    Body,
    /// `{delivery_id}`: the same over all attempts.
    DeliveryId,
    /// `{delivery_short}`: eight characters in the delivery id's place.
    DeliveryShort,
    /// `{endpoint_id}`.
    EndpointId,
    /// `{event_id}`.
    EventId,
    /// `{event_time}`: when the event happened, RFC 3339.
    EventTime,
    /// `{event_type}`.
    EventType,
    /// `{secret}`: the newest secret as it was given.
    Secret,
    /// `{signature}`: the newest secret's, encoded.
    Signature,
    /// `{signatures}`: those of all secrets, newest first, each in the form of `each`, joined with `join`.
    Signatures,
    /// `{timestamp}`: Unix seconds of the attempt's start.
    Timestamp,
    /// `{timestamp_ms}`: the same in milliseconds.
    TimestampMs,
}

impl Placeholder {
    /// All of them, in the order in which documentation and messages list them.
    pub const ALL: [Self; 14] = [
        Self::Body,
        Self::Timestamp,
        Self::TimestampMs,
        Self::EventTime,
        Self::DeliveryId,
        Self::DeliveryShort,
        Self::EventId,
        Self::EventType,
        Self::Account,
        Self::EndpointId,
        Self::Attempt,
        Self::Secret,
        Self::Signature,
        Self::Signatures,
    ];

    /// Its name, without braces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Attempt => "attempt",
            Self::Body => "body",
            Self::DeliveryId => "delivery_id",
            Self::DeliveryShort => "delivery_short",
            Self::EndpointId => "endpoint_id",
            Self::EventId => "event_id",
            Self::EventTime => "event_time",
            Self::EventType => "event_type",
            Self::Secret => "secret",
            Self::Signature => "signature",
            Self::Signatures => "signatures",
            Self::Timestamp => "timestamp",
            Self::TimestampMs => "timestamp_ms",
        }
    }
}

/// As it is written: `{timestamp}`.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.name())
    }
}

/// A text with placeholders, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

/// A piece of a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the placeholder stands for.
    Placeholder(Placeholder),
    /// This very text, never empty.
    Text(String),
}

impl Pattern {
    /// Takes `source` apart.
    pub fn parse(source: &str) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(brace) = rest.find(['{', '}']) {
            let at = source.len() - rest.len() + brace;
            text.push_str(&rest[..brace]);
            let tail = &rest[brace..];
            rest = if let Some(tail) = tail.strip_prefix("{{") {
                text.push('{');
                tail
            } else if let Some(tail) = tail.strip_prefix("}}") {
                text.push('}');
                tail
            } else if let Some(tail) = tail.strip_prefix('{') {
                let (placeholder, tail) = placeholder(tail, at)?;
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Placeholder(placeholder));
                tail
            } else {
                return Err(PatternError::Closed { at });
            };
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { parts })
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The placeholders, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Placeholder(placeholder) => Some(*placeholder),
            Part::Text(_) => None,
        })
    }

    /// The text between the placeholders, piece by piece.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Placeholder(_) => None,
            Part::Text(text) => Some(text.as_str()),
        })
    }

    /// Whether `placeholder` is in it.
    pub fn holds(&self, placeholder: Placeholder) -> bool {
        self.placeholders().any(|held| held == placeholder)
    }

    /// Writes the pattern to `out`, each placeholder as `write` writes it.
    pub fn render(&self, out: &mut String, mut write: impl FnMut(Placeholder, &mut String)) {
        for part in &self.parts {
            match part {
                Part::Placeholder(placeholder) => write(*placeholder, out),
                Part::Text(text) => out.push_str(text),
            }
        }
    }
}

/// Why a text is no [`Pattern`]; `at` counts the bytes before the brace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `}` that closes nothing.
    #[error("the }} at byte {at} closes nothing; write }}}} for a brace")]
    Closed {
        /// Where.
        at: usize,
    },
    /// A `{` without its `}`.
    #[error("the {{ at byte {at} is not closed; write {{{{ for a brace")]
    Open {
        /// Where.
        at: usize,
    },
    /// No placeholder has this name.
    #[error("unknown placeholder {{{name}}} at byte {at}{}; there are {}", did_you_mean(*.nearest), known())]
    Unknown {
        /// Where.
        at: usize,
        /// The name as it was written, its first 32 characters.
        name: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
}

/// Reads `name}` and returns what is behind it.
fn placeholder(text: &str, at: usize) -> Result<(Placeholder, &str), PatternError> {
    let end = text.find(['{', '}']).filter(|end| text[*end..].starts_with('}'));
    let end = end.ok_or(PatternError::Open { at })?;
    let (name, tail) = (&text[..end], &text[end + 1..]);
    let known = Placeholder::ALL.into_iter().find(|placeholder| placeholder.name() == name);
    let placeholder = known.ok_or_else(|| PatternError::Unknown {
        at,
        name: name.chars().take(32).collect(),
        nearest: super::nearest(name, Placeholder::ALL.map(Placeholder::name)),
    })?;
    Ok((placeholder, tail))
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map(|nearest| format!(", did you mean {{{nearest}}}?")).unwrap_or_default()
}

fn known() -> String {
    Placeholder::ALL.map(|placeholder| placeholder.to_string()).join(" ")
}

#[cfg(test)]
mod tests {
    use super::{super::facts::sample, *};

    fn render(source: &str) -> String {
        let mut out = String::new();
        let data = sample::data();
        let pattern = Pattern::parse(source).expect("a pattern");
        pattern.render(&mut out, |placeholder, out| sample::facts(&data).write(placeholder, out));
        out
    }

    #[test]
    fn every_fact() {
        for (source, text) in [
            ("", ""),
            ("plain", "plain"),
            ("{timestamp}", "1709136999"),
            ("{timestamp_ms}", "1709136999123"),
            ("{event_time}", "2024-02-28T16:15:42.007Z"),
            ("{delivery_id}", "dlv_1"),
            ("{delivery_short}", "aB3dE6gH"),
            ("{event_id}", "evt_1"),
            ("{event_type}", "job.completed"),
            ("{account}", "default"),
            ("{endpoint_id}", "ep_1"),
            ("{attempt}", "3"),
            ("t={timestamp},v1={event_id}.", "t=1709136999,v1=evt_1."),
            ("{{{attempt}}}", "{3}"),
            ("{{attempt}}", "{attempt}"),
            ("}}{{", "}{"),
            ("ä{attempt}ö", "ä3ö"),
            ("{body}{secret}{signature}{signatures}", ""),
        ] {
            assert_eq!(render(source), text, "{source}");
        }
        for placeholder in Placeholder::ALL {
            let pattern = Pattern::parse(&placeholder.to_string()).expect("a pattern");
            assert_eq!(pattern.parts(), [Part::Placeholder(placeholder)]);
            assert!(pattern.holds(placeholder) && pattern.texts().next().is_none());
        }
    }

    #[test]
    fn what_is_no_pattern() {
        let unknown = |at, name: &str, nearest| PatternError::Unknown { at, name: name.to_owned(), nearest };
        for (source, why) in [
            ("{", PatternError::Open { at: 0 }),
            ("ab{body", PatternError::Open { at: 2 }),
            ("{a{body}", PatternError::Open { at: 0 }),
            ("a}b", PatternError::Closed { at: 1 }),
            ("{body}}", PatternError::Closed { at: 6 }),
            ("{{}", PatternError::Closed { at: 2 }),
            ("ä{}", unknown(2, "", None)),
            ("{timestmp}.{body}", unknown(0, "timestmp", Some("timestamp"))),
            ("{body}.{Signature}", unknown(7, "Signature", Some("signature"))),
            ("{ body }", unknown(0, " body ", Some("body"))),
        ] {
            assert_eq!(Pattern::parse(source), Err(why), "{source}");
        }
        let message = Pattern::parse("{timestmp}").expect_err("unknown").to_string();
        assert!(message.contains("{timestmp} at byte 0, did you mean {timestamp}?"), "{message}");
        assert!(message.contains("{signatures}"), "{message}");
        let lone = Pattern::parse("}").expect_err("lone").to_string();
        assert_eq!(lone, "the } at byte 0 closes nothing; write }} for a brace");
    }
}
