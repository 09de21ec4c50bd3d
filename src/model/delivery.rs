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
    /// To whom.
    pub endpoint: EndpointNumber,
    /// When.
    pub due: Timestamp,
}

impl Scheduled {
    /// What there is to schedule of a pending delivery.
    pub const fn of(key: DeliveryKey, delivery: &Delivery) -> Self {
        Self { key, endpoint: delivery.endpoint, due: delivery.due }
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
    /// When the first attempt was due; expiry counts from it.
    pub start: Timestamp,
    /// How many requests were ever made for it.
    pub attempt: u32,
    /// Its place in the schedule: how many of the schedule's attempts have failed.
    pub step: u8,
    /// The HTTP status of the last attempt; `None` without an attempt or an answer.
    pub last_status: Option<u16>,
    /// Where its newest attempt is recorded.
    pub last_attempt: Option<AttemptRow>,
    /// The endpoint asked for the next attempt's time, which is later than the schedule's.
    pub asked: bool,
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
