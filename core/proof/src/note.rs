//! Signed notes (c2sp.org/signed-note@v1.0.0) with Ed25519 signatures (type 0x01).
//!
//! A note is text that ends in a newline, an empty line, and signature lines of the form
//! `— <key name> <base64 of key id (4) ‖ signature>`. The text is separated from the signatures by the last
//! empty line. Signatures by unknown keys are ignored, so that witnesses and rotated keys may sign beside the
//! log; a signature by a known key that does not verify condemns the note.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use craton_crypto::{SIGNATURE_BYTES, SigningKey, VerifyingKey, sha256};

/// The signature type of plain Ed25519.
const ED25519_TYPE: u8 = 0x01;
/// The longest note in bytes: room for 16 post-quantum signatures many times over.
pub const NOTE_BYTES_MAX: usize = 1024 * 1024;
/// The most signatures in a note; the specification asks for at least 16.
pub const NOTE_SIGNATURES_MAX: usize = 64;

/// The name of a key: not empty, without spaces, control characters and plus signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

/// A text that cannot name a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot name a key: it is empty or holds a space, a control character or a plus sign")]
pub struct KeyNameError {
    /// The refused text.
    pub name: String,
}

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty or holds a Unicode space, a control character or `+`.
    pub fn parse(name: &str) -> Result<Self, KeyNameError> {
        let refused = |character: char| character.is_whitespace() || character.is_control() || character == '+';
        if name.is_empty() || name.contains(refused) {
            return Err(KeyNameError { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first four bytes of `SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)`. A hint, not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoteKeyId([u8; 4]);

impl fmt::Display for NoteKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A public key with its name, written `<name>+<key id in hexadecimal>+<base64 of 0x01 ‖ public key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: NoteKeyId,
    key: VerifyingKey,
}

/// Why a text is no verifier key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// It does not have three parts.
    #[error("a verifier key has the form <name>+<key id>+<base64>")]
    Form,
    /// Its name is not allowed.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// The key id is not eight lower-case hexadecimal digits.
    #[error("key id {found:?} of the verifier key is not 8 hexadecimal digits")]
    Id {
        /// The text found.
        found: String,
    },
    /// The last part is not base64 of a type byte and 32 bytes.
    #[error("the last part of the verifier key is not base64 of a type byte and a 32-byte Ed25519 public key")]
    Key,
    /// The key is of another type.
    #[error("verifier key type {found:#04x} is not Ed25519 ({ED25519_TYPE:#04x})")]
    Type {
        /// The type byte.
        found: u8,
    },
    /// The key id is that of another name or key: a mistake in copying.
    #[error("key id {found} of the verifier key does not belong to its name and key, expected {expected}")]
    IdMismatch {
        /// The id that belongs to name and key.
        expected: NoteKeyId,
        /// The id found.
        found: NoteKeyId,
    },
}

impl VerifierKey {
    /// Names a public key.
    #[must_use]
    pub fn new(name: KeyName, key: VerifyingKey) -> Self {
        let digest = sha256(&[name.0.as_bytes(), b"\n", &[ED25519_TYPE], key.as_bytes()]);
        let id = digest.as_bytes().first_chunk().expect("four of 32 bytes");
        Self {
            name,
            id: NoteKeyId(*id),
            key,
        }
    }

    /// The key's name; for a log, its origin.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key's id.
    #[must_use]
    pub const fn id(&self) -> NoteKeyId {
        self.id
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = [ED25519_TYPE; 33];
        typed[1..].copy_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, BASE64.encode(typed))
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyError::Form);
        };
        let name = KeyName::parse(name)?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let found = Some(id)
            .filter(|id| id.len() == 8 && id.bytes().all(lower_hex))
            .and_then(|id| u32::from_str_radix(id, 16).ok())
            .map(|id| NoteKeyId(id.to_be_bytes()))
            .ok_or_else(|| VerifierKeyError::Id { found: id.to_owned() })?;
        let typed = BASE64.decode(key).map_err(|_| VerifierKeyError::Key)?;
        let (&key_type, key) = typed.split_first().ok_or(VerifierKeyError::Key)?;
        if key_type != ED25519_TYPE {
            return Err(VerifierKeyError::Type { found: key_type });
        }
        let key: &[u8; 32] = key.try_into().map_err(|_| VerifierKeyError::Key)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| VerifierKeyError::Key)?;
        let verifier = Self::new(name, key);
        if verifier.id != found {
            return Err(VerifierKeyError::IdMismatch {
                expected: verifier.id,
                found,
            });
        }
        Ok(verifier)
    }
}

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
                name: self.verifier.name.clone(),
                id: self.verifier.id,
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

#[derive(Clone, Debug, PartialEq, Eq)]
struct NoteSignature {
    name: KeyName,
    id: NoteKeyId,
    signature: Vec<u8>,
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
        if signatures.is_empty() {
            return Err(NoteError::Unsigned);
        }
        let count = signatures.lines().count();
        if count > NOTE_SIGNATURES_MAX {
            return Err(NoteError::SignatureCount { found: count });
        }
        let signatures = signatures
            .split_terminator('\n')
            .enumerate()
            .map(|(index, line)| parse_signature(line).ok_or(NoteError::SignatureLine { line: index + 1 }))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The text, if `key` signed it. Signatures by other keys are ignored.
    ///
    /// # Errors
    /// When the key did not sign, or any signature in its name and id does not verify.
    pub fn verify(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        let mut verified = false;
        for signature in self
            .signatures
            .iter()
            .filter(|by| by.name == key.name && by.id == key.id)
        {
            let bytes: Option<&[u8; SIGNATURE_BYTES]> = signature.signature.as_slice().try_into().ok();
            bytes
                .and_then(|bytes| key.key.verify(self.text.as_bytes(), bytes).ok())
                .ok_or_else(|| NoteError::BadSignature { name: key.name.clone() })?;
            verified = true;
        }
        if !verified {
            let signers = self.signatures.iter().map(|by| format!("{}+{}", by.name, by.id));
            return Err(NoteError::NoTrustedSignature {
                expected: format!("{}+{}", key.name, key.id),
                found: signers.collect::<Vec<_>>().join(", "),
            });
        }
        Ok(&self.text)
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
        for by in &self.signatures {
            let bytes = [&by.id.0[..], &by.signature].concat();
            writeln!(f, "\u{2014} {} {}", by.name, BASE64.encode(bytes))?;
        }
        Ok(())
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
                name: witness.verifier().name.clone()
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

    #[test]
    fn malformed_verifier_keys_are_refused() {
        let key = signer("example.com/log", 1).verifier().to_string();
        assert_eq!(key.parse(), Ok(signer("example.com/log", 1).verifier().clone()));
        let other_id = signer("example.com/log", 2).verifier().id;
        let own_id = signer("example.com/log", 1).verifier().id;
        for (text, error) in [
            ("example.com/log".to_owned(), VerifierKeyError::Form),
            (
                key.replace("example.com/log", ""),
                VerifierKeyError::Name(KeyNameError { name: String::new() }),
            ),
            (
                key.replace(&own_id.to_string(), "0123456"),
                VerifierKeyError::Id {
                    found: "0123456".into(),
                },
            ),
            (
                key.replace(&own_id.to_string(), &other_id.to_string()),
                VerifierKeyError::IdMismatch {
                    expected: own_id,
                    found: other_id,
                },
            ),
            (format!("{key}A"), VerifierKeyError::Key),
            (format!("n+{own_id}+BAAA"), VerifierKeyError::Type { found: 4 }),
            (format!("n+{own_id}+AQAA"), VerifierKeyError::Key),
        ] {
            assert_eq!(text.parse::<VerifierKey>(), Err(error), "{text}");
        }
    }

    #[test]
    fn key_names_are_checked() {
        for (name, accepted) in [
            ("a", true),
            ("example.com/log", true),
            ("é", true),
            ("", false),
            ("a b", false),
            ("a\u{a0}b", false),
            ("a+b", false),
            ("a\nb", false),
            ("a\u{7}b", false),
        ] {
            assert_eq!(KeyName::parse(name).is_ok(), accepted, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_notes_never_panic(note in "[ \\nabc+=\u{2014}\u{e9}]{0,60}") {
            let _ = Note::parse(note.as_bytes());
        }
    }
}
