//! What becomes of a backlog while the proxy, or the box itself, is down; in simulated time.

use std::collections::BTreeMap;

use super::*;
use crate::policy::outage::{Outage, Shared, Sign};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
const PLACES: usize = 512;
/// Lanes through the proxy; those after them go without it.
const PROXIED: u32 = 40;
const DIRECT: u32 = 2;
const BACKLOG: u64 = 100_000;

/// Endpoints that answer, some of them behind something that does not.
struct World {
    now: Timestamp,
    scheduler: Scheduler,
    down: Shared,
    up: Timestamp,
    /// Ends of attempts, in their order.
    open: BTreeMap<(Timestamp, DeliveryKey), (Start, bool)>,
    /// Starts of those that failed, and of those that did not.
    failed: Vec<(Timestamp, Start)>,
    succeeded: Vec<(Timestamp, Start)>,
}

impl World {
    fn new(down: Shared, up: Timestamp) -> Self {
        let mut scheduler = Scheduler::new(PLACES, usize::MAX, NOW);
        for number in 1..=PROXIED + DIRECT {
            let proxied = number <= PROXIED;
            scheduler.set_lane(lane(number), &LaneRules { proxied, ..LaneRules::plain(16) });
        }
        for seq in 0..BACKLOG {
            let number = u32::try_from(seq % u64::from(PROXIED)).expect("small") + 1;
            scheduler.handle_scheduled(key(seq), lane(number), NOW, NOW);
        }
        let (open, failed, succeeded) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { now: NOW, scheduler, down, up, open, failed, succeeded }
    }

    fn is_direct(start: &Start) -> bool {
        start.lane.get() > PROXIED
    }

    fn start(&mut self) {
        while let Some(start) = self.scheduler.poll_start() {
            let fails = self.now < self.up && (self.down == Shared::Machine || !Self::is_direct(&start));
            let takes = Duration::from_millis(if fails { 3 } else { 200 });
            self.open.insert((self.now.plus(takes), start.key), (start, fails));
            if fails { &mut self.failed } else { &mut self.succeeded }.push((self.now, start));
        }
    }

    fn run(&mut self, until: Timestamp) {
        self.start();
        loop {
            let end = self.open.first_key_value().map(|((at, _), _)| *at);
            let next = end.into_iter().chain(self.scheduler.poll_timeout()).min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            self.now = at;
            while let Some(first) = self.open.first_entry().filter(|first| first.key().0 <= at) {
                let (start, fails) = first.remove();
                self.finish(start, fails);
            }
            self.scheduler.handle_timeout(at);
            self.start();
        }
        if until < Timestamp::MAX {
            self.now = until;
            self.scheduler.handle_timeout(until);
        }
    }

    fn finish(&mut self, start: Start, failed: bool) {
        let down = self.down;
        self.scheduler.handle_sign(start.key, |shared| match failed {
            true if shared == down => Sign::Fails,
            true => Sign::Nothing,
            false => Sign::Works,
        });
        let verdict = if failed { Verdict::Neutral } else { Verdict::Success };
        self.scheduler.handle_finished(start.key, verdict, 0.0, self.now);
        if failed {
            // As `decide` has it.
            let due = self.now.plus(Duration::from_secs(1 + start.key.seq.get() % 10));
            self.scheduler.handle_scheduled(start.key, start.lane, due, self.now);
        }
    }
}

