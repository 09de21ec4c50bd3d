//! Attempts against peers that do as they are told, well or badly: raw TCP on loopback.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::{ResolvesServerCertUsingSni, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    client::{Client, Lane, Options},
    connect::dial,
    exchange::{Exchange, Request},
    guard::Guard,
    resolve::Resolver,
    tls::Terms,
};
use crate::{
    clock::Clock,
    model::{
        account::AccountName,
        attempt::{Failure, FailureKind, Outcome, Response},
        secret::Secret,
    },
    policy::{
        address::{Rules, Stance},
        certificate::{Identity, TlsVersion},
    },
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-peer: one\r\n\r\nok";
/// More than any test needs.
const AMPLE: Duration = Duration::from_secs(20);
/// For attempts that are to run out of time.
const SHORT: Duration = Duration::from_millis(150);

/// What a peer does on a connection, one thing after the other; then it closes it.
#[derive(Clone)]
enum Act {
    /// Reads a request, writes these bytes.
    Answer(Vec<u8>),
    /// Writes these bytes over and over, until the other side has closed.
    Flood(Vec<u8>),
    /// Writes these bytes every few milliseconds, until the other side has closed.
    Drip(Vec<u8>),
    /// Reads a request.
    Swallow,
    /// Reads until the other side closes.
    UntilClosed,
}

fn answer(bytes: &[u8]) -> Act {
    Act::Answer(bytes.to_vec())
}

/// A peer: which acts on which connection, in the order of acceptance.
struct Peer {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    requests: mpsc::UnboundedReceiver<Vec<u8>>,
    ended: mpsc::UnboundedReceiver<usize>,
}

impl Peer {
    async fn start(connections: Vec<Vec<Act>>) -> Self {
        Self::serve(connections, None).await
    }

    async fn serve(connections: Vec<Vec<Act>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::serve_on(listener, connections, tls)
    }

    fn serve_on(listener: TcpListener, connections: Vec<Vec<Act>>, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().expect("an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let (request, requests) = mpsc::unbounded_channel();
        let (end, ended) = mpsc::unbounded_channel();
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            let mut connections = connections.into_iter();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                count.fetch_add(1, Ordering::SeqCst);
                let acts = connections.next().unwrap_or_default();
                let (request, end, tls) = (request.clone(), end.clone(), tls.clone());
                tokio::spawn(async move {
                    let written = match tls {
                        None => act(stream, acts, request).await,
                        Some(tls) => match tls.accept(stream).into_fallible().await {
                            Ok(stream) => act(stream, acts, request).await,
                            // What it says of that is heard before the connection is closed.
                            Err((_, stream)) => act(stream, vec![Act::UntilClosed], request).await,
                        },
                    };
                    // Nobody may be asking.
                    let _ = end.send(written);
                });
            }
        });
        Self { address, accepted, requests, ended }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The next request that was read.
    async fn request(&mut self) -> String {
        let request = timeout(AMPLE, self.requests.recv()).await.expect("a request in time");
        String::from_utf8(request.expect("the peer runs")).expect("UTF-8")
    }

    /// How many bytes had been written when the next connection ended.
    async fn ended(&mut self) -> usize {
        timeout(AMPLE, self.ended.recv()).await.expect("an end in time").expect("the peer runs")
    }
}

/// Does as told; the count of bytes written. The other side may close whenever it likes.
async fn act<T>(mut stream: T, acts: Vec<Act>, requests: mpsc::UnboundedSender<Vec<u8>>) -> usize
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut written = 0;
    for act in acts {
        if let Act::Answer(_) | Act::Swallow = act {
            let Some(request) = read_request(&mut stream).await else { return written };
            let _ = requests.send(request);
        }
        match act {
            Act::Answer(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return written;
                }
                written += bytes.len();
            }
            Act::Flood(bytes) => {
                while stream.write_all(&bytes).await.is_ok() {
                    written += bytes.len();
                }
            }
            Act::Drip(bytes) => {
                let mut ticks = interval(Duration::from_millis(5));
                while stream.write_all(&bytes).await.is_ok() {
                    written += bytes.len();
                    ticks.tick().await;
                }
            }
            Act::Swallow => (),
            Act::UntilClosed => while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {},
        }
    }
    written
}

/// A request by its Content-Length; `None` where the stream ends before it does.
async fn read_request<T: AsyncRead + Unpin>(stream: &mut T) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(request.clone()).expect("UTF-8");
    // A `CONNECT` has none.
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.ok()?;
    request.extend(body);
    Some(request)
}

fn client() -> Client {
    trusting(RootCertStore::empty(), Options::default())
}

fn trusting(roots: RootCertStore, options: Options) -> Client {
    Client::with_roots(Rules::default(), Clock::start(), roots, options)
}

fn lane(url: &str) -> Lane {
    lane_of(&client(), url)
}

/// A lane for an endpoint of the configuration.
fn lane_of(client: &Client, url: &str) -> Lane {
    lane_by(client, Stance::Configuration, url)
}

fn lane_by(client: &Client, stance: Stance, url: &str) -> Lane {
    let (url, account) = (url.parse().expect("a URL"), AccountName::default());
    client.lane(&url, stance, &account, &Terms::default()).expect("a target")
}

/// The guard of the configuration's endpoints, where `[network]` says nothing.
fn guard() -> Guard {
    Guard::new(Rules::default().scope(Stance::Configuration, &AccountName::default()))
}

fn request(timeout: Duration) -> Request {
    Request { path: None, headers: vec![], body: Bytes::from_static(b"{\"a\":1}"), timeout }
}

/// An attempt, as the engine makes them: on a task, under a rule for success.
async fn attempt(lane: &Arc<Lane>, timeout: Duration) -> Exchange {
    let lane = Arc::clone(lane);
    let made = tokio::spawn(async move { lane.attempt(&request(timeout), |status| status == 200).await });
    made.await.expect("no panic")
}

