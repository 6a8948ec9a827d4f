//! The files with the platform's own secrets.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use craton_crypto::{FileMasterKey, SecretBytes};
use craton_platform_identity::OperatorKey;
use craton_platform_kernel::Environment;

/// The operator's key within the data directory.
pub(crate) const OPERATOR_KEY_FILE: &str = "operator.key";
/// The master key within the data directory, unless it is elsewhere.
pub(crate) const MASTER_KEY_FILE: &str = "master.key";

/// Reads the operator's key, making it at the first start.
pub(crate) fn operator_key(path: &Path, environment: &Environment) -> anyhow::Result<OperatorKey> {
    let made = OperatorKey::generate(environment);
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match new {
        Ok(mut file) => {
            writeln!(file, "{}", made.reveal()).and_then(|()| file.sync_all())?;
            sync_parent(path)?;
            tracing::info!(path = %path.display(), "the operator's key is made");
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
    }
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "{} may be read by others (mode {mode:o}); run chmod 600 on it",
        path.display()
    );
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    OperatorKey::parse(&text).with_context(|| format!("{} holds no operator key", path.display()))
}

/// Opens the master key, making it at the first start.
pub(crate) fn master_key(path: &Path, environment: &Environment) -> anyhow::Result<Arc<FileMasterKey>> {
    if !path.exists() {
        FileMasterKey::generate(path, SecretBytes::new(environment.random_bytes()))
            .with_context(|| format!("cannot make {}", path.display()))?;
        tracing::info!(path = %path.display(), "the master key is made; keep a copy of it elsewhere");
    }
    let key = FileMasterKey::open(path).with_context(|| format!("no master key in {}", path.display()))?;
    Ok(Arc::new(key))
}

/// A new file is durable when its directory is.
fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
