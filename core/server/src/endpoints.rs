//! Where the server can be reached, written to a file for whoever started it on port 0.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file's name in the data directory.
pub const ENDPOINTS_FILE: &str = "endpoints.json";

/// The addresses that the server listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The server's process id, so that a file left behind by a crash can be told from a current one.
    pub process_id: u32,
    /// PostgreSQL protocol.
    pub postgres: SocketAddr,
    /// The databases' logs over TLS, `/health` and `/ready`.
    pub https: SocketAddr,
    /// `/metrics`, `/health` and `/ready` in plain HTTP, if they are served on an address.
    pub metrics: Option<SocketAddr>,
    /// Where other members of the cluster connect, if the server is in one.
    #[serde(default)]
    pub peer: Option<SocketAddr>,
    /// The administrative API's Unix socket.
    pub admin_socket: PathBuf,
}

impl Endpoints {
    /// Writes the file so that a reader sees all of it or nothing.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let path = data_dir.join(ENDPOINTS_FILE);
        let temporary = data_dir.join(format!("{ENDPOINTS_FILE}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        File::open(data_dir)?.sync_all()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When there is none, or it is malformed.
    pub fn read(data_dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(data_dir.join(ENDPOINTS_FILE))?)?)
    }

    /// Removes the file, if there is one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(data_dir: &Path) -> io::Result<()> {
        match fs::remove_file(data_dir.join(ENDPOINTS_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let endpoints = Endpoints {
            process_id: 7,
            postgres: "127.0.0.1:5433".parse().expect("an address"),
            https: "[::1]:8080".parse().expect("an address"),
            metrics: None,
            peer: None,
            admin_socket: "/run/craton/admin.sock".into(),
        };
        endpoints.write(directory.path()).expect("writable");
        assert_eq!(Endpoints::read(directory.path()).expect("written"), endpoints);
        Endpoints::remove(directory.path()).expect("removable");
        Endpoints::remove(directory.path()).expect("removing twice is no error");
        assert!(Endpoints::read(directory.path()).is_err());
    }
}
