//! What `/metrics` shows (Prometheus text format 0.0.4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use craton_engine::Craton;
use craton_witness::{CosigningStatus, RequestOutcome, StampOutcome};
use parking_lot::Mutex;
use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::shared::Shared;

/// Buckets from 100 µs to about 26 s, each four times the one before.
const LATENCY_BUCKETS: (f64, f64, usize) = (0.000_1, 4.0, 10);

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It succeeded.
    Ok,
    /// It conflicted with another transaction and may be retried (SQLSTATE class 40).
    Conflict,
    /// It was refused.
    Error,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Error => "error",
        }
    }
}

/// The server's own counters; the engine's are read when asked for.
pub(crate) struct Metrics {
    registry: Registry,
    /// Sessions open now.
    pub(crate) connections: IntGauge,
    /// Connections that passed authentication.
    pub(crate) sessions_total: IntCounter,
    /// Connections that ended before they had a session, by reason.
    pub(crate) connections_refused_total: IntCounterVec,
    /// Failed log-ins, by method.
    pub(crate) failed_logins_total: IntCounterVec,
    /// Bytes received by `COPY … FROM STDIN`.
    pub(crate) copy_bytes_total: IntCounter,
    statements_total: IntCounterVec,
    statement_seconds: HistogramVec,
    commit_seconds: Histogram,
    uptime_seconds: Gauge,
    engine_stopped: IntGauge,
    disk_full: IntGauge,
    scrub_bytes_total: IntCounter,
    scrub_throttled_seconds_total: Counter,
    scrub_completed_timestamp_seconds: Gauge,
    damaged_records: IntGauge,
    log_records: IntGaugeVec,
    checkpoint_records: IntGaugeVec,
    witness_requests_total: IntCounterVec,
    time_stamp_requests_total: IntCounterVec,
    cosigned_records: IntGaugeVec,
    cosigned_checkpoint_age_seconds: GaugeVec,
    wal_syncs_total: IntCounter,
    wal_commands_total: IntCounter,
    wal_bytes_total: IntCounter,
    wal_wait_seconds_total: Counter,
    /// Held while the engine's figures are taken over, so that counters never run ahead of them.
    rendering: Mutex<()>,
}

