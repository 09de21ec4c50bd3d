//! A connection to the daemon's socket that speaks HTTP and is kept open.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use crate::Result;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection, one request at a time.
pub(crate) struct Http {
    stream: BufReader<UnixStream>,
}

impl Http {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        Ok(Self { stream: BufReader::new(connect(socket)?) })
    }

    /// The document at `path`.
    pub(crate) fn get(&mut self, path: &str) -> Result<Value> {
        self.stream
            .get_mut()
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())?;
        let (status, body) = self.answer()?;
        if status != 200 {
            return Err(format!("{path} was answered {status}").into());
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// Sends a request made by [`post`] and waits until it is answered as accepted.
    pub(crate) fn hand_in(&mut self, request: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(request)?;
        match self.answer()? {
            (202, _) => Ok(()),
            (status, body) => {
                let body = String::from_utf8_lossy(&body).into_owned();
                Err(format!("an event was answered {status}: {body}").into())
            }
        }
    }

    fn answer(&mut self) -> Result<(u16, Vec<u8>)> {
        let (mut line, mut status, mut length) = (String::new(), None, 0);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("the daemon hung up".into());
            }
            if status.is_none() {
                status = Some(line.split(' ').nth(1).ok_or("no status")?.parse()?);
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            } else if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status.ok_or("no status")?, body))
    }
}

/// The request that hands in one event.
pub(crate) fn post(event: &str) -> Vec<u8> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        event.len()
    );
    (head + event).into_bytes()
}

/// Connects, with a bound on how long any step may take.
pub(crate) fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
