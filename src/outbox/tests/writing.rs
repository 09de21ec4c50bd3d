//! The writer's thread: when it answers, what it puts into one commit, and what it does when the disk fails.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{at, backend::Memory, batch, options, room, success, wait};
use crate::outbox::End;
use crate::{
    model::{
        delivery::{DeliveryKey, FailReason, Load, Scheduled, State},
        endpoint::EndpointNumber,
        event::Seq,
        id::IdKey,
    },
    outbox::{
        Acceptance, Accepting, BatchAnswer, Entry, FileIdentity, Notice, Opened, Options, Outbox, Room,
        StoreError,
        database::Shared,
        depths::Depths,
        queue::Queue,
        round::{GROUP_BYTES, GROUP_EVENTS, GROUP_LOADED, GROUP_PARKED, GROUP_SETTLES},
        schema::PENDING,
        store::{Store, scan_ids},
        writer::Writer,
    },
};

const HOUR: Duration = Duration::from_secs(3600);

/// Outcomes wait for an hour, unless something else is written.
fn patient() -> Options {
    Options { settle_delay: HOUR, ..options() }
}

pub(super) fn accepted(accepting: Accepting) -> Seq {
    let answer = wait(accepting.answer()).expect("the store takes it");
    let BatchAnswer::Events(answers) = answer else { panic!("no file was given") };
    let [Acceptance::Accepted(id)] = answers[..] else { panic!("one new event was given: {answers:?}") };
    IdKey::new(super::ID_KEY).open_event(id).expect("an id of this store").1
}

/// The commits that brought these many deliveries, by the number of deliveries.
pub(super) fn commits(notices: &mut mpsc::UnboundedReceiver<Notice>, deliveries: usize) -> Vec<usize> {
    let mut commits = Vec::new();
    while commits.iter().sum::<usize>() < deliveries {
        match notices.blocking_recv().expect("the writer runs") {
            Notice::Scheduled(all) => commits.push(all.len()),
            other => panic!("not now: {other:?}"),
        }
    }
    commits
}

/// Holds the writer in a commit while `work` adds to its queue.
fn while_committing<T>(memory: &Memory, outbox: &Outbox, work: impl FnOnce() -> T) -> T {
    memory.close_gate();
    let holder = outbox.accept(batch(None, "{}"));
    memory.wait_for_sync();
    let result = work();
    memory.open_gate();
    accepted(holder);
    result
}

#[test]
fn answers_and_notices_come_after_the_commit() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&options());
    memory.close_gate();
    let mut answer = pin!(outbox.accept(batch(None, "{}")).answer());
    memory.wait_for_sync();
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(answer.as_mut().poll(&mut context), Poll::Pending), "it is not durable yet");
    assert!(notices.try_recv().is_err(), "so nothing is to be attempted");
    assert_eq!(outbox.read().and_then(|reader| reader.event(Seq::new(1))).expect("it can be read"), None);
    memory.open_gate();
    wait(answer).expect("the store takes it");
    assert_eq!(commits(&mut notices, 1), [1]);
    assert!(outbox.read().and_then(|reader| reader.event(Seq::new(1))).expect("it can be read").is_some());
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn what_queues_up_is_one_commit() {
    let memory = Memory::new(&options());
    let many = Options { pending_per_endpoint: 1 << 20, ..options() };
    let Opened { outbox, writer, mut notices, .. } = memory.open(&many);
    let all: Vec<_> = while_committing(&memory, &outbox, || {
        (0..=GROUP_EVENTS).map(|_| outbox.accept(batch(None, "{}"))).collect()
    });
    let order: Vec<Seq> = all.into_iter().map(accepted).collect();
    assert!(order.is_sorted(), "in the order of the asking");
    assert_eq!(commits(&mut notices, GROUP_EVENTS + 2), [1, GROUP_EVENTS, 1], "a full group, and the rest");

    let big = |bytes: usize| {
        let mut batch = batch(None, "");
        batch.events[0].event.data = vec![b'7'; bytes].into();
        outbox.accept(batch)
    };
    let sizes = [GROUP_BYTES / 2, GROUP_BYTES / 2, 1, GROUP_BYTES * 2, 1];
    let all = while_committing(&memory, &outbox, || sizes.map(big));
    let order = all.map(accepted);
    assert!(order.is_sorted(), "in the order of the asking");
    assert_eq!(
        commits(&mut notices, 6),
        [1, 2, 1, 1, 1],
        "no group has more, but for one that is larger alone"
    );

    let mut file = batch(None, "{}");
    let routed = || batch(None, "{}").events.remove(0);
    file.events = (0..GROUP_EVENTS * 3).map(|_| routed()).collect();
    file.file = Some(FileIdentity { directory: "/s".to_owned(), device: 1, inode: 2, mtime: 3, size: 4 });
    let answer = wait(outbox.accept(file).answer()).expect("the store takes it");
    assert!(matches!(answer, BatchAnswer::Events(all) if all.len() == GROUP_EVENTS * 3));
    assert_eq!(commits(&mut notices, GROUP_EVENTS * 3), [GROUP_EVENTS * 3], "a file is not split");
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn outcomes_go_with_the_next_event() {
    let memory = Memory::new(&patient());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&patient());
    let before = memory.syncs();
    accepted(outbox.accept(batch(None, "{}")));
    let one_commit = memory.syncs() - before;
    assert!(one_commit > 0, "an answer means a sync");
    assert_eq!(commits(&mut notices, 1), [1]);
    outbox.settle(&mut vec![success(1)]);
    accepted(outbox.accept(batch(None, "{}")));
    assert_eq!(memory.syncs() - before, 2 * one_commit, "one commit for both");
    assert!(matches!(notices.blocking_recv(), Some(Notice::Settled(all)) if all == [success(1).key]));
    assert_eq!(commits(&mut notices, 1), [1]);
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn many_outcomes_wait_for_nothing() {
    let memory = Memory::new(&patient());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&patient());
    accepted(outbox.accept(batch(None, "{}")));
    assert!(matches!(notices.blocking_recv(), Some(Notice::Scheduled(_))));
    for _ in 0..GROUP_SETTLES {
        outbox.settle(&mut vec![success(1)]);
    }
    let settled = notices.blocking_recv();
    assert!(matches!(settled, Some(Notice::Settled(all)) if all.len() == GROUP_SETTLES));
    writer.close(End::Clean).expect("it closes");
}

