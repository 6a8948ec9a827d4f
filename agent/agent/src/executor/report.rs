//! What the platform is told.

use std::collections::{BTreeMap, BTreeSet};

use craton_agent_protocol::{
    ClusterId, DesiredInstance, DesiredState, Endpoint, InstancePhase, ObservedInstance, ObservedState, RunState,
};

use super::{Executor, Memories, look::Look, memory::Memory};
use crate::plan::{CertificateCondition, LocalInstance, ProcessCondition};

impl Executor {
    /// Everything that this node has or should have.
    pub(super) fn report(
        &self,
        desired: Option<&DesiredState>,
        looks: &BTreeMap<ClusterId, Look>,
        memories: &Memories,
    ) -> ObservedState {
        let listed = desired.map_or(&[][..], |desired| &desired.instances);
        let clusters: BTreeSet<&ClusterId> = looks
            .keys()
            .chain(
                listed
                    .iter()
                    .filter(|i| i.run_state == RunState::Running)
                    .map(|i| &i.cluster_id),
            )
            .collect();
        let instances = clusters.into_iter().map(|cluster_id| {
            let wanted = listed.iter().find(|instance| instance.cluster_id == *cluster_id);
            self.report_one(cluster_id, wanted, looks.get(cluster_id), memories.get(cluster_id))
        });
        ObservedState {
            generation: desired.map_or(0, |desired| desired.generation),
            instances: instances.collect(),
        }
    }

    fn report_one(
        &self,
        cluster_id: &ClusterId,
        wanted: Option<&DesiredInstance>,
        look: Option<&Look>,
        memory: Option<&Memory>,
    ) -> ObservedInstance {
        let status = memory.and_then(|memory| memory.status.as_ref());
        ObservedInstance {
            cluster_id: cluster_id.clone(),
            phase: phase(wanted, look.map(|look| &look.local)),
            endpoint: look.map(|look| Endpoint {
                address: self.config.listen_address,
                port: look.settings.port,
                https_port: look.settings.http_port,
            }),
            pid: look.and_then(|look| look.pid),
            restarts: memory.map_or(0, |memory| memory.restarts),
            server_version: status.map(|status| status.version.clone()),
            certificate_not_after_s: look.and_then(|look| look.certificate).map(|facts| facts.not_after_s),
            applied: look.and_then(|look| look.local.applied),
            databases: status.map_or(vec![], |status| status.databases.clone()),
            error: memory.and_then(|memory| memory.error.clone()),
        }
    }
}

fn phase(wanted: Option<&DesiredInstance>, local: Option<&LocalInstance>) -> InstancePhase {
    let Some(wanted) = wanted else {
        return InstancePhase::Unlisted;
    };
    if wanted.run_state == RunState::Deleted {
        return InstancePhase::Removing;
    }
    let Some(local) = local else {
        return InstancePhase::Starting;
    };
    match local.process {
        ProcessCondition::Stopped { .. } if local.certificate == CertificateCondition::Missing => {
            InstancePhase::AwaitingCertificate
        }
        ProcessCondition::Stopped { start_allowed: true } | ProcessCondition::Silent => InstancePhase::Starting,
        ProcessCondition::Stopped { start_allowed: false } | ProcessCondition::Poisoned => InstancePhase::Backoff,
        ProcessCondition::Answering if local.applied == Some(wanted.content_hash()) => InstancePhase::Running,
        ProcessCondition::Answering => InstancePhase::Configuring,
    }
}
