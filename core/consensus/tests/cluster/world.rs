//! Members in one process: each with a disk in memory, a machine that keeps what it is given, and a network that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use craton_consensus::{
    AppliedLog, Consensus, ConsensusError, Fetch, Installing, Lane, ListedMember, LostReason, Machine, MachineError,
    MemberList, Peer, Replicated, ReplicatedOptions, Role, Standing, Transport, TransportError,
};
use craton_crypto::SecretBytes;
use craton_log::testing::{Crash, MemoryDisk};
use craton_log::{OnDamage, Wal, WalOptions};
use craton_types::{LogIndex, NodeId};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};

use crate::common::{poll, random};

/// What the entries lead to: the numbers in them, in order. It survives what its host survives: it is on a disk of its
/// own that syncs by itself.
#[derive(Default)]
struct Numbers {
    state: Mutex<(LogIndex, Vec<u64>)>,
    installs: AtomicUsize,
}

fn numbers_of(bytes: &[u8]) -> Vec<u64> {
    let number = |chunk: &[u8]| u64::from_be_bytes(chunk.try_into().expect("eight bytes"));
    bytes.chunks_exact(8).map(number).collect()
}

impl Numbers {
    fn apply(&self, index: LogIndex, payload: &[u8]) {
        let mut state = self.state.lock();
        if index > state.0 {
            state.0 = index;
            state.1.extend(numbers_of(payload));
        }
    }
}

struct NumbersMachine(Arc<Numbers>);

impl Machine for NumbersMachine {
    fn manifest(&self) -> Result<(LogIndex, Bytes), MachineError> {
        let state = self.0.state.lock();
        Ok((state.0, Bytes::from_static(b"all")))
    }

    fn install(&self, _: LogIndex, index: LogIndex, manifest: Bytes, fetch: Fetch) -> Installing {
        let numbers = Arc::clone(&self.0);
        async move {
            let bytes = fetch(manifest).await?;
            let mut state = numbers.state.lock();
            *state = (index, numbers_of(&bytes));
            numbers.installs.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        }
        .boxed()
    }

    fn answer(&self, _: NodeId, _: Bytes) -> BoxFuture<'static, Bytes> {
        let state = self.0.state.lock();
        let bytes: Vec<u8> = state.1.iter().flat_map(|number| number.to_be_bytes()).collect();
        std::future::ready(bytes.into()).boxed()
    }
}

/// How far a file is written: the rest is zeros.
fn used_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

type Members = Arc<RwLock<BTreeMap<u64, Arc<Replicated>>>>;

/// The network: calls between members, unless one of them is cut off.
struct Wire {
    from: u64,
    members: Members,
    isolated: Arc<RwLock<BTreeSet<u64>>>,
}

impl Transport for Wire {
    fn call(&self, peer: Peer, _: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (from, to) = (self.from, peer.id.get());
        let (members, isolated) = (Arc::clone(&self.members), Arc::clone(&self.isolated));
        async move {
            let is_cut = |id: &u64| isolated.read().contains(id);
            let unreachable = || TransportError::Unreachable {
                peer: peer.id,
                reason: "it is cut off".to_owned(),
            };
            let member = members.read().get(&to).cloned();
            let member = member
                .filter(|_| !is_cut(&from) && !is_cut(&to))
                .ok_or_else(unreachable)?;
            let answer = member.answer(NodeId::new(from), request).await;
            match is_cut(&from) || is_cut(&to) {
                true => Err(unreachable()),
                false => Ok(answer),
            }
        }
        .boxed()
    }
}

struct Host {
    disk: MemoryDisk,
    numbers: Arc<Numbers>,
    applier: Option<std::thread::JoinHandle<()>>,
}

pub(crate) struct World {
    hosts: BTreeMap<u64, Host>,
    members: Members,
    isolated: Arc<RwLock<BTreeSet<u64>>>,
    list: MemberList,
    /// How long after its start the others say that a member may take part; nobody is asked when there is none.
    pub(crate) accepted_after: Option<Duration>,
    runtime: tokio::runtime::Runtime,
}

