//! Stories of clusters.

use craton_agent_protocol::MemberId;
use craton_platform_kernel::{Environment, NodeId, OperationId, testing};
use jiff::Timestamp;

use super::*;
use crate::aggregate::member::{Change, MemberEndpoint, PendingChange, PlacedMember};
use crate::aggregate::story::{decide, state};
use crate::name::ClusterHost;

pub(crate) fn new_cluster(environment: &Environment) -> NewCluster {
    let cluster_id = environment.new_id();
    NewCluster {
        cluster_id,
        org_id: environment.new_id(),
        name: "clinic".into(),
        region: "local".into(),
        node_count: 1,
        host: ClusterHost::new("clinic", cluster_id, "local", "craton.localhost"),
        databases: vec!["main".into(), "probe".into()],
        user: "app".into(),
        user_databases: vec!["main".into()],
        scram_verifier: "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy".into(),
        operation_id: environment.new_id(),
        created_at: environment.now(),
    }
}

/// The first members, on these nodes.
pub(crate) fn placed(nodes: &[NodeId]) -> Event {
    let members = (1..).zip(nodes).map(|(number, node_id)| PlacedMember {
        member_id: member(number),
        node_id: *node_id,
    });
    Event::Placed {
        members: members.collect(),
    }
}

pub(crate) fn member(number: u64) -> MemberId {
    MemberId::new(number).unwrap()
}

/// A ready cluster with a member on each of these nodes.
pub(crate) fn ready_on(environment: &Environment, nodes: &[NodeId]) -> Vec<Event> {
    let new = NewCluster {
        node_count: u32::try_from(nodes.len()).unwrap(),
        ..new_cluster(environment)
    };
    let at = environment.now();
    vec![Event::Created(new), placed(nodes), Event::Ready { at }]
}

pub(crate) fn endpoint(port: u16) -> MemberEndpoint {
    MemberEndpoint {
        address: [127, 0, 0, 1].into(),
        port,
        https_port: port + 2,
        peer_port: port + 1,
    }
}

#[test]
fn members_are_numbered_once_and_the_generation_follows_who_is_in_the_group() {
    let environment = testing::environment();
    let nodes: Vec<NodeId> = (0..3).map(|_| environment.new_id()).collect();
    let operation_id: OperationId = environment.new_id();
    let mut given = ready_on(&environment, &nodes);
    let scale = Change::Scale { node_count: 5 };
    let story = [
        (
            Command::RecordEndpoint {
                member_id: member(1),
                endpoint: endpoint(10),
            },
            1,
        ),
        // Seen again: nothing is new.
        (
            Command::RecordEndpoint {
                member_id: member(1),
                endpoint: endpoint(10),
            },
            1,
        ),
        (
            Command::RecordEndpoint {
                member_id: member(1),
                endpoint: endpoint(20),
            },
            2,
        ),
        (
            Command::RequestChange {
                operation_id,
                change: scale,
                ended: None,
            },
            2,
        ),
        (
            Command::AddMembers {
                operation_id,
                nodes: nodes[..2].to_vec(),
            },
            2,
        ),
        (
            Command::RecordEndpoint {
                member_id: member(5),
                endpoint: endpoint(30),
            },
            3,
        ),
        (
            Command::ReleaseMembers {
                member_ids: vec![member(5), member(2)],
            },
            4,
        ),
        (
            Command::ReleaseMembers {
                member_ids: vec![member(5)],
            },
            4,
        ),
        (Command::BeginRemoval { member_id: member(5) }, 4),
        (Command::BeginRemoval { member_id: member(5) }, 4),
        (Command::RecordRemoved { member_id: member(5) }, 4),
        (Command::RecordRemoved { member_id: member(5) }, 4),
        // The number does not come back.
        (
            Command::AddMembers {
                operation_id,
                nodes: nodes[..1].to_vec(),
            },
            4,
        ),
        (Command::FinishChange { operation_id }, 4),
        (Command::FinishChange { operation_id }, 4),
    ];
    for (command, generation) in story {
        given.extend(decide::<Cluster>(&given, command.clone()).unwrap_or_else(|error| panic!("{command:?}: {error}")));
        assert_eq!(
            state::<Cluster>(&given).unwrap().members_generation,
            generation,
            "{command:?}"
        );
    }
    let cluster = state::<Cluster>(&given).unwrap();
    let standings: Vec<_> = cluster
        .members
        .iter()
        .map(|(id, m)| (id.get(), m.standing.as_str()))
        .collect();
    assert_eq!(
        standings,
        [
            (1, "wanted"),
            (2, "leaving"),
            (3, "wanted"),
            (4, "wanted"),
            (6, "wanted")
        ]
    );
    assert_eq!((cluster.node_count, cluster.change), (5, None));
}

