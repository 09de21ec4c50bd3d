//! Parked keys against a sorted map, over restarts.

use std::collections::BTreeSet;

use super::{
    backend::Memory,
    model::parked::{Parked, minute, scheduled},
    *,
};
use crate::{
    model::delivery::{Load, Scheduled},
    outbox::{End, Notice, Opened},
};

struct World {
    random: fastrand::Rng,
    memory: Memory,
    opened: Opened,
    model: Parked,
    next: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let memory = Memory::new(&options());
        let opened = memory.open(&options());
        Self { random: fastrand::Rng::with_seed(seed), memory, opened, model: Parked::default(), next: 0 }
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
        }
        let lanes = self.model.park(&keys);
        let count = keys.len();
        self.opened.outbox.park(keys);
        match self.notice() {
            Notice::Parked(parked, first) => assert_eq!((parked, first), (count, lanes)),
            other => panic!("not now: {other:?}"),
        }
    }

    fn load(&mut self) {
        let lane = EndpointNumber::new([0, 1, 2, 7, u32::MAX][self.random.usize(..5)]);
        let until = minute(at(1_800_000_000_000 + self.random.u64(..700_000)));
        let limit = self.random.usize(1..200);
        let expected = self.model.load(Load { lane, until, limit });
        self.opened.outbox.load(Load { lane, until, limit });
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
        assert_eq!(reader.parked_lanes().expect("they are read"), self.model.lanes());
        // Some that are parked, and others that are not: of another lane, another time, or unknown.
        let known = self.model.rows.iter().step_by(7);
        let known: Vec<_> = known.map(|(place, due)| scheduled(*place, *due)).collect();
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
