//! Who is alive, by the messages that were heard: the one authority for it. Sans-IO: time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use craton_platform_kernel::NodeId;

/// How often a node says that it is alive.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// From here on a node counts as gone, unless a fleet is configured otherwise.
pub(crate) const OFFLINE_AFTER: Duration = Duration::from_secs(30);
/// A fleet smaller than this never counts as failing as a whole.
const MASS_FAILURE_NODES_MIN: usize = 3;

/// Whether a node is alive. Three answers, because "not heard for a moment" is neither of the other two: a suspect
/// node keeps what it has and gets nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Health {
    /// Heard within the last two heartbeats.
    Online,
    /// Not heard for longer.
    Suspect,
    /// Not heard for long: 30 seconds, unless the platform is configured otherwise.
    Offline,
}

/// When each node was last heard.
#[derive(Debug)]
pub(crate) struct HealthDetector {
    offline_after: Duration,
    /// With the usual times, two heartbeats and a little: one lost message is no news.
    suspect_after: Duration,
    heard_at: BTreeMap<NodeId, Instant>,
}

impl HealthDetector {
    /// For nodes that count as gone when they were not heard for this long.
    pub(crate) fn new(offline_after: Duration) -> Self {
        Self {
            offline_after,
            suspect_after: offline_after * 2 / 5,
            heard_at: BTreeMap::new(),
        }
    }

    /// Starts to expect a node. Counts as hearing it: after a restart of the platform every node has the full time to
    /// come back before it is called offline.
    pub(crate) fn expect(&mut self, node_id: NodeId, now: Instant) {
        self.heard_at.entry(node_id).or_insert(now);
    }

    /// Notes a message.
    pub(crate) fn heard(&mut self, node_id: NodeId, now: Instant) {
        self.heard_at.insert(node_id, now);
    }

    /// Whether a node is alive. One that was never expected is offline.
    pub(crate) fn health(&self, node_id: NodeId, now: Instant) -> Health {
        match self.heard_at.get(&node_id).map(|at| now.saturating_duration_since(*at)) {
            Some(silence) if silence < self.suspect_after => Health::Online,
            Some(silence) if silence < self.offline_after => Health::Suspect,
            Some(_) | None => Health::Offline,
        }
    }

    /// How long a node was not heard; no time when it was never expected.
    pub(crate) fn silent_for(&self, node_id: NodeId, now: Instant) -> Duration {
        let heard_at = self.heard_at.get(&node_id);
        heard_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(*at))
    }

    /// Whether so many nodes are silent at once that the fault is more likely here or in the network than in them.
    /// Then nothing is placed.
    pub(crate) fn is_mass_failure(&self, now: Instant) -> bool {
        let silent = self
            .heard_at
            .keys()
            .filter(|node| self.health(**node, now) != Health::Online)
            .count();
        self.heard_at.len() >= MASS_FAILURE_NODES_MIN && silent * 2 > self.heard_at.len()
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a story")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_makes_a_node_suspect_and_then_offline() {
        let (node, start) = (testing::environment().new_id(), origin());
        let mut detector = HealthDetector::new(OFFLINE_AFTER);
        assert_eq!(detector.health(node, start), Health::Offline, "never expected");
        detector.heard(node, start);
        for (seconds, health) in [
            (0, Health::Online),
            (11, Health::Online),
            (12, Health::Suspect),
            (29, Health::Suspect),
            (30, Health::Offline),
            (9_999, Health::Offline),
        ] {
            assert_eq!(
                detector.health(node, start + after(seconds)),
                health,
                "after {seconds} s"
            );
            assert_eq!(detector.silent_for(node, start + after(seconds)), after(seconds));
        }
        detector.heard(node, start + after(40));
        assert_eq!(detector.health(node, start + after(41)), Health::Online, "it came back");
    }

    #[test]
    fn expecting_again_does_not_refresh() {
        let (node, start) = (testing::environment().new_id(), origin());
        let mut detector = HealthDetector::new(OFFLINE_AFTER);
        detector.expect(node, start);
        detector.expect(node, start + after(29));
        assert_eq!(detector.health(node, start + after(30)), Health::Offline);
    }

    #[test]
    fn a_time_before_the_last_message_is_no_silence() {
        let (node, start) = (testing::environment().new_id(), origin());
        let mut detector = HealthDetector::new(OFFLINE_AFTER);
        detector.heard(node, start + after(5));
        assert_eq!(detector.health(node, start), Health::Online);
    }

    #[test]
    fn more_than_half_of_a_fleet_silent_is_a_mass_failure() {
        let environment = testing::environment();
        let start = origin();
        let mut detector = HealthDetector::new(OFFLINE_AFTER);
        let nodes: Vec<NodeId> = (0..4).map(|_| environment.new_id()).collect();
        for node in &nodes {
            detector.heard(*node, start);
        }
        let later = start + after(60);
        for (awake, mass_failure) in [(0, true), (1, true), (2, false), (3, false)] {
            for node in &nodes[..awake] {
                detector.heard(*node, later);
            }
            assert_eq!(detector.is_mass_failure(later), mass_failure, "{awake} of 4 awake");
        }
        let mut small = HealthDetector::new(OFFLINE_AFTER);
        small.heard(nodes[0], start);
        small.heard(nodes[1], start);
        assert!(!small.is_mass_failure(later), "two nodes are no fleet");
    }
}
