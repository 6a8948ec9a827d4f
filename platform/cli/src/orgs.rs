//! `craton orgs`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::access::Access;
use crate::api::Organisation;
use crate::output;

/// Organisations
#[derive(Args)]
pub(crate) struct OrgsArguments {
    #[command(subcommand)]
    command: OrgsCommand,
}

#[derive(Subcommand)]
enum OrgsCommand {
    /// List the organisations that the API key can see
    List {
        #[command(flatten)]
        access: Access,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(arguments: &OrgsArguments) -> anyhow::Result<ExitCode> {
    let OrgsCommand::List { access, json } = &arguments.command;
    let organisations = access.connect()?.list::<Organisation>("/api/v1/orgs")?;
    let mut stdout = std::io::stdout().lock();
    if *json {
        writeln!(stdout, "{:#}", organisations.json)?;
    } else {
        let rows: Vec<_> = organisations
            .value
            .into_iter()
            .map(|org| [org.id, org.name, org.slug, org.role])
            .collect();
        write!(stdout, "{}", output::table(["ID", "NAME", "SLUG", "ROLE"], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}
