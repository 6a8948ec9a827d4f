//! How fast a log is verified: records of 256 bytes, on one core. `cargo bench -p craton-proof`.

use std::hint::black_box;

use craton_crypto::{Dek, SecretBytes, SigningKey, chunk_hash, record_hash};
use craton_proof::{
    Checkpoint, Frontier, KeyName, LogAssembly, LogVerifyOptions, SegmentSource, SignerKey, digest_segment,
    merkle_tree_hash, verify_log,
};
use craton_types::{
    ActorId, Change, CorrelationId, Hash, IdempotencyId, KeyEpoch, Offset, Record, RecordHeader, RecordKind,
    RecordSummary, SegmentFooter, SegmentHeader, StreamId, StreamSequence, TenantId, Timestamp, segment_file_name,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const TENANT: TenantId = TenantId::new([7; 16]);
const PAYLOAD_BYTES: usize = 256;
const SEGMENT_RECORDS: u64 = 50_000;
const SEGMENTS: u64 = 4;
/// A checkpoint stands where this many records are before it.
const CHECKPOINT_RECORDS: u64 = 10_000;

/// A log that grows record by record.
struct Log {
    signer: SignerKey,
    dek: Dek,
    tree: Frontier,
    last_hash: Hash,
}

impl Log {
    fn chunks(&self, offset: Offset) -> (RecordKind, Vec<Vec<u8>>) {
        if offset.get() % CHECKPOINT_RECORDS == CHECKPOINT_RECORDS - 1 {
            let checkpoint = Checkpoint {
                origin: self.signer.verifier().name().clone(),
                size: offset.get(),
                root: self.tree.root(),
            };
            return (RecordKind::Checkpoint, vec![checkpoint.sign(&self.signer).into_bytes()]);
        }
        let plaintexts = [
            RecordSummary::default().to_bytes(),
            Change::Event(vec![0x5a; PAYLOAD_BYTES]).to_bytes(),
        ];
        let seal = |(chunk, plaintext): (u32, &Vec<u8>)| self.dek.change_key(TENANT, offset, chunk).seal(plaintext);
        (RecordKind::Data, (0..).zip(&plaintexts).map(seal).collect())
    }

    fn append(&mut self, segment: &mut Vec<u8>) {
        let offset = Offset::new(self.tree.size());
        let (kind, chunks) = self.chunks(offset);
        let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
        let header = RecordHeader {
            kind,
            tenant: TENANT,
            stream: StreamId::new(0),
            offset,
            stream_sequence: StreamSequence::new(offset.get()),
            timestamp: Timestamp::new(1_795_256_130_000_000_000 + offset.get()),
            actor: ActorId::new([1; 16]),
            correlation_id: CorrelationId::new([2; 16]),
            idempotency_id: IdempotencyId::NIL,
            key_epoch: KeyEpoch::ZERO,
            chunk_count: leaves.len().try_into().expect("few"),
            payload_length: Record::body_length(&chunks).try_into().expect("short"),
            payload_hash: merkle_tree_hash(&leaves),
            previous_hash: self.last_hash,
        };
        let bytes = header.encode();
        self.last_hash = record_hash(&bytes);
        self.tree.push(self.last_hash);
        with_crc(segment, &bytes);
        Record { header, chunks }.encode_body(segment);
    }

    fn segment(&mut self, is_last: bool) -> (String, Vec<u8>) {
        let first_offset = Offset::new(self.tree.size());
        let header = SegmentHeader {
            tenant: TENANT,
            first_offset,
            previous_hash: self.last_hash,
        };
        let mut segment = Vec::new();
        with_crc(&mut segment, &header.encode_without_crc());
        let mut records = Frontier::new();
        for _ in 0..SEGMENT_RECORDS {
            self.append(&mut segment);
            records.push(self.last_hash);
        }
        if !is_last {
            let footer = SegmentFooter {
                record_count: records.size(),
                records_root: records.root(),
                last_hash: self.last_hash,
            };
            with_crc(&mut segment, &footer.encode_without_crc());
        }
        (segment_file_name(first_offset), segment)
    }
}

fn with_crc(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
}

fn source((name, bytes): &(String, Vec<u8>)) -> SegmentSource<&[u8]> {
    SegmentSource {
        name: name.clone(),
        reader: bytes,
    }
}

fn verification(criterion: &mut Criterion) {
    let name = KeyName::parse(&format!("cluster.example/{TENANT}")).expect("a name");
    let mut log = Log {
        signer: SignerKey::new(name, SigningKey::from_seed(&SecretBytes::new([3; 32]))),
        dek: Dek::new(SecretBytes::new([4; 32])),
        tree: Frontier::new(),
        last_hash: Hash::ZERO,
    };
    let segments: Vec<_> = (1..=SEGMENTS).map(|number| log.segment(number == SEGMENTS)).collect();
    let options = LogVerifyOptions {
        key: Some(log.signer.verifier().clone()),
        ..LogVerifyOptions::default()
    };
    let mut group = criterion.benchmark_group("verify a log");
    group.sample_size(10);
    group.throughput(Throughput::Elements(SEGMENTS * SEGMENT_RECORDS));
    group.bench_function("quick pass, one core", |bencher| {
        bencher.iter(|| {
            let mut assembly = LogAssembly::new(&options).expect("no checkpoint is given");
            for (index, segment) in segments.iter().enumerate() {
                let digest = digest_segment(source(segment))
                    .expect("memory can be read")
                    .expect("intact");
                assert!(assembly.push(&digest, index + 1 == segments.len()));
            }
            black_box(assembly.finish().expect("intact"))
        });
    });
    group.bench_function("of that, its segments", |bencher| {
        bencher.iter(|| {
            segments
                .iter()
                .for_each(|segment| drop(black_box(digest_segment(source(segment)).expect("memory can be read"))));
        });
    });
    group.bench_function("careful pass", |bencher| {
        bencher.iter(|| black_box(verify_log(segments.iter().map(source), &options).expect("intact")));
    });
    group.finish();
}

criterion_group!(benches, verification);
criterion_main!(benches);
