//! The node: its threads, its tenants and its users.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use craton_consensus::{Consensus, ConsensusError, SingleNode, interrupted_install};
use craton_crypto::{FileMasterKey, MasterKeyProvider, SecretBytes, SigningKey, sha256};
use craton_kernel::{Command, Operation, Refusal};
use craton_log::{Disk, DiskLock, OnDamage, RealDisk, Wal, WalOptions, WalRecovery};
use craton_proof::{KeyName, SignerKey};
use craton_types::{
    ActorId, CorrelationId, DatabaseDefinition, DatabaseName, Form, Format, IdempotencyId, LogIndex, NodeId,
    RecoveryArea, Region, TenantId, UserDefinition,
};
use parking_lot::Mutex;

use crate::applier::Applier;
use crate::background::Background;
use crate::checkpointer::Checkpointer;
use crate::clock::random_array;
use crate::cluster::{Cluster, EngineMachine, Instance, Instances, Member, introduce};
use crate::damage::Damage;
use crate::epoch_starts::EpochStarts;
use crate::flusher::{Closing, Flusher};
use crate::format::FormatFile;
use crate::health::Health;
use crate::keyring::{Keyring, Opened as OpenedKeyring};
use crate::proposer::{Forming, LogUse, Proposed, Proposer, ProposerCounters, WaitingEntries};
use crate::queue::{ProposalQueue, QueueUse};
use crate::recoveries::Recoveries;
use crate::repair::Repair;
use crate::scrub::{ScrubOptions, ScrubStatus, Scrubbed, Scrubber};
use crate::tenant::SharedTenant;
use crate::tenants::{KnownHeads, Resources, SYSTEM_DATABASE, SYSTEM_TENANT, Tenants, create_directory};
use crate::traces::Traces;
use crate::writeback::WritebackQueue;
use crate::{Clock, Commit, EngineError, Options, Random, Session, SyncPolicy, Tenant, Wait};

/// How often it is looked whether the proposer has ended.
const CLOSE_POLL: Duration = Duration::from_millis(1);
/// The number of a node that has no others.
const LONE_NODE: NodeId = NodeId::new(1);

/// An open data directory: tenants, each with a log of its own, and the threads that serve them. Cloning gives
/// another handle; when the last one, and the last tenant, session and subscription of it, is dropped, the node is closed.
///
/// ```
/// use craton_engine::{Append, Craton, StreamSequence, Wait};
///
/// # let folder = tempfile::tempdir()?;
/// # let directory = folder.path().join("ledger");
/// let craton = Craton::open(&directory)?;
/// let clinic = craton.open_tenant("clinic_a").wait()?;
/// let commit = clinic.append(Append::new("patient-42", ["admitted"])).wait()?;
/// assert_eq!(clinic.read_stream("patient-42", StreamSequence::ZERO, 10)?[0].events, [b"admitted"]);
///
/// // The receipt proves the event to anybody who has the log's key, without this program.
/// let receipt = clinic.receipt(commit.offset, &|_| true).wait()?;
/// let key = clinic.log_key().parse()?;
/// assert_eq!(craton_proof::Receipt::verify(receipt.as_bytes(), &key)?.record_hash, commit.record_hash);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Craton(pub(crate) Arc<Inner>);

/// What databases and sessions need of the node.
pub(crate) struct Node {
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) health: Arc<Health>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) closing: Arc<Closing>,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) region: Option<Region>,
    pub(crate) format: Arc<Format>,
    signing: SigningKey,
    origin: String,
}

pub(crate) struct Inner {
    pub(crate) opened: Opened,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// The key that signs a tenant's checkpoints; its name is the log's origin.
    pub(crate) fn signer(&self, tenant: TenantId) -> SignerKey {
        let name = KeyName::parse(&format!("{}/{tenant}", self.origin)).expect("the origin was checked when opened");
        SignerKey::new(name, self.signing.clone())
    }

