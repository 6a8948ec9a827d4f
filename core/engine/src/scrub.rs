//! The scrubber: reads the write-ahead log and the tenants' logs through at a limited rate, so that damage is found before somebody needs what is
//! damaged. What is derived is mended; what the node mended by itself is recorded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use craton_consensus::Consensus;
use craton_types::{Offset, Recovered, RecoveryAction, RecoveryArea, Timestamp};
use parking_lot::Mutex;

use crate::applier::chain;
use crate::background::Background;
use crate::craton::Node;
use crate::damage::{Damage, DamagedRecord};
use crate::flusher::Closing;
use crate::recoveries::Recoveries;
use crate::repair::Repair;
use crate::tenant::SharedTenant;

/// How often it is looked whether something is to be recorded.
const PERIOD: Duration = Duration::from_millis(250);
/// How much is read at once, at the most.
const STEP_BYTES_MAX: u64 = 256 * 1024;
/// How fast and how often the logs are read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// The most bytes read in a second; 0 for no scrubbing.
    pub bytes_per_second: u64,
    /// The time from the end of one pass to the beginning of the next.
    pub pause: Duration,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self {
            bytes_per_second: 8 * 1024 * 1024,
            pause: Duration::from_secs(3_600),
        }
    }
}

/// What the scrubber did since the node was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Bytes of records that it read.
    pub bytes: u64,
    /// When it last had read everything.
    pub completed: Option<Timestamp>,
    /// How long it held back to keep to its rate.
    pub throttled: Duration,
    /// What is damaged of the write-ahead log, if anything. Purging ends it; before that the node would not start again.
    pub wal_damage: Option<String>,
    /// What is damaged. Reading it gives an error; everything else is served.
    pub damaged: Vec<DamagedRecord>,
}

/// The scrubber's findings, shared with whoever asks for them.
#[derive(Default)]
pub(crate) struct Scrubbed {
    bytes: u64,
    completed: Option<Timestamp>,
    throttled: Duration,
    wal_damage: Option<String>,
}

impl Scrubbed {
    pub(crate) fn status(&self, damage: &Damage) -> ScrubStatus {
        ScrubStatus {
            bytes: self.bytes,
            completed: self.completed,
            throttled: self.throttled,
            wal_damage: self.wal_damage.clone(),
            damaged: damage.records(),
        }
    }
}

/// What the scrubber thread works with.
pub(crate) struct Scrubber {
    pub(crate) node: Arc<Node>,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) recoveries: Arc<Recoveries>,
    pub(crate) damage: Arc<Damage>,
    pub(crate) repair: Repair,
    pub(crate) closing: Arc<Closing>,
    pub(crate) background: Background,
    pub(crate) options: ScrubOptions,
    pub(crate) scrubbed: Arc<Mutex<Scrubbed>>,
}

/// The node closes.
pub(crate) struct Closed;

