//! A client of the API over TCP: plain or TLS, with a key, from an address of its own.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs};
use tokio::net::TcpSocket;

use super::{
    DEADLINE,
    authority::Authority,
    http::{Answer, read_answer},
    world::World,
};

/// Where the API is, and as whom it is asked.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    key: Option<String>,
}

/// A connection.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl Api {
    /// The one that the daemon says in its log that it serves.
    pub fn of(world: &World) -> Self {
        let log = world.log();
        let (_, rest) = log.rsplit_once(" http=").expect("it listens on TCP");
        let address = rest.split_whitespace().next().expect("an address");
        Self::at(address.parse().expect("an address"))
    }

    /// The one there.
    pub const fn at(address: SocketAddr) -> Self {
        Self { address, tls: None, key: None }
    }

    /// The same over TLS, with a certificate of this authority's for `localhost`.
    pub fn over_tls(self, authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.root.der().clone()).expect("a root");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: Some(Arc::new(config)), ..self }
    }

    /// The same with a key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// A connection, after the handshake.
    pub fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let name = "localhost".try_into().expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(config), name).expect("a connection");
        let mut stream = stream;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }

    /// A connection without a handshake, from one of this machine's addresses.
    pub fn connect_from(&self, from: IpAddr) -> io::Result<TcpStream> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let stream = runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from, 0))?;
            socket.connect(self.address).await?.into_std()
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// Makes a request over a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect().expect("it listens");
        let headers = [headers, &[("connection", "close")]].concat();
        self.send(&mut stream, method, path, &headers, body).expect("the daemon answers")
    }

    /// Makes a request over a connection. A body has the content type of JSON where `headers` name none.
    pub fn send(
        &self,
        mut stream: impl Read + Write,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let has = |name: &str| headers.iter().any(|(have, _)| *have == name);
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !has("host") {
            write!(head, "host: {}\r\n", self.address).expect("a String takes all");
        }
        if let Some(key) = self.key.as_ref().filter(|_| !has("authorization")) {
            write!(head, "authorization: Bearer {key}\r\n").expect("a String takes all");
        }
        if !body.is_empty() && !has("content-type") {
            head.push_str("content-type: application/json\r\n");
        }
        // An empty value stands for a header that is not sent.
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            write!(head, "{name}: {value}\r\n").expect("a String takes all");
        }
        write!(head, "content-length: {}\r\n\r\n", body.len()).expect("a String takes all");
        let sent = stream.write_all(&[head.as_bytes(), body].concat()).and_then(|()| stream.flush());
        read_answer(&mut stream).map_err(|error| sent.err().unwrap_or(error))
    }

    /// Gets a document.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// Posts a document.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.request("POST", path, &[], body.as_bytes())
    }
}
