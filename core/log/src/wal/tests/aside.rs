//! Damage that is set aside: the log opens with what precedes it, says that it is incomplete, and keeps the rest.

use super::*;
use crate::disk::Disk as _;

fn open_aside(disk: &MemoryDisk) -> Result<(Wal, WalRecovery), WalError> {
    let options = WalOptions {
        on_damage: OnDamage::SetAside,
        ..options()
    };
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options, random())
}

fn vote(term: u64) -> Vote {
    Vote {
        term: Term::new(term),
        voted_for: NodeId::new(2),
        committed: true,
    }
}

/// Entries 1 to 29 and votes in several segments, some of them written by an earlier process; closed.
fn closed() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for index in 1..10 {
        wal.append(&entries(index..index + 1)).expect("appended");
    }
    wal.record_vote(vote(50)).expect("voted");
    drop(wal);
    let (mut wal, _) = open(&disk).expect("opened");
    for first in (10..28).step_by(3) {
        let batch = (first..first + 3).map(|index| WalEntry {
            term: Term::new(50),
            ..entry(index)
        });
        wal.append(&batch.collect::<Vec<_>>()).expect("appended");
    }
    wal.record_vote(vote(60)).expect("voted");
    wal.append(&[WalEntry {
        term: Term::new(60),
        ..entry(28)
    }])
    .expect("appended");
    wal.mark_synced().expect("marked");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    disk
}

/// What was set aside is in its files, byte for byte.
fn check_kept(disk: &MemoryDisk, damaged: &MemoryDisk, recovery: &WalRecovery, case: &str) {
    for torn in &recovery.set_aside {
        assert!(torn.was_synced, "{case}");
        let path = Path::new(DIR).join(format!("{:020}.wal", torn.segment));
        let Some(bytes) = damaged.contents(&path) else {
            assert_eq!((torn.start, torn.end), (0, 0), "{case}");
            continue;
        };
        let range = usize::try_from(torn.start).expect("small")..usize::try_from(torn.end).expect("small");
        let kept = disk.contents(&Path::new(DIR).join(torn.file_name()));
        assert_eq!(kept.as_deref(), Some(&bytes[range]), "{case}: {torn:?}");
    }
}

/// Opens a damaged log, goes on with it, and returns how many entries were left, unless nothing was lost.
fn opens_with_less(damaged: &MemoryDisk, complete: &[WalEntry], case: &str) -> Option<usize> {
    let disk = damaged.fork();
    let refused = open(&damaged.fork());
    let (mut wal, recovery) = open_aside(&disk).unwrap_or_else(|error| panic!("{case}: {error}"));
    let kept = all(&wal).expect("readable");
    assert!(complete.starts_with(&kept), "{case}: other entries than were appended");
    match refused {
        // Without anything to set aside it makes no difference.
        Ok((refused, _)) => {
            assert_eq!(
                (wal.is_incomplete(), all(&refused).expect("readable")),
                (false, kept),
                "{case}"
            );
            assert_eq!(recovery.set_aside, [], "{case}");
            return None;
        }
        Err(WalError::Corrupt { .. }) => assert!(wal.is_incomplete(), "{case}: a shorter log without a word"),
        Err(error) => panic!("{case}: {error}"),
    }
    assert!(!recovery.set_aside.is_empty(), "{case}: nothing is reported");
    check_kept(&disk, damaged, &recovery, case);

    let next = wal.next_index().get();
    assert_eq!(next, kept.len() as u64 + 1, "{case}");
    let later = WalEntry {
        term: Term::new(70),
        ..entry(next)
    };
    let expected = [kept.as_slice(), std::slice::from_ref(&later)].concat();
    wal.append(&[later]).expect("appended");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    let (mut wal, again) = open(&disk).unwrap_or_else(|error| panic!("{case}: opened again: {error}"));
    assert_eq!(all(&wal).expect("readable"), expected, "{case}");
    assert!(wal.is_incomplete(), "{case}: until it is told otherwise");
    for torn in &recovery.set_aside {
        assert!(again.earlier.contains(torn), "{case}: it is reported again");
    }
    wal.mark_complete().expect("marked");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    assert!(!open(&disk).expect("opened").0.is_incomplete(), "{case}: it was told");
    Some(kept.len())
}

