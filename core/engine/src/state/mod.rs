//! The state tree of a tenant beside its log: kept up in the background, rebuilt from the log when it is lost.

mod changes;
mod feed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use craton_log::Disk;
use craton_projection::ProjectionError;
use craton_proof::{HashReader as _, StateCommitment};
use craton_state::{RowState, StateError, StateKeys, StateOptions, StateTree, StateVersion};
use craton_types::{Hash, Offset, Record, TenantId, Timestamp};
use parking_lot::Mutex;

use crate::EngineError;
use crate::keyring::{Keyring, KeyringError};
use crate::tenant::SharedTenant;
pub(crate) use changes::table_name_key;
use changes::{RecordEffect, effect_of};
pub(crate) use feed::Feed;
use feed::Item;

/// The rows after which a version is made while the log is read.
const SLICE_ROWS: usize = 100_000;
/// The most rows that wait for the checkpoint which says where their version ends. With more, one is made at once, and
/// that checkpoint's state cannot be proved.
const PENDING_ROWS_MAX: usize = 500_000;
/// The most records that one version takes in.
const SLICE_RECORDS: u64 = 200_000;
/// Records without changes of rows after which a version is written all the same, so that a restart need not read them.
const IDLE_RECORDS_MAX: u64 = 100_000;
/// Records that are read from the log at once.
const READ_RECORDS_MAX: usize = 256;
/// Bytes that are read from the log at once; at least one record is read.
const READ_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The state tree of a tenant.
pub(crate) struct StateKeeper {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    keys: StateKeys,
    /// What the applier says.
    pub(crate) feed: Feed,
    /// Opened when it is first needed.
    tree: Mutex<Option<Kept>>,
    /// Until when the tree is left alone.
    rests_until_ns: AtomicU64,
}

/// The tree, and what is known of the log beyond its newest version.
struct Kept {
    tree: Arc<StateTree>,
    /// The newest version as it is on disk.
    stored: StateVersion,
    /// No row changed between the newest version and this record.
    end: Offset,
    /// Checkpoints since the newest version: the size of their state, and where they are.
    checkpoints: Vec<(u64, Offset)>,
}

impl Kept {
    fn new(tree: StateTree) -> Result<Self, StateError> {
        let stored = tree.newest()?;
        Ok(Self {
            tree: Arc::new(tree),
            stored,
            end: Offset::new(stored.size),
            checkpoints: Vec::new(),
        })
    }

    fn commitment(&self) -> StateCommitment {
        self.tree.commitment(&StateVersion {
            size: self.end.get(),
            ..self.stored
        })
    }

    fn advance(&mut self, end: Offset, last_hash: Hash, rows: &[RowState]) -> Result<(), StateError> {
        let idle = end.get() - self.stored.size;
        if !rows.is_empty() || idle >= IDLE_RECORDS_MAX {
            self.stored = self.tree.advance(end.get(), last_hash, rows, &self.checkpoints)?;
            self.checkpoints.clear();
        }
        self.end = end;
        Ok(())
    }
}

