//! The proxy through which deliveries go, as it is written down, and what goes without it.
//!
//! A proxy is asked by `CONNECT` for a way to the host and port of the endpoint's URL, whichever scheme that has. Names are
//! its own to resolve, so that what goes without it is told by the URL's host as it is written: a name never is an address.

use std::{fmt, net::IpAddr, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipnet::IpNet;
use thiserror::Error;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::model::secret::Secret;

/// A proxy. `Display` and `Debug` show host and port, and nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<Secret>,
    /// What goes without it.
    pub direct: Vec<Direct>,
}

impl Proxy {
    /// Whether deliveries to this URL go through it.
    pub fn takes(&self, url: &Url) -> bool {
        url.host().is_some_and(|host| !self.direct.iter().any(|direct| direct.covers(&host)))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let url = Url::parse(text).map_err(|_| ProxyError::NoUrl)?;
        if url.scheme() != "http" {
            return Err(ProxyError::Scheme);
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyError::Path);
        }
        let host = url.host().ok_or(ProxyError::NoUrl)?.to_owned();
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(ProxyError::NoUrl)?;
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => {
                let (user, password) = (decoded(user)?, decoded(password.unwrap_or_default())?);
                if user.contains(':') {
                    return Err(ProxyError::User);
                }
                Some(basic(&Zeroizing::new(format!("{}:{}", *user, *password)))?)
            }
        };
        Ok(Self { host, port, authorization, direct: Vec::new() })
    }
}

/// The value of `Proxy-Authorization` for `USER:PASSWORD`.
///
/// # Errors
/// There is no colon in it, or a control character.
pub fn basic(user: &str) -> Result<Secret, ProxyError> {
    if !user.contains(':') || user.chars().any(char::is_control) {
        return Err(ProxyError::User);
    }
    let encoded = Zeroizing::new(STANDARD.encode(user));
    Ok(Secret::new(format!("Basic {}", *encoded)))
}

/// What percent signs stand for in a part of a URL.
fn decoded(part: &str) -> Result<Zeroizing<String>, ProxyError> {
    let (mut bytes, mut rest) = (Zeroizing::new(Vec::with_capacity(part.len())), part.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let pair = behind.get(..2).filter(|_| *first == b'%');
        let mut byte = [0];
        let encoded = pair.is_some_and(|pair| hex::decode_to_slice(pair, &mut byte).is_ok());
        bytes.push(if encoded { byte[0] } else { *first });
        rest = if encoded { &behind[2..] } else { behind };
    }
    let text = str::from_utf8(&bytes).map_err(|_| ProxyError::User)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A text that names no proxy. No variant shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// No URL with a host.
    #[error("is not the URL of a proxy")]
    NoUrl,
    /// A path, a query or a fragment.
    #[error("has something behind host and port")]
    Path,
    /// Another scheme than `http`.
    #[error("has a scheme that no proxy is spoken with here")]
    Scheme,
    /// User and password that cannot be sent.
    #[error("has a user and a password that cannot be sent")]
    User,
}

/// What goes without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direct {
    /// Everything: `*`.
    All,
    /// The names that end so, behind a dot: `.intra.example`.
    Below(String),
    /// This name.
    Name(String),
    /// The addresses of a network; a lone address is the network of itself.
    Network(IpNet),
}

impl Direct {
    fn covers(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Below(suffix), Host::Domain(name)) => {
                let above = plain(name).strip_suffix(suffix.as_str());
                above.is_some_and(|above| above.len() > 1 && above.ends_with('.'))
            }
            (Self::Name(own), Host::Domain(name)) => plain(name) == own,
            (Self::Network(network), Host::Ipv4(address)) => holds(network, (*address).into()),
            (Self::Network(network), Host::Ipv6(address)) => holds(network, (*address).into()),
            (Self::Below(_) | Self::Name(_), _) | (Self::Network(_), Host::Domain(_)) => false,
        }
    }
}

/// An IPv4 address is the same written as IPv6.
fn holds(network: &IpNet, address: IpAddr) -> bool {
    network.contains(&address) || network.contains(&address.to_canonical())
}

/// A name without the dot of an absolute one.
fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

impl FromStr for Direct {
    type Err = DirectError;

