//! A small node: a write-ahead log and the tenant logs that it leads to, in the order of steps of the engine, on one
//! thread, so that the same seed makes the same calls to the disk.
//!
//! What stands in for the engine's view: a record's time is the index of its entry, so the logs themselves say how far
//! they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_crypto::{LinkedRecord, SecretBytes};
use craton_log::{
    Disk, LogHead, LogHeadMismatch, LogReader, SealedBatch, TenantLog, TenantLogError, TenantLogOptions, Vote, Wal,
    WalEntry, WalError, WalOptions,
};
use craton_proof::Frontier;
use craton_types::{Hash, LogIndex, NodeId, Offset, Record, Term};

use crate::workload::{Entry, TENANTS, random_fill, record, tenant_id};

/// Where the write-ahead log is.
pub(crate) const WAL_DIR: &str = "/node/wal";
const NODE: NodeId = NodeId::new(1);
const WRAPPING_KEY: [u8; 32] = [7; 32];

/// How many headers are read at once on the way back to where the write-ahead log begins.
const HEADERS_AT_ONCE: u64 = 32;

/// Where a tenant's log is.
pub(crate) fn tenant_dir(tenant: usize) -> PathBuf {
    Path::new("/node/tenants").join(tenant.to_string())
}

/// A fault of the node or its disk that a campaign must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Defect {
    /// The disk claims to have synced and did not.
    LyingDisk,
    /// Entries are acknowledged before they are written.
    EarlyAcknowledgement,
    /// The write-ahead log forgets entries before the tenant logs are synced.
    EarlyPurge,
    /// Entries that another leader does not have are left in the write-ahead log.
    SkippedCut,
    /// Records are read without being checked.
    UncheckedReads,
    /// A write-ahead log that lost entries passes for a whole one.
    UnmarkedDamage,
    /// Nobody compares the tenants' logs with what was noted before the write-ahead log forgot.
    IgnoredHeads,
    /// Clients read what the member at hand has, and take it for the newest.
    StaleReads,
}

/// How a node is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeOptions {
    pub(crate) wal_segment_bytes: u64,
    pub(crate) tenant_segment_bytes: u64,
    pub(crate) defect: Option<Defect>,
}

/// Why the node does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("write-ahead log: {0}")]
    Wal(#[from] WalError),
    /// The write-ahead log could not forget; nothing depends on that.
    #[error("purging the write-ahead log: {0}")]
    Purge(#[source] WalError),
    #[error("log of tenant {tenant}: {source}")]
    Log { tenant: usize, source: TenantLogError },
    /// A log holds records of entries that the write-ahead log never had.
    #[error("the log of tenant {tenant} has records of entry {index}, the write-ahead log ends at {last}")]
    Ahead { tenant: usize, index: u64, last: u64 },
    /// A log is not what it was when the write-ahead log forgot.
    #[error("the log of tenant {tenant} has lost records: {mismatch:?}")]
    RolledBack { tenant: usize, mismatch: LogHeadMismatch },
    #[error("an entry of the write-ahead log does not decode")]
    Entry,
}

impl NodeError {
    /// Whether the disk is full and nothing was appended.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Wal(WalError::NoSpace { .. }))
    }
}

/// A tenant's log and what the node knows about it.
struct Log {
    log: TenantLog,
    last_hash: Hash,
    next: u64,
}

pub(crate) struct Node {
    options: NodeOptions,
    wal: Wal,
    term: Term,
    logs: Vec<Log>,
    /// The last entry that was applied.
    applied: u64,
    /// The entries that the write-ahead log gave at opening.
    pub(crate) recovered: Vec<WalEntry>,
}

/// A batch between its encryption and its write.
pub(crate) struct Placed {
    batch: SealedBatch,
    /// The index of its first entry.
    index: u64,
}

impl Node {
    /// Opens the node and applies what the write-ahead log has. No two openings of one node have the same `seed`.
    pub(crate) fn open(disk: &Arc<dyn Disk>, options: NodeOptions, seed: u64) -> Result<Self, NodeError> {
        let mut logs = Vec::new();
        for tenant in 0..TENANTS {
            logs.push(open_log(disk, options, tenant)?);
        }
        let wal_options = WalOptions {
            segment_bytes: options.wal_segment_bytes,
            ..WalOptions::new(NODE, SecretBytes::new(WRAPPING_KEY))
        };
        let (mut wal, recovery) = Wal::open(Arc::clone(disk), Path::new(WAL_DIR), wal_options, random_fill(seed))?;
        let heads = match options.defect {
            Some(Defect::IgnoredHeads) => Vec::new(),
            _ => recovery.heads,
        };
        for (tenant, log) in logs.iter().enumerate() {
            let applied = last_index(&log.reader()).map_err(|source| NodeError::Log { tenant, source })?;
            check_head(&heads, tenant, log, applied >= recovery.purged_through)?;
        }
        // Every opening is a new term, and the node its own and only voter.
        let term = wal.vote().term.max(wal.last_term().unwrap_or_default());
        let term = begin_term(&mut wal, term)?;
        let last = wal.last_index().unwrap_or_default();
        let first = wal.first_index().unwrap_or(last.next());
        let recovered: Vec<WalEntry> = wal.entries_from(first)?.collect::<Result<_, _>>()?;
        let mut node = Self {
            options,
            wal,
            term,
            logs: Vec::new(),
            applied: first.get() - 1,
            recovered: Vec::new(),
        };
        for (tenant, log) in logs.into_iter().enumerate() {
            node.logs.push(rewind(log, tenant, first, last)?);
        }
        for entry in &recovered {
            let decoded = Entry::decode(&entry.payload).ok_or(NodeError::Entry)?;
            node.apply(entry.index.get(), &decoded)?;
        }
        for (tenant, log) in node.logs.iter().enumerate() {
            check_head(&heads, tenant, &log.log, false)?;
        }
        node.recovered = recovered;
        Ok(node)
    }

