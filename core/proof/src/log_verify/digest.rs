//! The quick pass over one segment, by itself: everything that can be checked without the segments before it.
//!
//! It tells good from not good and names nothing. What it does not accept is left to the careful pass of
//! [`super::verify_log`], which alone says what is wrong. So it may refuse too much, never too little.

use std::collections::HashMap;
use std::io::{self, Read};

use craton_crypto::{chunk_hash, record_hash};
use craton_types::{
    FOOTER_MAGIC, HEADER_BYTES, Hash, RECORD_CRC_BYTES, RecordHeader, RecordKind, SEGMENT_FOOTER_BYTES,
    SEGMENT_HEADER_BYTES, SegmentFooter, SegmentHeader, StreamId, StreamSequence, Timestamp, segment_file_name,
};

use super::SegmentSource;
use super::body::{Body, check_body};
use super::checkpoints::{PlainChunks, WINDOW_RECORDS_MAX, has_note, note_chunks};
use super::fault::LogVerifyError;
use super::header::{FRAMED_HEADER_BYTES, intact};
use super::segments::check_footer;
use super::source::Source;
use super::streams::STREAMS_TRACKED_MAX;
use crate::note::NOTE_BYTES_MAX;
use crate::tree::{Frontier, node_hash};

/// How much is read at a time.
const BUFFER_BYTES: usize = 1024 * 1024;
/// The most bytes of notes that are kept of one segment.
const NOTES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A segment that is right in itself, and what its place in the log will be judged by.
pub struct SegmentDigest {
    pub(super) header: SegmentHeader,
    /// The record hashes.
    pub(super) leaves: Vec<Hash>,
    /// The plain chunks of checkpoints and cosignatures.
    pub(super) notes: Vec<NoteRecord>,
    pub(super) streams: HashMap<StreamId, StreamRange>,
    /// The times of the first and last record.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// Whether it ends with a footer.
    pub(super) is_closed: bool,
    /// Bytes of an incomplete last record.
    pub(super) torn_bytes: u64,
}

/// A record that holds a note.
pub(super) struct NoteRecord {
    /// Its position in the segment, from 0.
    pub(super) index: usize,
    pub(super) kind: RecordKind,
    pub(super) plain: PlainChunks,
}

/// The sequences of one stream in one segment.
pub(super) struct StreamRange {
    pub(super) first: StreamSequence,
    /// One past the last.
    pub(super) next: StreamSequence,
}

/// Reads a segment. `None` when it is not right in itself, or larger than this pass keeps in memory: let
/// [`super::verify_log`] judge.
///
/// # Errors
/// When the segment cannot be read.
pub fn digest_segment<R: Read>(segment: SegmentSource<R>) -> Result<Option<SegmentDigest>, LogVerifyError> {
    let SegmentSource { name, reader } = segment;
    let mut window = Window::new(reader);
    let digested = digest(&name, &mut window);
    digested.map_err(|source| LogVerifyError::Read {
        file: name,
        position: window.consumed,
        source,
    })
}

fn digest<R: Read>(name: &str, window: &mut Window<R>) -> io::Result<Option<SegmentDigest>> {
    let Some(header) = segment_header(name, window.fill(SEGMENT_HEADER_BYTES)?) else {
        return Ok(None);
    };
    window.consume(SEGMENT_HEADER_BYTES);
    let mut pass = Pass {
        last_hash: header.previous_hash,
        tree: Frontier::new(),
        notes_bytes: 0,
        digest: SegmentDigest {
            header,
            leaves: Vec::new(),
            notes: Vec::new(),
            streams: HashMap::new(),
            times: None,
            is_closed: false,
            torn_bytes: 0,
        },
    };
    loop {
        let bytes = window.fill(FRAMED_HEADER_BYTES)?;
        if bytes.is_empty() {
            return Ok(Some(pass.digest));
        }
        if bytes.starts_with(&FOOTER_MAGIC) {
            return Ok(pass.closes_with(bytes).then_some(pass.digest));
        }
        let Some(framed) = bytes.first_chunk::<FRAMED_HEADER_BYTES>() else {
            // As many bytes as a footer has may be a damaged one.
            pass.digest.torn_bytes = bytes.len() as u64;
            return Ok((bytes.len() < SEGMENT_FOOTER_BYTES).then_some(pass.digest));
        };
        let (framed, Some(header)) = (*framed, intact(framed)) else {
            return Ok(None);
        };
        let length = FRAMED_HEADER_BYTES + header.payload_length as usize;
        let bytes = window.fill(length)?;
        let Some(body) = bytes.get(FRAMED_HEADER_BYTES..length) else {
            let is_torn = is_torn(&header, &bytes[FRAMED_HEADER_BYTES..]);
            pass.digest.torn_bytes = bytes.len() as u64;
            return Ok((is_torn && pass.follows(&header)).then_some(pass.digest));
        };
        if !pass.accepts(&framed, &header, body) {
            return Ok(None);
        }
        window.consume(length);
    }
}