fn list(generation: u64, ids: &[u64]) -> MemberList {
    let members = ids.iter().map(|id| ListedMember {
        id: NodeId::new(*id),
        peer_address: format!("member-{id}"),
    });
    MemberList {
        generation,
        members: members.collect(),
    }
}

impl World {
    pub(crate) fn new(count: u64) -> Self {
        let ids: Vec<u64> = (1..=count).collect();
        let mut world = Self {
            hosts: BTreeMap::new(),
            members: Arc::default(),
            isolated: Arc::default(),
            list: list(1, &ids),
            accepted_after: None,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime"),
        };
        ids.into_iter().for_each(|id| world.add_host(id));
        world
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    /// Waits until all that shall vote do.
    pub(crate) fn form(&mut self) {
        let wanted: Vec<u64> = self.list.members.iter().map(|member| member.id.get()).collect();
        poll("all vote", || self.voters() == wanted);
    }

    pub(crate) fn add_host(&mut self, id: u64) {
        self.hosts.insert(
            id,
            Host {
                disk: MemoryDisk::new(),
                numbers: Arc::default(),
                applier: None,
            },
        );
        self.start(id);
    }

    pub(crate) fn start(&mut self, id: u64) {
        let host = self.hosts.get_mut(&id).expect("a host");
        let disk = Arc::new(host.disk.clone());
        let options = WalOptions {
            segment_bytes: 64 * 1024,
            on_damage: OnDamage::SetAside,
            ..WalOptions::new(NodeId::new(id), SecretBytes::new([7; 32]))
        };
        let (wal, _) = Wal::open(disk.clone(), Path::new("/wal"), options, random()).expect("the log opens");
        let wire = Wire {
            from: id,
            members: Arc::clone(&self.members),
            isolated: Arc::clone(&self.isolated),
        };
        let options = ReplicatedOptions {
            node: NodeId::new(id),
            bootstrap: id == 1,
            members: self.list.clone(),
            transport: Arc::new(wire),
            format: Arc::default(),
            runtime: Some(self.runtime.handle().clone()),
        };
        let applied = host.numbers.state.lock().0;
        let applied = AppliedLog {
            oldest: applied,
            newest: applied,
            heads: Vec::new(),
        };
        let member = Replicated::open(wal, disk, Path::new("/consensus"), applied, options).expect("opened");
        let member = Arc::new(member);
        while let Some(entry) = member.next_recovered().expect("readable") {
            host.numbers.apply(entry.index, &entry.payload);
        }
        if self.accepted_after.is_some() {
            member.set_standing(Standing::Unknown);
        }
        member.start(Arc::new(NumbersMachine(Arc::clone(&host.numbers))));
        if let Some(after) = self.accepted_after {
            std::thread::sleep(after);
            member.set_standing(Standing::Good);
        }
        let (applying, numbers) = (Arc::clone(&member), Arc::clone(&host.numbers));
        host.applier = Some(std::thread::spawn(move || {
            while let Ok(entry) = applying.next_committed() {
                numbers.apply(entry.index, &entry.payload);
            }
        }));
        self.members.write().insert(id, member);
    }

    /// Ends a member, whose host loses power.
    pub(crate) fn kill(&mut self, id: u64) {
        let member = self.members.write().remove(&id).expect("it runs");
        member.close();
        let host = self.hosts.get_mut(&id).expect("a host");
        if let Some(applier) = host.applier.take() {
            applier.join().expect("it ended");
        }
        poll("nobody uses it any more", || Arc::strong_count(&member) == 1);
        poll("it stopped", || member.is_stopped());
        drop(member);
        host.disk.crash(Crash::DropUnsynced);
    }

    /// Flips a bit in the middle of the last segment of a log that is not open, and forgets what was applied.
    pub(crate) fn damage_log(&mut self, id: u64) {
        let host = self.hosts.get_mut(&id).expect("a host");
        let segments = host.disk.paths().into_iter().filter(|path| {
            path.starts_with("/wal")
                && path
                    .extension()
                    .is_some_and(|extension| extension == "wal" || extension == "segment")
        });
        let lengths = segments.map(|path| (used_bytes(&host.disk.contents(&path).expect("a file")), path));
        let (bytes, longest) = lengths.max().expect("a log has a segment");
        host.disk.flip(&longest, bytes as u64 / 2, 1);
        self.forget_applied(id);
    }

    /// What was applied on a host that is down had not been written down.
    pub(crate) fn forget_applied(&mut self, id: u64) {
        self.hosts.get_mut(&id).expect("a host").numbers = Arc::default();
    }

    pub(crate) fn member(&self, id: u64) -> Arc<Replicated> {
        Arc::clone(self.members.read().get(&id).expect("it runs"))
    }

    pub(crate) fn leader(&self) -> u64 {
        self.leader_except(0)
    }

    pub(crate) fn leader_except(&self, not: u64) -> u64 {
        let mut leader = None;
        poll("somebody leads", || {
            let members = self.members.read();
            leader = members
                .iter()
                .find(|(id, member)| **id != not && member.role() == Role::Leader)
                .map(|(id, _)| *id);
            leader.is_some()
        });
        leader.expect("polled")
    }

    /// Proposes a number and waits until it is applied where it was proposed.
    pub(crate) fn propose(&self, id: u64, number: u64) {
        self.propose_times(id, number, 1);
    }

    /// The same with an entry that has the number so many times.
    pub(crate) fn propose_times(&self, id: u64, number: u64, times: usize) {
        let member = self.member(id);
        let lost = Box::new(move |reason| panic!("{number} is lost: {reason:?}"));
        member.propose(number.to_be_bytes().repeat(times), lost).expect("taken");
        poll("it is applied", || self.applied(id).last() == Some(&number));
    }

    /// Proposes a number that is to be lost; says why it was.
    pub(crate) fn propose_lost(&self, id: u64, number: u64) -> Arc<Mutex<Option<LostReason>>> {
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        let lost = Box::new(move |reason| *tell.lock() = Some(reason));
        self.member(id)
            .propose(number.to_be_bytes().to_vec(), lost)
            .expect("taken");
        told
    }

    pub(crate) fn applied(&self, id: u64) -> Vec<u64> {
        self.hosts[&id].numbers.state.lock().1.clone()
    }

    pub(crate) fn installs(&self, id: u64) -> usize {
        self.hosts[&id].numbers.installs.load(Ordering::Relaxed)
    }

    pub(crate) fn isolate(&self, id: u64, isolated: bool) {
        match isolated {
            true => self.isolated.write().insert(id),
            false => self.isolated.write().remove(&id),
        };
    }

    pub(crate) fn read_index(&self, id: u64) -> Result<LogIndex, ConsensusError> {
        self.runtime.block_on(self.member(id).read_index())
    }

    pub(crate) fn last_index_of(&self, id: u64) -> LogIndex {
        self.hosts[&id].numbers.state.lock().0
    }

    /// Lets a member forget everything that it may.
    pub(crate) fn forget(&self, id: u64) {
        let applied = self.last_index_of(id);
        self.member(id).purge(applied, &Vec::new).expect("purged");
    }

    /// The same, and waits for it.
    pub(crate) fn forget_all(&self, id: u64) {
        self.forget(id);
        let member = self.member(id);
        poll("it forgot", || member.status().first > LogIndex::new(10));
    }

    /// How many files the write-ahead log of a member has.
    pub(crate) fn files(&self, id: u64) -> usize {
        self.member(id).segment_count()
    }

    pub(crate) fn set_members(&mut self, generation: u64, ids: &[u64]) {
        self.list = list(generation, ids);
        for member in self.members.read().values() {
            assert!(member.set_members(self.list.clone()), "a newer list is taken");
        }
    }

    pub(crate) fn voters(&self) -> Vec<u64> {
        let members = self.members.read();
        let leader = members.values().find(|member| member.role() == Role::Leader);
        let voters = leader.map(|leader| leader.status().voters).unwrap_or_default();
        voters.into_iter().map(NodeId::get).collect()
    }

    pub(crate) fn drain(&self, id: u64) {
        self.runtime.block_on(self.member(id).drain());
    }
}