/// One attempt at a peer that does this on its only connection.
async fn once(acts: Vec<Act>, timeout: Duration) -> (Exchange, Peer) {
    let peer = Peer::start(vec![acts]).await;
    let exchange = attempt(&Arc::new(lane(&peer.url("/"))), timeout).await;
    (exchange, peer)
}

fn response(exchange: &Exchange) -> &Response {
    match &exchange.outcome {
        Outcome::Response(response) => response,
        Outcome::Failure(failure) => panic!("{failure:?}"),
    }
}

fn failure(exchange: &Exchange) -> &Failure {
    match &exchange.outcome {
        Outcome::Failure(failure) => failure,
        Outcome::Response(response) => panic!("{response:?}"),
    }
}

#[tokio::test]
async fn the_request_as_it_is_received() {
    let mut peer = Peer::start(vec![vec![answer(OK)]]).await;
    let mut headers = vec![(HeaderName::from_static("x-signature"), HeaderValue::from_static("sha256=00"))];
    for own in
        ["host", "content-length", "transfer-encoding", "connection", "keep-alive", "expect", "upgrade"]
    {
        headers.push((HeaderName::from_static(own), HeaderValue::from_static("chunked")));
    }
    let request = Request { path: None, headers, body: Bytes::from_static(b"body"), timeout: AMPLE };
    let exchange = lane(&peer.url("/a/b?c=d#e")).attempt(&request, |_| true).await;
    assert_eq!(response(&exchange).status, 200);
    let expected = format!(
        "POST /a/b?c=d HTTP/1.1\r\nhost: {}\r\ncontent-length: 4\r\nx-signature: sha256=00\r\n\r\nbody",
        peer.address
    );
    assert_eq!(peer.request().await, expected);
}

#[tokio::test]
async fn an_empty_body_has_a_length() {
    let mut peer = Peer::start(vec![vec![answer(OK)]]).await;
    let request = Request { path: None, headers: vec![], body: Bytes::new(), timeout: AMPLE };
    let exchange = lane(&peer.url("")).attempt(&request, |_| true).await;
    assert_eq!(response(&exchange).status, 200);
    let expected = format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", peer.address);
    assert_eq!(peer.request().await, expected);
}

#[tokio::test]
async fn an_answer_is_kept() {
    let (exchange, peer) = once(vec![answer(OK)], AMPLE).await;
    assert_eq!(
        exchange.outcome,
        Outcome::Response(Response {
            status: 200,
            headers: vec![
                ("content-length".to_owned(), "2".to_owned()),
                ("x-peer".to_owned(), "one".to_owned())
            ],
            body: b"ok".to_vec(),
            body_truncated: false,
            body_error: None,
        })
    );
    assert_eq!(exchange.address, Some(peer.address));
    assert!(!exchange.reconnected);
    let phases = exchange.phases;
    assert_eq!((phases.resolve, phases.tls), (None, None));
    let parts = [phases.connect, phases.headers, phases.body].map(|phase| phase.expect("it happened"));
    assert!(parts.iter().sum::<Duration>() <= phases.total);
}

#[tokio::test]
async fn a_name_is_resolved() {
    let peer = Peer::start(vec![vec![answer(OK)]]).await;
    let url = format!("http://localhost:{}/", peer.address.port());
    let exchange = attempt(&Arc::new(lane(&url)), AMPLE).await;
    assert_eq!(response(&exchange).status, 200);
    assert_eq!(exchange.address, Some(peer.address));
    assert!(exchange.phases.resolve.is_some());
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let chunked =
        b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-trailer: t\r\n\r\n";
    let peer = Peer::start(vec![vec![answer(chunked), answer(OK), answer(OK), Act::UntilClosed]]).await;
    let lane = Arc::new(lane(&peer.url("/")));
    assert_eq!(response(&attempt(&lane, AMPLE).await).body, b"hello");
    for _ in 0..2 {
        let exchange = attempt(&lane, AMPLE).await;
        assert_eq!(response(&exchange).status, 200);
        assert_eq!(exchange.address, Some(peer.address));
        assert_eq!((exchange.phases.connect, exchange.reconnected), (None, false));
    }
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn attempts_at_once_have_a_connection_each() {
    let peer = Peer::start(vec![vec![answer(OK), answer(OK)]; 3]).await;
    let lane = Arc::new(lane(&peer.url("/")));
    let (a, b, c) = tokio::join!(attempt(&lane, AMPLE), attempt(&lane, AMPLE), attempt(&lane, AMPLE));
    for exchange in [a, b, c] {
        assert_eq!(response(&exchange).status, 200);
    }
    assert!((1..=3).contains(&peer.accepted()));
}

#[tokio::test]
async fn a_stale_connection_is_replaced_once() {
    let peer = Peer::start(vec![vec![answer(OK), Act::Swallow], vec![answer(OK)]]).await;
    let lane = Arc::new(lane(&peer.url("/")));
    assert!(!attempt(&lane, AMPLE).await.reconnected);
    let exchange = attempt(&lane, AMPLE).await;
    assert_eq!(response(&exchange).status, 200);
    assert!(exchange.reconnected);
    assert!(exchange.phases.connect.is_some());
    assert_eq!(peer.accepted(), 2);
}

/// Servers close connections after so many requests, and say nothing of it. Whenever the close comes to light, and
/// whichever worker sees it first, no attempt fails by it: a fresh connection answers at least once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_closed_at_any_time_fail_no_attempt() {
    const ATTEMPTS: usize = 1500;
    let seed = 20;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let connections = (0..ATTEMPTS).map(|_| vec![answer(OK); random.usize(1..6)]).collect();
    let peer = Peer::start(connections).await;
    let lane = Arc::new(lane(&peer.url("/")));
    let mut under_way = JoinSet::new();
    let mut reconnected = 0;
    for started in 0.. {
        if started < ATTEMPTS {
            let lane = Arc::clone(&lane);
            under_way.spawn(async move { lane.attempt(&request(AMPLE), |_| true).await });
        }
        if started >= 16 {
            let Some(exchange) = under_way.join_next().await else { break };
            let exchange = exchange.expect("no panic");
            assert_eq!(response(&exchange).body, b"ok");
            reconnected += usize::from(exchange.reconnected);
        }
    }
    println!("{} connections, {reconnected} attempts reconnected", peer.accepted());
    assert!(peer.accepted() < ATTEMPTS, "connections are used again");
}

