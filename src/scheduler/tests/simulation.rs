//! Days of deliveries to receivers of every kind, in simulated time; with all keys in memory, and with room for few, so
//! that most lie on a disk that takes its time.

use std::{collections::BTreeMap, num::NonZeroU32};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAYS: Duration = Duration::from_hours(3 * 24);
const IN_FLIGHT: usize = 12;
const CONCURRENCY: u16 = 4;
/// The delay after each failed attempt; then the delivery has failed.
const RETRY: [Duration; 5] =
    [MINUTE, MINUTE.saturating_mul(5), MINUTE.saturating_mul(30), HOUR.saturating_mul(2), HOUR];

/// So many failures in a row open a circuit, where the run has them.
const FAILURES: u32 = 5;
/// Before each probe.
const PROBE: [Duration; 4] =
    [SECOND.saturating_mul(10), MINUTE, MINUTE.saturating_mul(5), MINUTE.saturating_mul(15)];
/// Of this receiver, a fast one, two attempts may start in a second, where the run has circuits.
const PACED: usize = 5;

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    /// Takes connections and never answers: each attempt ends at the deadline.
    BlackHole,
    /// Refuses at once.
    Down,
    Fast,
    /// Up for two hours, down for one.
    Flapping,
    Slow,
}

const RECEIVERS: [Receiver; 24] = {
    use Receiver::{BlackHole, Down, Fast, Flapping, Slow};
    [
        Fast, BlackHole, BlackHole, BlackHole, BlackHole, Fast, Down, BlackHole, BlackHole, BlackHole,
        BlackHole, Slow, Flapping, BlackHole, BlackHole, BlackHole, BlackHole, Down, Flapping, BlackHole,
        BlackHole, BlackHole, BlackHole, Fast,
    ]
};

impl Receiver {
    fn answer(self, at: Timestamp, random: &mut fastrand::Rng) -> (Duration, Verdict) {
        let millis = |random: &mut fastrand::Rng, most| Duration::from_millis(1 + random.u64(..most));
        match self {
            Self::BlackHole => (15 * SECOND, Verdict::Failure),
            Self::Down => (millis(random, 3), Verdict::Failure),
            Self::Fast => (millis(random, 30), Verdict::Success),
            Self::Flapping if at.as_secs() % (3 * 3_600) < 3_600 => (millis(random, 9_000), Verdict::Failure),
            Self::Flapping => (millis(random, 200), Verdict::Success),
            Self::Slow => (4 * SECOND + millis(random, 8_000), Verdict::Success),
        }
    }
}

#[derive(Debug)]
enum Happening {
    Answer(Start, Verdict),
    /// An event comes in for all receivers.
    Event,
    /// The first lane is disabled or enabled.
    Hold(bool),
    /// Keys are on the disk.
    Parked(Vec<Scheduled>),
    /// Keys are to be taken from the disk.
    Load(Load),
}

/// How much happens, and how much room there is for it.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Keys that memory may hold.
    keys: usize,
    /// The longest pause between two events.
    pause: Duration,
    /// Lanes have circuits, and one a rate.
    brakes: bool,
}

/// Room for all.
const ROOMY: Scale = Scale { keys: usize::MAX, pause: MINUTE.saturating_mul(30), brakes: false };
/// More events, and room for few of them.
const NARROW: Scale = Scale { keys: 1_000, pause: MINUTE.saturating_mul(15), brakes: false };

impl Scale {
    const fn with_brakes(self) -> Self {
        Self { brakes: true, ..self }
    }

    fn rules(self, index: usize) -> LaneRules {
        if !self.brakes {
            return LaneRules::plain(CONCURRENCY);
        }
        let failures = NonZeroU32::new(FAILURES).expect("not 0");
        let rate = Rate { count: NonZeroU32::new(2).expect("not 0"), per: SECOND };
        LaneRules {
            concurrency: CONCURRENCY,
            circuit: Some(circuit::Rules { failures, probe: PROBE.into(), jitter: 0.1 }),
            rate: (index == PACED).then_some(rate),
            proxied: false,
        }
    }
}