    /// Proposes an operation; completes when it is durable and applied.
    pub(crate) fn propose(&self, request: Request, operation: Operation) -> Proposed {
        let Request {
            tenant,
            actor,
            correlation_id,
            idempotency_id,
        } = request;
        if operation.places() && !self.format.writes(Form::Placement) {
            return Proposed::failed(EngineError::FormatNotActive {
                needed: Form::Placement.since(),
                active: self.format.active(),
            });
        }
        let command = Command {
            tenant,
            actor,
            correlation_id,
            idempotency_id,
            operation,
        };
        self.proposer.propose(command, self.cluster.as_ref())
    }

    /// Waits until this node has applied everything that was acknowledged anywhere in its cluster before now.
    pub(crate) async fn catch_up(&self) -> Result<(), EngineError> {
        match &self.cluster {
            None => Ok(()),
            Some(cluster) => cluster.catch_up().await.unwrap_or(Err(EngineError::NotLeader)),
        }
    }

    /// Waits until this node has applied an entry.
    pub(crate) async fn wait_applied(&self, index: LogIndex) -> Result<(), EngineError> {
        match &self.cluster {
            Some(cluster) if self.tenants.applied_index() < index => cluster
                .wait_until_applied(index)
                .await
                .unwrap_or(Err(EngineError::NotLeader)),
            _ => Ok(()),
        }
    }

    /// Whether this node does what one node of the cluster does for all.
    pub(crate) fn leads(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.leads())
    }
}

/// Who asks, for whom.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) tenant: TenantId,
    pub(crate) actor: ActorId,
    pub(crate) correlation_id: CorrelationId,
    pub(crate) idempotency_id: IdempotencyId,
}

/// What a node tells about itself.
#[derive(Clone, Debug)]
pub struct EngineStatus {
    /// Each tenant.
    pub databases: Vec<DatabaseStatus>,
    /// How the write-ahead log was used since the node was opened.
    pub log_use: LogUse,
    /// What reading the logs through in the background found.
    pub scrub: ScrubStatus,
    /// Why nothing new can be written, if so: the disk is full. Reads go on, and writes when there is space again.
    pub read_only_reason: Option<&'static str>,
    /// Why the node stopped, if it did.
    pub stop_reason: Option<String>,
}

/// A database in [`EngineStatus`].
#[derive(Clone, Debug)]
pub struct DatabaseStatus {
    /// Its name.
    pub name: String,
    /// Records in its log.
    pub records: u64,
    /// Records that its last checkpoint covers.
    pub checkpoint_size: u64,
    /// The verifier key of its log.
    pub log_key: String,
}

