//! `posthaste store restore`.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::json;

use super::{
    super::{error::CliError, exit::Exit, screen::Screen, text},
    bar::Bar,
    check::{as_json, print_findings},
    place::{Place, failed, shown, unusable},
};
use crate::outbox::file::{RestoreError, restore};

/// `posthaste store restore`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  systemctl stop posthaste\n  posthaste store restore /mnt/usb/outbox.backup\n  systemctl start posthaste"
)]
pub struct Args {
    /// The backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Do not keep the store that is replaced; else it stays as STORE.before-restore-TIME
    #[arg(long)]
    discard: bool,
    /// Take a backup in which the check finds rows that are not as they should be
    #[arg(long)]
    anyway: bool,
}

/// Restores the backup and says what was done.
pub(super) fn run(args: &Args, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let path = args.place.path(screen)?;
    let aside = (!args.discard).then(|| aside(&path, screen));
    let done = {
        let bar = Bar::new(screen);
        restore(&args.backup, &path, (aside.as_deref(), args.anyway), bar.percent("checking the backup"))
    };
    let done = match done {
        Ok(done) => done,
        Err(RestoreError::NotWhole(report)) => {
            if !screen.json {
                print_findings(&report, screen)?;
                screen.flush()?;
            }
            let advice = if report.is_readable() {
                "; with --anyway it is taken all the same"
            } else {
                "; take another backup"
            };
            let message = format!(
                "{}: the check finds {} things that are wrong, and the store is as it was{advice}",
                shown(&args.backup),
                report.found
            );
            return Err(CliError::Store { exit: Exit::Data, message });
        }
        Err(error) => return Err(refused(&args.backup, &path, &error)),
    };
    if screen.json {
        let kept = done.kept.map(|kept| kept.display().to_string());
        let document = json!({
            "store": path.display().to_string(),
            "kept": kept,
            "next_number": done.next,
            "backup": as_json(&args.backup, &done.report),
        });
        return screen.line(&document.to_string());
    }
    let rows: u64 = done.report.tables.iter().map(|table| table.rows).sum();
    screen.line(&format!(
        "{} is the backup {} now: {rows} rows, all checked",
        shown(&path),
        shown(&args.backup)
    ))?;
    if let Some(kept) = &done.kept {
        screen
            .line(&format!("the store that was there is {}: remove it when it is not needed", shown(kept)))?;
    }
    if !done.old_numbers {
        screen
            .note("that store cannot be read, so nobody knows how many events it had taken since the backup");
    }
    screen.note("what was pending at the moment of the backup is delivered again when the daemon starts: receivers may get it twice, with the same ids");
    screen.note("keys of the API that were revoked since the backup are there again: look through `posthaste key list` when the daemon runs, and revoke them anew");
    Ok(())
}

/// `outbox.redb.before-restore-20261122T030000Z`.
fn aside(store: &Path, screen: &Screen<'_>) -> PathBuf {
    let time = screen.now.to_string();
    let time: String =
        time.split('.').next().unwrap_or(&time).chars().filter(char::is_ascii_alphanumeric).collect();
    let mut name = store.as_os_str().to_owned();
    name.push(format!(".before-restore-{}Z", time.trim_end_matches('Z')));
    PathBuf::from(name)
}

fn refused(backup: &Path, store: &Path, error: &RestoreError) -> CliError {
    match error {
        RestoreError::Backup(error) => unusable(backup, error),
        RestoreError::Store(error) => unusable(store, error),
        RestoreError::Failed(error) => failed(backup, error),
        RestoreError::NotWhole(_) | RestoreError::Same(_) | RestoreError::NoNumbers => {
            CliError::Store { exit: Exit::Data, message: text::plain(&error.to_string()).into_owned() }
        }
    }
}
