//! The links to agents: who is connected, when they were last heard and what they last saw. All of it is in memory:
//! agents say it again after a restart.

mod enrol;
pub(crate) mod listener;
mod session;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use craton_agent_protocol::{ContentHash, DesiredState, MemberId, ObservedInstance, ObservedState, PlatformMessage};
use craton_platform_kernel::{ClusterId, NodeId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    desired::wire_instance_id,
    health::{Health, HealthDetector},
    time::monotonic_now,
};

/// Messages to one agent that wait to be sent. The desired state is sent again when it did not fit.
const OUTGOING_MAX: usize = 32;

/// One connected agent.
struct Connection {
    number: u64,
    outgoing: mpsc::Sender<PlatformMessage>,
    superseded: CancellationToken,
    /// The desired state that was sent on this connection.
    sent: Option<(u64, ContentHash)>,
}

#[derive(Default)]
struct Entry {
    connection: Option<Connection>,
    observed: Option<ObservedState>,
    /// Generation and content that the node said it holds.
    held: Option<(u64, Option<ContentHash>)>,
}

struct State {
    health: HealthDetector,
    entries: HashMap<NodeId, Entry>,
    connections: u64,
}

/// Every link.
pub(crate) struct Links {
    state: Mutex<State>,
    /// Counts what was observed, so that others can wait for a change.
    changes: watch::Sender<u64>,
}

/// What a session holds of its registration.
pub(crate) struct Registration {
    pub(crate) number: u64,
    pub(crate) outgoing: mpsc::Receiver<PlatformMessage>,
    /// Cancelled when a newer link of the same node takes over.
    pub(crate) superseded: CancellationToken,
}

/// A look at the whole fleet at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    nodes: BTreeMap<NodeId, NodeSnapshot>,
    pub(crate) is_mass_failure: bool,
}

#[derive(Clone, Debug)]
struct NodeSnapshot {
    health: Health,
    silent_for: Duration,
    connected: bool,
    observed: Option<ObservedState>,
    held: Option<(u64, Option<ContentHash>)>,
}

impl Snapshot {
    pub(crate) fn health(&self, node_id: NodeId) -> Health {
        self.nodes.get(&node_id).map_or(Health::Offline, |node| node.health)
    }

    pub(crate) fn is_connected(&self, node_id: NodeId) -> bool {
        self.nodes.get(&node_id).is_some_and(|node| node.connected)
    }

    pub(crate) fn observed(&self, node_id: NodeId) -> Option<&ObservedState> {
        self.nodes.get(&node_id)?.observed.as_ref()
    }

    pub(crate) fn held(&self, node_id: NodeId) -> Option<(u64, Option<ContentHash>)> {
        self.nodes.get(&node_id)?.held
    }

    /// How long a node was not heard; no time when it is not known.
    pub(crate) fn silent_for(&self, node_id: NodeId) -> Duration {
        self.nodes.get(&node_id).map_or(Duration::ZERO, |node| node.silent_for)
    }

    pub(crate) fn instance(
        &self,
        node_id: NodeId,
        cluster_id: ClusterId,
        member_id: MemberId,
    ) -> Option<&ObservedInstance> {
        self.observed(node_id)?
            .instance(&wire_instance_id(cluster_id, member_id))
    }
}

#[cfg(test)]
impl Default for Links {
    fn default() -> Self {
        Self::new(crate::health::OFFLINE_AFTER)
    }
}

impl Links {
    /// No links yet. A node that was not heard for `offline_after` counts as gone.
    pub(crate) fn new(offline_after: Duration) -> Self {
        let state = State {
            health: HealthDetector::new(offline_after),
            entries: HashMap::new(),
            connections: 0,
        };
        Self {
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        }
    }

    /// Starts to expect nodes.
    pub(crate) fn expect(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let now = monotonic_now();
        let mut state = self.state.lock();
        for node_id in nodes {
            state.health.expect(node_id, now);
            state.entries.entry(node_id).or_default();
        }
    }

