//! A database cluster: what it shall be, where it was placed, and how its life goes.
//!
//! # Invariants
//! - Lifecycle: provisioning → ready → deleting → deleted, with failed beside provisioning. A deleted cluster stays as
//!   a tombstone; its id and host name never come back.
//! - `ready` is only reached after a probe, and every transitional state names the operation that ends it.
//! - What the platform, as a witness, refuses to cosign is an event when it begins and when it ends.
//! - A member's number is used once. The generation of the members grows with every change of who shall be in the group
//!   or where it is.
//! - At most one change of a ready cluster is under way.
//! - The first log key that is seen of a database is its log key for ever. A server that shows another one is refused.
//! - No password is in any event, only SCRAM verifiers (RFC 5803).

mod apply;
mod command;
mod decide;
mod event;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use craton_platform_kernel::{Aggregate, ClusterId, OrgId, StreamName};

pub(crate) use command::{Command, Refusal};
pub(crate) use event::{CertificatePurpose, Event, ExternalWitness, NewCluster, RefusedHistory, TimeStampAuthority};
pub(crate) use state::{ClusterState, Lifecycle, User};

/// The aggregate.
pub(crate) enum Cluster {}

/// A cluster, once it was created.
pub(crate) type State = Option<ClusterState>;

/// The stream of a cluster.
pub(crate) fn stream(org_id: OrgId, cluster_id: ClusterId) -> StreamName {
    StreamName::new(Some(org_id), Cluster::KIND, cluster_id)
}

impl Aggregate for Cluster {
    const KIND: &'static str = "cluster";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        match (state, command) {
            (None, Command::Create(new)) => Ok(vec![Event::Created(new)]),
            (None, _) => Err(Refusal::Unknown),
            (Some(cluster), command) => decide::decide(cluster, command),
        }
    }

    fn apply(state: State, event: &Event) -> State {
        match (state, event.clone()) {
            (_, Event::Created(new)) => Some(ClusterState::new(new)),
            (state, event) => {
                let mut cluster = state?;
                cluster.apply(event);
                Some(cluster)
            }
        }
    }
}
