//! Floor (a): a bare loop of signed requests over hyper's HTTP/1.1 connections, on a runtime like the daemon's.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::{net::TcpStream, runtime, task::JoinSet};

use super::{Floor, measure};
use crate::{Result, clock, daemon::KEY, helper::Helper, producer};

/// The helper's role.
pub(crate) const ROLE: &str = "sending";
/// Connections at once: as many as an endpoint has requests open by default.
const CONNECTIONS: usize = 16;
/// An id as long as a delivery's.
const ID: &str = "dlv_00000000000000000000000000";

/// The helper, as its parent sees it.
pub(crate) struct Sending(Helper);

impl Sending {
    /// Connects to a receiver on this port.
    pub(crate) fn start(port: u16) -> Result<Self> {
        let mut helper = Helper::start(&[ROLE.to_owned(), port.to_string()])?;
        helper.hear("ready")?;
        Ok(Self(helper))
    }

    /// Sends `count` requests.
    pub(crate) fn send(&mut self, count: u64) -> Result<Floor> {
        measure(&mut self.0, &count.to_string())
    }
}

type Connection = SendRequest<Full<Bytes>>;

/// The helper's life.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let port: u16 = arguments.first().ok_or("no port")?.parse()?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().thread_name("sending").build()?;
    let mut connections = runtime.block_on(connect(port))?;
    println!("ready");
    for line in io::stdin().lock().lines() {
        let left = Arc::new(AtomicU64::new(line?.parse()?));
        let started = clock::now();
        // Spawned, as attempts are: the thread that waits in `block_on` is no worker.
        let all = runtime.spawn(send_all(std::mem::take(&mut connections), left));
        connections = runtime.block_on(all)??;
        println!("done {}", (clock::now() - started).as_micros());
    }
    Ok(())
}

async fn connect(port: u16) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        // Requests in one piece, as the daemon writes them.
        let (sender, exchange) = http1::Builder::new().writev(false).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(exchange);
        connections.push(sender);
    }
    Ok(connections)
}

async fn send_all(connections: Vec<Connection>, left: Arc<AtomicU64>) -> Result<Vec<Connection>> {
    let mut senders = JoinSet::new();
    for connection in connections {
        senders.spawn(send_some(connection, Arc::clone(&left)));
    }
    let mut back = Vec::new();
    while let Some(connection) = senders.join_next().await {
        back.push(connection??);
    }
    Ok(back)
}

/// Takes one request after the other until none is left.
async fn send_some(mut connection: Connection, left: Arc<AtomicU64>) -> Result<Connection> {
    let key = Hmac::<Sha256>::new_from_slice(KEY).expect("HMAC takes keys of any length");
    let body = Bytes::from(envelope());
    let less = |left: u64| left.checked_sub(1);
    while let Ok(number) = left.fetch_update(Relaxed, Relaxed, less) {
        connection.ready().await?;
        let response = connection.send_request(request(&key, &body, number)?).await?;
        if !response.status().is_success() {
            return Err(format!("the receiver answered {}", response.status()).into());
        }
        response.into_body().collect().await?;
    }
    Ok(connection)
}

/// A body as long as that of the daemon's requests.
fn envelope() -> String {
    let event = producer::event("bench.event");
    let (_, data) = event.split_once(r#""data":"#).expect("it has data");
    format!(
        r#"{{"id":"evt_00000000000000000000000000","type":"bench.event","timestamp":"2026-01-01T00:00:00.000Z","data":{data}"#
    )
}

/// The headers that the daemon sends; the signature over what it signs.
fn request(key: &Hmac<Sha256>, body: &Bytes, number: u64) -> Result<Request<Full<Bytes>>> {
    let mut mac = key.clone();
    let timestamp = (1_700_000_000 + number % 1000).to_string();
    for part in [ID.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let mut signature = String::with_capacity(64);
    write!(signature, "v1,{}", STANDARD.encode(mac.finalize().into_bytes()))?;
    Ok(Request::post("/hooks/bench")
        .header(header::HOST, HeaderValue::from_static("127.0.0.1:65535"))
        .header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(header::USER_AGENT, HeaderValue::from_static("posthaste/0.0.0"))
        .header("webhook-id", HeaderValue::from_static(ID))
        .header("webhook-timestamp", HeaderValue::try_from(timestamp)?)
        .header("webhook-signature", HeaderValue::try_from(signature)?)
        .body(Full::new(body.clone()))?)
}