/// A day of it costs a probe a minute, and then all arrive, slowly at first.
fn a_day_down(down: Shared) -> World {
    let up = NOW.plus(DAY);
    let mut world = World::new(down, up);
    let mut seq = BACKLOG;
    // Now and then something is to go without the proxy.
    for minute in (0..24 * 60).step_by(10) {
        for number in 0..DIRECT {
            world.scheduler.handle_scheduled(key(seq), lane(PROXIED + 1 + number), world.now, world.now);
            seq += 1;
        }
        world.run(NOW.plus(SECOND * 60 * (minute + 10)));
    }
    let lanes = if down == Shared::Proxy { PROXIED } else { PROXIED + DIRECT };
    let (first, probes) = world.failed.split_at(
        2 * usize::try_from(PROXIED).expect("small") + usize::try_from(lanes - PROXIED).expect("small"),
    );
    assert!(first.iter().all(|(at, start)| *at == NOW && !start.probe), "what was open when it fell");
    assert!(probes.iter().all(|(_, start)| start.probe));
    assert!((1_430..=1_450).contains(&probes.len()), "{} probes", probes.len());
    for (nth, pair) in probes.windows(2).enumerate() {
        let interval = pair[1].0.since(pair[0].0);
        assert!(nth < 6 || interval >= SECOND * 60, "probe {nth} follows after {interval:?}");
    }
    let asked: std::collections::BTreeSet<_> = probes.iter().map(|(_, start)| start.lane.get()).collect();
    assert!(asked.len() >= usize::try_from(PROXIED).expect("small"), "each lane has its turn: {asked:?}");
    let open = world.scheduler.down(down).expect("it is down");
    assert_eq!(usize::try_from(open.probes).expect("few"), probes.len());
    assert_eq!(world.scheduler.lane(lane(1)).expect("made").pause, Some(Pause::Circuit));
    let (failed, succeeded) = (world.failed.len(), world.succeeded.len());

    world.run(Timestamp::MAX);
    assert_eq!(world.failed.len(), failed, "none failed any more");
    assert_eq!(world.succeeded.len() as u64, seq, "all arrived, at one attempt each");
    let after = &world.succeeded[succeeded..];
    assert!(after[0].1.probe && after[1..].iter().all(|(_, start)| !start.probe), "one let the others go");
    let began = after[0].0;
    assert!(began.since(up) <= SECOND * 60, "soon");
    let within = |time: Duration| after.iter().filter(|(at, _)| at.since(began) <= time).count();
    // The probe, two, and one more with each that came through.
    assert!(within(Duration::from_millis(390)) == 3, "{}", within(Duration::from_millis(390)));
    assert!(within(SECOND) < 64 && within(10 * SECOND) > 1_000, "{} {}", within(SECOND), within(10 * SECOND));
    assert_eq!((world.scheduler.down(down), world.scheduler.poll_timeout()), (None, None));
    world
}

#[test]
fn a_day_without_the_proxy_costs_a_probe_a_minute_and_those_that_need_none_nothing() {
    let world = a_day_down(Shared::Proxy);
    let direct: Vec<_> = world.succeeded.iter().filter(|(_, start)| World::is_direct(start)).collect();
    assert_eq!(direct.len(), 2 * 24 * 6);
    for (at, start) in &direct {
        let expected =
            NOW.plus(SECOND * 600 * u32::try_from((start.key.seq.get() - BACKLOG) / 2).expect("few"));
        assert_eq!((*at, start.probe), (expected, false), "at once");
    }
}

#[test]
fn a_day_without_descriptors_costs_a_probe_a_minute() {
    let world = a_day_down(Shared::Machine);
    let up = NOW.plus(DAY);
    assert!(world.succeeded.iter().all(|(at, _)| *at >= up), "nothing goes without them");
}

#[test]
fn a_lane_that_goes_without_the_proxy_from_now_on_goes_at_once() {
    for in_doubt in [false, true] {
        let mut scheduler = Scheduler::new(3, usize::MAX, NOW);
        let proxied = LaneRules { proxied: true, ..LaneRules::plain(4) };
        for number in 1..=2 {
            scheduler.set_lane(lane(number), &proxied);
        }
        if in_doubt {
            scheduler.handle_scheduled(key(1), lane(1), NOW, NOW);
            let started = starts(&mut scheduler);
            finish(&mut scheduler, &started, Verdict::Failure);
        }
        scheduler.handle_scheduled(key(2), lane(2), NOW, NOW);
        assert_eq!(starts(&mut scheduler).len(), 1);
        scheduler.handle_sign(key(2), |shared| shared_fails(shared, Shared::Proxy));
        scheduler.handle_finished(key(2), Verdict::Neutral, 0.0, NOW);
        (3..6).for_each(|seq| scheduler.handle_scheduled(key(seq), lane(1), NOW, NOW));
        assert_eq!(scheduler.poll_start(), None);
        scheduler.set_lane(lane(1), &LaneRules::plain(4));
        let started = starts(&mut scheduler);
        assert_eq!(started.len(), if in_doubt { 1 } else { 2 });
        // And back, one of its requests open: no further one starts.
        finish(&mut scheduler, &started[1..], Verdict::Success);
        scheduler.set_lane(lane(1), &proxied);
        finish(&mut scheduler, &started[..1], Verdict::Success);
        assert_eq!(scheduler.poll_start(), None, "what went without it says nothing of the proxy");
        scheduler.handle_timeout(NOW.plus(SECOND));
        assert_eq!(starts(&mut scheduler).iter().map(|start| start.probe).collect::<Vec<_>>(), [true]);
    }
}

