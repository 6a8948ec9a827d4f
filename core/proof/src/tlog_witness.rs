//! The protocol between logs and witnesses (c2sp.org/tlog-witness@v1.0.0), both sides, without the network.
//!
//! A log sends `POST <prefix>/add-checkpoint` with the size that the witness has cosigned last, a consistency proof from
//! there, and a new checkpoint. The witness answers with its cosignature, once it has stored what it signed:
//! comparing and storing are one step, or two requests at the same time could turn it back.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use craton_types::Hash;

use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal, parse_hash};
use crate::cosignature::Cosignature;
use crate::note::{Note, NoteError, NoteSignature};
use crate::tree::{ProofVerifyError, empty_root, verify_consistency};
use crate::verifier_key::{CosignerKey, KeyName, VerifierKey};

/// The most hashes of a consistency proof in a request.
pub const ADD_CHECKPOINT_HASHES_MAX: usize = 63;
/// The longest request: a full proof, and a note with many signatures.
pub const ADD_CHECKPOINT_BYTES_MAX: usize = 64 * 1024;
/// The content type of the size in an answer with status 409.
pub const TLOG_SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// The body of `add-checkpoint`. `Display` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the log believes the witness has cosigned last; zero for none.
    pub old_size: u64,
    /// The consistency proof from there (RFC 6962 section 2.1.2); empty when `old_size` is zero.
    pub proof: Vec<Hash>,
    /// The checkpoint, signed by the log.
    pub checkpoint: Note,
}

