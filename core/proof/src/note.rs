//! Signed notes (c2sp.org/signed-note@v1.0.0) with Ed25519 signatures (type 0x01).
//!
//! A note is text that ends in a newline, an empty line, and signature lines of the form
//! `— <key name> <base64 of key id (4) ‖ signature>`. The text is separated from the signatures by the last
//! empty line. Signatures by unknown keys are ignored, so that witnesses and rotated keys may sign beside the
//! log; a signature by a known key that does not verify condemns the note.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use craton_crypto::{SIGNATURE_BYTES, SigningKey};

use crate::verifier_key::{KeyName, NoteKeyId, VerifierKey};

/// The longest note in bytes: room for 16 post-quantum signatures many times over.
pub const NOTE_BYTES_MAX: usize = 1024 * 1024;
/// The most signatures in a note; the specification asks for at least 16.
pub const NOTE_SIGNATURES_MAX: usize = 64;

/// A private key with its name.
#[derive(Clone, Debug)]
pub struct SignerKey {
    verifier: VerifierKey,
    key: SigningKey,
}

impl SignerKey {
    /// Names a private key.
    #[must_use]
    pub fn new(name: KeyName, key: SigningKey) -> Self {
        Self {
            verifier: VerifierKey::new(name, key.verifying_key()),
            key,
        }
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text that is to be a note's.
    ///
    /// # Errors
    /// When the text cannot be a note's: it does not end in a newline or holds another control character.
    pub fn sign(&self, text: &str) -> Result<Note, NoteError> {
        check_text(text)?;
        Ok(Note {
            text: text.to_owned(),
            signatures: vec![NoteSignature {
                name: self.verifier.name().clone(),
                id: self.verifier.id(),
                signature: self.key.sign(text.as_bytes()).to_vec(),
            }],
        })
    }
}

/// A note, parsed but not believed: see [`Note::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature of a note, by whomever. `Display` gives its line, with the newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    pub(crate) name: KeyName,
    pub(crate) id: NoteKeyId,
    pub(crate) signature: Vec<u8>,
}

impl NoteSignature {
    /// Whether it claims to be by a key.
    #[must_use]
    pub fn is_by(&self, name: &KeyName, id: NoteKeyId) -> bool {
        self.name == *name && self.id == id
    }

    /// Parses signature lines without the note, as a witness answers with.
    ///
    /// # Errors
    /// When there is none, a line is no signature, or there are more than a note may have.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, NoteError> {
        if text.is_empty() || !text.ends_with('\n') {
            return Err(NoteError::Unsigned);
        }
        let count = text.lines().count();
        if count > NOTE_SIGNATURES_MAX {
            return Err(NoteError::SignatureCount { found: count });
        }
        let lines = text.split_terminator('\n').enumerate();
        lines
            .map(|(index, line)| parse_signature(line).ok_or(NoteError::SignatureLine { line: index + 1 }))
            .collect()
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id.0[..], &self.signature].concat();
        writeln!(f, "\u{2014} {} {}", self.name, BASE64.encode(bytes))
    }
}

/// Why bytes are no note, or why a note is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is longer than any note.
    #[error("a note has at most {NOTE_BYTES_MAX} bytes, found {found}")]
    Length {
        /// Its length.
        found: usize,
    },
    /// It is not UTF-8, holds a control character other than newline, or its text does not end in a newline.
    #[error("the note is not UTF-8 lines of text without control characters")]
    Text,
    /// There is no empty line, or nothing after it.
    #[error("the note has no signatures")]
    Unsigned,
    /// A line after the last empty line is no signature.
    #[error("signature line {line} of the note is malformed")]
    SignatureLine {
        /// Counted from one, after the empty line.
        line: usize,
    },
    /// There are more signatures than a verifier takes.
    #[error("a note has at most {NOTE_SIGNATURES_MAX} signatures, found {found}")]
    SignatureCount {
        /// How many there are.
        found: usize,
    },
    /// No trusted key signed the note.
    #[error("the note is not signed by {expected}; it is signed by {found}")]
    NoTrustedSignature {
        /// The trusted key, name and id.
        expected: String,
        /// The keys that did sign, names and ids.
        found: String,
    },
    /// A trusted key's signature does not verify.
    #[error("the signature by {name} does not verify")]
    BadSignature {
        /// The key's name.
        name: KeyName,
    },
}

