//! The steps that a plan is made of.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use craton_agent_protocol::{AgentMessage, CertificateSubject, DesiredInstance, DesiredMembership};

use super::{Executor, StepError, memory::Memory};
use crate::{
    admin,
    driver::{Launch, Request},
    file,
    instance::{InstanceDirectory, Settings, certificates_digest},
    plan::Action,
    time::monotonic_now,
    versions::program,
};

/// How long a server may take to end before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A certificate request without an answer is repeated after this time, or on a new link.
const CERTIFICATE_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

impl Executor {
    /// Takes one step. Returns whether it was worth looking again at once.
    pub(super) async fn act(
        &self,
        action: Action,
        wanted: &DesiredInstance,
        taken: &BTreeSet<u16>,
        memory: &mut Memory,
    ) -> Result<bool, StepError> {
        let directory = self.directory(&wanted.id());
        match action {
            Action::Prepare => {
                directory.prepare(self.config.listen_address, self.config.ports, taken)?;
                Ok(true)
            }
            Action::RequestCertificate => {
                if self.may_ask(memory.certificate_asked) {
                    let csr_pem = directory.certificate_request(&wanted.name)?;
                    let subject = CertificateSubject::instance(wanted.id());
                    memory.certificate_asked = self.ask(subject, csr_pem).or(memory.certificate_asked);
                }
                Ok(false)
            }
            Action::RequestPeerCertificate => {
                if self.may_ask(memory.peer_certificate_asked) {
                    let csr_pem = directory.peer_certificate_request(&wanted.name)?;
                    let subject = CertificateSubject::peer(wanted.id());
                    memory.peer_certificate_asked = self.ask(subject, csr_pem).or(memory.peer_certificate_asked);
                }
                Ok(false)
            }
            Action::Start => {
                let started = self.start(&directory, wanted, taken).await;
                match &started {
                    Ok(()) => memory.note_start(monotonic_now()),
                    Err(_) => memory.note_failed_start(monotonic_now()),
                }
                // Answering takes a moment; the next tick sees it.
                started.map(|()| false)
            }
            Action::ReloadCertificate => {
                if let Some(facts) = directory.certificate_facts()? {
                    self.driver.request(&directory, Request::Reload).await?;
                    let digest = certificates_digest(facts, directory.peer_certificate_facts()?);
                    self.driver.note_certificate(&directory, &digest).await?;
                }
                Ok(true)
            }
            Action::PutMembers => {
                if let Some(membership) = &wanted.membership {
                    directory.write_members(membership)?;
                    admin::put_members(&directory.admin_socket(), membership).await?;
                }
                // The server says itself which members it works with.
                Ok(false)
            }
            Action::Configure => {
                self.configure(&directory, wanted).await?;
                memory.applied = Some(wanted.content_hash());
                memory.error = None;
                Ok(true)
            }
            Action::Finalize => {
                if let Some(version) = wanted.format_version {
                    admin::finalize(&directory.admin_socket(), version).await?;
                    memory.error = None;
                }
                // The server says itself what it writes.
                Ok(true)
            }
            Action::Restart if memory.stop_asked_at.is_none() => {
                if wanted.membership.is_some()
                    && let Err(error) = admin::drain(&directory.admin_socket()).await
                {
                    // The others elect a leader also when this one just ends; it only takes longer.
                    tracing::info!(id = %wanted.id(), %error, "the server was not drained before its end");
                }
                self.driver.request(&directory, Request::Terminate).await?;
                memory.stop_asked_at = Some(monotonic_now());
                Ok(false)
            }
            Action::Restart | Action::Stop => {
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
                tracing::info!(id = %wanted.id(), "the instance was removed");
                Ok(true)
            }
        }
    }

    /// Whether a certificate may be asked for, given when and on which link it was asked for the last time.
    fn may_ask(&self, asked: Option<(Instant, u64)>) -> bool {
        let link = self.link.connection();
        !asked.is_some_and(|(at, asked_on)| {
            asked_on == link && monotonic_now().duration_since(at) < CERTIFICATE_REQUEST_TIMEOUT
        })
    }

