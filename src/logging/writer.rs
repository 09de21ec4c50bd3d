//! The thread that writes the log, and may wait for whoever reads it.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::Path,
    sync::Arc,
    thread,
};

use super::{
    journal::{self, Journal},
    json,
    place::{Form, Place},
    queue::Queue,
    record::Record,
    text,
};

/// The thread's name.
pub(super) const THREAD: &str = "log";

/// Where records end.
struct Outlet {
    place: Place,
    journal: Journal,
    /// A descriptor of its own: whoever else writes to standard error does not wait for this thread.
    stderr: File,
}

/// Starts the thread. It ends with the process.
///
/// # Errors
/// The system gives no thread, or no descriptor.
pub(super) fn start(place: Place, queue: Arc<Queue>) -> io::Result<()> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let mut outlet = Outlet { place, journal: Journal::at(Path::new(journal::SOCKET)), stderr };
    let write = move || {
        loop {
            outlet.write(&queue.next());
        }
    };
    thread::Builder::new().name(THREAD.to_owned()).spawn(write).map(drop)
}

impl Outlet {
    fn write(&mut self, record: &Record) {
        let line = match self.place {
            Place::Journal => match self.journal.send(record) {
                Ok(()) => return,
                // While journald is away systemd keeps what comes over standard error.
                Err(_) => text::lines(record, true),
            },
            Place::Lines { form: Form::Text, priorities } => text::lines(record, priorities),
            Place::Lines { form: Form::Json, priorities } => json::line(record, priorities),
        };
        // There is nowhere to say that nobody reads it.
        let _ = self.stderr.write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read as _, Seek as _},
        os::unix::net::UnixDatagram,
    };

    use super::*;
    use crate::{logging::Kind, model::time::Timestamp};

    #[test]
    fn while_journald_is_away_lines_go_to_standard_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let mut stderr = tempfile::tempfile().expect("a file");
        let mut outlet = Outlet {
            place: Place::Journal,
            journal: Journal::at(&path),
            stderr: stderr.try_clone().expect("a descriptor"),
        };
        let record = |text: &str| Record::own(Timestamp::RELEASED, Kind::DoorShut, text);
        let mut datagram = [0; 4096];
        for (round, word) in ["a", "b"].into_iter().enumerate() {
            let journald = UnixDatagram::bind(&path).expect("a socket");
            outlet.write(&record(word));
            let length = journald.recv(&mut datagram).expect("a datagram");
            assert!(datagram[..length].starts_with(format!("MESSAGE={word}\n").as_bytes()), "{word}");
            fs::remove_file(&path).expect("it was there");
            outlet.write(&record("without"));
            let mut text = String::new();
            stderr.rewind().expect("a file");
            stderr.read_to_string(&mut text).expect("it is text");
            let expected = format!("<4>{}  WARN without\n", Timestamp::RELEASED);
            assert_eq!(text, expected.repeat(round + 1));
        }
    }
}
