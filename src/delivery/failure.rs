//! Failures, classified by the errors' types and put into words for people.
//!
//! What the box itself lacks (descriptors, memory) when it opens a connection is told from
//! what its peer does by the error's number: it is no failure of the endpoint. An address or port for one destination is no
//! such thing: the box may well reach the others.
//!
//! A message names the innermost cause that helps; never a path, a header or a payload; and it is bounded, for
//! parts of it (names in a certificate) are the peer's.

use std::{error::Error, io, net::SocketAddr};

use rustix::io::Errno;
use rustls::{AlertDescription, CertificateError, Error as TlsError, PeerIncompatible};

use crate::model::attempt::{Failure, FailureKind};

/// Characters of a message at most.
const MESSAGE: usize = 300;

/// A failure; what is too long of `message` or would not print is cut.
pub(super) fn new(kind: FailureKind, message: impl AsRef<str>) -> Failure {
    Failure { kind, message: bounded(message.as_ref()) }
}

/// `text` as it may be kept and shown.
pub(super) fn bounded(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut kept: String = chars.by_ref().take(MESSAGE).collect();
    if chars.next().is_some() {
        kept.push('…');
    }
    kept
}

/// A name that did not resolve.
pub(super) fn resolving(name: &str, error: &io::Error) -> Failure {
    match lacking(error) {
        Some(what) => {
            new(FailureKind::Local, format!("the name {name} was not looked up: this machine lacks {what}"))
        }
        None => new(FailureKind::Resolve, format!("the name {name} did not resolve: {}", innermost(error))),
    }
}

/// Addresses of which none could be connected to, and why; not empty. The box's own trouble only where that is all
/// there was: an address that refuses is the endpoint's, whatever became of its others.
pub(super) fn dialling(failed: &[(SocketAddr, io::Error)]) -> Failure {
    let local = failed.iter().all(|(_, error)| lacking(error).is_some());
    let kind = if local { FailureKind::Local } else { FailureKind::Connect };
    let messages: Vec<_> = failed.iter().map(|(address, error)| connecting(*address, error)).collect();
    new(kind, messages.join("; "))
}

/// What the box itself lacks, if that is what the error says. Asked of errors of opening and connecting a socket,
/// and of resolving, alone: later on they would say something else.
pub(super) fn lacking(error: &io::Error) -> Option<&'static str> {
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE => "free file descriptors (EMFILE); the daemon's limit of open files is reached",
        Errno::NFILE => "free file descriptors (ENFILE); the system's limit of open files is reached",
        Errno::NOBUFS => "memory for a socket (ENOBUFS)",
        Errno::NOMEM => "memory (ENOMEM)",
        _ => return None,
    })
}

/// Why there is no connection to `address`.
fn connecting(address: SocketAddr, error: &io::Error) -> String {
    if let Some(what) = lacking(error) {
        return format!("no connection to {address}: this machine lacks {what}");
    }
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no address or free port for a connection to {address} (EADDRNOTAVAIL)")
        }
        io::ErrorKind::ConnectionRefused => format!("connection refused by {address} (ECONNREFUSED)"),
        io::ErrorKind::ConnectionReset => format!("connection reset by {address} (ECONNRESET)"),
        io::ErrorKind::HostUnreachable => format!("no way to the host of {address} (EHOSTUNREACH)"),
        io::ErrorKind::NetworkUnreachable => format!("no way to the network of {address} (ENETUNREACH)"),
        io::ErrorKind::PermissionDenied => {
            format!("this machine does not permit a connection to {address}: {error}")
        }
        io::ErrorKind::TimedOut => format!("{address} does not answer (ETIMEDOUT)"),
        _ => format!("no connection to {address}: {error}"),
    }
}

/// A TLS handshake that failed.
pub(super) fn handshaking(error: &io::Error) -> Failure {
    let message = match (find::<TlsError>(error), error.kind()) {
        (Some(error), _) => tls(error),
        (None, io::ErrorKind::UnexpectedEof) => {
            "the connection was closed during the TLS handshake".to_owned()
        }
        (None, io::ErrorKind::ConnectionReset) => {
            "the connection was reset during the TLS handshake (ECONNRESET)".to_owned()
        }
        (None, _) => format!("the TLS handshake failed: {}", innermost(error)),
    };
    new(FailureKind::Tls, message)
}

/// A request that got no complete headers for an answer.
pub(super) fn exchanging(error: &hyper::Error) -> Failure {
    const CLOSED: &str = "the connection was closed before the answer's headers were complete";
    // Under TLS 1.3 a server's refusal of the client comes only with the first read.
    if let Some(error) = find::<TlsError>(error) {
        return new(FailureKind::Tls, tls(error));
    }
    let message = if error.is_parse_too_large() {
        "the answer's headers are too many or too large: 100 of them, 64 KiB in all are taken".to_owned()
    } else if error.is_parse() {
        format!("the answer is no HTTP/1.1: {}", innermost(error))
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        CLOSED.to_owned()
    } else {
        match find::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::BrokenPipe) => {
                "the connection was closed before the request was sent (EPIPE)".to_owned()
            }
            Some(io::ErrorKind::ConnectionReset) => {
                "the connection was reset before the answer's headers were complete (ECONNRESET)".to_owned()
            }
            Some(io::ErrorKind::UnexpectedEof) => CLOSED.to_owned(),
            _ => format!("the exchange failed: {}", innermost(error)),
        }
    };
    new(FailureKind::Protocol, message)
}