impl StateKeeper {
    /// The tree beside a tenant's log. The applier tells of everything from `from` on.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        tenant: TenantId,
        keyring: &Keyring,
        from: Offset,
    ) -> Result<Self, KeyringError> {
        Ok(Self {
            disk: Arc::clone(disk),
            path: directory.join("state.redb"),
            keys: state_keys(tenant, keyring)?,
            feed: Feed::starting_at(from),
            tree: Mutex::default(),
            rests_until_ns: AtomicU64::new(0),
        })
    }

    /// Until when the background leaves the tree alone.
    pub(crate) fn rests_until(&self) -> Timestamp {
        Timestamp::new(self.rests_until_ns.load(Ordering::Relaxed))
    }

    /// Lets the background leave the tree alone for a while.
    pub(crate) fn rest(&self, until: Timestamp) {
        self.rests_until_ns.store(until.get(), Ordering::Relaxed);
    }

    /// The tree, for proofs.
    pub(crate) fn tree(&self, tenant: &SharedTenant) -> Result<Arc<StateTree>, EngineError> {
        Ok(Arc::clone(&self.kept(&mut self.tree.lock(), tenant)?.tree))
    }

    /// How many records the tree comes from; zero until it was needed.
    pub(crate) fn end(&self) -> Offset {
        self.tree.lock().as_ref().map_or(Offset::ZERO, |kept| kept.end)
    }

    /// What the next checkpoint can say about the rows: the tree as it is, or what the last checkpoint says when the
    /// tree is behind that.
    pub(crate) fn commitment(&self, tenant: &SharedTenant) -> Result<StateCommitment, EngineError> {
        let ours = {
            let mut kept = self.tree.lock();
            self.kept(&mut kept, tenant)?.commitment()
        };
        let Some(last) = tenant.head().state_checkpoint.filter(|last| last.size > ours.size) else {
            return Ok(ours);
        };
        let record = read(tenant, last.offset, 1)?;
        let commitment = record
            .first()
            .and_then(|record| StateCommitment::from_bytes(record.chunks.get(1)?).ok());
        commitment.ok_or(EngineError::RecordMissing {
            offset: last.offset.get(),
            end: tenant.head().end.get(),
        })
    }

    /// Brings the tree forward towards what is published, by one version at least and by a bounded number of rows.
    pub(crate) fn advance(&self, tenant: &SharedTenant) -> Result<(), EngineError> {
        let mut kept = self.tree.lock();
        let kept = self.kept(&mut kept, tenant)?;
        let start = kept.end;
        let end = tenant
            .head()
            .end
            .min(Offset::new(start.get().saturating_add(SLICE_RECORDS)));
        if start >= end {
            return Ok(());
        }
        match self.feed.take(start, end) {
            Some(items) => self.advance_by_feed(kept, tenant, items, end),
            None => self.advance_by_log(kept, tenant, end.min(self.feed.from())),
        }
    }

    fn advance_by_feed(
        &self,
        kept: &mut Kept,
        tenant: &SharedTenant,
        items: Vec<(Offset, Item)>,
        end: Offset,
    ) -> Result<(), EngineError> {
        let mut rows = Vec::with_capacity(items.len());
        for (offset, item) in items {
            match item {
                Item::Row(row) => rows.push(row),
                Item::Checkpoint(size) => kept.checkpoints.push((size, offset)),
                Item::Record => {
                    for record in read(tenant, offset, 1)? {
                        if let RecordEffect::Rows(changed) = effect(tenant, &record)? {
                            rows.extend(changed);
                        }
                    }
                }
            }
        }
        self.step(kept, tenant, end, &rows)
    }

    /// Reads the log up to `end`, making each version that a checkpoint there commits to, so that it can be proved.
    fn advance_by_log(&self, kept: &mut Kept, tenant: &SharedTenant, end: Offset) -> Result<(), EngineError> {
        let mut pending: Vec<(Offset, RowState)> = Vec::new();
        let mut next = kept.end;
        while next < end {
            let records = read(tenant, next, READ_RECORDS_MAX)?;
            for record in records.iter().take_while(|record| record.header.offset < end) {
                next = record.header.offset.next();
                match effect(tenant, record)? {
                    RecordEffect::Rows(rows) => {
                        pending.extend(rows.into_iter().map(|row| (record.header.offset, row)));
                    }
                    RecordEffect::Checkpoint(commitment) => {
                        let size = Offset::new(commitment.size);
                        if size > kept.end {
                            let rest = pending.split_off(pending.partition_point(|(offset, _)| *offset < size));
                            self.step(
                                kept,
                                tenant,
                                size,
                                &without_offsets(std::mem::replace(&mut pending, rest)),
                            )?;
                            self.compare(kept, tenant, &commitment)?;
                        }
                        kept.checkpoints.push((commitment.size, record.header.offset));
                        if kept.stored.size >= commitment.size && pending.len() >= SLICE_ROWS {
                            kept.checkpoints.pop();
                            return Ok(());
                        }
                    }
                    RecordEffect::Nothing => {}
                }
            }
            if records.is_empty() {
                break;
            }
            if pending.len() >= PENDING_ROWS_MAX {
                break;
            }
        }
        self.step(kept, tenant, next, &without_offsets(pending))
    }

    fn step(&self, kept: &mut Kept, tenant: &SharedTenant, end: Offset, rows: &[RowState]) -> Result<(), EngineError> {
        if end <= kept.end {
            return Ok(());
        }
        let hash = last_hash(tenant, end)?;
        kept.advance(end, hash, rows)
            .map_err(|source| tenant.state_error(source))
    }

    /// Notes when the log says another state than its records give.
    fn compare(&self, kept: &Kept, tenant: &SharedTenant, committed: &StateCommitment) -> Result<(), EngineError> {
        let found = kept.commitment();
        if found == *committed {
            return Ok(());
        }
        Err(EngineError::StateDiffers {
            database: tenant.name.clone(),
            size: committed.size,
            expected: committed.root,
            found: found.root,
        })
    }

    /// The tree, opened. One that is damaged or of another log is discarded, to be rebuilt.
    fn kept<'a>(&self, kept: &'a mut Option<Kept>, tenant: &SharedTenant) -> Result<&'a mut Kept, EngineError> {
        if kept.is_none() {
            *kept = Some(self.open(tenant)?);
        }
        Ok(kept.as_mut().expect("just opened"))
    }

    fn open(&self, tenant: &SharedTenant) -> Result<Kept, EngineError> {
        let open = || {
            let file = self.disk.open_or_create(&self.path);
            let file = file.map_err(|error| StateError::Store(ProjectionError::from_io(error)))?;
            StateTree::open(file, self.keys.clone(), StateOptions::default()).and_then(Kept::new)
        };
        let reason = match open() {
            Ok(kept) if belongs_to(&kept.stored, tenant)? => return Ok(kept),
            Ok(_) => "it is of another log".to_owned(),
            Err(error) if error.is_rebuildable() => crate::applier::chain(&error),
            Err(error) => return Err(tenant.state_error(error)),
        };
        tracing::warn!(
            database = tenant.name,
            reason,
            "the state tree is discarded and rebuilt"
        );
        self.disk
            .remove_if_exists(&self.path)
            .map_err(|source| EngineError::Io {
                path: self.path.clone(),
                source,
            })?;
        open().map_err(|source| tenant.state_error(source))
    }
}

