//! The way through a proxy: `CONNECT`, and what it answers.
//!
//! Whatever the proxy does, it costs the attempt's deadline and 8 KiB at most; and nothing is taken of what comes behind
//! the head of its answer, for that is the endpoint's. What is wrong with the proxy itself is told from what it says of the
//! endpoint, which is all that it can say of one destination alone: that it does not reach it, or does not let anybody there.
//! That is a failure of the endpoint, or one that a proxy refuses would be tried without end, and would stop the others.

use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{
    exchange::{Stage, Trace},
    failure,
    target::{Place, TargetError},
};
use crate::{
    model::attempt::{Failure, FailureKind},
    policy::proxy::Proxy,
};

/// The most bytes of a proxy's answer, interim answers and all.
const HEAD: usize = 8 << 10;
/// How much of it is looked at, at once.
const LOOK: usize = 1 << 10;

/// A lane's way through the proxy.
pub(super) struct Tunnel {
    /// Where the proxy is.
    pub(super) place: Place,
    /// The proxy, as people know it.
    shown: String,
    /// What is asked of it; there may be a password in it.
    request: Zeroizing<String>,
}

impl Tunnel {
    /// The way to `url` through `proxy`.
    pub(super) fn new(proxy: &Proxy, url: &Url) -> Result<Self, TargetError> {
        let place = match &proxy.host {
            Host::Domain(name) => Place::Name(name.as_str().into(), proxy.port),
            Host::Ipv4(address) => Place::Address((*address, proxy.port).into()),
            Host::Ipv6(address) => Place::Address((*address, proxy.port).into()),
        };
        let host = url.host_str().ok_or(TargetError::Host)?;
        let port = url.port_or_known_default().ok_or(TargetError::Scheme)?;
        let authority = format!("{host}:{port}");
        HeaderValue::try_from(authority.as_str()).map_err(|_| TargetError::Host)?;
        let mut request = Zeroizing::new(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"));
        if let Some(authorization) = &proxy.authorization {
            for part in ["Proxy-Authorization: ", authorization.expose(), "\r\n"] {
                request.push_str(part);
            }
        }
        request.push_str("\r\n");
        Ok(Self { place, shown: proxy.to_string(), request })
    }

    /// Has `stream`, which leads to the proxy, lead to the endpoint.
    pub(super) async fn open(&self, stream: &mut TcpStream, trace: &mut Trace) -> Result<(), Failure> {
        trace.stage(Some(Stage::Asked));
        let asked = stream.write_all(self.request.as_bytes()).await;
        asked.map_err(|error| {
            self.refuses(&format!("closes the connection when it is asked for the endpoint: {error}"))
        })?;
        let status = self.answer(stream, trace).await?;
        trace.stage(None);
        self.judge(status)
    }

    /// The status that the proxy answers with.
    async fn answer(&self, stream: &mut TcpStream, trace: &mut Trace) -> Result<u16, Failure> {
        let mut head = Head::default();
        let mut seen = [0; LOOK];
        loop {
            let count =
                stream.peek(&mut seen).await.map_err(|error| self.broken(&head, &error.to_string()))?;
            if count == 0 {
                return Err(self.broken(&head, "it closed the connection"));
            }
            trace.stage(Some(Stage::Answering));
            let (taken, status) = head.take(&seen[..count]).map_err(|wrong| self.wrong(wrong))?;
            let read = stream.read_exact(&mut seen[..taken]).await;
            read.map_err(|error| self.broken(&head, &error.to_string()))?;
            if let Some(status) = status {
                return Ok(status);
            }
        }
    }

    fn judge(&self, status: u16) -> Result<(), Failure> {
        match status {
            200..=299 => Ok(()),
            407 => Err(self.wrong(
                "wants another user and password, or any (407): see `proxy_authorization` under [network]",
            )),
            502..=504 => Err(self.refuses(&format!("does not reach the endpoint ({status})"))),
            _ => Err(self.refuses(&format!("refuses to open a way to the endpoint ({status})"))),
        }
    }

    /// A connection that ended before the answer was complete. Some proxies refuse a destination by closing it.
    fn broken(&self, head: &Head, why: &str) -> Failure {
        match head.total {
            0 => self.refuses(&format!("gives no answer when it is asked for the endpoint: {why}")),
            _ => self.wrong(&format!("broke off before its answer was complete: {why}")),
        }
    }

    /// What the proxy says of the endpoint.
    fn refuses(&self, what: &str) -> Failure {
        failure::new(FailureKind::Connect, format!("the proxy {} {what}", self.shown))
    }

    /// A failure of the proxy.
    fn wrong(&self, what: &str) -> Failure {
        failure::new(FailureKind::Proxy, format!("the proxy {} {what}", self.shown))
    }

    /// Of a failure on the way to the proxy: what it is where the proxy is meant, and not the endpoint.
    pub(super) fn unreached(&self, failure: &Failure) -> Failure {
        let kind = match failure.kind {
            FailureKind::Local => FailureKind::Local,
            _ => FailureKind::Proxy,
        };
        failure::new(kind, format!("the proxy {} is not reached: {}", self.shown, failure.message))
    }

    /// Of a failure behind the proxy: the same, with the proxy named, which may have had a hand in it.
    pub(super) fn behind(&self, failure: Failure) -> Failure {
        match failure.kind {
            FailureKind::Protocol | FailureKind::Tls => {
                failure::new(failure.kind, format!("{} (through the proxy {})", failure.message, self.shown))
            }
            _ => failure,
        }
    }
}

/// The head of an answer, as far as it has come.
#[derive(Default)]
struct Head {
    line: Vec<u8>,
    total: usize,
}

impl Head {
    /// Takes what is its own of the next bytes: how many, and the status once it is complete. Interim answers are passed over.
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<u16>), &'static str> {
        const VERSION: &[u8] = b"HTTP/1.";
        for (at, byte) in bytes.iter().enumerate() {
            self.line.push(*byte);
            self.total += 1;
            if self.line.len() <= VERSION.len() && !VERSION.starts_with(&self.line) {
                return Err("does not answer in HTTP/1.1");
            }
            if self.line.ends_with(b"\n\r\n") || self.line.ends_with(b"\n\n") {
                match status(&self.line).ok_or("does not answer in HTTP/1.1")? {
                    100 | 102..=199 => self.line.clear(),
                    status => return Ok((at + 1, Some(status))),
                }
            }
            if self.total == HEAD {
                return Err("answers with more than 8 KiB of headers");
            }
        }
        Ok((bytes.len(), None))
    }
}

