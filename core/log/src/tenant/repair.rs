//! Putting back what is damaged: records from another copy of the log, headers and footers of segments from what is around
//! them.
//!
//! Nothing is written that this log does not prove: a record's hash is the one in its Merkle tree, or the one that the next record
//! names. What stood there before is kept in a file of its own. Nothing is cut off, and no other byte changes.

use std::sync::atomic::Ordering;

use craton_crypto::LinkedRecord;
use craton_proof::Frontier;
use craton_types::{Hash, Offset, Record, RecordHeader, SEGMENT_FOOTER_BYTES, SegmentFooter, SegmentHeader};

use super::TenantLogError;
use super::files::{NamedFile, segment_name};
use super::index::ClosedSegment;
use super::reader::{Cursor, LogReader, Shared};
use super::records::{
    Found, RECORDS_START, check_body, encode_record, read_footer, read_header, read_segment_header, with_crc,
};

/// What was written again, and where what stood there is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The record; for a segment's header or footer its first record, or the one after its last.
    pub offset: Offset,
    /// The first field that was wrong.
    pub field: &'static str,
    /// The segment's file.
    pub file: String,
    /// The first byte that was written again.
    pub start: u64,
    /// One past the last one.
    pub end: u64,
    /// The file in the log's directory that keeps what stood there.
    pub kept_as: String,
}

impl LogReader {
    /// Puts a damaged record back. `None` when the record that is there is whole.
    ///
    /// # Errors
    /// [`TenantLogError::NotProven`] and [`TenantLogError::Invalid`] when it is not the record that was written here, and nothing
    /// was changed; [`TenantLogError::Corrupt`] when an earlier record, or the log's hashes, must be repaired before;
    /// [`TenantLogError::Gap`] for one that was never written; [`TenantLogError::NoSpace`] and [`TenantLogError::Io`].
    pub fn repair(&self, linked: &LinkedRecord) -> Result<Option<Repaired>, TenantLogError> {
        self.0.repair(linked)
    }

