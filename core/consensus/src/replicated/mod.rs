//! Consensus of several nodes, on openraft.
//!
//! # Invariants
//! - An entry is handed out only after a majority of the voters has it on disk.
//! - A member whose log lost what it may have acknowledged grants no vote and does not stand for election before it has
//!   caught up with a leader.
//! - One change of the membership at a time, and a member learns before it votes.
//! - A member whose log is shorter than what it once acknowledged is sent the rest again (openraft's feature
//!   `loosen-follower-log-revert`). Only one that knows that it lost something comes back like that: who does not know
//!   is kept from taking part, see [`Standing`].
//!
//! # Deliberately absent
//! How requests travel between members and how they prove who they are: that is a [`Transport`]'s.

mod answer;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod inbox;
mod log;
mod machine;
mod marks;
mod members;
mod network;
mod proposals;
mod reads;
mod requests;
mod runtime;
mod status;
#[cfg(test)]
mod suite;
mod supervisor;
mod types;
mod wire;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use craton_log::{Disk, LogHead, Wal, WalEntry};
use craton_types::planted::{Bug, is_planted};
use craton_types::{Format, LogIndex, NodeId, Term};
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::EntryPayload;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;

pub(crate) use log::{proposal, tag_proposal};
pub use machine::{Fetch, Installing, Machine, MachineError};
pub use marks::MarksError;
pub use members::{ListedMember, MemberList};
pub use network::{Lane, Peer, Transport, TransportError};
pub use runtime::seed_elections;
pub use status::{ClusterStatus, MemberRole, Standing};

use crate::{Alone, CommittedEntry, Consensus, ConsensusError, Lost, Role, Watch};
use inbox::Inbox;
use log::Log;
use machine::Applied;
use marks::Marks;
use network::Peers;
use reads::ReadRounds;
use types::{Entry, Members, Raft, StoredMembership, log_id, log_index};

/// How many recovered entries are read at once.
const RECOVERED_ENTRIES_READ: usize = 4;
/// Files of the write-ahead log that are kept for members that follow closely, at most, though they could be forgotten.
const FILES_KEPT: usize = 32;
/// How many threads the node's consensus runs on.
const RUNTIME_THREADS: usize = 2;

/// How a member is opened.
pub struct ReplicatedOptions {
    /// Its id in the cluster.
    pub node: NodeId,
    /// Whether it forms the cluster, as its only voter, unless it is a member of one already.
    pub bootstrap: bool,
    /// The members that the cluster shall have.
    pub members: MemberList,
    /// How the others are reached.
    pub transport: Arc<dyn Transport>,
    /// What may be written in a new form.
    pub format: Arc<Format>,
    /// What it runs on; a runtime of its own when there is none.
    pub runtime: Option<Handle>,
}

/// How far the log that is opened is applied.
pub struct AppliedLog {
    /// The entry up to which everything is applied and durable.
    pub oldest: LogIndex,
    /// The last entry that is applied to anything, durably. It was committed.
    pub newest: LogIndex,
    /// How far the tenants' logs reach.
    pub heads: Vec<LogHead>,
}

/// The last entry of a snapshot that was coming in when the member stopped: what it had brought may be newer than the
/// write-ahead log.
///
/// # Errors
/// When the marks cannot be read.
pub fn interrupted_install(disk: Arc<dyn Disk>, directory: &Path) -> Result<Option<LogIndex>, ConsensusError> {
    let marks = Marks::open(disk, directory)?;
    Ok(marks.installing().map(|last| log_index(last.index)))
}

/// A member of a cluster: the implementation of [`Consensus`] on several nodes.
pub struct Replicated {
    inner: Arc<Inner>,
    recovered: Mutex<Recovered>,
    /// Dropped last, from any thread.
    own_runtime: Option<tokio::runtime::Runtime>,
}