fn segment_header(name: &str, bytes: &[u8]) -> Option<SegmentHeader> {
    let (bytes, crc) = bytes
        .first_chunk::<SEGMENT_HEADER_BYTES>()?
        .split_last_chunk::<RECORD_CRC_BYTES>()?;
    let header = SegmentHeader::decode_without_crc(bytes.first_chunk()?)?;
    let is_intact = crc32c::crc32c(bytes).to_be_bytes() == *crc;
    (is_intact && name == segment_file_name(header.first_offset)).then_some(header)
}

/// Whether a body ends too early and is right otherwise.
fn is_torn(header: &RecordHeader, body: &[u8]) -> bool {
    let mut source = Source::new(String::new(), body);
    matches!(check_body(header, &mut source), Ok(Body::Torn { .. }))
}

struct Pass {
    last_hash: Hash,
    /// The tree over this segment's records alone.
    tree: Frontier,
    notes_bytes: usize,
    digest: SegmentDigest,
}

impl Pass {
    /// Checks the fields of a header that the records before in this segment imply, but for the stream's sequence.
    fn follows(&self, header: &RecordHeader) -> bool {
        let segment = &self.digest.header;
        let offset = segment.first_offset.get().checked_add(self.digest.leaves.len() as u64);
        header.tenant == segment.tenant && Some(header.offset.get()) == offset && header.previous_hash == self.last_hash
    }

    fn accepts(&mut self, framed: &[u8; FRAMED_HEADER_BYTES], header: &RecordHeader, body: &[u8]) -> bool {
        let is_right = self.follows(header)
            && self.digest.leaves.len() < WINDOW_RECORDS_MAX
            && self.notes_time(header)
            && self.notes_sequence(header)
            && self.accepts_body(header, body);
        if is_right {
            let bytes: &[u8; HEADER_BYTES] = framed.first_chunk().expect("a framed header begins with the header");
            self.last_hash = record_hash(bytes);
            self.tree.push(self.last_hash);
            self.digest.leaves.push(self.last_hash);
        }
        is_right
    }

    fn notes_time(&mut self, header: &RecordHeader) -> bool {
        let (first, last) = self.digest.times.unwrap_or((header.timestamp, header.timestamp));
        self.digest.times = Some((first, header.timestamp));
        header.timestamp >= last
    }

    fn notes_sequence(&mut self, header: &RecordHeader) -> bool {
        let found = header.stream_sequence;
        let range = self.digest.streams.entry(header.stream).or_insert(StreamRange {
            first: found,
            next: found,
        });
        let follows = range.next == found;
        range.next = found.next();
        follows && self.digest.streams.len() <= STREAMS_TRACKED_MAX
    }

    fn accepts_body(&mut self, header: &RecordHeader, body: &[u8]) -> bool {
        if !has_root(header, body) {
            return false;
        }
        if !has_note(header.kind) {
            return true;
        }
        let Some((note, rest)) = split_chunk(body) else {
            return false;
        };
        let second = split_chunk(rest).map_or(&[][..], |(second, _)| second);
        self.notes_bytes += note.len() + second.len();
        self.digest.notes.push(NoteRecord {
            index: self.digest.leaves.len(),
            kind: header.kind,
            plain: PlainChunks {
                note: note.to_vec(),
                second: second.to_vec(),
            },
        });
        note_chunks(header.kind).contains(&header.chunk_count)
            && note.len().max(second.len()) <= NOTE_BYTES_MAX
            && self.notes_bytes <= NOTES_BYTES_MAX
    }

    /// Whether nothing is left but the footer that belongs here.
    fn closes_with(&mut self, rest: &[u8]) -> bool {
        let expected = SegmentFooter {
            record_count: self.tree.size(),
            records_root: self.tree.root(),
            last_hash: self.last_hash,
        };
        let footer: Option<&[u8; SEGMENT_FOOTER_BYTES]> = rest.try_into().ok();
        self.digest.is_closed = footer.is_some_and(|footer| check_footer(footer, &expected).is_none());
        self.digest.is_closed
    }
}

/// Whether a body is `chunk_count` chunks whose tree has the root `payload_hash`.
fn has_root(header: &RecordHeader, body: &[u8]) -> bool {
    let mut rest = body;
    let mut next = || {
        let (chunk, tail) = split_chunk(rest)?;
        rest = tail;
        Some(chunk_hash(chunk))
    };
    // Most records have one chunk or two, which need no frontier.
    let root = match header.chunk_count {
        1 => next(),
        2 => next().and_then(|first| Some(node_hash(&first, &next()?))),
        count => {
            let mut tree = Frontier::new();
            let read = (0..count).all(|_| next().map(|leaf| tree.push(leaf)).is_some());
            read.then(|| tree.root())
        }
    };
    root == Some(header.payload_hash) && rest.is_empty()
}

fn split_chunk(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// The next bytes of a file, as many as are asked for at a time.
struct Window<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How many bytes of the file are behind.
    consumed: u64,
}

impl<R: Read> Window<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            consumed: 0,
        }
    }

    /// The next bytes without consuming them: at least `length`, or all that are left. The buffer grows to the
    /// longest record, which a header's decoder bounds.
    fn fill(&mut self, length: usize) -> io::Result<&[u8]> {
        if self.end - self.start < length {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() < length {
                self.buffer.resize(length, 0);
            }
        }
        while self.end - self.start < length {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        self.consumed += length as u64;
    }
}
