//! The node's tenants: opening, recovering and finding them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_consensus::Watch;
use craton_log::{Disk, LogHead, TenantLogOptions, WalRecovery};
use craton_types::{DatabaseDefinition, LogIndex, Offset, TenantId};
use parking_lot::{Mutex, RwLock};

use crate::damage::Damage;
use crate::disk_space::DiskSpace;
use crate::keyring::Keyring;
use crate::recoveries::Recoveries;
use crate::tenant::SharedTenant;
use crate::tenant_writer::TenantWriter;

use crate::{EngineError, LogRolledBack, Random};

/// The tenant that holds databases and users.
pub(crate) const SYSTEM_TENANT: TenantId = TenantId::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// The name of its database. It cannot be connected to: no user's database list may hold it.
pub(crate) const SYSTEM_DATABASE: &str = "system";

/// How long the tenants' logs were when the write-ahead log last forgot something.
pub(crate) struct KnownHeads {
    purged_through: LogIndex,
    heads: BTreeMap<TenantId, LogHead>,
}

impl KnownHeads {
    pub(crate) fn new(recovery: &WalRecovery) -> Self {
        Self {
            purged_through: recovery.purged_through,
            heads: recovery.heads.iter().map(|head| (head.tenant, *head)).collect(),
        }
    }

    pub(crate) fn get(&self, tenant: TenantId) -> Option<&LogHead> {
        self.heads.get(&tenant)
    }

    /// Refuses a tenant whose log is not what it was. It may be shorter when the write-ahead log still has everything
    /// after `applied`.
    pub(crate) fn check(&self, tenant: &SharedTenant, applied: LogIndex) -> Result<(), EngineError> {
        let head = self.get(tenant.id);
        head.map_or(Ok(()), |head| {
            Self::compare(head, tenant, applied >= self.purged_through)
        })
    }

    fn compare(head: &LogHead, tenant: &SharedTenant, may_be_shorter: bool) -> Result<(), EngineError> {
        let compared = head.compare(&tenant.log, may_be_shorter);
        let compared = compared.map_err(|source| tenant.log_error(source))?;
        compared.map_err(|mismatch| {
            let rolled_back = LogRolledBack {
                database: tenant.name.clone(),
                tenant: tenant.id,
                expected_end: mismatch.expected.end,
                expected_hash: Some(mismatch.expected.last_hash),
                found_end: mismatch.found_end,
                found_hash: mismatch.found_hash,
            };
            rolled_back.into()
        })
    }
}

/// What tenants are opened with.
pub(crate) struct Resources {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log_options: TenantLogOptions,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) space: Arc<DiskSpace>,
    pub(crate) recoveries: Arc<Recoveries>,
    pub(crate) damage: Arc<Damage>,
    pub(crate) known_heads: KnownHeads,
}

/// Every open tenant.
pub(crate) struct Tenants {
    directory: PathBuf,
    resources: Resources,
    system: Arc<SharedTenant>,
    by_name: RwLock<BTreeMap<String, Arc<SharedTenant>>>,
    writers: RwLock<BTreeMap<TenantId, Arc<Mutex<TenantWriter>>>>,
    applied: Watch<LogIndex>,
    /// The tenants whose keys were drawn since the node was opened.
    fresh: RwLock<HashSet<TenantId>>,
}

impl Tenants {
    /// Opens the system tenant and every database that its saved state names.
    pub(crate) fn open_all(directory: PathBuf, resources: Resources) -> Result<Self, EngineError> {
        let system_directory = directory.join(SYSTEM_TENANT.to_string());
        let name = SYSTEM_DATABASE.to_owned();
        let mut writer = TenantWriter::open(&system_directory, SYSTEM_TENANT, name, &resources)?;
        note_all(&resources.recoveries, &mut writer);
        let databases: Vec<_> = writer.state.databases.values().cloned().collect();
        let tenants = Self {
            directory,
            resources,
            system: Arc::clone(&writer.tenant),
            by_name: RwLock::default(),
            writers: RwLock::new(BTreeMap::from([(SYSTEM_TENANT, Arc::new(Mutex::new(writer)))])),
            applied: Watch::new(LogIndex::ZERO),
            fresh: RwLock::default(),
        };
        for database in &databases {
            tenants.open(database)?;
        }
        tenants.set_applied_index(tenants.oldest_applied());
        Ok(tenants)
    }

    /// Opens a database's tenant, creating its files when they are missing.
    pub(crate) fn open(&self, database: &DatabaseDefinition) -> Result<(), EngineError> {
        if self.by_name.read().contains_key(&database.name) {
            return Ok(());
        }
        let directory = self.directory.join(database.tenant.to_string());
        let mut writer = TenantWriter::open(&directory, database.tenant, database.name.clone(), &self.resources)?;
        note_all(&self.resources.recoveries, &mut writer);
        let tenant = Arc::clone(&writer.tenant);
        self.writers.write().insert(tenant.id, Arc::new(Mutex::new(writer)));
        self.by_name.write().insert(database.name.clone(), tenant);
        Ok(())
    }