    /// Asks for a certificate; `None` without a link. Then nothing is sent, and the next tick tries again.
    fn ask(&self, subject: CertificateSubject, csr_pem: String) -> Option<(Instant, u64)> {
        let link = self.link.connection();
        let message = AgentMessage::CertificateRequest { subject, csr_pem };
        self.link.send(message).then(|| (monotonic_now(), link))
    }

    async fn start(
        &self,
        directory: &InstanceDirectory,
        wanted: &DesiredInstance,
        taken: &BTreeSet<u16>,
    ) -> Result<(), StepError> {
        directory.choose_again_if_taken(self.config.listen_address, self.config.ports, taken)?;
        directory.write_token_key(wanted)?;
        directory.write_witnesses(wanted)?;
        let (Some(settings), Some(facts)) = (directory.settings()?, directory.certificate_facts()?) else {
            return Ok(());
        };
        let mut arguments = self.server_arguments(directory, wanted, &settings);
        if let Some(membership) = &wanted.membership {
            directory.write_members(membership)?;
            arguments.extend(self.member_arguments(directory, wanted, membership, &settings));
        }
        let launch = Launch {
            program: self.program(wanted)?,
            arguments,
            certificate_sha256: certificates_digest(facts, directory.peer_certificate_facts()?),
            server_version: wanted.server_version.clone(),
        };
        self.driver.start(directory, &launch).await?;
        tracing::info!(id = %wanted.id(), port = settings.port, "the server was started");
        Ok(())
    }

    fn server_arguments(
        &self,
        directory: &InstanceDirectory,
        wanted: &DesiredInstance,
        settings: &Settings,
    ) -> Vec<OsString> {
        let listen = |port| SocketAddr::new(self.config.listen_address, port).to_string().into();
        let mut master_key = OsString::from("file:");
        master_key.push(directory.master_key());
        let pairs: [(&str, OsString); 12] = [
            ("--data-dir", directory.data().into()),
            ("--origin", wanted.log_origin.clone().into()),
            ("--region", wanted.region.clone().into()),
            ("--listen", listen(settings.port)),
            ("--https-listen", listen(settings.http_port)),
            ("--admin-socket", directory.admin_socket().into()),
            ("--tls-cert", directory.certificate().into()),
            ("--tls-key", directory.key().into()),
            ("--master-key", master_key),
            ("--cluster-id", wanted.cluster_id.as_str().into()),
            ("--token-key-file", directory.token_key().into()),
            ("--witness-file", directory.witness_file().into()),
        ];
        pairs
            .into_iter()
            .flat_map(|(name, value)| [name.into(), value])
            .collect()
    }

    /// The program of the wanted version.
    fn program(&self, wanted: &DesiredInstance) -> Result<PathBuf, StepError> {
        let Some(version) = &wanted.server_version else {
            return Ok(self.config.server_binary.clone());
        };
        let program = program(self.config.server_versions.as_deref(), version);
        program.ok_or_else(|| StepError::VersionMissing(version.clone()))
    }

    fn member_arguments(
        &self,
        directory: &InstanceDirectory,
        wanted: &DesiredInstance,
        membership: &DesiredMembership,
        settings: &Settings,
    ) -> Vec<OsString> {
        let listen = SocketAddr::new(self.config.listen_address, settings.peer_port);
        let pairs: [(&str, OsString); 6] = [
            ("--node-id", wanted.member_id.to_string().into()),
            ("--peer-listen", listen.to_string().into()),
            ("--peer-cert", directory.peer_certificate().into()),
            ("--peer-key", directory.peer_key().into()),
            ("--peer-ca", directory.peer_authority().into()),
            ("--members", directory.members_file().into()),
        ];
        let bootstrap = membership.bootstrap.then(|| "--bootstrap".into());
        let pairs = pairs.into_iter().flat_map(|(name, value)| [name.into(), value]);
        pairs.chain(bootstrap).collect()
    }

    async fn configure(&self, directory: &InstanceDirectory, wanted: &DesiredInstance) -> Result<(), StepError> {
        let socket = directory.admin_socket();
        // Both are written, whichever of them changed.
        let token_key_changed = directory.write_token_key(wanted)?;
        if directory.write_witnesses(wanted)? || token_key_changed {
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
}