    /// Gives entries a place together and encrypts them.
    pub(crate) fn place(&mut self, entries: &[Arc<Entry>]) -> Result<Placed, NodeError> {
        let index = self.wal.next_index().get();
        let entries = (index..).zip(entries).map(|(index, entry)| WalEntry {
            index: LogIndex::new(index),
            term: self.term,
            payload: entry.encode(),
        });
        let entries: Vec<WalEntry> = entries.collect();
        let batch = self.wal.place(&entries)?.seal(&entries, Vec::new());
        Ok(Placed { batch, index })
    }

    /// Writes and syncs a placed entry. After [`NodeError::is_refusal`] everything placed is void.
    pub(crate) fn write(&mut self, placed: &Placed) -> Result<(), NodeError> {
        match placed.batch.write() {
            Ok(()) => {
                self.wal.note_written(&placed.batch);
                Ok(())
            }
            Err(error) => {
                if matches!(error, WalError::NoSpace { .. }) {
                    self.wal.take_back();
                }
                Err(error.into())
            }
        }
    }

    /// Applies an entry of a placed batch that was written.
    pub(crate) fn apply_placed(&mut self, placed: &Placed, at: usize, entry: &Entry) -> Result<(), NodeError> {
        self.apply(placed.index + at as u64, entry)
    }

    /// Learns that another leader was elected, who does not have the entries of a batch from the one at `kept` on: they
    /// are cut off.
    pub(crate) fn follow(&mut self, placed: &Placed, kept: usize) -> Result<(), NodeError> {
        self.term = begin_term(&mut self.wal, self.term)?;
        if self.options.defect != Some(Defect::SkippedCut) {
            self.wal.truncate_from(LogIndex::new(placed.index + kept as u64))?;
        }
        Ok(())
    }

