//! The record: what was on disk at each kill, and what became of it.
//!
//! After a SIGKILL the file holds what the kernel had been given, written back or not, so a copy of it is what the next
//! daemon reads. The copy is opened with the library. That is an exception from the rule that the tests of the binary
//! do not call the crate: which outcomes were committed at that moment nobody else can tell, for the daemon is dead, and
//! the next one goes on at once. The copy is thrown away; the daemon's file is never opened here.
//!
//! What was once seen on disk must be there at every later look: events, attempts, the ends of deliveries.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    time::Duration,
};

use posthaste::{
    history::deliveries::unfold,
    model::{
        attempt::Why,
        delivery::{Delivery, DeliveryKey, State},
        endpoint::EndpointNumber,
        event::Seq,
        id::{DeliveryId, IdKey},
    },
    outbox::{End, Motion, Options, Outbox, Placed, Reader},
};
use serde_json::Value;

use super::journal::{Notes, route};

/// Rows that are read at once.
const PAGE: usize = 1_000;

/// An attempt whose outcome was committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// At the end of which run it was first seen.
    pub run: usize,
    pub why: Why,
    pub status: Option<u16>,
}

/// A delivery from kill to kill.
#[derive(Debug)]
pub struct Course {
    pub event: usize,
    pub endpoint: String,
    /// At the end of which run it was first seen.
    pub since: usize,
    /// Its attempts, by number.
    pub attempts: Vec<Committed>,
    /// At the end of which run it was first seen to have succeeded.
    pub ended: Option<usize>,
}

/// All that was seen in the copies.
#[derive(Default)]
pub struct Record {
    id_key: Option<IdKey>,
    events: HashMap<Seq, usize>,
    /// By the producers' numbers: where each event is, and its id.
    places: BTreeMap<usize, (Seq, String)>,
    pub courses: HashMap<DeliveryKey, Course>,
}

impl Course {
    /// How many of its attempts were committed at the end of `run`.
    pub fn committed(&self, run: usize) -> usize {
        self.attempts.iter().filter(|attempt| attempt.run <= run).count()
    }

    /// The attempt with this number, from 1.
    pub fn attempt(&self, number: u32) -> Option<&Committed> {
        self.attempts.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// Whether it had ended at the end of `run`.
    pub fn had_ended(&self, run: usize) -> bool {
        self.ended.is_some_and(|ended| ended <= run)
    }
}

impl Record {
    /// Whether events were seen.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The delivery with this id; `None` if the store did not give it.
    pub fn key_of(&self, id: &str) -> Option<DeliveryKey> {
        let id: DeliveryId = id.parse().ok()?;
        Some(self.id_key.as_ref()?.open_delivery(id)?.1)
    }

    /// Looks at a copy of the store in `directory` as `run` has left it.
    pub fn look(&mut self, directory: &Path, run: usize) {
        let (store, copy) = (directory.join("outbox.redb"), directory.join("copy.redb"));
        if !store.exists() {
            assert!(self.id_key.is_none(), "the store is gone after run {run}");
            return;
        }
        fs::copy(&store, &copy).expect("the store can be copied");
        let opened = Outbox::open(&copy, &options(), [0; 16], &Motion::default(), |_| ());
        let opened =
            opened.unwrap_or_else(|error| panic!("the store cannot be opened after run {run}: {error}"));
        self.id_key = Some(opened.outbox.id_key().clone());
        self.read(&opened.outbox.read().expect("it is open"), run);
        drop(opened.outbox);
        opened.writer.close(End::CutOff).expect("the copy can be closed");
        fs::remove_file(&copy).expect("it was made just above");
    }

    fn read(&mut self, reader: &Reader, run: usize) {
        let endpoints = reader.endpoints().expect("endpoints can be read").into_iter();
        let names: HashMap<_, _> = endpoints
            .map(|(number, endpoint)| (number, endpoint.name().unwrap_or_default().to_owned()))
            .collect();
        let (mut before, mut rows) = (None, 0);
        loop {
            let page = reader.rows_before(before, PAGE).expect("rows can be read");
            let Some(oldest) = page.last() else { break };
            before = Some(oldest.first);
            rows += page.len();
            for placed in page {
                self.read_row(reader, placed, &names, run);
            }
        }
        assert_eq!(rows, self.events.len(), "events that were there before are gone after run {run}");
    }

