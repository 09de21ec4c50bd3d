//! Random operations against the rules written down plainly: sorted maps, and searches over all there is.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Lanes of a run; few, so that they meet.
const LANES: u32 = 7;

/// What the scheduler promises, without how.
struct Rules {
    limit: usize,
    now: Timestamp,
    /// Keys not due yet, by the time rounded up to a tick.
    timers: BTreeMap<Timestamp, Vec<Start>>,
    lanes: BTreeMap<EndpointNumber, RuleLane>,
    /// Counts operations, so that keys which joined a lane together can be told from others.
    operation: u64,
}

struct RuleLane {
    /// Due keys, with when they joined: keys that joined in one operation have the order of their ticks.
    queue: Vec<((u64, Timestamp), DeliveryKey)>,
    open: BTreeSet<DeliveryKey>,
    window: usize,
    concurrency: usize,
    last: Option<Verdict>,
    held: bool,
    /// How often others started since this lane could start.
    overtaken: BTreeMap<EndpointNumber, usize>,
}

impl RuleLane {
    fn new(concurrency: usize) -> Self {
        Self {
            queue: Vec::new(),
            open: BTreeSet::new(),
            window: concurrency.min(2),
            concurrency,
            last: None,
            held: false,
            overtaken: BTreeMap::new(),
        }
    }

    fn in_doubt(&self) -> bool {
        self.last == Some(Verdict::Failure)
    }

    fn may_start(&self) -> bool {
        !self.held && !self.queue.is_empty() && self.open.len() < self.window
    }
}

impl Rules {
    fn lane(&mut self, number: EndpointNumber) -> &mut RuleLane {
        self.lanes.entry(number).or_insert_with(|| RuleLane::new(1))
    }

    fn schedule(&mut self, start: Start, due: Timestamp) {
        let joined = (self.operation, Timestamp::EPOCH);
        self.lane(start.lane);
        if due <= self.now {
            self.lane(start.lane).queue.push((joined, start.key));
        } else {
            let tick = Timestamp::from_millis(due.as_millis().div_ceil(10) * 10);
            self.timers.entry(tick).or_default().push(start);
        }
    }

    fn timeout(&mut self) {
        while let Some(first) = self.timers.first_entry().filter(|first| *first.key() <= self.now) {
            let (tick, starts) = first.remove_entry();
            for start in starts {
                let joined = (self.operation, tick);
                self.lane(start.lane).queue.push((joined, start.key));
            }
        }
    }

    fn doubtful_places(&self) -> usize {
        self.lanes.values().filter(|lane| lane.in_doubt()).map(|lane| lane.open.len()).sum()
    }

    fn in_flight(&self) -> usize {
        self.lanes.values().map(|lane| lane.open.len()).sum()
    }

    /// Whether the lane has something to start, and the pool places enough for one more of its requests.
    fn has_place(&self, lane: &RuleLane) -> bool {
        let free = self.limit - self.in_flight();
        lane.may_start() && free > 0 && (lane.open.is_empty() || lane.open.len() < free)
    }

    /// Whether the lane could start something now, all limits considered.
    fn has_chance(&self, lane: &RuleLane) -> bool {
        let doubtful_limit = (self.limit / 2).max(1);
        self.has_place(lane) && (!lane.in_doubt() || self.doubtful_places() < doubtful_limit)
    }

    /// Holds a start against the rules.
    fn start(&mut self, start: Start, place: &str) {
        let lane = self.lanes.get(&start.lane).expect("a lane that was named");
        assert!(self.has_chance(lane), "{place}: {start:?} breaks a limit");
        assert!(!lane.open.contains(&start.key), "{place}: {start:?} is in flight");
        let first = lane.queue.iter().map(|(joined, _)| *joined).min().expect("it may start");
        let index = lane.queue.iter().position(|(joined, key)| *joined == first && *key == start.key);
        let index = index.unwrap_or_else(|| panic!("{place}: {start:?} is not the one due longest"));
        let passed_over = self.lanes.iter().filter(|(_, lane)| self.has_place(lane) && !lane.in_doubt());
        let passed_over: BTreeSet<EndpointNumber> = passed_over.map(|(number, _)| *number).collect();
        let lane = self.lane(start.lane);
        lane.queue.remove(index);
        lane.open.insert(start.key);
        lane.overtaken.clear();
        for (number, lane) in self.lanes.iter_mut().filter(|(number, _)| **number != start.lane) {
            if passed_over.contains(number) {
                let times = lane.overtaken.entry(start.lane).or_insert(0);
                *times += 1;
                assert!(
                    *times <= 1,
                    "{place}: lane {} overtook lane {} twice",
                    start.lane.get(),
                    number.get()
                );
            }
        }
    }

