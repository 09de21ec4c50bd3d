//! What a unit's sandbox keeps from the daemon, and the drop-in that gives it back; and how its credentials are provided.
//!
//! As it is shipped, the unit shows the daemon a system in which nothing but its own directories can be written, and in
//! which there are no homes. What the system says then, `Read-only file system` or `Permission denied`, sends people to the
//! wrong place: to mounts and modes, where all is well. So where the daemon is a unit's main process, the error goes on
//! to say what to write. Elsewhere nothing is added: there the system's word is the whole truth.

use std::{env, io, path::Path, process};

/// What systemd sets to the process that it has started for a unit (since version 248).
const MAIN_PROCESS: &str = "SYSTEMD_EXEC_PID";
/// The credential that the shipped unit always has, and no other; everybody can read it there.
pub(crate) const UNIT_CREDENTIAL: &str = "posthaste";
/// Where `ProtectHome=` lets nobody in.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// What to write so that the unit may use the directory `path`, which it could not with `error`; it goes on from the error's
/// text, and is empty where the unit has nothing to do with it.
pub fn advice(path: &Path, error: &io::Error) -> String {
    if !is_main_process(env::var(MAIN_PROCESS).ok().as_deref()) {
        return String::new();
    }
    setting(path, error.kind()).map_or_else(String::new, |setting| {
        format!(
            "; the unit's sandbox may keep it from the daemon: run `systemctl edit posthaste`, write `[Service]` and below it \
             {setting}, and run `systemctl restart posthaste`"
        )
    })
}

/// The same of a file: the unit needs its directory.
pub fn advice_for_file(path: &Path, error: &io::Error) -> String {
    path.parent().map_or_else(String::new, |directory| advice(directory, error))
}

/// How a credential that is not there is provided.
pub fn provide_credentials() -> &'static str {
    let directory = env::var_os("CREDENTIALS_DIRECTORY");
    if directory.is_some_and(|directory| Path::new(&directory).join(UNIT_CREDENTIAL).exists()) {
        "write it to the file of that name in /etc/posthaste/credentials, and `systemctl restart posthaste`"
    } else {
        "provide it, and `posthaste reload`"
    }
}

/// Children inherit the variable; only the process itself is in the unit's name.
fn is_main_process(variable: Option<&str>) -> bool {
    variable.is_some_and(|pid| pid.parse() == Ok(process::id()))
}

/// The lines of the drop-in, if it is the sandbox that can have led to such an error.
fn setting(path: &Path, kind: io::ErrorKind) -> Option<String> {
    let quoted = quoted(path);
    let in_a_home = HOMES.iter().any(|home| path.starts_with(home));
    match kind {
        // A home that is kept away is there, empty, and lets nobody in.
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem
            if in_a_home =>
        {
            Some(format!("`ProtectHome=tmpfs` and `BindPaths={quoted}`"))
        }
        io::ErrorKind::ReadOnlyFilesystem if path.is_dir() => Some(format!("`ReadWritePaths={quoted}`")),
        // A path that is not there would keep the unit from starting at all.
        io::ErrorKind::ReadOnlyFilesystem => {
            Some(format!("`ReadWritePaths={quoted}`, make that directory, which is not there"))
        }
        _ => None,
    }
}

/// As systemd reads it in a unit: specifiers begin with `%`, and blanks separate paths.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    if text.contains([' ', '\t', '"', '\'', '\\']) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull};

    use super::*;

    #[test]
    fn settings() {
        let there = tempfile::tempdir().expect("a directory");
        let writable = format!("`ReadWritePaths={}`", there.path().display());
        for (path, kind, expected) in [
            (there.path(), ReadOnlyFilesystem, Some(writable.as_str())),
            (there.path(), PermissionDenied, None),
            (there.path(), NotFound, None),
            (
                Path::new("/srv/not there/100%"),
                ReadOnlyFilesystem,
                Some("`ReadWritePaths=\"/srv/not there/100%%\"`, make that directory, which is not there"),
            ),
            (
                Path::new("/home/scan/drop"),
                PermissionDenied,
                Some("`ProtectHome=tmpfs` and `BindPaths=/home/scan/drop`"),
            ),
            (Path::new("/root/drop"), NotFound, Some("`ProtectHome=tmpfs` and `BindPaths=/root/drop`")),
            (Path::new("/homes/drop"), PermissionDenied, None),
            (Path::new("/home/scan/drop"), StorageFull, None),
        ] {
            assert_eq!(setting(path, kind).as_deref(), expected, "{} {kind:?}", path.display());
        }
    }

    #[test]
    fn only_the_unit_s_own_process_is_in_its_sandbox() {
        let own = process::id().to_string();
        assert!(is_main_process(Some(&own)));
        for other in [None, Some(""), Some("1"), Some("no number")] {
            assert!(!is_main_process(other), "{other:?}");
        }
    }

    #[test]
    fn paths_are_written_as_a_unit_takes_them() {
        for (path, expected) in [
            ("/srv/drop", "/srv/drop"),
            ("/srv/a b", "\"/srv/a b\""),
            ("/srv/100%", "/srv/100%%"),
            ("/srv/a\"b\\c", "\"/srv/a\\\"b\\\\c\""),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
