//! How many files the process may have open.
//!
//! Every connection takes a descriptor, on both sides of the daemon. The soft limit that a process starts with is
//! mostly 1,024, for the sake of programs that use `select`; the hard one, to which it may raise the soft one by
//! itself, is what whoever runs it has decided.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, for the whole process; what it is then (`u64::MAX`: there
/// is none).
///
/// # Errors
/// The system refuses, which leaves the limit as it was.
pub fn raise_open_files() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let before = getrlimit(Resource::Nofile);
        for _ in 0..2 {
            let raised = raise_open_files().expect("a process may raise its soft limit");
            let after = getrlimit(Resource::Nofile);
            assert_eq!((after.current, after.maximum), (before.maximum, before.maximum));
            assert_eq!(raised, before.maximum.unwrap_or(u64::MAX));
        }
    }
}
