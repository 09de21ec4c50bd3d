//! What the tests of the built binary share: a daemon with its directory ([`world`]), a receiver of webhooks
//! ([`receiver`]), one that is a program of its own ([`program`]), parts of the daemon that stand still ([`stand`]), one that means no good ([`hostile`]), its certificates ([`authority`]), a proxy ([`proxy`]), clients of the
//! socket ([`http`], [`stream`]) and of the API over TCP ([`api`]), other users ([`people`]), a daemon that does as it is told ([`scripted`]), the commands by their help ([`help`]) and a check of
//! signatures of its own ([`sign`]).
//!
//! Nothing here calls the crate: what is tested is what a user has, the binary, the socket and the wire. (The kill test
//! reads copies of the store with it; `kill/record.rs` says why.)

#![allow(dead_code, unreachable_pub, reason = "several test programs share this, and each uses a part of it")]

use std::{
    env, io,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

pub mod api;
pub mod authority;
pub mod config;
pub mod help;
pub mod hostile;
pub mod http;
pub mod people;
pub mod program;
pub mod proxy;
pub mod receiver;
pub mod scripted;
pub mod sign;
pub mod stand;
pub mod stream;
pub mod world;

/// How long anything that is waited for may take: far more than it does on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long a condition that only asking can tell rests between two questions.
const PAUSE: Duration = Duration::from_millis(10);

/// The monotonic clock.
#[allow(clippy::disallowed_methods, reason = "the tests look at the daemon from outside, on a real clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Says that a part of a test is skipped, and for want of what. What `.ci/run` promises to be there is there where it runs.
///
/// # Panics
/// It is `promised`, and this is CI.
pub fn skip(what: &str, promised: bool) {
    assert!(!promised || env::var_os("CI").is_none(), "{what}");
    // Not by `eprintln`, which is shown of tests that fail only.
    io::stderr().write_all(format!("skipped: {what}\n").as_bytes()).expect("somebody reads");
}

/// Asks until there is an answer, and gives up at [`DEADLINE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(now() < end, "this did not come about: {what}");
        thread::park_timeout(PAUSE);
    }
}