#[tokio::test]
async fn a_replacement_that_is_closed_is_a_failure() {
    let peer = Peer::start(vec![vec![answer(OK), Act::Swallow], vec![Act::Swallow], vec![answer(OK)]]).await;
    let lane = Arc::new(lane(&peer.url("/")));
    assert!(!attempt(&lane, AMPLE).await.reconnected);
    let exchange = attempt(&lane, AMPLE).await;
    assert_eq!(failure(&exchange).kind, FailureKind::Protocol);
    assert!(exchange.reconnected);
    assert_eq!(peer.accepted(), 2);
}

#[tokio::test]
async fn an_answer_begun_is_not_asked_for_again() {
    let peer = Peer::start(vec![vec![answer(OK), answer(b"HTTP/1.1 200 OK\r\nx-")], vec![answer(OK)]]).await;
    let lane = Arc::new(lane(&peer.url("/")));
    attempt(&lane, AMPLE).await;
    let exchange = attempt(&lane, AMPLE).await;
    assert_eq!(failure(&exchange).kind, FailureKind::Protocol);
    assert_eq!((exchange.reconnected, peer.accepted()), (false, 1));
}

#[tokio::test]
async fn connection_close_is_obeyed() {
    let closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let mut peer = Peer::start(vec![vec![answer(closing), Act::UntilClosed], vec![answer(OK)]]).await;
    let lane = Arc::new(lane(&peer.url("/")));
    attempt(&lane, AMPLE).await;
    peer.ended().await;
    let exchange = attempt(&lane, AMPLE).await;
    assert_eq!(response(&exchange).body, b"ok");
    assert_eq!(peer.accepted(), 2);
}

#[tokio::test]
async fn an_idle_connection_grows_old_and_is_closed() {
    let mut peer = Peer::start(vec![vec![answer(OK), Act::UntilClosed]]).await;
    let client = Client::with_idle_age(Rules::default(), Clock::start(), Duration::from_millis(50));
    let lane = lane_of(&client, &peer.url("/"));
    lane.attempt(&request(AMPLE), |_| true).await;
    peer.ended().await;
}

#[tokio::test]
async fn a_lane_that_is_dropped_closes_its_connections() {
    let mut peer = Peer::start(vec![vec![answer(OK), Act::UntilClosed]]).await;
    let lane = lane(&peer.url("/"));
    lane.attempt(&request(AMPLE), |_| true).await;
    drop(lane);
    peer.ended().await;
}

#[tokio::test]
async fn an_attempt_that_is_dropped_closes_its_connection() {
    let mut peer = Peer::start(vec![vec![Act::Swallow, Act::UntilClosed], vec![answer(OK)]]).await;
    let lane = Arc::new(lane(&peer.url("/")));
    let request = request(AMPLE);
    tokio::select! {
        _ = lane.attempt(&request, |_| true) => panic!("nobody answers"),
        _ = peer.requests.recv() => (),
    }
    peer.ended().await;
    assert_eq!(response(&attempt(&lane, AMPLE).await).status, 200);
    assert_eq!(peer.accepted(), 2);
}

#[tokio::test]
async fn a_peer_that_never_answers_runs_out_of_time() {
    let (exchange, mut peer) = once(vec![Act::Swallow, Act::UntilClosed], SHORT).await;
    assert_eq!(
        failure(&exchange),
        &Failure { kind: FailureKind::Timeout, message: "no complete headers within 150ms".to_owned() }
    );
    assert!(exchange.phases.headers.is_some() && exchange.phases.body.is_none());
    peer.ended().await;
}

#[tokio::test]
async fn a_request_that_nobody_reads_runs_out_of_time() {
    const LENGTH: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let lane = lane(&format!("http://{}/", listener.local_addr().expect("an address")));
    let request = Request { body: Bytes::from(vec![b'x'; LENGTH]), ..request(SHORT) };
    let (exchange, accepted) = tokio::join!(lane.attempt(&request, |_| true), listener.accept());
    assert_eq!(failure(&exchange).kind, FailureKind::Timeout);
    // The connection is closed: what is still to be read is what the kernel had taken.
    let mut rest = Vec::new();
    let _ = accepted.expect("a connection").0.read_to_end(&mut rest).await;
    assert!(rest.len() < LENGTH);
}

#[tokio::test]
async fn headers_that_drip_run_out_of_time() {
    let (exchange, mut peer) =
        once(vec![answer(b"HTTP/1.1 200 OK\r\nx-slow: "), Act::Drip(b"x".to_vec())], SHORT).await;
    assert_eq!(failure(&exchange).kind, FailureKind::Timeout);
    peer.ended().await;
}

#[tokio::test]
async fn interim_answers_are_passed_over_until_the_deadline_or_a_limit() {
    let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let (exchange, _) = once(vec![answer(&[interim, OK].concat())], AMPLE).await;
    assert_eq!(response(&exchange).status, 200);
    let (exchange, mut peer) = once(vec![answer(interim), Act::Drip(interim.to_vec())], SHORT).await;
    assert_eq!(failure(&exchange).kind, FailureKind::Timeout);
    peer.ended().await;
    let (exchange, mut peer) = once(vec![answer(interim), Act::Flood(interim.repeat(100))], AMPLE).await;
    assert_eq!(failure(&exchange).kind, FailureKind::Protocol);
    assert!(failure(&exchange).message.contains("too much came"), "{:?}", exchange.outcome);
    peer.ended().await;
}

