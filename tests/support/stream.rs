//! A producer's stream, of JSON lines or of MessagePack.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::Value;

use super::http;

/// One connection; lines go out and answers come back independently of each other.
pub struct Stream {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Stream {
    pub fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).expect("the daemon listens")
    }

    pub fn try_connect(socket: &Path) -> std::io::Result<Self> {
        let writer = http::connect(socket)?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Self { writer, reader })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the daemon reads");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.writer.write_all(bytes.as_ref())
    }

    /// Says that nothing more comes.
    pub fn finish(&self) {
        self.writer.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// As [`Self::finish`]; the daemon may have hung up already.
    pub fn try_finish(&self) {
        let _ = self.writer.shutdown(Shutdown::Write);
    }

    /// The next answer; `None` at the end of the connection.
    pub fn answer(&mut self) -> Option<Value> {
        self.try_answer().expect("the daemon answers")
    }

    /// As [`Self::answer`]. An answer that was cut off is an error: it acknowledges nothing.
    pub fn try_answer(&mut self) -> std::io::Result<Option<Value>> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        if !line.ends_with('\n') {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(serde_json::from_str(&line)?))
    }

    /// The next answer on a stream of MessagePack.
    pub fn message(&mut self) -> Value {
        self.try_message().expect("the daemon answers")
    }

    /// As [`Self::message`]. The end of the connection is an error, as is an answer that was cut off.
    pub fn try_message(&mut self) -> std::io::Result<Value> {
        rmp_serde::from_read(&mut self.reader).map_err(std::io::Error::other)
    }

    /// The next answers on a stream of MessagePack.
    pub fn messages(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.message()).collect()
    }

    /// Checks that no answer comes any more. Who hangs up before all was read resets the connection.
    pub fn assert_ended(&mut self) {
        let mut byte = [0];
        assert!(!matches!(self.reader.read(&mut byte), Ok(1)), "there is more: {byte:?}");
    }

    /// What events are written to.
    pub fn writer(&mut self) -> &mut UnixStream {
        &mut self.writer
    }

    /// The next answers.
    pub fn answers(&mut self, count: usize) -> Vec<Value> {
        (0..count)
            .map(|index| self.answer().unwrap_or_else(|| panic!("{index} of {count} answers")))
            .collect()
    }
}
