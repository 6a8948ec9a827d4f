//! Which version of its formats a data directory uses, and how a cluster goes over to a newer one.
//!
//! Two copies of a small file, replaced one after the other; the newer version of those that are whole counts. The version is
//! durable here before anything is written in it, and read before anything else is: a build that does not know it refuses the
//! directory and touches nothing.
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | magic, `CRTV` |
//! | 4 | version of this file, 1 |
//! | 5 | version of the formats |
//! | 6..10 | CRC32C of what precedes, big-endian |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_kernel::{Operation, Refusal};
use craton_log::Disk;
use craton_types::{ActorId, Format, FormatUnknown, FormatVersion};

use crate::durable_file::replace;
use crate::keyring::Keyring;
use crate::{Craton, EngineError};

const MAGIC: &[u8; 4] = b"CRTV";
const FILE_VERSION: u8 = 1;
const FILE_BYTES: usize = 10;
const NAMES: [&str; 2] = ["format.a", "format.b"];

/// What a node knows of versions, and where it notes which one is used.
pub(crate) struct FormatFile {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    format: Arc<Format>,
}

impl FormatFile {
    /// Looks which version a directory uses, before anything else of it is opened. A new directory begins with the newest one
    /// that the build knows, or with that of the cluster that it joins.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        format: Arc<Format>,
        joined: Option<FormatVersion>,
    ) -> Result<Self, EngineError> {
        let mut is_damaged = false;
        let mut copies = [None; 2];
        for (copy, path) in copies.iter_mut().zip(paths(directory)) {
            match read(disk.as_ref(), &path) {
                Ok(bytes) => {
                    *copy = decode(&bytes);
                    is_damaged |= copy.is_none();
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(EngineError::Io { path, source }),
            }
        }
        let noted = copies.iter().flatten().max().copied();
        let version = match noted {
            Some(version) => version,
            None if is_damaged => {
                return Err(EngineError::FormatDamaged {
                    directory: directory.to_owned(),
                });
            }
            None if Keyring::exists(disk.as_ref(), directory) => FormatVersion::FIRST,
            None => joined.unwrap_or(format.newest()),
        };
        let file = Self {
            disk,
            directory: directory.to_owned(),
            format,
        };
        file.format.check(version)?;
        if copies != [Some(version); 2] {
            file.write(version)?;
        }
        file.format.activate(version);
        Ok(file)
    }

    /// Uses the version that the log has decided on, if it is a newer one.
    pub(crate) fn follow(&self, decided: FormatVersion) -> Result<(), EngineError> {
        if decided <= self.format.active() {
            return Ok(());
        }
        self.format.check(decided)?;
        self.write(decided)?;
        self.format.activate(decided);
        tracing::info!(version = %decided, "a newer format version is used from now on");
        Ok(())
    }

    pub(crate) fn format(&self) -> &Arc<Format> {
        &self.format
    }

    fn write(&self, version: FormatVersion) -> Result<(), EngineError> {
        for path in paths(&self.directory) {
            replace(self.disk.as_ref(), &path, &encode(version)).map_err(|source| EngineError::Io { path, source })?;
        }
        Ok(())
    }
}