impl Scrubber {
    /// Runs until the node closes.
    pub(crate) fn run(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
            self.node.health.stop("no runtime for the scrubber".to_owned());
            return;
        };
        // It ends when the node closes.
        let Err(Closed) = runtime.block_on(self.work());
    }

    /// Works until the node closes.
    pub(crate) async fn work(&self) -> Result<Infallible, Closed> {
        let mut pass_at = self.node.clock.now();
        loop {
            self.look().await;
            if self.options.bytes_per_second > 0 && self.node.clock.now() >= pass_at {
                self.pass().await?;
                let now = self.node.clock.now();
                self.scrubbed.lock().completed = Some(now);
                let pause = u64::try_from(self.options.pause.as_nanos()).unwrap_or(u64::MAX);
                pass_at = Timestamp::new(now.get().saturating_add(pause));
                continue;
            }
            let period = PERIOD.min(self.options.pause.max(Duration::from_millis(1)));
            self.wait(period).await?;
        }
    }

    /// Repairs what is known to be damaged, and records what was mended.
    async fn look(&self) {
        self.repair.look(&self.node, &self.damage, &self.recoveries).await;
        self.recoveries.record(&self.node).await;
    }

    async fn wait(&self, time: Duration) -> Result<(), Closed> {
        match self.background {
            Background::Threads if self.closing.wait(time) => Err(Closed),
            Background::Threads => Ok(()),
            #[cfg(feature = "simulation")]
            Background::Steps => {
                crate::background::next_step().await;
                Ok(())
            }
        }
    }

    /// Reads every log through once.
    async fn pass(&self) -> Result<(), Closed> {
        self.check_wal().await?;
        let system = Arc::clone(self.node.tenants.system());
        for tenant in std::iter::once(system).chain(self.node.tenants.databases()) {
            self.mend_indexes(&tenant);
            self.read_through(&tenant).await?;
            self.mend_frames(&tenant);
        }
        Ok(())
    }

    /// Checks the closed segments of the write-ahead log. Damage to them is gone once everything they lead to is
    /// flushed and they are purged, so that is asked for.
    async fn check_wal(&self) -> Result<(), Closed> {
        match self.consensus.scrub() {
            Ok(bytes) => {
                {
                    let mut scrubbed = self.scrubbed.lock();
                    scrubbed.wal_damage = None;
                    scrubbed.bytes += bytes;
                }
                self.throttle(bytes).await
            }
            Err(error) => {
                let damage = chain(&error);
                tracing::error!(
                    error = damage,
                    "the write-ahead log is damaged; the databases are flushed so that it can forget"
                );
                self.scrubbed.lock().wal_damage = Some(damage);
                // No answer means that the node closes.
                let Ok(flushed) = self.closing.flush().await else {
                    return Err(Closed);
                };
                if flushed.is_ok() && self.consensus.scrub().is_ok() {
                    tracing::info!("the damaged part of the write-ahead log was purged");
                    self.scrubbed.lock().wal_damage = None;
                }
                Ok(())
            }
        }
    }

    async fn read_through(&self, tenant: &SharedTenant) -> Result<(), Closed> {
        let mended_before = tenant.log.tiles_mended();
        let mut from = Offset::ZERO;
        loop {
            let step = match tenant.log.scrub(from, self.step_bytes()) {
                Ok(step) => step,
                Err(error) => {
                    tracing::error!(
                        database = tenant.name,
                        error = chain(&error),
                        "a log cannot be scrubbed"
                    );
                    return Ok(());
                }
            };
            if step.next == from {
                break;
            }
            self.damage.note_range(&tenant.name, from, step.next, &step.damaged);
            if !step.damaged.is_empty() {
                self.look().await;
            }
            from = step.next;
            self.scrubbed.lock().bytes += step.bytes;
            self.throttle(step.bytes).await?;
        }
        if tenant.log.tiles_mended() > mended_before {
            self.note_mended(tenant, "*.hashes".to_owned());
        }
        Ok(())
    }

    /// A step takes a fraction of a second at the permitted rate.
    fn step_bytes(&self) -> u64 {
        (self.options.bytes_per_second / 8).clamp(1, STEP_BYTES_MAX)
    }

    fn mend_indexes(&self, tenant: &SharedTenant) {
        match tenant.log.mend_indexes() {
            Ok(mended) => {
                for name in mended {
                    self.note_mended(tenant, name);
                }
            }
            // Damage to the records is named when they are read; a full disk lets the next pass mend.
            Err(error) => {
                tracing::warn!(
                    database = tenant.name,
                    error = chain(&error),
                    "an index could not be mended"
                );
            }
        }
    }

    /// Headers and footers of segments follow from what is around them.
    fn mend_frames(&self, tenant: &SharedTenant) {
        match tenant.log.mend_frames() {
            Ok(mended) => {
                for repaired in mended {
                    self.recoveries
                        .note_repaired(tenant.id, repaired, "the records around it");
                }
            }
            Err(error) => {
                tracing::warn!(
                    database = tenant.name,
                    error = chain(&error),
                    "the header or footer of a segment could not be mended"
                );
            }
        }
    }

    fn note_mended(&self, tenant: &SharedTenant, file: String) {
        self.recoveries.note(
            tenant.id,
            Recovered {
                generation: 0,
                area: RecoveryArea::LogIndex,
                file,
                start: 0,
                end: 0,
                reason: format!("a scrub found damage at {}", self.node.clock.now().get()),
                action: RecoveryAction::Rebuilt,
                node: None,
            },
        );
    }

    /// Waits as long as reading this much may take.
    async fn throttle(&self, bytes: u64) -> Result<(), Closed> {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.options.bytes_per_second.max(1));
        let time = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.scrubbed.lock().throttled += time;
        self.wait(time).await
    }
}
