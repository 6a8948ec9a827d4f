//! The extended query protocol: prepared statements, portals, and what runs between two `Sync`s.
//!
//! As in PostgreSQL, the statements up to a `Sync` are one transaction. An `Execute` that is followed by `Sync` at once,
//! which is what nearly every driver sends, needs none around it: so an `Execute` is held back until the next message
//! tells which it is. Clients cannot notice, for they may not expect an answer before `Sync` or `Flush`.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use craton_engine::{PlanKind, Prepared, Response, ResultColumn, TransactionStatus};
use craton_query::text;
use craton_types::{ColumnType, Row, Value};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use tokio::io::{AsyncRead, AsyncWrite};

use super::binary::{self, BinaryError};
use super::failure::{Failure, Severity};
use super::frontend::{Format, Target};
use super::rows::{self, spread_formats};
use super::session::{Next, SessionLoop, Stop};
use super::types::{self, Declared};

/// A statement that `Parse` made.
pub(crate) struct PreparedStatement {
    /// `None` for an empty text.
    prepared: Option<Prepared>,
}

impl PreparedStatement {
    fn parameter_types(&self) -> &[ColumnType] {
        self.prepared
            .as_ref()
            .map_or(&[], |prepared| prepared.parameter_types())
    }

    fn columns(&self) -> Option<&Arc<[ResultColumn]>> {
        self.prepared.as_ref().and_then(Prepared::columns)
    }
}

/// A statement with its parameters, that `Bind` made.
pub(crate) struct Portal {
    statement: Arc<PreparedStatement>,
    parameters: Vec<Value>,
    formats: Vec<Format>,
    state: PortalState,
}

/// How far a portal has run.
enum PortalState {
    Ready,
    /// It returned rows; those left were not asked for yet.
    Rows {
        columns: Arc<[ResultColumn]>,
        rows: vec::IntoIter<Row>,
        tag: String,
    },
    /// It ran and returned no rows.
    Done,
}

/// An `Execute` that waits for the message after it.
pub(crate) struct PendingExecute {
    portal: String,
    rows_max: Option<usize>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SessionLoop<S> {
    /// `Parse`.
    pub(super) async fn parse(&mut self, name: String, sql: &str, object_ids: &[u32]) -> Result<Next, Stop> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Failure::error("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        self.check_room(self.statements.len(), "prepared statements")?;
        let parameter_types = object_ids
            .iter()
            .map(|&id| declared(id))
            .collect::<Result<Vec<_>, _>>()?;
        let statements = self.session.parse(sql)?;
        let prepared = match &statements[..] {
            [] => None,
            [statement] => Some(self.session.prepare_latest(statement, &parameter_types).await?),
            _ => {
                return Err(
                    Failure::error("42601", "cannot insert multiple commands into a prepared statement").into(),
                );
            }
        };
        self.statements.insert(name, Arc::new(PreparedStatement { prepared }));
        self.transport.put(&ParseComplete::new())?;
        Ok(Next::Continue)
    }

    /// `Bind`.
    pub(super) fn bind(
        &mut self,
        name: String,
        statement_name: &str,
        (parameter_formats, parameters): (&[Format], &[Option<Bytes>]),
        result_formats: &[Format],
    ) -> Result<Next, Stop> {
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(Failure::error("42P03", format!("cursor \"{name}\" already exists")).into());
        }
        self.check_room(self.portals.len(), "portals")?;
        let statement = self.statement(statement_name)?;
        let types = statement.parameter_types();
        if parameters.len() != types.len() {
            return Err(Failure::error(
                "08P01",
                format!(
                    "bind message supplies {} parameters, but prepared statement \"{statement_name}\" requires {}",
                    parameters.len(),
                    types.len()
                ),
            )
            .into());
        }
        let formats = spread_formats(parameter_formats, parameters.len(), "parameter")?;
        let parameters = parameters
            .iter()
            .zip(types)
            .zip(formats)
            .enumerate()
            .map(|(index, ((bytes, column_type), format))| match bytes {
                None => Ok(Value::Null),
                Some(bytes) => decode(bytes, *column_type, format, index + 1),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let columns_count = statement.columns().map_or(0, |columns| columns.len());
        let formats = match result_formats {
            // Drivers that always ask for one format ask for it where there are no columns too.
            [_] if columns_count == 0 => Vec::new(),
            _ => spread_formats(result_formats, columns_count, "result")?,
        };
        let portal = Portal {
            statement,
            parameters,
            formats,
            state: PortalState::Ready,
        };
        self.portals.insert(name, portal);
        self.transport.put(&BindComplete::new())?;
        Ok(Next::Continue)
    }

    /// `Describe`.
    pub(super) fn describe(&mut self, target: Target, name: &str) -> Result<Next, Stop> {
        let (statement, formats) = match target {
            Target::Statement => {
                let statement = self.statement(name)?;
                let types = statement.parameter_types();
                let object_ids = types.iter().map(|column_type| types::object_id(*column_type)).collect();
                self.transport.put(&ParameterDescription::new(object_ids))?;
                let formats = vec![Format::Text; statement.columns().map_or(0, |columns| columns.len())];
                (statement, formats)
            }
            Target::Portal => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.statement.clone(), portal.formats.clone())
            }
        };
        match statement.columns() {
            Some(columns) => self.transport.put(&rows::describe(columns, &formats))?,
            None => self.transport.put(&NoData::new())?,
        }
        Ok(Next::Continue)
    }

