//! How soon an acknowledged event is on the wire: from the acknowledgement to the first byte at the receiver.
//!
//! A receiver may see an event before its producer has read the acknowledgement: both are told at the same moment, and then
//! the time is less than none.
//!
//! At half of the full rate, which is measured first. Producer and receiver are threads of this process, with one
//! clock. Every millisecond as many events are handed in as the rate asks for; each carries its number.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime,
};

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home, endpoint, secret},
    producer,
    receiver::{Receiver, request_length},
    report::{Figures, quantile},
    socket, whole_way,
};

const TICK: Duration = Duration::from_millis(1);
/// Where an event's number stands.
const MARK: &str = "0000000#";

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let (seconds, probe) = form.pick((3, 10_000), (10, 50_000));
    let full = whole_way::go(&mut Receiver::start(&[Duration::ZERO])?, probe, 1)?.rate();
    let mut figures =
        Figures::new("latency", format!("one endpoint, at half of {full:.0}/s, for {seconds} s"));
    for part in [0.5, 0.1] {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few at a time")]
        let at_once = ((full * part * TICK.as_secs_f64()).round() as usize).max(1);
        measure(&mut figures, at_once, seconds)?;
    }
    Ok(figures)
}

/// Nanoseconds after the beginning, of each event: handed in, acknowledged, and arrived. 0: not yet.
pub(crate) struct Times {
    /// When somebody first asked.
    started: OnceLock<Instant>,
    pub(crate) handed_in: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
    pub(crate) arrived: Vec<AtomicU64>,
    left: Mutex<usize>,
    all_arrived: Condvar,
}

impl Times {
    fn new(count: usize) -> Arc<Self> {
        let zeros = || (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            started: OnceLock::new(),
            handed_in: zeros(),
            acknowledged: zeros(),
            arrived: zeros(),
            left: Mutex::new(count),
            all_arrived: Condvar::new(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from((clock::now() - self.started()).as_nanos()).expect("the run is short")
    }

    fn started(&self) -> Instant {
        *self.started.get_or_init(clock::now)
    }

    fn arrive(&self, number: usize, at: u64) {
        self.arrived[number].store(at, Relaxed);
        let mut left = self.left.lock().expect("no panic under the lock");
        *left -= 1;
        if *left == 0 {
            self.all_arrived.notify_one();
        }
    }

    fn wait(&self) -> Result<()> {
        let left = self.left.lock().expect("no panic under the lock");
        let waited = self.all_arrived.wait_timeout_while(left, Duration::from_secs(60), |left| *left > 0);
        let (left, _) = waited.expect("no panic under the lock");
        if *left == 0 { Ok(()) } else { Err(format!("{left} events did not arrive").into()) }
    }

    /// Microseconds from one to the other; less than none where the other came first.
    pub(crate) fn between(from: &[AtomicU64], to: &[AtomicU64]) -> Vec<f64> {
        let micros = |at: &AtomicU64| at.load(Relaxed) as f64 / 1e3;
        from.iter().zip(to).map(|(from, to)| micros(to) - micros(from)).collect()
    }
}

fn measure(figures: &mut Figures, at_once: usize, seconds: usize) -> Result<()> {
    let times = run_beside("", ("none", 0), 0, at_once, seconds)?;
    let rate = at_once * 1000;
    let mut add = |name: &str, mut micros: Vec<f64>| {
        for (words, part) in [("half", 0.5), ("99 of 100", 0.99)] {
            figures.add(&format!("{rate}/s: {name}, {words} within"), quantile(&mut micros, part), "µs");
        }
    };
    add("acknowledgement to receiver", Times::between(&times.acknowledged, &times.arrived));
    add("handed in to acknowledgement", Times::between(&times.handed_in, &times.acknowledged));
    add("handed in to receiver", Times::between(&times.handed_in, &times.arrived));
    Ok(())
}

/// Has events delivered to one endpoint, beside what else is in `configuration`, after so many events of another type, and
/// when `open` requests wait for an answer.
pub(crate) fn run_beside(
    configuration: &str,
    (other, count): (&str, usize),
    open: usize,
    at_once: usize,
    seconds: usize,
) -> Result<Arc<Times>> {
    let times = Times::new(at_once * seconds * 1000);
    let port = receive(&times)?;
    let bench = endpoint("bench", port, "bench.*", &format!("secret = \"{}\"", secret()));
    let home = Home::new(&(bench + configuration))?;
    let daemon = Daemon::start(&home)?;
    producer::stream(&daemon.socket(), &producer::event(other), count)?;
    clock::until("the requests to others are open", Duration::from_millis(5), || {
        let in_flight =
            daemon.get("/v1/status")?["pending"]["in_flight"].as_u64().ok_or("no count of requests")?;
        Ok((in_flight >= u64::try_from(open)?).then_some(()))
    })?;
    let stream = socket::connect(&daemon.socket())?;
    let answers = stream.try_clone()?;
    thread::scope(|scope| {
        let reading = scope.spawn(|| read(answers, &times));
        produce(stream, &times, at_once)?;
        reading.join().expect("reading does not panic")
    })?;
    times.wait()?;
    // What waits for others would hold up its stopping.
    daemon.kill()?;
    Ok(times)
}

/// Hands `at_once` events in every [`TICK`].
fn produce(mut stream: UnixStream, times: &Times, at_once: usize) -> Result<()> {
    let event = producer::event("bench.event").replacen(&"0123456789abcdef"[..MARK.len()], MARK, 1);
    let (before, after) = event.split_once(MARK).expect("it was put there");
    let mut lines = Vec::new();
    for (tick, handed_in) in times.handed_in.chunks(at_once).enumerate() {
        clock::pass_until(times.started() + TICK * u32::try_from(tick + 1)?);
        lines.clear();
        for index in 0..handed_in.len() {
            writeln!(lines, "{before}{:07}#{after}", tick * at_once + index)?;
        }
        let now = times.now();
        for at in handed_in {
            at.store(now, Relaxed);
        }
        stream.write_all(&lines)?;
    }
    Ok(())
}

/// Reads the answers: they come in the order of the events.
fn read(stream: UnixStream, times: &Times) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    for at in &times.acknowledged {
        answer.clear();
        stream.read_line(&mut answer)?;
        if !answer.starts_with(r#"{"id":"#) {
            return Err(format!("an event was answered: {answer}").into());
        }
        at.store(times.now(), Relaxed);
    }
    Ok(())
}

/// Starts a receiver on a thread, which lives as long as this process; its port.
fn receive(times: &Arc<Times>) -> Result<u16> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let port = listener.local_addr()?.port();
    let times = Arc::clone(times);
    thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&times)));
            }
        });
    });
    Ok(port)
}

async fn serve(mut stream: TcpStream, times: Arc<Times>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(16 << 10);
    while stream.read_buf(&mut buffer).await? > 0 {
        let first_byte = times.now();
        let length = loop {
            match request_length(&buffer) {
                Some(length) if length <= buffer.len() => break length,
                _ if stream.read_buf(&mut buffer).await? == 0 => return Ok(()),
                _ => {}
            }
        };
        times.arrive(number(&buffer[..length])?, first_byte);
        buffer.advance(length);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
    Ok(())
}

/// The number of the event in a request.
fn number(request: &[u8]) -> Result<usize> {
    let request = std::str::from_utf8(request)?;
    let (_, text) = request.split_once(r#"{"text":""#).ok_or("a request without a number")?;
    Ok(text[..MARK.len() - 1].parse()?)
}
