//! Deliveries: one event on its way to one endpoint.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    attempt::AttemptRow,
    endpoint::EndpointNumber,
    event::Seq,
    time::{Minute, Timestamp},
};

/// A delivery's place in the store: its event, and its slot among the event's deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// The event.
    pub seq: Seq,
    /// Which of the event's deliveries, from 0.
    pub slot: u16,
}

/// A delivery that an attempt is to be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Which.
    pub key: DeliveryKey,
    /// To whom: in which lane. [`EndpointNumber::JOINING`]: it is not attempted then, but joins its order.
    pub endpoint: EndpointNumber,
    /// When.
    pub due: Timestamp,
}

impl Scheduled {
    /// What there is to schedule of a pending delivery that no other comes before.
    pub fn of(key: DeliveryKey, delivery: &Delivery) -> Self {
        let joins = delivery.order == Order::Unjoined;
        let endpoint = if joins { EndpointNumber::JOINING } else { delivery.endpoint };
        Self { key, endpoint, due: delivery.due }
    }
}

/// Whether a delivery keeps an order: then it is attempted only when all before it, of the same endpoint and key, have
/// ended. Fixed when it is accepted, by its endpoint's profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// It does not.
    #[default]
    Free,
    /// It does; its place among the others, never 0. The first of them is attempted.
    Place(u64),
    /// It does, but has no place: it joins at the end when it is due, or has ended.
    Unjoined,
}

/// Those of an endpoint's deliveries that go one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(u64);

impl Group {
    /// Those of events without a key.
    pub const KEYLESS: Self = Self(0);

    /// Those of events whose key has this hash, of which 63 bits count: two keys in one group, which is harmless, are
    /// rarer than anybody will see, and none is in the group of those without.
    pub const fn of_hash(hash: u64) -> Self {
        Self(hash | 1 << 63)
    }

    /// As it is stored.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Which of a lane's keys are to be taken from the disk into memory, in the order of their minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Whose.
    pub lane: EndpointNumber,
    /// None that are due in a later minute.
    pub until: Minute,
    /// At most so many.
    pub limit: usize,
}

/// What is stored of a delivery besides its event and its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// To whom.
    pub endpoint: EndpointNumber,
    /// When the next attempt is due (pending), or when it ended (not pending).
    pub due: Timestamp,
    /// When the first attempt was due, or when it was replayed last; expiry counts from it.
    pub start: Timestamp,
    /// How many requests were ever made for it.
    pub attempt: u32,
    /// Its place in the schedule: how many of the schedule's attempts have failed since it was replayed last.
    pub step: u8,
    /// The HTTP status of the last attempt; `None` without an attempt or an answer.
    pub last_status: Option<u16>,
    /// Where its newest attempt is recorded.
    pub last_attempt: Option<AttemptRow>,
    /// The endpoint asked for the next attempt's time, which is later than the schedule's.
    pub asked: bool,
    /// Somebody has it delivered again, and no attempt has been made since.
    pub replayed: bool,
    /// Somebody has called it off during an attempt: unless that succeeds, it is cancelled with its end.
    pub called_off: bool,
    /// Whether it goes only after others.
    pub order: Order,
    /// Pending, or how it ended.
    pub state: State,
}

impl Delivery {
    /// A delivery to `endpoint` whose first attempt is due at `due`.
    pub const fn pending(endpoint: EndpointNumber, due: Timestamp) -> Self {
        Self {
            endpoint,
            due,
            start: due,
            attempt: 0,
            step: 0,
            last_status: None,
            last_attempt: None,
            asked: false,
            replayed: false,
            called_off: false,
            order: Order::Free,
            state: State::Pending,
        }
    }

    /// When it fails as expired if it is still pending. Never, if its start is before the release's date: then it was
    /// told by a clock that had not been set, and nobody knows how long ago it was.
    pub fn expires(&self, expire: Duration) -> Timestamp {
        if self.start < Timestamp::RELEASED { Timestamp::MAX } else { self.start.plus(expire) }
    }
}

/// A delivery is pending, or has ended in one of three ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// An attempt is to come.
    Pending,
    /// An attempt succeeded.
    Succeeded,
    /// No attempt will come.
    Failed(FailReason),
    /// Called off.
    Cancelled(CancelReason),
}

impl State {
    /// The status as users see it.
    pub const fn status(self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::Succeeded => Status::Succeeded,
            Self::Failed(_) => Status::Failed,
            Self::Cancelled(_) => Status::Cancelled,
        }
    }

    /// The reason as users see it.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Pending | Self::Succeeded => None,
            Self::Failed(reason) => Some(reason.as_str()),
            Self::Cancelled(reason) => Some(reason.as_str()),
        }
    }
}

/// [`State`] without its reason: what lists filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Called off.
    Cancelled,
    /// No attempt will come.
    Failed,
    /// An attempt is to come.
    Pending,
    /// An attempt succeeded.
    Succeeded,
}

impl Status {
    /// All of them, for messages and tables.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
        }
    }
}

/// Why a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailReason {
    /// The endpoint already had `pending_per_endpoint` deliveries.
    EndpointFull,
    /// The schedule has no further attempt.
    Exhausted,
    /// Still pending when `expire` had passed.
    Expired,
    /// The endpoint answered 410.
    Gone,
    /// The body's template failed.
    Template,
}

impl FailReason {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndpointFull => "endpoint_full",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Gone => "gone",
            Self::Template => "template",
        }
    }
}

/// Why a delivery was called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelReason {
    /// The endpoint was enabled again without what had waited.
    Discarded,
    /// The endpoint was deleted.
    EndpointDeleted,
    /// An operator said so.
    Operator,
}

impl CancelReason {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discarded => "discarded",
            Self::EndpointDeleted => "endpoint_deleted",
            Self::Operator => "operator",
        }
    }
}
