//! What the platform has cosigned as a witness, in a table. An update that names the old size and root is the
//! compare-and-set: statements on one table follow each other, and each is durable when it returns.

use async_trait::async_trait;
use craton_platform_kernel::{RefusedCheckpoint, StoreError, WitnessStore, WitnessedCheckpoint};
use craton_types::{Row, Value};

use crate::table::{self, Table, read_time, text, unexpected};

pub(crate) const CREATE: &str = "CREATE TABLE IF NOT EXISTS witnessed_logs (
    origin text PRIMARY KEY,
    size bigint NOT NULL,
    root bytea NOT NULL,
    witnessed_at bigint NOT NULL
)";

pub(crate) const CREATE_REFUSED: &str = "CREATE TABLE IF NOT EXISTS refused_checkpoints (
    origin text PRIMARY KEY,
    reason text NOT NULL,
    size bigint NOT NULL,
    note text NOT NULL,
    refused_at bigint NOT NULL
)";

/// Witnessed logs on the engine.
pub(crate) struct EngineWitnessStore {
    witnessed: Table,
    refused: Table,
}

impl EngineWitnessStore {
    pub(crate) fn new(witnessed: Table, refused: Table) -> Self {
        Self { witnessed, refused }
    }
}

fn origin_value(origin: &str) -> Value {
    Value::Text(origin.to_owned())
}

/// No log has more records than a `bigint` can say.
fn size_value(size: u64) -> Result<Value, StoreError> {
    let size = i64::try_from(size).map_err(|_| StoreError::Unavailable(format!("a log of {size} records")))?;
    Ok(Value::Int(size))
}

fn read_size(value: &Value) -> Result<u64, StoreError> {
    match value {
        Value::Int(size) => u64::try_from(*size).map_err(|_| unexpected(value)),
        other => Err(unexpected(other)),
    }
}

fn read(row: &Row) -> Result<WitnessedCheckpoint, StoreError> {
    let root = match &row[1] {
        Value::Bytes(bytes) => bytes.as_slice().try_into().map_err(|_| unexpected(&row[1]))?,
        other => return Err(unexpected(other)),
    };
    Ok(WitnessedCheckpoint {
        size: read_size(&row[0])?,
        root,
        witnessed_at: read_time(&row[2])?,
    })
}

fn read_refused(row: &Row) -> Result<RefusedCheckpoint, StoreError> {
    Ok(RefusedCheckpoint {
        reason: text(&row[0])?.to_owned(),
        size: read_size(&row[1])?,
        note: text(&row[2])?.to_owned(),
        refused_at: read_time(&row[3])?,
    })
}

#[async_trait]
impl WitnessStore for EngineWitnessStore {
    async fn latest(&self, origin: &str) -> Result<Option<WitnessedCheckpoint>, StoreError> {
        let query = "SELECT size, root, witnessed_at FROM witnessed_logs WHERE origin = $1";
        let answer = self.witnessed.run(query, &[origin_value(origin)]).await?;
        answer.rows.first().map(read).transpose()
    }

    async fn replace(
        &self,
        origin: &str,
        latest: Option<&WitnessedCheckpoint>,
        checkpoint: &WitnessedCheckpoint,
    ) -> Result<bool, StoreError> {
        let mut parameters = vec![
            origin_value(origin),
            size_value(checkpoint.size)?,
            Value::Bytes(checkpoint.root.to_vec()),
            table::time(checkpoint.witnessed_at),
        ];
        let statement = match latest {
            None => "INSERT INTO witnessed_logs VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            Some(latest) => {
                parameters.extend([size_value(latest.size)?, Value::Bytes(latest.root.to_vec())]);
                "UPDATE witnessed_logs SET size = $2, root = $3, witnessed_at = $4
                 WHERE origin = $1 AND size = $5 AND root = $6"
            }
        };
        Ok(self.witnessed.run(statement, &parameters).await?.count == 1)
    }

    async fn refused(&self, origin: &str) -> Result<Option<RefusedCheckpoint>, StoreError> {
        let query = "SELECT reason, size, note, refused_at FROM refused_checkpoints WHERE origin = $1";
        let answer = self.refused.run(query, &[origin_value(origin)]).await?;
        answer.rows.first().map(read_refused).transpose()
    }

    async fn record_refused(&self, origin: &str, refused: &RefusedCheckpoint) -> Result<(), StoreError> {
        let parameters = [
            origin_value(origin),
            Value::Text(refused.reason.clone()),
            size_value(refused.size)?,
            Value::Text(refused.note.clone()),
            table::time(refused.refused_at),
        ];
        let update =
            "UPDATE refused_checkpoints SET reason = $2, size = $3, note = $4, refused_at = $5 WHERE origin = $1";
        if self.refused.run(update, &parameters).await?.count == 0 {
            let insert = "INSERT INTO refused_checkpoints VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
            self.refused.run(insert, &parameters).await?;
        }
        Ok(())
    }
}
