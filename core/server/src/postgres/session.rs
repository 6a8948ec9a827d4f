//! A session's main loop: one message after the other until the client leaves, the server stops, or the session's
//! user loses the right to it.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use craton_engine::{PlanKind, Prepared, Response, Session, SqlError, Statement, TransactionStatus};
use craton_types::Value;
use pgwire::messages::response::{ReadyForQuery, TransactionStatus as WireStatus};
use pgwire::messages::startup::ParameterStatus;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::extended::{PendingExecute, Portal, PreparedStatement};
use super::failure::{Failure, Severity, warning};
use super::frontend::{self, Message};
use super::transport::{Frame, ReceiveError, Transport};
use crate::connections::Registration;
use crate::metrics::Outcome;
use crate::shared::Shared;

/// Why a message was not handled to its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client is told; a fatal failure ends the session.
    Failure(Failure),
    /// The connection failed.
    Receive(ReceiveError),
    /// The client said goodbye.
    Goodbye,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Self::Failure(error.into())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Receive(error.into())
    }
}

impl From<ReceiveError> for Stop {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::TooLong { .. } => Self::Failure(Failure::fatal("54000", error.to_string())),
            ReceiveError::Length { .. } | ReceiveError::Message(_) => {
                Self::Failure(Failure::fatal("08P01", error.to_string()))
            }
            ReceiveError::Closed | ReceiveError::Io(_) => Self::Receive(error),
        }
    }
}

/// One session and its connection.
pub(crate) struct SessionLoop<S> {
    pub(super) shared: Arc<Shared>,
    pub(super) transport: Transport<S>,
    pub(super) session: Session,
    pub(super) registration: Registration,
    /// Cancelled when the server stops. A child of the server's own, so that sessions do not contend for one lock.
    stopping: CancellationToken,
    pub(super) statements: HashMap<String, Arc<PreparedStatement>>,
    pub(super) portals: HashMap<String, Portal>,
    /// An `Execute` that has not run yet, because what follows it decides how.
    pub(super) pending: Option<PendingExecute>,
    /// Whether a transaction is open that the client did not ask for: that of a batch or a pipeline.
    pub(super) implicit_transaction: bool,
    /// After an error in the extended protocol: everything up to the next `Sync` is ignored.
    pub(super) skipping: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SessionLoop<S> {
    /// A session that has told its client everything but that it is ready.
    pub(super) fn new(
        shared: Arc<Shared>,
        transport: Transport<S>,
        session: Session,
        registration: Registration,
    ) -> Self {
        Self {
            stopping: shared.stopping.child_token(),
            shared,
            transport,
            session,
            registration,
            statements: HashMap::new(),
            portals: HashMap::new(),
            pending: None,
            implicit_transaction: false,
            skipping: false,
        }
    }

    /// Runs the session to its end.
    pub(crate) async fn run(mut self) {
        let stop = loop {
            if let Err(stop) = self.step().await {
                break stop;
            }
        };
        match stop {
            Stop::Failure(failure) => {
                tracing::debug!(sqlstate = failure.sqlstate, message = failure.message, "session ended");
                if let Err(error) = self.transport.put(&failure.to_message()) {
                    tracing::debug!(%error, "an error was not sent");
                }
            }
            Stop::Receive(error) => tracing::debug!(%error, "session ended"),
            Stop::Goodbye => tracing::debug!("session ended by the client"),
        }
        self.transport.close().await;
    }

    /// Announces readiness, then handles messages until the next announcement is due.
    async fn step(&mut self) -> Result<(), Stop> {
        self.put_ready()?;
        self.transport.flush().await?;
        loop {
            let frame = self.next_frame().await?;
            if self.handle(frame).await? == Next::Announce {
                return Ok(());
            }
        }
    }

    fn put_ready(&mut self) -> Result<(), Stop> {
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => WireStatus::Idle,
            TransactionStatus::InTransaction => WireStatus::Transaction,
            TransactionStatus::Failed => WireStatus::Error,
        };
        Ok(self.transport.put(&ReadyForQuery::new(status))?)
    }

