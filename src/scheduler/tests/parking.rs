//! Random operations with room for few keys, against the rules of the room written down plainly: where each key is,
//! in one map, and sums over it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Lanes of a run; few, so that they compete.
const LANES: u32 = 5;

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In memory; the flag: it was far when it came.
    Memory(bool),
    /// On its way to the disk.
    Parking,
    Disk,
    Flight,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    lane: EndpointNumber,
    due: Timestamp,
    at: At,
}

/// What the room promises, without how.
struct Rules {
    keys: BTreeMap<DeliveryKey, Key>,
    limit: usize,
    now: Timestamp,
    loads: Vec<Load>,
    /// Lanes whose near keys went to the disk, until the last of them is back.
    behind: BTreeSet<EndpointNumber>,
}

impl Rules {
    fn count(&self, at: impl Fn(&Key) -> bool) -> usize {
        self.keys.values().filter(|key| at(key)).count()
    }

    /// Keys in one of the two pools, of all lanes or one, with the room that loads keep.
    fn held(&self, far: bool, lane: Option<EndpointNumber>) -> usize {
        let ours = |of: EndpointNumber| lane.is_none_or(|lane| lane == of);
        let kept: usize =
            self.loads.iter().filter(|load| !far && ours(load.lane)).map(|load| load.limit).sum();
        kept + self.count(|key| key.at == At::Memory(far) && ours(key.lane))
    }

    fn pool(&self, far: bool) -> usize {
        if far { self.limit / 2 } else { self.limit - self.limit / 2 }
    }

    fn free(&self, far: bool) -> usize {
        self.pool(far).saturating_sub(self.held(far, None))
    }

    /// The first minute of the lane's keys on disk, as far as it has been said.
    fn first_on_disk(&self, lane: EndpointNumber) -> Option<Minute> {
        let on_disk = self.keys.values().filter(|key| key.lane == lane && key.at == At::Disk);
        on_disk.map(|key| key.due.minute()).min()
    }

    /// Whether memory takes a key in.
    fn fits(&self, lane: EndpointNumber, far: bool) -> bool {
        let behind = !far && self.behind.contains(&lane);
        let held = self.held(far, Some(lane));
        !behind && (held == 0 || held < self.free(far))
    }

    fn comes_in(&mut self, key: DeliveryKey, lane: EndpointNumber, due: Timestamp) -> bool {
        let far = due > self.now;
        let fits = self.fits(lane, far);
        if !fits && !far {
            self.behind.insert(lane);
        }
        let at = if fits { At::Memory(far) } else { At::Parking };
        self.keys.insert(key, Key { lane, due, at });
        fits
    }
}

