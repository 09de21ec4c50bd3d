//! A long history: how soon its pages come, and what reading and forgetting it costs the deliveries.
//!
//! The history is made through the door: events that are delivered at once, and before them, so that they are the last to
//! be found, a few to an endpoint of their own. Pages are asked for one after another over one connection: the
//! newest, those of filters that find little or nothing, which walk through all of it, and those of a time long ago.
//! Deliveries at full rate are timed alone and beside a reader of the second kind, in turn; then the daemon is started
//! with a retention of a second, and they are timed while that history is forgotten, which then goes on alone.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home, endpoint, secret},
    producer,
    receiver::Receiver,
    report::{Figures, Target, quantile},
    socket::Http,
};

/// Events to the endpoint that got its own long ago.
const RARE: u64 = 20;
/// Pages that are looked at of a list that goes on.
const PAGES: usize = 200;
/// Streams that make the history.
const STREAMS: u64 = 4;
/// How far a page may be from coming at once.
const PAGE: Target = Target::AtMost(50.0);
/// What readers and forgetting may take of the deliveries' rate.
const RATE: Target = Target::AtLeast(0.5);

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let (events, delivered, rounds) = form.pick((100_000, 10_000, 2), (1_000_000, 30_000, 5));
    let about =
        format!("{events} events of 1 KiB, each delivered; {delivered} more in each of {rounds} rounds");
    let mut figures = Figures::new("history", about);
    let mut receiver = Receiver::start(&[Duration::ZERO; 2])?;
    let home = Home::new(&configuration(&receiver, ""))?;
    let daemon = Daemon::start(&home)?;
    make(&daemon, &mut receiver, events)?;
    pages(&mut figures, &daemon)?;
    for round in 0..rounds {
        beside_reader(&mut figures, &daemon, &mut receiver, delivered, round)?;
    }
    figures.add("memory, at most", daemon.memory()?.peak, "MiB");
    daemon.stop()?;
    forget(&mut figures, &home, &mut receiver, (delivered, rounds))?;
    Ok(figures)
}

fn configuration(receiver: &Receiver, store: &str) -> String {
    let keys = format!("secret = \"{}\"", secret());
    let [bench, rare] = [("bench", 0), ("rare", 1)]
        .map(|(name, port)| endpoint(name, receiver.port(port), &format!("{name}.*"), &keys));
    format!("{store}{bench}{rare}")
}

/// Makes the history.
fn make(daemon: &Daemon<'_>, receiver: &mut Receiver, events: u64) -> Result<()> {
    let socket = daemon.socket();
    receiver.expect(&[events, RARE])?;
    producer::stream(&socket, &producer::event("rare.event"), usize::try_from(RARE)?)?;
    let (count, streams) = (usize::try_from(events)?, usize::try_from(STREAMS)?);
    producer::streams(&socket, &producer::event("bench.event"), count, streams)?;
    // In whichever order: each of the two says so once.
    receiver.done()?;
    receiver.done()?;
    daemon.settled()
}

/// Asks for pages of every kind.
fn pages(figures: &mut Figures, daemon: &Daemon<'_>) -> Result<()> {
    let rare = daemon.get("/v1/endpoints?account=default")?["items"]
        .as_array()
        .and_then(|items| items.iter().find(|item| item["name"] == "rare"))
        .and_then(|item| item["id"].as_str().map(str::to_owned))
        .ok_or("the endpoint is not there")?;
    let mut http = Http::connect(&daemon.socket())?;
    for (name, path) in [
        ("the newest events, and on", "/v1/events?limit=50".to_owned()),
        ("the newest deliveries, and on", "/v1/deliveries?limit=50".to_owned()),
        ("events of a type that is rare", "/v1/events?type=rare.*&limit=50".to_owned()),
        (
            "deliveries that failed, of which there are none",
            "/v1/deliveries?status=failed&limit=50".to_owned(),
        ),
        ("the deliveries of an endpoint that is rare", format!("/v1/endpoints/{rare}/deliveries?limit=50")),
    ] {
        let mut walk = Walk::default();
        while walk.times.len() < PAGES && walk.step(&mut http, &path)? {}
        let took = walk.times.iter().sum::<f64>();
        let median = quantile(&mut walk.times, 0.5);
        figures.hold(&format!("{name}: a page, half within"), median, "ms", PAGE);
        figures.add(&format!("{name}: a page, at most"), quantile(&mut walk.times, 1.0), "ms");
        figures.add(&format!("{name}: pages"), walk.times.len() as f64, "");
        figures.add(&format!("{name}: all of them"), took, "ms");
    }
    Ok(())
}

/// A way through a list.
#[derive(Default)]
struct Walk {
    cursor: Option<String>,
    /// Milliseconds of each page.
    times: Vec<f64>,
}

