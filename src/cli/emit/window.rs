//! The lines between the input and their answers; sans-io.
//!
//! Lines go out in order, and answers come in the order in which lines went out on a connection. A line that is refused
//! for now, and after a lost connection one that may be handed in again, goes out once more; answers are given back
//! in the order of the lines all the same.

use std::{collections::VecDeque, time::Duration};

use super::{
    recipe::Made,
    source::{Found, Place},
};
use crate::ingest::answer::{Answer, Code, ErrorView};

/// Refusals that say nothing of the line: the event may have been taken, or the connection was too slow for it or ended
/// within it. The daemon says them last.
const UNSETTLED: [Code; 3] = [Code::StoreFailed, Code::TooSlow, Code::UnterminatedLine];

/// Lines that were read and have no answer that was passed on.
#[derive(Debug, Default)]
pub struct Window {
    entries: VecDeque<Entry>,
    /// How many entries are gone from the front: the number of the first that is there.
    gone: u64,
    /// No entry with a lower number waits.
    next: u64,
    /// The entries that were sent on this connection and not answered on it, in order.
    sent: VecDeque<u64>,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    /// Bytes that it has of the room.
    size: usize,
    /// It went out on a connection that was lost: perhaps it was taken there.
    in_doubt: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is to be sent.
    Waiting(Made),
    /// It was sent.
    Sent(Made),
    /// This is its last answer.
    Done(Answer),
}

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line has its last answer.
    Settled,
    /// A line was refused for now.
    NotNow(ErrorView, Duration),
    /// Nothing is said of what became of a line, for this reason: as if the connection had been lost before this answer.
    /// The line counts as sent until [`Window::lost`].
    Unknown(String),
    /// Nothing was asked: it is about the connection.
    Unasked(Answer),
}

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is its last answer.
    Answered(Answer),
    /// It was not taken.
    Untaken,
    /// Nobody knows whether it was taken.
    Unknown,
}

/// A line that leaves the window.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// Where it stands.
    pub place: Place,
    /// What became of it.
    pub outcome: Outcome,
    /// Bytes that it had of the room.
    pub size: usize,
}

impl Window {
    /// A line that was read.
    pub fn push(&mut self, found: Found, size: usize) {
        let state = match found.made {
            Ok(made) => State::Waiting(made),
            Err(refusal) => State::Done(Answer::from(refusal)),
        };
        self.entries.push_back(Entry { place: found.place, size, in_doubt: false, state });
    }

