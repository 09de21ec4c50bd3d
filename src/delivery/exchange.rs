//! What goes into an attempt and what comes out of it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};

use super::failure;
use crate::{
    clock::Clock,
    model::{
        attempt::{Failure, FailureKind, Outcome, Phases},
        time::format_duration,
    },
};

/// A request's headers in the order in which they are sent, no name twice. A list, and no map: the map that goes over
/// the wire is made of it for each connection.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// What to send. The Host header is the lane's.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query, where they are not the lane's.
    pub path: Option<Uri>,
    /// Headers, signature and all. Those by which HTTP frames a message (Host, Content-Length, Transfer-Encoding,
    /// Connection and their like) are made by the transport and left out here.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    /// The one deadline, from resolving to the end of the body; a day at most.
    pub timeout: Duration,
}

/// What became of it: all of [`crate::model::attempt::Report`] that the transport knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The address dialled last, or the pooled connection's, when it came to that.
    pub address: Option<SocketAddr>,
    /// A pooled connection was found closed before a byte came back, and replaced.
    pub reconnected: bool,
    /// How long each phase took; one broken off by the end of the attempt counts as far as it came.
    pub phases: Phases,
    /// What came back.
    pub outcome: Outcome,
}

/// The phases, as they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Tls,
    Headers,
    Body,
}

/// How far a way through a proxy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The proxy is looked up and dialled.
    Reaching,
    /// It has been asked, and does not answer yet.
    Asked,
    /// Its answer has begun.
    Answering,
}

/// An attempt while it is made. It outlives the future that makes it, so that it can tell how far that came.
pub(super) struct Trace {
    pub(super) address: Option<SocketAddr>,
    clock: Clock,
    started: Instant,
    running: Option<(Phase, Instant)>,
    phases: Phases,
    reconnected: bool,
    proxy: Option<Stage>,
}

impl Trace {
    pub(super) fn start(clock: Clock) -> Self {
        Self {
            address: None,
            clock,
            started: clock.instant(),
            running: None,
            phases: Phases::default(),
            reconnected: false,
            proxy: None,
        }
    }

    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// Ends the phase before and begins this one.
    pub(super) fn begin(&mut self, phase: Phase) {
        let now = self.end();
        self.running = Some((phase, now));
    }

    /// How far the way through a proxy has come; `None`: it is open, or there is none.
    pub(super) const fn stage(&mut self, stage: Option<Stage>) {
        self.proxy = stage;
    }

    /// Starts over: the connection from the pool was closed.
    pub(super) fn reconnect(&mut self) {
        self.running = None;
        self.phases = Phases::default();
        self.address = None;
        self.proxy = None;
        self.reconnected = true;
    }

    /// The failure of an attempt whose time ran out before the headers were complete.
    pub(super) fn timed_out(&self, timeout: Duration) -> Failure {
        let within = format_duration(timeout);
        if let Some(stage) = self.proxy {
            return Self::timed_out_at_proxy(stage, &within);
        }
        let message = match (self.running.map(|(phase, _)| phase), self.address) {
            (None, _) | (Some(Phase::Connect), None) => format!("no connection within {within}"),
            (Some(Phase::Resolve), _) => format!("the name did not resolve within {within}"),
            (Some(Phase::Connect), Some(address)) => format!("no connection to {address} within {within}"),
            (Some(Phase::Tls), _) => format!("no complete TLS handshake within {within}"),
            (Some(Phase::Headers | Phase::Body), _) => format!("no complete headers within {within}"),
        };
        failure::new(FailureKind::Timeout, message)
    }

    /// A proxy that has been asked and says nothing may be waiting for the endpoint: that is the endpoint's, or a dead
    /// endpoint would be tried without end.
    fn timed_out_at_proxy(stage: Stage, within: &str) -> Failure {
        let (kind, what) = match stage {
            Stage::Reaching => (FailureKind::Proxy, "no connection to the proxy"),
            Stage::Asked => {
                (FailureKind::Timeout, "no way to the endpoint through the proxy, and no answer of it,")
            }
            Stage::Answering => (FailureKind::Proxy, "no complete answer of the proxy"),
        };
        failure::new(kind, format!("{what} within {within}"))
    }

    /// The attempt is over.
    pub(super) fn finish(mut self, outcome: Outcome) -> Exchange {
        let now = self.end();
        self.phases.total = now - self.started;
        Exchange { address: self.address, reconnected: self.reconnected, phases: self.phases, outcome }
    }

    fn end(&mut self) -> Instant {
        let now = self.clock.instant();
        if let Some((phase, since)) = self.running.take() {
            let slot = match phase {
                Phase::Resolve => &mut self.phases.resolve,
                Phase::Connect => &mut self.phases.connect,
                Phase::Tls => &mut self.phases.tls,
                Phase::Headers => &mut self.phases.headers,
                Phase::Body => &mut self.phases.body,
            };
            *slot = Some(now - since);
        }
        now
    }
}
