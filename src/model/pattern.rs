//! Patterns over event types: what an endpoint subscribes to.
//!
//! A pattern is written like a type, dotted segments, and `*` may stand as a whole segment: the last one for
//! one or more segments, any other for exactly one. So `*` alone is everything, `video.media.*` all beneath
//! `video.media` (not itself), `video.*.ready` what is ready one level down. Case matters, as it does in types.

use std::{fmt, str::FromStr, sync::Arc};

use super::event::EventType;

/// A pattern over event types, at most 128 characters. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypePattern(Arc<str>);

impl TypePattern {
    /// Whether `event_type` is one of those meant.
    pub fn matches(&self, event_type: &EventType) -> bool {
        let mut segments = event_type.as_str().split('.');
        let mut pattern = self.0.split('.').peekable();
        while let Some(wanted) = pattern.next() {
            let Some(segment) = segments.next() else { return false };
            match wanted {
                "*" if pattern.peek().is_none() => return true,
                "*" => {}
                _ if wanted == segment => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TypePattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte);
        if text.is_empty() {
            Err(ParsePatternError::Empty)
        } else if text.len() > 128 {
            Err(ParsePatternError::TooLong)
        } else if !text.bytes().all(allowed) {
            Err(ParsePatternError::Character)
        } else if text.split('.').any(str::is_empty) {
            Err(ParsePatternError::EmptySegment)
        } else if text.split('.').any(|segment| segment != "*" && segment.contains('*')) {
            Err(ParsePatternError::StarInSegment)
        } else {
            Ok(Self(Arc::from(text)))
        }
    }
}

/// Why a text is no [`TypePattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePatternError {
    /// A character outside `A-Z a-z 0-9 . _ - *`.
    #[error("a pattern of event types has only the characters A-Z a-z 0-9 . _ - and *")]
    Character,
    /// Nothing.
    #[error("a pattern of event types is not empty; write * for all types")]
    Empty,
    /// Two dots in a row, or one at an end.
    #[error("a pattern of event types has no empty segment: no dot at either end, no two dots in a row")]
    EmptySegment,
    /// `*` beside other characters.
    #[error("* stands for whole segments: write it alone between dots, as in video.* or video.*.ready")]
    StarInSegment,
    /// More than 128 characters.
    #[error("a pattern of event types has at most 128 characters")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches() {
        for (pattern, event_type, matches) in [
            ("*", "a", true),
            ("*", "video.media.ready", true),
            ("a", "a", true),
            ("a", "a.b", false),
            ("a.b", "a", false),
            ("a.b", "a.b", true),
            ("a.b", "A.b", false),
            ("video.media.*", "video.media.ready", true),
            ("video.media.*", "video.media.track.ready", true),
            ("video.media.*", "video.media", false),
            ("video.media.*", "video.mediaAI.summary.ready", false),
            ("video.media.*", "video", false),
            ("video.*.ready", "video.media.ready", true),
            ("video.*.ready", "video.media.track.ready", false),
            ("video.*.ready", "video.ready", false),
            ("video.*.ready", "video.media.failed", false),
            ("video.*.ready", "video.media.ready.now", false),
            ("*.ready", "media.ready", true),
            ("*.ready", "video.media.ready", false),
            ("*.*", "a", false),
            ("*.*", "a.b", true),
            ("*.*", "a.b.c", true),
            ("a.*.*", "a.b", false),
            ("a.*.*", "a.b.c.d", true),
        ] {
            let parsed: TypePattern = pattern.parse().expect("a pattern");
            let event_type: EventType = event_type.parse().expect("a type");
            assert_eq!(parsed.matches(&event_type), matches, "{pattern} and {event_type}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn what_is_no_pattern() {
        let long = "a".repeat(129);
        for (text, why) in [
            ("", ParsePatternError::Empty),
            ("a*", ParsePatternError::StarInSegment),
            ("**", ParsePatternError::StarInSegment),
            ("a.b*.c", ParsePatternError::StarInSegment),
            ("a..*", ParsePatternError::EmptySegment),
            (".*", ParsePatternError::EmptySegment),
            ("*.", ParsePatternError::EmptySegment),
            ("a, b", ParsePatternError::Character),
            ("a.?", ParsePatternError::Character),
            ("ä.*", ParsePatternError::Character),
            (&long, ParsePatternError::TooLong),
        ] {
            assert_eq!(text.parse::<TypePattern>(), Err(why), "{text}");
        }
    }

    /// A pattern without `*` means one type; putting `*` for a segment never loses it.
    #[test]
    fn a_star_for_a_segment_still_matches() {
        let seed = 7;
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..2_000 {
            let segments: Vec<&str> =
                (0..random.usize(1..6)).map(|_| ["a", "b", "ab"][random.usize(..3)]).collect();
            let event_type: EventType = segments.join(".").parse().expect("a type");
            let mut starred = segments.clone();
            starred[random.usize(..segments.len())] = "*";
            for pattern in [segments.join("."), starred.join(".")] {
                let pattern: TypePattern = pattern.parse().expect("a pattern");
                assert!(
                    pattern.matches(&event_type),
                    "{pattern} and {event_type}, seed {seed}, round {round}"
                );
            }
        }
    }
}
