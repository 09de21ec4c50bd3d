//! The command line: one file per command, and what they share.
//!
//! Every command reads its arguments, does one thing, prints to a [`screen::Screen`] and returns a
//! [`error::CliError`] that knows its exit code ([`exit::Exit`], the only table of them). The commands that talk to
//! the daemon do so over its Unix socket ([`socket`], [`client`]) in the wire types of `api::view`, and keep no
//! state of their own. With `--json` they pass on what the daemon said, byte for byte where it is one document.
//!
//! A reader that closes the output early (`posthaste event list | head -1`) ends a command quietly with 0.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::{clock::Clock, logging};

pub mod account;
mod again;
pub mod check;
pub mod client;
pub mod completions;
pub mod delivery;
pub mod emit;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod exit;
#[cfg(test)]
mod fake;
pub mod input;
pub mod job;
pub mod key;
pub mod list;
pub mod listen;
pub mod man;
pub mod openapi;
pub mod profile;
pub mod reload;
pub mod screen;
pub mod secret;
pub mod serve;
pub mod socket;
pub mod spool;
pub mod status;
pub mod store;
pub mod table;
#[cfg(test)]
mod testing;
pub mod text;
pub mod verify;
pub mod when;

use error::CliError;
use exit::Exit;
use screen::Screen;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "posthaste",
    version,
    about = "The outbox of a box: takes events, keeps them in one durable file, and delivers each, signed and retried, to every webhook endpoint",
    after_help = "Example:\n  posthaste serve &\n  posthaste emit scan.finished '{\"pages\":3}'\n  posthaste delivery list",
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
struct Global {
    /// The daemon's socket [env: POSTHASTE_SOCKET] [else /run/posthaste/posthaste.sock, ./posthaste-data/posthaste.sock]
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    socket: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true, display_order = 901)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(serve::Args),
    /// Read the configuration as `serve` would, and print every error
    Check(check::Args),
    /// Hand in an event, or many
    Emit(emit::Args),
    /// Look at events
    #[command(subcommand)]
    Event(event::Command),
    /// Look at deliveries
    #[command(subcommand)]
    Delivery(delivery::Command),
    /// Look at endpoints, make and change them
    #[command(subcommand)]
    Endpoint(endpoint::Command),
    /// Look at jobs, and call them off
    #[command(subcommand)]
    Job(job::Command),
    /// Make and revoke keys for the API over TCP
    #[command(subcommand)]
    Key(key::Command),
    /// Look at accounts, make and change them
    #[command(subcommand)]
    Account(account::Command),
    /// Look after files that were not taken
    #[command(subcommand)]
    Spool(spool::Command),
    /// Have the daemon read its configuration again
    Reload(reload::Args),
    /// Look after the store's file: check, compact, back up, restore and export it
    #[command(subcommand)]
    Store(store::Command),
    /// Show how the daemon is doing
    Status(status::Args),
    /// Receive webhooks on this machine, for trying things out
    Listen(listen::Args),
    /// Say whether a webhook that came is what it should be
    Verify(verify::command::Args),
    /// Print what the API is, as OpenAPI
    #[command(name = "openapi")]
    OpenApi(openapi::Args),
    /// Print what a shell needs to complete the command line
    Completions(completions::Args),
    /// Print a manual page
    Man(man::Args),
}

/// Does what the command line says, its first word being the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // There is nowhere to say that the help cannot be printed.
            let _ = error.print();
            return misread(&error).into();
        }
    };
    if let Err(error) = check_socket(&cli) {
        return report(&error).into();
    }
    match cli.command {
        // Not on a screen: the daemon would hold standard output for as long as it runs.
        Command::Serve(args) => {
            serve::run(args).map_or_else(|error| end_log(&error), |()| Exit::Success).into()
        }
        command => on_screen(&cli.global, command).into(),
    }
}

/// A socket that is named for a command that connects to none would be ignored.
fn check_socket(cli: &Cli) -> Result<(), CliError> {
    let help = match cli.command {
        _ if cli.global.socket.is_none() => return Ok(()),
        Command::Serve(_) => "the daemon's socket is a matter of its configuration: `socket` in [listen]",
        Command::Check(_)
        | Command::Completions(_)
        | Command::Listen(_)
        | Command::Man(_)
        | Command::OpenApi(_)
        | Command::Verify(_) => "this command does not talk to the daemon: leave --socket out",
        Command::Store(ref command) if !command.connects() => {
            "this command works on the store's file: leave --socket out"
        }
        Command::Spool(ref command) if command.names_directories() => {
            "--directory and --config say where the directories are, so the daemon is not asked: leave --socket out"
        }
        _ => return Ok(()),
    };
    Err(CliError::Usage(help.to_owned()))
}

/// Help and version are a success; all else that clap has to say is wrong usage.
fn misread(error: &clap::Error) -> Exit {
    if error.use_stderr() { Exit::Usage } else { Exit::Success }
}

