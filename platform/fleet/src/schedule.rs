//! Which nodes a cluster goes to. Pure: the same request and nodes always give the same placement.

use std::collections::BTreeMap;

use craton_platform_kernel::NodeId;

use crate::health::Health;

/// What is to be placed.
#[derive(Clone, Debug)]
pub(crate) struct PlacementRequest<'a> {
    pub(crate) region: &'a str,
    /// How many more nodes the cluster needs.
    pub(crate) node_count: usize,
    /// The nodes of the members that it has.
    pub(crate) taken: &'a [NodeId],
    /// Whether members may share a node when there are not enough. Then one broken machine may take several of them,
    /// so it is for development only.
    pub(crate) may_share: bool,
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

/// How many of a cluster's members each zone, machine and node has.
#[derive(Default)]
struct Spread<'a> {
    zones: BTreeMap<&'a str, usize>,
    hosts: BTreeMap<&'a str, usize>,
    nodes: BTreeMap<NodeId, usize>,
}

impl<'a> Spread<'a> {
    fn add(&mut self, node: &'a Candidate) {
        *self.zones.entry(&node.zone).or_default() += 1;
        *self.hosts.entry(&node.hostname).or_default() += 1;
        *self.nodes.entry(node.node_id).or_default() += 1;
    }

    fn on_node(&self, node_id: NodeId) -> usize {
        self.nodes.get(&node_id).copied().unwrap_or(0)
    }

    /// The smaller, the further away from the cluster's other members, and the emptier.
    fn closeness(&self, node: &Candidate) -> (usize, usize, usize, usize, NodeId) {
        let used = |counts: &BTreeMap<&str, usize>, key: &str| counts.get(key).copied().unwrap_or(0);
        let shared = self.on_node(node.node_id);
        (
            shared,
            used(&self.zones, &node.zone),
            used(&self.hosts, &node.hostname),
            node.instances + shared,
            node.node_id,
        )
    }
}

/// Chooses nodes: online ones with room in the region, spread over zones first and machines second, away from the
/// members that the cluster has, the emptiest first, ties broken by node id.
pub(crate) fn schedule(request: &PlacementRequest<'_>, candidates: &[Candidate]) -> Result<Vec<NodeId>, Unplaceable> {
    let mut spread = Spread::default();
    for node_id in request.taken {
        if let Some(node) = candidates.iter().find(|node| node.node_id == *node_id) {
            spread.add(node);
        }
    }
    let is_open = |node: &&Candidate| node.region == request.region && node.health == Health::Online;
    let open: Vec<&Candidate> = candidates.iter().filter(is_open).collect();
    let has_room = |node: &Candidate, placement: &[NodeId], spread: &Spread<'_>| {
        let new = placement.iter().filter(|id| **id == node.node_id).count();
        let is_alone = spread.on_node(node.node_id) == 0;
        node.instances + new < node.instances_max && (is_alone || request.may_share)
    };
    let mut placement = Vec::with_capacity(request.node_count);
    while placement.len() < request.node_count {
        let fitting = open.iter().filter(|node| has_room(node, &placement, &spread));
        let Some(node) = fitting.min_by_key(|node| spread.closeness(node)) else {
            return Err(Unplaceable::TooFewNodes {
                region: request.region.to_owned(),
                online: placement.len(),
                wanted: request.node_count,
            });
        };
        spread.add(node);
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

    const REQUEST: PlacementRequest<'_> = PlacementRequest {
        region: "local",
        node_count: 1,
        taken: &[],
        may_share: false,
    };

    fn placed(text: &str, node_count: usize) -> Result<String, Unplaceable> {
        placed_beside(text, "", node_count, false)
    }

    fn placed_beside(text: &str, taken: &str, node_count: usize, may_share: bool) -> Result<String, Unplaceable> {
        let (candidates, names) = nodes(text);
        let id = |name: &str| names.iter().find(|(known, _)| *known == name).unwrap().1;
        let taken: Vec<NodeId> = taken.split_whitespace().map(id).collect();
        let request = PlacementRequest {
            node_count,
            taken: &taken,
            may_share,
            ..REQUEST
        };
        let placement = schedule(&request, &candidates)?;
        let name = |id: &NodeId| names.iter().find(|(_, known)| known == id).unwrap().0;
        Ok(placement.iter().map(name).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn new_members_keep_away_from_those_that_are_there() {
        let zones = "a z1 h1 0 online\nb z1 h2 0 online\nc z2 h3 5 online\nd z3 h4 7 online";
        for (taken, node_count, wanted) in [
            ("a", 2, Ok("c d")),
            ("a c d", 1, Ok("b")),
            ("a b c", 1, Ok("d")),
            ("a b", 2, Ok("c d")),
        ] {
            let placement = placed_beside(zones, taken, node_count, false);
            assert_eq!(
                placement.as_deref(),
                wanted.as_ref().map(|text: &&str| *text),
                "{taken}"
            );
        }
        // A node that is gone still counts for its zone.
        let one_gone = "a z1 h1 0 offline\nb z1 h2 0 online\nc z2 h3 9 online";
        assert_eq!(placed_beside(one_gone, "a", 1, false).as_deref(), Ok("c"));
    }

    #[test]
    fn members_share_a_node_only_where_that_is_allowed() {
        let three = "a z1 h 0 online\nb z2 h 0 online\nc z3 h 0 online";
        let too_few = Err(Unplaceable::TooFewNodes {
            region: "local".into(),
            online: 3,
            wanted: 5,
        });
        assert_eq!(placed_beside(three, "", 5, false), too_few);
        assert_eq!(placed_beside(three, "", 5, true).as_deref(), Ok("a b c a b"));
        assert_eq!(placed_beside(three, "a b c", 1, true).as_deref(), Ok("a"));
        assert_eq!(placed_beside("a z h 0 online", "", 3, true).as_deref(), Ok("a a a"));
        assert!(placed_beside("a z h 8 online", "", 2, true).is_ok());
        assert!(
            placed_beside("a z h 8 online", "", 3, true).is_err(),
            "there is no room for three"
        );
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
        assert!(schedule(&REQUEST, &candidates).is_err());
    }

    #[test]
    fn the_order_of_the_nodes_does_not_matter() {
        let (mut candidates, _) = nodes("a z1 h1 1 online\nb z2 h2 1 online\nc z3 h3 1 online");
        let request = PlacementRequest {
            node_count: 2,
            ..REQUEST
        };
        let forward = schedule(&request, &candidates);
        candidates.reverse();
        assert_eq!(schedule(&request, &candidates), forward);
    }
}
