//! Looks, plans, acts and looks again, on a signal and on a timer. It takes no input but the stored desired state and
//! what it sees, so it may be run at any time and as often as one likes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use craton_agent_protocol::{
    AgentMessage, CertificateOutcome, CertificateSubject, ClusterId, ContentHash, DesiredInstance, DesiredState,
    ERROR_BYTES_MAX, Endpoint, InstancePhase, ObservedInstance, ObservedState, RunState,
};
use futures::future::join_all;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, AdminError, ServerStatus},
    backoff::Backoff,
    certificate::CertificateFacts,
    config::AgentConfig,
    desired_store::DesiredStore,
    driver::{Driver, DriverError, Launch, Observation, Request},
    file::{self, FileError},
    instance::{InstanceDirectory, PrepareError, Settings},
    link::LinkHandle,
    plan::{Action, CertificateCondition, LocalInstance, ProcessCondition, plan},
    time::{monotonic_now, unix_now_s},
};

/// How often the executor looks without a signal. A killed server is noticed within this time.
const TICK: Duration = Duration::from_millis(500);
/// How often it looks while a server comes up, so that it is not ready long before anyone notices.
const TICK_WHILE_STARTING: Duration = Duration::from_millis(50);
/// A server that takes longer to come up is looked at as rarely as the others.
const STARTING_MAX: Duration = Duration::from_secs(10);
/// How many steps an instance is taken forward before its state is reported.
const ROUNDS_MAX: usize = 4;
const START_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(30),
};
/// A server that ran this long starts again without a wait when it ends.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// How long a server may take to end before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A certificate request without an answer is repeated after this time, or on a new link.
const CERTIFICATE_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that is silent for longer is reported as an error. It is not killed: recovery of a large log takes long.
const SILENCE_REPORTED_AFTER: Duration = Duration::from_secs(20);

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

/// What the executor remembers of an instance between two looks. Losing it is harmless.
#[derive(Default)]
struct Memory {
    /// Ends that nobody asked for.
    restarts: u32,
    /// Of those, how many in a row.
    failures: u32,
    /// Whether the last look saw a process, or one was started since.
    runs: bool,
    runs_since: Option<Instant>,
    answers: bool,
    next_start_at: Option<Instant>,
    stop_asked_at: Option<Instant>,
    certificate_asked: Option<(Instant, u64)>,
    applied: Option<ContentHash>,
    /// Whether the server refuses work since a disk operation failed.
    poisoned: bool,
    /// Why the admin interface gave no answer at the last look.
    silence: Option<String>,
    error: Option<String>,
}

/// One look at an instance.
struct Look {
    local: LocalInstance,
    settings: Settings,
    pid: Option<u32>,
    status: Option<ServerStatus>,
    certificate: Option<CertificateFacts>,
}

