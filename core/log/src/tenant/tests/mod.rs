//! The tenant log's promises: an unbroken chain of exactly the records that were appended, after anything.

mod damage;
mod derived;
mod faults;
mod repair;
mod scrub;
mod story;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_crypto::{chunk_hash, record_hash};
use craton_proof::{
    HashReader, LogVerifyOptions, SegmentSource, inclusion_proof, merkle_tree_hash, verify_inclusion, verify_log,
};
use craton_types::{
    ActorId, BODY_BYTES_MAX, CorrelationId, HEADER_BYTES, Hash, IdempotencyId, KeyEpoch, Offset, RECORD_CRC_BYTES,
    Record, RecordHeader, RecordKind, SEGMENT_FOOTER_BYTES, SEGMENT_HEADER_BYTES, StreamId, StreamSequence, TenantId,
    Timestamp,
};

use super::*;
use crate::disk::{Crash, Disk as _, Fault, FaultKind, MemoryDisk, RealDisk};

const DIR: &str = "/tenants/a";
const TENANT: TenantId = TenantId::new([5; 16]);
/// Room for eight of the records below.
const SEGMENT_BYTES: u64 = 2048;

fn open(disk: &MemoryDisk) -> Result<TenantLog, TenantLogError> {
    open_with(disk, SEGMENT_BYTES)
}

fn open_with(disk: &MemoryDisk, segment_bytes: u64) -> Result<TenantLog, TenantLogError> {
    let options = TenantLogOptions { segment_bytes };
    TenantLog::open(Arc::new(disk.clone()), Path::new(DIR), TENANT, options)
}

fn record_with(offset: u64, previous_hash: Hash, chunks: Vec<Vec<u8>>) -> Record {
    let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
    Record {
        header: RecordHeader {
            kind: RecordKind::Data,
            tenant: TENANT,
            stream: StreamId::new(0),
            offset: Offset::new(offset),
            stream_sequence: StreamSequence::new(offset),
            timestamp: Timestamp::new(1_000 + offset),
            actor: ActorId::new([1; 16]),
            correlation_id: CorrelationId::new([2; 16]),
            idempotency_id: IdempotencyId::NIL,
            key_epoch: KeyEpoch::ZERO,
            chunk_count: u32::try_from(chunks.len()).expect("few"),
            payload_length: u32::try_from(Record::body_length(&chunks)).expect("short"),
            payload_hash: merkle_tree_hash(&leaves),
            previous_hash,
        },
        chunks,
    }
}

/// The records of a log, always the same ones.
fn records(count: u64) -> Vec<Record> {
    let mut previous_hash = Hash::default();
    let mut records = Vec::new();
    for offset in 0..count {
        let length = usize::try_from(offset % 4 * 17).expect("short");
        let chunks = vec![offset.to_be_bytes().to_vec(), vec![7; length]];
        let record = record_with(offset, previous_hash, chunks);
        previous_hash = record_hash(&record.header.encode());
        records.push(record);
    }
    records
}

fn linked(record: &Record) -> LinkedRecord {
    LinkedRecord::new(record.clone())
}

fn append_all(log: &mut TenantLog, records: &[Record]) -> Result<(), TenantLogError> {
    records
        .iter()
        .try_for_each(|record| log.append(&linked(record)).map(|_| ()))
}

fn all(log: &TenantLog) -> Result<Vec<Record>, TenantLogError> {
    log.reader().read_range(Offset::ZERO, usize::MAX, u64::MAX)
}

fn files(disk: &MemoryDisk, suffix: &str) -> Vec<PathBuf> {
    let paths = disk.paths().into_iter();
    paths.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

/// Checks every complete subtree against the records.
fn check_hashes(log: &TenantLog, records: &[Record]) -> Result<(), TenantLogError> {
    let leaves: Vec<Hash> = records
        .iter()
        .map(|record| record_hash(&record.header.encode()))
        .collect();
    let reader = log.reader();
    for level in 0..u8::try_from(records.len().ilog2() + 1).expect("small") {
        let length = 1 << level;
        for (index, subtree) in leaves.chunks_exact(length).enumerate() {
            assert_eq!(
                reader.hash(level, index as u64)?,
                merkle_tree_hash(subtree),
                "level {level} index {index}"
            );
        }
    }
    Ok(())
}