/// Whether a version is one of this log: its last record is there, with the hash that the version has.
fn belongs_to(version: &StateVersion, tenant: &SharedTenant) -> Result<bool, EngineError> {
    let size = Offset::new(version.size);
    Ok(size <= tenant.head().end && last_hash(tenant, size)? == version.last_hash)
}

fn without_offsets(rows: Vec<(Offset, RowState)>) -> Vec<RowState> {
    rows.into_iter().map(|(_, row)| row).collect()
}

fn state_keys(tenant: TenantId, keyring: &Keyring) -> Result<StateKeys, KeyringError> {
    Ok(StateKeys {
        state: craton_crypto::StateKey::new(keyring.tenant_key(tenant, b"state tree")?),
        blinding: craton_crypto::StateBlindingKey::new(&keyring.tenant_key(tenant, b"state tree blinding")?),
        store: keyring.tenant_key(tenant, b"state tree store")?,
    })
}

fn effect(tenant: &SharedTenant, record: &Record) -> Result<RecordEffect, EngineError> {
    effect_of(record, &tenant.keys).map_err(|source| EngineError::Record {
        database: tenant.name.clone(),
        offset: record.header.offset.get(),
        source,
    })
}

fn read(tenant: &SharedTenant, offset: Offset, records_max: usize) -> Result<Vec<Record>, EngineError> {
    let records = tenant.log.read_range(offset, records_max, READ_BYTES_MAX);
    records.map_err(|source| tenant.log_error(source))
}

/// The hash of the last of the first `size` records.
fn last_hash(tenant: &SharedTenant, size: Offset) -> Result<Hash, EngineError> {
    match size.get().checked_sub(1) {
        None => Ok(Hash::ZERO),
        Some(last) => tenant.log.hash(0, last).map_err(|source| tenant.log_error(source)),
    }
}
