//! Bugs that are planted on purpose, so that the simulator shows that it would find them.
//!
//! Without the feature `planted-bugs` none can be planted, and every question whether one is answers no at compile time.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A bug that can be planted. Each is asked for at one place of the code, with [`is_planted`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Bug {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

bugs! {
    /// The write-ahead log does not sync a batch before it says that it is durable.
    AcknowledgeBeforeSync = "acknowledge-before-sync",
    /// A sync of the write-ahead log that failed is called again, and believed.
    RetryFailedSync = "retry-failed-sync",
    /// The write-ahead log takes damage for an interrupted write wherever it is.
    TruncateOnDamage = "truncate-on-damage",
    /// A new segment of the write-ahead log gets its name without a sync of the directory.
    SkipDirectorySync = "skip-directory-sync",
    /// An entry that met a full disk is handed out as if it were durable.
    AcknowledgeOnFullDisk = "acknowledge-on-full-disk",
    /// The write-ahead log forgets what is applied and not on disk.
    PurgeBeforeFlush = "purge-before-flush",
    /// The last entry of the write-ahead log is not applied at a start.
    SkipLastRecovered = "skip-last-recovered",
    /// An entry that a tenant has on disk is applied again at a start.
    ApplyAgain = "apply-again",
    /// The commands of an entry are applied in another order by the node that proposed it.
    ApplyOutOfOrder = "apply-out-of-order",
    /// A flush writes the view without a sync of the log before it.
    FlushWithoutLogSync = "flush-without-log-sync",
    /// A flush does not write where the records of streams are.
    FlushWithoutStreams = "flush-without-streams",
    /// A flush does not write the keys of new data subjects.
    FlushWithoutSubjectKeys = "flush-without-subject-keys",
    /// A flush leaves some rows out.
    FlushWithoutRows = "flush-without-rows",
    /// A tenant remembers the idempotency ids of its last two records only.
    ForgetIdempotencyIds = "forget-idempotency-ids",
    /// A transaction is applied without a look at the versions that its client saw.
    SkipVersionCheck = "skip-version-check",
    /// Of a transaction that writes three rows, the last one is left out.
    HalfTransaction = "half-transaction",
    /// A checkpoint is signed over another tree.
    CheckpointOfAnotherTree = "checkpoint-of-another-tree",
    /// A record names an earlier record as the one before it.
    SkipPreviousHash = "skip-previous-hash",
    /// The key of an erased data subject stays in its files.
    KeepErasedKey = "keep-erased-key",
    /// The time of a record is the proposer's, however it compares with the last record's.
    TimeGoesBack = "time-goes-back",
    /// A member does not write down whom it gave its vote.
    ForgetVote = "forget-vote",
    /// A member votes for a candidate whose log lacks what its own has.
    VoteForShorterLog = "vote-for-shorter-log",
    /// A leader that hears of a newer one takes that for an answer that its entries are there.
    IgnoreNewerLeader = "ignore-newer-leader",
    /// A member says that it has entries which it has not written.
    AcknowledgeUnwritten = "acknowledge-unwritten",
    /// A leader takes a member that does not answer for one that has everything.
    AcknowledgeBeforeQuorum = "acknowledge-before-quorum",
    /// A member applies entries when it gets them.
    ApplyBeforeCommit = "apply-before-commit",
    /// A member that starts applies entries that are not known to be committed.
    RecoverUncommitted = "recover-uncommitted",
    /// A member that starts drops the last committed entry of its log.
    TruncateCommitted = "truncate-committed",
    /// A leader answers linearizable reads without asking whether it still leads.
    LeaseRead = "lease-read",
    /// A member answers linearizable reads before it has applied what they must see.
    ReadBeforeApply = "read-before-apply",
    /// A command that was sent to a leader without an answer is sent again under a new idempotency id.
    RetryWithNewId = "retry-with-new-id",
    /// A command without an idempotency id that was sent to a leader without an answer is sent again.
    RetryWithoutId = "retry-without-id",
    /// A replay of records, as of those that a snapshot brings, leaves their idempotency ids out.
    SnapshotWithoutIds = "snapshot-without-ids",
    /// The last tenant of a snapshot is not brought in.
    SnapshotWithoutTenant = "snapshot-without-tenant",
    /// The write-ahead log goes on after a snapshot that is not on disk.
    SnapshotWithoutFlush = "snapshot-without-flush",
    /// The records of a snapshot are taken without a look at their hashes.
    SnapshotUnverified = "snapshot-unverified",
}

impl Bug {
    /// Those that only members of a cluster have.
    #[must_use]
    pub const fn is_of_cluster(self) -> bool {
        self as u8 >= Self::ForgetVote as u8
    }

    /// A bug by its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    /// One more than the planted bug's number; zero for none.
    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants a bug in this process, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8 + 1), Ordering::SeqCst);
    }

    /// Whether a bug is planted.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8 + 1
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::{is_planted, plant};

/// Whether a bug is planted: none is.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
#[inline(always)]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