    /// `Close`. Closing what does not exist is no error.
    pub(super) fn close_target(&mut self, target: Target, name: &str) -> Result<Next, Stop> {
        match target {
            Target::Statement => {
                self.statements.remove(name);
            }
            Target::Portal => {
                self.portals.remove(name);
            }
        }
        self.transport.put(&CloseComplete::new())?;
        Ok(Next::Continue)
    }

    /// `Execute`: goes on with rows that are left, or waits for the message that tells how to run.
    pub(super) async fn execute_portal(&mut self, portal: String, rows_max: Option<usize>) -> Result<Next, Stop> {
        self.registration.cancellation.begin_statement();
        match &self.portals.get(&portal).ok_or_else(|| no_portal(&portal))?.state {
            PortalState::Ready => self.pending = Some(PendingExecute { portal, rows_max }),
            PortalState::Rows { .. } => self.put_portal_rows(&portal, rows_max).await?,
            PortalState::Done => {
                return Err(Failure::error("55000", format!("portal \"{portal}\" cannot be run")).into());
            }
        }
        Ok(Next::Continue)
    }

    /// `Sync`: runs what is pending, ends the pipeline's transaction, and announces readiness. When this fails, the
    /// caller reports the error, rolls back and announces readiness, as after a simple query.
    pub(super) async fn sync(&mut self) -> Result<Next, Stop> {
        let failed = std::mem::take(&mut self.skipping);
        let result = if failed {
            self.end_failed_implicit_transaction().await.map(|()| Next::Announce)
        } else {
            self.finish_pipeline().await
        };
        // Portals live as long as their transaction.
        if self.session.transaction_status() == TransactionStatus::Idle {
            self.portals.clear();
        }
        result
    }

    async fn finish_pipeline(&mut self) -> Result<Next, Stop> {
        if let Some(pending) = self.pending.take()
            && self.run_portal(pending).await? == Ran::Copied
        {
            // Messages that came while the server waited for COPY data, this Sync among them, count as part of it;
            // the client sends another Sync afterwards.
            return Ok(Next::Continue);
        }
        self.commit_implicit_transaction().await?;
        Ok(Next::Announce)
    }