impl Walk {
    /// Asks for the next page; whether there is one more.
    fn step(&mut self, http: &mut Http, path: &str) -> Result<bool> {
        let cursor = self.cursor.take().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let started = clock::now();
        let page = http.get(&format!("{path}{cursor}"))?;
        self.times.push((clock::now() - started).as_secs_f64() * 1e3);
        self.cursor = page["next_cursor"].as_str().map(str::to_owned);
        Ok(self.cursor.is_some())
    }
}

/// Deliveries a second, of so many at full rate.
fn rate(daemon: &Daemon<'_>, receiver: &mut Receiver, count: u64) -> Result<f64> {
    receiver.expect(&[count, 0])?;
    let (socket, event) = (daemon.socket(), producer::event("bench.event"));
    let number = usize::try_from(count)?;
    let started = clock::now();
    let took = thread::scope(|scope| {
        let producing = scope.spawn(|| producer::stream(&socket, &event, number));
        let done = receiver.done().map(|_| clock::now() - started);
        producing.join().expect("a producer does not panic")?;
        done
    })?;
    daemon.settled()?;
    Ok(count as f64 / took.as_secs_f64())
}

/// Times deliveries alone, and beside somebody who reads through all of the history over and over.
fn beside_reader(
    figures: &mut Figures,
    daemon: &Daemon<'_>,
    receiver: &mut Receiver,
    count: u64,
    round: usize,
) -> Result<()> {
    let mut rates = [0.0; 2];
    let mut walked = Walk::default();
    // Another one is the first in each round.
    for case in [round % 2, (round + 1) % 2] {
        rates[case] = if case == 0 {
            rate(daemon, receiver, count)?
        } else {
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                let reading = scope.spawn(|| read_until(daemon, &stop));
                let rate = rate(daemon, receiver, count);
                stop.store(true, Relaxed);
                walked = reading.join().expect("a reader does not panic")?;
                rate
            })?
        };
    }
    figures.add("delivered alone", rates[0], "/s");
    figures.add("delivered beside a reader", rates[1], "/s");
    figures.hold("beside a reader, of alone", rates[1] / rates[0], "×", RATE);
    figures.hold("a page beside deliveries, half within", quantile(&mut walked.times, 0.5), "ms", PAGE);
    figures.add("a page beside deliveries, at most", quantile(&mut walked.times, 1.0), "ms");
    Ok(())
}

fn read_until(daemon: &Daemon<'_>, stop: &AtomicBool) -> Result<Walk> {
    let mut http = Http::connect(&daemon.socket())?;
    let mut walk = Walk::default();
    while !stop.load(Relaxed) {
        walk.step(&mut http, "/v1/deliveries?status=failed&limit=50")?;
    }
    Ok(walk)
}

/// Times deliveries while the history is forgotten, and how fast that goes beside them and alone.
fn forget(
    figures: &mut Figures,
    home: &Home,
    receiver: &mut Receiver,
    (count, rounds): (u64, usize),
) -> Result<()> {
    home.configure(&configuration(receiver, "store.retention = \"1s\"\nstore.retention_failed = \"1s\"\n"))?;
    let daemon = Daemon::start(home)?;
    let whole = rows(&daemon.get("/v1/status")?)?;
    let started = clock::now();
    for _ in 0..rounds {
        figures.add("delivered while the history is forgotten", rate(&daemon, receiver, count)?, "/s");
    }
    let beside = forgotten(&daemon)?;
    figures.add("events forgotten beside deliveries", beside / seconds(started), "/s");
    let alone = clock::now();
    clock::until("the history is forgotten", Duration::from_millis(20), || {
        Ok((rows(&daemon.get("/v1/status")?)? < whole / 100.0).then_some(()))
    })?;
    figures.add("events forgotten alone", (forgotten(&daemon)? - beside) / seconds(alone), "/s");
    figures.add("memory while it is forgotten, at most", daemon.memory()?.peak, "MiB");
    figures.add("delivered when it is forgotten", rate(&daemon, receiver, count)?, "/s");
    daemon.stop().map(drop)
}

fn seconds(since: Instant) -> f64 {
    (clock::now() - since).as_secs_f64()
}

/// Events that were forgotten since the start.
fn forgotten(daemon: &Daemon<'_>) -> Result<f64> {
    let status = daemon.get("/v1/status")?;
    Ok(status["store"]["retention"]["forgotten"]["events"].as_f64().ok_or("no count of what is forgotten")?)
}

/// Bytes of rows in the store.
fn rows(status: &Value) -> Result<f64> {
    Ok(status["store"]["rows"].as_f64().ok_or("no count of rows")?)
}
