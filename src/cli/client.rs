//! The commands' client: blocking HTTP/1.1 over the daemon's Unix socket.
//!
//! [`Client`] sends one request after another and gives back the answer's bytes, or the daemon's problem document
//! as [`CliError::Refused`]. Below it is what ureq needs to speak through a Unix socket; that part rests on ureq's
//! `unversioned` interface, which may change in any of its minor versions, and is kept to this file.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use serde::de::DeserializeOwned;
use ureq::{
    Agent, Body, Error, RequestBuilder, Timeout,
    config::Config,
    http::{Response, Uri},
    typestate::WithBody,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{
            Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
        },
    },
};
use url::form_urlencoded;

use super::{error::CliError, socket};
use crate::api::view::Problem;

/// How long one request may take; the daemon itself answers 503 after 5 s where it cannot begin.
const TIMEOUT: Duration = Duration::from_secs(60);
/// An answer has no more bytes than this: events have a limit of their own, and lists are paged.
const ANSWER_LIMIT: u64 = 256 << 20;

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
}

impl Client {
    /// Connects to the first of `paths` behind which a daemon listens.
    pub fn connect(paths: &[PathBuf]) -> Result<Self, CliError> {
        Self::with_timeout(paths, TIMEOUT)
    }

    fn with_timeout(paths: &[PathBuf], timeout: Duration) -> Result<Self, CliError> {
        let (path, stream) = socket::connect(paths)?;
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .user_agent(concat!("posthaste/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector = UnixConnector { path, first: Mutex::new(Some(stream)) };
        Ok(Self { agent: Agent::with_parts(config, connector, NoNames) })
    }

    /// `GET path?query`: the answer's bytes.
    pub fn get(&self, path: &str, query: &Query) -> Result<Vec<u8>, CliError> {
        let answer = self.agent.get(query.uri(path)).header("accept", "application/json").call();
        read_answer(answer.map_err(failed)?)
    }

    /// `POST path` with a JSON body: the answer's bytes.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, CliError> {
        self.post_with(path, &Query::default(), body)
    }

    /// `POST path?query` with a JSON body: the answer's bytes.
    pub fn post_with(&self, path: &str, query: &Query, body: &[u8]) -> Result<Vec<u8>, CliError> {
        send(self.agent.post(query.uri(path)), body)
    }

    /// `PATCH path?query` with a JSON body: the answer's bytes.
    pub fn patch(&self, path: &str, query: &Query, body: &[u8]) -> Result<Vec<u8>, CliError> {
        send(self.agent.patch(query.uri(path)), body)
    }

    /// `DELETE path?query`: the answer's bytes.
    pub fn delete(&self, path: &str, query: &Query) -> Result<Vec<u8>, CliError> {
        let request = self.agent.delete(query.uri(path));
        read_answer(request.header("accept", "application/json").call().map_err(failed)?)
    }
}

/// Reads an answer's JSON.
pub fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, CliError> {
    serde_json::from_slice(answer).map_err(|error| CliError::Answer(error.to_string()))
}

/// A request's query parameters.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Adds a parameter, where there is a value for it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (name, value.to_string())));
        self
    }

    fn uri(&self, path: &str) -> String {
        let mut uri = format!("http://localhost{path}");
        if !self.0.is_empty() {
            let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish();
            uri.push('?');
            uri.push_str(&pairs);
        }
        uri
    }
}

fn send(request: RequestBuilder<WithBody>, body: &[u8]) -> Result<Vec<u8>, CliError> {
    let request = request.header("content-type", "application/json").header("accept", "application/json");
    read_answer(request.send(body).map_err(failed)?)
}

/// The answer's bytes, or the problem that it is.
fn read_answer(mut answer: Response<Body>) -> Result<Vec<u8>, CliError> {
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(ANSWER_LIMIT).read_to_vec().map_err(failed)?;
    if status.is_success() {
        return Ok(body);
    }
    let title = status.canonical_reason().unwrap_or("an unknown status").to_owned();
    let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
        kind: "about:blank".to_owned(),
        detail: format!("the daemon answered {} {title}", status.as_u16()),
        title,
        status: status.as_u16(),
        code: String::new(),
        request_id: None,
        errors: Vec::new(),
    });
    // The status line is what counts, whatever the document says of it.
    Err(CliError::Refused(Box::new(Problem { status: status.as_u16(), ..problem })))
}

fn failed(error: Error) -> CliError {
    match error {
        Error::BodyExceedsLimit(limit) => CliError::Answer(format!("it has more than {limit} bytes")),
        Error::Io(error) => CliError::Disconnected(error),
        Error::Timeout(_) => CliError::Timeout { seconds: TIMEOUT.as_secs() },
        other => CliError::Answer(other.to_string()),
    }
}

/// Opens connections to one socket; the first is the one that finding the socket has opened already.
#[derive(Debug)]
struct UnixConnector {
    path: PathBuf,
    first: Mutex<Option<UnixStream>>,
}

impl<In: Transport> Connector<In> for UnixConnector {
    type Out = UnixTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<In>,
    ) -> Result<Option<UnixTransport>, Error> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = match first {
            Some(stream) => stream,
            None => UnixStream::connect(&self.path)?,
        };
        let stream = Arc::new(SharedStream(stream));
        let handle: Weak<dyn ShutdownHandle> = Arc::<SharedStream>::downgrade(&stream);
        (details.register_shutdown)(handle)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(UnixTransport { stream, buffers }))
    }
}

#[derive(Debug)]
struct SharedStream(UnixStream);

