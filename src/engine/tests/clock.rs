//! A wall clock that is set while the engine runs, and between two of its runs.

use super::*;
use crate::ingest::{
    access::Verdict,
    answer::Accepted,
    intake::{Meanwhile, Permit},
};

const HOUR: i64 = 3_600_000;
const DAYS: i64 = 300 * 24 * HOUR;
const STEPS: [i64; 4] = [HOUR, -HOUR, DAYS, -DAYS];

fn event(producer_id: &str) -> NewEvent {
    NewEvent {
        producer_id: Some(producer_id.to_owned()),
        ..NewEvent::new(
            "default".parse().expect("an account"),
            "a.b".parse().expect("a type"),
            Bytes::from_static(b"{}"),
        )
    }
}

async fn submit(running: &Running, producer_id: &str) -> Accepted {
    let submitted = running.intake.submit(
        vec![Ok(event(producer_id))],
        Permit::default(),
        &Verdict::operator(0),
        Meanwhile::Waits,
    );
    submitted.answers().await.remove(0).expect("it is taken")
}

async fn waits(running: &Running, seq: u64) -> Waits {
    let key = DeliveryKey { seq: Seq::new(seq), slot: 0 };
    running.handle.waiting(vec![(key, EndpointNumber::new(1))]).await.remove(0)
}

/// Sets the clock, and waits until the engine has taken that in.
async fn step(running: &Running, millis: i64) {
    running.clock.step(millis);
    // Whoever watches the clock tells the engine now; what is asked of it then comes behind that.
    tokio::task::yield_now().await;
    running.handle.waiting(Vec::new()).await;
}

fn unset(outbox: &Outbox, seq: u64) -> bool {
    let reader = outbox.read().expect("a reader");
    reader.event(Seq::new(seq)).expect("it is read").expect("it is there").clock_unset
}

#[tokio::test]
async fn what_signs_its_time_waits_while_the_clock_is_unset() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = Running::start(open(&directory), &config(directory.path(), &receiver)).await;
    running.is_running().await;
    step(&running, -HOUR).await;
    submit(&running, "p-1").await;
    while waits(&running, 1).await != Waits::Clock {}
    assert_eq!(running.metrics.attempts.get(), 0);
    running.clock.step(HOUR);
    submit(&running, "p-2").await;
    for _ in 0..2 {
        let mut stream = receiver.accept().await.expect("a connection").0;
        answer(&mut stream, 2).await.expect("a request");
    }
    assert_eq!([1, 2].map(|seq| unset(&running.outbox, seq)), [true, false]);
    running.end().await;
}

#[tokio::test]
async fn what_need_not_wait_does_not() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let mut config = config(directory.path(), &receiver);
    config.network.require_clock = false;
    let running = Running::start(open(&directory), &config).await;
    running.clock.step(-DAYS);
    submit(&running, "p-1").await;
    let mut stream = receiver.accept().await.expect("a connection").0;
    answer(&mut stream, 2).await.expect("a request");
    while running.metrics.succeeded.get() == 0 {
        tokio::task::yield_now().await;
    }
    let (delivery, attempts) = delivery(&running.outbox, 1);
    let wall = running.clock.wall();
    assert!(
        delivery.due <= wall && wall.since(delivery.due) < Duration::from_secs(100),
        "an end is a wall time"
    );
    assert!(attempts[0].report.started_at <= delivery.due);
    running.end().await;
}

#[tokio::test]
async fn a_date_to_come_again_is_held_against_a_clock_that_is_set_alone() {
    for (step, asked) in [(0, true), (-DAYS, false)] {
        let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
        let mut config = config(directory.path(), &receiver);
        config.network.require_clock = false;
        let running = Running::start(open(&directory), &config).await;
        running.clock.step(step);
        submit(&running, "p-1").await;
        let mut stream = receiver.accept().await.expect("a connection").0;
        let in_an_hour = running.clock.wall().plus(Duration::from_secs(3_600));
        let date = std::time::UNIX_EPOCH + Duration::from_millis(in_an_hour.as_millis());
        let status = format!("503 No\r\nRetry-After: {}", httpdate::fmt_http_date(date));
        answer_with(&mut stream, 2, &status).await.expect("a request");
        while delivery(&running.outbox, 1).0.attempt == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(delivery(&running.outbox, 1).0.asked, asked, "{step}");
        running.end().await;
    }
}

#[tokio::test]
async fn over_a_restart_what_was_due_in_five_minutes_is_due_in_five_minutes() {
    for step in STEPS {
        let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
        let config = config(directory.path(), &receiver);
        let running = Running::start(open(&directory), &config).await;
        let due = running.clock.now().plus(Duration::from_secs(300));
        accept(&running.outbox, 1, due, Bytes::from_static(b"{}")).await;
        running.clock.step(step);
        running.end().await;
        let running = Running::start_at(open(&directory), &config, Clock::ahead(step)).await;
        running.is_running().await;
        let left = delivery(&running.outbox, 1).0.due.since(running.clock.now());
        assert!(left > Duration::from_secs(100) && left <= Duration::from_secs(300), "{step}: {left:?}");
        let sweep = sweep_once(&running.outbox, &running.directory, running.clock, &running.handle);
        sweep.await.expect("swept");
        assert_eq!(delivery(&running.outbox, 1).0.state, State::Pending, "{step}: it has not expired");
        running.end().await;
    }
}

#[tokio::test]
async fn a_step_is_written_at_once() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = Running::start(open(&directory), &config(directory.path(), &receiver)).await;
    running.is_running().await;
    running.clock.step(DAYS);
    // Nothing else is written, and the store is looked at as a crash would leave it.
    let copy = tempfile::tempdir().expect("a directory");
    let marked = || {
        fs::copy(directory.path().join("store.redb"), copy.path().join("store.redb")).expect("a copy");
        let opened = open(&copy);
        drop(opened.outbox);
        opened.writer.close(End::CutOff).expect("it closes");
        opened.clocks.mark
    };
    let ahead = u64::try_from(DAYS).expect("it is positive") - 1_000;
    while marked().is_none_or(|mark| mark.ahead().unsigned_abs() < ahead) {
        tokio::task::yield_now().await;
    }
    running.end().await;
}

#[tokio::test]
async fn ids_are_known_across_a_step() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let running = Running::start(open(&directory), &config(directory.path(), &receiver)).await;
    assert!(!submit(&running, "p-1").await.duplicate);
    running.clock.step(-DAYS);
    assert!(submit(&running, "p-1").await.duplicate, "the window does not open");
    assert!(!submit(&running, "p-2").await.duplicate);
    running.clock.step(DAYS);
    assert!(submit(&running, "p-2").await.duplicate, "it was seen a moment ago, whatever the clock said");
    running.stop.send_replace(Stop::Now);
    running.engine.await.expect("no panic").expect("the store is well");
    running.writer.close(End::CutOff).expect("it closes");
}
