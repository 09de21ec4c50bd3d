//! How much of the input is in memory: whoever reads it waits until there is room.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lines that were read and have no answer that was passed on.
const LINES: usize = 1024;
/// Their bytes; one line alone may have more.
const BYTES: usize = 8 << 20;

/// The room for lines between the reader of the input and the answers.
#[derive(Debug, Default)]
pub struct Room {
    taken: Mutex<Taken>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    lines: usize,
    bytes: usize,
}

impl Room {
    /// Takes room for a line of so many bytes; waits for it.
    pub fn take(&self, bytes: usize) {
        let full = |taken: &mut Taken| {
            taken.lines >= LINES || (taken.lines > 0 && taken.bytes.saturating_add(bytes) > BYTES)
        };
        let taken = self.changed.wait_while(self.lock(), full);
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        taken.lines += 1;
        taken.bytes += bytes;
    }

    /// Gives back the room of a line of so many bytes.
    pub fn give(&self, bytes: usize) {
        let mut taken = self.lock();
        taken.lines -= 1;
        taken.bytes -= bytes;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, sync::mpsc, thread};

    use super::*;

    #[test]
    fn one_line_of_any_size_fits_and_no_other_beside_it() {
        let room = Arc::new(Room::default());
        room.take(BYTES * 2);
        let (sender, receiver) = mpsc::channel();
        let waiting = Arc::clone(&room);
        let thread = thread::spawn(move || {
            waiting.take(1);
            sender.send(()).expect("somebody listens");
        });
        assert!(receiver.try_recv().is_err());
        room.give(BYTES * 2);
        receiver.recv().expect("there is room now");
        thread.join().expect("it ends");
        (1..LINES).for_each(|_| room.take(1));
        assert_eq!(room.lock().lines, LINES);
    }
}
