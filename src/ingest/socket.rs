//! The Unix socket: one listener, and the first byte of a connection decides what is spoken on it.
//!
//! | first byte | dialect |
//! | --- | --- |
//! | `A`–`Z` | HTTP/1.1, the API |
//! | `{` or white space | JSON lines |
//! | that of a map in MessagePack: `0x80`–`0x8f`, `0xde`, `0xdf` | MessagePack, an item each |
//! | anything else | an error line, and the end |
//!
//! Connections are bounded in number, and each in the time until its first byte. While the store is being opened a
//! connection waits for it, up to [`START_TIME`]. Who speaks HTTP is known by `SO_PEERCRED`: the kernel's word, as of the
//! moment when the peer connected.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    answer::{Code, Refusal},
    dialect::Dialect,
    intake::Intake,
    stopped, stream,
};

/// Connections at once; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may take to its first byte.
const FIRST_BYTE_TIME: Duration = Duration::from_secs(60);
/// How long a connection waits for the store to be opened.
pub const START_TIME: Duration = Duration::from_secs(5);
/// After a failed accept (no descriptors left) the listener rests so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that begins with an upper-case letter; what was read of it is still in the buffer.
pub type HttpConnection = BufReader<UnixStream>;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user that the process had when it connected.
    pub uid: u32,
}

/// The bound socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers on it.
    #[error("{0} is in use: another program listens on it")]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{0} is there and is no socket; move it away, or set [listen] socket to another path")]
    NoSocket(PathBuf),
    /// The system said no.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl Socket {
    /// Binds `path` with the permissions `mode`. A socket that nobody listens on is replaced, a live one never.
    ///
    /// # Errors
    /// Somebody listens there, something else lies there, or the system says no.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        let failed = |what| move |source| BindError::Io { what, path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
        }
        remove_stale(path)?;
        // Bound under a name of its own, closed to everybody but us, then opened as far as `mode` says and renamed: at
        // no time may more people in, or find nothing there. The umask is the process's; nothing else makes files yet.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let _ = fs::remove_file(&temporary);
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(&temporary);
        rustix::process::umask(before);
        let listener = bound.map_err(failed("bind"))?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))
            .map_err(failed("set the mode of"))?;
        fs::rename(&temporary, path).map_err(failed("put in place"))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves connections until `stopping` says so; then those that are open come to their end, and it returns.
    /// `http` speaks HTTP on a connection until it is over or the daemon stops.
    pub async fn serve<H, F>(self, doors: Doors<H>, mut stopping: watch::Receiver<bool>)
    where
        H: Fn(HttpConnection, Peer) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopped(&mut stopping) => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let doors = doors.clone();
            let stopping = stopping.clone();
            connections.spawn(async move {
                let _place = place;
                doors.serve(stream, stopping).await;
            });
        }
        drop(self);
        while connections.join_next().await.is_some() {}
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody to tell: the next start replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// What is behind the socket.
#[derive(Clone)]
pub struct Doors<H> {
    /// The intake, as soon as the store is open.
    pub intake: watch::Receiver<Option<Intake>>,
    /// Speaks HTTP on a connection.
    pub http: H,
}

impl<H, F> Doors<H>
where
    H: Fn(HttpConnection, Peer) -> F,
    F: Future<Output = ()>,
{
    async fn serve(self, stream: UnixStream, mut stopping: watch::Receiver<bool>) {
        // Where the kernel does not say who is there, nobody is served.
        let peer = match stream.peer_cred() {
            Ok(credentials) => Peer { uid: credentials.uid() },
            Err(error) => return tracing::warn!(%error, "it cannot be known who has connected"),
        };
        let mut stream = BufReader::new(stream);
        let first = tokio::select! {
            first = timeout(FIRST_BYTE_TIME, stream.fill_buf()) => first,
            () = stopped(&mut stopping) => return,
        };
        let Ok(Ok([first, ..])) = first else { return };
        match (*first, Dialect::of(*first)) {
            (b'A'..=b'Z', _) => (self.http)(stream, peer).await,
            (_, Some(dialect)) => end(self.stream(stream, dialect, stopping).await),
            (_, None) => end(stream::refuse(stream.into_inner(), Dialect::Json, unknown_dialect()).await),
        }
    }

    async fn stream(
        mut self,
        stream: BufReader<UnixStream>,
        dialect: Dialect,
        stopping: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let first = stream.buffer().to_vec();
        let stream = stream.into_inner();
        let open = timeout(START_TIME, self.intake.wait_for(Option::is_some)).await;
        let intake = open.ok().and_then(Result::ok).and_then(|intake| intake.clone());
        match intake {
            Some(intake) => stream::serve(stream, dialect, &first, intake, stopping).await,
            None => stream::refuse(stream, dialect, starting()).await,
        }
    }
}

/// The refusal while the store is being opened.
pub fn starting() -> Refusal {
    Refusal::new(Code::Starting, "the store is being opened; hand the event in again in a moment")
}

fn unknown_dialect() -> Refusal {
    let message = "speak HTTP/1.1, or JSON lines: an event such as {\"type\":\"a.b\",\"data\":{}} on each line; \
                   or MessagePack: such a map after the other";
    Refusal::new(Code::UnknownDialect, message)
}

fn end(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |what| move |source| BindError::Io { what, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the stale socket"))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(failed("look who listens on")(error))
        }
        _ => Err(BindError::InUse(path.to_owned())),
    }
}
