//! `craton-server`: one data-plane node as a process.

use std::process::ExitCode;

use craton_types::FormatVersion;

/// Commands are made by the clients' threads and dropped by the one that applies them; the system's allocator serves
/// that badly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    craton_server::run_command(FormatVersion::NEWEST)
}
