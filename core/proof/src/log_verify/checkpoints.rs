//! The Merkle tree of the log and the checkpoints that vouch for it.

use std::collections::VecDeque;

use craton_types::{Hash, Offset, RecordKind, TenantId};

use super::LogVerifyOptions;
use super::fault::{Finding, LogVerifyError, PINNED_FIELD};
use crate::note::NOTE_BYTES_MAX;
use crate::tree::{Frontier, empty_root};
use crate::{
    COSIGNABLE_CHECKPOINTS_MAX, Checkpoint, CheckpointError, Cosignature, Note, StateCommitment, WitnessError,
};

/// How far a checkpoint's size may lie behind its record: the leaves kept to compute the root there, 32 MiB.
pub(super) const WINDOW_RECORDS_MAX: usize = 1_048_576;

/// Whether the first chunk of a record of this kind is a note.
pub(super) const fn has_note(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::Checkpoint | RecordKind::Cosignature)
}

/// The plain chunks of a record with a note.
#[derive(Default)]
pub(super) struct PlainChunks {
    pub(super) note: Vec<u8>,
    /// What follows the note: a state commitment, or a time stamp, if anything.
    pub(super) second: Vec<u8>,
}

/// How many chunks a record with a note has: a cosigned note may have a time stamp behind it, a checkpoint has a state
/// commitment.
pub(super) fn note_chunks(kind: RecordKind) -> std::ops::RangeInclusive<u32> {
    match kind {
        RecordKind::Cosignature => 1..=2,
        _ => 2..=2,
    }
}

/// A checkpoint that witnesses have cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// How many records it covers.
    pub size: u64,
    /// By whom, of the witnesses that the verifier knows.
    pub by: Vec<Cosignature>,
}

/// What is wrong with a checkpoint record's content.
pub(super) struct CheckpointFault {
    pub(super) field: &'static str,
    pub(super) finding: Finding,
}

pub(super) struct Checkpoints<'a> {
    options: &'a LogVerifyOptions,
    window_records_max: usize,
    given: Option<Checkpoint>,
    /// The checkpoints that were seen before and are not reached yet, the smallest last.
    pinned: Vec<&'a Checkpoint>,
    /// The newest checkpoint that satisfies the witness policy.
    pub(super) cosigned: Option<Cosigned>,
    /// The note of the last checkpoint.
    pub(super) last_note: Vec<u8>,
    /// The tree over the first records, and the leaves that are not in it yet.
    tree: Frontier,
    recent: VecDeque<Hash>,
    pub(super) last: Option<Checkpoint>,
    pub(super) count: u64,
    given_matched: bool,
    /// The latest checkpoints, which records with cosignatures may be over, oldest first.
    cosignable: VecDeque<(u64, Hash)>,
    cosigned_size: u64,
    /// What the last checkpoint says about the rows.
    state: Option<StateCommitment>,
}

impl<'a> Checkpoints<'a> {
    pub(super) fn new(options: &'a LogVerifyOptions, window_records_max: usize) -> Result<Self, LogVerifyError> {
        let open = |note: &String| match &options.key {
            Some(key) => Checkpoint::open(note.as_bytes(), key),
            None => Checkpoint::parse_unverified(note.as_bytes()),
        };
        let given = options.checkpoint.as_ref().map(open).transpose()?;
        let given_is_empty = given.as_ref().is_some_and(|given| given.size == 0);
        if given_is_empty && given.as_ref().is_some_and(|given| given.root != empty_root()) {
            return Err(CheckpointError::Root.into());
        }
        let mut pinned: Vec<&Checkpoint> = options.pinned.iter().filter(|pin| pin.size > 0).collect();
        pinned.sort_by_key(|pin| std::cmp::Reverse(pin.size));
        Ok(Self {
            options,
            window_records_max,
            given,
            pinned,
            cosigned: None,
            last_note: Vec::new(),
            tree: Frontier::new(),
            recent: VecDeque::new(),
            last: None,
            count: 0,
            given_matched: given_is_empty,
            cosignable: VecDeque::new(),
            cosigned_size: 0,
            state: None,
        })
    }

    /// How many records there are.
    pub(super) fn records(&self) -> u64 {
        self.tree.size() + self.recent.len() as u64
    }

