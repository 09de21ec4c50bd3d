//! A daemon in a directory of its own, and what a user does with it.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader},
    os::{
        fd::OwnedFd,
        unix::{
            fs::chown,
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    eventually,
    http::{self, Answer},
    skip,
    stream::Stream,
};

/// A directory with a configuration, a store, a socket, and perhaps a daemon that runs. What runs is killed at the end.
pub struct World {
    directory: TempDir,
    environment: Vec<(String, String)>,
    /// What the daemon finds in the place of the system's files.
    mounts: Vec<String>,
    user: Option<u32>,
    /// What the daemon finds open, by name.
    passed: Vec<(OwnedFd, String)>,
    /// What the daemon has for standard error in the place of its log.
    stderr: Option<OwnedFd>,
    daemon: Option<Child>,
    /// Whoever holds the mount of `disk/`; it ends with its standard input.
    disk: Option<Child>,
}

/// The program under test, in an environment without anything that could lead it elsewhere.
pub fn posthaste() -> Command {
    undisturbed(Command::new(PROGRAM))
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_posthaste");

fn undisturbed(mut command: Command) -> Command {
    for name in [
        "POSTHASTE_SOCKET",
        "POSTHASTE_SECRET",
        "POSTHASTE_LOG",
        "POSTHASTE_LOG_FORMAT",
        "JOURNAL_STREAM",
        "CREDENTIALS_DIRECTORY",
        "STATE_DIRECTORY",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PID",
        "SSL_CERT_DIR",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

impl World {
    /// A directory whose configuration has `text` besides socket and store. Nothing runs yet.
    pub fn new(text: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("posthaste").tempdir().expect("a directory");
        let world = Self {
            directory,
            environment: Vec::new(),
            mounts: Vec::new(),
            user: None,
            passed: Vec::new(),
            stderr: None,
            daemon: None,
            disk: None,
        };
        world.configure(text);
        world
    }

    /// As [`Self::new`], with the store on a file system of its own in memory, of so many MiB, which only the daemon sees at
    /// `disk/`. It takes root; without, the test is skipped.
    pub fn on_disk(mebibytes: u32, text: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("it takes root to mount a small disk", true);
            return None;
        }
        let mut world = Self::new("");
        fs::create_dir(world.path("disk")).expect("a directory");
        let script = "mount -t tmpfs -o size=$1m tmpfs \"$2\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare");
        holder.args(["-m", "sh", "-c", script, "sh", &mebibytes.to_string()]).arg(world.path("disk"));
        let mut holder =
            holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare is there");
        let mut line = String::new();
        let output = holder.stdout.as_mut().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it says something");
        world.disk = Some(holder);
        if line != "mounted\n" {
            skip("nothing can be mounted here, so there is no small disk", true);
            return None;
        }
        world.configure(text);
        Some(world)
    }

    /// Where a file of the store's own disk is, as it is seen from outside.
    pub fn on_its_disk(&self, name: &str) -> PathBuf {
        let holder = self.disk.as_ref().expect("it has a disk of its own").id();
        let inside = self.path("disk").join(name);
        Path::new(&format!("/proc/{holder}/root")).join(inside.strip_prefix("/").expect("from the root on"))
    }

    /// As [`Self::new`], and the daemon runs.
    pub fn running(text: &str) -> Self {
        let mut world = Self::new(text);
        world.start();
        world
    }

    /// Writes the configuration, for the next start. Further keys of `listen` and `store` are written as
    /// `store.settle_delay = …`, and stand first.
    pub fn configure(&self, text: &str) {
        let path = if self.disk.is_some() { "disk/outbox.redb" } else { "outbox.redb" };
        // Dozens of daemons have one at the same time.
        let reserve = if text.contains("store.reserve") { "" } else { "store.reserve = \"1MiB\"\n" };
        let text = format!("listen.socket = \"p.sock\"\nstore.path = \"{path}\"\n{reserve}{text}");
        fs::write(self.config(), text).expect("a configuration");
    }

    /// Sets a variable of the daemon's environment, from the next start on.
    pub fn set_env(&mut self, name: &str, value: &Path) {
        self.environment.push((name.to_owned(), value.display().to_string()));
    }

    /// Passes this socket to the daemon under a name, as a service manager does, from the next start on. Two at most.
    pub fn pass(&mut self, name: &str, socket: impl Into<OwnedFd>) {
        self.passed.push((socket.into(), name.to_owned()));
    }

    /// The program under test with what is passed to it: a shell moves it to where it is looked for, and becomes the program.
    fn activated(&self) -> Command {
        let script = "exec 3<&0 0</dev/null 4>&1 1>/dev/null; export LISTEN_PID=$$; exec \"$@\"";
        let mut command = undisturbed(Command::new("sh"));
        command.args(["-c", script, "sh", PROGRAM]);
        let names: Vec<_> = self.passed.iter().map(|(_, name)| name.as_str()).collect();
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let mut sockets =
            self.passed.iter().map(|(socket, _)| Stdio::from(socket.try_clone().expect("it is open")));
        command.stdin(sockets.next().expect("something is passed"));
        command.stdout(sockets.next().unwrap_or_else(Stdio::null));
        command
    }

    /// Puts a file in the place of one of the system's, for this directory's daemons and checks alone: they run in a mount
    /// namespace of their own, from the next start on. It takes root.
    pub fn mount(&mut self, file: &Path, over: &str) {
        self.mounts.push(format!("mount --bind '{}' {over}", file.display()));
    }

    /// Makes the directory `name` an empty one that cannot be written, for this directory's daemons alone, which are told
    /// besides that each is the main process of a unit: as if they ran in its sandbox. It takes root.
    pub fn confine(&mut self, name: &str) {
        self.mounts.push(format!("mount -t tmpfs -o ro tmpfs '{}'", self.path(name).display()));
        self.mounts.push("export SYSTEMD_EXEC_PID=$$".to_owned());
    }

    /// Makes the directory `name` a mount that never answers, as a network file system does whose server is gone, for this
    /// directory's daemons alone. It takes root.
    pub fn hang(&mut self, name: &str) {
        // The daemon itself holds what would have to answer, and does not know of it.
        let options = "fd=9,rootmode=40000,user_id=0,group_id=0";
        self.mounts.push("exec 9<>/dev/fuse".to_owned());
        self.mounts.push(format!("mount -i -t fuse -o {options} nobody '{}'", self.path(name).display()));
    }

    /// Gives daemons this as standard error from the next start on, in the place of the log.
    pub fn set_stderr(&mut self, stderr: OwnedFd) {
        self.stderr = Some(stderr);
    }

    /// The program under test, as this directory's daemons run it.
    pub fn program(&self) -> Command {
        if let Some(holder) = &self.disk {
            let mut command = undisturbed(Command::new("nsenter"));
            command.args(["-t", &holder.id().to_string(), "-m", "--", PROGRAM]);
            return command;
        }
        if self.mounts.is_empty() {
            return posthaste();
        }
        let script = self.mounts.iter().map(String::as_str).chain(["exec \"$@\""]);
        let script = script.collect::<Vec<_>>().join(" && ");
        let mut command = undisturbed(Command::new("unshare"));
        command.args(["-m", "sh", "-c", &script, "sh", PROGRAM]);
        command
    }

    /// Lets the daemon run as this user, to whom the directory and all that is in it is given; takes root.
    pub fn run_as(&mut self, user: u32) {
        fn give(path: &Path, user: u32) {
            chown(path, Some(user), Some(user)).expect("root may");
            if path.is_dir() {
                fs::read_dir(path)
                    .expect("it is there")
                    .for_each(|entry| give(&entry.expect("an entry").path(), user));
            }
        }
        give(self.directory.path(), user);
        self.user = Some(user);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("posthaste.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("p.sock")
    }

    /// What the daemons of this directory have said on standard error, all of them.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// Waits until this is in the log, so many times: the daemon writes it beside its work.
    pub fn logs(&self, count: usize, what: &str) {
        eventually(&format!("{what:?} is in the log {count} times"), || {
            (self.log().matches(what).count() == count).then_some(())
        });
    }

    /// Starts the daemon and waits until it takes events.
    pub fn start(&mut self) {
        self.spawn();
        eventually("the daemon is ready", || {
            let exited = self.daemon.as_mut().expect("it was started").try_wait().expect("it is our child");
            assert!(exited.is_none(), "the daemon ended at its start: {exited:?}\n{}", self.log());
            let answer = http::request(&self.socket(), "GET", "/readyz", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Starts the daemon without waiting for it.
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none(), "it runs");
        let stderr = if let Some(given) = &self.stderr {
            Stdio::from(given.try_clone().expect("a descriptor"))
        } else {
            let log = OpenOptions::new().create(true).append(true).open(self.path("daemon.log"));
            Stdio::from(log.expect("a log"))
        };
        let mut command = if self.passed.is_empty() { self.program() } else { self.activated() };
        command.args(["serve", "--config"]).arg(self.config());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.passed.is_empty() {
            command.stdout(Stdio::null());
        }
        command.stderr(stderr);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        self.daemon = Some(command.spawn().expect("the binary was built"));
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it runs").id()
    }

    /// The most memory that the daemon has had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
        let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes << 10
    }

    /// Sends SIGTERM, and does not wait.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(self.pid().try_into().expect("a process id")).expect("not 0");
        kill_process(pid, Signal::TERM).expect("it runs");
    }

    /// Waits for the daemon's end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("it runs");
        let ended = wait_for_end(&mut daemon);
        ended.unwrap_or_else(|| panic!("the daemon does not end\n{}", self.log()))
    }

    /// Stops the daemon as a supervisor does, and holds it to a clean end.
    pub fn stop(&mut self) {
        self.terminate();
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}\n{}", self.log());
        let is_ours = self.passed.iter().all(|(_, name)| name != "socket");
        assert_eq!(!self.socket().exists(), is_ours, "the socket's file is gone if it was the daemon's");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.kill().expect("it runs");
        let status = daemon.wait().expect("it is our child");
        assert_eq!(status.signal(), Some(9), "it had ended already: {status}\n{}", self.log());
    }

    /// Runs a command of the CLI against this daemon, to its end.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_with(args, Stdio::null())
    }

    /// As [`Self::cli`], with a standard input.
    pub fn cli_with(&self, args: &[&str], stdin: Stdio) -> Output {
        let mut command = posthaste();
        command.current_dir(self.directory.path()).env("POSTHASTE_SOCKET", self.socket());
        command.args(args).stdin(stdin).output().expect("the binary was built")
    }

    /// Makes a request.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::request(&self.socket(), method, path, headers, body).expect("the daemon answers")
    }

    /// Makes a request, with JSON if it has a body, and hangs up.
    pub fn hang_up(&self, method: &str, path: &str, body: &str) {
        let headers = [("content-type", "application/json")];
        let hung_up = http::hang_up(&self.socket(), method, path, &headers, body.as_bytes());
        hung_up.expect("the daemon takes requests");
    }

    /// Gets a document; the status must be 200.
    pub fn get(&self, path: &str) -> Value {
        self.request("GET", path, &[], b"").expect(200)
    }

    /// Hands an event in over HTTP.
    pub fn post(&self, event: &str) -> Answer {
        self.request("POST", "/v1/events", &[("content-type", "application/json")], event.as_bytes())
    }

    /// Hands in an event that must be taken, and gives back its id.
    pub fn emit(&self, event_type: &str, data: &Value) -> String {
        let answer = self.post(&json!({"type": event_type, "data": data}).to_string()).expect(202);
        answer["id"].as_str().expect("an id").to_owned()
    }

    pub fn stream(&self) -> Stream {
        Stream::connect(&self.socket())
    }

    /// The event with its deliveries.
    pub fn event(&self, id: &str) -> Value {
        self.get(&format!("/v1/events/{id}"))
    }

    /// The deliveries of an event, newest first, each whole.
    pub fn deliveries(&self, event: &str) -> Vec<Value> {
        let list = self.list(&format!("/v1/deliveries?event={event}"));
        list.iter()
            .map(|one| self.get(&format!("/v1/deliveries/{}", one["id"].as_str().expect("an id"))))
            .collect()
    }

    /// The only delivery of an event, whole.
    pub fn delivery(&self, event: &str) -> Value {
        let mut deliveries = self.deliveries(event);
        assert_eq!(deliveries.len(), 1, "{deliveries:?}");
        deliveries.remove(0)
    }

    /// Waits until the only delivery of an event has ended.
    pub fn ended(&self, event: &str) -> Value {
        eventually("the delivery has ended", || {
            let delivery = self.delivery(event);
            (delivery["status"] != "pending").then_some(delivery)
        })
    }

    /// Waits until nothing is pending, as the store has it: a daemon that starts has not counted everything yet,
    /// and one that runs counts an outcome when it is being committed.
    pub fn settled(&self) {
        eventually("nothing is pending", || {
            let status = self.get("/v1/status");
            let counted = status["state"] == "running" && status["pending"]["total"] == 0;
            (counted && self.list("/v1/deliveries?status=pending").is_empty()).then_some(())
        });
    }

    /// Waits until the backlog is read and so many deliveries are pending.
    pub fn settled_to(&self, pending: u64) {
        eventually("so many are pending", || {
            let status = self.get("/v1/status");
            (status["state"] == "running" && status["pending"]["total"] == pending).then_some(())
        });
    }

    /// All items of a list, page after page.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let join = if path.contains('?') { '&' } else { '?' };
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}{join}limit=500{cursor}"));
            items.extend(page["items"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// The endpoint of this name.
    pub fn endpoint(&self, name: &str) -> Value {
        let endpoints = self.get("/v1/endpoints");
        let found = endpoints["items"].as_array().expect("a list").iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {endpoints}")).clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if let Some(holder) = &mut self.disk {
            let _ = holder.kill();
            let _ = holder.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let tail = log.char_indices().nth_back(8_000).map_or(0, |(at, _)| at);
            eprintln!("--- the daemon's log ends so:\n{}---", &log[tail..]);
        }
    }
}

/// Waits for a process to end; `None`: it does not.
pub fn wait_for_end(child: &mut Child) -> Option<ExitStatus> {
    let end = super::now() + super::DEADLINE;
    loop {
        match child.try_wait().expect("it is our child") {
            Some(status) => return Some(status),
            None if super::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            None => thread::park_timeout(super::PAUSE),
        }
    }
}

/// Runs a command of the CLI without a daemon in `directory`.
pub fn run_in(directory: &Path, args: &[&str]) -> Output {
    posthaste().current_dir(directory).args(args).output().expect("the binary was built")
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Standard output as JSON, of a command that succeeded.
pub fn json_of(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

/// A file's content as standard input.
pub fn stdin_of(path: &Path) -> Stdio {
    File::open(path).expect("it is there").into()
}
