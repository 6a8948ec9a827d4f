//! The engine's own SQL functions.

use std::cell::OnceCell;

use craton_kernel::{RECOVERY_TABLE, recovery_from_row};
use craton_query::{CosignedCheckpoint, Functions, HistoryEntry, RecoveryEntry, SqlError, SqlState, Variables};
use craton_types::{Change, Direction, KeyRange, Offset, PrimaryKey, Row, TableSchema};

use super::sql_error;
use crate::clock::random_array;
use crate::tenant::SharedTenant;
use crate::{EngineError, Tenant};

/// What the functions of one statement need.
pub(super) struct SessionFunctions<'a> {
    database: &'a Tenant,
    variables: &'a Variables,
    end: Offset,
    past: bool,
    cosigned: OnceCell<Option<CosignedCheckpoint>>,
}

impl<'a> SessionFunctions<'a> {
    pub(super) const fn new(database: &'a Tenant, variables: &'a Variables, end: Offset) -> Self {
        Self {
            database,
            variables,
            end,
            past: false,
            cosigned: OnceCell::new(),
        }
    }

    /// Whether the statement reads the past.
    pub(super) const fn in_past(mut self, past: bool) -> Self {
        self.past = past;
        self
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

    fn state_receipt(&self, table: &TableSchema, key: &Row) -> Result<String, SqlError> {
        let size_max = self.past.then_some(self.end);
        self.database.state_receipt(table, key, size_max).map_err(sql_error)
    }

    fn position(&self) -> Option<u64> {
        self.end.get().checked_sub(1)
    }

    fn log_key(&self) -> String {
        self.database.log_key()
    }

    fn cosigned_checkpoint(&self) -> Result<Option<CosignedCheckpoint>, SqlError> {
        if let Some(cosigned) = self.cosigned.get() {
            return Ok(cosigned.clone());
        }
        let newest = self.database.newest_cosigned_checkpoint().map_err(sql_error)?;
        let newest = newest.map(|checkpoint| CosignedCheckpoint {
            note: checkpoint.note,
            time_stamp: checkpoint.time_stamp,
        });
        Ok(self.cosigned.get_or_init(|| newest).clone())
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

    fn recoveries(&self) -> Result<Vec<RecoveryEntry>, SqlError> {
        let mut entries = recoveries_of(self.database.node.tenants.system(), true).map_err(sql_error)?;
        entries.extend(recoveries_of(&self.database.tenant, false).map_err(sql_error)?);
        entries.sort_by_key(|entry| entry.time);
        Ok(entries)
    }
}

/// The recoveries that a tenant's log records now, whatever the session's place in the past.
fn recoveries_of(tenant: &SharedTenant, is_node: bool) -> Result<Vec<RecoveryEntry>, EngineError> {
    let failed = |source| tenant.projection_error(source);
    let snapshot = tenant.projection.snapshot();
    let rows = snapshot
        .scan(RECOVERY_TABLE, KeyRange::all(), Direction::Forward, snapshot.end())
        .map_err(failed)?;
    let mut entries = Vec::new();
    for row in rows {
        let (_, row) = row.map_err(failed)?;
        let Some((recovered, offset)) = recovery_from_row(&row.row) else {
            continue;
        };
        let headers = tenant.log.read_headers(offset, 1);
        let headers = headers.map_err(|source| tenant.log_error(source))?;
        let Some(header) = headers.first() else { continue };
        entries.push(RecoveryEntry {
            is_node,
            position: offset.get(),
            time: header.timestamp,
            recovered,
        });
    }
    Ok(entries)
}
