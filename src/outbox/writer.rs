//! Group commit: the one thread that writes.
//!
//! It takes round after round of what has queued, writes outcomes first, then what joins its order, then events,
//! commits, answers, then tells the engine.
//!
//! After an error the thread says so to the engine, closes the store and ends; what is in the queue then, and what is
//! added later, is answered with [`StoreError::Stopped`].

use std::{io, mem, sync::Arc, thread, time::Duration};

use tokio::sync::mpsc;

use super::{
    error::{StoreError, contain},
    pen::{Notice, write},
    queue::{Ended, Queue, next_round},
    round::{End, Stop},
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
        let own = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("outbox".to_owned())
            .spawn(move || run(store, &own, settle_delay, &notices))?;
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

fn run(
    mut store: Store,
    queue: &Queue,
    mut settle_delay: Duration,
    notices: &mpsc::UnboundedSender<Notice>,
) -> Result<(), StoreError> {
    let _ended = Ended(queue);
    let mut spare = Vec::new();
    loop {
        let mut round = next_round(queue, settle_delay, spare);
        if let Some(mark) = round.mark {
            store.set_mark(mark);
        }
        if let Some(tuning) = round.tuning {
            settle_delay = tuning.settle_delay;
            store.tune(tuning);
        }
        let probes = mem::take(&mut round.probes);
        let written = match round.failed.take() {
            Some(error) => Err(error),
            None if round.is_last() => return end(store, round.stop),
            None => contain(|| write(&mut store, round, notices)).map_err(StoreError::from).flatten(),
        };
        match written {
            Ok(emptied) => {
                spare = emptied;
                // With the round behind it the thread has shown that it goes on. Who asked may have gone.
                for asked in probes {
                    let _ = asked.send(());
                }
            }
            Err(error) => {
                // The engine may have gone before us; then nobody needs to be told.
                let _ = notices.send(Notice::Failed(error));
                // Closed all the same: of what redb can still put in order, nothing is left to the next start. That
                // this may fail as well says nothing new.
                let _ = store.abandon();
                return Err(StoreError::Stopped);
            }
        }
    }
}

fn end(store: Store, stop: Stop) -> Result<(), StoreError> {
    if stop == Stop::Close(End::Clean) { store.close() } else { store.abandon() }
}
