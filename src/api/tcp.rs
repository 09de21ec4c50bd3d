//! The API over TCP: a listener, TLS, and the bounds on whoever connects.
//!
//! HTTP/1.1 alone is spoken here, and each request shows a key (see `gate`). Beyond this machine it is
//! HTTPS. On a loopback address without a name of its own, any page in a browser on this machine can send requests here
//! under a name of its own choosing that leads to it; so a `Host` must be an address, `localhost`, or one of the
//! configured names.
//!
//! Bounds: [`PLACES`] connections, of which one address (of IPv6 a network of 64 bits) has a part, so that they take nothing from the Unix socket's;
//! whoever finds no place is hung up on without a word, as there is no answer before TLS. A handshake has
//! 10 s (`HANDSHAKE_TIME`), a request's head 30 s (`HEADER_TIME`), its body and the taking of its answer what they have over the socket.
//! It all runs beside the thread of the Unix socket, whose producers do not wait for anybody's handshake.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{StatusCode, Version, header, uri::Authority};
use hyper::{Request, body::Incoming};
use rustls::{ServerConfig, server::ResolvesServerCert, sign::SingleCertAndKey};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Service, Terms, gate::Gate, problem::Problem};
use crate::{
    ingest::{probe::Probes, stopped},
    logging::Kind,
    policy::{
        certificate::{Identity, provider},
        tries::network,
    },
};

/// Connections at once.
pub const PLACES: usize = 512;
/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// A request's head must come within this, also on a connection that is kept open.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// After so many answers to requests without a good key a connection is hung up on.
const STRANGERS: u32 = 8;
/// After a failed accept (no descriptors left) the listener rests so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and how the API is served over TCP.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub address: SocketAddr,
    /// With which certificate; `None`: without TLS.
    pub identity: Option<Identity>,
    /// The names by which it is known besides `localhost`, in lower case.
    pub names: Vec<String>,
    /// Connections of one address at once.
    pub per_address: usize,
}

/// The bound listener.
pub struct Listener {
    bound: TcpListener,
    address: SocketAddr,
    door: Arc<Door>,
}

/// The address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("{0} is in use: another program listens there; set [listen] http to another port")]
    InUse(SocketAddr),
    /// It is not this machine's.
    #[error(
        "{0} is no address of this machine; set [listen] http to one that is, or to 0.0.0.0 or [::] for all"
    )]
    NotOurs(SocketAddr),
    /// Ports below 1024 are not for everybody.
    #[error(
        "{0} is not allowed to this user: ports below 1024 take the capability CAP_NET_BIND_SERVICE; set [listen] http to another port"
    )]
    NotAllowed(SocketAddr),
    /// The system said no.
    #[error("cannot listen on {0}")]
    Io(SocketAddr, #[source] io::Error),
}

/// What every connection is held against.
struct Door {
    tls: Option<TlsAcceptor>,
    /// The names that a `Host` may be; `None`: any.
    names: Option<Vec<String>>,
    places: Arc<Semaphore>,
    per_address: usize,
    /// By network.
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place; it is free again when this is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    door: Arc<Door>,
}

impl Listener {
    /// Binds the address. Within a runtime.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn bind(options: Options) -> Result<Self, BindError> {
        let wanted = options.address;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(wanted),
            io::ErrorKind::AddrNotAvailable => BindError::NotOurs(wanted),
            io::ErrorKind::PermissionDenied => BindError::NotAllowed(wanted),
            _ => BindError::Io(wanted, error),
        };
        let listener = std::net::TcpListener::bind(wanted).map_err(failed)?;
        Self::take(listener, options)
    }

    /// Takes over what listens already, as a service manager passes it, wherever that is. Within a runtime.
    ///
    /// # Errors
    /// The system says no.
    pub fn take(listener: std::net::TcpListener, options: Options) -> Result<Self, BindError> {
        let failed = |error| BindError::Io(options.address, error);
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let door = Door {
            tls: options.identity.as_ref().map(acceptor),
            names: address.ip().to_canonical().is_loopback().then_some(options.names),
            places: Arc::new(Semaphore::new(PLACES)),
            per_address: options.per_address,
            open: Mutex::default(),
        };
        Ok(Self { bound: listener, address, door: Arc::new(door) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves connections until `stopping` says so; then those that are open come to their end, and it returns. Between two
    /// connections it answers `probes`.
    pub async fn serve(self, service: Service, mut probes: Probes, mut stopping: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = self.bound.accept() => accepted,
                asked = probes.next() => {
                    // Who asked may have gone.
                    let _ = asked.send(true);
                    continue;
                }
                () = stopped(&mut stopping) => break,
            };
            match accepted {
                Ok((stream, from)) => {
                    let from = from.ip().to_canonical();
                    let Some(place) = Door::place(&self.door, from) else {
                        tracing::debug!(address = %from, "a connection finds no place");
                        continue;
                    };
                    let (service, stopping) = (service.clone(), stopping.clone());
                    connections.spawn(async move { converse(stream, place, service, stopping).await });
                }
                Err(error) => {
                    tracing::warn!(kind = Kind::AcceptFailed.word(), %error, "cannot take a connection over TCP");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.bound);
        while connections.join_next().await.is_some() {}
    }
}

async fn converse(stream: TcpStream, place: Place, service: Service, mut stopping: watch::Receiver<bool>) {
    // An answer is one write, and nobody gains by its waiting for more.
    let _ = stream.set_nodelay(true);
    let door = Arc::clone(&place.door);
    let Some(tls) = &door.tls else { return speak(stream, &place, service, stopping).await };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_TIME, tls.accept(stream)) => shaken,
        () = stopped(&mut stopping) => return,
    };
    match shaken {
        Ok(Ok(stream)) => speak(stream, &place, service, stopping).await,
        Ok(Err(error)) => tracing::debug!(address = %place.address, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(address = %place.address, "a TLS handshake did not come to its end"),
    }
}

async fn speak<T>(stream: T, place: &Place, service: Service, stopping: watch::Receiver<bool>)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (door, from) = (Arc::clone(&place.door), place.address);
    let admit = move |request: &mut Request<Incoming>| {
        door.check_host(request)?;
        request.extensions_mut().insert(Gate::Tcp(from));
        Ok(())
    };
    let terms = Terms { header_time: HEADER_TIME, keep_alive: true, strangers: Some(STRANGERS) };
    service.speak(stream, terms, admit, stopping).await;
}