fn shared_fails(shared: Shared, down: Shared) -> Sign {
    if shared == down { Sign::Fails } else { Sign::Nothing }
}

/// Random attempts, some of them failing for what they share: nothing starts against the brakes, and none is forgotten.
#[test]
fn the_brakes_hold_and_let_go() {
    const LANES: u32 = 6;
    let mut probes = 0;
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut scheduler = Scheduler::new([1, 3, 30][random.usize(..3)], usize::MAX, NOW);
        let (mut now, mut keys, mut open) =
            (NOW, 0, Vec::<(Start, bool, [Option<crate::policy::outage::Stamp>; 2])>::new());
        let mut proxied = [false; LANES as usize];
        // The same brakes, told the same.
        let mut outages = [Outage::default(); 2];
        let limit = scheduler.limit;
        for step in 0..400 {
            let place = format!("seed {seed}, step {step}");
            let draining = step >= 200;
            match random.u8(..8) {
                0..=1 if !draining => {
                    for _ in 0..random.u8(..4) {
                        keys += 1;
                        scheduler.handle_scheduled(key(keys), lane(random.u32(..LANES)), now, now);
                    }
                }
                2 if !draining => {
                    let number = random.u32(..LANES);
                    let way = random.bool();
                    proxied[number as usize] = way;
                    scheduler.set_lane(lane(number), &LaneRules { proxied: way, ..LaneRules::plain(8) });
                }
                3 => {
                    now = scheduler.poll_timeout().unwrap_or(now).max(now);
                    scheduler.handle_timeout(now);
                    for outage in &mut outages {
                        outage.advance(limit, now);
                    }
                }
                4..=5 if !open.is_empty() => {
                    let (start, _, stamps) = open.swap_remove(random.usize(..open.len()));
                    let signs: [Sign; 2] = std::array::from_fn(|_| match random.u8(..4) {
                        0 if !draining => Sign::Fails,
                        1 => Sign::Nothing,
                        _ => Sign::Works,
                    });
                    scheduler.handle_sign(start.key, |shared| signs[shared as usize]);
                    scheduler.handle_finished(start.key, Verdict::Neutral, 0.0, now);
                    for (place, stamp) in stamps.into_iter().enumerate() {
                        if let Some(stamp) = stamp {
                            outages[place].finish(stamp, signs[place], now);
                        }
                    }
                    if signs.contains(&Sign::Fails) {
                        scheduler.handle_scheduled(start.key, start.lane, now, now);
                    }
                }
                _ => {
                    while let Some(start) = scheduler.poll_start() {
                        let by_proxy = proxied[start.lane.get() as usize];
                        let mut stamps = [None; 2];
                        let mut probe = false;
                        for shared in
                            Shared::ALL.into_iter().filter(|one| by_proxy || *one == Shared::Machine)
                        {
                            let sharing =
                                open.iter().filter(|(_, by, _)| *by || shared == Shared::Machine).count();
                            let outage = &mut outages[shared as usize];
                            assert!(outage.lets_start(sharing, now), "{place}: {start:?} against {shared:?}");
                            probe |= outage.down().is_some();
                            stamps[shared as usize] = Some(outage.start());
                        }
                        assert_eq!(start.probe, probe, "{place}");
                        probes += usize::from(probe);
                        open.push((start, by_proxy, stamps));
                    }
                    let waits = scheduler.queued() > 0 && open.is_empty();
                    assert!(!waits || scheduler.poll_timeout().is_some(), "{place}: nothing will wake it");
                }
            }
            assert_eq!(
                Shared::ALL.map(|shared| scheduler.down(shared)),
                outages.map(|outage| outage.down()),
                "{place}"
            );
        }
        while scheduler.queued() > 0 || !open.is_empty() {
            for (start, ..) in std::mem::take(&mut open) {
                scheduler.handle_sign(start.key, |_| Sign::Works);
                scheduler.handle_finished(start.key, Verdict::Success, 0.0, now);
            }
            now = scheduler.poll_timeout().unwrap_or(now).max(now);
            scheduler.handle_timeout(now);
            open.extend(starts(&mut scheduler).into_iter().map(|start| (start, false, [None; 2])));
            assert!(
                scheduler.queued() == 0 || !open.is_empty() || scheduler.poll_timeout().is_some(),
                "seed {seed}"
            );
        }
    }
    assert!(probes > 1_000, "{probes}");
}
