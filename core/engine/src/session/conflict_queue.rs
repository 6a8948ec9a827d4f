//! Where single statements wait for their turn after a conflict.
//!
//! A statement that met another writer tries again. Were all losers of a hot row to try at once, one of them would
//! win each round and the others could lose forever; so they stand in line, by row, in the order they came.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use craton_types::TableId;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Lines for different rows are few enough to keep and many enough that rows seldom share one.
const LINES: usize = 64;

/// The lines of a tenant.
pub(crate) struct ConflictQueue {
    lines: [Arc<Mutex<()>>; LINES],
}

/// A place at the head of a line, until dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Default for ConflictQueue {
    fn default() -> Self {
        Self {
            lines: std::array::from_fn(|_| Arc::default()),
        }
    }
}

impl ConflictQueue {
    /// Waits until everybody who came earlier for this row is done. The lock is fair.
    pub(crate) async fn turn(&self, table: TableId, key: &[u8]) -> Turn {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((table, key));
        let line = usize::try_from(hash % LINES as u64).expect("less than the number of lines");
        Arc::clone(&self.lines[line]).lock_owned().await
    }
}
