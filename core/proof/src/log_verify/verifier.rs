//! The state of a verification and its passage over segments and records.

use std::io::Read;

use craton_crypto::record_hash;
use craton_types::{
    FOOTER_MAGIC, HEADER_BYTES, Hash, Offset, RecordHeader, SEGMENT_FOOTER_BYTES, SEGMENT_HEADER_BYTES, SegmentFooter,
    SegmentHeader, TenantId, Timestamp, segment_file_name,
};

use super::body::{Body, check_body};
use super::checkpoints::{Checkpoints, WINDOW_RECORDS_MAX, note_chunks};
use super::fault::{Finding, LogFault, LogPart, LogVerifyError};
use super::header::{
    Expected, FRAMED_HEADER_BYTES, HeaderFault, changed_byte_by_link, diagnose, field_start, intact, mismatch,
    one_changed_byte,
};
use super::segments::{check_footer, check_header, is_damaged_footer, tenant_of};
use super::source::Source;
use super::streams::{STREAMS_TRACKED_MAX, Streams};
use super::summary::Totals;
use super::{LogSummary, LogVerifyOptions, SegmentSource};
use crate::tree::Frontier;

/// The record before, kept until the next one's link has confirmed it.
struct Previous {
    header: [u8; HEADER_BYTES],
    file: String,
    position: u64,
    /// A complaint that the next link may turn into a better one.
    pending: Option<LogFault>,
}

pub(super) struct Verifier<'a> {
    options: &'a LogVerifyOptions,
    tenant: Option<TenantId>,
    segments: u64,
    last_hash: Hash,
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
    previous: Option<Previous>,
    streams: Streams,
    checkpoints: Checkpoints<'a>,
    torn_bytes: u64,
}

/// What stands at the position that was read.
enum Next {
    End,
    Footer,
    Record(Box<[u8; FRAMED_HEADER_BYTES]>, Box<RecordHeader>),
    Torn,
}

impl<'a> Verifier<'a> {
    pub(super) fn new(options: &'a LogVerifyOptions) -> Result<Self, LogVerifyError> {
        Ok(Self {
            options,
            tenant: None,
            segments: 0,
            last_hash: Hash::ZERO,
            first_time: None,
            last_time: None,
            previous: None,
            streams: Streams::new(STREAMS_TRACKED_MAX),
            checkpoints: Checkpoints::new(options, WINDOW_RECORDS_MAX)?,
            torn_bytes: 0,
        })
    }

    fn offset(&self) -> Offset {
        Offset::new(self.checkpoints.records())
    }

    fn expected(&self, tenant: TenantId) -> Expected {
        Expected {
            tenant,
            offset: self.offset(),
            previous_hash: self.last_hash,
            timestamp_min: self.last_time.unwrap_or_default(),
        }
    }

    pub(super) fn segment<R: Read>(&mut self, segment: SegmentSource<R>, is_last: bool) -> Result<(), LogVerifyError> {
        let mut source = Source::new(segment.name, segment.reader);
        let Some(tenant) = self.segment_header(&mut source, is_last)? else {
            return Ok(());
        };
        self.segments += 1;
        let mut records = Frontier::new();
        loop {
            match self.next(&mut source, tenant, &records, is_last)? {
                Next::Record(framed, header) => {
                    if !self.record(&mut source, &framed, &header, &mut records, is_last)? {
                        return Ok(());
                    }
                }
                Next::Footer => return self.segment_footer(&mut source, &records),
                Next::Torn => return Ok(()),
                Next::End if is_last => return Ok(()),
                Next::End => {
                    let finding = truncated(SEGMENT_FOOTER_BYTES as u64, 0);
                    return Err(self.part_fault(LogPart::SegmentFooter, "footer_magic", &source, finding));
                }
            }
        }
    }

