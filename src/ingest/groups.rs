//! Which groups a user is in, by the system's database.
//!
//! The kernel tells a process's user and group; of its further groups only the database knows (`getgrouplist`), which may
//! be on another machine and take its time, or for ever. So it is asked on blocking threads, few at once, for at most
//! [`DEADLINE`]; what it says of a user is believed for [`BELIEVED`], and that it says nothing for
//! [`FAILED`]. Whoever asks and is not answered in time knows that, and nothing else.
//!
//! Memory: at most [`KNOWN`] users, and [`WAITING`] who wait.

use std::{
    collections::HashMap,
    ffi::CString,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Uid, User, getgrouplist};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::policy::access::Peer;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long an answer holds, from the question on.
const BELIEVED: Duration = Duration::from_secs(10);
/// How long it is not asked again when there was no answer, from the question on.
const FAILED: Duration = Duration::from_secs(3);
/// Of questions that have hung for so long another is asked.
const HUNG: Duration = Duration::from_secs(60);
/// Questions at once.
const TURNS: usize = 4;
/// Connections that wait for an answer at once.
const WAITING: usize = 128;
/// Users that are remembered.
const KNOWN: usize = 1024;

/// The groups of a user; or why they are not known.
pub(super) type Answer = Result<Arc<[u32]>, Unknown>;

/// Why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    /// Too many wait for an answer.
    #[error("too many ask at once")]
    Busy,
    /// The database does not work.
    #[error("the system's database says: {0}")]
    Failed(Arc<str>),
    /// The database did not answer in time.
    #[error("the system's database did not answer within {} s", DEADLINE.as_secs())]
    Slow,
}

/// What is asked: the groups of a user, and of its own group.
type Database = Arc<dyn Fn(Peer) -> Result<Vec<u32>, String> + Send + Sync>;

/// Asks, and remembers; clones share it.
#[derive(Clone)]
pub(super) struct Groups {
    database: Database,
    known: Arc<Mutex<HashMap<Peer, Known>>>,
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    deadline: Duration,
}

/// A question, and the answer as soon as there is one.
struct Known {
    asked: Instant,
    answer: watch::Receiver<Option<Answer>>,
}

impl Known {
    fn holds(&self, now: Instant) -> bool {
        let time = match *self.answer.borrow() {
            None => HUNG,
            Some(Ok(_)) => BELIEVED,
            Some(Err(_)) => FAILED,
        };
        now.saturating_duration_since(self.asked) < time
    }
}

impl Groups {
    /// The system's.
    pub(super) fn new() -> Self {
        Self::of_database(Arc::new(ask_system), DEADLINE)
    }

    fn of_database(database: Database, deadline: Duration) -> Self {
        Self {
            database,
            known: Arc::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            deadline,
        }
    }

    /// The groups of a peer, its own among them; waits for the answer.
    pub(super) async fn of(&self, peer: Peer, now: Instant) -> Answer {
        let _waiting = self.waiting.try_acquire().map_err(|_| Unknown::Busy)?;
        let mut answer = self.ask(peer, now)?;
        let answered = timeout(self.deadline, answer.wait_for(Option::is_some)).await;
        let answered = answered.map_err(|_| Unknown::Slow)?;
        answered.ok().and_then(|answer| answer.clone()).unwrap_or(Err(Unknown::Slow))
    }

    /// The answer to come, or the one that is there already; of a question that hangs, that it does.
    fn ask(&self, peer: Peer, now: Instant) -> Result<watch::Receiver<Option<Answer>>, Unknown> {
        // What is in it is whole at any time.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = known.get(&peer).filter(|known| known.holds(now)) {
            let hangs = before.answer.borrow().is_none()
                && now.saturating_duration_since(before.asked) > self.deadline;
            return if hangs { Err(Unknown::Slow) } else { Ok(before.answer.clone()) };
        }
        if known.len() >= KNOWN {
            known.retain(|_, known| known.holds(now));
        }
        if known.len() >= KNOWN {
            known.clear();
        }
        let (sender, answer) = watch::channel(None);
        known.insert(peer, Known { asked: now, answer: answer.clone() });
        let groups = self.clone();
        tokio::spawn(async move {
            sender.send_replace(Some(groups.look_up(peer).await));
        });
        Ok(answer)
    }

    /// Asks the database when it is this question's turn, which lasts as long as the database takes.
    async fn look_up(self, peer: Peer) -> Answer {
        let turn = timeout(self.deadline, self.turns.acquire_owned()).await.map_err(|_| Unknown::Slow)?;
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            (self.database)(peer)
        });
        match asked.await {
            Ok(Ok(groups)) => Ok(groups.into()),
            Ok(Err(error)) => Err(Unknown::Failed(error.into())),
            Err(_) => Err(Unknown::Failed("an error in posthaste; see its log".into())),
        }
    }
}