    /// Registers a link; an older one of the same node is told to end.
    pub(crate) fn register(&self, node_id: NodeId, held: (u64, Option<ContentHash>)) -> Registration {
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        let superseded = CancellationToken::new();
        let mut state = self.state.lock();
        state.connections += 1;
        let number = state.connections;
        state.health.heard(node_id, monotonic_now());
        let entry = state.entries.entry(node_id).or_default();
        entry.held = Some(held);
        let connection = Connection {
            number,
            outgoing: sender,
            superseded: superseded.clone(),
            sent: None,
        };
        if let Some(older) = entry.connection.replace(connection) {
            older.superseded.cancel();
        }
        Registration {
            number,
            outgoing,
            superseded,
        }
    }

    /// Forgets a link, unless a newer one has taken over.
    pub(crate) fn unregister(&self, node_id: NodeId, number: u64) {
        if let Some(entry) = self.state.lock().entries.get_mut(&node_id)
            && entry
                .connection
                .as_ref()
                .is_some_and(|connection| connection.number == number)
        {
            entry.connection = None;
        }
    }

    pub(crate) fn heard(&self, node_id: NodeId) {
        self.state.lock().health.heard(node_id, monotonic_now());
    }

    /// Stores what a node saw. Returns whether it is new in more than log positions.
    pub(crate) fn observe(&self, node_id: NodeId, observed: ObservedState) -> bool {
        let mut state = self.state.lock();
        let entry = state.entries.entry(node_id).or_default();
        let differs = entry
            .observed
            .as_ref()
            .is_none_or(|before| before.differs_materially(&observed));
        entry.observed = Some(observed);
        drop(state);
        if differs {
            self.changes.send_modify(|count| *count += 1);
        }
        differs
    }

    /// Notes that a node holds a desired state.
    pub(crate) fn accepted(&self, node_id: NodeId, generation: u64, content_hash: ContentHash) {
        if let Some(entry) = self.state.lock().entries.get_mut(&node_id) {
            entry.held = Some((generation, Some(content_hash)));
        }
    }

    /// Sends a desired state to a connected node, once on each connection.
    pub(crate) fn send_desired(&self, node_id: NodeId, desired: DesiredState) {
        let mut state = self.state.lock();
        let Some(connection) = state
            .entries
            .get_mut(&node_id)
            .and_then(|entry| entry.connection.as_mut())
        else {
            return;
        };
        let version = (desired.generation, desired.content_hash);
        if connection.sent != Some(version) && connection.outgoing.try_send(PlatformMessage::Desired(desired)).is_ok() {
            connection.sent = Some(version);
        }
    }

    /// Changes of what nodes observe.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A look at everything.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = monotonic_now();
        let state = self.state.lock();
        let nodes = state.entries.iter().map(|(node_id, entry)| {
            let node = NodeSnapshot {
                health: state.health.health(*node_id, now),
                silent_for: state.health.silent_for(*node_id, now),
                connected: entry.connection.is_some(),
                observed: entry.observed.clone(),
                held: entry.held,
            };
            (*node_id, node)
        });
        Snapshot {
            nodes: nodes.collect(),
            is_mass_failure: state.health.is_mass_failure(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::*;
    use crate::desired::desired_state;

    #[tokio::test]
    async fn a_newer_link_takes_over_from_an_older_one() {
        let node: NodeId = testing::environment().new_id();
        let links = Links::default();
        let first = links.register(node, (0, None));
        let second = links.register(node, (0, None));
        assert!(first.superseded.is_cancelled() && !second.superseded.is_cancelled());
        links.unregister(node, first.number);
        assert!(
            links.snapshot().is_connected(node),
            "the older one must not remove the newer one"
        );
        links.unregister(node, second.number);
        assert!(!links.snapshot().is_connected(node));
        assert_eq!(
            links.snapshot().health(node),
            Health::Online,
            "a lost link is not yet a lost node"
        );
    }

    #[tokio::test]
    async fn a_desired_state_is_sent_once_on_each_link() {
        let node: NodeId = testing::environment().new_id();
        let links = Links::default();
        let state = |generation| desired_state(node, generation, [], &crate::desired::tests::settings());
        links.send_desired(node, state(1));
        for _ in 0..2 {
            let mut registration = links.register(node, (0, None));
            links.send_desired(node, state(1));
            links.send_desired(node, state(1));
            links.send_desired(node, state(2));
            let received: Vec<u64> = std::iter::from_fn(|| registration.outgoing.try_recv().ok())
                .map(|message| match message {
                    PlatformMessage::Desired(desired) => desired.generation,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(received, [1, 2]);
        }
    }
}
