//! The API: JSON under `/v1` over the Unix socket and TCP, with problem documents for what goes wrong.
//!
//! Handlers read the store on blocking threads, in short transactions, and answer from memory: a client that reads
//! slowly holds nothing but its own connection. While the store is being opened a request waits for it, then is
//! answered 503 with Retry-After.

mod access;
mod accounts;
mod again;
mod backup;
mod body;
mod callbacks;
mod deliveries;
mod document;
mod endpoints;
mod event_types;
mod events;
mod gate;
mod id;
mod jobs;
mod keys;
pub mod openapi;
mod problem;
mod query;
mod readers;
mod reload;
mod request_id;
pub mod routes;
mod sent;
mod status;
pub mod tcp;
pub mod view;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, Uri, header},
    middleware::from_fn_with_state,
    response::IntoResponse as _,
};
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::timeout,
};

pub use self::backup::Backups;
pub(crate) use self::deliveries::{phases, response};
pub use self::readers::Readers;
use self::{gate::Gate, problem::Problem, request_id::RequestId, routes::Route};
use crate::{
    clock::Clock,
    engine::{self, directory::Directory, endpoints::Endpoints, reload::Reloader, retention::Forgetter},
    ingest::{
        access::Verdict,
        door::Door,
        intake::Intake,
        keyring::Keyring,
        patience::Patient,
        socket::{Guest, HttpConnection, START_TIME, starting},
        spool::SpoolHandle,
        stopped,
    },
    metrics::Metrics,
    outbox::{Outbox, Reader, StoreError},
};

/// A request's head must come within this, also on a connection that is kept open.
const HEADER_TIME: Duration = Duration::from_secs(60);
/// A client that does not take its answer for so long is hung up on.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// A request's head has at most so many bytes.
const HEADER_BYTES: usize = 64 << 10;

/// What the handlers work with; clones share it.
#[derive(Clone)]
pub struct App {
    /// The daemon's clocks.
    pub clock: Clock,
    /// The counters.
    pub metrics: Metrics,
    /// The parts that are there as soon as the store is open.
    pub open: watch::Receiver<Option<Open>>,
    /// How far a repair of the store has come, from 0 to 1, while one runs.
    pub repair: watch::Receiver<Option<f64>>,
    /// The start is over: the store is open, and the spool directories have been looked at.
    pub started: watch::Receiver<bool>,
    /// The daemon is stopping.
    pub stopping: watch::Receiver<bool>,
    /// The backup that is being made.
    pub backups: Backups,
}

/// What there is once the store is open; clones share it.
#[derive(Clone)]
pub struct Open {
    /// The way in.
    pub intake: Intake,
    /// Whether events are taken.
    pub door: Door,
    /// The store.
    pub outbox: Outbox,
    /// The keys.
    pub keys: Keyring,
    /// The endpoints.
    pub directory: Arc<Directory>,
    /// Makes and changes endpoints.
    pub endpoints: Endpoints,
    /// The engine.
    pub engine: engine::Handle,
    /// The spool directories.
    pub spools: Vec<SpoolHandle>,
    /// Forgets what is old.
    pub forgetter: Forgetter,
    /// Where the store is.
    pub store_path: std::path::PathBuf,
    /// Reads the configuration again.
    pub reloader: Reloader,
    /// The daemon that had the store before did not close it.
    pub unclean: bool,
    /// Whose turn it is to read the store.
    pub readers: Readers,
}

impl App {
    /// What is there once the store is open; waits for it.
    async fn open(&self) -> Result<Open, Problem> {
        let mut open = self.open.clone();
        let open = timeout(START_TIME, open.wait_for(Option::is_some)).await;
        let open = open.ok().and_then(Result::ok).and_then(|open| open.clone());
        open.ok_or_else(|| Problem::from(starting()))
    }
}