impl Craton {
    /// Opens a data directory, creating it when it is new, with a master key in a file of mode 0600 beside it; see
    /// [`Options::open`]. Blocks.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, EngineError> {
        Self::options().open(directory)
    }

    /// Whether a node was ever opened in a directory.
    #[must_use]
    pub fn exists(directory: &Path) -> bool {
        Keyring::exists(&RealDisk, directory)
    }

    /// How to open a data directory otherwise.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) fn open_with(data_dir: PathBuf, options: Options) -> Result<Self, EngineError> {
        let opened = Opened::open(data_dir, options, Background::Threads, &mut |wal, applied| {
            Ok(Arc::new(SingleNode::new(wal, applied)?))
        })?;
        let is_alone = opened.node.cluster.is_none();
        let (checkpointer, scrubber) = (opened.checkpointer(), opened.scrubber());
        let proposer = Arc::clone(&opened.proposer);
        let applier = Arc::clone(&opened.applier);
        let writebacks = Arc::clone(&opened.writebacks);
        let flusher = Arc::clone(&opened.flusher);
        let threads = vec![
            spawn("craton-propose", move || proposer.run())?,
            spawn("craton-apply", move || applier.run())?,
            spawn("craton-writeback", move || writebacks.run())?,
            spawn("craton-flush", move || flusher.run())?,
            spawn("craton-checkpoint", move || checkpointer.run())?,
            spawn("craton-scrub", move || scrubber.run())?,
        ];
        let craton = opened.craton(threads);
        if is_alone {
            craton.finish_erasures().wait()?;
        }
        Ok(craton)
    }

    /// Finishes what was left of erasures when the node stopped.
    pub(crate) async fn finish_erasures(&self) -> Result<(), EngineError> {
        for tenant in self.0.opened.node.tenants.databases() {
            let condemned = tenant.subject_keys.condemned();
            if !condemned.is_empty() {
                tracing::info!(
                    database = tenant.name,
                    keys = condemned.len(),
                    "finishing interrupted erasures"
                );
                self.handle(tenant).remove_traces(&condemned).await?;
            }
        }
        Ok(())
    }

    /// A tenant by name.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<Tenant> {
        let tenant = self.0.opened.node.tenants.by_name(name)?;
        Some(self.handle(tenant))
    }

    pub(crate) fn handle(&self, tenant: Arc<SharedTenant>) -> Tenant {
        Tenant {
            node: Arc::clone(&self.0.opened.node),
            tenant,
            _craton: self.clone(),
        }
    }

    /// The names of all tenants, in order.
    #[must_use]
    pub fn tenants(&self) -> Vec<String> {
        self.0
            .opened
            .node
            .tenants
            .databases()
            .iter()
            .map(|tenant| tenant.name.clone())
            .collect()
    }

    /// A tenant by name; created, with keys and a log of its own, when there is none. SQL clients see it as a
    /// database of this name.
    ///
    /// # Errors
    /// [`EngineError::DatabaseName`] and [`EngineError::DatabaseReserved`] for a name that no tenant can have, and when
    /// the command could not be committed.
    pub async fn open_tenant(&self, name: &str) -> Result<Tenant, EngineError> {
        if let Some(tenant) = self.tenant(name) {
            return Ok(tenant);
        }
        let name = DatabaseName::parse(name)?;
        if name.as_str() == SYSTEM_DATABASE {
            return Err(EngineError::DatabaseReserved { name: name.to_string() });
        }
        let random = self.0.opened.node.random.as_ref();
        let tenant = TenantId::new(random_array(random));
        let operation = Operation::CreateDatabase {
            database: DatabaseDefinition {
                name: name.to_string(),
                tenant,
            },
            keys: self.0.opened.node.keyring.draw_tenant(tenant),
        };
        match self.propose_to_system(ActorId::NIL, operation).await {
            // Somebody else may have been quicker, which serves as well.
            Ok(_) | Err(EngineError::Refused(Refusal::DatabaseExists { .. })) => {
                let name = name.to_string();
                self.tenant(&name).ok_or(EngineError::DatabaseMissing { name })
            }
            Err(error) => Err(error),
        }
    }

    /// A user by name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<UserDefinition> {
        self.0.opened.node.tenants.system().head().users.get(name).cloned()
    }

    /// Creates or changes a user. A nil actor id keeps the user's own, or draws one for a new user. Whether
    /// anything changed.
    ///
    /// # Errors
    /// When the command could not be committed.
    pub async fn put_user(&self, mut user: UserDefinition, actor: ActorId) -> Result<bool, EngineError> {
        let existing = self.user(&user.name);
        if user.actor == ActorId::NIL {
            user.actor = match &existing {
                Some(existing) => existing.actor,
                None => ActorId::new(random_array(self.0.opened.node.random.as_ref())),
            };
        }
        if existing.as_ref() == Some(&user) {
            return Ok(false);
        }
        self.propose_to_system(actor, Operation::PutUser(user)).await?;
        Ok(true)
    }

    /// Removes a user. Whether there was one.
    ///
    /// # Errors
    /// When the command could not be committed.
    pub async fn drop_user(&self, name: &str, actor: ActorId) -> Result<bool, EngineError> {
        match self
            .propose_to_system(actor, Operation::DropUser { name: name.to_owned() })
            .await
        {
            Ok(_) => Ok(true),
            Err(EngineError::Refused(Refusal::UserMissing { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A secret of this node for the purpose named by `info`: the same at every opening, whatever key is rotated.
    #[must_use]
    pub fn derive_secret(&self, info: &str) -> SecretBytes {
        self.0.opened.node.keyring.derive(info)
    }

    pub(crate) async fn propose_to_system(&self, actor: ActorId, operation: Operation) -> Result<Commit, EngineError> {
        let node = &self.0.opened.node;
        let correlation_id = CorrelationId::new(random_array(node.random.as_ref()));
        let request = Request {
            tenant: SYSTEM_TENANT,
            actor,
            correlation_id,
            idempotency_id: IdempotencyId::NIL,
        };
        Commit::from_outcome(node.propose(request, operation).await?)
    }

    /// Opens a SQL session for a user who has proved who they are.
    ///
    /// # Errors
    /// When there is no such database, or the user may not use it.
    pub fn open_session(&self, database: &str, user: &UserDefinition) -> Result<Session, EngineError> {
        let database = self.tenant(database).ok_or_else(|| EngineError::DatabaseMissing {
            name: database.to_owned(),
        })?;
        if !user.databases.is_empty() && !user.databases.iter().any(|allowed| allowed == database.name()) {
            return Err(EngineError::DatabaseDenied {
                user: user.name.clone(),
                database: database.name().to_owned(),
            });
        }
        Ok(Session::new(database, user))
    }

    /// What the node tells about itself.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        let node = &self.0.opened.node;
        let databases = node
            .tenants
            .databases()
            .into_iter()
            .map(|tenant| {
                let head = tenant.head();
                let tenant = self.handle(tenant);
                DatabaseStatus {
                    name: tenant.name().to_owned(),
                    records: head.end.get(),
                    checkpoint_size: head.checkpoint_size,
                    log_key: tenant.log_key(),
                }
            })
            .collect();
        EngineStatus {
            databases,
            log_use: node.proposer.counters.read(),
            scrub: self.scrub_status(),
            read_only_reason: self.read_only_reason(),
            stop_reason: node.health.stop_reason().map(str::to_owned),
        }
    }

    /// The last entry that was applied here.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.0.opened.node.tenants.applied_index()
    }

    /// Whether this node does what one node of a cluster does for all. A node alone does.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.0.opened.node.leads()
    }

    /// The node as a member of its cluster, if it is one.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        let cluster = self.0.opened.node.cluster.as_ref()?;
        Some(Member {
            replicated: Arc::clone(&cluster.replicated),
        })
    }

    /// How many commands wait for an entry, and how many may.
    #[must_use]
    pub fn queue_use(&self) -> QueueUse {
        self.0.opened.proposer.queue.queue_use()
    }

    /// What reading the logs through in the background found.
    #[must_use]
    pub fn scrub_status(&self) -> ScrubStatus {
        self.0.opened.scrubbed.lock().status(&self.0.opened.damage)
    }

    /// Why nothing new can be written, if so: the disk is full. Reads go on, and writes when there is space again.
    #[must_use]
    pub fn read_only_reason(&self) -> Option<&'static str> {
        self.0.opened.node.health.space.read_only_reason()
    }

    /// Why the node stopped, if it did. Nothing more is committed then; the process should end.
    #[must_use]
    pub fn stop_reason(&self) -> Option<String> {
        self.0.opened.node.health.stop_reason().map(str::to_owned)
    }

    /// Stops taking commands, waits for those under way, and brings everything to the disk. Blocks.
    ///
    /// # Errors
    /// When the last flush fails. Nothing acknowledged is lost even then.
    pub fn close(&self) -> Result<(), EngineError> {
        self.0.close()
    }
}

