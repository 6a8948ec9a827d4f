//! Sessions of a stock PostgreSQL driver through every member, and what each of their operations was answered.
//!
//! Three kinds of rows: *registers*, whose inserts, compare-and-set updates and linearizable reads are a history;
//! *entries*, inserted under an id of the client's own and tried again until the answer is certain; *counters*, one a
//! session, which would show an update that is applied twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use craton_history::{Call, RegisterOperation};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::outcome::{Failure, failure_of};
use crate::server::process::Door;
use crate::workload::Decisions;

/// Registers that each round uses, so that several sessions meet at one.
pub(super) const REGISTERS_PER_ROUND: i64 = 48;
/// How long one answer is waited for. A member waits up to eight seconds for a leader.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So many sessions connect to one member at the same time. All of them at once would take a busy machine longer than any of
/// them waits.
const CONNECTING_MAX: usize = 8;
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// A session that was refused waits, so that it is not the load itself that keeps the cluster busy.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);
/// How often an entry is tried; then its fate is left open.
const ENTRY_TRIES_MAX: u32 = 8;
const COUNTER_EVERY: u64 = 16;

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was acknowledged.
    Acknowledged,
    /// Every try was refused.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What a session's counter must be between.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) acknowledged: i64,
    pub(super) unknown: i64,
}

/// What was asked and answered.
#[derive(Default)]
pub(super) struct Record {
    /// Operations on registers, by key.
    pub(super) calls: Vec<(i64, Call<RegisterOperation>)>,
    pub(super) entries: Vec<(i64, Fate)>,
    pub(super) counters: HashMap<i32, Count>,
    /// Promises that a single answer broke.
    pub(super) broken: Vec<String>,
    /// When writes were acknowledged, in microseconds, not in order.
    pub(super) acknowledged_at: Vec<u64>,
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
}

/// What all sessions share.
pub(super) struct Shared {
    pub(super) record: Mutex<Record>,
    doors: Vec<(Door, Semaphore)>,
    started: Instant,
    stopping: AtomicBool,
    /// Which registers are used now.
    round: AtomicI64,
    next_value: AtomicI64,
    next_entry: AtomicI64,
    answered: AtomicU64,
    seed: u64,
    /// Defects of the sessions themselves, for campaigns that must find them.
    stale_reads: bool,
    early: bool,
}

/// Sessions at work.
pub(super) struct Load {
    pub(super) shared: Arc<Shared>,
    sessions: Vec<JoinHandle<()>>,
}

/// What a load is made with.
pub(super) struct LoadOptions {
    pub(super) sessions: usize,
    pub(super) seed: u64,
    pub(super) stale_reads: bool,
    pub(super) early: bool,
}

impl Load {
    /// Starts the sessions, spread over the members.
    #[expect(clippy::disallowed_methods, reason = "histories are by this clock")]
    pub(super) fn start(handle: &Handle, doors: Vec<Door>, options: &LoadOptions) -> Self {
        let shared = Arc::new(Shared {
            record: Mutex::default(),
            doors: doors
                .into_iter()
                .map(|door| (door, Semaphore::new(CONNECTING_MAX)))
                .collect(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            round: AtomicI64::new(0),
            next_value: AtomicI64::new(1),
            next_entry: AtomicI64::new(0),
            answered: AtomicU64::new(0),
            seed: options.seed,
            stale_reads: options.stale_reads,
            early: options.early,
        });
        let sessions = (0..options.sessions)
            .map(|number| handle.spawn(run_session(Arc::clone(&shared), number)))
            .collect();
        Self { shared, sessions }
    }

    /// How many operations were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Ends the sessions after their operations under way. How long they worked.
    pub(super) async fn stop(&mut self) -> Duration {
        let worked = self.shared.started.elapsed();
        self.shared.stopping.store(true, Ordering::Relaxed);
        for session in self.sessions.drain(..) {
            if let Err(panic) = session.await {
                self.shared
                    .record
                    .lock()
                    .broken
                    .push(format!("a session ended: {panic}"));
            }
        }
        worked
    }
}

impl Shared {
    /// Microseconds since the start.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).expect("less than half a million years")
    }

