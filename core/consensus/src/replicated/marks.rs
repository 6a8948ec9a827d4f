//! What a member knows beside its log: who the members were as of the last entry that it may have forgotten, and
//! whether a snapshot was coming in when it stopped.
//!
//! Two copies, replaced one after the other; the newer one that is whole counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_log::Disk;
use minicbor::{Decoder, Encoder};
use openraft::CommittedLeaderId;

use super::types::{LogId, StoredMembership};
use super::wire::{decode_members, encode_members};

const MAGIC: &[u8; 4] = b"CRTM";
const VERSION: u8 = 1;
/// No list of members is longer.
const FILE_BYTES_MAX: usize = 64 * 1024;
const NAMES: [&str; 2] = ["members.a", "members.b"];

/// Why the marks cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// The file system says no.
    #[error("{path} cannot be used: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither copy is whole.
    #[error("both copies of the members in {directory} are damaged", directory = directory.display())]
    Damaged {
        /// Where they are.
        directory: PathBuf,
    },
}

/// The marks, in memory and on the disk.
pub(super) struct Marks {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    saved: Saved,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) generation: u64,
    pub(super) membership: StoredMembership,
    pub(super) installing: Option<LogId>,
}

impl Marks {
    /// Reads the marks of a directory; a new one has none.
    pub(super) fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self, MarksError> {
        disk.create_dir(directory).map_err(io_error(directory))?;
        let mut newest: Option<Saved> = None;
        let mut damaged = false;
        for name in NAMES {
            match read(disk.as_ref(), &directory.join(name))? {
                None => {}
                Some(bytes) => match decode(&bytes) {
                    Some(saved) => newest = newest.into_iter().chain([saved]).max_by_key(|saved| saved.generation),
                    None => damaged = true,
                },
            }
        }
        if damaged && newest.is_none() {
            return Err(MarksError::Damaged {
                directory: directory.to_owned(),
            });
        }
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            saved: newest.unwrap_or_default(),
        })
    }

    /// Makes sure that the directory shows that it is a member's.
    pub(super) fn claim(&mut self) -> Result<(), MarksError> {
        match self.saved.generation {
            0 => self.save(self.saved.clone()),
            _ => Ok(()),
        }
    }

    /// The members as of the last entry that may have been forgotten.
    pub(super) fn membership(&self) -> &StoredMembership {
        &self.saved.membership
    }

    /// The last entry of a snapshot that was coming in.
    pub(super) fn installing(&self) -> Option<LogId> {
        self.saved.installing
    }

    /// Notes the members of an entry that may be forgotten from now on. Nothing is written when they are known.
    pub(super) fn set_membership(&mut self, membership: &StoredMembership) -> Result<(), MarksError> {
        if *membership == self.saved.membership {
            return Ok(());
        }
        let mut saved = self.saved.clone();
        saved.membership = membership.clone();
        self.save(saved)
    }

    /// Notes that a snapshot is coming in, or no more.
    pub(super) fn set_installing(&mut self, installing: Option<LogId>) -> Result<(), MarksError> {
        if installing == self.saved.installing {
            return Ok(());
        }
        let mut saved = self.saved.clone();
        saved.installing = installing;
        self.save(saved)
    }

    fn save(&mut self, mut saved: Saved) -> Result<(), MarksError> {
        saved.generation += 1;
        let bytes = encode(&saved);
        for name in NAMES {
            let path = self.directory.join(name);
            replace(self.disk.as_ref(), &path, &bytes).map_err(io_error(&path))?;
        }
        self.saved = saved;
        Ok(())
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> MarksError {
    let path = path.to_owned();
    move |source| MarksError::Io { path, source }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, MarksError> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path)(error)),
    };
    let mut bytes = vec![0; FILE_BYTES_MAX];
    let length = file.read_up_to(&mut bytes, 0).map_err(io_error(path))?;
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// Writes a file so that a crash leaves the old bytes or the new ones.
fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let file = disk.create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("")))
}

