//! Random operations against the rules written down plainly: sorted maps, and searches over all there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

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
    /// Disabled, and clock.
    holds: [bool; 2],
    circuit: Option<circuit::Rules>,
    /// Its own failures in a row, while its circuit is closed.
    failures: u32,
    broken: Option<Open>,
    probe: Option<DeliveryKey>,
    rate: Option<Rate>,
    /// When the next start would have been due as the rate was set, in microseconds, and all starts since.
    owed: u64,
    starts: Vec<u64>,
    /// How often others started since this lane could start.
    overtaken: BTreeMap<EndpointNumber, usize>,
    proxied: bool,
}

impl RuleLane {
    fn new(concurrency: usize) -> Self {
        Self {
            queue: Vec::new(),
            open: BTreeSet::new(),
            window: concurrency.min(2),
            concurrency,
            last: None,
            holds: [false; 2],
            circuit: None,
            failures: 0,
            broken: None,
            probe: None,
            rate: None,
            owed: 0,
            starts: Vec::new(),
            overtaken: BTreeMap::new(),
            proxied: false,
        }
    }

    fn in_doubt(&self) -> bool {
        matches!(self.last, Some(Verdict::Failure | Verdict::Rejected))
    }

    fn held(&self) -> bool {
        self.holds.contains(&true)
    }

    /// The turn of the next start by the rate, in microseconds: each of those before it pushes it on by an interval.
    fn turn(&self) -> Option<u64> {
        let rate = self.rate?;
        let interval = interval(rate);
        let own = |(nth, at): (usize, &u64)| at + (self.starts.len() - nth) as u64 * interval;
        let owed = self.owed + self.starts.len() as u64 * interval;
        self.starts.iter().enumerate().map(own).chain([owed]).max()
    }

    /// From when on circuit and rate let it start.
    fn next(&self) -> Timestamp {
        // Ten milliseconds early, rounded up.
        let turn =
            self.turn().map(|turn| Timestamp::from_millis(turn.saturating_sub(10_000).div_ceil(1_000)));
        turn.max(self.broken.map(|open| open.next)).unwrap_or(Timestamp::EPOCH)
    }

    /// Whether only circuit and rate may keep it from starting.
    fn is_ready(&self) -> bool {
        !self.held() && !self.queue.is_empty() && self.open.len() < self.window
    }

    fn may_start(&self, now: Timestamp) -> bool {
        self.is_ready() && self.next() <= now
    }

    /// No second (or minute) has more starts than the rate says.
    fn keeps_its_rate(&self) -> bool {
        let Some(Rate { count, per }) = self.rate else { return true };
        let span = per.as_secs() * 1_000_000;
        let count = count.get() as usize;
        self.starts.windows(count + 1).all(|starts| starts[count] - starts[0] >= span)
    }

    /// What a circuit does with an attempt that has ended.
    fn learn(&mut self, key: DeliveryKey, verdict: Verdict, chance: f64, at: Timestamp) {
        let Some(rules) = &self.circuit else { return };
        let after = |probes: u32| {
            let interval = rules.probe[rules.probe.len().min(probes as usize + 1) - 1];
            at.plus(interval + interval.mul_f64(rules.jitter * chance))
        };
        let was_probe = self.probe.take_if(|probe| *probe == key).is_some();
        let failed = matches!(verdict, Verdict::Failure | Verdict::Rejected);
        match &mut self.broken {
            _ if verdict == Verdict::Success => (self.broken, self.failures) = (None, 0),
            Some(open) if was_probe && verdict != Verdict::Nothing => {
                open.probes += u32::from(failed);
                open.next = after(open.probes);
            }
            None if verdict == Verdict::Failure => {
                self.failures += 1;
                if self.failures >= rules.failures.get() {
                    self.broken = Some(Open { since: at, probes: 0, next: after(0) });
                }
            }
            None if verdict == Verdict::Rejected => self.failures = 0,
            Some(_) | None => {}
        }
    }

    fn set_rate(&mut self, rate: Option<Rate>, now: Timestamp) {
        let turn = self.turn().unwrap_or(0);
        self.owed = rate.map_or(0, |rate| turn.min(now.as_millis() * 1_000 + interval(rate)));
        self.starts.clear();
        self.rate = rate;
    }