    /// Forgets every entry, as when a snapshot was installed: the tenant logs are what it held. `skipped` indexes are
    /// never seen here.
    pub(crate) fn install_snapshot(&mut self, skipped: u64) -> Result<(), NodeError> {
        if !self.sync_logs()? {
            return Ok(());
        }
        let last = LogIndex::new(self.applied + skipped);
        if last == LogIndex::ZERO {
            return Ok(());
        }
        let heads = self.heads(last);
        match self.wal.reset((last, self.term), heads) {
            Ok(()) => {
                self.applied = last.get();
                Ok(())
            }
            Err(WalError::NoSpace { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn apply(&mut self, index: u64, entry: &Entry) -> Result<(), NodeError> {
        let mut touched = [false; TENANTS];
        for command in &entry.commands {
            let tenant = command.tenant;
            let log = self.logs.get_mut(tenant).ok_or(NodeError::Entry)?;
            let record = record(command, index, log.next, log.last_hash);
            let hash = log
                .log
                .append(&LinkedRecord::new(record))
                .map_err(|source| NodeError::Log { tenant, source })?;
            log.last_hash = hash;
            log.next += 1;
            touched[tenant] = true;
        }
        for (tenant, log) in self.logs.iter_mut().enumerate().filter(|(tenant, _)| touched[*tenant]) {
            log.log.publish().map_err(|source| NodeError::Log { tenant, source })?;
        }
        self.applied = index;
        self.wal.note_committed(LogIndex::new(index));
        Ok(())
    }

    /// Brings the tenant logs to the disk and lets the write-ahead log forget what they hold.
    pub(crate) fn flush(&mut self, exactly: bool) -> Result<(), NodeError> {
        if !self.sync_logs()? {
            return Ok(());
        }
        let through = LogIndex::new(self.applied);
        let heads = self.heads(through);
        let purged = match exactly {
            true => match self.wal.term_at(through) {
                Some(term) => self.wal.purge_exactly((through, term), heads),
                // It was forgotten before.
                None => Ok(()),
            },
            false => self.wal.purge(through, heads),
        };
        match purged {
            // As with the logs: the next flush tries again.
            Err(WalError::NoSpace { .. }) => Ok(()),
            purged => purged.map_err(NodeError::Purge),
        }
    }

    /// Whether the tenant logs are on the disk. On a full one it is tried again with the next flush.
    fn sync_logs(&mut self) -> Result<bool, NodeError> {
        if self.options.defect == Some(Defect::EarlyPurge) {
            return Ok(true);
        }
        for (tenant, log) in self.logs.iter_mut().enumerate() {
            match log.log.sync() {
                Ok(_) => {}
                Err(TenantLogError::NoSpace { .. }) => return Ok(false),
                Err(source) => return Err(NodeError::Log { tenant, source }),
            }
        }
        Ok(true)
    }

    fn heads(&self, index: LogIndex) -> Vec<LogHead> {
        let heads = (0..).zip(&self.logs).map(|(tenant, log)| LogHead {
            tenant: tenant_id(tenant),
            index,
            end: Offset::new(log.next),
            last_hash: log.last_hash,
        });
        heads.collect()
    }

    /// Reserves the next segment of the write-ahead log, as a thread of the engine does.
    pub(crate) fn reserve(&mut self) -> Result<(), NodeError> {
        match self.wal.space().reserve() {
            Ok(()) | Err(WalError::NoSpace { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the closed segments of the write-ahead log and the tenant logs through; whether all of it is whole.
    pub(crate) fn scrub(&self) -> bool {
        let is_whole = |log: &Log| {
            let reader = log.log.reader();
            // The headers are what proofs come from; derived files are mended first.
            if reader.mend_indexes().is_err() {
                return false;
            }
            let mut from = Offset::ZERO;
            while let Ok(step) = reader.scrub(from, u64::MAX) {
                if !step.damaged.is_empty() {
                    return false;
                }
                if step.next == from {
                    return true;
                }
                from = step.next;
            }
            false
        };
        self.wal.scrub().run().is_ok() && self.logs.iter().all(is_whole)
    }

    /// Ends the write-ahead log as a clean stop does.
    pub(crate) fn close(mut self) -> Result<(), NodeError> {
        match self.wal.mark_synced() {
            Ok(()) | Err(WalError::NoSpace { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The records of a tenant from an offset on.
    pub(crate) fn records(&self, tenant: usize, from: u64) -> Result<Vec<Record>, NodeError> {
        let reader = self.logs[tenant].log.reader();
        let records = reader.read_range(Offset::new(from), usize::MAX, u64::MAX);
        records.map_err(|source| NodeError::Log { tenant, source })
    }

    /// The tree of a tenant's log.
    pub(crate) fn tree(&self, tenant: usize) -> &Frontier {
        self.logs[tenant].log.tree()
    }
}

/// Votes for the node itself in the next term, and learns that a quorum did.
fn begin_term(wal: &mut Wal, term: Term) -> Result<Term, WalError> {
    let term = term.next();
    for committed in [false, true] {
        wal.record_vote(Vote {
            term,
            voted_for: NODE,
            committed,
        })?;
    }
    Ok(term)
}

/// The entry that the last record came from.
fn last_index(reader: &LogReader) -> Result<LogIndex, TenantLogError> {
    let Some(last) = reader.published().get().checked_sub(1) else {
        return Ok(LogIndex::ZERO);
    };
    let headers = reader.read_headers(Offset::new(last), 1)?;
    Ok(headers
        .first()
        .map_or(LogIndex::ZERO, |header| LogIndex::new(header.timestamp.get())))
}

/// Compares a log with what was noted of it.
fn check_head(heads: &[LogHead], tenant: usize, log: &TenantLog, may_be_shorter: bool) -> Result<(), NodeError> {
    let Some(head) = heads.iter().find(|head| head.tenant == tenant_id(tenant)) else {
        return Ok(());
    };
    let compared = head.compare(&log.reader(), may_be_shorter);
    compared
        .map_err(|source| NodeError::Log { tenant, source })?
        .map_err(|mismatch| NodeError::RolledBack { tenant, mismatch })
}

pub(crate) fn open_log(disk: &Arc<dyn Disk>, options: NodeOptions, tenant: usize) -> Result<TenantLog, NodeError> {
    let log_options = TenantLogOptions {
        segment_bytes: options.tenant_segment_bytes,
    };
    let dir = tenant_dir(tenant);
    TenantLog::open(Arc::clone(disk), &dir, tenant_id(tenant), log_options)
        .map_err(|source| NodeError::Log { tenant, source })
}

/// Goes back to the first record of what the write-ahead log gives again; appending that is comparing.
fn rewind(log: TenantLog, tenant: usize, first: LogIndex, last: LogIndex) -> Result<Log, NodeError> {
    let reader = log.reader();
    let mut end = log.next_offset().get();
    let mut last_hash = log.last_hash();
    loop {
        let from = end.saturating_sub(HEADERS_AT_ONCE);
        let count = usize::try_from(end - from).expect("few");
        let headers = reader.read_headers(Offset::new(from), count);
        let headers = headers.map_err(|source| NodeError::Log { tenant, source })?;
        for header in headers.iter().rev() {
            let index = header.timestamp.get();
            if index > last.get() {
                let last = last.get();
                return Err(NodeError::Ahead { tenant, index, last });
            }
            if index < first.get() {
                let next = end;
                return Ok(Log { log, last_hash, next });
            }
            last_hash = header.previous_hash;
            end -= 1;
        }
        if end == 0 {
            let (last_hash, next) = (Hash::default(), 0);
            return Ok(Log { log, last_hash, next });
        }
    }
}
