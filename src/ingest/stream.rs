//! Streams of events: one after the other in a [`Dialect`], each answered in order and in kind, after it is durable.
//!
//! A producer may send many before it reads an answer: what stands in the buffer becomes one batch, several batches
//! are on their way at once, and when too many events are, nothing more is read, so that the producer waits at its own
//! socket. A bad event is answered with an error and the stream goes on, as long as it is known where the next one begins;
//! one that is cut short by the end is refused.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::yield_now,
    time::{timeout, timeout_at},
};

use super::{
    access::Verdict,
    answer::{Answer, Code, Refusal},
    dialect::{Dialect, Frame, Frames},
    intake::{Intake, Meanwhile, Permit, Submitted, wire},
    stopped,
};
use crate::model::{account::AccountName, event::NewEvent, time::format_duration};

/// How much time a producer has.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// An event that has begun must end within this, however it trickles in.
    event: Duration,
    /// A stream that says nothing for so long is closed.
    idle: Duration,
    /// A producer that does not take its answers for so long is hung up on.
    answer: Duration,
}

impl Timing {
    const DAEMON: Self = Self {
        event: Duration::from_secs(60),
        idle: Duration::from_secs(3600),
        answer: Duration::from_secs(60),
    };
}

/// Events on their way at once, answers that the producer has not taken included; so many that a commit is worth its
/// fsync, whatever the size of the pieces in which they come.
const PIPELINE: usize = 640;
/// Events of one batch at most.
const BATCH_EVENTS: usize = 128;
/// What an event costs besides its bytes, about.
const ITEM_BYTES: usize = 512;
/// A buffer up to this size costs nothing of the budget: as many as there are connections are bounded anyway.
const FREE_BYTES: usize = 16 << 10;

/// Speaks `dialect` with whoever it is on `stream`, of which `first` was read already, until its end or until `stopping` says so.
///
/// # Errors
/// The connection broke, or its producer was too slow.
pub async fn serve(
    stream: UnixStream,
    dialect: Dialect,
    first: Vec<u8>,
    producer: (Intake, Verdict),
    stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    serve_within(stream, dialect, first, producer, stopping, Timing::DAEMON).await
}

async fn serve_within(
    stream: UnixStream,
    dialect: Dialect,
    first: Vec<u8>,
    (intake, who): (Intake, Verdict),
    stopping: watch::Receiver<bool>,
    timing: Timing,
) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut frames = Frames::new(dialect, intake.limits().event_size);
    frames.buffer().extend_from_slice(&first);
    let paused = first.len() < first.capacity();
    // Not to be kept for as long as the stream.
    drop(first);
    let session = Session {
        reader,
        frames,
        intake,
        account: who.own_account(),
        who,
        answers: sender,
        places: Arc::new(Semaphore::new(PIPELINE)),
        permit: Permit::default(),
        paused,
        begun: None,
        timing,
    };
    let mut reading = pin!(session.read(stopping));
    let mut writing = pin!(write_answers(writer, dialect, receiver, timing.answer));
    tokio::select! {
        // In this order what is durable as soon as it is read is answered in the same turn.
        biased;
        read = reading.as_mut() => writing.await.and(read),
        // The reader holds the sender: that the writer ends first is an error, and nobody is there to be answered.
        written = writing.as_mut() => written,
    }
}

/// A batch on its way, with the places of its events.
struct Batch {
    submitted: Submitted,
    places: OwnedSemaphorePermit,
}

struct Session {
    reader: OwnedReadHalf,
    frames: Frames,
    intake: Intake,
    /// Who hands events in.
    who: Verdict,
    /// Whose events are that name no account.
    account: AccountName,
    answers: mpsc::UnboundedSender<Batch>,
    /// One for each event on its way.
    places: Arc<Semaphore>,
    permit: Permit,
    /// All that the producer had sent was read.
    paused: bool,
    /// How many had ended when the one that has begun began, and when it must have ended.
    begun: Option<(u64, Instant)>,
    timing: Timing,
}

impl Session {
    async fn read(mut self, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
        loop {
            self.submit_whole().await?;
            if self.frames.is_lost() {
                return Ok(());
            }
            if let Err(refusal) = self.cover_held().await {
                return self.end_with(refusal).await;
            }
            let deadline = self.deadline();
            let buffer = self.frames.buffer();
            buffer.reserve(FREE_BYTES);
            let room = buffer.capacity() - buffer.len();
            let read = tokio::select! {
                read = timeout_at(deadline.into(), self.reader.read_buf(buffer)) => read,
                () = stopped(&mut stopping) => return Ok(()),
            };
            match read {
                Ok(Ok(0)) => return self.refuse_rest().await,
                Ok(read) => self.paused = read? < room,
                Err(_) if self.frames.held() == 0 => return Ok(()),
                Err(_) => {
                    let refusal = too_slow(self.frames.dialect(), self.timing.event);
                    return self.end_with(refusal).await;
                }
            }
        }
    }

