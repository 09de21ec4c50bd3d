//! The power is cut at every moment: nothing that was acknowledged is lost, and the store goes on.
//!
//! A history of random work runs on a disk in memory that remembers every operation. Then the power is cut in turn
//! before and after each sync, and at random operations between; of what was not synced, each may be lost, torn, or in
//! another order ([`power`]). What is left must open as the product opens it, redb's repair included, and hold exactly
//! what was promised by the last commit that had returned, or by the one under way ([`found`]), and its start must come
//! by every pending delivery, parked or not ([`parked`]). Some of the stores go on, close and open again; on some the
//! power is cut a second time, in the repair and after it; some are opened from a real disk.
//!
//! `POSTHASTE_SEEDS` says how many histories, `POSTHASTE_SEED` which is the first; each seed does the same each time:
//!
//! ```text
//! POSTHASTE_SEEDS=200 cargo test --release --lib crash -- --nocapture
//! POSTHASTE_SEED=17 POSTHASTE_SEEDS=1 cargo test --lib crash
//! ```

mod failing;
mod found;
mod history;
mod making;
mod parked;
mod power;
mod tally;

use std::{collections::BTreeSet, env, fs, sync::Arc, thread};

use tempfile::TempDir;

use self::{
    history::{History, Promise, kept},
    power::{Op, Tape, growths, overlaps, syncs},
    tally::Tally,
};
use super::open;
use crate::outbox::{End, Opened};

/// Histories of each test in the suite.
const HISTORIES: usize = 2;
/// Steps of a history.
const STEPS: usize = 14;

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    cut_everywhere(false);
}

#[test]
fn no_power_cut_loses_what_was_acknowledged_with_quick_repair() {
    cut_everywhere(true);
}

fn cut_everywhere(quick_repair: bool) {
    let seeds = variable("POSTHASTE_SEEDS");
    let seeds = seeds.map_or(HISTORIES, |count| usize::try_from(count).expect("fits"));
    let first = variable("POSTHASTE_SEED").unwrap_or(1);
    let mut all = Tally::default();
    for seed in (first..).take(seeds) {
        println!("seed {seed}, quick_repair {quick_repair}");
        let mut cutter = Cutter::new(seed);
        cutter.run(seed, quick_repair);
        println!("seed {seed}: {}", cutter.tally);
        all.add(&cutter.tally);
    }
    println!("in all, quick_repair {quick_repair}: {all}");
    // One seed alone may have less of something.
    if seeds >= HISTORIES {
        all.assert_at_least(seeds);
    }
}

/// A seed tells all: what failed once fails again.
#[test]
fn a_seed_does_the_same_each_time() {
    for quick_repair in [false, true] {
        let [first, second] = [a_history(3, quick_repair), a_history(3, quick_repair)];
        assert!(first.disk.ops() == second.disk.ops(), "the disk has seen the same operations");
    }
}

