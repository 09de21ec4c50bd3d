//! The daemon's threads: one for the doors, and as many as there are cores for everything else that is asynchronous.
//!
//! Producers are served by a thread of their own, so that neither deliveries nor the scheduler hold them up, and so that
//! nobody is woken in vain: of several threads that share their work each wakes another whenever it finds some, and to
//! wake a core that has halted takes as long as a fast disk takes for a commit. The writer has a thread
//! besides, and so has the log.

use std::{io, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

/// The runtimes, until they are stopped.
pub(crate) struct Threads {
    shared: Runtime,
    doors: Doors,
}

struct Doors {
    handle: Handle,
    thread: thread::JoinHandle<()>,
    /// Dropped when the thread is to end.
    run: oneshot::Sender<()>,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Builder::new_multi_thread().enable_all().thread_name("posthaste").build()?;
        Ok(Self { shared, doors: Doors::start()? })
    }

    /// Where the doors' tasks run.
    pub(crate) fn doors(&self) -> Handle {
        self.doors.handle.clone()
    }

    /// Runs `daemon`; what it spawns runs on the shared threads.
    pub(crate) fn block_on<T>(&self, daemon: impl Future<Output = T>) -> T {
        self.shared.block_on(daemon)
    }

    /// Ends them; what blocks has so much time.
    pub(crate) fn stop(self, time: Duration) {
        let Doors { thread, run, .. } = self.doors;
        drop(run);
        // A panic of the thread itself, not of a task: it is in the log, and nothing is left to do.
        let _ = thread.join();
        self.shared.shutdown_timeout(time);
    }
}

impl Doors {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name("doors").build()?;
        let handle = runtime.handle().clone();
        let (run, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("doors".to_owned()).spawn(move || {
            // Nothing is ever sent.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, thread, run })
    }
}
