//! The superblock: what must be known before, and about, the segments as a whole.
//!
//! The file `superblock` holds four copies, each in a slot of 4 KiB. An update writes the first two, syncs, and
//! writes the other two; so whatever a crash interrupts, two copies agree. The log opens when two do; of those the
//! newest counts. All integers are big-endian.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..8 | magic | `CRTSUP`, 0, and the version, 2 |
//! | 8 | copy | 0 to 3; the number of the slot |
//! | 9..16 | reserved | zero |
//! | 16..24 | sequence | of the superblock itself: each update has the next one |
//! | 24..56 | parent | the digest of the superblock before; zero for the first |
//! | 56..72 | log_id | random, drawn when the log was created |
//! | 72..80 | node | whose log this is |
//! | 80..88 | generation | how often the log was opened |
//! | 88..96 | term | of the vote |
//! | 96..104 | voted_for | the node that was voted for; 0 for none |
//! | 104..112 | flags | 1: a quorum granted the vote; 2: the log is incomplete |
//! | 112..120 | oldest_segment | the oldest segment that must be there |
//! | 120..128 | purged_index | the last entry that was forgotten; 0 for none |
//! | 128..136 | purged_term | its term |
//! | 136..144 | newest_segment | the newest segment that must be there; 0 for none |
//! | 144..152 | synced_end | how far its records are known to be synced |
//! | 152..160 | committed | entries up to here are known to be committed |
//! | 160..192 | digest | SHA-256 of bytes 16..160 |
//! | 192..196 | checksum | CRC32C of bytes 0..192 |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_types::{LogIndex, NodeId, Term};

use super::WalError;
use super::format::array;
use crate::disk::{Disk, DiskFile};

/// The file.
pub(super) const SUPERBLOCK_NAME: &str = "superblock";
const TMP_NAME: &str = "superblock.tmp";
pub(super) const COPIES: u8 = 4;
/// How many copies must agree.
const QUORUM: usize = 2;
pub(super) const SLOT_BYTES: u64 = 4096;
pub(super) const BODY_START: usize = 16;
pub(super) const DIGEST_START: usize = 160;
pub(super) const CHECKSUM_START: usize = 192;
pub(super) const COPY_BYTES: usize = 196;
const FLAG_VOTE_COMMITTED: u64 = 1;
const FLAG_INCOMPLETE: u64 = 2;
const MAGIC: [u8; 8] = *b"CRTSUP\x00\x02";

/// A node's vote in a term (Raft, section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    /// The term.
    pub term: Term,
    /// Who was voted for; [`NodeId::ZERO`] for nobody yet.
    pub voted_for: NodeId,
    /// Whether a quorum gave this vote: the node that was voted for leads in the term.
    pub committed: bool,
}

impl Vote {
    /// Whether a node that gave `last` may give this vote: in a later term, in a term without a vote, or when it learns whom
    /// a quorum elected in the term, be it somebody else than it voted for.
    pub(super) fn may_follow(&self, last: &Self) -> bool {
        let is_granted_now = self.committed && !last.committed;
        self.term > last.term || (self.term == last.term && (last.voted_for == NodeId::ZERO || is_granted_now))
    }

    /// A quorum votes for somebody.
    pub(super) fn is_meaningful(&self) -> bool {
        !self.committed || self.voted_for != NodeId::ZERO
    }
}

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) sequence: u64,
    parent: [u8; 32],
    pub(super) log_id: [u8; 16],
    pub(super) node: NodeId,
    pub(super) generation: u64,
    pub(super) vote: Vote,
    pub(super) oldest_segment: u64,
    pub(super) purged: Option<(LogIndex, Term)>,
    pub(super) newest_segment: u64,
    pub(super) synced_end: u64,
    pub(super) committed: LogIndex,
    /// Whether entries were lost that were known to be synced.
    pub(super) incomplete: bool,
}

