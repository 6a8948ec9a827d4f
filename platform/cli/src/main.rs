//! The `craton` command.
//!
//! # Invariants
//! - One module per subcommand; this file only chooses among them.
//! - Exit status 0: done; 1: the answer is no (what was to be verified does not verify, the control plane or the database
//!   refused, the cluster failed); 2: misuse, or something could not be read or reached; 3: what was to be verified contradicts
//!   a checkpoint that was seen before.
//! - `craton verify` of a receipt, a log or an export opens files and nothing else: no network, no server. It keeps the
//!   checkpoints that it has seen in files of its own, and no other configuration. Only `craton verify cluster` asks a server.
//! - An API key goes to no server but the one that it was stored for.
//! - Text that a server sent cannot drive the terminal: control characters are escaped.
//!
//! # Deliberately absent
//! The verification itself (`craton-proof`), and loading of data: that is what psql's `\copy` is for.

mod access;
mod api;
mod clusters;
mod config;
mod dev;
mod export;
mod log_source;
mod login;
mod orgs;
mod output;
mod sql;
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
    Export(export::ExportArguments),
    Sql(sql::SqlArguments),
    Login(login::LoginArguments),
    Orgs(orgs::OrgsArguments),
    Clusters(clusters::ClustersArguments),
    Dev(dev::DevArguments),
    #[command(hide = true)]
    Attached(dev::AttachedArguments),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // Before any connection is made; `craton verify` makes none, and this opens nothing.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        unreachable!("nothing else of this program installs a TLS provider");
    }
    let result = match command {
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Sql(arguments) => sql::run(&arguments),
        Command::Login(arguments) => login::run(&arguments),
        Command::Orgs(arguments) => orgs::run(&arguments),
        Command::Clusters(arguments) => clusters::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Attached(arguments) => dev::run_attached(&arguments),
    };
    result.unwrap_or_else(|error| {
        // Nothing is left to be done when standard error is closed too.
        let _ = writeln!(std::io::stderr(), "craton: {}", output::causes(error.as_ref()));
        ExitCode::from(if is_refusal(&error) { 1 } else { 2 })
    })
}

/// Whether somebody was reached and said no, or what was waited for came to a bad end.
fn is_refusal(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<clusters::NotAchieved>()
            || matches!(cause.downcast_ref::<api::ApiError>(), Some(api::ApiError::Problem(_)))
    })
}
