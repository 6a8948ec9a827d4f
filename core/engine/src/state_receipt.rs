//! State receipts: that a row's change is its newest, or that there is no such row, with everything needed to check it
//! offline.

use std::cell::RefCell;

use craton_crypto::{ChangeKey, Dek};
use craton_kernel::StateCheckpoint;
use craton_proof::{
    STATE_TABLE_NAMES, StateLeafValue, StateReceipt, StateReceiptParts, StatedChange, WitnessPolicy, inclusion_proof,
};
use craton_types::{Hash, Offset, PrimaryKey, Record, Row, SealedCell, TableSchema};

use crate::state::table_name_key;
use crate::{EngineError, Tenant};

/// A record that a leaf of the tree names, and what is needed to disclose of it.
struct Named {
    value: StateLeafValue,
    record: Record,
    path: Vec<Hash>,
    dek: Dek,
}

impl Tenant {
    /// The state receipt of a row: under the newest state that a covered checkpoint commits to, or, of the states of at
    /// most `size_max` records, the newest such one.
    pub(crate) fn state_receipt(
        &self,
        table: &TableSchema,
        key: &Row,
        size_max: Option<Offset>,
    ) -> Result<String, EngineError> {
        let stated = self.state_checkpoint(size_max)?;
        let unproved = |reason: String| EngineError::Receipt {
            offset: stated.offset.get(),
            reason,
        };
        let checkpoint = self.checkpoint_over(stated.offset)?;
        let path = |offset: Offset| {
            let path = inclusion_proof(&self.tenant.log, offset.get(), checkpoint.size);
            path.map_err(|error| unproved(error.to_string()))
        };
        let tree = self.tenant.state.tree(&self.tenant)?;
        let prove = |table, key: &PrimaryKey| {
            let proof = tree.prove(stated.size, table, key);
            proof.map_err(|source| self.tenant.state_error(source))
        };
        let named = |value: StateLeafValue| {
            let record = self.record(value.offset)?;
            let dek = self.tenant.keys.get(record.header.key_epoch);
            let dek = dek.ok_or_else(|| unproved(format!("no key of epoch {}", record.header.key_epoch)))?;
            let path = path(value.offset)?;
            Ok::<_, EngineError>(Named {
                value,
                record,
                path,
                dek,
            })
        };
        let (table_value, table_proof) = prove(STATE_TABLE_NAMES, &table_name_key(&table.name))?;
        let table_value = table_value.ok_or_else(|| {
            let last = stated.size.saturating_sub(1);
            unproved(format!("there was no table {:?} at position {last}", table.name))
        })?;
        let row_key = PrimaryKey::encode(key).map_err(|error| unproved(error.to_string()))?;
        let (row_value, row_proof) = prove(table.id, &row_key)?;
        let leaf_key = tree.state_key().row_key(table.id, row_key.as_bytes());
        let table = named(table_value)?;
        let row = row_value.map(named).transpose()?;
        let table_key = |chunk| self.change_key(&table, chunk);
        let row_change_key = |chunk| {
            let row = row.as_ref().expect("asked for only when there is a row");
            self.change_key(row, chunk)
        };
        // A key that cannot be read is neither erased nor withheld.
        let failure = RefCell::new(None);
        let cell_key = |cell: &SealedCell| {
            let key = self.tenant.cell_key(cell);
            key.map_err(|error| failure.replace(Some(error))).ok().flatten()
        };
        let parts = StateReceiptParts {
            commitment: &self.record(stated.offset)?,
            commitment_path: path(stated.offset)?,
            state_key: tree.state_key(),
            table: StatedChange {
                value: table.value,
                record: &table.record,
                path: table.path.clone(),
                change_key: &table_key,
                cell_key: &cell_key,
            },
            table_proof,
            key: key.clone(),
            leaf_key,
            row: row.as_ref().map(|row| StatedChange {
                value: row.value,
                record: &row.record,
                path: row.path.clone(),
                change_key: &row_change_key,
                cell_key: &cell_key,
            }),
            row_proof,
            checkpoint: checkpoint.note.clone(),
        };
        let receipt = StateReceipt::build(parts).map_err(|error| unproved(error.to_string()))?;
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let text = receipt.to_string();
        // A tree that is not the one committed to must not hand out proofs that nobody can verify.
        let signer = self.node.signer(self.tenant.id);
        StateReceipt::verify(text.as_bytes(), signer.verifier(), &WitnessPolicy::default())
            .map_err(|error| unproved(error.to_string()))?;
        Ok(text)
    }

    fn change_key(&self, named: &Named, chunk: u32) -> ChangeKey {
        named.dek.change_key(self.tenant.id, named.value.offset, chunk)
    }

    fn state_checkpoint(&self, size_max: Option<Offset>) -> Result<StateCheckpoint, EngineError> {
        let newest = self.tenant.head().covered_state_checkpoint;
        let found = match (size_max, newest) {
            (None, newest) => newest,
            (Some(size_max), Some(newest)) if newest.size <= size_max.get() => Some(newest),
            (Some(size_max), _) => {
                let tree = self.tenant.state.tree(&self.tenant)?;
                let found = tree.checkpoint(size_max.get());
                let found = found.map_err(|source| self.tenant.state_error(source))?;
                found.map(|(size, offset)| StateCheckpoint { size, offset })
            }
        };
        found.ok_or_else(|| EngineError::Receipt {
            offset: size_max.map_or(0, |size| size.get().saturating_sub(1)),
            reason: "no checkpoint at or before this position says what the rows are".to_owned(),
        })
    }
}
