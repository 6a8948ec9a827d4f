//! What is left after a crash.

use std::sync::Arc;

use super::State;
use super::coins::Coins;
use super::inode::{Inode, Pending};

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies and the machine goes on: everything that was written stays visible, and as volatile as it was.
    Process,
    /// The power is cut and nothing of it is left.
    DropUnsynced,
    /// Each sector of each write by the toss of a coin, and a prefix of the changes to names.
    Torn {
        /// Decides the tosses: the same seed, the same disk.
        seed: u64,
    },
    /// Each write as a whole by the toss of a coin, and a prefix of the changes to names.
    Reordered {
        /// As for [`Crash::Torn`].
        seed: u64,
    },
    /// All changes of the disk up to some moment; the write at that moment is torn.
    InOrder {
        /// Decides the moment and the sectors of the torn write.
        seed: u64,
    },
}

impl State {
    pub(super) fn crash(&mut self, crash: Crash) {
        self.epoch += 1;
        self.locks.clear();
        self.fault = None;
        match crash {
            Crash::Process => return,
            Crash::DropUnsynced => {}
            Crash::Torn { seed } => self.keep_some(seed, |inode, pending, coins| {
                pending.change.apply_torn(&mut inode.durable, coins);
            }),
            Crash::Reordered { seed } => self.keep_some(seed, |inode, pending, coins| {
                if coins.toss() {
                    pending.change.apply(&mut inode.durable);
                }
            }),
            Crash::InOrder { seed } => self.keep_in_order(seed),
        }
        self.pending_names.clear();
        self.names = Arc::clone(&self.durable_names);
        for inode in &mut self.inodes {
            if inode.has_lost || !inode.pending.is_empty() {
                let inode = Arc::make_mut(inode);
                inode.put(inode.durable.clone());
            }
        }
    }

    fn keep_some(&mut self, seed: u64, keep: impl Fn(&mut Inode, &Pending, &mut Coins)) {
        let mut coins = Coins::new(seed);
        for inode in self.inodes.iter_mut().filter(|inode| !inode.pending.is_empty()) {
            let inode = Arc::make_mut(inode);
            for pending in std::mem::take(&mut inode.pending) {
                keep(inode, &pending, &mut coins);
            }
            inode.has_lost = true;
        }
        let kept = coins.below(self.pending_names.len() + 1);
        let names = Arc::make_mut(&mut self.durable_names);
        for pending in &self.pending_names[..kept] {
            pending.change.apply(names);
        }
    }

    fn keep_in_order(&mut self, seed: u64) {
        let mut coins = Coins::new(seed);
        let data = self.inodes.iter().flat_map(|inode| &inode.pending);
        let mut orders: Vec<u64> = data.map(|pending| pending.order).collect();
        orders.extend(self.pending_names.iter().map(|pending| pending.order));
        orders.sort_unstable();
        // One past the last means that everything arrived.
        let moment = orders.get(coins.below(orders.len() + 1)).copied().unwrap_or(u64::MAX);
        for inode in self.inodes.iter_mut().filter(|inode| !inode.pending.is_empty()) {
            let inode = Arc::make_mut(inode);
            for pending in std::mem::take(&mut inode.pending) {
                match pending.order.cmp(&moment) {
                    std::cmp::Ordering::Less => pending.change.apply(&mut inode.durable),
                    std::cmp::Ordering::Equal => pending.change.apply_torn(&mut inode.durable, &mut coins),
                    std::cmp::Ordering::Greater => {}
                }
            }
            inode.has_lost = true;
        }
        let names = Arc::make_mut(&mut self.durable_names);
        for pending in self.pending_names.iter().filter(|pending| pending.order < moment) {
            pending.change.apply(names);
        }
    }
}
