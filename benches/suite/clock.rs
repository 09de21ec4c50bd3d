//! The suite's clock: the one place here that reads it. It looks at the daemon from outside, on a real clock.

#![allow(clippy::disallowed_methods, reason = "what is measured is time")]

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::Result;

/// Nothing that is waited for takes longer, but for what grows with the numbers asked for.
const PATIENCE: Duration = Duration::from_secs(300);

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets so much time go by: where a rate is measured, or a pace kept.
pub(crate) fn pass(time: Duration) {
    pass_until(now() + time);
}

/// Lets time go by until `end`.
pub(crate) fn pass_until(end: Instant) {
    loop {
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// Asks every `pause` until there is an answer: another process tells nobody when its state has changed.
///
/// # Errors
/// There was none for a long time, or asking failed.
pub(crate) fn until<T>(what: &str, pause: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if now() > end {
            return Err(format!("waited {} s in vain: {what}", PATIENCE.as_secs()).into());
        }
        pass(pause);
    }
}
