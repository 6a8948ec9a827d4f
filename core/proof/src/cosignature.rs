//! Cosignatures of checkpoints by witnesses (c2sp.org/tlog-cosignature@v1.0.1, Ed25519, signature type 0x04), and
//! the policy by which a verifier believes them.
//!
//! A witness states: of all checkpoints of this log that I have seen, each a prefix of the next, this is the largest,
//! as of this time. A log that shows different histories to different people therefore needs the help of its
//! witnesses. The signature in the note is `time (8, big-endian seconds) ‖ Ed25519 signature (64)`, over
//!
//! ```text
//! cosignature/v1
//! time <decimal seconds>
//! <the note's text>
//! ```

use std::fmt;

use craton_crypto::{SIGNATURE_BYTES, SigningKey};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::note::{Note, NoteError, NoteSignature};
use crate::verifier_key::{CosignerKey, KeyName};

/// The length of a cosignature: a time and a signature.
pub const COSIGNATURE_BYTES: usize = 8 + SIGNATURE_BYTES;
/// The most witnesses in a policy. The specification of policies recommends support of 32.
pub const WITNESSES_MAX: usize = 32;
/// The latest time of a cosignature.
const TIME_SECONDS_MAX: u64 = (1 << 63) - 1;

/// A witness's private key with its name. One key must not serve under two names: the signed message does not hold
/// the name.
#[derive(Clone, Debug)]
pub struct Cosigner {
    cosigner_key: CosignerKey,
    key: SigningKey,
}

/// A time that no cosignature can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time of a cosignature is at most {TIME_SECONDS_MAX} seconds, not {found}")]
pub struct CosignatureTimeError {
    /// The time, in seconds since 1970-01-01 00:00:00 UTC.
    pub found: u64,
}

impl Cosigner {
    /// Names a private key.
    #[must_use]
    pub fn new(name: KeyName, key: SigningKey) -> Self {
        Self {
            cosigner_key: CosignerKey::new(name, key.verifying_key()),
            key,
        }
    }

    /// The public half.
    #[must_use]
    pub const fn cosigner_key(&self) -> &CosignerKey {
        &self.cosigner_key
    }

    /// Signs a checkpoint at a time in seconds since 1970-01-01 00:00:00 UTC. The witness answers for having verified
    /// the log's own signature, and that the checkpoint is consistent with the last one that it cosigned.
    ///
    /// # Errors
    /// When the note is no checkpoint, or the time is beyond what a cosignature can bear.
    pub fn cosign(&self, note: &Note, time_seconds: u64) -> Result<NoteSignature, CosignError> {
        Checkpoint::parse_unverified_note(note)?;
        if time_seconds > TIME_SECONDS_MAX {
            return Err(CosignatureTimeError { found: time_seconds }.into());
        }
        let message = signed_message(note, time_seconds);
        let signature = [&time_seconds.to_be_bytes()[..], &self.key.sign(message.as_bytes())].concat();
        Ok(NoteSignature {
            name: self.cosigner_key.name().clone(),
            id: self.cosigner_key.id(),
            signature,
        })
    }
}

/// Why a note is not cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignError {
    /// It is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The time is out of range.
    #[error(transparent)]
    Time(#[from] CosignatureTimeError),
}

fn signed_message(note: &Note, time_seconds: u64) -> String {
    format!("cosignature/v1\ntime {time_seconds}\n{}", note.unverified_text())
}

/// A witness's statement, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Who signed.
    pub key: CosignerKey,
    /// When, by the witness's clock: seconds since 1970-01-01 00:00:00 UTC.
    pub time_seconds: u64,
}