impl Metrics {
    /// All metrics at zero.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let build_info = IntGaugeVec::new(
            Opts::new("craton_build_info", "The server's version; always 1."),
            &["version"],
        );
        let build_info = register(&registry, build_info);
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let (start, factor, count) = LATENCY_BUCKETS;
        let buckets = prometheus::exponential_buckets(start, factor, count).expect("a rising series");
        Self {
            connections: register(&registry, IntGauge::new("craton_connections", "Sessions open now.")),
            sessions_total: register(
                &registry,
                IntCounter::new("craton_sessions_total", "Connections that passed authentication."),
            ),
            connections_refused_total: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "craton_connections_refused_total",
                        "Connections that ended before they had a session.",
                    ),
                    &["reason"],
                ),
            ),
            failed_logins_total: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "craton_failed_logins_total",
                        "Wrong passwords and tokens, and unknown users.",
                    ),
                    &["method"],
                ),
            ),
            copy_bytes_total: register(
                &registry,
                IntCounter::new("craton_copy_bytes_total", "Bytes received by COPY FROM STDIN."),
            ),
            statements_total: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "craton_statements_total",
                        "Statements, by their first word and outcome.",
                    ),
                    &["kind", "outcome"],
                ),
            ),
            statement_seconds: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "craton_statement_seconds",
                        "Time from a statement's start to its result.",
                    )
                    .buckets(buckets.clone()),
                    &["kind"],
                ),
            ),
            commit_seconds: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "craton_commit_seconds",
                        "Time of statements that committed: to the quorum's disk and into the view.",
                    )
                    .buckets(buckets),
                ),
            ),
            uptime_seconds: register(
                &registry,
                Gauge::new("craton_uptime_seconds", "Seconds since the server started."),
            ),
            engine_stopped: register(
                &registry,
                IntGauge::new(
                    "craton_engine_stopped",
                    "1 after a failure that the node may not survive.",
                ),
            ),
            log_records: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("craton_log_records", "Records in a database's log."),
                    &["database"],
                ),
            ),
            checkpoint_records: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "craton_checkpoint_records",
                        "Records of a database's log that its last checkpoint covers.",
                    ),
                    &["database"],
                ),
            ),
            witness_requests_total: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "craton_witness_requests_total",
                        "Requests to witnesses for cosignatures, by how they ended. other_history is an alarm.",
                    ),
                    &["outcome"],
                ),
            ),
            time_stamp_requests_total: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "craton_time_stamp_requests_total",
                        "Requests for time stamps over cosigned checkpoints, by how they ended.",
                    ),
                    &["outcome"],
                ),
            ),
            cosigned_records: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "craton_cosigned_records",
                        "Records of a database's log that the last cosigned checkpoint covers.",
                    ),
                    &["database"],
                ),
            ),
            cosigned_checkpoint_age_seconds: register(
                &registry,
                GaugeVec::new(
                    Opts::new(
                        "craton_cosigned_checkpoint_age_seconds",
                        "Time since the last cosigned checkpoint of a database was recorded.",
                    ),
                    &["database"],
                ),
            ),
            scrub_bytes_total: register(
                &registry,
                IntCounter::new(
                    "craton_scrub_bytes_total",
                    "Bytes of records read in the background to find damage.",
                ),
            ),
            scrub_throttled_seconds_total: register(
                &registry,
                Counter::new(
                    "craton_scrub_throttled_seconds_total",
                    "Time that the scrub held back to keep to its rate.",
                ),
            ),
            scrub_completed_timestamp_seconds: register(
                &registry,
                Gauge::new(
                    "craton_scrub_completed_timestamp_seconds",
                    "When the logs were last read through, in seconds since the Unix epoch; 0 before the first time.",
                ),
            ),
            damaged_records: register(
                &registry,
                IntGauge::new(
                    "craton_damaged_records",
                    "Records that are not what was written, as far as the scrub knows.",
                ),
            ),
            disk_full: register(
                &registry,
                IntGauge::new(
                    "craton_disk_full",
                    "1 while the disk is full and the node read-only, 0 otherwise.",
                ),
            ),
            wal_syncs_total: register(
                &registry,
                IntCounter::new(
                    "craton_wal_syncs_total",
                    "fdatasync calls that made a batch of commands durable.",
                ),
            ),
            wal_commands_total: register(
                &registry,
                IntCounter::new("craton_wal_commands_total", "Commands made durable."),
            ),
            wal_bytes_total: register(
                &registry,
                IntCounter::new("craton_wal_bytes_total", "Bytes of commands made durable."),
            ),
            wal_wait_seconds_total: register(
                &registry,
                Counter::new(
                    "craton_wal_wait_seconds_total",
                    "Time that the proposer waited for the write-ahead log to take batches.",
                ),
            ),
            rendering: Mutex::new(()),
            registry,
        }
    }

    /// Counts a statement.
    pub(crate) fn statement(&self, kind: &str, outcome: Outcome, elapsed: Duration) {
        self.statements_total.with_label_values(&[kind, outcome.label()]).inc();
        self.statement_seconds
            .with_label_values(&[kind])
            .observe(elapsed.as_secs_f64());
    }

    /// Records how long a statement took that ended in a commit.
    pub(crate) fn commit(&self, elapsed: Duration) {
        self.commit_seconds.observe(elapsed.as_secs_f64());
    }

    fn witnesses(&self, status: &CosigningStatus, engine: &Craton) {
        for outcome in RequestOutcome::ALL {
            let total = status.requests.get(&outcome).copied().unwrap_or(0);
            let counter = self.witness_requests_total.with_label_values(&[outcome.as_str()]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        for outcome in StampOutcome::ALL {
            let total = status.time_stamps.get(&outcome).copied().unwrap_or(0);
            let counter = self.time_stamp_requests_total.with_label_values(&[outcome.as_str()]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        #[expect(clippy::disallowed_methods, reason = "ages are told against the machine's clock")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for tenant in engine.tenants().iter().filter_map(|name| engine.tenant(name)) {
            let size = i64::try_from(tenant.cosigned_size()).unwrap_or(i64::MAX);
            self.cosigned_records.with_label_values(&[tenant.name()]).set(size);
            // A log that cannot be read is told of elsewhere.
            if let Ok(Some(checkpoint)) = tenant.newest_cosigned_checkpoint() {
                let age = now.saturating_sub(Duration::from_nanos(checkpoint.recorded_at.get()));
                let gauge = self.cosigned_checkpoint_age_seconds.with_label_values(&[tenant.name()]);
                gauge.set(age.as_secs_f64());
            }
        }
    }

    /// Renders everything, with the engine's figures of now.
    pub(crate) fn render(&self, shared: &Shared) -> String {
        let _rendering = self.rendering.lock();
        self.uptime_seconds.set(shared.uptime().as_secs_f64());
        let status = shared.engine.status();
        self.engine_stopped.set(i64::from(status.stop_reason.is_some()));
        self.disk_full.set(i64::from(status.read_only_reason.is_some()));
        let scrub = &status.scrub;
        self.scrub_bytes_total
            .inc_by(scrub.bytes.saturating_sub(self.scrub_bytes_total.get()));
        let throttled = scrub.throttled.as_secs_f64() - self.scrub_throttled_seconds_total.get();
        self.scrub_throttled_seconds_total.inc_by(throttled.max(0.0));
        let completed = scrub.completed.map_or(0, |time| time.get());
        self.scrub_completed_timestamp_seconds
            .set(Duration::from_nanos(completed).as_secs_f64());
        let damaged = i64::try_from(scrub.damaged.len()).unwrap_or(i64::MAX);
        self.damaged_records.set(damaged);
        for database in &status.databases {
            let value = |count| i64::try_from(count).unwrap_or(i64::MAX);
            let name = [database.name.as_str()];
            self.log_records.with_label_values(&name).set(value(database.records));
            self.checkpoint_records
                .with_label_values(&name)
                .set(value(database.checkpoint_size));
        }
        let advance = |counter: &IntCounter, total: u64| counter.inc_by(total.saturating_sub(counter.get()));
        advance(&self.wal_syncs_total, status.log_use.entries);
        advance(&self.wal_commands_total, status.log_use.commands);
        advance(&self.wal_bytes_total, status.log_use.bytes);
        let waited = Duration::from_nanos(status.log_use.wait_nanoseconds).as_secs_f64();
        self.wal_wait_seconds_total
            .inc_by((waited - self.wal_wait_seconds_total.get()).max(0.0));
        if let Some(witnesses) = &shared.witnesses {
            self.witnesses(&witnesses.status(), &shared.engine);
        }
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

fn register<T: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<T>,
) -> T {
    let collector = collector.expect("the name and labels are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("each name is registered once");
    collector
}
