//! Signals: SIGTERM and SIGINT ask the daemon to stop, a second one to be quick about it; SIGHUP to read its configuration again.

use std::{io, sync::Arc, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::{Notify, watch};

use crate::engine::Stop;

/// What signals ask for.
pub struct Asked {
    /// The first to stop turns the value to [`Stop::Drain`], the next to [`Stop::Now`].
    pub stop: watch::Receiver<Stop>,
    /// Told by each SIGHUP; those that come before it is listened to are one.
    pub reload: Arc<Notify>,
}

/// Listens for signals on a thread of its own.
///
/// # Errors
/// The handlers cannot be installed, or the thread not started.
pub fn listen() -> io::Result<Asked> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, stop) = watch::channel(Stop::Run);
    let reload = Arc::new(Notify::new());
    let told = Arc::clone(&reload);
    let forward = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                told.notify_one();
            } else {
                sender.send_modify(|stop| *stop = if *stop == Stop::Run { Stop::Drain } else { Stop::Now });
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(forward)?;
    Ok(Asked { stop, reload })
}
