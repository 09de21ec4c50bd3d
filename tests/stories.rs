//! What a customer of each provider does with its webhooks, from making an endpoint to reading its past events.
//!
//! Each module is one provider's story, told over TCP with a subscriber's key. The operator, on the Unix socket, has made
//! the account and the key before; the producer hands events in there, too. What all stories have in common is
//! `stories/customer.rs`; what a story tells is what is particular to its provider.

#![allow(
    unreachable_pub,
    reason = "a test program has no outside; `pub` says what its modules offer each other"
)]

mod support;

#[path = "stories/customer.rs"]
mod customer;
#[allow(dead_code, reason = "the tests of the providers' documents share it, and use the rest")]
#[path = "providers/example.rs"]
mod example;

#[path = "stories/cloudglue.rs"]
mod cloudglue;
#[path = "stories/elai.rs"]
mod elai;
#[path = "stories/fastpix.rs"]
mod fastpix;
#[path = "stories/omegastream.rs"]
mod omegastream;
#[path = "stories/transcodely.rs"]
mod transcodely;
