//! A node among others: commands go to whoever leads, reads wait for what was acknowledged elsewhere, and members give
//! each other what they lack.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod instance;
mod machine;
mod message;
mod rate;

use std::sync::Arc;
use std::time::Duration;

use craton_consensus::{
    AppliedLog, ClusterStatus, Consensus, ConsensusError, Lane, MemberList, Peer, Replicated, ReplicatedOptions, Role,
    Transport, TransportError,
};
use craton_kernel::{Command, Outcome};
use craton_log::{Disk, Wal};
use craton_types::planted::{Bug, is_planted};
use craton_types::{
    Format, FormatUnknown, FormatUser, FormatVersion, IdempotencyId, LogIndex, NodeId, Offset, Record, TenantId,
};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::keyring::ClusterKeys;
use crate::proposer::Proposer;
use crate::tenants::Tenants;
use crate::{EngineError, Options};
pub(crate) use instance::{Instance, Instances, introduce};
pub(crate) use machine::EngineMachine;
use message::{Answer, Ask, NotTaken};
pub use rate::TRANSFER_BYTES_PER_SECOND_DEFAULT;

/// How long a command waits for somebody to lead.
const LEADER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long it waits before it looks again who leads.
const LEADER_PAUSE: Duration = Duration::from_millis(50);
/// How long a read, or a client whose command another node took, waits until this node has applied what it must see.
const APPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member is waited for that is asked for a record.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// The folder of what a member knows beside its log.
pub(crate) const DIRECTORY: &str = "consensus";

/// How a node takes part in a cluster, see [`Options::cluster`].
#[derive(Clone)]
pub struct ClusterOptions {
    /// The node's number, at least one, unlike every other node's that ever was in the cluster.
    pub node: NodeId,
    /// Whether it forms the cluster, unless it is a member of one already. One node of a new cluster does.
    pub bootstrap: bool,
    /// The members that the cluster shall have.
    pub members: MemberList,
    /// How the others are reached.
    pub transport: Arc<dyn Transport>,
    /// The keys of the cluster, from [`fetch_cluster_keys`], for a node that joins and has no data yet.
    pub keys: Option<ClusterKeys>,
    /// What consensus runs on; a runtime of its own when there is none.
    pub runtime: Option<Handle>,
}

/// How fast records are sent to members that catch up.
impl Options {
    /// The most bytes of records in a second that are sent to members that catch up, all of them together; 0 for no limit. A
    /// rate below 64 KiB counts as that, since what takes too long is given up.
    #[must_use]
    pub fn transfer_bytes_per_second(mut self, bytes_per_second: u64) -> Self {
        self.transfer_bytes_per_second = match bytes_per_second {
            0 => 0,
            rate => rate.max(rate::TRANSFER_BYTES_PER_SECOND_MIN),
        };
        self
    }
}

/// A node as a member of its cluster.
#[derive(Clone)]
pub struct Member {
    pub(crate) replicated: Arc<Replicated>,
}

impl Member {
    /// Answers a request of another member that showed who it is.
    pub async fn answer(&self, from: NodeId, request: bytes::Bytes) -> bytes::Bytes {
        self.replicated.answer(from, request).await
    }

    /// Sets who shall be a member. An older list than the one that is known is ignored; whether it was taken.
    pub fn set_members(&self, members: MemberList) -> bool {
        self.replicated.set_members(members)
    }

    /// Takes no more commands here, and hands leadership to another member.
    pub async fn drain(&self) {
        self.replicated.drain().await;
    }

    /// What the node knows of its cluster.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        self.replicated.status()
    }
}

