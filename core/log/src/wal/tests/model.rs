//! The log beside a plain model of it: whatever is done, in whatever order, with faults and crashes between, both show the
//! same.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Something that is done with the log. Numbers count back from the end, or say how much to take of what there is.
#[derive(Clone, Debug)]
enum Step {
    Append { count: u64, terms: u64, length: usize },
    Truncate { back: u64 },
    Vote { terms: u64, node: u64, committed: bool },
    NoteCommitted { back: u64 },
    Purge { through: Index, is_exact: bool },
    Reset { ahead: u64, back: u64 },
    BeginSegment,
    ReserveSpace,
    MarkSynced,
    Reopen,
    Crash(Crash),
}

/// A call to the disk that fails while the step is done.
#[derive(Clone, Debug)]
struct Failure {
    call: u64,
    kind: FaultKind,
    crash: Crash,
}

/// What the log shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    purged: (LogIndex, Term),
    entries: Vec<WalEntry>,
    vote: Vote,
}

impl Shown {
    fn of(wal: &Wal) -> Self {
        let purged = wal.purged().unwrap_or_default();
        let read = wal.entries_from(purged.0.next()).expect("not purged");
        let entries: Vec<WalEntry> = read.collect::<Result<_, _>>().expect("readable");
        let mut range = wal.range(purged.0.next()..LogIndex::new(u64::MAX)).expect("not purged");
        assert_eq!(range.read(usize::MAX).expect("readable"), entries);
        assert_eq!(wal.first_index(), entries.first().map(|entry| entry.index));
        for entry in &entries {
            assert_eq!(wal.term_at(entry.index), Some(entry.term));
        }
        Self {
            purged,
            entries,
            vote: wal.vote(),
        }
    }

    fn last(&self) -> (LogIndex, Term) {
        let last = self.entries.last().map(|entry| (entry.index, entry.term));
        last.unwrap_or(self.purged)
    }

    fn purge(&mut self, through: LogIndex) {
        let kept = self.entries.iter().position(|entry| entry.index > through);
        let forgotten: Vec<WalEntry> = self.entries.drain(..kept.unwrap_or(self.entries.len())).collect();
        self.purged = forgotten.last().map_or(self.purged, |last| (last.index, last.term));
    }
}

/// The log, what it must show, and what it was told is committed.
struct Pair {
    disk: MemoryDisk,
    wal: Wal,
    model: Shown,
    committed: LogIndex,
    /// Surely on disk.
    committed_synced: LogIndex,
    next_payload: u8,
}

