//! posthaste in a few seconds: `cargo run --release --example quickstart`.
//!
//! It starts the daemon in a temporary directory and two receivers in this process, hands in events through the
//! socket and as files, shows how each delivery arrives, kills the daemon with SIGKILL in the middle of its work,
//! starts it again, and compares what was accepted with what was received. It is a check as well: it ends with 0
//! only if everything held, and leaves nothing behind.
//!
//! [`config`] is the daemon's configuration, [`producer`] hands events in, [`receivers`] takes deliveries, [`daemon`]
//! is the process that is killed, [`ledger`] compares, [`page`] prints.

mod config;
mod daemon;
mod ledger;
mod page;
mod producer;
mod receivers;

use std::{env, error::Error, io, process::ExitCode, time::Duration};

use posthaste::clock::Clock;
use tempfile::TempDir;

use crate::{
    config::Workplace,
    daemon::Daemon,
    page::Page,
    receivers::{Arrival, Inbox},
};

/// What can go wrong here is told to a person, and handled by nobody.
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Events that are on their way when the daemon is killed.
const BURST: usize = 60;
/// How many of them have been received by then.
const RECEIVED_BEFORE_KILL: usize = 20;
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    // cargo builds no `posthaste` for an example, so this program is one, too: `quickstart serve --config FILE`.
    if env::args_os().len() > 1 {
        daemon::end_with_parent();
        return posthaste::cli::run(env::args_os());
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            page::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run() -> Result<()> {
    let clock = Clock::start();
    let directory = TempDir::with_prefix("posthaste-quickstart-")?;
    let inbox = Inbox::open(clock)?;
    let shop = receivers::start("shop", receivers::steady(), &inbox)?;
    let books = receivers::start("books", receivers::fails_twice(), &inbox)?;
    let workplace = config::write(directory.path(), &shop, &books)?;
    let daemon = Daemon::start(&workplace).map_err(|error| workplace.explain(error))?;
    let mut quickstart = Quickstart {
        page: Page::on_stdout(clock),
        workplace,
        inbox,
        daemon,
        accepted: Vec::new(),
        received: Vec::new(),
    };
    quickstart.tell().map_err(|error| quickstart.workplace.explain(error))
}

/// One run: what takes part in it, and what has happened so far.
struct Quickstart {
    page: Page,
    workplace: Workplace,
    inbox: Inbox,
    daemon: Daemon,
    /// The ids of the events that posthaste has acknowledged.
    accepted: Vec<String>,
    /// Every request that came to a receiver.
    received: Vec<Arrival>,
}

impl Quickstart {
    fn tell(&mut self) -> Result<()> {
        self.introduce()?;
        self.hand_in_through_the_socket()?;
        self.hand_in_as_files()?;
        self.deliver_to_a_receiver_that_fails()?;
        self.kill_and_restart()?;
        self.settle_accounts()?;
        self.page.next_steps()?;
        Ok(())
    }

    fn introduce(&mut self) -> Result<()> {
        let page = &mut self.page;
        page.title("1", "The daemon, and two receivers of webhooks")?;
        page.fact("directory", &format!("{} (removed at the end)", self.workplace.directory().display()))?;
        page.fact("daemon", &format!("pid {}, with this posthaste.toml:", self.daemon.pid()))?;
        page.listing(self.workplace.text())?;
        page.fact("shop", "answers 200, after 25 ms")?;
        page.fact("books", "answers 500 to the first two requests of each delivery")?;
        Ok(())
    }

    fn hand_in_through_the_socket(&mut self) -> Result<()> {
        self.page.title("2", "Three events through the socket")?;
        self.page.note("Each is answered with its id once it and its deliveries are on disk.")?;
        for order in 1..=3 {
            let event = format!(r#"{{"type":"order.paid","data":{{"order":{order}}}}}"#);
            let id = producer::post(&self.workplace.socket(), &event)?;
            let command = format!(r#"posthaste emit order.paid '{{"order":{order}}}'"#);
            self.page.command_with_answer(&command, &id)?;
            self.accepted.push(id);
        }
        self.show_arrivals("order.paid", 3)
    }

    fn hand_in_as_files(&mut self) -> Result<()> {
        self.page.title("3", "Events as files")?;
        self.page.note("For programs that can only write: under a hidden name first, then renamed.")?;
        let spool = self.workplace.spool();
        let files = [
            ("scan-1.json", "{\"type\":\"scan.done\",\"data\":{\"pages\":3}}"),
            ("scans.ndjson", "{\"type\":\"scan.done\"}\n{\"type\":\"scan.done\"}\n"),
        ];
        for (name, events) in files {
            self.page.command(&format!("mv spool/.{name}.part spool/{name}"))?;
            producer::drop_file(&spool, name, events)?;
        }
        self.show_arrivals("scan.done", 3)?;
        daemon::wait_until("posthaste removes the files that it has taken", || {
            Ok(files.iter().all(|(name, _)| !spool.join(name).exists()))
        })?;
        self.page.note("Both files are gone from the spool: that is their acknowledgement.")?;
        let scans = self.received.iter().rev().take(3).map(|arrival| arrival.event_id.clone());
        self.accepted.extend(scans);
        Ok(())
    }

    fn deliver_to_a_receiver_that_fails(&mut self) -> Result<()> {
        self.page.title("4", "A receiver that fails twice")?;
        self.page.note("The delivery keeps its id over all attempts: receivers deduplicate by it.")?;
        let event = r#"{"type":"invoice.sent","data":{"invoice":17}}"#;
        self.accepted.push(producer::post(&self.workplace.socket(), event)?);
        self.show_arrivals("invoice.sent", 3)?;
        let attempts: Vec<_> =
            self.received.iter().rev().take(3).map(|seen| (seen.attempt, seen.answer)).collect();
        if attempts != [(3, 200), (2, 500), (1, 500)] {
            return Err(
                format!("expected two failures and a success, newest first, but saw {attempts:?}").into()
            );
        }
        Ok(())
    }

    fn kill_and_restart(&mut self) -> Result<()> {
        self.page.title("5", "kill -9 in the middle")?;
        let ids = producer::stream(&self.workplace.socket(), "meter.read", BURST)?;
        self.page.event(&format!("{} events streamed in, each acknowledged", ids.len()))?;
        self.accepted.extend(ids);
        for _ in 0..RECEIVED_BEFORE_KILL {
            self.receive()?;
        }
        let killed = self.daemon.kill()?;
        self.page.event(&format!(
            "SIGKILL to pid {killed}, when {RECEIVED_BEFORE_KILL} of them had been received"
        ))?;
        // What was sent before the end, and is on its way through the receiver.
        let late = self.inbox.rest()?;
        self.received.extend(late);
        self.daemon = Daemon::start(&self.workplace)?;
        self.page.event(&format!("started again as pid {}", self.daemon.pid()))?;
        while self.received_of("meter.read") < BURST {
            self.receive()?;
        }
        daemon::wait_until("posthaste has nothing left to do", || {
            producer::is_idle(&self.workplace.socket())
        })?;
        let late = self.inbox.rest()?;
        self.received.extend(late);
        self.page.event(&format!("all {BURST} have been received"))?;
        self.show_repeats()
    }

    fn show_repeats(&mut self) -> Result<()> {
        let repeats = ledger::repeats(&self.received);
        if repeats.is_empty() {
            return Ok(self.page.note("None of them came twice.")?);
        }
        self.page.note("These came twice: their outcome was not yet on disk when the daemon died.")?;
        self.page.arrivals_head()?;
        repeats.iter().try_for_each(|arrival| self.page.arrival(arrival))?;
        Ok(())
    }

    fn settle_accounts(&mut self) -> Result<()> {
        self.page.title("6", "The ledger")?;
        let ledger = ledger::draw_up(&self.workplace.socket(), &self.accepted, &self.received)?;
        self.page.sum(ledger.accepted, "events acknowledged, all in the outbox")?;
        self.page.sum(ledger.delivered, "delivered, each signed, each signature verified by its receiver")?;
        self.page.sum(ledger.lost, "lost")?;
        self.page.sum(ledger.failed_attempts, "attempts answered 500, and made again")?;
        self.page.sum(ledger.repeated, "delivered twice, each marked after_crash in its history")?;
        self.page
            .sum(ledger.after_crash, "marked so in all: the daemon cannot tell which of them came twice")?;
        self.daemon.stop()?;
        self.page.event("the daemon was told to stop, and closed its store")?;
        ledger.check()
    }

    /// Waits for `count` requests of this type at the receivers, and shows each as it comes.
    fn show_arrivals(&mut self, event_type: &str, count: usize) -> Result<()> {
        self.page.arrivals_head()?;
        for _ in 0..count {
            let arrival = self.receive()?;
            self.page.arrival(&arrival)?;
            if arrival.event_type != event_type {
                return Err(format!("expected a delivery of {event_type}").into());
            }
        }
        Ok(())
    }

    /// Waits for the next request at a receiver.
    fn receive(&mut self) -> Result<Arrival> {
        let arrival = self.inbox.next(PATIENCE)?;
        self.received.push(arrival.clone());
        Ok(arrival)
    }

    /// How many deliveries of events of this type have been received; repeats count once.
    fn received_of(&self, event_type: &str) -> usize {
        ledger::delivered(&self.received, |arrival| arrival.event_type == event_type).len()
    }
}