    /// The client's next message, unless the session has to end first.
    async fn next_frame(&mut self) -> Result<Frame, Stop> {
        if self.stopping.is_cancelled() {
            return Err(Failure::shutdown().into());
        }
        if self.registration.end.is_cancelled() {
            return Err(rights_changed().into());
        }
        if let Some(frame) = self.transport.buffered()? {
            return Ok(frame);
        }
        let (idle_timeout, sqlstate, message) = match self.session.transaction_status() {
            TransactionStatus::Idle => (
                self.shared.limits.idle_session_timeout,
                "57P05",
                "terminating connection due to idle-session timeout",
            ),
            TransactionStatus::InTransaction | TransactionStatus::Failed => (
                self.idle_in_transaction_timeout(),
                "25P03",
                "terminating connection due to idle-in-transaction timeout",
            ),
        };
        tokio::select! {
            biased;
            frame = self.transport.receive() => Ok(frame?),
            () = self.stopping.cancelled() => Err(Failure::shutdown().into()),
            () = self.registration.end.cancelled() => Err(rights_changed().into()),
            () = sleep_or_never(idle_timeout) => Err(Failure::fatal(sqlstate, message).into()),
        }
    }

    /// The server's bound, or the session's own if it is shorter.
    fn idle_in_transaction_timeout(&self) -> Option<Duration> {
        let setting = self.session.setting("idle_in_transaction_session_timeout");
        let own = setting
            .and_then(|text| text.parse().ok())
            .filter(|&milliseconds| milliseconds > 0);
        let own = own.map(Duration::from_millis);
        own.into_iter()
            .chain(self.shared.limits.idle_in_transaction_timeout)
            .min()
    }

