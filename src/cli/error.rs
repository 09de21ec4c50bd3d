//! Why a command did not do what it was asked to do.

use std::{io, path::PathBuf};

use super::{exit::Exit, socket::Unreachable};
use crate::api::view::Problem;

/// Conflicts with something that goes on at this moment.
const PASSING: [&str; 4] = ["recover_running", "backup_running", "endpoint_discarding", "endpoint_full"];

/// The end of a command that failed. `Display` is what people read behind `posthaste: `.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The daemon's answer makes no sense to this program.
    #[error("cannot read the daemon's answer: {0}; are daemon and command of the same version?")]
    Answer(String),
    /// The configuration is wrong; the text names every error.
    #[error("{0}")]
    Config(String),
    /// What was handed in is wrong.
    #[error("{0}")]
    Data(String),
    /// The connection to the daemon ended, or failed, before the whole answer was there.
    #[error("the connection to the daemon broke: {0}")]
    Disconnected(io::Error),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Nothing could be bound, started or served.
    #[error("{0}")]
    Io(String),
    /// An endpoint did not take what it was sent for a test.
    #[error("the test did not succeed: {0}")]
    NotTaken(String),
    /// What was to be printed could not be.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The daemon refused.
    #[error("{}", describe(.0))]
    Refused(Box<Problem>),
    /// The daemon did not answer in time.
    #[error("the daemon did not answer within {seconds} s")]
    Timeout {
        /// How long it had.
        seconds: u64,
    },
    /// The daemon could not start, or ended for an error.
    #[error("{message}")]
    Serve {
        /// What it means to a supervisor.
        exit: Exit,
        /// What people read.
        message: String,
    },
    /// A file or a directory of a spool is not what it should be, or may not be used.
    #[error("{message}")]
    Spool {
        /// What it means to a script.
        exit: Exit,
        /// What people read.
        message: String,
    },
    /// A store's file is not what it should be, or cannot be used.
    #[error("{message}")]
    Store {
        /// What it means to a script.
        exit: Exit,
        /// What people read.
        message: String,
    },
    /// Not all of what was to be handed in was taken.
    #[error("{message}")]
    Unfinished {
        /// What it means to a script.
        exit: Exit,
        /// What people read.
        message: String,
    },
    /// There is no daemon to talk to.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The command line is wrong in a way that only the command itself can tell.
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    /// What it means to a script.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Answer(_) => Exit::Software,
            Self::Config(_) => Exit::Config,
            Self::Data(_) => Exit::Data,
            Self::Disconnected(_) | Self::File { .. } | Self::Io(_) | Self::Output(_) => Exit::Io,
            // What is in the way ends by itself.
            Self::Refused(problem) if PASSING.contains(&problem.code.as_str()) => Exit::TryAgain,
            Self::Refused(problem) => Exit::of_status(problem.status),
            Self::Serve { exit, .. }
            | Self::Spool { exit, .. }
            | Self::Store { exit, .. }
            | Self::Unfinished { exit, .. } => *exit,
            Self::NotTaken(_) | Self::Timeout { .. } => Exit::TryAgain,
            Self::Unreachable(unreachable) => unreachable.exit(),
            Self::Usage(_) => Exit::Usage,
        }
    }

    /// Whether the daemon may be there again in a moment, as over a restart.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Disconnected(_) | Self::Timeout { .. } | Self::Unreachable(_) => true,
            Self::Refused(problem) => problem.status == 503,
            _ => false,
        }
    }

    /// Whoever read the output has gone: no error, as in `posthaste event list | head -1`.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The problem's detail, and its title where there is none.
fn describe(problem: &Problem) -> &str {
    if problem.detail.is_empty() { &problem.title } else { &problem.detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_by_its_detail() {
        let mut problem = Problem {
            kind: "urn:posthaste:problem:store_full".to_owned(),
            title: "Insufficient Storage".to_owned(),
            status: 507,
            detail: "the store is full".to_owned(),
            code: "store_full".to_owned(),
            request_id: None,
            errors: Vec::new(),
        };
        let error = CliError::Refused(Box::new(problem.clone()));
        assert_eq!((error.to_string().as_str(), error.exit()), ("the store is full", Exit::TryAgain));
        for (status, code, exit) in [
            (409, "backup_running", Exit::TryAgain),
            (409, "endpoint_full", Exit::TryAgain),
            (409, "delivery_ended", Exit::Data),
        ] {
            let problem = Problem { status, code: code.to_owned(), ..problem.clone() };
            assert_eq!(CliError::Refused(Box::new(problem)).exit(), exit, "{code}");
        }
        problem.detail.clear();
        assert_eq!(CliError::Refused(Box::new(problem)).to_string(), "Insufficient Storage");
    }

    #[test]
    fn only_a_reader_that_left_is_a_broken_pipe() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(CliError::Output(pipe()).is_broken_pipe());
        assert!(!CliError::Disconnected(pipe()).is_broken_pipe(), "the daemon left, not the reader");
        assert!(!CliError::Output(io::ErrorKind::StorageFull.into()).is_broken_pipe());
    }
}