/// What the world knows of a receiver's circuit.
#[derive(Clone, Copy, Debug, Default)]
struct Outage {
    /// Failures in a row while it is closed.
    failures: u32,
    /// How many probes have failed, and when the attempt before the next one ended.
    open: Option<(usize, Timestamp)>,
}

#[derive(Debug, Default)]
struct Delivery {
    due: Timestamp,
    failures: usize,
}

struct World {
    scale: Scale,
    random: fastrand::Rng,
    now: Timestamp,
    scheduler: Scheduler,
    /// Parked keys, by lane, minute and key.
    disk: BTreeMap<(EndpointNumber, Minute, DeliveryKey), Timestamp>,
    /// How many keys are on their way to the disk.
    parking: usize,
    /// The most keys that have been on the disk at once, and how many have been loaded.
    parked: usize,
    loaded: usize,
    /// By time, then by the order in which they were foreseen.
    happenings: BTreeMap<(Timestamp, u64), Happening>,
    foreseen: u64,
    events: u64,
    pending: BTreeMap<DeliveryKey, Delivery>,
    history: Vec<(Timestamp, Start)>,
    succeeded: [usize; RECEIVERS.len()],
    exhausted: [usize; RECEIVERS.len()],
    /// The longest that a due key of the lane waited for its turn.
    latest: [Duration; RECEIVERS.len()],
    outages: [Outage; RECEIVERS.len()],
    probes: usize,
    /// When attempts of [`PACED`] have started.
    paced: Vec<Timestamp>,
}

impl World {
    fn new(seed: u64, scale: Scale) -> Self {
        let mut scheduler = Scheduler::new(IN_FLIGHT, scale.keys, NOW);
        for index in 0..RECEIVERS.len() {
            scheduler.set_lane(lane_of(index), &scale.rules(index));
        }
        let mut world = Self {
            scale,
            random: fastrand::Rng::with_seed(seed),
            now: NOW,
            scheduler,
            disk: BTreeMap::new(),
            parking: 0,
            parked: 0,
            loaded: 0,
            happenings: BTreeMap::new(),
            foreseen: 0,
            events: 0,
            pending: BTreeMap::new(),
            history: Vec::new(),
            succeeded: [0; RECEIVERS.len()],
            exhausted: [0; RECEIVERS.len()],
            latest: [Duration::ZERO; RECEIVERS.len()],
            outages: [Outage::default(); RECEIVERS.len()],
            probes: 0,
            paced: Vec::new(),
        };
        world.foresee(NOW, Happening::Event);
        world.foresee(NOW.plus(20 * HOUR), Happening::Hold(true));
        world.foresee(NOW.plus(30 * HOUR), Happening::Hold(false));
        world
    }

    fn foresee(&mut self, at: Timestamp, happening: Happening) {
        self.foreseen += 1;
        self.happenings.insert((at, self.foreseen), happening);
    }

    /// Jumps to whatever comes next; false when nothing will.
    fn step(&mut self) -> bool {
        let happening = self.happenings.first_key_value().map(|((at, _), _)| *at);
        let timer = self.scheduler.poll_timeout();
        let Some(at) = happening.into_iter().chain(timer).min() else {
            return false;
        };
        assert!(at >= self.now, "time goes on");
        self.now = at;
        self.scheduler.handle_timeout(at);
        if timer == Some(at) {
            assert_ne!(self.scheduler.poll_timeout(), timer, "no wake-up is for nothing");
        }
        while let Some(first) = self.happenings.first_entry().filter(|first| first.key().0 <= at) {
            let happening = first.remove();
            self.happen(happening);
        }
        while let Some(start) = self.scheduler.poll_start() {
            self.begin(start);
        }
        self.move_keys();
        self.check();
        true
    }

    /// The disk takes some milliseconds for what it is told to do, one thing after the other.
    fn move_keys(&mut self) {
        let mut at = self.now;
        while let Some(keys) = self.scheduler.poll_park() {
            self.parking += keys.len();
            at = at.plus(Duration::from_millis(self.random.u64(..30)));
            self.foresee(at, Happening::Parked(keys));
        }
        while let Some(load) = self.scheduler.poll_load() {
            at = at.plus(Duration::from_millis(self.random.u64(..30)));
            self.foresee(at, Happening::Load(load));
        }
    }

