//! Receipts: one row's newest change with everything needed to check it offline.

use craton_proof::{Receipt, ReceiptParts, inclusion_proof};
use std::cell::RefCell;

use craton_types::{Change, Offset, PrimaryKey, Record, RowChange, SealedCell, TableSchema};

use crate::checkpointer::ensure_covered;
use crate::{EngineError, SignedCheckpoint, Tenant};

impl Tenant {
    /// The receipt of a record of events. It discloses the events that `disclose` allows, by their bytes; the others
    /// stay sealed. Makes a checkpoint over the record when there is none yet.
    ///
    /// # Errors
    /// When there is no such record, it holds no changes, or no checkpoint could be made.
    pub async fn receipt(
        &self,
        offset: Offset,
        disclose: &(dyn Fn(&[u8]) -> bool + Sync),
    ) -> Result<String, EngineError> {
        let record = self.record(offset)?;
        ensure_covered(&self.node, &self.tenant, offset.next()).await?;
        let (_, changes) = self.unseal(&record)?;
        let allowed = |change: &Change| matches!(change, Change::Event(event) if disclose(event));
        let first_change = record.header.kind.first_change().unwrap_or_default();
        let changes: Vec<u32> = (first_change..)
            .zip(&changes)
            .filter(|(_, change)| allowed(change))
            .map(|(index, _)| index)
            .collect();
        self.receipt_of(&record, &changes)
    }

    /// The receipt of a row's newest change below `end`, which a checkpoint must cover. `None` when no row
    /// ever had the key. A deletion has a receipt like any other change.
    pub(crate) fn row_receipt(
        &self,
        table: &TableSchema,
        key: &PrimaryKey,
        end: Offset,
    ) -> Result<Option<String>, EngineError> {
        let failed = |source| self.tenant.projection_error(source);
        let snapshot = self.tenant.projection.snapshot();
        let versions = snapshot.history(table.id, key).map_err(failed)?;
        for entry in versions {
            let version = entry.map_err(failed)?.version;
            if version < end {
                let record = self.record(version)?;
                let chunk = self.change_of_row(&record, table, key)?;
                return self.receipt_of(&record, &[chunk]).map(Some);
            }
        }
        Ok(None)
    }

    /// The chunk that changes a row.
    fn change_of_row(&self, record: &Record, table: &TableSchema, key: &PrimaryKey) -> Result<u32, EngineError> {
        if let Some(chunk) = self.chunk_in_state(record, table, key)? {
            return Ok(chunk);
        }
        let (_, changes) = self.unseal(record)?;
        let position = changes
            .iter()
            .position(|change| matches!(change, Change::Row(change) if is_of_row(change, table, key)))
            .ok_or_else(|| EngineError::RecordMissing {
                offset: record.header.offset.get(),
                end: self.tenant.head().end.get(),
            })?;
        Ok(u32::try_from(position + 1).expect("a record has fewer chunks than 2^32"))
    }

    /// The chunk that changes a row, when the state tree knows it: then not all chunks of a large record are opened.
    /// The tree may be behind, or ahead.
    fn chunk_in_state(
        &self,
        record: &Record,
        table: &TableSchema,
        key: &PrimaryKey,
    ) -> Result<Option<u32>, EngineError> {
        let tree = self.tenant.state.tree(&self.tenant)?;
        let position = tree.position(u64::MAX, table.id, key);
        let position = position.map_err(|source| self.tenant.state_error(source))?;
        Ok(position
            .filter(|position| position.offset == record.header.offset)
            .map(|position| position.chunk_index))
    }

    fn receipt_of(&self, record: &Record, changes: &[u32]) -> Result<String, EngineError> {
        let offset = record.header.offset;
        let unproved = |reason: String| EngineError::Receipt {
            offset: offset.get(),
            reason,
        };
        let checkpoint = self.checkpoint_over(offset)?;
        let path = inclusion_proof(&self.tenant.log, offset.get(), checkpoint.size)
            .map_err(|error| unproved(error.to_string()))?;
        let dek = self.tenant.keys.get(record.header.key_epoch);
        let dek = dek.ok_or_else(|| unproved(format!("no key of epoch {}", record.header.key_epoch)))?;
        let change_key = |index| dek.change_key(self.tenant.id, offset, index);
        // A key that cannot be read is neither erased nor withheld.
        let failure = RefCell::new(None);
        let cell_key = |cell: &SealedCell| {
            let key = self.tenant.cell_key(cell);
            key.map_err(|error| failure.replace(Some(error))).ok().flatten()
        };
        let parts = ReceiptParts {
            record,
            changes,
            change_key: &change_key,
            cell_key: &cell_key,
            path,
            checkpoint: checkpoint.note,
        };
        let receipt = Receipt::build(parts).map_err(|error| unproved(error.to_string()))?;
        match failure.into_inner() {
            Some(error) => Err(error),
            None => Ok(receipt.to_string()),
        }
    }
}

impl Tenant {
    /// The newest checkpoint, or the newest cosigned one, if that covers a record: a checkpoint that witnesses stand
    /// behind is worth more than a newer one that only this node signed.
    pub(crate) fn checkpoint_over(&self, offset: Offset) -> Result<SignedCheckpoint, EngineError> {
        let cosigned = self.tenant.head().cosigned;
        match cosigned.filter(|cosigned| cosigned.size > offset.get()) {
            Some(_) => self.newest_cosigned_checkpoint()?,
            None => self.newest_checkpoint()?,
        }
        .ok_or_else(|| EngineError::Receipt {
            offset: offset.get(),
            reason: "there is no checkpoint".to_owned(),
        })
    }
}

fn is_of_row(change: &RowChange, table: &TableSchema, key: &PrimaryKey) -> bool {
    let Some(row) = change.after.as_ref().or(change.before.as_ref()) else {
        return false;
    };
    let values = table
        .primary_key
        .iter()
        .filter_map(|&position| row.get(usize::from(position)));
    change.table == table.id && PrimaryKey::encode(values).is_ok_and(|row_key| row_key == *key)
}
