//! `posthaste reload`: has the daemon read its configuration again, and says what is different.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{
    client::{self, Client},
    error::CliError,
    screen::Screen,
    text,
};
use crate::api::view::ReloadedView;

/// What the daemon says of a configuration that it does not take.
const INVALID: &str = "invalid_configuration";

/// `posthaste reload`.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Example:\n  posthaste check && posthaste reload")]
pub struct Args {}

/// Asks for it. With an error in the configuration everything stays as it was.
pub fn run(sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let answer = Client::connect(sockets)?.post("/v1/reload", b"").map_err(|error| match error {
        CliError::Refused(problem) if problem.code == INVALID => CliError::Config(format!(
            "{}\nthe daemon goes on with the configuration that it had",
            problem.detail
        )),
        other => other,
    })?;
    if screen.json {
        return screen.json(&answer);
    }
    let ReloadedView { changed, needs_restart } = client::parse(&answer)?;
    if changed.is_empty() && needs_restart.is_empty() {
        return screen.line("nothing is different");
    }
    for what in &changed {
        screen.line(&format!("changed        {}", text::plain(what)))?;
    }
    for what in &needs_restart {
        screen.line(&format!("needs restart  {}", text::plain(what)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{exit::Exit, fake::Daemon, testing::Output};

    fn reload(status: u16, answer: &str, output: &mut Output) -> Result<(), CliError> {
        let daemon = Daemon::start(vec![(status, answer.to_owned())]);
        run(&daemon.paths(), &mut output.screen())
    }

    #[test]
    fn it_says_what_is_different() {
        for (answer, said) in [
            (r#"{"changed":[],"needs_restart":[]}"#, "nothing is different\n"),
            (
                r#"{"changed":["endpoint.erp"],"needs_restart":["store.cache"]}"#,
                "changed        endpoint.erp\nneeds restart  store.cache\n",
            ),
        ] {
            let mut output = Output::new();
            reload(200, answer, &mut output).expect("it is taken");
            assert_eq!(output.text(), said);
            let mut output = Output::json();
            reload(200, answer, &mut output).expect("it is taken");
            assert_eq!(output.text().trim_end(), answer, "byte for byte");
        }
    }

    #[test]
    fn a_wrong_configuration_is_a_configuration_error() {
        let answer = r#"{"type":"urn:posthaste:problem:invalid_configuration","title":"Unprocessable Entity","status":422,
            "detail":"error: unknown key `x`\n","code":"invalid_configuration","errors":[]}"#;
        let error = reload(422, answer, &mut Output::new()).expect_err("it is not taken");
        assert_eq!(error.exit(), Exit::Config);
        assert!(error.to_string().starts_with("error: unknown key"), "{error}");
        let answer = answer.replace("invalid_configuration", "not_allowed").replace("422", "403");
        let error = reload(403, &answer, &mut Output::new()).expect_err("it is not allowed");
        assert_eq!(error.exit(), Exit::Permission);
    }
}
