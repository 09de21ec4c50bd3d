//! The doors, as producers use them: each hands in events of 1 KiB until all are handed in, and looks at every answer.
//!
//! Producers are tasks of one thread, so that they take little from the daemon; those that write files are threads.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    runtime,
    task::JoinSet,
};

use crate::{Result, producer, socket::post};

/// Events of a request or a file with many.
const MANY: u64 = 100;
/// Events that a producer sends at once where it does not wait for each answer: before it reads those to the events before.
const AHEAD: u64 = 64;
/// The answer to an event of a stream of JSON lines that is accepted.
const LINE: Answer =
    Answer { begins: br#"{"id":"evt_"#, length: r#"{"id":"evt_00000000000000000000000000"}"#.len() + 1 };
/// The same as a MessagePack map of one pair of texts.
const MAP: Answer =
    Answer { begins: b"\x81\xa2id\xbeevt_", length: 5 + "evt_00000000000000000000000000".len() };

/// A way to hand events in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// A request for each event, on a connection that is kept open.
    Http,
    /// A request for [`MANY`] events.
    Ndjson,
    /// A stream of JSON lines; each answer is waited for.
    Lines,
    /// The same, [`AHEAD`] events ahead of the answers.
    LinesAhead,
    /// A stream of MessagePack; each answer is waited for.
    MessagePack,
    /// The same, [`AHEAD`] events ahead of the answers.
    MessagePackAhead,
    /// A spool file for each event, made as fast as it goes.
    Files,
    /// A spool file for [`MANY`] events.
    FilesOfMany,
}

impl Door {
    pub(crate) const ALL: [Self; 8] = [
        Self::Http,
        Self::Ndjson,
        Self::Lines,
        Self::LinesAhead,
        Self::MessagePack,
        Self::MessagePackAhead,
        Self::Files,
        Self::FilesOfMany,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Ndjson => "NDJSON, 100 a request",
            Self::Lines => "JSON lines",
            Self::LinesAhead => "JSON lines, 64 ahead",
            Self::MessagePack => "MessagePack",
            Self::MessagePackAhead => "MessagePack, 64 ahead",
            Self::Files => "files",
            Self::FilesOfMany => "files of 100",
        }
    }

    /// Whether a producer waits for the answer to each event.
    pub(crate) const fn is_one_by_one(self) -> bool {
        matches!(self, Self::Http | Self::Lines | Self::MessagePack)
    }

    /// Hands in `events`, by so many producers; returns when the last has been answered, or the last file made.
    pub(crate) fn hand_in(self, place: &Place, producers: usize, events: u64) -> Result<()> {
        let work = Work(Arc::new(AtomicU64::new(events)));
        if matches!(self, Self::Files | Self::FilesOfMany) {
            return self.write_files(&place.spool, producers, &work);
        }
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut all = JoinSet::new();
            for _ in 0..producers {
                let stream = BufReader::new(UnixStream::connect(&place.socket).await?);
                all.spawn(self.produce(stream, work.clone()));
            }
            while let Some(ended) = all.join_next().await {
                ended??;
            }
            Ok(())
        })
    }

    async fn produce(self, stream: BufReader<UnixStream>, work: Work) -> Result<()> {
        let event = producer::event("bench.event");
        match self {
            Self::Http => requests(stream, post(&event), 1, work).await,
            Self::Ndjson => {
                let body = format!("{event}\n").repeat(usize::try_from(MANY)?);
                requests(stream, ndjson(&body), MANY, work).await
            }
            Self::Lines => converse(stream, format!("{event}\n").as_bytes(), LINE, 1, work).await,
            Self::LinesAhead => converse(stream, format!("{event}\n").as_bytes(), LINE, AHEAD, work).await,
            Self::MessagePack => converse(stream, &message(&event)?, MAP, 1, work).await,
            Self::MessagePackAhead => converse(stream, &message(&event)?, MAP, AHEAD, work).await,
            Self::Files | Self::FilesOfMany => Err("files are not made through a socket".into()),
        }
    }

    fn write_files(self, spool: &Path, producers: usize, work: &Work) -> Result<()> {
        let event = producer::event("bench.event");
        let (many, text, extension) = match self {
            Self::FilesOfMany => (MANY, format!("{event}\n").repeat(usize::try_from(MANY)?), "ndjson"),
            _ => (1, event, "json"),
        };
        thread::scope(|scope| {
            let write = |producer| {
                let (work, text) = (work.clone(), text.as_str());
                scope.spawn(move || {
                    while work.take(many) > 0 {
                        let number = work.left();
                        let hidden = spool.join(format!(".{producer}"));
                        fs::write(&hidden, text)?;
                        fs::rename(hidden, spool.join(format!("{number}-{producer}.{extension}")))?;
                    }
                    Ok(())
                })
            };
            let producers: Vec<_> = (0..producers).map(write).collect();
            producers.into_iter().try_for_each(|one| one.join().expect("a producer does not panic"))
        })
    }
}

