//! The quick pass over a log: segments that are right in themselves, put together.

use craton_types::{Hash, Offset, TenantId, Timestamp};

use super::checkpoints::{Checkpoints, WINDOW_RECORDS_MAX};
use super::digest::SegmentDigest;
use super::fault::LogVerifyError;
use super::streams::{STREAMS_TRACKED_MAX, Streams};
use super::summary::Totals;
use super::{LogSummary, LogVerifyOptions};

/// Segments in their order, checked at their seams: positions, links, times, streams, the log's Merkle tree and the
/// checkpoints in it.
pub struct LogAssembly<'a> {
    options: &'a LogVerifyOptions,
    tenant: Option<TenantId>,
    segments: u64,
    last_hash: Hash,
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
    streams: Streams,
    checkpoints: Checkpoints<'a>,
    torn_bytes: u64,
}

impl<'a> LogAssembly<'a> {
    /// A log without segments.
    ///
    /// # Errors
    /// When the given checkpoint is not to be believed.
    pub fn new(options: &'a LogVerifyOptions) -> Result<Self, LogVerifyError> {
        Ok(Self {
            options,
            tenant: None,
            segments: 0,
            last_hash: Hash::ZERO,
            first_time: None,
            last_time: None,
            streams: Streams::new(STREAMS_TRACKED_MAX),
            checkpoints: Checkpoints::new(options, WINDOW_RECORDS_MAX)?,
            torn_bytes: 0,
        })
    }

    /// Appends a segment. `false` when it does not belong here or a checkpoint in it is not right: let
    /// [`super::verify_log`] judge the log, and do not go on with this.
    #[must_use]
    pub fn push(&mut self, segment: &SegmentDigest, is_last: bool) -> bool {
        let header = &segment.header;
        let tenant = *self.tenant.get_or_insert(header.tenant);
        let may_end = is_last && (segment.torn_bytes == 0 || self.options.allow_torn_tail);
        let fits = header.tenant == tenant
            && header.first_offset.get() == self.checkpoints.records()
            && header.previous_hash == self.last_hash
            && (may_end || segment.is_closed);
        self.segments += 1;
        self.torn_bytes = segment.torn_bytes;
        fits && self.follows_in_time(segment) && self.follows_in_streams(segment) && self.grow(segment, tenant)
    }

    fn follows_in_time(&mut self, segment: &SegmentDigest) -> bool {
        let Some((first, last)) = segment.times else {
            return true;
        };
        let follows = self.last_time.is_none_or(|before| before <= first);
        self.first_time = self.first_time.or(Some(first));
        self.last_time = Some(last);
        follows
    }

    fn follows_in_streams(&mut self, segment: &SegmentDigest) -> bool {
        let mut ranges = segment.streams.iter();
        ranges.all(|(stream, range)| self.streams.advance(*stream, range.first, range.next))
    }

    fn grow(&mut self, segment: &SegmentDigest, tenant: TenantId) -> bool {
        let mut notes = segment.notes.iter().peekable();
        for (index, leaf) in segment.leaves.iter().enumerate() {
            if let Some(record) = notes.next_if(|record| record.index == index) {
                let offset = Offset::new(self.checkpoints.records());
                let checked = self.checkpoints.check_plain(record.kind, &record.plain, tenant, offset);
                if checked.is_err() {
                    return false;
                }
            }
            if self.checkpoints.push(*leaf).is_some() {
                return false;
            }
            self.last_hash = *leaf;
        }
        true
    }

    /// The verified log.
    ///
    /// # Errors
    /// When there are no segments, a key vouches for nothing in them, or they are less than the given checkpoint covers.
    pub fn finish(self) -> Result<LogSummary, LogVerifyError> {
        let totals = Totals {
            tenant: self.tenant,
            segments: self.segments,
            first_time: self.first_time,
            last_time: self.last_time,
            last_hash: self.last_hash,
            torn_bytes: self.torn_bytes,
            untracked_streams: self.streams.are_untracked(),
        };
        totals.conclude(self.checkpoints, self.options)
    }
}