/// Refuses a node in another region than the one for which its tenants' placement rules were set.
fn check_region(tenants: &Tenants, region: Option<&Region>) -> Result<(), EngineError> {
    for tenant in tenants.databases() {
        let placement = Arc::clone(&tenant.head().placement);
        if !placement.rules.is_empty() && placement.region.as_ref() != region {
            return Err(EngineError::Region {
                database: tenant.name.clone(),
                expected: placement.region.clone(),
                actual: region.cloned(),
            });
        }
    }
    Ok(())
}

/// An open node before anybody does its background work.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) node: Arc<Node>,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) applier: Arc<Applier>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) writebacks: Arc<WritebackQueue>,
    recoveries: Arc<Recoveries>,
    damage: Arc<Damage>,
    scrub: ScrubOptions,
    scrubbed: Arc<Mutex<Scrubbed>>,
    background: Background,
    _lock: Arc<DiskLock>,
}

/// Makes the consensus of a node from its log and the last entry that every tenant has on disk.
type MakeConsensus<'a> = &'a mut dyn FnMut(Wal, LogIndex) -> Result<Arc<dyn Consensus>, ConsensusError>;

impl Opened {
    /// Opens a data directory, and applies what was committed before.
    pub(crate) fn open(
        data_dir: PathBuf,
        options: Options,
        background: Background,
        consensus: MakeConsensus<'_>,
    ) -> Result<Self, EngineError> {
        let Options {
            origin,
            master_key,
            clock,
            random,
            disk,
            sync_policy,
            scrub,
            cluster,
            transfer_bytes_per_second,
            format,
            region,
            wal_segment_bytes,
            log_options,
            #[cfg(feature = "simulation")]
            full_disk,
        } = options;
        if let SyncPolicy::Group { delay_max } = sync_policy
            && !sync_policy.is_within_bounds()
        {
            return Err(EngineError::SyncPolicy { delay_max });
        }
        if KeyName::parse(&origin).is_err() {
            return Err(EngineError::Origin { origin });
        }
        create_directory(&*disk, &data_dir)?;
        let lock = lock_directory(&*disk, &data_dir)?;
        let format = FormatFile::open(
            Arc::clone(&disk),
            &data_dir,
            format,
            cluster
                .as_ref()
                .and_then(|cluster| Some(cluster.keys.as_ref()?.format())),
        )?;
        let format = Arc::new(format);
        let master_key = match master_key {
            Some(master_key) => master_key,
            None => default_master_key(&*disk, &data_dir, random.as_ref())?,
        };
        let opened = Keyring::open(
            Arc::clone(&disk),
            &data_dir,
            SYSTEM_TENANT,
            master_key.as_ref(),
            Arc::clone(&random),
            cluster.as_ref().and_then(|cluster| cluster.keys.as_ref()),
        )?;
        let recoveries = Arc::new(Recoveries::new(cluster.as_ref().map(|cluster| cluster.node)));
        let damage = Arc::new(Damage::new(cluster.is_some()));
        let (keyring, is_new) = match opened {
            OpenedKeyring::Existing(keyring, rewritten) => {
                for file in rewritten {
                    let reason = "it was missing, damaged or old".to_owned();
                    recoveries.note_rewritten(SYSTEM_TENANT, RecoveryArea::Keyring, file, reason);
                }
                (Arc::new(keyring), false)
            }
            OpenedKeyring::Created(keyring) => (Arc::new(keyring), true),
        };
        let health = Arc::new(Health::default());
        #[cfg(feature = "simulation")]
        if let Some(full_disk) = full_disk {
            health.space.set_instead(full_disk);
        }
        let wal_options = WalOptions {
            segment_bytes: wal_segment_bytes,
            // A member gets back from the others what it lost.
            on_damage: match cluster {
                Some(_) => OnDamage::SetAside,
                None => OnDamage::Refuse,
            },
            ..WalOptions::new(
                cluster.as_ref().map_or(LONE_NODE, |cluster| cluster.node),
                keyring.wal(),
            )
        };
        let cluster_directory = data_dir.join(crate::cluster::DIRECTORY);
        let interrupted = match &cluster {
            Some(_) => interrupted_install(Arc::clone(&disk), &cluster_directory)?,
            None if is_member(&*disk, &cluster_directory) => {
                return Err(EngineError::ClusterMember { directory: data_dir });
            }
            None => None,
        };
        let (wal, recovery) = open_wal(
            &data_dir.join("wal"),
            Arc::clone(&disk),
            wal_options,
            Arc::clone(&random),
        )?;
        recoveries.note_wal(&recovery);
        let resources = Resources {
            disk: Arc::clone(&disk),
            log_options,
            random: Arc::clone(&random),
            keyring: Arc::clone(&keyring),
            space: Arc::clone(&health.space),
            recoveries: Arc::clone(&recoveries),
            damage: Arc::clone(&damage),
            known_heads: KnownHeads::new(&recovery),
        };
        let tenants = Arc::new(Tenants::open_all(data_dir.join("tenants"), resources)?);
        if is_new {
            tenants.note_fresh(SYSTEM_TENANT);
        }
        check_not_rolled_back(&wal, &tenants, interrupted)?;
        let replicated;
        let mut instance = None;
        let mut instances = None;
        let consensus = match cluster {
            None => {
                replicated = None;
                consensus(wal, tenants.oldest_applied())?
            }
            Some(cluster) => {
                let cluster_key = sha256(&[b"craton cluster", keyring.signing().verifying_key().as_bytes()]);
                let known = Instances::open(Arc::clone(&disk), &cluster_directory, cluster_key)?;
                instances = Some(Arc::new(known));
                let purged = wal.purged().map(|(index, _)| index);
                let last = wal.last_index().max(interrupted).max(purged).unwrap_or_default();
                instance = Some(Instance {
                    cluster: cluster_key,
                    opened: recovery.generation,
                    drawn: random_array(random.as_ref()),
                    last: (!wal.is_incomplete()).then(|| last.max(tenants.newest_applied())),
                    committed: LogIndex::ZERO,
                });
                let opened = Cluster::open(cluster, wal, disk, &cluster_directory, &tenants, format.format())?;
                replicated = Some(Arc::clone(&opened));
                opened
            }
        };
        let closing = Arc::new(Closing::default());
        let waiting = Arc::new(WaitingEntries::default());
        let boot = u64::from_be_bytes(random_array(random.as_ref()));
        let writebacks = Arc::new(WritebackQueue::new(Arc::clone(&health)));
        let flusher = Arc::new(Flusher {
            consensus: Arc::clone(&consensus),
            tenants: Arc::clone(&tenants),
            health: Arc::clone(&health),
            closing: Arc::clone(&closing),
            traces: Traces::new(replicated.clone()),
        });
        let applier = Arc::new(Applier {
            order: Mutex::default(),
            background,
            flusher: Arc::clone(&flusher),
            consensus: Arc::clone(&consensus),
            tenants: Arc::clone(&tenants),
            waiting: Arc::clone(&waiting),
            health: Arc::clone(&health),
            closing: Arc::clone(&closing),
            writebacks: Arc::clone(&writebacks),
            format: Arc::clone(&format),
            boot,
        });
        let proposer = Arc::new(Proposer {
            queue: ProposalQueue::new(Arc::clone(&health), sync_policy),
            applier: Arc::clone(&applier),
            consensus: Arc::clone(&consensus),
            clock: Arc::clone(&clock),
            waiting,
            health: Arc::clone(&health),
            counters: ProposerCounters::default(),
            forming: Mutex::new(Forming {
                sequence: 0,
                epochs: EpochStarts::new(Arc::clone(&tenants), Arc::clone(&random)),
            }),
            boot,
        });
        applier.recover()?;
        check_region(&tenants, region.as_ref())?;
        health.space.set_may_wait(true);
        if let (Some(replicated), Some(instance)) = (&replicated, instance) {
            introduce(replicated, instance);
        }
        consensus.start(Arc::new(EngineMachine::new(
            Arc::clone(&tenants),
            Arc::clone(&keyring),
            Arc::clone(&applier),
            Arc::clone(&proposer),
            instances,
            transfer_bytes_per_second,
        )));
        let cluster = replicated.map(|replicated| Arc::new(Cluster::new(replicated, Arc::clone(&tenants))));
        let node = Arc::new(Node {
            cluster,
            tenants,
            proposer: Arc::clone(&proposer),
            clock,
            random,
            health,
            closing: Arc::clone(&closing),
            region,
            format: Arc::clone(format.format()),
            signing: keyring.signing(),
            keyring,
            origin,
        });
        Ok(Self {
            node,
            consensus,
            proposer,
            applier,
            flusher,
            writebacks,
            recoveries,
            damage,
            scrub,
            scrubbed: Arc::default(),
            background,
            _lock: Arc::new(lock),
        })
    }

