//! Whose turn it is: the lanes that can start something, each at most once, in the order in which they came to
//! stand here.
//!
//! The lanes that go through the proxy stand apart ([`Way`]), so that they can be passed over while it is down. On either
//! way there are two queues, one for lanes in doubt, so that these can be passed over without looking at any of them
//! while their share of the places is used up; tickets given in ascending order join all of them into one rotation.
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

/// How a lane's requests go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// To the endpoint itself.
    #[default]
    Direct,
    /// Through the proxy.
    Proxy,
}

impl Way {
    pub(super) const ALL: [Self; 2] = [Self::Direct, Self::Proxy];
}

/// A lane's place in the rotation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    ticket: u64,
    /// Whose.
    pub(super) lane: EndpointNumber,
    /// Whether it stood with the lanes in doubt.
    pub(super) doubtful: bool,
    way: Way,
}

/// The rotation.
#[derive(Debug, Default)]
pub(super) struct Turns {
    ways: [Queues; Way::ALL.len()],
    tickets: u64,
}

/// Those of one way.
#[derive(Debug, Default)]
struct Queues {
    fine: VecDeque<Turn>,
    doubtful: VecDeque<Turn>,
    /// Open requests, ticket, lane; none of them is in doubt.
    aside: BTreeSet<(usize, u64, EndpointNumber)>,
}

impl Turns {
    /// Puts the lane last, if it can start something and does not stand here already.
    pub(super) fn join(&mut self, number: EndpointNumber, lane: &mut Lane) {
        if lane.standing != Standing::Nowhere || !lane.may_start() {
            return;
        }
        lane.standing = Standing::Queued;
        self.tickets += 1;
        let turn = Turn { ticket: self.tickets, lane: number, doubtful: lane.in_doubt(), way: lane.way };
        let queues = self.of(lane.way);
        if turn.doubtful { &mut queues.doubtful } else { &mut queues.fine }.push_back(turn);
    }

    /// Takes note that the lane has changed: one set aside gets its place by what it has open now, or leaves; one
    /// that stands nowhere joins if it can.
    pub(super) fn note(&mut self, number: EndpointNumber, lane: &mut Lane) {
        if let Standing::Aside { open, ticket } = lane.standing {
            if open == lane.open() && lane.may_start() && !lane.in_doubt() {
                return;
            }
            self.of(lane.way).aside.remove(&(open, ticket, number));
            lane.standing = Standing::Nowhere;
            if lane.may_start() && !lane.in_doubt() {
                self.set_aside(Turn { ticket, lane: number, doubtful: false, way: lane.way }, lane);
            }
        }
        self.join(number, lane);
    }

    /// Takes the lane out, which is about to go another way. It is searched for: that is rare.
    pub(super) fn leave(&mut self, number: EndpointNumber, lane: &mut Lane) {
        let queues = self.of(lane.way);
        match lane.standing {
            Standing::Nowhere => {}
            Standing::Queued => {
                queues.fine.retain(|turn| turn.lane != number);
                queues.doubtful.retain(|turn| turn.lane != number);
            }
            Standing::Aside { open, ticket } => {
                queues.aside.remove(&(open, ticket, number));
            }
        }
        lane.standing = Standing::Nowhere;
    }

    const fn of(&mut self, way: Way) -> &mut Queues {
        &mut self.ways[way as usize]
    }

    /// Sets the lane aside whose turn this was, until there are more free places than it has open requests.
    pub(super) fn set_aside(&mut self, turn: Turn, lane: &mut Lane) {
        debug_assert!(!turn.doubtful, "a lane in doubt that may start has nothing open");
        lane.standing = Standing::Aside { open: lane.open(), ticket: turn.ticket };
        self.of(turn.way).aside.insert((lane.open(), turn.ticket, turn.lane));
    }

    /// Takes the first turn out of the ways that are `open` while `free` places are, or with `doubtful_too` false the
    /// first of a lane that was not in doubt. The caller says where the lane stands then, and looks whether it still is as it
    /// was: only one that was set aside is sure to be.
    pub(super) fn next(
        &mut self,
        free: usize,
        doubtful_too: bool,
        open: impl Fn(Way) -> bool,
    ) -> Option<Turn> {
        let ways =
            || Way::ALL.into_iter().filter(|way| open(*way)).map(|way| (way, &self.ways[way as usize]));
        let aside =
            ways().filter_map(|(way, queues)| Some((*queues.aside.first()?, way))).min_by_key(|(at, _)| *at);
        let aside = aside.filter(|((open, ..), _)| lane::fits(*open, free));
        let aside = aside.map(|((_, ticket, lane), way)| Turn { ticket, lane, doubtful: false, way });
        let first = |turn: &&Turn| turn.ticket;
        let fine =
            aside.or_else(|| ways().filter_map(|(_, queues)| queues.fine.front()).min_by_key(first).copied());
        let doubtful = ways().filter_map(|(_, queues)| queues.doubtful.front()).min_by_key(first);
        let doubtful = doubtful.copied().filter(|_| doubtful_too);
        let turn = fine.into_iter().chain(doubtful).min_by_key(|turn| turn.ticket)?;
        let queues = self.of(turn.way);
        if turn.doubtful {
            queues.doubtful.pop_front();
        } else if aside.is_some() {
            queues.aside.pop_first();
        } else {
            queues.fine.pop_front();
        }
        Some(turn)
    }
}
