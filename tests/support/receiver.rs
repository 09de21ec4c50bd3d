//! A receiver of webhooks: records every request, and answers as it is told.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::{DEADLINE, now};

/// One request, as it came.
#[derive(Debug)]
pub struct Hook {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When all of it had come.
    pub at: Instant,
    /// How many requests of the same delivery came before.
    pub earlier: usize,
    /// The port that it came from, by which connections can be told apart.
    pub from: u16,
}

impl Hook {
    /// The header's value; it must be there, once.
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(have, _)| have == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("no {name} among {:?}", self.headers));
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("payloads are UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// What the receiver does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status, a header and a body.
    Full(u16, (&'static str, &'static str), String),
    /// Answers with this status after so long.
    After(Duration, u16),
    /// Answers with this status once [`Receiver::release`] was called.
    Held(u16),
    /// As [`Self::Held`], with a body.
    HeldFull(u16, String),
    /// Does not answer as long as the receiver lives.
    Never,
    /// Closes the connection.
    Close,
    /// Answers with this status, and closes the connection without having said that it would.
    Last(u16),
    /// Sends these bytes, and nothing more as long as the receiver lives.
    Stall(&'static [u8]),
}

type Script = dyn Fn(&Hook) -> Reply + Send + Sync;

/// Listens on a port of its own until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    tls: Option<Arc<ServerConfig>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hooks: Vec<Arc<Hook>>,
    deliveries: HashMap<String, usize>,
    released: bool,
    closed: bool,
}

impl Receiver {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::answering(|_| Reply::Status(204))
    }

    /// One that answers as `script` says.
    pub fn answering(script: impl Fn(&Hook) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(Box::new(script), None)
    }

    /// One that speaks TLS, and takes everything.
    pub fn with_tls(config: ServerConfig) -> Self {
        Self::answering_over_tls(config, |_| Reply::Status(204))
    }

    /// One that speaks TLS, and answers as `script` says.
    pub fn answering_over_tls(
        config: ServerConfig,
        script: impl Fn(&Hook) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Box::new(script), Some(Arc::new(config)))
    }

    fn listen(script: Box<Script>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { script, tls, state: Mutex::default(), changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.lock().closed {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serving = Arc::clone(&serving);
                // A peer that was killed breaks its connections: no failure of the test.
                thread::spawn(move || serving.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Lets go what is [`Reply::Held`], now and from now on.
    pub fn release(&self) {
        self.shared.lock().released = true;
        self.shared.changed.notify_all();
    }

    /// What has come so far.
    pub fn hooks(&self) -> Vec<Arc<Hook>> {
        self.shared.lock().hooks.clone()
    }

    /// What has come so far on one path.
    pub fn hooks_at(&self, path: &str) -> Vec<Arc<Hook>> {
        self.hooks().into_iter().filter(|hook| hook.path == path).collect()
    }

    /// Waits until there are `count` requests.
    pub fn wait(&self, count: usize) -> Vec<Arc<Hook>> {
        self.wait_for(&format!("{count} requests"), |hooks| hooks.len() >= count)
    }

    /// Waits until there are `count` requests on one path.
    pub fn wait_at(&self, path: &str, count: usize) -> Vec<Arc<Hook>> {
        let enough = |hooks: &[Arc<Hook>]| hooks.iter().filter(|hook| hook.path == path).count() >= count;
        self.wait_for(&format!("{count} requests to {path}"), enough);
        self.hooks_at(path)
    }

    /// Waits until what has come is enough.
    pub fn wait_for(&self, what: &str, enough: impl Fn(&[Arc<Hook>]) -> bool) -> Vec<Arc<Hook>> {
        let waiting = |state: &mut State| !enough(&state.hooks);
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), DEADLINE, waiting);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "waited for {what}; there are {}", state.hooks.len());
        state.hooks.clone()
    }

    /// Waits until what has come is enough, but not longer than `time`; says whether it is.
    pub fn wait_at_most(&self, time: Duration, enough: impl Fn(&[Arc<Hook>]) -> bool) -> bool {
        let waiting = |state: &mut State| !enough(&state.hooks);
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), time, waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let from = stream.peer_addr()?.port();
        match &self.tls {
            None => self.serve_on(stream, from),
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                let mut raw = stream.try_clone()?;
                let served = self.serve_on(StreamOwned::new(session, stream), from);
                if served.is_err() {
                    // What was said of that is heard before the connection is closed.
                    io::copy(&mut raw, &mut io::sink())?;
                }
                served
            }
        }
    }

    fn serve_on(&self, mut stream: impl Read + Write, from: u16) -> io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(hook) = read_request(&mut stream, &mut buffer)? {
            let hook = self.record(Hook { from, ..hook });
            let reply = (self.script)(&hook);
            if let Reply::Stall(bytes) = reply {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
            let last = matches!(reply, Reply::Last(_));
            let Some(answer) = self.answer(reply) else { return Ok(()) };
            stream.write_all(&answer)?;
            stream.flush()?;
            if last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn record(&self, mut hook: Hook) -> Arc<Hook> {
        let mut state = self.lock();
        let ids = ["webhook-id", "x-transcodely-delivery-id", "x-webhook-delivery-id", "delivery-id"];
        let id = hook.headers.iter().find(|(name, _)| ids.contains(&name.as_str()));
        if let Some((_, id)) = id {
            let count = state.deliveries.entry(id.clone()).or_default();
            hook.earlier = *count;
            *count += 1;
        }
        let hook = Arc::new(hook);
        state.hooks.push(Arc::clone(&hook));
        self.changed.notify_all();
        hook
    }

    /// The bytes of the answer when its time has come; `None`: none, and the connection is closed.
    fn answer(&self, reply: Reply) -> Option<Vec<u8>> {
        let plain = |status| Some(response(status, ("x-receiver", "yes"), ""));
        match reply {
            Reply::Status(status) | Reply::Last(status) => plain(status),
            Reply::Full(status, header, body) => Some(response(status, header, &body)),
            Reply::After(time, status) => {
                let waited = self.changed.wait_timeout_while(self.lock(), time, |state| !state.closed);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                plain(status)
            }
            Reply::Held(status) => {
                let waiting = |state: &mut State| !state.released && !state.closed;
                drop(self.changed.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner));
                plain(status)
            }
            Reply::HeldFull(status, body) => {
                let waiting = |state: &mut State| !state.released && !state.closed;
                drop(self.changed.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner));
                Some(response(status, ("x-receiver", "yes"), &body))
            }
            Reply::Never | Reply::Stall(_) => {
                let waited = self.changed.wait_while(self.lock(), |state| !state.closed);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                None
            }
            Reply::Close => None,
        }
    }
}

fn response(status: u16, (name, value): (&str, &str), body: &str) -> Vec<u8> {
    let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status} As Told\r\n{name}: {value}\r\n{length}\r\n{body}").into_bytes()
}

/// Reads one request; `None` at the end of the connection. What came behind it stays in `buffer`.
pub fn read_request(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<Hook>> {
    let mut chunk = [0; 16 << 10];
    let mut more = |buffer: &mut Vec<u8>| {
        let count = stream.read(&mut chunk)?;
        buffer.extend_from_slice(&chunk[..count]);
        io::Result::Ok(count > 0)
    };
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if !more(buffer)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    while buffer.len() < end + length {
        if !more(buffer)? {
            return Ok(None);
        }
    }
    let body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Ok(Some(Hook { method, path, headers, body, at: now(), earlier: 0, from: 0 }))
}
