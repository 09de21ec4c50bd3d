//! The rules: pure functions over [`model`](crate::model), without I/O, clock or chance.
//!
//! What follows from an attempt ([`decide`]) and when the next is due ([`retry`], [`retry_after`]),
//! or the first of an event that is to go later ([`later`]); what it says of its
//! endpoint ([`verdict`]), when that is left in peace ([`circuit`]), or all that share a proxy or the box are ([`outage`]), and
//! how fast it is sent to ([`rate`]); which types
//! there are ([`catalog`]) and which an endpoint wants ([`route`]); where deliveries may go, judged by a URL's text
//! ([`destination`]) and by the address that is dialled ([`address`]), with which certificates ([`certificate`]) and through which proxy ([`proxy`]); and how a profile's requests look: [`form`] compiles a
//! profile once, out of patterns with placeholders ([`placeholder`]), a body's template ([`template`]) and the way from a
//! secret to a key ([`key`]); secrets follow one another as [`rotation`] says. What compiles here cannot be wrong later
//! for its own sake; what can still fail is what an event or a secret brings in, and that is an error value.

pub mod address;
pub mod catalog;
pub mod certificate;
pub mod circuit;
mod cloudevents;
pub mod decide;
pub mod destination;
pub mod facts;
pub mod form;
pub mod key;
pub mod later;
pub mod outage;
pub mod placeholder;
pub mod proxy;
pub mod rate;
pub mod retry;
pub mod retry_after;
pub mod rotation;
pub mod route;
pub mod template;
pub mod verdict;

use std::cmp::Reverse;

/// The name among `known` that is most like `name`, if one is like it at all: for "did you mean".
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| *distance <= known.len() / 3 + 1)
        .min_by_key(|(distance, known)| (*distance, Reverse(common_beginning(name, known))))
        .map(|(_, known)| known)
}

/// How many letters two names have in common at their beginning: of two names as near, this is the likelier one.
fn common_beginning(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
}

/// The Levenshtein distance of the first 128 characters, letters' case aside.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| -> Vec<char> { text.chars().take(128).flat_map(char::to_lowercase).collect() };
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let known = ["body", "timestamp", "timestamp_ms", "event_id"];
        for (name, near) in [
            ("bod", Some("body")),
            ("Timestamp", Some("timestamp")),
            ("timestampms", Some("timestamp_ms")),
            ("eventid", Some("event_id")),
            ("zzzzzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), near, "{name}");
        }
        assert_eq!(nearest("cash", ["path", "cache"]), Some("cache"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
