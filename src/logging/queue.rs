//! The queue between those who say something and the thread that writes it.
//!
//! It takes [`ROOM`] bytes of records, and twice that where they are errors. Nobody waits for room: what comes when there is
//! none is lost and counted, and from then on all but errors, until half of it is free again; then a record says how many there
//! were, behind the errors that came meanwhile. So under a flood there are stretches without a gap, not single lines.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::Level;

use super::{Kind, record::Record};
use crate::clock::Clock;

/// So many bytes of records wait.
pub(super) const ROOM: usize = 1 << 20;

/// Records that wait to be written.
pub(super) struct Queue {
    clock: Clock,
    state: Mutex<State>,
    /// Told of each record.
    filled: Condvar,
    /// Told when all is written.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Record>,
    /// What they take.
    bytes: usize,
    lost: u64,
    /// One has been taken, and is not known to be written.
    writing: bool,
}

impl State {
    fn take_in(&mut self, record: Record) {
        self.bytes += record.size();
        self.waiting.push_back(record);
    }

    const fn is_idle(&self) -> bool {
        self.bytes == 0 && self.lost == 0 && !self.writing
    }
}

impl Queue {
    /// An empty one.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default(), filled: Condvar::new(), drained: Condvar::new() }
    }

    /// Has a record written, or lost. Never waits for the writer.
    pub(super) fn push(&self, record: Record) {
        let is_error = record.level == Level::ERROR;
        let mut state = self.lock();
        let room = if is_error { 2 * ROOM } else { ROOM };
        if state.bytes + record.size() > room || (state.lost > 0 && !is_error) {
            state.lost += 1;
            return;
        }
        state.take_in(record);
        drop(state);
        self.filled.notify_one();
    }

    /// The next to be written; waits for it. That it is asked says that the one before is written.
    pub(super) fn next(&self) -> Record {
        let mut state = self.lock();
        state.writing = false;
        loop {
            if state.lost > 0 && state.bytes <= ROOM / 2 {
                let lost = std::mem::take(&mut state.lost);
                state.take_in(self.gap(lost));
            }
            if let Some(record) = state.waiting.pop_front() {
                state.bytes -= record.size();
                state.writing = true;
                return record;
            }
            self.drained.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all is written, for so long at most; whether it is.
    pub(super) fn flush(&self, time: Duration) -> bool {
        let waited = self.drained.wait_timeout_while(self.lock(), time, |state| !state.is_idle());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_idle()
    }

    fn gap(&self, lost: u64) -> Record {
        let message =
            format!("{lost} lines of the log are lost here: they came faster than they could be written");
        Record::own(self.clock.wall(), Kind::LinesLost, &message)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever holds it changes it in steps of which none panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;
    use crate::{logging::record::BOUND, model::time::Timestamp};

    fn record(level: Level, text: &str) -> Record {
        Record { level, ..Record::own(Timestamp::RELEASED, Kind::DoorShut, text) }
    }

    fn full(queue: &Queue) -> usize {
        let mut count = 0;
        while queue.lock().lost == 0 {
            queue.push(record(Level::INFO, &format!("{count:0>1000}")));
            count += 1;
        }
        count - 1
    }

    #[test]
    fn what_finds_no_room_is_counted_in_its_place() {
        let queue = Queue::new(Clock::start());
        let kept = full(&queue);
        assert!((500..1049).contains(&kept), "{kept}");
        queue.push(record(Level::WARN, "short"));
        queue.push(record(Level::ERROR, "an error"));
        let said: Vec<_> = (0..kept + 2).map(|_| queue.next().message).collect();
        assert_eq!(said[kept], "an error");
        assert!(said[kept + 1].starts_with("2 lines of the log are lost here"), "{}", said[kept + 1]);
        assert!(said[..kept].iter().enumerate().all(|(count, text)| *text == format!("{count:0>1000}")));
        queue.push(record(Level::INFO, "on"));
        assert_eq!(queue.next().message, "on");
    }

    #[test]
    fn errors_have_an_end_too() {
        let queue = Queue::new(Clock::start());
        full(&queue);
        let long = "x".repeat(BOUND);
        for _ in 0..100 {
            queue.push(record(Level::ERROR, &long));
        }
        assert!(queue.lock().bytes <= 2 * ROOM, "{}", queue.lock().bytes);
        assert!(queue.lock().bytes > ROOM + ROOM / 2, "{}", queue.lock().bytes);
    }

    #[test]
    fn the_end_waits_for_what_is_being_written_and_no_longer_than_it_may() {
        let queue = Arc::new(Queue::new(Clock::start()));
        assert!(queue.flush(Duration::ZERO), "nothing waits");
        queue.push(record(Level::INFO, "a"));
        assert!(!queue.flush(Duration::from_millis(1)), "nobody writes");
        queue.next();
        assert!(!queue.flush(Duration::from_millis(1)), "it is not known to be written");
        let writer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.next().message)
        };
        assert!(queue.flush(Duration::from_secs(60)), "asked for the next");
        queue.push(record(Level::INFO, "b"));
        assert_eq!(writer.join().expect("it has one"), "b");
    }
}
