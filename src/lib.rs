//! posthaste: the outbox of a box.
//!
//! On an appliance, programs that know nothing of HTTP hand it events, over a Unix socket or by dropping files in a
//! spool directory; it keeps them in one durable file, and delivers each, signed and retried, to every webhook
//! endpoint that subscribed to it. What is acknowledged is on disk, and is not lost by a crash or a power cut.

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
pub mod scheduler;
pub mod serve;
pub mod signals;