impl Door {
    fn place(door: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let permit = Arc::clone(&door.places).try_acquire_owned().ok()?;
        let mut open = door.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&network).copied().unwrap_or(0);
        if count >= door.per_address {
            return None;
        }
        open.insert(network, count + 1);
        drop(open);
        Some(Place { _permit: permit, address, door: Arc::clone(door) })
    }

    /// Passes on that a request asks for what is here, and for no name that somebody else has made up for it.
    fn check_host<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let Some(names) = &self.names else { return Ok(()) };
        let hosts =
            request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let hosts: Vec<_> = hosts.chain(request.uri().authority().map(Authority::as_str)).collect();
        // No browser sends none; what looks after a proxy's servers may, in HTTP/1.0.
        let may_be_none = request.version() == Version::HTTP_10;
        if (may_be_none || !hosts.is_empty()) && hosts.iter().all(|host| is_ours(host, names)) {
            return Ok(());
        }
        let detail = "the `Host` of this request is neither an address nor `localhost`; if posthaste is to be reached by a name here, put it into `http_names` under [listen]";
        Err(Problem::new(StatusCode::FORBIDDEN, "host_not_allowed", detail))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.door.open.lock().unwrap_or_else(PoisonError::into_inner);
        let network = network(self.address);
        if let Some(count) = open.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&network);
            }
        }
    }
}

/// Whether `HOST`, perhaps with a port, is an address, `localhost` or one of `names`.
fn is_ours(host: &str, names: &[String]) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => host,
    };
    let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match literal {
        Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.parse::<std::net::Ipv4Addr>().is_ok() || name == "localhost" || names.contains(&name),
    }
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let shown: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(identity.certified()));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let names = ["box.example".to_owned()];
        for (host, ours) in [
            ("127.0.0.1", true),
            ("127.0.0.1:8470", true),
            ("[::1]", true),
            ("[::1]:8470", true),
            ("192.0.2.7:8470", true),
            ("localhost", true),
            ("LOCALHOST:8470", true),
            ("localhost.", true),
            ("box.example:8470", true),
            ("Box.Example.", true),
            ("evil.example", false),
            ("evil.example:8470", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("box.example.evil", false),
            ("box.example:80:80", false),
            ("[box.example]", false),
            ("::1", false),
            ("", false),
            (":8470", false),
            ("localhost@evil", false),
        ] {
            assert_eq!(is_ours(host, &names), ours, "{host}");
        }
    }

    #[test]
    fn an_address_has_its_part_and_gives_it_back() {
        let door = Arc::new(Door {
            tls: None,
            names: None,
            places: Arc::new(Semaphore::new(3)),
            per_address: 2,
            open: Mutex::default(),
        });
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = Door::place(&door, one).expect("a place");
        let _second = Door::place(&door, one).expect("a place");
        assert!(Door::place(&door, one).is_none(), "it has its part");
        let third = Door::place(&door, other).expect("a place");
        assert!(Door::place(&door, other).is_none(), "there are no more");
        drop(first);
        drop(third);
        assert_eq!(door.open.lock().expect("nobody panics").len(), 1);
        let again = Door::place(&door, one).expect("one is free");
        assert_eq!(door.places.available_permits(), 1);
        drop(again);
        // One machine may have as many addresses of a network as it likes.
        let of = |text: &str| Door::place(&door, text.parse().expect("an address"));
        let _first = of("2001:db8::1").expect("a place");
        let next = of("2001:db8::2").expect("a place");
        assert!(of("2001:db8::3").is_none(), "the network has its part");
        drop(next);
        assert!(of("2001:db8::4").is_some());
    }
}
