//! A small log, made of real records: two tables, two streams, three segments, three checkpoints.

use craton_crypto::{ChangeKey, Dek, SecretBytes, SigningKey, chunk_hash, record_hash};
use craton_proof::{
    Checkpoint, Cosigner, Frontier, KeyName, LogAssembly, LogSummary, LogVerifyError, LogVerifyOptions, Note, Receipt,
    ReceiptParts, SegmentSource, SignerKey, StateCommitment, digest_segment, inclusion_proof, merkle_tree_hash,
    verify_log,
};
use craton_types::{
    ActorId, Change, CorrelationId, HEADER_BYTES, Hash, IdempotencyId, KeyEpoch, Offset, RECORD_CRC_BYTES, Record,
    RecordHeader, RecordKind, RecordSummary, Row, RowChange, SegmentFooter, SegmentHeader, StreamId, StreamSequence,
    TableId, TableSummary, TenantId, Timestamp, Value, segment_file_name,
};

pub(crate) const FRAMED_HEADER_BYTES: usize = HEADER_BYTES + RECORD_CRC_BYTES;
pub(crate) const TENANT: TenantId = TenantId::new([0x7e; 16]);
pub(crate) const RECORDS: u64 = 22;
/// The offsets of the checkpoint records, and how many records each covers.
pub(crate) const CHECKPOINTS: [(u64, u64); 3] = [(7, 7), (14, 12), (19, 19)];
/// The first offsets of the segments.
pub(crate) const SEGMENTS: [u64; 3] = [0, 9, 16];

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    pub(crate) notes: Vec<String>,
    pub(crate) signer: SignerKey,
}

/// A segment file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// What a byte of a segment file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    SegmentHeader { first_offset: u64 },
    RecordHeader { offset: u64, index: usize },
    RecordBody { offset: u64 },
    Footer { next_offset: u64 },
}

pub(crate) fn signer(seed: u8, name: &str) -> SignerKey {
    let key = SigningKey::from_seed(&SecretBytes::new([seed; 32]));
    SignerKey::new(KeyName::parse(name).expect("a name"), key)
}

pub(crate) fn log_signer() -> SignerKey {
    signer(0x51, &format!("cluster.example/{TENANT}"))
}

/// A witness, from 1 to 9.
pub(crate) fn cosigner(number: u8) -> Cosigner {
    let key = SigningKey::from_seed(&SecretBytes::new([0x60 + number; 32]));
    Cosigner::new(
        KeyName::parse(&format!("witness.example/w{number}")).expect("a name"),
        key,
    )
}

/// A receipt with cosignatures of its checkpoint, one second apart.
pub(crate) fn cosigned(receipt: &str, cosigners: &[Cosigner]) -> String {
    let (proof, note) = receipt.split_once("\n\n").expect("a checkpoint");
    let mut note = Note::parse(note.as_bytes()).expect("a note");
    for (time, cosigner) in (1_795_256_131..).zip(cosigners) {
        note.add(cosigner.cosign(&note, time).expect("a checkpoint"))
            .expect("room");
    }
    format!("{proof}\n\n{note}")
}

pub(crate) fn dek() -> Dek {
    Dek::new(SecretBytes::new([0xde; 32]))
}

pub(crate) fn change_key(offset: u64, chunk: u32) -> ChangeKey {
    dek().change_key(TENANT, Offset::new(offset), chunk)
}

pub(crate) fn person(id: i64, name: &str) -> Row {
    vec![Value::Int(id), Value::Text(name.to_owned()), Value::Date(20_000)]
}

fn summary(stream: Option<&str>) -> RecordSummary {
    RecordSummary {
        tables: vec![TableSummary {
            id: TableId::FIRST_USER,
            name: "people".to_owned(),
            columns: vec!["id".to_owned(), "name".to_owned(), "joined".to_owned()],
            primary_key: vec![0],
        }],
        stream: stream.map(str::to_owned),
        data_class: None,
    }
}

/// What a checkpoint says about the rows after `size` records; not that these are the rows.
fn state_commitment(size: u64) -> StateCommitment {
    StateCommitment {
        size,
        root: Hash::new([0x5a; 32]),
        key: Hash::new([0x5b; 32]),
    }
}

