//! Stage 1: events come in, over the Unix socket and from spool directories.
//!
//! Every door ends at the [`intake`], which routes events and puts them into the outbox; a producer is told that an
//! event is taken only when it is durable. What a producer can make large or slow is bounded here: bytes of an event,
//! nesting, connections, bytes on their way, and the time of each step. Who connects to the socket is judged first, by [`access`].

pub mod access;
pub mod answer;
pub mod callbacks;
pub mod catalogs;
pub mod dialect;
pub mod door;
pub mod event;
mod groups;
pub mod intake;
pub mod items;
pub mod keyring;
pub mod lines;
pub mod msgpack;
pub mod patience;
pub mod probe;
mod quota;
pub mod socket;
pub mod spool;
pub mod stream;

use tokio::sync::watch;

/// Waits until the daemon stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Without a sender the daemon is gone already.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
