//! `posthaste check`: reads the configuration as `serve` would, and prints every error of it.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::{error::CliError, screen::Screen};
use crate::config::{self, ConfigError, ConfigErrors, DEFAULT_FILE, Origin};

/// `posthaste check`.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Example:\n  posthaste check --config posthaste.toml")]
pub struct Args {
    /// The configuration [default: /etc/posthaste/posthaste.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Reads the configuration and says what there is, or what is wrong.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let origin = Origin::find(args.config.clone());
    let loaded = origin.load();
    if screen.json {
        let file = match &origin {
            Origin::Defaults(_) => Value::Null,
            Origin::File(file) => json!(file.display().to_string()),
        };
        let errors = loaded.as_ref().err().map_or(&[] as &[ConfigError], ConfigErrors::errors);
        let errors: Vec<Value> = errors.iter().map(error_json).collect();
        screen.line(&json!({ "ok": errors.is_empty(), "file": file, "errors": errors }).to_string())?;
        return loaded.map(drop).map_err(|errors| CliError::Config(errors.to_string()));
    }
    let config = loaded.map_err(|errors| CliError::Config(errors.to_string()))?;
    screen.line(config::describe(&config).trim_end())?;
    screen.flush()?;
    screen.note(&match &origin {
        Origin::Defaults(directory) => {
            format!("no {DEFAULT_FILE}: the defaults, with everything in {}", directory.display())
        }
        Origin::File(file) => format!("{}: no errors", file.display()),
    });
    Ok(())
}

fn error_json(error: &ConfigError) -> Value {
    json!({
        "message": error.message,
        "help": error.help,
        "file": error.file.display().to_string(),
        "line": error.position.as_ref().map(|at| at.line),
        "column": error.position.as_ref().map(|at| at.column),
        "notes": error.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{exit::Exit, testing::Output};

    fn check(text: &str, output: &mut Output) -> Result<(), CliError> {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("posthaste.toml");
        std::fs::write(&config, text).expect("a file");
        run(&Args { config: Some(config) }, &mut output.screen())
    }

    const GOOD: &str = "[[endpoint]]\nname = \"erp\"\nurl = \"https://erp.example/hooks\"\nevent_types = [\"*\"]\nsecret = \"whsec_c2VjcmV0\"\n";

    #[test]
    fn a_good_one_is_described() {
        let mut output = Output::new();
        check(GOOD, &mut output).expect("it is good");
        assert!(output.text().contains("erp"), "{}", output.text());
        assert!(!output.text().contains("c2VjcmV0"), "secrets are not shown");
        assert!(output.notes().ends_with("posthaste.toml: no errors\n"), "{}", output.notes());
        let mut output = Output::json();
        check(GOOD, &mut output).expect("it is good");
        assert!(output.text().contains("\"ok\":true"), "{}", output.text());
    }

    #[test]
    fn a_bad_one_is_a_configuration_error() {
        let bad = GOOD.replace("name", "nam");
        let error = check(&bad, &mut Output::new()).expect_err("an unknown key");
        assert_eq!(error.exit(), Exit::Config);
        assert!(error.to_string().contains("nam"), "{error}");
        let mut output = Output::json();
        check(&bad, &mut output).expect_err("an unknown key");
        let document: Value = serde_json::from_str(&output.text()).expect("JSON");
        assert_eq!(
            (&document["ok"], &document["errors"][1]["line"]),
            (&false.into(), &2.into()),
            "{document}"
        );
    }
}
