//! The ledger: holds what came to the receiver against what was on disk at each kill, and counts.
//!
//! The daemon of run `r` reads what was on disk at the end of run `r - 1`, and knows nothing else. So in run `r` the
//! attempts of a delivery have the numbers that follow the last one that was on disk then, each once; and because the
//! next attempt waits for the commit of the last, at most one of them, the newest, may be missing on disk at the end.
//! All else is a fault.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use posthaste::model::{attempt::Why, delivery::DeliveryKey};

use super::{
    IN_FLIGHT, SETTLE_DELAY,
    journal::{Arrival, Door, Notes, route},
    record::{Course, Record},
};

/// What a commit on a busy machine may add to the time that an outcome waits.
const SLACK: Duration = Duration::from_secs(2);
/// Faults that are shown.
const SHOWN: usize = 20;

/// One `kill -9`.
#[derive(Clone, Copy)]
pub struct Kill {
    /// Before it.
    pub at: Instant,
    /// When the daemon was surely dead.
    pub dead: Instant,
    /// It was not known to be ready yet.
    pub starting: bool,
}

/// What there is to say of a door.
#[derive(Default)]
struct Sums {
    handed_in: usize,
    again: usize,
    duplicates: usize,
    acknowledged: usize,
    owed: usize,
    delivered: usize,
    lost: usize,
    repeated: usize,
}

/// What a kill has left.
#[derive(Clone, Default)]
struct Left {
    /// Requests that had not been answered.
    open: usize,
    /// Requests whose answer was not on disk.
    unsettled: usize,
    /// How many of both came again.
    repeated: usize,
}

/// The sums of all worlds.
#[derive(Default)]
pub struct Ledger {
    doors: BTreeMap<Door, Sums>,
    kills: Vec<Left>,
    while_starting: usize,
    runs: usize,
    attempts: usize,
    failed: usize,
    explained: usize,
    marked: usize,
    /// Spool files that were caught between the commit of their events and their removal.
    pub taken: usize,
    faults: Vec<String>,
}

/// One world, while it is judged.
struct World<'a> {
    ledger: &'a mut Ledger,
    notes: &'a Notes,
    kills: &'a [Kill],
    left: Vec<Left>,
}

impl Ledger {
    /// Takes in a world that has come to rest: `kills.len() + 1` runs, and nothing pending.
    pub fn judge(&mut self, notes: &Notes, record: &Record, kills: &[Kill]) {
        let mut world = World { ledger: self, notes, kills, left: vec![Left::default(); kills.len()] };
        let mut arrivals: HashMap<DeliveryKey, Vec<&Arrival>> = HashMap::new();
        for arrival in &notes.arrivals {
            match record.key_of(&arrival.delivery) {
                Some(key) => arrivals.entry(key).or_default().push(arrival),
                None => world.fault(format!("{} came, and is none of this store's", arrival.delivery)),
            }
        }
        let mut taken: HashMap<(usize, &str), usize> = HashMap::new();
        for (key, course) in &record.courses {
            let mut requests = arrivals.remove(key).unwrap_or_default();
            requests.sort_by_key(|arrival| (arrival.run, arrival.attempt));
            world.judge_delivery(&requests, course);
            if requests.iter().any(|arrival| arrival.status == 200) {
                *taken.entry((course.event, &course.endpoint)).or_default() += 1;
            }
        }
        for left in arrivals.into_values() {
            world.fault(format!("{} came, and is not on disk", left[0].delivery));
        }
        world.sum_up(&taken);
        let left = world.left;
        self.kills.extend(left);
        self.while_starting += kills.iter().filter(|kill| kill.starting).count();
        self.runs += kills.len() + 1;
        self.attempts += notes.arrivals.len();
        self.failed += notes.arrivals.iter().filter(|arrival| arrival.status != 200).count();
    }

