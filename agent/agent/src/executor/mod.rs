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

use craton_agent_protocol::{
    CertificateOutcome, CertificateSubject, DesiredState, InstalledVersion, InstanceId, ObservedState,
};
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
    versions::Versions,
};
use look::Look;
use memory::Memory;

/// How often the executor looks without a signal. A killed server is noticed within this time.
const TICK: Duration = Duration::from_millis(500);
/// How often it looks while a server comes up or ends, so that it is not ready, or gone, long before anyone notices.
const TICK_IN_TRANSITION: Duration = Duration::from_millis(50);
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
    #[error("version {0} of the server is not installed on this node")]
    VersionMissing(String),
}

/// The certificates that arrive on the link.
pub(crate) type CertificateAnswer = (CertificateSubject, CertificateOutcome);

/// What is remembered of each instance.
type Memories = HashMap<InstanceId, Memory>;

/// Makes the node run what the stored desired state says.
pub(crate) struct Executor {
    pub(crate) config: AgentConfig,
    pub(crate) desired: Arc<DesiredStore>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) link: Arc<LinkHandle>,
    pub(crate) observed: watch::Sender<ObservedState>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) certificates: mpsc::Receiver<CertificateAnswer>,
    pub(crate) versions: Versions,
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
        while let Ok((subject, outcome)) = self.certificates.try_recv() {
            let (is_peer, id) = match subject {
                CertificateSubject::Node => continue,
                CertificateSubject::Instance { cluster_id, member_id } => (false, InstanceId { cluster_id, member_id }),
                CertificateSubject::Peer { cluster_id, member_id } => (true, InstanceId { cluster_id, member_id }),
            };
            let memory = memories.entry(id.clone()).or_default();
            let directory = self.directory(&id);
            let result = match outcome {
                CertificateOutcome::Issued { chain_pem } if is_peer => directory.install_peer_certificate(&chain_pem),
                CertificateOutcome::Issued { chain_pem } => directory.install_certificate(&chain_pem),
                CertificateOutcome::Refused { detail } => {
                    memory.note_certificate_answer(is_peer);
                    memory.fail(format!("the platform gave no certificate: {detail}"));
                    continue;
                }
            };
            memory.note_certificate_answer(is_peer);
            match result {
                Ok(facts) => {
                    tracing::info!(%id, is_peer, not_after_s = facts.not_after_s, "certificate installed");
                    memory.error = None;
                }
                Err(error) => memory.fail(error.to_string()),
            }
        }
    }

    fn directory(&self, id: &InstanceId) -> InstanceDirectory {
        InstanceDirectory::new(&self.config.data_dir, id)
    }

    /// The installed versions of the server.
    async fn server_versions(&mut self) -> Vec<InstalledVersion> {
        let Some(directory) = self.config.server_versions.as_deref() else {
            return vec![];
        };
        self.versions.look(directory).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the installed versions cannot be listed");
            vec![]
        })
    }

    async fn reconcile(&mut self, memories: &mut Memories) {
        let desired = self.desired.current();
        for wanted in desired.iter().flat_map(|desired| &desired.instances) {
            let memory = memories.entry(wanted.id()).or_default();
            memory.note_wanted_version(wanted.server_version.as_deref());
        }
        let mut looks = self.look_at_all(memories).await;
        if let Some(desired) = &desired {
            for _ in 0..ROUNDS_MAX {
                let local = looks
                    .iter()
                    .map(|(id, look)| (id.clone(), look.local.clone()))
                    .collect();
                let steps = plan(desired, &local);
                if steps.is_empty() {
                    break;
                }
                let taken = looks
                    .values()
                    .flat_map(|look| [look.settings.port, look.settings.http_port, look.settings.peer_port])
                    .collect();
                let acted = self.act_on_all(desired, steps, &taken, memories).await;
                looks = self.look_at_all(memories).await;
                if !acted {
                    break;
                }
            }
        }
        memories.retain(|id, _| {
            looks.contains_key(id)
                || desired
                    .as_ref()
                    .is_some_and(|desired| desired.instances.iter().any(|instance| instance.id() == *id))
        });
        let server_versions = self.server_versions().await;
        let state = self.report(desired.as_ref(), &looks, memories, server_versions);
        self.observed.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    async fn look_at_all(&self, memories: &mut Memories) -> BTreeMap<InstanceId, Look> {
        let instances = InstanceDirectory::list(&self.config.data_dir).unwrap_or_else(|error| {
            tracing::error!(%error, "the instances cannot be listed");
            vec![]
        });
        let looks = instances.into_iter().map(|id| {
            let mut memory = memories.remove(&id).unwrap_or_default();
            async move {
                let look = self.look(&id, &mut memory).await;
                (id, memory, look)
            }
        });
        let mut seen = BTreeMap::new();
        for (id, mut memory, look) in join_all(looks).await {
            match look {
                Ok(Some(look)) => drop(seen.insert(id.clone(), look)),
                Ok(None) => {}
                Err(error) => memory.fail(error.to_string()),
            }
            memories.insert(id, memory);
        }
        seen
    }

    /// Takes the planned steps, instances side by side. Returns whether anything may have changed here.
    async fn act_on_all(
        &self,
        desired: &DesiredState,
        steps: Vec<(InstanceId, Vec<Action>)>,
        taken: &BTreeSet<u16>,
        memories: &mut Memories,
    ) -> bool {
        let acts = steps.into_iter().filter_map(|(id, actions)| {
            let wanted = desired.instances.iter().find(|instance| instance.id() == id)?;
            let mut memory = memories.remove(&id).unwrap_or_default();
            Some(async move {
                let mut acted = false;
                for action in actions {
                    match self.act(action, wanted, taken, &mut memory).await {
                        Ok(done) => acted |= done,
                        Err(error) => {
                            tracing::warn!(%id, ?action, %error, "a step failed and will be tried again");
                            memory.fail(error.to_string());
                            acted = false;
                            break;
                        }
                    }
                }
                (id, memory, acted)
            })
        });
        let mut any = false;
        for (id, memory, acted) in join_all(acts.collect::<Vec<_>>()).await {
            memories.insert(id, memory);
            any |= acted;
        }
        any
    }
}

fn tick(memories: &Memories) -> Duration {
    let now = monotonic_now();
    if memories.values().any(|memory| memory.is_in_transition(now)) {
        TICK_IN_TRANSITION
    } else {
        TICK
    }
}