/// These tests can fail: a disk that says "synced" and is not loses what was acknowledged, and that is seen.
#[test]
fn a_disk_that_lies_is_found_out() {
    for quick_repair in [false, true] {
        let history = a_history(4, quick_repair);
        let ops = history.disk.ops();
        let mut tape = Tape::new(&history.base, &ops);
        let mut found_out = 0;
        for (last, promise) in history.promises.iter().zip(&history.promises[1..]) {
            let image = tape.at(last.position).durable.to_vec();
            let recovered = History::recover(image, fastrand::Rng::with_seed(4), promise, None);
            let lost = promise.clean != last.clean || !promise.found.differences(&last.found).is_empty();
            assert_eq!(recovered.is_err(), lost, "without what came at {}", last.position);
            found_out += usize::from(lost);
        }
        assert!(found_out > STEPS / 2, "{found_out}");
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Cuts the power of one history, and of what comes after the cuts.
struct Cutter {
    random: fastrand::Rng,
    tally: Tally,
    directory: TempDir,
}

impl Cutter {
    fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { random: fastrand::Rng::with_seed(seed), tally: Tally::default(), directory }
    }

    fn run(&mut self, seed: u64, quick_repair: bool) {
        let history = a_history(seed, quick_repair);
        let ops = history.disk.ops();
        self.tally.histories += 1;
        self.tally.commits += history.promises.len() - 1;
        self.tally.growths += growths(history.base.len(), &ops);
        self.tally.overlaps += overlaps(&ops);
        let mut tape = Tape::new(&history.base, &ops);
        for cut in self.cuts(&ops) {
            let moment = tape.at(cut);
            self.tally.cuts += 1;
            self.tally.cuts_in_growth += usize::from(moment.is_growing());
            for fate in moment.fates(&mut self.random, 5) {
                let (before, after) = history.promised_at(cut);
                let place = format!("at {cut} of {} operations, what was not synced: {fate:?}", ops.len());
                let _place = Place(&place);
                let image = moment.image(fate, &mut self.random);
                self.tally.images += 1;
                self.tally.bytes += image.len();
                self.look_at(image, before, after, &place);
            }
        }
    }

    /// Before and after each sync, and at some operations between.
    fn cuts(&mut self, ops: &[Op]) -> BTreeSet<usize> {
        let between: Vec<_> = (0..ops.len() / 25).map(|_| self.random.usize(..ops.len())).collect();
        syncs(ops).flat_map(|sync| [sync, sync + 1]).chain(between).collect()
    }

    fn look_at(&mut self, image: Vec<u8>, before: &Promise, after: Option<&Promise>, place: &str) {
        if self.random.u8(..16) == 0 {
            return self.look_at_file(&image, before, after);
        }
        let mut history = self.recover(image, before, after);
        self.tally.under_way += usize::from(!Arc::ptr_eq(&history.promises[0].found, &before.found));
        match self.random.u8(..40) {
            0 => self.cut_again(history, place),
            1..4 => self.go_on(&mut history),
            _ => {}
        }
    }

    fn recover(&mut self, image: Vec<u8>, before: &Promise, after: Option<&Promise>) -> History {
        let history = History::recover(image, self.random.fork(), before, after);
        let history = history.unwrap_or_else(|wrong| panic!("{wrong}"));
        let Promise { model, found, .. } = &history.promises[0];
        self.tally.note_parked(model, found);
        history
    }

    /// The way of the product from end to end, on a real file.
    fn look_at_file(&mut self, image: &[u8], before: &Promise, after: Option<&Promise>) {
        let path = self.directory.path().join("store.redb");
        fs::write(&path, image).expect("a file");
        let opened = open(&path, &before.model.options).expect("it opens");
        let Opened { outbox, writer, unclean, last_seq, first_attempt, .. } = opened;
        let promise =
            kept(&outbox.database, unclean, before, after).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!((last_seq, first_attempt), (promise.model.last_seq(), promise.model.next_attempt()));
        writer.close(End::CutOff).expect("it closes");
        self.tally.on_disk += 1;
    }

    /// What was given is known, new work is done, and all is there when it is opened again.
    fn go_on(&mut self, history: &mut History) {
        history.configure();
        let (ids, files) = history.hand_in_again();
        history.work();
        history.reopen();
        history.work();
        history.check();
        history.close();
        self.tally.went_on += 1;
        self.tally.duplicates += ids;
        self.tally.files += files;
    }

    /// The power goes again: while the store was repaired and opened, or a little later.
    fn cut_again(&mut self, mut history: History, place: &str) {
        self.go_on(&mut history);
        let ops = history.disk.ops();
        let mut tape = Tape::new(&history.base, &ops);
        for cut in self.cuts(&ops) {
            let in_opening = cut <= history.promises[1].position;
            if !in_opening && self.random.u8(..3) > 0 {
                continue;
            }
            let moment = tape.at(cut);
            let (before, after) = history.promised_at(cut);
            for fate in moment.fates(&mut self.random, if in_opening { 3 } else { 1 }) {
                let place = format!("{place}; and then again at {cut} of {}: {fate:?}", ops.len());
                let _place = Place(&place);
                let image = moment.image(fate, &mut self.random);
                self.tally.second_images += 1;
                self.tally.second_in_opening += usize::from(in_opening);
                self.tally.bytes += image.len();
                drop(self.recover(image, before, after));
            }
        }
    }
}

/// A history from a new store to its closing.
fn a_history(seed: u64, quick_repair: bool) -> History {
    let mut random = fastrand::Rng::with_seed(seed);
    let (image, promise) = History::create(quick_repair, &mut random);
    let history = History::recover(image, random.fork(), &promise, None);
    let mut history = history.expect("a new store is as it was made");
    // Every other one so that its file grows more than once.
    if seed.is_multiple_of(2) {
        history.go(STEPS / 2, 7);
    } else {
        history.go(STEPS, 1);
    }
    history.check();
    history.close();
    history
}

/// Says where the power was cut, should a test end there.
struct Place<'a>(&'a str);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("the power was cut {}", self.0);
        }
    }
}