    fn park(&mut self, keys: Vec<Scheduled>) {
        self.parking -= keys.len();
        for Scheduled { key, endpoint, due } in keys {
            assert!(
                self.disk.insert((endpoint, due.minute(), key), due).is_none(),
                "{key:?} is parked twice"
            );
            self.scheduler.handle_parked(endpoint, due.minute());
        }
        self.parked = self.parked.max(self.disk.len());
    }

    fn load(&mut self, Load { lane, until, limit }: Load) {
        let first = DeliveryKey { seq: Seq::ZERO, slot: 0 };
        let all = self.disk.range((lane, Minute::default(), first)..);
        let mut own =
            all.take_while(|((of, ..), _)| *of == lane).map(|((_, minute, key), due)| (*minute, *key, *due));
        let mut found = Vec::new();
        let next = loop {
            match own.next() {
                Some((minute, key, due)) if minute <= until && found.len() < limit => {
                    found.push(Scheduled { key, endpoint: lane, due });
                }
                other => break other.map(|(minute, ..)| minute),
            }
        };
        for one in &found {
            let minute = one.due.minute();
            self.disk.remove(&(lane, minute, one.key)).expect("it was found there");
        }
        self.loaded += found.len();
        self.scheduler.handle_loaded(lane, &found, next, self.now);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Answer(start, verdict) => self.answer(start, verdict),
            Happening::Event => self.event(),
            Happening::Hold(held) => self.scheduler.hold(lane_of(0), Hold::Disabled, held),
            Happening::Parked(keys) => self.park(keys),
            Happening::Load(load) => self.load(load),
        }
    }

    /// Mostly one event now and then; at times a burst.
    fn event(&mut self) {
        let burst = if self.random.u8(..40) == 0 { 20 } else { 1 };
        for _ in 0..burst {
            self.events += 1;
            for index in 0..RECEIVERS.len() {
                let slot = u16::try_from(index).expect("few receivers");
                self.schedule(DeliveryKey { seq: Seq::new(self.events), slot }, self.now);
            }
        }
        if self.now < NOW.plus(DAYS) {
            let most = u64::try_from(self.scale.pause.as_millis()).expect("an hour at most");
            let pause = Duration::from_millis(self.random.u64(..most));
            self.foresee(self.now.plus(pause), Happening::Event);
        }
    }

    fn schedule(&mut self, key: DeliveryKey, due: Timestamp) {
        self.pending.entry(key).or_default().due = due;
        self.scheduler.handle_scheduled(key, lane_of(usize::from(key.slot)), due, self.now);
    }

    fn begin(&mut self, start: Start) {
        let index = usize::from(start.key.slot);
        let delivery = self.pending.get(&start.key).expect("only what is pending starts");
        assert!(delivery.due <= self.now, "{start:?} starts before {}", delivery.due);
        assert_eq!(start.lane, lane_of(index), "in its lane");
        self.latest[index] = self.latest[index].max(self.now.since(delivery.due));
        self.history.push((self.now, start));
        self.hold_to_its_brakes(start);
        let (after, verdict) = RECEIVERS[index].answer(self.now, &mut self.random);
        self.foresee(self.now.plus(after), Happening::Answer(start, verdict));
    }

    /// While a circuit is open there is one attempt at most, a probe, after its interval. No second has more starts than
    /// the rate says.
    fn hold_to_its_brakes(&mut self, start: Start) {
        let index = usize::from(start.key.slot);
        let open = self.outages[index].open;
        assert_eq!(start.probe, open.is_some(), "{start:?}");
        if let Some((probes, ended)) = open {
            let status = self.scheduler.lane(start.lane).expect("it was made");
            assert_eq!(status.in_flight, 1, "{start:?} is not alone");
            let interval = PROBE[probes.min(PROBE.len() - 1)];
            assert!(self.now >= ended.plus(interval), "{start:?} at {} after {ended}", self.now);
            self.probes += 1;
        }
        if index == PACED && self.scale.brakes {
            self.paced.push(self.now);
            if let [.., first, _, last] = self.paced[..] {
                assert!(last.since(first) >= SECOND, "{start:?} is the third since {first}");
            }
        }
    }

    /// What circuits do, in the plainest form.
    fn note_outage(&mut self, start: Start, verdict: Verdict) {
        let Outage { failures, open } = &mut self.outages[usize::from(start.key.slot)];
        match open {
            _ if verdict == Verdict::Success => (*failures, *open) = (0, None),
            Some((probes, ended)) if start.probe => (*probes, *ended) = (*probes + 1, self.now),
            Some(_) => {}
            None => {
                *failures += 1;
                *open = (*failures == FAILURES && self.scale.brakes).then_some((0, self.now));
            }
        }
    }

    fn answer(&mut self, start: Start, verdict: Verdict) {
        let index = usize::from(start.key.slot);
        self.note_outage(start, verdict);
        let chance = if self.scale.brakes { self.random.f64() } else { 0.0 };
        self.scheduler.handle_finished(start.key, verdict, chance, self.now);
        let delivery = self.pending.get_mut(&start.key).expect("it was attempted");
        if verdict == Verdict::Success {
            self.succeeded[index] += 1;
            self.pending.remove(&start.key);
        } else if let Some(delay) = RETRY.get(delivery.failures) {
            delivery.failures += 1;
            self.schedule(start.key, self.now.plus(*delay));
        } else {
            self.exhausted[index] += 1;
            self.pending.remove(&start.key);
        }
    }

    fn check(&self) {
        let scheduler = &self.scheduler;
        assert!(scheduler.in_flight() <= IN_FLIGHT);
        let mut queued = 0;
        let mut in_flight = 0;
        for (index, receiver) in RECEIVERS.iter().enumerate() {
            let status = scheduler.lane(lane_of(index)).expect("it was made");
            assert!(status.window >= 1 && status.window <= CONCURRENCY);
            assert!(status.in_flight <= usize::from(CONCURRENCY));
            let idle = status.queued > 0 && status.in_flight == 0 && status.pause.is_none();
            let good = matches!(receiver, Receiver::Fast | Receiver::Slow);
            assert!(!(idle && good) || scheduler.in_flight() == IN_FLIGHT, "lane {index} waits for nothing");
            queued += status.queued;
            in_flight += status.in_flight;
        }
        assert_eq!((queued, in_flight), (scheduler.queued(), scheduler.in_flight()));
        let memory = queued + scheduler.scheduled();
        assert!(memory <= self.scale.keys.saturating_add(RECEIVERS.len()), "{memory} keys in memory");
        let held = memory + in_flight + self.parking + self.disk.len();
        assert_eq!(held, self.pending.len(), "each pending delivery is in one place");
    }
}

