//! Cutting the log: what conflicts is gone for good, what does not is still there, whenever the power fails.

use super::*;

/// An entry that another leader put in the place of [`entry`].
fn other(index: u64) -> WalEntry {
    WalEntry {
        term: Term::new(100),
        payload: format!("other {index}").into_bytes(),
        ..entry(index)
    }
}

fn others(range: Range<u64>) -> Vec<WalEntry> {
    range.map(other).collect()
}

/// Entries 1 to 29 in several segments: batches of one, two and three.
fn log_of_batches(disk: &MemoryDisk) -> Wal {
    let (mut wal, _) = open(disk).expect("created");
    let mut next = 1;
    while next < 30 {
        let end = (next + 1 + next % 3).min(30);
        wal.append(&entries(next..end)).expect("appended");
        next = end;
    }
    wal
}

/// The log as it is opened after the power fails now.
fn after_power_cut(disk: &MemoryDisk) -> (Wal, WalRecovery) {
    let cut = disk.fork();
    cut.crash(Crash::DropUnsynced);
    open(&cut).expect("opened")
}

fn check(wal: &Wal, expected: &[WalEntry], case: &str) {
    assert_eq!(all(wal).expect("readable"), expected, "{case}");
    let last = expected.last().map(|entry| (entry.index, entry.term));
    assert_eq!(wal.last_index().zip(wal.last_term()), last, "{case}");
    for entry in expected {
        assert_eq!(wal.term_at(entry.index), Some(entry.term), "{case}");
    }
    assert_eq!(wal.term_at(wal.next_index()), None, "{case}");
}

#[test]
fn entries_are_cut_off_at_any_place_and_others_take_theirs() {
    let disk = MemoryDisk::new();
    log_of_batches(&disk);
    assert!(segment_files(&disk).len() > 3, "the story needs several segments");
    for from in 1..32 {
        for reopened in [false, true] {
            let case = format!("from {from}, reopened: {reopened}");
            let disk = MemoryDisk::new();
            let mut wal = log_of_batches(&disk);
            if reopened {
                wal = open(&disk).expect("opened").0;
            }
            wal.truncate_from(LogIndex::new(from)).expect("cut");
            let kept = from.min(30);
            check(&wal, &entries(1..kept), &case);
            check(&after_power_cut(&disk).0, &entries(1..kept), &case);

            let expected = [entries(1..kept), others(kept..kept + 3)].concat();
            wal.append(&others(kept..kept + 1)).expect("appended");
            wal.append(&others(kept + 1..kept + 3)).expect("appended");
            check(&wal, &expected, &case);
            drop(wal);
            disk.crash(Crash::DropUnsynced);
            let (wal, recovery) = open(&disk).expect("opened");
            check(&wal, &expected, &case);
            assert_eq!(recovery.torn, None, "{case}");
        }
    }
}

#[test]
fn cutting_again_and_again_leaves_no_segments_behind() {
    let disk = MemoryDisk::new();
    let mut wal = log_of_batches(&disk);
    for round in 0..30 {
        let from = 29 - round;
        wal.truncate_from(LogIndex::new(from)).expect("cut");
        check(&wal, &entries(1..from), "cut");
        wal.append(&[entry(from), other(from + 1)]).expect("appended");
        wal.truncate_from(LogIndex::new(from + 1)).expect("cut within a batch");
        wal.truncate_from(LogIndex::new(from + 1)).expect("nothing to cut");
        check(&wal, &entries(1..from + 1), "cut within a batch");
        assert_eq!(wal.segment_count(), segment_files(&disk).len());
        assert!(segment_files(&disk).len() < 12, "{:?}", segment_files(&disk));
        if from == 1 {
            break;
        }
    }
    wal.truncate_from(LogIndex::new(1)).expect("everything is cut off");
    check(&wal, &[], "everything");
    assert_eq!((wal.next_index(), segment_files(&disk).len()), (LogIndex::new(1), 1));
    wal.append(&others(1..3)).expect("appended");
    drop(wal);
    check(&open(&disk).expect("opened").0, &others(1..3), "from the beginning");
}

#[test]
fn what_is_forgotten_or_committed_is_not_cut_off() {
    let disk = MemoryDisk::new();
    let mut wal = log_of_batches(&disk);
    purge_exactly(&mut wal, 7).expect("purged");
    let refused = wal.truncate_from(LogIndex::new(7));
    assert!(matches!(refused, Err(WalError::Purged { first, .. }) if first == LogIndex::new(8)));
    wal.note_committed(LogIndex::new(12));
    let refused = wal.truncate_from(LogIndex::new(12));
    let committed = LogIndex::new(12);
    assert!(matches!(refused, Err(WalError::Committed { committed: found, .. }) if found == committed));
    assert!(matches!(
        wal.reset((LogIndex::new(11), Term::new(50)), Vec::new()),
        Err(WalError::Committed { .. })
    ));
    check(&wal, &entries(8..30), "nothing changed");
    wal.truncate_from(LogIndex::new(13)).expect("cut");
    check(&wal, &entries(8..13), "the rest may go");
}

