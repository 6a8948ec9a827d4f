//! Three server processes that form a cluster over TLS: statements through any of them, the leader killed, refusals of
//! whoever does not belong.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

use crate::support::{CLUSTER, World, write_private};

/// Who signs the members' certificates.
struct PeerAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl PeerAuthority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name.push(DnType::CommonName, "Members");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            pem: parameters.self_signed(&key).expect("signable").pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// Gives a member its certificate.
    fn issue(&self, world: &World, id: u64, cluster: &str) {
        let key = KeyPair::generate().expect("a key");
        let name = format!("node-{id}.{cluster}.peer.craton.internal");
        let mut parameters = CertificateParams::new(vec![name]).expect("a name");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signable");
        fs::write(world.path("peer.crt"), certificate.pem()).expect("writable");
        write_private(&world.path("peer.key"), &key.serialize_pem());
        fs::write(world.path("peer.ca"), &self.pem).expect("writable");
    }
}

struct Cluster {
    authority: PeerAuthority,
    ports: Vec<u16>,
    nodes: Vec<World>,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    listener.local_addr().expect("bound").port()
}

impl Cluster {
    fn prepare(count: usize) -> Self {
        let mut cluster = Self {
            authority: PeerAuthority::new(),
            ports: (0..count).map(|_| free_port()).collect(),
            nodes: Vec::new(),
        };
        for id in 1..=count {
            let world = cluster.prepare_node(id);
            cluster.nodes.push(world);
        }
        cluster
    }

    fn start(count: usize) -> Self {
        let mut cluster = Self::prepare(count);
        // The first one forms the cluster, the others wait for its keys.
        cluster.nodes.iter_mut().for_each(World::spawn);
        cluster.wait_until_all_serve();
        cluster
    }

    fn members(&self) -> Value {
        let members: Vec<_> = (1..)
            .zip(&self.ports)
            .map(|(id, port)| json!({"node_id": id, "peer_address": format!("127.0.0.1:{port}")}))
            .collect();
        json!({"generation": 1, "members": members})
    }

    fn prepare_node(&self, id: usize) -> World {
        let mut world = World::prepare(&[]);
        fs::write(world.path("members.json"), self.members().to_string()).expect("writable");
        self.authority.issue(&world, id as u64, CLUSTER);
        let file = |name: &str| world.path(name).display().to_string();
        let listen = format!("127.0.0.1:{}", self.ports[id - 1]);
        let id = id.to_string();
        let (certificate, key, authority, members) = (
            file("peer.crt"),
            file("peer.key"),
            file("peer.ca"),
            file("members.json"),
        );
        let mut arguments = vec![
            "--node-id",
            &id,
            "--peer-listen",
            &listen,
            "--peer-cert",
            &certificate,
            "--peer-key",
            &key,
            "--peer-ca",
            &authority,
            "--members",
            &members,
        ];
        if id == "1" {
            arguments.push("--bootstrap");
        }
        world.add_arguments(&arguments);
        world
    }

    fn wait_until_all_serve(&self) {
        let all = self.nodes.len();
        for world in &self.nodes {
            world.wait_for("readiness of every member", || {
                let voters = status(world)["voters"].as_array().map_or(0, Vec::len);
                (voters == all && world.http("/ready").status == 200).then_some(())
            });
        }
    }

    /// The place of the leader among the nodes that run.
    fn leader(&self) -> usize {
        self.nodes[0].wait_for("a leader", || {
            self.nodes
                .iter()
                .position(|world| world.is_running() && status(world)["role"] == "leader")
        })
    }
}

/// The codes of the reasons that a member gives for something.
fn explained(world: &World, why: &str) -> Vec<String> {
    let explanation = world.admin("GET", "/v1/explain", None).json();
    let reasons = explanation["reasons"].as_array().expect("reasons").iter();
    let codes = reasons.filter(|reason| reason["why"] == why).map(|reason| {
        assert!(
            reason["advice"].as_str().is_some_and(|advice| !advice.is_empty()),
            "{reason}"
        );
        reason["code"].as_str().expect("a code").to_owned()
    });
    codes.collect()
}

fn status(world: &World) -> Value {
    world.admin("GET", "/v1/status", None).json()["cluster"].clone()
}