/// Why the superblock does not open its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockDamage {
    /// There are segments, but no superblock.
    #[error("is missing")]
    Missing,
    /// Fewer than two copies agree.
    #[error("has no two copies that agree, {whole} of 4 are whole")]
    NoQuorum {
        /// Copies that are whole.
        whole: u8,
    },
    /// It belongs to another node.
    #[error("belongs to node {found}, this is node {expected}")]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// Who opened it.
        expected: NodeId,
    },
    /// The segments went on for longer than an interrupted update explains: an older copy of the file was put back.
    #[error("is older than the segments: it knows segment {known}, the newest is {found}")]
    Stale {
        /// The newest segment that it knows.
        known: u64,
        /// The newest segment that there is.
        found: u64,
    },
}

/// A copy that did not agree with the others and was written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairedCopy {
    /// The copy, 0 to 3.
    pub copy: u8,
    /// Whether it was the whole superblock before or after, as an interrupted update leaves it; otherwise it was
    /// damaged or torn.
    pub was_interrupted: bool,
}

impl Superblock {
    pub(super) const fn first(log_id: [u8; 16], node: NodeId) -> Self {
        Self {
            sequence: 1,
            parent: [0; 32],
            log_id,
            node,
            generation: 0,
            vote: Vote {
                term: Term::ZERO,
                voted_for: NodeId::ZERO,
                committed: false,
            },
            oldest_segment: 0,
            purged: None,
            newest_segment: 0,
            synced_end: 0,
            committed: LogIndex::ZERO,
            incomplete: false,
        }
    }

    /// Notes how far a segment is synced, unless a newer one was begun since.
    pub(super) fn note_synced(&mut self, segment: u64, end: u64) {
        if segment == self.newest_segment {
            self.synced_end = self.synced_end.max(end);
        }
    }

    /// The last entry that was forgotten; zero for none.
    pub(super) fn purged_through(&self) -> LogIndex {
        self.purged.unwrap_or_default().0
    }

    fn body(&self) -> [u8; DIGEST_START - BODY_START] {
        let mut bytes = [0; DIGEST_START - BODY_START];
        bytes[0..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..40].copy_from_slice(&self.parent);
        bytes[40..56].copy_from_slice(&self.log_id);
        let integers = [
            self.node.get(),
            self.generation,
            self.vote.term.get(),
            self.vote.voted_for.get(),
            u64::from(self.vote.committed) * FLAG_VOTE_COMMITTED + u64::from(self.incomplete) * FLAG_INCOMPLETE,
            self.oldest_segment,
            self.purged_through().get(),
            self.purged.unwrap_or_default().1.get(),
            self.newest_segment,
            self.synced_end,
            self.committed.get(),
        ];
        for (integer, place) in integers.iter().zip(bytes[56..].chunks_exact_mut(8)) {
            place.copy_from_slice(&integer.to_be_bytes());
        }
        bytes
    }

    fn digest(&self) -> [u8; 32] {
        *craton_crypto::sha256(&[&self.body()]).as_bytes()
    }

