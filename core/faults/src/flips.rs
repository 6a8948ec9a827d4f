//! Every single byte of a log flipped, and every bit of every header.
//!
//! The logs were closed cleanly, so every record in them is acknowledged and known to be synced. A flipped byte is
//! found when the log is opened or when what it belongs to is read, or it changes nothing: it is in a place that holds
//! nothing, or in something derived that is mended. A write-ahead log that sets damage aside opens, and says that it is
//! incomplete.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_crypto::{LinkedRecord, SecretBytes, record_hash};
use craton_log::testing::MemoryDisk;
use craton_log::{OnDamage, TenantLog, TenantLogError, TenantLogOptions, Vote, Wal, WalEntry, WalError, WalOptions};
use craton_proof::HashReader;
use craton_types::{Hash, LogIndex, NodeId, Offset, Record, Term};

use crate::campaign::{Campaign, Next};
use crate::node::Defect;
use crate::workload::{Command, Decisions, random_fill, record, tenant_id};

/// The lengths of records go up to this.
const RECORD_BYTES_MAX: u64 = 2_048;
/// A log has about this many segments.
const SEGMENTS: u64 = 4;
/// Bytes from a magic number on of which every bit is flipped. No header is longer.
const HEADER_BYTES_MAX: usize = 192;
/// The same for a record of the write-ahead log, of which there are many.
const WAL_RECORD_HEADER_BYTES_MAX: usize = 64;
/// How a record of the write-ahead log begins; its segments go on with a letter.
const WAL_RECORD_MAGIC: &[u8] = b"CRTW";
/// Positions that a thread takes at once.
const POSITIONS_AT_ONCE: usize = 1_024;
/// Every so many cases a log that opened is read through, the others around the flipped byte.
const READ_THROUGH_EVERY: usize = 127;
const WAL_DIR: &str = "/flips/wal";
const LOG_DIR: &str = "/flips/log";

/// What the campaign is run with.
#[derive(Clone, Copy, Debug)]
pub struct FlipOptions {
    /// How long each of the two logs is.
    pub log_bytes: u64,
    /// Every so many bytes one is flipped; 1 flips each.
    pub every: usize,
    /// Decides what is written.
    pub seed: u64,
    /// How many cases go on beside each other.
    pub threads: usize,
    /// A defect to find.
    pub defect: Option<Defect>,
}

/// Runs the campaign.
pub fn run(campaign: &Campaign, options: FlipOptions) {
    let logs = match Logs::write(options) {
        Ok(logs) => logs,
        Err(what) => return campaign.case("0.run", || Err(what)),
    };
    let stretches = logs.stretches();
    campaign.for_each(options.threads, |number| {
        let Some(stretch) = usize::try_from(number).ok().and_then(|number| stretches.get(number)) else {
            return Next::Nothing;
        };
        logs.flip_stretch(campaign, number, stretch);
        Next::More
    });
}

/// A write-ahead log and a tenant log, closed, and what is in them.
struct Logs {
    options: FlipOptions,
    disk: MemoryDisk,
    entries: Vec<WalEntry>,
    /// Those that another leader's entries replaced.
    cut_off: Vec<WalEntry>,
    records: Vec<Record>,
    root: Hash,
}

/// A part of a file.
struct Stretch {
    path: PathBuf,
    start: usize,
    /// Which of its bytes are in headers.
    headers: Vec<bool>,
}

