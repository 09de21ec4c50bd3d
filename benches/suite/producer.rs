//! Producers: events handed in as JSON lines.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    thread,
};

use crate::{Result, socket::connect};

/// Bytes of every event's `data`.
pub(crate) const DATA: usize = 1024;
/// Lines written at once.
const AT_ONCE: usize = 64;

/// An event whose `data` has [`DATA`] bytes.
pub(crate) fn event(event_type: &str) -> String {
    let frame = r#"{"text":""}"#.len();
    let text = "0123456789abcdef".repeat(DATA / 16);
    format!(r#"{{"type":"{event_type}","data":{{"text":"{}"}}}}"#, &text[..DATA - frame])
}

/// Hands `count` events in over one stream without waiting for answers, and returns when all have been accepted.
///
/// # Errors
/// One was not accepted.
pub(crate) fn stream(socket: &Path, event: &str, count: usize) -> Result<()> {
    let stream = connect(socket)?;
    let writer = stream.try_clone()?;
    let chunk = format!("{event}\n").repeat(AT_ONCE);
    thread::scope(|scope| {
        let writing = scope.spawn(move || write(writer, chunk.as_bytes(), count));
        let read = read(stream, count);
        writing.join().expect("writing does not panic")?;
        read
    })
}

/// The same over several streams at once, in all `count` events.
pub(crate) fn streams(socket: &Path, event: &str, count: usize, streams: usize) -> Result<()> {
    thread::scope(|scope| {
        let producers: Vec<_> =
            (0..streams).map(|_| scope.spawn(move || stream(socket, event, count / streams))).collect();
        producers.into_iter().try_for_each(|one| one.join().expect("a producer does not panic"))
    })
}

fn write(mut stream: UnixStream, chunk: &[u8], count: usize) -> Result<()> {
    let line = chunk.len() / AT_ONCE;
    let mut left = count;
    while left > 0 {
        let lines = left.min(AT_ONCE);
        stream.write_all(&chunk[..lines * line])?;
        left -= lines;
    }
    Ok(())
}

/// Reads `count` answers. All that accept are of one length, so that counting bytes tells if one does not.
fn read(mut stream: UnixStream, count: usize) -> Result<()> {
    let accepted = r#"{"id":"evt_00000000000000000000000000"}"#.len() + 1;
    let (mut buffer, mut lines, mut bytes) = (vec![0; 64 << 10], 0, 0);
    while lines < count {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(format!("the daemon hung up after {lines} of {count} answers").into());
        }
        #[allow(clippy::naive_bytecount, reason = "a crate for one count in a benchmark is too much")]
        let ends = buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        lines += ends;
        bytes += read;
    }
    if bytes == count * accepted {
        return Ok(());
    }
    Err(format!("not all of {count} events were accepted: {bytes} bytes of answers").into())
}