struct Inner {
    node: u64,
    log: Arc<Log>,
    inbox: Arc<Inbox>,
    peers: Arc<Peers>,
    applied: Arc<Mutex<Applied>>,
    desired: watch::Sender<MemberList>,
    /// The running raft; none before it is started, and while it is started again.
    raft: ArcSwapOption<Raft>,
    machine: ArcSwapOption<Arc<dyn Machine>>,
    reads: ReadRounds,
    in_flight: Mutex<usize>,
    /// Signalled when an entry was handed out, or the leader changed.
    progress: Condvar,
    /// Who leads, as far as this node knows, and in which term.
    leadership: Watch<Leadership>,
    draining: watch::Sender<bool>,
    standing: watch::Sender<Standing>,
    closed: watch::Sender<bool>,
    /// Whether a task keeps a raft running.
    supervised: watch::Sender<bool>,
    failure: Mutex<Option<Arc<craton_log::WalError>>>,
    out_of_space: watch::Sender<bool>,
    format: Arc<Format>,
    handle: Handle,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Leadership {
    leader: Option<u64>,
    term: u64,
}

/// Entries that were committed before the node was opened, read back a few at a time.
struct Recovered {
    next: LogIndex,
    last: LogIndex,
    read: std::vec::IntoIter<Entry>,
}

/// Runs something that blocks, without holding up what else the runtime does, where it has other threads.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl Replicated {
    /// Takes an open log. The log's entries after `applied` that are known to be committed are handed out as recovered;
    /// [`Consensus::start`] makes the node a member.
    ///
    /// # Errors
    /// When the log or the marks beside it cannot be read or written.
    pub fn open(
        mut wal: Wal,
        disk: Arc<dyn Disk>,
        directory: &Path,
        applied: AppliedLog,
        options: ReplicatedOptions,
    ) -> Result<Self, ConsensusError> {
        let AppliedLog {
            oldest: applied,
            newest,
            heads,
        } = applied;
        let mut marks = Marks::open(disk, directory)?;
        marks.claim()?;
        if let Some(last) = marks.installing().filter(|last| log_index(last.index) <= applied) {
            if wal.last_index() < Some(applied) {
                wal.reset((log_index(last.index), types::term(&last)), heads)?;
            }
            marks.set_installing(None)?;
        }
        let mut memberships = memberships(&wal, &marks)?;
        for stored in &memberships {
            types::check_form(stored.membership(), &options.format)?;
        }
        if options.bootstrap && memberships.is_empty() {
            memberships.push(form(&mut wal, &options)?);
        }
        wal.note_committed(newest);
        let purged = wal.purged().map_or(LogIndex::ZERO, |(index, _)| index);
        if is_planted(Bug::TruncateCommitted) && wal.committed() > purged.max(newest) {
            wal.truncate_from(wal.committed())?;
        }
        let last = match is_planted(Bug::RecoverUncommitted) {
            true => wal.last_index().unwrap_or_default().max(purged),
            false => wal.committed().max(purged),
        };
        let next = purged.max(applied).next();
        let own_runtime = match options.runtime {
            Some(_) => None,
            None => Some(runtime().map_err(ConsensusError::Thread)?),
        };
        let handle = options
            .runtime
            .clone()
            .or(own_runtime.as_ref().map(|own| own.handle().clone()));
        let log = Arc::new(Log::new(wal, marks));
        let last_applied = log.id_at(last);
        memberships.retain(|stored| stored.log_id() <= &last_applied);
        let inner = Arc::new(Inner {
            node: options.node.get(),
            log,
            inbox: Arc::default(),
            peers: Arc::new(Peers::new(options.node, options.transport)),
            applied: Arc::new(Mutex::new(Applied {
                last: last_applied,
                memberships,
                forgettable: None,
            })),
            desired: watch::Sender::new(options.members),
            raft: ArcSwapOption::empty(),
            machine: ArcSwapOption::empty(),
            reads: ReadRounds::default(),
            in_flight: Mutex::new(0),
            progress: Condvar::new(),
            leadership: Watch::default(),
            draining: watch::Sender::new(false),
            standing: watch::Sender::new(Standing::Good),
            closed: watch::Sender::new(false),
            supervised: watch::Sender::new(false),
            failure: Mutex::default(),
            out_of_space: watch::Sender::new(false),
            format: options.format,
            handle: handle.expect("one of both is there"),
        });
        Ok(Self {
            inner,
            recovered: Mutex::new(Recovered {
                next,
                last,
                read: Vec::new().into_iter(),
            }),
            own_runtime,
        })
    }

    /// A request to another member's machine, for a node that is not open yet.
    #[must_use]
    pub fn application_request(request: Bytes) -> Bytes {
        wire::Request::Application(request).encode()
    }