    pub(crate) fn checkpointer(&self) -> Checkpointer {
        Checkpointer {
            node: Arc::clone(&self.node),
            closing: Arc::clone(&self.node.closing),
        }
    }

    pub(crate) fn scrubber(&self) -> Scrubber {
        Scrubber {
            node: Arc::clone(&self.node),
            consensus: Arc::clone(&self.consensus),
            recoveries: Arc::clone(&self.recoveries),
            damage: Arc::clone(&self.damage),
            repair: Repair::default(),
            closing: Arc::clone(&self.node.closing),
            background: self.background,
            options: self.scrub,
            scrubbed: Arc::clone(&self.scrubbed),
        }
    }

    pub(crate) fn craton(&self, threads: Vec<JoinHandle<()>>) -> Craton {
        Craton(Arc::new(Inner {
            opened: self.clone(),
            threads: Mutex::new(threads),
        }))
    }

    /// Nothing waits for space any more, and periodic work ends.
    pub(crate) fn begin_closing(&self) {
        self.node.health.space.set_may_wait(false);
        self.node.closing.close();
    }

    /// Brings everything to the disk, once nothing more is applied.
    pub(crate) fn finish_closing(&self) -> Result<(), EngineError> {
        self.node.tenants.close();
        match self.node.health.stop_reason() {
            None => self.flusher.flush_all(),
            Some(_) => Ok(()),
        }
    }
}

