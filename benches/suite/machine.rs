//! Where the figures come from.

use std::{fs, thread};

use serde_json::{Value, json};

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