    /// Runs the pending `Execute` inside a transaction with what follows it.
    pub(super) async fn run_pending_in_pipeline(&mut self) -> Result<(), Stop> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let portal = self
            .portals
            .get(&pending.portal)
            .ok_or_else(|| no_portal(&pending.portal))?;
        match portal.statement.prepared.as_ref().map(Prepared::kind) {
            None | Some(PlanKind::Begin(_) | PlanKind::Commit | PlanKind::Rollback) => {}
            Some(_) => self.begin_implicit_transaction().await?,
        }
        self.run_portal(pending).await?;
        Ok(())
    }

    async fn run_portal(&mut self, PendingExecute { portal: name, rows_max }: PendingExecute) -> Result<Ran, Stop> {
        let portal = self.portals.get_mut(&name).ok_or_else(|| no_portal(&name))?;
        portal.state = PortalState::Done;
        let statement = portal.statement.clone();
        let parameters = std::mem::take(&mut portal.parameters);
        let Some(prepared) = &statement.prepared else {
            self.transport.put(&EmptyQueryResponse::new())?;
            return Ok(Ran::Completed);
        };
        match prepared.kind() {
            PlanKind::Begin(_) if self.implicit_transaction => {
                // The transaction that the pipeline is in becomes the client's.
                self.implicit_transaction = false;
                self.transport.put(&CommandComplete::new("BEGIN".to_owned()))?;
                return Ok(Ran::Completed);
            }
            PlanKind::Commit | PlanKind::Rollback => self.implicit_transaction = false,
            _ => {}
        }
        match self.execute(prepared, &parameters).await? {
            Response::Rows { result, tag } => {
                // The statement was bound again because its table changed, and the client was told of other columns.
                if statement.columns().is_none_or(|columns| *columns != result.columns) {
                    return Err(Failure::error("0A000", "cached plan must not change result type").into());
                }
                if let Some(portal) = self.portals.get_mut(&name) {
                    portal.state = PortalState::Rows {
                        columns: result.columns,
                        rows: result.rows.into_iter(),
                        tag,
                    };
                }
                self.put_portal_rows(&name, rows_max).await?;
            }
            Response::Command { tag, notice } => {
                self.put_notice(notice)?;
                self.transport.put(&CommandComplete::new(tag))?;
            }
            Response::Deallocate { name, tag } => {
                self.forget_prepared(name.as_deref())?;
                self.transport.put(&CommandComplete::new(tag))?;
            }
            Response::CopyIn { columns_count } => {
                match self.copy_in(prepared, columns_count).await {
                    Ok(tag) => self.transport.put(&CommandComplete::new(tag))?,
                    Err(Stop::Failure(failure)) if failure.severity == Severity::Error => {
                        self.session.fail_transaction();
                        self.transport.put(&failure.to_message())?;
                        self.skipping = true;
                    }
                    Err(stop) => return Err(stop),
                }
                self.transport.flush().await?;
                return Ok(Ran::Copied);
            }
            Response::CopyOut {
                columns_count,
                data,
                tag,
            } => {
                self.copy_out(prepared, columns_count, &data).await?;
                self.transport.put(&CommandComplete::new(tag))?;
            }
        }
        self.put_changed_settings(prepared)?;
        Ok(Ran::Completed)
    }

    /// Sends up to `rows_max` of a portal's rows, and says whether there are more.
    async fn put_portal_rows(&mut self, name: &str, rows_max: Option<usize>) -> Result<(), Stop> {
        let Some(Portal {
            formats,
            state: PortalState::Rows { columns, rows, tag },
            ..
        }) = self.portals.get_mut(name)
        else {
            return Err(no_portal(name).into());
        };
        let left = rows.len();
        let taken = rows.by_ref().take(rows_max.unwrap_or(usize::MAX));
        let cancellation = &self.registration.cancellation;
        rows::put_rows(&mut self.transport, taken, columns, formats, cancellation).await?;
        if rows_max.is_some_and(|rows_max| left > rows_max) {
            self.transport.put(&PortalSuspended::new())?;
        } else {
            self.transport.put(&CommandComplete::new(tag.clone()))?;
        }
        Ok(())
    }

    /// Carries out `DEALLOCATE name`, or without a name `DEALLOCATE ALL` and what `DISCARD ALL` has to do here.
    pub(super) fn forget_prepared(&mut self, name: Option<&str>) -> Result<(), Failure> {
        match name {
            Some(name) => self.statements.remove(name).map(drop).ok_or_else(|| no_statement(name)),
            None => {
                self.statements.clear();
                Ok(())
            }
        }
    }

    fn statement(&self, name: &str) -> Result<Arc<PreparedStatement>, Failure> {
        self.statements.get(name).cloned().ok_or_else(|| no_statement(name))
    }

    fn check_room(&self, count: usize, what: &str) -> Result<(), Failure> {
        let prepared_max = self.shared.limits.prepared_max;
        if count < prepared_max {
            return Ok(());
        }
        Err(Failure::error("54000", format!("too many {what}"))
            .with_detail(format!("A session keeps at most {prepared_max}."))
            .with_hint("Close those that are not needed any more."))
    }
}

/// How a portal's run ended.
#[derive(PartialEq, Eq)]
enum Ran {
    /// With rows or a tag.
    Completed,
    /// After data that the client was asked for; what went wrong with it has been reported.
    Copied,
}

fn no_statement(name: &str) -> Failure {
    match name {
        "" => Failure::error("26000", "unnamed prepared statement does not exist"),
        _ => Failure::error("26000", format!("prepared statement \"{name}\" does not exist")),
    }
}

fn no_portal(name: &str) -> Failure {
    Failure::error("34000", format!("portal \"{name}\" does not exist"))
}

fn declared(object_id: u32) -> Result<Option<ColumnType>, Failure> {
    match types::declared(object_id) {
        Declared::Open => Ok(None),
        Declared::As(column_type) => Ok(Some(column_type)),
        Declared::Unsupported => Err(Failure::error(
            "42704",
            format!("type with OID {object_id} does not exist"),
        )),
    }
}

/// Reads a parameter's value; `number` counts from one.
fn decode(bytes: &[u8], column_type: ColumnType, format: Format, number: usize) -> Result<Value, Failure> {
    let binary_failure = |error: BinaryError| {
        let sqlstate = match error {
            BinaryError::Format => "22P03",
            BinaryError::Range => "22003",
            BinaryError::Encoding => "22021",
        };
        Failure::error(sqlstate, format!("{error} in bind parameter {number}"))
    };
    match format {
        Format::Binary => {
            let value = binary::decode(bytes, column_type).map_err(binary_failure)?;
            match &value {
                // Binary JSON is its text, which has to be checked like any other.
                Value::Json(json) => Ok(text::parse(json, column_type)?),
                _ => Ok(value),
            }
        }
        Format::Text => {
            let spelled = std::str::from_utf8(bytes)
                .ok()
                .filter(|spelled| !spelled.contains('\0'))
                .ok_or_else(|| binary_failure(BinaryError::Encoding))?;
            Ok(text::parse(spelled, column_type)?)
        }
    }
}
