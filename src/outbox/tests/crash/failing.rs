//! The disk fails at every operation of a commit in turn: it has no space, or an error, for once or from then on.
//!
//! Where there is a reserve, a write that finds no space is made up for. Otherwise the commit fails: it is never answered, and
//! nothing is written after it. What is on the disk then, and what a power cut would make of it, opens again, with all
//! that was promised and nothing of what never was.
//!
//! In the suite each sync and one of some writes are struck; with `POSTHASTE_STRIDE=1` each, and `POSTHASTE_SEEDS` says how many histories.

use std::fs;

use rustix::io::Errno;
use tempfile::TempDir;

use super::{
    super::{options, room},
    History, Place, a_history,
    history::{Failed, Promise, open},
    power::{Disk, Op, Struck, Tape},
    variable,
};
use crate::outbox::{Options, Room};

/// Of so many writes of a commit one is struck; each sync and change of length, and of a start each operation.
const STRIDE: usize = 29;

/// What the disk does.
#[derive(Clone, Copy, Debug)]
struct Case {
    error: Errno,
    once: bool,
    reserve: bool,
}

const CASES: [Case; 5] = [
    Case { error: Errno::NOSPC, once: true, reserve: true },
    Case { error: Errno::NOSPC, once: false, reserve: true },
    Case { error: Errno::NOSPC, once: true, reserve: false },
    Case { error: Errno::IO, once: true, reserve: true },
    Case { error: Errno::IO, once: false, reserve: false },
];

impl Case {
    /// Whether the store gets over what it was struck by.
    fn is_made_up_for(self, struck: Struck) -> bool {
        self.error == Errno::NOSPC && self.once && self.reserve && struck != Struck::Sync
    }
}

/// What has happened.
#[derive(Debug, Default)]
struct Count {
    struck: [usize; 3],
    made_up_for: usize,
    failed: usize,
    kept_before: usize,
    kept_after: usize,
}

#[test]
fn no_error_of_the_disk_loses_what_was_acknowledged() {
    let mut count = Count::default();
    let seeds = variable("POSTHASTE_SEEDS").unwrap_or(2);
    let stride = variable("POSTHASTE_STRIDE").map_or(STRIDE, |stride| usize::try_from(stride).expect("fits"));
    for seed in 0..seeds {
        let history = a_history(3 + 2 * seed, seed % 2 == 1);
        let (image, promise) = (history.disk.bytes(), history.last().clone());
        history.disk.turn_off();
        // The cases in turn; the next seed begins with the next one.
        let case = |turn: usize| CASES[(turn + usize::try_from(seed).expect("fits")) % CASES.len()];
        let places = places(seed, (&image, &promise), stride);
        for (turn, after) in places.iter().enumerate() {
            fail(seed, case(turn), *after, (&image, &promise), &mut count);
        }
        println!("seed {seed}: at {} operations of a commit", places.len());
        let mut turn = 0;
        while fail_at_start(case(turn), turn, (&image, &promise)) {
            turn += 1;
        }
        assert!(turn > 2, "there are operations: {turn}");
    }
    println!("{count:?}");
    let Count { struck: [writes, lengths, syncs], made_up_for, failed, kept_before, kept_after } = count;
    assert!(writes > 5 && syncs > 1 && failed > 3 && made_up_for > 0, "{lengths} changes of length");
    assert!(kept_before > 3, "{kept_after} were kept whole");
}

/// After how many operations of the commit the disk is to fail: at each sync and change of length, and some writes.
fn places(seed: u64, (image, promise): (&[u8], &Promise), stride: usize) -> Vec<usize> {
    let history = History::recover(image.to_vec(), fastrand::Rng::with_seed(seed), promise, None);
    let mut history = history.expect("it is as it was closed");
    let before = history.disk.position();
    history.work();
    let ops = history.disk.ops();
    let ops = ops[before..].iter().enumerate();
    let is_one = |(place, op): &(usize, &Op)| place % stride == 0 || !matches!(op, Op::Write(..));
    ops.filter(is_one).map(|(place, _)| place).collect()
}