/// Nobody waits for millions of keys to be written or read.
#[test]
fn keys_go_to_the_disk_and_come_back_in_bounded_commits() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&options());
    let (rest, lane) = (100, EndpointNumber::new);
    let keys = |count| (0..u64::try_from(count).expect("few")).map(Seq::new);
    let scheduled = |seq| Scheduled { key: DeliveryKey { seq, slot: 0 }, endpoint: lane(1), due: at(5) };
    while_committing(&memory, &outbox, || {
        outbox.park(keys(2 * GROUP_PARKED + rest).map(scheduled).collect());
    });
    assert_eq!(commits(&mut notices, 1), [1]);
    for expected in [GROUP_PARKED, GROUP_PARKED, rest] {
        let parked = notices.blocking_recv();
        assert!(matches!(parked, Some(Notice::Parked(count, _)) if count == expected), "{parked:?}");
    }
    let before = memory.syncs();
    accepted(outbox.accept(batch(None, "{}")));
    let one_commit = memory.syncs() - before;
    while_committing(&memory, &outbox, || {
        for (number, limit) in
            [(1, 1), (1, GROUP_LOADED), (2, 1), (3, GROUP_LOADED - 1), (4, 2 * GROUP_LOADED)]
        {
            outbox.load(Load { lane: lane(number), until: at(5).minute(), limit });
        }
    });
    assert_eq!(commits(&mut notices, 2), [1, 1]);
    for expected in [1, GROUP_LOADED, 0, 0, 0] {
        let loaded = notices.blocking_recv();
        assert!(matches!(&loaded, Some(Notice::Loaded(l)) if l.found.len() == expected), "{loaded:?}");
    }
    // One load alone; the full one; the two that fit together; the one that fits nowhere.
    assert_eq!(memory.syncs() - before, (1 + 1 + 4) * one_commit);
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn closing_writes_what_waits() {
    let memory = Memory::new(&patient());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&patient());
    accepted(outbox.accept(batch(None, "{}")));
    outbox.settle(&mut vec![success(1)]);
    let reader = outbox.read().expect("a reader");
    writer.close(End::Clean).expect("it closes, though there are handles and a reader");
    assert!(matches!(notices.blocking_recv(), Some(Notice::Scheduled(_))));
    assert!(matches!(notices.blocking_recv(), Some(Notice::Settled(_))));
    assert!(notices.blocking_recv().is_none(), "that was the last");
    // From redb's memory or not at all, but without a panic.
    let _ = (reader.event(Seq::new(1)), reader.rows_before(None, 9));
    drop(reader);
    assert_stopped(&outbox);

    let opened = memory.open(&options());
    assert!(!opened.unclean);
    let state = opened.outbox.read().and_then(|reader| reader.delivery(success(1).key));
    assert_eq!(state.expect("it can be read").expect("it is there").1.state, State::Succeeded);
    opened.writer.close(End::Clean).expect("it closes");
}