#[test]
fn statements_go_through_any_member_and_survive_the_leader() {
    let mut cluster = Cluster::start(3);
    cluster.nodes[1].put_database("main");
    cluster.nodes[2].put_user("app", crate::support::PASSWORD, &["main"], false);
    cluster.nodes[0].psql("CREATE TABLE visits (id bigint PRIMARY KEY, note text)");
    for (id, world) in (1..).zip(&cluster.nodes) {
        world.psql(&format!("INSERT INTO visits VALUES ({id}, 'through member {id}')"));
        assert_eq!(world.psql("SELECT count(*) FROM visits"), id.to_string());
    }
    let leader = cluster.leader();
    cluster.nodes[leader].kill();
    let others: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    for (id, place) in (4..).zip(&others) {
        cluster.nodes[*place].psql(&format!("INSERT INTO visits VALUES ({id}, 'after the leader died')"));
    }
    assert_eq!(cluster.nodes[others[0]].psql("SELECT count(*) FROM visits"), "5");
    cluster.nodes[leader].spawn();
    cluster.wait_until_all_serve();
    assert_eq!(cluster.nodes[leader].psql("SELECT count(*) FROM visits"), "5");
    let token = cluster.nodes[others[0]].psql("SHOW craton.consistency_token");
    let seen = cluster.nodes[others[1]].psql(&format!(
        "SET craton.consistency = 'causal'; SET craton.consistency_token = '{token}'; SELECT count(*) FROM visits"
    ));
    assert_eq!(seen.lines().last(), Some("5"));
}

#[test]
fn a_leader_that_stands_still_holds_up_nobody_for_long() {
    let cluster = Cluster::start(3);
    cluster.nodes[0].put_database("main");
    cluster.nodes[0].put_user("app", crate::support::PASSWORD, &["main"], false);
    cluster.nodes[0].psql("CREATE TABLE visits (id bigint PRIMARY KEY)");
    for id in 1..=3 {
        let leader = cluster.leader();
        let other = (leader + 1) % 3;
        cluster.nodes[leader].signal(rustix::process::Signal::STOP);
        cluster.nodes[other].psql(&format!("INSERT INTO visits VALUES ({id})"));
        cluster.nodes[leader].signal(rustix::process::Signal::CONT);
        cluster.wait_until_all_serve();
        assert_eq!(
            cluster.nodes[leader].psql("SELECT count(*) FROM visits"),
            id.to_string()
        );
    }
    let leader = cluster.leader();
    assert_eq!(explained(&cluster.nodes[leader], "not_leader"), [""; 0]);
    assert_eq!(explained(&cluster.nodes[(leader + 1) % 3], "not_leader"), ["follows"]);
    let lags = status(&cluster.nodes[leader])["lags"].clone();
    assert_eq!(lags.as_array().map(Vec::len), Some(2), "{lags}");
    // Without a majority nothing is acknowledged, and the leader says why.
    let others: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    others
        .iter()
        .for_each(|place| cluster.nodes[*place].signal(rustix::process::Signal::STOP));
    let refused = cluster.nodes[leader].psql_as("app", "main", "INSERT INTO visits VALUES (9)");
    assert!(refused.expect_err("nobody else has it").contains("57P03"));
    let reply = cluster.nodes[leader].http("/ready");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.text.contains("a majority does not answer"), "{reply:?}");
    assert_eq!(explained(&cluster.nodes[leader], "not_ready"), ["no_majority"]);
    others
        .iter()
        .for_each(|place| cluster.nodes[*place].signal(rustix::process::Signal::CONT));
    cluster.wait_until_all_serve();
    assert_eq!(cluster.nodes[leader].psql("SELECT count(*) FROM visits"), "3");
}

#[test]
fn a_member_that_drains_hands_over_and_no_write_fails() {
    let cluster = Cluster::start(3);
    cluster.nodes[0].put_database("main");
    cluster.nodes[0].put_user("app", crate::support::PASSWORD, &["main"], false);
    cluster.nodes[0].psql("CREATE TABLE visits (id bigint PRIMARY KEY)");
    let leader = cluster.leader();
    let reply = cluster.nodes[leader].admin("POST", "/v1/drain", None);
    assert_eq!(reply.status, 204, "{reply:?}");
    cluster.nodes[leader].psql("INSERT INTO visits VALUES (1)");
    let other = cluster.nodes[leader].wait_for("another leader", || {
        let now = cluster.leader();
        (now != leader).then_some(now)
    });
    assert_eq!(cluster.nodes[other].psql("SELECT count(*) FROM visits"), "1");
}

