//! What the applier alone holds of a tenant: its state and the writing ends of its log and view.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use craton_crypto::{LinkedRecord, SecretBytes, SubjectKey};
use craton_kernel::{
    ApplyError, Command, Operation, RowReader, StreamWrite, SubjectKeyEffect, TenantState, ViewWrite, key_epoch_of,
    replay,
};
use craton_log::{Disk, LogHead, LogReader, SyncJob, SyncedDamage, TenantLog, TenantLogRecovery, Writeback};
use craton_projection::{Applied, Flush, Projection, ProjectionError, ProjectionOptions, RowVersion};
use craton_proof::HashReader;
use craton_types::planted::{Bug, is_planted};
use craton_types::{
    LogIndex, Offset, PrimaryKey, Record, Recovered, RecoveryAction, RecoveryArea, StreamHead, SubjectKeyId, TableId,
    TenantId, VersionedRow,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::disk_space::{DiskSpace, PatientFile};
use crate::epoch_keys::{EpochKeys, rotations};
use crate::keyring::Keyring;
use crate::log_mark::LogMark;
use crate::recoveries::Recoveries;
use crate::state::StateKeeper;
use crate::subject_keys::SubjectKeys;
use crate::tenant::{Head, Published, SharedTenant};
use crate::tenants::{KnownHeads, Resources, SYSTEM_TENANT, create_directory};
use crate::{EngineError, LogRolledBack};

/// Records that a rebuild reads at once.
const REBUILD_RECORDS_MAX: usize = 256;
/// Bytes that a rebuild reads at once; at least one record is read.
const REBUILD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A rebuild flushes whenever this many bytes of rows wait in memory.
pub(crate) const REBUILD_FLUSH_BYTES: usize = 32 * 1024 * 1024;

/// What a view's unflushed rows may take in memory. The applier holds batches back long before; this is room
/// for the largest one.
const VIEW_MEMORY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The writing side of a tenant.
pub(crate) struct TenantWriter {
    pub(crate) tenant: Arc<SharedTenant>,
    pub(crate) state: TenantState,
    /// The last consensus entry whose commands for this tenant are applied.
    pub(crate) applied: LogIndex,
    log: TenantLog,
    mark: Arc<Mutex<LogMark>>,
    keyring: Arc<Keyring>,
    space: Arc<DiskSpace>,
    recoveries: Arc<Recoveries>,
    /// What opening mended, until it is noted.
    pub(crate) recovered: Vec<Recovered>,
    /// The last consensus entry whose effects are on disk.
    flushed: LogIndex,
    /// One past the last record of changes.
    pub(crate) data_end: Offset,
}

/// The rows as the records so far left them, published or not.
pub(crate) struct CurrentRows<'a> {
    pub(crate) tenant: &'a SharedTenant,
    pub(crate) end: Offset,
}

impl RowReader for CurrentRows<'_> {
    fn row(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, ApplyError> {
        self.tenant
            .projection
            .get(table, key, self.end)
            .map_err(|source| ApplyError(Box::new(self.tenant.projection_error(source))))
    }

    fn stream(&self, name: &str) -> Result<Option<StreamHead>, ApplyError> {
        self.tenant
            .projection
            .stream(name)
            .map_err(|source| ApplyError(Box::new(self.tenant.projection_error(source))))
    }

    fn subject_key(&self, id: SubjectKeyId) -> Result<SubjectKey, ApplyError> {
        self.tenant
            .subject_keys
            .get_to_apply(id)
            .map_err(|source| ApplyError(Box::new(source)))
    }
}

