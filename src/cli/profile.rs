//! Profiles by name, for the commands that look at webhooks themselves.

use std::{path::Path, sync::Arc};

use super::error::CliError;
use crate::{config, policy::form::Form};

/// The profile `name`: one of the configuration in `file`, or one of those built in.
pub fn named(name: &str, file: Option<&Path>) -> Result<Arc<Form>, CliError> {
    let config = match file {
        Some(file) => config::load(file).map_err(|errors| CliError::Config(errors.to_string()))?,
        None => config::defaults(Path::new("")),
    };
    config.forms.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = config.forms.keys().map(String::as_str).collect();
        let help = if file.is_some() { "" } else { "; --config FILE adds those of a configuration" };
        CliError::Usage(format!("there is no profile {name}; there are {}{help}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn built_in_profiles_have_names() {
        for name in ["posthaste", "raw"] {
            assert_eq!(named(name, None).expect("it is built in").profile().name, name);
        }
        let error = named("none", None).expect_err("there is none");
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("posthaste, raw"), "{error}");
    }

    #[test]
    fn profiles_of_a_configuration_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("posthaste.toml");
        std::fs::write(&file, "[profiles.mine]\ntimeout = \"5s\"\n").expect("a file");
        assert_eq!(named("mine", Some(&file)).expect("it is there").profile().name, "mine");
        assert!(named("raw", Some(&file)).is_ok(), "those built in are there, too");
        let error = named("mine", Some(&dir.path().join("gone.toml"))).expect_err("no file");
        assert_eq!(error.exit(), Exit::Config);
    }
}