impl ShutdownHandle for SharedStream {
    fn shutdown(&self) {
        // It fails only when the connection is closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

#[derive(Debug)]
struct UnixTransport {
    stream: Arc<SharedStream>,
    buffers: LazyBuffers,
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let mut stream = &self.stream.0;
        stream.set_write_timeout(timeout.not_zero().map(|after| *after))?;
        match stream.write_all(&self.buffers.output()[..amount]) {
            // A daemon that refuses a body hangs up without reading it to its end. What it has answered can still
            // be read, and if it has not, reading will say so.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| timed_out(error, timeout.reason)),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let mut stream = &self.stream.0;
        stream.set_read_timeout(timeout.not_zero().map(|after| *after))?;
        let buffer = self.buffers.input_append_buf();
        let amount = loop {
            match stream.read(buffer) {
                // With a read timeout set the kernel does not go on by itself after a signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| timed_out(error, timeout.reason))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        let mut stream = &self.stream.0;
        if stream.set_nonblocking(true).is_err() {
            return false;
        }
        // Nothing to read and no end: neither is there anything unasked for, nor has the daemon closed it.
        let idle = matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        idle && stream.set_nonblocking(false).is_ok()
    }
}

/// A timeout set on a socket shows as `WouldBlock`.
fn timed_out(error: io::Error, reason: Timeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::Timeout(reason),
        _ => Error::Io(error),
    }
}

/// Answers `localhost` without asking DNS; the connector does not look at the address.
#[derive(Debug)]
struct NoNames;

impl Resolver for NoNames {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from(([127, 0, 0, 1], 0)));
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{exit::Exit, fake::Daemon};

    #[test]
    fn requests_share_one_connection() {
        let daemon = Daemon::start(
            [(200, "{}"), (202, "[1]"), (200, "3"), (200, "4"), (200, "5")]
                .map(|(s, t)| (s, t.to_owned()))
                .to_vec(),
        );
        let client = Client::connect(&daemon.paths()).expect("it listens");
        let query =
            Query::default().with("type", Some("a.*")).with("account", None::<&str>).with("limit", Some(5));
        assert_eq!(client.get("/v1/events", &query).expect("an answer"), b"{}");
        assert_eq!(client.post("/v1/events", b"{\"type\":\"a\"}").expect("an answer"), b"[1]");
        assert_eq!(client.get("/v1/status", &Query::default()).expect("an answer"), b"3");
        assert_eq!(
            client.patch("/v1/endpoints/x", &Query::default(), b"{\"url\":1}").expect("an answer"),
            b"4"
        );
        assert_eq!(client.delete("/v1/endpoints/x", &Query::default()).expect("an answer"), b"5");
        let seen = daemon.requests();
        assert_eq!(seen[0].line, "GET /v1/events?type=a.*&limit=5 HTTP/1.1");
        assert_eq!(seen[1].line, "POST /v1/events HTTP/1.1");
        assert_eq!(seen[1].header("content-type"), Some("application/json"));
        assert_eq!(seen[1].body, b"{\"type\":\"a\"}");
        assert_eq!(seen.iter().map(|request| request.connection).collect::<Vec<_>>(), [0; 5]);
        assert_eq!(seen[3].line, "PATCH /v1/endpoints/x HTTP/1.1");
        assert_eq!(
            (seen[3].header("content-type"), &seen[3].body[..]),
            (Some("application/json"), &b"{\"url\":1}"[..])
        );
        assert_eq!((seen[4].line.as_str(), &seen[4].body[..]), ("DELETE /v1/endpoints/x HTTP/1.1", &b""[..]));
    }

    #[test]
    fn large_bodies_pass_both_ways() {
        let large = "x".repeat(3 << 20);
        let daemon = Daemon::start(vec![(200, large.clone())]);
        let client = Client::connect(&daemon.paths()).expect("it listens");
        assert_eq!(client.post("/v1/events", large.as_bytes()).expect("an answer"), large.as_bytes());
        assert_eq!(daemon.requests()[0].body.len(), large.len());
    }

    #[test]
    fn problems_are_read_and_the_status_line_counts() {
        let problem = r#"{"type":"urn:posthaste:problem:store_full","title":"Insufficient Storage","status":200,"detail":"the store is full","code":"store_full"}"#;
        let daemon = Daemon::start(vec![(507, problem.to_owned()), (500, "oops".to_owned())]);
        let client = Client::connect(&daemon.paths()).expect("it listens");
        let error = client.post("/v1/events", b"{}").expect_err("it is refused");
        assert_eq!((error.to_string().as_str(), error.exit()), ("the store is full", Exit::TryAgain));
        let error = client.post("/v1/events", b"{}").expect_err("it is refused");
        assert_eq!(error.to_string(), "the daemon answered 500 Internal Server Error");
        assert_eq!(error.exit(), Exit::Software);
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_given_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("silent.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let client = Client::with_timeout(&[path], Duration::from_millis(50)).expect("the kernel takes it");
        let error = client.get("/v1/status", &Query::default()).expect_err("nobody answers");
        assert!(matches!(error, CliError::Timeout { .. }), "{error}");
        assert_eq!(error.exit(), Exit::TryAgain);
    }

    #[test]
    fn a_connection_that_breaks_is_an_io_error() {
        let daemon = Daemon::start(vec![]);
        let client = Client::connect(&daemon.paths()).expect("it listens");
        let error = client.get("/v1/status", &Query::default()).expect_err("it hangs up");
        assert_eq!(error.exit(), Exit::Io, "{error}");
    }
}