impl Logs {
    fn write(options: FlipOptions) -> Result<Self, String> {
        let mut logs = Self {
            options,
            disk: MemoryDisk::new(),
            entries: Vec::new(),
            cut_off: Vec::new(),
            records: Vec::new(),
            root: Hash::default(),
        };
        let mut decisions = Decisions::new(options.seed);
        let mut wal = logs
            .open_wal(&logs.disk, 0, OnDamage::Refuse)
            .map_err(|error| error.to_string())?;
        let mut written = 0;
        while written < options.log_bytes {
            let length = usize::try_from(decisions.below(RECORD_BYTES_MAX)).expect("short");
            let entry = WalEntry {
                index: LogIndex::new(logs.entries.len() as u64 + 1),
                term: Term::new(1),
                payload: (0..length).map(|_| decisions.next().to_be_bytes()[0]).collect(),
            };
            written += length as u64;
            wal.append(std::slice::from_ref(&entry))
                .map_err(|error| error.to_string())?;
            logs.entries.push(entry);
        }
        logs.conflict(&mut wal).map_err(|error| error.to_string())?;
        wal.mark_synced().map_err(|error| error.to_string())?;
        logs.write_records(&mut decisions).map_err(|error| error.to_string())?;
        Ok(logs)
    }

    /// The last entries are replaced by those of another leader.
    fn conflict(&mut self, wal: &mut Wal) -> Result<(), WalError> {
        let kept = self.entries.len() * 3 / 4;
        wal.note_committed(LogIndex::new(kept as u64));
        for committed in [false, true] {
            wal.record_vote(Vote {
                term: Term::new(2),
                voted_for: NodeId::new(1),
                committed,
            })?;
        }
        wal.truncate_from(LogIndex::new(kept as u64 + 1))?;
        self.cut_off = self.entries[kept..].to_vec();
        for entry in &mut self.entries[kept..] {
            entry.term = Term::new(2);
            entry.payload.reverse();
        }
        wal.append(&self.entries[kept..])
    }

    fn write_records(&mut self, decisions: &mut Decisions) -> Result<(), TenantLogError> {
        let mut log = self.open_log(&self.disk)?;
        let mut previous = Hash::default();
        let mut written = 0;
        while written < self.options.log_bytes {
            let length = usize::try_from(decisions.below(RECORD_BYTES_MAX)).expect("short");
            let command = Command {
                tenant: 0,
                bytes: (0..length).map(|_| decisions.next().to_be_bytes()[0]).collect(),
            };
            let record = record(&command, 1, self.records.len() as u64, previous);
            previous = log.append(&LinkedRecord::new(record.clone()))?;
            written += length as u64;
            self.records.push(record);
        }
        log.publish()?;
        log.sync()?;
        self.root = log.tree().root();
        Ok(())
    }

    fn open_wal(&self, disk: &MemoryDisk, salt: u64, on_damage: OnDamage) -> Result<Wal, WalError> {
        let options = WalOptions {
            segment_bytes: self.segment_bytes(),
            on_damage,
            ..WalOptions::new(NodeId::new(1), SecretBytes::new([9; 32]))
        };
        let random = random_fill(self.options.seed ^ (salt << 32));
        Wal::open(Arc::new(disk.clone()), Path::new(WAL_DIR), options, random).map(|(wal, _)| wal)
    }

    fn open_log(&self, disk: &MemoryDisk) -> Result<TenantLog, TenantLogError> {
        let options = TenantLogOptions {
            segment_bytes: self.segment_bytes(),
        };
        TenantLog::open(Arc::new(disk.clone()), Path::new(LOG_DIR), tenant_id(0), options)
    }

    fn segment_bytes(&self) -> u64 {
        (self.options.log_bytes / SEGMENTS).max(RECORD_BYTES_MAX * 2)
    }

