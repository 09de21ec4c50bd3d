//! posthaste: the outbox of a box.
//!
//! On an appliance, programs that know nothing of HTTP hand it events, over a Unix socket or by dropping files in a
//! spool directory; it keeps them in one durable file, and delivers each, signed and retried, to every webhook
//! endpoint that subscribed to it. What is acknowledged is on disk, and is not lost by a crash or a power cut.
//!
//! The data goes one way, through five stages:
//!
//! ```text
//! ingest ─▶ outbox ─▶ scheduler ─▶ delivery ─▶ history
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`model`] | the nouns: events, deliveries, attempts, ids, times |
//! | [`policy`] | the rules, as pure functions: who gets what, what follows from an attempt, how requests look |
//! | [`config`] | from what people write to a configuration that cannot be wrong |
//! | [`ingest`] | stage 1: the socket and the spool directories |
//! | [`outbox`] | stage 2: the durable store and its one writer |
//! | [`scheduler`] | stage 3: timer wheel and lanes, without I/O and without a clock |
//! | [`delivery`] | stage 4: one attempt: signing, dialling, exchanging |
//! | [`history`] | stage 5: what was and what is |
//! | [`engine`] | the loop that joins them |
//! | [`api`], [`cli`] | the faces |
//! | [`systemd`] | what a service manager passes to the daemon, and hears of it |
//! | [`serve`] | the daemon: puts the parts together and takes them apart |
//!
//! `docs/architecture.md` has the states on disk and who may import whom. This library exists for the `posthaste`
//! binary, its examples, tests and benchmarks; its API may change with every version.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod engine;
pub mod history;
pub mod ingest;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod outbox;
pub mod policy;
pub mod rlimit;
pub mod sandbox;
pub mod scheduler;
pub mod serve;
pub mod signals;
pub mod systemd;
pub mod threads;