/// Why bytes are no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddCheckpointError {
    /// It is longer than any request.
    #[error("a request has at most {ADD_CHECKPOINT_BYTES_MAX} bytes, found {found}")]
    Length {
        /// Its length.
        found: usize,
    },
    /// It is not UTF-8, or has no empty line between proof and checkpoint.
    #[error("the request is no proof and checkpoint with an empty line between them")]
    Form,
    /// The first line is not `old` and a size.
    #[error("the request's first line is not \"old\" and a size")]
    OldSize,
    /// A line of the proof is no hash.
    #[error("line {line} of the proof is no hash in base64")]
    Hash {
        /// Counted from one.
        line: usize,
    },
    /// The proof is longer than any.
    #[error("a proof has at most {ADD_CHECKPOINT_HASHES_MAX} hashes, found {found}")]
    HashCount {
        /// How many there are.
        found: usize,
    },
    /// What follows is no signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl AddCheckpoint {
    /// Parses a request.
    ///
    /// # Errors
    /// When the bytes do not have the form of one; a witness answers 400.
    pub fn parse(bytes: &[u8]) -> Result<Self, AddCheckpointError> {
        if bytes.len() > ADD_CHECKPOINT_BYTES_MAX {
            return Err(AddCheckpointError::Length { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| AddCheckpointError::Form)?;
        let (head, note) = text.split_once("\n\n").ok_or(AddCheckpointError::Form)?;
        let mut lines = head.split('\n');
        let old_size = lines
            .next()
            .and_then(|line| parse_decimal(line.strip_prefix("old ")?))
            .ok_or(AddCheckpointError::OldSize)?;
        let count = lines.clone().count();
        if count > ADD_CHECKPOINT_HASHES_MAX {
            return Err(AddCheckpointError::HashCount { found: count });
        }
        let proof = lines
            .enumerate()
            .map(|(index, line)| parse_hash(line).ok_or(AddCheckpointError::Hash { line: index + 1 }))
            .collect::<Result<_, _>>()?;
        let checkpoint = Note::parse(note.as_bytes())?;
        Checkpoint::parse_unverified_note(&checkpoint)?;
        Ok(Self {
            old_size,
            proof,
            checkpoint,
        })
    }

    /// The log that the checkpoint claims to be of.
    #[must_use]
    pub fn origin(&self) -> KeyName {
        self.claimed().origin
    }

    /// How many records the checkpoint claims to cover.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.claimed().size
    }

    /// What the checkpoint claims. It was parsed before.
    fn claimed(&self) -> Checkpoint {
        Checkpoint::parse_unverified_note(&self.checkpoint).expect("a request is made of a checkpoint")
    }

    /// Makes a request of a checkpoint.
    ///
    /// # Errors
    /// When the note is none.
    pub fn new(old_size: u64, proof: Vec<Hash>, checkpoint: Note) -> Result<Self, CheckpointError> {
        Checkpoint::parse_unverified_note(&checkpoint)?;
        Ok(Self {
            old_size,
            proof,
            checkpoint,
        })
    }

    /// Whether a witness may cosign, knowing the log's key and what it has cosigned of this log before. On success, what
    /// to store in place of `latest`, before the cosignature is given away.
    ///
    /// # Errors
    /// The refusal that the log is to be told.
    pub fn judge(&self, log_key: &VerifierKey, latest: Option<&Witnessed>) -> Result<Witnessed, WitnessRefusal> {
        let checkpoint = self.claimed();
        if checkpoint.origin != *log_key.name() {
            return Err(WitnessRefusal::UnknownOrigin);
        }
        self.checkpoint.verify(log_key).map_err(WitnessRefusal::NotSigned)?;
        let size = checkpoint.size;
        if self.old_size > size {
            return Err(WitnessRefusal::OldSizeAboveSize {
                old_size: self.old_size,
                size,
            });
        }
        let nothing = Witnessed {
            size: 0,
            root: empty_root(),
        };
        let latest = latest.unwrap_or(&nothing);
        if self.old_size != latest.size {
            return Err(WitnessRefusal::OtherOldSize {
                latest_size: latest.size,
                old_size: self.old_size,
            });
        }
        if size == latest.size && checkpoint.root != latest.root {
            return Err(WitnessRefusal::OtherRoot {
                size,
                witnessed: latest.root,
                claimed: checkpoint.root,
            });
        }
        verify_consistency(latest.size, &latest.root, size, &checkpoint.root, &self.proof)?;
        Ok(Witnessed {
            size,
            root: checkpoint.root,
        })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        for hash in &self.proof {
            writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// What a witness keeps of a log: the latest checkpoint that it cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// How many records it covers.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefusal {
    /// The witness does not know the log.
    #[error("the log is not known here")]
    UnknownOrigin,
    /// The checkpoint is not signed by the log's key.
    #[error("the checkpoint is not the log's: {0}")]
    NotSigned(#[source] NoteError),
    /// The old size is above the checkpoint's.
    #[error("the old size of {old_size} is above the checkpoint's {size}")]
    OldSizeAboveSize {
        /// The old size.
        old_size: u64,
        /// The checkpoint's.
        size: u64,
    },
    /// The old size is not what was cosigned last. This is how a log learns it, and how a log that was turned back is
    /// noticed.
    #[error("{latest_size} records were cosigned last, not {old_size}")]
    OtherOldSize {
        /// What was cosigned last.
        latest_size: u64,
        /// What the log believes.
        old_size: u64,
    },
    /// Of the records that were cosigned before, the log signs another history: a fork.
    #[error("of {size} records the root {witnessed} was cosigned, and the log now signs {claimed}")]
    OtherRoot {
        /// How many records.
        size: u64,
        /// What was cosigned.
        witnessed: Hash,
        /// What the log signs.
        claimed: Hash,
    },
    /// The records that were cosigned before are not shown to be the beginning of the log: a fork, or a wrong proof.
    #[error("the log is not shown to begin with the records that were cosigned last: {0}")]
    NotConsistent(#[from] ProofVerifyError),
}

impl WitnessRefusal {
    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::UnknownOrigin => 404,
            Self::NotSigned(_) => 403,
            Self::OldSizeAboveSize { .. } => 400,
            Self::OtherOldSize { .. } | Self::OtherRoot { .. } => 409,
            Self::NotConsistent(_) => 422,
        }
    }

    /// The size that an answer with status 409 tells.
    #[must_use]
    pub const fn latest_size(&self) -> Option<u64> {
        match self {
            Self::OtherOldSize { latest_size, .. } => Some(*latest_size),
            Self::OtherRoot { size, .. } => Some(*size),
            _ => None,
        }
    }

    /// A word for it, for counting.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownOrigin => "unknown_origin",
            Self::NotSigned(_) => "not_signed",
            Self::OldSizeAboveSize { .. } => "old_size_above_size",
            Self::OtherOldSize { .. } => "other_old_size",
            Self::OtherRoot { .. } => "other_root",
            Self::NotConsistent(_) => "not_consistent",
        }
    }
}

