//! Parked keys against a sorted map, over restarts.

use std::collections::{BTreeMap, BTreeSet};

use super::{backend::Memory, *};
use crate::{
    model::{delivery::Scheduled, time::Minute},
    outbox::{End, Loaded, Notice, Opened},
};

/// By lane, minute and key, as they come back.
type Model = BTreeMap<(EndpointNumber, Minute, DeliveryKey), Timestamp>;

struct World {
    random: fastrand::Rng,
    memory: Memory,
    opened: Opened,
    model: Model,
    next: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let memory = Memory::new(&options());
        let opened = memory.open(&options());
        Self { random: fastrand::Rng::with_seed(seed), memory, opened, model: Model::new(), next: 0 }
    }

    fn notice(&mut self) -> Notice {
        self.opened.notices.blocking_recv().expect("the writer runs")
    }

    fn park(&mut self) {
        let mut keys = Vec::new();
        for _ in 0..self.random.usize(1..300) {
            self.next += 1;
            let due = at(1_800_000_000_000 + self.random.u64(..600_000));
            let endpoint = EndpointNumber::new([0, 1, 7, u32::MAX][self.random.usize(..4)]);
            let key = DeliveryKey { seq: Seq::new(self.next), slot: self.random.u16(..) };
            keys.push(Scheduled { key, endpoint, due });
            self.model.insert((endpoint, minute(due), key), due);
        }
        let mut lanes: BTreeMap<EndpointNumber, Minute> = BTreeMap::new();
        for one in &keys {
            let first = lanes.entry(one.endpoint).or_insert(minute(one.due));
            *first = minute(one.due).min(*first);
        }
        let count = keys.len();
        self.opened.outbox.park(keys);
        match self.notice() {
            Notice::Parked(parked, first) => {
                assert_eq!((parked, first), (count, lanes.into_iter().collect()));
            }
            other => panic!("not now: {other:?}"),
        }
    }

    fn load(&mut self) {
        let lane = EndpointNumber::new([0, 1, 2, 7, u32::MAX][self.random.usize(..5)]);
        let until = minute(at(1_800_000_000_000 + self.random.u64(..700_000)));
        let limit = self.random.usize(1..200);
        let own = self.model.iter().filter(|((of, ..), _)| *of == lane);
        let own: Vec<_> = own.map(|((_, minute, key), due)| (*minute, *key, *due)).collect();
        let count = own.iter().take_while(|(minute, ..)| *minute <= until).count().min(limit);
        let found =
            own[..count].iter().map(|(_, key, due)| Scheduled { key: *key, endpoint: lane, due: *due });
        let expected =
            Loaded { lane, found: found.collect(), next: own.get(count).map(|(minute, ..)| *minute) };
        for (minute, key, _) in &own[..count] {
            self.model.remove(&(lane, *minute, *key));
        }
        self.opened.outbox.load(lane, until, limit);
        match self.notice() {
            Notice::Loaded(loaded) => assert_eq!(loaded, expected),
            other => panic!("not now: {other:?}"),
        }
    }

    fn reopen(&mut self) {
        let placeholder = Memory::new(&options()).open(&options());
        let old = std::mem::replace(&mut self.opened, placeholder);
        old.writer.close(End::Clean).expect("it closes");
        let new = self.memory.open(&options());
        std::mem::replace(&mut self.opened, new).writer.close(End::Clean).expect("the placeholder closes");
    }

    fn check(&mut self) {
        let reader = self.opened.outbox.read().expect("a reader");
        let mut lanes = BTreeMap::new();
        for (lane, minute, _) in self.model.keys() {
            lanes.entry(*lane).or_insert(*minute);
        }
        assert_eq!(reader.parked_lanes().expect("they are read"), lanes.into_iter().collect::<Vec<_>>());
        // Some that are parked, and others that are not: of another lane, another time, or unknown.
        let known = |((endpoint, _, key), due): (&(EndpointNumber, Minute, DeliveryKey), &Timestamp)| {
            Scheduled { key: *key, endpoint: *endpoint, due: *due }
        };
        let known: Vec<_> = self.model.iter().step_by(7).map(known).collect();
        let mut others = Vec::new();
        for one in &known {
            others.push(Scheduled { endpoint: EndpointNumber::new(2), ..*one });
            others.push(Scheduled { due: one.due.plus(Duration::from_secs(60)), ..*one });
            others.push(Scheduled { key: DeliveryKey { seq: Seq::new(self.next + 1), slot: 0 }, ..*one });
        }
        let mut all: Vec<_> = known.into_iter().chain(others.iter().copied()).collect();
        reader.retain_unparked(&mut all).expect("they are read");
        assert_eq!(all, others);
    }
}

/// The minute that a key is parked under: that of the first tick of 10 ms at or after its due time.
fn minute(due: Timestamp) -> Minute {
    Timestamp::from_millis(due.as_millis().div_ceil(10) * 10).minute()
}

#[test]
fn parked_keys_come_back_in_the_order_of_their_minutes() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut world = World::new(seed);
        world.check();
        for _ in 0..40 {
            match world.random.u8(..10) {
                0..4 => world.park(),
                4..9 => world.load(),
                _ => world.reopen(),
            }
            world.check();
        }
    }
}

/// A timer knows its due time rounded up to 10 ms: it finds the row that the exact time has made, and the other way round.
#[test]
fn a_due_time_as_timers_have_it_leads_to_the_same_row() {
    let opened = Memory::new(&options()).open(&options());
    let key = |seq| DeliveryKey { seq: Seq::new(seq), slot: 0 };
    let one = |seq, due| Scheduled { key: key(seq), endpoint: EndpointNumber::new(1), due: at(due) };
    let exact: Vec<_> = (0..40).map(|n| one(n, 60_000 * 30_000_000 - 20 + n)).collect();
    let rounded: Vec<_> =
        exact.iter().map(|e| Scheduled { due: at(e.due.as_millis().div_ceil(10) * 10), ..*e }).collect();
    for (parked, asked) in [(&exact, &rounded), (&rounded, &exact)] {
        opened.outbox.park(parked.clone());
        wait(opened.outbox.accept(batch(None, "1")).answer()).expect("the store takes it");
        let mut asked = asked.clone();
        opened.outbox.read().expect("a reader").retain_unparked(&mut asked).expect("they are read");
        assert_eq!(asked, []);
    }
    let lanes = opened.outbox.read().expect("a reader").parked_lanes().expect("they are read");
    let minutes: BTreeSet<_> = exact.iter().map(|one| minute(one.due)).collect();
    assert_eq!((lanes.len(), minutes.len()), (1, 2), "they are of two minutes");
    opened.writer.close(End::Clean).expect("it closes");
}
