//! An idle daemon: its memory, and how often its threads wake up.
//!
//! Two daemons at once, each with a store and an endpoint of its own: one that has just been started, and one that has
//! delivered some events. They are looked at when connections that were open then have been closed. They need no
//! processor meanwhile, so other benchmarks run beside this one.

use std::{sync::mpsc::Sender, time::Duration};

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home, signed_endpoint},
    process::Usage,
    producer,
    receiver::Receiver,
    report::{Figures, Target},
};

/// Events of the traffic before.
const EVENTS: usize = 5_000;

/// So many seconds after the traffic its connections have been closed.
const QUIET: u64 = 40;

/// Runs the benchmark; tells `quiet` when nothing but waiting is left.
pub(crate) fn run(form: Form, quiet: &Sender<()>) -> Result<Figures> {
    let time = form.pick(30, 120);
    let about = format!("looked at for {time} s, {QUIET} s after the start and the last event");
    let mut figures = Figures::new("idle", about);
    let receiver = Receiver::start(&[Duration::ZERO])?;
    let endpoint = signed_endpoint("bench", receiver.port(0));
    let (fresh, used) = (Home::new(&endpoint)?, Home::new(&endpoint)?);
    let (fresh, used) = (Daemon::start(&fresh)?, Daemon::start(&used)?);
    producer::stream(&used.socket(), &producer::event("bench.event"), EVENTS)?;
    used.settled()?;
    // Who does not want to know has gone.
    let _ = quiet.send(());
    clock::pass(Duration::from_secs(QUIET));
    let usages = [fresh.usage()?, used.usage()?];
    clock::pass(Duration::from_secs(time));
    let cases = ["after the start", "after 5,000 events"];
    for ((case, daemon), before) in cases.into_iter().zip([&fresh, &used]).zip(&usages) {
        add(&mut figures, case, daemon, &daemon.usage()?.since(before), time)?;
    }
    Ok(figures)
}

fn add(figures: &mut Figures, case: &str, daemon: &Daemon<'_>, usage: &Usage, time: u64) -> Result<()> {
    let minutes = time as f64 / 60.0;
    let resident = daemon.memory()?.resident;
    let target = case.ends_with("start").then_some(Target::AtMost(16.0));
    match target {
        Some(target) => figures.hold(&format!("{case}: memory"), resident, "MiB", target),
        None => figures.add(&format!("{case}: memory"), resident, "MiB"),
    }
    let wakes = usage.voluntary() as f64 / minutes;
    figures.hold(&format!("{case}: wake-ups"), wakes, "/min", Target::AtMost(10.0));
    figures.add(&format!("{case}: CPU"), usage.cpu.seconds() * 1e3 / minutes, "ms/min");
    Ok(())
}
