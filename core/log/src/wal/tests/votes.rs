//! Votes: durable like entries, in order with them, and never going back.

use super::*;

fn vote(term: u64, node: u64) -> Vote {
    Vote {
        term: Term::new(term),
        voted_for: NodeId::new(node),
        committed: false,
    }
}

#[test]
fn a_vote_is_kept_and_never_goes_back() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    assert_eq!(wal.vote(), Vote::default());
    wal.record_vote(vote(3, 1)).expect("voted");
    disk.set_fault(None);
    wal.record_vote(vote(3, 1)).expect("the same again");
    assert_eq!(disk.calls(), 0, "which writes nothing");
    for wrong in [vote(3, 2), vote(2, 1), vote(3, 0)] {
        let refused = wal.record_vote(wrong);
        assert!(matches!(refused, Err(WalError::VoteOutOfOrder { last, .. }) if last == vote(3, 1)));
    }
    let later = WalEntry {
        term: Term::new(7),
        ..entry(1)
    };
    wal.append(&[later]).expect("appended");
    assert!(matches!(
        wal.record_vote(vote(6, 1)),
        Err(WalError::VoteOutOfOrder { .. })
    ));
    wal.record_vote(vote(7, 0)).expect("a term without a vote yet");
    wal.record_vote(vote(7, 2)).expect("and then with one");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    for _ in 0..3 {
        let (mut wal, _) = open(&disk).expect("opened");
        assert_eq!(wal.vote(), vote(7, 2));
        // Not even when every segment that held the record is gone.
        wal.purge(LogIndex::new(100), Vec::new()).expect("purged");
    }
}

#[test]
fn a_vote_is_granted_once_and_stays_so() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    let granted = |term, node| Vote {
        committed: true,
        ..vote(term, node)
    };
    wal.record_vote(vote(3, 1))
        .expect("voted for itself, and others elected somebody else");
    wal.record_vote(granted(3, 2)).expect("granted");
    for wrong in [vote(3, 2), vote(3, 1), granted(3, 1), granted(4, 0)] {
        let refused = wal.record_vote(wrong);
        assert!(matches!(refused, Err(WalError::VoteOutOfOrder { last, .. }) if last == granted(3, 2)));
    }
    for _ in 0..3 {
        drop(wal);
        disk.crash(Crash::DropUnsynced);
        wal = open(&disk).expect("opened").0;
        assert_eq!(wal.vote(), granted(3, 2));
    }
    wal.record_vote(vote(4, 1)).expect("a later term");
    wal.record_vote(granted(5, 1)).expect("granted at once");
}

#[test]
fn a_vote_is_one_record_and_one_update_of_the_superblock() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    disk.set_fault(None);
    wal.record_vote(vote(1, 1)).expect("voted");
    assert_eq!(disk.calls(), 2 + 6, "four copies, written in two turns");
}

/// Votes in ever later terms, with entries and purges between. Returns the last vote that was acknowledged.
fn vote_until_it_fails(disk: &MemoryDisk, until: u64) -> u64 {
    let Ok((mut wal, _)) = open(disk) else { return 0 };
    let mut acknowledged = wal.vote().term.get();
    for term in acknowledged + 1..until {
        if wal.record_vote(vote(term, 1)).is_err() {
            break;
        }
        acknowledged = term;
        let next = WalEntry {
            index: wal.next_index(),
            term: Term::new(term),
            payload: vec![5; 90],
        };
        if wal.append(std::slice::from_ref(&next)).is_err() {
            break;
        }
        if term.is_multiple_of(6) && wal.purge(next.index, Vec::new()).is_err() {
            break;
        }
    }
    acknowledged
}

#[test]
fn a_vote_survives_a_power_cut_at_any_call() {
    let calls = {
        let disk = MemoryDisk::new();
        vote_until_it_fails(&disk, 20);
        disk.calls()
    };
    for call in 0..calls {
        let disk = MemoryDisk::new();
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::Io,
            sticky: true,
        }));
        let acknowledged = vote_until_it_fails(&disk, 20);
        for seed in [call, !call] {
            let cut = disk.fork();
            cut.crash(Crash::Torn { seed });
            let (wal, _) = open(&cut).unwrap_or_else(|error| panic!("call {call}: {error}"));
            let term = wal.vote().term.get();
            assert!(
                (acknowledged..=acknowledged + 1).contains(&term),
                "call {call}: {term} after {acknowledged}"
            );
            drop(wal);
            // What was shown once is durable.
            cut.crash(Crash::DropUnsynced);
            assert_eq!(open(&cut).expect("opened").0.vote().term.get(), term);
        }
    }
}
