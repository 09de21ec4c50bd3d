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
    fn the_operators_page_has_every_code() {
        use Exit::{
            Config, Critical, Data, Io, Permission, Software, Success, TryAgain, Unavailable, Unknown, Usage,
            Warning,
        };
        let all = [
            Success,
            Warning,
            Critical,
            Unknown,
            Usage,
            Data,
            Unavailable,
            Software,
            Io,
            TryAgain,
            Permission,
            Config,
        ];
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
        let page = fs::read_to_string(path).expect("docs/operations.md");
        let (_, table) = page.split_once("\n| exit code |").expect("its table");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let codes: Vec<u8> = rows
            .map(|row| row.split('|').nth(1).and_then(|cell| cell.trim().parse().ok()).expect("a code"))
            .collect();
        assert_eq!(codes, all.map(Exit::code));
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
