//! Which of the files in `failed/` are meant, and what became of each.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde::Serialize;

use super::{
    super::{error::CliError, exit::Exit, screen::Screen, text},
    place::{self, Opened, Place},
};
use crate::ingest::spool::{FAILED, RejectError, Rejects};

/// Some of the files, or all.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The names, as `posthaste spool list` has them
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub(super) names: Vec<OsString>,
    /// All that lie there
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What became of a file, for programs.
#[derive(Debug, Serialize)]
struct Item {
    /// The spool directory.
    directory: String,
    /// The name in `failed/`.
    name: String,
    /// Its bytes, where they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
    /// The name in the spool directory, if it is there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Its bytes, where they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_base64: Option<String>,
}

impl Which {
    /// Does `act` with each, and says what came of it: the name under which it is in the spool directory now, if it is
    /// there. What fails holds nothing up.
    pub(super) fn each(
        &self,
        sockets: &[PathBuf],
        screen: &mut Screen<'_>,
        act: impl Fn(&Rejects, &OsStr) -> Result<Option<OsString>, RejectError>,
    ) -> Result<(), CliError> {
        let (opened, mut errors) = self.place.open(sockets, screen)?;
        let mut items = Vec::new();
        let mut one = |place: &Opened, name: &OsStr, screen: &mut Screen<'_>| {
            match act(&place.rejects, name) {
                // Another was quicker.
                Err(RejectError::Unknown) if self.all => {}
                Err(error) => errors.push(failed(&place.path, name, &error)),
                Ok(now) if screen.json => items.push(Item {
                    directory: place.path.display().to_string(),
                    name: name.to_string_lossy().into_owned(),
                    name_base64: bytes(name),
                    file_base64: now.as_deref().and_then(bytes),
                    file: now.map(|now| now.to_string_lossy().into_owned()),
                }),
                Ok(now) => screen.line(&said(&place.path, name, now.as_deref()))?,
            }
            Ok::<_, CliError>(())
        };
        let (mut found, mut unclear) = (false, Vec::new());
        for place in opened.iter().filter(|_| self.all) {
            match place.rejects.names() {
                Ok(names) => {
                    found |= !names.is_empty();
                    names.iter().try_for_each(|name| one(place, name, screen))?;
                }
                Err(error) => unclear.push(place.unreadable(&error)),
            }
        }
        for name in &self.names {
            match &holders(&opened, name)[..] {
                [place] => one(place, name, screen)?,
                [] => unclear.push(nowhere(&opened, name)),
                several => unclear.push(everywhere(several, name)),
            }
        }
        errors.append(&mut unclear);
        if screen.json {
            let items = serde_json::to_string(&items).expect("items are JSON");
            screen.line(&format!("{{\"items\":{items}}}"))?;
        } else if self.all && !found && errors.is_empty() {
            screen.note("nothing lies in failed/");
        }
        screen.flush()?;
        first_of(errors, screen)
    }
}

/// The name's bytes, where they are no text.
pub(super) fn bytes(name: &OsStr) -> Option<String> {
    name.to_str().is_none().then(|| STANDARD.encode(name.as_bytes()))
}

/// The directories that have something of this name, or may have it.
fn holders<'a>(opened: &'a [Opened], name: &OsStr) -> Vec<&'a Opened> {
    let has = |place: &&Opened| !matches!(place.rejects.look(name), Err(RejectError::Unknown));
    opened.iter().filter(has).collect()
}

fn said(directory: &Path, name: &OsStr, now: Option<&OsStr>) -> String {
    let Some(now) = now else { return format!("{}: removed", shown(name)) };
    let under = if now == name { String::new() } else { format!(", as {}", shown(now)) };
    let directory = directory.display().to_string();
    let only = if Rejects::needs_type(now) {
        "; a file of this kind is taken where the directory has a `type`, else left alone"
    } else {
        ""
    };
    format!("{}: moved back to {}{under}{only}", shown(name), text::plain(&directory))
}

fn failed(directory: &Path, name: &OsStr, error: &RejectError) -> CliError {
    let path = directory.join(FAILED).join(name).display().to_string();
    let path = text::plain(&path);
    match error {
        RejectError::Io(error) => CliError::Spool {
            exit: place::exit_of(error),
            message: format!("{path}: {}", place::describe(error)),
        },
        other => CliError::Spool { exit: Exit::Data, message: format!("{path}: {other}") },
    }
}

fn nowhere(opened: &[Opened], name: &OsStr) -> CliError {
    let places: Vec<_> = opened.iter().map(|place| place.path.join(FAILED).display().to_string()).collect();
    let place = match &places[..] {
        [] => "any failed/".to_owned(),
        places => text::plain(&places.join(", ")).into_owned(),
    };
    let message =
        format!("there is no {} in {place}; `posthaste spool list` shows what there is", shown(name));
    CliError::Spool { exit: Exit::Data, message }
}

fn everywhere(places: &[&Opened], name: &OsStr) -> CliError {
    let places: Vec<_> = places.iter().map(|place| place.path.display().to_string()).collect();
    let message = format!(
        "{} lies in the failed/ of several directories: say --directory, which is one of {}",
        shown(name),
        text::plain(&places.join(", "))
    );
    CliError::Spool { exit: Exit::Data, message }
}

fn shown(name: &OsStr) -> String {
    text::plain(&name.to_string_lossy()).into_owned()
}

/// All errors are told; the first one is what the command ends with.
pub(super) fn first_of(errors: Vec<CliError>, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let mut errors = errors.into_iter();
    let first = errors.next();
    errors.for_each(|error| screen.note(&format!("posthaste: {error}")));
    first.map_or(Ok(()), Err)
}
