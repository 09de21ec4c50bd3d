//! Deliveries that keep an order: what the models do not reach.

use redb::{ReadableDatabase as _, TableError};
use tokio::sync::mpsc;

use super::{backend::Memory, *};
use crate::{
    model::delivery::{FailReason, Group, Order, Scheduled},
    outbox::{
        End, Notice, Opened,
        schema::{FIFO, PENDING},
    },
};

const FIRST: (EndpointNumber, Group) = (EndpointNumber::new(0), Group::KEYLESS);

/// A batch of one event that keeps the order at endpoint 1.
fn ordered(entry: Entry) -> Batch {
    let mut batch = batch(None, "{}");
    batch.events[0].deliveries[0].entry = entry;
    batch
}

fn key(seq: u64) -> DeliveryKey {
    DeliveryKey { seq: Seq::new(seq), slot: 0 }
}

fn accept(outbox: &Outbox, entry: Entry) {
    wait(outbox.accept(ordered(entry)).answer()).expect("the store takes it");
}

/// The success of a delivery that keeps the order.
fn ordered_success(seq: u64) -> Settle {
    let mut settle = success(seq);
    settle.delivery.order = Order::Unjoined;
    settle
}

/// The next keys that are scheduled, within a time in which nobody who waits for company has finished waiting.
fn scheduled(notices: &mut mpsc::UnboundedReceiver<Notice>) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let next = async {
        loop {
            match notices.recv().await.expect("the writer runs") {
                Notice::Scheduled(keys) => return keys.iter().map(|one| one.key.seq.get()).collect(),
                Notice::Settled(_) | Notice::Joined(_) => {}
                other => panic!("not now: {other:?}"),
            }
        }
    };
    let limit = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(limit, next).await }).expect("it does not wait")
}

#[test]
fn neither_outcomes_nor_joins_wait_for_company() {
    let memory = Memory::new(&options());
    let patient = Options { settle_delay: Duration::from_secs(3_600), ..options() };
    let Opened { outbox, writer, mut notices, .. } = memory.open(&patient);
    for entry in [Entry::AtOnce, Entry::AtOnce, Entry::WhenDue, Entry::Never] {
        accept(&outbox, entry);
    }
    assert_eq!([(); 3].map(|()| scheduled(&mut notices)), [[1], [3], [4]], "the second is behind the first");
    let mut both = vec![success(4), ordered_success(1)];
    outbox.settle(&mut both);
    assert!(both.is_empty());
    assert_eq!(scheduled(&mut notices), [2], "one of them does not wait, so neither does");
    outbox.settle(&mut vec![ordered_success(2)]);
    outbox.join(vec![key(3)]);
    assert_eq!(scheduled(&mut notices), [3]);
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn what_is_decided_before_it_joined_ends_it_all_the_same() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, mut notices, .. } = memory.open(&options());
    for entry in [Entry::WhenDue, Entry::AtOnce, Entry::AtOnce] {
        accept(&outbox, entry);
    }
    assert_eq!([scheduled(&mut notices), scheduled(&mut notices)], [[1], [2]]);
    let read = |seq| {
        let found = outbox.read().and_then(|reader| reader.delivery(key(seq))).expect("it is read");
        found.expect("it is there").1
    };
    let before = read(1);
    assert_eq!(before.order, Order::Unjoined);
    outbox.join(vec![key(1)]);
    while !matches!(notices.blocking_recv(), Some(Notice::Joined(1))) {}
    let (joined, mut retry) = (read(1), ordered_success(1));
    assert!(matches!(joined.order, Order::Place(place) if place > 3 << 16), "{joined:?}");
    retry.delivery.state = State::Pending;
    outbox.settle(&mut vec![retry]);
    while !matches!(notices.blocking_recv(), Some(Notice::Settled(_))) {}
    assert_eq!(read(1).order, joined.order, "its place is the store's business");
    let before = Delivery { attempt: 1, ..before };
    let expired = Delivery { state: State::Failed(FailReason::Expired), ..before };
    outbox.settle(&mut vec![Settle { key: key(1), delivery: expired, attempt: None, count: None }]);
    outbox.settle(&mut vec![ordered_success(2)]);
    assert_eq!(scheduled(&mut notices), [3], "the first had joined behind it, and has left");
    outbox.settle(&mut vec![ordered_success(3)]);
    while !matches!(notices.blocking_recv(), Some(Notice::Settled(_))) {}
    accept(&outbox, Entry::AtOnce);
    assert_eq!(scheduled(&mut notices), [4], "nobody is before it");
    writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_store_of_which_nothing_keeps_an_order_has_no_table_for_it() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, .. } = memory.open(&options());
    wait(outbox.accept(batch(None, "{}")).answer()).expect("the store takes it");
    accept(&outbox, Entry::WhenDue);
    outbox.settle(&mut vec![success(1)]);
    let heads = outbox.read().and_then(|reader| reader.heads(FIRST, Seq::MAX, 9)).expect("they are read");
    assert!(heads.found.is_empty() && heads.unreadable.is_empty() && heads.next.is_none());
    writer.close(End::Clean).expect("it closes");
    let database = memory.database(&options());
    let txn = database.begin_read().expect("a reader");
    assert!(matches!(txn.open_table(FIFO), Err(TableError::TableDoesNotExist(_))));
}

/// Of eight, the first, the fourth and the fifth are lost, and the sixth has ended.
#[test]
fn one_that_cannot_be_read_holds_nobody_up() {
    let memory = Memory::new(&options());
    let Opened { outbox, writer, .. } = memory.open(&options());
    (0..8).for_each(|_| accept(&outbox, Entry::AtOnce));
    writer.close(End::Clean).expect("it closes");
    let database = memory.database(&options());
    let txn = database.begin_write().expect("a transaction");
    {
        let mut pending = txn.open_table(PENDING).expect("a table");
        for seq in [1_u64, 4, 5] {
            pending.insert(seq << 16, [9; 9].as_slice()).expect("a row");
        }
        let sixth = pending.remove(6 << 16).expect("it is removed").expect("it was there").value().to_vec();
        let mut history = txn.open_table(crate::outbox::schema::HISTORY).expect("a table");
        let mut ended = sixth;
        let at = ended.len() - 3;
        ended[at] = 1;
        history.insert(6 << 16, ended.as_slice()).expect("a row");
    }
    txn.commit().expect("committed");
    database.close().expect("closed");

    let Opened { outbox, writer, mut notices, .. } = memory.open(&options());
    let backlog = outbox.read().and_then(|reader| reader.backlog(0, Seq::MAX, 99)).expect("it is read");
    outbox.count_backlog(&backlog.found);
    let heads = outbox.read().and_then(|reader| reader.heads(FIRST, Seq::MAX, 9)).expect("they are read");
    assert_eq!(heads.found, [] as [Scheduled; 0]);
    let stuck: Vec<_> = heads.unreadable.into_iter().map(|(group, _)| group).collect();
    assert_eq!(stuck, [(EndpointNumber::new(1), Group::KEYLESS)]);
    outbox.pass_over(stuck);
    assert_eq!((scheduled(&mut notices), outbox.depths().behind()), (vec![2], 3));
    outbox.settle(&mut vec![ordered_success(2)]);
    assert_eq!(scheduled(&mut notices), [3]);
    outbox.settle(&mut vec![ordered_success(3)]);
    assert_eq!(scheduled(&mut notices), [7], "those between are passed over");
    outbox.settle(&mut vec![ordered_success(7)]);
    assert_eq!(scheduled(&mut notices), [8]);
    assert_eq!(outbox.depths().behind(), 0);
    writer.close(End::Clean).expect("it closes");
}
