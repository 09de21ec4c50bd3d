//! Finding the daemon's socket.
//!
//! A socket that was named (`--socket`, else `$POSTHASTE_SOCKET`) is the only one tried: a command must not talk
//! to another daemon than the one meant. Otherwise [`DEFAULTS`] are tried in order; one that is not there, or
//! that nobody listens on, lets the next have its turn, and one that may not be used ends the search.

use std::{
    ffi::OsString,
    fmt, fs, io,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
};

use super::exit::Exit;

/// The environment's word on where the socket is.
pub const VARIABLE: &str = "POSTHASTE_SOCKET";
/// Where it is looked for when nobody says.
pub const DEFAULTS: [&str; 2] = ["/run/posthaste/posthaste.sock", "./posthaste-data/posthaste.sock"];

/// The sockets to try, in order.
pub fn candidates(flag: Option<PathBuf>, variable: Option<OsString>) -> Vec<PathBuf> {
    let named = flag.or_else(|| variable.filter(|text| !text.is_empty()).map(PathBuf::from));
    named.map_or_else(|| DEFAULTS.map(PathBuf::from).to_vec(), |path| vec![path])
}

/// Whether nobody has said which socket it is.
pub fn are_defaults(paths: &[PathBuf]) -> bool {
    paths.iter().eq(DEFAULTS.map(Path::new).iter())
}

/// Connects to the first of `paths` behind which somebody listens.
pub fn connect(paths: &[PathBuf]) -> Result<(PathBuf, UnixStream), Unreachable> {
    let mut tried = Vec::new();
    for path in paths {
        let error = match UnixStream::connect(path) {
            Ok(stream) => return Ok((path.clone(), stream)),
            Err(error) => error,
        };
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        tried.push(Tried { path: path.clone(), why: Why::of(path, &error) });
        if denied {
            break;
        }
    }
    Err(Unreachable { tried })
}

/// No daemon could be reached: what was tried, and why each failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreachable {
    tried: Vec<Tried>,
}

#[derive(Debug, PartialEq, Eq)]
struct Tried {
    path: PathBuf,
    why: Why,
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    /// May not be used; the group that may, where the socket could be looked at.
    Denied { group: Option<String> },
    /// Nobody listens on it.
    NotListening,
    /// There is nothing of that name.
    NotThere,
    /// Anything else.
    Other(String),
}

impl Why {
    fn of(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Self::Denied { group: fs::metadata(path).ok().map(|socket| group_name(socket.gid())) }
            }
            io::ErrorKind::ConnectionRefused => Self::NotListening,
            io::ErrorKind::NotFound => Self::NotThere,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Unreachable {
    /// What it means to a script.
    pub fn exit(&self) -> Exit {
        if self.denied().is_some() { Exit::Permission } else { Exit::Unavailable }
    }

    fn denied(&self) -> Option<&Why> {
        self.tried.iter().map(|tried| &tried.why).find(|why| matches!(why, Why::Denied { .. }))
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denied() {
            Some(_) => f.write_str("the daemon's socket may not be used by this user")?,
            None => f.write_str("the daemon cannot be reached")?,
        }
        for tried in &self.tried {
            write!(f, "\n  {}: {}", tried.path.display(), tried.why)?;
        }
        match self.denied() {
            Some(Why::Denied { group: Some(group) }) => {
                write!(f, "\nlet an administrator run `usermod -aG {group} USER`, then log in again; or run this as root")
            }
            Some(_) => f.write_str("\nlet an administrator add the user to the group of the socket; or run this as root"),
            None => f.write_str(
                "\nstart it with `systemctl start posthaste` or `posthaste serve`, or say where its socket is with --socket",
            ),
        }
    }
}

impl std::error::Error for Unreachable {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { group: Some(group) } => {
                write!(f, "permission denied: it is for members of the group {group}")
            }
            Self::Denied { group: None } => {
                f.write_str("permission denied: its directory may not be entered")
            }
            Self::NotListening => f.write_str("nobody listens: the daemon is not running"),
            Self::NotThere => f.write_str("not there"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

/// The group's name in /etc/group; its number where it has none there.
fn group_name(gid: u32) -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    find_group(&groups, gid).unwrap_or_else(|| gid.to_string())
}

fn find_group(groups: &str, gid: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_named_socket_is_the_only_one_tried() {
        let path = |text: &str| Some(PathBuf::from(text));
        let variable = |text: &str| Some(OsString::from(text));
        assert_eq!(candidates(path("/a"), variable("/b")), [PathBuf::from("/a")]);
        assert_eq!(candidates(None, variable("/b")), [PathBuf::from("/b")]);
        assert_eq!(candidates(None, variable("")), DEFAULTS.map(PathBuf::from));
        assert_eq!(candidates(None, None), DEFAULTS.map(PathBuf::from));
    }

    #[test]
    fn the_error_says_what_was_tried_and_why_it_failed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (gone, stale) = (dir.path().join("gone.sock"), dir.path().join("stale.sock"));
        drop(UnixListener::bind(&stale).expect("a socket"));
        let error = connect(&[gone.clone(), stale.clone()]).expect_err("nobody is there");
        assert_eq!(error.exit(), Exit::Unavailable);
        assert_eq!(
            error.to_string(),
            format!(
                "the daemon cannot be reached\n  {}: not there\n  {}: nobody listens: the daemon is not running\n\
                 start it with `systemctl start posthaste` or `posthaste serve`, or say where its socket is with --socket",
                gone.display(),
                stale.display()
            )
        );
    }

    #[test]
    fn a_stale_socket_lets_the_next_have_its_turn() {
        let dir = tempfile::tempdir().expect("a directory");
        let (stale, live) = (dir.path().join("stale.sock"), dir.path().join("live.sock"));
        drop(UnixListener::bind(&stale).expect("a socket"));
        let _listener = UnixListener::bind(&live).expect("a socket");
        let (path, _stream) = connect(&[stale, live.clone()]).expect("the second listens");
        assert_eq!(path, live);
    }

    #[test]
    fn a_socket_that_may_not_be_used_names_its_group() {
        let denied = |group: Option<&str>| Unreachable {
            tried: vec![Tried {
                path: PathBuf::from("/run/posthaste/posthaste.sock"),
                why: Why::Denied { group: group.map(str::to_owned) },
            }],
        };
        let error = denied(Some("posthaste-producers"));
        assert_eq!(error.exit(), Exit::Permission);
        assert_eq!(
            error.to_string(),
            "the daemon's socket may not be used by this user\n  \
             /run/posthaste/posthaste.sock: permission denied: it is for members of the group posthaste-producers\n\
             let an administrator run `usermod -aG posthaste-producers USER`, then log in again; or run this as root"
        );
        assert!(denied(None).to_string().contains("may not be entered"));
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Why::of(Path::new("/not/there"), &error), Why::Denied { group: None });
    }

    #[test]
    fn groups_have_names() {
        let groups = "root:x:0:\nposthaste-producers:x:997:alice,bob\nbroken\n";
        assert_eq!(find_group(groups, 997).as_deref(), Some("posthaste-producers"));
        assert_eq!(find_group(groups, 5), None);
    }
}