impl Inner {
    fn close(&self) -> Result<(), EngineError> {
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return Ok(());
        }
        let opened = &self.opened;
        opened.begin_closing();
        opened.proposer.queue.close();
        let mut threads = threads.into_iter();
        // A thread that panicked has stopped the node already; there is nothing to add. The proposer ends first,
        // so that what it proposed is still applied and answered.
        if let Some(proposer) = threads.next() {
            while !proposer.is_finished() && !opened.consensus.is_out_of_space() {
                std::thread::sleep(CLOSE_POLL);
            }
            if !proposer.is_finished() {
                // It may wait for space that does not come.
                opened.consensus.close();
            }
            let _ = proposer.join();
        }
        opened.consensus.close();
        opened.writebacks.close();
        for thread in threads {
            let _ = thread.join();
        }
        opened.finish_closing()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the last flush failed; the next start applies the write-ahead log again");
        }
    }
}

/// One process at a time has a data directory open.
fn lock_directory(disk: &dyn Disk, data_dir: &Path) -> Result<DiskLock, EngineError> {
    let path = data_dir.join("LOCK");
    disk.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => EngineError::DirectoryInUse {
            directory: data_dir.to_owned(),
        },
        _ => EngineError::Io { path, source },
    })
}

/// The key beside the data directory, for programs that bring none of their own.
fn default_master_key(
    disk: &dyn Disk,
    data_dir: &Path,
    random: &dyn Random,
) -> Result<Arc<dyn MasterKeyProvider>, EngineError> {
    let mut path = data_dir.as_os_str().to_owned();
    path.push(".master.key");
    let path = PathBuf::from(path);
    // Only a new directory gets a new key: an old one would not open under it.
    let is_new = !path.exists() && !Keyring::exists(disk, data_dir);
    let key = match is_new {
        true => FileMasterKey::generate(&path, SecretBytes::new(random_array(random))),
        false => FileMasterKey::open(&path),
    };
    Ok(Arc::new(key?))
}