struct Run {
    random: fastrand::Rng,
    scheduler: Scheduler,
    rules: Rules,
    /// Keys on their way, in the order in which the disk takes them.
    way: Vec<Scheduled>,
    open: Vec<Start>,
    next: u64,
    place: String,
    parked: usize,
    loaded: usize,
    joined: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let limit = random.usize(1..60);
        let mut scheduler = Scheduler::new(3, limit, NOW);
        (0..LANES).for_each(|number| scheduler.set_lane(lane(number), &LaneRules::plain(2)));
        let rules =
            Rules { keys: BTreeMap::new(), limit, now: NOW, loads: Vec::new(), behind: BTreeSet::new() };
        let place = String::new();
        Self {
            random,
            scheduler,
            rules,
            way: Vec::new(),
            open: Vec::new(),
            next: 0,
            place,
            parked: 0,
            loaded: 0,
            joined: 0,
        }
    }

    fn operate(&mut self) {
        match self.random.u8(..10) {
            0..4 => self.schedule_new(),
            luck @ 4..6 => {
                let most = if luck == 4 { 1_000 } else { 400_000 };
                let time = Duration::from_millis(self.random.u64(..most));
                self.pass(time);
            }
            6 => self.start_all(),
            7 => {
                self.finish_one();
                self.join();
            }
            8 => self.write(),
            _ => self.load_one(),
        }
        self.collect();
        self.check();
    }

    fn schedule_new(&mut self) {
        // The first lanes are the greedy ones.
        let lane = lane(self.random.u32(..LANES).min(self.random.u32(..LANES)));
        let lane = if self.random.u8(..6) == 0 { EndpointNumber::JOINING } else { lane };
        for _ in 0..self.random.usize(1..12) {
            self.next += 1;
            self.schedule(key(self.next), lane);
        }
    }

    fn schedule(&mut self, key: DeliveryKey, lane: EndpointNumber) {
        let most = [1, 100_000, 1_000_000][self.random.usize(..3)];
        // As exact as timers are.
        let due =
            Timestamp::from_millis(self.rules.now.as_millis() / 10 * 10 + self.random.u64(..most) / 10 * 10);
        self.rules.comes_in(key, lane, due);
        self.scheduler.handle_scheduled(key, lane, due, self.rules.now);
    }

    /// Lets time pass, from one timer to the next, so that the order in which far keys come near is plain.
    fn pass(&mut self, time: Duration) {
        let end = self.rules.now.plus(time);
        loop {
            let timers = self.rules.keys.values().filter(|key| key.at == At::Memory(true)).map(|key| key.due);
            let at = timers.min().filter(|due| *due <= end).unwrap_or(end);
            self.rules.now = self.rules.now.max(at);
            self.scheduler.handle_timeout(at);
            self.come_near();
            self.collect();
            if at == end {
                return;
            }
        }
    }

    /// Far keys that are due come near, or go to the disk where there is no room: which of those that are due at the
    /// same time is the scheduler's choice.
    fn come_near(&mut self) {
        let now = self.rules.now;
        let due = |key: &Key| key.at == At::Memory(true) && key.due <= now;
        let due: Vec<_> = self.rules.keys.iter().filter(|(_, key)| due(key)).map(|(key, _)| *key).collect();
        let parked = self.scheduler.to_park.clone();
        let (gone, near): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|key| parked.iter().any(|one| one.key == *key));
        for key in near {
            self.rules.keys.get_mut(&key).expect("it is there").at = At::Memory(false);
        }
        for key in gone {
            let Key { lane, .. } = self.rules.keys[&key];
            assert!(!self.rules.fits(lane, false), "{}: {key:?} had room", self.place);
            self.rules.keys.get_mut(&key).expect("it is there").at = At::Parking;
            self.rules.behind.insert(lane);
        }
    }

    /// Takes what the scheduler has to say of its room.
    fn collect(&mut self) {
        while let Some(keys) = self.scheduler.poll_park() {
            for one in &keys {
                let key = self.rules.keys.get(&one.key).expect("it was scheduled");
                assert_eq!(
                    (key.at, key.lane, key.due),
                    (At::Parking, one.endpoint, one.due),
                    "{}",
                    self.place
                );
            }
            self.parked += keys.len();
            self.way.extend(keys);
        }
        while let Some(load) = self.scheduler.poll_load() {
            let (near, free) = (self.rules.held(false, Some(load.lane)), self.rules.free(false));
            assert!(
                near == 0 || near < free / 2,
                "{}: {load:?} for one that holds {near}, {free} free",
                self.place
            );
            assert!(
                load.limit >= 1 && load.limit <= free.saturating_sub(near).max(1),
                "{}: {load:?}",
                self.place
            );
            let first = self.rules.first_on_disk(load.lane).expect("it has keys there");
            assert!(
                first <= load.until && load.until <= self.rules.now.plus(MINUTE).minute(),
                "{}",
                self.place
            );
            assert!(
                self.rules.loads.iter().all(|other| other.lane != load.lane),
                "{}: two loads",
                self.place
            );
            self.rules.loads.push(load);
        }
    }

    /// The disk has taken some of the keys on their way.
    fn write(&mut self) {
        for _ in 0..self.random.usize(..20).min(self.way.len()) {
            let one = self.way.remove(0);
            self.rules.keys.get_mut(&one.key).expect("it was scheduled").at = At::Disk;
            self.scheduler.handle_parked(one.endpoint, one.due.minute());
        }
    }

    fn load_one(&mut self) {
        if self.rules.loads.is_empty() {
            return;
        }
        let index = self.random.usize(..self.rules.loads.len());
        let load = self.rules.loads.swap_remove(index);
        let on_disk = |key: &Key| key.lane == load.lane && key.at == At::Disk;
        let on_disk = self.rules.keys.iter().filter(|(_, key)| on_disk(key));
        let mut all: Vec<_> = on_disk.map(|(key, of)| (of.due.minute(), *key, of.due)).collect();
        all.sort_unstable();
        let fit = all.iter().take_while(|(minute, ..)| *minute <= load.until).count().min(load.limit);
        let next = all.get(fit).map(|(minute, ..)| *minute);
        let scheduled = |(_, key, due): &(Minute, DeliveryKey, Timestamp)| Scheduled {
            key: *key,
            endpoint: load.lane,
            due: *due,
        };
        let found: Vec<_> = all[..fit].iter().map(scheduled).collect();
        for one in &found {
            self.rules.keys.get_mut(&one.key).expect("it is there").at = At::Memory(false);
        }
        let open = self.rules.now.plus(Duration::from_secs(5)).minute();
        if next.is_none_or(|next| next > open) {
            self.rules.behind.remove(&load.lane);
        }
        self.loaded += found.len();
        self.scheduler.handle_loaded(load.lane, &found, next, self.rules.now);
    }

    fn start_all(&mut self) {
        while let Some(start) = self.scheduler.poll_start() {
            let key = self.rules.keys.get_mut(&start.key).expect("it was scheduled");
            assert_eq!((key.at, key.lane), (At::Memory(false), start.lane), "{}: {start:?}", self.place);
            assert_ne!(start.lane, EndpointNumber::JOINING, "{}", self.place);
            assert!(key.due <= self.rules.now, "{}: {start:?} before its time", self.place);
            key.at = At::Flight;
            self.open.push(start);
        }
    }

    /// What is to join its order is taken out, and needs no place.
    fn join(&mut self) {
        let most = self.random.usize(..5);
        let joining = self.scheduler.poll_join(most);
        let now = self.rules.now;
        let due =
            |key: &Key| key.at == At::Memory(false) && key.lane == EndpointNumber::JOINING && key.due <= now;
        assert_eq!(joining.len(), self.rules.count(due).min(most), "{}", self.place);
        for one in joining {
            let key = self.rules.keys.remove(&one).expect("it was scheduled");
            assert!(due(&key), "{}: {one:?} before its time", self.place);
            self.joined += 1;
        }
    }

    fn finish_one(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let start = self.open.swap_remove(self.random.usize(..self.open.len()));
        let verdict = if self.random.bool() { Verdict::Success } else { Verdict::Failure };
        self.scheduler.handle_finished(start.key, verdict, 0.0, self.rules.now);
        if verdict == Verdict::Success {
            self.rules.keys.remove(&start.key);
        } else {
            self.schedule(start.key, start.lane);
        }
    }

    fn check(&self) {
        let place = &self.place;
        let memory = self.rules.count(|key| matches!(key.at, At::Memory(_)));
        assert_eq!(self.scheduler.scheduled() + self.scheduler.queued(), memory, "{place}");
        let lanes = usize::try_from(LANES).expect("few") + 1;
        for far in [false, true] {
            let held = self.rules.held(far, None);
            assert!(held <= self.rules.pool(far) + lanes, "{place}: {held} keys where {far} is far");
        }
        for number in (0..LANES).map(lane).chain([EndpointNumber::JOINING]) {
            let wants =
                self.rules.first_on_disk(number).is_some_and(|first| first <= self.rules.now.minute());
            let starves = wants && self.rules.held(false, Some(number)) == 0;
            assert!(
                !starves,
                "{place}: lane {} has nothing to start, and its keys on disk are due",
                number.get()
            );
        }
    }

    /// Lets everything come to its end: nothing may be left behind.
    fn drain(&mut self) {
        while !self.rules.keys.is_empty() {
            self.write();
            self.load_one();
            self.start_all();
            self.join();
            while let Some(start) = self.open.pop() {
                self.scheduler.handle_finished(start.key, Verdict::Success, 0.0, self.rules.now);
                self.rules.keys.remove(&start.key);
            }
            self.collect();
            if let Some(at) = self.scheduler.poll_timeout() {
                self.pass(at.since(self.rules.now));
            }
            self.check();
        }
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn keys_without_room_go_to_the_disk_and_come_back() {
    let (mut parked, mut loaded, mut joined) = (0, 0, 0);
    for seed in 0..400 {
        let mut run = Run::new(seed);
        for step in 0..60 {
            run.place = format!("seed {seed}, step {step}");
            run.operate();
        }
        run.place = format!("seed {seed}, draining");
        run.drain();
        (parked, loaded, joined) = (parked + run.parked, loaded + run.loaded, joined + run.joined);
    }
    assert!(
        parked > 5_000 && loaded > 5_000 && joined > 5_000,
        "{parked} parked, {loaded} loaded, {joined} joined"
    );
}

#[test]
fn a_lane_with_many_keys_leaves_room_to_the_others() {
    let mut scheduler = Scheduler::new(1, 1_000, NOW);
    for due in [NOW, later(3_600_000)] {
        (0..5_000).for_each(|seq| scheduler.handle_scheduled(key(seq), lane(1), due, NOW));
        assert_eq!(
            scheduler.poll_park().map(|keys| keys.len()),
            Some(4_750),
            "half of a pool of 500 is its own"
        );
        for number in 2..=40 {
            scheduler.handle_scheduled(key(10_000), lane(number), due, NOW);
            scheduler.handle_scheduled(key(10_001), lane(number), due, NOW);
        }
        assert_eq!(scheduler.poll_park(), None, "there is room for the few keys of others");
    }
}

/// A burst, then a little with each commit, all of it started at once: what the burst has put on the disk comes back,
/// and what comes later stays in memory; also where the engine hears of a commit only after the next.
#[test]
fn parking_ends_when_memory_is_free() {
    for lag in 0..4 {
        let mut scheduler = Scheduler::new(10_000, 1_000, NOW);
        scheduler.set_lane(lane(1), &LaneRules::plain(10_000));
        let mut disk: BTreeMap<DeliveryKey, Scheduled> = BTreeMap::new();
        // What the scheduler has asked for, commit by commit, and what of it is to be done next.
        let mut asked: std::collections::VecDeque<(Vec<Scheduled>, Option<Load>)> =
            std::iter::repeat_with(|| (Vec::new(), None)).take(lag).collect();
        let (mut next, mut parked) = (0, Vec::new());
        for commit in 0..300 {
            let (park, load) = asked.pop_front().unwrap_or_default();
            for one in park {
                disk.insert(one.key, one);
                scheduler.handle_parked(lane(1), one.due.minute());
            }
            if let Some(load) = load {
                let found: Vec<_> = disk.values().copied().take(load.limit).collect();
                disk.retain(|key, _| found.iter().all(|one| one.key != *key));
                let left = disk.values().next().map(|one| one.due.minute());
                scheduler.handle_loaded(load.lane, &found, left, NOW);
            }
            for _ in 0..if commit == 0 { 3_000 } else { 10 } {
                next += 1;
                scheduler.handle_scheduled(key(next), lane(1), NOW, NOW);
            }
            let started = starts(&mut scheduler);
            finish(&mut scheduler, &started, Verdict::Success);
            let park = scheduler.poll_park().unwrap_or_default();
            parked.push(park.len());
            asked.push_back((park, scheduler.poll_load()));
        }
        assert!(disk.is_empty(), "lag {lag}: {} keys are on the disk still", disk.len());
        assert_eq!(parked[250..].iter().sum::<usize>(), 0, "lag {lag}: {parked:?}");
    }
}
