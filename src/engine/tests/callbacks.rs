//! Origins of callbacks that come and go under the engine.

use super::*;
use crate::{
    model::{account::AccountName, endpoint::DisableReason, profile::Lasting},
    outbox::{Callback, Entry},
};

const A: EndpointNumber = EndpointNumber::new(2);
const B: EndpointNumber = EndpointNumber::new(3);

/// Hands in `count` events with a callback that is due at `due`; their account remembers one origin.
async fn call(running: &Running, origin: &str, count: usize, due: Timestamp) {
    let event = NewEvent {
        url: Some(format!("{origin}/x").into()),
        ..NewEvent::new(AccountName::default(), "a.b".parse().expect("a type"), Bytes::from_static(b"{}"))
    };
    let callback = Callback {
        origin: origin.into(),
        due,
        entry: Entry::Never,
        lasting: Lasting { expire: Duration::from_secs(3_600), fifo: false },
        unavailable: Some(DisableReason::NoCredential),
        most: 1,
    };
    let routed = || Routed { event: event.clone(), deliveries: Vec::new(), callback: Some(callback.clone()) };
    let events = (0..count).map(|_| routed()).collect();
    let batch = Batch { at: due, age: due, clock_unset: false, events, file: None, room: None };
    running.outbox.accept(batch).answer().await.expect("the store takes them");
}

/// What is left of an origin that was forgotten, in memory and on disk, is of deliveries that have ended: it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_is_forgotten_leaves_nothing() {
    const COUNT: usize = 600;
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let mut config = config(directory.path(), &receiver);
    config.limits.keys_in_memory = 100;
    let account = config.accounts.get_mut(&AccountName::default()).expect("it is always there");
    account.missing_credential = Some("none".to_owned());
    let parked = |running: &Running| {
        running.outbox.read().and_then(|reader| reader.parked()).expect("they are counted")
    };
    let running = Running::start(open(&directory), &config).await;
    running.is_running().await;
    call(&running, "https://a.example", COUNT, Timestamp::RELEASED).await;
    while parked(&running) < 575 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.handle.overview().await.turn, 25, "half of the half that is for what is due");
    assert!(running.directory.target(A).is_some_and(|target| target.is_held()));
    // Their time is over while they are held: they end, and their keys stay where they are.
    sweep_once(&running.outbox, &running.directory, running.clock, &running.handle).await.expect("swept");
    assert_eq!((running.outbox.depths().total(), parked(&running)), (0, 575));
    call(&running, "https://b.example", 1, running.clock.now()).await;
    let left = async || (parked(&running), running.handle.overview().await.turn);
    while left().await != (0, 1) {
        tokio::task::yield_now().await;
    }
    assert!(running.directory.target(A).is_none() && running.directory.target(B).is_some());
    assert_eq!(running.outbox.depths().total(), 1, "what is pending for the other is there");
    assert_eq!(running.metrics.attempts.get(), 0);
    running.end().await;
    let opened = open(&directory);
    let stored = opened.outbox.read().and_then(|reader| reader.endpoints()).expect("they are read");
    let numbers: Vec<_> = stored.iter().map(|(number, _)| number.get()).collect();
    assert_eq!(numbers, [1, 3]);
    opened.writer.close(End::Clean).expect("it closes");
}