#[test]
fn a_cluster_is_changed_by_one_operation_at_a_time() {
    let environment = testing::environment();
    let nodes: Vec<NodeId> = (0..3).map(|_| environment.new_id()).collect();
    let [first, second]: [OperationId; 2] = [environment.new_id(), environment.new_id()];
    let request = |operation_id, change, ended| Command::RequestChange {
        operation_id,
        change,
        ended,
    };
    let scale = |node_count| Change::Scale { node_count };
    let replace = |number| Change::Replace {
        member_id: member(number),
    };
    let upgrade = || Change::Upgrade {
        version: "0.2.0".into(),
    };
    let ready = ready_on(&environment, &nodes);
    let pending = PendingChange {
        operation_id: first,
        change: scale(5),
    };
    let changing = [&ready[..], &[Event::ChangeRequested(pending.clone())]].concat();
    let asked = |change: Change| {
        Ok(vec![Event::ChangeRequested(PendingChange {
            operation_id: second,
            change,
        })])
    };
    let table = [
        (&ready[..], request(second, scale(3), None), Err(Refusal::Unchanged)),
        (&ready[..], request(second, scale(1), None), asked(scale(1))),
        (&ready[..], request(second, replace(3), None), asked(replace(3))),
        (
            &ready[..],
            request(second, replace(4), None),
            Err(Refusal::UnknownMember(member(4))),
        ),
        (&ready[..], request(second, upgrade(), None), asked(upgrade())),
        (
            &changing[..],
            request(second, upgrade(), None),
            Err(Refusal::ChangePending(pending.clone())),
        ),
        (
            &changing[..],
            request(second, upgrade(), Some(second)),
            Err(Refusal::ChangePending(pending)),
        ),
        (&changing[..], request(second, scale(3), Some(first)), asked(scale(3))),
        (
            &ready[..2],
            request(second, upgrade(), None),
            Err(Refusal::Lifecycle(Lifecycle::Provisioning)),
        ),
        (
            &ready[..],
            Command::AddMembers {
                operation_id: second,
                nodes: vec![],
            },
            Err(Refusal::OtherOperation(second)),
        ),
        (
            &ready[..],
            Command::BeginRemoval { member_id: member(1) },
            Err(Refusal::UnknownMember(member(1))),
        ),
    ];
    for (given, when, then) in table {
        assert_eq!(decide::<Cluster>(given, when.clone()), then, "{when:?}");
    }
}

#[test]
fn a_newer_format_version_is_asked_for_while_its_operation_goes_on_and_kept_when_it_succeeded() {
    let environment = testing::environment();
    let nodes: Vec<NodeId> = (0..3).map(|_| environment.new_id()).collect();
    let [first, second]: [OperationId; 2] = [environment.new_id(), environment.new_id()];
    let set = |operation_id| Command::SetFormatVersion {
        operation_id,
        format_version: 2,
    };
    let withdraw = |operation_id| Command::WithdrawFormatVersion { operation_id };
    let mut given = ready_on(&environment, &nodes);
    assert_eq!(
        decide::<Cluster>(&given, set(first)),
        Err(Refusal::OtherOperation(first))
    );
    given.push(Event::ChangeRequested(PendingChange {
        operation_id: first,
        change: Change::Finalize { format_version: 2 },
    }));
    assert_eq!(
        decide::<Cluster>(&given, set(second)),
        Err(Refusal::OtherOperation(second))
    );
    assert_eq!(
        decide::<Cluster>(&given, withdraw(first)),
        Ok(vec![]),
        "nothing was asked"
    );
    let is_set = Event::FormatVersionSet { format_version: 2 };
    assert_eq!(decide::<Cluster>(&given, set(first)), Ok(vec![is_set.clone()]));
    given.push(is_set);
    assert_eq!(decide::<Cluster>(&given, set(first)), Ok(vec![]));
    assert_eq!(decide::<Cluster>(&given, withdraw(second)), Ok(vec![]));
    let withdrawn = Event::FormatVersionWithdrawn;
    assert_eq!(decide::<Cluster>(&given, withdraw(first)), Ok(vec![withdrawn.clone()]));

    let asked = |more: Event| {
        let events = [&given[..], &[more]].concat();
        state::<Cluster>(&events).unwrap().format_version
    };
    assert_eq!(asked(withdrawn), None);
    assert_eq!(asked(Event::ChangeFinished { operation_id: first }), Some(2));
}

