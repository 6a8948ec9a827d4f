//! The state machine as openraft sees it: committed entries go to the inbox, snapshots to and from the
//! application's own machine.

use std::sync::Arc;

use bytes::Bytes;
use craton_log::LogHead;
use craton_types::{LogIndex, NodeId};
use futures::future::BoxFuture;
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftLogId, RaftSnapshotBuilder, Snapshot, StorageIOError};
use parking_lot::Mutex;

use super::inbox::Inbox;
use super::log::Log;
use super::network::Peers;
use super::types::{
    Entry, LogId, Member, SnapshotMeta, SnapshotOffer, StorageError, StoredMembership, TypeConfig, log_index,
};
use super::{blocking, wire};
use crate::CommittedEntry;

/// How many members' lists are kept in memory: more than are ever uncommitted or unapplied at once.
const MEMBERSHIPS_KEPT: usize = 16;

/// An error of the application, as far as consensus is concerned.
pub type MachineError = Box<dyn std::error::Error + Send + Sync>;

/// Asks the member that offers a snapshot for a part of it.
pub type Fetch = Arc<dyn Fn(Bytes) -> BoxFuture<'static, Result<Bytes, MachineError>> + Send + Sync>;

/// A snapshot that comes in, see [`Machine::install`].
pub type Installing = BoxFuture<'static, Result<Vec<LogHead>, MachineError>>;

/// What the committed entries are applied to, as far as members must tell each other of it.
pub trait Machine: Send + Sync {
    /// What everything up to the last applied entry led to, as a list by which another member can fetch it; and which
    /// entry that is. Blocks shortly.
    ///
    /// # Errors
    /// When it cannot be read.
    fn manifest(&self) -> Result<(LogIndex, Bytes), MachineError>;

    /// Brings in what a manifest lists and this member lacks, durably, and says how far the tenants' logs reach then.
    /// Everything up to `after` was handed out for applying before. May be repeated.
    fn install(&self, after: LogIndex, index: LogIndex, manifest: Bytes, fetch: Fetch) -> Installing;

    /// Answers a request of another member's machine.
    fn answer(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Bytes>;

    /// Whether entries that were handed out wait for space on a full disk. Such a member had better not lead.
    fn waits_for_space(&self) -> bool {
        false
    }
}

/// What is applied, as far as consensus knows.
#[derive(Default)]
pub(super) struct Applied {
    /// The last entry that went to the inbox.
    pub(super) last: Option<LogId>,
    /// Memberships up to there, oldest first.
    pub(super) memberships: Vec<StoredMembership>,
    /// How much may be forgotten.
    pub(super) forgettable: Option<LogId>,
}

impl Applied {
    /// The members as of an entry.
    fn membership_at(&self, index: Option<u64>) -> StoredMembership {
        let known = self.memberships.iter().rev();
        let mut before = known.filter(|stored| stored.log_id().map(|id| id.index) <= index);
        before.next().cloned().unwrap_or_default()
    }

    fn note_membership(&mut self, stored: StoredMembership) {
        self.memberships.push(stored);
        if self.memberships.len() > MEMBERSHIPS_KEPT {
            self.memberships.remove(0);
        }
    }
}

/// The adapter.
#[derive(Clone)]
pub(super) struct StateMachine {
    pub(super) log: Arc<Log>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) machine: Arc<dyn Machine>,
    pub(super) peers: Arc<Peers>,
    pub(super) applied: Arc<Mutex<Applied>>,
}

