//! `craton sql`: runs statements over the PostgreSQL protocol, with the server's name and certificate always checked.

mod connect;
mod print;
mod target;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use futures::TryStreamExt as _;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::output::causes;
use target::TargetArguments;

/// More than a statement may have; data is loaded with psql's \copy.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Run SQL statements
#[derive(Args)]
#[command(after_help = "\
Examples:
  craton sql --cluster patient-records -c 'SELECT count(*) FROM patients'
  craton sql --cluster patient-records < schema.sql
  craton sql --host clinic.local.craton.localhost --address 127.0.0.1 --port 20001 --ca-file ca.pem -c 'SELECT 1'

The password is read from PGPASSWORD or asked for. The statements of one -c, or of the standard input, that are not in
a transaction of their own are one transaction.

Exit status: 0 every statement succeeded, 1 one failed, 2 misuse or no connection.")]
pub(crate) struct SqlArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Statements to run, instead of the standard input; may be given several times
    #[arg(short, long = "command", value_name = "SQL")]
    command: Vec<String>,
}

pub(crate) fn run(arguments: &SqlArguments) -> anyhow::Result<ExitCode> {
    let target = arguments.target.resolve()?;
    let password = password(&target.user)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot start")?;
    runtime.block_on(async {
        let client = match connect::connect(&target, &password).await {
            Ok(client) => client,
            Err(connect::ConnectError::Postgres(error)) if error.as_db_error().is_some() => return refused(&error),
            Err(error) => return Err(error.into()),
        };
        let scripts = if arguments.command.is_empty() {
            vec![read_input()?]
        } else {
            arguments.command.clone()
        };
        for script in &scripts {
            if let Err(error) = execute(&client, script).await? {
                return refused(&error);
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs the statements of one text. The inner error is the server's, the outer one of writing the result.
async fn execute(client: &Client, script: &str) -> io::Result<Result<(), tokio_postgres::Error>> {
    let stream = match client.simple_query_raw(script).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    let mut stream = std::pin::pin!(stream);
    let mut table = None;
    loop {
        match stream.try_next().await {
            Err(error) => return Ok(Err(error)),
            Ok(None) => return Ok(Ok(())),
            Ok(Some(SimpleQueryMessage::RowDescription(columns))) => table = Some(print::Table::new(&columns)),
            Ok(Some(SimpleQueryMessage::Row(row))) => {
                if let Some(table) = &mut table {
                    table.push(&row);
                }
            }
            Ok(Some(SimpleQueryMessage::CommandComplete(rows))) => {
                let mut stdout = io::stdout().lock();
                match table.take() {
                    Some(table) => write!(stdout, "{table}")?,
                    None => writeln!(stdout, "OK, {}", print::count(rows, "row"))?,
                }
            }
            // The protocol may grow kinds of messages that say nothing to people.
            Ok(Some(_)) => {}
        }
    }
}

fn refused(error: &tokio_postgres::Error) -> anyhow::Result<ExitCode> {
    let Some(error) = error.as_db_error() else {
        bail!("the connection broke off: {}", causes(error));
    };
    let mut stderr = io::stderr().lock();
    write!(stderr, "{}", print::database_error(error))?;
    Ok(ExitCode::from(1))
}

/// A database user's password: from PGPASSWORD, or from the terminal.
pub(crate) fn password(user: &str) -> anyhow::Result<String> {
    if let Ok(password) = std::env::var("PGPASSWORD") {
        return Ok(password);
    }
    // The terminal itself is asked, so that the standard input stays free for statements.
    rpassword::prompt_password(format!("Password of {user}: "))
        .context("there is no terminal to ask for the password: set PGPASSWORD")
}

fn read_input() -> anyhow::Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        // Writing may fail only when nobody reads it.
        let _ = writeln!(io::stderr(), "Type statements, end with Ctrl-D.");
    }
    let mut text = String::new();
    let length = stdin
        .take(INPUT_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .context("the standard input cannot be read")?;
    if length as u64 > INPUT_BYTES_MAX {
        bail!("the standard input has more than {INPUT_BYTES_MAX} bytes");
    }
    Ok(text)
}
