//! Whose turn it is: the lanes that can start something, each at most once, in the order in which they came to
//! stand here.
//!
//! There are two queues, one for lanes in doubt, so that these can be passed over without looking at any of them
//! while their share of the places is used up; tickets given in ascending order join the two into one rotation.
//! A lane is looked at again when its turn comes (it may have been held, or have failed, since), instead of being
//! searched for when it changes: so everything here costs the same however many lanes and keys there are.
//!
//! A lane whose turn comes while too few places are free for it ([`Lane::fits`]) is *set aside*: it keeps its ticket,
//! and comes before all that queue as soon as there are enough, for its ticket is older than theirs. Among these
//! lanes the one with the fewest requests open comes first, then the oldest ticket; so whether one of them may start
//! is seen at the first. One that has started goes to the end of the queue, and is set aside again only after the
//! others had their turn: so no lane that may start is overtaken twice by the same one. Only lanes with open
//! requests are ever set aside, so they are no more than there are places, and finding one among them is a few steps.

use std::collections::{BTreeSet, VecDeque};

use super::lane::{self, Lane, Standing};
use crate::model::endpoint::EndpointNumber;

/// A lane's place in the rotation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    ticket: u64,
    /// Whose.
    pub(super) lane: EndpointNumber,
    /// Whether it stood with the lanes in doubt.
    pub(super) doubtful: bool,
}

/// The rotation.
#[derive(Debug, Default)]
pub(super) struct Turns {
    fine: VecDeque<Turn>,
    doubtful: VecDeque<Turn>,
    /// Open requests, ticket, lane; none of them is in doubt.
    aside: BTreeSet<(usize, u64, EndpointNumber)>,
    tickets: u64,
}

impl Turns {
    /// Puts the lane last, if it can start something and does not stand here already.
    pub(super) fn join(&mut self, number: EndpointNumber, lane: &mut Lane) {
        if lane.standing != Standing::Nowhere || !lane.may_start() {
            return;
        }
        lane.standing = Standing::Queued;
        self.tickets += 1;
        let turn = Turn { ticket: self.tickets, lane: number, doubtful: lane.in_doubt() };
        if turn.doubtful { &mut self.doubtful } else { &mut self.fine }.push_back(turn);
    }

    /// Takes note that the lane has changed: one set aside gets its place by what it has open now, or leaves; one
    /// that stands nowhere joins if it can.
    pub(super) fn note(&mut self, number: EndpointNumber, lane: &mut Lane) {
        if let Standing::Aside { open, ticket } = lane.standing {
            if open == lane.open() && lane.may_start() && !lane.in_doubt() {
                return;
            }
            self.aside.remove(&(open, ticket, number));
            lane.standing = Standing::Nowhere;
            if lane.may_start() && !lane.in_doubt() {
                self.set_aside(Turn { ticket, lane: number, doubtful: false }, lane);
            }
        }
        self.join(number, lane);
    }

    /// Sets the lane aside whose turn this was, until there are more free places than it has open requests.
    pub(super) fn set_aside(&mut self, turn: Turn, lane: &mut Lane) {
        debug_assert!(!turn.doubtful, "a lane in doubt that may start has nothing open");
        lane.standing = Standing::Aside { open: lane.open(), ticket: turn.ticket };
        self.aside.insert((lane.open(), turn.ticket, turn.lane));
    }

    /// Takes the first turn out while `free` places are, or with `doubtful_too` false the first of a lane that was
    /// not in doubt. The caller says where the lane stands then, and looks whether it still is as it was: only one
    /// that was set aside is sure to be.
    pub(super) fn next(&mut self, free: usize, doubtful_too: bool) -> Option<Turn> {
        let aside = self.aside.first().filter(|(open, ..)| lane::fits(*open, free));
        let aside = aside.map(|(_, ticket, lane)| Turn { ticket: *ticket, lane: *lane, doubtful: false });
        let fine = aside.as_ref().or(self.fine.front());
        let doubtful = self.doubtful.front().filter(|_| doubtful_too);
        let doubtful_first = match (fine, doubtful) {
            (Some(fine), Some(doubtful)) => doubtful.ticket < fine.ticket,
            (fine, doubtful) => fine.is_none() && doubtful.is_some(),
        };
        if doubtful_first {
            return self.doubtful.pop_front();
        }
        if aside.is_some() {
            self.aside.pop_first();
            return aside;
        }
        self.fine.pop_front()
    }
}
