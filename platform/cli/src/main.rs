//! The `craton` command.
//!
//! # Invariants
//! - One module per subcommand; this file only chooses among them.
//! - Exit status 0: done; 1: the answer is no (what was to be verified does not verify); 2: misuse, or something could
//!   not be read or reached.
//! - `craton verify` opens files and nothing else: no network, no server, no configuration.
//!
//! # Deliberately absent
//! The verification itself (`craton-proof`).

mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Work with Craton databases and check what they prove.
#[derive(Parser)]
#[command(name = "craton", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Verify(verify::VerifyArguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Verify(arguments) => verify::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        // Nothing is left to be done when standard error is closed too.
        let _ = writeln!(std::io::stderr(), "craton: {error:#}");
        ExitCode::from(2)
    })
}