    /// Handles one message. Errors that the session survives are told to the client here.
    async fn handle(&mut self, frame: Frame) -> Result<Next, Stop> {
        let Frame { tag, body } = frame;
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return Ok(Next::Continue);
        }
        // An error ends the cycle, unless the client still owes the Sync that does.
        let awaits_sync = frontend::belongs_to_extended_protocol(tag) || (self.pending.is_some() && tag != b'S');
        let result = match frontend::parse(tag, body) {
            Ok(message) => self.dispatch(message).await,
            Err(error) => Err(Failure::from(error).into()),
        };
        let failure = match result {
            Err(Stop::Failure(failure)) if failure.severity == Severity::Error => failure,
            other => return other,
        };
        // As in PostgreSQL, any error fails the transaction it happens in, wherever it is found.
        self.session.fail_transaction();
        self.transport.put(&failure.to_message())?;
        if awaits_sync {
            self.skipping = true;
            self.pending = None;
            // Clients that sent Flush instead of Sync wait for the error before they send it.
            self.transport.flush().await?;
            return Ok(Next::Continue);
        }
        self.end_failed_implicit_transaction().await?;
        Ok(Next::Announce)
    }

    async fn dispatch(&mut self, message: Message) -> Result<Next, Stop> {
        // What follows a pending Execute decides how it runs: with Sync it is a transaction of its own, and a client
        // that leaves gives it up.
        if self.pending.is_some() && !matches!(message, Message::Sync | Message::Terminate) {
            self.run_pending_in_pipeline().await?;
            if self.skipping {
                return Ok(Next::Continue);
            }
        }
        match message {
            Message::Query { sql } => {
                self.simple_query(&sql).await?;
                Ok(Next::Announce)
            }
            Message::Parse {
                statement,
                sql,
                parameter_types,
            } => self.parse(statement, &sql, &parameter_types).await,
            Message::Bind {
                portal,
                statement,
                parameter_formats,
                parameters,
                result_formats,
            } => self.bind(portal, &statement, (&parameter_formats, &parameters), &result_formats),
            Message::Describe { target, name } => self.describe(target, &name),
            Message::Execute { portal, rows_max } => self.execute_portal(portal, rows_max).await,
            Message::Close { target, name } => self.close_target(target, &name),
            Message::Flush => {
                self.transport.flush().await?;
                Ok(Next::Continue)
            }
            Message::Sync => self.sync().await,
            // A client may still be sending when a COPY has failed already.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(Next::Continue),
            Message::Password(_) => Err(Failure::fatal("08P01", "unexpected password message").into()),
            Message::Terminate => Err(Stop::Goodbye),
        }
    }

    /// Runs one statement and counts it.
    pub(super) async fn execute(&mut self, prepared: &Prepared, parameters: &[Value]) -> Result<Response, Stop> {
        if self.registration.cancellation.is_requested() {
            return Err(Failure::cancelled().into());
        }
        let started_at = now();
        let result = self.session.execute(prepared, parameters).await;
        self.count(prepared, started_at, result.as_ref().err());
        Ok(result?)
    }

    /// Counts a statement that began at `started_at`.
    pub(super) fn count(&self, prepared: &Prepared, started_at: Instant, error: Option<&SqlError>) {
        let elapsed = started_at.elapsed();
        let outcome = match error {
            None => Outcome::Ok,
            Some(error) if error.sqlstate.as_str().starts_with("40") => Outcome::Conflict,
            Some(_) => Outcome::Error,
        };
        let metrics = &self.shared.metrics;
        metrics.statement(kind_label(prepared.kind()), outcome, elapsed);
        let committed = match prepared.kind() {
            PlanKind::Commit => true,
            PlanKind::Write(_) | PlanKind::CopyIn(_) | PlanKind::CreateTable(_) | PlanKind::DropTable(_) => {
                self.session.transaction_status() == TransactionStatus::Idle
            }
            _ => false,
        };
        if committed && outcome == Outcome::Ok {
            metrics.commit(elapsed);
        }
    }

    /// Binds a statement that comes without parameters.
    pub(super) async fn prepare(&self, statement: &Statement) -> Result<Prepared, Stop> {
        let prepared = self.session.prepare_latest(statement, &[]).await?;
        if prepared.parameter_types().is_empty() {
            Ok(prepared)
        } else {
            Err(Failure::error("42P02", "there is no parameter $1").into())
        }
    }

    /// Runs a statement of the server's own, such as the `BEGIN` of an implicit transaction.
    pub(super) async fn run_own(&mut self, sql: &'static str) -> Result<(), Stop> {
        for statement in self.session.parse(sql)? {
            let prepared = self.prepare(&statement).await?;
            self.session.execute(&prepared, &[]).await?;
        }
        Ok(())
    }

    /// Opens a transaction that the client did not ask for, if none is open.
    pub(super) async fn begin_implicit_transaction(&mut self) -> Result<(), Stop> {
        if self.session.transaction_status() == TransactionStatus::Idle {
            self.run_own("BEGIN").await?;
            self.implicit_transaction = true;
        }
        Ok(())
    }

    /// Commits the transaction that the client did not ask for, if one is open.
    pub(super) async fn commit_implicit_transaction(&mut self) -> Result<(), Stop> {
        if std::mem::take(&mut self.implicit_transaction) {
            let started_at = now();
            self.run_own("COMMIT").await?;
            self.shared.metrics.commit(started_at.elapsed());
        }
        Ok(())
    }

    /// Rolls back the transaction that the client did not ask for, if one is open, after an error in it.
    pub(super) async fn end_failed_implicit_transaction(&mut self) -> Result<(), Stop> {
        if std::mem::take(&mut self.implicit_transaction)
            && self.session.transaction_status() != TransactionStatus::Idle
        {
            self.run_own("ROLLBACK").await?;
        }
        Ok(())
    }

    /// Sends what a statement wants the client to know although nothing went wrong.
    pub(super) fn put_notice(&mut self, notice: Option<SqlError>) -> Result<(), Stop> {
        if let Some(notice) = notice {
            self.transport.put(&warning(notice))?;
        }
        Ok(())
    }

    /// Tells the client the new values of settings that it keeps a copy of.
    pub(super) fn put_changed_settings(&mut self, prepared: &Prepared) -> Result<(), Stop> {
        let changes = |reported: &str| match prepared.kind() {
            PlanKind::Set(set) => reported.eq_ignore_ascii_case(&set.name),
            PlanKind::ResetAll | PlanKind::DiscardAll => true,
            _ => false,
        };
        for name in REPORTED_SETTINGS.into_iter().filter(|name| changes(name)) {
            let value = self.session.setting(name).unwrap_or_default().to_owned();
            self.transport.put(&ParameterStatus::new(name.to_owned(), value))?;
        }
        Ok(())
    }
}

/// Settings of which clients are told every new value.
const REPORTED_SETTINGS: [&str; 6] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "default_transaction_read_only",
];

/// Whether the client is to be told that the session is ready for its next query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More messages of the same cycle are expected.
    Continue,
    /// The cycle is over.
    Announce,
}

/// The session began under rights that its user no longer has.
pub(super) fn rights_changed() -> Failure {
    Failure::fatal(
        "57P01",
        "terminating connection because the user's password or rights changed",
    )
}

async fn sleep_or_never(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => pending().await,
    }
}

/// The moment from which a statement's time is counted.
#[expect(clippy::disallowed_methods, reason = "latencies are measured at the edge")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The metric's label.
const fn kind_label(kind: &PlanKind) -> &'static str {
    match kind {
        PlanKind::Select(_) => "select",
        PlanKind::Write(_) => "write",
        PlanKind::CopyIn(_) => "copy_in",
        PlanKind::CopyOut(_) => "copy_out",
        PlanKind::CreateTable(_) | PlanKind::DropTable(_) => "schema",
        PlanKind::Begin(_) => "begin",
        PlanKind::Commit => "commit",
        PlanKind::Rollback => "rollback",
        _ => "session",
    }
}
