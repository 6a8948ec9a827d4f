//! Looks, plans, acts and looks again, on a signal and on a timer. It takes no input but the stored desired state and
//! what it sees, so it may be run at any time and as often as one likes.

mod look;
mod memory;
mod report;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use craton_agent_protocol::{CertificateOutcome, ClusterId, DesiredState, ObservedState};
use futures::future::join_all;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::AdminError,
    config::AgentConfig,
    desired_store::DesiredStore,
    driver::{Driver, DriverError},
    file::FileError,
    instance::{InstanceDirectory, PrepareError},
    link::LinkHandle,
    plan::{Action, plan},
    time::monotonic_now,
};
use look::Look;
use memory::Memory;

/// How often the executor looks without a signal. A killed server is noticed within this time.
const TICK: Duration = Duration::from_millis(500);
/// How often it looks while a server comes up, so that it is not ready long before anyone notices.
const TICK_WHILE_STARTING: Duration = Duration::from_millis(50);
/// How many steps an instance is taken forward before its state is reported.
const ROUNDS_MAX: usize = 4;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// The certificates that arrive on the link.
pub(crate) type CertificateAnswer = (ClusterId, CertificateOutcome);

/// What is remembered of each instance.
type Memories = HashMap<ClusterId, Memory>;

/// Makes the node run what the stored desired state says.
pub(crate) struct Executor {
    pub(crate) config: AgentConfig,
    pub(crate) desired: Arc<DesiredStore>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) link: Arc<LinkHandle>,
    pub(crate) observed: watch::Sender<ObservedState>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) certificates: mpsc::Receiver<CertificateAnswer>,
}

impl Executor {
    /// Runs until the token is cancelled. Running servers are left running.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut memories = Memories::new();
        while !shutdown.is_cancelled() {
            self.install_certificates(&mut memories);
            self.reconcile(&mut memories).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(tick(&memories)) => {}
            }
        }
    }

    fn install_certificates(&mut self, memories: &mut Memories) {
        while let Ok((cluster_id, outcome)) = self.certificates.try_recv() {
            let memory = memories.entry(cluster_id.clone()).or_default();
            memory.certificate_asked = None;
            let result = match outcome {
                CertificateOutcome::Issued { chain_pem } => self
                    .directory(&cluster_id)
                    .install_certificate(&chain_pem)
                    .map(|facts| tracing::info!(%cluster_id, not_after_s = facts.not_after_s, "certificate installed"))
                    .map_err(|error| error.to_string()),
                CertificateOutcome::Refused { detail } => Err(format!("the platform gave no certificate: {detail}")),
            };
            memory.error = result.err();
        }
    }

    fn directory(&self, cluster_id: &ClusterId) -> InstanceDirectory {
        InstanceDirectory::new(&self.config.data_dir, cluster_id)
    }

    async fn reconcile(&self, memories: &mut Memories) {
        let desired = self.desired.current();
        let mut looks = self.look_at_all(memories).await;
        if let Some(desired) = &desired {
            for _ in 0..ROUNDS_MAX {
                let local = looks
                    .iter()
                    .map(|(cluster_id, look)| (cluster_id.clone(), look.local))
                    .collect();
                let steps = plan(desired, &local);
                if steps.is_empty() {
                    break;
                }
                let taken = looks
                    .values()
                    .flat_map(|look| [look.settings.port, look.settings.http_port])
                    .collect();
                let acted = self.act_on_all(desired, steps, &taken, memories).await;
                looks = self.look_at_all(memories).await;
                if !acted {
                    break;
                }
            }
        }
        memories.retain(|cluster_id, _| {
            looks.contains_key(cluster_id)
                || desired
                    .as_ref()
                    .is_some_and(|desired| desired.instances.iter().any(|i| i.cluster_id == *cluster_id))
        });
        let state = self.report(desired.as_ref(), &looks, memories);
        self.observed.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    async fn look_at_all(&self, memories: &mut Memories) -> BTreeMap<ClusterId, Look> {
        let clusters = InstanceDirectory::list(&self.config.data_dir).unwrap_or_else(|error| {
            tracing::error!(%error, "the instances cannot be listed");
            vec![]
        });
        let looks = clusters.into_iter().map(|cluster_id| {
            let mut memory = memories.remove(&cluster_id).unwrap_or_default();
            async move {
                let look = self.look(&cluster_id, &mut memory).await;
                (cluster_id, memory, look)
            }
        });
        let mut seen = BTreeMap::new();
        for (cluster_id, mut memory, look) in join_all(looks).await {
            match look {
                Ok(Some(look)) => drop(seen.insert(cluster_id.clone(), look)),
                Ok(None) => {}
                Err(error) => memory.fail(error.to_string()),
            }
            memories.insert(cluster_id, memory);
        }
        seen
    }

    /// Takes the planned steps, instances side by side. Returns whether anything may have changed here.
    async fn act_on_all(
        &self,
        desired: &DesiredState,
        steps: Vec<(ClusterId, Vec<Action>)>,
        taken: &BTreeSet<u16>,
        memories: &mut Memories,
    ) -> bool {
        let acts = steps.into_iter().filter_map(|(cluster_id, actions)| {
            let wanted = desired
                .instances
                .iter()
                .find(|instance| instance.cluster_id == cluster_id)?;
            let mut memory = memories.remove(&cluster_id).unwrap_or_default();
            Some(async move {
                let mut acted = false;
                for action in actions {
                    match self.act(action, wanted, taken, &mut memory).await {
                        Ok(done) => acted |= done,
                        Err(error) => {
                            tracing::warn!(%cluster_id, ?action, %error, "a step failed and will be tried again");
                            memory.fail(error.to_string());
                            acted = false;
                            break;
                        }
                    }
                }
                (cluster_id, memory, acted)
            })
        });
        let mut any = false;
        for (cluster_id, memory, acted) in join_all(acts.collect::<Vec<_>>()).await {
            memories.insert(cluster_id, memory);
            any |= acted;
        }
        any
    }
}

fn tick(memories: &Memories) -> Duration {
    let now = monotonic_now();
    if memories.values().any(|memory| memory.is_starting(now)) {
        TICK_WHILE_STARTING
    } else {
        TICK
    }
}