impl TenantWriter {
    /// Opens a tenant's log and view, and brings the view up to what the log is known to hold. A view that is
    /// missing, damaged or not of this log is rebuilt.
    pub(crate) fn open(
        directory: &Path,
        tenant: TenantId,
        name: String,
        resources: &Resources,
    ) -> Result<Self, EngineError> {
        let Resources {
            disk,
            log_options,
            keyring,
            space,
            known_heads,
            recoveries,
            damage,
            ..
        } = resources;
        let is_system = tenant == SYSTEM_TENANT;
        create_directory(&**disk, directory)?;
        let on_damage = SyncedDamage {
            keep: damage.is_member(),
            // The write-ahead log has forgotten nothing of what follows.
            replaceable_from: known_heads.get(tenant).map_or(Offset::ZERO, |head| head.end),
        };
        let log_directory = directory.join("log");
        let log = TenantLog::open_with_damage(disk.clone(), &log_directory, tenant, *log_options, on_damage);
        let log = log.map_err(|source| EngineError::TenantLog {
            database: name.clone(),
            source,
        })?;
        for (offset, field) in &log.recovery().damaged {
            damage.note(&name, *offset, field);
        }
        let mark = Arc::new(Mutex::new(LogMark::open(disk.clone(), directory.join("log_mark"))?));
        let view_key = keyring.tenant_key(tenant, VIEW_KEY_INFO)?;
        let mut recovered = log_recoveries(&log);
        let view = ViewFile {
            disk: &**disk,
            path: directory.join(VIEW_FILE),
            space,
        };
        let had_view = view.exists()?;
        let (projection, discarded) = open_projection(&view, &name, &view_key)?;
        if discarded {
            recovered.push(view_rebuilt("it was damaged"));
        } else if !had_view && mark.lock().get().is_some() {
            recovered.push(view_rebuilt("it was missing"));
        }
        let saved = load_state(&projection, &name, tenant, is_system)?;
        let saved = saved.filter(|(state, _)| belongs_to(state, &log.reader()));
        let (projection, state, applied) = match saved {
            Some((state, applied)) => (projection, state, applied),
            None => {
                drop(projection);
                view.discard()?;
                recovered.push(view_rebuilt("it was not of this log"));
                let (projection, _) = open_projection(&view, &name, &view_key)?;
                (projection, TenantState::new(tenant, is_system), LogIndex::ZERO)
            }
        };
        let known = rotations(&projection).map_err(|source| EngineError::Projection {
            database: name.clone(),
            source,
        })?;
        let keys = EpochKeys::open(
            tenant,
            Arc::clone(keyring),
            known.iter().map(|(rotated, _)| rotated),
            &state,
        )?;
        let subjects_key = keyring.tenant_key(tenant, SUBJECTS_KEY_INFO)?;
        let subject_keys = SubjectKeys::open(resources, directory, &name, tenant, subjects_key)?;
        let head = ArcSwap::from_pointee(Head::of(&state, Offset::ZERO));
        let marked = marked(mark.lock().get(), known_heads.get(tenant), &log.reader());
        let marked_end = marked.map_or(Offset::ZERO, |(end, _)| end);
        // What a rebuild replays below, the tree reads from the log.
        let state_tree = StateKeeper::new(disk, directory, tenant, keyring, state.end.max(marked_end))?;
        let tenant = SharedTenant {
            id: tenant,
            name,
            keys,
            projection,
            log: log.reader(),
            head,
            published: watch::Sender::new(Published::default()),
            cosignatures_expected: Default::default(),
            state: state_tree,
            conflicts: Default::default(),
            subject_keys,
            erasure_gate: Default::default(),
            damage: Arc::clone(damage),
        };
        let data_end = state.end;
        let mut writer = Self {
            tenant: Arc::new(tenant),
            state,
            applied,
            log,
            mark,
            keyring: Arc::clone(keyring),
            space: Arc::clone(space),
            recoveries: Arc::clone(recoveries),
            recovered,
            flushed: applied,
            data_end,
        };
        if let Some((end, index)) = marked {
            writer.rebuild_to(end, index, known_heads)?;
        }
        known_heads.check(&writer.tenant, writer.applied)?;
        writer.tenant.subject_keys.check_count(writer.state.next_subject_key)?;
        writer.publish_head();
        Ok(writer)
    }

