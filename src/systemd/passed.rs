//! Sockets that the service manager has opened and passes on, as sd_listen_fds(3) has it.
//!
//! They are known by their names: `socket` is the Unix socket, `http` the API's listener. Whatever else is passed ends the
//! start: left alone it would listen, and its clients would wait for nobody.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    os::{fd::AsFd, unix::net::UnixListener},
    process,
};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

/// The name of the Unix socket.
const SOCKET: &str = "socket";
/// The name of the API's listener over TCP.
const HTTP: &str = "http";

/// What was passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// The Unix socket.
    pub socket: Option<UnixListener>,
    /// The API's listener over TCP.
    pub http: Option<TcpListener>,
}

/// What was passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// The variables do not fit each other.
    #[error(
        "the service manager passes sockets, and {0} does not say which: it takes a number in LISTEN_FDS and as many names in LISTEN_FDNAMES"
    )]
    Variable(&'static str),
    /// Nobody would serve it.
    #[error(
        "the service manager passes a socket named `{0}`, which nobody here would serve: write `FileDescriptorName=socket` into the .socket unit that listens for the Unix socket, `FileDescriptorName=http` into one for the API over TCP, and nothing else into `Sockets=`"
    )]
    Unknown(String),
    /// Two have the same name.
    #[error(
        "the service manager passes two sockets named `{0}`: write one ListenStream= into the .socket unit, or give them different names with FileDescriptorName="
    )]
    Twice(&'static str),
    /// It is not what its name says.
    #[error(
        "the service manager passes as `{name}` what is not {what}: write `{wanted}` and `Accept=no` into the .socket unit"
    )]
    Kind {
        /// Its name.
        name: &'static str,
        /// What it should be.
        what: &'static str,
        /// What to write.
        wanted: &'static str,
    },
    /// The configuration knows nothing of it.
    #[error(
        "the service manager passes a socket named `http`, and the configuration has no API over TCP: write `http = \"{0}\"` under [listen], or take the .socket unit out"
    )]
    NotConfigured(String),
    /// Keys would go over it in the clear.
    #[error("the service manager passes a socket named `http` on {0}, which is beyond this machine, and keys may not go over it in the clear: write `tls_certificate` and `tls_key` under [listen], or `ListenStream=127.0.0.1:{port}` into the .socket unit", port = .0.port())]
    InTheClear(SocketAddr),
}

impl Passed {
    /// Takes what was passed to this process. Once, before there are threads: it takes `LISTEN_PID` and `LISTEN_FDS` away.
    ///
    /// # Errors
    /// Something of it cannot be used.
    pub fn from_env() -> Result<Self, PassedError> {
        let names = names(|name| env::var(name).ok(), process::id())?;
        let mut passed = Self::default();
        if names.is_empty() {
            return Ok(passed);
        }
        let mut sockets = ListenFd::from_env();
        for (index, name) in names.into_iter().enumerate() {
            match name.as_str() {
                SOCKET => {
                    let found = listening(sockets.take_unix_listener(index));
                    let wanted = "ListenStream=/run/posthaste/posthaste.sock";
                    put(&mut passed.socket, found, (SOCKET, "a Unix stream socket that listens", wanted))?;
                }
                HTTP => {
                    let found = listening(sockets.take_tcp_listener(index));
                    let wanted = "ListenStream=127.0.0.1:8470";
                    put(&mut passed.http, found, (HTTP, "a TCP socket that listens", wanted))?;
                }
                _ => return Err(PassedError::Unknown(name)),
            }
        }
        Ok(passed)
    }

    /// Holds the listener for the API against the configuration, which has one or not, and with a certificate or not.
    ///
    /// # Errors
    /// It may not be served.
    pub fn check_http(&self, configured: bool, tls: bool) -> Result<(), PassedError> {
        let Some(address) = self.http.as_ref().and_then(|http| http.local_addr().ok()) else { return Ok(()) };
        match (configured, tls || address.ip().to_canonical().is_loopback()) {
            (false, _) => Err(PassedError::NotConfigured(address.to_string())),
            (true, false) => Err(PassedError::InTheClear(address)),
            (true, true) => Ok(()),
        }
    }
}

/// The names of what is passed to the process `own`, in order.
fn names(get: impl Fn(&str) -> Option<String>, own: u32) -> Result<Vec<String>, PassedError> {
    let is_ours = get("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(own);
    let Some(count) = get("LISTEN_FDS").filter(|_| is_ours) else { return Ok(Vec::new()) };
    let count: usize = count.parse().map_err(|_| PassedError::Variable("LISTEN_FDS"))?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let names = get("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<_> = names.split(':').map(str::to_owned).collect();
    if names.len() == count { Ok(names) } else { Err(PassedError::Variable("LISTEN_FDNAMES")) }
}

/// The socket, if it is of the right kind and listens.
fn listening<T: AsFd>(taken: io::Result<Option<T>>) -> Option<T> {
    taken.ok().flatten().filter(|socket| socket_acceptconn(socket).unwrap_or(false))
}

fn put<T>(
    place: &mut Option<T>,
    found: Option<T>,
    (name, what, wanted): (&'static str, &'static str, &'static str),
) -> Result<(), PassedError> {
    let found = found.ok_or(PassedError::Kind { name, what, wanted })?;
    match place.replace(found) {
        None => Ok(()),
        Some(_) => Err(PassedError::Twice(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_what_is_passed_to_this_process() {
        for (pid, count, given, expected) in [
            (Some("7"), Some("1"), Some("socket"), Ok(vec!["socket"])),
            (Some("7"), Some("2"), Some("http:socket"), Ok(vec!["http", "socket"])),
            (Some("7"), Some("1"), Some(""), Ok(vec![""])),
            (Some("7"), Some("0"), None, Ok(vec![])),
            (Some("8"), Some("1"), Some("socket"), Ok(vec![])),
            (None, Some("1"), Some("socket"), Ok(vec![])),
            (Some("7"), None, Some("socket"), Ok(vec![])),
            (Some("7"), Some("x"), Some("socket"), Err("LISTEN_FDS does not")),
            (Some("7"), Some("2"), Some("socket"), Err("LISTEN_FDNAMES does not")),
            (Some("7"), Some("2"), None, Err("LISTEN_FDNAMES does not")),
        ] {
            let get = |name: &str| match name {
                "LISTEN_PID" => pid.map(str::to_owned),
                "LISTEN_FDS" => count.map(str::to_owned),
                _ => given.map(str::to_owned),
            };
            match (names(get, 7), expected) {
                (Ok(names), Ok(expected)) => assert_eq!(names, expected),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (names, expected) => panic!("{names:?} is not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_listener_for_the_api_has_to_fit_the_configuration() {
        let on = |address: &str| Passed {
            http: Some(TcpListener::bind(address).expect("a port")),
            ..Passed::default()
        };
        for (passed, configured, tls, said) in [
            (on("127.0.0.1:0"), true, false, ""),
            (on("0.0.0.0:0"), true, true, ""),
            (Passed::default(), false, false, ""),
            (on("127.0.0.1:0"), false, false, "write `http = \"127.0.0.1:"),
            (on("0.0.0.0:0"), true, false, "write `tls_certificate`"),
        ] {
            let error =
                passed.check_http(configured, tls).err().map_or_else(String::new, |error| error.to_string());
            assert!(error.contains(said) && error.is_empty() == said.is_empty(), "{error}");
        }
    }
}