#[tokio::test]
async fn a_status_stands_whatever_becomes_of_the_body() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let (exchange, mut peer) = once(vec![answer(HEAD), Act::UntilClosed], SHORT).await;
    let answered = response(&exchange);
    assert_eq!((answered.status, answered.body_truncated), (200, false));
    assert_eq!(answered.body_error.as_deref(), Some("the body was not complete within 150ms"));
    peer.ended().await;

    let endless = b"HTTP/1.1 200 OK\r\n\r\nbegin";
    let (exchange, mut peer) = once(vec![answer(endless), Act::Drip(b"x".to_vec())], SHORT).await;
    let answered = response(&exchange);
    assert!(answered.body.starts_with(b"begin"));
    assert_eq!(answered.body_error.as_deref(), Some("the body was not complete within 150ms"));
    peer.ended().await;

    let (exchange, _) = once(vec![answer(&[HEAD, b"part"].concat())], AMPLE).await;
    let answered = response(&exchange);
    assert_eq!((answered.status, &*answered.body), (200, &b"part"[..]));
    assert_eq!(
        answered.body_error.as_deref(),
        Some("the connection was closed before the body was complete")
    );

    let broken = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let (exchange, _) = once(vec![answer(broken), Act::UntilClosed], AMPLE).await;
    assert_eq!(response(&exchange).status, 503);
    assert!(response(&exchange).body_error.is_some());
}

#[tokio::test]
async fn a_body_is_kept_within_its_limit() {
    for (status, length, kept) in [
        (200, 1024, 1024),
        (200, 1025, 1024),
        (200, 16 << 10, 1024),
        (500, 1025, 1025),
        (500, 16 << 10, 16 << 10),
        (500, (16 << 10) + 1, 16 << 10),
    ] {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n");
        let bytes = [head.as_bytes(), &vec![b'x'; length]].concat();
        let peer = Peer::start(vec![vec![Act::Answer(bytes); 2], vec![answer(OK)]]).await;
        let lane = Arc::new(lane(&peer.url("/")));
        let exchange = attempt(&lane, AMPLE).await;
        let answered = response(&exchange);
        assert_eq!((answered.status, answered.body.len()), (status, kept), "{status} {length}");
        assert_eq!(answered.body_truncated, kept < length, "{status} {length}");
        assert_eq!(answered.body_error, None);
        attempt(&lane, AMPLE).await;
        let connections = if length > 16 << 10 { 2 } else { 1 };
        assert_eq!(peer.accepted(), connections, "a body read to its end lets its connection be used again");
    }
}

#[tokio::test]
async fn a_gigabyte_is_not_read() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
    let (exchange, mut peer) = once(vec![answer(head), Act::Flood(vec![b'x'; 1 << 16])], AMPLE).await;
    let answered = response(&exchange);
    assert_eq!((answered.body.len(), answered.body_truncated), (1024, true));
    assert_eq!(answered.body_error, None);
    let written = peer.ended().await;
    assert!(written < 1 << 28, "{written} bytes were taken");
}

#[tokio::test]
async fn endless_headers_are_a_failure() {
    for flood in [&b"x-more: and more of it\r\n"[..], b"x"] {
        let acts = vec![answer(b"HTTP/1.1 200 OK\r\n"), Act::Flood(flood.repeat(100))];
        let (exchange, mut peer) = once(acts, AMPLE).await;
        assert_eq!(failure(&exchange).kind, FailureKind::Protocol);
        assert!(failure(&exchange).message.contains("64 KiB"), "{:?}", exchange.outcome);
        peer.ended().await;
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    let (exchange, _) = once(vec![answer(many.as_bytes()), Act::UntilClosed], AMPLE).await;
    assert_eq!(failure(&exchange).kind, FailureKind::Protocol);
}

#[tokio::test]
async fn what_is_no_http_is_a_failure() {
    for (bytes, message) in [
        (&b"220 mail.example ESMTP\r\n"[..], "no HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "no HTTP/1.1"),
        (b"\x00\x00\x00\x00\x00", "no HTTP/1.1"),
        (b"", "closed before"),
        (b"HTTP/1.1 200 OK\r\nx-half: ", "closed before"),
    ] {
        let (exchange, _) = once(vec![answer(bytes)], AMPLE).await;
        let failure = failure(&exchange);
        assert_eq!(failure.kind, FailureKind::Protocol, "{failure:?}");
        assert!(failure.message.contains(message), "{failure:?}");
    }
}

#[tokio::test]
async fn a_reset_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let lane = lane(&format!("http://{}/", listener.local_addr().expect("an address")));
    let reset = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await.expect("a request");
        stream.set_zero_linger().expect("a socket option");
    };
    let request = request(AMPLE);
    let (exchange, ()) = tokio::join!(lane.attempt(&request, |_| true), reset);
    assert_eq!(failure(&exchange).kind, FailureKind::Protocol);
    assert!(failure(&exchange).message.contains("ECONNRESET"), "{:?}", exchange.outcome);
    assert!(!exchange.reconnected);
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = Peer::start(vec![vec![answer(OK)]]).await;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url("/"));
    let (exchange, peer) = once(vec![answer(redirect.as_bytes()), Act::UntilClosed], AMPLE).await;
    assert_eq!(response(&exchange).status, 302);
    assert_eq!((peer.accepted(), elsewhere.accepted()), (1, 0));
}

#[tokio::test]
async fn a_switch_of_protocols_is_a_status() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let peer = Peer::start(vec![vec![answer(switch), Act::UntilClosed], vec![answer(OK)]]).await;
    let lane = Arc::new(lane(&peer.url("/")));
    assert_eq!(response(&attempt(&lane, AMPLE).await).status, 101);
    let exchange = attempt(&lane, AMPLE).await;
    assert_eq!(response(&exchange).status, 200);
    assert_eq!((exchange.reconnected, peer.accepted()), (false, 2));
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let exchange = attempt(&Arc::new(lane(&format!("http://{address}/"))), AMPLE).await;
    let message = format!("connection refused by {address} (ECONNREFUSED)");
    assert_eq!(failure(&exchange), &Failure { kind: FailureKind::Connect, message });
    assert_eq!(exchange.address, Some(address));
    assert!(exchange.phases.connect.is_some());
}

