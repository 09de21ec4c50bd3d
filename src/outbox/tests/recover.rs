//! Recovers: what is read for a step, and what of it is written.

use super::{at, batch, open, options, success, wait};
use crate::{
    model::{
        delivery::{Delivery, DeliveryKey, FailReason, State},
        endpoint::EndpointNumber,
        event::Seq,
        job::{Job, JobNumber, JobState, Recover, Work},
        time::Timestamp,
    },
    outbox::{
        BatchAnswer, Configured, End, Failures, JobChange, JobChanged, Notice, Opened, Replay, Replayed, Step,
    },
};

fn key(seq: u64) -> DeliveryKey {
    DeliveryKey { seq: Seq::new(seq), slot: 0 }
}

fn configure(opened: &Opened) {
    let one = Configured {
        account: "default".parse().expect("an account"),
        name: "e".to_owned(),
        url: "http://e.example/".to_owned(),
        unavailable: None,
        lasting: None,
    };
    wait(opened.outbox.configure(vec![one], Vec::new(), at(1))).expect("it is configured");
}

/// Six events; those with an odd number have failed, each at ten times its number.
fn six(opened: &mut Opened) {
    configure(opened);
    opened.outbox.backlog_is_counted();
    for seq in 1..=6 {
        let answer = wait(opened.outbox.accept(batch(None, "{}")).answer()).expect("the store takes it");
        assert!(matches!(answer, BatchAnswer::Events(_)));
        if seq % 2 == 1 {
            let mut settle = success(seq);
            settle.delivery.state = State::Failed(FailReason::Exhausted);
            settle.delivery.due = at(seq * 10);
            opened.outbox.settle(&mut vec![settle]);
            while !matches!(opened.notices.blocking_recv(), Some(Notice::Settled(_))) {}
        }
    }
}

fn recover(since: u64, until: u64) -> Recover {
    let endpoint = EndpointNumber::new(1);
    Recover { endpoint, since: at(since), until: at(until), below: Seq::new(7), next: key(0), replayed: 0 }
}

fn make(opened: &Opened, recover: Recover) -> JobNumber {
    let make = JobChange::Make { account: None, work: Work::Recover(recover), total: None, at: at(90) };
    match wait(opened.outbox.change_job(make)).expect("the store takes it") {
        JobChanged::Done(number, job) => {
            assert_eq!((job.total, job.is_running()), (Some(7), true));
            number
        }
        other => panic!("nothing was made: {other:?}"),
    }
}

fn failures(opened: &Opened, recover: &Recover, rows: usize, most: usize) -> Failures {
    opened.outbox.read().and_then(|reader| reader.failures(recover, rows, most)).expect("they are read")
}

fn step(opened: &Opened, number: JobNumber, from: DeliveryKey, failures: Failures) -> Job {
    let step = Step { number, from, failures, at: at(100), wall: at(101) };
    match wait(opened.outbox.step(step)).expect("the store takes it") {
        JobChanged::Done(_, job) => *job,
        other => panic!("no step was made: {other:?}"),
    }
}

fn of(job: &Job) -> Recover {
    match job.work {
        Work::Recover(recover) => recover,
        Work::Backup { .. } => panic!("a recover: {job:?}"),
    }
}

fn delivery(opened: &Opened, seq: u64) -> Delivery {
    opened
        .outbox
        .read()
        .and_then(|reader| reader.delivery(key(seq)))
        .expect("it is read")
        .expect("it is there")
        .1
}