#[test]
#[should_panic(expected = "batches that are placed are written before the log is cut")]
fn a_placed_batch_keeps_the_log_from_being_cut() {
    let mut wal = log_of_batches(&MemoryDisk::new());
    let _placement = wal.place(&entries(30..31)).expect("placed");
    let _ = wal.truncate_from(LogIndex::new(20));
}

#[test]
fn reports_and_votes_are_not_lost_with_what_is_cut_off() {
    let disk = MemoryDisk::new();
    let wal = log_of_batches(&disk);
    drop(wal);
    let newest = segment_files(&disk).pop().expect("segments");
    disk.tamper(&newest, |bytes| *bytes.last_mut().expect("reserved space") = 7);
    let (mut wal, recovery) = open(&disk).expect("opened");
    let torn = recovery.torn.expect("a torn tail");
    let vote = Vote {
        term: Term::new(100),
        voted_for: NodeId::new(3),
        committed: false,
    };
    wal.record_vote(vote).expect("voted");
    for from in [29, 20, 1] {
        wal.truncate_from(LogIndex::new(from)).expect("cut");
        let (copy, recovery) = after_power_cut(&disk);
        assert_eq!((recovery.earlier, copy.vote()), (vec![torn], vote), "from {from}");
    }
    wal.reset((LogIndex::new(5), Term::new(3)), Vec::new()).expect("reset");
    let (copy, recovery) = after_power_cut(&disk);
    assert_eq!((recovery.earlier, copy.vote()), (vec![torn], vote), "reset");
}

#[test]
fn a_purge_that_is_exact_forgets_part_of_a_segment() {
    let disk = MemoryDisk::new();
    let mut wal = log_of_batches(&disk);
    for through in [1, 6, 7, 20, 29, 40] {
        purge_exactly(&mut wal, through).expect("purged");
        let through = through.min(29);
        let purged = entry(through);
        let (reopened, _) = after_power_cut(&disk);
        for wal in [&wal, &reopened] {
            assert_eq!(wal.purged(), Some((purged.index, purged.term)));
            assert_eq!(wal.term_at(purged.index), Some(purged.term));
            assert_eq!(wal.term_at(LogIndex::new(through - 1)), None);
            assert_eq!(wal.first_index(), (through < 29).then(|| purged.index.next()));
            assert_eq!(wal.last_index(), Some(LogIndex::new(29)));
            assert_eq!(wal.committed(), purged.index, "what is forgotten is committed");
            let left = wal.entries_from(purged.index.next()).expect("not purged");
            assert_eq!(
                left.collect::<Result<Vec<_>, _>>().expect("readable"),
                entries(through + 1..30)
            );
            let refused = wal.range(purged.index..LogIndex::new(30));
            assert!(matches!(refused, Err(WalError::Purged { first, .. }) if first == purged.index.next()));
        }
        assert!(
            wal.prepare_exact_purge((purged.index, purged.term)).is_none(),
            "it is done"
        );
    }
    // What stays of a batch is cut off at the same place.
    let disk = MemoryDisk::new();
    for through in 1..29 {
        let mut wal = log_of_batches(&disk.fork());
        purge_exactly(&mut wal, through).expect("purged");
        wal.truncate_from(LogIndex::new(through + 1)).expect("cut");
        assert_eq!(
            (wal.first_index(), wal.last_index()),
            (None, Some(LogIndex::new(through)))
        );
        wal.append(&others(through + 1..through + 3)).expect("appended");
        check(&wal, &others(through + 1..through + 3), "others");
    }
}

#[test]
fn a_reset_log_goes_on_after_the_snapshot() {
    for last in [1, 15, 29, 30, 500] {
        let disk = MemoryDisk::new();
        let mut wal = log_of_batches(&disk);
        let last = (LogIndex::new(last), Term::new(40));
        wal.reset(last, Vec::new()).expect("reset");
        for _ in 0..2 {
            assert_eq!((wal.purged(), wal.committed()), (Some(last), last.0));
            assert_eq!((wal.first_index(), wal.last_index()), (None, Some(last.0)));
            assert_eq!((wal.last_term(), wal.term_at(last.0)), (Some(last.1), Some(last.1)));
            assert_eq!(segment_files(&disk).len(), 1);
            let read = wal.entries_from(last.0.next()).expect("not purged").count();
            assert_eq!(read, 0);
            drop(wal);
            disk.crash(Crash::DropUnsynced);
            wal = open(&disk).expect("opened").0;
        }
        let next = last.0.get() + 1;
        let wrong = wal.append(&entries(next..next + 1));
        assert!(
            matches!(wrong, Err(WalError::OutOfOrder { .. })) == (entry(next).term < last.1),
            "an earlier term"
        );
        wal.truncate_from(LogIndex::new(next)).expect("cut");
        wal.append(&others(next..next + 2)).expect("appended");
        drop(wal);
        let (mut wal, _) = open(&disk).expect("opened");
        check(&wal, &others(next..next + 2), "after the snapshot");
        // Again, at a later one.
        wal.reset((LogIndex::new(1_000), Term::new(100)), Vec::new())
            .expect("reset");
        assert!(matches!(
            wal.reset((LogIndex::new(999), Term::new(100)), Vec::new()),
            Err(WalError::Purged { .. })
        ));
    }
}

