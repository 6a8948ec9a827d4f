//! The versions of the server that are installed on this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use craton_agent_protocol::{SERVER_VERSIONS_MAX, is_version_name};

use crate::file::FileError;

/// The file in a version's directory.
const PROGRAM: &str = "craton-server";

/// The names of the versions in a directory, sorted; at most [`SERVER_VERSIONS_MAX`], the last ones in that order.
pub(crate) fn list(directory: &Path) -> Result<Vec<String>, FileError> {
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
}