#[test]
fn what_is_read_is_bounded_and_goes_on_where_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut opened = open(&directory.path().join("store.redb"), &options()).expect("it opens");
    six(&mut opened);
    let keys = |all: &[u64]| all.iter().map(|seq| key(*seq)).collect::<Vec<_>>();
    for (since, until, from, rows, most, found, next) in [
        (0, 99, 0, 99, 99, &[1, 3, 5][..], None),
        (0, 99, 0, 99, 2, &[1, 3], Some(5)),
        (0, 99, 0, 2, 99, &[1], Some(3)),
        (0, 99, 2, 2, 99, &[3], Some(4)),
        (0, 99, 4, 99, 1, &[5], None),
        (30, 50, 0, 99, 99, &[3], None),
        (31, 51, 0, 99, 99, &[5], None),
        (51, 99, 0, 99, 99, &[], None),
        (0, 99, 0, 0, 99, &[], Some(1)),
    ] {
        let recover = Recover { next: key(from), ..recover(since, until) };
        let expected = Failures { found: keys(found), next: next.map(key) };
        assert_eq!(failures(&opened, &recover, rows, most), expected, "{recover:?} {rows} {most}");
    }
    let other = Recover { endpoint: EndpointNumber::new(2), ..recover(0, 99) };
    assert_eq!(failures(&opened, &other, 99, 99), Failures::default());
    let earlier = Recover { below: Seq::new(3), ..recover(0, 99) };
    assert_eq!(failures(&opened, &earlier, 99, 99).found, keys(&[1]));
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_step_is_written_once_and_replays_no_more_than_is_failed_still() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let mut opened = open(&path, &options()).expect("it opens");
    six(&mut opened);
    let begun = recover(0, 99);
    let number = make(&opened, begun);
    let read = failures(&opened, &begun, 99, 2);
    // One of them is replayed by somebody else, and succeeds, before the step is written.
    let one = Replay { key: key(1), at: at(95), wall: at(95), callback: None };
    let replayed = wait(opened.outbox.replay(one)).expect("the store takes it");
    assert!(matches!(replayed, Replayed::Done(Delivery { step: 0, attempt: 1, replayed: true, .. })));
    let mut settle = success(1);
    settle.delivery = Delivery { attempt: 2, start: at(95), ..settle.delivery };
    opened.outbox.settle(&mut vec![settle]);
    while !matches!(opened.notices.blocking_recv(), Some(Notice::Settled(_))) {}
    let job = step(&opened, number, begun.next, read.clone());
    assert_eq!((of(&job).replayed, of(&job).next, job.done), (1, key(5), 5));
    assert_eq!((delivery(&opened, 1).state, delivery(&opened, 3).state), (State::Succeeded, State::Pending));
    assert_eq!((delivery(&opened, 3).due, delivery(&opened, 3).start), (at(100), at(100)));
    // The same once more: what was read is of an earlier step.
    assert_eq!(step(&opened, number, begun.next, read), job);
    opened.writer.close(End::CutOff).expect("it closes");

    let opened = open(&path, &options()).expect("it opens");
    configure(&opened);
    let kept =
        opened.outbox.read().and_then(|reader| reader.job(number)).expect("it is read").expect("a job");
    assert_eq!(kept, job, "it goes on where it was");
    let read = failures(&opened, &of(&job), 99, 9);
    // Until what is pending is counted, it stays there, and nothing is written.
    let before = std::fs::read(&path).expect("a file");
    let same = step(&opened, number, of(&job).next, read.clone());
    assert_eq!((of(&same).next, same.is_running()), (key(5), true));
    assert!(std::fs::read(&path).expect("a file") == before, "it waits without a commit");
    let found =
        opened.outbox.read().and_then(|reader| reader.backlog(0, Seq::MAX, 9)).expect("it is read").found;
    opened.outbox.count_backlog(&found);
    opened.outbox.backlog_is_counted();
    let done = step(&opened, number, of(&job).next, read);
    assert_eq!(
        (done.state, of(&done).replayed, done.done, done.ended_at),
        (JobState::Done, 2, 7, Some(at(101)))
    );
    assert_eq!(opened.outbox.depths().total(), 5, "the three that never failed, and two");
    let ended =
        Step { number, from: key(0), failures: Failures::default(), at: Timestamp::EPOCH, wall: at(1) };
    let ended = wait(opened.outbox.step(ended)).expect("the store takes it");
    assert!(matches!(ended, JobChanged::Ended(..)));
    opened.writer.close(End::Clean).expect("it closes");
}
