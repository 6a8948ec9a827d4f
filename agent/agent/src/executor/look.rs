//! What an instance is like right now.

use craton_agent_protocol::ClusterId;

use super::{Executor, StepError, memory::Memory};
use crate::{
    admin,
    certificate::CertificateFacts,
    driver::Observation,
    instance::{InstanceDirectory, Settings},
    plan::{CertificateCondition, LocalInstance, ProcessCondition},
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
}

impl Executor {
    /// Looks at one instance; `None` when it was not prepared to the end.
    pub(super) async fn look(&self, cluster_id: &ClusterId, memory: &mut Memory) -> Result<Option<Look>, StepError> {
        let directory = self.directory(cluster_id);
        let Some(mut settings) = directory.settings()? else {
            return Ok(None);
        };
        let certificate = directory.certificate_facts()?;
        let observation = self.driver.observe(&directory).await?;
        let (pid, reload_due) = match &observation {
            Observation::Stopped { .. } => (None, false),
            Observation::Running {
                pid,
                certificate_sha256,
            } => (
                Some(*pid),
                certificate.is_some_and(|facts| hex::encode(facts.sha256) != *certificate_sha256),
            ),
        };
        let process = condition(cluster_id, &directory, memory, observation).await;
        if process == ProcessCondition::Answering && !settings.has_answered {
            settings.has_answered = true;
            directory.write_settings(&settings)?;
        }
        let certificate_condition = match certificate {
            None => CertificateCondition::Missing,
            Some(facts) if facts.is_renewal_due(unix_now_s()) => CertificateCondition::RenewalDue,
            Some(_) => CertificateCondition::Current,
        };
        let local = LocalInstance {
            certificate: certificate_condition,
            process,
            reload_due,
            applied: memory.applied,
        };
        Ok(Some(Look {
            local,
            settings,
            pid,
            certificate,
        }))
    }
}

/// Asks a running server how it is, and notes what became of an ended one.
async fn condition(
    cluster_id: &ClusterId,
    directory: &InstanceDirectory,
    memory: &mut Memory,
    observation: Observation,
) -> ProcessCondition {
    let now = monotonic_now();
    let ended = match observation {
        Observation::Stopped { ended } => ended,
        Observation::Running { pid, .. } => {
            if memory.note_running(now) {
                tracing::info!(%cluster_id, pid, "a running server was found and is kept");
            }
            return match admin::status(&directory.admin_socket()).await {
                Err(error) => memory.note_silence(now, &error.to_string()),
                Ok(status) => {
                    let (condition, is_first) = memory.note_answer(status);
                    if is_first {
                        tracing::info!(%cluster_id, ?condition, "the server answers");
                    }
                    condition
                }
            };
        }
    };
    if let Some(wait) = memory.note_stopped(now) {
        let ended = ended.unwrap_or_else(|| "ended".to_owned());
        tracing::warn!(%cluster_id, %ended, ?wait, "the server ended and is started again");
        let tail = directory.log_tail(LOG_TAIL_BYTES);
        memory.fail(format!("the server {ended}; it last wrote: {tail}"));
    }
    ProcessCondition::Stopped {
        start_allowed: memory.is_start_allowed(now),
    }
}
