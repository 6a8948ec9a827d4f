//! The key to verify against: on the command line or in a file.

use std::path::Path;

use anyhow::Context as _;
use craton_proof::VerifierKey;

/// More than a long name and a key; a longer file is no key file.
const KEY_FILE_BYTES_MAX: usize = 4096;

/// Reads `<name>+<id>+<base64>`, or the file that holds it.
pub(super) fn read(argument: &str) -> anyhow::Result<VerifierKey> {
    let path = Path::new(argument);
    // A key is no path that exists, but a mistyped key should be complained about as a key.
    if !path.exists() && argument.contains('+') {
        return argument.parse().context("--key");
    }
    let bytes = super::read_bounded(path, KEY_FILE_BYTES_MAX).context("--key is neither a key nor a file")?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim()
        .parse()
        .with_context(|| format!("--key: {}", path.display()))
}