    /// Replays the records past the view up to `marked_end`, where the log is known to hold the effects of all entries up
    /// to `marked_index`. What lies beyond is applied again from the write-ahead log.
    fn rebuild_to(
        &mut self,
        marked_end: Offset,
        marked_index: LogIndex,
        known_heads: &KnownHeads,
    ) -> Result<(), EngineError> {
        if marked_end <= self.state.end {
            return Ok(());
        }
        tracing::info!(
            database = self.tenant.name,
            from = self.state.end.get(),
            to = marked_end.get(),
            "rebuilding the view from the log"
        );
        while self.state.end < marked_end {
            let records = self
                .tenant
                .log
                .read_range(self.state.end, REBUILD_RECORDS_MAX, REBUILD_BYTES_MAX)
                .map_err(|source| self.tenant.log_error(source))?;
            if records.is_empty() {
                return Err(self.log_too_short(marked_end, known_heads));
            }
            for record in records.iter().take_while(|record| record.header.offset < marked_end) {
                self.replay_record(record)?;
            }
            if self.tenant.projection.memory_bytes() > REBUILD_FLUSH_BYTES {
                self.flush_now(self.applied)?;
            }
        }
        self.applied = marked_index;
        self.flush_now(marked_index)
    }

    fn log_too_short(&self, expected_end: Offset, known_heads: &KnownHeads) -> EngineError {
        let head = known_heads.get(self.tenant.id);
        LogRolledBack {
            database: self.tenant.name.clone(),
            tenant: self.tenant.id,
            expected_end,
            expected_hash: head.filter(|head| head.end == expected_end).map(|head| head.last_hash),
            found_end: self.state.end,
            found_hash: self.state.last_hash,
        }
        .into()
    }

    /// Takes a record that another member's log has next, and what it changes. It is visible with [`Self::publish`].
    pub(crate) fn take_record(&mut self, record: &LinkedRecord) -> Result<(), EngineError> {
        let space = Arc::clone(&self.space);
        space.retry(EngineError::is_out_of_space, || self.append(record))?;
        let erased = self.replay_unpublished(record.record())?;
        if erased.is_empty() {
            return Ok(());
        }
        // Keys that this member does not have yet are brought in as erased ones.
        let known = self.tenant.subject_keys.count()?;
        for key in erased.into_iter().filter(|key| key.get() < known) {
            self.tenant.subject_keys.condemn(key)?;
        }
        Ok(())
    }

    fn replay_record(&mut self, record: &Record) -> Result<(), EngineError> {
        self.replay_unpublished(record)?;
        self.tenant
            .projection
            .publish(self.state.end)
            .map_err(|source| self.tenant.projection_error(source))
    }

    /// Replays a record; which keys of data subjects it erased.
    fn replay_unpublished(&mut self, record: &Record) -> Result<Vec<SubjectKeyId>, EngineError> {
        let tenant = Arc::clone(&self.tenant);
        let rows = CurrentRows {
            tenant: &tenant,
            end: self.state.end,
        };
        let key = |epoch| tenant.keys.get(epoch);
        let replayed = replay(&mut self.state, &rows, &key, record).map_err(|source| EngineError::Replay {
            database: tenant.name.clone(),
            source,
        })?;
        if record.header.kind.first_change().is_some() {
            self.data_end = self.state.end;
        }
        if let Some(rotated) = key_epoch_of(record) {
            tenant.keys.begin(&rotated)?;
        }
        self.store(record.header.offset, replayed.writes, replayed.stream)?;
        Ok(replayed.erased)
    }

    pub(crate) fn store(
        &self,
        version: Offset,
        writes: Vec<ViewWrite>,
        stream: Option<StreamWrite>,
    ) -> Result<(), EngineError> {
        let failed = |source| self.tenant.projection_error(source);
        if let Some(write) = stream {
            let StreamWrite {
                stream,
                new_name,
                sequence,
                offset,
            } = write;
            self.tenant
                .projection
                .append_to_stream(stream, new_name.as_deref(), sequence, offset)
                .map_err(failed)?;
        }
        if writes.is_empty() {
            return Ok(());
        }
        let rows = writes
            .into_iter()
            .map(|write| RowVersion {
                version,
                table: write.table,
                key: write.key,
                row: write.row,
            })
            .collect();
        self.tenant.projection.apply(rows).map_err(failed)
    }