    fn read_row(
        &mut self,
        reader: &Reader,
        placed: Placed,
        names: &HashMap<EndpointNumber, String>,
        run: usize,
    ) {
        let seq = placed.first.seq;
        let event = match self.events.get(&seq) {
            Some(event) => *event,
            None => self.meet(reader, &placed),
        };
        let mut wanted = route(event).1.to_vec();
        for found in unfold(placed) {
            let name = &names[&found.delivery.endpoint];
            let place = wanted.iter().position(|wanted| wanted == name);
            wanted
                .remove(place.unwrap_or_else(|| panic!("event {event} has a delivery too many, to {name}")));
            let course = self.courses.entry(found.key).or_insert_with(|| Course {
                event,
                endpoint: name.clone(),
                since: run,
                attempts: Vec::new(),
                ended: None,
            });
            course.follow(reader, &found.delivery, run);
        }
        assert!(
            wanted.is_empty(),
            "event {event} was accepted by half after run {run}: nothing for {wanted:?}"
        );
    }

    /// Takes in an event that was not seen before.
    fn meet(&mut self, reader: &Reader, placed: &Placed) -> usize {
        let seq = placed.first.seq;
        let found = reader.event(seq).expect("events can be read").expect("a row has its event");
        let data: Value = serde_json::from_slice(&found.new.data).expect("JSON was handed in");
        let event = data["n"].as_u64().and_then(|n| usize::try_from(n).ok()).expect("a number was handed in");
        let id_key = self.id_key.as_ref().expect("set before anything is read");
        let id = id_key.event_id(placed.row.head.accepted_at, seq).to_string();
        let other = self.places.insert(event, (seq, id));
        assert!(other.is_none(), "event {event} was taken twice: {other:?} and {seq:?}");
        self.events.insert(seq, event);
        event
    }

    /// Holds what is on disk against what the producers know: what was acknowledged is there, and no file is lost,
    /// taken by half, or refused. The count of files that are there with their events on disk.
    pub fn check(&self, notes: &Notes, directory: &Path) -> usize {
        for (number, event) in notes.events.iter().enumerate().filter(|(_, event)| event.acknowledged) {
            let (_, id) = self.places.get(&number).unwrap_or_else(|| {
                panic!("event {number}, acknowledged over {:?} as {:?}, is not on disk", event.door, event.id)
            });
            assert!(event.id.as_ref().is_none_or(|told| told == id), "event {number} is {id} on disk");
        }
        let mut taken = 0;
        for file in &notes.files {
            let there = file.events.iter().filter(|event| self.places.contains_key(event)).count();
            let name = file.path.display();
            assert!(there == 0 || there == file.events.len(), "{name} was taken by half: {there} events");
            assert!(there > 0 || file.path.exists(), "{name} is gone, and its events are not on disk");
            taken += usize::from(there > 0 && file.path.exists());
        }
        let failed = fs::read_dir(directory.join("spool/failed"));
        let failed: Vec<_> = failed.into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
        assert!(failed.is_empty(), "files were refused: {failed:?}");
        taken
    }
}

impl Course {
    /// Takes in how the delivery stands at the end of `run`.
    fn follow(&mut self, reader: &Reader, delivery: &Delivery, run: usize) {
        let made = usize::try_from(delivery.attempt).expect("few");
        let of = format!("event {} to {}", self.event, self.endpoint);
        assert!(made >= self.attempts.len(), "{of}: attempts that were on disk are gone after run {run}");
        if made > self.attempts.len() {
            let attempts = reader.attempts(delivery.last_attempt, usize::MAX).expect("attempts can be read");
            let numbers = attempts.iter().map(|attempt| attempt.number);
            assert!(numbers.eq(1..=delivery.attempt), "{of}: one of {made} attempts is not on disk");
            let new = attempts.into_iter().skip(self.attempts.len());
            self.attempts.extend(new.map(|attempt| Committed {
                run,
                why: attempt.why,
                status: attempt.report.outcome.status(),
            }));
        }
        let last = self.attempts.last().and_then(|attempt| attempt.status);
        let expected = if last == Some(200) { State::Succeeded } else { State::Pending };
        assert_eq!(delivery.state, expected, "{of} after run {run}, its last answer {last:?}");
        assert_eq!(delivery.last_status, last, "{of} after run {run}");
        if expected == State::Succeeded {
            self.ended.get_or_insert(run);
        }
    }
}

/// The copy is read once; nothing is settled, and ids are not looked up.
fn options() -> Options {
    Options {
        cache: 32 << 20,
        quick_repair: false,
        settle_delay: Duration::ZERO,
        dedup_window: Duration::from_secs(24 * 60 * 60),
        dedup_entries: 500_000,
        pending_per_endpoint: 1_000_000,
        max_size: 1 << 40,
        reserve: 0,
        in_flight: 1,
    }
}
