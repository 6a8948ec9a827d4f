//! Forgetting: what the tenants' logs hold durably needs no entries any more.
//!
//! In three steps, since two of them wait for the disk and the log is not held meanwhile: [`Wal::prepare_purge`],
//! [`PreparedPurge::write_heads`], [`Wal::begin_purge`] and [`WalPurge::run`].
//!
//! Space is freed by whole segments. A purge forgets what is in them and nothing else, unless it is an exact one: that also
//! forgets entries whose segment stays for the sake of later ones, as a leader that asks for it expects.

use std::sync::Arc;

use craton_types::{LogIndex, Term};

use super::segment::Storage;
use super::{LogHead, Wal, WalError};

/// Segments that can be removed once it is noted how far the tenants' logs reach.
#[must_use]
pub struct PreparedPurge {
    storage: Arc<Storage>,
    through: LogIndex,
    /// The term of the last entry to forget, of an exact purge.
    exact: Option<Term>,
}

/// Segments that can be removed: it is noted how far the tenants' logs reach.
#[must_use]
pub struct CoveredPurge {
    through: LogIndex,
    /// The term of the last entry to forget, of an exact purge.
    exact: Option<Term>,
}

/// Segments that left the log and are still on disk.
#[must_use = "the segments stay on disk until the log is opened again"]
pub struct WalPurge {
    storage: Arc<Storage>,
    removed: Vec<u64>,
    oldest_segment: u64,
    purged: Option<(LogIndex, Term)>,
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

    /// Forgets exactly the entries up to `last`, or up to the log's last one when that is before, having noted the tenants'
    /// `heads`, and removes the segments that hold no others. The newest segment stays.
    ///
    /// # Errors
    /// As for [`PreparedPurge::write_heads`] and [`WalPurge::run`].
    pub fn purge_exactly(&mut self, last: (LogIndex, Term), heads: Vec<LogHead>) -> Result<(), WalError> {
        self.storage.check_poison()?;
        let Some(prepared) = self.prepare_exact_purge(last) else {
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
            exact: None,
        })
    }

    /// Whether [`Self::purge_exactly`] would forget anything, and the first step of it.
    pub fn prepare_exact_purge(&self, last: (LogIndex, Term)) -> Option<PreparedPurge> {
        let (through, term) = last.min((self.last_index()?, self.last_term()?));
        (through > self.purged_through()).then(|| PreparedPurge {
            storage: Arc::clone(&self.storage),
            through,
            exact: Some(term),
        })
    }

    /// Takes the segments that are to be removed out of the log.
    pub fn begin_purge(&mut self, covered: CoveredPurge) -> WalPurge {
        let mut removed = Vec::new();
        while self.is_oldest_removable(covered.through) {
            removed.push(self.segments.remove(0).header.sequence);
        }
        let oldest = self.segments.first().expect("never empty").header;
        if let Some(term) = covered.exact {
            let last = self.active().last;
            self.purged = self.purged.max(last.min(Some((covered.through, term))));
        }
        self.purged = self.purged.max(oldest.previous);
        self.terms.forget_through(oldest.previous.unwrap_or_default().0);
        let active = self.active();
        WalPurge {
            storage: Arc::clone(&self.storage),
            removed,
            oldest_segment: oldest.sequence,
            purged: self.purged,
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
        Ok(CoveredPurge {
            through: self.through,
            exact: self.exact,
        })
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
            // The log may have been cut meanwhile.
            superblock.oldest_segment = superblock.oldest_segment.max(self.oldest_segment);
            superblock.purged = superblock.purged.max(self.purged);
            superblock.note_synced(self.synced.0, self.synced.1);
        })?;
        self.storage.remove_segments(&self.removed)
    }
}
