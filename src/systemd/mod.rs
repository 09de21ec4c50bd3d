//! What the daemon and a service manager say to each other, in the protocol of systemd: its sockets, its state, its watchdog.
//!
//! | from the manager | |
//! | --- | --- |
//! | `LISTEN_FDS`, `LISTEN_FDNAMES`, `LISTEN_PID` | sockets that listen already, by name ([`Passed`]) |
//! | `NOTIFY_SOCKET` | where it listens ([`Notifier`]) |
//! | `WATCHDOG_USEC`, `WATCHDOG_PID` | how soon it kills a daemon of which it hears nothing ([`period`]) |
//!
//! | to the manager | when |
//! | --- | --- |
//! | `READY=1` | events are accepted, and the spool directories have been looked at; a reload is over, however it went |
//! | `STATUS=` | the line has changed ([`Standing`]) |
//! | `RELOADING=1`, `MONOTONIC_USEC=` | a reload begins |
//! | `STOPPING=1` | first of all at the stop |
//! | `EXTEND_TIMEOUT_USEC=` | the start or the stop takes long, and the store's file is read or written meanwhile ([`ask_for_patience`]) |
//! | `WATCHDOG=1` | the writer, the engine and the loops that take connections have answered ([`watch`]) |
//!
//! The watchdog does not ask the loops of the spool directories, retention, reloads and the pool of what blocks: a directory that hangs,
//! or a lookup, is no reason to end the daemon. Where one of these ends that should not, the daemon ends by itself.
//!
//! Where no manager is, nothing of this happens. It never fails the daemon and never holds it up: of what cannot be sent in time the news
//! are left out, so that what a phase begins or ends with is not.

mod notifier;
mod passed;
mod patience;
mod standing;
mod watchdog;

#[cfg(test)]
pub(crate) use self::watchdog::silent;
pub use self::{
    notifier::{Notifier, Reload},
    passed::{Passed, PassedError},
    patience::{PATIENCE, ask_for_patience},
    standing::Standing,
    watchdog::{Part, period, watch},
};
