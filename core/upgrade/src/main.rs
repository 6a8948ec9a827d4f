//! `craton-upgrade`: rolls a cluster between two builds under load, and makes golden data directories.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use craton_types::FormatVersion;
use craton_upgrade::{RollOptions, golden, roll};

/// Moves clusters between builds.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Moves three nodes up, down and up again, one at a time, while clients write; then goes over to the newer format version
    Roll {
        /// The server of the older build
        #[arg(long, value_name = "PROGRAM")]
        from: PathBuf,
        /// The server of the newer build
        #[arg(long, value_name = "PROGRAM")]
        to: PathBuf,
        /// How many clients write
        #[arg(long, value_name = "COUNT", default_value_t = RollOptions::default().writers)]
        writers: u32,
    },
    /// Writes a data directory of a format version, and what it holds beside it
    Golden {
        /// Where it is written: data, master.key and expected.json
        directory: PathBuf,
        /// The format version
        #[arg(long, value_name = "NUMBER")]
        format: u8,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(text) => {
            use std::io::Write as _;
            // Nobody may be listening any more.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Runtime::new()?;
    match command {
        Command::Roll { from, to, writers } => {
            let report = runtime.block_on(roll(&from, &to, RollOptions { writers }))?;
            Ok(report.to_string())
        }
        Command::Golden { directory, format } => {
            runtime.block_on(golden::write(&directory, FormatVersion::new(format)))?;
            Ok(format!("{} holds a directory of version {format}", directory.display()))
        }
    }
}
