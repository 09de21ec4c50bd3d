//! Rounds that are written by those whose events make them, while the writer's thread rests.

use std::{
    collections::HashSet,
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use tokio::sync::oneshot;

use super::{
    backend::Memory,
    batch, options, success, wait,
    writing::{Bare, accepted, commits},
};
use crate::{
    model::event::Seq,
    outbox::{
        Accepting, End, Full, Notice, Opened, Room, StoreError,
        ground::Ground,
        queue::{Queue, Turn},
    },
};

/// A turn with one event. What comes while the thread is not at rest yet goes its way, and is waited for.
fn turn(queue: &Arc<Queue>) -> (Turn, Accepting) {
    loop {
        let (sender, receiver) = oneshot::channel();
        let turn = queue.accept_here(batch(None, "{}"), sender);
        let accepting = Accepting(receiver);
        match turn {
            Some(turn) => return (turn, accepting),
            None => drop(accepted(accepting)),
        }
    }
}

/// A store that knows all ids, whose thread writes nothing by itself.
fn bare(memory: &Memory) -> Bare {
    let bare = Bare::new(memory);
    bare.queue.ids_are_whole();
    bare
}

/// Whether it is answered already.
fn is_answered(accepting: &mut Accepting) -> bool {
    !matches!(accepting.0.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

#[test]
fn who_would_only_wait_writes_in_his_own_thread() {
    let memory = Memory::new(&options());
    let mut bare = bare(&memory);
    let (turn, mut accepting) = turn(&bare.queue);
    while bare.notices.try_recv().is_ok() {}
    let before = memory.syncs();
    assert!(!is_answered(&mut accepting), "nothing is written yet");
    let rest = turn.write();
    assert!(memory.syncs() > before);
    assert!(is_answered(&mut accepting), "nobody else had to come round");
    assert!(bare.notices.try_recv().is_err(), "who waits for the answer has it first");
    drop(rest);
    assert!(matches!(bare.notices.try_recv(), Ok(Notice::Scheduled(_))), "then the engine is told");
    bare.writer.close(End::Clean).expect("it closes");
}

#[test]
fn what_comes_during_a_turn_is_the_next_round() {
    let memory = Memory::new(&options());
    let mut bare = bare(&memory);
    let (turn, first) = turn(&bare.queue);
    let (sender, receiver) = oneshot::channel();
    assert!(bare.queue.accept_here(batch(None, "{}"), sender).is_none(), "one at a time");
    let later = [Accepting(receiver), bare.accept(None, "{}"), bare.accept(Some("p"), "{}")];
    drop(turn.write());
    let first = accepted(first);
    let order = later.map(accepted);
    assert!(order.is_sorted() && first < order[0], "in the order of the asking");
    let count = usize::try_from(order[2].get()).expect("few");
    let commits = commits(&mut bare.notices, count);
    assert_eq!(commits.last(), Some(&3), "one commit for all that came during the turn: {commits:?}");
    bare.writer.close(End::Clean).expect("it closes");
}

#[test]
fn outcomes_that_wait_for_company_go_with_a_turn() {
    let memory = Memory::new(&options());
    let mut bare = bare(&memory);
    let seq = accepted(bare.accept(None, "{}"));
    let mut settles = vec![success(seq.get())];
    // In this store they wait for an hour.
    bare.queue.settle(&mut settles);
    let (turn, accepting) = turn(&bare.queue);
    drop(turn.write());
    accepted(accepting);
    let settled = std::iter::from_fn(|| bare.notices.blocking_recv())
        .find_map(|notice| if let Notice::Settled(keys) = notice { Some(keys) } else { None });
    assert_eq!(settled, Some(vec![success(seq.get()).key]));
    bare.writer.close(End::Clean).expect("it closes");
}

#[test]
fn an_event_that_waits_for_the_map_of_ids_is_nobodys_turn() {
    let memory = Memory::new(&options());
    let bare = Bare::new(&memory);
    drop(turn(&bare.queue).0.write());
    let (sender, receiver) = oneshot::channel();
    assert!(bare.queue.accept_here(batch(Some("p"), "{}"), sender).is_none());
    let mut accepting = Accepting(receiver);
    drop(turn(&bare.queue).0.write());
    assert!(!is_answered(&mut accepting));
    bare.queue.ids_are_whole();
    accepted(accepting);
    bare.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_turn_that_fails_is_the_end() {
    let memory = Memory::new(&options());
    let mut bare = bare(&memory);
    let (turn, accepting) = turn(&bare.queue);
    let later = bare.accept(None, "{}");
    memory.fail_after(0);
    drop(turn.write());
    assert!(wait(accepting.answer()).is_err());
    assert!(matches!(wait(later.answer()), Err(StoreError::Stopped)));
    let said = std::iter::from_fn(|| bare.notices.blocking_recv());
    let said: Vec<_> = said.filter(|notice| !matches!(notice, Notice::Scheduled(_))).collect();
    assert!(matches!(said[..], [Notice::Failed(StoreError::Redb(_))]), "{said:?}");
    assert!(matches!(wait(bare.accept(None, "{}").answer()), Err(StoreError::Stopped)));
    assert!(bare.writer.close(End::Clean).is_err());
}

/// Its events, and the outcomes that were to go with them, are lost otherwise.
#[test]
fn a_turn_that_is_not_written_is_an_error() {
    let memory = Memory::new(&options());
    let mut bare = bare(&memory);
    let (turn, accepting) = turn(&bare.queue);
    drop(turn);
    assert!(matches!(wait(accepting.answer()), Err(StoreError::Stopped)));
    let said = std::iter::from_fn(|| bare.notices.blocking_recv());
    assert!(matches!(said.last(), Some(Notice::Failed(StoreError::Stopped))));
    assert!(bare.writer.close(End::Clean).is_err());
}

#[test]
fn closing_waits_for_a_turn() {
    let memory = Memory::new(&options());
    let bare = bare(&memory);
    let (turn, accepting) = turn(&bare.queue);
    bare.queue.close(End::Clean);
    drop(turn.write());
    let seq = accepted(accepting);
    bare.writer.close(End::Clean).expect("it closes");
    let Opened { unclean, last_seq, writer, .. } = memory.open(&options());
    assert_eq!((unclean, last_seq), (false, seq));
    writer.close(End::Clean).expect("it closes");
}

/// A disk that has room at so many looks, and none afterwards.
#[derive(Clone, Debug)]
struct FillsUp(Arc<AtomicUsize>);

impl Ground for FillsUp {
    fn free(&self) -> Option<u64> {
        let had_room = self.0.fetch_update(SeqCst, SeqCst, |looks| looks.checked_sub(1)).is_ok();
        Some(if had_room { 1 << 40 } else { 0 })
    }

    fn allocate(&self, _: &File, _: u64) -> io::Result<bool> {
        Ok(false)
    }
}

#[test]
fn a_disk_that_a_round_has_filled_shuts_the_door() {
    let open = |looks| {
        let memory = Memory::new(&options());
        let disk = FillsUp(Arc::new(AtomicUsize::new(looks)));
        let room = Room::on(Box::new(disk.clone()), Path::new("/nowhere/store.redb"), &options());
        let bare = Bare::on(&memory, room.clone());
        bare.queue.ids_are_whole();
        (bare, room, disk)
    };
    let closed = |room: &Room| room.door().borrow().closed();
    let (bare, room, _) = open(1);
    accepted(bare.accept(None, "{}"));
    bare.writer.close(End::Clean).expect("it closes");
    assert_eq!(closed(&room), Some(Full::Disk), "the thread's");

    let (bare, room, disk) = open(usize::MAX);
    let (turn, accepting) = turn(&bare.queue);
    let rest = turn.write();
    accepted(accepting);
    disk.0.store(0, SeqCst);
    assert_eq!(closed(&room), None);
    drop(rest);
    assert_eq!(closed(&room), Some(Full::Disk), "a producer's");
    bare.writer.close(End::Clean).expect("it closes");
}

#[test]
fn many_at_once_are_all_answered_once() {
    const THREADS: u64 = 4;
    const EACH: u64 = 250;
    let memory = Memory::new(&options());
    let Opened { outbox, writer, .. } = memory.open(&options());
    let outbox = &outbox;
    let hand_in = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut waiting, mut seqs) = (Vec::new(), Vec::new());
        for _ in 0..EACH {
            waiting.push(match random.u8(..3) {
                0 => outbox.accept(batch(None, "{}")),
                _ => outbox.accept_here(batch(None, "{}")).0,
            });
            if random.bool() {
                seqs.extend(waiting.drain(..).map(accepted));
                let one = seqs[random.usize(..seqs.len())];
                outbox.settle(&mut vec![success(one.get())]);
            }
        }
        seqs.extend(waiting.into_iter().map(accepted));
        seqs
    };
    let seqs: HashSet<Seq> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(move || hand_in(seed))).collect();
        threads.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
    });
    assert_eq!(seqs.len() as u64, THREADS * EACH, "each has a number of its own");
    writer.close(End::Clean).expect("it closes");
    let opened = memory.open(&options());
    assert_eq!((opened.unclean, opened.last_seq.get()), (false, THREADS * EACH));
    opened.writer.close(End::Clean).expect("it closes");
}