    /// Checks name and header; gives the tenant, or `None` for a torn header.
    fn segment_header<R: Read>(
        &mut self,
        source: &mut Source<R>,
        is_last: bool,
    ) -> Result<Option<TenantId>, LogVerifyError> {
        let expected_name = segment_file_name(self.offset());
        if source.name != expected_name {
            let finding = Finding::Differs {
                expected: format!("segment file {expected_name}"),
                found: source.name.clone(),
            };
            return Err(self.part_fault(LogPart::SegmentHeader, "first_offset", source, finding));
        }
        let bytes = match source.take::<SEGMENT_HEADER_BYTES>()? {
            Ok(bytes) => bytes,
            Err(found) if is_last && self.options.allow_torn_tail => {
                self.torn_bytes = found;
                return Ok(None);
            }
            Err(found) => {
                let finding = truncated(SEGMENT_HEADER_BYTES as u64, found);
                return Err(self.part_fault(LogPart::SegmentHeader, "segment_magic", source, finding));
            }
        };
        let tenant = self.tenant.unwrap_or_else(|| tenant_of(&bytes));
        let expected = SegmentHeader {
            tenant,
            first_offset: self.offset(),
            previous_hash: self.last_hash,
        };
        if let Some(fault) = check_header(&bytes, &expected, self.tenant.is_some()) {
            let link = SegmentHeader::decode_without_crc(bytes.first_chunk().expect("a part of it"));
            if let Some(header) = link.filter(|_| !fault.is_one_byte()) {
                self.blame_previous_by_link(header.previous_hash)?;
            }
            self.take_pending()?;
            let fault = self.located(LogPart::SegmentHeader, source, 0, fault);
            return Err(fault.into());
        }
        self.tenant = Some(tenant);
        Ok(Some(tenant))
    }

    /// Reads what stands at the current position and names the damage if it is nothing whole.
    fn next<R: Read>(
        &mut self,
        source: &mut Source<R>,
        tenant: TenantId,
        records: &Frontier,
        is_last: bool,
    ) -> Result<Next, LogVerifyError> {
        let bytes = source.peek(FRAMED_HEADER_BYTES)?;
        let found = bytes.len();
        let framed = bytes.first_chunk::<FRAMED_HEADER_BYTES>().copied();
        let footer = bytes.first_chunk::<SEGMENT_FOOTER_BYTES>().copied();
        let has_footer_magic = bytes.starts_with(&FOOTER_MAGIC);
        if found == 0 {
            return Ok(Next::End);
        }
        if let Some(framed) = framed
            && let Some(header) = intact(&framed)
        {
            source.consume(FRAMED_HEADER_BYTES);
            return Ok(Next::Record(Box::new(framed), Box::new(header)));
        }
        // A changed byte can make the magic of one the magic of the other, so damage is not judged by the magic.
        let expected = self.expected(tenant);
        if let Some(fault) = framed.and_then(|framed| one_changed_byte(&framed, &expected)) {
            return Err(self.record_fault(source, 0, fault));
        }
        if footer.is_some_and(|bytes| has_footer_magic || is_damaged_footer(&bytes, &self.footer(records))) {
            return Ok(Next::Footer);
        }
        if let Some(framed) = framed {
            let fault = diagnose(&framed, &expected);
            return Err(self.record_fault(source, 0, fault));
        }
        if is_last && self.options.allow_torn_tail {
            self.torn_bytes = found as u64;
            return Ok(Next::Torn);
        }
        let (part, field, length) = if has_footer_magic {
            (LogPart::SegmentFooter, "footer_magic", SEGMENT_FOOTER_BYTES)
        } else {
            (LogPart::Record, "magic", FRAMED_HEADER_BYTES)
        };
        let finding = truncated(length as u64, found as u64);
        Err(self.part_fault(part, field, source, finding))
    }