#[test]
fn whoever_does_not_belong_is_refused() {
    let mut cluster = Cluster::start(1);
    let members = cluster.members();
    // Certificates of another authority, of another cluster, and of a number that another node has.
    let strange_authority = PeerAuthority::new();
    for (what, authority, cluster_in_name, region) in [
        ("another authority", Some(&strange_authority), CLUSTER, None),
        ("another cluster's name", None, "clu_other", None),
        ("another region", None, CLUSTER, Some("us-east")),
    ] {
        let mut world = World::prepare(&[]);
        fs::write(world.path("members.json"), members.to_string()).expect("writable");
        authority
            .unwrap_or(&cluster.authority)
            .issue(&world, 2, cluster_in_name);
        let file = |name: &str| world.path(name).display().to_string();
        let (certificate, key, authority, list) = (
            file("peer.crt"),
            file("peer.key"),
            file("peer.ca"),
            file("members.json"),
        );
        world.add_arguments(&[
            "--node-id",
            "2",
            "--peer-listen",
            "127.0.0.1:0",
            "--peer-cert",
            &certificate,
            "--peer-key",
            &key,
            "--peer-ca",
            &authority,
            "--members",
            &list,
        ]);
        if let Some(region) = region {
            world.add_arguments(&["--region", region]);
        }
        let mut child = world.start_process();
        let refused = world.wait_for(what, || {
            let log = world.log();
            let ended = child.try_wait().expect("a child").is_some();
            (ended || log.contains("waiting for another member")).then_some(log)
        });
        let expected = match region {
            Some(_) => &["member 2 is in region us-east, this cluster is in no region"][..],
            None => &["is not that of node-2", "cannot be reached", "refuses this node"],
        };
        assert!(expected.iter().any(|part| refused.contains(part)), "{what}: {refused}");
        child.kill().expect("a child");
        child.wait().expect("a child");
        world.expect_in_log("is not that of node-2");
        world.expect_in_log("a member refuses this node");
        world.expect_in_log("waiting for another member");
    }
    cluster.nodes[0].expect_in_log("a connection between members was refused");
    let alone = cluster.nodes[0].admin(
        "PUT",
        "/v1/members",
        Some(r#"{"generation": 2, "members": [{"node_id": 0}]}"#),
    );
    assert_eq!(alone.status, 422, "{alone:?}");
}

/// Copies a folder.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => copy_folder(&entry.path(), &target),
            kind if kind.is_file() => {
                fs::copy(entry.path(), target).expect("a copy");
            }
            _ => {}
        }
    }
}

/// Puts a directory in the place of a member's, which does not run, and starts it: it must say why it may not take part, and the
/// others go on.
fn expect_refused(cluster: &mut Cluster, place: usize, directory: &Path, why: &str) {
    for world in &mut cluster.nodes {
        world.expect_in_log("may not take part");
    }
    let data = cluster.nodes[place].data_dir();
    fs::remove_dir_all(&data).expect("removed");
    copy_folder(directory, &data);
    cluster.nodes[place].spawn();
    let world = &cluster.nodes[place];
    world.wait_for("the refusal", || {
        explained(world, "not_ready")
            .contains(&"refused".to_owned())
            .then_some(())
    });
    let reply = world.http("/ready");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.text.contains(why), "{reply:?}");
    let other = (place + 1) % cluster.nodes.len();
    cluster.nodes[other].psql("INSERT INTO visits VALUES (1000)");
    assert_eq!(
        cluster.nodes[other].psql("SELECT count(*) FROM visits WHERE id = 1000"),
        "1"
    );
}

/// A cluster with a table, and the place of one that does not lead and did not form it.
fn start_with_table() -> (Cluster, usize) {
    let cluster = Cluster::start(3);
    cluster.nodes[0].put_database("main");
    cluster.nodes[0].put_user("app", crate::support::PASSWORD, &["main"], false);
    cluster.nodes[0].psql("CREATE TABLE visits (id bigint PRIMARY KEY)");
    let leader = cluster.leader();
    (cluster, if leader == 2 { 1 } else { 2 })
}

#[test]
fn a_directory_that_was_put_back_from_an_older_copy_is_refused() {
    let (mut cluster, place) = start_with_table();
    cluster.nodes[place].expect_in_log("torn tail");
    cluster.nodes[place].expect_in_log("mended");
    cluster.nodes[place].kill();
    let older = tempfile::tempdir().expect("a folder");
    copy_folder(&cluster.nodes[place].data_dir(), older.path());
    cluster.nodes[place].spawn();
    cluster.wait_until_all_serve();
    cluster.nodes[place].kill();
    expect_refused(&mut cluster, place, older.path(), "an older copy");
}