#[tokio::test]
async fn a_name_that_does_not_resolve_says_so() {
    let exchange = attempt(&Arc::new(lane("http://nowhere.invalid/secret")), AMPLE).await;
    let failure = failure(&exchange);
    assert_eq!(failure.kind, FailureKind::Resolve);
    assert!(failure.message.starts_with("the name nowhere.invalid did not resolve: "), "{failure:?}");
    assert!(!failure.message.contains("secret"));
    assert_eq!(exchange.address, None);
}

#[tokio::test]
async fn the_guard_is_asked_before_anything_is_dialled() {
    let peer = Peer::start(vec![vec![answer(OK)]]).await;
    // Loopback whole: the machine may know localhost by IPv6, too.
    let deny = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().expect("a net"));
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let rules = Rules::new(Vec::new(), deny.to_vec());
        let roots = RootCertStore::empty();
        let client = Client::with_roots(rules, Clock::start(), roots, Options::default());
        let url = format!("http://{host}:{}/", peer.address.port());
        let lane = lane_of(&client, &url);
        let exchange = lane.attempt(&request(AMPLE), |_| true).await;
        assert_eq!(failure(&exchange).kind, FailureKind::Refused, "{host}");
        assert!(failure(&exchange).message.contains("127.0.0.0/8"), "{:?}", exchange.outcome);
        assert_eq!(exchange.address, None);
    }
    let exchange = attempt(&Arc::new(lane("http://169.254.10.7/")), AMPLE).await;
    assert_eq!(failure(&exchange).kind, FailureKind::Refused);
    assert!(failure(&exchange).message.contains("allow = [\"169.254.10.7/32\"]"), "{:?}", exchange.outcome);
    assert_eq!(peer.accepted(), 0);
}

/// Stands for the public internet, where it is allowed.
const PUBLIC: [u8; 4] = [127, 0, 0, 2];
/// Closed to endpoints from outside.
const PRIVATE: [u8; 4] = [127, 0, 0, 1];

/// A client for which a name has the first of `answers` when it is first looked up, and so on, the last one for good; with
/// peers at one port, the public and the private one, which answer each connection's request and close it.
async fn rebound(answers: Vec<Vec<[u8; 4]>>) -> (Client, Peer, Peer) {
    let (public, private) = loop {
        let public = TcpListener::bind((std::net::Ipv4Addr::from(PUBLIC), 0)).await.expect("a port");
        let port = public.local_addr().expect("an address").port();
        // Somebody else may have the port there.
        if let Ok(private) = TcpListener::bind((std::net::Ipv4Addr::from(PRIVATE), port)).await {
            break (public, private);
        }
    };
    let acts = vec![vec![answer(OK)]; 9];
    let (public, private) = (Peer::serve_on(public, acts.clone(), None), Peer::serve_on(private, acts, None));
    let asked = AtomicUsize::new(0);
    let resolver = Resolver::with_lookup(move |_, port| {
        let now = asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let found = answers[now].iter().map(|ip| SocketAddr::from((*ip, port))).collect();
        Box::pin(async move { Ok(found) })
    });
    let rules = Rules::new(vec!["127.0.0.2/32".parse().expect("a net")], Vec::new());
    (Client::with_resolver(rules, Clock::start(), resolver), public, private)
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_later_is_judged_anew() {
    let (client, public, private) = rebound(vec![vec![PUBLIC], vec![PRIVATE]]).await;
    let url = format!("http://hooks.example:{}/", public.address.port());
    let lane = Arc::new(lane_by(&client, Stance::Outside, &url));
    assert_eq!(response(&attempt(&lane, AMPLE).await).status, 200);
    for _ in 0..2 {
        let exchange = attempt(&lane, AMPLE).await;
        assert_eq!(failure(&exchange).kind, FailureKind::Refused);
        let said = "127.0.0.1 is loopback (127.0.0.0/8), closed to endpoints of the API and callbacks: \
                    add `allow = [\"127.0.0.1/32\"]` under [network]";
        assert_eq!(failure(&exchange).message, said);
        assert_eq!(exchange.address, None);
    }
    assert_eq!((public.accepted(), private.accepted()), (1, 0));
    // The same client dials it for the configuration's endpoint.
    let lane = Arc::new(lane_of(&client, &url));
    assert_eq!(response(&attempt(&lane, AMPLE).await).status, 200);
    assert_eq!((public.accepted(), private.accepted()), (1, 1));
}

#[tokio::test]
async fn of_a_name_s_addresses_only_those_that_are_open_are_dialled() {
    for answer in [vec![PRIVATE, PUBLIC], vec![PUBLIC, PRIVATE]] {
        let (client, public, private) = rebound(vec![answer]).await;
        let url = format!("http://hooks.example:{}/", public.address.port());
        let lane = Arc::new(lane_by(&client, Stance::Outside, &url));
        for connections in 1..4 {
            let exchange = attempt(&lane, AMPLE).await;
            assert_eq!(response(&exchange).status, 200);
            assert_eq!(exchange.address, Some(public.address));
            assert_eq!((public.accepted(), private.accepted()), (connections, 0));
        }
    }
}

#[tokio::test]
async fn a_name_whose_addresses_are_all_closed_says_so_of_each() {
    let (client, public, private) = rebound(vec![vec![PRIVATE, [10, 0, 0, 1], [0, 0, 0, 0]]]).await;
    let url = format!("http://hooks.example:{}/", public.address.port());
    let exchange = attempt(&Arc::new(lane_by(&client, Stance::Outside, &url)), AMPLE).await;
    let failure = failure(&exchange);
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.message.starts_with("127.0.0.1 is loopback (127.0.0.0/8), "), "{failure:?}");
    assert!(failure.message.ends_with("; refused as well: 10.0.0.1, 0.0.0.0"), "{failure:?}");
    assert_eq!((public.accepted(), private.accepted()), (0, 0));
}