/// Everything that is asked is answered, with "no".
fn assert_stopped(outbox: &Outbox) {
    outbox.settle(&mut vec![success(1)]);
    assert!(matches!(wait(outbox.accept(batch(None, "{}")).answer()), Err(StoreError::Stopped)));
    assert!(matches!(wait(outbox.accept(batch(Some("p"), "{}")).answer()), Err(StoreError::Stopped)));
    assert!(matches!(wait(outbox.configure(Vec::new(), Vec::new(), at(1))), Err(StoreError::Stopped)));
}

#[test]
fn a_failed_commit_is_the_end() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&options());
    accepted(outbox.accept(batch(Some("p"), "{}")));
    assert!(matches!(notices.blocking_recv(), Some(Notice::Scheduled(_))));
    memory.close_gate();
    let first = outbox.accept(batch(None, "{}"));
    memory.wait_for_sync();
    let later = [outbox.accept(batch(None, "{}")), outbox.accept(batch(Some("p"), "{}"))];
    outbox.settle(&mut vec![success(1)]);
    let mut configure = pin!(outbox.configure(Vec::new(), Vec::new(), at(1)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(configure.as_mut().poll(&mut context).is_pending());
    memory.fail_after(0);
    memory.open_gate();
    assert!(wait(first.answer()).is_err());
    for accepting in later {
        assert!(wait(accepting.answer()).is_err());
    }
    assert!(wait(configure).is_err());
    assert!(matches!(notices.blocking_recv(), Some(Notice::Failed(StoreError::Redb(_)))));
    assert!(notices.blocking_recv().is_none(), "nothing is said after that");
    assert_stopped(&outbox);
    assert!(writer.close(End::Clean).is_err());
    assert!(matches!(outbox.read().err(), Some(StoreError::Stopped)), "reading has ended too");
}

#[test]
fn what_was_answered_outlives_any_failure() {
    for count in 0..60 {
        println!("failing after {count}");
        let memory = Memory::new(&options());
        let Opened { outbox, writer, notices, .. } = memory.open(&options());
        accepted(outbox.accept(batch(None, "{}")));
        memory.fail_after(count);
        let mut answered = 1;
        for _ in 0..5 {
            let answer = wait(outbox.accept(batch(Some("p"), "{}")).answer());
            outbox.settle(&mut vec![success(1)]);
            answered = if answer.is_ok() { 2 } else { answered };
        }
        let closed = writer.close(End::Clean);
        let failed = drain(notices).into_iter().any(|notice| matches!(notice, Notice::Failed(_)));
        assert!(closed.is_err() || !failed, "a failure is said twice");
        drop(outbox);

        memory.mend();
        let opened = memory.open(&options());
        assert!(opened.last_seq.get() >= answered, "{answered} events were answered");
        assert!(closed.is_err() || !opened.unclean);
        let again = wait(opened.outbox.accept(batch(Some("p"), "{}")).answer()).expect("it goes on");
        let BatchAnswer::Events(again) = again else { panic!("no file was given") };
        assert!(answered == 1 || matches!(again[..], [Acceptance::Duplicate(_)]), "{again:?}");
        opened.writer.close(End::Clean).expect("it closes");
    }
}

fn drain(mut notices: mpsc::UnboundedReceiver<Notice>) -> Vec<Notice> {
    std::iter::from_fn(|| notices.blocking_recv()).collect()
}

/// A store whose map of ids nobody reads but the test.
pub(super) struct Bare {
    database: Shared,
    pub(super) queue: Arc<Queue>,
    pub(super) writer: Writer,
    pub(super) notices: mpsc::UnboundedReceiver<Notice>,
}

impl Bare {
    pub(super) fn new(memory: &Memory) -> Self {
        Self::on(memory, room())
    }

    pub(super) fn on(memory: &Memory, room: Room) -> Self {
        let database = Shared::new(memory.database(&options()));
        let store = Store::new(database.clone(), &options(), Depths::default(), room).expect("a store");
        let queue = Arc::new(Queue::default());
        let (sender, notices) = mpsc::unbounded_channel();
        let writer = Writer::start(store, Arc::clone(&queue), HOUR, sender).expect("a thread");
        Self { database, queue, writer, notices }
    }

    pub(super) fn accept(&self, producer_id: Option<&str>, data: &'static str) -> Accepting {
        let (sender, receiver) = oneshot::channel();
        self.queue.accept(batch(producer_id, data), sender);
        Accepting(receiver)
    }
}

#[test]
fn events_with_an_id_wait_for_the_map() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, .. } = memory.open(&options());
    let ids = ["a", "b", "c", "d", "e"];
    for id in ids {
        accepted(outbox.accept(batch(Some(id), "{}")));
    }
    writer.close(End::Clean).expect("it closes");

    let bare = Bare::new(&memory);
    let mut waiting: Vec<_> = ids.map(|id| bare.accept(Some(id), "{}")).into();
    let new = bare.accept(Some("new"), "{}");
    accepted(bare.accept(None, "{}"));
    for accepting in &mut waiting {
        assert!(accepting.0.try_recv().is_err(), "it cannot be told yet whether it is a duplicate");
    }
    scan_ids(&bare.database, 2, |page| {
        assert!(page.len() <= 2);
        bare.queue.found_ids(page);
    })
    .expect("ids are read");
    accepted(bare.accept(None, "{}"));
    for accepting in &mut waiting {
        assert!(accepting.0.try_recv().is_err(), "nor before the last page");
    }
    bare.queue.ids_are_whole();
    for accepting in waiting {
        let answer = wait(accepting.answer()).expect("the store takes it");
        assert!(matches!(&answer, BatchAnswer::Events(all) if matches!(all[..], [Acceptance::Duplicate(_)])));
    }
    assert_eq!(accepted(new).get(), 8, "after the five and the two without an id");
    bare.writer.close(End::Clean).expect("it closes");
}