#[test]
fn the_table_of_lifecycles_and_commands() {
    let environment = testing::environment();
    let new = new_cluster(&environment);
    let node: NodeId = environment.new_id();
    let operation_id = environment.new_id();
    let now = environment.now();
    let placed = [Event::Created(new), placed(&[node])];
    let with = |more: &[Event]| [&placed[..], more].concat();
    let (ready, failed) = (Event::Ready { at: now }, Event::Failed { error: "no".into() });
    let deleting = Event::DeletionRequested { operation_id };
    let given = [
        ("provisioning", with(&[])),
        ("ready", with(&[ready])),
        ("failed", with(&[failed])),
        ("deleting", with(std::slice::from_ref(&deleting))),
        ("deleted", with(&[deleting, Event::Deleted])),
    ];
    let commands = [
        ("place", Command::Place { nodes: vec![node] }),
        (
            "certificate",
            Command::RecordCertificate {
                member_id: MemberId::FIRST,
                node_id: node,
                purpose: CertificatePurpose::Server,
                serial: "1".into(),
                not_after: now,
            },
        ),
        ("mark ready", Command::MarkReady { now }),
        ("mark failed", Command::MarkFailed { error: "no".into() }),
        ("retry", Command::Retry),
        (
            "rotate",
            Command::RotatePassword {
                user: "app".into(),
                scram_verifier: "v".into(),
                now,
            },
        ),
        (
            "witnesses",
            Command::SetWitnesses {
                witnesses: vec![ExternalWitness {
                    url: "https://witness.example".into(),
                    verifier_key: "key".into(),
                }],
                time_stamp_authority: None,
            },
        ),
        (
            "refused",
            Command::RecordRefusedHistory {
                database: "main".into(),
                refused: refused("turned_back", now),
            },
        ),
        ("delete", Command::RequestDeletion { operation_id }),
        ("mark deleted", Command::MarkDeleted),
    ];
    let table: Vec<String> = commands
        .iter()
        .map(|(name, command)| {
            let cells: Vec<&str> = given
                .iter()
                .map(|(_, given)| match decide::<Cluster>(given, command.clone()) {
                    Ok(events) if events.is_empty() => "same",
                    Ok(_) => "yes",
                    Err(Refusal::Lifecycle(_)) => "no",
                    Err(other) => panic!("{name}: {other}"),
                })
                .collect();
            format!("{name:12} {}", cells.join(" "))
        })
        .collect();
    let columns: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
    assert_eq!(columns, ["provisioning", "ready", "failed", "deleting", "deleted"]);
    assert_eq!(
        table,
        [
            "place        same no no no no",
            "certificate  yes yes yes no no",
            "mark ready   yes same no no no",
            "mark failed  yes no same no no",
            "retry        same no yes same no",
            "rotate       yes yes yes no no",
            "witnesses    yes yes yes no no",
            "refused      yes yes yes yes no",
            "delete       yes yes yes same no",
            "mark deleted no no no yes same",
        ]
    );
}

#[test]
fn a_cluster_is_created_once_and_placed_once() {
    let environment = testing::environment();
    let new = new_cluster(&environment);
    let created = Event::Created(new.clone());
    let nodes: Vec<NodeId> = vec![environment.new_id()];
    assert_eq!(
        decide::<Cluster>(&[], Command::Create(new.clone())),
        Ok(vec![created.clone()])
    );
    assert_eq!(
        decide::<Cluster>(std::slice::from_ref(&created), Command::Create(new)),
        Err(Refusal::Exists)
    );
    assert_eq!(decide::<Cluster>(&[], Command::Retry), Err(Refusal::Unknown));
    assert_eq!(
        decide::<Cluster>(&[created], Command::Place { nodes: nodes.clone() }),
        Ok(vec![placed(&nodes)])
    );
}

