//! Messages to the service manager, as sd_notify(3) has them.
//!
//! They are sent by a thread of its own, in the order in which they were given: a manager that does not read holds up that
//! thread alone. When too many wait, what says how things are just then is left out, and comes again with the next look; where
//! even the end of a reload could find no room, reloads are not told of. What the manager must not miss always finds room.

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
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::sync::Notify;

/// The variable with the manager's socket.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// So many messages may wait.
const QUEUE: usize = 64;
/// As long as fewer wait, `STATUS=`, `WATCHDOG=1` and `EXTEND_TIMEOUT_USEC=` are sent.
const NEWS: usize = QUEUE / 2;
/// As long as fewer wait, `RELOADING=1` is: there is room for it, for the `READY=1` that has to follow, and for `STOPPING=1`.
const RELOADS: usize = QUEUE - 2;

/// Tells the service manager how things are, if there is one; clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: mpsc::Sender<String>,
    /// How many messages wait. It grows with the lock of `said` alone.
    waiting: Arc<AtomicUsize>,
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
    /// Of how things are nothing is said until a `READY=1`, which would be taken for what came of it.
    Reloading,
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
        let (queue, messages) = mpsc::channel::<String>();
        let waiting = Arc::<AtomicUsize>::default();
        let sent = Arc::clone(&waiting);
        let forward = move || {
            for message in messages {
                if let Err(error) = socket.send_to_addr(message.as_bytes(), &address) {
                    tracing::debug!(%error, "the service manager cannot be told: {message}");
                }
                // Relaxed, here and below: nothing is ordered by it.
                sent.fetch_sub(1, Ordering::Relaxed);
            }
        };
        thread::Builder::new().name("notifier".to_owned()).spawn(forward)?;
        Ok(Self(Some(Arc::new(Inner { queue, waiting, said: Mutex::default(), stirred: Notify::new() }))))
    }

    /// Whether there is a manager.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// How things are, on one line; says whether it is sent: it says something else than before, no reload goes on, and there is room.
    pub fn status(&self, line: &str) -> bool {
        let mut sent = false;
        self.with(|said, queue| {
            let line = one_line(line);
            let is_heard = matches!(said.phase, Phase::Starting | Phase::Running);
            if is_heard && said.status != line && queue.send(NEWS, &[&format!("STATUS={line}")]) {
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
                queue.end(said, Some(line));
            }
        });
    }

    /// A reload begins, at so many microseconds of the monotonic clock; it is over when the result is dropped. One at a time.
    pub fn reloading(&self, micros: u64) -> Reload {
        self.with(|said, queue| {
            let begins = ["RELOADING=1", &format!("MONOTONIC_USEC={micros}")];
            if said.phase == Phase::Running && queue.send(RELOADS, &begins) {
                said.phase = Phase::Reloading;
            }
        });
        Reload { notifier: self.clone(), refused: None }
    }

    /// The daemon stops, and may need so much time for it. Said once.
    pub fn stopping(&self, line: &str, time: Duration) {
        self.with(|said, queue| {
            if said.phase != Phase::Stopping {
                said.phase = Phase::Stopping;
                let line = format!("STATUS={}", one_line(line));
                queue.send(QUEUE, &["STOPPING=1", &line, &extend(time)]);
            }
        });
    }

    /// The start or the stop may need so much more time from now on.
    pub fn extend(&self, time: Duration) {
        self.with(|said, queue| {
            if matches!(said.phase, Phase::Starting | Phase::Stopping) {
                queue.send(NEWS, &[&extend(time)]);
            }
        });
    }

    /// Every part of the daemon is at work.
    pub fn alive(&self) {
        self.with(|said, queue| {
            if matches!(said.phase, Phase::Running | Phase::Reloading) {
                queue.send(NEWS, &["WATCHDOG=1"]);
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

    /// Sends `READY=1`, with the line that there is.
    fn end(&self, said: &mut Said, line: Option<&str>) {
        match line.map(one_line) {
            Some(line) => {
                if self.send(QUEUE, &["READY=1", &format!("STATUS={line}")]) {
                    said.status = line;
                }
            }
            None => drop(self.send(QUEUE, &["READY=1"])),
        }
    }

    /// Sends these lines in one datagram if fewer than `most` wait; says whether it does.
    fn send(&self, most: usize, lines: &[&str]) -> bool {
        let has_room = self.waiting.load(Ordering::Relaxed) < most;
        if has_room {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        has_room && self.queue.send(lines.join("\n")).is_ok()
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
        self.refused = Some(line.to_owned());
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.notifier.with(|said, queue| {
            if said.phase == Phase::Reloading {
                said.phase = Phase::Running;
                queue.end(said, self.refused.as_deref());
            }
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
        assert!(!notifier.status("too early"), "it would be shown as what came of the reload");
        notifier.alive();
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
            "WATCHDOG=1",
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
    fn however_much_waits_the_manager_misses_no_end() {
        // Nothing is taken from the queue.
        let (queue, messages) = mpsc::channel();
        let (waiting, said, stirred) = (Arc::default(), Mutex::default(), Notify::new());
        let notifier = Notifier(Some(Arc::new(Inner { queue, waiting, said, stirred })));
        let told = (0..1_000).filter(|n| notifier.status(&n.to_string())).count();
        assert_eq!(told, NEWS);
        notifier.extend(Duration::ZERO);
        notifier.ready("at work");
        for n in 0..100 {
            notifier.alive();
            drop(notifier.reloading(n));
        }
        assert!(!notifier.status("more"), "it comes again");
        notifier.stopping("stopping", Duration::ZERO);
        notifier.extend(Duration::ZERO);

        let heard: Vec<_> = messages.try_iter().collect();
        assert_eq!(heard.len(), QUEUE);
        assert!(heard[..NEWS].iter().all(|text| text.starts_with("STATUS=")), "{heard:?}");
        assert_eq!(heard[NEWS], "READY=1\nSTATUS=at work");
        for (n, pair) in heard[NEWS + 1..QUEUE - 1].chunks(2).enumerate() {
            assert_eq!(pair, [format!("RELOADING=1\nMONOTONIC_USEC={n}"), "READY=1".to_owned()]);
        }
        assert!(heard[QUEUE - 1].starts_with("STOPPING=1\n"), "{heard:?}");
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
