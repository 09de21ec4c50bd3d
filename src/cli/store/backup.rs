//! `posthaste store backup`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::{
    super::{
        client::{self, Client},
        error::CliError,
        exit::Exit,
        job,
        screen::Screen,
    },
    place::shown,
};
use crate::api::view::JobView;

/// `posthaste store backup`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  posthaste store backup /var/backups/outbox-$(date +%F).redb\n\nThe daemon writes the file, as its own user, on the machine that it runs on."
)]
pub struct Args {
    /// Where to; a file is made and none replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Return as soon as it has begun
    #[arg(long)]
    no_wait: bool,
}

/// Has the backup made, and waits for it unless told not to.
pub(super) fn run(args: &Args, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    // The daemon's working directory is another.
    let file =
        std::path::absolute(&args.file).map_err(|error| CliError::File { path: args.file.clone(), error })?;
    let Some(name) = file.to_str() else {
        return Err(CliError::Usage(format!("{}: the name of the file is no UTF-8", shown(&file))));
    };
    let client = Client::connect(sockets)?;
    let answer = client.post("/v1/store/backup", json!({ "file": name }).to_string().as_bytes())?;
    if args.no_wait {
        if screen.json {
            return screen.json(&answer);
        }
        let job: JobView = client::parse(&answer)?;
        return screen
            .line(&format!("{}: `posthaste job show {} --watch` says how it is doing", job.id, job.id));
    }
    let job: JobView = client::parse(&answer)?;
    job::watch(job.id, &client, screen).map_err(|error| match error {
        // As a rule it is the file that could not be written.
        CliError::Unfinished { message, .. } => CliError::Unfinished { exit: Exit::Io, message },
        error => error,
    })
}