    /// What its machine answered.
    ///
    /// # Errors
    /// When the member could not answer, with its reason.
    pub fn application_answer(answer: &Bytes) -> Result<Bytes, String> {
        match wire::Response::decode(answer) {
            Ok(wire::Response::Application(answer)) => Ok(answer),
            Ok(wire::Response::Failed { reason }) => Err(reason),
            Ok(_) => Err("something else than was asked for".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What consensus runs on.
    #[must_use]
    pub fn runtime(&self) -> Handle {
        self.inner.handle.clone()
    }

    /// The entry before the first one that any file of the log holds, forgotten or not.
    #[must_use]
    pub fn before_oldest_file(&self) -> LogIndex {
        self.inner.log.with_wal(|wal| wal.before_oldest_file())
    }

    /// Has the log forget the entries up to an index, though members that follow closely may need them: they are given
    /// a snapshot. [`Consensus::purge`] must have allowed it.
    pub fn forget(&self, through: LogIndex) {
        let index = types::raft_index(through);
        if let (Some(raft), Some(index)) = (self.inner.raft(), index) {
            self.inner
                .handle
                .spawn(async move { raft.trigger().purge_log(index).await });
        }
    }

    /// Removes what was set aside of the log because it was damaged; `false`, and nothing is removed, while the log does not
    /// have everything back.
    ///
    /// # Errors
    /// When the files cannot be removed.
    pub fn forget_set_aside(&self) -> Result<bool, ConsensusError> {
        if self.inner.is_incomplete() {
            return Ok(false);
        }
        self.inner.log.with_wal(|wal| wal.forget_set_aside())?;
        Ok(true)
    }

    /// Answers a request of another member.
    pub fn answer(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Bytes> {
        let inner = Arc::clone(&self.inner);
        async move { inner.answer(from, request).await }.boxed()
    }

    /// Asks the leader's machine something. Waits for neither a leader nor another attempt.
    pub fn ask_leader(&self, request: Bytes) -> BoxFuture<'static, Result<Bytes, ConsensusError>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.ask_leader(request).await }.boxed()
    }

    /// The other members that are or shall be, in the order of their ids.
    #[must_use]
    pub fn others(&self) -> Vec<NodeId> {
        let mut others: BTreeSet<u64> = {
            let desired = self.inner.desired.borrow();
            desired.members.iter().map(|listed| listed.id.get()).collect()
        };
        if let Some(raft) = self.inner.raft() {
            let metrics = raft.metrics();
            let metrics = metrics.borrow();
            others.extend(metrics.membership_config.membership().nodes().map(|(id, _)| *id));
        }
        others.remove(&self.inner.node);
        others.into_iter().map(NodeId::new).collect()
    }

    /// Asks another member's machine something, on the lane of parts of logs.
    pub fn ask(&self, member: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, ConsensusError>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.ask(member.get(), request).await }.boxed()
    }

    /// Says whether this member may take part. Until it may, it neither votes nor takes entries, nor stands for election. It may
    /// unless something else is said.
    pub fn set_standing(&self, standing: Standing) {
        self.inner.set_standing(standing);
    }

    /// Whether it is the only one that votes, so that there is nobody else to ask.
    #[must_use]
    pub fn is_only_voter(&self) -> bool {
        let Some(raft) = self.inner.raft() else {
            return false;
        };
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().voter_ids().eq([self.inner.node])
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.inner.closed.borrow()
    }

    /// Asks this member's own machine something, as the leader does that would be asked by others.
    pub fn ask_own(&self, own: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, ConsensusError>> {
        let machine = self.inner.machine.load_full();
        async move {
            match machine {
                Some(machine) => Ok(machine.answer(own, request).await),
                None => Err(ConsensusError::Closed),
            }
        }
        .boxed()
    }

    /// Sets who shall be a member. An older list than the one that is known is ignored; whether it was taken.
    pub fn set_members(&self, list: MemberList) -> bool {
        self.inner.desired.send_if_modified(|known| {
            let is_newer = list.generation > known.generation;
            if is_newer {
                *known = list;
            }
            is_newer
        })
    }

    /// Hands leadership to another member, if this node leads and there is one, and takes no more entries.
    pub fn drain(&self) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        async move { inner.drain().await }.boxed()
    }

    /// Waits until this node knows of a leader other than `not`, or a moment has passed.
    pub fn leader_changed(&self, not: Option<NodeId>, timeout: Duration) -> BoxFuture<'static, ()> {
        let leadership = self.inner.leadership.clone();
        let not = not.map(NodeId::get);
        async move {
            let changed = leadership.wait_for(|now| now.leader.is_some() && now.leader != not);
            // Whoever waits looks for itself afterwards.
            let _ = tokio::time::timeout(timeout, changed).await;
        }
        .boxed()
    }

    /// Whether it was closed and nothing of it runs any more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.inner.closed.borrow() && !*self.inner.supervised.borrow()
    }

