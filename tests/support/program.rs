//! A receiver that is a program of its own: one of the examples, run as a person would run it.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::{DEADLINE, eventually};

/// A program that runs, and what it has printed so far. Dropped, it is killed.
pub struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// Whether there is such a command here.
pub fn is_there(command: &str) -> bool {
    let mut command = Command::new(command);
    // Each knows one of these; that one of them cannot be understood says as well that the command is there.
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// Writes a program, by a process of its own: what this one has open for writing may be so in a child that another thread is
/// making just then, and nothing that is open for writing can be run.
pub fn write(path: &Path, text: &str) {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().expect("install is there");
    let mut input = install.stdin.take().expect("it is piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    assert!(install.wait().expect("it is our child").success(), "{} is written", path.display());
}

impl Program {
    /// Runs a command line, with `more` arguments, in a directory.
    pub fn start(directory: &Path, line: &str, more: &[&str]) -> Self {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a command"));
        command.args(words).args(more).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let output = child.stdout.take().expect("it is piped");
        let lines = Arc::new(Mutex::default());
        let printed = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                lock(&printed).push(line);
            }
        });
        Self { child, lines }
    }

    /// What it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    /// How many of the lines begin so.
    pub fn count(&self, beginning: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(beginning)).count()
    }

    /// Waits for a line that begins so, and gives back the rest of it.
    pub fn line(&self, beginning: &str) -> String {
        eventually(&format!("a line that begins with {beginning}"), || {
            self.lines().iter().find_map(|line| line.strip_prefix(beginning)).map(str::to_owned)
        })
    }

    /// The URL that it listens on, which it prints first.
    pub fn url(&self) -> String {
        self.line("listening on ")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the receiver printed:\n{}\n---", self.lines().join("\n"));
        }
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a request to a receiver as anybody could: its status and its text.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let (address, path) = split(url);
    let mut stream = TcpStream::connect(address).expect("the receiver listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a String takes all");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).expect("it reads");
    stream.write_all(body).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {head}")), text.to_owned())
}

/// The address and the path of a URL.
pub fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").expect("http");
    rest.split_at(rest.find('/').expect("a path"))
}