impl Pair {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let wal = open(&disk).expect("created").0;
        Self {
            disk,
            wal,
            model: Shown::default(),
            committed: LogIndex::ZERO,
            committed_synced: LogIndex::ZERO,
            next_payload: 0,
        }
    }

    fn step(&mut self, step: &Step, failure: Option<&Failure>) {
        let before = self.model.clone();
        self.disk.set_fault(failure.map(|failure| Fault {
            call: failure.call,
            kind: failure.kind,
            // A disk that is full has space again with the next step.
            sticky: failure.kind == FaultKind::Io,
        }));
        let done = self.attempt(step);
        self.disk.set_fault(None);
        let after = self.model.clone();
        match (done, failure) {
            (Ok(()), _) => {}
            (Err(WalError::NoSpace { .. }), Some(_)) => self.model = before,
            (Err(_), Some(failure)) => {
                self.disk.crash(failure.crash);
                self.wal = open(&self.disk).expect("opened after the crash").0;
                let shown = Shown::of(&self.wal);
                let is_between = match step {
                    // Any of it may be forgotten, and in the superblock alone.
                    Step::Purge { .. } => {
                        let mut between = before.clone();
                        between.purge(shown.purged.0.min(after.last().0));
                        shown == between
                    }
                    _ => shown == before || shown == after,
                };
                assert!(is_between, "{shown:?} is neither {before:?} nor {after:?}");
                self.model = shown;
                self.check_committed();
            }
            (Err(error), None) => panic!("{step:?}: {error}"),
        }
        self.check();
    }

    /// Changes the model and the log. What the model must refuse, the log has to refuse with a typed error.
    fn attempt(&mut self, step: &Step) -> Result<(), WalError> {
        let (last, last_term) = self.model.last();
        match *step {
            Step::Append { count, terms, length } => {
                let entries = (1..=count).map(|number| {
                    self.next_payload = self.next_payload.wrapping_add(1);
                    WalEntry {
                        index: LogIndex::new(last.get() + number),
                        term: Term::new(last_term.get() + terms * number),
                        payload: vec![self.next_payload; length],
                    }
                });
                let entries: Vec<WalEntry> = entries.collect();
                self.model.entries.extend(entries.iter().cloned());
                let committed = self.wal.committed();
                self.wal.append(&entries)?;
                self.committed_synced = self.committed_synced.max(committed);
            }
            Step::Truncate { back } => {
                let index = LogIndex::new((last.get() + 1).saturating_sub(back));
                if index <= self.model.purged.0 {
                    let refused = self.wal.truncate_from(index);
                    assert!(matches!(refused, Err(WalError::Purged { .. })), "{refused:?}");
                } else if index <= self.committed {
                    let refused = self.wal.truncate_from(index);
                    assert!(matches!(refused, Err(WalError::Committed { .. })), "{refused:?}");
                } else {
                    self.model.entries.retain(|entry| entry.index < index);
                    self.wal.truncate_from(index)?;
                }
            }
            Step::Vote { terms, node, committed } => {
                let before = self.model.vote;
                let vote = Vote {
                    term: Term::new(before.term.get() + terms),
                    voted_for: NodeId::new(node),
                    committed,
                };
                let is_later = terms > 0;
                let is_new = before.voted_for == NodeId::ZERO || (committed && !before.committed);
                let is_sound = vote.term >= last_term && (!committed || node > 0);
                if vote == before || (is_sound && (is_later || is_new)) {
                    self.model.vote = vote;
                    self.wal.record_vote(vote)?;
                } else {
                    let refused = self.wal.record_vote(vote);
                    assert!(matches!(refused, Err(WalError::VoteOutOfOrder { .. })), "{refused:?}");
                }
            }
            Step::NoteCommitted { back } => {
                let index = LogIndex::new(last.get().saturating_sub(back));
                self.committed = self.committed.max(index);
                self.wal.note_committed(index);
            }
            Step::Purge { through, is_exact } => {
                let reach = usize::try_from(last.get() - self.model.purged.0.get()).expect("few") + 2;
                let through = LogIndex::new(self.model.purged.0.get() + through.index(reach) as u64);
                if is_exact {
                    self.model.purge(through);
                    purge_exactly(&mut self.wal, through.get())?;
                } else {
                    let result = self.wal.purge(through, Vec::new());
                    let purged = self.wal.purged().unwrap_or_default().0;
                    assert!(purged >= self.model.purged.0 && purged <= through.max(self.model.purged.0));
                    self.model.purge(purged);
                    result?;
                }
            }
            Step::Reset { ahead, back } => {
                let to = (last.get() + ahead).saturating_sub(back);
                let to = (LogIndex::new(to), Term::new(last_term.get() + 1));
                if to.0 == LogIndex::ZERO {
                } else if to.0 < self.model.purged.0 {
                    let refused = self.wal.reset(to, Vec::new());
                    assert!(matches!(refused, Err(WalError::Purged { .. })), "{refused:?}");
                } else if to.0 < self.committed {
                    let refused = self.wal.reset(to, Vec::new());
                    assert!(matches!(refused, Err(WalError::Committed { .. })), "{refused:?}");
                } else {
                    self.model.entries.clear();
                    self.model.purged = to;
                    self.wal.reset(to, Vec::new())?;
                }
            }
            Step::BeginSegment => self.wal.begin_segment(),
            Step::ReserveSpace => self.wal.space().reserve()?,
            Step::MarkSynced => {
                self.wal.mark_synced()?;
                self.committed_synced = self.committed;
            }
            Step::Reopen => self.wal = open(&self.disk)?.0,
            Step::Crash(crash) => {
                self.disk.crash(crash);
                self.wal = open(&self.disk)?.0;
            }
        }
        if matches!(step, Step::Reopen | Step::Crash(_)) {
            self.check_committed();
        }
        Ok(())
    }

    /// The hint may be lost, but neither grow nor fall behind what surely reached the disk.
    fn check_committed(&mut self) {
        let found = self.wal.committed();
        let at_least = match self.model.vote == Vote::default() {
            // The segment that cuts the log off has no record then that could carry it.
            true => self.model.purged.0,
            false => self.committed_synced.max(self.model.purged.0),
        };
        let at_most = self.committed.max(self.model.purged.0);
        assert!(
            at_least <= found && found <= at_most,
            "{found} is not in {at_least}..={at_most}"
        );
        self.committed = found;
    }

    fn check(&mut self) {
        self.committed = self.committed.max(self.model.purged.0);
        assert_eq!(Shown::of(&self.wal), self.model);
        assert_eq!(self.wal.committed(), self.committed);
        let (last, last_term) = self.model.last();
        assert_eq!(self.wal.next_index(), last.next());
        assert_eq!(self.wal.last_term().unwrap_or_default(), last_term);
        assert_eq!(self.wal.segment_count(), segment_files(&self.disk).len());
        let purged = self.model.purged;
        if purged.0 > LogIndex::ZERO {
            assert_eq!(self.wal.term_at(purged.0), Some(purged.1));
            let refused = self.wal.entries_from(purged.0).map(drop);
            assert!(matches!(refused, Err(WalError::Purged { .. })));
        }
        self.wal.scrub().run().expect("nothing is damaged");
    }
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![
        Just(Crash::DropUnsynced),
        Just(Crash::Process),
        any::<u64>().prop_map(|seed| Crash::Torn { seed }),
        any::<u64>().prop_map(|seed| Crash::Reordered { seed }),
        any::<u64>().prop_map(|seed| Crash::InOrder { seed }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u64..5, 0u64..2, 0usize..220).prop_map(|(count, terms, length)| Step::Append { count, terms, length }),
        4 => (0u64..14).prop_map(|back| Step::Truncate { back }),
        2 => (0u64..3, 0u64..3, any::<bool>()).prop_map(|(terms, node, committed)| Step::Vote { terms, node, committed }),
        2 => (0u64..10).prop_map(|back| Step::NoteCommitted { back }),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(through, is_exact)| Step::Purge { through, is_exact }),
        1 => (0u64..6, 0u64..6).prop_map(|(ahead, back)| Step::Reset { ahead, back }),
        1 => Just(Step::BeginSegment),
        1 => Just(Step::ReserveSpace),
        1 => Just(Step::MarkSynced),
        1 => Just(Step::Reopen),
        1 => crash().prop_map(Step::Crash),
    ]
}

fn failure() -> impl Strategy<Value = Option<Failure>> {
    let kind = prop_oneof![Just(FaultKind::Io), Just(FaultKind::NoSpace)];
    let failure = (0u64..24, kind, crash()).prop_map(|(call, kind, crash)| Failure { call, kind, crash });
    prop_oneof![3 => Just(None), 1 => failure.prop_map(Some)]
}

proptest! {
    #[test]
    fn the_log_shows_what_a_plain_model_shows(steps in proptest::collection::vec((step(), failure()), 1..40)) {
        let mut pair = Pair::new();
        for (step, failure) in &steps {
            pair.step(step, failure.as_ref());
        }
    }
}
