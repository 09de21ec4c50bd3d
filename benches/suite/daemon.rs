//! The daemon under test: the built binary as a child, in a directory with a configuration.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Result, clock,
    process::{Memory, Usage},
    socket::Http,
};

/// The key behind [`secret`].
pub(crate) const KEY: &[u8; 32] = b"thirty-two bytes that nobody has";

/// A secret of Standard Webhooks.
pub(crate) fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

/// An endpoint for events of `event_types`, with further keys.
pub(crate) fn endpoint(name: &str, port: u16, event_types: &str, keys: &str) -> String {
    format!(
        "[[endpoint]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}/hooks/{name}\"\n\
         event_types = [\"{event_types}\"]\n{keys}\n"
    )
}

/// The same, signed with [`secret`], in the built-in profile.
pub(crate) fn signed_endpoint(name: &str, port: u16) -> String {
    endpoint(name, port, "*", &format!("secret = \"{}\"", secret()))
}

/// A directory with a configuration, a socket and a store.
pub(crate) struct Home {
    directory: TempDir,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Home {
    /// An empty one on the file system of `CARGO_TARGET_TMPDIR`, which is a disk where `/tmp` may be memory.
    pub(crate) fn new(configuration: &str) -> Result<Self> {
        let directory = TempDir::with_prefix_in("bench-", env!("CARGO_TARGET_TMPDIR"))?;
        let home = Self { directory, environment: Vec::new() };
        home.configure(configuration)?;
        Ok(home)
    }

    /// Gives the next daemons another configuration.
    pub(crate) fn configure(&self, configuration: &str) -> Result<()> {
        let text = format!("listen.socket = \"p.sock\"\nstore.path = \"outbox.redb\"\n{configuration}");
        Ok(fs::write(self.path("posthaste.toml"), text)?)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("p.sock")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("outbox.redb")
    }

    /// Gives the next daemons the credential `name`.
    pub(crate) fn provide(&mut self, name: &str, value: &str) -> Result<()> {
        fs::create_dir_all(self.path("credentials"))?;
        fs::write(self.path("credentials").join(name), value)?;
        self.environment.push(("CREDENTIALS_DIRECTORY", self.path("credentials")));
        Ok(())
    }

    /// What the daemons have said last.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }
}

/// A daemon that runs. Dropped, it is killed.
pub(crate) struct Daemon<'home> {
    home: &'home Home,
    child: Child,
    started: Instant,
}

impl<'home> Daemon<'home> {
    /// Starts one, and waits until it takes events.
    pub(crate) fn start(home: &'home Home) -> Result<Self> {
        Ok(Self::start_timed(home)?.0)
    }

    /// The same, with the time that it took from the start of the process.
    pub(crate) fn start_timed(home: &'home Home) -> Result<(Self, Duration)> {
        let log = OpenOptions::new().create(true).append(true).open(home.path("log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command.args(["serve".as_ref(), "--config".as_ref(), home.path("posthaste.toml").as_os_str()]);
        for name in ["POSTHASTE_LOG", "POSTHASTE_LOG_FORMAT", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"] {
            command.env_remove(name);
        }
        command.envs(home.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let started = clock::now();
        let mut daemon = Self { home, child: command.spawn()?, started };
        let took = daemon.until("the daemon takes events", |daemon| Ok(daemon.is_ready()))?;
        Ok((daemon, took))
    }

    /// Waits until `question` is answered with yes; the time since the start of the process.
    pub(crate) fn until(&mut self, what: &str, question: impl Fn(&Self) -> Result<bool>) -> Result<Duration> {
        clock::until(what, Duration::from_millis(1), || {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the daemon ended: {status}\n{}", self.home.last_words()).into());
            }
            Ok(question(self)?.then(|| clock::now() - self.started))
        })
    }

    fn is_ready(&self) -> bool {
        // Before it listens there is nobody to ask, and until the store is open it says no.
        Http::connect(&self.home.socket()).and_then(|mut http| http.get("/readyz")).is_ok()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.socket()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.pid())
    }

    /// The document at `path`.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        Http::connect(&self.home.socket())?.get(path)
    }

    /// Waits until the backlog has been read, and nothing is pending.
    pub(crate) fn settled(&self) -> Result<()> {
        clock::until("all deliveries have ended", Duration::from_millis(20), || {
            let status = self.get("/v1/status")?;
            let done = status["state"] == "running" && status["pending"]["total"] == 0;
            Ok(done.then_some(()))
        })
    }

    /// Commits to the store so far.
    pub(crate) fn commits(&self) -> Result<u64> {
        commits(&self.home.store())
    }

    /// Asks it to stop, and waits until it has; the time that took.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        let asked = clock::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() {
            return Ok(clock::now() - asked);
        }
        Err(format!("the daemon stopped with {status}\n{}", self.home.last_words()).into())
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many commits a store has seen: redb's file begins with two slots, in turn written by each commit, and each with
/// the number of its transaction. A commit takes two numbers: its own, and one to free pages with.
fn commits(store: &Path) -> Result<u64> {
    const MAGIC: &[u8] = b"redb";
    const NUMBERS: [usize; 2] = [168, 296];
    let mut header = [0; 320];
    File::open(store)?.read_exact_at(&mut header, 0)?;
    if !header.starts_with(MAGIC) {
        return Err("the store is no file of redb's as it is known here".into());
    }
    let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    Ok(NUMBERS.map(number).into_iter().max().expect("there are two") / 2)
}