    pub(super) fn encode(&self, copy: u8) -> [u8; COPY_BYTES] {
        let mut bytes = [0; COPY_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8] = copy;
        bytes[BODY_START..DIGEST_START].copy_from_slice(&self.body());
        bytes[DIGEST_START..CHECKSUM_START].copy_from_slice(&self.digest());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_START]);
        bytes[CHECKSUM_START..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// `None` when the bytes are not a whole copy of this number.
    pub(super) fn decode(bytes: &[u8; COPY_BYTES], copy: u8) -> Option<Self> {
        let checksum = u32::from_be_bytes(array(bytes, CHECKSUM_START));
        let is_whole = bytes[0..8] == MAGIC && checksum == crc32c::crc32c(&bytes[..CHECKSUM_START]);
        if !is_whole || bytes[8] != copy || bytes[9..16] != [0; 7] {
            return None;
        }
        let integer = |start| u64::from_be_bytes(array(bytes, start));
        let flags = integer(104);
        let (purged_index, purged_term) = (LogIndex::new(integer(120)), Term::new(integer(128)));
        let purged = (purged_index != LogIndex::ZERO).then_some((purged_index, purged_term));
        let superblock = Self {
            sequence: integer(16),
            parent: array(bytes, 24),
            log_id: array(bytes, 56),
            node: NodeId::new(integer(72)),
            generation: integer(80),
            vote: Vote {
                term: Term::new(integer(88)),
                voted_for: NodeId::new(integer(96)),
                committed: flags & FLAG_VOTE_COMMITTED != 0,
            },
            oldest_segment: integer(112),
            purged,
            newest_segment: integer(136),
            synced_end: integer(144),
            committed: LogIndex::new(integer(152)),
            incomplete: flags & FLAG_INCOMPLETE != 0,
        };
        // Unknown flags, a committed vote for nobody and a term without an entry have another digest or no meaning.
        (superblock.vote.is_meaningful() && superblock.digest() == array(bytes, DIGEST_START)).then_some(superblock)
    }

    /// Whether `newer` is the update that follows this.
    fn is_before(&self, newer: &Self) -> bool {
        self.sequence.checked_add(1) == Some(newer.sequence) && newer.parent == self.digest()
    }
}

/// The file with the copies.
pub(super) struct SuperblockFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// What the copies say.
    written: Superblock,
    /// What they are to say after the next update.
    next: Superblock,
}

