//! Acknowledgements a second where 1, 16 and 256 producers each wait for every answer; nobody subscribed.
//!
//! In turn with floor (b): the same rows in as many commits.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    runtime,
    task::JoinSet,
};

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home},
    floor::storing::{RowSizes, store},
    producer,
    report::Figures,
};

/// Producers at once, and events for each round of the short form.
const CASES: [(usize, u64); 3] = [(1, 1_000), (16, 8_000), (256, 30_000)];

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let (rounds, times) = form.pick((2, 1), (4, 2));
    let about = format!("events of 1 KiB, each producer waits for every answer; {rounds} rounds");
    let mut figures = Figures::new("producers", about);
    for _ in 0..rounds {
        for (producers, events) in CASES {
            round(&mut figures, producers, events * times)?;
        }
    }
    Ok(figures)
}

fn round(figures: &mut Figures, producers: usize, events: u64) -> Result<()> {
    let home = Home::new("")?;
    let daemon = Daemon::start(&home)?;
    let (before, commits_before) = (daemon.usage()?, daemon.commits()?);
    let started = clock::now();
    hand_in(&daemon.socket(), producers, events)?;
    let took = clock::now() - started;
    let usage = daemon.usage()?.since(&before);
    let commits = daemon.commits()? - commits_before;
    daemon.stop()?;
    let floor = store(&home.path("bare.redb"), RowSizes::of(&home.store())?, events, commits)?;
    let count = events as f64;
    let mut add =
        |name: &str, value, unit| figures.add(&format!("{producers:>3} producers: {name}"), value, unit);
    add("acknowledged", count / took.as_secs_f64(), "/s");
    add("floor (b)", count / floor.took.as_secs_f64(), "/s");
    add("rate, of floor (b)'s", floor.took.as_secs_f64() / took.as_secs_f64(), "×");
    add("CPU for each", usage.cpu.seconds() * 1e6 / count, "µs");
    add("CPU, of floor (b)'s", usage.cpu.seconds() / floor.usage.cpu.seconds(), "×");
    add("events in a commit", count / commits as f64, "");
    add("written for each", usage.written as f64 / count, "B");
    Ok(())
}

/// Hands in `events` by so many producers, which are tasks of one thread.
fn hand_in(socket: &Path, producers: usize, events: u64) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let line: Arc<str> = format!("{}\n", producer::event("bench.event")).into();
    let left = Arc::new(AtomicU64::new(events));
    runtime.block_on(async {
        let mut all = JoinSet::new();
        for _ in 0..producers {
            let stream = UnixStream::connect(socket).await?;
            all.spawn(one(stream, Arc::clone(&line), Arc::clone(&left)));
        }
        while let Some(ended) = all.join_next().await {
            ended??;
        }
        Ok(())
    })
}

async fn one(stream: UnixStream, line: Arc<str>, left: Arc<AtomicU64>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
        stream.write_all(line.as_bytes()).await?;
        answer.clear();
        stream.read_line(&mut answer).await?;
        if !answer.starts_with(r#"{"id":"#) {
            return Err(format!("an event was answered: {answer}").into());
        }
    }
    Ok(())
}
