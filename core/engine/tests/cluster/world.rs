//! Nodes in one process that talk in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use craton_consensus::{Lane, ListedMember, MemberList, MemberRole, Peer, Transport, TransportError};
use craton_engine::{ClusterOptions, Craton, EngineError, Member, ScrubOptions, fetch_cluster_keys};
use craton_types::{Format, FormatVersion, NodeId};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::RwLock;

use crate::common::Folder;

pub(crate) type Members = Arc<RwLock<BTreeMap<u64, Member>>>;

/// Calls between members that are open.
pub(crate) struct Wire {
    from: u64,
    members: Members,
}

impl Transport for Wire {
    fn call(&self, peer: Peer, _: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (from, members) = (NodeId::new(self.from), Arc::clone(&self.members));
        async move {
            let member = members.read().get(&peer.id.get()).cloned();
            let member = member.ok_or(TransportError::Unreachable {
                peer: peer.id,
                reason: "it is not open".to_owned(),
            })?;
            Ok(member.answer(from, request).await)
        }
        .boxed()
    }
}

pub(crate) fn list(ids: &[u64]) -> MemberList {
    let members = ids.iter().map(|id| ListedMember {
        id: NodeId::new(*id),
        peer_address: format!("node-{id}"),
    });
    MemberList {
        generation: ids.len() as u64,
        members: members.collect(),
    }
}

pub(crate) struct World {
    /// The newest version of the formats that a node's build knows, where it is not this build's.
    pub(crate) builds: BTreeMap<u64, FormatVersion>,
    pub(crate) folders: BTreeMap<u64, Folder>,
    pub(crate) nodes: BTreeMap<u64, Craton>,
    pub(crate) members: Members,
}

impl World {
    pub(crate) async fn new(ids: &[u64]) -> Self {
        Self::of_builds(ids, BTreeMap::new()).await
    }

    pub(crate) async fn of_builds(ids: &[u64], builds: BTreeMap<u64, FormatVersion>) -> Self {
        let mut world = Self {
            builds,
            folders: ids.iter().map(|id| (*id, Folder::new())).collect(),
            nodes: BTreeMap::new(),
            members: Arc::default(),
        };
        for id in ids {
            world.open(*id, ids).await;
        }
        world
    }

    pub(crate) async fn open(&mut self, id: u64, ids: &[u64]) {
        self.try_open(id, ids).await.expect("the node opens");
    }

    /// Closes a node and opens it with another build.
    pub(crate) async fn reopen(&mut self, id: u64, newest: FormatVersion, ids: &[u64]) -> Result<(), EngineError> {
        self.close(id).await;
        self.builds.insert(id, newest);
        self.try_open(id, ids).await
    }

    async fn try_open(&mut self, id: u64, ids: &[u64]) -> Result<(), EngineError> {
        let folder = self.folders.entry(id).or_insert_with(Folder::new);
        let transport = Arc::new(Wire {
            from: id,
            members: Arc::clone(&self.members),
        });
        let is_new = !folder.data().exists();
        let keys = match is_new && id != 1 {
            true => Some(
                fetch_cluster_keys(
                    transport.as_ref(),
                    Peer {
                        id: NodeId::new(1),
                        address: "node-1".to_owned(),
                    },
                )
                .await
                .expect("the first node gives the keys"),
            ),
            false => None,
        };
        let scrub = ScrubOptions {
            bytes_per_second: 64 * 1024 * 1024,
            pause: Duration::from_millis(200),
        };
        let newest = self.builds.get(&id).copied().unwrap_or(FormatVersion::NEWEST);
        let options = folder.options().scrub(scrub).format(Arc::new(Format::new(newest)));
        let options = options.cluster(ClusterOptions {
            node: NodeId::new(id),
            bootstrap: id == 1,
            members: list(ids),
            transport,
            keys,
            runtime: None,
        });
        let data = folder.data();
        let node = tokio::task::spawn_blocking(move || options.open(data))
            .await
            .expect("no panic");
        let node = node?;
        self.members.write().insert(id, node.member().expect("a member"));
        self.nodes.insert(id, node);
        Ok(())
    }

    pub(crate) async fn close(&mut self, id: u64) {
        self.members.write().remove(&id);
        let node = self.nodes.remove(&id).expect("it is open");
        tokio::task::spawn_blocking(move || node.close().expect("closed"))
            .await
            .expect("no panic");
    }

    pub(crate) async fn leader(&self) -> u64 {
        poll("somebody leads", || {
            let members = self.members.read();
            let leads = |member: &Member| member.status().role == MemberRole::Leader;
            members.iter().find(|(_, member)| leads(member)).map(|(id, _)| *id)
        })
        .await
    }

    pub(crate) async fn voters(&self, expected: &[u64]) {
        poll("all vote", || {
            let members = self.members.read();
            let is_so = |member: &Member| {
                let voters: Vec<u64> = member.status().voters.into_iter().map(NodeId::get).collect();
                voters == expected
            };
            members.values().all(is_so).then_some(())
        })
        .await;
    }

    /// Waits until all logs are equally long, and compares every file of them.
    pub(crate) async fn compare_logs(&self) {
        poll("all logs are equal", || {
            let logs: Vec<_> = self.folders.values().map(logs).collect();
            logs.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        })
        .await;
    }
}

/// The names and records of the tenants' logs of a node.
pub(crate) fn logs(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for tenant in folder.tenants() {
        for entry in std::fs::read_dir(tenant.join("log")).expect("a log") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "segment") {
                let name = path.strip_prefix(folder.data()).expect("inside").display().to_string();
                files.insert(name, std::fs::read(&path).expect("readable"));
            }
        }
    }
    files
}

pub(crate) async fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "a test's deadline")]
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        #[expect(clippy::disallowed_methods, reason = "a test's deadline")]
        let now = Instant::now();
        assert!(now < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
