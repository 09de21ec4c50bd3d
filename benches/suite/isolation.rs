//! Isolation: what endpoints that never answer cost the others.
//!
//! One endpoint that answers at once, alone, beside one black hole, and beside forty, in turn. Half of the black holes take
//! the connection and say nothing, the others' queues are full, so that not even a connection comes about. Each has
//! deliveries waiting and a request open from the beginning, of another type: what is compared is waiting beside them, not
//! the work of more deliveries.

use std::net::{SocketAddr, TcpStream};

use tokio::{
    net::{TcpListener, TcpSocket},
    runtime,
};

use crate::{
    Result,
    arguments::Form,
    daemon::endpoint,
    latency::{self, Times},
    report::{Figures, Target, median, quantile},
};

/// The numbers of black holes that are compared; the first is what the others are held against.
const CASES: [usize; 3] = [0, 1, 40];
/// Events handed in every millisecond.
const AT_ONCE: usize = 2;
/// What waits for each black hole.
const WAITING: usize = 100;
/// The others' times are to stay within so much of what they are alone.
const TARGET: Target = Target::AtMost(1.2);

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let (rounds, seconds) = form.pick((2, 2), (15, 3));
    let about =
        format!("{}/s to one endpoint, beside endpoints that never answer; {rounds} rounds", AT_ONCE * 1000);
    let mut figures = Figures::new("isolation", about);
    // The halves and the hundredths of all rounds, by case.
    let mut halves = [const { Vec::new() }; CASES.len()];
    let mut slowest = [const { Vec::new() }; CASES.len()];
    for round in 0..rounds {
        // Another one is the first in each round: none always comes after the same.
        for turn in 0..CASES.len() {
            let case = (round + turn) % CASES.len();
            let mut micros = one(CASES[case], seconds)?;
            halves[case].push(quantile(&mut micros, 0.5));
            slowest[case].push(quantile(&mut micros, 0.99));
        }
    }
    for (case, count) in CASES.into_iter().enumerate() {
        for (words, all) in [("half", &halves), ("99 of 100", &slowest)] {
            all[case]
                .iter()
                .for_each(|micros| figures.add(&format!("beside {count:>2}: {words} within"), *micros, "µs"));
            if case > 0 {
                let ratio = median(&all[case]) / median(&all[0]);
                figures.hold(&format!("beside {count:>2}: {words}, of alone"), ratio, "×", TARGET);
            }
        }
    }
    Ok(figures)
}

/// Microseconds from handing in to the receiver, beside so many black holes.
fn one(count: usize, seconds: usize) -> Result<Vec<f64>> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let holes = runtime.block_on(async { (0..count).map(Hole::dig).collect::<Result<Vec<_>>>() })?;
    let mut configuration =
        String::from("[profiles.plain.signature]\nalgorithm = \"none\"\n[profiles.plain.headers]\n");
    for (number, hole) in holes.iter().enumerate() {
        let keys = "profile = \"plain\"";
        configuration += &endpoint(&format!("hole-{number}"), hole.address.port(), "dead.*", keys);
    }
    let times = latency::run_beside(&configuration, ("dead.event", WAITING), count, AT_ONCE, seconds)?;
    Ok(Times::between(&times.handed_in, &times.arrived))
}

/// An endpoint that never answers, for as long as this lives.
struct Hole {
    address: SocketAddr,
    _listener: TcpListener,
    /// Those that fill its queue.
    _queued: Vec<TcpStream>,
}

impl Hole {
    /// Nobody accepts; the queue of every other one has no room.
    fn dig(number: usize) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let full = number % 2 == 1;
        let listener = socket.listen(if full { 0 } else { 1024 })?;
        let address = listener.local_addr()?;
        let queued = if full { vec![TcpStream::connect(address)?] } else { Vec::new() };
        Ok(Self { address, _listener: listener, _queued: queued })
    }
}
