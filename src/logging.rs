//! Logging: lines on standard error, at the level that `POSTHASTE_LOG` says (`info` where it says nothing).

use std::{error::Error, fmt::Write as _, io};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The variable that holds the level, or a filter such as `info,posthaste::delivery=debug`.
pub const VARIABLE: &str = "POSTHASTE_LOG";

/// Begins to log. A second call changes nothing.
pub fn start() {
    let filter = EnvFilter::builder().with_env_var(VARIABLE).try_from_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(false);
    // Only a second call can fail.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// An error with all its causes, on one line: `cannot bind x: permission denied`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("a String takes all");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_each_level_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the file")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "cannot read the file: disk on fire");
    }
}
