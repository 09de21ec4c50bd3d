//! Signals: SIGTERM and SIGINT ask the daemon to stop, a second one to be quick about it.

use std::{io, thread};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::watch;

use crate::engine::Stop;

/// Listens for signals on a thread of its own: the first turns the value to [`Stop::Drain`], the next to [`Stop::Now`].
///
/// # Errors
/// The handlers cannot be installed, or the thread not started.
pub fn listen() -> io::Result<watch::Receiver<Stop>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = watch::channel(Stop::Run);
    let forward = move || {
        for _ in signals.forever() {
            sender.send_modify(|stop| *stop = if *stop == Stop::Run { Stop::Drain } else { Stop::Now });
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(forward)?;
    Ok(receiver)
}
