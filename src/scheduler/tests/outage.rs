//! What a lane does with an endpoint that is down for days, and what it lets loose when that comes back, or when the
//! daemon itself does; in simulated time.

use std::{collections::BTreeMap, num::NonZeroU32};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const CONCURRENCY: u16 = 16;
const FAILURES: u32 = 10;
const PROBE: [Duration; 5] = [
    SECOND.saturating_mul(10),
    SECOND.saturating_mul(30),
    MINUTE,
    MINUTE.saturating_mul(5),
    MINUTE.saturating_mul(15),
];
/// How long a request takes.
const TAKES: Duration = Duration::from_millis(200);
/// When a delivery that failed is due again.
const RETRY: Duration = HOUR;

fn rules() -> LaneRules {
    let failures = NonZeroU32::new(FAILURES).expect("not 0");
    let circuit = Some(circuit::Rules { failures, probe: PROBE.into(), jitter: 0.0 });
    LaneRules { circuit, ..LaneRules::plain(CONCURRENCY) }
}

/// One endpoint, up from some time on.
struct Outage {
    now: Timestamp,
    scheduler: Scheduler,
    up: Timestamp,
    /// Ends of requests, in their order.
    open: BTreeMap<(Timestamp, DeliveryKey), Start>,
    /// Starts and ends of attempts, in their order.
    history: Vec<(Timestamp, Timestamp, Start)>,
    succeeded: usize,
}

impl Outage {
    fn new(rules: &LaneRules, up: Timestamp) -> Self {
        let mut scheduler = Scheduler::new(100, usize::MAX, NOW);
        scheduler.set_lane(lane(1), rules);
        let (open, history) = (BTreeMap::new(), Vec::new());
        Self { now: NOW, scheduler, up, open, history, succeeded: 0 }
    }

    /// Lets things happen until `until`, or at its end until nothing will.
    fn run(&mut self, until: Timestamp) {
        self.run_all(until);
        if until < Timestamp::MAX {
            self.now = until;
            self.scheduler.handle_timeout(until);
            self.start();
        }
    }

    fn run_all(&mut self, until: Timestamp) {
        loop {
            let end = self.open.first_key_value().map(|((at, _), _)| *at);
            let next = end.into_iter().chain(self.scheduler.poll_timeout()).min();
            let Some(at) = next.filter(|at| *at <= until) else { return };
            self.now = at;
            while let Some(first) = self.open.first_entry().filter(|first| first.key().0 <= at) {
                let start = first.remove();
                self.finish(start);
            }
            self.scheduler.handle_timeout(at);
            self.start();
        }
    }

    fn start(&mut self) {
        while let Some(start) = self.scheduler.poll_start() {
            let end = self.now.plus(TAKES);
            self.open.insert((end, start.key), start);
            self.history.push((self.now, end, start));
            let status = self.scheduler.lane(lane(1)).expect("it was made");
            assert!(
                status.circuit.is_none() || (start.probe && status.in_flight == 1),
                "{start:?} {status:?}"
            );
        }
    }

    fn finish(&mut self, start: Start) {
        let success = self.now >= self.up;
        let verdict = if success { Verdict::Success } else { Verdict::Failure };
        self.scheduler.handle_finished(start.key, verdict, 0.0, self.now);
        if success {
            self.succeeded += 1;
        } else {
            self.scheduler.handle_scheduled(start.key, start.lane, self.now.plus(RETRY), self.now);
        }
    }

    fn schedule(&mut self, seqs: std::ops::Range<u64>) {
        for seq in seqs {
            self.scheduler.handle_scheduled(key(seq), lane(1), self.now, self.now);
        }
        self.start();
    }

    /// No more are open than a window allows that begins with `first` and grows by one with each success.
    fn grows_from(&self, from: usize, first: usize) {
        let attempts = &self.history[from..];
        let started = |before: Timestamp| attempts.partition_point(|(start, ..)| *start < before);
        let mut most = 0;
        for (place, (at, ..)) in attempts.iter().enumerate() {
            let ended = attempts.partition_point(|(_, end, _)| end <= at);
            let window = (first + ended).min(usize::from(CONCURRENCY));
            assert!(place + 1 - ended <= window, "{place}: {} are open of {window}", place + 1 - ended);
            most = most.max(started(at.plus(SECOND)) - started(*at));
        }
        let rounds = usize::try_from(SECOND.as_millis() / TAKES.as_millis()).expect("few");
        assert!(most <= rounds * usize::from(CONCURRENCY), "{most} in a second");
        let began = started(attempts[0].0.plus(SECOND));
        assert!(
            began <= first << rounds,
            "{began} in the first second: more than twice as many in each round"
        );
    }
}