#[tokio::test]
async fn the_next_address_is_dialled_when_one_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed = listener.local_addr().expect("an address");
    drop(listener);
    let peer = Peer::start(vec![]).await;
    let denied = SocketAddr::from(([169, 254, 1, 1], 80));
    let mut dialled = None;
    let addresses = [denied, closed, peer.address];
    let connected = dial(&addresses, Some(&guard()), &mut dialled).await;
    assert_eq!(connected.expect("a connection").0, peer.address);
    assert_eq!(dialled, Some(peer.address));

    let failed = dial(&[denied, closed], Some(&guard()), &mut dialled).await;
    assert_eq!(failed.expect_err("nobody listens").kind, FailureKind::Connect);
}

/// A certificate authority, and servers and clients that it certifies.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
type Certified = (Certificate, KeyPair);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        // One of a kind: issuers are found by their names.
        params.distinguished_name.push(DnType::CommonName, hex::encode(key.public_key_raw()));
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name` that is good until the end of `year`.
    fn certify(&self, name: &str, year: i32) -> Certified {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.not_after = date_time_ymd(year, 12, 31);
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// A server that shows a certificate for `name`.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        acceptor(self.certify(name, 4000), None, rustls::ALL_VERSIONS)
    }

    fn identity(&self) -> Identity {
        let (certificate, key) = self.certify("box.example", 4000);
        let (certificate, key) = (Secret::new(certificate.pem()), Secret::new(key.serialize_pem()));
        Identity::new(&certificate, &key).expect("they belong together")
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        roots
    }
}

/// A server that shows this, wants a certificate of one of these authorities, and speaks these versions.
fn acceptor(
    (certificate, key): Certified,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions");
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(clients.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            config.with_client_cert_verifier(verifier.expect("a root"))
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = config.with_single_cert(vec![certificate.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
}

/// An attempt at a server on 127.0.0.1.
async fn to_server(acceptor: TlsAcceptor, roots: RootCertStore, options: Options, terms: &Terms) -> Exchange {
    let peer = Peer::serve(vec![vec![answer(OK), Act::UntilClosed]], Some(acceptor)).await;
    let url = format!("https://{}/", peer.address).parse().expect("a URL");
    let client = trusting(roots, options);
    let lane = client.lane(&url, Stance::Configuration, &AccountName::default(), terms).expect("a target");
    attempt(&Arc::new(lane), AMPLE).await
}

fn tls_failure<'a>(exchange: &'a Exchange, message: &str) -> &'a Failure {
    let failure = failure(exchange);
    assert_eq!(failure.kind, FailureKind::Tls, "{failure:?}");
    assert!(failure.message.contains(message), "{failure:?}");
    failure
}

#[tokio::test]
async fn tls_with_a_certificate_that_is_too_old() {
    let authority = Authority::new();
    let expired = acceptor(authority.certify("127.0.0.1", 2001), None, rustls::ALL_VERSIONS);
    let exchange = to_server(expired, authority.roots(), Options::default(), &Terms::default()).await;
    let failure = tls_failure(&exchange, "certificate not trusted");
    assert!(failure.message.contains("expired") && failure.message.contains("clock"), "{failure:?}");
}

#[tokio::test]
async fn a_bundle_is_trusted_besides_the_roots() {
    let (authority, other) = (Authority::new(), Authority::new());
    let options = Options { bundle: vec![other.certificate.clone()], ..Options::default() };
    for (by, roots) in
        [(&other, RootCertStore::empty()), (&other, authority.roots()), (&authority, authority.roots())]
    {
        let server = by.acceptor("127.0.0.1");
        let exchange = to_server(server, roots, options.clone(), &Terms::default()).await;
        assert_eq!(response(&exchange).status, 200);
    }
    let server = authority.acceptor("127.0.0.1");
    let exchange = to_server(server, RootCertStore::empty(), options, &Terms::default()).await;
    tls_failure(&exchange, "ca_bundle");
}

#[tokio::test]
async fn the_least_version_of_tls() {
    let authority = Authority::new();
    let (old, new) = (&rustls::version::TLS12, &rustls::version::TLS13);
    for (speaks, least, spoken) in [
        (old, TlsVersion::V1_2, true),
        (new, TlsVersion::V1_2, true),
        (new, TlsVersion::V1_3, true),
        (old, TlsVersion::V1_3, false),
    ] {
        let server = acceptor(authority.certify("127.0.0.1", 4000), None, &[speaks]);
        let options = Options { tls_min: least, ..Options::default() };
        let exchange = to_server(server, authority.roots(), options, &Terms::default()).await;
        if spoken {
            assert_eq!(response(&exchange).status, 200);
        } else {
            tls_failure(&exchange, "`tls_min` under [network]");
        }
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let (authority, other) = (Authority::new(), Authority::new());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (identity, wrong) in [
            (Some(authority.identity()), None),
            (Some(other.identity()), Some("the peer broke off TLS with the alert")),
            (None, Some("the peer wants a client certificate")),
        ] {
            let server = acceptor(authority.certify("127.0.0.1", 4000), Some(&authority), &[version]);
            let terms = Terms { identity, ..Terms::default() };
            let exchange = to_server(server, authority.roots(), Options::default(), &terms).await;
            match wrong {
                None => assert_eq!(response(&exchange).status, 200),
                Some(wrong) => {
                    tls_failure(&exchange, wrong);
                }
            }
        }
    }
    let terms = Terms { identity: Some(other.identity()), ..Terms::default() };
    let server = authority.acceptor("127.0.0.1");
    let exchange = to_server(server, authority.roots(), Options::default(), &terms).await;
    assert_eq!(response(&exchange).status, 200, "nobody asks");
}

#[tokio::test]
async fn a_session_is_not_taken_up_by_another_identity() {
    let authority = Authority::new();
    let server = acceptor(authority.certify("127.0.0.1", 4000), Some(&authority), rustls::ALL_VERSIONS);
    let closing = answer(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let peer = Peer::serve(vec![vec![closing]; 9], Some(server)).await;
    let url = format!("https://{}/", peer.address).parse().expect("a URL");
    let client = trusting(authority.roots(), Options::default());
    let lane = |identity| {
        let terms = Terms { identity, ..Terms::default() };
        Arc::new(client.lane(&url, Stance::Configuration, &AccountName::default(), &terms).expect("a target"))
    };
    let known = lane(Some(authority.identity()));
    for _ in 0..3 {
        assert_eq!(response(&attempt(&known, AMPLE).await).status, 200);
    }
    let stranger = lane(Some(Authority::new().identity()));
    assert_eq!(failure(&attempt(&stranger, AMPLE).await).kind, FailureKind::Tls);
    assert_eq!(failure(&attempt(&lane(None), AMPLE).await).kind, FailureKind::Tls);
}

#[tokio::test]
async fn another_name_may_be_asked_for() {
    let authority = Authority::new();
    let name = |name: &str| Some(ServerName::try_from(name.to_owned()).expect("a name"));
    for (certified, asked, trusted) in [
        ("erp.example", name("erp.example"), true),
        ("127.0.0.1", None, true),
        ("127.0.0.1", name("erp.example"), false),
        ("erp.example", None, false),
        ("127.0.0.2", name("127.0.0.2"), true),
    ] {
        let terms = Terms { server_name: asked, ..Terms::default() };
        let server = authority.acceptor(certified);
        let exchange = to_server(server, authority.roots(), Options::default(), &terms).await;
        if trusted {
            assert_eq!(response(&exchange).status, 200);
        } else {
            tls_failure(&exchange, "certificate for another name");
        }
    }
}

#[tokio::test]
async fn a_server_with_several_names_is_told_which() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify("erp.example", 4000);
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider);
    let mut names = ResolvesServerCertUsingSni::new();
    names.add("erp.example", certified.expect("they belong together")).expect("its name");
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(names));
    let server = TlsAcceptor::from(Arc::new(config));
    let server_name = Some(ServerName::try_from("erp.example").expect("a name"));
    let terms = Terms { server_name, ..Terms::default() };
    let exchange = to_server(server, authority.roots(), Options::default(), &terms).await;
    assert_eq!(response(&exchange).status, 200);
}

/// Attempts at `https://{host}` where a server shows a certificate for `name`.
async fn over_tls(roots: RootCertStore, acceptor: TlsAcceptor, host: &str) -> (Exchange, Exchange, usize) {
    let acts = vec![answer(OK), answer(OK), Act::UntilClosed];
    let peer = Peer::serve(vec![acts.clone(), acts], Some(acceptor)).await;
    let client = trusting(roots, Options::default());
    let url = format!("https://{host}:{}/", peer.address.port());
    let lane = Arc::new(lane_of(&client, &url));
    (attempt(&lane, AMPLE).await, attempt(&lane, AMPLE).await, peer.accepted())
}

