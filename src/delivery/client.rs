//! The client: one for the daemon, with a lane for each target, over which attempts are made.
//!
//! Dropping an attempt closes its connection. Dropping a lane closes what is idle in its pool.
//!
//! What an attempt waits for is pinned where it is made: to be awaited by value it would be moved, and a future is as large
//! as all that it may come to hold.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::{RootCertStore, pki_types::CertificateDer};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;
use url::Url;

pub use super::target::{TargetError, path_and_query};
use super::{
    answer::{self, Body},
    connect,
    exchange::{Exchange, Phase, Request, Stage, Trace},
    failure,
    guard::{self, Guard},
    pool::{Connection, IdleLimits, Pool},
    proxy::Tunnel,
    resolve::{Resolver, Share},
    target::{Place, Target},
    tls::{self, Terms, Trust},
};
use crate::{
    clock::Clock,
    model::{
        account::AccountName,
        attempt::{Failure, Outcome, Response},
    },
    policy::{
        address::{Refusals, Rules, Stance},
        certificate::TlsVersion,
        destination::judge_literal,
        proxy::Proxy,
    },
};

/// The longest time that an attempt may have, whatever is asked for; a longer timer would be the runtime's to get wrong.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes kept of a successful answer's body; of another one, all that was read.
const BODY_OF_SUCCESS: usize = 1 << 10;
/// What the transport says itself; from elsewhere these would tear a message's frame.
const OF_THE_TRANSPORT: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// How endpoints are reached, all of them alike; the default: as by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Certificates that are trusted besides the roots; each can be a root.
    pub bundle: Vec<CertificateDer<'static>>,
    /// The least version of TLS.
    pub tls_min: TlsVersion,
    /// What they are reached through.
    pub proxy: Option<Proxy>,
}

/// Makes lanes. A cheap handle.
#[derive(Clone)]
pub struct Client {
    rules: Rules,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    trust: Trust,
    proxy: Option<Proxy>,
    resolver: Arc<Resolver>,
    idle: IdleLimits,
}

impl Client {
    /// A client that trusts the machine's roots (see [`tls::native_roots`]); it reads them, which blocks.
    pub fn new(rules: Rules, clock: Clock, options: Options) -> Result<Self, tls::RootsError> {
        Ok(Self::with_roots(rules, clock, tls::native_roots()?, options))
    }

    /// A client with these rules and options in the place of this one, with which it shares the bounds of both; it reads
    /// the machine's roots anew, which blocks. The lanes of this one are left as they are.
    ///
    /// # Errors
    /// The roots cannot be read.
    pub fn renewed(&self, rules: Rules, options: Options) -> Result<Self, tls::RootsError> {
        let Shared { clock, resolver, idle, .. } = &*self.shared;
        let trust = Trust::new(tls::native_roots()?, options.bundle, options.tls_min);
        let (resolver, idle) = (Arc::clone(resolver), idle.clone());
        let shared = Shared { clock: *clock, trust, proxy: options.proxy, resolver, idle };
        Ok(Self { rules, shared: Arc::new(shared) })
    }

    /// The same client under other rules.
    #[must_use]
    pub fn with_rules(&self, rules: Rules) -> Self {
        Self { rules, shared: Arc::clone(&self.shared) }
    }

    /// Where its lanes may lead.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A client that trusts these roots.
    pub fn with_roots(rules: Rules, clock: Clock, roots: RootCertStore, options: Options) -> Self {
        Self::build(rules, clock, roots, options, IdleLimits::new())
    }

    /// A client in whose pools connections grow no older than `idle_age`.
    #[cfg(test)]
    pub(super) fn with_idle_age(rules: Rules, clock: Clock, idle_age: Duration) -> Self {
        let (roots, options) = (RootCertStore::empty(), Options::default());
        Self::build(rules, clock, roots, options, IdleLimits::new().with_age(idle_age))
    }

    /// A client that asks this resolver, and trusts nobody.
    #[cfg(test)]
    pub(super) fn with_resolver(rules: Rules, clock: Clock, resolver: Resolver) -> Self {
        let trust = Trust::new(RootCertStore::empty(), Vec::new(), TlsVersion::default());
        let idle = IdleLimits::new();
        let resolver = Arc::new(resolver);
        Self { rules, shared: Arc::new(Shared { clock, trust, proxy: None, resolver, idle }) }
    }

