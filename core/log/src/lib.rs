//! The engine's two logs on an injected disk: the write-ahead log of consensus entries and the immutable,
//! hash-chained log of each tenant.
//!
//! # Invariants
//! - The logs are kept apart: nothing that the write-ahead log discards is in the system of record.
//! - What a call acknowledged is durable, or the call says that it is not.
//! - Damage is detected, never served and never truncated away.
//! - After a failed write or sync a log is poisoned: every later call says so until it is opened again.
//! - Memory is bounded by the longest record or batch and by documented constants.
//!
//! # Deliberately absent
//! What records mean (`craton-kernel`), keys of records (`craton-crypto`: the tenant log holds ciphertext
//! only), who proposes entries (`craton-consensus`), and clocks.

mod disk;
mod tenant;
mod wal;

pub use disk::{Disk, DiskFile, DiskLock, RealDisk};
pub use tenant::{
    LogReader, Repaired, ScrubStep, SyncJob, SyncedDamage, TENANT_SEGMENT_BYTES_DEFAULT, TenantLog, TenantLogError,
    TenantLogOptions, TenantLogRecovery, TornRecords, Writeback, check_body,
};
pub use wal::{
    BATCH_BYTES_MAX, CoveredPurge, Damage, HeadsDamage, LogHead, LogHeadMismatch, OnDamage, Placement, PreparedPurge,
    RandomFill, RepairedCopy, SealedBatch, SuperblockDamage, TornTail, Vote, WAL_SEGMENT_BYTES_DEFAULT, Wal,
    WalEntries, WalEntry, WalError, WalOptions, WalPurge, WalRange, WalRecovery, WalScrub, WalSpace,
};

/// The in-memory disk for tests.
#[cfg(feature = "testing")]
pub mod testing {
    pub use crate::disk::{Call, CallHook, CallKind, Crash, Fault, FaultKind, MemoryDisk, RottenBit, SECTOR_BYTES};
}

/// The parsers of what is on disk, one function each: takes bytes, asserts what must hold of anything that is understood,
/// and says whether it was.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::tenant::fuzzing::*;
    pub use crate::wal::fuzzing::*;
    pub use crate::wal::wal_heads;
}