#[test]
fn days_of_outage_cost_one_probe_at_a_time_and_end_with_a_slow_start() {
    let up = NOW.plus(3 * 24 * HOUR);
    let mut world = Outage::new(&rules(), up);
    // Something comes in every five minutes; at the end there is a herd.
    for minute in (0..3 * 24 * 60).step_by(5) {
        world.schedule(minute * 10..minute * 10 + 20);
        world.run(NOW.plus(MINUTE * u32::try_from(minute + 5).expect("few")));
    }
    let status = world.scheduler.lane(lane(1)).expect("it was made");
    assert_eq!(status.pause, Some(Pause::Circuit));
    assert!(status.queued > 10_000, "{status:?}");
    let (before, probes) = world.history.split_at(usize::try_from(FAILURES).expect("small"));
    let last = before.last().expect("ten").1;
    let mut expected = last;
    for (nth, (at, end, start)) in probes.iter().enumerate() {
        expected = expected.plus(PROBE[nth.min(PROBE.len() - 1)]);
        assert!(start.probe && *at == expected, "probe {nth} at {at}, not {expected}");
        expected = *end;
    }
    assert!((286..=292).contains(&probes.len()), "{} in three days, four an hour", probes.len());
    // Nothing else was tried, and each oldest one in its turn: all but those of the hour before have been due longest.
    let tried: std::collections::BTreeSet<_> = world.history.iter().map(|(.., start)| start.key).collect();
    assert!(tried.len() > 200, "{}", tried.len());

    let outage = world.history.len();
    world.run(Timestamp::MAX);
    assert_eq!(world.succeeded, 17_280, "all arrived");
    let attempts = &world.history[outage..];
    assert_eq!(attempts.len(), 17_280, "at the first attempt each, once it is up");
    assert!(attempts[0].2.probe && attempts[1..].iter().all(|(.., start)| !start.probe), "one closed it");
    assert!(attempts[0].0.since(up) <= *PROBE.last().expect("five"), "soon");
    world.grows_from(outage, 1);
}

#[test]
fn what_is_overdue_at_a_start_is_not_let_loose_at_once() {
    for rules in [rules(), LaneRules::plain(CONCURRENCY)] {
        let mut world = Outage::new(&rules, Timestamp::EPOCH);
        world.schedule(0..5_000);
        world.run(Timestamp::MAX);
        assert_eq!((world.succeeded, world.history.len()), (5_000, 5_000));
        world.grows_from(0, 2);
    }
}

#[test]
fn an_open_circuit_costs_no_timer_without_anything_to_probe_with() {
    let mut world = Outage::new(&rules(), Timestamp::MAX);
    world.schedule(0..u64::from(FAILURES));
    world.run(NOW.plus(30 * MINUTE));
    let status = world.scheduler.lane(lane(1)).expect("it was made");
    let open = status.circuit.expect("it is open");
    assert!(status.queued == 0 && open.next < world.scheduler.poll_timeout().expect("retries"), "{status:?}");
    // What comes in then is the probe that was due.
    world.schedule(100..102);
    let (.., start) = world.history.last().expect("it starts at once");
    assert_eq!((start.key, start.probe, world.scheduler.in_flight()), (key(100), true, 1));
}

#[test]
fn the_oldest_due_delivery_is_the_probe_and_holds_and_windows_go_before() {
    let mut world = Outage::new(&rules(), Timestamp::MAX);
    // Of those that were under way when it opened nothing is heard any more.
    world.schedule(0..100);
    world.run(NOW.plus(5 * SECOND));
    let opened = world.scheduler.lane(lane(1)).expect("made").circuit.expect("open");
    assert_eq!(world.history.len(), usize::try_from(FAILURES).expect("small"));
    assert_eq!(world.scheduler.poll_timeout(), Some(opened.next));
    world.scheduler.hold(lane(1), Hold::Disabled, true);
    assert_ne!(world.scheduler.poll_timeout(), Some(opened.next), "what is held is not woken");
    let status = world.scheduler.lane(lane(1)).expect("made");
    assert_eq!((status.pause, status.circuit), (Some(Pause::Held(Hold::Disabled)), Some(opened)));
    world.run(NOW.plus(MINUTE));
    world.scheduler.hold(lane(1), Hold::Disabled, false);
    assert_eq!(world.scheduler.poll_start(), Some(Start { key: key(10), lane: lane(1), probe: true }));
    assert_eq!(world.scheduler.poll_start(), None);
    // A probe of which nothing came is made up for at once; one that the box could not make, after the interval.
    world.scheduler.handle_finished(key(10), Verdict::Nothing, 0.0, world.now);
    let next = world.scheduler.poll_start().expect("at once");
    assert_eq!((next.key, next.probe), (key(11), true));
    world.scheduler.handle_finished(key(11), Verdict::Neutral, 0.0, world.now);
    assert_eq!(world.scheduler.poll_start(), None);
    assert_eq!(world.scheduler.lane(lane(1)).and_then(|lane| lane.circuit).map(|open| open.probes), Some(0));
    assert_eq!(world.scheduler.poll_timeout(), Some(world.now.plus(PROBE[0])));
    // Other rules without a circuit let it go.
    world.scheduler.set_lane(lane(1), &LaneRules::plain(4));
    assert_eq!(world.scheduler.poll_start().map(|start| start.probe), Some(false));
}

