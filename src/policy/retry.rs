//! When the attempts of a delivery are due.

use std::time::Duration;

use crate::model::{profile::Profile, time::Timestamp};

/// When the attempt at `step` of the profile's schedule is due, counted from `from` (the event's acceptance for the
/// first, the end of the attempt before for the others); `None` past the last step.
///
/// `chance` in [0, 1) draws the jitter: a delay is lengthened by up to `jitter` of itself, never shortened.
pub fn due(profile: &Profile, step: u8, from: Timestamp, chance: f64) -> Option<Timestamp> {
    let delay = profile.retry.get(usize::from(step))?;
    Some(from.plus(lengthen(*delay, profile.jitter * chance)))
}

/// `delay`, lengthened by `fraction` (0 to 1) of itself.
pub(super) fn lengthen(delay: Duration, fraction: f64) -> Duration {
    delay + delay.mul_f64(fraction.clamp(0.0, 1.0))
}