    /// What this node knows of its cluster.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        self.inner.status()
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("craton-raft")
        .enable_all()
        .build()
}

/// The members' lists that the marks and the log hold, oldest first.
fn memberships(wal: &Wal, marks: &Marks) -> Result<Vec<StoredMembership>, ConsensusError> {
    let mut memberships = Vec::new();
    let known = marks.membership();
    if known.log_id().is_some() {
        memberships.push(known.clone());
    }
    let Some(first) = wal.first_index() else {
        return Ok(memberships);
    };
    for entry in wal.entries_from(first)? {
        if let Some(Entry {
            log_id,
            payload: EntryPayload::Membership(members),
        }) = log::loaded(entry?)
            && known.log_id().is_none_or(|known| known < log_id)
        {
            memberships.push(StoredMembership::new(Some(log_id), members));
        }
    }
    Ok(memberships)
}

/// Makes the node the only voter of a new cluster. What its log holds already, from when it was alone, is committed.
fn form(wal: &mut Wal, options: &ReplicatedOptions) -> Result<StoredMembership, ConsensusError> {
    let id = options.node.get();
    let mut own = options.members.clone();
    own.members.retain(|listed| listed.id == options.node);
    let nodes: std::collections::BTreeMap<u64, types::Member> = own
        .members
        .iter()
        .map(|listed| {
            let member = types::Member {
                peer_address: listed.peer_address.clone(),
                generation: 0,
                form: types::MemberForm::of(&options.format),
            };
            (listed.id.get(), member)
        })
        .collect();
    let members = Members::new(vec![[id].into()], nodes);
    let term = wal.vote().term.max(wal.last_term().unwrap_or(Term::ZERO)).next();
    wal.record_vote(craton_log::Vote {
        term,
        voted_for: options.node,
        committed: true,
    })?;
    let index = wal.next_index();
    let log_id = log_id(index, term).expect("the first index is one");
    let entry: WalEntry = log::stored(&Entry {
        log_id,
        payload: EntryPayload::Membership(members.clone()),
    });
    wal.append(std::slice::from_ref(&entry))?;
    wal.note_committed(index);
    wal.mark_synced()?;
    Ok(StoredMembership::new(Some(log_id), members))
}

impl Inner {
    fn raft(&self) -> Option<Arc<Raft>> {
        self.raft.load_full()
    }

    fn check_open(&self) -> Result<(), ConsensusError> {
        if let Some(failure) = self.failure.lock().clone() {
            return Err(ConsensusError::Wal(failure));
        }
        match *self.closed.borrow() {
            true => Err(ConsensusError::Closed),
            false => Ok(()),
        }
    }

    fn leadership(&self) -> Leadership {
        self.leadership.get()
    }

    fn leads(&self) -> bool {
        self.leadership().leader == Some(self.node) && !*self.draining.borrow() && self.is_in_good_standing()
    }

    fn is_in_good_standing(&self) -> bool {
        *self.standing.borrow() == Standing::Good
    }

    fn not_leader(&self) -> ConsensusError {
        let leader = self.leadership().leader.filter(|leader| *leader != self.node);
        ConsensusError::NotLeader {
            leader: leader.map(NodeId::new),
        }
    }
}

impl Consensus for Replicated {
    fn start(&self, machine: Arc<dyn Machine>) {
        self.inner.machine.store(Some(Arc::new(machine)));
        supervisor::spawn(&self.inner);
    }

    fn role(&self) -> Role {
        match self.inner.leads() {
            true => Role::Leader,
            false => Role::Follower {
                leader: self.inner.leadership().leader.map(NodeId::new),
            },
        }
    }

    fn is_ready(&self) -> bool {
        self.inner.is_ready()
    }

    fn wait_until_ready(&self) {
        self.inner.wait_until_ready();
    }

    fn propose(&self, payload: Vec<u8>, lost: Lost) -> Result<(), ConsensusError> {
        self.inner.propose(payload, lost)
    }

    fn commit_alone(&self, payload: Vec<u8>, _applied: LogIndex) -> Result<Alone, ConsensusError> {
        Ok(Alone::Busy(payload))
    }

