//! Applying a batch of commands to a tenant: each is decided in order, then all their records are sealed, on several
//! threads when they are many bytes, and then chained in order.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use craton_crypto::Dek;
use craton_kernel::{Command, Decided, Draft, Operation, Outcome, Refusal, SealedRecord, decide};
use craton_types::{LogIndex, Timestamp};

use crate::EngineError;
use crate::tenant_writer::{CurrentRows, TenantWriter};

/// Another thread helps to seal for every this many bytes: sealing them takes much longer than starting it.
const SEAL_BYTES_PER_THREAD: usize = 512 * 1024;

/// Records that were decided and are not sealed yet, all of one key epoch but for a last, plain one.
#[derive(Default)]
struct Pending {
    drafts: Vec<Draft>,
    /// Which command of the batch each is of, and why that one was refused if that is what the record says.
    positions: Vec<(usize, Option<Refusal>)>,
    bytes: usize,
}

impl TenantWriter {
    /// Applies a batch of commands of one consensus entry and publishes the result to readers.
    pub(crate) fn apply_batch(
        &mut self,
        index: LogIndex,
        timestamp: Timestamp,
        commands: &[Arc<Command>],
    ) -> Result<Vec<Outcome>, EngineError> {
        assert!(index > self.applied, "an entry is applied once");
        let tenant = Arc::clone(&self.tenant);
        let mut outcomes = vec![None; commands.len()];
        let mut pending = Pending::default();
        for (position, command) in commands.iter().enumerate() {
            let rows = CurrentRows {
                tenant: &tenant,
                end: self.state.end,
            };
            match decide(&mut self.state, &rows, timestamp, command)? {
                Decided::Answered(outcome) => outcomes[position] = Some(outcome),
                Decided::Drafted(drafted) => {
                    let header = drafted.draft.header();
                    if header.kind.first_change().is_some() {
                        self.data_end = self.state.end;
                    }
                    pending.bytes += header.payload_length as usize;
                    tenant
                        .state
                        .feed
                        .push(header, &drafted.writes, self.state.state_checkpoint);
                    self.store(header.offset, drafted.writes, drafted.stream)?;
                    self.keep_subject_keys(drafted.subject_keys)?;
                    pending.drafts.push(drafted.draft);
                    pending.positions.push((position, drafted.refusal));
                    if !matches!(command.operation, Operation::Write { .. } | Operation::Append { .. }) {
                        self.settle(&mut pending, commands, &mut outcomes)?;
                    }
                }
            }
        }
        self.settle(&mut pending, commands, &mut outcomes)?;
        self.applied = index;
        self.publish()?;
        let outcomes = outcomes
            .into_iter()
            .map(|outcome| outcome.expect("each command was decided"));
        Ok(outcomes.collect())
    }

    /// Seals, chains and appends what was decided. After a command that brings keys this happens at once, so that the
    /// keys are known when the next record is sealed.
    fn settle(
        &mut self,
        pending: &mut Pending,
        commands: &[Arc<Command>],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), EngineError> {
        let Pending {
            drafts,
            positions,
            bytes,
        } = std::mem::take(pending);
        let Some(first) = drafts.first() else { return Ok(()) };
        let key = self.tenant.keys.get(first.header().key_epoch);
        for (sealed, (position, refusal)) in seal(drafts, bytes, key.as_ref()).into_iter().zip(positions) {
            let (record, committed) = sealed.chain(&mut self.state);
            self.store_record(&commands[position], &record)?;
            outcomes[position] = Some(match refusal {
                None => Outcome::Committed(committed),
                Some(refusal) => Outcome::RefusedOnRecord {
                    record: committed,
                    refusal,
                },
            });
        }
        Ok(())
    }
}

/// Seals drafts, keeping their order.
fn seal(drafts: Vec<Draft>, bytes: usize, key: Option<&Dek>) -> Vec<SealedRecord> {
    let known = |_| key.expect("an epoch's key is known before its first encrypted record");
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (1 + bytes / SEAL_BYTES_PER_THREAD).min(processors).min(drafts.len());
    if threads <= 1 {
        return drafts.into_iter().map(|draft| draft.seal(known)).collect();
    }
    let share = drafts.len().div_ceil(threads);
    let mut rest = drafts.into_iter();
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads)
            .map(|_| {
                let part: Vec<Draft> = rest.by_ref().take(share).collect();
                scope.spawn(move || part.into_iter().map(|draft| draft.seal(known)).collect::<Vec<_>>())
            })
            .collect();
        let last: Vec<SealedRecord> = rest.map(|draft| draft.seal(known)).collect();
        let mut sealed = Vec::new();
        for helper in helpers {
            sealed.extend(helper.join().expect("sealing does not panic"));
        }
        sealed.extend(last);
        sealed
    })
}
