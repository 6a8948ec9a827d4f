//! One segment file: creating it, opening it, and the records in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use craton_crypto::SecretBytes;
use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, Term};
use parking_lot::Mutex;

use super::cipher::SegmentCipher;
use super::format::{
    RECORD_HEADER_BYTES, RecordHeader, RecordHeaderError, RecordKind, SEGMENT_ASSOCIATED_BYTES, SEGMENT_HEADER_BYTES,
    SEGMENT_HEADER_LENGTH, SegmentHeader, TAG_BYTES,
};
use super::heads::HeadsFiles;
use super::recovery::TornTail;
use super::space::Spare;
use super::superblock::{Superblock, SuperblockFile};
use super::{Damage, RandomFill, WalError};
use crate::disk::{Disk, DiskFile};

/// Entries are looked up by landmarks at least this far apart.
const LANDMARK_BYTES: u64 = 64 * 1024;
const SUFFIX: &str = ".wal";
const TMP_SUFFIX: &str = ".wal.tmp";

/// Where segments are, and what is needed to make one.
pub(super) struct Storage {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) wrapping_key: SecretBytes,
    pub(super) random: Mutex<RandomFill>,
    pub(super) superblock: Mutex<SuperblockFile>,
    /// How far the tenants' logs reached when something was last forgotten.
    pub(super) heads: Mutex<HeadsFiles>,
    /// The space of the next segment, when it is reserved.
    pub(super) spare: Mutex<Option<Spare>>,
    /// Set by the first write or sync that failed: what the disk holds is unknown from then on.
    pub(super) poisoned: AtomicBool,
}

/// An open segment.
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) cipher: Arc<SegmentCipher>,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the file is, under its temporary name until it is published.
    pub(super) path: PathBuf,
    /// Whether it has its name and thus belongs to the log.
    pub(super) published: bool,
    /// Where its durable records end.
    pub(super) end: u64,
    /// Its first entry.
    pub(super) first: Option<LogIndex>,
    /// The last entry in it or before it.
    pub(super) last: Option<(LogIndex, Term)>,
    /// The first entry and the position of some records, ascending: where to begin looking for an entry.
    pub(super) landmarks: Vec<(LogIndex, u64)>,
    /// The torn tails that it reports, and where.
    pub(super) reports: Vec<(u64, TornTail)>,
}

/// A record before its place is known.
pub(super) struct UnplacedRecord {
    pub(super) kind: RecordKind,
    pub(super) index: LogIndex,
    pub(super) term: Term,
    pub(super) entry_count: u32,
    pub(super) text: Vec<u8>,
}

impl UnplacedRecord {
    /// A record that holds no entries.
    pub(super) const fn plain(kind: RecordKind, text: Vec<u8>) -> Self {
        Self {
            kind,
            index: LogIndex::ZERO,
            term: Term::ZERO,
            entry_count: 0,
            text,
        }
    }
}

/// What a new segment follows.
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) previous_sequence: u64,
    pub(super) previous_end: u64,
    pub(super) previous: Option<(LogIndex, Term)>,
}

/// What stands at a position of a segment.
pub(super) enum Found {
    /// A whole record; its payload is in the buffer.
    Record(RecordHeader),
    /// No record.
    Damage {
        reason: Damage,
        /// Whether an interrupted write can have left this.
        may_be_torn: bool,
    },
}

fn segment_name(sequence: u64) -> String {
    format!("{sequence:020}{SUFFIX}")
}

/// The bytes that a record with a plaintext of `text_bytes` occupies.
pub(super) const fn record_bytes(text_bytes: usize) -> u64 {
    (RECORD_HEADER_BYTES + text_bytes + TAG_BYTES) as u64
}

/// Turns `buffer[start..]`, room for a header and then the plaintext, into a record. The header's length and checksum of
/// the payload are filled in.
pub(super) fn seal_record(buffer: &mut Vec<u8>, start: usize, cipher: &SegmentCipher, mut header: RecordHeader) {
    let text_start = start + RECORD_HEADER_BYTES;
    let payload_length = buffer.len() - text_start + TAG_BYTES;
    header.payload_length = u32::try_from(payload_length).expect("a batch is limited to far less than 4 GiB");
    let tag = cipher.seal(header.position, &header.associated(), &mut buffer[text_start..]);
    buffer.extend_from_slice(&tag);
    header.payload_checksum = crc32c::crc32c(&buffer[text_start..]);
    buffer[start..text_start].copy_from_slice(&header.encode());
}