/// Asks a member for the keys of the cluster, for a node that joins it. Whoever answers checks nothing but what the
/// transport has checked: that the other end is a member's certificate.
///
/// # Errors
/// When it cannot be reached, or has no keys yet.
pub async fn fetch_cluster_keys(transport: &dyn Transport, peer: Peer) -> Result<ClusterKeys, ConsensusError> {
    let id = peer.id;
    let request = Replicated::application_request(message::encode(&Ask::ClusterKeys).into());
    let answer = transport.call(peer, Lane::Transfer, request).await?;
    let reason = match Replicated::application_answer(&answer) {
        Ok(answer) => match message::decode(&answer) {
            Ok(Answer::ClusterKeys { keys, format }) => {
                let format = format.unwrap_or(FormatVersion::FIRST);
                return Ok(ClusterKeys::from_bytes(keys.into(), format));
            }
            Ok(Answer::Failed(reason)) => reason,
            Ok(_) => "something else than was asked for".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(reason) => reason,
    };
    Err(TransportError::Answer { peer: id, reason }.into())
}

/// Asks whoever leads for an entry that does nothing, and does not wait for it.
pub(crate) fn ask_for_entry(replicated: &Arc<Replicated>) {
    let request: bytes::Bytes = message::encode(&Ask::Entry).into();
    let asked = match replicated.role() {
        Role::Leader => {
            let own = replicated.status().node;
            replicated.ask_own(own, request)
        }
        Role::Follower { .. } => replicated.ask_leader(request),
    };
    replicated.runtime().spawn(async move {
        // It is asked for again until it is there.
        if let Err(error) = asked.await {
            tracing::debug!(%error, "no entry was asked for");
        }
    });
}

/// What the rest of the engine needs of the cluster.
pub(crate) struct Cluster {
    pub(crate) replicated: Arc<Replicated>,
    pub(crate) tenants: Arc<Tenants>,
    /// Where forwarded commands are waited for: whoever waits for them may be on no runtime.
    handle: Handle,
}

impl Cluster {
    pub(crate) fn open(
        options: ClusterOptions,
        wal: Wal,
        disk: Arc<dyn Disk>,
        directory: &std::path::Path,
        tenants: &Tenants,
        format: &Arc<Format>,
    ) -> Result<Arc<Replicated>, ConsensusError> {
        let applied = AppliedLog {
            oldest: tenants.oldest_applied(),
            newest: tenants.newest_applied(),
            heads: tenants.flushed_heads(),
        };
        let replicated = ReplicatedOptions {
            node: options.node,
            bootstrap: options.bootstrap,
            members: options.members,
            transport: options.transport,
            format: Arc::clone(format),
            runtime: options.runtime,
        };
        Replicated::open(wal, disk, directory, applied, replicated).map(Arc::new)
    }

    pub(crate) fn new(replicated: Arc<Replicated>, tenants: Arc<Tenants>) -> Self {
        let handle = replicated.runtime();
        Self {
            replicated,
            tenants,
            handle,
        }
    }

    /// Whether commands are to be handed over here.
    pub(crate) fn leads(&self) -> bool {
        self.replicated.role() == Role::Leader
    }

    /// Sends a command to whoever leads, here or elsewhere, until somebody takes it.
    pub(crate) fn route(
        self: &Arc<Self>,
        proposer: Arc<Proposer>,
        command: Arc<Command>,
    ) -> tokio::task::JoinHandle<Result<Outcome, EngineError>> {
        let cluster = Arc::clone(self);
        self.handle.spawn(async move {
            let deadline = Instant::now() + LEADER_TIMEOUT;
            let mut command = command;
            loop {
                let result = cluster.attempt(&proposer, &command).await;
                let again = match &result {
                    Err(EngineError::NotLeader) => true,
                    // It is applied once, however often it is sent.
                    Err(EngineError::OutcomeUnknown) => {
                        if is_planted(Bug::RetryWithNewId) {
                            let new = command.idempotency_id.as_bytes().map(|byte| byte ^ 1);
                            Arc::make_mut(&mut command).idempotency_id = IdempotencyId::new(new);
                        }
                        command.idempotency_id != IdempotencyId::NIL || is_planted(Bug::RetryWithoutId)
                    }
                    _ => false,
                };
                if !again || Instant::now() >= deadline {
                    return result;
                }
                cluster.replicated.leader_changed(None, LEADER_PAUSE).await;
                tokio::time::sleep(LEADER_PAUSE).await;
            }
        })
    }

    async fn attempt(&self, proposer: &Arc<Proposer>, command: &Arc<Command>) -> Result<Outcome, EngineError> {
        match self.replicated.role() {
            Role::Leader => proposer.propose_here(Arc::clone(command)).await,
            Role::Follower { leader: None } => Err(EngineError::NotLeader),
            Role::Follower { leader: Some(_) } => self.forward(command).await,
        }
    }

    async fn forward(&self, command: &Command) -> Result<Outcome, EngineError> {
        let encoded = minicbor::to_vec(command).expect("writing to memory does not fail");
        let request = message::encode(&Ask::Command(encoded.into()));
        let answer = match self.replicated.ask_leader(request.into()).await {
            Ok(answer) => answer,
            Err(ConsensusError::Peer(
                TransportError::Unreachable { .. } | TransportError::Refused { .. } | TransportError::Format { .. },
            )) => {
                return Err(EngineError::NotLeader);
            }
            Err(ConsensusError::Peer(_)) => return Err(EngineError::OutcomeUnknown),
            Err(ConsensusError::NotLeader { .. }) => return Err(EngineError::NotLeader),
            Err(error) => return Err(error.into()),
        };
        match message::decode(&answer) {
            Ok(Answer::Outcome { outcome, applied }) => {
                // The client shall find here what it wrote. What it wrote stands, though, when this node is slow.
                let _ = self.wait_applied(applied).await;
                Ok(outcome)
            }
            Ok(Answer::NotTaken(NotTaken::NotLeader)) => Err(EngineError::NotLeader),
            Ok(Answer::NotTaken(NotTaken::Overloaded)) => Err(EngineError::Overloaded),
            Ok(Answer::NotTaken(NotTaken::DiskFull)) => Err(EngineError::DiskFull),
            Ok(Answer::Failed(reason)) => Err(EngineError::Stopped { reason }),
            Ok(_) | Err(_) => Err(EngineError::OutcomeUnknown),
        }
    }

    /// The other members that this one knows.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.replicated.others()
    }

    /// Asks a member for a record of a tenant's log. `None` when it does not have it. On error, why it could not be asked.
    pub(crate) async fn fetch_record(
        &self,
        member: NodeId,
        tenant: TenantId,
        position: Offset,
    ) -> Result<Option<Record>, String> {
        let request = message::encode(&Ask::Records {
            tenant,
            from: position,
            end: position.next(),
        });
        let asked = self.replicated.ask(member, request.into());
        let asked = self
            .handle
            .spawn(async move { tokio::time::timeout(FETCH_TIMEOUT, asked).await });
        let answer = match asked.await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(error))) => return Err(error.to_string()),
            Ok(Err(_)) => return Err("it did not answer in time".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        match message::decode(&answer) {
            Ok(Answer::Records(records)) => Ok(records.first().and_then(|bytes| match machine::decode_record(bytes) {
                Ok(record) if record.header.tenant == tenant && record.header.offset == position => Some(record),
                Ok(record) => {
                    tracing::error!(%member, sent = record.header.offset.get(), "a member sent another record");
                    None
                }
                Err(error) => {
                    tracing::error!(%member, %error, "a member sent a damaged record");
                    None
                }
            })),
            Ok(Answer::Failed(reason)) => {
                tracing::debug!(%member, reason, "a member does not have a record");
                Ok(None)
            }
            Ok(_) => Err("something else than was asked for".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits until this node has applied everything that was acknowledged anywhere before now.
    pub(crate) fn catch_up(self: &Arc<Self>) -> tokio::task::JoinHandle<Result<(), EngineError>> {
        let cluster = Arc::clone(self);
        self.handle.spawn(async move {
            let deadline = Instant::now() + LEADER_TIMEOUT;
            loop {
                match cluster.replicated.read_index().await {
                    Ok(_) if is_planted(Bug::ReadBeforeApply) => return Ok(()),
                    Ok(index) => return cluster.wait_applied(index).await,
                    Err(ConsensusError::NotLeader { .. } | ConsensusError::Peer(_)) if Instant::now() < deadline => {
                        cluster.replicated.leader_changed(None, LEADER_PAUSE).await;
                        tokio::time::sleep(LEADER_PAUSE).await;
                    }
                    Err(ConsensusError::NotLeader { .. } | ConsensusError::Peer(_)) => {
                        return Err(EngineError::NotLeader);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }

    /// Makes sure that every other member's build knows a version of the formats. Who joins from now on is told which one
    /// is used.
    pub(crate) async fn check_members_know(self: &Arc<Self>, version: FormatVersion) -> Result<(), EngineError> {
        self.catch_up().await.unwrap_or(Err(EngineError::NotLeader))?;
        let cluster = Arc::clone(self);
        let asked = self.handle.spawn(async move {
            for member in cluster.replicated.others() {
                let newest = cluster.format_newest_of(member).await?;
                if newest < version {
                    return Err(EngineError::Format(FormatUnknown {
                        who: FormatUser::Member(member),
                        found: version,
                        oldest: newest.min(FormatVersion::OLDEST),
                        newest,
                    }));
                }
            }
            Ok(())
        });
        asked.await.unwrap_or(Err(EngineError::NotLeader))
    }

    async fn format_newest_of(&self, member: NodeId) -> Result<FormatVersion, EngineError> {
        let request = message::encode(&Ask::FormatNewest).into();
        let answer = self.replicated.ask(member, request).await?;
        let reason = match message::decode(&answer) {
            Ok(Answer::FormatNewest(newest)) => return Ok(newest),
            Ok(Answer::Failed(reason)) => reason,
            Ok(_) => "something else than was asked for".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(ConsensusError::from(TransportError::Answer { peer: member, reason }).into())
    }

    /// As [`Self::wait_applied`], for whoever is on no runtime.
    pub(crate) fn wait_until_applied(
        self: &Arc<Self>,
        index: LogIndex,
    ) -> tokio::task::JoinHandle<Result<(), EngineError>> {
        let cluster = Arc::clone(self);
        self.handle.spawn(async move { cluster.wait_applied(index).await })
    }

    /// Waits until an entry is applied here.
    pub(crate) async fn wait_applied(&self, index: LogIndex) -> Result<(), EngineError> {
        let applied = self.tenants.applied_watch();
        let waited = tokio::time::timeout(APPLY_TIMEOUT, applied.wait_for(|applied| *applied >= index));
        match waited.await {
            Ok(_) => Ok(()),
            Err(_) => Err(EngineError::Behind {
                applied: self.tenants.applied_index(),
                wanted: index,
            }),
        }
    }
}

impl Options {
    /// Makes the node a member of a cluster. A directory of a node that was alone becomes the cluster's first member.
    #[must_use]
    pub fn cluster(mut self, cluster: ClusterOptions) -> Self {
        self.cluster = Some(cluster);
        self
    }
}