    /// Appends a record's hash. Gives a fault when the log has just reached the given checkpoint and differs from it.
    pub(super) fn push(&mut self, leaf: Hash) -> Option<CheckpointFault> {
        self.recent.push_back(leaf);
        if self.recent.len() > self.window_records_max {
            self.advance(self.tree.size() + 1);
        }
        self.compare_with_given().or_else(|| self.compare_with_pinned())
    }

    /// Compares the log with the checkpoints that were seen before, of as many records as there are now.
    fn compare_with_pinned(&mut self) -> Option<CheckpointFault> {
        while let Some(pin) = self
            .pinned
            .pop_if(|pin| pin.size == self.tree.size() + self.recent.len() as u64)
        {
            let found = self.root();
            if pin.root != found {
                return Some(CheckpointFault {
                    field: PINNED_FIELD,
                    finding: self.not_the_signed_records(pin.size, pin.root, found),
                });
            }
        }
        None
    }

    /// The largest checkpoint that was seen before and covers more than there is.
    pub(super) fn rolled_back_from(&self) -> Option<&Checkpoint> {
        self.pinned.first().copied()
    }

    fn compare_with_given(&mut self) -> Option<CheckpointFault> {
        let given = self.given.as_ref().filter(|given| given.size == self.records())?;
        let found = self.root();
        if given.root == found {
            self.given_matched = true;
            return None;
        }
        Some(CheckpointFault {
            field: "given checkpoint root",
            finding: self.not_the_signed_records(given.size, given.root, found),
        })
    }

    /// Checks the plain chunks of the record at `offset`, which is of a kind that has a note.
    pub(super) fn check_plain(
        &mut self,
        kind: RecordKind,
        plain: &PlainChunks,
        tenant: TenantId,
        offset: Offset,
    ) -> Result<(), CheckpointFault> {
        match kind {
            RecordKind::Cosignature => self.check_cosigned(&plain.note),
            _ => self.check(&plain.note, &plain.second, tenant, offset),
        }
    }

    /// Checks the content of the checkpoint record at `offset`.
    pub(super) fn check(
        &mut self,
        note: &[u8],
        state: &[u8],
        tenant: TenantId,
        offset: Offset,
    ) -> Result<(), CheckpointFault> {
        let (_, checkpoint) = self.open(note)?;
        let fault = |field, expected: String, found: String| CheckpointFault {
            field,
            finding: Finding::Differs { expected, found },
        };
        let origin = checkpoint.origin.as_str();
        if origin
            .rsplit_once('/')
            .is_none_or(|(_, last)| last != tenant.to_string())
        {
            let expected = format!("an origin that ends in /{tenant}");
            return Err(fault("checkpoint origin", expected, origin.to_owned()));
        }
        if let Some(last) = self.last.as_ref().filter(|last| last.origin != checkpoint.origin) {
            return Err(fault("checkpoint origin", last.origin.to_string(), origin.to_owned()));
        }
        let size = checkpoint.size;
        let size_min = self.last.as_ref().map_or(0, |last| last.size);
        if size < size_min || size > offset.get() {
            let expected = format!("{size_min} to {offset} records");
            return Err(fault("checkpoint size", expected, size.to_string()));
        }
        if size < self.tree.size() {
            let expected = format!(
                "a size at most {} records behind its own record",
                self.window_records_max
            );
            return Err(fault("checkpoint size", expected, size.to_string()));
        }
        self.advance(size);
        let found = self.tree.root();
        if found != checkpoint.root {
            return Err(CheckpointFault {
                field: "checkpoint root",
                finding: self.not_the_signed_records(size, checkpoint.root, found),
            });
        }
        self.check_state(state, size)?;
        self.count += 1;
        if self.cosignable.len() == COSIGNABLE_CHECKPOINTS_MAX {
            self.cosignable.pop_front();
        }
        self.cosignable.push_back((size, checkpoint.root));
        self.last = Some(checkpoint);
        self.last_note = note.to_vec();
        Ok(())
    }

