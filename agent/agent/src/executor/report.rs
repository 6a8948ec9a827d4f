//! What the platform is told.

use std::collections::{BTreeMap, BTreeSet};

use craton_agent_protocol::{
    DesiredInstance, DesiredState, Endpoint, InstalledVersion, InstanceId, InstancePhase, ObservedInstance,
    ObservedState, RunState,
};

use super::{Executor, Memories, look::Look, memory::Memory};
use crate::plan::{CertificateCondition, LocalInstance, ProcessCondition};

impl Executor {
    /// Everything that this node has or should have.
    pub(super) fn report(
        &self,
        desired: Option<&DesiredState>,
        looks: &BTreeMap<InstanceId, Look>,
        memories: &Memories,
        server_versions: Vec<InstalledVersion>,
    ) -> ObservedState {
        let listed = desired.map_or(&[][..], |desired| &desired.instances);
        let running = listed.iter().filter(|i| i.run_state == RunState::Running);
        let ids: BTreeSet<InstanceId> = looks.keys().cloned().chain(running.map(DesiredInstance::id)).collect();
        let instances = ids.into_iter().map(|id| {
            let wanted = listed.iter().find(|instance| instance.id() == id);
            self.report_one(&id, wanted, looks.get(&id), memories.get(&id))
        });
        ObservedState {
            generation: desired.map_or(0, |desired| desired.generation),
            server_versions,
            instances: instances.collect(),
        }
    }

    fn report_one(
        &self,
        id: &InstanceId,
        wanted: Option<&DesiredInstance>,
        look: Option<&Look>,
        memory: Option<&Memory>,
    ) -> ObservedInstance {
        let status = memory.and_then(|memory| memory.status.as_ref());
        ObservedInstance {
            cluster_id: id.cluster_id.clone(),
            member_id: id.member_id,
            phase: phase(wanted, look.map(|look| &look.local)),
            endpoint: look.map(|look| Endpoint {
                address: self.config.listen_address,
                port: look.settings.port,
                https_port: look.settings.http_port,
                peer_port: look.settings.peer_port,
            }),
            pid: look.and_then(|look| look.pid),
            restarts: memory.map_or(0, |memory| memory.restarts),
            server_version: status.map(|status| status.version.clone()),
            runs_version: look.and_then(|look| look.local.runs_version.clone()),
            format: status.and_then(|status| status.format),
            certificate_not_after_s: look.and_then(|look| look.certificate).map(|facts| facts.not_after_s),
            peer_certificate_not_after_s: look
                .and_then(|look| look.peer_certificate)
                .map(|facts| facts.not_after_s),
            membership: status.and_then(|status| status.cluster.clone()),
            applied: look.and_then(|look| look.local.applied),
            databases: status.map_or(vec![], |status| status.databases.clone()),
            error: memory
                .and_then(|memory| memory.error.clone())
                .or_else(|| lost(wanted, look)),
        }
    }
}

fn lost(wanted: Option<&DesiredInstance>, look: Option<&Look>) -> Option<String> {
    let is_lost = wanted.is_some_and(|wanted| wanted.established && wanted.run_state == RunState::Running);
    (is_lost && look.is_none()).then(|| "its directory is gone, with everything that was in it".to_owned())
}

fn phase(wanted: Option<&DesiredInstance>, local: Option<&LocalInstance>) -> InstancePhase {
    let Some(wanted) = wanted else {
        return InstancePhase::Unlisted;
    };
    if wanted.run_state == RunState::Deleted {
        return InstancePhase::Removing;
    }
    let Some(local) = local else {
        return if wanted.established {
            InstancePhase::Lost
        } else {
            InstancePhase::Starting
        };
    };
    let membership = wanted.membership.as_ref();
    let lacks_certificate = local.certificate == CertificateCondition::Missing
        || (membership.is_some() && local.peer_certificate == CertificateCondition::Missing);
    let is_unknown = membership.is_some_and(|membership| !membership.lists(wanted.member_id)) && !local.has_answered;
    let is_serving = local.membership.is_some_and(|membership| membership.is_serving);
    match local.process {
        ProcessCondition::Stopped { .. } if lacks_certificate => InstancePhase::AwaitingCertificate,
        ProcessCondition::Stopped { .. } if is_unknown => InstancePhase::AwaitingMembers,
        ProcessCondition::Stopped { start_allowed: true } | ProcessCondition::Silent => InstancePhase::Starting,
        ProcessCondition::Stopped { start_allowed: false } | ProcessCondition::Poisoned => InstancePhase::Backoff,
        ProcessCondition::Answering if membership.is_some() && !is_serving => InstancePhase::Joining,
        ProcessCondition::Answering if local.applied == Some(wanted.content_hash()) => InstancePhase::Running,
        ProcessCondition::Answering => InstancePhase::Configuring,
    }
}