/// The numbers of all segments, ascending. Unfinished segments are removed: nothing in them was
/// ever acknowledged.
pub(super) fn list_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, WalError> {
    let names = disk.list(dir).map_err(WalError::io("list", dir))?;
    let mut sequences = Vec::new();
    for name in names {
        if name.ends_with(TMP_SUFFIX) {
            let path = dir.join(name);
            forget_key(disk, &path).map_err(WalError::io("overwrite", &path))?;
            disk.remove(&path).map_err(WalError::io("remove", &path))?;
        } else if let Some(Ok(sequence)) = name.strip_suffix(SUFFIX).map(str::parse)
            && name == segment_name(sequence)
        {
            sequences.push(sequence);
        }
    }
    Ok(sequences)
}

impl Storage {
    /// Opens a segment and checks its header, not its records.
    pub(super) fn open_segment(&self, sequence: u64) -> Result<Segment, WalError> {
        let path = self.segment_path(sequence);
        let file = self.disk.open(&path).map_err(WalError::io("open", &path))?;
        let corrupt = |position, reason| WalError::Corrupt {
            segment: sequence,
            position,
            reason,
        };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => corrupt(0, Damage::Truncated),
            _ => WalError::io("read", &path)(error),
        })?;
        let (header, key) = SegmentHeader::decode(&bytes).ok_or_else(|| corrupt(0, Damage::SegmentHeader))?;
        if header.sequence != sequence {
            return Err(corrupt(0, Damage::SegmentHeader));
        }
        if header.log_id != self.superblock.lock().get().log_id {
            return Err(corrupt(0, Damage::OtherLog));
        }
        let cipher = SegmentCipher::unwrap(&self.wrapping_key, &header.associated(), &key)
            .ok_or(WalError::WrongKey { segment: sequence })?;
        let length = file.len().map_err(WalError::io("measure", &path))?;
        if length < header.capacity {
            return Err(corrupt(length, Damage::Truncated));
        }
        Ok(Segment {
            header,
            cipher: Arc::new(cipher),
            file,
            path,
            published: true,
            end: SEGMENT_HEADER_LENGTH,
            first: None,
            last: header.previous,
            landmarks: Vec::new(),
            reports: Vec::new(),
        })
    }

    /// Writes a segment with its first records under a temporary name and makes it durable. Entries up to `committed` are
    /// known to be committed.
    pub(super) fn prepare_segment(
        &self,
        link: &Link,
        capacity: u64,
        committed: LogIndex,
        records: Vec<UnplacedRecord>,
    ) -> Result<Segment, WalError> {
        let records_bytes: u64 = records.iter().map(|record| record_bytes(record.text.len())).sum();
        let (mut segment, mut buffer) = self.begin_segment(link, capacity, records_bytes)?;
        for record in records {
            let start = buffer.len();
            buffer.resize(start + RECORD_HEADER_BYTES, 0);
            buffer.extend_from_slice(&record.text);
            if record.kind == RecordKind::Entries {
                let last = last_of(&record).expect("the record was read and divided before");
                segment.note_entries(start as u64, record.index, last);
            }
            if record.kind == RecordKind::Recovery {
                let torn = TornTail::decode(&record.text).expect("the record was encoded before");
                segment.reports.push((start as u64, torn));
            }
            let header = RecordHeader {
                kind: record.kind,
                salt: segment.header.salt,
                position: start as u64,
                index: record.index,
                term: record.term,
                entry_count: record.entry_count,
                payload_length: 0,
                committed,
                payload_checksum: 0,
            };
            seal_record(&mut buffer, start, &segment.cipher, header);
        }
        segment.end = segment.header.created_end;
        let written = write_whole(&*segment.file, &segment.path, &buffer);
        written.inspect_err(|_| self.discard(&segment.path))?;
        Ok(segment)
    }

    /// Reserves the space of a segment under a temporary name, and returns it with its header's bytes. The header
    /// and the first `records_bytes` are to be written and synced before the segment is published.
    pub(super) fn begin_segment(
        &self,
        link: &Link,
        capacity: u64,
        records_bytes: u64,
    ) -> Result<(Segment, Vec<u8>), WalError> {
        let created_end = SEGMENT_HEADER_LENGTH + records_bytes;
        let reserved = self.reserved_or_new(link.sequence, capacity.max(created_end))?;
        let Spare { file, path, capacity } = reserved;
        let mut random = self.random.lock();
        let mut salt = [0; 8];
        random(&mut salt);
        let header = SegmentHeader {
            sequence: link.sequence,
            salt,
            capacity,
            previous_sequence: link.previous_sequence,
            previous_end: link.previous_end,
            previous: link.previous,
            created_end,
            log_id: self.superblock.lock().get().log_id,
        };
        let (cipher, key) = SegmentCipher::create(&self.wrapping_key, &header.associated(), &mut random);
        drop(random);
        let segment = Segment {
            header,
            cipher: Arc::new(cipher),
            file,
            path,
            published: false,
            end: SEGMENT_HEADER_LENGTH,
            first: None,
            last: header.previous,
            landmarks: Vec::new(),
            reports: Vec::new(),
        };
        Ok((segment, header.encode(&key).to_vec()))
    }

    /// The file that was reserved, or a new one when there is none or it is too short.
    fn reserved_or_new(&self, sequence: u64, capacity: u64) -> Result<Spare, WalError> {
        let path = self.dir.join(format!("{sequence:020}{TMP_SUFFIX}"));
        let fits = |spare: &mut Spare| spare.capacity >= capacity;
        if let Some(spare) = self.spare.lock().take_if(fits) {
            // The spare's name is free for the next one from here on.
            self.disk
                .rename(&spare.path, &path)
                .map_err(WalError::io("rename", &spare.path))?;
            return Ok(Spare { path, ..spare });
        }
        let file = self.disk.create(&path).map_err(WalError::io("create", &path))?;
        let reserved = file.allocate(capacity).map_err(WalError::io("allocate", &path));
        reserved.inspect_err(|_| self.discard(&path))?;
        Ok(Spare { file, path, capacity })
    }

    /// Changes what the superblock says and makes that durable.
    pub(super) fn update_superblock(&self, change: impl FnOnce(&mut Superblock)) -> Result<(), WalError> {
        let mut superblock = self.superblock.lock();
        superblock.note(change);
        let updated = superblock.update();
        self.poison_unless_full(updated)
    }

    /// Frees the space of an unpublished segment. One that stays is removed when the log is opened.
    pub(super) fn discard(&self, path: &Path) {
        let _ = forget_key(&*self.disk, path);
        let _ = self.disk.remove(path);
    }

    /// Gives a written and synced segment its name: from here on it is part of the log, whatever the calls return.
    pub(super) fn publish_segment(&self, sequence: u64, tmp_path: &Path) -> Result<(), WalError> {
        self.disk
            .rename(tmp_path, &self.segment_path(sequence))
            .map_err(WalError::failed("rename", tmp_path))?;
        if is_planted(Bug::SkipDirectorySync) {
            return Ok(());
        }
        self.disk
            .sync_dir(&self.dir)
            .map_err(WalError::failed("sync", &self.dir))
    }

    /// Gives a prepared segment its name.
    pub(super) fn publish_prepared(&self, mut segment: Segment) -> Result<Segment, WalError> {
        self.publish_segment(segment.header.sequence, &segment.path)?;
        segment.path = self.segment_path(segment.header.sequence);
        segment.published = true;
        Ok(segment)
    }

    pub(super) fn segment_path(&self, sequence: u64) -> PathBuf {
        self.dir.join(segment_name(sequence))
    }

    /// Passes an error on, and poisons the log unless it only says that the disk is full.
    pub(super) fn poison_unless_full<T>(&self, result: Result<T, WalError>) -> Result<T, WalError> {
        if matches!(&result, Err(error) if !matches!(error, WalError::NoSpace { .. })) {
            self.poisoned.store(true, Ordering::Release);
        }
        result
    }

    pub(super) fn check_poison(&self) -> Result<(), WalError> {
        match self.poisoned.load(Ordering::Acquire) {
            true => Err(WalError::Poisoned),
            false => Ok(()),
        }
    }

    /// Removes segments that the log does not need any more. Their keys are overwritten first, so that nothing of them
    /// can be read where the file system keeps the blocks of removed files.
    pub(super) fn remove_segments(&self, sequences: &[u64]) -> Result<(), WalError> {
        for &sequence in sequences {
            let path = self.segment_path(sequence);
            forget_key(&*self.disk, &path).map_err(WalError::failed("overwrite", &path))?;
            self.disk.remove(&path).map_err(WalError::failed("remove", &path))?;
        }
        match sequences {
            [] => Ok(()),
            _ => self
                .disk
                .sync_dir(&self.dir)
                .map_err(WalError::failed("sync", &self.dir)),
        }
    }
}

