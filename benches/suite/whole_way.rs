//! The whole way at full rate: accepted, committed, signed, sent, answered, settled; as fast as it goes.
//!
//! Each round runs, one after the other: the daemon with one producer, the daemon with several, floor (a), floor (b) with as
//! many commits as the daemon made of as many events, and floor (c). Producer and receiver are on the same
//! cores as the daemon, as the receiver is on those of floor (a).

use std::{thread, time::Duration};

use crate::{
    Error, Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home, signed_endpoint},
    floor::{
        Floor,
        appending::append,
        sending::Sending,
        storing::{RowSizes, store},
    },
    machine::Cores,
    process::Usage,
    producer,
    receiver::Receiver,
    report::{Figures, Target},
};

const STREAMS: usize = 4;

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let (events, rounds) = form.pick((20_000, 3), (60_000, 5));
    let about = format!("{events} events of 1 KiB, one endpoint, full rate; {rounds} rounds");
    let mut figures = Figures::new("whole_way", about);
    let mut receiver = Receiver::start(&[Duration::ZERO])?;
    let mut sending = Sending::start(receiver.port(0))?;
    for _ in 0..rounds {
        let way = go(&mut receiver, events, 1)?;
        let several = go(&mut receiver, events, STREAMS)?;
        receiver.expect(&[events])?;
        let (receiver_before, cores) = (receiver.usage()?, Cores::now()?);
        let sent = sending.send(events)?;
        let cores = (Cores::now()? - cores).of(sent.took);
        receiver.done()?;
        let receiver_sent = receiver.usage()?.since(&receiver_before);
        let scratch = Home::new("")?;
        let stored = store(&scratch.path("bare.redb"), way.sizes, events, way.commits)?;
        let bytes = events * u64::try_from(way.sizes.total())?;
        let appended = append(&scratch.path("bare.log"), bytes, way.commits)?;
        add_way(&mut figures, &way, "");
        add_floors(&mut figures, events, &sent, &stored, &appended);
        figures.add("floor (a), signed requests: cores idle meanwhile", cores.idle, "");
        add_ratios(&mut figures, &way, &sent, &stored);
        add_rates_by_cpu(&mut figures, &way, (&sent, &receiver_sent), &stored);
        let written = way.usage.written as f64 / stored.usage.written as f64;
        figures.add("written, of floor (b)", written, "×");
        add_several(&mut figures, &several);
    }
    Ok(figures)
}

/// What the daemon took for all events.
pub(crate) struct Way {
    pub(crate) events: u64,
    /// From the first byte handed in to the last answer of the receiver.
    pub(crate) took: Duration,
    /// From the first byte handed in to the last acknowledgement.
    pub(crate) accepted: Duration,
    pub(crate) usage: Usage,
    pub(crate) receiver: Usage,
    /// Until the receiver's last answer.
    cores: Cores,
    pub(crate) commits: u64,
    pub(crate) peak_memory: f64,
    pub(crate) sizes: RowSizes,
}

impl Way {
    /// Deliveries a second.
    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }

    /// Microseconds of so many seconds, for each event.
    fn micros(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.events as f64
    }
}

/// One daemon with an empty store, and `events` through it from so many producers.
pub(crate) fn go(receiver: &mut Receiver, events: u64, streams: usize) -> Result<Way> {
    let home = Home::new(&signed_endpoint("bench", receiver.port(0)))?;
    let daemon = Daemon::start(&home)?;
    receiver.expect(&[events])?;
    let (before, receiver_before, commits) = (daemon.usage()?, receiver.usage()?, daemon.commits()?);
    let (socket, event) = (daemon.socket(), producer::event("bench.event"));
    let count = usize::try_from(events)?;
    let cores = Cores::now()?;
    let started = clock::now();
    let (accepted, took) = thread::scope(|scope| {
        let producing = scope
            .spawn(|| producer::streams(&socket, &event, count, streams).map(|()| clock::now() - started));
        let done = receiver.done().map(|_| clock::now() - started);
        let accepted = producing.join().expect("a producer does not panic")?;
        Ok::<_, Error>((accepted, done?))
    })?;
    let cores = (Cores::now()? - cores).of(took);
    daemon.settled()?;
    let usage = daemon.usage()?.since(&before);
    let receiver = receiver.usage()?.since(&receiver_before);
    let (commits, peak_memory) = (daemon.commits()? - commits, daemon.memory()?.peak);
    daemon.stop()?;
    let sizes = RowSizes::of(&home.store())?;
    Ok(Way { events, took, accepted, usage, receiver, cores, commits, peak_memory, sizes })
}

