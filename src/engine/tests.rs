//! The engine between a real store and a receiver on loopback.

mod callbacks;
mod changes;
mod clock;

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    backlog::sweep_once,
    endpoints::{Endpoints, Parts, adopt::course},
    retention::Forgetter,
    settings::Workshop,
    *,
};
use crate::{
    config::Config,
    delivery::client::{self, Client},
    ingest::{
        catalogs::Catalogs,
        intake::{Course, Intake},
    },
    model::{
        attempt::Attempt,
        event::{NewEvent, Seq},
    },
    outbox::{Addressed, Batch, End, Entry, Motion, Opened, Options, Outbox, Routed, Writer},
};

const ID_KEY: [u8; 16] = *b"sixteen bytes ok";

pub(super) fn open(directory: &TempDir) -> Opened {
    let options = Options {
        cache: 4 << 20,
        quick_repair: false,
        settle_delay: Duration::ZERO,
        dedup_window: Duration::from_secs(60),
        dedup_entries: 1_000,
        pending_per_endpoint: 100_000,
        max_size: 1 << 40,
        reserve: 0,
        in_flight: 1,
    };
    Outbox::open(&directory.path().join("store.redb"), &options, ID_KEY, &Motion::default(), |_| {})
        .expect("the store opens")
}

/// A configuration with one endpoint, at this address.
fn config(directory: &Path, receiver: &TcpListener) -> Config {
    let file = directory.join("posthaste.toml");
    let url = format!("http://{}/hook", receiver.local_addr().expect("an address"));
    let endpoint = format!("[[endpoint]]\nname = \"e\"\nurl = \"{url}\"\nevent_types = [\"*\"]\n");
    fs::write(&file, endpoint + "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n").expect("a file");
    config::load_with(&file, None).expect("a configuration")
}

fn workshop(config: &Config) -> Workshop {
    let client = Client::new(config.rules(), Clock::start(), client::Options::default()).expect("a client");
    Workshop::new(config, &client, BTreeMap::new(), None).expect("endpoints")
}

/// A running engine.
struct Running {
    outbox: Outbox,
    writer: Writer,
    directory: Arc<Directory>,
    intake: Intake,
    endpoints: Endpoints,
    clock: Clock,
    metrics: Metrics,
    handle: Handle,
    stop: watch::Sender<Stop>,
    engine: JoinHandle<Result<(), StoreError>>,
}

impl Running {
    /// With the endpoints of `config`.
    async fn start(opened: Opened, config: &Config) -> Self {
        Self::start_at(opened, config, Clock::start()).await
    }

    /// With a clock that may be set by hand.
    async fn start_at(opened: Opened, config: &Config, clock: Clock) -> Self {
        let metrics = Metrics::default();
        clock.resume(opened.clocks.mark, opened.clocks.seen);
        opened.outbox.mark(clock.mark(), false);
        let workshop = Arc::new(workshop(config));
        let outbox = opened.outbox.clone();
        let judged = workshop.judge(&outbox.read().and_then(|reader| reader.endpoints()).expect("endpoints"));
        let stored = outbox.configure(workshop.wanted(), judged, clock.wall()).await.expect("stored");
        let directory = Arc::new(Directory::new(stored, Arc::clone(&workshop), outbox.id_key()));
        let engine = Engine::new(
            &opened,
            Arc::clone(&directory),
            &config.limits,
            (clock, config.network.require_clock),
            Chance,
            metrics.clone(),
        );
        let course = Course {
            routes: Arc::new(directory.routes()),
            ..course(&workshop, config.limits, &Catalogs::default())
        };
        let intake = Intake::new(outbox.clone(), course, clock, Chance, metrics.clone());
        let endpoints = Endpoints::new(Parts {
            outbox: outbox.clone(),
            directory: Arc::clone(&directory),
            intake: intake.clone(),
            engine: engine.handle(),
            forgetter: Forgetter::new(outbox.clone(), clock, workshop.retention()),
            clock,
            chance: Chance,
            runtime: tokio::runtime::Handle::current(),
        });
        let (handle, stop) = (engine.handle(), watch::Sender::new(Stop::Run));
        let engine = tokio::spawn(engine.run(opened.notices, stop.subscribe()));
        let writer = opened.writer;
        Self { outbox, writer, directory, intake, endpoints, clock, metrics, handle, stop, engine }
    }

