//! The applier: takes committed entries in order, applies each to its tenants and answers the clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_consensus::{CommittedEntry, Consensus, ConsensusError};
use craton_kernel::{Command, Operation, Outcome};
use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, TenantId, Timestamp};
use parking_lot::{Mutex, MutexGuard};

use crate::EngineError;
use crate::background::Background;
use crate::entry::{Entry, decode_entry, decode_entry_head};
use crate::flusher::{Closing, Flusher};
use crate::format::FormatFile;
use crate::health::Health;
use crate::proposer::{Waiting, WaitingEntries};
use crate::queue::Reply;
use crate::tenant::SharedTenant;
use crate::tenants::{SYSTEM_TENANT, Tenants};
use crate::writeback::WritebackQueue;

/// Above this a view takes no further batch before a flush. One batch may bring it to several times as much.
const VIEW_MEMORY_BYTES_HIGH: usize = 64 * 1024 * 1024;

/// A node that opens with more files of the write-ahead log than these flushes before it serves. Every opening begins a
/// file, so a node that never lives until its first flush would fill the disk with them.
const SEGMENTS_AT_OPENING_MAX: usize = 4;

/// Makes room in a view whose memory is full.
type Relieve<'a> = &'a dyn Fn(&SharedTenant) -> Result<(), EngineError>;

/// What whoever applies an entry works with: the applier thread, or a thread that committed one alone.
pub(crate) struct Applier {
    /// Held while an entry is applied.
    pub(crate) order: Mutex<()>,
    pub(crate) background: Background,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) waiting: Arc<WaitingEntries>,
    pub(crate) health: Arc<Health>,
    pub(crate) closing: Arc<Closing>,
    pub(crate) writebacks: Arc<WritebackQueue>,
    pub(crate) format: Arc<FormatFile>,
    pub(crate) boot: u64,
}

impl Applier {
    /// Applies what was committed before the node was opened, so that it serves what it acknowledged.
    pub(crate) fn recover(&self) -> Result<(), EngineError> {
        let _order = self.order.lock();
        self.follow_format()?;
        while let Some(entry) = self.consensus.next_recovered()? {
            self.apply(&entry, &|_| self.flusher.flush_all())?;
        }
        self.tenants.check_heads()?;
        // What the log has forgotten was applied before.
        self.tenants.set_applied_index(self.consensus.last_recovered());
        if self.consensus.segment_count() > SEGMENTS_AT_OPENING_MAX {
            self.flusher.flush_all()?;
        }
        Ok(())
    }

    /// The applier thread: runs until the consensus is closed or something fails.
    pub(crate) fn run(&self) {
        while self.take(self.consensus.next_committed()) {}
    }

    /// Applies what the consensus gave; whether to go on.
    fn take(&self, committed: Result<CommittedEntry, ConsensusError>) -> bool {
        let result = match committed {
            Ok(entry) => {
                let _order = self.order.lock();
                self.apply(&entry, &|tenant| self.wait_for_memory(tenant))
            }
            Err(ConsensusError::Closed) => return false,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = &result {
            self.fail(error);
        }
        result.is_ok()
    }

    /// Applies the next committed entry if there is one; whether there was.
    #[cfg(feature = "simulation")]
    pub(crate) fn step(&self, consensus: &dyn craton_consensus::Stepped) -> bool {
        match consensus.try_next_committed() {
            Ok(None) => false,
            Ok(Some(entry)) => self.take(Ok(entry)),
            Err(error) => self.take(Err(error)),
        }
    }

    /// The right to apply the next entry, unless somebody has it.
    pub(crate) fn try_order(&self) -> Option<Order<'_>> {
        let guard = self.order.try_lock()?;
        Some(Order {
            applier: self,
            _guard: guard,
        })
    }

    fn fail(&self, error: &EngineError) {
        self.health
            .stop(format!("a committed entry could not be applied: {}", chain(error)));
        self.waiting.lock().clear();
        self.tenants.close();
        self.consensus.close();
    }

    fn apply(&self, committed: &CommittedEntry, relieve: Relieve<'_>) -> Result<(), EngineError> {
        if committed.payload.is_empty() {
            // An entry of consensus itself.
            self.tenants.set_applied_index(committed.index);
            return Ok(());
        }
        let (boot, sequence, timestamp) = decode_entry_head(&committed.payload)?;
        let waiting = if boot == self.boot {
            self.waiting.lock().remove(&sequence)
        } else {
            None
        };
        let waiting = match waiting {
            Some(waiting) => waiting,
            None => Waiting {
                commands: decode_entry(&committed.payload)?.commands,
                replies: Vec::new(),
                begun: None,
            },
        };
        self.apply_waiting(committed, timestamp, waiting, boot == self.boot, relieve)
    }

