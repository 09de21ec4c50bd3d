//! Attempts: one HTTP request of a delivery each, with what came back.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{delivery::DeliveryKey, endpoint::EndpointNumber, time::Timestamp};

/// An attempt's row in the store, ascending from 1, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptRow(u64);

impl AttemptRow {
    /// No attempt has a greater one: deliveries have 48 bits for it.
    pub const MAX: Self = Self((1 << 48) - 1);

    /// A row number, from 1.
    pub const fn new(row: u64) -> Self {
        Self(row)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// An attempt as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Of which delivery.
    pub delivery: DeliveryKey,
    /// To whom.
    pub endpoint: EndpointNumber,
    /// Its number among the delivery's attempts, from 1.
    pub number: u32,
    /// Where the attempt before is recorded.
    pub previous: Option<AttemptRow>,
    /// Why it was made when it was made.
    pub why: Why,
    /// What was sent and what came back.
    pub report: Report,
}

/// Why an attempt was made when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The first of this run for a delivery that was due before an unclean start: it may be a repeat.
    AfterCrash,
    /// It was the probe of its endpoint's open circuit.
    Probe,
    /// It was the first after somebody had the delivery replayed.
    Replay,
    /// The endpoint had asked for this time (`Retry-After`), later than the schedule's.
    RetryAfter,
    /// The schedule said so.
    Schedule,
}

/// What one request was and what became of it: the delivery stage's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// When it began (wall clock); `{timestamp}` is this.
    pub started_at: Timestamp,
    /// What made the request; `None`: it could not be made.
    pub fingerprint: Option<Fingerprint>,
    /// The value of `{signature}`, which is part of `signatures`; empty where the profile does not sign.
    pub signature: String,
    /// The value of `{signatures}`; empty where the profile does not sign.
    pub signatures: String,
    /// The address dialled, when it came to that.
    pub address: Option<SocketAddr>,
    /// A pooled connection was found closed before a byte came back, and replaced.
    pub reconnected: bool,
    /// How long each phase took.
    pub phases: Phases,
    /// It was a success under the profile as that was then.
    pub success: bool,
    /// What came back.
    pub outcome: Outcome,
}

/// What made a request, but for what is recorded of it: where two are equal, the same settings make the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of these eight bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The eight bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How long each phase of an attempt took; a phase that did not happen (a pooled connection) is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Resolving the name.
    pub resolve: Option<Duration>,
    /// Connecting.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request's first byte to the answer's complete headers.
    pub headers: Option<Duration>,
    /// From there to the end of what was read of the body.
    pub body: Option<Duration>,
    /// All of it.
    pub total: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Complete headers in time: the status decides.
    Response(Response),
    /// No complete headers in time.
    Failure(Failure),
}

impl Outcome {
    /// The HTTP status, where one came.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Response(response) => Some(response.status),
            Self::Failure(_) => None,
        }
    }
}

/// An HTTP answer, bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers as they came, names in lower case; non-UTF-8 bytes replaced.
    pub headers: Vec<(String, String)>,
    /// The body's beginning: 16 KiB at most of a failure, 1 KiB of a success.
    pub body: Vec<u8>,
    /// The body had more than `body`.
    pub body_truncated: bool,
    /// What went wrong while the body was read, if anything did; the status stands all the same.
    pub body_error: Option<String>,
}

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In which phase, of which kind.
    pub kind: FailureKind,
    /// In words, for people; carries no secret and no payload.
    pub message: String,
}

/// The kinds of failure without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection, or no way through the proxy: refused, unreachable, reset while connecting, no local address or port for it.
    Connect,
    /// The box itself could not open a connection: no descriptors, no memory.
    Local,
    /// The answer was no HTTP, too large in its headers, or the connection ended before they were complete.
    Protocol,
    /// The proxy failed, not the endpoint: no connection to it, it wants a password, or it speaks no HTTP.
    Proxy,
    /// The guard refused the address.
    Refused,
    /// The name did not resolve.
    Resolve,
    /// The deadline passed.
    Timeout,
    /// The TLS handshake failed.
    Tls,
}

impl FailureKind {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Local => "local",
            Self::Protocol => "protocol",
            Self::Proxy => "proxy",
            Self::Refused => "refused",
            Self::Resolve => "resolve",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
        }
    }
}
