//! Panics are lines of the log like others, whatever the filter: behind what was said before, and with their fields in the
//! journal. One of the main thread ends the process, so it waits until it is written. One of the daemon, which runs on another, is
//! waited for by the main thread ([`crate::serve`]).

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt::Write as _,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    sync::Arc,
    thread,
};

use super::{Kind, PATIENCE, queue::Queue, record::Record, writer::THREAD};
use crate::clock::Clock;

/// Has panics logged.
pub(super) fn log(queue: Arc<Queue>, clock: Clock) {
    panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        if name == THREAD {
            // Nobody writes what waits any more.
            let _ = writeln!(io::stderr(), "{}", words(name, panic));
            return;
        }
        queue.push(Record::own(clock.wall(), Kind::Panicked, &words(name, panic)));
        if name == "main" {
            queue.flush(PATIENCE);
        }
    }));
}

fn words(thread: &str, panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let mut words = format!("the thread `{thread}` panicked{place}: {}", text.unwrap_or("without a word"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        write!(words, "\n{trace}").expect("a String takes all");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_line_with_its_thread_and_its_place() {
        let (queue, clock) = (Arc::new(Queue::new(Clock::start())), Clock::start());
        let usual = panic::take_hook();
        log(Arc::clone(&queue), clock);
        let unlucky = || panic!("it is {}", "so");
        let thread = thread::Builder::new().name("unlucky".to_owned()).spawn(unlucky).expect("a thread");
        thread.join().expect_err("it panics");
        panic::set_hook(usual);
        // Other tests may panic meanwhile, as they are to.
        let record =
            std::iter::repeat_with(|| queue.next()).find(|record| record.message.contains("unlucky"));
        let message = record.expect("it does not end").message;
        let beginning = format!("the thread `unlucky` panicked at {}:", file!());
        assert!(message.starts_with(&beginning) && message.contains(": it is so"), "{message}");
    }
}