#[tokio::test]
async fn tls_with_a_trusted_certificate() {
    let authority = Authority::new();
    for host in ["localhost", "127.0.0.1"] {
        let (first, second, accepted) = over_tls(authority.roots(), authority.acceptor(host), host).await;
        assert_eq!(response(&first).body, b"ok");
        assert!(first.phases.tls.is_some());
        assert_eq!(response(&second).body, b"ok");
        assert_eq!((second.phases.tls, accepted), (None, 1));
    }
}

#[tokio::test]
async fn tls_with_a_certificate_that_is_not_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (roots, name, message) in [
        (authority.roots(), "example.com", "certificate for another name"),
        (other.roots(), "127.0.0.1", "certificate not trusted"),
        (RootCertStore::empty(), "127.0.0.1", "SSL_CERT_FILE"),
    ] {
        let (exchange, _, _) = over_tls(roots, authority.acceptor(name), "127.0.0.1").await;
        let failure = failure(&exchange);
        assert_eq!(failure.kind, FailureKind::Tls, "{failure:?}");
        assert!(failure.message.contains(message), "{failure:?}");
    }
}

#[tokio::test]
async fn tls_with_a_peer_that_does_not_speak_it() {
    let roots = Authority::new().roots();
    for (acts, kind, timeout) in [
        (vec![Act::Drip(b"HTTP/1.1 400 Bad Request\r\n".to_vec())], FailureKind::Tls, AMPLE),
        (vec![], FailureKind::Tls, AMPLE),
        (vec![Act::UntilClosed], FailureKind::Timeout, SHORT),
    ] {
        let peer = Peer::start(vec![acts]).await;
        let client = trusting(roots.clone(), Options::default());
        let url = format!("https://{}/", peer.address);
        let lane = Arc::new(lane_of(&client, &url));
        let exchange = attempt(&lane, timeout).await;
        assert_eq!(failure(&exchange).kind, kind, "{:?}", exchange.outcome);
        assert!(exchange.phases.tls.is_some());
    }
}

#[tokio::test]
async fn one_address_that_swallows_packets_does_not_eat_the_deadline() {
    // A listener whose queue is full drops what asks for a connection, as a filter would.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let silent = listener.local_addr().expect("an address");
    let mut queue = Vec::new();
    while let Ok(stream) = timeout(SHORT, TcpStream::connect(silent)).await {
        queue.push(stream.expect("a connection"));
    }
    let peer = Peer::start(vec![]).await;
    let (addresses, guard, mut dialled) = ([silent, peer.address], guard(), None);
    let connected = timeout(AMPLE, dial(&addresses, Some(&guard), &mut dialled)).await.expect("in time");
    assert_eq!(connected.expect("a connection").0, peer.address);
    assert!(!queue.is_empty());
}

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// A lane to `url` through this proxy.
fn lane_through(proxy: &str, url: &str) -> Arc<Lane> {
    let proxy = Some(proxy.parse().expect("a proxy"));
    Arc::new(lane_of(&trusting(RootCertStore::empty(), Options { proxy, ..Options::default() }), url))
}

