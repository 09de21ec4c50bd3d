//! Exit codes, as in sysexits(3): the one table of what a command's end means to a script. Those from 1 to 3 are of
//! `status --check` alone, and are what monitoring systems make of a check.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked to do.
    Success = 0,
    /// Somebody must see to something.
    Warning = 1,
    /// Events are refused, or nothing is sent, or nobody answers.
    Critical = 2,
    /// It cannot be told.
    Unknown = 3,
    /// EX_USAGE: the command line is wrong.
    Usage = 64,
    /// EX_DATAERR: what was handed in is wrong; the same again will be refused again.
    Data = 65,
    /// EX_UNAVAILABLE: the daemon cannot be reached.
    Unavailable = 69,
    /// EX_SOFTWARE: an error in posthaste, or two versions of it that do not understand each other.
    Software = 70,
    /// EX_IOERR: reading or writing failed.
    Io = 74,
    /// EX_TEMPFAIL: not now; the same later may be taken.
    TryAgain = 75,
    /// EX_NOPERM: not allowed.
    Permission = 77,
    /// EX_CONFIG: the configuration is wrong.
    Config = 78,
}

impl Exit {
    /// All of them, by number.
    pub const ALL: [Self; 12] = [
        Self::Success,
        Self::Warning,
        Self::Critical,
        Self::Unknown,
        Self::Usage,
        Self::Data,
        Self::Unavailable,
        Self::Software,
        Self::Io,
        Self::TryAgain,
        Self::Permission,
        Self::Config,
    ];

    /// What it means, as the documents say it: in Markdown, and without a full stop.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => "it is done",
            Self::Warning => "`WARNING`: somebody should see to something",
            Self::Critical => "`CRITICAL`: events are refused, nothing is sent, or nobody answers",
            Self::Unknown => "`UNKNOWN`: who asks may not know",
            Self::Usage => "the command line is wrong",
            Self::Data => "what was given is wrong: an event, an id, a file; a check has findings",
            Self::Unavailable => "the daemon cannot be reached",
            Self::Software => "an error in posthaste, or two versions that do not understand each other",
            Self::Io => "reading or writing failed; the daemon: its store, or a sync of it",
            Self::TryAgain => {
                "not now: the box is full, starting or busy; the daemon: another one has the store, or the address, or the address is not this machine's yet"
            }
            Self::Permission => "not allowed; the daemon: a port below 1024",
            Self::Config => {
                "the configuration is wrong, the service manager passes a socket that nobody would serve, something else lies where the socket should be, or the store is of a newer format"
            }
        }
    }

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What an HTTP status of the daemon's means to a script.
    pub const fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            401 | 403 => Self::Permission,
            408 | 429 | 503 | 507 => Self::TryAgain,
            400..=499 => Self::Data,
            _ => Self::Software,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_operators_page_says_the_same() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
        let page = fs::read_to_string(path).expect("docs/operations.md");
        let (_, table) = page.split_once("\n| exit code |").expect("its table");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let read = |row: &str| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].parse().expect("a code"), cells[2].to_owned())
        };
        let told: Vec<(u8, String)> = rows.map(read).collect();
        assert_eq!(told, Exit::ALL.map(|exit| (exit.code(), exit.meaning().to_owned())));
    }

    #[test]
    fn statuses_have_their_codes() {
        for (status, code) in [
            (200, 0),
            (202, 0),
            (302, 70),
            (400, 65),
            (401, 77),
            (403, 77),
            (404, 65),
            (408, 75),
            (409, 65),
            (413, 65),
            (422, 65),
            (429, 75),
            (500, 70),
            (503, 75),
            (507, 75),
        ] {
            assert_eq!(Exit::of_status(status).code(), code, "{status}");
        }
    }
}
