//! A daemon whose connections do as they are told: for what a real one does seldom, or when nobody can tell.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use serde_json::json;

use super::eventually;

/// What a connection does: it reads so many lines and answers with these, step by step, and hangs up.
pub type Steps = Vec<(usize, String)>;

/// The answer to an event that was taken.
pub const TAKEN: &str = "{\"id\":\"evt_01hqr804xqedfrpgbwt3r3pxf9\"}\n";

/// The answer to one that is refused for now.
pub fn not_now(code: &str, after: u64) -> String {
    json!({"error": {"code": code, "message": "not now", "retry_after": after}}).to_string() + "\n"
}

/// Serves as many connections as it has scripts.
pub struct Scripted {
    socket: PathBuf,
    thread: JoinHandle<Vec<usize>>,
}

impl Scripted {
    pub fn start(socket: &Path, script: Vec<Steps>) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let serve = move |steps: Steps| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut lines = reader.lines().map_while(Result::ok).filter(|line| !line.trim().is_empty());
            let step = |(wanted, answers): (usize, String)| {
                let came = lines.by_ref().take(wanted).count();
                // Whoever has left does not read it.
                let _ = stream.write_all(answers.as_bytes());
                came
            };
            steps.into_iter().map(step).sum()
        };
        let thread = thread::spawn(move || script.into_iter().map(serve).collect());
        Self { socket: socket.to_owned(), thread }
    }

    /// How many lines came on each connection.
    pub fn read(self) -> Vec<usize> {
        // Connections that nobody made are made here, and nothing comes on them.
        eventually("the script's end", || {
            let _ = UnixStream::connect(&self.socket);
            self.thread.is_finished().then_some(())
        });
        self.thread.join().expect("it does as it is told")
    }
}