    /// Checks the note of a record with cosignatures: it is over a checkpoint that the log holds, and covers no less
    /// than the last cosigned one. Signatures by known witnesses must verify.
    pub(super) fn check_cosigned(&mut self, note: &[u8]) -> Result<(), CheckpointFault> {
        let (signed, checkpoint) = self.open(note)?;
        let differs = |field, expected: String, found: String| CheckpointFault {
            field,
            finding: Finding::Differs { expected, found },
        };
        if let Some(last) = self.last.as_ref().filter(|last| last.origin != checkpoint.origin) {
            let found = checkpoint.origin.to_string();
            return Err(differs("checkpoint origin", last.origin.to_string(), found));
        }
        let size = checkpoint.size;
        let recent = self.cosignable.iter().find(|(recent, _)| *recent == size);
        let Some((_, root)) = recent.filter(|_| size >= self.cosigned_size) else {
            let expected = format!("a recent checkpoint of at least {} records", self.cosigned_size);
            return Err(differs("checkpoint size", expected, size.to_string()));
        };
        if *root != checkpoint.root {
            return Err(differs(
                "checkpoint root",
                root.to_string(),
                checkpoint.root.to_string(),
            ));
        }
        self.cosigned_size = size;
        match self.options.witnesses.verify(&signed) {
            Ok(by) if !by.is_empty() => self.cosigned = Some(Cosigned { size, by }),
            // Fewer than are asked for may have been there at this time, and all of them at another.
            Ok(_) | Err(WitnessError::Quorum { .. }) => {}
            Err(WitnessError::Note(error)) => {
                return Err(CheckpointFault {
                    field: "cosignature",
                    finding: Finding::Checkpoint(error.into()),
                });
            }
        }
        Ok(())
    }

    /// Checks what a checkpoint over `size` records says about the rows: states move forward, never past what the
    /// checkpoint covers, and are all placed by one key.
    fn check_state(&mut self, bytes: &[u8], size: u64) -> Result<(), CheckpointFault> {
        let fault = |field, finding| CheckpointFault { field, finding };
        let differs = |expected: String, found: String| Finding::Differs { expected, found };
        let state = StateCommitment::from_bytes(bytes).map_err(|error| {
            let reason = error.to_string();
            fault("state commitment", Finding::Malformed { reason })
        })?;
        let size_min = self.state.map_or(0, |last| last.size);
        if !(size_min..=size).contains(&state.size) {
            let expected = format!("{size_min} to {size} records");
            return Err(fault("state size", differs(expected, state.size.to_string())));
        }
        if let Some(last) = self.state.filter(|last| last.key != state.key) {
            return Err(fault("state key", differs(last.key.to_string(), state.key.to_string())));
        }
        self.state = Some(state);
        Ok(())
    }

    fn open(&self, note: &[u8]) -> Result<(Note, Checkpoint), CheckpointFault> {
        if note.len() > NOTE_BYTES_MAX {
            let reason = format!("a checkpoint has at most {NOTE_BYTES_MAX} bytes");
            return Err(CheckpointFault {
                field: "checkpoint note",
                finding: Finding::Malformed { reason },
            });
        }
        let open = || {
            let note = Note::parse(note)?;
            let checkpoint = match &self.options.key {
                Some(key) => Checkpoint::open_note(&note, key),
                None => Checkpoint::parse_unverified_note(&note),
            };
            Ok((note, checkpoint?))
        };
        open().map_err(|error| CheckpointFault {
            field: field_of(&error),
            finding: Finding::Checkpoint(error),
        })
    }

    fn not_the_signed_records(&self, size: u64, expected: Hash, found: Hash) -> Finding {
        Finding::NotTheSignedRecords {
            from: Offset::new(self.last.as_ref().map_or(0, |last| last.size.min(size))),
            end: Offset::new(size),
            expected,
            found,
        }
    }