/// Where the doors are.
pub(crate) struct Place {
    pub(crate) socket: PathBuf,
    pub(crate) spool: PathBuf,
}

/// Events that are left to be handed in, by all producers together.
#[derive(Clone)]
struct Work(Arc<AtomicU64>);

impl Work {
    /// Takes so many of them; 0 when that many are not left.
    fn take(&self, events: u64) -> u64 {
        let taken = self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(events));
        taken.map_or(0, |_| events)
    }

    fn left(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What accepts an event on a stream: all such answers are of one length.
#[derive(Clone, Copy)]
struct Answer {
    begins: &'static [u8],
    length: usize,
}

impl Answer {
    async fn read(self, stream: &mut BufReader<UnixStream>, events: u64) -> Result<()> {
        let mut answers = vec![0; self.length * usize::try_from(events)?];
        stream.read_exact(&mut answers).await?;
        match answers.chunks(self.length).find(|answer| !answer.starts_with(self.begins)) {
            Some(other) => Err(format!("an event was answered: {}", String::from_utf8_lossy(other)).into()),
            None => Ok(()),
        }
    }
}

/// Sends events on a stream, so many at once, and reads the answers of those before.
async fn converse(
    mut stream: BufReader<UnixStream>,
    event: &[u8],
    answer: Answer,
    at_once: u64,
    work: Work,
) -> Result<()> {
    let events = event.repeat(usize::try_from(at_once)?);
    let mut ahead = 0;
    while work.take(at_once) > 0 {
        stream.get_mut().write_all(&events).await?;
        if at_once == 1 {
            answer.read(&mut stream, 1).await?;
        } else {
            answer.read(&mut stream, ahead).await?;
            ahead = at_once;
        }
    }
    answer.read(&mut stream, ahead).await
}

/// Sends a request again and again, and waits for each answer.
async fn requests(
    mut stream: BufReader<UnixStream>,
    request: Vec<u8>,
    events: u64,
    work: Work,
) -> Result<()> {
    while work.take(events) > 0 {
        stream.get_mut().write_all(&request).await?;
        let body = response(&mut stream).await?;
        let accepted = body.split(|byte| *byte == b'{').filter(|item| item.starts_with(br#""id":"evt_"#));
        if u64::try_from(accepted.count())? != events {
            return Err(format!("a request was answered: {}", String::from_utf8_lossy(&body)).into());
        }
    }
    Ok(())
}

async fn response(stream: &mut BufReader<UnixStream>) -> Result<Vec<u8>> {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err("the daemon hung up".into());
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// The request that hands in many events.
fn ndjson(body: &str) -> Vec<u8> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

/// The same event as MessagePack.
fn message(event: &str) -> Result<Vec<u8>> {
    Ok(rmp_serde::to_vec_named(&serde_json::from_str::<Value>(event)?)?)
}