/// The changes of the data record at `offset`.
fn changes(offset: u64) -> Vec<Change> {
    let id = offset.cast_signed();
    let row = |before, after| {
        Change::Row(RowChange {
            table: TableId::FIRST_USER,
            before,
            after,
        })
    };
    match offset % 4 {
        0 => vec![
            row(None, Some(person(id, "Ada"))),
            row(None, Some(person(id + 100, "Grace"))),
        ],
        1 => vec![row(Some(person(id, "Ada")), Some(person(id, "Ada L.")))],
        2 => vec![Change::Event(format!("event {offset}").into_bytes())],
        _ => vec![row(Some(person(id, "Ada L.")), None)],
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::with_signer(log_signer())
    }

    pub(crate) fn with_signer(signer: SignerKey) -> Self {
        let mut log = Self {
            records: Vec::new(),
            notes: Vec::new(),
            signer,
        };
        let mut sequences = [0, 0];
        for offset in 0..RECORDS {
            let covers = CHECKPOINTS.iter().find(|(at, _)| *at == offset).map(|(_, size)| *size);
            let (kind, stream, chunks) = match covers {
                Some(size) => {
                    log.notes.push(log.checkpoint(size));
                    let note = log.notes.last().expect("just made");
                    let chunks = vec![note.clone().into_bytes(), state_commitment(size).to_bytes().to_vec()];
                    (RecordKind::Checkpoint, 0, chunks)
                }
                None => {
                    let stream = usize::from(offset % 4 == 2);
                    let summary = summary((stream == 1).then_some("orders")).to_bytes();
                    let plaintexts =
                        std::iter::once(summary).chain(changes(offset).into_iter().map(|change| change.to_bytes()));
                    let chunks = (0..)
                        .zip(plaintexts)
                        .map(|(chunk, plain)| change_key(offset, chunk).seal(&plain));
                    (RecordKind::Data, stream, chunks.collect())
                }
            };
            let header = RecordHeader {
                kind,
                tenant: TENANT,
                stream: StreamId::new(stream as u64),
                offset: Offset::new(offset),
                stream_sequence: StreamSequence::new(sequences[stream]),
                timestamp: Timestamp::new(1_795_256_130_000_000_000 + offset / 2 * 1_000_000),
                actor: ActorId::new([0xac; 16]),
                correlation_id: CorrelationId::new([0xc0; 16]),
                idempotency_id: IdempotencyId::NIL,
                key_epoch: KeyEpoch::ZERO,
                chunk_count: 0,
                payload_length: 0,
                payload_hash: Hash::ZERO,
                previous_hash: Hash::ZERO,
            };
            sequences[stream] += 1;
            log.records.push(Record { header, chunks });
            log.relink(offset);
        }
        log
    }

    /// Recomputes everything that follows from the records' contents, from `offset` on: lengths, payload hashes
    /// and links. What someone does who changes a record and wants it to go unnoticed.
    pub(crate) fn relink(&mut self, offset: u64) {
        for index in usize::try_from(offset).expect("small")..self.records.len() {
            let previous_hash = index.checked_sub(1).map_or(Hash::ZERO, |before| self.hash(before));
            let Record { header, chunks } = &mut self.records[index];
            let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
            header.chunk_count = leaves.len().try_into().expect("few");
            header.payload_length = Record::body_length(chunks).try_into().expect("short");
            header.payload_hash = merkle_tree_hash(&leaves);
            header.previous_hash = previous_hash;
        }
    }

    fn hash(&self, index: usize) -> Hash {
        record_hash(&self.records[index].header.encode())
    }

    pub(crate) fn hashes(&self) -> Vec<Hash> {
        (0..self.records.len()).map(|index| self.hash(index)).collect()
    }

    /// A signed checkpoint of the first `size` records.
    pub(crate) fn checkpoint(&self, size: u64) -> String {
        let checkpoint = Checkpoint {
            origin: self.signer.verifier().name().clone(),
            size,
            root: merkle_tree_hash(&self.hashes()[..usize::try_from(size).expect("small")]),
        };
        checkpoint.sign(&self.signer)
    }

    /// A receipt for some changes of the record at `offset`, under the last checkpoint.
    pub(crate) fn receipt(&self, offset: u64, changes: &[u32]) -> String {
        let (_, size) = CHECKPOINTS[2];
        self.receipt_under(offset, changes, size)
    }

    pub(crate) fn receipt_under(&self, offset: u64, changes: &[u32], size: u64) -> String {
        let parts = ReceiptParts {
            record: &self.records[usize::try_from(offset).expect("small")],
            changes,
            change_key: &|chunk| change_key(offset, chunk),
            cell_key: &|_| None,
            path: inclusion_proof(&self.hashes()[..], offset, size).expect("covered"),
            checkpoint: self.checkpoint(size),
        };
        Receipt::build(parts).expect("a data record").to_string()
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.segments_starting_at(&SEGMENTS)
    }

    pub(crate) fn segments_starting_at(&self, starts: &[u64]) -> Vec<Segment> {
        let ends = starts[1..].iter().copied().chain([self.records.len() as u64]);
        let segment = |(index, (&start, end)): (usize, (&u64, u64))| {
            let range = usize::try_from(start).expect("small")..usize::try_from(end).expect("small");
            let hashes = &self.hashes()[range.clone()];
            let header = SegmentHeader {
                tenant: TENANT,
                first_offset: Offset::new(start),
                previous_hash: self.records[range.start].header.previous_hash,
            };
            let mut bytes = with_crc(&header.encode_without_crc());
            for record in &self.records[range] {
                bytes.extend(with_crc(&record.header.encode()));
                record.encode_body(&mut bytes);
            }
            if index + 1 < starts.len() {
                let mut tree = Frontier::new();
                hashes.iter().for_each(|hash| tree.push(*hash));
                let footer = SegmentFooter {
                    record_count: tree.size(),
                    records_root: tree.root(),
                    last_hash: *hashes.last().expect("no empty segment"),
                };
                bytes.extend(with_crc(&footer.encode_without_crc()));
            }
            Segment {
                name: segment_file_name(Offset::new(start)),
                bytes,
            }
        };
        starts.iter().zip(ends).enumerate().map(segment).collect()
    }

    /// The options of someone who holds the log's key.
    pub(crate) fn options(&self) -> LogVerifyOptions {
        LogVerifyOptions {
            key: Some(self.signer.verifier().clone()),
            ..LogVerifyOptions::default()
        }
    }
}