    /// The root over all records.
    pub(super) fn root(&self) -> Hash {
        let mut tree = self.tree.clone();
        self.recent.iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    /// The size of the given checkpoint, when the log has not reached it.
    pub(super) fn given_but_not_reached(&self) -> Option<u64> {
        let given = self.given.as_ref().filter(|_| !self.given_matched)?;
        Some(given.size)
    }

    /// The size of the given checkpoint, when the log matches it.
    pub(super) fn given_size(&self) -> Option<u64> {
        let given = self.given.as_ref().filter(|_| self.given_matched)?;
        Some(given.size)
    }

    fn advance(&mut self, size: u64) {
        while self.tree.size() < size {
            let leaf = self
                .recent
                .pop_front()
                .expect("the size was checked to be at most all records");
            self.tree.push(leaf);
        }
    }
}

fn field_of(error: &CheckpointError) -> &'static str {
    use crate::NoteError;
    match error {
        CheckpointError::Note(NoteError::BadSignature { .. } | NoteError::NoTrustedSignature { .. }) => {
            "checkpoint signature"
        }
        CheckpointError::Note(_) | CheckpointError::Extension => "checkpoint note",
        CheckpointError::Origin | CheckpointError::OtherLog { .. } => "checkpoint origin",
        CheckpointError::Size => "checkpoint size",
        CheckpointError::Root => "checkpoint root",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::Cosigner;
    use crate::note::SignerKey;
    use crate::tree::{leaf_hash, merkle_tree_hash};
    use crate::verifier_key::KeyName;
    use crate::{STATE_COMMITMENT_BYTES, WitnessPolicy};

    const TENANT: TenantId = TenantId::new([1; 16]);

    fn note(size: u64) -> String {
        let leaves: Vec<Hash> = (0..size).map(leaf).collect();
        let name = KeyName::parse(&format!("cluster.example/{TENANT}")).expect("a name");
        let key = craton_crypto::SigningKey::from_seed(&craton_crypto::SecretBytes::new([1; 32]));
        let checkpoint = Checkpoint {
            origin: name.clone(),
            size,
            root: merkle_tree_hash(&leaves),
        };
        checkpoint.sign(&SignerKey::new(name, key))
    }

    #[test]
    fn cosigned_notes_are_over_checkpoints_of_the_log_and_move_forward() {
        let options = LogVerifyOptions::default();
        let mut checkpoints = Checkpoints::new(&options, 100).unwrap_or_else(|error| panic!("{error}"));
        for index in 0..4 {
            assert!(checkpoints.push(leaf(index)).is_none());
        }
        let (two, three, four) = (note(2), note(3), note(4));
        for note in [&two, &four] {
            assert!(
                checkpoints
                    .check(note.as_bytes(), &state(0), TENANT, Offset::new(4))
                    .is_ok()
            );
        }
        let mut field = |note: &str| {
            checkpoints
                .check_cosigned(note.as_bytes())
                .err()
                .map(|fault| fault.field)
        };
        let forged = four.replace(&four[four.find("\n4\n").expect("a size") + 3..][..4], "AAAA");
        for (note, fault) in [
            (&two, None),
            (&two, None),
            (&three, Some("checkpoint size")),
            (&forged, Some("checkpoint root")),
            (&four, None),
            (&two, Some("checkpoint size")),
        ] {
            assert_eq!(field(note), fault);
        }
    }

    /// A witness, by its number.
    fn cosigner(number: u8) -> Cosigner {
        let key = craton_crypto::SigningKey::from_seed(&craton_crypto::SecretBytes::new([number; 32]));
        Cosigner::new(
            KeyName::parse(&format!("witness.example/w{number}")).expect("a name"),
            key,
        )
    }

    fn cosigned(note: &str, signed_by: &[u8]) -> String {
        let mut note = Note::parse(note.as_bytes()).expect("a note");
        for number in signed_by {
            let signature = cosigner(*number).cosign(&note, 1_795_256_130);
            note.add(signature.expect("a checkpoint")).expect("room");
        }
        note.to_string()
    }

    #[test]
    fn the_newest_checkpoint_with_enough_cosignatures_counts_and_a_false_one_is_a_fault() {
        let keys = [2, 3].map(|number| cosigner(number).cosigner_key().clone());
        let options = LogVerifyOptions {
            witnesses: WitnessPolicy::new(keys.to_vec(), 2).expect("can be reached"),
            ..LogVerifyOptions::default()
        };
        let mut checkpoints = Checkpoints::new(&options, 100).unwrap_or_else(|error| panic!("{error}"));
        for index in 0..4 {
            assert!(checkpoints.push(leaf(index)).is_none());
        }
        for size in [2, 3, 4] {
            let checked = checkpoints.check(note(size).as_bytes(), &state(0), TENANT, Offset::new(4));
            assert!(checked.is_ok());
        }
        for (text, found) in [
            (cosigned(&note(2), &[2]), Ok(None)),
            (cosigned(&note(2), &[2, 9]), Ok(None)),
            (cosigned(&note(3), &[3, 2]), Ok(Some(3))),
            (cosigned(&note(4), &[3]), Ok(Some(3))),
            // The line is of another checkpoint.
            (
                note(4) + cosigned(&note(3), &[2]).lines().last().expect("a line") + "\n",
                Err("cosignature"),
            ),
        ] {
            let checked = checkpoints.check_cosigned(text.as_bytes()).map_err(|fault| fault.field);
            let size = checkpoints.cosigned.as_ref().map(|cosigned| cosigned.size);
            assert_eq!(checked.map(|()| size), found, "{text}");
        }
        assert_eq!(checkpoints.cosigned.map(|cosigned| cosigned.by.len()), Some(2));
    }

    #[test]
    fn a_log_is_compared_with_every_checkpoint_that_was_seen_before() {
        let pin = |size| Checkpoint::parse_unverified(note(size).as_bytes()).expect("a checkpoint");
        let forged = Checkpoint {
            root: Hash::ZERO,
            ..pin(3)
        };
        for (pinned, field, rolled_back) in [
            (vec![pin(1), pin(3), pin(2), pin(0)], None, None),
            (vec![pin(1), forged], Some(PINNED_FIELD), None),
            (vec![pin(5), pin(1), pin(6)], None, Some(6)),
        ] {
            let options = LogVerifyOptions {
                pinned,
                ..LogVerifyOptions::default()
            };
            let mut checkpoints = Checkpoints::new(&options, 2).unwrap_or_else(|error| panic!("{error}"));
            let fault = (0..4).find_map(|index| checkpoints.push(leaf(index)));
            assert_eq!(fault.map(|fault| fault.field), field);
            assert_eq!(checkpoints.rolled_back_from().map(|pin| pin.size), rolled_back);
        }
    }

    #[test]
    fn only_recent_checkpoints_can_be_cosigned() {
        let options = LogVerifyOptions::default();
        let mut checkpoints = Checkpoints::new(&options, 1_000).unwrap_or_else(|error| panic!("{error}"));
        let sizes = COSIGNABLE_CHECKPOINTS_MAX as u64 + 1;
        for size in 1..=sizes {
            assert!(checkpoints.push(leaf(size - 1)).is_none());
            assert!(
                checkpoints
                    .check(note(size).as_bytes(), &state(0), TENANT, Offset::new(size))
                    .is_ok()
            );
        }
        assert!(checkpoints.check_cosigned(note(1).as_bytes()).is_err());
        assert!(checkpoints.check_cosigned(note(2).as_bytes()).is_ok());
    }

    /// What the rows are after `size` records, in a log whose rows never change.
    fn state(size: u64) -> [u8; STATE_COMMITMENT_BYTES] {
        stated(size, 7)
    }

    fn stated(size: u64, key: u8) -> [u8; STATE_COMMITMENT_BYTES] {
        let commitment = StateCommitment {
            size,
            root: Hash::ZERO,
            key: Hash::new([key; 32]),
        };
        commitment.to_bytes()
    }

    #[test]
    fn states_move_forward_within_their_checkpoint_and_under_one_key() {
        let options = LogVerifyOptions::default();
        let mut checkpoints = Checkpoints::new(&options, 100).unwrap_or_else(|error| panic!("{error}"));
        for index in 0..9 {
            assert!(checkpoints.push(leaf(index)).is_none());
        }
        for (size, state, fault) in [
            (3, stated(4, 7).to_vec(), Some("state size")),
            (3, stated(3, 7).to_vec(), None),
            (5, stated(2, 7).to_vec(), Some("state size")),
            (6, stated(3, 7).to_vec(), None),
            (7, stated(4, 8).to_vec(), Some("state key")),
            (8, stated(4, 7)[1..].to_vec(), Some("state commitment")),
            (9, stated(9, 7).to_vec(), None),
        ] {
            let outcome = checkpoints.check(note(size).as_bytes(), &state, TENANT, Offset::new(9));
            assert_eq!(outcome.err().map(|fault| fault.field), fault, "{size}");
        }
    }

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    #[test]
    fn checkpoints_may_lie_behind_by_the_window_and_no_further() {
        let options = LogVerifyOptions::default();
        for (size, accepted) in [(10, true), (7, true), (6, true), (5, false), (0, false)] {
            let mut checkpoints = Checkpoints::new(&options, 4).unwrap_or_else(|error| panic!("{error}"));
            for index in 0..10 {
                assert!(checkpoints.push(leaf(index)).is_none());
            }
            let outcome = checkpoints.check(note(size).as_bytes(), &state(0), TENANT, Offset::new(10));
            match outcome {
                Ok(()) => assert!(accepted, "{size}"),
                Err(fault) => assert!(
                    !accepted && fault.field == "checkpoint size",
                    "{size}: {}",
                    fault.finding
                ),
            }
            assert_eq!(
                checkpoints.root(),
                merkle_tree_hash(&(0..10).map(leaf).collect::<Vec<_>>())
            );
        }
    }
}
