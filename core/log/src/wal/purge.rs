//! Forgetting: what the tenants' logs hold durably needs no entries any more.
//!
//! In three steps, since two of them wait for the disk and the log is not held meanwhile: [`Wal::prepare_purge`],
//! [`PreparedPurge::write_heads`], [`Wal::begin_purge`] and [`WalPurge::run`].

use std::sync::Arc;

use craton_types::LogIndex;

use super::segment::Storage;
use super::{LogHead, Wal, WalError};

/// Segments that can be removed once it is noted how far the tenants' logs reach.
#[must_use]
pub struct PreparedPurge {
    storage: Arc<Storage>,
    through: LogIndex,
}

/// Segments that can be removed: it is noted how far the tenants' logs reach.
#[must_use]
pub struct CoveredPurge {
    through: LogIndex,
}

/// Segments that left the log and are still on disk.
#[must_use = "the segments stay on disk until the log is opened again"]
pub struct WalPurge {
    storage: Arc<Storage>,
    removed: Vec<u64>,
    oldest_segment: u64,
    purged_through: LogIndex,
    synced: (u64, u64),
}

impl Wal {
    /// Removes the segments whose entries all have an index up to `through`, having noted the tenants' `heads`. The newest
    /// segment stays.
    ///
    /// # Errors
    /// As for [`PreparedPurge::write_heads`] and [`WalPurge::run`].
    pub fn purge(&mut self, through: LogIndex, heads: Vec<LogHead>) -> Result<(), WalError> {
        self.storage.check_poison()?;
        let Some(prepared) = self.prepare_purge(through) else {
            return Ok(());
        };
        let covered = prepared.write_heads(heads)?;
        self.begin_purge(covered).run()
    }

    /// Whether [`Self::purge`] would remove anything, and the first step of it.
    pub fn prepare_purge(&self, through: LogIndex) -> Option<PreparedPurge> {
        self.is_oldest_removable(through).then(|| PreparedPurge {
            storage: Arc::clone(&self.storage),
            through,
        })
    }

    /// Takes the segments that are to be removed out of the log.
    pub fn begin_purge(&mut self, covered: CoveredPurge) -> WalPurge {
        let mut removed = Vec::new();
        while self.is_oldest_removable(covered.through) {
            removed.push(self.segments.remove(0).header.sequence);
        }
        let oldest = self.segments.first().expect("never empty").header;
        let active = self.active();
        WalPurge {
            storage: Arc::clone(&self.storage),
            removed,
            oldest_segment: oldest.sequence,
            purged_through: oldest.previous.unwrap_or_default().0,
            synced: (active.header.sequence, active.end),
        }
    }

    fn is_oldest_removable(&self, through: LogIndex) -> bool {
        match self.segments.as_slice() {
            [oldest, next, ..] => next.published && oldest.last.is_none_or(|(last, _)| last <= through),
            _ => false,
        }
    }
}

impl PreparedPurge {
    /// Notes durably how far the tenants' logs reach. The logs must be synced up to there, and the entries that are to
    /// be forgotten applied to them.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] when there are more tenants than there is space for; nothing is removed then, and it may
    /// be tried again. [`WalError::Io`] poisons the log.
    pub fn write_heads(self, heads: Vec<LogHead>) -> Result<CoveredPurge, WalError> {
        self.storage.check_poison()?;
        let written = self.storage.heads.lock().write(self.through, heads);
        self.storage.poison_unless_full(written)?;
        Ok(CoveredPurge { through: self.through })
    }
}

impl WalPurge {
    /// Says in the superblock that the segments may be missing, and removes them. It needs the log no more.
    ///
    /// # Errors
    /// [`WalError::Io`] or [`WalError::Poisoned`]. Nothing is lost by it that was not to be purged.
    pub fn run(self) -> Result<(), WalError> {
        self.storage.check_poison()?;
        self.storage.update_superblock(|superblock| {
            superblock.oldest_segment = self.oldest_segment;
            superblock.purged_through = self.purged_through;
            superblock.note_synced(self.synced.0, self.synced.1);
        })?;
        self.storage.remove_segments(&self.removed)
    }
}
