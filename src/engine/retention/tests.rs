use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{
    engine::tests::open,
    model::{account::AccountName, endpoint::EndpointNumber, event::NewEvent},
    outbox::{Addressed, Batch, BatchAnswer, End, Entry, Opened, Routed},
};

const DAY: i64 = 86_400_000;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

fn week() -> Arc<Retention> {
    let ages = Ages { succeeded: days(7), failed: days(30) };
    Arc::new(Retention { ages, accounts: HashMap::new() })
}

/// A store that forgets nothing by itself, and a clock that is set by hand.
struct Fixture {
    opened: Opened,
    forgetter: Forgetter,
    clock: Clock,
    progress: Progress,
    _directory: TempDir,
}

impl Fixture {
    fn new(clock: Clock) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let opened = open(&directory);
        clock.resume(opened.clocks.mark, opened.clocks.seen);
        let forgetter = Forgetter::new(opened.outbox.clone(), clock, (*week()).clone());
        Self { opened, forgetter, clock, progress: Progress::default(), _directory: directory }
    }

    /// Accepts an event that nobody subscribed to, as the clock stands.
    async fn accept(&self) {
        self.accept_many(1).await;
    }

    async fn accept_many(&self, count: usize) {
        self.accept_for(Vec::new(), count).await;
    }

    async fn accept_for(&self, deliveries: Vec<Addressed>, count: usize) {
        let (at, age) = self.clock.wall_and_age();
        let event = || {
            let (data, account) = (Bytes::from_static(b"{}"), AccountName::default());
            NewEvent::new(account, "a.b".parse().expect("a type"), data)
        };
        let routed = |_| Routed { event: event(), deliveries: deliveries.clone(), callback: None };
        let events = (0..count).map(routed).collect();
        let batch = Batch { at, age, clock_unset: self.clock.is_unset(), events, file: None, room: None };
        let answer = self.opened.outbox.accept(batch).answer().await.expect("the store takes it");
        assert!(matches!(answer, BatchAnswer::Events(_)));
    }

    /// How many events a pass leaves; a pass `whole` goes over all.
    async fn pass(&mut self, whole: bool) -> usize {
        if whole {
            self.progress.whole_at = None;
        }
        self.forgetter.pass(&week(), &mut self.progress).await.expect("the store is read");
        self.left()
    }

    fn left(&self) -> usize {
        let reader = self.opened.outbox.read().expect("a reader");
        reader.rows_before(None, 100).expect("rows are read").len()
    }

    fn close(self) {
        drop(self.forgetter);
        self.opened.writer.close(End::Clean).expect("it closes");
    }
}

#[tokio::test]
async fn what_came_before_the_clock_was_set_is_kept_from_then_on() {
    // It is January 1970.
    let wall = i64::try_from(Clock::start().wall().as_millis()).expect("fits");
    let mut fixture = Fixture::new(Clock::ahead(DAY - wall));
    fixture.accept().await;
    fixture.accept().await;
    assert_eq!(fixture.pass(true).await, 2);
    let report = fixture.forgetter.report();
    assert_eq!((report.held, report.last_run), (Some(Held::ClockUnset), None));

    fixture.clock.step(wall - DAY);
    assert_eq!(fixture.pass(true).await, 2, "nobody knows yet how old they are");
    fixture.accept().await;
    assert_eq!(fixture.pass(true).await, 3, "not older than this one");
    fixture.clock.step(6 * DAY);
    assert_eq!(fixture.pass(true).await, 3);
    // Set back, it is not set; and so is nothing forgotten.
    fixture.clock.step(-DAY);
    assert_eq!(fixture.pass(true).await, 3);
    assert_eq!(fixture.forgetter.report().held, Some(Held::ClockUnset));
    fixture.clock.step(2 * DAY + 1_000);
    fixture.accept().await;
    assert_eq!(fixture.pass(true).await, 1, "but for the newest");
    let report = fixture.forgetter.report();
    assert_eq!((report.held, report.forgotten.events, report.late_since), (None, 3, None));
    fixture.close();
}

