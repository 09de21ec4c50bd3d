//! What the reader sees: titled steps, aligned columns, colours only on a terminal.

use std::{
    env,
    error::Error,
    io::{self, IsTerminal as _, Write as _},
};

use posthaste::{clock::Clock, model::time::Timestamp};

use crate::receivers::Arrival;

/// Commands to copy, in the order in which they work.
const NEXT: &str = "\
In one terminal:
$ cargo build --release
$ ./target/release/posthaste serve

In another one:
$ ./target/release/posthaste emit hello.world '{\"n\":1}'
$ ./target/release/posthaste event list
$ ./target/release/posthaste --help

README.md goes on from there: an endpoint of your own in five minutes.";

/// Standard output.
pub(crate) struct Page {
    out: io::Stdout,
    clock: Clock,
    colour: bool,
}

impl Page {
    pub(crate) fn on_stdout(clock: Clock) -> Self {
        let out = io::stdout();
        let colour = out.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { out, clock, colour }
    }

    pub(crate) fn title(&mut self, number: &str, text: &str) -> io::Result<()> {
        let title = format!("{number:<3}{text}");
        self.line("")?;
        self.line(&self.style("1", &title))
    }

    pub(crate) fn note(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("   {text}"))
    }

    pub(crate) fn fact(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.line(&format!("   {name:<10} {text}"))
    }

    pub(crate) fn listing(&mut self, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|text| self.line(self.dim(&format!("   | {text}")).trim_end()))
    }

    /// A command of the reader's that does the same as what was done here.
    pub(crate) fn command(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("   $ {text}"))
    }

    /// A command, and what it prints.
    pub(crate) fn command_with_answer(&mut self, text: &str, answer: &str) -> io::Result<()> {
        let answer = self.dim(answer);
        self.line(&format!("   $ {text:<39} {answer}"))
    }

    /// Something that happened, and when.
    pub(crate) fn event(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("{}  {text}", self.time(self.clock.now())))
    }

    pub(crate) fn sum(&mut self, count: usize, text: &str) -> io::Result<()> {
        self.line(&format!("{count:>7}  {text}"))
    }

    pub(crate) fn arrivals_head(&mut self) -> io::Result<()> {
        let head =
            format!("{:>7}  {:<12}  {:<30}  attempt  signed    answer", "time", "event type", "delivery");
        self.line(&self.dim(&head))
    }

    pub(crate) fn arrival(&mut self, arrival: &Arrival) -> io::Result<()> {
        let Arrival { at, event_type, delivery_id, attempt, answer, .. } = arrival;
        let time = self.time(*at);
        let answer =
            if *answer == 200 { self.style("32", "200") } else { self.style("31", &answer.to_string()) };
        self.line(&format!("{time}  {event_type:<12}  {delivery_id:<30}  {attempt:>7}  verified  {answer}"))
    }

    pub(crate) fn next_steps(&mut self) -> io::Result<()> {
        self.title("", "What to try next")?;
        NEXT.lines().try_for_each(|text| self.line(format!("   {text}").trim_end()))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    fn time(&self, at: Timestamp) -> String {
        format!("{:>5.2} s", at.since(self.clock.started_at()).as_secs_f64())
    }

    fn style(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        self.style("2", text)
    }
}

/// Says on standard error why the quickstart ends early.
pub(crate) fn complain(error: &(dyn Error + 'static)) {
    // There is nowhere to say that this cannot be written.
    let _ = writeln!(io::stderr(), "\nquickstart: {error}");
}