impl Open {
    /// Reads the store for `who` on a blocking thread, when it is this request's turn.
    async fn read<T: Send + 'static>(
        &self,
        who: &Verdict,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let _turn = self.readers.turns.take(who).await;
        let outbox = self.outbox.clone();
        let done = tokio::task::spawn_blocking(move || work(&outbox.read()?)).await;
        Ok(done.unwrap_or(Err(StoreError::Stopped))?)
    }
}

/// Does something to its end, also when whoever asked has hung up: what is begun on disk is begun here.
async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(StoreError::Stopped.into()))
}

/// All routes, with the [gate] before them.
fn router(app: App) -> Router {
    let add = |router: Router<App>, route: &Route| router.route(route.path, route.handler());
    routes::all()
        .fold(Router::new(), add)
        .fallback(no_route)
        .layer(from_fn_with_state(app.clone(), gate::admit))
        .with_state(app)
}

/// The API, to be served on connections; clones share it.
#[derive(Clone)]
pub struct Service {
    router: Router,
    clock: Clock,
}

/// How a connection is served.
struct Terms {
    /// A request's head must come within this, also on a connection that is kept open.
    header_time: Duration,
    /// Whether there may be a second request.
    keep_alive: bool,
    /// After so many requests of nobody who is known it is hung up on.
    strangers: Option<u32>,
}

impl Service {
    /// The routes, served.
    pub fn new(app: App) -> Self {
        let clock = app.clock;
        Self { router: router(app), clock }
    }

    /// Speaks HTTP/1.1 on a connection of the Unix socket until it is over; when `stopping` says so, after the request in
    /// hand. Handlers find in the verdict of `guest` who asks; somebody who is refused is told why, whatever they ask, and
    /// hung up on.
    pub async fn serve(self, connection: HttpConnection, guest: Guest, stopping: watch::Receiver<bool>) {
        let terms = Terms { header_time: HEADER_TIME, keep_alive: guest.is_ok(), strangers: None };
        let admit = move |request: &mut Request<Incoming>| match &guest {
            Ok(verdict) => {
                request.extensions_mut().insert(verdict.clone());
                request.extensions_mut().insert(Gate::Socket);
                Ok(())
            }
            Err(refusal) => Err(Problem::from(refusal.clone())),
        };
        self.speak(connection, terms, admit, stopping).await;
    }

    /// Speaks HTTP/1.1 on a connection; `admit` notes with each request through which door it has come.
    async fn speak<T>(
        self,
        connection: T,
        terms: Terms,
        admit: impl Fn(&mut Request<Incoming>) -> Result<(), Problem>,
        mut stopping: watch::Receiver<bool>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let (router, clock) = (TowerToHyperService::new(self.router), self.clock);
        let unknown = Arc::new(AtomicU32::new(0));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let id = RequestId::of(request.headers(), clock);
            let asked = (request.method().clone(), request.uri().clone());
            let answer = admit(&mut request).map(|()| router.call(request));
            let unknown = Arc::clone(&unknown);
            async move {
                let mut answer = match answer {
                    Ok(answer) => answer.await?,
                    Err(problem) => problem.into_response(),
                };
                if [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&answer.status()) {
                    let count = unknown.fetch_add(1, Relaxed) + 1;
                    if terms.strangers.is_some_and(|most| count >= most) {
                        let close = HeaderValue::from_static("close");
                        answer.headers_mut().insert(header::CONNECTION, close);
                    }
                }
                Ok::<_, Infallible>(id.mark(answer, (&asked.0, &asked.1)))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(terms.header_time)
            .max_buf_size(HEADER_BYTES)
            .keep_alive(terms.keep_alive)
            .serve_connection(TokioIo::new(Patient::new(connection, ANSWER_TIME)), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended early");
        }
    }
}

/// A JSON answer.
fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let body = to_json(value);
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(body)).expect("a status and a constant header")
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut body = serde_json::to_vec(value).expect("wire types are JSON");
    body.push(b'\n');
    body
}

async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let (last, others) = routes::roots()
        .split_last()
        .map(|(last, others)| (*last, others.join(", ")))
        .expect("there are routes");
    Problem::not_found(format!("there is nothing at {path}; there are {others} and {last}"))
}
