//! A SQL table of the embedded engine: statements with parameters in, rows out.

use craton_engine::{ActorId, Response, Session, SqlError, Tenant};
use craton_platform_kernel::StoreError;
use craton_types::{Row, Value};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::stores::STATE_DATABASE;
use crate::{OpenError, error};

/// A session on the state database; statements run one after the other.
pub(crate) struct Table(Mutex<Session>);

/// What a statement gave.
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    /// Rows written, from the command tag.
    pub(crate) count: u64,
}

impl Table {
    /// Opens a session and makes the table if it is missing.
    pub(crate) async fn open(state: &Tenant, create: &str) -> Result<Self, OpenError> {
        let table = Self(Mutex::new(state.session(ActorId::NIL)));
        let made = table.statement(create, &[]).await;
        made.map_err(|error| OpenError::Table { message: error.message })?;
        Ok(table)
    }

    /// Runs one statement.
    pub(crate) async fn run(&self, sql: &str, parameters: &[Value]) -> Result<Answer, StoreError> {
        self.statement(sql, parameters)
            .await
            .map_err(|error| error::of_sql(&error))
    }

    async fn statement(&self, sql: &str, parameters: &[Value]) -> Result<Answer, SqlError> {
        let mut session = self.0.lock().await;
        Ok(match session.sql(sql, parameters).await? {
            Response::Rows { result, .. } => Answer {
                count: result.rows.len() as u64,
                rows: result.rows,
            },
            Response::Command { tag, .. } => Answer {
                rows: Vec::new(),
                count: tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0),
            },
            other => unreachable!("our own statements neither copy nor deallocate: {other:?}"),
        })
    }
}

/// A time as a `bigint` of microseconds.
pub(crate) fn time(time: Timestamp) -> Value {
    Value::Int(time.as_microsecond())
}

/// Reads a text column.
pub(crate) fn text(value: &Value) -> Result<&str, StoreError> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(unexpected(other)),
    }
}

/// Reads a time column.
pub(crate) fn read_time(value: &Value) -> Result<Timestamp, StoreError> {
    match value {
        Value::Int(micros) => Timestamp::from_microsecond(*micros).map_err(|_| unexpected(value)),
        other => Err(unexpected(other)),
    }
}

/// A value that no statement of ours has written.
pub(crate) fn unexpected(value: &Value) -> StoreError {
    StoreError::Damaged {
        place: STATE_DATABASE.to_owned(),
        detail: format!("unexpected value {value:?}"),
    }
}
