//! The heads: how long each tenant's log was when the write-ahead log last forgot something.
//!
//! While the write-ahead log holds what a tenant's log came from, a log that lost its end is filled again. Once it has
//! forgotten that, nothing in the tenant's own directory tells a log that was emptied, or put back from an older copy,
//! from a shorter one. So the heads are written before segments are removed, and compared when the node is opened.
//!
//! Two equal files beside the segments, `heads.a` and `heads.b`, are written one after the other, in space that is
//! reserved: a full disk does not keep the log from forgetting. The newest whole copy counts. One that is older than
//! what the superblock says was forgotten is refused. All integers are big-endian.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..8 | magic | `CRTHEA`, 0, and the version, 1 |
//! | 8..24 | log_id | of the write-ahead log, as its superblock has it |
//! | 24..32 | sequence | each update has the next one |
//! | 32..40 | through | entries up to here may be forgotten |
//! | 40..48 | count | how many heads follow |
//! | 48.. | heads | tenant (16 bytes), entry (8), end (8), hash of the last record (32) |
//! | .. | code | 32 bytes that authenticate all before, under a key that derives from the node's |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_crypto::{SecretBytes, derive, record_hash, sha256};
use craton_types::{Hash, LogIndex, Offset, TenantId};

use super::WalError;
use super::format::array;
use crate::disk::{Disk, DiskFile};
use crate::{LogReader, TenantLogError};

/// The copies, in the order in which they are written.
pub(super) const NAMES: [&str; 2] = ["heads.a", "heads.b"];
const MAGIC: [u8; 8] = *b"CRTHEA\x00\x01";
const FIELDS_BYTES: usize = 48;
const HEAD_BYTES: usize = 64;
const CODE_BYTES: usize = 32;
const CODE_INFO: &[u8] = b"craton log heads v1 ";
/// Space is reserved for this many heads more than there are, at least.
const SPARE_HEADS: usize = 1024;
/// The most tenants of a node.
pub(super) const HEADS_MAX: usize = 1 << 20;

/// The end of a tenant's log at some time. All of it was synced then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Whose log it is.
    pub tenant: TenantId,
    /// The last entry of the write-ahead log that was applied to it.
    pub index: LogIndex,
    /// How many records it had.
    pub end: Offset,
    /// The hash of its last record; zeros for a log without one.
    pub last_hash: Hash,
}

/// A log is not the one whose head was noted: it was emptied, put back from an older copy, or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHeadMismatch {
    /// What was noted.
    pub expected: LogHead,
    /// How many records the log has.
    pub found_end: Offset,
    /// The hash of its record before `expected.end`, or of its last one when it is shorter.
    pub found_hash: Hash,
}

/// Why the heads do not open their log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadsDamage {
    /// No copy is whole, and entries were forgotten.
    #[error("have no whole copy, though entries up to {purged_through} were forgotten")]
    NoWholeCopy {
        /// The last entry that was forgotten.
        purged_through: LogIndex,
    },
    /// They are of an earlier time.
    #[error("are of an earlier time: they cover entries up to {through}, those up to {purged_through} were forgotten")]
    Stale {
        /// The entry that they cover.
        through: LogIndex,
        /// The last entry that was forgotten.
        purged_through: LogIndex,
    },
}

impl LogHead {
    /// Compares a log with what was noted of it. It `may_be_shorter` before entries are applied that bring it back: when
    /// none was forgotten since the last one that is known to be applied to it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn compare(
        &self,
        log: &LogReader,
        may_be_shorter: bool,
    ) -> Result<Result<(), LogHeadMismatch>, TenantLogError> {
        let found_end = log.published();
        let compared = self.end.min(found_end).get();
        let found_hash = match compared.checked_sub(1) {
            None => Hash::ZERO,
            Some(last) => {
                let headers = log.read_headers(Offset::new(last), 1)?;
                let header = headers.first().expect("a record below the end is there");
                record_hash(&header.encode())
            }
        };
        let is_as_noted = match found_end >= self.end {
            true => compared == 0 || found_hash == self.last_hash,
            false => may_be_shorter,
        };
        Ok(match is_as_noted {
            true => Ok(()),
            false => Err(LogHeadMismatch {
                expected: *self,
                found_end,
                found_hash,
            }),
        })
    }

    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0..16].copy_from_slice(self.tenant.as_bytes());
        bytes[16..24].copy_from_slice(&self.index.get().to_be_bytes());
        bytes[24..32].copy_from_slice(&self.end.get().to_be_bytes());
        bytes[32..64].copy_from_slice(self.last_hash.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEAD_BYTES]) -> Self {
        Self {
            tenant: TenantId::new(array(bytes, 0)),
            index: LogIndex::new(u64::from_be_bytes(array(bytes, 16))),
            end: Offset::new(u64::from_be_bytes(array(bytes, 24))),
            last_hash: Hash::new(array(bytes, 32)),
        }
    }
}