/// The certificates that arrive on the link.
pub(crate) type CertificateAnswer = (ClusterId, CertificateOutcome);

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
        let mut memories = HashMap::new();
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

    fn install_certificates(&mut self, memories: &mut HashMap<ClusterId, Memory>) {
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

    async fn reconcile(&self, memories: &mut HashMap<ClusterId, Memory>) {
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
        memories.retain(|cluster_id, memory| {
            looks.contains_key(cluster_id)
                || desired
                    .as_ref()
                    .is_some_and(|desired| desired.instances.iter().any(|i| i.cluster_id == *cluster_id))
                || memory.certificate_asked.is_some()
        });
        let state = self.report(desired.as_ref(), &looks, memories);
        self.observed.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    async fn look_at_all(&self, memories: &mut HashMap<ClusterId, Memory>) -> BTreeMap<ClusterId, Look> {
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
                Err(error) => memory.error = Some(error.to_string()),
            }
            memories.insert(cluster_id, memory);
        }
        seen
    }

    /// Looks at one instance; `None` when it was not prepared to the end.
    async fn look(&self, cluster_id: &ClusterId, memory: &mut Memory) -> Result<Option<Look>, StepError> {
        let directory = self.directory(cluster_id);
        let Some(mut settings) = directory.settings()? else {
            return Ok(None);
        };
        let certificate = directory.certificate_facts()?;
        let now = monotonic_now();
        let mut pid = None;
        let mut status = None;
        let mut reload_due = false;
        let process = match self.driver.observe(&directory).await? {
            Observation::Stopped { ended } => {
                self.note_end(cluster_id, &directory, memory, ended);
                ProcessCondition::Stopped {
                    start_allowed: memory.next_start_at.is_none_or(|at| now >= at),
                }
            }
            Observation::Running {
                pid: running,
                certificate_sha256,
            } => {
                if !memory.runs {
                    tracing::info!(%cluster_id, pid = running, "a running server was found and is kept");
                    memory.runs = true;
                    memory.runs_since = Some(now);
                }
                pid = Some(running);
                reload_due = certificate.is_some_and(|facts| hex::encode(facts.sha256) != certificate_sha256);
                let answer = admin::status(&directory.admin_socket()).await;
                memory.silence = answer.as_ref().err().map(ToString::to_string);
                status = answer.ok();
                match &status {
                    None => ProcessCondition::Silent,
                    Some(status) if status.poisoned => ProcessCondition::Poisoned,
                    Some(_) => ProcessCondition::Answering,
                }
            }
        };
        self.note_answer(cluster_id, memory, process);
        if process == ProcessCondition::Answering && !settings.has_answered {
            settings.has_answered = true;
            directory.write_settings(&settings)?;
        }
        let condition = match certificate {
            None => CertificateCondition::Missing,
            Some(facts) if facts.is_renewal_due(unix_now_s()) => CertificateCondition::RenewalDue,
            Some(_) => CertificateCondition::Current,
        };
        let local = LocalInstance {
            certificate: condition,
            process,
            reload_due,
            applied: memory.applied,
        };
        Ok(Some(Look {
            local,
            settings,
            pid,
            status,
            certificate,
        }))
    }

    /// Counts an end that nobody asked for and sets the wait before the next start.
    fn note_end(
        &self,
        cluster_id: &ClusterId,
        directory: &InstanceDirectory,
        memory: &mut Memory,
        ended: Option<String>,
    ) {
        if !memory.runs {
            return;
        }
        memory.runs = false;
        memory.answers = false;
        let was_poisoned = std::mem::take(&mut memory.poisoned);
        if memory.stop_asked_at.take().is_some() && !was_poisoned {
            return;
        }
        let ran_for = memory
            .runs_since
            .map_or(Duration::ZERO, |since| monotonic_now().duration_since(since));
        memory.failures = if ran_for >= STABLE_AFTER {
            1
        } else {
            memory.failures.saturating_add(1)
        };
        memory.restarts = memory.restarts.saturating_add(1);
        // The first failure after a stable run costs no wait.
        let wait = START_BACKOFF.ceiling(memory.failures - 1);
        memory.next_start_at = Some(monotonic_now() + wait);
        let ended = ended.unwrap_or_else(|| "ended".to_owned());
        tracing::warn!(%cluster_id, %ended, failures = memory.failures, ?wait, "the server ended and is started again");
        memory.error = Some(bounded(format!(
            "the server {ended}; it last wrote: {}",
            directory.log_tail(400)
        )));
    }

    fn note_answer(&self, cluster_id: &ClusterId, memory: &mut Memory, process: ProcessCondition) {
        match process {
            ProcessCondition::Answering if !memory.answers => {
                tracing::info!(%cluster_id, "the server answers");
                memory.answers = true;
                memory.poisoned = false;
                memory.error = None;
            }
            ProcessCondition::Silent => {
                let silent_for = memory
                    .runs_since
                    .map_or(Duration::ZERO, |since| monotonic_now().duration_since(since));
                memory.answers = false;
                if silent_for > SILENCE_REPORTED_AFTER && memory.error.is_none() {
                    let silence = memory.silence.clone().unwrap_or_default();
                    memory.error = Some(bounded(format!("the server runs and does not answer: {silence}")));
                }
            }
            ProcessCondition::Poisoned => {
                memory.poisoned = true;
                memory.error = Some("a disk operation failed; the server refuses work and is started again".to_owned());
            }
            _ => {}
        }
    }

    /// Takes the planned steps, instances side by side. Returns whether anything may have changed here.
    async fn act_on_all(
        &self,
        desired: &DesiredState,
        steps: Vec<(ClusterId, Vec<Action>)>,
        taken: &BTreeSet<u16>,
        memories: &mut HashMap<ClusterId, Memory>,
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
                            memory.error = Some(bounded(error.to_string()));
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

    /// Takes one step. Returns whether it was worth looking again at once.
    async fn act(
        &self,
        action: Action,
        wanted: &DesiredInstance,
        taken: &BTreeSet<u16>,
        memory: &mut Memory,
    ) -> Result<bool, StepError> {
        let directory = self.directory(&wanted.cluster_id);
        match action {
            Action::Prepare => {
                directory.prepare(self.config.listen_address, self.config.ports, taken)?;
                Ok(true)
            }
            Action::RequestCertificate => {
                self.request_certificate(&directory, wanted, memory)?;
                Ok(false)
            }
            Action::Start => {
                let started = self.start(&directory, wanted, taken).await;
                if started.is_err() {
                    memory.failures = memory.failures.saturating_add(1);
                    memory.next_start_at = Some(monotonic_now() + START_BACKOFF.ceiling(memory.failures));
                } else {
                    memory.runs = true;
                    memory.runs_since = Some(monotonic_now());
                    memory.stop_asked_at = None;
                }
                // Answering takes a moment; the next tick sees it.
                started.map(|()| false)
            }
            Action::ReloadCertificate => {
                if let Some(facts) = directory.certificate_facts()? {
                    self.driver.request(&directory, Request::Reload).await?;
                    self.driver
                        .note_certificate(&directory, &hex::encode(facts.sha256))
                        .await?;
                }
                Ok(true)
            }
            Action::Configure => {
                self.configure(&directory, wanted).await?;
                memory.applied = Some(wanted.content_hash());
                memory.error = None;
                Ok(true)
            }
            Action::Stop => {
                match memory.stop_asked_at {
                    None => {
                        self.driver.request(&directory, Request::Terminate).await?;
                        memory.stop_asked_at = Some(monotonic_now());
                    }
                    Some(at) if monotonic_now().duration_since(at) > STOP_GRACE => {
                        self.driver.request(&directory, Request::Kill).await?;
                    }
                    Some(_) => {}
                }
                Ok(false)
            }
            Action::Destroy => {
                // The root of the keys goes first: what a crash leaves behind can no longer be read.
                file::remove(&directory.master_key())?;
                file::remove_directory(directory.path())?;
                tracing::info!(cluster_id = %wanted.cluster_id, "the instance was removed");
                Ok(true)
            }
        }
    }

    fn request_certificate(
        &self,
        directory: &InstanceDirectory,
        wanted: &DesiredInstance,
        memory: &mut Memory,
    ) -> Result<(), StepError> {
        let link = self.link.connection();
        let waits = memory.certificate_asked.is_some_and(|(at, asked_on)| {
            asked_on == link && monotonic_now().duration_since(at) < CERTIFICATE_REQUEST_TIMEOUT
        });
        if waits {
            return Ok(());
        }
        let csr_pem = directory.certificate_request(&wanted.name)?;
        let subject = CertificateSubject::Instance {
            cluster_id: wanted.cluster_id.clone(),
        };
        // Without a link nothing is sent; the next tick tries again.
        if self.link.send(AgentMessage::CertificateRequest { subject, csr_pem }) {
            memory.certificate_asked = Some((monotonic_now(), link));
        }
        Ok(())
    }

    async fn start(
        &self,
        directory: &InstanceDirectory,
        wanted: &DesiredInstance,
        taken: &BTreeSet<u16>,
    ) -> Result<(), StepError> {
        directory.choose_again_if_taken(self.config.listen_address, self.config.ports, taken)?;
        directory.write_token_key(wanted)?;
        let (Some(settings), Some(facts)) = (directory.settings()?, directory.certificate_facts()?) else {
            return Ok(());
        };
        let certificate_sha256 = hex::encode(facts.sha256);
        let arguments = self.server_arguments(directory, wanted, &settings);
        let launch = Launch {
            program: self.config.server_binary.clone(),
            arguments,
            certificate_sha256,
        };
        self.driver.start(directory, &launch).await?;
        tracing::info!(cluster_id = %wanted.cluster_id, port = settings.port, "the server was started");
        Ok(())
    }

    fn server_arguments(
        &self,
        directory: &InstanceDirectory,
        wanted: &DesiredInstance,
        settings: &Settings,
    ) -> Vec<OsString> {
        let listen = |port| SocketAddr::new(self.config.listen_address, port).to_string().into();
        let pairs: [(&str, OsString); 10] = [
            ("--data-dir", directory.data().into()),
            ("--origin", wanted.log_origin.clone().into()),
            ("--listen", listen(settings.port)),
            ("--http-listen", listen(settings.http_port)),
            ("--admin-socket", directory.admin_socket().into()),
            ("--tls-cert", directory.certificate().into()),
            ("--tls-key", directory.key().into()),
            ("--master-key-file", directory.master_key().into()),
            ("--cluster-id", wanted.cluster_id.as_str().into()),
            ("--token-key-file", directory.token_key().into()),
        ];
        pairs
            .into_iter()
            .flat_map(|(name, value)| [name.into(), value])
            .collect()
    }

    async fn configure(&self, directory: &InstanceDirectory, wanted: &DesiredInstance) -> Result<(), StepError> {
        let socket = directory.admin_socket();
        if directory.write_token_key(wanted)? {
            self.driver.request(directory, Request::Reload).await?;
        }
        for database in &wanted.databases {
            admin::put_database(&socket, database).await?;
        }
        let Some(mut settings) = directory.settings()? else {
            return Ok(());
        };
        let wanted_users: BTreeSet<String> = wanted.users.iter().map(|user| user.name.clone()).collect();
        let stale: Vec<String> = settings.users.difference(&wanted_users).cloned().collect();
        // On record before they exist, so that a crash in between leaves no user that nobody remembers.
        settings.users.extend(wanted_users.iter().cloned());
        directory.write_settings(&settings)?;
        for user in &wanted.users {
            admin::put_user(&socket, user).await?;
        }
        for name in &stale {
            admin::delete_user(&socket, name).await?;
        }
        if !stale.is_empty() {
            settings.users = wanted_users;
            directory.write_settings(&settings)?;
        }
        Ok(())
    }

    fn report(
        &self,
        desired: Option<&DesiredState>,
        looks: &BTreeMap<ClusterId, Look>,
        memories: &HashMap<ClusterId, Memory>,
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
        ObservedInstance {
            cluster_id: cluster_id.clone(),
            phase: phase(wanted, look.map(|look| &look.local)),
            endpoint: look.map(|look| Endpoint {
                address: self.config.listen_address,
                port: look.settings.port,
            }),
            pid: look.and_then(|look| look.pid),
            restarts: memory.map_or(0, |memory| memory.restarts),
            server_version: look
                .and_then(|look| look.status.as_ref())
                .map(|status| status.version.clone()),
            certificate_not_after_s: look.and_then(|look| look.certificate).map(|facts| facts.not_after_s),
            applied: look.and_then(|look| look.local.applied),
            databases: look
                .and_then(|look| look.status.as_ref())
                .map_or(vec![], |status| status.databases.clone()),
            error: memory.and_then(|memory| memory.error.clone()),
        }
    }
}

fn tick(memories: &HashMap<ClusterId, Memory>) -> Duration {
    let now = monotonic_now();
    let starts = |memory: &Memory| {
        memory.runs
            && !memory.answers
            && memory
                .runs_since
                .is_some_and(|since| now.duration_since(since) < STARTING_MAX)
    };
    if memories.values().any(starts) {
        TICK_WHILE_STARTING
    } else {
        TICK
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

fn bounded(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    }
    text
}