fn paths(directory: &Path) -> [PathBuf; 2] {
    NAMES.map(|name| directory.join(name))
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    // One byte more than there shall be shows a file that is too long.
    let mut bytes = vec![0; FILE_BYTES + 1];
    let length = disk.open(path)?.read_up_to(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn encode(version: FormatVersion) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([FILE_VERSION, version.get()]);
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<FormatVersion> {
    let bytes: &[u8; FILE_BYTES] = bytes.try_into().ok()?;
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let is_whole = crc32c::crc32c(content) == u32::from_be_bytes(*crc);
    match content.strip_prefix(MAGIC)? {
        [FILE_VERSION, version] if is_whole => Some(FormatVersion::new(*version)),
        _ => None,
    }
}

/// The versions of a node's formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatStatus {
    /// The one that is written.
    pub active: FormatVersion,
    /// The newest one that the build knows.
    pub newest: FormatVersion,
}

impl Craton {
    /// Which version of its formats the node writes, and which one it could.
    #[must_use]
    pub fn format(&self) -> FormatStatus {
        let format = self.0.opened.applier.format.format();
        FormatStatus {
            active: format.active(),
            newest: format.newest(),
        }
    }

    /// Lets the cluster write a version, or the newest one that this node's build knows. From then on no node goes back to a
    /// build that does not know it. Nothing is done when it, or a newer one, is written already.
    ///
    /// # Errors
    /// [`EngineError::Format`] when this build or a member's does not know it; when a member cannot be asked, or the command
    /// is not committed.
    pub async fn finalize_format(
        &self,
        actor: ActorId,
        wanted: Option<FormatVersion>,
    ) -> Result<FormatStatus, EngineError> {
        let FormatStatus { active, newest } = self.format();
        let wanted = wanted.unwrap_or(newest);
        if active < wanted {
            self.0.opened.applier.format.format().check(wanted)?;
            if let Some(cluster) = &self.0.opened.node.cluster {
                cluster.check_members_know(wanted).await?;
            }
            match self.propose_to_system(actor, Operation::RaiseFormat(wanted)).await {
                // Somebody else was quicker.
                Ok(_) | Err(EngineError::Refused(Refusal::FormatNotRaised { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.format())
    }
}

impl From<FormatUnknown> for EngineError {
    fn from(error: FormatUnknown) -> Self {
        Self::Format(error)
    }
}

#[cfg(test)]
mod tests {
    use craton_log::testing::{Crash, Fault, FaultKind, MemoryDisk};

    use super::*;

    const DIRECTORY: &str = "/node";
    const FIRST: FormatVersion = FormatVersion::FIRST;
    const SECOND: FormatVersion = FormatVersion::new(2);

    fn open(
        disk: &MemoryDisk,
        newest: FormatVersion,
        joined: Option<FormatVersion>,
    ) -> Result<FormatFile, EngineError> {
        disk.create_dir(Path::new(DIRECTORY)).expect("a directory");
        let format = Arc::new(Format::new(newest));
        FormatFile::open(Arc::new(disk.clone()), Path::new(DIRECTORY), format, joined)
    }

    fn active(file: &FormatFile) -> FormatVersion {
        file.format().active()
    }

    #[test]
    fn a_new_directory_begins_with_the_newest_version_or_that_of_its_cluster() {
        for (newest, joined, expected) in [
            (SECOND, None, SECOND),
            (FIRST, None, FIRST),
            (SECOND, Some(FIRST), FIRST),
            (SECOND, Some(SECOND), SECOND),
        ] {
            let disk = MemoryDisk::new();
            assert_eq!(active(&open(&disk, newest, joined).expect("new")), expected);
            assert_eq!(active(&open(&disk, newest, None).expect("again")), expected);
        }
        let refused = open(&MemoryDisk::new(), FIRST, Some(SECOND)).map(|_| ());
        assert!(matches!(refused, Err(EngineError::Format(_))), "{refused:?}");
    }

    #[test]
    fn a_build_before_refuses_what_was_raised_and_opens_what_was_not() {
        let disk = MemoryDisk::new();
        let file = open(&disk, SECOND, Some(FIRST)).expect("new");
        open(&disk, FIRST, None).expect("nothing was raised");
        file.follow(FIRST).expect("nothing to do");
        open(&disk, FIRST, None).expect("nothing was raised");
        file.follow(SECOND).expect("raised");
        assert_eq!(active(&file), SECOND);
        let refused = open(&disk, FIRST, None).map(|_| ()).expect_err("too old");
        assert_eq!(
            refused.to_string(),
            "format version 2 is needed, and the build of this node knows versions 1 to 1"
        );
        let told = file
            .follow(FormatVersion::new(3))
            .expect_err("this one is too old as well");
        assert!(matches!(told, EngineError::Format(_)), "{told:?}");
        assert_eq!(active(&file), SECOND);
    }

    #[test]
    fn one_copy_suffices_and_two_damaged_ones_are_an_error() {
        let disk = MemoryDisk::new();
        open(&disk, SECOND, None).expect("new");
        let [first, second] = paths(Path::new(DIRECTORY));
        disk.flip(&first, 5, 1);
        assert_eq!(active(&open(&disk, SECOND, None).expect("the other copy")), SECOND);
        // The damaged one was written again.
        disk.flip(&second, 5, 1);
        assert_eq!(active(&open(&disk, SECOND, None).expect("the first copy")), SECOND);
        disk.flip(&first, 5, 1);
        disk.flip(&second, 0, 1);
        let refused = open(&disk, SECOND, None).map(|_| ());
        assert!(matches!(refused, Err(EngineError::FormatDamaged { .. })), "{refused:?}");
    }

    #[test]
    fn what_was_raised_survives_a_power_cut_at_any_call() {
        for call in 0.. {
            let disk = MemoryDisk::new();
            let file = open(&disk, SECOND, Some(FIRST)).expect("new");
            disk.set_fault(Some(Fault {
                call: disk.calls() + call,
                kind: FaultKind::Io,
                sticky: true,
            }));
            let followed = file.follow(SECOND).is_ok();
            disk.set_fault(None);
            disk.crash(Crash::Torn { seed: call });
            assert_eq!(active(&file), if followed { SECOND } else { FIRST });
            let found = active(&open(&disk, SECOND, None).expect("one copy is whole"));
            assert!(found >= active(&file), "call {call}");
            if followed {
                return;
            }
        }
    }
}
