//! A machine: systemd as PID 1 in a container, booted from a Debian root that is not written to. `boot` says how.
//!
//! The tests are outside of it. They run commands inside, see its files below `/proc/PID/root` and connect to its sockets there, and
//! what listens on its network is a thread that has entered it. Dropped, also by a panic or with the test's whole process, it is
//! cut off, and nothing of it is left.

use std::{
    fs::{self, File},
    io::Read as _,
    os::{
        fd::AsFd as _,
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, kill_process_group},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    prepared::Prepared,
    support::{eventually, now, skip},
};

/// How long a command inside may take: packages are installed by some.
const LIMIT: Duration = Duration::from_secs(120);

/// What a command inside came to.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A machine that runs.
pub struct Machine {
    pub prepared: Prepared,
    name: String,
    /// The script `boot`; its standard input ending cuts the machine off.
    boot: Child,
    /// PID 1, as it is numbered outside.
    first: u32,
    /// For what commands print, and the console.
    directory: TempDir,
}

/// The network of a machine.
#[derive(Clone)]
pub struct Network(Arc<File>);

impl Machine {
    /// Boots one; `None` where that cannot be done, which is said.
    pub fn boot(what: &str) -> Option<Self> {
        Self::boot_image(what, |_| String::new())
    }

    /// Boots one to whose root a line of shell has been done before, as is done when an image is built: from outside, without
    /// systemd, and with the root in `$machine`.
    pub fn boot_image(what: &str, build: impl FnOnce(&Prepared) -> String) -> Option<Self> {
        let prepared = match Prepared::find() {
            Ok(prepared) => prepared,
            Err(lack) => {
                skip(&format!("real systemd: {}", lack.text), lack.promised);
                return None;
            }
        };
        let name = format!("posthaste-{what}-{}", std::process::id());
        let directory = tempfile::Builder::new().prefix("posthaste").tempdir().expect("a directory");
        let console = File::create(directory.path().join("console")).expect("a file");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(scripts().join("boot"));
        command.arg(&prepared.root).arg(&name).arg(build(&prepared)).stdin(Stdio::piped());
        command.stdout(console.try_clone().expect("a file")).stderr(console);
        let boot = command.spawn().expect("unshare is there");
        let mut machine = Self { prepared, name, boot, first: 0, directory };
        machine.wait_for_boot();
        Some(machine)
    }

    /// Waits until PID 1 is another than before, and has started what it starts.
    fn wait_for_boot(&mut self) {
        let before = self.first;
        let cgroup = format!("proc/{}/root/sys/fs/cgroup/{}", self.boot.id(), self.name);
        let first = Path::new("/").join(cgroup).join("payload/init.scope/cgroup.procs");
        let started = eventually("the machine has booted", || {
            let ended = self.boot.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the machine ended as it booted: {}", self.console());
            let text = fs::read_to_string(&first).ok()?;
            let first = text.lines().next()?.parse().ok().filter(|first| *first != before)?;
            self.first = first;
            let state = self.run("systemctl is-system-running --wait").stdout;
            ["running", "degraded"].contains(&state.trim()).then(|| state.trim().to_owned())
        });
        assert_eq!(started, "running", "{}", self.run("systemctl --failed --no-legend").stdout);
    }

    fn console(&self) -> String {
        fs::read_to_string(self.directory.path().join("console")).unwrap_or_default()
    }

    /// Reboots it as an operator does, and waits until it is back.
    pub fn reboot(&mut self) {
        // The command may be ended by the very reboot.
        self.run("systemctl reboot");
        self.wait_for_boot();
    }

    /// Runs a line of shell inside, as root, to its end.
    ///
    /// # Panics
    /// It takes longer than anything may.
    pub fn run(&self, line: &str) -> Ran {
        // Files, not pipes: a process that is left in the background would hold those open.
        let output = tempfile::Builder::new().tempdir_in(self.directory.path()).expect("a directory");
        let paths = ["stdout", "stderr"].map(|name| output.path().join(name));
        let [stdout, stderr] = paths.each_ref().map(|path| File::create(path).expect("a file"));
        let mut child = self.command(line).stdout(stdout).stderr(stderr).spawn().expect("nsenter is there");
        let end = now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                break Some(status);
            }
            if now() > end {
                end_group(&mut child);
                break None;
            }
            thread::park_timeout(Duration::from_millis(2));
        };
        let [stdout, stderr] = paths.map(|path| {
            let mut bytes = Vec::new();
            File::open(path)
                .and_then(|mut file| file.read_to_end(&mut bytes))
                .expect("it was made just above");
            String::from_utf8_lossy(&bytes).into_owned()
        });
        match status {
            Some(status) => Ran { status, stdout, stderr },
            None => panic!("this takes longer than {LIMIT:?}: {line}\n{stdout}\n{stderr}"),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.first.to_string(),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
        ]);
        command.args(["--", "/bin/sh", "-c", line]).env_clear().stdin(Stdio::null()).process_group(0);
        command.envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("SYSTEMD_PAGER", "cat"),
            ("SYSTEMD_COLORS", "0"),
        ]);
        command
    }

    /// Runs a line that must succeed; what it prints.
    pub fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert!(ran.status.success(), "{line}\n{ran:?}\n{}", self.journal_text());
        ran.stdout
    }

    /// Runs a line that must fail with this status; what it prints as its error.
    pub fn fails(&self, line: &str, status: i32) -> String {
        let ran = self.run(line);
        assert_eq!(ran.status.code(), Some(status), "{line}\n{ran:?}\n{}", self.journal_text());
        ran.stderr
    }

    /// Where a file inside is, as it is seen from outside. Absolute symbolic links on the way would lead outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        let inside = inside.strip_prefix('/').expect("from the root on");
        Path::new(&format!("/proc/{}/root", self.first)).join(inside)
    }

    /// Writes a file that everybody may read, and the directories that it is in.
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a file");
    }

    /// Copies a file to `/root` inside; where it is there.
    pub fn copy(&self, file: &Path) -> String {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let inside = format!("/root/{name}");
        fs::copy(file, self.path(&inside)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        inside
    }

    /// The entries of this boot's journal that match.
    pub fn journal(&self, matches: &str) -> Vec<Value> {
        let lines = self.ok(&format!("journalctl --sync; journalctl --boot --output=json {matches}"));
        lines.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    }

    /// The end of what this boot's journal has of the service, to be shown.
    fn journal_text(&self) -> String {
        self.run("journalctl --boot --lines=40 --no-hostname --unit='posthaste*'").stdout
    }

    /// Its network.
    pub fn network(&self) -> Network {
        let file = File::open(format!("/proc/{}/ns/net", self.first));
        Network(Arc::new(file.expect("the machine runs")))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the journal of the service ends so:\n{}---", self.journal_text());
        }
        drop(self.boot.stdin.take());
        let _ = self.boot.wait();
    }
}

impl Network {
    /// Does something on a thread that is on this network. What it listens on stays there, and so do threads that it starts.
    pub fn does<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let acting = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may");
                act()
            });
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn end_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// The scripts beside this file.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd")
}