impl Note {
    /// Parses a note.
    ///
    /// # Errors
    /// When the bytes do not have the form of a note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Length { found: bytes.len() });
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Text)?;
        check_text(whole)?;
        let split = whole.rfind("\n\n").ok_or(NoteError::Unsigned)?;
        let (text, signatures) = (&whole[..=split], &whole[split + 2..]);
        Ok(Self {
            text: text.to_owned(),
            signatures: NoteSignature::parse_lines(signatures)?,
        })
    }

    /// The text, if `key` signed it. Signatures by other keys are ignored.
    ///
    /// # Errors
    /// When the key did not sign, or any signature in its name and id does not verify.
    pub fn verify(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        let mut verified = false;
        for signature in self.signatures_by(key.name(), key.id()) {
            let bytes: Option<&[u8; SIGNATURE_BYTES]> = signature.signature.as_slice().try_into().ok();
            bytes
                .and_then(|bytes| key.public_key().verify(self.text.as_bytes(), bytes).ok())
                .ok_or_else(|| NoteError::BadSignature {
                    name: key.name().clone(),
                })?;
            verified = true;
        }
        if !verified {
            return Err(NoteError::NoTrustedSignature {
                expected: format!("{}+{}", key.name(), key.id()),
                found: self.signers().join(", "),
            });
        }
        Ok(&self.text)
    }

    /// The signatures that claim to be by a key.
    pub(crate) fn signatures_by(&self, name: &KeyName, id: NoteKeyId) -> impl Iterator<Item = &NoteSignature> {
        self.signatures.iter().filter(move |by| by.is_by(name, id))
    }

    /// Names and ids of the keys that the signatures claim to be by.
    #[must_use]
    pub fn signers(&self) -> Vec<String> {
        let signers = self.signatures.iter();
        signers.map(|by| format!("{}+{}", by.name, by.id)).collect()
    }

    /// Adds a signature, for example a witness's, after the others. One that is there already is not added again.
    ///
    /// # Errors
    /// When the note has as many signatures as a note may have.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        if self.signatures.len() == NOTE_SIGNATURES_MAX {
            return Err(NoteError::SignatureCount {
                found: NOTE_SIGNATURES_MAX + 1,
            });
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// The text, whoever may have signed it.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|by| by.fmt(f))
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    let refused = |byte: u8| byte < b' ' && byte != b'\n';
    if !text.ends_with('\n') || text.bytes().any(refused) {
        return Err(NoteError::Text);
    }
    Ok(())
}

