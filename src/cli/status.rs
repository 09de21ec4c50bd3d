//! `posthaste status`: how the daemon is doing, on one page; again and again with `--watch`, in one line with `--check`.

mod check;
mod watch;

use std::{path::PathBuf, time::Duration};

use clap::Args as ClapArgs;

use super::{
    client::{self, Client, Query},
    error::CliError,
    exit::Exit,
    screen::Screen,
    text,
};
use crate::{
    api::view::{
        CallbacksView, CircuitView, ClockView, ConfigurationView, DaemonState, DisabledView, DoorView,
        ForgottenView, IdsView, InsideView, OpenCircuitView, OutageView, ReloadFailedView, ReserveView,
        RetentionView, SpoolView, StatusView, StoreView, YouView,
    },
    model::time::{ParseQuantityError, parse_duration},
};

/// `posthaste status`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  posthaste status\n  posthaste status --json | jq .pending.total\n  posthaste status --watch\n  \
                  posthaste status --check --max-age 6h\n\n\
                  The exit code of --check is 0 where all is well; 1 where somebody must see to something: an endpoint \
                  that is disabled, and not by an operator, callbacks that are held, a spool directory of which nothing \
                  is taken, files in failed/, a clock that is not set, ids that are forgotten too soon, a reserve that \
                  could not be made, or what has waited for longer than --max-age; 2 where events are refused, or \
                  nothing is sent, or nobody answers; 3 where it cannot be told."
)]
pub struct Args {
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long, conflicts_with = "check")]
    watch: bool,
    /// Print one line, and end with a code for monitoring
    #[arg(long)]
    check: bool,
    /// With --check, an event that was accepted longer ago, such as 6h, and is still pending is to be seen to
    #[arg(long, value_name = "D", requires = "check", value_parser = age)]
    max_age: Option<Duration>,
}

fn age(text: &str) -> Result<Duration, ParseQuantityError> {
    parse_duration(text)
}

