//! Which nodes a cluster goes to. Pure: the same request and nodes always give the same placement.

use std::collections::BTreeMap;

use craton_platform_kernel::NodeId;

use crate::health::Health;

/// What is to be placed.
#[derive(Clone, Debug)]
pub(crate) struct PlacementRequest<'a> {
    pub(crate) region: &'a str,
    pub(crate) node_count: usize,
}

/// A node that could take an instance.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) node_id: NodeId,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) hostname: String,
    pub(crate) health: Health,
    pub(crate) instances: usize,
    pub(crate) instances_max: usize,
}

/// Why nothing was placed. The text is for the person who asked for the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unplaceable {
    #[error("most nodes are out of reach, so nothing is placed until that clears up")]
    FleetUnsettled,
    #[error("region {region} has {online} nodes online with room, {wanted} are needed")]
    TooFewNodes {
        region: String,
        online: usize,
        wanted: usize,
    },
}

/// Chooses nodes: online ones with room in the region, spread over zones first and machines second, the emptiest
/// first, ties broken by node id.
pub(crate) fn schedule(request: &PlacementRequest<'_>, candidates: &[Candidate]) -> Result<Vec<NodeId>, Unplaceable> {
    let mut open: Vec<&Candidate> = candidates
        .iter()
        .filter(|node| node.region == request.region && node.health == Health::Online)
        .filter(|node| node.instances < node.instances_max)
        .collect();
    if open.len() < request.node_count {
        return Err(Unplaceable::TooFewNodes {
            region: request.region.to_owned(),
            online: open.len(),
            wanted: request.node_count,
        });
    }
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut placement = Vec::with_capacity(request.node_count);
    while placement.len() < request.node_count {
        let used = |counts: &BTreeMap<&str, usize>, key: &str| counts.get(key).copied().unwrap_or(0);
        let best = open
            .iter()
            .enumerate()
            .min_by_key(|(_, node)| {
                (
                    used(&zones, &node.zone),
                    used(&hosts, &node.hostname),
                    node.instances,
                    node.node_id,
                )
            })
            .map(|(index, _)| index)
            .expect("there are at least as many open nodes as are still needed");
        let node = open.swap_remove(best);
        *zones.entry(&node.zone).or_default() += 1;
        *hosts.entry(&node.hostname).or_default() += 1;
        placement.push(node.node_id);
    }
    Ok(placement)
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::*;

    /// `name zone host instances health`, one node a line.
    fn nodes(text: &str) -> (Vec<Candidate>, Vec<(&str, NodeId)>) {
        let environment = testing::environment();
        let mut ids: Vec<NodeId> = text.trim().lines().map(|_| environment.new_id()).collect();
        ids.sort();
        let mut names = Vec::new();
        let candidates = text
            .trim()
            .lines()
            .zip(ids)
            .map(|(line, node_id)| {
                let [name, zone, host, instances, health] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                    panic!("five words: {line}");
                };
                names.push((name, node_id));
                Candidate {
                    node_id,
                    region: "local".into(),
                    zone: zone.into(),
                    hostname: host.into(),
                    health: match health {
                        "online" => Health::Online,
                        "suspect" => Health::Suspect,
                        _ => Health::Offline,
                    },
                    instances: instances.parse().unwrap(),
                    instances_max: 10,
                }
            })
            .collect();
        (candidates, names)
    }

    fn placed(text: &str, node_count: usize) -> Result<String, Unplaceable> {
        let (candidates, names) = nodes(text);
        let placement = schedule(
            &PlacementRequest {
                region: "local",
                node_count,
            },
            &candidates,
        )?;
        let name = |id: &NodeId| names.iter().find(|(_, known)| known == id).unwrap().0;
        Ok(placement.iter().map(name).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn zones_come_before_machines_before_room_before_ids() {
        for (wanted, node_count, text) in [
            ("a", 1, "a z1 h1 0 online\nb z1 h2 0 online"),
            ("b", 1, "a z1 h1 1 online\nb z1 h2 0 online"),
            ("b", 1, "a z1 h1 0 suspect\nb z1 h2 5 online"),
            ("b", 1, "a z1 h1 10 online\nb z1 h2 9 online"),
            ("a c", 2, "a z1 h1 0 online\nb z1 h2 0 online\nc z2 h3 9 online"),
            ("a c", 2, "a z1 h1 0 online\nb z1 h1 0 online\nc z1 h2 9 online"),
            ("a c b", 3, "a z1 h1 0 online\nb z1 h2 0 online\nc z2 h3 9 online"),
        ] {
            assert_eq!(placed(text, node_count).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn too_few_nodes_are_said_with_their_number() {
        let too_few = |online, wanted| {
            Err(Unplaceable::TooFewNodes {
                region: "local".into(),
                online,
                wanted,
            })
        };
        assert_eq!(placed("a z h 0 offline", 1), too_few(0, 1));
        assert_eq!(placed("a z h 10 online", 1), too_few(0, 1));
        assert_eq!(placed("a z h 0 online\nb z h 0 suspect", 2), too_few(1, 2));
        let (mut candidates, _) = nodes("a z h 0 online");
        candidates[0].region = "elsewhere".into();
        assert!(
            schedule(
                &PlacementRequest {
                    region: "local",
                    node_count: 1
                },
                &candidates
            )
            .is_err()
        );
    }

    #[test]
    fn the_order_of_the_nodes_does_not_matter() {
        let (mut candidates, _) = nodes("a z1 h1 1 online\nb z2 h2 1 online\nc z3 h3 1 online");
        let request = PlacementRequest {
            region: "local",
            node_count: 2,
        };
        let forward = schedule(&request, &candidates);
        candidates.reverse();
        assert_eq!(schedule(&request, &candidates), forward);
    }
}
