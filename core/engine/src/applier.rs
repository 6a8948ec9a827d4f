//! The applier: takes committed entries in order, applies each to its tenants and answers the clients.

use std::collections::HashMap;
use std::sync::Arc;

use craton_consensus::{CommittedEntry, Consensus, ConsensusError};
use craton_kernel::{Command, Operation, Outcome};
use craton_types::TenantId;

use crate::EngineError;
use crate::entry::{Entry, decode_entry, decode_entry_head};
use crate::flusher::{Closing, Flusher};
use crate::health::Health;
use crate::proposer::{Reply, Waiting, WaitingEntries};
use crate::tenant::SharedTenant;
use crate::tenants::Tenants;

/// Above this a view takes no further batch before a flush. One batch may bring it to several times as much.
const VIEW_MEMORY_BYTES_HIGH: usize = 64 * 1024 * 1024;

/// Makes room in a view whose memory is full.
type Relieve<'a> = &'a dyn Fn(&SharedTenant) -> Result<(), EngineError>;

/// What the applier thread works with.
pub(crate) struct Applier {
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) waiting: Arc<WaitingEntries>,
    pub(crate) health: Arc<Health>,
    pub(crate) closing: Arc<Closing>,
    pub(crate) boot: u64,
}

impl Applier {
    /// Applies what was committed before the node was opened, so that it serves what it acknowledged.
    pub(crate) fn recover(&self, flusher: &Flusher) -> Result<(), EngineError> {
        while let Some(entry) = self.consensus.next_recovered()? {
            self.apply(&entry, &|_| flusher.flush_all())?;
        }
        Ok(())
    }

    /// Runs until the consensus is closed or something fails.
    pub(crate) fn run(self) {
        loop {
            let result = match self.consensus.next_committed() {
                Ok(entry) => self.apply(&entry, &|tenant| self.wait_for_memory(tenant)),
                Err(ConsensusError::Closed) => return,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = result {
                self.health
                    .stop(format!("a committed entry could not be applied: {}", chain(&error)));
                self.waiting.lock().clear();
                self.tenants.close();
                self.consensus.close();
                return;
            }
        }
    }

    fn apply(&self, committed: &CommittedEntry, relieve: Relieve<'_>) -> Result<(), EngineError> {
        let (boot, sequence, timestamp) = decode_entry_head(&committed.payload)?;
        let waiting = if boot == self.boot {
            self.waiting.lock().remove(&sequence)
        } else {
            None
        };
        let (commands, replies, begun) = match waiting {
            Some(Waiting {
                commands,
                replies,
                begun,
            }) => (commands, replies, begun),
            None => (decode_entry(&committed.payload)?.commands, Vec::new(), None),
        };
        let entry = Entry { timestamp, commands };
        let outcomes = self.apply_to_tenants(committed, &entry, boot == self.boot, relieve)?;
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
        let mut groups: HashMap<TenantId, Vec<usize>> = HashMap::new();
        for (position, command) in entry.commands.iter().enumerate() {
            groups.entry(command.tenant).or_default().push(position);
        }
        let mut outcomes = vec![None; entry.commands.len()];
        for (tenant, positions) in groups {
            // A tenant that is not known was proposed to by a node that knew it; its keys are gone.
            let Some(writer) = self.tenants.writer(tenant) else {
                continue;
            };
            let commands: Vec<Arc<Command>> = positions
                .iter()
                .map(|&position| Arc::clone(&entry.commands[position]))
                .collect();
            let shared = Arc::clone(&writer.lock().tenant);
            if shared.projection.memory_bytes() > VIEW_MEMORY_BYTES_HIGH {
                relieve(&shared)?;
            }
            let mut writer = writer.lock();
            if committed.index <= writer.applied {
                continue;
            }
            let applied = writer.apply_batch(committed.index, entry.timestamp, &commands)?;
            drop(writer);
            self.open_created_databases(&commands, &applied, is_own)?;
            for (position, outcome) in positions.into_iter().zip(applied) {
                outcomes[position] = Some(outcome);
            }
        }
        Ok(outcomes)
    }

    /// Holds the next batch back while the view's memory is full. Then the proposer waits as well, its queue
    /// fills, and clients are told to come back.
    fn wait_for_memory(&self, tenant: &SharedTenant) -> Result<(), EngineError> {
        while tenant.projection.memory_bytes() > VIEW_MEMORY_BYTES_HIGH {
            self.health.check()?;
            if self.closing.ask_for_flush() {
                break;
            }
        }
        Ok(())
    }

    fn open_created_databases(
        &self,
        commands: &[Arc<Command>],
        outcomes: &[Outcome],
        is_own: bool,
    ) -> Result<(), EngineError> {
        for (command, outcome) in commands.iter().zip(outcomes) {
            if let (Operation::CreateDatabase { database, .. }, Outcome::Committed(_)) = (&command.operation, outcome) {
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

fn answer(replies: Vec<Reply>, outcomes: Vec<Option<Outcome>>) {
    for (reply, outcome) in replies.into_iter().zip(outcomes) {
        if let Some(outcome) = outcome {
            // The client may have gone; then nobody needs the answer.
            let _ = reply.send(Ok(outcome));
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
