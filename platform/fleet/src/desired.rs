//! What a node shall run, from the clusters that were placed on it. Pure.

use craton_agent_protocol::{
    ClusterId as WireClusterId, DesiredInstance, DesiredMember, DesiredMembership, DesiredState,
    DesiredTimeStampAuthority, DesiredUser, DesiredWitness, InstanceId, MemberId, NodeId as WireNodeId, RunState,
};
use craton_platform_kernel::{ClusterId, NodeId};

use crate::aggregate::{
    cluster::{ClusterState, Lifecycle},
    member::Standing,
};

/// A node's id as the protocol writes it.
pub(crate) fn wire_node_id(node_id: NodeId) -> WireNodeId {
    WireNodeId::parse(&node_id.to_string()).expect("both are the TypeID of a UUID with the prefix node")
}

/// A cluster's id as the protocol writes it.
pub(crate) fn wire_cluster_id(cluster_id: ClusterId) -> WireClusterId {
    WireClusterId::parse(&cluster_id.to_string()).expect("both are the TypeID of a UUID with the prefix clu")
}

/// An instance's id as the protocol writes it.
pub(crate) fn wire_instance_id(cluster_id: ClusterId, member_id: MemberId) -> InstanceId {
    InstanceId {
        cluster_id: wire_cluster_id(cluster_id),
        member_id,
    }
}

/// What every instance is given alike.
#[derive(Clone, Debug)]
pub(crate) struct SharedSettings {
    /// Verifies the platform's login tokens.
    pub(crate) token_verification_key: String,
    /// The platform as a witness.
    pub(crate) witness: DesiredWitness,
}

/// One member of a cluster on its node; `None` when nothing of it should be anywhere.
pub(crate) fn desired_instance(
    cluster: &ClusterState,
    member_id: MemberId,
    settings: &SharedSettings,
) -> Option<DesiredInstance> {
    let member = cluster.members.get(&member_id)?;
    // A cluster that failed to become ready keeps its instances, so that a retry finds them.
    let run_state = match (cluster.lifecycle, member.standing) {
        (Lifecycle::Deleted, _) => return None,
        (_, Standing::Removing) => RunState::Deleted,
        (_, Standing::Wanted | Standing::Leaving) => RunState::Running,
    };
    let users = cluster.users.iter().map(|(name, user)| DesiredUser {
        name: name.clone(),
        scram_verifier: user.scram_verifier.clone(),
        databases: user.databases.clone(),
        read_only: false,
        // The control plane knows no lesser users: whoever it lets into a database owns what is in it.
        compliance: true,
    });
    let external = cluster.witnesses.iter().map(|witness| DesiredWitness {
        url: witness.url.clone(),
        verifier_key: witness.verifier_key.clone(),
    });
    let authority = cluster.time_stamp_authority.as_ref();
    let time_stamp_authority = authority.map(|authority| DesiredTimeStampAuthority {
        url: authority.url.clone(),
        certificates: authority.certificates.clone(),
    });
    Some(DesiredInstance {
        cluster_id: wire_cluster_id(cluster.cluster_id),
        member_id,
        name: cluster.name.clone(),
        run_state,
        hostnames: vec![cluster.host.to_string(), cluster.host.of_member(member_id)],
        log_origin: cluster.host.to_string(),
        region: cluster.region.clone(),
        databases: cluster.databases.clone(),
        users: users.collect(),
        token_verification_key: settings.token_verification_key.clone(),
        witnesses: std::iter::once(settings.witness.clone()).chain(external).collect(),
        time_stamp_authority,
        // An agent says where a member listens when it has made the directory.
        established: member.endpoint.is_some(),
        membership: Some(membership(cluster, member_id)),
        server_version: member.server_version.clone(),
        format_version: cluster.format_version,
    })
}

fn membership(cluster: &ClusterState, member_id: MemberId) -> DesiredMembership {
    // A member that starts first must know where the others are: it gets the cluster's keys from one of them.
    let is_complete = cluster.ready_at.is_some() || cluster.wanted().all(|(_, member)| member.endpoint.is_some());
    let members = cluster.wanted().filter_map(|(member_id, member)| {
        let endpoint = member.endpoint.filter(|_| is_complete)?;
        Some(DesiredMember {
            member_id,
            peer_address: (endpoint.address, endpoint.peer_port).into(),
        })
    });
    DesiredMembership {
        // Later an empty member is one that lost its data: it must not begin another group.
        bootstrap: member_id == MemberId::FIRST && cluster.ready_at.is_none(),
        generation: cluster.members_generation,
        members: members.collect(),
    }
}

