//! A lane's connections: opened, kept while idle, given out again, the last one used first.
//!
//! Each connection has one task, which ends with it, and which is stopped when its [`Connection`] is dropped: so
//! an attempt that is dropped closes its connection, and so does a pool that is dropped with all that are idle in
//! it. The task closes a connection that has been idle too long by a timer of its own, which is set anew only
//! when it fires: nothing wakes up where no connection is open.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
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
    task::JoinHandle,
    time::{sleep_until, timeout},
};

use super::counted::{Counted, Received};
use crate::clock::Clock;

/// Idle connections of one lane.
const IDLE_PER_LANE: usize = 32;
/// Idle connections of all lanes: they come on top of the requests that may be open at once.
const IDLE: usize = 256;
/// How long a connection may be idle; shorter than most servers' own limit, so that few are found closed.
const IDLE_AGE: Duration = Duration::from_secs(30);
/// How long a connection taken from the pool may take to be ready. One whose peer answered without reading the
/// whole request is never ready.
const READY: Duration = Duration::from_millis(250);
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
    /// The number of the next connection.
    next: u64,
    /// Ascending by `since`.
    idle: Vec<Idle>,
}

struct Idle {
    connection: Connection,
    since: Instant,
    _slot: OwnedSemaphorePermit,
}

/// A connection that nobody else uses.
pub(super) struct Connection {
    number: u64,
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    received: Received,
    _task: Task,
}

/// A task that does not outlive its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
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
        let number = self.number();
        let task = tokio::spawn(drive(exchange, Arc::downgrade(self), number, self.limits.age));
        Ok(Connection { number, address, sender, received, _task: Task(task) })
    }

    /// The idle connection last used, if it can still be used.
    pub(super) async fn checkout(&self) -> Option<Connection> {
        while let Some(mut connection) = self.pop() {
            if let Ok(Ok(())) = timeout(READY, connection.sender.ready()).await {
                return Some(connection);
            }
        }
        None
    }

    /// Takes back a connection whose answer has been read to its end; closes it where it cannot be kept.
    pub(super) fn checkin(&self, connection: Connection) {
        let Ok(slot) = Arc::clone(&self.limits.slots).try_acquire_owned() else { return };
        let since = self.clock.instant();
        let mut state = self.lock();
        // Asked under the lock: a task that ends takes the lock to forget its connection, after it has closed it.
        if !connection.sender.is_closed() && state.idle.len() < IDLE_PER_LANE {
            state.idle.push(Idle { connection, since, _slot: slot });
        }
    }

    fn pop(&self) -> Option<Connection> {
        let now = self.clock.instant();
        let mut state = self.lock();
        let last = state.idle.pop()?;
        if now.saturating_duration_since(last.since) < self.limits.age {
            return Some(last.connection);
        }
        // The others have been idle for longer still.
        state.idle.clear();
        None
    }

    fn number(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        state.next
    }

    /// Takes connection `number` out if it has been idle too long; else, when to look again.
    fn reap(&self, number: u64) -> Option<Instant> {
        let now = self.clock.instant();
        let mut state = self.lock();
        let Some(index) = state.idle.iter().position(|idle| idle.connection.number == number) else {
            return Some(now + self.limits.age);
        };
        let due = state.idle[index].since + self.limits.age;
        if due > now {
            return Some(due);
        }
        state.idle.remove(index);
        None
    }

    /// Takes connection `number` out: it is closed.
    fn forget(&self, number: u64) {
        self.lock().idle.retain(|idle| idle.connection.number != number);
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
        let sent = self.sender.try_send_request(request).await;
        // Nothing of the body is read before it is asked for; how much of it is, is up to who asks.
        self.received.allow(u64::MAX);
        sent.map_err(|failed| SendError {
            unanswered: failed.message().is_some() || self.received.bytes() == before,
            error: failed.into_error(),
        })
    }
}

/// The connection's task: moves its bytes until it is closed, and closes it when it has been idle for `age`.
async fn drive<T>(
    exchange: http1::Connection<TokioIo<Counted<T>>, Full<Bytes>>,
    pool: Weak<Pool>,
    number: u64,
    age: Duration,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    {
        let exchange = pin!(exchange);
        tokio::select! {
            // What went wrong is told to the request under way; without one it is of no interest.
            _ = exchange => (),
            () = idle_too_long(&pool, number, age) => (),
        }
    }
    if let Some(pool) = pool.upgrade() {
        pool.forget(number);
    }
}

async fn idle_too_long(pool: &Weak<Pool>, number: u64, age: Duration) {
    let Some(mut due) = pool.upgrade().map(|pool| pool.clock.instant() + age) else { return };
    loop {
        sleep_until(due.into()).await;
        match pool.upgrade().and_then(|pool| pool.reap(number)) {
            Some(later) => due = later,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::yield_now,
    };

    use super::*;

    fn pool() -> Arc<Pool> {
        Pool::new(Clock::start(), IdleLimits::new())
    }

    /// A connection whose answer has been read to its end, and the peer's end of it.
    async fn used(pool: &Arc<Pool>) -> (Connection, DuplexStream) {
        let (ours, mut theirs) = duplex(4096);
        let mut connection =
            pool.open(ours, "127.0.0.1:80".parse().expect("an address")).await.expect("a connection");
        let answer = async {
            assert!(theirs.read(&mut [0; 4096]).await.expect("a request") > 0);
            theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("room");
        };
        let (response, ()) = tokio::join!(connection.send(Request::new(Full::default())), answer);
        let response = response.unwrap_or_else(|failed| panic!("{}", failed.error));
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "ok");
        (connection, theirs)
    }

    fn idle(pool: &Pool) -> (usize, usize) {
        (pool.lock().idle.len(), IDLE - pool.limits.slots.available_permits())
    }

    #[tokio::test]
    async fn a_connection_closed_while_idle_leaves_the_pool() {
        let pool = pool();
        let (connection, peer) = used(&pool).await;
        pool.checkin(connection);
        assert_eq!(idle(&pool), (1, 1));
        drop(peer);
        while idle(&pool) != (0, 0) {
            yield_now().await;
        }
        assert!(pool.checkout().await.is_none());
    }

    #[tokio::test]
    async fn a_connection_closed_before_it_comes_back_is_not_kept() {
        let pool = pool();
        let (connection, peer) = used(&pool).await;
        drop(peer);
        while !connection.sender.is_closed() {
            yield_now().await;
        }
        pool.checkin(connection);
        assert_eq!(idle(&pool), (0, 0));
    }

    #[tokio::test]
    async fn the_last_one_used_comes_first_and_few_are_kept() {
        let pool = pool();
        let mut peers = Vec::new();
        for _ in 0..IDLE_PER_LANE + 3 {
            let (connection, peer) = used(&pool).await;
            peers.push(peer);
            pool.checkin(connection);
        }
        assert_eq!(idle(&pool), (IDLE_PER_LANE, IDLE_PER_LANE));
        let connection = pool.checkout().await.expect("an idle connection");
        assert_eq!(connection.number, IDLE_PER_LANE as u64);
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
