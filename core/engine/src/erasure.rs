//! Erasing data subjects: the record, and then every trace of the key.

use craton_crypto::{CellError, CellPlace};
use craton_kernel::{Committed, Operation, Outcome};
use craton_types::{
    ActorId, Change, CorrelationId, IdempotencyId, Row, RowChange, SealedCell, SubjectKeyId, Timestamp, Value,
    VersionedRow,
};
use std::sync::Arc;

use crate::clock::random_array;
use crate::craton::Request;
use crate::tenant::SharedTenant;
use crate::{Commit, EngineError, Tenant};

/// What was erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The data subject.
    pub subject: String,
    /// The number of the key that was destroyed.
    pub key: u64,
    /// The record that says so.
    pub commit: Commit,
}

impl Tenant {
    /// Erases a data subject: destroys the key that its cells are sealed under, in the log, the views and all copies of
    /// them. Returns when no file of this node holds the key any longer.
    ///
    /// # Errors
    /// [`craton_kernel::Refusal::SubjectHeld`] and [`craton_kernel::Refusal::SubjectRetained`], which are recorded;
    /// [`craton_kernel::Refusal::SubjectUnknown`] when there is nothing to erase.
    pub async fn erase_subject(
        &self,
        subject: &str,
        reason: Option<String>,
        actor: ActorId,
    ) -> Result<Erasure, EngineError> {
        let operation = Operation::EraseSubject {
            subject: subject.to_owned(),
            reason,
        };
        let committed = self.propose_about_subject(operation, actor).await?;
        let (_, changes) = self.unseal(&self.record(committed.offset)?)?;
        let key = changes.iter().find_map(|change| match change {
            Change::SubjectErased { key, .. } => Some(*key),
            _ => None,
        });
        let key = key.expect("a committed erasure is recorded with its key");
        self.remove_traces(&[key]).await?;
        Ok(Erasure {
            subject: subject.to_owned(),
            key: key.get(),
            commit: committed.into(),
        })
    }

    /// Begins a legal hold on a data subject, so that it cannot be erased.
    ///
    /// # Errors
    /// When the command could not be committed.
    pub async fn hold_subject(&self, subject: &str, reason: &str, actor: ActorId) -> Result<Commit, EngineError> {
        let operation = Operation::HoldSubject {
            subject: subject.to_owned(),
            reason: reason.to_owned(),
        };
        self.propose_about_subject(operation, actor).await.map(Into::into)
    }

    /// Ends one legal hold on a data subject.
    ///
    /// # Errors
    /// [`craton_kernel::Refusal::SubjectNotHeld`] when there is none.
    pub async fn release_subject(&self, subject: &str, reason: &str, actor: ActorId) -> Result<Commit, EngineError> {
        let operation = Operation::ReleaseSubject {
            subject: subject.to_owned(),
            reason: reason.to_owned(),
        };
        self.propose_about_subject(operation, actor).await.map(Into::into)
    }

    async fn propose_about_subject(&self, operation: Operation, actor: ActorId) -> Result<Committed, EngineError> {
        let request = Request {
            tenant: self.tenant.id,
            actor,
            correlation_id: CorrelationId::new(random_array(self.node.random.as_ref())),
            idempotency_id: IdempotencyId::NIL,
        };
        match self.node.propose(request, operation).await? {
            Outcome::Committed(committed) => Ok(committed),
            Outcome::Refused(refusal) | Outcome::RefusedOnRecord { refusal, .. } => Err(refusal.into()),
            Outcome::Duplicate { offset } => unreachable!("no idempotency id was given, yet {offset} has it"),
        }
    }

    /// Removes what is left of condemned keys and of what was sealed under them, see [`crate::subject_keys`].
    pub(crate) async fn remove_traces(&self, keys: &[SubjectKeyId]) -> Result<(), EngineError> {
        // Whoever read before the erasure and has not handed its command over yet will find that it is too late; so
        // whatever may still hold erased values is handed over once this lock was had.
        drop(self.tenant.erasure_gate.write());
        if self.node.cluster.is_some() {
            // Each member removes its own, see [`crate::traces`].
            return Ok(());
        }
        self.node.proposer.begin_segment().await?;
        self.node
            .closing
            .flush()
            .await
            .unwrap_or_else(|_| Err(self.node.health.stopped()))?;
        // A flush of a tenant that was on disk already destroys nothing.
        self.tenant.subject_keys.destroy(keys)?;
        self.tenant.subject_keys.finish(keys)
    }
}

impl SharedTenant {
    /// The key of a sealed cell; `None` when it is erased.
    pub(crate) fn cell_key(&self, cell: &SealedCell) -> Result<Option<craton_crypto::ChangeKey>, EngineError> {
        let key = self.subject_keys.get(cell.key)?;
        let salt = self.salt_of(cell)?;
        Ok(key.map(|key| key.cell_key(CellPlace::of(cell, salt))))
    }

    /// The salt of the epoch that a cell was sealed in.
    fn salt_of(&self, cell: &SealedCell) -> Result<[u8; 32], EngineError> {
        self.keys.salt(cell.epoch).ok_or_else(|| EngineError::Cell {
            database: self.name.clone(),
            offset: cell.offset.get(),
            source: CellError::EpochUnknown { epoch: cell.epoch },
        })
    }

    /// Opens the sealed values of a row; erased ones become NULL.
    pub(crate) fn open_row(&self, row: &mut Row) -> Result<(), EngineError> {
        for value in row {
            if let Value::Sealed(cell) = value {
                *value = match self.subject_keys.get(cell.key)? {
                    None => Value::Null,
                    Some(key) => key
                        .open(cell, self.salt_of(cell)?)
                        .map_err(|source| EngineError::Cell {
                            database: self.name.clone(),
                            offset: cell.offset.get(),
                            source,
                        })?,
                };
            }
        }
        Ok(())
    }

    /// Opens the sealed values of a row as a view holds it.
    pub(crate) fn open_version(&self, mut version: VersionedRow) -> Result<VersionedRow, EngineError> {
        if version.row.iter().any(|value| matches!(value, Value::Sealed(_))) {
            self.open_row(Arc::make_mut(&mut version.row))?;
        }
        Ok(version)
    }

    /// Opens the sealed values of a change.
    pub(crate) fn open_change(&self, change: &mut RowChange) -> Result<(), EngineError> {
        for row in [&mut change.before, &mut change.after].into_iter().flatten() {
            self.open_row(row)?;
        }
        Ok(())
    }
}

/// A time as SQL shows it, for messages.
pub(crate) fn time_text(time: Timestamp) -> String {
    craton_query::text::format(
        &Value::TimestampTz(time.as_micros()),
        craton_types::ColumnType::TimestampTz,
    )
}
