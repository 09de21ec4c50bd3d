//! Patterns read backwards: what each placeholder stands for in a text that a pattern made.
//!
//! Of the ways to read a text the likely ones are tried first: a placeholder that always has the same length takes that, any
//! other as little as it can. Each step is counted, so that a text of very many ways costs no more than one of some;
//! past the bound it counts as none of the pattern's.

use crate::{
    model::{
        profile::{Algorithm, Encoding, SignatureRule},
        secret::DatedSecret,
    },
    policy::placeholder::{Part, Pattern, Placeholder},
};

/// How many places for the end of a placeholder are looked at in one text.
const STEPS: u32 = 1 << 17;
/// How many signatures of one text are looked at.
const SIGNATURES: usize = 100;

/// What the placeholders of a pattern stand for, in the pattern's order.
pub(super) type Found<'a> = Vec<(Placeholder, &'a str)>;

/// Reads the texts of one profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matcher {
    /// How long a signature is, encoded.
    signature: usize,
}

impl Matcher {
    pub(super) fn new(rule: &SignatureRule) -> Self {
        let bytes: usize = if rule.algorithm == Algorithm::Ed25519 { 64 } else { 32 };
        let signature = match rule.encoding {
            Encoding::Base64 => bytes.div_ceil(3) * 4,
            Encoding::Hex => bytes * 2,
        };
        Self { signature }
    }

    /// What the pattern's placeholders stand for in `text`; `None` if the pattern did not make it.
    pub(super) fn read<'a>(self, pattern: &Pattern, text: &'a str) -> Option<Found<'a>> {
        self.walk(pattern.parts(), text, false)
    }

    /// What is in a text of several signatures, each in the form of `each`. Those of another form are passed over.
    pub(super) fn signatures<'a>(self, each: &Pattern, join: &str, text: &'a str) -> Vec<Found<'a>> {
        // `each` may hold `join`, and nothing may join: then only counting tells where one ends.
        let whole = (1..=DatedSecret::MOST).find_map(|count| {
            let mut parts = Vec::new();
            for number in 0..count {
                if number > 0 && !join.is_empty() {
                    parts.push(Part::Text(join.to_owned()));
                }
                parts.extend_from_slice(each.parts());
            }
            self.walk(&parts, text, true)
        });
        if let Some(found) = whole {
            return vec![found];
        }
        let split = text.split(if join.is_empty() { "\0" } else { join });
        split.take(SIGNATURES).filter_map(|piece| self.read(each, piece)).collect()
    }

    /// Whether `wanted` can be read back from any text that the pattern made.
    pub(super) fn recovers(self, pattern: &Pattern, wanted: Placeholder) -> bool {
        let open = |part: &Part| matches!(part, Part::Placeholder(of) if self.length(*of).is_none());
        pattern.holds(wanted) && !pattern.parts().windows(2).any(|pair| pair.iter().all(open))
    }

    fn walk<'a>(self, parts: &[Part], text: &'a str, strict: bool) -> Option<Found<'a>> {
        let mut walk = Walk { matcher: self, strict, steps: STEPS, found: Vec::new() };
        walk.matches(parts, text).then_some(walk.found)
    }

    /// How long the placeholder's text is, where that is always the same. (It may come from elsewhere, and be of
    /// another length all the same.)
    const fn length(self, placeholder: Placeholder) -> Option<usize> {
        match placeholder {
            Placeholder::DeliveryShort => Some(8),
            Placeholder::EndpointId => Some(29),
            Placeholder::DeliveryId | Placeholder::EventId => Some(30),
            Placeholder::EventTime => Some(24),
            Placeholder::Signature => Some(self.signature),
            Placeholder::Timestamp => Some(10),
            Placeholder::TimestampMs => Some(13),
            Placeholder::Account
            | Placeholder::Attempt
            | Placeholder::Body
            | Placeholder::EventType
            | Placeholder::Secret
            | Placeholder::Signatures => None,
        }
    }
}

/// One text being read.
struct Walk<'a> {
    matcher: Matcher,
    /// Signatures have their length and no other.
    strict: bool,
    steps: u32,
    found: Found<'a>,
}

impl<'a> Walk<'a> {
    /// Whether `parts` made `text`; then `found` has what their placeholders stand for.
    fn matches(&mut self, parts: &[Part], text: &'a str) -> bool {
        let Some((part, rest)) = parts.split_first() else { return text.is_empty() };
        let placeholder = match part {
            Part::Text(own) => {
                return text.strip_prefix(own.as_str()).is_some_and(|text| self.matches(rest, text));
            }
            Part::Placeholder(placeholder) => *placeholder,
        };
        let likely = self.matcher.length(placeholder).filter(|end| text.is_char_boundary(*end));
        if rest.is_empty() {
            return self.ends(placeholder, rest, text, text.len());
        }
        likely.is_some_and(|end| self.ends(placeholder, rest, text, end))
            || (1..=text.len()).any(|end| self.ends(placeholder, rest, text, end))
    }