    /// Until the backlog is read.
    async fn is_running(&self) {
        while !self.handle.overview().await.running {}
    }

    async fn end(self) {
        self.stop.send_replace(Stop::Drain);
        self.engine.await.expect("no panic").expect("the store is well");
        self.writer.mark(self.clock.mark());
        self.writer.close(End::Clean).expect("it closes");
    }
}

async fn accept(outbox: &Outbox, count: usize, due: Timestamp, data: Bytes) {
    let deliveries = vec![Addressed { endpoint: EndpointNumber::new(1), due, entry: Entry::Never }];
    let event = NewEvent::new("default".parse().expect("an account"), "a.b".parse().expect("a type"), data);
    let routed = || Routed { event: event.clone(), deliveries: deliveries.clone(), callback: None };
    let events = (0..count).map(|_| routed()).collect();
    outbox
        .accept(Batch { at: due, age: due, clock_unset: false, events, file: None, room: None })
        .answer()
        .await
        .expect("the store takes them");
}

fn delivery(outbox: &Outbox, seq: u64) -> (Delivery, Vec<Attempt>) {
    let key = DeliveryKey { seq: Seq::new(seq), slot: 0 };
    let reader = outbox.read().expect("a reader");
    let (_, delivery) = reader.delivery(key).expect("it is read").expect("it is there");
    let attempts = reader.attempts(delivery.last_attempt, 10).expect("attempts are read");
    (delivery, attempts)
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

/// Takes a request of `length` bytes of body, and answers with success.
async fn answer(stream: &mut TcpStream, length: usize) -> io::Result<String> {
    answer_with(stream, length, "200 OK").await
}

async fn answer_with(stream: &mut TcpStream, length: usize, status: &str) -> io::Result<String> {
    let mut request = Vec::new();
    let head = loop {
        let end = request.windows(4).position(|four| four == b"\r\n\r\n");
        match end {
            Some(end) if request.len() >= end + 4 + length => break end,
            _ if stream.read_buf(&mut request).await? == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    };
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    Ok(String::from_utf8_lossy(&request[..head]).into_owned())
}

#[tokio::test]
async fn what_is_accepted_is_delivered_and_recorded() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let config = config(directory.path(), &receiver);
    let running = Running::start(open(&directory), &config).await;
    let mut heads = Vec::new();
    // The larger one is read elsewhere.
    for (done, size) in [(1, 2), (2, 200 << 10)] {
        let data = format!("\"{}\"", "x".repeat(size - 2));
        accept(&running.outbox, 1, running.clock.now(), data.into()).await;
        let mut connection = receiver.accept().await.expect("a connection").0;
        heads.push(answer(&mut connection, size).await.expect("a request"));
        while running.metrics.succeeded.get() < done {
            tokio::task::yield_now().await;
        }
    }
    for (seq, head) in [1, 2].into_iter().zip(heads) {
        let (delivery, attempts) = delivery(&running.outbox, seq);
        assert_eq!((delivery.state, delivery.attempt), (State::Succeeded, 1), "counted when it is on disk");
        let [attempt] = &attempts[..] else { panic!("one attempt: {attempts:?}") };
        let report = &attempt.report;
        assert!(!report.signature.is_empty() && report.signatures.contains(&report.signature));
        assert!(head.contains(&report.signatures), "what was sent is what is recorded: {head}");
    }
    assert_eq!((running.outbox.depths().total(), running.metrics.attempts.get()), (0, 2));
    running.end().await;
    assert!(!open(&directory).unclean);
}

#[tokio::test]
async fn what_is_held_for_an_endpoint_that_has_gone_expires() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let mut config = config(directory.path(), &receiver);
    let opened = open(&directory);
    let wanted = workshop(&config).wanted();
    opened.outbox.configure(wanted, Vec::new(), Timestamp::EPOCH).await.expect("stored");
    // More than a step of the sweep, and more than a page.
    accept(&opened.outbox, 6_000, Timestamp::RELEASED, Bytes::from_static(b"{}")).await;
    accept(&opened.outbox, 1, Clock::start().now(), Bytes::from_static(b"{}")).await;
    opened.writer.close(End::Clean).expect("it closes");

    config.endpoints.clear();
    let running = Running::start(open(&directory), &config).await;
    running.is_running().await;
    assert_eq!(running.outbox.depths().total(), 6_001);
    sweep_once(&running.outbox, &running.directory, running.clock, &running.handle).await.expect("swept");
    assert_eq!(running.outbox.depths().total(), 1, "the sweep ends when all is on disk");
    assert_eq!(running.metrics.failed.get(), 6_000);
    assert_eq!(delivery(&running.outbox, 6_000).0.state, State::Failed(FailReason::Expired));
    assert_eq!(delivery(&running.outbox, 6_001).0.state, State::Pending);
    sweep_once(&running.outbox, &running.directory, running.clock, &running.handle).await.expect("swept");
    assert_eq!(running.metrics.failed.get(), 6_000, "once");
    running.end().await;
}

