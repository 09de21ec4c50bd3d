//! Acknowledgements a second where 1, 16 and 256 producers hand events in, through each door; nobody subscribed.
//!
//! In turn with floor (b): the same rows in as many commits.

use std::{fs, time::Duration};

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home},
    doors::{Door, Place},
    floor::storing::{RowSizes, store},
    report::Figures,
};

/// Producers at once, and events for each round of the short form where each answer is waited for.
const CASES: [(usize, u64); 3] = [(1, 1_000), (16, 6_400), (256, 25_600)];
/// Events for each round where they come in many at a time.
const TOGETHER: u64 = 25_600;
/// Events for each round where each is a file: file systems make some thousand a second beside a program that syncs.
const FILES: u64 = 2_000;

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let (rounds, times) = form.pick((1, 1), (4, 2));
    let mut figures =
        Figures::new("producers", format!("events of 1 KiB through each door; {rounds} rounds"));
    for _ in 0..rounds {
        for door in Door::ALL {
            for (producers, events) in CASES {
                let events = match door {
                    Door::Files => FILES,
                    _ if door.is_one_by_one() => events,
                    _ => TOGETHER,
                };
                round(&mut figures, door, producers, events * times)?;
            }
        }
    }
    Ok(figures)
}

fn round(figures: &mut Figures, door: Door, producers: usize, events: u64) -> Result<()> {
    let home = Home::new("[[spool]]\npath = \"spool\"\n")?;
    // The daemon makes it too, but not before it takes events.
    fs::create_dir(home.path("spool"))?;
    let daemon = Daemon::start(&home)?;
    let place = Place { socket: daemon.socket(), spool: home.path("spool") };
    let (before, commits_before) = (daemon.usage()?, daemon.commits()?);
    let started = clock::now();
    door.hand_in(&place, producers, events)?;
    // Files are not answered: they go.
    clock::until("all events are accepted", Duration::from_millis(5), || {
        Ok((daemon.get("/v1/status")?["since_start"]["accepted"] == events).then_some(()))
    })?;
    let took = clock::now() - started;
    let usage = daemon.usage()?.since(&before);
    let commits = daemon.commits()? - commits_before;
    daemon.stop()?;
    let floor = store(&home.path("bare.redb"), RowSizes::of(&home.store())?, events, commits)?;
    let count = events as f64;
    let mut add = |name: &str, value, unit| {
        figures.add(&format!("{}, {producers:>3} producers: {name}", door.name()), value, unit);
    };
    add("acknowledged", count / took.as_secs_f64(), "/s");
    add("rate, of floor (b)'s", floor.took.as_secs_f64() / took.as_secs_f64(), "×");
    add("CPU for each", usage.cpu.seconds() * 1e6 / count, "µs");
    add("CPU, of floor (b)'s", usage.cpu.seconds() / floor.usage.cpu.seconds(), "×");
    add("events in a commit", count / commits as f64, "");
    Ok(())
}
