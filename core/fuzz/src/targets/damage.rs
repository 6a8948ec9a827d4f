//! Whole logs with bytes changed: what was written is served, or the damage is found.

use std::path::Path;

use craton_log::testing::MemoryDisk;
use craton_log::{OnDamage, TenantLogError, WalEntry, WalError};
use craton_proof::{LogAssembly, LogSummary, LogVerifyOptions, SegmentSource, digest_segment, verify_log};
use craton_types::{LogIndex, Offset};

use super::Parser;
use crate::edits::{Edit, apply, edits};
use crate::world::{
    File, LOG_DIR, WAL_DIR, cut_off_entry, open_tenant_log, open_wal, tenant_files, wal_entries, wal_files, world,
};

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "write-ahead log",
        parse: write_ahead_log,
        seeds,
    },
    Parser {
        name: "tenant log",
        parse: tenant_log,
        seeds,
    },
    Parser {
        name: "offline verification",
        parse: verification,
        seeds: || vec![vec![]],
    },
];

/// Nothing changed; a flip of no bits; a change past every end.
fn seeds() -> Vec<Vec<u8>> {
    vec![vec![], vec![0, 0, 0, 0, 0], vec![1, 1, 0xff, 0xff, 9]]
}

/// The files of a log after the changes that an input asks for, and how many changes those are.
fn changed(files: &[File], input: &[u8]) -> (Vec<File>, Vec<Edit>) {
    let mut files = files.to_vec();
    let mut applied = Vec::new();
    for (file, edit) in edits(input) {
        let number = file % files.len();
        let bytes = &mut files[number].1;
        let before = bytes.clone();
        apply(edit, bytes);
        if *bytes != before {
            applied.push(edit);
        }
    }
    (files, applied)
}

fn disk_of(dir: &str, files: &[File]) -> MemoryDisk {
    use craton_log::Disk as _;

    let disk = MemoryDisk::new();
    disk.create_dir(Path::new(dir)).expect("an empty disk takes a folder");
    for (name, bytes) in files {
        let file = disk
            .create(&Path::new(dir).join(name))
            .expect("an empty disk takes a file");
        file.write_all_at(bytes, 0).expect("an empty disk takes bytes");
        file.sync_all().expect("in memory");
    }
    disk
}

/// Records are encrypted and authenticated under a key that no input has: however many bytes are changed, the entries are
/// served as they were appended, or not at all. Where damage is set aside, the first of them are, and the log says that it
/// is incomplete.
fn write_ahead_log(input: &[u8]) -> bool {
    let (files, _) = changed(wal_files(), input);
    let wal = match open_wal(&disk_of(WAL_DIR, &files), OnDamage::Refuse) {
        Ok(wal) => wal,
        Err(WalError::Corrupt { .. }) => {
            check_set_aside(&files);
            return false;
        }
        Err(WalError::WrongKey { .. } | WalError::Superblock { .. } | WalError::Heads { .. }) => return false,
        Err(error) => panic!("an error that does not name the damage: {error}"),
    };
    let expected = wal_entries();
    assert_eq!(
        wal.last_index(),
        expected.last().map(|entry| entry.index),
        "the log ends elsewhere"
    );
    let read = wal
        .entries_from(LogIndex::new(1))
        .expect("nothing was purged")
        .collect::<Result<Vec<_>, _>>();
    match read {
        Ok(entries) => assert_eq!(entries, expected, "other entries than were appended"),
        Err(WalError::Corrupt { .. }) => return false,
        Err(error) => panic!("an error that does not name the damage: {error}"),
    }
    true
}

fn check_set_aside(files: &[File]) {
    let wal = match open_wal(&disk_of(WAL_DIR, files), OnDamage::SetAside) {
        Ok(wal) => wal,
        Err(WalError::WrongKey { .. }) => return,
        Err(error) => panic!("damage is not set aside: {error}"),
    };
    assert!(wal.is_incomplete(), "nobody is told that entries may be missing");
    let read = wal.entries_from(LogIndex::new(1)).expect("nothing was purged");
    let read: Vec<WalEntry> = read.map(|entry| entry.expect("what is left is whole")).collect();
    let mut appended = wal_entries();
    appended.push(cut_off_entry());
    assert!(appended.starts_with(&read), "other entries than were appended");
    assert!(
        wal.committed() < cut_off_entry().index,
        "what was cut off passes for committed"
    );
}

/// A single change is found or mended. Whoever changes more can also make the checksums match, and only signed checkpoints
/// find that; so then nothing is asked but an orderly answer.
fn tenant_log(input: &[u8]) -> bool {
    let (files, applied) = changed(tenant_files(), input);
    let log = match open_tenant_log(&disk_of(LOG_DIR, &files)) {
        Ok(log) => log,
        Err(TenantLogError::Corrupt { .. }) => return false,
        Err(error) => panic!("an error that does not name the damage: {error}"),
    };
    let read = log.reader().read_range(Offset::ZERO, usize::MAX, u64::MAX);
    let records = match read {
        Ok(records) => records,
        Err(TenantLogError::Corrupt { .. }) => return false,
        Err(error) => panic!("an error that does not name the damage: {error}"),
    };
    if let [] | [Edit::Flip { .. } | Edit::Set { .. } | Edit::Cut { .. }] = applied[..] {
        assert_eq!(records, world().records, "other records than were appended");
    }
    true
}

/// What the quick pass accepts, the careful one accepts as the same; and with a checkpoint from elsewhere at hand, what that
/// covers is as it was, however many bytes are changed.
fn verification(input: &[u8]) -> bool {
    let original = world().segments();
    let (files, _) = changed(&original, input);
    let options = LogVerifyOptions {
        key: Some(world().signer.verifier().clone()),
        checkpoint: world().notes.last().cloned(),
        allow_torn_tail: input.len() % 2 == 1,
        ..LogVerifyOptions::default()
    };
    let careful = verify_log(files.iter().map(source), &options);
    let quick = verify_quickly(&files, &options);
    if let Some(quick) = &quick {
        let careful = careful
            .as_ref()
            .expect("the careful pass accepts what the quick one accepts");
        assert_eq!(quick, careful);
    }
    if careful.is_ok() {
        for ((name, bytes), (_, original)) in files.iter().zip(&original) {
            assert!(bytes.starts_with(original), "a changed record verifies in {name}");
        }
    }
    careful.is_ok()
}

fn source(file: &File) -> SegmentSource<&[u8]> {
    SegmentSource {
        name: file.0.clone(),
        reader: file.1.as_slice(),
    }
}

fn verify_quickly(files: &[File], options: &LogVerifyOptions) -> Option<LogSummary> {
    let mut assembly = LogAssembly::new(options).ok()?;
    for (index, file) in files.iter().enumerate() {
        let digest = digest_segment(source(file)).expect("memory can be read")?;
        if !assembly.push(&digest, index + 1 == files.len()) {
            return None;
        }
    }
    assembly.finish().ok()
}