/// The status of a head that begins with `HTTP/1.`.
fn status(head: &[u8]) -> Option<u16> {
    let [minor, b' ', digits @ .., end] = head.get(7..13)? else { return None };
    let fits = minor.is_ascii_digit() && b" \r\n".contains(end) && digits.iter().all(u8::is_ascii_digit);
    let status = std::str::from_utf8(digits).ok().filter(|_| fits)?.parse().ok()?;
    (100..=599).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        const OK: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
        let no_http = Err("does not answer in HTTP/1.1");
        let long = format!("HTTP/1.1 200 OK\r\n{}", "x-more: and more\r\n".repeat(1_000));
        for (text, outcome) in [
            (format!("{OK}\u{16}\u{3}"), Ok((OK.len(), Some(200)))),
            (format!("HTTP/1.0 204\r\nvia: x\r\n\r\n{OK}"), Ok((24, Some(204)))),
            ("HTTP/1.1 407 No\n\nx".to_owned(), Ok((17, Some(407)))),
            (format!("HTTP/1.1 100 Wait\r\n\r\n{OK}"), Ok((21 + OK.len(), Some(200)))),
            ("HTTP/1.1 101 Switching\r\n\r\n".to_owned(), Ok((26, Some(101)))),
            ("HTTP/1.1 200 O".to_owned(), Ok((14, None))),
            ("HTTP/2 200 OK\r\n\r\n".to_owned(), no_http),
            ("220 smtp.example\r\n".to_owned(), no_http),
            ("HTTP/1.1 20 OK\r\n\r\n".to_owned(), no_http),
            ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), no_http),
            ("HTTP/1.1 999 OK\r\n\r\n".to_owned(), no_http),
            ("HTTP/1.\n\n".to_owned(), no_http),
            (long, Err("answers with more than 8 KiB of headers")),
            ("HTTP/1.1 100 Wait\r\n\r\n".repeat(1_000), Err("answers with more than 8 KiB of headers")),
        ] {
            assert_eq!(Head::default().take(text.as_bytes()), outcome, "{text:.60}");
            // However it is cut, it comes to the same.
            let mut head = Head::default();
            let mut taken = 0;
            let cut = text.as_bytes().iter().find_map(|byte| {
                taken += 1;
                head.take(&[*byte]).map(|(_, status)| status.map(|status| (taken, Some(status)))).transpose()
            });
            assert_eq!(cut.unwrap_or(Ok((text.len(), None))), outcome, "{text:.60}");
        }
    }
}