#[test]
fn what_keeps_an_order_does_not_overtake_what_waits_for_the_map() {
    let memory = Memory::new(&options());
    drop(memory.open(&options()).writer.close(End::Clean));
    let bare = Bare::new(&memory);
    let ordered = |producer_id| {
        let mut batch = batch(producer_id, "{}");
        batch.events[0].deliveries[0].entry = Entry::AtOnce;
        let (sender, receiver) = oneshot::channel();
        bare.queue.accept(batch, sender);
        Accepting(receiver)
    };
    let all = [ordered(None), ordered(Some("a")), ordered(None), ordered(Some("b")), bare.accept(None, "{}")];
    let [first, a, mut behind, b, free] = all;
    assert_eq!((accepted(first).get(), accepted(free).get()), (1, 2), "these need not wait");
    assert!(behind.0.try_recv().is_err(), "another comes before it");
    bare.queue.ids_are_whole();
    assert_eq!([a, behind, b].map(|one| accepted(one).get()), [3, 4, 5]);
    bare.writer.close(End::Clean).expect("it closes");
}

#[test]
fn without_the_map_the_writer_ends() {
    let memory = Memory::new(&options());
    let mut bare = Bare::new(&memory);
    let waiting = bare.accept(Some("a"), "{}");
    bare.queue.fail(StoreError::Row { table: "ids", key: 7 });
    assert!(matches!(wait(waiting.answer()), Err(StoreError::Stopped)));
    assert!(matches!(bare.notices.blocking_recv(), Some(Notice::Failed(StoreError::Row { key: 7, .. }))));
    assert!(bare.writer.close(End::Clean).is_err());
}

#[test]
fn closing_does_not_wait_for_the_map() {
    let memory = Memory::new(&options());
    let bare = Bare::new(&memory);
    let waiting = bare.accept(Some("a"), "{}");
    bare.writer.close(End::Clean).expect("it closes");
    assert!(matches!(wait(waiting.answer()), Err(StoreError::Stopped)));
    assert!(scan_ids(&bare.database, 2, drop).is_err(), "the scan ends as well");
}

/// What the writer says of outcomes, until it has spoken of `count`.
fn outcomes(notices: &mut mpsc::UnboundedReceiver<Notice>, count: usize) -> (Vec<DeliveryKey>, Vec<String>) {
    let (mut settled, mut not) = (Vec::new(), Vec::new());
    while settled.len() + not.len() < count {
        match notices.blocking_recv().expect("the writer runs") {
            Notice::Settled(keys) => settled.extend(keys),
            Notice::NotSettled(all) => {
                not.extend(all.into_iter().map(|(key, why)| format!("{}: {why:?}", key.seq.get())));
            }
            Notice::Scheduled(_) => {}
            other => panic!("not now: {other:?}"),
        }
    }
    (settled, not)
}

