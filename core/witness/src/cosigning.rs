//! The background work: which database's checkpoint goes to which witness, and when.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use craton_engine::{Craton, EngineError, Refusal, SignedCheckpoint, Tenant, Wait as _};
use craton_proof::Note;
use parking_lot::{Condvar, Mutex};

use crate::asking::{AskError, ask};
use crate::time_stamp::{StampError, stamp};
use crate::{CosigningStatus, Policy, RequestOutcome, StampOutcome, Transport, Witness, WitnessStatus};

/// How often the checkpoints are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Databases whose witnesses are asked at the same time.
const ROUNDS_AT_ONCE_MAX: usize = 4;
/// Databases that wait for their turn. Others are found again at the next look.
const ROUNDS_QUEUED_MAX: usize = 64;
/// How long a witness that did not help is left alone at first; twice as long each further time.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// How long at most.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// So many failures in a row are worth a warning: fewer are a restart, or a log that the witness is just getting to
/// know.
const FAILURES_NOTED: u32 = 6;

/// Takes checkpoints to witnesses until it is stopped or dropped.
pub struct Cosigning {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    engine: Craton,
    transport: Arc<dyn Transport>,
    policy: ArcSwap<Policy>,
    stopped: Mutex<bool>,
    wake: Condvar,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    requests: BTreeMap<RequestOutcome, u64>,
    time_stamps: BTreeMap<StampOutcome, u64>,
    stamping: Backoff,
    /// By database and witness.
    known: HashMap<(String, String), Known>,
    /// Databases that a round is queued or running for.
    under_way: HashSet<String>,
}

/// What is known of a witness and a database.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The last size that it cosigned.
    size: Option<u64>,
    backoff: Backoff,
    /// Whether another history was cried out about.
    alarmed: bool,
}

/// How long one that did not help is left alone.
#[derive(Clone, Debug, Default)]
struct Backoff {
    failures: u32,
    retry_at: Option<Instant>,
    error: Option<String>,
}

impl Backoff {
    fn is_resting(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| now < at)
    }

    /// Returns how many failures in a row there were.
    fn fail(&mut self, error: String) -> u32 {
        let pause = BACKOFF_MIN.saturating_mul(1 << self.failures.min(6)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now() + pause);
        self.error = Some(error);
        self.failures
    }
}

