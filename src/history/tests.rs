//! Lists over a history of many events: bounded, and complete.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    Filter, SCAN,
    deliveries::{self, Ask},
    events,
};
use crate::{
    model::{
        delivery::{DeliveryKey, Status},
        endpoint::EndpointNumber,
        event::{NewEvent, Seq},
        time::Timestamp,
    },
    outbox::{Addressed, Batch, Due, End, Entry, Motion, Opened, Options, Outbox, Reader, Routed},
};

/// An event a second; more of them than two pages look at.
const EVENTS: u64 = 50_000;

fn at(second: u64) -> Timestamp {
    Timestamp::RELEASED.plus(Duration::from_secs(second))
}

/// A store whose event of number `n` came at the second `n`, but for some whose clock was unset; every hundredth has a delivery.
fn store(directory: &TempDir, unset: impl Fn(u64) -> bool) -> Opened {
    let options = Options {
        cache: 16 << 20,
        quick_repair: false,
        settle_delay: Duration::ZERO,
        dedup_window: Duration::ZERO,
        dedup_entries: 0,
        pending_per_endpoint: 1 << 20,
        max_size: 1 << 40,
        reserve: 0,
        in_flight: 1,
    };
    let path = directory.path().join("store.redb");
    let opened = Outbox::open(&path, &options, *b"sixteen bytes ok", &Motion::default(), |_| {})
        .expect("a new store opens");
    let batch = |n: u64| {
        let clock_unset = unset(n);
        let at = if clock_unset { Timestamp::from_millis(n) } else { at(n) };
        let event = NewEvent::new(
            "default".parse().expect("an account"),
            "a.b".parse().expect("a type"),
            Bytes::new(),
        );
        let addressed = Addressed { endpoint: EndpointNumber::new(1), due: at, entry: Entry::Never };
        let deliveries = if n.is_multiple_of(100) { vec![addressed] } else { Vec::new() };
        let events = vec![Routed { event, deliveries, callback: None }];
        Batch { at, age: at, clock_unset, events, file: None, room: None }
    };
    let all: Vec<_> = (1..=EVENTS).map(|n| opened.outbox.accept(batch(n))).collect();
    for one in all {
        wait(one.answer()).expect("the store takes it");
    }
    opened
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn filter(since: Timestamp, until: Timestamp) -> Filter {
    Filter { event_type: None, account: None, since, until }
}

/// What is in the list, and how many pages it took.
fn events_of(reader: &Reader, filter: &Filter, status: Option<Status>) -> (Vec<u64>, usize) {
    let (mut all, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let page = events::page(reader, filter, status, before, 1_000).expect("it is read");
        all.extend(page.items.iter().map(|item| item.seq.get()));
        pages += 1;
        before = page.next;
        if before.is_none() {
            return (all, pages);
        }
    }
}

fn deliveries_of(reader: &Reader, filter: &Filter, status: Option<Status>) -> (Vec<u64>, usize) {
    let (mut all, mut pages) = (Vec::new(), 0);
    let mut ask = Ask {
        filter: filter.clone(),
        status,
        endpoints: None,
        called_off: HashMap::new(),
        event: None,
        before: None,
        limit: 1_000,
    };
    loop {
        let page = deliveries::page(reader, &ask).expect("it is read");
        all.extend(page.items.iter().map(|item| item.key.seq.get()));
        pages += 1;
        ask.before = page.next;
        if page.next.is_none() {
            return (all, pages);
        }
    }
}

fn newest_first(from: u64, to: u64) -> Vec<u64> {
    (from..to).rev().collect()
}

#[test]
fn a_stretch_of_time_is_gone_to_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = store(&directory, |_| false);
    let reader = opened.outbox.read().expect("a reader");
    for (since, until) in [(1, 51), (20_000, 20_300), (EVENTS - 100, EVENTS + 1), (0, 1), (7, 7)] {
        let stretch = filter(at(since), at(until));
        let expected = newest_first(since.max(1), until);
        assert_eq!(events_of(&reader, &stretch, None), (expected.clone(), 1), "{since} {until}");
        let pending = events_of(&reader, &stretch, Some(Status::Pending));
        let hundreds: Vec<_> = expected.into_iter().filter(|n| n.is_multiple_of(100)).collect();
        assert_eq!(pending, (hundreds.clone(), 1));
        assert_eq!(events_of(&reader, &stretch, Some(Status::Failed)), (vec![], 1));
        assert_eq!(deliveries_of(&reader, &stretch, None), (hundreds, 1));
    }
    drop(reader);
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_page_looks_at_so_many_rows_and_no_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = store(&directory, |_| false);
    let reader = opened.outbox.read().expect("a reader");
    let all = filter(Timestamp::EPOCH, Timestamp::MAX);
    let pages = usize::try_from(EVENTS).expect("fits") / SCAN + 1;
    assert_eq!(events_of(&reader, &all, Some(Status::Cancelled)), (vec![], pages));
    // Most of these rows have no delivery, and are looked at all the same.
    assert_eq!(deliveries_of(&reader, &all, Some(Status::Cancelled)), (vec![], pages));
    let (found, _) = deliveries_of(&reader, &all, None);
    assert_eq!(found, (1..=EVENTS / 100).rev().map(|n| n * 100).collect::<Vec<_>>());
    drop(reader);
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn what_came_while_the_clock_was_unset_hides_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened =
        store(&directory, |n| (10_000..30_000).contains(&n) || n > EVENTS - 50 || n.is_multiple_of(7));
    let unset = |n: u64| (10_000..30_000).contains(&n) || n > EVENTS - 50 || n.is_multiple_of(7);
    let reader = opened.outbox.read().expect("a reader");
    for (since, until) in [(9_000, 31_000), (40_000, 40_100), (5, 50), (0, EVENTS)] {
        let (found, pages) = events_of(&reader, &filter(at(since), at(until)), None);
        let mut expected = newest_first(since.max(1), until);
        expected.retain(|n| !unset(*n));
        assert_eq!(found, expected, "{since} {until}");
        assert!(pages <= found.len() / 1_000 + 3, "{since} {until}: {pages}");
    }
    drop(reader);
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_place_that_has_gone_is_gone_on_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = store(&directory, |_| false);
    let all = filter(Timestamp::EPOCH, Timestamp::MAX);
    let reader = opened.outbox.read().expect("a reader");
    let page = events::page(&reader, &all, None, None, 10).expect("it is read");
    assert_eq!(page.next, Some(Seq::new(EVENTS - 9)));
    drop(reader);
    let due = |n| Due { seq: Seq::new(n), if_succeeded: true, if_failed: true };
    let gone = wait(opened.outbox.forget((EVENTS - 30..EVENTS - 5).map(due).collect())).expect("they go");
    assert_eq!(gone.events, 25);
    let reader = opened.outbox.read().expect("a reader");
    let next = events::page(&reader, &all, None, page.next, 10).expect("it is read");
    let found: Vec<_> = next.items.iter().map(|item| item.seq.get()).collect();
    assert_eq!(found, newest_first(EVENTS - 40, EVENTS - 30));
    let before = Some(DeliveryKey { seq: Seq::new(EVENTS - 10), slot: 0 });
    let ask = Ask {
        filter: all,
        status: None,
        endpoints: None,
        called_off: HashMap::new(),
        event: None,
        before,
        limit: 2,
    };
    let next = deliveries::page(&reader, &ask).expect("it is read");
    let found: Vec<_> = next.items.iter().map(|item| item.key.seq.get()).collect();
    assert_eq!(found, [EVENTS - 100, EVENTS - 200]);
    // What is called off counts as cancelled though its record does not say so yet, up to the event before which it is.
    let called_off = HashMap::from([(EndpointNumber::new(1), Seq::new(EVENTS - 100))]);
    for (status, expected) in
        [(Status::Pending, vec![EVENTS - 100]), (Status::Cancelled, vec![EVENTS - 200, EVENTS - 300])]
    {
        let ask = Ask { status: Some(status), called_off: called_off.clone(), ..ask.clone() };
        let page = deliveries::page(&reader, &ask).expect("it is read");
        let found: Vec<_> = page.items.iter().map(|item| item.key.seq.get()).collect();
        assert_eq!(found, expected, "{status:?}");
    }
    drop(reader);
    opened.writer.close(End::Clean).expect("it closes");
}