#[test]
fn a_row_that_cannot_be_read_is_no_other_rows_business() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, .. } = memory.open(&options());
    for _ in 0..3 {
        accepted(outbox.accept(batch(None, "{}")));
    }
    writer.close(End::Clean).expect("it closes");
    let database = memory.database(&options());
    let txn = database.begin_write().expect("a transaction");
    txn.open_table(PENDING).expect("a table").insert(2 << 16, [9; 9].as_slice()).expect("a row");
    txn.commit().expect("committed");
    database.close().expect("closed");

    let Opened { outbox, writer, mut notices, .. } = memory.open(&options());
    let page = outbox.read().and_then(|reader| reader.backlog(0, Seq::MAX, 9)).expect("the others are read");
    assert_eq!(page.found.iter().map(|(key, _)| key.seq.get()).collect::<Vec<_>>(), [1, 3]);
    assert!(matches!(page.unreadable[..], [StoreError::Row { table: "pending", key }] if key == 2 << 16));
    assert_eq!(page.next, None);
    while_committing(&memory, &outbox, || (1..=9).map(success).for_each(|one| outbox.settle(&mut vec![one])));
    let (settled, not) = outcomes(&mut notices, 9);
    assert_eq!(settled.iter().map(|key| key.seq.get()).collect::<Vec<_>>(), [1, 3, 4]);
    let missing = |seq: u64| {
        let why = StoreError::Row { table: "pending", key: seq << 16 };
        format!("{seq}: Unreadable({why:?})")
    };
    assert_eq!(not, [2, 5, 6, 7, 8, 9].map(missing));
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn an_end_decided_before_an_attempt_is_not_written_after_it() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&options());
    accepted(outbox.accept(batch(None, "{}")));
    let expired = || {
        let mut settle = success(1);
        (settle.attempt, settle.delivery.attempt) = (None, 0);
        settle.delivery.state = State::Failed(FailReason::Expired);
        settle
    };
    let mut retry = success(1);
    retry.delivery.state = State::Pending;
    outbox.settle(&mut vec![retry]);
    outbox.settle(&mut vec![expired()]);
    let (settled, not) = outcomes(&mut notices, 2);
    assert_eq!((settled, not), (vec![success(1).key], vec!["1: Stale".to_owned()]));
    let state = || {
        let found = outbox.read().and_then(|reader| reader.delivery(success(1).key)).expect("it can be read");
        found.expect("it is there").1
    };
    assert_eq!((state().state, state().attempt, outbox.depths().total()), (State::Pending, 1, 1));
    let mut as_it_is = expired();
    as_it_is.delivery.attempt = 1;
    outbox.settle(&mut vec![as_it_is]);
    assert_eq!(outcomes(&mut notices, 1).0, [success(1).key]);
    assert_eq!((state().state, outbox.depths().total()), (State::Failed(FailReason::Expired), 0));
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_second_end_in_the_same_commit_is_not_written() {
    let memory = Memory::new(&patient());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&patient());
    accepted(outbox.accept(batch(None, "{}")));
    outbox.settle(&mut vec![success(1)]);
    let mut again = success(1);
    again.delivery.state = State::Failed(FailReason::Exhausted);
    outbox.settle(&mut vec![again]);
    accepted(outbox.accept(batch(None, "{}")));
    assert_eq!(outcomes(&mut notices, 2), (vec![success(1).key; 2], Vec::new()));
    let found = outbox.read().and_then(|reader| reader.delivery(success(1).key)).expect("it can be read");
    let (_, delivery) = found.expect("it is there");
    assert_eq!((delivery.state, outbox.depths().total()), (State::Succeeded, 1));
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn an_event_can_have_65536_deliveries() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, .. } = memory.open(&Options { pending_per_endpoint: 70_000, ..options() });
    let mut batch = batch(None, "{}");
    let delivery = batch.events[0].deliveries[0];
    batch.events[0].deliveries = vec![delivery; 1 << 16];
    accepted(outbox.accept(batch));
    let rows = outbox.read().and_then(|reader| reader.rows_of(Seq::new(1))).expect("rows are read");
    assert_eq!(rows.len(), 512);
    assert!(rows.iter().all(|placed| placed.row.deliveries.len() == 128));
    assert_eq!(rows[511].first.slot, 65_408);
    let last = DeliveryKey { seq: Seq::new(1), slot: u16::MAX };
    assert!(outbox.read().and_then(|reader| reader.delivery(last)).expect("it can be read").is_some());
    assert_eq!(outbox.depths().total(), 1 << 16);
    writer.close(End::Clean).expect("it closes");
}
