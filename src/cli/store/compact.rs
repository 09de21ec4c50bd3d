//! `posthaste store compact`.

use clap::Args as ClapArgs;
use serde_json::json;

use super::{
    super::{error::CliError, exit::Exit, screen::Screen, text},
    bar::Bar,
    place::{Place, failed, shown, unusable},
};
use crate::outbox::file::{Compacted, Stopped};

/// `posthaste store compact`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  systemctl stop posthaste; posthaste store compact; systemctl start posthaste"
)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// Compacts the file and says what came of it.
pub(super) fn run(args: &Args, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let path = args.place.path(screen)?;
    let done = {
        let bar = Bar::new(screen);
        let opened = Stopped::write(&path, bar.percent("putting in order what was not closed"));
        let opened = opened.map_err(|error| unusable(&path, &error))?;
        bar.draw(|| "moving pages to the front of the file; it can be stopped at any time".to_owned());
        opened.compact()
    };
    let done = done.map_err(|error| {
        if error.is_no_space() {
            let message = format!(
                "{}: the disk has no room for the pages that are moved; nothing is lost. Make room, and do it again",
                shown(&path)
            );
            return CliError::Store { exit: Exit::TryAgain, message };
        }
        failed(&path, &error)
    })?;
    let Compacted { before, after, taken_before, taken_after } = done;
    if screen.json {
        let sizes = json!({
            "file": path.display().to_string(),
            "size_before": before, "size": after, "taken_before": taken_before, "taken": taken_after,
        });
        return screen.line(&sizes.to_string());
    }
    screen.line(&format!(
        "{}: {} long, it was {}; it takes up {} of the disk, it was {}",
        shown(&path),
        text::size(after),
        text::size(before),
        text::size(taken_after),
        text::size(taken_before)
    ))
}