    /// Sessions use other registers from now on.
    pub(super) fn begin_round(&self, number: u64) {
        let round = i64::try_from(number).expect("fewer rounds than that");
        self.round.store(round, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

async fn run_session(shared: Arc<Shared>, number: usize) {
    let seed = shared.seed ^ (number as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mut session = Session {
        number: i32::try_from(number).expect("few sessions"),
        decisions: Decisions::new(seed),
        seen: HashMap::new(),
        seen_round: 0,
        entry: None,
        operations: 0,
        shared,
    };
    let mut attempt = number;
    while !session.shared.is_stopping() {
        let shared = Arc::clone(&session.shared);
        let door = &shared.doors[attempt % shared.doors.len()];
        attempt += 1;
        let opening = timeout(CONNECT_TIMEOUT, Prepared::open(door, shared.stale_reads));
        if let Ok(Some(connection)) = opening.await {
            // At home again as soon as home answers.
            attempt = number;
            session.work(&connection).await;
        }
        sleep(RECONNECT_PAUSE).await;
    }
    if let Some(entry) = session.entry.take() {
        session.shared.record.lock().entries.push((entry.id, entry.fate()));
    }
}

/// A connection with the statements of the load.
struct Prepared {
    client: Client,
    read: Statement,
    insert: Statement,
    update: Statement,
    entry: Statement,
    count: Statement,
    first_count: Statement,
}

impl Prepared {
    async fn open((door, connecting): &(Door, Semaphore), stale_reads: bool) -> Option<Self> {
        let _turn = connecting.acquire().await.ok()?;
        Self::try_open(door, stale_reads).await.ok()
    }

    async fn try_open(door: &Door, stale_reads: bool) -> Result<Self, tokio_postgres::Error> {
        let client = door.open().await?;
        let consistency = if stale_reads { "eventual" } else { "linearizable" };
        client
            .batch_execute(&format!("SET craton.consistency = '{consistency}'"))
            .await?;
        Ok(Self {
            read: client.prepare("SELECT value FROM register WHERE key = $1").await?,
            insert: client.prepare("INSERT INTO register VALUES ($1, $2)").await?,
            update: client
                .prepare("UPDATE register SET value = $3 WHERE key = $1 AND value = $2")
                .await?,
            entry: client.prepare("INSERT INTO entry VALUES ($1, $2)").await?,
            count: client
                .prepare("UPDATE counter SET value = value + 1 WHERE session = $1")
                .await?,
            first_count: client.prepare("INSERT INTO counter VALUES ($1, 0)").await?,
            client,
        })
    }

    /// Runs a writing statement; how many rows it changed.
    async fn execute(&self, statement: &Statement, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Failure> {
        match timeout(ANSWER_TIMEOUT, self.client.execute(statement, parameters)).await {
            Ok(answer) => answer.map_err(|error| failure_of(&error)),
            Err(_) => Err(Failure::Unknown),
        }
    }

    async fn read(&self, key: i64) -> Result<Option<i64>, Failure> {
        match timeout(ANSWER_TIMEOUT, self.client.query_opt(&self.read, &[&key])).await {
            Ok(answer) => answer
                .map(|row| row.map(|row| row.get(0)))
                .map_err(|error| failure_of(&error)),
            Err(_) => Err(Failure::Unknown),
        }
    }

    fn is_over(&self) -> bool {
        self.client.is_closed()
    }
}

/// An entry on its way.
struct Entry {
    id: i64,
    tries: u32,
    /// Whether a try may have been applied without an answer.
    is_unknown: bool,
}

impl Entry {
    const fn fate(&self) -> Fate {
        match self.is_unknown {
            true => Fate::Unknown,
            false => Fate::Refused,
        }
    }
}

struct Session {
    number: i32,
    decisions: Decisions,
    /// Values of registers of this round, as this session saw them last.
    seen: HashMap<i64, Option<i64>>,
    seen_round: i64,
    /// The entry that is tried until its fate is certain, over connections.
    entry: Option<Entry>,
    operations: u64,
    shared: Arc<Shared>,
}

impl Session {
    /// Works until the connection fails, an answer does not come, or the load ends.
    async fn work(&mut self, connection: &Prepared) {
        if self.operations == 0 {
            // One that is there already came from an earlier connection.
            let _ = connection.execute(&connection.first_count, &[&self.number]).await;
        }
        while !self.shared.is_stopping() && !connection.is_over() {
            self.operations += 1;
            let answered = if self.entry.is_some() || self.operations.is_multiple_of(3) {
                self.insert_entry(connection).await
            } else if self.operations.is_multiple_of(COUNTER_EVERY) {
                self.count(connection).await
            } else {
                self.use_register(connection).await
            };
            match answered {
                Ok(()) => {
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(Failure::Refused) => sleep(REFUSED_PAUSE).await,
                Err(Failure::Exists) => {}
                // What comes later on this connection would be answered out of turn.
                Err(Failure::Unknown) => return,
            }
        }
    }

    fn note(&self, failure: Failure) {
        let mut record = self.shared.record.lock();
        match failure {
            Failure::Unknown => record.unknown += 1,
            Failure::Refused => record.refused += 1,
            Failure::Exists => {}
        }
    }

    fn acknowledge(&self) {
        let now = self.shared.now();
        self.shared.record.lock().acknowledged_at.push(now);
    }

    async fn use_register(&mut self, connection: &Prepared) -> Result<(), Failure> {
        let round = self.shared.round.load(Ordering::Relaxed);
        if round != self.seen_round {
            self.seen.clear();
            self.seen_round = round;
        }
        let register = self.decisions.below(REGISTERS_PER_ROUND.unsigned_abs());
        let key = round * REGISTERS_PER_ROUND + i64::try_from(register).expect("few registers");
        let seen = self.seen.get(&key).copied();
        let begun = self.shared.now();
        let (operation, answered) = match (seen, self.decisions.below(5)) {
            (Some(expected), 0..3) => self.compare_and_set(connection, key, expected).await,
            _ => {
                let answer = connection.read(key).await;
                (RegisterOperation::Read(answer.unwrap_or_default()), answer.map(drop))
            }
        };
        match (operation, answered) {
            (RegisterOperation::Read(value), Ok(())) => self.seen.insert(key, value),
            (
                RegisterOperation::CompareAndSet {
                    new,
                    was_set: Some(true),
                    ..
                },
                Ok(()),
            ) => self.seen.insert(key, Some(new)),
            _ => self.seen.remove(&key),
        };
        self.record_call(key, begun, operation, answered);
        answered
    }

    async fn compare_and_set(
        &self,
        connection: &Prepared,
        key: i64,
        expected: Option<i64>,
    ) -> (RegisterOperation, Result<(), Failure>) {
        let new = self.shared.next_value.fetch_add(1, Ordering::Relaxed);
        let answer = match expected {
            None => connection.execute(&connection.insert, &[&key, &new]).await,
            Some(old) => connection.execute(&connection.update, &[&key, &old, &new]).await,
        };
        let (was_set, answered) = match answer {
            Ok(rows) => (Some(rows == 1), Ok(())),
            Err(Failure::Exists) => (Some(false), Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        (RegisterOperation::CompareAndSet { expected, new, was_set }, answered)
    }

    fn record_call(&self, key: i64, begun: u64, operation: RegisterOperation, answered: Result<(), Failure>) {
        let now = self.shared.now();
        let is_read = matches!(operation, RegisterOperation::Read(_));
        let mut record = self.shared.record.lock();
        let ended = match answered {
            Ok(()) => Some(now),
            Err(Failure::Unknown) => {
                record.unknown += 1;
                None
            }
            Err(_) => {
                record.refused += 1;
                // What was refused never takes effect, and says nothing.
                return;
            }
        };
        if ended.is_some() {
            record.answered += 1;
            if !is_read {
                record.acknowledged_at.push(now);
            }
        } else if is_read {
            return;
        }
        record.calls.push((
            key,
            Call {
                begun,
                ended,
                operation,
            },
        ));
    }

    async fn insert_entry(&mut self, connection: &Prepared) -> Result<(), Failure> {
        let early = self.shared.early;
        let mut entry = self.entry.take().unwrap_or_else(|| Entry {
            id: self.shared.next_entry.fetch_add(1, Ordering::Relaxed),
            tries: 0,
            is_unknown: false,
        });
        if early && entry.tries == 0 {
            self.shared.record.lock().entries.push((entry.id, Fate::Acknowledged));
        }
        entry.tries += 1;
        let answer = connection.execute(&connection.entry, &[&entry.id, &self.number]).await;
        let fate = match answer {
            Ok(_) => Fate::Acknowledged,
            Err(Failure::Exists) if entry.is_unknown => Fate::Acknowledged,
            Err(Failure::Exists) => {
                let what = format!("entry {} is there, though every try was refused", entry.id);
                self.shared.record.lock().broken.push(what);
                Fate::Acknowledged
            }
            Err(failure) => {
                self.note(failure);
                entry.is_unknown |= failure == Failure::Unknown;
                if entry.tries < ENTRY_TRIES_MAX && !early {
                    self.entry = Some(entry);
                    return Err(failure);
                }
                let fate = if early { Fate::Unknown } else { entry.fate() };
                self.shared.record.lock().entries.push((entry.id, fate));
                return Err(failure);
            }
        };
        self.acknowledge();
        let mut record = self.shared.record.lock();
        record.answered += 1;
        if !early {
            record.entries.push((entry.id, fate));
        }
        Ok(())
    }

    async fn count(&self, connection: &Prepared) -> Result<(), Failure> {
        let answer = connection.execute(&connection.count, &[&self.number]).await;
        if let Err(failure) = answer {
            self.note(failure);
        }
        let mut record = self.shared.record.lock();
        let count = record.counters.entry(self.number).or_default();
        match answer {
            Ok(rows) => {
                count.acknowledged += i64::try_from(rows).expect("few rows");
                record.answered += 1;
            }
            Err(Failure::Unknown) => count.unknown += 1,
            Err(_) => {}
        }
        answer.map(drop)
    }
}