/// Asks the daemon and shows what it says.
pub fn run(args: &Args, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<Exit, CliError> {
    if args.check {
        return run_check(args, sockets, screen);
    }
    if args.watch {
        return watch::run(sockets, screen).map(|()| Exit::Success);
    }
    show(sockets, screen).map(|()| Exit::Success)
}

fn ask(sockets: &[PathBuf]) -> Result<Vec<u8>, CliError> {
    Client::connect(sockets)?.get("/v1/status", &Query::default())
}

fn show(sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = ask(sockets)?;
    if screen.json {
        return screen.json(&answer);
    }
    let page = page(&client::parse(&answer)?, screen)?;
    screen.out.write_all(page.as_bytes())?;
    Ok(())
}

/// What stands behind the words at the beginning of lines.
const INDENT: usize = 13;

/// The page, its lines folded to the terminal's width.
fn page(status: &StatusView, screen: &mut Screen<'_>) -> Result<String, CliError> {
    let mut out = Vec::new();
    let Screen { json, colour, live, width, now, .. } = *screen;
    print(status, &mut Screen { out: &mut out, notes: &mut *screen.notes, json, colour, live, width, now })?;
    let text = String::from_utf8(out).expect("what is printed is text");
    let Some(width) = width else { return Ok(text) };
    let folded = text.lines().map(|line| text::fold(line, usize::from(width), INDENT) + "\n");
    Ok(folded.collect())
}

/// As JSON it is what the daemon says, and the code is all that is added; where it says nothing, the line goes beside.
fn run_check(args: &Args, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<Exit, CliError> {
    let answer = ask(sockets);
    let parsed = answer.as_deref().map_err(check::failed);
    let status = parsed.and_then(|answer| client::parse(answer).map_err(|error| check::failed(&error)));
    let checked =
        status.map_or_else(|failed| failed, |status| check::check(&status, args.max_age, screen.now));
    match answer {
        Ok(answer) if screen.json => screen.json(&answer)?,
        Err(_) if screen.json => screen.note(&checked.line),
        _ => screen.line(&checked.line)?,
    }
    Ok(checked.exit)
}

fn print(status: &StatusView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let now = screen.now;
    let heading = screen.bold(&format!("posthaste {}", text::plain(&status.version)));
    let since = text::time_and_relative(status.started_at, now);
    screen.line(&format!("{heading}  {}, started {since}\n", state(status.state, screen)))?;
    // Whoever is an operator before any rule need not be told.
    if let Some(you) = status.you.as_ref().filter(|you| you.rule.is_some() || status.inside.is_none()) {
        screen.line(&format!("you          {}", describe(you)))?;
    }
    print_door(&status.door, screen)?;
    match &status.inside {
        Some(inside) => print_inside(inside, status, screen),
        None => status.clock_unset.iter().try_for_each(|clock| print_clock(clock, screen)),
    }
}

/// `uid 1000, producer of acme by [[access]] rule 2`.
fn describe(you: &YouView) -> String {
    let YouView { uid, key, role, account, rule } = you;
    let who = match (uid, key) {
        (Some(uid), _) => format!("uid {uid}"),
        (None, Some(key)) => key.to_string(),
        (None, None) => "somebody".to_owned(),
    };
    let account = account.as_ref().map(|account| format!(" of {account}")).unwrap_or_default();
    let rule = rule.map(|rule| format!(" by [[access]] rule {rule}")).unwrap_or_default();
    format!("{who}, {}{account}{rule}", text::plain(role))
}

fn print_inside(status: &InsideView, whole: &StatusView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let now = screen.now;
    let pending = status.pending;
    let order = if pending.order > 0 { format!(", {} behind others", pending.order) } else { String::new() };
    screen.line(&format!(
        "pending      {}: {} due later, {} waiting for their turn{order}, {} parked on disk, {} being attempted",
        pending.total, pending.due, pending.turn, pending.parked, pending.in_flight
    ))?;
    if let Some(oldest) = status.oldest_pending {
        screen.line(&format!("oldest       {}", text::time_and_relative(oldest, now)))?;
    }
    let counted = status.since_start;
    screen.line(&format!(
        "events       {} accepted, {} known already, {} refused",
        counted.accepted, counted.duplicates, counted.refused
    ))?;
    screen.line(&format!(
        "deliveries   {} succeeded, {} failed, in {} attempts",
        counted.succeeded, counted.failed, counted.attempts
    ))?;
    let unclean = if status.store.unclean_start { ", not closed cleanly by the daemon before" } else { "" };
    let (size, store) = (text::size(status.store.size), text::plain(&status.store.path));
    screen.line(&format!("store        {store}, {size}{unclean}"))?;
    print_room(&whole.door, &status.store, screen)?;
    status.store.retention.iter().try_for_each(|retention| print_retention(retention, screen))?;
    print_ids(&status.ids, screen)?;
    print_configuration(&status.configuration, screen)?;
    status.spools.iter().try_for_each(|spool| print_spool(spool, screen))?;
    print_callbacks(&status.callbacks, screen)?;
    if let Some(clock) = &whole.clock_unset {
        print_clock(clock, screen)?;
    }
    status.outages.iter().try_for_each(|outage| print_outage(outage, screen))?;
    status.open_circuits.iter().try_for_each(|endpoint| print_circuit(endpoint, screen))?;
    status.disabled_endpoints.iter().try_for_each(|endpoint| print_disabled(endpoint, screen))
}

fn print_configuration(view: &ConfigurationView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    if !view.needs_restart.is_empty() {
        let keys = view.needs_restart.join(", ");
        screen.line(&format!("restart      {} from the next start on", text::plain(&keys)))?;
    }
    if let Some(ReloadFailedView { at, why }) = &view.failed {
        let when = text::time_and_relative(*at, screen.now);
        screen.line(&format!(
            "{}  the configuration was read {when}, and is not taken:",
            screen.paint("not reloaded")
        ))?;
        for line in why.lines().filter(|line| !line.trim().is_empty()) {
            screen.line(&format!("             {}", text::plain(line)))?;
        }
    }
    Ok(())
}

fn state(state: DaemonState, screen: &Screen<'_>) -> String {
    match state {
        DaemonState::Running => screen.paint("running"),
        DaemonState::Starting => format!("{} (the backlog is being read)", screen.paint("starting")),
        DaemonState::Stopping => format!("{} (no event is accepted)", screen.paint("stopping")),
    }
}

fn print_door(door: &DoorView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    if door.open {
        return Ok(());
    }
    let reason = text::plain(door.reason.as_deref().unwrap_or("closed")).into_owned();
    let since = door.since.map(|since| format!(" since {}", text::time_and_relative(since, screen.now)));
    let attempts = if door.attempts_held { "; no attempt begins" } else { "" };
    let (word, since) = (screen.paint("refusing"), since.unwrap_or_default());
    screen.line(&format!("{word}     every event: {reason}{since}{attempts}"))?;
    let help = door.help.as_deref().unwrap_or_default();
    screen.line(&format!("             {}", text::plain(help)))
}

fn print_room(door: &DoorView, store: &StoreView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let (rows, most) = (text::size(store.rows), text::size(store.max_size));
    let reserve = match store.reserve {
        ReserveView { size: 0, .. } => "no reserve".to_owned(),
        ReserveView { size, present: true } => format!("a reserve of {}", text::size(size)),
        // The door opens only when it is made, or cannot be for another reason than space.
        ReserveView { size, present: false } if door.reason.as_deref() == Some("disk_full") => {
            format!("the reserve of {} is given up", text::size(size))
        }
        ReserveView { size, present: false } => {
            format!("the reserve of {} could not be made, the log says why", text::size(size))
        }
    };
    screen.line(&format!("             {rows} of rows, {most} at most; {reserve}"))
}

fn print_spool(spool: &SpoolView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let path = text::plain(&spool.path);
    let there = match spool.in_failed {
        0 => String::new(),
        1 => ", where 1 lies (see `posthaste spool list`)".to_owned(),
        many => format!(", where {many} lie (see `posthaste spool list`)"),
    };
    screen.line(&format!(
        "spool        {path}: {} {} taken, {} moved to failed/{there}",
        spool.taken,
        if spool.taken == 1 { "file" } else { "files" },
        spool.failed
    ))?;
    match &spool.problem {
        Some(problem) => screen.line(&format!("             {}", text::plain(problem))),
        None if !spool.watching => screen.line(
            "             polling: the system does not tell of all new files here; `rescan` in [[spool]] says how often it is looked",
        ),
        None => Ok(()),
    }
}

/// What is kept for how long, and what goes next.
fn print_retention(retention: &RetentionView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let ages =
        |succeeded: &str, failed: &str| format!("{}, failed {}", text::plain(succeeded), text::plain(failed));
    let all = ages(&retention.retention, &retention.retention_failed);
    let others = match retention.accounts.len() {
        0 => String::new(),
        1 => "; 1 account has its own".to_owned(),
        count => format!("; {count} accounts have their own"),
    };
    let oldest =
        retention.oldest_event.map(|at| format!("; oldest of {}", text::time(at))).unwrap_or_default();
    screen.line(&format!("kept         {all}{others}{oldest}"))?;
    let ForgottenView { events, bytes, .. } = retention.forgotten;
    let next = retention.next_at.map(|at| format!("; the next goes {}", text::relative(at, screen.now)));
    let next = next.unwrap_or_default();
    screen.line(&format!("forgotten    {events} events, {} since the start{next}", text::size(bytes)))?;
    if let Some(held) = &retention.held {
        let word = screen.paint("held");
        return screen
            .line(&format!("             {word}: nothing is forgotten now ({})", text::plain(held)));
    }
    if retention.behind {
        let word = screen.paint("behind");
        return screen.line(&format!("             {word}: there is more to forget than has been come by"));
    }
    Ok(())
}

/// Only where an id that is handed in again may be taken for a new one sooner than was asked for.
fn print_ids(ids: &IdsView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    if !ids.cut_short {
        return Ok(());
    }
    let word = screen.paint("short");
    let (held, window) = (text::plain(&ids.window_held), text::plain(&ids.window));
    screen.line(&format!(
        "ids          {word}: known for {held} and not for {window}, as more than {} would have to be remembered",
        ids.remembered
    ))?;
    screen.line("             write a greater `dedup_entries` under [store], or a shorter `dedup_window`")
}

fn print_callbacks(callbacks: &CallbacksView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    if callbacks.origins > 0 {
        let (origins, pending) = (callbacks.origins, callbacks.pending);
        let circuits = match callbacks.open_circuits {
            0 => String::new(),
            1 => ", 1 of them with an open circuit".to_owned(),
            open => format!(", {open} of them with open circuits"),
        };
        let noun = if origins == 1 { "origin" } else { "origins" };
        screen.line(&format!("callbacks    {pending} pending; {origins} {noun}{circuits}"))?;
    }
    for held in &callbacks.held {
        let (word, reason) = (screen.paint("held"), held.reason.as_str());
        screen.line(&format!(
            "{word}         the callbacks of the account {}: {reason}, {} pending",
            held.account, held.pending
        ))?;
        screen.line(&format!("             {}", text::plain(&held.help)))?;
    }
    Ok(())
}

fn print_clock(clock: &ClockView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let (word, time, known) = (screen.paint("unset"), text::time(clock.time), text::time(clock.known));
    screen.line(&format!("clock        {word}: it says {time}, and it was {known} already"))?;
    screen.line(&format!("             {}", text::plain(&clock.help)))
}

fn print_circuit(endpoint: &OpenCircuitView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let name = text::plain(&endpoint.name);
    print_probes(&format!("circuit      {name} ({}): open", endpoint.id), endpoint.circuit, screen)
}

fn print_outage(outage: &OutageView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let word = screen.paint("down");
    print_probes(&format!("{word}         {}:", text::plain(&outage.what)), outage.circuit, screen)?;
    screen.line(&format!("             {}", text::plain(&outage.help)))
}

fn print_probes(what: &str, circuit: CircuitView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let since = text::time_and_relative(circuit.open_since, screen.now);
    let probes = match circuit.failed_probes {
        1 => "1 probe".to_owned(),
        probes => format!("{probes} probes"),
    };
    screen.line(&format!("{what} since {since}, {probes} failed since"))?;
    let next = text::time_and_relative(circuit.next_probe_at, screen.now);
    screen.line(&format!("             the next probe may begin {next}"))
}

fn print_disabled(endpoint: &DisabledView, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let word = screen.paint("disabled");
    let since = text::time_and_relative(endpoint.since, screen.now);
    let which = match &endpoint.name {
        Some(name) => format!("{} ({})", text::plain(name), endpoint.id),
        None => endpoint.id.to_string(),
    };
    screen.line(&format!("{word}     {which}: {} since {since}", endpoint.reason.as_str()))?;
    if endpoint.help.is_empty() {
        return Ok(());
    }
    screen.line(&format!("             {}", text::plain(&endpoint.help)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{fake::Daemon, testing::Output};

    const STATUS: &str = r#"{"version":"0.1.0","started_at":"2026-11-22T01:00:00.000Z","state":"running",
        "since_start":{"accepted":100,"duplicates":2,"refused":1,"attempts":130,"succeeded":98,"failed":1},
        "pending":{"total":15,"due":4,"turn":6,"order":3,"parked":0,"in_flight":2},"oldest_pending":"2026-11-22T02:57:00.000Z",
        "disabled_endpoints":[{"id":"ep_01hqr2p1qq8k3v7r5m6n0x9y2z","name":"erp","reason":"no_credential","since":"2026-11-22T02:57:00.000Z","help":"put the secret into erp-secret"}],
        "open_circuits":[{"id":"ep_01hqr2p1qq8k3v7r5m6n0x9y2z","name":"shop","open_since":"2026-11-22T02:57:00.000Z","failed_probes":3,"next_probe_at":"2026-11-22T03:02:00.000Z"}],
        "outages":[{"what":"proxy","open_since":"2026-11-22T02:57:00.000Z","failed_probes":1,"next_probe_at":"2026-11-22T03:02:00.000Z","help":"see to it"}],
        "callbacks":{"origins":3,"open_circuits":1,"pending":9,"held":[{"account":"acme","reason":"no_credential","pending":4,"help":"provide it"}]},
        "clock_unset":{"time":"2026-11-22T03:00:00.000Z","known":"2026-11-22T04:00:00.000Z","help":"set it"},
        "door":{"open":false,"reason":"disk_full","since":"2026-11-22T02:57:00.000Z","attempts_held":true,"help":"make room"},
        "store":{"path":"/var/lib/posthaste/outbox.redb","size":1572864,"rows":1048576,"max_size":8589934592,"reserve":{"size":67108864,"present":false},"unclean_start":true},
        "ids":{"remembered":500000,"window":"24h","window_held":"3h12m","cut_short":true},
        "spools":[{"path":"/var/spool/posthaste","taken":3,"failed":1,"in_failed":2,"watching":true,"problem":"the disk is full"},
        {"path":"/mnt/in","taken":1,"failed":0,"in_failed":0,"watching":false,"problem":null}]}"#;

    #[test]
    fn one_page() {
        let daemon = Daemon::start(vec![(200, STATUS.to_owned()), (200, STATUS.to_owned())]);
        let mut output = Output::new();
        show(&daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(daemon.lines(), ["GET /v1/status HTTP/1.1"]);
        assert_eq!(
            output.text(),
            "posthaste 0.1.0  running, started 2026-11-22 01:00:00 (2h ago)\n\
             \n\
             refusing     every event: disk_full since 2026-11-22 02:57:00 (3m ago); no attempt begins\n             make room\n\
             pending      15: 4 due later, 6 waiting for their turn, 3 behind others, 0 parked on disk, 2 being attempted\n\
             oldest       2026-11-22 02:57:00 (3m ago)\n\
             events       100 accepted, 2 known already, 1 refused\n\
             deliveries   98 succeeded, 1 failed, in 130 attempts\n\
             store        /var/lib/posthaste/outbox.redb, 1.5 MiB, not closed cleanly by the daemon before\n             1.0 MiB of rows, 8.0 GiB at most; the reserve of 64.0 MiB is given up\n\
             ids          short: known for 3h12m and not for 24h, as more than 500000 would have to be remembered\n             write a greater `dedup_entries` under [store], or a shorter `dedup_window`\n\
             spool        /var/spool/posthaste: 3 files taken, 1 moved to failed/, where 2 lie (see `posthaste spool list`)\n             the disk is full\n\
             spool        /mnt/in: 1 file taken, 0 moved to failed/\n             polling: the system does not tell of all new files here; `rescan` in [[spool]] says how often it is looked\n\
             callbacks    9 pending; 3 origins, 1 of them with an open circuit\n\
             held         the callbacks of the account acme: no_credential, 4 pending\n             provide it\n\
             clock        unset: it says 2026-11-22 03:00:00, and it was 2026-11-22 04:00:00 already\n             set it\n\
             down         proxy: since 2026-11-22 02:57:00 (3m ago), 1 probe failed since\n             the next probe may begin 2026-11-22 03:02:00 (in 2m)\n             see to it\n\
             circuit      shop (ep_01hqr2p1qq8k3v7r5m6n0x9y2z): open since 2026-11-22 02:57:00 (3m ago), 3 probes failed since\n             the next probe may begin 2026-11-22 03:02:00 (in 2m)\n\
             disabled     erp (ep_01hqr2p1qq8k3v7r5m6n0x9y2z): no_credential since 2026-11-22 02:57:00 (3m ago)\n             put the secret into erp-secret\n"
        );
        let mut output = Output::json();
        show(&daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(output.text(), format!("{STATUS}\n"));
    }

    #[test]
    fn a_reserve_that_is_not_there() {
        let open = STATUS.replace(r#""open":false,"reason":"disk_full""#, r#""open":true,"reason":null"#);
        let full = STATUS.replace(r#""reason":"disk_full""#, r#""reason":"store_full""#);
        for (status, said) in [
            (STATUS.to_owned(), "the reserve of 64.0 MiB is given up\n"),
            (open, "the reserve of 64.0 MiB could not be made, the log says why\n"),
            (full, "the reserve of 64.0 MiB could not be made, the log says why\n"),
        ] {
            let daemon = Daemon::start(vec![(200, status)]);
            let mut output = Output::new();
            show(&daemon.paths(), &mut output.screen()).expect("it prints");
            assert!(output.text().contains(said), "{}", output.text());
        }
    }

    #[test]
    fn what_is_kept_and_what_goes() {
        for (of, said) in [
            (
                r#""accounts":[],"oldest_event":"2026-11-15T03:10:00.000Z","next_at":"2026-11-22T03:10:00.000Z","behind":false,"held":null"#,
                "kept         7d, failed 30d; oldest of 2026-11-15 03:10:00\n\
                 forgotten    3 events, 2.0 KiB since the start; the next goes in 10m\n",
            ),
            (
                r#""accounts":[{"account":"a","retention":"1d","retention_failed":"1d"}],"behind":true,"held":null"#,
                "kept         7d, failed 30d; 1 account has its own\n\
                 forgotten    3 events, 2.0 KiB since the start\n             behind: there is more to forget than has been come by\n",
            ),
            (
                r#""accounts":[],"behind":true,"held":"disk_full""#,
                "forgotten    3 events, 2.0 KiB since the start\n             held: nothing is forgotten now (disk_full)\nids",
            ),
        ] {
            let ages = r#""retention":{"retention":"7d","retention_failed":"30d","forgotten":{"events":3,"rows":9,"bytes":2048},"#;
            let status =
                STATUS.replace(r#""unclean_start":true"#, &format!(r#""unclean_start":true,{ages}{of}}}"#));
            let daemon = Daemon::start(vec![(200, status)]);
            let mut output = Output::new();
            show(&daemon.paths(), &mut output.screen()).expect("it prints");
            assert!(output.text().contains(said), "{}", output.text());
        }
    }

    #[test]
    fn a_producer_s_page() {
        let answer = r#"{"version":"0.1.0","started_at":"2026-11-22T01:00:00.000Z","state":"running",
            "you":{"uid":1000,"role":"producer","account":"acme","rule":2},"clock_unset":null}"#;
        let daemon = Daemon::start(vec![(200, answer.to_owned())]);
        let mut output = Output::new();
        show(&daemon.paths(), &mut output.screen()).expect("it prints");
        assert_eq!(
            output.text(),
            "posthaste 0.1.0  running, started 2026-11-22 01:00:00 (2h ago)\n\n\
             you          uid 1000, producer of acme by [[access]] rule 2\n"
        );
    }
}
