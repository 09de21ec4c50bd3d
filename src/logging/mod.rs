//! The log: what the daemon says to those who run it.
//!
//! Lines come from `tracing`, at the level that [`VARIABLE`] says. Each becomes a `record` where it is said, is put into a
//! bounded `queue`, and is written by a thread of its own: to journald with its fields, or to standard error as text or
//! JSON (`place` decides). What an operator would filter by, or be told of, has a [`Kind`].
//!
//! - Nobody waits for the log: not for a journald that stands still, nor for a pipe that nobody reads. Where the queue is full
//!   lines are lost, and one says how many as soon as there is room.
//! - The end waits for it, [`PATIENCE`] at most: what was said before comes before the end's own word ([`last_word`]).
//! - A record is bounded (`record::BOUND`), and so is the queue. Idle, nothing wakes.
//!
//! Secrets, keys and payloads are in no line at any level: whoever logs sees to it. Spans are not shown, as there are none.

mod filter;
mod journal;
mod json;
pub mod kind;
mod layer;
mod panics;
mod place;
mod queue;
mod record;
pub mod seldom;
mod text;
mod writer;

use std::{
    env,
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use self::kind::Kind;
use self::{layer::Lines, place::Place, queue::Queue, record::Record};
use crate::clock::Clock;

/// The variable that holds the level, or a filter such as `info,posthaste::delivery=debug`.
pub const VARIABLE: &str = "POSTHASTE_LOG";
/// The variable that says how lines are written: `text` or `json`.
pub const FORMAT: &str = "POSTHASTE_LOG_FORMAT";
/// How long the end waits for what has been said to be written.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The log of this process, once it has begun.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    queue: Arc<Queue>,
    clock: Clock,
}

/// Begins to log, panics too. A second call changes nothing.
///
/// # Errors
/// The system gives no thread, or no second descriptor of standard error.
pub fn start(clock: Clock) -> io::Result<()> {
    if LOG.get().is_some() {
        return Ok(());
    }
    let (place, bad_format) = Place::choose(env::var_os(FORMAT), place::is_journal());
    let (filter, bad_filter) = filter::read(env::var_os(VARIABLE));
    let queue = Arc::new(Queue::new(clock));
    writer::start(place, Arc::clone(&queue))?;
    let lines = Lines::new(Arc::clone(&queue), clock);
    if LOG.set(Log { queue: Arc::clone(&queue), clock }).is_err() {
        return Ok(());
    }
    panics::log(queue, clock);
    // Only a test that has a subscriber of its own is in the way.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    for problem in [bad_format, bad_filter].into_iter().flatten() {
        tracing::warn!(kind = Kind::LogSetting.word(), "{problem}");
    }
    Ok(())
}

/// Waits until all that has been said is written, [`PATIENCE`] at most.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.queue.flush(PATIENCE);
    }
}

/// What ends the process, behind all that was said before; it waits for it as [`flush`] does. Where lines are text it is
/// shown as a command shows its error: as it is, behind `heading`.
pub fn last_word(heading: &'static str, text: &str) {
    let Some(log) = LOG.get() else {
        // A closed standard error is no reason to panic, as `eprintln!` would.
        let _ = writeln!(io::stderr(), "{heading}{text}");
        return;
    };
    log.queue.push(Record::last_word(log.clock.wall(), heading, text));
    log.queue.flush(PATIENCE);
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