#[tokio::test]
async fn what_waits_for_memory_does_not_begin_when_the_daemon_drains() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let mut config = config(directory.path(), &receiver);
    config.limits.in_flight_bytes = 1;
    let running = Running::start(open(&directory), &config).await;
    let data = Bytes::from_static(b"{}");
    accept(&running.outbox, 2, running.clock.now(), data).await;
    let mut first = receiver.accept().await.expect("a connection").0;
    while running.handle.overview().await.in_flight < 2 {}
    running.stop.send_replace(Stop::Drain);
    while running.handle.overview().await.in_flight > 1 {}
    answer(&mut first, 2).await.expect("a request");
    running.end().await;
    let opened = open(&directory);
    let states = [1, 2].map(|seq| delivery(&opened.outbox, seq).0);
    assert_eq!(states.map(|delivery| delivery.attempt), [1, 0]);
    assert_eq!(states.map(|delivery| delivery.state), [State::Succeeded, State::Pending]);
    opened.writer.close(End::Clean).expect("it closes");
}

/// More is pending than memory has room for, over a restart; none of it is lost, and none is delivered twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_has_no_room_for_is_parked_and_delivered_in_the_end() {
    const COUNT: usize = 3_000;
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), listen().await);
    let mut config = config(directory.path(), &receiver);
    config.limits.keys_in_memory = 1_000;
    let parked = |outbox: &Outbox| outbox.read().expect("a reader").parked().expect("they are counted");
    // Nobody takes anything yet.
    config.endpoints[0].missing_credentials = vec!["none".to_owned()];
    let running = Running::start(open(&directory), &config).await;
    for _ in 0..3 {
        accept(&running.outbox, COUNT / 3, running.clock.now(), Bytes::from_static(b"{}")).await;
    }
    while parked(&running.outbox) < 2_750 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.handle.overview().await.turn, 250, "half of the half that is for what is due");
    running.end().await;

    let (sender, mut heads) = mpsc::unbounded_channel();
    config.endpoints[0].missing_credentials.clear();
    let taking = tokio::spawn(async move {
        while let Ok((mut stream, _)) = receiver.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let head = answer(&mut stream, 2).await.expect("a request");
                let _ = sender.send(head);
            });
        }
    });
    let running = Running::start(open(&directory), &config).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..COUNT {
        let head = heads.recv().await.expect("a request");
        let id = head.lines().find_map(|line| line.strip_prefix("webhook-id: ")).expect("an id").to_owned();
        assert!(ids.insert(id), "none comes twice");
    }
    while running.metrics.succeeded.get() < COUNT as u64 {
        tokio::task::yield_now().await;
    }
    assert_eq!((parked(&running.outbox), running.outbox.depths().total()), (0, 0));
    let overview = running.handle.overview().await;
    assert_eq!((overview.due, overview.turn, overview.in_flight), (0, 0, 0), "no key is left");
    running.end().await;
    taking.abort();
}
