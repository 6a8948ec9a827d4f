//! The single node's promises on a disk that fails, fills up and loses power.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{poll, random};
use craton_consensus::{Consensus, ConsensusError, SingleNode};
use craton_crypto::SecretBytes;
use craton_log::testing::{CallKind, Crash, Fault, FaultKind, MemoryDisk};
use craton_log::{Wal, WalOptions};
use craton_types::{LogIndex, NodeId, Term};

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: 4096,
        ..WalOptions::new(NodeId::new(1), SecretBytes::new([7; 32]))
    }
}

/// Opens the log, and waits until the next segment's space is reserved, so that calls of a test can be counted.
fn open(disk: &MemoryDisk) -> SingleNode {
    let reserved = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&reserved);
    disk.set_hook(Some(Arc::new(move |call| {
        if call.kind == CallKind::Sync && call.path.ends_with("spare") {
            seen.store(true, Ordering::Release);
        }
    })));
    let opened = Wal::open(Arc::new(disk.clone()), Path::new("/wal"), options(), random());
    let node = SingleNode::new(opened.expect("opened").0, LogIndex::ZERO).expect("a new term");
    poll("the next segment is reserved", || reserved.load(Ordering::Acquire));
    disk.set_hook(None);
    node
}

fn payload(number: u64) -> Vec<u8> {
    format!(
        "entry {number} {}",
        "x".repeat(usize::try_from(number % 7 * 90).expect("short"))
    )
    .into_bytes()
}

fn append(node: &SingleNode, payload: Vec<u8>) -> Result<(), ConsensusError> {
    node.propose(payload, Box::new(|reason| panic!("lost: {reason:?}")))
}

fn recovered(node: &SingleNode) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| node.next_recovered().expect("readable"))
        .map(|entry| entry.payload.to_vec())
        .collect()
}

#[test]
fn entries_are_handed_out_in_order_once_durable_and_again_after_a_power_cut() {
    let disk = MemoryDisk::new();
    let node = open(&disk);
    assert_eq!(recovered(&node), Vec::<Vec<u8>>::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=100 {
                append(&node, payload(number)).expect("appended");
            }
            node.close();
        });
        for number in 1..=100 {
            let entry = node.next_committed().expect("committed");
            assert_eq!(entry.index, LogIndex::new(number));
            assert_eq!(entry.payload, payload(number));
        }
        assert!(matches!(node.next_committed(), Err(ConsensusError::Closed)));
    });
    assert!(matches!(append(&node, payload(101)), Err(ConsensusError::Closed)));
    drop(node);
    disk.crash(Crash::DropUnsynced);
    let expected: Vec<_> = (1..=100).map(payload).collect();
    assert_eq!(recovered(&open(&disk)), expected);
}

#[test]
fn what_was_durable_survives_a_power_cut_at_any_call() {
    let calls = {
        let disk = MemoryDisk::new();
        append_until_it_fails(&disk, 30);
        disk.calls()
    };
    for call in 0..calls {
        let disk = MemoryDisk::new();
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::Io,
            sticky: true,
        }));
        let durable = append_until_it_fails(&disk, 30);
        disk.crash(Crash::Torn { seed: call });
        let read = recovered(&open(&disk));
        let count = u64::try_from(read.len()).expect("few");
        assert!(count >= durable, "call {call}: {count} of {durable}");
        let expected: Vec<_> = (1..=count).map(payload).collect();
        assert_eq!(read, expected, "call {call}");
    }
}

/// Appends two entries at a time and waits for them. Returns how many became durable.
fn append_until_it_fails(disk: &MemoryDisk, until: u64) -> u64 {
    let opened = Wal::open(Arc::new(disk.clone()), Path::new("/wal"), options(), random());
    let Ok((wal, _)) = opened else { return 0 };
    let Ok(node) = SingleNode::new(wal, LogIndex::ZERO) else {
        return 0;
    };
    let mut durable = 0;
    while durable < until {
        let appended = (1..=2).map(|more| append(&node, payload(durable + more))).last();
        let Some(Ok(())) = appended else { break };
        let last = (0..2).map(|_| node.next_committed()).last();
        let Some(Ok(entry)) = last else { break };
        durable = entry.index.get();
    }
    durable
}

