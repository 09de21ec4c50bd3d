//! Jobs: made, changed, ended, kept.

use super::{at, open, options, wait};
use crate::{
    model::{
        delivery::DeliveryKey,
        endpoint::EndpointNumber,
        event::Seq,
        job::{Job, JobNumber, JobState, Recover, Work},
        time::Timestamp,
    },
    outbox::{End, JobChange, JobChanged, Opened, jobs::KEPT, schema::JOBS},
};

fn recover(endpoint: u32) -> Work {
    Work::Recover(Recover {
        endpoint: EndpointNumber::new(endpoint),
        since: Timestamp::EPOCH,
        until: at(9),
        below: Seq::new(7),
        next: DeliveryKey { seq: Seq::ZERO, slot: 0 },
        replayed: 0,
    })
}

fn backup() -> Work {
    Work::Backup { file: "/b".to_owned() }
}

fn change(opened: &Opened, change: JobChange) -> JobChanged {
    wait(opened.outbox.change_job(change)).expect("the store takes it")
}

fn make(opened: &Opened, work: Work) -> JobChanged {
    change(opened, JobChange::Make { account: None, work, total: Some(6), at: at(3) })
}

fn end(opened: &Opened, number: JobNumber, state: JobState) -> JobChanged {
    change(opened, JobChange::End { number, state, error: None, at: at(4) })
}

fn number(changed: &JobChanged) -> JobNumber {
    match changed {
        JobChanged::Done(number, _) => *number,
        other => panic!("nothing was done: {other:?}"),
    }
}

fn jobs(opened: &Opened) -> Vec<(JobNumber, Job)> {
    opened.outbox.read().and_then(|reader| reader.jobs()).expect("they are read")
}

#[test]
fn what_excludes_another_is_named_and_an_end_is_for_good() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = open(&directory.path().join("store.redb"), &options()).expect("it opens");
    assert_eq!(jobs(&opened), [], "there is no table yet");
    assert_eq!(end(&opened, JobNumber::new(1), JobState::Done), JobChanged::Missing);
    let first = number(&make(&opened, recover(1)));
    assert!(matches!(make(&opened, recover(1)), JobChanged::Excluded(number, _) if number == first));
    let others = [recover(2), backup()].map(|work| number(&make(&opened, work)));
    assert!(matches!(make(&opened, backup()), JobChanged::Excluded(number, _) if number == others[1]));
    let progress = JobChange::Progress { number: others[1], done: 4, total: None };
    assert!(
        matches!(change(&opened, progress.clone()), JobChanged::Done(_, job) if job.done == 4 && job.total.is_none())
    );
    for (number, state) in [(first, JobState::Cancelled), (others[1], JobState::Done)] {
        assert!(
            matches!(end(&opened, number, state), JobChanged::Done(_, job) if job.ended_at == Some(at(4)))
        );
        assert!(
            matches!(end(&opened, number, JobState::Failed), JobChanged::Ended(_, job) if job.state == state)
        );
    }
    assert!(matches!(change(&opened, progress), JobChanged::Ended(..)), "who does its work is to leave off");
    assert!(number(&make(&opened, recover(1))) > others[1]);
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_recover_goes_on_and_a_backup_has_failed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let opened = open(&path, &options()).expect("it opens");
    for work in [recover(1), backup()] {
        make(&opened, work);
    }
    opened.writer.close(End::CutOff).expect("it closes");
    let opened = open(&path, &options()).expect("it opens");
    // Twice, as when the configuration is read again: another backup may have begun by then.
    for _ in 0..2 {
        wait(opened.outbox.configure(Vec::new(), Vec::new(), at(8))).expect("it is configured");
        let kept = jobs(&opened);
        let states: Vec<_> = kept.iter().map(|(_, job)| (job.state, job.error.as_deref())).collect();
        let stopped = (JobState::Failed, Some("the daemon was stopped"));
        assert_eq!(states[..2], [(JobState::Running, None), stopped]);
        assert!(kept[2..].iter().all(|(_, job)| job.is_running()));
        make(&opened, backup());
    }
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn the_last_that_have_ended_are_kept_and_all_that_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened = open(&directory.path().join("store.redb"), &options()).expect("it opens");
    make(&opened, recover(1));
    let most = u64::try_from(KEPT).expect("few");
    for _ in 0..most + 5 {
        let number = number(&make(&opened, backup()));
        end(&opened, number, JobState::Done);
    }
    let numbers: Vec<_> = jobs(&opened).iter().map(|(number, _)| number.get()).collect();
    let expected: Vec<_> = [1].into_iter().chain(7..=most + 6).collect();
    assert_eq!(numbers, expected);
    opened.writer.close(End::Clean).expect("it closes");
}

#[test]
fn a_job_that_cannot_be_read_stops_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let opened = open(&path, &options()).expect("it opens");
    for endpoint in [1, 2] {
        assert!(matches!(make(&opened, recover(endpoint)), JobChanged::Done(..)));
    }
    opened.writer.close(End::Clean).expect("it closes");
    let database = redb::Database::open(&path).expect("it opens");
    let txn = database.begin_write().expect("a transaction");
    drop(txn.open_table(JOBS).expect("a table").insert(2, b"\xffx".as_slice()));
    txn.commit().expect("a commit");
    drop(database);

    let opened = open(&path, &options()).expect("it opens all the same");
    let jobs = opened.outbox.read().and_then(|reader| reader.jobs()).expect("they are read");
    assert_eq!(jobs.iter().map(|(number, _)| number.get()).collect::<Vec<_>>(), [1]);
    let one = opened.outbox.read().and_then(|reader| reader.job(JobNumber::new(2)));
    assert_eq!(one.expect("it is read"), None);
    let made = make(&opened, recover(2));
    assert!(matches!(made, JobChanged::Done(number, _) if number.get() == 3), "{made:?}");
    opened.writer.close(End::Clean).expect("it closes");
}
