//! A file: what the page cache shows, what the medium holds, and what is on the way from one to the other.

use std::sync::Arc;

use super::SECTOR_BYTES;
use super::coins::Coins;
use super::content::Content;

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) current: Content,
    pub(super) durable: Content,
    pub(super) pending: Vec<Pending>,
    /// Whether a write was lost, so that the page cache shows what no sync will bring to the medium.
    pub(super) has_lost: bool,
}

/// A change that was not synced, and its place among all changes of the disk.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) order: u64,
    pub(super) change: Change,
}

#[derive(Clone)]
pub(super) enum Change {
    Write { position: usize, bytes: Arc<[u8]> },
    Length(usize),
}

impl Change {
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { position, bytes } => content.write(*position, bytes),
            Self::Length(length) => content.resize(*length),
        }
    }

    /// Applies each sector of a write, and a length as a whole, by the toss of a coin.
    pub(super) fn apply_torn(&self, content: &mut Content, coins: &mut Coins) {
        let (position, bytes) = match self {
            Self::Write { position, bytes } => (*position, bytes),
            Self::Length(length) => {
                if coins.toss() {
                    content.resize(*length);
                }
                return;
            }
        };
        let mut start = 0;
        while start < bytes.len() {
            let sector_left = SECTOR_BYTES - (position + start) % SECTOR_BYTES;
            let end = bytes.len().min(start + sector_left);
            if coins.toss() {
                content.write(position + start, &bytes[start..end]);
            }
            start = end;
        }
    }
}

impl Inode {
    pub(super) fn change(&mut self, order: u64, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(Pending { order, change });
    }

    /// Brings what is pending to the medium.
    pub(super) fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if self.has_lost {
            for Pending { change, .. } in pending {
                change.apply(&mut self.durable);
            }
        } else {
            self.durable = self.current.clone();
        }
    }

    /// Forgets what is pending, as Linux does when a sync fails: the pages are marked clean, so later reads see
    /// them, and no later sync writes them (Rebello et al., Can Applications Recover from fsync Failures?, ATC
    /// 2020).
    pub(super) fn lose_pending(&mut self) {
        self.has_lost |= !self.pending.is_empty();
        self.pending.clear();
    }

    /// Replaces the bytes durably.
    pub(super) fn put(&mut self, content: Content) {
        *self = Self {
            durable: content.clone(),
            current: content,
            ..Self::default()
        };
    }
}
