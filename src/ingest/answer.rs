//! What a producer is told, in the same form through every door.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{event::Effect, id::EventId};

/// The answer to one accepted event: a line on a stream, the body of an answer to one event over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The event's id; of a duplicate the first one's.
    pub id: EventId,
    /// The producer's id is known already: nothing new was accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// What its account's catalog says of its type: of one without effect, that it is kept and not delivered.
    #[serde(default, skip_serializing_if = "Effect::is_live")]
    pub effect: Effect,
}

/// The answer to one refused event: `{"error":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub error: ErrorView,
}

/// Why something was refused, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// A stable word, such as `invalid_event`.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// It may be taken in so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// One answer of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// It is on disk.
    Accepted(Accepted),
    /// It is not.
    Refused(Refused),
}

/// Why an event is not taken; the producer still has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind.
    pub code: Code,
    /// What is wrong and what to do. Nothing of the payload.
    pub message: String,
    /// When it may be taken, where it is a matter of time.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with its words; where its kind is a matter of time, it says when to try again.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: code.retry_after() }
    }

    /// The same, of what stands at `place` among others.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    /// When to try again, in whole seconds, no sooner.
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0))
    }

    /// Whether it passes by itself: the same may be taken later.
    pub const fn is_for_now(&self) -> bool {
        self.retry_after.is_some()
    }

    /// The daemon is going down.
    pub fn stopping() -> Self {
        Self::new(Code::Stopping, "posthaste is stopping; hand the event in again in a moment")
    }

    /// The store failed: the daemon is about to end.
    pub fn store_failed() -> Self {
        let message = "the store failed, so it is not known whether this was taken; hand it in again with the same id when posthaste is back";
        Self::new(Code::StoreFailed, message)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let retry_after = refusal.retry_after_secs();
        let code = refusal.code.as_str().to_owned();
        Self::Refused(Refused { error: ErrorView { code, message: refusal.message, retry_after } })
    }
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Events of this account do not come through this door.
    AccountNotAllowed,
    /// More events, or more bytes, in one request than `batch_events` or `batch_size`.
    BatchTooLarge,
    /// Too much is being handed in at this moment.
    Busy,
    /// The store's disk is full.
    DiskFull,
    /// Longer than `event_size`.
    EventTooLarge,
    /// Whether who has connected may do anything hangs on their groups, and nobody says what these are.
    GroupsUnknown,
    /// A spool file longer than `file_size`, or with more than `file_events`.
    FileTooLarge,
    /// The account holds an event with this id and other content.
    IdConflict,
    /// Not an event.
    InvalidEvent,
    /// Who asks may not do this, or may not do anything.
    NotAllowed,
    /// More than who asks may have open, or hand in at this moment.
    QuotaExceeded,
    /// A callback cannot be signed.
    SecretMissing,
    /// The store is being opened or repaired.
    Starting,
    /// What had begun did not come to its end in time.
    TooSlow,
    /// The daemon is going down.
    Stopping,
    /// The store failed.
    StoreFailed,
    /// The store holds `max_size` bytes of rows.
    StoreFull,
    /// No such account.
    UnknownAccount,
    /// The account's catalog has no such type.
    UnknownEventType,
    /// The input ended within an item of MessagePack.
    UnterminatedItem,
    /// The input ended within a line.
    UnterminatedLine,
    /// What is spoken here is none of what the socket understands.
    UnknownDialect,
    /// Nothing is delivered to the URL of its callback.
    UrlRefused,
}

impl Code {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountNotAllowed => "account_not_allowed",
            Self::BatchTooLarge => "batch_too_large",
            Self::Busy => "busy",
            Self::DiskFull => "disk_full",
            Self::EventTooLarge => "event_too_large",
            Self::FileTooLarge => "file_too_large",
            Self::GroupsUnknown => "groups_unknown",
            Self::IdConflict => "id_conflict",
            Self::InvalidEvent => "invalid_event",
            Self::NotAllowed => "not_allowed",
            Self::QuotaExceeded => "quota_exceeded",
            Self::SecretMissing => "secret_missing",
            Self::Starting => "starting",
            Self::TooSlow => "too_slow",
            Self::Stopping => "stopping",
            Self::StoreFailed => "store_failed",
            Self::StoreFull => "store_full",
            Self::UnknownAccount => "unknown_account",
            Self::UnknownEventType => "unknown_event_type",
            Self::UnterminatedItem => "unterminated_item",
            Self::UnterminatedLine => "unterminated_line",
            Self::UnknownDialect => "unknown_dialect",
            Self::UrlRefused => "url_refused",
        }
    }

    /// When what was refused so may be taken, if it is known to pass by itself.
    const fn retry_after(self) -> Option<Duration> {
        const SOON: Option<Duration> = Some(Duration::from_secs(1));
        match (self, self.status()) {
            // It did not come whole, and whoever sent it has it. A file that is cut short stays so: the spool reads it
            // itself, and puts it away whatever is said here.
            (Self::TooSlow | Self::UnterminatedItem | Self::UnterminatedLine, _) | (_, 503) => SOON,
            // Somebody has to make room, or time has to.
            (_, 507) => Some(Duration::from_secs(10)),
            _ => None,
        }
    }

    /// The HTTP status that says the same.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidEvent | Self::UnterminatedItem | Self::UnterminatedLine | Self::UnknownDialect => {
                400
            }
            Self::AccountNotAllowed | Self::NotAllowed => 403,
            Self::TooSlow => 408,
            Self::IdConflict => 409,
            Self::BatchTooLarge | Self::EventTooLarge | Self::FileTooLarge => 413,
            Self::SecretMissing | Self::UnknownAccount | Self::UnknownEventType | Self::UrlRefused => 422,
            Self::QuotaExceeded => 429,
            Self::Busy | Self::GroupsUnknown | Self::Starting | Self::Stopping | Self::StoreFailed => 503,
            Self::DiskFull | Self::StoreFull => 507,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_says_when_to_try_again() {
        let said = |refusal| serde_json::to_string(&Answer::from(refusal)).expect("JSON");
        let for_good = Refusal::new(Code::IdConflict, "no");
        assert_eq!(said(for_good.clone()), r#"{"error":{"code":"id_conflict","message":"no"}}"#);
        let passing = Refusal::new(Code::Busy, "not now");
        assert_eq!(said(passing), r#"{"error":{"code":"busy","message":"not now","retry_after":1}}"#);
        let codes = [
            (Code::StoreFailed, Some(1)),
            (Code::StoreFull, Some(10)),
            (Code::TooSlow, Some(1)),
            (Code::UnterminatedItem, Some(1)),
            (Code::UnterminatedLine, Some(1)),
            (Code::UnknownDialect, None),
            (Code::InvalidEvent, None),
        ];
        for (code, seconds) in codes {
            assert_eq!(Refusal::new(code, "no").retry_after_secs(), seconds, "{code:?}");
        }
        for (after, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            let refusal = Refusal { retry_after: Some(Duration::from_millis(after)), ..for_good.clone() };
            assert_eq!(refusal.retry_after_secs(), Some(seconds), "{after} ms");
        }
    }
}
