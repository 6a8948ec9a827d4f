//! A disk that fails, fills up or loses power.

use super::*;

#[test]
fn a_failed_sync_poisons_the_log_and_opening_writes_the_records_again() {
    let disk = MemoryDisk::new();
    let records = records(4);
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records).expect("appended");
    log.publish().expect("published");
    disk.set_fault(Some(Fault {
        call: 0,
        kind: FaultKind::Io,
        sticky: false,
    }));
    assert!(matches!(log.sync(), Err(TenantLogError::Io { operation: "sync", .. })));
    assert!(log.reader().is_poisoned());
    assert!(matches!(
        log.append(&linked(&records[0])),
        Err(TenantLogError::Poisoned)
    ));
    assert!(matches!(log.publish(), Err(TenantLogError::Poisoned)));
    assert!(matches!(log.sync(), Err(TenantLogError::Poisoned)));
    assert_eq!(all(&log).expect("what is published stays readable"), records);
    drop(log);

    // The process is started again: the page cache shows records that the disk never got.
    let mut log = open(&disk).expect("opened");
    assert_eq!(log.sync().expect("synced"), Offset::new(4));
    drop(log);
    disk.crash(Crash::DropUnsynced);
    assert_eq!(all(&open(&disk).expect("opened")).expect("readable"), records);
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    let records = records(60);
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    let mut refused = 0;
    for (number, record) in (0u64..).zip(&records) {
        // Different calls of closing a segment meet the full disk, but for the syncs.
        let call = [0, 2, 4, 5, 6, 7][usize::try_from(number % 6).expect("small")];
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::NoSpace,
            sticky: false,
        }));
        if let Err(error) = log.append(&linked(record)).and_then(|_| log.publish()) {
            disk.set_fault(None);
            assert!(matches!(error, TenantLogError::NoSpace { .. }), "call {call}: {error}");
            if log.reader().is_poisoned() {
                log = open(&disk).expect("opened");
            } else {
                refused += 1;
            }
            let next = usize::try_from(log.next_offset().get()).expect("small");
            append_all(
                &mut log,
                &records[next.min(usize::try_from(number).expect("small"))..=usize::try_from(number).expect("small")],
            )
            .expect("there is space again");
            log.publish().expect("there is space again");
        }
    }
    assert!(refused > 10, "{refused} refusals");
    disk.set_fault(None);
    assert_eq!(all(&log).expect("readable"), records);
    check_hashes(&log, &records).expect("all hashes");
    assert_eq!(log.sync().expect("synced"), Offset::new(60));
    assert_eq!(all(&open(&disk).expect("opened")).expect("readable"), records);
}

/// Opens, replays from the write-ahead log what the log lacks and some of what it has, and goes on to `until`
/// with syncs between. Returns how many records are known to be durable.
fn run(disk: &MemoryDisk, records: &[Record], until: usize, durable: &mut u64) -> Result<(), TenantLogError> {
    let mut log = open(disk)?;
    let start = usize::try_from(log.next_offset().get())
        .expect("small")
        .min(until)
        .saturating_sub(3);
    for (number, record) in (start..).zip(&records[start..until]) {
        log.append(&linked(record))?;
        if number % 2 == 0 {
            log.publish()?;
        }
        if number % 3 == 0 {
            *durable = log.sync()?.get();
        }
    }
    *durable = log.sync()?.get();
    Ok(())
}

fn check_nothing_lost(disk: &MemoryDisk, records: &[Record], durable: u64, case: &str) {
    let log = open(disk).unwrap_or_else(|error| panic!("{case}: {error}"));
    let read = all(&log).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(
        read.len() as u64 >= durable,
        "{case}: {} of {durable} durable records",
        read.len()
    );
    assert!(records.starts_with(&read), "{case}");
    if !read.is_empty() {
        check_hashes(&log, &read).unwrap_or_else(|error| panic!("{case}: {error}"));
    }
}

fn calls_of_a_run(records: &[Record]) -> u64 {
    let disk = MemoryDisk::new();
    let mut durable = 0;
    run(&disk, records, 9, &mut durable).expect("a run without faults");
    run(&disk, records, 20, &mut durable).expect("a run without faults");
    disk.calls()
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_synced() {
    let records = records(24);
    for call in 0..calls_of_a_run(&records) {
        let disk = MemoryDisk::new();
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::Io,
            sticky: true,
        }));
        let mut durable = 0;
        let _ = run(&disk, &records, 9, &mut durable).and_then(|()| run(&disk, &records, 20, &mut durable));
        for crash in [
            Crash::DropUnsynced,
            Crash::Torn { seed: call },
            Crash::Torn { seed: !call },
        ] {
            let cut = disk.fork();
            cut.crash(crash);
            let case = format!("power cut at call {call}, {crash:?}");
            check_nothing_lost(&cut, &records, durable, &case);
            let mut later = durable;
            run(&cut, &records, 24, &mut later).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(later, 24, "{case}");
            cut.crash(Crash::DropUnsynced);
            check_nothing_lost(&cut, &records, 24, &case);
        }
    }
}

#[test]
fn any_call_may_fail_once() {
    let records = records(20);
    for kind in [FaultKind::Io, FaultKind::NoSpace, FaultKind::ShortWrite] {
        for call in 0..calls_of_a_run(&records) {
            let disk = MemoryDisk::new();
            disk.set_fault(Some(Fault {
                call,
                kind,
                sticky: false,
            }));
            let case = format!("{kind:?} at call {call}");
            let mut durable = 0;
            let failed = run(&disk, &records, 9, &mut durable).and_then(|()| run(&disk, &records, 20, &mut durable));
            match (kind, failed) {
                (FaultKind::ShortWrite, Err(error)) => panic!("{case}: a short write is no failure: {error}"),
                (_, Ok(()) | Err(TenantLogError::Io { .. } | TenantLogError::NoSpace { .. })) => {}
                (_, Err(error)) => panic!("{case}: {error}"),
            }
            let cut = disk.fork();
            cut.crash(Crash::Torn { seed: call });
            check_nothing_lost(&cut, &records, durable, &case);
            disk.set_fault(None);
            check_nothing_lost(&disk, &records, durable, &case);
            run(&disk, &records, 20, &mut durable).unwrap_or_else(|error| panic!("{case}: {error}"));
            check_nothing_lost(&disk, &records, 20, &case);
        }
    }
}

/// Without a sync, what was written before the step survives a power cut.
#[test]
fn writeback_brings_written_records_to_the_disk_in_steps() {
    let disk = MemoryDisk::new();
    let mut log = open_with(&disk, 8 * 1024 * 1024).expect("created");
    let record = record_with(0, Hash::default(), vec![vec![1; WRITEBACK_BYTES / 2]]);
    let previous = log.append(&linked(&record)).expect("appended");
    log.publish().expect("published");
    assert!(log.begin_writeback().is_none(), "too little to be worth a step");
    let next = record_with(1, previous, vec![vec![2; WRITEBACK_BYTES / 2]]);
    log.append(&linked(&next)).expect("appended");
    log.publish().expect("published");
    let step = log.begin_writeback().expect("worth a step");
    assert!(log.begin_writeback().is_none(), "it is under way");
    step.run().expect("synced");
    drop(log);
    disk.crash(Crash::DropUnsynced);
    let log = open_with(&disk, 8 * 1024 * 1024).expect("opened");
    assert_eq!(all(&log).expect("readable"), [record, next]);
}
