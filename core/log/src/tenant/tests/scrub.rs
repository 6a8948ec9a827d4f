//! A scrub names every damaged record, goes on behind it, and mends what is derived.

use super::*;

fn scrub_all(log: &TenantLog) -> (u64, Vec<(u64, &'static str)>) {
    let reader = log.reader();
    let mut from = Offset::ZERO;
    let (mut bytes, mut damaged) = (0, Vec::new());
    loop {
        let step = reader.scrub(from, 700).expect("the disk reads");
        if step.next == from {
            return (bytes, damaged);
        }
        from = step.next;
        bytes += step.bytes;
        damaged.extend(step.damaged.into_iter().map(|(offset, field)| (offset.get(), field)));
    }
}

fn log_of(count: u64, segment_bytes: u64) -> (MemoryDisk, TenantLog) {
    let disk = MemoryDisk::new();
    let mut log = open_with(&disk, segment_bytes).expect("created");
    append_all(&mut log, &records(count)).expect("appended");
    log.publish().expect("published");
    (disk, log)
}

#[test]
fn every_flipped_byte_of_a_running_log_is_named() {
    let (disk, log) = log_of(40, SEGMENT_BYTES);
    let (bytes, damaged) = scrub_all(&log);
    assert!(damaged.is_empty() && bytes > 4 * SEGMENT_BYTES, "{bytes} {damaged:?}");
    let segments = files(&disk, ".segment");
    for path in [&segments[1], segments.last().expect("segments")] {
        let first: u64 = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .parse()
            .expect("a number");
        let length = disk.contents(path).expect("the segment").len();
        let footer = if path == &segments[1] { SEGMENT_FOOTER_BYTES } else { 0 };
        for at in SEGMENT_HEADER_BYTES + 4..length - footer {
            disk.flip(path, at as u64, 0x20);
            let (_, damaged) = scrub_all(&log);
            assert!(!damaged.is_empty(), "{} byte {at}", path.display());
            assert!(damaged[0].0 >= first, "{damaged:?}");
            disk.flip(path, at as u64, 0x20);
        }
    }
    assert_eq!(scrub_all(&log).1, [], "nothing was changed");
}

#[test]
fn records_behind_a_damaged_one_are_still_checked() {
    let (disk, log) = log_of(300, 1024 * 1024);
    let path = files(&disk, ".segment").pop().expect("the segment");
    let length = disk.contents(&path).expect("the segment").len();
    // The last bytes of the last record's body, and one in the header of an early record.
    disk.flip(&path, length as u64 - 6, 1);
    disk.flip(&path, SEGMENT_HEADER_BYTES as u64 + 40, 1);
    let (_, damaged) = scrub_all(&log);
    let offsets: Vec<u64> = damaged.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [0, 299], "{damaged:?}");
}

#[test]
fn derived_files_are_mended_while_the_log_runs() {
    let (disk, log) = log_of(600, SEGMENT_BYTES);
    let reader = log.reader();
    assert_eq!(reader.mend_indexes().expect("checked"), Vec::<String>::new());
    let whole: Vec<_> = disk
        .paths()
        .into_iter()
        .map(|path| (disk.contents(&path), path))
        .collect();

    let indexes = files(&disk, ".index");
    disk.flip(&indexes[0], 30, 1);
    disk.unlink(&indexes[2]);
    let names: Vec<String> = [&indexes[0], &indexes[2]]
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .into();
    assert_eq!(reader.mend_indexes().expect("mended"), names);
    // A tile that was never read, and one that is kept in memory.
    reader.hash(0, 5).expect("a hash");
    let hashes = Path::new(DIR).join("level-0.hashes");
    disk.flip(&hashes, 32 * 5, 1);
    disk.flip(&hashes, 32 * 300, 1);
    assert_eq!(scrub_all(&log).1, []);
    assert_eq!(reader.tiles_mended(), 2);
    for (contents, path) in whole {
        assert_eq!(disk.contents(&path), contents, "{}", path.display());
    }
}