/// An attempt through a proxy that does this on its only connection.
async fn through(acts: Vec<Act>, timeout: Duration) -> (Exchange, Peer) {
    let proxy = Peer::start(vec![acts]).await;
    let exchange = attempt(&lane_through(&proxy.url("/"), "http://erp.invalid:81/a"), timeout).await;
    (exchange, proxy)
}

#[tokio::test]
async fn a_proxy_opens_a_way_that_is_used_again() {
    let acts = vec![answer(ESTABLISHED), answer(OK), answer(OK), Act::UntilClosed];
    let mut proxy = Peer::start(vec![acts]).await;
    let url = proxy.url("/").replace("http://", "http://box:%6fpen@");
    let lane = lane_through(&url, "http://erp.invalid:81/a");
    for _ in 0..2 {
        let exchange = attempt(&lane, AMPLE).await;
        assert_eq!(response(&exchange).status, 200);
        assert_eq!(exchange.address, Some(proxy.address));
    }
    let asked = "CONNECT erp.invalid:81 HTTP/1.1\r\nHost: erp.invalid:81\r\n\
                 Proxy-Authorization: Basic Ym94Om9wZW4=\r\n\r\n";
    assert_eq!(proxy.request().await, asked);
    for _ in 0..2 {
        assert!(proxy.request().await.starts_with("POST /a HTTP/1.1\r\nhost: erp.invalid:81\r\n"));
    }
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_proxy_that_fails_is_told_from_the_endpoint() {
    use FailureKind::{Connect, Protocol, Proxy};
    for (bytes, kind, message) in [
        (&b"HTTP/1.1 407 No\r\n\r\n"[..], Proxy, "(407): see `proxy_authorization`"),
        (b"HTTP/1.1 403 No\r\n\r\n", Connect, "refuses to open a way to the endpoint (403)"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n", Connect, "(302)"),
        (b"HTTP/1.1 404 No\r\n\r\n", Connect, "refuses to open a way to the endpoint (404)"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", Connect, "(101)"),
        (b"HTTP/1.1 500 No\r\n\r\n", Connect, "(500)"),
        (b"HTTP/1.1 502 No\r\n\r\n", Connect, "does not reach the endpoint (502)"),
        (b"HTTP/1.1 503 No\r\n\r\n", Connect, "does not reach the endpoint (503)"),
        (b"HTTP/1.1 504 No\r\n\r\n", Connect, "does not reach the endpoint (504)"),
        (b"", Connect, "gives no answer when it is asked for the endpoint: it closed the connection"),
        (b"HTTP/1.1 200 OK\r\n", Proxy, "broke off before its answer was complete: it closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n", Proxy, "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH\r\n", Protocol, "(through the proxy 127.0.0.1:"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", Protocol, "(through the proxy"),
    ] {
        let (exchange, proxy) = through(vec![answer(bytes)], AMPLE).await;
        let failure = failure(&exchange);
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.message.contains(message), "{failure:?}");
        assert_eq!(proxy.accepted(), 1);
    }
}

#[tokio::test]
async fn a_proxy_costs_its_deadline_and_few_bytes() {
    let header = b"x-more: and more of it\r\n";
    let begun = || answer(b"HTTP/1.1 200 OK\r\n");
    for (acts, time, kind, message) in [
        (vec![begun(), Act::Flood(header.repeat(100))], AMPLE, FailureKind::Proxy, "more than 8 KiB"),
        (
            vec![begun(), Act::Drip(b"x".to_vec())],
            SHORT,
            FailureKind::Proxy,
            "no complete answer of the proxy",
        ),
        (vec![Act::UntilClosed], SHORT, FailureKind::Timeout, "through the proxy"),
    ] {
        let (exchange, mut proxy) = through(acts, time).await;
        let failure = failure(&exchange);
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.message.contains(message), "{failure:?}");
        proxy.ended().await;
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    for (proxy, message) in [
        (format!("http://{address}"), "ECONNREFUSED"),
        ("http://nowhere.invalid:3128".to_owned(), "did not resolve"),
    ] {
        let exchange = attempt(&lane_through(&proxy, "http://erp.invalid/"), AMPLE).await;
        let failure = failure(&exchange);
        assert_eq!(failure.kind, FailureKind::Proxy, "{failure:?}");
        assert!(
            failure.message.contains("is not reached") && failure.message.contains(message),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn no_proxy_is_asked_for_an_address_that_is_closed() {
    let proxy = Peer::start(vec![vec![answer(ESTABLISHED), answer(OK)]]).await;
    for host in ["169.254.169.254", "[::ffff:169.254.169.254]"] {
        let lane = lane_through(&proxy.url("/"), &format!("http://{host}/"));
        assert_eq!(failure(&attempt(&lane, AMPLE).await).kind, FailureKind::Refused);
    }
    assert_eq!(proxy.accepted(), 0);
    // One that is open goes through it, and is not dialled.
    let lane = lane_through(&proxy.url("/"), "http://127.0.0.1:1/");
    assert_eq!(response(&attempt(&lane, AMPLE).await).status, 200);
}

#[tokio::test]
async fn tls_through_a_proxy_is_the_endpoint_s() {
    let mut proxy = Peer::start(vec![vec![answer(&[ESTABLISHED, b"no TLS here"].concat())]]).await;
    let options = Options { proxy: Some(proxy.url("/").parse().expect("a proxy")), ..Options::default() };
    let client = trusting(Authority::new().roots(), options);
    let exchange = attempt(&Arc::new(lane_of(&client, "https://erp.invalid/")), AMPLE).await;
    // What comes behind the head of the answer is not the proxy's, and is not taken with it.
    tls_failure(&exchange, "the peer does not speak TLS on this port (through the proxy");
    assert!(proxy.request().await.starts_with("CONNECT erp.invalid:443 HTTP/1.1\r\n"));
}