    fn from_str(text: &str) -> Result<Self, DirectError> {
        if text == "*" {
            return Ok(Self::All);
        }
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        if let Some(network) = network {
            let whole = network.addr() == network.network();
            return if whole { Ok(Self::Network(network)) } else { Err(DirectError) };
        }
        let below = text.strip_prefix('.');
        match (Host::parse(below.unwrap_or(text)), below) {
            (Ok(Host::Domain(name)), None) if is_name(&name) => Ok(Self::Name(plain(&name).to_owned())),
            (Ok(Host::Domain(name)), Some(_)) if is_name(&name) => Ok(Self::Below(plain(&name).to_owned())),
            (Ok(Host::Ipv4(address)), None) => Ok(Self::Network(IpAddr::from(address).into())),
            (Ok(Host::Ipv6(address)), None) => Ok(Self::Network(IpAddr::from(address).into())),
            _ => Err(DirectError),
        }
    }
}

/// Whether it has nothing but the letters of names: something with a port, a path or a star is none.
fn is_name(name: &str) -> bool {
    let fits = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    plain(name).split('.').all(fits)
}

/// A text that says of nothing that it goes without the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "write a name, \".suffix\" for all names below one, an address, a network such as \"10.0.0.0/8\", or \"*\""
)]
pub struct DirectError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        for (text, shown, authorization) in [
            ("http://proxy.example:3128", "proxy.example:3128", None),
            ("http://PROXY.example/", "proxy.example:80", None),
            ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080", None),
            ("http://box:open@10.0.0.1:3128", "10.0.0.1:3128", Some("Basic Ym94Om9wZW4=")),
            ("http://box@10.0.0.1:3128", "10.0.0.1:3128", Some("Basic Ym94Og==")),
            ("http://b%6fx:o%70en%25%@10.0.0.1:1", "10.0.0.1:1", Some("Basic Ym94Om9wZW4lJQ==")),
        ] {
            let proxy = text.parse::<Proxy>().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(proxy.to_string(), shown);
            assert_eq!(proxy.authorization.as_ref().map(Secret::expose), authorization, "{text}");
            assert!(!format!("{proxy:?}").contains("Ym94"));
        }
        for (text, error) in [
            ("proxy.example:3128", ProxyError::Scheme),
            ("https://proxy.example", ProxyError::Scheme),
            ("socks5://proxy.example", ProxyError::Scheme),
            ("proxy", ProxyError::NoUrl),
            ("http://", ProxyError::NoUrl),
            ("http://proxy.example:0", ProxyError::NoUrl),
            ("http://proxy.example/path", ProxyError::Path),
            ("http://proxy.example/?q", ProxyError::Path),
            ("http://b%3Ax:y@proxy.example", ProxyError::User),
            ("http://box:%0a@proxy.example", ProxyError::User),
            ("http://box:%ff@proxy.example", ProxyError::User),
        ] {
            assert_eq!(text.parse::<Proxy>(), Err(error), "{text}");
        }
        assert_eq!(basic("box"), Err(ProxyError::User));
    }

    #[test]
    fn what_goes_without_it() {
        for (entries, direct, through) in [
            (&["*"][..], &["erp.example", "10.0.0.1", "[::1]"][..], &[][..]),
            (
                &["ERP.example."],
                &["erp.example", "erp.example.", "Erp.Example"],
                &["a.erp.example", "example"],
            ),
            (&[".example"], &["erp.example", "a.erp.example."], &["example", "myexample", "erp.example.org"]),
            (
                &["10.0.0.0/8", "::1"],
                &["10.1.2.3", "[::ffff:10.1.2.3]", "[::1]"],
                &["11.0.0.1", "erp.example"],
            ),
            (&["127.0.0.1", "localhost"], &["127.1", "localhost"], &["127.0.0.2", "a.localhost"]),
            (&[], &[], &["erp.example", "127.0.0.1"]),
        ] {
            let mut proxy: Proxy = "http://proxy.example".parse().expect("a proxy");
            let parsed = entries.iter().map(|entry| entry.parse::<Direct>().expect("an entry"));
            proxy.direct = parsed.collect();
            for (hosts, takes) in [(direct, false), (through, true)] {
                for host in hosts {
                    let url = format!("https://{host}:8443/").parse().expect("a URL");
                    assert_eq!(proxy.takes(&url), takes, "{entries:?} {host}");
                }
            }
        }
        for text in [
            "",
            ".",
            "a..b",
            "*.example",
            "erp.example:80",
            "http://erp.example",
            "10.0.0.1/8",
            ".10.1",
            "a b",
        ] {
            assert_eq!(text.parse::<Direct>(), Err(DirectError), "{text}");
        }
    }
}