/// Magic, CBOR, CRC32C (big-endian).
pub(super) fn encode(saved: &Saved) -> Vec<u8> {
    let mut encoder = Encoder::new(MAGIC.to_vec());
    let written = (|| {
        encoder.array(5)?.u8(VERSION)?.u64(saved.generation)?;
        for log_id in [saved.membership.log_id().as_ref(), saved.installing.as_ref()] {
            match log_id {
                None => encoder.null()?,
                Some(log_id) => encoder.array(2)?.u64(log_id.leader_id.term)?.u64(log_id.index)?,
            };
        }
        encoder.bytes(&encode_members(saved.membership.membership()))?.ok()
    })();
    let () = written.expect("writing to memory does not fail");
    let mut bytes = encoder.into_writer();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<Saved> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_be_bytes(*crc) {
        return None;
    }
    let fields = content.strip_prefix(MAGIC)?;
    let mut decoder = Decoder::new(fields);
    if decoder.array().ok()? != Some(5) || decoder.u8().ok()? != VERSION {
        return None;
    }
    let generation = decoder.u64().ok()?;
    let membership_id = log_id(&mut decoder)?;
    let installing = log_id(&mut decoder)?;
    let members = decode_members(decoder.bytes().ok()?).ok()?;
    (decoder.position() == fields.len()).then(|| Saved {
        generation,
        membership: StoredMembership::new(membership_id, members),
        installing,
    })
}

/// A log id or none; the outer `None` when it is neither.
fn log_id(decoder: &mut Decoder<'_>) -> Option<Option<LogId>> {
    if decoder.datatype().ok()? == minicbor::data::Type::Null {
        return decoder.null().ok().map(|()| None);
    }
    if decoder.array().ok()? != Some(2) {
        return None;
    }
    let leader_id = CommittedLeaderId::new(decoder.u64().ok()?, 0);
    Some(Some(LogId::new(leader_id, decoder.u64().ok()?)))
}

#[cfg(test)]
mod tests {
    use craton_log::testing::{Crash, Fault, FaultKind, MemoryDisk};

    use super::*;
    use crate::replicated::types::Members;

    const DIRECTORY: &str = "/node/consensus";

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, 0), index)
    }

    fn membership(index: u64) -> StoredMembership {
        StoredMembership::new(Some(id(1, index)), Members::new(vec![[1, 2, index].into()], None))
    }

    fn open(disk: &MemoryDisk) -> Result<Marks, MarksError> {
        Marks::open(Arc::new(disk.clone()), Path::new(DIRECTORY))
    }

    #[test]
    fn marks_survive_a_power_cut_at_any_call() {
        let calls = {
            let disk = MemoryDisk::new();
            write(&disk);
            disk.calls()
        };
        for call in 0..calls {
            let disk = MemoryDisk::new();
            disk.set_fault(Some(Fault {
                call,
                kind: FaultKind::Io,
                sticky: true,
            }));
            let written = write(&disk);
            disk.set_fault(None);
            disk.crash(Crash::Torn { seed: call });
            let marks = open(&disk).expect("one copy is whole");
            let found = marks.membership().log_id().map_or(0, |id| id.index);
            assert!(
                found == written || found == written + 1,
                "call {call}: {found} after {written}"
            );
        }
    }

    /// Notes one membership after another until it fails; how far it came.
    fn write(disk: &MemoryDisk) -> u64 {
        let Ok(mut marks) = open(disk) else { return 0 };
        (1..4)
            .take_while(|index| marks.set_membership(&membership(*index)).is_ok())
            .last()
            .unwrap_or(0)
    }

    #[test]
    fn one_copy_suffices_and_two_damaged_ones_are_an_error() {
        let disk = MemoryDisk::new();
        let mut marks = open(&disk).expect("new");
        marks.set_membership(&membership(3)).expect("written");
        marks.set_installing(Some(id(2, 9))).expect("written");
        let [first, second] = NAMES.map(|name| Path::new(DIRECTORY).join(name));
        disk.flip(&first, 7, 1);
        let marks = open(&disk).expect("the other copy");
        assert_eq!(
            (marks.membership(), marks.installing()),
            (&membership(3), Some(id(2, 9)))
        );
        disk.flip(&second, 7, 1);
        assert!(matches!(open(&disk), Err(MarksError::Damaged { .. })));
    }
}