impl SuperblockFile {
    /// Writes the first superblock of a new log.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, first: Superblock) -> Result<Self, WalError> {
        let (path, tmp_path) = (dir.join(SUPERBLOCK_NAME), dir.join(TMP_NAME));
        let file = disk.create(&tmp_path).map_err(WalError::io("create", &tmp_path))?;
        file.allocate(u64::from(COPIES) * SLOT_BYTES)
            .map_err(WalError::io("allocate", &tmp_path))?;
        let created = Self {
            path,
            file,
            written: first,
            next: first,
        };
        for copy in 0..COPIES {
            created.write_copy(copy, &first)?;
        }
        created.file.sync_all().map_err(WalError::io("sync", &tmp_path))?;
        disk.rename(&tmp_path, &created.path)
            .map_err(WalError::io("rename", &tmp_path))?;
        disk.sync_dir(dir).map_err(WalError::io("sync", dir))?;
        Ok(created)
    }

    /// Reads the copies, decides which count, and writes those again that do not agree with them. `None` when there
    /// is no such file.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Option<(Self, Vec<RepairedCopy>)>, WalError> {
        let path = dir.join(SUPERBLOCK_NAME);
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WalError::io("open", &path)(error)),
        };
        let mut copies = Vec::new();
        for copy in 0..COPIES {
            let mut bytes = [0; COPY_BYTES];
            let position = u64::from(copy) * SLOT_BYTES;
            // What a shorter file lacks reads as zeros, which are no copy.
            file.read_up_to(&mut bytes, position)
                .map_err(WalError::io("read", &path))?;
            copies.push(Superblock::decode(&bytes, copy));
        }
        let agreeing = |counted: &Superblock| copies.iter().flatten().filter(|copy| *copy == counted).count();
        let counted = copies.iter().flatten().filter(|copy| agreeing(copy) >= QUORUM);
        let Some(counted) = counted.max_by_key(|copy| copy.sequence).copied() else {
            let whole = u8::try_from(copies.iter().flatten().count()).expect("there are four");
            let reason = SuperblockDamage::NoQuorum { whole };
            return Err(WalError::Superblock { path, reason });
        };
        let opened = Self {
            path,
            file,
            written: counted,
            next: counted,
        };
        let repaired = opened.repair(&copies)?;
        Ok(Some((opened, repaired)))
    }

    /// The copies that do not agree are the first to be written, so that no crash leaves fewer than two that do.
    fn repair(&self, copies: &[Option<Superblock>]) -> Result<Vec<RepairedCopy>, WalError> {
        let mut repaired = Vec::new();
        for (copy, found) in (0..COPIES).zip(copies) {
            if found.as_ref() != Some(&self.written) {
                self.write_copy(copy, &self.written)?;
                let was_interrupted =
                    found.is_some_and(|found| found.is_before(&self.written) || self.written.is_before(&found));
                repaired.push(RepairedCopy { copy, was_interrupted });
            }
        }
        if !repaired.is_empty() {
            self.sync()?;
        }
        Ok(repaired)
    }

    /// What the next update will say, and what was said before until then.
    pub(super) const fn get(&self) -> &Superblock {
        &self.next
    }

    /// Changes what the next update will say.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut Superblock)) {
        change(&mut self.next);
    }

    /// Makes durable what was noted; nothing is written when nothing was.
    pub(super) fn update(&mut self) -> Result<(), WalError> {
        if self.next == self.written {
            return Ok(());
        }
        let mut next = self.next;
        next.sequence = self.written.sequence + 1;
        next.parent = self.written.digest();
        for pair in [[0, 1], [2, 3]] {
            for copy in pair {
                self.write_copy(copy, &next)?;
            }
            self.sync()?;
        }
        self.written = next;
        self.next = next;
        Ok(())
    }

    /// The space is reserved from the beginning, so that a full disk is a failure here.
    fn write_copy(&self, copy: u8, superblock: &Superblock) -> Result<(), WalError> {
        self.file
            .write_all_at(&superblock.encode(copy), u64::from(copy) * SLOT_BYTES)
            .map_err(WalError::failed("write", &self.path))
    }

    fn sync(&self) -> Result<(), WalError> {
        self.file.sync_data().map_err(WalError::failed("sync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn copies_survive_a_round_trip_and_no_flip(
            integers in any::<[u64; 11]>(), flags in any::<[bool; 2]>(), parent in any::<[u8; 32]>(), log_id in any::<[u8; 16]>(),
            copy in 0..COPIES, at in 0..COPY_BYTES, bit in 0..8,
        ) {
            let superblock = Superblock {
                sequence: integers[0], parent, log_id,
                node: NodeId::new(integers[1]), generation: integers[2],
                vote: Vote {
                    term: Term::new(integers[3]), voted_for: NodeId::new(integers[4] | 1), committed: flags[0],
                },
                oldest_segment: integers[5],
                purged: (integers[6] > 0).then(|| (LogIndex::new(integers[6]), Term::new(integers[7]))),
                newest_segment: integers[8], synced_end: integers[9], committed: LogIndex::new(integers[10]), incomplete: flags[1],
            };
            let mut bytes = superblock.encode(copy);
            prop_assert_eq!(Superblock::decode(&bytes, copy), Some(superblock));
            prop_assert_eq!(Superblock::decode(&bytes, (copy + 1) % COPIES), None, "a misplaced copy");
            bytes[at] ^= 1u8 << bit;
            prop_assert_eq!(Superblock::decode(&bytes, copy), None);
        }
    }

    #[test]
    fn votes_never_go_back() {
        let vote = |term, node| Vote {
            term: Term::new(term),
            voted_for: NodeId::new(node),
            committed: false,
        };
        let granted = |term, node| Vote {
            committed: true,
            ..vote(term, node)
        };
        for (next, last, expected) in [
            (vote(1, 1), Vote::default(), true),
            (vote(3, 0), vote(2, 1), true),
            (vote(3, 2), vote(3, 0), true),
            (vote(3, 2), vote(3, 1), false),
            (vote(3, 1), vote(3, 1), false),
            (vote(2, 1), vote(3, 0), false),
            (granted(3, 1), vote(3, 1), true),
            (granted(3, 1), vote(3, 0), true),
            (granted(3, 2), vote(3, 1), true),
            (granted(3, 2), granted(3, 1), false),
            (granted(3, 1), granted(3, 1), false),
            (vote(3, 1), granted(3, 1), false),
            (vote(4, 2), granted(3, 1), true),
        ] {
            assert_eq!(next.may_follow(&last), expected, "{next:?} after {last:?}");
        }
    }
}