    /// Whether every line has been passed on.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a line that was sent on this connection has no answer yet.
    pub fn is_waited_for(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether a line is to be sent.
    pub fn has_waiting(&mut self) -> bool {
        self.seek();
        self.entry(self.next).is_some()
    }

    /// The next line to be sent, which counts as sent from now on.
    pub fn send(&mut self) -> Option<&[u8]> {
        self.seek();
        let number = self.next;
        let entry = self.entries.get_mut(index(number, self.gone))?;
        let State::Waiting(made) = &mut entry.state else { return None };
        let made = Made { bytes: std::mem::take(&mut made.bytes), repeatable: made.repeatable };
        self.sent.push_back(number);
        entry.state = State::Sent(made);
        match &entry.state {
            State::Sent(made) => Some(&made.bytes),
            _ => None,
        }
    }

    /// The next answer of this connection.
    pub fn answered(&mut self, answer: Answer) -> Heard {
        let Some(number) = self.sent.pop_front() else { return Heard::Unasked(answer) };
        let entry =
            self.entries.get_mut(index(number, self.gone)).expect("what was sent stays until its answer");
        if let Answer::Refused(refused) = &answer {
            let code = refused.error.code.as_str();
            if UNSETTLED.iter().any(|unsettled| code == unsettled.as_str()) {
                return Heard::Unknown(refused.error.message.clone());
            }
            if let Some(after) = refused.error.retry_after {
                entry.wait();
                self.next = self.next.min(number);
                return Heard::NotNow(refused.error.clone(), Duration::from_secs(after));
            }
        }
        entry.state = State::Done(answer);
        Heard::Settled
    }

    /// The connection is over. Lines without an answer wait to be sent again if that does no harm; else this is the first
    /// of which nothing is known.
    pub fn lost(&mut self) -> Option<Place> {
        self.sent.clear();
        self.next = self.gone;
        let mut unknown = None;
        for entry in &mut self.entries {
            match &entry.state {
                State::Sent(made) if made.repeatable => {
                    entry.in_doubt = true;
                    entry.wait();
                }
                State::Sent(_) => unknown = unknown.or(Some(entry.place)),
                _ => {}
            }
        }
        unknown
    }

    /// The next line, in order, once it has its last answer.
    pub fn pass(&mut self) -> Option<Passed> {
        matches!(self.entries.front()?.state, State::Done(_)).then(|| self.pop()).flatten()
    }

    /// The next line, in order, whatever became of it: for the end of a run that does not come through.
    pub fn pop(&mut self) -> Option<Passed> {
        let Entry { place, size, in_doubt, state } = self.entries.pop_front()?;
        self.gone += 1;
        let outcome = match state {
            State::Done(answer) => Outcome::Answered(answer),
            State::Waiting(_) if !in_doubt => Outcome::Untaken,
            State::Waiting(_) | State::Sent(_) => Outcome::Unknown,
        };
        Some(Passed { place, outcome, size })
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(index(number, self.gone))
    }

    /// Goes on to the first entry that waits.
    fn seek(&mut self) {
        self.next = self.next.max(self.gone);
        while self.entry(self.next).is_some_and(|entry| !matches!(entry.state, State::Waiting(_))) {
            self.next += 1;
        }
    }
}

impl Entry {
    /// Makes it wait to be sent again.
    fn wait(&mut self) {
        if let State::Sent(made) = &mut self.state {
            let made = Made { bytes: std::mem::take(&mut made.bytes), repeatable: made.repeatable };
            self.state = State::Waiting(made);
        }
    }
}

fn index(number: u64, gone: u64) -> usize {
    usize::try_from(number - gone).expect("as many as there are in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::answer::Refusal;

    /// Lines whose text is their number; those in capitals may be handed in again.
    fn window(lines: &[&str]) -> Window {
        let mut window = Window::default();
        for (line, text) in (1..).zip(lines) {
            let made =
                Made { bytes: text.as_bytes().to_vec(), repeatable: text.chars().all(char::is_uppercase) };
            window.push(Found { place: Place { input: 0, line }, made: Ok(made) }, 10);
        }
        window
    }

    fn sent(window: &mut Window) -> String {
        let mut all = String::new();
        while let Some(bytes) = window.send() {
            all.push_str(std::str::from_utf8(bytes).expect("text"));
        }
        all
    }

    fn taken() -> Answer {
        serde_json::from_str(r#"{"id":"evt_01hqr804xqedfrpgbwt3r3pxf9"}"#).expect("an answer")
    }

    fn refused(code: Code) -> Answer {
        Answer::from(Refusal::new(code, "no"))
    }

    fn passed(window: &mut Window) -> Vec<u64> {
        std::iter::from_fn(|| window.pass()).map(|passed| passed.place.line).collect()
    }

    #[test]
    fn answers_go_to_the_lines_in_order() {
        let mut window = window(&["a", "b"]);
        assert_eq!(sent(&mut window), "ab");
        assert_eq!((window.answered(taken()), passed(&mut window)), (Heard::Settled, vec![1]));
        assert!(!window.has_waiting() && window.is_waited_for() && !window.is_empty());
        assert_eq!(window.answered(refused(Code::InvalidEvent)), Heard::Settled);
        let last = window.pass().expect("it is settled");
        let answered = Outcome::Answered(refused(Code::InvalidEvent));
        assert_eq!((last.place.line, last.outcome, last.size), (2, answered, 10));
        assert!(window.is_empty());
        assert_eq!(window.answered(taken()), Heard::Unasked(taken()));
    }

    #[test]
    fn what_is_refused_for_now_goes_out_again_and_keeps_its_place() {
        let mut window = window(&["a", "b", "c"]);
        assert_eq!(sent(&mut window), "abc");
        for answer in [refused(Code::Busy), taken(), refused(Code::Stopping)] {
            let waits = answer != taken();
            let heard = window.answered(answer);
            assert_eq!(matches!(heard, Heard::NotNow(_, after) if after.as_secs() == 1), waits, "{heard:?}");
        }
        assert_eq!(passed(&mut window), [0; 0], "the first has no answer");
        assert!(window.has_waiting());
        assert_eq!(sent(&mut window), "ac");
        window.answered(taken());
        assert_eq!(passed(&mut window), [1, 2]);
    }

    #[test]
    fn after_a_lost_connection_what_carries_an_id_goes_out_again() {
        let mut window = window(&["A", "B", "C", "d", "E"]);
        let refusal = Refusal::new(Code::InvalidEvent, "no");
        window.push(Found { place: Place { input: 0, line: 6 }, made: Err(refusal) }, 10);
        for _ in 0..3 {
            window.send();
        }
        window.answered(taken());
        assert_eq!(window.lost(), None);
        assert_eq!(passed(&mut window), [1]);
        for _ in 0..3 {
            window.send();
        }
        window.answered(taken());
        assert_eq!(window.lost(), Some(Place { input: 0, line: 4 }), "nobody knows of it");
        assert_eq!(window.send(), Some(&b"C"[..]), "it stays what it was");
        window.answered(refused(Code::Busy));
        window.lost();
        let mut rest = std::iter::from_fn(|| window.pop()).map(|passed| (passed.place.line, passed.outcome));
        assert_eq!(rest.next(), Some((2, Outcome::Answered(taken()))));
        assert_eq!(rest.next(), Some((3, Outcome::Unknown)), "it was on its way twice, and refused once");
        assert_eq!(rest.next(), Some((4, Outcome::Unknown)));
        assert_eq!(rest.next(), Some((5, Outcome::Untaken)));
        assert_eq!(rest.next(), Some((6, Outcome::Answered(refused(Code::InvalidEvent)))));
        assert_eq!(rest.next(), None);
    }

    #[test]
    fn what_says_nothing_of_a_line_is_no_answer() {
        for code in UNSETTLED {
            let mut window = window(&["A", "b"]);
            sent(&mut window);
            for _ in 0..2 {
                assert!(window.is_waited_for());
                assert_eq!(window.answered(refused(code)), Heard::Unknown("no".to_owned()));
            }
            assert!(!window.is_waited_for() && !window.has_waiting() && !window.is_empty());
            assert_eq!(window.lost(), Some(Place { input: 0, line: 2 }));
            assert_eq!(sent(&mut window), "A");
        }
    }
}
