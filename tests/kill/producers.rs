//! The producers: each hands in over one door until it is over, through all deaths of the daemon.
//!
//! What was not answered before a connection broke is handed in again if it carries an id, and given up if not: who
//! sends no id cannot tell. Now and then something is handed in again that was answered, as a producer does that died
//! before it could note the answer.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::journal::{Door, Journal, SpoolFile};
use crate::support::{http, stream::Stream};

/// Files that may lie in the spool directory at once.
const MOST_FILES: usize = 60;

/// A producer over the socket.
pub struct Producer<'a> {
    pub journal: &'a Journal,
    pub socket: &'a Path,
    pub random: fastrand::Rng,
}

impl Producer<'_> {
    /// Over streams of JSON lines.
    pub fn over_streams(self) {
        let (socket, mut open) = (self.socket, None);
        self.produce(Door::Stream, 6, |text, count| {
            converse(socket, &mut open, &text, count, |stream| stream.try_answer().ok().flatten())
        });
    }

    /// Over streams of MessagePack.
    pub fn over_messages(self) {
        let (socket, mut open) = (self.socket, None);
        self.produce(Door::Messages, 6, |text, count| {
            converse(socket, &mut open, messages(&text), count, |stream| stream.try_message().ok())
        });
    }

    /// Over HTTP, one by one.
    pub fn over_http(self) {
        let socket = self.socket;
        self.produce(Door::Http, 1, |text, _| {
            let answer = post(socket, "application/json", &text)?;
            Some(vec![answer])
        });
    }

    /// Over HTTP, several at a time.
    pub fn over_batches(self) {
        let socket = self.socket;
        self.produce(Door::Batch, 6, |text, count| {
            let answer = post(socket, "application/x-ndjson", &text)?;
            let items = answer["items"].as_array().expect("a list").clone();
            assert_eq!(items.len(), count, "{answer}");
            Some(items)
        });
    }

    /// Hands in batches of up to `most` events by `exchange`, which gives the answers that came before its connection
    /// broke.
    fn produce(
        mut self,
        door: Door,
        most: usize,
        mut exchange: impl FnMut(String, usize) -> Option<Vec<Value>>,
    ) {
        let mut again = Vec::new();
        while self.journal.go_on() {
            let batch = self.batch(door, most, &mut again);
            let text = batch.iter().map(|event| self.journal.line(*event)).collect();
            let answers = exchange(text, batch.len()).unwrap_or_default();
            for (event, answer) in batch.iter().zip(&answers) {
                self.journal.answered(*event, answer);
            }
            let (answered, open) = batch.split_at(answers.len());
            let forgotten = self.random.choice(answered).copied().filter(|_| self.random.u8(0..4) == 0);
            let notes = self.journal.lock();
            again.extend(open.iter().copied().chain(forgotten).filter(|event| notes.events[*event].named));
            drop(notes);
            self.journal.rest(Duration::from_millis(self.random.u64(8..30)));
        }
    }

    /// What is to be handed in again, and new events.
    fn batch(&mut self, door: Door, most: usize, again: &mut Vec<usize>) -> Vec<usize> {
        let count = self.random.usize(1..=most);
        let mut batch: Vec<_> = again.drain(..count.min(again.len())).collect();
        self.journal.change(|notes| batch.iter().for_each(|event| notes.events[*event].again += 1));
        batch.resize_with(count, || self.journal.begin(door, self.random.bool()));
        batch
    }
}

/// Hands in over the stream that is `open`, or another; the answers that came.
fn converse(
    socket: &Path,
    open: &mut Option<Stream>,
    events: impl AsRef<[u8]>,
    count: usize,
    mut answer: impl FnMut(&mut Stream) -> Option<Value>,
) -> Option<Vec<Value>> {
    let mut stream = open.take().or_else(|| Stream::try_connect(socket).ok())?;
    let mut answers = Vec::new();
    if stream.try_send(events).is_ok() {
        answers.extend((0..count).map_while(|_| answer(&mut stream)));
    }
    // While the daemon starts the one answer is a refusal, and the connection is closed.
    answers.retain(|answer| answer["error"]["code"] != "starting");
    if answers.len() == count {
        *open = Some(stream);
    }
    Some(answers)
}

/// The events of these lines as MessagePack, one behind the other.
fn messages(lines: &str) -> Vec<u8> {
    let message = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("an event is JSON");
        rmp_serde::to_vec_named(&event).expect("it is MessagePack")
    };
    lines.lines().flat_map(message).collect()
}

/// Hands in over HTTP; nothing if the connection broke, or the daemon is just starting.
fn post(socket: &Path, content_type: &str, text: &str) -> Option<Value> {
    let headers = [("content-type", content_type)];
    let answer = http::request(socket, "POST", "/v1/events", &headers, text.as_bytes()).ok()?;
    if answer.status == 503 && answer.json()["code"] == "starting" {
        return None;
    }
    Some(answer.expect(202))
}

/// A producer of files.
pub struct Dropper<'a> {
    pub journal: &'a Journal,
    pub directory: PathBuf,
    pub random: fastrand::Rng,
}

impl Dropper<'_> {
    /// Hands in files of all kinds.
    pub fn drop_files(mut self) {
        let mut files = 0;
        while self.journal.go_on() {
            if self.journal.look_for_files() < MOST_FILES {
                let (door, count) = match self.random.u8(0..3) {
                    0 => (Door::Json, 1),
                    1 => (Door::Ndjson, self.random.usize(2..7)),
                    _ => (Door::Msgpack, self.random.usize(2..7)),
                };
                let named = self.random.bool();
                let events: Vec<_> = (0..count).map(|_| self.journal.begin(door, named)).collect();
                // Once more, as by a program that died before it knew that the file was there.
                for _ in 0..if named && self.random.u8(0..3) == 0 { 2 } else { 1 } {
                    self.hand_in(files, door, &events);
                    files += 1;
                }
            }
            self.journal.rest(Duration::from_millis(self.random.u64(4..16)));
        }
    }

    fn hand_in(&self, number: usize, door: Door, events: &[usize]) {
        let text: String = events.iter().map(|event| self.journal.line(*event)).collect();
        let temporary = self.directory.join(format!("{number}.tmp"));
        let (extension, bytes) = match door {
            Door::Json => ("json", text.into_bytes()),
            Door::Msgpack => ("msgpack", messages(&text)),
            _ => ("ndjson", text.into_bytes()),
        };
        let path = self.directory.join(format!("{number}.{extension}"));
        fs::write(&temporary, bytes).expect("it can be written");
        // In one step for those who look at both, the directory and the journal.
        self.journal.change(|notes| {
            fs::rename(&temporary, &path).expect("it can be renamed");
            let earlier = notes.files.iter().any(|file| file.events == events);
            for event in events {
                notes.events[*event].again += usize::from(earlier);
            }
            notes.files.push(SpoolFile { path, events: events.to_vec(), removed: false });
        });
    }
}
