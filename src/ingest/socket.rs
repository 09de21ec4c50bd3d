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
//! connection waits for it, up to [`START_TIME`]. Who has connected is known by `SO_PEERCRED`: the kernel's word, as of the
//! moment when the peer connected. [`access`](super::access) judges it before anything is read. Who is refused is told so in
//! the dialect that it speaks, within `REFUSAL_TIME`; if it says nothing, in an error line.

use std::{
    fs,
    io::{self, Cursor},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, Chain, Join, join},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    access::{Entrance, Place, Verdict},
    answer::{Code, Refusal},
    dialect::Dialect,
    intake::Intake,
    probe::Probes,
    stopped, stream,
};
use crate::{
    logging::Kind,
    policy::access::Peer,
    threads::{Booth, Booths},
};

/// How long a connection may take to its first byte.
const FIRST_BYTE_TIME: Duration = Duration::from_secs(60);
/// How long it takes at most to tell somebody that they are refused, and why.
const REFUSAL_TIME: Duration = Duration::from_secs(5);
/// How long somebody who is refused may take to their first byte.
const REFUSED_FIRST_BYTE_TIME: Duration = Duration::from_secs(1);
/// How long a connection waits for the store to be opened.
pub const START_TIME: Duration = Duration::from_secs(5);
/// Bytes that are read of a connection at most to see what is spoken on it.
const FIRST_BYTES: usize = 4 << 10;
/// After a failed accept (no descriptors left) the listener rests so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that begins with an upper-case letter; what was read of it comes once more.
pub type HttpConnection = Join<Chain<Cursor<Vec<u8>>, OwnedReadHalf>, OwnedWriteHalf>;

/// Who is at the other end of a connection: what they may do, or why they may do nothing.
pub type Guest = Result<Verdict, Refusal>;

