//! The versions of the server that are installed on this machine.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use craton_agent_protocol::{FormatRange, InstalledVersion, SERVER_VERSIONS_MAX, is_version_name};
use tokio::process::Command;

use crate::file::FileError;

/// The file in a version's directory.
const PROGRAM: &str = "craton-server";
/// How long a program may take to say which versions of the formats it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What tells a program from the one that was there before.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// What the installed programs have said of themselves. Each is asked once, and again when it was replaced.
#[derive(Default)]
pub(crate) struct Versions {
    known: HashMap<PathBuf, (Stamp, Option<FormatRange>)>,
}

impl Versions {
    /// The versions in a directory, sorted by name; at most [`SERVER_VERSIONS_MAX`], the last ones in that order.
    pub(crate) async fn look(&mut self, directory: &Path) -> Result<Vec<InstalledVersion>, FileError> {
        let mut versions = Vec::new();
        let mut known = HashMap::new();
        for name in list(directory)? {
            let program = directory.join(&name).join(PROGRAM);
            let stamp = stamp(&program);
            let formats = match self.known.get(&program) {
                Some((asked, formats)) if *asked == stamp => *formats,
                _ => formats(&program).await,
            };
            known.insert(program, (stamp, formats));
            versions.push(InstalledVersion { name, formats });
        }
        self.known = known;
        Ok(versions)
    }
}

fn stamp(program: &Path) -> Stamp {
    let metadata = fs::metadata(program).ok();
    Stamp {
        modified: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
        bytes: metadata.map_or(0, |metadata| metadata.len()),
    }
}

/// What a program says of itself; `None` when it is too old to say it, or says something else.
async fn formats(program: &Path) -> Option<FormatRange> {
    let mut command = Command::new(program);
    command
        .arg("--format-versions")
        // A secret of the agent, which a server has no use for.
        .env_remove("CRATON_JOIN_TOKEN")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER_TIMEOUT, command.output())
        .await
        .ok()?
        .ok()?;
    output.status.success().then_some(())?;
    serde_json::from_slice(&output.stdout).ok()
}

fn list(directory: &Path) -> Result<Vec<String>, FileError> {
    let error = |source| FileError {
        action: "cannot list",
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(error)?,
    };
    let mut versions = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error)?;
        if let Ok(name) = entry.file_name().into_string()
            && is_version_name(&name)
            && entry.path().join(PROGRAM).is_file()
        {
            versions.push(name);
        }
    }
    versions.sort();
    let surplus = versions.len().saturating_sub(SERVER_VERSIONS_MAX);
    Ok(versions.split_off(surplus))
}

/// The program of an installed version; `None` when it is not installed.
pub(crate) fn program(directory: Option<&Path>, version: &str) -> Option<PathBuf> {
    let path = directory?.join(version).join(PROGRAM);
    (is_version_name(version) && path.is_file()).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_version_is_a_directory_with_the_program_in_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(list(&directory.path().join("missing")).unwrap(), Vec::<String>::new());
        let path = directory.path();
        for version in ["0.2.0", "0.1.0"] {
            fs::create_dir(path.join(version)).unwrap();
            fs::write(path.join(version).join(PROGRAM), "").unwrap();
        }
        fs::create_dir(path.join("0.3.0")).unwrap();
        fs::write(path.join("notes.txt"), "").unwrap();
        assert_eq!(list(path).unwrap(), ["0.1.0", "0.2.0"]);
        assert_eq!(program(Some(path), "0.2.0"), Some(path.join("0.2.0/craton-server")));
        for missing in ["0.3.0", "0.4.0", "../0.2.0", ""] {
            assert_eq!(program(Some(path), missing), None, "{missing:?}");
        }
        assert_eq!(program(None, "0.2.0"), None);
    }

    #[test]
    fn the_number_of_versions_is_limited() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..=SERVER_VERSIONS_MAX {
            let path = directory.path().join(format!("{number:03}"));
            fs::create_dir(&path).unwrap();
            fs::write(path.join(PROGRAM), "").unwrap();
        }
        let listed = list(directory.path()).unwrap();
        assert_eq!((listed.len(), listed[0].as_str()), (SERVER_VERSIONS_MAX, "001"));
    }

    #[tokio::test]
    async fn programs_say_which_versions_of_the_formats_they_know() {
        let directory = tempfile::tempdir().unwrap();
        let install = |version: &str, script: &str| {
            let path = directory.path().join(version);
            fs::create_dir_all(&path).unwrap();
            // Put in place as a whole: what is being written cannot be run.
            fs::write(path.join("new"), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(path.join("new"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(path.join("new"), path.join(PROGRAM)).unwrap();
        };
        let says = |oldest, newest| Some(FormatRange { oldest, newest });
        let answer = |range: &str| format!("[ \"$1\" = --format-versions ] && echo '{range}'");
        install("1", &answer(r#"{"oldest":1,"newest":2}"#));
        install("2", "echo 'error: unexpected argument' >&2; exit 2");
        install("3", "echo 7");
        let mut versions = Versions::default();
        let seen = async |versions: &mut Versions| -> Vec<Option<FormatRange>> {
            let seen = versions.look(directory.path()).await.unwrap();
            seen.into_iter().map(|version| version.formats).collect()
        };
        assert_eq!(seen(&mut versions).await, [says(1, 2), None, None]);
        install("2", &answer(r#"{"oldest":2,"newest":3}"#));
        assert_eq!(seen(&mut versions).await, [says(1, 2), says(2, 3), None]);
        fs::remove_dir_all(directory.path().join("1")).unwrap();
        assert_eq!(seen(&mut versions).await, [says(2, 3), None]);
    }
}