    /// Checks a record whose header is consumed; `false` when its body is torn, which ends the log.
    fn record<R: Read>(
        &mut self,
        source: &mut Source<R>,
        framed: &[u8; FRAMED_HEADER_BYTES],
        header: &RecordHeader,
        records: &mut Frontier,
        is_last: bool,
    ) -> Result<bool, LogVerifyError> {
        let expected = self.expected(header.tenant);
        let tenant = self.tenant.unwrap_or(header.tenant);
        let start = source.position - FRAMED_HEADER_BYTES as u64;
        if let Some(fault) = mismatch(header, &Expected { tenant, ..expected }) {
            if fault.field == "previous_hash" {
                self.blame_previous_by_link(header.previous_hash)?;
            }
            return Err(self.record_fault(source, FRAMED_HEADER_BYTES, fault));
        }
        self.take_pending()?;
        let offset = self.offset();
        let mut pending = self
            .sequence_fault(header)
            .map(|fault| self.located_at(source, start, fault));
        let body_start = source.position;
        let plain = match check_body(header, source)? {
            Body::Intact { plain } if plain.is_some() && !note_chunks(header.kind).contains(&header.chunk_count) => {
                let finding = Finding::Differs {
                    expected: format!(
                        "{} to {} chunks",
                        note_chunks(header.kind).start(),
                        note_chunks(header.kind).end()
                    ),
                    found: header.chunk_count.to_string(),
                };
                let position = start + field_start("chunk_count") as u64;
                pending = pending.or_else(|| Some(self.body_fault(source, position, "chunk_count", finding)));
                None
            }
            Body::Intact { plain } => plain,
            Body::Torn { found_bytes } if is_last && self.options.allow_torn_tail => {
                self.torn_bytes = FRAMED_HEADER_BYTES as u64 + found_bytes;
                return Ok(false);
            }
            Body::Torn { found_bytes } => {
                let finding = truncated(u64::from(header.payload_length), found_bytes);
                return Err(self.body_fault(source, body_start, "payload", finding).into());
            }
            Body::Broken { field, finding } => {
                let position = if field == "payload" {
                    body_start
                } else {
                    start + field_start(field) as u64
                };
                return Err(self.body_fault(source, position, field, finding).into());
            }
            Body::Wrong { field, finding } => {
                pending = pending.or_else(|| Some(self.body_fault(source, body_start, field, finding)));
                None
            }
        };
        if let Some(plain) = plain
            && let Err(fault) = self.checkpoints.check_plain(header.kind, &plain, tenant, offset)
        {
            pending = pending.or_else(|| Some(self.body_fault(source, body_start, fault.field, fault.finding)));
        }
        let bytes: &[u8; HEADER_BYTES] = framed.first_chunk().expect("a framed header begins with the header");
        self.last_hash = record_hash(bytes);
        self.previous = Some(Previous {
            header: *bytes,
            file: source.name.clone(),
            position: start,
            pending,
        });
        records.push(self.last_hash);
        self.first_time = self.first_time.or(Some(header.timestamp));
        self.last_time = self.last_time.max(Some(header.timestamp));
        if let Some(fault) = self.checkpoints.push(self.last_hash) {
            self.take_pending()?;
            let fault = LogFault {
                offset,
                ..self.body_fault(source, start, fault.field, fault.finding)
            };
            return Err(fault.into());
        }
        Ok(true)
    }

    /// Checks what the records before imply about times and sequences.
    fn sequence_fault(&mut self, header: &RecordHeader) -> Option<HeaderFault> {
        let (field, expected, found) = if let Some(last) = self.last_time.filter(|last| header.timestamp < *last) {
            (
                "timestamp",
                format!("at least {last} nanoseconds"),
                header.timestamp.to_string(),
            )
        } else {
            let expected = self.streams.unexpected(header.stream, header.stream_sequence)?;
            (
                "stream_sequence",
                expected.to_string(),
                header.stream_sequence.to_string(),
            )
        };
        Some(HeaderFault {
            field,
            index: field_start(field),
            finding: Finding::Differs { expected, found },
        })
    }

