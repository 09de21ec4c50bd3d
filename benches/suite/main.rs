//! posthaste's figures, by one command: `cargo bench`, or `cargo bench -- [--long] [--json FILE] [NAME…]`.
//!
//! The daemon under test is the built binary in a directory of its own, driven through its socket and looked at from
//! outside, through `/proc`. Machines are noisy: so every figure that can have one stands beside a floor, what the bare
//! parts of the same work cost, measured in the same run, in turn with it, round by round; what is printed is
//! the median of the rounds. Nothing is asserted. What the figures mean stands in `docs/performance.md`.
//!
//! Receiver and floors are processes of their own, this program again: see [`helper`].

#![allow(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

mod arguments;
mod backlog;
mod clock;
mod daemon;
mod dead_endpoint;
mod doors;
mod fan_out;
mod floor;
mod helper;
mod history;
mod idle;
mod isolation;
mod latency;
mod lone_ack;
mod machine;
mod process;
mod producer;
mod producers;
mod receiver;
mod report;
mod socket;
mod template;
mod whole_way;

use std::{env, fs, process::ExitCode, sync::mpsc, thread};

use serde_json::{Value, json};

use crate::{
    arguments::{Arguments, Form},
    floor::{appending, sending, storing},
    report::Figures,
};

/// The daemon's, so that the floors have it as well.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What can go wrong here is told to a person, and handled by nobody.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

/// A benchmark: its name, and what runs it.
type Benchmark = (&'static str, fn(Form) -> Result<Figures>);

const BENCHMARKS: [Benchmark; 10] = [
    ("whole_way", whole_way::run),
    ("lone_ack", lone_ack::run),
    ("producers", producers::run),
    ("backlog", backlog::run),
    ("fan_out", fan_out::run),
    ("dead_endpoint", dead_endpoint::run),
    ("latency", latency::run),
    ("isolation", isolation::run),
    ("template", template::run),
    ("history", history::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [first, role, rest @ ..] if first == helper::ARGUMENT => help(role, rest),
        _ => Arguments::parse(arguments.into_iter()).and_then(|arguments| run(&arguments)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn help(role: &str, arguments: &[String]) -> Result<()> {
    helper::end_with_parent();
    match role {
        receiver::ROLE => receiver::run(arguments),
        sending::ROLE => sending::run(arguments),
        storing::ROLE => storing::run(arguments),
        appending::ROLE => appending::run(arguments),
        _ => Err(format!("no helper is a {role}").into()),
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    println!("{}", machine::words());
    let mut results = Vec::new();
    thread::scope(|scope| {
        let form = arguments.form;
        let (quiet, is_quiet) = mpsc::channel();
        let idle = arguments.wants("idle").then(|| scope.spawn(move || idle::run(form, &quiet)));
        // Also where it has failed, or is not wanted: then the other end has gone.
        let _ = is_quiet.recv();
        for (_, benchmark) in BENCHMARKS.iter().filter(|(name, _)| arguments.wants(name)) {
            results.push(printed(&benchmark(form)?));
        }
        if let Some(idle) = idle {
            results.push(printed(&idle.join().expect("it does not panic")?));
        }
        Ok::<_, Error>(())
    })?;
    if let Some(file) = &arguments.json {
        fs::write(file, document(arguments.form, &results).to_string() + "\n")?;
    }
    Ok(())
}

fn printed(figures: &Figures) -> Value {
    figures.print();
    figures.json()
}

fn document(form: Form, results: &[Value]) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "form": form.pick("short", "long"),
        "machine": machine::json(),
        "benchmarks": results,
    })
}
