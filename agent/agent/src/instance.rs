//! One instance's directory.
//!
//! ```text
//! instances/<cluster>.<member>/
//!   settings.json    ports, users that were applied            server.crt  server.key   TLS, key made here
//!   process.json     the running process                       peer.crt peer.key peer.ca TLS between members
//!   process.lock     held by the process until it ends         token.pub                verifies login tokens
//!   admin.sock       the server's admin interface              master.key               root of the instance's keys
//!   members.json     the members that the group shall have     witnesses.json           who cosigns the logs
//!   data/            the server's own directory                server.log  server.log.1 what the server wrote
//! ```

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use craton_agent_protocol::{DesiredInstance, DesiredMembership, InstanceId};
use sha2::{Digest as _, Sha256};

use crate::{
    certificate::{self, CertificateError, CertificateFacts},
    config::PortRange,
    file::{self, FileError},
};

/// The longest path of a Unix socket on Linux, in bytes (`sun_path` without its end mark, unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why an instance could not be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Every tried port is taken.
    #[error("no free port was found in {range} on {address}")]
    NoFreePort {
        /// The allowed ports.
        range: PortRange,
        /// The address.
        address: IpAddr,
    },
    /// The admin socket's path would not fit.
    #[error(
        "the path {path} has {length} bytes, a Unix socket has at most {SOCKET_PATH_BYTES_MAX}; use a shorter data directory"
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
}

/// What was chosen once and is kept.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Settings {
    /// Where clients connect.
    pub(crate) port: u16,
    /// The databases' logs over HTTPS.
    pub(crate) http_port: u16,
    /// Where other members of the group connect.
    pub(crate) peer_port: u16,
    /// Whether the server has answered since the ports were chosen. From then on clients know the port.
    pub(crate) has_answered: bool,
    /// Users that were, or were about to be, created. The difference to the desired users is dropped.
    pub(crate) users: BTreeSet<String>,
}

/// The paths of one instance.
#[derive(Clone, Debug)]
pub(crate) struct InstanceDirectory {
    path: PathBuf,
}

impl InstanceDirectory {
    pub(crate) fn new(data_dir: &Path, id: &InstanceId) -> Self {
        Self {
            path: data_dir.join("instances").join(id.to_string()),
        }
    }

    /// The instances that have a directory here.
    pub(crate) fn list(data_dir: &Path) -> Result<Vec<InstanceId>, FileError> {
        let path = data_dir.join("instances");
        let error = |source| FileError {
            action: "cannot list",
            path: path.clone(),
            source,
        };
        let entries = match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(error)?,
        };
        let mut instances = Vec::new();
        for entry in entries {
            // A name that is no instance, such as a file of an editor, is not ours.
            if let Some(id) = InstanceId::parse(&entry.map_err(error)?.file_name().to_string_lossy()) {
                instances.push(id);
            }
        }
        instances.sort();
        Ok(instances)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path.join("server.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path.join("server.key")
    }

    pub(crate) fn peer_certificate(&self) -> PathBuf {
        self.path.join("peer.crt")
    }

    pub(crate) fn peer_key(&self) -> PathBuf {
        self.path.join("peer.key")
    }

    pub(crate) fn peer_authority(&self) -> PathBuf {
        self.path.join("peer.ca")
    }

    pub(crate) fn members_file(&self) -> PathBuf {
        self.path.join("members.json")
    }

    pub(crate) fn master_key(&self) -> PathBuf {
        self.path.join("master.key")
    }

    pub(crate) fn token_key(&self) -> PathBuf {
        self.path.join("token.pub")
    }

    pub(crate) fn witness_file(&self) -> PathBuf {
        self.path.join("witnesses.json")
    }

