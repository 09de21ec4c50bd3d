//! `posthaste completions`: what a shell must know to complete the command line, made of its definition.

use clap::{Args as ClapArgs, ValueEnum};
use clap_complete::{generate, shells};

use super::{error::CliError, screen::Screen};

/// `posthaste completions`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  posthaste completions bash > /usr/share/bash-completion/completions/posthaste\n  \
                  posthaste completions zsh > /usr/share/zsh/vendor-completions/_posthaste\n  \
                  posthaste completions fish > ~/.config/fish/completions/posthaste.fish\n\n\
                  For one session of bash: source <(posthaste completions bash)"
)]
pub struct Args {
    /// Which
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// The shells that are known.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub fn run(args: &Args, mut command: clap::Command, screen: &mut Screen<'_>) -> Result<(), CliError> {
    if screen.json {
        let message = "the script is for a shell, and there is none as JSON: leave --json out";
        return Err(CliError::Usage(message.to_owned()));
    }
    // Whatever goes wrong with its output, clap_complete panics.
    let (mut script, name) = (Vec::new(), command.get_name().to_owned());
    match args.shell {
        Shell::Bash => generate(shells::Bash, &mut command, name, &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut command, name, &mut script),
        Shell::Fish => generate(shells::Fish, &mut command, name, &mut script),
    }
    screen.out.write_all(&script)?;
    Ok(())
}