fn lane_of(index: usize) -> EndpointNumber {
    lane(1 + u32::try_from(index).expect("few receivers"))
}

fn run(seed: u64, scale: Scale) -> World {
    let mut world = World::new(seed, scale);
    while world.step() {}
    world
}

#[test]
fn days_among_bad_receivers_do_not_delay_the_good_ones() {
    let (roomy, narrow) = (ROOMY.with_brakes(), NARROW.with_brakes());
    for (seed, scale) in [(0, ROOMY), (1, ROOMY), (2, ROOMY), (3, NARROW), (4, roomy), (5, narrow)] {
        let world = run(seed, scale);
        eprintln!(
            "seed {seed}: {} attempts, {} of them probes, {} keys parked at most, {} loaded",
            world.history.len(),
            world.probes,
            world.parked,
            world.loaded
        );
        let parks = scale.keys < usize::MAX;
        // What is not attempted is not parked again.
        let loads = if scale.brakes { 5_000 } else { 20_000 };
        assert_eq!((world.parked > 1_000, world.loaded > loads), (parks, parks), "seed {seed}");
        assert_eq!(world.probes > 1_000, scale.brakes, "seed {seed}");
        let events = usize::try_from(world.events).expect("small");
        assert!(world.pending.is_empty(), "seed {seed}: all ended");
        for (index, receiver) in RECEIVERS.iter().enumerate() {
            let ended = (world.succeeded[index], world.exhausted[index]);
            let place = format!("seed {seed}, lane {index} ({receiver:?}): {ended:?} of {events}");
            assert_eq!(ended.0 + ended.1, events, "{place}");
            match receiver {
                Receiver::BlackHole | Receiver::Down => assert_eq!(ended.0, 0, "{place}"),
                Receiver::Fast | Receiver::Slow => assert_eq!(ended.1, 0, "{place}"),
                Receiver::Flapping => assert!(ended.0 > events * 9 / 10, "{place}"),
            }
            let waited = world.latest[index];
            match receiver {
                Receiver::Fast if index == 0 => assert!(waited < 11 * HOUR, "{place}: {waited:?}, held"),
                // Never tried, the black holes count as fine, and fill the pool for one deadline of 15 s.
                Receiver::Fast => assert!(waited < 20 * SECOND, "{place}: waited {waited:?}"),
                Receiver::Slow => assert!(waited < 5 * MINUTE, "{place}: waited {waited:?}"),
                Receiver::BlackHole => assert!(waited > MINUTE, "{place}: waited {waited:?}"),
                Receiver::Down | Receiver::Flapping => {}
            }
        }
    }
}

