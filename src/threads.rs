//! The daemon's threads: one for the doors, a few for single producers, and as many as there are cores for everything else
//! that is asynchronous.
//!
//! Producers are served by a thread of their own, so that neither deliveries nor the scheduler hold them up, and so that
//! nobody is woken in vain: of several threads that share their work each wakes another whenever it finds some, and to
//! wake a core that has halted takes a good part of what a fast disk takes for a commit. While there are few producers each has a
//! [`Booth`] besides, a thread to itself: there one who waits for an answer is nobody else's business, and the thread can
//! wait for the disk in its place. The writer has a thread besides, and so has the log; the one that the process begins with waits
//! for signals.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
    task::{JoinError, JoinSet},
};

/// So many producers have a thread to themselves; a thread is started when it is needed first, and stays.
const BOOTHS: usize = 4;

/// The runtimes, until they are stopped.
pub(crate) struct Threads {
    shared: Runtime,
    doors: Loop,
    booths: Booths,
}

/// A thread with a runtime of its own, which ends when this is dropped.
#[derive(Debug)]
struct Loop {
    handle: Handle,
    thread: thread::JoinHandle<()>,
    /// Dropped when the thread is to end.
    run: oneshot::Sender<()>,
}

/// Threads for single producers; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Booths(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    free: Vec<Loop>,
    /// How many have been started.
    made: usize,
    closed: bool,
}

/// A thread for one connection, which others can have when this is dropped.
#[derive(Debug)]
pub struct Booth {
    booths: Booths,
    /// Until it is dropped.
    thread: Option<Loop>,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Builder::new_multi_thread().enable_all().thread_name("posthaste").build()?;
        Ok(Self { shared, doors: Loop::start("doors")?, booths: Booths::default() })
    }

    /// Where the doors' tasks run.
    pub(crate) fn doors(&self) -> Handle {
        self.doors.handle.clone()
    }

    /// Where single producers are served.
    pub(crate) fn booths(&self) -> Booths {
        self.booths.clone()
    }

    /// Runs `daemon` on the shared threads. This thread does `meanwhile`, which has to return when the daemon has ended.
    ///
    /// # Errors
    /// The daemon's panic.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        daemon: impl Future<Output = T> + Send + 'static,
        meanwhile: impl FnOnce(),
    ) -> thread::Result<T> {
        let daemon = self.shared.spawn(daemon);
        // Its panic is in the log; the daemon goes on without.
        let _ = catch_unwind(AssertUnwindSafe(meanwhile));
        // Nobody calls it off.
        self.shared.block_on(daemon).map_err(JoinError::into_panic)
    }

    /// Ends them; what blocks has so much time.
    pub(crate) fn stop(self, time: Duration) {
        self.doors.stop();
        self.booths.close();
        self.shared.shutdown_timeout(time);
    }
}

impl Loop {
    /// The runtime is made and dropped in its own thread: it may not be dropped in another's.
    fn start(name: &str) -> io::Result<Self> {
        let (run, stopped) = oneshot::channel::<()>();
        let (made, is_made) = mpsc::sync_channel(1);
        let work = move || {
            let runtime = Builder::new_current_thread().enable_all().thread_name("reads").build();
            let runtime = runtime.inspect_err(|error| {
                let _ = made.send(Err(io::Error::from(error.kind())));
            });
            let Ok(runtime) = runtime else { return };
            let _ = made.send(Ok(runtime.handle().clone()));
            // Nothing is ever sent.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        let handle = is_made.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Self { handle, thread, run })
    }

    fn stop(self) {
        drop(self.run);
        // A panic of the thread itself, not of a task: it is in the log, and nothing is left to do.
        let _ = self.thread.join();
    }
}

impl Booths {
    /// A thread for a connection, if one is free and can be had.
    pub fn enter(&self) -> Option<Booth> {
        let mut places = self.lock();
        if let Some(free) = places.free.pop() {
            return Some(Booth { booths: self.clone(), thread: Some(free) });
        }
        if places.closed || places.made >= BOOTHS {
            return None;
        }
        // Where the system gives no thread, the doors' own serves this one too.
        let thread = Loop::start("booth").ok()?;
        places.made += 1;
        Some(Booth { booths: self.clone(), thread: Some(thread) })
    }

    /// Ends the threads that are free; there will be no others.
    fn close(&self) {
        let mut places = self.lock();
        places.closed = true;
        let free = std::mem::take(&mut places.free);
        drop(places);
        free.into_iter().for_each(Loop::stop);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Every change is one that cannot panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Booth {
    /// Does `work` there; dropped, this ends it. `None`: it panicked.
    pub async fn run<T: Send + 'static>(self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let thread = self.thread.as_ref()?;
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work, &thread.handle);
        tasks.join_next().await?.ok()
    }
}

impl Drop for Booth {
    fn drop(&mut self) {
        let mut places = self.booths.lock();
        if !places.closed {
            places.free.extend(self.thread.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, future::pending};

    use super::*;

    #[tokio::test]
    async fn each_connection_has_a_thread_until_there_are_enough() {
        let booths = Booths::default();
        let entered: Vec<_> = (0..BOOTHS).map_while(|_| booths.enter()).collect();
        assert_eq!(entered.len(), BOOTHS);
        assert!(booths.enter().is_none(), "the others share one");
        let mut threads = HashSet::from([thread::current().id()]);
        for booth in entered {
            threads.extend(booth.run(async { thread::current().id() }).await);
        }
        assert_eq!(threads.len(), BOOTHS + 1);
        let again = booths.enter().expect("they are free").run(async { thread::current().id() }).await;
        assert!(threads.contains(&again.expect("it ran")), "no other is started");
        booths.close();
        assert!(booths.enter().is_none(), "nor after the end");
    }

    #[tokio::test]
    async fn what_is_done_there_ends_with_who_waits_for_it() {
        let booths = Booths::default();
        let _others: Vec<_> = (1..BOOTHS).map_while(|_| booths.enter()).collect();
        let (sender, receiver) = oneshot::channel::<()>();
        let (start, begun) = oneshot::channel();
        let work = async move {
            let _ = start.send(());
            pending::<()>().await;
            drop(sender);
        };
        let waiting = tokio::spawn(booths.enter().expect("one is free").run(work));
        begun.await.expect("it has begun");
        waiting.abort();
        assert!(receiver.await.is_err(), "it was dropped");
        let panicked = booths.enter().expect("it is free again").run(async { panic!("a test's") }).await;
        assert_eq!(panicked, None::<()>, "nor does a panic take its thread away");
        assert_eq!(booths.enter().expect("it is free").run(async { 1 }).await, Some(1));
        booths.close();
    }
}
