//! The keys to verify against: on the command line or in files.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, anyhow};
use craton_proof::{CosignerKey, VerifierKey, WitnessPolicy};

/// Reads the log's key.
pub(crate) fn log_key(argument: &str) -> anyhow::Result<VerifierKey> {
    read("--key", argument)
}

/// Reads the witnesses' keys. All of them are asked for, unless a quorum is given.
pub(super) fn witnesses(arguments: &[String], quorum: Option<usize>) -> anyhow::Result<WitnessPolicy> {
    let keys = arguments.iter().map(|argument| read("--witness", argument));
    let keys: Vec<CosignerKey> = keys.collect::<anyhow::Result<_>>()?;
    let quorum = quorum.unwrap_or(keys.len());
    WitnessPolicy::new(keys, quorum).context("--witness and --quorum")
}

/// Reads `<name>+<id>+<base64>`, or the file that holds it.
fn read<K: FromStr<Err: Display>>(option: &str, argument: &str) -> anyhow::Result<K> {
    let path = Path::new(argument);
    // A key is no path that exists, but a mistyped key should be complained about as a key.
    if !path.exists() && argument.contains('+') {
        return argument.parse().map_err(|error| anyhow!("{option}: {error}"));
    }
    let bytes = super::read_bounded(path, super::KEY_FILE_BYTES_MAX)
        .with_context(|| format!("{option} is neither a key nor a file"))?;
    let text = String::from_utf8_lossy(&bytes);
    let key = text.trim().parse();
    key.map_err(|error| anyhow!("{option}: {}: {error}", path.display()))
}