    /// Who cannot start for a reason of its own is not overtaken; a full pool is no such reason where nothing of the
    /// lane is open.
    fn forget_overtaking(&mut self) {
        let waits = |lane: &RuleLane| {
            !lane.in_doubt() && lane.may_start() && (lane.open.is_empty() || self.has_place(lane))
        };
        let others = self.lanes.iter().filter(|(_, lane)| !waits(lane)).map(|(number, _)| *number);
        for number in others.collect::<Vec<_>>() {
            self.lane(number).overtaken.clear();
        }
    }

    fn finish(&mut self, start: Start, verdict: Verdict) {
        let lane = self.lane(start.lane);
        lane.open.remove(&start.key);
        match verdict {
            Verdict::Failure => lane.window = 1,
            Verdict::Neutral => return,
            Verdict::Success => lane.window = (lane.window + 1).min(lane.concurrency),
        }
        lane.last = Some(verdict);
    }

    fn set_lane(&mut self, number: EndpointNumber, concurrency: u16) {
        let concurrency = usize::from(concurrency.max(1));
        let lane = self.lanes.entry(number).or_insert_with(|| RuleLane::new(concurrency));
        lane.concurrency = concurrency;
        lane.window = if lane.last.is_none() { 2 } else { lane.window }.min(concurrency);
    }
}