#[test]
fn every_flipped_byte_leaves_a_whole_log_or_an_incomplete_prefix() {
    let disk = closed();
    let complete = all(&open(&disk.fork()).expect("opened").0).expect("readable");
    assert_eq!(complete.len(), 28);
    let files = segment_files(&disk);
    assert!(files.len() > 3, "the story needs several segments");
    let mut left = Vec::new();
    for (number, path) in files.iter().enumerate() {
        let length = disk.contents(path).expect("the segment").len();
        for at in (0..length).step_by(13) {
            let damaged = disk.fork();
            damaged.flip(path, at as u64, 1 << (at % 8));
            let case = format!("segment {number} byte {at}");
            left.extend(opens_with_less(&damaged, &complete, &case));
        }
    }
    left.dedup();
    let ends = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 18, 21, 24, 27];
    assert_eq!(left, ends, "damage in every batch");
}

#[test]
fn missing_and_cut_segments_leave_an_incomplete_prefix() {
    let disk = closed();
    let complete = all(&open(&disk.fork()).expect("opened").0).expect("readable");
    let files = segment_files(&disk);
    for (number, path) in files.iter().enumerate() {
        let damaged = disk.fork();
        damaged.unlink(path);
        let left = opens_with_less(&damaged, &complete, &format!("segment {number} is missing"));
        assert!(left.is_some_and(|left| left < 28));
        for length in [0, 100, 152, 600] {
            let damaged = disk.fork();
            damaged.tamper(path, |bytes| bytes.truncate(length));
            opens_with_less(&damaged, &complete, &format!("segment {number} is cut at {length}"));
        }
    }
    let damaged = disk.fork();
    files.iter().for_each(|path| damaged.unlink(path));
    assert_eq!(
        opens_with_less(&damaged, &complete, "all segments are missing"),
        Some(0)
    );
    // From two damaged places the first counts.
    let damaged = disk.fork();
    damaged.flip(&files[3], 200, 1);
    damaged.flip(&files[1], 300, 1);
    damaged.unlink(&files[2]);
    let left = opens_with_less(&damaged, &complete, "several places");
    assert!(left.is_some_and(|left| left < 10), "{left:?}");
}

#[test]
fn a_vote_is_not_lost_with_the_records_behind_the_damage() {
    let disk = closed();
    let (mut wal, _) = open(&disk).expect("opened");
    wal.record_vote(vote(70)).expect("voted");
    wal.begin_segment();
    wal.append(&[WalEntry {
        term: Term::new(70),
        ..entry(29)
    }])
    .expect("appended");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    for (number, path) in segment_files(&disk).iter().enumerate() {
        for position in [20, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 3] {
            let damaged = disk.fork();
            damaged.flip(path, position as u64, 1);
            let (wal, _) = open_aside(&damaged).expect("opened");
            assert!(wal.is_incomplete());
            assert_eq!(wal.vote(), vote(70), "segment {number}");
        }
    }
}

/// The segment that cut the log off is lost. What it cut off may be there again, but does not pass for committed.
#[test]
fn what_was_cut_off_and_is_there_again_is_not_committed() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for index in 1..6 {
        wal.note_committed(LogIndex::new(3));
        wal.append(&entries(index..index + 1)).expect("appended");
    }
    wal.truncate_from(LogIndex::new(4)).expect("cut");
    let others: Vec<WalEntry> = (4..9)
        .map(|index| WalEntry {
            term: Term::new(9),
            ..entry(index)
        })
        .collect();
    wal.append(&others).expect("appended");
    wal.note_committed(LogIndex::new(8));
    wal.mark_synced().expect("marked");
    drop(wal);
    let newest = segment_files(&disk).pop().expect("segments");
    disk.flip(&newest, 20, 1);
    let (mut wal, _) = open_aside(&disk).expect("opened");
    assert!(wal.is_incomplete());
    assert_eq!(wal.committed(), LogIndex::new(3));
    assert!(all(&wal).expect("readable").starts_with(&entries(1..4)));
    wal.truncate_from(LogIndex::new(4)).expect("a leader has others");
    wal.append(&others).expect("appended");
    assert_eq!(all(&wal).expect("readable"), [entries(1..4), others].concat());
}

