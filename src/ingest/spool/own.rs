//! The daemon's own directories in a spool directory, `failed/` and `done/`: made before a producer can, and not used when
//! a producer could take away what is put there.
//!
//! Who may write to the spool directory may also make a directory of that name in it, and would own what is moved there. So
//! one is only used when it belongs to the daemon's user, to root, or to the owner of the spool directory, who
//! can rename all that is in it anyway. And its mode may give nobody more than that of the spool directory does:
//!
//! | it is writable for | is used when the spool directory |
//! | --- | --- |
//! | its owner | in any case |
//! | its group | has another group, or is not writable for its group, or is and not sticky |
//! | all | is so too, and not sticky |
//!
//! In a directory without the sticky bit producers can remove each other's files in any case; and file systems that know no
//! modes show the same one for all.

use std::io;

use rustix::{fs::Mode, io::Errno, process::geteuid};

use super::directory::Directory;

/// For all but the owner and the group nothing, for the group to read.
const MODE: u32 = 0o750;

const STICKY: u32 = 0o1000;
const OF_GROUP: u32 = 0o020;
const OF_ALL: u32 = 0o002;

/// Whose a directory is, and who may write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) owner: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
}

/// Opens the daemon's own directory `name` in `spool`, making it if it is not there. A link is not followed.
///
/// # Errors
/// It cannot be made or opened, or is none that can be used; says what to do.
pub(super) fn open(spool: &Directory, name: &str) -> io::Result<Directory> {
    match rustix::fs::mkdirat(spool, name, Mode::from_raw_mode(MODE)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(said(name, "cannot be made", &error.into())),
    }
    let own = match spool.own(name) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let message = format!(
                "`{name}` is no directory, and links are not followed; move it away, and the daemon makes one"
            );
            return Err(io::Error::new(error.kind(), message));
        }
        own => own.map_err(|error| said(name, "cannot be opened", &error))?,
    };
    match fault(own.access()?, spool.access()?, geteuid().as_raw()) {
        None => Ok(own),
        Some(fault) => Err(io::Error::other(format!("{name}/ is not used, {fault}"))),
    }
}

fn said(name: &str, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}/ {what}: {error}"))
}

/// Why the directory is none to move files to, and what to do.
fn fault(own: Access, spool: Access, daemon: u32) -> Option<String> {
    if ![daemon, 0, spool.owner].contains(&own.owner) {
        return Some(format!(
            "for it belongs to the user {}; move it away, and the daemon makes its own",
            own.owner
        ));
    }
    let may = |whom: u32| own.mode & whom != 0;
    let all_may_anyway = spool.mode & (OF_ALL | STICKY) == OF_ALL;
    if may(OF_ALL) && !all_may_anyway {
        return Some("for all users may write to it: chmod o-w".to_owned());
    }
    let kept_apart = spool.mode & (OF_GROUP | STICKY) == OF_GROUP | STICKY;
    if may(OF_GROUP) && own.group == spool.group && kept_apart {
        return Some(format!(
            "for the group {}, which may drop files, may write to it: chmod g-w, or give it another group",
            own.group
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn whose_directories_are_used() {
        const DAEMON: u32 = 900;
        const PRODUCER: u32 = 4_001;
        let access = |(owner, group, mode)| Access { owner, group, mode };
        for (own, spool, expected) in [
            // As docs/spool.md has it.
            ((DAEMON, 50, 0o2750), (DAEMON, 50, 0o3770), None),
            ((0, 50, 0o2750), (DAEMON, 50, 0o3770), None),
            ((PRODUCER, 50, 0o2750), (DAEMON, 50, 0o3770), Some("user 4001")),
            ((PRODUCER, 50, 0o2777), (DAEMON, 50, 0o3770), Some("user 4001")),
            ((PRODUCER, 50, 0o700), (DAEMON, 50, 0o770), Some("user 4001")),
            ((DAEMON, 50, 0o2770), (DAEMON, 50, 0o3770), Some("group 50")),
            ((DAEMON, 51, 0o770), (DAEMON, 50, 0o3770), None),
            ((DAEMON, 51, 0o777), (DAEMON, 50, 0o3770), Some("all users")),
            ((DAEMON, 50, 0o777), (DAEMON, 50, 0o1777), Some("all users")),
            // Its owner can rename all that is in it; nobody is kept apart.
            ((PRODUCER, 50, 0o755), (PRODUCER, 50, 0o775), None),
            ((DAEMON, 50, 0o770), (DAEMON, 50, 0o770), None),
            ((DAEMON, 50, 0o770), (DAEMON, 50, 0o1755), None),
            ((DAEMON, 50, 0o777), (DAEMON, 50, 0o777), None),
            ((DAEMON, 50, 0o777), (DAEMON, 50, 0o770), Some("all users")),
        ] {
            let found = fault(access(own), access(spool), DAEMON);
            let is = match (&found, expected) {
                (Some(found), Some(part)) => found.contains(part),
                (found, part) => found.is_none() && part.is_none(),
            };
            assert!(is, "{own:?} in {spool:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_there_is_looked_at() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("failed");
        let spool = Directory::open(place.path()).expect("the directory");
        let mode = || fs::metadata(&path).expect("it is there").permissions().mode() & 0o027;
        open(&spool, "failed").expect("it is made");
        assert_eq!(mode() & !0o050, 0);
        open(&spool, "failed").expect("it is there");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("it is ours");
        let error = open(&spool, "failed").expect_err("all may write");
        assert_eq!(error.to_string(), "failed/ is not used, for all users may write to it: chmod o-w");
        fs::remove_dir(&path).expect("it is ours");
        fs::write(&path, "a file").expect("a file");
        let no_directory = |error: &io::Error| error.to_string().contains("is no directory");
        assert!(no_directory(&open(&spool, "failed").expect_err("a file")));
        fs::remove_file(&path).expect("it is ours");
        symlink("/", &path).expect("a link");
        assert!(no_directory(&open(&spool, "failed").expect_err("a link")));
    }
}