    /// Notes that a tenant's keys were drawn since the node was opened.
    pub(crate) fn note_fresh(&self, tenant: TenantId) {
        self.fresh.write().insert(tenant);
    }

    /// Whether a tenant's keys were drawn since the node was opened.
    pub(crate) fn is_fresh(&self, tenant: TenantId) -> bool {
        self.fresh.read().contains(&tenant)
    }

    pub(crate) fn system(&self) -> &Arc<SharedTenant> {
        &self.system
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<SharedTenant>> {
        self.by_name.read().get(name).cloned()
    }

    /// Every database's tenant, in the order of names; without the system tenant.
    pub(crate) fn databases(&self) -> Vec<Arc<SharedTenant>> {
        self.by_name.read().values().cloned().collect()
    }

    /// Tells everybody who follows a log that nothing more will come.
    pub(crate) fn close(&self) {
        for tenant in self.databases() {
            tenant.close();
        }
    }

    pub(crate) fn writer(&self, tenant: TenantId) -> Option<Arc<Mutex<TenantWriter>>> {
        self.writers.read().get(&tenant).cloned()
    }

    pub(crate) fn writers(&self) -> Vec<Arc<Mutex<TenantWriter>>> {
        self.writers.read().values().cloned().collect()
    }

    /// The last consensus entry that was applied.
    pub(crate) fn applied_index(&self) -> LogIndex {
        self.applied.get()
    }

    /// For waiting until an entry is applied.
    pub(crate) fn applied_watch(&self) -> Watch<LogIndex> {
        self.applied.clone()
    }

    pub(crate) fn set_applied_index(&self, index: LogIndex) {
        self.applied.modify(|applied| {
            let is_newer = index > *applied;
            *applied = index.max(*applied);
            is_newer
        });
    }

    /// Takes note that every tenant has the effects of all entries up to an index, which came otherwise than as entries.
    pub(crate) fn skip_to(&self, index: LogIndex) {
        for writer in self.writers() {
            let mut writer = writer.lock();
            writer.applied = writer.applied.max(index);
        }
        self.set_applied_index(index);
    }

    /// Opens a tenant that the system tenant knows.
    pub(crate) fn open_listed(&self, tenant: TenantId) -> Result<(), EngineError> {
        if self.writer(tenant).is_some() {
            return Ok(());
        }
        let system = self.writer(SYSTEM_TENANT).expect("the system tenant is open");
        let databases = system.lock().state.databases.clone();
        let database = databases.values().find(|database| database.tenant == tenant);
        let database = database.ok_or(EngineError::TenantMissing {
            tenant,
            end: Offset::ZERO,
        })?;
        self.open(database)
    }

    /// How far every tenant's log and view are on disk.
    pub(crate) fn flushed_heads(&self) -> Vec<LogHead> {
        let writers = self.writers();
        let heads = writers.iter().filter_map(|writer| {
            let tenant = Arc::clone(&writer.lock().tenant);
            let applied = tenant.projection.applied()?;
            Some(LogHead {
                tenant: tenant.id,
                index: applied.log_index,
                end: applied.end,
                last_hash: applied.hash,
            })
        });
        heads.collect()
    }

    /// Refuses tenants whose logs are not what they were when the write-ahead log last forgot something. To be called when
    /// everything was applied that it still has.
    pub(crate) fn check_heads(&self) -> Result<(), EngineError> {
        self.resources
            .known_heads
            .heads
            .values()
            .try_for_each(|head| match self.writer(head.tenant) {
                Some(writer) => KnownHeads::compare(head, &writer.lock().tenant, false),
                None => Err(EngineError::TenantMissing {
                    tenant: head.tenant,
                    end: head.end,
                }),
            })
    }

    /// The newest entry that is in any tenant's view or log on disk.
    pub(crate) fn newest_applied(&self) -> LogIndex {
        let writers = self.writers();
        let applied = writers.iter().map(|writer| writer.lock().applied);
        applied.max().unwrap_or_default()
    }

    /// The oldest entry up to which every tenant's views are on disk.
    pub(crate) fn oldest_applied(&self) -> LogIndex {
        self.writers()
            .iter()
            .map(|writer| writer.lock().applied)
            .min()
            .unwrap_or_default()
    }
}

fn note_all(recoveries: &Recoveries, writer: &mut TenantWriter) {
    for recovered in std::mem::take(&mut writer.recovered) {
        recoveries.note(writer.tenant.id, recovered);
    }
}

/// Creates a directory and its parents.
pub(crate) fn create_directory(disk: &dyn Disk, path: &Path) -> Result<(), EngineError> {
    disk.create_dir(path).map_err(|source| EngineError::Io {
        path: path.to_owned(),
        source,
    })
}
