//! Checkpoints (c2sp.org/tlog-checkpoint@v1.0.0): a signed note whose text is a log's origin, size and root.
//!
//! A log's key bears the log's origin as its name, so a checkpoint of one log cannot pass for one of another
//! that the same key signs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use craton_types::Hash;

use crate::note::{Note, NoteError, SignerKey};
use crate::verifier_key::{KeyName, VerifierKey};

/// How many of a log's latest checkpoints cosignatures may be recorded over. A witness that needs longer than it takes
/// to make so many is asked again with a newer one.
pub const COSIGNABLE_CHECKPOINTS_MAX: usize = 64;

/// The head of a log: that its first `size` records have the Merkle tree hash `root`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log; for a tenant's log `<cluster origin>/<tenant id>`.
    pub origin: KeyName,
    /// How many records are covered.
    pub size: u64,
    /// The Merkle tree hash over their record hashes.
    pub root: Hash,
}

/// Why a note is no checkpoint, or none to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note is malformed or not signed as it should be.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The first line is no origin.
    #[error("the checkpoint's origin line is not valid")]
    Origin,
    /// The second line is no size in decimal without leading zeroes.
    #[error("the checkpoint's size line is not valid")]
    Size,
    /// The third line is no 32-byte hash in base64.
    #[error("the checkpoint's root line is not valid")]
    Root,
    /// There are lines after the third. Extensions are not auditable, and our logs have none.
    #[error("the checkpoint has extension lines")]
    Extension,
    /// The checkpoint is of another log than the key.
    #[error("the checkpoint is of log {found}, the key is that of log {expected}")]
    OtherLog {
        /// The key's name.
        expected: KeyName,
        /// The checkpoint's origin.
        found: KeyName,
    },
}

impl Checkpoint {
    /// The note text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let root = BASE64.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// The signed note. The signer's name should be the origin; [`Self::open`] insists on it.
    #[must_use]
    pub fn sign(&self, signer: &SignerKey) -> String {
        let note = signer.sign(&self.to_text());
        note.expect("three lines without control characters are a note's text")
            .to_string()
    }

    /// Parses a signed note and verifies that `key` signed it and that it is of the key's log.
    ///
    /// # Errors
    /// When the note is malformed, is not a checkpoint, or is not signed by the key, in this order.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        Self::open_note(&Note::parse(note)?, key)
    }

    /// Verifies that `key` signed a note and that it is a checkpoint of the key's log.
    ///
    /// # Errors
    /// When the note is not signed by the key, or is not a checkpoint of its log.
    pub fn open_note(note: &Note, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let checkpoint = Self::parse_text(note.verify(key)?)?;
        if checkpoint.origin != *key.name() {
            return Err(CheckpointError::OtherLog {
                expected: key.name().clone(),
                found: checkpoint.origin,
            });
        }
        Ok(checkpoint)
    }

    /// Parses a signed note without looking at its signatures. The result is a claim by nobody.
    ///
    /// # Errors
    /// When the note is malformed or not a checkpoint.
    pub fn parse_unverified(note: &[u8]) -> Result<Self, CheckpointError> {
        Self::parse_unverified_note(&Note::parse(note)?)
    }

    /// What a note says whose signatures were not looked at, or by the caller.
    ///
    /// # Errors
    /// When the note is not a checkpoint.
    pub fn parse_unverified_note(note: &Note) -> Result<Self, CheckpointError> {
        Self::parse_text(note.unverified_text())
    }

    fn parse_text(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split_terminator('\n');
        let origin = lines.next().and_then(|line| KeyName::parse(line).ok());
        let origin = origin.ok_or(CheckpointError::Origin)?;
        let size = lines.next().and_then(parse_decimal).ok_or(CheckpointError::Size)?;
        let root = lines.next().and_then(parse_hash).ok_or(CheckpointError::Root)?;
        if lines.next().is_some() {
            return Err(CheckpointError::Extension);
        }
        Ok(Self { origin, size, root })
    }
}

/// Parses an ASCII decimal without sign and without leading zeroes.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}

/// Parses a 32-byte hash in base64.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    BASE64.decode(text).ok()?.try_into().ok().map(Hash::new)
}

#[cfg(test)]
mod tests {
    use craton_crypto::{SecretBytes, SigningKey};

    use super::*;

    fn signer(name: &str) -> SignerKey {
        let key = SigningKey::from_seed(&SecretBytes::new([1; 32]));
        SignerKey::new(KeyName::parse(name).expect("a name"), key)
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: KeyName::parse("example.com/behind-the-sofa").expect("a name"),
            size: 20_852_163,
            root: parse_hash("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=").expect("a hash"),
        }
    }

    /// The text of the specification's example.
    #[test]
    fn text_is_that_of_the_specification() {
        assert_eq!(
            checkpoint().to_text(),
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        );
    }

    #[test]
    fn checkpoints_open_with_their_log_s_key_only() {
        let signer_of_log = signer("example.com/behind-the-sofa");
        let note = checkpoint().sign(&signer_of_log);
        assert_eq!(
            Checkpoint::open(note.as_bytes(), signer_of_log.verifier()),
            Ok(checkpoint())
        );
        assert_eq!(Checkpoint::parse_unverified(note.as_bytes()), Ok(checkpoint()));

        let other = signer("example.com/other");
        assert!(matches!(
            Checkpoint::open(note.as_bytes(), other.verifier()),
            Err(CheckpointError::Note(NoteError::NoTrustedSignature { .. }))
        ));
        let replayed = checkpoint().sign(&other);
        assert!(matches!(
            Checkpoint::open(replayed.as_bytes(), other.verifier()),
            Err(CheckpointError::OtherLog { .. })
        ));
    }

    #[test]
    fn malformed_texts_name_the_line() {
        let signer = signer("o");
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for (text, error) in [
            (format!("\n1\n{root}\n"), CheckpointError::Origin),
            (format!("o\n01\n{root}\n"), CheckpointError::Size),
            (format!("o\n+1\n{root}\n"), CheckpointError::Size),
            (format!("o\n\n{root}\n"), CheckpointError::Size),
            (format!("o\n18446744073709551616\n{root}\n"), CheckpointError::Size),
            ("o\n1\n".to_owned(), CheckpointError::Root),
            ("o\n1\nAAAA\n".to_owned(), CheckpointError::Root),
            (format!("o\n1\n{}\n", root.trim_end_matches('=')), CheckpointError::Root),
            (format!("o\n1\n{root}\nmore\n"), CheckpointError::Extension),
        ] {
            let note = signer.sign(&text).expect("a text").to_string();
            assert_eq!(
                Checkpoint::open(note.as_bytes(), signer.verifier()),
                Err(error),
                "{text:?}"
            );
        }
        let note = signer.sign(&format!("o\n0\n{root}\n")).expect("a text").to_string();
        assert!(Checkpoint::open(note.as_bytes(), signer.verifier()).is_ok());
    }
}
