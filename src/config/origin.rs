//! Which configuration goes: a named file, the system's, or none.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{Config, ConfigErrors, defaults, load};

/// Where the configuration is, where nobody says.
pub const DEFAULT_FILE: &str = "/etc/posthaste/posthaste.toml";
/// Where store, socket and spool are without any configuration, unless the service manager says otherwise.
pub const DEFAULT_DIRECTORY: &str = "./posthaste-data";

/// Which configuration `serve` and `check` go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// None: the defaults, with everything in this directory.
    Defaults(PathBuf),
    /// This file, and `conf.d` beside it.
    File(PathBuf),
}

impl Origin {
    /// The file that was named; else [`DEFAULT_FILE`] if it is there; else the defaults in `$STATE_DIRECTORY`, or
    /// in [`DEFAULT_DIRECTORY`].
    pub fn find(named: Option<PathBuf>) -> Self {
        // A file that is there and may not be read is an error to be told, not a reason to go on without it.
        let there = |path: &Path| !matches!(path.try_exists(), Ok(false));
        Self::choose(named, there, env::var_os("STATE_DIRECTORY"))
    }

    fn choose(
        named: Option<PathBuf>,
        there: impl Fn(&Path) -> bool,
        state_directory: Option<OsString>,
    ) -> Self {
        if let Some(file) = named {
            return Self::File(file);
        }
        if there(Path::new(DEFAULT_FILE)) {
            return Self::File(PathBuf::from(DEFAULT_FILE));
        }
        // systemd joins several directories with colons.
        let state = state_directory.and_then(|list| env::split_paths(&list).next());
        let state = state.filter(|path| !path.as_os_str().is_empty());
        Self::Defaults(state.unwrap_or_else(|| PathBuf::from(DEFAULT_DIRECTORY)))
    }

    /// Reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        match self {
            Self::Defaults(directory) => Ok(defaults(directory)),
            Self::File(file) => load(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_file_then_the_systems_then_none() {
        let named = || Some(PathBuf::from("a.toml"));
        let state = |text: &str| Some(OsString::from(text));
        for (file, there, directory, source) in [
            (named(), true, None, Origin::File(PathBuf::from("a.toml"))),
            (None, true, state("/var/lib/x"), Origin::File(PathBuf::from(DEFAULT_FILE))),
            (None, false, state("/var/lib/x:/var/lib/y"), Origin::Defaults(PathBuf::from("/var/lib/x"))),
            (None, false, state(""), Origin::Defaults(PathBuf::from(DEFAULT_DIRECTORY))),
            (None, false, None, Origin::Defaults(PathBuf::from(DEFAULT_DIRECTORY))),
        ] {
            assert_eq!(Origin::choose(file, |_| there, directory), source);
        }
    }
}