/// Everything that a node shall run.
pub(crate) fn desired_state<'a>(
    node_id: NodeId,
    generation: u64,
    clusters: impl IntoIterator<Item = &'a ClusterState>,
    settings: &SharedSettings,
) -> DesiredState {
    let instances = clusters.into_iter().flat_map(|cluster| {
        let here = cluster
            .members
            .iter()
            .filter(move |(_, member)| member.node_id == node_id);
        here.filter_map(|(member_id, _)| desired_instance(cluster, *member_id, settings))
    });
    DesiredState::new(wire_node_id(node_id), generation, instances.collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use craton_platform_kernel::{Environment, testing};

    use super::*;
    use crate::aggregate::{
        cluster::{
            Cluster, Command, Event,
            tests::{endpoint, member, new_cluster, placed, ready_on},
        },
        story::{decide, state},
    };

    pub(crate) fn settings() -> SharedSettings {
        SharedSettings {
            token_verification_key: "key".into(),
            witness: DesiredWitness {
                url: "https://platform.example/witness".into(),
                verifier_key: "platform.example/witness+00000000+key".into(),
            },
        }
    }

    fn cluster_on(environment: &Environment, node: NodeId, lifecycle: Lifecycle) -> ClusterState {
        let placed = [Event::Created(new_cluster(environment)), placed(&[node])];
        ClusterState {
            lifecycle,
            ..state::<Cluster>(&placed).unwrap()
        }
    }

    #[test]
    fn a_node_gets_the_clusters_that_are_placed_on_it() {
        let environment = testing::environment();
        let (here, there): (NodeId, NodeId) = (environment.new_id(), environment.new_id());
        let clusters = [
            cluster_on(&environment, here, Lifecycle::Ready),
            cluster_on(&environment, there, Lifecycle::Ready),
            cluster_on(&environment, here, Lifecycle::Deleted),
        ];
        let desired = desired_state(here, 3, &clusters, &settings());
        assert_eq!(desired.instances.len(), 1);
        assert_eq!(desired.instances[0].cluster_id, wire_cluster_id(clusters[0].cluster_id));
        assert_eq!(desired.instances[0].users[0].databases, ["main"]);
        assert!(desired.check_successor(&wire_node_id(here), None).is_ok());
    }

    #[test]
    fn lifecycle_and_standing_decide_what_shall_run() {
        let environment = testing::environment();
        let node = environment.new_id();
        for (lifecycle, standing, run_state) in [
            (Lifecycle::Provisioning, Standing::Wanted, Some(RunState::Running)),
            (Lifecycle::Ready, Standing::Wanted, Some(RunState::Running)),
            (Lifecycle::Ready, Standing::Leaving, Some(RunState::Running)),
            (Lifecycle::Ready, Standing::Removing, Some(RunState::Deleted)),
            (Lifecycle::Failed, Standing::Wanted, Some(RunState::Running)),
            (Lifecycle::Deleting, Standing::Wanted, Some(RunState::Running)),
            (Lifecycle::Deleting, Standing::Removing, Some(RunState::Deleted)),
            (Lifecycle::Deleted, Standing::Removing, None),
        ] {
            let mut cluster = cluster_on(&environment, node, lifecycle);
            cluster.members.get_mut(&MemberId::FIRST).unwrap().standing = standing;
            assert_eq!(
                desired_instance(&cluster, MemberId::FIRST, &settings()).map(|i| i.run_state),
                run_state,
                "{lifecycle} {standing:?}"
            );
        }
        let cluster = cluster_on(&environment, node, Lifecycle::Ready);
        assert_eq!(desired_instance(&cluster, member(2), &settings()), None);
    }

    #[test]
    fn a_member_is_told_of_the_members_whose_addresses_are_known() {
        let environment = testing::environment();
        let nodes: Vec<NodeId> = (0..3).map(|_| environment.new_id()).collect();
        let mut given = ready_on(&environment, &nodes);
        given.pop();
        let mut told = |command: Option<Command>, number: u64| {
            if let Some(command) = command {
                given.extend(decide::<Cluster>(&given, command).unwrap());
            }
            let cluster = state::<Cluster>(&given).unwrap();
            let desired = desired_instance(&cluster, member(number), &settings()).unwrap();
            let membership = desired.membership.unwrap();
            let members: Vec<u64> = membership.members.iter().map(|m| m.member_id.get()).collect();
            (membership.generation, membership.bootstrap, members)
        };
        let seen = |number| {
            Some(Command::RecordEndpoint {
                member_id: member(number),
                endpoint: endpoint(1),
            })
        };
        assert_eq!(told(None, 1), (0, true, vec![]));
        assert_eq!(told(seen(2), 2), (1, false, vec![]));
        assert_eq!(
            told(seen(3), 3),
            (2, false, vec![]),
            "not before every address is known"
        );
        assert_eq!(told(seen(1), 1), (3, true, vec![1, 2, 3]));
        let now = environment.now();
        let ready = told(Some(Command::MarkReady { now }), 1);
        assert_eq!(
            ready,
            (3, false, vec![1, 2, 3]),
            "an empty member begins no second group"
        );
        let member_ids = vec![member(2)];
        assert_eq!(
            told(Some(Command::ReleaseMembers { member_ids }), 2),
            (4, false, vec![1, 3])
        );
    }

    #[test]
    fn equal_clusters_give_equal_hashes_whatever_their_order() {
        let environment = testing::environment();
        let node = environment.new_id();
        let clusters: Vec<_> = (0..3)
            .map(|_| cluster_on(&environment, node, Lifecycle::Ready))
            .collect();
        let forward = desired_state(node, 1, &clusters, &settings()).content_hash;
        assert_eq!(
            desired_state(node, 9, clusters.iter().rev(), &settings()).content_hash,
            forward
        );
    }
}
