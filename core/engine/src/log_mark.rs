//! How far a tenant's log is known to be on disk, and which consensus entry that is.
//!
//! A lost view is rebuilt up to the mark from the log, and from there from the write-ahead log. Without the
//! mark nobody could tell which entries the log's last records came from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_log::Disk;
use craton_types::{LogIndex, Offset};

use crate::EngineError;
use crate::durable_file::replace;

/// The mark's file: end offset, entry index and their CRC32C, big-endian.
pub(crate) struct LogMark {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    mark: Option<(Offset, LogIndex)>,
}

const MARK_BYTES: usize = 8 + 8 + 4;

impl LogMark {
    /// Reads the mark; a missing or damaged file is no mark.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self, EngineError> {
        let mark = match read(disk.as_ref(), &path) {
            Ok(bytes) => decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(EngineError::Io { path, source }),
        };
        Ok(Self { disk, path, mark })
    }

    pub(crate) const fn get(&self) -> Option<(Offset, LogIndex)> {
        self.mark
    }

    /// Moves the mark. The log must be synced up to `end`.
    pub(crate) fn set(&mut self, end: Offset, index: LogIndex) -> Result<(), EngineError> {
        replace(self.disk.as_ref(), &self.path, &encode(end, index)).map_err(|source| EngineError::Io {
            path: self.path.clone(),
            source,
        })?;
        self.mark = Some((end, index));
        Ok(())
    }
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    // One byte more than a mark shows a file that is too long.
    let mut bytes = vec![0; MARK_BYTES + 1];
    let length = disk.open(path)?.read_up_to(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn encode(end: Offset, index: LogIndex) -> Vec<u8> {
    let mut bytes = [end.get().to_be_bytes(), index.get().to_be_bytes()].concat();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(Offset, LogIndex)> {
    let bytes: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
    let (fields, crc) = bytes.split_last_chunk::<4>()?;
    let (end, index) = fields.split_first_chunk::<8>()?;
    (crc32c::crc32c(fields) == u32::from_be_bytes(*crc)).then(|| {
        (
            Offset::new(u64::from_be_bytes(*end)),
            LogIndex::new(u64::from_be_bytes(index.try_into().expect("eight bytes"))),
        )
    })
}

/// A mark without its checksum, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn log_mark(bytes: &[u8]) -> bool {
    let stored = [bytes, &crc32c::crc32c(bytes).to_be_bytes()].concat();
    let decoded = decode(&stored);
    if let Some((end, index)) = decoded {
        assert_eq!(encode(end, index), stored, "a mark has one form");
    }
    decoded.is_some()
}
