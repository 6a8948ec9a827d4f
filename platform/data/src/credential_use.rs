//! When credentials were used, in a table.

use async_trait::async_trait;
use craton_platform_kernel::{CredentialUse, StoreError};
use craton_types::Value;
use jiff::Timestamp;

use crate::table::{self, Table};

pub(crate) const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS credential_uses (credential_id text PRIMARY KEY, used_at bigint NOT NULL)";

/// Uses of credentials on the engine.
pub(crate) struct EngineCredentialUse(Table);

impl EngineCredentialUse {
    pub(crate) fn new(table: Table) -> Self {
        Self(table)
    }
}

#[async_trait]
impl CredentialUse for EngineCredentialUse {
    async fn record_use(&self, credential_id: &str, used_at: Timestamp) -> Result<(), StoreError> {
        let parameters = [Value::Text(credential_id.to_owned()), table::time(used_at)];
        let update = "UPDATE credential_uses SET used_at = $2 WHERE credential_id = $1";
        if self.0.run(update, &parameters).await?.count == 0 {
            let insert = "INSERT INTO credential_uses VALUES ($1, $2) ON CONFLICT DO NOTHING";
            self.0.run(insert, &parameters).await?;
        }
        Ok(())
    }

    async fn last_used(&self, credential_id: &str) -> Result<Option<Timestamp>, StoreError> {
        let query = "SELECT used_at FROM credential_uses WHERE credential_id = $1";
        let answer = self.0.run(query, &[Value::Text(credential_id.to_owned())]).await?;
        answer.rows.first().map(|row| table::read_time(&row[0])).transpose()
    }
}
