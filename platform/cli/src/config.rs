//! What `craton login` stores: one server and one API key, in a file that only its owner can read.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The folder of the configuration, when it is not the usual one.
const FOLDER_VARIABLE: &str = "CRATON_CONFIG_DIR";
const FILE: &str = "login.json";

/// A login.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The control plane's origin, such as `https://craton.example`.
    pub(crate) server: String,
    /// `crt_live_…`.
    pub(crate) api_key: String,
}

/// `$CRATON_CONFIG_DIR`, `$XDG_CONFIG_HOME/craton` or `~/.config/craton` (XDG Base Directory Specification).
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = variable(FOLDER_VARIABLE) {
        return Ok(folder.into());
    }
    if let Some(folder) = variable("XDG_CONFIG_HOME") {
        return Ok(Path::new(&folder).join("craton"));
    }
    match variable("HOME") {
        Some(home) => Ok(Path::new(&home).join(".config/craton")),
        None => bail!("there is no home directory for the configuration; set {FOLDER_VARIABLE}"),
    }
}

/// The stored login; `None` when there is none.
pub(crate) fn load(folder: &Path) -> anyhow::Result<Option<Login>> {
    let path = folder.join(FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.with_context(|| format!("{} cannot be read", path.display()))?,
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .with_context(|| format!("{} is damaged; run craton login again", path.display()))
}

/// Replaces the stored login and returns the file's path.
pub(crate) fn store(folder: &Path, login: &Login) -> anyhow::Result<PathBuf> {
    let path = folder.join(FILE);
    let temporary = folder.join(format!("{FILE}.{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(login)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_login_is_private_and_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("config");
        assert_eq!(load(&folder).expect("nothing yet"), None);
        for api_key in ["crt_live_one", "crt_live_two"] {
            let login = Login {
                server: "http://localhost:8080".into(),
                api_key: api_key.into(),
            };
            let path = store(&folder, &login).expect("written");
            assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
            assert_eq!(load(&folder).expect("readable"), Some(login));
        }
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1);
        fs::write(folder.join(FILE), "{").expect("written");
        let error = load(&folder).expect_err("damaged");
        assert!(format!("{error:#}").contains("run craton login again"), "{error:#}");
    }
}
