//! The variables of the environment that posthaste heeds: the one table of them.

use super::roff::Roff;
use crate::{
    cli::{secret, socket},
    logging,
};

/// Who heeds a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// The commands.
    Commands,
    /// The daemon, and what reads its configuration as it would.
    Daemon,
    /// The daemon as a service, which they are set for.
    Service,
}

/// Name, who heeds it, and what it says.
type Variable = (&'static str, Reader, &'static str);

const VARIABLES: &[Variable] = &[
    (
        socket::VARIABLE,
        Reader::Commands,
        "The daemon's socket, where --socket does not say it. No other is tried then.",
    ),
    (
        secret::VARIABLE,
        Reader::Commands,
        "The secret of `listen` and `verify`, where --secret does not say it.",
    ),
    ("NO_COLOR", Reader::Commands, "With any value, no colours on a terminal."),
    ("COLUMNS", Reader::Commands, "The width of a terminal that does not say its own."),
    (
        logging::VARIABLE,
        Reader::Daemon,
        "How much is logged: `error`, `warn`, `info` (where nothing is said), `debug` or `trace`, or a filter such as `info,posthaste::delivery=debug`.",
    ),
    (
        logging::FORMAT,
        Reader::Daemon,
        "`text` or `json`: how lines are written to standard error. Without it they go to the journal with their fields where \
         standard error leads there, and are text elsewhere.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        Reader::Daemon,
        "Where `@credential:NAME` of the configuration is read from. Set by systemd for `LoadCredential=`.",
    ),
    (
        "STATE_DIRECTORY",
        Reader::Daemon,
        "Where store, socket and spool are when there is no configuration; else `./posthaste-data`. Set by systemd for `StateDirectory=`.",
    ),
    (
        "SSL_CERT_FILE",
        Reader::Daemon,
        "A file in PEM with the roots that certificates of endpoints are held against, in place of the system's.",
    ),
    ("SSL_CERT_DIR", Reader::Daemon, "The same, as directories with a file for each, parted by colons."),
    (
        "NOTIFY_SOCKET",
        Reader::Service,
        "Where the service manager is told of start, reload, state and stop. Set by systemd, as the next three are.",
    ),
    (
        "WATCHDOG_USEC",
        Reader::Service,
        "How often it must be told that the daemon is alive, in microseconds; `WATCHDOG_PID` says which process is meant.",
    ),
    (
        "LISTEN_FDS",
        Reader::Service,
        "How many sockets are passed, from descriptor 3 on; `LISTEN_FDNAMES` has their names, and `LISTEN_PID` says to which process.",
    ),
    (
        "SYSTEMD_EXEC_PID",
        Reader::Service,
        "The process that systemd has started for the unit: where it is the daemon's, errors name the drop-in to write.",
    ),
    (
        "JOURNAL_STREAM",
        Reader::Service,
        "Device and inode of the journal's stream: where standard error is that, the log goes to the journal.",
    ),
];

/// The variables that `reader` heeds.
pub(super) fn write(reader: Reader, page: &mut Roff) {
    for (name, _, meaning) in VARIABLES.iter().filter(|(_, who, _)| *who == reader) {
        page.term(&format!("`{name}`"), [*meaning]);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// What stands quoted in the sources and is a variable of posthaste's own.
    fn named_in(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                named_in(&path, found);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let quoted = code.split('"').filter(|word| word.starts_with("POSTHASTE_"));
            let is_name = |word: &&str| word.bytes().all(|b| b == b'_' || b.is_ascii_uppercase());
            found.extend(quoted.filter(is_name).map(str::to_owned));
        }
    }

    #[test]
    fn every_variable_of_the_code_s_is_told() {
        let mut found = Vec::new();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("src") {
            let path = entry.expect("an entry").path();
            // In these it is the tests that have some; what the log calls so are mostly fields of the journal.
            let others = ["outbox", "config", "logging"];
            if path.is_dir()
                && path.file_name().is_some_and(|name| !others.iter().any(|other| name == *other))
            {
                named_in(&path, &mut found);
            }
        }
        found.extend([logging::VARIABLE, logging::FORMAT].map(str::to_owned));
        assert!(found.len() > 3, "{found:?}");
        for name in found {
            assert!(VARIABLES.iter().any(|(told, ..)| *told == name), "{name}");
        }
    }
}