/// A user whom the database does not know has no groups but its own.
fn ask_system(Peer { uid, gid }: Peer) -> Result<Vec<u32>, String> {
    let said = |error: nix::Error| error.desc().to_owned();
    let Some(user) = User::from_uid(Uid::from_raw(uid)).map_err(said)? else { return Ok(vec![gid]) };
    let name = CString::new(user.name).map_err(|error| error.to_string())?;
    let groups = getgrouplist(&name, Gid::from_raw(gid)).map_err(said)?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use super::*;
    use crate::clock::Clock;

    const PEER: Peer = Peer { uid: 1_000, gid: 1_000 };

    /// Longer than any machine takes.
    const PATIENT: Duration = Duration::from_secs(60);

    fn now() -> Instant {
        Clock::start().instant()
    }

    /// A database that counts how often it is asked.
    fn counting(answer: Result<Vec<u32>, String>) -> (Groups, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let database = move |_| {
            count.fetch_add(1, SeqCst);
            answer.clone()
        };
        (Groups::of_database(Arc::new(database), PATIENT), asked)
    }

    #[tokio::test]
    async fn an_answer_is_believed_for_a_while() {
        let (groups, asked) = counting(Ok(vec![1_000, 44]));
        let start = now();
        for (after, expected) in [(0, 1), (9_999, 1), (10_000, 2), (19_999, 2)] {
            let now = start + Duration::from_millis(after);
            assert_eq!(groups.of(PEER, now).await.expect("it answers")[..], [1_000, 44]);
            assert_eq!(asked.load(SeqCst), expected, "{after} ms");
        }
        // Of another group it may be another answer.
        groups.of(Peer { gid: 7, ..PEER }, start).await.expect("it answers");
        assert_eq!(asked.load(SeqCst), 3);
    }

    #[tokio::test]
    async fn that_there_is_none_is_believed_for_a_shorter_while() {
        let (groups, asked) = counting(Err("down".to_owned()));
        let start = now();
        for (after, expected) in [(0, 1), (2_999, 1), (3_000, 2)] {
            let answer = groups.of(PEER, start + Duration::from_millis(after)).await;
            assert_eq!(answer, Err(Unknown::Failed("down".into())));
            assert_eq!(asked.load(SeqCst), expected, "{after} ms");
        }
    }

    #[tokio::test]
    async fn a_database_that_hangs_holds_up_nobody_for_long_and_few_threads() {
        let (asked, free) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(TURNS + 1)));
        let database = {
            let (asked, free) = (Arc::clone(&asked), Arc::clone(&free));
            move |peer: Peer| {
                if asked.fetch_add(1, SeqCst) < TURNS {
                    free.wait();
                }
                Ok(vec![peer.gid])
            }
        };
        let short = Duration::from_millis(20);
        let mut groups = Groups::of_database(Arc::new(database), short);
        let start = now();
        let ask = |uid| {
            let groups = groups.clone();
            tokio::spawn(async move { groups.of(Peer { uid, gid: 0 }, start).await })
        };
        for question in (0..20).map(ask).collect::<Vec<_>>() {
            assert_eq!(question.await.expect("it ends"), Err(Unknown::Slow));
        }
        while asked.load(SeqCst) < TURNS {
            tokio::task::yield_now().await;
        }
        // Who comes later hears so at once, and no further question hangs.
        let later = start + short * 2;
        for uid in 0..20 {
            assert_eq!(groups.of(Peer { uid, gid: 0 }, later).await, Err(Unknown::Slow));
        }
        assert_eq!(asked.load(SeqCst), TURNS, "the others had no turn");
        free.wait();
        groups.deadline = PATIENT;
        assert_eq!(groups.of(Peer { uid: 0, gid: 0 }, start + HUNG).await.expect("it answers")[..], [0]);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let (groups, asked) = counting(Ok(Vec::new()));
        let start = now();
        for uid in 0..3_000 {
            groups.of(Peer { uid, gid: 0 }, start).await.expect("it answers");
            assert!(groups.known.lock().expect("whole").len() <= KNOWN);
        }
        assert_eq!(asked.load(SeqCst), 3_000);
    }

    #[test]
    fn the_system_knows_root_and_nobody_whom_it_has_never_heard_of() {
        assert!(ask_system(Peer { uid: 0, gid: 0 }).expect("it answers").contains(&0));
        assert_eq!(ask_system(Peer { uid: 3_999_999_999, gid: 77 }), Ok(vec![77]));
    }
}