/// Lets the disk fail after so many operations of a commit.
fn fail(seed: u64, case: Case, after: usize, stored: (&[u8], &Promise), count: &mut Count) {
    let (image, promise) = stored;
    let place = format!("{case:?} after {after} operations of seed {seed}");
    let _place = Place(&place);
    let directory = tempfile::tempdir().expect("a directory");
    let room = room_for(case, &directory);
    let random = || fastrand::Rng::with_seed(seed);
    let history = History::recover_in(&room, image.to_vec(), random(), promise, None);
    let mut history = history.expect("it is as it was closed");
    history.disk.fail(after, case.error, case.once);
    let failed = history.try_work().err();
    let struck = history.disk.struck().expect("the commit has so many");
    count.struck[struck as usize] += 1;
    let is_shut = room.door().borrow().disk_full;
    assert_eq!(is_shut, case.error == Errno::NOSPC, "the door is shut where the disk is full");
    let Some(failed) = failed else {
        // redb may write a page before the commit, and keeps one that cannot be written for then.
        assert!(case.once && struck == Struck::Write || case.is_made_up_for(struck), "{struck:?} has failed");
        if case.is_made_up_for(struck) {
            assert_eq!(reserved(&directory), 0, "the reserve is given up");
            count.made_up_for += 1;
        }
        let ops = history.disk.ops();
        let durable = Tape::new(&history.base, &ops).at(ops.len()).durable.to_vec();
        let recovered = History::recover(durable, random(), history.last(), None);
        recovered.unwrap_or_else(|wrong| panic!("{wrong}"));
        return;
    };
    assert!(!case.is_made_up_for(struck), "{struck:?}: {:?}", failed.error);
    count.failed += 1;
    let position = history.disk.position();
    assert!(history.try_work().is_err(), "nothing is written any more");
    assert_eq!(history.disk.position(), position, "not in part either");
    found_again(&history, &failed, random(), count);
}

/// What is left is as promised, or as it was to be next; whatever becomes of what was not synced.
fn found_again(history: &History, failed: &Failed, mut random: fastrand::Rng, count: &mut Count) {
    let (ops, before) = (history.disk.ops(), history.last());
    let mut tape = Tape::new(&history.base, &ops);
    let moment = tape.at(ops.len());
    let mut images = vec![history.disk.bytes()];
    for fate in moment.fates(&mut random, 1) {
        images.push(moment.image(fate, &mut random));
    }
    for image in images {
        let recovered = History::recover(image, random.fork(), before, Some(&failed.after));
        let mut recovered = recovered.unwrap_or_else(|wrong| panic!("{wrong}"));
        let is_before = recovered.promises[0].model.last_seq() == before.model.last_seq();
        *if is_before { &mut count.kept_before } else { &mut count.kept_after } += 1;
        recovered.work();
        recovered.check();
    }
}

/// The same while the store is opened.
fn fail_at_start(case: Case, after: usize, (image, promise): (&[u8], &Promise)) -> bool {
    let place = format!("{case:?} after {after} operations of a start");
    let _place = Place(&place);
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Disk::new(image.to_vec());
    disk.fail(after, case.error, case.once);
    let opened = open(&disk, &promise.model.options, &room_for(case, &directory));
    let Some(struck) = disk.struck() else {
        opened.expect("nothing has struck");
        disk.turn_off();
        return false;
    };
    assert_eq!(opened.is_ok(), case.is_made_up_for(struck), "{struck:?}: {opened:?}");
    disk.turn_off();
    drop(opened);
    let begun = Promise { clean: false, ..promise.clone() };
    let random = fastrand::Rng::with_seed(1);
    let left = disk.bytes();
    History::recover(left, random, promise, Some(&begun)).unwrap_or_else(|wrong| panic!("{wrong}"));
    true
}

fn room_for(case: Case, directory: &TempDir) -> Room {
    if !case.reserve {
        return room();
    }
    let options = Options { max_size: u64::MAX, reserve: 4096, ..options() };
    let room = Room::beside(&directory.path().join("store"), &options);
    room.look();
    assert_eq!(reserved(directory), 4096);
    room
}

fn reserved(directory: &TempDir) -> u64 {
    fs::metadata(directory.path().join("store.reserve")).expect("it is there").len()
}
