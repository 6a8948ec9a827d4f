//! Three nodes in one process that talk in memory: SQL through each of them, the leader killed, a node that joins late.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Folder, create, rows, session, sqlstate, tag};
use craton_consensus::{Lane, ListedMember, MemberList, MemberRole, Peer, Transport, TransportError};
use craton_engine::{ClusterOptions, Craton, EngineError, Member, fetch_cluster_keys};
use craton_types::{NodeId, Value};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::RwLock;

type Members = Arc<RwLock<BTreeMap<u64, Member>>>;

/// Calls between members that are open.
struct Wire {
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

fn list(ids: &[u64]) -> MemberList {
    let members = ids.iter().map(|id| ListedMember {
        id: NodeId::new(*id),
        peer_address: format!("node-{id}"),
        sql_address: String::new(),
    });
    MemberList {
        generation: ids.len() as u64,
        members: members.collect(),
    }
}

struct World {
    folders: BTreeMap<u64, Folder>,
    nodes: BTreeMap<u64, Craton>,
    members: Members,
}

impl World {
    async fn new(ids: &[u64]) -> Self {
        let mut world = Self {
            folders: ids.iter().map(|id| (*id, Folder::new())).collect(),
            nodes: BTreeMap::new(),
            members: Arc::default(),
        };
        for id in ids {
            world.open(*id, ids).await;
        }
        world
    }

