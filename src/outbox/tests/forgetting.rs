//! What is forgotten is forgotten whole, in steps, and no number comes a second time.

use std::{
    pin::pin,
    task::{Context, Waker},
};

use redb::ReadableTableMetadata as _;

use super::{at, backend::Memory, batch, options, report, stored_bytes, success, wait};
use crate::{
    model::{
        attempt::{AttemptRow, Why},
        delivery::{DeliveryKey, FailReason, State},
        event::Seq,
    },
    outbox::{
        Due, End, Forgotten, Notice, Opened, Options, Outbox, Settle,
        schema::{ATTEMPTS, EVENTS, HISTORY, PENDING},
    },
};

/// An attempt of the first delivery of event `seq` after which it is `state`.
fn attempted(seq: u64, number: u32, state: State) -> Settle {
    let mut settle = success(seq);
    (settle.delivery.attempt, settle.delivery.state) = (number, state);
    settle.attempt = Some((Why::Schedule, Box::new(report(at(u64::from(number))))));
    settle
}

fn settled(opened: &mut Opened, settles: impl IntoIterator<Item = Settle>) {
    let mut left = 0;
    for settle in settles {
        opened.outbox.settle(&mut vec![settle]);
        left += 1;
    }
    while left > 0 {
        match opened.notices.blocking_recv().expect("the writer runs") {
            Notice::Settled(keys) => left -= keys.len(),
            Notice::Scheduled(_) => {}
            other => panic!("not now: {other:?}"),
        }
    }
}

fn accept(outbox: &Outbox, count: u64) {
    for _ in 0..count {
        wait(outbox.accept(batch(None, "{}")).answer()).expect("the store takes it");
    }
}

/// Those that have succeeded, and others `if_failed`.
fn due(seqs: impl IntoIterator<Item = u64>, if_failed: bool) -> Vec<Due> {
    let due = |seq| Due { seq: Seq::new(seq), if_succeeded: true, if_failed };
    seqs.into_iter().map(due).collect()
}

/// The rows of `events`, `pending`, `history` and `attempts`.
fn rows(outbox: &Outbox) -> [u64; 4] {
    let txn = outbox.database.begin_read().expect("a reader");
    [EVENTS, PENDING, HISTORY, ATTEMPTS]
        .map(|table| txn.open_table(table).expect("a table").len().expect("its length"))
}

