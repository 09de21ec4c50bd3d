//! Catalogs: which event types an account knows, and whether its events of them are delivered.
//!
//! An account without a catalog takes every type. With one, an event of another type is refused, and so is a pattern
//! that means none of its types: both are misspelt more often than meant, and the answer names the nearest.

use std::{collections::BTreeMap, fmt};

use super::{nearest, route::TypePattern};
use crate::model::event::{Effect, EventType};

/// An account's event types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog(BTreeMap<EventType, Entry>);

/// What a catalog says of a type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it belongs to, for people.
    pub groups: Vec<String>,
    /// What it says, for people; may be empty.
    pub description: String,
    /// Whether its events are delivered.
    pub effect: Effect,
}

impl Catalog {
    /// A catalog of these types.
    pub fn new(types: BTreeMap<EventType, Entry>) -> Self {
        Self(types)
    }

    /// What it says of a type; `None`: it does not know it.
    pub fn get(&self, event_type: &EventType) -> Option<&Entry> {
        self.0.get(event_type)
    }

    /// What may have been meant by a type that it does not know. That is searched for: not for each of thousands.
    pub fn unknown(&self, event_type: &EventType) -> Unknown {
        Unknown { nearest: nearest(event_type.as_str(), self.names()).map(str::to_owned) }
    }

    /// Whether a pattern means at least one of its types.
    ///
    /// # Errors
    /// It means none.
    pub fn covers(&self, pattern: &TypePattern) -> Result<(), Unknown> {
        if self.0.keys().any(|known| pattern.matches(known)) {
            return Ok(());
        }
        let mut known: Vec<String> = self.names().map(str::to_owned).collect();
        if pattern.as_str().contains('*') {
            known = self.names().flat_map(beneath).collect();
            known.dedup();
        }
        let nearest = nearest(pattern.as_str(), known.iter().map(String::as_str));
        Err(Unknown { nearest: nearest.map(str::to_owned) })
    }

    /// All of it, by type.
    pub fn iter(&self) -> impl Iterator<Item = (&EventType, &Entry)> {
        self.0.iter()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(EventType::as_str)
    }
}

/// The patterns for all beneath the groups that a type is in: of `a.b.c`, `a.*` and `a.b.*`.
fn beneath(name: &str) -> impl Iterator<Item = String> {
    name.match_indices('.').map(|(dot, _)| format!("{}.*", &name[..dot]))
}

/// A type that a catalog does not know, or a pattern that means none of its types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unknown {
    /// What may have been meant.
    pub nearest: Option<String>,
}

/// A clause to follow what is unknown: ` in the account's catalog: did you mean …?`.
impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            Some(nearest) => write!(f, "did you mean `{nearest}`?"),
            None => f.write_str("nothing in the catalog is like it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let types = [
            ("collection.file.job.processing", Effect::Live),
            ("video.media.ready", Effect::Live),
            ("video.media.failed", Effect::Partial),
            ("video.mediaAI.summary.ready", Effect::None),
            ("video.live_stream.simulcast_target.created", Effect::Live),
            ("video.live_stream.simulcast_target.updated", Effect::Live),
        ];
        let entry = |(name, effect): (&str, Effect)| {
            (name.parse().expect("a type"), Entry { effect, ..Entry::default() })
        };
        Catalog::new(types.into_iter().map(entry).collect())
    }

    #[test]
    fn types() {
        for (name, expected) in [
            ("video.media.ready", Ok(Effect::Live)),
            ("video.media.failed", Ok(Effect::Partial)),
            ("video.mediaAI.summary.ready", Ok(Effect::None)),
            ("video.mediaai.summary.ready", Err(Some("video.mediaAI.summary.ready"))),
            ("video.media.redy", Err(Some("video.media.ready"))),
            // These differ behind the thirty-second character only.
            (
                "video.live_stream.simulcast_target.updatet",
                Err(Some("video.live_stream.simulcast_target.updated")),
            ),
            ("collection.file.job.procesing", Err(Some("collection.file.job.processing"))),
            ("scan.done", Err(None)),
        ] {
            let (catalog, name) = (catalog(), name.parse().expect("a type"));
            let found = catalog.get(&name).map(|entry| entry.effect).ok_or_else(|| catalog.unknown(&name));
            let expected =
                expected.map_err(|nearest: Option<&str>| Unknown { nearest: nearest.map(Into::into) });
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, expected) in [
            ("*", Ok(())),
            ("video.media.*", Ok(())),
            ("video.*.ready", Ok(())),
            ("video.media.ready", Ok(())),
            ("video.medai.*", Err(Some("video.media.*"))),
            ("video.mediaAI.*.*", Ok(())),
            ("video.media.redy", Err(Some("video.media.ready"))),
            ("vidio.*", Err(Some("video.*"))),
            ("scan.*", Err(None)),
            ("video.media", Err(Some("video.media.ready"))),
        ] {
            let found = catalog().covers(&pattern.parse().expect("a pattern"));
            let expected =
                expected.map_err(|nearest: Option<&str>| Unknown { nearest: nearest.map(Into::into) });
            assert_eq!(found, expected, "{pattern}");
        }
    }
}