    async fn open(&mut self, id: u64, ids: &[u64]) {
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
        let options = folder.options().cluster(ClusterOptions {
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
        let node = node.expect("the node opens");
        self.members.write().insert(id, node.member().expect("a member"));
        self.nodes.insert(id, node);
    }

    async fn close(&mut self, id: u64) {
        self.members.write().remove(&id);
        let node = self.nodes.remove(&id).expect("it is open");
        tokio::task::spawn_blocking(move || node.close().expect("closed"))
            .await
            .expect("no panic");
    }

    async fn leader(&self) -> u64 {
        poll("somebody leads", || {
            let members = self.members.read();
            let leads = |member: &Member| member.status().role == MemberRole::Leader;
            members.iter().find(|(_, member)| leads(member)).map(|(id, _)| *id)
        })
        .await
    }

    async fn voters(&self, expected: &[u64]) {
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
    async fn compare_logs(&self) {
        poll("all logs are equal", || {
            let logs: Vec<_> = self.folders.values().map(logs).collect();
            logs.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        })
        .await;
    }
}

/// The names and records of the tenants' logs of a node.
fn logs(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
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

async fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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

const TABLE: &str = "CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL)";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_node_takes_statements_and_all_hold_the_same_records() {
    let world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    create(&world.nodes[&2], "main").await;
    for (id, node) in &world.nodes {
        poll("the database is known everywhere", || node.tenant("main").map(drop)).await;
        poll("the user is known everywhere", || node.user("main_app").map(drop)).await;
        let mut session = session(node, "main");
        if *id == 1 {
            tag(&mut session, TABLE).await;
        }
        tag(
            &mut session,
            &format!("INSERT INTO people VALUES ({id}, 'through {id}')"),
        )
        .await;
        assert_eq!(
            sqlstate(&mut session, &format!("INSERT INTO people VALUES ({id}, 'again')")).await,
            "23505"
        );
        let count = rows(&mut session, "SELECT count(*) FROM people").await;
        assert_eq!(
            count,
            [[Value::Int(i64::try_from(*id).expect("small"))]],
            "node {id} sees what all wrote"
        );
    }
    world.compare_logs().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_go_on_after_the_leader_closed_and_it_gets_what_it_missed() {
    let mut world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    let first = world.leader().await;
    create(&world.nodes[&first], "main").await;
    let mut through_first = session(&world.nodes[&first], "main");
    tag(&mut through_first, TABLE).await;
    tag(&mut through_first, "INSERT INTO people VALUES (1, 'before')").await;
    drop(through_first);
    world.close(first).await;
    let other = *world.nodes.keys().next().expect("two are left");
    poll("the user is known", || world.nodes[&other].user("main_app").map(drop)).await;
    let mut through_other = session(&world.nodes[&other], "main");
    tag(&mut through_other, "INSERT INTO people VALUES (2, 'after')").await;
    drop(through_other);
    world.open(first, &[1, 2, 3]).await;
    let mut again = session(&world.nodes[&first], "main");
    let names = rows(&mut again, "SELECT name FROM people ORDER BY id").await;
    assert_eq!(
        names,
        [[Value::Text("before".to_owned())], [Value::Text("after".to_owned())]]
    );
    world.compare_logs().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_with_a_damaged_write_ahead_log_comes_back() {
    let mut world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    let leader = world.leader().await;
    create(&world.nodes[&leader], "main").await;
    let mut through_leader = session(&world.nodes[&leader], "main");
    tag(&mut through_leader, TABLE).await;
    for id in 0..20 {
        tag(
            &mut through_leader,
            &format!("INSERT INTO people VALUES ({id}, 'before')"),
        )
        .await;
    }
    let damaged = *world.nodes.keys().find(|id| **id != leader).expect("two follow");
    world.compare_logs().await;
    // Closing brings everything to the disk, so the tenants' logs hold more than the damaged log then.
    world.close(damaged).await;
    damage_write_ahead_log(&world.folders[&damaged]);
    tag(&mut through_leader, "INSERT INTO people VALUES (20, 'meanwhile')").await;
    world.open(damaged, &[1, 2, 3]).await;
    poll("it has back what it lost", || {
        let members = world.members.read();
        (!members[&damaged].status().is_incomplete).then_some(())
    })
    .await;
    let mut again = session(&world.nodes[&damaged], "main");
    assert_eq!(
        rows(&mut again, "SELECT count(*) FROM people").await,
        [[Value::Int(21)]]
    );
    world.compare_logs().await;
}

/// Flips a bit in the middle of what the longest segment holds.
fn damage_write_ahead_log(folder: &Folder) {
    let files = std::fs::read_dir(folder.data().join("wal")).expect("the log");
    let segments = files
        .map(|file| file.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    let written = segments.map(|path| {
        let bytes = std::fs::read(&path).expect("readable");
        (bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0), path)
    });
    let (end, longest) = written.max().expect("a segment");
    let mut bytes = std::fs::read(&longest).expect("readable");
    bytes[end / 2] ^= 1;
    std::fs::write(&longest, bytes).expect("writable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_alone_grows_into_a_cluster_and_a_late_one_is_given_all_of_it() {
    let folder = Folder::new();
    {
        let alone = folder.open();
        create(&alone, "main").await;
        let mut session = session(&alone, "main");
        tag(&mut session, TABLE).await;
        for id in 0..50 {
            tag(&mut session, &format!("INSERT INTO people VALUES ({id}, 'alone')")).await;
        }
        drop(session);
        tokio::task::spawn_blocking(move || alone.close().expect("closed"))
            .await
            .expect("no panic");
    }
    let mut world = World {
        folders: BTreeMap::from([(1, folder)]),
        nodes: BTreeMap::new(),
        members: Arc::default(),
    };
    for id in [1, 2, 3] {
        world.open(id, &[1, 2, 3]).await;
    }
    world.voters(&[1, 2, 3]).await;
    poll("the late one knows the user", || {
        world.nodes[&3].user("main_app").map(drop)
    })
    .await;
    let mut late = session(&world.nodes[&3], "main");
    assert_eq!(rows(&mut late, "SELECT count(*) FROM people").await, [[Value::Int(50)]]);
    drop(late);
    world.compare_logs().await;
    world.close(2).await;
    let refused = world.folders[&2].options().open(world.folders[&2].data());
    assert!(matches!(refused, Err(EngineError::ClusterMember { .. })));
}