#[test]
fn a_new_directory_under_a_number_that_was_used_is_refused() {
    let (mut cluster, place) = start_with_table();
    cluster.nodes[place].expect_in_log("torn tail");
    cluster.nodes[place].kill();
    let empty = tempfile::tempdir().expect("a folder");
    expect_refused(&mut cluster, place, empty.path(), "a second one");
}

#[test]
fn a_directory_of_another_cluster_of_the_same_name_is_refused() {
    let (mut cluster, place) = start_with_table();
    let mut other = Cluster::start(3);
    for world in [&mut cluster.nodes[place], &mut other.nodes[place]] {
        world.expect_in_log("torn tail");
        world.expect_in_log("mended");
        world.kill();
    }
    let key = "master.key";
    fs::remove_file(cluster.nodes[place].path(key)).expect("removed");
    fs::copy(other.nodes[place].path(key), cluster.nodes[place].path(key)).expect("a copy");
    let strange = other.nodes[place].data_dir();
    expect_refused(&mut cluster, place, &strange, "another cluster");
}

#[test]
fn a_second_process_under_the_number_of_one_that_runs_is_refused() {
    let (mut cluster, place) = start_with_table();
    for world in &mut cluster.nodes {
        world.expect_in_log("may not take part");
    }
    for part in ["torn tail", "mended"] {
        cluster.nodes[place].expect_in_log(part);
    }
    cluster.nodes[place].kill();
    let mut second = cluster.prepare_node(place + 1);
    for part in ["torn tail", "mended", "may not take part"] {
        second.expect_in_log(part);
    }
    copy_folder(&cluster.nodes[place].data_dir(), &second.data_dir());
    fs::copy(cluster.nodes[place].path("master.key"), second.path("master.key")).expect("a copy");
    cluster.nodes[place].spawn();
    cluster.wait_until_all_serve();
    // The same certificate, the same directory, another address.
    second.add_arguments(&["--peer-listen", "127.0.0.1:0"]);
    second.spawn();
    second.wait_for("the refusal", || {
        explained(&second, "not_ready")
            .contains(&"refused".to_owned())
            .then_some(())
    });
    let reply = second.http("/ready");
    assert!(reply.text.contains("a second one"), "{reply:?}");
    cluster.wait_until_all_serve();
    cluster.nodes[place].psql("INSERT INTO visits VALUES (1)");
    assert_eq!(cluster.nodes[place].psql("SELECT count(*) FROM visits"), "1");
}

#[test]
fn a_member_that_is_told_another_cluster_id_does_not_start() {
    let (mut cluster, place) = start_with_table();
    for part in ["torn tail", "mended"] {
        cluster.nodes[place].expect_in_log(part);
    }
    cluster.nodes[place].kill();
    let world = &mut cluster.nodes[place];
    world.add_arguments(&["--cluster-id", "clu_other"]);
    world.expect_in_log("is not that of node-");
    let status = world.start_process().wait().expect("a child");
    assert_eq!(status.code(), Some(1));
    let name = format!("is not that of node-{}.clu_other.peer.craton.internal", place + 1);
    assert!(world.log().contains(&name), "{}", world.log());
}

#[test]
fn a_member_whose_write_ahead_log_is_damaged_gets_everything_back_and_says_so() {
    let (mut cluster, place) = start_with_table();
    for id in 0..20 {
        cluster.nodes[place].psql(&format!("INSERT INTO visits VALUES ({id})"));
    }
    cluster.nodes[place].expect_in_log("the last checkpoints were not made in time");
    cluster.nodes[place].terminate();
    let wal = cluster.nodes[place].data_dir().join("wal");
    let files = fs::read_dir(wal)
        .expect("the log")
        .map(|file| file.expect("an entry").path());
    let segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    let used = segments.map(|path| {
        let bytes = fs::read(&path).expect("readable");
        (bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0), path)
    });
    let (end, path) = used.max().expect("a segment");
    let mut bytes = fs::read(&path).expect("readable");
    bytes[end / 2] ^= 1;
    fs::write(&path, bytes).expect("writable");
    for part in ["mended", "set aside", "damaged", "incomplete"] {
        cluster.nodes[place].expect_in_log(part);
    }
    cluster.nodes[place].spawn();
    cluster.wait_until_all_serve();
    assert_eq!(cluster.nodes[place].psql("SELECT count(*) FROM visits"), "20");
    let member = place + 1;
    let sql = format!(
        "SELECT DISTINCT member FROM craton_recoveries WHERE area = 'write_ahead_log' AND action = 'set_aside' AND member = {member}"
    );
    cluster.nodes[place].wait_for("the record of it", || {
        (cluster.nodes[place].psql(&sql) == member.to_string()).then_some(())
    });
}