    fn status(&self, now: Timestamp) -> LaneStatus {
        let pause = match self.holds {
            [true, _] => Some(Pause::Held(Hold::Disabled)),
            [_, true] => Some(Pause::Held(Hold::Clock)),
            _ if self.broken.is_some() => Some(Pause::Circuit),
            _ => (self.is_ready() && self.next() > now).then_some(Pause::Rate),
        };
        LaneStatus {
            queued: self.queue.len(),
            in_flight: self.open.len(),
            window: u16::try_from(self.window).expect("small"),
            pause,
            circuit: self.broken,
            behind: false,
        }
    }
}

/// A hundredth of a second is given away in each time of the rate.
fn interval(rate: Rate) -> u64 {
    (rate.per.as_secs() * 1_000_000 + 10_000).div_ceil(u64::from(rate.count.get()))
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

    /// When the first timer fires, or circuit or rate let a lane go that only they keep.
    fn wake_up(&self) -> Option<Timestamp> {
        let paused = self.lanes.values().filter(|lane| lane.is_ready() && lane.next() > self.now);
        self.timers.keys().copied().chain(paused.map(RuleLane::next)).min()
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
        lane.may_start(self.now) && free > 0 && (lane.open.is_empty() || lane.open.len() < free)
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
        assert_eq!(start.probe, lane.broken.is_some(), "{place}: {start:?}");
        assert!(!start.probe || lane.open.is_empty(), "{place}: {start:?} is not alone");
        assert!(!lane.open.contains(&start.key), "{place}: {start:?} is in flight");
        let first = lane.queue.iter().map(|(joined, _)| *joined).min().expect("it may start");
        let index = lane.queue.iter().position(|(joined, key)| *joined == first && *key == start.key);
        let index = index.unwrap_or_else(|| panic!("{place}: {start:?} is not the one due longest"));
        let passed_over = self.lanes.iter().filter(|(_, lane)| self.has_place(lane) && !lane.in_doubt());
        let passed_over: BTreeSet<EndpointNumber> = passed_over.map(|(number, _)| *number).collect();
        let at = self.now.as_millis() * 1_000;
        let lane = self.lane(start.lane);
        lane.queue.remove(index);
        lane.open.insert(start.key);
        lane.probe = start.probe.then_some(start.key);
        lane.starts.push(at);
        assert!(lane.keeps_its_rate(), "{place}: {start:?} is one too many");
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
            !lane.in_doubt() && lane.may_start(self.now) && (lane.open.is_empty() || self.has_place(lane))
        };
        let others = self.lanes.iter().filter(|(_, lane)| !waits(lane)).map(|(number, _)| *number);
        for number in others.collect::<Vec<_>>() {
            self.lane(number).overtaken.clear();
        }
    }

    fn finish(&mut self, start: Start, verdict: Verdict, chance: f64, at: Timestamp) {
        let lane = self.lane(start.lane);
        lane.open.remove(&start.key);
        lane.learn(start.key, verdict, chance, at);
        match verdict {
            Verdict::Failure | Verdict::Rejected => lane.window = 1,
            Verdict::Neutral | Verdict::Nothing => return,
            Verdict::Success => lane.window = (lane.window + 1).min(lane.concurrency),
        }
        lane.last = Some(verdict);
    }

    fn set_lane(&mut self, number: EndpointNumber, rules: &LaneRules) {
        let (concurrency, now) = (usize::from(rules.concurrency.max(1)), self.now);
        let lane = self.lanes.entry(number).or_insert_with(|| RuleLane::new(concurrency));
        lane.concurrency = concurrency;
        lane.window = if lane.last.is_none() { 2 } else { lane.window }.min(concurrency);
        lane.circuit.clone_from(&rules.circuit);
        if rules.circuit.is_none() {
            (lane.failures, lane.broken, lane.probe) = (0, None, None);
        }
        lane.set_rate(rules.rate, now);
        if lane.proxied != rules.proxied {
            // Who goes another way stands last.
            lane.proxied = rules.proxied;
            lane.overtaken.clear();
        }
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
                self.set_any();
            }
            16 => {
                let (lane, clock, held) = (self.any_lane(), self.random.bool(), self.random.bool());
                self.hold(lane, clock, held);
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

    fn set_any(&mut self) {
        let (lane, rules) = (self.any_lane(), self.any_rules());
        self.scheduler.set_lane(lane, &rules);
        self.rules.set_lane(lane, &rules);
    }

    fn any_rules(&mut self) -> LaneRules {
        let random = &mut self.random;
        let probe = [3, 20, 400][..random.usize(1..=3)].iter().map(|seconds| Duration::from_secs(*seconds));
        let failures = NonZeroU32::new([0, 1, 1, 2, 3][random.usize(..5)]);
        let circuit =
            failures.map(|failures| circuit::Rules { failures, probe: probe.collect(), jitter: 0.5 });
        let per = Duration::from_secs([1, 60][random.usize(..2)]);
        let count = NonZeroU32::new([0, 0, 1, 3, 150, 3_000][random.usize(..6)]);
        let rate = count.map(|count| Rate { count, per });
        LaneRules { concurrency: random.u16(..7), circuit, rate, proxied: random.bool() }
    }

    fn schedule_new(&mut self) {
        let lane = self.any_lane();
        for _ in 0..self.random.usize(1..4) {
            self.keys += 1;
            self.schedule(Start { key: key(self.keys), lane, probe: false });
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
        let verdict = match self.random.u32(..LANES + 5) {
            0 => Verdict::Neutral,
            1 => Verdict::Nothing,
            2 => Verdict::Rejected,
            luck if luck <= start.lane.get() + 2 => Verdict::Success,
            _ => Verdict::Failure,
        };
        // Later than the time that it was last told.
        let at = self.rules.now.plus(Duration::from_millis(self.random.u64(..50)));
        self.finish(start, verdict, at);
        if matches!(verdict, Verdict::Failure | Verdict::Rejected) {
            self.schedule(start);
        }
    }

    fn finish(&mut self, start: Start, verdict: Verdict, at: Timestamp) {
        let chance = [0.0, 0.25, 0.5][self.random.usize(..3)];
        self.scheduler.handle_finished(start.key, verdict, chance, at);
        self.rules.finish(start, verdict, chance, at);
    }

    fn hold(&mut self, lane: EndpointNumber, clock: bool, held: bool) {
        let reason = if clock { Hold::Clock } else { Hold::Disabled };
        self.scheduler.hold(lane, reason, held);
        self.rules.lane(lane).holds[usize::from(clock)] = held;
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
        assert_eq!(self.scheduler.poll_timeout(), self.rules.wake_up(), "{place}");
        assert_eq!(self.scheduler.in_flight(), self.open.len(), "{place}");
        assert!(self.open.iter().all(|start| self.scheduler.is_in_flight(start.key)), "{place}");
        for number in 0..LANES {
            let expected = self.rules.lanes.get(&lane(number)).map(|lane| lane.status(self.rules.now));
            assert_eq!(self.scheduler.lane(lane(number)), expected, "{place}: lane {number}");
        }
        self.rules.forget_overtaking();
    }

    /// Lets everything go and succeed: nothing may be left behind.
    fn drain(&mut self) {
        for number in 0..LANES {
            self.hold(lane(number), true, false);
            self.hold(lane(number), false, false);
        }
        loop {
            self.start_all();
            self.rules.operation += 1;
            while let Some(start) = self.open.pop() {
                self.finish(start, Verdict::Success, self.rules.now);
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
    // Some lanes are known from the beginning.
    for _ in 0..3 {
        run.set_any();
    }
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
    let (mut started, mut probes) = (0, 0);
    for seed in 0..800 {
        let history = run(seed);
        started += history.len();
        probes += history.iter().filter(|start| start.probe).count();
    }
    eprintln!("{started} starts, {probes} of them probes");
    assert!(probes > 1_500, "{probes} of {started} starts are probes");
}

#[test]
fn equal_inputs_give_equal_histories() {
    for seed in 10_000..10_040 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