#[test]
fn what_is_forgotten_is_not_needed() {
    let disk = closed();
    let (mut wal, _) = open(&disk).expect("opened");
    let purged = (LogIndex::new(12), wal.term_at(LogIndex::new(12)).expect("an entry"));
    wal.purge_exactly(purged, Vec::new()).expect("purged");
    wal.mark_synced().expect("marked");
    drop(wal);
    let files = segment_files(&disk);
    let oldest = disk.contents(&files[0]).expect("the segment");
    let mut lasts = Vec::new();
    for header in records(&oldest) {
        let damaged = disk.fork();
        damaged.flip(&files[0], header.position + 70, 1);
        let (mut wal, _) = open_aside(&damaged).expect("opened");
        assert_eq!((wal.is_incomplete(), wal.purged()), (true, Some(purged)));
        let last = wal.last_index().expect("at least what was forgotten");
        assert!(last >= purged.0);
        let next = WalEntry {
            term: Term::new(70),
            ..entry(last.get() + 1)
        };
        wal.append(&[next]).expect("appended");
        drop(wal);
        let (wal, _) = open(&damaged).expect("opened");
        assert_eq!(wal.first_index(), Some(purged.0.next()));
        lasts.push(last);
    }
    assert!(lasts.contains(&purged.0), "{lasts:?}");
}

#[test]
fn a_power_cut_while_it_is_set_aside_loses_nothing_more() {
    let disk = closed();
    let complete = all(&open(&disk.fork()).expect("opened").0).expect("readable");
    let files = segment_files(&disk);
    disk.flip(&files[1], 400, 1);
    let left = all(&open_aside(&disk.fork()).expect("opened").0).expect("readable");
    assert!(complete.starts_with(&left) && left.len() < complete.len());
    for call in 0..80 {
        for kind in [FaultKind::Io, FaultKind::NoSpace] {
            let cut = disk.fork();
            cut.set_fault(Some(Fault {
                call,
                kind,
                sticky: kind == FaultKind::Io,
            }));
            let _ = open_aside(&cut);
            cut.set_fault(None);
            cut.crash(Crash::Torn { seed: call });
            // A process that was told to refuse does not take it for a whole log either.
            match open(&cut.fork()) {
                Ok((wal, _)) => assert!(wal.is_incomplete(), "{kind:?} at call {call}"),
                Err(WalError::Corrupt { .. }) => {}
                Err(error) => panic!("{kind:?} at call {call}: {error}"),
            }
            let (wal, _) = open_aside(&cut).unwrap_or_else(|error| panic!("{kind:?} at call {call}: {error}"));
            assert!(wal.is_incomplete());
            assert_eq!(all(&wal).expect("readable"), left, "{kind:?} at call {call}");
            assert_eq!(wal.vote(), vote(60), "{kind:?} at call {call}");
        }
    }
}

#[test]
fn other_errors_are_not_set_aside() {
    let disk = closed();
    let other_key = WalOptions {
        on_damage: OnDamage::SetAside,
        ..WalOptions::new(NodeId::new(1), SecretBytes::new([8; 32]))
    };
    let before = disk.paths();
    let opened = Wal::open(Arc::new(disk.clone()), Path::new(DIR), other_key, random());
    assert!(matches!(opened, Err(WalError::WrongKey { .. })));
    assert_eq!(disk.paths(), before);
    disk.remove(&Path::new(DIR).join("superblock")).expect("removed");
    assert!(matches!(open_aside(&disk), Err(WalError::Superblock { .. })));
}

#[test]
fn what_was_set_aside_can_be_forgotten_and_the_log_stays_as_it_is() {
    let disk = closed();
    let segments = || {
        let paths = disk.paths().into_iter();
        paths.filter(|path| path.to_string_lossy().ends_with(".wal"))
    };
    let first = segments().min().expect("a segment");
    disk.tamper(&first, |bytes| bytes[200] ^= 1);
    let (mut wal, recovery) = open_aside(&disk).expect("opens");
    let aside = || {
        let paths = disk.paths().into_iter();
        paths.filter(|path| path.to_string_lossy().ends_with(".aside")).count()
    };
    assert!(aside() > 0, "{recovery:?}");
    let kept = all(&wal).expect("readable");
    wal.forget_set_aside().expect("removed");
    disk.crash(Crash::DropUnsynced);
    assert_eq!(aside(), 0);
    let (wal, _) = open_aside(&disk).expect("opens again");
    assert_eq!((all(&wal).expect("readable"), wal.is_incomplete()), (kept, true));
}