#[test]
fn a_log_key_is_pinned_at_first_sight() {
    let environment = testing::environment();
    let created = Event::Created(new_cluster(&environment));
    let record = |key: &str| Command::RecordLogKey {
        database: "main".into(),
        verifier_key: key.into(),
    };
    let seen = Event::LogKeySeen {
        database: "main".into(),
        verifier_key: "a".into(),
    };
    assert_eq!(
        decide::<Cluster>(std::slice::from_ref(&created), record("a")),
        Ok(vec![seen.clone()])
    );
    assert_eq!(
        decide::<Cluster>(&[created.clone(), seen.clone()], record("a")),
        Ok(vec![])
    );
    assert_eq!(
        decide::<Cluster>(&[created, seen], record("b")),
        Err(Refusal::LogKeyChanged {
            database: "main".into(),
            pinned: "a".into(),
            seen: "b".into()
        })
    );
}

fn refused(reason: &str, at: Timestamp) -> RefusedHistory {
    RefusedHistory {
        reason: reason.into(),
        size: 7,
        witnessed_size: 9,
        at,
    }
}

#[test]
fn a_refused_history_is_told_once_until_the_log_continues() {
    let environment = testing::environment();
    let now = environment.now();
    let record = |reason: &str| Command::RecordRefusedHistory {
        database: "main".into(),
        refused: refused(reason, now),
    };
    let event = |reason: &str| Event::HistoryRefused {
        database: "main".into(),
        refused: refused(reason, now),
    };
    let continues = || Command::RecordContinuedHistory {
        database: "main".into(),
        size: 10,
    };
    let continued = Event::HistoryContinued {
        database: "main".into(),
        size: 10,
    };
    let mut given = vec![Event::Created(new_cluster(&environment))];
    for (command, then) in [
        (continues(), None),
        (record("turned_back"), Some(event("turned_back"))),
        (record("turned_back"), None),
        (record("other_root"), Some(event("other_root"))),
        (record("other_root"), None),
        (continues(), Some(continued)),
        (continues(), None),
        (record("other_root"), Some(event("other_root"))),
    ] {
        let events = decide::<Cluster>(&given, command).unwrap();
        assert_eq!(events, Vec::from_iter(then));
        given.extend(events);
    }
    let json = serde_json::to_value(event("turned_back")).unwrap();
    assert_eq!(
        (&json["type"], &json["data"]["database"], &json["data"]["reason"]),
        (&"cluster.history_refused".into(), &"main".into(), &"turned_back".into())
    );
}

#[test]
fn only_nodes_of_the_cluster_get_certificates_and_only_its_users_passwords() {
    let environment = testing::environment();
    let created = Event::Created(new_cluster(&environment));
    let stranger: NodeId = environment.new_id();
    let now = environment.now();
    assert_eq!(
        decide::<Cluster>(
            &[created.clone(), placed(&[environment.new_id()])],
            Command::RecordCertificate {
                member_id: MemberId::FIRST,
                node_id: stranger,
                purpose: CertificatePurpose::Server,
                serial: "1".into(),
                not_after: now
            }
        ),
        Err(Refusal::OtherNode(stranger))
    );
    let rotate = |user: &str| Command::RotatePassword {
        user: user.into(),
        scram_verifier: "new".into(),
        now,
    };
    assert_eq!(
        decide::<Cluster>(std::slice::from_ref(&created), rotate("root")),
        Err(Refusal::UnknownUser("root".into()))
    );
    let rotated = decide::<Cluster>(std::slice::from_ref(&created), rotate("app")).unwrap();
    let cluster = state::<Cluster>(&[vec![created], rotated].concat()).unwrap();
    assert_eq!(cluster.users["app"].scram_verifier, "new");
    assert_eq!(cluster.users["app"].password_rotated_at, Some(now));
}
