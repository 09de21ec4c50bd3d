//! `posthaste spool list`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{
    super::{
        error::CliError,
        screen::Screen,
        table::{Column, Table},
        text,
    },
    place::{Opened, Place},
    which::{bytes, first_of},
};
use crate::{
    ingest::{
        dialect,
        spool::{Lies, Reason, Reject, RejectError},
    },
    model::time::Timestamp,
};

/// `posthaste spool list`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  posthaste spool list\n  posthaste spool list --json | jq -r '.items[] | .name'\n\n\
                  A file that cannot be taken, ever, lies in failed/ inside its spool directory, and its reason beside it."
)]
pub struct ListArgs {
    #[command(flatten)]
    pub(super) place: Place,
}

const COLUMNS: &[Column] = &[
    Column::whole("NAME"),
    Column::text("CODE"),
    Column::text("WHERE").spare(1),
    Column::number("SIZE").spare(0),
    Column::whole("WHEN").spare(2),
    Column::text("MESSAGE"),
];

const COLUMNS_OF_SEVERAL: &[Column] = &[
    Column::text("DIRECTORY"),
    Column::whole("NAME"),
    Column::text("CODE"),
    Column::text("WHERE").spare(1),
    Column::number("SIZE").spare(0),
    Column::whole("WHEN").spare(2),
    Column::text("MESSAGE"),
];

/// One of the list, for programs.
#[derive(Debug, Serialize)]
struct Listed {
    /// The spool directory.
    directory: String,
    /// The name in `failed/`.
    name: String,
    /// Its bytes, where they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    /// The name in the spool directory; this, the code, the message and when are `null` where no reason lies beside it.
    file: Option<String>,
    code: Option<String>,
    message: Option<String>,
    /// In which line, from 1; `null` for the file as a whole.
    line: Option<u64>,
    /// As which item of a file of MessagePack, from 1; `null` otherwise.
    item: Option<u64>,
    at: Option<Timestamp>,
    /// In bytes; `null` where there is no file.
    size: Option<u64>,
}

/// Shows what lies there.
pub(super) fn run(args: &ListArgs, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let (opened, mut errors) = args.place.open(sockets, screen)?;
    let several = opened.len() > 1;
    let mut table = Table::new(if several { COLUMNS_OF_SEVERAL } else { COLUMNS });
    let mut before = "{\"items\":[";
    for one in &opened {
        let result = each(one, |reject| {
            if screen.json {
                let item = serde_json::to_string(&item(&one.path, reject)).expect("an item is JSON");
                write!(screen.out, "{before}{item}")?;
                before = ",";
                return Ok(());
            }
            let mut row = row(reject);
            if several {
                row.insert(0, text::plain(&one.path.display().to_string()).into_owned());
            }
            table.push(row, screen)
        });
        match result {
            Err(error @ CliError::Spool { .. }) => errors.push(error),
            result => result?,
        }
    }
    if screen.json {
        let begin = if before == "," { "" } else { before };
        screen.line(&format!("{begin}]}}"))?;
    } else if !table.finish(screen)? && errors.is_empty() {
        screen.note("nothing lies in failed/");
    }
    screen.flush()?;
    first_of(errors, screen)
}

/// Hands over all that lies there, in the order of names; what goes meanwhile is left out.
fn each(one: &Opened, mut show: impl FnMut(&Reject) -> Result<(), CliError>) -> Result<(), CliError> {
    for name in one.rejects.names().map_err(|error| one.unreadable(&error))? {
        match one.rejects.look(&name) {
            Ok(reject) => show(&reject)?,
            Err(RejectError::Io(error)) => return Err(one.unreadable(&error)),
            Err(_) => {}
        }
    }
    Ok(())
}

fn item(directory: &Path, reject: &Reject) -> Listed {
    let reason = reject.reason.as_ref();
    Listed {
        directory: directory.display().to_string(),
        name: reject.name.to_string_lossy().into_owned(),
        name_base64: bytes(&reject.name),
        file: reason.map(|reason| reason.file.clone()),
        code: reason.map(|reason| reason.code.clone()),
        message: reason.map(|reason| reason.message.clone()),
        line: reason.and_then(|reason| reason.line),
        item: reason.and_then(|reason| reason.item),
        at: reason.map(|reason| reason.at),
        size: if let Lies::File(size) = reject.lies { Some(size) } else { None },
    }
}

fn place(reason: &Reason) -> Option<dialect::Place> {
    reason.line.map(dialect::Place::Line).or(reason.item.map(dialect::Place::Item))
}

fn row(reject: &Reject) -> Vec<String> {
    let none = || "-".to_owned();
    let reason = reject.reason.as_ref();
    let size = if let Lies::File(size) = reject.lies { text::size(size) } else { none() };
    let message = match (reject.lies, reason) {
        (Lies::File(_), Some(reason)) => text::plain(&reason.message).into_owned(),
        (Lies::File(_), None) => "no reason lies beside it".to_owned(),
        (Lies::Special, _) => "no file, but a link, a directory or the like".to_owned(),
        (Lies::Nothing, Some(reason)) => {
            format!("the file is gone, its reason was: {}", text::plain(&reason.message))
        }
        (Lies::Nothing, None) => "the file is gone, its reason cannot be read".to_owned(),
    };
    vec![
        text::plain(&reject.name.to_string_lossy()).into_owned(),
        reason.map_or_else(none, |reason| text::plain(&reason.code).into_owned()),
        reason.and_then(place).map_or_else(none, |place| place.to_string()),
        size,
        reason.map_or_else(none, |reason| text::time(reason.at)),
        message,
    ]
}
