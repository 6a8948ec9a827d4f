//! The engine's own SQL functions.

use craton_query::{Functions, HistoryEntry, SqlError, SqlState, Variables};
use craton_types::{Change, Offset, PrimaryKey, TableSchema};

use super::sql_error;
use crate::Tenant;
use crate::clock::random_array;

/// What the functions of one statement need.
pub(super) struct SessionFunctions<'a> {
    database: &'a Tenant,
    variables: &'a Variables,
    end: Offset,
}

impl<'a> SessionFunctions<'a> {
    pub(super) const fn new(database: &'a Tenant, variables: &'a Variables, end: Offset) -> Self {
        Self {
            database,
            variables,
            end,
        }
    }
}

impl Functions for SessionFunctions<'_> {
    fn receipt(&self, table: &TableSchema, key: &PrimaryKey) -> Result<String, SqlError> {
        match self.database.row_receipt(table, key, self.end).map_err(sql_error)? {
            Some(receipt) => Ok(receipt),
            None => {
                let message = format!("no row of \"{}\" ever had this key", table.name);
                Err(SqlError::new(SqlState::NO_DATA_FOUND, message))
            }
        }
    }

    fn position(&self) -> Option<u64> {
        self.end.get().checked_sub(1)
    }

    fn log_key(&self) -> String {
        self.database.log_key()
    }

    fn random_bytes(&self) -> [u8; 16] {
        random_array(self.database.node.random.as_ref())
    }

    fn setting(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(str::to_owned)
    }

    fn history(&self, table: &TableSchema) -> Result<Vec<HistoryEntry>, SqlError> {
        let mut entries = Vec::new();
        let mut next = Offset::ZERO;
        while next < self.end {
            let record = self.database.record(next).map_err(sql_error)?;
            next = next.next();
            if record.header.kind != craton_types::RecordKind::Data {
                continue;
            }
            let (_, changes) = self.database.unseal(&record).map_err(sql_error)?;
            for change in changes {
                let Change::Row(mut change) = change else { continue };
                if change.table == table.id {
                    self.database.tenant.open_change(&mut change).map_err(sql_error)?;
                    entries.push(HistoryEntry {
                        position: record.header.offset.get(),
                        time: record.header.timestamp,
                        actor: record.header.actor.to_string(),
                        before: change.before,
                        after: change.after,
                    });
                }
            }
        }
        Ok(entries)
    }
}