    pub(crate) fn process_record(&self) -> PathBuf {
        self.path.join("process.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    fn settings_path(&self) -> PathBuf {
        self.path.join("settings.json")
    }

    /// The settings; `None` when the instance was not prepared.
    pub(crate) fn settings(&self) -> Result<Option<Settings>, FileError> {
        file::read_json(&self.settings_path())
    }

    pub(crate) fn write_settings(&self, settings: &Settings) -> Result<(), FileError> {
        file::write_json(&self.settings_path(), settings)
    }

    /// Makes directory and keys and chooses ports. The settings come last: they say that the rest is there.
    pub(crate) fn prepare(&self, address: IpAddr, ports: PortRange, taken: &BTreeSet<u16>) -> Result<(), PrepareError> {
        let (path, length) = (self.admin_socket(), self.admin_socket().as_os_str().len());
        if length > SOCKET_PATH_BYTES_MAX {
            return Err(PrepareError::SocketPath { path, length });
        }
        file::make_directory(&self.data())?;
        if file::read(&self.master_key())?.is_none() {
            file::write(
                &self.master_key(),
                format!("{}\n", hex::encode(rand::random::<[u8; 32]>())).as_bytes(),
            )?;
        }
        for key in [self.key(), self.peer_key()] {
            if file::read(&key)?.is_none() {
                file::write(&key, certificate::generate_key_pem()?.as_bytes())?;
            }
        }
        if self.settings()?.is_none() {
            let [port, http_port, peer_port] = choose_ports(address, ports, taken)?;
            self.write_settings(&Settings {
                port,
                http_port,
                peer_port,
                has_answered: false,
                users: BTreeSet::new(),
            })?;
        }
        Ok(())
    }

    /// Brings the key that verifies login tokens up to date. Returns whether it changed.
    pub(crate) fn write_token_key(&self, desired: &DesiredInstance) -> Result<bool, FileError> {
        let wanted = desired.token_verification_key.as_bytes();
        let changed = file::read(&self.token_key())?.as_deref() != Some(wanted);
        if changed {
            file::write(&self.token_key(), wanted)?;
        }
        Ok(changed)
    }

    /// Brings the file of the witnesses up to date. Returns whether it changed.
    pub(crate) fn write_witnesses(&self, desired: &DesiredInstance) -> Result<bool, FileError> {
        let wanted = serde_json::json!({
            "witnesses": desired.witnesses,
            "time_stamp_authority": desired.time_stamp_authority,
        });
        let wanted = wanted.to_string();
        let changed = file::read(&self.witness_file())?.as_deref() != Some(wanted.as_bytes());
        if changed {
            file::write(&self.witness_file(), wanted.as_bytes())?;
        }
        Ok(changed)
    }

    /// Brings the file of the group's members up to date.
    pub(crate) fn write_members(&self, membership: &DesiredMembership) -> Result<(), FileError> {
        let wanted = crate::admin::members_body(membership);
        if file::read(&self.members_file())?.as_deref() == Some(&wanted) {
            return Ok(());
        }
        file::write(&self.members_file(), &wanted)
    }

    /// Chooses other ports when the chosen ones were taken before any client could have learned of them.
    pub(crate) fn choose_again_if_taken(
        &self,
        address: IpAddr,
        ports: PortRange,
        taken: &BTreeSet<u16>,
    ) -> Result<(), PrepareError> {
        let Some(settings) = self.settings()? else {
            return Ok(());
        };
        let chosen = [settings.port, settings.http_port, settings.peer_port];
        if settings.has_answered || chosen.into_iter().all(|port| is_free(address, port)) {
            return Ok(());
        }
        let [port, http_port, peer_port] = choose_ports(address, ports, taken)?;
        Ok(self.write_settings(&Settings {
            port,
            http_port,
            peer_port,
            ..settings
        })?)
    }

    /// A request for the instance's certificate.
    pub(crate) fn certificate_request(&self, common_name: &str) -> Result<String, PrepareError> {
        Ok(certificate::request_pem(&key_pem(&self.key())?, common_name)?)
    }

    /// A request for the certificate that other members see.
    pub(crate) fn peer_certificate_request(&self, common_name: &str) -> Result<String, PrepareError> {
        Ok(certificate::request_pem(&key_pem(&self.peer_key())?, common_name)?)
    }

    /// Stores a certificate if it is for the instance's key.
    pub(crate) fn install_certificate(&self, chain_pem: &str) -> Result<CertificateFacts, PrepareError> {
        let facts = certificate::check_chain(chain_pem, &key_pem(&self.key())?)?;
        file::write(&self.certificate(), chain_pem.as_bytes())?;
        Ok(facts)
    }

    /// Stores the certificate that other members see, and the authority that theirs are signed by.
    pub(crate) fn install_peer_certificate(&self, chain_pem: &str) -> Result<CertificateFacts, PrepareError> {
        let facts = certificate::check_chain(chain_pem, &key_pem(&self.peer_key())?)?;
        let authority = certificate::authority_of_chain(chain_pem)?;
        // The certificate comes last: it says that both are there.
        file::write(&self.peer_authority(), authority.as_bytes())?;
        file::write(&self.peer_certificate(), chain_pem.as_bytes())?;
        Ok(facts)
    }

    /// The certificate on disk; `None` when there is none for the instance's key.
    pub(crate) fn certificate_facts(&self) -> Result<Option<CertificateFacts>, PrepareError> {
        facts(&self.certificate(), &self.key())
    }

    /// The certificate for other members; `None` when there is none for its key.
    pub(crate) fn peer_certificate_facts(&self) -> Result<Option<CertificateFacts>, PrepareError> {
        facts(&self.peer_certificate(), &self.peer_key())
    }

    /// The last lines of what the server wrote, at most `bytes_max` bytes.
    pub(crate) fn log_tail(&self, bytes_max: usize) -> String {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let read = || -> io::Result<Vec<u8>> {
            let mut file = fs::File::open(self.log())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(bytes_max as u64)))?;
            let mut bytes = Vec::new();
            file.take(bytes_max as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).trim().to_owned()
    }
}

/// What tells apart the certificates that a process may serve: a digest of those that are there.
pub(crate) fn certificates_digest(server: CertificateFacts, peer: Option<CertificateFacts>) -> String {
    let mut digest = Sha256::new();
    digest.update(server.sha256);
    if let Some(peer) = peer {
        digest.update(peer.sha256);
    }
    hex::encode(digest.finalize())
}