    /// Until when more bytes must come: an event that has begun has one deadline, whatever comes of it.
    fn deadline(&mut self) -> Instant {
        let now = self.intake.clock().instant();
        if self.frames.held() == 0 {
            self.begun = None;
            return now + self.timing.idle;
        }
        let number = self.frames.number();
        match self.begun {
            Some((begun, deadline)) if begun == number => deadline,
            _ => {
                let deadline = now + self.timing.event;
                self.begun = Some((number, deadline));
                deadline
            }
        }
    }

    /// Submits the whole events that have come, in batches. A batch for which there is no room is refused: to wait
    /// for it with a part in hand might be to wait for ever.
    async fn submit_whole(&mut self) -> io::Result<()> {
        let limit = self.intake.limits().event_size;
        loop {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < BATCH_EVENTS
                && bytes <= limit
                && let Some(frame) = self.frames.next_frame()
            {
                let length = frame.source.as_ref().map_or(0, bytes::Bytes::len);
                bytes += ITEM_BYTES + self.frames.dialect().cost(length, limit);
                batch.push(frame);
            }
            if batch.is_empty() {
                return Ok(());
            }
            let meanwhile = self.meanwhile();
            let places = self.places(batch.len()).await?;
            let mut permit = std::mem::take(&mut self.permit);
            let items = match self.intake.budget().cover(&mut permit, bytes).await {
                Ok(()) => self.events(batch, &mut permit),
                Err(busy) => {
                    permit = Permit::default();
                    batch.into_iter().map(|_| Err(busy.clone())).collect()
                }
            };
            let submitted = self.intake.submit(items, permit, &self.who, meanwhile);
            let written = submitted.is_written();
            self.send(Batch { submitted, places })?;
            if written {
                // The answer goes out before there is another look for more.
                yield_now().await;
            }
        }
    }

    /// What the producer does until this batch, which was taken from what has come, is answered: one who has sent no more, and for
    /// whom nothing else is on its way, probably waits.
    fn meanwhile(&self) -> Meanwhile {
        let alone = self.places.available_permits() == PIPELINE;
        if alone && self.paused && self.frames.held() == 0 { Meanwhile::Waits } else { Meanwhile::GoesOn }
    }

    /// The events of a batch, whose permit covers what they take.
    fn events(&self, batch: Vec<Frame>, permit: &mut Permit) -> Vec<Result<NewEvent, Refusal>> {
        let mut bytes = 0;
        let mut read = |frame: Frame| {
            let length = frame.source.as_ref().map_or(0, bytes::Bytes::len);
            let event = self.frames.event(frame, &self.account);
            // A payload is a part of its source, or what was made of it.
            let payload = event.as_ref().map_or(0, |event| event.data.len());
            bytes += ITEM_BYTES + length.max(payload);
            event
        };
        let items = batch.into_iter().map(&mut read).collect();
        permit.shrink(bytes);
        items
    }

    /// Covers what is held of an event that has only begun.
    async fn cover_held(&mut self) -> Result<(), Refusal> {
        let held = self.frames.held();
        if held <= FREE_BYTES {
            return Ok(());
        }
        self.intake.budget().cover(&mut self.permit, held).await
    }

    /// Answers with a refusal, as the last word.
    async fn end_with(self, refusal: Refusal) -> io::Result<()> {
        let places = self.places(1).await?;
        let submitted =
            self.intake.submit(vec![Err(refusal)], Permit::default(), &self.who, Meanwhile::GoesOn);
        self.send(Batch { submitted, places })
    }

    async fn refuse_rest(mut self) -> io::Result<()> {
        let dialect = self.frames.dialect();
        let frames = std::mem::replace(&mut self.frames, Frames::new(dialect, 0));
        let Some((number, _)) = frames.rest() else { return Ok(()) };
        self.end_with(dialect.unterminated(number)).await
    }