fn parse_signature(line: &str) -> Option<NoteSignature> {
    let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = BASE64.decode(encoded).ok()?;
    let (id, signature) = bytes.split_first_chunk()?;
    if signature.is_empty() {
        return None;
    }
    Some(NoteSignature {
        name: KeyName::parse(name).ok()?,
        id: NoteKeyId(*id),
        signature: signature.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use craton_crypto::SecretBytes;
    use proptest::prelude::*;

    use super::*;

    fn signer(name: &str, seed: u8) -> SignerKey {
        let key = SigningKey::from_seed(&SecretBytes::new([seed; 32]));
        SignerKey::new(KeyName::parse(name).expect("a name"), key)
    }

    /// The example of the Go implementation of the format (golang.org/x/mod/sumdb/note, package documentation).
    #[test]
    fn go_reference_example() {
        let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
            .parse()
            .expect("a verifier key");
        let note = Note::parse(
            "If you think cryptography is the answer to your problem,\n\
             then you don't know what your problem is.\n\n\
             — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
                .as_bytes(),
        )
        .expect("a note");
        assert!(note.verify(&key).expect("signed").starts_with("If you think"));
        assert_eq!(
            key.to_string(),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        );
    }

    #[test]
    fn notes_survive_a_round_trip_and_split_at_the_last_empty_line() {
        let signer = signer("example.com/log", 1);
        for text in ["one line\n", "two\n\nparagraphs\n", "\n", "ends in an empty line\n\n"] {
            let note = signer.sign(text).expect("a text");
            let parsed = Note::parse(note.to_string().as_bytes()).expect("a note");
            assert_eq!(parsed, note);
            assert_eq!(parsed.verify(signer.verifier()), Ok(text));
            assert_eq!(parsed.unverified_text(), text);
        }
        for text in ["", "no newline", "a\ttab\n", "a return\r\n"] {
            assert_eq!(signer.sign(text), Err(NoteError::Text), "{text:?}");
        }
    }

    #[test]
    fn unknown_signatures_are_ignored_and_known_ones_must_verify() {
        let (log, witness) = (signer("example.com/log", 1), signer("witness.example", 2));
        let text = "text\n";
        let mut note = log.sign(text).expect("a text");
        note.signatures
            .extend(witness.sign("another text\n").expect("a text").signatures);
        assert_eq!(note.verify(log.verifier()), Ok(text), "the witness is not asked");
        assert_eq!(
            note.verify(witness.verifier()),
            Err(NoteError::BadSignature {
                name: witness.verifier().name().clone()
            })
        );
        let same_name = signer("example.com/log", 3);
        assert!(matches!(
            note.verify(same_name.verifier()),
            Err(NoteError::NoTrustedSignature { .. })
        ));
        // A second, false signature in the name of the log condemns the note even beside a true one.
        note.signatures
            .extend(log.sign("another text\n").expect("a text").signatures);
        assert!(matches!(
            note.verify(log.verifier()),
            Err(NoteError::BadSignature { .. })
        ));
    }

    #[test]
    fn signatures_are_accepted_up_to_their_limit() {
        let log = signer("example.com/log", 1);
        let mut note = log.sign("text\n").expect("a text");
        let one = note.signatures[0].clone();
        note.signatures = vec![one.clone(); NOTE_SIGNATURES_MAX];
        let parsed = Note::parse(note.to_string().as_bytes()).expect("at the limit");
        assert_eq!(parsed.verify(log.verifier()), Ok("text\n"));
        note.signatures.push(one);
        assert_eq!(
            Note::parse(note.to_string().as_bytes()),
            Err(NoteError::SignatureCount {
                found: NOTE_SIGNATURES_MAX + 1
            })
        );
        let long = [vec![b'x'; NOTE_BYTES_MAX], b"\n".to_vec()].concat();
        assert_eq!(
            Note::parse(&long),
            Err(NoteError::Length {
                found: NOTE_BYTES_MAX + 1
            })
        );
    }

    #[test]
    fn malformed_notes_are_refused() {
        let line = signer("n", 1).sign("t\n").expect("a text").to_string();
        let line = line.strip_prefix("t\n\n").expect("its text");
        for (note, error) in [
            (String::new(), NoteError::Text),
            ("t\n".into(), NoteError::Unsigned),
            ("t\n\n".into(), NoteError::Unsigned),
            (format!("t\n\n{}", line.trim_end()), NoteError::Text),
            (format!("t\n\n{line}x\n"), NoteError::SignatureLine { line: 2 }),
            (
                format!("t\n\n{}", line.replace('\u{2014}', "-")),
                NoteError::SignatureLine { line: 1 },
            ),
            (
                format!("t\n\n{}", line.replace(" n ", "  ")),
                NoteError::SignatureLine { line: 1 },
            ),
            (
                format!("t\n\n{}", line.replace(" n ", " n+ ")),
                NoteError::SignatureLine { line: 1 },
            ),
            ("t\n\n\u{2014} n AAAA\n".into(), NoteError::SignatureLine { line: 1 }),
            (
                "t\n\n\u{2014} n AAAAAA==\n".into(),
                NoteError::SignatureLine { line: 1 },
            ),
        ] {
            assert_eq!(Note::parse(note.as_bytes()), Err(error), "{note:?}");
        }
        assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::Text));
    }

    proptest! {
        #[test]
        fn arbitrary_notes_never_panic(note in "[ \\nabc+=\u{2014}\u{e9}]{0,60}") {
            let _ = Note::parse(note.as_bytes());
        }
    }
}