#[test]
fn equal_worlds_have_equal_histories() {
    for scale in [ROOMY, NARROW, NARROW.with_brakes()] {
        let history = run(42, scale).history;
        assert!(history.len() > 10_000, "{} attempts", history.len());
        assert_eq!(history, run(42, scale).history);
    }
}

/// Forty receivers that answer well after four seconds, with more due than they can take, and one with little that
/// answers at once.
#[test]
fn slow_receivers_that_succeed_do_not_delay_a_fast_one() {
    const POOL: usize = 512;
    const SLOW: u32 = 40;
    const FAST: u32 = 41;
    let end = NOW.plus(5 * MINUTE);
    let mut scheduler = Scheduler::new(POOL, usize::MAX, NOW);
    let mut random = fastrand::Rng::with_seed(7);
    for number in 1..=FAST {
        scheduler.set_lane(lane(number), &LaneRules::plain(16));
        for seq in 0..if number == FAST { 0 } else { 10_000 } {
            scheduler.handle_scheduled(key(u64::from(number) * 1_000_000 + seq), lane(number), NOW, NOW);
        }
    }
    // By time and key: when a request ends, and when one for the fast receiver comes in.
    let mut happenings: BTreeMap<(Timestamp, DeliveryKey), Option<Start>> = BTreeMap::new();
    happenings.insert((NOW, key(0)), None);
    let (mut came, mut fast, mut slow) = (0, 0, 0);
    while let Some(((now, _), happening)) = happenings.pop_first().filter(|((now, _), _)| *now < end) {
        if let Some(start) = happening {
            scheduler.handle_finished(start.key, Verdict::Success, 0.0, now);
            *if start.lane == lane(FAST) { &mut fast } else { &mut slow } += 1;
        } else {
            // Up to four at once: more than a new lane may open, and the first after the slow ones have begun.
            for _ in 0..random.u32(1..=4) {
                scheduler.handle_scheduled(key(came), lane(FAST), now, now);
                came += 1;
            }
            happenings.insert((now.plus(Duration::from_millis(random.u64(50..500))), key(came)), None);
        }
        while let Some(start) = scheduler.poll_start() {
            let takes = Duration::from_millis(if start.lane == lane(FAST) { 5 } else { 4_000 });
            happenings.insert((now.plus(takes), start.key), Some(start));
        }
        let status = scheduler.lane(lane(FAST)).expect("made");
        assert!(status.queued == 0 || status.in_flight > 0, "{now}: the fast one waits for the slow ones");
        if now > NOW.plus(2 * MINUTE) {
            let mut open = (1..=SLOW).map(|number| scheduler.lane(lane(number)).expect("made").in_flight);
            assert!(open.all(|open| (11..=13).contains(&open)), "{now}: the pool is used, evenly");
        }
    }
    assert!(came > 1_000 && came - fast <= 4, "{fast} of {came}");
    assert!(slow > 480 * 70, "{slow}");
}
