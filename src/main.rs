//! The binary: maps arguments to an exit code.

fn main() -> std::process::ExitCode {
    posthaste::cli::run(std::env::args_os())
}