pub(crate) fn with_crc(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc32c::crc32c(bytes).to_be_bytes()].concat()
}

fn source(segment: &Segment) -> SegmentSource<&[u8]> {
    SegmentSource {
        name: segment.name.clone(),
        reader: segment.bytes.as_slice(),
    }
}

/// The careful pass. What it refuses, the quick one must refuse as well; what both accept, they must describe alike.
pub(crate) fn verify(segments: &[Segment], options: &LogVerifyOptions) -> Result<LogSummary, LogVerifyError> {
    let careful = verify_log(segments.iter().map(source), options);
    match (verify_quickly(segments, options), &careful) {
        (Some(quick), Ok(careful)) => assert_eq!(&quick, careful),
        (Some(_), Err(error)) => panic!("the quick pass accepts what the careful one refuses: {error}"),
        (None, _) => {}
    }
    careful
}

pub(crate) fn verify_quickly(segments: &[Segment], options: &LogVerifyOptions) -> Option<LogSummary> {
    let mut assembly = LogAssembly::new(options).ok()?;
    for (index, segment) in segments.iter().enumerate() {
        let digest = digest_segment(source(segment)).expect("memory can be read")?;
        if !assembly.push(&digest, index + 1 == segments.len()) {
            return None;
        }
    }
    assembly.finish().ok()
}

/// What every byte of every segment belongs to.
pub(crate) fn places(log: &Log, segments: &[Segment]) -> Vec<Vec<Place>> {
    let mut offset = 0;
    let mut all = Vec::new();
    for segment in segments {
        let mut places = vec![Place::SegmentHeader { first_offset: offset }; 68];
        while places.len() + 80 < segment.bytes.len() {
            let header = &log.records[usize::try_from(offset).expect("small")].header;
            places.extend((0..FRAMED_HEADER_BYTES).map(|index| Place::RecordHeader { offset, index }));
            places.extend(vec![Place::RecordBody { offset }; header.payload_length as usize]);
            offset += 1;
        }
        let rest = segment.bytes.len() - places.len();
        places.extend(vec![Place::Footer { next_offset: offset }; rest]);
        all.push(places);
    }
    assert_eq!(offset, RECORDS);
    all
}