impl Cosigning {
    /// Starts the background threads.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(engine: Craton, transport: Arc<dyn Transport>, policy: Policy) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            engine,
            transport,
            policy: ArcSwap::from_pointee(policy),
            stopped: Mutex::new(false),
            wake: Condvar::new(),
            memory: Mutex::default(),
        });
        let (queue, rounds) = sync_channel::<String>(ROUNDS_QUEUED_MAX);
        let rounds = Arc::new(Mutex::new(rounds));
        for _ in 0..ROUNDS_AT_ONCE_MAX {
            let (shared, rounds) = (Arc::downgrade(&shared), Arc::clone(&rounds));
            let work = move || {
                while let Some(database) = next(&rounds) {
                    let Some(shared) = shared.upgrade() else { return };
                    shared.round(&database);
                }
            };
            // They are not waited for: a request that is under way at the end has its own time limit.
            thread::Builder::new().name("craton-cosign".to_owned()).spawn(work)?;
        }
        let looking = Arc::clone(&shared);
        let look = move || looking.run(&queue);
        let thread = thread::Builder::new().name("craton-witness".to_owned()).spawn(look)?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Asks other witnesses from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.policy.store(Arc::new(policy));
    }

    /// The witnesses that are asked.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.shared.policy.load_full()
    }

    /// What has become of the requests.
    #[must_use]
    pub fn status(&self) -> CosigningStatus {
        let policy = self.policy();
        let memory = self.shared.memory.lock();
        let is_current = |witness: &String| policy.witnesses().iter().any(|current| current.id() == *witness);
        let known = memory.known.iter().filter(|((_, witness), _)| is_current(witness));
        let mut witnesses: Vec<_> = known
            .map(|((database, witness), known)| WitnessStatus {
                database: database.clone(),
                witness: witness.clone(),
                cosigned_size: known.size,
                error: known.backoff.error.clone(),
            })
            .collect();
        witnesses.sort_by(|a, b| (&a.database, &a.witness).cmp(&(&b.database, &b.witness)));
        CosigningStatus {
            requests: memory.requests.clone(),
            time_stamps: memory.time_stamps.clone(),
            time_stamp_error: memory.stamping.error.clone(),
            witnesses,
        }
    }

    /// Ends the background work. Requests under way are left to their time limits; nothing of them is recorded once the
    /// node is closed.
    pub fn stop(&self) {
        *self.shared.stopped.lock() = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A panic has been printed already, and nothing depends on the thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Cosigning {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The next database; `None` when there will be none.
fn next(rounds: &Mutex<Receiver<String>>) -> Option<String> {
    rounds.lock().recv().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "waiting times of the background work, which decide nothing else"
)]
fn now() -> Instant {
    Instant::now()
}

impl Shared {
    fn run(&self, queue: &SyncSender<String>) {
        loop {
            self.look(queue);
            let mut stopped = self.stopped.lock();
            if !*stopped {
                self.wake.wait_for(&mut stopped, TICK);
            }
            if *stopped {
                return;
            }
        }
    }

    /// Queues a round for every database with a checkpoint that a witness has not cosigned and may be asked about.
    fn look(&self, queue: &SyncSender<String>) {
        let policy = self.policy.load();
        if !self.engine.leads() {
            // One member of a cluster asks for all; the cosignatures come through the log.
            return;
        }
        for name in self.engine.tenants() {
            let Some(tenant) = self.engine.tenant(&name) else {
                continue;
            };
            let now = now();
            let mut memory = self.memory.lock();
            let asked = |witness: &&Witness| {
                let known = memory.known.get(&(name.clone(), witness.id()));
                known.is_none_or(|known| !known.backoff.is_resting(now))
            };
            let awake: Vec<&Witness> = policy.witnesses().iter().filter(asked).collect();
            tenant.expect_cosignatures(!awake.is_empty());
            let size = tenant.checkpoint_size();
            let is_behind = |witness: &&Witness| {
                let known = memory.known.get(&(name.clone(), witness.id()));
                known.and_then(|known| known.size).is_none_or(|known| known < size)
            };
            let is_wanted = size > 0 && awake.iter().any(is_behind);
            if is_wanted && !memory.under_way.contains(&name) && queue.try_send(name.clone()).is_ok() {
                memory.under_way.insert(name);
            }
        }
    }

    /// Takes a database's newest checkpoint to its witnesses and records what they say.
    fn round(&self, database: &str) {
        if let Some(tenant) = self.engine.tenant(database) {
            if let Err(error) = self.cosign(&tenant) {
                // A node that closes refuses what is recorded then.
                tracing::info!(database, %error, "cosignatures were not recorded");
            }
            tenant.expect_cosignatures(true);
        }
        self.memory.lock().under_way.remove(database);
    }

    fn cosign(&self, tenant: &Tenant) -> Result<(), EngineError> {
        let Some(checkpoint) = self.checkpoint(tenant)? else {
            return Ok(());
        };
        let Ok(mut note) = Note::parse(checkpoint.note.as_bytes()) else {
            tracing::error!(database = tenant.name(), "the newest checkpoint is no note");
            return Ok(());
        };
        let policy = self.policy.load_full();
        let now = now();
        let (mut missing, mut is_new) = (Vec::new(), false);
        for witness in policy.witnesses() {
            match witness.key.cosignature(&note) {
                Ok(Some(_)) => self.succeeded(tenant, witness, checkpoint.size),
                _ if self.known(tenant, witness).backoff.is_resting(now) => {}
                _ => missing.push(witness),
            }
        }
        let answers: Vec<_> = thread::scope(|scope| {
            let ask = |witness| {
                let note = &note;
                (witness, scope.spawn(move || self.ask(tenant, witness, note)))
            };
            let asked: Vec<_> = missing.into_iter().map(ask).collect();
            let answer = |(witness, thread): (_, thread::ScopedJoinHandle<_>)| (witness, thread.join());
            asked.into_iter().map(answer).collect()
        });
        for (witness, answer) in answers {
            let Ok(answer) = answer else { continue };
            match answer {
                Ok(signatures) => {
                    for signature in signatures {
                        is_new |= note.add(signature).is_ok();
                    }
                    self.count(RequestOutcome::Cosigned);
                    self.succeeded(tenant, witness, checkpoint.size);
                }
                Err(error) => self.failed(tenant, witness, &error),
            }
        }
        if is_new {
            self.record(tenant, note)?;
        }
        Ok(())
    }

    /// The newest checkpoint, with the cosignatures that it has already.
    fn checkpoint(&self, tenant: &Tenant) -> Result<Option<SignedCheckpoint>, EngineError> {
        let cosigned = tenant.newest_cosigned_checkpoint()?;
        let newest = tenant.newest_checkpoint()?;
        let is_older = |cosigned: &SignedCheckpoint| newest.as_ref().is_some_and(|newest| cosigned.size < newest.size);
        Ok(match cosigned {
            Some(cosigned) if !is_older(&cosigned) => Some(cosigned),
            _ => newest,
        })
    }

    fn ask(
        &self,
        tenant: &Tenant,
        witness: &Witness,
        note: &Note,
    ) -> Result<Vec<craton_proof::NoteSignature>, AskError> {
        let known = self
            .known(tenant, witness)
            .size
            .unwrap_or_else(|| tenant.cosigned_size());
        ask(self.transport.as_ref(), tenant, witness, note, known, |outcome| {
            self.count(outcome)
        })
    }

    fn record(&self, tenant: &Tenant, note: Note) -> Result<(), EngineError> {
        let note = note.to_string();
        let time_stamp = self.time_stamp(tenant, note.as_bytes());
        match tenant.record_cosigned(note, time_stamp).wait() {
            // While the witnesses were asked, many checkpoints were made; the next round takes the newest.
            Err(EngineError::Refused(Refusal::CheckpointUnknown { size })) => {
                tracing::info!(database = tenant.name(), size, "cosignatures came too late");
                Ok(())
            }
            recorded => recorded.map(drop),
        }
    }

    /// A time stamp over a note, where an authority is configured. Without its answer the note is recorded all the same,
    /// and the authority is left alone for a while: receipts wait for cosignatures.
    fn time_stamp(&self, tenant: &Tenant, note: &[u8]) -> Option<Vec<u8>> {
        let policy = self.policy.load();
        let authority = policy.time_stamp_authority()?;
        if self.memory.lock().stamping.is_resting(now()) {
            return None;
        }
        let stamped = stamp(self.transport.as_ref(), authority, note);
        let mut memory = self.memory.lock();
        let outcome = stamped
            .as_ref()
            .map_or_else(StampError::outcome, |_| StampOutcome::Stamped);
        *memory.time_stamps.entry(outcome).or_default() += 1;
        match stamped {
            Ok(token) => {
                memory.stamping = Backoff::default();
                Some(token)
            }
            Err(error) => {
                let failures = memory.stamping.fail(error.to_string());
                drop(memory);
                if failures == 1 {
                    tracing::warn!(database = tenant.name(), %error, "a cosigned checkpoint has no time stamp");
                }
                None
            }
        }
    }

    fn count(&self, outcome: RequestOutcome) {
        *self.memory.lock().requests.entry(outcome).or_default() += 1;
    }

    fn known(&self, tenant: &Tenant, witness: &Witness) -> Known {
        let key = (tenant.name().to_owned(), witness.id());
        self.memory.lock().known.get(&key).cloned().unwrap_or_default()
    }

    fn succeeded(&self, tenant: &Tenant, witness: &Witness, size: u64) {
        let key = (tenant.name().to_owned(), witness.id());
        let known = Known {
            size: Some(size),
            ..Known::default()
        };
        let before = self.memory.lock().known.insert(key, known);
        if before.is_some_and(|before| before.backoff.failures >= FAILURES_NOTED) {
            tracing::info!(
                database = tenant.name(),
                witness = witness.id(),
                "the witness cosigns again"
            );
        }
    }

    fn failed(&self, tenant: &Tenant, witness: &Witness, error: &AskError) {
        let outcome = error.outcome();
        self.count(outcome);
        let key = (tenant.name().to_owned(), witness.id());
        let mut memory = self.memory.lock();
        let known = memory.known.entry(key).or_default();
        let is_alarm = outcome == RequestOutcome::OtherHistory && !known.alarmed;
        known.alarmed |= is_alarm;
        let failures = known.backoff.fail(error.to_string());
        let (database, witness) = (tenant.name(), witness.id());
        drop(memory);
        if is_alarm {
            tracing::error!(database, witness, %error, "a witness refuses this log");
        } else if failures == FAILURES_NOTED {
            tracing::warn!(database, witness, %error, failures, "a witness does not cosign");
        } else {
            tracing::debug!(database, witness, %error, failures, "a witness did not cosign");
        }
    }
}