/// What a witness answered, as its status says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a request, and it is taken apart at once"
)]
pub enum WitnessAnswer {
    /// 200: the witness has cosigned.
    Cosigned {
        /// Its verified signatures, for [`Note::add`].
        signatures: Vec<NoteSignature>,
        /// What they say.
        cosignature: Cosignature,
    },
    /// 409: the witness has cosigned this many records last.
    Conflict {
        /// The size.
        size: u64,
    },
}

/// Why a witness did not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessAnswerError {
    /// 403: the witness does not know the log's key, or the signature is wrong.
    #[error("the witness does not believe the log's signature")]
    Forbidden,
    /// 404: the witness does not know the log.
    #[error("the witness does not know the log")]
    UnknownOrigin,
    /// 422: the witness has seen another history.
    #[error("the witness has seen another history of the log")]
    NotConsistent,
    /// Another status.
    #[error("the witness answered with status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The answer is not of its status's form.
    #[error("the witness's answer cannot be read: {0}")]
    Form(&'static str),
    /// The answer holds no signature by the witness that verifies.
    #[error("the witness's cosignature is not to be used: {0}")]
    Signature(#[from] NoteError),
    /// The answer holds no signature by the witness.
    #[error("the answer holds no signature by {witness}")]
    OtherWitness {
        /// The witness's name and key id.
        witness: String,
    },
}

impl WitnessAnswer {
    /// Reads an answer to a request with this checkpoint. Signatures by other keys than the witness's are left out.
    ///
    /// # Errors
    /// When the witness refused, or did not sign what it was asked to.
    pub fn parse(
        status: u16,
        body: &[u8],
        checkpoint: &Note,
        witness: &CosignerKey,
    ) -> Result<Self, WitnessAnswerError> {
        let text = || std::str::from_utf8(body).map_err(|_| WitnessAnswerError::Form("it is not UTF-8"));
        match status {
            200 => {}
            403 => return Err(WitnessAnswerError::Forbidden),
            404 => return Err(WitnessAnswerError::UnknownOrigin),
            409 => {
                let size = text()?.strip_suffix('\n').and_then(parse_decimal);
                let size = size.ok_or(WitnessAnswerError::Form("it should be a size and a newline"))?;
                return Ok(Self::Conflict { size });
            }
            422 => return Err(WitnessAnswerError::NotConsistent),
            status => return Err(WitnessAnswerError::Status { status }),
        }
        let mut signatures = NoteSignature::parse_lines(text()?)?;
        signatures.retain(|by| by.is_by(witness.name(), witness.id()));
        let mut note = checkpoint.clone();
        for signature in &signatures {
            note.add(signature.clone())?;
        }
        let cosignature = witness
            .cosignature(&note)?
            .ok_or_else(|| WitnessAnswerError::OtherWitness {
                witness: format!("{}+{}", witness.name(), witness.id()),
            })?;
        Ok(Self::Cosigned {
            signatures,
            cosignature,
        })
    }
}

#[cfg(test)]
mod tests {
    use craton_crypto::{SecretBytes, SigningKey};

    use super::*;
    use crate::cosignature::Cosigner;
    use crate::note::SignerKey;
    use crate::tree::{consistency_proof, leaf_hash, merkle_tree_hash};

    fn signing_key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&SecretBytes::new([seed; 32]))
    }

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).expect("a name")
    }

    fn log() -> SignerKey {
        SignerKey::new(name("log.example/1"), signing_key(1))
    }

    fn leaves(count: u64, salt: &str) -> Vec<Hash> {
        (0..count)
            .map(|index| leaf_hash(format!("{salt}{index}").as_bytes()))
            .collect()
    }

    fn note(leaves: &[Hash], signer: &SignerKey) -> Note {
        let checkpoint = Checkpoint {
            origin: log().verifier().name().clone(),
            size: leaves.len() as u64,
            root: merkle_tree_hash(leaves),
        };
        Note::parse(checkpoint.sign(signer).as_bytes()).expect("a note")
    }

    fn request(old_size: u64, leaves: &[Hash]) -> AddCheckpoint {
        let size = leaves.len() as u64;
        let proof = consistency_proof(leaves, old_size.min(size), size).expect("a proof");
        AddCheckpoint::new(old_size, proof, note(leaves, &log())).expect("a checkpoint")
    }

    fn witnessed(leaves: &[Hash]) -> Witnessed {
        Witnessed {
            size: leaves.len() as u64,
            root: merkle_tree_hash(leaves),
        }
    }

    /// The example of c2sp.org/tlog-witness.
    #[test]
    fn the_specifications_example_is_read_and_written() {
        let body = "old 20852014\n\
            PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
            jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
            5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
            /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
            \n\
            example.com/behind-the-sofa\n\
            20852163\n\
            CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
            \n\
            \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
            \u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
        let request = AddCheckpoint::parse(body.as_bytes()).expect("the example");
        assert_eq!((request.old_size, request.proof.len()), (20_852_014, 4));
        assert_eq!(request.origin().as_str(), "example.com/behind-the-sofa");
        assert_eq!(request.to_string(), body);
    }

    #[test]
    fn only_well_formed_requests_are_read() {
        let hash = BASE64.encode([7; 32]);
        let note = note(&leaves(3, ""), &log()).to_string();
        let with = |head: &str| AddCheckpoint::parse(format!("{head}\n{note}").as_bytes());
        assert!(with("old 0\n").is_ok());
        let full = format!("old 1\n{}", format!("{hash}\n").repeat(ADD_CHECKPOINT_HASHES_MAX));
        assert!(with(&full).is_ok());
        assert_eq!(
            with(&format!("{full}{hash}\n")),
            Err(AddCheckpointError::HashCount { found: 64 })
        );
        for head in [
            "",
            "old\n",
            "old 01\n",
            "old -1\n",
            "old +1\n",
            "old 18446744073709551616\n",
            "new 1\n",
            "old 1 \n",
        ] {
            assert!(
                matches!(with(head), Err(AddCheckpointError::OldSize | AddCheckpointError::Form)),
                "{head:?}"
            );
        }
        assert_eq!(with("old 1\nAAAA\n"), Err(AddCheckpointError::Hash { line: 1 }));
        for body in [&b""[..], b"old 0\n", b"\xff\n\n", b"old 0\n\nno note\n"] {
            assert!(AddCheckpoint::parse(body).is_err(), "{body:?}");
        }
        let long = [format!("old 0\n\n{note}").as_bytes(), &[b'x'; ADD_CHECKPOINT_BYTES_MAX]].concat();
        assert_eq!(
            AddCheckpoint::parse(&long),
            Err(AddCheckpointError::Length { found: long.len() })
        );
    }

    #[test]
    fn a_log_that_only_grows_is_cosigned_and_any_other_is_refused() {
        let key = log().verifier().clone();
        let (three, five) = (leaves(3, ""), leaves(5, ""));
        let forked: Vec<Hash> = [&three[..2], &leaves(3, "other")].concat();
        let wrong_proof = AddCheckpoint {
            proof: vec![Hash::ZERO],
            ..request(3, &five)
        };
        let foreign = SignerKey::new(key.name().clone(), signing_key(9));
        let badly_signed = AddCheckpoint::new(3, request(3, &five).proof, note(&five, &foreign)).expect("a checkpoint");
        let after_three = Some(witnessed(&three));
        let table = [
            (request(0, &three), None, Ok(witnessed(&three))),
            (request(3, &five), after_three, Ok(witnessed(&five))),
            (request(3, &three), after_three, Ok(witnessed(&three))),
            (request(0, &[]), None, Ok(witnessed(&[]))),
            (request(0, &five), after_three, Err((409, Some(3)))),
            (request(5, &five), after_three, Err((409, Some(3)))),
            (request(3, &five), None, Err((409, Some(0)))),
            (request(3, &forked[..3]), after_three, Err((409, Some(3)))),
            (request(3, &forked), after_three, Err((422, None))),
            (wrong_proof, after_three, Err((422, None))),
            (request(3, &three[..2]), after_three, Err((400, None))),
            (request(2, &three[..2]), after_three, Err((409, Some(3)))),
            (badly_signed, after_three, Err((403, None))),
        ];
        for (number, (request, latest, verdict)) in table.into_iter().enumerate() {
            let judged = request.judge(&key, latest.as_ref());
            let judged = judged.map_err(|refusal| (refusal.status(), refusal.latest_size()));
            assert_eq!(judged, verdict, "row {number}");
        }
        let other = SignerKey::new(name("log.example/2"), signing_key(1));
        let refusal = request(0, &three)
            .judge(other.verifier(), None)
            .expect_err("another log");
        assert_eq!(refusal.status(), 404);
    }

    #[test]
    fn an_empty_log_with_a_root_of_something_is_refused() {
        let checkpoint = Checkpoint {
            origin: log().verifier().name().clone(),
            size: 0,
            root: Hash::ZERO,
        };
        let note = Note::parse(checkpoint.sign(&log()).as_bytes()).expect("a note");
        let request = AddCheckpoint::new(0, vec![], note).expect("a checkpoint");
        let refusal = request.judge(log().verifier(), None).expect_err("not the empty root");
        assert!(matches!(refusal, WitnessRefusal::OtherRoot { .. }), "{refusal}");
    }

    #[test]
    fn answers_are_believed_only_with_the_witnesss_own_signature() {
        let witness = Cosigner::new(name("witness.example/1"), signing_key(2));
        let stranger = Cosigner::new(name("witness.example/2"), signing_key(3));
        let checkpoint = note(&leaves(3, ""), &log());
        let line = |by: &Cosigner| by.cosign(&checkpoint, 1_700_000_000).expect("a checkpoint").to_string();
        let parse =
            |status, body: &str| WitnessAnswer::parse(status, body.as_bytes(), &checkpoint, witness.cosigner_key());

        let both = format!("{}{}", line(&stranger), line(&witness));
        let Ok(WitnessAnswer::Cosigned {
            signatures,
            cosignature,
        }) = parse(200, &both)
        else {
            panic!("cosigned");
        };
        assert_eq!(cosignature.time_seconds, 1_700_000_000);
        let [signature] = &signatures[..] else {
            panic!("the stranger's is left out: {signatures:?}");
        };
        assert_eq!(signature.to_string(), line(&witness));
        assert!(matches!(
            parse(200, &line(&stranger)),
            Err(WitnessAnswerError::OtherWitness { .. })
        ));
        let false_line = Cosigner::new(name("witness.example/1"), signing_key(2))
            .cosign(&note(&leaves(4, ""), &log()), 1)
            .expect("a checkpoint");
        assert!(matches!(
            parse(200, &false_line.to_string()),
            Err(WitnessAnswerError::Signature(_))
        ));
        assert!(parse(200, "").is_err());

        assert_eq!(parse(409, "17\n"), Ok(WitnessAnswer::Conflict { size: 17 }));
        for body in ["", "17", "017\n", "17\n\n", "-1\n"] {
            assert!(matches!(parse(409, body), Err(WitnessAnswerError::Form(_))), "{body:?}");
        }
        assert_eq!(parse(403, ""), Err(WitnessAnswerError::Forbidden));
        assert_eq!(parse(404, ""), Err(WitnessAnswerError::UnknownOrigin));
        assert_eq!(parse(422, ""), Err(WitnessAnswerError::NotConsistent));
        assert_eq!(parse(500, ""), Err(WitnessAnswerError::Status { status: 500 }));
    }
}
