//! A receiver that means no good: what it does on a connection is told by a function, step by step; what was taken of
//! what it sent is counted.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::net::TcpSocket;

use super::receiver::read_request;

/// From one drop to the next.
const DRIP: Duration = Duration::from_millis(10);

type Manner = dyn Fn(&mut Connection) + Send + Sync;

/// Listens on a port of its own until it is dropped.
pub struct Hostile {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Box<Manner>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// What it has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Connections.
    pub accepted: usize,
    /// Of these, those that are over.
    pub ended: usize,
    /// The most bytes that were taken on one connection: by the other side, or the kernel on the way.
    pub most_taken: usize,
    over: bool,
}

/// A connection. Steps after its end do nothing.
pub struct Connection {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    taken: usize,
    shared: Arc<Shared>,
}

impl Hostile {
    /// One that treats every connection so, and then closes it.
    pub fn start(manner: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (seen, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { manner: Box::new(manner), seen, changed });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.lock().over {
                    return;
                }
                let connection = Connection::new(stream, &serving);
                let serving = Arc::clone(&serving);
                thread::spawn(move || {
                    let mut connection = connection;
                    (serving.manner)(&mut connection);
                });
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn seen(&self) -> Seen {
        *self.shared.lock()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.change(|seen| seen.over = true);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl Connection {
    fn new(stream: TcpStream, shared: &Arc<Shared>) -> Self {
        shared.change(|seen| seen.accepted += 1);
        // Where it cannot be set, drops come late: no failure of the test.
        let _ = stream.set_nodelay(true);
        Self { stream: Some(stream), buffer: Vec::new(), taken: 0, shared: Arc::clone(shared) }
    }

    /// Does something to the stream; an error, the other side's doing, ends the connection.
    fn step<T>(&mut self, step: impl FnOnce(&mut TcpStream, &mut Vec<u8>) -> io::Result<T>) -> Option<T> {
        let result = step(self.stream.as_mut()?, &mut self.buffer).ok();
        if result.is_none() {
            self.stream = None;
        }
        result
    }

    /// Reads a request; says whether one came.
    pub fn request(&mut self) -> bool {
        let read = self.step(read_request);
        matches!(read, Some(Some(_)))
    }

    /// Says these bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            let Some(count @ 1..) = self.step(|stream, _| stream.write(rest)) else { return };
            rest = &rest[count..];
            self.taken += count;
        }
    }

    /// Says these bytes over and over, as fast as they are taken, at most `most` bytes.
    pub fn flood(&mut self, bytes: &[u8], most: usize) {
        let end = self.taken + most;
        while self.stream.is_some() && self.taken < end {
            self.say(bytes);
        }
    }

    /// Says these bytes every few milliseconds, until the other side hangs up.
    pub fn drip(&mut self, bytes: &[u8]) {
        self.step(|stream, _| stream.set_read_timeout(Some(DRIP)));
        while self.stream.is_some() {
            self.say(bytes);
            self.step(|stream, _| match stream.read(&mut [0; 1024]) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                _ => Ok(()),
            });
        }
    }

    /// Says that it will say nothing more, and goes on listening until the other side hangs up.
    pub fn half_close(&mut self) {
        self.step(|stream, _| stream.shutdown(Shutdown::Write));
        self.hold();
    }

    /// Says nothing, until the other side hangs up.
    pub fn hold(&mut self) {
        while let Some(1..) = self.step(|stream, _| stream.read(&mut [0; 1024])) {}
    }

    /// Neither says nor reads anything as long as the receiver lives, whatever the other side does.
    pub fn ignore(&mut self) {
        let waited = self.shared.changed.wait_while(self.shared.lock(), |seen| !seen.over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        TcpSocket::from_std_stream(stream).set_zero_linger().expect("a socket has that option");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let taken = self.taken;
        self.shared.change(|seen| {
            seen.ended += 1;
            seen.most_taken = seen.most_taken.max(taken);
        });
    }
}