    /// What there is to say.
    pub fn print(&self, time: Duration) {
        eprintln!("door     handed in   again  duplicates  acknowledged    owed  delivered  lost  repeated");
        for (door, sums) in &self.doors {
            let Sums { handed_in, again, duplicates, acknowledged, owed, delivered, lost, repeated } = sums;
            let door = format!("{door:?}").to_lowercase();
            eprintln!(
                "{door:<8} {handed_in:>9} {again:>7} {duplicates:>11} {acknowledged:>13} {owed:>7} {delivered:>10} {lost:>5} {repeated:>9}"
            );
        }
        let sum = |of: fn(&Left) -> usize| self.kills.iter().map(of).sum::<usize>();
        let repeated = sum(|left| left.repeated);
        eprintln!(
            "{} kills ({} while it started), {} runs, {} attempts, of which {} were told to fail",
            self.kills.len(),
            self.while_starting,
            self.runs,
            self.attempts,
            self.failed
        );
        eprintln!(
            "not on disk at the kills: {} open requests and {} answers; {repeated} came again, {} explained, {} marked (the others came yet again)",
            sum(|left| left.open),
            sum(|left| left.unsettled),
            self.explained,
            self.marked
        );
        eprintln!(
            "spool files that lay there with their events on disk, and were not taken again: {}",
            self.taken
        );
        eprintln!("repeats by kill: {:?}", self.kills.iter().map(|left| left.repeated).collect::<Vec<_>>());
        eprintln!("{:.1} s", time.as_secs_f64());
    }

    /// Holds it to what is promised.
    pub fn assert_sound(&self, seed: u64) {
        let shown: Vec<_> = self.faults.iter().take(SHOWN).map(String::as_str).collect();
        assert!(shown.is_empty(), "seed {seed}: {} faults:\n{}", self.faults.len(), shown.join("\n"));
        for (door, sums) in &self.doors {
            assert_eq!(sums.lost, 0, "seed {seed}: lost of what {door:?} acknowledged");
            assert!(sums.delivered > 0, "seed {seed}: the test has nothing to say of {door:?}");
        }
        let repeated: usize = self.kills.iter().map(|left| left.repeated).sum();
        assert_eq!(repeated, self.explained, "seed {seed}: repeats that no kill explains");
        assert_eq!(self.doors.len(), 7, "seed {seed}: every door was used");
    }
}

