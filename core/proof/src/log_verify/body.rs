//! Checking a record's body against its header without holding it in memory.
//!
//! The body is read as the `chunk_count` chunks that it says it is. If their lengths do not add up to
//! `payload_length`, the tree hash over them tells which of the two fields and the body is wrong.

use std::io::Read;

use craton_crypto::Sha256Writer;
use craton_types::{BODY_BYTES_MAX, Hash, RecordHeader};

use super::checkpoints::{PlainChunks, has_note};
use super::fault::{Finding, LogVerifyError};
use super::source::Source;
use crate::note::NOTE_BYTES_MAX;
use crate::tree::Frontier;

pub(super) enum Body {
    /// As the header says. The plain chunks of a checkpoint or cosignature are kept, each cut off where it is longer than
    /// any note.
    Intact { plain: Option<PlainChunks> },
    /// The file ends within the body, which has nothing wrong otherwise.
    Torn { found_bytes: u64 },
    /// Something is wrong; the next record begins where the header says.
    Wrong { field: &'static str, finding: Finding },
    /// Something is wrong, and where the next record begins is not known.
    Broken { field: &'static str, finding: Finding },
}

struct Reader<'a, R> {
    source: &'a mut Source<R>,
    /// Bytes consumed.
    total: u64,
    count: u64,
    tree: Frontier,
    plain: Option<PlainChunks>,
}

enum Chunk {
    Read,
    /// The file ended.
    End,
    /// The chunk would make the body longer than any is.
    TooLong,
}

impl<R: Read> Reader<'_, R> {
    fn chunk(&mut self) -> Result<Chunk, LogVerifyError> {
        let length = match self.source.take::<4>()? {
            Ok(bytes) => u64::from(u32::from_be_bytes(bytes)),
            Err(found) => {
                self.total += found;
                return Ok(Chunk::End);
            }
        };
        self.total += 4;
        if self.total + length > u64::from(BODY_BYTES_MAX) {
            return Ok(Chunk::TooLong);
        }
        let mut hash = Sha256Writer::chunk();
        let mut kept = match (&mut self.plain, self.count) {
            (Some(plain), 0) => Some(&mut plain.note),
            (Some(plain), 1) => Some(&mut plain.second),
            _ => None,
        };
        let found = self.source.for_each_piece(length, |piece| {
            hash.update(piece);
            if let Some(kept) = &mut kept
                && kept.len() <= NOTE_BYTES_MAX
            {
                kept.extend_from_slice(piece);
            }
        })?;
        self.total += found;
        if found < length {
            return Ok(Chunk::End);
        }
        self.count += 1;
        self.tree.push(hash.finish());
        Ok(Chunk::Read)
    }
}

pub(super) fn check_body<R: Read>(header: &RecordHeader, source: &mut Source<R>) -> Result<Body, LogVerifyError> {
    let (count, length) = (u64::from(header.chunk_count), u64::from(header.payload_length));
    let mut reader = Reader {
        source,
        total: 0,
        count: 0,
        tree: Frontier::new(),
        plain: has_note(header.kind).then(PlainChunks::default),
    };
    let mut root_at_length = None;
    while reader.count < count || reader.total < length {
        if reader.count == count && reader.tree.root() == header.payload_hash {
            break;
        }
        match reader.chunk()? {
            Chunk::Read => {}
            Chunk::End if reader.total < length => {
                return Ok(Body::Torn {
                    found_bytes: reader.total,
                });
            }
            Chunk::End | Chunk::TooLong => {
                return Ok(blame(header, reader.count, reader.total, root_at_length));
            }
        }
        if reader.total == length {
            root_at_length = Some((reader.count, reader.tree.root()));
        }
    }
    let root = reader.tree.root();
    if reader.count == count && root == header.payload_hash {
        if reader.total == length {
            return Ok(Body::Intact { plain: reader.plain });
        }
        return Ok(Body::Broken {
            field: "payload_length",
            finding: differs(reader.total, length),
        });
    }
    if reader.count == count && reader.total == length {
        return Ok(Body::Wrong {
            field: "payload",
            finding: differs_from_hash(header.payload_hash, root),
        });
    }
    Ok(blame(header, reader.count, reader.total, root_at_length))
}

/// Names what is wrong when chunks and length do not fit together.
fn blame(header: &RecordHeader, count: u64, total: u64, root_at_length: Option<(u64, Hash)>) -> Body {
    match root_at_length {
        Some((count, root)) if root == header.payload_hash => Body::Broken {
            field: "chunk_count",
            finding: differs(count, u64::from(header.chunk_count)),
        },
        _ => Body::Broken {
            field: "payload",
            finding: Finding::Malformed {
                reason: format!(
                    "the lengths of its chunks do not fit: after {count} of {} chunks, {total} of {} bytes were passed",
                    header.chunk_count, header.payload_length
                ),
            },
        },
    }
}

fn differs(expected: u64, found: u64) -> Finding {
    Finding::Differs {
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

fn differs_from_hash(expected: Hash, found: Hash) -> Finding {
    Finding::Differs {
        expected: format!("a body with payload_hash {expected}"),
        found: format!("one with {found}"),
    }
}
