//! Where the figures come from, and what the machine's cores did meanwhile.

use std::{fs, ops::Sub, thread, time::Duration};

use serde_json::{Value, json};

use crate::{Result, process::TICKS};

/// What the cores have done, in seconds of all of them together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// Nothing.
    pub(crate) idle: f64,
    /// The kernel's interrupts, with which no process is charged: of the loopback interface, most of all.
    pub(crate) interrupts: f64,
}

impl Cores {
    /// Since the machine's start.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line =
            text.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("/proc/stat is another")?;
        let ticks = line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        // user, nice, system, idle, waiting for a disk, interrupts, their second halves.
        let [_, _, _, idle, waiting, hard, soft, ..] = ticks[..] else {
            return Err("/proc/stat is another".into());
        };
        Ok(Self { idle: (idle + waiting) / TICKS, interrupts: (hard + soft) / TICKS })
    }

    /// How many cores that were, on average.
    pub(crate) fn of(self, time: Duration) -> Self {
        let time = time.as_secs_f64();
        Self { idle: self.idle / time, interrupts: self.interrupts / time }
    }
}

impl Sub for Cores {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { idle: self.idle - before.idle, interrupts: self.interrupts - before.interrupts }
    }
}

/// The machine in a line.
pub(crate) fn words() -> String {
    let file_system = file_system();
    format!("{} cores, {}, Linux {}, stores on {file_system}", cores(), model(), kernel())
}

/// The same for programs.
pub(crate) fn json() -> Value {
    json!({"cores": cores(), "processor": model(), "kernel": kernel(), "file_system": file_system()})
}

fn cores() -> usize {
    thread::available_parallelism().map_or(0, usize::from)
}

fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or_else(String::new, |line| line.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// The kind of file system that the stores are on: of the mounts above them the longest path, the last if several.
fn file_system() -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above =
        fields.filter(|(path, _)| std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).starts_with(path));
    above.max_by_key(|(path, _)| path.len()).map_or_else(String::new, |(_, kind)| kind.to_owned())
}