    fn read_index(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.read_index().await }.boxed()
    }

    fn is_out_of_space(&self) -> bool {
        *self.inner.out_of_space.borrow()
    }

    fn next_recovered(&self) -> Result<Option<CommittedEntry>, ConsensusError> {
        let mut recovered = self.recovered.lock();
        loop {
            if let Some(entry) = recovered.read.next() {
                recovered.next = log_index(entry.log_id.index).next();
                return Ok(Some(committed(entry)));
            }
            if recovered.next > recovered.last {
                return Ok(None);
            }
            let start = recovered.next.get() - 1;
            let end = (start + RECOVERED_ENTRIES_READ as u64).min(recovered.last.get());
            recovered.read = self.inner.log.read(start, end, usize::MAX)?.into_iter();
        }
    }

    fn last_recovered(&self) -> LogIndex {
        self.recovered.lock().last
    }

    fn next_committed(&self) -> Result<CommittedEntry, ConsensusError> {
        self.inner.inbox.pop().map_err(|closed| self.inner.end_reason(closed))
    }

    fn begin_segment(&self) {
        self.inner.log.with_wal(Wal::begin_segment);
    }

    fn segment_count(&self) -> usize {
        self.inner.log.with_wal(|wal| wal.segment_count())
    }

    fn purge(&self, through: LogIndex, heads: &dyn Fn() -> Vec<LogHead>) -> Result<(), ConsensusError> {
        self.inner.purge(through, heads)
    }

    fn scrub(&self) -> Result<u64, ConsensusError> {
        let scrub = self.inner.log.with_wal(|wal| wal.scrub());
        Ok(scrub.run()?)
    }

    fn close(&self) {
        self.inner.close();
    }
}

#[cfg(feature = "simulation")]
impl crate::Stepped for Replicated {
    fn write(&self) -> bool {
        // Entries are written by the tasks that bring them.
        false
    }

    fn reserve(&self) -> bool {
        // So is the next segment's space.
        false
    }

    fn try_next_committed(&self) -> Result<Option<CommittedEntry>, ConsensusError> {
        self.inner
            .inbox
            .try_pop()
            .map_err(|closed| self.inner.end_reason(closed))
    }
}

fn committed(entry: Entry) -> CommittedEntry {
    let payload = match entry.payload {
        EntryPayload::Normal(proposal) => proposal.0,
        EntryPayload::Blank | EntryPayload::Membership(_) => Bytes::new(),
    };
    CommittedEntry {
        index: log_index(entry.log_id.index),
        term: types::term(&entry.log_id),
        payload,
    }
}

impl Inner {
    /// Lets openraft forget what is in the tenants' logs, except for what members that follow closely still need.
    fn purge(&self, through: LogIndex, heads: &dyn Fn() -> Vec<LogHead>) -> Result<(), ConsensusError> {
        let Some(through) = self.log.id_at(through) else {
            return Ok(());
        };
        {
            let mut applied = self.applied.lock();
            if applied.forgettable >= Some(through) {
                return Ok(());
            }
            applied.forgettable = Some(through);
        }
        self.log.allow_forgetting(through, heads());
        let surplus = self.log.with_wal(|wal| wal.before_newest_files(FILES_KEPT));
        let surplus = types::raft_index(surplus.min(log_index(through.index)));
        if let Some(raft) = self.raft() {
            self.handle.spawn(async move {
                raft.trigger().snapshot().await?;
                match surplus {
                    // No more than the last snapshot allows; the next time goes on.
                    Some(surplus) => raft.trigger().purge_log(surplus).await,
                    None => Ok(()),
                }
            });
        }
        Ok(())
    }

    fn end_reason(&self, closed: ConsensusError) -> ConsensusError {
        match self.failure.lock().clone() {
            Some(failure) => ConsensusError::Wal(failure),
            None => closed,
        }
    }

    fn close(&self) {
        self.closed.send_replace(true);
        // It may hold what holds this.
        self.machine.store(None);
        self.inbox.close();
        self.signal_progress();
    }

    fn fail(&self, failure: Arc<craton_log::WalError>) {
        *self.failure.lock() = Some(failure);
        self.close();
    }
}

impl Drop for Replicated {
    fn drop(&mut self) {
        self.inner.close();
        if let Some(runtime) = self.own_runtime.take() {
            runtime.shutdown_background();
        }
    }
}
