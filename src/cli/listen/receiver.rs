//! A receiver of webhooks on 127.0.0.1: verifies, answers as told, and tells what it saw.
//!
//! It runs on a thread of its own until it is dropped. What a peer can make it hold is bounded: connections, the
//! bytes of a body and of headers, the time for each, and what was seen and not yet asked for; past that bound it
//! answers no further request until somebody asks.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::{Semaphore, mpsc, oneshot},
    time,
};

use crate::{
    cli::verify::{Said, TOLERANCE, Verifier},
    clock::Clock,
    model::time::Timestamp,
    policy::placeholder::Placeholder,
};

/// The most bytes of a body.
pub const BODY_LIMIT: usize = 16 << 20;
const HEADERS_LIMIT: usize = 64 << 10;
const CONNECTIONS: usize = 32;
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that were seen and not yet asked for.
const UNASKED: usize = 16;
/// Deliveries whose requests are counted for [`Answers::fail_first`].
const COUNTED: usize = 10_000;

/// How a receiver is to behave.
#[derive(Debug)]
pub struct Options {
    /// The port on 127.0.0.1; 0 for one that is free.
    pub port: u16,
    /// What the requests are held against.
    pub verifier: Verifier,
    /// What is answered.
    pub answers: Answers,
    /// Where body and headers of each request are written; it is made if it is not there.
    pub save: Option<PathBuf>,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The status.
    pub status: StatusCode,
    /// To the first so many requests of each delivery 500 instead; of all requests together where the profile's
    /// headers name no delivery.
    pub fail_first: u32,
    /// How long each answer is held back.
    pub delay: Duration,
}

impl Default for Answers {
    fn default() -> Self {
        Self { status: StatusCode::OK, fail_first: 0, delay: Duration::ZERO }
    }
}

/// One request as it came, and what was made of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its number, from 1.
    pub number: u64,
    /// When it had come.
    pub at: Timestamp,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty where it could not be read.
    pub body: Bytes,
    /// What its headers say, by the profile.
    pub said: Said,
    /// Whether it is what it should be.
    pub verdict: Verdict,
    /// What is answered.
    pub answer: StatusCode,
    /// Where it was written, without `.headers` and `.body`; or why it could not be.
    pub saved: Option<Result<PathBuf, String>>,
}

/// Whether a request is what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not, for this reason.
    NotVerified(String),
    /// Nobody can tell: there is no secret to verify with.
    Unverified,
    /// It is.
    Verified,
}

/// A receiver that runs; dropping it ends it.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts one.
    ///
    /// # Errors
    /// The port is taken or may not be, the directory cannot be made, or the kernel has no thread to give.
    pub fn start(options: Options, clock: Clock) -> io::Result<Self> {
        if let Some(directory) = &options.save {
            fs::create_dir_all(directory)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", directory.display())))?;
        }
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .map_err(|error| io::Error::new(error.kind(), format!("127.0.0.1:{}: {error}", options.port)))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (sender, seen) = mpsc::channel(UNASKED);
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let state = Arc::new(State { options, clock, sender, counts: Mutex::default() });
        let thread = thread::Builder::new().name("listen".to_owned()).spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(&listener, &state) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, seen, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where to send webhooks.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Waits for the next request; `None` if the receiver has ended. Not to be called on a thread of a tokio runtime.
    pub fn next_seen(&mut self) -> Option<Seen> {
        self.seen.blocking_recv()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The runtime ends with the thread and takes its connections along.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct State {
    options: Options,
    clock: Clock,
    sender: mpsc::Sender<Seen>,
    counts: Mutex<Counts>,
}

/// How many requests there were, in all and of each delivery.
#[derive(Debug, Default)]
struct Counts {
    all: u64,
    deliveries: HashMap<String, u32>,
}

async fn accept(listener: &TcpListener, state: &Arc<State>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&free).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(state);
                tokio::spawn(async move {
                    serve(stream, state).await;
                    drop(place);
                });
            }
            // The connection has gone already, or there are no descriptors left: these come back.
            Err(_) => time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.handle(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that hangs up or speaks no HTTP is no request; there is nothing to tell of it.
    let _ = connection.await;
}

impl State {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = read_body(body).await;
        let at = self.clock.wall();
        let said = self.options.verifier.read(&head.headers);
        let (number, told) = self.count(&said);
        let (body, verdict, answer) = match body {
            Ok(body) => {
                let verdict = self.judge(&head.headers, &body, at);
                (body, verdict, told)
            }
            Err((status, reason)) => (Bytes::new(), Verdict::NotVerified(reason), status),
        };
        let mut seen = Seen {
            number,
            at,
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
            said,
            verdict,
            answer,
            saved: None,
        };
        seen.saved = self.options.save.as_deref().map(|directory| {
            save(directory, &seen).map_err(|error| format!("{}: {error}", directory.display()))
        });
        // The one who asks may have gone; the sender gets its answer all the same.
        let _ = self.sender.send(seen).await;
        time::sleep(self.options.answers.delay).await;
        let mut response =
            Response::new(Full::from(format!("posthaste listen answers {}\n", answer.as_u16())));
        *response.status_mut() = answer;
        response
    }

    fn judge(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Verdict {
        match self.options.verifier.verify(headers, body, now, TOLERANCE) {
            Ok(Some(_)) => Verdict::Verified,
            Ok(None) => Verdict::Unverified,
            Err(reason) => Verdict::NotVerified(reason.to_string()),
        }
    }

    /// The request's number, and what is answered to it.
    fn count(&self, said: &Said) -> (u64, StatusCode) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all += 1;
        let number = counts.all;
        let delivery = said.get(Placeholder::DeliveryId).or_else(|| said.get(Placeholder::DeliveryShort));
        let of_delivery = match delivery {
            None => u32::try_from(number).unwrap_or(u32::MAX),
            Some(_) if self.options.answers.fail_first == 0 => 1,
            Some(id) => {
                if counts.deliveries.len() >= COUNTED && !counts.deliveries.contains_key(id) {
                    counts.deliveries.clear();
                }
                let count = counts.deliveries.entry(id.to_owned()).or_default();
                *count = count.saturating_add(1);
                *count
            }
        };
        let fails = of_delivery <= self.options.answers.fail_first;
        let answer = if fails { StatusCode::INTERNAL_SERVER_ERROR } else { self.options.answers.status };
        (number, answer)
    }
}

/// The body; or what is answered where it cannot be had, and why.
async fn read_body(body: Incoming) -> Result<Bytes, (StatusCode, String)> {
    let too_large =
        || (StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {} MiB", BODY_LIMIT >> 20));
    if usize::try_from(body.size_hint().lower()).is_ok_and(|length| length > BODY_LIMIT) {
        return Err(too_large());
    }
    match time::timeout(READ_TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body broke off".to_owned())),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took more than {} s", READ_TIMEOUT.as_secs()),
        )),
    }
}

/// Writes `TIME-NUMBER.headers` and `TIME-NUMBER.body`; the name has nothing in it that the sender chose.
fn save(directory: &Path, seen: &Seen) -> io::Result<PathBuf> {
    let time: String = seen.at.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let base = directory.join(format!("{time}-{:06}", seen.number));
    let mut head = format!("{} {}\n", seen.method, seen.uri).into_bytes();
    for (name, value) in &seen.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.push(b'\n');
    }
    create(&base.with_extension("headers"))?.write_all(&head)?;
    create(&base.with_extension("body"))?.write_all(&seen.body)?;
    Ok(base)
}

/// A new file that only its owner reads.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
