//! The checkpoints that were seen before, in files: what lets a later verification notice that a log was rolled back, or
//! that it shows two histories.
//!
//! `<directory>/<log>/<size>.checkpoint` holds a signed note as it was seen; `<log>` is the log's origin and the id of its
//! key. There is more than one for a log only while nothing shows that they are of one history, which receipts cannot: a
//! verification of the log itself leaves the newest.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use craton_proof::{Checkpoint, NOTE_BYTES_MAX, VerifierKey};

/// The most checkpoints of one log that are kept beside each other. Further receipts are not remembered.
const PINS_MAX: usize = 64;
/// The longest file name that file systems have.
const NAME_BYTES_MAX: usize = 255;
const EXTENSION: &str = "checkpoint";

/// The remembered checkpoints of one log.
pub(super) struct Pins {
    folder: PathBuf,
    known: Vec<Checkpoint>,
}

impl Pins {
    /// Reads what is remembered of a log below `directory`.
    pub(super) fn open(directory: &Path, key: &VerifierKey) -> anyhow::Result<Self> {
        let folder = directory.join(folder_name(key)?);
        let unreadable = || format!("{} cannot be read; --no-pin does without it", folder.display());
        let mut known = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { folder, known }),
            Err(error) => return Err(error).with_context(unreadable),
        };
        for entry in entries {
            let path = entry.with_context(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let note = super::read_bounded(&path, NOTE_BYTES_MAX)?;
                let checkpoint = Checkpoint::open(&note, key);
                known.push(checkpoint.with_context(|| format!("{} is no checkpoint of this log", path.display()))?);
            }
        }
        known.sort_by_key(|checkpoint| checkpoint.size);
        Ok(Self { folder, known })
    }

    /// The remembered checkpoints, the smallest first.
    pub(super) fn known(&self) -> &[Checkpoint] {
        &self.known
    }

    /// The remembered checkpoint of as many records and another root: the log shows two histories.
    pub(super) fn contradiction(&self, found: &Checkpoint) -> Option<&Checkpoint> {
        let mut known = self.known.iter();
        known.find(|pin| pin.size == found.size && pin.root != found.root)
    }

    /// Remembers a checkpoint that was shown to be of one history with all that are known. Those that it continues are not
    /// needed any more; nor is it itself, where a larger one continues it.
    pub(super) fn advance(&self, checkpoint: &Checkpoint, note: &str) -> io::Result<()> {
        if self.known.last().is_none_or(|largest| largest.size < checkpoint.size) {
            self.store(checkpoint.size, note)?;
        }
        let continued = self.known.iter().filter(|pin| pin.size < checkpoint.size);
        for pin in continued {
            fs::remove_file(self.path(pin.size))?;
        }
        Ok(())
    }

    /// Remembers the checkpoint of a receipt beside the others, when it is newer than they are.
    pub(super) fn add(&self, checkpoint: &Checkpoint, note: &str) -> io::Result<()> {
        let is_newer = self.known.last().is_none_or(|pin| pin.size < checkpoint.size);
        if is_newer && self.known.len() < PINS_MAX {
            self.store(checkpoint.size, note)?;
        }
        Ok(())
    }

    fn path(&self, size: u64) -> PathBuf {
        self.folder.join(format!("{size}.{EXTENSION}"))
    }

    /// Writes a file whole or not at all; only its owner can read it.
    fn store(&self, size: u64, note: &str) -> io::Result<()> {
        if size == 0 || self.known.iter().any(|pin| pin.size == size) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(note.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(self.path(size)).map_err(|error| error.error)?;
        Ok(())
    }
}

/// `$XDG_STATE_HOME/craton/checkpoints` or `~/.local/state/craton/checkpoints` (XDG Base Directory Specification).
///
/// `None` when there is no home directory.
pub(super) fn default_directory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.filter(|folder| folder.is_absolute());
    let state = state.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".local/state")));
    state.map(|folder| folder.join("craton/checkpoints"))
}

/// The origin with all but plain characters as `%` and hexadecimal digits, and the key's id.
fn folder_name(key: &VerifierKey) -> anyhow::Result<String> {
    let mut name = String::new();
    for byte in key.name().as_str().bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || (byte == b'.' && !name.is_empty()) {
            name.push(byte.into());
        } else {
            name += &format!("%{byte:02X}");
        }
    }
    name += &format!("+{}", key.id());
    if name.len() > NAME_BYTES_MAX {
        bail!("the log's name is too long to remember checkpoints under: give --no-pin");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = include_str!("../../../../core/proof/tests/golden/v1/key.txt");
    const NOTE: &str = include_str!("../../../../core/proof/tests/golden/v1/checkpoint.txt");

    fn key() -> VerifierKey {
        KEY.trim_end().parse().expect("a key")
    }

    #[test]
    fn checkpoints_are_kept_private_and_the_newest_replaces_them() {
        let directory = tempfile::tempdir().expect("a folder");
        let pins = Pins::open(directory.path(), &key()).expect("nothing yet");
        assert!(pins.known().is_empty());
        let checkpoint = Checkpoint::open(NOTE.as_bytes(), &key()).expect("genuine");
        pins.add(&checkpoint, NOTE).expect("written");
        let pins = Pins::open(directory.path(), &key()).expect("readable");
        assert_eq!(pins.known(), std::slice::from_ref(&checkpoint));
        let file = pins.path(checkpoint.size);
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert!(pins.contradiction(&checkpoint).is_none());
        let root = craton_proof::tree::empty_root();
        let forged = Checkpoint {
            root,
            ..checkpoint.clone()
        };
        assert_eq!(pins.contradiction(&forged), Some(&checkpoint));
        let larger = Checkpoint { size: 99, ..checkpoint };
        pins.advance(&larger, "newer").expect("written");
        let names: Vec<_> = fs::read_dir(&pins.folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["99.checkpoint"]);
        assert!(Pins::open(directory.path(), &key()).is_err(), "not signed by the log");
    }

    #[test]
    fn no_name_of_a_log_leads_elsewhere() {
        for (name, folder) in [
            ("cluster.example/a", "cluster.example%2Fa+"),
            ("../..", "%2E.%2F..+"),
            (".", "%2E+"),
            ("%2F", "%252F+"),
        ] {
            let name = craton_proof::KeyName::parse(name).expect("a name");
            let key = VerifierKey::new(name, *key().public_key());
            let found = folder_name(&key).expect("a name");
            assert!(found.starts_with(folder) && !found.contains('/'), "{found}");
        }
        let long = craton_proof::KeyName::parse(&"x".repeat(300)).expect("a name");
        assert!(folder_name(&VerifierKey::new(long, *key().public_key())).is_err());
    }
}
