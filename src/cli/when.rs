//! Points in time on the command line: RFC 3339, or how long ago.

use std::{str::FromStr, time::Duration};

use crate::model::time::{Timestamp, parse_duration};

/// A point in time as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// This long before now.
    Ago(Duration),
    /// This one.
    At(Timestamp),
}

impl When {
    /// The point in time, counted from `now`.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => {
                let ago = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                Timestamp::from_millis(now.as_millis().saturating_sub(ago))
            }
            Self::At(at) => at,
        }
    }
}

impl FromStr for When {
    type Err = ParseWhenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = || text.parse().map(Self::At).map_err(|_| ParseWhenError);
        parse_duration(text).map(Self::Ago).or_else(|_| at())
    }
}

/// A text that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an RFC 3339 time such as 2026-11-22T02:57:00Z nor how long ago, such as 30s, 5m, 2h or 7d")]
pub struct ParseWhenError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let now = Timestamp::from_millis(10_000_000);
        for (text, millis) in [("2h", 2_800_000), ("7d", 0), ("1970-01-01T00:00:05Z", 5_000)] {
            let when: When = text.parse().expect("a time");
            assert_eq!(when.resolve(now).as_millis(), millis, "{text}");
        }
        for text in ["", "yesterday", "2", "2026-11-22"] {
            assert_eq!(text.parse::<When>(), Err(ParseWhenError), "{text}");
        }
    }
}