impl CosignerKey {
    /// The newest cosignature by this key, if there is one.
    ///
    /// # Errors
    /// When any signature in the key's name and id does not verify.
    pub fn cosignature(&self, note: &Note) -> Result<Option<Cosignature>, NoteError> {
        let mut newest = None;
        for by in note.signatures_by(self.name(), self.id()) {
            let time = self.verified_time(note, by).ok_or_else(|| NoteError::BadSignature {
                name: self.name().clone(),
            })?;
            newest = newest.max(Some(time));
        }
        Ok(newest.map(|time_seconds| Cosignature {
            key: self.clone(),
            time_seconds,
        }))
    }

    fn verified_time(&self, note: &Note, by: &NoteSignature) -> Option<u64> {
        let bytes: &[u8; COSIGNATURE_BYTES] = by.signature.as_slice().try_into().ok()?;
        let (time, signature) = bytes.split_first_chunk::<8>()?;
        let time_seconds = u64::from_be_bytes(*time);
        let message = signed_message(note, time_seconds);
        let signed = self
            .public_key()
            .verify(message.as_bytes(), signature.first_chunk::<SIGNATURE_BYTES>()?);
        (time_seconds <= TIME_SECONDS_MAX && signed.is_ok()).then_some(time_seconds)
    }
}

/// Whose cosignatures a verifier knows, and how many of them it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WitnessPolicy {
    witnesses: Vec<CosignerKey>,
    quorum: usize,
}

/// Why keys and a number are no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessPolicyError {
    /// There are too many witnesses.
    #[error("a policy has at most {WITNESSES_MAX} witnesses, found {found}")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// A public key is there twice, so it would count twice.
    #[error("the witness key of {name} is given twice")]
    Twice {
        /// The name of the second.
        name: KeyName,
    },
    /// More cosignatures are asked for than there are witnesses.
    #[error("a quorum of {quorum} cannot be reached by {witnesses} witnesses")]
    Quorum {
        /// The quorum asked for.
        quorum: usize,
        /// How many witnesses there are.
        witnesses: usize,
    },
}

/// Why a note's cosignatures do not satisfy a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// A known witness's signature does not verify.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Too few witnesses have cosigned.
    #[error("{found} of the known witnesses cosigned the checkpoint, {quorum} are asked for; missing: {missing}")]
    Quorum {
        /// How many were asked for.
        quorum: usize,
        /// How many there are.
        found: usize,
        /// Names and ids of the witnesses that did not sign.
        missing: String,
    },
}

impl WitnessPolicy {
    /// A policy that asks for cosignatures by `quorum` of `witnesses`. A quorum of 0 asks for none, but those that are
    /// there must still verify.
    ///
    /// # Errors
    /// When the quorum cannot be reached, a key is there twice, or there are too many witnesses.
    pub fn new(witnesses: Vec<CosignerKey>, quorum: usize) -> Result<Self, WitnessPolicyError> {
        if witnesses.len() > WITNESSES_MAX {
            return Err(WitnessPolicyError::Count { found: witnesses.len() });
        }
        for (index, key) in witnesses.iter().enumerate() {
            if witnesses[..index]
                .iter()
                .any(|other| other.public_key() == key.public_key())
            {
                return Err(WitnessPolicyError::Twice {
                    name: key.name().clone(),
                });
            }
        }
        if quorum > witnesses.len() {
            return Err(WitnessPolicyError::Quorum {
                quorum,
                witnesses: witnesses.len(),
            });
        }
        Ok(Self { witnesses, quorum })
    }

    /// The known witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[CosignerKey] {
        &self.witnesses
    }

    /// How many cosignatures are asked for.
    #[must_use]
    pub const fn quorum(&self) -> usize {
        self.quorum
    }

    /// The cosignatures by known witnesses, in the order of the witnesses. Says nothing about the log's own signature.
    ///
    /// # Errors
    /// When there are fewer than the quorum, or one does not verify.
    pub fn verify(&self, note: &Note) -> Result<Vec<Cosignature>, WitnessError> {
        let mut cosignatures = Vec::new();
        let mut missing = Vec::new();
        for witness in &self.witnesses {
            match witness.cosignature(note)? {
                Some(cosignature) => cosignatures.push(cosignature),
                None => missing.push(format!("{}+{}", witness.name(), witness.id())),
            }
        }
        if cosignatures.len() < self.quorum {
            return Err(WitnessError::Quorum {
                quorum: self.quorum,
                found: cosignatures.len(),
                missing: missing.join(", "),
            });
        }
        Ok(cosignatures)
    }
}