/// Why a body is not complete.
pub(super) fn reading_body(error: &hyper::Error) -> String {
    let kind = find::<io::Error>(error).map(io::Error::kind);
    if error.is_incomplete_message() || kind == Some(io::ErrorKind::UnexpectedEof) {
        return "the connection was closed before the body was complete".to_owned();
    }
    if kind == Some(io::ErrorKind::ConnectionReset) {
        return "the connection was reset before the body was complete (ECONNRESET)".to_owned();
    }
    bounded(&format!("the body could not be read: {}", innermost(error)))
}

fn tls(error: &TlsError) -> String {
    match error {
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            "the peer wants a client certificate, and was shown none (alert CertificateRequired)".to_owned()
        }
        TlsError::AlertReceived(AlertDescription::ProtocolVersion)
        | TlsError::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => {
            format!("the peer speaks no TLS that this machine does ({error}); see `tls_min` under [network]")
        }
        TlsError::AlertReceived(alert) => format!("the peer broke off TLS with the alert {alert:?}"),
        TlsError::InvalidCertificate(error) => certificate(error),
        TlsError::InvalidMessage(_) => "the peer does not speak TLS on this port".to_owned(),
        TlsError::NoCertificatesPresented => "the peer showed no certificate".to_owned(),
        other => format!("TLS failed: {other}"),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("certificate not trusted: {error}; is this machine's clock right?")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("certificate for another name: {error}")
        }
        CertificateError::UnknownIssuer => {
            "certificate not trusted: its issuer is none of this machine's trusted roots, nor in `ca_bundle` under [network]".to_owned()
        }
        other => format!("certificate not trusted: {other}"),
    }
}

/// The first error of type `E` on the way to the cause.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

/// What the cause itself says.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The error and its causes.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

/// An [`io::Error`]'s `source` skips the error that it wraps, so that is asked for first.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_and_printable() {
        assert_eq!(bounded("a\r\nb"), "a\u{fffd}\u{fffd}b");
        let long = bounded(&"ü".repeat(10_000));
        assert_eq!(long.chars().count(), MESSAGE + 1);
        assert!(long.ends_with('…'));
        assert_eq!(bounded(&"x".repeat(MESSAGE)).len(), MESSAGE);
    }

    #[test]
    fn a_wrapped_error_is_found() {
        let error = io::Error::new(io::ErrorKind::InvalidData, TlsError::DecryptError);
        let outer = io::Error::other(error);
        assert_eq!(find::<TlsError>(&outer), Some(&TlsError::DecryptError));
        assert_eq!(innermost(&outer), TlsError::DecryptError.to_string());
    }

    #[test]
    fn what_the_box_lacks_is_told_from_what_the_peer_does() {
        let (one, other) = (SocketAddr::from(([127, 0, 0, 1], 9)), SocketAddr::from(([127, 0, 0, 2], 9)));
        let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        let peers = [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::ACCESS,
            Errno::PERM,
            // Of one destination: whoever names it must not stop the others.
            Errno::ADDRNOTAVAIL,
        ];
        for local in own {
            let failure = dialling(&[(one, local.into()), (other, Errno::MFILE.into())]);
            assert_eq!(failure.kind, FailureKind::Local, "{failure:?}");
            assert!(failure.message.starts_with("no connection to 127.0.0.1:9: this machine lacks"));
            let resolved = resolving("a.test", &local.into());
            assert_eq!(resolved.kind, FailureKind::Local, "{resolved:?}");
            for peer in peers {
                let failure = dialling(&[(one, local.into()), (other, peer.into())]);
                assert_eq!(failure.kind, FailureKind::Connect, "{failure:?}");
            }
            // After the connection was opened it is a failure like any other.
            assert_eq!(handshaking(&local.into()).kind, FailureKind::Tls);
        }
        for peer in peers {
            assert_eq!(dialling(&[(one, peer.into())]).kind, FailureKind::Connect);
            assert_eq!(resolving("a.test", &peer.into()).kind, FailureKind::Resolve);
        }
        // Not by text, nor by a kind without a number.
        let named = io::Error::other("Too many open files (os error 24)");
        assert_eq!(dialling(&[(one, named)]).kind, FailureKind::Connect);
    }

    #[test]
    fn a_refused_connection_says_by_whom() {
        let address = "127.0.0.1:9".parse().expect("an address");
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(connecting(address, &error), "connection refused by 127.0.0.1:9 (ECONNREFUSED)");
    }
}
