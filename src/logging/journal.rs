//! journald's native protocol: a record is a datagram to its socket, and each of its fields can be searched for.
//!
//! A field is `NAME=value` and a line feed; where the value has line feeds it is `NAME`, a line feed, the value's length in 64
//! bits, little-endian, the value, and a line feed. Names are upper-case letters, digits and underscores, 64 at most. Ours
//! begin with `POSTHASTE_`; `MESSAGE` has the fields as well, so that a journal that is only read says all of it.
//!
//! tracing-journald is not used: it sends from the thread that logs, and so a journald that stands still would hold up
//! whoever says something.

use std::{
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use super::{record::Record, text};

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest name of a field that it takes.
const NAME: usize = 64;

/// journald, as far as it can be reached.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journal {
    /// At this socket.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    /// Sends a record; waits as long as the socket's queue is full. The address is looked up each time, so that another
    /// journald at the same place is found.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn send(&mut self, record: &Record) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(UnixDatagram::unbound()?),
        };
        socket.send_to(&encode(record), &self.path).map(drop)
    }
}

/// The datagram of a record.
fn encode(record: &Record) -> Vec<u8> {
    let message = if record.heading.is_some() { record.message.clone() } else { text::said(record) };
    let mut out = Vec::with_capacity(2 * message.len() + 512);
    put(&mut out, "MESSAGE", &message);
    put(&mut out, "PRIORITY", &record.priority().to_string());
    put(&mut out, "SYSLOG_IDENTIFIER", env!("CARGO_PKG_NAME"));
    if let Some(kind) = record.kind {
        put(&mut out, "MESSAGE_ID", kind.message_id());
        put(&mut out, "POSTHASTE_KIND", kind.word());
    }
    for (name, value) in &record.fields {
        put(&mut out, &field(name), &value.to_string());
    }
    put(&mut out, "TARGET", record.source.target);
    if let (Some(file), Some(line)) = (record.source.file, record.source.line) {
        put(&mut out, "CODE_FILE", file);
        put(&mut out, "CODE_LINE", &line.to_string());
    }
    out
}

/// The journal's name of a field.
fn field(name: &str) -> String {
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    "POSTHASTE_".chars().chain(name.chars().map(letter)).take(NAME).collect()
}

fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::{
        super::record::{BOUND, tests::said},
        *,
    };
    use crate::{logging::Kind, model::time::Timestamp};

    /// Reads a datagram as the protocol's description has it.
    fn read(mut rest: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').expect("a line's end");
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            let (name, value) = if let Some(at) = line.iter().position(|byte| *byte == b'=') {
                rest = after;
                (&line[..at], &line[at + 1..])
            } else {
                let (length, after) = after.split_first_chunk::<8>().expect("a length");
                let length = usize::try_from(u64::from_le_bytes(*length)).expect("it fits");
                assert_eq!(after[length], b'\n', "its end");
                rest = &after[length + 1..];
                (line, &after[..length])
            };
            let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
            assert!((1..=64).contains(&name.len()) && name.iter().all(is_name), "{}", text(name));
            assert!(name[0].is_ascii_uppercase(), "{}", text(name));
            fields.push((text(name), text(value)));
        }
        fields
    }

    #[test]
    fn a_datagram_has_every_field() {
        let [record] = said(|| {
            tracing::warn!(
                kind = Kind::EndpointDisabled.word(),
                endpoint = "ep_1",
                moved.to = "a=b\nc",
                count = 2,
                "it is\nso"
            );
        })
        .try_into()
        .expect("one");
        let id = Kind::EndpointDisabled.message_id();
        let line = record.source.line.expect("it is ours").to_string();
        let expected = [
            ("MESSAGE", "it is\nso endpoint=\"ep_1\" moved.to=\"a=b\\nc\" count=2"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "posthaste"),
            ("MESSAGE_ID", id),
            ("POSTHASTE_KIND", "endpoint_disabled"),
            ("POSTHASTE_ENDPOINT", "ep_1"),
            ("POSTHASTE_MOVED_TO", "a=b\nc"),
            ("POSTHASTE_COUNT", "2"),
            ("TARGET", module_path!()),
            ("CODE_FILE", file!()),
            ("CODE_LINE", &line),
        ];
        let fields = read(&encode(&record));
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_last_word_has_no_heading_there() {
        let record = Record::last_word(Timestamp::RELEASED, "posthaste: ", "it is so");
        let fields = read(&encode(&record));
        assert_eq!(fields[0], ("MESSAGE".to_owned(), "it is so".to_owned()));
        assert_eq!(fields[1], ("PRIORITY".to_owned(), "3".to_owned()));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(field(&"x".repeat(100)), format!("POSTHASTE_{}", "X".repeat(54)));
    }

    #[test]
    fn a_journald_that_does_not_read_is_waited_for() {
        // More than the kernel keeps of a socket.
        const RECORDS: usize = 2000;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let journald = UnixDatagram::bind(&path).expect("a socket");
        let mut journal = Journal::at(&path);
        let record = said(|| tracing::info!("a")).remove(0);
        let (said, begun) = mpsc::channel();
        let sending = thread::spawn(move || {
            for _ in 0..RECORDS {
                journal.send(&record).expect("it waits");
                // Nobody hears of any but the first.
                let _ = said.send(());
            }
        });
        begun.recv().expect("it sends");
        drop(begun);
        let mut datagram = [0; 4096];
        for _ in 0..RECORDS {
            journald.recv(&mut datagram).expect("a datagram");
        }
        sending.join().expect("it has sent all");
    }

    #[test]
    fn journald_is_found_again_and_takes_the_longest_record() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let mut journal = Journal::at(&path);
        let record = |text: &str| said(|| tracing::info!(field = text, "x")).remove(0);
        journal.send(&record("a")).expect_err("nobody is there");
        // What takes most room in the message.
        let longest = "\x1b".repeat(2 * BOUND);
        for _ in 0..2 {
            let journald = UnixDatagram::bind(&path).expect("a socket");
            let mut datagram = vec![0; 8 * BOUND];
            for text in ["a", &longest] {
                journal.send(&record(text)).expect("it is there");
                let length = journald.recv(&mut datagram).expect("a datagram");
                // The least that a kernel gives a socket to send with, where it was not told otherwise.
                assert!(length < 163_840, "{length}");
                let fields = read(&datagram[..length]);
                let (_, value) =
                    fields.iter().find(|(name, _)| name == "POSTHASTE_FIELD").expect("it was said");
                assert!(value.starts_with(&text[..text.len().min(BOUND - 1)]), "{}", value.len());
            }
            drop(journald);
            journal.send(&record("a")).expect_err("it has gone");
            std::fs::remove_file(&path).expect("it was there");
            journal.send(&record("a")).expect_err("and its socket");
        }
    }
}
