//! The simple query protocol: one text with any number of statements.
//!
//! As in PostgreSQL, the statements of one text are one transaction unless the text says otherwise: a `BEGIN` in it
//! makes that transaction the client's own, and a `COMMIT` or `ROLLBACK` ends it, after which the next statement begins
//! another.

use craton_engine::{PlanKind, Prepared, Response, TransactionStatus};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use tokio::io::{AsyncRead, AsyncWrite};

use super::frontend::Format;
use super::rows;
use super::session::{SessionLoop, Stop};

/// How a statement of a batch stands to the batch's transaction.
enum Role {
    /// `BEGIN`.
    Begins,
    /// `COMMIT` or `ROLLBACK`.
    Ends,
    /// Everything else.
    Within,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SessionLoop<S> {
    /// Runs every statement of a text.
    pub(super) async fn simple_query(&mut self, sql: &str) -> Result<(), Stop> {
        self.registration.cancellation.begin_statement();
        // A query between Execute and Sync ends the pipeline's transaction, and the unnamed portal and statement.
        self.commit_implicit_transaction().await?;
        self.portals.remove("");
        self.statements.remove("");
        let statements = self.session.parse(sql)?;
        if statements.is_empty() {
            self.transport.put(&EmptyQueryResponse::new())?;
            return Ok(());
        }
        let last = statements.len() - 1;
        for (index, statement) in statements.iter().enumerate() {
            let prepared = self.prepare(statement).await?;
            let role = match prepared.kind() {
                PlanKind::Begin(_) => Role::Begins,
                PlanKind::Commit | PlanKind::Rollback => Role::Ends,
                _ => Role::Within,
            };
            match role {
                Role::Begins if self.implicit_transaction => {
                    // The transaction that the batch is in becomes the client's.
                    self.implicit_transaction = false;
                    self.transport.put(&CommandComplete::new("BEGIN".to_owned()))?;
                    continue;
                }
                Role::Begins => {}
                Role::Ends => self.implicit_transaction = false,
                // A text of one statement needs no transaction around it.
                Role::Within if last > 0 => self.begin_implicit_transaction().await?,
                Role::Within => {}
            }
            let response = self.execute(&prepared, &[]).await?;
            let tag = self.put_simple_response(&prepared, response).await?;
            if index == last {
                // The client must not hear of success before the transaction has it.
                self.commit_implicit_transaction().await?;
            }
            self.transport.put(&CommandComplete::new(tag))?;
            self.put_changed_settings(&prepared)?;
        }
        if self.session.transaction_status() == TransactionStatus::Idle {
            self.portals.clear();
        }
        Ok(())
    }

    /// Sends everything of a response but its completion, whose tag it returns.
    async fn put_simple_response(&mut self, prepared: &Prepared, response: Response) -> Result<String, Stop> {
        match response {
            Response::Rows { result, tag } => {
                let formats = vec![Format::Text; result.columns.len()];
                self.transport.put(&rows::describe(&result.columns, &formats))?;
                let cancellation = &self.registration.cancellation;
                let rows = result.rows.into_iter();
                rows::put_rows(&mut self.transport, rows, &result.columns, &formats, cancellation).await?;
                Ok(tag)
            }
            Response::Command { tag, notice } => {
                self.put_notice(notice)?;
                Ok(tag)
            }
            Response::Deallocate { name, tag } => {
                self.forget_prepared(name.as_deref())?;
                Ok(tag)
            }
            Response::CopyIn { columns_count } => self.copy_in(prepared, columns_count).await,
            Response::CopyOut {
                columns_count,
                data,
                tag,
            } => {
                self.copy_out(prepared, columns_count, &data).await?;
                Ok(tag)
            }
        }
    }
}
