//! Floor (d): a bare commit for a producer in another thread, with the hand-overs that one writer for many producers takes.
//!
//! Producer, socket, a thread that reads it, the thread that commits, and back the same way. What the two threads do
//! besides is nothing: no event is parsed, no answer is made.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use super::storing::Bare;
use crate::Result;

/// What stands for an acknowledgement.
const DONE: &[u8] = b"done";

/// The producer's end.
pub(crate) struct Handing(UnixStream);

impl Handing {
    /// Has a thread of its own commit to `bare`, and another one read; both end when this is dropped.
    pub(crate) fn start(bare: Bare) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let (orders, to_do) = channel();
        let (said, heard) = channel();
        thread::Builder::new().name("storing".to_owned()).spawn(move || commit_all(bare, &to_do, &said))?;
        thread::Builder::new().name("reading".to_owned()).spawn(move || read_all(theirs, &orders, &heard))?;
        Ok(Self(ours))
    }

    /// Hands in `line`, and waits until a commit has been made for it.
    pub(crate) fn commit(&mut self, line: &[u8]) -> Result<()> {
        self.0.write_all(line)?;
        let mut answer = [0; DONE.len()];
        Ok(self.0.read_exact(&mut answer)?)
    }
}

/// Ends when nobody orders any more, or at an error, which the reader sees.
fn commit_all(mut bare: Bare, to_do: &Receiver<()>, said: &Sender<()>) -> Result<()> {
    for () in to_do {
        bare.commit(1)?;
        said.send(())?;
    }
    Ok(())
}

/// Ends when the producer has gone, or the writer; then the producer sees the end of the stream.
fn read_all(mut producer: UnixStream, orders: &Sender<()>, heard: &Receiver<()>) -> Result<()> {
    let mut buffer = [0; 1 << 12];
    loop {
        let read = producer.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        if buffer[..read].ends_with(b"\n") {
            orders.send(())?;
            heard.recv()?;
            producer.write_all(DONE)?;
        }
    }
}