#[test]
fn no_second_has_more_starts_than_the_rate_says() {
    for (count, concurrency) in [(1, 4), (7, 2), (40, 16), (200, 500)] {
        let rate = Some(Rate { count: NonZeroU32::new(count).expect("not 0"), per: SECOND });
        let circuit = rules().circuit;
        let mut world =
            Outage::new(&LaneRules { circuit, rate, ..LaneRules::plain(concurrency) }, Timestamp::EPOCH);
        let deliveries = u64::from(count) * 20;
        world.schedule(0..deliveries);
        let seen = world.scheduler.lane(lane(1)).expect("made").pause;
        assert_eq!(seen, (count < 200).then_some(Pause::Rate), "at {count} in a second");
        world.run(Timestamp::MAX);
        let starts: Vec<_> = world.history.iter().map(|(at, ..)| *at).collect();
        assert_eq!(starts.len() as u64, deliveries);
        let count = usize::try_from(count).expect("small");
        for (first, one_more) in starts.iter().zip(&starts[count..]) {
            assert!(one_more.since(*first) >= SECOND, "{count} in a second: one more from {first} on");
        }
        let took = starts.last().expect("some").since(NOW);
        let slowest = if count < 20 { 22 } else { 26 };
        assert!(took <= slowest * SECOND, "{count} in a second: {took:?} for twenty");
    }
}

/// Forty endpoints that answer nothing, and a good one.
#[test]
fn forty_open_circuits_leave_the_pool_to_the_good_ones() {
    const GOOD: u32 = 41;
    let mut scheduler = Scheduler::new(32, usize::MAX, NOW);
    for number in 1..=GOOD {
        scheduler.set_lane(lane(number), &rules());
        for seq in 0..200 {
            scheduler.handle_scheduled(key(u64::from(number) * 1_000 + seq), lane(number), NOW, NOW);
        }
    }
    let mut open: BTreeMap<(Timestamp, DeliveryKey), Start> = BTreeMap::new();
    // Never tried, they count as fine, and take the pool in two goes.
    let begun = NOW.plus(31 * SECOND);
    let (mut good, mut dead, mut came) = (0, 0, 0);
    let mut now = NOW;
    while now < NOW.plus(4 * HOUR) {
        while let Some(start) = scheduler.poll_start() {
            let takes = if start.lane == lane(GOOD) { TAKES } else { 15 * SECOND };
            open.insert((now.plus(takes), start.key), start);
        }
        let doubtful = open.values().filter(|start| start.lane != lane(GOOD)).count();
        assert!(now < begun || doubtful <= 16, "{now}: {doubtful} of the dead are open");
        let status = scheduler.lane(lane(GOOD)).expect("made");
        assert!(status.queued == 0 || status.in_flight > 0 || now < begun, "{now}: it waits");
        let next = open.first_key_value().map(|((at, _), _)| *at);
        now = next.into_iter().chain(scheduler.poll_timeout()).min().expect("the good one goes on");
        while let Some(first) = open.first_entry().filter(|first| first.key().0 <= now) {
            let Start { key: ended, lane: of, .. } = first.remove();
            if of == lane(GOOD) {
                scheduler.handle_finished(ended, Verdict::Success, 0.0, now);
                (good, came) = (good + 1, came + 1);
                scheduler.handle_scheduled(key(1_000_000 + came), of, now.plus(5 * SECOND), now);
            } else {
                scheduler.handle_finished(ended, Verdict::Failure, 0.0, now);
                dead += 1;
                scheduler.handle_scheduled(ended, of, now.plus(RETRY), now);
            }
        }
        scheduler.handle_timeout(now);
    }
    let probes = 40 * (u64::from(FAILURES) + 4 + 4 * 4);
    assert!(dead <= probes, "{dead} attempts at the dead ones");
    assert!(good > 200 * 4 * 3_600 / 6, "{good}");
}