#[tokio::test]
async fn what_has_become_old_since_is_found_from_where_the_last_pass_ended() {
    let mut fixture = Fixture::new(Clock::ahead(0));
    for _ in 0..3 {
        fixture.accept().await;
        fixture.clock.step(DAY);
    }
    fixture.clock.step(3 * DAY);
    assert_eq!(fixture.pass(true).await, 3, "six days");
    let next = fixture.forgetter.report().next.expect("it is known");
    let hours = next.since(fixture.clock.wall()).as_secs_f64() / 3_600.0;
    assert!((23.9..=24.0).contains(&hours), "{hours}");
    fixture.clock.step(DAY + 1_000);
    assert_eq!(fixture.pass(false).await, 2);
    fixture.clock.step(DAY);
    assert_eq!(fixture.pass(false).await, 1);
    assert_eq!(fixture.forgetter.report().forgotten.events, 2);
    fixture.close();
}

#[tokio::test]
async fn a_page_ends_and_the_next_goes_on() {
    let mut fixture = Fixture::new(Clock::ahead(0));
    let many = PAGE * 2 + 7;
    fixture.accept_many(many).await;
    fixture.clock.step(8 * DAY);
    assert_eq!(fixture.pass(true).await, 1);
    let forgotten = fixture.forgetter.report().forgotten;
    assert_eq!(forgotten.events, u64::try_from(many - 1).expect("fits"));
    fixture.close();
}

#[tokio::test]
async fn other_rules_hold_at_once() {
    let fixture = Fixture::new(Clock::ahead(0));
    fixture.accept().await;
    fixture.accept().await;
    fixture.clock.step(DAY);
    let stopping = watch::Sender::new(false);
    let running = tokio::spawn(fixture.forgetter.clone().run(stopping.subscribe()));
    let until = async |what: &str, holds: &dyn Fn(&Report) -> bool| {
        while !holds(&fixture.forgetter.report()) {
            assert!(!running.is_finished(), "{what}");
            tokio::task::yield_now().await;
        }
    };
    until("it has looked", &|report| report.last_run.is_some()).await;
    assert_eq!(fixture.left(), 2);
    let ages = Ages { succeeded: days(1), failed: days(1) };
    fixture.forgetter.set_rules(Retention { ages, accounts: HashMap::new() });
    until("one is forgotten", &|report| report.forgotten.events == 1).await;
    stopping.send_replace(true);
    running.await.expect("it ends");
    fixture.close();
}

#[test]
fn how_often_is_looked() {
    for (shortest, tick, whole) in
        [(1, 250, 250), (60, 7_500, 7_500), (3_600, 60_000, 450_000), (604_800, 60_000, 3_600_000)]
    {
        let ages = Ages { succeeded: Duration::from_secs(shortest), failed: days(30) };
        let pace = Pace::of(&Retention { ages, accounts: HashMap::new() });
        assert_eq!((pace.tick.as_millis(), pace.whole.as_millis()), (tick, whole), "{shortest}");
    }
}

#[tokio::test]
async fn the_next_look_is_when_something_can_be_old() {
    let fixture = Fixture::new(Clock::ahead(0));
    let ages = Ages { succeeded: days(1), failed: days(2) };
    let rules = Arc::new(Retention { ages, accounts: HashMap::new() });
    let age = fixture.clock.age();
    for (young, pause) in [(None, 60), (Some(0), 60), (Some(30), 60), (Some(90), 90), (Some(86_400), 300)] {
        let young_until = young.map(|seconds| age.plus(Duration::from_secs(seconds)));
        let progress = Progress { young_until, ..Progress::default() };
        let paused = fixture.forgetter.pause(&rules, &progress);
        // The clock goes on meanwhile.
        assert!(paused.as_secs() == pause || paused.as_secs() + 1 == pause, "{young:?}: {paused:?}");
    }

    let mut progress = Progress::default();
    let mut young_until = async || {
        fixture.forgetter.pass(&rules, &mut progress).await.expect("it is looked at");
        progress.young_until.map(|until| until.since(age))
    };
    assert_eq!(young_until().await, None, "there may be pending ones that are not counted yet");
    fixture.opened.outbox.backlog_is_counted();
    let none = young_until().await.expect("what comes is younger");
    assert!((days(1)..days(2)).contains(&none), "{none:?}");
    let endpoint = EndpointNumber::new(1);
    fixture.accept_for(vec![Addressed { endpoint, due: age, entry: Entry::Never }], 1).await;
    assert_eq!(young_until().await, None, "when it ends it may be old");
    fixture.accept().await;
    fixture.accept().await;
    let first = young_until().await.expect("those that follow it are younger");
    assert!((none..days(2)).contains(&first), "{first:?}");
    assert_eq!(young_until().await, Some(first), "the first of them, whenever that is seen");
    fixture.close();
}
