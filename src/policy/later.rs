//! Events that are not to go before a time: from when their schedule counts.
//!
//! A time in the past means at once; one more than a year ahead is an error, as it is one of writing nearly always.

use std::time::Duration;

use crate::model::{
    event::NotBefore,
    time::{Mark, Timestamp, format_duration},
};

/// How far ahead it may be.
pub const FARTHEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// It is farther ahead than [`FARTHEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {} ahead; hand the event in nearer to its time", format_duration(FARTHEST))]
pub struct TooFar;

/// Whether an event may be delayed by so much.
///
/// # Errors
/// It is more than [`FARTHEST`].
pub fn check_delay(delay: Duration) -> Result<(), TooFar> {
    if delay > FARTHEST { Err(TooFar) } else { Ok(()) }
}

/// From when the schedule of an event counts that is handed in at `now`, on the schedule's clock, while the wall clock
/// stands as `mark` says. What it says is a time of the wall clock: it is as far ahead of `now` as of `wall`.
///
/// A wall clock that is not set is taken to say what it cannot be before: the release's date, and the greatest time that was
/// seen. An event is not refused for its error, but goes [`FARTHEST`] ahead at most.
///
/// # Errors
/// It is farther ahead than [`FARTHEST`].
pub fn first(not_before: NotBefore, now: Timestamp, mark: &Mark) -> Result<Timestamp, TooFar> {
    let ahead = match not_before {
        NotBefore::After(delay) => delay,
        NotBefore::At(at) if mark.is_unset() => {
            at.since(mark.greatest.max(Timestamp::RELEASED)).min(FARTHEST)
        }
        NotBefore::At(at) => at.since(mark.wall),
    };
    check_delay(ahead)?;
    Ok(now.plus(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_counts_from_then() {
        let wall = Timestamp::RELEASED.plus(Duration::from_secs(3_600_000));
        // The schedule's clock is a minute behind, as after the wall clock was set.
        let now = Timestamp::from_millis(wall.as_millis() - 60_000);
        let unset = Timestamp::from_millis(5_000);
        // Behind a time that was seen already.
        let (behind, seen) = (Timestamp::RELEASED.plus(Duration::from_secs(60)), wall);
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        let millis = Duration::from_millis(1);
        for (not_before, wall, expected) in [
            (NotBefore::After(Duration::ZERO), wall, Ok(now)),
            (NotBefore::After(second), wall, Ok(now.plus(second))),
            (NotBefore::After(FARTHEST), wall, Ok(now.plus(FARTHEST))),
            (NotBefore::After(FARTHEST + millis), wall, Err(TooFar)),
            (NotBefore::After(day), unset, Ok(now.plus(day))),
            (NotBefore::At(wall), wall, Ok(now)),
            (NotBefore::At(Timestamp::EPOCH), wall, Ok(now)),
            (NotBefore::At(wall.plus(day)), wall, Ok(now.plus(day))),
            (NotBefore::At(wall.plus(FARTHEST)), wall, Ok(now.plus(FARTHEST))),
            (NotBefore::At(wall.plus(FARTHEST + millis)), wall, Err(TooFar)),
            (NotBefore::At(Timestamp::MAX), wall, Err(TooFar)),
            (NotBefore::At(Timestamp::RELEASED.plus(day)), unset, Ok(now.plus(day))),
            (NotBefore::At(Timestamp::MAX), unset, Ok(now.plus(FARTHEST))),
            (NotBefore::At(seen.plus(day)), behind, Ok(now.plus(day))),
            (NotBefore::At(behind.plus(second)), behind, Ok(now)),
            (NotBefore::At(Timestamp::MAX), behind, Ok(now.plus(FARTHEST))),
        ] {
            let greatest = if wall == behind { seen } else { wall };
            let mark = Mark { schedule: now, wall, greatest };
            assert_eq!(first(not_before, now, &mark), expected, "{not_before:?} at {wall}");
        }
        assert_eq!(TooFar.to_string(), "at most 365d ahead; hand the event in nearer to its time");
    }
}
