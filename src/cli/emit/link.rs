//! One connection that speaks the stream: lines go out from here, and a thread of its own takes the answers, so that
//! neither side ever waits for the other to read.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::Duration,
};

use crate::{
    cli::{error::CliError, socket},
    ingest::answer::Answer,
};

/// Small lines go out in pieces of about so many bytes.
const PIECE: usize = 64 << 10;
/// An answer has fewer bytes than this.
const ANSWER_LIMIT: u64 = 1 << 20;

/// What the thread hears.
#[derive(Debug)]
pub enum Said {
    /// An answer.
    Answer(Answer),
    /// Something that is no answer.
    Nonsense(String),
    /// The connection is over: the daemon has closed it, or this went wrong.
    Over(Option<io::Error>),
}

/// An open connection. Dropped, it is over.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    out: Vec<u8>,
    /// Nothing more can be written; what was answered is still to be heard.
    deaf: bool,
    /// It has answered.
    proven: bool,
}

impl Link {
    /// Connects to the first of `paths` behind which a daemon listens; `hear` is told what it says, on a thread.
    ///
    /// # Errors
    /// Nobody listens, or it may not be used; or there is no thread to be had.
    pub fn open(
        paths: &[PathBuf],
        patience: Duration,
        hear: impl FnMut(Said) -> bool + Send + 'static,
    ) -> Result<Self, CliError> {
        let (_, stream) = socket::connect(paths)?;
        let failed = |error: io::Error| CliError::Io(format!("cannot listen to the daemon: {error}"));
        stream.set_write_timeout(Some(patience)).map_err(failed)?;
        let answers = stream.try_clone().map_err(failed)?;
        let thread = thread::Builder::new().name("answers".to_owned());
        thread.spawn(move || listen(answers, hear)).map_err(failed)?;
        // The first byte says what is spoken; a line that is no event must not choose another dialect.
        Ok(Self { stream, out: vec![b'\n'], deaf: false, proven: false })
    }

    /// Sends a line, soon.
    pub fn send(&mut self, line: &[u8]) {
        if self.out.len() + line.len() > PIECE {
            self.flush();
        }
        if line.len() > PIECE {
            self.write(line);
        } else {
            self.out.extend_from_slice(line);
        }
    }

    /// Whether nothing more can be sent: its end is about to be heard.
    pub const fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Whether there was an answer. Until then one line is enough: where the connection as a whole is refused nothing
    /// else is lost with it.
    pub const fn is_proven(&self) -> bool {
        self.proven
    }

    /// There was an answer; whether it was the first.
    pub const fn prove(&mut self) -> bool {
        !std::mem::replace(&mut self.proven, true)
    }

    /// Sends what is left.
    pub fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        self.write(&out);
        self.out = out;
        self.out.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        if !self.deaf && (&self.stream).write_all(bytes).is_err() {
            // What the daemon has answered can still be heard; a daemon that only does not read is given up.
            self.deaf = true;
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It fails only when the connection is over already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Passes on answers until the connection is over, or nobody wants them. An answer that is cut short is none.
fn listen(stream: UnixStream, mut hear: impl FnMut(Said) -> bool) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let said = match reader.by_ref().take(ANSWER_LIMIT).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => match serde_json::from_slice(&line) {
                Ok(answer) => Said::Answer(answer),
                Err(error) => Said::Nonsense(error.to_string()),
            },
            Ok(_) => Said::Over(None),
            Err(error) => Said::Over(Some(error)),
        };
        let last = !matches!(said, Said::Answer(_));
        if !hear(said) || last {
            return;
        }
    }
}