/// Writes the first bytes of a segment and makes them durable with the space reserved for the rest.
pub(super) fn write_whole(file: &dyn DiskFile, path: &Path, bytes: &[u8]) -> Result<(), WalError> {
    file.write_all_at(bytes, 0).map_err(WalError::io("write", path))?;
    // Of a file that was allocated meanwhile it syncs the length as well (POSIX: what reading the data back takes).
    file.sync_data().map_err(WalError::io("sync", path))
}

/// Overwrites the wrapped key in a segment's header, so that nothing of the segment can be read any more, whatever becomes
/// of its blocks. A file without a header is left as it is.
fn forget_key(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let file = disk.open(path)?;
    if file.len()? >= SEGMENT_HEADER_LENGTH {
        let zeros = [0; SEGMENT_HEADER_BYTES - SEGMENT_ASSOCIATED_BYTES];
        file.write_all_at(&zeros, SEGMENT_ASSOCIATED_BYTES as u64)?;
        file.sync_data()?;
    }
    Ok(())
}

/// The last entry of an entries record: its plaintext repeats each entry's term.
fn last_of(record: &UnplacedRecord) -> Option<(LogIndex, Term)> {
    let entries = super::entries::split_entries(record.index, record.entry_count, &record.text)?;
    entries.last().map(|entry| (entry.index, entry.term))
}

