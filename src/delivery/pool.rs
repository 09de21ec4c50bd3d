//! A lane's connections: opened, kept while idle, given out again, the last one used first.
//!
//! A connection has no task of its own: whoever uses it moves its bytes, so that an answer wakes the attempt that
//! waits for it and nobody else. What is dropped is closed: a connection with the attempt that uses it, the idle ones with
//! their pool. An idle connection that its peer has closed is found out when it is taken, or, where it has come back only
//! just before, when a request gets no answer over it; and while there are idle ones, one timer closes those that have been
//! so for too long, or whose peer has gone. Nothing wakes up where no connection is open.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep_until,
};

use super::counted::{Counted, Received};
use crate::clock::Clock;

/// Idle connections of one lane.
const IDLE_PER_LANE: usize = 32;
/// Idle connections of all lanes: they come on top of the requests that may be open at once.
const IDLE: usize = 256;
/// How long a connection may be idle; shorter than most servers' own limit, so that few are found closed.
const IDLE_AGE: Duration = Duration::from_secs(30);
/// How often idle connections are looked through for those that their peers have closed.
const SWEEP: Duration = Duration::from_secs(5);
/// A connection that came back so lately is given out as it was found then.
const FRESH: Duration = Duration::from_millis(1);
/// The connection's buffer: an answer's headers must fit in it.
const BUFFER: usize = 64 << 10;
/// What may come until an answer's headers are complete: interim answers, the headers, and what of the body is read
/// along with them.
const BEFORE_BODY: u64 = 4 * (BUFFER as u64);

/// What idle connections may cost, the box over.
#[derive(Clone)]
pub(super) struct IdleLimits {
    slots: Arc<Semaphore>,
    age: Duration,
}

impl IdleLimits {
    /// The limits of a daemon.
    pub(super) fn new() -> Self {
        Self { slots: Arc::new(Semaphore::new(IDLE)), age: IDLE_AGE }
    }

    /// The same with another age.
    #[cfg(test)]
    pub(super) fn with_age(self, age: Duration) -> Self {
        Self { age, ..self }
    }
}

/// A lane's pool.
pub(super) struct Pool {
    clock: Clock,
    limits: IdleLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Ascending by `since`.
    idle: Vec<Idle>,
    /// Whether the timer for them runs.
    reaping: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
    _slot: OwnedSemaphorePermit,
}

/// A connection that nobody else uses.
pub(super) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    received: Received,
    exchange: Exchange,
}

/// What moves a connection's bytes, until it is closed.
struct Exchange(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl Exchange {
    /// Moves what can be moved now; whether the connection is open still.
    fn advance(&mut self, context: &mut Context<'_>) -> bool {
        // What went wrong is told to the request under way; without one it is of no interest.
        let open = self.0.as_mut().is_some_and(|exchange| exchange.as_mut().poll(context).is_pending());
        if !open {
            self.0 = None;
        }
        open
    }

    /// Does `work`, which is about this connection, and moves its bytes meanwhile.
    fn drive<F: Future>(&mut self, mut work: Pin<&mut F>) -> impl Future<Output = F::Output> {
        poll_fn(move |context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            self.advance(context);
            work.as_mut().poll(context)
        })
    }
}

/// A request that got no answer.
pub(super) struct SendError {
    /// Not a byte came back, so the connection was closed before the peer took the request up.
    pub(super) unanswered: bool,
    /// What happened.
    pub(super) error: hyper::Error,
}

impl Pool {
    pub(super) fn new(clock: Clock, limits: IdleLimits) -> Arc<Self> {
        Arc::new(Self { clock, limits, state: Mutex::default() })
    }

