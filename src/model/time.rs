//! Points in time, durations and sizes, as people write them.
//!
//! A [`Timestamp`] is milliseconds since 1970-01-01T00:00:00Z in 48 bits (to the year 10889), the resolution of
//! the store and of the ids. On the wire it is RFC 3339 in UTC with three decimals.
//! Durations are written `250ms`, `30s`, `5m`, `2h`, `7d` (and joined, `1h30m`), sizes `512B`, `64KiB`, `1MiB`, `8GiB`.

use std::{fmt, fmt::Write as _, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How exact timers are, in milliseconds: due times are rounded up to it.
pub const TICK_MILLIS: u64 = 10;

/// A point in time: milliseconds since the Unix epoch, at most 48 bits of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The greatest representable time (2^48 - 1 ms).
    pub const MAX: Self = Self((1 << 48) - 1);
    /// 2026-01-01T00:00:00Z, before the first release: a clock that says less has not been set.
    pub const RELEASED: Self = Self(1_767_225_600_000);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The time `millis` milliseconds after the epoch; times past [`Timestamp::MAX`] become it.
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This time moved on by `by`, at most to [`Timestamp::MAX`]; fractions of a millisecond are dropped.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self::from_millis(self.0.saturating_add(by))
    }

    /// This time moved by `millis`, within what is representable.
    #[must_use]
    pub const fn moved(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add_signed(millis))
    }

    /// How long after `earlier` this time is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The minute that it is in.
    pub fn minute(self) -> Minute {
        Minute(u32::try_from(self.0 / MINUTE_MILLIS).unwrap_or(u32::MAX))
    }

    fn to_jiff(self) -> jiff::Timestamp {
        let millis = i64::try_from(self.0).expect("48 bits fit an i64");
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// Where the schedule's time stood at a moment, and the wall clock beside it: what of the clocks outlives a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The schedule's time, that no step of the wall clock moves.
    pub schedule: Timestamp,
    /// What the wall clock said.
    pub wall: Timestamp,
    /// The most that it had ever said.
    pub greatest: Timestamp,
}

impl Mark {
    /// The wall clock may be so far behind the most that it ever said: clocks are corrected by less all the time.
    pub const TOLERANCE: Duration = Duration::from_secs(1);

    /// Whether the wall clock was not set: it said less than it had said before, or than it can.
    pub fn is_unset(&self) -> bool {
        self.wall < Timestamp::RELEASED || self.wall.plus(Self::TOLERANCE) < self.greatest
    }

    /// How far the wall clock was ahead of the schedule's time, in milliseconds.
    pub fn ahead(&self) -> i64 {
        let millis = |time: Timestamp| i64::try_from(time.0).expect("48 bits fit an i64");
        millis(self.wall) - millis(self.schedule)
    }
}

/// A minute of the calendar: minutes since the Unix epoch. The last one stands for all that come after it (from the
/// year 10136 on).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(u32);

impl Minute {
    /// The minute `minutes` minutes after the epoch.
    pub const fn new(minutes: u32) -> Self {
        Self(minutes)
    }

    /// Minutes since the epoch.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(u64::from(self.0) * MINUTE_MILLIS)
    }
}

const MINUTE_MILLIS: u64 = 60_000;

/// RFC 3339 in UTC, to the millisecond: `2026-11-22T02:57:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_jiff())
    }
}