/// The scheduler and its model side by side.
struct Run {
    random: fastrand::Rng,
    scheduler: Scheduler,
    rules: Rules,
    open: Vec<Start>,
    keys: u64,
    history: Vec<Start>,
    place: String,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let limit = [1, 2, 3, 5, 8, 30][random.usize(..6)];
        let rules = Rules { limit, now: NOW, timers: BTreeMap::new(), lanes: BTreeMap::new(), operation: 0 };
        Self {
            random,
            scheduler: Scheduler::new(limit, usize::MAX, NOW),
            rules,
            open: Vec::new(),
            keys: 0,
            history: Vec::new(),
            place: String::new(),
        }
    }

    fn operate(&mut self) {
        self.rules.operation += 1;
        match self.random.u8(..20) {
            0..=6 => self.schedule_new(),
            7..=10 => self.finish_one(),
            11..=13 => {
                let millis = [15, 3_000, 90_000_000][self.random.usize(..3)];
                let by = Duration::from_millis(self.random.u64(..millis));
                self.pass(self.rules.now.plus(by));
            }
            14 => self.pass(self.scheduler.poll_timeout().unwrap_or(self.rules.now)),
            15 => {
                let (lane, concurrency) = (self.any_lane(), self.random.u16(..7));
                self.scheduler.set_lane(lane, concurrency);
                self.rules.set_lane(lane, concurrency);
            }
            16 => {
                let (lane, held) = (self.any_lane(), self.random.bool());
                self.hold(lane, held);
            }
            17 => {
                self.start_one();
            }
            _ => self.start_all(),
        }
        self.check();
    }

    fn any_lane(&mut self) -> EndpointNumber {
        lane(self.random.u32(..LANES))
    }

    fn schedule_new(&mut self) {
        let lane = self.any_lane();
        for _ in 0..self.random.usize(1..4) {
            self.keys += 1;
            self.schedule(Start { key: key(self.keys), lane });
        }
    }

    fn schedule(&mut self, start: Start) {
        let now = self.rules.now;
        let due = match self.random.u8(..4) {
            0 => Timestamp::from_millis(now.as_millis() - self.random.u64(..10_000)),
            1 => now,
            2 => now.plus(Duration::from_millis(self.random.u64(..5_000))),
            _ => now.plus(Duration::from_secs(self.random.u64(..100_000))),
        };
        self.scheduler.handle_scheduled(start.key, start.lane, due, now);
        self.rules.schedule(start, due);
    }

    /// Ends an attempt. Lanes have their own luck: the first ones mostly fail.
    fn finish_one(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let index = self.random.usize(..self.open.len());
        let start = self.open.swap_remove(index);
        let verdict = match self.random.u32(..LANES + 3) {
            0 => Verdict::Neutral,
            luck if luck <= start.lane.get() + 1 => Verdict::Success,
            _ => Verdict::Failure,
        };
        self.finish(start, verdict);
        if verdict == Verdict::Failure {
            self.schedule(start);
        }
    }

    fn finish(&mut self, start: Start, verdict: Verdict) {
        self.scheduler.handle_finished(start.key, verdict);
        self.rules.finish(start, verdict);
    }

    fn hold(&mut self, lane: EndpointNumber, held: bool) {
        self.scheduler.hold(lane, held);
        self.rules.lane(lane).held = held;
    }

    fn pass(&mut self, to: Timestamp) {
        self.rules.now = self.rules.now.max(to);
        self.scheduler.handle_timeout(to);
        self.rules.timeout();
    }

    fn start_one(&mut self) -> bool {
        let Some(start) = self.scheduler.poll_start() else {
            let missed = self.rules.lanes.iter().find(|(_, lane)| self.rules.has_chance(lane));
            assert!(missed.is_none(), "{}: lane {:?} was forgotten", self.place, missed.map(|(n, _)| n));
            return false;
        };
        self.rules.start(start, &self.place);
        self.rules.forget_overtaking();
        self.open.push(start);
        self.history.push(start);
        true
    }

    fn start_all(&mut self) {
        while self.start_one() {}
    }

    /// Both say the same of themselves.
    fn check(&mut self) {
        let place = &self.place;
        let timers: usize = self.rules.timers.values().map(Vec::len).sum();
        assert_eq!(self.scheduler.scheduled(), timers, "{place}");
        assert_eq!(self.scheduler.poll_timeout(), self.rules.timers.keys().next().copied(), "{place}");
        assert_eq!(self.scheduler.in_flight(), self.open.len(), "{place}");
        assert!(self.open.iter().all(|start| self.scheduler.is_in_flight(start.key)), "{place}");
        for number in 0..LANES {
            let expected = self.rules.lanes.get(&lane(number)).map(|lane| LaneStatus {
                queued: lane.queue.len(),
                in_flight: lane.open.len(),
                window: u16::try_from(lane.window).expect("small"),
                held: lane.held,
            });
            assert_eq!(self.scheduler.lane(lane(number)), expected, "{place}: lane {number}");
        }
        self.rules.forget_overtaking();
    }

    /// Lets everything go and succeed: nothing may be left behind.
    fn drain(&mut self) {
        (0..LANES).for_each(|number| self.hold(lane(number), false));
        loop {
            self.start_all();
            self.rules.operation += 1;
            while let Some(start) = self.open.pop() {
                self.finish(start, Verdict::Success);
                self.check();
            }
            match self.scheduler.poll_timeout() {
                Some(at) => self.pass(at),
                None if self.scheduler.queued() == 0 => break,
                None => {}
            }
        }
        let left = self.rules.lanes.values().map(|lane| lane.queue.len() + lane.open.len());
        assert_eq!(left.sum::<usize>(), 0, "{}: all were attempted", self.place);
        let started: BTreeSet<DeliveryKey> = self.history.iter().map(|start| start.key).collect();
        assert_eq!(started.len() as u64, self.keys, "{}: each key started", self.place);
    }
}

fn run(seed: u64) -> Vec<Start> {
    let mut run = Run::new(seed);
    for step in 0..150 {
        run.place = format!("seed {seed}, step {step}");
        run.operate();
    }
    run.place = format!("seed {seed}, draining");
    run.drain();
    run.history
}

#[test]
fn it_keeps_the_rules() {
    for seed in 0..800 {
        run(seed);
    }
}

#[test]
fn equal_inputs_give_equal_histories() {
    for seed in 10_000..10_040 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