    fn footer(&self, records: &Frontier) -> SegmentFooter {
        SegmentFooter {
            record_count: records.size(),
            records_root: records.root(),
            last_hash: self.last_hash,
        }
    }

    fn segment_footer<R: Read>(&mut self, source: &mut Source<R>, records: &Frontier) -> Result<(), LogVerifyError> {
        let start = source.position;
        let Ok(bytes) = source.take::<SEGMENT_FOOTER_BYTES>()? else {
            unreachable!("the caller has seen that many bytes");
        };
        if let Some(fault) = check_footer(&bytes, &self.footer(records)) {
            let link = SegmentFooter::decode_without_crc(bytes.first_chunk().expect("a part of it"));
            if let Some(footer) = link.filter(|_| !fault.is_one_byte()) {
                self.blame_previous_by_link(footer.last_hash)?;
            }
            self.take_pending()?;
            let fault = LogFault {
                part: LogPart::SegmentFooter,
                ..self.located_at(source, start, fault)
            };
            return Err(fault.into());
        }
        if !source.peek(1)?.is_empty() {
            let reason = "bytes follow the footer, which ends a segment".to_owned();
            let finding = Finding::Malformed { reason };
            return Err(self.part_fault(LogPart::SegmentFooter, "footer_crc", source, finding));
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<LogSummary, LogVerifyError> {
        self.take_pending()?;
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

    /// When `linked` is not the last record's hash, looks for the changed byte in that record's header.
    fn blame_previous_by_link(&mut self, linked: Hash) -> Result<(), LogVerifyError> {
        if linked == self.last_hash {
            return Ok(());
        }
        let Some(previous) = &self.previous else {
            return Ok(());
        };
        if let Some(fault) = changed_byte_by_link(&previous.header, linked) {
            return Err(LogFault {
                offset: Offset::new(self.checkpoints.records() - 1),
                part: LogPart::Record,
                field: fault.field,
                file: previous.file.clone(),
                position: previous.position + fault.index as u64,
                finding: fault.finding,
            }
            .into());
        }
        self.take_pending()
    }

    /// A complaint about the last record, now that nothing better can be said.
    fn take_pending(&mut self) -> Result<(), LogVerifyError> {
        match self.previous.as_mut().and_then(|previous| previous.pending.take()) {
            Some(fault) => Err(fault.into()),
            None => Ok(()),
        }
    }

    fn record_fault<R>(&mut self, source: &Source<R>, consumed: usize, fault: HeaderFault) -> LogVerifyError {
        if let Err(earlier) = self.take_pending() {
            return earlier;
        }
        self.located_at(source, source.position - consumed as u64, fault).into()
    }

    fn part_fault<R>(
        &mut self,
        part: LogPart,
        field: &'static str,
        source: &Source<R>,
        finding: Finding,
    ) -> LogVerifyError {
        if let Err(earlier) = self.take_pending() {
            return earlier;
        }
        let fault = HeaderFault {
            field,
            index: 0,
            finding,
        };
        self.located(part, source, source.position, fault).into()
    }

    fn body_fault<R>(&self, source: &Source<R>, position: u64, field: &'static str, finding: Finding) -> LogFault {
        self.located_at(
            source,
            position,
            HeaderFault {
                field,
                index: 0,
                finding,
            },
        )
    }

    fn located_at<R>(&self, source: &Source<R>, start: u64, fault: HeaderFault) -> LogFault {
        self.located(LogPart::Record, source, start, fault)
    }

    fn located<R>(&self, part: LogPart, source: &Source<R>, start: u64, fault: HeaderFault) -> LogFault {
        LogFault {
            offset: self.offset(),
            part,
            field: fault.field,
            file: source.name.clone(),
            position: start + fault.index as u64,
            finding: fault.finding,
        }
    }
}

fn truncated(expected_bytes: u64, found_bytes: u64) -> Finding {
    Finding::Truncated {
        expected_bytes,
        found_bytes,
    }
}
