//! Reading a log through to find damage before somebody needs what is damaged, and mending what is derived.

use std::sync::atomic::Ordering;

use craton_proof::{Frontier, HashReader};
use craton_types::Offset;

use super::TenantLogError;
use super::files::index_name;
use super::index::{INDEX_INTERVAL, read_frontier, write_index};
use super::reader::{Cursor, LogReader, Shared, note_position};
use super::records::check_body;

/// What a step of a scrub found, see [`LogReader::scrub`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// Where the next step begins.
    pub next: Offset,
    /// How many bytes of records were read.
    pub bytes: u64,
    /// Records that are not what was written, and their first field that is wrong.
    pub damaged: Vec<(Offset, &'static str)>,
}

impl LogReader {
    /// Checks the published records from `from` on as [`Self::read_range`] does, and goes on behind a damaged one. Reads
    /// until `bytes_max` bytes are reached, one record at least. At the end of the log `next` is `from`.
    ///
    /// # Errors
    /// [`TenantLogError::Io`] and others that say nothing about a record.
    pub fn scrub(&self, from: Offset, bytes_max: u64) -> Result<ScrubStep, TenantLogError> {
        let published = self.published().get();
        let mut step = ScrubStep {
            next: from,
            ..ScrubStep::default()
        };
        let mut cursor: Option<Cursor> = None;
        let mut body = Vec::new();
        while step.next.get() < published && step.bytes < bytes_max {
            let offset = step.next.get();
            match self.0.check_at(&mut cursor, offset, &mut body) {
                Ok(bytes) => {
                    step.bytes += bytes;
                    step.next = step.next.next();
                }
                Err(TenantLogError::Corrupt { offset: found, field }) => {
                    cursor = None;
                    step.damaged.push((found, field));
                    // Behind a record whose length cannot be believed, the index knows where to go on.
                    step.next = match found == step.next && field_is_beside_the_way(field) {
                        true => step.next.next(),
                        false => Offset::new(self.0.next_indexed(offset).min(published)),
                    };
                    step.bytes += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(step)
    }

    /// Checks the index beside each closed segment, and derives those again that are missing or damaged. Returns their
    /// names.
    ///
    /// # Errors
    /// As for [`Self::read_headers`], and when an index cannot be written.
    pub fn mend_indexes(&self) -> Result<Vec<String>, TenantLogError> {
        let shared = &self.0;
        let closed = shared.state.read().closed.clone();
        let mut mended = Vec::new();
        for segment in closed {
            let name = index_name(segment.first);
            let whole = match shared.files.names()?.contains(&name) {
                true => read_frontier(&shared.files.open(&name)?, segment)?.is_some(),
                false => false,
            };
            if whole {
                continue;
            }
            let mut frontier = Frontier::new();
            for offset in 0..segment.end() {
                frontier.push(self.hash(0, offset)?);
            }
            let mut positions = Vec::new();
            Shared::read_through(&shared.files, shared.tenant, segment, |header, position| {
                note_position(&mut positions, segment.first, header.header.offset.get(), position);
                Ok(())
            })?;
            write_index(&shared.files, segment, &frontier, &positions)?;
            mended.push(name);
        }
        Ok(mended)
    }

    /// How many tiles of the hash files were damaged and mended since the log was opened.
    #[must_use]
    pub fn tiles_mended(&self) -> u64 {
        self.0.tiles_mended.load(Ordering::Relaxed)
    }
}

/// Whether a record with this field damaged has a header that can be believed, so that the next record is found.
fn field_is_beside_the_way(field: &str) -> bool {
    matches!(field, "payload_hash" | "record_hash" | "hash_tile")
}

impl Shared {
    /// Checks one record; the cursor stands behind it afterwards. Returns its bytes.
    pub(super) fn check_at(
        &self,
        cursor: &mut Option<Cursor>,
        offset: u64,
        body: &mut Vec<u8>,
    ) -> Result<u64, TenantLogError> {
        let cursor = match cursor {
            Some(cursor) if offset < cursor.end => cursor,
            none_or_ended => none_or_ended.insert(self.locate(offset)?),
        };
        let header = cursor.header()?;
        self.check_hash(&header)?;
        cursor.body(&header, body)?;
        check_body(&header.header, body).map_err(|field| TenantLogError::corrupt(offset, field))?;
        cursor.advance(&header);
        Ok(header.stored_bytes())
    }

    /// The first offset after this one that is found without walking over it.
    fn next_indexed(&self, offset: u64) -> u64 {
        let state = self.state.read();
        let at = state.closed.partition_point(|segment| segment.end() <= offset);
        let (first, end) = match state.closed.get(at) {
            Some(segment) => (segment.first, segment.end()),
            None => (state.active.first, u64::MAX),
        };
        (first + ((offset - first) / INDEX_INTERVAL + 1) * INDEX_INTERVAL).min(end)
    }
}
