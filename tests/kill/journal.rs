//! The journal: what the producers handed in and were told, and what came to the receiver, while it happens. Nothing in
//! it comes from the store; what the store had is in [`super::record`].

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::receiver::{Hook, Reply};

/// How many deliveries may be owed by the daemon before the producers wait.
const AHEAD: usize = 150;

/// The ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// JSON lines on a stream.
    Stream,
    /// MessagePack on a stream.
    Messages,
    /// HTTP, one by one.
    Http,
    /// HTTP, several in an NDJSON body.
    Batch,
    /// A spool file with one event.
    Json,
    /// A spool file with several.
    Ndjson,
    /// A spool file of MessagePack with several.
    Msgpack,
}

/// The types of events, and which endpoints want them.
pub const ROUTES: [(&str, &[&str]); 3] = [
    ("to.all", &["flaky", "good", "slow"]),
    ("to.flaky", &["flaky", "good"]),
    ("to.slow", &["good", "slow"]),
];

/// An event that was handed in; its number is its place in [`Notes::events`].
pub struct Event {
    pub door: Door,
    /// It carries an id, so it may be handed in again.
    pub named: bool,
    /// It was acknowledged.
    pub acknowledged: bool,
    /// The id that it was acknowledged with; a file's removal names none.
    pub id: Option<String>,
    /// How often it was handed in after the first time.
    pub again: usize,
    /// How often the answer was that it is known.
    pub duplicates: usize,
}

/// A file that was handed in.
pub struct SpoolFile {
    pub path: PathBuf,
    /// The numbers of its events.
    pub events: Vec<usize>,
    /// It was seen to be gone: that acknowledges its events.
    pub removed: bool,
}

/// A request that came.
pub struct Arrival {
    pub delivery: String,
    pub endpoint: String,
    pub event: usize,
    /// The attempt's number, as the daemon says.
    pub attempt: u32,
    /// Which daemon sent it, counted from 1.
    pub run: usize,
    /// When it was to be answered.
    pub answered: Instant,
    pub status: u16,
}

/// What stands in the journal.
#[derive(Default)]
pub struct Notes {
    pub events: Vec<Event>,
    pub files: Vec<SpoolFile>,
    pub arrivals: Vec<Arrival>,
    pub acknowledged: usize,
    /// Deliveries of what was acknowledged.
    owed: usize,
    /// Deliveries that were answered with success.
    taken: HashSet<String>,
    over: bool,
}

/// The notes, shared by the producers, the receiver and the hand that kills.
#[derive(Default)]
pub struct Journal {
    notes: Mutex<Notes>,
    changed: Condvar,
}

/// The event's type, and the endpoints that it goes to.
pub fn route(event: usize) -> (&'static str, &'static [&'static str]) {
    ROUTES[event % ROUTES.len()]
}

impl Journal {
    pub fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what is asked for, at most so long; says whether it came about.
    pub fn wait(&self, at_most: Duration, mut enough: impl FnMut(&Notes) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, |notes| !enough(notes));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Tells the producers to come to their end.
    pub fn stop(&self) {
        self.change(|notes| notes.over = true);
    }

    /// Waits until the daemon is not too far behind; says whether to go on.
    pub fn go_on(&self) -> bool {
        loop {
            if self.wait(Duration::from_secs(1), |notes| notes.over || notes.owed < notes.taken.len() + AHEAD)
            {
                return !self.lock().over;
            }
        }
    }

    /// A pause of a producer, cut short by the end.
    pub fn rest(&self, time: Duration) {
        self.wait(time, |notes| notes.over);
    }

    /// A new event.
    pub fn begin(&self, door: Door, named: bool) -> usize {
        let event = Event { door, named, acknowledged: false, id: None, again: 0, duplicates: 0 };
        self.change(|notes| {
            notes.events.push(event);
            notes.events.len() - 1
        })
    }

    /// The event as it is handed in, a line.
    pub fn line(&self, event: usize) -> String {
        let id =
            if self.lock().events[event].named { format!("\"id\":\"p-{event}\",") } else { String::new() };
        format!("{{\"type\":\"{}\",{id}\"data\":{{\"n\":{event}}}}}\n", route(event).0)
    }

    /// The answer to an event that was handed in over the socket.
    pub fn answered(&self, event: usize, answer: &Value) {
        let id = answer["id"].as_str().unwrap_or_else(|| panic!("event {event} was refused: {answer}"));
        let duplicate = answer.get("duplicate").is_some_and(|duplicate| duplicate == true);
        self.change(|notes| {
            let noted = &mut notes.events[event];
            assert!(
                !duplicate || noted.again > 0,
                "event {event} was handed in once, and is known: {answer}"
            );
            assert!(duplicate || noted.id.is_none(), "event {event} was acknowledged as new twice: {answer}");
            noted.duplicates += usize::from(duplicate);
            let before = noted.id.get_or_insert_with(|| id.to_owned());
            assert_eq!(before, id, "event {event} has two ids");
            notes.acknowledge(event);
        });
    }

    /// Files whose names are gone acknowledge their events; the count of those that are still there.
    pub fn look_for_files(&self) -> usize {
        self.change(|notes| {
            let mut gone = Vec::new();
            for file in notes.files.iter_mut().filter(|file| !file.removed) {
                if !file.path.exists() {
                    file.removed = true;
                    gone.extend_from_slice(&file.events);
                }
            }
            for event in gone {
                notes.acknowledge(event);
            }
            notes.files.iter().filter(|file| !file.removed).count()
        })
    }

    /// Notes a request, and says how it is answered: this depends on the event and the attempt's number alone.
    pub fn arrived(&self, hook: &Hook) -> Reply {
        let number =
            |name: &str| hook.header(name).parse::<usize>().expect("the configuration says a number");
        let event = hook.json()["n"].as_u64().and_then(|n| usize::try_from(n).ok()).expect("a number");
        let endpoint = hook.path.trim_start_matches('/').to_owned();
        let attempt = number("x-attempt");
        let (delay, status) = behaviour(&endpoint, event, attempt);
        let arrival = Arrival {
            delivery: hook.header("webhook-id").to_owned(),
            endpoint,
            event,
            attempt: u32::try_from(attempt).expect("few"),
            run: number("x-run"),
            answered: hook.at + delay,
            status,
        };
        self.change(|notes| {
            if status < 300 {
                notes.taken.insert(arrival.delivery.clone());
            }
            notes.arrivals.push(arrival);
        });
        // Some failures come with a connection that is closed, and does not say so.
        if status == 503 && event.is_multiple_of(2) {
            Reply::Last(status)
        } else {
            Reply::After(delay, status)
        }
    }

    /// Changes the notes, and wakes those who wait for it.
    pub fn change<T>(&self, change: impl FnOnce(&mut Notes) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

impl Notes {
    fn acknowledge(&mut self, event: usize) {
        if !std::mem::replace(&mut self.events[event].acknowledged, true) {
            self.acknowledged += 1;
            self.owed += route(event).1.len();
        }
    }
}

/// How long an endpoint takes for an attempt, and what it answers.
fn behaviour(endpoint: &str, event: usize, attempt: usize) -> (Duration, u16) {
    let spread = u64::try_from(event % 7).expect("small");
    let (delay, status) = match endpoint {
        "slow" => (8 + 2 * spread, 200),
        "flaky" if attempt == 1 && event.is_multiple_of(5) => (0, 503),
        "flaky" if attempt == 2 && event.is_multiple_of(20) => (1, 500),
        _ => (spread / 2, 200),
    };
    (Duration::from_millis(delay), status)
}
