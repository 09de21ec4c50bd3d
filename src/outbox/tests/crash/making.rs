//! The power is cut while a store is made: the next start makes it, or finds it whole.

use std::{fs, path::Path};

use super::{
    super::{ID_KEY, batch, open, options, wait},
    Place,
    power::{Disk, Fate, Op, Tape},
};
use crate::outbox::{BatchAnswer, End, Opened, Options, open as opening};

/// What the making does to the disk.
fn made(options: &Options) -> (Vec<Op>, Vec<u8>) {
    let disk = Disk::new(Vec::new());
    opening::make(disk.clone(), Path::new("memory"), options, ID_KEY).expect("a new store");
    (disk.ops(), disk.bytes())
}

/// The store at `path` is a new one, and is used.
fn use_new(path: &Path, options: &Options) {
    let Opened { outbox, writer, unclean, last_seq, first_attempt, .. } =
        open(path, options).expect("it opens");
    assert!(!unclean, "nobody had it before");
    assert_eq!((last_seq.get(), first_attempt.get()), (0, 1), "nothing is in it");
    let answer = wait(outbox.accept(batch(Some("p"), "{}")).answer()).expect("the store takes it");
    assert!(matches!(&answer, BatchAnswer::Events(all) if all.len() == 1));
    writer.close(End::Clean).expect("it closes");
    let opened = open(path, options).expect("it opens again");
    assert_eq!((opened.unclean, opened.last_seq.get()), (false, 1));
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_making_that_was_cut_off_is_begun_again() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut images, mut grown) = (0, 0);
    for quick_repair in [false, true] {
        let options = Options { quick_repair, ..options() };
        let (ops, _) = made(&options);
        let mut tape = Tape::new(&[], &ops);
        for cut in 0..=ops.len() {
            let moment = tape.at(cut);
            grown += usize::from(moment.is_growing());
            for fate in moment.fates(&mut random, Fate::ALL.len()) {
                let place = format!("at {cut} of the making's {}: {fate:?}", ops.len());
                let _place = Place(&place);
                let directory = tempfile::tempdir().expect("a directory");
                let path = directory.path().join("store.redb");
                let leftover = directory.path().join("store.redb.new");
                fs::write(&leftover, moment.image(fate, &mut random)).expect("a file");
                use_new(&path, &options);
                assert!(!leftover.exists(), "it was thrown away");
                images += 1;
            }
        }
    }
    println!("{images} images of stores that were being made, {grown} cuts while the file became longer");
    assert!(images > 150 && grown > 1, "{images} images, {grown} in growth");
}

/// Nothing of the file is left to be synced when it gets its name: whatever has the name is whole.
#[test]
fn what_is_renamed_is_whole() {
    for quick_repair in [false, true] {
        let options = Options { quick_repair, ..options() };
        let (ops, bytes) = made(&options);
        let moment_of_renaming = Tape::new(&[], &ops).at(ops.len()).pending.len();
        assert_eq!(moment_of_renaming, 0, "every operation comes before the last sync: {:?}", ops.last());
        for leftover in [None, Some(&bytes), Some(&bytes[..bytes.len() / 2].to_vec())] {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("store.redb");
            fs::write(&path, &bytes).expect("a file");
            if let Some(leftover) = leftover {
                fs::write(directory.path().join("store.redb.new"), leftover).expect("a file");
            }
            use_new(&path, &options);
        }
    }
}