impl World<'_> {
    fn fault(&mut self, fault: String) {
        self.ledger.faults.push(fault);
    }

    /// Judges a delivery by its requests, which are in the order of runs and attempts.
    fn judge_delivery(&mut self, requests: &[&Arrival], course: &Course) {
        let of = format!("event {} to {}", course.event, course.endpoint);
        let mut latest: HashMap<u32, usize> = HashMap::new();
        let mut success = None;
        for arrival in requests {
            if (arrival.event, &arrival.endpoint) != (course.event, &course.endpoint) {
                self.fault(format!("{of} came as event {} to {}", arrival.event, arrival.endpoint));
            }
            if success.is_some_and(|success| arrival.attempt > success) {
                self.fault(format!("{of} had succeeded, and attempt {} was made", arrival.attempt));
            }
            if arrival.status == 200 {
                success.get_or_insert(arrival.attempt);
            }
            if let Some(before) = latest.insert(arrival.attempt, arrival.run) {
                self.judge_repeat(&of, before, arrival, course);
            }
        }
        for requests in requests.chunk_by(|a, b| a.run == b.run) {
            self.judge_run(&of, requests, course);
        }
        self.judge_history(&of, requests, course);
    }

    /// Judges the requests of one delivery in one run.
    fn judge_run(&mut self, of: &str, requests: &[&Arrival], course: &Course) {
        let run = requests[0].run;
        if course.had_ended(run - 1) {
            self.fault(format!("{of} came in run {run}, and its success was on disk before"));
            return;
        }
        let (before, after) = (course.committed(run - 1), course.committed(run));
        let numbers: Vec<_> = requests.iter().map(|arrival| arrival.attempt).collect();
        if !(small(before + 1)..).zip(&numbers).all(|(expected, number)| expected == *number) {
            self.fault(format!("{of} came as {numbers:?} in run {run}; {before} were on disk before"));
            return;
        }
        let recorded = after - before;
        if requests.len() > recorded + 1 {
            self.fault(format!("{of} came as {numbers:?} in run {run}, of which {recorded} are on disk"));
        }
        if let Some(missing) = requests.get(recorded) {
            self.judge_missing(of, missing);
        }
    }

    /// Judges a request whose outcome was not on disk at the end of its run: it was open, or answered just before.
    fn judge_missing(&mut self, of: &str, missing: &Arrival) {
        let run = missing.run;
        let Some(kill) = self.kills.get(run - 1) else {
            self.fault(format!("{of}: an outcome is not on disk after a clean end"));
            return;
        };
        if missing.answered >= kill.dead {
            self.left[run - 1].open += 1;
            return;
        }
        self.left[run - 1].unsettled += 1;
        let age = kill.at.saturating_duration_since(missing.answered);
        if age >= SETTLE_DELAY + SLACK {
            self.fault(format!("{of} was answered {age:?} before kill {run}, and that was not on disk"));
        }
    }

    /// Judges a request for an attempt that had been made in the run `before`.
    fn judge_repeat(&mut self, of: &str, before: usize, again: &Arrival, course: &Course) {
        self.door(again.event).repeated += 1;
        let number = again.attempt;
        if before == again.run {
            self.fault(format!("{of}: attempt {number} was made twice in run {before}"));
            return;
        }
        self.left[before - 1].repeated += 1;
        if number > small(course.committed(again.run - 1)) && !course.had_ended(again.run - 1) {
            self.ledger.explained += 1;
        }
        match course.attempt(number) {
            // It was open at yet another kill, and came yet again.
            Some(attempt) if attempt.run > again.run => {}
            Some(attempt) if attempt.why == Why::AfterCrash => self.ledger.marked += 1,
            other => self.fault(format!("{of}: the repeat of attempt {number} is not marked: {other:?}")),
        }
    }

    /// Judges what is on disk at the end: the delivery has succeeded, and each attempt is what came in its run.
    fn judge_history(&mut self, of: &str, requests: &[&Arrival], course: &Course) {
        if course.ended.is_none() {
            self.fault(format!("{of} has not succeeded"));
        }
        for (index, attempt) in course.attempts.iter().enumerate() {
            let number = small(index + 1);
            let first = index == course.committed(attempt.run - 1);
            if attempt.why == Why::AfterCrash && !(first && course.since < attempt.run) {
                self.fault(format!("{of}: attempt {number} is marked, and can be no repeat"));
            }
            let came = requests.iter().find(|came| (came.attempt, came.run) == (number, attempt.run));
            if came.map(|came| came.status) != attempt.status {
                let status = came.map(|came| came.status);
                self.fault(format!("{of}: attempt {number} was answered {status:?}, and is {attempt:?}"));
            }
        }
    }

    fn sum_up(&mut self, taken: &HashMap<(usize, &str), usize>) {
        for (number, event) in self.notes.events.iter().enumerate() {
            let reached = |endpoint: &&&str| taken.contains_key(&(number, **endpoint));
            let endpoints = route(number).1;
            let delivered = endpoints.iter().filter(reached).count();
            let sums = self.door(number);
            sums.handed_in += 1;
            sums.again += event.again;
            sums.duplicates += event.duplicates;
            sums.acknowledged += usize::from(event.acknowledged);
            sums.delivered += delivered;
            if event.acknowledged {
                sums.owed += endpoints.len();
                sums.lost += endpoints.len() - delivered;
            }
        }
        for ((event, endpoint), count) in taken {
            if *count > 1 {
                self.fault(format!("event {event} was delivered to {endpoint} as {count} deliveries"));
            }
        }
        for index in 0..self.left.len() {
            let open = self.left[index].open;
            if open > IN_FLIGHT {
                self.fault(format!("{open} requests were open at kill {}, {IN_FLIGHT} may be", index + 1));
            }
        }
    }

    fn door(&mut self, event: usize) -> &mut Sums {
        self.ledger.doors.entry(self.notes.events[event].door).or_default()
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("a few attempts")
}
