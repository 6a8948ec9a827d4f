//! A node of the fleet.
//!
//! # Invariants
//! - A node joins once and keeps its id, region and zone.
//! - The generation of its desired state grows by at least one with every change of the content, and never goes back:
//!   not even when the node holds a newer one than this log knows, which happens after a restore.

use craton_agent_protocol::{ContentHash, HostFacts};
use craton_platform_kernel::{Aggregate, NodeId, StreamName};
use jiff::Timestamp;

/// The aggregate.
pub(crate) enum Node {}

/// What happened to a node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum Event {
    #[serde(rename = "node.joined")]
    Joined {
        node_id: NodeId,
        region: String,
        zone: String,
        host: HostFacts,
        joined_at: Timestamp,
    },
    #[serde(rename = "node.certificate_issued")]
    CertificateIssued { serial: String, not_after: Timestamp },
    #[serde(rename = "node.desired_state_changed")]
    DesiredStateChanged { generation: u64, content_hash: ContentHash },
}

/// What is asked of a node.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Join {
        node_id: NodeId,
        region: String,
        zone: String,
        host: HostFacts,
        now: Timestamp,
    },
    RecordCertificate {
        serial: String,
        not_after: Timestamp,
    },
    /// The content changed, or the node holds `held` (its generation and content), which this log does not know.
    ChangeDesiredState {
        content_hash: ContentHash,
        held: Option<(u64, Option<ContentHash>)>,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such node")]
    Unknown,
    #[error("the node has joined already")]
    Joined,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NodeState {
    pub(crate) node_id: NodeId,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) host: HostFacts,
    pub(crate) joined_at: Timestamp,
    pub(crate) certificate_not_after: Option<Timestamp>,
    /// 0 before the first desired state.
    pub(crate) generation: u64,
    pub(crate) content_hash: Option<ContentHash>,
}

/// A node, once it has joined.
pub(crate) type State = Option<NodeState>;

/// The stream of a node.
pub(crate) fn stream(node_id: NodeId) -> StreamName {
    StreamName::new(None, Node::KIND, node_id)
}

impl Aggregate for Node {
    const KIND: &'static str = "node";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        if let Command::Join {
            node_id,
            region,
            zone,
            host,
            now,
        } = command
        {
            return match state {
                None => Ok(vec![Event::Joined {
                    node_id,
                    region,
                    zone,
                    host,
                    joined_at: now,
                }]),
                Some(_) => Err(Refusal::Joined),
            };
        }
        let node = state.as_ref().ok_or(Refusal::Unknown)?;
        match command {
            Command::Join { .. } => unreachable!("answered above"),
            Command::RecordCertificate { serial, not_after } => {
                Ok(vec![Event::CertificateIssued { serial, not_after }])
            }
            Command::ChangeDesiredState { content_hash, held } => {
                let (held_generation, held_hash) = held.unwrap_or((0, None));
                let node_is_ahead = held_generation > node.generation
                    || (held_generation == node.generation && held_generation > 0 && held_hash != node.content_hash);
                if node.content_hash == Some(content_hash) && !node_is_ahead {
                    return Ok(vec![]);
                }
                let generation = node.generation.max(held_generation) + 1;
                Ok(vec![Event::DesiredStateChanged {
                    generation,
                    content_hash,
                }])
            }
        }
    }

    fn apply(state: State, event: &Event) -> State {
        match event.clone() {
            Event::Joined {
                node_id,
                region,
                zone,
                host,
                joined_at,
            } => Some(NodeState {
                node_id,
                region,
                zone,
                host,
                joined_at,
                certificate_not_after: None,
                generation: 0,
                content_hash: None,
            }),
            Event::CertificateIssued { not_after, .. } => state.map(|node| NodeState {
                certificate_not_after: Some(not_after),
                ..node
            }),
            Event::DesiredStateChanged {
                generation,
                content_hash,
            } => state.map(|node| NodeState {
                generation,
                content_hash: Some(content_hash),
                ..node
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use craton_agent_protocol::DesiredState;
    use craton_platform_kernel::testing;

    use super::*;
    use crate::aggregate::story::decide;

    fn hash(generation_of_content: u64) -> ContentHash {
        // Any two contents will do.
        let digit = if generation_of_content == 1 { '1' } else { '2' };
        let node = craton_agent_protocol::NodeId::parse(&format!("node_01h455vb4pex5vsknk084sn0{digit}q")).unwrap();
        DesiredState::new(node, 1, vec![]).content_hash
    }

    #[test]
    fn generations_only_grow() {
        let environment = testing::environment();
        let host = HostFacts {
            hostname: "h".into(),
            agent_version: "0".into(),
            processors: 2,
        };
        let joined = Event::Joined {
            node_id: environment.new_id(),
            region: "local".into(),
            zone: "a".into(),
            host,
            joined_at: environment.now(),
        };
        let changed = |generation, content| Event::DesiredStateChanged {
            generation,
            content_hash: hash(content),
        };
        let change = |content, held| Command::ChangeDesiredState {
            content_hash: hash(content),
            held,
        };
        let table = [
            (vec![], change(1, None), Err(Refusal::Unknown)),
            (vec![joined.clone()], change(1, None), Ok(vec![changed(1, 1)])),
            (vec![joined.clone(), changed(1, 1)], change(1, None), Ok(vec![])),
            (
                vec![joined.clone(), changed(1, 1)],
                change(2, None),
                Ok(vec![changed(2, 2)]),
            ),
            (
                vec![joined.clone(), changed(4, 1)],
                change(1, Some((3, Some(hash(2))))),
                Ok(vec![]),
            ),
            (
                vec![joined.clone(), changed(4, 1)],
                change(1, Some((4, Some(hash(1))))),
                Ok(vec![]),
            ),
            // The node is ahead of this log, or holds something else under the same number.
            (
                vec![joined.clone(), changed(4, 1)],
                change(1, Some((9, Some(hash(1))))),
                Ok(vec![changed(10, 1)]),
            ),
            (
                vec![joined.clone(), changed(4, 1)],
                change(1, Some((4, Some(hash(2))))),
                Ok(vec![changed(5, 1)]),
            ),
            // A node without a desired state contradicts nothing.
            (
                vec![joined.clone()],
                change(1, Some((0, None))),
                Ok(vec![changed(1, 1)]),
            ),
        ];
        for (given, when, then) in table {
            assert_eq!(decide::<Node>(&given, when.clone()), then, "{given:?} {when:?}");
        }
    }
}