fn key_pem(path: &Path) -> Result<String, FileError> {
    let unusable = |source| FileError {
        action: "cannot read",
        path: path.to_owned(),
        source,
    };
    let bytes = file::read(path)?.ok_or_else(|| unusable(io::ErrorKind::NotFound.into()))?;
    String::from_utf8(bytes).map_err(|error| unusable(io::Error::new(io::ErrorKind::InvalidData, error)))
}

fn facts(certificate: &Path, key: &Path) -> Result<Option<CertificateFacts>, PrepareError> {
    let Some(bytes) = file::read(certificate)? else {
        return Ok(None);
    };
    Ok(certificate::check_chain(&String::from_utf8_lossy(&bytes), &key_pem(key)?).ok())
}

fn is_free(address: IpAddr, port: u16) -> bool {
    TcpListener::bind(SocketAddr::new(address, port)).is_ok()
}

/// Three free ports at random, so that agents on one machine rarely meet.
fn choose_ports(address: IpAddr, ports: PortRange, taken: &BTreeSet<u16>) -> Result<[u16; 3], PrepareError> {
    let tries = ports.len().saturating_mul(4).min(1_000);
    let free = (0..tries)
        .map(|_| ports.pick(rand::random()))
        .filter(|port| !taken.contains(port) && is_free(address, *port));
    let mut chosen = Vec::with_capacity(3);
    for port in free {
        if !chosen.contains(&port) {
            chosen.push(port);
        }
        if let Ok(chosen) = <[u16; 3]>::try_from(chosen.as_slice()) {
            return Ok(chosen);
        }
    }
    Err(PrepareError::NoFreePort { range: ports, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn instance() -> InstanceId {
        InstanceId::parse("clu_01h455vb4pex5vsknk084sn02q.1").unwrap()
    }

    #[test]
    fn keys_and_ports_are_chosen_once() {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::new(data_dir.path(), &instance());
        assert_eq!(InstanceDirectory::list(data_dir.path()).unwrap(), []);
        let read = |directory: &InstanceDirectory| {
            let settings = directory.settings().unwrap().unwrap();
            (
                settings.port,
                settings.http_port,
                settings.peer_port,
                fs::read(directory.master_key()).unwrap(),
                key_pem(&directory.key()).unwrap(),
            )
        };
        directory.prepare(LOCAL, PortRange::DEFAULT, &BTreeSet::new()).unwrap();
        let first = read(&directory);
        directory.prepare(LOCAL, PortRange::DEFAULT, &BTreeSet::new()).unwrap();
        assert_eq!(read(&directory), first);
        assert!(first.0 != first.1 && first.1 != first.2 && first.0 != first.2);
        assert_eq!(first.3.len(), 65);
        fs::write(data_dir.path().join("instances/notes.txt"), "").unwrap();
        assert_eq!(InstanceDirectory::list(data_dir.path()).unwrap(), [instance()]);
    }

    #[test]
    fn a_taken_port_is_replaced_only_while_no_client_knows_it() {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::new(data_dir.path(), &instance());
        directory.prepare(LOCAL, PortRange::DEFAULT, &BTreeSet::new()).unwrap();
        let before = directory.settings().unwrap().unwrap();
        let _taken = TcpListener::bind((LOCAL, before.port)).unwrap();

        directory
            .write_settings(&Settings {
                has_answered: true,
                ..before.clone()
            })
            .unwrap();
        directory
            .choose_again_if_taken(LOCAL, PortRange::DEFAULT, &BTreeSet::new())
            .unwrap();
        assert_eq!(directory.settings().unwrap().unwrap().port, before.port);

        directory.write_settings(&before).unwrap();
        directory
            .choose_again_if_taken(LOCAL, PortRange::DEFAULT, &BTreeSet::new())
            .unwrap();
        assert_ne!(directory.settings().unwrap().unwrap().port, before.port);
    }

    #[test]
    fn a_range_without_free_ports_is_an_error() {
        let listeners = [TcpListener::bind((LOCAL, 0)).unwrap()];
        let port = listeners[0].local_addr().unwrap().port();
        let range: PortRange = format!("{}-{port}", port - 1).parse().unwrap();
        assert!(matches!(
            choose_ports(LOCAL, range, &BTreeSet::from([port - 1])),
            Err(PrepareError::NoFreePort { .. })
        ));
    }

    #[test]
    fn a_directory_too_deep_for_a_socket_is_refused() {
        let data_dir = tempfile::tempdir().unwrap();
        let deep = data_dir.path().join("d".repeat(100));
        let result = InstanceDirectory::new(&deep, &instance()).prepare(LOCAL, PortRange::DEFAULT, &BTreeSet::new());
        assert!(matches!(result, Err(PrepareError::SocketPath { .. })));
    }

    #[test]
    fn the_log_tail_is_bounded() {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = InstanceDirectory::new(data_dir.path(), &instance());
        assert_eq!(directory.log_tail(10), "");
        file::make_directory(directory.path()).unwrap();
        fs::write(directory.log(), "first line\nsecond\n").unwrap();
        assert_eq!(directory.log_tail(7), "second");
    }
}
