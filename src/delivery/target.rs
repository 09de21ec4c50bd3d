//! A lane's target: what a URL comes to on the wire, worked out once.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use thiserror::Error;
use url::{Host, Url};

/// Where requests go.
pub(super) struct Target {
    /// Whom to resolve and dial.
    pub(super) place: Place,
    /// Whose certificate is asked for; `None`: plain HTTP.
    pub(super) server: Option<ServerName<'static>>,
    /// The Host header: the port only where it is not the scheme's own.
    pub(super) host: HeaderValue,
    /// Path and query; never empty, no fragment.
    pub(super) path: Uri,
}

/// Whom to dial.
pub(super) enum Place {
    /// An address in the URL itself.
    Address(SocketAddr),
    /// A name and a port.
    Name(Arc<str>, u16),
}

/// A URL to which nothing can be delivered: one that was not judged by [`policy::destination`](crate::policy::destination)
/// first, which has more to say. No variant shows the URL: its path may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// No host, or one that cannot be a host.
    #[error("the URL's host is no name or address that a request can go to")]
    Host,
    /// The path cannot be sent.
    #[error("the URL's path and query cannot be sent: make them shorter than 64 KiB and percent-encode them")]
    Path,
    /// Neither `http` nor `https`.
    #[error("the URL's scheme is neither http nor https")]
    Scheme,
}

impl Target {
    pub(super) fn new(url: &Url) -> Result<Self, TargetError> {
        let encrypted = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(TargetError::Scheme),
        };
        let port = url.port_or_known_default().ok_or(TargetError::Scheme)?;
        let place = match url.host().ok_or(TargetError::Host)? {
            Host::Domain(name) => Place::Name(name.into(), port),
            Host::Ipv4(address) => Place::Address((address, port).into()),
            Host::Ipv6(address) => Place::Address((address, port).into()),
        };
        let server = if encrypted { Some(server_name(&place)?) } else { None };
        Ok(Self { server, host: host_header(url)?, path: path_and_query(url)?, place })
    }
}

fn server_name(place: &Place) -> Result<ServerName<'static>, TargetError> {
    match place {
        Place::Address(address) => Ok(ServerName::from(address.ip())),
        // The dot of an absolute name is the resolver's; no certificate has it.
        Place::Name(name, _) => ServerName::try_from(name.strip_suffix('.').unwrap_or(name).to_owned())
            .map_err(|_| TargetError::Host),
    }
}

fn host_header(url: &Url) -> Result<HeaderValue, TargetError> {
    let host = url.host_str().ok_or(TargetError::Host)?;
    let value = match url.port() {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")),
        None => HeaderValue::try_from(host),
    };
    value.map_err(|_| TargetError::Host)
}

/// What of a URL is the request's own: path and query; never empty, no fragment.
///
/// # Errors
/// They cannot be sent.
pub fn path_and_query(url: &Url) -> Result<Uri, TargetError> {
    let path = match url.query() {
        Some(query) => Uri::try_from(format!("{}?{query}", url.path())),
        None => Uri::try_from(url.path()),
    };
    path.map_err(|_| TargetError::Path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{address::Stance, destination::judge};

    fn target(url: &str) -> Result<Target, TargetError> {
        Target::new(&url.parse().expect("a URL"))
    }

    #[test]
    fn what_goes_on_the_wire() {
        for (url, host, path, encrypted) in [
            ("http://example.com", "example.com", "/", false),
            ("http://example.com:80/", "example.com", "/", false),
            ("http://example.com:8080/a/b?c=d&e", "example.com:8080", "/a/b?c=d&e", false),
            ("https://EXAMPLE.com:443/a#fragment", "example.com", "/a", true),
            ("https://example.com.:80?q", "example.com.:80", "/?q", true),
            ("https://[2001:db8::1]/x", "[2001:db8::1]", "/x", true),
            ("http://[::1]:81/x", "[::1]:81", "/x", false),
            ("http://0x7f.1/a b/../ü", "127.0.0.1", "/%C3%BC", false),
            ("https://a_b.example/[x]|y", "a_b.example", "/[x]|y", true),
        ] {
            let target = target(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(target.host, host, "{url}");
            assert_eq!(target.path.to_string(), path, "{url}");
            assert_eq!(target.server.is_some(), encrypted, "{url}");
        }
    }

    #[test]
    fn whom_to_dial() {
        for (url, address) in [
            ("http://127.0.0.1/", "127.0.0.1:80"),
            ("https://[::1]/", "[::1]:443"),
            ("http://2/", "0.0.0.2:80"),
        ] {
            match target(url).map(|target| target.place) {
                Ok(Place::Address(found)) => assert_eq!(found.to_string(), address),
                _ => panic!("{url} has an address"),
            }
        }
        match target("https://example.com:81/").map(|target| target.place) {
            Ok(Place::Name(name, port)) => assert_eq!((&*name, port), ("example.com", 81)),
            _ => panic!("a name"),
        }
    }

    #[test]
    fn what_cannot_be_delivered_to() {
        let long = format!("http://example.com/{}", "x".repeat(70_000));
        for (url, error) in [
            ("ftp://example.com/", TargetError::Scheme),
            ("mailto:a@example.com", TargetError::Scheme),
            ("https://a~b.example/", TargetError::Host),
            (long.as_str(), TargetError::Path),
        ] {
            assert_eq!(target(url).err(), Some(error), "{url:.60}");
        }
    }

    #[test]
    fn what_was_judged_well_is_a_target() {
        for text in [
            "http://erp.example/",
            "https://erp.example.:8443/a?b",
            "https://a_b.x-y.example/",
            "https://7.example/",
            "https://xn--bcher-kva.example/",
            "https://localhost/",
            "https://2130706433/",
            "https://[::ffff:127.0.0.1]/",
            &format!("https://{}.example/{}", "x".repeat(63), "y".repeat(1_900)),
            &format!("https://{}example./", "x.".repeat(120)),
        ] {
            let url =
                judge(text, Stance::Outside, false).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(Target::new(&url).err(), None, "{text}");
        }
    }
}