    fn apply_waiting(
        &self,
        committed: &CommittedEntry,
        timestamp: Timestamp,
        waiting: Waiting,
        is_own: bool,
        relieve: Relieve<'_>,
    ) -> Result<(), EngineError> {
        let Waiting {
            commands,
            replies,
            begun,
        } = waiting;
        let entry = Entry { timestamp, commands };
        let outcomes = self.apply_to_tenants(committed, &entry, is_own, relieve)?;
        self.tenants.set_applied_index(committed.index);
        answer(replies, outcomes);
        if let Some(begun) = begun {
            // Whoever asked may have gone; then nobody needs the answer.
            let _ = begun.send(());
        }
        Ok(())
    }

    /// Groups the commands by tenant, keeping their order, and applies each group.
    fn apply_to_tenants(
        &self,
        committed: &CommittedEntry,
        entry: &Entry,
        is_own: bool,
        relieve: Relieve<'_>,
    ) -> Result<Vec<Option<Outcome>>, EngineError> {
        let mut groups: BTreeMap<TenantId, Vec<usize>> = BTreeMap::new();
        for (position, command) in entry.commands.iter().enumerate() {
            groups.entry(command.tenant).or_default().push(position);
        }
        let mut outcomes = vec![None; entry.commands.len()];
        for (tenant, mut positions) in groups {
            if is_own && is_planted(Bug::ApplyOutOfOrder) {
                positions.reverse();
            }
            // A tenant that is not known was proposed to by a node that knew it; its keys are gone.
            let Some(writer) = self.tenants.writer(tenant) else {
                continue;
            };
            let shared = Arc::clone(&writer.lock().tenant);
            if shared.projection.memory_bytes() > VIEW_MEMORY_BYTES_HIGH {
                relieve(&shared)?;
            }
            let mut writer = writer.lock();
            if committed.index <= writer.applied && !is_planted(Bug::ApplyAgain) {
                continue;
            }
            writer.apply_batch(
                committed.index,
                entry.timestamp,
                &entry.commands,
                &positions,
                &mut outcomes,
            )?;
            if let Some(writeback) = writer.begin_writeback() {
                self.writebacks.push(writeback);
            }
            drop(writer);
            if tenant == SYSTEM_TENANT {
                self.follow_format()?;
            }
            self.open_created_databases(&entry.commands, &positions, &outcomes, is_own)?;
        }
        Ok(outcomes)
    }

    /// Uses the version of the formats that the system tenant's log says.
    pub(crate) fn follow_format(&self) -> Result<(), EngineError> {
        let Some(system) = self.tenants.writer(SYSTEM_TENANT) else {
            return Ok(());
        };
        let decided = system.lock().state.format;
        self.health
            .space
            .retry(EngineError::is_out_of_space, || self.format.follow(decided))
    }

    /// Holds the next batch back while the view's memory is full. Then the proposer waits as well, its queue
    /// fills, and clients are told to come back.
    fn wait_for_memory(&self, tenant: &SharedTenant) -> Result<(), EngineError> {
        match self.background {
            Background::Threads => {
                while tenant.projection.memory_bytes() > VIEW_MEMORY_BYTES_HIGH {
                    self.health.check()?;
                    if self.closing.ask_for_flush() {
                        break;
                    }
                }
                Ok(())
            }
            // There is nobody else to flush.
            #[cfg(feature = "simulation")]
            Background::Steps => self.flusher.flush_all(),
        }
    }

    fn open_created_databases(
        &self,
        commands: &[Arc<Command>],
        positions: &[usize],
        outcomes: &[Option<Outcome>],
        is_own: bool,
    ) -> Result<(), EngineError> {
        for &position in positions {
            let operation = &commands[position].operation;
            if let (Operation::CreateDatabase { database, .. }, Some(Outcome::Committed(_))) =
                (operation, &outcomes[position])
            {
                self.health
                    .space
                    .retry(EngineError::is_out_of_space, || self.tenants.open(database))?;
                if is_own {
                    self.tenants.note_fresh(database.tenant);
                }
            }
        }
        Ok(())
    }
}

/// The right to apply the next entry.
pub(crate) struct Order<'a> {
    applier: &'a Applier,
    _guard: MutexGuard<'a, ()>,
}

impl Order<'_> {
    /// The last entry that was applied; it stays that while this lives.
    pub(crate) fn applied_index(&self) -> LogIndex {
        self.applier.tenants.applied_index()
    }

    /// Applies an entry of this process and answers its clients; whether the node may go on.
    pub(crate) fn apply(&self, committed: &CommittedEntry, timestamp: Timestamp, waiting: Waiting) -> bool {
        let applier = self.applier;
        let relieve = |tenant: &SharedTenant| applier.wait_for_memory(tenant);
        let applied = applier.apply_waiting(committed, timestamp, waiting, true, &relieve);
        if let Err(error) = &applied {
            applier.fail(error);
        }
        applied.is_ok()
    }
}

fn answer(replies: Vec<Reply>, outcomes: Vec<Option<Outcome>>) {
    for (reply, outcome) in replies.into_iter().zip(outcomes) {
        if let Some(outcome) = outcome {
            reply.send(Ok(outcome));
        }
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