/// Any RFC 3339 time from 1970 on, whatever its offset.
impl FromStr for Timestamp {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time: jiff::Timestamp = text.parse().map_err(|_| ParseTimeError::NotRfc3339)?;
        let millis = u64::try_from(time.as_millisecond()).map_err(|_| ParseTimeError::BeforeEpoch)?;
        Ok(Self::from_millis(millis))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is no [`Timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTimeError {
    /// It is before 1970.
    #[error("the time is before 1970")]
    BeforeEpoch,
    /// It is not RFC 3339.
    #[error("not an RFC 3339 time such as 2026-11-22T02:57:00Z")]
    NotRfc3339,
}

/// Reads a duration as the configuration writes it: `250ms`, `30s`, `5m`, `2h`, `7d`, or several joined (`1h30m`).
///
/// ```
/// use std::time::Duration;
/// assert_eq!(posthaste::model::time::parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, ParseQuantityError> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, tail) = quantity(rest)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(ParseQuantityError::Duration),
        };
        let part = number.checked_mul(millis).ok_or(ParseQuantityError::TooLarge)?;
        total = total.checked_add(part).ok_or(ParseQuantityError::TooLarge)?;
        rest = tail;
    }
    if text.is_empty() { Err(ParseQuantityError::Duration) } else { Ok(Duration::from_millis(total)) }
}

/// Reads a size as the configuration writes it: `512B`, `64KiB`, `1MiB`, `8GiB`.
///
/// ```
/// assert_eq!(posthaste::model::time::parse_size("64KiB"), Ok(65_536));
/// ```
pub fn parse_size(text: &str) -> Result<u64, ParseQuantityError> {
    let (number, unit, tail) = quantity(text).map_err(|_| ParseQuantityError::Size)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(ParseQuantityError::Size),
    };
    if !tail.is_empty() {
        return Err(ParseQuantityError::Size);
    }
    number.checked_mul(factor).ok_or(ParseQuantityError::TooLarge)
}

/// `30s` for 30 seconds: the largest units that say the duration exactly to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (millis, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] {
        if rest >= millis {
            write!(text, "{}{unit}", rest / millis).expect("a String takes all");
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// `64KiB` for 65,536: the largest unit that says the size exactly.
pub fn format_size(bytes: u64) -> String {
    for (factor, unit) in [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1u64 << 10, "KiB")] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// Why a text is no duration or size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// It is not a duration.
    #[error("not a duration such as 250ms, 30s, 5m, 2h or 7d")]
    Duration,
    /// It is not a size.
    #[error("not a size such as 512B, 64KiB, 1MiB or 8GiB")]
    Size,
    /// The number does not fit.
    #[error("the number is too large")]
    TooLarge,
}

/// Splits `30s…` into number, unit and the rest behind it.
fn quantity(text: &str) -> Result<(u64, &str, &str), ParseQuantityError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err(ParseQuantityError::Duration);
    }
    let number = number.parse().map_err(|_| ParseQuantityError::TooLarge)?;
    let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit);
    Ok((number, unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("5m", 300_000), ("1h30m", 5_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
        for text in ["", "5", "s", "5 s", "-5s", "1.5s", "5sec", "5M"] {
            assert_eq!(parse_duration(text), Err(ParseQuantityError::Duration), "{text}");
        }
        assert_eq!(parse_duration("99999999999999999999s"), Err(ParseQuantityError::TooLarge));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0B", 0), ("1KiB", 1 << 10), ("64MiB", 64 << 20), ("8GiB", 8 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(format_size(bytes), text);
        }
        for text in ["", "5", "MiB", "1MB", "1MiB1KiB", "1 MiB"] {
            assert_eq!(parse_size(text), Err(ParseQuantityError::Size), "{text}");
        }
    }

    #[test]
    fn times_on_the_wire() {
        let time = Timestamp::from_millis(1_709_136_942_007);
        assert_eq!(time.to_string(), "2024-02-28T16:15:42.007Z");
        assert_eq!("2024-02-28T17:15:42.007+01:00".parse(), Ok(time));
        assert_eq!(Timestamp::RELEASED.to_string(), "2026-01-01T00:00:00.000Z");
        assert_eq!("yesterday".parse::<Timestamp>(), Err(ParseTimeError::NotRfc3339));
        assert_eq!("1969-12-31T23:59:59Z".parse::<Timestamp>(), Err(ParseTimeError::BeforeEpoch));
    }
}
