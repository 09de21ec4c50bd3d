//! A daemon for the commands' tests: raw HTTP/1.1 on a Unix socket, with answers laid out beforehand.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

/// In the place of a status: it hangs up on this one, and answers the next connection.
pub(crate) const HANG_UP: u16 = 0;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// On which connection, from 0.
    pub(crate) connection: usize,
    /// The request line.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Answers its requests one after another with the answers given, then hangs up on whoever asks more.
pub(crate) struct Daemon {
    dir: tempfile::TempDir,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Daemon {
    pub(crate) fn start(answers: Vec<(u16, String)>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("d.sock")).expect("a socket");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            let mut answers = answers.into_iter();
            for (connection, stream) in listener.incoming().enumerate() {
                let stream = stream.expect("a connection");
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                while let Some(request) = read_request(connection, &mut reader) {
                    shared.lock().expect("no panics").push(request);
                    let Some((status, body)) = answers.next().filter(|(status, _)| *status != HANG_UP) else {
                        break;
                    };
                    write_answer(&stream, status, &body);
                }
            }
        });
        Self { dir, seen }
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        vec![self.dir.path().join("d.sock")]
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect("no panics").clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }
}

fn read_request(connection: usize, reader: &mut BufReader<UnixStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { connection, line: line.trim_end().to_owned(), headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn write_answer(mut stream: &UnixStream, status: u16, body: &str) {
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).expect("the client reads");
    stream.write_all(body.as_bytes()).expect("the client reads");
}
