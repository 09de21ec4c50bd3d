//! The binary: maps arguments to an exit code.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    posthaste::cli::run(std::env::args_os())
}