/// Whether the directory is of a member of a cluster.
fn is_member(disk: &dyn Disk, cluster_directory: &Path) -> bool {
    disk.list(cluster_directory).is_ok_and(|names| !names.is_empty())
}

fn open_wal(
    directory: &Path,
    disk: Arc<dyn Disk>,
    options: WalOptions,
    random: Arc<dyn Random>,
) -> Result<(Wal, WalRecovery), EngineError> {
    create_directory(&*disk, directory)?;
    Wal::open(disk, directory, options, Box::new(move |bytes| random.fill(bytes)))
        .map_err(|error| EngineError::Consensus(error.into()))
}

/// An entry is applied only once it is durable: a log that ends before what was applied is not the one it was.
/// Two exceptions: a snapshot that was coming in has brought what is newer, and what a member's log lost it gets back.
fn check_not_rolled_back(wal: &Wal, tenants: &Tenants, interrupted: Option<LogIndex>) -> Result<(), EngineError> {
    let last = wal.last_index().max(interrupted).unwrap_or_default();
    let applied = tenants.newest_applied();
    match applied > last && !wal.is_incomplete() {
        true => Err(EngineError::WriteAheadLogRolledBack { last, applied }),
        false => Ok(()),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| EngineError::Io {
            path: PathBuf::from(name),
            source,
        })
}
