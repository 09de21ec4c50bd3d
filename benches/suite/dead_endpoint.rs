//! A dead endpoint: many pending deliveries, a schedule almost without pauses, and a port where nobody listens.
//!
//! What a retry that cannot succeed costs the disk and the processor.

use std::{net::TcpListener, time::Duration};

use crate::{
    Result,
    arguments::Form,
    clock,
    daemon::{Daemon, Home, endpoint, secret},
    producer,
    report::Figures,
};

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let (pending, time): (usize, u64) = form.pick((10_000, 4), (100_000, 15));
    let about =
        format!("{pending} pending, a retry every second, connection refused; looked at for {time} s");
    let mut figures = Figures::new("dead_endpoint", about);
    let home = Home::new(&configuration(unused_port()?))?;
    let daemon = Daemon::start(&home)?;
    producer::stream(&daemon.socket(), &producer::event("bench.event"), pending)?;
    let (before, attempts, commits) = (daemon.usage()?, attempts(&daemon)?, daemon.commits()?);
    let started = clock::now();
    clock::pass(Duration::from_secs(time));
    let (usage, made) = (daemon.usage()?.since(&before), self::attempts(&daemon)? - attempts);
    let (took, commits) = ((clock::now() - started).as_secs_f64(), daemon.commits()? - commits);
    if made == 0 {
        return Err("no retry was made".into());
    }
    let retries = made as f64;
    figures.add("retries", retries / took, "/s");
    figures.add("CPU for each", usage.cpu.seconds() * 1e6 / retries, "µs");
    figures.add("  of the writer", usage.thread("outbox").seconds() * 1e6 / retries, "µs");
    figures.add("written for each", usage.written as f64 / retries, "B");
    figures.add("written", usage.written as f64 / took / 1e6, "MB/s");
    figures.add("outcomes in a commit", retries / commits.max(1) as f64, "");
    figures.add("CPU", usage.cpu.seconds() / took * 100.0, "%");
    daemon.kill()?;
    Ok(figures)
}

fn configuration(port: u16) -> String {
    let keys = format!("secret = \"{}\"\nprofile = \"eager\"", secret());
    let schedule = ["\"1s\""; 200].join(", ");
    format!("{}[profiles.eager]\nretry = [\"0s\", {schedule}]\n", endpoint("bench", port, "*", &keys))
}

/// A port where nobody listens: it was free a moment ago.
fn unused_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn attempts(daemon: &Daemon<'_>) -> Result<u64> {
    Ok(daemon.get("/v1/status")?["since_start"]["attempts"].as_u64().ok_or("no count of attempts")?)
}