impl fmt::Display for Cosignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.time_seconds.saturating_mul(1_000_000_000);
        let time = crate::timestamp_text(craton_types::Timestamp::new(nanoseconds));
        write!(f, "{} at {time}", self.key.name())
    }
}

#[cfg(test)]
mod tests {
    use craton_crypto::SecretBytes;
    use proptest::prelude::*;

    use super::*;
    use crate::note::SignerKey;

    const TEXT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&SecretBytes::new([seed; 32]))
    }

    fn name(name: &str) -> KeyName {
        KeyName::parse(name).expect("a name")
    }

    fn checkpoint() -> Note {
        let log = SignerKey::new(name("example.com/behind-the-sofa"), key(1));
        log.sign(TEXT).expect("a text")
    }

    fn cosigner(number: u8) -> Cosigner {
        Cosigner::new(name(&format!("witness.example.com/w{number}")), key(100 + number))
    }

    /// The message of the specification's example.
    #[test]
    fn the_signed_message_is_that_of_the_specification() {
        assert_eq!(
            signed_message(&checkpoint(), 1_679_315_147),
            format!("cosignature/v1\ntime 1679315147\n{TEXT}")
        );
    }

    #[test]
    fn cosignatures_survive_a_round_trip() {
        let cosigner = cosigner(1);
        let mut note = checkpoint();
        assert_eq!(cosigner.cosigner_key().cosignature(&note), Ok(None));
        let signature = cosigner.cosign(&note, 1_679_315_147).expect("a checkpoint");
        assert_eq!(
            NoteSignature::parse_lines(&signature.to_string()),
            Ok(vec![signature.clone()])
        );
        note.add(signature.clone()).expect("room");
        note.add(signature).expect("is there already");
        let parsed = Note::parse(note.to_string().as_bytes()).expect("a note");
        assert_eq!(parsed.signers().len(), 2);
        let cosignature = cosigner.cosigner_key().cosignature(&parsed).expect("verifies");
        let cosignature = cosignature.expect("is there");
        assert_eq!(cosignature.time_seconds, 1_679_315_147);
        assert_eq!(
            cosignature.to_string(),
            "witness.example.com/w1 at 2023-03-20T12:25:47.000000000Z"
        );
        let key = cosigner.cosigner_key().to_string();
        assert_eq!(key.parse(), Ok(cosigner.cosigner_key().clone()));
    }

    #[test]
    fn of_several_cosignatures_by_one_key_the_newest_counts_and_all_must_verify() {
        let cosigner = cosigner(1);
        let mut note = checkpoint();
        for time in [20, 30, 10] {
            note.add(cosigner.cosign(&note, time).expect("a checkpoint"))
                .expect("room");
        }
        let newest = |note: &Note| {
            let cosignature = cosigner.cosigner_key().cosignature(note);
            cosignature.map(|found| found.map(|cosignature| cosignature.time_seconds))
        };
        assert_eq!(newest(&note), Ok(Some(30)));
        let mut false_signature = cosigner.cosign(&note, 40).expect("a checkpoint");
        false_signature.signature[7] ^= 1;
        note.add(false_signature).expect("room");
        assert_eq!(
            newest(&note),
            Err(NoteError::BadSignature {
                name: cosigner.cosigner_key().name().clone()
            })
        );
    }

    #[test]
    fn what_is_no_checkpoint_or_at_no_time_is_not_cosigned() {
        let cosigner = cosigner(1);
        let other = SignerKey::new(name("n"), key(1)).sign("some text\n").expect("a text");
        assert_eq!(cosigner.cosign(&other, 1), Err(CheckpointError::Origin.into()));
        assert!(cosigner.cosign(&checkpoint(), TIME_SECONDS_MAX).is_ok());
        assert_eq!(
            cosigner.cosign(&checkpoint(), TIME_SECONDS_MAX + 1),
            Err(CosignatureTimeError {
                found: TIME_SECONDS_MAX + 1
            }
            .into())
        );
    }

    #[test]
    fn a_plain_signature_is_no_cosignature_and_the_other_way_round() {
        let same_key = key(1);
        let log = SignerKey::new(name("example.com/behind-the-sofa"), same_key.clone());
        let cosigner = Cosigner::new(name("example.com/behind-the-sofa"), same_key);
        assert_ne!(log.verifier().id(), cosigner.cosigner_key().id());
        assert_eq!(cosigner.cosigner_key().cosignature(&checkpoint()), Ok(None));
        let refused = log.verifier().to_string().parse::<CosignerKey>();
        assert_eq!(refused, Err(crate::VerifierKeyError::Type { expected: 4, found: 1 }));
    }

    #[test]
    fn a_quorum_of_the_known_witnesses_is_asked_for() {
        let witnesses: Vec<Cosigner> = (1..=3).map(cosigner).collect();
        let keys: Vec<CosignerKey> = witnesses.iter().map(|witness| witness.cosigner_key().clone()).collect();
        let stranger = cosigner(9);
        let mut note = checkpoint();
        for (time, signer) in [(7, &witnesses[2]), (5, &stranger), (6, &witnesses[0])] {
            note.add(signer.cosign(&note, time).expect("a checkpoint"))
                .expect("room");
        }
        for quorum in 0..=2 {
            let policy = WitnessPolicy::new(keys.clone(), quorum).expect("can be reached");
            let times = policy
                .verify(&note)
                .map(|found| found.iter().map(|by| by.time_seconds).collect());
            assert_eq!(times, Ok(vec![6, 7]), "in the order of the policy");
        }
        let policy = WitnessPolicy::new(keys.clone(), 3).expect("can be reached");
        assert_eq!(
            policy.verify(&note),
            Err(WitnessError::Quorum {
                quorum: 3,
                found: 2,
                missing: format!("{}+{}", keys[1].name(), keys[1].id()),
            })
        );
        assert_eq!(WitnessPolicy::default().verify(&note), Ok(vec![]));
    }

    #[test]
    fn policies_are_checked() {
        let keys = |count: u8| {
            (1..=count)
                .map(|number| cosigner(number).cosigner_key().clone())
                .collect()
        };
        let most = u8::try_from(WITNESSES_MAX).expect("few");
        assert!(WitnessPolicy::new(keys(most), WITNESSES_MAX).is_ok());
        assert_eq!(
            WitnessPolicy::new(keys(most + 1), 1),
            Err(WitnessPolicyError::Count {
                found: WITNESSES_MAX + 1
            })
        );
        assert_eq!(
            WitnessPolicy::new(keys(2), 3),
            Err(WitnessPolicyError::Quorum {
                quorum: 3,
                witnesses: 2
            })
        );
        let other_name = CosignerKey::new(name("other"), *cosigner(1).cosigner_key().public_key());
        assert_eq!(
            WitnessPolicy::new(vec![cosigner(1).cosigner_key().clone(), other_name], 1),
            Err(WitnessPolicyError::Twice { name: name("other") })
        );
    }

    proptest! {
        #[test]
        fn altered_cosignatures_do_not_verify(position in 0..COSIGNATURE_BYTES, bit in 0..8_u32) {
            let cosigner = cosigner(1);
            let mut note = checkpoint();
            let mut signature = cosigner.cosign(&note, 1_679_315_147).expect("a checkpoint");
            signature.signature[position] ^= 1_u8 << bit;
            note.add(signature).expect("room");
            prop_assert!(cosigner.cosigner_key().cosignature(&note).is_err());
        }
    }
}
