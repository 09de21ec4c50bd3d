//! `posthaste openapi`: what the API is, for those who make clients of it. No daemon is asked: it shows the same.

use clap::Args as ClapArgs;

use super::{error::CliError, screen::Screen};
use crate::api::openapi;

/// `posthaste openapi`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  posthaste openapi > posthaste.json\n  posthaste openapi | jq '.paths | keys'\n\nThe daemon shows it at GET /openapi.json."
)]
pub struct Args {}

/// Prints the document.
pub fn run(screen: &mut Screen<'_>) -> Result<(), CliError> {
    let document = openapi::document();
    let text = if screen.json { document.to_string() } else { format!("{document:#}") };
    screen.line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::Output;

    #[test]
    fn it_is_json_for_people_and_for_programs() {
        let mut texts = Vec::new();
        for mut output in [Output::new(), Output::json()] {
            run(&mut output.screen()).expect("it prints");
            let read: serde_json::Value = serde_json::from_slice(&output.out).expect("JSON");
            assert_eq!(read, openapi::document());
            texts.push(output.text().lines().count());
        }
        assert!(texts[0] > 1_000 && texts[1] == 1, "{texts:?}");
    }
}