#[test]
fn a_failed_sync_ends_everything_with_the_reason() {
    let disk = MemoryDisk::new();
    let node = open(&disk);
    disk.set_fault(Some(Fault {
        call: 1,
        kind: FaultKind::Io,
        sticky: false,
    }));
    append(&node, payload(1)).expect("placed");
    let reason = |error: ConsensusError| matches!(error, ConsensusError::Wal(_));
    assert!(reason(node.next_committed().expect_err("nothing is handed out")));
    assert!(reason(append(&node, payload(2)).expect_err("the log is poisoned")));
    assert!(!node.is_out_of_space());
}

/// Every other call is the write of a batch; a sync that fails for want of space would have lost what it was to keep.
#[test]
fn a_full_disk_delays_what_was_appended_and_loses_nothing() {
    for call in [0, 2, 4] {
        let disk = MemoryDisk::new();
        let node = open(&disk);
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::NoSpace,
            sticky: true,
        }));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=20 {
                    append(&node, payload(number)).expect("waits for space");
                }
            });
            poll("the disk is full", || node.is_out_of_space());
            disk.set_fault(None);
            poll("the log goes on by itself", || !node.is_out_of_space());
            for expected in 1..=20 {
                let entry = node.next_committed().expect("committed");
                assert_eq!(entry.index, LogIndex::new(expected));
                assert_eq!(entry.payload, payload(expected));
            }
        });
        drop(node);
        disk.crash(Crash::DropUnsynced);
        let expected: Vec<_> = (1..=20).map(payload).collect();
        assert_eq!(recovered(&open(&disk)), expected, "call {call}");
    }
}

#[test]
fn a_full_disk_refuses_what_needs_a_longer_segment() {
    let disk = MemoryDisk::new();
    let node = open(&disk);
    disk.set_capacity_bytes(Some(disk.used_bytes()));
    let long = vec![1; 5_000];
    let error = append(&node, long.clone()).expect_err("no space for a segment");
    assert!(error.is_out_of_space());
    disk.set_capacity_bytes(None);
    append(&node, long.clone()).expect("there is space again");
    let entry = node.next_committed().expect("committed");
    assert_eq!(entry.index, LogIndex::new(1), "what was refused took no index");
    assert_eq!(entry.payload, long);
}

#[test]
fn a_disk_that_fills_up_is_known_one_segment_before_it_matters() {
    let disk = MemoryDisk::new();
    let node = open(&disk);
    disk.set_capacity_bytes(Some(disk.used_bytes()));
    let mut number = 0;
    let mut append_next = |node: &SingleNode| {
        number += 1;
        append(node, payload(number)).expect("the reserved segment has room");
        let entry = node.next_committed().expect("committed");
        assert_eq!(entry.payload, payload(number));
        entry.index
    };
    while disk.contents(Path::new("/wal/spare")).is_some() {
        append_next(&node);
    }
    poll("the disk is known to be full", || node.is_out_of_space());
    for _ in 0..5 {
        append_next(&node);
    }
    disk.set_capacity_bytes(None);
    poll("it goes on by itself", || !node.is_out_of_space());
    let last = append_next(&node);
    drop(node);
    disk.crash(Crash::DropUnsynced);
    let expected: Vec<_> = (1..=last.get()).map(payload).collect();
    assert_eq!(recovered(&open(&disk)), expected);
}

#[test]
fn every_opening_begins_a_term_that_its_entries_carry() {
    let disk = MemoryDisk::new();
    for term in 1..5 {
        let node = open(&disk);
        while node.next_recovered().expect("readable").is_some() {}
        append(&node, payload(term)).expect("appended");
        assert_eq!(node.next_committed().expect("committed").term, Term::new(term));
        drop(node);
        disk.crash(Crash::DropUnsynced);
    }
}

#[test]
fn closing_does_not_wait_for_space() {
    let disk = MemoryDisk::new();
    let node = open(&disk);
    disk.set_fault(Some(Fault {
        call: 0,
        kind: FaultKind::NoSpace,
        sticky: true,
    }));
    append(&node, payload(1)).expect("placed");
    poll("the disk is full", || node.is_out_of_space());
    node.close();
    assert!(node.next_committed().is_err());
    drop(node);
    disk.set_fault(None);
    assert_eq!(
        recovered(&open(&disk)),
        Vec::<Vec<u8>>::new(),
        "it was never acknowledged"
    );
}
