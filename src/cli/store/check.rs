//! `posthaste store check`.

use std::path::Path;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::{
    super::{
        error::CliError,
        exit::Exit,
        screen::Screen,
        table::{Column, Table},
        text,
    },
    bar::Bar,
    place::{Place, failed, shown, unusable},
};
use crate::outbox::file::{Report, Stopped};

/// `posthaste store check`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  posthaste store check\n  posthaste store check --store /mnt/usb/outbox.backup --json"
)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Let redb write what it can repair of the file's structure; without this nothing of the file is changed
    #[arg(long)]
    repair: bool,
}

/// The tables.
static TABLES: [Column; 3] = [Column::text("TABLE"), Column::number("ROWS"), Column::number("BYTES")];
/// What was found.
static FINDINGS: [Column; 3] = [Column::text("TABLE"), Column::whole("KEY"), Column::text("FINDING")];

/// Checks the file and prints what it finds.
pub(super) fn run(args: &Args, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let path = args.place.path(screen)?;
    let report = check(&path, args.repair, screen)?;
    if screen.json {
        screen.line(&as_json(&path, &report).to_string())?;
    } else {
        print(&path, &report, screen)?;
    }
    screen.flush()?;
    verdict(&path, &report)
}

fn check(path: &Path, repair: bool, screen: &Screen<'_>) -> Result<Report, CliError> {
    let bar = Bar::new(screen);
    let opening = bar.percent("putting in order what was not closed");
    let opened = if repair { Stopped::write(path, opening) } else { Stopped::read(path, opening) };
    let mut opened = opened.map_err(|error| unusable(path, &error))?;
    bar.draw(|| "looking at the file's structure".to_owned());
    let report = opened.check(bar.percent("reading the rows")).map_err(|error| failed(path, &error))?;
    // What is left to be written of a file that is damaged is no news.
    if report.is_readable() {
        opened.close().map_err(|error| failed(path, &error))?;
    }
    Ok(report)
}

/// What a report comes to.
pub(super) fn verdict(path: &Path, report: &Report) -> Result<(), CliError> {
    if report.found == 0 {
        return Ok(());
    }
    let what = if report.found == 1 { "1 finding".to_owned() } else { format!("{} findings", report.found) };
    let advice = if report.is_readable() {
        "a daemon that starts with it leaves such rows alone, and says so in its log; a backup from before may not have them"
    } else {
        "restore a backup (`posthaste store restore FILE`)"
    };
    Err(CliError::Store { exit: Exit::Data, message: format!("{}: {what}; {advice}", shown(path)) })
}

fn print(path: &Path, report: &Report, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let mut table = Table::new(&TABLES);
    for one in &report.tables {
        let row = vec![text::plain(&one.name).into_owned(), one.rows.to_string(), text::size(one.bytes)];
        table.push(row, screen)?;
    }
    table.finish(screen)?;
    screen.line(&format!(
        "\n{}: {}, {} of it free{}",
        shown(path),
        text::size(report.size),
        text::size(report.free),
        state(report)
    ))?;
    if report.stale > 0 {
        screen.line(&format!(
            "{} parked keys are of deliveries that have ended: that is as it may be",
            report.stale
        ))?;
    }
    print_findings(report, screen)?;
    if report.found == 0 {
        screen.line("nothing is wrong")?;
    }
    Ok(())
}

const fn state(report: &Report) -> &'static str {
    if report.closed {
        ", closed by its daemon"
    } else {
        ", not closed by its daemon: the next start marks attempts that may be repeated"
    }
}

/// Prints what was found.
pub(super) fn print_findings(report: &Report, screen: &mut Screen<'_>) -> Result<(), CliError> {
    if report.findings.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    let mut table = Table::new(&FINDINGS);
    for one in &report.findings {
        let row = vec![one.table.to_owned(), one.key.clone(), text::plain(&one.what).into_owned()];
        table.push(row, screen)?;
    }
    table.finish(screen)?;
    let more = report.found - u64::try_from(report.findings.len()).unwrap_or(report.found);
    if more > 0 {
        screen.line(&format!("and {more} more"))?;
    }
    Ok(())
}

/// A report as JSON.
pub(super) fn as_json(path: &Path, report: &Report) -> Value {
    let tables = report.tables.iter();
    let findings = report.findings.iter();
    json!({
        "ok": report.found == 0,
        "file": path.display().to_string(),
        "size": report.size,
        "free": report.free,
        "closed": report.closed,
        "put_in_order": report.put_in_order,
        "tables": tables
            .map(|one| json!({"name": one.name, "rows": one.rows, "bytes": one.bytes}))
            .collect::<Vec<_>>(),
        "stale_parked": report.stale,
        "found": report.found,
        "findings": findings
            .map(|one| json!({"table": one.table, "key": one.key, "what": one.what}))
            .collect::<Vec<_>>(),
    })
}
