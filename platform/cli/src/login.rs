//! `craton login`: stores an API key for the commands that need one.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::access::{API_KEY_VARIABLE, Access, api_key_of_environment};
use crate::api::{Api, Organisation};
use crate::config::{self, Login};

/// What an organisation's API key begins with.
const API_KEY_PREFIX: &str = "crt_live_";
/// More than any API key.
const API_KEY_BYTES_MAX: u64 = 1024;

/// Store an API key for the other commands
#[derive(Args)]
#[command(after_help = "\
The key is made in the console, under API keys. It is read from CRATON_API_KEY, from the standard input with
--api-key-stdin, or asked for; it is tried before it is stored, and stored with mode 0600.")]
pub(crate) struct LoginArguments {
    #[command(flatten)]
    access: Access,
    /// Read the key from the standard input
    #[arg(long)]
    api_key_stdin: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &LoginArguments) -> anyhow::Result<ExitCode> {
    let key = read_key(arguments.api_key_stdin)?;
    if !key.starts_with(API_KEY_PREFIX) {
        bail!("this is no API key: API keys begin with {API_KEY_PREFIX}");
    }
    let api = Api::new(arguments.access.server_or_default(), &key);
    let organisations = api.list::<Organisation>("/api/v1/orgs")?;
    let login = Login {
        server: api.server().to_owned(),
        api_key: key,
    };
    let path = config::store(&config::folder()?, &login)?;
    let mut stdout = io::stdout().lock();
    if arguments.json {
        let result = serde_json::json!({ "server": login.server, "organisations": organisations.json });
        writeln!(stdout, "{result:#}")?;
    } else {
        let names: Vec<_> = organisations.value.iter().map(|org| org.name.as_str()).collect();
        writeln!(
            stdout,
            "Logged in to {} for {}; stored in {}.",
            login.server,
            craton_proof::printable(&names.join(", ")),
            path.display()
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_key(from_stdin: bool) -> anyhow::Result<String> {
    if from_stdin {
        let mut text = String::new();
        io::stdin()
            .take(API_KEY_BYTES_MAX)
            .read_to_string(&mut text)
            .context("the standard input cannot be read")?;
        return Ok(text.trim().to_owned());
    }
    if let Some(key) = api_key_of_environment() {
        return Ok(key);
    }
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the API key: give --api-key-stdin, or set {API_KEY_VARIABLE}");
    }
    let key = rpassword::prompt_password("API key: ").context("the API key cannot be read")?;
    Ok(key.trim().to_owned())
}
