//! `posthaste man`: the manual pages, as roff(7), for packages and for those who installed the program by itself.
//!
//! Their text is in `pages/`, in a small part of Markdown (`text`); what the program knows is written by it: commands and
//! options by clap's definition of them (`commands`), the keys of the configuration by the table that it is read by (`keys`),
//! variables (`environment`) and exit codes by theirs.
//!
//! clap_mangen is not used: it makes a page of each command, and neither it nor the roff crate below it escapes what is typed
//! as it is, `~` and `^` and quotes in arguments.

mod commands;
mod environment;
mod keys;
mod roff;
mod text;

use clap::{Args as ClapArgs, ValueEnum};

use self::{environment::Reader, roff::Roff};
use super::{error::CliError, exit::Exit, screen::Screen};

/// `posthaste man`.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Example:\n  posthaste man posthaste.1 | man -l -\n  \
                  posthaste man posthaste.toml.5 > /usr/local/share/man/man5/posthaste.toml.5\n\n\
                  There are posthaste(1), all commands; posthaste.toml(5), the configuration; and posthaste(8), the daemon. A \
                  package has put them where `man posthaste` finds them.")]
pub struct Args {
    /// Which
    #[arg(value_name = "PAGE")]
    page: Page,
}

/// The pages, by their files' names.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    #[value(name = "posthaste.1")]
    Commands,
    #[value(name = "posthaste.toml.5")]
    Configuration,
    #[value(name = "posthaste.8")]
    Daemon,
}

impl Page {
    fn begin(self) -> Roff {
        match self {
            Self::Commands => Roff::new("posthaste", 1),
            Self::Configuration => Roff::new("posthaste.toml", 5),
            Self::Daemon => Roff::new("posthaste", 8),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Commands => include_str!("pages/posthaste.1.md"),
            Self::Configuration => include_str!("pages/posthaste.toml.5.md"),
            Self::Daemon => include_str!("pages/posthaste.8.md"),
        }
    }
}

/// The codes that the daemon ends with.
const OF_THE_DAEMON: [Exit; 7] =
    [Exit::Success, Exit::Usage, Exit::Software, Exit::Io, Exit::TryAgain, Exit::Permission, Exit::Config];

/// Prints the page.
pub fn run(args: &Args, mut root: clap::Command, screen: &mut Screen<'_>) -> Result<(), CliError> {
    if screen.json {
        return Err(CliError::Usage(
            "the page is roff, and there is none as JSON: leave --json out".to_owned(),
        ));
    }
    // Before, it has neither its commands' full names nor the options for all of them.
    root.build();
    let mut page = args.page.begin();
    text::write(args.page.text(), &mut page, |name, page| generate(name, &mut root, page));
    screen.out.write_all(page.finish().as_bytes())?;
    Ok(())
}

/// Writes what the text of a page only names.
fn generate(name: &str, root: &mut clap::Command, page: &mut Roff) {
    match name {
        "options" => commands::write_options(root, page),
        "overview" => commands::write_overview(root, page),
        "commands" => commands::write_commands(root, page),
        "example" => commands::write_example(root, page),
        "sections" => keys::write_sections(page),
        "example.toml" => page.literal(include_str!("pages/example.toml").lines()),
        "placeholders" => keys::write_placeholders(page),
        "environment of commands" => environment::write(Reader::Commands, page),
        "environment of a service" => environment::write(Reader::Service, page),
        "environment of the daemon" => environment::write(Reader::Daemon, page),
        "exit codes" => write_exit_codes(&Exit::ALL, page),
        "exit codes of the daemon" => write_exit_codes(&OF_THE_DAEMON, page),
        name => unreachable!("the pages are a part of the program, and one names {name}"),
    }
}

fn write_exit_codes(codes: &[Exit], page: &mut Roff) {
    for exit in codes {
        page.term(&format!("`{}`", exit.code()), [sentence(exit.meaning()).as_str()]);
    }
}

fn sentence(words: &str) -> String {
    let (first, rest) = words.split_at(words.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}.", first.to_uppercase())
}
