//! `craton verify`: checks a receipt, a log, an export of one, or a live one, against a key that the caller trusts.

mod key;
mod log;
mod pins;
mod receipt;
mod tiles;

use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use craton_proof::{Checkpoint, LogVerifyOptions, VerifierKey, WitnessPolicy};

use crate::log_source::{AccessArguments, CHECKPOINT_FILE, FolderLog, LogSource, VERIFIER_KEY_FILE};
pub(crate) use key::log_key;
use pins::Pins;
use tiles::TilesOptions;

/// More than a long name and a key; a longer file is no key file.
const KEY_FILE_BYTES_MAX: usize = 4096;

/// Check a receipt, a log or an export offline, or the log of a live cluster
#[derive(Args)]
#[command(after_help = "\
Examples:
  craton verify receipt.txt --key 'cluster.example/…+1a2b3c4d+AQ…'
  craton verify receipt.txt --key log.key --witness witness.key
  craton verify log ./log --key log.key
  craton verify log ./log --key log.key --checkpoint kept-last-year.txt
  craton verify export ./export --key log.key
  craton verify cluster https://clinic.example:8443/logs/main --key log.key --ca-file ca.pem --entries

The newest checkpoint of each log is remembered. What contradicts it is refused: an end before it, or another history.

Exit status: 0 it verifies, 1 it does not, 2 misuse or unreadable files, 3 it contradicts a remembered checkpoint.")]
pub(crate) struct VerifyArguments {
    /// `receipt FILE`, `log FOLDER`, `export FOLDER` or `cluster URL`; alone, a URL, a folder or a file is taken for what
    /// it looks like
    #[arg(required = true, num_args = 1..=2, value_name = "WHAT")]
    what: Vec<PathBuf>,
    /// The log's verifier key (`<name>+<id>+<base64>`), or a file that holds it. Get it from a source you trust, not
    /// from whoever handed you the receipt or the log
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    /// A witness's key (`<name>+<id>+<base64>`), or a file that holds it; repeat for several. Each must have cosigned
    /// the checkpoint; of a log in segments, one of its checkpoints
    #[arg(long, value_name = "KEY|FILE")]
    witness: Vec<String>,
    /// How many of the witnesses must have cosigned [default: all that are given]
    #[arg(long, value_name = "NUMBER", requires = "witness")]
    quorum: Option<usize>,
    /// Logs: a signed checkpoint kept from earlier, which the log must contain
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Logs in segments: accept an incomplete last record, as in a copy of a log that is being written
    #[arg(long)]
    allow_torn_tail: bool,
    /// Live logs: read every entry too, from the newest known checkpoint on, or from --from on
    #[arg(long)]
    entries: bool,
    /// Live logs: show that the first so many records are the beginning of the log, and read entries from there on
    #[arg(long, value_name = "SIZE")]
    from: Option<u64>,
    /// Logs: how many segments or bundles are verified at the same time [default: as many as there are processors; of
    /// bundles, 8]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZero<usize>>,
    /// Remember no checkpoint and compare with none
    #[arg(long, conflicts_with = "pins")]
    no_pin: bool,
    /// Where checkpoints are remembered [default: $XDG_STATE_HOME/craton/checkpoints]
    #[arg(long, value_name = "FOLDER")]
    pins: Option<PathBuf>,
    #[command(flatten)]
    access: AccessArguments,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

enum Target<'a> {
    Receipt(&'a Path),
    Log(&'a Path),
    Export(&'a Path),
    Cluster(&'a str),
}

impl VerifyArguments {
    fn target(&self) -> anyhow::Result<Target<'_>> {
        match &self.what[..] {
            [path] => Ok(match path.to_str().filter(|text| text.starts_with("https://")) {
                Some(url) => Target::Cluster(url),
                None if path.join(CHECKPOINT_FILE).is_file() => Target::Export(path),
                None if path.is_dir() => Target::Log(path),
                None => Target::Receipt(path),
            }),
            [kind, path] => match (kind.to_str(), path.to_str()) {
                (Some("receipt"), _) => Ok(Target::Receipt(path)),
                (Some("log"), _) => Ok(Target::Log(path)),
                (Some("export"), _) => Ok(Target::Export(path)),
                (Some("cluster"), Some(url)) => Ok(Target::Cluster(url)),
                _ => bail!(
                    "there is no {:?} to verify: say receipt, log, export or cluster, and a path or URL",
                    kind.display()
                ),
            },
            _ => unreachable!("one or two arguments are required"),
        }
    }

    /// Refuses options that are for something else.
    fn check_options(&self, target: &Target<'_>) -> anyhow::Result<()> {
        let of_logs = self.checkpoint.is_some() || self.threads.is_some();
        let of_live = self.entries || self.from.is_some() || !self.access.is_empty();
        if matches!(target, Target::Receipt(_)) && of_logs {
            bail!("--checkpoint and --threads are for logs");
        }
        if !matches!(target, Target::Log(_)) && self.allow_torn_tail {
            bail!("--allow-torn-tail is for logs in segments");
        }
        if !matches!(target, Target::Cluster(_)) && of_live {
            bail!("--entries, --from, --user, --ca-file and --address are for live clusters");
        }
        Ok(())
    }

    /// What is remembered of the key's log; `None` when nothing is to be remembered.
    fn pins(&self, key: &VerifierKey) -> anyhow::Result<Option<Pins>> {
        if self.no_pin {
            return Ok(None);
        }
        let directory = match &self.pins {
            Some(directory) => directory.clone(),
            None => match pins::default_directory() {
                Some(directory) => directory,
                None => {
                    remembered(Err(std::io::Error::other(
                        "there is no home directory; give --pins, or --no-pin",
                    )));
                    return Ok(None);
                }
            },
        };
        Pins::open(&directory, key).map(Some)
    }
}

/// What came of a verification; the number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Verified = 0,
    Refused = 1,
    /// It contradicts a checkpoint that was seen before.
    Contradicts = 3,
}

/// The result of a verification, for people and for programs.
struct Outcome {
    verdict: Verdict,
    text: String,
    json: serde_json::Value,
}

pub(crate) fn run(arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let key = arguments.key.as_deref().map(log_key).transpose()?;
    let witnesses = key::witnesses(&arguments.witness, arguments.quorum)?;
    let target = arguments.target()?;
    arguments.check_options(&target)?;
    let outcome = match target {
        Target::Receipt(path) => {
            let key = key.context("a receipt is verified against the key of its log: give --key")?;
            receipt::verify(path, &key, &witnesses, arguments.pins(&key)?.as_ref())?
        }
        Target::Log(path) => verify_segments(arguments, path, key, witnesses)?,
        Target::Export(path) => {
            let key = key.with_context(|| {
                let file = path.join(VERIFIER_KEY_FILE);
                format!(
                    "an export is verified against the key of its log: give --key. {} is what its maker says; compare it",
                    file.display()
                )
            })?;
            match differing_key(path, &key)? {
                Some(outcome) => outcome,
                None => verify_tiles(arguments, &FolderLog::new(path), &key, &witnesses, true)?,
            }
        }
        Target::Cluster(url) => {
            let key = key.context("a log is verified against its key: give --key")?;
            let source = arguments.access.open(url)?;
            verify_tiles(arguments, &source, &key, &witnesses, arguments.entries)?
        }
    };
    let mut stdout = std::io::stdout().lock();
    if arguments.json {
        writeln!(stdout, "{:#}", outcome.json)?;
    } else {
        write!(stdout, "{}", outcome.text)?;
    }
    Ok(ExitCode::from(outcome.verdict as u8))
}

fn verify_segments(
    arguments: &VerifyArguments,
    path: &Path,
    key: Option<VerifierKey>,
    witnesses: WitnessPolicy,
) -> anyhow::Result<Outcome> {
    // Without the key, a log may say anything; nothing of it is remembered.
    let pins = key.as_ref().map(|key| arguments.pins(key)).transpose()?.flatten();
    let options = LogVerifyOptions {
        key,
        checkpoint: arguments.checkpoint.as_deref().map(read_note).transpose()?,
        pinned: pins.as_ref().map(|pins| pins.known().to_vec()).unwrap_or_default(),
        witnesses,
        allow_torn_tail: arguments.allow_torn_tail,
    };
    let (outcome, summary) = log::verify(path, &options, arguments.threads)?;
    if let (Some(pins), Some(summary)) = (pins, summary)
        && let (Some(checkpoint), Some(note)) = (summary.last_checkpoint, summary.last_note)
    {
        remembered(pins.advance(&checkpoint, &note));
    }
    Ok(outcome)
}

fn verify_tiles(
    arguments: &VerifyArguments,
    source: &dyn LogSource,
    key: &VerifierKey,
    witnesses: &WitnessPolicy,
    entries: bool,
) -> anyhow::Result<Outcome> {
    let given = arguments.checkpoint.as_deref().map(read_note).transpose()?;
    let given = given.map(|note| Checkpoint::open(note.as_bytes(), key)).transpose();
    let pins = arguments.pins(key)?;
    // Of an export every byte is to be checked, whatever is known of its beginning.
    let is_export = !matches!(arguments.target()?, Target::Cluster(_));
    let options = TilesOptions {
        key,
        witnesses,
        given: given.context("--checkpoint")?,
        pinned: pins.as_ref().map(Pins::known).unwrap_or_default(),
        from: if is_export { Some(0) } else { arguments.from },
        entries,
        threads: arguments.threads,
    };
    let (outcome, verified) = tiles::verify(source, &options)?;
    if let (Some(pins), Some(verified)) = (&pins, verified) {
        remembered(pins.advance(&verified.checkpoint, &verified.note));
    }
    Ok(outcome)
}

/// The refusal of an export that names another key than the one that is trusted. One that names none is fine.
fn differing_key(folder: &Path, key: &VerifierKey) -> anyhow::Result<Option<Outcome>> {
    let file = folder.join(VERIFIER_KEY_FILE);
    if !file.exists() {
        return Ok(None);
    }
    let found = read_bounded(&file, KEY_FILE_BYTES_MAX)?;
    if found == format!("{key}\n").as_bytes() {
        return Ok(None);
    }
    let error = format!("{} names another key than the one that was given", file.display());
    Ok(Some(Outcome {
        verdict: Verdict::Refused,
        text: format!("The log does NOT verify.\n\n  {error}\n"),
        json: serde_json::json!({ "verified": false, "error": error, "file": file.display().to_string() }),
    }))
}

/// A checkpoint that cannot be remembered does not change what was found, but it is said.
fn remembered(result: std::io::Result<()>) {
    if let Err(error) = result {
        let mut stderr = std::io::stderr().lock();
        // Nothing is left to be done when standard error is closed.
        let _ = writeln!(stderr, "craton: warning: the checkpoint was not remembered: {error}");
    }
}

fn read_note(path: &Path) -> anyhow::Result<String> {
    let bytes = read_bounded(path, craton_proof::NOTE_BYTES_MAX)?;
    String::from_utf8(bytes).with_context(|| format!("{} is not text", path.display()))
}

/// Reads a text file, refusing one that is longer than anything of its kind. However many line ends follow
/// the last line, one is given back: tools that print a text add their own.
pub(crate) fn read_bounded(path: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
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
