//! Where the records of streams are: the part that is not in the file yet, and the form in which it is stored.
//!
//! Offsets of a stream only ever grow and are never changed, so they need no versions. An append costs eight bytes in
//! memory; the file takes them by the block, each offset as its distance to the one before.

use std::collections::HashMap;
use std::sync::Arc;

use craton_types::{Offset, StreamHead, StreamId, StreamSequence};

/// Offsets in one block of the file.
pub(crate) const BLOCK_RECORDS: u64 = 256;
/// What a stream that was touched takes in memory beside its name and offsets, estimated.
const TAIL_OVERHEAD_BYTES: usize = 160;

/// Streams that were touched since the last flush.
#[derive(Default)]
pub(crate) struct StreamTails {
    names: HashMap<Arc<str>, StreamId>,
    tails: HashMap<StreamId, StreamTail>,
}

/// What was appended to a stream since the last flush.
pub(crate) struct StreamTail {
    pub(crate) name: Arc<str>,
    /// The sequence of the first of `offsets`.
    pub(crate) first: StreamSequence,
    pub(crate) offsets: Vec<Offset>,
}

impl StreamTail {
    fn next(&self) -> StreamSequence {
        StreamSequence::new(self.first.get() + self.offsets.len() as u64)
    }
}

impl StreamTails {
    pub(crate) fn head(&self, name: &str) -> Option<StreamHead> {
        let stream = *self.names.get(name)?;
        let next = self.tails.get(&stream)?.next();
        Some(StreamHead { stream, next })
    }

    pub(crate) fn name(&self, stream: StreamId) -> Option<Arc<str>> {
        self.tails.get(&stream).map(|tail| Arc::clone(&tail.name))
    }

    /// Whether appends to the stream are taken.
    pub(crate) fn contains(&self, stream: StreamId) -> bool {
        self.tails.contains_key(&stream)
    }

    /// Makes room for a stream's appends, from the sequence `first` on. Returns the bytes that it takes.
    pub(crate) fn begin(&mut self, stream: StreamId, name: Arc<str>, first: StreamSequence) -> usize {
        let bytes = TAIL_OVERHEAD_BYTES + 2 * name.len();
        self.names.insert(Arc::clone(&name), stream);
        let tail = StreamTail {
            name,
            first,
            offsets: Vec::new(),
        };
        self.tails.insert(stream, tail);
        bytes
    }

    /// Notes the next record of a stream that was begun. Returns the bytes that it takes.
    pub(crate) fn push(&mut self, stream: StreamId, sequence: StreamSequence, offset: Offset) -> usize {
        let tail = self.tails.get_mut(&stream).expect("the stream was begun");
        assert_eq!(tail.next(), sequence, "a stream has no gaps");
        tail.offsets.push(offset);
        size_of::<Offset>()
    }

    /// Adds the offsets of a stream from `from` on that are here, up to the first that is not below `end`.
    pub(crate) fn offsets(&self, stream: StreamId, from: StreamSequence, end: Offset, wanted: usize) -> Vec<Offset> {
        let tail = self.tails.get(&stream);
        let skipped = tail.and_then(|tail| from.get().checked_sub(tail.first.get()));
        let (Some(tail), Some(skipped)) = (tail, skipped) else {
            return Vec::new();
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let offsets = tail.offsets.iter().copied().skip(skipped).take(wanted);
        offsets.take_while(|offset| *offset < end).collect()
    }

    /// The streams in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &StreamTail)> {
        let mut tails: Vec<_> = self.tails.iter().map(|(stream, tail)| (*stream, tail)).collect();
        tails.sort_unstable_by_key(|(stream, _)| *stream);
        tails.into_iter()
    }
}

/// A stream as the file has it: `next` (8 bytes) ‖ name length (2 bytes) ‖ name ‖ the block that is not full.
pub(crate) struct StoredStream {
    pub(crate) next: StreamSequence,
    pub(crate) name: Arc<str>,
    pub(crate) open: Vec<Offset>,
}

impl StoredStream {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let name = self.name.as_bytes();
        let name_length = u16::try_from(name.len()).expect("stream names are bounded");
        let mut bytes = Vec::with_capacity(10 + name.len() + 2 * self.open.len() + 8);
        bytes.extend_from_slice(&self.next.get().to_be_bytes());
        bytes.extend_from_slice(&name_length.to_be_bytes());
        bytes.extend_from_slice(name);
        encode_offsets(&self.open, &mut bytes);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (next, rest) = bytes.split_first_chunk::<8>()?;
        let (name_length, rest) = rest.split_first_chunk::<2>()?;
        let (name, open) = rest.split_at_checked(usize::from(u16::from_be_bytes(*name_length)))?;
        let next = u64::from_be_bytes(*next);
        let open = decode_offsets(open)?;
        let whole = open.len() as u64 == next % BLOCK_RECORDS;
        whole.then_some(Self {
            next: StreamSequence::new(next),
            name: str::from_utf8(name).ok()?.into(),
            open,
        })
    }
}

/// Offsets, ascending: each as its distance to the one before, seven bits to a byte, the lowest first (LEB128).
pub(crate) fn encode_offsets(offsets: &[Offset], out: &mut Vec<u8>) {
    let mut before = 0;
    for offset in offsets {
        let mut distance = offset.get() - before;
        before = offset.get();
        while distance >= 0x80 {
            out.push(u8::try_from(distance & 0x7f).expect("seven bits") | 0x80);
            distance >>= 7;
        }
        out.push(u8::try_from(distance).expect("seven bits"));
    }
}

/// What [`encode_offsets`] wrote; `None` when it is something else.
pub(crate) fn decode_offsets(bytes: &[u8]) -> Option<Vec<Offset>> {
    let mut offsets = Vec::new();
    let (mut before, mut distance, mut shift) = (0u64, 0u64, 0);
    for byte in bytes {
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || bits << shift >> shift != bits {
            return None;
        }
        distance |= bits << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            before = before.checked_add(distance)?;
            offsets.push(Offset::new(before));
            (distance, shift) = (0, 0);
        }
    }
    (shift == 0).then_some(offsets)
}

/// A stream as the view holds it, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn stored_stream(bytes: &[u8]) -> bool {
    let decoded = StoredStream::decode(bytes);
    if let Some(stream) = &decoded {
        let encoded = stream.encode();
        let again = StoredStream::decode(&encoded).expect("what was encoded decodes");
        assert_eq!(again.encode(), encoded);
        assert_eq!(
            (again.next, again.name, again.open),
            (stream.next, stream.name.clone(), stream.open.clone())
        );
    }
    decoded.is_some()
}

/// The offsets of a stream's records, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn stored_offsets(bytes: &[u8]) -> bool {
    let decoded = decode_offsets(bytes);
    if let Some(offsets) = &decoded {
        let mut encoded = Vec::new();
        encode_offsets(offsets, &mut encoded);
        assert_eq!(decode_offsets(&encoded).as_ref(), Some(offsets));
    }
    decoded.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn offsets_survive_a_round_trip(mut offsets in proptest::collection::vec(any::<u64>(), 0..300)) {
            offsets.sort_unstable();
            let offsets: Vec<_> = offsets.into_iter().map(Offset::new).collect();
            let mut bytes = Vec::new();
            encode_offsets(&offsets, &mut bytes);
            prop_assert_eq!(decode_offsets(&bytes), Some(offsets));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_offsets(&bytes);
            let _ = StoredStream::decode(&bytes);
        }
    }
}