fn add_way(figures: &mut Figures, way: &Way, of: &str) {
    let events = way.events as f64;
    let mut add = |name: &str, value, unit| figures.add(&format!("{name}{of}"), value, unit);
    add("delivered", way.rate(), "/s");
    add("accepted meanwhile, until the last one", events / way.accepted.as_secs_f64(), "/s");
    let writer = way.usage.thread("outbox");
    let runtime = way.usage.thread("posthaste");
    let cpu = way.usage.cpu;
    add("CPU for each delivery", way.micros(cpu.seconds()), "µs");
    add("  of the writer, user", way.micros(writer.user), "µs");
    add("  of the writer, system", way.micros(writer.system), "µs");
    add("  of the runtime, user", way.micros(runtime.user), "µs");
    add("  of the runtime, system", way.micros(runtime.system), "µs");
    let doors = way.usage.thread("doors").seconds() + way.usage.thread("booth").seconds();
    add("  of the doors", way.micros(doors), "µs");
    let rest = cpu.seconds() - writer.seconds() - runtime.seconds() - doors;
    add("  of other threads", way.micros(rest.max(0.0)), "µs");
    add("CPU of the receiver for each", way.micros(way.receiver.cpu.seconds()), "µs");
    let busy = (cpu.seconds() + way.receiver.cpu.seconds()) / way.took.as_secs_f64();
    add("cores busy with daemon and receiver", busy, "");
    add("cores busy with interrupts", way.cores.interrupts, "");
    add("cores idle meanwhile", way.cores.idle, "");
    add("written for each event", way.usage.written as f64 / events, "B");
    add("  of that rows", way.sizes.total() as f64, "B");
    add("times asleep for each event", way.usage.voluntary() as f64 / events, "");
    add("times displaced for each event", way.usage.involuntary() as f64 / events, "");
    add("events and outcomes in a commit, each", events / way.commits as f64, "");
    add("peak memory", way.peak_memory, "MiB");
}

fn add_floors(figures: &mut Figures, events: u64, sent: &Floor, stored: &Floor, appended: &Floor) {
    let events = events as f64;
    let mut add = |name: &str, floor: &Floor| {
        figures.add(&format!("{name}: rate"), events / floor.took.as_secs_f64(), "/s");
        figures.add(&format!("{name}: CPU for each"), floor.usage.cpu.seconds() * 1e6 / events, "µs");
    };
    add("floor (a), signed requests", sent);
    add("floor (b), the same rows and commits", stored);
    add("floor (c), the same bytes and fdatasyncs", appended);
    figures.add("floor (b), written for each event", stored.usage.written as f64 / events, "B");
}

fn add_ratios(figures: &mut Figures, way: &Way, sent: &Floor, stored: &Floor) {
    let floors = sent.usage.cpu.seconds() + stored.usage.cpu.seconds();
    let cpu = way.usage.cpu.seconds() / floors;
    figures.hold("CPU, of floors (a) + (b)", cpu, "×", Target::AtMost(1.5));
    let writer = way.usage.thread("outbox").seconds() / stored.usage.cpu.seconds();
    figures.add("  the writer's, of floor (b)", writer, "×");
    let runtime = (way.usage.cpu.seconds() - way.usage.thread("outbox").seconds()) / sent.usage.cpu.seconds();
    figures.add("  all other, of floor (a)", runtime, "×");
    let rate = sent.took.as_secs_f64() / way.took.as_secs_f64();
    figures.hold("rate, of floor (a)'s", rate, "×", Target::AtLeast(0.6));
}

/// What the rates would be if nothing but CPU counted, and cores were idle as long with the one as with the other.
fn add_rates_by_cpu(figures: &mut Figures, way: &Way, (sent, receiver): (&Floor, &Usage), stored: &Floor) {
    let floor = sent.usage.cpu.seconds() + receiver.cpu.seconds();
    let of = |daemon: f64| floor / (daemon + way.receiver.cpu.seconds());
    let floors = sent.usage.cpu.seconds() + stored.usage.cpu.seconds();
    figures.add("  by CPU alone", of(way.usage.cpu.seconds()), "×");
    figures.add("  by CPU alone, with 1.5 × floors (a) + (b)", of(1.5 * floors), "×");
    figures.add("  by CPU alone, with floors (a) + (b) and nothing else", of(floors), "×");
}

fn add_several(figures: &mut Figures, way: &Way) {
    figures.add("with four producers: delivered", way.rate(), "/s");
    let cpu = way.micros(way.usage.cpu.seconds());
    figures.add("with four producers: CPU for each", cpu, "µs");
}
