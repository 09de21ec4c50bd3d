//! Origins while a start is still counting what is pending.

use std::time::Duration;

use super::{at, batch, open, options, success, wait};
use crate::{
    model::{
        delivery::{Delivery, DeliveryKey, FailReason, State},
        endpoint::EndpointNumber,
        event::Seq,
        profile::Lasting,
    },
    outbox::{BatchAnswer, Callback, End, Entry, Notice, Opened},
};

/// Hands in an event with a callback, whose account remembers one origin.
fn call(opened: &Opened, origin: &str) {
    let mut batch = batch(None, "{}");
    let routed = &mut batch.events[0];
    routed.deliveries.clear();
    routed.event.url = Some(format!("{origin}/x").into());
    routed.callback = Some(Callback {
        origin: origin.into(),
        due: at(5),
        entry: Entry::Never,
        lasting: Lasting { expire: Duration::from_secs(9), fifo: false },
        unavailable: None,
        most: 1,
    });
    let answer = wait(opened.outbox.accept(batch).answer()).expect("the store takes it");
    assert!(matches!(answer, BatchAnswer::Events(_)));
}

fn delivery(opened: &Opened, seq: u64) -> Delivery {
    let key = DeliveryKey { seq: Seq::new(seq), slot: 0 };
    opened.outbox.read().and_then(|reader| reader.delivery(key)).expect("it is read").expect("it is there").1
}

/// Ends the event's delivery, and waits until that is on disk.
fn end(opened: &mut Opened, seq: u64, endpoint: u32) {
    let mut settle = success(seq);
    settle.delivery.endpoint = EndpointNumber::new(endpoint);
    opened.outbox.settle(&mut vec![settle]);
    while !matches!(opened.notices.blocking_recv(), Some(Notice::Settled(_))) {}
}

/// What has been counted so far may be all ended while more is pending: that is no reason to forget its origin.
#[test]
fn none_is_forgotten_before_all_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let opened = open(&path, &options()).expect("it opens");
    call(&opened, "https://a.example");
    call(&opened, "https://a.example");
    opened.writer.close(End::Clean).expect("it closes");

    let mut opened = open(&path, &options()).expect("it opens");
    let backlog = opened.outbox.read().and_then(|reader| reader.backlog(0, Seq::MAX, 9)).expect("it is read");
    let found = backlog.found;
    opened.outbox.count_backlog(&found[..1]);
    end(&mut opened, 1, 1);
    // Nobody knows yet who has nothing pending: there may be more than one for a while.
    call(&opened, "https://b.example");
    assert_eq!((delivery(&opened, 3).state, delivery(&opened, 3).endpoint.get()), (State::Pending, 2));
    opened.outbox.count_backlog(&found[1..]);
    opened.outbox.backlog_is_counted();
    call(&opened, "https://c.example");
    let (full, pending) = (delivery(&opened, 4), delivery(&opened, 2));
    assert_eq!(full.state, State::Failed(FailReason::EndpointFull), "both have something pending");
    assert_eq!((full.endpoint, pending.endpoint.get()), (EndpointNumber::NONE, 1));
    let stored = opened.outbox.read().and_then(|reader| reader.endpoints()).expect("they are read");
    assert_eq!(stored.len(), 2, "{stored:?}");
    // The last of them ends: its place is free.
    end(&mut opened, 2, 1);
    call(&opened, "https://d.example");
    assert_eq!((delivery(&opened, 5).state, delivery(&opened, 5).endpoint.get()), (State::Pending, 3));
    let stored = opened.outbox.read().and_then(|reader| reader.endpoints()).expect("they are read");
    let numbers: Vec<_> = stored.iter().map(|(number, _)| number.get()).collect();
    assert_eq!(numbers, [2, 3]);
    opened.writer.close(End::Clean).expect("it closes");
}