/// Runs a command against the real standard streams.
fn on_screen(global: &Global, command: Command) -> Exit {
    let stdout = io::stdout();
    let width = screen::width_of(&stdout, env::var("COLUMNS").ok().as_deref());
    let colour = stdout.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut out = io::BufWriter::new(stdout.lock());
    let mut notes = io::stderr();
    let live = notes.is_terminal();
    let now = Clock::start().wall();
    let mut screen = Screen { out: &mut out, notes: &mut notes, json: global.json, colour, live, width, now };
    let sockets = socket::candidates(global.socket.clone(), env::var_os(socket::VARIABLE));
    let result = dispatch(command, &sockets, &mut screen);
    match result.and_then(|exit| screen.flush().map(|()| exit)) {
        Ok(exit) => exit,
        Err(error) => {
            // What is printed already belongs before the error; whether that works does not matter any more.
            let _ = out.flush();
            report(&error)
        }
    }
}

fn dispatch(command: Command, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<Exit, CliError> {
    let done = match command {
        Command::Serve(_) => unreachable!("`run` starts the daemon itself"),
        Command::Check(args) => check::run(&args, screen),
        Command::Emit(args) => emit::run(&args, sockets, screen),
        Command::Event(command) => event::run(&command, sockets, screen),
        Command::Delivery(command) => delivery::run(&command, sockets, screen),
        Command::Endpoint(command) => endpoint::run(&command, sockets, screen),
        Command::Job(command) => job::run(&command, sockets, screen),
        Command::Key(command) => key::run(&command, sockets, screen),
        Command::Account(command) => account::run(&command, sockets, screen),
        Command::Spool(command) => spool::run(&command, sockets, screen),
        Command::Reload(_) => reload::run(sockets, screen),
        Command::Store(command) => store::run(&command, sockets, screen),
        // It alone ends in more ways than well and with an error.
        Command::Status(args) => return status::run(&args, sockets, screen),
        Command::Listen(args) => listen::run(&args, screen),
        Command::Verify(args) => verify::command::run(&args, screen),
        Command::OpenApi(_) => openapi::run(screen),
        Command::Completions(args) => completions::run(&args, Cli::command(), screen),
        Command::Man(args) => man::run(&args, Cli::command(), screen),
    };
    done.map(|()| Exit::Success)
}

/// Says what went wrong, and what that means to a script.
fn report(error: &CliError) -> Exit {
    if error.is_broken_pipe() {
        return Exit::Success;
    }
    let text = error.to_string();
    // A closed standard error is no reason to panic, as `eprintln!` would.
    let _ = writeln!(io::stderr(), "{}{text}", heading(&text));
    error.exit()
}

/// The same of the daemon, behind what it has said.
fn end_log(error: &CliError) -> Exit {
    let text = error.to_string();
    logging::last_word(heading(&text), &text);
    error.exit()
}

/// What stands before an error; those of a configuration begin with a heading of their own.
fn heading(text: &str) -> &'static str {
    if text.starts_with("error: ") { "" } else { "posthaste: " }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn good_command_lines_are_taken() {
        for line in [
            "posthaste serve",
            "posthaste serve --config a.toml",
            "posthaste check --config a.toml --json",
            "posthaste --socket /s emit a.b {}",
            "posthaste emit a.b - --id 7 --account x --time 2026-11-22T02:57:00Z --socket /s",
            "posthaste emit a.b @file",
            "posthaste emit --lines",
            "posthaste emit --lines - --json --wait 5m",
            "posthaste emit --lines a b c --socket /s",
            "posthaste emit a.b --account x --key k --lines a --resume n --from 7",
            "posthaste event list --type video.* --account a --since 2h --until 2026-11-22T02:57:00Z --limit 5",
            "posthaste event show evt_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "posthaste delivery list --status failed --endpoint erp --since 7d --all",
            "posthaste delivery list --event evt_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "posthaste delivery show dlv_01hqr2p1qq8k3v7r5m6n0x9y2z --json",
            "posthaste delivery replay dlv_01hqr2p1qq8k3v7r5m6n0x9y2z dlv_01hqr2p1qq8k3v7r5m6n0x9y2z --json",
            "posthaste delivery cancel dlv_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "posthaste endpoint list --account a",
            "posthaste endpoint add https://a.example/ --type video.* --type a.b --description d --profile raw --header A:b",
            "posthaste endpoint add https://a.example/ --type * --secret @file --account a --disabled",
            "posthaste endpoint show erp --account a",
            "posthaste endpoint update ep_01hqr2p1qq8k3v7r5m6n0x9y2z --url https://b.example/ --no-headers --no-profile",
            "posthaste endpoint remove erp --json",
            "posthaste endpoint enable erp --pending discard",
            "posthaste endpoint disable erp",
            "posthaste endpoint test erp --type a.b --data {}",
            "posthaste endpoint rotate-secret erp --overlap 0s",
            "posthaste endpoint secret erp --all",
            "posthaste endpoint recover erp --since 2h --until 2026-11-22T02:57:00Z --wait",
            "posthaste job list --account a --limit 5",
            "posthaste job show job_01hqr2p1qq8k3v7r5m6n0x9y2z --watch",
            "posthaste job cancel job_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "posthaste key list --account a",
            "posthaste key show key_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "posthaste event types --account a",
            "posthaste key add --role subscriber --account a --expires 90d --name n",
            "posthaste key add --role operator --json",
            "posthaste key revoke key_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "posthaste spool list --json",
            "posthaste spool list --directory d",
            "posthaste spool retry a.json b.json --config a.toml",
            "posthaste spool remove --all",
            "posthaste store check --store s.redb --repair --json",
            "posthaste store compact --config c.toml",
            "posthaste store backup b.redb --no-wait --socket /s",
            "posthaste store restore b.redb --store s.redb --discard --anyway",
            "posthaste store export --events --since 7d --account a -",
            "posthaste store export out.ndjson --store b.redb --format events",
            "posthaste status --json",
            "posthaste status --watch",
            "posthaste status --check --max-age 6h",
            "posthaste completions bash",
            "posthaste man posthaste.toml.5",
            "posthaste openapi --json",
            "posthaste listen --port 0 --secret s --profile raw --status 503 --fail-first 2 --delay 5s --save d",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).expect_err("it is refused"));
        }
    }

    #[test]
    fn wrong_command_lines_are_usage() {
        for line in [
            "posthaste",
            "posthaste fly",
            "posthaste emit",
            "posthaste emit a..b",
            "posthaste emit a.b --idd x",
            "posthaste emit a.b {} --lines",
            "posthaste emit a.b --id x --lines",
            "posthaste emit a.b --resume n",
            "posthaste emit --lines --from 0",
            "posthaste emit --lines --wait 5",
            "posthaste emit a.b {} --time tomorrow",
            "posthaste event show dlv_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "posthaste event list --limit 0",
            "posthaste event list --limit 5 --all",
            "posthaste delivery list --status done",
            "posthaste delivery list --since yesterday",
            "posthaste delivery replay",
            "posthaste delivery replay evt_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "posthaste endpoint add https://a.example/",
            "posthaste endpoint add --type a.b",
            "posthaste endpoint update erp",
            "posthaste endpoint update erp --profile raw --no-profile",
            "posthaste endpoint add https://a.example/ --type a.b --header broken",
            "posthaste endpoint enable erp --pending drop",
            "posthaste endpoint rotate-secret erp --overlap 5",
            "posthaste endpoint test erp --type a..b",
            "posthaste key add",
            "posthaste key add --role root",
            "posthaste key add --role subscriber",
            "posthaste key revoke portal",
            "posthaste endpoint recover erp",
            "posthaste endpoint recover erp --since yesterday",
            "posthaste spool retry",
            "posthaste spool remove a.json --all",
            "posthaste spool list --directory d --config a.toml",
            "posthaste store",
            "posthaste store check --store s.redb --config c.toml",
            "posthaste store backup",
            "posthaste store restore",
            "posthaste store export --format yaml",
            "posthaste status --max-age 6h",
            "posthaste status --check --max-age long",
            "posthaste status --check --watch",
            "posthaste completions",
            "posthaste completions tcsh",
            "posthaste man",
            "posthaste man posthaste.7",
            "posthaste listen --status 99",
            "posthaste listen --delay 5",
            "posthaste verify body.json",
            "posthaste verify --profile raw",
            "posthaste verify --profile raw --header x body.json",
            "posthaste verify --profile raw --fact x=y body.json",
            "posthaste verify --profile raw --tolerance long body.json",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(misread(&error), Exit::Usage, "{line}");
        }
    }

    #[test]
    fn a_socket_is_only_for_who_connects() {
        for (line, good) in [
            ("posthaste serve", true),
            ("posthaste --socket /s serve", false),
            ("posthaste check --socket /s", false),
            ("posthaste listen --socket /s", false),
            ("posthaste man posthaste.1 --socket /s", false),
            ("posthaste verify --profile raw --socket /s body.json", false),
            ("posthaste status --socket /s", true),
            ("posthaste spool list --socket /s", true),
            ("posthaste store backup b.redb --socket /s", true),
            ("posthaste store check --socket /s", false),
            ("posthaste store restore b.redb --socket /s", false),
            ("posthaste spool list --socket /s --directory d", false),
            ("posthaste spool retry --all --socket /s --config c", false),
        ] {
            let checked = check_socket(&parse(line).expect(line));
            assert_eq!(checked.is_ok(), good, "{line}");
            assert!(checked.is_ok() || checked.is_err_and(|error| error.exit() == Exit::Usage), "{line}");
        }
    }

    #[test]
    fn help_and_version_are_a_success() {
        for (line, kind) in [
            ("posthaste --help", ErrorKind::DisplayHelp),
            ("posthaste emit --help", ErrorKind::DisplayHelp),
            ("posthaste --version", ErrorKind::DisplayVersion),
        ] {
            let error = parse(line).expect_err("clap ends here");
            assert_eq!(error.kind(), kind, "{line}");
            assert_eq!(misread(&error), Exit::Success, "{line}");
        }
    }

    #[test]
    fn every_help_ends_with_an_example() {
        fn walk(command: &clap::Command) {
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Example"), "{} has no example", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