    fn stretches(&self) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        for path in self.disk.paths() {
            let bytes = self.disk.contents(&path).unwrap_or_default();
            let headers = header_bytes(&bytes);
            for (number, headers) in headers.chunks(POSITIONS_AT_ONCE).enumerate() {
                stretches.push(Stretch {
                    path: path.clone(),
                    start: number * POSITIONS_AT_ONCE,
                    headers: headers.to_vec(),
                });
            }
        }
        stretches
    }

    fn flip_stretch(&self, campaign: &Campaign, number: u64, stretch: &Stretch) {
        for (at, is_header) in stretch.headers.iter().enumerate() {
            let position = stretch.start + at;
            if !position.is_multiple_of(self.options.every.max(1)) {
                continue;
            }
            let all_bits: &[u8] = &[1, 2, 4, 8, 16, 32, 64, 128];
            let masks = if *is_header {
                all_bits
            } else {
                &all_bits[at % 8..=at % 8]
            };
            for &mask in masks {
                let case = format!("{number}.{}.{position}.{mask}", stretch.path.display());
                campaign.case(&case, || self.flip(&stretch.path, position, mask));
            }
        }
    }

    fn flip(&self, path: &Path, position: usize, mask: u8) -> Result<&'static str, String> {
        let disk = self.disk.fork();
        disk.flip(path, position as u64, mask);
        if path.starts_with(WAL_DIR) {
            self.check_wal(&disk)
        } else if self.options.defect == Some(Defect::UncheckedReads) {
            self.check_unchecked(&disk)
        } else {
            self.check_log(&disk, path, position)
        }
    }

    fn check_wal(&self, disk: &MemoryDisk) -> Result<&'static str, String> {
        let damaged = disk.fork();
        let wal = match self.open_wal(disk, 1, OnDamage::Refuse) {
            Ok(wal) => wal,
            Err(WalError::Corrupt { .. }) => return self.check_set_aside(&damaged),
            Err(WalError::WrongKey { .. } | WalError::Superblock { .. }) => {
                return Ok("write-ahead log: found when opened");
            }
            Err(error) => return Err(format!("an error that does not name the damage: {error}")),
        };
        if wal.last_index() != self.entries.last().map(|entry| entry.index) {
            return Err(format!(
                "the write-ahead log ends at {:?} without a word",
                wal.last_index()
            ));
        }
        let entries = wal.entries_from(LogIndex::new(1)).map_err(|error| error.to_string())?;
        match entries.collect::<Result<Vec<_>, _>>() {
            Ok(read) if read == self.entries => Ok("write-ahead log: nothing was harmed"),
            Ok(_) => Err("the write-ahead log serves other entries than were written".to_owned()),
            Err(WalError::Corrupt { .. }) => Ok("write-ahead log: found when read"),
            Err(error) => Err(format!("an error that does not name the damage: {error}")),
        }
    }

    /// What precedes damage is served, and nobody takes it for all there was. Entries that were cut off may be there again,
    /// as long as they do not pass for committed.
    fn check_set_aside(&self, disk: &MemoryDisk) -> Result<&'static str, String> {
        let wal = match self.open_wal(disk, 2, OnDamage::SetAside) {
            Ok(wal) => wal,
            Err(error) => return Err(format!("damage is not set aside: {error}")),
        };
        if !wal.is_incomplete() || self.options.defect == Some(Defect::UnmarkedDamage) {
            return Err(format!(
                "the write-ahead log ends at {:?} and does not say that it is incomplete",
                wal.last_index()
            ));
        }
        let entries = wal.entries_from(LogIndex::new(1)).map_err(|error| error.to_string())?;
        let entries = entries
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let kept = self.entries.len() - self.cut_off.len();
        for (at, entry) in entries.iter().enumerate() {
            let was_cut_off = at
                .checked_sub(kept)
                .is_some_and(|at| self.cut_off.get(at) == Some(entry));
            let may_be_cut_off = was_cut_off && entry.index > wal.committed();
            if self.entries.get(at) != Some(entry) && !may_be_cut_off {
                return Err(format!("entry {} is another than was written", entry.index));
            }
        }
        Ok("write-ahead log: set aside, and known to be incomplete")
    }

    fn check_log(&self, disk: &MemoryDisk, path: &Path, position: usize) -> Result<&'static str, String> {
        let log = match self.open_log(disk) {
            Ok(log) => log,
            Err(TenantLogError::Corrupt { .. }) => return Ok("tenant log: found when opened"),
            Err(error) => return Err(format!("an error that does not name the damage: {error}")),
        };
        if log.next_offset().get() != self.records.len() as u64 {
            return Err(format!("the log ends at {} without a word", log.next_offset()));
        }
        if log.tree().root() != self.root {
            return Err("the log has another root".to_owned());
        }
        for (from, count) in self.reads(path, position) {
            match self.read(&log, from, count) {
                Ok(()) => {}
                Err(ReadFault::Found) => return Ok("tenant log: found when read"),
                Err(ReadFault::Served(what)) => return Err(what),
            }
        }
        Ok(if log.recovery().derived_again {
            "tenant log: mended"
        } else {
            "tenant log: nothing was harmed"
        })
    }

    /// The offsets and counts of the records to read.
    fn reads(&self, path: &Path, position: usize) -> Vec<(usize, usize)> {
        let total = self.records.len();
        if position.is_multiple_of(READ_THROUGH_EVERY) {
            return vec![(0, total)];
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let around = match name.strip_suffix(".segment").map(str::parse::<usize>) {
            // Records before the flipped byte fill the segment at least that far.
            Some(Ok(first)) => first + self.offset_at(first, position),
            _ => position / size_of::<Hash>(),
        };
        let around = around.min(total - 1);
        let mut reads = vec![(around.saturating_sub(2), 5)];
        reads.extend((0..8).map(|eighth| (eighth * total / 8, 1)));
        reads
    }

    /// How many records of the segment that begins with record `first` end before `position`.
    fn offset_at(&self, first: usize, position: usize) -> usize {
        let mut end = craton_types::SEGMENT_HEADER_BYTES;
        let overhead = craton_types::HEADER_BYTES + craton_types::RECORD_CRC_BYTES;
        self.records[first..]
            .iter()
            .take_while(|record| {
                end += overhead + record.header.payload_length as usize;
                end <= position
            })
            .count()
    }

    fn read(&self, log: &TenantLog, from: usize, count: usize) -> Result<(), ReadFault> {
        let expected = &self.records[from..self.records.len().min(from + count)];
        let reader = log.reader();
        let read = reader.read_range(Offset::new(from as u64), count, u64::MAX);
        if read.map_err(found)? != expected {
            return Err(ReadFault::Served(format!("other records than were written at {from}")));
        }
        for (offset, record) in (from as u64..).zip(expected) {
            if reader.hash(0, offset).map_err(found)? != record_hash(&record.header.encode()) {
                return Err(ReadFault::Served(format!("another hash of record {offset}")));
            }
        }
        Ok(())
    }

    /// What a log would serve that takes the bytes of its segments for granted: the campaign must notice.
    fn check_unchecked(&self, disk: &MemoryDisk) -> Result<&'static str, String> {
        for path in self.disk.paths() {
            let is_segment = path.extension().is_some_and(|extension| extension == "segment");
            if is_segment && disk.contents(&path) != self.disk.contents(&path) {
                return Err("served without a check".to_owned());
            }
        }
        Ok("tenant log: nothing was harmed")
    }
}

enum ReadFault {
    /// The log says that something is damaged.
    Found,
    /// It serves what was not written, or fails with another error.
    Served(String),
}

fn found(error: TenantLogError) -> ReadFault {
    match error {
        TenantLogError::Corrupt { .. } => ReadFault::Found,
        error => ReadFault::Served(format!("an error that does not name the damage: {error}")),
    }
}

/// Which bytes are in headers: all formats begin theirs with `CRT` and a letter. Files shorter than a header are one.
fn header_bytes(bytes: &[u8]) -> Vec<bool> {
    let mut headers = vec![bytes.len() <= HEADER_BYTES_MAX; bytes.len()];
    for (at, window) in bytes.windows(4).enumerate() {
        if window.starts_with(b"CRT") && window[3].is_ascii_uppercase() {
            let is_wal_record = window == WAL_RECORD_MAGIC && bytes.get(at + 4).is_none_or(|byte| *byte != b'A');
            let length = if is_wal_record {
                WAL_RECORD_HEADER_BYTES_MAX
            } else {
                HEADER_BYTES_MAX
            };
            let end = bytes.len().min(at + length);
            headers[at..end].fill(true);
        }
    }
    headers
}