    /// Stores the keys that a committed command brings, and its record. The state has changed already, so there is no
    /// way but forward: a full disk is waited for.
    pub(crate) fn store_record(&mut self, command: &Command, record: &LinkedRecord) -> Result<(), EngineError> {
        let space = Arc::clone(&self.space);
        space.retry(EngineError::is_out_of_space, || {
            self.store_keys(command, record.record())
        })?;
        space.retry(EngineError::is_out_of_space, || self.append(record))
    }

    fn append(&mut self, record: &LinkedRecord) -> Result<(), EngineError> {
        let appended = self.log.append(record);
        for repaired in self.log.take_repaired() {
            self.tenant.damage.clear(&self.tenant.name, repaired.offset);
            self.recoveries
                .note_repaired(self.tenant.id, repaired, "the write-ahead log");
        }
        appended.map(|_| ()).map_err(|source| self.tenant.log_error(source))
    }

    /// Stores the keys that a committed command brings. A flush waits for the writer, so no state that relies on a key
    /// reaches the disk before the key; until then the command is in the write-ahead log.
    fn store_keys(&self, command: &Command, record: &Record) -> Result<(), EngineError> {
        match &command.operation {
            Operation::CreateDatabase { database, keys } => self.keyring.install_tenant(database.tenant, keys)?,
            Operation::RotateKeys { data_key, .. } => {
                if let Some(new) = data_key {
                    self.keyring.install_data_key(self.tenant.id, new)?;
                }
                let rotated = key_epoch_of(record).expect("the kernel answers a rotation with its record");
                self.tenant.keys.begin(&rotated)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps the keys that a record created and condemns the one that it erased, before anybody sees the record.
    pub(crate) fn keep_subject_keys(&self, effects: Vec<SubjectKeyEffect>) -> Result<(), EngineError> {
        for effect in effects {
            match effect {
                SubjectKeyEffect::Created(key) => self.tenant.subject_keys.insert(key),
                SubjectKeyEffect::Erased(id) => self.tenant.subject_keys.condemn(id)?,
            }
        }
        Ok(())
    }

    /// Makes a batch visible: first the log, so that every visible row has its record, then the rows, then
    /// the head.
    pub(crate) fn publish(&mut self) -> Result<(), EngineError> {
        let space = Arc::clone(&self.space);
        space.retry(EngineError::is_out_of_space, || {
            self.log.publish().map_err(|source| self.tenant.log_error(source))
        })?;
        self.tenant
            .projection
            .publish(self.state.end)
            .map_err(|source| self.tenant.projection_error(source))?;
        self.publish_head();
        Ok(())
    }

    /// The next step of bringing the log to the disk, when it is worth it.
    pub(crate) fn begin_writeback(&mut self) -> Option<Writeback> {
        self.log.begin_writeback()
    }

    fn publish_head(&self) {
        self.tenant.publish(Head::of(&self.state, self.data_end));
    }

    /// The entry up to which nothing of this tenant can be lost; the highest one when all of it is on disk.
    pub(crate) fn persisted_index(&self) -> LogIndex {
        if self.flushed == self.applied {
            LogIndex::new(u64::MAX)
        } else {
            self.flushed
        }
    }

    /// How many records the view's file does not have.
    pub(crate) fn unflushed_records(&self) -> u64 {
        let flushed_end = self.tenant.projection.applied().map_or(0, |applied| applied.end.get());
        self.state.end.get() - flushed_end
    }

    /// Whether records are here whose data subjects' keys another member has not brought yet.
    pub(crate) fn waits_for_subject_keys(&self) -> Result<bool, EngineError> {
        Ok(self.tenant.subject_keys.count()? < self.state.next_subject_key)
    }

    /// Sets the log's buffer and the view's memory aside for the disk; `None` when there is nothing to flush. A view is
    /// never on disk without the keys that it needs, so what a snapshot brings waits for them.
    pub(crate) fn begin_flush(&mut self) -> Result<Option<TenantFlush>, EngineError> {
        if self.flushed == self.applied || self.waits_for_subject_keys()? {
            return Ok(None);
        }
        let log = self.log.begin_sync().map_err(|source| self.tenant.log_error(source))?;
        let applied = Applied {
            log_index: self.applied,
            end: self.state.end,
            hash: self.state.last_hash,
        };
        let view = self
            .tenant
            .projection
            .freeze(applied)
            .map_err(|source| self.tenant.projection_error(source))?;
        Ok(Some(TenantFlush {
            tenant: Arc::clone(&self.tenant),
            mark: Arc::clone(&self.mark),
            space: Arc::clone(&self.space),
            applied,
            log,
            view,
            state: self.state.to_bytes(),
            condemned: self.tenant.subject_keys.condemned(),
        }))
    }

    /// Notes that everything up to an entry is on disk.
    pub(crate) fn note_flushed(&mut self, index: LogIndex) {
        self.flushed = self.flushed.max(index);
    }

    fn flush_now(&mut self, index: LogIndex) -> Result<(), EngineError> {
        let applied = Applied {
            log_index: index,
            end: self.state.end,
            hash: self.state.last_hash,
        };
        self.tenant
            .projection
            .flush(applied, &self.state.to_bytes())
            .map_err(|source| self.tenant.projection_error(source))?;
        self.flushed = index;
        Ok(())
    }
}

/// A flush that was begun; it is finished without holding the writer.
pub(crate) struct TenantFlush {
    tenant: Arc<SharedTenant>,
    mark: Arc<Mutex<LogMark>>,
    space: Arc<DiskSpace>,
    applied: Applied,
    log: SyncJob,
    view: Flush,
    state: Vec<u8>,
    condemned: Vec<SubjectKeyId>,
}

impl TenantFlush {
    /// Syncs the log, writes the keys of new data subjects, moves the mark and writes the view, in this order, so that
    /// no view is ever ahead of its log. Then nothing is applied again under condemned keys, and they are destroyed.
    /// Returns the entry that is now on disk.
    pub(crate) fn finish(self) -> Result<LogIndex, EngineError> {
        if !is_planted(Bug::FlushWithoutLogSync) {
            self.log.run().map_err(|source| self.tenant.log_error(source))?;
        }
        if !is_planted(Bug::FlushWithoutSubjectKeys) {
            self.space
                .retry(EngineError::is_out_of_space, || self.tenant.subject_keys.flush())?;
        }
        self.space.retry(EngineError::is_out_of_space, || {
            self.mark.lock().set(self.applied.end, self.applied.log_index)
        })?;
        self.view
            .commit(&self.state)
            .map_err(|source| self.tenant.projection_error(source))?;
        self.tenant.subject_keys.destroy(&self.condemned)?;
        Ok(self.applied.log_index)
    }
}

/// Whether a saved state is one of this log: its last record is there, with the hash that the state has.
fn belongs_to(state: &TenantState, log: &LogReader) -> bool {
    match state.end.get().checked_sub(1) {
        None => true,
        Some(last) => log.hash(0, last).is_ok_and(|hash| hash == state.last_hash),
    }
}

/// How far the log is known to hold the effects of which entries: as the mark says, or as it was noted when the write-ahead
/// log last forgot something.
fn marked(mark: Option<(Offset, LogIndex)>, head: Option<&LogHead>, log: &LogReader) -> Option<(Offset, LogIndex)> {
    let is_whole = |head: &&LogHead| head.compare(log, false).is_ok_and(|compared| compared.is_ok());
    // What was set aside comes again from the write-ahead log.
    let mark = mark.filter(|(end, _)| *end <= log.published());
    mark.max(head.filter(is_whole).map(|head| (head.end, head.index)))
}

const VIEW_FILE: &str = "view.redb";
/// What the view's key is derived for.
const VIEW_KEY_INFO: &[u8] = b"projection store";
/// What the key is for that wraps what wraps the keys of data subjects.
const SUBJECTS_KEY_INFO: &[u8] = b"subject keys";

/// Where a tenant's view is.
struct ViewFile<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    space: &'a Arc<DiskSpace>,
}

impl ViewFile<'_> {
    fn exists(&self) -> Result<bool, EngineError> {
        self.disk.exists(&self.path).map_err(|source| self.error(source))
    }

    fn open(&self) -> io::Result<PatientFile> {
        Ok(PatientFile {
            file: self.disk.open_or_create(&self.path)?,
            space: Arc::clone(self.space),
        })
    }

    fn discard(&self) -> Result<(), EngineError> {
        let removed = self.disk.remove_if_exists(&self.path);
        removed.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> EngineError {
        EngineError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// Opens the view, and whether it had to be discarded first.
fn open_projection(view: &ViewFile<'_>, name: &str, key: &SecretBytes) -> Result<(Projection, bool), EngineError> {
    let options = ProjectionOptions {
        memory_bytes_max: VIEW_MEMORY_BYTES_MAX,
        ..ProjectionOptions::default()
    };
    let open = || {
        let file = view.open().map_err(ProjectionError::from_io)?;
        Projection::open(Arc::new(file), key, options)
    };
    match open() {
        Err(error) if error.is_rebuildable() => {
            tracing::warn!(database = name, %error, "the view is discarded and rebuilt");
            view.discard()?;
            open().map(|projection| (projection, true))
        }
        opened => opened.map(|projection| (projection, false)),
    }
    .map_err(|source| EngineError::Projection {
        database: name.to_owned(),
        source,
    })
}

/// What the opening of the tenant's log mended.
fn log_recoveries(log: &TenantLog) -> Vec<Recovered> {
    let TenantLogRecovery {
        torn, derived_again, ..
    } = log.recovery();
    let torn = torn.as_ref().map(|torn| Recovered {
        generation: 0,
        area: RecoveryArea::Log,
        file: torn.file_name.clone(),
        start: 0,
        end: torn.bytes,
        reason: format!("record {} was not whole: {}", torn.offset, torn.field),
        action: RecoveryAction::SetAside,
        node: None,
    });
    let derived = derived_again.then(|| Recovered {
        generation: 0,
        area: RecoveryArea::LogIndex,
        file: "*.index, *.hashes".to_owned(),
        start: 0,
        end: 0,
        reason: "a file was missing or damaged".to_owned(),
        action: RecoveryAction::Rebuilt,
        node: None,
    });
    torn.into_iter().chain(derived).collect()
}

fn view_rebuilt(reason: &str) -> Recovered {
    Recovered {
        generation: 0,
        area: RecoveryArea::View,
        file: VIEW_FILE.to_owned(),
        start: 0,
        end: 0,
        reason: reason.to_owned(),
        action: RecoveryAction::Rebuilt,
        node: None,
    }
}

/// The saved state and the entry it reaches; a new one when nothing was saved. `None` when it does not decode.
fn load_state(
    projection: &Projection,
    name: &str,
    tenant: TenantId,
    is_system: bool,
) -> Result<Option<(TenantState, LogIndex)>, EngineError> {
    let failed = |source: ProjectionError| EngineError::Projection {
        database: name.to_owned(),
        source,
    };
    let (Some(applied), Some(bytes)) = (projection.applied(), projection.state().map_err(failed)?) else {
        return Ok(Some((TenantState::new(tenant, is_system), LogIndex::ZERO)));
    };
    match TenantState::from_bytes(&bytes) {
        Ok(state) if state.tenant == tenant => Ok(Some((state, applied.log_index))),
        Ok(_) => Ok(None),
        Err(error) => {
            tracing::warn!(database = name, %error, "the saved state is discarded and rebuilt");
            Ok(None)
        }
    }
}
