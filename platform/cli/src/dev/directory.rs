//! The world's files.
//!
//! ```text
//! <data directory>/
//!   dev.lock    held while the world runs      platform/   the control plane's own directory
//!   dev.json    ports, chosen once             node-1/ …   the agents' own directories
//!   logs/       what the processes wrote
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The port of API and console, unless another is asked for.
const HTTP_PORT: u16 = 8080;
/// The longest data directory, in bytes: a Unix socket's path has at most 107 (unix(7)), and an agent's is
/// `node-1/instances/<cluster>.<member>/admin.sock` below it.
const PATH_BYTES_MAX: usize = 107 - "/node-1/instances//admin.sock".len() - "clu_".len() - 26 - ".9999".len();

/// The ports of the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ports {
    /// API and console.
    pub(super) http: u16,
    /// The agents' link.
    pub(super) agent: u16,
    /// Metrics.
    pub(super) metrics: u16,
}

/// The directory, locked.
pub(super) struct DataDirectory {
    path: PathBuf,
    _lock: File,
    /// Removes the directory when it is dropped.
    temporary: Option<tempfile::TempDir>,
}

impl DataDirectory {
    /// A new directory that is removed with this value.
    pub(super) fn temporary() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("craton-")
            .tempdir()
            .context("no temporary directory can be made")?;
        Self::lock(directory.path().to_owned(), Some(directory))
    }

    /// A directory that is kept; made when it is missing.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
        Self::lock(path, None)
    }

    fn lock(path: PathBuf, temporary: Option<tempfile::TempDir>) -> anyhow::Result<Self> {
        let length = path.as_os_str().len();
        if length > PATH_BYTES_MAX {
            bail!(
                "the path {} has {length} bytes, sockets below it allow for {PATH_BYTES_MAX}; give a shorter --data-dir",
                path.display()
            );
        }
        let unusable = || format!("{} cannot be used", path.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path.join("logs"))
            .with_context(unusable)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("dev.lock"))
            .with_context(unusable)?;
        if lock.try_lock().is_err() {
            bail!("another craton dev runs on {}", path.display());
        }
        Ok(Self {
            path,
            _lock: lock,
            temporary,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn platform(&self) -> PathBuf {
        self.path.join("platform")
    }

    /// The operator's key, which the control plane makes at its first start.
    pub(super) fn operator_key(&self) -> PathBuf {
        self.platform().join("operator.key")
    }

    pub(super) fn node(&self, number: usize) -> PathBuf {
        self.path.join(format!("node-{number}"))
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// The ports of the last time. The agents know the one of their link, and people the one of the console.
    pub(super) fn ports(&self, http: Option<u16>) -> anyhow::Result<Ports> {
        let file = self.path.join("dev.json");
        let earlier: Option<Ports> = match fs::read(&file) {
            Ok(bytes) => {
                Some(serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", file.display()))?)
            }
            Err(_) => None,
        };
        let default = |temporary: bool| if temporary { free_port() } else { Ok(HTTP_PORT) };
        let ports = match (earlier, http) {
            (Some(earlier), None) => earlier,
            (Some(earlier), Some(http)) => Ports { http, ..earlier },
            (None, http) => Ports {
                http: http.map_or_else(|| default(self.temporary.is_some()), Ok)?,
                agent: free_port()?,
                metrics: free_port()?,
            },
        };
        for (port, what) in [
            (ports.http, "API and console; give another --port"),
            (ports.agent, "the agents' link"),
            (ports.metrics, "metrics"),
        ] {
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                bail!("port {port} cannot be used for {what}: {error}");
            }
        }
        let text = serde_json::to_string_pretty(&ports).context("ports are numbers")?;
        fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(ports)
    }
}

/// A port that nobody uses now. Below the range that Linux takes for outgoing connections, so that it stays free while
/// its process is down.
fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 10_000;
    const LAST: u16 = 19_999;
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    // The system's choice is as good as random.
    let start = probe.local_addr()?.port() % (LAST - FIRST + 1);
    (0..=LAST - FIRST)
        .map(|step| FIRST + (start + step) % (LAST - FIRST + 1))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .with_context(|| format!("no port from {FIRST} to {LAST} is free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_chosen_once_and_the_public_one_can_be_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = DataDirectory::open(folder.path()).expect("a directory");
        let wanted = free_port().expect("a port");
        let first = directory.ports(Some(wanted)).expect("ports");
        assert_eq!(first.http, wanted);
        assert_eq!(directory.ports(None).expect("ports"), first);
        let other = directory.ports(Some(free_port().expect("a port"))).expect("ports");
        assert_eq!((other.agent, other.metrics), (first.agent, first.metrics));

        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = taken.local_addr().expect("an address").port();
        let error = directory.ports(Some(port)).expect_err("the port is taken");
        assert!(error.to_string().contains("give another --port"), "{error}");
    }

    #[test]
    fn a_directory_has_one_world_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = DataDirectory::open(folder.path()).expect("a directory");
        let error = DataDirectory::open(folder.path()).err().expect("it is locked");
        assert!(error.to_string().contains("another craton dev"), "{error}");
        drop(first);
        DataDirectory::open(folder.path()).expect("it is free again");
    }

    #[test]
    fn a_path_that_is_too_long_for_sockets_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path().as_os_str().len() + 1;
        let of_length = |length: usize| folder.path().join("d".repeat(length - base));
        DataDirectory::open(&of_length(PATH_BYTES_MAX)).expect("just short enough");
        let error = DataDirectory::open(&of_length(PATH_BYTES_MAX + 1))
            .err()
            .expect("too long");
        assert!(error.to_string().contains("shorter --data-dir"), "{error}");
    }
}
