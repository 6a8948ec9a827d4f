//! A batch on its way to the disk: given its place under the log's lock, encoded and encrypted by whoever brought
//! it, then written and synced by the one writer.
//!
//! The three steps are apart so that the next batch is encrypted while the previous one syncs.

use std::path::PathBuf;
use std::sync::Arc;

use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, Term};

use super::cipher::SegmentCipher;
use super::entries::join_entries;
use super::format::{RECORD_HEADER_BYTES, RecordHeader, RecordKind};
use super::segment::{Storage, seal_record, write_whole};
use super::superblock::Vote;
use super::terms::Terms;
use super::{WalEntry, WalError};
use crate::disk::DiskFile;

/// Where a batch goes, see [`super::Wal::place`].
#[must_use = "the place stays empty, and no later batch may be written"]
pub struct Placement {
    pub(super) storage: Arc<Storage>,
    pub(super) cipher: Arc<SegmentCipher>,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) sequence: u64,
    pub(super) salt: [u8; 8],
    pub(super) position: u64,
    pub(super) content: Content,
    /// Entries up to here were known to be committed.
    pub(super) committed: LogIndex,
    /// What is written when the batch begins its segment.
    pub(super) beginning: Option<Beginning>,
}

/// What a record holds.
pub(super) enum Content {
    Entries {
        first: (LogIndex, Term),
        last: (LogIndex, Term),
        count: u32,
        terms: Terms,
    },
    Vote(Vote),
}

/// The first bytes of a segment that is not published yet, and the empty one that it replaces.
pub(super) struct Beginning {
    pub(super) header: Vec<u8>,
    pub(super) replaces: Option<u64>,
}

impl Placement {
    /// Encodes and encrypts the entries that the place was asked for. The buffer is emptied and used; it is given
    /// back by [`SealedBatch::into_buffer`].
    pub fn seal(self, entries: &[WalEntry], buffer: Vec<u8>) -> SealedBatch {
        self.seal_with(buffer, |text| join_entries(entries, text))
    }

    pub(super) fn seal_with(self, mut buffer: Vec<u8>, append_text: impl FnOnce(&mut Vec<u8>)) -> SealedBatch {
        buffer.clear();
        if let Some(beginning) = &self.beginning {
            buffer.extend_from_slice(&beginning.header);
        }
        let start = buffer.len();
        buffer.resize(start + RECORD_HEADER_BYTES, 0);
        append_text(&mut buffer);
        let (kind, (index, term), entry_count) = match self.content {
            Content::Entries { first, count, .. } => (RecordKind::Entries, first, count),
            Content::Vote(_) => (RecordKind::Vote, (LogIndex::ZERO, Term::ZERO), 0),
        };
        let header = RecordHeader {
            kind,
            salt: self.salt,
            position: self.position,
            index,
            term,
            entry_count,
            payload_length: 0,
            committed: self.committed,
            payload_checksum: 0,
        };
        seal_record(&mut buffer, start, &self.cipher, header);
        SealedBatch {
            placement: self,
            bytes: buffer,
        }
    }
}

/// An encrypted batch. Batches are written one after another, in the order of their places.
pub struct SealedBatch {
    pub(super) placement: Placement,
    bytes: Vec<u8>,
}

impl SealedBatch {
    /// Writes and syncs. The batch before must have been written and noted; this one is to be noted with
    /// [`super::Wal::note_written`].
    ///
    /// # Errors
    /// [`WalError::NoSpace`]: nothing of it counts, and after [`super::Wal::take_back`] it may be given another place.
    /// [`WalError::Io`] leaves unknown what the disk holds and poisons the log.
    pub fn write(&self) -> Result<(), WalError> {
        let storage = &self.placement.storage;
        storage.check_poison()?;
        let written = match &self.placement.beginning {
            Some(beginning) => self.write_segment(beginning),
            None => self.write_record(),
        };
        storage.poison_unless_full(written)
    }

    /// The buffer that [`Placement::seal`] used.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Where its record ends.
    pub(super) fn end(&self) -> u64 {
        let header = self
            .placement
            .beginning
            .as_ref()
            .map_or(0, |beginning| beginning.header.len());
        self.placement.position + (self.bytes.len() - header) as u64
    }

    fn write_record(&self) -> Result<(), WalError> {
        let Placement { file, path, .. } = &self.placement;
        file.write_all_at(&self.bytes, self.placement.position)
            .map_err(WalError::io("write", path))?;
        if is_planted(Bug::AcknowledgeBeforeSync) {
            return Ok(());
        }
        let mut synced = file.sync_data();
        if is_planted(Bug::RetryFailedSync) && synced.is_err() {
            synced = file.sync_data();
        }
        synced.map_err(WalError::failed("sync", path))
    }

    fn write_segment(&self, beginning: &Beginning) -> Result<(), WalError> {
        let Placement {
            storage, file, path, ..
        } = &self.placement;
        write_whole(&**file, path, &self.bytes)?;
        let (sequence, end) = (self.placement.sequence, self.end());
        storage.publish_segment(sequence, path)?;
        storage.update_superblock(|superblock| {
            superblock.newest_segment = sequence;
            superblock.synced_end = end;
        })?;
        storage.remove_segments(beginning.replaces.as_slice())
    }
}