    /// Writes damaged headers and footers of segments again. Returns what was written. A footer of which records are
    /// damaged waits until those are repaired.
    ///
    /// # Errors
    /// As for [`Self::repair`].
    pub fn mend_frames(&self) -> Result<Vec<Repaired>, TenantLogError> {
        let shared = &self.0;
        let _one = shared.repairing.lock();
        let (closed, active) = {
            let state = shared.state.read();
            (state.closed.clone(), state.active.first)
        };
        let mut mended = Vec::new();
        for first in closed.iter().map(|segment| segment.first).chain([active]) {
            mended.extend(shared.mend_header(first)?);
        }
        for segment in closed {
            match shared.mend_footer(segment) {
                Ok(written) => mended.extend(written),
                Err(TenantLogError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(mended)
    }
}

impl Shared {
    pub(super) fn repair(&self, linked: &LinkedRecord) -> Result<Option<Repaired>, TenantLogError> {
        let _one = self.repairing.lock();
        if self.poisoned.load(Ordering::Acquire) {
            return Err(TenantLogError::Poisoned);
        }
        let header = &linked.record().header;
        let offset = header.offset.get();
        let written = self.state.read().written;
        if offset >= written {
            return Err(TenantLogError::Gap {
                offset: header.offset,
                next: Offset::new(written),
            });
        }
        let field = match self.check_at(&mut None, offset, &mut Vec::new()) {
            Ok(_) => return Ok(None),
            Err(TenantLogError::Corrupt { offset: found, field }) if found.get() == offset => field,
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        encode_record(linked, &mut bytes);
        self.check_form(linked.record())?;
        let cursor = self.locate(offset)?;
        let start = cursor.position();
        let expected = self.proven_hash(&cursor, start + bytes.len() as u64)?;
        if linked.hash() != expected {
            return Err(TenantLogError::NotProven {
                offset: header.offset,
                expected,
                found: linked.hash(),
            });
        }
        let segment = self.segment_first(offset);
        let repaired = self.write_again(cursor.file(), segment, (offset, field), start, &bytes)?;
        // What was written is what is read from now on, and the hash files agree with it.
        self.check_at(&mut None, offset, &mut Vec::new())?;
        Ok(Some(repaired))
    }

    /// Whether a record can stand in this log: its tenant, and its body, which its header must describe.
    fn check_form(&self, record: &Record) -> Result<(), TenantLogError> {
        let header: &RecordHeader = &record.header;
        let invalid = |field| TenantLogError::Invalid {
            offset: header.offset,
            field,
        };
        if header.tenant != self.tenant {
            return Err(invalid("tenant"));
        }
        let mut body = Vec::new();
        record.encode_body(&mut body);
        if body.len() != header.payload_length as usize {
            return Err(invalid("payload_length"));
        }
        check_body(header, &body).map(|_| ()).map_err(invalid)
    }

    /// The hash of the record that was written at the cursor: as the Merkle tree has it or, where the hash files are damaged as
    /// well, as what follows at `end` names it.
    fn proven_hash(&self, cursor: &Cursor, end: u64) -> Result<Hash, TenantLogError> {
        let offset = cursor.offset;
        let damaged = match self.entry(0, offset) {
            Ok(hash) => return Ok(hash),
            Err(error @ TenantLogError::Corrupt { .. }) => error,
            Err(error) => return Err(error),
        };
        if offset + 1 < cursor.end {
            return match read_header(cursor.file(), end, self.tenant, offset + 1)? {
                Found::Record(next) => Ok(next.header.previous_hash),
                Found::Footer | Found::End | Found::Damage(_) => Err(damaged),
            };
        }
        // The last record of a closed segment; those of the last segment's end have their hashes in memory.
        let next = self.files.open(&segment_name(offset + 1))?;
        let header = read_segment_header(&next, self.tenant, offset + 1).map_err(|_| damaged)?;
        Ok(header.previous_hash)
    }

    /// The first offset of the segment that a record is in.
    fn segment_first(&self, offset: u64) -> u64 {
        let state = self.state.read();
        let at = state.closed.partition_point(|segment| segment.end() <= offset);
        state.closed.get(at).map_or(state.active.first, |segment| segment.first)
    }

    /// Keeps what stands at `start` in a file of its own, durably, and writes `bytes` over it.
    fn write_again(
        &self,
        file: &NamedFile,
        segment: u64,
        (offset, field): (u64, &'static str),
        start: u64,
        bytes: &[u8],
    ) -> Result<Repaired, TenantLogError> {
        let mut stood = vec![0; bytes.len()];
        let read = file.read(&mut stood, start)?;
        let names = self.files.names()?;
        let earlier = names.iter().filter(|name| name.ends_with(".damaged")).count();
        let kept_as = format!("{offset:020}.{earlier}.damaged");
        let kept = self.files.create(&kept_as)?;
        kept.write(&stood[..read], 0)?;
        kept.sync()?;
        file.write(bytes, start)?;
        self.poison_if_failed(file.sync())?;
        Ok(Repaired {
            offset: Offset::new(offset),
            field,
            file: segment_name(segment),
            start,
            end: start + bytes.len() as u64,
            kept_as,
        })
    }

    fn mend_header(&self, first: u64) -> Result<Option<Repaired>, TenantLogError> {
        let file = self.files.open(&segment_name(first))?;
        let field = match read_segment_header(&file, self.tenant, first) {
            Ok(_) => return Ok(None),
            Err(TenantLogError::Corrupt { field, .. }) => field,
            Err(error) => return Err(error),
        };
        let previous_hash = match first.checked_sub(1) {
            None => Hash::default(),
            Some(last) => self.entry(0, last)?,
        };
        let header = SegmentHeader {
            tenant: self.tenant,
            first_offset: Offset::new(first),
            previous_hash,
        };
        let bytes = with_crc(&header.encode_without_crc());
        self.write_again(&file, first, (first, field), 0, &bytes).map(Some)
    }

    fn mend_footer(&self, segment: ClosedSegment) -> Result<Option<Repaired>, TenantLogError> {
        let file = self.files.open(&segment_name(segment.first))?;
        let footer_bytes = SEGMENT_FOOTER_BYTES as u64;
        if let Some(position) = file.length()?.checked_sub(footer_bytes)
            && read_footer(&file, position)?.is_some_and(|footer| footer.record_count == segment.record_count)
        {
            return Ok(None);
        }
        let end = segment.end();
        let start = match end.checked_sub(1).filter(|last| *last >= segment.first) {
            None => RECORDS_START,
            Some(last) => {
                let mut cursor = self.locate(last)?;
                let header = cursor.header()?;
                self.check_hash(&header)?;
                cursor.advance(&header);
                cursor.position()
            }
        };
        let reader_hash = |offset| self.entry(0, offset);
        let mut tree = Frontier::new();
        for offset in segment.first..end {
            tree.push(reader_hash(offset)?);
        }
        let last_hash = match end.checked_sub(1) {
            None => Hash::default(),
            Some(last) => reader_hash(last)?,
        };
        let footer = SegmentFooter {
            record_count: segment.record_count,
            records_root: tree.root(),
            last_hash,
        };
        let bytes = with_crc(&footer.encode_without_crc());
        self.write_again(&file, segment.first, (end, "footer"), start, &bytes)
            .map(Some)
    }
}
