//! The providers' documents, read line by line against the running daemon.
//!
//! Each module goes through one provider's documentation in its order and holds the daemon to what it says, with the
//! configuration of `examples/providers/NAME` as it stands there, but for the receiver's address. What a receiver is
//! told to do is done by that directory's own receivers, which run here as a person would run them.

#![allow(
    unreachable_pub,
    reason = "a test program has no outside; `pub` says what its modules offer each other"
)]

mod support;

#[path = "providers/cloudglue.rs"]
mod cloudglue;
#[path = "providers/elai.rs"]
mod elai;
#[path = "providers/example.rs"]
mod example;
#[path = "providers/fastpix.rs"]
mod fastpix;
#[path = "providers/omegastream.rs"]
mod omegastream;
#[path = "providers/transcodely.rs"]
mod transcodely;
