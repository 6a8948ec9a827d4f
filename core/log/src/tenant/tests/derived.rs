//! Hashes and indexes, which follow from the records.

use super::*;

#[test]
fn hashes_prove_every_record() {
    let disk = MemoryDisk::new();
    let mut log = open_with(&disk, 40_000).expect("created");
    let records = records(1_000);
    append_all(&mut log, &records[..700]).expect("appended");
    log.publish().expect("published");
    check_hashes(&log, &records[..700]).expect("all hashes");
    for (level, index) in [
        (0, 700),
        (9, 1),
        (10, 0),
        (63, 0),
        (64, 0),
        (255, 0),
        (0, u64::MAX),
        (8, u64::MAX >> 8),
    ] {
        let beyond = log.reader().hash(level, index);
        assert!(
            matches!(beyond, Err(TenantLogError::BeyondEnd { size: 700, .. })),
            "{level} {index}: {beyond:?}"
        );
    }
    log.sync().expect("synced");
    drop(log);
    let mut log = open_with(&disk, 40_000).expect("opened");
    append_all(&mut log, &records[700..]).expect("appended");
    log.publish().expect("published");
    check_hashes(&log, &records).expect("all hashes");
    let root = log.tree().root();
    for index in [0, 1, 255, 256, 511, 700, 999] {
        let proof = inclusion_proof(&log.reader(), index, 1_000).expect("a proof");
        let leaf = record_hash(&records[usize::try_from(index).expect("small")].header.encode());
        verify_inclusion(leaf, index, 1_000, &proof, &root).expect("included");
    }
}

/// Three tile levels: more than 65,536 records.
#[test]
fn hashes_of_a_long_log_are_found_and_mended() {
    const COUNT: u64 = 70_000;
    const SEGMENT_BYTES: u64 = 400_000;
    let disk = MemoryDisk::new();
    let mut log = open_with(&disk, SEGMENT_BYTES).expect("created");
    let mut leaves = Vec::new();
    let mut previous_hash = Hash::default();
    for offset in 0..COUNT {
        previous_hash = log
            .append(&linked(&record_with(offset, previous_hash, vec![])))
            .expect("appended");
        leaves.push(previous_hash);
    }
    log.sync().expect("synced");
    let root = log.tree().root();
    drop(log);
    assert_eq!(files(&disk, ".hashes").len(), 3);
    let samples = [(0, 69_999), (3, 11), (8, 3), (8, 256), (12, 4), (15, 1), (16, 0)];
    let check = |log: &TenantLog| {
        assert_eq!(log.tree().root(), root);
        for (level, index) in samples {
            let start = usize::try_from(index << level).expect("small");
            let expected = merkle_tree_hash(&leaves[start..start + (1 << level)]);
            assert_eq!(
                log.reader().hash(level, index).expect("a hash"),
                expected,
                "level {level} index {index}"
            );
        }
    };
    let log = open_with(&disk, SEGMENT_BYTES).expect("opened");
    assert!(!log.recovery().derived_again);
    check(&log);
    drop(log);
    // Damage in full tiles of both lower levels is mended when it is met.
    let whole: Vec<_> = files(&disk, ".hashes").iter().map(|path| disk.contents(path)).collect();
    disk.tamper(&files(&disk, ".hashes")[0], |bytes| bytes[11 * 8 * 32] ^= 1);
    disk.tamper(&files(&disk, ".hashes")[1], |bytes| bytes[3 * 32] ^= 1);
    let log = open_with(&disk, SEGMENT_BYTES).expect("opened");
    assert!(!log.recovery().derived_again, "full tiles are not read when opening");
    check(&log);
    let mended: Vec<_> = files(&disk, ".hashes").iter().map(|path| disk.contents(path)).collect();
    assert!(whole == mended, "the files are as before");
}

#[test]
fn derived_files_are_derived_again() {
    type Damage = fn(&MemoryDisk);
    let cases: [(&str, Damage); 7] = [
        ("the hashes are missing", |disk| {
            disk.remove(&files(disk, ".hashes")[0]).expect("removed")
        }),
        ("upper hashes are missing", |disk| {
            disk.remove(&files(disk, ".hashes")[1]).expect("removed")
        }),
        ("the hashes are cut", |disk| {
            disk.tamper(&files(disk, ".hashes")[0], |bytes| bytes.truncate(100));
        }),
        ("the newest hashes before the last segment are damaged", |disk| {
            let last = files(disk, ".segment").pop().expect("segments");
            let first: usize = last
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .parse()
                .expect("a number");
            disk.tamper(&files(disk, ".hashes")[0], |bytes| bytes[first * 32 - 1] ^= 1);
        }),
        ("an index is missing", |disk| {
            disk.remove(&files(disk, ".index")[1]).expect("removed")
        }),
        ("the last index is cut", |disk| {
            disk.tamper(files(disk, ".index").last().expect("indexes"), |bytes| {
                bytes.truncate(30)
            });
        }),
        ("an index is another's", |disk| {
            let other = disk.contents(&files(disk, ".index")[0]).expect("the index");
            disk.tamper(&files(disk, ".index")[1], |bytes| *bytes = other);
        }),
    ];
    let records = records(300);
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records).expect("appended");
    log.sync().expect("synced");
    drop(log);
    for (case, damage) in cases {
        let disk = disk.fork();
        damage(&disk);
        let log = open(&disk).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(log.recovery().derived_again, "{case}");
        assert_eq!(all(&log).expect("readable"), records, "{case}");
        check_hashes(&log, &records).expect("all hashes");
        drop(log);
        let log = open(&disk).expect("opened");
        assert!(!log.recovery().derived_again, "{case}: once is enough");
    }
}

#[test]
fn an_index_that_points_elsewhere_costs_time_only() {
    let disk = MemoryDisk::new();
    let records = records(300);
    let mut log = open_with(&disk, 60_000).expect("created");
    append_all(&mut log, &records).expect("appended");
    log.publish().expect("published");
    assert_eq!(files(&disk, ".segment").len(), 2);
    let index = files(&disk, ".index")[0].clone();
    disk.tamper(&index, |bytes| {
        let length = bytes.len();
        bytes[length - 20..].fill(0xff);
    });
    assert_eq!(all(&log).expect("readable"), records);
    disk.remove(&index).expect("removed");
    for offset in [0, 63, 64, 150, 299] {
        let read = log.reader().read(Offset::new(offset)).expect("readable");
        assert_eq!(read.as_ref(), records.get(usize::try_from(offset).expect("small")));
    }
}
