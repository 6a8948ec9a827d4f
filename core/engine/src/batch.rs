//! Applying a batch of commands to a tenant: each is decided in order, then all their records are sealed, on several
//! threads when they are many bytes, and then chained in order.

use std::num::NonZero;
use std::sync::{Arc, LazyLock};
use std::thread;

use craton_crypto::{ChunkSealer, Dek};
use craton_kernel::{Command, Decided, Draft, Operation, Outcome, Refusal, SealedRecord, decide};
use craton_types::{KeyEpoch, LogIndex, Timestamp};

use crate::EngineError;
use crate::tenant_writer::{CurrentRows, TenantWriter};

/// Another thread helps to seal for every this many bytes: sealing them takes much longer than starting it.
const SEAL_BYTES_PER_THREAD: usize = 512 * 1024;
/// So many small records are sealed and chained before the next ones are decided: what they are made of is still in the
/// processor's cache then.
const PENDING_RECORDS: usize = 64;
/// Records are small up to this many bytes; larger ones gather until several threads have work.
const SMALL_RECORD_BYTES: usize = 4 * 1024;

/// The processors of this process. Asked once: the answer takes reading files of the control group.
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));

/// Records that were decided and are not sealed yet, all of one key epoch but for a last, plain one.
#[derive(Default)]
struct Pending {
    drafts: Vec<Draft>,
    /// Which command of the batch each is of, and why that one was refused if that is what the record says.
    positions: Vec<(usize, Option<Refusal>)>,
    bytes: usize,
}

impl TenantWriter {
    /// Applies some commands of a consensus entry, those at `positions`, and publishes the result to readers. Their
    /// outcomes go to the same positions.
    pub(crate) fn apply_batch(
        &mut self,
        index: LogIndex,
        timestamp: Timestamp,
        commands: &[Arc<Command>],
        positions: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), EngineError> {
        assert!(index > self.applied, "an entry is applied once");
        let tenant = Arc::clone(&self.tenant);
        let mut pending = Pending::default();
        for &position in positions {
            let command = &commands[position];
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
                    let is_write = matches!(command.operation, Operation::Write { .. } | Operation::Append { .. });
                    if !is_write || pending.is_enough() {
                        self.settle(&mut pending, commands, outcomes)?;
                    }
                }
            }
        }
        self.settle(&mut pending, commands, outcomes)?;
        self.applied = index;
        self.publish()
    }

    /// Seals, chains and appends what was decided. After a command that brings keys this happens at once, so that the
    /// keys are known when the next record is sealed.
    fn settle(
        &mut self,
        pending: &mut Pending,
        commands: &[Arc<Command>],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), EngineError> {
        let Some(first) = pending.drafts.first() else {
            return Ok(());
        };
        let key = self.tenant.keys.get(first.header().key_epoch);
        let threads = pending.threads();
        let Pending {
            drafts,
            positions,
            bytes,
        } = pending;
        *bytes = 0;
        let (drafts, positions) = (drafts.drain(..), positions.drain(..));
        let mut settle = |sealed: SealedRecord, (position, refusal): (usize, Option<Refusal>)| {
            let (record, committed) = sealed.chain(&mut self.state);
            self.store_record(&commands[position], &record)?;
            outcomes[position] = Some(match refusal {
                None => Outcome::Committed(committed),
                Some(refusal) => Outcome::RefusedOnRecord {
                    record: committed,
                    refusal,
                },
            });
            Ok(())
        };
        if threads <= 1 {
            let mut sealer = ChunkSealer::default();
            let mut pairs = drafts.zip(positions);
            return pairs
                .try_for_each(|(draft, position)| settle(draft.seal(&mut sealer, known(key.as_ref())), position));
        }
        let sealed = seal_on_threads(drafts, threads, key.as_ref());
        let mut pairs = sealed.into_iter().zip(positions);
        pairs.try_for_each(|(sealed, position)| settle(sealed, position))
    }
}

impl Pending {
    fn is_enough(&self) -> bool {
        self.drafts.len() >= PENDING_RECORDS && self.bytes <= self.drafts.len() * SMALL_RECORD_BYTES
    }

    /// How many threads seal it.
    fn threads(&self) -> usize {
        (1 + self.bytes / SEAL_BYTES_PER_THREAD)
            .min(*PROCESSORS)
            .min(self.drafts.len())
    }
}

/// The key for every draft that asks for one.
fn known<'a>(key: Option<&'a Dek>) -> impl Fn(KeyEpoch) -> &'a Dek {
    move |_| key.expect("an epoch's key is known before its first encrypted record")
}

/// Seals drafts on several threads, keeping their order.
fn seal_on_threads(
    drafts: impl ExactSizeIterator<Item = Draft>,
    threads: usize,
    key: Option<&Dek>,
) -> Vec<SealedRecord> {
    let share = drafts.len().div_ceil(threads);
    let seal = |drafts: Vec<Draft>| -> Vec<SealedRecord> {
        let mut sealer = ChunkSealer::default();
        let seal = |draft: Draft| draft.seal(&mut sealer, known(key));
        drafts.into_iter().map(seal).collect()
    };
    let mut rest = drafts;
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads)
            .map(|_| {
                let part: Vec<Draft> = rest.by_ref().take(share).collect();
                scope.spawn(move || seal(part))
            })
            .collect();
        let last = seal(rest.collect());
        let mut sealed = Vec::new();
        for helper in helpers {
            sealed.extend(helper.join().expect("sealing does not panic"));
        }
        sealed.extend(last);
        sealed
    })
}