/// What a copy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heads {
    sequence: u64,
    through: LogIndex,
    heads: Vec<LogHead>,
}

/// The open files.
pub(super) struct HeadsFiles {
    log_id: [u8; 16],
    key: SecretBytes,
    copies: [(PathBuf, Arc<dyn DiskFile>); 2],
    /// The bytes that are reserved for each copy.
    capacity: usize,
    written: Heads,
}

impl HeadsFiles {
    /// Opens both copies and writes those again that are not the newest; returns their names, unless nothing was ever
    /// forgotten and there were none.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        (log_id, purged_through): ([u8; 16], LogIndex),
        wrapping_key: &SecretBytes,
    ) -> Result<(Self, Vec<&'static str>), WalError> {
        let mut was_missing = Vec::new();
        let mut open = |name| {
            let path = dir.join(name);
            let file = match disk.open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    was_missing.push(name);
                    disk.create(&path).map_err(WalError::io("create", &path))?
                }
                Err(error) => return Err(WalError::io("open", &path)(error)),
            };
            Ok((path, file))
        };
        let mut files = Self {
            log_id,
            key: derive(wrapping_key, &[CODE_INFO, &log_id]),
            copies: [open(NAMES[0])?, open(NAMES[1])?],
            capacity: usize::MAX,
            written: Heads::default(),
        };
        if !was_missing.is_empty() {
            disk.sync_dir(dir).map_err(WalError::io("sync", dir))?;
        }
        let found = [files.read(0)?, files.read(1)?];
        let newest = found.iter().flatten().max_by_key(|heads| heads.sequence).cloned();
        let damaged = |reason| WalError::Heads {
            directory: dir.to_path_buf(),
            reason,
        };
        let is_new = newest.is_none();
        if is_new && purged_through > LogIndex::ZERO {
            return Err(damaged(HeadsDamage::NoWholeCopy { purged_through }));
        }
        files.written = newest.unwrap_or_default();
        files.check_covers(purged_through)?;
        let mut repaired = Vec::new();
        for (path, file) in &files.copies {
            let length = usize::try_from(file.len().map_err(WalError::io("measure", path))?).unwrap_or(usize::MAX);
            files.capacity = files.capacity.min(length);
        }
        files.reserve(files.written.heads.len())?;
        for (copy, found) in found.iter().enumerate() {
            if found.as_ref() != Some(&files.written) {
                files.write_copy(copy)?;
                repaired.push(NAMES[copy]);
            }
        }
        if is_new {
            repaired.clear();
        }
        Ok((files, repaired))
    }

    /// Refuses heads that are of an earlier time than the last entry that was forgotten.
    pub(super) fn check_covers(&self, purged_through: LogIndex) -> Result<(), WalError> {
        let through = self.written.through;
        match through < purged_through {
            true => Err(WalError::Heads {
                directory: self.copies[0].0.parent().unwrap_or(Path::new("")).to_path_buf(),
                reason: HeadsDamage::Stale {
                    through,
                    purged_through,
                },
            }),
            false => Ok(()),
        }
    }

    /// The heads as they were last written.
    pub(super) fn get(&self) -> &[LogHead] {
        &self.written.heads
    }

    /// Makes heads durable that cover the entries up to `through`.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] when there are more tenants than space was reserved for; the heads are as they were then.
    pub(super) fn write(&mut self, through: LogIndex, heads: Vec<LogHead>) -> Result<(), WalError> {
        assert!(heads.len() <= HEADS_MAX, "a node has fewer tenants");
        self.reserve(heads.len())?;
        self.written = Heads {
            sequence: self.written.sequence + 1,
            through: through.max(self.written.through),
            heads,
        };
        (0..NAMES.len()).try_for_each(|copy| self.write_copy(copy))
    }

    /// Reserves space for so many heads and some more.
    fn reserve(&mut self, count: usize) -> Result<(), WalError> {
        let needed = FIELDS_BYTES + count * HEAD_BYTES + CODE_BYTES;
        if needed <= self.capacity {
            return Ok(());
        }
        let capacity = needed + SPARE_HEADS.max(count) * HEAD_BYTES;
        for (path, file) in &self.copies {
            file.allocate(capacity as u64).map_err(WalError::io("allocate", path))?;
            file.sync_all().map_err(WalError::io("sync", path))?;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// The space is reserved, so that a full disk is a failure here.
    fn write_copy(&self, copy: usize) -> Result<(), WalError> {
        let (path, file) = &self.copies[copy];
        file.write_all_at(&self.encode(&self.written), 0)
            .map_err(WalError::failed("write", path))?;
        file.sync_data().map_err(WalError::failed("sync", path))
    }

    /// What a copy says; `None` when it is not whole.
    fn read(&self, copy: usize) -> Result<Option<Heads>, WalError> {
        let (path, file) = &self.copies[copy];
        let mut fields = [0; FIELDS_BYTES];
        if file.read_up_to(&mut fields, 0).map_err(WalError::io("read", path))? < FIELDS_BYTES {
            return Ok(None);
        }
        let count = usize::try_from(u64::from_be_bytes(array(&fields, 40))).unwrap_or(usize::MAX);
        if fields[0..8] != MAGIC || fields[8..24] != self.log_id || count > HEADS_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; FIELDS_BYTES + count * HEAD_BYTES + CODE_BYTES];
        let read = file.read_up_to(&mut bytes, 0).map_err(WalError::io("read", path))?;
        Ok((read == bytes.len()).then(|| self.decode(&bytes)).flatten())
    }

    fn encode(&self, heads: &Heads) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.log_id);
        for integer in [heads.sequence, heads.through.get(), heads.heads.len() as u64] {
            bytes.extend_from_slice(&integer.to_be_bytes());
        }
        for head in &heads.heads {
            bytes.extend_from_slice(&head.encode());
        }
        let code = self.code(&bytes);
        bytes.extend_from_slice(code.expose());
        bytes
    }

    fn decode(&self, bytes: &[u8]) -> Option<Heads> {
        let (content, code) = bytes.split_last_chunk::<CODE_BYTES>()?;
        if self.code(content) != SecretBytes::new(*code) {
            return None;
        }
        let (fields, heads) = content.split_first_chunk::<FIELDS_BYTES>()?;
        let (heads, rest) = heads.as_chunks::<HEAD_BYTES>();
        rest.is_empty().then(|| Heads {
            sequence: u64::from_be_bytes(array(fields, 24)),
            through: LogIndex::new(u64::from_be_bytes(array(fields, 32))),
            heads: heads.iter().map(LogHead::decode).collect(),
        })
    }

    /// Nobody without the node's key can give it to other bytes.
    fn code(&self, content: &[u8]) -> SecretBytes {
        derive(&self.key, &[CODE_INFO, sha256(&[content]).as_bytes()])
    }
}

/// The heads of a log, whichever it says, without their code, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn wal_heads(content: &[u8]) -> bool {
    let Some(log_id) = content.get(8..24).and_then(|id| id.first_chunk()) else {
        return false;
    };
    let disk = crate::disk::MemoryDisk::new();
    disk.create_dir(Path::new("/wal"))
        .expect("an empty disk takes a folder");
    let key = SecretBytes::new([1; 32]);
    let opened = HeadsFiles::open(&disk, Path::new("/wal"), (*log_id, LogIndex::ZERO), &key);
    let (files, _) = opened.expect("an empty disk takes heads");
    let stored = [content, files.code(content).expose()].concat();
    let written = files.copies[0].1.write_all_at(&stored, 0);
    written.expect("an empty disk takes bytes");
    let read = files.read(0).expect("in memory");
    if let Some(heads) = &read {
        assert_eq!(files.encode(heads), stored, "heads have one form");
    }
    read.is_some()
}
