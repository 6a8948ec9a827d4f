//! `craton verify`: checks a receipt or a log offline, against a key that the caller trusts.

mod key;
mod log;
mod receipt;

use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use craton_proof::LogVerifyOptions;

/// Check a receipt or a log offline, with no server and no network
#[derive(Args)]
#[command(after_help = "\
Examples:
  craton verify receipt.txt --key 'cluster.example/…+1a2b3c4d+AQ…'
  craton verify receipt.txt --key log.key --witness witness.key
  craton verify log ./log --key log.key
  craton verify log ./log --key log.key --checkpoint kept-last-year.txt

Exit status: 0 it verifies, 1 it does not, 2 misuse or unreadable files.")]
pub(crate) struct VerifyArguments {
    /// `receipt FILE` or `log FOLDER`; a path alone is a log if it is a folder, and a receipt otherwise
    #[arg(required = true, num_args = 1..=2, value_name = "WHAT")]
    what: Vec<PathBuf>,
    /// The log's verifier key (`<name>+<id>+<base64>`), or a file that holds it. Get it from a source you trust, not
    /// from whoever handed you the receipt or the log
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    /// A witness's key (`<name>+<id>+<base64>`), or a file that holds it; repeat for several. Each must have cosigned
    /// the checkpoint of the receipt
    #[arg(long, value_name = "KEY|FILE")]
    witness: Vec<String>,
    /// How many of the witnesses must have cosigned [default: all that are given]
    #[arg(long, value_name = "NUMBER", requires = "witness")]
    quorum: Option<usize>,
    /// Logs: a signed checkpoint kept from earlier, which the log must contain
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Logs: accept an incomplete last record, as in a copy of a log that is being written
    #[arg(long)]
    allow_torn_tail: bool,
    /// Logs: how many segments are verified at the same time [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZero<usize>>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

enum Target<'a> {
    Receipt(&'a Path),
    Log(&'a Path),
}

impl VerifyArguments {
    fn target(&self) -> anyhow::Result<Target<'_>> {
        match &self.what[..] {
            [path] if path.is_dir() => Ok(Target::Log(path)),
            [path] => Ok(Target::Receipt(path)),
            [kind, path] if kind.as_os_str() == "log" => Ok(Target::Log(path)),
            [kind, path] if kind.as_os_str() == "receipt" => Ok(Target::Receipt(path)),
            [kind, ..] => bail!(
                "there is no {:?} to verify: say receipt or log, and a path",
                kind.display()
            ),
            [] => unreachable!("the argument is required"),
        }
    }
}

/// The result of a verification, for people and for programs.
struct Outcome {
    verified: bool,
    text: String,
    json: serde_json::Value,
}

pub(crate) fn run(arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let key = arguments.key.as_deref().map(key::log_key).transpose()?;
    let witnesses = key::witnesses(&arguments.witness, arguments.quorum)?;
    let outcome = match arguments.target()? {
        Target::Receipt(path) => {
            let key = key.context("a receipt is verified against the key of its log: give --key")?;
            if arguments.checkpoint.is_some() || arguments.allow_torn_tail || arguments.threads.is_some() {
                bail!("--checkpoint, --allow-torn-tail and --threads are for logs");
            }
            receipt::verify(path, &key, &witnesses)?
        }
        Target::Log(path) => {
            if !arguments.witness.is_empty() {
                bail!("--witness is for receipts");
            }
            let checkpoint = arguments.checkpoint.as_deref().map(read_note).transpose()?;
            let options = LogVerifyOptions {
                key,
                checkpoint,
                allow_torn_tail: arguments.allow_torn_tail,
            };
            log::verify(path, &options, arguments.threads)?
        }
    };
    let mut stdout = std::io::stdout().lock();
    if arguments.json {
        writeln!(stdout, "{:#}", outcome.json)?;
    } else {
        write!(stdout, "{}", outcome.text)?;
    }
    Ok(ExitCode::from(u8::from(!outcome.verified)))
}

fn read_note(path: &Path) -> anyhow::Result<String> {
    let bytes = read_bounded(path, craton_proof::NOTE_BYTES_MAX)?;
    String::from_utf8(bytes).with_context(|| format!("{} is not text", path.display()))
}

/// Reads a text file, refusing one that is longer than anything of its kind. However many line ends follow
/// the last line, one is given back: tools that print a text add their own.
fn read_bounded(path: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    if bytes.len() > bytes_max {
        bail!("{} is longer than {bytes_max} bytes", path.display());
    }
    let end = bytes.trim_ascii_end().len();
    if end < bytes.len() {
        bytes.truncate(end);
        bytes.push(b'\n');
    }
    Ok(bytes)
}
