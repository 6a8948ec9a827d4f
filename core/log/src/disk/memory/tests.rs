//! What the simulated disk does to its users, one test for each kind of harm.

use super::fault::EIO;
use super::*;

const FILE: &str = "/d/f";

fn disk_with_file() -> (MemoryDisk, Arc<dyn DiskFile>) {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new("/d")).expect("created");
    let file = disk.create(Path::new("/d/f")).expect("created");
    (disk, file)
}

#[test]
fn a_crash_drops_what_was_not_synced() {
    let (disk, file) = disk_with_file();
    file.write_all_at(b"synced", 0).expect("written");
    file.sync_data().expect("synced");
    file.write_all_at(b"lost", 0).expect("written");
    assert_eq!(disk.contents(Path::new("/d/f")).as_deref(), Some(&b"losted"[..]));

    let nameless = disk.fork();
    nameless.crash(Crash::DropUnsynced);
    assert_eq!(nameless.paths(), Vec::<PathBuf>::new(), "the name was not synced");

    disk.sync_dir(Path::new("/d")).expect("synced");
    disk.crash(Crash::DropUnsynced);
    assert_eq!(disk.contents(Path::new("/d/f")).as_deref(), Some(&b"synced"[..]));
    assert!(file.len().is_err(), "handles do not survive a crash");
}

#[test]
fn a_lock_is_held_once_and_freed_by_a_crash() {
    let (disk, _file) = disk_with_file();
    let path = Path::new("/d/LOCK");
    let held = disk.lock(path).expect("free");
    assert!(disk.lock(path).is_err());
    assert!(
        disk.fork().lock(path).is_ok(),
        "a copy of the disk is another machine's"
    );
    disk.crash(Crash::Process);
    let after = disk.lock(path).expect("its holder is dead");
    drop(held);
    assert!(disk.lock(path).is_err(), "the dead holder frees nothing");
    drop(after);
    assert!(disk.lock(path).is_ok());
}

#[test]
fn a_torn_write_persists_some_sectors() {
    let (disk, file) = disk_with_file();
    disk.sync_dir(Path::new("/d")).expect("synced");
    file.write_all_at(&vec![7; 16 * SECTOR_BYTES], 0).expect("written");
    disk.crash(Crash::Torn { seed: 1 });
    let bytes = disk.contents(Path::new("/d/f")).expect("the file");
    let persisted = bytes.chunks(SECTOR_BYTES).filter(|sector| sector[0] == 7).count();
    assert!((1..16).contains(&persisted), "{persisted} of 16 sectors");
    assert!(
        bytes
            .chunks(SECTOR_BYTES)
            .all(|sector| sector.iter().all(|&byte| byte == sector[0]))
    );
}

#[test]
fn a_failed_sync_loses_the_writes_for_good() {
    let (disk, file) = disk_with_file();
    disk.sync_dir(Path::new("/d")).expect("synced");
    file.write_all_at(b"abc", 0).expect("written");
    disk.set_fault(Some(Fault {
        call: 0,
        kind: FaultKind::Io,
        sticky: false,
    }));
    assert_eq!(file.sync_data().map_err(|error| error.raw_os_error()), Err(Some(EIO)));
    file.sync_data().expect("the second sync claims success");
    let mut read = [0; 3];
    file.read_exact_at(&mut read, 0).expect("still in the page cache");
    disk.crash(Crash::DropUnsynced);
    assert_eq!(disk.contents(Path::new("/d/f")).as_deref(), Some(&b""[..]));
}

#[test]
fn faults_strike_the_chosen_call() {
    let (disk, file) = disk_with_file();
    disk.set_fault(Some(Fault {
        call: 1,
        kind: FaultKind::ShortWrite,
        sticky: false,
    }));
    file.write_at(b"abcd", 0).expect("written");
    assert_eq!(file.write_at(b"abcd", 0).ok(), Some(2));
    assert_eq!(file.write_at(b"abcd", 0).ok(), Some(4));
    disk.set_fault(Some(Fault {
        call: 1,
        kind: FaultKind::NoSpace,
        sticky: true,
    }));
    file.len().expect("unharmed");
    for _ in 0..3 {
        assert_eq!(
            file.allocate(100).map_err(|error| error.kind()),
            Err(io::ErrorKind::StorageFull)
        );
    }
    assert_eq!(disk.calls(), 4);
}

/// A file whose name is durable, with `writes` unsynced sectors after each other.
fn disk_with_unsynced(writes: u8) -> MemoryDisk {
    let (disk, file) = disk_with_file();
    disk.sync_dir(Path::new("/d")).expect("synced");
    for number in 0..writes {
        let position = u64::from(number) * SECTOR_BYTES as u64;
        file.write_all_at(&[number + 1; SECTOR_BYTES], position)
            .expect("written");
    }
    disk
}

fn sectors(disk: &MemoryDisk) -> Vec<bool> {
    let bytes = disk.contents(Path::new(FILE)).expect("the file");
    bytes.chunks(SECTOR_BYTES).map(|sector| sector[0] != 0).collect()
}

#[test]
fn a_process_crash_keeps_what_was_written_and_a_later_power_cut_does_not() {
    let disk = disk_with_unsynced(3);
    disk.crash(Crash::Process);
    assert_eq!(sectors(&disk), [true; 3]);
    disk.crash(Crash::DropUnsynced);
    assert_eq!(sectors(&disk), []);
}

