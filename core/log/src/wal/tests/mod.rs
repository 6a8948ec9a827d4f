//! The write-ahead log's promises: what was acknowledged is there after anything, and nothing else is served.

mod aside;
mod damage;
mod faults;
mod heads;
mod model;
mod ranges;
mod space;
mod story;
mod superblock;
mod truncation;
mod votes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use craton_crypto::SecretBytes;
use craton_types::{LogIndex, NodeId, Term};

use super::format::{RECORD_HEADER_BYTES, RecordHeader, SEGMENT_ASSOCIATED_BYTES, SEGMENT_HEADER_BYTES};
use super::*;
use crate::disk::{CallKind, Crash, Fault, FaultKind, MemoryDisk, RealDisk};

const DIR: &str = "/wal";
const SEGMENT_BYTES: u64 = 1024;

/// Different bytes for each call in this process, so that no two segments share a salt.
fn random() -> RandomFill {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Box::new(|bytes| {
        for chunk in bytes.chunks_mut(32) {
            let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let digest = craton_crypto::sha256(&[&number]);
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
    })
}

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: SEGMENT_BYTES,
        ..WalOptions::new(NodeId::new(1), SecretBytes::new([7; 32]))
    }
}

fn open(disk: &MemoryDisk) -> Result<(Wal, WalRecovery), WalError> {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options(), random())
}

/// Forgets exactly the entries up to one that is in the log.
fn purge_exactly(wal: &mut Wal, through: u64) -> Result<(), WalError> {
    let through = LogIndex::new(through);
    match wal.term_at(through).or(wal.last_term()) {
        Some(term) => wal.purge_exactly((through, term), Vec::new()),
        // There are no entries.
        None => Ok(()),
    }
}

fn entry(index: u64) -> WalEntry {
    let length = usize::try_from(index % 5 * 20).expect("short");
    WalEntry {
        index: LogIndex::new(index),
        term: Term::new(1 + index / 4),
        payload: format!("entry {index} {}", "x".repeat(length)).into_bytes(),
    }
}

fn entries(range: Range<u64>) -> Vec<WalEntry> {
    range.map(entry).collect()
}

fn all(wal: &Wal) -> Result<Vec<WalEntry>, WalError> {
    wal.entries_from(wal.first_index().unwrap_or(LogIndex::new(1)))?
        .collect()
}

fn segment_files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let wal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    disk.paths().into_iter().filter(wal).collect()
}

/// The headers of the records in a segment file, from its start.
fn records(bytes: &[u8]) -> Vec<RecordHeader> {
    let mut headers = Vec::new();
    let mut position = SEGMENT_HEADER_BYTES;
    while let Some(Ok(header)) = bytes[position..].first_chunk().map(RecordHeader::decode) {
        headers.push(header);
        position = usize::try_from(header.end()).expect("small");
    }
    headers
}