    fn build(rules: Rules, clock: Clock, roots: RootCertStore, options: Options, idle: IdleLimits) -> Self {
        let trust = Trust::new(roots, options.bundle, options.tls_min);
        let resolver = Arc::new(Resolver::new());
        Self { rules, shared: Arc::new(Shared { clock, trust, proxy: options.proxy, resolver, idle }) }
    }

    /// A lane to `url`, with a connection pool of its own, for an endpoint of `account` that `stance` says who made: they
    /// decide where it may lead. TLS, if it is any, is spoken on these `terms`.
    pub fn lane(
        &self,
        url: &Url,
        stance: Stance,
        account: &AccountName,
        terms: &Terms,
    ) -> Result<Lane, TargetError> {
        let mut target = Target::new(url)?;
        if let (Some(server), Some(name)) = (&mut target.server, &terms.server_name) {
            *server = name.clone();
        }
        let proxy = self.shared.proxy.as_ref().filter(|proxy| proxy.takes(url));
        let scope = self.rules.scope(stance, account);
        Ok(Lane {
            tunnel: proxy.map(|proxy| Tunnel::new(proxy, url)).transpose()?,
            closed: judge_literal(url, &scope).err(),
            guard: Guard::new(scope),
            target,
            connector: self.shared.trust.connector(terms.identity.as_ref()),
            pool: Pool::new(self.shared.clock, self.shared.idle.clone()),
            share: Resolver::share(),
            terms: terms.clone(),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Whether a lane of this client for the same URL would be no other than `lane`.
    pub fn would_make(&self, lane: &Lane, stance: Stance, account: &AccountName, terms: &Terms) -> bool {
        let scope = self.rules.scope(stance, account);
        Arc::ptr_eq(&self.shared, &lane.shared) && lane.guard.is_of(&scope) && lane.terms == *terms
    }
}

/// A target and the connections to it.
pub struct Lane {
    /// `None`: it is dialled itself.
    tunnel: Option<Tunnel>,
    guard: Guard,
    /// What the guard says of an address in the URL, which a proxy would dial.
    closed: Option<Refusals>,
    target: Target,
    connector: TlsConnector,
    pool: Arc<Pool>,
    share: Share,
    terms: Terms,
    shared: Arc<Shared>,
}

impl Lane {
    /// Whether it goes through the proxy.
    pub const fn is_proxied(&self) -> bool {
        self.tunnel.is_some()
    }

    /// One attempt: a `POST` and what came back, within the request's time. `is_success` tells by the status how
    /// much of the body is worth keeping. Must run on the daemon's runtime.
    pub async fn attempt(&self, request: &Request, is_success: impl Fn(u16) -> bool) -> Exchange {
        let mut trace = Trace::start(self.shared.clock);
        let timeout = request.timeout.min(LONGEST);
        let deadline = Instant::from_std(trace.started() + timeout);
        let answered = {
            let headers = pin!(self.headers(request, &mut trace));
            timeout_at(deadline, headers).await
        };
        let outcome = match answered {
            Ok(Ok((connection, response))) => {
                trace.begin(Phase::Body);
                let body = pin!(self.body(connection, response, deadline, timeout, is_success));
                Outcome::Response(body.await)
            }
            Ok(Err(failure)) => Outcome::Failure(match &self.tunnel {
                Some(tunnel) => tunnel.behind(failure),
                None => failure,
            }),
            Err(_) => Outcome::Failure(trace.timed_out(timeout)),
        };
        trace.finish(outcome)
    }

    /// Sends the request and waits for complete headers, over an idle connection or else a fresh one.
    async fn headers(
        &self,
        request: &Request,
        trace: &mut Trace,
    ) -> Result<(Connection, http::Response<Incoming>), Failure> {
        if let Some(mut connection) = self.pool.checkout(trace.started()) {
            trace.address = Some(connection.address());
            trace.begin(Phase::Headers);
            let sent = pin!(connection.send(self.wire(request))).await;
            match sent {
                Ok(response) => return Ok((connection, response)),
                // Sent a second time only where the peer cannot have begun to answer the first.
                Err(failed) if failed.unanswered => trace.reconnect(),
                Err(failed) => return Err(failure::exchanging(&failed.error)),
            }
        }
        // Rare, and large: in a place of its own, or every attempt would carry room for it.
        let mut connection = Box::pin(self.open(trace)).await?;
        trace.begin(Phase::Headers);
        let sent = pin!(connection.send(self.wire(request))).await;
        sent.map(|response| (connection, response)).map_err(|failed| failure::exchanging(&failed.error))
    }

    /// A fresh connection: resolved, guarded, dialled, and its peer authenticated.
    async fn open(&self, trace: &mut Trace) -> Result<Connection, Failure> {
        if self.target.server.is_some() {
            self.shared.trust.check()?;
        }
        let (address, stream) = match &self.tunnel {
            Some(tunnel) => self.through(tunnel, trace).await?,
            None => self.dial(&self.target.place, Some(&self.guard), trace).await?,
        };
        let opened = match &self.target.server {
            None => self.pool.open(stream, address).await,
            Some(server) => {
                trace.begin(Phase::Tls);
                let stream = tls::handshake(&self.connector, server.clone(), stream).await;
                self.pool.open(stream.map_err(|error| failure::handshaking(&error))?, address).await
            }
        };
        opened.map_err(|error| failure::exchanging(&error))
    }

    /// A connection to the endpoint through the proxy. The guard judges an address in the URL, and `localhost`; other names
    /// are the proxy's.
    async fn through(&self, tunnel: &Tunnel, trace: &mut Trace) -> Result<(SocketAddr, TcpStream), Failure> {
        if let Some(refusals) = &self.closed {
            return Err(guard::closed(refusals));
        }
        trace.stage(Some(Stage::Reaching));
        let dialled = self.dial(&tunnel.place, None, trace).await;
        let (address, mut stream) = dialled.map_err(|failure| tunnel.unreached(&failure))?;
        tunnel.open(&mut stream, trace).await?;
        Ok((address, stream))
    }

    /// Looks a place up, if it is a name, and dials it.
    async fn dial(
        &self,
        place: &Place,
        guard: Option<&Guard>,
        trace: &mut Trace,
    ) -> Result<(SocketAddr, TcpStream), Failure> {
        let addresses = match place {
            Place::Address(address) => vec![*address],
            Place::Name(name, port) => {
                trace.begin(Phase::Resolve);
                let found = self.shared.resolver.resolve(&self.share, Arc::clone(name), *port).await;
                found.map_err(|error| failure::resolving(name, &error))?
            }
        };
        trace.begin(Phase::Connect);
        connect::dial(&addresses, guard, &mut trace.address).await
    }

    /// Reads the body, gives the connection back if it can be used again, and keeps what is kept of an answer.
    async fn body(
        &self,
        mut connection: Connection,
        response: http::Response<Incoming>,
        deadline: Instant,
        timeout: Duration,
        is_success: impl Fn(u16) -> bool,
    ) -> Response {
        let (head, incoming) = response.into_parts();
        let reading = pin!(Body::read(incoming, deadline));
        let mut body = connection.drive(reading).await;
        // After a 101 whatever comes is no HTTP.
        if body.is_complete() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.pool.checkin(connection);
        }
        let status = head.status.as_u16();
        if is_success(status) && body.bytes.len() > BODY_OF_SUCCESS {
            body.bytes.truncate(BODY_OF_SUCCESS);
            body.truncated = true;
        }
        Response {
            status,
            headers: answer::headers(&head.headers),
            body_truncated: body.truncated,
            body_error: body.error.map(|stopped| stopped.message(timeout)),
            body: body.bytes,
        }
    }

    /// The request as it is sent; made anew for each connection.
    fn wire(&self, request: &Request) -> http::Request<Full<Bytes>> {
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 2);
        headers.insert(header::HOST, self.target.host.clone());
        // hyper leaves it out where the body is empty, and some servers want it of every `POST`.
        headers.insert(header::CONTENT_LENGTH, request.body.len().into());
        for (name, value) in &request.headers {
            if !OF_THE_TRANSPORT.contains(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let mut wire = http::Request::new(Full::new(request.body.clone()));
        *wire.method_mut() = Method::POST;
        *wire.uri_mut() = request.path.as_ref().unwrap_or(&self.target.path).clone();
        *wire.headers_mut() = headers;
        wire
    }
}