impl StateMachine {
    fn meta(&self, last: Option<LogId>) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: last,
            last_membership: self.applied.lock().membership_at(last.map(|last| last.index)),
            snapshot_id: last.map_or_else(String::new, |last| last.to_string()),
        }
    }

    fn current(&self) -> Result<(SnapshotMeta, Bytes), MachineError> {
        let (index, manifest) = self.machine.manifest()?;
        let newest = self.applied.lock().last.filter(|last| log_index(last.index) == index);
        let last = newest.or_else(|| self.log.id_at(index));
        Ok((self.meta(last), manifest))
    }

    async fn install(&self, meta: &SnapshotMeta, offer: SnapshotOffer) -> Result<(), MachineError> {
        let Some(last) = meta.last_log_id else {
            return Ok(());
        };
        self.log.begin_install(last);
        blocking(|| self.log.marks.lock().set_installing(Some(last)))?;
        let member = meta.last_membership.membership().get_node(&offer.from).cloned();
        let fetch = self.fetch(offer.from, member.unwrap_or_default());
        let index = log_index(last.index);
        tracing::info!(from = offer.from, index = index.get(), "a snapshot comes in");
        let handed_out = self.applied.lock().last;
        let after = handed_out.map_or(LogIndex::ZERO, |last| log_index(last.index));
        let heads = self.machine.install(after, index, offer.manifest, fetch).await?;
        blocking(|| {
            self.log.marks.lock().set_membership(&meta.last_membership)?;
            self.log.finish_install(last, heads)?;
            self.log.marks.lock().set_installing(None).map_err(MachineError::from)
        })?;
        let mut applied = self.applied.lock();
        applied.last = Some(last);
        applied.note_membership(meta.last_membership.clone());
        tracing::info!(index = index.get(), "the snapshot is in");
        Ok(())
    }

    fn fetch(&self, from: u64, member: Member) -> Fetch {
        let peers = Arc::clone(&self.peers);
        Arc::new(move |request| {
            let (peers, member) = (Arc::clone(&peers), member.clone());
            Box::pin(async move {
                match peers
                    .transfer(from, &member, wire::Request::Application(request))
                    .await?
                {
                    wire::Response::Application(bytes) => Ok(bytes),
                    other => Err(format!("an unexpected answer: {other:?}").into()),
                }
            })
        })
    }
}

fn snapshot_error(error: MachineError) -> StorageError {
    let error = AnyError::error(error);
    StorageIOError::write_snapshot(None, error).into()
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.applied.lock();
        let last = applied.last;
        Ok((last, applied.membership_at(last.map(|last| last.index))))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut replies = Vec::new();
        for entry in entries {
            let log_id = *entry.get_log_id();
            let payload = match entry.payload {
                EntryPayload::Normal(proposal) => proposal.0,
                EntryPayload::Blank => Bytes::new(),
                EntryPayload::Membership(members) => {
                    let stored = StoredMembership::new(Some(log_id), members);
                    self.applied.lock().note_membership(stored);
                    Bytes::new()
                }
            };
            let committed = CommittedEntry {
                index: log_index(log_id.index),
                term: super::types::term(&log_id),
                payload,
            };
            // A closed inbox means that the node closes: nobody needs the rest.
            if self.inbox.push(committed).await {
                self.applied.lock().last = Some(log_id);
            }
            replies.push(());
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotOffer>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotOffer>,
    ) -> Result<(), StorageError> {
        let installed = self.install(meta, *snapshot).await;
        installed.map_err(|error| {
            self.log.abandon_install();
            snapshot_error(error)
        })
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let (meta, manifest) = blocking(|| self.current()).map_err(snapshot_error)?;
        if meta.last_log_id.is_none() {
            return Ok(None);
        }
        let from = self.peers.own_id();
        Ok(Some(Snapshot {
            meta,
            snapshot: Box::new(SnapshotOffer { from, manifest }),
        }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    /// What is built says how much may be forgotten; whoever needs a snapshot is given what is current then.
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let forgettable = {
            let applied = self.applied.lock();
            applied.forgettable.or(applied.last)
        };
        let meta = self.meta(forgettable);
        blocking(|| self.log.marks.lock().set_membership(&meta.last_membership))
            .map_err(|error| snapshot_error(error.into()))?;
        Ok(Snapshot {
            meta,
            snapshot: Box::default(),
        })
    }
}
