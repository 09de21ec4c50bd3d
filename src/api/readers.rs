//! Whose turn it is to read the store, and to hold a whole delivery.
//!
//! The threads for blocking work are needed for other things too, so only a few requests read at once. What one asker has
//! going at once is bounded besides: whoever sends hundreds of requests waits behind himself, and everybody else's next one
//! waits for a few of his at most. Operators on the machine itself have turns of their own, so that they see what goes on
//! whatever is asked over TCP.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    engine::attempt::Kitchen,
    ingest::access::Verdict,
    model::{account::AccountName, id::KeyId},
};

/// Requests that read the store at once; more wait.
const READERS: usize = 4;
/// Requests at once that hold a whole delivery: its event, its attempts with what came back, and its body made again.
const DETAILS: usize = 8;
/// Turns besides, for operators on the Unix socket.
const KEPT: usize = 2;
/// Turns that one asker has at once.
const EACH: usize = 2;

/// Lets a few requests read the store at once; clones share the turns.
#[derive(Clone)]
pub struct Readers {
    /// Who reads.
    pub(super) turns: Turns,
    /// Who holds a whole delivery with its event and its attempts.
    pub(super) details: Turns,
    /// Where bodies are made again for people to see.
    pub(super) kitchen: Kitchen,
}

impl Default for Readers {
    fn default() -> Self {
        Self { turns: Turns::new(READERS), details: Turns::new(DETAILS), kitchen: Kitchen::default() }
    }
}

/// Turns, of which each asker has a part; clones share them.
#[derive(Clone)]
pub(super) struct Turns(Arc<Inner>);

struct Inner {
    all: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    /// What each has, who has or waits for a turn.
    parts: Mutex<HashMap<Whose, Weak<Semaphore>>>,
}

/// Who shares a part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    /// All keys of an account.
    Account(AccountName),
    /// A key for all accounts.
    Key(KeyId),
    /// A user of this machine.
    User(Option<u32>),
}

/// A turn; it is somebody else's when this is dropped.
pub(super) struct Turn {
    _turn: OwnedSemaphorePermit,
    _part: Option<OwnedSemaphorePermit>,
}

impl Whose {
    fn of(who: &Verdict) -> Self {
        match (who.key(), who.account()) {
            (Some(_), Some(account)) => Self::Account(account.clone()),
            (Some(key), None) => Self::Key(key),
            (None, _) => Self::User(who.uid()),
        }
    }
}

impl Turns {
    fn new(count: usize) -> Self {
        let turns = |count| Arc::new(Semaphore::new(count));
        Self(Arc::new(Inner { all: turns(count), kept: turns(KEPT), parts: Mutex::default() }))
    }

    /// Waits for `who`'s turn.
    pub(super) async fn take(&self, who: &Verdict) -> Turn {
        if who.is_operator() && who.uid().is_some() {
            return Turn { _turn: acquire(Arc::clone(&self.0.kept)).await, _part: None };
        }
        // First this: whoever has enough stands in nobody's way while he waits.
        let part = acquire(self.part(Whose::of(who))).await;
        Turn { _turn: acquire(Arc::clone(&self.0.all)).await, _part: Some(part) }
    }

    fn part(&self, whose: Whose) -> Arc<Semaphore> {
        let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|_, part| part.strong_count() > 0);
        if let Some(part) = parts.get(&whose).and_then(Weak::upgrade) {
            return part;
        }
        let part = Arc::new(Semaphore::new(EACH));
        parts.insert(whose, Arc::downgrade(&part));
        part
    }
}

async fn acquire(turns: Arc<Semaphore>) -> OwnedSemaphorePermit {
    turns.acquire_owned().await.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::model::{bearer::KeyNumber, id::IdKey, role::Role, time::Timestamp};

    fn key(number: u32, role: Role) -> Verdict {
        let ids = IdKey::new(*b"sixteen bytes ok");
        Verdict::of_key(ids.key_id(Timestamp::RELEASED, KeyNumber::new(number)), role)
    }

    fn of(number: u32, account: &str) -> Verdict {
        key(number, Role::Subscriber(account.parse().expect("a name")))
    }

    fn at_once(turns: &Turns, who: &Verdict) -> Option<Turn> {
        match pin!(turns.take(who)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_has_his_part_keeps_no_turn_from_others() {
        let turns = Turns::new(READERS);
        let (own, other) = (of(1, "acme"), of(2, "acme"));
        let held = [at_once(&turns, &own).expect("a turn"), at_once(&turns, &own).expect("a turn")];
        // Hundreds that wait for more of the same, of another key of the account's, too.
        let mut waiting: Vec<_> =
            (0..200).map(|one| Box::pin(turns.take(if one % 2 == 0 { &own } else { &other }))).collect();
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.iter_mut().all(|one| one.as_mut().poll(&mut context).is_pending()));
        let next = at_once(&turns, &of(3, "beta")).expect("another account's turn");
        let all = at_once(&turns, &key(4, Role::Operator(None))).expect("an operator's turn over TCP");
        // Nothing is left of what all share.
        assert!(at_once(&turns, &of(5, "gamma")).is_none());
        let kept: Vec<_> = (0..KEPT).filter_map(|_| at_once(&turns, &Verdict::operator(0))).collect();
        assert_eq!(kept.len(), KEPT, "operators on the machine have theirs");
        assert!(at_once(&turns, &Verdict::operator(0)).is_none());
        drop((next, all));
        assert!(at_once(&turns, &of(5, "gamma")).is_some());
        drop(held);
        let ready = waiting.iter_mut().filter_map(|one| match one.as_mut().poll(&mut context) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        });
        assert_eq!(ready.collect::<Vec<_>>().len(), EACH, "those that waited go on");
    }

    #[test]
    fn nothing_is_remembered_of_who_asks_no_more() {
        let turns = Turns::new(READERS);
        for number in 1..1_000 {
            drop(at_once(&turns, &of(number, &format!("a{number}"))).expect("a turn"));
        }
        assert_eq!(turns.0.parts.lock().expect("nobody panics").len(), 1);
    }
}
