//! `craton-server` as the build before would be: it knows every version of the formats but the newest one.

use std::process::ExitCode;

use craton_types::FormatVersion;

fn main() -> ExitCode {
    craton_server::run_command(FormatVersion::OLDEST)
}
