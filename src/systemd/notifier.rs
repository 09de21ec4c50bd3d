//! Messages to the service manager, as sd_notify(3) has them.
//!
//! They are sent by a thread of its own, in the order in which they were given: a manager that does not read holds up that
//! thread alone. When too many wait, further ones are lost.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::Notify;

/// The variable with the manager's socket.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// So many messages may wait.
const QUEUE: usize = 64;

/// Tells the service manager how things are, if there is one; clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: mpsc::SyncSender<String>,
    said: Mutex<Said>,
    stirred: Notify,
}

/// What the manager knows. With its lock messages are queued, so that they are in order.
#[derive(Debug, Default)]
struct Said {
    phase: Phase,
    status: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// A `READY=1` would end the start.
    #[default]
    Starting,
    Running,
    /// Nothing is said any more but that it takes its time.
    Stopping,
}

impl Notifier {
    /// One for the manager that started this process; where none did, nobody is told anything.
    ///
    /// # Errors
    /// There is one, and it cannot be told.
    pub fn from_env() -> io::Result<Self> {
        env::var_os(VARIABLE).map_or(Ok(Self::default()), |name| Self::to(&name))
    }

    /// One for whoever listens on the datagram socket of this name; `@` stands for an abstract one.
    pub(super) fn to(name: &OsStr) -> io::Result<Self> {
        let (address, socket) = (address(name)?, UnixDatagram::unbound()?);
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let forward = move || {
            for message in messages {
                let message: String = message;
                if let Err(error) = socket.send_to_addr(message.as_bytes(), &address) {
                    tracing::debug!(%error, "the service manager cannot be told: {message}");
                }
            }
        };
        thread::Builder::new().name("notifier".to_owned()).spawn(forward)?;
        Ok(Self(Some(Arc::new(Inner { queue, said: Mutex::default(), stirred: Notify::new() }))))
    }

    /// Whether there is a manager.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// How things are, on one line; says whether it is sent, as it says something else than before.
    pub fn status(&self, line: &str) -> bool {
        let mut sent = false;
        self.with(|said, queue| {
            let line = one_line(line);
            if said.phase != Phase::Stopping && said.status != line {
                queue.send(&[&format!("STATUS={line}")]);
                said.status = line;
                sent = true;
            }
        });
        sent
    }

    /// The start is over.
    pub fn ready(&self, line: &str) {
        self.with(|said, queue| {
            if said.phase == Phase::Starting {
                said.phase = Phase::Running;
                said.status = one_line(line);
                queue.send(&["READY=1", &format!("STATUS={}", said.status)]);
            }
        });
    }

    /// A reload begins, at so many microseconds of the monotonic clock; it is over when the result is dropped.
    pub fn reloading(&self, micros: u64) -> Reload {
        self.with(|said, queue| {
            if said.phase == Phase::Running {
                queue.send(&["RELOADING=1", &format!("MONOTONIC_USEC={micros}")]);
            }
        });
        Reload { notifier: self.clone(), refused: None }
    }

    /// The daemon stops, and may need so much time for it. Said once.
    pub fn stopping(&self, line: &str, time: Duration) {
        self.with(|said, queue| {
            if said.phase != Phase::Stopping {
                said.phase = Phase::Stopping;
                queue.send(&["STOPPING=1", &format!("STATUS={}", one_line(line)), &extend(time)]);
            }
        });
    }

    /// The start or the stop may need so much more time from now on.
    pub fn extend(&self, time: Duration) {
        self.with(|said, queue| {
            if said.phase != Phase::Running {
                queue.send(&[&extend(time)]);
            }
        });
    }

    /// Every part of the daemon is at work.
    pub fn alive(&self) {
        self.with(|said, queue| {
            if said.phase == Phase::Running {
                queue.send(&["WATCHDOG=1"]);
            }
        });
        self.stir();
    }

    /// Waits until somebody has reason to think that the status is another.
    pub async fn stirred(&self) {
        if let Some(inner) = &self.0 {
            inner.stirred.notified().await;
        }
    }

    fn stir(&self) {
        if let Some(inner) = &self.0 {
            inner.stirred.notify_one();
        }
    }

    fn with(&self, say: impl FnOnce(&mut Said, &Inner)) {
        if let Some(inner) = &self.0 {
            say(&mut inner.said(), inner);
        }
    }
}

impl Inner {
    fn said(&self) -> MutexGuard<'_, Said> {
        // It is set in whole pieces.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends these lines in one datagram.
    fn send(&self, lines: &[&str]) {
        // A manager that has not read for so long does without.
        let _ = self.queue.try_send(lines.join("\n"));
    }
}

/// A reload that the manager was told of; dropped, it is over.
#[must_use]
#[derive(Debug)]
pub struct Reload {
    notifier: Notifier,
    refused: Option<String>,
}

impl Reload {
    /// It came to nothing: what the manager is to show then.
    pub fn refused(&mut self, line: &str) {
        self.refused = Some(one_line(line));
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.notifier.with(|said, queue| match &self.refused {
            _ if said.phase != Phase::Running => {}
            Some(line) => {
                queue.send(&["READY=1", &format!("STATUS={line}")]);
                said.status.clone_from(line);
            }
            None => queue.send(&["READY=1"]),
        });
        self.notifier.stir();
    }
}

fn extend(time: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", time.as_micros())
}

/// A line break would begin another message.
fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor an abstract socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a message may take.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn manager() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time");
        let notifier = Notifier::to(path.as_os_str()).expect("a notifier");
        (place, socket, notifier)
    }

    fn next(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
    }

    #[test]
    fn each_phase_has_its_messages() {
        let (_place, socket, notifier) = manager();
        let second = Duration::from_secs(1);
        // What would end the start, or has no place in it.
        drop(notifier.reloading(1));
        notifier.alive();
        notifier.status("opening");
        notifier.status("opening");
        notifier.extend(second);
        notifier.ready("at work");
        notifier.status("at work");
        notifier.extend(second);
        drop(notifier.reloading(2));
        let mut reload = notifier.reloading(3);
        reload.refused("no:\nnot this");
        drop(reload);
        notifier.status("no: not this");
        notifier.alive();
        let late = notifier.reloading(4);
        notifier.stopping("stopping", second);
        drop(late);
        notifier.stopping("again", second);
        notifier.status("more");
        notifier.alive();
        notifier.ready("again");
        notifier.extend(second);
        for message in [
            "STATUS=opening",
            "EXTEND_TIMEOUT_USEC=1000000",
            "READY=1\nSTATUS=at work",
            "RELOADING=1\nMONOTONIC_USEC=2",
            "READY=1",
            "RELOADING=1\nMONOTONIC_USEC=3",
            "READY=1\nSTATUS=no: not this",
            "WATCHDOG=1",
            "RELOADING=1\nMONOTONIC_USEC=4",
            "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=1000000",
            "EXTEND_TIMEOUT_USEC=1000000",
        ] {
            assert_eq!(next(&socket), message);
        }
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let (_place, _socket, notifier) = manager();
        // More than the kernel and the queue hold.
        for n in 0..10_000 {
            notifier.status(&n.to_string());
        }
    }

    #[test]
    fn sockets_have_their_names() {
        for (name, taken) in [("/run/x", true), ("@x", true), ("vsock:2:1", false), ("", false), ("x", false)]
        {
            assert_eq!(address(OsStr::new(name)).is_ok(), taken, "{name}");
        }
    }

    #[test]
    fn where_no_manager_is_nothing_is_said() {
        let notifier = Notifier::default();
        assert!(!notifier.is_heard());
        notifier.ready("at work");
        drop(notifier.reloading(1));
    }
}