impl Segment {
    /// Notes an entries record that was read or written at `position`, and its first and last entry.
    pub(super) fn note_entries(&mut self, position: u64, first: LogIndex, last: (LogIndex, Term)) {
        self.first = self.first.or(Some(first));
        self.last = Some(last);
        if self
            .landmarks
            .last()
            .is_none_or(|(_, landmark)| position - landmark >= LANDMARK_BYTES)
        {
            self.landmarks.push((first, position));
        }
    }

    /// Leaves out what stands from `position` on; `before` is the last entry before it.
    pub(super) fn cut(&mut self, position: u64, before: Option<(LogIndex, Term)>) {
        self.end = position;
        self.last = before;
        if before == self.header.previous {
            self.first = None;
        }
        self.landmarks.retain(|(_, landmark)| *landmark < position);
        self.reports.retain(|(report, _)| *report < position);
    }

    /// Another handle to the same file, for reading.
    pub(super) fn handle(&self) -> Self {
        Self {
            header: self.header,
            cipher: Arc::clone(&self.cipher),
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            published: self.published,
            end: self.end,
            first: self.first,
            last: self.last,
            landmarks: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// A position at which, or after which, the record with this entry begins.
    pub(super) fn position_before(&self, index: LogIndex) -> u64 {
        let after = self.landmarks.partition_point(|(first, _)| *first <= index);
        let landmark = after.checked_sub(1).map(|at| self.landmarks[at].1);
        landmark.unwrap_or(SEGMENT_HEADER_LENGTH)
    }

    pub(super) fn corrupt(&self, position: u64, reason: Damage) -> WalError {
        WalError::Corrupt {
            segment: self.header.sequence,
            position,
            reason,
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> Result<(), WalError> {
        self.file
            .read_exact_at(buffer, position)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => self.corrupt(position, Damage::Truncated),
                _ => WalError::io("read", &self.path)(error),
            })
    }

    /// Reads the record at `position`, which ends at `limit` at the latest, and checks both checksums. On
    /// success `payload` holds the ciphertext and its tag.
    pub(super) fn read_record(&self, position: u64, limit: u64, payload: &mut Vec<u8>) -> Result<Found, WalError> {
        let damage = |reason, may_be_torn| Ok(Found::Damage { reason, may_be_torn });
        if limit.saturating_sub(position) < RECORD_HEADER_BYTES as u64 {
            return damage(Damage::Magic, true);
        }
        let mut bytes = [0; RECORD_HEADER_BYTES];
        self.read(&mut bytes, position)?;
        let header = match RecordHeader::decode(&bytes) {
            Ok(header) => header,
            Err(RecordHeaderError::Magic) => return damage(Damage::Magic, true),
            Err(RecordHeaderError::Checksum) => return damage(Damage::HeaderChecksum, true),
            Err(RecordHeaderError::Field) => return damage(Damage::Header, false),
        };
        // A header with a matching checksum was written as a whole, so what it says is no torn write.
        let length = header.payload_length as usize;
        if header.position != position || header.salt != self.header.salt || length < TAG_BYTES || header.end() > limit
        {
            return damage(Damage::Header, false);
        }
        payload.resize(length, 0);
        self.read(payload, position + RECORD_HEADER_BYTES as u64)?;
        if crc32c::crc32c(payload) != header.payload_checksum {
            return damage(Damage::PayloadChecksum, true);
        }
        Ok(Found::Record(header))
    }

    /// Decrypts the payload of a record that [`Self::read_record`] found.
    pub(super) fn open_record<'a>(
        &self,
        header: &RecordHeader,
        payload: &'a mut [u8],
    ) -> Result<&'a mut [u8], WalError> {
        self.cipher
            .open(header.position, &header.associated(), payload)
            .ok_or_else(|| self.corrupt(header.position, Damage::Authentication))
    }
}