    /// Whether `placeholder` may stand for the first `end` bytes of `text`, and `rest` for what follows.
    fn ends(&mut self, placeholder: Placeholder, rest: &[Part], text: &'a str, end: usize) -> bool {
        let Some(steps) = self.steps.checked_sub(1) else { return false };
        self.steps = steps;
        let Some((value, after)) = text.split_at_checked(end) else { return false };
        if !self.fits(placeholder, value) {
            return false;
        }
        let before = self.found.len();
        self.found.push((placeholder, value));
        let matches = self.matches(rest, after);
        if !matches {
            self.found.truncate(before);
        }
        matches
    }

    fn fits(&self, placeholder: Placeholder, value: &str) -> bool {
        match placeholder {
            Placeholder::Attempt | Placeholder::Timestamp | Placeholder::TimestampMs => {
                (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit())
            }
            Placeholder::Signature if self.strict => value.len() == self.matcher.signature,
            _ => !value.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::profile::KeyForm;

    fn matcher(algorithm: Algorithm, encoding: Encoding) -> Matcher {
        let text = String::new;
        let rule = SignatureRule {
            algorithm,
            key: KeyForm::Hex,
            signed: text(),
            encoding,
            each: text(),
            join: text(),
        };
        Matcher::new(&rule)
    }

    fn pattern(source: &str) -> Pattern {
        Pattern::parse(source).expect("a pattern")
    }

    fn values<'a>(found: &Found<'a>) -> Vec<&'a str> {
        found.iter().map(|(_, value)| *value).collect()
    }

    #[test]
    fn patterns_are_matched_backwards() {
        let signature = "f".repeat(64);
        let matcher = matcher(Algorithm::HmacSha256, Encoding::Hex);
        for (source, text, expected) in [
            ("{event_id}", "x", Some(vec!["x"])),
            ("a={event_id}", "a=x", Some(vec!["x"])),
            ("a={event_id};", "a=x;", Some(vec!["x"])),
            ("a={event_id};", "a=x;y", None),
            ("a={event_id};", "a=x;y;", Some(vec!["x;y"])),
            ("a={event_id}", "b=x", None),
            ("a={event_id}", "a=", None),
            ("{timestamp},{event_id}", "1,x,y", Some(vec!["1", "x,y"])),
            ("{timestamp}", "yesterday", None),
            ("{event_type}.{timestamp}", "a.b.c.17", Some(vec!["a.b.c", "17"])),
            ("{timestamp}{attempt}", "16142653303", Some(vec!["1614265330", "3"])),
            (
                "{timestamp}{signature}",
                &format!("1614265330{signature}"),
                Some(vec!["1614265330", &signature]),
            ),
            ("{signature}{timestamp}", &format!("{signature}17"), Some(vec![&signature, "17"])),
            ("{account}-{event_type}", "é-ü", Some(vec!["é", "ü"])),
            ("web", "web", Some(vec![])),
            ("web", "webs", None),
            ("{{{attempt}}}", "{3}", Some(vec!["3"])),
        ] {
            let found = matcher.read(&pattern(source), text);
            assert_eq!(found.as_ref().map(values), expected, "{source} {text}");
        }
    }

    #[test]
    fn several_signatures() {
        let matcher = matcher(Algorithm::HmacSha256, Encoding::Hex);
        let (a, b) = (&"a".repeat(64), &"b".repeat(64));
        for (each, join, text, expected) in [
            ("v1={signature}", ",", format!("v1={a},v1={b}"), vec![&a[..], b]),
            ("v1={signature}", ",", format!("v0=x,v1={a},v2=y"), vec![a]),
            ("v1={signature}", ",", "v1=x".to_owned(), vec!["x"]),
            ("v1={signature}", ",", "v0=x".to_owned(), vec![]),
            ("t={timestamp},v1={signature}", ",", format!("t=1,v1={a},t=2,v1={b}"), vec!["1", a, "2", b]),
            ("{signature}", "", format!("{a}{b}"), vec![a, b]),
            ("{signature}", "a", format!("{a}a{b}"), vec![a, b]),
        ] {
            let found = matcher.signatures(&pattern(each), join, &text);
            let found: Vec<_> = found.iter().flat_map(values).collect();
            assert_eq!(found, expected, "{each} {join} {text}");
        }
    }

    #[test]
    fn lengths_of_signatures() {
        use Algorithm::{Ed25519, HmacSha256};
        for (algorithm, encoding, length) in [
            (HmacSha256, Encoding::Hex, 64),
            (HmacSha256, Encoding::Base64, 44),
            (Ed25519, Encoding::Hex, 128),
            (Ed25519, Encoding::Base64, 88),
        ] {
            assert_eq!(matcher(algorithm, encoding).signature, length);
        }
    }

    /// Without the bound this would take longer than anybody waits.
    #[test]
    fn a_text_of_very_many_ways_is_given_up() {
        let matcher = matcher(Algorithm::HmacSha256, Encoding::Hex);
        let source = "{account}a{event_type}a{account}a{event_type}a{account}a{event_type}b";
        assert_eq!(matcher.read(&pattern(source), &"a".repeat(4_000)), None);
    }
}
