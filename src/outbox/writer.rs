//! Group commit: the thread that writes.
//!
//! It takes round after round of what has queued, writes outcomes first, then what joins its order, then events,
//! commits, answers, then tells the engine. While it rests, who hands an event in and waits for nothing else may write in its
//! place ([`super::queue`]).
//!
//! After an error the thread says so to the engine, closes the store and ends; what is in the queue then, and what is
//! added later, is answered with [`StoreError::Stopped`].

use std::{io, sync::Arc, thread, time::Duration};

use tokio::sync::mpsc;

use super::{
    error::StoreError,
    pen::{Notice, Pen},
    queue::{Ended, Queue},
    round::End,
    store::Store,
};
use crate::model::time::Mark;

/// The writer's thread. Joined by [`Writer::close`].
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    thread: thread::JoinHandle<Result<(), StoreError>>,
}

impl Writer {
    pub(super) fn start(
        store: Store,
        queue: Arc<Queue>,
        settle_delay: Duration,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> io::Result<Self> {
        queue.put_back(Box::new(Pen::new(store, settle_delay, notices)), None);
        let own = Arc::clone(&queue);
        let thread = thread::Builder::new().name("outbox".to_owned()).spawn(move || run(&own))?;
        Ok(Self { queue, thread })
    }

    /// Has the clocks' mark written as the store is closed cleanly, or with a commit before that.
    pub fn mark(&self, mark: Mark) {
        self.queue.mark(mark, false);
    }

    /// Writes what is queued, marks the store as closed cleanly if that is how it ends, and closes it for everybody:
    /// reads fail from then on.
    /// Events that still wait for the map of ids are not written; their askers are told so, as are those who come later.
    ///
    /// # Errors
    /// What is queued could not be written, or the store not closed; or it had failed before.
    pub fn close(self, end: End) -> Result<(), StoreError> {
        self.queue.close(end);
        self.thread.join().unwrap_or(Err(StoreError::Stopped))
    }
}

fn run(queue: &Queue) -> Result<(), StoreError> {
    let _ended = Ended(queue);
    loop {
        let (mut pen, mut round) = queue.next_round();
        let written = match round.failed.take() {
            Some(error) => Err(error),
            None if round.is_last() => return pen.end(&round),
            None => pen.write(round).and_then(|()| pen.finish()),
        };
        match written {
            Ok(()) => queue.put_back(pen, None),
            Err(error) => {
                pen.fail(error);
                return Err(StoreError::Stopped);
            }
        }
    }
}
