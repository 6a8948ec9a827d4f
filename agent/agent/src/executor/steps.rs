//! The steps that a plan is made of.

use std::{collections::BTreeSet, ffi::OsString, net::SocketAddr, time::Duration};

use craton_agent_protocol::{AgentMessage, CertificateSubject, DesiredInstance};

use super::{Executor, StepError, memory::Memory};
use crate::{
    admin,
    driver::{Launch, Request},
    file,
    instance::{InstanceDirectory, Settings},
    plan::Action,
    time::monotonic_now,
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
        directory.write_witnesses(wanted)?;
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
        let mut master_key = OsString::from("file:");
        master_key.push(directory.master_key());
        let pairs: [(&str, OsString); 11] = [
            ("--data-dir", directory.data().into()),
            ("--origin", wanted.log_origin.clone().into()),
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
