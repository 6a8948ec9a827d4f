//! What a node shall run, from the clusters that were placed on it. Pure.

use craton_agent_protocol::{
    ClusterId as WireClusterId, DesiredInstance, DesiredState, DesiredTimeStampAuthority, DesiredUser, DesiredWitness,
    NodeId as WireNodeId, RunState,
};
use craton_platform_kernel::{ClusterId, NodeId};

use crate::aggregate::cluster::{ClusterState, Lifecycle};

/// A node's id as the protocol writes it.
pub(crate) fn wire_node_id(node_id: NodeId) -> WireNodeId {
    WireNodeId::parse(&node_id.to_string()).expect("both are the TypeID of a UUID with the prefix node")
}

/// A cluster's id as the protocol writes it.
pub(crate) fn wire_cluster_id(cluster_id: ClusterId) -> WireClusterId {
    WireClusterId::parse(&cluster_id.to_string()).expect("both are the TypeID of a UUID with the prefix clu")
}

/// What every instance is given alike.
#[derive(Clone, Debug)]
pub(crate) struct SharedSettings {
    /// Verifies the platform's login tokens.
    pub(crate) token_verification_key: String,
    /// The platform as a witness.
    pub(crate) witness: DesiredWitness,
}

/// One cluster's instance on each of its nodes; `None` when nothing of it should be anywhere.
pub(crate) fn desired_instance(cluster: &ClusterState, settings: &SharedSettings) -> Option<DesiredInstance> {
    let run_state = match cluster.lifecycle {
        // A cluster that failed to become ready keeps its instances, so that a retry finds them.
        Lifecycle::Provisioning | Lifecycle::Ready | Lifecycle::Failed => RunState::Running,
        Lifecycle::Deleting => RunState::Deleted,
        Lifecycle::Deleted => return None,
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
        name: cluster.name.clone(),
        run_state,
        hostnames: vec![cluster.host.to_string()],
        log_origin: cluster.host.to_string(),
        databases: cluster.databases.clone(),
        users: users.collect(),
        token_verification_key: settings.token_verification_key.clone(),
        witnesses: std::iter::once(settings.witness.clone()).chain(external).collect(),
        time_stamp_authority,
    })
}

/// Everything that a node shall run.
pub(crate) fn desired_state<'a>(
    node_id: NodeId,
    generation: u64,
    clusters: impl IntoIterator<Item = &'a ClusterState>,
    settings: &SharedSettings,
) -> DesiredState {
    let instances = clusters
        .into_iter()
        .filter(|cluster| cluster.nodes.contains(&node_id))
        .filter_map(|cluster| desired_instance(cluster, settings));
    DesiredState::new(wire_node_id(node_id), generation, instances.collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use craton_platform_kernel::{Environment, testing};

    use super::*;
    use crate::aggregate::{
        cluster::{Cluster, Event, tests::new_cluster},
        story::state,
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
        let placed = [
            Event::Created(new_cluster(environment)),
            Event::Placed { nodes: vec![node] },
        ];
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
    fn the_lifecycle_decides_what_shall_run() {
        let environment = testing::environment();
        let node = environment.new_id();
        for (lifecycle, run_state) in [
            (Lifecycle::Provisioning, Some(RunState::Running)),
            (Lifecycle::Ready, Some(RunState::Running)),
            (Lifecycle::Failed, Some(RunState::Running)),
            (Lifecycle::Deleting, Some(RunState::Deleted)),
            (Lifecycle::Deleted, None),
        ] {
            let cluster = cluster_on(&environment, node, lifecycle);
            assert_eq!(
                desired_instance(&cluster, &settings()).map(|i| i.run_state),
                run_state,
                "{lifecycle}"
            );
        }
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