#[test]
fn an_event_goes_with_all_that_is_of_it() {
    let memory = Memory::new(&options());
    let mut opened = memory.open(&options());
    let failed = State::Failed(FailReason::Exhausted);
    accept(&opened.outbox, 5);
    // Attempts of several events in turn; the fourth event stays pending.
    let turns = (1..=3).flat_map(|number| (1..=4).map(move |seq| attempted(seq, number, State::Pending)));
    settled(&mut opened, turns);
    let ends = [(1, State::Succeeded), (2, failed), (3, State::Succeeded), (5, State::Succeeded)];
    settled(&mut opened, ends.map(|(seq, state)| attempted(seq, 4, state)));
    let outbox = opened.outbox.clone();
    assert_eq!(rows(&outbox), [5, 1, 4, 16]);
    let forget = |seqs: &[u64], if_failed| {
        let done = wait(outbox.forget(due(seqs.iter().copied(), if_failed))).expect("the store takes it");
        assert_eq!(done.looked_at, seqs.len());
        assert_eq!(outbox.room().held(), stored_bytes(&outbox.database), "all rows are counted");
        (done.events, done.rows)
    };
    assert_eq!(forget(&[2, 4, 5, 6, 0], false), (0, 0), "failed, pending, the newest, and none");
    assert_eq!(rows(&outbox), [5, 1, 4, 16]);
    assert_eq!(forget(&[1, 1], false), (1, 6), "once");
    assert_eq!(rows(&outbox), [4, 1, 3, 12]);
    let others = Due { seq: Seq::new(3), if_succeeded: false, if_failed: true };
    assert_eq!(wait(outbox.forget(vec![others])).expect("the store takes it").events, 0, "it has succeeded");
    assert_eq!(forget(&[1, 2, 3, 4, 5], true), (2, 12));
    assert_eq!(rows(&outbox), [2, 1, 1, 4], "of the pending one, and of the newest");
    let reader = outbox.read().expect("a reader");
    let gone = DeliveryKey { seq: Seq::new(2), slot: 0 };
    assert_eq!(reader.delivery(gone).expect("it can be read"), None);
    assert_eq!(reader.head(gone.seq).expect("it can be read"), None);
    drop((reader, outbox));
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn no_number_is_given_twice() {
    let memory = Memory::new(&options());
    let mut opened = memory.open(&options());
    accept(&opened.outbox, 3);
    // The newest attempts are of the oldest event.
    settled(&mut opened, [success(3), success(2), success(1)]);
    let done = wait(opened.outbox.forget(due([1, 2, 3], false))).expect("the store takes it");
    assert_eq!((done.events, rows(&opened.outbox)), (2, [1, 0, 1, 1]));
    for end in [End::Clean, End::CutOff] {
        opened.writer.close(end).expect("it closes");
        opened = memory.open(&options());
        assert_eq!((opened.last_seq, opened.first_attempt), (Seq::new(3), AttemptRow::new(4)));
        assert_eq!(opened.outbox.room().held(), stored_bytes(&opened.outbox.database));
    }
    accept(&opened.outbox, 1);
    settled(&mut opened, [success(4)]);
    let reader = opened.outbox.read().expect("a reader");
    let key = DeliveryKey { seq: Seq::new(4), slot: 0 };
    let (_, delivery) = reader.delivery(key).expect("it can be read").expect("it is there");
    assert_eq!(delivery.last_attempt, Some(AttemptRow::new(4)));
    drop(reader);
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_commit_removes_so_much_and_no_more_events_then() {
    const EVENTS_IN_ALL: u64 = 2_000;
    let memory = Memory::new(&options());
    let mut opened = memory.open(&Options { pending_per_endpoint: EVENTS_IN_ALL, ..options() });
    accept(&opened.outbox, 1);
    let many = (1..EVENTS_IN_ALL).map(|_| opened.outbox.accept(batch(None, "{}"))).collect::<Vec<_>>();
    for one in many {
        wait(one.answer()).expect("the store takes it");
    }
    settled(&mut opened, (1..=EVENTS_IN_ALL).map(success));
    let mut left = due(1..=EVENTS_IN_ALL, false);
    let mut steps = Vec::new();
    while !left.is_empty() {
        let done = wait(opened.outbox.forget(left.clone())).expect("the store takes it");
        left.drain(..done.looked_at);
        steps.push(done);
    }
    let Forgotten { looked_at, events, rows: first, .. } = steps[0];
    // Three rows each: the event, its delivery, its attempt.
    assert_eq!((looked_at, events, first), (1_366, 1_366, 4_098));
    assert_eq!((steps[1].events, steps.len()), (EVENTS_IN_ALL - 1_366 - 1, 2));
    assert_eq!(rows(&opened.outbox), [1, 0, 1, 1], "but for the newest");
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn what_is_pending_again_by_the_same_commit_stays() {
    let memory = Memory::new(&options());
    let mut opened = memory.open(&options());
    accept(&opened.outbox, 2);
    settled(&mut opened, [attempted(1, 1, State::Pending)]);
    // Both wait for the commit that is under way: the end of the delivery, and the wish to forget it.
    memory.close_gate();
    let holder = opened.outbox.accept(batch(None, "{}"));
    memory.wait_for_sync();
    opened.outbox.settle(&mut vec![attempted(1, 2, State::Pending)]);
    let mut answer = pin!(opened.outbox.forget(due([1], true)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut context).is_pending());
    memory.open_gate();
    wait(holder.answer()).expect("the store takes it");
    assert_eq!(wait(answer).expect("the store takes it").events, 0);
    assert_eq!(rows(&opened.outbox), [3, 3, 0, 2]);
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn an_end_without_an_attempt_of_what_is_gone_is_nothing() {
    let memory = Memory::new(&options());
    let mut opened = memory.open(&options());
    accept(&opened.outbox, 2);
    settled(&mut opened, [success(1)]);
    wait(opened.outbox.forget(due([1], false))).expect("the store takes it");
    // As a pass decides it that has read the row before.
    let late = Settle { attempt: None, ..success(1) };
    settled(&mut opened, [late]);
    assert_eq!(rows(&opened.outbox), [1, 1, 0, 0]);
    opened.writer.close(End::Clean).expect("it closes");
}
