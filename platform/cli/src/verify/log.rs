//! `craton verify log`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use craton_proof::{LogVerifyError, LogVerifyOptions, SegmentSource, VerifierKey, verify_log};

use super::{Outcome, json};

pub(super) fn verify(
    folder: &Path,
    key: Option<VerifierKey>,
    checkpoint: Option<String>,
    allow_torn_tail: bool,
) -> anyhow::Result<Outcome> {
    let segments = segments(folder)?;
    let options = LogVerifyOptions {
        key,
        checkpoint,
        allow_torn_tail,
    };
    let error = match verify_log(segments, &options) {
        Ok(summary) => {
            return Ok(Outcome {
                verified: true,
                text: format!("The log verifies.\n\n{summary}"),
                json: json::log(&summary),
            });
        }
        Err(LogVerifyError::Read { file, source, .. }) => {
            return Err(source).with_context(|| format!("{} cannot be read", folder.join(file).display()));
        }
        Err(error) => error,
    };
    let mut text = "The log does NOT verify.\n\n".to_owned();
    if let LogVerifyError::Fault(fault) = &error {
        let rows = [
            (json::part(fault.part), fault.offset.to_string()),
            ("field", fault.field.to_owned()),
            ("file", folder.join(&fault.file).display().to_string()),
            ("byte", fault.position.to_string()),
            ("finding", fault.finding.to_string()),
        ];
        rows.iter()
            .for_each(|(name, value)| text += &format!("  {name:<15} {value}\n"));
    } else {
        text += &format!("  {error}\n");
    }
    Ok(Outcome {
        verified: false,
        text,
        json: json::log_error(&error),
    })
}

/// The folder's segment files in the order of their names, opened one at a time.
fn segments(folder: &Path) -> anyhow::Result<impl Iterator<Item = SegmentSource<LazyFile>>> {
    let unreadable = || format!("{} cannot be read", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.extension() == Some(OsStr::new("segment"))
            && let Some(name) = path.file_name().and_then(OsStr::to_str)
        {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        bail!(
            "{} holds no *.segment files, so it is no tenant's log",
            folder.display()
        );
    }
    names.sort_unstable();
    let folder = folder.to_owned();
    Ok(names.into_iter().map(move |name| SegmentSource {
        reader: LazyFile::Closed(folder.join(&name)),
        name,
    }))
}

/// A file that is opened when it is first read.
enum LazyFile {
    Closed(PathBuf),
    Open(File),
}

impl Read for LazyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Self::Closed(path) = self {
            *self = Self::Open(File::open(path)?);
        }
        match self {
            Self::Open(file) => file.read(buffer),
            Self::Closed(_) => unreachable!("opened above"),
        }
    }
}