    /// Waits until so many events more may be on their way.
    async fn places(&self, events: usize) -> io::Result<OwnedSemaphorePermit> {
        let events = u32::try_from(events).expect("a batch at most");
        let places = Arc::clone(&self.places).acquire_many_owned(events).await;
        places.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn send(&self, batch: Batch) -> io::Result<()> {
        self.answers.send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Says on `stream` why it is not served.
///
/// # Errors
/// The connection broke.
pub async fn refuse(mut stream: UnixStream, dialect: Dialect, refusal: Refusal) -> io::Result<()> {
    let mut answer = Vec::new();
    dialect.push_answer(&mut answer, &Answer::from(refusal));
    timeout(Timing::DAEMON.answer, stream.write_all(&answer)).await??;
    stream.shutdown().await
}

fn too_slow(dialect: Dialect, time: Duration) -> Refusal {
    let (noun, time) = (dialect.noun(), format_duration(time));
    let message = format!("{noun} that has begun must end within {time}; it was not taken");
    Refusal::new(Code::TooSlow, message)
}

async fn write_answers(
    mut writer: OwnedWriteHalf,
    dialect: Dialect,
    mut batches: mpsc::UnboundedReceiver<Batch>,
    time: Duration,
) -> io::Result<()> {
    let mut out = Vec::new();
    // Of the events whose answers are in `out`.
    let mut answered: Option<OwnedSemaphorePermit> = None;
    while let Some(Batch { submitted, places }) = batches.recv().await {
        let mut answers = pin!(submitted.answers());
        // What one commit has answered goes out in one piece.
        let answers = match poll_fn(|context| Poll::Ready(answers.as_mut().poll(context))).await {
            Poll::Ready(answers) => answers,
            Poll::Pending => {
                flush(&mut writer, &mut out, time).await?;
                answered = None;
                answers.await
            }
        };
        for answer in answers {
            dialect.push_answer(&mut out, &wire(answer));
        }
        match &mut answered {
            Some(answered) => answered.merge(places),
            none => *none = Some(places),
        }
        if batches.is_empty() || out.len() >= FREE_BYTES {
            flush(&mut writer, &mut out, time).await?;
            answered = None;
        }
    }
    writer.shutdown().await
}

async fn flush(writer: &mut OwnedWriteHalf, out: &mut Vec<u8>, time: Duration) -> io::Result<()> {
    timeout(time, writer.write_all(out)).await??;
    out.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::{io::AsyncBufReadExt as _, io::BufReader, time::interval};

    use super::*;
    use crate::{
        clock::{Chance, Clock},
        config,
        ingest::{
            callbacks::Callbacks,
            catalogs::Catalogs,
            intake::{Course, Routes},
        },
        metrics::Metrics,
        outbox::{End, Motion, Options, Outbox},
    };

    /// Nobody has to wait for long here, but for what a test is about.
    const SHORT: Timing = Timing {
        event: Duration::from_millis(100),
        idle: Duration::from_secs(3600),
        answer: Duration::from_millis(100),
    };

    /// Serves one producer, who does as `act` does, and gives back what became of the connection.
    async fn with_producer<F: Future<Output = T>, T>(
        act: impl FnOnce(UnixStream) -> F,
    ) -> (T, io::Result<()>) {
        let place = tempfile::tempdir().expect("a directory");
        let options = Options {
            cache: 1 << 20,
            quick_repair: false,
            settle_delay: Duration::from_millis(1),
            dedup_window: Duration::from_secs(3600),
            dedup_entries: 100,
            pending_per_endpoint: 100,
            max_size: 1 << 40,
            reserve: 0,
            in_flight: 1,
        };
        let opened =
            Outbox::open(&place.path().join("outbox.redb"), &options, [7; 16], &Motion::default(), |_| {})
                .expect("a store");
        let limits = config::defaults(place.path()).limits;
        let routes = Routes(HashMap::from([(AccountName::default(), Vec::new())]));
        let course = Course {
            routes: Arc::new(routes),
            catalogs: Catalogs::default(),
            callbacks: Callbacks::default(),
            limits,
        };
        let clock = Clock::start();
        let intake = Intake::new(opened.outbox.clone(), course, clock, Chance, Metrics::default());
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        let (_stop, stopping) = watch::channel(false);
        let both = async {
            tokio::join!(
                act(theirs),
                serve_within(
                    ours,
                    Dialect::Json,
                    Vec::new(),
                    (intake, Verdict::operator(0)),
                    stopping,
                    SHORT
                )
            )
        };
        let done = timeout(Duration::from_secs(60), both).await.expect("it comes to an end");
        opened.writer.close(End::Clean).expect("it closes");
        done
    }

    #[tokio::test]
    async fn a_line_that_trickles_in_is_refused_in_the_end() {
        let (answers, ended) = with_producer(|stream| async move {
            let (reader, mut writer) = stream.into_split();
            writer.write_all(b"{\"type\":\"a\"}\n{").await.expect("it is read");
            let trickle = async {
                let mut pace = interval(Duration::from_millis(5));
                // Each byte comes long before the line's time is up; all of them together never end it.
                while writer.write_all(b" ").await.is_ok() {
                    pace.tick().await;
                }
            };
            let listen = async {
                let mut lines = BufReader::new(reader).lines();
                let mut answers = Vec::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    answers.push(line);
                }
                answers
            };
            tokio::join!(listen, trickle).0
        })
        .await;
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert!(answers[0].contains("evt_") && answers[1].contains("too_slow"), "{answers:?}");
        ended.expect("it was told");
    }

    #[tokio::test]
    async fn a_producer_that_takes_no_answers_is_hung_up_on() {
        let ((), ended) = with_producer(|mut stream| async move {
            // Bad lines, whose answers are longer than they are; until the daemon has hung up.
            let lines = b"x\n".repeat(10_000);
            while stream.write_all(&lines).await.is_ok() {}
        })
        .await;
        assert_eq!(ended.expect_err("it was hung up on").kind(), io::ErrorKind::TimedOut);
    }
}
