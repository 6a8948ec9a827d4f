//! What is written: entries made from a seed, their form in the write-ahead log and their records in tenant logs.

use craton_crypto::{chunk_hash, sha256};
use craton_proof::merkle_tree_hash;
use craton_types::{
    ActorId, CorrelationId, Hash, IdempotencyId, KeyEpoch, Offset, Record, RecordHeader, RecordKind, StreamId,
    StreamSequence, TenantId, Timestamp,
};

/// How many tenants take part.
pub(crate) const TENANTS: usize = 2;
/// The most commands in an entry.
const COMMANDS_MAX: u64 = 3;

/// The id of a tenant by its number.
pub(crate) const fn tenant_id(tenant: usize) -> TenantId {
    TenantId::new(if tenant == 0 { [1; 16] } else { [2; 16] })
}

/// Seeded decisions (`SplitMix64`).
#[derive(Clone)]
pub(crate) struct Decisions(u64);

impl Decisions {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Commands that become durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) commands: Vec<Command>,
}

/// One record of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) tenant: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Entry {
    /// The entry with this number in the run with this seed; no two are equal.
    pub(crate) fn make(seed: u64, number: u64, bytes_max: u64) -> Self {
        let mut decisions = Decisions::new(seed ^ number.wrapping_mul(0xa076_1d64_78bd_642f));
        let count = 1 + decisions.below(COMMANDS_MAX);
        let commands = (0..count).map(|at| {
            let tenant = if decisions.below(3) == 0 { 1 } else { 0 };
            let length = usize::try_from(decisions.below(bytes_max)).expect("short");
            let mut bytes = [number.to_be_bytes(), at.to_be_bytes()].concat();
            bytes.extend((0..length).map(|_| decisions.next().to_be_bytes()[0]));
            Command { tenant, bytes }
        });
        Self {
            commands: commands.collect(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        for command in &self.commands {
            payload.push(u8::try_from(command.tenant).expect("few tenants"));
            let length = u32::try_from(command.bytes.len()).expect("short");
            payload.extend_from_slice(&length.to_be_bytes());
            payload.extend_from_slice(&command.bytes);
        }
        payload
    }

    pub(crate) fn decode(mut payload: &[u8]) -> Option<Self> {
        let mut commands = Vec::new();
        while let Some((&tenant, rest)) = payload.split_first() {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (bytes, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            commands.push(Command {
                tenant: usize::from(tenant),
                bytes: bytes.to_vec(),
            });
            payload = rest;
        }
        Some(Self { commands })
    }
}

/// The record of a command. Its time says which entry it comes from.
pub(crate) fn record(command: &Command, index: u64, offset: u64, previous_hash: Hash) -> Record {
    let chunks = vec![command.bytes.clone()];
    Record {
        header: RecordHeader {
            kind: RecordKind::Data,
            tenant: tenant_id(command.tenant),
            stream: StreamId::new(0),
            offset: Offset::new(offset),
            stream_sequence: StreamSequence::new(offset),
            timestamp: Timestamp::new(index),
            actor: ActorId::new([3; 16]),
            correlation_id: CorrelationId::new([4; 16]),
            idempotency_id: IdempotencyId::NIL,
            key_epoch: KeyEpoch::ZERO,
            chunk_count: 1,
            payload_length: u32::try_from(Record::body_length(&chunks)).expect("short"),
            payload_hash: merkle_tree_hash(&[chunk_hash(&command.bytes)]),
            previous_hash,
        },
        chunks,
    }
}

/// Bytes for keys and salts, different for each seed.
pub(crate) fn random_fill(seed: u64) -> craton_log::RandomFill {
    let mut number = 0u64;
    Box::new(move |bytes| {
        for chunk in bytes.chunks_mut(32) {
            number += 1;
            let digest = sha256(&[&seed.to_be_bytes(), &number.to_be_bytes()]);
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
    })
}