/// The entries that the log may show after each step of a story, and the step that was last acknowledged.
struct Story {
    states: Vec<(u64, Vec<WalEntry>)>,
    acknowledged: usize,
}

/// Runs until the first error: appends, cuts, votes, purges and resets.
fn tell(disk: &MemoryDisk) -> Story {
    let mut story = Story {
        states: vec![(0, Vec::new())],
        acknowledged: 0,
    };
    let Ok((mut wal, _)) = open(disk) else { return story };
    let mut purged = 0;
    let mut expected: Vec<WalEntry> = Vec::new();
    for step in 0..24u64 {
        let next = purged + expected.len() as u64 + 1;
        let term = Term::new(1 + step);
        let new: Vec<WalEntry> = (next..next + 1 + step % 3)
            .map(|index| WalEntry { term, ..entry(index) })
            .collect();
        let done = match step % 8 {
            3 => {
                let kept = expected.len() / 2;
                expected.truncate(kept);
                wal.truncate_from(LogIndex::new(purged + kept as u64 + 1))
            }
            5 if step < 20 => {
                let forgotten = expected.len() / 3;
                expected.drain(..forgotten);
                purged += forgotten as u64;
                purge_exactly(&mut wal, purged)
            }
            7 if step == 15 => {
                purged += expected.len() as u64 + 7;
                expected.clear();
                wal.reset((LogIndex::new(purged), term), Vec::new())
            }
            _ => {
                expected.extend(new.clone());
                wal.append(&new)
            }
        };
        story.states.push((purged, expected.clone()));
        if done.is_err() {
            break;
        }
        story.acknowledged = story.states.len() - 1;
        let vote = Vote {
            term,
            voted_for: NodeId::new(1),
            committed: false,
        };
        let granted = Vote {
            committed: true,
            ..vote
        };
        if wal.record_vote(vote).is_err() || wal.record_vote(granted).is_err() {
            break;
        }
    }
    story
}

#[test]
fn a_power_cut_at_any_call_leaves_the_log_as_before_or_after() {
    let calls = {
        let disk = MemoryDisk::new();
        let story = tell(&disk);
        assert_eq!(story.acknowledged, 24);
        disk.calls()
    };
    for call in 0..calls {
        let disk = MemoryDisk::new();
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::Io,
            sticky: true,
        }));
        let story = tell(&disk);
        for crash in [Crash::DropUnsynced, Crash::Torn { seed: call }, Crash::Process] {
            let case = format!("{crash:?} at call {call}");
            let cut = disk.fork();
            cut.set_fault(None);
            cut.crash(crash);
            let (mut wal, _) = open(&cut).unwrap_or_else(|error| panic!("{case}: {error}"));
            let found = (
                wal.purged().map_or(0, |(index, _)| index.get()),
                wal.entries_from(wal.purged().map_or(LogIndex::new(1), |(index, _)| index.next()))
                    .expect("not purged")
                    .collect::<Result<Vec<_>, _>>()
                    .expect("readable"),
            );
            let possible = &story.states[story.acknowledged..];
            // A batch that was being written may be there in part: only as a whole, since it is one record.
            assert!(possible.contains(&found), "{case}: {found:?} is none of {possible:?}");
            let next = wal.next_index().get();
            wal.append(&others(next..next + 1)).expect("appended");
            drop(wal);
            cut.crash(Crash::DropUnsynced);
            let (wal, _) = open(&cut).expect("opened");
            assert_eq!(all(&wal).expect("readable").len(), found.1.len() + 1, "{case}");
        }
    }
}

#[test]
fn a_full_disk_cuts_nothing() {
    let disk = MemoryDisk::new();
    let mut wal = log_of_batches(&disk);
    for call in 0..3 {
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::NoSpace,
            sticky: true,
        }));
        let refused = wal.truncate_from(LogIndex::new(9));
        assert!(matches!(refused, Err(WalError::NoSpace { .. })), "{refused:?}");
        disk.set_fault(None);
        check(&wal, &entries(1..30), "nothing is cut off");
    }
    wal.truncate_from(LogIndex::new(9)).expect("there is space again");
    check(&wal, &entries(1..9), "cut");
}