    /// HTTP/1.1 on `io`, which leads to `address`.
    pub(super) async fn open<T>(self: &Arc<Self>, io: T, address: SocketAddr) -> hyper::Result<Connection>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (io, received) = Counted::new(io);
        // At most 100 headers: hyper's own default, for which it needs no allocation.
        let (sender, exchange) =
            http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(io)).await?;
        let exchange = Exchange(Some(Box::pin(exchange)));
        Ok(Connection { address, sender, received, exchange })
    }

    /// The idle connection last used, if one of them can still be used. One that came back just now is not looked at again:
    /// where its peer has closed it since, the request gets no answer.
    pub(super) fn checkout(&self, now: Instant) -> Option<Connection> {
        while let Some(Idle { mut connection, since, .. }) = self.pop(now) {
            if now.saturating_duration_since(since) < FRESH || connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes back a connection whose answer has been read to its end; closes it where it cannot be kept.
    pub(super) fn checkin(self: &Arc<Self>, mut connection: Connection) {
        let Ok(slot) = Arc::clone(&self.limits.slots).try_acquire_owned() else { return };
        if !connection.is_ready() {
            return;
        }
        let since = self.clock.instant();
        let mut state = self.lock();
        if state.idle.len() == IDLE_PER_LANE {
            return;
        }
        state.idle.push(Idle { connection, since, _slot: slot });
        if !std::mem::replace(&mut state.reaping, true) {
            tokio::spawn(reap(Arc::downgrade(self), since + self.limits.age.min(SWEEP)));
        }
    }

    fn pop(&self, now: Instant) -> Option<Idle> {
        let mut state = self.lock();
        let last = state.idle.pop()?;
        if now.saturating_duration_since(last.since) < self.limits.age {
            return Some(last);
        }
        // The others have been idle for longer still.
        state.idle.clear();
        None
    }

    /// Closes what has been idle too long, or has been closed by its peer; says when to look again, if there is
    /// anything left to look at.
    fn sweep(&self) -> Option<Instant> {
        let now = self.clock.instant();
        let mut state = self.lock();
        state.idle.retain_mut(|idle| idle.since + self.limits.age > now && idle.connection.is_open());
        let next = state.idle.first().map(|oldest| (oldest.since + self.limits.age).min(now + SWEEP));
        state.reaping = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock leaves the list half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Where it leads.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and waits for the answer's headers.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, SendError> {
        let before = self.received.bytes();
        self.received.allow(BEFORE_BODY);
        let sending = pin!(self.sender.try_send_request(request));
        let sent = self.exchange.drive(sending).await;
        // Nothing of the body is read before it is asked for; how much of it is, is up to who asks.
        self.received.allow(u64::MAX);
        sent.map_err(|failed| SendError {
            unanswered: failed.message().is_some() || self.received.bytes() == before,
            error: failed.into_error(),
        })
    }

    /// Reads an answer's body, or does whatever else needs the connection's bytes to be moved.
    pub(super) fn drive<F: Future>(&mut self, work: Pin<&mut F>) -> impl Future<Output = F::Output> {
        self.exchange.drive(work)
    }

    /// Whether a request can be sent over it, as far as it can be told without waiting. One whose peer has answered without
    /// reading the whole request is never ready again.
    fn is_ready(&mut self) -> bool {
        self.is_open() && self.sender.is_ready()
    }

    /// Whether it is open, as far as it can be told without waiting.
    fn is_open(&mut self) -> bool {
        // Nobody waits: whoever uses it next looks again.
        self.exchange.advance(&mut Context::from_waker(Waker::noop())) && !self.sender.is_closed()
    }
}

/// Sweeps the pool for as long as there is something idle in it.
async fn reap(pool: Weak<Pool>, mut due: Instant) {
    loop {
        sleep_until(due.into()).await;
        match pool.upgrade().and_then(|pool| pool.sweep()) {
            Some(next) => due = next,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn pool() -> Arc<Pool> {
        Pool::new(Clock::start(), IdleLimits::new())
    }

    /// A connection whose answer has been read to its end, and the peer's end of it.
    async fn used(pool: &Arc<Pool>) -> (Connection, DuplexStream) {
        used_to(pool, 80).await
    }

    /// The same, to a port.
    async fn used_to(pool: &Arc<Pool>, port: u16) -> (Connection, DuplexStream) {
        let (ours, mut theirs) = duplex(4096);
        let mut connection = pool.open(ours, ([127, 0, 0, 1], port).into()).await.expect("a connection");
        let answer = async {
            assert!(theirs.read(&mut [0; 4096]).await.expect("a request") > 0);
            theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("room");
        };
        let (response, ()) = tokio::join!(connection.send(Request::new(Full::default())), answer);
        let response = response.unwrap_or_else(|failed| panic!("{}", failed.error));
        assert_eq!(
            connection.drive(pin!(response.into_body().collect())).await.expect("a body").to_bytes(),
            "ok"
        );
        (connection, theirs)
    }

    fn idle(pool: &Pool) -> (usize, usize) {
        (pool.lock().idle.len(), IDLE - pool.limits.slots.available_permits())
    }

    #[tokio::test]
    async fn a_connection_closed_while_idle_is_not_given_out() {
        for swept in [false, true] {
            let pool = pool();
            let (connection, peer) = used(&pool).await;
            pool.checkin(connection);
            assert_eq!(idle(&pool), (1, 1));
            assert!(pool.sweep().is_some(), "it is open, and looked at again");
            assert_eq!(idle(&pool), (1, 1));
            drop(peer);
            if swept {
                assert!(pool.sweep().is_none(), "nothing is left to look at");
                assert_eq!(idle(&pool), (0, 0));
            }
            assert!(pool.checkout(pool.clock.instant() + FRESH).is_none());
            assert_eq!(idle(&pool), (0, 0));
        }
    }

    #[tokio::test]
    async fn over_one_that_was_closed_as_it_came_back_a_request_gets_no_answer() {
        let pool = pool();
        let (connection, peer) = used(&pool).await;
        pool.checkin(connection);
        drop(peer);
        let since = pool.lock().idle[0].since;
        let mut connection = pool.checkout(since).expect("it is given out as it was");
        let failed = connection.send(Request::new(Full::default())).await.expect_err("nobody is there");
        assert!(failed.unanswered, "{}", failed.error);
    }

    #[tokio::test]
    async fn a_connection_closed_before_it_comes_back_is_not_kept() {
        let pool = pool();
        let (connection, peer) = used(&pool).await;
        drop(peer);
        pool.checkin(connection);
        assert_eq!(idle(&pool), (0, 0));
    }

    /// Its request will never be read to its end, so that no other can follow.
    #[tokio::test]
    async fn a_connection_whose_peer_answered_too_early_is_not_kept() {
        let pool = pool();
        let (ours, mut theirs) = duplex(4096);
        let mut connection = pool.open(ours, ([127, 0, 0, 1], 80).into()).await.expect("a connection");
        let answer = async {
            assert!(theirs.read(&mut [0; 512]).await.expect("a request") > 0);
            theirs.write_all(b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n").await.expect("room");
        };
        let request = Request::new(Full::new(Bytes::from(vec![0; 1 << 20])));
        let (response, ()) = tokio::join!(connection.send(request), answer);
        let response = response.unwrap_or_else(|failed| panic!("{}", failed.error));
        connection.drive(pin!(response.into_body().collect())).await.expect("an empty body");
        pool.checkin(connection);
        assert_eq!(idle(&pool), (0, 0));
    }

    #[tokio::test]
    async fn the_last_one_used_comes_first_and_few_are_kept() {
        let pool = pool();
        let mut peers = Vec::new();
        for port in 1..=u16::try_from(IDLE_PER_LANE + 3).expect("few") {
            let (connection, peer) = used_to(&pool, port).await;
            peers.push(peer);
            pool.checkin(connection);
        }
        assert_eq!(idle(&pool), (IDLE_PER_LANE, IDLE_PER_LANE));
        let connection = pool.checkout(pool.clock.instant()).expect("an idle connection");
        assert_eq!(usize::from(connection.address().port()), IDLE_PER_LANE);
        // Those that were not kept are closed.
        assert_eq!(peers.pop().expect("a peer").read(&mut [0; 1]).await.expect("an end"), 0);
        let slots = Arc::clone(&pool.limits.slots);
        drop((connection, pool));
        assert_eq!(slots.available_permits(), IDLE);
        for mut peer in peers {
            assert_eq!(peer.read(&mut [0; 1]).await.expect("an end"), 0);
        }
    }
}