/// The socket. Where it was bound here, its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    bound: Option<PathBuf>,
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
        Ok(Self { listener, bound: Some(path.to_owned()) })
    }

    /// Takes over what listens already, as a service manager passes it: its file stays, at the end as well, with its owner and
    /// its mode. Who has connected before waits in it. Clients look for it at `path`. Within a runtime.
    ///
    /// # Errors
    /// The system says no.
    pub fn take(listener: std::os::unix::net::UnixListener, path: &Path) -> Result<Self, BindError> {
        let failed = |what| move |source| BindError::Io { what, path: path.to_owned(), source };
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let found = listener.local_addr().map_err(failed("see what was passed for"))?;
        if found.as_pathname().map(real) != Some(real(path)) {
            tracing::warn!(
                kind = Kind::PassedElsewhere.word(),
                "the socket that the service manager passes is {found:?}, and [listen] socket is {}: write one into the other's place, or producers will look in vain",
                path.display()
            );
        }
        listener.set_nonblocking(true).map_err(failed("use what was passed for"))?;
        let listener = UnixListener::from_std(listener).map_err(failed("use what was passed for"))?;
        Ok(Self { listener, bound: None })
    }

    /// Serves connections that `entrance` lets in until `stopping` says so; then those that are open come to their end, and
    /// it returns. Between two connections it answers `probes`.
    pub async fn serve<H, F>(
        self,
        entrance: Entrance,
        doors: Doors<H>,
        mut probes: Probes,
        mut stopping: watch::Receiver<bool>,
    ) where
        H: Fn(HttpConnection, Guest) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let came = async { (entrance.door().await, self.listener.accept().await) };
            let (door, accepted) = tokio::select! {
                came = came => came,
                asked = probes.next() => {
                    // Who asked may have gone.
                    let _ = asked.send(true);
                    continue;
                }
                () = stopped(&mut stopping) => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(kind = Kind::AcceptFailed.word(), %error, "cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Where the kernel does not say who is there, nobody is served.
            let peer = match stream.peer_cred() {
                Ok(credentials) => Peer { uid: credentials.uid(), gid: credentials.gid() },
                Err(error) => {
                    tracing::warn!(kind = Kind::AcceptFailed.word(), %error, "it cannot be known who has connected");
                    continue;
                }
            };
            let (doors, stopping) = (doors.clone(), stopping.clone());
            let entrance = entrance.clone();
            if let Some(judged) = entrance.judge(peer) {
                let entered = enter(&entrance, judged, Some(door));
                connections.spawn(async move { doors.serve(stream, entered, entrance, stopping).await });
            } else {
                // Whoever is slow to say who they are keeps no operator out.
                drop(door);
                connections.spawn(async move {
                    let judged = entrance.judge_by_groups(peer).await;
                    let entered = enter(&entrance, judged, None);
                    doors.serve(stream, entered, entrance, stopping).await;
                });
            }
        }
        drop(self);
        while connections.join_next().await.is_some() {}
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.bound {
            // Nobody to tell: the next start replaces it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Somebody who is let in with their place, or why not.
type Entered = Result<(Verdict, Place), Refusal>;

fn enter(entrance: &Entrance, judged: Guest, door: Option<OwnedSemaphorePermit>) -> Entered {
    let verdict = judged?;
    let place = entrance.place(&verdict, door)?;
    Ok((verdict, place))
}

/// What is behind the socket.
#[derive(Clone)]
pub struct Doors<H> {
    /// The intake, as soon as the store is open.
    pub intake: watch::Receiver<Option<Intake>>,
    /// Speaks HTTP on a connection until it is over or the daemon stops; with somebody who is refused, for one request.
    pub http: H,
    /// Threads for those who hand in.
    pub booths: Booths,
}

impl<H, F> Doors<H>
where
    H: Fn(HttpConnection, Guest) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    async fn serve(
        self,
        stream: UnixStream,
        entered: Entered,
        entrance: Entrance,
        stopping: watch::Receiver<bool>,
    ) {
        match entered {
            Ok((verdict, _place)) => self.let_in(stream, verdict, stopping).await,
            Err(refusal) => {
                let Some(_turn) = entrance.refusal() else { return };
                // Whoever does not take it within this time does without.
                let _ = timeout(REFUSAL_TIME, self.refuse(stream, refusal)).await;
            }
        }
    }

    async fn refuse(self, stream: UnixStream, refusal: Refusal) {
        tracing::debug!("a connection is refused: {refusal}");
        let first = timeout(REFUSED_FIRST_BYTE_TIME, first_bytes(&stream)).await;
        let first = first.ok().and_then(Result::ok).unwrap_or_default();
        match first.first() {
            Some(b'A'..=b'Z') => (self.http)(once_more(first, stream), Err(refusal)).await,
            byte => {
                let dialect = byte.and_then(|byte| Dialect::of(*byte)).unwrap_or(Dialect::Json);
                end(stream::refuse(stream, dialect, refusal).await);
            }
        }
    }

    /// Waits for its first bytes; who begins to hand something in is served in a thread of its own, if one is free.
    async fn let_in(self, stream: UnixStream, who: Verdict, mut stopping: watch::Receiver<bool>) {
        let first = tokio::select! {
            first = timeout(FIRST_BYTE_TIME, first_bytes(&stream)) => first,
            () = stopped(&mut stopping) => return,
        };
        let Ok(Ok(first)) = first else { return };
        let Some(byte) = first.first() else { return };
        let hands_in = *byte == b'P' || Dialect::of(*byte).is_some();
        match hands_in.then(|| self.booths.enter()).flatten() {
            Some(booth) => self.serve_alone(booth, (stream, first), who, stopping).await,
            None => self.speak((stream, first), who, stopping).await,
        }
    }

    async fn serve_alone(
        self,
        booth: Booth,
        (stream, first): (UnixStream, Vec<u8>),
        who: Verdict,
        stopping: watch::Receiver<bool>,
    ) {
        let stream = stream.into_std();
        let serve = async move {
            // That thread hears of it from now on.
            match stream.and_then(UnixStream::from_std) {
                Ok(stream) => self.speak((stream, first), who.alone(), stopping).await,
                Err(error) => end(Err(error)),
            }
        };
        booth.run(serve).await;
    }

    /// Speaks what `first` begins, which was read of it.
    async fn speak(
        self,
        (stream, first): (UnixStream, Vec<u8>),
        who: Verdict,
        stopping: watch::Receiver<bool>,
    ) {
        match (first.first(), first.first().and_then(|byte| Dialect::of(*byte))) {
            (Some(b'A'..=b'Z'), _) => (self.http)(once_more(first, stream), Ok(who)).await,
            (_, Some(dialect)) => end(self.stream((stream, first), dialect, who, stopping).await),
            (_, None) => end(stream::refuse(stream, Dialect::Json, unknown_dialect()).await),
        }
    }

    async fn stream(
        mut self,
        (stream, first): (UnixStream, Vec<u8>),
        dialect: Dialect,
        who: Verdict,
        stopping: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let open = timeout(START_TIME, self.intake.wait_for(Option::is_some)).await;
        let intake = open.ok().and_then(Result::ok).and_then(|intake| intake.clone());
        match intake {
            Some(intake) => stream::serve(stream, dialect, first, (intake, who), stopping).await,
            None => stream::refuse(stream, dialect, starting()).await,
        }
    }
}

/// Waits for what is said first on a connection; nothing: it has ended. No room is held for one who says nothing.
async fn first_bytes(stream: &UnixStream) -> io::Result<Vec<u8>> {
    loop {
        stream.readable().await?;
        let mut first = Vec::with_capacity(FIRST_BYTES);
        match stream.try_read_buf(&mut first) {
            Ok(_) => return Ok(first),
            // It was not so after all.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The connection with what was read of it before all else.
fn once_more(first: Vec<u8>, stream: UnixStream) -> HttpConnection {
    let (reader, writer) = stream.into_split();
    join(Cursor::new(first).chain(reader), writer)
}

/// The refusal while the store is being opened.
pub fn starting() -> Refusal {
    Refusal::new(Code::Starting, "the store is being opened; hand the event in again in a moment")
}

fn unknown_dialect() -> Refusal {
    let message = "speak HTTP/1.1, or JSON lines: an event such as {\"type\":\"a.b\",\"data\":{}} on each line; \
                   or MessagePack: one such map after the other";
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
