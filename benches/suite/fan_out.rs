//! Fan-out: every event to one endpoint and to ten, whose receivers are fast, or take 5 ms or 50 ms.
//!
//! An endpoint has at most 16 requests open, so one that takes 50 ms gets at most 320 a second. Among ten of different
//! speed the fast ones should be done as if the slow ones were not there.

use std::time::Duration;

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home, signed_endpoint},
    producer,
    receiver::Receiver,
    report::Figures,
};

const FAST: u64 = 0;
const MIDDLE: u64 = 5;
const SLOW: u64 = 50;
/// Requests that an endpoint has open at most.
const WINDOW: f64 = 16.0;

/// A case: its name, its receivers' delays in milliseconds, and the events of the short form.
type Case = (&'static str, &'static [u64], u64);

const CASES: [Case; 6] = [
    ("one, fast", &[FAST], 10_000),
    ("one, 5 ms", &[MIDDLE], 5_000),
    ("one, 50 ms", &[SLOW], 600),
    ("four, fast", &[FAST; 4], 1_000),
    ("ten, fast", &[FAST; 10], 2_000),
    ("four fast, three 5 ms, three 50 ms", &[0, 0, 0, 0, 5, 5, 5, 50, 50, 50], 1_000),
];

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let (rounds, times) = form.pick((1, 1), (3, 3));
    let about = format!("every event to all endpoints, 16 requests open to each at most; {rounds} rounds");
    let mut figures = Figures::new("fan_out", about);
    for _ in 0..rounds {
        for (name, delays, events) in CASES {
            case(&mut figures, name, delays, events * times)?;
        }
    }
    Ok(figures)
}

fn case(figures: &mut Figures, name: &str, delays: &[u64], events: u64) -> Result<()> {
    let waits: Vec<_> = delays.iter().map(|delay| Duration::from_millis(*delay)).collect();
    let mut receiver = Receiver::start(&waits)?;
    let endpoints =
        (0..delays.len()).map(|index| signed_endpoint(&format!("e{index}"), receiver.port(index)));
    let home = Home::new(&endpoints.collect::<String>())?;
    let daemon = Daemon::start(&home)?;
    receiver.expect(&vec![events; delays.len()])?;
    let before = daemon.usage()?;
    let started = clock::now();
    producer::stream(&daemon.socket(), &producer::event("bench.event"), usize::try_from(events)?)?;
    let mut took = vec![0.0; delays.len()];
    for _ in delays {
        let index = receiver.done()?;
        took[index] = (clock::now() - started).as_secs_f64();
    }
    daemon.settled()?;
    let usage = daemon.usage()?.since(&before);
    let deliveries = (events * u64::try_from(delays.len())?) as f64;
    let longest = took.iter().copied().fold(0.0, f64::max);
    figures.add(&format!("{name}: delivered"), deliveries / longest, "/s");
    figures.add(&format!("{name}: CPU for each"), usage.cpu.seconds() * 1e6 / deliveries, "µs");
    figures.add(&format!("{name}: written for each"), usage.written as f64 / deliveries, "B");
    add_speeds(figures, name, delays, &took, events as f64);
    daemon.stop().map(drop)
}

/// How fast the endpoints of each speed were: a slow one against what its window allows.
fn add_speeds(figures: &mut Figures, name: &str, delays: &[u64], took: &[f64], events: f64) {
    for speed in [FAST, MIDDLE, SLOW] {
        let of = delays.iter().zip(took).filter(|(delay, _)| **delay == speed).map(|(_, took)| *took);
        let Some(last) = of.reduce(f64::max) else { continue };
        if speed != FAST {
            let allowed = WINDOW * 1e3 / speed as f64;
            figures.add(&format!("{name}: {speed} ms, of what 16 open allow"), events / last / allowed, "×");
        } else if delays.len() > 1 {
            figures.add(&format!("{name}: each fast one"), events / last, "/s");
        }
    }
}
