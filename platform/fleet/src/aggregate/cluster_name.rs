//! A cluster's name within its organisation, so that two clusters never have the same one at the same time.
//!
//! # Invariants
//! - At most one cluster holds the name.
//! - Only its holder gives it back. A holder that never came to be, because the platform ended between taking the
//!   name and creating the cluster, loses it to the next one who asks.

use craton_platform_kernel::{Aggregate, ClusterId, OrgId, StreamName};

/// The aggregate.
pub(crate) enum ClusterName {}

/// What happened to a name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum Event {
    #[serde(rename = "cluster_name.taken")]
    Taken { cluster_id: ClusterId },
    #[serde(rename = "cluster_name.released")]
    Released { cluster_id: ClusterId },
}

/// What is asked of a name.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Take it. `abandoned` names a holder that is known not to exist.
    Take {
        cluster_id: ClusterId,
        abandoned: Option<ClusterId>,
    },
    /// Give it back.
    Release { cluster_id: ClusterId },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the name belongs to {by}")]
    Taken { by: ClusterId },
    #[error("the name does not belong to {0}")]
    NotHolder(ClusterId),
}

/// Who holds the name.
pub(crate) type State = Option<ClusterId>;

/// The stream of a name.
pub(crate) fn stream(org_id: OrgId, name: &str) -> StreamName {
    StreamName::new(Some(org_id), ClusterName::KIND, name)
}

impl Aggregate for ClusterName {
    const KIND: &'static str = "cluster_name";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Take { cluster_id, abandoned } => match *state {
                Some(by) if by == cluster_id => Ok(vec![]),
                Some(by) if abandoned != Some(by) => Err(Refusal::Taken { by }),
                _ => Ok(vec![Event::Taken { cluster_id }]),
            },
            Command::Release { cluster_id } => match *state {
                Some(holder) if holder == cluster_id => Ok(vec![Event::Released { cluster_id }]),
                _ => Err(Refusal::NotHolder(cluster_id)),
            },
        }
    }

    fn apply(_state: State, event: &Event) -> State {
        match event {
            Event::Taken { cluster_id } => Some(*cluster_id),
            Event::Released { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::*;
    use crate::aggregate::story::decide;

    #[test]
    fn a_name_has_one_holder_at_a_time() {
        let environment = testing::environment();
        let (first, second): (ClusterId, ClusterId) = (environment.new_id(), environment.new_id());
        let take = |cluster_id| Command::Take {
            cluster_id,
            abandoned: None,
        };
        let taken = Event::Taken { cluster_id: first };
        let released = Event::Released { cluster_id: first };

        assert_eq!(decide::<ClusterName>(&[], take(first)), Ok(vec![taken.clone()]));
        assert_eq!(
            decide::<ClusterName>(std::slice::from_ref(&taken), take(first)),
            Ok(vec![])
        );
        assert_eq!(
            decide::<ClusterName>(std::slice::from_ref(&taken), take(second)),
            Err(Refusal::Taken { by: first })
        );
        assert_eq!(
            decide::<ClusterName>(&[taken.clone(), released.clone()], take(second)),
            Ok(vec![Event::Taken { cluster_id: second }])
        );
        assert_eq!(
            decide::<ClusterName>(std::slice::from_ref(&taken), Command::Release { cluster_id: first }),
            Ok(vec![released])
        );
        assert_eq!(
            decide::<ClusterName>(&[taken], Command::Release { cluster_id: second }),
            Err(Refusal::NotHolder(second))
        );
    }

    #[test]
    fn an_abandoned_name_can_be_taken() {
        let environment = testing::environment();
        let (gone, next): (ClusterId, ClusterId) = (environment.new_id(), environment.new_id());
        let take = Command::Take {
            cluster_id: next,
            abandoned: Some(gone),
        };
        assert_eq!(
            decide::<ClusterName>(&[Event::Taken { cluster_id: gone }], take.clone()),
            Ok(vec![Event::Taken { cluster_id: next }])
        );
        let other: ClusterId = environment.new_id();
        assert_eq!(
            decide::<ClusterName>(&[Event::Taken { cluster_id: other }], take),
            Err(Refusal::Taken { by: other }),
            "someone else was faster"
        );
    }
}
