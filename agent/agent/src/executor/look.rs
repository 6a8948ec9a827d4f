//! What an instance is like right now.

use craton_agent_protocol::InstanceId;

use super::{Executor, StepError, memory::Memory};
use crate::{
    admin,
    certificate::CertificateFacts,
    driver::Observation,
    instance::{InstanceDirectory, Settings, certificates_digest},
    plan::{CertificateCondition, LocalInstance, LocalMembership, ProcessCondition},
    time::{monotonic_now, unix_now_s},
};

/// How much of a server's log goes into the error of its end, in bytes.
const LOG_TAIL_BYTES: usize = 400;

/// One look at an instance.
pub(super) struct Look {
    pub(super) local: LocalInstance,
    pub(super) settings: Settings,
    pub(super) pid: Option<u32>,
    pub(super) certificate: Option<CertificateFacts>,
    pub(super) peer_certificate: Option<CertificateFacts>,
}

impl Executor {
    /// Looks at one instance; `None` when it was not prepared to the end.
    pub(super) async fn look(&self, id: &InstanceId, memory: &mut Memory) -> Result<Option<Look>, StepError> {
        let directory = self.directory(id);
        let Some(mut settings) = directory.settings()? else {
            return Ok(None);
        };
        let certificate = directory.certificate_facts()?;
        let peer_certificate = directory.peer_certificate_facts()?;
        let observation = self.driver.observe(&directory).await?;
        let (pid, reload_due, runs_version) = match &observation {
            Observation::Stopped { server_version, .. } => (None, false, server_version.clone()),
            Observation::Running {
                pid,
                certificate_sha256,
                server_version,
            } => {
                let digest = certificate.map(|facts| certificates_digest(facts, peer_certificate));
                let reload_due = digest.is_some_and(|digest| digest != *certificate_sha256);
                (Some(*pid), reload_due, server_version.clone())
            }
        };
        let process = condition(id, &directory, memory, observation).await;
        if process == ProcessCondition::Answering && !settings.has_answered {
            settings.has_answered = true;
            directory.write_settings(&settings)?;
        }
        let status = memory.status.as_ref();
        let membership = status.and_then(|status| status.cluster.as_ref());
        let local = LocalInstance {
            certificate: certificate_condition(certificate),
            peer_certificate: certificate_condition(peer_certificate),
            process,
            has_answered: settings.has_answered,
            membership: membership.map(|membership| LocalMembership {
                members_generation: membership.members_generation,
                is_serving: membership.is_serving(),
            }),
            runs_version,
            reload_due,
            applied: memory.applied,
            format_active: status.and_then(|status| status.format).map(|format| format.active),
        };
        Ok(Some(Look {
            local,
            settings,
            pid,
            certificate,
            peer_certificate,
        }))
    }
}

fn certificate_condition(certificate: Option<CertificateFacts>) -> CertificateCondition {
    match certificate {
        None => CertificateCondition::Missing,
        Some(facts) if facts.is_renewal_due(unix_now_s()) => CertificateCondition::RenewalDue,
        Some(_) => CertificateCondition::Current,
    }
}

/// Asks a running server how it is, and notes what became of an ended one.
async fn condition(
    id: &InstanceId,
    directory: &InstanceDirectory,
    memory: &mut Memory,
    observation: Observation,
) -> ProcessCondition {
    let now = monotonic_now();
    let ended = match observation {
        Observation::Stopped { ended, .. } => ended,
        Observation::Running { pid, .. } => {
            if memory.note_running(now) {
                tracing::info!(%id, pid, "a running server was found and is kept");
            }
            return match admin::status(&directory.admin_socket()).await {
                Err(error) => memory.note_silence(now, &error.to_string()),
                Ok(status) => {
                    let (condition, is_first) = memory.note_answer(status);
                    if is_first {
                        tracing::info!(%id, ?condition, "the server answers");
                    }
                    condition
                }
            };
        }
    };
    if let Some(wait) = memory.note_stopped(now) {
        let ended = ended.unwrap_or_else(|| "ended".to_owned());
        tracing::warn!(%id, %ended, ?wait, "the server ended and is started again");
        let tail = directory.log_tail(LOG_TAIL_BYTES);
        memory.fail(format!("the server {ended}; it last wrote: {tail}"));
    }
    ProcessCondition::Stopped {
        start_allowed: memory.is_start_allowed(now),
    }
}