#[test]
fn writes_are_reordered_or_kept_in_order_as_told() {
    let in_order = |kept: &[bool]| kept.is_sorted_by(|one, next| one >= next);
    let (mut reordered, mut partial) = (0, 0);
    for seed in 0..64 {
        let disk = disk_with_unsynced(8);
        disk.crash(Crash::Reordered { seed });
        reordered += u32::from(!in_order(&sectors(&disk)));
        let disk = disk_with_unsynced(8);
        disk.crash(Crash::InOrder { seed });
        let kept = sectors(&disk);
        assert!(in_order(&kept), "seed {seed}: {kept:?}");
        partial += u32::from((1..8).contains(&kept.len()));
        let again = disk_with_unsynced(8);
        again.crash(Crash::InOrder { seed });
        assert_eq!(sectors(&again), kept, "the same seed, the same disk");
    }
    assert!(
        reordered > 32 && partial > 32,
        "{reordered} reordered, {partial} partial"
    );
}

#[test]
fn a_fork_shares_nothing_but_bytes() {
    let disk = disk_with_unsynced(2);
    let fork = disk.fork();
    fork.flip(Path::new(FILE), 0, 0xff);
    fork.unlink(Path::new(FILE));
    assert_eq!(disk.contents(Path::new(FILE)).map(|bytes| bytes[0]), Some(1));
    fork.transplant(&disk, Path::new(FILE), Path::new("/d/g"));
    fork.crash(Crash::DropUnsynced);
    assert_eq!(fork.paths(), [PathBuf::from("/d/g")]);
    assert_eq!(fork.contents(Path::new("/d/g")).map(|bytes| bytes.len()), Some(1024));
}

#[test]
fn a_lying_sync_keeps_nothing() {
    let disk = disk_with_unsynced(2);
    disk.set_syncs_lie(true);
    let file = disk.open(Path::new(FILE)).expect("opened");
    file.sync_data().expect("claimed");
    assert_eq!(sectors(&disk), [true; 2]);
    disk.crash(Crash::DropUnsynced);
    assert_eq!(sectors(&disk), []);
}

#[test]
fn writes_and_reads_go_astray() {
    let strike = |kind| {
        Some(Fault {
            call: 0,
            kind,
            sticky: false,
        })
    };
    let (disk, file) = disk_with_file();
    file.write_all_at(b"abcdef", 0).expect("written");
    disk.set_fault(strike(FaultKind::LostWrite));
    file.write_all_at(b"XX", 0).expect("claimed");
    disk.set_fault(strike(FaultKind::MisdirectedWrite { distance_bytes: 2 }));
    file.write_all_at(b"YY", 0).expect("claimed");
    file.sync_data().expect("synced");
    assert_eq!(disk.contents(Path::new(FILE)).as_deref(), Some(&b"abYYef"[..]));
    disk.set_fault(strike(FaultKind::MisdirectedRead { distance_bytes: 3 }));
    let mut read = [0; 2];
    file.read_exact_at(&mut read, 0).expect("claimed");
    assert_eq!(&read, b"Ye");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (disk, file) = disk_with_file();
    disk.set_capacity_bytes(Some(10));
    file.allocate(6).expect("fits");
    assert_eq!(file.write_at(b"abcdefgh", 4).ok(), Some(6), "a short write");
    assert_eq!(disk.used_bytes(), 10);
    let full =
        |result: io::Result<()>| assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    full(file.write_all_at(b"x", 10));
    full(file.allocate(11));
    full(file.set_len(11));
    file.write_all_at(b"again", 5).expect("the space is the file's already");
    file.set_len(3).expect("cut");
    let other = disk.create(Path::new("/d/g")).expect("created");
    other.allocate(7).expect("fits again");
    disk.set_capacity_bytes(None);
    other.allocate(70).expect("no limit");
}

#[test]
fn rot_is_seeded_and_durable() {
    let disk = disk_with_unsynced(4);
    let (one, two) = (disk.fork(), disk.fork());
    let rotten = one.rot(7, 3);
    assert_eq!(rotten.len(), 3);
    assert_eq!(two.rot(7, 3), rotten);
    assert_ne!(disk.rot(8, 3), rotten);
    one.crash(Crash::DropUnsynced);
    assert_eq!(one.contents(Path::new(FILE)), two.contents(Path::new(FILE)));
    assert_eq!(MemoryDisk::new().rot(1, 5), []);
}

#[test]
fn the_hook_sees_each_call_before_it_takes_effect() {
    let (disk, file) = disk_with_file();
    disk.set_fault(None);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook: CallHook = {
        let (disk, seen) = (disk.clone(), Arc::clone(&seen));
        Arc::new(move |call: &Call| {
            let length = disk.contents(Path::new(FILE)).map(|bytes| bytes.len());
            seen.lock().push((call.number, call.kind, length));
        })
    };
    disk.set_hook(Some(hook));
    file.write_all_at(b"abc", 0).expect("written");
    file.sync_data().expect("synced");
    disk.sync_dir(Path::new("/d")).expect("synced");
    disk.set_hook(None);
    file.len().expect("a length");
    let expected = [
        (0, CallKind::Write, Some(0)),
        (1, CallKind::Sync, Some(3)),
        (2, CallKind::SyncDir, Some(3)),
    ];
    assert_eq!(*seen.lock(), expected);
    assert!(expected.iter().all(|(_, kind, _)| kind.is_change()));
}
