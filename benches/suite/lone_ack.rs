//! The lone acknowledgement: one producer that waits for each answer, and beside it a bare commit of the same rows.
//!
//! In turn, again and again: an event over a stream, one over HTTP, a bare commit on the same file system, and one that
//! is handed over between threads as often; what disturbs the disk disturbs all of them. With an endpoint a commit holds
//! the outcome of the event before as well, and so do the bare ones.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home, signed_endpoint},
    floor::{
        handing::Handing,
        storing::{Bare, RowSizes},
    },
    producer,
    receiver::Receiver,
    report::{Figures, Target, median, quantile},
    socket::{self, Http},
};

/// Turns of a block, of which medians are taken.
const BLOCK: usize = 25;
/// What is measured in turn.
const WAYS: [&str; 4] = ["stream", "HTTP", "bare commit", "bare commit handed over"];

/// In these orders each way follows each of the others equally often, and none itself: whose threads were awake just
/// before favours nobody.
const ORDERS: [[usize; WAYS.len()]; 4] = [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]];

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let blocks = form.pick(20, 60);
    let about = format!("one producer that waits for each answer; {blocks} times {BLOCK} events each way");
    let mut figures = Figures::new("lone_ack", about);
    let receiver = Receiver::start(&[Duration::ZERO])?;
    one_case(&mut figures, "no endpoint", "", blocks)?;
    let endpoint = signed_endpoint("bench", receiver.port(0));
    one_case(&mut figures, "one endpoint", &endpoint, blocks)?;
    Ok(figures)
}

fn one_case(figures: &mut Figures, case: &str, configuration: &str, blocks: usize) -> Result<()> {
    let home = Home::new(configuration)?;
    let sizes = sizes(&home)?;
    let mut bare = Bare::create(&home.path("bare.redb"), sizes)?;
    let mut handing = Handing::start(Bare::create(&home.path("handed.redb"), sizes)?)?;
    let daemon = Daemon::start(&home)?;
    let mut stream = Stream::connect(&daemon.socket())?;
    let mut http = Http::connect(&daemon.socket())?;
    let event = producer::event("bench.event");
    let (line, request) = (format!("{event}\n"), socket::post(&event));
    let mut all = [const { Vec::new() }; WAYS.len()];
    for _ in 0..blocks {
        let mut block = [const { Vec::new() }; WAYS.len()];
        for turn in 0..BLOCK {
            for way in ORDERS[turn % ORDERS.len()] {
                block[way].push(match way {
                    0 => time(|| stream.hand_in(&line))?,
                    1 => time(|| http.hand_in(&request))?,
                    2 => time(|| bare.commit(1))?,
                    _ => time(|| handing.commit(line.as_bytes()))?,
                });
            }
        }
        let medians = [0, 1, 2, 3].map(|way: usize| median(&block[way]));
        for (way, micros) in WAYS.into_iter().zip(medians) {
            figures.add(&format!("{case}: {way}"), micros, "µs");
        }
        let [by_stream, by_http, floor, handed] = medians;
        let target = Target::AtMost(1.3);
        figures.hold(&format!("{case}: stream, of a bare commit"), by_stream / floor, "×", target);
        figures.hold(&format!("{case}: HTTP, of a bare commit"), by_http / floor, "×", target);
        figures.add(&format!("{case}: stream, of one handed over"), by_stream / handed, "×");
        figures.add(&format!("{case}: HTTP, of one handed over"), by_http / handed, "×");
        figures.add(&format!("{case}: one handed over, of a bare commit"), handed / floor, "×");
        all.iter_mut().zip(block).for_each(|(all, block)| all.extend(block));
    }
    add_spread(figures, case, &mut all);
    daemon.stop().map(drop)
}

/// The quickest quarter, which a busy disk disturbs least, and the slowest hundredth.
fn add_spread(figures: &mut Figures, case: &str, all: &mut [Vec<f64>; WAYS.len()]) {
    for (way, times) in WAYS.into_iter().zip(all) {
        figures.add(&format!("{case}: {way}, a quarter within"), quantile(times, 0.25), "µs");
        figures.add(&format!("{case}: {way}, 99 of 100 within"), quantile(times, 0.99), "µs");
    }
}

/// How long the rows of an event are with this configuration.
fn sizes(home: &Home) -> Result<RowSizes> {
    let daemon = Daemon::start(home)?;
    producer::stream(&daemon.socket(), &producer::event("bench.event"), 1)?;
    daemon.settled()?;
    daemon.stop()?;
    RowSizes::of(&home.store())
}

/// Microseconds of one.
fn time(one: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = clock::now();
    one()?;
    Ok((clock::now() - started).as_secs_f64() * 1e6)
}

/// A stream of JSON lines, one event at a time.
struct Stream {
    stream: BufReader<UnixStream>,
    answer: String,
}

impl Stream {
    fn connect(socket: &Path) -> Result<Self> {
        Ok(Self { stream: BufReader::new(socket::connect(socket)?), answer: String::new() })
    }

    fn hand_in(&mut self, line: &str) -> Result<()> {
        self.stream.get_mut().write_all(line.as_bytes())?;
        self.answer.clear();
        self.stream.read_line(&mut self.answer)?;
        if self.answer.starts_with(r#"{"id":"#) {
            return Ok(());
        }
        Err(format!("an event was answered: {}", self.answer).into())
    }
}
