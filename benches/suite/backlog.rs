//! A great backlog: memory, starts, and how fast it drains.
//!
//! Made through the door in two ways: for an endpoint that is held, since a credential of it is missing, and for one
//! whose first attempt comes in hours. The first kind waits in a lane and can be let go by a start with the
//! credential, the second waits in the wheel.

use std::time::Duration;

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home, endpoint, secret},
    producer,
    receiver::Receiver,
    report::{Figures, Target},
};

/// Events that are handed in between two starts; as many streams hand in the others.
const LATER: usize = 4;

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let pending: u64 = form.pick(200_000, 1_000_000);
    let about = format!("{pending} pending deliveries of events of 1 KiB, default cache");
    let mut figures = Figures::new("backlog", about);
    let mut receiver = Receiver::start(&[Duration::ZERO])?;
    in_the_wheel(&mut figures, pending, receiver.port(0))?;
    in_a_lane(&mut figures, pending, &mut receiver)?;
    Ok(figures)
}

fn in_the_wheel(figures: &mut Figures, pending: u64, port: u16) -> Result<()> {
    let keys = format!("secret = \"{}\"\nprofile = \"late\"", secret());
    let profile = "[profiles.late]\nretry = [\"6h\"]\n";
    let home = Home::new(&format!("{}{profile}", endpoint("bench", port, "*", &keys)))?;
    make(figures, &home, pending, "due in hours")?;
    restart(figures, &home, "due in hours")?.stop()?;
    Ok(())
}

fn in_a_lane(figures: &mut Figures, pending: u64, receiver: &mut Receiver) -> Result<()> {
    let mut home = Home::new(&endpoint("bench", receiver.port(0), "*", "secret = \"@credential:bench\""))?;
    make(figures, &home, pending, "held")?;
    restart(figures, &home, "held")?.stop()?;
    home.provide("bench", &secret())?;
    drain(figures, &home, pending, receiver)
}

/// Hands all events in but those that [`restart`] needs, and leaves a store that was closed.
fn make(figures: &mut Figures, home: &Home, pending: u64, case: &str) -> Result<()> {
    let daemon = Daemon::start(home)?;
    let started = clock::now();
    producer::streams(
        &daemon.socket(),
        &producer::event("bench.event"),
        usize::try_from(pending)? - LATER,
        LATER,
    )?;
    let took = clock::now() - started;
    figures.add(&format!("{case}: accepted"), pending as f64 / took.as_secs_f64(), "/s");
    let memory = daemon.memory()?;
    let most = Target::AtMost(128.0);
    figures.hold(&format!("{case}: memory when all were accepted"), memory.resident, "MiB", most);
    let stopped = daemon.stop()?;
    figures.add(&format!("{case}: clean stop"), milliseconds(stopped), "ms");
    Ok(())
}

/// Starts after a clean stop, and after a SIGKILL.
fn restart<'home>(figures: &mut Figures, home: &'home Home, case: &str) -> Result<Daemon<'home>> {
    let clean = start(figures, home, &format!("{case}: after a clean stop"), true)?;
    // Something has to be written, or there is nothing that a SIGKILL could leave open. No more than were announced: as
    // many as an endpoint may have pending by default.
    producer::stream(&clean.socket(), &producer::event("bench.event"), LATER)?;
    clean.kill()?;
    start(figures, home, &format!("{case}: after SIGKILL"), false)
}

fn start<'home>(figures: &mut Figures, home: &'home Home, case: &str, clean: bool) -> Result<Daemon<'home>> {
    let (mut daemon, ready) = Daemon::start_timed(home)?;
    let running = daemon.until("the backlog has been read", is_running)?;
    let ready_name = format!("{case}: ready after");
    if clean {
        figures.hold(&ready_name, milliseconds(ready), "ms", Target::AtMost(100.0));
    } else {
        figures.add(&ready_name, milliseconds(ready), "ms");
    }
    figures.add(&format!("{case}: running after"), milliseconds(running), "ms");
    let memory = daemon.memory()?;
    figures.add(&format!("{case}: memory, at most"), memory.peak, "MiB");
    Ok(daemon)
}

fn is_running(daemon: &Daemon<'_>) -> Result<bool> {
    Ok(daemon.get("/v1/status")?["state"] == "running")
}

/// Starts with the credential, and takes the time until all have been delivered.
fn drain(figures: &mut Figures, home: &Home, pending: u64, receiver: &mut Receiver) -> Result<()> {
    receiver.expect(&[pending])?;
    let started = clock::now();
    let daemon = Daemon::start(home)?;
    let before = daemon.usage()?;
    receiver.done()?;
    let took = clock::now() - started;
    daemon.settled()?;
    let usage = daemon.usage()?.since(&before);
    figures.add("drained, from the start of the process", pending as f64 / took.as_secs_f64(), "/s");
    figures.add("drained: CPU for each", usage.cpu.seconds() * 1e6 / pending as f64, "µs");
    figures.add("drained: written for each", usage.written as f64 / pending as f64, "B");
    let most = Target::AtMost(128.0);
    figures.hold("drained: memory, at most", daemon.memory()?.peak, "MiB", most);
    daemon.stop().map(drop)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
