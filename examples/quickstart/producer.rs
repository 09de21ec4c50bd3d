//! The producer's side: handing events in, through the socket and as files.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use posthaste::{
    api::view::{Accepted, StatusView},
    cli::client::{self, Client, Query},
};

use crate::{PATIENCE, Result};

/// Hands one event in with `POST /v1/events`: its id.
pub(crate) fn post(socket: &Path, event: &str) -> Result<String> {
    let answer = connect(socket)?.post("/v1/events", event.as_bytes())?;
    let accepted: Accepted = client::parse(&answer)?;
    Ok(accepted.id.to_string())
}

/// Streams `count` events, a line of JSON each, and reads an answer for each: their ids.
pub(crate) fn stream(socket: &Path, event_type: &str, count: usize) -> Result<Vec<String>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for number in 1..=count {
        writeln!(stream, r#"{{"type":"{event_type}","data":{{"number":{number}}}}}"#)?;
    }
    let mut ids = Vec::new();
    for answer in BufReader::new(stream).lines().take(count) {
        // A refusal has no `id`.
        let accepted: Accepted = client::parse(answer?.as_bytes())?;
        ids.push(accepted.id.to_string());
    }
    Ok(ids)
}

/// Puts a file into the spool directory, as a whole: written under a hidden name, then renamed.
pub(crate) fn drop_file(spool: &Path, name: &str, events: &str) -> Result<()> {
    let hidden = spool.join(format!(".{name}.part"));
    fs::write(&hidden, events)?;
    fs::rename(&hidden, spool.join(name))?;
    Ok(())
}

/// Whether the daemon takes events.
pub(crate) fn is_ready(socket: &Path) -> bool {
    connect(socket).and_then(|client| Ok(client.get("/readyz", &Query::default())?)).is_ok()
}

/// Whether no delivery is pending.
pub(crate) fn is_idle(socket: &Path) -> Result<bool> {
    let answer = connect(socket)?.get("/v1/status", &Query::default())?;
    let status: StatusView = client::parse(&answer)?;
    Ok(status.inside.is_some_and(|inside| inside.pending.total == 0))
}

/// A connection to the daemon's API.
pub(crate) fn connect(socket: &Path) -> Result<Client> {
    Ok(Client::connect(&[PathBuf::from(socket)])?)
}
