//! Signals: SIGTERM and SIGINT ask the daemon to stop, a second one to be quick about it; SIGHUP to read its configuration again.

use std::{io, sync::Arc};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle, Signals},
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

/// Signals as they come in.
pub struct Incoming {
    signals: Signals,
    stop: watch::Sender<Stop>,
    reload: Arc<Notify>,
}

/// Ends the listening when it is dropped.
pub struct Listening(Handle);

impl Incoming {
    /// From now on signals end the process no more: they wait for [`Self::forward`].
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn start() -> io::Result<(Self, Asked)> {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let (stop, asked) = watch::channel(Stop::Run);
        let reload = Arc::new(Notify::new());
        let asked = Asked { stop: asked, reload: Arc::clone(&reload) };
        Ok((Self { signals, stop, reload }, asked))
    }

    /// What ends [`Self::forward`].
    pub fn listening(&self) -> Listening {
        Listening(self.signals.handle())
    }

    /// Says what signals ask for, until that is dropped. Blocks.
    pub fn forward(mut self) {
        for signal in self.signals.forever() {
            if signal == SIGHUP {
                self.reload.notify_one();
            } else {
                let next = |stop| if stop == Stop::Run { Stop::Drain } else { Stop::Now };
                self.stop.send_modify(|stop| *stop = next(*stop));
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.close();
    }
}
